"""The results as a picture.

    python -m bench.mails.picture bench/results bench/results/performance.png

It draws what `make bench` has left in the folder: mails for a second of processor time, the same by the size of a mail,
the rewrite alone, and memory in the course of a backlog. What was not measured stays empty.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.incident.picture import CARD, DPI, FAINT, INK, STYLE, drawer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 14.0, 9.4
COLOURS = {"relayd": "#2c6fbb", "bare_boto3": "#e08a1e", "node_sqs_consumer": "#5a9367"}
OTHERS = "#b9b3a4"
NAMES = {
    "relayd": "relayd",
    "bare_boto3": "bare loop, boto3",
    "node_sqs_consumer": "sqs-consumer, Node",
    "process_per_mail_warm": "one mail at a time,\nprocess kept",
    "process_per_mail": "one mail at a time,\na process for each",
}
MB = 1_000_000


def draw(folder: Path, file: Path) -> None:
    """Write the picture, in the format that the file's suffix names."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    mails, rewrite = _read(folder / "mails.json"), _read(folder / "rewrite.json")
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
        rows: Any = figure.subplots(2, 2, gridspec_kw={"width_ratios": [1, 1]})
        layout: Any = figure.get_layout_engine()
        layout.set(w_pad=0.15, h_pad=0.12, hspace=0.05, wspace=0.04)
        _programs(rows[0][0], mails)
        _sizes(rows[0][1], mails.get("sizes", {}))
        _rewrite(rows[1][0], rewrite.get("sizes", ()))
        _memory(rows[1][1], mails.get("backlog", {}))
        figure.savefig(file, facecolor=CARD)


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text())) if file.exists() else {}


def _programs(axes: "Axes", found: Mapping[str, Any]) -> None:
    _titled(axes, "Mails per CPU second", "30 KB, 32 at a time, everything on")
    told = {"relayd": found.get("relayd")} | found.get("rivals", {})
    rows = [(name, told[name]) for name in reversed(NAMES) if told.get(name)]
    values = [row["mails_per_cpu_second"] for _, row in rows]
    spreads = [row["mails_per_cpu_second_spread"] for _, row in rows]
    errors = [[value - low for value, (low, _) in zip(values, spreads, strict=True)]]
    errors.append([high - value for value, (_, high) in zip(values, spreads, strict=True)])
    axes.barh(
        [NAMES[name] for name, _ in rows],
        values,
        color=[COLOURS.get(name, OTHERS) for name, _ in rows],
        xerr=errors if rows else None,
        error_kw={"ecolor": INK, "elinewidth": 1.2, "capsize": 3},
        height=0.62,
    )
    most = max((high for _, high in spreads), default=1.0)
    for at, (value, (_, high)) in enumerate(zip(values, spreads, strict=True)):
        axes.text(high + most * 0.02, at, f"{value:,.0f}", va="center", fontweight="bold")
    axes.set_xlim(0, most * 1.15)
    _plain(axes, "x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _sizes(axes: "Axes", found: Mapping[str, Any]) -> None:
    _titled(axes, "By the size of a mail", "")
    for name, colour in COLOURS.items():
        points = []
        for size, told in found.items():
            row = told["relayd"] if name == "relayd" else told["rivals"].get(name)
            if row:
                points.append((int(size), int(size) * row["mails_per_cpu_second"] / MB))
        _line(axes, points, colour, NAMES[name])
    _by_size(axes, "MB per CPU second")


def _rewrite(axes: "Axes", found: Sequence[Mapping[str, Any]]) -> None:
    _titled(axes, "The rewrite alone", "")
    ways = {
        "relayd": ("relayd", COLOURS["relayd"]),
        "compat32": ("email, compat32", COLOURS["bare_boto3"]),
        "smtp": ("email, SMTP", OTHERS),
    }
    for way, (name, colour) in ways.items():
        _line(axes, [(told["size"], told["mb_per_second"][way]) for told in found], colour, name)
    _by_size(axes, "MB per CPU second")


def _memory(axes: "Axes", found: Mapping[str, Any]) -> None:
    most = max((int(count) for count in found), default=0)
    _titled(axes, f"Memory, {most:,} mails in a row" if most else "Memory", "")
    points = found[str(most)]["rss_mb"] if most else []
    axes.plot(
        [done for done, _ in points], [megabytes for _, megabytes in points], color=COLOURS["relayd"], linewidth=3
    )
    axes.set_ylim(0, max((megabytes for _, megabytes in points), default=1.0) * 1.3)
    axes.set_xlim(0, max(most, 1))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("mails done")
    axes.set_ylabel("MB resident")
    _plain(axes, "y")


def _line(axes: "Axes", points: Sequence[tuple[int, float]], colour: str, name: str) -> None:
    if points:
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=colour,
            linewidth=3,
            marker="o",
            markersize=8,
            label=name,
        )


def _by_size(axes: "Axes", label: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e3:g} KB" if value < MB else f"{value / MB:g} MB")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylabel(label)
    _plain(axes, "y")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="best")


def _titled(axes: "Axes", title: str, below: str) -> None:
    axes.set_title(title + ("\n" if below else ""), fontsize=18, fontweight="bold", loc="left", pad=12)
    if below:
        axes.text(0, 1.03, below, transform=axes.transAxes, fontsize=14)


def _plain(axes: "Axes", axis: Any) -> None:
    axes.grid(axis=axis, color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def main(folder: Path, file: Path) -> None:
    # It tells what is missing where matplotlib is.
    drawer()
    draw(folder, file)


if __name__ == "__main__":
    main()
