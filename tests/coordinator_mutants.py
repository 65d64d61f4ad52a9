"""Flaws that are planted in our coordinator, one at a time, each with the case of `secagg conformance coordinator` that
must notice.

    python -m tests.coordinator_mutants            # all cases on the coordinator as it is, then all flaws
    python -m tests.coordinator_mutants NAME …     # some flaws

A flaw is planted while its module is imported, in a process of its own; no file is changed. A flaw that nobody notices
means that a case is missing.
"""

import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from secagg.tools.redteam.markers import markers
from secagg.tools.runner.cases import Verdict
from tests.holding import hold
from tests.planting import NOTICED

ROOT: Final = Path(__file__).parents[1]
_PATIENCE_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Flaw:
    """One flaw.

    Attributes:
        name: for the command line.
        path: of the file, from the root.
        old: a piece of it that stands there once.
        new: what takes its place.
        case: the number of the case that must fail then.
    """

    name: str
    path: str
    old: str
    new: str
    case: str


def _unchecked(path: str, check: str, case: str, name: str = "") -> Flaw:
    """The check that is marked `# check: {check}` on one line of the file is gone."""
    source = (ROOT / path).read_text(encoding="utf-8")
    [number] = [number for number, found in markers(source) if found == check]
    line = source.splitlines()[number - 1]
    indent = line[: len(line) - len(line.lstrip())]
    gone = "if False:" if line.lstrip().startswith("if ") else "pass"
    return Flaw(name or f"unchecked-{check}", path, line + "\n", f"{indent}{gone}\n", case)


_ROUNDS, _MASKED, _SERVER = "secagg/rounds", "secagg/masked", "server/secagg_server"
_KEYS, _ENGINE = f"{_ROUNDS}/advertise_keys.py", f"{_ROUNDS}/engine.py"
_UNMASK, _SHARES, _CLOSING = f"{_MASKED}/unmask.py", f"{_MASKED}/share_keys.py", f"{_ROUNDS}/opening_and_closing.py"
_UPLOADS, _ADDING, _ROSTER = f"{_ROUNDS}/uploads.py", f"{_MASKED}/accumulator.py", "secagg/roster.py"
_PHASE, _ACCUSED, _DROPPED = f"{_ROUNDS}/coordinator_phase.py", f"{_ROUNDS}/accusations.py", f"{_ROUNDS}/dropouts.py"
_PLANE = f"{_SERVER}/calls/data_plane.py"
_STATUS, _FAILURES = f"{_SERVER}/calls/statuses.py", "secagg/wire/failures.py"
_UNMASK_WIRE = "secagg/wire/masked.py"
_CERTIFICATION = f"{_ROUNDS}/certification.py"

# fmt: off
FLAWS: Final = (
    # --- keys
    _unchecked(f"{_SERVER}/rounds/hosted.py", "C95", "join-123"),
    _unchecked(_KEYS, "C68", "join-115"),
    _unchecked(_KEYS, "C37", "join-100"),
    Flaw("low-order-mask-key", _KEYS, "filter(None, (message.channel_public_key, message.mask_public_key))",
         "(message.channel_public_key,)", "join-101"),
    Flaw("low-order-channel-key", _KEYS, "filter(None, (message.channel_public_key, message.mask_public_key))",
         "(message.mask_public_key,)", "join-102"),
    Flaw("one-key-twice", _KEYS, "rosters.distinct_halves(message, self.in_use)", "rosters.halves_of(message)",
         "join-103"),
    Flaw("key-of-another", _KEYS, "self.in_use.update(halves)", "pass", "join-104"),
    Flaw("nobody-blamed-for-a-key", _KEYS, 'raise ProtocolViolation(f"{sender}: {error}", culprit=sender) from None',
         'raise ProtocolViolation(f"{sender}: {error}", culprit=None) from None', "join-104"),
    _unchecked(_ROSTER, "C13", "join-105"),
    Flaw("signature-of-any-round", _ROSTER, "signed = advertisement_to_sign(round_.context, member",
         "signed = advertisement_to_sign(type(round_.context)(bytes(32)), member", "join-001"),
    Flaw("coordinator-blamed-for-keys", _KEYS, 'raise type(error)(f"{sender}: {error}", culprit=sender) from None',
         "raise", "join-108"),
    _unchecked(_ROSTER, "C12", "join-108"),
    _unchecked("secagg/crypto/identity.py", "C11", "join-109"),
    Flaw("comes-back-with-old-keys", _KEYS, "if self.withdrawn.get(sender) == message:", "if False:", "join-605"),
    Flaw("first-phase-without-threshold", _CLOSING,
         "if len(self._expected) < self.round.config.fewest_members:  # check: C47, C109-members", "if False:",
         "join-006"),
    # --- turns
    _unchecked(_ENGINE, "C34", "join-135"),
    _unchecked(_ENGINE, "C33-over", "join-214"),
    _unchecked(_PHASE, "C35", "join-211"),
    Flaw("repeats-refused", _ENGINE, "unit.is_repeated(index, message)", "False", "join-051"),
    Flaw("repeated-keys-refused", _ENGINE, "return self._joining.advertised.get(sender) == message", "return False",
         "join-050"),
    _unchecked(_DROPPED, "C96", "join-714"),
    # --- shares
    _unchecked(_SHARES, "commitment-size", "join-206"),
    _unchecked(_SHARES, "C40", "join-200"),
    Flaw("shares-for-strangers", _SHARES, "if set(message.sealed) != set(self.state.graph.of(index)):",
         "if not set(message.sealed) >= set(self.state.graph.of(index)):", "join-201"),
    _unchecked(_SHARES, "C93", "join-204"),
    # --- inputs
    _unchecked(_UPLOADS, "C41-last", "join-301"),
    _unchecked(_UPLOADS, "C41-next", "join-300"),
    _unchecked(_ADDING, "C42", "join-304"),
    Flaw("nobody-blamed-for-a-chunk", _UPLOADS, 'raise DecodeError(f"{name}: {error}", culprit=name) from None',
         'raise DecodeError(f"{name}: {error}", culprit=None) from None', "join-302"),
    Flaw("progress-from-the-beginning", _ENGINE, "            received = unit.received_chunks(index)\n",
         "            received = 0\n", "join-301"),
    # --- signatures
    _unchecked(_PHASE, "C43", "join-400"),
    Flaw("signature-names-nobody", _PHASE, "message.signature, culprit=name)  # check: C43, C73",
         "message.signature, culprit=None)", "join-400"),
    # --- revealed shares
    _unchecked(_UNMASK, "C44", "join-500"),
    Flaw("more-shares-than-due", _UNMASK, "if message.shares.keys() != {", "if not message.shares.keys() >= {",
         "join-501"),
    _unchecked(_UNMASK, "C45", "join-502"),
    _unchecked(_UNMASK, "C46", "join-503"),
    _unchecked(_UNMASK, "C91", "join-504"),
    Flaw("an-owner-twice", _UNMASK_WIRE, 'owner = fresh_index(item.owner, shares, "owner")',
         "owner = Index(item.owner)", "join-505"),
    Flaw("own-masks-stay", _UNMASK, "return chain(own, pairwise)",
         "return chain((), pairwise)", "join-001"),
    Flaw("masks-of-the-dropped-stay", _UNMASK, "return chain(own, pairwise)",
         "return chain(own, ())", "join-011"),
    Flaw("pairwise-masks-the-wrong-way", _UNMASK, "yield Mask(key, negative=i > owner)",
         "yield Mask(key, negative=i < owner)", "join-011"),
    Flaw("own-masks-the-wrong-way", _UNMASK, "seed), negative=True)", "seed), negative=False)", "join-001"),
    # --- closing
    Flaw("goes-on-below-the-threshold", _CLOSING, "if len(alive) < self.round.config.threshold:", "if False:",
         "join-031"),
    Flaw("differencing", _CLOSING, "if exposed := self._claim(", "if False and self._claim(", "join-708"),
    Flaw("wrong-holders-unnamed", _ACCUSED, " | set(self._state.wrong_holders)", "", "join-513"),
    Flaw("deadline-unnamed", _CLOSING, "self._dropouts.drop(phase, name, DropReason.DEADLINE) for name in late",
         "self._dropouts.drop(phase, name, DropReason.FAILED) for name in late", "join-010"),
    Flaw("who-left-did-not-deliver", _CLOSING,
         "            self._dropouts.left[index] = reason  # what it delivered stands\n            return []\n",
         "            self._expected.discard(index)\n"
         "            return [self._dropouts.drop(self.phase, name, reason)]\n",
         "join-606"),
    Flaw("exclusion-unnamed", _ENGINE, "self._miss(name, DropReason.EXCLUDED)", "self._miss(name, DropReason.FAILED)",
         "join-707"),
    # --- accusations
    _unchecked(_ACCUSED, "C94", "join-600"),
    Flaw("hearsay-is-proof", _ACCUSED, "Verdict.HEARSAY if self._signed[accused] else Verdict.PROVEN",
         "Verdict.PROVEN", "join-601"),
    # --- results
    _unchecked(_PLANE, "member-receipt", "join-704"),
    _unchecked(_PLANE, "aggregate-for-participants", "join-706"),
    _unchecked(_PLANE, "round-named-once", "join-208"),
    _unchecked(f"{_SERVER}/rounds/certifying.py", "certify-configured", "join-604"),
    Flaw("certifies-anything", _CERTIFICATION,
         "        signing.verify(\n            self._result.signers[index][1], self._result.to_sign, signature, "
         "culprit=sender\n        )", "        pass", "join-002"),
    Flaw("receipt-of-fewer", _PLANE, "return encode_receipt(await hosted.signed_receipt()).SerializeToString()",
         "told = encode_receipt(await hosted.signed_receipt())\n    told.survivors -= 1\n"
         "    return told.SerializeToString()", "join-001"),
    Flaw("receipt-of-another-time", _PLANE, "return encode_receipt(await hosted.signed_receipt()).SerializeToString()",
         "told = encode_receipt(await hosted.signed_receipt())\n    told.signed_ms += 1\n"
         "    return told.SerializeToString()", "join-001"),
    # --- calls
    Flaw("too-many-seen", _PLANE, " or len(request.seen) > MAX_SEEN:", ":", "join-712"),
    Flaw("seen-of-any-size", _PLANE, "if any(len(round_id) != ROUND_ID_SIZE for round_id in request.seen):",
         "if False:", "join-712"),
    _unchecked(f"{_SERVER}/rounds/registry.py", "round-id-size", "join-121"),
    _unchecked(f"{_SERVER}/calls/incoming.py", "message-bytes", "join-213"),
    Flaw("fields-uncounted", "secagg/wire/counting.py", "MAX_FIELDS: Final = 50_000", "MAX_FIELDS: Final = 50_000_000",
         "join-210"),
    Flaw("decompresses", f"{_SERVER}/network/options.py", '("grpc.compression_enabled_algorithms_bitset", 1),',
         '("grpc.compression_enabled_algorithms_bitset", 7),', "join-711"),
    Flaw("culprits-kept-back", _FAILURES,
         "return pb.ErrorDetail(kind=kind, message=message, culprits=[] if culprit is None else [culprit])",
         "return pb.ErrorDetail(kind=kind, message=message)", "join-400"),
    Flaw("reason-of-the-end-kept-back", _FAILURES, "abort_reason=reason, culprits=culprits", "culprits=culprits",
         "join-709"),
    *(Flaw(f"status-of-{error}", _STATUS, f"    {error}: grpc.StatusCode.{status},",
           f"    {error}: grpc.StatusCode.INTERNAL,", case)
      for error, status, case in (
          ("DecodeError", "INVALID_ARGUMENT", "join-302"), ("AuthenticationError", "UNAUTHENTICATED", "join-400"),
          ("ProtocolViolation", "FAILED_PRECONDITION", "join-500"),
          ("NotInRoundError", "PERMISSION_DENIED", "join-603"),
          ("RoundAborted", "ABORTED", "join-709"), ("UnknownRoundError", "NOT_FOUND", "join-120"))),
)
# fmt: on


def caught(flaw: Flaw) -> bool:
    """Whether the case notices.

    Raises:
        TimeoutError: there was no verdict in time, which says nothing about the case.
    """
    command = [sys.executable, "-m", "tests.planting", flaw.path, flaw.old, flaw.new, flaw.case]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=_PATIENCE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{flaw.name}: no verdict in {_PATIENCE_S:.0f} s") from error
    return done.returncode == NOTICED


def _verdict(flaw: Flaw) -> str:
    try:
        return "caught" if caught(flaw) else "SURVIVES"
    except TimeoutError:
        return "NO VERDICT"


def main(arguments: list[str]) -> int:
    """Play all cases, and plant the named flaws or all; print what is not as it should be."""
    wrong = 0 if arguments else _all_cases()
    chosen = [flaw for flaw in FLAWS if not arguments or flaw.name in arguments]
    found = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for flaw, verdict in zip(chosen, pool.map(_verdict, chosen), strict=True):
            sys.stdout.write(f"{verdict:<10}  {flaw.name}: {flaw.case}\n")
            sys.stdout.flush()
            found += verdict == "caught"
    sys.stdout.write(f"{found} of {len(chosen)} caught\n")
    return 1 if wrong or found < len(chosen) else 0


def _all_cases() -> int:
    """How many cases our coordinator fails."""
    with TemporaryDirectory() as folder:
        judged = asyncio.run(hold(Path(folder)))
    failed = [one for one in judged if one.verdict is not Verdict.PASSED]
    for one in failed:
        sys.stdout.write(f"FAILS     {one.case.number}: {one.text}\n")
    sys.stdout.write(f"{len(judged) - len(failed)} of {len(judged)} cases passed\n")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
