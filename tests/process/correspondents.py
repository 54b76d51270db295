"""Two people who write to each other through a mask, each with no more than what they wrote and what reached them."""

import html
import re
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import getaddresses
from urllib.parse import unquote

from relayd.sandbox.child import Sent
from relayd.sandbox.receiving import header_fields

SES_DOMAIN = "email.amazonses.com"
"""Of the Message-IDs that SES gives in us-east-1, whatever a mail brought along."""


@dataclass(frozen=True)
class Letter:
    """A mail as somebody has it in front of them."""

    message_id: str
    references: tuple[str, ...]
    """What it names in References, then in In-Reply-To."""
    data: bytes = field(repr=False)

    @property
    def message(self) -> EmailMessage:
        parsed = message_from_bytes(self.data, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    def header(self, name: str) -> str:
        return next((value for key, value in header_fields(self.data) if key.lower() == name), "")

    @property
    def sender(self) -> str:
        """The address in From, to which an answer goes."""
        [(_, address)] = getaddresses([self.header("from")])
        return address

    @property
    def text(self) -> str:
        part = self.message.get_body(("plain",))
        return str(part.get_content()) if part is not None else ""

    @property
    def html(self) -> str:
        part = self.message.get_body(("html",))
        return str(part.get_content()) if part is not None else ""


@dataclass
class Mailbox:
    """One address with everything that it wrote and got, and the thread that a mail program would show."""

    address: str
    letters: list[Letter] = field(default_factory=list)

    def receives(self, sent: Sent) -> Letter:
        """A mail that SES delivered here; it has the Message-ID that SES gave it."""
        assert sent.recipients == (self.address,)
        letter = Letter(f"<{sent.message_id}@{SES_DOMAIN}>", _references(sent.data), sent.data)
        self.letters.append(letter)
        return letter

    def writes(self, data: bytes) -> bytes:
        """Keep a mail of its own."""
        fields = {name.lower(): value for name, value in header_fields(data)}
        self.letters.append(Letter(fields["message-id"], _references(data), data))
        return data

    def parents(self) -> dict[str, str | None]:
        """Each mail's parent as a mail program finds it (RFC 5256): the last one named that is known here."""
        known = {letter.message_id for letter in self.letters}
        return {
            letter.message_id: next((one for one in reversed(letter.references) if one in known), None)
            for letter in self.letters
        }

    def threads(self) -> int:
        """How many conversations the mail program would show."""
        return sum(parent is None for parent in self.parents().values())


def answer(letter: Letter, sender: str, message_id: str, *, cc: str = "") -> list[str]:
    """The header lines with which any mail program answers a mail."""
    subject = letter.header("subject")
    chain = dict.fromkeys((*letter.references, letter.message_id))
    return [
        f"From: {sender}",
        f"To: {letter.header('from')}",
        *([f"Cc: {cc}"] if cc else []),
        f"Subject: {subject if subject.startswith('Re: ') else f'Re: {subject}'}",
        f"Message-ID: {message_id}",
        f"In-Reply-To: {letter.message_id}",
        "References: " + "\r\n ".join(chain),
        "MIME-Version: 1.0",
    ]


def quoted(text: str) -> str:
    return "".join(f"> {line}\r\n" for line in text.splitlines())


def readings(data: bytes) -> list[str]:
    """A mail in every way that somebody may read it, in lower case: raw, unfolded, each part decoded, unescaped."""
    texts = [data.decode("latin-1"), re.sub(rb"\r?\n[ \t]|=\r?\n", b"", data).decode("latin-1")]
    message = message_from_bytes(data, policy=policy.default)
    for part in message.walk():
        texts += [f"{name}: {value}" for name, value in part.items()]
        payload = part.get_payload(decode=True)
        if isinstance(payload, bytes):
            texts += [payload.decode("utf-8", "replace"), payload.decode("latin-1")]
            texts.append(re.sub(r"\r?\n[ \t]", "", texts[-2]))
    texts += [html.unescape(text) for text in texts] + [unquote(text) for text in texts]
    return [text.lower() for text in texts]


def _references(data: bytes) -> tuple[str, ...]:
    fields = {name.lower(): value for name, value in header_fields(data)}
    named = f"{fields.get('references', '')} {fields.get('in-reply-to', '')}"
    return tuple(re.findall(r"<[^<>\s]+>", named))
