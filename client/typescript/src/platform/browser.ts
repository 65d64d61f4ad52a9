/** What the core needs of its platform, in JavaScript alone: WebCrypto answers later, and a step of a round does not wait. */
import { ctr as aesCtr, gcm } from "@noble/ciphers/aes.js";
import { p256 } from "@noble/curves/nist.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { sha256 as hash } from "@noble/hashes/sha2.js";

export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const hashing = hash.create();
  for (const part of parts) hashing.update(part);
  return hashing.digest();
}

export const hkdfSha256 = (ikm: Uint8Array, salt: Uint8Array, info: Uint8Array, size: number): Uint8Array =>
  hkdf(hash, ikm, salt, info, size);

export const gcmSeal = (key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, associated: Uint8Array): Uint8Array =>
  gcm(key, nonce, associated).encrypt(plaintext);

export function gcmOpen(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, associated: Uint8Array): Uint8Array | undefined {
  try {
    return gcm(key, nonce, associated).decrypt(sealed);
  } catch {
    return undefined;
  }
}

export const ctr = (key: Uint8Array, counter: Uint8Array, size: number): Uint8Array =>
  aesCtr(key, counter).encrypt(new Uint8Array(size));

export function p256Verifies(key: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    return p256.verify(signature, message, key, { lowS: false, format: "der" });
  } catch {
    return false;
  }
}

export function systemRandom(size: number): Uint8Array {
  const out = new Uint8Array(size);
  for (let at = 0; at < size; at += 65_536) crypto.getRandomValues(out.subarray(at, at + 65_536));
  return out;
}
