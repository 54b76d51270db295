"""What relayd adds to a large mail: its processor time against that of the two AWS calls alone.

    python -m bench.large_calls [--size 1000000] [--json]

Both sides take turns against the fake AWS of `bench.mails`. One is `relayd run` on its defaults, everything on. The
other gets the object and sends the same bytes, in a loop, one after the other, with the very clients that relayd's
adapters make; it reads no queue, looks at no mail and keeps no books. Medians, and the spread of the ratio.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import click

from bench.mails.comparing import ratio
from bench.mails.machine import described
from bench.mails.measuring import Case, Door, fake_aws, started
from bench.mails.post import BUCKET, MAILBOX, SOURCE, key_of
from bench.mails.programs import RELAYD, Place
from relayd.adapters.aws import Timeouts, client, new_session

SIZE = 1_000_000
ROUNDS = 5
MAILS = 150
WARM_UP = 50


def answer() -> None:
    """Be the other side: for each line of stdin do so many mails, and print the processor seconds of one."""
    session, timeouts = new_session(), Timeouts(connect=5.0, read=60.0)
    s3 = client("s3", pool=1, timeouts=timeouts, session=session)
    ses = client("sesv2", pool=1, timeouts=timeouts, session=session)
    for line in sys.stdin:
        count = int(line)
        began = time.process_time()
        for number in range(count):
            data = s3.get_object(Bucket=BUCKET, Key=key_of(number))["Body"].read()
            ses.send_email(
                FromEmailAddress=SOURCE, Destination={"ToAddresses": [MAILBOX]}, Content={"Raw": {"Data": data}}
            )
        print((time.process_time() - began) / count, flush=True)


class Calls:
    """The other side, in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def round(self, count: int) -> float:
        """Processor milliseconds of one mail."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline()) * 1000


@contextmanager
def calls_alone(fake: Door, size: int) -> Iterator[Calls]:
    """Warm, as long as the block lasts."""
    door = fake.another()
    door.ask("fresh", size=size)
    place = Place(door.url, door.certificate, Path(os.devnull), "")
    command = [sys.executable, "-m", "bench.large_calls", "--answer"]
    with subprocess.Popen(
        command, env=place.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            calls = Calls(process)
            calls.round(WARM_UP)
            yield calls
        finally:
            process.kill()


@click.command(help=__doc__)
@click.option("--size", default=SIZE, show_default=True, help="Bytes of a mail.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the JSON object here as well.")
@click.option("--answer", "answering", is_flag=True, hidden=True)
def main(*, size: int, as_json: bool, output: Path | None, answering: bool) -> None:
    if answering:
        answer()
        return
    case = Case(size=size, concurrency=8)
    ours, theirs = [], []
    with (
        fake_aws() as fake,
        calls_alone(fake, size) as calls,
        started(fake, replace(RELAYD, warm_up=WARM_UP), case) as course,
    ):
        course.put(WARM_UP)
        course.wait()
        for _ in range(ROUNDS):
            ours.append(course.round(MAILS).cpu_ms_per_mail)
            theirs.append(calls.round(MAILS))
    each = [ratio(mine, its) for mine, its in zip(ours, theirs, strict=True)]
    found = {
        "machine": described(),
        "size": size,
        "relayd_cpu_ms": round(median(ours), 3),
        "calls_cpu_ms": round(median(theirs), 3),
        "ratio": ratio(median(ours), median(theirs)),
        "ratio_spread": [min(each), max(each)],
    }
    if output is not None:
        output.write_text(json.dumps(found, indent=2) + "\n")
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(f"a mail of {size} bytes: relayd {found['relayd_cpu_ms']} ms of processor time")
    click.echo(f"the two calls alone: {found['calls_cpu_ms']} ms")
    click.echo(f"ratio {found['ratio']} ({min(each)} to {max(each)} over {ROUNDS} rounds)")


if __name__ == "__main__":
    main()
