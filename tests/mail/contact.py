"""What the contact of a mask can find in a reply: an independent judge of leaks."""

import dataclasses
import email
import email.message
import email.policy
import html
import re
from collections.abc import Iterator
from contextlib import suppress
from email.errors import MessageError
from email.header import decode_header, make_header
from urllib.parse import unquote

from relayd.mail.letter import parse
from relayd.mail.plans import ReplyPlan, Rewritten
from relayd.mail.replies import reply
from relayd.model.address import Address
from relayd.sandbox.cloud import raw_mail
from tests.mail.judge import flaws

OWNER = "jane.doe@bücher.example"
PUNY = "jane.doe@xn--bcher-kva.example"
MASK = "shop@mask.example"
PLAN = ReplyPlan(
    mask=Address.parse(MASK),
    display_name="Jane",
    contact="bob@contact.example",
    recipients={"token1@mask.example": "bob@contact.example", "token2@mask.example": "eve@contact.example"},
    owned=(Address.parse(OWNER), Address.parse("jd@post.example")),
    hops="v1; n=1; mac=" + "0" * 64,
    threads={"ses-1@email.amazonses.com": ("bobs-1@contact.example",)},
)


def replied(raw: bytes, **changes: object) -> Rewritten:
    result = reply(parse(raw), dataclasses.replace(PLAN, **changes))  # type: ignore[arg-type]
    if not result.unsendable_parts:
        assert flaws(result.data) == []
        raw_mail.read(result.data, refuse_attachments=False)
    return result


def reply_message(raw: bytes, **changes: object) -> email.message.Message:
    return email.message_from_bytes(replied(raw, **changes).data, policy=email.policy.compat32)


def _seen(raw: bytes) -> Iterator[str]:
    """Everything that a reader, or somebody who looks at the source, may find in a mail."""
    yield raw.decode("latin-1")
    for part in email.message_from_bytes(raw, policy=email.policy.compat32).walk():
        for name, value in part.items():
            yield name
            text = re.sub(r"[\r\n]+[ \t]?", "", str(value))
            yield text
            with suppress(LookupError, ValueError, MessageError):
                yield str(make_header(decode_header(text)))
        yield part.get_filename() or ""
        if part.is_multipart():
            continue
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        if part.get_content_maintype() in ("application", "image") and not _is_readable(content):
            continue  # a document or a picture: nothing that could be changed without breaking it
        for codec in (part.get_content_charset() or "ascii", "utf-8", "utf-16-le", "utf-16-be"):
            try:
                yield content.decode(codec, "replace")
            except LookupError:
                continue


def _is_readable(content: bytes) -> bool:
    try:
        return "\0" not in content.decode()
    except UnicodeDecodeError:
        return False


def leaks(raw: bytes) -> list[str]:
    found = []
    for text in _seen(raw):
        for view in (text, re.sub(r"\r?\n[ \t]", "", text), html.unescape(text), unquote(unquote(text))):
            lowered = view.lower()
            found += [one for one in (OWNER, PUNY, "jd@post.example") if one in lowered]
            found += re.findall(r"jane\.doe\+[a-z]+@\S+", lowered)
    return found
