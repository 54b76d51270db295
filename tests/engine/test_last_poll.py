"""A stop while everything is busy or broken: no poll begins, and nothing goes back while the last one is open."""

from relayd.errors import HoldError, TransientError
from relayd.runtime.supervisor import Chore
from tests.engine.faults import failing
from tests.engine.world import World


def test_no_poll_begins_after_the_stop() -> None:
    """The only worker is busy and the poller waits for its slot: when it comes free, it is not for another poll."""
    for seconds in (4.6, 4.8, 5.0, 5.4):
        world = World(concurrency=1, wait=20, send_seconds=30)
        world.store.latency = seconds
        world.mail("slow")
        daemon = world.daemon()
        daemon.start()
        world.clock.sleep(4.5)
        stopped_at = world.clock.monotonic()
        assert daemon.stop()
        assert not [poll for poll in world.queue.polls if poll.at > stopped_at]
        assert world.clock.monotonic() - stopped_at < 5
        assert len(world.mailer.sent) == 1


def test_a_stop_under_full_load_receives_nothing_more() -> None:
    """Whatever the moment: a receive after the stop would be one for nothing."""
    for seed in range(1, 21):
        world = World(seed=seed, concurrency=4, wait=20)
        world.store.latency = 1.0
        world.mails(60)
        daemon = world.daemon()
        daemon.start()
        world.clock.sleep(3 + seed / 20)
        stopped_at = world.clock.monotonic()
        assert daemon.stop()
        assert not [receive for receive in world.queue.receives if receive.at > stopped_at]
        assert world.clock.monotonic() - stopped_at < 5


def test_what_a_hold_releases_waits_for_the_last_poll() -> None:
    """SES is paused and we stop: the message goes back when no poll of ours can take it again."""
    world = World(wait=20)
    world.mailer.latency = 1.0
    world.mailer.fail_with(HoldError("ses", "ses_sending_paused"), times=50)
    daemon = world.daemon()
    daemon.start()
    message_id = world.mail("paused")
    world.clock.sleep(0.3)
    assert daemon.stop()
    assert_back_after_the_last_poll(world, message_id)


def test_what_is_deferred_waits_for_the_last_poll() -> None:
    """Its delay is shorter than the open poll, which would take it again and then only hand it back."""
    world = World(wait=20)
    world.store.fail_with(TransientError("s3_slow_down"), times=50)
    daemon = world.daemon()
    daemon.start()
    message_id = world.mail("failing")
    world.clock.sleep(0.005)
    assert daemon.stop()
    assert_back_after_the_last_poll(world, message_id)


def test_what_waits_for_the_last_poll_keeps_its_lease() -> None:
    """The poll outlasts a short lease: the message is renewed meanwhile, so that nobody gets it too early."""
    for seconds in range(2, 32):
        world = World(wait=20, visibility=12, deadline=60, send_seconds=12, grace=21)
        world.store.latency = float(seconds)
        daemon = world.daemon()
        daemon.start()
        message_id = world.mail("slow")
        world.clock.sleep(1)
        daemon.stop()
        assert world.queue.receive_count(message_id) == 1, f"fetched in {seconds} s"


def test_a_stop_ends_within_the_grace_though_nothing_can_be_settled() -> None:
    """SQS is away, so the Settler is full: handing back what the last poll brought must not wait for room in it."""
    world = World(concurrency=8, wait=20, grace=50, visibility=120, deadline=300)
    world.queue.faults.late_polls = True
    world.mails(14)
    for operation in ("delete", "change_visibility"):
        world.queue.fail_calls(operation, TransientError("queue_unreachable"), times=1_000_000)
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(30)
    assert len(world.mailer.sent) == 14
    late = world.mails(8)
    began = world.clock.monotonic()
    assert daemon.stop() is False
    assert world.clock.monotonic() - began <= 50.5
    assert all(world.queue.receive_count(message_id) == 1 for message_id in late), "else this shows nothing"
    assert len(world.mailer.sent) == 14


def test_a_chore_runs_soon_after_the_start() -> None:
    """A daemon that is restarted each day would never come to a chore that waits a day first."""
    world = World()
    runs: list[float] = []
    for _ in range(3):
        daemon = world.daemon(chores=[Chore("prune", 86_400.0, lambda: runs.append(world.clock.monotonic()))])
        began = world.clock.monotonic()
        daemon.start()
        world.clock.sleep(600)
        assert runs
        assert runs[-1] - began < 600
        assert daemon.stop()
    assert len(runs) == 3


def test_a_chore_that_fails_runs_again_at_its_next_time() -> None:
    """Its failure is neither the mail's nor the end of it."""
    world = World()
    runs: list[float] = []
    fails = failing(RuntimeError("a bug in pruning"), times=1)

    def prune() -> None:
        runs.append(world.clock.monotonic())
        fails()

    daemon = world.daemon(chores=[Chore("prune", 3600.0, prune)])
    daemon.start()
    world.mail("beside")
    world.clock.sleep(2 * 3600)
    assert daemon.stop()
    assert len(runs) == 2
    assert len(world.mailer.sent) == 1


def assert_back_after_the_last_poll(world: World, message_id: str) -> None:
    assert world.queue.receive_count(message_id) == 1
    assert message_id in world.queue.left
    assert not world.mailer.sent
    changes = [change.at for change in world.queue.changes if change.message_id == message_id]
    assert changes
    assert world.queue.open_polls == 0
    assert changes[-1] >= max(poll.ended for poll in world.queue.polls)
