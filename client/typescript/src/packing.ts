/** Vectors of words, packed to b bits in lanes and cut into chunks (PROTOCOL.md, section 11). */
import { toNumberLittle } from "./bytes.js";
import { DecodeError } from "./errors.js";

export type Words = Uint8Array | Uint16Array | Uint32Array | BigUint64Array;
type Narrow = Exclude<Words, BigUint64Array>;

/** The smallest of 8, 16, 32 and 64 that holds `bits`. */
export const wordBits = (bits: number): number => [8, 16, 32].find((w) => w >= bits) ?? 64;

export function zeros(word: number, length: number): Words {
  if (word === 8) return new Uint8Array(length);
  if (word === 16) return new Uint16Array(length);
  return word === 32 ? new Uint32Array(length) : new BigUint64Array(length);
}

/** Little-endian words of `word` bits that the bytes hold. */
export function wordsOf(word: number, bytes: Uint8Array): Words {
  const words = zeros(word, (bytes.length * 8) / word);
  new Uint8Array(words.buffer).set(bytes);
  return words;
}

const bytesOf = (words: Words): Uint8Array => new Uint8Array(words.buffer, words.byteOffset, words.byteLength);

export const packedBytes = (count: number, bits: number): number => Math.ceil((count * bits) / 8);

/** Where the j-th value of each lane begins: the first lane's word, and the bit in it. It may spill into the next word. */
function placeOf(j: number, bits: number, word: number, lanes: number): { first: number; shift: number; spills: boolean } {
  const shift = (j * bits) % word;
  return { first: Math.floor((j * bits) / word) * lanes, shift, spills: shift + bits > word };
}

/** The values mod 2^bits in ⌈n·bits/8⌉ bytes. */
export function pack(values: Words, bits: number): Uint8Array {
  const word = wordBits(bits);
  const lanes = Math.floor(values.length / word);
  const out = new Uint8Array(packedBytes(values.length, bits));
  const words = zeros(word, lanes * bits);
  for (let j = 0; j < word; j++) {
    const { first, shift, spills } = placeOf(j, bits, word, lanes);
    for (let l = 0; l < lanes; l++) {
      const i = first + l;
      if (values instanceof BigUint64Array) {
        const wide = words as BigUint64Array;
        const value = BigInt.asUintN(bits, values[j * lanes + l]!);
        wide[i] = wide[i]! | (value << BigInt(shift));
        if (spills) wide[i + lanes] = wide[i + lanes]! | (value >> BigInt(word - shift));
      } else {
        const narrow = words as Narrow;
        const value = bits === 32 ? values[j * lanes + l]! : values[j * lanes + l]! & (2 ** bits - 1);
        narrow[i] = narrow[i]! | (value << shift);
        if (spills) narrow[i + lanes] = narrow[i + lanes]! | (value >>> (word - shift));
      }
    }
  }
  out.set(bytesOf(words));
  let rest = 0n;
  for (let i = values.length - 1; i >= lanes * word; i--) {
    rest = (rest << BigInt(bits)) | BigInt.asUintN(bits, BigInt(values[i]!));
  }
  for (let at = words.byteLength; at < out.length; at++, rest >>= 8n) out[at] = Number(rest & 255n);
  return out;
}

/** `count` values of `bits` bits. Raises `DecodeError` if the length is another or bits behind the last value are set. */
export function unpack(packed: Uint8Array, count: number, bits: number): Words {
  if (packed.length !== packedBytes(count, bits)) {
    throw new DecodeError(`${packed.length} bytes instead of ${packedBytes(count, bits)}`);
  }
  const word = wordBits(bits);
  const lanes = Math.floor(count / word);
  const size = (lanes * bits * word) / 8;
  const words = wordsOf(word, packed.subarray(0, size));
  const values = zeros(word, count);
  for (let j = 0; j < word; j++) {
    const { first, shift, spills } = placeOf(j, bits, word, lanes);
    for (let l = 0; l < lanes; l++) {
      const i = first + l;
      if (values instanceof BigUint64Array) {
        const wide = words as BigUint64Array;
        let value = wide[i]! >> BigInt(shift);
        if (spills) value |= wide[i + lanes]! << BigInt(word - shift);
        values[j * lanes + l] = BigInt.asUintN(bits, value);
      } else {
        const narrow = words as Narrow;
        let value = narrow[i]! >>> shift;
        if (spills) value |= narrow[i + lanes]! << (word - shift);
        values[j * lanes + l] = bits === 32 ? value : value & (2 ** bits - 1);
      }
    }
  }
  let rest = toNumberLittle(packed.subarray(size));
  for (let i = lanes * word; i < count; i++, rest >>= BigInt(bits)) {
    const value = BigInt.asUintN(bits, rest);
    if (values instanceof BigUint64Array) values[i] = value;
    else values[i] = Number(value);
  }
  if (rest !== 0n) throw new DecodeError("padding bits are set");
  return values;
}

/** The values that every chunk but the last holds. */
export function valuesPerChunk(bits: number): number {
  const stride = 2 ** 18 / (wordBits(bits) / 8);
  return Math.floor(2 ** 23 / (stride * bits)) * stride;
}

/** The chunks of a vector, each packed on its own. */
export function chunks(values: Words, bits: number): Uint8Array[] {
  const size = valuesPerChunk(bits);
  const out: Uint8Array[] = [];
  for (let at = 0; at < values.length; at += size) out.push(pack(values.subarray(at, at + size), bits));
  return out;
}
