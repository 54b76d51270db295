"""The whole engine on fakes and virtual time: what a test does to the world, and what it finds in it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from relayd.ports import Certificates
from relayd.relay import Relay
from relayd.runtime.health import HealthState
from relayd.runtime.supervisor import Chore, EngineSettings, Supervisor
from relayd.stages import Ports, RelaySettings
from tests.fakes.clock import VirtualClock
from tests.fakes.directory import FakeDirectory
from tests.fakes.ledger import FakeLedger
from tests.fakes.mailer import FakeMailer
from tests.fakes.queue import FakeQueue
from tests.fakes.store import FakeStore

TOPIC = "arn:aws:sns:eu-west-1:123456789012:mail"
SECRET = b"0123456789abcdef0123456789abcdef"
MAIL = (
    b"From: Shop <news@stranger.example>\r\nTo: shop@mask.example\r\nSubject: hello\r\n"
    b"Message-ID: <one@stranger.example>\r\nMIME-Version: 1.0\r\n\r\nhello\r\n"
)


class NoCertificates:
    """The engine's tests trust the queue's policy."""

    def fetch(self, url: str) -> bytes:
        raise AssertionError("nothing is signed here")


def notification(
    mail_id: str,
    recipients: Sequence[str] = ("shop@mask.example",),
    *,
    bucket: str = "mail",
    source: str = "bounce@stranger.example",
    headers: Sequence[tuple[str, str]] = (("Subject", "hello"),),
    truncated: bool = False,
    **verdicts: str,
) -> str:
    """An SES notification in its SNS envelope, as the queue holds it."""
    words = {name: {"status": verdicts.get(name, "PASS")} for name in ("spam", "virus", "spf", "dkim", "dmarc")}
    text = json.dumps(
        {
            "notificationType": "Received",
            "mail": {
                "timestamp": "2026-01-02T03:04:05.000Z",
                "source": source,
                "messageId": mail_id,
                "destination": list(recipients),
                "headersTruncated": truncated,
                "headers": [{"name": name, "value": value} for name, value in headers],
            },
            "receipt": {
                "timestamp": "2026-01-02T03:04:05.000Z",
                "recipients": list(recipients),
                **{f"{name}Verdict": word for name, word in words.items()},
                "action": {"type": "S3", "topicArn": TOPIC, "bucketName": bucket, "objectKey": f"in/{mail_id}"},
            },
        }
    )
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": f"sns-{mail_id}",
            "TopicArn": TOPIC,
            "Message": text,
            "Timestamp": "2026-01-02T03:04:05.000Z",
        }
    )


@dataclass
class World:
    """One daemon's engine, and the outside world it sees. `daemon()` makes a second one in the same world."""

    seed: int = 0
    concurrency: int = 4
    wait: float = 20.0
    visibility: float = 60.0
    deadline: float = 120.0
    grace: float = 50.0
    retry_hours: float = 24.0
    send_seconds: float = 38.0
    verify: bool = False
    clock: VirtualClock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = VirtualClock(self.seed)
        self.queue = FakeQueue(self.clock, seed=self.seed)
        self.store = FakeStore(self.clock, latency=0.02)
        self.mailer = FakeMailer(self.clock, latency=0.06)
        self.directory = FakeDirectory()
        self.ledger = FakeLedger(self.clock)
        self.mask = self.directory.add("shop@mask.example", "me@owner.example")
        self.certificates: Certificates = NoCertificates()
        self.health = HealthState(turn_limit=self.wait + 35)

    def daemon(self, mailer: FakeMailer | None = None, chores: Sequence[Chore] = ()) -> Supervisor:
        """A supervisor that has not started yet."""
        settings = RelaySettings(
            mail_domains=frozenset({"mask.example"}),
            topic_arns=frozenset({TOPIC}),
            buckets=frozenset({"mail"}),
            secrets=(SECRET,),
            verify_signatures=self.verify,
            retry_seconds=self.retry_hours * 3600,
            claim_seconds=self.deadline,
            send_seconds=self.send_seconds,
            ses_domain="eu-west-1.amazonses.com",
        )
        ports = Ports(self.store, mailer or self.mailer, self.directory, self.ledger, self.certificates, self.clock)
        engine = EngineSettings(self.concurrency, self.wait, self.visibility, self.deadline, self.grace)
        relay = Relay(ports, settings, jitter=lambda: 0.5)
        return Supervisor(self.queue, relay, self.clock, self.health, engine, chores)

    def mail(self, mail_id: str, data: bytes = MAIL, body: str | None = None) -> str:
        """Let a mail arrive: in S3, then in the queue. Returns the SQS message id."""
        self.store.put(f"in/{mail_id}", data)
        return self.queue.publish(body or notification(mail_id))

    def mails(self, count: int) -> list[str]:
        return [self.mail(f"mail-{number}") for number in range(count)]

    def until(self, happened: Callable[[], bool], within: float = 3600.0) -> bool:
        """Let virtual time pass until something has happened. False when it had not."""
        deadline = self.clock.monotonic() + within
        while not happened():
            if self.clock.monotonic() >= deadline:
                return False
            self.clock.sleep(0.05)
        return True

    def sent_mail_ids(self) -> list[str]:
        """The recipients of every mail SES accepted, one entry a send."""
        return [send.mail.recipient for send in self.mailer.sent]
