"""A mail store in memory, in virtual time: slow, failing or hanging on request."""

from collections.abc import Callable
from dataclasses import dataclass

from relayd.errors import RelaydError, TransientError
from relayd.model.notification import S3Content
from relayd.ports import Clock
from tests.fakes.script import Latency, Script


@dataclass(frozen=True, slots=True)
class Fetch:
    """One call of `fetch`, noted when it ended. `error` is the reason; None when the bytes were handed out."""

    content: S3Content
    began: float
    ended: float
    error: str | None


class FakeStore:
    """Implements `relayd.ports.MailStore`. Times are the clock's monotonic seconds."""

    def __init__(self, clock: Clock, *, latency: Latency = 0.0, timeout: float | None = None) -> None:
        self._clock = clock
        self._script: Script[RelaydError] = Script()
        self.latency: Latency = latency
        """Seconds a fetch takes, or a function of the S3Content; half of them before `admit`."""
        self.timeout = timeout
        """A fetch that would take longer raises TransientError("s3_timeout") after this many seconds."""
        self.objects: dict[tuple[str, str], bytes] = {}
        self.fetches: list[Fetch] = []
        self.open_fetches = 0

    def put(self, key: str, data: bytes, bucket: str = "mail") -> S3Content:
        """Store a mail; what the notification would say of it comes back."""
        self.objects[bucket, key] = data
        return S3Content(bucket, key)

    def fail_with(self, error: RelaydError, *, key: str | None = None, times: int = 1) -> None:
        """Let the next fetches (of this key; None: of any) raise, once half of the latency has passed."""
        self._script.add(key, error, times)

    def fetch(self, content: S3Content, admit: Callable[[int], None]) -> bytes:
        began = self._clock.monotonic()
        error: str | None = "bug"
        self.open_fetches += 1
        try:
            data = self._fetch(content, admit)
            error = None
        except RelaydError as raised:
            error = raised.reason
            raise
        else:
            return data
        finally:
            self.open_fetches -= 1
            self.fetches.append(Fetch(content, began, self._clock.monotonic(), error))

    def _fetch(self, content: S3Content, admit: Callable[[int], None]) -> bytes:
        seconds = self.latency(content) if callable(self.latency) else self.latency
        if self.timeout is not None and seconds > self.timeout:
            self._clock.sleep(self.timeout)
            raise TransientError("s3_timeout")
        self._clock.sleep(seconds / 2)
        failure = self._script.take(content.key)
        if failure is not None:
            raise failure
        data = self.objects.get((content.bucket, content.key))
        if data is None:
            raise TransientError("content_missing")
        admit(len(data))
        self._clock.sleep(seconds / 2)
        return data
