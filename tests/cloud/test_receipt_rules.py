"""Receipt rules of SES's older API: how they are kept, told, ordered and refused."""

import uuid
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from relayd.sandbox.cloud.receipt_rules import covers
from tests.cloud.mailing import Listening
from tests.cloud.server import EmbeddedServer
from tests.contract.moto_server import fake_session


class Rules:
    """A rule set of its own, with the older API's client, a bucket and a topic."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        session: Any = boto3.Session(botocore_session=fake_session())
        config = Config(retries={"total_max_attempts": 1})
        self.ses: Any = session.client("ses", endpoint_url=server.endpoint, config=config)
        self.name = f"set-{uuid.uuid4().hex[:12]}"
        self.bucket = f"bucket-{uuid.uuid4().hex[:12]}"
        server.s3.create_bucket(Bucket=self.bucket)
        self.topic = Listening(server)
        self.ses.create_receipt_rule_set(RuleSetName=self.name)

    def action(self, **more: str) -> dict[str, Any]:
        return {"S3Action": {"BucketName": self.bucket, "TopicArn": self.topic.topic_arn, **more}}

    def create(self, name: str, *actions: dict[str, Any], after: str | None = None, **more: Any) -> None:
        rule = {"Name": name, "Enabled": True, "Actions": list(actions or [self.action()]), **more}
        self.ses.create_receipt_rule(RuleSetName=self.name, Rule=rule, **({"After": after} if after else {}))

    def described(self) -> list[dict[str, Any]]:
        rules: list[dict[str, Any]] = self.ses.describe_receipt_rule_set(RuleSetName=self.name)["Rules"]
        return rules

    def order(self) -> list[str]:
        return [rule["Name"] for rule in self.described()]


@pytest.fixture
def rules(server: EmbeddedServer) -> Rules:
    return Rules(server)


def refused(call: Any, **parameters: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as told:
        call(**parameters)
    error = told.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_rule_is_told_as_it_was_made(rules: Rules) -> None:
    """With the defaults that SES fills in."""
    actions = [
        {"AddHeaderAction": {"HeaderName": "X-One", "HeaderValue": "1 & 2"}},
        rules.action(ObjectKeyPrefix="in/"),
        {"SNSAction": {"TopicArn": rules.topic.topic_arn}},
        {"StopAction": {"Scope": "RuleSet"}},
    ]
    rules.create("first", *actions, Recipients=["mask.example", ".mask.example"], ScanEnabled=True, TlsPolicy="Require")
    rules.ses.create_receipt_rule(RuleSetName=rules.name, Rule={"Name": "bare"})
    bare, first = rules.described()
    actions[2]["SNSAction"]["Encoding"] = "UTF-8"
    assert first == {
        "Name": "first",
        "Enabled": True,
        "TlsPolicy": "Require",
        "Recipients": ["mask.example", ".mask.example"],
        "Actions": actions,
        "ScanEnabled": True,
    }
    assert (bare["Enabled"], bare["TlsPolicy"], bare["ScanEnabled"]) == (False, "Optional", False)
    assert (bare["Recipients"], bare["Actions"]) == ([], [])
    told = rules.ses.describe_receipt_rule(RuleSetName=rules.name, RuleName="first")
    assert told["Rule"] == first


def test_setting_a_rule_up_writes_to_the_bucket_and_tells_the_topic(rules: Rules) -> None:
    """SES tries both, and whoever listens must bear with it. An update tries only what is new."""
    rules.create("first", rules.action(ObjectKeyPrefix="in/"))
    [setup] = rules.topic.events(1)
    assert setup["notificationType"] == "AmazonSnsSubscriptionSucceeded"
    objects = rules.server.s3.list_objects_v2(Bucket=rules.bucket)["Contents"]
    assert [one["Key"] for one in objects] == ["in/AMAZON_SES_SETUP_NOTIFICATION"]
    rule = {"Name": "first", "Enabled": False, "Actions": [rules.action(ObjectKeyPrefix="in/")]}
    rules.ses.update_receipt_rule(RuleSetName=rules.name, Rule=rule)
    assert rules.topic.quiet()
    assert rules.described()[0]["Enabled"] is False


def test_the_order_of_rules(rules: Rules) -> None:
    """A new one comes first, unless it is said after which; and each can be moved."""
    rules.create("c")
    rules.create("a")
    rules.create("b", after="a")
    assert rules.order() == ["a", "b", "c"]
    rules.ses.update_receipt_rule(RuleSetName=rules.name, Rule={"Name": "b"})
    assert rules.order() == ["a", "b", "c"], "an update moves nothing"
    move = rules.ses.set_receipt_rule_position
    move(RuleSetName=rules.name, RuleName="c")
    assert rules.order() == ["c", "a", "b"]
    move(RuleSetName=rules.name, RuleName="c", After="a")
    assert rules.order() == ["a", "c", "b"]
    move(RuleSetName=rules.name, RuleName="c", After="c")
    assert rules.order() == ["a", "c", "b"]
    rules.ses.reorder_receipt_rule_set(RuleSetName=rules.name, RuleNames=["b", "c", "a"])
    assert rules.order() == ["b", "c", "a"]
    for wrong in (["b", "c"], ["b", "c", "c"]):
        code, _ = refused(rules.ses.reorder_receipt_rule_set, RuleSetName=rules.name, RuleNames=wrong)
        assert code == "InvalidParameterValue"
    assert refused(move, RuleSetName=rules.name, RuleName="c", After="z")[0] == "RuleDoesNotExist"
    rules.ses.delete_receipt_rule(RuleSetName=rules.name, RuleName="c")
    rules.ses.delete_receipt_rule(RuleSetName=rules.name, RuleName="c")
    assert rules.order() == ["b", "a"]


def test_one_set_is_active(rules: Rules) -> None:
    """It can be swapped for another one in a single call, and cannot be deleted. A clone has a life of its own."""
    rules.create("first")
    ses, clone = rules.ses, f"{rules.name}-b"
    ses.set_active_receipt_rule_set(RuleSetName=rules.name)
    assert ses.describe_active_receipt_rule_set()["Metadata"]["Name"] == rules.name
    ses.clone_receipt_rule_set(OriginalRuleSetName=rules.name, RuleSetName=clone)
    ses.create_receipt_rule(RuleSetName=clone, Rule={"Name": "more"})
    assert rules.order() == ["first"]
    ses.set_active_receipt_rule_set(RuleSetName=clone)
    active = ses.describe_active_receipt_rule_set()
    assert (active["Metadata"]["Name"], [rule["Name"] for rule in active["Rules"]]) == (clone, ["more", "first"])
    assert refused(ses.delete_receipt_rule_set, RuleSetName=clone)[0] == "CannotDelete"
    listed = [one["Name"] for one in ses.list_receipt_rule_sets()["RuleSets"]]
    assert {rules.name, clone} <= set(listed)
    ses.set_active_receipt_rule_set()
    assert "Metadata" not in ses.describe_active_receipt_rule_set()
    for _ in range(2):
        ses.delete_receipt_rule_set(RuleSetName=clone)
    assert refused(ses.describe_receipt_rule_set, RuleSetName=clone) == (
        "RuleSetDoesNotExist",
        f"Rule set does not exist: {clone}",
    )


def test_sets_have_names_of_their_own(rules: Rules) -> None:
    """And no two of them the same."""
    create = rules.ses.create_receipt_rule_set
    assert refused(create, RuleSetName=rules.name)[0] == "AlreadyExists"
    assert refused(create, RuleSetName="a b")[0] == "ValidationError"
    assert refused(create, RuleSetName="-a") == ("InvalidParameterValue", "Not a valid ruleSetName: -a")
    assert refused(create, RuleSetName="a" * 65)[0] == "InvalidParameterValue"
    clone = rules.ses.clone_receipt_rule_set
    assert refused(clone, RuleSetName=f"{rules.name}-b", OriginalRuleSetName="nobody")[0] == "RuleSetDoesNotExist"
    assert refused(clone, RuleSetName=rules.name, OriginalRuleSetName=rules.name)[0] == "AlreadyExists"


@pytest.mark.parametrize(
    ("rule", "code", "text"),
    [
        ({"Name": "a b"}, "ValidationError", "rule.name"),
        ({"Name": "a-"}, "InvalidParameterValue", "Not a valid ruleName: a-"),
        ({"Name": "a", "TlsPolicy": "Never"}, "ValidationError", "rule.tlsPolicy"),
        (
            {"Name": "a!", "Actions": [{"StopAction": {"Scope": "Rule"}}]},
            "ValidationError",
            "2 validation errors detected",
        ),
        (
            {"Name": "a", "Actions": [{"SNSAction": {"TopicArn": "t", "Encoding": "7bit"}}]},
            "ValidationError",
            "sNSAction",
        ),
        ({"Name": "a", "Actions": [{"SNSAction": {"TopicArn": "t"}}]}, "InvalidSnsTopic", "Invalid SNS topic: t"),
        (
            {"Name": "a", "Actions": [{"SNSAction": {"TopicArn": "arn:aws:sns:us-east-1:123456789012:none"}}]},
            "InvalidSnsTopic",
            "Could not publish",
        ),
        (
            {"Name": "a", "Actions": [{"S3Action": {"BucketName": "no-such-bucket-here"}}]},
            "InvalidS3Configuration",
            "no-such-bucket-here",
        ),
        ({"Name": "a", "Actions": [{"S3Action": {"BucketName": ""}}]}, "InvalidParameterValue", "must not be empty"),
        (
            {"Name": "a", "Actions": [{"AddHeaderAction": {"HeaderName": "a b", "HeaderValue": "x"}}]},
            "InvalidParameterValue",
            "Invalid header name: a b",
        ),
        (
            {"Name": "a", "Actions": [{"ConnectAction": {"InstanceARN": "i" * 20, "IAMRoleARN": "r" * 20}}]},
            "InvalidParameterValue",
            "not part of this emulator",
        ),
        ({"Name": "a", "Actions": [{"StopAction": {"Scope": "RuleSet"}}] * 11}, "LimitExceeded", "Too many actions"),
    ],
)
def test_what_ses_refuses(rules: Rules, rule: dict[str, Any], code: str, text: str) -> None:
    """A new rule and a changed one alike, and nothing is kept of it."""
    found, told = refused(rules.ses.create_receipt_rule, RuleSetName=rules.name, Rule=rule)
    assert (found, text in told) == (code, True), told
    assert rules.order() == []
    rules.create("a")
    found, told = refused(rules.ses.update_receipt_rule, RuleSetName=rules.name, Rule=rule)
    assert found == code or not rule["Name"].isalnum()
    assert rules.described()[0]["Actions"] == [rules.action()]


def test_a_rule_that_is_there_or_not(rules: Rules) -> None:
    """As SES tells it."""
    rules.create("a")
    create, name = rules.ses.create_receipt_rule, rules.name
    assert refused(create, RuleSetName=name, Rule={"Name": "a"}) == ("AlreadyExists", "Rule already exists: a")
    assert refused(create, RuleSetName=name, Rule={"Name": "b"}, After="z") == (
        "RuleDoesNotExist",
        "Rule does not exist: z",
    )
    assert refused(rules.ses.update_receipt_rule, RuleSetName=name, Rule={"Name": "z"})[0] == "RuleDoesNotExist"
    assert refused(rules.ses.describe_receipt_rule, RuleSetName=name, RuleName="z")[0] == "RuleDoesNotExist"
    assert refused(create, RuleSetName="nobody", Rule={"Name": "b"})[0] == "RuleSetDoesNotExist"


@pytest.mark.parametrize(
    ("condition", "address", "held"),
    [
        ("mask.example", "shop@mask.example", True),
        ("MASK.example", "Shop@Mask.Example", True),
        ("mask.example", "shop@wing.mask.example", False),
        (".mask.example", "shop@wing.mask.example", True),
        (".mask.example", "shop@mask.example", False),
        (".mask.example", "shop@notmask.example", False),
        ("shop@mask.example", "shop@mask.example", True),
        ("shop@mask.example", "shop+label@mask.example", True),
        ("shop+label@mask.example", "shop+label@mask.example", True),
        ("shop+label@mask.example", "shop@mask.example", False),
        ("shop+label@mask.example", "shop+other@mask.example", False),
        ("shop@mask.example", "other@mask.example", False),
        ("shop@mask.example", "shop@wing.mask.example", False),
    ],
)
def test_whom_a_condition_is_for(condition: str, address: str, held: bool) -> None:
    """SES: conditions of receipt rules."""
    assert covers(condition, address) is held


_labels = st.text("abc", min_size=1, max_size=3)


@given(st.lists(_labels, min_size=2, max_size=4).map(".".join), _labels)
def test_a_domain_and_what_is_below_it_are_told_apart(domain: str, local: str) -> None:
    """No address is in both, whatever its domain looks like."""
    address = f"{local}@{domain}"
    for at in range(domain.count(".") + 1):
        above = domain.split(".", at)[at]
        assert covers(above, address) + covers(f".{above}", address) == 1
