/** Participants' certificates: chains up to a pinned CA, and who they name (PROTOCOL.md, section 6). */
import { type KeyObject, X509Certificate } from "node:crypto";

import { AuthenticationError, COORDINATOR } from "./errors.js";

const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
const ID = /^URI:urn:secagg:participant:([A-Za-z0-9][A-Za-z0-9._-]{0,63})$/;

export interface Identity {
  readonly id: string;
  readonly organisation: string;
  readonly key: KeyObject;
}

function refuse(why: string): never {
  throw new AuthenticationError(`a certificate ${why}`, COORDINATOR);
}

/** Whose chain it is. Raises `AuthenticationError` if it does not verify up to one of `authorities` at `nowMs` (C11). */
export function identify(chain: readonly Uint8Array[], authorities: readonly Uint8Array[], nowMs: number): Identity {
  if (chain.length < 1 || chain.length > 4) refuse("chain needs 1 to 4 certificates");
  let certificates: X509Certificate[];
  try {
    certificates = chain.map((der) => new X509Certificate(der));
  } catch (error) {
    return refuse(`is no certificate: ${(error as Error).message}`);
  }
  const leaf = certificates[0]!;
  const roots = authorities.map((der) => new X509Certificate(der));
  const signed = (one: X509Certificate, by: X509Certificate): boolean =>
    by.ca && one.checkIssued(by) && one.verify(by.publicKey);
  certificates.forEach((one, i) => {
    const next = certificates[i + 1];
    if (nowMs < Date.parse(one.validFrom) || nowMs > Date.parse(one.validTo)) refuse("is not valid now");
    if (next ? !signed(one, next) : !roots.some((root) => validAt(root, nowMs) && signed(one, root))) {
      refuse("is not signed by the next one, or by a pinned CA");
    }
  });
  if (leaf.ca) refuse("of a participant is a CA's");
  if (!leaf.keyUsage?.includes(CLIENT_AUTH)) refuse("has no extended key usage clientAuth");
  if (leaf.publicKey.asymmetricKeyDetails?.namedCurve !== "prime256v1") refuse("has no P-256 key");
  const uris = (leaf.subjectAltName ?? "").split(", ").filter((name) => name.startsWith("URI:"));
  const id = uris.length === 1 ? ID.exec(uris[0]!)?.[1] : undefined;
  if (id === undefined) refuse("does not name exactly one participant");
  const organisations = leaf.subject.split("\n").filter((line) => line.startsWith("O=")).map((line) => line.slice(2));
  const organisation = organisations[0];
  if (organisations.length !== 1 || !organisation || organisation.length > 64 || organisation.trim() !== organisation) {
    refuse("does not name exactly one organisation");
  }
  return { id, organisation, key: leaf.publicKey };
}

const validAt = (one: X509Certificate, nowMs: number): boolean =>
  nowMs >= Date.parse(one.validFrom) && nowMs <= Date.parse(one.validTo);
