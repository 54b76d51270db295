"""deploy/kubernetes as a cluster would be given it: kustomize's output where kubectl is, and the files themselves."""

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent / "deploy" / "kubernetes"
OVERLAYS = ("aws", "aws/migrate", "aws/drain", "aws/shell", "sqlite", "sqlite/shell", "sandbox")
"""All that somebody may apply."""

Manifest = dict[str, Any]


def files() -> list[Path]:
    """Every YAML file."""
    return sorted(ROOT.rglob("*.yaml"))


def documents(path: Path) -> list[Manifest]:
    return [one for one in yaml.safe_load_all(path.read_text("utf-8")) if one]


@cache
def rendered(overlay: str) -> str:
    """What `kubectl apply -k` would send. Skips the test without kubectl, which asks no cluster for this."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed (https://kubernetes.io/docs/tasks/tools)")
    command = [kubectl, "kustomize", str(ROOT / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    # kustomize's warnings: what is deprecated, or has no effect.
    assert done.stderr == ""
    return done.stdout


def objects(overlay: str) -> list[Manifest]:
    return [one for one in yaml.safe_load_all(rendered(overlay)) if one]


def written() -> list[Manifest]:
    """What stands in the files, before kustomize: without patches, and without what it adds."""
    found = [one for path in files() if path.name != "setup.yaml" for one in documents(path)]
    return [one for one in found if "metadata" in one]


def only(found: list[Manifest], kind: str, name: str = "relayd") -> Manifest:
    """The one of this kind and name; a ConfigMap's name ends with a hash."""
    (one,) = (o for o in found if o["kind"] == kind and o["metadata"]["name"].startswith(name))
    return one


def pods(found: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The pod templates, each with the name of what makes the pods."""
    for one in found:
        spec = one.get("spec", {})
        if one["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec:
            yield one["metadata"]["name"], spec["template"]


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def settings(overlay: str) -> dict[str, str]:
    """The lines of settings.env, the overlay's over those of all."""
    found: dict[str, str] = {}
    for folder in ("settings", f"overlays/{overlay}/settings"):
        lines = (ROOT / folder / "settings.env").read_text("utf-8").splitlines()
        found |= dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return found
