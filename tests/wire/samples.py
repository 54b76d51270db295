"""Notifications and envelopes as SES and SNS write them, made to measure for a test."""

import base64
import datetime
import json
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
TOPIC_ARN = "arn:aws:sns:eu-west-1:123456789012:mail"
MAIL_ID = "o3vrnil0e2ic28trm7dfhrc2v0clambda4nbp0g1"


@cache
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, *, expired: bool = False) -> bytes:
    """A self-signed certificate for the key, as PEM."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    end = datetime.datetime(2021 if expired else 2120, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(end)
    return builder.sign(private, hashes.SHA256()).public_bytes(Encoding.PEM)


def envelope(message: str, *, version: str = "1", subject: str | None = None, **changes: Any) -> dict[str, Any]:
    """A signed SNS notification. `changes` are made before it is signed; None removes a field."""
    fields: dict[str, Any] = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC_ARN,
        "Message": message,
        "Timestamp": "2024-05-02T00:54:06.655Z",
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE_URL,
        "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
    }
    if subject is not None:
        fields["Subject"] = subject
    fields.update(changes)
    fields = {name: value for name, value in fields.items() if value is not None}
    confirmation = fields.get("Type") != "Notification"
    # Written out here once more, from SNS's documentation, so that the reader's table is held against something.
    order = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    if confirmation:
        order = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    signed = "".join(f"{name}\n{fields[name]}\n" for name in order if name in fields)
    algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()
    signature = key().sign(signed.encode(errors="replace"), padding.PKCS1v15(), algorithm)
    return {**fields, "Signature": base64.b64encode(signature).decode()}


def confirmation(kind: str = "SubscriptionConfirmation", **changes: Any) -> dict[str, Any]:
    subscribe = {"SubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Confirm", "Token": "2336412f37f"}
    text = "You have chosen to subscribe to the topic."
    return envelope(text, Type=kind, UnsubscribeURL=None, **{**subscribe, **changes})


def received(
    *, mail: dict[str, Any] | None = None, receipt: dict[str, Any] | None = None, **root: Any
) -> dict[str, Any]:
    """A `Received` notification of an S3 action, changed at three levels; None removes a field."""
    mail_fields = {
        "timestamp": "2024-05-02T00:54:05.000Z",
        "messageId": MAIL_ID,
        "source": "stranger@sender.example",
        "destination": ["in-the-header@mask.example"],
        "headersTruncated": False,
        "headers": [
            {"name": "From", "value": "Stranger <stranger@sender.example>"},
            {"name": "Subject", "value": "hi"},
        ],
        "commonHeaders": {"subject": "hi"},
        **(mail or {}),
    }
    receipt_fields = {
        "timestamp": "2024-05-02T00:54:05.000Z",
        "processingTimeMillis": 574,
        "recipients": ["shop@mask.example"],
        "spamVerdict": {"status": "PASS"},
        "virusVerdict": {"status": "PASS"},
        "spfVerdict": {"status": "PASS"},
        "dkimVerdict": {"status": "PASS"},
        "dmarcVerdict": {"status": "PASS"},
        "action": {
            "type": "S3",
            "topicArn": TOPIC_ARN,
            "bucketName": "incoming-mail",
            "objectKeyPrefix": "in/",
            "objectKey": f"in/{MAIL_ID}",
        },
        **(receipt or {}),
    }
    return {
        "notificationType": "Received",
        "mail": {name: value for name, value in mail_fields.items() if value is not None},
        "receipt": {name: value for name, value in receipt_fields.items() if value is not None},
        **root,
    }


def received_text(**changes: Any) -> str:
    return json.dumps(received(**changes))
