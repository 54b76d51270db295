"""A set-up in which everything is right: on the embedded AWS, with a database beside it. Faults are planted in it."""

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relayd.adapters.database import connect, upgrade
from relayd.adapters.questions import QuestionClients
from relayd.model.address import Address
from relayd.ops.doctor.asking.certificates import Fetch
from relayd.ops.doctor.diagnosis import Diagnosis, diagnose
from relayd.ops.doctor.findings import Area, Finding, Level
from relayd.ops.doctor.gathering import Senses
from relayd.ops.masks import add_mask
from relayd.sandbox.care import admit, take_care
from relayd.sandbox.cloud.client import EmbeddedAws
from relayd.sandbox.world import Clients, World

DOMAIN = "mask.example"
OTHER_DOMAIN = "any.mask.example"
SECRET = "8f2c1d7e90ab4365f1e2d3c4b5a69788"
OTHER_SECRET = "11223344556677889900aabbccddeeff"
ACCOUNT = "123456789012"


class Right:
    """Everything right, and what it takes to change that."""

    def __init__(
        self, aws: EmbeddedAws, folder: Path, database: Path, clients: Clients, question_clients: QuestionClients
    ) -> None:
        """`database` has the masks, and is copied."""
        aws.reset()
        aws.settings(certificate_url="aws")
        self.aws = aws
        self.folder = folder
        self.clients = clients
        self.world = World.build(aws.endpoint, self.clients, events=True)
        take_care(self.world, self.clients)
        self.let_in_no_foreign_topic()
        shutil.copy(database, folder / "relayd.db")
        certificate = folder / "sns.pem"
        certificate.write_bytes(aws.certificate())
        events = self.world.events
        assert events is not None
        self.events = events
        self.now_ahead = 0.0
        self.is_right = True
        """For tests that share it: nothing is wrong in it."""
        self.environ = {
            "RELAYD_QUEUE_URL": self.world.queue_url,
            "RELAYD_DATABASE_URL": self.database_url,
            "RELAYD_MAIL_DOMAINS": f"{DOMAIN},{OTHER_DOMAIN}",
            "RELAYD_TOPIC_ARNS": f"{self.world.topic_arn},{events.topic_arn}",
            "RELAYD_BUCKETS": self.world.bucket,
            "RELAYD_SECRET": SECRET,
            "RELAYD_SNS_CERTIFICATE_FILE": str(certificate),
            "RELAYD_CONFIGURATION_SET": events.configuration_set,
            "RELAYD_EVENTS_QUEUE_URL": events.queue_url,
        }
        self._question_clients = question_clients

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.folder / 'relayd.db'}"

    def add_masks(self, *masks: str) -> None:
        add_masks(self.database_url, *masks)

    def let_in_no_foreign_topic(self) -> None:
        """The sandbox lets one in, on purpose."""
        condition = {"ArnEquals": {"aws:SourceArn": self.world.topic_arn}}
        policy = admit("sns.amazonaws.com", "sqs:SendMessage", self.arn(self.world.queue_url), condition)
        self.queue(Policy=json.dumps(policy))

    def queue(self, url: str | None = None, **attributes: str) -> None:
        """Set attributes of the mail's queue, or of another."""
        self.clients.sqs.set_queue_attributes(QueueUrl=url or self.world.queue_url, Attributes=attributes)  # type: ignore[arg-type]

    def topic(self, name: str, value: str, arn: str | None = None) -> None:
        """Set an attribute of the mail's topic, or of another."""
        self.clients.sns.set_topic_attributes(
            TopicArn=arn or self.world.topic_arn, AttributeName=name, AttributeValue=value
        )

    def subscription(self, name: str, value: str) -> None:
        """Set an attribute of the subscription by the mail's queue."""
        self.clients.sns.set_subscription_attributes(
            SubscriptionArn=self.subscription_arn, AttributeName=name, AttributeValue=value
        )

    @property
    def subscription_arn(self) -> str:
        [found] = self.clients.sns.list_subscriptions_by_topic(TopicArn=self.world.topic_arn)["Subscriptions"]
        return found["SubscriptionArn"]

    def rule(self, **changes: Any) -> None:
        """Change the sandbox's receipt rule."""
        ses = self.clients.ses_v1
        rule = ses.describe_receipt_rule(RuleSetName=self.world.rule_set, RuleName="mail")["Rule"]
        ses.update_receipt_rule(RuleSetName=self.world.rule_set, Rule={**rule, **changes})

    def action(self, **changes: Any) -> None:
        """Change the receipt rule's action; None takes a parameter away."""
        stored = {"BucketName": self.world.bucket, "TopicArn": self.world.topic_arn, **changes}
        self.rule(Actions=[{"S3Action": {name: value for name, value in stored.items() if value is not None}}])

    def arn(self, url: str) -> str:
        found = self.clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return found["Attributes"]["QueueArn"]

    def policy_of(self, url: str | None = None) -> dict[str, Any]:
        found = self.clients.sqs.get_queue_attributes(QueueUrl=url or self.world.queue_url, AttributeNames=["Policy"])
        policy: dict[str, Any] = json.loads(found["Attributes"]["Policy"])
        return policy

    def deny(self, operation: str, **conditions: Any) -> None:
        """From now on AWS denies the operation: `sqs:DeleteMessage`."""
        self.aws.faults(
            [
                *({k: v for k, v in one.items() if k != "struck"} for one in self.aws.rules()),
                {"operation": operation, "fault": "deny", **conditions},
            ]
        )

    def diagnose(
        self, *areas: Area, seconds: float = 20, clients: QuestionClients | None = None, fetch: Fetch | None = None
    ) -> Diagnosis:
        """Look at everything, or at some areas."""
        asking = clients or self._question_clients
        senses = Senses(
            environ=self.environ, now=lambda: time.time() + self.now_ahead, clients=lambda _: asking, fetch=fetch
        )
        return diagnose(areas or list(Area), senses, seconds)

    def troubles(self, *areas: Area) -> dict[str, str]:
        """What is not ok, by check: `failure`, `warning`, `unchecked`."""
        return told(self.diagnose(*areas).findings)


def add_masks(url: str, *masks: str) -> None:
    """Make the tables, if need be, and masks."""
    database = connect(url, pool_size=1)
    try:
        upgrade(database)
        for mask in masks:
            add_mask(database, Address.parse(mask), [Address.parse("me@owner.example")])
    finally:
        database.close()


def told(findings: Sequence[Finding]) -> dict[str, str]:
    """The findings that are not ok, by check, the worst of each."""
    order = list(Level)
    found: dict[str, str] = {}
    for finding in findings:
        level = finding.verdict.level
        if level is not Level.OK and order.index(level) > order.index(Level(found.get(finding.check, "ok"))):
            found[finding.check] = level.value
    return found
