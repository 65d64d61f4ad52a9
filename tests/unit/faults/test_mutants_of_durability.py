"""Flaws that lose data: each can be planted, and the simulator's histories show it."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from secagg.errors import ConfigError
from secagg.tools.faults.checker.laws import Law
from secagg.tools.faults.flaws import CUTS, FLAWS, Flaw
from secagg.tools.faults.mutants import Hunt, chosen, flawed, hunt_all


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.name)
def test_a_flaw_can_be_planted(flaw: Flaw) -> None:
    found = find_spec(flaw.module)
    assert found is not None
    assert found.origin is not None
    source = Path(found.origin).read_text()
    changed = flawed(source, flaw)
    assert changed != source
    compile(changed, found.origin, "exec")


def test_there_are_enough_of_them() -> None:
    assert len({flaw.name for flaw in FLAWS}) == len(FLAWS) >= 20
    assert chosen([]) == list(FLAWS)
    assert chosen([FLAWS[3].name]) == [FLAWS[3]]
    with pytest.raises(ConfigError, match="no flaw 'none'"):
        chosen(["none"])


def test_the_page_has_each_flaw_in_its_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "faults.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \| +(\d+) \| (.+?) \|$", page, re.MULTILINE)
    assert [(name, what, int(after)) for name, what, after, _ in rows] == [(f.name, f.what, f.seed + 1) for f in FLAWS]
    assert {law for *_, law in rows} <= {law.value for law in Law}
    assert f"{len(FLAWS)} of {len(FLAWS)} flaws are found" in page


def test_a_piece_that_is_not_there_once_is_no_flaw() -> None:
    flaw = Flaw("name", "what", "module", "piece", "other", CUTS)
    assert flawed("a piece of it", flaw) == "a other of it"
    for source in ("nothing", "piece and piece"):
        with pytest.raises(ValueError, match="does not have this piece once"):
            flawed(source, flaw)


PLANTED = """
from secagg.tools.faults.flaws import CUTS, Flaw
from secagg.tools.faults.mutants import _plant
flaw = Flaw("name", "what", "secagg.programs.folders", "os.fsync(descriptor)", "raise OSError('planted')", CUTS)
_plant(flaw)
from pathlib import Path
from secagg.programs.disk import REAL_DISK
try:
    REAL_DISK.flush_folder(Path("/"))
except OSError as error:
    print(error)
try:
    _plant(flaw)
except ImportError as error:
    print(error)
"""


def test_a_flaw_is_planted_while_its_module_is_loaded_and_not_later() -> None:
    ran = subprocess.run([sys.executable, "-c", PLANTED], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        "planted",
        "secagg.programs.folders was loaded before its flaw was planted",
    ]


HARMLESS = Flaw(
    "harmless", "nothing", "secagg_server.storage.sqlite.database", '"foreign_keys = ON"', '"foreign_keys = 1"', CUTS
)


def test_a_flaw_is_found_and_a_harmless_change_is_not() -> None:
    """The twin: what finds the flaw is that it is there."""
    [flaw] = chosen(["key-not-flushed"])
    seen: list[Hunt] = []
    hunts = hunt_all([flaw, HARMLESS], flaw.seed, 1, 2, seen.append)
    assert [hunt.seed for hunt in hunts] == [flaw.seed, None]
    assert hunts[0].law
    assert sorted(hunt.flaw for hunt in seen) == sorted(hunt.flaw for hunt in hunts)
