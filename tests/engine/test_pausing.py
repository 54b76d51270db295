"""What operators hold back: obeyed within seconds, nothing lost, nothing charged, and the rest of the mail not delayed.

Fakes, virtual time.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pytest
from structlog.testing import capture_logs

from relayd.errors import HoldError
from relayd.model.notice import OwnerNotice
from relayd.rules.retry import LONGEST_DELAY
from relayd.runtime.pausing import StandingOrders
from relayd.runtime.supervisor import Chore, Supervisor
from relayd.telling import AT_ONCE
from tests.engine.faults import DATABASE_AWAY, failing
from tests.engine.mailing import OWNER, STRANGER, answer, later, letter, received, rows, sent_to, states, token_of
from tests.engine.world import World, notification

HOUR = 3600.0
OBEYED = 5.0
"""Seconds within which every replica obeys."""
SENDING = 1.0
"""Seconds that a mail which is in hand may take to go out here."""
BACK = 15 * 60.0
"""Seconds after its pause within which mail is back that was looked at meanwhile."""


@contextmanager
def obeying(world: World, chores: Sequence[Chore] = ()) -> Iterator[Supervisor]:
    """A daemon at work that looks for orders."""
    daemon = world.daemon(chores=[world.orders_chore(), *chores])
    daemon.start()
    yield daemon
    assert daemon.stop()


def stream(world: World, count: int, every: float = 1.0, to: str = "shop@mask.example", name: str = "stream") -> None:
    """A mail every so often, from now on."""
    began = world.clock.monotonic()
    for number in range(count):
        world.clock.at(began + number * every, partial(arrive, world, f"{name}-{number}", to))


def arrive(world: World, mail_id: str, *to: str) -> None:
    world.mail(mail_id, body=notification(mail_id, to))


def sends(world: World, since: float = 0.0, until: float = 1e12) -> int:
    return sum(since <= send.at < until for send in world.mailer.sent)


def nothing_was_held_against_it(world: World) -> bool:
    return "charge" not in world.ledger.calls and not world.queue.dead_letters


def each_once(world: World, mails: int) -> bool:
    recorded = [row for row in rows(world) if row.state == "sent" and row.resends == 0]
    return len(world.mailer.sent) == len(recorded) == mails


# Everything.


@pytest.mark.parametrize("seed", [0, 1])
def test_a_pause_of_everything_is_obeyed_and_ended_within_seconds(seed: int) -> None:
    """Under a stream of mail: from 5 s after the command on nothing is received or sent, and 5 s after the pause it
    flows again. All of it goes out once; nothing was tried, charged or dead-lettered meanwhile; probes stay green.
    """
    world = World(seed=seed)
    stream(world, 600)
    with obeying(world):
        world.clock.sleep(30)
        world.order_book.pause(everything=True)
        paused_at = world.clock.monotonic()
        world.clock.sleep(OBEYED)
        receives = len(world.queue.receives)
        assert sends(world) >= 30
        for _ in range(100):
            world.clock.sleep(HOUR / 100)
            assert world.health.live(world.clock.monotonic())[0]
            assert world.health.ready() == (True, {})
        # A poll that was open brings one mail, at most.
        assert len(world.queue.receives) <= receives + world.concurrency
        assert sends(world, since=paused_at + OBEYED + SENDING) == 0
        world.order_book.resume(everything=True)
        assert world.until(lambda: sends(world, since=paused_at + HOUR) > 0, OBEYED + SENDING)
        assert world.until(lambda: not world.queue.left)
    assert each_once(world, 600)
    assert nothing_was_held_against_it(world)


@pytest.mark.parametrize("body", [None, "not JSON"])
def test_what_an_open_poll_brings_is_given_back_and_not_received_again(body: str | None) -> None:
    """A poll waits for 20 s, and the pause came in its first seconds. The message stays away from the next poll of a
    replica that has not heard yet, and costs one receive. Whatever it is, it ends only after the pause.
    """
    world = World()
    with obeying(world):
        world.clock.sleep(1)
        world.order_book.pause(everything=True)
        world.clock.sleep(OBEYED)
        message_id = world.mail("late", body=body)
        world.clock.sleep(2)
        assert world.queue.receive_count(message_id) == 1
        assert world.queue.visible_at(message_id) > world.clock.monotonic() + 20
        world.clock.sleep(HOUR / 2)
        assert world.queue.receive_count(message_id) == 1
        assert (states(world), world.queue.dead_letters) == ([], [])
        world.order_book.resume(everything=True)
        assert world.until(lambda: not world.queue.left, OBEYED + SENDING)
    assert (len(world.mailer.sent), len(world.queue.dead_letters)) == ((1, 0) if body is None else (0, 1))
    assert "charge" not in world.ledger.calls


def test_notices_wait_with_everything_else() -> None:
    """They are mail of ours; the pause may be about the domain that they come from, too."""
    world = World()
    for order in ({"everything": True}, {"domain": "mask.example"}):
        world.order_book.pause(**order)
        world.orders.refresh()
        with obeying(world, [world.notices_chore()]):
            world.notices.tell(OwnerNotice(world.mask.owner.owner_id, "mail_refused", {"mask": "shop@mask.example"}))
            world.clock.sleep(HOUR)
            assert world.mailer.sent == []
            world.order_book.resume(**order)
            assert later(world, lambda: len(world.mailer.sent) == 1, 30)
        world.mailer.sent.clear()
        world.clock.sleep(24 * HOUR)


# A domain.


def two_domains() -> World:
    world = World(mail_domains=("mask.example", "other.example"), concurrency=8)
    world.directory.add("shop@other.example", "you@owner.example")
    return world


def test_a_domain_s_pause_delays_nobody_else() -> None:
    """Two streams, one of them paused for an hour: the other one's mail goes out as it comes. Afterwards all of it is
    out within a quarter of an hour, once each.
    """
    world = two_domains()
    with obeying(world):
        world.order_book.pause(domain="mask.example")
        world.clock.sleep(OBEYED)
        began = world.clock.monotonic()
        stream(world, 240, 15.0, "shop@mask.example", "held")
        stream(world, 240, 15.0, "shop@other.example", "flowing")
        world.clock.sleep(HOUR)
        assert set(sent_to(world)) == {"you@owner.example"}
        for number, send in enumerate(world.mailer.sent):
            assert send.at - (began + number * 15.0) < SENDING
        assert len(world.mailer.sent) == len(world.queue.left) == 240
        world.order_book.resume(domain="mask.example")
        assert world.until(lambda: not world.queue.left, OBEYED + BACK + SENDING)
    assert each_once(world, 480)
    assert nothing_was_held_against_it(world)


def test_other_recipients_of_the_same_mail_go_on() -> None:
    """At once. Of the paused one nothing is written down before its time comes; the others' copies go out once."""
    world = two_domains()
    world.order_book.pause(domain="mask.example")
    world.orders.refresh()
    with obeying(world):
        arrive(world, "both", "shop@mask.example", "shop@other.example", "nobody@other.example")
        world.clock.sleep(SENDING)
        assert sent_to(world) == ["you@owner.example"]
        assert {row.key.recipient for row in rows(world)} == {"shop@other.example", "nobody@other.example"}
        world.clock.sleep(HOUR)
        assert len(world.queue.left) == 1
        world.order_book.resume(domain="mask.example")
        assert world.until(lambda: not world.queue.left, OBEYED + BACK)
    assert sent_to(world) == ["you@owner.example", OWNER]
    assert nothing_was_held_against_it(world)


def test_a_long_pause_costs_few_receives() -> None:
    """A day: far from the queue's net of 1,000. Afterwards it is back within a quarter of an hour."""
    world = World()
    world.order_book.pause(domain="mask.example")
    world.orders.refresh()
    daemon = world.daemon()
    daemon.start()
    message_id = world.mail("patient")
    world.clock.sleep(24 * HOUR)
    assert 100 < world.queue.receive_count(message_id) < 120
    world.order_book.resume(domain="mask.example")
    world.orders.refresh()
    assert world.until(lambda: not world.queue.left, LONGEST_DELAY + SENDING)
    assert daemon.stop()
    assert each_once(world, 1)


# An owner.


def test_nothing_is_decided_about_mail_of_a_paused_owner() -> None:
    """A discard would be for good: the mask is off now, and may be on again when the pause ends."""
    world = World()
    world.directory.set_mask("shop@mask.example", enabled=False)
    world.order_book.pause(owner=world.mask.owner.owner_id)
    world.orders.refresh()
    with obeying(world):
        world.mail("held")
        world.clock.sleep(HOUR)
        assert (states(world), len(world.queue.left)) == ([], 1)
        world.directory.set_mask("shop@mask.example", enabled=True)
        world.order_book.resume(owner=world.mask.owner.owner_id)
        assert world.until(lambda: not world.queue.left, OBEYED + BACK)
    assert sent_to(world) == [OWNER]


def test_replies_and_notices_of_a_paused_owner_wait_and_others_do_not() -> None:
    """Whatever an owner's mail is, it waits; that of other owners on the same domain flows."""
    world = World()
    world.directory.add("other@mask.example", "you@owner.example")
    token = token_of(world)
    owner_id = world.mask.owner.owner_id
    world.order_book.pause(owner=owner_id)
    world.orders.refresh()
    with obeying(world, [world.notices_chore()]):
        answer(world, token)
        world.mail("held")
        for one in (owner_id, "owner2"):
            world.notices.tell(OwnerNotice(one, "mail_refused", {"mask": "shop@mask.example"}))
        arrive(world, "flowing", "other@mask.example")
        world.clock.sleep(HOUR)
        assert sent_to(world) == ["you@owner.example", "you@owner.example"]
        world.order_book.resume(owner=owner_id)
        assert world.until(lambda: len(world.mailer.sent) == 5, OBEYED + BACK)
    assert sorted(sent_to(world)[2:]) == [OWNER, OWNER, STRANGER]
    assert nothing_was_held_against_it(world)


def test_notices_of_many_paused_owners_keep_nobody_waiting() -> None:
    """They do not take up what is looked at in a round."""
    world = World()
    for number in range(AT_ONCE + 10):
        held = world.directory.add(f"held{number}@mask.example", f"held{number}@owner.example").owner.owner_id
        world.order_book.pause(owner=held)
        world.notices.tell(OwnerNotice(held, "mail_refused", {"mask": "shop@mask.example"}))
    world.orders.refresh()
    world.notices.tell(OwnerNotice(world.mask.owner.owner_id, "mail_refused", {"mask": "shop@mask.example"}))
    with obeying(world, [world.notices_chore()]):
        assert later(world, lambda: sent_to(world) == [OWNER], 60)
        world.clock.sleep(HOUR)
    assert sent_to(world) == [OWNER]


def test_a_pause_in_the_middle_of_a_round_of_notices_is_obeyed() -> None:
    """A round may take long, where SES is slow."""
    world = World()
    world.mailer.latency = 4.0
    for number in range(10):
        one = world.directory.add(f"m{number}@mask.example", f"o{number}@owner.example").owner.owner_id
        world.notices.tell(OwnerNotice(one, "mail_refused", {"mask": "shop@mask.example"}))
    with obeying(world, [world.notices_chore()]):
        assert world.until(lambda: len(world.mailer.sent) == 2)
        world.order_book.pause(everything=True)
        world.clock.sleep(HOUR)
        assert 2 <= len(world.mailer.sent) <= 4
        world.order_book.resume(everything=True)
        assert later(world, lambda: len(world.mailer.sent) == 10, 120)
    assert len(set(sent_to(world))) == 10


# Mail that is in hand when the pause comes.


def test_a_pause_that_comes_during_the_fetch_stops_the_send() -> None:
    """The claim is given back, free for the next receiver, and looks like nobody's failure."""
    world = World()
    world.store.latency = 20.0
    with obeying(world):
        world.mail("slow")
        world.clock.sleep(5)
        world.order_book.pause(owner=world.mask.owner.owner_id)
        world.clock.sleep(30)
        assert world.store.fetches[0].error is None
        assert world.mailer.calls == 0
        (row,) = rows(world)
        assert (row.state, row.token) == ("claimed", None)
        world.clock.sleep(HOUR)
        world.order_book.resume(owner=world.mask.owner.owner_id)
        assert world.until(lambda: not world.queue.left, OBEYED + BACK + 20)
    assert each_once(world, 1)
    assert row.kills == row.doubts == 0
    assert nothing_was_held_against_it(world)


def test_a_pause_that_comes_during_the_fetch_stops_the_second_decision() -> None:
    """Headers that SES had cut would lead to a discard; while the owner is paused, nothing does."""
    world = World()
    world.store.latency = 20.0
    world.directory.list_senders("shop@mask.example", "block", STRANGER)
    with obeying(world):
        received(world, letter(), mail_id="slow", cut=True, source="other@x.example")
        world.clock.sleep(5)
        world.order_book.pause(owner=world.mask.owner.owner_id)
        world.clock.sleep(30)
        assert len(world.store.fetches) == 1
        assert states(world) == [("claimed", None)]
        world.order_book.resume(owner=world.mask.owner.owner_id)
        assert world.until(lambda: not world.queue.left, OBEYED + BACK + 20)
    assert states(world) == [("discarded", "sender_blocked")]
    assert world.mailer.sent == []


def test_a_send_that_is_under_way_ends() -> None:
    """It is recorded, and its message deleted, for there is no way back from it."""
    world = World()
    world.mailer.latency = 20.0
    with obeying(world):
        world.mail("sending")
        world.clock.sleep(5)
        assert world.mailer.open_sends == 1
        world.order_book.pause(everything=True)
        assert world.until(lambda: not world.queue.left, 30)
    assert states(world) == [("sent", None)]


# What a replica knows.


def test_a_replica_takes_nothing_before_it_has_read_the_orders() -> None:
    """It starts while the table cannot be read, and all mail is paused as far as it can tell. It is alive and ready."""
    world = World()
    world.orders = StandingOrders(world.order_book, world.clock)
    world.order_book.fail_with = DATABASE_AWAY
    world.mail("waiting")
    with obeying(world):
        world.clock.sleep(HOUR)
        assert world.queue.receives == []
        assert world.health.live(world.clock.monotonic())[0]
        assert (world.orders.status()["known"], world.orders.status()["everything"]) == (False, True)
        world.order_book.fail_with = None
        assert world.until(lambda: not world.queue.left, OBEYED + SENDING)


@pytest.mark.parametrize("paused", [True, False])
def test_what_was_known_last_counts_while_the_database_is_away(paused: bool) -> None:
    """A pause stays, and so does the flow of mail. An outage of an hour is told in one line, not in 1,800."""
    world = World()
    if paused:
        world.order_book.pause(domain="mask.example")
        world.orders.refresh()
    with capture_logs() as logs, obeying(world):
        world.order_book.fail_with = HoldError("database", "database_unavailable")
        # Nobody here sees what an operator does meanwhile.
        (world.order_book.resume if paused else world.order_book.pause)(domain="mask.example")
        world.mail("one")
        world.clock.sleep(HOUR)
        assert len(world.queue.left) == int(paused)
        world.order_book.fail_with = None
        world.mail("two")
        assert world.until(lambda: len(world.mailer.sent) == 1 + paused, OBEYED + BACK)
        world.clock.sleep(OBEYED)
        assert world.orders.held("mask.example", None) is not paused
    told = [line for line in logs if line["event"] == "orders_unknown"]
    assert [(line["reason"], line["known_before"]) for line in told] == [("database_unavailable", True)]
    assert sum(line["event"] == "orders_changed" for line in logs) == 1
    assert not any(line["event"] == "chore_failed" for line in logs)


def test_a_ledger_that_is_away_when_a_claim_is_given_back_is_told_later() -> None:
    """The pause comes during the fetch, the database goes at that moment: the claim is a debt, and nothing is sent."""
    world = World()
    world.store.latency = 10.0
    give_back = world.ledger.give_back
    with obeying(world):
        world.mail("slow")
        world.clock.sleep(5)
        world.order_book.pause(domain="mask.example")
        world.ledger.give_back = failing(DATABASE_AWAY)  # type: ignore[method-assign, assignment]
        world.clock.sleep(20)
        world.ledger.give_back = give_back  # type: ignore[method-assign]
        world.order_book.resume(domain="mask.example")
        assert world.until(lambda: not world.queue.left, BACK)
    assert each_once(world, 1)


def test_status_tells_what_is_obeyed() -> None:
    """Ids of owners, never their names, and how old the news is."""
    world = World()
    world.order_book.pause(domain="mask.example", owner="owner7")
    world.order_book.trace("mask1", 60)
    world.orders.refresh()
    world.clock.sleep(3)
    assert world.orders.status() == {
        "known": True,
        "everything": False,
        "domains": ["mask.example"],
        "owners": ["owner7"],
        "traced_masks": 1,
        "read_seconds_ago": 3.0,
    }
    assert world.orders.gauge() == {"all": 0, "domain": 1, "owner": 1}
