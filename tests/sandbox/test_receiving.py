"""What the sandbox's SES makes of a mail, as relayd will see it."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.sandbox.receiving import EICAR, GTUBE, HEADERS_KEPT, Receiving, Verdicts, header_fields

MAIL = (
    b"From: Ada <ada@example.net>\r\nTo: shop@mask.example, x@example.org\r\nSubject: a\r\n folded one\r\n"
    b"Message-ID: <1@example.net>\r\n\r\nhello\r\n"
)


class FakeStore:
    """Keeps what is stored and told, or fails to publish."""

    bucket = "bucket-1"
    topic_arn = "arn:aws:sns:us-east-1:123456789012:topic"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.told: list[dict[str, object]] = []
        self.traceparents: list[str] = []

    def put(self, key: str, data: bytes) -> None:
        self.objects[key] = data

    def publish(self, text: str, traceparent: str) -> None:
        # SES tells of a mail only when it can be fetched.
        assert json.loads(text)["mail"]["messageId"] in self.objects
        self.told.append(json.loads(text))
        self.traceparents.append(traceparent)


def received(data: bytes, source: str = "ada@example.net", recipients: tuple[str, ...] = ("shop@mask.example",)):  # type: ignore[no-untyped-def]
    store = FakeStore()
    accepted = Receiving(store).accept(source, recipients, data)
    return store, accepted, store.told[0]


def test_the_mail_is_stored_below_the_headers_that_ses_adds() -> None:
    """The sender's bytes are the end of the object, untouched; SES's own fields stand above."""
    store, accepted, _ = received(MAIL)
    stored = store.objects[accepted.mail_id]
    assert stored.endswith(MAIL)
    names = [name for name, _ in header_fields(stored.removesuffix(MAIL))]
    assert names[:3] == ["Return-Path", "Received", "X-SES-Spam-Verdict"]
    assert re.fullmatch(r"[0-9a-v]{40}", accepted.mail_id)


def test_the_notification_has_ses_shape() -> None:
    """Envelope, headers, verdicts and the place of the mail, each where SES has it."""
    _, accepted, told = received(MAIL, recipients=("shop@mask.example", "news@mask.example"))
    mail, receipt = told["mail"], told["receipt"]
    assert told["notificationType"] == "Received"
    assert mail["messageId"] == accepted.mail_id
    assert mail["source"] == "ada@example.net"
    assert mail["destination"] == ["shop@mask.example", "x@example.org"]
    assert mail["headersTruncated"] is False
    assert {"name": "Subject", "value": "a folded one"} in mail["headers"]
    assert mail["commonHeaders"]["from"] == ["Ada <ada@example.net>"]
    assert mail["commonHeaders"]["messageId"] == "<1@example.net>"
    assert receipt["recipients"] == ["shop@mask.example", "news@mask.example"]
    verdicts = [receipt[f"{name}Verdict"]["status"] for name in ("spam", "virus", "spf", "dkim", "dmarc")]
    assert verdicts == ["PASS"] * 5
    assert "dmarcPolicy" not in receipt
    action = receipt["action"]
    assert (action["type"], action["bucketName"], action["objectKey"]) == ("S3", "bucket-1", accepted.mail_id)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", mail["timestamp"])


def test_a_bounce_is_told_as_ses_tells_it() -> None:
    """The empty source is `<>`."""
    _, _, told = received(MAIL, source="")
    assert told["mail"]["source"] == "<>"


def test_the_trace_begins_here() -> None:
    """The traceparent that goes out with the notification is the span that the drawing will show."""
    store, accepted, _ = received(MAIL)
    assert store.traceparents == [f"00-{accepted.trace_id}-{accepted.span.span_id}-01"]


def test_headers_beyond_10_kb_are_cut() -> None:
    """What is kept fits, in order, and the notification says that something is missing."""
    filler = b"".join(b"X-Filler-%d: %s\r\n" % (number, b"f" * 500) for number in range(40))
    _, _, told = received(filler + MAIL)
    mail = told["mail"]
    assert mail["headersTruncated"] is True
    assert not any(field["name"] == "Subject" for field in mail["headers"])
    assert sum(len(field["name"]) + len(field["value"]) + 4 for field in mail["headers"]) <= HEADERS_KEPT
    assert mail["commonHeaders"]["subject"] == "a folded one"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"X-Sandbox-Verdict: spam\r\n\r\n", Verdicts(spam="FAIL")),
        (b"x-sandbox-verdict: virus, spam\r\n\r\n", Verdicts(spam="FAIL", virus="FAIL")),
        (
            b"X-Sandbox-Verdict: dmarc-reject\r\n\r\n",
            Verdicts(spf="FAIL", dkim="FAIL", dmarc="FAIL", dmarc_policy="reject"),
        ),
        (b"X-Sandbox-Verdict: gray\r\n\r\n", Verdicts(spam="GRAY", spf="GRAY", dkim="GRAY", dmarc="GRAY")),
        (b"Subject: x\r\n\r\n" + GTUBE, Verdicts(spam="FAIL")),
        (b"Subject: x\r\n\r\n" + EICAR, Verdicts(virus="FAIL")),
        (b"Subject: X-Sandbox-Verdict: spam\r\n\r\nX-Sandbox-Verdict: spam\r\n", Verdicts()),
    ],
)
def test_verdicts_can_be_chosen(data: bytes, expected: Verdicts) -> None:
    """By a header field, or by what real scanners fall for; a body cannot choose."""
    assert Verdicts.of(data, header_fields(data)) == expected


@given(st.binary(max_size=300))
def test_any_bytes_are_taken_in(data: bytes) -> None:
    """A mail of any bytes is stored as it is and gives a notification."""
    store, accepted, told = received(data)
    assert store.objects[accepted.mail_id].endswith(data)
    assert told["receipt"]["action"]["objectKey"] == accepted.mail_id
