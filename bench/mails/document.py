"""The tables of docs/performance.md, written anew from what `make bench` has left.

    python -m bench.mails.document bench/results

Each stands between two comments that name it. What was not measured keeps the table that is there.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"
HEADS = ("mails/s", "mails per CPU second", "CPU ms a mail", "AWS calls a mail", "most memory, MB")
KEYS = ("mails_per_second", "mails_per_cpu_second", "cpu_ms_per_mail", "aws_calls_per_mail", "rss_peak_mb")
SIZE_NAMES = {"3000": "3 KB", "30000": "30 KB", "300000": "300 KB", "3000000": "3 MB", "30000000": "30 MB"}
PEERS = ("bare_boto3", "node_sqs_consumer")


def tables(mails: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """By their names, as Markdown; those for which there are figures."""
    found: dict[str, str] = {}
    if "relayd" in mails:
        found["machine"] = _machine(mails["machine"], mails["fake"])
        found["rivals"] = _compared(mails)
    if "latency" in mails:
        told = mails["latency"]
        found["latency"] = _compared(told)
        rows = [
            [name, f"{row['rate']:g}", f"{row['p50_seconds']:.3f}", f"{row['p99_seconds']:.3f}"]
            for name, row in told["half_load"].items()
        ]
        found["half"] = _table(["", "mails/s", "p50, s", "p99, s"], rows)
    if "concurrency" in mails:
        found["concurrency"] = _by_case("at a time", mails["concurrency"])
    if "sizes" in mails:
        found["sizes"] = _by_case("size", {SIZE_NAMES[size]: told for size, told in mails["sizes"].items()})
    if "backlog" in mails:
        rows = [
            [f"{int(count):,}", *_figures(told), f"{told['rss_growth_mb']:.1f}"]
            for count, told in mails["backlog"].items()
        ]
        found["backlog"] = _table(["backlog", *HEADS, "growth, MB"], rows)
    if "options" in mails:
        rows = [[name, *_figures(told), f"{told['of_default']:.2f}"] for name, told in mails["options"].items()]
        found["options"] = _table(["", *HEADS, "of the default's speed"], rows)
    if "replicas" in mails:
        rows = [[name, *_figures(told)] for name, told in mails["replicas"].items() if isinstance(told, dict)]
        rows += [
            [name.replace("_", " "), f"**{told:.2f}**", *[""] * 4]
            for name, told in mails["replicas"].items()
            if not isinstance(told, dict)
        ]
        found["replicas"] = _table(["replicas on cores", *HEADS], rows)
    return found | _others(others)


def _others(others: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    if told := others.get("rewrite"):
        rows = [
            [
                f"{row['size']:,}",
                *(f"{row['mb_per_second'][way]:.0f}" for way in ("relayd", "compat32", "smtp")),
                *(f"{row['ratios'][way]:.1f}" for way in ("compat32", "smtp")),
                f"{row['ms_per_mb']['relayd']:.2f}",
            ]
            for row in told["sizes"]
        ]
        heads = ["bytes", "relayd, MB/s", "compat32, MB/s", "SMTP, MB/s", "over compat32", "over SMTP", "relayd, ms/MB"]
        found["rewrite"] = _table(heads, rows)
    if told := others.get("large_calls"):
        low, high = told["ratio_spread"]
        rows = [
            [f"{told['relayd_cpu_ms']:.2f}", f"{told['calls_cpu_ms']:.2f}", f"{told['ratio']:.2f} ({low} to {high})"]
        ]
        found["large_calls"] = _table(["relayd, CPU ms", "the two calls alone, CPU ms", "ratio"], rows)
    if told := others.get("start"):
        first, idle = told["first_poll_seconds"], told["idle"]
        rows = [[f"import of {name}, s", f"{row['median']:.3f}"] for name, row in told["import_seconds"].items()]
        rows += [
            ["exec to first poll, s", f"{first['median']:.3f} ({first['spread'][0]} to {first['spread'][1]})"],
            ["idle, % of a core", f"{idle['percent_of_a_core']:.2f}"],
            ["idle, MB resident", f"{idle['rss_mb']:.1f}"],
        ]
        found["start"] = _table(["", ""], rows)
    return found


def _machine(machine: Mapping[str, Any], fake: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_mb']} MB; {machine['system']}; Python "
        f"{machine['python']}, Node {machine['node']}; {packages}.\nLoad at the start: {machine['load'][0]}. The "
        f"fake AWS by itself: {fake['requests_per_second']:,} requests a second, {fake['cpu_us_per_request']} µs each."
    )


def _compared(told: Mapping[str, Any]) -> str:
    rows = [["**relayd**", *_figures(told["relayd"]), "", ""]]
    for name, row in told["rivals"].items():
        if row is None:
            rows.append([f"`{name}`", *["-"] * len(KEYS), "not installed", "-"])
            continue
        low, high = told["ratios_spread"][name]
        rows.append([f"`{name}`", *_figures(row), f"**{told['ratios'][name]:.3g}** ({low:.3g} to {high:.3g})"])
        rows[-1].append(f"{told['ratios_of_mails_per_second'][name]:.3g}")
    return _table(["", *HEADS, "relayd over it, per CPU second", "relayd over it, per second"], rows)


def _by_case(what: str, cases: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for case, told in cases.items():
        over = [told["ratios"][name] for name in PEERS]
        rows.append([case, *_figures(told["relayd"]), *("-" if one is None else f"{one:.2f}" for one in over)])
    return _table([what, *HEADS, *(f"over `{name}`" for name in PEERS)], rows)


def _figures(told: Mapping[str, Any]) -> list[str]:
    forms = ("{:,.1f}", "{:,.1f}", "{:.2f}", "{:.2f}", "{:.0f}")
    return [form.format(told[key]) for form, key in zip(forms, KEYS, strict=True)]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(["| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *rows)])


def filled(text: str, found: Mapping[str, str]) -> str:
    """The document with these tables. Raises KeyError for a table that has no place in it."""
    for name, table in found.items():
        place = re.compile(rf"(?s)(<!-- figures: {name} -->\n).*?(<!-- end -->)")
        if not place.search(text):
            raise KeyError(name)
        text = place.sub(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", text)  # type: ignore[misc]
    return text


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    read = {file.stem: dict(json.loads(file.read_text())) for file in folder.glob("*.json")}
    found = tables(read.pop("mails", {}), read)
    DOCUMENT.write_text(filled(DOCUMENT.read_text(), found))
    click.echo(f"written anew: {', '.join(found)}")


if __name__ == "__main__":
    main()
