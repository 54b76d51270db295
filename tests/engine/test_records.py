"""What the ledger is owed while it fails: a known send stays known, nobody is declared dead. Fakes, virtual time."""

import pytest

from relayd.errors import (
    ClaimLostError,
    HoldError,
    InDoubtError,
    LeaseLostError,
    PermanentError,
    StoppingError,
    TransientError,
)
from tests.engine.faults import DATABASE_AWAY, DATABASE_BUSY, after, before, failing
from tests.engine.world import World, notification


@pytest.mark.parametrize(
    "error",
    [
        ValueError("unforeseen, after SES took the mail"),
        PermanentError("database_refused_value"),
        InDoubtError("odd"),
        ClaimLostError(),
        LeaseLostError(),
        StoppingError(),
        TransientError("database_busy"),
        HoldError("database", "database_unavailable"),
        HoldError("database", "database_denied", wide=False),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_known_send_is_never_undone_by_its_record(error: Exception) -> None:
    """SES took the mail, and writing that down fails for good, whatever it raises: not sent again, no dead letter."""
    world = World()
    before(world.ledger, "sent", failing(error))
    world.mail("known")
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    world.clock.sleep(3600)
    assert daemon.stop()
    assert len(world.mailer.sent) == 1
    assert not world.queue.dead_letters


@pytest.mark.parametrize("calls", [("charge",), ("charge", "give_back"), ("give_back",), ("claim",)])
@pytest.mark.parametrize("error", [DATABASE_BUSY, DATABASE_AWAY], ids=["busy", "away"])
def test_a_database_hiccup_is_no_death(calls: tuple[str, ...], error: Exception) -> None:
    """A try cannot be counted, or a claim not given back: that is not what a process that died looks like."""
    world = World()
    world.store.fail_with(TransientError("s3_slow_down"), times=4)
    for call in calls:
        before(world.ledger, call, failing(error, times=3))
    world.mail("unlucky")
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert len(world.mailer.sent) == 1
    assert not world.queue.dead_letters
    assert [row.kills for row in world.ledger.rows.values()] == [0]
    assert [row.resends for row in world.ledger.rows.values()] == [0]


@pytest.mark.parametrize("back_at", [45, 60, 100, 130, 145, 150, 155, 158, 160, 162, 165, 170, 175, 200, 400])
def test_a_known_send_outlives_an_outage(back_at: float) -> None:
    """The fetch was slow and the database is away until around, or after, the end of the lease: sent once."""
    world = World(deadline=120)
    world.store.latency = 40.0
    outage = failing(DATABASE_AWAY, times=1)

    def goes_away() -> None:
        try:
            outage()
        except HoldError as error:
            world.ledger.fail_with = error

    after(world.mailer, "send", goes_away)
    world.clock.at(back_at, lambda: setattr(world.ledger, "fail_with", None))
    world.mail("known")
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: bool(world.mailer.sent) and world.clock.monotonic() > back_at)
    assert world.until(lambda: not world.queue.left)
    # SNS's second copy comes late: what is owed to the ledger is paid before it is asked.
    world.queue.publish(notification("known"))
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert len(world.mailer.sent) == 1
    assert [(row.state, row.resends) for row in world.ledger.rows.values()] == [("sent", 0)]


def test_of_two_mailboxes_the_first_stays_sent_when_its_record_fails() -> None:
    """The database is away from the first send on: when it is back, only the second mailbox is left to do."""
    world = World()
    world.directory.add("team@mask.example", "a@owner.example", "b@owner.example")
    world.mail("two", body=notification("two", ["team@mask.example"]))
    after(world.mailer, "send", lambda: setattr(world.ledger, "fail_with", DATABASE_AWAY))
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: len(world.mailer.sent) == 1)
    after(world.mailer, "send", lambda: setattr(world.ledger, "fail_with", None))
    world.clock.sleep(200)
    world.ledger.fail_with = None
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert sorted(world.sent_mail_ids()) == ["a@owner.example", "b@owner.example"]
    assert [(row.state, row.resends) for row in world.ledger.rows.values()] == [("sent", 0), ("sent", 0)]


def test_a_known_send_is_not_left_in_the_queue_by_a_stop() -> None:
    """SIGTERM while its record fails: the message is deleted all the same, so the next process cannot send it again."""
    world = World(wait=2)
    world.mail("known")
    after(world.mailer, "send", lambda: setattr(world.ledger, "fail_with", DATABASE_AWAY))
    first = world.daemon()
    first.start()
    assert world.until(lambda: bool(world.mailer.sent))
    assert first.stop()
    assert not world.queue.left
    world.ledger.fail_with = None
    second = world.daemon()
    second.start()
    world.clock.sleep(600)
    assert second.stop()
    assert len(world.mailer.sent) == 1


def test_the_twin_of_a_mail_in_doubt_is_a_marked_resend() -> None:
    """SNS told of it twice and both sends of the first message are in doubt: what the second one sends is counted."""
    world = World()
    world.mailer.lose_answers(times=2)
    world.mail("doubt")
    world.queue.publish(notification("doubt"))
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    [row] = world.ledger.rows.values()
    assert len(world.mailer.sent) == 1 + row.resends
    assert [letter.reason for letter in world.queue.dead_letters] == ["in_doubt"]
