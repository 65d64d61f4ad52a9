/**
 * Certificates: chains up to a pinned CA, and whom they name (PROTOCOL.md, section 6).
 *
 * This is the section's minimal verifier. It accepts what `secagg ca` issues, and no chain that RFC 5280 refuses.
 */
import { type Der, DerError, TAG, bits, boolean, inside, natural, oid, only, same, text, time, values } from "./der.js";
import { AuthenticationError, COORDINATOR } from "./errors.js";
import { verifies } from "./primitives.js";

export const MAX_CHAIN = 4;
export const MAX_CERTIFICATE = 8192;

const PREFIX = "urn:secagg:participant:";
const ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const OID = {
  ecdsaSha256: "2a8648ce3d040302", ecPublicKey: "2a8648ce3d0201", p256: "2a8648ce3d030107", organisation: "55040a",
  keyUsage: "551d0f", alternativeName: "551d11", basicConstraints: "551d13", nameConstraints: "551d1e", extendedKeyUsage: "551d25",
  serverAuth: "2b06010505070301", clientAuth: "2b06010505070302",
} as const;
const MAY_BE_CRITICAL: readonly string[] = [OID.keyUsage, OID.alternativeName, OID.basicConstraints, OID.extendedKeyUsage];

/** What the chain is shown for. */
export type Use = "clientAuth" | "serverAuth";

export interface Identity {
  readonly id: string;
  readonly organisation: string;
  /** The P-256 key: an uncompressed point. */
  readonly key: Uint8Array;
}

interface Certificate {
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
  readonly issuer: Der;
  readonly subject: Der;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly key: Uint8Array;
  /** The names of the SubjectAlternativeName, as they are tagged. */
  readonly names: readonly Der[];
  /** Absent where there are no basic constraints. */
  readonly ca: { readonly is: boolean; readonly critical: boolean; readonly pathLength: bigint | undefined } | undefined;
  /** Bits of the key usage from the first one on, or absent. */
  readonly usage: ((bit: number) => boolean) | undefined;
  readonly extendedUsage: readonly string[] | undefined;
  readonly constrainsNames: boolean;
}

const DIGITAL_SIGNATURE = 0;
const KEY_CERT_SIGN = 5;

function demand(holds: boolean, what: string): asserts holds {
  if (!holds) throw new DerError(what);
}

function algorithm(one: Der | undefined): void {
  const [name, ...more] = inside(one, TAG.sequence);
  demand(oid(name) === OID.ecdsaSha256 && more.length === 0, "it is not signed with ECDSA and SHA-256");
}

function publicKey(one: Der | undefined): Uint8Array {
  const [how, key, ...more] = inside(one, TAG.sequence);
  const [kind, curve, ...rest] = inside(how, TAG.sequence);
  demand(more.length + rest.length === 0 && key !== undefined, "its key");
  demand(oid(kind) === OID.ecPublicKey && curve?.tag === TAG.oid && oid(curve) === OID.p256, "it has no P-256 key");
  const { unused, bytes } = bits(key!);
  demand(unused === 0 && bytes.length === 65 && bytes[0] === 4, "its key is no uncompressed point");
  return bytes;
}

interface Extension {
  readonly critical: boolean;
  readonly value: Uint8Array;
}

function extensions(one: Der | undefined): Map<string, Extension> {
  const found = new Map<string, Extension>();
  if (one === undefined) return found;
  for (const each of inside(only(one.content, TAG.sequence), TAG.sequence)) {
    const parts = inside(each, TAG.sequence);
    const name = oid(parts[0]);
    const critical = parts.length === 3 && boolean(parts[1]!);
    const value = parts[parts.length - 1]!;
    demand(parts.length <= 3 && parts.length >= 2 && value.tag === TAG.octets && !found.has(name), "an extension is malformed or there twice");
    found.set(name, { critical, value: value.content });
  }
  return found;
}

function constraints(one: Extension | undefined): Certificate["ca"] {
  if (one === undefined) return undefined;
  const parts = inside(only(one.value, TAG.sequence), TAG.sequence);
  const is = parts[0]?.tag === TAG.boolean && boolean(parts[0]);
  const rest = parts.slice(parts[0]?.tag === TAG.boolean ? 1 : 0);
  demand(rest.length <= 1, "its basic constraints");
  return { is, critical: one.critical, pathLength: rest[0] && natural(rest[0]) };
}

function usage(one: Extension | undefined): Certificate["usage"] {
  if (one === undefined) return undefined;
  const { unused, bytes } = bits(only(one.value, TAG.bits));
  return (bit) => bit < 8 * bytes.length - unused && ((bytes[bit >> 3]! >> (7 - (bit & 7))) & 1) === 1;
}

/** Read a certificate. Raises `DerError`. */
function read(der: Uint8Array): Certificate {
  const [signed, how, signature, ...more] = inside(only(der, TAG.sequence), TAG.sequence);
  demand(signed !== undefined && signature !== undefined && more.length === 0, "it is no certificate");
  const [version, serial, signedHow, issuer, validity, subject, key, ...rest] = inside(signed, TAG.sequence);
  demand(version?.tag === 0xa0 && natural(only(version.content, TAG.integer)) === 2n, "it has not version 3");
  demand(serial?.tag === TAG.integer && issuer?.tag === TAG.sequence && subject?.tag === TAG.sequence, "it is no certificate");
  algorithm(how);
  algorithm(signedHow);
  const [from, to, ...times] = inside(validity, TAG.sequence);
  demand(times.length === 0 && rest.every((one) => [0x81, 0x82, 0xa3].includes(one.tag)), "it is no certificate");
  const sealed = bits(signature!);
  demand(sealed.unused === 0, "its signature");
  const found = extensions(rest.find((one) => one.tag === 0xa3));
  for (const [name, { critical }] of found) demand(!critical || MAY_BE_CRITICAL.includes(name), "it has a critical extension that is not known");
  const extended = found.get(OID.extendedKeyUsage);
  const names = found.get(OID.alternativeName);
  return {
    signed: signed!.bytes, signature: sealed.bytes, issuer: issuer!, subject: subject!,
    notBefore: time(from), notAfter: time(to), key: publicKey(key),
    names: names === undefined ? [] : inside(only(names.value, TAG.sequence), TAG.sequence),
    ca: constraints(found.get(OID.basicConstraints)),
    usage: usage(found.get(OID.keyUsage)),
    extendedUsage: extended && inside(only(extended.value, TAG.sequence), TAG.sequence).map(oid),
    constrainsNames: found.has(OID.nameConstraints),
  };
}

function checkLeaf(leaf: Certificate, use: Use): void {
  demand(leaf.ca?.is !== true, "it is a CA's");
  demand(leaf.usage === undefined || (leaf.usage(DIGITAL_SIGNATURE) && !leaf.usage(KEY_CERT_SIGN)), "its key usage is another");
  demand(leaf.extendedUsage?.includes(OID[use]) === true, `its extended key usage lacks ${use}`);
}

/** `below`: certificates between this one and the leaf. `pinned`: whether it is the CA that was known before. */
function checkIssuer(issuer: Certificate, below: number, use: Use, pinned: boolean): void {
  const { ca } = issuer;
  demand(ca !== undefined && ca.is && ca.critical, "its issuer is no CA");
  demand(ca.pathLength === undefined || ca.pathLength >= BigInt(below), "a path is longer than its CA allows");
  demand(issuer.usage?.(KEY_CERT_SIGN) === true, "its issuer may sign no certificates");
  demand(pinned || issuer.extendedUsage === undefined || issuer.extendedUsage.includes(OID[use]), `its issuer is not for ${use}`);
}

const issued = (one: Certificate, by: Certificate): boolean => same(one.issuer, by.subject) && verifies(by.key, one.signed, one.signature);

function readable(der: Uint8Array): Certificate | undefined {
  try {
    return read(der);
  } catch (error) {
    if (error instanceof DerError) return undefined;
    throw error;
  }
}

/** Verify a chain up to one of `authorities` at `nowMs`. Gives its leaf. Raises `AuthenticationError`. */
function verified(chain: readonly Uint8Array[], authorities: readonly Uint8Array[], nowMs: number, use: Use, whose: string): Certificate {
  try {
    demand(chain.length >= 1 && chain.length <= MAX_CHAIN && chain.every((der) => der.length <= MAX_CERTIFICATE), "it is in no chain of 1 to 4");
    const certificates = chain.map(read);
    const last = certificates[certificates.length - 1]!;
    const authority = authorities.map(readable).find((root) => root !== undefined && issued(last, root));
    demand(authority !== undefined, "it is not issued by a pinned CA");
    const path = [...certificates, authority];
    path.forEach((one, i) => {
      demand(one.notBefore <= nowMs && nowMs <= one.notAfter, "it is not valid now");
      demand(!one.constrainsNames, "it has name constraints");
      if (i === 0) checkLeaf(one, use);
      else checkIssuer(one, i - 1, use, i === path.length - 1);
      const by = path[i + 1];
      demand(by === undefined || issued(one, by), "it is not signed by the next one");
    });
    return certificates[0]!;
  } catch (error) {
    if (error instanceof DerError) throw new AuthenticationError(`the certificate of ${whose} is refused: ${error.message}`, COORDINATOR);
    throw error;
  }
}

const URI = 0x86;

/** Names that say which participant it is. */
const participants = (leaf: Certificate): string[] => leaf.names
  .filter((name) => name.tag === URI)
  .map((name) => String.fromCharCode(...name.content))
  .filter((uri) => uri.startsWith(PREFIX))
  .map((uri) => uri.slice(PREFIX.length));

function organisations(leaf: Certificate): string[] {
  return values(leaf.subject.content).flatMap((set) => inside(set, TAG.set)).flatMap((pair) => {
    const [name, value] = inside(pair, TAG.sequence);
    return oid(name) === OID.organisation ? [text(value)] : [];
  });
}

const PRINTABLE = /^[^\p{C}\p{Z}](?:(?:[^\p{C}\p{Z}]| )*[^\p{C}\p{Z}])?$/u;

/** Whose chain it is. Raises `AuthenticationError` if it does not verify up to one of `authorities` at `nowMs` (C11). */
export function identify(chain: readonly Uint8Array[], authorities: readonly Uint8Array[], nowMs: number): Identity {
  const leaf = verified(chain, authorities, nowMs, "clientAuth", "a participant");
  const refuse = (why: string): never => {
    throw new AuthenticationError(`the certificate of a participant ${why}`, COORDINATOR);
  };
  const [id, ...others] = participants(leaf);
  if (id === undefined || others.length > 0 || !ID.test(id)) return refuse("does not name exactly one participant");
  let named: string[];
  try {
    named = organisations(leaf);
  } catch (error) {
    if (error instanceof DerError) return refuse(`has a malformed name: ${error.message}`);
    throw error;
  }
  const [organisation, ...more] = named;
  if (organisation === undefined || more.length > 0 || [...organisation].length > 64 || !PRINTABLE.test(organisation)) {
    return refuse("does not name exactly one organisation");
  }
  return { id, organisation, key: leaf.key };
}

/** The key of a coordinator's chain, for its receipts (C88). Raises `AuthenticationError`. */
export function coordinatorKey(chain: readonly Uint8Array[], authorities: readonly Uint8Array[], nowMs: number): Uint8Array {
  const leaf = verified(chain, authorities, nowMs, "serverAuth", "the coordinator");
  if (participants(leaf).length > 0) {
    throw new AuthenticationError("the certificate of the coordinator is a participant's", COORDINATOR);
  }
  return leaf.key;
}

/** The private scalar of a P-256 key, in PKCS #8 or as SEC 1 writes it. Raises `DerError`. */
export function privateScalar(der: Uint8Array): Uint8Array {
  const parts = inside(only(der, TAG.sequence), TAG.sequence);
  if (parts[1]?.tag === TAG.octets) {
    demand(parts[1].content.length === 32, "the private key is not of P-256");
    return parts[1].content.slice();
  }
  demand(parts[2]?.tag === TAG.octets, "it is no private key");
  const [kind, curve] = inside(parts[1], TAG.sequence);
  demand(oid(kind) === OID.ecPublicKey && oid(curve) === OID.p256, "the private key is not of P-256");
  return privateScalar(parts[2]!.content);
}
