"""What a dead letter says of itself, and which mail it is about: read leniently, for nothing in it is trusted."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from relayd.adapters import dead_letters as ours
from relayd.adapters.dead_letter_queue import Attribute, ReceivedLetter
from relayd.errors import PermanentError
from relayd.model.message import Message
from relayd.model.notification import Received
from relayd.wire import own, ses, sns
from relayd.wire.shape import parse_object, seconds

MAX_RECEIVES = "max_receives"
"""The reason of a message that SQS itself moved here: it had been received too often."""
ILLEGIBLE = "illegible"
"""The reason of a message whose own is no word of relayd's."""

_REASON = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_XRAY_ROOT = re.compile(r"(?:^|;) *Root=1-([0-9a-f]{8})-([0-9a-f]{24})(?:;|$)")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be done, and what is known of how that came."""

    message: Message
    """As it lies in the dead-letter queue, under its id there. From an archive, its receipt handle is empty."""
    reason: str
    """relayd's word for it; `max_receives` where SQS moved the message by itself."""
    detail: str
    original_message_id: str
    """SQS's id in the mail queue; the message's own where that is not known."""
    first_received_at: float
    """From the mail queue, in seconds since the epoch; 0 when not known."""
    failed_at: float
    """When relayd gave it up, in seconds since the epoch; 0 when not known, as where SQS moved it."""
    receive_count: int = 1
    """Of the message in the mail queue, as far as is known."""
    attributes: Mapping[str, Attribute] = field(repr=False, default_factory=dict)
    """All message attributes, relayd's own among them."""
    source_arn: str | None = None
    """The queue that SQS moved it from; None where relayd sent it."""

    @property
    def foreign_attributes(self) -> dict[str, Attribute]:
        """Those that the message had before relayd gave it up."""
        return {name: value for name, value in self.attributes.items() if name not in ours.OURS}


def letter_of(received: ReceivedLetter) -> DeadLetter:
    """Read what a message says of its failure. Whoever may write to the queue wrote that: nothing in it is trusted."""
    message = received.message
    told = {name: str(value.value) for name, value in received.attributes.items() if name in ours.OURS}
    first_received_at = seconds(told.get(ours.FIRST_RECEIVED))
    if received.source_arn is not None or not told.get(ours.REASON):
        # SQS keeps id, times and counts when it moves a message. What our attributes say then is from an earlier
        # failure, after which the message was put back by hand.
        return DeadLetter(
            message,
            MAX_RECEIVES,
            "",
            message.message_id,
            first_received_at or message.first_received_at,
            failed_at=0.0,
            receive_count=message.receive_count,
            attributes=received.attributes,
            source_arn=received.source_arn,
        )
    reason, count = told[ours.REASON], told.get(ours.RECEIVE_COUNT, "")
    return DeadLetter(
        message,
        reason if _REASON.fullmatch(reason) else ILLEGIBLE,
        told.get(ours.DETAIL, ""),
        told.get(ours.MESSAGE_ID) or message.message_id,
        first_received_at,
        failed_at=message.sent_at,
        receive_count=int(count) if re.fullmatch(r"[0-9]{1,9}", count) else 1,
        attributes=received.attributes,
    )


def mail_of(message: Message) -> Received | None:
    """The mail that a message is about, taken at its word: nothing is verified. None where it is about none, or cannot
    be read.
    """
    try:
        if own.is_own(message.body):
            text = parse_object(message.body, "envelope").text("Message")
        else:
            text = sns.open_envelope(message.body, message.attributes).text
        found = ses.read_notification(text)
    except PermanentError:
        return None
    return found if isinstance(found, Received) else None


def trace_ids(message: Message) -> list[str]:
    """The traces that a message names, as 32 hexadecimal digits each: in its attributes, in its envelope, for X-Ray."""
    return list(dict.fromkeys(_traces(message)))


def trace_id(traceparent: str | None) -> str | None:
    """The trace of a W3C traceparent; None for anything else."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    return found[1] if found else None


def _traces(message: Message) -> Iterator[str]:
    told = [message.attributes.get("traceparent")]
    if not own.is_own(message.body):
        with suppress(PermanentError):
            told.append(sns.open_envelope(message.body, {}).traceparent)
    yield from (found for text in told if (found := trace_id(text)))
    if root := _XRAY_ROOT.search(message.trace_header or ""):
        yield root[1] + root[2]
