/**
 * A participant of a masked round as a machine of states: messages in, messages out (PROTOCOL.md, section 12).
 *
 * Each state takes the one message that it awaits. `Participant` holds the current state and gives it up before it hands
 * out an answer, so nothing is answered twice.
 */
import { type MessageInitShape, create, equals, toBinary } from "@bufbuild/protobuf";

import { type Identity, identify } from "./certificates.js";
import { type Policy, type Round, contextOf, inputContextOf } from "./config.js";
import {
  AuthenticationError, COORDINATOR, DecodeError, LocalError, ModelMismatch, PolicyViolation, ProtocolViolation, RemoteError,
} from "./errors.js";
import { parseParts } from "./fields.js";
import { concat, equal, toHex } from "./bytes.js";
import { LABEL, digest, frame, indices } from "./framing.js";
import { type Entry, type SparseGraph, entryDigest, graphContext, rosterDigest, sparseGraph, sparseRosterDigest } from "./graph.js";
import { type Bound, openFrom, pairSecret, sealTo } from "./peers.js";
import { addMask, pairwiseMaskKey, selfMaskKey } from "./masks.js";
import type { Memory } from "./memory.js";
import { type Words, chunks } from "./packing.js";
import { type Random, Secret, reduced, sign, verifies } from "./primitives.js";
import { isShare, split } from "./sharing.js";
import { type Encapsulate, KeyPair, encapsulating, halves, x25519Half } from "./suites.js";
import {
  type AdvertiseKeys, AdvertiseKeysSchema, ConsistencyCheckSchema, ConsistencyProofPartSchema, MaskedInputChunkSchema,
  RosterPartSchema, ShareDeliveryPartSchema, ShareKeysPartSchema, SurvivorSetSchema, UnmaskPartSchema,
} from "./wire/secagg/wire/v1/data_plane_pb.js";

const SEAL_BYTES = 82;
const DIGESTS = 64;
const HYBRID_SEAL_BYTES = 1202;
const PAIR_SEAL_BYTES = 1168;
/** Of the suite with the longest ones. */
const MAX_PUBLIC_KEY = 1216;
const MAX_ENTRY = 2466;
const MAX_SIGNATURE = 72;
const ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

export type MessageName = "Roster" | "ShareDelivery" | "SurvivorSet" | "ConsistencyProof";

/** What a participant is given when it joins. */
export interface Setup {
  readonly round: Round;
  readonly roundId: Uint8Array;
  readonly configBytes: Uint8Array;
  /** The digest of our own model, as we computed it. */
  readonly model: Uint8Array;
  readonly id: string;
  readonly policy: Policy;
  readonly random: Random;
  /** In the hybrid suite; with coins of `random` where absent. */
  readonly encapsulate?: Encapsulate;
  /** Where messages are signed: our key, our chain and the pinned CAs, in DER. */
  readonly identity?: { readonly key: Secret; readonly chain: readonly Uint8Array[]; readonly authorities: readonly Uint8Array[] };
  /** The encoded update. It is asked for once, when the model is known. */
  readonly input: () => Words;
  /** Sums that may hold our update; it grows before anything is revealed. */
  readonly memory: Memory;
  /** Whether what is received now was received by a process before this one, whose record of the sum counts. */
  readonly again?: () => boolean;
}

/** The next state, or none after Unmask; and the answer in its parts. */
interface Step {
  readonly state: State | undefined;
  readonly reply: Uint8Array[];
}

interface State {
  readonly awaits: MessageName;
  take(parts: readonly Uint8Array[], nowMs: number): Step;
}

const violation = (why: string, culprit: string | undefined = COORDINATOR): ProtocolViolation => new ProtocolViolation(why, culprit);

function wellFormed(holds: boolean, what: string): void {
  if (!holds) throw new DecodeError(what);
}

const within = (index: number): boolean => index >= 1 && index <= 10_000;

function checkIndices(values: readonly number[], what: string): void {
  wellFormed(values.every(within), `${what}: an index is not 1 to 10,000`);
  wellFormed(new Set(values).size === values.length, `${what}: an index comes twice`);
}

const ascending = (values: readonly number[]): boolean => values.every((v, i) => i === 0 || values[i - 1]! < v);

export interface Peer {
  readonly entry: Entry;
  readonly identity: Identity | undefined;
}

/** The roster as this participant checked it. */
export interface CheckedRoster {
  readonly digest: Uint8Array;
  /** Ids of all members; index i is at i - 1. */
  readonly ids: readonly string[];
  readonly own: number;
  readonly peers: ReadonlyMap<number, Peer>;
  readonly neighbours: readonly number[];
  readonly graph: SparseGraph | undefined;
  /** Shares that open a secret. */
  readonly shareThreshold: number;
}

/** What a participant saw of a round, for what comes at its end. */
export interface Seen {
  readonly setup: Setup;
  readonly inputContext: Uint8Array;
  roster?: CheckedRoster;
  /** Indices of the survivors that we were shown, ascending. */
  survivors?: readonly number[];
}

export class Participant {
  #state: State | undefined;
  readonly seen: Seen;
  readonly advertiseKeys: Uint8Array[];
  /** The entry that was refused, for Leave: who dealt it, and its digest. */
  refused: { readonly accused: string; readonly entry: Uint8Array } | undefined;

  constructor(setup: Setup) {
    const { round, roundId, configBytes, model, id } = setup;
    const context = contextOf(roundId, configBytes, round.config.modelLater ? new Uint8Array(32) : model);
    this.seen = { setup, inputContext: round.config.modelLater ? inputContextOf(context, model) : context };
    const first = joined(this.seen, context, (accused, entry) => (this.refused = { accused, entry: digest(LABEL.dealtEntry, id, entry) }));
    this.#state = first.state;
    this.advertiseKeys = first.reply;
  }

  /**
   * Whether the coordinator shows that the sender of the refused entry signed it: the digests of all that it dealt, and its
   * signature. Without that nobody is named, because the coordinator may have changed the entry.
   */
  proven(digests: Uint8Array, signature: Uint8Array): boolean {
    const { roster, setup: { roundId, configBytes, round, model } } = this.seen;
    const { refused } = this;
    const dealer = [...(roster?.peers.values() ?? [])].find(({ entry }) => entry.id === refused?.accused);
    if (roster === undefined || refused === undefined || dealer?.identity === undefined) return false;
    const context = contextOf(roundId, configBytes, round.config.modelLater ? new Uint8Array(32) : model);
    const listed = Array.from({ length: Math.floor(digests.length / 32) }, (_, i) => digests.subarray(32 * i, 32 * (i + 1)));
    // check: shown-entry
    if (!listed.some((one) => equal(one, refused.entry))) return false;
    return verifies(dealer.identity.key, frame(LABEL.dealingSignature, context, roster.digest, refused.accused, digests), signature);
  }

  /** The message that is awaited, or nothing once all is said. */
  get awaits(): MessageName | undefined {
    return this.#state?.awaits;
  }

  /** Take the parts of a message. Any error ends the round for us: the state is gone before anything is checked. */
  receive(name: MessageName, parts: readonly Uint8Array[], nowMs: number): Uint8Array[] {
    const state = this.#state;
    this.#state = undefined;
    // check: awaited
    if (state === undefined || state.awaits !== name) throw violation(`${name} is not the message that is awaited`);
    const step = state.take(parts, nowMs);
    this.#state = step.state;
    return step.reply;
  }
}

function joined(seen: Seen, context: Uint8Array, onRefused: (accused: string, entry: Uint8Array) => void): Step {
  const { setup, inputContext } = seen;
  const { round, roundId, model, id, random, policy, identity } = setup;
  if (round.active && identity === undefined) throw new LocalError("an active round needs a key, a chain and the pinned CAs");
  const { suite } = round;
  const channel = new KeyPair(suite, new Secret(random(32)));
  const mask = new KeyPair(suite, new Secret(random(32)));
  const encapsulate = setup.encapsulate ?? encapsulating(random);
  const sealBytes = suite.hybrid ? HYBRID_SEAL_BYTES : SEAL_BYTES;
  const pairSealBytes = suite.hybrid ? PAIR_SEAL_BYTES : 0;
  const entryBytes = sealBytes + pairSealBytes + DIGESTS + (suite.hybrid ? 32 : 0);
  const signedKeys = (owner: string, c: Uint8Array, s: Uint8Array): Uint8Array =>
    frame(LABEL.advertiseKeysSignature, context, owner, c, s, "");
  const signed = (message: Uint8Array): Uint8Array => (round.active ? sign(identity!.key, message) : new Uint8Array());
  const own = create(AdvertiseKeysSchema, {
    channelPublicKey: channel.public,
    maskPublicKey: mask.public,
    signature: signed(signedKeys(id, channel.public, mask.public)),
    certificates: round.active ? [...identity!.chain] : [],
  });

  function checkKeys(keys: AdvertiseKeys | undefined): AdvertiseKeys {
    if (keys === undefined) throw new DecodeError("a member without keys");
    wellFormed([32, MAX_PUBLIC_KEY].includes(keys.channelPublicKey.length), "a channel key has a size that no suite has");
    wellFormed(keys.maskPublicKey.length <= MAX_PUBLIC_KEY, "a mask key is longer than those of all suites");
    wellFormed(keys.keyShareCommitment.length <= 32, "a key share commitment is too long");
    const certificates = keys.certificates;
    wellFormed(certificates.length <= 4 && certificates.every((c) => c.length >= 1 && c.length <= 8192), "certificates");
    wellFormed(keys.signature.length <= MAX_SIGNATURE, "a signature is too long");
    return keys;
  }

  function enough(organisations: Iterable<Identity | undefined>, who: string): void {
    if (!round.active) return;
    const names = new Set([...organisations].flatMap((o) => (o ? [o.organisation] : [])));
    if (names.size < (policy.minOrganisations ?? 1)) {
      throw new PolicyViolation(`${who} have ${names.size} organisations, the policy demands ${policy.minOrganisations}`, COORDINATOR);
    }
  }

  function checkRoster(parts: readonly Uint8Array[], nowMs: number): CheckedRoster {
    const messages = parseParts(RosterPartSchema, parts);
    const members = messages.flatMap((m) => m.members);
    // On a ring the entries may come in any order: the list has the places.
    if (round.config.ring) members.sort((a, b) => a.index - b.index);
    const listed = messages.flatMap((m) => m.listed);
    const digests = concat(messages.map((m) => m.entryDigests));
    const ring = round.config.ring;
    wellFormed(members.every((m) => within(m.index)), "Roster: an index is not 1 to 10,000");
    const entries: Entry[] = members.map((m) => {
      wellFormed(ID.test(m.participantId), "an id is malformed");
      const keys = checkKeys(m.keys);
      return { index: m.index, id: m.participantId, channelKey: keys.channelPublicKey, maskKey: keys.maskPublicKey, certificates: keys.certificates };
    });
    wellFormed(listed.every((one) => ID.test(one)) && digests.length === 32 * listed.length, "the list of members");
    if ((listed.length > 0) !== (ring !== undefined)) throw violation("a list of members belongs to a sparse graph");
    const ids = ring ? listed : entries.map((e) => e.id);
    const least = ring?.minParticipants ?? round.config.threshold;
    if (ids.length < least || ids.length > round.config.maxParticipants) throw violation(`${ids.length} members`);
    if (!ids.every((one, i) => i === 0 || ids[i - 1]! < one)) throw violation("the ids of the roster do not ascend");
    const ownIndex = ids.indexOf(id) + 1;
    if (ownIndex === 0) throw violation("we are not on the roster");
    let graph: SparseGraph | undefined;
    let roster: Uint8Array;
    let neighbours: number[];
    if (ring) {
      const each = listed.map((_, i) => digests.subarray(32 * i, 32 * (i + 1)));
      roster = sparseRosterDigest(listed, each);
      graph = sparseGraph(context, roster, ids.length, ring.degree, ring.committee);
      neighbours = graph.neighbours(ownIndex);
      const due = [...new Set([ownIndex, ...neighbours, ...graph.committee])].sort((a, b) => a - b);
      if (due.join() !== entries.map((e) => e.index).sort((a, b) => a - b).join()) throw violation("the entries are not those of the neighbours and the committee");
      for (const entry of entries) {
        if (ids[entry.index - 1] !== entry.id) throw violation("an entry is not at its place in the list");
        if (!equal(each[entry.index - 1]!, entryDigest(entry))) throw violation("an entry has another digest than the list says");
      }
    } else {
      if (!entries.every((e, i) => e.index === i + 1)) throw violation("the indices of the roster are not 1 to n");
      roster = rosterDigest(entries);
      neighbours = entries.map((e) => e.index).filter((i) => i !== ownIndex);
    }
    const keys = entries.flatMap((e) => [e.channelKey, e.maskKey]);
    if (!keys.every((key) => key.length === suite.publicKeyBytes)) throw violation("a public key is one of another suite");
    if (members.some((m) => m.keys!.keyShareCommitment.length > 0)) throw violation("a key share commitment is for homomorphic rounds");
    const alone = keys.flatMap(halves);
    if (new Set(alone.map(toHex)).size !== alone.length) throw violation("a public key comes twice");
    if (!keys.every((key) => reduced(x25519Half(key)))) throw violation("a public key is not reduced");
    const ours = members.find((m) => m.index === ownIndex)?.keys;
    if (!ours || !equals(AdvertiseKeysSchema, ours, own)) throw violation("our own entry was changed");
    const peers = new Map<number, Peer>();
    entries.forEach((entry, i) => {
      let who: Identity | undefined;
      if (round.active) {
        who = identify(entry.certificates, identity!.authorities, nowMs);
        if (who.id !== entry.id) throw violation(`the certificate of ${entry.id} names ${who.id}`);
        if (!verifies(who.key, signedKeys(entry.id, entry.channelKey, entry.maskKey), members[i]!.keys!.signature)) {
          throw new AuthenticationError(`the signature of ${entry.id}'s keys does not verify`, COORDINATOR);
        }
      }
      peers.set(entry.index, { entry, identity: who });
    });
    enough([...peers.values()].map((p) => p.identity), "the members");
    const shareThreshold = ring?.neighbourThreshold ?? round.config.threshold;
    return { digest: roster, ids, own: ownIndex, peers, neighbours, graph, shareThreshold };
  }

  const awaitingRoster: State = {
    awaits: "Roster",
    take(parts, nowMs) {
      const roster = checkRoster(parts, nowMs);
      seen.roster = roster;
      const sealContext = roster.graph ? graphContext(context, roster.digest) : context;
      const bound = { suite, roundId, context: sealContext };
      const seed = new Secret(random(32));
      const holders = [...roster.neighbours, roster.own];
      const maskShares = split(mask.secret, roster.shareThreshold, holders, random);
      const seedShares = split(seed, roster.shareThreshold, holders, random);
      const shares = roster.neighbours.map((v) => {
        const { id: receiver, channelKey, maskKey } = roster.peers.get(v)!.entry;
        const [a, b] = [maskShares.get(v)!, seedShares.get(v)!];
        const ends = { sender: id, receiver };
        const sealed = sealTo(bound, { label: LABEL.shareSealing, own: channel, peer: channelKey, ...ends }, concat([a, b]), encapsulate);
        const digests = shareDigests(id, receiver, a, b);
        if (!suite.hybrid) return { peer: v, receiver, entry: concat([sealed, ...digests]) };
        const given = pairSecret(bound, mask, id, receiver).reveal();
        const gift = sealTo(bound, { label: LABEL.pairSecretSealing, own: mask, peer: maskKey, ...ends }, given, encapsulate);
        return { peer: v, receiver, entry: concat([sealed, gift, ...digests, pairDigest(id, receiver, given)]) };
      });
      const digests = concat(shares.map(({ receiver, entry }) => digest(LABEL.dealtEntry, receiver, entry)));
      const signature = signed(frame(LABEL.dealingSignature, context, roster.digest, id, digests));
      const commitment = digest(LABEL.selfMaskCommitment, context, id, seed.reveal());
      const held = new Map([[roster.own, new Secret(concat([maskShares.get(roster.own)!, seedShares.get(roster.own)!]))]]);
      return {
        state: awaitingShares(roster, bound, seed, held),
        reply: inParts(shares, entryBytes).map((some, i) => toBinary(ShareKeysPartSchema, create(ShareKeysPartSchema, {
          peers: some.map(({ peer }) => peer), entries: concat(some.map(({ entry }) => entry)),
          ...(i === 0 && { commitment, signature }),
        }))),
      };
    },
  };

  const shareDigests = (owner: string, holder: string, a: Uint8Array, b: Uint8Array): Uint8Array[] => [
    digest(LABEL.maskKeyShareDigest, context, owner, holder, a),
    digest(LABEL.selfMaskShareDigest, context, owner, holder, b),
  ];

  const pairDigest = (giver: string, receiver: string, secret: Uint8Array): Uint8Array =>
    digest(LABEL.pairSecretDigest, context, giver, receiver, secret);

  /** Open one entry and check what it holds (C18, C19, C92, C111): a pair of shares, and in the hybrid suite a pair secret. */
  function opened(roster: CheckedRoster, bound: Bound, from: number, entry: Uint8Array): { pair: Secret; given: Secret | undefined } {
    const { entry: sender } = roster.peers.get(from)!;
    const ends = { sender: sender.id, receiver: id };
    // Where members sign, only the coordinator's answer to Leave tells whether the sender or the coordinator is to blame.
    const refuse = (kind: typeof RemoteError, why: string): never => {
      // Whoever is to blame: the coordinator looks at what it passed on.
      onRefused(sender.id, entry);
      throw new kind(`the entry of ${sender.id} ${why}`, round.active ? undefined : sender.id);
    };
    const unsealed = (label: string, own: KeyPair, peer: Uint8Array, sealed: Uint8Array): Uint8Array => {
      let plaintext: Uint8Array | undefined;
      try {
        plaintext = openFrom(bound, { label, own, peer, ...ends }, sealed);
      } catch (error) {
        if (!(error instanceof AuthenticationError)) throw error;
      }
      return plaintext ?? refuse(AuthenticationError, "does not open");
    };
    if (entry.length !== entryBytes) return refuse(AuthenticationError, "has another size than entries of the suite");
    const pair = unsealed(LABEL.shareSealing, channel, sender.channelKey, entry.subarray(0, sealBytes));
    const [a, b] = [pair.subarray(0, 33), pair.subarray(33)];
    if (!isShare(a) || !isShare(b)) refuse(DecodeError, "holds no share");
    const digests = concat(shareDigests(sender.id, id, a, b));
    const at = sealBytes + pairSealBytes;
    if (!equal(digests, entry.subarray(at, at + DIGESTS))) refuse(AuthenticationError, "does not fit its digests");
    if (!suite.hybrid) return { pair: new Secret(pair), given: undefined };
    const given = unsealed(LABEL.pairSecretSealing, mask, sender.maskKey, entry.subarray(sealBytes, at));
    if (!equal(pairDigest(sender.id, id, given), entry.subarray(at + DIGESTS))) refuse(AuthenticationError, "has a pair secret that does not fit its digest");
    return { pair: new Secret(pair), given: new Secret(given) };
  }

  /** What the key of the mask that we share with a neighbour is made of. */
  function sharedWith(bound: Bound, peer: Entry, given: Secret | undefined): Uint8Array {
    if (given === undefined) return mask.agree(peer.maskKey, peer.id).reveal();
    const gave = pairSecret(bound, mask, id, peer.id).reveal();
    return concat(id < peer.id ? [gave, given.reveal()] : [given.reveal(), gave]);
  }

  function awaitingShares(roster: CheckedRoster, sealing: Bound, seed: Secret, held: Map<number, Secret>): State {
    return {
      awaits: "ShareDelivery",
      take(parts) {
        const messages = parseParts(ShareDeliveryPartSchema, parts);
        const shares = entriesOf(messages);
        wellFormed(messages.every((m, i) => m.keyShares.length === 0 && (i === 0 || m.modelDigest.length === 0)), "ShareDelivery");
        const named = messages[0]!.modelDigest;
        wellFormed(named.length === 0 || named.length === 32, "a model digest has not 32 bytes");
        if ((named.length > 0) !== round.config.modelLater) throw violation("a model is named exactly where it is named later");
        if (named.length > 0 && !equal(named, model)) throw new ModelMismatch("another model was named", COORDINATOR);
        if (!shares.every((s) => roster.neighbours.includes(s.peer))) throw violation("somebody who is no neighbour sent shares");
        if (shares.length + 1 < roster.shareThreshold) throw violation("too few shares");
        const given = new Map<number, Secret | undefined>();
        for (const { peer, sealed } of shares) {
          const found = opened(roster, sealing, peer, sealed);
          held.set(peer, found.pair);
          given.set(peer, found.given);
        }
        const bound = roster.graph ? graphContext(inputContext, roster.digest) : inputContext;
        const keys = shares.map(({ peer }) => {
          const other = roster.peers.get(peer)!.entry;
          return { peer, key: pairwiseMaskKey(suite, sharedWith(sealing, other, given.get(peer)), roundId, bound, [id, other.id]) };
        });
        const vector = setup.input().slice();
        if (vector.length !== round.vectorLen) throw new LocalError(`the input has ${vector.length} words instead of ${round.vectorLen}`);
        addMask(vector, selfMaskKey(suite, seed, roundId, bound, id), 1);
        for (const { peer, key } of keys) addMask(vector, key, roster.own > peer ? 1 : -1);
        const reply = chunks(vector, round.ringBits).map((payload, number) =>
          toBinary(MaskedInputChunkSchema, create(MaskedInputChunkSchema, { number, payload })));
        return { state: awaitingSurvivors(roster, held), reply };
      },
    };
  }

  function awaitingSurvivors(roster: CheckedRoster, held: ReadonlyMap<number, Secret>): State {
    return {
      awaits: "SurvivorSet",
      take(parts) {
        wellFormed(parts.length === 1, "SurvivorSet is one part");
        const { survivors, dropped } = parseParts(SurvivorSetSchema, parts)[0]!;
        checkIndices(survivors, "survivors");
        checkIndices(dropped, "dropped");
        wellFormed(ascending(survivors) && ascending(dropped), "the sets do not ascend");
        const all = [...survivors, ...dropped];
        if (new Set(all).size !== all.length) throw violation("survivors and dropped have a member in common");
        if (!all.every((i) => i <= roster.ids.length)) throw violation("a stranger is in the sets");
        const near = new Set([...roster.neighbours, roster.own]);
        const shown = all.filter((i) => near.has(i)).sort((a, b) => a - b);
        if (shown.join() !== [...held.keys()].sort((a, b) => a - b).join()) throw violation("the sets are not those who shared keys");
        if (!survivors.includes(roster.own)) throw violation("we are no survivor");
        if (survivors.length < round.config.threshold) throw violation("too few survivors");
        enough(survivors.map((i) => roster.peers.get(i)?.identity), "the survivors");
        remember(survivors.map((i) => roster.ids[i - 1]!));
        seen.survivors = survivors;
        if (!round.active) return { state: undefined, reply: unmask(held, survivors) };
        const message = frame(LABEL.consistencySignature, inputContext, roster.digest, indices(survivors), indices(dropped));
        const signs = roster.graph === undefined || roster.graph.committee.has(roster.own);
        const check = create(ConsistencyCheckSchema, { signature: signs ? signed(message) : new Uint8Array() });
        return { state: awaitingProof(roster, held, survivors, message), reply: [toBinary(ConsistencyCheckSchema, check)] };
      },
    };
  }

  /** C86, and the record of the sum in the same step. */
  function remember(survivors: string[]): void {
    const sum = { roundId: toHex(roundId), model: toHex(model), purpose: round.purpose, threshold: round.config.threshold, survivors };
    setup.memory.claim(sum, { oncePerModel: policy.oncePerModel ?? false, again: setup.again?.() ?? false });
  }

  function awaitingProof(roster: CheckedRoster, held: ReadonlyMap<number, Secret>, survivors: readonly number[], message: Uint8Array): State {
    return {
      awaits: "ConsistencyProof",
      take(parts) {
        const signatures = parseParts(ConsistencyProofPartSchema, parts).flatMap((m) => m.signatures);
        checkIndices(signatures.map((s) => s.signer), "ConsistencyProof");
        wellFormed(signatures.every((s) => s.signature.length >= 1 && s.signature.length <= MAX_SIGNATURE), "a signature has not 1 to 72 bytes");
        const may = new Set(survivors.filter((i) => roster.graph === undefined || roster.graph.committee.has(i)));
        if (!signatures.every((s) => may.has(s.signer))) throw violation("somebody signed who may not");
        const least = round.config.ring?.committeeThreshold ?? round.config.threshold;
        if (signatures.length < least) throw violation(`${signatures.length} signatures instead of ${least}`);
        for (const { signer, signature } of signatures) {
          const { entry, identity: who } = roster.peers.get(signer)!;
          if (!verifies(who!.key, message, signature)) {
            throw new AuthenticationError(`${entry.id} did not sign the sets that we were shown`, COORDINATOR);
          }
        }
        return { state: undefined, reply: unmask(held, survivors) };
      },
    };
  }

  function unmask(held: ReadonlyMap<number, Secret>, survivors: readonly number[]): Uint8Array[] {
    const shares: Revealed[] = [...held].map(([owner, pair]) => {
      const bytes = pair.reveal();
      return survivors.includes(owner)
        ? { owner, share: { case: "selfMaskShare", value: bytes.slice(33) } }
        : { owner, share: { case: "maskKeyShare", value: bytes.slice(0, 33) } };
    });
    return inParts(shares, REVEALED_BYTES).map((some) => toBinary(UnmaskPartSchema, create(UnmaskPartSchema, { shares: some })));
  }

  return { state: awaitingRoster, reply: [toBinary(AdvertiseKeysSchema, own)] };
}

type Revealed = NonNullable<MessageInitShape<typeof UnmaskPartSchema>["shares"]>[number];

/** The entries of a message: ascending peers, and blocks that are cut into as many entries of one size. */
function entriesOf(messages: readonly { readonly peers: number[]; readonly entries: Uint8Array }[]): { peer: number; sealed: Uint8Array }[] {
  const peers = messages.flatMap((m) => m.peers);
  checkIndices(peers, "ShareDelivery");
  wellFormed(ascending(peers), "the peers do not ascend");
  let size: number | undefined;
  const found = messages.flatMap(({ peers: some, entries }) => {
    if (some.length === 0) wellFormed(entries.length === 0, "entries of nobody");
    else size ??= entries.length / some.length;
    wellFormed(size === undefined || Number.isInteger(size), "entries are cut");
    wellFormed(some.length === 0 || (entries.length === some.length * size! && size! <= MAX_ENTRY), "entries are not of one size");
    return some.map((peer, i) => ({ peer, sealed: entries.subarray(i * size!, (i + 1) * size!) }));
  });
  return found;
}

const PART_BYTES = 2 ** 20 - 2048;
/** Of an index and the tags of an entry on the wire, at most. */
const AROUND = 16;
/** Of a share that is revealed. */
const REVEALED_BYTES = 33;

/** Lists whose entries of `size` bytes make parts below 1 MiB. At least one. */
function inParts<T>(list: readonly T[], size: number): T[][] {
  const parts: T[][] = [];
  const most = Math.floor(PART_BYTES / (size + AROUND));
  for (let at = 0; at === 0 || at < list.length; at += most) parts.push(list.slice(at, at + most));
  return parts;
}

