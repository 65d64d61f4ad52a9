"""The state of a coordinator that does not exist, for tests of what is shown of one."""

from datetime import UTC, datetime
from typing import Any

from secagg_server.observability.state import State

SOMEDAY = datetime.fromtimestamp(1_700_000_000, UTC)


def quiet_state(**changes: Any) -> State:
    """Nothing is under way. `spent` and `expiries` may be lists."""
    given: dict[str, Any] = {
        "spent": [],
        "expiries": [("server certificate", SOMEDAY), ("CA one", SOMEDAY)],
        "max_open_rounds": 1,
        "max_calls": 2,
        "max_connections": 3,
        "ready": lambda: True,
        "faults": list,
        "connections": lambda: (4, 5),
        "max_gateway_connections": 8,
        "gateway_connections": lambda: (9, 10),
        "calls": {"data": lambda: 6, "control": lambda: 7},
        **changes,
    }
    spent, expiries = given.pop("spent"), given.pop("expiries")
    return State(**given, spent=lambda: spent, expiries=lambda: expiries)
