"""SNS envelopes, raw deliveries and signatures."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from relayd.errors import HoldError, PermanentError
from relayd.wire.sns import TOPIC_VALIDATED, certificate_host_allowed, open_envelope, verify
from tests.wire.samples import (
    CERTIFICATE_URL,
    MAIL_ID,
    TOPIC_ARN,
    certificate,
    confirmation,
    envelope,
    key,
    received_text,
)

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def reason_of(body: str) -> str:
    with pytest.raises(PermanentError) as caught:
        open_envelope(body, {})
    return caught.value.reason


def test_envelope_is_opened() -> None:
    """The notification inside, and who published it, come out of SNS's JSON."""
    opened = open_envelope(json.dumps(envelope(received_text())), {})
    assert opened.text == received_text()
    assert (opened.kind, opened.topic_arn) == ("Notification", TOPIC_ARN)
    assert opened.message_id == "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"
    assert opened.published_at == "2024-05-02T00:54:06.655Z"
    assert opened.signed is not None
    assert opened.signed.certificate_url == CERTIFICATE_URL


@pytest.mark.parametrize(
    "text", [received_text(), '{"eventType": "Send"}', '{"Event": "s3:TestEvent"}', TOPIC_VALIDATED]
)
def test_raw_delivery_has_no_envelope(text: str) -> None:
    """Without SNS's keys the body is the notification itself, unsigned, traced by the message's own attributes."""
    opened = open_envelope(text, {"traceparent": TRACEPARENT})
    assert (opened.text, opened.signed, opened.topic_arn) == (text, None, None)
    assert opened.traceparent == TRACEPARENT


def test_trace_context_of_an_enveloped_message_is_in_its_message_attributes() -> None:
    """SNS carries the producer's attributes inside the envelope unless delivery is raw."""
    body = envelope("{}", MessageAttributes={"traceparent": {"Type": "String", "Value": TRACEPARENT}})
    assert open_envelope(json.dumps(body), {}).traceparent == TRACEPARENT


@pytest.mark.parametrize(
    "attributes", [[], {"traceparent": 1}, {"traceparent": {"Value": 5}}, {"traceparent": {"Value": "00-x"}}]
)
def test_broken_trace_context_costs_nothing_but_the_link(attributes: Any) -> None:
    """No mail is refused for its trace context."""
    assert open_envelope(json.dumps(envelope("{}", MessageAttributes=attributes)), {}).traceparent is None


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", [None, "Amazon SES Email Receipt Notification"])
def test_signature_verifies(version: str, subject: str | None) -> None:
    """What SNS signed is accepted, in both versions, with and without a Subject, line breaks and all."""
    body = envelope("first line\nsecond line: é\n", version=version, subject=subject)
    signed = open_envelope(json.dumps(body), {}).signed
    assert signed is not None
    verify(signed, certificate(key()))


@pytest.mark.parametrize("kind", ["SubscriptionConfirmation", "UnsubscribeConfirmation"])
def test_confirmations_are_signed_over_their_own_fields(kind: str) -> None:
    """A confirmation's signature covers Token and SubscribeURL."""
    opened = open_envelope(json.dumps(confirmation(kind)), {})
    assert opened.kind == kind
    assert opened.signed is not None
    verify(opened.signed, certificate(key()))
    forged = open_envelope(json.dumps({**confirmation(kind), "Token": "other"}), {}).signed
    assert forged is not None
    with pytest.raises(PermanentError, match="forged_signature"):
        verify(forged, certificate(key()))


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    "change",
    [
        {"Message": "changed"},
        {"MessageId": "22b80b92-0000-0000-0000-bdfb0c7bf324"},
        {"Subject": "added"},
        {"Timestamp": "2024-05-03T00:54:06.655Z"},
        {"TopicArn": TOPIC_ARN + "2"},
        {"Signature": "AAAA"},
        {"Signature": "not base64 at all"},
        {"Signature": ""},
    ],
)
def test_any_signed_field_that_was_changed_is_a_forgery(version: str, change: dict[str, str]) -> None:
    """A change after signing is found, whichever field it was made in."""
    signed = open_envelope(json.dumps({**envelope("{}", version=version), **change}), {}).signed
    assert signed is not None
    with pytest.raises(PermanentError) as caught:
        verify(signed, certificate(key()))
    assert caught.value.reason == "forged_signature"


def test_signature_of_another_version_is_a_forgery() -> None:
    """SHA-1 and SHA-256 are not mixed up: the version that the envelope names is the one that counts."""
    signed = open_envelope(json.dumps({**envelope("{}", version="1"), "SignatureVersion": "2"}), {}).signed
    assert signed is not None
    with pytest.raises(PermanentError, match="forged_signature"):
        verify(signed, certificate(key()))


def test_signature_by_another_key_is_a_forgery() -> None:
    """A stranger's key does not speak for SNS."""
    signed = open_envelope(json.dumps(envelope("{}")), {}).signed
    assert signed is not None
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(PermanentError, match="forged_signature"):
        verify(signed, certificate(stranger))


def test_unknown_signature_version() -> None:
    """A version that SNS may add one day is named as such, not called a forgery."""
    signed = open_envelope(json.dumps(envelope("{}", version="3")), {}).signed
    assert signed is not None
    with pytest.raises(PermanentError) as caught:
        verify(signed, certificate(key()))
    assert caught.value.reason == "unknown_signature_version"


def test_expired_certificate_still_verifies() -> None:
    """A dead letter replayed after SNS changed its certificate is no forgery."""
    signed = open_envelope(json.dumps(envelope("{}")), {}).signed
    assert signed is not None
    verify(signed, certificate(key(), expired=True))


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"<html>captive portal</html>",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        certificate(ec.generate_private_key(ec.SECP256R1())),
    ],
    ids=["empty", "html", "broken", "elliptic"],
)
def test_unreadable_certificate_is_a_narrow_hold(pem: bytes) -> None:
    """A bad certificate says nothing about the message, and nothing yet about other certificates."""
    signed = open_envelope(json.dumps(envelope("{}")), {}).signed
    assert signed is not None
    with pytest.raises(HoldError) as caught:
        verify(signed, pem)
    assert (caught.value.dependency, caught.value.reason) == ("certificates", "certificate_unreadable")
    assert not caught.value.wide


@pytest.mark.parametrize("field", ["Signature", "SignatureVersion", "SigningCertURL"])
def test_envelope_without_signature_is_opened_unsigned(field: str) -> None:
    """Emulators do not sign; whether an unsigned envelope will do is for the caller to say."""
    body = envelope("{}")
    del body[field]
    assert open_envelope(json.dumps(body), {}).signed is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "not_json"),
        ("hello", "not_json"),
        ('{"Type": "Notification"', "not_json"),
        ('{"Type": NaN}', "not_json"),
        ('{"Type": "\ud800"}', "not_json"),
        ("[" * 100_000, "not_json"),
        ('{"a":' * 100_000, "not_json"),
        ('{"Type": "Notification", "Type": "Notification"}', "duplicate_key"),
        ('{"Type": {"a": 1, "a": 2}}', "duplicate_key"),
        ("[]", "unknown_shape"),
        ("null", "unknown_shape"),
        ('"text"', "unknown_shape"),
        ("9" * 100_000, "unknown_shape"),
        ("{}", "unknown_shape"),
        ('{"Records": []}', "unknown_shape"),
        ('{"Type": "Notification"}', "envelope_incomplete"),
        ('{"Type": 7}', "envelope_incomplete"),
        ('{"Type": ["Notification"]}', "envelope_incomplete"),
        ('{"Type": ' + "9" * 100_000 + "}", "envelope_incomplete"),
        (json.dumps({"TopicArn": TOPIC_ARN, "Message": "{}"}), "envelope_incomplete"),
        (json.dumps(envelope("{}", Type="Telegram")), "unknown_type"),
        ('{"Type": "\\ud800"}', "envelope_malformed"),
    ],
)
def test_what_is_no_envelope_is_a_permanent_error(body: str, reason: str) -> None:
    """Each kind of rubbish has a reason of its own, and none an exception of its own."""
    assert reason_of(body) == reason


@pytest.mark.parametrize("field", ["Message", "MessageId", "TopicArn", "Timestamp"])
@pytest.mark.parametrize("value", [None, 7, ["x"], {"x": "y"}, True])
def test_field_missing_or_of_another_type(field: str, value: Any) -> None:
    """The error names the field."""
    with pytest.raises(PermanentError) as caught:
        open_envelope(json.dumps({**envelope("{}"), field: value}), {})
    assert (caught.value.reason, caught.value.detail) == ("envelope_incomplete", field)


@pytest.mark.parametrize("field", ["MessageId", "Subject", "Timestamp", "TopicArn"])
def test_line_break_in_a_signed_field_is_refused(field: str) -> None:
    """With one, the signed string could be cut into other fields and verify all the same."""
    body = envelope("{}", **{field: f"x\nTopicArn\n{TOPIC_ARN}"})
    assert reason_of(json.dumps(body)) == "envelope_malformed"


def test_half_a_surrogate_pair_is_refused() -> None:
    """Text that UTF-8 cannot write could be neither signed nor stored."""
    assert reason_of(json.dumps(envelope("{}")).replace('"{}"', '"\\udc00"')) == "envelope_malformed"


def test_errors_never_show_what_stood_there() -> None:
    """Dead letters and logs get the place, not the content."""
    body = json.dumps({**envelope("secret@private.example"), "Timestamp": "secret\nline"})
    with pytest.raises(PermanentError) as caught:
        open_envelope(body, {})
    assert "secret" not in str(caught.value)
    with pytest.raises(PermanentError) as caught:
        open_envelope("secret, and not JSON", {})
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_body_of_one_mebibyte_is_opened() -> None:
    """SQS's limit is no limit of ours."""
    text = received_text(mail={"source": "x" * (1024 * 1024 - 4096)})
    assert open_envelope(json.dumps(envelope(text)), {}).text == text


@pytest.mark.parametrize(
    "url",
    [
        CERTIFICATE_URL,
        "https://sns.us-gov-west-1.amazonaws.com/SimpleNotificationService-1.pem",
        "https://sns.us-isob-east-1.amazonaws.com/SimpleNotificationService-1.pem",
        "https://sns.ap-southeast-2.amazonaws.com:443/SimpleNotificationService-1.pem",
        "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-1.pem",
    ],
)
def test_certificates_of_sns_are_allowed(url: str) -> None:
    """All partitions that SNS has, each for a topic of its own region and for no other."""
    region = url.split(".")[1]
    assert certificate_host_allowed(url, f"arn:aws:sns:{region}:123456789012:mail")
    assert not certificate_host_allowed(url, "arn:aws:sns:eu-central-1:123456789012:mail")
    assert not certificate_host_allowed(url, region)


@pytest.mark.parametrize(
    "url",
    [
        "",
        MAIL_ID,
        "http://sns.eu-west-1.amazonaws.com/a.pem",
        "HTTPS://sns.eu-west-1.amazonaws.com/a.pem",
        "//sns.eu-west-1.amazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com/a.pem\n",
        " https://sns.eu-west-1.amazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com/a.pem?x=1",
        "https://sns.eu-west-1.amazonaws.com/a.pem#x",
        "https://sns.eu-west-1.amazonaws.com/?x=.pem",
        "https://sns.eu-west-1.amazonaws.com/#.pem",
        "https://sns.eu-west-1.amazonaws.com/a.txt",
        "https://sns.eu-west-1.amazonaws.com/.pem%00.txt",
        "https://sns.eu-west-1.amazonaws.com/a%2fb.pem",
        "https://sns.eu-west-1.amazonaws.com",
        "https://sns.eu-west-1.amazonaws.com:8443/a.pem",
        "https://sns.eu-west-1.amazonaws.com:443:443/a.pem",
        "https://user@sns.eu-west-1.amazonaws.com/a.pem",
        "https://user:pass@sns.eu-west-1.amazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/a.pem",
        "https://sns.eu-west-1.amazonaws.com:443@evil.example/a.pem",
        "https://sns.eu-west-1.amazonaws.com\\@evil.example/a.pem",
        "https://evil.example\\.sns.eu-west-1.amazonaws.com/a.pem",
        "https://evil.example/sns.eu-west-1.amazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/a.pem",
        "https://sns.eu-west-1.amazonaws.com.cn.evil.example/a.pem",
        "https://sns.eu-west-1.amazonaws.com./a.pem",
        "https://snsxeu-west-1xamazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.comevil/a.pem",
        "https://evil.sns.eu-west-1.amazonaws.com/a.pem",
        "https://sns.amazonaws.com/a.pem",
        "https://sns.s3.amazonaws.com/a.pem",
        "https://sns.s3-eu-west-1.amazonaws.com/a.pem",
        "https://sns.s3.eu-west-1.amazonaws.com/a.pem",
        "https://sns.eu-west-1.evil.amazonaws.com/a.pem",
        "https://sns.ｅu-west-1.amazonaws.com/a.pem",
        "https://sns.eu-west-１.amazonaws.com/a.pem",
        "https://sns.eu-west-1。amazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com/\u0430.pem",
    ],
)
def test_everything_else_is_not_allowed(url: str) -> None:
    """The host rule is the root of all trust in a signature, so it knows every trick with a URL."""
    assert not certificate_host_allowed(url, TOPIC_ARN)
