"""Patches of live code: attributes are replaced, or single checks removed, and everything is put back afterwards.

An attack that fails against the code as it is must succeed without the check that stops it; a statistic that is silent
on the code as it is must speak when the code is broken.

A check is named by a comment at the end of its line, which costs nothing at run time::

    if len(survivors) < threshold:  # check: C24
        raise ProtocolViolation(...)

`C24` is a number of PROTOCOL's tables of checks; where one number is several checks of one function, each has a word
behind it (`C22-on-roster`); a check without a number has a name of its own (`not-our-own-entry`). A check with two
numbers has both (`# check: C9, C38`). The comment stands on the line of the check's `if` (on any line of its condition)
or, where a call alone is the check, on that call. No name stands twice in one function.
"""

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pkgutil import resolve_name
from typing import Any, Final, Protocol

from secagg.tools.redteam.attacks.protocol.game import Check, Measure

_MARKER: Final = re.compile(r"#\s*check:\s*([\w-]+(?:,\s*[\w-]+)*)")


class Patcher(Protocol):
    """Replaces attributes until it is undone: a `Patch`, or pytest's own."""

    def setattr(self, target: object, name: str, value: object) -> None:
        """Put `value` in the place of an attribute, until the patch is undone."""
        ...


class Patch(ExitStack):
    """A `Patcher` for a `with` block."""

    def setattr(self, target: object, name: str, value: object) -> None:
        """Replace an attribute that exists.

        Raises:
            AttributeError: it does not, so the patch would change nothing.
        """
        self.callback(setattr, target, name, inspect.getattr_static(target, name))
        setattr(target, name, value)


def take_away(patch: Patcher, defences: Iterable[Check | Measure]) -> None:
    """Leave the product without these defences, as an attack on it names them."""
    for defence in defences:
        if isinstance(defence, Check):
            without_check(patch, defence.owner, defence.function, defence.marker)
        else:
            owner = resolve_name(defence.owner) if isinstance(defence.owner, str) else defence.owner
            patch.setattr(owner, defence.name, defence.weakened(inspect.getattr_static(owner, defence.name)))


def without_check(patch: Patcher, owner: object, name: str, marker: str) -> None:
    """Remove the check that is marked `# check: {marker}` in function `owner.name`.

    What stands behind the `else` of a removed `if` stays.

    Raises:
        ValueError: the function has no such marker, or more than one, or it stands on no `if` and no call.
    """
    function = inspect.unwrap(inspect.getattr_static(owner, name))
    source = textwrap.dedent(inspect.getsource(function))
    tree = ast.parse(source)
    lines = [line for line, found in markers(source) if found == marker]
    if len(lines) != 1:
        raise ValueError(
            f"{function.__qualname__} has {len(lines)} lines marked `# check: {marker}` where one is needed: put that"
            " comment behind the check's `if` or call, and give other checks of the function other names"
        )
    tree = _Cut(marked_statement(tree, lines[0])).visit(tree)
    code = compile(ast.fix_missing_locations(tree), "<without a check>", "exec")
    made: dict[str, Any] = {}
    exec(code, function.__globals__, made)  # noqa: S102, our own source less one statement
    patch.setattr(owner, name, made[function.__name__])


def markers(source: str) -> Iterator[tuple[int, str]]:
    """Every line with a marker, and the check's name: one pair for each name."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        found = _MARKER.search(token.string) if token.type == tokenize.COMMENT else None
        if found:
            yield from ((token.start[0], name) for name in re.split(r",\s*", found[1]))


def marked_statement(tree: ast.AST, line: int) -> ast.stmt:
    """The innermost `if` whose condition, or the call that, stands on `line`.

    Raises:
        ValueError: neither does.
    """
    checks = [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and line in _lines_of_check(node)]
    if not checks:
        raise ValueError(f"line {line} is marked as a check, but there is no `if` and no bare call on it")
    return max(checks, key=lambda node: node.lineno)


def _lines_of_check(node: ast.stmt) -> range:
    if isinstance(node, ast.If):
        return range(node.lineno, max(node.lineno + 1, node.body[0].lineno))
    call = node.value if isinstance(node, ast.Expr) else None
    if isinstance(call, ast.Await):
        call = call.value
    return range(node.lineno, (node.end_lineno or node.lineno) + 1) if isinstance(call, ast.Call) else range(0)


class _Cut(ast.NodeTransformer):
    """Takes one statement out of a syntax tree; of an `if`, what stands behind its `else` stays."""

    def __init__(self, statement: ast.stmt) -> None:
        self._statement = statement

    def visit(self, node: ast.AST) -> Any:
        if node is self._statement:
            return (node.orelse if isinstance(node, ast.If) else None) or ast.Pass()
        return super().generic_visit(node)
