"""What the embedded SES tells of a mail that it took: every event type, every fate, early, late and twice."""

import base64
import json
import time
import uuid
from typing import Any

import pytest

from relayd.errors import RelaydError
from relayd.sandbox.cloud.ses_events import MAX_HEADERS, TYPES
from relayd.sandbox.cloud.ses_fates import FATES, SIMULATED
from relayd.wire import sns
from tests.cloud.mailing import MAIL, Events, send, sent, verify
from tests.cloud.server import EmbeddedServer

ALL = tuple(TYPES.values())
OWNER = "owner@home.example"


@pytest.fixture(autouse=True)
def identity(server: EmbeddedServer) -> None:
    verify(server)


def chosen(server: EmbeddedServer, fate: str) -> str:
    """A new address with this fate, which no suppression list knows."""
    address = f"{uuid.uuid4().hex[:8]}@home.example"
    server.aws.settings(fates={address: fate})
    return address


def test_a_destination_needs_a_topic(server: EmbeddedServer) -> None:
    """Events cannot go to a topic that is not there, of types that are not there, or to anything but SNS."""
    events = Events(server, "SEND")
    good = {"Enabled": True, "MatchingEventTypes": ["SEND"], "SnsDestination": {"TopicArn": events.topic_arn}}
    for wrong, text in (
        ({"SnsDestination": {"TopicArn": events.topic_arn + "-not-there"}}, "Could not publish to SNS topic"),
        ({"MatchingEventTypes": ["SENT"]}, "event types are missing or unknown"),
        ({"MatchingEventTypes": []}, "event types are missing or unknown"),
        ({"SnsDestination": None, "CloudWatchDestination": {"DimensionConfigurations": []}}, "to SNS only"),
    ):
        wanted = {name: value for name, value in {**good, **wrong}.items() if value is not None}
        with pytest.raises(server.ses.exceptions.BadRequestException, match=text):
            server.ses.create_configuration_set_event_destination(
                ConfigurationSetName=events.name, EventDestinationName="other", EventDestination=wanted
            )


@pytest.mark.parametrize(
    ("mailbox", "kinds"),
    [
        ("success", ["Send", "Delivery"]),
        ("success+label", ["Send", "Delivery"]),
        ("bounce", ["Send", "Bounce"]),
        ("bounce+d-1", ["Send", "Bounce"]),
        ("ooto", ["Send", "Delivery", "Bounce"]),
        ("complaint", ["Send", "Delivery", "Complaint"]),
        ("suppressionlist", ["Send", "Bounce"]),
        ("policy", ["Send", "Delivery"]),
    ],
)
def test_the_simulators_mailboxes_act(server: EmbeddedServer, mailbox: str, kinds: list[str]) -> None:
    """Each mailbox of the simulator brings its events in order, with the mail's id and tags; others are no magic."""
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
        assert one["mail"]["tags"]["ses:from-domain"] == ["mask.example"]
        assert one["mail"]["destination"] == [address]
        assert one["mail"]["sourceArn"].endswith(":identity/mask.example")
        assert {"name": "Subject", "value": "hello"} in one["mail"]["headers"]
        assert one["mail"]["commonHeaders"]["to"] == ["somebody@else.example"]


BOUNCES = {
    "bounce": ("Permanent", "General", "5.1.1", "user unknown"),
    "suppressionlist": ("Permanent", "Suppressed", "5.1.1", "Amazon SES has suppressed"),
    "suppressed": ("Permanent", "OnAccountSuppressionList", "5.1.1", "Amazon SES did not send"),
    "no_email": ("Permanent", "NoEmail", "5.1.1", "does not exist"),
    "policy": ("Permanent", "General", "5.7.1", "policy"),
    "spam_refused": ("Permanent", "General", "5.7.1", "spam"),
    "mailbox_full": ("Transient", "MailboxFull", "4.2.2", "mailbox full"),
    "too_large": ("Transient", "MessageTooLarge", "5.3.4", "message size"),
    "content_rejected": ("Transient", "ContentRejected", "5.6.0", "content"),
    "attachment_rejected": ("Transient", "AttachmentRejected", "5.7.0", "attachment"),
    "ooto": ("Transient", "General", "", ""),
    "undetermined": ("Undetermined", "Undetermined", "", ""),
}


@pytest.mark.parametrize("fate", BOUNCES)
def test_bounces_tell_why(server: EmbeddedServer, fate: str) -> None:
    """Type, subtype, status and diagnostic are those of the cause; an answering machine leaves no status."""
    kind, sub_type, status, diagnostic = BOUNCES[fate]
    events, address = Events(server, "BOUNCE"), chosen(server, fate)
    [found] = events.of(address, 1)
    bounce = found["bounce"]
    assert found["eventType"] == "Bounce"
    assert (bounce["bounceType"], bounce["bounceSubType"]) == (kind, sub_type)
    [recipient] = bounce["bouncedRecipients"]
    assert recipient["emailAddress"] == address
    if status:
        assert (recipient["action"], recipient["status"]) == ("failed", status)
        assert diagnostic in recipient["diagnosticCode"]
    else:
        assert set(recipient) == {"emailAddress"}
    assert len(bounce["feedbackId"]) == 60
    assert bounce["timestamp"] > found["mail"]["timestamp"]


@pytest.mark.parametrize(
    ("fate", "feedback_type", "sub_type"),
    [
        ("complaint", "abuse", None),
        ("not_spam", "not-spam", None),
        ("suppressed_complaint", None, "OnAccountSuppressionList"),
    ],
)
def test_complaints_tell_why(
    server: EmbeddedServer, fate: str, feedback_type: str | None, sub_type: str | None
) -> None:
    """What the provider's report says; some are no complaint, and some are old ones that the list remembers."""
    events, address = Events(server, "COMPLAINT"), chosen(server, fate)
    [found] = events.of(address, 1)
    complaint = found["complaint"]
    assert complaint["complainedRecipients"] == [{"emailAddress": address}]
    assert (complaint["complaintFeedbackType"], complaint["complaintSubType"]) == (feedback_type, sub_type)


@pytest.mark.parametrize(
    ("fate", "expected"),
    [
        ("reject", {"Send": {"send": {}}, "Reject": {"reject": {"reason": "Bad content"}}}),
        ("rendering_failure", {"Rendering Failure": {"failure": {"templateName": "Template"}}}),
        ("delayed", {"Send": {}, "DeliveryDelay": {"deliveryDelay": {}}, "Delivery": {"delivery": {}}}),
        ("opened", {"Send": {}, "Delivery": {}, "Open": {"open": {"ipAddress": "192.0.2.1"}}}),
        ("clicked", {"Send": {}, "Delivery": {}, "Open": {}, "Click": {"click": {"link": "https://example.com/"}}}),
        ("unsubscribed", {"Send": {}, "Delivery": {}, "Subscription": {"subscription": {"contactList": "owners"}}}),
        ("success", {"Send": {}, "Delivery": {"delivery": {"smtpResponse": "250 2.6.0 Message received"}}}),
        ("silent", {"Send": {}}),
    ],
)
def test_other_fates(server: EmbeddedServer, fate: str, expected: dict[str, dict[str, Any]]) -> None:
    """Their events come in this order, each with the part that its type names, and nothing follows."""
    events, address = Events(server, *ALL), chosen(server, fate)
    found = events.of(address, len(expected))
    assert [one["eventType"] for one in found] == list(expected)
    for one, parts in zip(found, expected.values(), strict=True):
        for name, facts in parts.items():
            assert one[name].items() >= facts.items()
    assert events.quiet()


def test_a_delay_tells_of_whom_and_until_when(server: EmbeddedServer) -> None:
    """A DeliveryDelay names the recipients, why, and when SES will give up."""
    events, address = Events(server, "DELIVERY_DELAY"), chosen(server, "delayed")
    [found] = events.of(address, 1)
    delay = found["deliveryDelay"]
    assert delay["delayType"] == "TransientCommunicationFailure"
    assert delay["expirationTime"] > delay["timestamp"]
    [recipient] = delay["delayedRecipients"]
    assert (recipient["emailAddress"], recipient["status"]) == (address, "4.4.1")
    assert "Unable to connect" in recipient["diagnosticCode"]


def test_every_fate_and_every_type_is_tested_here() -> None:
    """A fate without a test might be none."""
    with open(__file__, encoding="utf-8") as text:
        tests = text.read()
    assert [name for name in (FATES | SIMULATED) if f'"{name}"' not in tests] == []
    assert [kind for kind in TYPES if f'"{kind}"' not in tests] == []


def test_only_the_events_asked_for(server: EmbeddedServer) -> None:
    """A destination that asked for deliveries gets no Send event, one that is disabled nothing."""
    events = Events(server, "DELIVERY")
    assert [one["eventType"] for one in events.of(OWNER, 1)] == ["Delivery"]
    common = {"ConfigurationSetName": events.name, "EventDestinationName": "events"}
    wanted = {"Enabled": False, "MatchingEventTypes": ["SEND"], "SnsDestination": {"TopicArn": events.topic_arn}}
    server.ses.update_configuration_set_event_destination(**common, EventDestination=wanted)
    send(server, ConfigurationSetName=events.name)
    assert events.quiet()


def test_events_come_raw_too(server: EmbeddedServer) -> None:
    """With raw delivery the event is the whole body of the queue's message; it ends with a line feed, as SES's do."""
    events = Events(server, "SEND", raw=True)
    send(server, ConfigurationSetName=events.name)
    [body] = events.texts(1)
    assert json.loads(body)["eventType"] == "Send"
    assert body.endswith("}\n")


def test_the_envelopes_subject(server: EmbeddedServer) -> None:
    """Events come under the subject that SES gives them, signed with it."""
    events = Events(server, "SEND")
    send(server, ConfigurationSetName=events.name)
    [message] = server.sqs.receive_message(QueueUrl=events.url, WaitTimeSeconds=2)["Messages"]
    assert json.loads(message["Body"])["Subject"] == "Amazon SES Email Event Notification"
    signed = sns.open_envelope(message["Body"], {}).signed
    assert signed is not None
    sns.verify(signed, server.aws.certificate())


def test_fates_are_of_one_recipient(server: EmbeddedServer) -> None:
    """Of several recipients each has its own fate, told in the truth about the send."""
    full, silent = "full@home.example", "silent@home.example"
    server.aws.settings(fates={full: "mailbox_full", silent: "silent"})
    events = Events(server, "BOUNCE", "DELIVERY")
    to = {"ToAddresses": [full, silent, OWNER]}
    number = send(server, Destination=to, ConfigurationSetName=events.name)
    bounce, delivery = events.events(2)
    assert [one["emailAddress"] for one in bounce["bounce"]["bouncedRecipients"]] == [full]
    assert delivery["delivery"]["recipients"] == [OWNER]
    assert sent(server, number)["fates"] == {full: "mailbox_full", silent: "silent"}


@pytest.mark.parametrize("fates", [{OWNER: "eaten"}, {OWNER: 1}, {OWNER: ["bounce"]}])
def test_unknown_fates_are_refused(server: EmbeddedServer, fates: dict[str, Any]) -> None:
    """A mistyped fate is told, rather than taken for success."""
    with pytest.raises(RelaydError, match="there is no fate"):
        server.aws.settings(fates=fates)


def test_a_virus_is_rejected_after_it_was_taken(server: EmbeddedServer) -> None:
    """The EICAR test file, plain or as an attachment, is accepted, and then told as Reject."""
    eicar = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-" + b"ANTIVIRUS-TEST-FILE!$H+H*"
    events = Events(server, *ALL)
    for body in (eicar, base64.b64encode(eicar)):
        found = events.of(OWNER, 2, data=MAIL + body + b"\r\n")
        assert [one["eventType"] for one in found] == ["Send", "Reject"]


def test_long_headers_are_cut(server: EmbeddedServer) -> None:
    """What would be more than 10 KB of header fields ends with the last whole field, and says so."""
    events = Events(server, "SEND")
    [whole] = events.of(OWNER, 1)
    assert whole["mail"]["headersTruncated"] is False
    many = b"".join(b"X-Field-%d: " % number + b"x" * 900 + b"\r\n" for number in range(20))
    [found] = events.of(OWNER, 1, data=many + MAIL)
    assert found["mail"]["headersTruncated"] is True
    headers = found["mail"]["headers"]
    assert 9_000 < sum(len(one["name"] + one["value"]) for one in headers) <= MAX_HEADERS
    assert headers[-1]["value"] == "x" * 900
    assert "from" not in found["mail"]["commonHeaders"]


def test_a_mails_own_tags_count_where_the_call_has_none(server: EmbeddedServer) -> None:
    """X-SES-MESSAGE-TAGS would let a stranger pose as another delivery: why it must not be passed on."""
    events = Events(server, "SEND")
    data = b"X-SES-Message-Tags: relayd-delivery=forged-1, other=x\r\n" + MAIL
    [forged] = events.of(OWNER, 1, data=data)
    assert forged["mail"]["tags"]["relayd-delivery"] == ["forged-1"]
    [ours] = events.of(OWNER, 1, data=data, EmailTags=[{"Name": "mine", "Value": "1"}])
    assert ours["mail"]["tags"]["mine"] == ["1"]
    assert "relayd-delivery" not in ours["mail"]["tags"]


def test_events_can_come_late(server: EmbeddedServer) -> None:
    """The setting holds all of them back for so long; the answer to the send does not wait."""
    server.aws.settings(event_delay_seconds=0.4)
    events = Events(server, "SEND", "DELIVERY")
    began = time.monotonic()
    send(server, ConfigurationSetName=events.name)
    assert time.monotonic() - began < 0.3
    assert [one["eventType"] for one in events.events(2)] == ["Send", "Delivery"]
    assert time.monotonic() - began >= 0.4


def test_events_can_come_twice(server: EmbeddedServer) -> None:
    """The copies are the same event under the same feedbackId, in different messages; or there are none at all."""
    events = Events(server, "BOUNCE")
    server.aws.settings(event_copies=2)
    first, second = events.of("bounce@simulator.amazonses.com", 2)
    assert first == second
    other, _ = events.of("bounce@simulator.amazonses.com", 2)
    assert other["bounce"]["feedbackId"] != first["bounce"]["feedbackId"]
    server.aws.settings(event_copies=0)
    send(server, "bounce@simulator.amazonses.com", ConfigurationSetName=events.name)
    assert events.quiet()


WITHHOLD = {"operation": "ses:SendEmail", "fault": "withhold"}


class TestWithheld:
    def test_until_the_faults_are_cleared(self, server: EmbeddedServer) -> None:
        """The Send event stays away while the mail is delivered, and comes when the rule goes."""
        events = Events(server, "SEND", "DELIVERY")
        server.aws.faults([WITHHOLD])
        assert [one["eventType"] for one in events.of(OWNER, 1)] == ["Delivery"]
        assert events.quiet()
        server.aws.clear_faults()
        assert [one["eventType"] for one in events.events(1)] == ["Send"]

    def test_for_a_time(self, server: EmbeddedServer) -> None:
        """With seconds it comes by itself."""
        events = Events(server, "SEND", "DELIVERY")
        server.aws.faults([{**WITHHOLD, "seconds": 0.3}])
        began = time.monotonic()
        assert [one["eventType"] for one in events.of(OWNER, 2)] == ["Delivery", "Send"]
        assert time.monotonic() - began >= 0.3

    def test_all_events_of_one_recipient(self, server: EmbeddedServer) -> None:
        """Any type, or every one; of one recipient's mail or everyone's."""
        events = Events(server, *ALL)
        server.aws.faults([{**WITHHOLD, "event": "*", "resource": "quiet@home.example"}])
        send(server, "quiet@home.example", ConfigurationSetName=events.name)
        found = events.of(OWNER, 2)
        assert {one["mail"]["destination"][0] for one in found} == {OWNER}
        server.aws.faults([{**WITHHOLD, "event": "Bounce"}])
        late = events.events(2)
        assert {one["mail"]["destination"][0] for one in late} == {"quiet@home.example"}
        assert [one["eventType"] for one in events.of("bounce@simulator.amazonses.com", 1)] == ["Send"]

    def test_of_a_send_whose_answer_is_lost(self, server: EmbeddedServer) -> None:
        """Together with a lost answer it makes a doubt that is settled late."""
        events = Events(server, "SEND")
        lost = {"operation": "ses:SendEmail", "fault": "reset", "when": "after"}
        server.aws.faults([WITHHOLD, lost])
        tags = [{"Name": "relayd-delivery", "Value": "doubt-1"}]
        with pytest.raises(Exception, match="Connection was closed"):
            send(server, ConfigurationSetName=events.name, EmailTags=tags)
        assert events.quiet()
        server.aws.clear_faults()
        [late] = events.events(1)
        assert late["mail"]["tags"]["relayd-delivery"] == ["doubt-1"]
