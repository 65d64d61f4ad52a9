/** What the core needs of its platform, from Node's own cryptography. `browser.ts` has the same names. */
import { type KeyObject, createCipheriv, createDecipheriv, createHash, createPublicKey, hkdfSync, randomBytes, verify } from "node:crypto";

const TAG = 16;

export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
}

/** HKDF-SHA256. An empty salt is a salt of zeros. */
export const hkdfSha256 = (ikm: Uint8Array, salt: Uint8Array, info: Uint8Array, size: number): Uint8Array =>
  new Uint8Array(hkdfSync("sha256", ikm, salt, info, size));

/** AES-GCM with a key of 16 or 32 bytes: ciphertext and tag. */
export function gcmSeal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, associated: Uint8Array): Uint8Array {
  const cipher = key.length === 16 ? createCipheriv("aes-128-gcm", key, nonce) : createCipheriv("aes-256-gcm", key, nonce);
  cipher.setAAD(associated);
  return new Uint8Array(Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]));
}

/** The plaintext, or nothing if the seal does not open. */
export function gcmOpen(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, associated: Uint8Array): Uint8Array | undefined {
  if (sealed.length < TAG) return undefined;
  const options = { authTagLength: TAG };
  const cipher = key.length === 16 ? createDecipheriv("aes-128-gcm", key, nonce, options) : createDecipheriv("aes-256-gcm", key, nonce, options);
  cipher.setAAD(associated);
  cipher.setAuthTag(sealed.subarray(sealed.length - TAG));
  const content = cipher.update(sealed.subarray(0, sealed.length - TAG));
  try {
    return new Uint8Array(Buffer.concat([content, cipher.final()]));
  } catch {
    return undefined;
  }
}

/** `size` bytes of the AES key stream that begins with `counter`, a block of 16 bytes. */
export function ctr(key: Uint8Array, counter: Uint8Array, size: number): Uint8Array {
  return createCipheriv(key.length === 16 ? "aes-128-ctr" : "aes-256-ctr", key, counter).update(new Uint8Array(size));
}

const SPKI_P256 = Buffer.from("3059301306072a8648ce3d020106082a8648ce3d030107034200", "hex");

/** Whether `signature`, in DER, is one of `message` by a P-256 key: 65 bytes, uncompressed. */
export function p256Verifies(key: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  let loaded: KeyObject;
  try {
    loaded = createPublicKey({ key: Buffer.concat([SPKI_P256, key]), format: "der", type: "spki" });
  } catch {
    return false; // the point is not on the curve
  }
  return verify("sha256", message, { key: loaded, dsaEncoding: "der" }, signature);
}

export const systemRandom = (size: number): Uint8Array => new Uint8Array(randomBytes(size));
