"""The types of the names that `secagg_client.flower` loads when they are first used."""

from secagg_client.flower.mod import SecAggMod as SecAggMod
from secagg_client.flower.server import SecAgg as SecAgg
from secagg_client.flower.sidecar import Sidecar as Sidecar

__all__: list[str]
