"""What is true of a running coordinator at this moment, for whoever shows it: read anew each time, without any I/O."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from secagg.programs.ledgers.budgets import Spent

GATEWAY_CERTIFICATE: Final = "gateway certificate"
"""The name, among what expires, of the certificate that a gateway has of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where to read it. All of these are called on the event loop, from when the port answers.

    Attributes:
        ready: whether both planes serve.
        max_open_rounds: the setting.
        max_calls: the setting.
        max_connections: how many connections of participants fit under the limit of open files.
        connections: of participants: how many made no call yet, and how many made one.
        max_gateway_connections: the setting; 0 without a gateway.
        gateway_connections: how many showed no token yet, and how many showed one.
        calls: how many are under way, by plane.
        ingress_workers: how many are there.
        expiries: what expires when: the server certificate first, then each CA, and `GATEWAY_CERTIFICATE` if there
            is one.
        spent: of each task with a privacy ledger, what it has spent.
        faults: what is wrong with files of the coordinator until somebody puts it right.
        audit_head: number and digest of the audit log's last checkpoint; empty without an audit log.
    """

    ready: Callable[[], bool]
    max_open_rounds: int
    max_calls: int
    max_connections: int
    connections: Callable[[], tuple[int, int]]
    max_gateway_connections: int
    gateway_connections: Callable[[], tuple[int, int]]
    calls: Mapping[str, Callable[[], int]]
    expiries: Callable[[], Sequence[tuple[str, datetime]]]
    spent: Callable[[], Sequence[Spent]]
    faults: Callable[[], Sequence[str]]
    audit_head: Callable[[], str] = str
    ingress_workers: Callable[[], int] = int
