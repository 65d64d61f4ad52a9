/** Rosters' digests, the ring and its committee, and whether a ring is safe (PROTOCOL.md, sections 12 and 24). */
import { COORDINATOR, ProtocolViolation } from "./errors.js";
import { compare, u32 } from "./bytes.js";
import { LABEL, digest, frame } from "./framing.js";
import { type Ring, type RoundConfig, ThreatModel } from "./wire/secagg/wire/v1/config_pb.js";

/** What a roster says of one member. */
export interface Entry {
  readonly index: number;
  readonly id: string;
  readonly channelKey: Uint8Array;
  readonly maskKey: Uint8Array;
  readonly certificates: readonly Uint8Array[];
}

const parts = (e: Entry): (Uint8Array | string)[] => [
  u32(e.index), e.id, e.channelKey, e.maskKey, "", frame("", ...e.certificates),
];

export const rosterDigest = (entries: readonly Entry[]): Uint8Array => digest(LABEL.roster, ...entries.flatMap(parts));

export const entryDigest = (entry: Entry): Uint8Array => digest(LABEL.rosterEntry, ...parts(entry));

/** The digest of a list of all members: their ids and entry digests, in the order of their indices. */
export function sparseRosterDigest(ids: readonly string[], digests: readonly Uint8Array[]): Uint8Array {
  return digest(LABEL.sparseRoster, ...ids.flatMap((id, i) => [u32(i + 1), id, digests[i]!]));
}

/** Indices 1 to n, in ascending order of a digest of each. */
function ordered(label: string, seed: Uint8Array, n: number): number[] {
  return Array.from({ length: n }, (_, i) => ({ index: i + 1, key: digest(label, seed, u32(i + 1)) }))
    .sort((a, b) => compare(a.key, b.key))
    .map(({ index }) => index);
}

export interface SparseGraph {
  /** The members in the order of their places. */
  readonly ring: readonly number[];
  readonly committee: ReadonlySet<number>;
  neighbours(index: number): number[];
}

export function sparseGraph(context: Uint8Array, roster: Uint8Array, n: number, degree: number, committee: number): SparseGraph {
  const seed = digest(LABEL.graphSeed, context, roster);
  const ring = ordered(LABEL.graphPlace, seed, n);
  const half = degree / 2;
  return {
    ring,
    committee: new Set(committee === 0 ? [] : ordered(LABEL.graphCommittee, seed, n).slice(0, committee)),
    neighbours(index) {
      const place = ring.indexOf(index);
      const offsets = Array.from({ length: half }, (_, i) => i + 1).flatMap((d) => [d, n - d]);
      return offsets.map((d) => ring[(place + d) % n]!).sort((a, b) => a - b);
    },
  };
}

export const graphContext = (context: Uint8Array, roster: Uint8Array): Uint8Array => digest(LABEL.graphContext, context, roster);

/** C(a, b), 0 where there is no choice. */
function choose(a: number, b: number): bigint {
  if (b < 0 || a < b) return 0n;
  let result = 1n;
  for (let i = 1; i <= Math.min(b, a - b); i++) result = (result * BigInt(a - i + 1)) / BigInt(i);
  return result;
}

/** Ways to draw `size` of `population`, `least` or more of them among `colluding`. */
function tail(population: number, colluding: number, size: number, least: number): bigint {
  let sum = 0n;
  for (let x = Math.max(least, 0); x <= Math.min(size, colluding); x++) {
    sum += choose(colluding, x) * choose(population - colluding, size - x);
  }
  return sum;
}

/** Check the parameters of a ring (C101). Raises `ProtocolViolation`. */
export function safeRing(ring: Ring, config: RoundConfig): void {
  const demand = (holds: boolean, what: string): void => {
    if (!holds) throw new ProtocolViolation(`the ring is not safe: ${what}`, COORDINATOR);
  };
  const { degree: k, neighbourThreshold: tk, committee: s, committeeThreshold: tc, minParticipants: n } = ring;
  const { maxParticipants: most, threshold: t, maxColluding: c } = config;
  const active = config.threatModel === ThreatModel.ACTIVE;
  demand(config.homomorphic === undefined, "only masked rounds have one");
  demand(n >= t && n <= most, "min_participants is threshold to max_participants");
  demand(k >= 2 && k % 2 === 0 && k <= n - 2, "degree is even and at most min_participants - 2");
  demand(tk >= 2 && tk <= k, "neighbour_threshold is 2 to degree");
  demand(active ? s >= 1 && s <= n && 2 * tc > s && tc <= s : s === 0 && tc === 0, "the committee");
  demand(!active || (config.deadlines?.advertiseKeysMs ?? 0n) <= 600_000n, "advertise_keys_ms is above 600,000");
  const h = k / 2;
  const T = 2n ** (active ? 102n : 41n);
  const big = BigInt;

  const i = active ? 2 * tk - k - 1 : tk;
  const owner = tail(n - 1, c, k, i);
  demand(big(n) * owner * T <= choose(n - 1, k), "owner");
  demand(owner === 0n || (i - 1) * n >= k * c, "owner, with more members");
  if (!active) {
    demand(big(most) * big(most - k - 1) * choose(c + most - t, k) * T <= 2n * choose(most, k), "cut");
    return;
  }
  const j = tk - 1 - h;
  const cut = tail(n, c, h, j);
  demand(big(n) * big(n - k - 1) * cut * cut * T <= 2n * choose(n, h) ** 2n, "cut");
  const left = big(j * (n + 1) - h * c) * big(n) * big(n - k - 1);
  demand(cut === 0n || left >= big(n - h) * big(n + 1 - h) * big(n + 1 - c), "cut, with more members");
  const l = 2 * tc - s;
  const texts = tail(n, c, s, l);
  demand(texts * T <= choose(n, s), "two texts");
  demand(texts === 0n || l * n >= s * c, "two texts, with more members");
}
