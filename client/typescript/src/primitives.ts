/** Primitives (PROTOCOL.md, section 7). What each suite makes of them is in `suites.ts`. */
import { ctr, gcmOpen, gcmSeal, hkdfSha256, p256Verifies, systemRandom } from "#platform";
import { x25519 } from "@noble/curves/ed25519.js";
import { p256 } from "@noble/curves/nist.js";

import { toNumberLittle } from "./bytes.js";
import { AuthenticationError } from "./errors.js";

export { systemRandom };

const ZERO_NONCE = new Uint8Array(12);

/** Key material. It does not show in logs, JSON or `inspect`; `reveal` is the one way to its bytes. */
export class Secret {
  readonly #value: Uint8Array;
  constructor(value: Uint8Array) {
    this.#value = value;
  }
  reveal(): Uint8Array {
    return this.#value;
  }
  toJSON(): string {
    return "[secret]";
  }
  toString(): string {
    return "[secret]";
  }
}

/** Draws `size` bytes that nobody can foresee. Tests replay recorded ones. */
export type Random = (size: number) => Uint8Array;

export const publicKey = (privateKey: Secret): Uint8Array => x25519.getPublicKey(privateKey.reveal());

const FIELD = 2n ** 255n - 19n;

/** Whether the 32 bytes are the one encoding of a number below 2^255 - 19. */
export const reduced = (key: Uint8Array): boolean => toNumberLittle(key) < FIELD;

/** The X25519 agreement. A result of zero is refused: the peer's key is of low order. */
export function agree(privateKey: Secret, peer: Uint8Array, culprit?: string): Secret {
  let shared: Uint8Array;
  try {
    shared = x25519.getSharedSecret(privateKey.reveal(), peer);
  } catch (error) {
    throw new AuthenticationError(`a public key gives no secret: ${(error as Error).message}`, culprit);
  }
  if (shared.every((byte) => byte === 0)) throw new AuthenticationError("a public key is of low order", culprit);
  return new Secret(shared);
}

/** HKDF-SHA256. An empty salt is a salt of zeros. */
export const hkdf = (ikm: Uint8Array, salt: Uint8Array, info: Uint8Array, size: number): Secret =>
  new Secret(hkdfSha256(ikm, salt, info, size));

/** AES-GCM with a nonce of zeros: a key seals one message. The result is the ciphertext and its tag. */
export const seal = (key: Secret, plaintext: Uint8Array, associated: Uint8Array): Uint8Array =>
  gcmSeal(key.reveal(), ZERO_NONCE, plaintext, associated);

/** The plaintext, or nothing if the seal does not open. */
export const open = (key: Secret, sealed: Uint8Array, associated: Uint8Array): Uint8Array | undefined =>
  gcmOpen(key.reveal(), ZERO_NONCE, sealed, associated);

/** `size` bytes of the AES key stream that begins with `counter`, a block of 16 bytes. */
export const keyStream = (key: Secret, counter: Uint8Array, size: number): Uint8Array => ctr(key.reveal(), counter, size);

/** ECDSA P-256 with SHA-256 and nonces of RFC 6979, in DER. */
export const sign = (privateScalar: Secret, message: Uint8Array): Uint8Array =>
  p256.sign(message, privateScalar.reveal(), { lowS: false, format: "der" });

/** Whether a signature in DER is one of `message` by a P-256 key, an uncompressed point of 65 bytes. */
export const verifies = (key: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean =>
  p256Verifies(key, message, signature);

/** The point of a private scalar, uncompressed. */
export const p256PublicKey = (privateScalar: Secret): Uint8Array => p256.getPublicKey(privateScalar.reveal(), false);
