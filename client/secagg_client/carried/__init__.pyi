"""The types of the names that `secagg_client.carried` loads when they are first used."""

from secagg_client.carried.coordinator import CarriedRound as CarriedRound
from secagg_client.carried.groups import CarriedGroups as CarriedGroups
from secagg_client.carried.participant import CarriedParticipant as CarriedParticipant
from secagg_client.carried.steps import Step as Step
from secagg_client.carried.terms import CarriedTerms as CarriedTerms
from secagg_client.participation.terms import Contribution as Contribution

__all__: list[str]
