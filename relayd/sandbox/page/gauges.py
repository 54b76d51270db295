"""Live figures for the page: how deep the queue is, how long mail takes, and whether relayd says that it lives."""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import urllib3

from relayd.sandbox.page.book import Latency

EVERY_SECONDS = 0.5
POINTS = 240
"""Two minutes."""
LIVEZ_SECONDS = 2.0
"""Kubernetes waits 1 s by default and then calls a probe failed; here it may take a little longer, and is counted."""


@dataclass(frozen=True, slots=True)
class Depth:
    """Messages on the queue."""

    visible: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Probe:
    """One answer of /livez, or the lack of one."""

    ok: bool
    ms: float
    state: str


@dataclass(frozen=True, slots=True)
class Work:
    """What the daemon's /status says of its own work."""

    in_hand: int
    slots: int
    held: str
    """The dependency that it waits for, empty when it receives."""


@dataclass(frozen=True, slots=True)
class Point:
    """Everything at one moment."""

    number: int
    at: float
    depth: Depth | None
    """None: the queue could not be asked."""
    probe: Probe
    work: Work | None
    latency_ms: float | None


@dataclass(frozen=True, slots=True)
class Lives:
    """All answers of /livez since the page began to ask."""

    asked: int
    ok: int
    slowest_ms: float


class Gauges:
    """Looks twice a second on a thread of its own, so that no reader of the page can slow it or be slowed by it."""

    def __init__(
        self,
        depth: Callable[[], Depth],
        probe: Callable[[], Probe],
        work: Callable[[], Work | None],
        latency: Callable[[], Latency],
    ) -> None:
        self._depth, self._probe, self._work, self._latency = depth, probe, work, latency
        self._lock = threading.Lock()
        self._points: deque[Point] = deque(maxlen=POINTS)
        self._numbers = itertools.count(1)
        self._lives = Lives(0, 0, 0.0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gauges", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            self.look()

    def look(self) -> None:
        """Take one reading."""
        try:
            depth = self._depth()
        except Exception:  # a dead emulator must not end the figures about the living daemon
            depth = None
        probe, work = self._probe(), self._work()
        latency = self._latency()
        with self._lock:
            self._points.append(Point(next(self._numbers), time.time(), depth, probe, work, latency.last))
            self._lives = Lives(self._lives.asked + 1, self._lives.ok + probe.ok, max(self._lives.slowest_ms, probe.ms))

    def points(self, since: int) -> list[Point]:
        """The readings after the one of that number."""
        with self._lock:
            return [point for point in self._points if point.number > since]

    def lives(self) -> Lives:
        with self._lock:
            return self._lives


class Health:
    """The daemon's health port, asked as Kubernetes would ask it: a new connection each time."""

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}"

    def probe(self) -> Probe:
        begun = time.perf_counter()
        try:
            with urllib3.PoolManager(timeout=LIVEZ_SECONDS, retries=False) as http:
                answer = http.request("GET", f"{self._url}/livez")
                state = str(answer.json().get("reason", ""))[:100]
                return Probe(answer.status == 200, _since(begun), state)
        except (urllib3.exceptions.HTTPError, ValueError, AttributeError) as error:
            return Probe(False, _since(begun), type(error).__name__)

    def work(self) -> Work | None:
        try:
            with urllib3.PoolManager(timeout=LIVEZ_SECONDS, retries=False) as http:
                status = http.request("GET", f"{self._url}/status").json()
            held = status.get("held") or ""
            return Work(int(status["in_flight"]), int(status["slots"]), _words(held))
        except (urllib3.exceptions.HTTPError, ValueError, KeyError, TypeError, AttributeError):
            return None


def _words(held: object) -> str:
    return ", ".join(map(str, held))[:100] if isinstance(held, list | tuple | dict) else str(held)[:100]


def _since(begun: float) -> float:
    return round((time.perf_counter() - begun) * 1000, 2)
