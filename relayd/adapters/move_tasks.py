"""SQS's own way to put dead letters back: it moves them all, in the background, and nobody has to hold them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from relayd.adapters import aws
from relayd.adapters.sqs import queue_error, queue_name
from relayd.errors import ConfigurationError, Problem, RelaydError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MoveStatus = Literal["RUNNING", "COMPLETED", "CANCELLING", "CANCELLED", "FAILED"]


class MoveRefusedError(RelaydError):
    """The messages cannot be moved so: the endpoint has no such tasks, or the role may not start one. `detail` is AWS's
    code.
    """


@dataclass(frozen=True, slots=True)
class Move:
    """How far a task is. SQS calls its counts approximate."""

    status: MoveStatus
    moved: int
    total: int
    """How many there were to move when it began; 0 where SQS does not say."""
    failure: str = ""
    """SQS's code for why it failed."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is moved any more."""
        return self.status not in ("RUNNING", "CANCELLING")


class MoveTasks:
    """The move tasks of one dead-letter queue."""

    def __init__(self, client: "SQSClient", dead_letter_url: str) -> None:
        """Raises what `arn_of` raises."""
        self._client = client
        self._name = queue_name(dead_letter_url)
        self._source_arn = arn_of(client, dead_letter_url)

    def start(self, destination_arn: str) -> str:
        """Begin to move everything to that queue, and answer the task's handle.

        The destination is always named: SQS's own choice, where each message came from, is another queue for SES's
        events. Raises MoveRefusedError; TransientError for an outage.
        """
        parameters: Any = {"SourceArn": self._source_arn, "DestinationArn": destination_arn}
        try:
            return self._client.start_message_move_task(**parameters)["TaskHandle"]
        except ClientError as error:
            raise MoveRefusedError("move_refused", aws.code(error)) from None
        except aws.CALL_FAILED as error:
            raise aws.call_error("queue", error) from None

    def latest(self) -> Move | None:
        """The task that was started last; None where there was none. Raises RelaydError."""
        with _asking(self._name, "sqs:ListMessageMoveTasks"):
            found: Any = self._client.list_message_move_tasks(SourceArn=self._source_arn, MaxResults=1)
        return next((_move(entry) for entry in found.get("Results", ())), None)

    def cancel(self, handle: str) -> None:
        """Move no more. What was moved stays where it is. Raises RelaydError."""
        with _asking(self._name, "sqs:CancelMessageMoveTask"):
            self._client.cancel_message_move_task(TaskHandle=handle)


def arn_of(client: "SQSClient", url: str) -> str:
    """A queue's ARN. Raises ConfigurationError where that may not be asked, HoldError where asking again will not help
    either, TransientError for an outage.
    """
    with _asking(queue_name(url), "sqs:GetQueueAttributes"):
        return client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


@contextmanager
def _asking(queue: str, right: str) -> Iterator[None]:
    """Around one call: what its failure means, and which right it takes where that is missing."""
    try:
        yield
    except ClientError as error:
        found = queue_error(error)
    except aws.CALL_FAILED as error:
        found = aws.call_error("queue", error)
    else:
        return
    if problem := aws.credentials_problem(found):
        raise ConfigurationError([problem]) from None
    if found.reason != "access_denied":
        raise found from None
    told = f"AWS refuses the call of {right} ({found.detail})."
    raise ConfigurationError([Problem(f"queue {queue}", told, f"Allow {right} on it to whoever runs this.")]) from None


def _move(entry: Any) -> Move:
    return Move(
        entry["Status"],
        entry.get("ApproximateNumberOfMessagesMoved", 0),
        entry.get("ApproximateNumberOfMessagesToMove", 0),
        entry.get("FailureReason", ""),
    )
