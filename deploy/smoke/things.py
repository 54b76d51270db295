"""What is made in the account, under one name that nothing else can have, and how it is removed again."""

import json
import re
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from deploy.smoke.consent import RefusedError, Where

FORM = re.compile(r"relayd-smoke-[0-9a-f]{16}")
"""Only what is called so is ever removed."""
MAIL_KEY = re.compile(r"[0-9a-v]{40}")
"""What the trial calls a mail in the bucket, as SES does."""
MOST_MAILS = 10
"""A bucket with more in it is not ours."""
GONE = frozenset(
    {"NoSuchBucket", "NotFound", "NotFoundException", "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"}
)
"""Answers of S3, SNS, SES, and SQS in two protocols."""
EVENTS = ["SEND", "DELIVERY", "DELIVERY_DELAY", "BOUNCE", "COMPLAINT", "REJECT", "RENDERING_FAILURE"]


@dataclass(frozen=True, slots=True)
class Names:
    """Of everything that is made."""

    name: str
    account: str
    region: str
    partition: str

    @classmethod
    def new(cls, where: Where, partition: str, name: str | None = None) -> Self:
        """Random, or those of an earlier run. Raises RefusedError where `name` is none of ours."""
        name = name or f"relayd-smoke-{secrets.token_hex(8)}"
        if not FORM.fullmatch(name):
            raise RefusedError(f"{name}: no run was ever called so; they are called relayd-smoke-<16 hex digits>.")
        return cls(name, where.account, where.region, partition)

    @property
    def bucket(self) -> str:
        return f"{self.name}-{self.account}"

    @property
    def queues(self) -> tuple[str, str]:
        """Of mail and of events; each has a dead-letter queue beside it."""
        return self.name, f"{self.name}-events"

    @property
    def configuration_set(self) -> str:
        return self.name

    def topic_arn(self, name: str) -> str:
        return f"arn:{self.partition}:sns:{self.region}:{self.account}:{name}"

    def queue_arn(self, name: str) -> str:
        return f"arn:{self.partition}:sqs:{self.region}:{self.account}:{name}"

    def listed(self) -> Iterator[str]:
        """For eyes, before anything is made."""
        yield f"S3 bucket              {self.bucket}"
        for name in self.queues:
            yield f"SQS queue              {name}"
            yield f"SQS queue              {dead_letters(name)}"
            yield f"SNS topic, subscribed  {name}"
        yield f"SES configuration set  {self.configuration_set} (with one event destination)"


@dataclass(frozen=True, slots=True)
class Made:
    """What the daemon must be told of it."""

    queue_url: str
    events_queue_url: str


class Things:
    """Makes them and removes them, with these clients of boto3."""

    def __init__(self, names: Names, *, s3: Any, sns: Any, sqs: Any, ses: Any, say: Callable[[str], None]) -> None:
        self._names = names
        self._s3 = s3
        self._sns = sns
        self._sqs = sqs
        self._ses = ses
        self._say = say
        self.left: list[str] = []
        """What could not be removed."""

    @contextmanager
    def there(self) -> Iterator[Made]:
        """Everything, for as long as the block lasts. Removed at its end, however it ends, half of it included."""
        try:
            yield self._make()
        finally:
            self.remove()

    def _make(self) -> Made:
        names = self._names
        mails, events = names.queues
        # us-east-1 is the one region that must not be named.
        placed = {"LocationConstraint": names.region} if names.region != "us-east-1" else None
        self._s3.create_bucket(Bucket=names.bucket, **({"CreateBucketConfiguration": placed} if placed else {}))
        self._sns.create_topic(Name=mails)
        admits_ses = statement(
            "ses.amazonaws.com",
            "sns:Publish",
            names.topic_arn(events),
            {"StringEquals": {"aws:SourceAccount": names.account}},
        )
        self._sns.create_topic(Name=events, Attributes={"Policy": admits_ses})
        queue_url, events_queue_url = self._make_queue(mails), self._make_queue(events)
        # Without reasons of its own it would take the account's, whose list makes SES drop mail in silence.
        self._ses.create_configuration_set(
            ConfigurationSetName=names.configuration_set, SuppressionOptions={"SuppressedReasons": []}
        )
        self._ses.create_configuration_set_event_destination(
            ConfigurationSetName=names.configuration_set,
            EventDestinationName="events",
            EventDestination={
                "Enabled": True,
                "MatchingEventTypes": EVENTS,
                "SnsDestination": {"TopicArn": names.topic_arn(events)},
            },
        )
        return Made(queue_url, events_queue_url)

    def _make_queue(self, name: str) -> str:
        """A queue with its dead-letter queue, told by the topic of its name and by nobody else. Its URL."""
        topic_arn, queue_arn = self._names.topic_arn(name), self._names.queue_arn(name)
        self._sqs.create_queue(QueueName=dead_letters(name))
        redrive = {"deadLetterTargetArn": self._names.queue_arn(dead_letters(name)), "maxReceiveCount": 1000}
        admits_topic = statement(
            "sns.amazonaws.com", "sqs:SendMessage", queue_arn, {"ArnEquals": {"aws:SourceArn": topic_arn}}
        )
        attributes = {"RedrivePolicy": json.dumps(redrive), "Policy": admits_topic}
        url = self._sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        self._sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=queue_arn)
        return str(url)

    def remove(self) -> None:
        """All of it, whether it is there or not; one that fails does not keep the others. `left` says what did fail."""
        queues = [queue for name in self._names.queues for queue in (name, dead_letters(name))]
        steps: list[tuple[str, Callable[[], object]]] = [
            ("SES configuration set", self._remove_configuration_set),
            *((f"SNS topic {name}", partial(self._remove_topic, name)) for name in self._names.queues),
            *((f"SQS queue {name}", partial(self._remove_queue, name)) for name in queues),
            ("S3 bucket", self._remove_bucket),
        ]
        with undisturbed():
            self.left = [what for what, step in steps if not self._removed(what, step)]
            self._say(f"STILL THERE: {', '.join(self.left)}" if self.left else "Removed everything that was made.")

    def _removed(self, what: str, step: Callable[[], object]) -> bool:
        try:
            step()
        except ClientError as error:
            if error.response["Error"]["Code"] in GONE:
                return True
            self._say(f"{what}: {error}")
            return False
        except (BotoCoreError, RefusedError) as error:
            self._say(f"{what}: {error}")
            return False
        return True

    def _remove_configuration_set(self) -> None:
        # With its event destination.
        self._ses.delete_configuration_set(ConfigurationSetName=self._names.configuration_set)

    def _remove_topic(self, name: str) -> None:
        # With its subscription.
        self._sns.delete_topic(TopicArn=self._names.topic_arn(name))

    def _remove_queue(self, name: str) -> None:
        self._sqs.delete_queue(QueueUrl=self._sqs.get_queue_url(QueueName=name)["QueueUrl"])

    def _remove_bucket(self) -> None:
        # Of this account, or S3 refuses.
        bucket = {"Bucket": self._names.bucket, "ExpectedBucketOwner": self._names.account}
        found = [one["Key"] for one in self._s3.list_objects_v2(**bucket).get("Contents", ())]
        if len(found) > MOST_MAILS or not all(map(MAIL_KEY.fullmatch, found)):
            raise RefusedError("it holds what no run has put there; look at it, and remove it by hand")
        for key in found:
            self._s3.delete_object(**bucket, Key=key)
        # Refused by S3 unless the bucket is empty.
        self._s3.delete_bucket(**bucket)


def dead_letters(name: str) -> str:
    return f"{name}-dead"


def statement(service: str, action: str, resource: str, condition: dict[str, Any]) -> str:
    """A policy that lets one service do one thing."""
    allowed = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": action,
        "Resource": resource,
        "Condition": condition,
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [allowed]})


@contextmanager
def undisturbed() -> Iterator[None]:
    """No Ctrl-C, SIGTERM or closed terminal until what is in hand has ended."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
