"""What would become of raw mails: parse, decide and rewrite, without a queue, a directory or a send."""

import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import assert_never

from relayd.errors import RelaydError
from relayd.mail.letter import MAX_SIZE, Letter, parse
from relayd.model.decision import Decision, Discard, Forward, Quarantine, Reply
from relayd.ops.judging import Assumed, Judged, judge

STDIN = "-"

_CHUNK = 32
"""Mails a task: enough to make handing it over cheap, few enough to keep every process busy to the end."""
_FEW = 64
"""Up to here one process is done before a second one has started."""


@dataclass(frozen=True, slots=True)
class Source:
    """A mail to look at: where it is, and its path below the folder that was asked for."""

    path: str
    relative: str


@dataclass(frozen=True, slots=True)
class Report:
    """What would become of one mail. The names are the keys of the JSON line."""

    path: str
    decision: str
    """`forward`, `reply`, `quarantine`, `discard`; `reject` for a mail that cannot be forwarded; `error`."""
    reason: str
    error: str | None
    bytes_in: int
    bytes_out: int
    repaired_parts: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """A report with what it came from, for a closer look."""

    report: Report
    letter: Letter | None = None
    judged: Judged | None = None


def sources(path: str) -> Iterator[Source]:
    """Every regular file below a folder, whatever its name, in order; or the one file."""
    if not os.path.isdir(path):
        yield Source(path, os.path.basename(path) if path != STDIN else "stdin.eml")
        return
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            file = os.path.join(folder, name)
            if _is_regular(file):
                yield Source(file, os.path.relpath(file, path))


def distinct(found: Iterable[Source]) -> list[Source]:
    """Sources of several folders, their relative paths made different where they are the same."""
    used: set[str] = set()
    result = []
    for source in found:
        relative, number = source.relative, 1
        while relative in used:
            number += 1
            relative = os.path.join(str(number), source.relative)
        used.add(relative)
        result.append(Source(source.path, relative))
    return result


def inspect_all(mails: Sequence[Source], assumed: Assumed, jobs: int) -> Iterator[Report]:
    """Reports in the order of the mails, from several processes where that pays."""
    if jobs == 1 or len(mails) <= _FEW:
        for source in mails:
            yield inspect_file(source, assumed)
        return
    chunks = [mails[i : i + _CHUNK] for i in range(0, len(mails), _CHUNK)]
    while chunks:
        done = 0
        with ProcessPoolExecutor(jobs) as pool:
            try:
                for reports in pool.map(_inspect_chunk, chunks, [assumed] * len(chunks)):
                    yield from reports
                    done += 1
            except BrokenProcessPool:
                # Some process died, for want of memory perhaps. One chunk is looked at mail by mail, then all goes on.
                suspects, done = chunks[done], done + 1
            else:
                return
            finally:
                pool.shutdown(cancel_futures=True)
        for source in suspects:
            yield _inspect_apart(source, assumed)
        chunks = chunks[done:]


def _inspect_chunk(mails: Sequence[Source], assumed: Assumed) -> list[Report]:
    return [inspect_file(source, assumed) for source in mails]


def _inspect_apart(source: Source, assumed: Assumed) -> Report:
    with ProcessPoolExecutor(1) as pool:
        try:
            return pool.submit(inspect_file, source, assumed).result()
        except BrokenProcessPool:
            return _failure(source.path, "process_died", "the process that looked at it died", 0, 0.0)


def inspect_file(source: Source, assumed: Assumed) -> Report:
    """Look at one file. Whatever is wrong with it is in the report."""
    try:
        with open(source.path, "rb") as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        return _failure(source.path, "unreadable", error.strerror or type(error).__name__, 0, 0.0)
    return inspect(data, source, assumed).report


def inspect(data: bytes, source: Source, assumed: Assumed) -> Outcome:
    """Parse, decide and rewrite one mail, and write it where that was asked for."""
    start = time.perf_counter()
    try:
        letter = parse(data)
        judged = judge(data, letter, assumed)
        rewritten = judged.rewritten
        seconds = time.perf_counter() - start
        if rewritten is not None and assumed.write is not None:
            target = assumed.write / source.relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(rewritten.data)
    except OSError as error:
        problem = f"cannot write: {error.strerror or type(error).__name__}"
        return Outcome(_failure(source.path, "unwritable", problem, len(data), time.perf_counter() - start))
    except RelaydError as error:
        seconds = time.perf_counter() - start
        return Outcome(Report(source.path, "reject", error.reason, str(error), len(data), 0, 0, seconds))
    except Exception as error:  # a bug of this mail must not stop the others; the type tells no content
        seconds = time.perf_counter() - start
        return Outcome(_failure(source.path, "bug", type(error).__name__, len(data), seconds))
    kind, reason = _verdict(judged.decision)
    size, parts = (len(rewritten.data), rewritten.repaired_parts) if rewritten is not None else (0, 0)
    report = Report(source.path, kind, reason, judged.leak, len(data), size, parts, seconds)
    return Outcome(report, letter, judged)


def _failure(path: str, reason: str, error: str, bytes_in: int, seconds: float) -> Report:
    return Report(path, "error", reason, error, bytes_in, 0, 0, seconds)


def _verdict(decision: Decision) -> tuple[str, str]:
    match decision:
        case Forward():
            return "forward", "forwarded"
        case Reply():
            return "reply", "replied"
        case Quarantine():
            return "quarantine", decision.reason
        case Discard():
            return "discard", decision.reason
        case _:
            assert_never(decision)


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        # It is there and cannot be looked at: its line will say why.
        return True
