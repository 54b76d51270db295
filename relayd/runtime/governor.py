"""How much may be in hand: per dependency a limit that adapts and a breaker, and the least of them all counts.

While a breaker is open nothing is received, so an outage costs no receive count and fills no dead-letter queue. Probes
need no mail; then one message goes first, and more by steps.
"""

import random
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import assert_never

import structlog

from relayd.errors import Dependency, HoldError, RelaydError, TransientError
from relayd.ports import Clock
from relayd.runtime.breaker import Breaker, State
from relayd.runtime.limits import AimdLimit
from relayd.telemetry import instruments
from relayd.telemetry.instruments import Engine

log = structlog.get_logger(__name__)

GOVERNED: tuple[Dependency, ...] = ("s3", "ses", "database", "certificates")
"""What has a limit and a breaker. The mail queue itself has the Poller's backoff."""
TURN = 1.0
"""Seconds between looks for probes that are due."""
SUSPICION_SECONDS = 5.0
"""Between probes of a dependency that failed for a message while its breaker is closed."""
PROBE_SECONDS = 120.0
"""A probe that has not ended by then failed, and the next one may begin: its call has timeouts, but a hung name look-up
heeds none."""
BEHIND = 2.0
"""Seconds after a breaker's next try that those come back which were handed back when it opened. Another message goes
first, or all the tries of a dependency that has no probe would use up the same message's receives.
"""
LONGEST_POLL = 20.0
"""Seconds, SQS's limit: of a poll whose own wait nobody named."""

_SHOWN: dict[State, float] = {"closed": 0.0, "half_open": 1.0, "open": 2.0}

Trouble = HoldError | TransientError
Probe = Callable[[], None]
"""Asks a dependency for something that needs no mail; raises RelaydError when it does not work."""
Line = Callable[[], None]
"""Something for the log and the metrics."""


@dataclass
class _Governed:
    limit: AimdLimit
    breaker: Breaker
    suspected: bool = False
    """It failed for a message, and no probe or message has said since whether it failed for all."""
    probed_at: float = field(default=-SUSPICION_SECONDS)
    """When the last probe began."""
    probing: object | None = None
    """The probe that is under way, if one is."""
    unwell: bool = False
    """Health was told that it does not work, and not yet that it works again."""


class Governor:
    """Limits and breakers of all dependencies. Any thread may ask and tell."""

    def __init__(
        self,
        clock: Clock,
        most: int,
        probes: Mapping[Dependency, Probe] | None = None,
        changed: Callable[[str, str | None], None] = lambda *_: None,
        *,
        dependencies: Collection[Dependency] = GOVERNED,
        wait: float = LONGEST_POLL,
        engine: Engine = "mail",
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`most`: messages in hand when all is well. `changed` is told each dependency whose breaker opened, with the
        reason, and with None when it works again; it must neither block nor ask back. Of others than `dependencies`
        nothing is heard. `wait`: seconds of a long poll.
        """
        self._clock = clock
        self._most = most
        self._wait = wait
        self._engine: Engine = engine
        self._probes = dict(probes or {})
        self._tell = changed
        self._lock = clock.condition()
        self._governed = {name: _Governed(AimdLimit(most), Breaker(spread=spread)) for name in dependencies}
        self._stopping = False

    def allowance(self, in_flight: int) -> int:
        """How many more messages may be taken in hand now."""
        with self._lock:
            allowed = min(self._allowed(governed) for governed in self._governed.values())
        return max(0, allowed - in_flight)

    def pause_left(self) -> float:
        """Seconds until something may be tried; 0 when something may be now."""
        now = self._clock.monotonic()
        with self._lock:
            return max(governed.breaker.left(now) for governed in self._governed.values())

    def heard(self, worked: Collection[Dependency], troubles: Collection[Trouble], subject: str, began: float) -> float:
        """What one message met, that was begun at `began` (monotonic). `subject` names it where an error does not say
        whose it is. Returns the seconds after which it is worth coming back.
        """
        now = self._clock.monotonic()
        said: list[Line] = []
        pause = 0.0
        with self._lock:
            for name in worked:
                said += self._succeeded(name, began, now)
            for trouble in troubles:
                if trouble.dependency in self._governed:
                    said += self._failed(trouble, subject, began, now)
                    pause = max(pause, self._pause(trouble, now))
        _say(said)
        return pause

    def held(self) -> dict[str, str]:
        """Dependency and reason of every breaker that is not closed."""
        with self._lock:
            return {
                name: governed.breaker.reason
                for name, governed in self._governed.items()
                if governed.breaker.state != "closed"
            }

    def states(self) -> dict[str, dict[str, object]]:
        """Limit and breaker of each dependency, for `/status` and metrics."""
        now = self._clock.monotonic()
        with self._lock:
            return {
                name: {
                    "limit": self._allowed(governed),
                    "breaker": governed.breaker.state,
                    "reason": governed.breaker.reason,
                    "probe_in_seconds": round(governed.breaker.left(now), 1),
                }
                for name, governed in self._governed.items()
            }

    def standing(self) -> tuple[int, str]:
        """The least limit, and the breakers that are not closed, as `ses=open,s3=half_open`."""
        with self._lock:
            least = min(self._allowed(governed) for governed in self._governed.values())
            states = ((name, governed.breaker.state) for name, governed in self._governed.items())
            return least, ",".join(f"{name}={state}" for name, state in states if state != "closed")

    def limits(self) -> dict[str, float]:
        """Messages that may be in hand, by dependency."""
        with self._lock:
            return {name: float(self._allowed(governed)) for name, governed in self._governed.items()}

    def breakers(self) -> dict[str, float]:
        """0 closed, 1 half open, 2 open, by dependency."""
        with self._lock:
            return {name: _SHOWN[governed.breaker.state] for name, governed in self._governed.items()}

    # Probes, each on a thread of its own: one that hangs must not keep the others.

    def run(self) -> None:
        """Begin what probes are due until told to stop."""
        while not self._stopping:
            try:
                self._begin_probes()
            except Exception:
                # Nobody else would ever let a breaker try again.
                log.exception("probe_failed")
            with self._lock:
                if not self._stopping:
                    self._lock.wait(TURN)

    def stop(self) -> None:
        """Begin no other probe."""
        with self._lock:
            self._stopping = True
            self._lock.notify_all()

    def _begin_probes(self) -> None:
        now = self._clock.monotonic()
        for name, governed in self._governed.items():
            with self._lock:
                hung = governed.probing if now - governed.probed_at >= PROBE_SECONDS else None
                due = governed.probing is None and self._is_due(name, now)
                probe = object()
                if due:
                    governed.probing, governed.probed_at = probe, now
            if hung is not None:
                self._probed(name, hung, HoldError(name, "probe_hung"))
            elif due and name in self._probes:
                self._clock.spawn(f"probe-{name}", partial(self._probe, name, probe))
            elif due:
                # Without a probe, the first message is one.
                self._probed(name, probe, None)

    def _probe(self, name: Dependency, probe: object) -> None:
        found: RelaydError | None = None
        try:
            self._probes[name]()
        except RelaydError as error:
            # What throttles, or is busy, works.
            found = None if isinstance(error, TransientError) and not error.charged else error
        except Exception:
            log.exception("probe_failed", dependency=name)
            found = RelaydError("bug")
        self._probed(name, probe, found)

    def _probed(self, name: Dependency, probe: object, found: RelaydError | None) -> None:
        governed = self._governed[name]
        now = self._clock.monotonic()
        said: list[Line] = []
        with self._lock:
            if governed.probing is not probe:
                # Too late: it was taken for hung.
                return
            governed.probing = None
            governed.suspected = False
            if governed.breaker.state == "open":
                if governed.breaker.probed(now, found.reason if found else None):
                    governed.limit.start_at(self._most)
                    said.append(self._changed(name, now))
            elif found is not None:
                hold = HoldError(name, found.reason, retry_after=getattr(found, "retry_after", None))
                if governed.breaker.met(hold, name, now):
                    said.append(self._changed(name, now))
        _say(said)

    # All of these are called with the lock.

    def _is_due(self, name: Dependency, now: float) -> bool:
        governed = self._governed[name]
        if governed.breaker.state != "closed":
            return governed.breaker.probe_due(now)
        return governed.suspected and name in self._probes and now - governed.probed_at >= SUSPICION_SECONDS

    def _allowed(self, governed: _Governed) -> int:
        return min(governed.limit.value, governed.breaker.allowance(self._most))

    def _succeeded(self, name: Dependency, began: float, now: float) -> Iterator[Line]:
        governed = self._governed.get(name)
        if governed is None or governed.breaker.is_older(began):
            return
        governed.suspected = False
        before = governed.breaker.state
        governed.limit.succeeded()
        governed.breaker.succeeded(now, self._most)
        if governed.breaker.state != before:
            yield self._changed(name, now)
        if governed.unwell:
            # The first message that got through; the steps up to all slots may take their time.
            self._is_well(name)

    def _failed(self, trouble: Trouble, subject: str, began: float, now: float) -> Iterator[Line]:
        assert trouble.dependency is not None  # the caller has looked
        governed = self._governed[trouble.dependency]
        if isinstance(trouble, HoldError) and not trouble.wide:
            # Fewer in hand would not help one object's trouble, and slow down all the others.
            opened = governed.breaker.met(trouble, trouble.subject or subject, now)
        else:
            if governed.limit.failed(began, now):
                yield partial(_say_lowered, trouble.dependency, governed.limit.value, trouble.reason)
            opened = self._is_outage(governed, trouble, subject, began, now)
        if opened:
            yield self._changed(trouble.dependency, now)

    def _is_outage(self, governed: _Governed, trouble: Trouble, subject: str, began: float, now: float) -> bool:
        """Whether the breaker opened."""
        if isinstance(trouble, HoldError):
            return governed.breaker.met(trouble, subject, now)
        if not trouble.charged or governed.breaker.is_older(began):
            # Throttling slows the pace and lowers the limit; it is no outage.
            return False
        governed.suspected = True
        self._lock.notify_all()
        return governed.breaker.failed(now, trouble.reason)

    def _pause(self, trouble: Trouble, now: float) -> float:
        """Not back before it is worth a try. What may be one object's trouble keeps its own, growing delay."""
        if isinstance(trouble, HoldError) and not trouble.wide:
            return 0.0
        assert trouble.dependency is not None  # the caller has looked
        breaker = self._governed[trouble.dependency].breaker
        # A poll that was open when the breaker opened would take back at once what comes back before its end.
        return max(breaker.left(now), self._wait) + BEHIND if breaker.state == "open" else 0.0

    def _changed(self, name: Dependency, now: float) -> Line:
        """A breaker changed. Health is told now, so that it hears of changes in their order; the rest is said outside
        of the lock, which probes of health take too: a log that blocks must not block them.
        """
        governed = self._governed[name]
        state, reason = governed.breaker.state, governed.breaker.reason
        if state == "open":
            governed.unwell = True
            self._tell(name, reason)
        elif governed.unwell and (state == "closed" or name in self._probes):
            self._is_well(name)
        return partial(_say_changed, self._engine, name, state, reason, round(governed.breaker.left(now), 1))

    def _is_well(self, name: Dependency) -> None:
        self._governed[name].unwell = False
        self._tell(name, None)


def _say(lines: Collection[Line]) -> None:
    """Tell log and metrics, without the lock."""
    for line in lines:
        line()


def _say_lowered(name: Dependency, limit: int, reason: str) -> None:
    log.info("limit_lowered", dependency=name, limit=limit, reason=reason)


def _say_changed(engine: Engine, name: Dependency, state: State, reason: str, left: float) -> None:
    instruments.breaker(engine, name, state)
    match state:
        case "open":
            log.error("breaker_opened", dependency=name, reason=reason, probe_in_seconds=left)
        case "half_open":
            log.warning("breaker_trying", dependency=name)
        case "closed":
            log.info("breaker_closed", dependency=name)
        case _:
            assert_never(state)
