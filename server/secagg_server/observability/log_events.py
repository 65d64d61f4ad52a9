"""Every line that the coordinator can log: its level, its fields, what it means, and what its reader does about it.

The page of the documentation on log events is written from these tables. A test compares them with each call that logs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Level = Literal["debug", "info", "warning", "error"]

COMMON: Final[Mapping[str, str]] = {
    "event": "name of the event",
    "level": "`debug`, `info`, `warning` or `error`",
    "timestamp": "UTC, ISO 8601",
}
"""Fields of every line."""

OF_ROUND: Final = ("round_id", "task")
"""Fields that every line about a round has besides its own."""

UNLOGGED: Final = "unlogged"
"""The field of a line that counts those of its kind that were left out since the one before; without it, none were."""

LOST: Final = "lost"
"""The field of a line that counts those before it that nobody read in time; without it, none were lost."""

FIELDS: Final[Mapping[str, str]] = {
    "accused": "ids of participants that others blame; this is hearsay. In the event `accused`: id of the one",
    "accuser": "id of the participant that blames the other",
    "address": "where the connection comes from, as IP address and port",
    "at": "when it expires, or when it was done; UTC, ISO 8601",
    "category": "class of the warning",
    "change": "what to change",
    "combine": "how the groups' sums are combined, as text of the configuration",
    "conflicts": "pairs of owner and holder with a wrong share, as far as they were looked for",
    "connections": "how many connections fit under the limit of open files",
    "control_plane": "address that the FL server uses",
    "count": "how many",
    "culprit": "id of the participant whose fault is proven",
    "culprits": "ids of participants whose fault is proven",
    "data_plane": "address that participants use",
    "detail": "the error's message, or the words of whoever wrote it",
    "done": "mask values removed so far; a key counts as 65,536",
    "door": "name of one life of an ingress worker, 32 hex digits",
    "error": "class of the error",
    "exception": "traceback, without the values of variables",
    "expected": "number of participants that may deliver in the phase",
    "expiries": "pairs of what expires and when (UTC, ISO 8601)",
    "fact": "kind of what had happened",
    "fingerprint": "SHA-256 of the certificate, hex",
    "first": "the first five of these names",
    "gateway": "address that browsers and phones use; null without a gateway",
    "group": "number of the group",
    "groups": "ids of the groups; in `groups_combined`, the numbers of those that have a sum",
    "head": "number and digest of the ledger's latest entry, as `ledger verify --head` takes it; in `audit_checkpoint` "
    "those of the audit log's last checkpoint",
    "hours": "until it expires; negative once it has",
    "link": "address that ingress workers use",
    "listens": "address of an ingress worker that participants use",
    "logger": "name of the library's logger",
    "lost": "how many lines before this one were lost, because whoever reads the log had stopped to read it",
    "made": "when the backup was made; UTC, ISO 8601",
    "method": "name of the call",
    "norm": "length of the mean of the group; infinite if its sum cannot be decoded",
    "open_files": "the limit of open files that is in force",
    "organisation": "the certificate's organisation",
    "participant": "id of the participant, empty while it is not known",
    "path": "path of the request, one of those that the status port answers",
    "phase": "name of the phase",
    "proven": "whether the fault is certain",
    "reason": "name of the reason",
    "round_id": "id of the round, 32 hex digits",
    "severity": "how bad its author takes it: `info`, `warning`, `error` or `fatal`",
    "signal": "name of the signal",
    "source": "file and line",
    "status": "address of the status port; null without one",
    "survivors": "number of participants whose updates are in the sum",
    "task": "name of the task",
    "total": "mask values to remove in all",
    "typical": "median length of the groups' means",
    UNLOGGED: "lines of the same kind that were left out since the one before",
    "verdict": "`HEARSAY`, `PROVEN` or `UNFOUNDED`",
    "version": "version of secagg",
    "what": "the server certificate or a CA, by name",
    "where": "`main`, a thread, or what the interpreter was doing",
}
"""What each field holds. A name means the same in every event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEvent:
    """One event of the log.

    Attributes:
        level: the level that it is logged at.
        meaning: what happened.
        to_do: what an operator does about it; empty if nothing.
        fields: names of its own fields, in `FIELDS`; those of `COMMON` come on top.
        of_round: whether it has the fields of `OF_ROUND`, too.
        throttled: whether it is logged at most once a second of a kind, with `UNLOGGED`. Peers choose how often such
            an event happens.
    """

    level: Level
    meaning: str
    to_do: str = ""
    fields: tuple[str, ...] = ()
    of_round: bool = False
    throttled: bool = False


PROCESS: Final[Mapping[str, LogEvent]] = {
    "ready": LogEvent(
        level="info",
        meaning="Both planes serve. It is logged at every `log_level`.",
        fields=("data_plane", "control_plane", "status", "link", "gateway", "connections", "version"),
    ),
    "door_opened": LogEvent(
        level="info",
        meaning="An ingress worker is there. `door` names this life of it; when it starts anew, that is another door.",
        fields=("door", "listens"),
    ),
    "door_lost": LogEvent(
        level="warning",
        meaning="An ingress worker is gone, or does not answer. Participants whose inputs it held go on at another "
        "door, or count as dropped.",
        to_do="If it happens while nobody stops workers, look at the worker's log, its memory and its network.",
        fields=("door", "listens"),
    ),
    "door_disagrees": LogEvent(
        level="error",
        meaning="An ingress worker handed in something else than it was asked for, and counts as lost; or it cannot "
        "make a piece of unmasking, which the coordinator makes then.",
        to_do="If `detail` names an extra, install it where the worker runs. Else report it, with both logs: it is an "
        "error of secagg, or somebody else has the coordinator's key.",
        fields=("door", "detail"),
    ),
    "head_attended": LogEvent(
        level="info",
        meaning="This ingress worker reached the coordinator, and takes calls of participants from now on.",
        fields=("door",),
    ),
    "head_lost": LogEvent(
        level="warning",
        meaning="This ingress worker lost the coordinator. It has forgotten all inputs that it held, and tries again.",
        to_do="If it lasts, see whether the coordinator runs, and whether its `link` can be reached from here.",
        fields=("door",),
    ),
    "few_open_files": LogEvent(
        level="warning",
        meaning="The limit of open files leaves room for fewer than 1,000 connections.",
        to_do="Raise the hard limit: `LimitNOFILE=` of systemd, `--ulimit nofile=` of docker.",
        fields=("open_files", "connections", "change"),
    ),
    "state_restored": LogEvent(
        level="warning",
        meaning="The coordinator started with a state that was restored from a backup. What was released and spent "
        "since the backup was made is not in it. The event comes once for each restore.",
        to_do="Open no round about a model about which one was opened between `made` and `at`.",
        fields=("at", "made"),
    ),
    "state_migrated": LogEvent(
        level="info",
        meaning="The coordinator started with a state that `secagg-server migrate` had brought to the form of a newer "
        "release. The event comes once for each migration.",
        fields=("at", "version"),
    ),
    "state_in_memory": LogEvent(
        level="warning",
        meaning="The coordinator started without `state_dir`. A restart ends open rounds, and forgets finished sums "
        "and which sums are out.",
        to_do="Set `state_dir`, unless this is a trial.",
    ),
    "status_broken": LogEvent(
        level="error",
        meaning="The coordinator itself failed in an answer of the status port. Rounds go on.",
        to_do="This is a bug: report it with the traceback.",
        fields=("path", "exception"),
        throttled=True,
    ),
    "fact_not_observed": LogEvent(
        level="error",
        meaning="The coordinator itself failed when it counted or logged what had happened. Rounds go on.",
        to_do="This is a bug: report it with the traceback.",
        fields=("fact", "exception"),
        throttled=True,
    ),
    "stopping": LogEvent(
        level="info",
        meaning="A signal asked the sidecar to stop. Open rounds are aborted, and participants are told why.",
        fields=("signal",),
    ),
    "stopped": LogEvent(level="info", meaning="Nothing is served any more."),
    "failed": LogEvent(
        level="error",
        meaning="The sidecar could not start, or had to end. Standard error has the same as one line.",
        to_do="Do what `detail` says.",
        fields=("error", "detail"),
    ),
    "last_words": LogEvent(
        level="error",
        meaning="The process died, and left this line: the last that grpc or the interpreter wrote to standard error, "
        "or a line of the traceback that belongs to a fatal signal. A process of its own logs it, in JSON and at every "
        "`log_level`.",
        to_do="This is a bug: report it with all of these lines.",
        fields=("detail",),
    ),
    "audit_checkpoint": LogEvent(
        level="info",
        meaning="The coordinator signed how far its audit log goes. Whoever keeps this line elsewhere can hold the log "
        "against it: `secagg audit verify --head`.",
        fields=("head",),
    ),
    "audit_not_written": LogEvent(
        level="error",
        meaning="The audit log could not be written, while no round waited for it. It is tried again.",
        to_do="Make room on the disk of `state_dir`. Until then no round is opened, and none ends with a sum.",
        fields=("detail",),
    ),
}

OTHERS: Final[Mapping[str, LogEvent]] = {
    "grpc_message": LogEvent(
        level="warning",
        meaning="A warning or an error of grpc's C core. Where `GRPC_VERBOSITY` is set, everything that it asks for.",
        to_do="Read `detail`. Most of these are about single connections, and nothing has to be done.",
        fields=("severity", "source", "address", "detail"),
        throttled=True,
    ),
    "library_message": LogEvent(
        level="warning",
        meaning="A warning or an error that a Python library, such as asyncio, uvicorn or OpenTelemetry, logged.",
        to_do="With the logger `asyncio` it is a bug: report it with the traceback.",
        fields=("logger", "severity", "detail", "exception"),
        throttled=True,
    ),
    "python_warning": LogEvent(
        level="warning",
        meaning="Python or a library warns, most often of something that a later version no longer has.",
        fields=("category", "source", "detail"),
        throttled=True,
    ),
    "stderr_line": LogEvent(
        level="warning",
        meaning="Something else was written to standard error.",
        fields=("detail",),
        throttled=True,
    ),
    "uncaught_exception": LogEvent(
        level="error",
        meaning="An exception that nobody caught. It ends the process where `where` is `main`, and a thread where it "
        "names one.",
        to_do="This is a bug: report it with the traceback.",
        fields=("where", "exception"),
        throttled=True,
    ),
}

CREDENTIALS: Final[Mapping[str, LogEvent]] = {
    "credentials_renewed": LogEvent(
        level="info",
        meaning="The files of certificate, key, CA, revocation or deny list changed, and the new ones are in force.",
        fields=("expiries",),
    ),
    "credentials_kept": LogEvent(
        level="error",
        meaning="The files of certificate, key, CA, revocation or deny list changed, but something is wrong with the "
        "new ones. What was in force before stays in force.",
        to_do="Do what `detail` says. The files are read again when they change, and on SIGHUP.",
        fields=("detail",),
    ),
    "expires_soon": LogEvent(
        level="warning",
        meaning="The server certificate, the gateway's own or a CA expires, or the next revocation list of a CA is "
        "due, within 14 days, a day or an hour. Each is told once.",
        to_do="Renew it, and replace the file. The sidecar needs no restart.",
        fields=("what", "at", "hours"),
    ),
    "expired": LogEvent(
        level="error",
        meaning="The server certificate, the gateway's own or a CA has expired: TLS handshakes that depend on it "
        "fail. Or the next revocation list of a CA did not come: the last one stays in force, and the sidecar would "
        "not start with it.",
        to_do="Renew it now.",
        fields=("what", "at", "hours"),
    ),
}

CONNECTIONS: Final[Mapping[str, LogEvent]] = {
    "identity_seen": LogEvent(
        level="info",
        meaning="A certificate made its first call since the sidecar started.",
        to_do="Compare it with who is enrolled, if the name surprises you.",
        fields=("participant", "organisation", "fingerprint"),
    ),
    "call_refused": LogEvent(
        level="info",
        meaning="A call ended with an error, which the caller was told.",
        to_do="If it lasts, look up the class of the error in *Causes and cures*.",
        fields=("method", "participant", "address", "error", "detail"),
        throttled=True,
    ),
    "internal_error": LogEvent(
        level="error",
        meaning="The coordinator itself failed in one call. Rounds go on.",
        to_do="This is a bug: report it with the traceback.",
        fields=("method", "exception"),
    ),
    "tls_refused": LogEvent(
        level="info",
        meaning="A TLS handshake failed. The reason is `no certificate`, `unknown CA`, `certificate expired`, "
        "`certificate not yet valid`, `no participant's certificate`, `TLS older than 1.3`, `hung up` (as a "
        "participant does that does not trust the sidecar's certificate), `not finished` (in 5 seconds, or when the "
        "sidecar ended), `no HTTP/2`, `not TLS` or `other`. `detail` "
        "has the words of grpc.",
        to_do="If it is a participant's address, mend what the reason names. Anybody can cause this event.",
        fields=("address", "reason", "detail"),
        throttled=True,
    ),
    "connection_without_call": LogEvent(
        level="info",
        meaning="The coordinator ended a connection before any call, and grpc did not say why.",
        to_do="If a participant cannot connect, compare its certificate and CA with the sidecar's.",
        fields=("address",),
        throttled=True,
    ),
    "quarantined": LogEvent(
        level="warning",
        meaning="A participant's fault was proven in `quarantine_after` rounds. It is kept out of all rounds.",
        to_do="Find out what is wrong with it (`secagg quarantine list`). Then let it in again with "
        "`secagg quarantine release`, or put it on the deny list.",
        fields=("participant", "count", "detail"),
    ),
    "strikes_forgiven": LogEvent(
        level="info",
        meaning="An operator forgave a participant its strikes, so that it may take part again.",
        fields=("participant", "count"),
    ),
    "participants_expelled": LogEvent(
        level="warning",
        meaning="The deny list, a revocation list or the CA changed, and participants that called lately may not take "
        "part any more. They were excluded from open rounds, and their connections are closed. `first` has five of "
        "their names.",
        to_do="If a name surprises you, look at the files that `crl` and `denied` name.",
        fields=("count", "first"),
    ),
    "refused_connection_closed": LogEvent(
        level="info",
        meaning="A connection of a participant was closed, because it may not take part any more.",
        fields=("participant", "address"),
        throttled=True,
    ),
    "silent_connection_closed": LogEvent(
        level="info",
        meaning="A connection made no call in time, or there was no place left and it was the oldest without a call.",
        to_do="If it lasts, look at who opens connections, or raise the limit of open files.",
        fields=("address",),
        throttled=True,
    ),
    "connection_closed_for_another": LogEvent(
        level="warning",
        meaning="There was no place left, and every connection had made calls. The participant with most connections "
        "lost its oldest.",
        to_do="Raise the limit of open files, or lower `max_connections_per_participant`.",
        fields=("participant",),
        throttled=True,
    ),
    "too_many_connections": LogEvent(
        level="warning",
        meaning="A participant had more than `max_connections_per_participant` connections, so its oldest was closed.",
        to_do="Look for a second process with the same certificate.",
        fields=("participant", "address"),
        throttled=True,
    ),
    "connection_not_accepted": LogEvent(
        level="warning",
        meaning="The system refused a new connection, most often because no file was left. The sidecar tries again.",
        to_do="Raise the limit of open files.",
        fields=("detail",),
        throttled=True,
    ),
}

ROUNDS: Final[Mapping[str, LogEvent]] = {
    "phase_started": LogEvent(
        level="info", meaning="A phase opened, or its deadline moved.", fields=("phase", "expected"), of_round=True
    ),
    "message_accepted": LogEvent(
        level="debug",
        meaning="A participant delivered what the phase asks for.",
        fields=("phase", "participant"),
        of_round=True,
    ),
    "participant_dropped": LogEvent(
        level="info",
        meaning="A participant did not deliver, and takes no further part in the round.",
        to_do="If `DEADLINE` comes again and again, lengthen the deadline of that phase, or look at the participant.",
        fields=("phase", "participant", "reason"),
        of_round=True,
    ),
    "wrong_shares": LogEvent(
        level="warning",
        meaning="A participant dealt or revealed wrong shares. This is proof. A sum that comes out all the same is "
        "right.",
        to_do="Find out what is wrong with the culprit, or expel it.",
        fields=("culprit", "conflicts", "proven"),
        of_round=True,
    ),
    "accused": LogEvent(
        level="warning",
        meaning="A participant left, and blames another one.",
        to_do="Expel the accused for the verdict `PROVEN` only. For `UNFOUNDED`, look at the accuser.",
        fields=("accused", "accuser", "verdict", "proven"),
        of_round=True,
    ),
    "masks_removed": LogEvent(
        level="info",
        meaning="A long unmasking goes on: so much of the work is done, in mask values. It is told at each twentieth.",
        fields=("done", "total"),
        of_round=True,
    ),
    "sum_ready": LogEvent(
        level="info", meaning="The round ended with an exact sum.", fields=("survivors",), of_round=True
    ),
    "sum_delivered": LogEvent(
        level="info",
        meaning="The round ended with a sum that participants decrypted. The coordinator does not know it.",
        fields=("survivors",),
        of_round=True,
    ),
    "round_failed": LogEvent(
        level="warning",
        meaning="The round ended without a sum, and nothing was released.",
        to_do="Look up the reason in *Causes and cures*.",
        fields=("reason", "detail", "culprits", "accused"),
        of_round=True,
    ),
    "round_broken": LogEvent(
        level="error",
        meaning="The coordinator itself failed in a step of the round. The round is over, others go on.",
        to_do="If the disk is full, make room. Anything else is a bug: report it with the traceback.",
        fields=("exception",),
        of_round=True,
    ),
    "round_resumed": LogEvent(
        level="info",
        meaning="The coordinator started, and goes on with a round that it had kept. The phase that was open follows "
        "in a line of its own, with its time anew.",
        of_round=True,
    ),
    "groups_resumed": LogEvent(
        level="info",
        meaning="The coordinator started, and goes on with a round in groups that it had kept. Its groups have lines "
        "of their own.",
        of_round=True,
    ),
    "round_lost": LogEvent(
        level="error",
        meaning="The coordinator started, and cannot go on with a round that it had kept. The round failed; others go "
        "on.",
        to_do="The detail says what is damaged. If it is not a round that failed on a full disk before, look after the "
        "disk. Tell the FL server to open the round again.",
        fields=("round_id", "detail"),
    ),
    "groups_opened": LogEvent(
        level="info", meaning="A round in groups was opened.", fields=("combine", "groups"), of_round=True
    ),
    "groups_combined": LogEvent(
        level="info",
        meaning="A round in groups ended, and the sums of these groups can be fetched.",
        fields=("groups", "survivors"),
        of_round=True,
    ),
    "group_anomaly": LogEvent(
        level="warning",
        meaning="A group's mean is far longer than the others'. Somebody in the group may have sent poison.",
        to_do="Compare the groups that stand out over many rounds.",
        fields=("group", "norm", "typical"),
        of_round=True,
    ),
    "round_forgotten": LogEvent(
        level="debug", meaning="A finished round is no longer remembered.", fields=("round_id",)
    ),
}

LEDGERS: Final[Mapping[str, LogEvent]] = {
    "ledger_head": LogEvent(
        level="info",
        meaning="An entry was added to the privacy ledger of a task.",
        to_do="Keep these lines on another machine: they show whether a ledger was rolled back.",
        fields=("task", "head"),
    ),
    "ledger_in_memory": LogEvent(
        level="warning",
        meaning="A round with noise was opened, and neither `state_dir` nor `ledger_dir` is set. A restart forgets "
        "what was spent.",
        to_do="Set `state_dir`.",
        fields=("task", "detail"),
    ),
    "ledger_damaged": LogEvent(
        level="warning",
        meaning="A privacy ledger that was found at the start is damaged. Rounds with noise of its task are refused.",
        to_do="Compare it with a copy: `secagg ledger verify` says what is wrong.",
        fields=("task", "detail"),
    ),
    "ledger_not_withdrawn": LogEvent(
        level="warning",
        meaning="A round released nothing, but its ledger could not be written. So the round stays charged.",
        to_do="Make the folder writable, or make room on the disk.",
        fields=("task", "round_id", "detail"),
    ),
}

SECTIONS: Final[Mapping[str, Mapping[str, LogEvent]]] = {
    "The process": PROCESS,
    "What others write": OTHERS,
    "Certificates": CREDENTIALS,
    "Connections and calls": CONNECTIONS,
    "Rounds": ROUNDS,
    "Privacy ledgers": LEDGERS,
}
"""The events by name, below the headings of their page."""
