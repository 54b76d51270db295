"""What would become of raw mails: parse, decide and rewrite, without a queue, a directory or a send."""

import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from relayd.errors import RelaydError
from relayd.mail import hops
from relayd.mail.letter import MAX_SIZE, Letter, parse
from relayd.mail.rewrite import ForwardPlan, Rewritten, forward
from relayd.model.address import Address
from relayd.model.decision import Decision, Discard, Forward, Quarantine
from relayd.model.mask import Mailbox, Mask, Owner
from relayd.model.notification import Verdicts
from relayd.rules.inbound import Evidence, decide

STDIN = "-"

_SECRETS = (b"relayd inspect signs with no secret",)
_REPLY_LOCAL = "mzxw6ytboi2gk3tdnrxw"
"""Stands where the contact's reply token would: nothing is stored, so there is none."""
_CLEAN = Verdicts(spam="PASS", virus="PASS", spf="PASS", dkim="PASS", dmarc="PASS")
_OWNER_ID = "inspect"
_CHUNK = 32
"""Mails a task: enough to make handing it over cheap, few enough to keep every process busy to the end."""
_FEW = 64
"""Up to here one process is done before a second one has started."""


@dataclass(frozen=True, slots=True)
class Assumed:
    """What a notification and a directory would have told."""

    mask: Address
    owner: Address
    write: Path | None = None
    """Where rewritten mails go."""


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
    """`forward`, `quarantine`, `discard`; `reject` for a mail that cannot be forwarded; `error`."""
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
    rewritten: Rewritten | None = None


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
                pool.shutdown(wait=False, cancel_futures=True)
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
        decision = decide(assumed.mask, _mask(assumed), _evidence(letter, assumed))
        rewritten = _rewrite(letter, decision, assumed)
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
    kind, reason = _verdict(decision)
    size, parts = (len(rewritten.data), rewritten.repaired_parts) if rewritten is not None else (0, 0)
    report = Report(source.path, kind, reason, None, len(data), size, parts, seconds)
    return Outcome(report, letter, rewritten)


def _failure(path: str, reason: str, error: str, bytes_in: int, seconds: float) -> Report:
    return Report(path, "error", reason, error, bytes_in, 0, 0, seconds)


def _mask(assumed: Assumed) -> Mask:
    return Mask("inspect", assumed.mask, Owner(_OWNER_ID), (Mailbox("inspect", assumed.owner),))


def _evidence(letter: Letter, assumed: Assumed) -> Evidence:
    headers = letter.header_items()
    values = [value for name, value in headers if name.lower() == hops.HEADER.lower()]
    sender = letter.sender
    own = sender is not None and sender.address is not None and sender.address.bare == assumed.mask.bare
    return Evidence(
        verdicts=_CLEAN,
        source=_envelope_source(letter),
        headers=headers,
        hops=hops.count(values, _SECRETS),
        sender_owner=_OWNER_ID if own else None,
        complete=True,
    )


def _envelope_source(letter: Letter) -> str:
    """MAIL FROM as a delivered mail shows it, else its From."""
    for field in letter.fields:
        if field.key == "return-path":
            return field.value.decode("ascii", "replace").strip("<> ")
    return letter.sender.address.full if letter.sender is not None and letter.sender.address is not None else ""


def _rewrite(letter: Letter, decision: Decision, assumed: Assumed) -> Rewritten | None:
    if not isinstance(decision, Forward):
        return None
    plan = ForwardPlan(
        mask=assumed.mask,
        tag=assumed.mask.tag,
        reply_address=f"{_REPLY_LOCAL}@{assumed.mask.domain}",
        envelope_source=_envelope_source(letter),
        hops=hops.sign(decision.hops + 1, _SECRETS),
        warnings=decision.warnings,
    )
    return forward(letter, plan)


def _verdict(decision: Decision) -> tuple[str, str]:
    match decision:
        case Forward():
            return "forward", "forwarded"
        case Quarantine():
            return "quarantine", decision.reason
        case Discard():
            return "discard", decision.reason


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        # It is there and cannot be looked at: its line will say why.
        return True
