"""Draining on virtual time: when the queue counts as empty, what is waited for, and that the numbers add up."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest

from relayd.adapters.queue_depth import QueueDepth
from relayd.errors import HoldError, TransientError
from relayd.model.delivery import Concern, DeliveryKey
from relayd.ops.drain import LOOK_SECONDS, LOOKS, Drain, Ending, Standing
from relayd.ops.tally import LONGEST_PAUSE, Sums, Tally
from relayd.runtime.breaker import PAUSE_CAP
from relayd.runtime.gates import Ration
from relayd.runtime.watching import Ended
from tests.engine.world import World, notification

PATIENCE = 60.0


def depth_of(world: World) -> QueueDepth:
    """The truth about the queue."""
    queue = world.queue
    return QueueDepth(queue.visible, len(queue.left) - queue.visible - queue.in_flight, queue.in_flight)


@dataclass
class Drained:
    """One drain of a world, to its end."""

    world: World
    most: int | None = None
    timeout: float | None = None
    depth: Callable[[], QueueDepth] | None = None
    stop: Callable[[], bool] = lambda: False
    standings: list[Standing] = field(default_factory=list)
    ending: Ending | None = None
    seconds: float = 0.0
    sums: Sums = field(default_factory=Sums)

    def run(self) -> "Drained":
        world, clock = self.world, self.world.clock
        tally = Tally(clock, patience=PATIENCE, outage=lambda: bool(engine.governor.held()))
        ration = Ration(clock, most=self.most)

        def handed_back(ended: Ended) -> None:
            if ended.outcome == "released":
                ration.gave_back(1)

        engine = world.daemon(chores=[world.orders_chore()], gates=[tally, ration], watchers=[tally.ended, handed_back])
        began = clock.monotonic()
        drain = Drain(
            engine,
            tally,
            self.depth or (lambda: depth_of(world)),
            clock,
            limit=ration,
            ends_at=None if self.timeout is None else began + self.timeout,
            lease_seconds=world.deadline + world.visibility,
            paused=world.orders.everything,
        )

        def pause(seconds: float) -> bool:
            clock.sleep(seconds)
            # A test that hangs in virtual time would hang for ever.
            assert clock.monotonic() - began < 3 * 86_400, self.standings[-1]
            return self.stop()

        engine.start()
        self.ending = drain.run(pause, self.standings.append)
        self.seconds = clock.monotonic() - began
        assert engine.stop()
        self.sums = tally.sums([lease.message.message_id for lease in engine.keeper.in_hand()])
        assert self.sums.in_hand == 0, "the stop was clean"
        return self


def world(**facts: object) -> World:
    made = World(wait=2, concurrency=8, **facts)  # type: ignore[arg-type]
    made.store.put("in/unused", b"")
    return made


def test_a_full_queue_is_emptied() -> None:
    """Every mail is forwarded once, and then some looks more make sure that it was the last."""
    here = world()
    here.mails(60)
    drained = Drained(here).run()
    assert drained.ending == "empty"
    assert drained.sums == Sums(forwarded=60)
    assert len(here.mailer.sent) == 60
    assert not here.queue.left
    looks = {id(standing.look) for standing in drained.standings}
    assert len(looks) >= LOOKS
    assert drained.standings[0].look.left == 60
    assert drained.seconds < 30


def test_an_empty_queue_takes_no_longer_than_the_looks() -> None:
    """Nothing to do is soon done."""
    drained = Drained(world()).run()
    assert (drained.ending, drained.sums) == ("empty", Sums())
    assert LOOK_SECONDS * LOOKS <= drained.seconds <= LOOK_SECONDS * LOOKS + 2


def test_mail_that_keeps_coming_is_drained_too() -> None:
    """What arrives between two looks, and is gone at the next one, starts the looks anew."""
    here = world()
    here.mails(5)

    def arrive(name: str) -> None:
        here.mail(name)

    for second in range(1, 20):
        here.clock.at(float(second), partial(arrive, f"later-{second}"))
    drained = Drained(here).run()
    assert drained.sums == Sums(forwarded=24)
    assert drained.seconds >= 19 + LOOK_SECONDS * (LOOKS - 1)


def test_mail_with_a_delay_of_its_own_is_waited_for() -> None:
    """It is in no count but that of the delayed."""
    here = world()
    here.store.put("in/slow", b"Subject: x\r\n\r\nx\r\n")
    here.queue.publish(notification("slow"), delay=90)
    drained = Drained(here).run()
    assert drained.sums == Sums(forwarded=1)
    assert drained.seconds > 90


def test_counts_that_lag_behind_do_not_end_it() -> None:
    """The queue says for a while that it is empty, and it is not: fewer looks than it takes are no proof."""
    here = world()
    here.store.put("in/late", b"Subject: x\r\n\r\nx\r\n")
    here.queue.publish(notification("late"), delay=LOOK_SECONDS * (LOOKS + 2))
    lies = iter([QueueDepth(0, 0, 0)] * (LOOKS - 1))
    drained = Drained(here, depth=lambda: next(lies, None) or depth_of(here)).run()
    assert drained.sums == Sums(forwarded=1)


def test_counts_that_show_nothing_do_not_hide_what_is_known() -> None:
    """The queue claims for a minute to be empty, and the only message is put off for half of that."""
    here = world()
    here.mail("mail")
    here.store.fail_with(TransientError("s3_timeout", retry_after=30), key="in/mail")
    drained = Drained(here, depth=lambda: QueueDepth(0, 0, 0) if here.clock.monotonic() < 60 else depth_of(here)).run()
    assert drained.sums == Sums(forwarded=1)


def test_first_tries_that_fail_are_waited_for() -> None:
    """A store that fails twice for one object: seconds, and so worth it."""
    here = world()
    here.mails(3)
    here.store.fail_with(TransientError("s3_timeout"), key="in/mail-1", times=2)
    drained = Drained(here).run()
    assert drained.sums == Sums(forwarded=3)
    assert any(standing.look.coming_back for standing in drained.standings)


def test_what_stays_away_for_long_is_reported_and_not_waited_for() -> None:
    """One mail is told to come back in ten minutes, one is dead-lettered, one is nobody's: all are in the numbers."""
    here = world()
    here.mails(3)
    here.store.fail_with(TransientError("s3_timeout", retry_after=600), key="in/mail-1")
    here.queue.publish("no notification")
    here.store.put("in/stray", b"Subject: x\r\n\r\nx\r\n")
    here.queue.publish(notification("stray", ["nobody@mask.example"]))
    drained = Drained(here).run()
    assert drained.ending == "empty"
    sums = drained.sums
    assert (sums.forwarded, sums.discarded, sum(sums.dead_lettered.values())) == (2, {"unknown_mask": 1}, 1)
    assert list(sums.deferred) == ["s3_timeout"]
    assert sums.deferred["s3_timeout"].count == 1
    assert 550 < sums.deferred["s3_timeout"].back_in <= 600
    assert sums.received == 5
    assert depth_of(here) == QueueDepth(0, 0, 1)
    assert drained.seconds < 60


def test_a_message_in_somebody_elses_hand_is_waited_for() -> None:
    """Leased by a drain that was killed: it comes back when the lease lapses, and is forwarded then."""
    here = world()
    here.mails(3)
    stolen = here.queue.receive(1, 0, here.visibility)
    drained = Drained(here).run()
    assert len(stolen) == 1
    assert drained.sums == Sums(forwarded=3)
    assert drained.seconds > here.visibility
    assert any(standing.look.elsewhere == 1 for standing in drained.standings)


def test_a_claim_of_the_dead_is_waited_for_however_long_it_lasts() -> None:
    """Its message has been received often, so that each look at the claim puts it off for longer than patience."""
    here = world(deadline=300.0)
    message_id = here.mail("claimed")
    for _ in range(8):
        (message,) = here.queue.receive(1, 0, here.visibility)
        here.queue.change_visibility([(message.receipt_handle, 0)])
    here.ledger.claim(
        DeliveryKey("claimed", "shop@mask.example", "me@owner.example"),
        Concern("forward", None, None),
        message_id=message_id,
        ttl=300,
        trace=None,
    )
    drained = Drained(here).run()
    assert drained.sums == Sums(forwarded=1)
    assert drained.seconds > 300
    assert max(change.seconds for change in here.queue.changes) > PATIENCE


def test_what_somebody_else_put_off_is_not_waited_for() -> None:
    """In flight for longer than anybody can work on a message: a daemon told it to come back in three hours."""
    here = world()
    here.mails(2)
    (taken,) = here.queue.receive(1, 0, here.visibility)
    here.queue.change_visibility([(taken.receipt_handle, 3 * 3600)])
    drained = Drained(here).run()
    assert (drained.ending, drained.sums) == ("empty", Sums(forwarded=1))
    assert drained.standings[-1].look.stays == 1
    lease = here.deadline + here.visibility
    assert lease < drained.seconds < lease + 60


def test_an_outage_is_waited_for() -> None:
    """SES is down for ten minutes: the drain says so, takes nothing meanwhile, and ends when all mail has gone out."""
    here = world()
    working = False

    def probe() -> None:
        if not working:
            raise HoldError("ses", "ses_sending_paused")

    def works_again() -> None:
        nonlocal working
        working = True
        here.mailer.fail_with(HoldError("ses", "ses_sending_paused"), times=0)

    here.probes["ses"] = probe
    here.mails(20)
    here.mailer.fail_with(HoldError("ses", "ses_sending_paused"), times=8)
    here.clock.at(600.0, works_again)
    drained = Drained(here).run()
    assert drained.sums == Sums(forwarded=20)
    # The next probe, at most; what is put off until then, and a little more; and some looks.
    assert 600 < drained.seconds < 600 + PAUSE_CAP + LONGEST_PAUSE + 30
    down = [standing for standing in drained.standings if standing.down]
    assert down[0].down == {"ses": "ses_sending_paused"}
    assert all(standing.next_try > 0 for standing in down[:10])
    assert here.queue.receive_count("message-20") == 1


def test_a_timeout_ends_it_in_an_outage() -> None:
    """What cannot be forwarded is back in the queue, or comes back by itself."""
    here = world()

    def probe() -> None:
        raise HoldError("ses", "ses_sending_paused")

    here.probes["ses"] = probe
    here.mails(20)
    here.mailer.fail_with(HoldError("ses", "ses_sending_paused"), times=1000)
    drained = Drained(here, timeout=120).run()
    assert drained.ending == "timeout"
    assert drained.sums.forwarded == 0
    assert set(drained.sums.deferred) == {"ses_sending_paused"}
    assert depth_of(here).total == 20
    assert 120 <= drained.seconds < 122


def test_a_queue_that_does_not_answer_is_no_empty_queue() -> None:
    """The counts cannot be had for a minute; the drain says so and goes on."""
    here = world()
    here.mails(4)

    def depth() -> QueueDepth:
        if here.clock.monotonic() < 60:
            raise TransientError("queue_unreachable")
        return depth_of(here)

    drained = Drained(here, depth=depth).run()
    assert drained.standings[0].look.trouble == "queue_unreachable"
    assert drained.sums == Sums(forwarded=4)
    assert drained.seconds > 60


def test_so_many_messages_and_no_more() -> None:
    """It ends when they are done, with the rest in the queue; handed back ones do not count."""
    here = world()
    here.mails(20)
    here.mailer.fail_with(HoldError("ses", "ses_sending_paused"), times=1)
    drained = Drained(here, most=7).run()
    assert drained.ending == "enough"
    assert drained.sums.forwarded == 7
    assert len(here.queue.left) == 13


def test_so_many_messages_are_finished_and_not_only_taken() -> None:
    """The last ones take long: longer than an orderly stop would wait for them."""
    here = world()
    here.store.latency = 20.0
    here.mails(5)
    drained = Drained(here, most=3).run()
    assert (drained.ending, drained.sums) == ("enough", Sums(forwarded=3))


def test_a_stop_leaves_nothing_in_hand() -> None:
    """Somebody presses Ctrl-C in the middle: what was begun is finished, the rest is back in the queue."""
    here = world()
    here.mails(200)
    drained = Drained(here, stop=lambda: len(here.mailer.sent) > 50).run()
    assert drained.ending == "interrupted"
    assert depth_of(here).total == 200 - drained.sums.forwarded
    assert drained.sums.forwarded == len(here.mailer.sent) < 200


def test_paused_mail_of_one_owner_is_put_off_on_purpose() -> None:
    """It comes back every half a minute to ask: waiting for that would be waiting for ever."""
    here = world()
    here.mails(3)
    here.order_book.pause(owner=here.mask.owner.owner_id)
    here.orders.refresh()
    drained = Drained(here).run()
    assert drained.ending == "empty"
    assert drained.sums.deferred["paused"].count == 3
    assert drained.sums.received == 3
    assert drained.seconds < 60


def test_a_crowd_that_is_put_off_over_and_over_does_not_keep_it() -> None:
    """With three hundred mails of a paused owner, one is always just back. The others' mail is forwarded meanwhile."""
    here = world()
    here.mails(300)
    here.order_book.pause(owner=here.mask.owner.owner_id)
    here.orders.refresh()
    here.directory.add("other@mask.example", "you@owner.example", owner="other")
    for number in range(30):
        here.store.put(f"in/other-{number}", b"Subject: x\r\n\r\nx\r\n")
        here.queue.publish(notification(f"other-{number}", ["other@mask.example"]), delay=4.0 * number)
    drained = Drained(here).run()
    assert drained.ending == "empty"
    assert drained.sums.forwarded == len(here.mailer.sent) == 30
    assert drained.sums.deferred["paused"].count == 300
    assert len(here.queue.receives) > 2 * 300
    assert 116 < drained.seconds < 240


def test_a_pause_of_everything_is_waited_for() -> None:
    """It begins in the middle and ends minutes later."""
    here = world()
    here.mails(300)
    here.clock.at(2.0, lambda: here.order_book.pause(everything=True))
    here.clock.at(300.0, lambda: here.order_book.resume(everything=True))
    drained = Drained(here).run()
    assert drained.sums.forwarded == 300
    assert drained.seconds > 300
    assert any(standing.paused for standing in drained.standings)


def test_a_message_that_comes_twice_in_one_receive_is_counted_once() -> None:
    """SQS does that. The second copy meets the first one's claim, and its lease has gone by the time it is put off."""
    here = world()
    here.mails(6)
    here.queue.twin_next(3)
    drained = Drained(here).run()
    assert len(here.queue.receives) > 6
    assert drained.sums == Sums(forwarded=6)


def test_a_message_that_cannot_be_deleted_is_counted_once() -> None:
    """Its lease ends before SQS takes the delete: it comes again, and is only deleted then."""
    here = world()
    here.mails(6)
    here.queue.fail_entries("delete", 2, code="ReceiptHandleIsInvalid", gone=True)
    drained = Drained(here).run()
    assert here.queue.left == set()
    assert len(here.queue.receives) == 8
    assert drained.sums == Sums(forwarded=6)


def test_what_an_earlier_drain_forwarded_is_told_apart() -> None:
    """Two messages of one mail (SNS does that): the second one is only deleted."""
    here = world()
    here.mail("twice")
    here.queue.publish(notification("twice"), delay=30)
    drained = Drained(here).run()
    assert drained.sums == Sums(forwarded=1, before=1)
    assert len(here.mailer.sent) == 1


@pytest.mark.parametrize("seed", range(1, 9))
def test_the_numbers_add_up_whatever_goes_wrong(seed: int) -> None:
    """Throttling, lost answers, twins, failing stores and mailers: each message is in exactly one number, and the
    numbers are what the queue, SES and the dead letters say.
    """
    here = world(seed=seed)
    queue = here.queue
    queue.faults.twins = 0.2
    queue.faults.call_errors = {"receive": 0.05, "delete": 0.1, "change_visibility": 0.1}
    queue.faults.entry_errors = {"delete": 0.05, "change_visibility": 0.05}
    queue.faults.lost_answers = {"delete": 0.05}
    here.mails(80)
    for number in range(10):
        here.store.fail_with(TransientError("s3_timeout"), key=f"in/mail-{number}", times=2)
    here.store.fail_with(TransientError("s3_timeout", retry_after=7200), key="in/mail-11")
    here.mailer.fail_with(TransientError("ses_throttled", charged=False), times=5)
    for _ in range(5):
        queue.publish("no notification")
    drained = Drained(here).run()
    sums = drained.sums
    assert drained.ending == "empty"
    assert sums.received == 85
    assert sums.forwarded + sums.before == len(here.mailer.sent) == 79
    assert sum(sums.dead_lettered.values()) == 5
    assert {letter.message_id for letter in queue.dead_letters} == queue_ids(here, 80, 85)
    assert len(queue.left) == sum(later.count for later in sums.deferred.values()) == 1


def queue_ids(here: World, start: int, end: int) -> set[str]:
    return {one.message_id for one in here.queue.published[start:end]}
