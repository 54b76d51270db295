"""A mail as relayd sees it: raw header fields, and a body whose bytes nobody touches."""

import re
from dataclasses import dataclass, field
from functools import cached_property

from relayd.errors import PermanentError
from relayd.mail.addresses import Sender, sender_of
from relayd.mail.fields import Field, first, read_block
from relayd.mail.headers import ids
from relayd.mail.parameters import content_type
from relayd.mail.words import text_of

__all__ = ["Letter", "Sender", "parse"]

MAX_SIZE = 64 * 1024 * 1024
"""Bytes. SES takes in 40 MB; anything far over it did not come from there, and memory is bounded."""
_OTHER_FROM = re.compile(rb"(?:\A|[\r\n])From[ \t]++:", re.IGNORECASE)
"""A From field to RFC 5322 (4.5), which allows white space there; an mbox separator to most parsers, and to ours."""
_MOST_REFERENCES = 50
_MOST_SENDERS = 10
"""From fields that are looked at for an address: there should be one."""


@dataclass(frozen=True)
class Letter:
    """One mail. Everything but the split into fields and body is worked out when it is asked for."""

    fields: tuple[Field, ...] = field(repr=False)
    """The raw header fields, in order."""
    body: bytes = field(repr=False)
    other_from: bool = False
    """Whether some parsers see another From than those in `fields`."""
    head: bytes = field(default=b"", repr=False)
    """All bytes above the body."""
    shared: int = 0
    """Bytes that the body has in common with the end of the head."""

    @property
    def size(self) -> int:
        """Of the whole mail, in bytes."""
        return len(self.head) + len(self.body) - self.shared

    def raw(self) -> bytes:
        """The whole mail as it came, put together anew: kept, it would take as much memory again as the body."""
        return b"".join((self.head, memoryview(self.body)[self.shared :]))

    @cached_property
    def charset(self) -> str | None:
        """The charset that the mail declares for itself: the best guess for header bytes that declare none."""
        return content_type(first(self.fields, "content-type")).charset

    @cached_property
    def sender(self) -> Sender | None:
        """Who it is from, by the first From field with an address that can be read."""
        named = [item for item in self.fields if item.key == "from"][:_MOST_SENDERS]
        return next((found for item in named if (found := sender_of(item, self.charset)) is not None), None)

    @cached_property
    def message_id(self) -> str | None:
        """Its Message-ID without brackets; None when it has none."""
        item = first(self.fields, "message-id")
        if item is None:
            return None
        found = ids(item, 1)
        if found:
            return found[0]
        bare = item.value.decode("latin-1").strip("<> \t")
        return bare if bare.isascii() and bare.isprintable() and 0 < len(bare) <= 900 and " " not in bare else None

    @cached_property
    def references(self) -> tuple[str, ...]:
        """The ids that References and In-Reply-To name, without brackets."""
        found: dict[str, None] = {}
        for key in ("references", "in-reply-to"):
            item = first(self.fields, key)
            if item is not None:
                found.update(dict.fromkeys(ids(item, _MOST_REFERENCES)))
        return tuple(found)

    def header_items(self) -> tuple[tuple[str, str], ...]:
        """Names and unfolded values as text (encoded words as they are), for the rules: nobody may prove one From and
        show another.
        """
        known = tuple((item.name, text_of(item.value, self.charset)) for item in self.fields)
        return (*known, ("From", "")) if self.other_from else known


def parse(raw: bytes) -> Letter:
    """Split a mail. Any bytes at all make a letter; only far too many of them raise PermanentError."""
    if len(raw) > MAX_SIZE:
        raise PermanentError("mail_too_large", f"{len(raw)} bytes")
    block = read_block(raw)
    other_from = _OTHER_FROM.search(raw, 0, block.end) is not None
    head, lead = raw[: block.end], block.lead
    return Letter(block.fields, lead + raw[block.end :], other_from, head, len(lead))
