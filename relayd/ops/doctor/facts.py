"""What AWS told, and all facts together, before anybody judges. One that is not known raises UnknownError."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from relayd.adapters.questions import Answer
from relayd.ops.doctor.answers import missing, parsed, told
from relayd.ops.doctor.findings import UnknownError
from relayd.ops.doctor.local_facts import CertificateFacts, DatabaseFacts
from relayd.ops.doctor.setup import Setup

Role = Literal["mail", "events", "dead letters"]


@dataclass(frozen=True, slots=True)
class IdentityFacts:
    """Who asks."""

    caller: Answer
    source: str
    """Where the credentials come from, as botocore calls it; empty for nowhere."""
    fading: bool
    """They are temporary, and nobody renews them."""


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """A queue as AWS has it."""

    role: Role
    url: str
    region: str | None
    answer: Answer
    """To GetQueueAttributes."""
    dead_letters: "QueueFacts | None" = None
    """Where the queue's rejected messages go; None for nowhere, or where that is not known."""

    @property
    def name(self) -> str:
        return self.url.rstrip("/").rpartition("/")[2]

    @property
    def account(self) -> str:
        return self.url.rstrip("/").split("/")[-2]

    @property
    def attributes(self) -> Mapping[str, str]:
        found: Mapping[str, str] = told(self.answer).get("Attributes", {})
        return found

    @property
    def arn(self) -> str:
        return self.attributes["QueueArn"]

    @property
    def redrive(self) -> dict[str, Any]:
        return parsed(self.attributes.get("RedrivePolicy"))

    def number(self, attribute: str) -> int:
        return int(float(self.attributes.get(attribute, "0")))


@dataclass(frozen=True, slots=True)
class SubscriptionFacts:
    """One of a topic's subscriptions."""

    arn: str
    """`PendingConfirmation` until somebody confirms it."""
    protocol: str
    endpoint: str
    answer: Answer | None
    """To GetSubscriptionAttributes; None where it has no ARN yet."""

    @property
    def pending(self) -> bool:
        if not self.arn.startswith("arn:"):
            return True
        return self.attributes.get("PendingConfirmation") == "true"

    @property
    def attributes(self) -> Mapping[str, str]:
        if self.answer is None:
            return {}
        found: Mapping[str, str] = told(self.answer).get("Attributes", {})
        return found


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as AWS has it, and who listens."""

    arn: str
    answer: Answer
    """To GetTopicAttributes."""
    listed: Answer
    """To ListSubscriptionsByTopic."""
    details: Mapping[str, Answer] = field(default_factory=dict)
    """To GetSubscriptionAttributes, by ARN: of queues."""

    @property
    def name(self) -> str:
        return self.arn.rpartition(":")[2]

    @property
    def region(self) -> str:
        return self.arn.split(":")[3]

    @property
    def account(self) -> str:
        return self.arn.split(":")[4]

    @property
    def attributes(self) -> Mapping[str, str]:
        found: Mapping[str, str] = told(self.answer).get("Attributes", {})
        return found

    @property
    def subscriptions(self) -> list[SubscriptionFacts]:
        return [
            SubscriptionFacts(
                one["SubscriptionArn"], one["Protocol"], one["Endpoint"], self.details.get(one["SubscriptionArn"])
            )
            for one in told(self.listed).get("Subscriptions", ())
        ]


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """A bucket as AWS has it, and whether it can be read."""

    name: str
    region: str | None
    """Where our client asks."""
    head: Answer
    missing_key: Answer
    """To a get of a key that is not there."""
    read: Answer | None
    """To a get of one byte of a mail; None where none was seen."""
    encryption: Answer
    lifecycle: Answer
    policy: Answer
    block: Answer

    @property
    def default_encryption(self) -> tuple[str, str]:
        """How the bucket encrypts what it is given, and with which key of KMS, if it names one."""
        for rule in told(self.encryption).get("ServerSideEncryptionConfiguration", {}).get("Rules", ()):
            wanted = rule.get("ApplyServerSideEncryptionByDefault", {})
            return str(wanted.get("SSEAlgorithm", "")), str(wanted.get("KMSMasterKeyID", ""))
        return "", ""


@dataclass(frozen=True, slots=True)
class RulesFacts:
    """The receipt rules that are in force."""

    region: str | None
    answer: Answer
    idle: tuple[str, ...] = ()
    """Where no rule set is active: those that there are."""

    @property
    def set_name(self) -> str:
        """Empty where no rule set is active."""
        return str(told(self.answer).get("Metadata", {}).get("Name", ""))

    @property
    def rules(self) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = told(self.answer).get("Rules", ())
        return found


@dataclass(frozen=True, slots=True)
class SesFacts:
    """What SES has of ours: the account, the configuration set, the identities."""

    region: str | None
    account: Answer
    configuration: Answer | None
    """None where no configuration set is named."""
    destinations: Answer | None
    identities: Mapping[str, tuple[tuple[str, Answer], ...]]
    """By domain: the domain and those above it, as far as SES may cover it by them."""

    def identity(self, domain: str) -> tuple[str, Mapping[str, Any]]:
        """The identity that covers a domain: itself, or the next one above it. Raises UnknownError where none is there,
        or nobody knows.
        """
        for name, answer in self.identities.get(domain, ()):
            if not missing(answer):
                return name, told(answer)
        raise UnknownError("there is no identity for it", "see above")


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """A key of KMS."""

    key_id: str
    region: str | None
    described: Answer
    policy: Answer


@dataclass(frozen=True, slots=True)
class Trial:
    """One right that relayd needs: what a call that could not do anything came to, and what IAM's simulation says."""

    action: str
    """`sqs:DeleteMessage`."""
    resource: str
    """For people: a queue's name, a bucket's, a domain."""
    arn: str
    dry: Answer | None
    """None where there is no call that could not do anything."""


@dataclass(frozen=True, slots=True)
class RightsFacts:
    """What relayd may do."""

    trials: tuple[Trial, ...]
    simulated: Mapping[tuple[str, str], str]
    """By action and ARN: `allowed`, `implicitDeny` or `explicitDeny`. Empty where nothing could be simulated."""
    simulation: Answer | None
    """What the first simulation came to; None where nobody could be simulated."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything. A part that nobody asked for is empty."""

    setup: Setup
    now: float
    identity: IdentityFacts | None = None
    queues: tuple[QueueFacts, ...] = ()
    """The mail's and the events', without their dead-letter queues."""
    topics: tuple[TopicFacts, ...] = ()
    buckets: tuple[BucketFacts, ...] = ()
    rules: RulesFacts | None = None
    ses: SesFacts | None = None
    keys: Mapping[str, KeyFacts] = field(default_factory=dict)
    rights: RightsFacts | None = None
    database: DatabaseFacts | None = None
    certificates: CertificateFacts | None = None
    skews: Mapping[str, float] = field(default_factory=dict)
    """By service: seconds by which our clock is ahead of its."""

    @property
    def every_queue(self) -> list[QueueFacts]:
        """With their dead-letter queues; one that two share comes once."""
        found: dict[str, QueueFacts] = {}
        for queue in self.queues:
            found.setdefault(queue.url, queue)
            if queue.dead_letters is not None:
                found.setdefault(queue.dead_letters.url, queue.dead_letters)
        return list(found.values())

    @property
    def partition(self) -> str:
        """AWS, AWS in China, ...: as the topics' ARNs have it."""
        arns = self.setup.values.get("topic_arns") or ()
        return next((arn.split(":")[1] for arn in arns if arn.startswith("arn:")), "aws")

    def queue(self, role: Role) -> QueueFacts | None:
        return next((one for one in self.queues if one.role == role), None)


def is_of_aws(key_id: str) -> bool:
    """Whether a key is one that AWS manages, which no other service of AWS may use."""
    return key_id.rpartition(":")[2].startswith("alias/aws/")
