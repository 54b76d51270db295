"""One program, one case: start it, let mails in, and count what it took."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import urllib3

from bench.databases import Kind, database_url
from bench.mails.programs import CHILD_START_SECONDS, BenchError, Children, Place, Program, prepare
from bench.mails.usage import cpu_seconds, rss_mb

LOOK_SECONDS = 0.03
SIGNED_AT_ONCE = 2000
"""Messages: between two lots somebody may want to be told how far it is."""
SLOWEST = 10
"""Times as long as its pace says that a program may take before it has failed."""
LATENCIES: dict[str, dict[str, float]] = {
    "none": {},
    "real": {"s3": 0.02, "ses": 0.06, "sqs": 0.01},
}
"""Seconds that each service takes to answer."""
TELEMETRY = ("OTLP",)
"""Calls that are none of AWS's."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked of a program."""

    size: int = 30_000
    concurrency: int = 32
    mails: int = 0
    """Zero: as many as take the program `seconds`."""
    seconds: float = 6.0
    latencies: Literal["none", "real"] = "none"
    database: Kind = "sqlite"
    replicas: int = 1
    cores: int = 0
    """Each replica is held to one of so many, in turn; zero: to none."""
    rate: float = 0.0
    """Mails a second, evenly; zero puts all of them there at once."""
    warm_up: int | None = None
    """Mails; None for as many as the program needs."""

    def count(self, program: Program) -> int:
        return self.mails or max(8, int(program.pace * self.seconds))


@dataclass(frozen=True, slots=True)
class Measured:
    mails: int
    mails_per_second: float
    """From the first mail's publishing to the last one's acceptance by SES."""
    mails_per_cpu_second: float
    cpu_ms_per_mail: float
    aws_calls_per_mail: float
    calls: dict[str, int]
    rss_peak_mb: float
    rss_growth_mb: float
    """From the end of the warm-up to the last mail."""
    p50: float | None
    p99: float | None
    """Seconds from the publishing of a mail to its acceptance by SES."""
    seconds: float
    fake_cpu_ms_per_mail: float
    sent_again: int


class Door:
    """A fake AWS, seen from outside its process."""

    def __init__(self, url: str, certificate: Path) -> None:
        self.url = url
        self.certificate = certificate
        self._http = urllib3.PoolManager(timeout=300.0, retries=False)

    def ask(self, what: str, **told: Any) -> dict[str, Any]:
        answer = self._http.request("PUT", f"{self.url}/bench/{what}", body=json.dumps(told).encode())
        found: dict[str, Any] = answer.json()
        return found

    def another(self) -> "Door":
        """A queue and counts of its own, in the same process."""
        return Door(self.ask("open")["url"], self.certificate)

    def sign(self, most: int, say: Callable[[int], object] = lambda _: None) -> None:
        """Make the messages of so many mails ready; `say` is told how many there are, time and again."""
        for count in range(0, most, SIGNED_AT_ONCE):
            say(count)
            self.ask("sign", most=min(most, count + SIGNED_AT_ONCE))


@contextmanager
def fake_aws() -> Iterator[Door]:
    """A process of its own, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="relayd-bench-") as folder:
        certificate = Path(folder) / "sns.pem"
        command = [sys.executable, "-m", "bench.mails.fake", "--certificate", str(certificate)]
        # Ctrl-C is for us; it must live until the programs have ended.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            assert process.stdout is not None
            yield Door(process.stdout.readline().strip(), certificate)
        finally:
            process.terminate()
            process.wait(10)


def measure(fake: Door, program: Program, case: Case) -> Measured:
    """Raises BenchError where not every mail was sent and deleted."""
    count = case.count(program)
    warm_up = program.warm_up if case.warm_up is None else case.warm_up
    with started(fake, program, case) as course:
        return course.run(count, min(warm_up, max(1, count // 4)))


@contextmanager
def started(fake: Door, program: Program, case: Case) -> Iterator["_Course"]:
    """The program, ready to receive, and nothing there yet."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relayd-bench-")))
        url = ""
        if program.keeps_books:
            url = stack.enter_context(database_url(case.database, folder))
            prepare(url)
        children, door = Children(), fake.another()
        # From the last to the first: a program that hears SIGTERM in a poll waits for the poll's end.
        stack.callback(door.ask, "close")
        stack.callback(children.wait)
        stack.callback(door.ask, "hush")
        stack.callback(children.terminate)
        door.ask("fresh", size=case.size)
        place = Place(door.url, door.certificate, folder, url)
        for number in range(case.replicas):
            running = children.start(program, place, case.concurrency, number)
            if case.cores:
                # Before it has threads, which would not follow.
                os.sched_setaffinity(running.process.pid, {sorted(os.sched_getaffinity(0))[number % case.cores]})
        yield _Course(door, program, case, children)


class _Course:
    """One program in one case, from its first mail to its last; in rounds, if need be."""

    def __init__(self, fake: Door, program: Program, case: Case, children: Children) -> None:
        self.program = program
        self._fake = fake
        self._case = case
        self._children = children
        self._total = 0
        self._count = 0
        self._peak = 0.0
        self._warm = 0.0

    def run(self, count: int, warm_up: int) -> Measured:
        """The warm-up and one round."""
        self.put(warm_up)
        self.wait()
        return self.round(count)

    def ready(self, seconds: float) -> None:
        """Wait until the program is. Raises BenchError."""
        self._children.ready(seconds)

    def put(self, count: int, rate: float = 0.0) -> None:
        """Let so many mails in, once the program is ready for them."""
        self.ready(CHILD_START_SECONDS)
        self._total += count
        self._count = count
        self._fake.ask("put", count=count, rate=rate)

    def round(self, count: int, say: Callable[[int], object] = lambda _: None) -> Measured:
        """Measure so many mails. `say` is told how many are done."""
        case = self._case
        self._fake.ask("latency", **LATENCIES[case.latencies])
        if not self.program.keeps_books:
            self._total = 0
        self._fake.sign(self._total + count)
        before = self._fake.ask("mark", rewind=not self.program.keeps_books)
        done = before["deleted"]
        cpu, memory = self._cpu(), self.memory()
        self._warm = self._warm or memory
        self.put(count, case.rate)
        self.wait(lambda deleted: say(deleted - done))
        used = self._cpu() - cpu
        after = self._fake.ask("result")
        self._fake.ask("latency", **LATENCIES["none"])
        calls = Counter(after["calls"]) - Counter(before["calls"])
        asked = sum(number for name, number in calls.items() if name not in TELEMETRY)
        return Measured(
            mails=count,
            mails_per_second=round(count / after["seconds"], 2),
            mails_per_cpu_second=round(count / max(used, 0.01), 2),
            cpu_ms_per_mail=round(used / count * 1000, 3),
            aws_calls_per_mail=round(asked / count, 3),
            calls=dict(calls),
            rss_peak_mb=round(self._peak, 1),
            rss_growth_mb=round(self.memory() - self._warm, 1),
            p50=after["p50"],
            p99=after["p99"],
            seconds=round(after["seconds"], 3),
            fake_cpu_ms_per_mail=round((after["cpu"] - before["cpu"]) / count * 1000, 3),
            sent_again=after["sent_again"] - before["sent_again"],
        )

    def wait(self, say: Callable[[int], object] = lambda _: None) -> None:
        """Until all that was put there has been sent and deleted. Raises BenchError where that takes too long."""
        pace, rate = self.program.pace_of(self._case.size), self._case.rate
        within = 30 + SLOWEST * self._count / pace + (self._count / rate if rate else 0)
        deadline = time.monotonic() + within
        while True:
            state = self._fake.ask("run")
            self._peak = max(self._peak, self.memory())
            say(state["deleted"])
            if state["sent"] >= self._total and state["deleted"] >= self._total:
                return
            if time.monotonic() > deadline or self._children.ended():
                facts = {name: state[name] for name in ("published", "sent", "deleted", "unknown", "depth")}
                said = self._children.output()
                raise BenchError(f"{self.program.name} after {within:.0f} s at most: {facts}\n{said}")
            time.sleep(LOOK_SECONDS)

    def first_poll(self) -> float:
        """Wait for it; seconds since the program was started."""
        while not self._fake.ask("run")["calls"].get("SQS.ReceiveMessage"):
            if self._children.ended():
                raise BenchError(f"{self.program.name} has ended:\n{self._children.output()}")
            time.sleep(LOOK_SECONDS / 10)
        return time.monotonic() - self._children.running[0].began

    def idle(self, seconds: float) -> float:
        """How much of one core it uses while there is nothing to do."""
        before, began = self._cpu(), time.monotonic()
        time.sleep(seconds)
        return (self._cpu() - before) / (time.monotonic() - began)

    def _cpu(self) -> float:
        return cpu_seconds(self._children.pids())

    def memory(self) -> float:
        """Resident, in MB, of all replicas now."""
        return rss_mb(self._children.pids())
