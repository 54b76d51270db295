"""A daemon's engines in this process, with the real adapters on the embedded AWS, and the traces that they leave."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import urllib3
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from relayd.adapters import aws
from relayd.adapters.database import connect
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.feedbacks import SqlFeedbacks
from relayd.adapters.ledger import SqlLedger
from relayd.adapters.notices import SqlNotices
from relayd.adapters.orders import SqlOrders
from relayd.adapters.s3 import S3MailStore
from relayd.adapters.ses import SesMailer
from relayd.adapters.sqs import SqsQueue
from relayd.app import engine_settings, route_settings, sns_certificates
from relayd.feedback import FeedbackRoute
from relayd.ports import Certificates
from relayd.relay import Relay
from relayd.runtime.clock import SystemClock
from relayd.runtime.health import HealthPart, HealthState
from relayd.runtime.memory import MemoryBudget
from relayd.runtime.pace import Pace
from relayd.runtime.pausing import StandingOrders
from relayd.runtime.supervisor import Supervisor
from relayd.sandbox.world import REGION
from relayd.settings import Settings
from relayd.stages import Ports
from tests.contract.certificate_server import CertificateServer
from tests.process.cloud import Cloud

THREADS = 4
TIMEOUTS = aws.Timeouts(2.0, 5.0)


@contextmanager
def working(cloud: Cloud, certificates: Certificates | None = None) -> Iterator[None]:
    """The engines of the mail and of SES's events, as `relayd run` has them, for as long as the block lasts.

    `certificates` is for the mail.
    """
    settings = Settings.load(cloud.environment | cloud.with_events)
    clock, database = SystemClock(), connect(cloud.database_url, pool_size=2 * THREADS)
    route = route_settings(settings, REGION)
    orders = StandingOrders(SqlOrders(database), clock)
    orders.refresh()
    session = aws.new_session(default_region=REGION)
    session.set_credentials("test", "test")
    endpoint = cloud.aws.endpoint
    sqs = aws.client("sqs", pool=2 * THREADS, timeouts=TIMEOUTS, session=session, endpoint=endpoint)
    s3 = aws.client("s3", pool=THREADS, timeouts=TIMEOUTS, session=session, endpoint=endpoint)
    ses = aws.client("sesv2", pool=THREADS, timeouts=TIMEOUTS, session=session, endpoint=endpoint)
    ports = Ports(
        store=S3MailStore(s3, clock=clock),
        mailer=SesMailer(ses, configuration_set=settings.configuration_set),
        directory=SqlDirectory(database),
        ledger=SqlLedger(database),
        feedbacks=SqlFeedbacks(database),
        notices=SqlNotices(database),
        certificates=certificates or sns_certificates(settings),
        memory=MemoryBudget(clock, 256_000_000),
        pace=Pace(clock),
        pauses=orders,
        traced=orders,
        clock=clock,
    )
    assert settings.events_queue_url is not None
    mail_queue, events_queue = (
        SqsQueue(url, poll_client=sqs, client=sqs, dead_letter_url=cloud.world.dead_letter_url)
        for url in (settings.queue_url, settings.events_queue_url)
    )
    health, engine = HealthState(turn_limit=60.0), engine_settings(settings, THREADS)
    mail = Supervisor(mail_queue, Relay(ports, route, jitter=lambda: 0.0), clock, health, engine)
    listener = FeedbackRoute(ports.feedbacks, ports.ledger, sns_certificates(settings), clock, route)
    events = Supervisor(events_queue, listener, clock, HealthPart(health, "events"), engine, engine="events")
    for one in (events, mail):
        one.start()
    try:
        yield
    finally:
        ends: list[bool] = []
        # Both at once: each waits for its poll.
        other = clock.spawn("stop-events", lambda: ends.append(events.stop()))
        ends.append(mail.stop())
        other.join(engine.grace)
        database.close()
        assert ends == [True, True]


class Redirected(urllib3.PoolManager):
    """Takes every request to one URL, whoever it was for: SNS's names are not ours to serve."""

    def __init__(self, server: CertificateServer, path: str) -> None:
        super().__init__(ssl_context=server.trust())
        self._url = server.url(path)

    def urlopen(  # type: ignore[override]  # as the library's own
        self,
        method: str,
        url: str,
        redirect: bool = True,
        **more: Any,
    ) -> urllib3.BaseHTTPResponse:
        """As the library has it."""
        return super().urlopen(method, self._url, redirect=redirect, **more)


@dataclass(frozen=True)
class Node:
    """A span and what is below it, in the order of its beginning."""

    span: ReadableSpan
    children: list["Node"] = field(default_factory=list)

    @property
    def told(self) -> dict[str, object]:
        """Its attributes."""
        return dict(self.span.attributes or {})

    @property
    def link_ids(self) -> set[tuple[int, int]]:
        return {(link.context.trace_id, link.context.span_id) for link in self.span.links}

    @property
    def id(self) -> tuple[int, int]:
        """What a link to it has."""
        assert self.span.context
        return self.span.context.trace_id, self.span.context.span_id

    def find(self, name: str) -> "Node":
        """The one of this name at or below this span."""
        (found,) = [node for node in self.all() if node.span.name == name]
        return found

    def all(self) -> Iterator["Node"]:
        yield self
        for child in self.children:
            yield from child.all()

    def drawn(self, depth: int = 0) -> list[str]:
        """The tree as indented lines: name, its kind unless it is internal, and a mark of an error. A line that is the
        same as the one before it is left out: in how many pieces the database is asked is the adapters' affair.
        """
        kind = "" if self.span.kind is SpanKind.INTERNAL else f" {self.span.kind.name.lower()}"
        failed = " !" if self.span.status.status_code is StatusCode.ERROR else ""
        lines = [f"{'  ' * depth}{self.span.name}{kind}{failed}"]
        lines += [line for child in self.children for line in child.drawn(depth + 1)]
        return [line for line, _ in groupby(lines)]


def trees(spans: Sequence[ReadableSpan]) -> list[Node]:
    """Every trace, by its beginning. A span whose parent is not there is no root: it fails the test."""
    nodes = {(span.context.trace_id, span.context.span_id): Node(span) for span in spans if span.context}
    roots: list[Node] = []
    for node in sorted(nodes.values(), key=lambda one: one.span.start_time or 0):
        parent = node.span.parent
        (roots if parent is None else nodes[parent.trace_id, parent.span_id].children).append(node)
    return roots
