"""The emulated AWS, gates in front of its S3 and SES, and daemons as real processes."""

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import urllib3

from relayd.adapters.database import connect, upgrade
from relayd.adapters.schema import deliveries
from relayd.model.address import Address
from relayd.ops.masks import add_mask
from relayd.sandbox.child import ChildAws, Sent
from relayd.sandbox.cloud.client import EmbeddedAws
from relayd.sandbox.receiving import Receiving
from relayd.sandbox.world import REGION, Clients, Store, World
from tests.process.gate import Gate

DOMAIN = "mask.example"
SECRET = "8f2c1d7e90ab4365f1e2d3c4b5a69788"
MAIL = (
    b"From: Shop <news@stranger.example>\r\nTo: shop@mask.example\r\nSubject: hello\r\n"
    b"Message-ID: <{}@stranger.example>\r\nMIME-Version: 1.0\r\n\r\nhello\r\n"
)


class Cloud:
    """One emulated AWS with its names, for one test."""

    def __init__(self, folder: Path, aws: ChildAws, number: int, *, database_url: str | None = None) -> None:
        self.folder = folder
        self.database_url = database_url or f"sqlite:///{folder / 'relayd.sqlite'}"
        self.aws = aws
        self.clients = _clients(aws.endpoint)
        self.world = World.build(aws.endpoint, self.clients, f"-{number}", events=isinstance(aws, EmbeddedAws))
        self.receiving = Receiving(Store(self.world, self.clients))
        self.s3 = Gate(aws.endpoint)
        self.ses = Gate(aws.endpoint)
        self.daemons: list[DaemonProcess] = []
        self._faults: list[dict[str, Any]] = []
        self._settings: dict[str, Any] = {}
        self._certificate = folder / "sns.pem"
        if isinstance(aws, EmbeddedAws):
            self._certificate.write_bytes(aws.certificate())
        self.sent_before = len(self._all_sent(0))
        """Sends that the emulator had accepted before this cloud began."""

    @property
    def environment(self) -> dict[str, str]:
        """Settings for a daemon here, with times short enough for a test."""
        return {
            "AWS_ENDPOINT_URL": self.aws.endpoint,
            "AWS_ENDPOINT_URL_S3": self.s3.url,
            "AWS_ENDPOINT_URL_SESV2": self.ses.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "RELAYD_QUEUE_URL": self.world.queue_url,
            "RELAYD_DATABASE_URL": self.database_url,
            "RELAYD_MAIL_DOMAINS": DOMAIN,
            "RELAYD_TOPIC_ARNS": self.world.topic_arn,
            "RELAYD_BUCKETS": self.world.bucket,
            "RELAYD_SECRET": SECRET,
            **self._trust(),
            "RELAYD_CONCURRENCY": "8",
            "RELAYD_WAIT_SECONDS": "1",
            "RELAYD_VISIBILITY_SECONDS": "10",
            "RELAYD_DEADLINE_SECONDS": "60",
            "RELAYD_GRACE_SECONDS": "15",
            "RELAYD_SES_CONNECT_SECONDS": "1",
            "RELAYD_SES_READ_SECONDS": "3",
            "RELAYD_LOG_FORMAT": "json",
        }

    @property
    def with_events(self) -> dict[str, str]:
        """What a daemon needs beside that to hear of what SES did with its mail."""
        events = self.world.events
        assert events is not None, "moto publishes no events"
        return {
            "RELAYD_CONFIGURATION_SET": events.configuration_set,
            "RELAYD_EVENTS_QUEUE_URL": events.queue_url,
            "RELAYD_TOPIC_ARNS": f"{self.world.topic_arn},{events.topic_arn}",
        }

    def _trust(self) -> dict[str, str]:
        # moto signs with nothing that anybody could verify; the embedded AWS signs for real.
        if isinstance(self.aws, EmbeddedAws):
            return {"RELAYD_SNS_CERTIFICATE_FILE": str(self._certificate)}
        return {"RELAYD_SIGNATURES": "trust-queue-policy"}

    def fault(self, operation: str, fault: str, **facts: Any) -> None:
        """Add a fault of the embedded AWS to those that are set."""
        assert isinstance(self.aws, EmbeddedAws), "moto has no faults"
        self._faults.append({"operation": operation, "fault": fault, **facts})
        self.aws.faults(self._faults)

    def setting(self, **changes: Any) -> None:
        """Change settings of the embedded AWS until the end of the test."""
        assert isinstance(self.aws, EmbeddedAws)
        before = self.aws.settings()
        self._settings = {name: before[name] for name in changes} | self._settings
        self.aws.settings(**changes)

    def clear_faults(self) -> None:
        """Let everything work again."""
        assert isinstance(self.aws, EmbeddedAws)
        self._faults.clear()
        self.aws.clear_faults()

    def relayd(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of relayd to its end."""
        return subprocess.run(
            [sys.executable, "-m", "relayd", *arguments],
            env=clean_environment() | dict(self.environment if environment is None else environment),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def add_mask(self, mask: str = "shop@mask.example", *mailboxes: str, **traits: Any) -> None:
        """Add a mask; `traits` as `relayd.ops.masks.add_mask` has them."""
        boxes = [Address.parse(mailbox) for mailbox in mailboxes or ("me@owner.example",)]
        database = connect(self.database_url, pool_size=1)
        try:
            upgrade(database)
            add_mask(database, Address.parse(mask), boxes, **traits)
        finally:
            database.close()

    def mail(self, number: int = 0, recipients: tuple[str, ...] = ("shop@mask.example",), data: bytes = MAIL) -> None:
        """Receive a mail as SES does: into S3, then told to SNS."""
        self.receiving.accept(
            "bounce@stranger.example", recipients, data.replace(b"{}", b"mail-%d" % number), "127.0.0.1"
        )

    def accept(self, source: str, recipient: str, data: bytes) -> str:
        """Receive one mail as it is; returns the id that SES gives it."""
        return self.receiving.accept(source, (recipient,), data, "127.0.0.1").mail_id

    def mails(self, count: int) -> None:
        for number in range(count):
            self.mail(number)

    def daemon(self, *options: str, **settings: str) -> "DaemonProcess":
        """Start `relayd run`, with these options, and wait until it is ready."""
        process = DaemonProcess(self.environment | settings, self.folder / f"daemon-{len(self.daemons)}.log", *options)
        self.daemons.append(process)
        process.wait_ready()
        return process

    def sent(self) -> list[Sent]:
        """What SES accepted since this cloud began."""
        return self._all_sent(self.sent_before)

    def sends_of_each_mail(self) -> Counter[str]:
        """How often each mail went out, by its original Message-ID."""
        counted: Counter[str] = Counter()
        for sent in self.sent():
            line = next(x for x in sent.data.split(b"\r\n") if x.lower().startswith(b"x-relayd-original-message-id:"))
            counted[line.partition(b":")[2].strip(b" <>").decode()] += 1
        return counted

    def resends(self) -> dict[str, int]:
        """Original Message-ID of each mail that the ledger says was sent again in doubt, and how often."""
        return {row.original_message_id: row.resends for row in self.deliveries() if row.resends}

    def deliveries(self) -> Sequence[sa.Row[Any]]:
        """The ledger's rows."""
        database = connect(self.database_url, pool_size=1)
        try:
            with database.reading() as connection:
                return connection.execute(sa.select(deliveries)).all()
        finally:
            database.close()

    def queued(self) -> tuple[int, int]:
        """Messages in the queue: visible, and in flight."""
        answer = self.clients.sqs.get_queue_attributes(QueueUrl=self.world.queue_url, AttributeNames=["All"])
        found = answer["Attributes"]
        return int(found["ApproximateNumberOfMessages"]), int(found["ApproximateNumberOfMessagesNotVisible"])

    def dead_letters(self) -> list[dict[str, Any]]:
        """Take everything out of the dead-letter queue."""
        letters: list[dict[str, Any]] = []
        while True:
            answer = self.clients.sqs.receive_message(
                QueueUrl=self.world.dead_letter_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
            )
            if not answer.get("Messages"):
                return letters
            letters += [dict(message) for message in answer["Messages"]]

    def close(self) -> None:
        for daemon in self.daemons:
            daemon.kill()
        if self._settings:
            self.setting(**self._settings)
        if self._faults:
            self.clear_faults()
        self.s3.close()
        self.ses.close()

    def _all_sent(self, since: int) -> list[Sent]:
        sent: list[Sent] = []
        while page := self.aws.sent(since + len(sent)):
            sent += page
        return sent


@functools.cache
def _clients(endpoint: str) -> Clients:
    """The same ones for every test: to make them takes longer than most of what is asked with them."""
    return Clients(endpoint)


class DaemonProcess:
    """`relayd run`, and what it has said."""

    def __init__(self, environment: Mapping[str, str], log: Path, *options: str) -> None:
        self.port = free_port()
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "relayd", "run", *options],
                env=clean_environment() | dict(environment) | {"RELAYD_HTTP_ADDRESS": f"127.0.0.1:{self.port}"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._http = urllib3.PoolManager(timeout=5.0, retries=False)

    def get(self, path: str) -> tuple[int, str]:
        answer = self._http.request("GET", f"http://127.0.0.1:{self.port}{path}")
        return answer.status, answer.data.decode()

    def wait_ready(self, within: float = 30.0) -> None:
        def is_ready() -> bool:
            assert self.process.poll() is None, self.output()
            try:
                return self.get("/readyz")[0] == 200
            except urllib3.exceptions.HTTPError:
                return False

        assert eventually(is_ready, within), self.output()

    def output(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Its log lines of one event. Every line is JSON, which this asserts."""
        lines = [json.loads(line) for line in self.output().splitlines()]
        return [line for line in lines if line["event"] == name]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, within: float = 30.0) -> int:
        self.signal(signal.SIGTERM)
        return self.process.wait(within)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._http.clear()


def clean_environment() -> dict[str, str]:
    """Ours, without whatever could lead a daemon to somebody's account or collector."""
    foreign = ("AWS_", "RELAYD_", "OTEL_", "BOTO_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(happened: Callable[[], bool], within: float) -> bool:
    """Look until it has happened. False when the time is over."""
    deadline = time.monotonic() + within
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
