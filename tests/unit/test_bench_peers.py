"""`secagg bench peers` without any peer: turns, and what is said of one that is absent."""

from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from secagg.errors import ConfigError
from secagg.tools.bench.lines import Beside
from secagg.tools.bench.peers import measure as peers
from secagg.tools.bench.peers.measure import PEERS, Peer, PeersSetting, measure
from secagg.tools.bench.peers.works import Side, Work, timed
from secagg.tools.commands.bench import app

HERE = Peer("Somebody", ("json",), "nothing", lambda _: iter([work([], iter([9.0, 4.0, 8.0]), iter([9.0, 2.0, 1.0]))]))
ABSENT = Peer("Nobody", ("a_module_that_nobody_has",), "install nobody", lambda _: iter([]))


def work(order: list[str], theirs: Iterator[float], ours: Iterator[float]) -> Work:
    def run(name: str, seconds: Iterator[float]) -> float:
        order.append(name)
        return next(seconds)

    return Work(
        name="a work",
        size="small",
        peer="Somebody 1",
        theirs=Side(run=lambda: run("theirs", theirs), sent_bytes=8),
        ours={"a way": Side(run=lambda: run("ours", ours), sent_bytes=2, at_least=3.0, note="less")},
    )


def test_both_sides_take_turns_and_the_first_is_not_counted() -> None:
    order: list[str] = []
    (found,) = work(order, iter([100.0, 4.0, 8.0, 6.0]), iter([1.0, 2.0, 1.0, 2.0])).measured(3)
    assert order == ["theirs", "ours"] * 4
    assert found == Beside(
        work="a work",
        size="small",
        peer="Somebody 1",
        ours="a way",
        ours_cpu_s=2.0,
        peer_cpu_s=6.0,
        ratio=3.0,  # the median of 2, 8 and 3
        ours_bytes=2,
        peer_bytes=8,
        at_least=3.0,
        note="less",
    )


def test_what_takes_time_is_timed() -> None:
    assert timed(lambda: sum(range(200_000)))() > 0


def test_a_peer_that_is_absent_is_told_where_another_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "PEERS", {"here": HERE, "absent": ABSENT})
    told: list[str] = []
    seen: list[str] = []
    found = list(measure(PeersSetting(repeats=2), "it", lambda _done, _of, words: seen.append(words), told.append))
    assert told == ["Nobody is not installed here: install nobody"]
    assert seen == ["Somebody: a work"]
    assert [line.kind for line in found] == ["run", "beside", "busy"]


@pytest.mark.parametrize(
    ("known", "asked"), [({"here": HERE, "absent": ABSENT}, ("here", "absent")), ({"absent": ABSENT}, ())]
)
def test_a_peer_that_was_asked_for_must_be_there(
    known: dict[str, Peer], asked: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "PEERS", known)
    with pytest.raises(ConfigError, match="Nobody is not installed here: install nobody, or run this in the env"):
        list(measure(PeersSetting(peers=asked), "it"))


def test_the_command_names_the_peers() -> None:
    assert set(PEERS) == {"flower", "nvflare"}
    assert CliRunner().invoke(app, ["peers", "--peer", "somebody"]).exit_code == 2
