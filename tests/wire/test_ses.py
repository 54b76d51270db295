"""SES's notifications."""

import base64
import json
from typing import Any

import pytest

from relayd.errors import PermanentError
from relayd.model.notification import Envelope, InlineContent, Notice, Received, S3Content, Verdicts
from relayd.wire.ses import MAX_HEADERS, MAX_RECIPIENTS, read, read_notification
from relayd.wire.sns import TOPIC_VALIDATED, open_envelope
from tests.wire.samples import MAIL_ID, confirmation, envelope, received, received_text


def read_received(**changes: Any) -> Received:
    notification = read_notification(received_text(**changes))
    assert isinstance(notification, Received)
    return notification


def failure(**changes: Any) -> tuple[str, str]:
    with pytest.raises(PermanentError) as caught:
        read_notification(received_text(**changes))
    return caught.value.reason, caught.value.detail


def action(**fields: Any) -> dict[str, Any]:
    return {"action": {**received()["receipt"]["action"], **fields}}


def inline(content: str, **fields: str) -> dict[str, Any]:
    return {"receipt": {"action": {"type": "SNS", "topicArn": "arn", **fields}}, "content": content}


def test_mail_in_s3() -> None:
    """An S3 action's notification tells who, for whom, what SES found, and where the mail lies."""
    mail = read_received()
    assert mail.mail_id == MAIL_ID
    assert mail.source == "stranger@sender.example"
    assert mail.content == S3Content("incoming-mail", f"in/{MAIL_ID}")
    assert mail.headers == (("From", "Stranger <stranger@sender.example>"), ("Subject", "hi"))
    assert not mail.headers_truncated
    assert mail.verdicts == Verdicts("PASS", "PASS", "PASS", "PASS", "PASS")
    assert mail.received_at == 1714611245.0


def test_recipients_are_those_of_the_smtp_envelope() -> None:
    """A Bcc stands in the receipt only; the header's recipients are nobody's business."""
    mail = read_received(receipt={"recipients": ["Bcc@mask.example", "shop+tag@mask.example"]})
    assert mail.recipients == ("Bcc@mask.example", "shop+tag@mask.example")


@pytest.mark.parametrize("encoding", ["BASE64", "Base64", "base64"])
def test_inline_mail_in_base64(encoding: str) -> None:
    """An SNS action brings the mail along; Base64 keeps every byte, wrapped in lines or not."""
    data = bytes(range(256))
    content = base64.encodebytes(data).decode()
    assert read_received(**inline(content, encoding=encoding)).content == InlineContent(data)


@pytest.mark.parametrize("fields", [{"encoding": "UTF-8"}, {"encoding": "UTF8"}, {"encoding": "utf8"}, {}])
def test_inline_mail_as_text(fields: dict[str, str]) -> None:
    """UTF-8 is what an SNS action uses unless told otherwise."""
    assert read_received(**inline("Subject: é\r\n\r\nü", **fields)).content == InlineContent(
        "Subject: é\r\n\r\nü".encode()
    )


def test_bounce_has_an_empty_source() -> None:
    """`<>` is SMTP's spelling of nobody."""
    assert read_received(mail={"source": "<>"}).source == ""
    assert read_received(mail={"source": ""}).source == ""


@pytest.mark.parametrize("word", ["PASS", "FAIL", "GRAY", "PROCESSING_FAILED", "DISABLED"])
@pytest.mark.parametrize("name", ["spam", "virus", "spf", "dkim", "dmarc"])
def test_verdicts(name: str, word: str) -> None:
    """Every verdict lands where it belongs."""
    verdicts = read_received(receipt={f"{name}Verdict": {"status": word}}).verdicts
    others = {other: "PASS" for other in ("spam", "virus", "spf", "dkim", "dmarc") if other != name}
    assert getattr(verdicts, name) == word
    assert {other: getattr(verdicts, other) for other in others} == others


@pytest.mark.parametrize("verdict", [None, {"status": "PERHAPS"}, {"status": ""}])
def test_verdict_missing_or_unknown_is_absent(verdict: dict[str, str] | None) -> None:
    """A word that SES may add one day stops no mail."""
    assert read_received(receipt={"virusVerdict": verdict}).verdicts.virus == "ABSENT"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("reject", "reject"),
        ("REJECT", "reject"),
        ("Quarantine", "quarantine"),
        ("none", "none"),
        ("odd", None),
        (None, None),
    ],
)
def test_dmarc_policy_in_any_case(policy: str | None, expected: str | None) -> None:
    """SES writes the policy as the sender's domain does."""
    assert read_received(receipt={"dmarcPolicy": policy}).verdicts.dmarc_policy == expected


@pytest.mark.parametrize("truncated", [True, None, "false", 0])
def test_headers_are_complete_only_when_ses_says_so(truncated: Any) -> None:
    """Anything but a plain false asks for a look at the mail itself."""
    assert read_received(mail={"headersTruncated": truncated}).headers_truncated


def test_missing_headers_count_as_truncated() -> None:
    """What is not there cannot be complete."""
    mail = read_received(mail={"headers": None})
    assert (mail.headers, mail.headers_truncated) == ((), True)


def test_endless_headers_are_cut_and_count_as_truncated() -> None:
    """The list is bounded, and the rest is read from the mail."""
    headers = [{"name": "X", "value": "y"}] * (MAX_HEADERS + 1)
    mail = read_received(mail={"headers": headers})
    assert len(mail.headers) == MAX_HEADERS
    assert mail.headers_truncated


def test_half_a_surrogate_pair_in_a_header_is_replaced() -> None:
    """A stranger's Subject does not cost the owner a mail; whole pairs stay what they are."""
    text = json.dumps(received(mail={"headers": [{"name": "Subject", "value": "a\ud83d \U0001f600"}]}))
    mail = read_notification(text)
    assert isinstance(mail, Received)
    assert mail.headers == (("Subject", "a\ufffd \U0001f600"),)


@pytest.mark.parametrize(
    "timestamp", [None, "yesterday", "", 5, "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]
)
def test_odd_timestamp_stops_no_mail(timestamp: Any) -> None:
    """The time is measured by, never decided by."""
    assert isinstance(read_received(mail={"timestamp": timestamp}).received_at, float)


def test_private_parts_do_not_show_in_repr() -> None:
    """A notification in a log line or a traceback names nobody."""
    shown = repr(read_received())
    assert "stranger" not in shown
    assert "shop" not in shown
    assert "secret" not in repr(read_received(**inline("secret")))


@pytest.mark.parametrize(
    "text",
    [
        received_text(receipt=action(objectKey="AMAZON_SES_SETUP_NOTIFICATION")),
        received_text(receipt=action(objectKey="in/AMAZON_SES_SETUP_NOTIFICATION")),
        '{"notificationType": "AmazonSnsSubscriptionSucceeded", "message": "You have successfully subscribed"}',
        TOPIC_VALIDATED,
    ],
)
def test_setup_notifications(text: str) -> None:
    """What SES writes when it is set up is no mail."""
    assert read_notification(text) == Notice("setup_notification")


def test_test_event() -> None:
    """S3 sends one when a bucket's notifications are set up."""
    text = '{"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "incoming-mail", "RequestId": "1"}'
    assert read(open_envelope(text, {})) == Notice("test_event")


@pytest.mark.parametrize(
    ("kind", "notice"),
    [
        ("SubscriptionConfirmation", "subscription_confirmation"),
        ("UnsubscribeConfirmation", "unsubscribe_confirmation"),
    ],
)
def test_confirmations_are_told_by_the_envelope(kind: str, notice: str) -> None:
    """Their text is a sentence for people, and is not read."""
    assert read(open_envelope(json.dumps(confirmation(kind)), {})) == Notice(notice)


def test_enveloped_and_raw_mail_read_alike() -> None:
    """Raw delivery or not is the operator's choice, and changes nothing."""
    text = received_text()
    assert read(open_envelope(json.dumps(envelope(text)), {})) == read(open_envelope(text, {})) == read(Envelope(text))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A sentence.", "not_json"),
        ("[]", "unknown_shape"),
        ("{}", "unknown_type"),
        ('{"notificationType": "Telegram"}', "unknown_type"),
        ('{"notificationType": "SubscriptionConfirmation"}', "unknown_type"),
        ('{"notificationType": 7}', "notification_incomplete"),
        ('{"eventType": 7}', "notification_incomplete"),
        ('{"Event": "s3:ObjectCreated"}', "unknown_type"),
        ('{"notificationType": "Received"}', "notification_incomplete"),
    ],
)
def test_what_is_no_notification_is_a_permanent_error(text: str, reason: str) -> None:
    """Each kind of rubbish has a reason of its own."""
    with pytest.raises(PermanentError) as caught:
        read_notification(text)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("changes", "reason", "place"),
    [
        ({"mail": {"messageId": None}}, "notification_incomplete", "mail.messageId"),
        ({"mail": {"messageId": ""}}, "notification_malformed", "mail.messageId"),
        ({"mail": {"messageId": "../../etc"}}, "notification_malformed", "mail.messageId"),
        ({"mail": {"messageId": "a\n"}}, "notification_malformed", "mail.messageId"),
        ({"mail": {"messageId": "é"}}, "notification_malformed", "mail.messageId"),
        ({"mail": {"messageId": "x" * 129}}, "notification_malformed", "mail.messageId"),
        ({"mail": {"source": None}}, "notification_incomplete", "mail.source"),
        ({"mail": {"headers": "From: x"}}, "notification_incomplete", "mail.headers"),
        ({"mail": {"headers": ["From: x"]}}, "notification_incomplete", "mail.headers[0]"),
        ({"mail": {"headers": [{"name": "X"}]}}, "notification_incomplete", "mail.headers[0].value"),
        ({"mail": {"headers": [{"name": 1, "value": "x"}]}}, "notification_incomplete", "mail.headers[0].name"),
        ({"receipt": {"recipients": None}}, "notification_incomplete", "receipt.recipients"),
        ({"receipt": {"recipients": "a@b"}}, "notification_incomplete", "receipt.recipients"),
        ({"receipt": {"recipients": ["a@b", 7]}}, "notification_incomplete", "receipt.recipients[1]"),
        ({"receipt": {"recipients": ["\ud800@b"]}}, "notification_malformed", "receipt.recipients[0]"),
        ({"receipt": {"recipients": ["a@b"] * (MAX_RECIPIENTS + 1)}}, "too_many_recipients", "receipt.recipients"),
        ({"receipt": {"virusVerdict": "FAIL"}}, "notification_incomplete", "receipt.virusVerdict"),
        ({"receipt": {"virusVerdict": {}}}, "notification_incomplete", "receipt.virusVerdict.status"),
        ({"receipt": {"dmarcPolicy": 7}}, "notification_incomplete", "receipt.dmarcPolicy"),
        ({"receipt": {"action": None}}, "notification_incomplete", "receipt.action"),
        ({"receipt": {"action": {}}}, "notification_incomplete", "receipt.action.type"),
        ({"receipt": {"action": {"type": "Lambda"}}}, "unknown_action", "receipt.action.type"),
        ({"receipt": action(bucketName=None)}, "notification_incomplete", "receipt.action.bucketName"),
        ({"receipt": action(bucketName="a/b")}, "notification_malformed", "receipt.action.bucketName"),
        ({"receipt": action(bucketName="arn:aws:s3:::x")}, "notification_malformed", "receipt.action.bucketName"),
        ({"receipt": action(objectKey=None)}, "notification_incomplete", "receipt.action.objectKey"),
        ({"receipt": action(objectKey="")}, "notification_malformed", "receipt.action.objectKey"),
        ({"receipt": action(objectKey="../other-bucket/x")}, "notification_malformed", "receipt.action.objectKey"),
        ({"receipt": action(objectKey="a/./b")}, "notification_malformed", "receipt.action.objectKey"),
        ({"receipt": action(objectKey="a\r\nb")}, "notification_malformed", "receipt.action.objectKey"),
        ({"receipt": action(objectKey="é" * 513)}, "notification_malformed", "receipt.action.objectKey"),
        ({"receipt": {"action": {"type": "SNS"}}}, "notification_incomplete", "content"),
        (inline("abc", encoding="BASE64"), "bad_base64", "content"),
        (inline("YWJj!", encoding="BASE64"), "bad_base64", "content"),
        (inline("é", encoding="BASE64"), "bad_base64", "content"),
        (inline("x", encoding="UTF-16"), "unknown_encoding", "receipt.action.encoding"),
        (inline("\ud800"), "notification_malformed", "content"),
        (
            {"mail": {"headers": [{"name": "a", "value": {"deep": {}}}]}},
            "notification_incomplete",
            "mail.headers[0].value",
        ),
    ],
)
def test_broken_mail_notification(changes: dict[str, Any], reason: str, place: str) -> None:
    """The error says what is wrong and where, and never what stood there."""
    assert failure(**changes) == (reason, place)
