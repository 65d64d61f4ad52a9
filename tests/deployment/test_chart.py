"""The Helm chart with the programs that read it: helm, kubernetes-validate, checkov, and the coordinator's settings."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from secagg_server.settings import load_settings

from secagg.crypto.identity import CoordinatorIdentity
from tests.deployment.chart import ALERTS, CHART, OF_A_GATEWAY, OF_THE_CHART, RENDERED, ROOT, rendered
from tests.deployment.conftest import program
from tests.machine import Machine
from tests.pages import Code

VALUES: Final = Path(__file__).parent / "values"
SETS: Final = {"default": [], **{path.stem: ["--values", str(path)] for path in sorted(VALUES.glob("*.yaml"))}}
OF_THE_CLUSTER: Final = ("v1", "apps/v1", "policy/v1", "networking.k8s.io/v1")
"""Of the other kinds (cert-manager's, the Prometheus operator's) kubernetes-validate has no schema."""

SKIPPED: Final = {
    "CKV_K8S_8": "liveness of the FL server: its image is the user's, flServer.livenessProbe",
    "CKV_K8S_9": "readiness of the FL server: its image is the user's, flServer.readinessProbe",
    "CKV_K8S_15": "pulling at each start: a registry that is down would keep the sidecar from starting again",
    "CKV_K8S_43": "digests of images: they are in the user's registry, image.digest",
}
"""What checkov finds in the default values, and why it is so. With values that a user gives there is nothing."""


def helm(*arguments: str, namespace: str = "secagg") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("helm"), *arguments, "--namespace", namespace], capture_output=True, text=True, check=False
    )


def template(*arguments: str, chart: Path = CHART) -> str:
    done = helm("template", "secagg", str(chart), *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(*arguments: str, chart: Path = CHART) -> dict[tuple[str, str], Any]:
    found = [each for each in yaml.safe_load_all(template(*arguments, chart=chart)) if each]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def pod(*arguments: str) -> Any:
    return objects(*arguments)["StatefulSet", "secagg"]["spec"]["template"]["spec"]


def test_the_default_is_what_is_committed() -> None:
    assert rendered() == RENDERED.read_text(), "run: make chart"


@pytest.mark.parametrize("values", SETS)
def test_helm_finds_nothing(values: str) -> None:
    done = helm("lint", "--strict", str(CHART), *SETS[values])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


def test_the_chart_is_packed_whole(tmp_path: Path) -> None:
    done = subprocess.run(
        [program("helm"), "package", CHART, "--destination", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    [package] = tmp_path.iterdir()
    text = subprocess.run(
        [program("helm"), "template", "secagg", package, "--namespace", "secagg"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert text == template()


@pytest.mark.parametrize("values", SETS)
def test_kubernetes_takes_every_object(values: str, tmp_path: Path) -> None:
    made = [each for each in yaml.safe_load_all(template(*SETS[values])) if each["apiVersion"] in OF_THE_CLUSTER]
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump_all(made))
    for version in ("1.29", "1.37"):  # the oldest that the chart takes, and the newest that there is
        done = subprocess.run(
            [program("kubernetes-validate"), "--strict", "-k", version, file],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert (done.stdout + done.stderr).count(" passed for resource ") == len(made)


def test_kubernetes_would_refuse_a_field_that_is_misspelt(tmp_path: Path) -> None:
    """The twin: `--strict` reads our objects to the end."""
    file = tmp_path / "objects.yaml"
    file.write_text(template().replace("readOnlyRootFilesystem", "readOnlyRootFileSystem"))
    done = subprocess.run([program("kubernetes-validate"), "--strict", file], capture_output=True, check=False)
    assert done.returncode != 0


def checkov(text: str, folder: Path) -> set[str]:
    """The checks that fail. Without asking its makers' servers for anything."""
    file = folder / "objects.yaml"
    file.write_text(text)
    done = subprocess.run(
        [program("checkov"), "--file", file, "--framework", "kubernetes", "--skip-download", "--output", "json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "BC_SKIP_MAPPING": "TRUE", "CHECKOV_RUN_SCA_PACKAGE_SCAN_V2": "false"},
    )
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 80
    return {check["check_id"] for check in report["results"]["failed_checks"]}


def test_checkov_finds_what_is_the_users_own(tmp_path: Path) -> None:
    assert checkov(template(), tmp_path) == set(SKIPPED)


def test_checkov_finds_nothing_once_the_user_has_chosen(tmp_path: Path) -> None:
    assert checkov(template(*SETS["all"]), tmp_path) == set()


# --- deploy/README.md -------------------------------------------------------------------------------------------------

KUBECTL: Final = """#!/bin/sh
printf '%s\\n' "$*" >>"$0.log"
for each; do case $each in --from-file=*) test -r "${each##*=}" || exit 1; esac; done
"""
"""There is no cluster: it notes what it is asked, and looks whether the files are there."""


@pytest.mark.runs("deploy/README.md", "yaml", "flServer:")
@pytest.mark.runs("deploy/README.md", "sh", "kubectl create namespace")
def test_the_page_installs_the_chart(tmp_path: Path, page: Code) -> None:
    machine = Machine(tmp_path)
    [values], [commands] = page.rest("yaml"), page.rest("sh")
    (tmp_path / "values.yaml").write_text(values)
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    kubectl, installer = tmp_path / "bin/kubectl", tmp_path / "bin/helm"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    installer.symlink_to(program("helm"))
    machine.shell("secagg ca init && secagg ca issue server --host aggregator.example.org")
    told = machine.shell(commands.replace("helm upgrade --install", "helm template"))
    made = {each["kind"]: each for each in yaml.safe_load_all(told[told.index("---") :])}
    asked = (tmp_path / "bin/kubectl.log").read_text()
    [volume] = [v for v in made["StatefulSet"]["spec"]["template"]["spec"]["volumes"] if v["name"] == "identity"]
    for source in volume["projected"]["sources"]:
        if "secret" in source:
            assert f"create secret generic {source['secret']['name']} " in asked
            assert all(f"--from-file={item['key']}=" in asked for item in source["secret"]["items"])
    assert f"rollout status statefulset/{made['StatefulSet']['metadata']['name']}\n" in asked
    assert f"exec {made['StatefulSet']['metadata']['name']}-0 --container sidecar -- secagg-server health\n" in asked
    assert made["Service"]["spec"]["type"] == "LoadBalancer"


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_arrive_at_the_coordinator_as_they_were_written(tmp_path: Path) -> None:
    text = objects(*SETS["all"])["ConfigMap", "secagg-settings"]["data"]["secagg-server.toml"]
    (tmp_path / "settings.toml").write_text(text)
    settings = load_settings(tmp_path / "settings.toml", {})
    wanted = yaml.safe_load((VALUES / "all.yaml").read_text())["settings"]
    assert set(tomllib.loads(text)) == OF_THE_CHART | set(wanted)
    assert settings.model_dump(include=set(wanted), exclude={"budgets"}) == {
        k: v for k, v in wanted.items() if k != "budgets"
    }
    assert settings.budgets['heart "study" <1>'].epsilon == 1.0
    assert settings.budgets["digits"].delta == 1e-5


def test_other_settings_are_another_pod_and_a_new_chart_alone_is_not(tmp_path: Path) -> None:
    def template_of(*arguments: str, chart: Path = CHART) -> Any:
        same_image = ("--set-string", "sidecar.image.tag=1")
        return objects(*same_image, *arguments, chart=chart)["StatefulSet", "secagg"]["spec"]["template"]

    later = tmp_path / "secagg"
    shutil.copytree(CHART, later)
    about = later / "Chart.yaml"
    about.write_text(re.sub("^(version|appVersion): .*$", r"\1: 99.0.0", about.read_text(), flags=re.MULTILINE))
    assert template_of("--set", "settings.max_open_rounds=8")["metadata"] != template_of()["metadata"]
    assert template_of(chart=later) == template_of()


@pytest.mark.parametrize("release", ["1secagg", "sec.agg"])
def test_a_release_whose_name_no_service_can_have_is_refused(release: str) -> None:
    done = helm("template", release, str(CHART))
    assert done.returncode != 0
    assert "is no name for a Service" in done.stderr


def test_a_settings_file_cannot_be_broken_out_of() -> None:
    hostile = 'a" = {}\nkey = "/etc/passwd"\n#'
    made = objects("--set-json", "settings=" + json.dumps({"budgets": {hostile: {"epsilon": 1}}}))
    read = tomllib.loads(made["ConfigMap", "secagg-settings"]["data"]["secagg-server.toml"])
    assert read["budgets"] == {hostile: {"epsilon": 1}}
    assert read["key"] == "/etc/secagg/key.pem"


# --- what is refused --------------------------------------------------------------------------------------------------

REFUSED: Final = {
    "replicas=2": "/replicas': value must be 1",
    "setings.log_level=info": "additional properties 'setings' not allowed",
    "settings.max_open_round=3": "additional properties 'max_open_round' not allowed",
    "settings.max_open_rounds=0": "minimum: got 0, want 1",
    "settings.max_open_rounds=33": "keep_finished_rounds (32) must be at least settings.max_open_rounds (33)",
    "settings.log_level=loud": "/settings/log_level': value must be one of",
    "settings.listen=0.0.0.0:80": "additional properties 'listen' not allowed",
    "settings.key=/tmp/key.pem": "additional properties 'key' not allowed",
    "settings.budget.epsilon=0": "exclusiveMinimum: got 0, want 0",
    "settings.budget.sigma=1": "additional properties 'sigma' not allowed",
    "settings.shutdown_grace_s=51": "terminationGracePeriodSeconds is 60; write at least 61",
    "terminationGracePeriodSeconds=14": "terminationGracePeriodSeconds is 14; write at least 15",
    "terminationGracePeriodSeconds=0": "minimum: got 0, want 10",
    "flServer.runAsUser=0": "minimum: got 0, want 1,000",
    "flServer.runAsUser=65532": "/flServer/runAsUser': 'not' failed",
    "flServer.volumes[0].name=identity": "/flServer/volumes/0/name': 'not' failed",
    "flServer.volumeMounts[0].name=identity,flServer.volumeMounts[0].mountPath=/i": "Mounts/0/name': 'not' failed",
    "flServer.volumeMounts[0].name=ledger,flServer.volumeMounts[0].mountPath=/l": "Mounts/0/name': 'not' failed",
    "flServer.volumeMounts[0].name=control,flServer.volumeMounts[0].mountPath=/c": "Mounts/0/name': 'not' failed",
    "podLabels.app\\.kubernetes\\.io/name=other": "invalid propertyName 'app.kubernetes.io/name'",
    "flServer.privileged=true": "additional properties 'privileged' not allowed",
    "flServer.image.tag=latest": "has the tag latest",
    "flServer.image.repository=UPPER": "does not match pattern",
    "sidecar.image.digest=sha256:12": "does not match pattern",
    "sidecar.resources.limits.memory=much": "does not match pattern",
    "sidecar.resources.limits.gpu=1": "additional properties 'gpu' not allowed",
    "flServer.ports[0].name=fl,flServer.ports[0].port=7443": "/flServer/ports/0/port': 'not' failed",
    "flServer.ports[0].name=data,flServer.ports[0].port=80": "/flServer/ports/0/name': 'not' failed",
    "flServer.ports[0].name=fl,flServer.ports[0].port=70000": "maximum: got 70,000, want 65,535",
    "service.type=ExternalName": "/service/type': value must be one of",
    "service.externalTrafficPolicy=Sometimes": "/service/externalTrafficPolicy': value must be one of",
    "service.nodePort=hello": "/service/nodePort': got string, want",
    "ledger.accessMode=ReadWriteMany": "/ledger/accessMode': value must be one of",
    "ledger.size=big": "does not match pattern",
    "participantCA.kind=File": "/participantCA/kind': value must be one of",
    "participantCA.kind=ConfigMap": "/participantCA/name': minLength: got 0, want 1",
    "identity.secret=Not A Name": "does not match pattern",
    "identity.certManager.enabled=true": "/identity/certManager/issuerRef/name': minLength: got 0, want 1",
    "identity.certManager.enabled=true,identity.certManager.issuerRef.name=ca": "dnsNames': minItems: got 0, want 1",
    "identity.certManager.dnsNames[0]=fl_server": "does not match pattern",
    "identity.certManager.enabled=true,identity.certManager.issuerRef.name=ca,identity.certManager.issuerRef.kind=Issuer,"
    "identity.certManager.dnsNames[0]=a.example": "whose CA key would be in this namespace",
    "networkPolicy.enabled=perhaps": "got string, want boolean",
    "ipv6=perhaps": "/ipv6': got string, want boolean",
    "podDisruptionBudget.minAvailable=1": "additional properties 'minAvailable' not allowed",
    "monitoring.podMonitor.interval=often": "does not match pattern",
}


@pytest.mark.parametrize("values", REFUSED)
def test_values_that_are_misspelt_or_out_of_range_are_refused(values: str) -> None:
    done = helm("template", "secagg", str(CHART), "--set", values)
    assert done.returncode != 0
    assert REFUSED[values] in done.stderr


# --- who the sidecar is -----------------------------------------------------------------------------------------------


def test_a_certificate_of_cert_manager_is_one_that_the_coordinator_takes() -> None:
    """The fields of the Certificate, made into a certificate as cert-manager and a CA do."""
    spec = objects(*SETS["cert-manager"])["Certificate", "secagg"]["spec"]
    assert spec["secretName"] == "secagg-identity"
    assert spec["issuerRef"] == {"name": "study-ca", "kind": "VaultClusterIssuer", "group": "vault.example.org"}
    assert spec["privateKey"] == {"algorithm": "ECDSA", "size": 256, "encoding": "PKCS8", "rotationPolicy": "Always"}
    assert spec["usages"] == ["digital signature", "server auth"]
    now = datetime.now(UTC)
    key, ca_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(name) for name in spec["dnsNames"]]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, spec["commonName"])]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "study CA")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=int(spec["duration"].removesuffix("h"))))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_digital_signature(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    identity = CoordinatorIdentity.from_pem(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        now,
    )
    assert identity.not_valid_after > now


def _digital_signature() -> x509.KeyUsage:
    others = (
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
    )
    return x509.KeyUsage(True, **dict.fromkeys(others, False), encipher_only=False, decipher_only=False)


def test_the_chart_never_has_a_key_of_its_own() -> None:
    """No Secret is written: identities come from where the CA is."""
    for values in SETS.values():
        made = objects(*values)
        assert not any(kind in {"Secret", "Issuer", "ClusterIssuer"} for kind, _ in made)
        assert "PRIVATE KEY" not in str(made)


# --- the rest of the values -------------------------------------------------------------------------------------------


def test_a_load_balancer_passes_tcp_on_and_keeps_addresses() -> None:
    service = objects(*SETS["all"])["Service", "secagg"]["spec"]
    assert service["type"] == "LoadBalancer"
    assert service["externalTrafficPolicy"] == "Local"
    assert service["loadBalancerSourceRanges"] == ["192.0.2.0/24"]
    assert service["ports"] == [{"name": "data", "protocol": "TCP", "port": 443, "targetPort": 7443, "nodePort": 30443}]


def test_a_pod_with_addresses_of_ipv6_listens_on_them() -> None:
    """In the file and in the environment, where the image has addresses of IPv4 that go before the file."""
    made = objects("--set", "ipv6=true")
    read = tomllib.loads(made["ConfigMap", "secagg-settings"]["data"]["secagg-server.toml"])
    [sidecar] = made["StatefulSet", "secagg"]["spec"]["template"]["spec"]["initContainers"]
    given = {each["name"]: each["value"] for each in sidecar["env"]}
    for name, address in {"listen": "[::]:7443", "status": "[::]:9464"}.items():
        assert read[name] == given[f"SECAGG_SERVER_{name.upper()}"] == address
    assert not [line for line in template().splitlines() if "[::]" in line]


def test_ports_of_the_fl_server_have_a_service_and_a_rule_of_their_own() -> None:
    made = objects(*SETS["all"])
    assert [(port["port"], port["targetPort"]) for port in made["Service", "secagg-fl"]["spec"]["ports"]] == [
        (9092, 9092),
        (9093, 9093),
    ]
    participants, _, clients = made["NetworkPolicy", "secagg"]["spec"]["ingress"]
    assert participants["from"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}]
    assert [port["port"] for port in clients["ports"]] == [9092, 9093]
    assert len(objects()["NetworkPolicy", "secagg"]["spec"]["ingress"]) == 2


def test_a_gateway_has_a_port_its_files_and_a_rule() -> None:
    made = objects(*SETS["gateway"])
    settings = tomllib.loads(made["ConfigMap", "secagg-settings"]["data"]["secagg-server.toml"])
    spec = made["StatefulSet", "secagg"]["spec"]["template"]["spec"]
    [sidecar] = spec["initContainers"]
    assert settings["gateway"] == "0.0.0.0:8443"
    assert settings["gateway_origins"] == ["https://app.hospital.example"]
    assert {"name": "gateway", "containerPort": 8443, "protocol": "TCP"} in sidecar["ports"]
    data, gateway = made["Service", "secagg"]["spec"]["ports"]
    assert (data["port"], data["targetPort"]) == (7443, 7443)
    assert (gateway["port"], gateway["targetPort"], gateway["nodePort"]) == (443, 8443, 30444)
    [identity] = [each for each in spec["volumes"] if each["name"] == "identity"]
    assert identity["projected"]["defaultMode"] == 0o400
    secrets = {each["secret"]["name"]: each["secret"]["items"] for each in identity["projected"]["sources"][:-1]}
    paths = {item["path"] for name in ("heart-tokens", "heart-web") for item in secrets[name]}
    assert {f"/etc/secagg/{path}" for path in paths} == {settings[name] for name in OF_A_GATEWAY - {"gateway"}}
    rules = made["NetworkPolicy", "secagg"]["spec"]["ingress"]
    assert rules[1] == {
        "ports": [{"protocol": "TCP", "port": 8443}],
        "from": [{"ipBlock": {"cidr": "203.0.113.0/24"}}],
    }
    everybody = objects(*SETS["gateway"], "--set-json", "networkPolicy.gatewayClients=[]")
    assert "from" not in everybody["NetworkPolicy", "secagg"]["spec"]["ingress"][1]


def test_a_gateway_without_a_certificate_of_its_own_shows_the_sidecars() -> None:
    made = objects(*SETS["gateway"], "--set", "gateway.certificateSecret=", "--set", "ipv6=true")
    settings = tomllib.loads(made["ConfigMap", "secagg-settings"]["data"]["secagg-server.toml"])
    assert settings["gateway"] == "[::]:8443"
    assert set(settings) & OF_A_GATEWAY == {"gateway", "gateway_token_key"}
    assert "gateway-cert.pem" not in str(made["StatefulSet", "secagg"])


def test_without_a_gateway_nothing_knows_of_one() -> None:
    assert not [word for word in ("8443", "gateway_", "token.keys") if word in template()]


def test_without_a_ledger_nothing_lasts() -> None:
    made = objects(*SETS["no-ledger"])
    assert not any(kind == "PersistentVolumeClaim" for kind, _ in made)
    assert "ledger" not in str(made["StatefulSet", "secagg"])
    settings = tomllib.loads(made["ConfigMap", "secagg-settings"]["data"]["secagg-server.toml"])
    assert set(settings) == OF_THE_CHART - {"state_dir", "ledger_dir"}


def test_a_claim_that_exists_is_used_and_none_is_made() -> None:
    made = objects(*SETS["least"])
    assert not any(kind == "PersistentVolumeClaim" for kind, _ in made)
    [volume] = [v for v in pod(*SETS["least"])["volumes"] if v["name"] == "ledger"]
    assert volume["persistentVolumeClaim"] == {"claimName": "heart-ledger"}


def test_the_policy_without_any_way_out_is_one() -> None:
    spec = objects("--set-json", "networkPolicy.dns=[]")["NetworkPolicy", "secagg"]["spec"]
    assert (spec["policyTypes"], spec["egress"]) == (["Ingress", "Egress"], [])


def test_the_operator_of_prometheus_finds_the_pod_by_the_ports_name() -> None:
    monitor = objects(*SETS["cert-manager"])["PodMonitor", "secagg"]["spec"]
    [endpoint] = monitor["podMetricsEndpoints"]
    assert endpoint == {"port": "status", "path": "/metrics", "interval": "15s"}
    assert endpoint["port"] in {port["name"] for port in pod()["initContainers"][0]["ports"]}
    labels = objects()["StatefulSet", "secagg"]["spec"]["template"]["metadata"]["labels"]
    assert labels[monitor["jobLabel"]] == "secagg"  # the job of the alerts
    assert monitor["selector"]["matchLabels"].items() <= labels.items()


def test_the_alerts_are_those_of_the_deployment(tmp_path: Path) -> None:
    rule = objects(*SETS["cert-manager"])["PrometheusRule", "secagg"]
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text())
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump(rule["spec"]))
    done = subprocess.run([program("promtool"), "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_everything_is_in_the_namespace_of_the_release() -> None:
    for each in yaml.safe_load_all(helm("template", "heart", str(CHART), namespace="study").stdout):
        assert each["metadata"]["namespace"] == "study"
        assert each["metadata"]["name"].startswith("heart")


def test_the_notes_say_what_is_still_missing() -> None:
    def notes(*arguments: str) -> str:
        done = helm("install", "secagg", str(CHART), "--dry-run=client", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.partition("NOTES:")[2]

    assert "must name your registry" in notes()
    assert "must name your registry" not in notes(*SETS["all"])
    assert "every pod of the cluster can reach the status port" in notes(*SETS["least"])
