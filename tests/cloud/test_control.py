"""The emulator as a process: credentials, truth, a fresh start, and what it may know of relayd."""

import ast
import json
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
import urllib3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

import relayd.sandbox.cloud
from relayd.errors import RelaydError
from relayd.sandbox.cloud.client import EmbeddedAws
from relayd.sandbox.cloud.records import KEPT_BYTES, PAGE, PAGE_BYTES, Sends
from tests.cloud.server import EmbeddedServer

MAIL = b"From: a@mask.example\r\n\r\nx\r\n"


@pytest.mark.parametrize(
    ("service", "call", "code"),
    [
        ("sqs", "list_queues", "MissingAuthenticationToken"),
        ("sesv2", "get_account", "MissingAuthenticationTokenException"),
        ("s3", "list_buckets", "AccessDenied"),
        ("sns", "list_topics", "MissingAuthenticationToken"),
        ("sts", "get_caller_identity", "MissingAuthenticationToken"),
    ],
)
def test_unsigned_requests_are_refused(server: EmbeddedServer, service: str, call: str, code: str) -> None:
    """Any signature will do, but there must be one."""
    config = Config(signature_version=UNSIGNED)
    client: Any = server.session.create_client(service, endpoint_url=server.endpoint, config=config)
    if service == "s3":
        with pytest.raises(ClientError, match="AccessDenied"):
            client.put_object(Bucket="any-bucket", Key="k", Body=b"x")
    with pytest.raises(ClientError) as caught:
        getattr(client, call)()
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_calls_and_errors_are_counted(server: EmbeddedServer) -> None:
    """By operation, and errors by their code."""
    before = server.aws.counts()
    bucket = server.new_bucket()
    with pytest.raises(ClientError):
        server.s3.get_object(Bucket=bucket, Key="not-there")
    after = server.aws.counts()
    for counts, name in (("calls", "s3:GetObject"), ("errors", "s3:GetObject NoSuchKey")):
        assert after[counts][name] == before[counts].get(name, 0) + 1
    assert after["objects"][bucket] == 0


def test_what_lies_in_a_queue_can_be_seen_without_taking_it(server: EmbeddedServer) -> None:
    """All of it, page by page, leased or not, with its attributes; looking changes nothing."""
    url, _ = server.new_queue()
    attributes: Any = {"why": {"DataType": "String", "StringValue": "because"}}
    for number in range(PAGE + 1):
        server.sqs.send_message(QueueUrl=url, MessageBody=f"b{number}", MessageAttributes=attributes)
    [received] = server.sqs.receive_message(QueueUrl=url)["Messages"]
    for _ in range(2):
        found = server.aws.messages(url.rpartition("/")[2])
        assert [one["body"] for one in found] == [f"b{number}" for number in range(PAGE + 1)]
        assert [one["state"] for one in found] == ["in_flight"] + ["visible"] * PAGE
        assert [one["receive_count"] for one in found] == [1] + [0] * PAGE
    assert found[0]["message_id"] == received["MessageId"]
    assert found[0]["attributes"] == attributes
    with pytest.raises(RelaydError, match="no such queue"):
        server.aws.messages("not-there")


def test_a_queue_keeps_the_truth_of_its_messages(server: EmbeddedServer) -> None:
    """How many were sent, received and deleted, and with which receive counts."""
    url, _ = server.new_queue()
    for _ in range(3):
        server.sqs.send_message(QueueUrl=url, MessageBody="x")
    server.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=3, VisibilityTimeout=0)
    received = server.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=2)["Messages"]
    server.sqs.delete_message(QueueUrl=url, ReceiptHandle=received[0]["ReceiptHandle"])
    server.sqs.delete_message(QueueUrl=url, ReceiptHandle=received[0]["ReceiptHandle"])
    told = next(one for name, one in server.aws.counts()["queues"].items() if name.endswith(url.rpartition("/")[2]))
    wanted = {"sent": 3, "received": 5, "most_received": 2, "deleted": {"2": 1}, "redelivered": 0}
    assert {name: told[name] for name in wanted} == wanted


def test_what_is_not_there(server: EmbeddedServer) -> None:
    """Control answers for what it has, and says what it does not understand."""
    for method, path, body, status in (
        ("GET", "nothing", None, 404),
        ("DELETE", "sent", None, 404),
        ("PUT", "faults", b"{", 400),
        ("PUT", "faults", b"{}", 400),
        ("PUT", "settings", b"[]", 400),
    ):
        answer = urllib3.request(method, f"{server.endpoint}/_relayd/{path}", body=body)
        assert answer.status == status
        assert answer.json()["problem"]
    for changes in ({"nothing": 1}, {"strict": "yes"}, {"daily_quota": 1.5}, {"daily_quota": True}):
        with pytest.raises(RelaydError):
            server.aws.settings(**changes)


def test_sends_lose_their_bytes_before_they_fill_the_memory() -> None:
    """Old mails keep their envelope; a page is bounded in mails and in bytes."""
    sends = Sends()
    size = PAGE_BYTES // 2
    for number in range(KEPT_BYTES // size + 2):
        data = bytes(size)
        sends.add(f"m{number}", "a@b", ["c@d"], {}, configuration_set="", at=0.0, fates={}, data=data)
    page = sends.page(0, raw=True)
    assert [len(one["raw"]) > 0 for one in page] == [False, False, True, True]
    assert [one["message_id"] for one in page] == ["m0", "m1", "m2", "m3"]
    assert len(sends.page(0, raw=False)) == len(sends)
    for _ in range(PAGE):
        sends.add("m", "a@b", ["c@d"], {}, configuration_set="", at=0.0, fates={}, data=b"")
    assert len(sends.page(0, raw=False)) == PAGE


class TestProcess:
    """With a process of its own: a reset would pull the ground from under other tests."""

    @pytest.fixture
    def own(self, tmp_path: Path) -> EmbeddedServer:
        return EmbeddedServer(EmbeddedAws(tmp_path / "aws.log"))

    def test_a_reset_forgets_everything_but_the_key(self, own: EmbeddedServer) -> None:
        """Queues, objects, sends, counts and faults are gone; what was signed still verifies."""
        own.new_queue()
        own.new_bucket()
        own.ses.create_email_identity(EmailIdentity="mask.example")
        to = {"ToAddresses": ["a@b.example"]}
        own.ses.send_email(Destination=to, Content={"Raw": {"Data": MAIL}})
        own.aws.faults([{"operation": "s3:*", "fault": "deny"}])
        own.aws.settings(sandbox=True)
        certificate = own.aws.certificate()
        own.aws.reset()
        assert own.aws.counts() == {
            "calls": {},
            "errors": {},
            "queues": {},
            "objects": {},
            "sent": 0,
            "undeliverable": 0,
        }
        assert own.aws.sent() == []
        assert own.s3.list_buckets()["Buckets"] == []
        assert own.ses.get_account()["ProductionAccessEnabled"]
        assert own.aws.certificate() == certificate
        own.aws.stop()
        assert not own.aws.alive

    def test_it_ends_with_its_standard_input(self) -> None:
        """However its parent ends, it does not stay behind; it says its port in one line."""
        command = [sys.executable, "-m", "relayd.sandbox.cloud", "--port", "0"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["port"]
            assert urllib3.request("GET", f"http://127.0.0.1:{port}/_relayd/counts").status == 200
            process.stdin.close()
            assert process.wait(5) == 0

    def test_one_that_does_not_start_says_so(self, tmp_path: Path) -> None:
        """Its complaint is in the log, and its owner learns of it."""
        log = tmp_path / "aws.log"
        aws = EmbeddedAws(log, certificate_url="own")
        aws.kill()
        end = time.monotonic() + 5
        while aws.alive and time.monotonic() < end:
            time.sleep(0.01)
        with pytest.raises(RelaydError, match="did not start"):
            _ = aws.endpoint
        aws.stop()


def test_it_shares_no_code_with_the_daemon() -> None:
    """Its rooms import only one another, relayd.model and the sandbox's own picture of what SES does with mail that
    comes in; the client alone, which runs elsewhere, may know more.
    """
    folder = Path(relayd.sandbox.cloud.__file__).parent
    allowed = ("relayd.sandbox.cloud", "relayd.sandbox.receiving", "relayd.model")
    for path in folder.glob("*.py"):
        if path.name == "client.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            foreign = [name for name in names if name.startswith("relayd") and not name.startswith(allowed)]
            assert foreign == [], path.name


def test_nobody_in_relayd_imports_it_but_the_sandbox() -> None:
    """The daemon does not know that there is such a thing."""
    root = Path(relayd.sandbox.cloud.__file__).parents[2]
    users = {path.relative_to(root).parts[0] for path in root.rglob("*.py") if "sandbox.cloud" in path.read_text()}
    assert users <= {"sandbox"}


def test_ids_of_sends_differ_between_runs(server: EmbeddedServer) -> None:
    """A message id is never given twice, not even after a reset."""
    name = f"{uuid.uuid4().hex[:8]}.example"
    server.ses.create_email_identity(EmailIdentity=name)
    data = f"From: a@{name}\r\n\r\n".encode()
    call = {"Destination": {"ToAddresses": ["b@c.example"]}, "Content": {"Raw": {"Data": data}}}
    ids = [server.ses.send_email(**call)["MessageId"] for _ in range(3)]
    assert len(set(ids)) == 3
