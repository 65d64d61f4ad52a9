"""Runs a FLARE job in an environment of FLARE's own, in a process of its own: `python -m …run_job KIND FOLDER`.

FLARE reads the command line when it is imported, and leaves processes and settings behind.
"""

import json
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe.poc_env import PocEnv
from nvflare.recipe.sim_env import SimEnv
from secagg_client.nvflare import secure

from secagg import ThreatModel
from tests.frameworks.nvflare.scripts.told import Told

SCRIPTS = Path(__file__).parent / "scripts"
SITES = 4
WITHIN_S = 600.0


def recipe_of(script: Path, arguments: str, sites: int, rounds: int) -> NumpyFedAvgRecipe:
    return NumpyFedAvgRecipe(
        name="job",
        model=np.zeros((3, 4), np.float32),
        min_clients=sites,
        num_rounds=rounds,
        train_script=str(script),
        train_args=arguments,
    )


def simulate(kind: str, folder: Path) -> None:
    """`plain` or `secure`; with `dies` a site's process ends in the second round. The model goes to `model.npy`."""
    script = shutil.copy(SCRIPTS / "digits.py", folder)
    recipe = recipe_of(Path(script), "site-3" if "dies" in kind else "", SITES, 3)
    recipe._job.to_server(Told(str(folder / "told")), id="told")
    if "plain" not in kind:
        secure(recipe, clip=1.0, max_weight=100, metrics={"accuracy": (0, 1)})
    run = recipe.execute(SimEnv(num_clients=SITES, workspace_root=str(folder / "workspace")))
    shutil.copy(Path(str(run.get_result())) / "server/simulate_job/models/server.npy", folder / "model.npy")


def proof_of_concept(folder: Path) -> None:
    """Three provisioned sites with identities, as processes of their own, in the active threat model."""
    sites = 3
    project = folder / "project.yml"
    project.write_text(  # JSON is YAML, too
        json.dumps(described(sites))
    )
    script = shutil.copy(SCRIPTS / "digits.py", folder)
    recipe = recipe_of(Path(script), "", sites, 2)
    secure(recipe, clip=1.0, max_weight=100, threat_model=ThreatModel.ACTIVE)
    env = PocEnv(num_clients=sites, project_conf_path=str(project), extra={"login_timeout": WITHIN_S})
    run = recipe.execute(env)
    result = run.get_result(timeout=WITHIN_S, clean_up=False)
    (model,) = Path(str(result)).rglob("server.npy")
    shutil.copy(model, folder / "model.npy")


def described(sites: int) -> dict[str, Any]:
    """The project, with `SecAggBuilder` between FLARE's own builders."""
    server: dict[str, Any] = {"name": "server", "type": "server", "org": "acme", "default_host": "localhost"}
    server |= {"fed_learn_port": free_port(), "admin_port": free_port()}
    return {
        "api_version": 3,
        "name": "study",
        "description": "A proof of concept.",
        "participants": [
            server,
            *({"name": f"site-{n}", "type": "client", "org": f"clinic{n}"} for n in range(1, sites + 1)),
            {"name": "admin@nvidia.com", "type": "admin", "org": "acme", "role": "project_admin"},
        ],
        "builders": [
            {"path": "nvflare.lighter.impl.workspace.WorkspaceBuilder"},
            {"path": "nvflare.lighter.impl.static_file.StaticFileBuilder", "args": {"config_folder": "config"}},
            {"path": "nvflare.lighter.impl.cert.CertBuilder"},
            {"path": "secagg_client.nvflare.SecAggBuilder"},
            {"path": "nvflare.lighter.impl.signature.SignatureBuilder"},
        ],
    }


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    kind, folder = sys.argv[1], Path(sys.argv[2])
    sys.argv = sys.argv[:1]
    if kind == "poc":
        proof_of_concept(folder)
    else:
        simulate(kind, folder)
