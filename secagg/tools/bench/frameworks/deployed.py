"""The apps of a run over a SuperLink and SuperNodes, whose processes take the setting from the environment."""

import json
import os
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from secagg.tools.bench.frameworks import flower_apps
from secagg.tools.bench.frameworks.recording import record
from secagg.tools.bench.frameworks.setting import Setting
from secagg.tools.bench.frameworks.supernodes import FILES, SETTING

_setting = Setting.of(os.environ[SETTING])
client = flower_apps.client_app(_setting)
server = ServerApp()


def _main(grid: Grid, context: Context) -> None:
    told, models, uploads = map(Path, os.environ[FILES].split(os.pathsep))
    found = record(_setting, grid, context, models, uploads, relay=None)
    told.write_text(json.dumps(found), encoding="utf-8")


server.main()(_main)
