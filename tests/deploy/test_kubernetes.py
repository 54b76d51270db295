"""deploy/kubernetes: what relayd's own numbers and promises ask of the manifests, and what Kubernetes itself does."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from relayd import __version__
from relayd.clients import EVENTS_THREADS
from relayd.settings import SETTINGS, Settings
from tests.deploy.manifests import (
    OVERLAYS,
    ROOT,
    Manifest,
    containers,
    documents,
    files,
    objects,
    only,
    pods,
    rendered,
    settings,
    written,
)
from tests.deploy.promql import faults
from tests.deploy.tools import tool

VERSIONS = ("1.35.0", "1.36.0", "1.37.0")
"""Of Kubernetes: the latest three."""
WHOLE = ("aws", "sqlite", "sandbox")
"""Overlays with a daemon in them."""
FOREIGN = ("AWS_", "OTEL_")
SECRET = {
    "RELAYD_DATABASE_URL": "postgresql://relayd:secret@db.example/relayd",
    "RELAYD_SECRET": "8f2c1d7e90ab4365f1e2d3c4b5a69788",
}


def deployment() -> Manifest:
    (one,) = documents(ROOT / "base" / "deployment.yaml")
    return one


def daemon() -> Manifest:
    (one,) = deployment()["spec"]["template"]["spec"]["containers"]
    return dict(one)


def default(env: str) -> float:
    return float(next(setting.default or "" for setting in SETTINGS if setting.env == env))


def test_all_files_are_part_of_something() -> None:
    """No manifest lies about that no kustomization names, and each can be read."""
    for path in files():
        assert documents(path), path
        if path.name == "kustomization.yaml" or path.name.startswith("."):
            continue
        (whole,) = documents(path.parent / "kustomization.yaml")
        named = [*whole["resources"], *(patch.get("path") for patch in whole.get("patches", ()))]
        assert path.name in named, path


def test_one_version_everywhere() -> None:
    """The image is the one that this tree makes, wherever it is named."""
    tags = [image["newTag"] for path in files() for one in documents(path) for image in one.get("images", ())]
    assert len(tags) >= 3
    assert set(tags) == {__version__}


def test_a_stop_fits_into_the_grace() -> None:
    """The pod is given longer than relayd takes at most, its telemetry included, and no hook takes of that."""
    spec = deployment()["spec"]["template"]["spec"]
    grace = float(settings("aws")["RELAYD_GRACE_SECONDS"])
    assert grace == default("RELAYD_GRACE_SECONDS")
    assert spec["terminationGracePeriodSeconds"] >= grace + 10
    assert "lifecycle" not in daemon()


def test_the_probes() -> None:
    """Liveness asks about the poll loop, readiness about dependencies; a start has time for slow ones; a red liveness
    is no matter of one answer.
    """
    probes = {name: daemon()[name] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    paths = {name: probe["httpGet"]["path"] for name, probe in probes.items()}
    assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    assert {probe["httpGet"]["port"] for probe in probes.values()} == {"http"}
    start = probes["startupProbe"]
    slow = default("RELAYD_S3_CONNECT_SECONDS") + default("RELAYD_S3_READ_SECONDS")
    assert start["periodSeconds"] * start["failureThreshold"] >= 2 * slow
    assert probes["livenessProbe"]["failureThreshold"] >= 3
    assert min(probe["timeoutSeconds"] for probe in probes.values()) >= 2
    ports = {port["name"]: port["containerPort"] for port in daemon()["ports"]}
    assert settings("aws")["RELAYD_HTTP_ADDRESS"] == f"0.0.0.0:{ports['http']}"


def test_what_the_environment_quotes_is_known_by_then() -> None:
    """Kubernetes puts a variable into another one only where it stands above."""
    known: set[str] = set()
    for variable in daemon()["env"]:
        assert set(re.findall(r"\$\((\w+)\)", variable.get("value", ""))) <= known
        known.add(variable["name"])


@pytest.mark.parametrize("overlay", WHOLE)
def test_the_settings_work(overlay: str, tmp_path: Path) -> None:
    """Each is known, and together with the secret they are all that a start needs."""
    found = settings(overlay)
    known = {setting.env for setting in SETTINGS}
    assert {name for name in found if name not in known and not name.startswith(FOREIGN)} == set()
    assert not {name for name in found if name in ("RELAYD_SECRET", "AWS_SESSION_TOKEN")}
    if "RELAYD_SNS_CERTIFICATE_FILE" in found:
        (tmp_path / "sns.pem").write_text("-----BEGIN CERTIFICATE-----\n")
        found["RELAYD_SNS_CERTIFICATE_FILE"] = str(tmp_path / "sns.pem")
    loaded = Settings.load(SECRET | found)
    assert loaded.http_host == "0.0.0.0"
    assert loaded.database_url.startswith("sqlite:" if overlay == "sqlite" else "postgresql:")


def test_memory_fits_the_budget() -> None:
    """The limit holds what bench/large.py allows the interpreter beside the mail, all mail that may be in hand, and an
    operator's command in the pod.
    """
    budget = float(settings("aws")["RELAYD_MEMORY_BUDGET_MB"])
    limit = daemon()["resources"]["limits"]["memory"]
    assert limit.endswith("Mi")
    assert float(limit.removesuffix("Mi")) * 1.048576 >= budget + 150 + 100
    assert "cpu" not in daemon()["resources"]["limits"]


@pytest.mark.parametrize("overlay", [None, *OVERLAYS])
def test_every_pod_is_restricted(overlay: str | None) -> None:
    """Nobody's pod runs as root, writes to its image, holds a capability, or has a way into Kubernetes' API: as it is
    written, and as it comes out of each overlay.
    """
    found = dict(pods(objects(overlay) if overlay else written()))
    assert found
    for pod in found.values():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        # Or a Service named relayd would put settings of its own into the environment.
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["privileged"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


def test_no_job_passes_for_a_daemon() -> None:
    """What tells pods apart is a label that each kind of them has a value of its own for, and selectors ask for it."""
    found = written()
    component = "app.kubernetes.io/component"
    labels = {name: pod["metadata"]["labels"].get(component) for name, pod in pods(found) if name.startswith("relayd")}
    assert labels == {
        "relayd": "daemon",
        "relayd-prune": "prune",
        "relayd-migrate": "migrate",
        "relayd-drain": "drain",
        "relayd-shell": "shell",
    }
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert only(found, kind)["spec"]["selector"]["matchLabels"][component] == "daemon"
    assert only(found, "Service")["spec"]["selector"][component] == "daemon"


@pytest.mark.parametrize("overlay", WHOLE)
def test_selectors_find_the_daemons_and_nothing_else(overlay: str) -> None:
    """Deployment, Service and disruption budget leave jobs and what stands beside alone; the network policy has all
    that runs relayd.
    """
    found = objects(overlay)
    templates = dict(pods(found))
    for job in ("migrate", "drain", "shell"):
        templates |= dict(pods(objects(f"aws/{job}")))
    labels = {name: pod["metadata"]["labels"] for name, pod in templates.items()}
    selectors = {
        "Deployment": only(found, "Deployment")["spec"]["selector"]["matchLabels"],
        "Service": only(found, "Service")["spec"]["selector"],
    }
    if overlay != "sqlite":
        selectors["PodDisruptionBudget"] = only(found, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    for kind, selector in selectors.items():
        assert [name for name in labels if selector.items() <= labels[name].items()] == ["relayd"], kind
    (policy,) = (o["spec"] for o in found if (o["kind"], o["metadata"]["name"]) == ("NetworkPolicy", "relayd"))
    closed = {name for name in labels if policy["podSelector"]["matchLabels"].items() <= labels[name].items()}
    assert closed == {name for name in labels if name.startswith("relayd")}
    for pod in templates.values():
        for spread in pod["spec"].get("topologySpreadConstraints", ()):
            assert spread["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_the_network_is_closed_but_for_what_is_needed() -> None:
    """Names, HTTPS, PostgreSQL, the collector and Pod Identity's agent: not the nodes' metadata."""
    (policy,) = documents(ROOT / "base" / "networkpolicy.yaml")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    ways = {(port["port"], port.get("protocol")) for way in policy["spec"]["egress"] for port in way["ports"]}
    assert ways == {(53, "UDP"), (53, "TCP"), (443, "TCP"), (80, "TCP"), (5432, "TCP"), (4318, "TCP")}
    (agent,) = (way["to"] for way in policy["spec"]["egress"] if way["ports"][0]["port"] == 80)
    assert [peer["ipBlock"]["cidr"] for peer in agent] == ["169.254.170.23/32", "fd00:ec2::23/128"]


def test_a_drained_node_takes_one_daemon_at_a_time() -> None:
    """And a pod that is not ready keeps no node."""
    (budget,) = documents(ROOT / "base" / "poddisruptionbudget.yaml")
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert deployment()["spec"]["replicas"] >= 2
    assert deployment()["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_a_sqlite_file_has_one_pod() -> None:
    """Also in an update; and no job elsewhere tries to open the file."""
    found = objects("sqlite")
    spec = only(found, "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert {one["kind"] for one in found}.isdisjoint({"CronJob", "PodDisruptionBudget", "ScaledObject"})
    (mount,) = spec["template"]["spec"]["containers"][0]["volumeMounts"]
    assert settings("sqlite")["RELAYD_DATABASE_URL"].startswith(f"sqlite:///{mount['mountPath']}/")
    claim = only(found, "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]


def test_every_job_has_the_daemons_settings() -> None:
    """The same ConfigMap, by the hash of its text, and the same Secret."""
    found = objects("aws")
    named = {only(found, "ConfigMap")["metadata"]["name"]}
    every = dict(pods(found)) | {job: pod for job in ("migrate", "drain") for _, pod in pods(objects(f"aws/{job}"))}
    for name, pod in every.items():
        sources = [source for container in containers(pod) for source in container["envFrom"]]
        assert {s["configMapRef"]["name"] for s in sources if "configMapRef" in s} == named, name
        assert {s["secretRef"]["name"] for s in sources if "secretRef" in s} == {"relayd"}, name
    images = {container["image"] for pod in every.values() for container in containers(pod)}
    assert len(images) == 1


class TestScaling:
    """The ScaledObject; KEDA itself is not here."""

    @pytest.fixture
    def scaled(self) -> Any:
        return documents(ROOT / "components" / "keda" / "scaledobject.yaml")[-1]["spec"]

    @pytest.fixture
    def triggers(self, scaled: Any) -> dict[str, Any]:
        return {one["name"]: one for one in scaled["triggers"]}

    def test_how_many(self, scaled: Any) -> None:
        """Two at least, and no more than a PostgreSQL of 200 connections bears, one in an update included; nobody else
        sets the number.
        """
        assert scaled["minReplicaCount"] >= 2
        each = settings("aws")["RELAYD_CONCURRENCY"]
        assert (scaled["maxReplicaCount"] + 1) * (int(each) + EVENTS_THREADS + 4) <= 200
        assert "replicas" not in only(objects("aws"), "Deployment")["spec"]

    def test_the_queue_is_the_daemons(self, triggers: dict[str, Any]) -> None:
        """What is in flight counts, or the last messages' workers would be taken away."""
        depth = triggers["depth"]["metadata"]
        assert settings("aws")[depth["queueURLFromEnv"]].split(".")[1] == depth["awsRegion"]
        assert depth["scaleOnInFlight"] == "true"

    def test_the_formula(self, scaled: Any, triggers: dict[str, Any]) -> None:
        """It knows its triggers, and never calls for more pods while something else is the limit."""
        modifiers = scaled["advanced"]["scalingModifiers"]
        target = int(modifiers["target"])
        match = re.fullmatch(r"held > 0 && depth > pods \* (\d+) \? pods \* (\d+) : depth", modifiers["formula"])
        assert match
        assert {int(match[1]), int(match[2]), int(triggers["depth"]["metadata"]["queueLength"])} == {target}
        assert modifiers["metricType"] == "AverageValue"
        assert set(triggers) == {"depth", "held", "pods"}
        # See the file: it leaves the number as it is, and a fallback together with a formula would not.
        assert "fallback" not in scaled

    def test_the_queries(self, triggers: dict[str, Any]) -> None:
        """They ask for series that there are, and an answer that is missing is an error rather than a zero."""
        for name in ("held", "pods"):
            assert triggers[name]["metadata"]["ignoreNullValues"] == "false"
        assert list(faults(triggers["held"]["metadata"]["query"])) == []

    @pytest.mark.parametrize(
        ("breakers", "paused", "pace", "held"),
        [
            ((0, 0), 0, "0x20", 0),
            ((0, 2), 0, "0x20", 1),
            ((0, 1), 0, "0x20", 1),
            ((0, 0), 1, "0x20", 1),
            # Half a send waits on average, then three.
            ((0, 0), 0, "0+7.5x20", 0),
            ((0, 0), 0, "0+45x20", 1),
            ((2, 2), 1, "0+45x20", 3),
        ],
    )
    def test_what_holds(
        self, triggers: dict[str, Any], tmp_path: Path, breakers: tuple[int, int], paused: int, pace: str, held: int
    ) -> None:
        """A breaker of one pod, a pause of everything, or SES's rate; what only concerns the events, or one domain, or
        is waited for now and then does not.
        """
        one, other = breakers
        series = {
            'relayd_breaker{job="relayd",queue="mail",dependency="s3",instance="a"}': f"{one}x20",
            'relayd_breaker{job="relayd",queue="mail",dependency="s3",instance="b"}': f"{other}x20",
            'relayd_breaker{job="relayd",queue="events",dependency="database",instance="b"}': "2x20",
            'relayd_paused{job="relayd",scope="all",instance="a"}': f"{paused}x20",
            'relayd_paused{job="relayd",scope="domain",instance="a"}': "3x20",
            'relayd_pace_time_seconds_total{job="relayd",instance="a"}': pace,
        }
        assert evaluated(triggers["held"]["metadata"]["query"], series, tmp_path, held) == ""

    def test_what_cannot_be_seen(self, triggers: dict[str, Any], tmp_path: Path) -> None:
        """Without relayd's metrics there is no answer at all."""
        series = {'relayd_paused{job="relayd",scope="all",instance="a"}': "0x20"}
        assert evaluated(triggers["held"]["metadata"]["query"], series, tmp_path, None) == ""


def evaluated(query: str, series: dict[str, str], tmp_path: Path, expected: float | None) -> str:
    """Let promtool compare what the query answers after five minutes; returns what it complains of."""
    samples = [] if expected is None else [{"labels": "{}", "value": expected}]
    test = {
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [{"expr": query, "eval_time": "5m", "exp_samples": samples}],
            }
        ]
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump(test))
    command = [tool("promtool"), "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_prometheus_finds_what_alerts_go_by() -> None:
    """The Service's labels are those that the ServiceMonitor looks for, and its job is `relayd`."""
    found = objects("aws")
    monitor, service = only(found, "ServiceMonitor")["spec"], only(found, "Service")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "relayd"
    assert monitor["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_it(version: str, tmp_path: Path) -> None:
    """By its schemas, strictly: a field that it does not know is one that does nothing."""
    program = tool("kubernetes-validate")
    for overlay in OVERLAYS:
        (tmp_path / f"{overlay.replace('/', '-')}.yaml").write_text(rendered(overlay))
    command = [program, "--strict", "-k", version, *(str(path) for path in sorted(tmp_path.glob("*.yaml")))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = set(re.findall(r"for kind (\w+)", done.stdout + done.stderr))
    assert kinds <= {"ScaledObject", "TriggerAuthentication", "ServiceMonitor"}, "they are not Kubernetes' own"
