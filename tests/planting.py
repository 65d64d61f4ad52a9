"""A process in which one module is imported with a flaw: `python -m tests.planting PATH OLD NEW CASE`.

It plays one case of `secagg conformance coordinator` on a coordinator with the flaw. The exit code says whether the
case noticed. Nothing of secagg is imported before the flaw is planted.
"""

import asyncio
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, ModuleType
from typing import Final

NOTICED: Final = 3
"""The exit code where the case failed."""


class Spoilt(SourceFileLoader):
    """Loads the module of one file with a flaw."""

    def __init__(self, name: str, file: Path, old: str, new: str) -> None:
        super().__init__(name, str(file))
        self._old, self._new = old, new

    def get_code(self, fullname: str) -> CodeType:
        """The module's code with the flaw; none that was compiled before is looked at."""
        del fullname
        source = Path(self.path).read_text(encoding="utf-8")
        return compile(source.replace(self._old, self._new), self.path, "exec")


class Planted(MetaPathFinder):
    """Finds the module of one file for `Spoilt`, and leaves all others to the rest."""

    def __init__(self, file: Path, old: str, new: str) -> None:
        self._file, self._old, self._new = file, old, new

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module of the flaw's file."""
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.origin is None or Path(spec.origin) != self._file:
            return None
        spec.loader = Spoilt(name, self._file, self._old, self._new)
        return spec


def main(path: str, old: str, new: str, number: str) -> int:
    """Plant the flaw, and play the case."""
    sys.meta_path.insert(0, Planted(Path(__file__).parents[1] / path, old, new))
    from secagg.tools.runner.cases import Verdict
    from tests.holding import hold

    with TemporaryDirectory() as folder:
        [judged] = asyncio.run(hold(Path(folder), [number]))
    sys.stdout.write(f"{judged.verdict.value}: {judged.text}\n")
    return NOTICED if judged.verdict is Verdict.FAILED else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
