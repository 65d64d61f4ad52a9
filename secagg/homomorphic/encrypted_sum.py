"""What is checked of an encrypted sum, in both custodies: by the coordinator that made it, and by who decrypts it."""

from secagg.errors import AbortReason, DecodeError, ProtocolViolation, RoundAborted
from secagg.lattice.layout import Layout
from secagg.lattice.residues import unpack_chunk
from secagg.lattice.summation import Aggregate as EncryptedAggregate
from secagg.messages import Index, SurvivorSet
from secagg.roster import COORDINATOR
from secagg.rounds.checked_roster import CheckedRoster

# --- participant ------------------------------------------------------------------------------------------------------


def check_sets(checked: CheckedRoster, sets: SurvivorSet, takers: frozenset[Index]) -> None:
    """Refuse survivors that are too few, strangers, or not us.

    Args:
        checked: the roster as we know it.
        sets: what the coordinator says.
        takers: who could have sent an input: those who shared keys, or confirmed the dealt one.

    Raises:
        ProtocolViolation: sets overlap, do not make up the takers, lack us, or are below the threshold.
        PolicyViolation: too few organisations among the survivors.
    """
    alive, gone, threshold = set(sets.survivors), set(sets.dropped), checked.membership.threshold
    if alive & gone:  # check: C53-disjoint
        raise ProtocolViolation(f"{sorted(alive & gone)} are called both survivors and dropped", culprit=COORDINATOR)
    if alive | gone != takers:  # check: C53-takers
        raise ProtocolViolation("survivors and dropped are not those who went on to encrypt", culprit=COORDINATOR)
    if checked.own_index not in alive:  # check: C53-ourselves
        raise ProtocolViolation("our own input is called dropped", culprit=COORDINATOR)
    if len(alive) < threshold:  # check: C53-threshold
        raise ProtocolViolation(f"{len(alive)} survivors are below threshold {threshold}", culprit=COORDINATOR)
    checked.check_organisations(alive)  # check: C54


def check_ciphertext(layout: Layout, chunks: tuple[bytes, ...]) -> None:
    """Refuse residues that are malformed or hide nothing.

    Raises:
        DecodeError: a missing chunk, a wrong length, a residue that is not below its prime.
        ProtocolViolation: a polynomial is zero.
    """
    if len(chunks) != layout.chunks:  # check: C55
        raise DecodeError(f"the sum has {len(chunks)} chunks, not {layout.chunks}", culprit=COORDINATOR)
    for number, data in enumerate(chunks):
        try:
            residues = unpack_chunk(layout, number, data)
        except DecodeError as error:
            raise DecodeError(f"the encrypted sum: {error}", culprit=COORDINATOR) from None
        if not residues.any(axis=(2, 3)).all():  # check: C56
            raise ProtocolViolation("the encrypted sum is transparent: a polynomial is zero", culprit=COORDINATOR)


# --- coordinator ------------------------------------------------------------------------------------------------------


def refuse_transparent(total: EncryptedAggregate) -> None:
    """End the round if its encrypted sum hides nothing: all its senders together sent zeros.

    Raises:
        RoundAborted: MALFORMED_SUM.
    """
    try:
        total.refuse_transparent()  # check: C78
    except ProtocolViolation as error:
        raise RoundAborted(AbortReason.MALFORMED_SUM, f"the encrypted sum is refused: {error}") from None
