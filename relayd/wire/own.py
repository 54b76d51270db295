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
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from relayd.errors import PermanentError
from relayd.wire.shape import Shape, parse_object

_TYPE = "RelaydNotification"
_VERSION = 2
# What `seal` writes first, to the letter: nobody else's JSON can pass for ours by quoting it somewhere inside.
_BEGINNING = f'{{"Type": "{_TYPE}", '
_MOST_RELEASED = 20
_REASON = re.compile(r"[a-z0-9_]{1,64}")
_REPLAY = re.compile(r"[A-Za-z0-9_-]{1,32}")
_MAC = re.compile(r"[0-9a-f]{64}")
_LATEST = 253_402_300_799.0
"""The last second of the year 9999: no calendar goes further."""


@dataclass(frozen=True, slots=True)
class Own:
    """What a sealed envelope brought, and that it is ours."""

    text: str = field(repr=False)
    """The notification inside: SES's JSON as text."""
    released: frozenset[str]
    """Reasons that must not hold this mail back again."""
    sent_at: float
    """When it was put into the queue, in seconds since the epoch."""
    replay: str | None = None
    """The random id of the act that put it there; None where that was no replay."""
    again: bool = False
    """The replay is meant for mail that was sent, too."""
    first_received_at: float | None = None
    """When relayd first received what is replayed, in seconds since the epoch; None where nobody knows."""


def seal(
    text: str,
    *,
    released: Collection[str] = (),
    secrets: Sequence[bytes],
    now: float,
    replay: str | None = None,
    again: bool = False,
    first_received_at: float | None = None,
) -> str:
    """The body of an SQS message, in ASCII, that `open_own` opens. The first secret signs.

    `replay`: 1 to 32 letters, digits, `_` or `-`. Raises ValueError for another one, and for `again` without one.
    """
    if (again and replay is None) or (replay is not None and not _REPLAY.fullmatch(replay)):
        raise ValueError("a replay needs an id of letters and digits")
    own = Own(text, frozenset(released), now, replay, again, first_received_at)
    return json.dumps(
        {
            "Type": _TYPE,
            "Version": _VERSION,
            "Message": text,
            "Released": sorted(own.released),
            "SentAt": now,
            "Replay": replay,
            "Again": again,
            "FirstReceivedAt": first_received_at,
            "Mac": _mac(_VERSION, _signed_now(own, sorted(own.released)), secrets[0]),
        }
    )


def is_own(body: str) -> bool:
    """Whether a body says that it is one of these. Only `open_own` knows whether it is true."""
    return body.startswith(_BEGINNING)


def open_own(body: str, secrets: Sequence[bytes]) -> Own:
    """Read and verify a sealed envelope. Raises PermanentError: `forged_signature`, or what is wrong with its form.

    Of the version before, too: such a message may have been in the queue when relayd was exchanged for this one.
    """
    root = parse_object(body, "envelope")
    if root.text("Type") != _TYPE:
        raise PermanentError("unknown_type", "Type")
    # As a float, like every number of a Shape; True would be equal to 1.
    version = root.fields.get("Version")
    if not isinstance(version, float) or version not in _FORMS:
        raise PermanentError("unknown_version", "Version")
    read, signed = _FORMS[version]
    reasons, mac = _released(root), root.text("Mac")
    own = read(root, reasons)
    if not _MAC.fullmatch(mac):
        raise root.malformed("Mac")
    parts = signed(own, reasons)
    # No early end over the secrets: which of them matched must not be seen in the time.
    valid = [hmac.compare_digest(_mac(version, parts, secret), mac) for secret in secrets]
    if not any(valid):
        raise PermanentError("forged_signature")
    return own


def _read_before(root: Shape, reasons: list[str]) -> Own:
    """Version 1. Whatever else stands in it is not signed, and so not read."""
    return Own(root.text("Message"), frozenset(reasons), _moment(root, "SentAt"))


def _signed_before(own: Own, reasons: Sequence[str]) -> list[bytes]:
    return [own.text.encode(), struct.pack(">d", own.sent_at), *(reason.encode() for reason in reasons)]


def _read_now(root: Shape, reasons: list[str]) -> Own:
    replay = root.text("Replay") if root.has("Replay") else None
    if replay is not None and not _REPLAY.fullmatch(replay):
        raise root.malformed("Replay")
    again = root.fields.get("Again")
    if not isinstance(again, bool):
        raise root.incomplete("Again")
    if again and replay is None:
        raise root.malformed("Again")
    first = _moment(root, "FirstReceivedAt") if root.has("FirstReceivedAt") else None
    if first is not None and not 0 <= first <= _LATEST:
        raise root.malformed("FirstReceivedAt")
    return Own(root.text("Message"), frozenset(reasons), _moment(root, "SentAt"), replay, again, first)


def _signed_now(own: Own, reasons: Sequence[str]) -> list[bytes]:
    """What is not there is an empty part, as no value is; the reasons, whose number varies, come last."""
    return [
        own.text.encode(),
        struct.pack(">d", own.sent_at),
        (own.replay or "").encode(),
        struct.pack(">?", own.again),
        b"" if own.first_received_at is None else struct.pack(">d", own.first_received_at),
        *(reason.encode() for reason in reasons),
    ]


_Read = Callable[[Shape, list[str]], Own]
_Signed = Callable[[Own, Sequence[str]], list[bytes]]
_FORMS: dict[float, tuple[_Read, _Signed]] = {1: (_read_before, _signed_before), _VERSION: (_read_now, _signed_now)}
"""What each version holds, and what of it is signed, in order."""


def _released(root: Shape) -> list[str]:
    reasons = root.array("Released")
    if len(reasons) > _MOST_RELEASED:
        raise root.malformed("Released")
    found = [reason for reason in reasons if isinstance(reason, str) and _REASON.fullmatch(reason)]
    if len(found) != len(reasons):
        raise root.malformed("Released")
    return found


def _moment(root: Shape, name: str) -> float:
    value = root.fields.get(name)
    if not isinstance(value, float):
        raise root.incomplete(name)
    if not math.isfinite(value):
        raise root.malformed(name)
    return value


def _mac(version: float, parts: Sequence[bytes], secret: bytes) -> str:
    """Over each part with its length in front, so that no two different envelopes make the same bytes.

    The version is in front of all, and keeps this MAC apart from every other use of the same secret.
    """
    framed = b"".join(struct.pack(">Q", len(part)) + part for part in parts)
    return hmac.new(secret, b"relayd-notification-v%d\0" % version + framed, hashlib.sha256).hexdigest()
