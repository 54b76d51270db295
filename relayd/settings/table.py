"""The only list of what can be set: `relayd config`, the table in docs/operations.md and the tests are made from it."""

from collections.abc import Callable
from dataclasses import dataclass

from relayd.settings import forms
from relayd.settings.combinations import LEASE_LIMIT
from relayd.settings.forms import Form
from relayd.telemetry.fingerprint import fingerprint


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
    Setting(
        "RELAYD_EVENTS_QUEUE_URL",
        "events_queue_url",
        forms.queue_url,
        "The SQS queue of SES's events about sent mail: bounces, complaints, deliveries.",
        show=forms.mask_url,
    ),
    Setting(
        "RELAYD_IN_DOUBT_SECONDS",
        "in_doubt_seconds",
        forms.seconds(0, 3600),
        "How long a send in doubt waits for SES's event about it before it is sent once more; needs the events queue.",
        "300",
    ),
    Setting(
        "RELAYD_IN_DOUBT",
        "in_doubt",
        forms.one_of("resend", "hold"),
        "A send in doubt: `resend` it once, or `hold` it as a dead letter for a person.",
        "resend",
    ),
    Setting(
        "RELAYD_MEMORY_BUDGET_MB",
        "memory_budget_mb",
        forms.whole(64, 1_000_000),
        "Megabytes that the mails in hand may take; a mail takes six times its size.",
        "256",
    ),
    Setting(
        "RELAYD_DAILY_MAILS",
        "daily_mails",
        forms.whole(1, 100_000_000),
        "How many mails an owner may be forwarded in a day (UTC).",
        "1000",
    ),
    Setting(
        "RELAYD_DAILY_MEGABYTES",
        "daily_megabytes",
        forms.whole(1, 100_000_000),
        "How many megabytes of mail an owner may be forwarded in a day.",
        "1000",
    ),
    Setting(
        "RELAYD_DAILY_REPLIES",
        "daily_replies",
        forms.whole(0, 100_000_000),
        "How many replies an owner may send in a day.",
        "100",
    ),
    Setting(
        "RELAYD_NOTICE_FROM",
        "notice_from",
        forms.address,
        "Where notices to owners come from; without it, noreply on the first mail domain.",
    ),
    Setting(
        "RELAYD_TRACKERS_FILE",
        "trackers",
        forms.trackers_file,
        "Who is a tracker: a file in the form of Disconnect's services.json. Without it, no trackers are removed.",
    ),
    Setting(
        "RELAYD_TRACKER_WARNING_URL",
        "tracker_warning",
        forms.https_url,
        "A page that links of trackers lead to instead, with the link in its query; without it, links are left alone.",
    ),
)
# fmt: on
