"""The last wall: whatever looks like an address is cut out of every log value and span attribute, in linear time.

It is not what keeps relayd private (nothing that logs is given an address in the first place); it is there for the
line that somebody will write one day.
"""

import re
from collections.abc import Mapping
from typing import Any

ADDRESS = "[address]"
MAX_TEXT = 2_000
"""Characters of one value; a longer one is cut, so that no line grows without bound."""
MAX_ADDRESS = 320
"""Read beyond the cut, so that no address loses its @ to it and stays."""
MAX_DEPTH = 4
MAX_ITEMS = 100

_AT = re.compile(r"@|%40|\\u0040|＠")
_SEPARATOR = re.compile(r"[\s<>(),;:\"\[\]]")


def redact(text: str) -> str:
    """The text without addresses and control characters, and not too long.

    Every @ is cut out with all that stands around it, up to a character that no unquoted address holds. That takes
    too much rather than too little: `=` and `'` are left to the address, for `me=example.org@list.example`.
    """
    return _cut_addresses(text[: MAX_TEXT + MAX_ADDRESS])[:MAX_TEXT]


def _cut_addresses(text: str) -> str:
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in text)
    pieces = _AT.split(text)
    if len(pieces) == 1:
        return text
    middle = [_before(_after(piece)) for piece in pieces[1:-1]]
    return ADDRESS.join([_before(pieces[0]), *middle, _after(pieces[-1])])


def _before(piece: str) -> str:
    """What stays of the text left of an @: up to the local part."""
    if piece.endswith('"'):
        # A quoted local part may hold spaces: it goes back to where the quote opened.
        return piece[: max(0, piece.rfind('"', 0, -1))]
    for index in range(len(piece) - 1, -1, -1):
        if _SEPARATOR.match(piece, index):
            return piece[: index + 1]
    return ""


def _after(piece: str) -> str:
    """What stays of the text right of an @: from behind the domain."""
    found = _SEPARATOR.search(piece)
    return piece[found.start() :] if found else ""


def redact_value(value: Any, depth: int = 0) -> Any:
    """The value as plain data without addresses: what is neither text, number nor a container becomes its type."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        # `str.__str__`: a subclass (an enum, a markup string) must not choose what is logged.
        return redact(str.__str__(value))
    if depth >= MAX_DEPTH:
        return "[...]"
    if isinstance(value, Mapping):
        items = list(value.items())[:MAX_ITEMS]
        return {
            redact(k if isinstance(k, str) else f"<{type(k).__name__}>"): redact_value(v, depth + 1) for k, v in items
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item, depth + 1) for item in list(value)[:MAX_ITEMS]]
    return f"<{type(value).__name__}>"
