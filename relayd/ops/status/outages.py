"""What it means that a dependency holds the mail up, and what to do about it, by the reason that its breaker gives."""

from collections.abc import Mapping

NAMES: Mapping[str, str] = {
    "queue": "SQS",
    "s3": "S3",
    "ses": "SES",
    "database": "the database",
    "certificates": "SNS's certificate",
}
"""How people call them."""

_REASONS: Mapping[str, tuple[str, str]] = {
    "ses_sending_paused": (
        "SES has paused this account's sending",
        "The SES console says why (reputation, a support case); relayd goes on by itself when SES does.",
    ),
    "ses_daily_quota": (
        "SES's quota of the day is used up",
        "It frees up bit by bit over 24 hours; ask AWS for a higher one. relayd goes on by itself.",
    ),
    "ses_configuration_set_missing": (
        "SES does not know the configuration set",
        "Create it, or correct RELAYD_CONFIGURATION_SET: relayd doctor.",
    ),
    "ses_mail_from_not_verified": ("SES's MAIL FROM domain is not verified", "relayd doctor names its DNS records."),
    "bucket_missing": ("the bucket of the mail is not there", "relayd doctor names it."),
    "directory_empty": (
        "the database holds no masks",
        "It is a wrong or a restored one: point RELAYD_DATABASE_URL at the right one. No mail was discarded.",
    ),
    "database_not_upgraded": ("the database is older than this relayd", "Run: relayd db upgrade"),
}
_REFUSALS = ("credentials_refused", "credentials_missing", "access_denied", "key_unusable", "queue_key_unusable")


def explained(dependency: str, reason: str) -> tuple[str, str]:
    """What is so, as the beginning of a sentence, and the thing to do."""
    if reason in _REASONS:
        return _REASONS[reason]
    who = NAMES.get(dependency, dependency)
    if reason in _REFUSALS:
        return f"{who} refuses relayd ({reason})", "relayd doctor names the right, or the credentials, that it lacks."
    if dependency == "database":
        return f"the database cannot be used ({reason})", "Mend it; the mail waits in the queue meanwhile."
    why = f" ({reason})" if reason else ""
    todo = "In an outage of AWS there is nothing to do: the mail waits in the queue, and relayd goes on by itself."
    return f"{who} does not work{why}", todo
