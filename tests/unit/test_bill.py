"""The bill of materials of a release: every package has a hash and a licence that lets everybody pass it on."""

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "deploy/release/bill.py"
BILL = runpy.run_path(str(PROGRAM))
BillError = cast("type[Exception]", BILL["BillError"])
completed = cast("Callable[[dict[str, Any], str], tuple[dict[str, Any], list[str]]]", BILL["completed"])

LOCK = f"""# made by a tool
some-package==1.2.3 ; python_version > '3' \\
    --hash=sha256:{"a" * 64} \\
    --hash=sha256:{"b" * 64}
    # via other
other==2.0 \\
    --hash=sha256:{"c" * 64}
"""


def component(name: str = "Some.Package", version: str = "1.2.3", licence: str | None = "MIT") -> dict[str, Any]:
    licences = [] if licence is None else [{"license": {"name": licence}}]
    return {"name": name, "version": version, "licenses": licences}


def test_each_package_gets_the_hashes_of_the_lock_and_a_line() -> None:
    bill, lines = completed(
        {"components": [component(), component("other", "2.0", "Apache-2.0 OR GPL-3.0-only")]}, LOCK
    )
    first, second = bill["components"]
    assert [each["value"] for each in first["properties"]] == ["a" * 64, "b" * 64]
    assert [each["value"] for each in second["properties"]] == ["c" * 64]
    assert first["licenses"] == [{"license": {"id": "MIT"}}]
    assert second["licenses"] == [{"expression": "Apache-2.0 OR GPL-3.0-only"}]
    assert [line.split() for line in lines] == [
        ["other", "2.0", "Apache-2.0", "OR", "GPL-3.0-only"],
        ["Some.Package", "1.2.3", "MIT"],
    ]


@pytest.mark.parametrize(
    ("licence", "named"),
    [
        ("GPL-3.0-only", "GPL-3.0-only"),
        ("MIT AND GPL-3.0-only", "GPL-3.0-only"),
        ("License :: OSI Approved :: GNU General Public License v3 (GPLv3)", "GPLv3"),
        (None, "names no licence"),
    ],
)
def test_a_licence_that_is_not_allowed_or_not_told_is_refused(licence: str | None, named: str) -> None:
    with pytest.raises(BillError, match=named):
        completed({"components": [component(licence=licence)]}, LOCK)


@pytest.mark.parametrize("other", [component(version="1.2.4"), component("unknown")])
def test_a_package_that_the_lock_does_not_have_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(BillError, match="no hash for"):
        completed({"components": [other]}, LOCK)


def test_our_own_wheel_needs_no_lock() -> None:
    assert completed({"components": [component("secagg", "0.1.0", "Apache-2.0")]}, "")[1]


def test_where_a_file_lay_is_left_out() -> None:
    references = [
        {"type": "distribution", "url": "file:///home/x/secagg.whl"},
        {"type": "other", "url": "https://x.org"},
    ]
    bill, _ = completed({"components": [component() | {"externalReferences": references}]}, LOCK)
    assert bill["components"][0]["externalReferences"] == references[1:]


def test_the_program_ends_with_1_and_one_line(tmp_path: Path) -> None:
    bill, lock = tmp_path / "bill.json", tmp_path / "x.lock"
    bill.write_text(json.dumps({"components": [component(licence="SSPL-1.0")]}))
    lock.write_text(LOCK)
    done = subprocess.run([sys.executable, PROGRAM, bill, lock], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: Some.Package has the licence SSPL-1.0, which is not one of:")
    assert done.stderr.count("\n") == 1
