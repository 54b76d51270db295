"""The way by the mail queue: seal, send, and only then take from the source."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from relayd.adapters.injecting import Parcel, fitting
from relayd.errors import RelaydError
from relayd.ops.patience import patiently
from relayd.ops.replay.offers import Offer
from relayd.ops.replay.reading import Ending, Reading
from relayd.ports import Clock
from relayd.runtime.gates import Ration
from relayd.wire import own

_PACE_SECONDS = 0.2
"""Between two looks at whether the rate allows another one."""


class Post(Protocol):
    """What `relayd.adapters.injecting.Injector` is here."""

    def post(self, parcels: Sequence[Parcel]) -> list[str | None]: ...


@dataclass(frozen=True, slots=True)
class Act:
    """What the messages of one replay have in common."""

    replay_id: str
    """The same in all of them: it frees a delivery once, even where a source holds its mail twice."""
    again: bool
    secrets: Sequence[bytes] = field(repr=False)

    def parcel(self, offer: Offer, now: float) -> Parcel:
        """The message that puts an offer through again. What could not be verified here goes as it came: our word for
        it would be believed.
        """
        if offer.text is None:
            assert offer.original is not None  # with neither, it has a problem
            return Parcel(offer.original, offer.attributes, offer.trace_header)
        body = own.seal(
            offer.text,
            released=offer.released,
            secrets=self.secrets,
            now=now,
            replay=self.replay_id,
            again=self.again,
            first_received_at=offer.first_received_at,
        )
        return Parcel(body, offer.attributes, offer.trace_header)


class Sending:
    """Sends what a reading chooses. It may be stopped between any two calls: what was sent has left its source by then,
    and what was not is still there.
    """

    def __init__(self, reading: Reading, post: Post, act: Act, clock: Clock, *, rate: float | None = None) -> None:
        """`rate`: messages a second."""
        self._reading = reading
        self._post = post
        self._act = act
        self._clock = clock
        self._ration = Ration(clock, rate=rate)

    def run(self) -> Ending:
        """Raises ConfigurationError where the queue takes nothing from here, TransientError for an outage that outlasts
        some tries, and what the reading raises; what was done until then is counted.
        """
        try:
            for offers in self._reading.chosen():
                if not self._send(offers):
                    return "interrupted"
        finally:
            self._reading.source.close()
        return self._reading.ending

    def _send(self, offers: Sequence[Offer]) -> bool:
        """Send these, at the rate. False when a stop was wanted meanwhile."""
        now = self._clock.time()
        left = [(offer, self._act.parcel(offer, now)) for offer in offers]
        while left:
            allowed = self._ration.allowance()
            if allowed == 0:
                self._reading.source.tend()
                if self._reading.watch.pause(_PACE_SECONDS):
                    for offer, _ in left:
                        self._reading.outcomes.add(offer, "left", "interrupted")
                    return False
                continue
            count = min(allowed, fitting([parcel.size for _, parcel in left]))
            call, left = left[:count], left[count:]
            self._ration.took(count)
            self._call(call)
        return True

    def _call(self, call: Sequence[tuple[Offer, Parcel]]) -> None:
        """In this order: a crash between sending and taking away leads to a message too many, which the ledger absorbs,
        and never to a lost one. So does a call whose answer was lost, and that is made again.
        """
        outcomes, source = self._reading.outcomes, self._reading.source
        try:
            codes = patiently(self._clock, lambda: self._post.post([parcel for _, parcel in call]))
        except RelaydError as error:
            for offer, _ in call:
                outcomes.add(offer, "failed", error.reason)
            raise
        for (offer, _), code in zip(call, codes, strict=True):
            outcomes.add(offer, *(("sent", "") if code is None else ("failed", code)))
            outcomes.unverified += code is None and offer.text is None
        sent = [offer for (offer, _), code in zip(call, codes, strict=True) if code is None]
        outcomes.settled(source.done(sent))
        self._reading.tell()
