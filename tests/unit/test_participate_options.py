"""What `secagg participate` hands to its client."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import secagg_client
from typer.testing import CliRunner

from secagg.cli.main import build
from secagg.cli.participate import _certified
from secagg.config import ThreatModel
from secagg.policy import Policy
from secagg.sparse.ring import Ring
from tests.rounds import make_config


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


def policy_of(*options: str) -> Policy:
    """What the command demands with these options."""
    np.savez("u.npz", values=np.zeros(3, np.float32))
    CliRunner().invoke(build(["participate"]), ["participate", "host:1", "--update", "u.npz", *options])
    policy = StandIn.given["policy"]
    assert isinstance(policy, Policy)
    return policy


def test_a_participants_demands_reach_its_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secagg_client, "Client", StandIn)
    monkeypatch.chdir(tmp_path)
    assert policy_of() == Policy()
    assert policy_of("--max-epsilon", "1.5", "--delta", "1e-6") == Policy(max_epsilon=1.5, delta=1e-6)
    assert policy_of("--min-noise", "4") == Policy(min_noise_multiplier=4.0)
    people = ("--min-cohort", "5", "--min-honest", "4", "--min-organisations", "2", "--min-colluding-share", "0.1")
    assert policy_of(*people) == Policy(min_cohort=5, min_honest=4, min_organisations=2, min_colluding_share=0.1)
    assert policy_of("--allow-semi-honest", "--allow-experimental") == Policy(
        threat_models=frozenset(ThreatModel), allow_experimental=True
    )


def test_a_file_and_none_contradict_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("u.npz", values=np.zeros(3, np.float32))
    ran = CliRunner().invoke(
        build(["participate"]), ["participate", "host:1", "--update", "u.npz", "--memory", "m", "--no-memory"]
    )
    assert ran.exit_code
    assert "leave one of them out" in str(ran.exception) + ran.output


def test_on_a_ring_it_says_how_many_of_the_committee_signed() -> None:
    ring = Ring(degree=6, neighbour_threshold=6, committee=5, committee_threshold=4, min_participants=8)
    config = make_config(10, threshold=7, max_colluding=0, certify=True, graph=ring)
    told: Any = SimpleNamespace(config=config, certified=True, groups=None)
    assert _certified(told) == "certified: at least 4 survivors signed this result"
