"""The doctor's dry calls against moto's server, which enforces a user's policy: our own emulator does not.

What is tried must be refused as wrong where it is allowed, and as not allowed where it is not.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.session import Session

from relayd.adapters.questions import QuestionClients
from relayd.ops.doctor.diagnosis import Diagnosis, diagnose
from relayd.ops.doctor.findings import Area, Level
from relayd.ops.doctor.gathering import Senses
from tests.contract.moto_server import _SERVER, fake_session

REGION = "us-east-1"
ALLOWED = (
    "sqs:ReceiveMessage",
    "sqs:ChangeMessageVisibility",
    "sqs:GetQueueAttributes",
    "ses:SendRawEmail",
    "ses:Send*",
)
FREE_CALLS = 9
"""What the set-up below makes before anybody's rights count."""


@pytest.fixture(scope="module")
def asking() -> Iterator[tuple[QuestionClients, dict[str, str]]]:
    """Clients of a user with few rights, and the settings."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": str(FREE_CALLS)},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        endpoint = f"http://127.0.0.1:{int(process.stdout.readline())}"
        try:
            yield _set_up(endpoint)
        finally:
            process.stdin.close()
            process.wait(timeout=10)


def _set_up(endpoint: str) -> tuple[QuestionClients, dict[str, str]]:
    admin: Any = boto3.Session(botocore_session=_session("admin", "secret"))
    sqs, s3, ses, sns, iam = (
        admin.client(name, endpoint_url=endpoint) for name in ("sqs", "s3", "sesv2", "sns", "iam")
    )
    sqs.create_queue(QueueName="dead")
    redrive = {"deadLetterTargetArn": f"arn:aws:sqs:{REGION}:123456789012:dead", "maxReceiveCount": 1000}
    url = sqs.create_queue(QueueName="mail", Attributes={"RedrivePolicy": json.dumps(redrive)})["QueueUrl"]
    s3.create_bucket(Bucket="received-mail")
    ses.create_email_identity(EmailIdentity="mask.example")
    topic = sns.create_topic(Name="mail")["TopicArn"]
    iam.create_user(UserName="relayd")
    statement = {"Effect": "Allow", "Action": [*ALLOWED, "sts:*"], "Resource": "*"}
    iam.put_user_policy(
        UserName="relayd",
        PolicyName="some",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    key = iam.create_access_key(UserName="relayd")["AccessKey"]
    sqs.send_message(QueueUrl=url, MessageBody="mail")
    settings = {
        "RELAYD_QUEUE_URL": url,
        "RELAYD_MAIL_DOMAINS": "mask.example",
        "RELAYD_TOPIC_ARNS": topic,
        "RELAYD_BUCKETS": "received-mail",
    }
    return QuestionClients(_session(key["AccessKeyId"], key["SecretAccessKey"]), endpoint=endpoint), settings


def _session(key: str, secret: str) -> Session:
    made: Any = fake_session()
    made.set_credentials(key, secret)
    made.set_config_variable("region", REGION)
    session: Session = made
    return session


@pytest.fixture(scope="module")
def diagnosis(asking: tuple[QuestionClients, dict[str, str]]) -> Diagnosis:
    clients, settings = asking
    return diagnose([Area.PERMISSIONS, Area.IDENTITY], Senses(environ=settings, clients=lambda _: clients))


def test_what_is_allowed_and_what_is_not(diagnosis: Diagnosis) -> None:
    """Right by right, as the user's policy has it."""
    found = {one.subject: one.verdict.level for one in diagnosis.findings if one.check == "permissions.needed"}
    denied = {name for name, level in found.items() if level in (Level.FAILURE, Level.WARNING)}
    assert denied == {
        "sqs:DeleteMessage mail",
        "sqs:SendMessage mail",
        "sqs:SendMessage dead",
        "sqs:GetQueueUrl dead",
        "s3:ListBucket received-mail",
    }
    allowed = {name for name, level in found.items() if level is Level.OK}
    assert {"sqs:ReceiveMessage mail", "sqs:ChangeMessageVisibility mail", "ses:SendRawEmail mask.example"} <= allowed


def test_who_asks_is_known(diagnosis: Diagnosis) -> None:
    """By the access key."""
    [found] = [one for one in diagnosis.findings if one.check == "identity.credentials"]
    assert found.verdict.evidence["Arn"] == "arn:aws:iam::123456789012:user/relayd"


def test_nothing_came_of_it(asking: tuple[QuestionClients, dict[str, str]], diagnosis: Diagnosis) -> None:
    """The one message is there, and was never received."""
    assert diagnosis.findings
    clients, settings = asking
    told = clients.client("sqs", REGION).get_queue_attributes(
        QueueUrl=settings["RELAYD_QUEUE_URL"], AttributeNames=["All"]
    )["Attributes"]
    assert told["ApproximateNumberOfMessages"] == "1"
    [message] = clients.client("sqs", REGION).receive_message(
        QueueUrl=settings["RELAYD_QUEUE_URL"], MessageSystemAttributeNames=["All"]
    )["Messages"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
