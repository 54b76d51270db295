"""Replay, end to end: what SES refused is sent once it takes it, once each; and a queue that was lost costs no mail."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import pytest

from tests.process.cloud import Cloud, clean_environment, eventually

pytestmark = pytest.mark.process

ORIGINAL = b"x-relayd-original-message-id:"


def forwarded(cloud: Cloud) -> Counter[str]:
    """How often each mail went out. Notices to owners are none of them."""
    lines = (line for sent in cloud.sent() for line in sent.data.split(b"\r\n"))
    return Counter(line[len(ORIGINAL) :].strip(b" <>").decode() for line in lines if line.lower().startswith(ORIGINAL))


def once(count: int, first: int = 0) -> Counter[str]:
    return Counter(f"mail-{number}@stranger.example" for number in range(first, first + count))


def replayed(cloud: Cloud, *arguments: str, exit_code: int = 0, **settings: str) -> dict[str, Any]:
    """What a replay says of itself."""
    done = cloud.relayd("replay", *arguments, "--json", environment=cloud.environment | settings)
    assert done.returncode == exit_code, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def dead(cloud: Cloud) -> int:
    answer = cloud.clients.sqs.get_queue_attributes(QueueUrl=cloud.world.dead_letter_url, AttributeNames=["All"])
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


def test_what_ses_refused_goes_through_when_it_is_mended(cloud: Cloud) -> None:
    """Looked at by reason, then put through: each once, and none the second time. What nobody signed stays a dead
    letter, whether SQS moves it by itself or not.
    """
    cloud.add_mask()
    daemon = cloud.daemon()
    cloud.fault("ses:SendEmail", "error", code="MessageRejected", status=400, message="Email content was rejected.")
    cloud.mails(12)
    cloud.clients.sqs.send_message(QueueUrl=cloud.world.queue_url, MessageBody='{"Type": "Notification", "a": 1}')
    assert eventually(lambda: dead(cloud) == 13, 30), daemon.output()
    cloud.clear_faults()
    look = replayed(cloud, "--dead-letters", "--dry-run")
    assert [(group["reason"], group["what"], group["count"]) for group in look["groups"]] == [
        ("envelope_incomplete", "skipped", 1),
        ("ses_rejected", "would_send", 12),
    ]
    assert (look["chosen"], dead(cloud), forwarded(cloud)) == (13, 13, Counter())
    # SQS may not move them by itself. No certificate is to be had here either: what cannot be verified goes as it came.
    cloud.fault("sqs:StartMessageMoveTask", "deny")
    done = replayed(cloud, "--dead-letters", exit_code=4, RELAYD_SNS_CERTIFICATE_FILE="")
    assert (done["chosen"], done["sent"], done["sent_unverified"]) == (13, 12, 12)
    assert done["skipped"] == {"envelope_incomplete": 1}
    assert eventually(lambda: forwarded(cloud) == once(12), 30), daemon.output()
    cloud.clear_faults()
    moved = replayed(cloud, "--dead-letters")
    assert (moved["moved_by"], moved["sent"]) == ("sqs", 1)
    assert eventually(lambda: dead(cloud) == 1 and cloud.queued() == (0, 0), 30)
    assert forwarded(cloud) == once(12)
    assert daemon.stop() == 0


def test_a_lost_queue_costs_no_mail(cloud: Cloud) -> None:
    """Raw mails from the bucket, worked on in place: stopped with Ctrl-C half way, and run again, each arrives once."""
    cloud.add_mask()
    daemon = cloud.daemon()
    cloud.mails(5)
    assert eventually(lambda: sum(forwarded(cloud).values()) == 5, 30)
    assert daemon.stop() == 0
    for number in range(5, 21):
        cloud.mail(number)
    cloud.clients.sqs.purge_queue(QueueUrl=cloud.world.queue_url)
    cloud.fault("ses:SendEmail", "latency", seconds=0.7)
    arguments = ["replay", "--bucket", f"s3://{cloud.world.bucket}/", "--since", "1h", "--here", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "relayd", *arguments],
        env=clean_environment() | cloud.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert eventually(lambda: sum(forwarded(cloud).values()) > 5, 30)
    process.send_signal(signal.SIGINT)
    told = json.loads(process.communicate(timeout=30)[0])
    assert process.returncode == 130
    assert (told["ended"], told["forwarded"] + 5) == ("interrupted", sum(forwarded(cloud).values()))
    assert told["chosen"] == told["forwarded"] + sum(told["skipped"].values()) + sum(told["left"].values())
    cloud.clear_faults()
    began = time.monotonic()
    rest = replayed(cloud, *arguments[1:-1])
    assert forwarded(cloud) == once(21)
    assert rest["skipped"]["sent_before"] == told["forwarded"] + 5
    assert time.monotonic() - began < 30
