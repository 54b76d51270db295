"""The way without the mail queue: an engine in this process works on what a source has, from a queue in memory."""

from collections.abc import Callable
from queue import Empty, SimpleQueue

from relayd.ops.replay.ended import SENT_BEFORE
from relayd.ops.replay.local_queue import LocalQueue
from relayd.ops.replay.offers import Offer
from relayd.ops.replay.outcomes import What
from relayd.ops.replay.reading import Ending, Reading
from relayd.ops.replay.sending import Act
from relayd.ops.tally import FORWARDED, was_before
from relayd.ports import Clock
from relayd.runtime.watching import Ended

_TICK = 0.1
"""Seconds between looks at what the engine has finished."""
_NOT_TRIED = "not_tried"


class InPlace:
    """Feeds the engine, and takes from the source what the engine has finished: not before, so that a crash loses
    nothing. What failed, or was put off, stays in the source.
    """

    def __init__(
        self,
        reading: Reading,
        queue: LocalQueue,
        act: Act,
        clock: Clock,
        *,
        room: int,
        put_off: Callable[[], int],
        ends_at: float | None = None,
    ) -> None:
        """`room`: messages in the queue at a time. `put_off` tells how many of them nobody wants to wait for.
        `ends_at`: monotonic.
        """
        self._reading = reading
        self._queue = queue
        self._act = act
        self._clock = clock
        self._room = room
        self._put_off = put_off
        self._ends_at = ends_at
        self._open: dict[str, Offer] = {}
        """By the message's id in the queue."""
        self._last: dict[str, str] = {}
        """Why an open one was not finished the last time."""
        self._told: SimpleQueue[Ended] = SimpleQueue()

    def ended(self, ended: Ended) -> None:
        """Watches the engine: one receive of one message ended. Any thread may tell."""
        self._told.put(ended)

    def run(self) -> Ending:
        """Return when all that was chosen is finished, or put off for long; or earlier. The engine runs on.

        Raises what the reading raises.
        """
        for offers in self._reading.chosen():
            for number, offer in enumerate(offers):
                while len(self._open) >= self._room:
                    if early := self._waited():
                        return self._leave(offers[number:], early)
                self._feed(offer)
            self._settle()
            if self._is_over():
                return "timeout"
        if self._reading.ending == "interrupted":
            return "interrupted"
        while len(self._open) > self._put_off():
            if early := self._waited():
                return early
        return self._reading.ending

    def close(self) -> None:
        """Once the engine has stopped: what is not finished stays where it came from."""
        try:
            self._settle()
        finally:
            for message_id, offer in self._open.items():
                self._reading.outcomes.add(offer, "left", self._last.get(message_id, _NOT_TRIED))
            self._open.clear()
            self._reading.source.close()

    def _feed(self, offer: Offer) -> None:
        if offer.text is None:
            # The engine would wait for the certificate, and so would all the others behind it.
            self._reading.outcomes.add(offer, "failed", offer.doubt)
            return
        parcel = self._act.parcel(offer, self._clock.time())
        self._open[self._queue.put(parcel.body, parcel.attributes, parcel.trace_header)] = offer

    def _waited(self) -> Ending | None:
        """Wait a little, and see to what the engine has finished. Why not to go on waiting, if there is a reason."""
        stop = self._reading.watch.pause(_TICK)
        self._settle()
        self._reading.source.tend()
        self._reading.tell()
        if stop:
            return "interrupted"
        return "timeout" if self._is_over() else None

    def _is_over(self) -> bool:
        return self._ends_at is not None and self._clock.monotonic() >= self._ends_at

    def _settle(self) -> None:
        finished: list[Offer] = []
        while (ended := self._next()) is not None:
            offer = self._open.get(ended.message.message_id)
            if offer is None:
                continue
            if ended.problem is not None or ended.outcome not in ("accepted", "rejected"):
                self._last[ended.message.message_id] = ended.reason
                continue
            del self._open[ended.message.message_id]
            what, why = _told(ended)
            self._reading.outcomes.add(offer, what, why)
            if what != "failed":
                finished.append(offer)
        self._reading.outcomes.settled(self._reading.source.done(finished))

    def _next(self) -> Ended | None:
        try:
            return self._told.get_nowait()
        except Empty:
            return None

    def _leave(self, offers: list[Offer], why: Ending) -> Ending:
        for offer in offers:
            self._reading.outcomes.add(offer, "left", why)
        return why


def _told(ended: Ended) -> tuple[What, str]:
    """What became of a message that has come to its end."""
    if ended.outcome == "rejected":
        return "failed", ended.reason
    if ended.reason != FORWARDED:
        return "discarded", ended.reason
    # Somebody was quicker: a daemon that had it too, or the mail's other message.
    return ("skipped", SENT_BEFORE) if was_before(ended) else ("forwarded", "")
