"""The environment, read once and checked together, so that one run shows every problem with a hint on what to do.

`SETTINGS` is the only list of what can be set: `relayd config`, the table in docs/operations.md and the tests are
made from it.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from relayd.errors import ConfigurationError, Problem
from relayd.settings import forms
from relayd.settings.combinations import LEASE_LIMIT, contradictions, longest_send
from relayd.settings.forms import Form, WrongFormError
from relayd.telemetry.fingerprint import fingerprint

PREFIX = "RELAYD_"

Source = Literal["environment", "default", "not set", "wrong"]

_SERVICE_LINK = re.compile(
    r"RELAYD_(?:[A-Z0-9_]+_)?"
    r"(?:SERVICE_HOST=|SERVICE_PORT(?:_[A-Z0-9_]+)?=|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_[A-Z]+)?=|=(?:tcp|udp|sctp)://)).*",
    re.DOTALL,
)
"""Kubernetes puts RELAYD_PORT and the like into every pod beside a Service named relayd: they are no typing errors."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable: how it is called, read, defaulted, explained and shown."""

    env: str
    field: str
    form: Form
    doc: str
    default: str | None = None
    """As it would be written in the environment; None where there is none."""
    required: bool = False
    show: Callable[[str], str] = str
    """What may be shown of its text: everything, or what is left after masking."""


def _show_secrets(text: str) -> str:
    return ", ".join(f"fingerprint {fingerprint(part.encode())}" for part in forms.split(text))


# fmt: off - a table, read by column
SETTINGS: tuple[Setting, ...] = (
    Setting(
        "RELAYD_QUEUE_URL",
        "queue_url",
        forms.queue_url,
        "The SQS queue to receive from.",
        required=True,
        show=forms.mask_url,
    ),
    Setting(
        "RELAYD_DATABASE_URL",
        "database_url",
        forms.database_url,
        "Masks and the ledger: a SQLite file on one host, PostgreSQL for several replicas.",
        required=True,
        show=forms.mask_url,
    ),
    Setting(
        "RELAYD_MAIL_DOMAINS",
        "mail_domains",
        forms.domains,
        "The domains where masks and reply tokens live.",
        required=True,
    ),
    Setting(
        "RELAYD_TOPIC_ARNS",
        "topic_arns",
        forms.topic_arns,
        "The SNS topics whose notifications count; `*` for any.",
        required=True,
    ),
    Setting(
        "RELAYD_BUCKETS",
        "buckets",
        forms.buckets,
        "The buckets that mail may be read from; `*` for any.",
        required=True,
    ),
    Setting(
        "RELAYD_SECRET",
        "secrets",
        forms.secrets,
        "Keys of 32 bytes or more: the first signs, all of them verify.",
        required=True,
        show=_show_secrets,
    ),
    Setting(
        "RELAYD_DEAD_LETTER_URL",
        "dead_letter_url",
        forms.queue_url,
        "The dead-letter queue; without it, the one in the queue's redrive policy.",
        show=forms.mask_url,
    ),
    Setting(
        "RELAYD_SIGNATURES",
        "signatures",
        forms.one_of("verify", "trust-queue-policy"),
        "`verify` SNS signatures, or `trust-queue-policy` (needed for raw delivery, which has none).",
        "verify",
    ),
    Setting(
        "RELAYD_SNS_CERTIFICATE_FILE",
        "sns_certificate_file",
        forms.certificate_file,
        "A PEM file to verify SNS signatures with, instead of fetching the certificate that a message names.",
    ),
    Setting(
        "RELAYD_CONFIGURATION_SET",
        "configuration_set",
        forms.configuration_set,
        "The SES configuration set to send with.",
    ),
    Setting(
        "RELAYD_CONCURRENCY", "concurrency", forms.whole(1, 1000), "How many messages are worked on at once.", "16"
    ),
    Setting(
        "RELAYD_WAIT_SECONDS",
        "wait_seconds",
        forms.seconds(0, 20, whole=True),
        "How long one poll waits for messages.",
        "20",
    ),
    Setting(
        "RELAYD_VISIBILITY_SECONDS",
        "visibility_seconds",
        forms.seconds(1, LEASE_LIMIT, whole=True),
        "The lease of a message; it is renewed at half its life.",
        "60",
    ),
    Setting(
        "RELAYD_DEADLINE_SECONDS",
        "deadline_seconds",
        forms.seconds(1, LEASE_LIMIT),
        "How long one try of a message may take; its lease is not renewed beyond.",
        "120",
    ),
    Setting(
        "RELAYD_GRACE_SECONDS",
        "grace_seconds",
        forms.seconds(1, 3600),
        "How long stopping may take; keep it below the pod's terminationGracePeriodSeconds.",
        "50",
    ),
    Setting(
        "RELAYD_RETRY_HOURS",
        "retry_hours",
        forms.number(1, 336, "hours"),
        "How long a failing message is tried again before it is dead-lettered.",
        "24",
    ),
    Setting(
        "RELAYD_LEDGER_DAYS",
        "ledger_days",
        forms.whole(30, 3650),
        "How long the ledger remembers a delivery; a replay of older mail would send it again.",
        "60",
    ),
    Setting(
        "RELAYD_HTTP_ADDRESS",
        "http_address",
        forms.http_address,
        "Where /livez, /readyz, /metrics, /status and the status page are served.",
        "127.0.0.1:8080",
    ),
    Setting(
        "RELAYD_LOG_FORMAT",
        "log_format",
        forms.one_of("json", "console"),
        "`json` or `console`; on a terminal the default is `console`.",
        "json",
    ),
    Setting(
        "RELAYD_LOG_LEVEL",
        "log_level",
        forms.one_of("debug", "info", "warning", "error"),
        "The least level that is logged.",
        "info",
    ),
    Setting("RELAYD_SES_REGION", "ses_region", forms.region, "The region to send from, where it is not the queue's."),
    Setting(
        "RELAYD_S3_CONNECT_SECONDS", "s3_connect_seconds", forms.seconds(0.1, 60), "Timeout of connecting to S3.", "3"
    ),
    Setting(
        "RELAYD_S3_READ_SECONDS", "s3_read_seconds", forms.seconds(0.1, 900), "Timeout of each read from S3.", "30"
    ),
    Setting(
        "RELAYD_SES_CONNECT_SECONDS",
        "ses_connect_seconds",
        forms.seconds(0.1, 60),
        "Timeout of connecting to SES.",
        "3",
    ),
    Setting(
        "RELAYD_SES_READ_SECONDS",
        "ses_read_seconds",
        forms.seconds(0.1, 900),
        "Timeout of waiting for SES's answer.",
        "30",
    ),
)
# fmt: on

_DIRECTORY = ("RELAYD_DATABASE_URL", "RELAYD_MAIL_DOMAINS", "RELAYD_SECRET")


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
