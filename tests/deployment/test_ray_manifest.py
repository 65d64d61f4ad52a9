"""The manifest for KubeRay. Pods and all other objects are held against the schemas of Kubernetes. No registry has the
schema of KubeRay's own kind, so its fields are held against those that are written down here.
"""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from secagg_server.placing import RESOURCE, check_safe
from secagg_server.settings import Settings

from secagg.errors import ConfigError
from tests.deployment.chart import ROOT
from tests.deployment.conftest import program

MANIFEST: Final = ROOT / "deploy/kubernetes/ray/raycluster.yaml"
OBJECTS: Final[list[Any]] = list(yaml.safe_load_all(MANIFEST.read_text()))
(CLUSTER,) = (each for each in OBJECTS if each["kind"] == "RayCluster")
HEAD: Final = CLUSTER["spec"]["headGroupSpec"]
(DOORS,) = CLUSTER["spec"]["workerGroupSpecs"]
FIELDS: Final = {
    "spec": {"rayVersion", "enableInTreeAutoscaling", "headGroupSpec", "workerGroupSpecs"},
    "head": {"serviceType", "rayStartParams", "template"},
    "workers": {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"},
}
"""Of ray.io/v1, as far as they are used here."""


def pod(name: str, group: Any) -> dict[str, Any]:
    template = group["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **template["metadata"]},
        "spec": template["spec"],
    }


def containers(group: Any) -> dict[str, Any]:
    return {each["name"]: each for each in group["template"]["spec"]["containers"]}


def settings() -> Settings:
    given = dict(argument.removeprefix("--").split("=", 1) for argument in containers(HEAD)["coordinator"]["args"])
    return Settings(**{name.replace("-", "_"): value for name, value in given.items()})


def test_kubernetes_takes_every_object_and_every_pod(tmp_path: Path) -> None:
    every = [*(each for each in OBJECTS if each is not CLUSTER), pod("head", HEAD), pod("door", DOORS)]
    (file := tmp_path / "objects.yaml").write_text(yaml.safe_dump_all(every))
    done = subprocess.run(
        [program("kubernetes-validate"), "--strict", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count(" passed for resource ") == len(every)


def test_the_cluster_has_fields_of_its_kind_alone() -> None:
    assert CLUSTER["apiVersion"] == "ray.io/v1"
    assert CLUSTER["spec"].keys() <= FIELDS["spec"]
    assert HEAD.keys() <= FIELDS["head"]
    assert DOORS.keys() <= FIELDS["workers"]
    every = [*HEAD["rayStartParams"].values(), *DOORS["rayStartParams"].values()]
    assert all(isinstance(value, str) for value in every)


def test_there_is_room_for_the_workers_that_the_coordinator_wants() -> None:
    wanted = settings()
    per_pod = json.loads(json.loads(DOORS["rayStartParams"]["resources"]))[RESOURCE]
    assert wanted.engine == "ray"
    assert wanted.ingress_workers <= DOORS["replicas"] * per_pod
    assert per_pod == 1  # they would want the same port
    assert RESOURCE not in json.dumps(HEAD["rayStartParams"])


def test_participants_reach_the_port_of_the_workers() -> None:
    (service,) = (each for each in OBJECTS if each["kind"] == "Service")
    labels = DOORS["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    ports = {port["name"]: port["containerPort"] for port in containers(DOORS)["door"]["ports"]}
    assert ports[service["spec"]["ports"][0]["targetPort"]] == int(settings().ingress_listen.rpartition(":")[2])


def test_ray_lets_nobody_in() -> None:
    for group in (HEAD, DOORS):
        for name, container in containers(group).items():
            environment = {each["name"]: each["value"] for each in container["env"]}
            check_safe({"10.0.0.1", "10.0.0.2"}, HEAD["rayStartParams"]["dashboard-host"] + ":8265", environment)
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert "ray-tls" in mounted, name
            assert "ray-ca" not in mounted, name  # the CA's key is for the certificate alone
    with pytest.raises(ConfigError):
        check_safe({"10.0.0.1", "10.0.0.2"}, "", {})


def test_only_participants_come_in_from_outside() -> None:
    policies = [each["spec"] for each in OBJECTS if each["kind"] == "NetworkPolicy"]
    assert len(policies) == 2
    for spec in policies:
        for rule in spec["ingress"]:
            assert rule.get("from") or rule["ports"] == [{"protocol": "TCP", "port": 7443}]
