"""A document of any shape as nested HTML tables, for the page's last part: everything that /status says."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

MAX_DEPTH = 5


def details(document: Mapping[str, Any]) -> str:
    """The document as a table. Every name and value is escaped."""
    return "".join(_table(document, 0))


def _table(rows: Mapping[str, Any], depth: int) -> Iterator[str]:
    yield "<table>"
    for name, value in rows.items():
        yield f'<tr><th scope="row">{escape(str(name).replace("_", " "))}</th><td>'
        yield from _cell(value, depth)
        yield "</td></tr>"
    yield "</table>"


def _cell(value: Any, depth: int) -> Iterator[str]:
    match value:
        case Mapping() if value and depth < MAX_DEPTH:
            yield from _table(value, depth + 1)
        case {} | [] | None | "":
            yield "–"
        case list() | tuple():
            yield escape(", ".join(str(item) for item in value))
        case bool():
            yield "yes" if value else "no"
        case float():
            yield f"{value:.3f}".rstrip("0").rstrip(".")
        case _:
            yield escape(str(value))
