"""The types of the names that `secagg_client` loads when they are first used."""

from secagg.programs.state_keys import FolderStateKeys as FolderStateKeys
from secagg.sandbox.worker import Limits as Limits, Worker as Worker
from secagg_client.aio.client import AsyncClient as AsyncClient
from secagg_client.sync.control import ControlClient as ControlClient
from secagg_client.aio.control import AsyncControlClient as AsyncControlClient
from secagg.wire.describing import Description as Description
from secagg.wire.rounds import RoundState as RoundState, RoundSummary as RoundSummary
from secagg_client.fetched import Fetched as Fetched
from secagg_client.participation.feedback import Feedback as Feedback
from secagg_client.released_sums.memory import Memory as Memory
from secagg_client.minimising import Minimised as Minimised, minimised as minimised
from secagg_client.participation.results import Offer as Offer, RoundResult as RoundResult
from secagg_client.participation.state_folder import StateFolder as StateFolder
from secagg_client.retry import RetryPolicy as RetryPolicy
from secagg_client.snapshots import Snapshot as Snapshot, suggest_clip as suggest_clip
from secagg_client.statistics import Column as Column, Summary as Summary
from secagg_client.sync.client import Client as Client

__all__: list[str]
