/** The data plane over HTTPS, for browsers and phones: short requests to the coordinator's gateway (section 15, Gateway). */
import { systemRandom } from "#platform";
import { type DescMessage, type MessageShape, toBinary, create } from "@bufbuild/protobuf";

import { concat } from "./bytes.js";
import { DecodeError, COORDINATOR } from "./errors.js";
import { CallFailed } from "./failures.js";
import { parse } from "./fields.js";
import { blocks } from "./pem.js";
import { type CallOptions, Received, type Transport } from "./transport.js";
import {
  EndReplySchema, EndRequestSchema, PollReplySchema, PollRequestSchema, SubmitReplySchema, SubmitRequestSchema,
} from "./wire/secagg/wire/v1/gateway_pb.js";

const SERVICE = "/secagg.wire.v1.Gateway/";
const WAIT_MS = 25_000;
/** Of messages in one request, unless one message is longer. */
const BATCH_BYTES = 2 ** 20;
const MAX_MESSAGES = 1000;
/** Of an answer to one request: what the gateway keeps of an answer, and one part more. */
const MAX_REPLY_BYTES = 2 ** 22;

export interface GatewayOptions {
  /** Such as `https://coordinator.example:8443`. */
  readonly url: string;
  /** Says who we are, or gives it: it is asked for before each request, so that it can be a new one. */
  readonly token: string | (() => string | Promise<string>);
  /** Our certificate chain, PEM. */
  readonly certificate: string;
}

export class GatewayTransport implements Transport {
  readonly #options: GatewayOptions;
  readonly #certificates: Uint8Array[];
  readonly #open = new AbortController();

  constructor(options: GatewayOptions) {
    this.#options = options;
    this.#certificates = blocks(options.certificate, /CERTIFICATE/);
  }

  async call(method: string, requests: readonly Uint8Array[], { roundId, maxBytes, signal }: CallOptions): Promise<Uint8Array[]> {
    const callId = systemRandom(16);
    const until = signal === undefined ? this.#open.signal : AbortSignal.any([signal, this.#open.signal]);
    try {
      await this.#submit(callId, method, requests, roundId, until);
      const received = new Received(maxBytes);
      for (;;) {
        const number = received.parts.length;
        const reply = await this.#request("Poll", PollRequestSchema, { callId, number, waitMs: WAIT_MS }, PollReplySchema, until);
        for (const part of reply.parts) received.take(part);
        if (reply.end) return received.parts;
      }
    } catch (error) {
      // The coordinator must not take it for waiting any more: we may leave the round next.
      await this.#request("End", EndRequestSchema, { callId }, EndReplySchema).catch(() => undefined);
      throw error;
    }
  }

  /** End every call. */
  close(): void {
    this.#open.abort(new DOMException("the transport was closed", "AbortError"));
  }

  async #submit(
    callId: Uint8Array, method: string, requests: readonly Uint8Array[], roundId: Uint8Array | undefined, signal: AbortSignal,
  ): Promise<void> {
    for (let number = 0; ; ) {
      const messages: Uint8Array[] = [];
      for (let size = 0; number + messages.length < requests.length && messages.length < MAX_MESSAGES; ) {
        const message = requests[number + messages.length]!;
        size += message.length;
        if (messages.length > 0 && size > BATCH_BYTES) break;
        messages.push(message);
      }
      const last = number + messages.length === requests.length;
      const begin = number === 0 ? { method, certificates: this.#certificates, ...(roundId && { roundId }) } : {};
      const request = { callId, number, messages, last, ...begin };
      const reply = await this.#request("Submit", SubmitRequestSchema, request, SubmitReplySchema, signal);
      if (reply.next < number || reply.next > number + messages.length) {
        throw new DecodeError(`message ${reply.next} is said to be the next one`, COORDINATOR);
      }
      number = reply.next;
      if (reply.answered || (last && number === requests.length)) return;
    }
  }

  async #request<Q extends DescMessage, R extends DescMessage>(
    name: string, schema: Q, fields: Parameters<typeof create<Q>>[1], answer: R, signal?: AbortSignal,
  ): Promise<MessageShape<R>> {
    const { url, token } = this.#options;
    const headers = {
      "authorization": `Bearer ${typeof token === "string" ? token : await token()}`,
      "content-type": "application/proto",
    };
    const body = toBinary(schema, create(schema, fields)) as Uint8Array<ArrayBuffer>;
    const how: RequestInit = { method: "POST", headers, body, credentials: "omit", cache: "no-store", redirect: "error" };
    let response: Response;
    let bytes: Uint8Array;
    try {
      response = await fetch(url + SERVICE + name, { ...how, ...(signal && { signal }) });
      bytes = await whole(response);
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (error instanceof DecodeError) throw error;
      throw new CallFailed("UNAVAILABLE", String(error));
    }
    if (response.status !== 200) throw failed(response.status, bytes);
    return parse(answer, bytes);
  }
}

/** The body, which is not read beyond what it may have. */
async function whole(response: Response): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for (const reader = response.body!.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return concat(parts);
    size += value.length;
    if (size > MAX_REPLY_BYTES) {
      await reader.cancel();
      throw new DecodeError(`the gateway answered with more than ${MAX_REPLY_BYTES} bytes`, COORDINATOR);
    }
    parts.push(value);
  }
}

/** What an error of the Connect protocol says. What is none comes from a proxy on the way. */
function failed(status: number, body: Uint8Array): CallFailed {
  try {
    const { code, message, details } = JSON.parse(new TextDecoder().decode(body));
    const value = details?.[0]?.value;
    const trailer = typeof value === "string" ? Uint8Array.from(atob(value), (letter) => letter.charCodeAt(0)) : undefined;
    return new CallFailed(String(code).toUpperCase(), String(message), trailer);
  } catch {
    return new CallFailed(status === 429 || status >= 502 ? "UNAVAILABLE" : "UNKNOWN", `HTTP status ${status}`);
  }
}
