"""Messages of our own into the mail queue, for an operator's commands: the daemon itself only receives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from relayd.adapters import aws
from relayd.adapters.queue_facts import SUBJECT, region_of
from relayd.adapters.sqs import queue_error
from relayd.errors import ConfigurationError, HoldError, Problem, RelaydError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_ENTRIES = 10
"""SQS: messages in one call."""
MAX_BYTES = 262_144
"""Of the messages in one call together: SQS's limit until it became 1 MiB in 2025, and still that of some emulators.
One that is larger goes alone."""

_TIMEOUTS = aws.Timeouts(connect=3.0, read=10.0)


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message to be sent."""

    body: str = field(repr=False)
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Message attributes, all of them text. SQS takes none that is empty."""
    trace_header: str | None = None
    """X-Ray's."""

    @property
    def size(self) -> int:
        """Bytes, as SQS counts them."""
        return len(self.body.encode()) + sum(
            len(name.encode()) + len("String") + len(value.encode()) for name, value in self.attributes.items()
        )

    def entry(self, number: int) -> dict[str, Any]:
        """The message as one of a batch."""
        entry: dict[str, Any] = {"Id": str(number), "MessageBody": self.body}
        if self.attributes:
            entry["MessageAttributes"] = {name: _string(value) for name, value in self.attributes.items()}
        if self.trace_header:
            entry["MessageSystemAttributes"] = {"AWSTraceHeader": _string(self.trace_header)}
        return entry


class Injector:
    """Sends to one queue."""

    def __init__(self, url: str, client: "SQSClient | None" = None) -> None:
        self._url = url
        region = region_of(url)
        self._client = client or aws.client(
            "sqs", region=region, pool=1, timeouts=_TIMEOUTS, session=aws.new_session(default_region=region)
        )

    def send(self, bodies: Sequence[str]) -> list[str | None]:
        """As `post`, for messages that are nothing but a body."""
        return self.post([Parcel(body) for body in bodies])

    def post(self, parcels: Sequence[Parcel]) -> list[str | None]:
        """Send up to `MAX_ENTRIES` messages in one call. In their order: None, or the code of its refusal.

        Raises ConfigurationError for what a person must put right, TransientError for an outage; some of the messages
        may be in the queue then all the same.
        """
        entries: Any = [parcel.entry(number) for number, parcel in enumerate(parcels)]
        try:
            answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
        except ClientError as error:
            raise _refusal(queue_error(error)) from None
        except aws.CALL_FAILED as error:
            raise _refusal(aws.call_error("queue", error)) from None
        # HTTP 200 may hold failures, and an entry that is in neither list has not been sent.
        codes: list[str | None] = ["NoAnswer"] * len(entries)
        for sent in answer.get("Successful", ()):
            codes[int(sent["Id"])] = None
        for failed in answer.get("Failed", ()):
            codes[int(failed["Id"])] = str(failed.get("Code", "Unknown"))
        return codes


def _string(value: str) -> dict[str, str]:
    return {"DataType": "String", "StringValue": value}


def fitting(sizes: Sequence[int]) -> int:
    """How many of these messages, from the first one on, go into one call. `sizes` are bytes."""
    room = MAX_BYTES
    for count, size in enumerate(sizes[:MAX_ENTRIES]):
        room -= size
        if room < 0:
            return max(1, count)
    return min(len(sizes), MAX_ENTRIES)


def _refusal(error: RelaydError) -> RelaydError:
    if problem := aws.credentials_problem(error):
        return ConfigurationError([problem])
    if isinstance(error, HoldError):
        hint = "Correct the URL, or allow this command's role sqs:SendMessage on the queue (and kms:GenerateDataKey)."
        return ConfigurationError([Problem(SUBJECT, f"The queue takes no messages from here ({error.detail}).", hint)])
    return error
