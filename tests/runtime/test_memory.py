"""The byte budget: never beyond it, first come first served, and every byte is given back. Virtual time."""

import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.errors import TransientError
from relayd.runtime.clock import SystemClock
from relayd.runtime.memory import FREE_BYTES, PER_BYTE, MemoryBudget
from tests.fakes.clock import VirtualClock

TOTAL = 12_000_000
LARGE = TOTAL // PER_BYTE
"""A mail that takes all of it."""
SMALL = LARGE // 4


def within(clock: VirtualClock, seconds: float) -> Callable[[], float]:
    """Patience that ends so many seconds from now."""
    deadline = clock.monotonic() + seconds
    return lambda: deadline - clock.monotonic()


class Fixture:
    """A budget and mails that take it, with what happened to each."""

    def __init__(self, total: int = TOTAL) -> None:
        self.clock = VirtualClock()
        self.budget = MemoryBudget(self.clock, total)
        self.total = total
        self.began: list[tuple[str, float]] = []
        self.refused: list[tuple[str, float]] = []
        self.errors: list[TransientError] = []

    def mail(self, name: str, size: int, *, at: float = 0.0, takes: float = 1.0, patience: float = 1e6) -> None:
        def work() -> None:
            self.clock.sleep(at)
            try:
                with self.budget.reserve(size, within(self.clock, patience)):
                    assert 0 <= self.budget.reserved <= self.total
                    self.began.append((name, self.clock.monotonic()))
                    self.clock.sleep(takes)
            except TransientError as error:
                self.errors.append(error)
                self.refused.append((name, self.clock.monotonic()))

        self.clock.spawn(name, work)


def test_six_times_the_size_is_reserved_and_given_back() -> None:
    """For as long as the context lasts, and not longer, whatever ends it."""
    world = Fixture()
    with world.budget.reserve(SMALL, lambda: 0.0):
        assert world.budget.reserved == SMALL * PER_BYTE
        with world.budget.reserve(SMALL, lambda: 0.0):
            assert world.budget.reserved == 2 * SMALL * PER_BYTE
    assert world.budget.reserved == 0
    with pytest.raises(ZeroDivisionError), world.budget.reserve(SMALL, lambda: 0.0):
        raise ZeroDivisionError
    assert world.budget.reserved == 0


def test_there_is_no_waiting_without_patience() -> None:
    """And a refusal costs nothing: no byte, no time, and the next one that fits is let in."""
    world = Fixture()
    with world.budget.reserve(LARGE, lambda: 0.0):
        with pytest.raises(TransientError, match="memory_full"), world.budget.reserve(SMALL, lambda: -1.0):
            pytest.fail("it was let in")
        assert world.clock.monotonic() == 0.0
    with world.budget.reserve(SMALL, lambda: 0.0):
        assert world.budget.reserved == SMALL * PER_BYTE


def test_mails_that_are_small_enough_are_free() -> None:
    """They neither count nor wait, though all is taken and others stand in line."""
    world = Fixture()
    world.mail("large", LARGE, takes=100)
    world.mail("waiting", LARGE, at=1)
    world.mail("free", FREE_BYTES, at=2)
    world.mail("counted", FREE_BYTES + 1, at=2)
    world.clock.sleep(50)
    assert world.began == [("large", 0.0), ("free", 2.0)]
    assert world.budget.reserved == LARGE * PER_BYTE


def test_a_large_one_s_turn_comes_though_small_ones_keep_coming() -> None:
    """First come, first served: the small ones behind it wait for the moment, and then go on."""
    world = Fixture()
    for number in range(200):
        world.mail(f"small-{number}", SMALL, at=number * 0.3, takes=1.0)
    world.mail("large", LARGE, at=5.0, takes=2.0)
    world.clock.sleep(120)
    [began] = [at for name, at in world.began if name == "large"]
    assert began <= 6.1
    assert len(world.began) == 201
    assert world.budget.reserved == 0


def test_they_are_served_in_the_order_they_came() -> None:
    """Whatever their sizes."""
    world = Fixture()
    sizes = [LARGE, SMALL, LARGE, SMALL, SMALL, LARGE, LARGE, SMALL]
    for number, size in enumerate(sizes):
        world.mail(str(number), size, at=number * 0.01, takes=3.0)
    world.clock.sleep(100)
    assert [name for name, _ in world.began] == [str(number) for number in range(len(sizes))]


def test_a_mail_that_is_larger_than_all_of_it_goes_alone() -> None:
    """Refused, it would never go; with others, there would be no budget."""
    world = Fixture()
    world.mail("first", SMALL, takes=3.0)
    world.mail("huge", LARGE * 20, at=1.0, takes=3.0)
    world.mail("behind", SMALL, at=2.0)
    world.clock.sleep(30)
    assert world.began == [("first", 0.0), ("huge", 3.0), ("behind", 6.0)]


def test_whoever_waits_goes_on_at_once() -> None:
    """In the moment in which memory is given back, whenever it last looked at its patience."""
    world = Fixture()
    world.mail("first", LARGE, takes=1.5)
    world.mail("second", LARGE, at=0.3)
    world.clock.sleep(10)
    assert world.began == [("first", 0.0), ("second", 1.5)]


def test_whoever_gives_up_lets_the_next_one_by() -> None:
    """The head of the line runs out of patience: those behind it need not wait for what it wanted."""
    world = Fixture()
    world.mail("holds", SMALL, takes=100.0)
    world.mail("large", LARGE, at=1.0, patience=10.0)
    world.mail("small", SMALL, at=2.0)
    world.clock.sleep(50)
    assert dict(world.refused) == pytest.approx({"large": 11.0})
    assert [(error.reason, error.charged) for error in world.errors] == [("memory_full", False)]
    assert world.began == [("holds", 0.0), ("small", pytest.approx(11.0))]


def test_a_wait_ends_when_patience_is_cut_short() -> None:
    """A stop leaves less time than there was when the wait began: it is noticed within a second."""
    world = Fixture()
    world.mail("holds", LARGE, takes=100.0)
    deadline = [60.0]
    ended: list[float] = []

    def work() -> None:
        with (
            pytest.raises(TransientError, match="memory_full"),
            world.budget.reserve(LARGE, lambda: deadline[0] - world.clock.monotonic()),
        ):
            pytest.fail("it was let in")
        ended.append(world.clock.monotonic())

    world.clock.sleep(1)
    world.clock.spawn("waits", work)
    world.clock.sleep(9)
    deadline[0] = 0.0
    world.clock.sleep(1.1)
    assert ended
    assert ended[0] <= 11.0


MAILS = st.lists(
    st.tuples(
        st.integers(0, LARGE * 2),
        st.floats(0, 20),
        st.floats(0, 3),
        st.one_of(st.just(1e6), st.floats(0, 10)),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(MAILS)
def test_it_is_conserved_and_nobody_starves(mails: list[tuple[int, float, float, float]]) -> None:
    """Any mails, any patience: never beyond the budget, each is let in or refused, and all is given back."""
    world = Fixture()
    for number, (size, at, takes, patience) in enumerate(mails):
        world.mail(str(number), size, at=at, takes=takes, patience=patience)
    # Alone one after the other, all of them would be through by then.
    world.clock.sleep(21 + sum(takes for _, _, takes, _ in mails))
    assert len(world.began) + len(world.refused) == len(mails)
    assert world.budget.reserved == 0
    assert not world.budget._waiting
    patient = {str(number) for number, mail in enumerate(mails) if mail[3] == 1e6}
    assert patient <= {name for name, _ in world.began}


def test_on_real_threads_too() -> None:
    """Sixteen threads and many mails: no wake-up is lost, nothing is given twice."""
    budget = MemoryBudget(SystemClock(), TOTAL)
    most: list[int] = []
    done: list[int] = []

    def work(seed: int) -> None:
        for number in range(40):
            with ExitStack() as reserved:
                reserved.enter_context(budget.reserve(LARGE if (number + seed) % 5 == 0 else SMALL, lambda: 30.0))
                most.append(budget.reserved)
        done.append(seed)

    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(done) == 16
    assert max(most) <= TOTAL
    assert budget.reserved == 0
