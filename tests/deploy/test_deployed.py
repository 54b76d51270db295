"""The template made in emulated AWSs: nothing is left to say for `relayd doctor`, and a mail finds its way."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jmespath
import pytest

from relayd.adapters.database import connect, upgrade
from relayd.model.address import Address
from relayd.ops.masks import add_mask
from relayd.sandbox.cloud.client import EmbeddedAws
from tests.deploy.account import MAIL, MASK, OWNER, SECRET, TEMPLATE, template_stack
from tests.deploy.deploying import Emulated, deploy
from tests.deploy.nursery import Nursery
from tests.deploy.rights import grants
from tests.deploy.template import REGION, Stack, load
from tests.deploy.tools import tool

pytestmark = pytest.mark.process

README = TEMPLATE.parent / "README.md"


@pytest.fixture(scope="module")
def embedded_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    log = tmp_path_factory.mktemp("aws") / "aws.log"
    aws = EmbeddedAws(log)
    yield aws
    aws.stop()
    # It writes only when it has met something that it did not foresee.
    assert log.read_text() == ""


class Deployed:
    """A stack in the embedded AWS, with its rule set active, and relayd beside it."""

    def __init__(self, embedded: EmbeddedAws, nursery: Nursery, folder: Path, stack: Stack) -> None:
        embedded.settings(certificate_url="aws")
        self.stack = stack
        self._nursery = nursery
        self._folder = folder
        self._runs = 0
        aws = Emulated(embedded.endpoint)
        deploy(stack, aws)
        aws("ses").set_active_receipt_rule_set(RuleSetName=stack.outputs["RuleSetName"])
        _grant(aws, stack)
        database, certificate = f"sqlite:///{folder / 'relayd.sqlite'}", folder / "sns.pem"
        certificate.write_bytes(embedded.certificate())
        _add_mask(database)
        self.environment = dict(stack.settings) | {
            "AWS_ENDPOINT_URL": embedded.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "RELAYD_DATABASE_URL": database,
            "RELAYD_SECRET": SECRET,
            "RELAYD_SNS_CERTIFICATE_FILE": str(certificate),
            "RELAYD_HTTP_ADDRESS": "127.0.0.1:0",
        }

    def relayd(self, *arguments: str) -> Any:
        self._runs += 1
        log = self._folder / f"relayd-{self._runs}.log"
        return self._nursery.relayd(*arguments, environment=self.environment, log=log)

    def troubles(self) -> list[tuple[str, str]]:
        """What `relayd doctor` finds that is not ok: check and text."""
        process = self.relayd("doctor", "--json")
        code, told = process.code(), json.loads(process.output())
        assert (code == 0) == (told["counts"]["failure"] == 0)
        assert told["counts"]["ok"] > 60
        return [(one["check"], one["says"]) for one in told["findings"] if one["result"] != "ok"]


def _add_mask(database_url: str) -> None:
    database = connect(database_url, pool_size=1)
    try:
        upgrade(database)
        add_mask(database, Address.parse(MASK), [Address.parse(OWNER)])
    finally:
        database.close()


def _grant(aws: Emulated, stack: Stack) -> None:
    """What its IAM is to simulate: the daemon's policy, without the condition, which it does not evaluate."""
    policy = stack["DaemonPolicy"].properties["PolicyDocument"]
    bare = [{name: value for name, value in one.items() if name != "Condition"} for one in policy["Statement"]]
    ask = {"Effect": "Allow", "Action": "iam:SimulatePrincipalPolicy", "Resource": "*"}
    for name, statements in (("daemon", bare), ("look", [ask])):
        text = json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))
        aws("iam").put_user_policy(UserName="relayd", PolicyName=name, PolicyDocument=text)


def test_the_doctor_is_content_and_mail_is_forwarded(
    embedded_aws: EmbeddedAws, nursery: Nursery, tmp_path: Path
) -> None:
    """From the receipt rule to the owner, signatures verified, and with the outputs as settings."""
    embedded_aws.reset()
    deployed = Deployed(embedded_aws, nursery, tmp_path, template_stack())
    before = embedded_aws.counts()["calls"]
    assert deployed.troubles() == []
    after = embedded_aws.counts()["calls"]
    assert_looking_is_allowed(deployed.stack, {name for name in after if after[name] > before.get(name, 0)})
    daemon = deployed.relayd("run")
    daemon.says("started")
    received = embedded_aws.receive("bounce@stranger.example", [MASK], MAIL)
    daemon.says("message_settled", outcome="accepted", reason="forwarded", mail_id=received["mail_id"])
    daemon.says("message_settled", outcome="accepted", reason="event_delivery")
    daemon.kill()
    [sent] = embedded_aws.sent()
    assert sent.recipients == (OWNER,)


def assert_looking_is_allowed(stack: Stack, called: set[str]) -> None:
    """Whoever has the daemon's and the looker's rights may ask all that the doctor asks."""
    asked = {_RIGHTS.get(name, name) for name in called} - {"sts:GetCallerIdentity"}
    look = {one.action for one in grants(stack["LookPolicy"].properties["PolicyDocument"])}
    daemon = {one.action for one in grants(stack["DaemonPolicy"].properties["PolicyDocument"])}
    assert asked - look - daemon == set()
    # What is left is for `relayd status`.
    assert look - asked == {"cloudwatch:GetMetricStatistics", "sqs:GetQueueUrl"}


_RIGHTS: Mapping[str, str] = {
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "ses:SendEmail": "ses:SendRawEmail",
    "sesv1:DescribeActiveReceiptRuleSet": "ses:DescribeActiveReceiptRuleSet",
}
"""Rights that are not called as the operation is."""


def test_with_a_key_and_the_readmes_statements_the_doctor_is_content(
    embedded_aws: EmbeddedAws, nursery: Nursery, tmp_path: Path
) -> None:
    """Bucket, topics and queues with a key of one's own; without SNS's statement in its policy, the doctor sees it."""
    embedded_aws.reset()
    kms = Emulated(embedded_aws.endpoint)("kms")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    policy = json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])
    [block] = re.findall(r"```json\n(.*?)```", README.read_text(), re.DOTALL)
    ses, sns = json.loads(block)
    policy["Statement"] += [ses, sns]
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))
    deployed = Deployed(embedded_aws, nursery, tmp_path, template_stack(KeyArn=key))
    assert deployed.troubles() == []
    policy["Statement"].remove(sns)
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))
    assert {check for check, _ in deployed.troubles()} == {"queues.encryption"}


def test_the_readmes_command_prints_the_settings() -> None:
    """Its query, on what CloudFormation answers, gives the lines of an environment file."""
    [query] = re.findall(r'--query "(Stacks\[0\].*RELAYD_.*)" > relayd.env', README.read_text())
    stack = template_stack()
    described = load(TEMPLATE)["Outputs"]
    outputs = [
        {"OutputKey": name, "OutputValue": value, "Description": described[name]["Description"]}
        for name, value in stack.outputs.items()
    ]
    rows = jmespath.search(query, {"Stacks": [{"Outputs": outputs}]})
    assert sorted(line for [line] in rows) == sorted(f"{name}={value}" for name, value in stack.settings.items())


_CREATE = """
import json, sys, warnings
warnings.simplefilter("ignore")
import boto3
from moto import mock_aws
template, parameters = json.load(sys.stdin)
def client(name): return boto3.client(name, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
with mock_aws():
    client("cloudformation").create_stack(StackName="relayd", TemplateBody=template, Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()])
    [stack] = client("cloudformation").describe_stacks(StackName="relayd")["Stacks"]
    iam, sqs = client("iam"), client("sqs")
    def document(one): return iam.get_policy_version(PolicyArn=one["Arn"], VersionId=one["DefaultVersionId"])
    policies = {one["PolicyName"].split("-")[1]: document(one)["PolicyVersion"]["Document"]
        for one in iam.list_policies(Scope="Local")["Policies"]}
    queues = {url.rpartition("/")[2]: sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        for url in sqs.list_queues()["QueueUrls"]}
    [role] = iam.list_roles()["Roles"]
    print(json.dumps({"status": stack["StackStatus"], "outputs": {one["OutputKey"]: one["OutputValue"] for one in
        stack["Outputs"]}, "policies": policies, "queues": queues, "trust": role["AssumeRolePolicyDocument"]}))
"""
"""For the environment of tools, whose moto has CloudFormation."""


def test_moto_makes_the_stack_of_it() -> None:
    """As far as moto goes: policies, queues, the role's trust and the settings are what the tests here resolve.

    (moto says CREATE_COMPLETE and has made no queue, topic or bucket policy, no subscription, no receipt rule and no
    alarm, and of buckets and queues not every property. It knows no identity, so that is left out.)
    """
    python = Path(tool("cfn-lint")).parent / "python"
    known = subprocess.run([python, "-c", "import moto.cloudformation"], capture_output=True, check=False)
    if known.returncode:
        pytest.skip("moto with CloudFormation is not installed: `make deploy-check` installs it, and runs this")
    parameters = {"MailDomain": "mask.example", "BucketName": "received-mail", "MakeIdentity": "no"}
    asked = json.dumps([TEMPLATE.read_text(), parameters])
    done = subprocess.run([python, "-c", _CREATE], input=asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made, ours = json.loads(done.stdout), template_stack(MakeIdentity="no")
    assert made["status"] == "CREATE_COMPLETE"
    for name in ("DaemonPolicy", "LookPolicy", "OperatePolicy"):
        assert made["policies"][name] == ours[name].properties["PolicyDocument"]
    assert made["trust"] == ours["Role"].properties["AssumeRolePolicyDocument"]
    for queue in ours.of_kind("AWS::SQS::Queue"):
        attributes = made["queues"][queue.properties["QueueName"]]
        for name in ("MessageRetentionPeriod", "VisibilityTimeout", "RedrivePolicy"):
            if name in queue.properties:
                assert json.loads(attributes[name]) == queue.properties[name]
    # moto leaves outputs out that refer to what it has not made.
    unknown = {"RELAYD_CONFIGURATION_SET"}
    by_name = {one["Description"]: made["outputs"].get(name) for name, one in load(TEMPLATE)["Outputs"].items()}
    assert {name: by_name[name] for name in ours.settings.keys() - unknown} == {
        name: value for name, value in ours.settings.items() if name not in unknown
    }
