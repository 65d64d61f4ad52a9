"""The FLARE job of the documentation runs in FLARE's simulator, and learns what the plain job learns."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import Code

EXAMPLES = Path(__file__).parents[3] / "docs/examples/nvflare"


def accuracy(folder: str, place: Path) -> float:
    shutil.copytree(EXAMPLES / folder, place / folder)
    environment = {**os.environ, "NVFLARE_SIMULATOR_WORKSPACE_ROOT": str(place / f"workspace-{folder}")}
    done = subprocess.run(
        [sys.executable, "job.py"], cwd=place / folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return float(done.stdout.split("accuracy ")[-1])


@pytest.mark.runs("docs/frameworks.md", "sh", "cd docs/examples/nvflare")
def test_digits(tmp_path: Path, page: Code) -> None:
    assert page.take("cd docs/examples/nvflare") == "cd docs/examples/nvflare/secure\npython job.py\n"
    plain = accuracy("plain", tmp_path)
    assert plain > 0.7
    assert abs(accuracy("secure", tmp_path) - plain) <= 0.02  # 6 of 297 images
