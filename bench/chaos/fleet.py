"""The daemons: real `relayd run` processes that are started, struck, watched and started again."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from bench.chaos.probes import Probes
from bench.chaos.strikes import Blow
from relayd.errors import RelaydError
from tests.process.cloud import clean_environment, free_port

READY_SECONDS = 60.0
STOP_SECONDS = 30.0
"""More than the daemons' own grace."""
WORKED_SECONDS = 1.0
"""After its start, in which a daemon is left in peace: a strike is to meet mail in flight."""
MOST_CRASHES = 20
"""Daemons that end unasked before the run is given up."""


class Daemon:
    """One place in the fleet. The process in it changes, its port does not."""

    def __init__(self, number: int, environment: Mapping[str, str], folder: Path) -> None:
        self.number = number
        self.port = free_port()
        self.logs: list[Path] = []
        self.probes = Probes(self.port)
        self.asked_to_end = False
        self.resumes_at: float | None = None
        self.peak_kb = 0
        self._environment = clean_environment() | dict(environment)
        self._folder = folder
        self.process = self._spawned()

    def start_again(self) -> None:
        self.process = self._spawned()
        self.asked_to_end = False
        self.resumes_at = None

    @property
    def is_up(self) -> bool:
        """Whether it answers probes, and nothing was done to it."""
        return self.probes.counting and self.process.poll() is None

    @property
    def has_worked(self) -> bool:
        """Whether it is up for long enough to have mail in hand."""
        return self.is_up and time.monotonic() - self.probes.counting_since >= WORKED_SECONDS

    def signal(self, number: int) -> None:
        """From here on what probes see is our doing."""
        self.probes.expect_nothing()
        self.note_memory()
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def note_memory(self) -> None:
        """Keep the highest resident set: the kernel forgets it with the process."""
        with suppress(OSError):
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            self.peak_kb = max(self.peak_kb, _peak(status))

    def _spawned(self) -> "subprocess.Popen[bytes]":
        log = self._folder / f"daemon-{self.number}-{len(self.logs)}.log"
        self.logs.append(log)
        self.probes.expect_start()
        with log.open("wb") as output:
            # On a leash: should this process be killed, the kernel ends the daemon.
            return subprocess.Popen(
                [sys.executable, "-m", "relayd.sandbox.leash", str(os.getpid())],
                env=self._environment | {"RELAYD_HTTP_ADDRESS": f"127.0.0.1:{self.port}"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


class Fleet:
    """All daemons. Use from the main thread alone: the leash is tied to it."""

    def __init__(self, count: int, environment: Mapping[str, str], folder: Path) -> None:
        self.blows: Counter[Blow] = Counter()
        self.exit_codes: Counter[int] = Counter()
        """Of those that were asked to end with SIGTERM: 0 is a clean stop."""
        self.crashes = 0
        self.daemons: list[Daemon] = []
        try:
            for number in range(count):
                self.daemons.append(Daemon(number, environment, folder))
        except BaseException:
            self.close()
            raise

    def wait_up(self) -> None:
        """Wait until all of them answer. Raises RelaydError."""
        deadline = time.monotonic() + READY_SECONDS
        while not all(one.is_up for one in self.daemons):
            self.tend()
            if time.monotonic() > deadline:
                raise RelaydError("bench_daemon", f"a daemon did not start; see {self.daemons[0].logs[-1]}")
            time.sleep(0.05)

    def strike(self, number: int, blow: Blow, *, pause: float) -> bool:
        """Strike this daemon, or the next one that works. False when none does. `pause` is for `stop`."""
        in_turn = self.daemons[number:] + self.daemons[:number]
        daemon = next((one for one in in_turn if one.has_worked), None)
        if daemon is None:
            return False
        match blow:
            case "kill":
                daemon.asked_to_end = True
                daemon.signal(signal.SIGKILL)
            case "term":
                daemon.asked_to_end = True
                daemon.signal(signal.SIGTERM)
            case "stop":
                daemon.resumes_at = time.monotonic() + pause
                daemon.signal(signal.SIGSTOP)
        self.blows[blow] += 1
        return True

    @property
    def is_whole(self) -> bool:
        """Whether all are up and none is on its way down."""
        return all(one.is_up and not one.asked_to_end for one in self.daemons)

    def tend(self) -> None:
        """Wake who has slept long enough, and put a new process in the place of each that has ended."""
        for daemon in self.daemons:
            if daemon.resumes_at is not None and time.monotonic() >= daemon.resumes_at:
                daemon.resumes_at = None
                daemon.signal(signal.SIGCONT)
                daemon.probes.expect_start()
            code = daemon.process.poll()
            if code is None:
                daemon.note_memory()
                continue
            if daemon.asked_to_end:
                if code != -signal.SIGKILL:
                    self.exit_codes[code] += 1
            else:
                self.crashes += 1
                if self.crashes > MOST_CRASHES:
                    raise RelaydError("bench_daemon", f"daemons end by themselves; see {daemon.logs[-1]}")
            daemon.start_again()

    def stop(self) -> Sequence[int]:
        """End all in order, as a shutdown does, and return their exit codes."""
        for daemon in self.daemons:
            if daemon.resumes_at is not None:
                daemon.signal(signal.SIGCONT)
            daemon.signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for daemon in self.daemons:
            with suppress(subprocess.TimeoutExpired):
                daemon.process.wait(max(0.1, deadline - time.monotonic()))
        self.close()
        return [one.process.returncode for one in self.daemons]

    def close(self) -> None:
        """End all that is left, at once."""
        for daemon in self.daemons:
            daemon.probes.stop()
            if daemon.process.poll() is None:
                daemon.process.kill()
        for daemon in self.daemons:
            daemon.process.wait()

    @property
    def peak_mb(self) -> float:
        return round(max(one.peak_kb for one in self.daemons) / 1024, 1)


def _peak(status: str) -> int:
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
