"""The environment, read once and checked together, so that one run shows every problem with a hint on what to do.

What can be set is listed in `relayd.settings.table`.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from relayd.errors import ConfigurationError, Problem
from relayd.mail.trackers import TrackerList
from relayd.settings.combinations import contradictions, longest_send
from relayd.settings.forms import WrongFormError
from relayd.settings.table import SETTINGS, Setting

__all__ = [
    "SETTINGS",
    "DeadLetterSettings",
    "DirectorySettings",
    "PruneSettings",
    "QueueSettings",
    "SecretSettings",
    "Setting",
    "Settings",
    "effective",
    "readable",
]

PREFIX = "RELAYD_"

Source = Literal["environment", "default", "not set", "wrong"]

_SERVICE_LINK = re.compile(
    r"RELAYD_(?:[A-Z0-9_]+_)?"
    r"(?:SERVICE_HOST=|SERVICE_PORT(?:_[A-Z0-9_]+)?=|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_[A-Z]+)?=|=(?:tcp|udp|sctp)://)).*",
    re.DOTALL,
)
"""Kubernetes puts RELAYD_PORT and the like into every pod beside a Service named relayd: they are no typing errors."""


_DIRECTORY = ("RELAYD_DATABASE_URL", "RELAYD_MAIL_DOMAINS", "RELAYD_SECRET")
_PRUNING = ("RELAYD_DATABASE_URL", "RELAYD_LEDGER_DAYS", "RELAYD_SECRET")
_QUEUE = ("RELAYD_QUEUE_URL", "RELAYD_DATABASE_URL", "RELAYD_SECRET")
_DEAD_LETTERS = (
    "RELAYD_QUEUE_URL",
    "RELAYD_DEAD_LETTER_URL",
    "RELAYD_DATABASE_URL",
    "RELAYD_BUCKETS",
    "RELAYD_VISIBILITY_SECONDS",
    "RELAYD_S3_CONNECT_SECONDS",
    "RELAYD_S3_READ_SECONDS",
    "RELAYD_MEMORY_BUDGET_MB",
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What `relayd run` needs to know. The documentation of each field is in `SETTINGS`."""

    queue_url: str
    database_url: str = field(repr=False)
    mail_domains: tuple[str, ...]
    topic_arns: tuple[str, ...]
    buckets: tuple[str, ...]
    secrets: tuple[bytes, ...] = field(repr=False)
    dead_letter_url: str | None
    signatures: Literal["verify", "trust-queue-policy"]
    sns_certificate_file: Path | None
    configuration_set: str | None
    concurrency: int
    wait_seconds: float
    visibility_seconds: float
    deadline_seconds: float
    grace_seconds: float
    retry_hours: float
    ledger_days: int
    http_host: str
    http_port: int
    log_format: Literal["json", "console"]
    log_level: str
    ses_region: str | None
    s3_connect_seconds: float
    s3_read_seconds: float
    ses_connect_seconds: float
    ses_read_seconds: float
    events_queue_url: str | None
    in_doubt_seconds: float
    in_doubt: Literal["resend", "hold"]
    memory_budget_mb: int
    daily_mails: int
    daily_megabytes: int
    daily_replies: int
    notice_from: str = field(repr=False)
    trackers: TrackerList | None = field(repr=False)
    tracker_warning: str | None

    @property
    def send_seconds(self) -> float:
        """The longest that one send can take, so much lease it needs."""
        return longest_send(self.ses_connect_seconds, self.ses_read_seconds)

    @classmethod
    def load(cls, environ: Mapping[str, str], *, tty: bool = False) -> Self:
        """Read the environment. Raises ConfigurationError with every problem. `tty`: logs go to a terminal."""
        reading = _read(SETTINGS, environ, tty=tty)
        if reading.problems:
            raise ConfigurationError(reading.problems)
        host, port = reading.values.pop("http_address")
        if reading.values["notice_from"] is None:
            # Mail to it is discarded, so nobody's automatic answer goes round in circles.
            reading.values["notice_from"] = f"noreply@{reading.values['mail_domains'][0]}"
        return cls(**reading.values, http_host=host, http_port=port)


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """What `relayd masks` and `relayd db` need to know: they run without a queue."""

    database_url: str = field(repr=False)
    mail_domains: tuple[str, ...]
    secrets: tuple[bytes, ...] = field(repr=False, default=())

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Read the part of the environment that the directory needs; other settings may be missing or wrong."""
        # The secret only checks that the database is the right one, so a machine without it may still list masks.
        table = [
            replace(setting, required=setting.field != "secrets") for setting in SETTINGS if setting.env in _DIRECTORY
        ]
        reading = _read(table, environ)
        if reading.problems:
            raise ConfigurationError(reading.problems)
        return cls(reading.values["database_url"], reading.values["mail_domains"], reading.values["secrets"] or ())


@dataclass(frozen=True, slots=True)
class PruneSettings:
    """What `relayd db prune` needs to know."""

    database_url: str = field(repr=False)
    ledger_days: int
    secrets: tuple[bytes, ...] = field(repr=False, default=())

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Read that part of the environment; other settings may be missing or wrong."""
        # The secret only checks that the database is the right one.
        table = [
            replace(setting, required=setting.field == "database_url")
            for setting in SETTINGS
            if setting.env in _PRUNING
        ]
        reading = _read(table, environ)
        if reading.problems:
            raise ConfigurationError(reading.problems)
        reading.values["secrets"] = reading.values["secrets"] or ()
        return cls(**reading.values)


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What it takes to put mail into the queue again: no SES, no bucket, no topic."""

    queue_url: str
    database_url: str = field(repr=False)
    secrets: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Read that part of the environment; other settings may be missing or wrong."""
        reading = _read([setting for setting in SETTINGS if setting.env in _QUEUE], environ)
        if reading.problems:
            raise ConfigurationError(reading.problems)
        return cls(reading.values["queue_url"], reading.values["database_url"], reading.values["secrets"])


@dataclass(frozen=True, slots=True)
class DeadLetterSettings:
    """What it takes to read the dead letters, and their mails: no SES, no topic, no secret; the ledger only helps."""

    queue_url: str | None
    """None only where there is a `dead_letter_url`."""
    dead_letter_url: str | None
    database_url: str | None = field(repr=False)
    buckets: tuple[str, ...]
    """Empty where none are set."""
    visibility_seconds: float
    s3_connect_seconds: float
    s3_read_seconds: float
    memory_budget_mb: int

    @classmethod
    def load(cls, environ: Mapping[str, str], *, mails: bool) -> Self:
        """Read that part of the environment; other settings may be missing or wrong. With `mails`, the buckets are
        needed, too.
        """
        needed = {"dead_letter_url" if environ.get("RELAYD_DEAD_LETTER_URL", "").strip() else "queue_url"}
        needed |= {"buckets"} if mails else set()
        table = [
            replace(setting, required=setting.field in needed) for setting in SETTINGS if setting.env in _DEAD_LETTERS
        ]
        reading = _read(table, environ)
        if reading.problems:
            raise ConfigurationError(reading.problems)
        reading.values["buckets"] = reading.values["buckets"] or ()
        return cls(**reading.values)


@dataclass(frozen=True, slots=True)
class SecretSettings:
    """The keys alone: what it takes to say what stands for an address."""

    secrets: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Read that part of the environment; other settings may be missing or wrong."""
        reading = _read([setting for setting in SETTINGS if setting.field == "secrets"], environ)
        if reading.problems:
            raise ConfigurationError(reading.problems)
        return cls(reading.values["secrets"])


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `relayd config`."""

    env: str
    value: str
    """Masked where it is a secret; empty where there is none."""
    source: Source
    doc: str


def effective(environ: Mapping[str, str], *, tty: bool = False) -> tuple[list[Row], list[Problem]]:
    """What the settings are, where each comes from, and what is wrong: all of it, however much is wrong."""
    reading = _read(SETTINGS, environ, tty=tty)
    rows = []
    for setting in SETTINGS:
        text, source = _text(setting, environ, tty=tty)
        wrong = setting.field in reading.wrong
        # A text that could not be read may be a secret in the wrong variable: it is not repeated.
        value = "" if wrong or text is None else setting.show(text)
        rows.append(Row(setting.env, value, "wrong" if wrong and text is not None else source, setting.doc))
    return rows, reading.problems


def readable(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[Problem]]:
    """Each setting by its field as far as it can be read, None where it is wrong or not set; and all that is wrong."""
    reading = _read(SETTINGS, environ)
    return reading.values, reading.problems


class _Reading(NamedTuple):
    values: dict[str, Any]
    wrong: set[str]
    problems: list[Problem]


def _text(setting: Setting, environ: Mapping[str, str], *, tty: bool) -> tuple[str | None, Source]:
    # An empty variable is an unset one: manifests and compose files have no other way to say it.
    if text := environ.get(setting.env, "").strip():
        return text, "environment"
    if setting.field == "log_format" and tty:
        return "console", "default"
    return setting.default, "not set" if setting.default is None else "default"


def _read(table: Sequence[Setting], environ: Mapping[str, str], *, tty: bool = False) -> _Reading:
    reading = _Reading({}, set(), [])
    for setting in table:
        text, _ = _text(setting, environ, tty=tty)
        reading.values[setting.field] = None
        if text is None:
            if setting.required:
                reading.wrong.add(setting.field)
                reading.problems.append(Problem(setting.env, "it is required and not set", setting.form.hint))
            continue
        try:
            reading.values[setting.field] = setting.form.parse(text)
        except WrongFormError as wrong:
            reading.wrong.add(setting.field)
            reading.problems.append(Problem(setting.env, str(wrong), wrong.hint or setting.form.hint))
    right = {name: value for name, value in reading.values.items() if name not in reading.wrong}
    reading.problems.extend(contradictions(right))
    reading.problems.extend(_unknown(environ))
    return reading


def _unknown(environ: Mapping[str, str]) -> Iterator[Problem]:
    known = [setting.env for setting in SETTINGS]
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known and not _SERVICE_LINK.fullmatch(f"{name}={environ[name]}"):
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
            hint = f"did you mean {close[0]}?" if close else "unset it; `relayd config` lists what can be set"
            yield Problem(name, "there is no such setting", hint)
