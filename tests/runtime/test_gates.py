"""Rations: so many messages in all, so many a second; and the poller that keeps to them."""

import pytest

from relayd.errors import HoldError
from relayd.runtime.gates import UNLIMITED, Ration
from relayd.runtime.watching import Ended
from tests.engine.world import World
from tests.fakes.clock import VirtualClock


class TestRation:
    def test_without_limits_it_minds_nothing(self) -> None:
        """No limit was asked for."""
        ration = Ration(VirtualClock())
        ration.took(100)
        assert ration.allowance() == UNLIMITED
        assert not ration.spent

    def test_so_many_in_all(self) -> None:
        """What was taken is gone for good, however long it waits."""
        clock = VirtualClock()
        ration = Ration(clock, most=5)
        assert ration.allowance() == 5
        ration.took(3)
        clock.sleep(1000)
        assert (ration.allowance(), ration.spent) == (2, False)
        ration.took(2)
        assert (ration.allowance(), ration.spent) == (0, True)

    def test_what_goes_back_untried_may_be_taken_again(self) -> None:
        """Handed back, a message was not part of it."""
        ration = Ration(VirtualClock(), most=2)
        ration.took(2)
        ration.gave_back(1)
        assert (ration.allowance(), ration.spent) == (1, False)

    def test_more_than_was_allowed_leaves_nothing(self) -> None:
        """A queue that gives more than it was asked for: never less than nothing is allowed, and the debt is paid."""
        clock = VirtualClock()
        ration = Ration(clock, most=10, rate=2)
        ration.took(12)
        assert (ration.allowance(), ration.spent) == (0, True)
        by_rate = Ration(clock, rate=2)
        by_rate.took(6)
        assert by_rate.allowance() == 0
        clock.sleep(2.5)
        assert by_rate.allowance() == 1

    def test_a_rate_saves_up_a_second_at_most(self) -> None:
        """A pause is no reason for a burst."""
        clock = VirtualClock()
        ration = Ration(clock, rate=5)
        assert ration.allowance() == 5
        ration.took(5)
        assert ration.allowance() == 0
        clock.sleep(0.4)
        assert ration.allowance() == 2
        clock.sleep(3600)
        assert ration.allowance() == 5

    def test_a_rate_below_one(self) -> None:
        """One message in ten seconds is a rate, too."""
        clock = VirtualClock()
        ration = Ration(clock, rate=0.1)
        assert ration.allowance() == 1
        ration.took(1)
        clock.sleep(9.5)
        assert ration.allowance() == 0
        clock.sleep(0.6)
        assert ration.allowance() == 1


def test_the_poller_keeps_to_the_rate() -> None:
    """Forty messages at four a second take ten seconds, and no second has more than a second's worth and what comes."""
    world = World(concurrency=8, wait=2)
    world.mails(40)
    daemon = world.daemon(gates=[Ration(world.clock, rate=4)])
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert 9 <= world.clock.monotonic() <= 11
    times = [receive.at for receive in world.queue.receives]
    assert max(sum(start <= at < start + 1 for at in times) for start in times) <= 4 + 4
    assert daemon.stop()


def test_the_poller_takes_no_more_than_the_ration() -> None:
    """Not one message too many, although more slots are free than are left of the ration."""
    world = World(concurrency=8, wait=2)
    world.mails(40)
    daemon = world.daemon(gates=[Ration(world.clock, most=13)])
    daemon.start()
    assert world.until(lambda: len(world.mailer.sent) == 13)
    world.clock.sleep(60)
    assert len(world.queue.receives) == len(world.mailer.sent) == 13
    assert daemon.stop()


@pytest.mark.parametrize("seed", range(1, 4))
def test_watchers_hear_how_each_receive_ended(seed: int) -> None:
    """Once for each receive, with what becomes of the message: deleted, or back in so many seconds."""
    world = World(seed=seed, wait=2)
    world.mailer.fail_with(HoldError("ses", "ses_sending_paused"))
    world.mails(10)
    heard: list[Ended] = []
    daemon = world.daemon(watchers=[heard.append])
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert len(heard) == len(world.queue.receives)
    accepted = [ended for ended in heard if ended.outcome == "accepted"]
    assert {ended.message.message_id for ended in accepted} == {one.message_id for one in world.queue.published}
    assert {ended.visible_in for ended in accepted} == {None}
    (released,) = [ended for ended in heard if ended.outcome == "released" and ended.reason == "ses_sending_paused"]
    assert released.visible_in is not None
    assert released.visible_in > 0
