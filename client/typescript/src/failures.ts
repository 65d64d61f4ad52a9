/** What a failed call means: what the coordinator says by name, or what became of the connection (section 15, Errors). */
import {
  AuthenticationError, COORDINATOR, DecodeError, LimitError, NotInRoundError, ProtocolViolation, RoundAborted, RoundTimeoutError, SecAggError,
  TransportError, UnknownRoundError,
} from "./errors.js";
import { parse } from "./fields.js";
import { AbortReason, type ErrorDetail, ErrorDetailSchema, ErrorKind } from "./wire/secagg/wire/v1/errors_pb.js";

/** How a transport tells that a call failed. */
export class CallFailed extends Error {
  constructor(
    /** gRPC's name of the status, such as `UNAVAILABLE`. */
    readonly status: string,
    readonly details: string,
    /** The trailer `secagg-error-bin`, if there is one. */
    readonly trailer?: Uint8Array,
  ) {
    super(`${status}: ${details}`);
  }
}

/** A call broke, and may be made again with the same bytes. */
export class Broken extends TransportError {}

const MAX_TEXT = 1000;
const MAX_NAMES = 32;
const AGAIN = ["UNAVAILABLE", "CANCELLED", "RESOURCE_EXHAUSTED"];
const CERTIFICATE = /certificate|altnames|CERT_|self.signed/i;

const TOLD = new WeakSet<SecAggError>();

/** Whether the coordinator said this of a call, and not we of its answer. */
export const isTold = (error: unknown): boolean => error instanceof SecAggError && TOLD.has(error);

/** A text of a peer, for people: no control characters, and not too long. */
const shown = (text: string): string => text.slice(0, MAX_TEXT).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "\u{FFFD}");

export function namedFailure(failure: CallFailed, method: string): SecAggError {
  if (failure.trailer !== undefined) {
    const error = told(failure.trailer);
    TOLD.add(error);
    return error;
  }
  const text = shown(failure.details);
  if (failure.status === "DEADLINE_EXCEEDED") return new RoundTimeoutError(`${method} was not answered in the time allowed`);
  if (failure.status === "UNAVAILABLE" && CERTIFICATE.test(text)) {
    return new AuthenticationError(`the certificate that the coordinator shows is refused: ${text}`, COORDINATOR);
  }
  if (failure.status === "UNIMPLEMENTED") {
    return new ProtocolViolation(`${method} is not known there: is it a coordinator of secagg?`, COORDINATOR);
  }
  if (AGAIN.includes(failure.status) || text.includes("RST_STREAM")) return new Broken(`the connection broke during ${method}: ${text}`);
  return new TransportError(`${method} failed: ${failure.status} ${text}`);
}

function told(trailer: Uint8Array): SecAggError {
  let detail: ErrorDetail;
  try {
    detail = parse(ErrorDetailSchema, trailer);
  } catch (error) {
    if (error instanceof DecodeError) return error;
    throw error;
  }
  const culprits = detail.culprits.slice(0, MAX_NAMES).map(shown);
  const message = shown(detail.message);
  const [culprit] = culprits;
  switch (detail.kind) {
    case ErrorKind.DECODE: return new DecodeError(message, culprit);
    case ErrorKind.AUTHENTICATION: return new AuthenticationError(message, culprit);
    case ErrorKind.PROTOCOL: return new ProtocolViolation(message, culprit);
    case ErrorKind.NOT_IN_ROUND: return new NotInRoundError(message, culprit);
    case ErrorKind.UNKNOWN_ROUND: return new UnknownRoundError(message, culprit);
    case ErrorKind.LIMIT: return new LimitError(message, culprit);
    case ErrorKind.ABORTED:
      if (detail.abortReason in AbortReason && detail.abortReason !== AbortReason.UNSPECIFIED) {
        return new RoundAborted(message, AbortReason[detail.abortReason], culprits, detail.accused.slice(0, MAX_NAMES).map(shown));
      }
  }
  return new ProtocolViolation(`unknown failure ${detail.kind}: ${message}`, COORDINATOR);
}
