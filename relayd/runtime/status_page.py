"""The page at /: the status for eyes, from this host alone, in light and dark and on a phone."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

MAX_DEPTH = 5
REFRESH_SECONDS = 5

_STYLE = """
:root { color-scheme: light dark; --line: light-dark(#ddd, #333); --well: light-dark(#17692f, #5fd38a);
  --ill: light-dark(#a8071a, #ff8080); }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 48rem; }
h1 { font-size: 1.25rem; } h1 b { font-weight: 600; }
table { border-collapse: collapse; width: 100%; } table table { margin: 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-top: 1px solid var(--line); }
th { font-weight: 400; opacity: .75; width: 34%; } td { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.well { color: var(--well); } .ill { color: var(--ill); } nav a { margin-right: 1rem; color: inherit; }
"""


def status_page(status: Mapping[str, Any]) -> str:
    """The status as an HTML document. Every name and value is escaped."""
    return "".join(_document(status))


def _document(status: Mapping[str, Any]) -> Iterator[str]:
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>relayd</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}"><style>{_STYLE}</style></head><body>'
    yield f"<h1>relayd is {_mark(status.get('live'), 'alive', 'stuck')} and "
    yield f"{_mark(status.get('ready'), 'ready', 'not ready')}</h1>"
    yield from _table({key: value for key, value in status.items() if key not in ("live", "ready")}, 0)
    yield '<nav><p><a href="/livez">livez</a><a href="/readyz">readyz</a><a href="/metrics">metrics</a>'
    yield '<a href="/status">status as JSON</a></p></nav></body></html>\n'


def _mark(well: object, yes: str, no: str) -> str:
    # The word says it, the colour only helps.
    return f'<b class="well">{yes}</b>' if well else f'<b class="ill">{no}</b>'


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
