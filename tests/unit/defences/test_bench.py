"""The benchmark of defences at a toy size: it measures what it says."""

from secagg.tools.bench.privacy import ERROR_BITS, SIGMAS, measure


def test_every_figure_is_there() -> None:
    report = measure(5000, 1)
    assert report.exact
    names = {figure.name for figure in report.figures()}
    for law in ("gaussian", "skellam"):
        steps = ("clip_norm", "rotation", "accept_rounding", "noise", "encode", "masks", "everything")
        assert {f"{law}_{step}_s" for step in steps} <= names
        assert {f"{law}_sigma_{sigma}_m_per_s" for sigma in SIGMAS} <= names
        assert {f"{law}_{bits}_bit_error_ratio" for bits in ERROR_BITS} <= names
    assert all(figure.value >= 0 for figure in report.figures())
    ratios = [figure.value for figure in report.figures() if figure.name.endswith("16_bit_error_ratio")]
    assert all(0.95 < ratio < 1.05 for ratio in ratios)
