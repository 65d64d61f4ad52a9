"""Small changes to a syntax tree, each of which makes a right program a wrong one."""

import ast
from collections.abc import Callable, Iterator
from typing import Any

Edit = Callable[[], None]
Said = Callable[[ast.AST], str]
"""How an edit calls what it changes: `ast.unparse`, or nothing where no name is needed."""

HASHED = {"frame", "digest", "hkdf"}
"""Functions whose arguments are what a derivation is made of."""


def edits_of(node: ast.AST, said: Said) -> Iterator[tuple[str, Edit]]:
    """What can be changed at this node itself, each with a name and what does it."""
    match node:
        case ast.Expr() | ast.Call():
            yield from _calls(node, said)
        case ast.If() | ast.IfExp() | ast.For():
            yield from _branches(node, said)
        case ast.BinOp(left, ast.Add() | ast.Sub() as way, _) if not isinstance(left, ast.List | ast.Constant):
            other_way: ast.operator = ast.Sub() if isinstance(way, ast.Add) else ast.Add()
            yield f"the other sign in {said(node)}", _put(node, "op", other_way)
        case ast.Constant("big" | "little" as order):
            yield f"not {order}-endian", _put(node, "value", "little" if order == "big" else "big")
        case ast.Constant(int() as number) if not isinstance(number, bool) and number > 1:
            yield f"{number + 1} for {number}", _put(node, "value", number + 1)
        case ast.keyword("negative", value):
            yield f"not negative={said(value)}", _put(node, "value", ast.UnaryOp(ast.Not(), value))
        case _:
            return


def _calls(node: ast.AST, said: Said) -> Iterator[tuple[str, Edit]]:
    match node:
        case ast.Expr(ast.Call(ast.Name("demand"), [condition, *_])):
            yield f"no demand that {said(condition)}", _put(node, "value", ast.Constant(None))
            yield from weaker(condition, said)
        case ast.Expr(ast.Call(ast.Name(called) | ast.Attribute(attr=called)) as call) if _checks(called):
            yield f"not {said(call)}", _put(node, "value", ast.Constant(None))
        case ast.Call(ast.Name(called) | ast.Attribute(attr=called), arguments) if called in HASHED:
            for number, argument in enumerate(arguments):
                if isinstance(argument, ast.Constant) and isinstance(argument.value, bytes) and argument.value:
                    other = ast.Constant(argument.value + b"!")
                    yield f"another label than {argument.value!r}", _at(arguments, number, other)
                elif not isinstance(argument, ast.Starred | ast.Call):
                    yield f"{called} without {said(argument)}", _at(arguments, number, ast.Constant(b""))
        case ast.Call(ast.Name("sorted"), [_, *_]):
            yield f"unsorted {said(node)}", _unsorted(node)
        case _:
            return


def _checks(called: str) -> bool:
    return any(word in called for word in ("check", "verify", "discard", "drop"))


def _branches(node: ast.If | ast.IfExp | ast.For, said: Said) -> Iterator[tuple[str, Edit]]:
    if isinstance(node, ast.For):
        body = node.body
        yield f"only the first of {said(node.iter)}", lambda: body.append(ast.Break())
    elif isinstance(node, ast.If) and any(isinstance(inner, ast.Raise) for inner in node.body):
        yield f"no refusal where {said(node.test)}", _put(node, "test", ast.Constant(False))
        yield from weaker(node.test, said)
    else:
        for value in (True, False):
            yield f"{value} for {said(node.test)}", _put(node, "test", ast.Constant(value))


def weaker(condition: ast.expr, said: Said) -> Iterator[tuple[str, Edit]]:
    """Bounds moved by one, and parts of a condition taken away."""
    for part in ast.walk(condition):
        match part:
            case ast.Compare(ops=[ast.Lt() | ast.LtE() | ast.Gt() | ast.GtE() as way]):
                swap = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
                yield f"the bound itself in {said(part)}", _at(part.ops, 0, swap[type(way)]())
            case ast.Compare(ops=[_, _]):
                yield f"no lower bound in {said(part)}", _upper(part)
            case ast.BoolOp(joined, values):
                neutral = ast.Constant(isinstance(joined, ast.And))
                for number, value in enumerate(values):
                    yield f"not the part {said(value)}", _at(values, number, neutral)
            case _:
                pass


def _put(node: ast.AST, field: str, value: Any) -> Edit:
    return lambda: setattr(node, field, value)


def _at(items: list[Any], number: int, value: Any) -> Edit:
    return lambda: items.__setitem__(number, value)


def _upper(node: ast.Compare) -> Edit:
    def edit() -> None:
        node.left, node.ops, node.comparators = node.comparators[0], node.ops[1:], node.comparators[1:]

    return edit


def _unsorted(node: ast.Call) -> Edit:
    def edit() -> None:
        node.func, node.keywords = ast.Name("list", ast.Load()), []

    return edit


def numbered(names: list[str]) -> list[str]:
    """The same names; one that stands there again has a number behind it."""
    seen: dict[str, int] = {}
    listed = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        listed.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return listed
