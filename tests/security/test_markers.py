"""The names of checks: each stands once in its function, on a check, and the numbers are those of PROTOCOL.

A twin finds the check that it removes by this name (`secagg.tools.redteam.markers`), and by nothing else: the
text of an error may be edited freely.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from secagg.tools.redteam.attacks.protocol import GAMES
from secagg.tools.redteam.attacks.protocol.game import Check
from secagg.tools.redteam.markers import marked_statement, markers
from secagg.tools.redteam.self_test.patches import Patch, without_check

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "proto" / "PROTOCOL.md").read_text(encoding="utf-8")
NUMBERS = set(re.findall(r"^\| (C\d+) \|", PROTOCOL, re.MULTILINE))

UNMARKED = {
    "C1": "decoding a configuration: each field of the codec has its own",
    "C2": "`RoundConfig`'s own checks, which have names in place of numbers, since section 5 has none",
    "C5": "decoding a message: each field of the codec has its own",
    "C6": "the last arm of each scheme's `match`: what no state awaits",
    "C15": "the key agreement itself, which gives no secret (`KeyPair.agree`)",
    "C18": "the seal itself, which does not open (AES-GCM)",
    "C19": "the share itself: `below-prime` in `shamir.decode_share`",
    "C20": "the key agreement itself, as C15",
    "C36": "as C5, at the coordinator",
    "C48": "a decoding that finds no polynomial, or another secret than was committed to: the result is what it is",
    "C50": "the seal itself, as C18",
    "C83": "as C48: a seed that gives another key share than was sent",
    "C113": "`survivor-count` and `aggregate-survivors`; each field of the receipt's codec has its own",
}
"""Checks of PROTOCOL's tables that are no `if` and no call of their own, and what they are."""


def modules() -> list[Path]:
    """Every module of the product. The tools have no checks of the protocol."""
    folders = ("secagg", "client/secagg_client", "server/secagg_server")
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if "secagg/tools/" not in path.as_posix()]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


MARKED = {path: text for path in modules() if "# check: " in (text := path.read_text(encoding="utf-8"))}
NAMES = [name for text in MARKED.values() for _, name in markers(text)]


@pytest.mark.parametrize("path", MARKED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_name_stands_once_in_its_function_and_on_a_check(path: Path) -> None:
    text = MARKED[path]
    tree, inside = ast.parse(text), Counter[int]()
    for function in functions(tree):
        lines = range(function.lineno, (function.end_lineno or function.lineno) + 1)
        found = [(line, name) for line, name in markers(text) if line in lines]
        inside.update(line for line, _ in found)
        assert [name for name, times in Counter(name for _, name in found).items() if times > 1] == []
        for line, _ in found:
            assert marked_statement(function, line)
    assert {line for line, _ in markers(text)} == set(inside), "a name stands outside of every function"


def test_numbers_are_those_of_the_protocol() -> None:
    used = {found[0] for name in NAMES if (found := re.match(r"C\d+", name))}
    assert len(NUMBERS) == 113
    assert used - NUMBERS == set()
    assert NUMBERS - used == set(UNMARKED)


def test_what_games_take_away_exists() -> None:
    checks = [check for game in GAMES.values() for check in game.defences if isinstance(check, Check)]
    assert len(checks) > 15
    for check in checks:
        with Patch() as patch:
            without_check(patch, check.owner, check.function, check.marker)


def test_other_words_in_every_error_leave_every_check_where_it_is() -> None:
    """The statement behind a name is the same, whatever the strings of the module say."""
    for text in MARKED.values():
        other = re.sub(r'(?<=")[a-z][^"{}\\\n]*(?=")', "another text", text)
        lines = [line for line, _ in markers(text)]
        assert [line for line, _ in markers(other)] == lines
        was, now = ast.parse(text), ast.parse(other)
        for line in lines:
            before, after = marked_statement(was, line), marked_statement(now, line)
            assert (type(before), before.lineno, before.end_lineno) == (type(after), after.lineno, after.end_lineno)
