"""Leaf repair: whatever SES would refuse or damage is written anew, and nothing else is touched."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, assert_never

from relayd.mail.edits import Edits, with_charset, without_content
from relayd.mail.fields import Field
from relayd.mail.headers import wire_block, wire_status
from relayd.mail.lines import (
    CRLF,
    all_to_crlf,
    has_long_line,
    has_only_crlf,
    is_sendable,
    lf_to_crlf,
    made_sendable,
)
from relayd.mail.parameters import rebuilt
from relayd.mail.structure import Delimiter, Filler, Part, scan
from relayd.mail.transfer import Encoding, decode, encode, refolded

_LONGEST_BOUNDARY = 200
"""RFC 2046 allows 70. Longer ones are kept up to here, and replaced above, where they might not fit into a line."""

_CTE = "content-transfer-encoding"
_NO_EDITS = Edits()


@dataclass(frozen=True, slots=True)
class Repaired:
    """A body that SES takes, and what has to change in the header above it."""

    body: bytes | bytearray
    fields: tuple[Field, ...]
    """The header's own fields with the new Content-Type or Content-Transfer-Encoding, where there is one."""
    parts: int = 0
    """Leaves whose encoding or lines had to change. Line ends alone (LF for CRLF) do not count."""
    unsendable: int = 0
    """Signed or encrypted parts that SES may refuse as they are; they must not be changed."""


def repair(body: bytes, fields: tuple[Field, ...], edits: Edits | None = None) -> Repaired:
    """Make a body sendable. What was decoded from each leaf before is decoded after, but for the line ends of text,
    and for what the edits change.
    """
    if edits is None and is_sendable(body):
        return Repaired(body, fields)
    return _Repair(body, fields, edits or _NO_EDITS).run()


class _Retreat(NamedTuple):
    """Where to go back to, should a part be dropped: before its delimiter, which is not the first of its multipart."""

    start: int
    written: int
    copied: int


class _Repair:
    """The edits to one body, in order; what lies between them is copied in one piece.

    They go straight into the new body: kept as a list, a million tiny edits would take more memory than the mail.
    """

    def __init__(self, body: bytes, fields: tuple[Field, ...], edits: Edits) -> None:
        self._edits = edits
        self._body = body
        self._view = memoryview(body)
        self._fields = fields
        self._renamed: dict[bytes, bytes] = {}
        self._out = bytearray()
        self._copied = 0
        self._parts = 0
        self._unsendable = 0
        self._orphan = False
        self._unfinished_head = -1
        self._retreat: _Retreat | None = None
        self._dropped = False

    def run(self) -> Repaired:
        for piece in scan(self._body, self._fields, signed=not self._edits.opens_signed):
            match piece:
                case Part():
                    self._repair_part(piece)
                case Filler():
                    self._repair_filler(piece)
                case Delimiter():
                    self._repair_delimiter(piece)
                case _:
                    assert_never(piece)
        self._out += self._view[self._copied :]
        return Repaired(self._out, self._fields, self._parts, self._unsendable)

    def _repair_part(self, part: Part) -> None:
        fields = self._edits.fields(part)
        content = self._body[part.start : part.end]
        if part.kind == "container":
            written = self._head(part, self._with_boundary(part, fields))
            self._unfinished_head = -1 if part.blank or written or part.head is None else part.head[1]
        elif (wish := self._edits.wish(part, content)) == "drop":
            self._drop(part, fields)
        elif part.kind == "sealed":
            self._head(part, fields)
            self._repair_sealed(part, content)
        elif wish == "keep" or not self._edit(part, fields, content):
            if is_sendable(content) and (not part.lead or is_sendable(self._head_of(part))):
                self._head(part, fields)
            else:
                self._leaf(part, fields, content)
        self._retreat = None

    def _edit(self, part: Part, fields: tuple[Field, ...], content: bytes) -> bool:
        """Write a leaf with what the edits make of it; whether they made anything."""
        decoded = _decoded(part, content)
        new = self._edits.edit(part, decoded)
        if new is None:
            return False
        if new.charset is not None:
            fields = with_charset(fields, new.charset, part.type.charset)
        if part.type.kind == "message/delivery-status" and part.encoding == "identity" and not part.lead:
            status = wire_status(new.content, within=part.within)
            if status is not None:
                ended = self._head(part, fields) or part.blank
                self._replace(part.start, part.end, status if ended else CRLF + status)
                return True
        self._encode(part, fields, new.content, empty=not content)
        return True

    def _drop(self, part: Part, fields: tuple[Field, ...]) -> None:
        if self._retreat is None:
            self._head(part, without_content(fields))
            self._replace(part.start, part.end, b"")
            return
        del self._out[self._retreat.written :]
        self._copied = self._retreat.copied
        self._replace(self._retreat.start, part.end, b"")
        self._dropped = True

    def _repair_sealed(self, part: Part, content: bytes) -> None:
        if is_sendable(content):
            return
        # A mail that was stored with LF: signatures are made and checked over CRLF (RFC 1847, 2.1).
        mended = lf_to_crlf(content)
        if is_sendable(mended):
            self._replace(part.start, part.end, mended)
        else:
            self._unsendable += 1

    def _leaf(self, part: Part, fields: tuple[Field, ...], content: bytes) -> None:
        is_status = part.type.kind == "message/delivery-status"
        if not part.lead:
            mended = _mended(content, part.encoding, is_text=_is_text(part))
            blank = part.blank or mended is not None
            if mended is None and is_status:
                mended = wire_status(content, within=part.within)
            if mended is not None:
                # A status's first block must not become part of a header that no blank line ends.
                apart = CRLF if not self._head(part, fields) and not blank and mended else b""
                self._parts += mended != all_to_crlf(content)
                self._replace(part.start, part.end, apart + mended)
                return
        self._parts += 1
        self._encode(part, fields, _decoded(part, content), empty=not content)

    def _encode(self, part: Part, fields: tuple[Field, ...], decoded: bytes, *, empty: bool) -> None:
        """Write a leaf's content in a new encoding. `empty`: nothing of it stood below its header block."""
        name, encoded = encode(decoded, is_text=_is_text(part))
        if not part.within and name == "base64":
            encoded += CRLF
        elif part.within and (part.kind == "shapeless" or empty):
            # No line end of the original stands between this content and the next delimiter.
            encoded += CRLF
        self._head(part, _with_encoding(part, fields, name))
        self._orphan = part.kind == "shapeless"
        self._replace(part.start, part.end, encoded)

    def _with_boundary(self, part: Part, fields: tuple[Field, ...]) -> tuple[Field, ...]:
        boundary = part.type.boundary
        if boundary is None or (
            len(boundary) <= _LONGEST_BOUNDARY and b"\0" not in boundary and not self._edits.is_renamed(boundary)
        ):
            return fields
        new = self._renamed.setdefault(boundary, self._stem + b"%06d" % len(self._renamed))
        changed = list(fields)
        index = next(index for index, field in enumerate(changed) if field.key == "content-type")
        old = changed[index]
        changed[index] = old._replace(raw=rebuilt(old, part.type.charset, new))
        return tuple(changed)

    @cached_property
    def _stem(self) -> bytes:
        """The beginning of every new boundary: it occurs nowhere in the body."""
        stem = b"relayd-"
        while stem in self._body:
            stem = b"relayd-" + hashlib.sha256(stem + self._body).hexdigest()[:24].encode("ascii") + b"-"
        return stem

    def _head(self, part: Part, fields: tuple[Field, ...]) -> bool:
        """Write the header block anew, if it has to be; whether it now ends in a blank line that was not there."""
        if part.head is None:
            self._fields = fields
            return True
        start, end = part.head
        block = self._head_of(part)
        if fields is part.fields:
            if is_sendable(block):
                return False
            restored = all_to_crlf(block)
            if is_sendable(restored):
                self._replace(start, end, restored)
                return False
        # A message may begin in the middle of what was meant as its container's header.
        apart = CRLF if start == self._unfinished_head else b""
        self._replace(start, end, apart + wire_block(fields, part.type.charset) + CRLF)
        return True

    def _head_of(self, part: Part) -> bytes:
        return self._body[part.head[0] : part.head[1]] if part.head is not None else b""

    def _repair_delimiter(self, piece: Delimiter) -> None:
        self._dropped = False
        if self._edits is not _NO_EDITS and not piece.double:
            first = piece.opens or piece.closes
            self._retreat = None if first else _Retreat(piece.start, len(self._out), self._copied)
        line = self._body[piece.start : piece.end]
        if piece.boundary in self._renamed or not is_sendable(line):
            boundary = self._renamed.get(piece.boundary, piece.boundary)
            ended = line.endswith((b"\n", b"\r"))
            self._replace(
                piece.start, piece.end, b"--" + boundary + (b"--" if piece.closes else b"") + (CRLF if ended else b"")
            )

    def _repair_filler(self, piece: Filler) -> None:
        data = self._body[piece.start : piece.end]
        if self._dropped or not (self._edits.keeps_fillers or data.isspace()):
            self._replace(piece.start, piece.end, b"")
        elif piece.orphan and (self._orphan or not is_sendable(all_to_crlf(data))):
            # Its closing delimiter would become a line of the multipart's text.
            self._replace(piece.start, piece.end, b"")
        elif not is_sendable(data):
            self._replace(piece.start, piece.end, made_sendable(data))

    def _replace(self, start: int, end: int, new: bytes | bytearray) -> None:
        if start > self._copied:
            self._out += self._view[self._copied : start]
        self._out += new
        self._copied = end


def _is_text(part: Part) -> bool:
    return part.type.main == "text" or part.kind == "shapeless" or part.type.kind == "message/delivery-status"


def _decoded(part: Part, content: bytes) -> bytes:
    whole = part.lead + content
    if part.within and part.kind == "leaf" and not content:
        whole = whole.removesuffix(b"\n").removesuffix(b"\r")
    decoded = decode(whole, part.encoding)
    return whole if decoded is None else decoded


def _mended(content: bytes, encoding: Encoding, *, is_text: bool) -> bytes | bytearray | None:
    """The content made sendable in the encoding that it has, if that takes no more than other line ends."""
    if not content.isascii() or b"\0" in content:
        return None
    if encoding == "base64":
        mended = all_to_crlf(content)
        return refolded(content) if has_long_line(mended) else mended
    if encoding == "uuencode":
        # Line ends mean nothing inside it; in data that are none, they are content.
        if decode(content, encoding) is None and not is_text:
            return None
    elif not is_text:
        return None
    mended = lf_to_crlf(content)
    return mended if has_only_crlf(mended) and not has_long_line(mended) else None


def _with_encoding(part: Part, fields: tuple[Field, ...], name: str) -> tuple[Field, ...]:
    """The part's fields with a new Content-Transfer-Encoding where the old one stood, and no second one."""
    new = Field("Content-Transfer-Encoding", f"Content-Transfer-Encoding: {name}\r\n".encode("ascii"), _CTE)
    kept: list[Field] = []
    placed = False
    for field in fields:
        if field.key != _CTE:
            kept.append(field)
        elif not placed:
            kept.append(new)
            placed = True
    if not placed:
        kept.append(new)
    if part.kind == "shapeless":
        # Nothing else than a text may be encoded, and a text is what a reader can make of it.
        kept = [field for field in kept if field.key != "content-type"]
        kept.append(Field("Content-Type", b"Content-Type: text/plain\r\n", "content-type"))
    return tuple(kept)
