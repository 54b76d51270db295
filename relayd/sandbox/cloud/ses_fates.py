"""What becomes of a mail after SES took it: by the simulator's mailboxes, by what a test chose, by what is in it.

The events are those that SES documents (examples of event data, and contents of event data, published to SNS).
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from relayd.sandbox.cloud.clock import iso
from relayd.sandbox.cloud.ses_events import Event, Taken, feedback_id

SIMULATOR_DOMAIN = "simulator.amazonses.com"
SIMULATED = frozenset({"success", "bounce", "ooto", "complaint", "suppressionlist"})
"""The simulator's mailboxes, each of which is the name of a fate, too."""
SUCCESS, SUPPRESSED, REJECT = "success", "suppressed", "reject"

_MTA = "a8-30.smtp-out.amazonses.com"
_REMOTE_IP = "192.0.2.10"
_DAY = 86_400.0
_HARD = ("General", "NoEmail")
"""Permanent bounces of mail that was really sent."""
# The EICAR test file, in pieces, so that nobody's scanner mistakes this file for it.
_TEST_VIRUS = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-" + b"ANTIVIRUS-TEST-FILE!$H+H*"
_ENCODED_BYTES = 45
"""Of it; as base64 that fits into one line, however short the lines are."""
_VIRUS_SIGNS = (_TEST_VIRUS, base64.b64encode(_TEST_VIRUS[:_ENCODED_BYTES]))

Becomes = Callable[[Taken, str], list[Event]]
"""The events that follow Send, for one recipient."""


def fate(address: str, fates: Mapping[str, str]) -> str:
    """The name of what becomes of mail to this address."""
    local, _, domain = address.lower().rpartition("@")
    simulated = local.partition("+")[0]
    known = simulated if domain == SIMULATOR_DOMAIN and simulated in SIMULATED else SUCCESS
    return fates.get(address.lower(), known)


def carries_virus(data: bytes) -> bool:
    """Whether SES's scanner finds what SES documents for trying Reject events: the EICAR test file."""
    return any(sign in data for sign in _VIRUS_SIGNS)


def events(taken: Taken, by_recipient: Mapping[str, str]) -> list[Event]:
    """All events of a mail, in order."""
    for name, whole in _WHOLE.items():
        # These stop a mail before it is anyone's: they name no recipient.
        if name in by_recipient.values():
            return list(whole)
    found = [_SEND]
    for recipient, name in by_recipient.items():
        found += _EACH[name](taken, recipient)
    return found


def suppression(event: Event) -> tuple[str, list[str]]:
    """Why the addresses that an event names go onto the suppression list; no reason for events of other kinds."""
    kind, own = event
    if kind == "Bounce" and own["bounce"]["bounceType"] == "Permanent" and own["bounce"]["bounceSubType"] in _HARD:
        return "BOUNCE", [one["emailAddress"] for one in own["bounce"]["bouncedRecipients"]]
    if kind == "Complaint" and own["complaint"]["complaintFeedbackType"] == "abuse":
        return "COMPLAINT", [one["emailAddress"] for one in own["complaint"]["complainedRecipients"]]
    return "", []


def _delivered(taken: Taken, recipient: str) -> list[Event]:
    delivery = {
        "timestamp": iso(taken.at + 0.5),
        "processingTimeMillis": 500,
        "recipients": [recipient],
        "smtpResponse": "250 2.6.0 Message received",
        "remoteMtaIp": _REMOTE_IP,
        "reportingMTA": _MTA,
    }
    return [("Delivery", {"delivery": delivery})]


def _bounced(kind: str, sub_type: str, status: str = "", diagnostic: str = "") -> Becomes:
    """Without a status, SES learnt of it from a mail, not from the other side's refusal."""
    details = {"action": "failed", "status": status, "diagnosticCode": diagnostic} if status else {}

    def bounce(taken: Taken, recipient: str) -> list[Event]:
        told = {
            "feedbackId": feedback_id(taken, f"{kind} {sub_type}", recipient),
            "bounceType": kind,
            "bounceSubType": sub_type,
            "bouncedRecipients": [{"emailAddress": recipient, **details}],
            "timestamp": iso(taken.at + 1),
            "reportingMTA": f"dns; {_MTA}",
            **({"remoteMtaIp": _REMOTE_IP} if diagnostic.startswith("smtp;") else {}),
        }
        return [("Bounce", {"bounce": told})]

    return bounce


def _complained(feedback_type: str | None, sub_type: str | None = None) -> Becomes:
    def complain(taken: Taken, recipient: str) -> list[Event]:
        complaint = {
            "feedbackId": feedback_id(taken, "complaint", recipient),
            "complaintSubType": sub_type,
            "complainedRecipients": [{"emailAddress": recipient}],
            "timestamp": iso(taken.at + 2),
            "userAgent": "Amazon SES Mailbox Simulator",
            "complaintFeedbackType": feedback_type,
            "arrivalDate": iso(taken.at + 1),
        }
        return [("Complaint", {"complaint": complaint})]

    return complain


def _delayed(taken: Taken, recipient: str) -> list[Event]:
    diagnostic = "smtp; 421 4.4.1 Unable to connect to remote host"
    told = {
        "timestamp": iso(taken.at + 0.4),
        "delayType": "TransientCommunicationFailure",
        "expirationTime": iso(taken.at + _DAY / 2),
        "reportingMTA": _MTA,
        "delayedRecipients": [{"emailAddress": recipient, "status": "4.4.1", "diagnosticCode": diagnostic}],
    }
    return [("DeliveryDelay", {"deliveryDelay": told})]


def _opened(taken: Taken, recipient: str) -> list[Event]:  # noqa: ARG001
    return [("Open", {"open": {"timestamp": iso(taken.at + 3), **_READER}})]


def _clicked(taken: Taken, recipient: str) -> list[Event]:  # noqa: ARG001
    click = {"timestamp": iso(taken.at + 4), "link": "https://example.com/", "linkTags": None, **_READER}
    return [("Click", {"click": click})]


def _unsubscribed(taken: Taken, recipient: str) -> list[Event]:  # noqa: ARG001
    def preferences(status: str, *, none: bool) -> dict[str, Any]:
        topics = [{"topicName": "news", "subscriptionStatus": status}]
        return {"unsubscribeAll": none, "topicSubscriptionStatus": topics}

    told = {
        "contactList": "owners",
        "timestamp": iso(taken.at + 5),
        "source": "UnsubscribeHeader",
        "newTopicPreferences": preferences("OptOut", none=True),
        "oldTopicPreferences": preferences("OptIn", none=False),
    }
    return [("Subscription", {"subscription": told})]


def _one_after_another(*parts: Becomes) -> Becomes:
    return lambda taken, recipient: [event for part in parts for event in part(taken, recipient)]


_READER = {"ipAddress": "192.0.2.1", "userAgent": "Mozilla/5.0"}
_SEND: Event = ("Send", {"send": {}})
_RECENT_BOUNCES = (
    "Amazon SES has suppressed sending to this address because it has a recent history of bouncing as an invalid "
    "address."
)
_ON_THE_LIST = (
    "Amazon SES did not send the message to this address because it is on the suppression list for your account."
)
_RENDERING = {"errorMessage": "Attribute 'name' is not present in the rendering data.", "templateName": "Template"}

_WHOLE: Mapping[str, tuple[Event, ...]] = {
    REJECT: (_SEND, ("Reject", {"reject": {"reason": "Bad content"}})),
    "rendering_failure": (("Rendering Failure", {"failure": _RENDERING}),),
}
"""Fates of a mail as a whole, whichever of its recipients has them."""

_EACH: Mapping[str, Becomes] = {
    # The simulator's.
    SUCCESS: _delivered,
    "bounce": _bounced("Permanent", "General", "5.1.1", "smtp; 550 5.1.1 user unknown"),
    "ooto": _one_after_another(_delivered, _bounced("Transient", "General")),
    "complaint": _one_after_another(_delivered, _complained("abuse")),
    "suppressionlist": _bounced("Permanent", "Suppressed", "5.1.1", _RECENT_BOUNCES),
    # For the setting `fates`; `suppressed` is the account's own list, too.
    SUPPRESSED: _bounced("Permanent", "OnAccountSuppressionList", "5.1.1", _ON_THE_LIST),
    "suppressed_complaint": _complained(None, "OnAccountSuppressionList"),
    "no_email": _bounced("Permanent", "NoEmail", "5.1.1", "smtp; 550 5.1.1 the account does not exist"),
    "policy": _bounced("Permanent", "General", "5.7.1", "smtp; 550 5.7.1 not authorized by our policy"),
    "spam_refused": _bounced("Permanent", "General", "5.7.1", "smtp; 554 5.7.1 message refused as likely spam"),
    "mailbox_full": _bounced("Transient", "MailboxFull", "4.2.2", "smtp; 452 4.2.2 mailbox full"),
    "too_large": _bounced("Transient", "MessageTooLarge", "5.3.4", "smtp; 552 5.3.4 message size exceeds our limit"),
    "content_rejected": _bounced("Transient", "ContentRejected", "5.6.0", "smtp; 554 5.6.0 content not accepted"),
    "attachment_rejected": _bounced("Transient", "AttachmentRejected", "5.7.0", "smtp; 552 5.7.0 attachment blocked"),
    "undetermined": _bounced("Undetermined", "Undetermined"),
    "not_spam": _one_after_another(_delivered, _complained("not-spam")),
    "delayed": _one_after_another(_delayed, _delivered),
    "opened": _one_after_another(_delivered, _opened),
    "clicked": _one_after_another(_delivered, _opened, _clicked),
    "unsubscribed": _one_after_another(_delivered, _unsubscribed),
    "silent": lambda taken, recipient: [],  # noqa: ARG005 - accepted, and never heard of again
}

FATES = frozenset({*_EACH, *_WHOLE})
"""Every name that the setting `fates` may give an address."""
