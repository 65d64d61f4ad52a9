"""Taking part in the rounds that a framework's message names, after training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Thread

from secagg.context import RoundId
from secagg.errors import LocalError, SecAggError
from secagg_client.participation.results import Offer, RoundResult
from secagg_client.participation.terms import Contribution
from secagg_client.sync.client import Client

Contribute = Callable[[Sequence[Offer]], Mapping[RoundId, Contribution]]
"""Trains, and gives our input to each of the rounds that ask for it."""


@dataclass(frozen=True, slots=True)
class TakenPart:
    """What became of our part in several rounds.

    Attributes:
        results: of the rounds whose sum holds our update.
        failed: why we are not in the others.
    """

    results: dict[RoundId, RoundResult]
    failed: dict[RoundId, SecAggError]


class Participations:
    """Our part in several rounds, which run side by side.

    Made in three steps, because a framework may ask for its reply before the rounds are over: look the rounds up and
    check them, train, and take part.
    """

    def __init__(self, client: Client, round_ids: Sequence[RoundId], contribute: Contribute):
        """Look the rounds up, train, and check what came out against their schemas. Nothing has left us yet.

        Args:
            client: our connection to the coordinator.
            round_ids: the rounds.
            contribute: called once, with the offers of all rounds.

        Raises:
            InputError: what was trained is not what a round wants.
            LocalError: `contribute` has nothing for one of the rounds; or we took part in one before.
            UnknownRoundError: there is no such round.
            TransportError: the coordinator cannot be reached.
        """
        offers = [client.find_round(round_id=round_id) for round_id in round_ids]
        brought = contribute(offers)
        self._client = client
        self._work: list[tuple[Offer, Contribution]] = []
        for offer in offers:
            if offer.round_id not in brought:
                raise LocalError(f"nothing was contributed to round {offer.round_id.hex()}")
            mine = brought[offer.round_id]
            offer.config.schema.check(mine.update)
            self._work.append((offer, mine))

    def take_part(self, timeout_s: float | None = None) -> TakenPart:
        """Take part in all rounds at once, and wait for the last of them to end. Never raises `SecAggError`.

        Args:
            timeout_s: longest time; no limit if None.
        """
        done = TakenPart({}, {})
        threads = [Thread(target=self._one, args=(*work, timeout_s, done), daemon=True) for work in self._work[1:]]
        for thread in threads:
            thread.start()
        for work in self._work[:1]:
            self._one(*work, timeout_s, done)
        for thread in threads:
            thread.join()
        return done

    def _one(self, offer: Offer, mine: Contribution, timeout_s: float | None, done: TakenPart) -> None:
        try:
            done.results[offer.round_id] = self._client.participate(
                mine.update,
                weight=mine.weight,
                offer=offer,
                model_digest=mine.model_digest,
                purpose=mine.purpose,
                fetch_aggregate=mine.fetch_aggregate,
                out=mine.out,
                timeout_s=timeout_s,
            )
        except SecAggError as error:
            done.failed[offer.round_id] = error
