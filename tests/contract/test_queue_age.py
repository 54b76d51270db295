"""The age of the oldest message, as CloudWatch tells it: moto's, which answers in the service's own protocol."""

import time
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from relayd.adapters.aws import Timeouts, client
from relayd.adapters.queue_age import oldest_seconds
from relayd.errors import RelaydError
from tests.adapters.scripted_server import Answer, Hang, ScriptedServer, Step
from tests.contract.moto_server import MotoServer, fake_session

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/mail"


@pytest.fixture
def reports(moto: MotoServer) -> Any:
    """The client of whoever reports: SQS, each minute."""
    made: Any = boto3.Session(botocore_session=fake_session())
    return made.client("cloudwatch", endpoint_url=moto.endpoint)


def report(reports: Any, queue: str, age: float, minutes_ago: float, now: float) -> None:
    metric = {
        "MetricName": "ApproximateAgeOfOldestMessage",
        "Dimensions": [{"Name": "QueueName", "Value": queue}],
        "Timestamp": datetime.fromtimestamp(now - minutes_ago * 60, UTC),
        "Value": age,
        "Unit": "Seconds",
    }
    reports.put_metric_data(Namespace="AWS/SQS", MetricData=[metric])


def test_the_newest_report_counts(moto: MotoServer, reports: Any) -> None:
    """Of this queue alone, and not one of an hour ago."""
    now = time.time()
    cloudwatch = moto.relayd_client("cloudwatch")
    assert oldest_seconds(cloudwatch, URL, now) is None
    for age, minutes in ((500.0, 60), (90.0, 3), (60.0, 1), (80.0, 5)):
        report(reports, "mail", age, minutes, now)
    report(reports, "other", 9000.0, 0.5, now)
    assert oldest_seconds(cloudwatch, URL, now) == 60.0


def beside(server: ScriptedServer) -> Any:
    timeouts = Timeouts(connect=0.5, read=0.5)
    return client("cloudwatch", pool=1, timeouts=timeouts, session=fake_session(), endpoint=server.endpoint)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (Answer(403, b'{"__type": "AccessDenied"}', {"x-amzn-query-error": "AccessDenied;Sender"}), "access_denied"),
        (Answer(500, b"{}"), "cloudwatch_unavailable"),
        (Hang(after_request=True), "cloudwatch_timeout"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_goes_wrong_is_cloudwatch_s(step: Step, reason: str) -> None:
    """Nobody shall look for the fault in SQS."""
    with ScriptedServer(step) as server, pytest.raises(RelaydError) as raised:
        oldest_seconds(beside(server), URL, time.time())
    assert raised.value.reason == reason
