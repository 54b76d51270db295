"""Policies, read as AWS reads them: who gets in, who does not, and of whom it cannot be said."""

import json
from typing import Any

import pytest

from relayd.ops.doctor.conditions import Truth
from relayd.ops.doctor.policies import STRANGER, Caller, Policy, service, stranger

QUEUE = "arn:aws:sqs:eu-west-1:123456789012:mail"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:mail"
OURS = service("topic", "sns.amazonaws.com", "123456789012", TOPIC)
THEIRS = service("anybody's topic", "sns.amazonaws.com", STRANGER, stranger(TOPIC))
ANYBODY = Caller("anybody")
ACCOUNT = Caller("another account", account=STRANGER)
SEND = "sqs:SendMessage"


def policy(*statements: dict[str, Any]) -> Policy:
    whole = [{"Effect": "Allow", "Principal": "*", "Action": SEND, "Resource": QUEUE, **one} for one in statements]
    return Policy.parse(json.dumps({"Version": "2012-10-17", "Statement": whole}))


@pytest.mark.parametrize(
    ("principal", "ours", "anybody", "account"),
    [
        ("*", True, True, True),
        ({"AWS": "*"}, True, True, True),
        ({"AWS": ["arn:aws:iam::123456789012:root", "*"]}, True, True, True),
        ({"Service": "sns.amazonaws.com"}, True, False, False),
        ({"Service": ["ses.amazonaws.com", "sns.amazonaws.com"]}, True, False, False),
        ({"Service": "ses.amazonaws.com"}, False, False, False),
        ({"AWS": STRANGER}, False, False, True),
        ({"AWS": f"arn:aws:iam::{STRANGER}:root"}, False, False, True),
        ({"AWS": f"arn:aws:iam::{STRANGER}:role/some"}, False, False, True),
        ({"AWS": "arn:aws:iam::123456789012:root"}, False, False, False),
        ({"Federated": "accounts.google.com"}, False, False, False),
        ({}, False, False, False),
    ],
)
def test_principals(principal: Any, ours: bool, anybody: bool, account: bool) -> None:
    """Everybody, services, accounts by number and by ARN; a role that is named stands for its account."""
    found = policy({"Principal": principal})
    answers = [found.admits(one, SEND, QUEUE) for one in (OURS, ANYBODY, ACCOUNT)]
    assert answers == [Truth.YES if one else Truth.NO for one in (ours, anybody, account)]


def test_everybody_but_one_is_nearly_everybody() -> None:
    """NotPrincipal in an Allow lets in all others; in a Deny it keeps out all others."""
    open_ = policy({})
    statement = dict(open_.statements[0])
    del statement["Principal"]
    but_one = Policy({"Statement": [statement | {"NotPrincipal": {"AWS": "123456789012"}}]})
    assert but_one.admits(ANYBODY, SEND, QUEUE) is Truth.YES
    assert but_one.admits(OURS, SEND, QUEUE) is Truth.YES
    denied = statement | {"Effect": "Deny", "NotPrincipal": {"Service": "sns.amazonaws.com"}}
    only_service = Policy({"Statement": [dict(open_.statements[0]), denied]})
    assert only_service.admits(OURS, SEND, QUEUE) is Truth.YES
    assert only_service.admits(ANYBODY, SEND, QUEUE) is Truth.NO


@pytest.mark.parametrize(
    ("action", "resource", "admitted"),
    [
        ("sqs:SendMessage", QUEUE, True),
        ("SQS:sendmessage", QUEUE, True),
        ("sqs:*", QUEUE, True),
        ("*", "*", True),
        ("sqs:Send*", "arn:aws:sqs:*:*:mail", True),
        ("sqs:Send?essage", QUEUE, True),
        (["sqs:ReceiveMessage", "sqs:SendMessage"], [QUEUE, "arn:aws:sqs:::other"], True),
        ("sqs:ReceiveMessage", QUEUE, False),
        ("sqs:SendMessage", "arn:aws:sqs:eu-west-1:123456789012:MAIL", False),
        ("sqs:SendMessageBatch", QUEUE, False),
        ("sqs:[S]endMessage", QUEUE, False),
    ],
)
def test_actions_and_resources(action: Any, resource: Any, admitted: bool) -> None:
    """Wildcards anywhere, actions in any case, resources in theirs; nothing else has a meaning."""
    found = policy({"Action": action, "Resource": resource})
    assert found.admits(ANYBODY, SEND, QUEUE) is (Truth.YES if admitted else Truth.NO)


def test_the_rest_of_the_actions() -> None:
    """NotAction and NotResource are everything else."""
    statement = dict(policy({}).statements[0])
    not_action = {name: value for name, value in statement.items() if name != "Action"} | {"NotAction": "sqs:Receive*"}
    assert Policy({"Statement": not_action}).admits(ANYBODY, SEND, QUEUE) is Truth.YES
    not_resource = {name: value for name, value in statement.items() if name != "Resource"} | {"NotResource": QUEUE}
    assert Policy({"Statement": not_resource}).admits(ANYBODY, SEND, QUEUE) is Truth.NO


SOURCE = "aws:SourceArn"


@pytest.mark.parametrize(
    ("condition", "ours", "theirs"),
    [
        ({"ArnEquals": {SOURCE: TOPIC}}, Truth.YES, Truth.NO),
        ({"ArnLike": {SOURCE: "arn:aws:sns:*:123456789012:*"}}, Truth.YES, Truth.NO),
        ({"ArnLike": {SOURCE: "arn:aws:sns:*:*:mail"}}, Truth.YES, Truth.YES),
        # Part by part: the star of the region does not swallow the account.
        ({"ArnLike": {SOURCE: "arn:aws:sns:*:mail"}}, Truth.NO, Truth.NO),
        ({"StringLike": {SOURCE: "arn:aws:sns:*:mail"}}, Truth.YES, Truth.YES),
        ({"StringEquals": {SOURCE: "arn:aws:sns:*"}}, Truth.NO, Truth.NO),
        ({"StringEquals": {"AWS:SOURCEARN": [TOPIC, "another"]}}, Truth.YES, Truth.NO),
        ({"StringEqualsIgnoreCase": {SOURCE: TOPIC.upper()}}, Truth.YES, Truth.NO),
        ({"ForAnyValue:StringEquals": {SOURCE: TOPIC}}, Truth.YES, Truth.NO),
        ({"StringEquals": {"aws:SourceAccount": "123456789012"}}, Truth.YES, Truth.NO),
        ({"StringEquals": {"AWS:SourceOwner": "123456789012"}}, Truth.YES, Truth.NO),
        ({"ArnNotLike": {SOURCE: "arn:aws:sns:*:123456789012:*"}}, Truth.NO, Truth.YES),
        ({"StringNotEquals": {"aws:SourceAccount": STRANGER}}, Truth.YES, Truth.NO),
        ({"Bool": {"aws:SecureTransport": "true"}}, Truth.YES, Truth.YES),
        ({"Bool": {"aws:SecureTransport": False}}, Truth.NO, Truth.NO),
        ({"Null": {SOURCE: "true"}}, Truth.NO, Truth.NO),
        ({"Null": {"aws:SourceVpc": "true"}}, Truth.YES, Truth.YES),
        # What a service's call does not carry fits nothing, unless it need not be there.
        ({"StringEquals": {"aws:PrincipalOrgID": "o-1"}}, Truth.NO, Truth.NO),
        ({"StringEqualsIfExists": {"aws:PrincipalOrgID": "o-1"}}, Truth.YES, Truth.YES),
        ({"StringNotEquals": {"aws:SourceVpce": "vpce-1"}}, Truth.YES, Truth.YES),
        ({"ForAllValues:StringEquals": {"aws:PrincipalOrgID": "o-1"}}, Truth.YES, Truth.YES),
        # All operators, and all of their keys.
        ({"ArnEquals": {SOURCE: TOPIC}, "StringEquals": {"aws:SourceAccount": STRANGER}}, Truth.NO, Truth.NO),
        ({"StringEquals": {SOURCE: TOPIC, "aws:SourceAccount": "123456789012"}}, Truth.YES, Truth.NO),
        # Who can say?
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, Truth.PERHAPS, Truth.PERHAPS),
        ({"DateLessThan": {SOURCE: "2030-01-01"}}, Truth.PERHAPS, Truth.PERHAPS),
        ({"StringEquals": {"aws:RequestTag/x": "y"}}, Truth.PERHAPS, Truth.PERHAPS),
        ({"ArnEquals": {SOURCE: TOPIC}, "IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, Truth.PERHAPS, Truth.NO),
        ("nonsense", Truth.PERHAPS, Truth.PERHAPS),
        ({}, Truth.YES, Truth.YES),
    ],
)
def test_conditions(condition: Any, ours: Truth, theirs: Truth) -> None:
    """Every operator that this knows, for our topic and for one of a stranger; of the others nobody says anything."""
    found = policy({"Condition": condition})
    assert found.admits(OURS, SEND, QUEUE) is ours
    assert found.admits(THEIRS, SEND, QUEUE) is theirs


def test_a_denial_wins() -> None:
    """Whatever else allows it, and in whatever order; a denial that may hold makes it a perhaps."""
    allow: dict[str, Any] = {}
    deny = {"Effect": "Deny"}
    assert policy(allow, deny).admits(ANYBODY, SEND, QUEUE) is Truth.NO
    assert policy(deny, allow).admits(ANYBODY, SEND, QUEUE) is Truth.NO
    insecure = deny | {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    assert policy(allow, insecure).admits(OURS, SEND, QUEUE) is Truth.YES
    unsure = deny | {"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}
    assert policy(allow, unsure).admits(OURS, SEND, QUEUE) is Truth.PERHAPS


def test_no_policy_admits_nobody() -> None:
    """Neither none, nor an empty one; what is no policy is an error."""
    for text in (None, "", '{"Version": "2012-10-17", "Statement": []}', "{}"):
        assert Policy.parse(text).admits(ANYBODY, SEND, QUEUE) is Truth.NO
    for text in ("{", "[]", '"text"', "null"):
        with pytest.raises(ValueError):
            Policy.parse(text)


def test_a_policy_is_changed_and_not_replaced() -> None:
    """What nobody minded stays; a statement of the same name is not there twice."""
    found = policy({"Sid": "theirs"}, {"Sid": "relayd-topics"}, {"Sid": "third"})
    new = {"Sid": "relayd-topics", "Effect": "Allow"}
    changed = found.changed(without=[0], more=[new])
    assert [one["Sid"] for one in changed["Statement"]] == ["third", "relayd-topics"]
    assert changed["Statement"][1] == new
    assert changed["Version"] == "2012-10-17"


def test_who_is_named() -> None:
    """Accounts in principals, and values in conditions."""
    found = policy(
        {"Principal": {"AWS": ["111111111111", "arn:aws:iam::222222222222:role/x", "*"]}},
        {"Condition": {"ArnEquals": {"aws:SourceArn": [TOPIC, "arn:aws:sns:::b"]}}},
        {"Effect": "Deny", "Principal": {"AWS": "333333333333"}},
    )
    assert found.accounts() == ["111111111111", "222222222222"]
    assert found.mentioned("AWS:SourceArn") == [TOPIC, "arn:aws:sns:::b"]
