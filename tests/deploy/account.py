"""An account of moto's in which IAM decides, stacks of the template in it, and roles with one policy each."""

import itertools
import json
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from relayd.adapters.database import connect, upgrade
from relayd.model.address import Address
from relayd.ops.masks import add_mask
from relayd.sandbox.receiving import Receiving
from tests.deploy.deploying import Emulated, deploy, emulated_session
from tests.deploy.enforcing import EnforcingMoto
from tests.deploy.template import REGION, Stack, load, resolve
from tests.wire.events import bounce, event

ROOT = Path(__file__).parent.parent.parent
TEMPLATE = ROOT / "deploy" / "aws" / "relayd.yaml"
DOMAIN = "mask.example"
SECRET = "8f2c1d7e90ab4365f1e2d3c4b5a69788"
MASK = f"shop@{DOMAIN}"
OWNER = "me@owner.example"
MAIL = (
    b"From: Shop <news@stranger.example>\r\nTo: shop@mask.example\r\nSubject: hello\r\n"
    b"Message-ID: <mail@stranger.example>\r\nMIME-Version: 1.0\r\n\r\nhello\r\n"
)
NOT_ASKED = ("AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy", "AWS::SQS::QueuePolicy")
"""moto keeps these and asks nobody."""
NOT_USED = (
    "AWS::SES::ConfigurationSet",
    "AWS::SES::ConfigurationSetEventDestination",
    "AWS::SES::EmailIdentity",
    "AWS::SES::ReceiptRule",
    "AWS::SES::ReceiptRuleSet",
)
"""moto sends without configuration sets, and receives no mail; the identity is the same for all stacks."""

_numbers = itertools.count(1)


class Account:
    """The account. Everything here but the roles is made by an administrator."""

    def __init__(self, moto: EnforcingMoto, folder: Path) -> None:
        self.moto = moto
        self._folder = folder
        anybody = Emulated(moto.endpoint)("iam")
        anybody.create_user(UserName="admin")
        everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        anybody.put_user_policy(UserName="admin", PolicyName="all", PolicyDocument=policy_text([everything]))
        key = anybody.create_access_key(UserName="admin")["AccessKey"]
        self.admin = Emulated(moto.endpoint, emulated_session(key["AccessKeyId"], key["SecretAccessKey"]))
        self.admin("sesv2").create_email_identity(EmailIdentity=DOMAIN)
        # moto is slow the first time that anybody speaks to a service.
        self.admin("sesv2").send_email(
            FromEmailAddress=f"admin@{DOMAIN}",
            Destination={"ToAddresses": [OWNER]},
            Content={"Raw": {"Data": b"Subject: hello\r\n\r\nhello\r\n"}},
        )
        moto.enforce()

    def role(self, policy: Mapping[str, Any]) -> dict[str, str]:
        """Credentials, as environment variables, of a new role that may do what this policy says and nothing else."""
        name = f"role-{next(_numbers)}"
        iam = self.admin("iam")
        trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy_text([trust]))["Role"]["Arn"]
        iam.put_role_policy(RoleName=name, PolicyName="only", PolicyDocument=json.dumps(policy))
        made = self.admin("sts").assume_role(RoleArn=arn, RoleSessionName="relayd")["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
            "AWS_SESSION_TOKEN": made["SessionToken"],
        }

    @cached_property
    def database(self) -> Path:
        """One with a mask in it, to be copied."""
        path = self._folder / "template.sqlite"
        database = connect(f"sqlite:///{path}", pool_size=1)
        try:
            upgrade(database)
            add_mask(database, Address.parse(MASK), [Address.parse(OWNER)])
        finally:
            database.close()
        return path


class World:
    """A stack of the template that has been made in the account, and mail that comes in there."""

    def __init__(self, account: Account, folder: Path, **parameters: str) -> None:
        number = next(_numbers)
        self.account = account
        self.folder = folder
        self.stack = template_stack(f"relayd{number}", BucketName=f"mail-{number}", **parameters)
        deploy(self.stack, account.admin, without=(*NOT_ASKED, *NOT_USED))
        self.database = folder / "relayd.sqlite"
        shutil.copyfile(account.database, self.database)
        self._receiving = Receiving(self)

    @property
    def environment(self) -> dict[str, str]:
        """Settings for a daemon: the stack's outputs, and what a test wants to be quick."""
        return dict(self.stack.settings) | {
            "AWS_ENDPOINT_URL": self.account.moto.endpoint,
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "RELAYD_DATABASE_URL": f"sqlite:///{self.database}",
            "RELAYD_SECRET": SECRET,
            # moto signs with nothing that anybody could verify.
            "RELAYD_SIGNATURES": "trust-queue-policy",
            "RELAYD_HTTP_ADDRESS": "127.0.0.1:0",
            "RELAYD_LOG_FORMAT": "json",
            "RELAYD_CONCURRENCY": "4",
            "RELAYD_WAIT_SECONDS": "1",
            "RELAYD_SES_CONNECT_SECONDS": "1",
            "RELAYD_SES_READ_SECONDS": "3",
            "RELAYD_VISIBILITY_SECONDS": "10",
            "RELAYD_GRACE_SECONDS": "10",
        }

    @property
    def hasty(self) -> dict[str, str]:
        """The same with the shortest lease that a send may have: after half of it the Keeper extends."""
        return self.environment | {
            "RELAYD_SES_CONNECT_SECONDS": "0.1",
            "RELAYD_SES_READ_SECONDS": "0.8",
            "RELAYD_VISIBILITY_SECONDS": "6",
        }

    @property
    def bucket(self) -> str:
        return self.stack["MailBucket"].ref

    @property
    def topic_arn(self) -> str:
        return self.stack["MailTopic"].ref

    def put(self, key: str, data: bytes) -> None:
        self.account.admin("s3").put_object(Bucket=self.bucket, Key=key, Body=data)

    def publish(self, text: str, traceparent: str = "") -> None:
        self.account.admin("sns").publish(TopicArn=self.topic_arn, Message=text)

    def mail(self) -> str:
        """A mail comes in; SES's id of it."""
        return self._receiving.accept("bounce@stranger.example", (MASK,), MAIL, "127.0.0.1").mail_id

    def mail_that_is_lost(self) -> None:
        """One that SES tells of, and that is not in the bucket."""
        mail_id = self.mail()
        self.account.admin("s3").delete_object(Bucket=self.bucket, Key=mail_id)

    def nonsense(self) -> None:
        """Something that nobody can read: a dead letter."""
        self.publish("no notification at all")

    def delivered(self) -> None:
        """SES tells that a mail was delivered: nothing is to be done."""
        self._event(event("Delivery", "delivery", {"recipients": [OWNER]}))

    def bounced(self) -> None:
        """SES tells that a mail bounced for good: the mailbox is to be paused."""
        self._event(bounce(emailAddress=OWNER))

    def _event(self, told: Mapping[str, Any]) -> None:
        self.account.admin("sns").publish(TopicArn=self.stack["EventTopic"].ref, Message=json.dumps(told))

    def dead_letter(self, reason: str = "ses_rejected") -> None:
        """A mail that came in and could not be forwarded."""
        sqs, queue = self.account.admin("sqs"), self.stack["MailQueue"].ref
        self.mail()
        [message] = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5)["Messages"]
        attributes = {"relayd-reason": {"DataType": "String", "StringValue": reason}}
        url = self.stack["DeadLetters"].ref
        sqs.send_message(QueueUrl=url, MessageBody=message["Body"], MessageAttributes=attributes)
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])

    def left(self, logical_id: str) -> tuple[int, int]:
        """Messages in a queue: visible, and in flight."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.account.admin("sqs").get_queue_attributes(
            QueueUrl=self.stack[logical_id].ref, AttributeNames=names
        )
        visible, in_flight = (int(found["Attributes"][name]) for name in names)
        return visible, in_flight


def template_stack(name: str = "relayd", **parameters: str) -> Stack:
    """The template with these parameters, and others as they come to be."""
    return resolve(load(TEMPLATE), {"MailDomain": DOMAIN, "BucketName": "received-mail"} | parameters, name=name)


def policy_text(statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
