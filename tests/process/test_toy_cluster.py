"""deploy/kubernetes/overlays/sandbox: its containers as processes on one machine, with its settings."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from relayd.sandbox.setup import main
from tests.deploy.manifests import ROOT, documents, settings
from tests.process.cloud import DaemonProcess, clean_environment, eventually, free_port

pytestmark = pytest.mark.process

OVERLAY = ROOT / "overlays" / "sandbox"
AWS = "http://aws:4566"
MAIL = (
    b"From: ann@stranger.example\r\nTo: shop@mask.example\r\nSubject: hello\r\n"
    b"Message-ID: <1@stranger.example>\r\n\r\nhi\r\n"
)


def command(file: str, container: str) -> list[str]:
    """What the container runs, by this interpreter."""
    for one in documents(OVERLAY / file):
        spec = one["spec"].get("template", {}).get("spec", {})
        for found in (*spec.get("initContainers", ()), *spec.get("containers", ())):
            if found["name"] == container:
                assert found["command"][0] == "python3"
                return [sys.executable, *found["command"][1:]]
    raise LookupError(container)


def secret() -> dict[str, str]:
    (whole,) = documents(OVERLAY / "kustomization.yaml")
    (generated,) = whole["secretGenerator"]
    return dict(literal.split("=", 1) for literal in generated["literals"])


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[str]:
    """Where the emulated AWS listens: on loopback, for this is no cluster."""
    arguments = command("aws.yaml", "aws")
    assert arguments[arguments.index("--host") + 1] == "0.0.0.0"
    arguments[arguments.index("--host") + 1] = "127.0.0.1"
    assert f":{arguments[arguments.index('--port') + 1]}" in AWS
    arguments[arguments.index("--port") + 1] = "0"
    with (tmp_path / "aws.log").open("wb") as log:
        process = subprocess.Popen(
            arguments, env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
    assert process.stdout
    assert process.stdin
    yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


def asked(method: str, url: str, document: Any = None) -> Any:
    body = None if document is None else json.dumps(document).encode()
    return json.loads(urllib3.request(method, url, body=body, retries=False).data)


def test_mail_goes_through_the_toy(aws: str, tmp_path: Path) -> None:
    """Set up twice, as before each of two daemons; then the daemon is ready, and a mail that is let in as the README
    says is forwarded.
    """
    found = {name: value.replace(AWS, aws) for name, value in (settings("sandbox") | secret()).items()}
    found |= {
        "RELAYD_DATABASE_URL": f"sqlite:///{tmp_path}/relayd.db",
        "RELAYD_SNS_CERTIFICATE_FILE": str(tmp_path / "sns.pem"),
        "RELAYD_HTTP_ADDRESS": f"127.0.0.1:{free_port()}",
        "RELAYD_WAIT_SECONDS": "1",
    }
    for _ in range(2):
        done = subprocess.run(
            command("setup.yaml", "setup"),
            env=clean_environment() | found,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout == f"ready: {found['RELAYD_QUEUE_URL']}\n"
    daemon = DaemonProcess(found, tmp_path / "daemon.log")
    try:
        daemon.wait_ready()
        data = base64.b64encode(MAIL).decode()
        mail = {"source": "ann@stranger.example", "recipients": ["shop@mask.example"], "data": data}
        assert asked("POST", f"{aws}/_relayd/receive", mail)["mail_id"]
        assert eventually(lambda: len(asked("GET", f"{aws}/_relayd/sent")["sent"]) == 1, 10), daemon.output()
        assert daemon.stop() == 0
        settled = daemon.events("message_settled")
        assert "forwarded" in {line["reason"] for line in settled}
        assert "rejected" not in {line["outcome"] for line in settled}
    finally:
        daemon.kill()


def test_a_toy_is_a_toy() -> None:
    """It says which settings it needs, and never sets anything up at AWS itself."""
    with pytest.raises(SystemExit, match="AWS_ENDPOINT_URL, RELAYD_DATABASE_URL, RELAYD_SNS_CERTIFICATE_FILE"):
        main({})
    real = settings("sandbox") | secret() | {"AWS_ENDPOINT_URL": "https://sqs.eu-west-1.amazonaws.com"}
    with pytest.raises(SystemExit, match="AWS itself"):
        main(real)


def test_a_toy_waits_for_its_parts(tmp_path: Path) -> None:
    """The AWS may be there later than the daemon's pod."""
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            raise InterruptedError

    certificate = tmp_path / "sns.pem"
    nowhere = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}", "RELAYD_SNS_CERTIFICATE_FILE": str(certificate)}
    with pytest.raises(InterruptedError):
        main(settings("sandbox") | secret() | nowhere, wait)
    assert not certificate.exists()
