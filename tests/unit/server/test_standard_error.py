"""What native code writes to standard error: each message is one event, nobody waits, a crash stays readable."""

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secagg_server.observability.last_words import MOST_LINES
from secagg_server.observability.standard_error import LINE_BYTES, LINES, ROOM_BYTES, Messages, standard_error_to

PATIENCE_S = 20.0
FATAL = "F1128 03:36:13.769835   12678 call.cc:12] Check failed: x == y"


def messages(*pieces: bytes) -> list[str]:
    found = Messages()
    told = [message for piece in pieces for message in (*found.feed(piece), *found.rest())]
    return [*told, *found.end()]


def test_lines_that_belong_together_are_one_message() -> None:
    text = b"I1 a\n=== Source ===\nsrc/x.cc:1\n more\n\nE1 b\nplain\n"
    assert messages(text) == ["I1 a\n=== Source ===\nsrc/x.cc:1\n more\n", "E1 b", "plain"]


def test_a_line_may_come_in_pieces() -> None:
    assert messages(b"E1 be", b"gun\n  mo", b"re\n") == ["E1 begun\n  more"]
    assert messages(b"without an end") == ["without an end"]


def test_a_message_is_told_when_nothing_more_comes() -> None:
    found = Messages()
    assert list(found.feed(b"a\n")) == []
    assert list(found.rest()) == ["a"]
    assert list(found.end()) == []


@given(st.lists(st.binary(max_size=30)))
def test_any_bytes_are_taken(pieces: list[bytes]) -> None:
    assert all(messages(*pieces))


def test_what_is_kept_is_bounded() -> None:
    (line,) = messages(b"x" * (5 * LINE_BYTES), b"x" * LINE_BYTES + b"\n")
    assert len(line) == LINE_BYTES
    assert max(len(m.splitlines()) for m in messages(b"a\n" + b" b\n" * 10 * LINES)) == LINES


def test_native_and_python_lines_come_out_and_file_2_is_given_back(capfd: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    python, before = sys.stderr, os.fstat(2).st_ino
    with standard_error_to(told.append):
        os.write(2, b"native\n")
        sys.stderr.write("python\n")
        assert os.fstat(2).st_ino != before
    assert told == ["native", "python"]
    assert sys.stderr is python
    assert os.fstat(2).st_ino == before
    assert capfd.readouterr() == ("", "")  # an end in order leaves no last words


def test_a_message_that_cannot_be_taken_does_not_end_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda hooked: told.append(hooked.exc_type))
    taken: list[str] = []

    def take(message: str) -> None:
        taken.append(message)
        if message == "first":
            raise ZeroDivisionError

    with standard_error_to(take):
        os.write(2, b"first\n")
        os.write(2, b"second\n")
    assert taken == ["first", "second"]
    assert told == [ZeroDivisionError]


def test_files_and_threads_are_given_back() -> None:
    def files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before, threads = files(), threading.active_count()
    for _ in range(3):
        with standard_error_to(lambda _: None):
            pass
    assert (files(), threading.active_count()) == (before, threads)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_fault_handler_is_as_it_was(enabled: bool) -> None:
    program = (
        "import faulthandler\n"
        "from secagg_server.observability.standard_error import standard_error_to\n"
        "with standard_error_to(print):\n"
        "    assert faulthandler.is_enabled()\n"
        f"assert faulthandler.is_enabled() is {enabled}\n"
    )
    switch = ["-X", "faulthandler"] if enabled else []
    subprocess.run([sys.executable, *switch, "-c", program], check=True, timeout=60)


def written_while_the_reader_hangs(patience_s: float) -> bool:
    """Whether writers come to their end though nobody reads and the pipe is full."""
    told: list[str] = []
    begun, go_on, written = threading.Event(), threading.Event(), threading.Event()

    def slowly(message: str) -> None:
        begun.set()
        go_on.wait(2 * PATIENCE_S)
        told.append(message)

    def write() -> None:
        for _ in range(2 * ROOM_BYTES // 1000):
            with suppress(BlockingIOError):
                os.write(2, b"x" * 999 + b"\n")
            sys.stderr.write("and Python\n")
        written.set()

    with standard_error_to(slowly):
        os.write(2, b"first\n")
        assert begun.wait(PATIENCE_S)
        writing = threading.Thread(target=write)
        writing.start()
        done = written.wait(patience_s)
        go_on.set()
        writing.join(PATIENCE_S)
    assert told[0] == "first"
    return done


def test_nobody_waits_for_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    assert written_while_the_reader_hangs(PATIENCE_S)
    set_blocking, ends = os.set_blocking, iter((False, True))
    monkeypatch.setattr(os, "set_blocking", lambda end, _: set_blocking(end, next(ends)))
    assert not written_while_the_reader_hangs(0.5)  # the twin: writers that may wait do


# --- crashes ----------------------------------------------------------------------------------------------------------

SAY = "libc.write(2, words, len(words))"
PROGRAM = """
import ctypes, json, os, signal, sys, time
from secagg_server.observability.standard_error import standard_error_to

def take(message):
    time.sleep(0.1)
    os.write(1, json.dumps({"taken": message}).encode() + b"\\n")

with standard_error_to(take):
    sys.setswitchinterval(1000)
    libc = ctypes.%s(None)
    words = %r.encode() + b"\\n"
    libc.write(2, words, len(words))
    %s
"""


def crash(how: str, lib: str = "CDLL") -> tuple[list[dict[str, Any]], str, int]:
    """What is on standard output and standard error of a process that dies, and its exit code."""
    program = PROGRAM % (lib, FATAL, how)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, start_new_session=True)
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr, done.returncode


@pytest.mark.parametrize(("lib", "holds"), [("CDLL", "nothing"), ("PyDLL", "the interpreter's lock")])
def test_the_words_before_an_abort_come_out(lib: str, holds: str) -> None:
    """A PyDLL holds the interpreter's lock while it aborts, so no thread of Python can read the pipe any more."""
    lines, err, code = crash("libc.abort()", lib)
    texts = [line.get("taken") or line["detail"] for line in lines]
    assert texts.count(FATAL) == 1
    assert "Fatal Python error: Aborted" in texts
    assert any("test_" in text or "<string>" in text for text in texts)  # where it was
    assert (err, code) == ("", -6)
    words = [line for line in lines if "taken" not in line]
    assert {(line["event"], line["level"]) for line in words} == {("last_words", "error")}
    assert all(line["timestamp"].endswith("Z") for line in words)


def test_the_last_words_are_the_last() -> None:
    """The pipe may hold a thousand lines of handshakes before them."""
    lines, err, code = crash(f"libc.write(2, b'a line\\n' * 9000, 63000); {SAY}; libc.abort()", "PyDLL")
    words = [line["detail"] for line in lines]
    assert words.count("a line") < MOST_LINES
    assert words.index("Fatal Python error: Aborted") == words.index(FATAL) + 1
    assert (err, code) == ("", -6)


def test_a_killed_process_leaves_what_it_wrote() -> None:
    lines, err, code = crash("libc.kill(os.getpid(), 9)", "PyDLL")
    assert [line.get("taken") or line["detail"] for line in lines] == [FATAL]
    assert (err, code) == ("", -9)


def test_a_signal_to_the_whole_group_leaves_the_logger_alive() -> None:
    """Control-C at a terminal, and systemd, signal every process of the group."""
    everyone = "[signal.signal(n, signal.SIG_IGN) or os.killpg(0, n) for n in (2, 15, 1)]; libc.abort()"
    lines, err, code = crash(everyone)
    assert "Fatal Python error: Aborted" in [line.get("detail") for line in lines]
    assert (err, code) == ("", -6)
