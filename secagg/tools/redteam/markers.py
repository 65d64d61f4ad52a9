"""Finds checks of the product by their names: in the source, and in what is left of an error that one of them raised.

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
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, Final

_MARKER: Final = re.compile(r"#\s*check:\s*([\w-]+(?:,\s*[\w-]+)*)")

Trail = tuple[tuple[CodeType, int], ...]
"""Where an error came from: functions and lines, without what they held in their variables."""


@dataclass(frozen=True, slots=True)
class MarkedCheck:
    """A check that was found in the source of its function.

    Attributes:
        function: the function.
        tree: its source, parsed; line 1 is the function's first.
        statement: the check, a part of `tree`.
    """

    function: FunctionType
    tree: ast.Module
    statement: ast.stmt

    @property
    def lines(self) -> range:
        """The lines of the check in its file: of an `if` without what stands behind its `else`."""
        first, node = inspect.getsourcelines(self.function)[1] - 1, self.statement
        last = node.body[-1] if isinstance(node, ast.If) else node
        return range(first + node.lineno, first + (last.end_lineno or last.lineno) + 1)

    def raised(self, trail: Trail) -> bool:
        """Whether the error that left this trail came out of the check."""
        return any(code is self.function.__code__ and line in self.lines for code, line in trail)


def marked_check(owner: object, name: str, marker: str) -> MarkedCheck:
    """The check that is marked `# check: {marker}` in function `owner.name`.

    Raises:
        ValueError: the function has no such marker, or more than one, or it stands on no `if` and no call.
    """
    function: Any = inspect.unwrap(inspect.getattr_static(owner, name))
    source = textwrap.dedent(inspect.getsource(function))
    tree = ast.parse(source)
    lines = [line for line, found in markers(source) if found == marker]
    if len(lines) != 1:
        raise ValueError(
            f"{function.__qualname__} has {len(lines)} lines marked `# check: {marker}` where one is needed: put that"
            " comment behind the check's `if` or call, and give other checks of the function other names"
        )
    return MarkedCheck(function, tree, marked_statement(tree, lines[0]))


def trail_of(error: BaseException) -> Trail:
    """Where `error` was raised and passed on, and where the errors were that it was made of."""
    trail: list[tuple[CodeType, int]] = []
    known: BaseException | None = error
    while known is not None:
        step = known.__traceback__
        while step is not None:
            trail.append((step.tb_frame.f_code, step.tb_lineno))
            step = step.tb_next
        known = known.__cause__ or (None if known.__suppress_context__ else known.__context__)
    return tuple(trail)


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
