/** The derivations of PROTOCOL.md against their vectors. */
import assert from "node:assert/strict";
import test from "node:test";

import { create, toBinary } from "@bufbuild/protobuf";

import { sha256 } from "#platform";

import { concat } from "../src/bytes.js";
import { type Round, acceptOffer, contextOf, inputContextOf, parseConfig, checkConfig, checkPolicy } from "../src/config.js";
import { encode, encodeValues, roundingKey, roundingWords } from "../src/encoding.js";
import { coordinatorKey, identify } from "../src/certificates.js";
import { AuthenticationError, DecodeError, LocalError, PolicyViolation, ProtocolViolation, RemoteError, SecAggError } from "../src/errors.js";
import { LABEL, digest, frame, indices } from "../src/framing.js";
import { entryDigest, graphContext, rosterDigest, safeRing, sparseGraph, sparseRosterDigest } from "../src/graph.js";
import { pairwiseMaskKey, selfMaskKey, stride } from "../src/masks.js";
import { exposed } from "../src/memory.js";
import { digestModel } from "../src/model.js";
import { chunks, pack, unpack, valuesPerChunk, wordBits, wordsOf, zeros } from "../src/packing.js";
import { Secret, agree, hkdf, open, publicKey, seal, sign } from "../src/primitives.js";
import { openFrom, pairSecret, sealTo } from "../src/peers.js";
import { decode } from "../src/results.js";
import { HYBRID, KeyPair, X25519, encapsulating } from "../src/suites.js";
import { isShare, join, split } from "../src/sharing.js";
import {
  Combine, Custody, Dtype, GroupsSchema, HomomorphicScheme, HomomorphicProfileSchema, IntegersSchema, type RoundConfig, RoundConfigSchema, Suite, ThreatModel,
} from "../src/wire/secagg/wire/v1/config_pb.js";
import { type Vector, bytes, float, hex, load, policyOf } from "./vectors.js";

const secret = (text: string): Secret => new Secret(bytes(text));
const numbers = (list: Iterable<number | bigint>): string => Array.from(list, String).join();
const entry = (m: Vector) => ({
  index: m.index, id: m.participant_id, channelKey: bytes(m.channel_public_key), maskKey: bytes(m.mask_public_key),
  certificates: m.certificates.map(bytes),
});

test("framing", () => {
  for (const c of load("framing").cases) {
    assert.equal(hex(frame(...c.parts.map(bytes))), c.frame);
    assert.equal(hex(digest(...c.parts.map(bytes))), c.digest);
  }
});

test("context and input context", () => {
  const v = load("context");
  const roundId = bytes(v.frame).subarray(4 + 17 + 4, 4 + 17 + 4 + 16);
  assert.equal(hex(contextOf(roundId, bytes(v.config), bytes(v.model_digest))), v.context);
  const w = load("input-context");
  assert.equal(hex(inputContextOf(bytes(w.context), bytes(w.model_digest))), w.input_context);
});

test("X25519", () => {
  const v = load("published-x25519");
  for (const m of v.multiplications) assert.equal(hex(agree(secret(m.scalar), bytes(m.u)).reveal()), m.result);
  assert.equal(hex(publicKey(secret(v.agreement.private_a))), v.agreement.public_a);
});

test("mask keys", () => {
  const v = load("mask-keys");
  const [roundId, context] = [bytes(v.round_id), bytes(v.context)];
  [0, 1].forEach((i) => {
    const shared = new KeyPair(X25519, secret(v.pairwise.private_keys[i])).agree(bytes(v.pairwise.public_keys[1 - i]), "");
    const key = pairwiseMaskKey(X25519, shared.reveal(), roundId, context, [v.pairwise.ids[i], v.pairwise.ids[1 - i]]);
    assert.equal(hex(key.reveal()), v.pairwise.key);
  });
  assert.equal(hex(selfMaskKey(X25519, secret(v.self_mask.seed), roundId, context, v.self_mask.participant_id).reveal()), v.self_mask.key);
});

test("mask stream", () => {
  for (const v of ["mask-stream", "mask-stream-aes-256"].map(load)) {
    for (const c of v.cases) {
      const from = (c.start * c.word_bits) / 8 % 2 ** 18;
      const part = stride(secret(v.key), c.stride).slice(from, from + c.bytes.length / 2);
      assert.equal(hex(part), c.bytes);
      assert.equal(numbers(wordsOf(c.word_bits, part)), numbers(c.words));
    }
  }
});

test("X-Wing", () => {
  for (const c of load("published-x-wing").encapsulations) {
    const pair = new KeyPair(HYBRID, secret(c.seed));
    assert.equal(hex(sha256(pair.public)), c.public_key_sha256);
    const made = encapsulating(() => bytes(c.coins))(pair.public);
    assert.deepEqual([hex(made.ciphertext), hex(made.secret.reveal())], [c.ciphertext, c.secret]);
    assert.equal(hex(pair.decapsulate(made.ciphertext).reveal()), c.secret);
    const lowOrder = concat([made.ciphertext.slice(0, -32), new Uint8Array(32)]);
    assert.throws(() => pair.decapsulate(lowOrder, "elm"), (e: unknown) => e instanceof AuthenticationError && e.culprit === "elm");
  }
});

test("pair secrets", () => {
  const v = load("pair-secrets");
  const bound = { suite: HYBRID, roundId: bytes(v.round_id), context: bytes(v.context) };
  const given = v.gifts.map((g: Vector) => {
    const [giver, receiver] = [new KeyPair(HYBRID, secret(g.giver_mask_private_key)), new KeyPair(HYBRID, secret(g.receiver_mask_private_key))];
    assert.equal(hex(receiver.public), g.receiver_mask_public_key);
    const made = pairSecret(bound, giver, g.giver, g.receiver);
    assert.equal(hex(made.reveal()), g.pair_secret);
    const ends = { label: LABEL.pairSecretSealing, sender: g.giver, receiver: g.receiver };
    const recorded = { ciphertext: bytes(g.encapsulation.ciphertext), secret: secret(g.encapsulation.secret) };
    const sealed = sealTo(bound, { own: giver, peer: receiver.public, ...ends }, made.reveal(), () => recorded);
    assert.equal(hex(sealed), g.pair_seal);
    assert.equal(hex(openFrom(bound, { own: receiver, peer: giver.public, ...ends }, sealed)!), g.pair_secret);
    assert.equal(hex(digest(LABEL.pairSecretDigest, bound.context, g.giver, g.receiver, made.reveal())), g.digest);
    return { from: g.giver, made: made.reveal() };
  });
  const [low, high] = given.sort((a: Vector, b: Vector) => (a.from < b.from ? -1 : 1));
  const key = pairwiseMaskKey(HYBRID, concat([low.made, high.made]), bound.roundId, bound.context, [high.from, low.from]);
  assert.equal(hex(key.reveal()), v.mask.key);
});

test("a public key of the hybrid suite that is none gives no secret", () => {
  const own = new KeyPair(HYBRID, secret("07".repeat(32)));
  const bound = { suite: HYBRID, roundId: new Uint8Array(16), context: new Uint8Array(32) };
  const between = { label: LABEL.shareSealing, own, sender: "elm", receiver: "fir" };
  const notReduced = own.public.slice().fill(255, 0, 3);
  const lowOrder = own.public.slice().fill(0, -32);
  for (const peer of [notReduced, lowOrder]) {
    assert.throws(() => sealTo(bound, { ...between, peer }, new Uint8Array(66), encapsulating((size) => new Uint8Array(size))),
      (e: unknown) => e instanceof AuthenticationError && e.culprit === "fir");
  }
});

test("packing", () => {
  const v = load("packing");
  for (const c of v.cases) {
    const values = zeros(wordBits(c.bits), c.values.length);
    c.values.forEach((x: number | bigint, i: number) => (values[i] = (values instanceof BigUint64Array ? BigInt(x) : x) as never));
    assert.equal(hex(pack(values, c.bits)), c.packed, `${c.bits} bits, ${c.values.length} values`);
    assert.equal(numbers(unpack(bytes(c.packed), values.length, c.bits)), numbers(c.values));
  }
  for (const c of v.refused) assert.throws(() => unpack(bytes(c.packed), c.count, c.bits), DecodeError);
});

test("chunks", () => {
  for (const c of load("chunks").cases) {
    assert.equal(valuesPerChunk(c.bits), c.values_per_chunk);
    if (c.vector_len > 2 ** 20) continue;
    assert.deepEqual(chunks(zeros(wordBits(c.bits), c.vector_len), c.bits).map((x) => x.length), c.sizes);
  }
});

test("secret sharing", () => {
  const v = load("secret-sharing");
  for (const c of v.cases) {
    const drawn = bytes(c.coefficient_bytes.join(""));
    const holders = Object.keys(c.shares).map(Number);
    const shares = split(secret(c.secret), c.threshold, holders, () => drawn);
    for (const [holder, share] of shares) assert.equal(hex(share), c.shares[holder]);
    const some = new Map<number, Uint8Array>(c.reconstruction.holders.map((h: number) => [h, shares.get(h)!]));
    assert.equal(hex(join(some).reveal()), c.secret);
  }
  for (const text of v.not_a_share) assert.equal(isShare(bytes(text)), false);
});

test("sealing", () => {
  const v = load("sealing");
  for (const d of v.directions) {
    const agreed = agree(secret(d.sender_private_key), bytes(d.receiver_public_key));
    const key = hkdf(agreed.reveal(), bytes(v.round_id), frame(LABEL.shareSealing, v.suite, bytes(v.context), d.sender, d.receiver), 16);
    const associated = frame(LABEL.share, bytes(v.context), d.sender, d.receiver);
    assert.equal(hex(seal(key, bytes(d.plaintext), associated)), d.sealed);
    assert.equal(hex(open(key, bytes(d.sealed), associated)!), d.plaintext);
  }
});

test("signed bytes", () => {
  const v = load("signed-bytes");
  const roster = rosterDigest(v.members.map(entry));
  const message = frame(LABEL.consistencySignature, bytes(v.context), roster, indices(v.survivors), indices(v.dropped));
  assert.equal(hex(message), v.consistency_check.signed);
  assert.equal(hex(sign(secret(v.private_scalar_test_only), message)), v.consistency_check.signature);
  assert.equal(hex(sign(secret(v.private_scalar_test_only), bytes(v.advertise_keys.signed))), v.advertise_keys.signature);
});

test("rosters and the ring", () => {
  const v = load("sparse-roster");
  const digests = v.members.map((m: Vector) => entryDigest(entry(m)));
  v.members.forEach((m: Vector, i: number) => assert.equal(hex(digests[i]), m.entry_digest));
  assert.equal(hex(sparseRosterDigest(v.members.map((m: Vector) => m.participant_id), digests)), v.digest);
  for (const c of load("sparse-graph").cases) {
    const graph = sparseGraph(bytes(c.context), bytes(c.roster_digest), c.members, c.degree, c.committee_size);
    assert.deepEqual(graph.ring, c.ring);
    assert.deepEqual([...graph.committee].sort((a, b) => a - b), c.committee);
    for (const [index, near] of Object.entries(c.neighbours)) assert.deepEqual(graph.neighbours(Number(index)), near);
    assert.equal(hex(graphContext(bytes(c.context), bytes(c.roster_digest))), c.graph_context);
  }
});

test("parameters of rings", () => {
  for (const c of load("sparse-parameters").cases) {
    const r = c.ring;
    const ring = { degree: r.degree, neighbourThreshold: r.neighbour_threshold, committee: r.committee,
      committeeThreshold: r.committee_threshold, minParticipants: r.min_participants };
    const config = { maxParticipants: c.max_participants, threshold: c.threshold, maxColluding: c.max_colluding,
      threatModel: ThreatModel[c.threat_model as "ACTIVE"], deadlines: { advertiseKeysMs: 1n } };
    const check = (): void => safeRing(ring as never, config as never);
    if (c.safe) check();
    else assert.throws(check, SecAggError, JSON.stringify(c));
  }
});

test("configuration", () => {
  for (const c of load("configuration").cases) {
    const round = checkConfig(parseConfig(bytes(c.bytes)));
    assert.deepEqual([round.ringBits, round.wordBits, round.vectorLen, round.purpose, round.config.task],
      [c.ring_bits, c.word_bits, c.vector_len, c.purpose, c.task]);
  }
  const long = toBinary(RoundConfigSchema, create(RoundConfigSchema, { task: "a".repeat(2 ** 26) }));
  assert.throws(() => parseConfig(long), (e: unknown) => e instanceof DecodeError && e.message.includes("64 MiB"));
});

test("a configuration that is wrong in one way", () => {
  const good = parseConfig(bytes(load("round-semi-honest").config));
  const groups = create(GroupsSchema, { count: 3, combine: Combine.MEDIAN, parent: new Uint8Array(16), number: 1 });
  const trimmed = { ...groups, combine: Combine.TRIMMED, trim: 1 };
  const integers = { encoding: undefined, integers: create(IntegersSchema, { min: 0n, max: 1n }), arrays: good.arrays.map((one) => ({ ...one, dtype: Dtype.INT32, range: undefined })) };
  const homomorphic = create(HomomorphicProfileSchema, { scheme: HomomorphicScheme.BFV, custody: Custody.PARTICIPANTS });
  const many = { suite: Suite.XWING_SHA256_AES256, maxParticipants: 2002, threshold: 2002 };
  const unsafe: [string, object][] = [
    ["no deadlines", { deadlines: undefined }], ["longer than 2^32", { arrays: [{ ...good.arrays[0], shape: [2n ** 32n] }] }],
    ["3 to 1000 groups", { groups: { ...groups, count: 2 } }], ["3 to 1000 groups", { groups: { ...groups, count: 1001 } }],
    ["trim", { groups: { ...groups, trim: 1 } }], ["trim", { groups: { ...trimmed, trim: 0 } }], ["trim", { groups: { ...trimmed, count: 4, trim: 2 } }],
    ["its parent", { groups: { ...groups, parent: new Uint8Array(15) } }], ["its parent", { groups: { ...groups, number: 4 } }],
    ["COMBINE_MEAN", { ...integers, groups }], ["2,000 neighbours", many],
  ];
  const refused = (kind: typeof RemoteError, why: string, change: object): void =>
    assert.throws(() => checkConfig({ ...good, ...change } as RoundConfig), (e: unknown) => e instanceof kind && e.message.includes(why), why);
  for (const [why, change] of unsafe) refused(ProtocolViolation, why, change);
  const lacking: [string, object][] = [
    ["masked rounds only", { homomorphic }], ["no pipelines", { encoding: undefined, pipeline: "clip" }], ["in groups", { groups }],
    ["X25519_SHA256_AEGIS128X4", { suite: Suite.X25519_SHA256_AEGIS128X4 }],
  ];
  for (const [why, change] of lacking) refused(PolicyViolation, why, change);
  checkConfig({ ...good, ...many, maxParticipants: 2001, threshold: 2001 } as RoundConfig);
  checkConfig({ ...good, ...many, suite: Suite.X25519_SHA256_AES128 } as RoundConfig);
  const round = checkConfig(good);
  checkPolicy(round, policyOf({ suites: ["X25519_SHA256_AES128"] }));
  assert.throws(() => checkPolicy(round, policyOf({ suites: ["XWING_SHA256_AES256"] })), PolicyViolation);
});

test("encoding of floats", () => {
  for (const c of load("encoding").cases) {
    const seed = secret(c.rounding_seed);
    assert.equal(hex(roundingKey(seed).reveal()), c.rounding_key);
    const words = roundingWords(seed, c.values.length);
    assert.equal(numbers(words), numbers(c.uniform_words));
    const out: number[] = [];
    encodeValues(out, 0, c.values.map(float), words, { clip: float(c.clip), valueBits: c.value_bits, weight: c.weight, maxWeight: c.max_weight });
    assert.equal(numbers([...out, c.weight]), numbers(c.encoded));
  }
  for (const c of load("ranges").cases) {
    const config = parseConfig(bytes(c.config));
    if (config.pipeline) continue;
    for (const p of c.people) {
      const update = Object.fromEntries(Object.entries(p.values as Record<string, string[]>).map(([name, list]) => [name, list.map(float)]));
      assert.equal(numbers(encode(checkConfig(config), update, p.weight, secret(p.rounding_seed))), numbers(p.encoded));
    }
  }
});

test("encoding of integers", () => {
  for (const c of load("integers").cases) {
    const round = checkConfig(parseConfig(bytes(c.config)));
    assert.equal(round.ringBits, c.ring_bits);
    for (const p of c.people) assert.equal(numbers(encode(round, p.values, 1, secret("00".repeat(32)))), numbers(p.encoded));
  }
});

test("sums of the same model", () => {
  const sum = (s: Vector) => ({ roundId: "", model: s.model, purpose: s.purpose, threshold: s.threshold, survivors: s.survivors });
  for (const c of load("differencing").cases) assert.deepEqual(exposed(c.before.map(sum), sum(c.sum)), c.exposed, c.title);
});

test("model digest", () => {
  for (const c of load("model-digest").cases) {
    const arrays = Object.fromEntries(Object.entries(c.arrays as Record<string, Vector>).map(([name, a]) =>
      [name, { dtype: a.dtype, shape: a.shape, data: bytes(a.little_endian) }]));
    assert.equal(hex(digestModel(arrays)), c.digest, c.title);
  }
  assert.throws(() => digestModel({ w: { dtype: "float32", shape: [2], data: new Uint8Array(7) } }), LocalError);
  assert.throws(() => digestModel({ w: { dtype: "text", shape: [1], data: new Uint8Array(1) } }), LocalError);
});

function roundOf(c: Vector): Round {
  const arrays = (c.arrays ?? [{ name: "x", dtype: "float64", shape: [c.sums.length - 1] }]).map((a: Vector) =>
    ({ name: a.name, dtype: a.dtype === "float32" ? Dtype.FLOAT32 : Dtype.FLOAT64, shape: a.shape.map(BigInt) }));
  const encoding = { clip: c.clip ? float(c.clip) : 1, valueBits: c.value_bits, maxWeight: c.max_weight };
  return { config: create(RoundConfigSchema, { arrays, encoding }) } as Round;
}

test("decoding", () => {
  const v = load("decoding");
  for (const c of v.cases) {
    const got = decode(roundOf(c), BigUint64Array.from(c.sums, BigInt), c.summands);
    assert.ok(got.kind === "mean");
    assert.equal(got.weight, c.weight);
    for (const [name, values] of Object.entries(c.mean as Record<string, string[]>)) assert.equal(numbers(got.arrays[name]!), numbers(values.map(float)));
  }
  for (const c of v.refused) {
    assert.throws(() => decode(roundOf(c), BigUint64Array.from(c.sums, BigInt), c.summands), (e: unknown) =>
      e instanceof ProtocolViolation && e.culprit === undefined, c.why);
  }
});

test("sums of integers", () => {
  const v = load("integers");
  for (const c of v.cases) {
    const round = checkConfig(parseConfig(bytes(c.config)));
    const got = decode(round, BigUint64Array.from(c.sums, BigInt), c.people.length);
    assert.ok(got.kind === "totals");
    for (const [name, values] of Object.entries(c.totals as Record<string, (number | string)[]>)) assert.equal(numbers(got.arrays[name]!), values.join());
  }
  const first = checkConfig(parseConfig(bytes(v.cases[0].config)));
  for (const c of v.refused) {
    assert.throws(() => decode(first, BigUint64Array.from(c.sums, BigInt), 3), ProtocolViolation, c.why);
  }
});

test("bounds of configurations", () => {
  for (const c of load("bounds").cases) {
    const check = (): Round => acceptOffer(bytes(c.config), modelOf(c), policyOf(), parseConfig(bytes(c.config)).purpose || "train");
    if (c.error === undefined) {
      const round = takenOrLeft(check);
      if (round !== undefined) assert.deepEqual([round.vectorLen, round.ringBits], [c.vector_len, c.ring_bits], c.title);
    } else assert.throws(check, (e: unknown) => e instanceof RemoteError && (e.constructor.name === c.error || left(e)), c.title);
  }
});

const modelOf = (c: Vector): Uint8Array => parseConfig(bytes(c.config)).modelDigest;

/** Whether a round is refused because this client lacks something. */
const left = (e: unknown): boolean => e instanceof PolicyViolation && e.message.startsWith("this client");

function takenOrLeft(check: () => Round): Round | undefined {
  try {
    return check();
  } catch (e) {
    if (left(e)) return undefined;
    throw e;
  }
}

test("policies", () => {
  for (const c of load("policies").cases) {
    const check = (): Round => acceptOffer(bytes(c.config), modelOf(c), policyOf(c.policy), "train");
    if (c.taken) takenOrLeft(check);
    else assert.throws(check, PolicyViolation, c.title);
  }
});

test("chains of certificates", () => {
  const v = load("certificate-chains");
  for (const c of v.cases) {
    const chain = c.chain.map(bytes);
    const now = c.at_ms ?? v.at_ms;
    const check = (): unknown => c.of === "coordinator" ? coordinatorKey(chain, [bytes(v.ca)], now) : identify(chain, [bytes(v.ca)], now);
    if (c.taken) {
      if (c.of === "coordinator") check();
      else assert.deepEqual([identify(chain, [bytes(v.ca)], now).id, identify(chain, [bytes(v.ca)], now).organisation], [c.participant_id, c.organisation], c.title);
    } else assert.throws(check, AuthenticationError, c.title);
  }
});
