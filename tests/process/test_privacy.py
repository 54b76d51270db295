"""Nobody's address, subject, header value or body leaves the daemon: its whole output is searched for them."""

import json

import pytest

from relayd.telemetry.pseudonyms import pseudonym
from tests.process.cloud import SECRET, Cloud, DaemonProcess, eventually
from tests.process.collector import Collector

pytestmark = pytest.mark.process

CANARIES = (
    "canarysender",
    "canarystranger",
    "canarysource",
    "canarymailbox",
    "canaryowner.example",
    "canarymask",
    "canaryunknown",
    "canarysubject",
    "canaryheader",
    "canarybody",
    "canarydisplay",
    "canarymessageid",
    "canaryattachment",
    "canaryodd",
    "canaryshownname",
    "canarytagged",
    "canaryreply",
    "canaryfriend",
    "canarydiagnostic",
    "canaryagent",
    "canaryevent",
    "canarytopicarn",
)
MASK, MAILBOX, STRANGER = (
    "canarymask@mask.example",
    "canarymailbox@canaryowner.example",
    "canarysender@canarystranger.example",
)
MAIL = (
    b'From: "Canarydisplay" <canarysender@canarystranger.example>\r\nTo: canarymask@mask.example\r\n'
    b"Subject: canarysubject\r\nX-Odd: canaryheader\r\nMessage-ID: <canarymessageid@canarystranger.example>\r\n"
    b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: text/plain\r\n\r\ncanarybody\r\n--b\r\n"
    b'Content-Type: application/octet-stream; name="canaryattachment"\r\n\r\nx\xff\r\n--b--\r\n'
)
REPLY = (
    f'From: "Canarydisplay" <{MAILBOX}>\r\nSubject: Re: canaryreply\r\nIn-Reply-To: <canaryreply@canaryowner.example>'
    f"\r\nMessage-ID: <canaryreply-1@canaryowner.example>\r\n{{}}\r\ncanaryreply, says {MAILBOX}\r\n"
)


def settled(daemon: DaemonProcess, reason: str) -> bool:
    """Whether a message ended so within a moment."""
    return eventually(lambda: any(line["reason"] == reason for line in daemon.events("message_settled")), 20)


def test_nothing_private_is_in_the_output(cloud: Cloud) -> None:
    """Forwards, replies, discards, quarantine, bounces, complaints, notices, refusals by SES with the address in their
    text, bugs of a mail, odd messages: at debug level, with traces on, no canary is in logs, spans, metrics or status.
    """
    collector = Collector()
    cloud.setting(fates={STRANGER: "no_email"})
    cloud.add_mask(MASK, MAILBOX, banner=True, display_name="Canaryshownname")
    daemon = cloud.daemon(
        RELAYD_LOG_LEVEL="debug",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="100",
        **cloud.with_events,
    )
    forwards_and_odd_messages(cloud)
    replies(cloud, daemon)
    foreign_events(cloud)
    refused_by_ses(cloud, daemon)
    complaints(cloud, daemon)
    kinds = {"mask_disabled", "reply_not_allowed", "reply_leak", "reply_bounced"}
    assert eventually(lambda: {line["kind"] for line in daemon.events("notice_ended")} == kinds, 25)
    assert eventually(lambda: cloud.queued() == (0, 0), 20)
    pages = "".join(daemon.get(path)[1] for path in ("/metrics", "/status", "/", "/readyz", "/livez"))
    assert daemon.stop() == 0
    collector.close()
    assert b"SESv2.SendEmail" in collector.received, "the search below would otherwise search nothing"
    assert b"S3.GetObject" in collector.received
    hashed = pseudonym(MASK, SECRET.encode())
    assert hashed.encode() in collector.received, "in place of the address"
    assert hashed in daemon.output()
    notices = [one for one in cloud.sent() if one.sender == "noreply@mask.example"]
    assert sum(b"canarymask@mask.example" in one.data for one in notices) == len(kinds)
    output = (daemon.output() + pages + collector.received.decode("utf-8", "replace")).lower()
    assert [canary for canary in CANARIES if canary in output] == []


def forwards_and_odd_messages(cloud: Cloud) -> None:
    for number in range(3):
        recipient = MASK if number else "canarymask+canarytagged@mask.example"
        cloud.accept("canarysource@x.example", recipient, MAIL + b"%d" % number)
    cloud.accept("canarysource@x.example", "canaryunknown@mask.example", MAIL)
    cloud.accept("canarysource@x.example", MASK, b"X-Sandbox-Verdict: spam\r\n" + MAIL)
    cloud.clients.sqs.send_message(QueueUrl=cloud.world.queue_url, MessageBody="canaryodd canarysender@x.example")
    inner = {"notificationType": "Received", "mail": {"messageId": "x", "source": "canarysource@x.example"}}
    envelope = {"Type": "Notification", "TopicArn": cloud.world.topic_arn, "Message": json.dumps(inner)}
    cloud.clients.sqs.send_message(QueueUrl=cloud.world.queue_url, MessageBody=json.dumps(envelope))
    assert eventually(lambda: len(cloud.sent()) == 3, 20)
    assert eventually(lambda: cloud.queued() == (0, 0), 20)


def replies(cloud: Cloud, daemon: DaemonProcess) -> None:
    """One that is sent and bounces, one by a stranger, one that would leak."""
    token = cloud.sent()[0].sender
    cloud.accept(MAILBOX, token, REPLY.format(f"To: {token}\r\n").encode())
    cloud.accept("canarysource@x.example", token, MAIL)
    cloud.accept(MAILBOX, token, REPLY.format(f"To: {token}\r\nCc: canaryfriend@x.example\r\n").encode())
    assert eventually(lambda: any(one.recipients == (STRANGER,) for one in cloud.sent()), 20)
    assert settled(daemon, "reply_not_allowed")
    assert settled(daemon, "reply_leak")


def foreign_events(cloud: Cloud) -> None:
    """Whatever SES, or somebody who can publish to the topic, may say there."""
    assert cloud.world.events is not None
    mail = {
        "messageId": "canaryevent",
        "source": "canarysource@x.example",
        "destination": [MAILBOX],
        "tags": {"relayd-delivery": ["canaryevent-1"], "other": ["canarytagged"]},
        "headers": [{"name": "Subject", "value": "canarysubject"}],
        "commonHeaders": {"subject": "canarysubject"},
    }
    bounced = [{"emailAddress": MAILBOX, "status": "5.0.0", "diagnosticCode": f"smtp; 550 canarydiagnostic {MAILBOX}"}]
    bounce = {"feedbackId": "canaryevent", "bounceType": "Transient", "bounceSubType": "General"}
    events = [
        {"eventType": "Bounce", "mail": mail, "bounce": bounce | {"bouncedRecipients": bounced}},
        {
            "eventType": "Complaint",
            "mail": mail,
            "complaint": {"complainedRecipients": [{"emailAddress": MAILBOX}], "userAgent": "canaryagent"},
        },
        {"eventType": "Canaryevent", "mail": mail},
        {"eventType": "Bounce", "mail": {"messageId": ["canaryevent"]}, "bounce": "canarydiagnostic"},
        {"eventType": ["Canaryevent"], "mail": mail},
        {"notificationType": "Received", "mail": mail, "receipt": {"recipients": [MASK], "action": {"type": "S3"}}},
    ]
    for event in events:
        cloud.clients.sns.publish(TopicArn=cloud.world.events.topic_arn, Message=json.dumps(event))
    odd = {"Type": "Notification", "TopicArn": "arn:aws:sns:us-east-1:1:canarytopicarn", "Message": "canaryodd"}
    for body in ("canaryodd", json.dumps(odd)):
        cloud.clients.sqs.send_message(QueueUrl=cloud.world.events.queue_url, MessageBody=body)


def refused_by_ses(cloud: Cloud, daemon: DaemonProcess) -> None:
    """Its error's text names the address."""
    cloud.clients.ses.delete_email_identity(EmailIdentity="mask.example")
    try:
        cloud.accept("canarysource@x.example", MASK, MAIL)
        assert eventually(
            lambda: any(line["reason"].startswith("ses_") for line in daemon.events("message_settled")), 20
        )
    finally:
        cloud.clients.ses.create_email_identity(EmailIdentity="mask.example")


def complaints(cloud: Cloud, daemon: DaemonProcess) -> None:
    """Two of them, so that the mask is disabled and its owner is told by a subject that names it."""
    cloud.setting(fates={MAILBOX: "complaint"})
    cloud.accept("canarysource@x.example", MASK, MAIL)
    assert eventually(lambda: any(e["effect"] == "QuarantineSpam" for e in daemon.events("feedback_applied")), 20)
    cloud.accept("canarysource@x.example", MASK, MAIL)
    assert eventually(lambda: bool(daemon.events("mask_disabled")), 20)
