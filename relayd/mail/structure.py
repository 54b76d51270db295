"""Where a body's parts begin and end, as the parsers at the other end see it, in one pass over its delimiter lines.

The standard library's feed parser is the reference for what broken structures mean, because a part that is
re-encoded must be the part that a reader decodes. It recurses and tests each line against each open boundary; this
scan keeps a stack and a table, so that neither depth nor the number of boundaries costs more than their bytes.
"""

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Literal

from relayd.mail.fields import Block, Field, first, read_block
from relayd.mail.parameters import ContentType, content_type
from relayd.mail.transfer import Encoding, encoding_of

# Looked for by its dashes, which are rare, and not by line ends, which are not: a tenth of the time for most mail.
_CANDIDATE = re.compile(rb"--(?<=[\r\n]--)")
_LINE = re.compile(rb"([^\r\n]*+)(?:\r\n|\r|\n|\Z)")
_BASE64_LINE = re.compile(rb"\s*+[A-Za-z0-9+/]{8,}+={0,2}\s")
_SEALED = frozenset({"multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"})
"""Not a byte of these may change, nor of the first part of a multipart/signed (RFC 1847), or the signature breaks."""
_SIGNED = "multipart/signed"
_SIGNED_PART = "signed part"


@dataclass(frozen=True, slots=True)
class Part:
    """An entity: its header block and, for a leaf or a sealed one, its content."""

    kind: Literal["leaf", "shapeless", "container", "sealed"]
    """`shapeless` is a multipart in which nobody finds a part; a `container` has its content in later pieces."""
    fields: tuple[Field, ...]
    head: tuple[int, int] | None
    """Where the header block stands, blank line included; None for the mail's own."""
    type: ContentType
    start: int
    end: int
    """The content, as decoders see it. For a container: empty."""
    lead: bytes = b""
    """What parsers read as the beginning of the content though it stands in the header block."""
    within: bool = False
    """Inside a multipart, where the last line end belongs to what follows."""
    blank: bool = True
    """Whether a blank line ends the header block."""
    nested: bool = False
    """Inside a message that is itself a part of the mail."""

    @property
    def encoding(self) -> Encoding:
        field = first(self.fields, "content-transfer-encoding")
        return encoding_of(field.value) if field is not None else "identity"


@dataclass(frozen=True, slots=True)
class Filler:
    """A preamble, an epilogue, the line end before a delimiter: no content, but it must be sendable too."""

    start: int
    end: int
    orphan: bool = False
    """A closing delimiter, and what follows, of a multipart without parts: content to whoever takes that for text."""


@dataclass(frozen=True, slots=True)
class Delimiter:
    """A delimiter line, its line end included."""

    start: int
    end: int
    boundary: bytes
    closes: bool
    opens: bool = False
    """It stands before the first part of its multipart."""
    double: bool = False
    """It stands right after another one, with no part between them."""


Piece = Part | Filler | Delimiter


@dataclass(frozen=True, slots=True)
class _Entity:
    """A header block whose content begins at `start`; where it ends shows at the next delimiter."""

    fields: tuple[Field, ...]
    head: tuple[int, int] | None
    type: ContentType
    start: int
    lead: bytes = b""
    blank: bool = True


def scan(data: bytes, fields: tuple[Field, ...], *, sealed: bool = True, signed: bool = True) -> Iterator[Piece]:
    """The pieces of a body whose header block has these fields, in order, covering each of its bytes.

    One at a time: a mail can be made of nothing but delimiters, and a list of them would be many times its size.
    `sealed=False`: signed and encrypted parts are opened like any others; `signed=False`: only the signed ones are.
    """
    return _Scan(data, sealed=sealed, signed=sealed and signed).run(fields)


class _Scan:
    """One pass. `_levels` are the boundaries of the multiparts that are open, outermost first."""

    def __init__(self, data: bytes, *, sealed: bool, signed: bool) -> None:
        self._data = data
        self._sealed = sealed
        self._signed = signed
        self._levels: list[tuple[bytes, str]] = []
        self._open: dict[bytes, int] = {}
        self._message_at: int | None = None
        """How many levels were open around the outermost message that is a part; None outside of one."""

    def run(self, fields: tuple[Field, ...]) -> Iterator[Piece]:
        entity = yield from self._enter(_Entity(fields, None, content_type(first(fields, "content-type")), 0))
        pending: _Entity | None = entity
        position, orphan = entity.start, False
        while True:
            found = self._next_delimiter(position)
            end = found[0].start if found is not None else len(self._data)
            # The multipart that waits for its first part has it now, or never will.
            own = found is not None and found[1] == len(self._levels) - 1
            opens = own and pending is not None and self._is_multipart(pending)
            starts = opens and found is not None and not found[0].closes
            if pending is None:
                yield from self._fill(position, end, orphan=orphan)
            else:
                yield from self._finish(pending, position, end, starts=starts)
            if found is None:
                return
            delimiter, level = found
            orphan = opens and not starts
            if orphan:
                self._close_to(level)
                pending, position = None, delimiter.start
                continue
            if self._message_at is not None and level < self._message_at:
                self._message_at = None
            if starts:
                yield Delimiter(delimiter.start, delimiter.end, delimiter.boundary, delimiter.closes, opens=True)
            else:
                yield delimiter
            position = delimiter.end
            if delimiter.closes:
                self._close_to(level)
                pending = None
            else:
                self._close_to(level + 1)
                position = yield from self._skip_doubles(position, level)
                boundary, kind = self._levels[level]
                if kind == _SIGNED and self._signed:
                    # The signature covers all of its first part, header included. What follows is not covered.
                    self._levels[level] = boundary, "multipart/mixed"
                    pending = _Entity((), (position, position), ContentType(_SIGNED_PART), position)
                else:
                    pending = yield from self._enter(self._part_at(position, level))
                position = pending.start

    def _enter(self, entity: _Entity) -> Generator[Piece, None, _Entity]:
        """Go through messages inside messages to the entity that has content, and open it if it is a multipart."""
        while _holds_message(self._data, entity):
            yield self._part("container", entity, entity.start, entity.start)
            if self._message_at is None:
                self._message_at = len(self._levels)
            block = read_block(self._data, entity.start, self._is_delimiter)
            entity = self._entity(block, entity.start, "text/plain")
        if self._is_multipart(entity):
            boundary = entity.type.boundary or b""
            self._levels.append((boundary, entity.type.kind))
            # Where two levels have the same boundary, the outer one takes every line of it.
            self._open.setdefault(boundary, len(self._levels) - 1)
        return entity

    def _entity(self, block: Block, start: int, default: str) -> _Entity:
        kind = content_type(first(block.fields, "content-type"), default)
        return _Entity(block.fields, (start, block.end), kind, block.end, block.lead, block.blank)

    def _part_at(self, position: int, level: int) -> _Entity:
        default = "message/rfc822" if self._levels[level][1] == "multipart/digest" else "text/plain"
        return self._entity(read_block(self._data, position, self._is_delimiter), position, default)

    def _skip_doubles(self, position: int, level: int) -> Generator[Piece, None, int]:
        """Delimiter lines right after one another, a closing one included, make no empty parts between them."""
        while self._data.startswith(b"--", position):
            found = self._delimiter_at(position)
            if found is None or found[1] != level:
                break
            line = found[0]
            yield Delimiter(line.start, line.end, line.boundary, line.closes, double=True)
            position = line.end
        return position

    def _finish(self, entity: _Entity, start: int, end: int, *, starts: bool) -> Iterator[Piece]:
        """What an entity is shows when its content ends, or its first part begins."""
        if starts:
            yield self._part("container", entity, start, start)
            yield from self._fill(start, end)
        elif self._is_sealed(entity):
            yield self._part("sealed", entity, start, end)
        elif entity.type.main == "multipart":
            # Its own boundary, if it has one, is the last that was opened.
            depth = len(self._levels) - (entity.type.boundary is not None)
            yield self._part("shapeless", entity, start, end, within=depth > 0)
        else:
            within = bool(self._levels)
            content_end = end - _line_end_size(self._data, start, end) if within else end
            yield self._part("leaf", entity, start, content_end, within=within)
            yield from self._fill(content_end, end)

    def _is_sealed(self, entity: _Entity) -> bool:
        return self._sealed and (entity.type.kind in _SEALED or entity.type.kind == _SIGNED_PART)

    def _is_multipart(self, entity: _Entity) -> bool:
        return entity.type.main == "multipart" and entity.type.boundary is not None and not self._is_sealed(entity)

    def _part(
        self,
        kind: Literal["leaf", "shapeless", "container", "sealed"],
        entity: _Entity,
        start: int,
        end: int,
        *,
        within: bool = False,
    ) -> Part:
        nested = self._message_at is not None
        return Part(
            kind, entity.fields, entity.head, entity.type, start, end, entity.lead, within, entity.blank, nested
        )

    def _fill(self, start: int, end: int, *, orphan: bool = False) -> Iterator[Piece]:
        if end > start:
            yield Filler(start, end, orphan)

    def _close_to(self, depth: int) -> None:
        while len(self._levels) > depth:
            boundary, _ = self._levels.pop()
            if self._open.get(boundary) == len(self._levels):
                del self._open[boundary]

    def _next_delimiter(self, position: int) -> tuple[Delimiter, int] | None:
        if not self._open:
            return None
        data = self._data
        if position == 0 and data.startswith(b"--"):
            found = self._delimiter_at(0)
            if found is not None:
                return found
        while (match := _CANDIDATE.search(data, position)) is not None:
            found = self._delimiter_at(match.start())
            if found is not None:
                return found
            position = match.end()
        return None

    def _is_delimiter(self, position: int) -> bool:
        return self._delimiter_at(position) is not None

    def _delimiter_at(self, position: int) -> tuple[Delimiter, int] | None:
        """The delimiter line at `position`, and the level that it is for: the outermost that knows it."""
        line = _LINE.match(self._data, position)
        assert line is not None  # the pattern matches anything
        text = line[1][2:].rstrip(b" \t")
        best: tuple[Delimiter, int] | None = None
        for boundary, closes in ((text, False), (text[:-2] if text.endswith(b"--") else None, True)):
            level = self._open.get(boundary) if boundary is not None else None
            if boundary is not None and level is not None and (best is None or level < best[1]):
                best = Delimiter(position, line.end(), boundary, closes), level
        return best


def _holds_message(data: bytes, entity: _Entity) -> bool:
    """Whether the content is a header block again. A delivery status is a leaf: its blocks have no content of their
    own. So is a message that really is base64, against the rules; labels alone mean nothing.
    """
    if entity.type.main != "message" or entity.type.kind == "message/delivery-status":
        return False
    label = first(entity.fields, "content-transfer-encoding")
    return label is None or encoding_of(label.value) != "base64" or _BASE64_LINE.match(data, entity.start) is None


def _line_end_size(data: bytes, start: int, end: int) -> int:
    if data.endswith(b"\r\n", start, end):
        return 2
    return 1 if data.endswith((b"\n", b"\r"), start, end) else 0
