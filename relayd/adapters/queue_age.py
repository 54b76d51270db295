"""How old the oldest message of a queue is. SQS itself does not say; CloudWatch does, a minute or two later."""

from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from relayd.adapters import aws
from relayd.adapters.sqs import queue_name
from relayd.errors import RelaydError

_LOOK_BACK = timedelta(minutes=10)
"""SQS reports each minute, and late; a queue that nobody has used for six hours reports nothing at all."""


def oldest_seconds(client: Any, queue_url: str, now: float) -> float | None:
    """Seconds, by the newest report of ApproximateAgeOfOldestMessage; None where there is none. SQS leaves messages out
    of it that were received three times or more. It needs cloudwatch:GetMetricStatistics. Raises RelaydError.
    """
    end = datetime.fromtimestamp(now, UTC)
    try:
        answer = client.get_metric_statistics(
            Namespace="AWS/SQS",
            MetricName="ApproximateAgeOfOldestMessage",
            Dimensions=[{"Name": "QueueName", "Value": queue_name(queue_url)}],
            StartTime=end - _LOOK_BACK,
            EndTime=end,
            Period=60,
            Statistics=["Maximum"],
        )
    except ClientError as error:
        raise _named(aws.service_error("queue", error)) from None
    except aws.CALL_FAILED as error:
        raise _named(aws.call_error("queue", error)) from None
    reports = answer.get("Datapoints") or ()
    newest = max(reports, key=lambda report: report["Timestamp"], default=None)
    return None if newest is None else float(newest["Maximum"])


def _named(error: RelaydError) -> RelaydError:
    """Nobody shall think that it was SQS."""
    return RelaydError(error.reason.replace("queue_", "cloudwatch_"), error.detail)
