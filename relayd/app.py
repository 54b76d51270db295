"""The composition root: settings in, a daemon out. The only room that knows which adapter answers which port."""

from dataclasses import dataclass, field
from typing import Any

import structlog

from relayd import __version__
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
from relayd.errors import ConfigurationError, Problem
from relayd.feedback import FeedbackRoute
from relayd.ports import Certificates, Clock
from relayd.relay import Relay
from relayd.rules.evidence import Limits
from relayd.runtime.health import HealthPart, HealthServer, HealthState
from relayd.runtime.poller import BACKOFF_CAP
from relayd.runtime.supervisor import Chore, EngineSettings, Supervisor
from relayd.runtime.watermark import Watermark
from relayd.settings import Settings
from relayd.stages import Ports, RelaySettings
from relayd.telemetry import instruments
from relayd.telemetry.otel import Telemetry
from relayd.telling import Teller

log = structlog.get_logger(__name__)

DAY = 86_400.0
DEBTS_EVERY = 30.0
"""Seconds between looks at what the ledger is owed; mail that comes pays it sooner."""
NOTICES_EVERY = 3.0
"""Seconds between looks for notices that wait to be sent."""
TELEMETRY_SECONDS = 5.0
"""For the last spans. With the default grace of 50 s this ends well inside Kubernetes' 60."""
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
    ports = Ports(
        store=S3MailStore(clients.s3, clock=clock, read_deadline=settings.s3_read_seconds),
        mailer=SesMailer(clients.ses, configuration_set=settings.configuration_set),
        directory=SqlDirectory(database),
        ledger=ledger,
        feedbacks=SqlFeedbacks(database),
        notices=SqlNotices(database),
        certificates=_certificates(settings),
        clock=clock,
    )
    health = HealthState(turn_limit=settings.wait_seconds + POLL_MARGIN + BACKOFF_CAP)
    relay_settings = _relay_settings(settings, clients.ses_region)
    watermark = Watermark(clock, settings.in_doubt_seconds, relay_settings.retry_seconds)
    doubts = {"doubt_seconds": watermark.doubt_seconds} if events_facts is not None else {}
    relay = Relay(ports, relay_settings, **doubts)
    teller = Teller(ports.notices, ports.mailer, ledger, clock, relay_settings)
    chores = [
        Chore("prune", DAY, lambda: _prune(ledger)),
        Chore("debts", DEBTS_EVERY, relay.pay_debts),
        Chore("notices", NOTICES_EVERY, teller.tell, teller.stop),
    ]
    supervisor = Supervisor(queue, relay, clock, health, _engine(settings, settings.concurrency), chores)
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
        limits=Limits(settings.daily_mails, settings.daily_megabytes * 1_000_000, settings.daily_replies),
        notice_from=settings.notice_from,
        trackers=settings.trackers,
        tracker_warning=settings.tracker_warning,
    )


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
