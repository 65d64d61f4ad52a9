"""Entries of a journal in columns: the same values come back, no secret shows, and no changed column is believed."""

from dataclasses import fields, replace
from typing import Any

import pytest
from secagg_server.storage.records import (
    Aborted,
    Assigned,
    Certified,
    DeadlinePassed,
    DoorLost,
    Entry,
    Excluded,
    Expected,
    InputHeld,
    Received,
    Rejoined,
    Resumed,
    SeedReceived,
    UploadCompleted,
    WrongShareRefused,
)
from secagg_server.storage.sqlite import entries as journal_entries
from secagg_server.storage.sqlite.entries import Columns, decode_entry, encode_entry
from secagg_server.storage.sqlite.seals import RoundSeal

from secagg.context import RoundId
from secagg.crypto import labels
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.errors import AbortReason, AuthenticationError, StoreError
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyProof,
    Index,
    KeyConfirmation,
    Leave,
    LeaveReason,
    ParticipantId,
    ParticipantMessage,
    Phase,
    RecoverSeeds,
    RecoveryCheck,
    SumReport,
    Unmask,
)
from secagg.rounds.doors import Door
from tests.properties.decoders import messages

ROUND = RoundId(bytes(range(16)))
SITE, OTHER = ParticipantId("site-1"), ParticipantId("site-2")
NAMES = frozenset({SITE, OTHER})
SEAL = RoundSeal(Secret(b"k" * 32), ROUND, SeededRng(bytes(32)))


def sent() -> list[ParticipantMessage]:
    """Every kind of message that a journal holds."""
    kinds = {codec.value for codec in journal_entries._CODECS.values()}
    others = (
        Leave(LeaveReason.REFUSED, OTHER, bytes(range(32))),
        KeyConfirmation(bytes(32), b"signature"),
        SumReport(bytes(32), b"signature"),
        RecoveryCheck(b"signature"),
        RecoverSeeds({Index(2): Secret(bytes(33))}),
    )
    return [*(message for kind, found in messages().items() if kind in kinds for message in found[:2]), *others]


KEYS = next(message for message in sent() if isinstance(message, AdvertiseKeys))
ENTRIES: list[Entry] = [
    *(Received(1.25 + number, SITE, message) for number, message in enumerate(sent())),
    UploadCompleted(2.5, SITE, Phase.MASKED_INPUT),
    SeedReceived(3.0, SITE, b"s" * 16),
    InputHeld(3.5, SITE, Door(b"d" * 16)),
    DoorLost(4.0, Door(b"d" * 16)),
    DeadlinePassed(1e9 + 1 / 3),
    Rejoined(5.0, SITE, KEYS),
    Expected(6.0, NAMES),
    Excluded(7.0, frozenset()),
    Aborted(8.0, AbortReason.CANCELLED, "the server gave up: ‘ü’"),
    Resumed(9.0),
    WrongShareRefused(9.5, SITE, OTHER),
    Assigned(10.0, SITE, 1000),
    Certified(11.0, ConsistencyProof({Index(1): b"signature", Index(7): b"another"})),
]


IN_SPOOL = {"MaskedInputChunk", "EncryptedInputChunk", "PartialChunk", "SumChunk"}


def test_every_kind_of_entry_is_here() -> None:
    assert {type(entry) for entry in ENTRIES} == set(Entry.__args__)
    assert {type(message).__name__ for message in sent()} | IN_SPOOL == set(journal_entries._CODECS)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    assert decode_entry(7, encode_entry(7, entry, SEAL), SEAL) == entry


def test_no_secret_shows() -> None:
    unmask = next(message for message in sent() if isinstance(message, Unmask))
    kept = encode_entry(0, Received(1.0, SITE, unmask), SEAL)
    for share in unmask.shares.values():
        assert share.share.expose() not in kept.body
    with pytest.raises(StoreError, match="entry 0 of the journal was changed"):
        decode_entry(0, kept, replace(SEAL, key=Secret(b"K" * 32)))  # what a thief without the key can do


def test_the_same_entry_is_sealed_under_another_key_each_time() -> None:
    """A crash throws entries away, and others get their numbers: no key and nonce may seal both."""
    one, two = (encode_entry(0, DeadlinePassed(1.0), SEAL) for _ in range(2))
    assert one.body[:16] != two.body[:16]


def changed(kept: Columns) -> list[Columns]:
    others: dict[str, Any] = {"kind": "DeadlinePassed", "time_s": 1.5, "sender": OTHER, "what": "Unmask"}
    flipped = [bytes([*kept.body[:at], kept.body[at] ^ 1, *kept.body[at + 1 :]]) for at in range(0, len(kept.body), 9)]
    columns = [replace(kept, **{name: value}) for name, value in others.items()]
    assert len(columns) + 1 == len(fields(Columns))
    return [*columns, *(replace(kept, body=body) for body in (*flipped, b"", kept.body[:-1], kept.body + b"x"))]


def test_whatever_the_disk_changes_in_a_row_is_found() -> None:
    kept = encode_entry(3, Received(1.0, SITE, KEYS), SEAL)
    for wrong in changed(kept):
        with pytest.raises(StoreError, match="entry 3 of the journal was changed on the disk"):
            decode_entry(3, wrong, SEAL)
    for number, seal in ((4, SEAL), (3, replace(SEAL, round_id=RoundId(bytes(16))))):
        with pytest.raises(StoreError, match="was changed on the disk"):  # a row of another place, or of another round
            decode_entry(number, kept, seal)


WRONG: dict[str, Columns] = {
    "its kind is": Columns("Gone", 1.0, "", "", b""),
    "no participant id": Columns("UploadCompleted", 1.0, "", "MASKED_INPUT", b""),
    "no number": Columns("DeadlinePassed", float("inf"), "", "", b""),
    "cut off": Columns("Expected", 1.0, "", "", b"\0\0\0\x05site"),
    "a seed of 15": Columns("SeedReceived", 1.0, SITE, "", b"s" * 15),
    "only keys": Columns("Rejoined", 1.0, SITE, "Leave", b"\0\0\0\x02\x08\x01"),
    "'Gone'": Columns("Received", 1.0, SITE, "Gone", b""),
    "'GONE'": Columns("Aborted", 1.0, "", "GONE", b""),
    "not enough values": Columns("Received", 1.0, SITE, "Leave", b""),
    "as we would write it": Columns("DeadlinePassed", 1.0, "", "", b"more"),
}


@pytest.mark.parametrize("told", WRONG)
def test_what_no_release_of_ours_wrote_is_refused_even_under_a_seal(told: str) -> None:
    wrong = WRONG[told]
    fixed = journal_entries._fixed(0, wrong.kind, wrong.time_s, wrong.sender, wrong.what)
    sealed = replace(wrong, body=SEAL.seal(labels.JOURNAL_ENTRY, wrong.body, *fixed))
    with pytest.raises(StoreError, match=f"entry 0 of the journal is not well-formed: .*{told}"):
        decode_entry(0, sealed, SEAL)


def test_the_twin_believes_a_row_that_was_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what binds the columns, an upload of another participant is taken for this one's."""
    kept = encode_entry(0, UploadCompleted(1.0, SITE, Phase.MASKED_INPUT), SEAL)
    monkeypatch.setattr(journal_entries, "_fixed", lambda *_: ())
    loose = encode_entry(0, UploadCompleted(1.0, SITE, Phase.MASKED_INPUT), SEAL)
    assert decode_entry(0, replace(loose, sender=OTHER), SEAL) == UploadCompleted(1.0, OTHER, Phase.MASKED_INPUT)
    with pytest.raises(StoreError):
        decode_entry(0, kept, SEAL)


def test_seals_of_one_purpose_do_not_open_for_another() -> None:
    sealed = SEAL.seal(labels.NOISE_SEED, b"seed")
    assert SEAL.unseal(labels.NOISE_SEED, sealed) == b"seed"
    for label, content in ((labels.JOURNAL_ENTRY, sealed), (labels.NOISE_SEED, sealed[:20])):
        with pytest.raises(AuthenticationError):
            SEAL.unseal(label, content)
