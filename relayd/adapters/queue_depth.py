"""How much is in a queue: what whoever drains it, or looks after it, goes by."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from opentelemetry.instrumentation.utils import suppress_instrumentation

from relayd.adapters import aws
from relayd.adapters.queue_facts import region_of
from relayd.adapters.sqs import queue_error, queue_name
from relayd.telemetry.calls import QueueCall

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_TIMEOUTS = aws.Timeouts(connect=3.0, read=5.0)
_NAMES: Any = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
]


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Messages in a queue. SQS calls its counts approximate, and they may lag behind by seconds."""

    visible: int
    """To be received now."""
    delayed: int
    """Sent with a delay that has not ended, and never received yet."""
    in_flight: int
    """Leased, or put off after a receive: SQS does not tell these two apart."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.visible + self.delayed + self.in_flight


def depth(client: "SQSClient", url: str) -> QueueDepth:
    """Ask the queue. Raises HoldError("queue") where asking again will not help (missing, denied), TransientError for
    an outage.
    """
    try:
        found = client.get_queue_attributes(QueueUrl=url, AttributeNames=_NAMES)["Attributes"]
    except ClientError as error:
        raise queue_error(error) from None
    except aws.CALL_FAILED as error:
        raise aws.call_error("queue", error) from None
    # A count that the endpoint does not know is none: emulators leave the delayed ones out.
    visible, delayed, in_flight = (int(found.get(name, 0)) for name in _NAMES)
    return QueueDepth(visible, delayed, in_flight)


def depth_figures(client: "SQSClient", url: str) -> dict[str, float]:
    """The same by name, for the metrics. Nobody's trace has it: it is asked every few seconds."""
    with suppress_instrumentation(), QueueCall("attributes", queue_name(url)):
        found = depth(client, url)
    return {"visible": found.visible, "delayed": found.delayed, "in_flight": found.in_flight}


def depth_client(url: str) -> "SQSClient":
    """A client for whoever asks beside the daemon, in the region that the queue's URL names."""
    region = region_of(url)
    session = aws.new_session(default_region=region)
    return aws.client("sqs", region=region, pool=1, timeouts=_TIMEOUTS, session=session)
