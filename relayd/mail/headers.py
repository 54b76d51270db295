"""Header fields on their way out: kept as they are where SES takes them, written anew where it would not."""

import re

from relayd.mail.addresses import display_list
from relayd.mail.fields import Field, first, read_block
from relayd.mail.lines import CRLF, all_to_crlf, has_long_line, is_sendable
from relayd.mail.parameters import rebuilt
from relayd.mail.transfer import decode, encode, encoding_of
from relayd.mail.words import decode_words, folded, text_of, unstructured

_CLEAN = re.compile(rb"[\t -~]*+(?:\r\n[ \t]++[!-~][\t -~]*+)*+\r\n")
_ID = re.compile(r"<([^<>\s]++)>")
_CTE = "content-transfer-encoding"
_PARAMETERS = frozenset({"content-type", "content-disposition"})
_IDS = frozenset({"message-id", "references", "in-reply-to", "content-id"})
_ADDRESSES = frozenset({"from", "to", "cc", "bcc", "sender", "reply-to"})
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LAST_LINE_END = re.compile(rb"(?:\r\n|\n|\r)\Z")
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
        found = ids(field, 100)
        return folded(field.name, (f"<{one}>" for one in found)) if found else b""
    if field.key == _CTE and is_clean(apart := b"%s:\r\n %s\r\n" % (field.name.encode("ascii"), field.value)):
        # A fold of nothing after the word hides it from some parsers and not from others: so does a fold before it.
        return apart
    if field.key in _ADDRESSES:
        return display_list(field, hint) or unstructured(field.name, text_of(field.value, hint), 500)
    return unstructured(field.name, text_of(field.value, hint), _LONGEST_TEXT)


def wire_block(fields: tuple[Field, ...], hint: str | None) -> bytes:
    """A header block as it can be sent, without the blank line. Of absurdly many fields, those that matter."""
    rest = fields[_MOST_FIELDS:]
    needed = (first(rest, key) for key in ("content-type", _CTE))
    kept = (*fields[:_MOST_FIELDS], *(field for field in needed if field is not None))
    return b"".join(wire_field(field, hint) for field in kept)


def wire_status(content: bytes, *, within: bool) -> bytes | None:
    """A delivery status, whose content is header blocks and must stay 7-bit without any encoding (RFC 3464, 2.1).

    `within`: inside a multipart, whose next delimiter owns the last line end. None when there is too much of it.
    """
    if len(content) > _LONGEST_STATUS:
        return None
    blocks: list[bytes] = []
    position = 0
    while position < len(content):
        block = read_block(content, position)
        end = _BLANK_LINE.search(content, block.end) if not block.blank else None
        position = block.end if block.blank else end.end() if end else len(content)
        rest, blank = block.lead + content[block.end : position], end is not None
        if block.blank and block.lead:
            rest, blank = rest + CRLF, True
        fields, rest = _with_sendable_text(block.fields, rest, blank=blank, within=within)
        blocks += (wire_block(fields, None), rest if rest or not block.blank else CRLF)
    return b"".join(blocks)


def _with_sendable_text(
    fields: tuple[Field, ...], text: bytes, *, blank: bool, within: bool
) -> tuple[tuple[Field, ...], bytes]:
    """Text where only fields should be. Parsers that look for it take its block for a message of its own, with an
    encoding of its own; in base64 no line of it can become a field.
    """
    lines = all_to_crlf(text)
    if is_sendable(lines):
        return fields, lines
    # A blank line ends the block and is no content, the one that a delimiter makes of the last line end included.
    end = _LAST_LINE_END.search(text) if blank or within else None
    text = text[: end.start()] if end else text
    label = first(fields, _CTE)
    content = decode(text, encoding_of(label.value)) if label is not None else text
    name, encoded = encode(text if content is None else content, is_text=False)
    new = Field(_CTE, f"Content-Transfer-Encoding: {name}\r\n".encode("ascii"), _CTE)
    return (*(field for field in fields if field.key != _CTE), new), bytes(encoded) + CRLF * (blank + bool(end))


def ids(field: Field, most: int) -> list[str]:
    """The message ids in a field, without brackets: the first, which is the thread's, and the latest."""
    text = field.value.decode("latin-1")
    if "=?" in text:
        # Against the rules (RFC 2047, 5), but Python's own library writes a long id so.
        text = decode_words(text[:_LONGEST_TEXT])
    found = [found for found in dict.fromkeys(_ID.findall(text)) if found.isascii() and len(found) <= _LONGEST_ID]
    found = [found for found in found if found.isprintable()]
    return found if len(found) <= most else [found[0], *found[1 - most :]]
