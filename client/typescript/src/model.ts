/** The digest of a model (PROTOCOL.md, "Model digest"). */
import { sha256 } from "#platform";

import { compare, concat, utf8 } from "./bytes.js";
import { LocalError } from "./errors.js";
import { LABEL, frame } from "./framing.js";

const SIZES: Readonly<Record<string, number>> = {
  bool: 1, int8: 1, uint8: 1, int16: 2, uint16: 2, float16: 2, int32: 4, uint32: 4, float32: 4, int64: 8, uint64: 8, float64: 8,
};

export interface ModelArray {
  /** numpy's name: `float32`, `int64`, `bool`, … */
  readonly dtype: string;
  /** Sides; none for a scalar. */
  readonly shape: readonly number[];
  /** The values in C order, little-endian. */
  readonly data: Uint8Array;
}

/** 32 bytes. Compute it over the model that you trained, and never take it from a configuration. */
export function digestModel(arrays: Readonly<Record<string, ModelArray>>): Uint8Array {
  const names = Object.keys(arrays).sort((a, b) => compare(utf8(a), utf8(b)));
  const parts = names.map((name) => {
    const { dtype, shape, data } = arrays[name]!;
    const size = SIZES[dtype];
    if (size === undefined) throw new LocalError(`array ${name} has the dtype ${dtype}, which is none of ${Object.keys(SIZES).join(", ")}`);
    const expected = shape.reduce((product, side) => product * side, size);
    if (data.length !== expected) throw new LocalError(`array ${name} has ${data.length} bytes; its shape and dtype make ${expected}`);
    return concat([frame(name, dtype, shape.join(",")), data]);
  });
  return sha256(frame(LABEL.model), ...parts);
}
