"""What the callers of the clients do: participants that train for one round after the other, and the FL server."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Any, Final

import numpy as np
from secagg_client.aio.client import AsyncClient
from secagg_client.aio.control import AsyncControlClient
from secagg_client.participation.results import Offer
from secagg_client.participation.state_folder import StateFolder
from secagg_client.released_sums.memory import Memory
from secagg_client.retry import RetryPolicy

from secagg.config import RoundConfig, ThreatModel
from secagg.context import ROUND_ID_SIZE, RoundId
from secagg.crypto.rng import SeededRng
from secagg.encoding.integers import Integers
from secagg.errors import LimitError, StoreError, TransportError
from secagg.lattice.jobs import Desk
from secagg.messages import ParticipantId
from secagg.policy import Policy
from secagg.tools.faults import coordinator
from secagg.tools.faults.deployment import deployment
from secagg.tools.faults.disk import Mount, VirtualDisk
from secagg.tools.faults.history import FL_SERVER, Contributed
from secagg.tools.faults.recording import Recorder
from secagg.tools.faults.scenario import ARRAY, LARGEST, TaskPlan, stream
from secagg.tools.faults.storage import STATE

POLICY: Final = Policy(threat_models=frozenset(ThreatModel), min_colluding_share=0.0, allow_experimental=True)
PATIENT: Final = RetryPolicy.lasting(120.0)
PAUSE_S: Final = 2.0
"""Between two tries of a caller."""
PERSISTS_S: Final = 600.0
"""How long the FL server asks again about a round of which the coordinator cannot read or write its files. A disk that
is full gets room in that time; a file that rotted stays so."""


class _Desk(Desk):
    """Encrypts in this process."""

    def close(self) -> None:
        """Nothing is to be given back."""


def update_of(seed: int, name: str, config: RoundConfig) -> np.ndarray[Any, np.dtype[Any]]:
    """What a participant has learned from a model: the same whenever it is asked."""
    digest = sha256(b"%d/%s/" % (seed, name.encode()) + config.task.encode() + config.model_digest).digest()
    rng = np.random.default_rng(int.from_bytes(digest))
    (spec,) = config.schema.arrays
    if isinstance(config.encoding, Integers):
        return rng.integers(0, LARGEST + 1, spec.shape)
    return rng.normal(0.0, 0.1, spec.shape)


class KeptMemory(Memory):
    """A memory that outlives its process, as one in a file does."""

    durable = True


@dataclass(slots=True)
class Participant:
    """One participant's caller.

    Attributes:
        seed: of the history.
        name: whose.
        tasks: that it takes part in, side by side.
        recorder: is told what it puts in, and how that ends.
        patience_s: for one round.
        disk: where a participation is kept so that it outlives its process; None for one that does not.
        memory: of released sums, which outlives the process.
        offers: the round of each task that it takes part in, for the next process to go on in.
    """

    seed: int
    name: ParticipantId
    tasks: tuple[TaskPlan, ...]
    recorder: Recorder
    patience_s: float
    disk: VirtualDisk | None
    memory: Memory = field(default_factory=KeptMemory)
    offers: dict[str, Offer] = field(default_factory=dict)

    async def run(self, rng: SeededRng) -> None:
        """Take part in every round, until the process ends."""
        site = deployment()
        client = AsyncClient(
            coordinator.ADDRESS,
            identity=site.identities[self.name],
            trust=site.trust,
            policy=POLICY,
            retry=PATIENT,
            rng=rng,
            backend=_Desk,
            memory=self.memory,
        )
        mount = None if self.disk is None else self.disk.mount()
        async with asyncio.TaskGroup() as group:
            for task in self.tasks:
                group.create_task(self._follow(client, task.name, mount))

    async def _follow(self, client: AsyncClient, task: str, mount: Mount | None) -> None:
        while True:
            try:
                if mount is None or task not in self.offers:
                    self.offers[task] = await client.find_round(task=task, timeout_s=self.patience_s)
                await self._contribute(client, self.offers[task], mount)
            except Exception as error:
                self.recorder.told(self.name, error)
                if not isinstance(error, TransportError):
                    self.offers.pop(task, None)
                await asyncio.sleep(PAUSE_S)
            else:
                self.recorder.told(self.name)
                del self.offers[task]

    async def _contribute(self, client: AsyncClient, offer: Offer, mount: Mount | None) -> None:
        config = offer.config
        update = update_of(self.seed, self.name, config)
        self.recorder.note(Contributed(self.recorder.now, self.name, offer.round_id, {ARRAY: update}))
        with ExitStack() as held:
            state = None
            if mount is not None:
                folder = StateFolder(STATE / config.task, disk=mount)
                state = await asyncio.to_thread(held.enter_context, folder)
            await client.participate(
                {ARRAY: update}, offer=offer, model_digest=config.model_digest, state=state, timeout_s=self.patience_s
            )


@dataclass(slots=True)
class Conducted:
    """What the FL server keeps of a round, on a disk of its own."""

    config: RoundConfig
    round_id: RoundId
    opened: bool = False
    over: bool = False


@dataclass(slots=True)
class FLServer:
    """The FL server's own code.

    Attributes:
        seed: of the history.
        plans: what it does.
        people: whom it expects.
        recorder: is told how calls end.
        rounds: what it keeps, by task.
        finished: called once when all rounds are over.
    """

    seed: int
    plans: tuple[TaskPlan, ...]
    people: tuple[ParticipantId, ...]
    recorder: Recorder
    finished: Callable[[], None]
    rounds: dict[str, list[Conducted]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = stream(self.seed, "round ids")
        for plan in self.plans:
            self.rounds[plan.name] = [
                Conducted(config, RoundId(rng.randbytes(ROUND_ID_SIZE))) for config in plan.configs()
            ]

    async def run(self, rng: Random) -> None:
        """Do what is left of the plans."""
        control = AsyncControlClient(coordinator.CONTROL, retry=PATIENT)
        async with asyncio.TaskGroup() as group:
            for plan in self.plans:
                group.create_task(self._conduct(control, plan, rng))
        self.finished()

    async def _conduct(self, control: AsyncControlClient, plan: TaskPlan, rng: Random) -> None:
        for kept in self.rounds[plan.name]:
            began = self.recorder.now
            while not kept.over:
                try:
                    if not kept.opened:
                        await self._open(control, plan, kept, rng)
                    await self._finish(control, kept)
                    kept.over = True
                    self.recorder.told(FL_SERVER)
                except (TransportError, LimitError, StoreError) as error:
                    self.recorder.told(FL_SERVER, error)
                    kept.over = isinstance(error, StoreError) and self.recorder.now > began + PERSISTS_S
                    await asyncio.sleep(PAUSE_S)
                except Exception as error:
                    self.recorder.told(FL_SERVER, error)
                    kept.over = True

    async def _open(self, control: AsyncControlClient, plan: TaskPlan, kept: Conducted, rng: Random) -> None:
        await control.open_round(kept.config, round_id=kept.round_id)
        kept.opened = True
        if plan.expects:
            await self._ask(control.expect(kept.round_id, self.people))
        if plan.excludes:
            await asyncio.sleep(rng.random())
            await self._ask(control.exclude(kept.round_id, (rng.choice(self.people),)))

    @staticmethod
    async def _finish(control: AsyncControlClient, kept: Conducted) -> None:
        round_id, config = kept.round_id, kept.config
        if config.groups is not None:
            await control.result_groups(round_id, config)
        elif config.dealt:
            async for _ in control.watch(round_id):
                pass
        else:
            await control.result(round_id, config)

    async def look_back(self) -> None:
        """Ask once more for everything that was told, when nothing goes wrong any longer."""
        control = AsyncControlClient(coordinator.CONTROL, retry=PATIENT)
        for plan in self.plans:
            for kept in self.rounds[plan.name]:
                if kept.opened:
                    await self._ask(self._finish(control, kept))
            await self._ask(control.list_rounds(plan.name))
            if plan.config.noise is not None:
                await self._ask(control.ledger(plan.name))

    async def _ask(self, question: Any) -> None:
        try:
            await question
        except Exception as error:
            self.recorder.told(FL_SERVER, error)
        else:
            self.recorder.told(FL_SERVER)
