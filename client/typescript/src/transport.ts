/** Calls of the data plane: what a transport does, and when a call is made again (PROTOCOL.md, section 15). */
import { COORDINATOR, Cancelled, DecodeError, LimitError, RoundTimeoutError, SecAggError } from "./errors.js";
import { Broken, CallFailed, namedFailure } from "./failures.js";

/** What a call needs beside its messages. */
export interface CallOptions {
  /** The round, in calls with a stream of requests. */
  readonly roundId?: Uint8Array;
  /** More bytes than this are no answer. Each part counts 64 bytes more than it has. */
  readonly maxBytes: number;
  readonly signal?: AbortSignal;
}

/** Carries serialized messages. Each call is one stream of messages up and one down. */
export interface Transport {
  /** The parts of the answer. Raises `CallFailed`, and `AbortError` when the signal says so. */
  call(method: string, requests: readonly Uint8Array[], options: CallOptions): Promise<Uint8Array[]>;
  close(): void;
}

export const PART_COST = 64;

/** Counts an answer as it comes. */
export class Received {
  readonly parts: Uint8Array[] = [];
  #left: number;
  constructor(maxBytes: number) {
    this.#left = maxBytes;
  }
  /** Raises `DecodeError` where the answer is too long. */
  take(part: Uint8Array): void {
    this.#left -= part.length + PART_COST;
    if (this.#left < 0) throw new DecodeError("an answer is longer than it may be", COORDINATOR);
    this.parts.push(part);
  }
}

/** How often and how long a call is made again. */
export interface Retry {
  /** Most failures in a row; no limit if absent. */
  readonly attempts?: number;
  readonly firstDelayMs?: number;
  readonly maxDelayMs?: number;
  /** From the first failure in a row to the last attempt. */
  readonly giveUpAfterMs?: number;
}

export const RESTART_MS = 60_000;

const pause = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    const ended = (): void => {
      clearTimeout(timer);
      reject(cancelled(signal));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", ended);
      resolve();
    }, ms);
    if (signal?.aborted) ended();
    else signal?.addEventListener("abort", ended, { once: true });
  });

/** What an aborted signal means. */
export function cancelled(signal?: AbortSignal): SecAggError {
  const over = signal?.reason instanceof DOMException && signal.reason.name === "TimeoutError";
  return over ? new RoundTimeoutError("the time allowed is over") : new Cancelled("the participation was cancelled");
}

export interface Call extends CallOptions {
  readonly method: string;
  /** The messages to send. Asked again before each attempt: an upload goes on where it broke. */
  readonly requests: (again: boolean) => readonly Uint8Array[] | Promise<readonly Uint8Array[]>;
  /** How long what the call belongs to can last. */
  readonly lastsMs?: number;
}

/** Make a call, and again while it breaks. Raises what the coordinator says by name, `TransportError` or `Cancelled`. */
export async function perform(transport: Transport, call: Call, retry: Retry = {}): Promise<Uint8Array[]> {
  const { attempts = Infinity, firstDelayMs = 200, maxDelayMs = 10_000, giveUpAfterMs = 300_000 } = retry;
  const { method, signal, lastsMs = Infinity } = call;
  let [failures, since, first] = [0, 0, 0];
  for (let again = false; ; again = true) {
    const began = Date.now();
    let error: SecAggError;
    try {
      return await transport.call(method, await call.requests(again), call);
    } catch (failure) {
      if (signal?.aborted) throw cancelled(signal);
      if (failure instanceof SecAggError) error = failure;
      else if (failure instanceof CallFailed) error = namedFailure(failure, method);
      else throw failure;
    }
    if (!(error instanceof Broken || error instanceof LimitError)) throw error;
    const now = Date.now();
    first ||= now;
    if (failures === 0 || now - began >= maxDelayMs) [failures, since] = [0, now];
    failures++;
    const delay = (Math.min(firstDelayMs * 2 ** Math.min(failures - 1, 60), maxDelayMs) * (1 + Math.random())) / 2;
    if (failures >= attempts || now + delay - since > giveUpAfterMs || now + delay - first > RESTART_MS + lastsMs) throw error;
    await pause(delay, signal);
  }
}
