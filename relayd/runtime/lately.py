"""Figures that somebody else has to be asked for: now and then, beside the mail, and told as long as they are fresh."""

from collections.abc import Callable, Mapping

import structlog

from relayd.errors import HoldError, RelaydError
from relayd.ports import Clock

log = structlog.get_logger(__name__)

Figures = Mapping[str, float]

REFUSED_SECONDS = 300.0
"""Before somebody is asked again who refused to tell: a missing right, or a missing queue, takes a person to mend."""


class Lately:
    """What was last told, and when. `look` is called by one thread, `told` by any."""

    def __init__(self, clock: Clock, ask: Callable[[], Figures], *, fresh: float) -> None:
        """`fresh`: seconds after which what was told says nothing any more."""
        self._clock = clock
        self._ask = ask
        self._fresh = fresh
        self._told: tuple[float, Figures] | None = None

    def look(self) -> None:
        """Ask. Raises what the asking raises."""
        self._told = (self._clock.monotonic(), dict(self._ask()))

    def told(self) -> Figures:
        """The figures; none where nobody has told any lately."""
        if self._told is None:
            return {}
        at, figures = self._told
        return figures if self._clock.monotonic() - at <= self._fresh else {}


class Depths:
    """How much is in each queue. That one of them does not tell keeps none of the others from telling."""

    def __init__(self, clock: Clock, queues: Mapping[str, Callable[[], Figures]], *, fresh: float) -> None:
        self._clock = clock
        self._queues = {name: Lately(clock, ask, fresh=fresh) for name, ask in queues.items()}
        self._not_before: dict[str, float] = {}

    def look(self) -> None:
        """Ask all of them."""
        for name, queue in self._queues.items():
            if self._clock.monotonic() >= self._not_before.get(name, 0.0):
                self._look_at(name, queue)

    def _look_at(self, name: str, queue: Lately) -> None:
        try:
            queue.look()
        except HoldError as error:
            self._not_before[name] = self._clock.monotonic() + REFUSED_SECONDS
            log.warning("depth_unknown", queue=name, reason=error.reason, detail=error.detail)
        except RelaydError as error:
            log.info("depth_unknown", queue=name, reason=error.reason)

    def told(self) -> dict[str, Callable[[], Figures]]:
        """By queue, what tells its figures."""
        return {name: queue.told for name, queue in self._queues.items()}
