"""SNS of the embedded AWS: fan-out in both forms, and signatures that relayd's own verification accepts."""

import json
import uuid
from typing import Any

import pytest
import urllib3
from botocore.exceptions import ClientError

from relayd.errors import PermanentError
from relayd.wire import sns
from tests.cloud.server import EmbeddedServer


class Topic:
    """A topic with one subscribed queue."""

    def __init__(self, server: EmbeddedServer, **attributes: str) -> None:
        self.server = server
        self.arn: str = server.sns.create_topic(Name=f"t-{uuid.uuid4().hex[:12]}")["TopicArn"]
        self.url, _ = server.new_queue()
        self.subscription: str = server.sns.subscribe(
            TopicArn=self.arn,
            Protocol="sqs",
            Endpoint=server.attributes(self.url)["QueueArn"],
            Attributes=attributes,
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]

    def publish(self, message: str, **parameters: Any) -> str:
        number: str = self.server.sns.publish(TopicArn=self.arn, Message=message, **parameters)["MessageId"]
        return number

    def received(self) -> dict[str, Any]:
        [message] = self.server.sqs.receive_message(QueueUrl=self.url, MessageAttributeNames=["All"])["Messages"]
        return dict(message)


TRACE = {"traceparent": {"DataType": "String", "StringValue": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}}


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", ["Amazon SES", None])
def test_envelopes_are_signed(server: EmbeddedServer, version: str, subject: str | None) -> None:
    """Both versions verify with the certificate that the emulator serves, with and without a subject."""
    topic = Topic(server)
    server.sns.set_topic_attributes(TopicArn=topic.arn, AttributeName="SignatureVersion", AttributeValue=version)
    number = topic.publish("héllo\n{}", **({"Subject": subject} if subject else {}), MessageAttributes=TRACE)
    envelope = sns.open_envelope(topic.received()["Body"], {})
    assert envelope.text == "héllo\n{}"
    assert envelope.message_id == number
    assert envelope.topic_arn == topic.arn
    assert envelope.traceparent == TRACE["traceparent"]["StringValue"]
    assert envelope.signed is not None
    assert envelope.signed.version == version
    certificate = server.aws.certificate()
    sns.verify(envelope.signed, certificate)
    assert sns.certificate_host_allowed(envelope.signed.certificate_url, topic.arn)


def test_a_changed_envelope_does_not_verify(server: EmbeddedServer) -> None:
    """The signature is over the message."""
    topic = Topic(server)
    topic.publish("true")
    changed = topic.received()["Body"].replace('"Message": "true"', '"Message": "false"')
    signed = sns.open_envelope(changed, {}).signed
    assert signed is not None
    with pytest.raises(PermanentError, match="forged_signature"):
        sns.verify(signed, server.aws.certificate())


def test_the_certificate_lies_where_the_envelope_says(server: EmbeddedServer) -> None:
    """With its own URL, the emulator serves the certificate there and nowhere else."""
    server.aws.settings(certificate_url="own")
    topic = Topic(server)
    topic.publish("x")
    url = json.loads(topic.received()["Body"])["SigningCertURL"]
    assert url.startswith(server.endpoint + "/SimpleNotificationService-")
    assert urllib3.request("GET", url).data == server.aws.certificate()
    assert urllib3.request("GET", url.replace(".pem", "0.pem")).status == 404
    server.aws.settings(certificate_url="https://elsewhere.example/a.pem")
    topic.publish("y")
    assert json.loads(topic.received()["Body"])["SigningCertURL"] == "https://elsewhere.example/a.pem"


def test_raw_delivery_has_no_envelope(server: EmbeddedServer) -> None:
    """The message is the body, and its attributes are the queue message's own."""
    topic = Topic(server, RawMessageDelivery="true")
    topic.publish("raw", MessageAttributes=TRACE)
    message = topic.received()
    assert message["Body"] == "raw"
    assert message["MessageAttributes"]["traceparent"]["StringValue"] == TRACE["traceparent"]["StringValue"]


def test_the_form_can_be_changed(server: EmbeddedServer) -> None:
    """A subscription becomes raw when it is told to."""
    topic = Topic(server)
    server.sns.set_subscription_attributes(
        SubscriptionArn=topic.subscription, AttributeName="RawMessageDelivery", AttributeValue="true"
    )
    attributes = server.sns.get_subscription_attributes(SubscriptionArn=topic.subscription)["Attributes"]
    assert attributes["RawMessageDelivery"] == "true"
    topic.publish("raw")
    assert topic.received()["Body"] == "raw"


def test_every_subscription_gets_it(server: EmbeddedServer) -> None:
    """Fan-out: one publish reaches all queues; one that has unsubscribed gets nothing."""
    topic = Topic(server)
    other, _ = server.new_queue()
    arn = server.attributes(other)["QueueArn"]
    second = server.sns.subscribe(TopicArn=topic.arn, Protocol="sqs", Endpoint=arn)["SubscriptionArn"]
    assert server.sns.subscribe(TopicArn=topic.arn, Protocol="sqs", Endpoint=arn)["SubscriptionArn"] == second
    listed = server.sns.list_subscriptions_by_topic(TopicArn=topic.arn)["Subscriptions"]
    assert {one["SubscriptionArn"] for one in listed} == {topic.subscription, second}
    topic.publish("both")
    ours = json.loads(topic.received()["Body"])
    theirs = json.loads(server.sqs.receive_message(QueueUrl=other)["Messages"][0]["Body"])
    assert ours["MessageId"] == theirs["MessageId"]
    server.sns.unsubscribe(SubscriptionArn=second)
    topic.publish("one")
    assert "Messages" not in server.sqs.receive_message(QueueUrl=other)


def test_topics_are_made_once_and_have_attributes(server: EmbeddedServer) -> None:
    """Making a topic twice is the same topic; a deleted one is gone."""
    topic = Topic(server)
    name = topic.arn.rpartition(":")[2]
    assert server.sns.create_topic(Name=name)["TopicArn"] == topic.arn
    attributes = server.sns.get_topic_attributes(TopicArn=topic.arn)["Attributes"]
    assert attributes["SubscriptionsConfirmed"] == "1"
    assert topic.arn in [one["TopicArn"] for one in server.sns.list_topics()["Topics"]]
    server.sns.delete_topic(TopicArn=topic.arn)
    with pytest.raises(ClientError) as caught:
        topic.publish("x")
    assert caught.value.response["Error"]["Code"] == "NotFound"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


@pytest.mark.parametrize(
    "parameters",
    [
        {"Message": ""},
        {"Message": "x" * 262_145},
        {"Subject": "two\nlines"},
        {"Subject": "x" * 101},
        {"MessageAttributes": {"a": {"DataType": "String", "StringValue": ""}}},
    ],
)
def test_publishing_has_bounds(server: EmbeddedServer, parameters: dict[str, Any]) -> None:
    """Empty and too long messages, odd subjects and empty attributes are refused."""
    topic = Topic(server)
    with pytest.raises(ClientError) as caught:
        topic.publish(**{"message": parameters.pop("Message", "x"), **parameters})
    assert caught.value.response["Error"]["Code"] in ("InvalidParameter", "ParameterValueInvalid")


def test_only_what_the_emulator_has_can_be_set(server: EmbeddedServer) -> None:
    """Other protocols, attributes and ways to filter are refused rather than ignored."""
    topic = Topic(server)
    for attributes in (
        {"RawMessageDelivery": "yes"},
        {"DeliveryPolicy": "{}"},
        {"FilterPolicy": "["},
        {"FilterPolicy": '{"kind": "Received"}'},
        {"FilterPolicy": '{"kind": [{"numeric": [">", 5]}]}'},
        {"FilterPolicyScope": "Everything"},
        {"RedrivePolicy": '{"deadLetterTargetArn": "arn:aws:sns:x:1:y"}'},
    ):
        with pytest.raises(ClientError, match="InvalidParameter"):
            server.sns.subscribe(
                TopicArn=topic.arn, Protocol="sqs", Endpoint="arn:aws:sqs:x:123456789012:y", Attributes=attributes
            )
    with pytest.raises(ClientError, match="InvalidParameter"):
        server.sns.subscribe(TopicArn=topic.arn, Protocol="email", Endpoint="a@b.example")
    for name, value in (("SignatureVersion", "3"), ("Colour", "red"), ("Policy", "{")):
        with pytest.raises(ClientError, match="InvalidParameter"):
            server.sns.set_topic_attributes(TopicArn=topic.arn, AttributeName=name, AttributeValue=value)


@pytest.mark.parametrize(
    ("policy", "scope", "passes"),
    [
        ({"kind": ["Received"]}, "MessageBody", True),
        ({"kind": ["Bounce"]}, "MessageBody", False),
        ({"mail": {"source": [{"prefix": "bounce@"}]}}, "MessageBody", True),
        ({"mail": {"source": [{"anything-but": ["bounce@a.example"]}]}}, "MessageBody", False),
        ({"other": [{"exists": False}]}, "MessageBody", True),
        ({"kind": ["Received"]}, "MessageAttributes", False),
        ({"colour": ["red", "blue"]}, "MessageAttributes", True),
        ({"colour": ["red"], "size": ["large"]}, "MessageAttributes", False),
        ({}, "MessageAttributes", True),
    ],
)
def test_filters_hold_messages_back(server: EmbeddedServer, policy: Any, scope: str, passes: bool) -> None:
    """What does not fit a subscription's policy is not delivered: by the message's attributes, or by its body."""
    topic = Topic(server, FilterPolicy=json.dumps(policy), FilterPolicyScope=scope, RawMessageDelivery="true")
    attributes = {"colour": {"DataType": "String", "StringValue": "blue"}}
    topic.publish(
        json.dumps({"kind": "Received", "mail": {"source": "bounce@a.example"}}), MessageAttributes=attributes
    )
    got = server.sqs.receive_message(QueueUrl=topic.url).get("Messages", [])
    assert bool(got) is passes


def test_what_cannot_be_delivered_goes_to_the_subscriptions_dead_letters(server: EmbeddedServer) -> None:
    """A queue that is gone: with a redrive policy the message is kept, without one it is lost."""
    dead_url, _ = server.new_queue()
    policy = json.dumps({"deadLetterTargetArn": server.attributes(dead_url)["QueueArn"]})
    topic = Topic(server, RedrivePolicy=policy)
    server.sqs.delete_queue(QueueUrl=topic.url)
    topic.publish("kept")
    [message] = server.sqs.receive_message(QueueUrl=dead_url)["Messages"]
    assert json.loads(message["Body"])["Message"] == "kept"


def test_a_queue_of_another_account_must_be_confirmed(server: EmbeddedServer) -> None:
    """Until then it is listed without a name, counted as pending, and sent nothing."""
    topic = Topic(server)
    endpoint = "arn:aws:sqs:eu-west-1:999999999999:theirs"
    told = server.sns.subscribe(TopicArn=topic.arn, Protocol="sqs", Endpoint=endpoint)
    assert told["SubscriptionArn"] == "pending confirmation"
    arn = server.sns.subscribe(TopicArn=topic.arn, Protocol="sqs", Endpoint=endpoint, ReturnSubscriptionArn=True)
    attributes = server.sns.get_subscription_attributes(SubscriptionArn=arn["SubscriptionArn"])["Attributes"]
    assert attributes["PendingConfirmation"] == "true"
    listed = server.sns.list_subscriptions_by_topic(TopicArn=topic.arn)["Subscriptions"]
    assert {one["SubscriptionArn"] for one in listed} == {topic.subscription, "PendingConfirmation"}
    counts = server.sns.get_topic_attributes(TopicArn=topic.arn)["Attributes"]
    assert (counts["SubscriptionsConfirmed"], counts["SubscriptionsPending"]) == ("1", "1")
    before = server.aws.counts()["undeliverable"]
    topic.publish("x")
    assert server.aws.counts()["undeliverable"] == before


def test_a_topic_has_a_policy_from_the_start(server: EmbeddedServer) -> None:
    """Its own account may do everything, until somebody sets another policy; an empty one brings it back."""
    topic = Topic(server)

    def policy() -> Any:
        return json.loads(server.sns.get_topic_attributes(TopicArn=topic.arn)["Attributes"]["Policy"])

    [statement] = policy()["Statement"]
    assert statement["Condition"] == {"StringEquals": {"AWS:SourceOwner": "123456789012"}}
    ours = {"Version": "2012-10-17", "Statement": []}
    server.sns.set_topic_attributes(TopicArn=topic.arn, AttributeName="Policy", AttributeValue=json.dumps(ours))
    assert policy() == ours


def test_who_am_i(server: EmbeddedServer) -> None:
    """STS knows the one account."""
    assert server.sts.get_caller_identity()["Account"] == "123456789012"
