"""The types of the names that `secagg_client.nvflare` loads when they are first used."""

from secagg_client.nvflare.builder import SecAggBuilder as SecAggBuilder
from secagg_client.nvflare.recipes import secure as secure

__all__: list[str]
