/** The end of a round: the receipt, the signatures under it, and the sum (PROTOCOL.md, "Result" to "Certification"). */
import { sha256 } from "#platform";

import { equal, u64 } from "./bytes.js";
import { MAX_CERTIFICATE, MAX_CHAIN, coordinatorKey } from "./certificates.js";
import { type Round, integerBounds } from "./config.js";
import { AuthenticationError, COORDINATOR, DecodeError, LocalError, ProtocolViolation } from "./errors.js";
import { parseParts } from "./fields.js";
import { LABEL, frame, indices } from "./framing.js";
import { type Words, packedBytes, unpack, valuesPerChunk, zeros } from "./packing.js";
import type { Seen } from "./participant.js";
import { sign, verifies } from "./primitives.js";
import { Dtype } from "./wire/secagg/wire/v1/config_pb.js";
import { AggregatePartSchema, ConsistencyProofPartSchema, ReceiptSchema } from "./wire/secagg/wire/v1/data_plane_pb.js";

const MAX_SIGNATURE = 72;
const MAX_MS = 253_402_300_800_000n;

/** What the coordinator signed of a round. It can be kept and shown: two that contradict each other prove that it lied. */
export interface Receipt {
  readonly roundId: Uint8Array;
  readonly inputContext: Uint8Array;
  readonly task: string;
  readonly modelDigest: Uint8Array;
  readonly rosterDigest: Uint8Array;
  readonly survivors: readonly string[];
  readonly sumsDigest: Uint8Array;
  readonly signedMs: bigint;
  readonly signature: Uint8Array;
  readonly chain: readonly Uint8Array[];
}

function wellFormed(holds: boolean, what: string): void {
  if (!holds) throw new DecodeError(what, COORDINATOR);
}

/** What we saw, once the survivors were shown. */
function agreed(seen: Seen): { roster: NonNullable<Seen["roster"]>; survivors: readonly number[]; names: string[] } {
  const { roster, survivors } = seen;
  if (roster === undefined || survivors === undefined) throw new LocalError("the round has not come to its survivors");
  return { roster, survivors, names: survivors.map((i) => roster.ids[i - 1]!) };
}

/** The receipt, if it is one of the round that we saw (C88, C89). */
export function believe(seen: Seen, parts: readonly Uint8Array[], authorities: readonly Uint8Array[], nowMs: number): Receipt {
  const { roster, names } = agreed(seen);
  wellFormed(parts.length === 1, "a receipt is one message");
  const told = parseParts(ReceiptSchema, parts)[0]!;
  const { certificates: chain, signature, sumsDigest, signedMs } = told;
  wellFormed(sumsDigest.length === 32 && signature.length <= MAX_SIGNATURE, "a digest or a signature in the receipt");
  wellFormed(chain.length <= MAX_CHAIN && chain.every((c) => c.length <= MAX_CERTIFICATE), "the certificates of the receipt");
  wellFormed(told.survivors <= 10_000 && signedMs < MAX_MS, "a number in the receipt");
  // check: survivor-count
  if (told.survivors !== names.length) {
    throw new ProtocolViolation(`the receipt speaks of ${told.survivors} survivors, we agreed on ${names.length}`, COORDINATOR);
  }
  if (signature.length === 0 || chain.length === 0) throw new AuthenticationError("the coordinator did not sign the receipt", COORDINATOR);
  const { setup, inputContext } = seen;
  const statement = {
    roundId: setup.roundId, inputContext, task: setup.round.config.task, modelDigest: setup.model, rosterDigest: roster.digest,
    survivors: names, sumsDigest,
  };
  coordinatorKey(chain, authorities, nowMs);
  const key = coordinatorKey(chain, authorities, Number(signedMs));
  const message = frame(
    LABEL.receiptSignature, statement.roundId, inputContext, statement.task, statement.modelDigest, roster.digest, frame("", ...names), sumsDigest, u64(signedMs),
  );
  if (!verifies(key, message, signature)) throw new AuthenticationError("the receipt is not of the round that we saw", COORDINATOR);
  return { ...statement, signedMs, signature, chain };
}

const resultMessage = (seen: Seen, receipt: Receipt): Uint8Array => {
  const { roster, survivors } = agreed(seen);
  return frame(LABEL.resultSignature, seen.inputContext, roster.digest, indices(survivors), receipt.sumsDigest);
};

/** Our signature under the result; empty where a committee signs and we are not in it. */
export function signResult(seen: Seen, receipt: Receipt): Uint8Array {
  const { roster } = agreed(seen);
  const signs = roster.graph === undefined || roster.graph.committee.has(roster.own);
  // A round that certifies signs all its messages, so we have a key.
  return signs ? sign(seen.setup.identity!.key, resultMessage(seen, receipt)) : new Uint8Array();
}

/** Whether as many survivors as are needed signed the result that we were given (C90). */
export function isCertified(seen: Seen, receipt: Receipt, parts: readonly Uint8Array[]): boolean {
  const { roster, survivors } = agreed(seen);
  const signatures = parseParts(ConsistencyProofPartSchema, parts).flatMap((m) => m.signatures);
  wellFormed(signatures.every((s) => s.signer >= 1 && s.signer <= 10_000 && s.signature.length >= 1 && s.signature.length <= MAX_SIGNATURE), "a signature of the result");
  wellFormed(new Set(signatures.map((s) => s.signer)).size === signatures.length, "somebody signed the result twice");
  const may = new Set(survivors.filter((i) => roster.graph === undefined || roster.graph.committee.has(i)));
  const message = resultMessage(seen, receipt);
  for (const { signer, signature } of signatures) {
    if (!may.has(signer)) throw new ProtocolViolation(`member ${signer} signed the result and is no survivor who signs`, COORDINATOR);
    const { entry, identity } = roster.peers.get(signer)!;
    if (!verifies(identity!.key, message, signature)) {
      throw new AuthenticationError(`the signature of ${entry.id} is not under the result that we were given`, COORDINATOR);
    }
  }
  const { config } = seen.setup.round;
  return signatures.length >= (config.ring?.committeeThreshold || config.threshold);
}

/** A sum as it was released: whole, in order, and the one that its digest names (C30, C31). */
export interface Aggregate {
  readonly survivors: readonly string[];
  readonly digest: Uint8Array;
  /** Words of the ring, the weight last. */
  readonly sums: Words;
}

const ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

export function readAggregate(round: Round, parts: readonly Uint8Array[]): Aggregate {
  const { vectorLen, ringBits, wordBits } = round;
  const size = valuesPerChunk(ringBits);
  const sums = zeros(wordBits, vectorLen);
  const payloads: Uint8Array[] = [];
  const survivors: string[] = [];
  let digest = new Uint8Array() as Uint8Array;
  let at = 0;
  for (const part of parseParts(AggregatePartSchema, parts)) {
    if (digest.length === 0) digest = part.sumsDigest;
    survivors.push(...part.survivors);
    wellFormed(survivors.length <= 10_000 && part.survivors.every((id) => ID.test(id)), "a survivor of the aggregate");
    if (part.payload.length === 0) continue;
    wellFormed(part.number * size === at && at < vectorLen, `part ${part.number} of the aggregate is out of order`);
    const count = Math.min(size, vectorLen - at);
    wellFormed(part.payload.length === packedBytes(count, ringBits), `part ${part.number} of the aggregate has another length`);
    sums.set(unpack(part.payload, count, ringBits) as never, at);
    payloads.push(part.payload);
    at += count;
  }
  wellFormed(at === vectorLen, `the aggregate ends after ${at} of ${vectorLen} coordinates`);
  wellFormed(survivors.every((id, i) => i === 0 || survivors[i - 1]! < id), "the survivors of the aggregate do not ascend");
  wellFormed(survivors.length >= round.config.threshold, "the aggregate has too few survivors");
  if (!equal(sha256(...payloads), digest)) throw new AuthenticationError("the aggregate is not the one that its digest names", COORDINATOR);
  return { survivors, digest, sums };
}

/** Hold an aggregate against what we saw, and against the receipt. */
export function checkAggregate(aggregate: Aggregate, receipt: Receipt): void {
  // check: aggregate-survivors
  if (aggregate.survivors.join() !== receipt.survivors.join()) {
    throw new ProtocolViolation("the aggregate names other survivors than we agreed on", COORDINATOR);
  }
  if (!equal(aggregate.digest, receipt.sumsDigest)) {
    throw new AuthenticationError("the aggregate is not the one that our receipt certifies", COORDINATOR);
  }
}

/** The weighted mean of the survivors' updates, or their exact sums. */
export type Decoded =
  | { readonly kind: "mean"; readonly weight: number; readonly arrays: Readonly<Record<string, Float32Array | Float64Array>> }
  | { readonly kind: "totals"; readonly arrays: Readonly<Record<string, BigInt64Array>> };

const ROOM = 1 + 2 ** -20;

function impossible(why: string): never {
  throw new ProtocolViolation(`no updates of the survivors have this sum: ${why}`);
}

/** What a sum of `summands` updates says (C32, C97). Raises `ProtocolViolation` of nobody where no updates can have it. */
export function decode(round: Round, sums: Words, summands: number): Decoded {
  const { config } = round;
  let at = 0;
  const sizeOf = (shape: readonly bigint[]): number => Number(shape.reduce((product, side) => product * side, 1n));
  if (config.integers) {
    const bounds = integerBounds(config);
    const arrays = config.arrays.map((spec, a) => {
      const { min, max } = bounds[a]!;
      const out = new BigInt64Array(sizeOf(spec.shape));
      for (let i = 0; i < out.length; i++, at++) {
        const sum = BigInt(sums[at]!);
        if (sum > BigInt(summands) * (max - min)) impossible(`${spec.name}[${i}] is above what ${summands} can have`);
        out[i] = sum + BigInt(summands) * min;
      }
      return [spec.name, out] as const;
    });
    return { kind: "totals", arrays: Object.fromEntries(arrays) };
  }
  const { clip, valueBits, maxWeight } = config.encoding!;
  const weight = Number(sums[sums.length - 1]!);
  if (weight < summands || weight > summands * maxWeight) impossible(`the weight ${weight} of ${summands}`);
  const levels = 2 ** valueBits - 1;
  const arrays = config.arrays.map((spec) => {
    const range = spec.range ?? clip;
    const step = (2 * range) / levels;
    const factor = maxWeight / weight;
    const most = (range + summands * step * factor) * ROOM;
    const size = sizeOf(spec.shape);
    const out = spec.dtype === Dtype.FLOAT32 ? new Float32Array(size) : new Float64Array(size);
    for (let i = 0; i < size; i++, at++) {
      let x = Number(sums[at]!) * step;
      x = x - summands * range;
      x = x * factor;
      if (Math.abs(x) > most) impossible(`${spec.name}[${i}] is no mean of clipped values`);
      out[i] = x;
    }
    return [spec.name, out] as const;
  });
  return { kind: "mean", weight, arrays: Object.fromEntries(arrays) };
}
