/** The participant as a program for `secagg conformance participant -- node build/test/adapter.js` (docs/conformance.md). */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

import { Client, LocalError, Memory, PolicyViolation, type Round, SavableParticipant, type Setup, RemoteError, SecAggError, type Update, acceptOffer, encode } from "../src/index.js";
import { GrpcTransport } from "../src/grpc.js";
import { FileMemory, StateKeyFolder } from "../src/node.js";
import { wordsText } from "./vectors.js";
import { type MessageName, Participant } from "../src/participant.js";
import { Secret, systemRandom } from "../src/primitives.js";
import { type Receipt, believe, checkAggregate, decode, isCertified, readAggregate, signResult } from "../src/results.js";
import type { Encapsulate } from "../src/suites.js";
import { Dtype, type RoundConfig } from "../src/wire/secagg/wire/v1/config_pb.js";
import { type Vector, bytes, hex, policyOf } from "./vectors.js";

const SENDS: Readonly<Record<string, string>> = {
  Roster: "ShareKeys", ShareDelivery: "MaskedInputChunk", ConsistencyProof: "Unmask",
};
const DRAWN = ["channel_private_key", "mask_private_key", "self_mask_seed", "mask_key_coefficients", "self_mask_coefficients"];

function updateOf(config: RoundConfig, update: Record<string, string>): Update {
  const read = {
    [Dtype.FLOAT32]: Float32Array, [Dtype.FLOAT64]: Float64Array, [Dtype.INT8]: Int8Array, [Dtype.INT16]: Int16Array, [Dtype.INT32]: Int32Array,
    [Dtype.INT64]: BigInt64Array, [Dtype.UINT8]: Uint8Array, [Dtype.UINT16]: Uint16Array, [Dtype.UINT32]: Uint32Array, [Dtype.UINT64]: BigUint64Array,
  };
  return Object.fromEntries(config.arrays.map((spec) => {
    const data = new Uint8Array(bytes(update[spec.name]!)).buffer;
    return [spec.name, new read[spec.dtype as Dtype.FLOAT32](data)];
  }));
}

function memoryOf(request: Vector): Memory {
  const memory = request.folder === undefined ? new Memory() : new FileMemory(`${request.folder}/sums-${request.participant_id}`, request.participant_id);
  for (const s of request.released as Vector[]) {
    memory.sums.push({ roundId: s.round_id, model: request.model_digest, purpose: s.purpose ?? request.purpose, threshold: s.threshold, survivors: s.survivors });
    if (s.received) memory.receive(s.round_id);
  }
  return memory;
}

/** Hands out what the runner recorded, by public key. */
const replaying = (recorded: Vector): Encapsulate => (key) => {
  const { ciphertext, secret } = recorded[hex(key)];
  return { ciphertext: bytes(ciphertext), secret: new Secret(bytes(secret)) };
};

/** One participant in its round. */
class Joined {
  readonly round: Round;
  readonly participant: Participant | SavableParticipant;
  readonly authorities: Uint8Array[];
  readonly memory: Memory;
  receipt: Receipt | undefined;

  constructor(readonly request: Vector) {
    const r = request;
    this.round = acceptOffer(bytes(r.config), bytes(r.model_digest), policyOf(r.policy), r.purpose);
    this.authorities = r.identity ? [bytes(r.identity.ca)] : [];
    this.memory = memoryOf(r);
    try {
      this.participant = this.begun();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  private begun(): Participant | SavableParticipant {
    const r = this.request;
    if (policyOf(r.policy).oncePerModel && this.memory.cameOut(r.model_digest, r.purpose)) {
      throw new PolicyViolation("a sum of this model with our update came out", "coordinator");
    }
    const drawn = DRAWN.map((name) => r.random?.[name]);
    const setup: Setup = {
      round: this.round, roundId: bytes(r.round_id), configBytes: bytes(r.config), model: bytes(r.model_digest), id: r.participant_id, policy: policyOf(r.policy),
      random: r.random ? () => bytes(drawn.shift()) : systemRandom,
      ...(r.encapsulations && { encapsulate: replaying(r.encapsulations) }),
      input: () => encode(this.round, updateOf(this.round.config, r.update), r.weight, new Secret(bytes(r.rounding_seed))),
      memory: this.memory,
      ...(r.identity && { identity: { key: new Secret(bytes(r.identity.private_scalar)), chain: r.identity.certificates.map(bytes), authorities: this.authorities } }),
    };
    if (r.folder === undefined) return new Participant(setup);
    const keys = new StateKeyFolder(`${r.folder}/keys`);
    return r.state === undefined ? SavableParticipant.join(setup, keys) : SavableParticipant.restore(bytes(r.state), setup, keys);
  }

  save(): Uint8Array {
    if (!(this.participant instanceof SavableParticipant)) throw new LocalError("the runner asks for a state and gave no folder");
    const state = this.participant.save();
    this.close();
    return state;
  }

  /** Others may use the file of the memory. */
  close(): void {
    if (this.memory instanceof FileMemory) this.memory.close();
  }

  receive(request: Vector): Vector[] {
    const { type } = request;
    const sends = type === "SurvivorSet" ? (this.round.active ? "ConsistencyCheck" : "Unmask") : SENDS[type];
    const parts = this.participant.receive(type as MessageName, request.parts.map(bytes), request.now_ms).map(hex);
    // Each chunk of a vector is a message of its own.
    return sends === "MaskedInputChunk" ? parts.map((part) => ({ type: sends, parts: [part] })) : [{ type: sends, parts }];
  }
}

async function participate(r: Vector): Promise<object> {
  const [certificate, key, ca] = [r.certificate, r.key, r.ca].map((path) => readFileSync(path, "utf8")) as [string, string, string];
  const pem = { certificate, key, ca };
  const client = new Client({ transport: new GrpcTransport(r.address, pem), pem, policy: policyOf(r.policy), memory: memoryOf(r) });
  try {
    const { aggregate } = await client.participate({
      roundId: bytes(r.round_id), modelDigest: bytes(r.model_digest), purpose: r.purpose, weight: r.weight, timeoutMs: r.timeout_ms,
      update: (config) => updateOf(config, r.update),
    });
    return { believes: true, ...(aggregate && { sums: wordsText(aggregate.sums) }) };
  } finally {
    await client.close();
  }
}

let joined: Joined | undefined;

async function answer(request: Vector): Promise<object> {
  switch (request.do) {
    case "describe":
      return { version: 1, name: "secagg-client in TypeScript", release: "0.1.0-dev.0", features: ["replay", "signed", "model-later", "ring", "integers", "results", "grpc", "hybrid", "states"] };
    case "join":
    case "restore":
      joined?.close();
      joined = undefined;
      joined = new Joined(request);
      return { sends: request.do === "restore" ? [] : [{ type: "AdvertiseKeys", parts: joined.participant.advertiseKeys.map(hex) }] };
    case "save":
      return { saves: hex(joined!.save()) };
    case "receive":
      return { sends: joined!.receive(request) };
    case "receipt": {
      const { seen } = joined!.participant;
      joined!.receipt = believe(seen, [bytes(request.receipt)], joined!.authorities, request.now_ms);
      return { believes: true, ...(request.proof && { certified: isCertified(seen, joined!.receipt, request.proof.map(bytes)) }) };
    }
    case "certify":
      return { signs: hex(signResult(joined!.participant.seen, joined!.receipt!)) };
    case "aggregate": {
      const aggregate = readAggregate(joined!.round, request.parts.map(bytes));
      checkAggregate(aggregate, joined!.receipt!);
      decode(joined!.round, aggregate.sums, aggregate.survivors.length);
      return { believes: true, sums: wordsText(aggregate.sums) };
    }
    case "participate":
      return participate(request);
    default:
      throw new Error(`the runner asks for ${request.do}, which this program does not know`);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  let told: object;
  try {
    told = await answer(JSON.parse(line));
  } catch (error) {
    if (!(error instanceof SecAggError)) throw error;
    const culprit = error instanceof RemoteError ? error.culprit : undefined;
    told = { refuses: error.constructor.name, text: error.message.slice(0, 200), ...(culprit !== undefined && { culprit }) };
  }
  process.stdout.write(`${JSON.stringify(told)}\n`);
}
