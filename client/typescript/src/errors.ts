/** Errors by who is at fault: `LocalError` is our caller's, `RemoteError` is a peer's. */

export class SecAggError extends Error {
  override name = this.constructor.name;
}

/** Our caller did something that is not allowed here. */
export class LocalError extends SecAggError {}

/** An update that cannot be sent: an array is missing or of another size, or a value is outside of what the round takes. */
export class InputError extends LocalError {}

/** A peer sent something that the protocol does not allow. `culprit` is `coordinator` or a participant's id, if known. */
export class RemoteError extends SecAggError {
  constructor(
    message: string,
    public culprit?: string,
  ) {
    super(message);
  }
}

/** Bytes that are not a well-formed message. */
export class DecodeError extends RemoteError {}

/** A signature, a seal, a digest or a certificate that does not verify. */
export class AuthenticationError extends RemoteError {}

/** A well-formed message that is not allowed here. */
export class ProtocolViolation extends RemoteError {}

/** A round that is below the participant's own terms. */
export class PolicyViolation extends RemoteError {}

/** The round is about another model than ours. */
export class ModelMismatch extends RemoteError {}

/** We are not in the round, or not any more: wait for the next one. */
export class NotInRoundError extends RemoteError {}

/** The coordinator does not know the round: it has forgotten it. */
export class UnknownRoundError extends RemoteError {}

/** The coordinator has no room now. */
export class LimitError extends RemoteError {}

/** The round ended without a sum. Nothing was released. */
export class RoundAborted extends RemoteError {
  constructor(
    message: string,
    /** Such as `BELOW_THRESHOLD`. */
    readonly reason: string,
    /** Participants who are proven to be at fault. */
    readonly culprits: readonly string[],
    /** Participants whom more members accuse than may work together: hearsay. */
    readonly accused: readonly string[],
  ) {
    super(message, culprits[0]);
  }
}

/** The coordinator could not be reached, or what answers is none. */
export class TransportError extends SecAggError {}

/** The caller cancelled the participation. */
export class Cancelled extends SecAggError {}

/** The time that the caller gave is over. */
export class RoundTimeoutError extends SecAggError {}

/** What is kept of a round cannot be used: it is damaged, of something else, or another process uses it. */
export class SavedStateError extends LocalError {}

export const COORDINATOR = "coordinator";
