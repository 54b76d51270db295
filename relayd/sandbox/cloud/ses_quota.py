"""How much an SES account may send: in a day, and in a second."""

from collections import deque

from relayd.sandbox.cloud.calls import Refusal
from relayd.sandbox.cloud.clock import Now
from relayd.sandbox.cloud.settings import Settings

DAY = 86_400.0


class Quota:
    """Recipients in the last 24 hours, by the minute, and a bucket of tokens for the last second."""

    def __init__(self, now: Now, settings: Settings) -> None:
        self._now = now
        self._settings = settings
        self._minutes: deque[list[float]] = deque()
        self._tokens: float | None = None
        self._filled = now()
        self.used = 0

    def look(self) -> int:
        """How many of the day's are used."""
        while self._minutes and self._minutes[0][0] <= self._now() - DAY:
            self.used -= int(self._minutes.popleft()[1])
        return self.used

    def take(self, recipients: int) -> None:
        """Raises Refusal; a refused call costs nothing."""
        now, rate = self._now(), self._settings.max_send_rate
        if self.look() + recipients > self._settings.daily_quota:
            raise Refusal("LimitExceededException", "Daily message quota exceeded.")
        tokens = rate if self._tokens is None else min(rate, self._tokens + (now - self._filled) * rate)
        self._filled = now
        self._tokens = tokens
        # A call with more recipients than the rate allows goes through when the bucket is full.
        if tokens < min(recipients, rate):
            raise Refusal("TooManyRequestsException", "Maximum sending rate exceeded.", 429)
        self._tokens = tokens - recipients
        minute = now // 60 * 60
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append([minute, 0])
        self._minutes[-1][1] += recipients
        self.used += recipients
