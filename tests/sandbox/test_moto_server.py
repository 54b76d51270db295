"""The recorder around the emulated SES, and the emulator as the process that it is."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from relayd.errors import ConfigurationError
from relayd.sandbox import moto_server
from relayd.sandbox.moto_server import MotoServer, Recorder
from relayd.sandbox.world import DOMAIN, Clients, Store, World


class FakeSes:
    """Accepts every send, or answers with another status."""

    def __init__(self, status: str = "200 OK") -> None:
        self.status = status
        self.bodies: list[bytes] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.bodies.append(environ["wsgi.input"].read())
        start_response(self.status, [])
        return [b'{"MessageId": ', f'"id-{len(self.bodies)}"'.encode(), b"}"]


def call(app: Recorder, method: str, path: str, body: bytes = b"", query: str = "") -> tuple[str, bytes]:
    statuses: list[str] = []
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    answer = b"".join(app(environ, lambda status, headers, *rest: statuses.append(status)))
    return statuses[0], answer


def send(app: Recorder, raw: str = "cmF3") -> tuple[str, bytes]:
    request = {
        "FromEmailAddress": "token@mask.example",
        "Destination": {"ToAddresses": ["me@home.example"]},
        "Content": {"Raw": {"Data": raw}},
        "EmailTags": [{"Name": "relayd-delivery", "Value": "d-1"}],
    }
    return call(app, *moto_server.SEND_EMAIL, json.dumps(request).encode())


def sent(app: Recorder, query: str = "since=0") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(call(app, "GET", moto_server.SENT, query=query)[1])["sent"]
    return found


def test_an_accepted_send_is_recorded_exactly() -> None:
    """Envelope, tags, bytes, time and SES's id; the caller and the emulator notice nothing."""
    ses = FakeSes()
    recorder = Recorder(ses, clock=lambda: 12.5)
    assert send(recorder) == ("200 OK", b'{"MessageId": "id-1"}')
    assert json.loads(ses.bodies[0])["Content"]["Raw"]["Data"] == "cmF3"
    assert sent(recorder) == [
        {
            "number": 1,
            "message_id": "id-1",
            "sender": "token@mask.example",
            "recipients": ["me@home.example"],
            "tags": {"relayd-delivery": "d-1"},
            "at": 12.5,
            "raw": "cmF3",
        }
    ]


def test_a_refused_send_is_not_recorded() -> None:
    """Only what SES accepted counts as sent."""
    recorder = Recorder(FakeSes("400 BAD REQUEST"))
    send(recorder)
    assert sent(recorder) == []


def test_other_calls_pass_through() -> None:
    """The layer is no emulator of its own."""
    ses = FakeSes()
    call(Recorder(ses), "GET", "/v2/email/account")
    assert len(ses.bodies) == 1


def test_sends_are_told_in_pages_from_a_number_on() -> None:
    """Who asks for what is new gets it in order, at most a page at once, without the bytes if it likes."""
    recorder = Recorder(FakeSes())
    for _ in range(moto_server.PAGE + 2):
        send(recorder)
    assert [item["number"] for item in sent(recorder)] == list(range(1, moto_server.PAGE + 1))
    assert [item["raw"] for item in sent(recorder, f"since={moto_server.PAGE}&raw=0")] == ["", ""]


def test_old_bytes_are_let_go() -> None:
    """Memory stays bounded: the oldest mails lose their bytes, never their envelope."""
    recorder = Recorder(FakeSes())
    for _ in range(3):
        send(recorder, "A" * (moto_server.KEPT_BYTES // 2))
    assert [bool(item["raw"]) for item in sent(recorder)] == [False, True, True]


@pytest.mark.process
def test_the_emulator_as_a_process(tmp_path: Path) -> None:
    """It starts, the world can be built twice, a send is seen with its bytes, and it ends when told."""
    emulator = MotoServer(tmp_path / "aws.log")
    try:
        clients = Clients(emulator.endpoint)
        world = World.build(emulator.endpoint, clients)
        assert World.build(emulator.endpoint, clients) == world
        clients.ses.send_email(
            FromEmailAddress=f"token@{DOMAIN}",
            Destination={"ToAddresses": ["me@home.example"]},
            Content={"Raw": {"Data": b"Subject: x\r\n\r\nhi\r\n"}},
        )
        (one,) = emulator.sent()
        assert (one.recipients, one.data) == (("me@home.example",), b"Subject: x\r\n\r\nhi\r\n")
        Store(world, clients).publish_odd("text")
        answer = clients.sqs.receive_message(QueueUrl=world.queue_url, WaitTimeSeconds=5)
        assert json.loads(answer["Messages"][0]["Body"])["Message"] == "text"
    finally:
        emulator.stop()
    assert not emulator.alive
    assert (tmp_path / "aws.log").read_bytes() == b""


@pytest.mark.process
def test_the_emulator_goes_with_its_parent() -> None:
    """However the sandbox dies, its end closes the emulator's standard input, and that ends it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "relayd.sandbox.moto_server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    json.loads(process.stdout.readline())
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()


@pytest.mark.parametrize(
    "endpoint", ["https://sqs.eu-west-1.amazonaws.com", "http://s3.amazonaws.com.cn", "localhost:5000", "ftp://x"]
)
def test_real_aws_and_nonsense_are_refused(endpoint: str) -> None:
    """The sandbox never works with an account."""
    with pytest.raises(ConfigurationError):
        Clients(endpoint)


def test_clients_ignore_the_users_profile(tmp_path: Path) -> None:
    """A profile that does not exist, set for other work, does not break the sandbox."""
    program = "from relayd.sandbox.world import Clients; print(Clients('http://127.0.0.1:9').s3.meta.endpoint_url)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "AWS_PROFILE": "missing", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "http://127.0.0.1:9", done.stderr
