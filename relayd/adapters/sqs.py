"""The queue, for real: SQS calls in batches, and what its answers mean for a lease."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError
from opentelemetry.instrumentation.utils import suppress_instrumentation

from relayd.adapters import aws
from relayd.adapters.dead_letters import fitting_attributes
from relayd.errors import HoldError, RelaydError, TransientError
from relayd.model.message import Message
from relayd.ports import EntryError
from relayd.telemetry.calls import QueueCall

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_VISIBILITY = 43_200
"""Seconds: SQS's limit for one change, and for all of them together since the receive."""
MAX_WAIT = 20
"""Seconds: SQS's limit for a long poll."""
SYSTEM_ATTRIBUTES = ["ApproximateReceiveCount", "SentTimestamp", "ApproximateFirstReceiveTimestamp", "AWSTraceHeader"]

QUEUE_MISSING = frozenset(
    {
        "AWS.SimpleQueueService.NonExistentQueue",
        "QueueDoesNotExist",
        "NonExistentQueue",
        # The URL names an account or a region that this endpoint does not serve.
        "InvalidAddress",
        "AddressDisallowed",
    }
)
_GONE = frozenset(
    {
        "ReceiptHandleIsInvalid",
        "AWS.SimpleQueueService.ReceiptHandleIsInvalid",
        "MessageNotInflight",
        "AWS.SimpleQueueService.MessageNotInflight",
    }
)
_GONE_TEXTS = ("not available for visibility timeout change", "receipt handle has expired")
"""How `InvalidParameterValue` says that a lease has ended."""


class SqsQueue:
    """Implements `relayd.ports.Queue`. `poll_client` is a client of its own, so that a long poll never keeps a delete
    waiting for a connection; its read timeout must be longer than the longest wait.
    """

    def __init__(self, url: str, *, poll_client: "SQSClient", client: "SQSClient", dead_letter_url: str | None) -> None:
        self._url = url
        self._name = queue_name(url)
        self._poll_client = poll_client
        self._client = client
        self._dead_letter_url = dead_letter_url

    @property
    def name(self) -> str:
        return self._name

    def receive(self, limit: int, wait: float, visibility: float) -> list[Message]:
        return [message_of(entry) for entry in self.receive_entries(limit, wait, visibility, SYSTEM_ATTRIBUTES)]

    def receive_entries(self, limit: int, wait: float, visibility: float, system: Sequence[str]) -> list[Any]:
        """As `receive`, but messages as SQS describes them, with these system attributes."""
        # No span of botocore's: an empty long poll says nothing. The poller makes one when messages came.
        with suppress_instrumentation():
            answer = self._call(
                "receive",
                lambda: self._poll_client.receive_message(
                    QueueUrl=self._url,
                    MaxNumberOfMessages=limit,
                    WaitTimeSeconds=min(MAX_WAIT, math.ceil(wait)),
                    VisibilityTimeout=_visibility(visibility),
                    MessageSystemAttributeNames=list(system),  # type: ignore[arg-type]
                    MessageAttributeNames=["All"],
                ),
            )
        return list(answer.get("Messages", ()))

    def delete(self, handles: Sequence[str]) -> list[EntryError | None]:
        # Ids are positions: one receive may hold a message twice.
        entries: Any = [{"Id": str(index), "ReceiptHandle": handle} for index, handle in enumerate(handles)]
        answer = self._call("delete", lambda: self._client.delete_message_batch(QueueUrl=self._url, Entries=entries))
        return _entry_errors(answer, len(entries))

    def change_visibility(self, changes: Sequence[tuple[str, float]]) -> list[EntryError | None]:
        entries: Any = [
            {"Id": str(index), "ReceiptHandle": handle, "VisibilityTimeout": _visibility(seconds)}
            for index, (handle, seconds) in enumerate(changes)
        ]
        answer = self._call(
            "change_visibility",
            lambda: self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries),
        )
        return _entry_errors(answer, len(entries))

    def dead_letter(self, message: Message, reason: str, detail: str) -> None:
        url = self._dead_letter_url
        if url is None:
            raise HoldError("queue", "no_dead_letter_queue")
        parameters: dict[str, Any] = {"QueueUrl": url, "MessageBody": message.body}
        if attributes := fitting_attributes(message, reason, detail):
            parameters["MessageAttributes"] = attributes
        if message.trace_header:
            trace = {"DataType": "String", "StringValue": message.trace_header}
            parameters["MessageSystemAttributes"] = {"AWSTraceHeader": trace}
        _call("dead_letter", queue_name(url), lambda: self._client.send_message(**parameters))

    def _call(self, operation: str, call: Callable[[], Any]) -> Any:
        return _call(operation, self._name, call)


def queue_name(url: str) -> str:
    """The last part of a queue URL: its name."""
    return urlsplit(url).path.rstrip("/").rpartition("/")[2]


def queue_error(error: ClientError) -> RelaydError:
    """What an error of a whole SQS call means."""
    code = aws.code(error)
    if code in QUEUE_MISSING:
        return HoldError("queue", "queue_missing", aws.fact(error))
    if code in {"OverLimit", "AWS.SimpleQueueService.OverLimit"}:
        return TransientError("queue_over_limit", aws.fact(error), charged=False)
    if code.startswith("KMS.") and "Throttling" not in code:
        return HoldError("queue", "queue_key_unusable", aws.fact(error))
    return aws.service_error("queue", error)


def _call(operation: str, destination: str, call: Callable[[], Any]) -> Any:
    try:
        with QueueCall(operation, destination):
            return call()
    except ClientError as error:
        raise queue_error(error) from None
    except aws.CALL_FAILED as error:
        raise aws.call_error("queue", error) from None


def _visibility(seconds: float) -> int:
    # Rounded up: a lease that ends early is lost, one that ends late costs a second.
    return max(0, min(MAX_VISIBILITY, math.ceil(seconds)))


def message_of(entry: Mapping[str, Any]) -> Message:
    """A message from SQS's description of it."""
    system = entry.get("Attributes", {})
    return Message(
        message_id=entry["MessageId"],
        receipt_handle=entry["ReceiptHandle"],
        body=entry.get("Body", ""),
        receive_count=int(system.get("ApproximateReceiveCount", 1)),
        sent_at=int(system.get("SentTimestamp", 0)) / 1000,
        first_received_at=int(system.get("ApproximateFirstReceiveTimestamp", 0)) / 1000,
        attributes={
            name: value["StringValue"]
            for name, value in entry.get("MessageAttributes", {}).items()
            # Also its custom forms, `String.something`.
            if value.get("DataType", "").split(".")[0] == "String" and "StringValue" in value
        },
        trace_header=system.get("AWSTraceHeader"),
    )


def _entry_errors(answer: Mapping[str, Any], entries: int) -> list[EntryError | None]:
    # HTTP 200 may hold failures, and an entry that is in neither list has not been done.
    errors: list[EntryError | None] = [EntryError("NoAnswer", gone=False)] * entries
    for done in answer.get("Successful", ()):
        errors[int(done["Id"])] = None
    for failed in answer.get("Failed", ()):
        code = str(failed.get("Code", "Unknown"))
        text = str(failed.get("Message", "")).lower()
        gone = code in _GONE or (code.endswith("InvalidParameterValue") and any(part in text for part in _GONE_TEXTS))
        errors[int(failed["Id"])] = EntryError(code, gone)
    return errors
