"""What the coordinator's memory holds, custody by custody, at the end of every phase. Adversary: whoever reads it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pytest

from secagg.crypto.sealing import TAG_SIZE
from secagg.crypto.secret import Secret
from secagg.lattice.parameters import Custody, Scheme
from secagg.lattice.rlwe import SecretKey
from secagg.messages import ParticipantId, Phase
from secagg.phases import phases
from secagg.rounds import peer_sealing
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.faults import chain
from secagg.tools.simulation.network import Down, Envelope, Run, Up
from tests.encrypted_rounds import BFV, CASES, DEALT, JOINT, Dropout, dropping, encrypted_config, prepare, short_chunks
from tests.rounds import true_sum
from tests.security.encrypted_adversary import held_pieces
from tests.security.memory_scan import RecordingRng, forms_of, found

NAMES = participant_names(5)
FALLEN = NAMES[1]


@dataclass
class Search:
    """A hook that looks through the coordinator whenever it answers.

    Attributes:
        hits: the phases at whose end a secret was there, and which.
        pieces: shares of key seeds, by owner.
    """

    rng: RecordingRng = field(default_factory=RecordingRng)
    hits: dict[Phase, set[bytes]] = field(default_factory=dict)
    pieces: dict[int, set[bytes]] = field(default_factory=dict)
    seeds: dict[ParticipantId, bytes] = field(default_factory=dict)
    run: Run = field(init=False)

    def __call__(self, envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Up) and envelope.phase is Phase.ENCRYPTED_INPUT and self._joint:
            seed, held = held_pieces(self.run, envelope.participant)
            self.seeds[envelope.participant] = seed.expose()
            for owner, piece in held.items():
                self.pieces.setdefault(owner, set()).add(piece.expose())
        if isinstance(envelope, Down) and envelope.phase not in self.hits:
            self.hits[envelope.phase] = self.look()
        return (envelope,)

    @property
    def _joint(self) -> bool:
        profile = self.run.coordinator.round.config.homomorphic
        return profile is not None and profile.custody is JOINT

    def look(self) -> set[bytes]:
        """The secrets that the coordinator holds now."""
        return found(self.run.coordinator, self.needles())

    def needles(self) -> set[bytes]:
        """Every 32 bytes that were drawn (channel keys, key seeds, coefficients), pieces, and every form of a key."""
        round_ = self.run.coordinator.round
        profile, drawn = round_.config.homomorphic, self.rng.of_size(32)
        assert profile is not None
        # Which of the draws are key seeds is not known here: all of them are tried.
        keys = {form for seed in drawn[:20] for form in forms_of(profile, seed, round_.context).values()}
        return keys | set(drawn) | set().union(*self.pieces.values())


def searched(scheme: Scheme, custody: Custody, gone: dict[ParticipantId, Dropout] | None = None) -> Search:
    config = encrypted_config(scheme, custody)
    search = Search()
    search.run = prepare(config, hook=chain(search, dropping(config, gone or {})), rng=search.rng)
    search.run.play()
    aggregate = search.run.coordinator.aggregate
    assert aggregate is not None
    assert np.array_equal(aggregate.sums, true_sum(search.run, map(ParticipantId, aggregate.survivors)))
    return search


@pytest.mark.parametrize(("scheme", "custody"), CASES)
def test_the_coordinator_never_holds_a_key(scheme: Scheme, custody: Custody) -> None:
    search = searched(scheme, custody)
    order = [phase for phase in phases(search.run.coordinator.round.config) if phase in search.hits]
    assert len(order) >= 4
    assert {phase: hits for phase, hits in search.hits.items() if hits} == {}
    assert search.look() == set()
    if custody is JOINT:
        assert len(search.pieces) == 5
        assert all(len(pieces) == 5 for pieces in search.pieces.values())


def test_nor_with_half_an_upload_in_the_spool(monkeypatch: pytest.MonkeyPatch) -> None:
    short_chunks(monkeypatch)
    config = encrypted_config(BFV, DEALT, vector_len=20_000)
    search = Search()
    gone = {FALLEN: Dropout(Phase.ENCRYPTED_INPUT, "half-way")}

    def stop(envelope: Envelope) -> Iterable[Envelope]:
        """Every chunk but the last of all: the phase stays open."""
        return (
            () if isinstance(envelope, Up) and envelope.participant == NAMES[4] and waiting(envelope) else (envelope,)
        )

    def waiting(up: Up) -> bool:
        return up.phase is Phase.ENCRYPTED_INPUT

    spooled: list[set[bytes]] = []

    def look(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Up) and envelope.phase is Phase.ENCRYPTED_INPUT:
            spooled.append(search.look())
        return (envelope,)

    search.run = prepare(config, hook=chain(search, look, dropping(config, gone), stop), rng=search.rng)
    search.run.play()
    assert len(spooled) == 15
    assert set().union(*spooled) == set()


def test_of_a_joint_key_it_learns_the_parts_of_the_fallen_alone() -> None:
    search = searched(BFV, JOINT, {FALLEN: Dropout(Phase.CONSISTENCY_CHECK, "silent")})
    own = search.pieces[NAMES.index(FALLEN) + 1]
    assert search.look() <= own
    assert len(search.look()) >= 3
    early = [Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.ENCRYPTED_INPUT, Phase.CONSISTENCY_CHECK]
    assert all(not search.hits[phase] for phase in early)


@pytest.mark.parametrize("custody", Custody)
def test_without_sealing_it_would_hold_the_whole_key(monkeypatch: pytest.MonkeyPatch, custody: Custody) -> None:
    """The twin, which also shows that the search finds what is there."""
    monkeypatch.setattr(peer_sealing, "seal", lambda *_, plaintext, **__: plaintext + bytes(TAG_SIZE))
    monkeypatch.setattr(peer_sealing, "unseal", lambda *_, sealed, **__: sealed[:-TAG_SIZE])
    search = searched(BFV, custody)
    hits = search.hits[Phase.SHARE_KEYS]
    if custody is DEALT:
        assert len(hits) == 5  # everyone's key seed
    else:
        # Pieces are known to the search once inputs arrive. Of the five, each owner keeps one for itself.
        hits = search.hits[Phase.ENCRYPTED_INPUT]
        assert all(len(pieces & hits) == 4 for pieces in search.pieces.values())


@pytest.mark.parametrize("form", ["seed", "polynomial of words", "polynomial mod q", "residues", "packed residues"])
def test_the_search_finds_every_form_of_a_key(form: str) -> None:
    search = searched(BFV, DEALT)
    round_, seed = search.run.coordinator.round, search.rng.of_size(32)[7]
    profile = round_.config.homomorphic
    assert profile is not None
    key = SecretKey(profile, Secret(seed), round_.context)
    planted = {"seed": seed, "residues": key.residues()}.get(form, forms_of(profile, seed, round_.context)[form])
    search.run.coordinator.planted = [planted]  # type: ignore[attr-defined]
    assert forms_of(profile, seed, round_.context)[form] in search.look()
