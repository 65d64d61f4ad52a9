/** Updates as integers of the ring: fixed point and exact integers (PROTOCOL.md, section 10). */
import { type Round, integerBounds } from "./config.js";
import { InputError } from "./errors.js";
import { LABEL, frame } from "./framing.js";
import { type Words, wordsOf, zeros } from "./packing.js";
import { type Secret, hkdf, keyStream } from "./primitives.js";

/** Values by array, each in C order: numbers, or bigints where a round of integers has values above 2^53. */
export type Update = Readonly<Record<string, ArrayLike<number> | ArrayLike<bigint>>>;

export const roundingKey = (seed: Secret): Secret =>
  hkdf(seed.reveal(), new Uint8Array(), frame(LABEL.stochasticRounding), 16);

/** Words of 32 bits of the rounding stream. */
export const roundingWords = (seed: Secret, count: number): Uint32Array =>
  wordsOf(32, keyStream(roundingKey(seed), new Uint8Array(16), 4 * count)) as Uint32Array;

/** Clip, scale and round `values` into `out` from `at` on. One float64 operation a line, in the order of the page. */
export function encodeValues(
  out: { [i: number]: number }, at: number, values: ArrayLike<number>, words: Uint32Array,
  { clip, valueBits, weight, maxWeight }: { clip: number; valueBits: number; weight: number; maxWeight: number },
): void {
  const levels = 2 ** valueBits - 1;
  const step = (2 * clip) / levels;
  const factor = weight / maxWeight;
  const scale = 1 / step;
  for (let i = 0; i < values.length; i++) {
    let x = Math.min(Math.max(values[i]!, -clip), clip);
    x = x * factor;
    x = x + clip;
    x = x * scale;
    x = x + words[at + i]! * 2 ** -32;
    out[at + i] = Math.min(Math.floor(x), levels);
  }
}

/** The vector of an update, weight included, as words of the ring. Raises `InputError` where a value cannot be sent. */
export function encode(round: Round, update: Update, weight: number, seed: Secret): Words {
  const { config } = round;
  const out = zeros(round.wordBits, round.vectorLen);
  const arrays = config.arrays.map((spec) => {
    const values = update[spec.name];
    const size = Number(spec.shape.reduce((product, side) => product * side, 1n));
    if (values?.length !== size) throw new InputError(`array ${spec.name} needs ${size} values`);
    return { spec, values };
  });
  const names = Object.keys(update).length;
  if (names !== arrays.length) throw new InputError(`the update has ${names} arrays instead of ${arrays.length}`);
  let at = 0;
  if (config.integers) {
    const bounds = integerBounds(config);
    arrays.forEach(({ spec, values }, a) => {
      const { min, max } = bounds[a]!;
      for (let i = 0; i < values.length; i++, at++) {
        const value = values[i]!;
        if (typeof value === "number" && !Number.isSafeInteger(value)) {
          throw new InputError(`${spec.name}[${i}] is no whole number below 2^53: pass a bigint`);
        }
        const exact = BigInt(value);
        if (exact < min || exact > max) throw new InputError(`${spec.name}[${i}] is not in [${min}, ${max}]`);
        if (out instanceof BigUint64Array) out[at] = exact - min;
        else out[at] = Number(exact - min);
      }
    });
    return out;
  }
  const { clip, valueBits, maxWeight } = config.encoding!;
  if (!Number.isInteger(weight) || weight < 1 || weight > maxWeight) {
    throw new InputError(`weight ${weight} is not a whole number from 1 to ${maxWeight}`);
  }
  const words = roundingWords(seed, round.vectorLen - 1);
  const integers = new Uint32Array(round.vectorLen);
  for (const { spec, values } of arrays) {
    for (let i = 0; i < values.length; i++) {
      if (!Number.isFinite(values[i])) throw new InputError(`${spec.name}[${i}] is not a finite number`);
    }
    encodeValues(integers, at, values as ArrayLike<number>, words, { clip: spec.range ?? clip, valueBits, weight, maxWeight });
    at += values.length;
  }
  integers[at] = weight;
  if (out instanceof BigUint64Array) integers.forEach((value, i) => (out[i] = BigInt(value)));
  else out.set(integers);
  return out;
}
