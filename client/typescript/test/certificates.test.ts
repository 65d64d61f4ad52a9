/** Certificates that nobody issues: each is signed by its CA, and wrong in one way. */
import assert from "node:assert/strict";
import test from "node:test";

import { concat, fromHex, utf8 } from "../src/bytes.js";
import { identify, privateScalar } from "../src/certificates.js";
import { DerError, TAG } from "../src/der.js";
import { AuthenticationError } from "../src/errors.js";
import { Secret, p256PublicKey, sign } from "../src/primitives.js";

const NOW = Date.UTC(2026, 0, 1);
const CA_KEY = new Secret(new Uint8Array(32).fill(7));
const KEY = new Secret(new Uint8Array(32).fill(9));

function der(tag: number, ...content: Uint8Array[]): Uint8Array {
  const bytes = concat(content);
  const size = bytes.length < 128 ? [bytes.length] : bytes.length < 256 ? [0x81, bytes.length] : [0x82, bytes.length >> 8, bytes.length & 255];
  return concat([Uint8Array.of(tag, ...size), bytes]);
}
const seq = (...parts: Uint8Array[]): Uint8Array => der(TAG.sequence, ...parts);
const oid = (hex: string): Uint8Array => der(TAG.oid, fromHex(hex));
const bits = (bytes: Uint8Array, unused = 0): Uint8Array => der(TAG.bits, Uint8Array.of(unused), bytes);
const yes = der(TAG.boolean, Uint8Array.of(255));
const number = (value: number): Uint8Array => der(TAG.integer, Uint8Array.of(value));
const octets = (bytes: Uint8Array): Uint8Array => der(TAG.octets, bytes);
const name = (organisation: Uint8Array): Uint8Array => seq(der(TAG.set, seq(oid("55040a"), organisation)));
const text = (value: string): Uint8Array => der(TAG.utf8, utf8(value));
const time = (value: string): Uint8Array => der(TAG.utcTime, utf8(value));

const ECDSA = oid("2a8648ce3d040302");
const P256 = seq(oid("2a8648ce3d0201"), oid("2a8648ce3d030107"));
const usage = (byte: number, unused: number): Uint8Array => seq(oid("551d0f"), yes, octets(bits(Uint8Array.of(byte), unused)));
const CONSTRAINTS = seq(oid("551d13"), yes, octets(seq(yes)));
const PURPOSE = seq(oid("551d25"), octets(seq(oid("2b06010505070302"))));
const NAMED = seq(oid("551d11"), octets(seq(der(0x86, utf8("urn:secagg:participant:elm")))));
const NO_NAMES_BELOW = seq(oid("551d1e"), octets(seq()));

/** The parts of a certificate, in their order. */
interface Parts {
  version: Uint8Array;
  serial: Uint8Array;
  algorithm: Uint8Array;
  issuer: Uint8Array;
  validity: Uint8Array;
  subject: Uint8Array;
  key: Uint8Array;
  more: Uint8Array;
  extensions: Uint8Array[];
  outer: Uint8Array;
  unused: number;
  behind: Uint8Array;
}

function certificate(by: Secret, parts: Parts): Uint8Array {
  const { version, serial, algorithm, issuer, validity, subject, key, more, extensions, outer, unused, behind } = parts;
  const signed = seq(version, serial, algorithm, issuer, validity, subject, key, more, der(0xa3, seq(...extensions)));
  return seq(signed, outer, bits(sign(by, signed), unused), behind);
}

const NONE = new Uint8Array();
const spki = (how: Uint8Array, point: Uint8Array, ...more: Uint8Array[]): Uint8Array => seq(how, bits(point), ...more);
const point = (secret: Secret): Uint8Array => p256PublicKey(secret);
const COMMON = {
  version: der(0xa0, number(2)), serial: number(5), algorithm: seq(ECDSA), issuer: name(text("the CA")),
  validity: seq(time("250101000000Z"), time("270101000000Z")), more: NONE, outer: seq(ECDSA), unused: 0, behind: NONE,
};
const LEAF: Parts = { ...COMMON, subject: name(text("north")), key: spki(P256, point(KEY)), extensions: [NAMED, PURPOSE] };
const CA: Parts = { ...COMMON, subject: COMMON.issuer, key: spki(P256, point(CA_KEY)), extensions: [CONSTRAINTS, usage(4, 2)] };

const named = (leaf: Partial<Parts>, ca: Partial<Parts> = {}): unknown =>
  identify([certificate(CA_KEY, { ...LEAF, ...leaf })], [certificate(CA_KEY, { ...CA, ...ca })], NOW);

test("a certificate that is signed and wrong in one way", () => {
  assert.deepEqual([(named({}) as { id: string }).id, (named({}) as { organisation: string }).organisation], ["elm", "north"]);
  const short = seq(oid("551d13"), octets(seq()));
  const wrong: Record<string, [Partial<Parts>, Partial<Parts>?]> = {
    "another algorithm beside the signature": [{ outer: seq(oid("2a8648ce3d040303")) }],
    "another algorithm in what is signed": [{ algorithm: seq(oid("2a8648ce3d040303")) }],
    "parameters of the algorithm": [{ outer: seq(ECDSA, der(5)) }],
    "more behind the key": [{ key: spki(P256, point(KEY), number(1)) }],
    "more behind the curve": [{ key: spki(seq(oid("2a8648ce3d0201"), oid("2a8648ce3d030107"), number(1)), point(KEY)) }],
    "a key of another kind": [{ key: spki(seq(oid("2a8648ce3d0202"), oid("2a8648ce3d030107")), point(KEY)) }],
    "a key on another curve": [{ key: spki(seq(oid("2a8648ce3d0201"), oid("2b81040022")), point(KEY)) }],
    "a compressed point": [{ key: spki(P256, concat([Uint8Array.of(2), point(KEY).slice(1, 33)])) }],
    "version 1": [{ version: der(0xa0, number(0)) }],
    "a serial that is no number": [{ serial: octets(Uint8Array.of(5)) }],
    "three times": [{ validity: seq(time("250101000000Z"), time("270101000000Z"), time("270101000000Z")) }],
    "a part that nobody knows": [{ more: der(0x84, Uint8Array.of(1)) }],
    "a signature with unused bits": [{ unused: 1 }],
    "more behind the signature": [{ behind: number(1) }],
    "an extension that is there twice": [{ extensions: [NAMED, PURPOSE, PURPOSE] }],
    "an extension of four parts": [{ extensions: [seq(oid("551d11"), yes, yes, octets(seq())), NAMED, PURPOSE] }],
    "an extension that is no octets": [{ extensions: [NAMED, PURPOSE, seq(oid("2b01"), number(1))] }],
    "basic constraints of three parts": [{ extensions: [NAMED, PURPOSE, seq(oid("551d13"), octets(seq(number(1), number(1))))] }],
    "name constraints": [{ extensions: [NAMED, PURPOSE, NO_NAMES_BELOW] }],
    "name constraints of the CA": [{}, { extensions: [CONSTRAINTS, usage(4, 2), NO_NAMES_BELOW] }],
    "an organisation that is not in its encoding": [{ subject: name(der(TAG.utf8, Uint8Array.of(0xff))) }],
  };
  named({ extensions: [NAMED, PURPOSE, short] });
  for (const [title, [leaf, ca]] of Object.entries(wrong)) assert.throws(() => named(leaf, ca), AuthenticationError, title);
});

test("a private key that is none of P-256", () => {
  const scalar = KEY.reveal();
  const sec1 = seq(number(1), octets(scalar));
  const pkcs8 = (how: Uint8Array, key: Uint8Array): Uint8Array => seq(number(0), how, key);
  for (const good of [sec1, pkcs8(P256, octets(sec1))]) assert.deepEqual(privateScalar(good), scalar);
  const wrong: Record<string, Uint8Array> = {
    "31 bytes": seq(number(1), octets(scalar.slice(1))),
    "no key": pkcs8(P256, der(TAG.bits, sec1)),
    "another curve": pkcs8(seq(oid("2a8648ce3d0201"), oid("2b81040022")), octets(sec1)),
  };
  for (const [title, key] of Object.entries(wrong)) assert.throws(() => privateScalar(key), DerError, title);
});
