/** What one participant seals for another one, so that the coordinator can pass it on and not read it (PROTOCOL.md, section 12). */
import { concat } from "./bytes.js";
import { AuthenticationError } from "./errors.js";
import { LABEL, frame } from "./framing.js";
import { Secret, hkdf, open, seal } from "./primitives.js";
import { CIPHERTEXT_BYTES, type Encapsulate, type KeyPair, type Suite } from "./suites.js";

/** What seals of one round have in common. `context` is that of the graph where it is sparse. */
export interface Bound {
  readonly suite: Suite;
  readonly roundId: Uint8Array;
  readonly context: Uint8Array;
}

/** Whose key pair seals or opens, the other's public key of the same purpose, and who sends to whom. */
export interface Between {
  readonly label: string;
  readonly own: KeyPair;
  readonly peer: Uint8Array;
  readonly sender: string;
  readonly receiver: string;
}

function direction({ suite, roundId, context }: Bound, { label, sender, receiver }: Between, shared: Uint8Array): [Secret, Uint8Array] {
  const key = hkdf(shared, roundId, frame(label, suite.name, context, sender, receiver), suite.keyBytes);
  return [key, frame(LABEL.share, context, sender, receiver)];
}

/** Seal `plaintext`, once for each label, round and receiver. Raises `AuthenticationError` where the receiver's key gives no secret. */
export function sealTo(bound: Bound, between: Between, plaintext: Uint8Array, encapsulate: Encapsulate): Uint8Array {
  const { own, peer, receiver } = between;
  const agreed = own.agree(peer, receiver).reveal();
  const sealed = (shared: Uint8Array): Uint8Array => {
    const [key, associated] = direction(bound, between, shared);
    return seal(key, plaintext, associated);
  };
  if (!bound.suite.hybrid) return sealed(agreed);
  let made: ReturnType<Encapsulate>;
  try {
    made = encapsulate(peer);
  } catch {
    throw new AuthenticationError(`a public key of ${receiver} gives no secret`, receiver);
  }
  return concat([made.ciphertext, sealed(concat([made.secret.reveal(), agreed]))]);
}

/** The plaintext, or nothing if the seal does not open. Raises `AuthenticationError` where a key gives no secret. */
export function openFrom(bound: Bound, between: Between, sealed: Uint8Array): Uint8Array | undefined {
  const { own, peer, sender } = between;
  const agreed = own.agree(peer, sender).reveal();
  const opened = (shared: Uint8Array, content: Uint8Array): Uint8Array | undefined => {
    const [key, associated] = direction(bound, between, shared);
    return open(key, content, associated);
  };
  if (!bound.suite.hybrid) return opened(agreed, sealed);
  const fresh = own.decapsulate(sealed.slice(0, CIPHERTEXT_BYTES)).reveal();
  return opened(concat([fresh, agreed]), sealed.subarray(CIPHERTEXT_BYTES));
}

/** What the owner of a mask private key gives to `receiver` in the hybrid suite: 32 bytes. */
export const pairSecret = ({ suite, roundId, context }: Bound, mask: KeyPair, giver: string, receiver: string): Secret =>
  hkdf(mask.secret.reveal(), roundId, frame(LABEL.pairSecret, suite.name, context, giver, receiver), 32);
