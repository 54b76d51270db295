"""Sparklines as SVG: a quarter of an hour at a glance, with no script and no other host."""

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 182, 32
"""Two pixels for each of the 91 buckets of ten seconds."""
_TOP = 2


def sparkline(values: Sequence[float | None], title: str, *, faults: Sequence[int] = ()) -> str:
    """A line of `values`, scaled to the largest of them, with a gap where there is None; red below where there were
    faults. `title` is read out in its place.
    """
    known = [value for value in values if value is not None]
    most = max(known, default=0.0)
    step = WIDTH / max(1, len(values))
    drawn = [_path(run, step, most) for run in _runs(values)] if most > 0 else []
    red = "".join(
        f'<rect class="fault" x="{place * step:.1f}" y="0" width="{max(step, 1):.1f}" height="{HEIGHT}"/>'
        for place, count in enumerate(faults)
        if count
    )
    line = f'<path d="{" ".join(drawn)}"/>' if drawn else ""
    return (
        f'<svg class="spark" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>{red}{line}</svg>'
    )


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    runs: list[list[tuple[int, float]]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((place, value))
    return [run for run in runs if run]


def _path(run: Sequence[tuple[int, float]], step: float, most: float) -> str:
    points = [(place * step, HEIGHT - (HEIGHT - _TOP) * value / most) for place, value in run]
    # A bucket alone would be a point, which nobody sees: a short line in its place.
    if len(points) == 1:
        points.append((points[0][0] + step, points[0][1]))
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
