"""Packages whose names are loaded when they are first used, so that importing the package costs next to nothing."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def exports(
    package: str, offered: Mapping[str, str]
) -> tuple[list[str], Callable[[str], object], Callable[[], list[str]]]:
    """The `__all__`, `__getattr__` and `__dir__` of a package that offers names of other modules as its own.

    A name is looked up once: afterwards the package has it like any other attribute. The types of the names stand in
    the package's `__init__.pyi`, where type checkers and editors find them.

    Args:
        package: its dotted name.
        offered: by the dotted name of a module, which of its names the package offers, with spaces between them.
    """
    homes = {name: module for module, names in offered.items() for name in names.split()}

    def load(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        value: object = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return sorted(homes), load, listed
