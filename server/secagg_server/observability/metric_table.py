"""Every metric of the status port: its name, its kind, its labels, and what it counts.

The page of the documentation on metrics is written from these tables. Tests compare them with what the port shows. No
label has a value that a peer chooses: names of participants, addresses and round ids never are labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]

LABELS: Final[Mapping[str, str]] = {
    "cause": "why the coordinator closed a connection, in capitals",
    "certificate": "`server` for the coordinator's own, `ca` for the CA that expires first, `gateway` for one that a "
    "gateway has of its own",
    "error": "class of the error that the caller was told; *Causes and cures* has them all",
    "kind": "`dealt` or `revealed`",
    "method": "name of the call",
    "outcome": "of a round: `sum` or `failed`; of a call: `ANSWERED`, `REFUSED`, `BROKEN` or `HUNG_UP` (by its caller)",
    "phase": "name of the phase",
    "place": "`round` or `call`",
    "plane": "`data` for participants, `gateway` for those of them that call over HTTPS, `control` for the FL server",
    "reason": "why a round failed, in capitals, and `NONE` for one with a sum; or why a participant dropped out",
    "scheme": "`masked`, `ckks` or `bfv`",
    "state": "`silent` before the first call of a connection, at the gateway the first token; `speaking` after it",
    "task": "name of the task; at most 100 of them are shown, those that have spent most of their budget",
    "verdict": "`HEARSAY`, `PROVEN` or `UNFOUNDED`",
    "version": "version of secagg",
}
"""What each label says. A name means the same in every metric."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        kind: of Prometheus.
        help: what it counts, with its unit.
        labels: names, in `LABELS`.
        buckets: upper bounds of a histogram, in the unit of its name.
    """

    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = field(default=(), repr=False)


_SECONDS: Final = (0.3, 1.0, 3.0, 10.0, 30.0, 120.0, 600.0, 3600.0)

ROUNDS: Final[Mapping[str, Metric]] = {
    "secagg_rounds_opened_total": Metric(
        "counter", "Rounds that the FL server opened. A round in groups counts once.", ("scheme",)
    ),
    "secagg_rounds_resumed_total": Metric(
        "counter", "Rounds under way that were taken up again after a restart. Each group of a round in groups counts."
    ),
    "secagg_rounds_lost_total": Metric(
        "counter", "Rounds that were kept and could not be taken up again after a restart. Each group counts."
    ),
    "secagg_rounds_total": Metric(
        "counter", "Rounds that ended. A round in groups counts once.", ("scheme", "outcome", "reason")
    ),
    "secagg_groups_total": Metric("counter", "Groups of rounds in groups that ended.", ("outcome", "reason")),
    "secagg_open_rounds": Metric("gauge", "Rounds under way. Each group of a round in groups counts."),
    "secagg_max_open_rounds": Metric("gauge", "The setting max_open_rounds: so many rounds can be under way."),
    "secagg_round_duration_seconds": Metric(
        "histogram", "From the opening of a round to its end. A round in groups counts once.", ("outcome",), _SECONDS
    ),
    "secagg_phase_duration_seconds": Metric(
        "histogram", "From the opening of a phase to its end, of rounds and of groups.", ("phase",), _SECONDS
    ),
    "secagg_mask_values_removed_total": Metric(
        "counter",
        "Work of long unmaskings, in mask values: one for each mask and coordinate, 65,536 for each key of a mask.",
    ),
    "secagg_last_round_timestamp_seconds": Metric(
        "gauge",
        "When a round last ended so, in seconds since 1970; 0 if none did since the start.",
        ("outcome",),
    ),
    "secagg_broken_total": Metric(
        "counter", "Errors of the coordinator itself, by where they happened. The log has each.", ("place",)
    ),
}

PARTICIPANTS: Final[Mapping[str, Metric]] = {
    "secagg_participants_joined_total": Metric(
        "counter", "Participants on the list of members when the phase of keys closed, summed over rounds."
    ),
    "secagg_participants_survived_total": Metric(
        "counter", "Participants whose updates are in a sum, summed over rounds."
    ),
    "secagg_dropouts_total": Metric(
        "counter", "Participants that dropped out, by the phase in which they were missing.", ("phase", "reason")
    ),
    "secagg_wrong_shares_total": Metric(
        "counter", "Participants proven to have dealt or revealed wrong shares.", ("kind",)
    ),
    "secagg_accusations_total": Metric(
        "counter", "Participants that left and blamed another one, by what the coordinator can tell.", ("verdict",)
    ),
    "secagg_group_anomalies_total": Metric("counter", "Groups whose mean was far longer than the others'."),
}

CALLS: Final[Mapping[str, Metric]] = {
    "secagg_calls_total": Metric("counter", "Calls that ended.", ("plane", "method", "outcome")),
    "secagg_refusals_total": Metric("counter", "Calls that ended with an error, by its class.", ("plane", "error")),
    "secagg_received_bytes_total": Metric(
        "counter", "Bytes of messages that calls brought, without what gRPC and TLS add.", ("plane", "method")
    ),
    "secagg_sent_bytes_total": Metric(
        "counter", "Bytes of messages that answered calls, without what gRPC and TLS add.", ("plane", "method")
    ),
    "secagg_calls_under_way": Metric("gauge", "Calls under way.", ("plane",)),
    "secagg_max_calls": Metric("gauge", "So many calls of participants can be under way: the setting max_calls."),
    "secagg_connections": Metric("gauge", "Connections on the data plane.", ("state",)),
    "secagg_max_connections": Metric(
        "gauge", "So many connections fit on the data plane, which follows from the limit of open files."
    ),
    "secagg_gateway_connections": Metric("gauge", "Connections of the gateway.", ("state",)),
    "secagg_max_gateway_connections": Metric(
        "gauge", "So many connections fit on the gateway: the setting gateway_connections; 0 without a gateway."
    ),
    "secagg_ingress_workers": Metric("gauge", "Ingress workers that are there."),
    "secagg_connections_closed_total": Metric(
        "counter",
        "Connections of participants that the coordinator closed, or that ended without a call.",
        ("cause",),
    ),
}

CERTIFICATES: Final[Mapping[str, Metric]] = {
    "secagg_certificate_expiry_timestamp_seconds": Metric(
        "gauge", "When the certificate expires, in seconds since 1970.", ("certificate",)
    ),
}

LEDGERS: Final[Mapping[str, Metric]] = {
    "secagg_ledger_epsilon": Metric(
        "gauge", "ε that the task has spent at the δ of its budget; planned rounds count in full.", ("task",)
    ),
    "secagg_ledger_epsilon_budget": Metric("gauge", "ε that the task may spend.", ("task",)),
    "secagg_ledger_tasks": Metric("gauge", "Tasks with a privacy ledger, shown or not."),
}

PROCESS: Final[Mapping[str, Metric]] = {
    "secagg_build_info": Metric("gauge", "Always 1.", ("version",)),
    "secagg_ready": Metric(
        "gauge",
        "1 while both planes serve; 0 while the coordinator starts or shuts down, or while a worker does not reach it.",
    ),
    "process_cpu_seconds_total": Metric("counter", "Total user and system CPU time spent in seconds."),
    "process_resident_memory_bytes": Metric("gauge", "Resident memory size in bytes."),
    "process_virtual_memory_bytes": Metric("gauge", "Virtual memory size in bytes."),
    "process_start_time_seconds": Metric("gauge", "Start time of the process since unix epoch in seconds."),
    "process_open_fds": Metric("gauge", "Number of open file descriptors."),
    "process_max_fds": Metric("gauge", "Maximum number of open file descriptors."),
}
"""Those that begin with `process_` are the usual ones of Prometheus, and Linux alone has them."""

SECTIONS: Final[Mapping[str, Mapping[str, Metric]]] = {
    "Rounds": ROUNDS,
    "Participants": PARTICIPANTS,
    "Calls and connections": CALLS,
    "Certificates": CERTIFICATES,
    "Privacy ledgers": LEDGERS,
    "The process": PROCESS,
}
"""The metrics by name, below the headings of their page."""

METRICS: Final[Mapping[str, Metric]] = {name: row for rows in SECTIONS.values() for name, row in rows.items()}
"""All of them."""

OF_WORKERS: Final = frozenset({*CALLS, *CERTIFICATES, *PROCESS, "secagg_broken_total"}) - {
    "secagg_ingress_workers",
    "secagg_gateway_connections",
    "secagg_max_gateway_connections",
}
"""Those that ingress workers show, too, on ports of their own. What concerns rounds is counted by the coordinator."""
