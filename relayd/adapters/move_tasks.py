"""SQS's own way to put dead letters back: it moves them all, in the background, and nobody has to hold them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from relayd.adapters import aws
from relayd.adapters.sqs import queue_error
from relayd.errors import RelaydError

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
        """Raises what a queue's call raises when it cannot be asked for its name: HoldError, TransientError."""
        self._client = client
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
        found = _asked(lambda: self._client.list_message_move_tasks(SourceArn=self._source_arn, MaxResults=1))
        return next((_move(entry) for entry in found.get("Results", ())), None)

    def cancel(self, handle: str) -> None:
        """Move no more. What was moved stays where it is. Raises RelaydError."""
        _asked(lambda: self._client.cancel_message_move_task(TaskHandle=handle))


def arn_of(client: "SQSClient", url: str) -> str:
    """A queue's ARN. Raises HoldError where asking again will not help, TransientError for an outage."""
    found = _asked(lambda: client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"]))
    arn: str = found["Attributes"]["QueueArn"]
    return arn


def _asked(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ClientError as error:
        raise queue_error(error) from None
    except aws.CALL_FAILED as error:
        raise aws.call_error("queue", error) from None


def _move(entry: Any) -> Move:
    return Move(
        entry["Status"],
        entry.get("ApproximateNumberOfMessagesMoved", 0),
        entry.get("ApproximateNumberOfMessagesToMove", 0),
        entry.get("FailureReason", ""),
    )
