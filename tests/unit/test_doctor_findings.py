"""What a doctor makes of what it saw: certificates and clock, both ends' versions and times, and how it is shown."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.backends.openssl.backend import backend

from secagg import __version__
from secagg.cli.doctor import coordinator, machine
from secagg.cli.doctor.findings import (
    SET_CLOCK,
    Finding,
    Level,
    Validity,
    as_json,
    clock,
    expiry,
    fine,
    refused,
    table,
    worst,
)
from secagg.cli.doctor.participant import answers, difference, versions
from secagg.cli.doctor.suites import suites
from secagg.errors import ConfigError, ProtocolViolation, TransportError
from secagg.wire.describing import Description

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OURS, THEIRS, CA = (Validity(name, NOW - DAY, NOW + 30 * DAY) for name in ("ours", "theirs", "the CA"))


# --- certificates and this machine's clock ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "level", "said"),
    [
        (14 * DAY, Level.WARNING, "expires on 2026-12-12, in 14 days"),
        (14 * DAY + HOUR, Level.OK, "expires on 2026-12-12, in 14 days"),
        (DAY, Level.WARNING, "in 1 day"),
    ],
)
def test_a_certificate_is_told_of_before_it_expires(left: timedelta, level: Level, said: str) -> None:
    found = expiry("certificate", Validity("clinic-1", NOW - DAY, NOW + left), NOW, "renew it", also=" of North")
    assert found.level is level
    assert found.text.startswith("clinic-1 of North: ")
    assert said in found.text
    assert found.mend == ("" if level is Level.OK else "renew it")


def moved(one: Validity, hours: float) -> Validity:
    return Validity(one.name, one.begin + hours * HOUR, one.end + hours * HOUR)


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (
            (OURS, moved(CA, 26)),
            r"says 2026-11-28 12:00:00 UTC, 2\.0 hours before the CA begins to be valid: .* behind",
        ),
        ((moved(OURS, 124), moved(CA, 26)), r"100\.0 hours|4 days before ours begins"),
        ((moved(OURS, -1000), moved(CA, -800)), r"3 days after the last certificate expired: perhaps .* ahead"),
    ],
)
def test_certificates_prove_a_clock_wrong(known: tuple[Validity, ...], said: str) -> None:
    found = clock(known, NOW)
    assert (found.check, found.level, found.mend) == ("clock", Level.ERROR, SET_CLOCK)
    import re

    assert re.search(said, found.text)


@pytest.mark.parametrize("known", [(), (OURS, THEIRS, CA), (moved(OURS, -1000), CA), (moved(OURS, -1000),)])
def test_one_old_certificate_proves_nothing(known: tuple[Validity, ...]) -> None:
    assert clock(known, NOW).level is Level.OK


def test_without_a_certificate_there_is_nothing_to_compare_with() -> None:
    assert clock((), NOW).text.endswith("; no certificate to compare it with")
    assert clock((OURS,), NOW).text.endswith("; no certificate contradicts it")


# --- the other end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "ours", "level", "said"),
    [
        ((1,), (1,), Level.OK, "both speak version 1 of the protocol"),
        ((1, 2), (1,), Level.OK, "both speak version 1 of the protocol"),
        ((1, 2, 3), (2, 3), Level.OK, "both speak version 3 of the protocol"),
        (
            (2, 3),
            (1,),
            Level.ERROR,
            "speaks version 2, 3 of the protocol, and this machine 1: upgrade secagg on this machine",
        ),
        (
            (1,),
            (2,),
            Level.ERROR,
            "speaks version 1 of the protocol, and this machine 2: upgrade secagg on the coordinator",
        ),
    ],
)
def test_who_must_upgrade(
    theirs: tuple[int, ...], ours: tuple[int, ...], level: Level, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secagg.wire.describing.PROTOCOLS", ours)
    found = versions(Description("9.1", theirs, 0), "coordinator")
    assert found.level is level
    assert found.text.startswith(f"secagg 9.1 at the coordinator, {__version__} here")
    assert said in found.text


@pytest.mark.parametrize(
    ("theirs", "level", "said"),
    [
        (1000.0, Level.OK, "0.0 s"),
        (1060.0, Level.OK, "60.0 s ahead of"),
        (940.0, Level.OK, "60.0 s behind"),
        (1061.5, Level.WARNING, "61.5 s ahead of"),
        (938.5, Level.WARNING, "61.5 s behind"),
        (1000.0 + 3600, Level.WARNING, "1.0 hours ahead of"),
        (1000.0 + 3602, Level.ERROR, "1.0 hours ahead of"),
        (1000.0 - 3602, Level.ERROR, "1.0 hours behind"),
        (1000.0 - 400 * 86_400, Level.ERROR, "400 days behind"),
    ],
)
def test_how_far_clocks_are_apart(theirs: float, level: Level, said: str) -> None:
    """Asked at 999 and answered at 1001: the other end's clock was read somewhere in between."""
    found = difference(theirs, 999.0, 1001.0, "coordinator")
    assert found.level is level
    assert said in found.text
    assert "(within 1.0 s)" in found.text
    assert found.mend == ("" if level is Level.OK else SET_CLOCK)


def test_clocks_are_not_blamed_for_a_slow_answer() -> None:
    assert difference(1065.0, 990.0, 1010.0, "coordinator").level is Level.OK
    assert difference(1000.0 + 3605, 990.0, 1010.0, "coordinator").level is Level.WARNING


class Other:
    """The other end: says what it was given, or raises it."""

    def __init__(self, serves: bool | Exception, description: Description | Exception) -> None:
        self._serves, self._description = serves, description

    def serves(self, *, timeout_s: float | None = None) -> bool:
        if isinstance(self._serves, Exception):
            raise self._serves
        return self._serves

    def describe(self, *, timeout_s: float | None = None) -> Description:
        if isinstance(self._description, Exception):
            raise self._description
        return self._description


HERE = Description(__version__, (1,), 1_000_000)


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (Other(True, HERE), ["health ok", "versions ok", "clocks ok"]),
        (Other(False, HERE), ["health warning"]),
        (Other(TransportError("cannot reach it"), HERE), ["own call error"]),
        (Other(True, ProtocolViolation("does not know Describe")), ["health ok", "versions warning"]),
        (Other(True, TransportError("it broke")), ["health ok", "versions error"]),
    ],
)
def test_what_the_other_end_answers(other: Other, found: list[str]) -> None:
    told = list(answers(other, 1.0, lambda: 1000.0, who="coordinator"))
    assert [f"{one.check} {one.level.value}" for one in told] == found
    if found[-1] == "versions warning":
        assert f"older than {__version__} here" in told[-1].text
        assert "upgrade the coordinator" in told[-1].text


# --- this machine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vaes", "said"), [(True, "made faster here"), (False, "AES-128 may be faster"), (None, "which")]
)
def test_the_suites_of_a_machine(vaes: bool | None, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "has_vaes", lambda: vaes)
    found = suites()
    assert (found.level, said in found.text, "AEGIS128X4" in found.text) == (Level.OK, True, True)
    monkeypatch.setitem(sys.modules, "aeg.aegis128x4", None)  # importing it fails
    found = suites()
    assert (found.level, said in found.text, "pip install" in found.text) == (Level.OK, False, True)


def test_the_hybrid_suite_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "XWING_SHA256_AES256, against quantum computers" in suites().text
    monkeypatch.setattr(type(backend), "mlkem_supported", lambda _: False)
    found = suites()
    assert (found.level, "needs ML-KEM-768" in found.text, "against quantum" in found.text) == (Level.OK, True, False)


@pytest.mark.parametrize(
    ("text", "vaes"),
    [("flags\t\t: aes vaes\nflags\t\t: vaes aes\n", True), ("flags\t: aes vaes\nflags\t: aes\n", False), ("", None)],
)
def test_what_the_processor_has(text: str, vaes: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "Path", lambda _: tmp_path / "cpuinfo")
    assert machine.has_vaes() is vaes
    (tmp_path / "cpuinfo").unlink()
    assert machine.has_vaes() is None


@pytest.mark.parametrize(("free", "level"), [(None, Level.OK), (300 << 20, Level.OK), ((256 << 20) - 1, Level.WARNING)])
def test_little_memory(free: int | None, level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: free)
    assert coordinator._memory().level is level


@pytest.mark.parametrize(
    ("name", "host", "covers"),
    [
        ("a.example", "a.example", True),
        ("A.example", "a.EXAMPLE", True),
        ("*.example", "a.example", True),
        ("*.example", "b.a.example", False),
        ("*.example", ".example", False),
        ("a.example", "b.example", False),
        ("127.0.0.1", "127.0.0.1", True),
    ],
)
def test_which_names_a_certificate_covers(name: str, host: str, covers: bool) -> None:
    assert coordinator._covers(name, host) is covers


# --- how it is shown --------------------------------------------------------------------------------------------------


def test_an_error_is_a_finding_with_its_command() -> None:
    found = refused("key", ConfigError("key.pem can be read by others").mended_by("chmod 600 key.pem"))
    assert found == Finding("key", Level.ERROR, "key.pem can be read by others", "chmod 600 key.pem")
    assert refused("key", OSError(13, "Permission denied", "key.pem")).text == "key.pem: Permission denied"
    assert refused("name", OSError("no name")).text == "no name"


LONG = Finding(
    "data plane", Level.ERROR, "word " * 60, "secagg ca issue server " + "--host aggregator.example.org " * 8
)


@pytest.mark.parametrize("width", [40, 80, 100])
def test_a_table_fits_and_its_commands_can_be_copied(width: int) -> None:
    lines = list(table("Title", [fine("CA", "valid"), LONG], width))
    assert lines[:2] == ["Title", "ok       CA           valid"]
    commands = [line for line in lines if "run: " in line]
    assert commands == [f"         run: {LONG.mend.strip()}"]
    assert all(len(line) <= width for line in lines if line not in commands)
    assert " ".join(" ".join(lines[2:-1]).split()) == "ERROR data plane " + LONG.text.strip()


def test_a_long_word_of_a_peer_does_not_leave_the_table() -> None:
    assert all(len(line) <= 80 for line in table("Title", [fine("TLS", "x" * 500)], 80))


def test_words_of_a_peer_cannot_move_the_cursor_or_begin_a_line() -> None:
    evil = Finding("TLS", Level.ERROR, "a\x1b[2J\nok  all is fine\u202e", "run\rthis")
    lines = list(table("Title", [evil], 80))
    assert lines == ["Title", "ERROR    TLS          a?[2J ok all is fine?", "         run: run this"]
    assert as_json("participant", evil)["text"] == "a?[2J ok all is fine?"


def test_what_a_peer_says_is_not_endless() -> None:
    assert len(as_json("participant", fine("TLS", "x" * 10_000))["text"] or "") == 2000


def test_the_worst_counts() -> None:
    some = [fine("a", ""), Finding("b", Level.WARNING, ""), Finding("c", Level.ERROR, "")]
    assert [worst(some[:count]) for count in range(4)] == [Level.OK, Level.OK, Level.WARNING, Level.ERROR]
    assert worst(some[::-1]) is Level.ERROR
    assert as_json("control", some[0]) == {"side": "control", "check": "a", "level": "ok", "text": "", "mend": None}
