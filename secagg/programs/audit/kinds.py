"""What there is to be written into an audit log: each kind of entry with its meaning and its facts.

The reference of kinds is written from these tables, and a test holds the entries of a running coordinator against them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of entry.

    Attributes:
        meaning: what was decided or happened.
        facts: names of its facts, in `FACTS`; those of a round come on top where `of_round` says so.
        optional: those of them that an entry may lack.
        of_round: whether it has `round` and `step`.
        bounded: where others choose how often it happens, how many are written at most; empty elsewhere.
    """

    meaning: str
    facts: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    of_round: bool = False
    bounded: str = ""


OF_ROUND: Final = ("round", "step")
"""Facts of every entry about a round."""

_ONCE_FOR_EACH: Final = "one for each participant and round, until the round is forgotten"
_A_FEW: Final = "8 of a participant in a round, of both kinds together"
_THROTTLED: Final = "one an hour of each caller and error, 100 an hour of each kind"

FACTS: Final[Mapping[str, str]] = {
    "accused": "ids of participants that others blame; this is hearsay. In the kind `accused`: id of the one",
    "accuser": "id of the participant that blames the other",
    "address": "network that the connection came from",
    "again": "whether it had joined this round before, with another process",
    "bytes": "how many bytes were cut off",
    "ca": "SHA-256 over the CA certificates in force, with the label `secagg/v1/trust-anchors`, hexadecimal",
    "certificate": "SHA-256 of the coordinator's own certificate (DER), hexadecimal",
    "certificates": "the coordinator's certificates (DER) in base64, its own first",
    "check": "the check of PROTOCOL.md that found it",
    "combine": "how the groups' sums are combined",
    "config": "what the round's configuration says, readable",
    "config_digest": "SHA-256 of the configuration's bytes, hexadecimal",
    "conflicts": "pairs of owner and holder with a wrong share, at most 100",
    "cost": "what the round cost of the task's privacy budget: `epsilon` spent by the task after it, and the `head` of "
    "its ledger; nothing without noise",
    "culprit": "id of the participant whose fault is proven",
    "culprits": "ids of participants whose fault is proven",
    "dealt": "whether the culprit dealt wrong shares; otherwise it revealed another share than it was dealt",
    "detail": "the error's message, or the words of whoever asked",
    "digest": "SHA-256 of what was cut off, hexadecimal",
    "error": "class of the error",
    "evidence": "digest of the entry that the accuser refused, as it received it, hexadecimal; empty if it sent none",
    "expected": "number of participants that may deliver in the phase",
    "fingerprint": "SHA-256 of the participant's certificate (DER), hexadecimal; empty if it is not known",
    "groups": "ids of the groups; in `groups_combined`, the numbers of those whose sums are in the result",
    "known_to": "who gets the sum: `coordinator`, `participants`",
    "known": "whether somebody may know the sum all the same, because its participants were asked for what opens it",
    "method": "name of the call",
    "model": "digest of the model, hexadecimal",
    "noise": "whether the updates carry noise for differential privacy, or the coordinator adds it",
    "open_rounds": "ids of rounds that were open then, and go on after the next start",
    "organisation": "the certificate's organisation; empty if it is not known",
    "parent": "id of the round in groups that this is a group of",
    "participant": "id of the participant",
    "participants": "ids of the participants",
    "phase": "name of the phase",
    "purpose": "what participants compute for the model",
    "reason": "name of the reason",
    "receipt": "SHA-256 of what the coordinator's receipt signs, hexadecimal",
    "refused": "ids of participants that may take part no longer, by the CA or the lists in force now",
    "release": "version of secagg",
    "round": "id of the round, or of the group, 32 hexadecimal digits",
    "scheme": "`masked`, `ckks` or `bfv`",
    "settings": "settings of the coordinator, without paths and addresses",
    "signature": "ECDSA P-256 over the entry without this fact, DER in base64",
    "source": "the backup that was restored: when it was made, milliseconds since 1970",
    "step": "the entry of the round's journal that it follows from: 0 is the opening",
    "strikes": "rounds in which the participant's fault was proven",
    "sums_digest": "SHA-256 over the packed sum, hexadecimal",
    "survivors": "ids of the participants whose updates are in the sum, sorted; in `groups_combined`, their number",
    "task": "name of the task",
    "unlogged": "how many like it were left out since the last one that was written",
    "verdict": "`HEARSAY`, `PROVEN` or `UNFOUNDED`",
    "who": "`the FL server`, or the id of the participant",
}
"""What each fact holds. A name means the same in every kind."""

LOG: Final[Mapping[str, Kind]] = {
    "log_began": Kind("A log begins: there was none in the folder."),
    "checkpoint": Kind(
        "The coordinator signed how far the log goes: after 256 other entries, 5 minutes after an entry, and when it "
        "stops.",
        ("certificates", "signature"),
    ),
    "tail_cut": Kind(
        "A crash or a power cut had left a line that was not whole. It was cut off; nobody had been told what it said.",
        ("bytes", "digest"),
    ),
    "left_out": Kind("More entries were noted than are kept until others are written.", ("unlogged",)),
}

COORDINATOR: Final[Mapping[str, Kind]] = {
    "coordinator_started": Kind("The coordinator started.", ("release", "certificate", "ca", "settings")),
    "coordinator_stopped": Kind("It stopped in order.", ("open_rounds",)),
    "certificates_changed": Kind(
        "It read a new certificate, another CA of participants, or other lists of who is refused.",
        ("certificate", "ca", "refused"),
    ),
    "restored": Kind("An operator restored the state from a backup.", ("source",)),
    "migrated": Kind("The state was brought to the form of this release.", ("release",)),
}

PEOPLE: Final[Mapping[str, Kind]] = {
    "identity_seen": Kind(
        "A participant called with a certificate for the first time.",
        ("participant", "organisation", "fingerprint"),
        bounded="one for each certificate that the CA issued",
    ),
    "quarantined": Kind(
        "A participant is kept out of rounds, because its fault was proven in so many of them.",
        ("participant", "strikes"),
        bounded="one for each participant, until it is forgiven",
    ),
    "strikes_forgiven": Kind(
        "An operator forgave a participant its strikes: it may take part again.", ("participant", "strikes")
    ),
    "call_refused": Kind(
        "A call was refused.",
        ("method", "participant", "address", "error", "detail"),
        ("unlogged",),
        bounded=_THROTTLED,
    ),
    "connection_refused": Kind(
        "A connection was not kept: its certificate was refused, or it was one too many.",
        ("participant", "address", "reason", "detail"),
        ("unlogged",),
        bounded=_THROTTLED,
    ),
}

ROUNDS: Final[Mapping[str, Kind]] = {
    "round_opened": Kind(
        "The FL server opened a round, or a round in groups this group.",
        ("task", "model", "purpose", "scheme", "config", "config_digest"),
        ("parent",),
        of_round=True,
    ),
    "groups_opened": Kind("The FL server opened a round in groups.", ("task", "combine", "groups"), of_round=True),
    "expected": Kind("The FL server said who will come.", ("participants",), of_round=True),
    "excluded": Kind("The FL server said who is gone, so nobody waits for them.", ("participants",), of_round=True),
    "abort_asked": Kind("The round was ended from outside.", ("reason", "detail"), of_round=True),
    "resumed": Kind(
        "The coordinator had stopped, and went on with the round. The open phase got its time anew.", of_round=True
    ),
    "joined": Kind(
        "A participant's keys were accepted.",
        ("participant", "organisation", "fingerprint", "again"),
        of_round=True,
        bounded=_A_FEW,
    ),
    "phase_opened": Kind(
        "A phase opened, or the first one was given another deadline or other participants.",
        ("phase", "expected"),
        of_round=True,
    ),
    "dropped": Kind(
        "A participant takes no further part.", ("participant", "phase", "reason"), of_round=True, bounded=_A_FEW
    ),
    "blamed": Kind(
        "A participant is proven to have dealt or revealed wrong shares, by the digests that came with them.",
        ("culprit", "dealt", "check", "conflicts"),
        of_round=True,
    ),
    "accused": Kind(
        "A participant left because it refused what another one had sent to it.",
        ("accused", "accuser", "verdict", "check", "evidence"),
        of_round=True,
    ),
    "sum_released": Kind(
        "The round ended with a sum.",
        (
            "task",
            "model",
            "purpose",
            "noise",
            "survivors",
            "sums_digest",
            "receipt",
            "known_to",
            "cost",
        ),
        of_round=True,
    ),
    "round_failed": Kind(
        "The round ended without a sum. Where somebody may know the sum all the same, the entry says of whom it is.",
        ("reason", "detail", "culprits", "accused", "known"),
        ("task", "model", "purpose", "noise", "survivors", "cost"),
        of_round=True,
    ),
    "groups_combined": Kind(
        "A round in groups ended with one result of the groups' sums.", ("groups", "survivors"), of_round=True
    ),
    "sum_given": Kind(
        "Somebody was given the sum, from this moment on; whether all of it arrived is not known here.",
        ("round", "who"),
        bounded=_ONCE_FOR_EACH,
    ),
}

SECTIONS: Final[Mapping[str, Mapping[str, Kind]]] = {
    "The log itself": LOG,
    "The coordinator": COORDINATOR,
    "Connections and calls": PEOPLE,
    "Rounds": ROUNDS,
}
"""The kinds by name, below the headings of their page."""

KINDS: Final[Mapping[str, Kind]] = {name: kind for section in SECTIONS.values() for name, kind in section.items()}
