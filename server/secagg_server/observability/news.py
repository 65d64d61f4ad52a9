"""Tells the log and the audit log what operators did with the state while no coordinator ran."""

from datetime import UTC, datetime

import structlog

from secagg_server.audit.coordinator import CoordinatorAudit
from secagg_server.storage.sqlite.history import RESTORED
from secagg_server.storage.sqlite.store import SqliteStore
from secagg_server.storage.store import Store


def tell_news(store: Store, audit: CoordinatorAudit) -> None:
    """Tell it, once. A store in memory has none."""
    log = structlog.get_logger()
    for happening in store.news() if isinstance(store, SqliteStore) else ():
        at = _shown(happening.at_s)
        if happening.what == RESTORED:
            made_ms = int(happening.detail)
            log.warning("state_restored", at=at, made=_shown(made_ms / 1000))
            audit.note("restored", source=made_ms)
        else:
            log.info("state_migrated", at=at, version=happening.detail)
            audit.note("migrated", release=happening.detail)


def _shown(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat()
