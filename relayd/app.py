"""The composition root: settings in, a daemon out. The only room that knows which adapter answers which port."""

from collections.abc import Callable
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
from relayd.adapters.queue_facts import QueueFacts
from relayd.adapters.s3 import S3MailStore
from relayd.adapters.ses import SesMailer
from relayd.adapters.sqs import SqsQueue
from relayd.checks import bucket_problems, checked_database, checked_events_queue, checked_queue
from relayd.clients import EVENTS_THREADS, POLL_MARGIN, Clients
from relayd.decoding import ANY
from relayd.errors import ConfigurationError, Dependency, Problem, RelaydError
from relayd.feedback import FeedbackRoute
from relayd.ports import Certificates, Clock
from relayd.relay import Relay
from relayd.rules.evidence import Limits
from relayd.runtime.governor import Probe
from relayd.runtime.health import HealthPart, HealthServer, HealthState
from relayd.runtime.memory import MemoryBudget
from relayd.runtime.pace import Pace
from relayd.runtime.poller import BACKOFF_CAP
from relayd.runtime.supervisor import Chore, EngineSettings, Supervisor
from relayd.runtime.watermark import Watermark
from relayd.settings import Settings
from relayd.stages import Ports, RelaySettings
from relayd.telemetry import instruments, names
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
EVENTS = "events"
"""What stands before the conditions of the events' engine."""


@dataclass
class Daemon:
    """Everything that was put together, in the order in which it starts and, backwards, ends."""

    supervisor: Supervisor
    events: Supervisor | None
    """The engine of SES's events; None where they have no queue."""
    health: HealthServer
    database: Database
    telemetry: Telemetry
    _settings: Settings = field(repr=False)
    _clock: Clock

    def start(self) -> None:
        """Answer probes, then begin to poll."""
        instruments.watch_in_flight(self.supervisor.in_flight)
        self.health.start()
        if self.events is not None:
            self.events.start()
        self.supervisor.start()
        log.info("started", version=__version__, concurrency=self._settings.concurrency)

    def stop(self) -> bool:
        """Stop within the grace. True when nothing was left unfinished."""
        ends: list[bool] = []
        events = self.events
        # Both at once, as both have the same grace.
        other = self._clock.spawn("stop-events", lambda: ends.append(events is None or events.stop()))
        clean = self.supervisor.stop()
        other.join(self._settings.grace_seconds)
        clean = clean and all(ends)
        self.health.stop()
        self.database.close()
        # Last, so that the spans of the last messages are in it; bounded, because a collector may be down.
        self.telemetry.shutdown(TELEMETRY_SECONDS)
        return clean


def build(settings: Settings, clock: Clock, telemetry: Telemetry) -> Daemon:
    """Put a daemon together and check everything it needs. Raises ConfigurationError with all that is wrong."""
    problems: list[Problem] = []
    database = checked_database(settings, problems)
    clients = Clients(settings)
    facts = checked_queue(settings, clients, problems)
    events_facts = checked_events_queue(settings, clients, problems)
    problems += bucket_problems(settings, clients)
    if problems or database is None or facts is None:
        if database is not None:
            database.close()
        raise ConfigurationError(problems)
    queue = SqsQueue(
        settings.queue_url, poll_client=clients.poll, client=clients.settle, dead_letter_url=facts.dead_letter_url
    )
    ledger = SqlLedger(database, days=settings.ledger_days)
    memory = MemoryBudget(clock, settings.memory_budget_mb * 1_000_000)
    pace = Pace(clock)
    ports = Ports(
        store=S3MailStore(clients.s3, clock=clock, read_deadline=settings.s3_read_seconds),
        mailer=SesMailer(clients.ses, configuration_set=settings.configuration_set),
        directory=SqlDirectory(database),
        ledger=ledger,
        feedbacks=SqlFeedbacks(database),
        notices=SqlNotices(database),
        certificates=_certificates(settings),
        memory=memory,
        pace=pace,
        clock=clock,
    )
    health = HealthState(turn_limit=settings.wait_seconds + POLL_MARGIN + BACKOFF_CAP)
    relay_settings = _relay_settings(settings, clients.ses_region)
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
    chores = [
        Chore("prune", DAY, lambda: _prune(ledger)),
        Chore("debts", DEBTS_EVERY, relay.pay_debts),
        Chore("account", ACCOUNT_EVERY, lambda: _ask(ask_account), at_once=True),
        Chore("notices", NOTICES_EVERY, teller.tell, teller.stop),
    ]
    supervisor = Supervisor(queue, relay, clock, health, _engine(settings, settings.concurrency), chores, probes=asked)
    _watch(supervisor, memory, pace)
    events = None
    if events_facts is not None and settings.events_queue_url is not None:
        events = Supervisor(
            SqsQueue(
                settings.events_queue_url,
                poll_client=clients.poll_events,
                client=clients.settle_events,
                # Events without a dead-letter queue of their own share the mail's.
                dead_letter_url=events_facts.dead_letter_url or facts.dead_letter_url,
            ),
            FeedbackRoute(ports.feedbacks, ledger, ports.certificates, clock, relay_settings),
            clock,
            HealthPart(health, EVENTS),
            _engine(settings, EVENTS_THREADS),
            polled=watermark.polled,
            probes={"database": database.ping},
            governed=EVENTS_NEED,
        )
    server = _health_server(settings, clock, health, supervisor, events, telemetry, facts)
    return Daemon(supervisor, events, server, database, telemetry, settings, clock)


def _engine(settings: Settings, concurrency: int) -> EngineSettings:
    return EngineSettings(
        concurrency=concurrency,
        wait=settings.wait_seconds,
        visibility=settings.visibility_seconds,
        deadline=settings.deadline_seconds,
        grace=settings.grace_seconds,
    )


def _certificates(settings: Settings) -> Certificates:
    if settings.sns_certificate_file is not None:
        return PinnedCertificate(settings.sns_certificate_file)
    return HttpCertificates()


def _relay_settings(settings: Settings, ses_region: str) -> RelaySettings:
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


def _ask(account: Callable[[], object]) -> None:
    try:
        account()
    except RelaydError as error:
        # The mail will tell whether SES is away; the rate is the one that was known.
        log.warning("account_unknown", reason=error.reason)


def _watch(supervisor: Supervisor, memory: MemoryBudget, pace: Pace) -> None:
    governor = supervisor.governor
    instruments.watch(names.LIMIT, governor.limits)
    instruments.watch(names.BREAKER, governor.breakers)
    instruments.watch(names.MEMORY_RESERVED, lambda: {"": memory.reserved})
    instruments.watch(names.PACE, lambda: {"": pace.rate or 0.0})


def _prune(ledger: SqlLedger) -> None:
    log.info("ledger_pruned", rows=ledger.prune())


def _health_server(
    settings: Settings,
    clock: Clock,
    health: HealthState,
    supervisor: Supervisor,
    events: Supervisor | None,
    telemetry: Telemetry,
    facts: QueueFacts,
) -> HealthServer:
    def status() -> dict[str, Any]:
        told = {"version": __version__, "queue": facts.name, **supervisor.status()}
        return told if events is None else {**told, EVENTS: events.status()}

    return HealthServer(
        settings.http_host,
        settings.http_port,
        health,
        clock=clock,
        metrics=telemetry.metrics_text,
        status=status,
    )
