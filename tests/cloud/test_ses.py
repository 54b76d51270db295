"""SES v2 of the embedded AWS through boto3: sends, the account, identities, configuration sets."""

import time
import uuid

import pytest
from botocore.exceptions import ClientError

from tests.cloud.mailing import MAIL, SENDER, Events, send, sent, verify
from tests.cloud.server import EmbeddedServer


@pytest.fixture(autouse=True)
def identity(server: EmbeddedServer) -> None:
    verify(server)


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


def test_a_mails_own_header_chooses_where_the_call_does_not(server: EmbeddedServer) -> None:
    """X-SES-CONFIGURATION-SET counts: why it must not be passed on from a stranger's mail."""
    events = Events(server, "SEND")
    header = f"X-SES-CONFIGURATION-SET: {events.name}\r\n".encode()
    assert sent(server, send(server, data=header + MAIL))["configuration_set"] == events.name
    with pytest.raises(ClientError) as caught:
        send(server, data=b"X-SES-Configuration-Set: not-there\r\n" + MAIL)
    assert caught.value.response["Error"]["Code"] == "NotFoundException"


def test_identities_are_signed_and_have_a_mail_from(server: EmbeddedServer) -> None:
    """DKIM is on, with three records to publish; a MAIL FROM domain is one below the identity's."""
    name = f"{uuid.uuid4().hex[:8]}.example"
    server.ses.create_email_identity(EmailIdentity=name)
    told = server.ses.get_email_identity(EmailIdentity=name)
    assert (told["DkimAttributes"]["SigningEnabled"], told["DkimAttributes"]["Status"]) == (True, "SUCCESS")
    assert len(set(told["DkimAttributes"]["Tokens"])) == 3
    assert told["MailFromAttributes"] == {"BehaviorOnMxFailure": "USE_DEFAULT_VALUE"}
    server.ses.put_email_identity_dkim_attributes(EmailIdentity=name, SigningEnabled=False)
    server.ses.put_email_identity_mail_from_attributes(
        EmailIdentity=name, MailFromDomain=f"bounce.{name}", BehaviorOnMxFailure="REJECT_MESSAGE"
    )
    told = server.ses.get_email_identity(EmailIdentity=name)
    assert not told["DkimAttributes"]["SigningEnabled"]
    assert told["MailFromAttributes"] == {
        "MailFromDomain": f"bounce.{name}",
        "MailFromDomainStatus": "SUCCESS",
        "BehaviorOnMxFailure": "REJECT_MESSAGE",
    }
    with pytest.raises(server.ses.exceptions.BadRequestException):
        server.ses.put_email_identity_mail_from_attributes(EmailIdentity=name, MailFromDomain="elsewhere.example")


def test_dns_may_be_wrong(server: EmbeddedServer) -> None:
    """What the settings say of a domain's records shows in its identity, and one that is not verified sends nothing."""
    server.aws.settings(unverified=["mask.example"], dkim_failed=["mask.example"], mail_from_failed=["mask.example"])
    server.ses.put_email_identity_mail_from_attributes(EmailIdentity="mask.example", MailFromDomain="b.mask.example")
    told = server.ses.get_email_identity(EmailIdentity="mask.example")
    assert (told["VerifiedForSendingStatus"], told["VerificationStatus"]) == (False, "PENDING")
    assert told["DkimAttributes"]["Status"] == "FAILED"
    assert told["MailFromAttributes"]["MailFromDomainStatus"] == "FAILED"
    with pytest.raises(ClientError, match="not verified"):
        send(server)


def test_configuration_sets_have_more_options(server: EmbeddedServer) -> None:
    """Reputation metrics are off and TLS is optional until somebody says otherwise, at once or later."""
    name = f"set-{uuid.uuid4().hex[:12]}"
    server.ses.create_configuration_set(ConfigurationSetName=name, DeliveryOptions={"TlsPolicy": "REQUIRE"})
    told = server.ses.get_configuration_set(ConfigurationSetName=name)
    assert told["DeliveryOptions"] == {"TlsPolicy": "REQUIRE"}
    assert told["ReputationOptions"] == {"ReputationMetricsEnabled": False}
    server.ses.put_configuration_set_reputation_options(ConfigurationSetName=name, ReputationMetricsEnabled=True)
    server.ses.put_configuration_set_delivery_options(ConfigurationSetName=name, TlsPolicy="OPTIONAL")
    told = server.ses.get_configuration_set(ConfigurationSetName=name)
    assert told["DeliveryOptions"] == {"TlsPolicy": "OPTIONAL"}
    assert told["ReputationOptions"] == {"ReputationMetricsEnabled": True}
    with pytest.raises(server.ses.exceptions.BadRequestException):
        server.ses.put_configuration_set_delivery_options(ConfigurationSetName=name, TlsPolicy="PERHAPS")


def test_an_account_may_be_on_probation(server: EmbeddedServer) -> None:
    """Under review, it still sends."""
    assert server.ses.get_account()["EnforcementStatus"] == "HEALTHY"
    server.aws.settings(probation=True)
    assert server.ses.get_account()["EnforcementStatus"] == "PROBATION"
    send(server)
