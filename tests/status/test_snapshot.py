"""What follows from the answers: who has what in hand, how old the oldest message is, and whether the queue shrinks."""

import pytest

from relayd.adapters.queue_depth import QueueDepth
from relayd.ops.status.asking import Answer
from relayd.ops.status.looking import Trend
from relayd.ops.status.replica import CallFigures
from relayd.ops.status.snapshot import Oldest, Snapshot
from tests.status.samples import held, replica, snapshot, unanswered, window


def hands(shot: Snapshot) -> tuple[int | None, int | None]:
    return shot.in_hand, shot.put_off


def test_what_no_replica_can_have_in_hand_is_put_off() -> None:
    """SQS counts both as in flight. Who works may have taken others since its heartbeat; who is held has not."""
    assert hands(snapshot(depth=(0, 0, 20), replicas=[replica(in_flight=2)])) == (16, 4)
    assert hands(snapshot(depth=(0, 0, 12), replicas=[replica(in_flight=2)])) == (12, 0)
    assert hands(snapshot(depth=(0, 0, 20), replicas=[held("s3", "x", minute=window(), in_flight=2)])) == (2, 18)
    idle = replica(in_flight=0, minute=window(finished=0))
    assert hands(snapshot(depth=(0, 0, 20), replicas=[idle])) == (0, 20)


def test_nobody_knows_what_is_put_off_without_the_replicas() -> None:
    """Or without the queue."""
    assert hands(snapshot(depth=(0, 0, 20), heartbeats=unanswered())) == (None, None)
    assert hands(snapshot(queue=unanswered())) == (None, None)


def test_the_older_of_two_ages_counts() -> None:
    """CloudWatch leaves out what was received three times, and replicas know only what they have seen."""
    seen = replica(oldest=300.0)
    assert snapshot(replicas=[seen], oldest_reported=Answer(40.0)).oldest == Oldest(300.0, "replicas")
    assert snapshot(replicas=[seen], oldest_reported=Answer(400.0)).oldest == Oldest(400.0, "cloudwatch")
    assert snapshot(replicas=[seen, replica("b", oldest=500.0)]).oldest == Oldest(500.0, "replicas")
    assert snapshot(heartbeats=unanswered()).oldest == Oldest(None, "")


def test_an_empty_queue_has_no_oldest_message() -> None:
    """Whatever replicas saw before it was empty."""
    assert snapshot(depth=(0, 0, 0), replicas=[replica(oldest=300.0)]).oldest == Oldest(None, "")


def test_calls_of_all_replicas_are_added_up_and_the_worst_times_shown() -> None:
    """A quantile of several replicas cannot be had from theirs, and the slow one is the one to look at."""
    slow = {"s3": CallFigures(10, 3, 2.0, None), "queue": CallFigures(5, 0, None, None)}
    shot = snapshot(replicas=[replica(), replica("b", minute=window(calls=slow))])
    assert shot.calls()["s3"] == CallFigures(262, 3, 2.0, 0.09)
    assert shot.calls()["queue"] == CallFigures(5, 0, None, None)


def test_a_queue_is_watched_before_anybody_says_that_it_shrinks() -> None:
    """For twenty seconds at least, because SQS's counts lag; and over the last minute, not over what was before."""
    trend = Trend()
    assert trend.growth is None
    trend.note(0.0, 1000)
    trend.note(0.0, 1000)
    trend.note(19.0, 0)
    assert trend.growth is None
    trend.note(20.0, 900)
    assert trend.growth == pytest.approx(-5.0)
    for second in range(21, 200):
        trend.note(float(second), 900 + second)
    assert trend.growth == pytest.approx(1.0)


def test_a_queue_that_does_not_answer_has_no_trend() -> None:
    """Nor a time until it is empty."""
    shot = snapshot(queue=unanswered(), growth=None)
    assert (shot.waiting, shot.drained_in) == (None, None)
    assert snapshot(queue=Answer(QueueDepth(0, 0, 0))).drained_in == 0.0
    assert snapshot(depth=(5, 0, 0), replicas=[replica(minute=window(finished=0))]).drained_in is None
