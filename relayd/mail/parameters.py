"""`Content-Type: text/plain; charset=...`: read as tolerantly as mail parsers do, written as RFC 2231 wants it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from urllib.parse import quote, unquote_to_bytes

from relayd.mail.fields import Field
from relayd.mail.words import decoded, text_of, visible

_WHITE = b" \t\r\n\x0b\x0c\x1c\x1d\x1e\x1f"
_MARK = re.compile(rb'\\"|"|;')
_CONTINUED = re.compile(rb"(\w+)\*(?:([0-9]{1,4})\*?)?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,60}")
_NO_TEXT = re.compile(r"[^\t-\r -~]")
_LONGEST_VALUE = 400
_LONGEST_BOUNDARY = 900
"""It stands on a line of its own, which holds no more."""
_MOST_PARAMETERS = 30
_MOST_PIECES = 1000
"""Parameters that are read at all."""


def pieces(source: bytes) -> Iterator[bytes]:
    """Split at the semicolons outside quotes; the first piece is the value itself. Linear."""
    start, quoted = 0, False
    for mark in _MARK.finditer(source):
        if mark[0] == b'"':
            quoted = not quoted
        elif mark[0] == b";" and not quoted:
            yield source[start : mark.start()].strip(_WHITE)
            start, quoted = mark.end(), False
    yield source[start:].strip(_WHITE)


def parameters(source: bytes) -> list[tuple[bytes, bytes]]:
    """Names in lower case with their unquoted values: plain ones in order, then those of RFC 2231 put together."""
    plain: list[tuple[bytes, bytes]] = []
    parts: dict[bytes, list[tuple[int, bool, bytes]]] = {}
    for index, piece in enumerate(islice(pieces(source), _MOST_PIECES)):
        name, equals, value = piece.partition(b"=")
        name, value = name.strip(_WHITE).lower(), value.strip(_WHITE)
        continued = _CONTINUED.fullmatch(name) if index else None
        if continued is not None:
            encoded = name.endswith(b"*")
            parts.setdefault(continued[1], []).append((int(continued[2] or 0), encoded, _unquoted(value)))
        elif equals:
            plain.append((name, _unquoted(value)))
    for name, found in parts.items():
        found.sort(key=lambda part: part[0])
        value = b"".join(unquote_to_bytes(v) if encoded else v for _, encoded, v in found)
        if any(encoded for _, encoded, _ in found) and value.count(b"'") >= 2:
            charset, _, value = value.split(b"'", 2)
            value = _in_utf8(value, charset)
        plain.append((name, value))
    return plain


def _in_utf8(value: bytes, charset: bytes) -> bytes:
    text = None if value.isascii() else decoded(value, charset.decode("ascii", "replace"))
    return value if text is None else text.encode("utf-8", "replace")


def _unquoted(value: bytes) -> bytes:
    if len(value) > 1:
        if value.startswith(b'"') and value.endswith(b'"'):
            return value[1:-1].replace(b"\\\\", b"\\").replace(b'\\"', b'"')
        if value.startswith(b"<") and value.endswith(b">"):
            return value[1:-1]
    return value


@dataclass(frozen=True, slots=True)
class ContentType:
    """What a Content-Type field says, read as the parsers at the other end read it."""

    kind: str
    """`type/subtype` in lower case; `text/plain` for what has no single slash."""
    boundary: bytes | None = None
    """The boundary of a multipart; None when it has none, or one that no line can equal."""
    charset: str | None = None

    @property
    def main(self) -> str:
        return self.kind.partition("/")[0]


def content_type(field: Field | None, default: str = "text/plain") -> ContentType:
    """Read a Content-Type field; without one, what the surroundings imply."""
    if field is None:
        return ContentType(default)
    source = field.source
    kind = source.partition(b";")[0].strip(_WHITE).lower().decode("ascii", "replace")
    if kind.count("/") != 1:
        kind = "text/plain"
    found = dict(reversed(parameters(source))) if b"=" in source else {}
    boundary = found.get(b"boundary")
    if boundary is not None:
        boundary = boundary.rstrip(_WHITE)
        if not boundary.isascii() or b"\r" in boundary or b"\n" in boundary:
            boundary = None
    charset = found.get(b"charset")
    return ContentType(kind, boundary, charset.decode("ascii", "replace") if charset else None)


def rebuilt(field: Field, hint: str | None, boundary: bytes | None = None) -> bytes:
    """The field anew, in ASCII and short lines: what RFC 2231 is for. Used only where the original cannot be sent.

    `boundary` replaces the one in the field.
    """
    # What was no known type stays none: the content was read, and perhaps encoded, as that.
    main = _NO_TEXT.sub("?", next(pieces(field.source))[:_LONGEST_VALUE].decode("ascii", "replace"))
    boundary = boundary if boundary is not None else content_type(field).boundary
    return written(field.name, visible(main), texts(field, hint), boundary)


def texts(field: Field, hint: str | None) -> dict[str, str]:
    """The first value of each parameter as visible text, in order. `hint` is the charset of what declares none."""
    found: dict[str, str] = {}
    for raw_name, raw_value in parameters(field.source)[:_MOST_PARAMETERS]:
        name = raw_name.decode("ascii", "replace")
        if name not in found and _TOKEN.fullmatch(name):
            found[name] = visible(text_of(raw_value[:_LONGEST_VALUE], hint))
    return found


def written(name: str, main: str, values: Mapping[str, str], boundary: bytes | None = None) -> bytes:
    """A field in ASCII and short lines. A boundary among the values only shows where `boundary` goes."""
    lines = [f"{name}: {main}"]
    for key, text in values.items():
        if key != "boundary":
            lines += _written(key, text)
        elif boundary is not None and len(boundary) <= _LONGEST_BOUNDARY:
            # To the letter, and never continued: a reader that misses it finds no parts.
            # One with a NUL is here only if no line of the body equals it, and then none must after.
            lines.append(f'boundary="{_escaped(boundary.decode("ascii")).replace(chr(0), "?")}"')
    return (";\r\n ".join(lines) + "\r\n").encode("ascii")


def _written(name: str, text: str) -> list[str]:
    if text.isascii():
        return [f'{name}="{_escaped(text)}"']
    encoded = quote(text, safe="!#$&+-.^_`|~", errors="replace")
    units = re.findall(r"(?:%[0-9A-F]{2}|[^%]){1,20}", encoded)
    if len(units) == 1:
        return [f"{name}*=utf-8''{encoded}"]
    units[0] = f"utf-8''{units[0]}"
    return [f"{name}*{index}*={unit}" for index, unit in enumerate(units)]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
