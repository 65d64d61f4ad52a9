/** What keeps a participation going, without a network: calls that break, what is kept, and the memory of sums. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";

import { AuthenticationError, Cancelled, DecodeError, LimitError, NotInRoundError, PolicyViolation, ProtocolViolation, RoundAborted, RoundTimeoutError, SavedStateError, TransportError } from "../src/errors.js";
import { Broken, CallFailed, isTold, namedFailure } from "../src/failures.js";
import { type Kept, digestInput, drawnFrom, numberOf, sealState } from "../src/kept.js";
import type { Sum } from "../src/memory.js";
import { FileMemory, StateFolder } from "../src/node.js";
import { blocks } from "../src/pem.js";
import { Secret } from "../src/primitives.js";
import { type Transport, Received, perform } from "../src/transport.js";
import { AbortReason, ErrorDetailSchema, ErrorKind } from "../src/wire/secagg/wire/v1/errors_pb.js";

const folder = (): string => mkdtempSync(join(tmpdir(), "secagg-"));
const QUICK = { firstDelayMs: 1, maxDelayMs: 2 };

/** A transport that fails as often as it is told to. */
function failing(...failures: (CallFailed | Uint8Array[])[]): Transport & { asked: boolean[] } {
  const asked: boolean[] = [];
  return {
    asked,
    async call() {
      const next = failures.shift()!;
      if (next instanceof CallFailed) throw next;
      return next;
    },
    close() {},
  };
}

const away = (): CallFailed => new CallFailed("UNAVAILABLE", "gone");

test("a call that breaks is made again, and asks what is left to send", async () => {
  const answer = [Uint8Array.of(1)];
  const transport = failing(away(), new CallFailed("INTERNAL", "Received RST_STREAM with code 2"), answer);
  const again: boolean[] = [];
  const requests = (is: boolean): Uint8Array[] => (again.push(is), []);
  assert.equal(await perform(transport, { method: "Share", maxBytes: 10, requests }, QUICK), answer);
  assert.deepEqual(again, [false, true, true]);
});

test("a call is not made for ever, and not where it makes no sense", async () => {
  const call = { method: "Share", maxBytes: 10, requests: () => [] };
  await assert.rejects(perform(failing(away(), away(), away()), call, { ...QUICK, attempts: 2 }), Broken);
  await assert.rejects(perform(failing(new CallFailed("INTERNAL", "bug"), []), call, QUICK), TransportError);
  await assert.rejects(perform(failing(new CallFailed("UNIMPLEMENTED", ""), []), call, QUICK), ProtocolViolation);
  const stop = new AbortController();
  const waiting = perform(failing(away(), away(), away()), { ...call, signal: stop.signal }, { firstDelayMs: 1e5, maxDelayMs: 1e5 });
  setTimeout(() => stop.abort(), 1);
  await assert.rejects(waiting, Cancelled);
  const late = perform(failing(away(), away()), { ...call, signal: AbortSignal.timeout(1) }, { firstDelayMs: 1e5, maxDelayMs: 1e5 });
  await assert.rejects(late, RoundTimeoutError);
});

test("a failed call is what the coordinator says, or what became of the connection", () => {
  const told = (kind: ErrorKind, more: object = {}): unknown => {
    const error = namedFailure(new CallFailed("ABORTED", "", toBinary(ErrorDetailSchema, create(ErrorDetailSchema, { kind, message: "why", ...more }))), "Share");
    assert.ok(isTold(error));
    return error;
  };
  assert.ok(told(ErrorKind.NOT_IN_ROUND) instanceof NotInRoundError);
  assert.ok(told(ErrorKind.LIMIT) instanceof LimitError);
  assert.ok(told(ErrorKind.DECODE) instanceof DecodeError);
  const aborted = told(ErrorKind.ABORTED, { abortReason: AbortReason.WRONG_SHARES, culprits: ["elm"], accused: ["fir"] });
  assert.ok(aborted instanceof RoundAborted);
  assert.deepEqual([aborted.reason, aborted.culprits, aborted.accused], ["WRONG_SHARES", ["elm"], ["fir"]]);
  for (const unknown of [told(99 as ErrorKind), told(ErrorKind.ABORTED, { abortReason: 99 })]) {
    assert.ok(unknown instanceof ProtocolViolation);
    assert.equal(unknown.culprit, "coordinator");
  }
  const shown = namedFailure(new CallFailed("ABORTED", "", toBinary(ErrorDetailSchema, create(ErrorDetailSchema, { kind: 4, message: "a\u001b[2Jb".padEnd(5000, "c") }))), "Share");
  assert.ok(shown.message.length <= 1000 && !shown.message.includes("\u001b"));
  assert.ok(namedFailure(new CallFailed("ABORTED", "", Uint8Array.of(255)), "Share") instanceof DecodeError);
  const certificate = namedFailure(new CallFailed("UNAVAILABLE", "Last error: Error: self-signed certificate"), "Share");
  assert.ok(certificate instanceof AuthenticationError && certificate.culprit === "coordinator");
  assert.ok(namedFailure(new CallFailed("DEADLINE_EXCEEDED", ""), "Share") instanceof RoundTimeoutError);
});

test("an answer that is too long is no answer, and empty parts count", () => {
  const received = new Received(200);
  received.take(new Uint8Array(100));
  assert.throws(() => received.take(new Uint8Array(0)), DecodeError);
});

test("what is drawn under a seed is the same again, whatever the sizes", () => {
  const seed = new Uint8Array(32).fill(7);
  const whole = drawnFrom(seed)(100);
  const draws = drawnFrom(seed);
  assert.deepEqual(Buffer.concat([draws(3), draws(30), draws(67)]), Buffer.from(whole));
  assert.notDeepEqual(drawnFrom(new Uint8Array(32))(100), whole);
});

const kept = (joined: readonly string[]): Kept => ({
  participantId: "elm", roundId: Buffer.alloc(16, 1), configBytes: Uint8Array.of(2), modelDigest: new Uint8Array(32), purpose: "train",
  seed: new Uint8Array(32).fill(3), inputSeed: new Uint8Array(32).fill(4), inputDigest: digestInput(Uint8Array.of(1)),
  keysDigest: new Uint8Array(32), trustDigest: new Uint8Array(32), steps: [{ message: "Roster", parts: [Buffer.from("ab")], nowMs: 5 }], joined,
});

test("a state is kept sealed, each time under a fresh key, and an old copy opens no more", async () => {
  const home = join(folder(), "state");
  let copy = new Uint8Array() as Uint8Array;
  await new StateFolder(home).held(async () => {
    const state = new StateFolder(home);
    await assert.rejects(state.held(async () => undefined), SavedStateError);
  });
  const first = new StateFolder(home);
  await first.held(async () => {
    assert.equal(await first.load(), undefined);
    await first.keep(kept(await first.join("aa")));
    copy = readFileSync(join(home, "state"));
    await first.keep(kept(["aa"]));
  });
  assert.deepEqual(readdirSync(home).sort(), ["key.2", "state"]);
  for (const name of readdirSync(home)) assert.equal(statSync(join(home, name)).mode & 0o777, 0o600);
  assert.equal(statSync(home).mode & 0o777, 0o700);
  assert.ok(!readFileSync(join(home, "state")).includes("elm"));
  const second = new StateFolder(home);
  await second.held(async () => {
    const found = (await second.load())!;
    assert.deepEqual(new Uint8Array(found.seed), new Uint8Array(32).fill(3));
    assert.deepEqual(new Uint8Array(found.roundId), new Uint8Array(16).fill(1));
    assert.deepEqual(new Uint8Array(found.steps[0]!.parts[0]!), new Uint8Array([97, 98]));
    assert.deepEqual(await second.joined(), ["aa"]);
    await second.finish();
    assert.equal(await second.load(), undefined);
    assert.deepEqual(await second.joined(), ["aa"]);
  });
  writeFileSync(join(home, "state"), copy);
  await assert.rejects(new StateFolder(home).held(async () => undefined), SavedStateError);
});

test("a state of another version is not read", () => {
  const sealed = sealState({ underWay: undefined, joined: [] }, 7n, new Secret(new Uint8Array(32)));
  assert.equal(numberOf(sealed), 7n);
  for (const wrong of [sealed.subarray(0, 8), Uint8Array.from(sealed, (byte, i) => (i === 0 ? 2 : byte))]) {
    assert.throws(() => numberOf(wrong), { name: "SavedStateError", message: /another version/ });
  }
});

test("a state that was changed does not open", async () => {
  const home = join(folder(), "state");
  const state = new StateFolder(home);
  await state.held(async () => state.keep(kept([])));
  const bytes = readFileSync(join(home, "state"));
  bytes[20]! ^= 1;
  writeFileSync(join(home, "state"), bytes);
  await assert.rejects(new StateFolder(home).held(async () => undefined), SavedStateError);
});

const sum = (roundId: string, survivors: string[], model = "00"): Sum => ({ roundId, model, purpose: "train", threshold: 3, survivors });

test("a memory outlasts its process, and is nobody else's", () => {
  const path = join(folder(), "sums");
  const memory = new FileMemory(path, "elm");
  memory.claim(sum("01", ["a", "b", "elm"]));
  memory.receive("01");
  assert.throws(() => new FileMemory(path, "elm"), SavedStateError);
  memory.close();
  const again = new FileMemory(path, "elm");
  memory.close();
  assert.throws(() => new FileMemory(path, "elm"), SavedStateError);
  assert.ok(again.cameOut("00", "train") && !again.cameOut("00", "metrics"));
  assert.throws(() => again.claim(sum("02", ["a", "b", "c", "elm"])), PolicyViolation);
  assert.throws(() => again.claim(sum("01", ["a", "b", "elm"])), PolicyViolation);
  again.claim(sum("01", ["a", "b", "elm"]), { again: true });
  assert.throws(() => again.claim(sum("01", ["a", "c", "elm"]), { again: true }), PolicyViolation);
  again.close();
  assert.throws(() => new FileMemory(path, "fir"), SavedStateError);
  const text = readFileSync(path, "utf8");
  writeFileSync(path, text.replace("\"b\"", "\"c\""));
  assert.throws(() => new FileMemory(path, "elm"), SavedStateError);
  writeFileSync(path, `${text}0123 {"torn`);
  const mended = new FileMemory(path, "elm");
  assert.equal(mended.sums.length, 1);
  mended.claim(sum("03", ["a", "b", "elm"]));
  mended.close();
  assert.equal(readFileSync(path, "utf8").split("\n").length, 5);
  rmSync(path);
});

test("a memory is a file, in a folder that is there", () => {
  const home = folder();
  assert.throws(() => new FileMemory(join(home, "gone", "sums"), "elm"), SavedStateError);
  assert.throws(() => new FileMemory(home, "elm"), SavedStateError);
  assert.throws(() => statSync(`${home}.lock`));
});

test("an update of one model goes into sums of one cohort only, where the policy says so", () => {
  const path = join(folder(), "sums");
  const memory = new FileMemory(path, "elm");
  memory.claim(sum("01", ["a", "b", "elm"]), { oncePerModel: true });
  memory.claim(sum("02", ["a", "b", "elm"]), { oncePerModel: true });
  const others = ["a", "b", "elm", "f", "g", "h"];
  assert.throws(() => memory.claim(sum("03", others), { oncePerModel: true }), PolicyViolation);
  memory.claim(sum("03", others));
  memory.close();
});

test("key material does not show", () => {
  const secret = new Secret(Uint8Array.of(171, 205));
  for (const text of [String(secret), JSON.stringify({ secret }), JSON.stringify(Object.entries(secret))]) assert.ok(!/171|abcd|205/.test(text), text);
});

test("PEM", () => {
  const text = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\nx\n-----BEGIN EC PRIVATE KEY-----\nBA==\n-----END EC PRIVATE KEY-----\n";
  assert.deepEqual(blocks(text, /CERTIFICATE/), [Uint8Array.of(1, 2, 3)]);
  assert.deepEqual(blocks(text, /PRIVATE KEY/), [Uint8Array.of(4)]);
  assert.throws(() => blocks(text, /PUBLIC/));
});
