"""What a queue says about itself at start-up, and what to do when it does not."""

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from relayd.adapters import aws
from relayd.adapters.sqs import queue_error, queue_name
from relayd.errors import ConfigurationError, HoldError, Problem, RelaydError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

SUBJECT = "RELAYD_QUEUE_URL"
DEAD_LETTER_SUBJECT = "RELAYD_DEAD_LETTER_URL"


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """A queue as it is configured in AWS."""

    name: str
    arn: str
    visibility_seconds: int
    dead_letter_url: str | None
    """The target of the redrive policy; None where there is no policy."""
    max_receive_count: int | None


def describe(client: "SQSClient", url: str, *, dead_letter_url: str | None = None) -> QueueFacts:
    """Ask the queue. A `dead_letter_url` that is given replaces the redrive policy's target; its queue must exist.

    Raises ConfigurationError for what a person must put right, TransientError for an outage.
    """
    try:
        answer = client.get_queue_attributes(
            QueueUrl=url, AttributeNames=["QueueArn", "VisibilityTimeout", "RedrivePolicy"]
        )
    except ClientError as error:
        raise _refusal(client, url, queue_error(error)) from None
    except aws.CALL_FAILED as error:
        raise _refusal(client, url, aws.call_error("queue", error)) from None
    attributes = answer["Attributes"]
    policy = json.loads(attributes.get("RedrivePolicy") or "{}")
    target = policy.get("deadLetterTargetArn")
    return QueueFacts(
        name=queue_name(url),
        arn=attributes["QueueArn"],
        visibility_seconds=int(attributes["VisibilityTimeout"]),
        dead_letter_url=_existing(client, dead_letter_url) if dead_letter_url else target and _url_of(client, target),
        max_receive_count=int(policy["maxReceiveCount"]) if "maxReceiveCount" in policy else None,
    )


def region_of(url: str) -> str | None:
    """The region that a queue URL of AWS names; None for an emulator's, or any other."""
    labels = (urlsplit(url).hostname or "").split(".")
    if "amazonaws" not in labels:
        return None
    # Not by position: sqs.<region>, <region>.queue (older) and <endpoint>.sqs.<region>.vpce all exist.
    return next((label for label in labels if re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", label)), None)


def _url_of(client: "SQSClient", arn: str) -> str:
    account, name = arn.split(":")[4:6]
    refusal = _look_up(client, account, name)
    if isinstance(refusal, str):
        return refusal
    if isinstance(refusal, HoldError):
        problem = f"The redrive policy's dead-letter queue cannot be looked up ({refusal.detail})."
        hint = "Set RELAYD_DEAD_LETTER_URL to its URL, or allow sqs:GetQueueUrl on it."
        raise ConfigurationError([Problem(DEAD_LETTER_SUBJECT, problem, hint)])
    raise refusal


def _existing(client: "SQSClient", url: str) -> str:
    """The URL, unless its queue does not exist: nobody should learn that from the first rejected mail. That we may not
    look it up is no sign of it.
    """
    account, name = urlsplit(url).path.rstrip("/").split("/")[-2:]
    refusal = _look_up(client, account, name)
    if isinstance(refusal, HoldError) and refusal.reason == "queue_missing":
        problem = f"The dead-letter queue does not exist ({refusal.detail})."
        hint = "Correct the URL, or unset it to use the one in the queue's redrive policy."
        raise ConfigurationError([Problem(DEAD_LETTER_SUBJECT, problem, hint)])
    return url


def _look_up(client: "SQSClient", account: str, name: str) -> str | RelaydError:
    try:
        return client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"]
    except ClientError as error:
        return queue_error(error)
    except aws.CALL_FAILED as error:
        return aws.call_error("queue", error)


def _refusal(client: "SQSClient", url: str, error: RelaydError) -> RelaydError:
    """The problem to show, where there is something to put right; otherwise the error itself."""
    ours, theirs = client.meta.region_name, region_of(url)
    if (credentials := aws.credentials_problem(error)) is not None:
        return ConfigurationError([credentials])
    if not isinstance(error, HoldError):
        return error
    if theirs is not None and theirs != ours:
        problem = f"The queue is in {theirs}, and relayd asked in {ours}."
        return ConfigurationError([Problem(SUBJECT, problem, f"Set AWS_REGION={theirs}, or correct the URL.")])
    if error.reason == "queue_missing":
        problem = f"The queue does not exist in {ours} ({error.detail})."
        hint = (
            "Check the URL (`aws sqs list-queues` shows all), AWS_REGION, and AWS_ENDPOINT_URL if an emulator is meant."
        )
        return ConfigurationError([Problem(SUBJECT, problem, hint)])
    problem = f"AWS does not let relayd use the queue ({error.reason}: {error.detail})."
    hint = (
        "Allow sqs:ReceiveMessage, DeleteMessage, ChangeMessageVisibility and GetQueueAttributes on the queue, "
        "sqs:SendMessage and GetQueueUrl on its dead-letter queue, and kms:Decrypt and GenerateDataKey on its key."
    )
    return ConfigurationError([Problem(SUBJECT, problem, hint)])
