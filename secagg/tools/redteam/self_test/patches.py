"""Patches of live code: attributes are replaced, or single checks removed, and everything is put back afterwards.

An attack that fails against the code as it is must succeed without the check that stops it; a statistic that is silent
on the code as it is must speak when the code is broken. Checks are found by their names: see
`secagg.tools.redteam.markers`.
"""

import ast
import inspect
from collections.abc import Iterable
from contextlib import ExitStack
from pkgutil import resolve_name
from typing import Any, Protocol

from secagg.tools.redteam.attacks.protocol.game import Check, Measure
from secagg.tools.redteam.markers import marked_check


class Patcher(Protocol):
    """Replaces attributes until it is undone: a `Patch`, or pytest's own."""

    def setattr(self, target: object, name: str, value: object) -> None:
        """Put `value` in the place of an attribute, until the patch is undone."""
        ...


class Patch(ExitStack):
    """A `Patcher` for a `with` block."""

    def setattr(self, target: object, name: str, value: object) -> None:
        """Replace an attribute that exists. One that a class inherits is inherited again once the patch is undone.

        Raises:
            AttributeError: it does not, so the patch would change nothing.
        """
        before = inspect.getattr_static(target, name)
        if name in vars(target):
            self.callback(setattr, target, name, before)
        else:
            self.callback(delattr, target, name)
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
    check = marked_check(owner, name, marker)
    tree = _Cut(check.statement).visit(check.tree)
    code = compile(ast.fix_missing_locations(tree), "<without a check>", "exec")
    made: dict[str, Any] = {}
    exec(code, check.function.__globals__, made)  # noqa: S102, our own source less one statement
    patch.setattr(owner, name, made[check.function.__name__])


class _Cut(ast.NodeTransformer):
    """Takes one statement out of a syntax tree; of an `if`, what stands behind its `else` stays."""

    def __init__(self, statement: ast.stmt) -> None:
        self._statement = statement

    def visit(self, node: ast.AST) -> Any:
        if node is self._statement:
            return (node.orelse if isinstance(node, ast.If) else None) or ast.Pass()
        return super().generic_visit(node)
