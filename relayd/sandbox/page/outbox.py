"""Mail written on the page, sent through the SMTP door as any program would send it."""

import re
import smtplib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from typing import Any

from relayd.model.address import MAX_ADDRESS
from relayd.sandbox.receiving import MAGIC_HEADER

MOST = 100
"""Copies in one go."""
MAX_LINE = 500
"""Characters of a subject or an address."""
SMTP_SECONDS = 60.0
_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w-]+(\.[\w-]+)*", re.ASCII)
_POLICY = SMTP.clone(max_line_length=900)
"""With shorter lines, the library writes an id as long as SES's as an encoded word, which nobody reads as an id."""
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,200}>")

VERDICTS: Mapping[str, str] = {
    "": "all checks passed",
    "spam": "spam",
    "virus": "a virus",
    "gray": "undecided",
    "dmarc-none": "DMARC failed, policy none",
    "dmarc-quarantine": "DMARC failed, policy quarantine",
    "dmarc-reject": "DMARC failed, policy reject",
}
"""What SES is to find, and how the page calls it."""


class FormError(Exception):
    """The form cannot be sent as it is."""

    def __init__(self, field_name: str, problem: str) -> None:
        super().__init__(problem)
        self.field_name = field_name
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Form:
    """A mail as it was filled in, and how many of it."""

    sender: str = field(repr=False)
    recipient: str = field(repr=False)
    subject: str = field(repr=False)
    text: str = field(repr=False)
    html: str = field(repr=False)
    verdict: str
    count: int
    in_reply_to: str = field(repr=False, default="")
    """The Message-ID of the mail that it answers, with brackets; empty for none."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Form":
        """Check what came from the page. Raises FormError."""
        verdict = _text(given, "verdict")
        if verdict not in VERDICTS:
            raise FormError("verdict", "choose one of the list")
        count = given.get("count", 1)
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST:
            raise FormError("count", f"between 1 and {MOST}")
        in_reply_to = _text(given, "in_reply_to")
        if in_reply_to and _MESSAGE_ID.fullmatch(in_reply_to) is None:
            raise FormError("in_reply_to", "one Message-ID in brackets is wanted")
        return cls(
            sender=_address(given, "from"),
            recipient=_address(given, "to"),
            subject=_line(given, "subject"),
            text=_text(given, "text"),
            html=_text(given, "html"),
            verdict=verdict,
            count=count,
            in_reply_to=in_reply_to,
        )

    def mail(self, number: int) -> bytes:
        """The mail's bytes; `number` counts the copies from 1."""
        mail = EmailMessage(policy=_POLICY)
        mail["From"] = self.sender
        mail["To"] = self.recipient
        mail["Subject"] = self.subject + (f" ({number} of {self.count})" if self.count > 1 else "")
        mail["Date"] = format_datetime(datetime.now(UTC))
        mail["Message-ID"] = make_msgid(domain=self.sender.rpartition("@")[2])
        if self.in_reply_to:
            mail["In-Reply-To"] = mail["References"] = self.in_reply_to
        if self.verdict:
            mail[MAGIC_HEADER.title()] = self.verdict
        mail.set_content(self.text)
        if self.html.strip():
            mail.add_alternative(self.html, subtype="html")
        return bytes(mail)


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str):
        raise FormError(name, "text is wanted")
    # A lone surrogate is valid JSON and no text.
    return value.encode("utf-8", "replace").decode()


def _line(given: Mapping[str, Any], name: str) -> str:
    value = _text(given, name).strip()
    if len(value) > MAX_LINE:
        raise FormError(name, f"at most {MAX_LINE} characters")
    if not value.isprintable():
        raise FormError(name, "one line of plain text is wanted")
    return value


def _address(given: Mapping[str, Any], name: str) -> str:
    value = _line(given, name)
    if len(value) > MAX_ADDRESS or _ADDRESS.fullmatch(value) is None:
        raise FormError(name, "an address of the form name@domain is wanted")
    return value


class Outbox:
    """The way to the door."""

    def __init__(self, smtp_port: int) -> None:
        self._port = smtp_port

    def send(self, form: Form) -> list[str]:
        """Send it; returns the ids that SES receiving gave. Raises FormError with the door's words if it refused."""
        try:
            mails = [form.mail(number) for number in range(1, form.count + 1)]
        except (MessageError, ValueError):
            raise FormError("subject", "no mail can be made of this") from None
        try:
            with smtplib.SMTP("127.0.0.1", self._port, local_hostname="page.example", timeout=SMTP_SECONDS) as smtp:
                return [_one(smtp, form, data) for data in mails]
        except (OSError, smtplib.SMTPException) as error:
            raise FormError("to", f"the door did not take it: {_told(error)}") from None


def _one(smtp: smtplib.SMTP, form: Form, data: bytes) -> str:
    smtp.ehlo_or_helo_if_needed()
    _expect(smtp.mail(form.sender))
    _expect(smtp.rcpt(form.recipient))
    return _expect(smtp.data(data)).rpartition(" ")[2]


def _expect(answer: tuple[int, bytes]) -> str:
    if answer[0] != 250:
        raise smtplib.SMTPResponseException(*answer)
    return answer[1].decode("ascii", "replace")


def _told(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        words = error.smtp_error
        return words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
    return type(error).__name__
