/**
 * Participants for rounds with others: reads one JSON object from standard input, and writes one line for each participant.
 *
 * A participant may leave the round or fall silent in place of a call (`leaves`, `silent`), lose its connection in the middle of
 * its upload once (`breaks`), or end the whole process (`dies`).
 */
import { readFileSync } from "node:fs";

import { CallFailed, Client, type Policy, SecAggError, type Transport, type Update } from "../src/index.js";
import { GrpcTransport } from "../src/grpc.js";
import { FileMemory, StateFolder } from "../src/node.js";
import { bytes, hex } from "./vectors.js";

interface Person {
  readonly certificate: string;
  readonly key: string;
  readonly arrays: Readonly<Record<string, { readonly dtype: string; readonly data: string }>>;
  readonly weight: number;
  readonly leaves?: string;
  readonly silent?: string;
  readonly breaks?: string;
  readonly dies?: string;
  readonly state?: string;
}

interface Scene {
  readonly target: string;
  readonly ca: string;
  readonly task?: string;
  readonly round_id?: string;
  readonly model_digest: string;
  readonly purpose?: string;
  readonly policy: Policy;
  readonly server_name?: string;
  readonly timeout_ms?: number;
  readonly people: readonly Person[];
}

function arraysOf(person: Person): Update {
  const read = { float32: Float32Array, float64: Float64Array, int32: Int32Array, int64: BigInt64Array };
  return Object.fromEntries(Object.entries(person.arrays).map(([name, { dtype, data }]) =>
    [name, new read[dtype as "float32"](new Uint8Array(bytes(data)).buffer)]));
}

/** Does to calls what the scene says. */
class Spoilt implements Transport {
  readonly made: string[] = [];
  broken = false;
  constructor(readonly inner: Transport, readonly person: Person, readonly leave: AbortController) {}

  async call(...[method, requests, options]: Parameters<Transport["call"]>): Promise<Uint8Array[]> {
    this.made.push(method);
    const { person } = this;
    if (method === person.dies) process.kill(process.pid, "SIGKILL");
    if (method === person.leaves) this.leave.abort();
    if (method === person.silent) return new Promise(() => undefined);
    if (method === person.breaks && !this.broken) {
      this.broken = true;
      // The coordinator has the first chunk, and then the connection is gone.
      const away = new AbortController();
      setTimeout(() => away.abort(), 500);
      await this.inner.call(method, requests.slice(0, 1), { ...options, signal: away.signal }).catch(() => undefined);
      throw new CallFailed("UNAVAILABLE", "cut");
    }
    return this.inner.call(method, requests, options);
  }

  close(): void {
    this.inner.close();
  }
}

async function play(scene: Scene, person: Person): Promise<object> {
  const pem = { certificate: readFileSync(person.certificate, "utf8"), key: readFileSync(person.key, "utf8"), ca: readFileSync(scene.ca, "utf8") };
  const leave = new AbortController();
  const transport = new Spoilt(new GrpcTransport(scene.target, pem, scene.server_name), person, leave);
  let id = person.certificate;
  try {
    const { state } = person;
    const named = new Client({ transport, pem, policy: scene.policy }).id;
    const client = state === undefined ? new Client({ transport, pem, policy: scene.policy })
      : new Client({ transport, pem, policy: scene.policy, memory: new FileMemory(`${state}.sums`, named) });
    id = client.id;
    const { receipt, survivors, certified, result } = await client.participate({
      update: arraysOf(person), weight: person.weight, modelDigest: bytes(scene.model_digest), signal: leave.signal,
      ...(scene.task !== undefined && { task: scene.task }), ...(scene.round_id !== undefined && { roundId: bytes(scene.round_id) }),
      ...(scene.purpose !== undefined && { purpose: scene.purpose }), timeoutMs: scene.timeout_ms ?? 60_000,
      ...(state !== undefined && { state: new StateFolder(state) }),
    });
    await client.close();
    const arrays = result && Object.fromEntries(Object.entries(result.arrays).map(([name, array]) =>
      [name, hex(new Uint8Array(array.buffer))]));
    const weight = result?.kind === "mean" ? result.weight : undefined;
    return { id, survivors, certified, sums_digest: hex(receipt.sumsDigest), arrays, weight, made: transport.made };
  } catch (error) {
    transport.close();
    if (!(error instanceof SecAggError)) throw error;
    return { id, error: error.constructor.name, text: error.message, culprit: (error as { culprit?: string }).culprit, made: transport.made };
  }
}

const scene = JSON.parse(readFileSync(0, "utf8")) as Scene;
await Promise.all(scene.people.map(async (person) => {
  const told = play(scene, person);
  if (person.silent === undefined) process.stdout.write(`${JSON.stringify(await told)}\n`, () => undefined);
}));
process.stdout.end(() => process.exit(0));
