"""What SES does with a mail that comes in, as far as relayd can see it: verdicts, headers of its own, the mail in S3,
and the `Received` notification on SNS.

It reads mail with a reader of its own rather than relayd's, so that one wrong idea cannot hide in both.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, getaddresses
from typing import Any, Protocol

from relayd.sandbox.traces import Span

HEADERS_KEPT = 10 * 1024
"""Bytes of header fields in a notification; SES cuts the rest and says `headersTruncated`."""

MAGIC_HEADER = "x-sandbox-verdict"
"""Words in this header choose the verdicts, which nobody could try out otherwise."""

GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*" + b"GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL" + b"*C.34X"
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-" + b"ANTIVIRUS-TEST-FILE!$H+H*"
"""The test strings that real scanners know, in pieces: whole, they would set off the scanner of whoever clones this."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What SES would find in a mail."""

    spam: str = "PASS"
    virus: str = "PASS"
    spf: str = "PASS"
    dkim: str = "PASS"
    dmarc: str = "PASS"
    dmarc_policy: str | None = None

    @classmethod
    def of(cls, data: bytes, headers: list[tuple[str, str]]) -> "Verdicts":
        """By the magic header and by the scanners' test strings."""
        words = {
            word.strip().lower() for name, value in headers if name.lower() == MAGIC_HEADER for word in value.split(",")
        }
        gray = "GRAY" if "gray" in words else "PASS"
        policy = next((policy for policy in ("reject", "quarantine", "none") if f"dmarc-{policy}" in words), None)
        return cls(
            spam="FAIL" if "spam" in words or GTUBE in data else gray,
            virus="FAIL" if "virus" in words or EICAR in data else "PASS",
            spf="FAIL" if policy else gray,
            dkim="FAIL" if policy else gray,
            dmarc="FAIL" if policy else gray,
            dmarc_policy=policy,
        )


@dataclass(frozen=True, slots=True)
class Accepted:
    """A mail that the sandbox's SES took in."""

    mail_id: str
    trace_id: str
    source: str = field(repr=False)
    recipients: tuple[str, ...] = field(repr=False)
    subject: str = field(repr=False)
    size: int
    published_at: float
    """Right before the notification was published, in seconds since the epoch: latency counts from here."""
    span: Span


class Store(Protocol):
    """What receiving needs of the emulated AWS."""

    def put(self, key: str, data: bytes) -> None: ...
    def publish(self, text: str, traceparent: str) -> None: ...

    @property
    def bucket(self) -> str: ...
    @property
    def topic_arn(self) -> str: ...


class RuledReceiving:
    """SES's receiving where there are receipt rules: the emulated AWS's own."""

    def __init__(
        self, receive: Callable[..., Mapping[str, Any]], keep: Callable[[str, bytes], None] = lambda *_: None
    ) -> None:
        """`receive` is `relayd.sandbox.cloud.client.EmbeddedAws.receive`; `keep` is given each mail as it went into S3,
        by its id.
        """
        self._receive = receive
        self._keep = keep

    def accept(self, source: str, recipients: tuple[str, ...], data: bytes, peer: str = "127.0.0.1") -> "Accepted":
        """Take in one mail. Raises ValueError where no rule is for any of its recipients."""
        began = _Began()
        published_at = time.time()
        told = self._receive(source, recipients, data, peer=peer, traceparent=began.traceparent)
        if told["mail_id"] is None:
            raise ValueError("no receipt rule takes this mail")
        self._keep(told["mail_id"], told["head"].encode() + data)
        return began.accepted(told["mail_id"], source, recipients, data, published_at)


class _Began:
    """The beginning of a mail's trace."""

    def __init__(self) -> None:
        self.at = time.time()
        self.trace_id, self.span_id = secrets.token_hex(16), secrets.token_hex(8)

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-01"

    def accepted(
        self, mail_id: str, source: str, recipients: tuple[str, ...], data: bytes, published_at: float
    ) -> "Accepted":
        subject = next((value for name, value in header_fields(data) if name.lower() == "subject"), "")
        span = Span(
            trace_id=self.trace_id,
            span_id=self.span_id,
            parent_id="",
            name="SES receives, stores, publishes",
            start=self.at,
            end=time.time(),
            service="sandbox",
            kind="producer",
        )
        return Accepted(mail_id, self.trace_id, source, recipients, subject, len(data), published_at, span)


class Receiving:
    """SES's receipt rule: store the mail, then tell."""

    def __init__(self, store: Store, keep: Callable[[str, bytes], None] = lambda *_: None) -> None:
        """`keep` is given each mail as it went into S3, by its id."""
        self._store = store
        self._keep = keep

    def accept(self, source: str, recipients: tuple[str, ...], data: bytes, peer: str = "127.0.0.1") -> Accepted:
        """Take in one mail. Whatever the store raises goes through: the sender must keep the mail then."""
        began = _Began()
        mail_id = new_mail_id()
        verdicts = Verdicts.of(data, header_fields(data))
        stored = received_headers(mail_id, source, recipients, verdicts, now=began.at, peer=peer) + data
        self._store.put(mail_id, stored)
        self._keep(mail_id, stored)
        published_at = time.time()
        text = json.dumps(
            notification(
                mail_id=mail_id,
                source=source,
                recipients=recipients,
                stored=stored,
                verdicts=verdicts,
                now=began.at,
                took_ms=int((published_at - began.at) * 1000),
                action=stored_action(self._store.bucket, "", mail_id, self._store.topic_arn),
            )
        )
        self._store.publish(text, began.traceparent)
        return began.accepted(mail_id, source, recipients, data, published_at)


def new_mail_id() -> str:
    """An id of the form that SES gives received mail: 40 lower-case letters and digits."""
    letters = "0123456789abcdefghijklmnopqrstuv"
    return "".join(secrets.choice(letters) for _ in range(40))


def header_fields(data: bytes) -> list[tuple[str, str]]:
    """The header fields in order, unfolded. Whatever is no field is passed over, as SES does."""
    fields: list[tuple[str, str]] = []
    for ended in data.split(b"\n"):
        line = ended.removesuffix(b"\r")
        if not line:
            break
        text = line.decode("utf-8", "replace")
        if line[:1] in b" \t":
            if fields:
                name, value = fields[-1]
                fields[-1] = (name, f"{value} {text.strip()}".strip())
            continue
        name, colon, value = text.partition(":")
        if colon and name and not name.isspace():
            fields.append((name.rstrip(), value.strip()))
    return fields


def received_headers(
    mail_id: str, source: str, recipients: tuple[str, ...], verdicts: Verdicts, *, now: float, peer: str
) -> bytes:
    """The header fields that SES puts on top of the mail it stores."""
    domain = source.rpartition("@")[2] or "localhost"
    date = format_datetime(datetime.fromtimestamp(now, UTC))
    results = {"spf": verdicts.spf, "dkim": verdicts.dkim, "dmarc": verdicts.dmarc}
    told = "; ".join(f"{method}={verdict.lower()} header.from={domain}" for method, verdict in results.items())
    lines = [
        f"Return-Path: <{source}>",
        f"Received: from {domain} ([{peer}])",
        " by inbound-smtp.us-east-1.amazonaws.com with SMTP",
        f" id {mail_id}",
        f" for {recipients[0]};",
        f" {date}",
        f"X-SES-Spam-Verdict: {verdicts.spam}",
        f"X-SES-Virus-Verdict: {verdicts.virus}",
        f"Received-SPF: {verdicts.spf.lower()} client-ip={peer}; envelope-from={source}; helo={domain};",
        f"Authentication-Results: amazonses.com; {told};",
    ]
    return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "replace")


def stored_action(bucket: str, prefix: str, mail_id: str, topic_arn: str) -> dict[str, str]:
    """The part of a notification that says where an S3 action has put the mail."""
    return {
        "type": "S3",
        "topicArn": topic_arn,
        "bucketName": bucket,
        "objectKeyPrefix": prefix,
        "objectKey": prefix + mail_id,
    }


def notification(
    *,
    mail_id: str,
    source: str,
    recipients: tuple[str, ...],
    stored: bytes,
    verdicts: Verdicts,
    now: float,
    took_ms: int,
    action: Mapping[str, Any],
) -> dict[str, Any]:
    """The `Received` notification of a receipt rule. `action`: which of its actions tells, and where the mail is."""
    fields = header_fields(stored)
    kept, truncated = _within_limit(fields)
    common = _common_headers(source, fields)
    receipt: dict[str, Any] = {
        "timestamp": _timestamp(now),
        "processingTimeMillis": took_ms,
        "recipients": list(recipients),
        "spamVerdict": {"status": verdicts.spam},
        "virusVerdict": {"status": verdicts.virus},
        "spfVerdict": {"status": verdicts.spf},
        "dkimVerdict": {"status": verdicts.dkim},
        "dmarcVerdict": {"status": verdicts.dmarc},
        "action": dict(action),
    }
    if verdicts.dmarc_policy is not None:
        receipt["dmarcPolicy"] = verdicts.dmarc_policy
    return {
        "notificationType": "Received",
        "mail": {
            "timestamp": _timestamp(now),
            "source": source or "<>",
            "messageId": mail_id,
            # From the headers, unlike receipt.recipients: a Bcc is not in it.
            "destination": [*common.get("to", []), *common.get("cc", [])] or list(recipients),
            "headersTruncated": truncated,
            "headers": [{"name": name, "value": value} for name, value in kept],
            "commonHeaders": common,
        },
        "receipt": receipt,
    }


def _timestamp(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _within_limit(fields: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], bool]:
    size = 0
    for count, (name, value) in enumerate(fields):
        size += len(name.encode()) + len(value.encode()) + len(": \r\n")
        if size > HEADERS_KEPT:
            return fields[:count], True
    return fields, False


def _common_headers(source: str, fields: list[tuple[str, str]]) -> Mapping[str, Any]:
    first: dict[str, str] = {}
    for name, value in fields:
        first.setdefault(name.lower(), value)
    common: dict[str, Any] = {"returnPath": source or "<>"}
    for key, header in (("from", "from"), ("to", "to"), ("cc", "cc"), ("replyTo", "reply-to")):
        if header in first:
            pairs = getaddresses([first[header]])
            common[key] = [f"{name} <{address}>" if name else address for name, address in pairs if address]
    for key, header in (("date", "date"), ("messageId", "message-id"), ("subject", "subject")):
        if header in first:
            common[key] = first[header]
    return common
