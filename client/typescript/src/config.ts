/** The configuration of a round: parsed, checked, and what follows from it (PROTOCOL.md, sections 5, 14 and 24). */
import { sha256 } from "#platform";

import { type Message, isMessage } from "@bufbuild/protobuf";

import { equal, utf8 } from "./bytes.js";
import { COORDINATOR, DecodeError, ModelMismatch, PolicyViolation, ProtocolViolation } from "./errors.js";
import { MAX_CONFIG_FIELDS, MAX_CONFIG_TOP_FIELDS, parse } from "./fields.js";
import { LABEL, digest } from "./framing.js";
import { safeRing } from "./graph.js";
import { wordBits } from "./packing.js";
import { SUITES, type Suite as SuiteOf } from "./suites.js";
import {
  Combine, Custody, Dtype, Graph, HomomorphicScheme, type RoundConfig, RoundConfigSchema, Suite, ThreatModel,
} from "./wire/secagg/wire/v1/config_pb.js";

const MAX_CONFIG_BYTES = 64 * 2 ** 20;
const MAX_HYBRID_NEIGHBOURS = 2000;
const MAX_DEADLINE_MS = 604_800_000n;
const FLOATS = [Dtype.FLOAT32, Dtype.FLOAT64];

export const bitLength = (value: bigint): number => (value === 0n ? 0 : value.toString(2).length);

/** A configuration that was parsed and is safe, with what follows from it. */
export interface Round {
  readonly config: RoundConfig;
  readonly active: boolean;
  readonly suite: SuiteOf;
  /** q, or 0 with integers. */
  readonly valueBits: number;
  /** b: bits of the ring. */
  readonly ringBits: number;
  /** w: bits of a word. */
  readonly wordBits: number;
  /** m: coordinates, the weight included. */
  readonly vectorLen: number;
  readonly purpose: string;
}

/** Fields that we do not know may be what makes the round another one. */
function knownFields(message: Message): void {
  if (message.$unknown !== undefined && message.$unknown.length > 0) throw new DecodeError("the configuration has a field that is not known");
  for (const value of Object.values(message)) {
    for (const one of Array.isArray(value) ? value : [value]) if (isMessage(one)) knownFields(one);
  }
}

function known(enumeration: object, value: number): void {
  if (!(value in enumeration) || value === 0) throw new DecodeError(`the enum value ${value} is not known, or unspecified`);
}

/** Parse a configuration (C1, C98). Raises `DecodeError`. */
export function parseConfig(bytes: Uint8Array): RoundConfig {
  if (bytes.length > MAX_CONFIG_BYTES) throw new DecodeError("the configuration is longer than 64 MiB");
  const options = { left: MAX_CONFIG_FIELDS, top: MAX_CONFIG_TOP_FIELDS };
  const config = parse(RoundConfigSchema, bytes, options);
  knownFields(config);
  known(ThreatModel, config.threatModel);
  known(Suite, config.suite);
  known(Graph, config.graph);
  for (const array of config.arrays) known(Dtype, array.dtype);
  if (config.groups) known(Combine, config.groups.combine);
  if (config.homomorphic) {
    known(HomomorphicScheme, config.homomorphic.scheme);
    known(Custody, config.homomorphic.custody);
  }
  // What says how a round is read is there once, and whole.
  const codes = [config.encoding, config.pipeline || undefined, config.integers].filter((code) => code !== undefined);
  if (codes.length > 1) throw new DecodeError("more than one of encoding, pipeline and integers");
  if ((config.graph === Graph.COMPLETE) !== (config.ring === undefined)) throw new DecodeError("ring belongs to GRAPH_RING");
  if (config.arrays.some((array) => (array.min === undefined) !== (array.max === undefined))) throw new DecodeError("an array has min and max, or neither");
  return config;
}

function demand(holds: boolean, what: string): asserts holds {
  if (!holds) throw new ProtocolViolation(`the configuration is not safe: ${what}`, COORDINATOR);
}

const within = (value: number, low: number, high: number): boolean => value >= low && value <= high;
const magnitude = (value: bigint): bigint => (value < 0n ? -value : value);

/** The smallest and the largest value of each array of a round of integers. */
export function integerBounds(config: RoundConfig): { min: bigint; max: bigint }[] {
  return config.arrays.map((array) => ({
    min: array.min ?? config.integers!.min,
    max: array.max ?? config.integers!.max,
  }));
}

function checkArrays(config: RoundConfig): bigint {
  demand(within(config.arrays.length, 1, 100_000), "it needs 1 to 100,000 arrays");
  demand(new Set(config.arrays.map((a) => a.name)).size === config.arrays.length, "two arrays have one name");
  let values = 0n;
  for (const array of config.arrays) {
    demand(within(utf8(array.name).length, 1, 512), "the name of an array needs 1 to 512 bytes");
    demand(array.shape.length <= 32 && array.shape.every((side) => side >= 1n), "an array has at most 32 sides, each at least 1");
    const float = FLOATS.includes(array.dtype);
    demand(float === !config.integers, "an array has a dtype that does not fit");
    demand(array.range === undefined || (float && within(array.range, 2 ** -64, 2 ** 64)), "a range is 2^-64 to 2^64, for floats");
    demand(array.min === undefined || !float, "min and max are for integers");
    values += array.shape.reduce((product, side) => product * side, 1n);
  }
  return values;
}

function checkDeadlines(config: RoundConfig): void {
  const d = config.deadlines;
  demand(d !== undefined, "it has no deadlines");
  const phases = [d.advertiseKeysMs, d.shareKeysMs, d.maskedInputMs, d.consistencyCheckMs, d.unmaskMs];
  demand(phases.every((ms) => ms >= 1n && ms <= MAX_DEADLINE_MS) && d.joinMs <= MAX_DEADLINE_MS, "a deadline is 1 ms to 7 days");
}

function checkGroups(config: RoundConfig): void {
  const groups = config.groups;
  if (!groups) return;
  const trimmed = groups.combine === Combine.TRIMMED;
  demand(within(groups.count, 3, 1000) && groups.combine !== Combine.UNSPECIFIED, "3 to 1000 groups, and how to combine them");
  demand(trimmed ? groups.trim >= 1 && 2 * groups.trim < groups.count : groups.trim === 0, "trim does not fit");
  demand(groups.parent.length === 16 && within(groups.number, 1, groups.count), "a group needs its parent and its number");
  demand(!config.integers || groups.combine === Combine.MEAN, "integers in groups need COMBINE_MEAN");
}

/** Check a masked configuration (C2, C101). Raises `ProtocolViolation`; `PolicyViolation` for what this client lacks. */
export function checkConfig(config: RoundConfig): Round {
  demand(within(utf8(config.task).length, 1, 128), "task needs 1 to 128 bytes");
  demand(config.modelDigest.length === 32, "model_digest needs 32 bytes");
  const unnamed = config.modelDigest.every((byte) => byte === 0);
  demand(!config.modelLater || (unnamed && !config.homomorphic), "model_later needs a digest of zeros and a masked round");
  demand(config.encoding !== undefined || config.pipeline !== "" || config.integers !== undefined, "exactly one of encoding, pipeline and integers");
  const { maxParticipants: n, threshold: t, maxColluding: c } = config;
  demand(within(n, 3, 10_000) && within(t, 3, n) && c < n, "3 <= threshold <= max_participants <= 10,000");
  demand(t - c >= 2, "threshold - max_colluding is below 2");
  const active = config.threatModel === ThreatModel.ACTIVE;
  const complete = config.graph === Graph.COMPLETE;
  demand(!((active || config.certify) && complete) || 2 * t > n + c, "2·threshold must be above max_participants + max_colluding");
  const most = config.ring?.degree ?? n - 1;
  demand(config.suite !== Suite.XWING_SHA256_AES256 || most <= MAX_HYBRID_NEIGHBOURS, "the hybrid suite allows at most 2,000 neighbours");
  demand(!config.certify || active || config.homomorphic !== undefined, "certify needs signed messages");
  demand(config.purpose === "" || /^[a-z0-9_-]{1,64}$/.test(config.purpose), "purpose is 1 to 64 of a-z 0-9 _ -");
  demand(config.releaseToCoordinator || config.homomorphic !== undefined, "release_to_coordinator is not set");
  if (config.ring) safeRing(config.ring, config);
  checkDeadlines(config);
  checkGroups(config);
  const values = checkArrays(config);
  if (config.homomorphic) throw new PolicyViolation("this client takes part in masked rounds only", COORDINATOR);
  if (config.pipeline) throw new PolicyViolation("this client has no pipelines", COORDINATOR);
  if (config.groups) throw new PolicyViolation("this client takes part in no rounds in groups yet", COORDINATOR);
  const suite = SUITES.get(config.suite);
  if (suite === undefined) throw new PolicyViolation(`this client has not the suite ${Suite[config.suite]}`, COORDINATOR);

  let width: number;
  if (config.integers) {
    const bounds = integerBounds(config);
    for (const { min, max } of [config.integers, ...bounds]) demand(min >= -(2n ** 62n) && min < max && max <= 2n ** 62n, "-2^62 <= min < max <= 2^62");
    for (const { min, max } of bounds) {
      const most = BigInt(n) * (magnitude(min) > magnitude(max) ? magnitude(min) : magnitude(max));
      demand(most < 2n ** 63n, "sums of integers must stay below 2^63");
    }
    width = Math.max(...bounds.map(({ min, max }) => bitLength(max - min)));
  } else {
    const { clip, valueBits, maxWeight } = config.encoding!;
    demand(within(clip, 2 ** -64, 2 ** 64), "clip is 2^-64 to 2^64");
    demand(within(valueBits, 1, 32) && maxWeight >= 1, "value_bits is 1 to 32, max_weight at least 1");
    width = Math.max(valueBits, bitLength(BigInt(maxWeight)));
  }
  const ringBits = width + bitLength(BigInt(n - 1));
  const vectorLen = Number(values) + (config.integers ? 0 : 1);
  demand(ringBits <= 64 && vectorLen <= 2 ** 32, "the ring is wider than 64 bits, or the vector longer than 2^32");
  return {
    config, active, suite, ringBits, vectorLen,
    valueBits: config.encoding?.valueBits ?? 0,
    wordBits: wordBits(ringBits),
    purpose: config.purpose || "train",
  };
}

/** What a participant demands of a round (section 14), by the names that the section uses. */
export interface Policy {
  /** All where absent. */
  readonly tasks?: readonly string[];
  /** All where absent. This client has `masked` alone. */
  readonly schemes?: readonly string[];
  /** All where absent. This client has `X25519_SHA256_AES128` and `XWING_SHA256_AES256`. */
  readonly suites?: readonly string[];
  /** `["ACTIVE"]` where absent. */
  readonly threatModels?: readonly ("SEMI_HONEST" | "ACTIVE")[];
  readonly requireCompleteGraph?: boolean;
  /** Refuse rounds of another suite than `XWING_SHA256_AES256`, whose traffic a quantum computer could open later. */
  readonly requireHybrid?: boolean;
  /** 3 where absent. */
  readonly minCohort?: number;
  /** 2 where absent. */
  readonly minHonest?: number;
  /** A decimal, so that 0.29 of 100 is 29. `"0.3"` where absent. */
  readonly minColludingShare?: string;
  /** 1 where absent. */
  readonly minOrganisations?: number;
  /** Our update of a model, for one purpose, goes into sums of one cohort, and into none once a receipt has come. */
  readonly oncePerModel?: boolean;
  /** Refuses every round, because this client takes part in none with noise. */
  readonly requireDistributedNoise?: boolean;
  /** Above 0 refuses every round, for the same reason. */
  readonly minNoiseMultiplier?: number;
  /** Refuses every round, because one without noise costs infinitely much. */
  readonly maxEpsilon?: number;
}

/** ⌊share·n⌋ in exact decimals. */
function shareOf(share: string, n: number): number {
  const [whole, fraction = ""] = share.split(".");
  return Number((BigInt(whole + fraction) * BigInt(n)) / 10n ** BigInt(fraction.length));
}

export function checkPolicy(round: Round, policy: Policy): void {
  const { config } = round;
  const refuse = (when: boolean, why: string): void => {
    if (when) throw new PolicyViolation(why, COORDINATOR);
  };
  const model = round.active ? "ACTIVE" : "SEMI_HONEST";
  refuse(policy.tasks !== undefined && !policy.tasks.includes(config.task), "the policy does not name this task");
  refuse(!(policy.threatModels ?? ["ACTIVE"]).includes(model), `the policy refuses ${model}`);
  refuse(policy.schemes?.includes("masked") === false, "the policy refuses masked rounds");
  refuse(policy.suites?.includes(Suite[config.suite]!) === false, `the policy refuses the suite ${Suite[config.suite]}`);
  refuse(policy.requireHybrid === true && !round.suite.hybrid, "the policy demands the hybrid suite");
  refuse(policy.requireCompleteGraph === true && config.graph !== Graph.COMPLETE, "the policy demands the complete graph");
  refuse(config.threshold < (policy.minCohort ?? 3), "the threshold is below the policy's cohort");
  refuse(config.threshold - config.maxColluding < (policy.minHonest ?? 2), "too few honest updates in a sum");
  refuse((policy.minOrganisations ?? 1) > 1 && !round.active, "organisations are certified in active rounds only");
  const noise = policy.requireDistributedNoise === true || (policy.minNoiseMultiplier ?? 0) > 0 || policy.maxEpsilon !== undefined;
  refuse(noise, "the policy demands noise, and this client has none");
  const colluding = shareOf(policy.minColludingShare ?? "0.3", config.maxParticipants);
  refuse(config.maxColluding < colluding, "max_colluding is below the policy's share");
}

/** Everything that is checked of an offer: C1 to C4, C87, C98 and C101. */
export function acceptOffer(bytes: Uint8Array, modelDigest: Uint8Array, policy: Policy, purpose: string): Round {
  const round = checkConfig(parseConfig(bytes));
  checkPolicy(round, policy);
  if (round.purpose !== purpose) throw new PolicyViolation(`a round for ${round.purpose}, not ${purpose}`, COORDINATOR);
  if (!round.config.modelLater && !equal(round.config.modelDigest, modelDigest)) {
    throw new ModelMismatch("the round is about another model", COORDINATOR);
  }
  return round;
}

export const contextOf = (roundId: Uint8Array, config: Uint8Array, model: Uint8Array): Uint8Array =>
  digest(LABEL.context, roundId, sha256(config), model);

export const inputContextOf = (context: Uint8Array, model: Uint8Array): Uint8Array =>
  digest(LABEL.inputContext, context, model);
