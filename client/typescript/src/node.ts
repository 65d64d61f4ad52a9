/** What outlasts a process of Node: the memory of sums in a file, and the state of a round in a folder. */
import {
  closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, readdirSync, renameSync, rmSync, statSync, unlinkSync, writeSync,
} from "node:fs";
import { dirname, join } from "node:path";

import { sha256 } from "#platform";
import { toHex, utf8 } from "./bytes.js";
import { SavedStateError } from "./errors.js";
import { type Content, type Kept, MAX_JOINED, type StateStore, numberOf, openState, sealState } from "./kept.js";
import { Memory, type MemoryEntry, type Sum } from "./memory.js";
import { Secret, systemRandom } from "./primitives.js";
import type { StateKeys, StateName } from "./saved.js";

const CHECK = 8;

const failed = (what: string, error: unknown): SavedStateError => new SavedStateError(`${what}: ${(error as Error).message}`);

function flushFolder(folder: string): void {
  const descriptor = openSync(folder, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Make a folder that we alone can read, if there is none. Raises `SavedStateError` where others can read it. */
function makePrivate(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // check: folder-read-by-others
    if (process.platform !== "win32" && (statSync(folder).mode & 0o077) !== 0) {
      throw new SavedStateError(`others may read ${folder}: chmod 700 ${folder}`);
    }
  } catch (error) {
    if (error instanceof SavedStateError) throw error;
    throw failed(folder, error);
  }
}

/** Write a file and flush it. `flags` as of open. */
function written(path: string, content: Uint8Array, flags: string): void {
  const descriptor = openSync(path, flags, 0o600);
  try {
    for (let at = 0; at < content.length; ) at += writeSync(descriptor, content, at);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Files that say that this process uses something. The operating system tells whether the process that wrote one is alive. */
const HELD = new Set<string>();

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function hold(path: string): void {
  for (let tries = 0; ; tries++) {
    try {
      written(path, utf8(`${process.pid}\n`), "wx");
      HELD.add(path);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST" || tries > 2) throw failed(path, error);
    }
    const pid = Number(readFileSync(path, "utf8"));
    if (HELD.has(path) || (pid !== process.pid && pid > 0 && alive(pid))) {
      throw new SavedStateError(`process ${pid} uses ${path.replace(/\.lock$/, "")}; end it, or name another place`);
    }
    rmSync(path, { force: true });
  }
}

function release(path: string): void {
  HELD.delete(path);
  rmSync(path, { force: true });
}

/** A line and a check of it, so that one that a crash cut off, or that was changed, is told from a whole one. */
const line = (value: unknown): string => {
  const text = JSON.stringify(value);
  return `${toHex(sha256(utf8(text))).slice(0, 2 * CHECK)} ${text}\n`;
};

/**
 * A memory of sums that outlasts the process: lines that are appended, each on the disk before anything follows from it.
 * One process uses the file at a time. Do not delete it while its models are trained on.
 */
export class FileMemory extends Memory {
  override readonly durable = true;
  readonly #path: string;
  #closed = false;

  /** Raises `SavedStateError` where the file is another participant's, is damaged, or another process uses it. */
  constructor(path: string, participantId: string) {
    super();
    this.#path = path;
    hold(`${path}.lock`);
    const header = line({ format: "secagg-client-memory", version: 1, participant: participantId });
    let text: string;
    try {
      text = readFileSync(path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
        release(`${path}.lock`);
        throw failed(path, error);
      }
      text = "";
    }
    const lines = text.split("\n");
    const torn = lines.pop()!;
    if (lines.length === 0) {
      if (!header.startsWith(torn)) this.#damaged("it is no memory of sums");
      written(path, utf8(header), "w");
      flushFolder(dirname(path));
      return;
    }
    if (`${lines[0]}\n` !== header) this.#damaged(`it is not the memory of ${participantId}`);
    for (const each of lines.slice(1)) this.#learn(each);
    // What a crash left of an entry that nobody acted upon does not count.
    if (torn !== "") {
      written(`${path}.new`, utf8(lines.map((each) => `${each}\n`).join("")), "w");
      renameSync(`${path}.new`, path);
      flushFolder(dirname(path));
    }
  }

  #learn(each: string): void {
    const text = each.slice(2 * CHECK + 1);
    let entry: MemoryEntry;
    try {
      entry = JSON.parse(text) as MemoryEntry;
    } catch {
      return this.#damaged("a line is no entry");
    }
    if (line(entry) !== `${each}\n`) this.#damaged("a line was changed");
    if ("claimed" in entry) this.sums.push(entry.claimed as Sum);
    else this.received.add(entry.received);
  }

  #damaged(why: string): never {
    release(`${this.#path}.lock`);
    throw new SavedStateError(`${this.#path}: ${why}; mend it, or name another file`);
  }

  protected override keep(entry: MemoryEntry): void {
    try {
      written(this.#path, utf8(line(entry)), "a");
    } catch (error) {
      throw failed(this.#path, error);
    }
  }

  /** Let others use the file. */
  close(): void {
    if (this.#closed) return; // the lock may be somebody else's by now
    this.#closed = true;
    release(`${this.#path}.lock`);
  }
}

/**
 * The state of a round in a folder of our own, sealed: `state`, and `key.NUMBER` with the key of it. Each change has a fresh
 * key, and the old one is removed, so an older copy of `state` alone opens no more. Keep the folder on a local disk, out of
 * backups.
 */
export class StateFolder implements StateStore {
  readonly #folder: string;
  #number = 0n;
  #content: Content = { underWay: undefined, joined: [] };

  constructor(folder: string) {
    this.#folder = folder;
  }

  async held<T>(work: () => Promise<T>): Promise<T> {
    makePrivate(this.#folder);
    const lock = this.#path("state.lock");
    hold(lock);
    try {
      this.#read();
      return await work();
    } finally {
      release(lock);
    }
  }

  async load(): Promise<Kept | undefined> {
    return this.#content.underWay;
  }

  async joined(): Promise<readonly string[]> {
    return this.#content.joined;
  }

  async join(id: string): Promise<readonly string[]> {
    return [...this.#content.joined, id].slice(-MAX_JOINED);
  }

  async keep(kept: Kept): Promise<void> {
    this.#write({ underWay: kept, joined: kept.joined });
  }

  async finish(): Promise<void> {
    this.#write({ ...this.#content, underWay: undefined });
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  #read(): void {
    let sealed: Uint8Array;
    try {
      sealed = new Uint8Array(readFileSync(this.#path("state")));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return this.#tidy();
      throw failed(this.#folder, error);
    }
    this.#number = numberOf(sealed);
    let key: Uint8Array;
    try {
      key = new Uint8Array(readFileSync(this.#path(`key.${this.#number}`)));
    } catch (error) {
      throw new SavedStateError(`${this.#folder}: the key of the state is gone, so it opens no more; remove the folder (${(error as Error).message})`);
    }
    this.#content = openState(sealed, new Secret(key));
    this.#tidy();
  }

  /** Remove keys of states that are none any more. */
  #tidy(): void {
    for (const name of readdirSync(this.#folder)) {
      if (name === "state.new" || (/^key\.\d+$/.test(name) && name !== `key.${this.#number}`)) rmSync(this.#path(name), { force: true });
    }
  }

  #write(content: Content): void {
    const number = this.#number + 1n;
    const key = systemRandom(32);
    try {
      written(this.#path(`key.${number}`), key, "wx");
      flushFolder(this.#folder);
      written(this.#path("state.new"), sealState(content, number, new Secret(key)), "w");
      renameSync(this.#path("state.new"), this.#path("state"));
      flushFolder(this.#folder);
      rmSync(this.#path(`key.${this.#number}`), { force: true });
      flushFolder(this.#folder);
    } catch (error) {
      throw failed(this.#folder, error);
    }
    this.#number = number;
    this.#content = content;
  }
}

const JOINED = ".joined";
const KEY_BYTES = 32;

/**
 * Keys of saved states in a folder: a file for each state that was saved and not restored, and an empty one for each of the
 * latest 1,000 rounds that were joined. Keep it on a local disk, out of backups, and apart from the states. With an older copy of
 * it, older states would open again.
 */
export class StateKeyFolder implements StateKeys {
  readonly #folder: string;

  /** The folder is made if there is none. Raises `SavedStateError` where others can read it. */
  constructor(folder: string) {
    this.#folder = folder;
    makePrivate(folder);
  }

  join(roundId: string, participantId: string): void {
    const name = `${roundId}.${participantId}${JOINED}`;
    this.#create(name, new Uint8Array(), "this round was joined before");
    this.#forgetOldest(name, participantId);
  }

  make(name: StateName): Secret {
    const joined = join(this.#folder, `${name.roundId}.${name.participantId}${JOINED}`);
    if (!existsSync(joined)) throw new SavedStateError("the round was not joined with this folder, or too many were joined since");
    const key = systemRandom(KEY_BYTES);
    this.#create(keyFile(name), key, "this state was saved before");
    return new Secret(key);
  }

  read(name: StateName): Secret {
    const key = this.#telling(name, (path) => new Uint8Array(readFileSync(path)));
    if (key.length !== KEY_BYTES) throw noKey(name); // a crash left it, and the state never came to be
    return new Secret(key);
  }

  useUp(name: StateName): void {
    this.#telling(name, unlinkSync);
    flushFolder(this.#folder);
  }

  /** Raises `SavedStateError` with `taken` where there is one of this name. */
  #create(name: string, content: Uint8Array, taken: string): void {
    try {
      written(join(this.#folder, name), content, "wx");
      flushFolder(this.#folder);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EEXIST") throw new SavedStateError(taken);
      throw failed(this.#folder, error);
    }
  }

  #telling<T>(name: StateName, work: (path: string) => T): T {
    try {
      return work(join(this.#folder, keyFile(name)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") throw noKey(name);
      throw failed(this.#folder, error);
    }
  }

  /** Forget the participant's oldest rounds, with the keys that are left of them. */
  #forgetOldest(latest: string, participantId: string): void {
    const names = readdirSync(this.#folder);
    const age = (name: string): number => statSync(join(this.#folder, name), { throwIfNoEntry: false })?.mtimeMs ?? 0;
    const others = names.filter((name) => name !== latest && name.slice(ROUND_DIGITS) === `.${participantId}${JOINED}`);
    const oldest = others.map((name) => ({ name, at: age(name) })).sort((a, b) => b.at - a.at).slice(MAX_JOINED - 1);
    for (const { name } of oldest) {
      const round = name.slice(0, -JOINED.length);
      const keys = names.filter((one) => one.startsWith(`${round}.`) && /^\.\d+\.key$/.test(one.slice(round.length)));
      for (const one of [...keys, name]) rmSync(join(this.#folder, one), { force: true });
    }
  }
}

const ROUND_DIGITS = 32;

const keyFile = ({ roundId, participantId, step }: StateName): string => `${roundId}.${participantId}.${step}.key`;

const noKey = ({ step }: StateName): SavedStateError =>
  new SavedStateError(`no key opens state ${step} of this round: it was restored before, or is not the latest one`);
