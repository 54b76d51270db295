"""What SES tells about a mail that it took: Send, Delivery, Bounce and Complaint events, and who gets which."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relayd.sandbox.cloud.calls import ACCOUNT
from relayd.sandbox.cloud.clock import iso

SIMULATOR_DOMAIN = "simulator.amazonses.com"
REPORTING_MTA = "a8-30.smtp-out.amazonses.com"

Event = tuple[str, dict[str, Any]]
"""Its type and its own part of the JSON."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A mail that SES took, as its events tell of it."""

    message_id: str
    at: float
    source: str
    identity_arn: str
    recipients: Sequence[str]
    headers: Sequence[tuple[str, str]]
    tags: Mapping[str, str]
    configuration_set: str


def fate(address: str, fates: Mapping[str, str]) -> str:
    """`success`, or what becomes of mail to this address: the simulator's mailboxes are known by name."""
    local, _, domain = address.lower().rpartition("@")
    name = fates.get(address.lower(), local.partition("+")[0] if domain == SIMULATOR_DOMAIN else "success")
    return name if name in _FATES else "success"


def events(taken: Taken, by_recipient: Mapping[str, str]) -> list[Event]:
    """All events of a mail, in order."""
    found: list[Event] = [("Send", {"send": {}})]
    for recipient, name in by_recipient.items():
        found += _FATES[name](taken, recipient)
    return found


def event_json(taken: Taken, event: Event) -> str:
    kind, own = event
    return json.dumps({"eventType": kind, "mail": _mail(taken), **own})


def _mail(taken: Taken) -> dict[str, Any]:
    headers = [{"name": name, "value": value} for name, value in taken.headers]
    common = {"from": [_first(taken, "from")], "to": list(taken.recipients), "messageId": taken.message_id}
    if subject := _first(taken, "subject"):
        common["subject"] = subject
    tags = {name: [value] for name, value in taken.tags.items()}
    own = {
        "ses:operation": ["SendEmail"],
        "ses:configuration-set": [taken.configuration_set],
        "ses:source-ip": ["127.0.0.1"],
        "ses:from-domain": [taken.source.rpartition("@")[2]],
        "ses:caller-identity": ["relayd"],
    }
    return {
        "timestamp": iso(taken.at),
        "source": taken.source,
        "sourceArn": taken.identity_arn,
        "sendingAccountId": ACCOUNT,
        "messageId": taken.message_id,
        "destination": list(taken.recipients),
        "headersTruncated": False,
        "headers": headers,
        "commonHeaders": common,
        "tags": own | tags,
    }


def _first(taken: Taken, name: str) -> str:
    return next((value for found, value in taken.headers if found.lower() == name), "")


def _delivered(taken: Taken, recipient: str) -> list[Event]:
    delivery = {
        "timestamp": iso(taken.at + 0.5),
        "processingTimeMillis": 500,
        "recipients": [recipient],
        "smtpResponse": "250 2.6.0 Message received",
        "reportingMTA": REPORTING_MTA,
    }
    return [("Delivery", {"delivery": delivery})]


def _bounced(kind: str, sub_type: str, **details: str) -> Callable[[Taken, str], list[Event]]:
    def bounce(taken: Taken, recipient: str) -> list[Event]:
        told = {
            "feedbackId": f"{taken.message_id}-bounce",
            "bounceType": kind,
            "bounceSubType": sub_type,
            "bouncedRecipients": [{"emailAddress": recipient, **details}],
            "timestamp": iso(taken.at + 1),
            "reportingMTA": f"dns; {REPORTING_MTA}",
        }
        return [("Bounce", {"bounce": told})]

    return bounce


def _complained(taken: Taken, recipient: str) -> list[Event]:
    complaint = {
        "feedbackId": f"{taken.message_id}-complaint",
        "complaintSubType": None,
        "complainedRecipients": [{"emailAddress": recipient}],
        "timestamp": iso(taken.at + 2),
        "userAgent": "Amazon SES Mailbox Simulator",
        "complaintFeedbackType": "abuse",
        "arrivalDate": iso(taken.at + 1),
    }
    return [*_delivered(taken, recipient), ("Complaint", {"complaint": complaint})]


_out_of_office = _bounced("Transient", "General")
_SUPPRESSED_TEXT = (
    "Amazon SES has suppressed sending to this address because it has a recent history of bouncing as an invalid "
    "address."
)

_FATES: Mapping[str, Callable[[Taken, str], list[Event]]] = {
    "success": _delivered,
    "bounce": _bounced(
        "Permanent", "General", action="failed", status="5.1.1", diagnosticCode="smtp; 550 5.1.1 user unknown"
    ),
    "ooto": lambda taken, recipient: [*_delivered(taken, recipient), *_out_of_office(taken, recipient)],
    "complaint": _complained,
    "suppressionlist": _bounced(
        "Permanent", "Suppressed", action="failed", status="5.1.1", diagnosticCode=_SUPPRESSED_TEXT
    ),
    # Not the simulator's; for the setting `fates`, and for the account's own list.
    "suppressed": _bounced("Permanent", "OnAccountSuppressionList"),
    "mailbox_full": _bounced(
        "Transient", "MailboxFull", action="failed", status="4.2.2", diagnosticCode="smtp; 452 4.2.2 mailbox full"
    ),
    "silent": lambda taken, recipient: [],  # noqa: ARG005 - accepted, and never heard of again
}
