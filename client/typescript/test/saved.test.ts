/** States that are saved between messages, and that another process goes on from. */
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, statSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { sha256 } from "#platform";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";

import { LocalError, Memory, PolicyViolation, ProtocolViolation, SavableParticipant, SavedStateError, Secret, type Setup, type StateKeys, acceptOffer, encode } from "../src/index.js";
import { drawnFrom } from "../src/kept.js";
import { FileMemory, StateKeyFolder } from "../src/node.js";
import { Participant } from "../src/participant.js";
import { Dtype } from "../src/wire/secagg/wire/v1/config_pb.js";
import {
  AdvertiseKeysSchema, RosterPartSchema, ShareDeliveryPartSchema, ShareKeysPartSchema, SurvivorSetSchema,
} from "../src/wire/secagg/wire/v1/data_plane_pb.js";
import { type Vector, bytes, hex, load, policyOf } from "./vectors.js";

const folder = (): string => mkdtempSync(join(tmpdir(), "secagg-"));
const V: Vector = load("round-active");
const IDS = Object.keys(V.participants).sort();
const ME = IDS[0]!;
const NOW: number = V.steps.find((s: Vector) => s.now_ms !== undefined).now_ms;

function setupOf(id: string, memory: Memory, more: Partial<Setup> = {}): Setup {
  const { identity, update, weight, rounding_seed } = V.participants[id];
  const round = acceptOffer(bytes(V.config), bytes(V.model_digest), policyOf(), "train");
  const arrays = Object.fromEntries(round.config.arrays.map(({ name, dtype }) => {
    const { buffer } = new Uint8Array(bytes(update[name]));
    return [name, dtype === Dtype.FLOAT32 ? new Float32Array(buffer) : new Float64Array(buffer)];
  }));
  return {
    round, id, memory, policy: policyOf(), roundId: bytes(V.round_id), configBytes: bytes(V.config), model: bytes(V.model_digest),
    random: drawnFrom(sha256(Buffer.from(id))),
    input: () => encode(round, arrays, weight, new Secret(bytes(rounding_seed))),
    identity: {
      key: new Secret(bytes(identity.private_scalar_test_only)), authorities: [bytes(V.authority.certificate)],
      chain: identity.certificates?.map(bytes) ?? [bytes(identity.certificate)],
    },
    ...more,
  };
}

/** What the coordinator sends to ME in an honest round with the others, who keep no state. */
function honest(me: SavableParticipant, answers: Uint8Array[][], pause: (me: SavableParticipant) => SavableParticipant): void {
  const others = new Map(IDS.slice(1).map((id) => [id, new Participant(setupOf(id, new Memory()))]));
  const keysOf = (id: string): Uint8Array => (id === ME ? me : others.get(id)!).advertiseKeys[0]!;
  const members = IDS.map((participantId, i) => ({ index: i + 1, participantId, keys: fromBinary(AdvertiseKeysSchema, keysOf(participantId)) }));
  const roster = [toBinary(RosterPartSchema, create(RosterPartSchema, { members }))];
  let mine = pause(me);
  answers.push(mine.receive("Roster", roster, NOW));
  mine = pause(mine);
  const entries = [...others].map(([, other]) => {
    const [part] = other.receive("Roster", roster, NOW);
    const { peers, entries: all } = fromBinary(ShareKeysPartSchema, part!);
    const size = all.length / peers.length;
    return all.slice(peers.indexOf(1) * size, (peers.indexOf(1) + 1) * size);
  });
  const delivery = create(ShareDeliveryPartSchema, { peers: IDS.slice(1).map((_, i) => i + 2), entries: Buffer.concat(entries) });
  answers.push(mine.receive("ShareDelivery", [toBinary(ShareDeliveryPartSchema, delivery)], NOW));
  mine = pause(mine);
  const survivors = create(SurvivorSetSchema, { survivors: IDS.map((_, i) => i + 1), dropped: [] });
  answers.push(mine.receive("SurvivorSet", [toBinary(SurvivorSetSchema, survivors)], NOW));
  pause(mine);
}

interface Begun {
  readonly sums: string;
  readonly folder: string;
  readonly memory: FileMemory;
  readonly setup: Setup;
  readonly keys: StateKeyFolder;
  readonly me: SavableParticipant;
}

/** A participant that joined, with its keys and its memory of sums in a folder. */
function begun(): Begun {
  const home = folder();
  const sums = join(home, "sums");
  const keys = new StateKeyFolder(join(home, "keys"));
  const memory = new FileMemory(sums, ME);
  const setup = setupOf(ME, memory);
  return { sums, folder: join(home, "keys"), memory, setup, keys, me: SavableParticipant.join(setup, keys) };
}

test("a participant that goes on from its states sends what it would have sent", () => {
  const straight: Uint8Array[][] = [];
  honest(begun().me, straight, (me) => me);
  const { sums, folder: kept, keys, memory, me } = begun();
  const moved: Uint8Array[][] = [];
  const saved: Uint8Array[] = [];
  let [held, setup] = [memory, {} as Setup];
  honest(me, moved, (now) => {
    const state = now.save();
    saved.push(state);
    // Another process has the folder and what the caller hands in, and nothing else.
    held.close();
    held = new FileMemory(sums, ME);
    setup = setupOf(ME, held, { random: () => assert.fail("a process that goes on draws nothing new") });
    const next = SavableParticipant.restore(state, setup, new StateKeyFolder(kept));
    // The key is gone, so nothing but the participant itself keeps it from saving the state once more.
    assert.throws(() => now.save(), { name: "LocalError" });
    assert.throws(() => now.receive(now.awaits!, [], NOW), { name: "LocalError" });
    return next;
  });
  assert.deepEqual(moved.map((one) => one.map(hex)), straight.map((one) => one.map(hex)));
  assert.deepEqual(readdirSync(kept), [`${V.round_id}.${ME}.joined`]);
  assert.equal(saved.length, 4);
  for (const state of saved) {
    assert.throws(() => SavableParticipant.restore(state, setup, keys), SavedStateError);
    assert.ok(!Buffer.from(state).includes(V.round_id) && !Buffer.from(state).includes("Roster"));
  }
  held.close();
});

test("a state opens for its owner alone, with what it was begun with, and once", () => {
  const { setup, keys, me, folder: kept } = begun();
  const state = me.save();
  assert.equal(statSync(join(kept, `${V.round_id}.${ME}.0.key`)).mode & 0o777, 0o600);
  const other = load("round-semi-honest");
  const otherAuthority = V.participants[ME].identity.certificates?.[0] ?? V.participants[ME].identity.certificate;
  const { identity } = setup;
  const refused: [string, Partial<Setup>][] = [
    ["no key opens state 0", { id: IDS[1]! }],
    ["no key opens state 0", { roundId: new Uint8Array(16) }],
    ["another configuration", { configBytes: bytes(other.config) }],
    ["another model", { model: new Uint8Array(32) }],
    ["another CA", { identity: { ...identity!, authorities: [bytes(otherAuthority)] } }],
    ["another certificate", { identity: { ...identity!, chain: [...identity!.chain, ...identity!.authorities] } }],
  ];
  for (const [why, more] of refused) {
    assert.throws(() => SavableParticipant.restore(state, { ...setup, ...more }, keys), (error: Error) => error instanceof SavedStateError && error.message.includes(why), why);
  }
  for (const at of [0, 1, state.length - 1]) {
    const changed = Uint8Array.from(state, (byte, i) => (i === at ? byte ^ 1 : byte));
    assert.throws(() => SavableParticipant.restore(changed, setup, keys), SavedStateError);
  }
  assert.throws(() => SavableParticipant.restore(state, setupOf(ME, new Memory()), keys), LocalError);
  // What was refused was not used up.
  assert.equal(SavableParticipant.restore(state, setup, keys).awaits, "Roster");
  assert.throws(() => SavableParticipant.restore(state, setup, keys), SavedStateError);
});

test("a state that was saved again is the only one, and a round is joined once", () => {
  const { setup, keys, me } = begun();
  const first = me.save();
  const second = SavableParticipant.restore(first, setup, keys).save();
  assert.throws(() => SavableParticipant.restore(first, setup, keys), SavedStateError);
  SavableParticipant.restore(second, setup, keys);
  assert.throws(() => SavableParticipant.join(setup, keys), SavedStateError);
});

test("the seal says whose state it is, whatever the keys", () => {
  const key = new Secret(new Uint8Array(32).fill(9));
  const one: StateKeys = { join: () => undefined, make: () => key, read: () => key, useUp: () => undefined };
  const { setup } = begun();
  const state = SavableParticipant.join(setup, one).save();
  const other = setupOf(IDS[1]!, setup.memory);
  for (const more of [{ roundId: new Uint8Array(16) }, { id: other.id, identity: other.identity! }]) {
    assert.throws(() => SavableParticipant.restore(state, { ...setup, ...more }, one), { name: "SavedStateError", message: /does not open/ });
  }
  state[1] = 1;
  assert.throws(() => SavableParticipant.restore(state, setup, one), { name: "SavedStateError", message: /does not open/ });
});

test("a process that goes on claims sums like any other", () => {
  const { me, setup, keys, memory } = begun();
  let pauses = 0;
  assert.throws(() => honest(me, [], (now) => {
    if (++pauses !== 3) return now;
    const restored = SavableParticipant.restore(now.save(), setup, keys);
    memory.claim({ roundId: V.round_id, model: V.model_digest, purpose: "train", threshold: setup.round.config.threshold, survivors: IDS });
    return restored;
  }), { name: "PolicyViolation", message: "a sum of this round is on record already" });
});

test("after an error nothing is saved", () => {
  const { me } = begun();
  assert.throws(() => me.receive("SurvivorSet", [], NOW), ProtocolViolation);
  assert.throws(() => me.save(), LocalError);
  assert.throws(() => me.receive("Roster", [], NOW), ProtocolViolation);
});

test("the folder of keys is ours alone, and stays small", () => {
  const home = folder();
  mkdirSync(join(home, "open"));
  chmodSync(join(home, "open"), 0o755);
  assert.throws(() => new StateKeyFolder(join(home, "open")), { name: "SavedStateError", message: /^others may read / });
  const kept = join(home, "keys");
  const keys = new StateKeyFolder(kept);
  const name = (round: number, participantId = "elm", step = 1) => ({ roundId: round.toString(16).padStart(32, "0"), participantId, step });
  assert.throws(() => keys.make(name(0)), SavedStateError);
  for (let round = 0; round < 1000; round++) {
    const joined = join(kept, `${name(round).roundId}.elm.joined`);
    writeFileSync(joined, "");
    utimesSync(joined, round, round);
  }
  for (const id of ["elm", "elm.x"]) {
    if (id !== "elm") keys.join(name(0).roundId, id);
    keys.make(name(0, id));
    assert.throws(() => keys.make(name(0, id)), { name: "SavedStateError", message: "this state was saved before" });
  }
  truncateSync(join(kept, `${name(0).roundId}.elm.1.key`), 31);
  assert.throws(() => keys.read(name(0)), SavedStateError);
  keys.join(name(1000).roundId, "elm");
  const names = readdirSync(kept);
  assert.equal(names.filter((one) => one.endsWith(".elm.joined")).length, 1000);
  assert.ok(!names.includes(`${name(0).roundId}.elm.joined`) && !names.includes(`${name(0).roundId}.elm.1.key`));
  assert.ok(names.includes(`${name(0).roundId}.elm.x.joined`) && names.includes(`${name(0).roundId}.elm.x.1.key`));
});
