"""Fixtures of the tests of Flower."""

from pathlib import Path
from typing import Any

import pytest

from tests.frameworks.flower.issued_files import NODES, issued


@pytest.fixture
def node_configs(tmp_path: Path) -> dict[int, dict[str, Any]]:
    """Of nodes with identities and a folder for marks, by node id."""
    for name, data in issued().items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o600)
    return {
        node: {
            "secagg-certificate": str(tmp_path / f"{node}.cert.pem"),
            "secagg-key": str(tmp_path / f"{node}.key.pem"),
            "secagg-ca": str(tmp_path / "ca.pem"),
            "secagg-marks": str(tmp_path / f"marks-{node}"),
        }
        for node in NODES
    }
