"""Models about which no round is opened any more: sums of them may be out that a restored state does not know."""

from collections.abc import Iterable
from sqlite3 import Connection

from secagg.errors import StoreError
from secagg_server.storage.sqlite.database import Database
from secagg_server.storage.sqlite.rows import checksum


def close_models(connection: Connection, digests: Iterable[bytes]) -> None:
    """Close these models for good."""
    rows = [(digest, checksum("closed", (digest,))) for digest in digests]
    connection.executemany("INSERT OR IGNORE INTO closed VALUES (?, ?)", rows)


def read_closed(database: Database) -> frozenset[bytes]:
    """Digests of the models that are closed.

    Raises:
        StoreError: a row was changed on the disk.
    """
    found = set()
    for digest, kept in database.rows("SELECT model_digest, checksum FROM closed"):
        if not isinstance(digest, bytes) or kept != checksum("closed", (digest,)):  # check: closed-checksum
            raise StoreError(
                "a row of the models that a restore closed was changed on the disk, so nobody knows which sums may "
                "still be released; restore a backup into another folder"
            )
        found.add(digest)
    return frozenset(found)
