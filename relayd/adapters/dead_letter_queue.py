"""The dead-letter queue as an operator's command reads it: all that SQS knows of a message."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from relayd.adapters import aws
from relayd.adapters.queue_depth import QueueDepth, depth
from relayd.adapters.queue_facts import DEAD_LETTER_SUBJECT, SUBJECT, describe, region_of
from relayd.adapters.sqs import SYSTEM_ATTRIBUTES, SqsQueue, message_of
from relayd.errors import ConfigurationError, HoldError, Problem
from relayd.model.message import Message
from relayd.ports import EntryError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_ASKED = (*SYSTEM_ATTRIBUTES, "DeadLetterQueueSourceArn")
LONGEST_WAIT = 5.0
"""Seconds of one poll. Whoever presses Ctrl-C waits for the poll that is open."""
_TIMEOUTS = aws.Timeouts(connect=3.0, read=LONGEST_WAIT + 5.0)
PERMISSIONS = "sqs:ReceiveMessage, DeleteMessage, ChangeMessageVisibility and GetQueueAttributes"
"""What reading the dead-letter queue takes."""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Attribute:
    """A message attribute as it was sent."""

    kind: str
    """SQS's DataType: `String`, `Number` or `Binary`, perhaps with a label after a dot."""
    value: str | bytes = field(repr=False)
    """Bytes where the kind is Binary."""


@dataclass(frozen=True, slots=True)
class ReceivedLetter:
    """One receive of one message of a dead-letter queue."""

    message: Message
    attributes: Mapping[str, Attribute] = field(repr=False, default_factory=dict)
    """All of them; the message itself has those that are text."""
    source_arn: str | None = None
    """The queue that SQS moved the message from by itself; None where somebody sent it here."""


class SqsLetterQueue:
    """One dead-letter queue. Every method raises ConfigurationError for what a person must put right, TransientError
    for an outage.
    """

    def __init__(self, url: str, client: "SQSClient | None" = None) -> None:
        self._url = url
        self._client = client or _new_client(url)
        self._queue = SqsQueue(url, poll_client=self._client, client=self._client, dead_letter_url=None)

    @property
    def name(self) -> str:
        """The queue's short name."""
        return self._queue.name

    def receive(self, limit: int, wait: float, visibility: float) -> list[ReceivedLetter]:
        """See `relayd.ports.Queue.receive`. Waits for `LONGEST_WAIT` at most."""
        found = _translated(lambda: self._queue.receive_entries(limit, min(wait, LONGEST_WAIT), visibility, _ASKED))
        return [_letter(entry) for entry in found]

    def delete(self, handles: Sequence[str]) -> list[EntryError | None]:
        """See `relayd.ports.Queue.delete`."""
        return _translated(lambda: self._queue.delete(handles))

    def change_visibility(self, changes: Sequence[tuple[str, float]]) -> list[EntryError | None]:
        """See `relayd.ports.Queue.change_visibility`."""
        return _translated(lambda: self._queue.change_visibility(changes))

    def depth(self) -> QueueDepth:
        """What the queue says it holds."""
        return _translated(lambda: depth(self._client, self._url))


def dead_letter_url(queue_url: str, client: "SQSClient | None" = None) -> str:
    """The dead-letter queue that a queue's redrive policy names. Raises ConfigurationError where there is none."""
    found = describe(client or _new_client(queue_url), queue_url).dead_letter_url
    if found is None:
        problem = "the queue has no redrive policy, so there is no telling where its dead letters are"
        raise ConfigurationError([Problem(SUBJECT, problem, f"Set {DEAD_LETTER_SUBJECT} to the queue that has them.")])
    return found


def _new_client(url: str) -> "SQSClient":
    region = region_of(url)
    session = aws.new_session(default_region=region)
    return aws.client("sqs", region=region, pool=2, timeouts=_TIMEOUTS, session=session)


def _translated(call: Callable[[], _Answer]) -> _Answer:
    try:
        return call()
    except HoldError as error:
        if problem := aws.credentials_problem(error):
            raise ConfigurationError([problem]) from None
        if error.reason == "queue_missing":
            hint = f"Check {DEAD_LETTER_SUBJECT}, AWS_REGION, and AWS_ENDPOINT_URL if an emulator is meant."
            raise _problem(f"The dead-letter queue does not exist ({error.detail}).", hint) from None
        hint = f"Allow {PERMISSIONS} on the dead-letter queue, and kms:Decrypt on its key."
        raise _problem(f"AWS does not let relayd use the dead-letter queue ({error.detail}).", hint) from None


def _problem(problem: str, hint: str) -> ConfigurationError:
    return ConfigurationError([Problem(DEAD_LETTER_SUBJECT, problem, hint)])


def _letter(entry: Mapping[str, Any]) -> ReceivedLetter:
    attributes = {
        name: Attribute(value["DataType"], value.get("StringValue") or value.get("BinaryValue") or "")
        for name, value in entry.get("MessageAttributes", {}).items()
    }
    return ReceivedLetter(message_of(entry), attributes, entry.get("Attributes", {}).get("DeadLetterQueueSourceArn"))
