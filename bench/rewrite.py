"""How fast a mail is rewritten: relayd's parse and forward against the standard library's parse and serialise.

    python -m bench.rewrite [--json]

The mails are those of `bench.mails`, and the standard library does what the rivals there do with them: with the policy
`compat32`, which is the faster one by far, and with `SMTP`, which its manual recommends. Megabytes (10^6) of mail in a
second of processor time, the best of some runs, in turns. relayd's forward does more in that time: an allow list of
header fields, structure and repair of every part.

`ms/MB` is what should not grow with the size.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from bench.mails.machine import described
from bench.mails.post import MAILBOX, body_of, head_of
from bench.mails.rivals.job import Job
from relayd.mail.letter import parse
from relayd.mail.rewrite import forward
from tests.mail.judge import PLAN

MB = 1_000_000
SIZES = (3_000, 30_000, 300_000, 3_000_000, 40_000_000)
RUNS = 5
RUN_SECONDS = 0.05
"""Of one run at least: a small mail is rewritten many times in it."""
ENOUGH_SECONDS = 20.0
"""After which whoever is that slow with one mail is not asked again."""
OURS = "relayd"


def _job(policy: str) -> Callable[[bytes], object]:
    return Job("", 1, "mask@mask.example", MAILBOX, "us-east-1", policy).rewrite


WAYS: Mapping[str, Callable[[bytes], object]] = {
    OURS: lambda raw: forward(parse(raw), PLAN).data,
    "compat32": _job("compat32"),
    "smtp": _job("smtp"),
}


def _once(way: Callable[[bytes], object], raw: bytes) -> float:
    """Seconds for one mail."""
    count = 0
    began = time.process_time()
    while True:
        way(raw)
        count += 1
        took = time.process_time() - began
        if took >= RUN_SECONDS:
            return took / count


def measure(size: int) -> dict[str, Any]:
    """Of mails of this size."""
    raw = head_of(0) + body_of(size)
    best: dict[str, float] = {}
    for _ in range(RUNS):
        for name, way in WAYS.items():
            if best.get(name, 0.0) < ENOUGH_SECONDS:
                best[name] = min(best.get(name, float("inf")), _once(way, raw))
    return {
        "size": len(raw),
        "mb_per_second": {name: round(len(raw) / MB / seconds, 1) for name, seconds in best.items()},
        "ms_per_mb": {name: round(seconds * 1000 / (len(raw) / MB), 2) for name, seconds in best.items()},
        "ratios": {name: round(seconds / best[OURS], 2) for name, seconds in best.items() if name != OURS},
    }


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the JSON object here as well.")
def main(*, as_json: bool, output: Path | None) -> None:
    figures = []
    if not as_json:
        click.echo(f"{'bytes':>10}" + "".join(f"{name + ' MB/s':>16}" for name in WAYS) + f"{'ms/MB':>9}  relayd over")
    for size in SIZES:
        told = measure(size)
        figures.append(told)
        if not as_json:
            speeds = "".join(f"{told['mb_per_second'][name]:>16}" for name in WAYS)
            over = ", ".join(f"{name} {value:.1f}" for name, value in told["ratios"].items())
            click.echo(f"{told['size']:>10}{speeds}{told['ms_per_mb'][OURS]:>9}  {over}")
    found = {"machine": described(), "sizes": figures}
    if output is not None:
        output.write_text(json.dumps(found, indent=2) + "\n")
    if as_json:
        click.echo(json.dumps(found))


if __name__ == "__main__":
    main()
