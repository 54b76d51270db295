"""How far the events queue has been read: what a send in doubt has to wait for."""

from relayd.model.message import Message
from relayd.ports import Clock


class Watermark:
    """The time up to which SES's events are known: those that are older have been received and acted on.

    SQS keeps no strict order, so this is a measure and no promise; the window for doubts is long against the disorder.
    """

    def __init__(self, clock: Clock, window: float, longest: float) -> None:
        """`window` (seconds): how late an event may be. `longest`: after which nobody waits for one any more."""
        self._clock = clock
        self._window = window
        self._longest = longest
        self._known_to = 0.0

    def polled(self, began: float, messages: list[Message]) -> None:
        """A poll of the events queue has ended, and these are in hand: with none, all that came before is known."""
        oldest = min((message.sent_at or began for message in messages), default=began)
        self._known_to = max(self._known_to, oldest)

    def doubt_seconds(self) -> float:
        """How long a send must have been in doubt before an event about it can no longer be expected. While the queue
        is not read, the answer grows as fast as time goes by: such time does not count.
        """
        behind = max(0.0, self._clock.time() - self._known_to)
        return min(self._window + behind, self._longest)
