"""Faults that are planted one by one into a right set-up: exactly that check finds it, and its commands mend it.

A row says what is planted, which check must find it and how bad it is. What the commands do is done, by the AWS CLI of
the tests and by relayd's own commands, and then everything must be right again; rows whose faults no command can mend
say so.
"""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from relayd.adapters.database import connect
from relayd.adapters.questions import QuestionClients
from relayd.adapters.schema import meta
from relayd.adapters.versions import OLDEST
from relayd.cli import root
from relayd.ops.doctor.findings import Finding, Level
from relayd.sandbox.care import USER, rights
from relayd.sandbox.cloud.client import EmbeddedAws
from relayd.sandbox.world import Clients
from tests.doctor.aws_cli import CommandLine
from tests.doctor.right import ACCOUNT, DOMAIN, OTHER_SECRET, Right

DAY = 86_400
ROUNDS = 2
RULES = ("receipt.action", "receipt.order", "receipt.client-encryption", "receipt.scan")
"""What nobody can say of a rule that is not there."""


@dataclass(frozen=True)
class Fault:
    """One row."""

    check: str
    level: str
    plant: Callable[[Right], Any]
    mends: bool = True
    """Its commands make everything right again."""
    hides: tuple[str, ...] = ()
    """Checks that cannot be made meanwhile."""


def dead_letters(right: Right) -> str:
    return right.world.dead_letter_url


def redrive(right: Right, count: int) -> str:
    return json.dumps({"deadLetterTargetArn": right.arn(dead_letters(right)), "maxReceiveCount": count})


def open_queue(right: Right) -> None:
    """To everybody: no condition, as in many an example."""
    policy = right.policy_of()
    policy["Statement"][0] |= {"Principal": "*"}
    del policy["Statement"][0]["Condition"]
    right.queue(Policy=json.dumps(policy))


def wild_source(right: Right) -> None:
    """Any topic of anybody whose name fits."""
    policy = right.policy_of()
    policy["Statement"][0]["Condition"] = {"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:*:relayd-sandbox"}}
    right.queue(Policy=json.dumps(policy))


def wrong_source(right: Right) -> None:
    """A star in StringEquals admits nobody."""
    policy = right.policy_of()
    policy["Statement"][0]["Condition"] = {"StringEquals": {"aws:SourceArn": "arn:aws:sns:us-east-1:123456789012:*"}}
    right.queue(Policy=json.dumps(policy))


def denied_topic(right: Right) -> None:
    """Denied, though it is allowed: NotPrincipal names somebody else."""
    policy = right.policy_of()
    only = {"Effect": "Deny", "NotPrincipal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sqs:*"}
    policy["Statement"].append(only | {"Resource": "*"})
    right.queue(Policy=json.dumps(policy))


def open_topic(right: Right) -> None:
    statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "SNS:Publish", "Resource": "*"}
    right.topic("Policy", json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


def open_bucket(right: Right) -> None:
    name = right.world.bucket
    policy = json.loads(right.clients.s3.get_bucket_policy(Bucket=name)["Policy"])
    everybody = {"Effect": "Allow", "Principal": "*", "Action": "s3:Get*", "Resource": f"arn:aws:s3:::{name}/*"}
    policy["Statement"].append(everybody)
    right.clients.s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy))


def sourceless_bucket(right: Right) -> None:
    name = right.world.bucket
    policy = json.loads(right.clients.s3.get_bucket_policy(Bucket=name)["Policy"])
    del policy["Statement"][0]["Condition"]
    right.clients.s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy))


def lifecycle(right: Right, **rule: Any) -> None:
    given = {"ID": "mail", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 60}, **rule}
    s3: Any = right.clients.s3
    s3.put_bucket_lifecycle_configuration(Bucket=right.world.bucket, LifecycleConfiguration={"Rules": [given]})


def queue_key(right: Right, **key: Any) -> str:
    made: str = right.clients.other("kms").create_key(**key)["KeyMetadata"]["KeyId"]
    right.queue(KmsMasterKeyId=made)
    return made


def disabled_key(right: Right) -> None:
    key_id = queue_key(right, Policy=key_policy("sns.amazonaws.com"))
    right.clients.other("kms").disable_key(KeyId=key_id)


def bucket_key(right: Right) -> None:
    made = right.clients.other("kms").create_key()["KeyMetadata"]["Arn"]
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": made}}
    s3: Any = right.clients.s3
    s3.put_bucket_encryption(Bucket=right.world.bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})


def key_policy(host: str) -> str:
    mine = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:*", "Resource": "*"}
    theirs = {"Effect": "Allow", "Principal": {"Service": host}, "Action": ["kms:*"], "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [mine, theirs]})


def first(right: Right, action: dict[str, Any]) -> None:
    """An action before the one that stores the mail."""
    stored = {"S3Action": {"BucketName": right.world.bucket, "TopicArn": right.world.topic_arn}}
    right.rule(Actions=[action, stored])


def destination(right: Right, **changes: Any) -> None:
    name = right.events.configuration_set
    [found] = right.clients.ses.get_configuration_set_event_destinations(ConfigurationSetName=name)["EventDestinations"]
    wanted: Any = {key: found[key] for key in ("Enabled", "MatchingEventTypes", "SnsDestination")} | changes
    right.clients.ses.update_configuration_set_event_destination(
        ConfigurationSetName=name, EventDestinationName=found["Name"], EventDestination=wanted
    )


def mail_from(right: Right, behaviour: Any) -> None:
    right.clients.ses.put_email_identity_mail_from_attributes(
        EmailIdentity=DOMAIN, MailFromDomain=f"bounce.{DOMAIN}", BehaviorOnMxFailure=behaviour
    )
    right.aws.settings(mail_from_failed=[DOMAIN])


def grant_more(right: Right) -> None:
    policy = rights(right.world)
    policy["Statement"].append({"Effect": "Allow", "Action": "s3:*", "Resource": "*"})
    right.clients.other("iam").put_user_policy(UserName=USER, PolicyName="relayd", PolicyDocument=json.dumps(policy))


def explicit_deny(right: Right) -> None:
    policy = {"Effect": "Deny", "Action": "sqs:ReceiveMessage", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [policy]})
    right.clients.other("iam").put_user_policy(UserName=USER, PolicyName="never", PolicyDocument=document)


def query(right: Right, statement: Any) -> None:
    database = connect(right.database_url, pool_size=1)
    with database.writing() as connection:
        connection.execute(statement)
    database.close()


def newer_tables(right: Right, oldest: str) -> None:
    query(right, sa.text("UPDATE alembic_version SET version_num = '9999'"))
    query(right, sa.update(meta).where(meta.c.name == OLDEST).values(value=oldest))


def other_secret(right: Right) -> None:
    from relayd.telemetry.fingerprint import fingerprint

    query(right, sa.insert(meta).values(name="secret", value=fingerprint(OTHER_SECRET.encode())))


def environ(right: Right, **changes: str) -> None:
    right.environ |= {f"RELAYD_{name}": value for name, value in changes.items()}


def config_set(right: Right, call: str, **parameters: Any) -> None:
    getattr(right.clients.ses, call)(ConfigurationSetName=right.events.configuration_set, **parameters)


def certificate(right: Right, first_day: int, last_day: int) -> None:
    """One that holds between these days from now."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now + timedelta(first_day)).not_valid_after(now + timedelta(last_day))
    pem = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    (right.folder / "sns.pem").write_bytes(pem)


@pytest.fixture(scope="module")
def makes_right(
    doctors_aws: EmbeddedAws,
    question_clients: QuestionClients,
    world_clients: Clients,
    filled_database: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[], Right]:
    return lambda: Right(
        doctors_aws, tmp_path_factory.mktemp("mended"), filled_database, world_clients, question_clients
    )


_KEPT: list[Right] = []


@pytest.fixture
def mended(makes_right: Callable[[], Right]) -> Right:
    """A right set-up: the one that the test before has mended, if it has."""
    if not (_KEPT and _KEPT[-1].is_right):
        _KEPT.append(makes_right())
    _KEPT[-1].is_right = False
    return _KEPT[-1]


FAULTS: dict[str, Fault] = {
    # Settings.
    "polls that do not wait": Fault("settings.polling", "warning", lambda r: environ(r, WAIT_SECONDS="0")),
    "a grace that is too short": Fault(
        "settings.readable", "failure", lambda r: environ(r, GRACE_SECONDS="10"), mends=False, hides=("settings.grace",)
    ),
    "any topic": Fault(
        "settings.allow-lists", "warning", lambda r: environ(r, TOPIC_ARNS="*"), mends=False, hides=("ses.events",)
    ),
    # The queue.
    "a receive count that is used up in minutes": Fault(
        "queues.receives", "failure", lambda r: r.queue(RedrivePolicy=redrive(r, 5))
    ),
    "a receive count that is used up in hours": Fault(
        "queues.receives", "warning", lambda r: r.queue(RedrivePolicy=redrive(r, 100))
    ),
    "a queue that forgets in an hour": Fault(
        "queues.retention", "failure", lambda r: r.queue(MessageRetentionPeriod="3600")
    ),
    "a queue that forgets in two days": Fault(
        "queues.retention", "warning", lambda r: r.queue(MessageRetentionPeriod=str(2 * DAY))
    ),
    "dead letters that go first": Fault(
        "queues.dead-letter-retention",
        "failure",
        lambda r: r.queue(dead_letters(r), MessageRetentionPeriod=str(4 * DAY)),
    ),
    "a dead-letter queue that takes nothing": Fault(
        "queues.redrive-allowed",
        "failure",
        lambda r: r.queue(dead_letters(r), RedriveAllowPolicy='{"redrivePermission":"denyAll"}'),
    ),
    "no redrive policy": Fault("queues.dead-letters", "failure", lambda r: r.queue(RedrivePolicy="")),
    "a delay": Fault("queues.delay", "warning", lambda r: r.queue(DelaySeconds="60")),
    "small messages only": Fault("queues.size", "failure", lambda r: r.queue(MaximumMessageSize="65536")),
    "a queue open to everybody": Fault("queues.policy", "failure", open_queue),
    "a queue open to anybody's topic": Fault("queues.policy", "failure", wild_source),
    "a policy that admits nobody": Fault("queues.policy", "failure", wrong_source),
    "a policy that denies all but one": Fault("queues.policy", "failure", denied_topic),
    "a queue without encryption": Fault(
        "queues.encryption", "warning", lambda r: r.queue(SqsManagedSseEnabled="false")
    ),
    "a queue with the key of AWS": Fault(
        "queues.encryption", "failure", lambda r: r.queue(KmsMasterKeyId="alias/aws/sqs")
    ),
    "a queue with a key that SNS may not use": Fault("queues.encryption", "failure", queue_key),
    "a queue with a key that is switched off": Fault("queues.encryption", "failure", disabled_key),
    # The topic.
    "no subscription": Fault(
        "topics.subscription",
        "failure",
        lambda r: r.clients.sns.unsubscribe(SubscriptionArn=r.subscription_arn),
    ),
    "raw delivery": Fault("topics.raw", "failure", lambda r: r.subscription("RawMessageDelivery", "true")),
    "a filter by attributes": Fault(
        "topics.filter", "failure", lambda r: r.subscription("FilterPolicy", '{"kind": ["mail"]}')
    ),
    "nothing for what cannot be delivered": Fault(
        "topics.undelivered", "warning", lambda r: r.subscription("RedrivePolicy", "")
    ),
    "a dead-letter queue that SNS may not write to": Fault(
        "topics.undelivered", "warning", lambda r: r.queue(dead_letters(r), Policy="")
    ),
    "signatures with SHA-1": Fault("topics.signature-version", "warning", lambda r: r.topic("SignatureVersion", "1")),
    "a topic that anybody may publish to": Fault("topics.policy", "failure", open_topic),
    "a topic with the key of AWS": Fault(
        "topics.encryption", "failure", lambda r: r.topic("KmsMasterKeyId", "alias/aws/sns")
    ),
    "a pinned certificate that has ended": Fault(
        "topics.certificate", "failure", lambda r: certificate(r, -20, -1), mends=False
    ),
    "a pinned certificate that ends soon": Fault(
        "topics.certificate", "warning", lambda r: certificate(r, -20, 10), mends=False
    ),
    # The bucket.
    "no lifecycle": Fault(
        "buckets.lifecycle", "warning", lambda r: r.clients.s3.delete_bucket_lifecycle(Bucket=r.world.bucket)
    ),
    "a lifecycle that is too short": Fault(
        "buckets.lifecycle", "failure", lambda r: lifecycle(r, Expiration={"Days": 7})
    ),
    "mail in a glacier": Fault(
        "buckets.lifecycle", "failure", lambda r: lifecycle(r, Transitions=[{"Days": 1, "StorageClass": "GLACIER"}])
    ),
    "no bucket policy": Fault(
        "buckets.policy", "failure", lambda r: r.clients.s3.delete_bucket_policy(Bucket=r.world.bucket)
    ),
    "a bucket that everybody reads": Fault("buckets.policy", "failure", open_bucket),
    "a bucket for anybody's SES": Fault("buckets.policy", "warning", sourceless_bucket),
    "no public access block": Fault(
        "buckets.public", "warning", lambda r: r.clients.s3.delete_public_access_block(Bucket=r.world.bucket)
    ),
    "a bucket with a key that SES may not use": Fault("buckets.encryption", "failure", bucket_key),
    # Receipt rules.
    "no active rules": Fault(
        "receipt.active",
        "failure",
        lambda r: r.clients.ses_v1.set_active_receipt_rule_set(),
        hides=("receipt.rule", *RULES),
    ),
    "a rule that is switched off": Fault("receipt.rule", "failure", lambda r: r.rule(Enabled=False), hides=RULES),
    "a rule for one domain only": Fault("receipt.rule", "failure", lambda r: r.rule(Recipients=[DOMAIN]), hides=RULES),
    "a rule that tells nobody": Fault("receipt.action", "failure", lambda r: r.action(TopicArn=None)),
    "a rule that tells another topic": Fault(
        "receipt.action", "failure", lambda r: r.action(TopicArn=r.world.foreign_topic_arn), mends=False
    ),
    "client-side encryption": Fault(
        "receipt.client-encryption",
        "failure",
        lambda r: r.action(KmsKeyArn=f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1"),
    ),
    "a bounce before the mail is stored": Fault(
        "receipt.order",
        "failure",
        lambda r: first(r, {"BounceAction": {"SmtpReplyCode": "550", "Message": "no", "Sender": f"x@{DOMAIN}"}}),
    ),
    "no scan": Fault("receipt.scan", "warning", lambda r: r.rule(ScanEnabled=False)),
    # SES.
    "paused sending": Fault(
        "ses.sending", "failure", lambda r: r.clients.ses.put_account_sending_attributes(SendingEnabled=False)
    ),
    "a shutdown": Fault("ses.sending", "failure", lambda r: r.aws.settings(suspended=True), mends=False),
    "a review": Fault("ses.sending", "warning", lambda r: r.aws.settings(probation=True), mends=False),
    "the sandbox": Fault("ses.production", "failure", lambda r: r.aws.settings(sandbox=True), mends=False),
    "a quota that is used up": Fault(
        "ses.daily-quota", "failure", lambda r: r.aws.settings(daily_quota=0), mends=False
    ),
    "an unverified domain": Fault(
        "ses.identity", "failure", lambda r: r.aws.settings(unverified=[DOMAIN]), mends=False
    ),
    "no DKIM records": Fault("ses.dkim", "failure", lambda r: r.aws.settings(dkim_failed=[DOMAIN]), mends=False),
    "no signing": Fault(
        "ses.dkim",
        "failure",
        lambda r: r.clients.ses.put_email_identity_dkim_attributes(EmailIdentity=DOMAIN, SigningEnabled=False),
    ),
    "a MAIL FROM without MX": Fault(
        "ses.mail-from", "warning", lambda r: mail_from(r, "USE_DEFAULT_VALUE"), mends=False
    ),
    "a MAIL FROM without MX that stops sending": Fault(
        "ses.mail-from", "failure", lambda r: mail_from(r, "REJECT_MESSAGE"), mends=False
    ),
    "bounces by mail": Fault(
        "ses.feedback-forwarding",
        "warning",
        lambda r: r.clients.ses.put_email_identity_feedback_attributes(
            EmailIdentity=DOMAIN, EmailForwardingEnabled=True
        ),
    ),
    "a configuration set that is not there": Fault(
        "ses.configuration-set",
        "failure",
        lambda r: environ(r, CONFIGURATION_SET="elsewhere"),
        mends=False,
        hides=("ses.suppression", "ses.reputation", "ses.events"),
    ),
    "a configuration set that is paused": Fault(
        "ses.configuration-set",
        "failure",
        lambda r: config_set(r, "put_configuration_set_sending_options", SendingEnabled=False),
    ),
    "suppression": Fault(
        "ses.suppression",
        "failure",
        lambda r: config_set(r, "put_configuration_set_suppression_options", SuppressedReasons=["BOUNCE"]),
    ),
    "no reputation metrics": Fault(
        "ses.reputation",
        "warning",
        lambda r: config_set(r, "put_configuration_set_reputation_options", ReputationMetricsEnabled=False),
    ),
    "events that are not told": Fault(
        "ses.events", "failure", lambda r: destination(r, MatchingEventTypes=["SEND", "DELIVERY"])
    ),
    "a destination that is switched off": Fault("ses.events", "failure", lambda r: destination(r, Enabled=False)),
    "no events queue": Fault(
        "ses.events",
        "warning",
        lambda r: r.environ.pop("RELAYD_EVENTS_QUEUE_URL"),
        mends=False,
        hides=("topics.subscription",),
    ),
    # Rights.
    "a right that is missing": Fault(
        "permissions.needed", "failure", lambda r: r.deny("sqs:ChangeMessageVisibility"), mends=False
    ),
    "a right that is denied": Fault("permissions.needed", "failure", explicit_deny, mends=False),
    "rights that are too much": Fault("permissions.excess", "warning", grant_more),
    # The database.
    "another deployment's secret": Fault("database.secret", "failure", other_secret, mends=False),
    "a domain without masks": Fault(
        "database.domain",
        "warning",
        lambda r: query(r, sa.text("UPDATE masks SET removed_at = 1 WHERE address LIKE 'shop@%'")),
    ),
    "masks on no domain of ours": Fault(
        "database.foreign-domains", "warning", lambda r: r.add_masks("a@elsewhere.example"), mends=False
    ),
    "tables of a newer relayd": Fault(
        "database.migrations",
        "failure",
        lambda r: newer_tables(r, oldest="9999"),
        mends=False,
    ),
    "tables of a newer relayd that still serve": Fault(
        "database.migrations", "warning", lambda r: newer_tables(r, oldest="0003"), mends=False
    ),
    "two replicas on one file": Fault(
        "database.replicas",
        "failure",
        lambda r: query(r, sa.text("INSERT INTO replicas SELECT 'r' || value, 0, 4e9, '{}' FROM json_each('[1,2]')")),
        mends=False,
    ),
    # The clock.
    "a clock that is slow": Fault("clock.aws", "failure", lambda r: setattr(r, "now_ahead", -600), mends=False),
    "a clock that is a minute fast": Fault("clock.aws", "warning", lambda r: setattr(r, "now_ahead", 60)),
}


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if not fault.mends])
def test_a_fault_is_found_where_it_is(right: Right, name: str) -> None:
    """One check alone says so, with what was read and what to do."""
    found_alone(right, FAULTS[name])


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.mends])
def test_what_is_said_mends_it(mended: Right, name: str) -> None:
    """One check alone says so, and doing what it says, to the letter, makes everything right again."""
    found = found_alone(mended, FAULTS[name])
    # What is mended may let another check see what it missed before.
    for _ in range(ROUNDS):
        mend(mended, found)
        found = [one for one in mended.diagnose().findings if one.verdict.level is not Level.OK]
        if not found:
            break
    assert [one.verdict for one in found] == []
    mended.is_right = True


def shared_key(right: Right) -> None:
    """One key for all, which lets nobody use it."""
    made = right.clients.other("kms").create_key()["KeyMetadata"]["Arn"]
    right.queue(KmsMasterKeyId=made)
    right.topic("KmsMasterKeyId", made)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": made}}
    s3: Any = right.clients.s3
    s3.put_bucket_encryption(Bucket=right.world.bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})


def shared_dead_letters(right: Right) -> None:
    """Both queues have the same, which lets no topic in."""
    right.queue(right.events.queue_url, RedrivePolicy=redrive(right, 1000))
    sns = right.clients.sns
    [found] = sns.list_subscriptions_by_topic(TopicArn=right.events.topic_arn)["Subscriptions"]
    target = json.dumps({"deadLetterTargetArn": right.arn(dead_letters(right))})
    sns.set_subscription_attributes(
        SubscriptionArn=found["SubscriptionArn"], AttributeName="RedrivePolicy", AttributeValue=target
    )
    right.queue(dead_letters(right), Policy="")


SEVERAL: dict[str, list[Callable[[Right], Any]]] = {
    "of one receipt rule": [
        lambda r: r.rule(
            ScanEnabled=False,
            Actions=[
                {"StopAction": {"Scope": "RuleSet"}},
                {"S3Action": {"BucketName": r.world.bucket, "KmsKeyArn": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1"}},
            ],
        )
    ],
    "of one key": [shared_key],
    "of one dead-letter queue": [shared_dead_letters],
    "of two queues": [open_queue, lambda r: r.queue(r.events.queue_url, Policy="")],
}


@pytest.mark.parametrize("name", SEVERAL)
def test_no_command_takes_away_what_another_has_mended(right: Right, name: str) -> None:
    """Several faults of one thing, all of the commands one after the other, in whatever order: everything is right."""
    for plant in SEVERAL[name]:
        plant(right)
    found = right.diagnose().of(Level.WARNING, Level.FAILURE)
    assert len(found) > 1
    mend(right, found[::-1])
    assert right.troubles() == {}


def found_alone(right: Right, fault: Fault) -> list[Finding]:
    """Plant it, and look: one check finds it."""
    fault.plant(right)
    diagnosis = right.diagnose()
    found = [one for one in diagnosis.findings if one.verdict.level in (Level.WARNING, Level.FAILURE)]
    assert {one.check: one.verdict.level.value for one in found} == {fault.check: fault.level}
    assert {one.check for one in diagnosis.of(Level.UNCHECKED)} == set(fault.hides)
    for one in found:
        assert one.verdict.says.endswith((".", ")"))
        assert one.verdict.commands or one.verdict.hint
    return found


def mend(right: Right, findings: list[Finding]) -> None:
    """Do what is said, as it is said."""
    command_line = CommandLine(right.clients.other)
    for line in dict.fromkeys(line for one in findings for line in one.verdict.commands):
        if line.startswith("aws "):
            command_line.run(line)
        elif line.startswith("export "):
            name, _, value = shlex.split(line)[1].partition("=")
            right.environ[name] = value
        elif line.startswith("relayd "):
            words = ["me@owner.example" if word == "YOU@EXAMPLE.ORG" else word for word in shlex.split(line)[1:]]
            if "masks" in words:
                words[2] = f"other@{words[2].partition('@')[2]}"
            result = CliRunner().invoke(root, words, env=right.environ)
            assert result.exit_code == 0, result.output
        elif line == "timedatectl set-ntp true":
            right.now_ahead = 0
        else:
            raise AssertionError(f"nobody can run this: {line}")
