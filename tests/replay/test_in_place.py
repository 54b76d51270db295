"""The way without the mail queue: the real engine on the queue in memory, in virtual time."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from relayd.errors import PermanentError, TransientError
from relayd.model.delivery import DeliveryKey
from relayd.ops.replay.in_place import InPlace
from relayd.ops.replay.local_queue import LocalQueue
from relayd.ops.replay.offers import Offer
from relayd.ops.replay.outcomes import Outcomes
from relayd.ops.replay.sending import Act
from relayd.ops.tally import Tally
from relayd.runtime.watching import Ended
from tests.engine.world import MAIL, SECRET, World
from tests.fakes.clock import VirtualClock
from tests.replay.parts import REPLAY, Bench, FakeSource, FakeWatch
from tests.replay.parts import offer as any_offer

PATIENCE = 60.0


class Here:
    """A replay in place, in a world whose mail queue nobody looks at."""

    def __init__(self, *offers: Offer, room: int = 8, **world: Any) -> None:
        self.world = World(**world)
        self.clock: VirtualClock = self.world.clock
        self.bench = Bench()
        self.bench.clock = self.clock
        self.bench.watch = FakeWatch(self.clock)
        self.source = FakeSource(offers)
        self.bench.source = self.source
        self.room = room
        for one in offers:
            if one.received is not None:
                self.world.store.put(f"in/{one.received.mail_id}", MAIL)

    def run(self, *, timeout: float | None = None, again: bool = False, replay_id: str = REPLAY, **options: Any) -> str:
        """The ending. The engine has stopped by then, and the source has back what was not finished."""
        queue = LocalQueue(self.clock)
        self.world.queue = cast("Any", queue)
        tally = Tally(self.clock, patience=PATIENCE)
        in_place = InPlace(
            self.bench.reading(again=again, replay_id=replay_id, **options),
            queue,
            Act(replay_id, again, [SECRET]),
            self.clock,
            room=self.room,
            put_off=lambda: tally.away()[1],
            ends_at=None if timeout is None else self.clock.monotonic() + timeout,
        )
        daemon = self.world.daemon(gates=(tally,), watchers=(tally.ended, in_place.ended))
        daemon.start()
        try:
            return in_place.run()
        finally:
            assert daemon.stop()
            in_place.close()

    @property
    def sends(self) -> int:
        return len(self.world.mailer.sent)

    @property
    def left(self) -> list[str]:
        return self.bench.left


def offer(number: int, **facts: Any) -> Offer:
    """A mail that lies in the world's bucket, and that failed before."""
    mail_id = f"mail-{number}"
    made = any_offer(mail_id, **facts)
    text = (made.text or "").replace("incoming-mail", "mail")
    key = '"objectKey": "in/o3vrnil0e2ic28trm7dfhrc2v0clambda4nbp0g1"'
    text = text.replace(key, f'"objectKey": "in/{mail_id}"')
    return any_offer(mail_id, **facts, text=text) if made.text is not None else made


def offers(count: int) -> Sequence[Offer]:
    return [offer(number) for number in range(count)]


def test_everything_is_forwarded_and_leaves_the_source() -> None:
    """With no more in memory than there is room for; and it ends by itself, soon after the last mail."""
    here = Here(*offers(60))
    began = here.clock.monotonic()
    assert here.run() == "finished"
    assert (here.sends, here.left, here.source.closed) == (60, [], 1)
    assert here.bench.outcomes.by_why("forwarded") == {"": 60}
    assert here.clock.monotonic() - began < 30


def test_what_fails_again_stays_where_it_was() -> None:
    """Told with its reason; the others go through."""
    here = Here(*offers(10))
    here.world.mailer.fail_with(PermanentError("ses_rejected"), times=3)
    assert here.run() == "finished"
    assert (here.sends, len(here.left)) == (7, 3)
    assert here.bench.outcomes.by_why("failed") == {"ses_rejected": 3}
    assert not here.bench.outcomes.complete


def test_what_is_put_off_for_a_while_is_waited_for() -> None:
    """It comes back to the engine from the queue in memory, as it would from SQS."""
    here = Here(*offers(5))
    here.world.mailer.fail_with(TransientError("ses_unavailable", dependency="ses"), times=4)
    assert here.run() == "finished"
    assert (here.sends, here.left) == (5, [])
    assert here.bench.outcomes.complete


def test_what_is_put_off_for_long_stays_where_it_was() -> None:
    """Nobody waits for it here; it is told of with its reason."""
    here = Here(*offers(5))
    here.world.store.objects.pop(("mail", "in/mail-2"))
    began = here.clock.monotonic()
    assert here.run() == "finished"
    assert here.clock.monotonic() - began < 600
    assert (here.sends, here.left) == (4, ["mail-2"])
    [(why, count)] = (here.bench.outcomes.by_why("left") | here.bench.outcomes.by_why("failed")).items()
    assert (why, count) == ("content_missing", 1)


def test_policy_is_asked_as_ever() -> None:
    """What it refuses is done with, and counted by its reason."""
    here = Here(offer(0), offer(1, recipients=("nobody@mask.example",)))
    assert here.run() == "finished"
    assert here.left == []
    assert here.bench.outcomes.by_why("discarded") == {"unknown_mask": 1}
    assert here.bench.outcomes.complete


def test_what_was_sent_before_goes_through_once_more_only_when_told() -> None:
    """The ledger guards, whatever the look beforehand did not know; it is told of as what it is."""
    here = Here(offer(0))
    key = DeliveryKey("mail-0", "shop@mask.example", "me@owner.example")
    for replay_id, again, sends, told in (
        ("replay-1", False, 1, ("forwarded", "")),
        ("replay-2", False, 1, ("skipped", "sent_before")),
        ("replay-3", True, 2, ("forwarded", "")),
        ("replay-3", True, 2, ("skipped", "sent_before")),
    ):
        here.source.left = [offer(0)]
        here.bench.outcomes = Outcomes()
        assert here.run(again=again, replay_id=replay_id) == "finished"
        assert here.sends == sends
        assert here.world.ledger.rows[key].state == "sent"
        assert list(here.bench.outcomes.groups) == [("ses_rejected", *told)]
        assert here.left == []


def test_what_nobody_can_verify_here_is_not_waited_for() -> None:
    """One certificate that cannot be had would hold up all the others."""
    here = Here(offer(0), any_offer("mail-1", text=None, original="?", doubt="certificate_unavailable"))
    assert here.run() == "finished"
    assert (here.sends, here.left) == (1, ["mail-1"])
    assert here.bench.outcomes.by_why("failed") == {"certificate_unavailable": 1}


@pytest.mark.parametrize("looks", [0, 1, 3, 6])
def test_a_stop_at_any_look(looks: int) -> None:
    """What is in hand is finished; what was not begun is where it was; each mail is in one of the two places."""
    here = Here(*offers(40), room=4)
    here.bench.watch.left = looks
    assert here.run() == "interrupted"
    assert here.sends + len(here.left) == 40
    outcomes = here.bench.outcomes
    assert outcomes.count() == here.source.offered
    assert outcomes.count("forwarded") == here.sends
    assert here.source.closed == 1


def test_what_could_not_be_settled_comes_again() -> None:
    """The engine is done with it, and the queue is not: it counts as finished when both are."""
    here = Here(offer(0))
    queue = LocalQueue(here.clock)
    in_place = InPlace(here.bench.reading(), queue, here.bench.act(), here.clock, room=1, put_off=lambda: 1)
    assert in_place.run() == "finished"
    [message] = queue.receive(1, 0, 30)
    ended = Ended(message, "accepted", "forwarded", None, "lease_gone", 0.1, None, None)
    in_place.ended(ended)
    in_place.close()
    assert here.bench.outcomes.by_why("left") == {"forwarded": 1}
    assert here.left == ["mail-0"]


def test_the_time_may_be_over() -> None:
    """Before everything was fed, and while the rest is worked on."""
    slow = Here(*offers(40), room=4)
    slow.world.mailer.latency = 5.0
    assert slow.run(timeout=12.0) == "timeout"
    assert slow.sends + len(slow.left) == 40
    assert 0 < slow.sends < 40
    assert slow.bench.outcomes.by_why("left").keys() <= {"timeout", "not_tried", "stopping"}


def test_a_limit() -> None:
    """So many go through; the rest was not asked for."""
    here = Here(*offers(20))
    assert here.run(limit=3) == "limit"
    assert (here.sends, len(here.left)) == (3, 17)


def test_a_lease_that_lapses_doubles_nothing() -> None:
    """A slow worker keeps its lease, and what would come twice all the same the ledger absorbs."""
    here = Here(*offers(3), visibility=2.0, deadline=30.0)
    here.world.mailer.latency = 8.0
    assert here.run() == "finished"
    assert here.sends == 3
