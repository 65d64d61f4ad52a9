"""Make the synchronous clients of the asynchronous ones: `secagg_client/sync` of `secagg_client/aio` (`make sync`).

Both are the same text but for the words below. The words are exchanged in docstrings, too, so that the examples in them
are right: this is why we do not use the package `unasync`, which leaves strings alone.

Why the code is generated, and does not run the asynchronous client on an event loop in a thread of its own: generated
code runs in its caller's thread. So Control-C reaches the call that waits and leaves the round, a client serves many
threads, it works where an event loop runs already and after a fork, nothing has to end before the process can, and
gRPC's interceptors stay those that its users know.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

ASYNCHRONOUS: Final = Path(__file__).parent / "secagg_client" / "aio"
SYNCHRONOUS: Final = ASYNCHRONOUS.with_name("sync")

WORDS: Final = (
    (r"async (def|with|for) ", r"\1 "),
    (r"(def|with|for) async ", r"\1 "),
    (r" async for ", " for "),
    (r"\(await ((?:\w+\.)+\w+\(\w*\))\)\.", r"\1."),  # only `await` needed the parentheses
    (r"\bawait ", ""),
    (r"\bAsyncGenerator\[(.+), None\]", r"Generator[\1, None, None]"),
    (r"\bAsync(Client|ControlClient|Generator)\b", r"\1"),
    (r"\baclosing\b", "closing"),
    (r"\b__a(enter|exit|iter)__\b", r"__\1__"),
    (r"\b__anext__\b", "__next__"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\b(secagg_client|transport)\.aio\b", r"\1.sync"),
    (r"(from|for) asyncio\b", r"\1 plain code"),
    (r"another task\b", "another thread"),
    (r"Belongs to the event loop that first uses it", "Safe to use from several threads"),
)

ORIGIN: Final = re.compile(r'\n\nThis folder is written by hand[^"]*')
HEADER: Final = "# Made of secagg_client/aio/{} by `make sync`: change that file, not this one.\n"


def derived(name: str) -> str:
    """The synchronous text of a file of `aio`, formatted as the rest of the code is."""
    text = ORIGIN.sub("", (ASYNCHRONOUS / name).read_text(encoding="utf-8"))
    for word, other in WORDS:
        text = re.sub(word, other, text)
    for command in (("check", "--quiet", "--fix", "--select=I"), ("format", "--quiet")):
        ruff = (sys.executable, "-m", "ruff", *command, "--stdin-filename", str(SYNCHRONOUS / name), "-")
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout  # noqa: S603
    return HEADER.format(name) + text


if __name__ == "__main__":
    for path in sorted(ASYNCHRONOUS.glob("*.py")):
        (SYNCHRONOUS / path.name).write_text(derived(path.name), encoding="utf-8")
