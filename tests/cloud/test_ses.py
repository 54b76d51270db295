"""SES v2 of the embedded AWS through boto3: sends, the account, configuration sets and their events."""

import itertools
import json
import time
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from relayd.wire import sns
from tests.cloud.server import EmbeddedServer

SENDER = "token@mask.example"
MAIL = b"From: Shop <token@mask.example>\r\nTo: somebody@else.example\r\nSubject: hello\r\n\r\n.\r\nbody\r\n"


@pytest.fixture(autouse=True)
def identity(server: EmbeddedServer) -> None:
    known = [one["IdentityName"] for one in server.ses.list_email_identities()["EmailIdentities"]]
    if "mask.example" not in known:
        server.ses.create_email_identity(EmailIdentity="mask.example")


def send(server: EmbeddedServer, to: str = "owner@home.example", data: bytes = MAIL, **parameters: Any) -> str:
    number: str = server.ses.send_email(
        **{
            "FromEmailAddress": SENDER,
            "Destination": {"ToAddresses": [to]},
            "Content": {"Raw": {"Data": data}},
            **parameters,
        }
    )["MessageId"]
    return number


def sent(server: EmbeddedServer, message_id: str) -> dict[str, Any]:
    """The truth about one send, with everything that the emulator tells."""
    for since in itertools.count(0, 100):
        page = server.aws._ask("GET", f"sent?since={since}")["sent"]
        assert page, "not sent"
        for one in page:
            if one["message_id"] == message_id:
                return dict(one)
    raise AssertionError


class Events:
    """A configuration set whose events come to a queue."""

    def __init__(self, server: EmbeddedServer, *types: str, suppression: list[str] | None = None) -> None:
        self.server = server
        self.name = f"set-{uuid.uuid4().hex[:12]}"
        self.topic_arn = server.sns.create_topic(Name=self.name)["TopicArn"]
        self.url, _ = server.new_queue()
        queue_arn = server.attributes(self.url)["QueueArn"]
        server.sns.subscribe(TopicArn=self.topic_arn, Protocol="sqs", Endpoint=queue_arn)
        options = {} if suppression is None else {"SuppressionOptions": {"SuppressedReasons": suppression}}
        server.ses.create_configuration_set(ConfigurationSetName=self.name, **options)
        server.ses.create_configuration_set_event_destination(
            ConfigurationSetName=self.name,
            EventDestinationName="events",
            EventDestination={
                "Enabled": True,
                "MatchingEventTypes": list(types),
                "SnsDestination": {"TopicArn": self.topic_arn},
            },
        )

    def bodies(self, number: int) -> list[str]:
        found: list[str] = []
        end = time.monotonic() + 5
        while len(found) < number and time.monotonic() < end:
            answer = self.server.sqs.receive_message(QueueUrl=self.url, WaitTimeSeconds=1, MaxNumberOfMessages=10)
            found += [one["Body"] for one in answer.get("Messages", [])]
        return found

    def events(self, number: int) -> list[dict[str, Any]]:
        """So many events besides the text that is published when the destination is set up."""
        texts = [sns.open_envelope(body, {}).text for body in self.bodies(number + 1)]
        assert texts[0] == sns.TOPIC_VALIDATED
        return [json.loads(text) for text in texts[1:]]


def test_a_send_is_remembered_as_it_was(server: EmbeddedServer) -> None:
    """Bytes, envelope, tags, configuration set and time; what the To header says does not count."""
    events = Events(server, "SEND")
    tags = [{"Name": "relayd-delivery", "Value": "d-1_2"}]
    number = send(server, EmailTags=tags, ConfigurationSetName=events.name)
    truth = sent(server, number)
    assert truth["sender"] == SENDER
    assert truth["recipients"] == ["owner@home.example"]
    assert truth["tags"] == {"relayd-delivery": "d-1_2"}
    assert truth["configuration_set"] == events.name
    assert abs(truth["at"] - time.time()) < 60
    [seen] = [one for one in server.aws.sent(truth["number"] - 1) if one.message_id == number]
    assert seen.data == MAIL
    assert server.aws.sent(truth["number"] - 1, raw=False)[0].data == b""


def test_without_parameters_the_header_counts(server: EmbeddedServer) -> None:
    """Sender and recipients come from the mail where the call does not name them."""
    data = b"From: a@mask.example\r\nTo: B <b@x.example>, c@x.example\r\nBcc: d@x.example\r\n\r\n"
    number = server.ses.send_email(Content={"Raw": {"Data": data}})["MessageId"]
    truth = sent(server, number)
    assert truth["sender"] == "a@mask.example"
    assert truth["recipients"] == ["b@x.example", "c@x.example", "d@x.example"]


def test_the_account_tells_about_itself(server: EmbeddedServer) -> None:
    """Quota, what is used of it, and whether it may send."""
    server.aws.settings(max_send_rate=14.0, daily_quota=50_000)
    before = server.ses.get_account()
    assert before["ProductionAccessEnabled"]
    assert before["SendingEnabled"]
    assert before["SendQuota"]["MaxSendRate"] == 14.0
    assert before["SendQuota"]["Max24HourSend"] == 50_000
    send(server)
    assert server.ses.get_account()["SendQuota"]["SentLast24Hours"] == before["SendQuota"]["SentLast24Hours"] + 1


def test_identities(server: EmbeddedServer) -> None:
    """Domains and addresses are verified at once, made once, and can be deleted."""
    name = f"{uuid.uuid4().hex[:8]}.example"
    server.ses.create_email_identity(EmailIdentity=name)
    assert server.ses.get_email_identity(EmailIdentity=name)["VerifiedForSendingStatus"]
    address = f"a@{name}"
    assert server.ses.create_email_identity(EmailIdentity=address)["IdentityType"] == "EMAIL_ADDRESS"
    with pytest.raises(server.ses.exceptions.AlreadyExistsException):
        server.ses.create_email_identity(EmailIdentity=name)
    for one in (name, address):
        server.ses.delete_email_identity(EmailIdentity=one)
        with pytest.raises(server.ses.exceptions.NotFoundException):
            server.ses.get_email_identity(EmailIdentity=one)


def test_configuration_sets(server: EmbeddedServer) -> None:
    """They are made, told, changed and deleted, and so are their event destinations."""
    events = Events(server, "BOUNCE", suppression=[])
    told = server.ses.get_configuration_set(ConfigurationSetName=events.name)
    assert told["SuppressionOptions"] == {"SuppressedReasons": []}
    assert told["SendingOptions"] == {"SendingEnabled": True}
    assert events.name in server.ses.list_configuration_sets()["ConfigurationSets"]
    common = {"ConfigurationSetName": events.name}
    server.ses.put_configuration_set_suppression_options(**common, SuppressedReasons=["COMPLAINT"])
    told = server.ses.get_configuration_set(**common)
    assert told["SuppressionOptions"] == {"SuppressedReasons": ["COMPLAINT"]}
    wanted = {"Enabled": False, "MatchingEventTypes": ["SEND"], "SnsDestination": {"TopicArn": events.topic_arn}}
    server.ses.update_configuration_set_event_destination(
        **common, EventDestinationName="events", EventDestination=wanted
    )
    [destination] = server.ses.get_configuration_set_event_destinations(**common)["EventDestinations"]
    assert destination == {"Name": "events", **wanted}
    server.ses.delete_configuration_set_event_destination(**common, EventDestinationName="events")
    assert server.ses.get_configuration_set_event_destinations(**common)["EventDestinations"] == []
    server.ses.delete_configuration_set(**common)
    with pytest.raises(server.ses.exceptions.NotFoundException):
        server.ses.get_configuration_set(**common)


def test_a_destination_needs_a_topic(server: EmbeddedServer) -> None:
    """Events cannot go to a topic that is not there."""
    events = Events(server, "SEND")
    with pytest.raises(server.ses.exceptions.BadRequestException, match="Could not publish to SNS topic"):
        server.ses.create_configuration_set_event_destination(
            ConfigurationSetName=events.name,
            EventDestinationName="other",
            EventDestination={
                "Enabled": True,
                "MatchingEventTypes": ["SEND"],
                "SnsDestination": {"TopicArn": events.topic_arn + "-not-there"},
            },
        )


ALL = ("SEND", "DELIVERY", "BOUNCE", "COMPLAINT")


@pytest.mark.parametrize(
    ("mailbox", "kinds"),
    [
        ("success", ["Send", "Delivery"]),
        ("success+label", ["Send", "Delivery"]),
        ("bounce", ["Send", "Bounce"]),
        ("ooto", ["Send", "Delivery", "Bounce"]),
        ("complaint", ["Send", "Delivery", "Complaint"]),
        ("suppressionlist", ["Send", "Bounce"]),
    ],
)
def test_the_simulators_mailboxes_act(server: EmbeddedServer, mailbox: str, kinds: list[str]) -> None:
    """Each mailbox of the simulator brings its events in order, with the mail's id and tags."""
    events = Events(server, *ALL)
    address = f"{mailbox}@simulator.amazonses.com"
    tags = [{"Name": "relayd-delivery", "Value": "d-1"}]
    number = send(server, address, EmailTags=tags, ConfigurationSetName=events.name)
    found = events.events(len(kinds))
    assert [one["eventType"] for one in found] == kinds
    for one in found:
        assert one["mail"]["messageId"] == number
        assert one["mail"]["tags"]["relayd-delivery"] == ["d-1"]
        assert one["mail"]["tags"]["ses:configuration-set"] == [events.name]
        assert one["mail"]["destination"] == [address]
        assert {"name": "Subject", "value": "hello"} in one["mail"]["headers"]


def test_bounces_and_complaints_tell_why(server: EmbeddedServer) -> None:
    """Types and recipients are those that SES documents."""
    events = Events(server, "BOUNCE", "COMPLAINT")
    for mailbox in ("bounce", "ooto", "suppressionlist", "complaint"):
        send(server, f"{mailbox}@simulator.amazonses.com", ConfigurationSetName=events.name)
    found = events.events(4)
    bounces = [one["bounce"] for one in found if one["eventType"] == "Bounce"]
    assert {(one["bounceType"], one["bounceSubType"]) for one in bounces} == {
        ("Permanent", "General"),
        ("Transient", "General"),
        ("Permanent", "Suppressed"),
    }
    [hard] = [one for one in bounces if one["bounceSubType"] == "General" and one["bounceType"] == "Permanent"]
    assert hard["bouncedRecipients"][0]["status"] == "5.1.1"
    [complaint] = [one["complaint"] for one in found if one["eventType"] == "Complaint"]
    assert complaint["complainedRecipients"] == [{"emailAddress": "complaint@simulator.amazonses.com"}]
    assert complaint["complaintFeedbackType"] == "abuse"


def test_only_the_events_asked_for(server: EmbeddedServer) -> None:
    """A destination that asked for deliveries gets no Send event."""
    events = Events(server, "DELIVERY")
    send(server, ConfigurationSetName=events.name)
    assert [one["eventType"] for one in events.events(1)] == ["Delivery"]


def test_fates_can_be_chosen(server: EmbeddedServer) -> None:
    """Any address can be made to bounce, and to be silent."""
    server.aws.settings(fates={"full@home.example": "mailbox_full", "silent@home.example": "silent"})
    events = Events(server, *ALL)
    send(server, "silent@home.example", ConfigurationSetName=events.name)
    number = send(server, "full@home.example", ConfigurationSetName=events.name)
    found = events.events(3)
    assert [one["eventType"] for one in found] == ["Send", "Send", "Bounce"]
    assert found[2]["bounce"]["bounceSubType"] == "MailboxFull"
    assert sent(server, number)["fates"] == {"full@home.example": "mailbox_full"}


def test_suppressed_addresses_are_accepted_and_dropped(server: EmbeddedServer) -> None:
    """The account's list drops silently but for an event; a configuration set without reasons overrides it."""
    address = f"{uuid.uuid4().hex[:8]}@home.example"
    server.ses.put_suppressed_destination(EmailAddress=address, Reason="BOUNCE")
    told = server.ses.get_suppressed_destination(EmailAddress=address)["SuppressedDestination"]
    assert told["Reason"] == "BOUNCE"
    assert sent(server, send(server, address))["fates"] == {address: "suppressed"}
    as_the_account = Events(server, *ALL)
    send(server, address, ConfigurationSetName=as_the_account.name)
    bounce = as_the_account.events(2)[1]
    assert bounce["bounce"]["bounceSubType"] == "OnAccountSuppressionList"
    overriding = Events(server, *ALL, suppression=[])
    send(server, address, ConfigurationSetName=overriding.name)
    assert [one["eventType"] for one in overriding.events(2)] == ["Send", "Delivery"]
    server.ses.delete_suppressed_destination(EmailAddress=address)
    assert sent(server, send(server, address))["fates"] == {}
    with pytest.raises(server.ses.exceptions.NotFoundException):
        server.ses.get_suppressed_destination(EmailAddress=address)


def test_the_account_may_suppress_nothing(server: EmbeddedServer) -> None:
    """Without reasons the account's list does not count."""
    address = f"{uuid.uuid4().hex[:8]}@home.example"
    server.ses.put_suppressed_destination(EmailAddress=address, Reason="COMPLAINT")
    server.ses.put_account_suppression_attributes(SuppressedReasons=["BOUNCE"])
    try:
        assert sent(server, send(server, address))["fates"] == {}
    finally:
        server.ses.put_account_suppression_attributes(SuppressedReasons=["BOUNCE", "COMPLAINT"])
    listed = server.ses.list_suppressed_destinations()["SuppressedDestinationSummaries"]
    assert address in [one["EmailAddress"] for one in listed]


def test_a_mails_own_header_chooses_where_the_call_does_not(server: EmbeddedServer) -> None:
    """X-SES-CONFIGURATION-SET counts: why it must not be passed on from a stranger's mail."""
    events = Events(server, "SEND")
    header = f"X-SES-CONFIGURATION-SET: {events.name}\r\n".encode()
    assert sent(server, send(server, data=header + MAIL))["configuration_set"] == events.name
    with pytest.raises(ClientError) as caught:
        send(server, data=b"X-SES-Configuration-Set: not-there\r\n" + MAIL)
    assert caught.value.response["Error"]["Code"] == "NotFoundException"
