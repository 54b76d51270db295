"""Mails of our own to an owner: what happened, what it means, what to do. To be imported late, for Jinja's sake."""

import re
from functools import lru_cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape

from relayd.errors import PermanentError
from relayd.mail import hops as hop_header
from relayd.mail.addresses import phrase
from relayd.mail.languages import Phrases, phrases
from relayd.mail.transfer import encode
from relayd.mail.words import unstructured, visible
from relayd.model.notice import OwnerNotice

_BOUNDARY = "=_relayd_notice"
"""Neither quoted-printable nor base64 can hold `=_`, so no content can look like it."""
_LONGEST = {"subject": 200}
_LONGEST_FACT = 320
"""Characters: an address has at most as many."""
_NUMBERS = frozenset({"size", "days"})
_MOST_DIGITS = 15
_ADDRESS = re.compile(r"[!#-'*+\-./0-9=?A-Z^-~]{1,64}@[A-Za-z0-9.-]{1,255}")
_MARKS = (
    # RFC 3834, 5: no vacation responder may answer. X-Auto-Response-Suppress tells Exchange the same.
    # No Precedence: that RFC recommends none (3.1.8), and `bulk` would sort away what the owner should read.
    b"Auto-Submitted: auto-generated\r\nX-Auto-Response-Suppress: All\r\n"
)


def write(notice: OwnerNotice, *, language: str, sender: str, recipient: str, hops: str) -> bytes:
    """The whole mail, 7-bit, in CRLF lines. SES adds Date and Message-ID.

    `sender` and `recipient` are bare addresses; PermanentError for one that no header can carry. `hops` is the
    finished X-Relayd-Hops value. The facts may be anything, or missing.
    """
    if _ADDRESS.fullmatch(sender) is None or _ADDRESS.fullmatch(recipient) is None:
        raise PermanentError("notice_address", "not an address that a header can carry")
    texts = phrases(language)
    facts = _facts(notice, texts)
    parts = [
        b"--%b\r\n%b\r\n" % (_BOUNDARY.encode(), _part(kind, _render(template, notice, texts, facts)))
        for kind, template in (("plain", "notice.txt.jinja"), ("html", "notice.html.jinja"))
    ]
    return b"".join((_header(notice, texts, sender, recipient, hops), b"\r\n", *parts, f"--{_BOUNDARY}--\r\n".encode()))


def _header(notice: OwnerNotice, texts: Phrases, sender: str, recipient: str, hops: str) -> bytes:
    subject = texts.notices[notice.kind].subject
    mask = _cut(notice.facts.get("mask", ""), _LONGEST_FACT)
    return b"".join(
        (
            f"From: {phrase(texts.product)} <{sender}>\r\nTo: {recipient}\r\n".encode("ascii"),
            unstructured("Subject", f"{subject}: {mask}" if mask else subject),
            b"MIME-Version: 1.0\r\n",
            f'Content-Type: multipart/alternative; boundary="{_BOUNDARY}"\r\n'.encode("ascii"),
            f"Content-Language: {texts.language}\r\n".encode("ascii"),
            _MARKS,
            f"{hop_header.HEADER}: {visible(hops)}\r\n".encode("ascii", "replace"),
        )
    )


def _part(kind: str, text: str) -> bytes:
    encoding, body = encode(text.encode("utf-8", "replace"), is_text=True)
    head = f"Content-Type: text/{kind}; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return head.encode("ascii") + bytes(body)


def _facts(notice: OwnerNotice, texts: Phrases) -> list[tuple[str, str]]:
    """Labels and values of what is known. All of it is foreign text."""
    shown = ((label, _fact(name, notice.facts.get(name, ""), texts)) for name, label in texts.facts.items())
    return [(label, value) for label, value in shown if value]


def _fact(name: str, value: str, texts: Phrases) -> str:
    if name not in _NUMBERS:
        return _cut(value, _LONGEST.get(name, _LONGEST_FACT))
    if not (value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS):
        return ""
    return _size(int(value), texts.decimal) if name == "size" else str(int(value))


def _size(octets: int, decimal: str) -> str:
    for unit, name in ((1_000_000, "MB"), (1000, "kB")):
        if octets >= unit:
            return f"{octets / unit:.1f} {name}".replace(".", decimal)
    return f"{octets} B"


def _cut(foreign: str, longest: int) -> str:
    text = visible(foreign[: 10 * longest])
    return text if len(text) <= longest else text[: longest - 3].rstrip() + "..."


def _render(template: str, notice: OwnerNotice, texts: Phrases, facts: list[tuple[str, str]]) -> str:
    return (
        _templates()
        .get_template(template)
        .render(
            text=texts.notices[notice.kind], facts=facts, product=texts.product, why=texts.why, language=texts.language
        )
    )


@lru_cache
def _templates() -> Environment:
    folder = files(__package__).joinpath("phrases")
    return Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8")),
        autoescape=select_autoescape(("html.jinja",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
