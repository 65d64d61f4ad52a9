"""The synchronous clients are made of the asynchronous ones: nobody edits them, and nothing of asyncio is left."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SPEC = importlib.util.spec_from_file_location("derive_sync", ROOT / "client" / "derive_sync.py")
assert SPEC is not None
assert SPEC.loader is not None
derive_sync = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(derive_sync)

NAMES = sorted(path.name for path in derive_sync.ASYNCHRONOUS.glob("*.py"))


def test_both_folders_have_the_same_files() -> None:
    assert {"client.py", "connection.py", "control.py"} < set(NAMES)
    assert sorted(path.name for path in derive_sync.SYNCHRONOUS.glob("*.py")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_is_what_make_sync_writes(name: str) -> None:
    assert (derive_sync.SYNCHRONOUS / name).read_text() == derive_sync.derived(name)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_asyncio_is_left(name: str) -> None:
    text = (derive_sync.SYNCHRONOUS / name).read_text()
    assert not re.findall(r"\b(?:async|await|asyncio|Async\w+|aclosing|__a\w+__|event loop)\b", text.partition("\n")[2])
