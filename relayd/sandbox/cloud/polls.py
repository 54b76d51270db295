"""Long polls: parked on futures, served in the order they came, woken by messages and by nothing else."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from relayd.sandbox.cloud.calls import Effects
from relayd.sandbox.cloud.clock import Now
from relayd.sandbox.cloud.queues import Queue, Received


@dataclass(slots=True, eq=False)
class _Poll:
    limit: int
    visibility: float
    effects: Effects
    future: "asyncio.Future[list[Received]]"


class Polls:
    """The polls of one queue."""

    def __init__(self, queue: Queue, now: Now) -> None:
        self._queue = queue
        self._now = now
        self._parked: OrderedDict[_Poll, None] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._serving = False
        queue.changed = self._messages_came

    def __len__(self) -> int:
        return len(self._parked)

    def take(self, limit: int, visibility: float, effects: Effects) -> list[Received]:
        """What is there now."""
        return self._queue.receive(limit, visibility, self._now(), twin=effects.twin, shorten=effects.shorten)

    async def wait(
        self,
        limit: int,
        visibility: float,
        seconds: float,
        effects: Effects,
        disconnected: Callable[[], Awaitable[None]],
    ) -> list[Received]:
        """Whatever comes first: messages, the end of the wait, or of the client."""
        loop = asyncio.get_running_loop()
        poll = _Poll(limit, visibility, effects, loop.create_future())
        self._parked[poll] = None
        self._set_timer()
        end = loop.call_later(seconds, self._give_up, poll)
        gone: asyncio.Future[Any] = asyncio.ensure_future(disconnected())
        first: set[asyncio.Future[Any]] = {poll.future, gone}
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if not poll.future.done() and not effects.orphan:
                return []
            return await poll.future
        finally:
            end.cancel()
            gone.cancel()
            self._parked.pop(poll, None)

    def _give_up(self, poll: _Poll) -> None:
        if not poll.future.done():
            poll.future.set_result([])

    def _messages_came(self) -> None:
        # Once per turn of the loop: a batch of ten may serve one poll, and a redrive may reach another queue's polls.
        if self._parked and not self._serving:
            self._serving = True
            asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        self._serving = False
        self._queue.tick(self._now())
        while self._parked and self._queue.visible:
            poll, _ = self._parked.popitem(last=False)
            if poll.future.done():
                continue
            batch = self.take(poll.limit, poll.visibility, poll.effects)
            if batch:
                poll.future.set_result(batch)
                continue
            # All that was visible went to the dead-letter queue, or too much is in flight.
            self._parked[poll] = None
            self._parked.move_to_end(poll, last=False)
            break
        self._set_timer()

    def _set_timer(self) -> None:
        due = self._queue.next_due() if self._parked else None
        if due is None:
            return
        if self._timer is not None:
            if self._timer_due <= due and not self._timer.cancelled():
                return
            self._timer.cancel()
        self._timer_due = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - self._now()), self._due)

    def _due(self) -> None:
        self._timer = None
        self._serve()
