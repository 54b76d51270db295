"""The largest mails at once: does the daemon's memory stay within its budget, and does every mail's turn come?

    python -m bench.large --mails 200 --megabytes 38 --budget 256 --json

A real daemon on the embedded AWS, with all mails in the queue before it starts. They share one object in S3, since it
is the daemon's memory that is measured and not the emulator's. Exit 0 only when each mail was sent once and the peak of
the resident memory is below the budget and 150 MB.
"""

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from relayd.sandbox.cloud.client import EmbeddedAws
from relayd.sandbox.receiving import Verdicts, new_mail_id, notification, received_headers, stored_action
from tests.process.cloud import Cloud, DaemonProcess, eventually

MB = 1_000_000
BESIDE_MB = 150
"""What the daemon may take beside its budget: Python, boto3, the threads."""
SECONDS_EACH = 10.0
"""For one mail of 38 MB, on a machine that has other things to do: it takes one or two."""

SOURCE = "bounce@stranger.example"
HEAD = (
    b"From: Shop <news@stranger.example>\r\nTo: shop@mask.example\r\nSubject: hello\r\n"
    b"Message-ID: <large@stranger.example>\r\nMIME-Version: 1.0\r\n"
)
ATTACHED = (
    HEAD + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n%b\r\n"
    b"--b\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
)
EIGHT_BIT = HEAD + b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
KINDS = {
    # A body that goes on as it came.
    "clean": (ATTACHED % b"hello", b"QUJDREVGR0hJSktM" * 4 + b"\r\n", b"--b--\r\n"),
    # A small part that is encoded anew, and so a new body.
    "mixed": (ATTACHED % "caf\u00e9".encode(), b"QUJDREVGR0hJSktM" * 4 + b"\r\n", b"--b--\r\n"),
    # All of it is encoded anew, which makes it 37 % larger.
    "8bit": (EIGHT_BIT, bytes(range(256)), b""),
}


def mail(kind: str, size: int) -> bytes:
    """A mail of about so many bytes."""
    head, piece, tail = KINDS[kind]
    return head + piece * ((size - len(head)) // len(piece)) + tail


def publish(cloud: Cloud, data: bytes, mails: int, recipients: tuple[str, ...]) -> None:
    """Tell of so many mails, all of which lie in the same object."""
    world, clients = cloud.world, cloud.clients
    key = new_mail_id()
    now, verdicts = time.time(), Verdicts()
    clients.s3.put_object(Bucket=world.bucket, Key=key, Body=data)
    header = received_headers(key, SOURCE, recipients, verdicts, now=now, peer="127.0.0.1") + HEAD
    for _ in range(mails):
        told = notification(
            mail_id=new_mail_id(),
            source=SOURCE,
            recipients=recipients,
            stored=header,
            verdicts=verdicts,
            now=now,
            took_ms=1,
            action=stored_action(world.bucket, "", key, world.topic_arn),
        )
        clients.sns.publish(TopicArn=world.topic_arn, Message=json.dumps(told))


def resident_mb(daemon: DaemonProcess) -> tuple[float, float]:
    """The daemon's resident memory now, and its peak."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    found = {line.partition(":")[0]: line.split()[1] for line in status.splitlines() if line.startswith("Vm")}
    return int(found["VmRSS"]) / 1024, int(found["VmHWM"]) / 1024


@dataclass(frozen=True, slots=True)
class Plan:
    """What is proved."""

    mails: int
    megabytes: float
    kind: str
    masks: int
    faults: float
    budget: int
    slots: int


def run(cloud: Cloud, plan: Plan) -> dict[str, object]:
    """One proof."""
    recipients = tuple(f"mask-{number}@mask.example" for number in range(plan.masks))
    for mask in recipients:
        cloud.add_mask(mask)
    if plan.faults:
        # Errors keep what they passed through; a failed send must let go of its mail as soon as a good one.
        cloud.fault("ses:SendEmail", "error", probability=plan.faults, seed=1)
    daemon = cloud.daemon(
        # Not the gates of the tests, which copy what passes through them, and not their short times.
        AWS_ENDPOINT_URL_S3=cloud.aws.endpoint,
        AWS_ENDPOINT_URL_SESV2=cloud.aws.endpoint,
        RELAYD_CONCURRENCY=str(plan.slots),
        RELAYD_VISIBILITY_SECONDS="60",
        RELAYD_DEADLINE_SECONDS="120",
        RELAYD_SES_READ_SECONDS="30",
        RELAYD_GRACE_SECONDS="50",
        RELAYD_MEMORY_BUDGET_MB=str(plan.budget),
        RELAYD_DAILY_MAILS="1000000",
        RELAYD_DAILY_MEGABYTES="1000000",
    )
    idle, _ = resident_mb(daemon)
    began = time.monotonic()
    publish(cloud, mail(plan.kind, int(plan.megabytes * MB)), plan.mails, recipients)
    drained = eventually(lambda: cloud.queued() == (0, 0), 60 + SECONDS_EACH * plan.mails * plan.masks)
    seconds = time.monotonic() - began
    after, peak = resident_mb(daemon)
    settled = daemon.events("message_settled")
    waited = sum(line["outcome"] != "accepted" for line in settled)
    code = daemon.stop()
    sent = [row for row in cloud.deliveries() if row.state == "sent"]
    return {
        **asdict(plan),
        "forwarded": len(sent),
        "sends": count_sends(cloud),
        "dead_lettered": len(cloud.dead_letters()),
        "drained": drained,
        "came_back": waited,
        "max_receive_count": max((line["receive_count"] for line in settled), default=0),
        "seconds": round(seconds, 1),
        "rss_idle_mb": round(idle, 1),
        "rss_peak_mb": round(peak, 1),
        "rss_after_mb": round(after, 1),
        "rss_limit_mb": plan.budget + BESIDE_MB,
        "exit_code": code,
    }


def count_sends(cloud: Cloud) -> int:
    """What SES accepted, counted without its bytes."""
    count = 0
    while page := cloud.aws.sent(count, raw=False):
        count += len(page)
    return count


@click.command()
@click.option("--mails", default=200, show_default=True)
@click.option("--megabytes", default=38.0, show_default=True)
@click.option("--kind", type=click.Choice(list(KINDS)), default="clean", show_default=True)
@click.option("--masks", default=1, show_default=True, help="Recipients of each mail.")
@click.option("--faults", default=0.0, show_default=True, help="Share of the sends that SES answers with an error.")
@click.option("--budget", default=256, show_default=True, help="RELAYD_MEMORY_BUDGET_MB.")
@click.option("--slots", default=16, show_default=True, help="RELAYD_CONCURRENCY.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(as_json: bool, **options: Any) -> None:
    """Give the daemon large mails, all at once, and look at its memory."""
    plan = Plan(**options)
    with tempfile.TemporaryDirectory(prefix="relayd-large-") as name:
        aws = EmbeddedAws(Path(name) / "aws.log")
        cloud = Cloud(Path(name), aws, 1)
        try:
            result = run(cloud, plan)
        finally:
            cloud.close()
            aws.stop()
    click.echo(json.dumps(result) if as_json else "\n".join(f"{key:18} {value}" for key, value in result.items()))
    once = result["forwarded"] == result["sends"] == plan.mails * plan.masks
    sys.exit(0 if once and result["rss_peak_mb"] < result["rss_limit_mb"] else 1)  # type: ignore[operator]


if __name__ == "__main__":
    main()
