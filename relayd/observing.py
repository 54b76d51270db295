"""The composition root of an observer: the engine and the route of a daemon, on ports that look and change nothing.

It is apart from `relayd.app` so that whatever a daemon does beside the mail is left out here until somebody puts it in.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from relayd import __version__
from relayd.adapters import probes
from relayd.adapters.database import Database
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.feedbacks import SqlFeedbacks
from relayd.adapters.ledger import SqlLedger
from relayd.adapters.observing import (
    ObservedQueue,
    ObservingDirectory,
    ObservingFeedbacks,
    ObservingLedger,
    ObservingMailer,
    ObservingNotices,
    Unpaused,
)
from relayd.adapters.s3 import S3MailStore
from relayd.adapters.sqs import SqsQueue
from relayd.app import TELEMETRY_SECONDS, engine_settings, route_settings, sns_certificates
from relayd.checks import bucket_problems, checked_database, observed_queue
from relayd.clients import POLL_MARGIN, Clients
from relayd.decoding import ANY
from relayd.errors import ConfigurationError, Dependency, Problem
from relayd.ports import Clock
from relayd.relay import Relay
from relayd.runtime import gauges
from relayd.runtime.governor import Probe
from relayd.runtime.health import HealthServer, HealthState
from relayd.runtime.memory import MemoryBudget
from relayd.runtime.pace import Pace
from relayd.runtime.poller import BACKOFF_CAP
from relayd.runtime.recent import Recent
from relayd.runtime.sightings import Sightings
from relayd.runtime.standing import Standing
from relayd.runtime.supervisor import Chore, Supervisor
from relayd.settings import Settings
from relayd.stages import Ports
from relayd.telemetry import names, spans
from relayd.telemetry.calls import hear_calls
from relayd.telemetry.otel import Telemetry

log = structlog.get_logger(__name__)

REPORT_EVERY = 60.0
"""Seconds between reports, so that one is there even if the process is killed."""
NEEDED: tuple[Dependency, ...] = ("s3", "database", "certificates")
"""What may hold an observer up. SES is never asked."""

Report = Callable[[dict[str, Any]], None]
"""Given what was seen until now. It must not raise."""


@dataclass
class Observer:
    """Everything that was put together."""

    supervisor: Supervisor
    health: HealthServer
    database: Database
    telemetry: Telemetry
    sightings: Sightings
    _recent: Recent
    _queue: str
    _ends: list[Callable[[], None]] = field(default_factory=list)
    _last: dict[str, Any] | None = None

    def start(self) -> None:
        """Answer probes, then begin to look."""
        self._ends = [
            hear_calls(self._recent.called),
            spans.hear_steps(self.sightings.stepped),
        ]
        self.health.start()
        self.supervisor.start()
        log.info("observation_began", version=__version__, queue=self._queue)

    def stop(self) -> bool:
        """Stop within the grace. True when nothing was left unfinished."""
        clean = self.supervisor.stop()
        self._last = self.told()
        log.info("observation_ended", **self._last)
        self.health.stop()
        for end in self._ends:
            end()
        self.database.close()
        self.telemetry.shutdown(TELEMETRY_SECONDS)
        return clean

    def told(self) -> dict[str, Any]:
        """What was seen until now, or until the stop: as `Sightings.told`, with whose it is."""
        return self._last or {names.OBSERVED.rpartition(".")[2]: True, "queue": self._queue, **self.sightings.told()}


def observer(settings: Settings, clock: Clock, telemetry: Telemetry, report: Report | None = None) -> Observer:
    """Put an observer together and check everything it needs. Raises ConfigurationError with all that is wrong."""
    problems: list[Problem] = []
    database = checked_database(settings, problems, read_only=True)
    clients = Clients(settings)
    facts = observed_queue(settings, clients, database, problems)
    problems += bucket_problems(settings, clients)
    if problems or database is None or facts is None:
        if database is not None:
            database.close()
        raise ConfigurationError(problems)
    sightings, recent = Sightings(clock), Recent(clock)
    memory = MemoryBudget(clock, settings.memory_budget_mb * 1_000_000)
    # A pace that knows of no rate lets everything through.
    ports = _ports(settings, clients, database, clock, memory=memory, pace=Pace(clock), sightings=sightings)
    health = HealthState(turn_limit=settings.wait_seconds + POLL_MARGIN + BACKOFF_CAP)
    real_queue = SqsQueue(settings.queue_url, poll_client=clients.poll, client=clients.settle, dead_letter_url=None)
    supervisor = Supervisor(
        ObservedQueue(real_queue),
        Relay(ports, route_settings(settings, clients.ses_region)),
        clock,
        health,
        engine_settings(settings, settings.concurrency),
        [] if report is None else [Chore("report", REPORT_EVERY, lambda: report(observed.told()))],
        probes=_probes(settings, clients, database),
        governed=NEEDED,
        watchers=(recent, sightings.ended),
    )
    gauges.watch_engine(supervisor)
    gauges.watch_health(health, clock)
    gauges.watch_memory(memory)
    gauges.watch_pool(database.connections, database.most, database.waiting)
    standing = Standing(
        clock,
        health,
        recent,
        # Where replicas are listed, it must not pass for one that forwards.
        name={"replica": telemetry.instance, "version": f"{__version__} (observing)", "queue": facts.name},
        parts=lambda: {**supervisor.status(), "observed": observed.told()},
    )
    server = HealthServer(
        settings.http_host,
        settings.http_port,
        health,
        clock=clock,
        metrics=telemetry.metrics_text,
        status=standing.whole,
    )
    observed = Observer(supervisor, server, database, telemetry, sightings, recent, facts.name)
    return observed


def _ports(
    settings: Settings,
    clients: Clients,
    database: Database,
    clock: Clock,
    *,
    memory: MemoryBudget,
    pace: Pace,
    sightings: Sightings,
) -> Ports:
    saw, unpaused = sightings.would, Unpaused()
    return Ports(
        store=S3MailStore(clients.s3, clock=clock, read_deadline=settings.s3_read_seconds),
        mailer=ObservingMailer(),
        directory=ObservingDirectory(SqlDirectory(database)),
        ledger=ObservingLedger(SqlLedger(database), clock, saw),
        feedbacks=ObservingFeedbacks(SqlFeedbacks(database), saw),
        notices=ObservingNotices(clock, saw),
        certificates=sns_certificates(settings),
        memory=memory,
        pace=pace,
        pauses=unpaused,
        traced=unpaused,
        clock=clock,
    )


def _probes(settings: Settings, clients: Clients, database: Database) -> dict[Dependency, Probe]:
    named = [bucket for bucket in settings.buckets if bucket != ANY]
    asked: dict[Dependency, Probe] = {"database": database.ping}
    return asked | ({"s3": probes.s3_probe(clients.s3, named)} if named else {})
