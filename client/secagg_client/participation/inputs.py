"""A participant's input to one round: its contribution, encoded, with what is carried from earlier rounds."""

from dataclasses import dataclass
from typing import Final

from secagg.context import Round
from secagg.crypto.rng import Rng
from secagg.crypto.secret import Secret
from secagg.encoding.vector import EncodedUpdate
from secagg.errors import InputError
from secagg.schemes import Upload
from secagg_client.participation.feedback import Feedback, Residual
from secagg_client.participation.terms import Contribution

ROUNDING_SEED_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class Input:
    """What a participant hands in, once.

    Attributes:
        encoded: the integers that are summed.
        residual: what is carried from round to round; None where the encoding has no feedback.
    """

    encoded: EncodedUpdate
    residual: Residual | None

    @classmethod
    def of(cls, round_: Round, mine: Contribution, feedback: Feedback, rng: Rng) -> "Input":
        """Encode a contribution under the code of the round.

        Args:
            round_: the round.
            mine: what the caller brings; `Contribution.check_asked` says whether the round asks for it.
            feedback: where what rounds lose is carried.
            rng: the seed of rounding and of our noise comes from it.

        Raises:
            ModelMismatch: the round is about another model.
            InputError: the update does not fit the round's schema, or what is carried does not.
        """
        config = round_.config
        flat = config.schema.check(mine.update)
        seed = Secret(rng.token(ROUNDING_SEED_SIZE))
        context = round_.about(mine.model_digest).input_context
        residual = feedback.take(config.task, config.schema) if config.code.feedback else None
        if residual is None:
            return cls(config.code.encode(flat, mine.weight, seed, context), None)
        try:
            return cls(config.code.encode(flat, mine.weight, seed, context, residual.carried), residual)
        except InputError:
            residual.not_in_sum()
            raise

    def noting(self, upload: Upload) -> Upload:
        """The same upload; if it is our input, its last chunk is noticed when it is asked for."""
        return upload if self.residual is None else self.residual.noting(upload)

    def sent_before(self) -> None:
        """An earlier process of ours may have handed in all of it, so that it may be in a sum."""
        if self.residual is not None:
            self.residual.handed_in = True

    def into_sum(self) -> None:
        """Our input is in a released sum: carry what it lost."""
        if self.residual is not None:
            self.residual.into_sum(self.encoded.lost())

    def not_in_sum(self) -> None:
        """Nothing of it is in a sum: carry what was carried before."""
        if self.residual is not None:
            self.residual.not_in_sum()

    def end(self) -> None:
        """The participation is over, whether it is known what became of our input or not."""
        if self.residual is not None:
            self.residual.end()
