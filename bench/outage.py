"""Each dependency is away for an hour of virtual time while thousands of mails are queued: what does that cost a mail?

    python -m bench.outage --mails 10000 --json

The whole engine on fakes, in one process. Outages come over a daemon at work: as errors that concern everybody
(`wide`), as passing ones (`transient`), as calls that time out after 30 s (`timeout`). Exit 0 only when no message was
received more than three times in all, each mail was forwarded once, and the daemon was alive throughout.
"""

import json
import logging
import sys
import time
from dataclasses import asdict

import click
import structlog

from relayd.errors import Dependency
from tests.engine.outage import Course, Kind, course

OUTAGES: tuple[tuple[Dependency, Kind, bool], ...] = (
    ("s3", "wide", True),
    ("s3", "transient", True),
    ("s3", "timeout", True),
    ("ses", "wide", True),
    ("ses", "transient", True),
    ("ses", "timeout", True),
    ("database", "wide", True),
    ("database", "timeout", True),
    ("certificates", "wide", False),
)
"""Dependency, kind, and whether it is probed: certificates are not."""
RUNNING = 100
"""Mails that are forwarded before the outage begins."""
MOST_RECEIVES = 3


def is_good(seen: Course, mails: int) -> bool:
    """Whether nothing was lost or doubled, and little was received again."""
    ended = (seen.forwarded, seen.doubled, seen.dead_letters, seen.deaths) == (mails + RUNNING, 0, 0, 0)
    return ended and seen.most_receives <= MOST_RECEIVES


@click.command()
@click.option("--mails", default=10_000, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Of the order of messages and threads; 0: as they came.")
@click.option("--json", "as_json", is_flag=True)
def main(mails: int, seed: int, as_json: bool) -> None:
    """An hour without each dependency."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    results: dict[str, dict[str, object]] = {}
    good = True
    for dependency, kind, probed in OUTAGES:
        began = time.monotonic()
        seen = course(dependency, kind, mails=mails, running=RUNNING, probed=probed, seed=seed)
        good = good and is_good(seen, mails)
        name = f"{dependency} {kind}"
        results[name] = {**asdict(seen), "good": is_good(seen, mails), "seconds": round(time.monotonic() - began, 1)}
        if not as_json:
            click.echo(f"{name:22}{' '.join(f'{key}={value}' for key, value in results[name].items())}")
    if as_json:
        click.echo(json.dumps(results))
    sys.exit(not good)


if __name__ == "__main__":
    main()
