"""A move task watched: to its end, until somebody wants a stop, or until it goes round in circles."""

import pytest

from relayd.adapters.move_tasks import Move, MoveStatus
from relayd.errors import TransientError
from relayd.ops.replay.moving import watch
from tests.fakes.clock import VirtualClock


class FakeTasks:
    """One task, that moves so many messages a second."""

    def __init__(self, clock: VirtualClock, total: int, rate: float, *, comes_back: bool = False) -> None:
        self._clock = clock
        self._total = total
        self._rate = rate
        self._comes_back = comes_back
        self._began = clock.monotonic()
        self.cancelled: list[str] = []
        self.outages = 0
        self.failure = ""

    def latest(self) -> Move | None:
        if self.outages:
            self.outages -= 1
            raise TransientError("queue_timeout")
        moved = int((self._clock.monotonic() - self._began) * self._rate)
        moved = moved if self._comes_back else min(moved, self._total)
        status: MoveStatus = "RUNNING" if moved < self._total or self._comes_back else "COMPLETED"
        if self.failure:
            status = "FAILED"
        return Move("CANCELLED" if self.cancelled else status, moved, self._total, self.failure)

    def cancel(self, handle: str) -> None:
        self.cancelled.append(handle)


def watched(tasks: FakeTasks, clock: VirtualClock, stop_at: float = 1e9) -> tuple[Move | None, str, list[int]]:
    seen: list[int] = []
    began = clock.monotonic()

    def pause(seconds: float) -> bool:
        clock.sleep(seconds)
        return clock.monotonic() - began >= stop_at

    move, called_off = watch(tasks, "handle", clock, pause, lambda move: seen.append(move.moved))
    return move, called_off, seen


def test_to_its_end() -> None:
    """With its progress on the way, and an outage borne."""
    clock = VirtualClock()
    tasks = FakeTasks(clock, 100, 10)
    tasks.outages = 3
    move, called_off, seen = watched(tasks, clock)
    assert move == Move("COMPLETED", 100, 100)
    assert (called_off, tasks.cancelled) == ("", [])
    assert seen == sorted(seen)
    assert len(seen) >= 9


def test_a_stop_calls_it_off() -> None:
    """Once, by its handle; what was moved is told."""
    clock = VirtualClock()
    tasks = FakeTasks(clock, 100, 10)
    move, called_off, _ = watched(tasks, clock, stop_at=3.0)
    assert move is not None
    assert (move.status, called_off, tasks.cancelled) == ("CANCELLED", "interrupted", ["handle"])
    assert move.moved == 30


@pytest.mark.parametrize(("total", "comes_back"), [(100, True), (1000, True), (1000, False)])
def test_circles_are_broken(total: int, comes_back: bool) -> None:
    """Dead letters that are dead again at once would be moved for ever, 36 hours long as SQS has it."""
    clock = VirtualClock()
    tasks = FakeTasks(clock, total, 500, comes_back=comes_back)
    move, called_off, _ = watched(tasks, clock)
    assert move is not None
    assert called_off == ("circles" if comes_back else "")
    assert move.moved <= 2 * total + 100 + 1000


def test_a_failure_is_told() -> None:
    """With SQS's own code."""
    clock = VirtualClock()
    tasks = FakeTasks(clock, 100, 10)
    tasks.failure = "AWS.SimpleQueueService.NonExistentQueue"
    move, _, _ = watched(tasks, clock)
    assert move is not None
    assert (move.is_over, move.failure) == (True, "AWS.SimpleQueueService.NonExistentQueue")


def test_a_task_that_sqs_forgot() -> None:
    """There is nothing to tell of it."""
    clock = VirtualClock()

    class Forgetful(FakeTasks):
        def latest(self) -> Move | None:
            return None

    assert watched(Forgetful(clock, 1, 1), clock)[:2] == (None, "")
