"""SES's notification in short: a release must read from it what the first delivery read from the whole."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from relayd.errors import PermanentError
from relayd.model.notification import InlineContent, Received
from relayd.wire.compact import LONGEST, compact, sender_and_subject
from relayd.wire.ses import read_notification
from tests.wire.samples import received, received_text
from tests.wire.test_fuzz import any_json, any_text

RECIPIENT = "shop+tag@mask.example"


def read(text: str) -> Received:
    notification = read_notification(text)
    assert isinstance(notification, Received)
    return notification


def expected(text: str) -> Received:
    """The same, for one recipient and without the header."""
    return replace(read(text), recipients=(RECIPIENT,), headers=(), headers_truncated=True)


verdicts = st.sampled_from([None, {"status": "PASS"}, {"status": "FAIL"}, {"status": "GRAY"}, {"status": "odd"}])
receipts = st.fixed_dictionaries(
    dict.fromkeys(("spamVerdict", "virusVerdict", "spfVerdict", "dkimVerdict", "dmarcVerdict"), verdicts),
    optional={"dmarcPolicy": st.sampled_from(["none", "QUARANTINE", "reject", "odd"])},
)
mails = st.fixed_dictionaries(
    {
        "source": st.sampled_from(["<>", "a@b.example"]) | any_text,
        "timestamp": st.sampled_from(["2024-05-02T00:54:05.123Z", "0001-01-01T00:00:00+23:59", "never"]) | st.none(),
        "commonHeaders": any_json,
    }
)


@given(mails, receipts)
@settings(max_examples=150, deadline=None)
def test_nothing_that_a_release_needs_is_lost(mail: dict[str, Any], receipt: dict[str, Any]) -> None:
    """Id, source, verdicts, place of the mail and time are read as from the whole."""
    text = received_text(mail=mail, receipt=receipt)
    assume("NaN" not in text and "Infinity" not in text)
    short = compact(text, RECIPIENT)
    assert short.isascii()
    assert read(short) == expected(text)
    assert compact(short, RECIPIENT) == short


@pytest.mark.parametrize("encoding", ["UTF-8", "BASE64", None])
def test_a_mail_that_came_inline_stays_inline(encoding: str | None) -> None:
    """Its bytes are the same, in either encoding; there is no object that a release could fetch."""
    mail = "From: caf\u00e9\r\n\r\n\U0001f600\x00\r\n"
    content = base64.b64encode(mail.encode()).decode() if encoding == "BASE64" else mail
    text = received_text(receipt={"action": {"type": "SNS", "topicArn": "arn", "encoding": encoding}}, content=content)
    assert read(compact(text, RECIPIENT)) == expected(text)
    assert read(compact(text, RECIPIENT)).content == InlineContent(mail.encode())


def test_it_is_short() -> None:
    """However long header, recipients and subject are."""
    headers = [{"name": f"X-{number}", "value": "x" * 1000} for number in range(100)]
    common = {"from": ["f" * 10_000], "subject": "s" * 10_000, "to": ["t" * 10_000]}
    text = received_text(
        mail={"headers": headers, "commonHeaders": common, "destination": ["d@mask.example"] * 500},
        receipt={"recipients": ["d@mask.example"] * 500},
    )
    assert len(compact(text, RECIPIENT)) < 4 * LONGEST


def test_only_mail_is_compacted() -> None:
    """What brings no mail, or is nothing at all, is a permanent error."""
    for text in ('{"Event": "s3:TestEvent"}', '{"notificationType": "Received"}', "no json", "[]"):
        with pytest.raises(PermanentError):
            compact(text, RECIPIENT)


def test_sender_and_subject_are_told() -> None:
    """From SES's common headers, else from the header, else from the envelope."""
    common = {"from": ["Bob <bob@example.org>"], "subject": "hello"}
    text = received_text(mail={"commonHeaders": common})
    assert sender_and_subject(text) == ("Bob <bob@example.org>", "hello")
    assert sender_and_subject(compact(text, RECIPIENT)) == ("Bob <bob@example.org>", "hello")
    without = received_text(mail={"commonHeaders": None})
    assert sender_and_subject(without) == ("Stranger <stranger@sender.example>", "hi")
    assert sender_and_subject(compact(without, RECIPIENT)) == ("Stranger <stranger@sender.example>", "hi")
    bare = received_text(mail={"commonHeaders": None, "headers": None})
    assert sender_and_subject(bare) == ("stranger@sender.example", "")


def test_sender_and_subject_are_one_visible_line_each() -> None:
    """A terminal, a database and a listing must take them."""
    odd = {"from": ["\x1b[2J\u202eeve\ud800 \x00@x\n y"], "subject": "a\r\nb\u2028c" + "d" * 10_000}
    sender, subject = sender_and_subject(received_text(mail={"commonHeaders": odd}))
    assert sender == "[2J eve @x y"
    assert subject.startswith("a b cd")
    assert len(subject) == LONGEST


@given(any_json)
@settings(max_examples=150, deadline=None)
def test_sender_and_subject_of_anything(value: Any) -> None:
    """For any JSON in any place: two short lines, or a PermanentError."""
    for document in (value, received(mail={"commonHeaders": value, "headers": value, "source": value})):
        try:
            sender, subject = sender_and_subject(json.dumps(document))
        except PermanentError:
            continue
        assert (sender + subject).isprintable()
        assert max(len(sender), len(subject)) <= LONGEST
