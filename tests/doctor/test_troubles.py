"""What cannot be asked: each refusal keeps only its own checks from being made, and says which right it would take."""

import json
import time
from typing import Any

import pytest
from botocore.credentials import CredentialResolver, Credentials

from relayd.adapters.aws import Timeouts
from relayd.adapters.questions import QuestionClients
from relayd.errors import HoldError
from relayd.ops.doctor.diagnosis import judge
from relayd.ops.doctor.facts import Facts
from relayd.ops.doctor.findings import Area, Level
from relayd.ops.doctor.setup import Setup
from relayd.sandbox.world import REGION, Clients
from tests.contract.moto_server import fake_session
from tests.doctor.right import ACCOUNT, DOMAIN, Right

RULES = {f"receipt.{name}" for name in ["active", "rule", "action", "order", "client-encryption", "scan"]}


@pytest.mark.parametrize(
    ("operation", "unchecked"),
    [
        ("sns:GetTopicAttributes", {"topics.exists", "topics.signature-version", "topics.encryption", "topics.policy"}),
        (
            "sns:ListSubscriptionsByTopic",
            {"topics.subscription", "topics.raw", "topics.filter", "topics.undelivered", "ses.events"},
        ),
        ("sns:GetSubscriptionAttributes", {"topics.subscription", "topics.raw", "topics.filter", "topics.undelivered"}),
        ("s3:GetBucketEncryption", {"buckets.encryption"}),
        ("s3:GetBucketLifecycleConfiguration", {"buckets.lifecycle"}),
        ("s3:GetBucketPolicy", {"buckets.policy"}),
        ("s3:GetPublicAccessBlock", {"buckets.public"}),
        ("sesv1:DescribeActiveReceiptRuleSet", {*RULES, "buckets.policy"}),
        ("ses:GetEmailIdentity", {"ses.identity", "ses.dkim", "ses.mail-from", "ses.feedback-forwarding"}),
        ("ses:GetConfigurationSet", {"ses.configuration-set", "ses.suppression", "ses.reputation", "ses.events"}),
        ("ses:GetConfigurationSetEventDestinations", {"ses.events"}),
        ("iam:SimulatePrincipalPolicy", {"permissions.excess"}),
        (
            "sts:GetCallerIdentity",
            {"identity.credentials", "identity.queue-account", "identity.topic-account", "permissions.excess"},
        ),
    ],
)
def test_a_question_that_is_denied_hides_only_its_own_checks(right: Right, operation: str, unchecked: set[str]) -> None:
    """No warning and no failure comes of it; what could not be checked names the right that is missing."""
    right.deny(operation)
    diagnosis = right.diagnose()
    assert {one.check: one.verdict.level for one in diagnosis.of(Level.WARNING, Level.FAILURE)} == {}
    found = diagnosis.of(Level.UNCHECKED)
    assert {one.check for one in found} == unchecked
    assert all(one.verdict.says for one in found)
    asked = [one for one in found if one.verdict.says.startswith("AWS does not allow ")]
    assert asked
    assert all(one.verdict.hint.startswith("allow ") for one in asked)


@pytest.mark.parametrize(
    ("operation", "check", "level"),
    [
        ("sqs:GetQueueAttributes", "permissions.needed", "failure"),
        ("sqs:ReceiveMessage", "permissions.needed", "failure"),
        ("sqs:DeleteMessage", "permissions.needed", "failure"),
        ("sqs:SendMessage", "permissions.needed", "failure"),
        ("sqs:GetQueueUrl", "permissions.needed", "failure"),
        ("s3:HeadBucket", "permissions.needed", "failure"),
        ("ses:SendEmail", "permissions.needed", "failure"),
        ("ses:GetAccount", "permissions.needed", "warning"),
    ],
)
def test_rights_that_the_daemon_needs(right: Right, operation: str, check: str, level: str) -> None:
    """Each of them is missed, with a policy to put; what they hide is not called wrong."""
    right.deny(operation)
    diagnosis = right.diagnose()
    found = diagnosis.of(Level.WARNING, Level.FAILURE)
    assert {one.check for one in found} == {check}
    assert max(one.verdict.level.value == level for one in found)
    for one in found:
        [command] = one.verdict.commands
        assert command.startswith("aws iam put-user-policy --user-name relayd --policy-name relayd-needs ")
    action = {"SendEmail": "ses:SendRawEmail", "HeadBucket": "s3:ListBucket"}.get(
        operation.partition(":")[2], operation
    )
    assert all(action in one.verdict.commands[0] for one in found)


def test_a_bucket_that_may_not_be_read(right: Right) -> None:
    """Found twice, because it is two things: objects may not be got, which is a right that is missing."""
    right.deny("s3:GetObject")
    assert right.troubles() == {"buckets.readable": "failure", "permissions.needed": "failure"}


def test_a_bucket_that_may_not_be_listed(right: Right) -> None:
    """S3 denies then what is not there, too: that says nothing of what is."""
    for operation in ("s3:HeadBucket", "s3:ListObjectsV2", "s3:GetObject"):
        right.deny(operation)
    diagnosis = right.diagnose(Area.BUCKETS, Area.PERMISSIONS)
    failed = {(one.check, one.subject) for one in diagnosis.of(Level.WARNING, Level.FAILURE)}
    assert failed == {("permissions.needed", f"s3:ListBucket {right.world.bucket}")}
    unchecked = {one.check: one.verdict for one in diagnosis.of(Level.UNCHECKED)}
    assert unchecked["buckets.readable"].hint == "allow s3:ListBucket"


def test_a_key_of_aws_by_its_number(right: Right) -> None:
    """KMS says who manages it, whatever it is called by."""
    key = right.clients.other("kms").describe_key(KeyId="alias/aws/sqs")["KeyMetadata"]["KeyId"]
    right.queue(KmsMasterKeyId=key)
    [failed] = right.diagnose(Area.QUEUES).of(Level.WARNING, Level.FAILURE)
    assert (failed.check, "the key that AWS manages" in failed.verdict.says) == ("queues.encryption", True)
    assert "SqsManagedSseEnabled" in failed.verdict.commands[0]


def test_a_key_that_may_not_be_used_to_read(right: Right) -> None:
    """KMS says no where S3 would have given the object."""
    right.aws.faults([{"operation": "s3:GetObject", "fault": "error", "status": 400, "code": "KMS.DisabledException"}])
    assert right.troubles(Area.BUCKETS) == {"buckets.readable": "failure"}


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("ExpiredToken", "have expired"),
        ("InvalidClientTokenId", "AWS refuses the credentials"),
        ("SignatureDoesNotMatch", "AWS refuses the credentials"),
    ],
)
def test_credentials_that_do_not_work(right: Right, code: str, says: str) -> None:
    """One failure; nothing that AWS was asked can be checked, and everything else is."""
    right.aws.faults([{"operation": "*", "fault": "error", "status": 403, "code": code, "message": "no"}])
    diagnosis = right.diagnose()
    [failed] = diagnosis.of(Level.WARNING, Level.FAILURE)
    assert failed.check == "identity.credentials"
    assert says in failed.verdict.says
    unchecked = {one.area for one in diagnosis.of(Level.UNCHECKED)}
    assert unchecked == {
        Area.IDENTITY,
        Area.QUEUES,
        Area.TOPICS,
        Area.BUCKETS,
        Area.RECEIPT,
        Area.SES,
        Area.PERMISSIONS,
    }
    # Even a refusal has a date.
    assert "clock.aws" in {one.check for one in diagnosis.of(Level.OK)}


def test_no_credentials(right: Right) -> None:
    """Nobody gives any out."""
    session: Any = fake_session()
    session.register_component("credential_provider", CredentialResolver([]))
    session._credentials = None
    session.set_config_variable("region", REGION)
    diagnosis = right.diagnose(clients=QuestionClients(session, endpoint=right.aws.endpoint))
    [failed] = diagnosis.of(Level.WARNING, Level.FAILURE)
    assert (failed.check, failed.verdict.says) == ("identity.credentials", "There are no AWS credentials.")


def test_aws_settings_that_cannot_be_read(right: Right) -> None:
    """A profile that does not exist: no session, and still a diagnosis."""
    diagnosis = right.diagnose(clients=QuestionClients(None))
    [failed] = diagnosis.of(Level.WARNING, Level.FAILURE)
    assert (failed.check, failed.verdict.says) == ("identity.credentials", "The AWS settings cannot be read.")
    assert {one.area for one in diagnosis.of(Level.OK)} == {Area.SETTINGS, Area.DATABASE, Area.CLOCK, Area.TOPICS}


def test_credentials_that_nobody_renews(right: Right) -> None:
    """Temporary ones out of the environment: relayd would stop with them."""
    session: Any = fake_session()
    session._credentials = Credentials("key", "secret", "token", method="env")
    session.set_config_variable("region", REGION)
    diagnosis = right.diagnose(Area.IDENTITY, clients=QuestionClients(session, endpoint=right.aws.endpoint))
    [found] = diagnosis.of(Level.WARNING, Level.FAILURE)
    assert found.check == "identity.credentials"
    assert "nobody renews" in found.verdict.says


def test_aws_that_hangs(right: Right) -> None:
    """Whoever does not answer is waited for once, and keeps only its own checks from being made."""
    right.aws.faults([{"operation": "ses:*", "fault": "hang"}])
    session = fake_session()
    session.set_config_variable("region", REGION)
    clients = QuestionClients(session, endpoint=right.aws.endpoint, timeouts=Timeouts(0.5, 0.5))
    began = time.monotonic()
    diagnosis = right.diagnose(clients=clients)
    assert time.monotonic() - began < 10
    assert diagnosis.of(Level.FAILURE, Level.WARNING) == []
    unchecked = diagnosis.of(Level.UNCHECKED)
    # Three questions went out at once; after them nobody asked SES again.
    assert right.aws.rules()[0]["struck"] == 3
    # That it may send is known from IAM's simulation.
    assert {one.area for one in unchecked} == {Area.SES}
    assert {one.verdict.says for one in unchecked if one.area is Area.SES} >= {"AWS did not answer in time"}


def test_no_time_is_left(right: Right) -> None:
    """After the deadline nothing is asked any more, and that is what is said."""
    before = right.aws.counts()["calls"]
    diagnosis = right.diagnose(seconds=0)
    assert right.aws.counts()["calls"] == before
    assert diagnosis.of(Level.FAILURE, Level.WARNING) == []
    assert "there was no time left to ask AWS for it" in {one.verdict.says for one in diagnosis.of(Level.UNCHECKED)}


def test_settings_that_are_missing(right: Right) -> None:
    """Each is a failure of its own; what does not need them is checked all the same."""
    for name in ("QUEUE_URL", "SECRET", "MAIL_DOMAINS"):
        del right.environ[f"RELAYD_{name}"]
    diagnosis = right.diagnose()
    failed = diagnosis.of(Level.FAILURE, Level.WARNING)
    assert {one.subject for one in failed if one.check == "settings.readable"} == {
        "RELAYD_QUEUE_URL",
        "RELAYD_SECRET",
        "RELAYD_MAIL_DOMAINS",
    }
    assert all(one.verdict.hint for one in failed if one.check == "settings.readable")
    said = {one.check: one.verdict.says for one in diagnosis.of(Level.UNCHECKED)}
    assert said["database.secret"] == "RELAYD_SECRET is not set, or cannot be read"
    assert said["receipt.rule"] == "RELAYD_MAIL_DOMAINS is not set, or cannot be read"
    fine = {one.check for one in diagnosis.of(Level.OK)}
    assert {"identity.credentials", "topics.signature-version", "buckets.public", "ses.sending", "clock.aws"} <= fine


def test_what_is_not_there(right: Right) -> None:
    """A queue, a topic and a bucket that nobody has made: a failure each, and no guesses about them."""
    right.environ["RELAYD_QUEUE_URL"] += "-gone"
    right.environ["RELAYD_TOPIC_ARNS"] += f",arn:aws:sns:us-east-1:{ACCOUNT}:gone"
    right.environ["RELAYD_BUCKETS"] += ",gone-bucket"
    failed = {(one.check, one.subject) for one in right.diagnose(Area.QUEUES, Area.BUCKETS).of(Level.FAILURE)}
    assert failed == {("queues.exists", "relayd-sandbox-gone"), ("buckets.exists", "gone-bucket")}
    topics = {(one.check, one.subject) for one in right.diagnose(Area.TOPICS).of(Level.FAILURE)}
    assert ("topics.exists", "gone") in topics


def test_a_queue_of_another_account(right: Right) -> None:
    """It does not answer, and its URL says why."""
    right.environ["RELAYD_QUEUE_URL"] = right.environ["RELAYD_QUEUE_URL"].replace(ACCOUNT, "210987654321")
    failed = right.diagnose(Area.IDENTITY).of(Level.FAILURE, Level.WARNING)
    assert [(one.check, one.verdict.level) for one in failed] == [("identity.queue-account", Level.FAILURE)]
    assert "210987654321" in failed[0].verdict.says


def test_a_bucket_elsewhere(right: Right) -> None:
    """Every mail would make a detour."""
    Clients(right.aws.endpoint, "eu-west-1").s3.create_bucket(
        Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    right.environ["RELAYD_BUCKETS"] = "far-away"
    found = {one.check: one.verdict for one in right.diagnose(Area.BUCKETS).of(Level.WARNING)}
    assert found["buckets.region"].commands == ("export AWS_REGION=eu-west-1",)


def test_identities_cover_what_is_below_them(right: Right) -> None:
    """SES lets a domain's subdomains send; only what has no identity up to the top is missing."""
    right.environ["RELAYD_MAIL_DOMAINS"] = f"deep.below.{DOMAIN},nowhere.test"
    found = {(one.check, one.subject): one.verdict for one in right.diagnose(Area.SES).findings}
    assert found["ses.identity", f"deep.below.{DOMAIN}"].evidence["identity"] == DOMAIN
    missing = found["ses.identity", "nowhere.test"]
    assert missing.level is Level.FAILURE
    assert missing.commands[0].startswith("aws sesv2 create-email-identity")
    assert found["ses.dkim", "nowhere.test"].level is Level.UNCHECKED


def test_notices_come_from_a_domain_that_may_send(right: Right) -> None:
    """It may be another one than the masks'."""
    right.environ["RELAYD_NOTICE_FROM"] = "noreply@notices.test"
    failed = right.diagnose(Area.SES).of(Level.FAILURE)
    assert [(one.check, one.subject) for one in failed] == [("ses.identity", "notices.test")]


def test_hosts_of_certificates(right: Right) -> None:
    """Without a pinned one SNS's host must answer, whatever it answers."""
    del right.environ["RELAYD_SNS_CERTIFICATE_FILE"]
    asked: list[str] = []

    def answering(url: str) -> bytes:
        asked.append(url)
        raise HoldError("certificates", "certificate_unavailable", "status 404", wide=False)

    def away(url: str) -> bytes:
        raise HoldError("certificates", "certificate_unavailable", "ConnectTimeoutError")

    assert [one.verdict.level for one in right.diagnose(Area.TOPICS, fetch=answering).of(Level.FAILURE)] == []
    assert asked == ["https://sns.us-east-1.amazonaws.com/SimpleNotificationService-relayd-doctor.pem"]
    [failed] = right.diagnose(Area.TOPICS, fetch=away).of(Level.FAILURE)
    assert (failed.check, failed.verdict.evidence) == (
        "topics.certificate",
        {"sns.us-east-1.amazonaws.com": "ConnectTimeoutError"},
    )


def test_events_on_the_mails_queue(right: Right) -> None:
    """The rule tells the topic of the events: mail would go to the wrong engine."""
    right.action(TopicArn=right.events.topic_arn)
    failed = right.diagnose(Area.RECEIPT).of(Level.FAILURE)
    assert {one.check for one in failed} == {"receipt.action"}
    assert "events' queue" in failed[0].verdict.says


def test_a_check_that_fails_itself_stops_no_other(right: Right) -> None:
    """An answer of AWS that nobody has seen yet: said so, with a request to report it."""
    right.environ["RELAYD_MAIL_DOMAINS"] = DOMAIN
    setup = Setup.read(right.environ)
    odd: Any = object()
    diagnosis = judge(Facts(setup, 0.0, database=odd), [Area.DATABASE, Area.SETTINGS])
    found = {one.check: one.verdict for one in diagnosis.findings}
    assert found["settings.readable"].level is Level.OK
    assert found["database.migrations"].level is Level.UNCHECKED
    assert found["database.migrations"].says == "the check itself failed (AttributeError)"


def test_a_quota_against_the_load(right: Right) -> None:
    """What SES has counted in the last day, against what it takes."""
    for number in range(8):
        right.clients.ses.send_email(
            Destination={"ToAddresses": ["success@simulator.amazonses.com"]},
            Content={"Raw": {"Data": f"From: a@{DOMAIN}\r\n\r\n{number}\r\n".encode()}},
        )
    right.aws.settings(daily_quota=10)
    [found] = right.diagnose(Area.SES).of(Level.WARNING, Level.FAILURE)
    assert (found.check, found.verdict.level) == ("ses.daily-quota", Level.WARNING)
    assert found.verdict.commands[0].endswith("--quota-code L-804C8AE8 --desired-value 1000")


def test_every_command_is_one_word_after_the_other(right: Right) -> None:
    """Names with quotes, spaces or worse cannot break out of a command line."""
    right.environ["RELAYD_CONFIGURATION_SET"] = "gone"
    right.rule(Enabled=False)
    for finding in right.diagnose().findings:
        for command in finding.verdict.commands:
            assert "\n" not in command
            json.dumps(command)
