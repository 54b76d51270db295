"""The pace of sending: nearly all of what the account may, and less when SES says so. Virtual time."""

from collections.abc import Callable

import pytest

from relayd.runtime.pace import BURST_SECONDS, LEAST, LOWERED, Pace
from tests.fakes.clock import VirtualClock


def forever() -> float:
    return 1e6


class Account:
    """SES's own limit: a bucket of one second's mails, filled at the account's rate."""

    def __init__(self, clock: VirtualClock, rate: float) -> None:
        self.clock = clock
        self.rate = rate
        self.full = rate
        self.at = clock.monotonic()
        self.refused = 0

    def takes(self) -> bool:
        now = self.clock.monotonic()
        self.full = min(self.rate, self.full + (now - self.at) * self.rate)
        self.at = now
        if self.full < 1:
            self.refused += 1
            return False
        self.full -= 1
        return True


def sends(clock: VirtualClock, pace: Pace, account: Account, *, threads: int = 8) -> list[float]:
    """Workers that send as fast as the pace lets them; the times of what SES took."""
    taken: list[float] = []

    def work() -> None:
        while True:
            assert pace.wait(forever)
            clock.sleep(0.06)
            if account.takes():
                taken.append(clock.monotonic())
            else:
                pace.throttled()

    for number in range(threads):
        clock.spawn(f"worker-{number}", work)
    return taken


def between(times: list[float], begin: float, end: float) -> int:
    return sum(begin <= at < end for at in times)


@pytest.mark.parametrize("rate", [1.0, 14.0, 90.0])
def test_nearly_all_of_the_rate_is_used(rate: float) -> None:
    """Alone on the account, over minutes: more than nine tenths, hardly ever refused."""
    clock = VirtualClock()
    pace, account = Pace(clock, rate), Account(clock, rate)
    taken = sends(clock, pace, account, threads=16)
    clock.sleep(180)
    assert between(taken, 10, 180) > 0.9 * rate * 170
    assert account.refused < 0.02 * len(taken) + 3


def test_two_share_an_account_without_knowing_of_each_other() -> None:
    """Both start with all of the rate, and SES refuses: neither gets more than twice the other's, nor is much lost."""
    clock = VirtualClock()
    account = Account(clock, 14.0)
    one, two = Pace(clock, 14.0), Pace(clock, 14.0)
    first = sends(clock, one, account)
    second = sends(clock, two, account)
    clock.sleep(600)
    shares = sorted([between(first, 60, 600), between(second, 60, 600)])
    assert sum(shares) > 0.85 * 14 * 540
    assert shares[1] <= 2 * shares[0]


def test_one_that_comes_later_gets_its_share() -> None:
    """The first had all of it for five minutes; half a minute after the second one came they share."""
    clock = VirtualClock()
    account = Account(clock, 14.0)
    first = sends(clock, Pace(clock, 14.0), account)
    clock.sleep(300)
    second = sends(clock, Pace(clock, 14.0), account)
    clock.sleep(330)
    shares = sorted([between(first, 330, 630), between(second, 330, 630)])
    assert sum(shares) > 0.85 * 14 * 300
    assert shares[1] <= 2 * shares[0]


def test_the_other_one_s_share_is_free_when_it_ends() -> None:
    """It creeps up again to all of the rate."""
    clock = VirtualClock()
    pace = Pace(clock, 10.0)
    for _ in range(40):
        pace.throttled()
        clock.sleep(1.0)
    assert pace.rate is not None
    assert pace.rate < 5.0
    clock.sleep(60)
    assert pace.rate == 10.0


def test_throttles_of_one_second_are_one() -> None:
    """Sixteen workers that are refused together lower it once."""
    clock = VirtualClock()
    pace = Pace(clock, 10.0)
    clock.sleep(5)
    for _ in range(16):
        pace.throttled()
    assert pace.rate == pytest.approx(10 * LOWERED)
    clock.sleep(1.0)
    pace.throttled()
    assert pace.rate == pytest.approx((10 * LOWERED + 0.2) * LOWERED)


def now(pace: Pace) -> float:
    """The rate, where there is one."""
    rate = pace.rate
    assert rate is not None
    return rate


def test_the_floor_is_not_zero() -> None:
    """Throttled for hours, a twentieth of the rate is left."""
    clock = VirtualClock()
    pace = Pace(clock, 10.0)
    for _ in range(4000):
        clock.sleep(1.0)
        pace.throttled()
        assert now(pace) >= 10 * LEAST
    assert now(pace) < 10 * LEAST * 2 + 0.5


def test_while_nobody_knows_the_rate_nobody_waits() -> None:
    """And throttles change nothing, as there is nothing to lower."""
    clock = VirtualClock()
    pace = Pace(clock)
    for _ in range(100):
        assert pace.wait(lambda: 0.0)
        pace.throttled()
    assert clock.monotonic() == 0.0
    assert pace.rate is None


def test_the_rate_may_change() -> None:
    """Up by and by, since others may share what is new; down and away at once."""
    clock = VirtualClock()
    pace = Pace(clock)
    pace.allow(14.0)
    assert now(pace) == 14.0
    pace.allow(50.0)
    assert now(pace) == 14.0
    clock.sleep(10)
    assert now(pace) == pytest.approx(14 + 10.0)
    clock.sleep(100)
    assert now(pace) == 50.0
    pace.allow(2.0)
    assert now(pace) == 2.0
    pace.allow(None)
    assert pace.rate is None
    assert pace.wait(lambda: 0.0)
    pace.allow(7.0)
    assert now(pace) == 7.0


def test_what_creeps_up_takes_time_only_once() -> None:
    """Asking often must not raise it faster."""
    clock = VirtualClock()
    pace = Pace(clock, 10.0)
    pace.throttled()
    for _ in range(100):
        clock.sleep(0.05)
        assert pace.rate is not None
    assert pace.rate == pytest.approx(10 * LOWERED + 5 * 0.2)


def test_a_burst_is_no_more_than_a_second_s_worth() -> None:
    """After a quiet night a few may go at once; the rest keep the pace."""
    clock = VirtualClock()
    pace = Pace(clock, 10.0)
    clock.sleep(3600)
    began = clock.monotonic()
    for _ in range(60):
        assert pace.wait(forever)
    assert clock.monotonic() - began == pytest.approx(60 / 10 - BURST_SECONDS, abs=0.11)


def test_who_cannot_wait_takes_no_turn() -> None:
    """It would be somebody else's."""
    clock = VirtualClock()
    pace = Pace(clock, 1.0)
    while pace.wait(lambda: 0.0):
        pass
    began = clock.monotonic()
    assert not any(pace.wait(lambda: 0.1) for _ in range(50))
    assert clock.monotonic() == began
    assert pace.wait(lambda: 1.0)
    assert clock.monotonic() <= began + 1.0


def test_no_patience_is_enough_where_there_is_nothing_to_wait_for() -> None:
    """A message near its deadline may go when it is its turn; what stands against it is not the pace's to say."""
    clock = VirtualClock()
    pace = Pace(clock, 1.0)
    clock.sleep(100)
    assert pace.wait(lambda: -20.0)


def test_a_wait_ends_when_patience_is_cut_short() -> None:
    """A stop leaves less time than there was when the wait began: it is noticed within a second."""
    clock = VirtualClock()
    pace = Pace(clock, 0.02)
    while pace.wait(lambda: 0.0):
        pass
    deadline = [clock.monotonic() + 60]
    answers: list[tuple[bool, float]] = []

    def left() -> float:
        return deadline[0] - clock.monotonic()

    clock.spawn("waits", lambda: answers.append((pace.wait(left), clock.monotonic())))
    clock.sleep(10)
    deadline[0] = 0.0
    clock.sleep(1.1)
    assert [answer for answer, _ in answers] == [False]


def test_turns_are_given_in_the_order_of_asking() -> None:
    """One after the other, evenly."""
    clock = VirtualClock()
    pace = Pace(clock, 2.0)
    gone: list[tuple[int, float]] = []

    def ask(number: int) -> Callable[[], None]:
        def asking() -> None:
            clock.sleep(number / 100)
            assert pace.wait(forever)
            gone.append((number, clock.monotonic()))

        return asking

    for number in range(12):
        clock.spawn(str(number), ask(number))
    clock.sleep(20)
    assert [number for number, _ in gone] == list(range(12))
    assert gone[-1][1] == pytest.approx((12 - 1) / 2)


def test_whoever_waits_is_counted_while_it_waits() -> None:
    """More replicas would not help then: whoever scales them asks for this."""
    clock = VirtualClock()
    pace = Pace(clock, 2.0)
    assert pace.account_rate == 2.0
    for _ in range(3):
        assert pace.wait(forever)
    assert pace.waiting == 0
    ended: list[bool] = []
    for _ in range(4):
        clock.spawn("sender", lambda: ended.append(pace.wait(forever)))
    clock.sleep(0.1)
    assert pace.waiting > 1
    clock.sleep(5)
    assert (pace.waiting, ended) == (0, [True] * 4)
    pace = Pace(clock, 0.1)
    assert pace.wait(forever)
    patience = [30.0, 30.0, 0.0]
    assert not pace.wait(lambda: patience.pop(0) if len(patience) > 1 else 0.0)
    assert pace.waiting == 0, "who gives up waits no more"
