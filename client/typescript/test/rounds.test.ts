/** Whole rounds, and what a participant must refuse, at the steps of participants alone. */
import assert from "node:assert/strict";
import test from "node:test";
import { sha256 } from "#platform";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";

import { type Policy, type Round, acceptOffer, parseConfig } from "../src/config.js";
import { encode } from "../src/encoding.js";
import { AuthenticationError, DecodeError, LocalError, ProtocolViolation, RemoteError } from "../src/errors.js";
import { Memory } from "../src/memory.js";
import { pack, zeros } from "../src/packing.js";
import { type MessageName, Participant } from "../src/participant.js";
import { Secret } from "../src/primitives.js";
import { type Encapsulate, type Encapsulation, HYBRID, KeyPair } from "../src/suites.js";
import { type Receipt, believe, checkAggregate, isCertified, readAggregate, signResult } from "../src/results.js";
import {
  AdvertiseKeysSchema, AggregatePartSchema, ConsistencyProofPartSchema, ReceiptSchema, RosterPartSchema, ShareDeliveryPartSchema, ShareKeysPartSchema,
} from "../src/wire/secagg/wire/v1/data_plane_pb.js";
import { type Vector, bytes, hex, load, names, policyOf } from "./vectors.js";

// round-semi-honest-model-later has a pipeline, which this client refuses.
const ROUNDS = ["round-semi-honest", "round-active", "round-active-model-later",
  "round-semi-honest-sparse", "round-active-sparse", "round-hybrid"];

function updateOf(round: Round, update: Record<string, string>): Record<string, Float32Array | Float64Array> {
  return Object.fromEntries(round.config.arrays.map((spec) => {
    const data = new Uint8Array(bytes(update[spec.name]!)).buffer;
    return [spec.name, spec.dtype === 1 ? new Float32Array(data) : new Float64Array(data)];
  }));
}

function participantOf(v: Vector, id: string, policy: Policy, memory: Memory): Participant {
  const p = v.participants[id];
  const r = p.random;
  const model = bytes(v.model_digest);
  const round = acceptOffer(bytes(v.config), model, policy, "train");
  const drawn = [r.channel_private_key, r.mask_private_key, r.self_mask_seed, r.mask_key_coefficients, r.self_mask_coefficients];
  return new Participant({
    round, id, model, policy, memory, roundId: bytes(v.round_id), configBytes: bytes(v.config),
    random: () => bytes(drawn.shift()),
    ...(p.encapsulations && { encapsulate: recorded(v, p.encapsulations, id) }),
    input: () => encode(round, updateOf(round, p.update), p.weight, new Secret(bytes(p.rounding_seed))),
    ...(p.identity && { identity: { key: new Secret(bytes(p.identity.private_scalar_test_only)),
      chain: p.identity.certificates?.map(bytes) ?? [bytes(p.identity.certificate)], authorities: [bytes(v.authority.certificate)] } }),
  });
}

/** What a vector recorded for a sender, by the key that it encapsulates to. */
function recorded(v: Vector, of: string, sender: string): Encapsulate {
  const found = new Map<string, Encapsulation>();
  for (const [purpose, by] of Object.entries(load("recorded-encapsulations").vectors[of][sender] as Record<string, Vector>)) {
    for (const [receiver, { ciphertext, secret }] of Object.entries(by as Record<string, Vector>)) {
      const { public: key } = new KeyPair(HYBRID, new Secret(bytes(v.participants[receiver].random[`${purpose}_private_key`])));
      found.set(hex(key), { ciphertext: bytes(ciphertext), secret: new Secret(bytes(secret)) });
    }
  }
  return (key) => found.get(hex(key))!;
}

/** A round whose long parts are there: Roster and ShareDelivery as the coordinator makes them, ShareKeys as participants do. */
function complete(name: string): Vector {
  const v = load(name);
  if (v.messages.roster === undefined) return v; // on a ring each has its own, and no part is long
  const isLong = (m: Vector): boolean => m.parts.some((one: Vector) => one.sha256 !== undefined);
  const put = (m: Vector, made: Uint8Array): void => {
    assert.equal(hex(sha256(made)), m.parts[0].sha256);
    m.parts = [hex(made)];
  };
  const dealt: { from: string; to: number; entry: Uint8Array }[] = [];
  const shown = v.steps.filter((s: Vector) => s.message === "roster");
  const roster = shown.map((s: Vector) => s.at).sort();
  if (isLong(v.messages.roster)) {
    const members = roster.map((participantId: string, i: number) =>
      ({ index: i + 1, participantId, keys: fromBinary(AdvertiseKeysSchema, bytes(v.messages[`${participantId}/advertise-keys`].parts[0])) }));
    put(v.messages.roster, toBinary(RosterPartSchema, create(RosterPartSchema, { members })));
  }
  for (const step of shown) {
    const message = v.messages[step.expect.replies[0]];
    if (!isLong(message)) continue;
    const [made] = play(participantOf(v, step.at, policyOf(), new Memory()), v, v.messages.roster, step);
    put(message, made!);
    const { peers, entries } = fromBinary(ShareKeysPartSchema, made!);
    const size = entries.length / peers.length;
    peers.forEach((to, i) => dealt.push({ from: step.at, to, entry: entries.slice(i * size, (i + 1) * size) }));
  }
  const took = new Set(v.steps.filter((s: Vector) => s.at === "coordinator" && s.message?.endsWith("/share-keys")).map((s: Vector) => s.sender));
  for (const [key, message] of Object.entries(v.messages as Record<string, Vector>)) {
    if (message.type !== "ShareDelivery" || !isLong(message)) continue;
    const own = roster.indexOf(key.split("/")[0]!) + 1;
    const due = dealt.filter(({ from, to }) => to === own && took.has(from)).sort((a, b) => (a.from < b.from ? -1 : 1));
    const peers = due.map(({ from }) => roster.indexOf(from) + 1);
    put(message, toBinary(ShareDeliveryPartSchema, create(ShareDeliveryPartSchema, { peers, entries: Buffer.concat(due.map((d) => d.entry)) })));
  }
  return v;
}

const COMPLETE = new Map<string, Vector>();
const roundOf = (name: string): Vector => {
  if (!COMPLETE.has(name)) COMPLETE.set(name, complete(name));
  return COMPLETE.get(name);
};

function part(v: Vector, one: Vector): Uint8Array {
  if (typeof one === "string") return bytes(one);
  return Buffer.concat(one.pieces.map((piece: Vector) => {
    if (typeof piece === "string") return bytes(piece);
    if (piece.byte !== undefined) return Buffer.alloc(piece.times, bytes(piece.byte));
    return bytes(v.messages[piece.message].parts[piece.part]).subarray(piece.from, piece.to);
  }));
}

const play = (p: Participant, v: Vector, message: Vector, step: Vector): Uint8Array[] =>
  p.receive(message.type as MessageName, message.parts.map((one: Vector) => part(v, one)), step.now_ms);

for (const name of ROUNDS) {
  test(name, () => {
    const v = roundOf(name);
    for (const id of Object.keys(v.participants)) {
      let p: Participant | undefined;
      for (const step of v.steps.filter((s: Vector) => s.at === id)) {
        if (step.do === "join") p = participantOf(v, id, policyOf(), new Memory());
        const replies = step.do === "join" ? p!.advertiseKeys : play(p!, v, v.messages[step.message], step);
        const expected = (step.expect?.replies ?? []).flatMap((r: string) => v.messages[r].parts);
        assert.deepEqual(replies.map(hex), expected, `${id} at ${step.message ?? "join"}`);
      }
    }
  });
}

function refused(vector: Vector, act: () => unknown): void {
  assert.throws(act, (error: unknown) => {
    const { error: kind, culprit } = vector.expect ?? vector.steps.at(-1).expect;
    assert.ok(error instanceof RemoteError, String(error));
    assert.equal(error.constructor.name, kind, error.message);
    if (culprit !== undefined) assert.equal(error.culprit, culprit, error.message);
    return true;
  });
}

/** A participant that played its part of a round to the end, and when. */
function played(v: Vector, id: string): { participant: Participant; nowMs: number } {
  const participant = participantOf(v, id, policyOf(), new Memory());
  let nowMs = 0;
  for (const step of v.steps.filter((s: Vector) => s.at === id && s.do === "receive")) {
    play(participant, v, v.messages[step.message], step);
    nowMs = step.now_ms;
  }
  return { participant, nowMs };
}

test("a roster with keys that no round of its kind has", () => {
  const changes: Record<string, object[]> = {
    "round-active": [{ keys: undefined }, { keyShareCommitment: new Uint8Array(33) }, { signature: new Uint8Array(73) }, { channelPublicKey: new Uint8Array(31) },
      { channelPublicKey: new Uint8Array(33) }, { maskPublicKey: new Uint8Array(1217) }],
    "round-semi-honest": [{ signature: new Uint8Array(73) }, { certificates: [new Uint8Array(8193)] }],
  };
  for (const [name, each] of Object.entries(changes)) {
    const v = load(name);
    const step = v.steps.find((s: Vector) => s.do === "receive" && v.messages[s.message]?.type === "Roster" && s.at !== "coordinator");
    for (const change of each) {
      const roster = fromBinary(RosterPartSchema, bytes(v.messages[step.message].parts[0]));
      const [first] = roster.members;
      if ("keys" in change) delete first!.keys;
      else Object.assign(first!.keys!, change);
      const p = participantOf(v, step.at, policyOf(), new Memory());
      assert.throws(() => p.receive("Roster", [toBinary(RosterPartSchema, roster)], step.now_ms), DecodeError, JSON.stringify(Object.keys(change)));
    }
  }
});

test("an active round needs a key", () => {
  const v = load("round-active");
  const id = Object.keys(v.participants)[0]!;
  delete v.participants[id].identity;
  assert.throws(() => participantOf(v, id, policyOf(), new Memory()), LocalError);
});

test("the end of a round", () => {
  const v = load("round-active");
  const e = load("endings");
  const { participant, nowMs } = played(v, e.result.signer);
  const receipt = believe(participant.seen, [bytes(e.receipt.message)], [bytes(v.authority.certificate)], nowMs);
  assert.deepEqual(receipt.survivors, e.survivors);
  assert.equal(hex(receipt.sumsDigest), e.sums_digest);
  assert.equal(hex(signResult(participant.seen, receipt)), e.result.signature);
  assert.equal(isCertified(participant.seen, receipt, e.result.signatures.map(bytes)), true);
});

test("a receipt or a certification that is malformed", () => {
  const v = load("round-active");
  const e = load("endings");
  const { participant, nowMs } = played(v, e.result.signer);
  const ca = [bytes(v.authority.certificate)];
  const good = fromBinary(ReceiptSchema, bytes(e.receipt.message));
  const change = (more: object): Uint8Array => toBinary(ReceiptSchema, { ...good, ...more });
  const wrong: [object, typeof RemoteError][] = [
    [{ sumsDigest: new Uint8Array(31) }, DecodeError], [{ signature: new Uint8Array(73) }, DecodeError],
    [{ certificates: Array(5).fill(good.certificates[0]) }, DecodeError], [{ certificates: [new Uint8Array(8193)] }, DecodeError],
    [{ survivors: 10_001 }, DecodeError], [{ signedMs: 2n ** 63n }, DecodeError], [{ survivors: good.survivors + 1 }, ProtocolViolation],
    [{ signature: new Uint8Array() }, AuthenticationError], [{ certificates: [] }, AuthenticationError],
  ];
  for (const [more, kind] of wrong) assert.throws(() => believe(participant.seen, [change(more)], ca, nowMs), kind, JSON.stringify(Object.keys(more)));
  assert.throws(() => believe(participant.seen, [change({}), change({})], ca, nowMs), DecodeError);
  assert.throws(() => believe(participantOf(v, e.result.signer, policyOf(), new Memory()).seen, [change({})], ca, nowMs), LocalError);
  const receipt = believe(participant.seen, [change({})], ca, nowMs);
  assert.throws(() => believe(participant.seen, [change({})], ca, nowMs + 2e12), AuthenticationError);
  const signed = fromBinary(ConsistencyProofPartSchema, bytes(e.result.signatures[0])).signatures;
  const proof = (...signatures: typeof signed): Uint8Array[] => [toBinary(ConsistencyProofPartSchema, create(ConsistencyProofPartSchema, { signatures }))];
  assert.equal(isCertified(participant.seen, receipt, proof(...signed.slice(1))), signed.length - 1 >= participant.seen.setup.round.config.threshold);
  assert.equal(isCertified(participant.seen, receipt, proof(signed[0]!)), false);
  assert.throws(() => isCertified(participant.seen, receipt, proof(signed[0]!, signed[0]!)), DecodeError);
  assert.throws(() => isCertified(participant.seen, receipt, proof({ ...signed[0]!, signer: 0 })), DecodeError);
  assert.throws(() => isCertified(participant.seen, receipt, proof({ ...signed[0]!, signature: new Uint8Array() })), DecodeError);
});

test("an aggregate that is malformed, or another one than the receipt says", () => {
  const v = load("round-active");
  const round = acceptOffer(bytes(v.config), bytes(v.model_digest), policyOf(), "train");
  const sums = zeros(round.wordBits, round.vectorLen);
  const payload = pack(sums, round.ringBits);
  const sumsDigest = sha256(payload);
  const survivors = Object.keys(v.participants).sort().slice(0, round.config.threshold);
  const parts = (more: object = {}, chunk: object = {}): Uint8Array[] => [
    toBinary(AggregatePartSchema, create(AggregatePartSchema, { survivors, sumsDigest, ...more })),
    toBinary(AggregatePartSchema, create(AggregatePartSchema, { number: 0, payload, ...chunk })),
  ];
  const good = readAggregate(round, parts());
  const wrong = [
    parts({ survivors: [...survivors].reverse() }), parts({ survivors: survivors.slice(1) }), parts({ survivors: [...survivors, "~"] }),
    parts({}, { number: 1 }), parts({}, { payload: payload.slice(1) }), parts().slice(0, 1), [...parts(), parts()[1]!],
  ];
  for (const [i, one] of wrong.entries()) assert.throws(() => readAggregate(round, one), DecodeError, String(i));
  assert.throws(() => readAggregate(round, parts({ sumsDigest: new Uint8Array(32) })), AuthenticationError);
  const receipt = { survivors, sumsDigest } as never as Receipt;
  checkAggregate(good, receipt);
  assert.throws(() => checkAggregate({ ...good, survivors: survivors.slice(1) }, receipt), ProtocolViolation);
  assert.throws(() => checkAggregate({ ...good, digest: new Uint8Array(32) }, receipt), AuthenticationError);
});

/** Play a vector up to its last step; gives what plays that. */
function until(f: Vector): () => Uint8Array[] {
  const v = roundOf(f.round);
  const at = f.steps.at(-1).at;
  const memory = new Memory();
  const p = participantOf(v, at, policyOf(f.policy), memory);
  const message = (step: Vector): Vector => f.messages[step.message] ?? v.messages[step.message];
  for (const step of v.steps.slice(0, f.after)) if (step.at === at && step.do === "receive") play(p, v, v.messages[step.message], step);
  for (const [i, s] of (f.released ?? []).entries()) {
    memory.sums.push({ roundId: String(i), model: v.model_digest, purpose: s.purpose ?? "train", ...s });
  }
  for (const step of f.steps.slice(0, -1)) if (step.do === "receive") play(p, v, message(step), step);
  return () => play(p, v, message(f.steps.at(-1)), f.steps.at(-1));
}

for (const name of names().filter((n) => n.startsWith("variation-"))) {
  const f = load(name);
  if (f.kind === "variation" && ROUNDS.includes(f.round) && f.steps.at(-1).at !== "coordinator") {
    test(name, () => {
      const last = until(f);
      assert.deepEqual(last().map(hex), f.steps.at(-1).expect.replies.flat());
    });
  }
}

for (const [name, f] of names().map((n) => [n, load(n)]).filter(([, f]) => f.kind === "aggregate")) {
  test(name, () => {
    const v = load(f.round);
    const round = acceptOffer(bytes(v.config), bytes(v.model_digest), policyOf(), "train");
    const read = (): unknown => readAggregate(round, f.parts.map(bytes));
    if (f.expect.error === undefined) read();
    else refused(f, read);
  });
}

for (const name of names().filter((n) => n.startsWith("failure-"))) {
  const f = load(name);
  if (f.kind === "ending") {
    test(name, () => {
      const v = load(f.round);
      const { participant, nowMs } = played(v, f.participant_id);
      refused(f, () => {
        const receipt = believe(participant.seen, [bytes(f.receipt)], [bytes(v.authority.certificate)], f.now_ms ?? nowMs);
        isCertified(participant.seen, receipt, f.proof.map(bytes));
      });
    });
  }
  if (f.kind === "failure" && ROUNDS.includes(f.round) && f.steps.at(-1).at !== "coordinator") {
    test(name, () => {
      const last = until(f);
      refused(f, last);
    });
  }
  if (f.kind === "offer") {
    const more = f.followed_by ? f.followed_by.bytes.repeat(f.followed_by.times) : "";
    const config = bytes(f.config + more);
    let masked = true;
    try {
      masked = parseConfig(config).homomorphic === undefined;
    } catch (error) {
      masked = error instanceof RemoteError;
    }
    const other = f.policy.custodies || f.policy.schemes || f.policy.allow_experimental !== undefined;
    test(name, { skip: !masked || other ? "a homomorphic round" : false }, () => {
      refused(f, () => acceptOffer(config, bytes(f.model_digest), policyOf(f.policy), f.purpose ?? "train"));
    });
  }
}
