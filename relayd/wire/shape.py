"""Strict JSON, and fields read from it by path, so that an error names the place and never shows what stood there."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn

from relayd.errors import PermanentError

# An id becomes a ledger key, a span attribute and a file name.
_IDENTIFIER = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass(frozen=True, slots=True)
class Shape:
    """One JSON object of a document. A field that is null counts as absent."""

    fields: dict[str, object]
    noun: str
    """What the document is: `envelope` or `notification`. The first half of its errors' reasons."""
    path: str = ""

    def place(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def incomplete(self, name: str) -> PermanentError:
        """The field is missing, or not of its type."""
        return PermanentError(f"{self.noun}_incomplete", self.place(name))

    def malformed(self, name: str) -> PermanentError:
        """The field is there and of its type, but its value is impossible."""
        return PermanentError(f"{self.noun}_malformed", self.place(name))

    def has(self, name: str) -> bool:
        return self.fields.get(name) is not None

    def text(self, name: str) -> str:
        value = self.fields.get(name)
        if not isinstance(value, str):
            raise self.incomplete(name)
        if not is_unicode(value):
            raise self.malformed(name)
        return value

    def lenient_text(self, name: str) -> str:
        """As `text`, with U+FFFD for half a surrogate pair: for what strangers wrote and only people will read."""
        value = self.fields.get(name)
        if not isinstance(value, str):
            raise self.incomplete(name)
        return value if is_unicode(value) else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def identifier(self, name: str) -> str:
        """An id of AWS's making: 1 to 128 letters, digits, dots, dashes, underscores."""
        value = self.text(name)
        if not is_identifier(value):
            raise self.malformed(name)
        return value

    def nested(self, name: str) -> "Shape":
        value = self.fields.get(name)
        if not isinstance(value, dict):
            raise self.incomplete(name)
        return Shape(value, self.noun, self.place(name))

    def objects(self, name: str, limit: int) -> Iterator["Shape"]:
        """The objects of a list, the first `limit` of them."""
        for index, value in enumerate(self.array(name)[:limit]):
            element = f"{name}[{index}]"
            if not isinstance(value, dict):
                raise self.incomplete(element)
            yield Shape(value, self.noun, self.place(element))

    def array(self, name: str) -> Sequence[object]:
        value = self.fields.get(name)
        if not isinstance(value, list):
            raise self.incomplete(name)
        return value


def parse_object(text: str, noun: str) -> Shape:
    """Read a JSON object. Raises PermanentError `not_json`, `duplicate_key` or `unknown_shape`."""
    try:
        if not is_unicode(text):
            raise ValueError
        root = _READER.decode(text)
    except (ValueError, RecursionError):
        # `from None`: a JSONDecodeError carries the whole document with it.
        raise PermanentError("not_json", noun) from None
    if not isinstance(root, dict):
        raise PermanentError("unknown_shape", noun)
    return Shape(root, noun)


def is_unicode(text: str) -> bool:
    """False for half a surrogate pair, which JSON can spell and UTF-8 (databases, sockets, signatures) cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_identifier(text: str) -> bool:
    return _IDENTIFIER.fullmatch(text) is not None


def seconds(timestamp: object) -> float:
    """Seconds since the epoch; 0 for what is no ISO 8601. Only measured by, so never a reason to refuse a message."""
    try:
        moment = datetime.fromisoformat(timestamp if isinstance(timestamp, str) else "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _refuse_constant(_: str) -> NoReturn:
    """NaN and Infinity are JavaScript, not JSON."""
    raise ValueError


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Readers disagree on which of two equal keys counts; neither SNS nor SES ever writes two."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise PermanentError("duplicate_key")
    return fields


# Nobody here reads a number: float is linear in its digits where int is quadratic, or raises.
_READER = json.JSONDecoder(parse_int=float, parse_constant=_refuse_constant, object_pairs_hook=_unique)
