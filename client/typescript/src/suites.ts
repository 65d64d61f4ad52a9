/** The suites of masked rounds, and the key pairs of each (PROTOCOL.md, section 7). */
import { ml_kem768_x25519 as xWing } from "@noble/post-quantum/hybrid.js";
import { shake256 } from "@noble/hashes/sha3.js";

import { AuthenticationError } from "./errors.js";
import { type Random, Secret, agree, publicKey } from "./primitives.js";
import { Suite as SuiteNumber } from "./wire/secagg/wire/v1/config_pb.js";

export interface Suite {
  readonly name: string;
  /** Of a key of seals and mask streams, in bytes. */
  readonly keyBytes: number;
  readonly publicKeyBytes: number;
  /** Whether keys are X-Wing's. */
  readonly hybrid: boolean;
}

export const X25519: Suite = { name: "X25519_SHA256_AES128", keyBytes: 16, publicKeyBytes: 32, hybrid: false };
export const HYBRID: Suite = { name: "XWING_SHA256_AES256", keyBytes: 32, publicKeyBytes: 1216, hybrid: true };

/** The suites that this client has, by their number on the wire. */
export const SUITES: ReadonlyMap<number, Suite> = new Map([
  [SuiteNumber.X25519_SHA256_AES128, X25519], [SuiteNumber.XWING_SHA256_AES256, HYBRID],
]);

const X25519_BYTES = 32;
const ML_KEM_SEED = 64;
const COINS = 64;
export const CIPHERTEXT_BYTES = 1120;

/** The X25519 half of a public key: all of it where the suite is not hybrid. */
export const x25519Half = (key: Uint8Array): Uint8Array => key.slice(-X25519_BYTES);

/** The halves of a public key that nobody else may have. */
export const halves = (key: Uint8Array): Uint8Array[] =>
  key.length === X25519_BYTES ? [key] : [key.slice(0, -X25519_BYTES), x25519Half(key)];

/** A key pair of one round. The private key is what is shared: 32 bytes, and in the hybrid suite a seed. */
export class KeyPair {
  readonly public: Uint8Array;
  readonly #scalar: Secret;

  constructor(suite: Suite, readonly secret: Secret) {
    this.#scalar = suite.hybrid ? new Secret(shake256(secret.reveal(), { dkLen: ML_KEM_SEED + X25519_BYTES }).slice(ML_KEM_SEED)) : secret;
    this.public = suite.hybrid ? xWing.getPublicKey(secret.reveal()) : publicKey(secret);
  }

  /** The X25519 agreement, in the hybrid suite that of the X25519 halves. Raises `AuthenticationError`. */
  agree(peer: Uint8Array, culprit: string): Secret {
    return agree(this.#scalar, x25519Half(peer), culprit);
  }

  /** The secret in a ciphertext of the hybrid suite. One that was altered gives a secret that nobody else has. */
  decapsulate(ciphertext: Uint8Array, culprit?: string): Secret {
    try {
      return new Secret(xWing.decapsulate(ciphertext, this.secret.reveal()));
    } catch {
      throw new AuthenticationError("a ciphertext gives no secret", culprit);
    }
  }
}

export interface Encapsulation {
  readonly secret: Secret;
  readonly ciphertext: Uint8Array;
}

/** Makes a fresh secret for the owner of a public key of the hybrid suite. Tests replay recorded ones. */
export type Encapsulate = (key: Uint8Array) => Encapsulation;

/** With coins of `random`, so that a participant that goes on after a crash sends the same bytes. */
export const encapsulating = (random: Random): Encapsulate => (key) => {
  const { sharedSecret, cipherText } = xWing.encapsulate(key, random(COINS));
  return { secret: new Secret(sharedSecret), ciphertext: cipherText };
};
