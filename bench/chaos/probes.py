"""Liveness probes as Kubernetes sends them, only more often: a new connection each, and the time that it took."""

import http.client
import math
import threading
import time
from collections.abc import Sequence

EVERY = 0.1
TIMEOUT = 5.0


class Probes:
    """One thread that asks one daemon. What is seen while the daemon was struck, or starts, does not count."""

    def __init__(self, port: int, path: str = "/livez") -> None:
        self._port = port
        self._path = path
        self._epoch = 0
        self._starting = True
        self._ended = threading.Event()
        self.counting = False
        """Whether the daemon has answered since its start, and was left in peace."""
        self.counting_since = 0.0
        self.seconds: list[float] = []
        """Of each probe that counts; one that failed counts with what it took to fail."""
        self.failures = 0
        threading.Thread(target=self._run, name=f"probes-{port}", daemon=True).start()

    def expect_nothing(self) -> None:
        """The daemon is about to be struck."""
        self._epoch += 1
        self.counting = self._starting = False

    def expect_start(self) -> None:
        """It starts, or goes on: its first good answer is when probes begin to count."""
        self._epoch += 1
        self.counting, self._starting = False, True

    def stop(self) -> None:
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(EVERY):
            epoch, counting = self._epoch, self.counting
            if not counting and not self._starting:
                continue
            began = time.perf_counter()
            well = self._ask()
            took = time.perf_counter() - began
            if epoch != self._epoch:
                continue
            if counting:
                self.seconds.append(took)
                self.failures += not well
            elif well:
                self.counting_since = time.monotonic()
                self.counting, self._starting = True, False

    def _ask(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
        try:
            connection.request("GET", self._path)
            answer = connection.getresponse()
            answer.read()
            return answer.status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def percentile(values: Sequence[float], share: float) -> float:
    """By nearest rank; 0 where there is nothing."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
