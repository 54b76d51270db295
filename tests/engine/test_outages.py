"""A dependency fails for everybody: what is held, for how long, and what health says of it. Fakes, virtual time."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import structlog

from relayd.errors import HoldError, LeaseLostError, TransientError
from relayd.runtime.leases import Keeper
from tests.engine.faults import DATABASE_AWAY, after, before, failing
from tests.engine.world import MAIL, World, notification


class Conditions:
    """What health was told about one dependency, with the time."""

    def __init__(self, world: World, about: str) -> None:
        self.told: list[tuple[float, str | None]] = []
        tell = world.health.condition

        def told(name: str, reason: str | None) -> None:
            if name == about:
                self.told.append((world.clock.monotonic(), reason))
            tell(name, reason)

        world.health.condition = told  # type: ignore[method-assign]

    @property
    def ended(self) -> list[float]:
        return [at for at, reason in self.told if reason is None]


@contextmanager
def log_that_breaks(*events: str, times: int) -> Iterator[None]:
    """Let the logging of these events raise, the first times."""
    left = [times]

    def broken(_logger: object, _method: str, event: Any) -> Any:
        if event["event"] in events and left[0] > 0:
            left[0] -= 1
            raise RuntimeError("a bug in what is told")
        return event

    # In place, as structlog's own capture_logs does it: loggers that exist already keep this very list.
    processors = structlog.get_config()["processors"]
    processors.insert(0, broken)
    try:
        yield
        assert not left[0], "it was told, and that failed"
    finally:
        processors.remove(broken)


def inline(mail_id: str) -> str:
    """A notification that carries its mail, so that S3 is not needed."""
    envelope = json.loads(notification(mail_id))
    message = json.loads(envelope["Message"])
    topic = message["receipt"]["action"]["topicArn"]
    message["receipt"]["action"] = {"type": "SNS", "topicArn": topic, "encoding": "UTF8"}
    message["content"] = MAIL.decode()
    return json.dumps({**envelope, "Message": json.dumps(message)})


def test_liveness_is_green_all_through_a_database_outage() -> None:
    """All workers are busy recording what they sent: a restart would make known sends doubts."""
    world = World(concurrency=4, deadline=120)
    world.store.latency = 30.0
    world.mailer.latency = 30.0
    world.mails(4)
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(50)
    world.ledger.fail_with = DATABASE_AWAY
    for _ in range(600):
        world.clock.sleep(1)
        alive, reason = world.health.live(world.clock.monotonic())
        assert alive, reason
    assert not world.health.ready()[0]
    assert daemon.governor.held() == {"database": "database_unavailable"}
    world.ledger.fail_with = None
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert len(world.mailer.sent) == 4


def test_a_send_does_not_end_a_hold_of_the_database() -> None:
    """SES took a mail, but that could not be written down: a success of SES says nothing about the database."""
    world = World(wait=2)
    conditions = Conditions(world, "database")
    world.store.latency = 1.0
    world.mailer.latency = 3.0
    world.mail("one")
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(2.5)
    world.ledger.fail_with = DATABASE_AWAY
    world.mail("two")
    world.clock.sleep(300)
    assert len(world.mailer.sent) == 1
    assert conditions.told
    assert not conditions.ended
    world.ledger.fail_with = None
    assert world.until(lambda: not world.queue.left)
    assert len(conditions.ended) == 1
    assert daemon.stop()


def test_mail_that_needs_no_s3_does_not_end_a_hold_of_s3() -> None:
    """Inline mail goes out all the while, and S3 is still broken."""
    world = World(wait=2)
    conditions = Conditions(world, "s3")
    before(world.store, "fetch", failing(HoldError("s3", "credentials_refused")))
    stored = world.mails(3)
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(1)
    for number in range(50):
        world.queue.publish(inline(f"inline-{number}"))
        world.clock.sleep(20)
        assert daemon.governor.held() == {"s3": "credentials_refused"}
    assert world.mailer.sent
    assert not conditions.ended
    assert all(world.queue.receive_count(message_id) < 20 for message_id in stored)


@pytest.mark.parametrize("kind", ["discard", "send"])
def test_a_success_of_the_database_ends_its_hold(kind: str) -> None:
    """Whatever came through it, a mail that is only discarded included."""
    world = World(wait=2)
    world.ledger.fail_with = DATABASE_AWAY
    verdicts = {"virus": "FAIL"} if kind == "discard" else {}
    world.mail("first", body=notification("first", **verdicts))  # type: ignore[arg-type]
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(3)
    assert daemon.governor.held() == {"database": "database_unavailable"}
    world.ledger.fail_with = None
    for number in range(60):
        world.mail(f"mail-{number}", body=notification(f"mail-{number}", **verdicts))  # type: ignore[arg-type]
    assert world.until(lambda: not world.queue.left, within=600)
    assert not daemon.governor.held()
    assert world.health.ready()[0]
    assert daemon.stop()


def test_what_is_told_about_a_message_cannot_stop_settling() -> None:
    """The canonical line fails: that message is settled, and so are all after it."""
    world = World(concurrency=2, wait=1)
    world.mails(40)
    daemon = world.daemon()
    daemon.start()
    with log_that_breaks("message_settled", times=3):
        assert world.until(lambda: not world.queue.left, within=60)
    world.mail("after")
    assert world.until(lambda: not world.queue.left, within=60)
    assert daemon.stop()
    assert len(world.mailer.sent) == 41
    assert all(world.queue.receive_count(published.message_id) == 1 for published in world.queue.published)


def test_what_is_told_about_a_lost_lease_cannot_stop_extending() -> None:
    """A lease is lost and saying so fails: the next message's lease is extended all the same."""
    world = World(visibility=60, deadline=300)
    keeper = Keeper(world.queue, world.clock, visibility=60, deadline=300)
    message_id = world.mail("slow")
    with log_that_breaks("lease_lost", times=1):
        world.queue.fail_entries("change_visibility", times=1, code="ReceiptHandleIsInvalid", gone=True)
        [message] = world.queue.receive(1, 0, 60)
        lost = keeper.hold(message, world.clock.monotonic())
        world.clock.sleep(40)
    with pytest.raises(LeaseLostError):
        lost.fence(10)
    keeper.drop(lost)
    world.clock.sleep(60)
    [message] = world.queue.receive(1, 0, 60)
    keeper.hold(message, world.clock.monotonic())
    world.clock.sleep(200)
    assert world.queue.visible_at(message_id) > world.clock.monotonic()
    keeper.stop(1)


def test_a_queue_that_cannot_be_reached_is_not_ready() -> None:
    """Not for one failed poll, but soon; it goes on trying, ever more seldom, and is ready when SQS is back."""
    world = World()
    polls: list[float] = []
    before(world.queue, "receive", lambda: polls.append(world.clock.monotonic()))
    world.queue.fail_calls("receive", TransientError("queue_unreachable"), times=1_000_000)
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.health.ready()[0], within=60)
    assert len(polls) > 1, "once is no outage"
    world.clock.sleep(1800)
    assert world.health.ready() == (False, {"queue": "queue_unreachable"})
    assert world.health.live(world.clock.monotonic())[0]
    gaps = [later - earlier for earlier, later in pairwise(polls)]
    assert gaps[0] < 2
    assert min(gaps[-10:]) >= 10
    assert daemon.stop()


def test_readiness_comes_back_with_the_queue() -> None:
    """A minute without SQS, and then mail again."""
    world = World()
    world.queue.fail_calls("receive", TransientError("queue_unreachable"), times=6)
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(15)
    assert not world.health.ready()[0]
    world.mail("after")
    assert world.until(lambda: not world.queue.left, within=90)
    assert world.health.ready()[0]
    assert daemon.stop()


def test_a_denied_dead_letter_queue_is_not_ready_and_asked_ever_more_seldom() -> None:
    """A rejected message has nowhere to go: somebody must look, and until then it does not use up its receives."""
    world = World()
    world.queue.fail_calls("dead_letter", HoldError("queue", "access_denied"), times=1_000_000)
    message_id = world.queue.publish("not json")
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(12 * 3600)
    assert not world.health.ready()[0]
    assert world.queue.receive_count(message_id) < 30
    times = [receive.at for receive in world.queue.receives]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[0] < 120
    assert gaps[-1] > 1800
    assert all(later >= earlier - 1 for earlier, later in pairwise(gaps))
    assert daemon.stop()


def test_hours_of_throttling_do_not_use_up_the_receives() -> None:
    """What is nobody's failure is never dead-lettered, the queue's own net of 1,000 receives included."""
    world = World()
    world.mailer.fail_with(TransientError("ses_throttled", charged=False), times=1_000_000)
    message_id = world.mail("throttled")
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(24 * 3600)
    assert not world.queue.dead_letters
    assert 20 < world.queue.receive_count(message_id) < 333
    assert daemon.stop()


def test_the_database_goes_away_after_each_send() -> None:
    """It flaps, and always in the worst moment: every mail is still sent once, and recorded."""
    world = World(concurrency=4, wait=2)
    after(world.mailer, "send", lambda: setattr(world.ledger, "fail_with", DATABASE_AWAY))
    world.mails(12)
    daemon = world.daemon()
    daemon.start()
    for _ in range(200):
        if not world.queue.left:
            break
        world.clock.sleep(7)
        world.ledger.fail_with = None
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert len(world.mailer.sent) == 12
    assert {(row.state, row.resends, row.kills) for row in world.ledger.rows.values()} == {("sent", 0, 0)}
