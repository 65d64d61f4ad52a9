/**
 * What a participant keeps so that another process can go on in its round (PROTOCOL.md, "Going on after a crash").
 *
 * It keeps the seed that everything is drawn from, and the coordinator's messages. The next process makes every step again and
 * comes to the same bytes. The update is not kept, only a digest of it.
 */
import { ctr, gcmOpen, gcmSeal, sha256 } from "#platform";

import { concat, fromHex, toHex, u64, utf8 } from "./bytes.js";
import { SavedStateError } from "./errors.js";
import { LABEL, frame } from "./framing.js";
import type { Words } from "./packing.js";
import type { MessageName } from "./participant.js";
import { type Random, Secret } from "./primitives.js";

const VERSION = 1;
const HEAD = 9;
export const MAX_STATE = 2 ** 30;
const ZERO_NONCE = new Uint8Array(12);

export const MAX_JOINED = 1000;

/** Where a participant stands in a round, for a process that comes to the same place. */
export interface Standing {
  readonly participantId: string;
  readonly roundId: Uint8Array;
  readonly configBytes: Uint8Array;
  readonly modelDigest: Uint8Array;
  readonly purpose: string;
  readonly seed: Uint8Array;
  /** Of our AdvertiseKeys. */
  readonly keysDigest: Uint8Array;
  readonly trustDigest: Uint8Array;
  readonly steps: readonly { readonly message: MessageName; readonly parts: readonly Uint8Array[]; readonly nowMs: number }[];
}

/** A round under way. */
export interface Kept extends Standing {
  readonly inputSeed: Uint8Array;
  readonly inputDigest: Uint8Array;
  /** Which result we sign in a certified round. */
  readonly sumsDigest?: Uint8Array;
  /** Ids of the latest rounds that were joined, in hex. */
  readonly joined: readonly string[];
}

/** Where it is kept. One process at a time. */
export interface StateStore {
  /** Do this while no other process uses the store. */
  held<T>(work: () => Promise<T>): Promise<T>;
  /** The round under way, if there is one. */
  load(): Promise<Kept | undefined>;
  /** Rounds that were joined, in hex, the latest last. */
  joined(): Promise<readonly string[]>;
  /** Those and this one. */
  join(id: string): Promise<readonly string[]>;
  /** Keep this in the place of what was kept. Returns when it is safe. */
  keep(kept: Kept): Promise<void>;
  /** The round is over for us. */
  finish(): Promise<void>;
}

/** Bytes of AES-256-CTR under a seed, one draw after the other. */
export function drawnFrom(seed: Uint8Array): Random {
  let at = 0;
  return (size) => {
    const block = Math.floor(at / 16);
    const from = at % 16;
    at += size;
    return ctr(seed, concat([new Uint8Array(8), u64(BigInt(block))]), from + size).slice(from);
  };
}

/** Says whether an update that is handed in again is the same one. */
export const digestInput = (words: Words): Uint8Array =>
  sha256(frame(LABEL.keptInput), new Uint8Array(words.buffer, words.byteOffset, words.byteLength));

/** Of the pinned CAs, in any order. */
export const digestTrust = (authorities: readonly Uint8Array[]): Uint8Array =>
  sha256(frame(LABEL.trustAnchors, ...[...authorities].sort((a, b) => (toHex(a) < toHex(b) ? -1 : 1))));

/** Refuse what the state was not begun with. Raises `SavedStateError`. */
export function refuseOther(when: boolean, what: string): void {
  if (when) throw new SavedStateError(`the state is of another ${what}; hand in what it was begun with, or delete it`);
}

/** What the file of a state holds: the round under way, or none, and which rounds were joined. */
export interface Content {
  readonly underWay: Kept | undefined;
  readonly joined: readonly string[];
}

const associated = (number: bigint): Uint8Array => frame(LABEL.keptState, Uint8Array.of(VERSION), u64(number));

/** `content` as JSON, sealed under a key that is used once. */
export function sealedContent(content: unknown, key: Secret, associatedData: Uint8Array): Uint8Array {
  // A Buffer of Node becomes something else before a replacer sees it, so the replacer asks what it is replaced of.
  const text = JSON.stringify(content, function (this: Record<string, unknown>, name, value: unknown) {
    const was = this[name];
    return was instanceof Uint8Array ? `hex:${toHex(was)}` : value;
  });
  return gcmSeal(key.reveal(), ZERO_NONCE, utf8(text), associatedData);
}

/** Raises `SavedStateError` where it does not open. */
export function openedContent(sealed: Uint8Array, key: Secret, associatedData: Uint8Array): unknown {
  const content = gcmOpen(key.reveal(), ZERO_NONCE, sealed, associatedData);
  if (content === undefined) throw new SavedStateError("the state does not open: it was changed, or is of another key");
  return JSON.parse(new TextDecoder().decode(content), (_, value: unknown) =>
    typeof value === "string" && value.startsWith("hex:") ? fromHex(value.slice(4)) : value);
}

/** Sealed under a key that is used once. */
export const sealState = (content: Content, number: bigint, key: Secret): Uint8Array =>
  concat([Uint8Array.of(VERSION), u64(number), sealedContent(content, key, associated(number))]);

/** The number of a sealed state. Raises `SavedStateError` where it is none. */
export function numberOf(sealed: Uint8Array): bigint {
  if (sealed.length < HEAD || sealed.length > MAX_STATE || sealed[0] !== VERSION) throw new SavedStateError("this is no state, or of another version");
  return new DataView(sealed.buffer, sealed.byteOffset).getBigUint64(1);
}

/** Raises `SavedStateError` where it does not open. */
export const openState = (sealed: Uint8Array, key: Secret): Content =>
  openedContent(sealed.subarray(HEAD), key, associated(numberOf(sealed))) as Content;
