"""The mails of the benchmark, and the notifications that tell of them: realistic, and each known by its number."""

import base64
import json
import random
import re
from dataclasses import dataclass
from functools import cache
from hashlib import md5

from relayd.sandbox.cloud.signing import Signing

ACCOUNT = "123456789012"
BUCKET = "bench-mail"
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:bench-mail"
MASK = "shop@mask.example"
MAILBOX = "owner@home.example"
SOURCE = "bounce@news.stranger.example"
ATTACHED_FROM = 200_000
"""Bytes from which a mail has an attachment: nobody writes so much text."""
MARKER = re.compile(rb"bench-(\d{7})@")
"""In the Message-ID, which every program keeps in one header or another."""

_WORDS = (  # noqa: SIM905 - it is text
    "your order has been shipped and will arrive on Thursday please keep this mail we thank you for shopping with us "
    "if you have questions answer to this mail the price includes tax and delivery returns are free for thirty days"
).split()
_HEAD = """\
Return-Path: <bounce@news.stranger.example>\r
Received: from mta7.stranger.example (mta7.stranger.example [192.0.2.17])\r
 by inbound-smtp.us-east-1.amazonaws.com with SMTP id {number:07d}abcdefghijklmnopqrstuvwx\r
 for shop@mask.example; Mon, 23 Nov 2026 08:00:00 +0000 (UTC)\r
X-SES-Spam-Verdict: PASS\r
X-SES-Virus-Verdict: PASS\r
Received-SPF: pass (spfCheck: domain of news.stranger.example designates 192.0.2.17 as permitted sender)\r
 client-ip=192.0.2.17; envelope-from=bounce@news.stranger.example; helo=mta7.stranger.example;\r
Authentication-Results: amazonses.com; spf=pass (spfCheck: domain of news.stranger.example designates 192.0.2.17)\r
 dkim=pass header.i=@stranger.example; dmarc=pass header.from=stranger.example;\r
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=stranger.example; s=k1; t=1795420800;\r
 h=from:to:subject:date:message-id:list-unsubscribe:mime-version:content-type;\r
 bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\r
 b=dzdVyOfAKCdLXdJOc9G2q8LoXslEniSbav+yuU4zGeeruD00lszZVoG4ZHRNiYzRdzdVyOfAKCdLXdJOc9G2q8LoXslEniSb\r
Received: from app3.stranger.example (app3.internal [198.51.100.3])\r
 by mta7.stranger.example (Postfix) with ESMTPS id 4XyZ{number:07d}; Mon, 23 Nov 2026 07:59:58 +0000 (UTC)\r
Message-ID: <bench-{number:07d}@stranger.example>\r
Date: Mon, 23 Nov 2026 07:59:58 +0000\r
From: "The Shop" <news@stranger.example>\r
To: shop@mask.example\r
Reply-To: help@stranger.example\r
Subject: Your order has been shipped\r
List-Unsubscribe: <https://stranger.example/u/{number:07d}>, <mailto:leave@stranger.example>\r
List-Unsubscribe-Post: List-Unsubscribe=One-Click\r
MIME-Version: 1.0\r
"""


@cache
def body_of(size: int) -> bytes:
    """All of a mail but its own header fields, so that the whole has about `size` bytes."""
    room = max(size - len(_HEAD), 200)
    text = min(room, ATTACHED_FROM // 4)
    inner = _alternative(text, text if room > ATTACHED_FROM else room)
    if room <= ATTACHED_FROM:
        return inner
    rest = room - len(inner)
    line = base64.b64encode(random.Random(size).randbytes(57)) + b"\r\n"
    return (
        b'Content-Type: multipart/mixed; boundary="mixed-0001"\r\n\r\n--mixed-0001\r\n'
        + inner
        + b'\r\n--mixed-0001\r\nContent-Type: application/pdf; name="invoice.pdf"\r\n'
        + b'Content-Disposition: attachment; filename="invoice.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        + line * (rest // len(line))
        + b"--mixed-0001--\r\n"
    )


def _alternative(text: int, room: int) -> bytes:
    """A quarter of it plain text, the rest HTML, as newsletters are."""
    words = random.Random(text)
    plain = _lines(words, text // 4)
    markup = _lines(words, room - len(plain) - 400, '<p style=3D"margin:0">', "</p>")
    return (
        b'Content-Type: multipart/alternative; boundary="alt-0001"\r\n\r\n--alt-0001\r\n'
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        + plain
        + b"\r\n--alt-0001\r\nContent-Type: text/html; charset=utf-8\r\n"
        + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n<html><body>\r\n"
        + markup
        + b"</body></html>\r\n--alt-0001--\r\n"
    )


def _lines(words: random.Random, room: int, opened: str = "", closed: str = "") -> bytes:
    lines: list[str] = []
    while room > 0:
        line = opened + " ".join(words.choices(_WORDS, k=7)) + closed + "\r\n"
        lines.append(line)
        room -= len(line)
    return "".join(lines).encode()


def head_of(number: int) -> bytes:
    """The header fields of that mail."""
    return _HEAD.format(number=number).encode()


@dataclass(frozen=True, slots=True)
class Told:
    """A message of the queue: what SNS makes of SES's notification, ready to stand in an answer."""

    body: bytes
    """As a JSON string, with its quotes."""
    digest: str


class Post:
    """Signed notifications, made once for a number: signing costs more than anything else of a run."""

    def __init__(self) -> None:
        self._signing = Signing()
        self.messages: list[Told] = []
        """Of the mails 0, 1, 2 ...; it grows, and stays the same list."""

    @property
    def certificate(self) -> bytes:
        """PEM, to pin."""
        return self._signing.certificate

    def sign(self, count: int) -> None:
        """Make the messages of the mails 0 to `count` - 1, as far as they are not there."""
        while len(self.messages) < count:
            self.messages.append(self._tell(len(self.messages)))

    def _tell(self, number: int) -> Told:
        envelope = {
            "Type": "Notification",
            "MessageId": f"00000000-0000-4000-8000-{number:012d}",
            "TopicArn": TOPIC,
            "Subject": "Amazon SES Email Receipt Notification",
            "Message": json.dumps(_notification(number)),
            "Timestamp": "2026-11-23T08:00:00.500Z",
            "SignatureVersion": "2",
        }
        envelope["Signature"] = self._signing.sign(envelope, "2")
        path = self._signing.certificate_path
        envelope["SigningCertURL"] = f"https://sns.us-east-1.amazonaws.com{path}"
        envelope["UnsubscribeURL"] = "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe"
        text = json.dumps(envelope)
        return Told(json.dumps(text).encode(), md5(text.encode(), usedforsecurity=False).hexdigest())


def key_of(number: int) -> str:
    """Of its S3 object."""
    return f"mail-{number:07d}"


def _notification(number: int) -> dict[str, object]:
    fields = [line.partition(": ") for line in _HEAD.format(number=number).replace("\r\n ", " ").splitlines()]
    verdict = {"status": "PASS"}
    return {
        "notificationType": "Received",
        "mail": {
            "timestamp": "2026-11-23T08:00:00.000Z",
            "source": SOURCE,
            "messageId": key_of(number),
            "destination": [MASK],
            "headersTruncated": False,
            "headers": [{"name": name, "value": value} for name, _, value in fields],
            "commonHeaders": {
                "returnPath": SOURCE,
                "from": ['"The Shop" <news@stranger.example>'],
                "date": "Mon, 23 Nov 2026 07:59:58 +0000",
                "to": [MASK],
                "messageId": f"<bench-{number:07d}@stranger.example>",
                "subject": "Your order has been shipped",
            },
        },
        "receipt": {
            "timestamp": "2026-11-23T08:00:00.000Z",
            "processingTimeMillis": 420,
            "recipients": [MASK],
            "spamVerdict": verdict,
            "virusVerdict": verdict,
            "spfVerdict": verdict,
            "dkimVerdict": verdict,
            "dmarcVerdict": verdict,
            "action": {
                "type": "S3",
                "topicArn": TOPIC,
                "bucketName": BUCKET,
                "objectKey": key_of(number),
            },
        },
    }
