"""The last quarter of an hour of a daemon, on a virtual clock: nothing forgotten too early, nothing kept too long."""

import json
import random
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from relayd.errors import ClaimLostError, HoldError, InDoubtError, PermanentError, StoppingError, TransientError
from relayd.model.message import Message
from relayd.runtime.buckets import KEPT, MOST_REASONS, OTHER, SECONDS
from relayd.runtime.recent import QUARTER_HOUR, Recent
from relayd.runtime.spread import BOUNDS, Spread, joined
from relayd.runtime.watching import Ended
from relayd.telemetry.calls import Call, hear_calls
from tests.fakes.clock import VirtualClock

TRACE = "0af7651916cd43dd8448eb211c80319c"
SENT = {"mail_id": "mail-1", "deliveries": [{"delivery": "d", "state": "sent", "reason": "forwarded"}]}

FAULTS = [
    (TransientError("ses_timeout", dependency="ses"), True),
    (TransientError("ses_throttled", dependency="ses", charged=False), True),
    (TransientError("memory_full", charged=False), False),
    (HoldError("ses", "ses_sending_paused"), True),
    (InDoubtError("ses_no_answer"), True),
    (PermanentError("ses_refused"), False),
    (ClaimLostError(), False),
    (StoppingError(), False),
    (ZeroDivisionError(), True),
]


class World:
    """A daemon's recent past."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.recent = Recent(self.clock)
        self.count = 0

    def end(self, outcome: str = "accepted", reason: str = "forwarded", seconds: float = 0.1, **facts: Any) -> None:
        """A message of this number ends."""
        self.count += 1
        given: dict[str, Any] = {"age": 0.5, "trace_id": TRACE, "facts": SENT, "problem": None} | facts
        back = None if outcome in ("accepted", "rejected", "abandoned") else 5.0
        message = Message(f"m{self.count}", "r", "a body of the mail")
        self.recent(Ended(message, outcome, reason, visible_in=back, seconds=seconds, **given))

    def minute(self) -> Any:
        return self.recent.figures()["minute"]

    def quarter(self) -> Any:
        return self.recent.figures()["quarter_hour"]


@pytest.fixture
def world() -> World:
    return World()


def test_messages_are_counted_by_outcome_and_reason(world: World) -> None:
    """And those that are deleted and the mails that went out, apart: a discard is finished and sends nothing."""
    two = [{"delivery": d, "state": "sent", "reason": "forwarded"} for d in "ab"]
    world.end(facts={"deliveries": [*two, {"delivery": "c", "state": "failed", "reason": "x"}]})
    world.end("accepted", "spam", facts={})
    world.end("rejected", "not_json", facts={})
    world.end("deferred", "s3_timeout", facts={})
    world.end("released", "stopping", facts={})
    world.end("abandoned", "lease_lost", facts={})
    world.end("accepted", "forwarded", problem="lapsed", facts={})
    minute = world.minute()
    assert minute["messages"] == {
        "accepted": {"forwarded": 2, "spam": 1},
        "rejected": {"not_json": 1},
        "deferred": {"s3_timeout": 1},
        "released": {"stopping": 1},
        "abandoned": {"lease_lost": 1},
    }
    assert (minute["finished"], minute["sent"], minute["unsettled"]) == (3, 2, 1)
    assert world.quarter() == minute


def test_the_minute_ends_after_a_minute_and_the_quarter_after_a_quarter(world: World) -> None:
    """Neither drops what is younger, and ten seconds later at most it has dropped what is older."""
    for step in range(200):
        world.end()
        world.clock.sleep(SECONDS)
        minute, quarter = world.minute(), world.quarter()
        assert minute["finished"] == min(step + 1, 6)
        assert quarter["finished"] == min(step + 1, QUARTER_HOUR)
        assert minute["seconds"] == min((step + 1) * SECONDS, 60.0)
        assert quarter["seconds"] == min((step + 1) * SECONDS, 900.0)


def test_rates_are_right_from_the_first_second_on(world: World) -> None:
    """The window is what was really covered: a daemon of five seconds does not show a twelfth of its rate."""
    world.clock.sleep(7)
    world = World()
    for _ in range(50):
        world.clock.sleep(0.1)
        world.end()
    minute = world.minute()
    assert minute["finished"] / minute["seconds"] == pytest.approx(10, rel=0.01)


def test_after_a_silence_longer_than_the_ring_nothing_old_is_left(world: World) -> None:
    """Places of the ring are found again by later buckets, and must not show what was there."""
    world.end("rejected", "bug", seconds=5)
    world.recent.called("s3", "s3.fetch", 1.0, True)
    world.clock.sleep(SECONDS * (QUARTER_HOUR + 1))
    figures = world.recent.figures()
    assert figures["quarter_hour"]["messages"] == figures["quarter_hour"]["calls"] == {}
    assert (figures["slowest"], figures["failed"], figures["oldest_seconds"]) == ([], [], None)
    series = world.recent.series()
    assert set(series["messages"]["failed"]) == set(series["calls"]["s3"]["errors"]) == {0}


def test_calls_are_counted_and_timed_for_each_dependency(world: World) -> None:
    """Errors among them. A long poll is no slowness, and is counted without its time."""
    for milliseconds in range(1, 101):
        world.recent.called("s3", "s3.fetch", milliseconds / 1000, milliseconds > 98)
    world.recent.called("queue", "receive", 20.0, False)
    calls = world.minute()["calls"]
    assert set(calls) == {"s3", "queue"}
    assert (calls["s3"]["count"], calls["s3"]["errors"]) == (100, 2)
    assert calls["s3"]["p50"] == pytest.approx(0.050, rel=0.2)
    assert calls["s3"]["p99"] == pytest.approx(0.099, rel=0.2)
    assert calls["queue"] == {"count": 1, "errors": 0, "p50": None, "p99": None}


def test_the_series_has_a_place_for_each_bucket(world: World) -> None:
    """Oldest first, the present one last; a gap is a gap, and not a zero of seconds."""
    world.recent.called("ses", "send", 0.2, False)
    world.clock.sleep(SECONDS * 3)
    world.recent.called("ses", "send", 0.2, True)
    world.end("deferred", "ses_timeout", seconds=3.0)
    series = world.recent.series()
    ses = series["calls"]["ses"]
    assert {len(column) for calls in series["calls"].values() for column in calls.values()} == {QUARTER_HOUR + 1}
    assert (ses["count"][-4:], ses["errors"][-4:]) == ([1, 0, 0, 1], [0, 0, 0, 1])
    assert ses["p99"][-4:] == [0.2, None, None, 0.2]
    assert series["messages"]["failed"][-4:] == [0, 0, 0, 1]
    assert series["messages"]["p50"][-1] == 3.0
    assert (series["every_seconds"], series["until"]) == (SECONDS, world.clock.time())


def test_the_slowest_are_named_and_give_way_when_their_time_is_over(world: World) -> None:
    """Ten of them, slowest first, of any outcome. What is no more than a quarter of an hour old is among them even
    where something slower was there before.
    """
    for seconds in range(1, 31):
        world.end(seconds=float(seconds))
    world.clock.sleep(600)
    world.end(seconds=0.5)
    assert [one["seconds"] for one in world.recent.figures()["slowest"]] == [float(30 - n) for n in range(KEPT)]
    world.clock.sleep(400)
    (left,) = world.recent.figures()["slowest"]
    assert left == {
        "seconds": 0.5,
        "at": world.clock.time() - 400,
        "message_id": "m31",
        "mail_id": "mail-1",
        "trace_id": TRACE,
        "outcome": "accepted",
        "reason": "forwarded",
    }


def test_the_last_failures_are_named(world: World) -> None:
    """The newest first. A message that was handed back untried has not failed, nor has one that somebody else has, nor
    one that SES throttles.
    """
    for number in range(KEPT + 3):
        world.end("deferred" if number % 2 else "rejected", f"reason{number}", facts={}, trace_id=None)
        world.end("released", "ses_sending_paused")
        world.end("abandoned", "lease_lost")
        world.end("deferred", "ses_throttled", charged=False)
    failed = world.recent.figures()["failed"]
    assert [one["reason"] for one in failed] == [f"reason{number}" for number in range(12, 2, -1)]
    assert (failed[0]["mail_id"], failed[0]["trace_id"]) == ("", "")
    assert world.minute()["failed"] == sum(world.recent.series()["messages"]["failed"]) == KEPT + 3


def oldest(world: World) -> float | None:
    found: float | None = world.recent.figures()["oldest_seconds"]
    return found


def test_the_oldest_message_is_the_one_of_the_last_minute(world: World) -> None:
    """How far behind the queue was for what was finished; where nothing came for a while, when last something did."""
    assert oldest(world) is None
    world.end(age=300.0)
    world.end(age=5.0)
    assert oldest(world) == 300
    world.clock.sleep(120)
    assert oldest(world) == 300
    world.end(age=1.0)
    assert oldest(world) == 1


def test_what_went_back_grows_older(world: World) -> None:
    """A message that is put off is in the queue still, and so is one whose deletion SQS did not take."""
    world.end(age=90.0)
    world.end("released", "s3_unavailable", age=50.0)
    world.clock.sleep(30)
    assert oldest(world) == 90
    world.clock.sleep(600)
    assert oldest(world) == 680
    world.end(age=700.0, problem="lapsed")
    world.clock.sleep(5)
    assert oldest(world) == 705


def test_what_came_back_and_was_finished_grows_no_older(world: World) -> None:
    """Its age is the one that it had then."""
    message = Message("a", "r", "b")
    world.recent(Ended(message, "deferred", "s3_timeout", 5.0, None, 0.1, 500.0, None, {}))
    world.clock.sleep(20)
    world.recent(Ended(message, "accepted", "forwarded", None, None, 0.1, 520.0, None, {}))
    world.clock.sleep(65)
    assert oldest(world) == 520


def test_what_went_back_and_was_finished_is_gone(world: World) -> None:
    """Here, by its id; and in another replica most likely, if this one goes on without seeing it again."""
    for message_id in ("a", "b"):
        message = Message(message_id, "r", "b")
        world.recent(Ended(message, "deferred", "s3_timeout", 5.0, None, 0.1, 50.0, None, {}))
    world.clock.sleep(20)
    assert oldest(world) == 70
    world.recent(Ended(Message("a", "r2", "b"), "accepted", "forwarded", None, None, 0.1, 70.0, None, {}))
    world.clock.sleep(50)
    world.end(age=1.0)
    assert oldest(world) == 70, "the age that a had when it was finished is that of the last minute"
    world.clock.sleep(61)
    world.end(age=1.0)
    assert oldest(world) == 1


def test_a_message_of_unknown_age_is_counted_all_the_same(world: World) -> None:
    """Some emulators do not tell when a message was sent."""
    world.end(age=None)
    assert oldest(world) is None
    assert world.minute()["finished"] == 1


def test_memory_is_bounded_whatever_comes(world: World) -> None:
    """Ten thousand reasons are forty, texts are no words, and no message's body is kept."""
    for number in range(10_000):
        world.end("deferred", f"reason {number} me@example.org", seconds=random.random(), facts={})
        world.end("deferred", f"reason{number}", facts={})
    figures = world.recent.figures()
    text = json.dumps(figures)
    assert len(text) < 10_000
    assert "example.org" not in text
    assert "body" not in text
    counted = [n for reasons in figures["minute"]["messages"].values() for n in reasons.values()]
    assert (sum(counted), len(counted)) == (20_000, MOST_REASONS)
    assert figures["minute"]["messages"][OTHER][OTHER] > 10_000
    bodies = [one for one in _reachable(world.recent) if isinstance(one, Message)]
    assert bodies == []


def _reachable(root: Any) -> list[Any]:
    """Everything that hangs on it."""
    found: dict[int, Any] = {}
    look = [vars(root)]
    while look:
        one = look.pop()
        if id(one) in found or isinstance(one, (str, int, float, VirtualClock, type(None))):
            continue
        found[id(one)] = one
        if isinstance(one, dict):
            look += [*one.keys(), *one.values()]
        elif isinstance(one, (list, tuple)) or hasattr(one, "maxlen"):
            look += list(one)
        else:
            look += [getattr(one, name) for name in getattr(one, "__slots__", ())]
    return list(found.values())


def test_threads_lose_no_count() -> None:
    """Workers and the settler tell at once, while somebody reads."""
    from relayd.runtime.clock import SystemClock

    recent = Recent(SystemClock())
    ended = Ended(Message("m", "r", "b"), "accepted", "forwarded", None, None, 0.1, 1.0, TRACE, SENT)
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            recent.figures()
            recent.series()

    def tell() -> None:
        for _ in range(2_000):
            recent(ended)
            recent.called("ses", "send", 0.1, False)

    reader = threading.Thread(target=read)
    tellers = [threading.Thread(target=tell) for _ in range(8)]
    for thread in (reader, *tellers):
        thread.start()
    for thread in tellers:
        thread.join()
    stop.set()
    reader.join()
    whole = recent.figures()["quarter_hour"]
    assert (whole["finished"], whole["sent"], whole["calls"]["ses"]["count"]) == (16_000, 16_000, 16_000)


def test_a_message_costs_microseconds() -> None:
    """Told of every message and every call, it must not be what a mail costs. Measured 1.6 and 0.8; the bound leaves
    room for a busy machine.
    """
    world = World()
    ended = Ended(Message("m", "r", "b"), "accepted", "forwarded", None, None, 0.1, 1.0, TRACE, SENT)
    costs = []
    for _ in range(5):
        began = time.thread_time()
        for _ in range(1_000):
            world.recent(ended)
            world.recent.called("ses", "send", 0.1, False)
        costs.append((time.thread_time() - began) / 1_000)
    assert min(costs) < 20e-6


def test_every_measured_call_is_heard() -> None:
    """Failed or not; and what the mail itself brought about is no fault of the dependency."""
    heard: list[tuple[str, str, bool]] = []

    def listen(dependency: str, operation: str, seconds: float, fault: bool) -> None:
        assert seconds >= 0
        heard.append((dependency, operation, fault))

    stop = hear_calls(listen)
    with Call("s3", "s3.fetch"):
        pass
    for error, fault in FAULTS:
        with pytest.raises(type(error)), Call("ses", "send"):
            raise error
        assert heard[-1] == ("ses", "send", fault), error
    stop()
    with Call("s3", "s3.fetch"):
        pass
    assert len(heard) == 1 + len(FAULTS)


def test_a_listener_that_fails_breaks_no_call() -> None:
    """A send that succeeded must not become one that failed because somebody counted it wrongly."""

    def listen(dependency: str, operation: str, seconds: float, fault: bool) -> None:
        raise KeyError("bug")

    stop = hear_calls(listen)
    try:
        with capture_logs() as lines, Call("ses", "send"):
            done = True
    finally:
        stop()
    assert done
    assert [line["event"] for line in lines] == ["telemetry_hook_failed"]


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_near_the_real_one(times: list[float], share: float) -> None:
    """Within the boundaries that the real one lies between, and never above the most."""
    spread = Spread()
    for seconds in times:
        spread.add(seconds)
    found = spread.quantile(share)
    rank = min(len(times) - 1, max(0, -int(-share * len(times) // 1) - 1))
    real = sorted(times)[rank]
    low = max((bound for bound in (0.0, *BOUNDS) if bound < real), default=0.0)
    high = min((bound for bound in BOUNDS if bound >= real), default=max(times))
    assert found is not None
    assert low - 1e-9 <= found <= high + 1e-9
    assert found <= max(times)


def test_spreads_join(world: World) -> None:
    """The sum of two is as if all had come to one."""
    one, other, both = Spread(), Spread(), Spread()
    for number in range(100):
        (one if number % 3 else other).add(number / 7)
        both.add(number / 7)
    whole = joined([one, other, Spread()])
    assert (whole.counts, whole.count, whole.most) == (both.counts, both.count, both.most)
    assert Spread().quantile(0.5) is None
