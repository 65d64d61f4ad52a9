/** Errors by who is at fault: `LocalError` is our caller's, `RemoteError` is a peer's. */

export class SecAggError extends Error {
  override name = this.constructor.name;
}

/** Our caller did something that is not allowed here. */
export class LocalError extends SecAggError {}

/** A peer sent something that the protocol does not allow. `culprit` is `coordinator` or a participant's id, if known. */
export class RemoteError extends SecAggError {
  constructor(
    message: string,
    readonly culprit?: string,
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

export const COORDINATOR = "coordinator";
