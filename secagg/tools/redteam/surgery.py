"""A knife for the code at run time: attributes are replaced, or single checks removed, and everything is put back.

An attack that fails against the code as it is must succeed without the check that stops it; a statistic that is silent
on the code as it is must speak when the code is broken.
"""

import ast
import inspect
import textwrap
from types import TracebackType
from typing import Any, Protocol


class Patcher(Protocol):
    """Replaces attributes until it is undone: a `Patch`, or pytest's own."""

    def setattr(self, target: object, name: str, value: object) -> None:
        """Replace `target.name`."""
        ...


class Patch:
    """A `Patcher` for a `with` block."""

    def __init__(self) -> None:
        self._before: list[tuple[object, str, object]] = []

    def setattr(self, target: object, name: str, value: object) -> None:
        """Replace an attribute that exists.

        Raises:
            AttributeError: it does not, so the patch would change nothing.
        """
        self._before.append((target, name, inspect.getattr_static(target, name)))
        setattr(target, name, value)

    def __enter__(self) -> "Patch":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        while self._before:
            target, name, value = self._before.pop()
            setattr(target, name, value)


def without_check(patch: Patcher, owner: object, name: str, fragment: str) -> None:
    """Remove the one check of function `owner.name` whose text contains `fragment`.

    That is the innermost `if` around it, or the bare call where no `if` is around it.

    Raises:
        ValueError: the fragment names no check, or more than one.
    """
    function = inspect.unwrap(inspect.getattr_static(owner, name))
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    candidates = [n for n in ast.walk(tree) if isinstance(n, ast.If) and fragment in ast.unparse(n)]
    found: list[ast.stmt] = [n for n in candidates if not any(m in candidates for m in ast.walk(n) if m is not n)]
    if not found:
        calls = (n for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Call))
        found = [n for n in calls if fragment in ast.unparse(n)]
    if len(found) != 1:
        raise ValueError(f"{fragment!r} names {len(found)} checks of {name}")
    code = compile(ast.fix_missing_locations(_Cut(found[0]).visit(tree)), "<without a check>", "exec")
    made: dict[str, Any] = {}
    exec(code, function.__globals__, made)  # noqa: S102, our own source less one statement
    patch.setattr(owner, name, made[function.__name__])


class _Cut(ast.NodeTransformer):
    def __init__(self, statement: ast.stmt) -> None:
        self._statement = statement

    def visit(self, node: ast.AST) -> Any:
        return ast.Pass() if node is self._statement else super().generic_visit(node)
