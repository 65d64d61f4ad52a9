"""What `secagg participate` hands to its client."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import secagg_client
from typer.testing import CliRunner

from secagg.cli.main import build


class StandIn:
    """Takes what the command gives, and ends it there."""

    given: dict[str, Any]

    @classmethod
    def from_files(cls, _server: str, **given: Any) -> Any:
        cls.given = given
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ((), "there/secagg-memory"),
        (("--memory", "elsewhere"), "elsewhere"),
        (("--no-memory",), None),
    ],
)
def test_what_is_remembered_is_kept_beside_the_identity(
    options: tuple[str, ...], kept: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secagg_client, "Client", StandIn)
    monkeypatch.chdir(tmp_path)
    np.savez("u.npz", values=np.zeros(3, np.float32))
    CliRunner().invoke(
        build(["participate"]),
        ["participate", "host:1", "--update", "u.npz", "--certificate", "there/cert.pem", *options],
    )
    assert StandIn.given["memory"] == (None if kept is None else Path(kept))


def test_a_file_and_none_contradict_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("u.npz", values=np.zeros(3, np.float32))
    ran = CliRunner().invoke(
        build(["participate"]), ["participate", "host:1", "--update", "u.npz", "--memory", "m", "--no-memory"]
    )
    assert ran.exit_code
    assert "leave one of them out" in str(ran.exception) + ran.output
