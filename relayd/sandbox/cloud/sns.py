"""SNS: topics, subscriptions of queues, and the fan-out of what is published."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from relayd.sandbox.cloud import sns_attributes, sns_filters
from relayd.sandbox.cloud import sqs_checks as checks
from relayd.sandbox.cloud.calls import ACCOUNT, Answer, Call, Refusal, element, query_answer, query_refusal
from relayd.sandbox.cloud.clock import Now, iso
from relayd.sandbox.cloud.queues import message_id
from relayd.sandbox.cloud.settings import Settings
from relayd.sandbox.cloud.signing import Signing

NAMESPACE = "http://sns.amazonaws.com/doc/2010-03-31/"
MAX_MESSAGE = 262_144

Enqueue = Callable[[str, str, Mapping[str, Any] | None], bool]
"""Puts a body and attributes into the queue with this ARN. False when there is none."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,256}")
_SUBJECT = re.compile(r"[\x20-\x7e]{1,100}")


@dataclass(slots=True)
class Subscription:
    arn: str
    topic_arn: str
    endpoint: str
    attributes: dict[str, str]

    @property
    def pending(self) -> bool:
        """Whether somebody must still confirm it: a queue of this account belongs to who subscribes it."""
        return self.endpoint.split(":")[4] != ACCOUNT


@dataclass(slots=True)
class Topic:
    arn: str
    attributes: dict[str, str]
    subscriptions: dict[str, Subscription] = field(default_factory=dict)


class Sns:
    """All topics of all regions."""

    def __init__(self, now: Now, enqueue: Enqueue, signing: Signing, settings: Settings) -> None:
        self._now = now
        self._enqueue = enqueue
        self._signing = signing
        self._settings = settings
        self._topics: dict[str, Topic] = {}
        self.undeliverable = 0
        """Deliveries to queues that do not exist."""
        self._operations: Mapping[str, Callable[[Call], Answer]] = {
            "CreateTopic": self._create,
            "DeleteTopic": self._delete,
            "ListTopics": self._list,
            "GetTopicAttributes": self._get_topic,
            "SetTopicAttributes": self._set_topic,
            "Subscribe": self._subscribe,
            "Unsubscribe": self._unsubscribe,
            "ListSubscriptionsByTopic": self._list_subscriptions,
            "GetSubscriptionAttributes": self._get_subscription,
            "SetSubscriptionAttributes": self._set_subscription,
            "Publish": self._publish,
        }

    def recognise(self, call: Call) -> None:
        if call.operation not in self._operations:
            raise Refusal("InvalidAction", f"Could not find operation {call.operation} for version 2010-03-31")
        call.resource = call.fields.get("TopicArn", call.fields.get("Name", "")).rpartition(":")[2]

    def answer(self, call: Call) -> Answer:
        return self._operations[call.operation](call)

    def refuse(self, refusal: Refusal) -> Answer:
        return query_refusal(refusal, NAMESPACE)

    def topic_exists(self, arn: str) -> bool:
        return arn in self._topics

    def publish(
        self, topic_arn: str, message: str, *, host: str, subject: str = "", attributes: Mapping[str, Any] | None = None
    ) -> str:
        """Publish to every subscribed queue, and return the message's id."""
        topic = self._topic(topic_arn)
        number = message_id()
        enveloped = ""
        for subscription in topic.subscriptions.values():
            if subscription.pending or not _wanted(subscription, message, attributes):
                continue
            if subscription.attributes.get("RawMessageDelivery") == "true":
                self._deliver(subscription, message, attributes)
            else:
                # One signature for all of them: that is where the time goes.
                enveloped = enveloped or self._envelope(topic, number, message, host, subject, attributes)
                self._deliver(subscription, enveloped, None)
        return number

    def _deliver(self, subscription: Subscription, body: str, attributes: Mapping[str, Any] | None) -> None:
        if not self._enqueue(subscription.endpoint, body, attributes):
            self.undeliverable += 1
            if dead_letters := sns_attributes.dead_letter_arn(subscription.attributes):
                self._enqueue(dead_letters, body, attributes)

    def _envelope(
        self, topic: Topic, number: str, message: str, host: str, subject: str, attributes: Mapping[str, Any] | None
    ) -> str:
        version = topic.attributes.get("SignatureVersion", "1")
        envelope: dict[str, Any] = {
            "Type": "Notification",
            "MessageId": number,
            "TopicArn": topic.arn,
            **({"Subject": subject} if subject else {}),
            "Message": message,
            "Timestamp": iso(self._now()),
            "SignatureVersion": version,
        }
        envelope["Signature"] = self._signing.sign(envelope, version)
        region = topic.arn.split(":")[3]
        own = f"http://{host}"
        aws = f"https://sns.{region}.amazonaws.com"
        base = {"own": own, "aws": aws}.get(self._settings.certificate_url)
        envelope["SigningCertURL"] = (
            self._settings.certificate_url if base is None else base + self._signing.certificate_path
        )
        envelope["UnsubscribeURL"] = f"{aws}/?Action=Unsubscribe&SubscriptionArn={topic.arn}"
        if attributes:
            envelope["MessageAttributes"] = {
                name: {"Type": value["DataType"], "Value": value.get("StringValue") or value.get("BinaryValue")}
                for name, value in attributes.items()
            }
        return json.dumps(envelope)

    def _topic(self, arn: str) -> Topic:
        found = self._topics.get(arn)
        if found is None:
            raise Refusal("NotFound", "Topic does not exist", 404)
        return found

    def _subscription(self, arn: str) -> Subscription:
        for topic in self._topics.values():
            if arn in topic.subscriptions:
                return topic.subscriptions[arn]
        raise Refusal("NotFound", "Subscription does not exist", 404)

    def _create(self, call: Call) -> Answer:
        name = call.fields.get("Name", "")
        if not _NAME.fullmatch(name):
            raise Refusal("InvalidParameter", "Invalid parameter: Topic Name")
        arn = f"arn:aws:sns:{call.region}:{ACCOUNT}:{name}"
        topic = self._topics.setdefault(arn, Topic(arn, {}))
        for attribute, value in _pairs(call.fields, "Attributes.entry", "key", "value").items():
            sns_attributes.check_topic(attribute, value)
            topic.attributes[attribute] = value
        return query_answer("CreateTopic", NAMESPACE, element("TopicArn", arn))

    def _delete(self, call: Call) -> Answer:
        self._topics.pop(call.fields.get("TopicArn", ""), None)
        return query_answer("DeleteTopic", NAMESPACE)

    def _list(self, call: Call) -> Answer:
        ours = [arn for arn in self._topics if arn.split(":")[3] == call.region]
        members = "".join(f"<member>{element('TopicArn', arn)}</member>" for arn in ours)
        return query_answer("ListTopics", NAMESPACE, f"<Topics>{members}</Topics>")

    def _get_topic(self, call: Call) -> Answer:
        topic = self._topic(call.fields.get("TopicArn", ""))
        pending = sum(one.pending for one in topic.subscriptions.values())
        facts = {
            "TopicArn": topic.arn,
            "Owner": ACCOUNT,
            "DisplayName": "",
            "Policy": sns_attributes.default_policy(topic.arn),
            "SubscriptionsConfirmed": str(len(topic.subscriptions) - pending),
            "SubscriptionsPending": str(pending),
            "SubscriptionsDeleted": "0",
        }
        return _attributes("GetTopicAttributes", facts | {name: one for name, one in topic.attributes.items() if one})

    def _set_topic(self, call: Call) -> Answer:
        topic = self._topic(call.fields.get("TopicArn", ""))
        name, value = call.fields.get("AttributeName", ""), call.fields.get("AttributeValue", "")
        sns_attributes.check_topic(name, value)
        topic.attributes[name] = value
        return query_answer("SetTopicAttributes", NAMESPACE)

    def _subscribe(self, call: Call) -> Answer:
        topic = self._topic(call.fields.get("TopicArn", ""))
        endpoint = call.fields.get("Endpoint", "")
        if call.fields.get("Protocol") != "sqs":
            raise Refusal("InvalidParameter", "Invalid parameter: Protocol (this emulator delivers to sqs only)")
        if not endpoint.startswith("arn:aws:sqs:"):
            raise Refusal("InvalidParameter", "Invalid parameter: SQS endpoint ARN")
        attributes = _pairs(call.fields, "Attributes.entry", "key", "value")
        for name, value in attributes.items():
            sns_attributes.check_subscription(name, value)
        same = [one for one in topic.subscriptions.values() if one.endpoint == endpoint]
        arn = same[0].arn if same else f"{topic.arn}:{message_id()}"
        if not same:
            topic.subscriptions[arn] = Subscription(arn, topic.arn, endpoint, attributes)
        told = call.fields.get("ReturnSubscriptionArn") == "true" or not topic.subscriptions[arn].pending
        return query_answer("Subscribe", NAMESPACE, element("SubscriptionArn", arn if told else "pending confirmation"))

    def _unsubscribe(self, call: Call) -> Answer:
        arn = call.fields.get("SubscriptionArn", "")
        for topic in self._topics.values():
            topic.subscriptions.pop(arn, None)
        return query_answer("Unsubscribe", NAMESPACE)

    def _list_subscriptions(self, call: Call) -> Answer:
        topic = self._topic(call.fields.get("TopicArn", ""))
        members = "".join(
            f"<member>{element('SubscriptionArn', 'PendingConfirmation' if one.pending else one.arn)}"
            f"{element('TopicArn', one.topic_arn)}"
            f"{element('Protocol', 'sqs')}{element('Endpoint', one.endpoint)}{element('Owner', ACCOUNT)}</member>"
            for one in topic.subscriptions.values()
        )
        return query_answer("ListSubscriptionsByTopic", NAMESPACE, f"<Subscriptions>{members}</Subscriptions>")

    def _get_subscription(self, call: Call) -> Answer:
        found = self._subscription(call.fields.get("SubscriptionArn", ""))
        facts = {"SubscriptionArn": found.arn, "TopicArn": found.topic_arn, "Endpoint": found.endpoint}
        facts |= {"Protocol": "sqs", "Owner": ACCOUNT, "RawMessageDelivery": "false"}
        facts |= {"PendingConfirmation": "true" if found.pending else "false"}
        given = {name: value for name, value in found.attributes.items() if value}
        if "FilterPolicy" in given:
            given.setdefault("FilterPolicyScope", sns_filters.SCOPES[0])
        return _attributes("GetSubscriptionAttributes", facts | given)

    def _set_subscription(self, call: Call) -> Answer:
        found = self._subscription(call.fields.get("SubscriptionArn", ""))
        name, value = call.fields.get("AttributeName", ""), call.fields.get("AttributeValue", "")
        sns_attributes.check_subscription(name, value)
        found.attributes[name] = value
        return query_answer("SetSubscriptionAttributes", NAMESPACE)

    def _publish(self, call: Call) -> Answer:
        fields = call.fields
        arn = fields.get("TopicArn") or fields.get("TargetArn") or ""
        message, subject = fields.get("Message", ""), fields.get("Subject", "")
        attributes = _message_attributes(fields)
        if not message:
            raise Refusal("InvalidParameter", "Invalid parameter: Empty message")
        if "Subject" in fields and not _SUBJECT.fullmatch(subject):
            raise Refusal("InvalidParameter", "Invalid parameter: Subject")
        try:
            checks.check_attributes(attributes)
            total = checks.size(message, attributes)
        except Refusal as refusal:
            raise Refusal("ParameterValueInvalid", refusal.text) from None
        if total > MAX_MESSAGE:
            raise Refusal("InvalidParameter", "Invalid parameter: Message too long")
        number = self.publish(arn, message, host=call.host, subject=subject, attributes=attributes or None)
        return query_answer("Publish", NAMESPACE, element("MessageId", number))


def _wanted(subscription: Subscription, message: str, attributes: Mapping[str, Any] | None) -> bool:
    policy = subscription.attributes.get("FilterPolicy", "")
    scope = subscription.attributes.get("FilterPolicyScope", sns_filters.SCOPES[0])
    return not policy or sns_filters.passes(policy, scope, message, attributes)


def _attributes(operation: str, attributes: Mapping[str, str]) -> Answer:
    entries = "".join(
        f"<entry>{element('key', name)}{element('value', value)}</entry>" for name, value in attributes.items()
    )
    return query_answer(operation, NAMESPACE, f"<Attributes>{entries}</Attributes>")


def _pairs(fields: Mapping[str, str], prefix: str, key: str, value: str) -> dict[str, str]:
    """`prefix.1.key=a&prefix.1.value=b`, ... as a dictionary."""
    found: dict[str, str] = {}
    number = 1
    while (name := fields.get(f"{prefix}.{number}.{key}")) is not None:
        found[name] = fields.get(f"{prefix}.{number}.{value}", "")
        number += 1
    return found


def _message_attributes(fields: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    number = 1
    while (name := fields.get(f"MessageAttributes.entry.{number}.Name")) is not None:
        start = f"MessageAttributes.entry.{number}.Value."
        kinds = ("DataType", "StringValue", "BinaryValue")
        found[name] = {kind: fields[start + kind] for kind in kinds if start + kind in fields}
        number += 1
    return found
