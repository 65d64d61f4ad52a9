/** Byte strings joined with their lengths, and the SHA-256 of that (PROTOCOL.md, sections 3 and 4). */
import { sha256 } from "#platform";

import { concat, u32, utf8 } from "./bytes.js";

export type Part = Uint8Array | string;

export const LABEL = {
  context: "secagg/v1/context",
  inputContext: "secagg/v1/input-context",
  model: "secagg/v1/model",
  trustAnchors: "secagg/v1/trust-anchors",
  roster: "secagg/v1/roster",
  rosterEntry: "secagg/v1/roster-entry",
  sparseRoster: "secagg/v1/sparse-roster",
  graphContext: "secagg/v1/graph-context",
  graphSeed: "secagg/v1/graph-seed",
  graphPlace: "secagg/v1/graph-place",
  graphCommittee: "secagg/v1/graph-committee",
  advertiseKeysSignature: "secagg/v1/advertise-keys-signature",
  consistencySignature: "secagg/v1/consistency-signature",
  receiptSignature: "secagg/v1/receipt-signature",
  resultSignature: "secagg/v1/result-signature",
  selfMaskCommitment: "secagg/v1/self-mask-commitment",
  shareSealing: "secagg/v1/share-sealing",
  share: "secagg/v1/share",
  maskKeyShareDigest: "secagg/v1/mask-key-share-digest",
  selfMaskShareDigest: "secagg/v1/self-mask-share-digest",
  dealingSignature: "secagg/v1/dealing-signature",
  dealtEntry: "secagg/v1/dealt-entry",
  pairSecret: "secagg/v1/pair-secret",
  pairSecretSealing: "secagg/v1/pair-secret-sealing",
  pairSecretDigest: "secagg/v1/pair-secret-digest",
  pairwiseMask: "secagg/v1/pairwise-mask",
  selfMask: "secagg/v1/self-mask",
  savedState: "secagg/v1/saved-state",
  keptState: "secagg/v1/kept-state",
  keptInput: "secagg/v1/kept-input",
  stochasticRounding: "secagg/v1/stochastic-rounding",
} as const;

const bytesOf = (part: Part): Uint8Array => (typeof part === "string" ? utf8(part) : part);

/** Each index as four bytes, joined. */
export const indices = (values: readonly number[]): Uint8Array => concat(values.map(u32));

export function frame(...parts: Part[]): Uint8Array {
  return concat(
    parts.flatMap((part) => {
      const bytes = bytesOf(part);
      return [u32(bytes.length), bytes];
    }),
  );
}

export const digest = (...parts: Part[]): Uint8Array => sha256(frame(...parts));
