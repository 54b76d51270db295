"""Notifications that relayd puts into the queue itself, which SNS has not signed: sealed with relayd's own secret.

They keep the queue's walls standing: whoever may write to the queue can still have nothing forwarded that SES, or the
operator, did not send.
"""

import hashlib
import hmac
import json
import math
import re
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from relayd.errors import PermanentError
from relayd.wire.shape import Shape, parse_object

_DOMAIN = b"relayd-notification-v1\0"
"""Keeps this MAC apart from every other use of the same secret, and one version's from another's."""
_TYPE = "RelaydNotification"
_VERSION = 1
# What `seal` writes first, to the letter: nobody else's JSON can pass for ours by quoting it somewhere inside.
_BEGINNING = f'{{"Type": "{_TYPE}", '
_MOST_RELEASED = 20
_REASON = re.compile(r"[a-z0-9_]{1,64}")
_MAC = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Own:
    """What a sealed envelope brought, and that it is ours."""

    text: str = field(repr=False)
    """The notification inside: SES's JSON as text."""
    released: frozenset[str]
    """Reasons that must not hold this mail back again."""
    sent_at: float
    """When it was put into the queue, in seconds since the epoch."""


def seal(text: str, *, released: Collection[str], secrets: Sequence[bytes], now: float) -> str:
    """The body of an SQS message, in ASCII, that `open_own` opens. The first secret signs."""
    reasons = sorted(set(released))
    return json.dumps(
        {
            "Type": _TYPE,
            "Version": _VERSION,
            "Message": text,
            "Released": reasons,
            "SentAt": now,
            "Mac": _mac(text, reasons, now, secrets[0]),
        }
    )


def is_own(body: str) -> bool:
    """Whether a body says that it is one of these. Only `open_own` knows whether it is true."""
    return body.startswith(_BEGINNING)


def open_own(body: str, secrets: Sequence[bytes]) -> Own:
    """Read and verify a sealed envelope. Raises PermanentError: `forged_signature`, or what is wrong with its form."""
    root = parse_object(body, "envelope")
    if root.text("Type") != _TYPE:
        raise PermanentError("unknown_type", "Type")
    # As a float, like every number of a Shape; True would be equal to 1.
    version = root.fields.get("Version")
    if not isinstance(version, float) or version != _VERSION:
        raise PermanentError("unknown_version", "Version")
    text, reasons, sent_at, mac = root.text("Message"), _released(root), _sent_at(root), root.text("Mac")
    if not _MAC.fullmatch(mac):
        raise root.malformed("Mac")
    # No early end over the secrets: which of them matched must not be seen in the time.
    valid = [hmac.compare_digest(_mac(text, reasons, sent_at, secret), mac) for secret in secrets]
    if not any(valid):
        raise PermanentError("forged_signature")
    return Own(text, frozenset(reasons), sent_at)


def _released(root: Shape) -> list[str]:
    reasons = root.array("Released")
    if len(reasons) > _MOST_RELEASED:
        raise root.malformed("Released")
    found = [reason for reason in reasons if isinstance(reason, str) and _REASON.fullmatch(reason)]
    if len(found) != len(reasons):
        raise root.malformed("Released")
    return found


def _sent_at(root: Shape) -> float:
    value = root.fields.get("SentAt")
    if not isinstance(value, float):
        raise root.incomplete("SentAt")
    if not math.isfinite(value):
        raise root.malformed("SentAt")
    return value


def _mac(text: str, reasons: Sequence[str], sent_at: float, secret: bytes) -> str:
    """Over each part with its length in front, so that no two different envelopes make the same bytes."""
    parts = [text.encode(), struct.pack(">d", sent_at), *(reason.encode() for reason in reasons)]
    framed = b"".join(struct.pack(">Q", len(part)) + part for part in parts)
    return hmac.new(secret, _DOMAIN + framed, hashlib.sha256).hexdigest()
