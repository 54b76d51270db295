"""The replay as a picture for the README: how long mail waited and how much of it, in both designs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.incident.record import Record, figures
from bench.incident.story import BEFORE, OUTAGE, S3_SECONDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Draw = Callable[[Record, Record, Path], None]

# A card of its own colour: the README is read on white and on black.
CARD, INK, FAINT = "#fbfaf7", "#22252b", "#dcd9d0"
SLOW, MAIL, AGAIN, DOWN = "#f3e3c3", "#2c6fbb", "#e08a1e", "#c0322b"
STYLE = {
    "font.size": 15,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": CARD,
    "figure.facecolor": CARD,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
DPI = 110
WIDTH, HEIGHT = 14.0, 8.6


def drawer() -> Draw:
    """What draws. Raises ClickException without matplotlib, which nothing but pictures needs."""
    try:
        import matplotlib  # noqa: F401 - is it there?
    except ImportError:
        hint = "install it, for instance with: pip install -e '.[bench]'"
        raise click.ClickException(f"matplotlib is not there; {hint}") from None
    return draw


def draw(old: Record, relayd: Record, file: Path) -> None:
    """Write the picture, in the format that the file's suffix names."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # Text as it was made: neither TeX nor a display is needed.
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
        rows: Any = figure.subplots(2, 2, sharex=True, sharey="row", gridspec_kw={"height_ratios": [3, 2]})
        for column, (record, name) in enumerate(((old, "Pushed to an HTTP endpoint"), (relayd, "relayd"))):
            _waits(rows[0][column], record)
            _backlog(rows[1][column], record)
            rows[0][column].set_title(f"{name}\n\n", fontsize=19, fontweight="bold", loc="left")
            rows[0][column].text(0, 1.03, _sentence(record), transform=rows[0][column].transAxes, fontsize=15)
            rows[1][column].set_xlabel("minutes")
        rows[0][0].set_ylabel("a mail's wait, seconds")
        rows[1][0].set_ylabel("mails waiting")
        rows[0][0].set_xlim(0, max(_last(old), _last(relayd)))
        _legend(figure)
        figure.savefig(file)


def _waits(axes: "Axes", record: Record) -> None:
    story = record.story
    first = record.first_sent()
    names = sorted(first)
    _outage(axes)
    again = [
        (at / story.scale / 60, story.told(at - record.arrived[name]))
        for name in names
        for at in sorted(record.sent[name])[1:]
    ]
    # By the moment of the send: then a restart's gap, and what follows it, can be seen.
    axes.scatter([x for x, _ in again], [max(0.1, y) for _, y in again], s=14, color=AGAIN, linewidths=0, alpha=0.75)
    waits = [max(0.1, story.told(first[name] - record.arrived[name])) for name in names]
    axes.scatter([story.told(first[name]) / 60 for name in names], waits, s=22, color=MAIL, linewidths=0)
    for at in record.restarts:
        axes.axvline(story.told(at) / 60, color=DOWN, linewidth=2)
    failed = [story.told(probe.at) / 60 for probe in record.probes if not probe.well]
    axes.scatter(failed, [0.97] * len(failed), marker="x", color=DOWN, s=50, transform=axes.get_xaxis_transform())
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)


def _backlog(axes: "Axes", record: Record) -> None:
    story = record.story
    _outage(axes)
    minutes = [story.told(at) / 60 for at, _ in record.backlog]
    axes.fill_between(minutes, [depth for _, depth in record.backlog], color=MAIL, alpha=0.85, linewidth=0, step="post")
    for at in record.restarts:
        axes.axvline(story.told(at) / 60, color=DOWN, linewidth=2)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)


def _outage(axes: "Axes") -> None:
    axes.axvspan(BEFORE / 60, (BEFORE + OUTAGE) / 60, color=SLOW, linewidth=0)


def _sentence(record: Record) -> str:
    told = figures(record)
    counted = (
        ("probe", "failed", told["probe_failures"]),
        ("restart", "", told["restarts"]),
        ("mail", "sent twice or more", told["mails_doubled"]),
        ("fetch", "for nothing", told["wasted_fetches"]),
    )
    plural = {"fetch": "fetches"}
    words = (
        f"{count} {noun if count == 1 else plural.get(noun, noun + 's')} {rest}".strip()
        for noun, rest, count in counted
    )
    return "{}, {},\n{}, {}".format(*words)


def _last(record: Record) -> float:
    return max((record.story.told(at) / 60 for at, _ in record.backlog), default=1.0)


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    dot: dict[str, Any] = {"linestyle": "", "marker": "o"}
    figure.legend(
        handles=[
            Patch(color=SLOW, label=f"S3 takes {S3_SECONDS:g} s a call"),
            Line2D([], [], color=MAIL, label="forwarded", **dot),
            Line2D([], [], color=AGAIN, label="the same mail again", **dot),
            Line2D([], [], color=DOWN, linestyle="", marker="x", markersize=9, label="probe failed"),
            Line2D([], [], color=DOWN, linewidth=2, label="restart"),
        ],
        loc="outside lower center",
        ncols=5,
        frameon=False,
    )
