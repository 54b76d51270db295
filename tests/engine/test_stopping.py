"""SIGTERM's order, without signals: what is finished, what goes back, and when."""

import pytest

from relayd.errors import TransientError
from tests.engine.world import World


def test_work_in_flight_is_finished_and_settled() -> None:
    """A stop lets workers end, flushes their deletes, and is clean."""
    world = World(concurrency=8)
    world.mails(8)
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(0.04)
    began = world.clock.monotonic()
    assert daemon.stop()
    assert world.clock.monotonic() - began <= world.wait + 5
    assert len(world.mailer.sent) == 8
    assert not world.queue.left


def test_an_open_poll_is_not_aborted_and_what_it_brings_goes_back() -> None:
    """SQS hands a message to the last poll: it was not begun, so it is back in the queue at once, and not sent."""
    world = World(wait=20)
    world.queue.faults.late_polls = True
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(1)
    message_id = world.mail("late")
    assert daemon.stop()
    assert world.mailer.sent == []
    assert world.queue.visible == 1
    assert world.queue.receive_count(message_id) == 1
    assert world.clock.monotonic() <= 1 + world.wait + 5


def test_nothing_is_released_while_a_poll_is_open() -> None:
    """What workers hand back during a stop waits for the last poll to end, else that poll would take it again."""
    world = World(wait=20, grace=50, send_seconds=38, concurrency=4)
    daemon = world.daemon()
    daemon.start()
    world.store.latency = 15.0
    message_id = world.mail("slow")
    world.clock.sleep(5)
    # The fetch ends 10 s into the stop, when a send of up to 38 s does not fit into 50 - 3 - 10.
    assert daemon.stop()
    assert world.mailer.sent == []
    assert world.queue.receive_count(message_id) == 1
    released = [change for change in world.queue.changes if change.message_id == message_id and change.seconds == 0]
    assert len(released) == 1
    assert world.queue.open_polls == 0
    assert released[0].at >= max(poll.ended for poll in world.queue.polls)


def test_a_send_that_fits_the_grace_still_goes_out() -> None:
    """The fetch ends early enough in the stop: the mail is sent, recorded and deleted."""
    world = World(wait=5, grace=50, send_seconds=30)
    daemon = world.daemon()
    daemon.start()
    world.store.latency = 10.0
    world.mail("slow")
    world.clock.sleep(5.5)
    assert daemon.stop()
    assert len(world.mailer.sent) == 1
    assert not world.queue.left


def test_a_stop_ends_within_the_grace_even_if_work_hangs() -> None:
    """A worker hangs for good: the stop is not clean, but on time, and the message comes back by itself."""
    world = World(wait=5, grace=50)
    world.store.latency = 10_000.0
    message_id = world.mail("hung")
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(2)
    began = world.clock.monotonic()
    assert daemon.stop() is False
    assert world.clock.monotonic() - began <= 50.5
    assert message_id in world.queue.left


def test_leases_are_kept_until_the_end_of_the_stop() -> None:
    """During a long stop the Keeper goes on: a message being worked on is not received by anybody else."""
    world = World(wait=5, grace=100, visibility=40, deadline=300, send_seconds=10)
    daemon = world.daemon()
    daemon.start()
    world.store.latency = 80.0
    message_id = world.mail("slow")
    world.clock.sleep(6)
    assert daemon.stop()
    assert world.queue.receive_count(message_id) == 1
    assert len(world.mailer.sent) == 1


def test_deletes_are_flushed_through_failures() -> None:
    """SQS throttles the last deletes: they are retried within the grace."""
    world = World(wait=1)
    world.mails(4)
    daemon = world.daemon()
    daemon.start()
    world.queue.fail_calls("delete", TransientError("queue_throttled"), times=3)
    assert world.until(lambda: len(world.mailer.sent) == 4)
    assert daemon.stop()
    assert not world.queue.left


@pytest.mark.parametrize("seed", range(1, 16))
def test_a_second_daemon_takes_over_without_loss_or_double(seed: int) -> None:
    """Rolling restarts under load, in fifteen different interleavings: each mail is sent exactly once."""
    world = World(seed=seed, concurrency=4, wait=2)
    world.queue.faults.latency = 0.01
    world.store.latency = lambda content: 0.5 * (int(content.key.rsplit("-", 1)[1]) % 7)
    world.mails(60)
    first = world.daemon()
    first.start()
    world.clock.sleep(1.5)
    second = world.daemon()
    second.start()
    world.clock.sleep(0.7)
    assert first.stop()
    assert world.until(lambda: not world.queue.left)
    assert second.stop()
    assert len(world.mailer.sent) == 60
    tags = [send.mail.tags["relayd-delivery"].rsplit("-", 1)[0] for send in world.mailer.sent]
    assert len(set(tags)) == 60
