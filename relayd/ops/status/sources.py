"""Whom `relayd status` asks: SQS, CloudWatch, SES, the database, and replicas at their ports. Nothing here changes
anything, and each question stands alone.
"""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Literal, Self
from urllib.parse import urlsplit, urlunsplit

import sqlalchemy as sa

from relayd.adapters import aws, probes
from relayd.adapters.database import Database, connect
from relayd.adapters.queue_age import oldest_seconds
from relayd.adapters.queue_depth import QueueDepth, depth
from relayd.adapters.queue_facts import describe, region_of
from relayd.adapters.replica_status import replica_status
from relayd.adapters.replicas import SqlReplicas
from relayd.errors import ConfigurationError, Problem, RelaydError
from relayd.ops.pausing import paused
from relayd.ops.status.asking import DEADLINE, Question
from relayd.ops.status.figures import DAY, HOUR, deliveries, mailbox_pauses
from relayd.ops.status.replica import Replica, read_heartbeat, read_status
from relayd.ports import Clock
from relayd.settings import SETTINGS, readable

REPLICA = "replica "
"""What stands before the address in the name of a question to a replica."""

_TIMEOUTS = aws.Timeouts(connect=2.0, read=2.5)
_CONNECTIONS = 5
"""As many questions as go to the database at once."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where to ask. Each may be missing."""

    queue_url: str | None = None
    dead_letter_url: str | None = None
    events_queue_url: str | None = None
    database_url: str | None = field(repr=False, default=None)
    ses_region: str | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    """By the name of the field above: why there is none although there should be."""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """What of the settings can be read. Raises nothing: other settings may be missing or wrong."""
        values, problems = readable(environ)
        wrong = {problem.subject: problem.problem for problem in problems}
        names = [one.name for one in fields(cls) if one.name != "missing"]
        missing = {
            setting.field: f"{setting.env}: {wrong[setting.env]}"
            for setting in SETTINGS
            if setting.field in names and setting.env in wrong
        }
        return cls(**{name: values[name] for name in names}, missing=missing)


class Sources:
    """Makes the questions. What they need is built when the first of them is asked, and used by all from then on."""

    def __init__(self, places: Places, replica_urls: Sequence[str], clock: Clock) -> None:
        self._places = places
        self._clock = clock
        self._replica_urls = replica_urls
        self._aws = _Aws(places)
        self._opening = threading.Lock()
        self._opened: Database | None = None
        self._redrive_target = ""

    def questions(self) -> dict[str, Question]:
        """By name. No events queue, no question about it."""
        asked = {
            "queue": Question(partial(self._depth, "queue_url"), 2),
            "oldest": Question(self._oldest, 30),
            "dead_letters": Question(self._dead_letters, 5),
            "account": Question(self._account, 30),
            "replicas": Question(self._replicas, 2),
            "hour": Question(lambda: deliveries(self._database(), HOUR), 5),
            "day": Question(lambda: deliveries(self._database(), DAY), 5),
            "mailboxes": Question(lambda: mailbox_pauses(self._database()), 30),
            "pauses": Question(lambda: paused(self._database()), 5),
        }
        if self._places.events_queue_url is not None or "events_queue_url" in self._places.missing:
            asked["events"] = Question(partial(self._depth, "events_queue_url"), 5)
        return asked | {REPLICA + url: Question(partial(self._replica, url), 2) for url in self._replica_urls}

    def prepare(self) -> None:
        """Build what the questions need, so that their time is not spent on that. What cannot be built tells so when it
        is asked.
        """
        places = self._places
        urls = dict.fromkeys((places.queue_url, places.dead_letter_url, places.events_queue_url))
        with suppress(RelaydError):
            self._aws.ses()
            for url in urls:
                if url is not None:
                    self._aws.sqs(url)
            if places.queue_url is not None:
                self._aws.cloudwatch(places.queue_url)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        if self._opened is not None:
            self._opened.close()

    def _depth(self, name: str) -> QueueDepth:
        url = self._place(name)
        return depth(self._aws.sqs(url), url)

    def _dead_letters(self) -> QueueDepth:
        named = self._places.dead_letter_url or "dead_letter_url" in self._places.missing
        url = self._place("dead_letter_url") if named else self._redrive_target
        if not url:
            queue_url = self._place("queue_url")
            url = self._redrive_target = describe(self._aws.sqs(queue_url), queue_url).dead_letter_url or ""
        if not url:
            raise _missing("the queue has no redrive policy, and RELAYD_DEAD_LETTER_URL is not set")
        return depth(self._aws.sqs(url), url)

    def _oldest(self) -> float | None:
        url = self._place("queue_url")
        return oldest_seconds(self._aws.cloudwatch(url), url, self._clock.time())

    def _account(self) -> probes.Account:
        found = probes.account(self._aws.ses())
        if found is None:
            raise _missing("access denied: ses:GetAccount is not allowed")
        return found

    def _replicas(self) -> tuple[Replica, ...]:
        seen = SqlReplicas(self._database()).read()
        return tuple(read_heartbeat(one.replica_id, one.seconds_ago, one.uptime, one.status) for one in seen)

    def _replica(self, url: str) -> Replica:
        return read_status(replica_status(url, seconds=DEADLINE), source=shown(url))

    def _database(self) -> Database:
        url = self._place("database_url")
        with self._opening:
            if self._opened is None:
                self._opened = _opened(url)
            return self._opened

    def _place(self, name: str) -> str:
        found = getattr(self._places, name)
        if found is None:
            raise _missing(self._places.missing.get(name, ""))
        return str(found)


class _Aws:
    """Clients, each built once: a session is for one thread at a time, and its credentials may take a while to come."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._building = threading.Lock()
        self._session: Any = None
        self._clients: dict[tuple[str, str | None], Any] = {}

    def sqs(self, url: str) -> Any:
        return self._client("sqs", region_of(url))

    def cloudwatch(self, url: str) -> Any:
        return self._client("cloudwatch", region_of(url))

    def ses(self) -> Any:
        return self._client("sesv2", self._places.ses_region)

    def _client(self, service: Literal["sqs", "cloudwatch", "sesv2"], region: str | None) -> Any:
        with self._building:
            if self._session is None:
                self._session = aws.new_session(default_region=region_of(self._places.queue_url or ""))
            known = (service, region)
            if known not in self._clients:
                self._clients[known] = aws.client(
                    service, region=region, pool=3, timeouts=_TIMEOUTS, session=self._session
                )
            return self._clients[known]


def shown(url: str) -> str:
    """A replica's address without what may be a password."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return f"{host}:{parts.port}" if parts.port else host


def status_url(text: str) -> str:
    """The address of a replica's status; its path may be left out. Raises ValueError with what is wrong."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write http://HOST:PORT, where HOST is a replica's")
    if parts.fragment or not text.isprintable():
        raise ValueError("there must be no # in it, nor anything that cannot be printed")
    port = parts.port  # Raises for one that is none.
    assert port is None or port >= 0
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") or "/status", parts.query, ""))


def _opened(url: str) -> Database:
    """The database as it is: never made, upgraded or written to by somebody who only looks."""
    database = connect(impatient(url), pool_size=_CONNECTIONS)
    if not database.exists:
        raise _missing("the database file is not there")
    return database


def impatient(url: str) -> str:
    """The same database for somebody who waits three seconds: its server shall end by itself what takes longer."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "postgresql":
        return url
    milliseconds = int(DEADLINE * 1000)
    options = f"-c statement_timeout={milliseconds} -c lock_timeout=1000 -c default_transaction_read_only=on"
    wanted = {"connect_timeout": str(int(DEADLINE)), "options": options, "application_name": "relayd status"}
    missing = {name: value for name, value in wanted.items() if name not in parsed.query}
    return parsed.update_query_dict(missing).render_as_string(hide_password=False)


def _missing(why: str) -> ConfigurationError:
    return ConfigurationError([Problem("", why, "")])
