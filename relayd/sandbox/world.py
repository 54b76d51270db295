"""What relayd finds in the emulated AWS, as Terraform would have made it: bucket, topics, queues, identity, events.

Everything here may be done twice.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from relayd.errors import ConfigurationError, Problem, RelaydError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sesv2 import SESV2Client
    from mypy_boto3_sesv2.literals import EventTypeType
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

REGION = "us-east-1"
ACCESS_KEY = "sandbox"
DOMAIN = "mask.example"
ANY_DOMAIN = "any.mask.example"
"""Where a domain rule makes masks on their first mail."""
MAIL_DOMAINS = (DOMAIN, ANY_DOMAIN)
MAX_RECEIVE_COUNT = 1000
"""A net under relayd's own retries, which go by age."""
EVENT_TYPES: "list[EventTypeType]" = [
    "SEND",
    "DELIVERY",
    "DELIVERY_DELAY",
    "BOUNCE",
    "COMPLAINT",
    "REJECT",
    "RENDERING_FAILURE",
    "OPEN",
    "CLICK",
    "SUBSCRIPTION",
]
"""All of them: relayd has to bear with those that it has no use for."""


class Clients:
    """boto3 clients for an emulator, deaf to the profiles, keys and proxies of the user's own environment."""

    def __init__(self, endpoint: str, region: str = REGION) -> None:
        import boto3
        import botocore.session
        from botocore.config import Config

        refuse_real_aws(endpoint)
        # A profile of the user's would be looked up, and complained about, before any of the arguments below count.
        nothing = {"profile": (None, None, None, None), "config_file": (None, None, "/dev/null", None)}
        session = boto3.session.Session(botocore_session=botocore.session.Session(session_vars=nothing))
        config = Config(
            connect_timeout=3,
            read_timeout=30,
            max_pool_connections=32,
            retries={"mode": "standard", "total_max_attempts": 2},
            proxies={},
            s3={"addressing_style": "path"},
        )
        common: dict[str, Any] = {
            "endpoint_url": endpoint,
            "region_name": region,
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_access_key": ACCESS_KEY,
            "config": config,
        }
        self.s3: S3Client = session.client("s3", **common)
        self.sns: SNSClient = session.client("sns", **common)
        self.sqs: SQSClient = session.client("sqs", **common)
        self.ses: SESV2Client = session.client("sesv2", **common)
        self._older_ses: Callable[[], Any] = lambda: session.client("ses", **common)
        anything: Any = session
        self.other: Callable[[str], Any] = lambda service: anything.client(service, **common)
        """Makes a client of another service."""

    @cached_property
    def ses_v1(self) -> Any:
        """SES's older API, which alone knows receipt rules. Made when it is needed: few do."""
        return self._older_ses()


def refuse_real_aws(endpoint: str) -> None:
    """The sandbox makes queues and sends mail: never with somebody's account."""
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ConfigurationError(
            [Problem("--endpoint", "this is no http URL.", "Try --endpoint http://127.0.0.1:5000")]
        )
    if url.hostname.endswith((".amazonaws.com", ".amazonaws.com.cn", ".aws")):
        problem = "this is AWS itself, and the sandbox would send mail with your account."
        raise ConfigurationError([Problem("--endpoint", problem, "Name an emulator on this machine.")])


@dataclass(frozen=True, slots=True)
class EventsPath:
    """The way on which SES tells what became of mail that was sent."""

    configuration_set: str
    topic_arn: str
    queue_url: str


@dataclass(frozen=True, slots=True)
class World:
    """The names of everything that was made."""

    endpoint: str
    bucket: str
    topic_arn: str
    foreign_topic_arn: str
    """A topic that reaches the queue too and is not on relayd's allow list."""
    queue_url: str
    dead_letter_url: str
    events: EventsPath | None = None
    """None: the emulator may know nothing of events."""
    rule_set: str | None = None
    """The active receipt rules; None: the emulator does not let mail in by rules."""

    @classmethod
    def build(cls, endpoint: str, clients: Clients, suffix: str = "", *, events: bool = False) -> "World":
        """Make everything. The suffix keeps runs apart that share an emulator; `events`: one that tells what became of
        mail, and lets it in by receipt rules.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        name = f"relayd-sandbox{suffix}"
        try:
            world = _build(endpoint, clients, name, rules=events)
            return replace(world, events=_events(clients, f"{name}-events")) if events else world
        except (BotoCoreError, ClientError) as error:
            raise RelaydError("sandbox_aws", f"the emulator at {endpoint} could not be set up: {error}") from None


def _build(endpoint: str, clients: Clients, name: str, *, rules: bool) -> World:
    bucket = f"{name}-mail"
    clients.s3.create_bucket(Bucket=bucket)
    topic_arn = clients.sns.create_topic(Name=name)["TopicArn"]
    foreign_topic_arn = clients.sns.create_topic(Name=f"{name}-foreign")["TopicArn"]
    # Before anybody listens to the topic: a rule that is set up tells it so.
    rule_set = _rules(clients, name, bucket, topic_arn) if rules else None
    # The foreign one is let through this wall, so that relayd's own is tried.
    queue_url, dead_letter_url = _told_queue(clients, name, [topic_arn, foreign_topic_arn])
    _identity(clients)
    return World(endpoint, bucket, topic_arn, foreign_topic_arn, queue_url, dead_letter_url, rule_set=rule_set)


def _rules(clients: Clients, name: str, bucket: str, topic_arn: str) -> str:
    """One rule for all mail: into the bucket, and the topic is told. It counts from now on, whatever did before."""
    ses = clients.ses_v1
    with suppress(ses.exceptions.AlreadyExistsException):
        ses.create_receipt_rule_set(RuleSetName=name)
    action = {"S3Action": {"BucketName": bucket, "TopicArn": topic_arn}}
    rule = {"Name": "mail", "Enabled": True, "ScanEnabled": True, "Actions": [action]}
    with suppress(ses.exceptions.AlreadyExistsException):
        ses.create_receipt_rule(RuleSetName=name, Rule=rule)
    ses.set_active_receipt_rule_set(RuleSetName=name)
    return name


def _events(clients: Clients, name: str) -> EventsPath:
    topic_arn = clients.sns.create_topic(Name=name)["TopicArn"]
    queue_url, _ = _told_queue(clients, name, [topic_arn])
    exists = clients.ses.exceptions.AlreadyExistsException
    with suppress(exists):
        # No reasons of its own would mean those of the account, whose list makes SES drop mail silently.
        clients.ses.create_configuration_set(ConfigurationSetName=name, SuppressionOptions={"SuppressedReasons": []})
    with suppress(exists):
        clients.ses.create_configuration_set_event_destination(
            ConfigurationSetName=name,
            EventDestinationName="relayd",
            EventDestination={
                "Enabled": True,
                "MatchingEventTypes": EVENT_TYPES,
                "SnsDestination": {"TopicArn": topic_arn},
            },
        )
    return EventsPath(name, topic_arn, queue_url)


def _told_queue(clients: Clients, name: str, topic_arns: list[str]) -> tuple[str, str]:
    """A queue that these topics reach, and its dead-letter queue: the URLs of both."""
    dead_letter_url, dead_letter_arn = _queue(clients, f"{name}-dead-letters", {"MessageRetentionPeriod": "1209600"})
    redrive = json.dumps({"deadLetterTargetArn": dead_letter_arn, "maxReceiveCount": MAX_RECEIVE_COUNT})
    queue_url, queue_arn = _queue(clients, name, {"RedrivePolicy": redrive, "MessageRetentionPeriod": "345600"})
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "sns.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": queue_arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": topic_arns}},
            }
        ],
    }
    clients.sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"Policy": json.dumps(policy)})
    for arn in topic_arns:
        clients.sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn)
    return queue_url, dead_letter_url


def _queue(clients: Clients, name: str, attributes: dict[str, str]) -> tuple[str, str]:
    url = clients.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]  # type: ignore[arg-type]
    arn = clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return url, arn


def _identity(clients: Clients) -> None:
    # SES lets a domain's subdomains send as well; not every emulator does.
    for domain in MAIL_DOMAINS:
        with suppress(clients.ses.exceptions.AlreadyExistsException):
            clients.ses.create_email_identity(EmailIdentity=domain)


class Store:
    """Where the door puts mail and whom it tells: the world's bucket and topic."""

    def __init__(self, world: World, clients: Clients) -> None:
        self._world = world
        self._clients = clients

    @property
    def bucket(self) -> str:
        return self._world.bucket

    @property
    def topic_arn(self) -> str:
        return self._world.topic_arn

    def put(self, key: str, data: bytes) -> None:
        self._clients.s3.put_object(Bucket=self._world.bucket, Key=key, Body=data)

    def publish(self, text: str, traceparent: str) -> None:
        self._clients.sns.publish(
            TopicArn=self._world.topic_arn,
            Message=text,
            Subject="Amazon SES Email Receipt Notification",
            MessageAttributes={"traceparent": {"DataType": "String", "StringValue": traceparent}},
        )

    def publish_odd(self, text: str, *, foreign: bool = False) -> None:
        """Tell the topic, or the foreign one, something that SES would not."""
        topic_arn = self._world.foreign_topic_arn if foreign else self._world.topic_arn
        self._clients.sns.publish(TopicArn=topic_arn, Message=text)

    def enqueue_odd(self, body: str) -> None:
        """Put something onto the queue that no topic sent."""
        self._clients.sqs.send_message(QueueUrl=self._world.queue_url, MessageBody=body)
