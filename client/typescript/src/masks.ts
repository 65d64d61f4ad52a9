/** Mask keys and mask streams (PROTOCOL.md, section 9). */
import { compare, concat, u32, utf8 } from "./bytes.js";
import { LABEL, frame } from "./framing.js";
import { type Words, wordsOf } from "./packing.js";
import { type Secret, hkdf, keyStream } from "./primitives.js";
import type { Suite } from "./suites.js";

const STRIDE_BYTES = 2 ** 18;

/**
 * `shared` is the agreement of both mask keys, or in the hybrid suite both pair secrets, that of the lower id first.
 * `context` is the input context, or with a ring the graph context of it.
 */
export function pairwiseMaskKey(suite: Suite, shared: Uint8Array, roundId: Uint8Array, context: Uint8Array, ids: [string, string]): Secret {
  const [low, high] = [...ids].sort((a, b) => compare(utf8(a), utf8(b)));
  return hkdf(shared, roundId, frame(LABEL.pairwiseMask, suite.name, context, low!, high!), suite.keyBytes);
}

export function selfMaskKey(suite: Suite, seed: Secret, roundId: Uint8Array, context: Uint8Array, id: string): Secret {
  return hkdf(seed.reveal(), roundId, frame(LABEL.selfMask, suite.name, context, id), suite.keyBytes);
}

/** The first `size` bytes of one stride. */
export function stride(key: Secret, number: number, size = STRIDE_BYTES): Uint8Array {
  const counter = concat([new Uint8Array(8), u32(number), u32(2)]);
  return keyStream(key, counter, size);
}

/** Add the words of a key's stream to `vector`, or subtract them, stride by stride. */
export function addMask(vector: Words, key: Secret, sign: 1 | -1): void {
  const word = vector.BYTES_PER_ELEMENT;
  const each = STRIDE_BYTES / word;
  for (let at = 0, number = 0; at < vector.length; at += each, number++) {
    const size = Math.min(each, vector.length - at);
    const mask = wordsOf(8 * word, stride(key, number, size * word));
    if (vector instanceof BigUint64Array) {
      const wide = mask as BigUint64Array;
      for (let i = 0; i < size; i++) vector[at + i] = sign === 1 ? vector[at + i]! + wide[i]! : vector[at + i]! - wide[i]!;
    } else {
      const narrow = mask as Uint32Array;
      for (let i = 0; i < size; i++) vector[at + i] = sign === 1 ? vector[at + i]! + narrow[i]! : vector[at + i]! - narrow[i]!;
    }
  }
}
