"""What the metrics ask of the daemon's parts each time that they are collected: cached state, nothing that waits."""

from collections.abc import Callable, Mapping

from relayd.ports import Clock
from relayd.runtime.health import HealthState
from relayd.runtime.memory import MemoryBudget
from relayd.runtime.pace import Pace
from relayd.runtime.pausing import StandingOrders
from relayd.runtime.supervisor import Supervisor
from relayd.telemetry import names
from relayd.telemetry.instruments import POOL
from relayd.telemetry.watched import watch


def watch_engine(supervisor: Supervisor) -> None:
    """What one engine has in hand, and may have."""
    queue, governor = supervisor.engine, supervisor.governor
    watch(names.IN_FLIGHT, _one(supervisor.in_flight), queue=queue)
    watch(names.SLOTS, _one(lambda: supervisor.slots.limit), queue=queue)
    watch(names.UNSETTLED, _one(supervisor.settler.pending), queue=queue)
    watch(names.WEDGED, _one(supervisor.wedged), queue=queue)
    watch(names.LIMIT, governor.limits, "dependency", queue=queue)
    watch(names.BREAKER, governor.breakers, "dependency", queue=queue)
    watch(names.QUEUE_OLDEST, supervisor.ages.oldest, "received", queue=queue)


def watch_health(health: HealthState, clock: Clock) -> None:
    """Whether the pollers turn, and what stands against being ready."""
    watch(names.POLL_AGE, lambda: health.turned_ago(clock.monotonic()), "queue")
    watch(names.UNREADY, lambda: dict.fromkeys(health.ready()[1], 1.0), "condition")


def watch_memory(memory: MemoryBudget) -> None:
    """The byte budget."""
    watch(names.MEMORY_RESERVED, _one(lambda: memory.reserved))
    watch(names.MEMORY_BUDGET, _one(lambda: memory.total))
    watch(names.MEMORY_WAITING, _one(lambda: memory.waiting))


def watch_pace(pace: Pace) -> None:
    """What SES lets through."""
    watch(names.PACE, _one(lambda: pace.rate or 0.0))
    watch(names.PACE_ACCOUNT, _one(lambda: pace.account_rate or 0.0))
    watch(names.PACE_WAITING, _one(lambda: pace.waiting))


def watch_pool(connections: Callable[[], Mapping[str, float]], most: int, waiting: Callable[[], int]) -> None:
    """The database's connections, by their state."""
    watch(names.CONNECTIONS, connections, names.CONNECTION_STATE, **POOL)
    watch(names.CONNECTIONS_MAX, _one(lambda: most), **POOL)
    watch(names.CONNECTIONS_PENDING, _one(waiting), **POOL)


def watch_directory(figures: Callable[[], Mapping[str, float]]) -> None:
    """Masks, and the notices that wait: figures of `relayd.adapters.census`."""
    states = ("enabled", "disabled")
    watch(names.MASKS, lambda: {name: found for name, found in figures().items() if name in states}, "state")
    watch(names.NOTICES_WAITING, lambda: _some(figures().get("notices")))


def watch_depths(depths: Mapping[str, Callable[[], Mapping[str, float]]]) -> None:
    """How much is in the queues."""
    for queue, figures in depths.items():
        watch(names.QUEUE_DEPTH, figures, "state", queue=queue)


def watch_pauses(orders: StandingOrders) -> None:
    """What operators hold back."""
    watch(names.PAUSED, orders.gauge, "scope")


def watch_debts(owed: Callable[[], int]) -> None:
    """What the ledger could not be told yet."""
    watch(names.LEDGER_DEBTS, _one(owed))


def _one(value: Callable[[], float]) -> Callable[[], Mapping[str, float]]:
    return lambda: {"": value()}


def _some(value: float | None) -> Mapping[str, float]:
    return {} if value is None else {"": value}
