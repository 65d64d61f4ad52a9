/** Reads DER (ITU-T X.690): one encoding for each value, nothing left over. */
import { compare, toNumber } from "./bytes.js";

export class DerError extends Error {}

/** One value: its tag, what is in it, and all of its bytes. */
export interface Der {
  readonly tag: number;
  readonly content: Uint8Array;
  readonly bytes: Uint8Array;
}

export const TAG = {
  boolean: 0x01, integer: 0x02, bits: 0x03, octets: 0x04, oid: 0x06, utf8: 0x0c, printable: 0x13, teletex: 0x14, ia5: 0x16,
  utcTime: 0x17, generalizedTime: 0x18, universal: 0x1c, bmp: 0x1e, sequence: 0x30, set: 0x31,
} as const;

const MAX_VALUES = 4096;

function demand(holds: boolean, what: string): asserts holds {
  if (!holds) throw new DerError(what);
}

/** The values that stand one after the other. Raises `DerError`. */
export function values(bytes: Uint8Array): Der[] {
  const found: Der[] = [];
  let at = 0;
  while (at < bytes.length) {
    demand(found.length < MAX_VALUES, "too many values");
    const start = at;
    const tag = bytes[at++]!;
    demand((tag & 31) !== 31, "a long tag");
    let size = bytes[at++] ?? 128;
    if (size > 127) {
      const count = size & 127;
      demand(count >= 1 && count <= 3 && at + count <= bytes.length, "a length");
      size = Number(toNumber(bytes.subarray(at, at + count)));
      demand(size > 127 && size >= 2 ** (8 * (count - 1)), "a length that is not the shortest");
      at += count;
    }
    demand(at + size <= bytes.length, "cut off");
    found.push({ tag, content: bytes.subarray(at, at + size), bytes: bytes.subarray(start, at + size) });
    at += size;
  }
  return found;
}

/** The one value that is all of the bytes. */
export function only(bytes: Uint8Array, tag: number): Der {
  const [one, ...more] = values(bytes);
  demand(one !== undefined && more.length === 0 && one.tag === tag, "not the one value that was expected");
  return one;
}

/** The values in a sequence or a set. */
export const inside = (one: Der | undefined, tag: number): Der[] => {
  demand(one?.tag === tag, "another type than expected");
  return values(one!.content);
};

/** Hex of the content of an object identifier. */
export function oid(one: Der | undefined): string {
  demand(one?.tag === TAG.oid && one.content.length > 0, "no object identifier");
  return Array.from(one!.content, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function boolean(one: Der): boolean {
  demand(one.tag === TAG.boolean && one.content.length === 1 && (one.content[0] === 0 || one.content[0] === 255), "no boolean");
  return one.content[0] === 255;
}

/** A whole number that is not negative. */
export function natural(one: Der): bigint {
  const { content } = one;
  demand(one.tag === TAG.integer && content.length > 0 && content[0]! < 128, "no number");
  demand(content.length === 1 || content[0]! > 0 || content[1]! > 127, "a number with more zeros than it needs");
  return toNumber(content);
}

/** A bit string: how many bits at the end are unused, and its bytes. */
export function bits(one: Der): { unused: number; bytes: Uint8Array } {
  const unused = one.content[0] ?? 8;
  demand(one.tag === TAG.bits && unused < 8 && (unused === 0 || one.content.length > 1), "no bit string");
  const last = one.content[one.content.length - 1]!;
  demand(unused === 0 || (last & (2 ** unused - 1)) === 0, "unused bits are set");
  return { unused, bytes: one.content.subarray(1) };
}

/** Milliseconds since 1970 of a time as RFC 5280 writes it: UTC, with seconds. */
export function time(one: Der | undefined): number {
  demand(one !== undefined, "no time");
  const text = String.fromCharCode(...one.content.subarray(0, 20));
  const digits = one.tag === TAG.utcTime ? /^\d{12}Z$/.test(text) && (Number(text.slice(0, 2)) < 50 ? "20" : "19") + text
    : one.tag === TAG.generalizedTime && /^\d{14}Z$/.test(text) && text;
  demand(typeof digits === "string", "no time");
  const [, y, mo, d, h, mi, s] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(digits)!.map(Number) as [0, number, number, number, number, number, number];
  const ms = Date.UTC(y, mo - 1, d, h, mi, s);
  const back = new Date(ms);
  demand(back.getUTCMonth() === mo - 1 && back.getUTCDate() === d && back.getUTCHours() === h && back.getUTCMinutes() === mi && s < 60, "no time");
  return ms;
}

const LATIN = new TextDecoder("latin1");
const UTF8 = new TextDecoder("utf-8", { fatal: true });
const UTF16 = new TextDecoder("utf-16be", { fatal: true });

/** The text of a string of a name. */
export function text(one: Der | undefined): string {
  demand(one !== undefined, "no text");
  try {
    if (one.tag === TAG.utf8) return UTF8.decode(one.content);
    if (one.tag === TAG.bmp) return UTF16.decode(one.content);
  } catch {
    throw new DerError("a text is not in its encoding");
  }
  const plain: readonly number[] = [TAG.printable, TAG.ia5, TAG.teletex];
  demand(plain.includes(one.tag) && (one.tag === TAG.teletex || one.content.every((byte) => byte < 128)), "no text");
  return LATIN.decode(one.content);
}

export const same = (a: Der, b: Der): boolean => compare(a.bytes, b.bytes) === 0;
