"""Whatever is changed in an audit log before its last checkpoint is found, and named."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from secagg.audit import checkpoints, entries
from secagg.crypto.identity import CoordinatorIdentity, TrustAnchors, VerifiedCoordinator
from secagg.errors import ConfigError
from secagg.privacy.ledger import Head
from secagg.programs.audit import reading
from secagg.programs.audit.log import Draft
from secagg.programs.audit.reading import HEAD, Line
from secagg.programs.audit.verifying import MOST_TOLD, Verdict, Walk, verify_files
from secagg.tools.redteam.self_test.patches import without_check
from tests.auditing import Deployment, authority

_LAST = 8
"""The number of the last checkpoint in `_made`; entry 9 stands behind it."""


@cache
def _deployment() -> Deployment:
    return Deployment()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of nine entries with checkpoints 2, 5 and 8."""
    deployment, folder = _deployment(), tmp_path_factory.mktemp("log") / "audit"
    log = deployment.log(folder)
    log.write([deployment.joined("anna"), deployment.joined("bert", 2)], sign=True)
    log.write([deployment.joined("carl", 3), deployment.joined("dora", 4)], sign=True)
    log.write([deployment.joined("emil", 5)])
    return folder


@pytest.fixture(scope="module")
def content(made: Path) -> bytes:
    return (made / reading.segment_name(1)).read_bytes()


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the certificates of the very same chain once, since thousands of logs are verified."""
    whole = TrustAnchors.verify_coordinator
    monkeypatch.setattr(TrustAnchors, "verify_coordinator", cache(whole))


def _lines(content: bytes, first: int = 1) -> Iterator[Line]:
    *whole, rest = content.split(b"\n")
    for number, text in enumerate(whole, start=1):
        yield Line(text, f"line {number}", first, True)
    if rest:
        yield Line(rest, "the end", first, False)


def _verified(content: bytes, head: Head | None = None, trust: TrustAnchors | None = None) -> Verdict:
    """As `verify_files` does it, of one segment in memory."""
    walk = Walk(trust or _deployment().trust)
    if head is not None:
        walk.expect(head)
    for line in _lines(content):
        walk.take(line)
    if head is not None:
        walk.check_head(head)
    return walk.verdict()


def _head(made: Path) -> Head:
    head = reading.head_of(made)
    assert head is not None
    return head


def _signed_part(content: bytes) -> int:
    """How many bytes the lines up to the last checkpoint have."""
    return sum(len(line) + 1 for line in content.split(b"\n")[:_LAST])


def test_a_log_that_nobody_touched_is_whole(made: Path) -> None:
    verdict = verify_files(made, _deployment().trust, coordinator="coordinator.example")
    assert verdict.whole, verdict.damages
    assert (verdict.first, verdict.last.entries, verdict.checkpoints, verdict.unsigned) == (1, 9, 3, 1)
    assert verdict.signed == _head(made)
    assert verdict.hosts == ("coordinator.example",)


@pytest.mark.usefixtures("_quick")
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")  # of a certificate's bytes
def test_each_byte_that_is_changed_is_found(made: Path, content: bytes) -> None:
    head = _head(made)
    for at in range(_signed_part(content)):
        for other in {content[at] ^ 1, ord("\n")} - {content[at]}:
            changed = content[:at] + bytes([other]) + content[at + 1 :]
            assert not _verified(changed, head).whole, (at, other)


@pytest.mark.usefixtures("_quick")
def test_a_log_that_is_cut_off_anywhere_before_the_last_checkpoint_ends_is_found(made: Path, content: bytes) -> None:
    head, end = _head(made), _signed_part(content)
    for at in range(end):
        verdict = _verified(content[:at], head)
        assert not verdict.whole, at
        assert any("missing" in damage.what for damage in verdict.damages), at
    assert _verified(content[:end], head).whole
    assert _verified(content[: end + 5], head).torn == 5


@pytest.mark.usefixtures("_quick")
def test_each_line_that_is_taken_out_is_named(made: Path, content: bytes) -> None:
    lines, head = content.split(b"\n"), _head(made)
    for number in range(1, _LAST + 1):
        verdict = _verified(b"\n".join(lines[: number - 1] + lines[number:]), head)
        assert f"entry {number} is missing" in verdict.damages[0].what


@pytest.mark.usefixtures("_quick")
def test_all_lines_that_are_swapped_or_put_in_again_are_found(made: Path, content: bytes) -> None:
    lines, head = content.split(b"\n"), _head(made)
    for one in range(_LAST):
        again = [*lines[: one + 1], lines[one], *lines[one + 1 :]]
        assert f"entry {one + 1} stands where entry {one + 2}" in _verified(b"\n".join(again), head).damages[0].what
        for other in range(one + 1, _LAST):
            swapped = lines.copy()
            swapped[one], swapped[other] = swapped[other], swapped[one]
            assert not _verified(b"\n".join(swapped), head).whole, (one, other)


def _rehashed(content: bytes, change: Callable[[int, dict[str, object]], None]) -> tuple[bytes, Head]:
    """The log as somebody without the key writes it anew: every number and digest fits."""
    lines, last = [], entries.BEGINNING
    for text in content.removesuffix(b"\n").split(b"\n"):
        entry = entries.read(text)
        facts = dict(entry.facts)
        change(entry.number, facts)
        line, last = entries.write(entry.kind, entry.at_ms, facts, last)
        lines.append(line + b"\n")
        if entry.number == _LAST:
            head = last
    return b"".join(lines), head


def test_a_chain_that_is_made_anew_without_the_key_is_found(content: bytes) -> None:
    def change(number: int, facts: dict[str, object]) -> None:
        if number == 4:
            facts["participant"] = "mallory"

    verdict = _verified(*_rehashed(content, change))
    assert [damage.number for damage in verdict.damages] == [5, 8]
    assert "signature" in verdict.damages[0].what
    assert verdict.checkpoints == 1


def test_without_the_check_of_the_signature_a_chain_that_is_made_anew_passes(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(number: int, facts: dict[str, object]) -> None:
        if number == 4:
            facts["participant"] = "mallory"

    forged = _rehashed(content, change)
    without_check(monkeypatch, checkpoints, "verify", "audit-signature")
    assert _verified(*forged).whole


def test_without_the_check_of_the_chain_a_changed_entry_passes(
    made: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = content.replace(b"carl", b"kurt")
    assert not _verified(changed, _head(made)).whole
    without_check(monkeypatch, Walk, "_check_place", "audit-chain")
    assert _verified(changed, _head(made)).whole


def test_an_entry_has_one_way_to_be_written(made: Path, content: bytes) -> None:
    spaced = content.replace(b'"kind":"checkpoint"', b'"kind": "checkpoint"')
    assert "not written as entries are" in _verified(spaced, _head(made)).damages[0].what
    other = content.replace(b'"participant":"anna"', b'"participant":"ann\\u0061"')
    assert "not written as entries are" in _verified(other, _head(made)).damages[0].what


@pytest.mark.parametrize("spoilt", ["=", "B", "\\u0041"])
def test_a_signature_has_one_way_to_be_written(made: Path, content: bytes, spoilt: str) -> None:
    """Base64 has bits that mean nothing: without the check they could be changed in the last checkpoint."""
    entry = entries.read(content.split(b"\n")[_LAST - 1])
    facts = {**entry.facts, "signature": entry.facts["signature"] + spoilt}
    line, head = entries.write(entry.kind, entry.at_ms, facts, Head(_LAST - 1, entry.previous))
    lines = [*content.split(b"\n")[: _LAST - 1], line, b""]
    assert "base64" in _verified(b"\n".join(lines), head).damages[0].what


def test_what_is_behind_the_last_checkpoint_is_told_as_not_signed(made: Path, content: bytes) -> None:
    changed = content.replace(b"emil", b"eric")
    verdict = _verified(changed, _head(made))
    assert verdict.whole
    assert verdict.unsigned == 1


def test_nobody_can_write_on_without_the_key_for_long(made: Path, content: bytes) -> None:
    last = entries.read(content.split(b"\n")[_LAST]).head
    lines = []
    for number in range(checkpoints.EVERY_ENTRIES):
        line, last = entries.write("joined", 1, {"step": number}, last)
        lines.append(line + b"\n")
    verdict = _verified(content + b"".join(lines), _head(made))
    assert "without a checkpoint" in verdict.damages[0].what
    assert _verified(content + b"".join(lines[:-1]), _head(made)).whole


def test_a_log_that_was_rolled_back_with_its_head_is_found_by_a_head_that_was_seen(made: Path, tmp_path: Path) -> None:
    content = (made / reading.segment_name(1)).read_bytes()
    older = content.split(b"\n")[:5]
    (tmp_path / reading.segment_name(1)).write_bytes(b"\n".join(older) + b"\n")
    (tmp_path / HEAD).write_text(entries.read(older[-1]).head.text)
    trust = _deployment().trust
    assert verify_files(tmp_path, trust).whole
    verdict = verify_files(tmp_path, trust, seen=[_head(made)])
    assert "entries 6 to 8 are missing: the log was cut off" in verdict.damages[0].what
    other = verify_files(tmp_path, trust, seen=[Head(5, bytes(32))])
    assert "is not the one that was seen before" in other.damages[0].what


def test_a_folder_needs_its_head(made: Path, tmp_path: Path) -> None:
    content = (made / reading.segment_name(1)).read_bytes()
    (tmp_path / reading.segment_name(1)).write_bytes(content)
    assert "head is missing" in verify_files(tmp_path, _deployment().trust).damages[0].what
    (tmp_path / HEAD).write_text("nonsense")
    assert "holds no head" in verify_files(tmp_path, _deployment().trust).damages[0].what
    (tmp_path / HEAD).write_text(entries.read(content.split(b"\n")[5]).head.text)
    assert "is no checkpoint" in verify_files(tmp_path, _deployment().trust).damages[0].what


def test_an_exported_log_ends_with_a_checkpoint(content: bytes, tmp_path: Path) -> None:
    exported = tmp_path / "log.jsonl"
    exported.write_bytes(content[: _signed_part(content)])
    assert verify_files(exported, _deployment().trust).whole
    for cut in (content, content[: _signed_part(content) - 1], content[: _signed_part(content) // 2]):
        exported.write_bytes(cut)
        assert "the end is missing" in verify_files(exported, _deployment().trust).damages[-1].what


def test_there_must_be_a_log(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no audit log"):
        verify_files(tmp_path, _deployment().trust)
    with pytest.raises(ConfigError, match="holds no audit log"):
        verify_files(tmp_path / "missing", _deployment().trust)


def test_many_damages_are_counted(made: Path, content: bytes) -> None:
    verdict = _verified(content + b"nonsense\n" * (MOST_TOLD + 5), _head(made))
    assert len(verdict.damages) == MOST_TOLD
    assert verdict.untold == 5


def test_certificates_may_be_renewed_and_expire(tmp_path: Path) -> None:
    deployment = Deployment()
    deployment.renewed(days=1)
    log = deployment.log(tmp_path)
    deployment.now += 80_000
    deployment.renewed(days=1)
    log.write([deployment.joined("anna")], sign=True)
    deployment.now += 10 * 86_400
    assert verify_files(tmp_path, deployment.trust).whole
    log.write([deployment.joined("bert", 2)], sign=True)  # with what has expired
    assert "expired" in verify_files(tmp_path, deployment.trust).damages[0].what


def test_a_coordinator_of_another_ca_cannot_sign(tmp_path: Path) -> None:
    deployment = Deployment()
    deployment.log(tmp_path)
    verdict = verify_files(tmp_path, TrustAnchors([authority().certificate]))
    assert "a checkpoint that does not hold" in verdict.damages[0].what
    assert "no checkpoint of the log holds" in verdict.damages[1].what


def test_another_coordinator_of_the_same_ca_cannot_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = Deployment()
    other = Deployment(hosts=("elsewhere.example",), ca=deployment.authority)
    log = deployment.log(tmp_path)
    own = deployment.identity
    deployment.identity = other.identity
    log.write([deployment.joined("anna")], sign=True)
    verdict = verify_files(tmp_path, deployment.trust)
    assert "signed by another coordinator" in verdict.damages[0].what
    assert verdict.unsigned == 2
    deployment.identity = own
    log.write([deployment.joined("bert")], sign=True)
    assert len(verify_files(tmp_path, deployment.trust).damages) == 1
    without_check(monkeypatch, Walk, "_check_checkpoint", "audit-same-coordinator")
    assert verify_files(tmp_path, deployment.trust).whole


def test_a_log_of_another_coordinator_is_not_taken_for_ours(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust = _deployment().trust
    verdict = verify_files(made, trust, coordinator="elsewhere.example")
    assert "is signed by coordinator.example, not by elsewhere.example" in verdict.damages[0].what
    without_check(monkeypatch, Walk, "_check_checkpoint", "audit-named-coordinator")
    assert verify_files(made, trust, coordinator="elsewhere.example").whole


def test_the_key_must_be_that_of_the_certificate(tmp_path: Path) -> None:
    class Impostor(CoordinatorIdentity):
        """A key of its own beside the coordinator's certificate."""

    deployment, stranger = Deployment(), Deployment()
    deployment.identity = Impostor(deployment.identity.chain, stranger.identity._key)
    deployment.log(tmp_path)
    assert "signature" in verify_files(tmp_path, deployment.trust).damages[0].what


def test_a_signer_is_told(made: Path) -> None:
    entry = entries.read((made / reading.segment_name(1)).read_bytes().split(b"\n")[1])
    assert isinstance(checkpoints.verify(entry, _deployment().trust), VerifiedCoordinator)


def test_segments_are_in_order_and_may_be_moved_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secagg.programs.audit.log.SEGMENT_BYTES", 2000)
    deployment = Deployment()
    log = deployment.log(tmp_path)
    for number in range(12):
        log.write([Draft("joined", deployment.now, {"participant": f"p{number}", "text": "x" * 300})])
    names = [path.name for path in reading.segments(tmp_path)]
    assert len(names) > 2
    assert verify_files(tmp_path, deployment.trust).whole
    first = (tmp_path / names[0]).read_bytes().split(b"\n")
    (tmp_path / names[0]).unlink()
    verdict = verify_files(tmp_path, deployment.trust)
    assert f"entries 1 to {len(first) - 1} are missing" in verdict.damages[0].what
    assert verify_files(tmp_path, deployment.trust, after=entries.read(first[-2]).head).whole
    assert not verify_files(tmp_path, deployment.trust, after=Head(len(first) - 1, bytes(32))).whole
    (tmp_path / names[1]).rename(tmp_path / reading.segment_name(reading.first_of(names[1]) + 1))
    assert any("named after another" in d.what for d in verify_files(tmp_path, deployment.trust).damages)


def test_a_line_without_end_is_not_read_into_memory(tmp_path: Path) -> None:
    (tmp_path / reading.segment_name(1)).write_bytes(b"x" * (3 * entries.MAX_LINE_BYTES))
    sizes = [len(line.text) for line in reading.lines(tmp_path)]
    assert max(sizes) <= entries.MAX_LINE_BYTES + 2
    assert not verify_files(tmp_path, _deployment().trust).whole
