"""The pages about NVIDIA FLARE: code, project file and commands work as they stand."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from secagg_client.nvflare import secure
from secagg_client.nvflare.identities import Kit

from secagg import ThreatModel
from tests.machine import ROOT, Machine
from tests.pages import Code

PARTICIPANTS = """
api_version: 3
name: study
description: a study
participants:
  - {name: server.example.org, type: server, org: acme, fed_learn_port: 8002, admin_port: 8003}
  - {name: site-1, type: client, org: first}
  - {name: site-2, type: client, org: second}
  - {name: admin@example.org, type: admin, org: acme, role: project_admin}
"""


class Surroundings(Machine):
    """A machine where the checkout is found, installed or not."""

    @property
    def environment(self) -> dict[str, str]:
        paths = os.pathsep.join(map(str, (ROOT, ROOT / "server", ROOT / "client")))
        return super().environment | {"PYTHONPATH": paths}


def recipe() -> Any:
    script = ROOT / "docs/examples/nvflare/plain/client.py"
    return FedAvgRecipe(
        name="digits", model=torch.nn.Linear(4, 2), min_clients=5, num_rounds=3, train_script=str(script)
    )


@pytest.mark.runs("docs/nvflare.md", "python")
def test_a_recipe_gets_one_line(page: Code) -> None:
    for text in page.rest("python"):
        names = {"secure": secure, "recipe": recipe(), "ThreatModel": ThreatModel}
        exec(text, names)  # noqa: S102


@pytest.mark.runs("docs/frameworks.md", "python", "secure(")
def test_a_recipe_on_the_page_on_frameworks(page: Code) -> None:
    exec(page.take("secure("), {"secure": secure, "recipe": recipe(), "ThreatModel": ThreatModel})  # noqa: S102


@pytest.mark.runs("docs/nvflare.md", "yaml")
@pytest.mark.runs("docs/nvflare.md", "sh", "nvflare provision", "secagg-server serve")
def test_kits_are_provisioned_and_the_sidecar_starts_with_the_servers(page: Code, tmp_path: Path) -> None:
    machine = Surroundings(tmp_path)
    (builders,) = page.rest("yaml")
    (tmp_path / "project.yml").write_text(PARTICIPANTS + builders)
    told = machine.shell(page.take("nvflare provision"))
    (kits,) = tmp_path.glob("workspace/study/prod_*")
    assert Kit.of(kits / "site-1/startup", "site-1") is not None, told
    serve = page.take("secagg-server serve").replace("0.0.0.0:8443", f"127.0.0.1:{machine.port}")
    with machine.serving(serve.replace(" startup/", f" {kits}/server.example.org/startup/")):
        pass


@pytest.mark.runs("docs/nvflare.md", "sh", "secagg ca init")
def test_identities_of_the_simulator(page: Code, tmp_path: Path) -> None:
    Surroundings(tmp_path).shell(page.take("secagg ca init"))
    kit = Kit.of(tmp_path / "WORKSPACE/JOB/startup", "site-1")
    assert kit is not None
    assert kit.identity.participant_id == "site-1"
