"""The new header: what passes, what never does, and that foreign text stays text."""

import base64
import dataclasses
import email
import email.policy
import email.utils
from email.header import decode_header, make_header

import pytest

from relayd.errors import PermanentError
from relayd.mail.letter import parse
from tests.mail.judge import PLAN, flaws, rewritten

NEVER = [
    "DKIM-Signature", "DomainKey-Signature", "ARC-Seal", "ARC-Message-Signature", "Authentication-Results",
    "Received", "Received-SPF", "Return-Path", "Sender", "Errors-To", "Bounces-To", "Delivered-To", "Bcc",
    "Resent-From", "Resent-To", "Disposition-Notification-To", "Return-Receipt-To", "Feedback-ID", "X-Relayd-Mask",
    "X-Relayd-Hops", "X-SES-CONFIGURATION-SET", "X-SES-MESSAGE-TAGS", "Reply-To", "Date", "Message-ID", "X-Mailer",
]  # fmt: skip


def _message(raw: bytes, **changes: object) -> email.message.Message:
    plan = dataclasses.replace(PLAN, **changes)  # type: ignore[arg-type]
    data = rewritten(raw, plan).data
    assert flaws(data) == []
    return email.message_from_bytes(data, policy=email.policy.compat32)


def _text(value: str | None) -> str:
    assert value is not None
    return str(make_header(decode_header(value)))


def test_only_the_allow_list_passes() -> None:
    """Signatures, traces, other people's addresses and anything that steers SES stay behind."""
    secret = b"sentinel-value"
    lines = b"".join(name.encode() + b": <" + secret + b"@x.example>\r\n" for name in NEVER)
    message = _message(lines + b"From: Bob <bob@example.org>\r\nSubject: hello\r\n\r\nbody\r\n")
    kept = {name for name, value in message.items() if secret.decode() in value}
    assert kept == {"X-Relayd-Original-Date", "X-Relayd-Original-Message-ID"}
    assert message["Subject"] == "hello"


def test_first_copy_only() -> None:
    """SES refuses a second copy of nearly every header; parsers read the first."""
    names = [b"Subject", b"To", b"Cc", b"Content-Type", b"MIME-Version", b"References", b"List-Id", b"Precedence"]
    lines = b"".join(name + b": <first@x.example>\r\n" + name.upper() + b": <second@x.example>\r\n" for name in names)
    message = _message(lines + b"From: a@x.example\r\nFrom: b@x.example\r\n\r\nbody")
    for name in {*map(str.lower, message.keys())}:
        assert len(message.get_all(name) or []) == 1, name
    assert "second" not in message.as_string()


@pytest.mark.parametrize(
    ("line", "label"),
    [
        ("From: Bob <bob@example.org>", "Bob (bob at example.org)"),
        ("From: bob@example.org", "bob at example.org"),
        ('From: "bob@example.org" <bob@example.org>', "bob at example.org"),
        ('From: "A \\"B\\" \\\\ C" <bob@example.org>', 'A "B" \\ C (bob at example.org)'),
        ("From: Jörg <jorg@example.org>", "Jörg (jorg at example.org)"),
        ("From: =?utf-8?q?a=0D=0ABcc=3A_x=E2=80=A8y=E2=80=8F?= <b@x.example>", "a Bcc: x y (b at x.example)"),
        ("From: =?utf-8?b?PT91dGYtOD9xP3g/PQ==?= <b@x.example>", "=?utf-8?q?x?= (b at x.example)"),
        (f"From: {'x' * 200}@bank.example", f"{'x' * 41}... at bank.example"),
        (f"From: a@{'y' * 200}.example", f"a at {'y' * 49}..."),
        ("Subject: no From", "bounce at sender.example"),
        ("From: nobody at all", "bounce at sender.example"),
    ],
)
def test_from_says_who_it_was(line: str, label: str) -> None:
    """Name and address in the display name, the reply token as the address; controls and line ends are gone."""
    message = _message(line.encode() + b"\r\n\r\nbody")
    name, address = email.utils.parseaddr(message["From"])
    assert address == PLAN.reply_address
    assert "\n" not in message["From"]
    if not label.startswith("=?"):
        assert _text(name) == label
    else:
        assert "=?utf-8?q?x?=" not in message["From"]


@pytest.mark.parametrize("name", ["N" * 500, "名" * 500, "🎉 " * 200, "\u202e" * 100 + "x"])
def test_long_names_are_capped(name: str) -> None:
    """About seventy characters, in one line, each encoded word whole."""
    line = f"From: {name} <bob@example.org>\r\n\r\n".encode()
    first = rewritten(line).data.split(b"\r\n")[0]
    assert first.endswith(b" <mfzwizltoq3gk4tfobxw4@mask.example>")
    assert all(len(word) <= 75 for word in first.split() if word.startswith(b"=?"))
    shown = _text(email.utils.parseaddr(first.decode().removeprefix("From: "))[0])
    assert len(shown) <= 75
    assert shown.endswith("(bob at example.org)")


def test_an_empty_envelope_still_has_a_sender() -> None:
    """A bounce without a From that can be read: no address is invented."""
    message = _message(b"Subject: x\r\n\r\nbody", envelope_source="")
    assert email.utils.parseaddr(message["From"]) == ("unknown sender", PLAN.reply_address)


def test_added_headers_tell_what_is_lost() -> None:
    """What SES overwrites stays readable, and the mask, tag, hops and warnings are told."""
    raw = b"From: Bob <bob@example.org>\r\nTo: Shop <shop@mask.example>\r\n"
    raw += b"Date: Mon, 1 Jan 2024\r\nMessage-ID: <m@x>\r\n\r\n"
    message = _message(raw, tag="deals", warnings=("spam", "dmarc"))
    assert message["X-Relayd-Mask"] == "shop+deals@mask.example"
    assert message["X-Relayd-Tag"] == "deals"
    assert message["X-Relayd-Original-From"] == "Bob <bob@example.org>"
    assert message["X-Relayd-Original-To"] == "Shop <shop@mask.example>"
    assert message["X-Relayd-Original-Date"] == "Mon, 1 Jan 2024"
    assert message["X-Relayd-Original-Message-ID"] == "<m@x>"
    assert message["X-Relayd-Hops"] == PLAN.hops
    assert message["X-Relayd-Warning"] == "spam, dmarc"


def test_foreign_text_cannot_add_a_header() -> None:
    """Neither a tag, nor an envelope, nor a decoded word brings a line of its own."""
    evil = "a\r\nBcc: victim@x.example\r\n\r\nbody"
    message = _message(b"From: x\r\n\r\nreal body", tag=evil, envelope_source=evil, hops=evil, warnings=(evil,))
    assert message["Bcc"] is None
    assert message.get_payload() == "real body"


def test_a_reply_address_that_no_header_can_carry_is_refused() -> None:
    """It comes from the directory, not from the mail: a permanent error, not a broken header."""
    with pytest.raises(PermanentError):
        _message(b"\r\n", reply_address="a@b\r\nBcc: x@y")


def test_threads_are_mapped_by_local_part() -> None:
    """SES's domain differs by region; ids that nobody knows stay, and a mapped one does not appear twice."""
    raw = b"References: <one@a.example> <two@b.example>\r\n <three@c.example>\r\n"
    raw += b"In-Reply-To: your mail <three@c.example>\r\n\r\n"
    threads = {"one@other.example": ("0100-1@eu-west-1.amazonses.com",), "three@c.example": ("<0100-3@amazonses.com>",)}
    message = _message(raw, threads=threads)
    assert message["References"].split() == [
        "<0100-1@eu-west-1.amazonses.com>",
        "<two@b.example>",
        "<0100-3@amazonses.com>",
    ]
    assert message["In-Reply-To"] == "<0100-3@amazonses.com>"


def test_a_mail_that_went_to_two_mailboxes_threads_in_both() -> None:
    """SES gave each copy an id of its own, and a mailbox knows only one of them. However many, the field is bounded."""
    raw = b"References: <one@a.example>\r\nIn-Reply-To: <one@b.example>\r\n\r\n"
    message = _message(raw, threads={"one@a.example": ("ses-1@amazonses.com", "ses-2@amazonses.com")})
    assert message["References"] == message["In-Reply-To"] == "<ses-1@amazonses.com> <ses-2@amazonses.com>"
    message = _message(raw, threads={"one@a.example": tuple(f"{n}@amazonses.com" for n in range(5000))})
    assert 1 < len(message["References"].split()) <= 100


def test_unsubscribe_links_do_not_reveal_the_owner() -> None:
    """A mailto would be sent from the owner's own address; one-click needs its link."""
    both = b"List-Unsubscribe: <mailto:out@x.example>, <https://x.example/u?a=1,2>\r\n"
    both += b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\r\n"
    message = _message(both)
    assert message["List-Unsubscribe"] == "<https://x.example/u?a=1,2>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    message = _message(both.replace(b"https:", b"http:"))
    assert message["List-Unsubscribe"] is None
    assert message["List-Unsubscribe-Post"] is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"To: shop@mask.example", "shop@mask.example"),
        (b'To: "Last, First" <a@b.example>, c@d.example', '"Last, First" <a@b.example>, c@d.example'),
        (b"To: =?utf-8?q?J=C3=B6rg?= <a@b.example>", "=?utf-8?q?J=C3=B6rg?= <a@b.example>"),
        (b"To: J\xf6rg <a@b.example>", "Jörg <a@b.example>"),
        (b"To: , a@b.example, c@d.example", "a@b.example, c@d.example"),
        (b"To: A Group: a@b.example, nobody;", "a@b.example"),
        (b"To: undisclosed-recipients:;", None),
        (b"To: nobody", None),
        (b"To: a@localhost", None),
        (b"To: a b@c.example", "b@c.example"),
        (b"To: j\xc3\xb6e@b.example, c@d.example", "c@d.example"),
        (b"To: a..b@c.example", None),
        (b"To: a@b.example>", "a@b.example"),
        (b"To: Al <a(his)@(own host)b.example>", '"Al" <a@b.example>'),
    ],
)
def test_recipients_are_shown_as_far_as_ses_takes_them(line: bytes, expected: str | None) -> None:
    """One bad address in To makes SES refuse the mail; the field as it was stays in a header of our own."""
    message = _message(line + b"\r\n\r\nbody")
    if expected is None:
        assert message["To"] is None
    else:
        assert _text(message["To"]).replace('"Jörg"', "Jörg") == _text(expected)
    assert message["X-Relayd-Original-To"] is not None


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"Subject: caf\xc3\xa9", "café"),
        (b"Subject: caf\xe9", "café"),
        (b"Subject: \x1b$B%F%9%H\x1b(B", "テスト"),
        (b"Subject: \x1b$)C\x0e>H3g\x0f", "안녕"),
        (b"Subject: =?utf-8?q?caf=C3=A9?= and na\xc3\xafve", "café and naïve"),
        (b"Subject: folded\r\n here", "folded here"),
        (b"Subject: folded\n here", "folded here"),
        (b"Subject: a\0b\x07c", "a b c"),
        (b"Subject: \xd0\xd2\xc9\xd7\xc5\xd4", "привет"),
    ],
)
def test_raw_8_bit_headers_become_encoded_words(line: bytes, text: str) -> None:
    """By UTF-8, by the charset that the mail declares, else by Windows-1252; ISO-2022-JP is known by its escapes."""
    declared = b"Content-Type: text/plain; charset=koi8-r\r\n" if b"\xd0" in line else b""
    message = _message(declared + line + b"\r\n\r\nbody")
    assert " ".join(_text(message["Subject"]).split()) == text


def test_clean_headers_keep_their_bytes() -> None:
    """Folds, odd spaces, encoded words: what SES takes is not written anew."""
    line = b'Content-Type:  text/plain;\r\n\tcharset="utf-8" ; name="=?utf-8?q?a?="\r\n'
    subject = b"SUBJECT: =?UTF-8?B?eA==?=\r\n  and \t more\r\n"
    data = rewritten(line + subject + b"\r\nbody").data
    assert line in data
    assert subject in data


def test_an_encoded_word_too_long_for_a_line_is_written_in_shorter_ones() -> None:
    """Some mailers put a whole subject into one encoded word; cut as text, it would be shown as base64."""
    subject = "Ü" * 400
    word = base64.b64encode(subject.encode())
    assert _text(_message(b"Subject: =?utf-8?B?" + word + b"?=\r\n\r\nbody")["Subject"]) == subject


def test_a_field_of_nothing_does_not_pass() -> None:
    """SES refuses an empty header; an id that no header can carry leaves none behind."""
    message = _message(b"Content-ID: \xe9\r\nReferences: <\xe9>\r\nIn-Reply-To: \xff\r\nTo:\r\nSubject:\r\n\r\nbody")
    assert not {"content-id", "references", "in-reply-to", "to", "subject"} & {name.lower() for name in message}


def test_parameters_that_cannot_be_sent_become_rfc_2231() -> None:
    """A raw 8-bit file name is still the file's name, and the other parameters stay."""
    raw = b'Content-Type: text/plain; charset=utf-8; name="r\xc3\xa9sum\xc3\xa9.txt"\r\n'
    raw += b"Content-Disposition: attachment; filename=r\xe9sum\xe9.txt\r\n\r\nbody"
    message = _message(raw)
    assert message.get_content_charset() == "utf-8"
    assert message.get_filename() == "résumé.txt"
    assert email.utils.collapse_rfc2231_value(message.get_param("name") or "") == "résumé.txt"


def test_a_header_line_of_100_kb() -> None:
    """It is cut where it is text; where it is structure, the rest of the mail goes on without it."""
    long = b"x" * 100_000
    for name in (b"Subject", b"To", b"Content-Type", b"References", b"List-Unsubscribe", b"From", b"X-Y", long):
        data = rewritten(name + b": " + long + b"\r\n\r\nbody").data
        assert flaws(data) == []
        assert len(data) < 20_000
        assert parse(data).body == b"body"
