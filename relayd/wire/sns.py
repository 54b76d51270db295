"""SNS's envelope and its signature: who published this notification, and is it true?"""

import base64
import re
from collections.abc import Mapping
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from relayd.errors import HoldError, PermanentError
from relayd.model.notification import Envelope, Signed
from relayd.wire.shape import Shape, parse_object

SIGNED_FIELDS: Mapping[str, tuple[str, ...]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
"""What SNS signs for each `Type`, in the order in which it signs. Only Subject may be missing."""

HASHES: Mapping[str, type[hashes.HashAlgorithm]] = {"1": hashes.SHA1, "2": hashes.SHA256}
"""By SignatureVersion. A topic has one of the two; SNS's default is still 1."""

TOPIC_VALIDATED = "Successfully validated SNS topic for Amazon SES event publishing."
"""What SES publishes, as plain text, when an event destination is set up."""

_RAW_FIELDS = ("notificationType", "eventType", "Event")
"""One of these tells SES's (or S3's) own JSON, delivered without an envelope."""

_ONE_LINE = re.compile(r"[^\x00-\x1f\x7f]{0,4096}")
_MESSAGE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

# The region is spelled out because `sns.s3.amazonaws.com` and `sns.s3-eu-west-1.amazonaws.com` are buckets named
# "sns", which anybody may own.
_CERTIFICATE_URL = re.compile(
    r"https://sns\.([a-z]{2,4}(?:-[a-z]{2,16}){1,3}-[0-9]{1,2})\.amazonaws\.com(?:\.cn)?(?::443)?/[A-Za-z0-9._/-]{1,512}\.pem"
)


def open_envelope(body: str, attributes: Mapping[str, str]) -> Envelope:
    """Read the body of an SQS message: an SNS envelope, or a raw delivery (`signed` is None then).

    `attributes` are the SQS message's own, which carry the trace context of a raw delivery. Nothing is verified here.
    """
    if body.strip() == TOPIC_VALIDATED:
        return Envelope(body, traceparent=_traceparent(attributes.get("traceparent")))
    root = parse_object(body, "envelope")
    if root.has("Type") or root.has("TopicArn"):
        return _enveloped(root, attributes)
    if any(root.has(name) for name in _RAW_FIELDS):
        return Envelope(body, traceparent=_traceparent(attributes.get("traceparent")))
    raise PermanentError("unknown_shape", "envelope")


def certificate_host_allowed(url: str, topic_arn: str) -> bool:
    """Whether a certificate from this URL may vouch for the topic: only what SNS itself serves over TLS, in the topic's
    own region. A made-up region would be a host that cannot be found, which looks like an outage.
    """
    match = _CERTIFICATE_URL.fullmatch(url)
    return match is not None and topic_arn.split(":")[3:4] == [match[1]]


def verify(signed: Signed, certificate_pem: bytes) -> None:
    """Check the signature with SNS's certificate. Raises PermanentError when it is not SNS's.

    The certificate's own dates and issuer are not looked at: what makes it SNS's is that it came over TLS from a host
    that `certificate_host_allowed` admits (or from a file that the operator pinned). A dead letter replayed weeks
    later was signed with a certificate that may have expired since, and is no less true for it.
    """
    algorithm = HASHES.get(signed.version)
    if algorithm is None:
        raise PermanentError("unknown_signature_version")
    try:
        signing_key(certificate_pem).verify(signed.signature, signed.canonical, padding.PKCS1v15(), algorithm())
    except InvalidSignature:
        raise PermanentError("forged_signature") from None
    except UnsupportedAlgorithm:
        # A host in FIPS mode has no SHA-1. That says nothing about the message: the topic wants SignatureVersion 2.
        raise HoldError("certificates", "signature_unsupported", f"SignatureVersion {signed.version}") from None


@lru_cache(maxsize=64)
def signing_key(certificate_pem: bytes) -> rsa.RSAPublicKey:
    """The RSA key of a certificate. Raises HoldError: a broken certificate says nothing about the message.

    The hold is narrow, since the URL that led here came with one message.
    """
    try:
        key = x509.load_pem_x509_certificate(certificate_pem).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise HoldError("certificates", "certificate_unreadable", wide=False) from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise HoldError("certificates", "certificate_unreadable", "not an RSA key", wide=False)
    return key


def _enveloped(root: Shape, attributes: Mapping[str, str]) -> Envelope:
    kind = root.text("Type")
    if kind not in SIGNED_FIELDS:
        raise PermanentError("unknown_type", "Type")
    text = root.text("Message")
    # SNS signs names and values joined by line breaks, so a value with a line break of its own could pose as several.
    # Only the first one signed, Message, may have any.
    for name in SIGNED_FIELDS[kind][1:]:
        if (name != "Subject" or root.has(name)) and not _ONE_LINE.fullmatch(root.text(name)):
            raise root.malformed(name)
    if not _MESSAGE_ID.fullmatch(root.text("MessageId")):
        raise root.malformed("MessageId")
    return Envelope(
        text,
        kind=kind,
        topic_arn=root.text("TopicArn"),
        message_id=root.text("MessageId"),
        published_at=root.text("Timestamp"),
        traceparent=_traceparent(_message_attribute(root, "traceparent"))
        or _traceparent(attributes.get("traceparent")),
        signed=_signed(root, kind),
    )


def _signed(root: Shape, kind: str) -> Signed | None:
    """None when the envelope is not signed at all, as some emulators' are; whether that will do is not decided here."""
    if not (root.has("Signature") and root.has("SignatureVersion") and root.has("SigningCertURL")):
        return None
    canonical = "".join(f"{name}\n{root.text(name)}\n" for name in SIGNED_FIELDS[kind] if root.has(name))
    try:
        signature = base64.b64decode(root.text("Signature"), validate=True)
    except ValueError:
        signature = b""  # verifies with no key
    return Signed(root.text("SignatureVersion"), signature, root.text("SigningCertURL"), canonical.encode())


def _message_attribute(root: Shape, name: str) -> object:
    """Lenient: a trace context is a courtesy, and no mail is refused for want of one."""
    attributes = root.fields.get("MessageAttributes")
    attribute = attributes.get(name) if isinstance(attributes, dict) else None
    return attribute.get("Value") if isinstance(attribute, dict) else None


def _traceparent(value: object) -> str | None:
    return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else None
