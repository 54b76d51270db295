"""What a dead letter says besides its body, within what SQS takes: ten attributes, and 1 MiB with the body."""

import re
from datetime import UTC, datetime
from typing import Any

from relayd.model.message import Message

MAX_MESSAGE = 1_048_576
"""Bytes of body and attributes (names, types and values) together."""
MAX_ATTRIBUTES = 10
MAX_DETAIL = 256

REASON = "relayd-reason"
DETAIL = "relayd-detail"
MESSAGE_ID = "relayd-original-message-id"
RECEIVE_COUNT = "relayd-receive-count"
FIRST_RECEIVED = "relayd-first-received"
OURS = (REASON, DETAIL, MESSAGE_ID, RECEIVE_COUNT, FIRST_RECEIVED)


def fitting_attributes(message: Message, reason: str, detail: str) -> dict[str, Any]:
    """Message attributes for a SendMessage: ours, then the message's own as far as there is room.

    A message near the size limit keeps fewer of them: its body comes first.
    """
    ours = {
        REASON: _string(reason),
        MESSAGE_ID: _string(message.message_id),
        RECEIVE_COUNT: {"DataType": "Number", "StringValue": str(message.receive_count)},
        DETAIL: _string(safe_detail(detail)),
        FIRST_RECEIVED: _string(_moment(_first_received(message))),
    }
    # A message that was replayed and failed again carries old ones.
    theirs = {name: _string(value) for name, value in message.attributes.items() if name not in OURS}
    room = MAX_MESSAGE - len(message.body.encode())
    kept: dict[str, Any] = {}
    for name, attribute in (ours | theirs).items():
        size = _size(name, attribute)
        if attribute["StringValue"] and len(kept) < MAX_ATTRIBUTES and size <= room:
            kept[name] = attribute
            room -= size
    return kept


def safe_detail(detail: str) -> str:
    """Printable ASCII on one line, cut to length, and nothing in it that looks like an address."""
    hidden = re.sub(r"\S+@\S+", "(address)", detail)
    return re.sub(r"[^\x20-\x7e]+", " ", hidden)[:MAX_DETAIL].strip()


def _string(value: str) -> dict[str, str]:
    return {"DataType": "String", "StringValue": value}


def _size(name: str, attribute: dict[str, str]) -> int:
    return sum(len(part.encode()) for part in (name, *attribute.values()))


def _first_received(message: Message) -> float:
    """Of what was replayed the first time of all counts, which its attribute carries; SQS counts anew."""
    times = [message.first_received_at]
    try:
        carried = datetime.fromisoformat(message.attributes.get(FIRST_RECEIVED, ""))
        times.append((carried if carried.tzinfo else carried.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        pass
    return min((time for time in times if time > 0), default=0.0)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else ""
