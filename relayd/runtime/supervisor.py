"""The Supervisor: starts the engine's threads and, on a stop, ends them in the one order that loses nothing."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from relayd.errors import Dependency, RelaydError
from relayd.ports import Clock, Queue, Thread
from relayd.runtime.ages import Ages
from relayd.runtime.gates import Gate
from relayd.runtime.governor import GOVERNED, Governor, Probe
from relayd.runtime.health import HealthState
from relayd.runtime.leases import Keeper, Lease
from relayd.runtime.poller import Polled, Poller
from relayd.runtime.settler import Settler
from relayd.runtime.slots import Slots
from relayd.runtime.turn import Route, Turn
from relayd.runtime.watching import Watcher
from relayd.runtime.workers import Workers
from relayd.telemetry.instruments import Engine

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 3.0
"""Kept back from the grace for what follows the last send: its record, the settlements, the telemetry. Settling and
recording take milliseconds; three seconds bear one try that times out."""
WEDGED_MARGIN = 10.0
"""Seconds past its deadline after which a message's worker counts as wedged (a hung name look-up does it)."""


CHORE_FIRST = 60.0


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What the engine needs to know, in seconds."""

    concurrency: int
    wait: float
    visibility: float
    deadline: float
    grace: float


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do every so often beside the mail (pruning the ledger)."""

    name: str
    every: float
    do: Callable[[], None]
    stop: Callable[[], None] = lambda: None
    """Told before the engine ends: begin nothing new."""
    at_once: bool = False
    """At the start too, and not only after a minute."""


class Supervisor:
    """The engine: queue in, relay in the middle, settlements out."""

    def __init__(
        self,
        queue: Queue,
        route: Route,
        clock: Clock,
        health: HealthState,
        settings: EngineSettings,
        chores: Sequence[Chore] = (),
        *,
        polled: Polled | None = None,
        probes: Mapping[Dependency, Probe] | None = None,
        governed: Collection[Dependency] = GOVERNED,
        gates: Sequence[Gate] = (),
        watchers: Sequence[Watcher] = (),
        engine: Engine = "mail",
    ) -> None:
        """`governed`: dependencies that the route needs, and that may hold it. `gates` may keep messages in the queue;
        `watchers` are told how each one ended. `engine`: whose queue it is, for the metrics.
        """
        self._queue = queue
        self._clock = clock
        self._settings = settings
        self._health = health
        self._chores = (*chores, Chore("wedged", WEDGED_MARGIN, self._tell_wedged))
        self._told_wedged: set[Lease] = set()
        self._chore_threads: list[Thread] = []
        self._polled = polled
        self._gates = gates
        self._stop = clock.condition()
        self._stopping = False
        self.engine: Engine = engine
        self.slots = Slots(clock, settings.concurrency)
        self.governor = Governor(
            clock,
            settings.concurrency,
            probes,
            health.condition,
            dependencies=governed,
            wait=settings.wait,
            engine=engine,
        )
        self.keeper = Keeper(queue, clock, visibility=settings.visibility, deadline=settings.deadline, engine=engine)
        self.settler = Settler(queue, clock, bound=settings.concurrency * 2, engine=engine)
        self.ages = Ages(clock, lambda: [lease.message for lease in self.keeper.in_hand()])
        self._turn = Turn(
            route,
            queue,
            clock,
            keeper=self.keeper,
            settler=self.settler,
            governor=self.governor,
            condition=health.condition,
            watchers=watchers,
            engine=engine,
        )
        self._route = route
        self._workers = Workers(clock, self.slots, self._turn)
        self._poller: Poller | None = None

    def start(self) -> None:
        """Begin to poll."""
        self._health.watch(slots=self.slots.limit, wedged=self.wedged, paused=lambda: bool(self.governor.held()))
        self._health.poll_turned(self._clock.monotonic())
        self._poller = Poller(
            self._queue,
            self._clock,
            slots=self.slots,
            keeper=self.keeper,
            governor=self.governor,
            health=self._health,
            submit=self._workers.submit,
            late=self._turn.hand_back,
            wait=self._settings.wait,
            stuck=self.wedged,
            polled=self._polled,
            gates=self._gates,
            ages=self.ages,
        )
        self._clock.spawn("prober", self.governor.run)
        self._chore_threads = [self._clock.spawn(chore.name, partial(self._repeat, chore)) for chore in self._chores]

    def stop(self) -> bool:
        """End within the grace. True when everything in hand was finished or handed back, and told to the queue.

        The order matters, each line of it.
        """
        deadline = self._clock.monotonic() + self._settings.grace
        log.info("stopping", in_flight=self.in_flight(), grace_seconds=self._settings.grace)
        self._health.condition("stopping", "stopping")
        self._end_chores()
        # A send begins from now on only if it ends before the deadline; other workers give their claim back.
        self.keeper.end_sends_at(deadline - FLUSH_SECONDS)
        polled_out = True
        if self._poller is not None:
            # An open poll is never aborted: SQS may still be handing it messages.
            self._turn.park()
            self._poller.stop()
            polled_out = self._poller.join(self._left(deadline - FLUSH_SECONDS))
        if polled_out:
            # What the last poll brought was not begun, and workers gave back: no poll of ours can take it again now.
            self._turn.unpark()
        idle = self.slots.wait_idle(self._left(deadline - FLUSH_SECONDS))
        self._workers.stop()
        for thread in self._chore_threads:
            thread.join(self._left(deadline - FLUSH_SECONDS))
        # What the ledger is owed is known to nobody else. In a thread, because a database may hang.
        self._clock.spawn("debts", self._pay_debts).join(self._left(deadline - FLUSH_SECONDS / 2))
        flushed = self.settler.stop(self._left(deadline))
        # Last of all, because until here leases had to outlive the work and its settlement.
        self.keeper.stop(self._left(deadline))
        clean = polled_out and idle and flushed
        log.info("stopped", clean=clean, unfinished=self.in_flight(), unsettled=self.settler.pending())
        return clean

    def status(self) -> dict[str, object]:
        """What is going on right now, for `/status`. Ids, counts and seconds only."""
        now = self._clock.monotonic()
        in_hand = self.keeper.in_hand()
        return {
            "slots": self.slots.limit,
            "in_flight": len(in_hand),
            "unsettled": self.settler.pending(),
            "oldest_in_flight_seconds": round(now - in_hand[0].received_at, 1) if in_hand else 0.0,
            "wedged": self.wedged(),
            "held": self.governor.held(),
            "dependencies": self.governor.states(),
            "stopping": self._stopping,
        }

    def in_flight(self) -> int:
        """Messages in hand, from their receive until they are settled. (A slot may also be kept for an open poll.)"""
        return len(self.keeper.in_hand())

    def wedged(self) -> int:
        """How many messages are past their deadline, and a margin, and still being worked on."""
        return len(self._wedged())

    def _wedged(self) -> set[Lease]:
        limit = self._clock.monotonic() - WEDGED_MARGIN
        return {lease for lease in self.keeper.in_hand() if lease.deadline < limit}

    def _tell_wedged(self) -> None:
        """Name each stuck worker once: its thread can be looked for (py-spy dump), and nothing else tells of it."""
        found = self._wedged()
        now = self._clock.monotonic()
        for lease in found - self._told_wedged:
            past = round(now - lease.deadline, 1)
            message_id = lease.message.message_id
            log.error("worker_wedged", worker=lease.worker, message_id=message_id, seconds_past_deadline=past)
        self._told_wedged = found

    def _pay_debts(self) -> None:
        try:
            self._route.pay_debts()
        except RelaydError as error:
            log.warning("debts_unpaid", reason=error.reason)

    def _left(self, deadline: float) -> float:
        return max(0.0, deadline - self._clock.monotonic())

    def _end_chores(self) -> None:
        with self._stop:
            self._stopping = True
            self._stop.notify_all()
        self.governor.stop()
        for chore in self._chores:
            chore.stop()

    def _repeat(self, chore: Chore) -> None:
        # Soon after the start as well: a daemon that is restarted each day would never come to a daily chore.
        wait = 0.0 if chore.at_once else min(CHORE_FIRST, chore.every)
        while not self._stopped_within(wait):
            wait = chore.every
            try:
                chore.do()
            except RelaydError as error:
                # A chore that fails is tried again at its next time; mail does not wait for it.
                log.warning("chore_failed", chore=chore.name, reason=error.reason)
            except Exception:
                log.exception("chore_failed", chore=chore.name)

    def _stopped_within(self, seconds: float) -> bool:
        with self._stop:
            return self._stopping or (self._stop.wait(seconds) and self._stopping)
