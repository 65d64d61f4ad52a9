"""Flaws that are planted in the source of client, server and their wiring, one at a time, each with the test that must
notice.

    python -m tests.mutants            # all of them, in copies of the tree
    python -m tests.mutants NAME …     # some

A flaw is a piece of text that stands once in its file, and what takes its place. `tests/unit/test_mutants.py` holds
that every piece is still there and that every named test exists; running them all takes several minutes.
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from secagg.tools.redteam.markers import markers

ROOT: Final = Path(__file__).parents[1]
_COPIED: Final = ("secagg", "server", "client", "tests", "pyproject.toml", "proto")
_PATIENCE_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Mutant:
    """One flaw.

    Attributes:
        name: for the command line.
        path: of the file, from the root.
        old: a piece of it that stands there once.
        new: what takes its place.
        test: what must fail then: a file, or one test of it.
    """

    name: str
    path: str
    old: str
    new: str
    test: str


def _unchecked(name: str, path: str, check: str, test: str) -> Mutant:
    """The check that is marked `# check: {check}` on one line of the file is gone."""
    source = (ROOT / path).read_text(encoding="utf-8")
    [number] = [number for number, found in markers(source) if found == check]
    line = source.splitlines()[number - 1]
    indent = line[: len(line) - len(line.lstrip())]
    return Mutant(name, path, line, indent + ("if False:" if line.lstrip().startswith("if ") else "pass"), test)


_CLIENT, _SERVER = "client/secagg_client", "server/secagg_server"
_FLOW, _TERMS = f"{_CLIENT}/participation/session.py", f"{_CLIENT}/participation/terms.py"
_INPUTS = f"{_CLIENT}/participation/inputs.py"
_SUMS, _CHANNELS = f"{_CLIENT}/released_sums/memory.py", f"{_CLIENT}/transport/channels.py"
_REVOCATION, _EXPELLED = "tests/unit/test_revocation.py", "tests/integration/test_revocation.py"
_LET_IN, _STRIKES = "tests/integration/test_who_is_let_in.py", "tests/unit/server/test_quarantine.py"
_HOSTED, _REGISTRY = f"{_SERVER}/rounds/hosted.py", f"{_SERVER}/rounds/registry.py"
_LIMITER, _CALLERS = f"{_SERVER}/limits/call_limiter.py", f"{_SERVER}/certificates/callers.py"
_OPENING = f"{_SERVER}/rounds/opening.py"
_JOURNALLED = f"{_SERVER}/rounds/journalled.py"
_TLS, _ADDRESSES = "secagg/transport/tls.py", "secagg/transport/addresses.py"
_SOURCES, _SCHEMA = "secagg/encoding/sources.py", "secagg/encoding/schema.py"
_SOURCE_TESTS, _OUTPUT_TESTS = "tests/unit/test_sources.py", "tests/unit/client/test_outputs.py"
_MASKED, _CHUNK_TESTS = "secagg/masked/vector.py", "tests/unit/test_masked_vector.py"
_RANDOM, _WIRING = "tests/security/test_randomness.py", "tests/unit/test_wiring.py"
_SESSION, _HOSTING = "tests/unit/client/test_session.py", "tests/unit/server/test_hosted.py"
_STATE_KEYS, _SCHEMES = "secagg/programs/state_keys.py", "secagg/schemes.py"
_KEY_FILES, _KEY_FILE_TESTS = "secagg/programs/keyfiles.py", "tests/unit/test_keyfiles.py"
_KEY_TESTS, _STATE_TESTS = "tests/unit/test_state_keys.py", "tests/unit/test_saved_state.py"
_PAGE, _PAGE_TESTS = f"{_SERVER}/observability/statuspage", "tests/unit/server/test_status_page.py"
_LEDGER_FILES, _LEDGER_TESTS = "secagg/programs/ledgers/files.py", "tests/unit/server/test_ledger_files.py"
_REFUSED_STARTS = "tests/integration/test_refused_start.py"
_STATUS_PORT, _METRICS = f"{_SERVER}/observability/http.py", f"{_SERVER}/observability/metrics.py"
_STATUS_TESTS, _METRIC_TESTS = "tests/unit/server/test_status_port.py", "tests/unit/server/test_metrics.py"
_KEPT, _COUNTING = f"{_SERVER}/observability/kept.py", "tests/integration/test_metrics.py"
_CARRIED, _CARRYING = f"{_CLIENT}/carried/coordinator.py", f"{_CLIENT}/carried/participant.py"
_GOES_ON, _KILLED = "tests/unit/client/test_going_on.py", "tests/integration/test_killed_participant.py"
_GOING_ON, _FOLDER = (f"{_CLIENT}/participation/{name}.py" for name in ("going_on", "state_folder"))
_WRITES_KEY = "exchange(self._disk, self._key_file(number), key.expose())"
_WRITES_STATE = "exchange(self._disk, self._folder / _STATE, bytes([VERSION]) + number.to_bytes(_NUMBER_SIZE) + sealed)"
_CARRIED_TERMS = "tests/unit/client/test_carried_terms.py"
_AUDIT, _AUDIT_VERIFYING = "secagg/programs/audit", "secagg/programs/audit/verifying.py"
_AUDIT_TESTS, _AUDIT_LOG_TESTS = "tests/unit/audit/test_verifying.py", "tests/unit/audit/test_log.py"
_ROUND_AUDIT, _ROUND_AUDIT_TESTS = f"{_SERVER}/audit/rounds.py", "tests/unit/server/test_round_audit.py"
_AUDITED = "tests/integration/test_server_audit.py"
_RECOVERY: Final = "tests/unit/server/test_recovery.py"
_ANYWHERE: Final = f"{_RECOVERY}::test_a_process_that_ends_anywhere_is_continued"
_SEEDED: Final = '__import__("secagg.crypto.rng", fromlist=["SeededRng"]).SeededRng(bytes(32))'

_STORE, _DURABLE = f"{_SERVER}/storage/sqlite", "tests/unit/server/storage/test_durable_store.py"
_BACKUPS, _BACKUP_TESTS = f"{_SERVER}/storage/backups.py", "tests/unit/server/storage/test_backups.py"
_DURABLE_ROUNDS = "tests/integration/test_durable_rounds.py"

MUTANTS: Final = (
    # --- what survives a restart
    Mutant("commit-not-flushed", f"{_STORE}/database.py", '"synchronous = FULL"', '"synchronous = NORMAL"', _DURABLE),
    Mutant("spool-not-flushed", f"{_STORE}/journal.py", "        self.spool.flush()\n        if not",
           "        if not", _DURABLE),
    Mutant("commits-uncounted", f"{_STORE}/store.py", "            self._count.committed()\n            self._releases",
           "            self._releases", _DURABLE),
    Mutant("claim-granted-before-commit", f"{_STORE}/store.py",
           "        if not exposed:\n            with self._writing():\n                pass\n", "", _DURABLE),
    Mutant("key-outlives-its-round", f"{_STORE}/journal.py", "            place.keys.destroy(self._round_id)\n",
           "            pass\n", _DURABLE),
    Mutant("noise-seed-in-clear", f"{_STORE}/store.py",
           "seal.seal(labels.NOISE_SEED, record.noise_seed.expose())", "record.noise_seed.expose()", _DURABLE),
    Mutant("salt-of-a-seal", f"{_STORE}/seals.py", "salt = self.rng.token(_SALT_SIZE)", "salt = bytes(_SALT_SIZE)",
           "tests/unit/server/storage/test_journal_entries.py"),
    Mutant("state-keys-seeded", f"{_SERVER}/app.py", "folder, REAL_DISK, SystemRng(), remember",
           f"folder, REAL_DISK, {_SEEDED}, remember", _DURABLE_ROUNDS),
    Mutant("state-in-memory", f"{_SERVER}/app.py", "    if folder is None:\n        yield MemoryStore",
           "    if folder or not folder:\n        yield MemoryStore", _DURABLE_ROUNDS),
    Mutant("backup-with-journals", _BACKUPS,
           '                connection.execute("DELETE FROM entries WHERE round = ?", (number,))\n', "", _BACKUP_TESTS),
    Mutant("restore-locks-nothing", _BACKUPS, "            _lock(ledgers, locked)\n", "", _BACKUP_TESTS),
    Mutant("restore-closes-nothing", _BACKUPS, "            close_models(connection, models)\n", "", _BACKUP_TESTS),
    _unchecked("model-closed-by-restore", f"{_STORE}/store.py", "closed-model", _BACKUP_TESTS),
    Mutant("id-of-a-sum-used-again", f"{_STORE}/store.py",
           "        self._releases.check_new(record.round_id for record in records)\n", "",
           "tests/unit/server/storage/test_stores.py"),
    Mutant("id-of-a-sum-used-again-in-memory", f"{_SERVER}/storage/memory.py",
           "            self._releases.check_new(record.round_id for record in records)\n", "            pass\n",
           "tests/unit/server/storage/test_stores.py"),
    _unchecked("broken-off-goes-on", f"{_STORE}/store.py", "broken-off", _DURABLE),
    _unchecked("database-went-back", f"{_STORE}/counting.py", "database-went-back", _DURABLE),
    # --- randomness
    Mutant("rounding-seed", _INPUTS, "Secret(rng.token(ROUNDING_SEED_SIZE))",
           "Secret(bytes(ROUNDING_SEED_SIZE))", _RANDOM),
    Mutant("rounding-seed-shared", _INPUTS, "Secret(rng.token(ROUNDING_SEED_SIZE))",
           "Secret(round_.round_id * 2)", _RANDOM),
    Mutant("client-seeded", f"{_CLIENT}/sync/client.py", "rng or SystemRng()", f"rng or {_SEEDED}", _RANDOM),
    Mutant("async-client-seeded", f"{_CLIENT}/aio/client.py", "rng or SystemRng()", f"rng or {_SEEDED}", _RANDOM),
    Mutant("client-ignores-rng", f"{_CLIENT}/sync/client.py", "rng or SystemRng()", "SystemRng()", _RANDOM),
    Mutant("jitter", f"{_CLIENT}/retry.py", "return SystemRandom().random()", "return 0.5", _RANDOM),
    Mutant("server-seeded", f"{_SERVER}/app.py", "rng=SystemRng()", f"rng={_SEEDED}", _RANDOM),
    Mutant("central-noise-seed", _OPENING, "Secret(self._rng.token(SEED_SIZE))",
           "Secret(bytes(SEED_SIZE))", _RANDOM),
    Mutant("round-id", f"{_CLIENT}/aio/control.py", "RoundId(self._rng.token(ROUND_ID_SIZE))",
           "RoundId(bytes(ROUND_ID_SIZE))", _RANDOM),
    Mutant("groups-not-drawn", f"{_SERVER}/rounds/grouped.py", "int.from_bytes(self._rng.token(_DRAW_BYTES))",
           "len(self._group_of)", _RANDOM),
    Mutant("simulated-seed", "secagg/tools/simulation/cohort.py", "            Secret(rng.token(ROUNDING_SEED_SIZE)),",
           "            Secret(bytes(ROUNDING_SEED_SIZE)),", _RANDOM),
    Mutant("demo-seeded", "secagg/tools/demo/participant.py", "SystemRng().token(KEY_SEED_SIZE)",
           "bytes(KEY_SEED_SIZE)", _RANDOM),
    Mutant("evidence-seeded", "secagg/tools/demo/evidence.py", "Secret(SystemRng().token(32))", "Secret(bytes(32))",
           _RANDOM),
    Mutant("bench-seeded", "secagg/tools/bench/privacy.py", "    seed = Secret(SystemRng().token(32))",
           "    seed = Secret(bytes(32))", _RANDOM),
    Mutant("system-rng", "secagg/crypto/rng.py", "return os.urandom(size)", "return bytes(size)", _RANDOM),
    # --- groups and who may join
    Mutant("any-group", _REGISTRY, "return grouped is None or grouped.group_for(participant) is hosted",
           "return True", _RANDOM),
    Mutant("fullest-group", f"{_SERVER}/rounds/grouped.py", "fewest = min(", "fewest = max(", _RANDOM),
    Mutant("new-group-each-time", f"{_SERVER}/rounds/grouped.py", "        self._group_of[participant] = number\n",
           "        self._group_of = {participant: number}\n", _RANDOM),
    Mutant("smallest-threshold", "secagg/rounds/releases.py", "if len(names) < max(each.threshold",
           "if len(names) < min(each.threshold", "tests/security/test_differencing.py"),
    _unchecked("groups-named-by-server", _OPENING, "groups-named-by-us", _WIRING),
    Mutant("two-groups-of-one-round", _FLOW,
           "else (self._group.parent, offer.round_id)  # not in two groups", "else (offer.round_id,)",
           "tests/security/test_groups.py"),
    # --- a participant's own terms
    _unchecked("twice-in-a-round", _TERMS, "joined-once", _SESSION),
    _unchecked("another-model", "secagg/context.py", "C4", _SESSION),
    _unchecked("another-purpose", _TERMS, "C87", "tests/security/test_purposes.py"),
    _unchecked("receipt-unverified", _FLOW, "C89", "tests/security/test_receipts.py"),
    _unchecked("receipt-of-fewer", _FLOW, "survivor-count", _SESSION),
    Mutant("result-unchecked", _FLOW,
           "            _check_aggregate(aggregate.survivors, sums_digest(aggregate, config), survivors, receipt)\n",
           "            pass\n", _SESSION),
    _unchecked("own-validity", _TERMS, "own-validity", _WIRING),
    _unchecked("memory-of-another", _SUMS, "memory-of-another", _WIRING),
    Mutant("claim-unrecorded", _SUMS, "self._append(Claimed(round_id, release))", "pass", _WIRING),
    Mutant("claim-before-disk", _SUMS,
           "            self._file.append(entry)  # safe on the disk before it counts\n        self._take(entry)",
           "            self._take(entry)\n            self._file.append(entry)\n        self._take(entry)", _WIRING),
    _unchecked("once-unchecked", _SUMS, "once-per-model", _WIRING),
    # --- transport of the client
    Mutant("any-ca", _TLS, "root_certificates=trust.pem,", "root_certificates=None,", _WIRING),
    Mutant("control-anywhere", _ADDRESSES,
           'if address.host != "localhost" and not _is_loopback(address.host.strip("[]")):', "if False:", _WIRING),
    Mutant("grpc-retries", _CHANNELS,
           '("grpc.enable_retries", 0)', '("grpc.enable_retries", 1)', _WIRING),
    Mutant("retry-for-ever", f"{_CLIENT}/retry.py", "self._failures >= self._policy.attempts or", "False or",
           "tests/unit/client/test_retry.py"),
    Mutant("retry-after-the-round", f"{_CLIENT}/retry.py", "RESTART_S + self._lasts_s", "inf",
           "tests/unit/client/test_retry.py"),
    Mutant("retry-a-hung-server-for-ever", f"{_CLIENT}/retry.py", "(not unsent and now", "(now",
           "tests/unit/client/test_retry.py"),
    Mutant("retry-as-if-rounds-had-no-end", f"{_CLIENT}/aio/connection.py", "lasts_s=call.lasts_s",
           "lasts_s=float('inf')", "tests/integration/test_client_breaks.py"),
    Mutant("retry-as-if-rounds-had-no-end-either", f"{_CLIENT}/sync/connection.py", "lasts_s=call.lasts_s",
           "lasts_s=float('inf')", "tests/integration/test_client_breaks.py"),
    Mutant("open-waits-for-room", f"{_CLIENT}/calls/control_plane.py", "waits_for_room = False",
           "waits_for_room = True", "tests/integration/test_client_breaks.py"),
    _unchecked("opened-another-unchecked", f"{_CLIENT}/calls/control_plane.py", "opened-another",
               "tests/unit/client/test_calls.py"),
    _unchecked("opened-otherwise-unchecked", f"{_SERVER}/rounds/registry.py", "opened-otherwise",
               "tests/unit/test_wiring.py"),
    Mutant("opened-twice-at-once", f"{_SERVER}/rounds/registry.py",
           "while (under_way := self._openings.get(own)) is not None:", "while (under_way := None) is not None:",
           "tests/unit/test_wiring.py"),
    Mutant("opened-twice", f"{_SERVER}/rounds/registry.py",
           "opened = self._known.get(own) or self._rounds.get(own)", "opened = None", "tests/unit/test_wiring.py"),
    # --- who calls, and how often
    Mutant("no-client-certificate", _TLS, "first, changed, True)", "first, changed, False)", _WIRING),
    Mutant("server-any-ca", _TLS, "pairs, root_certificates=trust.pem", "pairs, root_certificates=None", _WIRING),
    Mutant("expired-goes-on", _CALLERS, "if known is not None and known.begin <= now <= known.end:",
           "if known is not None:", _WIRING),
    Mutant("chain-never-again", _CALLERS, "min(identity.not_valid_after.timestamp(), now + RECHECK_S)",
           "identity.not_valid_after.timestamp()", _WIRING),
    Mutant("revoked-coordinator", "secagg/crypto/identity.py",
           "host=_subject_of(leaf))\n            self._check_not_revoked(certificates)\n", "host=_subject_of(leaf))\n",
           _REVOCATION),
    Mutant("list-of-anybody-with-the-name", "secagg/crypto/revocation.py",
           "if self._list.is_signature_valid(anchor.public_key()):", "if True:", _REVOCATION),
    Mutant("revoked-by-number-alone", "secagg/crypto/revocation.py",
           "certificate.issuer == self.issuer and certificate.serial_number in self.entries",
           "certificate.serial_number in self.entries",
           _REVOCATION),
    Mutant("denied-not-asked", _CALLERS,
           "        self._denied.check(caller.participant, caller.organisation, caller.fingerprint)\n", "",
           _EXPELLED),
    Mutant("new-lists-not-in-force", f"{_SERVER}/app.py", "callers.trust(fresh.trust, fresh.denied)",
           "callers.trust(loaded.trust, loaded.denied)", _EXPELLED),
    Mutant("revoked-stays-in-the-round", f"{_SERVER}/app.py", "        await rounds.expel(refused)\n", "",
           _EXPELLED),
    Mutant("revoked-stays-connected", f"{_SERVER}/app.py", "            proxy.shut_out(participant)\n",
           "            pass\n", _EXPELLED),
    _unchecked("organisation-quota", f"{_SERVER}/limits/quota.py", "organisation-quota", _LET_IN),
    Mutant("quota-at-the-offer-alone", _HOSTED,
           "            self._quota.check(sender, self._joined())  # others", "            pass  # others", _LET_IN),
    Mutant("quota-forgets-who-joined", _HOSTED, "return frozenset(sent - self._processes.left.keys())",
           "return frozenset()", _LET_IN),
    Mutant("quarantine-asked-by-nobody", _REGISTRY,
           "        self.quarantine.check(participant)\n        grouped", "        grouped", _LET_IN),
    Mutant("offers-in-quarantine", _REGISTRY,
           "            self.quarantine.check(participant)\n            for", "            for", _LET_IN),
    Mutant("hearsay-is-a-strike", f"{_SERVER}/rounds/quarantine.py", "case Accused(accused, _, Verdict.PROVEN):",
           "case Accused(accused, _, _):", _STRIKES),
    _unchecked("strikes-twice-a-round", f"{_SERVER}/rounds/quarantine.py", "one-strike-a-round", _STRIKES),
    Mutant("strikes-in-memory", f"{_SERVER}/rounds/quarantine.py", "            self._store.strike(strike)\n", "",
           _STRIKES),
    Mutant("forgiven-until-the-restart", f"{_SERVER}/rounds/quarantine.py",
           "        self._store.forgive(participant)\n", "", _STRIKES),
    Mutant("strikes-of-a-resumed-round", f"{_SERVER}/rounds/quarantine.py", "time_s, event in told:\n",
           "time_s, event in ():\n", _STRIKES),
    _unchecked("changed-strikes", f"{_SERVER}/storage/sqlite/remembered.py", "strike-checksum", _STRIKES),
    Mutant("lists-never-read-again", f"{_SERVER}/certificates/renewal.py",
           "settings.participant_ca, *filter(None, refused))", "settings.participant_ca)", _EXPELLED),
    Mutant("known-without-end", _CALLERS, "if len(self._known) >= MAX_KNOWN:", "if False:", _WIRING),
    _unchecked("calls-in-all", _LIMITER, "calls-in-all", _WIRING),
    _unchecked("calls-of-one", _LIMITER, "calls-of-one", _WIRING),
    _unchecked("bytes-of-one", _LIMITER, "bytes-of-one", _WIRING),
    Mutant("calls-never-end", _LIMITER, "        self._limiter._in_all -= 1\n", "", _WIRING),
    Mutant("moved-and-counted-twice", _LIMITER,
           "            self._limiter._leave(self._caller, self._place)\n            self._place = place",
           "            self._place = place", _WIRING),
    # --- updates and sums that are read by range
    _unchecked("changed-update-sent", _SOURCES, "same-update", _SOURCE_TESTS),
    _unchecked("chunk-of-another-update", _MASKED, "same-chunk-again", "tests/unit/client/test_calls.py"),
    Mutant("last-value-twice", _SCHEMA, "block)[offset : offset + count]",
           "block)[max(0, offset - 1) :][:count]", _SOURCE_TESTS),
    Mutant("block-of-another-array", _SCHEMA, "if last is None or last[0] is not array or last[1] != number:",
           "if last is None or last[1] != number:", _SOURCE_TESTS),
    Mutant("block-that-was-read-last", _SCHEMA, "if last is None or last[0] is not array or last[1] != number:",
           "if last is None or last[0] is not array:", _SOURCE_TESTS),
    Mutant("pieces-read-on", _SOURCES, "        if number < self._next:\n            self._begin()\n", "",
           _SOURCE_TESTS),
    Mutant("rest-of-a-piece-lost", _SOURCES,
           "self._rest = self._rest[len(part) :] if len(part) < len(self._rest) else None", "self._rest = None",
           _SOURCE_TESTS),
    Mutant("every-chunk-at-the-streams-beginning", _MASKED,
           "add_masks(values, start, self._masks)", "add_masks(values, 0, self._masks)", _CHUNK_TESTS),
    Mutant("chunk-that-ends-early", _MASKED,
           "min((number + 1) * size, self._vector.vector_len)",
           "min((number + 1) * size - 64, self._vector.vector_len)", _CHUNK_TESTS),
    Mutant("upload-from-the-beginning", f"{_CLIENT}/calls/data_plane.py", "range(self.start, self.vector.chunks)",
           "range(self.vector.chunks)", "tests/unit/client/test_calls.py"),
    Mutant("upload-one-too-far", f"{_CLIENT}/calls/data_plane.py", "range(self.start, self.vector.chunks)",
           "range(self.start + bool(self.start), self.vector.chunks)", "tests/unit/client/test_calls.py"),
    Mutant("sum-of-the-chunk-before", "secagg/encoding/packed.py",
           "        if last is None or last[0] != number:\n            count",
           "        if last is None:\n            count", _OUTPUT_TESTS),
    Mutant("sum-one-off", "secagg/encoding/packed.py", "self._chunk(number)[low - first : high - first]",
           "self._chunk(number)[max(0, low - first - 1) :][: high - low]", _OUTPUT_TESTS),
    Mutant("written-uncertified", _FLOW,
           "            _check_aggregate(packed.survivors, packed.digest, survivors, receipt)\n", "", _OUTPUT_TESTS),
    Mutant("place-looked-at-late", _FLOW, "        mine.check_output(config)\n", "", _OUTPUT_TESTS),
    Mutant("file-exchanged-early", "secagg/programs/arrayfiles.py",
           'self._new = path.with_name(f".{path.name}.{os.getpid()}.new")', "self._new = path", _OUTPUT_TESTS),
    Mutant("broken-answer-kept", f"{_CLIENT}/aio/connection.py", "        call.begin()\n", "",
           "tests/integration/test_client_transport.py"),
    Mutant("broken-sum-kept", f"{_CLIENT}/calls/arrivals.py",
           "        self._incoming = IncomingAggregate(self._config, self._keep)\n        self._budget",
           "        self._incoming = getattr(self, '_incoming', None) or IncomingAggregate(self._config, self._keep)\n"
           "        self._budget", _OUTPUT_TESTS),
    Mutant("unchecked-bits-kept", f"{_CLIENT}/calls/arrivals.py",
           "        check_packed(payload, count, self._config.ring_bits)\n", "", _OUTPUT_TESTS),
    # --- the order of writing and telling
    Mutant("answer-before-journal", _JOURNALLED,
           "            self._append(entry_of(now, sender, message), events)\n", "            pass\n", _HOSTING),
    Mutant("deadline-unwritten", _JOURNALLED, "            self._append(DeadlinePassed(now), events)\n",
           "            pass\n", _HOSTING),
    Mutant("end-unwritten", _JOURNALLED, "        kept = self._journal.finish(ended)\n",
           "        kept = ended\n", _HOSTING),
    Mutant("sum-before-charge", _HOSTED, "            self._charge.settle(outcome, phase)\n",
           "            pass\n", "tests/unit/server/test_budget.py"),
    _unchecked("back-after-leaving", f"{_SERVER}/rounds/processes.py", "not-after-leaving", _HOSTING),
    _unchecked("old-upload-goes-on", f"{_SERVER}/rounds/uploads.py", "newest-upload", _HOSTING),
    Mutant("secrets-outlive-the-round", _JOURNALLED, "        self._engine.forget()\n", "", _WIRING),
    Mutant("timer-of-an-old-phase", _HOSTED, "            self._timer.cancel()\n", "            pass\n",
           _WIRING),
    Mutant("engine-uses-another-clock", _HOSTED, "now, phase = self._clock(), self._engine.phase",
           "now, phase = 0.0, self._engine.phase", _HOSTING),
    # --- what the next process must find
    Mutant("turn-unflushed", _HOSTED, "            self._journalled.flush_due()\n", "            pass\n", _ANYWHERE),
    Mutant("progress-unflushed", _HOSTED, "        self.claim_upload(sender)\n        await self._safe()\n",
           "        self.claim_upload(sender)\n", _ANYWHERE),
    Mutant("resumption-unwritten", _JOURNALLED, "        self._append(Resumed(now), events)\n", "        pass\n",
           f"{_RECOVERY}::test_a_process_that_ends_while_it_takes_up_a_round_is_continued"),
    Mutant("charged-again", "secagg/programs/ledgers/budgets.py", "if round_id.hex() not in ledger.released:",
           "if True:", _ANYWHERE),
    Mutant("never-charged", "secagg/programs/ledgers/budgets.py", "if round_id.hex() not in ledger.released:",
           "if False:", _ANYWHERE),
    Mutant("ended-before-charged", _HOSTED, "            self._charge.settle(outcome, phase)\n",
           "            self._journalled._journal.finish(Ended(now, outcome))\n"
           "            self._charge.settle(outcome, phase)\n", _ANYWHERE),
    Mutant("noise-drawn-again", _OPENING, "                noise_seed=record.noise_seed,\n",
           "                noise_seed=Secret(self._rng.token(SEED_SIZE)) if record.noise_seed else None,\n",
           _ANYWHERE),
    Mutant("seed-of-an-input-forgotten", _JOURNALLED, "                self._seeds[sender] = seed\n",
           "                pass\n", f"{_RECOVERY}::test_every_scheme_and_groups_are_continued"),
    Mutant("chunks-forgotten", _JOURNALLED, "        self._spool.writes = True\n", "        pass\n", _ANYWHERE),
    Mutant("told-before-safe", _HOSTED, "        async with self._state:  # no step is under way",
           "        if True:  # no step is under way", _HOSTING),
    Mutant("phase-before-safe", _HOSTED, "return None if self.outcome is not None else self._phase",
           "return None if self.outcome is not None else self._engine.phase", _HOSTING),
    Mutant("group-before-safe", _REGISTRY, "            await grouped.keep_assignments()  # check: assignment-kept\n",
           "            pass\n", f"{_RECOVERY}::test_every_scheme_and_groups_are_continued"),
    Mutant("signatures-unwritten", f"{_SERVER}/rounds/certifying.py", "        self._journal.append(entry)\n",
           "        pass\n", f"{_RECOVERY}::test_a_round_that_is_over_answers_the_next_process_as_before"),
    Mutant("stop-aborts", _REGISTRY, "        if self._store.durable:\n            await opened.suspend()\n",
           "        if False:\n            await opened.suspend()\n",
           f"{_RECOVERY}::test_an_orderly_stop_suspends_rounds_and_aborts_none"),
    Mutant("broken-off-in-memory-alone", _HOSTED, "        self._journalled.break_off()\n", "        pass\n",
           f"{_RECOVERY}::test_a_disk_that_refuses_gives_no_second_story"),
    _unchecked("any-journal-fits", _JOURNALLED, "replay-fits",
               f"{_RECOVERY}::test_a_journal_that_does_not_fit_together_fails_by_name_and_others_go_on"),
    Mutant("untold-round-kept", f"{_SERVER}/rounds/recovering.py",
           "            return not self._opener.budgets.knows(found.record.round_id, found.config)\n",
           "            return False\n",
           f"{_RECOVERY}::test_a_round_that_nobody_was_told_of_is_forgotten_and_can_be_opened_again"),
    Mutant("time-of-the-old-process", "secagg/rounds/engine.py",
           "            self.deadline = now + time_limit_s(self.phase, self.round.config.deadlines)\n",
           "            pass\n", f"{_RECOVERY}::test_a_clock_that_jumped_meanwhile_takes_nobodys_time"),
    Mutant("claim-refused-to-itself", "secagg/rounds/releases.py", "if self._releases.get(round_id) == release:",
           "if False:", f"{_RECOVERY}::test_the_claim_that_is_on_record_is_granted_again"),
    Mutant("wrong-share-forgotten", _JOURNALLED,
           "                self._append(WrongShareRefused(now, sender, owner), ())\n", "                pass\n",
           f"{_RECOVERY}::test_what_a_participant_was_refused_for_is_known_to_the_next_process"),
    # --- limits, health and the end
    Mutant("rounds-without-end", _REGISTRY,
           "if under_way + wanted > self._settings.max_open_rounds:", "if False:", _WIRING),
    Mutant("opening-uncounted", _REGISTRY, "        self._opening += wanted\n", "", _WIRING),
    Mutant("open-after-shutdown", _REGISTRY, "        self._closed = True\n", "", _WIRING),
    Mutant("plan-not-given-back", _OPENING, "            undo.callback(charge.withdraw)\n",
           "            pass\n", _WIRING),
    Mutant("forgotten-with-its-sum", _REGISTRY,
           "for oldest in [known for known, done in self._ended.items() if done][:surplus]:",
           "for oldest in list(self._ended)[:surplus]:", "tests/unit/server/test_forgetting.py"),
    Mutant("outsiders-after-a-failure", _REGISTRY,
           "        if not self._store.admits((hosted.config.model_digest, hosted.config.purpose), participant):\n"
           "            return False\n", "", _WIRING),
    Mutant("claim-of-another-round", f"{_SERVER}/storage/memory.py", "return self._releases.claim(round_id, release)",
           "return frozenset()", "tests/security/test_differencing.py"),
    Mutant("healthy-while-stopping", f"{_SERVER}/calls/health.py",
           "self._status = health_pb2.HealthCheckResponse.NOT_SERVING", "pass", _WIRING),
    Mutant("answers-for-strangers", f"{_SERVER}/calls/health.py", "known = request.service in self._known",
           "known = True", _WIRING),
    # --- what keeps the coordinator from starting
    _unchecked("ledger-of-a-later-format", _LEDGER_FILES, "ledger-format", _LEDGER_TESTS),
    _unchecked("ledger-of-the-future", _LEDGER_FILES, "ledger-of-the-future", _LEDGER_TESTS),
    Mutant("ledger-folder-unlooked-at", _LEDGER_FILES, "            check_folder(folder, clock(), disk)\n", "",
           _LEDGER_TESTS),
    Mutant("ledger-without-room", _LEDGER_FILES, "    check_room(folder, disk)\n", "", _REFUSED_STARTS),
    Mutant("ledger-without-marker", _LEDGER_FILES, "if disk.facts(folder / MARKER) is None:", "if False:",
           _LEDGER_TESTS),
    Mutant("ledger-by-another-clock", f"{_SERVER}/app.py", "locked(settings.ledgers, clock)",
           "locked(settings.ledgers, lambda: 1e11)", _REFUSED_STARTS),
    Mutant("expired-ca-at-start", f"{_SERVER}/certificates/files.py",
           "        trust.check_validity(datetime.fromtimestamp(now, UTC))\n    if settings.crl", "    if settings.crl",
           _REFUSED_STARTS),
    Mutant("expired-list-at-start", f"{_SERVER}/certificates/files.py",
           "            trust.check_validity(datetime.fromtimestamp(now, UTC))\n", "",
           "tests/unit/server/test_renewal.py"),
    Mutant("described-by-another-clock", f"{_SERVER}/app.py", "DataPlane(rounds, callers, keeper, clock)",
           "DataPlane(rounds, callers, keeper, time.time)",
           "tests/integration/test_client_rounds.py::test_a_coordinator_describes_itself_on_both_planes"),
    # --- the status port and what it tells
    _unchecked("status-writes", _STATUS_PORT, "status-reads-alone", _STATUS_TESTS),
    _unchecked("status-by-any-name", _STATUS_PORT, "status-host", _STATUS_TESTS),
    _unchecked("status-as-often-as-peers-like", _STATUS_PORT, "status-connections-a-second", _STATUS_TESTS),
    _unchecked("status-for-all-at-once", _STATUS_PORT, "status-connections", _STATUS_TESTS),
    _unchecked("status-for-ever", _STATUS_PORT, "status-connection-time", _STATUS_TESTS),
    _unchecked("status-of-any-length", _STATUS_PORT, "status-request-bytes", _STATUS_TESTS),
    Mutant("status-answers-again", _STATUS_PORT, '    "connection": "close",\n', "", _STATUS_TESTS),
    Mutant("status-without-policy", _STATUS_PORT, "NOTHING_ELSE + style", "style", _STATUS_TESTS),
    Mutant("status-tells-errors", _STATUS_PORT, 'b"Internal error of the coordinator; its log says more.\\n"',
           "plain_traceback().encode()", _STATUS_TESTS),
    Mutant("status-uncounted", f"{_SERVER}/limits/open_files.py", "files - RESERVED - others", "files - RESERVED",
           "tests/unit/server/test_proxy.py"),
    Mutant("one-end-told-twice", f"{_SERVER}/network/proxy.py", "if not connection.told:", "if True:",
           "tests/unit/server/test_proxy.py"),
    Mutant("hung-up-while-starting", f"{_SERVER}/__main__.py", "signal.signal(signal.SIGHUP, signal.SIG_IGN)", "pass",
           "tests/integration/test_server_process.py::test_sighup_while_it_starts_ends_nothing"),
    Mutant("names-command-a-terminal", f"{_SERVER}/observability/logs.py", "made_for = (only_printable_text,)",
           "made_for = ()", "tests/unit/server/test_logs.py"),
    Mutant("log-that-waits", f"{_SERVER}/observability/logs.py", "            _Room(out),\n", "",
           "tests/integration/test_server_process.py::test_a_log_that_nobody_reads_stalls_nothing"),
    Mutant("one-message-ends-the-reading", f"{_SERVER}/observability/standard_error.py",
           "except Exception:  # the outermost frame: told as of a thread that dies, but the next message is read",
           "except ImportError:", "tests/unit/server/test_standard_error.py"),
    Mutant("log-in-any-file", f"{_SERVER}/__main__.py", "    _fill_standard_files()\n", "",
           "tests/integration/test_server_process.py::test_a_start_without_standard_files"),
    _unchecked("collector-headers-shown", f"{_SERVER}/observability/traces.py", "collector-headers",
               "tests/integration/test_traces.py"),
    Mutant("status-turns-for-who-waits", _STATUS_PORT, "            self._pause()\n            return\n        try:",
           "            return\n        try:", _STATUS_TESTS),
    Mutant("answers-made-at-each-request", _KEPT, "if known is None or now - known[0] >= self._fresh_s:", "if True:",
           _METRIC_TESTS),
    Mutant("answers-for-ever", _KEPT, "now - known[0] >= self._fresh_s", "False", _METRIC_TESTS),
    Mutant("metrics-not-kept", _METRICS, "self._kept.get(wanted, lambda: self._made(openmetrics=wanted))",
           "self._made(openmetrics=wanted)", _METRIC_TESTS),
    Mutant("tasks-without-end", f"{_SERVER}/observability/metric_registry.py", "[:MAX_TASKS]", "[:]", _METRIC_TESTS),
    Mutant("listener-ends-a-round", f"{_SERVER}/observability/observer.py",
           "except Exception:  # a bug in a metric or a log line is no reason to end a round",
           "except ImportError:", _METRIC_TESTS),
    Mutant("systemd-not-told", f"{_SERVER}/cli.py", "        tell_supervisor(READY)\n", "",
           "tests/integration/test_server_process.py::test_systemd_is_told_when_it_serves_and_when_it_stops"),
    Mutant("systemd-not-told-of-the-end", f"{_SERVER}/cli.py", "        tell_supervisor(STOPPING)\n", "",
           "tests/integration/test_server_process.py::test_systemd_is_told_when_it_serves_and_when_it_stops"),
    Mutant("renewal-looks-at-links", f"{_SERVER}/certificates/renewal.py", "path.stat()", "path.lstat()",
           "tests/unit/server/test_renewal.py"),
    Mutant("ready-while-starting", f"{_SERVER}/observability/status.py", "self.state = STARTING",
           "self.state = SERVING", _COUNTING),
    Mutant("ready-while-stopping", f"{_SERVER}/app.py", "            readiness.state = STOPPING\n", "", _COUNTING),
    Mutant("status-files-forgotten", f"{_SERVER}/app.py", "places(0 if settings.status is None else MAX_CONNECTIONS)",
           "places(0)", _COUNTING),
    # --- the status page
    Mutant("page-not-kept", f"{_PAGE}/serving.py", "self._kept.get(path, lambda: made_of(self._picture()))",
           "made_of(self._picture())", _PAGE_TESTS),
    Mutant("page-kept-for-ever", _KEPT, "now - known[0] >= self._fresh_s", "False", _PAGE_TESTS),
    Mutant("page-with-markup-of-peers", "secagg/programs/pages/__init__.py", "autoescape=True", "autoescape=False",
           _PAGE_TESTS),
    Mutant("page-with-any-name", f"{_PAGE}/values.py", "printable(text, _NAME_CHARS)", "text", _PAGE_TESTS),
    Mutant("page-with-any-words", f"{_PAGE}/values.py", 'printable(" ".join(text.split()), _TEXT_CHARS)', "text",
           _PAGE_TESTS),
    Mutant("page-of-any-length", f"{_PAGE}/values.py", "every[:NAMES_SHOWN]", "every", _PAGE_TESTS),
    Mutant("page-that-remembers-all", f"{_PAGE}/memory.py", "deque(maxlen=FINISHED_KEPT)", "deque()", _PAGE_TESTS),
    Mutant("page-full-of-refusals", f"{_PAGE}/memory.py", "_SEVERITIES.index(kind[1]), known", "known", _PAGE_TESTS),
    Mutant("page-that-hears-nothing", f"{_SERVER}/app.py", "() if settings.status is None else (metrics, memory)",
           "(metrics,)", "tests/integration/test_status_page.py"),
    Mutant("page-with-values", f"{_PAGE}/memory.py", "its mean is far too long", "its norm is {anomaly.norm}",
           _PAGE_TESTS),
    Mutant("nothing-counted", f"{_SERVER}/app.py", "() if settings.status is None else (metrics, memory)", "(memory,)",
           _COUNTING),
    Mutant("ledgers-unread", f"{_SERVER}/app.py", "        await asyncio.to_thread(rounds.opener.budgets.look)\n", "",
           _COUNTING),
    Mutant("bytes-out-uncounted", f"{_SERVER}/calls/handlers.py", "call.bytes_out += len(part)", "pass", _COUNTING),
    Mutant("bytes-in-uncounted", f"{_SERVER}/calls/incoming.py", "self._progress.bytes_in += len(raw)", "pass",
           _COUNTING),
    Mutant("groups-counted-as-rounds", _METRICS, "if name.parent is not None:", "if False:", _COUNTING),
    Mutant("joined-are-those-who-may", _METRICS, "if round_.phase is Phase.ADVERTISE_KEYS:", "if round_.phase is None:",
           _METRIC_TESTS),
    Mutant("budget-as-it-was", "secagg/programs/ledgers/budgets.py", "known is None or known[0] is not seen",
           "known is None", _COUNTING),
    # --- saved states
    Mutant("state-key-seeded", _STATE_KEYS, "Secret(SystemRng().token(STATE_KEY_SIZE))",
           "Secret(bytes(STATE_KEY_SIZE))", _KEY_TESTS),
    Mutant("state-key-left", _STATE_KEYS, "self._key(name).unlink()", "self._key(name).read_bytes()", _KEY_TESTS),
    Mutant("state-key-unflushed", _STATE_KEYS, "            flush_folder(self._folder)\n", "", _KEY_TESTS),
    Mutant("state-key-overwritten", _STATE_KEYS, "        raise taken from None\n",
           "        path.write_bytes(content.expose())\n", _KEY_TESTS),
    Mutant("state-keys-without-end", _STATE_KEYS, "ages.__getitem__)[:-MAX_ROUNDS]:",
           "ages.__getitem__)[:0]:", _KEY_TESTS),
    _unchecked("key-files-for-all", _KEY_FILES, "key-read-by-others", _KEY_FILE_TESTS),
    Mutant("key-files-of-any-group", _KEY_FILES, "status.st_gid == group", "True", _KEY_FILE_TESTS),
    Mutant("key-files-of-any-owner", _KEY_FILES, "status.st_uid == 0", "True", _KEY_FILE_TESTS),
    Mutant("key-files-of-the-group-of-root", _KEY_FILES, "user != 0", "True", _KEY_FILE_TESTS),
    Mutant("key-files-of-a-shared-group", _KEY_FILES, "os.getegid()", "status.st_gid", _KEY_FILE_TESTS),
    Mutant("control-socket-for-the-group", f"{_SERVER}/network/listening.py", '0o177 if access == "owner" else 0o117',
           "0o117", "tests/integration/test_server_process.py"),
    _unchecked("state-keys-for-all", _STATE_KEYS, "keys-read-by-others", _KEY_TESTS),
    Mutant("saved-and-going-on", _SCHEMES, "    participant.leave_to_saved()\n", "", _STATE_TESTS),
    _unchecked("restored-twice", _SCHEMES, "restored-once", _STATE_TESTS),
    _unchecked("memory-forgotten", _SCHEMES, "durable-memory", _KEY_TESTS),
    _unchecked("keys-with-the-states", _SCHEMES, "guarded-keys", _KEY_TESTS),
    Mutant("vector-kept-with-a-saved-state", "secagg/rounds/session.py",
           "self._state, self._vector = Ended.SAVED, None", "self._state = Ended.SAVED", _STATE_TESTS),
    Mutant("upload-goes-on-after-a-save", "secagg/homomorphic/session.py",
           "        super().leave_to_saved()\n        self._forget_upload()\n",
           "        super().leave_to_saved()\n", _STATE_TESTS),
    Mutant("state-of-any-step", "secagg/rounds/saved_state.py",
           "fields = bytes([VERSION, name.step]), name.round_id, name.participant_id.encode()",
           "fields = bytes([VERSION]), name.round_id, name.participant_id.encode()", _STATE_TESTS),
    Mutant("memory-said-to-be-durable", _TERMS, "claim, self.memory.durable)", "claim, True)",
           "tests/unit/client/test_durable_memory.py"),
    # --- rounds on a framework's channel
    Mutant("carried-round-id", _CARRIED, "RoundId(rng.token(ROUND_ID_SIZE)) if group",
           "RoundId(bytes(ROUND_ID_SIZE)) if group", _CARRIED_TERMS),
    Mutant("carried-seeded", _CARRIED, "rng = rng or SystemRng()", f"rng = rng or {_SEEDED}", _CARRIED_TERMS),
    Mutant("carried-noise", _CARRIED, "Secret(rng.token(SEED_SIZE))", "Secret(bytes(SEED_SIZE))", _CARRIED_TERMS),
    Mutant("carried-groups-seeded", f"{_CLIENT}/carried/groups.py", "rng = rng or SystemRng()",
           f"rng = rng or {_SEEDED}", "tests/unit/client/test_carried.py"),
    Mutant("carried-sum-before-charge", _CARRIED, "        try:\n            if self._charge is not None:",
           "        self.outcome = outcome\n        try:\n            if self._charge is not None:", _CARRIED_TERMS),
    Mutant("carried-uncharged", _CARRIED, "            self._charge.settle(outcome, phase)\n",
           "            pass\n", _CARRIED_TERMS),
    Mutant("carried-sum-without-charge", _CARRIED,
           "            outcome = RoundAborted(AbortReason.INTERNAL, f\"the sum is not released: {error}\")\n",
           "            error.add_note(\"\")\n", _CARRIED_TERMS),
    Mutant("carried-plan-not-given-back", _CARRIED, "                self._charge.withdraw()\n",
           "                pass\n", _CARRIED_TERMS),
    Mutant("carried-claim-forgotten", _CARRIED, "claim=partial(self._releases.claim, self.round_id),",
           "claim=lambda _: frozenset(),", _CARRIED_TERMS),
    Mutant("carried-claim-never-void", _CARRIED,
           "        self._releases.settle(self.round_id, released=released, may_be_open=engine.may_be_open)\n", "",
           _CARRIED_TERMS),
    Mutant("carried-heard-after-the-end", _CARRIED,
           "        self._asked.clear()  # whatever still comes is not heard\n", "", "tests/security/test_carried.py"),
    Mutant("carried-answer-before-state", _CARRYING, "        self._seats.keep(seat)\n        if step is not None:\n"
           "            self.replies.append(step)\n", "        if step is not None:\n"
           "            self.replies.append(step)\n        self._seats.keep(seat)\n",
           "tests/unit/client/test_carried_states.py"),
    Mutant("carried-two-groups", _CARRYING,
           "            self._seats.join(GroupedRoundId.of(round_id, config_bytes, config.groups).parent, own)"
           "  # one group each\n", "            pass\n", "tests/security/test_carried.py"),
    Mutant("carried-own-data-told", _CARRYING, "leave_step(round_id, Leave(LeaveReason.FAILED), None)",
           "leave_step(round_id, Leave(LeaveReason.FAILED), error)", "tests/security/test_carried.py"),
    Mutant("carried-once-unchecked", _CARRYING,
           "        self._terms.memory.check((mine.model_digest, mine.purpose), self._terms.policy)\n", "",
           _CARRIED_TERMS),
    Mutant("carried-sum-not-remembered", _CARRYING, "            self._terms.memory.receive(seat.offer.round_id)\n",
           "            pass\n", _CARRIED_TERMS),
    Mutant("carried-feedback-read-again", f"{_CLIENT}/carried/sealed.py", "        self._keys.use_up(name)\n", "",
           "tests/unit/client/test_carried_states.py"),
    Mutant("carried-feedback-in-clear", f"{_CLIENT}/carried/sealed.py",
           "sealing.seal(self._keys.make(name), file.getvalue(), _associated(name))", "file.getvalue()",
           "tests/unit/client/test_carried_states.py"),
    _unchecked("log-floods", f"{_SERVER}/observability/logs.py", "log-lines-of-strangers",
               "tests/unit/server/test_throttled_log.py"),
    Mutant("stderr-writers-wait", f"{_SERVER}/observability/standard_error.py",
           "        os.set_blocking(end, False)\n", "        pass\n", "tests/unit/server/test_standard_error.py"),
    Mutant("last-words-lost", f"{_SERVER}/observability/standard_error.py",
           "        faulthandler.enable(ours.fileno())\n", "", "tests/unit/server/test_standard_error.py"),
    Mutant("refusals-not-wired", f"{_SERVER}/cli.py", "        grpc_log.connections = server.proxy\n", "",
           "tests/integration/test_server_log.py"),
    Mutant("refused-without-address", f"{_SERVER}/network/proxy.py",
           "            self._loop.call_later(TOLD_WITHIN_S, self._forget, connection)\n",
           "            self._forget(connection)\n", "tests/integration/test_server_log.py"),
    _unchecked("long-traceparent", f"{_SERVER}/observability/trace_context.py", "traceparent-bounded",
               "tests/integration/test_traces.py"),
    Mutant("participant-chooses-the-trace", f"{_SERVER}/observability/traces.py",
           "if known else context.Context(),", "if known else self._read({METADATA: fact.traceparent}),",
           "tests/integration/test_traces.py"),
    Mutant("caller-decides-what-is-kept", f"{_SERVER}/observability/traces.py",
           "ParentBased(own, remote_parent_sampled=own, remote_parent_not_sampled=own)", "ParentBased(own)",
           "tests/integration/test_traces.py"),
    Mutant("context-not-carried", f"{_CLIENT}/sync/connection.py", "(*call.metadata, *carried)", "call.metadata",
           "tests/integration/test_traces.py"),
    # --- a participant that goes on after a crash
    Mutant("answered-before-it-is-kept", _FLOW,
           "            self._keep(offer, participant, came)  # check: kept-before-it-is-answered\n"
           "            reply = participant.receive(answer, self._terms.clock())\n",
           "            reply = participant.receive(answer, self._terms.clock())\n", _GOES_ON),
    Mutant("keys-leave-before-they-are-kept", _FLOW,
           "        self._keep(offer, participant, (), *ids)  # check: kept-before-the-keys-leave\n", "", _GOES_ON),
    Mutant("message-not-kept", _FLOW, "            answer=answer,\n", "            answer=(),\n", _GOES_ON),
    Mutant("step-seed-not-used-again", _FLOW, "        self._steps.again(kept.step_seed)\n",
           "        self._steps.fresh()\n", _GOES_ON),
    Mutant("input-seed-not-used-again", _FLOW,
           "        self._input_seed, self._roster, self._sets = kept.input_seed, kept.roster, kept.sets\n",
           "        self._roster, self._sets = kept.roster, kept.sets\n", _GOES_ON),
    Mutant("joined-again", _FLOW, "(), *ids)  # check", "())  # check", _GOES_ON),
    Mutant("offered-what-was-joined", _FLOW, "dict.fromkeys([*find.seen, *self._state.joined])", "find.seen", _GOES_ON),
    Mutant("upload-begins-anew", _FLOW, "        self._begun = True\n", "        pass\n", _GOES_ON),
    Mutant("upload-begins-anew-async", f"{_CLIENT}/aio/connection.py", "(call.begun or attempts.retrying)",
           "attempts.retrying", _KILLED),
    Mutant("upload-begins-anew-sync", f"{_CLIENT}/sync/connection.py", "(call.begun or attempts.retrying)",
           "attempts.retrying", _KILLED),
    Mutant("encrypted-twice", _GOING_ON, "return Encrypted(upload) if upload.phase is Phase.ENCRYPTED_INPUT else",
           "return", _GOES_ON),
    Mutant("floods-in-any-order", _GOING_ON, "        while self.made < number:\n", "        while False:\n", _GOES_ON),
    Mutant("floods-not-in-order-wired", _FLOW, "repeated(noted) if begun else repeatable(noted)", "noted", _GOES_ON),
    Mutant("digest-of-a-part", _GOING_ON, "range(0, config.vector_len, READ_AT_ONCE)",
           "range(READ_AT_ONCE, config.vector_len, READ_AT_ONCE)", _GOES_ON),
    Mutant("left-though-it-may-go-on", _FLOW, "        if self._parked:\n            return None\n", "", _GOES_ON),
    Mutant("kept-though-it-left", _FLOW, "        if isinstance(error, RoundTimeoutError | UploadLost):",
           "        if False:", _GOES_ON),
    Mutant("given-up-not-kept", _FLOW, "                state.give_up(config.task, carried)\n",
           "                pass\n", _GOES_ON),
    Mutant("carried-not-kept", _FLOW, "            state.finish(config.task, carried)\n",
           "            state.finish(config.task, None)\n", _GOES_ON),
    Mutant("carried-not-taken", _FLOW,
           "            terms.feedback.restore(config.task, self._state.carried(config.task))\n", "", _GOES_ON),
    Mutant("own-sum-in-its-way", _SUMS, "for of in self._received - {own}", "for of in self._received", _GOES_ON),
    _unchecked("another-input", _GOING_ON, "same-input-again", _GOES_ON),
    _unchecked("another-model-goes-on", _GOING_ON, "same-model-again", _GOES_ON),
    _unchecked("another-round-goes-on", _GOING_ON, "state-of-another-round", _GOES_ON),
    Mutant("file-not-flushed", "secagg/programs/arrayfiles.py", "        os.fsync(self._file.fileno())\n", "",
           _OUTPUT_TESTS),
    Mutant("name-of-a-file-not-flushed", "secagg/programs/arrayfiles.py", "        flush_folder(self._path.parent)\n",
           "", _OUTPUT_TESTS),
    Mutant("receipt-not-flushed", "secagg/cli/participate.py", "                os.fsync(file.fileno())\n", "",
           _KILLED),
    _unchecked("signs-another-result", _FLOW, "one-result-signed", _GOES_ON),
    _unchecked("result-not-kept", _FLOW, "result-kept-before-it-is-signed", _GOES_ON),
    _unchecked("no-place-for-the-sum", _FLOW, "place-for-the-sum-again", _GOES_ON),
    _unchecked("carried-in-two-places", _FLOW, "carried-in-one-place", _GOES_ON),
    _unchecked("state-without-memory", f"{_CLIENT}/sync/client.py", "state-with-durable-memory", _GOES_ON),
    _unchecked("async-state-without-memory", f"{_CLIENT}/aio/client.py", "state-with-durable-memory", _KILLED),
    _unchecked("state-others-read", _FOLDER, "state-read-by-others", _GOES_ON),
    _unchecked("state-of-another-opens", _FOLDER, "state-of-another", _GOES_ON),
    _unchecked("state-joins-again", _FOLDER, "joined-once", _GOES_ON),
    _unchecked("two-participations-one-state", _FOLDER, "one-participation", _GOES_ON),
    Mutant("two-processes-one-state", _FOLDER,
           "                self._held.enter_context(self._disk.locked(self._folder / _LOCK))  # check: one-process\n",
           "                pass\n", _GOES_ON),
    Mutant("old-key-stays", _FOLDER, '[f"{_KEY}{before}", *(', "[*(", _GOES_ON),
    Mutant("key-not-used-up-at-the-start", _FOLDER,
           "            self._commit(kept)  # its key is used up before anything is sent\n", "            pass\n",
           _GOES_ON),
    Mutant("state-before-its-key", _FOLDER,
           f"            {_WRITES_KEY}\n            {_WRITES_STATE}\n",
           f"            {_WRITES_STATE}\n            {_WRITES_KEY}\n", _GOES_ON),
    Mutant("state-in-clear", _FOLDER, "sealed = sealing.seal(key, encode_kept(kept), _associated(number))",
           "sealed = encode_kept(kept)", _GOES_ON),
    Mutant("removes-files-of-others", _FOLDER, "if _OURS.fullmatch(name) and name not in needed]",
           "if name not in needed]", _GOES_ON),
    Mutant("removes-files-of-others-at-first", _FOLDER, "[name for name in names if _OURS.fullmatch(name)]",
           "names", _GOES_ON),
    Mutant("forgotten-before-it-is-written", "secagg/cli/participate.py",
           "nullcontext() if state is None else StateFolder(state) as held,", "nullcontext(state) as held,", _KILLED),
    Mutant("opener-not-told", f"{_SERVER}/calls/handlers.py", "            CARRIED.set(traceparent)\n", "",
           "tests/integration/test_traces.py"),
    # --- the audit log
    _unchecked("audit-chain-unchecked", _AUDIT_VERIFYING, "audit-chain",
               f"{_AUDIT_TESTS}::test_without_the_check_of_the_chain_a_changed_entry_passes"),
    _unchecked("audit-missing-unchecked", _AUDIT_VERIFYING, "audit-missing",
               f"{_AUDIT_TESTS}::test_each_line_that_is_taken_out_is_named"),
    _unchecked("audit-order-unchecked", _AUDIT_VERIFYING, "audit-order",
               f"{_AUDIT_TESTS}::test_all_lines_that_are_swapped_or_put_in_again_are_found"),
    _unchecked("audit-cut-off-unchecked", _AUDIT_VERIFYING, "audit-cut-off",
               f"{_AUDIT_TESTS}::test_a_log_that_was_rolled_back_with_its_head_is_found_by_a_head_that_was_seen"),
    _unchecked("audit-head-unchecked", _AUDIT_VERIFYING, "audit-another-head",
               f"{_AUDIT_TESTS}::test_a_log_that_was_rolled_back_with_its_head_is_found_by_a_head_that_was_seen"),
    _unchecked("audit-head-of-no-checkpoint", _AUDIT_VERIFYING, "audit-head-signed",
               f"{_AUDIT_TESTS}::test_a_folder_needs_its_head"),
    _unchecked("audit-export-cut", _AUDIT_VERIFYING, "audit-export-ends-signed",
               f"{_AUDIT_TESTS}::test_an_exported_log_ends_with_a_checkpoint"),
    _unchecked("audit-unsigned-for-long", _AUDIT_VERIFYING, "audit-unsigned-for-long",
               f"{_AUDIT_TESTS}::test_nobody_can_write_on_without_the_key_for_long"),
    _unchecked("audit-never-signed", _AUDIT_VERIFYING, "audit-signed-at-all",
               f"{_AUDIT_TESTS}::test_a_coordinator_of_another_ca_cannot_sign"),
    _unchecked("audit-segment-renamed", _AUDIT_VERIFYING, "audit-segment-name",
               f"{_AUDIT_TESTS}::test_segments_are_in_order_and_may_be_moved_away"),
    _unchecked("audit-any-coordinator", _AUDIT_VERIFYING, "audit-same-coordinator",
               f"{_AUDIT_TESTS}::test_another_coordinator_of_the_same_ca_cannot_sign"),
    _unchecked("audit-unnamed-coordinator", _AUDIT_VERIFYING, "audit-named-coordinator",
               f"{_AUDIT_TESTS}::test_a_log_of_another_coordinator_is_not_taken_for_ours"),
    _unchecked("audit-two-ways-to-write", "secagg/audit/entries.py", "audit-one-way-to-write",
               f"{_AUDIT_TESTS}::test_an_entry_has_one_way_to_be_written"),
    _unchecked("audit-loose-base64", "secagg/audit/checkpoints.py", "audit-base64",
               f"{_AUDIT_TESTS}::test_a_signature_has_one_way_to_be_written"),
    Mutant("audit-signature-unchecked", "secagg/audit/checkpoints.py", "        signing.verify(\n",
           "        str(\n", f"{_AUDIT_TESTS}::test_a_chain_that_is_made_anew_without_the_key_is_found"),
    Mutant("audit-signed-elsewhere", "secagg/audit/checkpoints.py", "frame(labels.AUDIT_CHECKPOINT, unsigned)",
           "frame(labels.AUDIT_CHECKPOINT)",
           f"{_AUDIT_TESTS}::test_a_chain_that_is_made_anew_without_the_key_is_found"),
    Mutant("audit-verified-now", "secagg/audit/checkpoints.py", "datetime.fromtimestamp(entry.at_ms / 1000, UTC)",
           "datetime.now(UTC)", f"{_AUDIT_TESTS}::test_certificates_may_be_renewed_and_expire"),
    Mutant("audit-digest-of-less", "secagg/audit/entries.py", "digest(labels.AUDIT_ENTRY, line)",
           "digest(labels.AUDIT_ENTRY, line[:-40])", f"{_AUDIT_TESTS}::test_each_byte_that_is_changed_is_found"),
    Mutant("audit-not-flushed", f"{_AUDIT}/log.py",
           "            file.write_at(self._size, data)\n            file.flush()\n",
           "            file.write_at(self._size, data)\n", _AUDIT_LOG_TESTS),
    Mutant("audit-not-taken-back", f"{_AUDIT}/log.py", "        self._unknown = True\n", "", _AUDIT_LOG_TESTS),
    Mutant("audit-not-written-again", f"{_AUDIT}/log.py", "        self._write_again(content[: self._size])\n", "",
           _AUDIT_LOG_TESTS),
    Mutant("audit-torn-not-told", f"{_AUDIT}/log.py", "            self.cut = len(rest), sha256(rest).digest()\n", "",
           _AUDIT_LOG_TESTS),
    Mutant("audit-clock-set-back", f"{_AUDIT}/log.py", "abs(now - since_s) >=", "now - since_s >=", _AUDIT_LOG_TESTS),
    Mutant("audit-never-full", f"{_AUDIT}/log.py", "full = self._size + batch.size >= SEGMENT_BYTES", "full = False",
           _AUDIT_LOG_TESTS),
    _unchecked("audit-damage-cut-off", f"{_AUDIT}/log.py", "audit-head-at-start", _AUDIT_LOG_TESTS),
    _unchecked("audit-head-not-missed", f"{_AUDIT}/log.py", "audit-head-gone", _AUDIT_LOG_TESTS),
    _unchecked("audit-begun-anew", f"{_AUDIT}/log.py", "audit-gone", _AUDIT_LOG_TESTS),
    _unchecked("audit-written-by-others", f"{_AUDIT}/log.py", "audit-folder-private", _AUDIT_LOG_TESTS),
    _unchecked("audit-notes-without-end", f"{_AUDIT}/log.py", "audit-noted-entries", _AUDIT_LOG_TESTS),
    _unchecked("audit-written-twice", _ROUND_AUDIT, "audit-not-twice", _ROUND_AUDIT_TESTS),
    _unchecked("audit-of-comers-and-goers", _ROUND_AUDIT, "audit-coming-and-going", _ROUND_AUDIT_TESTS),
    Mutant("audit-of-a-refused-claim", _ROUND_AUDIT, "            if not exposed:\n", "            if True:\n",
           _ROUND_AUDIT_TESTS),
    Mutant("audit-of-what-did-not-happen", _ROUND_AUDIT,
           "        self._drafts.clear()\n        self._step,", "        self._step,", _ROUND_AUDIT_TESTS),
    Mutant("audit-after-the-end", _JOURNALLED, "        if self._audit.written:\n", "        if False:\n", _AUDITED),
    Mutant("audit-not-of-openings", _OPENING, "            audit.write()\n", "            pass\n", _AUDITED),
    Mutant("audit-not-of-steps", _JOURNALLED,
           "(entry)\n        self._audit.took(entry, events)\n", "(entry)\n", _AUDITED),
    Mutant("audit-not-of-fetching", f"{_SERVER}/calls/control_plane.py",
           "        await self._rounds.audit.give(opened.record.round_id, \"the FL server\")\n", "", _AUDITED),
    Mutant("audit-not-of-participants", f"{_SERVER}/calls/data_plane.py",
           "        await self._rounds.audit.give((grouped or hosted).record.round_id, caller)\n", "", _AUDITED),
    Mutant("audit-not-wired", f"{_SERVER}/app.py", "            audit=audit,\n", "", _AUDITED),
    Mutant("audit-never-stopped", f"{_SERVER}/app.py", "            await audit.stop(", "            list(", _AUDITED),
    Mutant("audit-refusals-unthrottled", f"{_SERVER}/audit/coordinator.py",
           "left_out = self._throttle.pass_over(kind, key)", "left_out = 0", _AUDITED),
    Mutant("participation-of-released-alone", f"{_AUDIT}/taking_part.py",
           'not (entry.kind == "round_failed" and "survivors" in entry.facts)', "True",
           "tests/unit/audit/test_cli_audit.py"),
    Mutant("participation-without-cells", "secagg/rounds/participation.py", "cells.setdefault(tuple(inside[name]), [])",
           "cells.setdefault((*inside[name],)[:1], [])", "tests/unit/test_participation.py"),
    Mutant("participation-rank", "secagg/rounds/participation.py", "        if not rest.any():\n            continue\n",
           "        if not rest.any():\n            break\n", "tests/unit/test_participation.py"),
    Mutant("packed-over-unread-words", "secagg/encoding/packed.py", "number * size : number * size + len(chunk)",
           "number * size + 1 : number * size + len(chunk) + 1", "tests/unit/test_packed.py"),
    Mutant("packed-and-nothing-given-back", "secagg/encoding/packed.py", "if self._words.flags.owndata:", "if False:",
           "tests/unit/test_packed.py"),
    Mutant("sum-kept-in-words", f"{_SERVER}/storage/memory.py", "payloads=outcome.payloads.in_place()",
           "payloads=outcome.payloads", "tests/unit/server/test_hosted.py"),
    Mutant("ring-of-a-range-left-wide", "secagg/masked/accumulator.py", "            part &= ring\n", "",
           "tests/unit/test_masked_round.py"),
    Mutant("range-unmasked-short", "secagg/masked/accumulator.py", "min(low + _RANGE, self._len)",
           "min(low + _RANGE - 64, self._len)", "tests/unit/server/test_hosted.py"),
    Mutant("vector-folded-twice", "secagg/rounds/uploads.py", "            self._fold(at, kept)\n",
           "            self._fold(at, kept)\n            self._fold(at, kept)\n", "tests/unit/test_masked_round.py"),
    Mutant("one-chunk-cut-too-many", f"{_SERVER}/storage/temporary.py", "while len(waiting) > chunks:",
           "while len(waiting) >= max(chunks, 1):", "tests/unit/server/test_temporary.py"),
    Mutant("spool-in-memory", f"{_SERVER}/storage/temporary.py", "if len(payload) <= self._room:", "if True:",
           "tests/unit/server/test_temporary.py"),
    Mutant("place-never-used-again", f"{_SERVER}/storage/temporary.py", "places.pop() if places else self._end",
           "self._end", "tests/unit/server/test_temporary.py"),
    Mutant("others-memory-counted-free", f"{_SERVER}/limits/capacity.py",
           "self._free_memory() - sum(one.memory for one in self._reserved.values())", "self._free_memory()",
           "tests/unit/server/test_capacity.py"),
    Mutant("others-disk-counted-free", f"{_SERVER}/limits/capacity.py",
           "self._free_disk() - sum(one.disk for one in self._reserved.values())", "self._free_disk()",
           "tests/unit/server/test_capacity.py"),
    Mutant("reserved-for-ever", f"{_SERVER}/rounds/registry.py", "        self._capacity.release(round_id)\n", "",
           "tests/unit/server/test_capacity.py"),
    Mutant("reserved-by-who-was-refused", f"{_SERVER}/rounds/opening.py",
           "        undo.callback(self._capacity.release, record.round_id)\n", "",
           "tests/unit/server/test_capacity.py"),
    Mutant("turn-left-twice", f"{_SERVER}/calls/turns.py", "            if kept:\n                kept = False\n",
           "            if kept or True:\n                kept = False\n", "tests/unit/server/test_turns.py"),
    Mutant("turn-kept-by-the-slow", f"{_SERVER}/calls/turns.py", "call_later(self._patience_s, leave)",
           "call_later(1e9, leave)", "tests/unit/server/test_turns.py"),
    Mutant("norm-of-a-bad-sum", "secagg/aggregates.py", "    except ProtocolViolation:\n        return inf\n",
           "    except ProtocolViolation:\n        return 0.0\n", "tests/unit/server/test_memory_of_a_round.py"),
)  # fmt: skip


def survives(mutant: Mutant) -> bool:
    """Whether nothing notices."""
    with TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy(source, tree / name)
        path = tree / mutant.path
        path.write_text(path.read_text(encoding="utf-8").replace(mutant.old, mutant.new), encoding="utf-8")
        places = os.pathsep.join(str(tree / name) for name in ("", "server", "client"))
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutant.test],
                cwd=tree, env={**os.environ, "PYTHONPATH": places}, capture_output=True, timeout=_PATIENCE_S,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return False  # a test that waits for ever for what the flaw took away
        return done.returncode != 1  # 1: tests ran, and some failed


def main(names: list[str]) -> int:
    """Plant the named flaws, or all; print what survives."""
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    verdicts = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for mutant, alive in zip(chosen, pool.map(survives, chosen), strict=True):
            sys.stdout.write(f"{'SURVIVES' if alive else 'caught  '}  {mutant.name}: {mutant.test}\n")
            sys.stdout.flush()
            verdicts.append(alive)
    sys.stdout.write(f"{verdicts.count(False)} of {len(verdicts)} caught\n")
    return 1 if any(verdicts) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
