/** Reads the vectors of `proto/vectors`. */
import { readFileSync, readdirSync } from "node:fs";

const FOLDER = new URL("../../../../proto/vectors/", import.meta.url);

import type { Policy } from "../src/config.js";

export type Vector = any;

export const names = (): string[] => readdirSync(FOLDER).filter((n) => n.endsWith(".json")).map((n) => n.slice(0, -5));

/** Numbers above 2^53 become bigints: JSON.parse would round them. */
export function load(name: string): Vector {
  const text = readFileSync(new URL(`${name}.json`, FOLDER), "utf8");
  const marked = text.replace(/(?<=[[\s:,])(-?\d{16,})(?=[\s,\]}])/g, '"big:$1"');
  return JSON.parse(marked, (_, value: unknown) =>
    typeof value === "string" && value.startsWith("big:") ? BigInt(value.slice(4)) : value);
}

export const bytes = (hex: string): Uint8Array => Buffer.from(hex, "hex");
export const hex = (value: Uint8Array): string => Buffer.from(value).toString("hex");

/** A float in the hexadecimal of ISO C. */
export function float(text: string): number {
  const match = /^(-?)0x([01])\.([0-9a-f]*)p([+-]\d+)$/.exec(text);
  if (!match) return Number(text);
  const [, sign, whole, fraction, exponent] = match;
  const digits = BigInt("0x" + whole + fraction);
  // Twice a power of two: 2^-1074 is not reached by one factor alone.
  const scale = Number(exponent) - 4 * fraction!.length;
  const value = Number(digits) * 2 ** Math.trunc(scale / 2) * 2 ** (scale - Math.trunc(scale / 2));
  return sign ? -value : value;
}

/** The policy of a vector: what it does not name is as permissive as can be. */
export function policyOf(p: Vector = {}): Policy {
  return {
    threatModels: p.threat_models ?? ["SEMI_HONEST", "ACTIVE"],
    minCohort: p.min_cohort ?? 3, minHonest: p.min_honest ?? 2, minColludingShare: String(p.min_colluding_share ?? 0),
    minOrganisations: p.min_organisations ?? 1, requireCompleteGraph: p.require_complete_graph ?? false,
    requireHybrid: p.require_hybrid ?? false,
    oncePerModel: p.once_per_model ?? false, requireDistributedNoise: p.require_distributed_noise ?? false,
    minNoiseMultiplier: p.min_noise_multiplier ?? 0, ...(p.max_epsilon !== undefined && { maxEpsilon: p.max_epsilon }),
    ...(p.tasks && { tasks: p.tasks }), ...(p.schemes && { schemes: p.schemes }), ...(p.suites && { suites: p.suites }),
  };
}

export const wordsText = (words: Iterable<number | bigint>): string[] => Array.from(words, String);
