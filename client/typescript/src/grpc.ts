/** The data plane over gRPC: mTLS with TLS 1.3 alone (PROTOCOL.md, section 15). */
import { readFileSync, statSync } from "node:fs";
import tls from "node:tls";
import { ChannelCredentials, Client as GrpcClient, Metadata, type ServiceError, status } from "@grpc/grpc-js";

import { Client, type ClientOptions } from "./client.js";
import { LocalError } from "./errors.js";
import { CallFailed } from "./failures.js";
import { type Transport, type CallOptions, Received } from "./transport.js";

const SERVICE = "/secagg.wire.v1.DataPlane/";
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const PARTICIPANT = "URI:urn:secagg:participant:";

/** The coordinator's certificate beyond its chain: the name is in the SubjectAlternativeName, and it is for serverAuth. */
function checkServer(host: string, certificate: tls.PeerCertificate): Error | undefined {
  const names = certificate.subjectaltname ?? "";
  if (names === "") return new Error("the certificate has no altnames");
  if (names.includes(PARTICIPANT)) return new Error("the certificate is a participant's");
  if (!certificate.ext_key_usage?.includes(SERVER_AUTH)) return new Error("the certificate is not for serverAuth");
  return tls.checkServerIdentity(host, certificate);
}

/** What is in PEM: our chain, our private key, and the CAs of the deployment. */
export interface Pem {
  readonly certificate: string;
  readonly key: string;
  readonly ca: string;
}

export class GrpcTransport implements Transport {
  readonly #client: GrpcClient;

  /** `target` is "host:port". `serverName` is the name in the coordinator's certificate, if that is another. */
  constructor(target: string, pem: Pem, serverName?: string) {
    const secure = tls.createSecureContext({ ca: pem.ca, cert: pem.certificate, key: pem.key, minVersion: "TLSv1.3" });
    const credentials = ChannelCredentials.createFromSecureContext(secure, {
      checkServerIdentity: (host, certificate) => checkServer(serverName ?? host, certificate as tls.PeerCertificate),
    });
    this.#client = new GrpcClient(target, credentials, {
      "grpc.enable_retries": 0,
      "grpc.service_config_disable_resolution": 1,
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 5000,
      "grpc.keepalive_time_ms": 60_000,
      "grpc.keepalive_timeout_ms": 20_000,
      ...(serverName !== undefined && { "grpc.ssl_target_name_override": serverName }),
    });
  }

  call(method: string, requests: readonly Uint8Array[], { roundId, maxBytes, signal }: CallOptions): Promise<Uint8Array[]> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const metadata = new Metadata();
      if (roundId !== undefined) metadata.set("secagg-round-bin", Buffer.from(roundId));
      const asIs = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const call = this.#client.makeBidiStreamRequest<Uint8Array, Uint8Array>(
        SERVICE + method, asIs, (bytes) => new Uint8Array(bytes), metadata, {},
      );
      const cancel = (): void => call.cancel();
      signal?.addEventListener("abort", cancel, { once: true });
      const received = new Received(maxBytes);
      let over = false;
      const ended = (): void => {
        over = true;
        signal?.removeEventListener("abort", cancel);
      };
      call.on("data", (part: Uint8Array) => {
        try {
          received.take(part);
        } catch (error) {
          ended();
          call.cancel();
          reject(error);
        }
      });
      call.on("error", (error: ServiceError) => {
        if (over) return;
        ended();
        const trailer = error.metadata?.get("secagg-error-bin")[0];
        reject(new CallFailed(status[error.code] ?? "UNKNOWN", error.details ?? "", trailer instanceof Buffer ? new Uint8Array(trailer) : undefined));
      });
      // All parts are there when the stream has ended, and all is well when the status came, in whichever order.
      let waiting = 2;
      const finished = (): void => {
        if (over || --waiting > 0) return;
        ended();
        resolve(received.parts);
      };
      call.on("end", finished);
      call.on("status", ({ code }: { code: number }) => {
        if (code === status.OK) finished();
      });
      void send(call, requests, () => over);
    });
  }

  close(): void {
    this.#client.close();
  }
}

/** Write the requests as fast as they are taken. */
async function send(call: { write(one: Uint8Array): boolean; end(): void; once(event: "drain" | "close" | "end", then: () => void): unknown }, requests: readonly Uint8Array[], over: () => boolean): Promise<void> {
  for (const request of requests) {
    if (over()) return;
    if (!call.write(request)) {
      await new Promise<void>((resolve) => {
        call.once("drain", resolve);
        call.once("close", resolve);
        call.once("end", resolve);
      });
    }
  }
  call.end();
}

/** A client whose certificate, key and CA are read from PEM files. */
export function fromFiles(
  target: string, files: Pem & { readonly serverName?: string }, options: Omit<ClientOptions, "transport" | "pem"> = {},
): Client {
  const read = (path: string): string => {
    try {
      return readFileSync(path, "utf8");
    } catch (error) {
      throw new LocalError(`${path} cannot be read: ${(error as Error).message}`);
    }
  };
  const pem = { certificate: read(files.certificate), key: read(files.key), ca: read(files.ca) };
  if (process.platform !== "win32" && (statSync(files.key).mode & 0o077) !== 0) {
    throw new LocalError(`others may read the private key ${files.key}: chmod 600 ${files.key}`);
  }
  return new Client({ ...options, pem, transport: new GrpcTransport(target, pem, files.serverName) });
}
