"""A mail made fit to be shown: its text, its HTML, its header before and after. Any bytes will do.

It reads mail with the standard library rather than with relayd's own code, so that the page shows what relayd did and
not what relayd believes.
"""

import codecs
import re
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from typing import Literal

from relayd.sandbox.receiving import header_fields

READ_BYTES = 2 * 1024 * 1024
"""Of a mail, at most. The rest could not be read by anybody anyway."""
SHOWN_CHARACTERS = 200_000
SHOWN_FIELDS = 300
SHOWN_VALUE = 2000
MAX_PARTS = 200

Change = Literal["kept", "rewritten", "removed", "added"]

_ORDER: tuple[Change, ...] = ("rewritten", "added", "removed", "kept")

_ACTIVE = re.compile(r"<(/?)(?=(?:a|area|link|meta|base|iframe|frame|object|embed|form|portal)\b)", re.IGNORECASE)
"""Tags that load or lead somewhere. Scripts are left to the frame's policy: under another name they would show their
text."""
_LIKE_LINKS = "<style>x-a { color: #0b57d0; text-decoration: underline; }</style>"
"""At the end, so that the mail's own doctype stays first."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is not shown: an attachment, say."""

    kind: str
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What a mail program would show."""

    text: str
    html: str
    others: tuple[Part, ...]
    cut: bool
    """There is more than is shown."""


def read(data: bytes) -> Reading:
    """Read a mail, however broken."""
    text, html = "", ""
    others: list[Part] = []
    try:
        parts = [part for part in message_from_bytes(data[:READ_BYTES]).walk() if not part.is_multipart()][:MAX_PARTS]
        for part in parts:
            kind = part.get_content_type()
            attached = part.get_content_disposition() == "attachment"
            if kind == "text/plain" and not attached and not text:
                text = _text(part)
            elif kind == "text/html" and not attached and not html:
                html = _text(part)
            else:
                others.append(Part(kind[:100], str(part.get_filename() or "")[:100], len(_payload(part))))
    except Exception as error:  # the library's parser has been seen to raise nearly anything on odd mail
        text = text or f"(the mail could not be read: {type(error).__name__})"
    cut = len(data) > READ_BYTES or len(text) > SHOWN_CHARACTERS or len(html) > SHOWN_CHARACTERS
    return Reading(text[:SHOWN_CHARACTERS], html[:SHOWN_CHARACTERS], tuple(others), cut)


def _payload(part: "Message[str, str]") -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _text(part: "Message[str, str]") -> str:
    try:
        charset = codecs.lookup(part.get_content_charset() or "utf-8").name
        return _payload(part).decode(charset, "replace")
    except (LookupError, ValueError):
        # No such charset, or something that Python calls a codec and that is no charset.
        return _payload(part).decode("utf-8", "replace")


def source(data: bytes) -> tuple[str, bool]:
    """The mail's own bytes as text, and whether they had to be cut."""
    return data[:SHOWN_CHARACTERS].decode("utf-8", "replace"), len(data) > SHOWN_CHARACTERS


def harmless(html: str) -> str:
    """The HTML without tags that load or lead anywhere.

    The frame's sandbox and policy forbid all of it already, scripts included; but a policy has no word for every way to
    reach another host: `<link rel=dns-prefetch>` is one, and Chromium opens a connection for a link that is clicked
    before it looks whether the frame may go there. A tag that browsers do not know leads nowhere.
    """
    return _ACTIVE.sub(r"<\1x-", html) + _LIKE_LINKS


@dataclass(frozen=True, slots=True)
class FieldRow:
    """A header field before and after; one of them is empty where it was removed or added."""

    change: Change
    name: str
    before: str
    after: str


def compare(before: bytes, after: bytes) -> list[FieldRow]:
    """The header of the mail that came in beside that of the mail that was sent: what was changed stands first, and
    within a change the mails' own order counts.
    """
    left = header_fields(before[:READ_BYTES])[:SHOWN_FIELDS]
    rest = header_fields(after[:READ_BYTES])[:SHOWN_FIELDS]
    rows: list[FieldRow] = []
    for name, value in left:
        same = next((item for item in rest if item[0].lower() == name.lower() and item[1] == value), None)
        if same is not None:
            rest.remove(same)
            rows.append(_row("kept", name, value, value))
        else:
            rows.append(_row("removed", name, value, ""))
    for index, row in enumerate(rows):
        # What is left under the same name took its place.
        other = next((item for item in rest if item[0].lower() == row.name.lower()), None)
        if row.change == "removed" and other is not None:
            rest.remove(other)
            rows[index] = _row("rewritten", row.name, row.before, other[1])
    rows += [_row("added", name, "", value) for name, value in rest]
    return sorted(rows, key=lambda row: _ORDER.index(row.change))


def _row(change: Change, name: str, before: str, after: str) -> FieldRow:
    return FieldRow(change, name[:200], before[:SHOWN_VALUE], after[:SHOWN_VALUE])
