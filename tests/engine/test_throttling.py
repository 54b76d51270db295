"""SES takes less than there is: the rate is used, nobody is charged, and nobody waits beyond a stop. Virtual time."""

from collections import Counter
from itertools import pairwise

import pytest

from relayd.errors import TransientError
from relayd.model.delivery import IN_DOUBT
from relayd.rules.evidence import Limits
from tests.engine.outage import arrive, drain
from tests.engine.world import World, notification
from tests.fakes.mailer import FakeMailer


class Account:
    """SES's own limit on a mailer: a second's worth of mails at once, and then the rate. Beyond it: throttled."""

    def __init__(self, world: World, rate: float) -> None:
        self.world = world
        self.rate = rate
        self.full = rate
        self.at = 0.0
        self.refused = 0

    def limits(self, mailer: FakeMailer) -> None:
        send = mailer.send

        def limited(mail):  # type: ignore[no-untyped-def]
            if not self._takes():
                self.refused += 1
                raise TransientError("ses_throttled", dependency="ses", charged=False)
            return send(mail)

        mailer.send = limited  # type: ignore[method-assign]

    def _takes(self) -> bool:
        now = self.world.clock.monotonic()
        self.full = min(self.rate, self.full + (now - self.at) * self.rate)
        self.at = now
        if self.full < 1:
            return False
        self.full -= 1
        return True


def test_a_thousand_queued_at_fourteen_a_second() -> None:
    """More than nine tenths of the rate are used, no attempt is charged, and nearly none was refused."""
    world = World(concurrency=16, rate=14.0, limits=Limits(mails=10**6))
    account = Account(world, 14.0)
    account.limits(world.mailer)
    ids = arrive(world, 1000)
    daemon = world.daemon()
    daemon.start()
    assert drain(world, 600)
    assert world.clock.monotonic() < 1000 / 14 / 0.9
    assert world.ledger.calls.count("charge") == 0
    assert account.refused < 20
    assert Counter(receive.message_id for receive in world.queue.receives).keys() == set(ids)
    assert daemon.governor.held() == {}
    assert daemon.stop()


def test_throttled_while_nobody_knows_the_rate() -> None:
    """The role may not ask for it: limit and delays alone have to do, and lose nothing and charge nobody."""
    world = World(concurrency=16, limits=Limits(mails=10**6))
    Account(world, 14.0).limits(world.mailer)
    arrive(world, 500)
    daemon = world.daemon()
    daemon.start()
    assert drain(world, 1200)
    assert len(world.mailer.sent) == 500
    assert world.ledger.calls.count("charge") == 0
    assert not world.queue.dead_letters
    assert daemon.stop()


def test_a_share_of_the_account_is_somebody_else_s() -> None:
    """Another program sends half of what the account may: the rest is used all the same."""
    world = World(concurrency=16, rate=14.0, limits=Limits(mails=10**6))
    account = Account(world, 14.0)
    account.limits(world.mailer)

    def other() -> None:
        while True:
            world.clock.sleep(1 / 7)
            account._takes()

    world.clock.spawn("other", other)
    arrive(world, 1000)
    daemon = world.daemon()
    daemon.start()
    assert drain(world, 600)
    assert 1000 / world.clock.monotonic() > 0.8 * 7
    assert world.ledger.calls.count("charge") == 0
    assert daemon.stop()


def test_a_message_that_cannot_have_its_turn_in_time_comes_back_uncharged() -> None:
    """One mail in two minutes: those that would outlast their lease leave, and come back seldom."""
    world = World(concurrency=4, rate=1 / 120, deadline=120, send_seconds=38)
    arrive(world, 6)
    daemon = world.daemon()
    daemon.start()
    assert drain(world, 7200)
    assert len(world.mailer.sent) == 6
    gaps = [later.at - earlier.at for earlier, later in pairwise(world.mailer.sent)]
    assert min(gaps) > 110
    assert world.ledger.calls.count("charge") == 0
    assert daemon.stop()


@pytest.mark.parametrize("grace", [10.0, 50.0])
def test_a_stop_does_not_wait_for_the_pace(grace: float) -> None:
    """Workers that wait for their turn give their claim back and Release; the stop is clean and in time."""
    world = World(concurrency=4, wait=1, grace=grace, rate=1 / 60, deadline=3600, send_seconds=5)
    arrive(world, 4)
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(20)
    sent = len(world.mailer.sent)
    began = world.clock.monotonic()
    assert daemon.stop()
    assert world.clock.monotonic() - began <= grace
    released = [change for change in world.queue.changes if change.seconds == 0]
    assert len(released) + len(world.mailer.sent) == 4
    assert len(world.mailer.sent) - sent <= 1
    assert {row.kills for row in world.ledger.rows.values()} == {0}


def test_a_message_past_its_deadline_is_told_so_and_not_that_it_was_paced() -> None:
    """Its fetch took longer than it may: that is charged, or it would go on for ever."""
    world = World(rate=1.0, deadline=60, send_seconds=5, retry_hours=1)
    world.store.latency = 70.0
    world.mail("slow")
    daemon = world.daemon()
    daemon.start()
    assert drain(world, 3 * 3600)
    assert [letter.reason for letter in world.queue.dead_letters] == ["retries_exhausted"]
    assert daemon.stop()


def test_a_slow_fetch_that_leaves_time_enough_is_sent() -> None:
    """Little is left of the deadline, and nobody waits for the pace: as without one, it goes out."""
    world = World(rate=1.0, deadline=120, send_seconds=38)
    world.store.latency = 100.0
    world.mail("slow")
    daemon = world.daemon()
    daemon.start()
    assert drain(world, 300)
    assert len(world.mailer.sent) == 1
    assert len(world.queue.receives) == 1
    assert daemon.stop()


def test_in_doubt_may_be_held_for_a_person() -> None:
    """RELAYD_IN_DOUBT=hold: what SES may have is never sent twice, and is a dead letter that says so."""
    world = World(resend_doubts=False)
    world.mailer.lose_answers(1)
    world.mail("doubt")
    daemon = world.daemon()
    daemon.start()
    assert drain(world, 600)
    assert daemon.stop()
    assert len(world.mailer.sent) == 1
    assert [letter.reason for letter in world.queue.dead_letters] == [IN_DOUBT]
    assert [(row.state, row.reason, row.resends) for row in world.ledger.rows.values()] == [("failed", IN_DOUBT, 0)]


def test_one_doubt_of_two_deliveries_is_held_alone() -> None:
    """The other one is sent, once; the dead letter comes when nothing is open any more."""
    world = World(resend_doubts=False)
    world.directory.add("team@mask.example", "a@owner.example", "b@owner.example")
    world.mailer.lose_answers(1, recipient="a@owner.example")
    world.mail("two", body=notification("two", ["team@mask.example"]))
    daemon = world.daemon()
    daemon.start()
    assert drain(world, 600)
    assert daemon.stop()
    assert sorted(world.sent_mail_ids()) == ["a@owner.example", "b@owner.example"]
    assert [letter.reason for letter in world.queue.dead_letters] == [IN_DOUBT]
    assert sorted(row.state for row in world.ledger.rows.values()) == ["failed", "sent"]
