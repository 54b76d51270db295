"""The ground that a design stands on: a fresh embedded AWS, mail coming in, the slow S3, and the truth about them."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import urllib3

from bench.incident.story import S3_SECONDS, Story
from relayd.sandbox.cloud.client import EmbeddedAws
from tests.process.cloud import DOMAIN, Cloud

MASK = f"shop@{DOMAIN}"
GET = "s3:GetObject"
_TEXT = b"Your order has left the house and will be with you in two or three days, unless it rains.\r\n" * 40
_MAIL = (
    b"From: Shop <news@stranger.example>\r\nTo: shop@mask.example\r\nSubject: your order\r\n"
    b"Message-ID: <%s@stranger.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
    + _TEXT
)


def mail(name: str) -> bytes:
    """A mail of 4 KB that can be told from all others, before and after it was rewritten."""
    return _MAIL.replace(b"%s", name.encode(), 1)


class Ground:
    """One embedded AWS with bucket, topic, queues and identity."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._sends: dict[str, list[float]] = defaultdict(list)
        self._sends_read = 0
        self.aws = EmbeddedAws(folder / "aws.log")
        try:
            self.cloud = Cloud(folder, self.aws, 1)
        except BaseException:
            self.aws.stop()
            raise

    def turn_slow_later(self, story: Story) -> None:
        """From now on count S3's gets, and let them be slow when the story says so."""
        rules = [
            {"operation": GET, "fault": "latency", "seconds": 0},
            {
                "operation": GET,
                "fault": "latency",
                "seconds": story.real(S3_SECONDS),
                "from": story.starts,
                "until": story.ends,
            },
        ]
        self.aws.faults(rules)

    def fetches(self) -> int:
        """Gets that S3 has begun since `turn_slow_later`, whoever waited for the answer."""
        told = urllib3.request("GET", f"{self.aws.endpoint}/_relayd/faults", retries=False, timeout=10.0).json()
        return int(told[0]["struck"])

    def sends(self) -> dict[str, list[float]]:
        """When SES accepted each mail, by the name it was given, in seconds since the epoch.

        In a long replay ask now and then: the embedded AWS keeps the bytes of the latest 64 MB alone.
        """
        while page := self.aws.sent(self._sends_read):
            for sent in page:
                self._sends[original(sent.data)].append(sent.at)
            self._sends_read = page[-1].number
        return dict(self._sends)

    def queued(self) -> int:
        """Messages that the queue still has, whoever holds them."""
        name = self.cloud.world.queue_url.rpartition("/")[2]
        queues = self.aws.counts()["queues"]
        found = next(facts for arn, facts in queues.items() if arn.rpartition(":")[2] == name)
        return int(found["visible"] + found["in_flight"] + found["delayed"])

    def close(self) -> None:
        with suppress(OSError):
            self.cloud.close()
        self.aws.stop()


def original(sent: bytes) -> str:
    """The name of the mail that a forwarded mail was made from."""
    for line in sent.partition(b"\r\n\r\n")[0].split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"x-relayd-original-message-id":
            return value.strip(b" <>").partition(b"@")[0].decode()
    raise ValueError("a mail was sent that nobody forwarded")


def times(rate: float, seconds: float) -> list[float]:
    """When mails arrive in so many seconds at a steady rate: the first half a pause in, the others a pause apart."""
    return [(number + 0.5) / rate for number in range(int(rate * seconds))]


class Arrivals:
    """Mail coming in at a steady rate, in a thread of its own."""

    def __init__(self, accept: Callable[[str], None], due: Sequence[float]) -> None:
        """`accept` takes in the mail of that name; `due`: when, in seconds since the beginning."""
        self._accept = accept
        self._due = due
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="arrivals", daemon=True)
        self._began = 0.0
        self._problem: Exception | None = None
        self.arrived: dict[str, float] = {}
        """When each mail was received, in seconds since the beginning."""

    def start(self, began: float) -> None:
        """`began`: the beginning of the replay on the monotonic clock."""
        self._began = began
        self._thread.start()

    def stop(self) -> None:
        """Receive no other mail. Raises what stopped the mail before."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._problem is not None:
            raise self._problem

    def _run(self) -> None:
        for number, due in enumerate(self._due):
            if self._stopped.wait(max(0.0, self._began + due - time.monotonic())):
                return
            name = f"mail-{number}"
            try:
                # First: what is received may be forwarded before `accept` returns.
                self.arrived[name] = time.monotonic() - self._began
                self._accept(name)
            except Exception as error:
                del self.arrived[name]
                self._problem = error
                return
