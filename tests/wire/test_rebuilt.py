"""The notification made anew: as SES's own says where SES's header is SES's, and nothing at all where it is not."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.errors import PermanentError
from relayd.model.notification import Received, S3Content, Verdicts
from relayd.sandbox import receiving
from relayd.wire.compact import sender_and_subject
from relayd.wire.rebuilt import HEADERS_KEPT, rebuilt
from relayd.wire.ses import read_notification
from tests.wire.samples import MAIL_ID
from tests.wire.test_fuzz import any_text

KEY = f"in/{MAIL_ID}"
HOST = "mail-wm1-f50.stranger.example"
FOR = f" by inbound-smtp.eu-west-1.amazonaws.com with SMTP id {MAIL_ID} for shop+x@mask.example;"
SPF = (
    "(spfCheck: domain of stranger.example designates 192.0.2.50 as permitted sender)"
    f" client-ip=192.0.2.50; envelope-from=bounce+1@stranger.example; helo={HOST};"
)
SES = (
    ("Return-Path", "<bounce+1@stranger.example>"),
    ("Received", f"from {HOST} ({HOST} [192.0.2.50]){FOR} Thu, 02 May 2024 00:54:05 +0000 (UTC)"),
    ("X-SES-Spam-Verdict", "PASS"),
    ("X-SES-Virus-Verdict", "PASS"),
    ("Received-SPF", f"pass {SPF}"),
    (
        "Authentication-Results",
        f"amazonses.com; spf=pass {SPF} dkim=pass header.i=@stranger.example; dmarc=pass header.from=stranger.example;",
    ),
    ("X-SES-RECEIPT", "AEFBQUFBQUFBQUFGc2h"),
)
MAIL = (
    ("Received", "by smtp.stranger.example with SMTP id 5b1 for <shop@mask.example>; Thu, 02 May 2024 00:54:03 +0000"),
    ("From", "Jürgen <jay@stranger.example>"),
    ("Subject", "=?utf-8?q?Gr=C3=BC=C3=9Fe?="),
)


def read(headers: tuple[tuple[str, str], ...] = SES + MAIL, **changes: Any) -> Received:
    arguments: dict[str, Any] = {"complete": True, "bucket": "mail-bucket", "key": KEY} | changes
    notification = read_notification(rebuilt(headers, **arguments))
    assert isinstance(notification, Received)
    return notification


def changed(name: str, value: str | None) -> tuple[tuple[str, str], ...]:
    """SES's header with another value for one of its fields, or without it, above a stranger's mail."""
    ours = ((found, value if found == name else old) for found, old in SES)
    return tuple((found, new) for found, new in ours if new is not None) + MAIL


def refusal(headers: tuple[tuple[str, str], ...] = SES + MAIL, **changes: Any) -> str:
    with pytest.raises(PermanentError) as caught:
        read(headers, **changes)
    return caught.value.reason


def test_it_says_what_ses_said() -> None:
    """Id, envelope, verdicts, place and time, from the form that SES really writes."""
    assert read() == Received(
        MAIL_ID,
        source="bounce+1@stranger.example",
        recipients=("shop+x@mask.example",),
        verdicts=Verdicts("PASS", "PASS", "PASS", "PASS", "PASS"),
        headers=SES + MAIL,
        headers_truncated=False,
        content=S3Content("mail-bucket", KEY),
        received_at=1714611245.0,
    )
    text = rebuilt(SES + MAIL, complete=True, bucket="mail-bucket", key=KEY)
    assert text.isascii()
    assert sender_and_subject(text) == ("Jürgen <jay@stranger.example>", "=?utf-8?q?Gr=C3=BC=C3=9Fe?=")


@pytest.mark.parametrize("words", ["", "spam", "virus", "gray", "dmarc-reject", "dmarc-quarantine", "dmarc-none"])
def test_it_says_what_the_lost_one_said(words: str) -> None:
    """Held against the notification of the sandbox's SES for the same mail, but for the policy, which no header has."""
    data = f"X-Sandbox-Verdict: {words}\r\nFrom: a@b.example\r\nSubject: x\r\n\r\nbody\r\n".encode()
    fields = receiving.header_fields(data)
    verdicts = receiving.Verdicts.of(data, fields)
    top = receiving.received_headers(MAIL_ID, "a@b.example", ("shop@mask.example",), verdicts, now=1.7e9, peer="::1")
    stored = top + data
    lost = receiving.notification(
        mail_id=MAIL_ID,
        source="a@b.example",
        recipients=("shop@mask.example",),
        stored=stored,
        verdicts=verdicts,
        now=1.7e9,
        took_ms=1,
        action=receiving.stored_action("mail-bucket", "in/", MAIL_ID, "arn"),
    )
    if "dmarcPolicy" in lost["receipt"]:
        lost["receipt"]["dmarcPolicy"] = "quarantine"
    found = read(tuple(receiving.header_fields(stored)))
    assert found == read_notification(json.dumps(lost))


@pytest.mark.parametrize(
    ("field", "value", "name", "verdict"),
    [
        ("X-SES-Spam-Verdict", "FAIL", "spam", "FAIL"),
        ("X-SES-Virus-Verdict", "PROCESSING_FAILED", "virus", "PROCESSING_FAILED"),
        ("X-SES-Virus-Verdict", None, "virus", "ABSENT"),
        ("X-SES-Spam-Verdict", "\ud800", "spam", "ABSENT"),
        ("Received-SPF", "softfail (spfCheck: transitioning) client-ip=192.0.2.1;", "spf", "GRAY"),
        ("Received-SPF", "permerror (spfCheck: Error in processing SPF Record)", "spf", "PROCESSING_FAILED"),
        ("Received-SPF", "fail (pass)", "spf", "FAIL"),
        ("Authentication-Results", "amazonses.com; spf=none; dmarc=none properties.from=x.example;", "dmarc", "GRAY"),
        ("Authentication-Results", "amazonses.com; spf=none; dmarc=fail header.from=x.example;", "dmarc", "FAIL"),
        ("Authentication-Results", "amazonses.com; spf=none;", "dkim", "GRAY"),
        ("Authentication-Results", "amazonses.com; dkim=fail header.i=@a; dkim=pass header.i=@b;", "dkim", "PASS"),
        ("Authentication-Results", "amazonses.com; dkim=permerror;", "dkim", "PROCESSING_FAILED"),
        ("Authentication-Results", "mx.stranger.example; dmarc=pass header.from=x.example;", "dmarc", "ABSENT"),
        ("Authentication-Results", None, "dmarc", "ABSENT"),
    ],
)
def test_verdicts_in_headers(field: str, value: str | None, name: str, verdict: str) -> None:
    """SES's words in its header lead to SES's words in its notification."""
    assert read(changed(field, value)).verdicts.by_name()[name] == verdict


@pytest.mark.parametrize(
    ("sender", "helo", "told"),
    [
        ('"; dmarc=pass header.from=bank.example;"@evil.example', "evil", " dmarc=fail header.from=bank.example;"),
        ('"; dmarc=pass header.from=bank.example;"@evil.example', "evil", " dmarc=none header.from=bank.example;"),
        ('"; dmarc=pass header.from=bank.example;"@evil.example', "evil", ""),
        ("x@evil.example", "x;dmarc=pass;", ""),
        ("x@evil.example", "(dmarc=pass", " dmarc=fail header.from=bank.example;"),
        ('"@evil.example', '"', " dmarc=fail header.from=bank.example;"),
        ("x@evil.example", '"', " dmarc=fail header.from=bank.example;"),
    ],
)
def test_a_sender_proves_nothing_by_its_own_words(sender: str, helo: str, told: str) -> None:
    """Envelope sender and HELO stand in the same field as the results: none of them passes for one, or hides one."""
    value = f"amazonses.com; spf=pass (spfCheck: ok) client-ip=192.0.2.1; envelope-from={sender}; helo={helo};{told}"
    found = read(changed("Authentication-Results", value)).verdicts.dmarc
    assert found == ("FAIL" if "dmarc=fail" in told else "GRAY")


def test_a_failed_dmarc_is_a_warning() -> None:
    """No header tells the policy: the mail is neither discarded for it nor passed off as good."""
    value = "amazonses.com; dmarc=fail header.from=bank.example;"
    assert read(changed("Authentication-Results", value)).verdicts.dmarc_policy == "quarantine"
    assert read().verdicts.dmarc_policy is None


def test_fields_below_the_second_received_are_a_strangers() -> None:
    """What SES did not say stays unsaid, whatever the mail came with."""
    strangers = (("X-SES-Spam-Verdict", "PASS"), ("Authentication-Results", "amazonses.com; dmarc=pass header.from=x;"))
    found = read((*SES[:2], MAIL[0], *strangers, ("Return-Path", "<other@x.example>"))).verdicts
    assert found == Verdicts()


def test_the_topmost_field_counts() -> None:
    """A mail without a Received of its own may repeat SES's fields right below them."""
    lies = (("X-SES-Virus-Verdict", "PASS"), ("Return-Path", "<friend@x.example>"))
    found = read(changed("X-SES-Virus-Verdict", "FAIL")[: len(SES)] + lies)
    assert (found.verdicts.virus, found.source) == ("FAIL", "bounce+1@stranger.example")


@pytest.mark.parametrize(
    "received",
    [
        SES[1][1].replace(MAIL_ID, "0123456789abcdefghijklmnopqrstuv01234567"),
        SES[1][1].replace("inbound-smtp.eu-west-1.amazonaws.com", "inbound-smtp.eu-west-1.amazonaws.com.evil.example"),
        SES[1][1].replace("inbound-smtp", "smtp"),
        f"from x (by inbound-smtp.eu-west-1.amazonaws.com) id {MAIL_ID} for shop@mask.example; Thu, 02 May 2024",
        MAIL[0][1],
        "",
        None,
    ],
)
def test_what_ses_did_not_write_is_no_mail_of_ours(received: str | None) -> None:
    """The topmost Received names the object itself, or there is nothing to believe."""
    assert refusal(changed("Received", received)) == "not_from_ses"


def test_a_host_cannot_put_words_into_the_received_field() -> None:
    """What it calls itself stands first, and whatever it says there, another recipient does not come of it."""
    lie = f"by inbound-smtp.eu-west-1.amazonaws.com with SMTP id {MAIL_ID} for victim@mask.example; Thu, 02 May 2024"
    told = SES[1][1].replace("from mail-wm1-f50.stranger.example", f"from x (x) {lie}", 1)
    assert refusal(changed("Received", told)) == "not_from_ses"


@pytest.mark.parametrize(
    "key", ["in/", "", "AMAZON_SES_SETUP_NOTIFICATION", "in/AMAZON_SES_SETUP_NOTIFICATION", "in/a b", "in/é", "x" * 129]
)
def test_objects_that_are_no_mail(key: str) -> None:
    """Told by the name, before anything is read."""
    assert refusal(key=key) == "not_mail"


def test_without_a_recipient() -> None:
    """SES names none: nobody can tell for whom the mail was, unless the ledger does."""
    nobody = changed("Received", SES[1][1].replace(" for shop+x@mask.example", ""))
    assert refusal(nobody) == "recipient_unknown"
    assert refusal(recipients=()) == "recipient_unknown"
    assert read(nobody, recipients=("a@mask.example", "b@mask.example")).recipients == (
        "a@mask.example",
        "b@mask.example",
    )


def test_a_bounce_has_no_sender() -> None:
    """`<>` stays empty, and is no missing field."""
    assert read(changed("Return-Path", "<>")).source == ""
    assert read(changed("Return-Path", None)).source == ""


def test_a_long_header_is_cut_where_ses_cuts_it() -> None:
    """The limit, and a header of which not all was read: both say so, and both still tell who wrote."""
    long = (*SES, *((f"X-{number}", "x" * 1000) for number in range(20)), ("From", "late@stranger.example"))
    found = read(long)
    assert found.headers_truncated
    assert HEADERS_KEPT - 1100 < sum(len(name) + len(value) + 4 for name, value in found.headers) <= HEADERS_KEPT
    text = rebuilt(long, complete=True, bucket="mail-bucket", key=KEY)
    assert sender_and_subject(text)[0] == "late@stranger.example"
    assert read(complete=False).headers_truncated


@pytest.mark.parametrize("date", ["never", "Thu, 02 May 99999 00:54:05 +0000", "Thu, 99 May 2024 00:54:05 +0000"])
def test_an_impossible_date(date: str) -> None:
    """It is only measured by."""
    told = SES[1][1].replace("Thu, 02 May 2024 00:54:05 +0000 (UTC)", date)
    assert read(changed("Received", told)).received_at == 0.0


names = st.sampled_from([name for name, _ in SES + MAIL]) | any_text
values = st.sampled_from([value for _, value in SES + MAIL]) | any_text


@given(
    st.lists(st.tuples(names, values), max_size=12) | st.just(list(SES)),
    st.lists(st.tuples(names, values), max_size=6),
    st.sampled_from([KEY, MAIL_ID]) | any_text,
    st.sampled_from(["mail-bucket"]) | any_text,
    st.none() | st.lists(any_text, max_size=3),
)
@settings(max_examples=400, deadline=None)
def test_any_header_at_all(
    ours: list[tuple[str, str]], theirs: list[tuple[str, str]], key: str, bucket: str, recipients: list[str] | None
) -> None:
    """A notification that the reader of SES's takes, or a PermanentError."""
    try:
        text = rebuilt([*ours, *theirs], complete=True, bucket=bucket, key=key, recipients=recipients)
    except PermanentError:
        return
    found = read_notification(text)
    assert isinstance(found, Received)
    assert found.mail_id == key.rpartition("/")[2]
    assert found.recipients
