"""A body written anew: every leaf encoded, every part header and boundary fresh, the nesting kept.

What `relayd.mail.repair` leaves alone because it is only odd is not odd any more. Preambles and epilogues, which
nobody is shown, stay behind.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import assert_never

from relayd.mail.fields import Field, first
from relayd.mail.file_names import named
from relayd.mail.headers import ids, wire_block, wire_status
from relayd.mail.lines import CRLF, is_sendable, lf_to_crlf
from relayd.mail.parameters import pieces, written
from relayd.mail.structure import Delimiter, Filler, Part, scan
from relayd.mail.transfer import decode, encode
from relayd.mail.words import folded

_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,100}/[!#$%&'*+.^_`|~0-9a-z-]{1,100}")
_SIGNED = "multipart/signed"
_SEALED_LEAVES = ("application/pkcs7-mime", "application/x-pkcs7-mime")
_LABELS = {"identity": "7bit", "quoted-printable": "quoted-printable", "base64": "base64", "uuencode": "x-uuencode"}


class BrokenSealError(Exception):
    """A signed or encrypted part cannot be sent as it is."""


@dataclass(frozen=True, slots=True)
class Anew:
    """A body written anew."""

    body: bytearray
    fields: bytes
    """The Content fields that belong into the header above it."""
    parts: int
    """Leaves that were encoded."""
    signed: bool
    """Whether it has parts that were signed."""


def write_anew(body: bytes, fields: tuple[Field, ...], *, sealed: bool = True) -> Anew:
    """Write a body anew. What was decoded from each leaf before is decoded after, but for the line ends of text.

    Signed and encrypted parts are copied, and BrokenSealError is raised where SES would not take one so. With
    `sealed=False` they are written anew like any others, which no signature survives.
    """
    return _Anew(body, fields, sealed=sealed).run()


class _Anew:
    """One pass over the pieces. `_levels` are the multiparts that are open, outermost first: old and new boundary."""

    def __init__(self, body: bytes, fields: tuple[Field, ...], *, sealed: bool) -> None:
        self._body = body
        self._pieces = scan(body, fields, sealed=sealed)
        self._sealed = sealed
        self._stem = fresh_stem(body)
        self._numbered = 0
        self._levels: list[tuple[bytes, bytes]] = []
        self._open: dict[bytes, int] = {}
        self._out = bytearray()
        self._top = b""
        self._begins = False
        self._in_message = False
        self._parts = 0
        self._signed = False

    def run(self) -> Anew:
        for piece in self._pieces:
            match piece:
                case Part():
                    self._part(piece)
                case Delimiter():
                    self._delimiter(piece)
                case Filler():
                    pass
                case _:
                    assert_never(piece)
        self._close_to(0)
        return Anew(self._out, self._top, self._parts, self._signed)

    def _delimiter(self, piece: Delimiter) -> None:
        # Delimiter lines right after one another make no empty parts between them.
        if self._begins:
            return
        level = self._open[piece.boundary]
        self._close_to(level if piece.closes else level + 1)
        self._begins = not piece.closes

    def _close_to(self, depth: int) -> None:
        while len(self._levels) > depth:
            old, new = self._levels.pop()
            if self._open.get(old) == len(self._levels):
                del self._open[old]
            self._out += b"--%s--\r\n" % new

    def _part(self, part: Part) -> None:
        if self._begins:
            self._out += b"--%s\r\n" % self._levels[-1][1]
            self._begins = False
        match part.kind:
            case "container":
                self._container(part)
            case "sealed" if part.type.kind not in _SEALED_LEAVES:
                self._seal(part)
            case "sealed" | "leaf" | "shapeless":
                self._leaf(part)
            case _:
                assert_never(part.kind)

    def _container(self, part: Part) -> None:
        if part.type.main != "multipart":
            self._head(part, _kind_of(part, "message/rfc822"))
            self._in_message = True
            return
        new = self._stem + b"%06d" % self._numbered
        self._numbered += 1
        self._signed |= part.type.kind == _SIGNED
        kind = _kind_of(part, "multipart/mixed")
        # Without its signature it is none; with a broken one, readers warn of it.
        kind = "multipart/mixed" if kind == _SIGNED and not self._sealed else kind
        self._head(part, kind, boundary=new)
        old = part.type.boundary or b""
        self._levels.append((old, new))
        self._open.setdefault(old, len(self._levels) - 1)

    def _seal(self, part: Part) -> None:
        content = self._body[part.start : part.end]
        if not is_sendable(content):
            content = lf_to_crlf(content)
            if not is_sendable(content):
                raise BrokenSealError
        if part.fields or part.head is None:
            label = _LABELS[part.encoding] if part.encoding != "identity" else None
            self._head(part, part.type.kind, label, part.type.boundary)
        self._out += content
        if self._levels and content and not content.endswith(CRLF):
            self._out += CRLF

    def _leaf(self, part: Part) -> None:
        whole = part.lead + self._body[part.start : part.end]
        if self._levels and (part.kind == "sealed" or (part.kind == "leaf" and part.start == part.end)):
            whole = whole.removesuffix(b"\n").removesuffix(b"\r")
        if part.kind == "sealed" and is_sendable(whole):
            self._head(part, _kind_of(part, "application/octet-stream"), _LABELS[part.encoding])
            self._out += whole
            self._out += CRLF if self._levels else b""
            return
        decoded = decode(whole, part.encoding)
        content = whole if decoded is None else decoded
        self._parts += 1
        if part.type.kind == "message/delivery-status" and part.encoding == "identity":
            status = content if is_sendable(content) else wire_status(content, within=part.within)
            if status is not None:
                self._head(part, part.type.kind)
                self._out += status
                self._out += CRLF if self._levels else b""
                return
        name, encoded = encode(content, is_text=_is_text(part))
        self._head(part, _leaf_kind(part), name)
        self._out += encoded
        self._out += CRLF if self._levels or name == "base64" else b""

    def _head(self, part: Part, kind: str, encoding: str | None = None, boundary: bytes | None = None) -> None:
        """A fresh header block, with the blank line. Of the mail's own only the Content fields, which are kept."""
        own = b"".join(_content_fields(part, kind, encoding, boundary))
        if part.head is None:
            self._top = own
            return
        if self._in_message:
            # A message's own header is content: all of it is shown to readers.
            rest = tuple(field for field in part.fields if not field.key.startswith(("content-", "mime-version")))
            self._out += wire_block(rest, part.type.charset) + b"MIME-Version: 1.0\r\n"
            self._in_message = False
        self._out += own + CRLF


def fresh_stem(body: bytes | bytearray) -> bytes:
    """The beginning of every new boundary. It occurs nowhere in the body, and in no base64 or quoted-printable."""
    stem = b"=_relayd-"
    while stem in body:
        stem = b"=_relayd-" + hashlib.sha256(stem + body).hexdigest()[:24].encode("ascii") + b"-"
    return stem


def _is_text(part: Part) -> bool:
    return part.type.main == "text" or part.kind == "shapeless" or part.type.kind == "message/delivery-status"


def _kind_of(part: Part, otherwise: str) -> str:
    return part.type.kind if _TYPE.fullmatch(part.type.kind) else otherwise


def _leaf_kind(part: Part) -> str:
    if part.type.main in ("message", "multipart"):
        # What is encoded may be neither (RFC 2046, 5.2.1; RFC 2045, 6.4).
        return "text/plain" if _is_text(part) else "application/octet-stream"
    return _kind_of(part, "text/plain" if _is_text(part) else "application/octet-stream")


def _content_fields(part: Part, kind: str, encoding: str | None, boundary: bytes | None) -> list[bytes]:
    hint = part.type.charset
    values = named(first(part.fields, "content-type"), hint)
    if boundary is not None:
        values["boundary"] = ""
    if kind != part.type.kind:
        # The rest was said of another type.
        values = {key: text for key, text in values.items() if key in ("name", "charset", "boundary")}
    lines = [written("Content-Type", kind, values, boundary)]
    if encoding is not None:
        lines.append(f"Content-Transfer-Encoding: {encoding}\r\n".encode("ascii"))
    disposition = first(part.fields, "content-disposition")
    if disposition is not None and (word := next(pieces(disposition.source))):
        # Words that nobody knows mean an attachment (RFC 2183, 2.8).
        word = b"inline" if word.lower() == b"inline" else b"attachment"
        lines.append(written("Content-Disposition", word.decode("ascii"), named(disposition, hint)))
    content_id = first(part.fields, "content-id")
    found = ids(content_id, 1) if content_id is not None else []
    return [*lines, folded("Content-ID", [f"<{found[0]}>"])] if found else lines
