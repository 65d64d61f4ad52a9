/** Taking part in rounds over any transport: which call comes next, and what becomes of its answer. */
import { sha256, systemRandom } from "#platform";
import { type DescMessage, type MessageShape, create, fromBinary, toBinary } from "@bufbuild/protobuf";

import { concat, equal, fromHex, toHex } from "./bytes.js";
import { type Identity, identify, privateScalar } from "./certificates.js";
import { type Policy, type Round, acceptOffer, parseConfig } from "./config.js";
import { DerError } from "./der.js";
import { type Update, encode } from "./encoding.js";
import {
  COORDINATOR, Cancelled, DecodeError, LimitError, LocalError, NotInRoundError, PolicyViolation, ProtocolViolation, RemoteError, RoundAborted,
  RoundTimeoutError, SavedStateError, TransportError, UnknownRoundError,
} from "./errors.js";
import { isTold } from "./failures.js";
import { parseParts } from "./fields.js";
import { LABEL, frame } from "./framing.js";
import { type Kept, type StateStore, digestInput, digestTrust, drawnFrom, refuseOther } from "./kept.js";
import { Memory } from "./memory.js";
import type { Words } from "./packing.js";
import { type MessageName, Participant, type Setup } from "./participant.js";
import { blocks } from "./pem.js";
import { type Random, Secret, p256PublicKey } from "./primitives.js";
import { type Aggregate, type Decoded, type Receipt, believe, checkAggregate, decode, isCertified, readAggregate, signResult } from "./results.js";
import { type Call, type Retry, type Transport, cancelled, perform } from "./transport.js";
import type { RoundConfig } from "./wire/secagg/wire/v1/config_pb.js";
import {
  AdvertiseKeysSchema, AdvertiseRequestSchema, CertifyRequestSchema, CheckRequestSchema, ConsistencyCheckSchema, DescribeRequestSchema,
  type Description, DescriptionSchema, FetchAggregateRequestSchema, FindRoundRequestSchema, InputProgressReplySchema, InputProgressRequestSchema,
  LeaveReason, LeaveReplySchema, LeaveRequestSchema, RoundOfferPartSchema,
} from "./wire/secagg/wire/v1/data_plane_pb.js";

const MIB = 2 ** 20;
const MAX_OFFER = 128 * MIB;
const MAX_CONFIG = 64 * MIB;
const SHORT = 2 ** 16;
const MAX_SEEN = 1000;
const SHORT_MS = 10_000;

export interface ClientOptions {
  readonly transport: Transport;
  /** Our chain, our private key, and the CAs of the deployment. */
  readonly pem: { readonly certificate: string; readonly key: string; readonly ca: string };
  readonly policy?: Policy;
  readonly retry?: Retry;
  /** What we remember of sums that may hold our update. It should outlast the process: see `FileMemory` of `secagg-client/node`. */
  readonly memory?: Memory;
  readonly random?: Random;
  readonly clock?: () => number;
}

export interface Participation {
  /** Wait for the next round of this task, … */
  readonly task?: string;
  /** … or take part in this round. */
  readonly roundId?: Uint8Array;
  /** Values by array, or what makes them of the round's configuration. */
  readonly update: Update | ((config: RoundConfig) => Update);
  /** 1 where absent. */
  readonly weight?: number;
  /** `digestModel` of the model that we trained. */
  readonly modelDigest: Uint8Array;
  /** What the update is for; `train` where absent. */
  readonly purpose?: string;
  /** Whether to fetch the sum, where the round gives it to participants. It does where absent. */
  readonly fetchAggregate?: boolean;
  /** Keeps where we stand, so that another process can go on. It needs a memory that outlasts the process, too. */
  readonly state?: StateStore;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface RoundResult {
  readonly roundId: Uint8Array;
  readonly config: RoundConfig;
  readonly survivors: readonly string[];
  readonly receipt: Receipt;
  /** Whether as many survivors as are needed signed this very result. */
  readonly certified: boolean;
  /** The mean or the totals, where the round gives it to participants. */
  readonly result: Decoded | undefined;
  /** The exact sum that it was read of. */
  readonly aggregate: Aggregate | undefined;
}

/** A round that was offered. */
interface Offer {
  readonly roundId: Uint8Array;
  readonly configBytes: Uint8Array;
}

/** The call that carries each message, and how it stands in the request. */
const CALLS: Readonly<Record<MessageName | "Receipt", string>> = {
  Roster: "Advertise", ShareDelivery: "Share", SurvivorSet: "SendInput", ConsistencyProof: "Check", Receipt: "Reveal",
};

export class Client {
  readonly id: string;
  readonly memory: Memory;
  readonly #options: ClientOptions;
  readonly #identity: Identity;
  readonly #signing: NonNullable<Setup["identity"]>;
  readonly #clock: () => number;
  readonly #random: Random;
  readonly #joined = new Set<string>();
  readonly #underWay = new AbortController();

  /** Raises `LocalError` where certificate, key and CA do not fit together. */
  constructor(options: ClientOptions) {
    this.#options = options;
    this.#clock = options.clock ?? Date.now;
    this.#random = options.random ?? systemRandom;
    this.memory = options.memory ?? new Memory();
    checkTerms(options.policy ?? {});
    const chain = blocks(options.pem.certificate, /CERTIFICATE/);
    const authorities = blocks(options.pem.ca, /CERTIFICATE/);
    let key: Secret;
    try {
      key = new Secret(privateScalar(blocks(options.pem.key, /PRIVATE KEY/)[0]!));
    } catch (error) {
      if (error instanceof DerError) throw new LocalError(`the private key cannot be read: ${error.message}`);
      throw error;
    }
    this.#signing = { key, chain, authorities };
    this.#identity = this.#own();
    this.id = this.#identity.id;
    if (!equal(p256PublicKey(key), this.#identity.key)) throw new LocalError("the private key is not that of the certificate");
  }

  /** Our own certificate, as others will check it now. */
  #own(): Identity {
    try {
      return identify(this.#signing.chain, this.#signing.authorities, this.#clock());
    } catch (error) {
      if (error instanceof RemoteError) throw new LocalError(`our own certificate is refused: ${error.message}`);
      throw error;
    }
  }

  /**
   * Take part in one round, from joining it to its result.
   *
   * Raises `LocalError` for what our caller did, before anything left the machine; `RemoteError` where the coordinator or the
   * culprit broke the protocol, or the round is below our policy: then we have left the round; `RoundAborted`,
   * `NotInRoundError` and `UnknownRoundError` as the coordinator says; `TransportError` where it cannot be reached;
   * `Cancelled` when the signal or the time says so.
   */
  async participate(asked: Participation): Promise<RoundResult> {
    this.#own();
    const { timeoutMs, state } = asked;
    if ((asked.task === undefined) === (asked.roundId === undefined)) throw new LocalError("say which round with one of task and roundId");
    if (asked.modelDigest.length !== 32) throw new LocalError("modelDigest has not 32 bytes: compute it with digestModel");
    if (state !== undefined && !this.memory.durable) {
      throw new LocalError("the state outlives this process and the memory of sums does not: give the client a FileMemory");
    }
    const signals = [this.#underWay.signal, ...(asked.signal ? [asked.signal] : []), ...(timeoutMs === undefined ? [] : [AbortSignal.timeout(timeoutMs)])];
    const taking = new TakingPart(this, asked, AbortSignal.any(signals));
    return state === undefined ? taking.run() : state.held(() => taking.run());
  }

  /** The coordinator's release, the versions of the protocol that it speaks, and its clock. */
  async describe(signal?: AbortSignal): Promise<Description> {
    const request = toBinary(DescribeRequestSchema, create(DescribeRequestSchema));
    const parts = await this.perform({ method: "Describe", requests: () => [request], maxBytes: 2048, lastsMs: SHORT_MS, ...(signal && { signal }) });
    const description = parseParts(DescriptionSchema, parts)[0]!;
    const { version, protocols } = description;
    if (!/^[A-Za-z0-9.+_-]{1,64}$/.test(version) || protocols.length < 1 || protocols.length > 16 || protocols.some((p, i) => p <= (protocols[i - 1] ?? 0))) {
      throw new DecodeError("the description of the coordinator is malformed", COORDINATOR);
    }
    return description;
  }

  /** End every participation that is under way, tell the coordinator, and close the connection. */
  async close(): Promise<void> {
    this.#underWay.abort();
    await Promise.allSettled(this.leaving);
    this.#options.transport.close();
  }

  /** @internal */
  readonly leaving = new Set<Promise<unknown>>();
  /** @internal */
  perform(call: Call): Promise<Uint8Array[]> {
    return perform(this.#options.transport, call, this.#options.retry);
  }
  /** @internal */
  get terms(): { policy: Policy; signing: NonNullable<Setup["identity"]>; clock: () => number; random: Random; joined: Set<string> } {
    return { policy: this.#options.policy ?? {}, signing: this.#signing, clock: this.#clock, random: this.#random, joined: this.#joined };
  }
}

function checkTerms(policy: Policy): void {
  if (policy.minColludingShare !== undefined && !/^(0(\.\d{1,18})?|1(\.0{1,18})?)$/.test(policy.minColludingShare)) {
    throw new LocalError("minColludingShare is a decimal from 0 to 1, such as \"0.3\"");
  }
  if ((policy.minHonest ?? 2) < 2) throw new LocalError("minHonest must be 2 or more");
}

/** One participation. */
class TakingPart {
  readonly #client: Client;
  readonly #asked: Participation;
  readonly #signal: AbortSignal;
  readonly #purpose: string;
  #offer: Offer | undefined;
  #round: Round | undefined;
  #participant: Participant | undefined;
  #kept: Kept | undefined;
  #advertising = false;
  #replaying = false;
  #over = false;

  constructor(client: Client, asked: Participation, signal: AbortSignal) {
    this.#client = client;
    this.#asked = asked;
    this.#signal = signal;
    this.#purpose = asked.purpose ?? "train";
  }

  async run(): Promise<RoundResult> {
    try {
      const result = await this.#rounds();
      await this.#asked.state?.finish();
      return result;
    } catch (error) {
      await this.#leave(error);
      throw error;
    }
  }

  async #rounds(): Promise<RoundResult> {
    const { state } = this.#asked;
    this.#kept = await state?.load();
    const again = this.#kept?.steps;
    let reply = again === undefined ? await this.#join() : await this.#goOn(this.#kept!);
    const participant = this.#participant!;
    let begun = again !== undefined && again.length > 0;
    for (;;) {
      const awaited = participant.awaits;
      const parts = await this.#exchange(awaited ?? "Receipt", reply, begun);
      begun = false;
      if (awaited === undefined) return this.#conclude(parts);
      const nowMs = this.#client.terms.clock();
      if (this.#kept !== undefined) {
        // check: kept-before-it-is-answered
        this.#kept = { ...this.#kept, steps: [...this.#kept.steps, { message: awaited, parts, nowMs }] };
        await state!.keep(this.#kept);
      }
      reply = participant.receive(awaited, parts, nowMs);
    }
  }

  /** Find a round, check it, and make our keys. Everything of ours that may be wrong comes out before they leave. */
  async #join(): Promise<Uint8Array[]> {
    const { memory, terms } = this.#client;
    const { modelDigest, state } = this.#asked;
    if (terms.policy.oncePerModel && memory.cameOut(toHex(modelDigest), this.#purpose)) {
      throw new PolicyViolation("an update of this model is in a released sum already");
    }
    const offer = await this.#find();
    const round = this.#accept(offer);
    const id = toHex(offer.roundId);
    if (terms.joined.has(id) || this.#kept?.joined.includes(id)) throw new LocalError("this round was joined before");
    const seed = terms.random(32);
    const inputSeed = terms.random(32);
    const input = this.#encode(round, inputSeed);
    terms.joined.add(id);
    this.#offer = offer;
    const participant = this.#participate(offer, round, state === undefined ? terms.random : drawnFrom(seed), input);
    if (state !== undefined) {
      // check: kept-before-the-keys-leave
      this.#kept = {
        participantId: this.#client.id, ...offer, seed, inputSeed, inputDigest: digestInput(input), modelDigest, purpose: this.#purpose,
        keysDigest: sha256(...participant.advertiseKeys), trustDigest: digestTrust(terms.signing.authorities), steps: [], joined: await state.join(id),
      };
      await state.keep(this.#kept);
    }
    return participant.advertiseKeys;
  }

  /** Come to where the process before this one stood, and make what it sent last, or was about to send. */
  async #goOn(kept: Kept): Promise<Uint8Array[]> {
    const { terms, id } = this.#client;
    const { roundId, task } = this.#asked;
    refuseOther(kept.participantId !== id, "participant");
    refuseOther(roundId !== undefined && !equal(roundId, kept.roundId), "round");
    refuseOther(!equal(kept.modelDigest, this.#asked.modelDigest), "model");
    refuseOther(kept.purpose !== this.#purpose, "purpose");
    refuseOther(!equal(kept.trustDigest, digestTrust(terms.signing.authorities)), "CA");
    const offer = { roundId: kept.roundId, configBytes: kept.configBytes };
    refuseOther(task !== undefined && parseConfig(kept.configBytes).task !== task, "task");
    const round = this.#accept(offer);
    const input = this.#encode(round, kept.inputSeed);
    refuseOther(!equal(kept.inputDigest, digestInput(input)), "update");
    this.#offer = offer;
    terms.joined.add(toHex(kept.roundId));
    const participant = this.#participate(offer, round, drawnFrom(kept.seed), input);
    let reply = participant.advertiseKeys;
    refuseOther(!equal(kept.keysDigest, sha256(...reply)), "certificate");
    // A copy of what was kept opens no more, before anything is sent.
    await this.#asked.state!.keep(kept);
    this.#replaying = true;
    for (const { message, parts, nowMs } of kept.steps) reply = participant.receive(message, parts, nowMs);
    this.#replaying = false;
    return reply;
  }

  #participate({ roundId, configBytes }: Offer, round: Round, random: Random, input: Words): Participant {
    const { memory, id, terms } = this.#client;
    this.#participant = new Participant({
      round, roundId, configBytes, model: this.#asked.modelDigest, id, policy: terms.policy, random, identity: terms.signing,
      input: () => input, memory, again: () => this.#replaying,
    });
    return this.#participant;
  }

  /** Refuse what we do not take part in. The round is ours to leave from here on. */
  #accept(offer: Offer): Round {
    this.#offer = offer;
    const round = acceptOffer(offer.configBytes, this.#asked.modelDigest, this.#client.terms.policy, this.#purpose);
    // check: model-later-offered
    if (round.config.modelLater) throw new ProtocolViolation("over this channel no coordinator can name a model later", COORDINATOR);
    this.#round = round;
    return round;
  }

  #encode(round: Round, seed: Uint8Array): Words {
    try {
      const { update } = this.#asked;
      return encode(round, typeof update === "function" ? update(round.config) : update, this.#asked.weight ?? 1, new Secret(seed));
    } catch (error) {
      if (error instanceof LocalError) this.#offer = undefined; // we never joined, so there is nothing to leave
      throw error;
    }
  }

  async #find(): Promise<Offer> {
    const { task, roundId } = this.#asked;
    const seen = [...this.#client.terms.joined, ...((await this.#asked.state?.joined()) ?? [])];
    const request = create(FindRoundRequestSchema, {
      by: task !== undefined ? { case: "task", value: task } : { case: "roundId", value: roundId! },
      ...(task !== undefined && { purpose: this.#purpose, seen: [...new Set(seen)].slice(-MAX_SEEN).map(fromHex) }),
    });
    const parts = await this.#call("FindRound", [toBinary(FindRoundRequestSchema, request)], MAX_OFFER, Infinity);
    const messages = parseParts(RoundOfferPartSchema, parts);
    const named = messages[0]!.roundId;
    const configBytes = concat(messages.map((m) => m.config));
    if (named.length !== 16 || messages.slice(1).some((m) => m.roundId.length > 0) || configBytes.length > MAX_CONFIG) {
      throw new DecodeError("the offer of a round is malformed", COORDINATOR);
    }
    if (roundId !== undefined && !equal(named, roundId)) throw new ProtocolViolation("another round was offered than was asked for", COORDINATOR);
    return { roundId: named, configBytes };
  }

  /** Send `reply`, and get the message that closes the phase. */
  async #exchange(awaited: MessageName | "Receipt", reply: readonly Uint8Array[], begun: boolean): Promise<Uint8Array[]> {
    const { roundId } = this.#offer!;
    const { config } = this.#round!;
    const n = config.maxParticipants;
    const entries = SHORT + n * 2560;
    const method = CALLS[awaited];
    this.#advertising = awaited === "Roster";
    try {
      if (awaited === "Roster") {
        const keys = fromOwn(AdvertiseKeysSchema, reply);
        return await this.#call(method, [toBinary(AdvertiseRequestSchema, create(AdvertiseRequestSchema, { roundId, keys }))], rosterBytes(config));
      }
      if (awaited === "ConsistencyProof") {
        const check = fromOwn(ConsistencyCheckSchema, reply);
        return await this.#call(method, [toBinary(CheckRequestSchema, create(CheckRequestSchema, { roundId, check }))], entries);
      }
      if (awaited === "SurvivorSet") {
        return await this.#call(method, async (again) => (again || begun ? reply.slice(await this.#progress(reply.length)) : reply), entries);
      }
      return await this.#call(method, reply, awaited === "Receipt" ? SHORT : entries);
    } finally {
      this.#advertising = false;
    }
  }

  /** Which of `chunks` chunks comes next. */
  async #progress(chunks: number): Promise<number> {
    const { roundId } = this.#offer!;
    const request = toBinary(InputProgressRequestSchema, create(InputProgressRequestSchema, { roundId }));
    const { nextChunk } = parseParts(InputProgressReplySchema, await this.#call("InputProgress", [request], SHORT))[0]!;
    // check: chunks-acknowledged
    if (nextChunk > chunks) throw new ProtocolViolation(`${nextChunk} chunks of ${chunks} are said to have come`, COORDINATOR);
    return nextChunk;
  }

  async #conclude(parts: readonly Uint8Array[]): Promise<RoundResult> {
    this.#over = true;
    const { memory, terms } = this.#client;
    const { seen } = this.#participant!;
    const { roundId } = this.#offer!;
    const round = this.#round!;
    const { config } = round;
    const receipt = believe(seen, parts, terms.signing.authorities, terms.clock());
    memory.receive(toHex(roundId));
    let certified = false;
    if (config.certify) {
      if (this.#kept !== undefined) {
        // check: one-result-signed
        if (this.#kept.sumsDigest !== undefined && !equal(this.#kept.sumsDigest, receipt.sumsDigest)) {
          throw new ProtocolViolation("after this participant was started again, the receipt is of another sum than before", COORDINATOR);
        }
        this.#kept = { ...this.#kept, sumsDigest: receipt.sumsDigest };
        await this.#asked.state!.keep(this.#kept);
      }
      const request = create(CertifyRequestSchema, { roundId, signature: signResult(seen, receipt) });
      const proof = await this.#call("Certify", [toBinary(CertifyRequestSchema, request)], SHORT + config.maxParticipants * 256);
      certified = isCertified(seen, receipt, proof);
    }
    let aggregate: Aggregate | undefined;
    if (config.releaseToParticipants && (this.#asked.fetchAggregate ?? true)) {
      const request = toBinary(FetchAggregateRequestSchema, create(FetchAggregateRequestSchema, { roundId }));
      const limit = SHORT + config.maxParticipants * 256 + Math.ceil((round.vectorLen * round.ringBits) / 8) * 1.01;
      aggregate = readAggregate(round, await this.#call("FetchAggregate", [request], limit));
      checkAggregate(aggregate, receipt);
    }
    const result = aggregate && decode(round, aggregate.sums, aggregate.survivors.length);
    return { roundId, config, survivors: receipt.survivors, receipt, certified, result, aggregate };
  }

  async #call(method: string, requests: readonly Uint8Array[] | Call["requests"], maxBytes: number, lastsMs?: number): Promise<Uint8Array[]> {
    if (this.#signal.aborted) throw cancelled(this.#signal);
    return this.#client.perform({
      method, maxBytes, signal: this.#signal, lastsMs: lastsMs ?? lasting(this.#round!.config),
      requests: typeof requests === "function" ? requests : () => requests,
      ...(this.#offer && STREAMS.has(method) && { roundId: this.#offer.roundId }),
    });
  }

  /** Tell the coordinator that we left, where it does not know and nobody goes on for us. */
  async #leave(error: unknown): Promise<void> {
    const told = isTold(error);
    const known = told && (this.#advertising || [RoundAborted, NotInRoundError, UnknownRoundError].some((kind) => error instanceof kind));
    const goesOn = this.#kept !== undefined && [TransportError, LimitError, SavedStateError].some((kind) => error instanceof kind);
    if (goesOn) return;
    if (this.#kept !== undefined) await this.#asked.state!.finish();
    if (this.#offer === undefined || this.#over || known || (this.#participant === undefined && told)) return;
    const refused = error instanceof RemoteError && !told;
    const entry = this.#participant?.refused;
    const reason = refused ? LeaveReason.REFUSED : error instanceof Cancelled || error instanceof RoundTimeoutError ? LeaveReason.CANCELLED : LeaveReason.FAILED;
    const accused = refused && error.culprit !== undefined && error.culprit !== COORDINATOR ? error.culprit : "";
    const leave = create(LeaveRequestSchema, { roundId: this.#offer.roundId, leave: { reason, accused: entry?.accused ?? accused, ...(entry && { refusedEntry: entry.entry }) } });
    const leaving = this.#client.perform({
      method: "LeaveRound", requests: () => [toBinary(LeaveRequestSchema, leave)], maxBytes: SHORT + 400_000, lastsMs: SHORT_MS,
      signal: AbortSignal.timeout(SHORT_MS),
    });
    this.#client.leaving.add(leaving);
    // The round goes on without us in any case when its deadline passes.
    const answer = await leaving.catch(() => undefined);
    this.#client.leaving.delete(leaving);
    if (entry !== undefined && answer !== undefined && error instanceof RemoteError) this.#judge(error, entry.accused, answer);
  }

  /** Name the sender of the entry that we refused, if the coordinator shows that it signed it. */
  #judge(error: RemoteError, sender: string, answer: readonly Uint8Array[]): void {
    try {
      const dealt = parseParts(LeaveReplySchema, answer)[0]!.dealt;
      if (dealt !== undefined && this.#participant!.proven(dealt.digests, dealt.signature)) error.culprit = sender;
    } catch (malformed) {
      if (!(malformed instanceof DecodeError)) throw malformed; // nothing is shown
    }
  }
}

const fromOwn = <D extends DescMessage>(schema: D, parts: readonly Uint8Array[]): MessageShape<D> => fromBinary(schema, parts[0]!);

const STREAMS = new Set(["Share", "SendInput", "Reveal"]);

function rosterBytes(config: RoundConfig): number {
  const { ring, maxParticipants: n } = config;
  const member = 512 + 64 + 4 * 8192 + 1216 * 2;
  return SHORT + (ring ? (ring.degree + 1 + ring.committee) * member + n * 128 : n * member);
}

/** All time limits of a round together. */
function lasting(config: RoundConfig): number {
  const d = config.deadlines!;
  return Number(d.joinMs + d.advertiseKeysMs + d.shareKeysMs + d.maskedInputMs + d.consistencyCheckMs * 2n + d.unmaskMs);
}
