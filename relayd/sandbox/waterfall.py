"""A trace as a waterfall for the terminal: what happened inside what, when, and for how long."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

from relayd.sandbox.traces import Span

NAME_SHARE = 0.42
"""Of the width; names hold the tree, so they need more room than the bars."""
DURATION_WIDTH = 11
MIN_BAR = 10


@dataclass(frozen=True, slots=True)
class Row:
    """One line: a span and how deep it stands in the tree."""

    span: Span
    depth: int
    linked: bool
    """It stands under the span it links to, in a trace of its own."""


def rows(spans: Sequence[Span]) -> list[Row]:
    """Spans as a tree in the order of their starts. One whose parent is missing is a root; a root that links to a
    span of the set stands under it.
    """
    by_id = {span.span_id: span for span in spans}
    children: dict[str, list[tuple[Span, bool]]] = {}
    for span in sorted(by_id.values(), key=lambda span: (span.start, -span.end)):
        linked = next((target for _, target in span.links if target in by_id and target != span.span_id), "")
        above = span.parent_id if span.parent_id in by_id and span.parent_id != span.span_id else ""
        children.setdefault(above or linked, []).append((span, not above and bool(linked)))

    seen: set[str] = set()

    def below(above: str, depth: int) -> Iterator[Row]:
        for span, linked in children.get(above, []):
            # Links and parents come from outside: a circle must not hang the terminal.
            if span.span_id not in seen:
                seen.add(span.span_id)
                yield Row(span, depth, linked)
                yield from below(span.span_id, depth + 1)

    found = list(below("", 0))
    found += [Row(span, 0, False) for span in by_id.values() if span.span_id not in seen]
    return found


class Waterfall:
    """The drawing, as wide as whatever it is printed on."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._rows = rows(list(spans))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(40, options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self._rows:
            yield Text("no spans arrived", style="dim")
            return
        plain = options.ascii_only
        width = options.max_width
        start = min(row.span.start for row in self._rows)
        whole = max(max(row.span.end for row in self._rows) - start, 1e-6)
        longest = max(_indent(row, plain).cell_len + len(row.span.name) for row in self._rows)
        name_width = min(longest, int(width * NAME_SHARE))
        bar_width = max(MIN_BAR, width - name_width - DURATION_WIDTH - 1)
        for row in self._rows:
            yield _line(row, start, whole, name_width=name_width, bar_width=bar_width, plain=plain)


def _indent(row: Row, plain: bool) -> Text:
    mark = ("~> " if plain else "⇢ ") if row.linked else ""
    return Text("  " * row.depth + mark, style="dim")


def _line(row: Row, start: float, whole: float, *, name_width: int, bar_width: int, plain: bool) -> Text:
    span = row.span
    label = _indent(row, plain)
    label.append(span.name, style="bold" if row.depth == 0 else "")
    label.truncate(name_width, overflow="crop" if plain else "ellipsis", pad=True)
    offset = min(int((span.start - start) / whole * bar_width), bar_width - 1)
    length = max(1, min(round((span.end - span.start) / whole * bar_width), bar_width - offset))
    colour = "red" if span.error else ("cyan" if row.depth else "green")
    line = Text(no_wrap=True, overflow="crop")
    line.append_text(label)
    line.append(" " * (1 + offset))
    line.append(("=" if plain else "━") * length, style=colour)
    line.append(" " * (bar_width - offset - length))
    line.append(f"{milliseconds(span.end - span.start):>{DURATION_WIDTH}}", style="red" if span.error else "dim")
    return line


def milliseconds(seconds: float) -> str:
    """`0.42 ms`, `12.3 ms`, `1,234 ms`: three digits that matter."""
    value = seconds * 1000
    if value < 1:
        return f"{value:.2f} ms"
    if value < 100:
        return f"{value:.1f} ms"
    return f"{value:,.0f} ms"
