"""The demo's report: one self-contained HTML page."""

from html import escape
from importlib.resources import files
from statistics import fmean
from string import Template
from typing import Final

from secagg.tools.charts.origin import Origin
from secagg.tools.charts.png import data_uri, sheet
from secagg.tools.demo import charts
from secagg.tools.demo.findings import Findings, PlayedRound, SchemeRound, Statistics

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

SCHEMES: Final = """
What the sites would send next, summed once in each scheme while everyone stays. Values lie on the grid of the \
fixed-point code, so nothing is rounded and only the scheme differs. Masked rounds can stand against a coordinator \
that lies; ckks and bfv encrypt, under a key that the participants hold, for a coordinator that follows the protocol. \
A ciphertext has room for 4,096 values (ckks) or 8,192 (bfv): a model as small as this one pays for room that it does \
not use, a large one does not.
"""

COUNTED: Final = """
The last round summed no model but a histogram: each of {survivors} sites counted its images by digit, and the counts \
were added up as whole numbers, exactly, in {seconds:.2f} seconds. Nobody saw the counts of a single site. The frames \
are what the sites really have together.
"""

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


def render(findings: Findings) -> str:
    """The page."""
    template = Template(files("secagg.tools.demo").joinpath("report.html").read_text(encoding="utf-8"))
    view, last = findings.view, findings.rounds[-1]
    active = findings.threat_model == "active"
    shared = findings.scheme.endswith("-threshold")
    protected_by = "masked" if findings.scheme == "masked" else "encrypted"
    opens = "shared" if shared else protected_by
    return template.substitute(
        verdict="every aggregate within its bound, a dropout in every phase" if findings.ok else "SOMETHING IS WRONG",
        verdict_style="good" if findings.ok else "bad",
        lead=escape(_lead(findings)),
        tiles="".join(_tile(number, label) for number, label in _tiles(findings)),
        test_examples=findings.test_examples,
        values=f"{findings.values:,}",
        accuracy_chart=charts.accuracy_chart(findings),
        difference_chart=charts.difference_chart(findings.rounds),
        dropout_grid=charts.dropout_grid(findings),
        phases=", ".join(findings.phases),
        participant=view.participant,
        view_round=view.round,
        view_survivors=len(last.survivors),
        true_sheet=data_uri(sheet(view.true_pictures, _COLUMNS)),
        seen_sheet=data_uri(sheet(view.seen_pictures, _COLUMNS)),
        mean_sheet=data_uri(sheet(view.mean_pictures, _COLUMNS)),
        plain_histogram=charts.byte_histogram(view.plain.histogram, "true", "Bytes of the encoded update"),
        seen_histogram=charts.byte_histogram(view.sent.histogram, "seen", "Bytes that went up"),
        statistics=_statistics("encoded, unprotected", view.plain)
        + _statistics("as the coordinator got it", view.sent),
        head_hex=view.head_hex,
        rows="".join(map(_row, findings.rounds)),
        plain_bytes=f"{findings.plain_bytes:,}",
        side_by_side=_side_by_side(findings),
        counted=_counted(findings),
        deadline_s=f"{findings.deadline_s:g}",
        protected_by=protected_by,
        label_chart=charts.label_chart(findings.sites),
        byte_rows="".join(_byte_row(name, findings) for name in findings.sites),
        protected=_items(PROTECTED[protected_by] + (PROTECTED_IF_ACTIVE if active else ""), findings),
        unprotected=_items(
            UNPROTECTED_ALWAYS + UNPROTECTED[opens] + ("" if active else UNPROTECTED_IF_SEMI_HONEST), findings
        ),
        footer=_footer(findings),
    )


def mean_traffic(played: PlayedRound) -> tuple[float, float]:
    """Bytes up and down of a participant that stayed to the end of the round, on average."""
    stayed = [(t.up, t.down) for t in played.traffic.values() if t.down is not None]
    return fmean(up for up, _ in stayed), fmean(down for _, down in stayed)


def _lead(findings: Findings) -> str:
    active = findings.threat_model == "active"
    coordinator = "may lie" if active else "is trusted to follow the protocol, and reads everything"
    return (
        f"{len(findings.sites)} sites trained a small neural network on scikit-learn's digits over "
        f"{len(findings.rounds)} federated rounds. Each site is a process with its own images and its own identity; "
        f"they spoke to one sidecar over TLS 1.3 on loopback. No sum comes out with fewer than {findings.threshold} "
        f"sites, and the coordinator {coordinator}."
    )


def _tiles(findings: Findings) -> list[tuple[str, str]]:
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


def _tile(number: str, label: str) -> str:
    return f'<div class="tile"><b>{escape(number)}</b><span>{escape(label)}</span></div>'


def _statistics(name: str, found: Statistics) -> str:
    p = f"p = {found.chi_square_p:.2f}" if found.chi_square_p >= 0.001 else "p < 0.001"
    return (
        f'<tr><td>{escape(name)}</td><td class="n">{found.bytes:,}</td><td class="n">{found.entropy_bits:.3f} bits</td>'
        f'<td class="n">{escape(p)}</td><td class="n">{found.correlation:+.3f}</td></tr>'
    )


def _row(played: PlayedRound) -> str:
    drops = "<br>".join(
        escape(f"{d.participant}: {d.phase}, {d.moment}{', in the sum' if d.in_sum else ''}") for d in played.dropped
    )
    up, down = mean_traffic(played)
    cells = (
        f"{len(played.survivors)}",
        f"{played.accuracy_secure:.1%} / {played.accuracy_plain:.1%}",
        f"{played.largest_difference:.2e}",
        f"{played.error_bound:.2e}",
        f"{up:,.0f}",
        f"{down:,.0f}",
        f"{played.seconds:.1f}",
    )
    return f"<tr><td>{played.number}</td><td>{drops}</td>" + "".join(f'<td class="n">{c}</td>' for c in cells) + "</tr>"


def _byte_row(name: str, findings: Findings) -> str:
    """One participant over all rounds that it stayed in, on average, against plain float32 both ways."""
    stayed = [t for played in findings.rounds if (t := played.traffic[name]).down is not None]
    if not stayed:
        return (
            f'<tr><td>{name}</td><td class="n">0</td><td class="n">-</td><td class="n">-</td><td class="n">-</td></tr>'
        )
    up, down = fmean(t.up for t in stayed), fmean(t.down or 0 for t in stayed)
    numbers = (f"{len(stayed)}", f"{up:,.0f}", f"{down:,.0f}", f"{up / findings.plain_bytes:.2f} ×")
    return f"<tr><td>{name}</td>" + "".join(f'<td class="n">{number}</td>' for number in numbers) + "</tr>"


def _side_by_side(findings: Findings) -> str:
    """A section, if the demo compared schemes."""
    if not findings.side_by_side:
        return ""
    verdict = "the same aggregate, bit for bit" if findings.same_aggregate else "THE AGGREGATES DIFFER"
    heads = '<th>Scheme</th><th>Coordinator</th><th class="n">In the sum</th><th class="n">Seconds</th>'
    heads += '<th class="far">Sum, SHA-256</th>'
    rows = "".join(map(_scheme_row, findings.side_by_side))
    chart = charts.scheme_chart(findings.side_by_side, findings.plain_bytes)
    return (
        f'<section class="card"><h2>The same updates in each scheme: {verdict}</h2><p class="note">{SCHEMES}</p>'
        f'<div class="two"><div>{chart}</div><div><table><tr>{heads}</tr>{rows}</table></div></div></section>'
    )


def _counted(findings: Findings) -> str:
    """A section, once the last round was played."""
    counted = findings.counted
    if counted is None:
        return ""
    verdict = "exact" if counted.exact else "THE COUNTS ARE WRONG"
    note = COUNTED.format(survivors=counted.survivors, seconds=counted.seconds)
    return (
        f'<section class="card"><h2>How many images of each digit there are: {verdict}</h2><div class="two">'
        f'<div>{charts.count_chart(counted)}</div><div><p class="note">{note}</p></div></div></section>'
    )


def _scheme_row(played: SchemeRound) -> str:
    digest = f"<code>{played.sums_sha256[:16]}</code>" if played.exact else "not exact"
    numbers = (f"{played.survivors}", f"{played.seconds:.2f}")
    cells = "".join(f'<td class="n">{number}</td>' for number in numbers)
    coordinator = escape(played.threat_model.replace("_", "-"))
    return f'<tr><td>{escape(played.scheme)}</td><td>{coordinator}</td>{cells}<td class="far">{digest}</td></tr>'


def _items(lines: str, findings: Findings) -> str:
    told = lines.format(colluding=findings.max_colluding, threshold=findings.threshold).splitlines()
    return "".join(f"<li>{escape(line)}</li>" for line in told if line)


def _footer(findings: Findings) -> str:
    configuration = (
        f"secagg demo: scheme {findings.scheme}, {findings.threat_model} coordinator, {len(findings.sites)} sites, "
        f"{len(findings.rounds)} rounds, threshold {findings.threshold}, {findings.value_bits} bits a value summed in "
        f"{findings.ring_bits}, seed {findings.seed}"
    )
    origin = Origin.now(configuration, "numpy", "cryptography", "grpcio", "scikit-learn", "tenseal")
    return (
        f"{origin.html}<p>Optical recognition of handwritten digits: E. Alpaydin and C. Kaynak, UCI Machine Learning "
        "Repository, 1998, as shipped with scikit-learn.</p>"
    )
