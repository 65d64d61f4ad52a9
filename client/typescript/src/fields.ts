/** Messages that are parsed only after their fields were counted (PROTOCOL.md, C98). */
import { type DescMessage, type MessageShape, ScalarType, fromBinary } from "@bufbuild/protobuf";

import { DecodeError } from "./errors.js";

export const MAX_ANSWER_FIELDS = 250_000;
export const MAX_CONFIG_FIELDS = 3_800_000;
export const MAX_CONFIG_TOP_FIELDS = 100_064;
const MAX_DEPTH = 16;

function malformed(why: string): never {
  throw new DecodeError(why);
}

/** The tags of a message, those of sub-messages included, and every byte of packed numbers; at most `left`. */
function count(bytes: Uint8Array, message: DescMessage, left: number, top: number, depth = 0): number {
  let at = 0;
  let used = 0;
  let direct = 0;
  const varint = (): number => {
    let value = 0;
    for (let i = 0; i < 10; i++) {
      const byte = bytes[at++];
      if (byte === undefined) malformed("cut off in a number");
      value += (byte & 127) * 2 ** (7 * i);
      if (byte < 128) return value;
    }
    return malformed("a number is longer than 10 bytes");
  };
  while (at < bytes.length) {
    const tag = varint();
    const wire = tag % 8;
    if (++direct > top || ++used > left) malformed("too many fields");
    if (wire === 0) varint();
    else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else if (wire === 2) {
      const size = varint();
      if (at + size > bytes.length) malformed("cut off in a field");
      const field = message.fields.find((f) => f.number === Math.floor(tag / 8));
      const inner = field?.message;
      const text = field?.scalar === ScalarType.BYTES || field?.scalar === ScalarType.STRING;
      if (inner) {
        if (depth >= MAX_DEPTH) malformed("too many levels");
        used += count(bytes.subarray(at, at + size), inner, left - used, Infinity, depth + 1);
      } else if (field && !text) used += size;
      if (used > left) malformed("too many fields");
      at += size;
    } else malformed(`wire type ${wire}`);
  }
  if (at > bytes.length) malformed("cut off in a field");
  return used;
}

/** Count, then parse. Raises `DecodeError` of nobody: what is no message comes from whoever the connection is with. */
export function parse<D extends DescMessage>(
  schema: D,
  bytes: Uint8Array,
  { left = MAX_ANSWER_FIELDS, top = Infinity } = {},
): MessageShape<D> {
  count(bytes, schema, left, top);
  try {
    return fromBinary(schema, bytes);
  } catch (error) {
    throw new DecodeError(`no ${schema.name}: ${(error as Error).message}`);
  }
}

/** The parts of one message. All of them share one budget of fields. */
export function parseParts<D extends DescMessage>(schema: D, parts: readonly Uint8Array[]): MessageShape<D>[] {
  if (parts.length === 0) malformed("a message without a part");
  let left = MAX_ANSWER_FIELDS;
  for (const part of parts) left -= count(part, schema, left, Infinity);
  return parts.map((part) => parse(schema, part));
}
