"""The composition root: settings in, a daemon out. The only room that knows which adapter answers which port."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from relayd import __version__
from relayd.adapters import probes
from relayd.adapters.certificates import HttpCertificates, PinnedCertificate
from relayd.adapters.database import Database
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.feedbacks import SqlFeedbacks
from relayd.adapters.ledger import SqlLedger
from relayd.adapters.notices import SqlNotices
from relayd.adapters.orders import SqlOrders
from relayd.adapters.replicas import SqlReplicas
from relayd.adapters.s3 import S3MailStore
from relayd.adapters.ses import SesMailer
from relayd.adapters.sqs import SqsQueue
from relayd.checks import bucket_problems, checked_database, checked_events_queue, checked_queue
from relayd.clients import EVENTS_THREADS, POLL_MARGIN, Clients
from relayd.decoding import ANY
from relayd.errors import ConfigurationError, Dependency, Problem, RelaydError
from relayd.feedback import FeedbackRoute
from relayd.measuring import Measured
from relayd.ports import Certificates, Clock, Queue
from relayd.relay import Relay
from relayd.rules.evidence import Limits
from relayd.runtime import gauges
from relayd.runtime.gates import Gate
from relayd.runtime.governor import Probe
from relayd.runtime.health import HealthPart, HealthServer, HealthState
from relayd.runtime.heartbeat import BEAT_EVERY, Heartbeat
from relayd.runtime.memory import MemoryBudget
from relayd.runtime.pace import Pace
from relayd.runtime.pausing import LOOK_EVERY, StandingOrders
from relayd.runtime.poller import BACKOFF_CAP
from relayd.runtime.recent import Recent
from relayd.runtime.standing import Standing
from relayd.runtime.supervisor import Chore, EngineSettings, Supervisor
from relayd.runtime.watching import Watcher
from relayd.runtime.watermark import Watermark
from relayd.settings import Settings
from relayd.stages import Ports, RelaySettings
from relayd.telemetry import instruments
from relayd.telemetry.calls import hear_calls
from relayd.telemetry.instruments import Engine
from relayd.telemetry.otel import Telemetry
from relayd.telling import Teller

log = structlog.get_logger(__name__)

DAY = 86_400.0
DEBTS_EVERY = 30.0
"""Seconds between looks at what the ledger is owed; mail that comes pays it sooner."""
ACCOUNT_EVERY = 60.0
"""Seconds between looks at what SES lets the account do; a new account's rate grows by the day."""
NOTICES_EVERY = 3.0
"""Seconds between looks for notices that wait to be sent."""
TELEMETRY_SECONDS = 5.0
"""For the last spans. With the default grace of 50 s this ends well inside Kubernetes' 60."""
EVENTS_NEED: tuple[Dependency, ...] = ("database", "certificates")
"""What may hold the events: no outage of S3 or SES delays what SES has to say about mail that was sent."""
EVENTS: Engine = "events"
"""What stands before the conditions of the events' engine."""


@dataclass
class Daemon:
    """Everything that was put together, in the order in which it starts and, backwards, ends."""

    supervisor: Supervisor
    events: Supervisor | None
    """The engine of SES's events; None where they have no queue."""
    health: HealthServer | None
    """None where nobody asks: a drain needs no port."""
    database: Database
    telemetry: Telemetry
    _settings: Settings = field(repr=False)
    _clock: Clock
    _orders: StandingOrders
    _recent: Recent
    _heartbeat: Heartbeat
    _deaf: Callable[[], None] = field(default=lambda: None)

    def start(self) -> None:
        """Answer probes, then begin to poll."""
        instruments.begin("mail", *(() if self.events is None else (EVENTS,)))
        self._deaf = hear_calls(self._recent.called)
        if self.health is not None:
            self.health.start()
        # Before the first poll: until then everything counts as paused.
        self._orders.refresh()
        if self.events is not None:
            self.events.start()
        self.supervisor.start()
        log.info("started", version=__version__, concurrency=self._settings.concurrency)

    def paused(self) -> bool:
        """Whether operators hold all mail back, or nobody knows yet."""
        return self._orders.everything()

    def live(self) -> bool:
        """Whether a restart would not help: what a liveness probe is told, and what feeds a watchdog."""
        return self.health is None or self.health.live()

    def stop(self) -> bool:
        """Stop within the grace. True when nothing was left unfinished."""
        ends: list[bool] = []
        events = self.events
        # Both at once, as both have the same grace.
        other = self._clock.spawn("stop-events", lambda: ends.append(events is None or events.stop()))
        clean = self.supervisor.stop()
        other.join(self._settings.grace_seconds)
        clean = clean and all(ends)
        if self.health is not None:
            self.health.stop()
        self._heartbeat.leave()
        self._deaf()
        self.database.close()
        # Last, so that the spans of the last messages are in it; bounded, because a collector may be down.
        self.telemetry.shutdown(TELEMETRY_SECONDS)
        return clean


def build(
    settings: Settings,
    clock: Clock,
    telemetry: Telemetry,
    *,
    gates: Sequence[Gate] = (),
    watchers: Sequence[Watcher] = (),
    serve: bool = True,
    queue: Queue | None = None,
) -> Daemon:
    """Put a daemon together and check everything it needs. Raises ConfigurationError with all that is wrong.

    `gates` and `watchers` are for the engine of the mail; `serve`: with the port of health, metrics and status.
    `queue`: in place of the one that the settings name, which need not even be there then.
    """
    problems: list[Problem] = []
    database = checked_database(settings, problems)
    clients = Clients(settings)
    facts = checked_queue(settings, clients, problems) if queue is None else None
    events_facts = checked_events_queue(settings, clients, problems)
    problems += bucket_problems(settings, clients)
    if problems or database is None:
        if database is not None:
            database.close()
        raise ConfigurationError(problems)
    dead_letter_url = None if facts is None else facts.dead_letter_url
    queue = queue or SqsQueue(
        settings.queue_url, poll_client=clients.poll, client=clients.settle, dead_letter_url=dead_letter_url
    )
    ledger = SqlLedger(database, days=settings.ledger_days)
    memory = MemoryBudget(clock, settings.memory_budget_mb * 1_000_000)
    pace = Pace(clock)
    order_book = SqlOrders(database)
    orders = StandingOrders(order_book, clock, telemetry.record_unsampled)
    ports = Ports(
        store=S3MailStore(clients.s3, clock=clock, read_deadline=settings.s3_read_seconds),
        mailer=SesMailer(clients.ses, configuration_set=settings.configuration_set),
        directory=SqlDirectory(database),
        ledger=ledger,
        feedbacks=SqlFeedbacks(database),
        notices=SqlNotices(database),
        certificates=sns_certificates(settings),
        memory=memory,
        pace=pace,
        pauses=orders,
        traced=orders,
        clock=clock,
    )
    health = HealthState(turn_limit=settings.wait_seconds + POLL_MARGIN + BACKOFF_CAP)
    relay_settings = route_settings(settings, clients.ses_region)
    watermark = Watermark(clock, settings.in_doubt_seconds, relay_settings.retry_seconds)
    doubts = {"doubt_seconds": watermark.doubt_seconds} if events_facts is not None else {}
    relay = Relay(ports, relay_settings, **doubts)
    teller = Teller(ports, relay_settings)

    def ask_account() -> probes.Account | None:
        account = probes.account(clients.ses)
        pace.allow(account.rate if account is not None and account.rate > 0 else None)
        return account

    named = [bucket for bucket in settings.buckets if bucket != ANY]
    asked: dict[Dependency, Probe] = {
        "ses": probes.ses_probe(ask_account),
        "database": database.ping,
        **({"s3": probes.s3_probe(clients.s3, named)} if named else {}),
    }
    recent = Recent(clock)

    def tell() -> dict[str, Any]:
        # Of the supervisor, whose chore it is.
        return standing.brief()

    measured = Measured(settings, clients, database, clock, mail=facts, events=events_facts)
    heartbeat = Heartbeat(SqlReplicas(database), clock, telemetry.instance, tell)
    chores = [
        Chore("prune", DAY, lambda: _prune(ledger, order_book)),
        Chore("orders", LOOK_EVERY, orders.refresh),
        Chore("debts", DEBTS_EVERY, relay.pay_debts),
        Chore("account", ACCOUNT_EVERY, _asking(ask_account), at_once=True),
        Chore("notices", NOTICES_EVERY, teller.tell, teller.stop),
        Chore("heartbeat", BEAT_EVERY, heartbeat.beat, heartbeat.stopping, at_once=True),
        *measured.chores(),
    ]
    supervisor = Supervisor(
        queue,
        relay,
        clock,
        health,
        engine_settings(settings, settings.concurrency),
        chores,
        probes=asked,
        gates=(orders, *gates),
        watchers=(recent, *watchers),
    )
    measured.watch()
    _watch(supervisor, health, clock, memory, pace)
    gauges.watch_debts(lambda: relay.owed + teller.owed)
    gauges.watch_pauses(orders)
    events = None
    if events_facts is not None and settings.events_queue_url is not None:
        events = Supervisor(
            SqsQueue(
                settings.events_queue_url,
                poll_client=clients.poll_events,
                client=clients.settle_events,
                # Events without a dead-letter queue of their own share the mail's.
                dead_letter_url=events_facts.dead_letter_url or dead_letter_url,
            ),
            FeedbackRoute(ports.feedbacks, ledger, ports.certificates, clock, relay_settings),
            clock,
            HealthPart(health, EVENTS),
            engine_settings(settings, EVENTS_THREADS),
            polled=watermark.polled,
            probes={"database": database.ping},
            governed=EVENTS_NEED,
            engine=EVENTS,
        )
        gauges.watch_engine(events)
    name = {"replica": telemetry.instance, "version": __version__, "queue": queue.name}
    standing = Standing(clock, health, recent, name=name, parts=_parts(supervisor, events, orders))
    server = _health_server(settings, clock, health, telemetry, standing) if serve else None
    return Daemon(supervisor, events, server, database, telemetry, settings, clock, orders, recent, heartbeat)


def engine_settings(settings: Settings, concurrency: int) -> EngineSettings:
    """What an engine of so many workers needs to know."""
    return EngineSettings(
        concurrency=concurrency,
        wait=settings.wait_seconds,
        visibility=settings.visibility_seconds,
        deadline=settings.deadline_seconds,
        grace=settings.grace_seconds,
    )


def sns_certificates(settings: Settings) -> Certificates:
    """Where SNS's certificates come from."""
    if settings.sns_certificate_file is not None:
        return PinnedCertificate(settings.sns_certificate_file)
    return HttpCertificates()


def route_settings(settings: Settings, ses_region: str) -> RelaySettings:
    """What the route needs to know."""
    return RelaySettings(
        mail_domains=frozenset(settings.mail_domains),
        topic_arns=frozenset(settings.topic_arns),
        buckets=frozenset(settings.buckets),
        secrets=settings.secrets,
        verify_signatures=settings.signatures == "verify",
        retry_seconds=settings.retry_hours * 3600,
        claim_seconds=settings.deadline_seconds,
        send_seconds=settings.send_seconds,
        # SES names its Message-IDs so, by region (us-east-1 has the old name).
        ses_domain="email.amazonses.com" if ses_region == "us-east-1" else f"{ses_region}.amazonses.com",
        resend_doubts=settings.in_doubt == "resend",
        limits=Limits(settings.daily_mails, settings.daily_megabytes * 1_000_000, settings.daily_replies),
        notice_from=settings.notice_from,
        trackers=settings.trackers,
        tracker_warning=settings.tracker_warning,
    )


def _asking(account: Callable[[], object]) -> Callable[[], None]:
    """Asks what the account may send. That the role may not know is told once: relayd works without."""
    denied = False

    def ask() -> None:
        nonlocal denied
        try:
            found = account()
        except RelaydError as error:
            # The mail will tell whether SES is away; the rate is the one that was known.
            log.warning("account_unknown", reason=error.reason)
            return
        if found is None and not denied:
            log.warning("account_unknown", reason="access_denied", operation="GetAccount")
        denied = found is None

    return ask


def _watch(supervisor: Supervisor, health: HealthState, clock: Clock, memory: MemoryBudget, pace: Pace) -> None:
    gauges.watch_engine(supervisor)
    gauges.watch_health(health, clock)
    gauges.watch_memory(memory)
    gauges.watch_pace(pace)


def _prune(ledger: SqlLedger, orders: SqlOrders) -> None:
    rows = ledger.prune()
    instruments.pruned(rows)
    log.info("ledger_pruned", rows=rows)
    orders.prune()


def _parts(supervisor: Supervisor, events: Supervisor | None, orders: StandingOrders) -> Callable[[], dict[str, Any]]:
    def parts() -> dict[str, Any]:
        told = {**supervisor.status(), "orders": orders.status()}
        return told if events is None else {**told, EVENTS: events.status()}

    return parts


def _health_server(
    settings: Settings, clock: Clock, health: HealthState, telemetry: Telemetry, standing: Standing
) -> HealthServer:
    return HealthServer(
        settings.http_host,
        settings.http_port,
        health,
        clock=clock,
        metrics=telemetry.metrics_text,
        status=standing.whole,
    )
