"""An archive's shelf in memory, in virtual time: slow or failing on request."""

from collections.abc import Callable, Iterator

from relayd.errors import PermanentError
from relayd.ports import Clock
from tests.fakes.script import Latency, Script, pause


class FakeShelf:
    """Implements `relayd.ops.archive.Shelf`."""

    def __init__(self, clock: Clock, *, latency: Latency = 0.0) -> None:
        self._clock = clock
        self.latency = latency
        """Seconds a put takes, or a function of the name; the file is there when half of them have passed."""
        self.files: dict[str, bytes] = {}
        self.errors: Script[Exception] = Script()
        """What puts raise, without effect, by name."""
        self.puts: list[str] = []
        self.durable: set[str] = set()
        """Names whose put has returned."""
        self.on_put: Callable[[str], None] = lambda name: None

    @property
    def place(self) -> str:
        return "memory"

    def make(self) -> None:
        pass

    def check(self) -> None:
        pass

    def put(self, name: str, data: bytes, kind: str) -> None:
        pause(self._clock, self.latency, name, 0.5)
        if (error := self.errors.take(name)) is not None:
            raise error
        self.puts.append(name)
        self.files[name] = data
        self.on_put(name)
        pause(self._clock, self.latency, name, 0.5)
        self.durable.add(name)

    def read(self, name: str, most: int) -> bytes | None:
        data = self.files.get(name)
        if data is not None and len(data) > most:
            raise PermanentError("too_large")
        return data

    def names(self) -> Iterator[str]:
        yield from sorted(self.files)
