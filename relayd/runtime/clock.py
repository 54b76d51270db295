"""Real time. The tests have a virtual one, which the whole engine runs on."""

import threading
import time
from collections.abc import Callable


class SystemClock:
    """The machine's clocks and `threading`."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def condition(self) -> threading.Condition:
        return threading.Condition()

    def spawn(self, name: str, target: Callable[[], None]) -> threading.Thread:
        # Daemon threads: a wedged one must not keep the process alive past its grace.
        thread = threading.Thread(name=name, target=target, daemon=True)
        thread.start()
        return thread
