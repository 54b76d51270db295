"""The incident, replayed: the old design and relayd, one after the other, before an S3 that takes 20 s a get.

    python -m bench.incident --scale 0.02 --load 2 --json
    python -m bench.incident --picture incident.png

The story: mail comes in steadily; after 2 minutes S3 turns to 20 s a get, for 10 minutes; then it is well again, and
mail goes on coming in until what had piled up is gone. `--scale` is how long a second of the story takes here: 0.02
turns 20 s into 0.4 s and 10 minutes into 12 s. Scaled alike are SNS's timeout and retries, the prober's period,
timeout, grace and back-off, and relayd's waits, leases and timeouts.

What cannot be scaled: the speed of this machine, so that at 0.02 everything computes as if it were 50 times slower
(starting a process takes it 40 s of the story, and the capacity is 50 times smaller); its scheduler's hiccups, for
which timeouts have a floor (probes 0.25 s, relayd's calls 0.5 s beyond what they wait for); relayd's wait for a poll
(whole seconds, at least 1) and its leases (a send's timeouts and 5 s beside them); the pauses after which relayd tries
a failed mail again (5 s and more); and the limit after which /livez calls the poll loop stuck (35 s and a poll).
`--scale 1` has none of that, and takes half an hour.

1x is 4 % of what relayd forwards a second when nothing is slow, measured right before, for both designs: they get
the same mail at the same moments.

A fetch is for nothing unless the first send of its mail came of it. A mail is lost when it was never sent, is in no
dead-letter queue and will not be handed out again. Recovery is the time from S3's recovery until all mail that came
before it is sent and no more waits than before the outage. The truth about sends and fetches is the embedded AWS's.
"""

import json
import os
import signal
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import click

from bench.incident.old import Old
from bench.incident.policy import POLICIES
from bench.incident.record import Record, figures
from bench.incident.relayd_side import Relayd
from bench.incident.replay import Progress, replay
from bench.incident.report import checks, table, verdict
from bench.incident.story import ONE_LOAD, Story
from relayd.errors import RelaydError


def both(
    folder: Path,
    story: Story,
    *,
    load: float,
    slots: int,
    replicas: int,
    policy: str,
    deletes: bool,
    warm_up: int,
    say: Progress,
) -> tuple[Record, Record]:
    """The old design's record and relayd's. relayd comes first: its capacity is the measure of the load."""
    records = []
    rate = 0.0
    for name in ("relayd", "old design"):
        say(f"{name}: measuring what it can do")
        new = name == "relayd"
        side: Relayd | Old
        if new:
            side = Relayd(folder / "relayd", story, slots=slots, replicas=replicas)
        else:
            side = Old(folder / "old", story, slots=slots, replicas=replicas, policy=policy, deletes=deletes)
        with closing(side):
            capacity = side.warm_up(warm_up)
            rate = rate or load * ONE_LOAD * capacity
            record = replay(
                side,
                story,
                load=load,
                slots=slots * replicas,
                capacity=capacity,
                rate=rate,
                progress=lambda text, name=name: say(f"{name}: {text}"),  # type: ignore[misc]
            )
        records.append(record)
    relayd, old = records
    return old, relayd


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
        sys.stderr.write(f"\r\x1b[K{text[:width]}")
        sys.stderr.flush()


@click.command()
@click.option("--scale", type=click.FloatRange(0.001, 1), default=0.02, show_default=True, help="Time.")
@click.option("--load", type=click.FloatRange(0.1, 20), default=2.0, show_default=True, help="Times 4 % of capacity.")
@click.option("--slots", type=click.IntRange(1, 100), default=16, show_default=True, help="Mails at once, in each pod.")
@click.option("--replicas", type=click.IntRange(1, 10), default=1, show_default=True, help="Pods of either design.")
@click.option("--retries", type=click.Choice(sorted(POLICIES)), default="hour", show_default=True, help="SNS's.")
@click.option("--deletes", is_flag=True, help="The old design deletes a mail from S3 once it is sent.")
@click.option("--warm-up", type=click.IntRange(20), default=400, show_default=True, help="Mails to measure with.")
@click.option("--logs", type=click.Path(file_okay=False, path_type=Path), help="A new folder to keep the logs in.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw it into this file, too.")
def main(
    scale: float,
    load: float,
    slots: int,
    replicas: int,
    retries: str,
    deletes: bool,
    warm_up: int,
    logs: Path | None,
    as_json: bool,
    picture: Path | None,
) -> None:
    """Replay the incident with the old design and with relayd, and compare them."""
    # An end that was asked for is one that clears up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    draw = None
    if picture is not None:
        # Before the half hour that it may take, not after.
        from bench.incident.picture import drawer

        draw = drawer()
    story = Story(scale)
    with tempfile.TemporaryDirectory(prefix="relayd-incident-") as name:
        if logs is not None:
            logs.mkdir()
        try:
            old, relayd = both(
                logs or Path(name),
                story,
                load=load,
                slots=slots,
                replicas=replicas,
                policy=retries,
                deletes=deletes,
                warm_up=warm_up,
                say=_progress,
            )
        except RelaydError as error:
            raise click.ClickException(str(error)) from error
    _progress("")
    told = {"old": figures(old), "relayd": figures(relayd)}
    expected = checks(relayd)
    if as_json:
        told["relayd"]["checks"] = {check.what: check.holds for check in expected}
        click.echo(json.dumps(told))
    else:
        click.echo(table(told["old"], told["relayd"]))
        click.echo(f"\nExpected of relayd:\n{verdict(expected)}")
    if draw is not None:
        assert picture is not None
        draw(old, relayd, picture)
    sys.exit(0 if all(check.holds for check in expected) else 1)


if __name__ == "__main__":
    main()
