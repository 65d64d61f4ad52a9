"""The benchmark of uploads: each end is held against the end of plain gRPC that does the same work."""

import pytest

from secagg.tools.bench.report import Figure, Section
from secagg.tools.bench.upload import Spent, UploadSetting, _sections, measure

PLAIN = {
    name: Figure(name, seconds)
    for name, seconds in (("plain_grpc_receiver_cpu_s", 1.0), ("plain_grpc_sender_cpu_s", 0.4))
}


def found(spent: Spent) -> dict[str, tuple[float, bool]]:
    """The ratios, and whether each is as small as it should be."""
    figures = [figure for section in _sections(spent, PLAIN) for figure in section.figures]
    return {f.name: (f.value, f.target.met_by(f.value)) for f in figures if f.target is not None}


def test_who_receives_is_held_against_who_receives_and_who_sends_against_who_sends() -> None:
    assert found(Spent(coordinator_up=1.5, participant_up=1.0, coordinator_down=0.6, exact=True)) == {
        "coordinator_to_plain_ratio": (1.5, True),
        "participant_to_plain_ratio": (2.5, True),
        "down_to_plain_ratio": (pytest.approx(1.5), True),
    }
    slow = found(Spent(coordinator_up=2.1, participant_up=1.7, coordinator_down=0.9, exact=True))
    assert not any(met for _, met in slow.values())


def test_a_small_round_has_every_figure_and_the_right_sum() -> None:
    said: list[str] = []
    report = measure(UploadSetting(values=2000, repeats=1), said.append)
    assert report.exact
    sections: dict[str, Section] = {section.name: section for section in report.sections}
    assert set(sections) == {"upload", "download", "limits"}
    assert all(figure.value > 0 for figure in sections["limits"].figures)
    assert all(figure.value >= 0 for figure in report.figures())  # so small a round may be over between two looks at it
    assert said.count("the round") == 1  # the one before is not counted
