/**
 * A participant that goes on in another process (PROTOCOL.md, section 22), for whoever starts one for each message.
 *
 * What is saved is the seed that everything is drawn from, and the coordinator's messages. The next process takes them again and
 * comes to the same place. The update is not saved: hand it in again.
 */
import { sha256 } from "#platform";

import { concat, equal, toHex } from "./bytes.js";
import { LocalError, SavedStateError } from "./errors.js";
import { LABEL, frame } from "./framing.js";
import { MAX_STATE, type Standing, digestTrust, drawnFrom, openedContent, refuseOther, sealedContent } from "./kept.js";
import { type MessageName, Participant, type Seen, type Setup } from "./participant.js";
import type { Secret } from "./primitives.js";

const VERSION = 1;
const HEAD = 2;

/** Which state of which participant: `step` messages were taken. The id of the round is in hex. */
export interface StateName {
  readonly roundId: string;
  readonly participantId: string;
  readonly step: number;
}

/** Keys of saved states, each used once. Each call returns when it is on the disk. All raise `SavedStateError`. */
export interface StateKeys {
  /** Remember the round. It was not joined before. */
  join(roundId: string, participantId: string): void;
  /** A fresh key of 32 bytes. There is none of this name. */
  make(name: StateName): Secret;
  read(name: StateName): Secret;
  /** Destroy the key. Of two that try, one succeeds. */
  useUp(name: StateName): void;
}

/** A `Participant` whose state can be saved between any two messages. */
export class SavableParticipant {
  readonly #setup: Setup;
  readonly #keys: StateKeys;
  readonly #participant: Participant;
  #standing: Standing;
  #saved = false;
  #again = false;

  private constructor(setup: Setup, keys: StateKeys, seed: Uint8Array) {
    if (!setup.memory.durable) throw new LocalError("the state outlives this process and the memory of sums does not: give it a FileMemory");
    this.#setup = setup;
    this.#keys = keys;
    this.#participant = new Participant({ ...setup, random: drawnFrom(seed), again: () => this.#again });
    const { id, roundId, configBytes, model, round, identity } = setup;
    this.#standing = {
      participantId: id, roundId, configBytes, modelDigest: model, purpose: round.purpose, seed,
      keysDigest: sha256(...this.advertiseKeys), trustDigest: digestTrust(identity?.authorities ?? []), steps: [],
    };
  }

  /** Join a round, once. Raises `SavedStateError` where this participant joined it before. */
  static join(setup: Setup, keys: StateKeys): SavableParticipant {
    const joined = new SavableParticipant(setup, keys, setup.random(32));
    // check: joined-once
    keys.join(toHex(setup.roundId), setup.id);
    return joined;
  }

  /**
   * Go on from a saved state, which then opens no more. `setup` is what the round was joined with.
   *
   * Raises `SavedStateError` where the state is not the latest one of this participant in this round, was changed, or was begun
   * with something else. Whoever mends that can restore once.
   */
  static restore(sealed: Uint8Array, setup: Setup, keys: StateKeys): SavableParticipant {
    if (sealed.length < HEAD || sealed.length > MAX_STATE || sealed[0] !== VERSION) throw new SavedStateError("this is no state, or of another version");
    const name = { roundId: toHex(setup.roundId), participantId: setup.id, step: sealed[1]! };
    const was = openedContent(sealed.subarray(HEAD), keys.read(name), associated(name, setup)) as Standing;
    const restored = new SavableParticipant(setup, keys, was.seed);
    const is = restored.#standing;
    refuseOther(!equal(was.configBytes, is.configBytes), "configuration");
    refuseOther(!equal(was.modelDigest, is.modelDigest), "model");
    // check: state-of-another-ca
    refuseOther(!equal(was.trustDigest, is.trustDigest), "CA");
    // check: state-of-another-certificate
    refuseOther(!equal(was.keysDigest, is.keysDigest), "certificate");
    restored.#again = true;
    for (const { message, parts, nowMs } of was.steps) restored.receive(message, parts, nowMs);
    restored.#again = false;
    // check: state-used-up
    keys.useUp(name);
    return restored;
  }

  get advertiseKeys(): Uint8Array[] {
    return this.#participant.advertiseKeys;
  }

  get awaits(): MessageName | undefined {
    return this.#participant.awaits;
  }

  get seen(): Seen {
    return this.#participant.seen;
  }

  /** As `Participant.receive`. After an error nothing can be saved. */
  receive(message: MessageName, parts: readonly Uint8Array[], nowMs: number): Uint8Array[] {
    if (this.#saved) throw new LocalError("the state was saved: another participant goes on from it");
    const reply = this.#participant.receive(message, parts, nowMs);
    this.#standing = { ...this.#standing, steps: [...this.#standing.steps, { message, parts, nowMs }] };
    return reply;
  }

  /** The sealed state. This participant gives it up. Raises `LocalError` where it has none. */
  save(): Uint8Array {
    if (this.#saved || this.awaits === undefined) {
      throw new LocalError("there is nothing to save: it was saved, an error ended the round, or all is said");
    }
    const name = { roundId: toHex(this.#setup.roundId), participantId: this.#setup.id, step: this.#standing.steps.length };
    const key = this.#keys.make(name);
    this.#saved = true;
    return concat([Uint8Array.of(VERSION, name.step), sealedContent(this.#standing, key, associated(name, this.#setup))]);
  }
}

const associated = ({ participantId, step }: StateName, { roundId }: Setup): Uint8Array =>
  frame(LABEL.savedState, Uint8Array.of(VERSION, step), roundId, participantId);
