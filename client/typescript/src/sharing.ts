/** Shamir's secret sharing over the numbers mod 2^256 + 297 (PROTOCOL.md, section 8). */
import { fromNumber, toNumber } from "./bytes.js";
import { LocalError } from "./errors.js";
import type { Random } from "./primitives.js";
import { Secret } from "./primitives.js";

export const PRIME = 2n ** 256n + 297n;
export const SHARE_BYTES = 33;
const COEFFICIENT_BYTES = 48;

/** Whether 33 bytes are a number of the field. */
export const isShare = (bytes: Uint8Array): boolean => bytes.length === SHARE_BYTES && toNumber(bytes) < PRIME;

/** Shares of a secret of 32 bytes, by holder: 33 bytes each, of which `threshold` give the secret. */
export function split(secret: Secret, threshold: number, holders: readonly number[], random: Random): Map<number, Uint8Array> {
  const drawn = random(COEFFICIENT_BYTES * (threshold - 1));
  const coefficients = [toNumber(secret.reveal())];
  for (let i = 0; i < threshold - 1; i++) {
    coefficients.push(toNumber(drawn.subarray(i * COEFFICIENT_BYTES, (i + 1) * COEFFICIENT_BYTES)) % PRIME);
  }
  const shares = new Map<number, Uint8Array>();
  for (const holder of holders) {
    const x = BigInt(holder);
    const value = coefficients.reduceRight((sum, coefficient) => (sum * x + coefficient) % PRIME, 0n);
    shares.set(holder, fromNumber(value, SHARE_BYTES));
  }
  return shares;
}

function inverse(value: bigint): bigint {
  let [a, b, x, y] = [((value % PRIME) + PRIME) % PRIME, PRIME, 1n, 0n];
  while (b !== 0n) [a, b, x, y] = [b, a % b, y, x - (a / b) * y];
  return ((x % PRIME) + PRIME) % PRIME;
}

/** The secret of shares by holder. Raises `LocalError` if they do not lie on one polynomial of a secret of 32 bytes. */
export function join(shares: ReadonlyMap<number, Uint8Array>): Secret {
  let sum = 0n;
  for (const [holder, share] of shares) {
    let [over, under] = [1n, 1n];
    for (const other of shares.keys()) {
      if (other === holder) continue;
      over = (over * BigInt(other)) % PRIME;
      under = (under * BigInt(other - holder)) % PRIME;
    }
    sum = (sum + toNumber(share) * over * inverse(under)) % PRIME;
  }
  if (sum >= 2n ** 256n) throw new LocalError("the shares give no secret: one of them is wrong");
  return new Secret(fromNumber(sum, 32));
}
