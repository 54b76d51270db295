"""SES's `Received` notification, made anew from what SES wrote on top of a stored mail: for when the first one is lost.

Strangers choose most of a mail's header. What is read here stands above theirs, and binds the mail to its object: SES
names the object in its own Received field, by an id that nobody knows beforehand.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, get_args

from relayd.errors import PermanentError
from relayd.model.notification import Verdict
from relayd.wire.compact import LONGEST
from relayd.wire.ses import read_notification
from relayd.wire.shape import is_identifier

NOT_MAIL = "not_mail"
"""No mail of SES's can be called so: a folder, SES's set-up notice."""
NOT_FROM_SES = "not_from_ses"
"""On top is not what SES writes, or it names another object."""
NO_RECIPIENT = "recipient_unknown"
"""SES does not say for whom the mail was."""
HEADERS_KEPT = 10 * 1024
"""Bytes of header fields in a notification: SES's own limit."""

_SETUP_OBJECT = "AMAZON_SES_SETUP_NOTIFICATION"
# Exactly as SES writes it: what stands first, the sender's host may have chosen, and it holds no spaces.
_RECEIVED = re.compile(
    r"from \S+ \([^()]*\) by inbound-smtp\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)? with [A-Za-z]+ id (?P<id>\S+)"
    r"(?: for (?P<recipient>[^\s;]+))? ?; (?P<date>[^;]{1,100})"
)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)')
_COMMENT = re.compile(r"\([^()]*+\)")
# With a space inside: the envelope's sender and the name in HELO, which stand in the same field, have none.
_DMARC = re.compile(r"dmarc=([a-z]+) (?:header|properties)\.from=\S+")
_DKIM = re.compile(r"dkim=([a-z]+)(?: .*)?")
_WORDS: Mapping[str, str] = {
    "pass": "PASS",
    "fail": "FAIL",
    "softfail": "GRAY",
    "neutral": "GRAY",
    "none": "GRAY",
    "temperror": "PROCESSING_FAILED",
    "permerror": "PROCESSING_FAILED",
}
"""What SES calls a result in a header (RFC 8601), and in a notification."""
_BEST_LAST = ("FAIL", "PROCESSING_FAILED", "GRAY", "PASS")

Headers = Sequence[tuple[str, str]]


def mail_id_of(key: str) -> str | None:
    """SES's id of the mail that lies under a key; None where no mail of SES's lies under such a key."""
    name = key.rpartition("/")[2]
    return name if name != _SETUP_OBJECT and is_identifier(name) else None


def rebuilt(headers: Headers, *, complete: bool, bucket: str, key: str, recipients: Sequence[str] | None = None) -> str:
    """The notification as JSON, in ASCII. `headers`: names and unfolded values, in order; `complete` when they are all
    that the mail has. `recipients`: where they are known better than by SES's Received, which names one at most.

    `ses.read_notification` reads it. Raises PermanentError: `NOT_MAIL`, `NOT_FROM_SES`, `NO_RECIPIENT`, or what that
    raises.
    """
    mail_id = mail_id_of(key)
    if mail_id is None:
        raise PermanentError(NOT_MAIL)
    top = _written_by_ses(headers)
    received = _RECEIVED.fullmatch(top.get("received", ""))
    if received is None or received["id"] != mail_id:
        raise PermanentError(NOT_FROM_SES)
    if recipients is None:
        recipients = [received["recipient"].strip("<>")] if received["recipient"] else []
    if not any(recipients):
        raise PermanentError(NO_RECIPIENT)
    told, truncated = _within_limit(headers)
    moment = _timestamp(received["date"])
    document: dict[str, Any] = {
        "notificationType": "Received",
        "mail": {
            **moment,
            "source": top.get("return-path", "").strip("<> ") or "<>",
            "messageId": mail_id,
            "headersTruncated": truncated or not complete,
            "headers": told,
            "commonHeaders": _common(headers),
        },
        "receipt": {
            **moment,
            "recipients": list(recipients),
            **_verdicts(top),
            "action": {"type": "S3", "bucketName": bucket, "objectKey": key},
        },
    }
    text = json.dumps(document)
    read_notification(text)
    return text


def _written_by_ses(headers: Headers) -> dict[str, str]:
    """The topmost field of each name, white space made single, from above the second Received: SES writes on top of
    what it was given. Where it wrote no field of a name, this may be a stranger's.
    """
    top: dict[str, str] = {}
    for name, value in headers:
        key = name.strip().lower()
        if key == "received" and key in top:
            break
        top.setdefault(key, " ".join(value.split()))
    return top


def _verdicts(top: Mapping[str, str]) -> dict[str, Any]:
    views = _views(top.get("authentication-results", ""))
    found = {
        "spamVerdict": top.get("x-ses-spam-verdict", ""),
        "virusVerdict": top.get("x-ses-virus-verdict", ""),
        # Its first word is SES's own; all else in it repeats what the sender said.
        "spfVerdict": _word(top["received-spf"].partition(" ")[0]) if "received-spf" in top else "",
        "dkimVerdict": _worst(_best(_matches(_DKIM, results)) for results in views),
        "dmarcVerdict": _worst(_worst(_matches(_DMARC, results)) for results in views),
    }
    told: dict[str, Any] = {name: {"status": word} for name, word in found.items() if word in get_args(Verdict)}
    if found["dmarcVerdict"] == "FAIL":
        # SES writes no policy into its header. Between discarding a mail for a policy that its sender's domain may not
        # have, and passing it off as good, the owner is warned.
        told["dmarcPolicy"] = "quarantine"
    return told


def _views(value: str) -> list[list[str]]:
    """The results in SES's Authentication-Results, read in two ways, of which the worse counts: a quote of the sender's
    may pretend to be a result, and one without an end may hide the results after it.
    """
    if value.partition(";")[0].strip() != "amazonses.com":
        return []
    bare = _COMMENT.sub("", _QUOTED.sub("", value))
    return [[" ".join(result.split()) for result in view.split(";")[1:]] for view in (value, bare)]


def _matches(pattern: re.Pattern[str], results: Iterable[str]) -> list[str]:
    matches = (pattern.fullmatch(result) for result in results)
    return [_word(match[1]) for match in matches if match is not None] or ["GRAY"]


def _word(result: str) -> str:
    return _WORDS.get(result.lower(), "GRAY")


def _worst(found: Iterable[str]) -> str:
    """Empty for nothing."""
    return min(found, key=_BEST_LAST.index, default="")


def _best(found: Iterable[str]) -> str:
    """Of several signatures one is enough."""
    return max(found, key=_BEST_LAST.index)


def _within_limit(headers: Headers) -> tuple[list[dict[str, str]], bool]:
    """What SES would tell of the header, and whether that leaves something out."""
    sizes = [sum(len(part.encode("utf-8", "replace")) for part in header) + len(": \r\n") for header in headers]
    told: list[dict[str, str]] = []
    room = HEADERS_KEPT
    for (name, value), size in zip(headers, sizes, strict=True):
        room -= size
        if room < 0:
            return told, True
        told.append({"name": name, "value": value})
    return told, False


def _common(headers: Headers) -> dict[str, Any]:
    """For people: from the whole header, as the rest of it may be cut."""
    first = {name.lower(): value for name, value in reversed(headers)}
    sender = {"from": [first["from"][:LONGEST]]} if "from" in first else {}
    subject = {"subject": first["subject"][:LONGEST]} if "subject" in first else {}
    return sender | subject


def _timestamp(date: str) -> dict[str, str]:
    try:
        moment = parsedate_to_datetime(date).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return {}
    return {"timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
