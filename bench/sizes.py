"""Time and memory against the size of a mail: is the work of parsing and forwarding linear?

    python -m bench.sizes [--json]

Times are processor time, the best of three; memory is what Python allocated at most, above the mail itself. `ms/MB` and
`memory/size` are what should not grow with the size, and `x first` is by how much the former did since the smallest
mail of the same kind. All in one run, because the machine is not the same machine in the next. Exit code 1 when a
megabyte of the largest costs more than twice a megabyte of the smallest.
"""

import json
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass

import click

from relayd.mail.letter import parse
from relayd.mail.rewrite import forward
from tests.mail.judge import PLAN, flaws

MB = 1_000_000
RUNS = 3
LIMIT = 2.0
HEAD = b"From: Bob <bob@example.org>\r\nTo: shop@mask.example\r\nSubject: hello\r\nMIME-Version: 1.0\r\n"
MIXED = HEAD + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n'
LONG_LINE = b"a long line of text, " * 100 + b"\r\n"
ATTACHED = MIXED + b"Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: %s\r\n\r\n"


def _filled(head: bytes, piece: bytes, size: int, tail: bytes = b"\r\n--b--\r\n") -> bytes:
    return head + piece * ((size - len(head)) // len(piece)) + tail


def _parts(count: int) -> bytes:
    part = (
        b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\ncaf\xc3\xa9 %d\r\n"
    )
    return MIXED + b"".join(part % number for number in range(count)) + b"--b--\r\n"


def _nested(depth: int) -> bytes:
    opened = (
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(depth)
    )
    closed = (b"--b%d--\r\n" % level for level in reversed(range(depth)))
    return HEAD + b"".join(opened) + b"\r\ncaf\xc3\xa9\r\n" + b"".join(closed)


def _long_header(size: int) -> bytes:
    return HEAD + b"X-Y: z\r\nCc: " + b"caf\xc3\xa9 " * (size // 6) + b"\r\n\r\nhi\r\n"


Sizes = tuple[int, ...]
BY_BYTES: Sizes = (1 * MB, 10 * MB, 40 * MB)
MAILS: Mapping[str, tuple[Callable[[int], bytes], Sizes]] = {
    "base64 attachment": (
        lambda size: _filled(ATTACHED % b"base64", b"QUJDREVGR0hJSktM" * 4 + b"\r\n", size),
        BY_BYTES,
    ),
    "8-bit attachment": (lambda size: _filled(ATTACHED % b"binary", bytes(range(256)), size), BY_BYTES),
    "base64 in one line": (lambda size: _filled(ATTACHED % b"base64", b"QUJDREVGR0hJSktM", size), BY_BYTES),
    "text in long lines": (lambda size: _filled(HEAD + b"\r\n", LONG_LINE, size, b""), BY_BYTES),
    "8-bit text": (
        lambda size: _filled(HEAD + b"\r\n", b"un caf\xc3\xa9 et un th\xc3\xa9 pour la table\r\n", size, b""),
        BY_BYTES,
    ),
    "levels of nesting": (_nested, (200, 2000)),
    "parts": (_parts, (1000, 10_000)),
    "bytes of one header line": (_long_header, (10_000, 100_000)),
}


@dataclass(frozen=True, slots=True)
class Figure:
    mail: str
    count: int
    """Of what the name says, or bytes."""
    bytes: int
    milliseconds: float
    ms_per_mb: float
    memory_mb: float
    memory_of_size: float
    x_first: float


def measure(raw: bytes) -> tuple[float, int]:
    """Seconds, and the most bytes allocated above the mail."""
    seconds = []
    for _ in range(RUNS):
        start = time.process_time()
        data = forward(parse(raw), PLAN).data
        seconds.append(time.process_time() - start)
        if len(seconds) == RUNS:
            assert flaws(data) == []
        del data
    tracemalloc.start()
    forward(parse(raw), PLAN)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return min(seconds), peak


def figures() -> Iterator[Figure]:
    for name, (make, counts) in MAILS.items():
        first = 0.0
        for count in counts:
            raw = make(count)
            seconds, peak = measure(raw)
            per_mb = 1000 * seconds / (len(raw) / MB)
            first = first or per_mb
            yield Figure(
                mail=name,
                count=count,
                bytes=len(raw),
                milliseconds=round(1000 * seconds, 1),
                ms_per_mb=round(per_mb, 1),
                memory_mb=round(peak / MB, 1),
                memory_of_size=round(peak / len(raw), 1),
                x_first=round(per_mb / first, 2),
            )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON line a mail.")
def main(*, as_json: bool) -> None:
    """Parse and forward mails of 1, 10 and 40 MB, deep ones, and ones of many parts."""
    worst = 0.0
    if not as_json:
        click.echo(f"{'mail':26}{'count':>10}{'MB':>8}{'ms':>9}{'ms/MB':>9}{'x first':>9}{'memory/size':>13}")
    for figure in figures():
        worst = max(worst, figure.x_first)
        if as_json:
            click.echo(json.dumps(asdict(figure)))
        else:
            click.echo(
                f"{figure.mail:26}{figure.count:>10}{figure.bytes / MB:>8.2f}{figure.milliseconds:>9.1f}"
                f"{figure.ms_per_mb:>9.1f}{figure.x_first:>9.2f}{figure.memory_of_size:>13.1f}"
            )
    sys.exit(0 if worst <= LIMIT else 1)


if __name__ == "__main__":
    main()
