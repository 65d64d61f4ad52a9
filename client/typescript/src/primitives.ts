/** The primitives of the suite X25519_SHA256_AES128 (PROTOCOL.md, section 7). */
import { createCipheriv, createDecipheriv, type KeyObject, hkdfSync, randomBytes, verify } from "node:crypto";
import { x25519 } from "@noble/curves/ed25519.js";
import { p256 } from "@noble/curves/nist.js";

import { AuthenticationError } from "./errors.js";

export const SUITE = "X25519_SHA256_AES128";
const TAG = 16;
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
export const systemRandom: Random = (size) => randomBytes(size);

export const publicKey = (privateKey: Secret): Uint8Array => x25519.getPublicKey(privateKey.reveal());

const FIELD = 2n ** 255n - 19n;

/** Whether the 32 bytes are the one encoding of a number below 2^255 - 19. */
export function reduced(key: Uint8Array): boolean {
  return BigInt("0x" + Buffer.from(key).reverse().toString("hex")) < FIELD;
}

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
export function hkdf(ikm: Uint8Array, salt: Uint8Array, info: Uint8Array, size: number): Secret {
  return new Secret(new Uint8Array(hkdfSync("sha256", ikm, salt, info, size)));
}

/** AES-128-GCM with a nonce of zeros: a key seals one message. The result is the ciphertext and its tag. */
export function seal(key: Secret, plaintext: Uint8Array, associated: Uint8Array): Uint8Array {
  const cipher = createCipheriv("aes-128-gcm", key.reveal(), ZERO_NONCE);
  cipher.setAAD(associated);
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

/** The plaintext, or nothing if the seal does not open. */
export function open(key: Secret, sealed: Uint8Array, associated: Uint8Array): Uint8Array | undefined {
  const cipher = createDecipheriv("aes-128-gcm", key.reveal(), ZERO_NONCE, { authTagLength: TAG });
  cipher.setAAD(associated);
  cipher.setAuthTag(sealed.subarray(sealed.length - TAG));
  const content = cipher.update(sealed.subarray(0, sealed.length - TAG));
  try {
    return Buffer.concat([content, cipher.final()]);
  } catch {
    return undefined;
  }
}

/** `size` bytes of the AES-128 key stream that begins with `counter`, a block of 16 bytes. */
export function keyStream(key: Secret, counter: Uint8Array, size: number): Uint8Array {
  return createCipheriv("aes-128-ctr", key.reveal(), counter).update(new Uint8Array(size));
}

/** ECDSA P-256 with SHA-256 and nonces of RFC 6979, in DER. */
export function sign(privateScalar: Secret, message: Uint8Array): Uint8Array {
  return p256.sign(message, privateScalar.reveal(), { lowS: false, format: "der" });
}

/** Whether a signature in DER is one of `message` by a P-256 key. */
export const verifies = (key: KeyObject, message: Uint8Array, signature: Uint8Array): boolean =>
  verify("sha256", message, { key, dsaEncoding: "der" }, signature);
