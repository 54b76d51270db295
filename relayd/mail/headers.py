"""Header fields on their way out: kept as they are where SES takes them, written anew where it would not."""

import re

from relayd.mail.addresses import display_list
from relayd.mail.fields import Field, first, read_block
from relayd.mail.lines import CRLF, all_to_crlf, has_long_line, is_sendable
from relayd.mail.parameters import rebuilt
from relayd.mail.words import folded, text_of, unstructured

_CLEAN = re.compile(rb"[\t -~]*+(?:\r\n[ \t]++[!-~][\t -~]*+)*+\r\n")
_ID = re.compile(r"<([^<>\s]++)>")
_PARAMETERS = frozenset({"content-type", "content-disposition"})
_IDS = frozenset({"message-id", "references", "in-reply-to", "content-id"})
_ADDRESSES = frozenset({"from", "to", "cc", "bcc", "sender", "reply-to"})
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r)(?:\r\n|\n|\r)")
_LONGEST_NAME = 100
_LONGEST_ID = 900
_MOST_FIELDS = 1000
_LONGEST_STATUS = 100_000
_LONGEST_TEXT = 20_000


def is_clean(raw: bytes) -> bool:
    """Whether a field, its line end included, is ASCII text in CRLF lines that SES takes, without empty folds."""
    return _CLEAN.fullmatch(raw) is not None and not has_long_line(raw)


def normal(raw: bytes) -> bytes:
    """A field with CRLF for every line end, and one at its end."""
    raw = all_to_crlf(raw)
    return raw if raw.endswith(CRLF) else raw + CRLF


def wire_field(field: Field, hint: str | None) -> bytes:
    """The field as it can be sent, with its line end; empty when nothing of it can. `hint` is the mail's charset."""
    raw = normal(field.raw)
    if is_clean(raw):
        return raw
    if len(field.name) > _LONGEST_NAME:
        return b""
    if field.key in _PARAMETERS:
        return rebuilt(field, hint)
    if field.key in _IDS:
        return folded(field.name, (f"<{found}>" for found in ids(field, 100)))
    if field.key in _ADDRESSES:
        return display_list(field, hint) or unstructured(field.name, text_of(field.value, hint), 500)
    return unstructured(field.name, text_of(field.value, hint), _LONGEST_TEXT)


def wire_block(fields: tuple[Field, ...], hint: str | None) -> bytes:
    """A header block as it can be sent, without the blank line. Of absurdly many fields, those that matter."""
    rest = fields[_MOST_FIELDS:]
    needed = (first(rest, key) for key in ("content-type", "content-transfer-encoding"))
    kept = (*fields[:_MOST_FIELDS], *(field for field in needed if field is not None))
    return b"".join(wire_field(field, hint) for field in kept)


def wire_status(content: bytes) -> bytes | None:
    """A delivery status, whose content is header blocks and must stay 7-bit without any encoding (RFC 3464, 2.1).

    None when there is more in it than fields and that could not be sent, or too much of it.
    """
    if len(content) > _LONGEST_STATUS:
        return None
    blocks: list[bytes] = []
    position = 0
    while position < len(content):
        block = read_block(content, position)
        end = _BLANK_LINE.search(content, block.end) if not block.blank else None
        rest = all_to_crlf(content[block.end : end.end() if end else len(content)]) if not block.blank else b""
        if not is_sendable(rest):
            return None
        blocks += (wire_block(block.fields, None), CRLF if block.blank else b"", rest)
        position = block.end if block.blank else end.end() if end else len(content)
    return b"".join(blocks)


def ids(field: Field, most: int) -> list[str]:
    """The message ids in a field, without brackets: the first, which is the thread's, and the latest."""
    text = field.value.decode("latin-1")
    found = [found for found in dict.fromkeys(_ID.findall(text)) if found.isascii() and len(found) <= _LONGEST_ID]
    found = [found for found in found if found.isprintable()]
    return found if len(found) <= most else [found[0], *found[1 - most :]]
