"""`python -m deploy.smoke`, against the embedded AWS: it refuses, it only tells, it does it all, and nothing stays."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from relayd.sandbox.cloud.client import EmbeddedAws
from relayd.sandbox.world import DOMAIN, Clients
from tests.process.cloud import clean_environment, eventually

ROOT = Path(__file__).parent.parent.parent
ACCOUNT = "123456789012"
REGION: Final = "eu-west-1"
NEW_CALLS = re.compile(r"(?!Get|List|Head).*")


class Emulated:
    """An account with one verified domain and nothing else in it, and the script that is tried on it."""

    def __init__(self, folder: Path) -> None:
        self.aws = EmbeddedAws(folder / "aws.log")
        self.clients = Clients(self.aws.endpoint, REGION)
        self.clients.ses.create_email_identity(EmailIdentity=DOMAIN)
        certificate = folder / "sns.pem"
        certificate.write_bytes(self.aws.certificate())
        self.environment = clean_environment() | {
            "AWS_ENDPOINT_URL": self.aws.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "RELAYD_SNS_CERTIFICATE_FILE": str(certificate),
            "RELAYD_SMOKE_ACCOUNT": ACCOUNT,
            "RELAYD_SMOKE_REGION": REGION,
            "RELAYD_SMOKE_DOMAIN": DOMAIN,
        }

    def start(self, *arguments: str, **changes: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "deploy.smoke", *arguments],
            cwd=ROOT,
            env=self.environment | changes,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, typed: str = "", **changes: str) -> tuple[int, str]:
        process = self.start(*arguments, **changes)
        said, _ = process.communicate(typed, timeout=100)
        return process.returncode, said

    def changed(self) -> set[str]:
        """Every call so far that was not a look."""
        calls: dict[str, Any] = self.aws.counts()["calls"]
        return {call for call in calls if NEW_CALLS.fullmatch(call.partition(":")[2])}

    def left(self) -> list[str]:
        """Whatever a run may have made."""
        return [
            *(bucket["Name"] for bucket in self.clients.s3.list_buckets()["Buckets"]),
            *self.clients.sqs.list_queues().get("QueueUrls", []),
            *(topic["TopicArn"] for topic in self.clients.sns.list_topics()["Topics"]),
            *self.clients.ses.list_configuration_sets()["ConfigurationSets"],
        ]


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    emulated = Emulated(tmp_path_factory.mktemp("smoke"))
    yield emulated
    emulated.aws.stop()


@pytest.mark.parametrize(
    ("changes", "typed", "because"),
    [
        ({"RELAYD_SMOKE_ACCOUNT": ""}, ACCOUNT, "RELAYD_SMOKE_ACCOUNT must be set"),
        ({"RELAYD_SMOKE_REGION": ""}, ACCOUNT, "RELAYD_SMOKE_REGION must be set"),
        ({"RELAYD_SMOKE_DOMAIN": "me@mask.example"}, ACCOUNT, "RELAYD_SMOKE_DOMAIN must be set"),
        ({"RELAYD_SMOKE_ACCOUNT": "210987654321"}, "210987654321", f"The keys are of account {ACCOUNT}"),
        ({"RELAYD_SMOKE_DOMAIN": "other.example"}, ACCOUNT, "SES has no identity other.example"),
        ({}, "", "Not confirmed"),
        ({}, "yes\n", "Not confirmed"),
    ],
)
def test_it_refuses(emulated: Emulated, changes: dict[str, str], typed: str, because: str) -> None:
    """Without the three variables, with another account's keys, with a domain that is not its own, unasked."""
    before = emulated.changed()
    code, said = emulated.run("--really", typed=typed, **changes)
    assert (code, because in said) == (2, True), said
    assert emulated.changed() == before


def test_by_itself_it_only_tells(emulated: Emulated) -> None:
    """What would be made, by name, and whom mail would go to. Only looks at AWS."""
    before = emulated.changed()
    code, said = emulated.run()
    assert code == 0, said
    assert "Nothing was made" in said
    assert re.findall(r"\S+@\S+", said) == [
        f"{fate}@simulator.amazonses.com" for fate in ("success", "bounce", "complaint")
    ]
    assert emulated.changed() == before


@pytest.mark.process
def test_it_does_it_and_leaves_nothing(emulated: Emulated) -> None:
    """Three mails out, three events back, the bounce felt; then all is gone, and only the simulator has had mail."""
    code, said = emulated.run("--really", typed=f"{ACCOUNT}\n")
    assert code == 0, said
    assert "It works." in said
    sent = emulated.aws.sent()
    to = {address for one in sent for address in one.recipients}
    assert to == {f"{fate}@simulator.amazonses.com" for fate in ("success", "bounce", "complaint")}
    assert emulated.left() == []


@pytest.mark.process
def test_what_a_kill_leaves_can_be_removed(emulated: Emulated) -> None:
    """SIGKILL in the middle: relayd ends with it, and `--remove` finds everything by the name that was told before."""
    before = len(emulated.aws.sent(raw=False))
    emulated.aws.faults([{"operation": "ses:SendEmail", "fault": "latency", "seconds": 30.0}])
    process = emulated.start("--really")
    assert process.stdin is not None
    process.stdin.write(f"{ACCOUNT}\n")
    process.stdin.flush()
    assert eventually(lambda: emulated.aws.rules()[0]["struck"] > 0, 60)
    process.kill()
    said, _ = process.communicate(timeout=30)
    emulated.aws.clear_faults()
    assert len(emulated.left()) == 8
    command = re.search(r"--remove (relayd-smoke-\S+)", said)
    assert command is not None, said
    # Also where SES does not know the domain any more.
    code, told = emulated.run("--remove", command[1], typed=f"{ACCOUNT}\n", RELAYD_SMOKE_DOMAIN="gone.example")
    assert (code, emulated.left()) == (0, []), told
    assert len(emulated.aws.sent(raw=False)) - before <= 3


@pytest.mark.process
def test_an_interruption_removes_everything(emulated: Emulated) -> None:
    """A terminal is closed (which is taken as Ctrl-C is) in the middle of the mails, and more of that comes while it
    removes: exit code 130, and nothing stays.
    """
    emulated.aws.faults([{"operation": "ses:SendEmail", "fault": "latency", "seconds": 2.0}])
    process = emulated.start("--really")
    assert process.stdin is not None
    process.stdin.write(f"{ACCOUNT}\n")
    process.stdin.flush()
    assert eventually(lambda: emulated.aws.rules()[0]["struck"] > 0, 60)
    process.send_signal(signal.SIGHUP)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        assert not eventually(lambda: process.poll() is not None, 0.1)
        process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    emulated.aws.clear_faults()
    assert (process.returncode, emulated.left()) == (130, []), said


@pytest.mark.parametrize("name", ["relayd", "relayd-smoke-", "relayd-smoke-0123456789abcdef-mail", "../x"])
def test_only_what_a_run_made_is_removed(emulated: Emulated, name: str) -> None:
    """Names of another form are refused before anybody is asked."""
    code, said = emulated.run("--remove", name, typed=f"{ACCOUNT}\n")
    assert (code, "no run was ever called so" in said) == (2, True), said


def test_a_bucket_with_other_things_in_it_stays(emulated: Emulated) -> None:
    """A key that no run makes: the bucket is left alone, with all that is in it, and the exit code says so."""
    bucket = f"relayd-smoke-0123456789abcdef-{ACCOUNT}"
    emulated.clients.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    emulated.clients.s3.put_object(Bucket=bucket, Key="family.jpg", Body=b"")
    code, said = emulated.run("--remove", "relayd-smoke-0123456789abcdef", typed=f"{ACCOUNT}\n")
    assert code == 1
    assert "STILL THERE: S3 bucket" in said
    assert emulated.left() == [bucket]
    emulated.clients.s3.delete_object(Bucket=bucket, Key="family.jpg")
    emulated.clients.s3.delete_bucket(Bucket=bucket)
