"""relayd and its rivals as programs: how each is started, and how it says that it is ready."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import urllib3

from bench.mails.post import ACCOUNT, BUCKET, MAILBOX, MASK, TOPIC
from relayd.adapters.database import connect, upgrade
from relayd.model.address import Address
from relayd.ops.masks import add_mask

RIVALS = Path(__file__).parent / "rivals"
NODE = RIVALS / "node_sqs_consumer"
SECRET = "8f2c1d7e90ab4365f1e2d3c4b5a69788"
CHILD_START_SECONDS = 60.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.03
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Place:
    """What a program of a run is told of the world."""

    endpoint: str
    certificate: Path
    folder: Path
    database_url: str
    """One that nothing has been written to yet."""

    @property
    def queue_url(self) -> str:
        return f"{self.endpoint}/{ACCOUNT}/bench"

    @property
    def environment(self) -> dict[str, str]:
        """Ours, without whatever could lead a program to somebody's account or collector."""
        foreign = ("AWS_", "RELAYD_", "OTEL_", "BOTO_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return clean | {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            # Python's stdout is a pipe here, and the line that says `ready` must not wait in a buffer.
            "PYTHONUNBUFFERED": "1",
            "NODE_NO_WARNINGS": "1",
        }


class BenchError(Exception):
    """A program did not do its work: there is nothing to compare."""


class Running:
    """One started process and what descends from it; its output goes to a file."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        self.began = time.monotonic()
        with log.open("wb") as output:
            # A session of its own: Ctrl-C is for us, who then stop it.
            self.process = subprocess.Popen(
                list(command),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_us,  # noqa: PLW1509 - no thread of ours holds a lock here
            )

    @property
    def output(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def said_ready(self) -> bool:
        """Whether it has printed the line."""
        return "ready\n" in self.output

    def wait(self, seconds: float) -> int:
        """Its exit code, after SIGTERM; SIGKILL for one that does not hear, and for what it leaves behind."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


def _die_with_us() -> None:
    """Also where we are killed and can stop nobody."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


Start = Callable[[Place, int, int], tuple[Running, Callable[[], bool]]]
"""Start with this concurrency as that replica; what comes back with the process says whether it is ready."""


@dataclass(frozen=True, slots=True)
class Program:
    name: str
    start: Start
    pace: int
    """Mails of 30 KB that it does in a second on one core, about: how many to measure it with."""
    warm_up: int = 100
    """Mails after which it is as fast as it will be."""
    keeps_books: bool = False
    """Needs a database, and knows a mail that it has seen before."""
    missing: str | None = None
    """What it needs that is not here."""

    def pace_of(self, size: int) -> float:
        """Mails of that size in a second: what lies over the 30 KB costs by the byte."""
        return self.pace / max(1.0, 0.8 + 0.2 * size / 30_000)


def relayd_with(traces: str | None = "0.1", **settings: str) -> Start:
    """`relayd run` on its defaults: signatures verified, leases, ledger, one log line a mail. `traces`: the share of
    mails that are traced (over OTLP), or None for no exporter at all.
    """

    def start(place: Place, concurrency: int, number: int) -> tuple[Running, Callable[[], bool]]:
        port = _free_port()
        traced = {
            # Metrics are scraped, as in Kubernetes: to export them as well is to add each one up twice.
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{place.endpoint}/v1/traces",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": traces or "0",
        }
        environment = {
            "RELAYD_QUEUE_URL": place.queue_url,
            "RELAYD_DATABASE_URL": place.database_url,
            "RELAYD_MAIL_DOMAINS": MASK.partition("@")[2],
            "RELAYD_TOPIC_ARNS": TOPIC,
            "RELAYD_BUCKETS": BUCKET,
            "RELAYD_SECRET": SECRET,
            "RELAYD_SNS_CERTIFICATE_FILE": str(place.certificate),
            "RELAYD_CONCURRENCY": str(concurrency),
            "RELAYD_DAILY_MAILS": "100000000",
            "RELAYD_DAILY_MEGABYTES": "100000000",
            "RELAYD_LOG_FORMAT": "json",
            "RELAYD_HTTP_ADDRESS": f"127.0.0.1:{port}",
        }
        command = [sys.executable, "-m", "relayd", "run"]
        log = place.folder / f"relayd-{number}.log"
        running = Running(command, place.environment | (traced if traces else {}) | environment | settings, log)
        http = urllib3.PoolManager(timeout=2.0, retries=False)

        def ready() -> bool:
            try:
                return http.request("GET", f"http://127.0.0.1:{port}/readyz").status == 200
            except urllib3.exceptions.HTTPError:
                return False

        return running, ready

    return start


def prepare(database_url: str) -> None:
    """The one mask that all mails go to."""
    database = connect(database_url, pool_size=1)
    try:
        upgrade(database)
        add_mask(database, Address.parse(MASK), [Address.parse(MAILBOX)])
    finally:
        database.close()


def _rival(*command: str) -> Start:
    def start(place: Place, concurrency: int, number: int) -> tuple[Running, Callable[[], bool]]:
        environment = {
            "BENCH_QUEUE_URL": place.queue_url,
            "BENCH_CONCURRENCY": str(concurrency),
            "BENCH_FROM": f"mask-{number}@mask.example",
            "BENCH_TO": MAILBOX,
        }
        running = Running(command, place.environment | environment, place.folder / f"rival-{number}.log")
        return running, running.said_ready

    return start


def _node() -> str | None:
    if shutil.which("node") is None:
        return "node is not installed"
    if not (NODE / "node_modules").is_dir():
        return "`make bench-node` installs what it needs"
    return None


def _script(name: str, *options: str) -> Start:
    return _rival(sys.executable, "-m", f"bench.mails.rivals.{name}", *options)


def _relayd(name: str, start: Start) -> Program:
    return Program(name, start, 250, keeps_books=True)


def _by_name(*programs: Program) -> Mapping[str, Program]:
    return {program.name: program for program in programs}


RELAYD = _relayd("relayd", relayd_with())
PROGRAMS = _by_name(
    RELAYD,
    Program("bare_boto3", _script("bare_boto3"), 250),
    # Its compiler makes it four times faster within the first thousand mails.
    Program("node_sqs_consumer", _rival("node", str(NODE / "index.mjs")), 250, 1000, missing=_node()),
    Program("process_per_mail", _script("process_per_mail"), 8, 2),
    Program("process_per_mail_warm", _script("process_per_mail", "--warm"), 200),
    Program("floor", _script("floor"), 3000, 500),
)
"""relayd, and what it is compared with."""
MORE_RIVALS = _by_name(
    Program("process_per_mail_inherit", _script("process_per_mail", "--inherit"), 20, 2),
    Program("process_per_mail_spawn", _script("process_per_mail", "--spawn"), 2, 1),
)
"""Other readings of what a process for each mail costs."""
VARIANTS = _by_name(
    _relayd("relayd, no traces", relayd_with(None)),
    _relayd("relayd, all traces", relayd_with("1.0")),
)
"""relayd with one thing changed."""


class Children:
    """All replicas of one program in one run."""

    def __init__(self) -> None:
        self.running: list[Running] = []
        self._checks: list[Callable[[], bool]] = []

    def start(self, program: Program, place: Place, concurrency: int, number: int) -> Running:
        """One more; it need not be ready when this returns."""
        running, ready = program.start(place, concurrency, number)
        self.running.append(running)
        self._checks.append(ready)
        return running

    def ready(self, seconds: float) -> None:
        """Wait until all are. Raises BenchError where one ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not all(check() for check in self._checks):
            if time.monotonic() > deadline or self.ended():
                raise BenchError(f"a program did not start:\n{self.output()}")
            time.sleep(LOOK_SECONDS)
        self._checks.clear()

    def ended(self) -> bool:
        """Whether one has, which none should."""
        return any(one.process.poll() is not None for one in self.running)

    def output(self) -> str:
        """The last of what they said."""
        return "\n".join(one.output[-1500:] for one in self.running)

    def pids(self) -> list[int]:
        return [one.process.pid for one in self.running]

    def terminate(self) -> None:
        """SIGTERM to all."""
        for one in self.running:
            one.process.terminate()

    def wait(self) -> None:
        """For the end of each; not for long."""
        for one in self.running:
            one.wait(STOP_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
