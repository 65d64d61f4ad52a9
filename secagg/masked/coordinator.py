"""The coordinator of a masked round: collects keys, shares, masked inputs and signatures, and unmasks the sum."""

from secagg.aggregates import Aggregate
from secagg.config import ThreatModel
from secagg.context import Round
from secagg.crypto.identity import TrustAnchors
from secagg.crypto.prg import Words
from secagg.crypto.secret import Secret
from secagg.encoding.noisy import add_noise
from secagg.errors import ConfigError
from secagg.events import Event
from secagg.masked.accumulator import Accumulator, Parallel, one_after_the_other
from secagg.masked.intake import Intake
from secagg.masked.unmasking import Unmasking
from secagg.messages import (
    ConsistencyProof,
    CoordinatorMessage,
    Index,
    MaskedInputChunk,
    ParticipantId,
    ParticipantMessage,
    ShareDelivery,
    SurvivorSet,
)
from secagg.phases import Phase
from secagg.rounds import dealing
from secagg.rounds.engine import Engine
from secagg.rounds.recovery import Recovery, salt_from
from secagg.rounds.releases import Claim, nothing_before
from secagg.rounds.uploads import MemorySpool, Spool


class Coordinator(Engine):
    """One masked round (Bonawitz et al. 2017, figure 4, server)."""

    _kind = dealing.MASKED

    def __init__(
        self,
        round_: Round,
        *,
        now: float,
        trust: TrustAnchors | None = None,
        spool: Spool | None = None,
        parallel: Parallel = one_after_the_other,
        claim: Claim = nothing_before,
        noise_seed: Secret | None = None,
    ) -> None:
        """Open the round in its first phase.

        Args:
            round_: id, configuration and context.
            now: seconds since 1970.
            trust: the deployment's CA; needed in the active threat model, to turn away unsigned keys at the door.
            spool: where incomplete vectors wait; in memory if None.
            parallel: runs unmasking over ranges.
            claim: the memory of what other rounds released.
            noise_seed: 32 fresh bytes of the operating system's CSPRNG, where the coordinator adds the noise.

        Raises:
            ConfigError: an active round without `trust`, or noise without its seed.
        """
        active = round_.config.threat_model is ThreatModel.ACTIVE
        if active and trust is None:
            raise ConfigError("the active threat model needs the CA's certificate at the coordinator")
        if round_.config.central_noise and noise_seed is None:
            raise ConfigError("the coordinator adds this round's noise: give it a seed of the system's CSPRNG")
        self._noise_seed = noise_seed
        super().__init__(round_, now=now, trust=trust if active else None, claim=claim)
        self._intake = Intake(round_, self._joining, self._refuse_wrong_share)
        self._accumulator = Accumulator(round_.config, spool or MemorySpool(), parallel)

    def received_chunks(self, participant: ParticipantId) -> int:
        """See `Engine`."""
        return self._uploading(self._accumulator.uploads, participant)

    def _take(self, index: Index, message: ParticipantMessage) -> bool:
        if isinstance(message, MaskedInputChunk):
            return self._accumulator.add(index, message, name=self._joining.name(index))
        self._intake.take(index, message)
        return True

    def _is_repeated(self, index: Index, message: ParticipantMessage) -> bool:
        kept = self._intake
        accepted = (kept.shared.get(index), kept.signed.get(index), kept.answers.get(index))
        return message in [m for m in accepted if m is not None]

    def _delivered(self, index: Index, phase: Phase) -> bool:
        if phase is Phase.MASKED_INPUT:
            return self._accumulator.uploads.complete(index)
        return self._intake.delivered(index, phase)

    def _answer(self, index: Index, phase: Phase) -> CoordinatorMessage:
        kept = self._intake
        match phase:
            case Phase.SHARE_KEYS:
                return ShareDelivery({i: m.sealed[index] for i, m in kept.shared.items() if index in m.sealed})
            case Phase.MASKED_INPUT:
                return kept.sets
            case Phase.CONSISTENCY_CHECK:
                return ConsistencyProof({i: m.signature for i, m in kept.signed.items()})
            case _:
                raise ValueError("the last phase is not closed by a message; fetch the aggregate")

    def _dealt(self, owner: Index, holder: Index) -> bytes | None:
        shared = self._intake.shared.get(owner)
        return None if shared is None else shared.sealed.get(holder)

    def _closed(self, phase: Phase, alive: set[Index]) -> list[Event]:
        if phase is Phase.ADVERTISE_KEYS:
            self._intake.fix_graph()
        if phase is Phase.MASKED_INPUT:
            self._fix_survivors(alive)
        return []

    def _forget(self) -> None:
        self._accumulator.forget()
        self._intake.forget()

    def _fix_survivors(self, alive: set[Index]) -> None:
        """U3, and U2 without U3; a vector that came in part is forgotten."""
        dropped = sorted(set(self._intake.shared) - alive)
        for index in dropped:
            self._accumulator.uploads.discard(index)
        self._intake.sets = SurvivorSet(tuple(sorted(alive)), tuple(dropped))

    def _finish(self) -> list[Event]:
        """Unmask (round 4 there)."""
        kept = self._intake
        commitments = {i: m.commitment for i, m in kept.shared.items()}
        salt = salt_from({i: {owner: r.share for owner, r in m.shares.items()} for i, m in kept.answers.items()})
        recovery = Recovery(self._joining.members, self.round.config.threshold, salt)
        unmasking = Unmasking(self.round, self._joining.members, kept.graph, commitments, kept.answers, recovery)
        masks = unmasking.masks(kept.sets)
        survivors = tuple(self._joining.name(i) for i in kept.sets.survivors)
        sums = self._with_noise(self._accumulator.unmasked(masks))
        return [*recovery.wrong_shares(), *self._succeed(Aggregate(sums, survivors))]

    def _with_noise(self, sums: Words) -> Words:
        """What may leave this class: nobody gets the sum without the noise that is the coordinator's to add."""
        config = self.round.config
        if self._noise_seed is not None and config.code.calibration is not None:
            add_noise(sums, config.code.calibration, config.ring_bits, self._noise_seed)
            self._noise_seed = None
        return sums
