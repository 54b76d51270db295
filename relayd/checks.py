"""What the daemon checks of its surroundings before it begins, so that one start shows everything that is wrong."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from relayd.adapters.database import Database, check_secret, check_version, connect
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.queue_facts import QueueFacts, describe
from relayd.adapters.replicas import SqlReplicas
from relayd.adapters.s3 import check_bucket
from relayd.adapters.schema import HEAD
from relayd.clients import EVENTS_THREADS, Clients
from relayd.decoding import ANY
from relayd.errors import ConfigurationError, HoldError, Problem, TransientError
from relayd.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

log = structlog.get_logger(__name__)

SILENT_SECONDS = 60.0
"""A daemon beats every 5 s, and may pause for a while. One that was killed leaves its row behind."""


def checked_database(settings: Settings, problems: list[Problem], *, read_only: bool = False) -> Database | None:
    """The database, if it can be opened at all. `read_only`: it is neither upgraded nor told of our secrets."""
    try:
        # One connection a worker, of mail or of events, and one each for pruning, notices, orders and the heartbeat.
        pool_size = settings.concurrency + EVENTS_THREADS + 4
        database = connect(settings.database_url, pool_size=pool_size, read_only=read_only)
    except ConfigurationError as error:
        problems += error.problems
        return None
    try:
        found = check_version(database, may_upgrade=not read_only)
        if found != HEAD:
            log.warning("database_newer", version=found, own=HEAD)
        check_secret(database, settings.secrets, remember=not read_only)
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


def checked_queue(settings: Settings, clients: Clients, problems: list[Problem]) -> QueueFacts | None:
    """What the mail queue is like; None where it cannot be used."""
    facts = _described("RELAYD_QUEUE_URL", clients.settle, settings.queue_url, settings.dead_letter_url, problems)
    if facts is not None and facts.dead_letter_url is None:
        problems.append(
            Problem(
                "RELAYD_QUEUE_URL",
                "the queue has no dead-letter queue, so rejected mail would have nowhere to go",
                "give the queue a redrive policy (maxReceiveCount 1000), or set RELAYD_DEAD_LETTER_URL",
            )
        )
    return facts


def observed_queue(
    settings: Settings, clients: Clients, database: Database | None, problems: list[Problem]
) -> QueueFacts | None:
    """What a queue is like whose messages are only looked at; None where it cannot be used. One that a daemon works on
    is refused: its mail would be gone.
    """
    facts = _described("RELAYD_QUEUE_URL", clients.settle, settings.queue_url, None, problems)
    if facts is not None and database is not None and not problems and facts.name in worked_on(database):
        problems.append(
            Problem(
                "RELAYD_QUEUE_URL",
                "a running relayd of this database receives from this queue, and observing takes messages away",
                "give the observer a queue of its own, subscribed to the same topic",
            )
        )
    return facts


def worked_on(database: Database) -> set[str]:
    """Names of the queues that daemons of this database said lately that they receive from."""
    seen = (json.loads(one.status) for one in SqlReplicas(database).read() if one.seconds_ago <= SILENT_SECONDS)
    return {str(status["queue"]) for status in seen if isinstance(status, dict) and "queue" in status}


def _described(
    variable: str, client: "SQSClient", url: str, dead_letter_url: str | None, problems: list[Problem]
) -> QueueFacts | None:
    try:
        return describe(client, url, dead_letter_url=dead_letter_url)
    except ConfigurationError as error:
        problems += (replace(problem, subject=variable) for problem in error.problems)
    except TransientError as error:
        problems.append(
            Problem(
                variable,
                f"SQS cannot be reached ({error})",
                "check the network, the proxy and AWS_ENDPOINT_URL; during an outage of AWS, just try again",
            )
        )
    return None


def checked_events_queue(settings: Settings, clients: Clients, problems: list[Problem]) -> QueueFacts | None:
    """None where there is none, or where it cannot be used."""
    if settings.events_queue_url is None:
        return None
    return _described("RELAYD_EVENTS_QUEUE_URL", clients.settle_events, settings.events_queue_url, None, problems)


def bucket_problems(settings: Settings, clients: Clients) -> list[Problem]:
    checked = (check_bucket(clients.s3, bucket) for bucket in settings.buckets if bucket != ANY)
    return [problem for problem in checked if problem is not None]
