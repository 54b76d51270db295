"""How long relayd takes to start, and what it costs while nothing comes.

    python -m bench.start [--idle 30] [--json]

Import: a fresh interpreter until the daemon's modules are there, without what the interpreter itself takes. First poll:
from exec of `relayd run` to its first ReceiveMessage at the fake AWS, its database being there already. Then nothing
comes for `--idle` seconds: processor time as a share of one core, and resident memory. Medians and the spread.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import click

from bench.mails.machine import described
from bench.mails.measuring import Case, fake_aws, started
from bench.mails.programs import CHILD_START_SECONDS, RELAYD

STARTS = 7
SETTLED_SECONDS = 5.0
"""After a start: what is done once is not idling."""
IMPORTS = {"interpreter": "pass", "relayd.cli": "import relayd.cli", "daemon": "import relayd.commands.run, relayd.app"}


def _run(code: str) -> float:
    """Seconds of a fresh interpreter."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def _told(seconds: list[float]) -> dict[str, Any]:
    return {"median": round(median(seconds), 3), "spread": [round(min(seconds), 3), round(max(seconds), 3)]}


@click.command(help=__doc__)
@click.option("--idle", default=30.0, show_default=True, help="Seconds without mail.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the JSON object here as well.")
def main(*, idle: float, as_json: bool, output: Path | None) -> None:
    imports: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(STARTS):
        for name, code in IMPORTS.items():
            imports[name].append(_run(code))
    alone = median(imports["interpreter"])
    found: dict[str, Any] = {
        "machine": described(),
        "import_seconds": {
            name: _told([one - alone for one in seconds]) for name, seconds in imports.items() if name != "interpreter"
        },
    }
    polls = []
    with fake_aws() as fake:
        for at in range(STARTS):
            with started(fake, RELAYD, Case()) as course:
                polls.append(course.first_poll())
                course.ready(CHILD_START_SECONDS)
                if at == STARTS - 1:
                    time.sleep(SETTLED_SECONDS)
                    share = course.idle(idle)
                    found["idle"] = {"seconds": idle, "percent_of_a_core": round(share * 100, 3)}
                    found["idle"]["rss_mb"] = round(course.memory(), 1)
    found["first_poll_seconds"] = _told(polls)
    if output is not None:
        output.write_text(json.dumps(found, indent=2) + "\n")
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, told in found["import_seconds"].items():
        click.echo(f"import of {name}: {told['median']} s ({told['spread'][0]} to {told['spread'][1]})")
    first = found["first_poll_seconds"]
    click.echo(f"from exec to the first poll: {first['median']} s ({first['spread'][0]} to {first['spread'][1]})")
    told = found["idle"]
    click.echo(f"idle for {idle:g} s: {told['percent_of_a_core']} % of a core, {told['rss_mb']} MB resident")


if __name__ == "__main__":
    main()
