"""Leaf repair: whatever SES would refuse or damage is written anew, and nothing else is touched."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import assert_never

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


def repair(body: bytes, fields: tuple[Field, ...]) -> Repaired:
    """Make a body sendable. What was decoded from each leaf before is decoded after, but for the line ends of text."""
    if is_sendable(body):
        return Repaired(body, fields)
    return _Repair(body, fields).run()


class _Repair:
    """The edits to one body, in order; what lies between them is copied in one piece.

    They go straight into the new body: kept as a list, a million tiny edits would take more memory than the mail.
    """

    def __init__(self, body: bytes, fields: tuple[Field, ...]) -> None:
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

    def run(self) -> Repaired:
        for piece in scan(self._body, self._fields):
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
        match part.kind:
            case "container":
                written = self._head(part, self._with_boundary(part))
                self._unfinished_head = -1 if part.blank or written or part.head is None else part.head[1]
            case "sealed":
                self._head(part, part.fields)
                self._repair_sealed(part)
            case "leaf" | "shapeless":
                content = self._body[part.start : part.end]
                if is_sendable(content) and (not part.lead or is_sendable(self._head_of(part))):
                    self._head(part, part.fields)
                else:
                    self._leaf(part, content)
            case _:
                assert_never(part.kind)

    def _repair_sealed(self, part: Part) -> None:
        content = self._body[part.start : part.end]
        if is_sendable(content):
            return
        # A mail that was stored with LF: signatures are made and checked over CRLF (RFC 1847, 2.1).
        mended = lf_to_crlf(content)
        if is_sendable(mended):
            self._replace(part.start, part.end, mended)
        else:
            self._unsendable += 1

    def _leaf(self, part: Part, content: bytes) -> None:
        is_status = part.type.kind == "message/delivery-status"
        is_text = part.type.main == "text" or part.kind == "shapeless" or is_status
        if not part.lead:
            mended = _mended(content, part.encoding, is_text=is_text)
            if mended is None and is_status:
                mended = wire_status(content, within=part.within)
                # Its first block must not become part of a header that no blank line ends.
                mended = CRLF + mended if mended and not part.blank else mended
            if mended is not None:
                self._head(part, part.fields)
                self._parts += mended != all_to_crlf(content)
                self._replace(part.start, part.end, mended)
                return
        whole = part.lead + content
        if part.within and part.kind == "leaf" and not content:
            whole = whole.removesuffix(b"\n").removesuffix(b"\r")
        decoded = decode(whole, part.encoding)
        name, encoded = encode(whole if decoded is None else decoded, is_text=is_text)
        if not part.within and name == "base64":
            encoded += CRLF
        elif part.within and (part.kind == "shapeless" or not content):
            # No line end of the original stands between this content and the next delimiter.
            encoded += CRLF
        self._head(part, _with_encoding(part, name))
        self._parts += 1
        self._orphan = part.kind == "shapeless"
        self._replace(part.start, part.end, encoded)

    def _with_boundary(self, part: Part) -> tuple[Field, ...]:
        boundary = part.type.boundary
        if boundary is None or (len(boundary) <= _LONGEST_BOUNDARY and b"\0" not in boundary):
            return part.fields
        new = self._renamed.setdefault(boundary, self._stem + b"%06d" % len(self._renamed))
        fields = list(part.fields)
        index = next(index for index, field in enumerate(fields) if field.key == "content-type")
        old = fields[index]
        fields[index] = old._replace(raw=rebuilt(old, part.type.charset, new))
        return tuple(fields)

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
        line = self._body[piece.start : piece.end]
        if piece.boundary in self._renamed or not is_sendable(line):
            boundary = self._renamed.get(piece.boundary, piece.boundary)
            ended = line.endswith((b"\n", b"\r"))
            self._replace(
                piece.start, piece.end, b"--" + boundary + (b"--" if piece.closes else b"") + (CRLF if ended else b"")
            )

    def _repair_filler(self, piece: Filler) -> None:
        data = self._body[piece.start : piece.end]
        if piece.orphan and (self._orphan or not is_sendable(all_to_crlf(data))):
            # Its closing delimiter would become a line of the multipart's text.
            self._replace(piece.start, piece.end, b"")
        elif not is_sendable(data):
            self._replace(piece.start, piece.end, made_sendable(data))

    def _replace(self, start: int, end: int, new: bytes | bytearray) -> None:
        if start > self._copied:
            self._out += self._view[self._copied : start]
        self._out += new
        self._copied = end


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


def _with_encoding(part: Part, name: str) -> tuple[Field, ...]:
    """The part's fields with a new Content-Transfer-Encoding where the old one stood, and no second one."""
    new = Field("Content-Transfer-Encoding", f"Content-Transfer-Encoding: {name}\r\n".encode("ascii"), _CTE)
    kept: list[Field] = []
    placed = False
    for field in part.fields:
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
