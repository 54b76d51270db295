"""Kubernetes' part: probes a pod's liveness, restarts it after three failures in a row, and waits longer each time."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from bench.incident.pod import Pod, asked
from bench.incident.story import Story
from relayd.errors import RelaydError

PERIOD = 10.0
TIMEOUT = 3.0
"""Seconds of the story; Kubernetes' own default is 1."""
LEAST_TIMEOUT = 0.25
"""Seconds on this machine: its scheduler does not get faster with the story, and a hiccup of it is nobody's fault."""
THRESHOLD = 3
GRACE = 30.0
"""terminationGracePeriodSeconds."""
BACKOFFS = (0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)
"""Pauses before the first, second, ... restart (CrashLoopBackOff); the last one stays."""
FORGET = 600.0
"""A pod that has run for so long begins with the first pause again."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One look at a pod. Times are seconds on this machine, `at` since the beginning of the replay."""

    at: float
    seconds: float
    well: bool
    late: float = 0.0
    """By how much the prober itself was woken too late, which is the machine's own noise."""


class Prober:
    """One pod's kubelet: a thread from `watch` to `close`."""

    def __init__(self, pod: Pod, path: str, story: Story) -> None:
        self._pod = pod
        self._path = path
        self._story = story
        self._timeout = max(story.real(TIMEOUT), LEAST_TIMEOUT)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)
        self._began = 0.0
        self._started_at = 0.0
        self._crashes = 0
        self.probes: list[Probe] = []
        self.restarts: list[float] = []
        """When each restart was decided."""

    def watch(self, began: float) -> None:
        """Begin. `began`: the beginning of the replay on the monotonic clock."""
        self._began = self._started_at = began
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        failures, due = 0, time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            late = max(0.0, time.monotonic() - due)
            if self._pod.alive:
                failures = 0 if self._probe(late) else failures + 1
            due = max(due + self._story.real(PERIOD), time.monotonic())
            if failures == THRESHOLD or not self._pod.alive:
                self._restart()
                failures, due = 0, time.monotonic() + self._story.real(PERIOD)

    def _probe(self, late: float) -> bool:
        at = time.monotonic()
        status = asked(self._pod.port, self._path, self._timeout)
        seconds = time.monotonic() - at
        well = status is not None and 200 <= status < 400 and seconds <= self._timeout
        self.probes.append(Probe(at - self._began, seconds, well, late))
        return well

    def _restart(self) -> None:
        now = time.monotonic()
        self.restarts.append(now - self._began)
        self._pod.stop(self._story.real(GRACE))
        if now - self._started_at > self._story.real(FORGET):
            self._crashes = 0
        pause = BACKOFFS[min(self._crashes, len(BACKOFFS) - 1)]
        self._crashes += 1
        if self._stopped.wait(self._story.real(pause)):
            return
        # One that does not start is not alive either, and comes here again.
        with suppress(RelaydError):
            self._pod.start()
        self._started_at = time.monotonic()
