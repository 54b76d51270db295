"""Notices: whole mails of our own, complete in every language, whatever the facts are made of."""

import email
import email.policy
import re
from email.message import EmailMessage
from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.errors import PermanentError
from relayd.mail.languages import LANGUAGES, phrases
from relayd.mail.notices import write
from relayd.model.notice import NOTICE_KINDS, NoticeKind, OwnerNotice

SENDER, RECIPIENT, HOPS = "notices@masks.example", "owner@home.example", "v1; n=1; mac=" + "0" * 64
FACTS = {
    "mask": "shop.x7@masks.example",
    "sender": "news@shop.example",
    "contact": "friend@else.example",
    "subject": "Fotos & <b>Größe</b>",
    "size": "52428800",
    "mailbox": "old@home.example",
    "days": "7",
}
EVERY = [(kind, language) for kind in NOTICE_KINDS for language in LANGUAGES]


def written(kind: NoticeKind, language: str = "en", facts: dict[str, str] | None = None) -> bytes:
    notice = OwnerNotice("o1", kind, FACTS if facts is None else facts)
    return write(notice, language=language, sender=SENDER, recipient=RECIPIENT, hops=HOPS)


def read(data: bytes) -> EmailMessage:
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert not [defect for part in message.walk() for defect in part.defects]
    return message


def bodies(data: bytes) -> tuple[str, str]:
    """Text and HTML, their lines ended by LF."""
    message = read(data)
    assert [part.get_content_type() for part in message.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    return text.get_content().replace("\r\n", "\n"), html.get_content().replace("\r\n", "\n")


def is_wire(data: bytes) -> bool:
    """7-bit, CRLF only, lines under 998."""
    lines = data.split(b"\r\n")
    return data.isascii() and not any(b"\r" in line or b"\n" in line or len(line) > 997 for line in lines)


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_every_notice_says_what_happened_and_what_to_do(kind: NoticeKind, language: str) -> None:
    """Text and HTML hold all sentences and all facts, in the owner's language."""
    data = written(kind, language)
    texts = phrases(language)
    text, html = bodies(data)
    assert is_wire(data)
    spoken = texts.notices[kind]
    for sentence in (spoken.happened, spoken.meaning, spoken.advice, texts.why):
        assert sentence in " ".join(text.split())
        assert sentence in unescape(html)
    for name, value in FACTS.items():
        shown = {"size": f"52{texts.decimal}4 MB"}.get(name, value)
        assert f"{texts.facts[name]}: {shown}\n" in text
        assert shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in html
    assert f'<html lang="{language}">' in html


@pytest.mark.parametrize(("kind", "language"), EVERY)
def test_every_notice_can_do_without_facts(kind: NoticeKind, language: str) -> None:
    """What is not known is not spoken of, and leaves no hole."""
    data = written(kind, language, {})
    text, html = bodies(data)
    assert read(data)["Subject"] == phrases(language).notices[kind].subject
    assert not any(f"{label}:" in text for label in phrases(language).facts.values())
    assert "\n\n\n" not in text
    assert html.count("<table") == 2
    assert not re.search(r"None|undefined|[{}]%?[{}]", text)


def test_the_header_keeps_machines_quiet() -> None:
    """From us, to the owner, marked as automatic (RFC 3834), counted as one of our hops, and nothing twice."""
    message = read(written("mask_disabled"))
    assert dict(message.items()) == {
        "From": f'"relayd" <{SENDER}>'.replace('"', ""),
        "To": RECIPIENT,
        "Subject": f"Your mask was turned off: {FACTS['mask']}",
        "MIME-Version": "1.0",
        "Content-Type": 'multipart/alternative; boundary="=_relayd_notice"',
        "Content-Language": "en",
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "X-Relayd-Hops": HOPS,
    }


def test_hostile_facts_are_only_text() -> None:
    """Markup is escaped; line ends, controls and direction marks are gone; what is too long is cut."""
    hostile = 'x\r\nBcc: v@evil.example\u202e\x00<script>alert("1")</script>{{ 7 * 7 }}{% raw %}'
    facts = dict.fromkeys(FACTS, hostile + "y" * 10000)
    data = written("mail_refused", "en", facts)
    text, html = bodies(data)
    assert read(data)["Bcc"] is None
    assert len(data) < 20_000
    assert "<script" not in html
    assert "&lt;script&gt;alert(&#34;1&#34;)" in html
    assert "{{ 7 * 7 }}" in text
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text + html)
    assert "Size" not in text


def test_a_boundary_in_a_fact_ends_no_part() -> None:
    """Neither the encoding nor the boundary's form lets a fact look like a delimiter."""
    text, _ = bodies(written("mail_refused", facts={"subject": "--=_relayd_notice--", "mask": "=_relayd_notice"}))
    assert "--=_relayd_notice--" in text


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ("0", "0 B"),
        ("999", "999 B"),
        ("1000", "1,0 kB"),
        ("41943040", "41,9 MB"),
        ("-1", None),
        ("1e9", None),
        ("²", None),
        ("9" * 5000, None),
        ("", None),
    ],
)
def test_sizes_are_for_people(size: str, shown: str | None) -> None:
    """With the language's decimal sign; what is no number is left out."""
    text, _ = bodies(written("mail_too_large", "de", {"size": size}))
    assert re.findall("Größe: (.*)", text) == ([shown] if shown is not None else [])


@settings(max_examples=60)
@given(
    kind=st.sampled_from(NOTICE_KINDS),
    language=st.sampled_from(LANGUAGES) | st.text(max_size=10),
    facts=st.dictionaries(st.sampled_from(sorted(FACTS)) | st.text(max_size=5), st.text(max_size=400)),
)
def test_any_facts_make_a_sendable_mail(kind: NoticeKind, language: str, facts: dict[str, str]) -> None:
    """Whatever they hold: two parts, 7-bit, CRLF, short lines, no second subject."""
    data = written(kind, language, facts)
    assert is_wire(data)
    assert len(bodies(data)) == 2
    assert len(read(data).get_all("Subject", [])) == 1


@pytest.mark.parametrize(
    "address", ["", "a", "a@b\r\nBcc: c@d", "<a@b.example>", "a b@c.example", "ä@b.example", "a@b, c@d"]
)
def test_an_address_that_no_header_can_carry_is_refused(address: str) -> None:
    """Rather than a mail to nobody, or to somebody else."""
    notice = OwnerNotice("o1", "reply_leak")
    with pytest.raises(PermanentError):
        write(notice, language="en", sender=SENDER, recipient=address, hops=HOPS)
    with pytest.raises(PermanentError):
        write(notice, language="en", sender=address, recipient=RECIPIENT, hops=HOPS)
