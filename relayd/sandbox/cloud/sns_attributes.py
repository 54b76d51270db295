"""What can be set on topics and subscriptions, and what they have before anybody does."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from relayd.sandbox.cloud import sns_filters
from relayd.sandbox.cloud.calls import ACCOUNT, Refusal

TOPIC = frozenset({"DisplayName", "Policy", "DeliveryPolicy", "KmsMasterKeyId", "SignatureVersion", "TracingConfig"})
"""Of a standard topic."""

_DEFAULT_ACTIONS = (
    "GetTopicAttributes SetTopicAttributes AddPermission RemovePermission DeleteTopic Subscribe "
    "ListSubscriptionsByTopic Publish"
)


def default_policy(arn: str) -> str:
    """Of a topic that was made without one: its account may do everything."""
    statement = {
        "Sid": "__default_statement_ID",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": [f"SNS:{name}" for name in _DEFAULT_ACTIONS.split()],
        "Resource": arn,
        "Condition": {"StringEquals": {"AWS:SourceOwner": ACCOUNT}},
    }
    return json.dumps({"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]})


def check_topic(name: str, value: str) -> None:
    """Raises Refusal for what a topic does not have."""
    if name not in TOPIC:
        raise Refusal("InvalidParameter", "Invalid parameter: AttributeName")
    if name == "SignatureVersion" and value not in {"1", "2"}:
        raise Refusal("InvalidParameter", "Invalid parameter: SignatureVersion")
    if name in {"Policy", "DeliveryPolicy"} and value:
        _object(name, value)


def check_subscription(name: str, value: str) -> None:
    """Raises Refusal for what a subscription does not have, or this emulator does not know."""
    check = _SUBSCRIPTION.get(name)
    if check is None:
        raise Refusal("InvalidParameter", f"Invalid parameter: AttributeName ({name} is not part of this emulator)")
    check(value)


def dead_letter_arn(attributes: Mapping[str, str]) -> str:
    """Where a subscription's undeliverable messages go; empty for nowhere."""
    text = attributes.get("RedrivePolicy", "")
    return str(json.loads(text)["deadLetterTargetArn"]) if text else ""


def _raw(value: str) -> None:
    if value not in {"true", "false"}:
        raise Refusal("InvalidParameter", "Invalid parameter: Attributes Reason: RawMessageDelivery: Invalid value")


def _scope(value: str) -> None:
    if value not in sns_filters.SCOPES:
        text = "Invalid parameter: FilterPolicyScope: Invalid value. Please use either MessageBody or MessageAttributes"
        raise Refusal("InvalidParameter", text)


def _redrive(value: str) -> None:
    if not value:
        return
    target = _object("RedrivePolicy", value).get("deadLetterTargetArn")
    if not isinstance(target, str) or not target.startswith("arn:aws:sqs:"):
        text = "Invalid parameter: RedrivePolicy: deadLetterTargetArn is an invalid arn"
        raise Refusal("InvalidParameter", text)


def _object(name: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Refusal("InvalidParameter", f"Invalid parameter: {name}: failed to parse JSON.")
    return value


_SUBSCRIPTION: Mapping[str, Callable[[str], None]] = {
    "RawMessageDelivery": _raw,
    "FilterPolicy": sns_filters.check,
    "FilterPolicyScope": _scope,
    "RedrivePolicy": _redrive,
}
