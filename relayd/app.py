"""The composition root: settings in, a daemon out. The only room that knows which adapter answers which port."""

from dataclasses import dataclass, field
from typing import Any

import structlog

from relayd import __version__
from relayd.adapters import aws
from relayd.adapters.certificates import HttpCertificates, PinnedCertificate
from relayd.adapters.database import Database, check_secret, check_version, connect
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.ledger import SqlLedger
from relayd.adapters.queue_facts import QueueFacts, describe, region_of
from relayd.adapters.s3 import S3MailStore, check_bucket
from relayd.adapters.ses import SesMailer
from relayd.adapters.sqs import SqsQueue
from relayd.decoding import ANY
from relayd.errors import ConfigurationError, HoldError, Problem, TransientError
from relayd.ports import Certificates, Clock
from relayd.relay import Relay
from relayd.runtime.health import HealthServer, HealthState
from relayd.runtime.poller import BACKOFF_CAP
from relayd.runtime.supervisor import Chore, EngineSettings, Supervisor
from relayd.settings import Settings
from relayd.stages import Ports, RelaySettings
from relayd.telemetry import instruments
from relayd.telemetry.otel import Telemetry

log = structlog.get_logger(__name__)

SETTLE_TIMEOUTS = aws.Timeouts(connect=3.0, read=5.0)
"""For deletes, visibility changes and dead letters: all answer in milliseconds, and the lease is running."""
POLL_MARGIN = 5.0
"""Seconds beyond the long poll's own wait before a poll counts as hung."""
DAY = 86_400.0
DEBTS_EVERY = 30.0
"""Seconds between looks at what the ledger is owed; mail that comes pays it sooner."""
TELEMETRY_SECONDS = 5.0
"""For the last spans. With the default grace of 50 s this ends well inside Kubernetes' 60."""


@dataclass
class Daemon:
    """Everything that was put together, in the order in which it starts and, backwards, ends."""

    supervisor: Supervisor
    health: HealthServer
    database: Database
    telemetry: Telemetry
    _settings: Settings = field(repr=False)

    def start(self) -> None:
        """Answer probes, then begin to poll."""
        instruments.watch_in_flight(self.supervisor.in_flight)
        self.health.start()
        self.supervisor.start()
        log.info("started", version=__version__, concurrency=self._settings.concurrency)

    def stop(self) -> bool:
        """Stop within the grace. True when nothing was left unfinished."""
        clean = self.supervisor.stop()
        self.health.stop()
        self.database.close()
        # Last, so that the spans of the last messages are in it; bounded, because a collector may be down.
        self.telemetry.shutdown(TELEMETRY_SECONDS)
        return clean


def build(settings: Settings, clock: Clock, telemetry: Telemetry) -> Daemon:
    """Put a daemon together and check everything it needs. Raises ConfigurationError with all that is wrong."""
    problems: list[Problem] = []
    database = _database(settings, problems)
    clients = _Clients(settings)
    facts = _queue_facts(settings, clients, problems)
    problems += _bucket_problems(settings, clients)
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
        certificates=_certificates(settings),
        clock=clock,
    )
    health = HealthState(turn_limit=settings.wait_seconds + POLL_MARGIN + BACKOFF_CAP)
    engine = EngineSettings(
        concurrency=settings.concurrency,
        wait=settings.wait_seconds,
        visibility=settings.visibility_seconds,
        deadline=settings.deadline_seconds,
        grace=settings.grace_seconds,
    )
    relay = Relay(ports, _relay_settings(settings, clients.ses_region))
    supervisor = Supervisor(
        queue,
        relay,
        clock,
        health,
        engine,
        [Chore("prune", DAY, lambda: _prune(ledger)), Chore("debts", DEBTS_EVERY, relay.pay_debts)],
    )
    server = _health_server(settings, clock, health, supervisor, telemetry, facts)
    return Daemon(supervisor, server, database, telemetry, settings)


class _Clients:
    """Each built once. Polling has a client of its own, so that a long poll never starves a delete."""

    def __init__(self, settings: Settings) -> None:
        threads = settings.concurrency
        # A queue's URL names its region, and SQS in another one says that the queue does not exist. The rest is in
        # the same region unless AWS_REGION, or RELAYD_SES_REGION, say otherwise.
        region = region_of(settings.queue_url)
        session = aws.new_session(default_region=region)
        self.poll = aws.client(
            "sqs",
            region=region,
            pool=2,
            timeouts=aws.Timeouts(3.0, settings.wait_seconds + POLL_MARGIN),
            session=session,
        )
        # Workers send dead letters and fence; Keeper and Settler batch.
        self.settle = aws.client("sqs", region=region, pool=threads + 2, timeouts=SETTLE_TIMEOUTS, session=session)
        self.s3 = aws.client(
            "s3",
            pool=threads,
            timeouts=aws.Timeouts(settings.s3_connect_seconds, settings.s3_read_seconds),
            session=session,
        )
        self.ses = aws.client(
            "sesv2",
            region=settings.ses_region,
            pool=threads,
            timeouts=aws.Timeouts(settings.ses_connect_seconds, settings.ses_read_seconds),
            session=session,
        )
        self.ses_region: str = self.ses.meta.region_name


def _database(settings: Settings, problems: list[Problem]) -> Database | None:
    try:
        # One connection a worker, and one each for pruning and the health of it all.
        database = connect(settings.database_url, pool_size=settings.concurrency + 2)
    except ConfigurationError as error:
        problems += error.problems
        return None
    try:
        check_version(database)
        check_secret(database, settings.secrets, remember=True)
        if SqlDirectory(database).is_empty():
            problems.append(
                Problem(
                    "RELAYD_DATABASE_URL",
                    "the database holds no masks: all mail would be discarded as unknown",
                    "is it the right database? add a mask: relayd masks add NAME@DOMAIN --to YOU@EXAMPLE.ORG",
                )
            )
    except ConfigurationError as error:
        problems += error.problems
    except (HoldError, TransientError) as error:
        problems.append(
            Problem(
                "RELAYD_DATABASE_URL",
                f"the database cannot be used ({error})",
                "check that it runs, that this host reaches it, and the name and password in the URL",
            )
        )
    return database


def _queue_facts(settings: Settings, clients: _Clients, problems: list[Problem]) -> QueueFacts | None:
    try:
        facts = describe(clients.settle, settings.queue_url, dead_letter_url=settings.dead_letter_url)
    except ConfigurationError as error:
        problems += error.problems
        return None
    except TransientError as error:
        problems.append(
            Problem(
                "RELAYD_QUEUE_URL",
                f"SQS cannot be reached ({error})",
                "check the network, the proxy and AWS_ENDPOINT_URL; during an outage of AWS, just try again",
            )
        )
        return None
    if facts.dead_letter_url is None:
        problems.append(
            Problem(
                "RELAYD_QUEUE_URL",
                "the queue has no dead-letter queue, so rejected mail would have nowhere to go",
                "give the queue a redrive policy (maxReceiveCount 1000), or set RELAYD_DEAD_LETTER_URL",
            )
        )
    return facts


def _bucket_problems(settings: Settings, clients: _Clients) -> list[Problem]:
    checked = (check_bucket(clients.s3, bucket) for bucket in settings.buckets if bucket != ANY)
    return [problem for problem in checked if problem is not None]


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
    )


def _prune(ledger: SqlLedger) -> None:
    log.info("ledger_pruned", rows=ledger.prune())


def _health_server(
    settings: Settings,
    clock: Clock,
    health: HealthState,
    supervisor: Supervisor,
    telemetry: Telemetry,
    facts: QueueFacts,
) -> HealthServer:
    def status() -> dict[str, Any]:
        return {"version": __version__, "queue": facts.name, **supervisor.status()}

    return HealthServer(
        settings.http_host,
        settings.http_port,
        health,
        clock=clock,
        metrics=telemetry.metrics_text,
        status=status,
    )
