"""A source read through, and what of it is to be put through: the same for a look, for the queue and for the engine."""

from collections.abc import Iterator
from typing import Literal, Protocol

from relayd.ops.replay.choosing import CAME_BACK, PASSED_OVER, SEND, Weigher
from relayd.ops.replay.ended import SENT_BEFORE
from relayd.ops.replay.offers import Offer, Source
from relayd.ops.replay.outcomes import Outcomes

Ending = Literal["finished", "limit", "timeout", "interrupted"]
"""`limit`: as many were put through as were asked for."""


class Watch(Protocol):
    """Whoever looks on."""

    def pause(self, seconds: float) -> bool:
        """Wait so long. Whether a stop is wanted."""
        ...

    def shown(self, done: int, total: int | None, note: str) -> None:
        """So many offers are done with, of about so many."""
        ...


class Reading:
    """One reading of one source. What is skipped or passed over is counted on the way."""

    def __init__(
        self,
        source: Source,
        weigher: Weigher,
        outcomes: Outcomes,
        watch: Watch,
        *,
        limit: int | None = None,
        acts: bool = True,
    ) -> None:
        """`limit`: put through at most so many. `acts`: take out of the source what it need not keep any more; a mere
        look leaves it as it is.
        """
        self.source = source
        self.outcomes = outcomes
        self.watch = watch
        self.ending: Ending = "finished"
        self._weigher = weigher
        self._left = limit
        self._acts = acts
        self._total: int | None = None

    def chosen(self) -> Iterator[list[Offer]]:
        """What is to be put through, a portion at a time, perhaps an empty one. It ends early where a stop is wanted,
        or with the limit. Raises RelaydError where no more can be read, or the ledger cannot be asked.
        """
        self._total = self.source.total()
        self.tell()
        for offers in self.source.offers():
            yield self._within_limit(self._sorted(offers))
            self.outcomes.remark = self.source.remark()
            self.tell()
            if self._left == 0:
                self.ending = "limit"
                return
            if self.watch.pause(0.0):
                self.ending = "interrupted"
                return

    def tell(self) -> None:
        """Let whoever looks on know how far it is."""
        self.watch.shown(self.outcomes.told, self._total, self.outcomes.remark)

    def _within_limit(self, offers: list[Offer]) -> list[Offer]:
        if self._left is None:
            return offers
        kept = offers[: self._left]
        self._left -= len(kept)
        self.outcomes.passed_over += len(offers) - len(kept)
        return kept

    def _sorted(self, offers: list[Offer]) -> list[Offer]:
        wanted: list[Offer] = []
        over: list[Offer] = []
        for weighed in self._weigher.weigh(offers):
            if weighed.verdict == SEND:
                wanted.append(weighed.offer)
            elif weighed.verdict == PASSED_OVER:
                self.outcomes.passed_over += 1
            elif weighed.verdict == CAME_BACK:
                self.outcomes.came_back += 1
            else:
                self.outcomes.add(weighed.offer, "skipped", weighed.verdict)
                # Left behind by a crash between a send and the deletion that follows it. What nobody verified is not
                # believed to be about that mail.
                if weighed.verdict == SENT_BEFORE and weighed.offer.text is not None:
                    over.append(weighed.offer)
        if self._acts and over:
            self.outcomes.removed += list(self.source.done(over)).count(None)
        return wanted


def look(reading: Reading) -> Ending:
    """Count what would be put through, and do nothing: the reading must not act."""
    try:
        for offers in reading.chosen():
            for offer in offers:
                reading.outcomes.add(offer, "would_send")
    finally:
        reading.source.close()
    return reading.ending
