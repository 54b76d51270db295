"""The whole engine on fakes and virtual time: what a test does to the world, and what it finds in it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from relayd.errors import Dependency
from relayd.feedback import FeedbackRoute
from relayd.mail.trackers import TrackerList
from relayd.ports import Certificates
from relayd.relay import Relay
from relayd.rules.evidence import Limits
from relayd.runtime.gates import Gate
from relayd.runtime.governor import Probe
from relayd.runtime.health import HealthPart, HealthState
from relayd.runtime.memory import MemoryBudget
from relayd.runtime.pace import Pace
from relayd.runtime.pausing import LOOK_EVERY, StandingOrders
from relayd.runtime.supervisor import Chore, EngineSettings, Supervisor
from relayd.runtime.watching import Watcher
from relayd.runtime.watermark import Watermark
from relayd.stages import Ports, RelaySettings
from relayd.telling import Teller
from tests.fakes.clock import VirtualClock
from tests.fakes.directory import FakeDirectory
from tests.fakes.feedbacks import FakeFeedbacks
from tests.fakes.ledger import FakeLedger
from tests.fakes.mailer import FakeMailer
from tests.fakes.notices import FakeNotices
from tests.fakes.orders import FakeOrders
from tests.fakes.queue import FakeQueue
from tests.fakes.store import FakeStore
from tests.fakes.usage import FakeUsage

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
    """One daemon's engine, and the outside world it sees. `daemon()` makes a second one in the same world.

    Beside it there may be `listener()`, the engine of SES's events on their own queue, and `notices_chore()`.
    """

    seed: int = 0
    concurrency: int = 4
    wait: float = 20.0
    visibility: float = 60.0
    deadline: float = 120.0
    grace: float = 50.0
    retry_hours: float = 24.0
    send_seconds: float = 38.0
    verify: bool = False
    in_doubt_seconds: float | None = None
    """How long a send in doubt waits for SES's word on it, as far as events are listened to; None: there are none."""
    limits: Limits = field(default_factory=Limits)
    resend_doubts: bool = True
    memory_budget: int = 256_000_000
    rate: float | None = None
    """Mails a second that the account may send, as far as the pace knows."""
    probes: dict[Dependency, Probe] = field(default_factory=dict)
    trackers: TrackerList | None = None
    tracker_warning: str | None = None
    mail_domains: tuple[str, ...] = ("mask.example",)
    clock: VirtualClock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = VirtualClock(self.seed)
        self.queue = FakeQueue(self.clock, seed=self.seed)
        self.events = FakeQueue(self.clock, seed=self.seed)
        self.store = FakeStore(self.clock, latency=0.02)
        self.mailer = FakeMailer(self.clock, latency=0.06)
        usage = FakeUsage(self.clock)
        self.directory = FakeDirectory(usage=usage)
        self.ledger = FakeLedger(self.clock, usage=usage)
        self.notices = FakeNotices(self.clock, self.directory)
        self.feedbacks = FakeFeedbacks(self.clock, self.ledger, self.directory, self.notices)
        self.mask = self.directory.add("shop@mask.example", "me@owner.example")
        self.certificates: Certificates = NoCertificates()
        self.health = HealthState(turn_limit=self.wait + 35)
        self.memory = MemoryBudget(self.clock, self.memory_budget)
        self.pace = Pace(self.clock, self.rate)
        self.order_book = FakeOrders(self.clock)
        self.orders = StandingOrders(self.order_book, self.clock)
        self.orders.refresh()
        self.watermark = Watermark(self.clock, self.in_doubt_seconds or 0.0, self.retry_hours * 3600)

    def daemon(
        self,
        mailer: FakeMailer | None = None,
        chores: Sequence[Chore] = (),
        gates: Sequence[Gate] = (),
        watchers: Sequence[Watcher] = (),
    ) -> Supervisor:
        """A supervisor that has not started yet."""
        relay = Relay(self._ports(mailer), self._settings(), jitter=lambda: 0.5, **self._doubts())
        engine = self._engine(self.concurrency)
        return Supervisor(
            self.queue,
            relay,
            self.clock,
            self.health,
            engine,
            chores,
            probes=self.probes,
            gates=(self.orders, *gates),
            watchers=watchers,
        )

    def _doubts(self) -> dict[str, Callable[[], float]]:
        return {} if self.in_doubt_seconds is None else {"doubt_seconds": self.watermark.doubt_seconds}

    def _ports(self, mailer: FakeMailer | None = None) -> Ports:
        return Ports(
            store=self.store,
            mailer=mailer or self.mailer,
            directory=self.directory,
            ledger=self.ledger,
            feedbacks=self.feedbacks,
            notices=self.notices,
            certificates=self.certificates,
            memory=self.memory,
            pace=self.pace,
            pauses=self.orders,
            traced=self.orders,
            clock=self.clock,
        )

    def listener(self) -> Supervisor:
        """The engine of the events queue, which has not started yet."""
        route = FeedbackRoute(
            self.feedbacks, self.ledger, self.certificates, self.clock, self._settings(), jitter=lambda: 0.5
        )
        health = HealthPart(self.health, "events")
        return Supervisor(
            self.events,
            route,
            self.clock,
            health,
            self._engine(2),
            polled=self.watermark.polled,
            governed=("database", "certificates"),
        )

    def notices_chore(self) -> Chore:
        """What sends notices, every ten seconds as in the daemon."""
        teller = Teller(self._ports(), self._settings())
        return Chore("notices", 10.0, teller.tell, teller.stop)

    def orders_chore(self) -> Chore:
        """What looks for operators' orders. A test that gives none does without it."""
        return Chore("orders", LOOK_EVERY, self.orders.refresh)

    def _settings(self) -> RelaySettings:
        return RelaySettings(
            mail_domains=frozenset(self.mail_domains),
            topic_arns=frozenset({TOPIC}),
            buckets=frozenset({"mail"}),
            secrets=(SECRET,),
            verify_signatures=self.verify,
            retry_seconds=self.retry_hours * 3600,
            claim_seconds=self.deadline,
            send_seconds=self.send_seconds,
            ses_domain="eu-west-1.amazonses.com",
            limits=self.limits,
            resend_doubts=self.resend_doubts,
            notice_from="relayd@mask.example",
            trackers=self.trackers,
            tracker_warning=self.tracker_warning,
        )

    def _engine(self, concurrency: int) -> EngineSettings:
        return EngineSettings(concurrency, self.wait, self.visibility, self.deadline, self.grace)

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
