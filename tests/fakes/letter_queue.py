"""A dead-letter queue in memory, in virtual time, whose counts lie on request."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from relayd.adapters.dead_letter_queue import Attribute, ReceivedLetter
from relayd.adapters.queue_depth import QueueDepth
from relayd.errors import RelaydError
from relayd.ports import Clock, EntryError
from tests.fakes.queue import FakeQueue
from tests.fakes.script import Script


class FakeLetterQueue:
    """Implements `relayd.ops.dead_letters.LetterQueue` over a `FakeQueue`, which has the truth and the faults."""

    def __init__(self, clock: Clock, **options: Any) -> None:
        self.queue = FakeQueue(clock, name="mail-dead", has_dead_letter_queue=False, **options)
        self.lies: deque[QueueDepth] = deque()
        """What `depth` answers first, before the truth."""
        self.depth_errors: Script[RelaydError] = Script()
        self.depths = 0

    def publish(self, body: str, message_id: str = "", reason: str = "not_json", **own: str) -> str:
        """Put a letter into the queue as relayd does; returns its id there."""
        ours = {"relayd-reason": reason, "relayd-original-message-id": message_id or f"of-{body}"}
        return self.queue.publish(body, {**ours, **own} if reason else own)

    @property
    def name(self) -> str:
        return self.queue.name

    def receive(self, limit: int, wait: float, visibility: float) -> list[ReceivedLetter]:
        return [
            ReceivedLetter(one, {name: Attribute("String", value) for name, value in one.attributes.items()})
            for one in self.queue.receive(limit, wait, visibility)
        ]

    def delete(self, handles: Sequence[str]) -> list[EntryError | None]:
        return self.queue.delete(handles)

    def change_visibility(self, changes: Sequence[tuple[str, float]]) -> list[EntryError | None]:
        return self.queue.change_visibility(changes)

    def depth(self) -> QueueDepth:
        self.depths += 1
        if (error := self.depth_errors.take(None)) is not None:
            raise error
        return self.lies.popleft() if self.lies else QueueDepth(self.queue.visible, 0, self.queue.in_flight)
