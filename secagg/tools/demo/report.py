"""The demo's report: one self-contained HTML page."""

from functools import partial
from statistics import fmean
from typing import Final

from secagg.tools.charts.origin import Origin
from secagg.tools.charts.page import page
from secagg.tools.charts.png import data_uri, sheet
from secagg.tools.demo import charts
from secagg.tools.demo.results import DemoResult, PlayedRound

_COLUMNS: Final = 8

_DROPOUTS: Final = """
A participant that drops out, at any moment, even half-way through its upload or after it.
Another round's messages, another model or another configuration: nothing fits together, nothing opens.
"""

PROTECTED: Final = {
    "masked": """
A participant's update and its weight: the coordinator and up to {colluding} participants that help it learn the sum \
and nothing more.
"""
    + _DROPOUTS
    + """
Wrong key shares: corrected and their sender named, or the round fails by name. Never a wrong sum.
""",
    "encrypted": """
A participant's update and its weight, from the coordinator: it adds up ciphertexts that it has no key for.
"""
    + _DROPOUTS
    + """
A sum on which fewer than {threshold} participants agree: the round fails by name.
""",
}

PROTECTED_IF_ACTIVE: Final = """
A coordinator that lies: keys are signed under a CA that it does not control, and the survivors agree on who survived \
before anything is unmasked.
"""

UNPROTECTED: Final = {
    "masked": """
A coordinator that more than {colluding} participants help.
""",
    "encrypted": """
A coordinator that a single participant helps: everyone holds the round's key, and can open every update with it.
""",
    "shared": """
A coordinator that {threshold} or more participants help: together they can put the round's key together.
Anything that nobody has reviewed: a key shared among the participants is experimental. Key shares and partial \
decryptions are not proven correct, and ciphertexts are malleable.
""",
}

UNPROTECTED_ALWAYS: Final = """
The sum itself. With few participants, or over many rounds, a mean says something about its members; distributed \
differential privacy is the answer to that.
Who takes part, when, and how large the model is.
A participant that sends a poisoned update within the clip.
A malicious model handed to everybody alike, built to make updates telling.
"""

UNPROTECTED_IF_SEMI_HONEST: Final = """
A coordinator that departs from the protocol: this run trusted it to follow the rules. Use the active threat model \
where it may not.
"""


def render(findings: DemoResult) -> str:
    """The page that shows what the demo found."""
    active = findings.threat_model == "active"
    shared = findings.scheme.endswith("-threshold")
    protected_by = "masked" if findings.scheme == "masked" else "encrypted"
    opens = "shared" if shared else protected_by
    return page(
        "demo/report.html.j2",
        title="secagg demo",
        heading="The server learned the sum, and no update",
        sheet="demo/report.css",
        charts=charts,
        findings=findings,
        view=findings.view,
        verdict="every aggregate within its bound, a dropout in every phase" if findings.ok else "SOMETHING IS WRONG",
        lead=_lead(findings),
        tiles=_tiles(findings),
        picture=lambda pictures: data_uri(sheet(pictures, _COLUMNS)),
        mean_traffic=mean_traffic,
        traffic_of=partial(_traffic_of, findings),
        protected_by=protected_by,
        protected=_lines(PROTECTED[protected_by] + (PROTECTED_IF_ACTIVE if active else ""), findings),
        unprotected=_lines(
            UNPROTECTED_ALWAYS + UNPROTECTED[opens] + ("" if active else UNPROTECTED_IF_SEMI_HONEST), findings
        ),
        made=_origin(findings),
    )


def mean_traffic(played: PlayedRound) -> tuple[float, float]:
    """Bytes up and down of a participant that stayed to the end of the round, on average."""
    stayed = [(t.up, t.down) for t in played.traffic.values() if t.down is not None]
    return fmean(up for up, _ in stayed), fmean(down for _, down in stayed)


def _lead(findings: DemoResult) -> str:
    active = findings.threat_model == "active"
    coordinator = "may lie" if active else "is trusted to follow the protocol, and reads everything"
    return (
        f"{len(findings.sites)} sites trained a small neural network on scikit-learn's digits over "
        f"{len(findings.rounds)} federated rounds. Each site is a process with its own images and its own identity; "
        f"they spoke to one sidecar over TLS 1.3 on loopback. No sum comes out with fewer than {findings.threshold} "
        f"sites, and the coordinator {coordinator}."
    )


def _tiles(findings: DemoResult) -> list[tuple[str, str]]:
    last = findings.rounds[-1]
    worst = max(played.largest_difference / played.error_bound for played in findings.rounds)
    dropped = [d for played in findings.rounds for d in played.dropped]
    up, _ = mean_traffic(last)
    return [
        (f"{last.accuracy_secure:.1%}", f"test accuracy, and {last.accuracy_plain:.1%} in plain text"),
        (f"{worst:.0%}", "of the rounding bound is the largest difference"),
        (
            str(len(dropped)),
            f"dropouts in {len({d.phase for d in dropped})} phases, {sum(d.in_sum for d in dropped)} in the sum",
        ),
        (f"{up:,.0f}", f"bytes up for an update of {findings.plain_bytes:,} bytes"),
        (f"{findings.seconds:.0f} s", "for everything, start of the processes included"),
    ]


def _traffic_of(findings: DemoResult, name: str) -> tuple[str, ...]:
    """One participant over all rounds that it stayed in, on average, against plain float32 both ways."""
    stayed = [t for played in findings.rounds if (t := played.traffic[name]).down is not None]
    if not stayed:
        return ("0", "-", "-", "-")
    up, down = fmean(t.up for t in stayed), fmean(t.down or 0 for t in stayed)
    return (f"{len(stayed)}", f"{up:,.0f}", f"{down:,.0f}", f"{up / findings.plain_bytes:.2f} ×")


def _lines(text: str, findings: DemoResult) -> list[str]:
    told = text.format(colluding=findings.max_colluding, threshold=findings.threshold)
    return [line for line in told.splitlines() if line]


def _origin(findings: DemoResult) -> Origin:
    configuration = (
        f"secagg demo: scheme {findings.scheme}, {findings.threat_model} coordinator, {len(findings.sites)} sites, "
        f"{len(findings.rounds)} rounds, threshold {findings.threshold}, {findings.value_bits} bits a value summed in "
        f"{findings.ring_bits}, seed {findings.seed}"
    )
    return Origin.now(configuration, "numpy", "cryptography", "grpcio", "scikit-learn", "tenseal")
