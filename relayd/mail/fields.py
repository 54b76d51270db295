"""Header blocks as raw fields, split where the parsers at the other end split them, however broken they are."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

# A field with its folds. Possessive throughout: no header block may make the engine go back.
_FIELD = re.compile(rb"([!-9;-~]++):[^\r\n]*+(?:(?:\r\n|\r|\n)[ \t][^\r\n]*+)*+(?:\r\n|\r|\n|\Z)")
# Lines that belong to the block and say nothing: an mbox separator, a field without a name, a fold of nothing.
_STRAY = re.compile(rb"(?:From |:|[ \t])[^\r\n]*+(?:\r\n|\r|\n|\Z)")
_MOST_FIELDS = 100_000
"""Fields kept of one block. A field takes more memory than its bytes, and nothing after so many is a header's."""
_LINE_END = re.compile(rb"\r\n|\r|\n")


class Field(NamedTuple):
    """One header field as it came. A tuple, because a mail makes fifty of them before anything is decided."""

    name: str
    raw: bytes
    """All of its bytes, with name, folds and line ends."""
    key: str
    """The name in lower case, to compare by."""

    @property
    def source(self) -> bytes:
        """Everything after the colon, folds included."""
        return self.raw[len(self.name) + 1 :]

    @property
    def value(self) -> bytes:
        """What stands after the colon, unfolded and without outer white space."""
        source = self.source.strip()
        return source.translate(None, b"\r\n")


@dataclass(frozen=True, slots=True)
class Block:
    """A header block that was read."""

    fields: tuple[Field, ...]
    end: int
    """Where the content begins, after the blank line if there was one."""
    blank: bool = False
    """Whether there was one."""
    lead: bytes = b""
    """An mbox separator as the block's last line: parsers take it for the first line of the content."""


def read_block(data: bytes, start: int = 0, is_end: Callable[[int], bool] | None = None) -> Block:
    """Read the header block at `start`. `is_end` tells, for a line that begins with `--`, whether it is a delimiter.

    The block ends at a blank line, or at the first line that is no field; that line is content then.
    """
    fields: list[Field] = []
    position, stray = start, b""
    while True:
        if is_end is not None and data.startswith(b"--", position) and is_end(position):
            return Block(tuple(fields), position, lead=_lead(stray))
        match = _FIELD.match(data, position)
        if match is not None:
            if len(fields) < _MOST_FIELDS:
                name = match[1].decode("ascii")
                fields.append(Field(name, match[0], name.lower()))
            stray = b""
        else:
            match = _STRAY.match(data, position)
            if match is None:
                break
            stray = b"" if position == start else match[0]
        position = match.end()
    blank = _LINE_END.match(data, position)
    return Block(tuple(fields), blank.end() if blank else position, blank is not None, _lead(stray))


def _lead(stray: bytes) -> bytes:
    return stray if stray.startswith(b"From ") else b""


def first(fields: Iterable[Field], key: str) -> Field | None:
    """The first field of that (lower-case) name: the only one that parsers look at."""
    for field in fields:
        if field.key == key:
            return field
    return None
