"""The status as JSON, for programs: `/status.json`.

The document is an object with the fields of `values.Status`, and each value in it has the fields of its class there, by
the same names: numbers, texts, lists and objects as they are, null for what is not known. Times are in seconds since
1970. `version` says which shape it is; fields may be added to a version, and none goes away or changes its meaning.
"""

import json
from dataclasses import asdict
from typing import Final

from secagg_server.observability.statuspage.values import Status

VERSION: Final = 1


def document(status: Status) -> str:
    """The JSON text."""
    return json.dumps({"version": VERSION, **asdict(status)}, ensure_ascii=True, allow_nan=False)
