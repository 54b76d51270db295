"""The older way of telling: an identity's notification topics, set by the older API, of `notificationType` shape."""

import json
import uuid
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.cloud.mailing import Events, Listening, send, verify
from tests.cloud.server import EmbeddedServer
from tests.contract.moto_server import fake_session


class Identity:
    """A domain of its own, with the older API's client."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.name = f"{uuid.uuid4().hex[:8]}.example"
        self.server = server
        verify(server, self.name)
        session: Any = boto3.Session(botocore_session=fake_session())
        config = Config(retries={"total_max_attempts": 1})
        self.ses: Any = session.client("ses", endpoint_url=server.endpoint, config=config)

    def notify(self, kind: str, topic_arn: str | None) -> None:
        topic = {"SnsTopic": topic_arn} if topic_arn else {}
        self.ses.set_identity_notification_topic(Identity=self.name, NotificationType=kind, **topic)

    def send(self, to: str, **parameters: Any) -> str:
        sender = f"token@{self.name}"
        data = f"From: {sender}\r\nSubject: hello\r\n\r\nbody\r\n".encode()
        return send(self.server, to, data, FromEmailAddress=sender, **parameters)

    def attributes(self) -> dict[str, Any]:
        answer = self.ses.get_identity_notification_attributes(Identities=[self.name, "not-there.example"])
        assert list(answer["NotificationAttributes"]) == [self.name]
        found: dict[str, Any] = answer["NotificationAttributes"][self.name]
        return found


@pytest.fixture
def domain(server: EmbeddedServer) -> Identity:
    return Identity(server)


def test_bounces_complaints_and_deliveries_are_told(server: EmbeddedServer, domain: Identity) -> None:
    """Without a configuration set, in the older shape: no tags, and no header fields unless they were asked for."""
    topic = Listening(server)
    for kind in ("Bounce", "Complaint", "Delivery"):
        domain.notify(kind, topic.topic_arn)
        [subscribed] = topic.events(1)
        assert subscribed["notificationType"] == "AmazonSnsSubscriptionSucceeded"
        assert f"'{kind}' notifications from Amazon SES for identity '{domain.name}'" in subscribed["message"]
    tags = [{"Name": "relayd-delivery", "Value": "d-1"}]
    number = domain.send("bounce@simulator.amazonses.com", EmailTags=tags)
    [bounce] = topic.events(1)
    assert bounce["notificationType"] == "Bounce"
    assert "eventType" not in bounce
    assert bounce["bounce"]["bouncedRecipients"][0]["status"] == "5.1.1"
    assert bounce["mail"]["messageId"] == number
    assert {"tags", "headers", "commonHeaders"}.isdisjoint(bounce["mail"])
    domain.send("complaint@simulator.amazonses.com")
    assert [one["notificationType"] for one in topic.events(2)] == ["Delivery", "Complaint"]


def test_header_fields_are_told_on_request(server: EmbeddedServer, domain: Identity) -> None:
    """For the types for which that was switched on."""
    topic = Listening(server)
    domain.notify("Bounce", topic.topic_arn)
    assert len(topic.texts(1)) == 1
    enable = domain.ses.set_identity_headers_in_notifications_enabled
    enable(Identity=domain.name, NotificationType="Bounce", Enabled=True)
    assert domain.attributes()["HeadersInBounceNotificationsEnabled"]
    domain.send("bounce@simulator.amazonses.com")
    [bounce] = topic.events(1)
    assert {"name": "Subject", "value": "hello"} in bounce["mail"]["headers"]
    enable(Identity=domain.name, NotificationType="Bounce", Enabled=False)
    domain.send("bounce@simulator.amazonses.com")
    assert "headers" not in topic.events(1)[0]["mail"]


def test_both_ways_at_once(server: EmbeddedServer, domain: Identity) -> None:
    """A configuration set's events and an identity's notifications of one bounce share its feedbackId."""
    topic, events = Listening(server), Events(server, "BOUNCE")
    domain.notify("Bounce", topic.topic_arn)
    assert len(topic.texts(1)) == 1
    domain.send("bounce@simulator.amazonses.com", ConfigurationSetName=events.name)
    [notification], [event] = topic.events(1), events.events(1)
    assert notification["bounce"]["feedbackId"] == event["bounce"]["feedbackId"]


def test_the_attributes_are_told_and_can_be_taken_back(server: EmbeddedServer, domain: Identity) -> None:
    """Topics by type, forwarding by mail; a topic that is not named any more is told nothing."""
    topic = Listening(server)
    assert domain.attributes()["ForwardingEnabled"]
    domain.notify("Complaint", topic.topic_arn)
    assert len(topic.texts(1)) == 1
    assert domain.attributes()["ComplaintTopic"] == topic.topic_arn
    domain.ses.set_identity_feedback_forwarding_enabled(Identity=domain.name, ForwardingEnabled=False)
    assert not domain.attributes()["ForwardingEnabled"]
    assert not server.ses.get_email_identity(EmailIdentity=domain.name)["FeedbackForwardingStatus"]
    server.ses.put_email_identity_feedback_attributes(EmailIdentity=domain.name, EmailForwardingEnabled=True)
    assert domain.attributes()["ForwardingEnabled"]
    domain.notify("Complaint", None)
    assert "ComplaintTopic" not in domain.attributes()
    domain.send("complaint@simulator.amazonses.com")
    assert topic.quiet()


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"Identity": "not-there.example"}, "InvalidParameterValue"),
        ({"NotificationType": "Send"}, "ValidationError"),
        ({"SnsTopic": "arn:aws:sns:eu-west-1:123456789012:not-there"}, "InvalidParameterValue"),
    ],
)
def test_what_cannot_be_set(domain: Identity, parameters: dict[str, str], code: str) -> None:
    """Identities, types and topics that do not exist are refused."""
    call = {"Identity": domain.name, "NotificationType": "Bounce", **parameters}
    with pytest.raises(ClientError) as caught:
        domain.ses.set_identity_notification_topic(**call)
    assert caught.value.response["Error"]["Code"] == code
    with pytest.raises(ClientError, match="InvalidAction"):
        domain.ses.get_send_quota()


def test_the_older_api_has_faults_too(server: EmbeddedServer, domain: Identity) -> None:
    """Its operations are struck under a service name of their own."""
    for fault, code in (("deny", "AccessDenied"), ("error", "InternalFailure")):
        server.aws.faults([{"operation": "sesv1:*", "fault": fault}])
        with pytest.raises(ClientError, match=code):
            domain.notify("Bounce", None)
        server.ses.get_account()


def test_an_identitys_own_configuration_set(server: EmbeddedServer, domain: Identity) -> None:
    """It counts where neither the call nor the mail names one."""
    events = Events(server, "SEND")
    server.ses.put_email_identity_configuration_set_attributes(
        EmailIdentity=domain.name, ConfigurationSetName=events.name
    )
    assert server.ses.get_email_identity(EmailIdentity=domain.name)["ConfigurationSetName"] == events.name
    domain.send("owner@home.example")
    [found] = events.events(1)
    assert found["mail"]["tags"]["ses:configuration-set"] == [events.name]
    server.ses.put_email_identity_configuration_set_attributes(EmailIdentity=domain.name)
    domain.send("owner@home.example")
    assert events.quiet()


def test_the_shape_is_json_text(server: EmbeddedServer, domain: Identity) -> None:
    """Raw delivery brings the notification as the body."""
    topic = Listening(server, raw=True)
    domain.notify("Delivery", topic.topic_arn)
    assert len(topic.texts(1)) == 1
    domain.send("owner@home.example")
    [body] = topic.texts(1)
    assert json.loads(body)["delivery"]["recipients"] == ["owner@home.example"]
