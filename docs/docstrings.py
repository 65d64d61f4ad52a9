"""How docstrings become the API reference: names turn into links, and one that does not fit its code is an error.

An extension of griffe, which reads the code for mkdocstrings; mkdocs.yml names this file.
"""

import logging
import re
from typing import Any, Final

import griffe
import secagg_client

import secagg

_HOME: Final = {name: package.__name__ for package in (secagg_client, secagg) for name in package.__all__}
_NAME: Final = re.compile(r"`([A-Za-z]\w*)((?:\.\w+)*(?:\(\))?)`")


def _linked(match: re.Match[str]) -> str:
    home = _HOME.get(match[1])
    return f"[{match[0]}][{home}.{match[1]}]" if home else match[0]


class _Raising(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Stop the build: the builder itself only prints what griffe finds wrong."""
        raise ValueError(record.getMessage())


logging.getLogger("griffe").addHandler(_Raising(logging.WARNING))


class Links(griffe.Extension):
    """Links each `Name` in a docstring to its entry, where `secagg` or `secagg_client` offers the name."""

    def on_module(self, *, mod: griffe.Module, **_: Any) -> None:
        """Called for each module. An error that a docstring names need not be imported where it is raised."""
        for name, home in _HOME.items():
            if name not in mod.members and mod.name != home:
                mod.set_member(name, griffe.Alias(name, f"{home}.{name}"))

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each class, function and attribute that was read."""
        if obj.docstring is not None:
            obj.docstring.value = _NAME.sub(_linked, obj.docstring.value)
