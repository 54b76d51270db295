"""Fuzzing of `wire` and `mail`: for any bytes a result or a PermanentError, in linear time, and a mail that SES takes.

    python -m bench.fuzz --bytes 10000000 --seed 1 [--jobs 2] [--json]
    python -m bench.fuzz --seed 1 --only 4711          one case again, in full

Each mail is parsed, forwarded, and written by both rungs of the rebuild ladder; each body of a queue message is opened
and read. Exit code 1: a case failed, or was slow when it ran alone too. Its number and the seed make it again.
"""

import json
import sys
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import click

from bench.fuzz_cases import case
from bench.fuzz_checks import Timer, check_body, check_mail

BATCH = 100
SLOW_SECONDS = 0.02
"""What any case may take: an interpreter that starts, or collects garbage."""
SLOW_PER_LINE = 60e-6
"""Seconds for all five rewritings together: each line may be a header field, or a part with its delimiter."""
SLOW_PER_BYTE = 2e-6
"""Seconds. The usual case needs a hundredth of it."""
SHOWN = 5
MOST_SHOWN = 30


@dataclass(frozen=True, slots=True)
class Result:
    number: int
    kind: str
    size: int
    lines: int
    seconds: float
    """In relayd's code, the checks not included."""
    failures: tuple[str, ...]

    @property
    def share(self) -> float:
        """Of the time that a case of this size may take."""
        return self.seconds / (SLOW_SECONDS + SLOW_PER_LINE * self.lines + SLOW_PER_BYTE * self.size)


def run(seed: int, number: int) -> Result:
    """Make a case, feed it in and look at what comes out."""
    made = case(seed, number)
    timer = Timer()
    check = check_body if made.kind == "json" else check_mail
    try:
        failures = tuple(check(made.data, timer))
    except Exception as error:  # what is being looked for
        failures = (f"{type(error).__name__} in {_place(error)}",)
    lines = made.data.count(b"\n") + made.data.count(b"\r")
    return Result(number, made.kind, len(made.data), lines, timer.seconds, failures)


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((frame for frame in reversed(frames) if "/relayd/" in frame.filename), frames[-1])
    return f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"


def _batch(seed: int, first: int) -> list[Result]:
    return [run(seed, number) for number in range(first, first + BATCH)]


def results(seed: int, size: int, jobs: int) -> Iterator[Result]:
    """Cases in order, until they are `size` bytes together."""
    done, first = 0, 0
    with ProcessPoolExecutor(jobs) as pool:
        pending = [pool.submit(_batch, seed, number * BATCH) for number in range(2 * jobs)]
        first = len(pending) * BATCH
        while done < size:
            for result in pending.pop(0).result():
                done += result.size
                yield result
            pending.append(pool.submit(_batch, seed, first))
            first += BATCH
        pool.shutdown(cancel_futures=True)


def _alone(seed: int, suspect: Result) -> Result:
    """The best of three without anything beside it: the machine may have been busy."""
    return min((run(seed, suspect.number) for _ in range(3)), key=lambda result: result.seconds)


@click.command()
@click.option("--bytes", "size", default=10_000_000, show_default=True, help="Cases until they are so many bytes.")
@click.option("--seed", default=1, show_default=True)
@click.option("--jobs", default=2, show_default=True)
@click.option("--only", type=int, help="One case by its number; its data go to standard output with --data.")
@click.option("--data", "as_data", is_flag=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(*, size: int, seed: int, jobs: int, only: int | None, as_data: bool, as_json: bool) -> None:
    """Feed damaged, made-up and random input through wire and mail."""
    if only is not None:
        if as_data:
            sys.stdout.buffer.write(case(seed, only).data)
            return
        found = [run(seed, only)]
    else:
        found = list(results(seed, size, jobs))
    suspects = [_alone(seed, result) for result in found if result.share > 1]
    failed = [result for result in found if result.failures]
    slow = [result for result in suspects if result.share > 1]
    slowest = sorted(found, key=lambda result: result.share, reverse=True)[:SHOWN]
    report = {
        "seed": seed,
        "cases": len(found),
        "bytes": sum(result.size for result in found),
        "kinds": Counter(result.kind for result in found),
        "largest": max(result.size for result in found),
        "relayd_seconds": round(sum(result.seconds for result in found), 1),
        "slow": [asdict(result) for result in slow],
        "failed": [asdict(result) for result in failed],
        "slowest": [asdict(_alone(seed, result)) for result in slowest],
    }
    if as_json:
        click.echo(json.dumps(report))
    else:
        _show(report)
    sys.exit(1 if failed or slow else 0)


def _show(report: Mapping[str, Any]) -> None:
    for key in ("seed", "cases", "bytes", "largest", "relayd_seconds"):
        click.echo(f"{key:16}{report[key]}")
    for kind, count in sorted(report["kinds"].items()):
        click.echo(f"  {count:<8}{kind}")
    for name in ("slowest", "slow", "failed"):
        click.echo(f"{name}: {len(report[name]) or 'none'}")
        for one in report[name][:MOST_SHOWN]:
            what = "; ".join(one["failures"])
            click.echo(
                f"  --seed {report['seed']} --only {one['number']:<8}{one['kind']:13}{one['size']:>8} bytes "
                f"{1000 * one['seconds']:8.2f} ms  {what}"
            )


if __name__ == "__main__":
    main()
