"""The Helm chart fits the coordinator: its settings, its versions, and what the pod and the network are allowed."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from secagg_server.settings import Settings, load_settings

from secagg import __version__
from tests.deployment.chart import (
    ALERTS,
    CHART,
    OF_A_GATEWAY,
    OF_THE_CHART,
    OWN_ALERTS,
    RENDERED,
    ROOT,
    SCHEMA,
    chart_version,
    settings_schema,
    with_settings,
    with_versions,
)

MEND = "run: make chart"


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """What the chart makes with its default values, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all(RENDERED.read_text())}


@pytest.fixture(scope="module")
def pod(objects: dict[str, Any]) -> Any:
    return objects["StatefulSet"]["spec"]["template"]["spec"]


def test_the_values_know_every_setting_that_the_chart_does_not_set() -> None:
    schema = SCHEMA.read_text()
    assert with_settings(schema) == schema, MEND
    known = json.loads(schema)["properties"]["settings"]["properties"]
    assert set(known) == set(Settings.model_fields) - OF_THE_CHART - OF_A_GATEWAY
    assert settings_schema()["additionalProperties"] is False
    assert known["budget"]["properties"]["epsilon"]["exclusiveMinimum"] == 0
    assert known["max_open_rounds"]["maximum"] == 1_000_000


@pytest.mark.parametrize(
    ("version", "semantic"),
    [("0.1.0", "0.1.0"), ("0.1.0.dev0", "0.1.0-dev0"), ("1.2.3rc1", "1.2.3-rc1"), ("1.2.3.post4", "1.2.3-post4")],
)
def test_a_version_of_python_is_a_version_of_a_chart(version: str, semantic: str) -> None:
    assert chart_version(version) == semantic


def test_the_chart_has_the_version_of_this_tree() -> None:
    text = (CHART / "Chart.yaml").read_text()
    assert with_versions(text) == text, MEND
    chart = yaml.safe_load(text)
    assert (chart["version"], chart["appVersion"]) == (chart_version(__version__), __version__)


def test_the_chart_has_the_alerts_of_this_tree() -> None:
    assert OWN_ALERTS.read_bytes() == ALERTS.read_bytes(), MEND


def test_every_object_of_the_values_refuses_what_it_does_not_know() -> None:
    """But for objects that are Kubernetes' own, of which the API server knows more than we do."""

    def open_objects(schema: Any, path: str) -> list[str]:
        found = []
        if isinstance(schema, dict):
            if schema.get("properties") is not None and "type" in schema and "additionalProperties" not in schema:
                found.append(path)
            for key, each in schema.items():
                found += open_objects(each, f"{path}/{key}")
        return found

    assert open_objects(json.loads(SCHEMA.read_text()), "") == []


def test_the_values_and_their_schema_have_the_same_names() -> None:
    schema, values = json.loads(SCHEMA.read_text()), yaml.safe_load((CHART / "values.yaml").read_text())

    def names(given: Any, known: Any, path: str) -> None:
        if "$ref" in known:
            known = schema["$defs"][known["$ref"].rpartition("/")[2]]
        if isinstance(given, dict) and given and "properties" in known:
            assert set(given) == set(known["properties"]) - {"global"}, path
            for name, each in given.items():
                names(each, known["properties"][name], f"{path}.{name}")

    names(values, schema, "")


def test_the_settings_of_the_pod_are_read_by_the_coordinator(objects: dict[str, Any], tmp_path: Path) -> None:
    text = objects["ConfigMap"]["data"]["secagg-server.toml"]
    assert set(tomllib.loads(text)) == OF_THE_CHART
    (tmp_path / "secagg-server.toml").write_text(text)
    settings = load_settings(tmp_path / "secagg-server.toml", {})
    assert settings.control == "unix:/run/secagg/control.sock"
    assert settings.control_access == "group"


def test_files_and_ports_of_the_settings_are_those_of_the_pod(objects: dict[str, Any], pod: Any) -> None:
    settings = tomllib.loads(objects["ConfigMap"]["data"]["secagg-server.toml"])
    [sidecar] = pod["initContainers"]
    mounts = {mount["mountPath"]: mount for mount in sidecar["volumeMounts"]}
    identity = next(volume["projected"] for volume in pod["volumes"] if volume["name"] == "identity")
    projected = {item["path"] for source in identity["sources"] for each in source.values() for item in each["items"]}
    for name in ("certificate", "key", "participant_ca"):
        folder, _, file = settings[name].rpartition("/")
        assert mounts[folder]["name"] == "identity"
        assert file in projected
    [config] = [each["value"] for each in sidecar["env"] if each["name"] == "SECAGG_SERVER_CONFIG"]
    assert config == "/etc/secagg/secagg-server.toml"
    assert "secagg-server.toml" in projected
    assert mounts["/var/lib/secagg"]["name"] == "ledger"
    assert settings["ledger_dir"] == "/var/lib/secagg/ledger"
    assert settings["state_dir"] == "/var/lib/secagg/state"
    assert mounts["/run/secagg"]["name"] == "control"
    assert not any("subPath" in mount for mount in mounts.values())  # would never be renewed
    ports = {port["name"]: port["containerPort"] for port in sidecar["ports"]}
    assert {
        name: int(settings[of].rpartition(":")[2]) for name, of in (("data", "listen"), ("status", "status"))
    } == ports
    assert sidecar["readinessProbe"]["httpGet"]["port"] == ports["status"]
    [port] = objects["Service"]["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (7443, ports["data"])


def test_the_environment_of_the_image_says_the_same_as_the_settings_of_the_pod(objects: dict[str, Any]) -> None:
    """The environment goes before the file, so it must not differ."""
    image = dict(re.findall(r"SECAGG_SERVER_([A-Z_]+)=(\S+)", (ROOT / "deploy/Dockerfile").read_text()))
    settings = tomllib.loads(objects["ConfigMap"]["data"]["secagg-server.toml"])
    assert len(image) >= 5
    assert {name.lower(): value for name, value in image.items()}.items() <= settings.items()


def test_the_key_has_the_mode_that_the_sidecar_takes(pod: Any) -> None:
    """0400 in the file, 0440 on the disk: tests/unit/test_keyfiles.py says which groups are taken then."""
    identity = next(volume["projected"] for volume in pod["volumes"] if volume["name"] == "identity")
    assert identity["defaultMode"] == 0o400
    assert not any("mode" in item for s in identity["sources"] for each in s.values() for item in each["items"])
    context = pod["securityContext"]
    assert context["runAsGroup"] == context["fsGroup"] == 65532
    assert context["fsGroupChangePolicy"] == "OnRootMismatch"
    [sidecar] = pod["initContainers"]
    assert (sidecar["securityContext"]["runAsUser"], sidecar["securityContext"]["runAsGroup"]) == (65532, 65532)


def test_the_fl_server_sees_the_socket_and_neither_key_nor_ledger(pod: Any) -> None:
    [server] = pod["containers"]
    mounts = {mount["name"]: mount for mount in server["volumeMounts"]}
    assert set(mounts) == {"control", "tmp"}
    assert mounts["control"]["readOnly"] is True
    assert server["securityContext"]["runAsUser"] != pod["initContainers"][0]["securityContext"]["runAsUser"]


def test_the_sidecar_is_a_native_one_and_the_fl_server_waits_for_it(pod: Any) -> None:
    [sidecar] = pod["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    for probe in ("startupProbe", "livenessProbe"):
        assert sidecar[probe]["exec"]["command"] == ["secagg-server", "health"]
    assert sidecar["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_the_pod_is_what_the_standard_called_restricted_allows(pod: Any) -> None:
    """Pod Security Standards, "restricted", each of its rows."""
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    for container in (*pod["containers"], *pod["initContainers"]):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 10_000
        assert context["readOnlyRootFilesystem"] is True
        assert "hostPort" not in str(container.get("ports", ""))


def test_the_pod_has_no_token_and_no_variables_of_services(objects: dict[str, Any], pod: Any) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert objects["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False


def test_there_is_one_coordinator_and_one_ledger(objects: dict[str, Any]) -> None:
    spec = objects["StatefulSet"]["spec"]
    assert spec["replicas"] == 1
    assert (
        "volumeClaimTemplates" not in spec
    )  # a second pod would get a ledger of its own, and spend every budget again
    claim = objects["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert objects["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 0


def test_the_network_lets_in_participants_and_monitoring_and_lets_out_names_alone(objects: dict[str, Any]) -> None:
    policy = objects["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"] == objects["StatefulSet"]["spec"]["selector"]["matchLabels"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    data, status = policy["ingress"]
    assert data == {"ports": [{"protocol": "TCP", "port": 7443}]}
    assert status["ports"] == [{"protocol": "TCP", "port": 9464}]
    assert status["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    [names] = policy["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    assert all(each["podSelector"] for each in names["to"])


def test_no_service_has_the_status_port(objects: dict[str, Any]) -> None:
    assert [port["port"] for port in objects["Service"]["spec"]["ports"]] == [7443]
    assert objects["Service"]["spec"]["type"] == "ClusterIP"
