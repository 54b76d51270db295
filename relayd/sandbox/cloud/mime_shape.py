"""The MIME structure of a mail as SES sees it: whether every multipart begins, and how many parts there are."""

import re

MAX_PARTS = 500
"""Parts of one mail (SES Developer Guide, sending raw mail: a message cannot have more than 500 MIME parts)."""
MISSING_START = "Missing start boundary"
"""JavaMail's words for a multipart in which no part begins."""

_CONTENT_TYPE = re.compile(rb"^content-type[ \t]*:((?:[^\n]*+(?:\n[ \t])?+)*+)", re.IGNORECASE | re.MULTILINE)
_BOUNDARY = re.compile(rb';\s*+boundary\s*+=\s*+(?:"([^"]*+)"|([^\s;"]++))', re.IGNORECASE)
_EMPTY_LINE = re.compile(rb"\n\r?\n")
_MAX_BOUNDARY = 1000
"""A delimiter is one line."""


class ShapeError(Exception):
    """The text says what is wrong, in SES's words."""


class _Open:
    """A multipart that has not ended yet."""

    __slots__ = ("boundary", "started")

    def __init__(self) -> None:
        self.boundary: bytes | None = None
        self.started = False


class _Walk:
    """Goes through a mail from one line that may be a delimiter to the next. Each byte is looked at once or twice."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._open: list[_Open] = []
        # By boundary, the places in that list: a mail may have 500 of them open, and many lines that look like theirs.
        self._places: dict[bytes, list[int]] = {}
        self._parts = 0

    def check(self) -> None:
        at = self._begin_part(0)
        while (at := self._next(at)) >= 0:
            end = self._data.find(b"\n", at)
            end = len(self._data) if end < 0 else end
            at = self._delimiter(self._data[at + 2 : min(end, at + 2 + _MAX_BOUNDARY)].rstrip(), end + 1)
        self._close(0)

    def _next(self, at: int) -> int:
        if self._data.startswith(b"--", at):
            return at
        found = self._data.find(b"\n--", at)
        return found + 1 if found >= 0 else -1

    def _delimiter(self, text: bytes, after: int) -> int:
        """Where to go on after a line that begins with two hyphens."""
        begins = self._places.get(text, [-1])[-1]
        ends = self._places.get(text[:-2], [-1])[-1] if text.endswith(b"--") else -1
        if begins < 0 and ends < 0 and self._open and self._open[-1].boundary is None:
            # As JavaMail does it: the first such line tells the boundary that the header does not.
            self._bound(text)
            begins = len(self._open) - 1
        if begins >= 0 and begins >= ends:
            self._close(begins + 1)
            self._open[begins].started = True
            return self._begin_part(after)
        if ends >= 0:
            self._close(ends)
        return after

    def _bound(self, boundary: bytes) -> None:
        self._open[-1].boundary = boundary
        self._places.setdefault(boundary, []).append(len(self._open) - 1)

    def _close(self, depth: int) -> None:
        while len(self._open) > depth:
            one = self._open.pop()
            if not one.started:
                raise ShapeError(MISSING_START)
            places = self._places[one.boundary or b""]
            places.pop()
            if not places:
                del self._places[one.boundary or b""]

    def _begin_part(self, at: int) -> int:
        """Read a part's header, and return where its body begins."""
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ShapeError(f"The message has more than {MAX_PARTS} MIME parts.")
        end = _header_end(self._data, at)
        found = _CONTENT_TYPE.search(self._data[at:end])
        value = found[1].strip() if found else b""
        if value.lower().startswith(b"multipart/"):
            boundary = _BOUNDARY.search(value)
            self._open.append(_Open())
            if boundary:
                self._bound((boundary[1] or boundary[2] or b"").rstrip())
        return end


def check(data: bytes) -> None:
    """Raises ShapeError."""
    _Walk(data).check()


def _header_end(data: bytes, at: int) -> int:
    """Where a header's last line ends: its body's first delimiter may follow at once."""
    if data.startswith((b"\r\n", b"\n"), at):
        return at
    found = _EMPTY_LINE.search(data, at)
    return found.start() + 1 if found else len(data)
