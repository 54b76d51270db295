"""The breaker of one dependency: what opens it, for how long, and how it comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.errors import HoldError
from relayd.runtime.breaker import (
    DISTINCT,
    KNOWN_SECONDS,
    PAUSE_CAP,
    PAUSE_FIRST,
    PAUSE_NARROW,
    WINDOW_LEAST,
    WINDOW_SECONDS,
    Breaker,
)

WIDE = HoldError("s3", "credentials_refused")
NARROW = HoldError("s3", "access_denied", wide=False)
MOST = 16


def breaker() -> Breaker:
    """One whose pauses are as long as they can be."""
    return Breaker(spread=lambda _least, most: most)


def closes(one: Breaker, now: float) -> int:
    """How many successes it takes."""
    count = 0
    while one.state != "closed":
        one.succeeded(now, MOST)
        count += 1
    return count


def test_what_concerns_everybody_opens_at_once() -> None:
    """Nothing is allowed from then on, and the next try is five seconds away."""
    one = breaker()
    assert one.allowance(MOST) == MOST
    assert one.met(WIDE, "a", 100.0)
    assert (one.state, one.reason, one.allowance(MOST)) == ("open", "credentials_refused", 0)
    assert one.left(100.0) == PAUSE_FIRST
    assert one.left(103.0) == PAUSE_FIRST - 3
    assert not one.probe_due(104.9)
    assert one.probe_due(105.0)


def test_many_that_meet_one_outage_are_one_outage() -> None:
    """While it is open, others of the same time neither open it again nor move its end."""
    one = breaker()
    one.met(WIDE, "a", 100.0)
    assert not any(one.met(WIDE, str(number), 101.0) for number in range(20))
    assert not one.failed(101.0, "s3_timeout")
    assert one.left(101.0) == PAUSE_FIRST - 1


def test_the_time_that_was_told_is_waited_for() -> None:
    """A quota that lasts ten minutes is asked about after ten minutes; a later word may only add to it."""
    one = breaker()
    one.met(HoldError("ses", "ses_daily_quota", retry_after=600.0), "a", 0.0)
    assert one.left(0.0) == 600.0
    one.met(HoldError("ses", "ses_daily_quota", retry_after=900.0), "b", 10.0)
    assert one.left(10.0) == 900.0
    one.met(HoldError("ses", "ses_daily_quota", retry_after=1.0), "c", 10.0)
    assert one.left(10.0) == 900.0


def test_one_object_s_trouble_opens_after_three_distinct() -> None:
    """The same one may meet it as often as it likes."""
    one = breaker()
    assert not any(one.met(NARROW, "a", float(number)) for number in range(100))
    assert not one.met(NARROW, "b", 100.0)
    assert one.met(NARROW, "c", 101.0)
    assert DISTINCT == 3
    assert one.left(101.0) == PAUSE_NARROW


def test_a_success_between_starts_the_count_again() -> None:
    """Two bad mailboxes, a good one, and two bad ones more are no outage."""
    one = breaker()
    for subject in "abc":
        one.succeeded(1.0, MOST)
        assert not one.met(NARROW, subject, 1.0)
        assert not one.met(NARROW, subject + "'", 1.0)
    assert one.state == "closed"


def test_those_that_are_known_are_no_news_for_an_hour() -> None:
    """The three that opened it come back, and come back again; after an hour they count again."""
    one = breaker()
    for subject in "abc":
        one.met(NARROW, subject, 0.0)
    one.probed(1.0, None)
    closes(one, 1.0)
    assert not any(one.met(NARROW, subject, 100.0 + number) for number in range(50) for subject in "abc")
    later = 149.0 + KNOWN_SECONDS
    assert [one.met(NARROW, subject, later) for subject in "abc"] == [False, False, True]


def test_the_memory_for_subjects_is_bounded() -> None:
    """A flood of distinct ones does not grow it, and never opens it as long as successes come between."""
    one = breaker()
    for number in range(5000):
        one.succeeded(1.0, MOST)
        assert not one.met(NARROW, str(number), 1.0)
    assert len(one._suspects) <= 1000


@pytest.mark.parametrize(
    ("failed", "worked", "opens"),
    [(WINDOW_LEAST - 1, 0, False), (WINDOW_LEAST, 0, True), (9, 11, False), (10, 10, True), (50, 51, False)],
)
def test_passing_failures_open_by_their_share(failed: int, worked: int, opens: bool) -> None:
    """At least ten results within half a minute, and half of them failures."""
    one = breaker()
    for _ in range(worked):
        one.succeeded(10.0, MOST)
    results = [one.failed(11.0, "s3_unavailable") for _ in range(failed)]
    assert (results[-1], one.state) == (opens, "open" if opens else "closed")


def test_old_failures_do_not_count() -> None:
    """One every four seconds is not an outage that half a minute could show."""
    one = breaker()
    assert not any(one.failed(number * 4.0, "s3_timeout") for number in range(1000))
    assert not any(one.failed(4000.0 + WINDOW_SECONDS + 0.1, "s3_timeout") for _ in range(WINDOW_LEAST - 1))


def test_pauses_double_up_to_five_minutes() -> None:
    """Each probe that fails doubles the time to the next one."""
    one = breaker()
    one.met(WIDE, "a", 0.0)
    pauses = []
    for _ in range(9):
        pauses.append(one.left(0.0))
        one.probed(0.0, "still")
    assert pauses == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]
    assert one.reason == "still"
    assert pauses[-1] == PAUSE_CAP


@given(st.integers(0, 12), st.floats(0, 1))
def test_pauses_are_spread_over_their_second_half(failures: int, where: float) -> None:
    """Replicas that saw one outage do not all probe at once."""
    one = Breaker(spread=lambda least, most: least + (most - least) * where)
    one.met(WIDE, "a", 0.0)
    for _ in range(failures):
        one.probed(0.0, "still")
    whole = min(PAUSE_CAP, PAUSE_FIRST * 2**failures)
    assert one.left(0.0) == pytest.approx(whole * (1 + where) / 2)


def test_the_usual_spread_is_random() -> None:
    """Two breakers that open in the same moment differ in their next probe."""
    pauses = set()
    for _ in range(20):
        one = Breaker()
        one.met(WIDE, "a", 0.0)
        pauses.add(one.left(0.0))
        assert PAUSE_FIRST / 2 <= one.left(0.0) <= PAUSE_FIRST
    assert len(pauses) > 10


def test_it_comes_back_by_steps() -> None:
    """One message after the probe, then two, four, eight, then all."""
    one = breaker()
    one.met(WIDE, "a", 0.0)
    assert one.probed(5.0, None)
    steps = [one.allowance(MOST)]
    while one.state != "closed":
        assert one.succeeded(6.0, MOST)
        steps.append(one.allowance(MOST))
    assert steps == [1, 2, 4, 8, 16]
    assert one.reason == ""


@pytest.mark.parametrize("most", [1, 2, 3, 10])
def test_steps_end_at_all_slots(most: int) -> None:
    """Never more than there are, and few slots need few steps."""
    one = breaker()
    one.met(WIDE, "a", 0.0)
    one.probed(5.0, None)
    for _ in range(4):
        assert 1 <= one.allowance(most) <= most
        one.succeeded(6.0, most)
    assert one.state == "closed"


@pytest.mark.parametrize("how", ["failed", "wide"])
def test_a_failure_on_the_way_back_opens_with_the_doubled_pause(how: str) -> None:
    """Else a dependency that answers probes, and nothing else, would be tried every five seconds for ever."""
    one = breaker()
    one.met(WIDE, "a", 0.0)
    pauses, now = [], 0.0
    for _ in range(8):
        pauses.append(one.left(now))
        now = one.until
        one.probed(now, None)
        assert one.failed(now, "s3_unavailable") if how == "failed" else one.met(WIDE, "b", now)
    assert pauses == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]


def test_after_it_was_well_the_next_outage_begins_small() -> None:
    """The doubled pauses belong to one outage, and so do its failures."""
    one = breaker()
    one.met(WIDE, "a", 0.0)
    for _ in range(6):
        one.probed(0.0, "still")
    for _ in range(20):
        one.failed(399.0, "s3_timeout")
    one.probed(400.0, None)
    closes(one, 400.0)
    assert not one.failed(401.0, "s3_timeout")
    one.met(WIDE, "a", 402.0)
    assert one.left(402.0) == PAUSE_FIRST


def test_half_open_waits_for_mail_as_long_as_it_takes() -> None:
    """A quiet night: it neither closes by itself nor probes on, and the first mail may come at any time."""
    one = breaker()
    one.met(WIDE, "a", 0.0)
    one.probed(5.0, None)
    assert not one.probe_due(1e6)
    assert one.left(1e6) == 0.0
    assert one.allowance(MOST) == 1
    assert closes(one, 1e6) == 4


def test_an_object_s_trouble_on_the_way_back_says_nothing_if_it_is_known() -> None:
    """One of the three comes first: the trial goes on with the next message."""
    one = breaker()
    for subject in "abc":
        one.met(NARROW, subject, 0.0)
    one.probed(1.0, None)
    assert not one.met(NARROW, "a", 1.0)
    assert one.allowance(MOST) == 1
    assert one.met(NARROW, "d", 1.0)
    assert one.left(1.0) == PAUSE_NARROW


def test_what_began_before_it_opened_is_old() -> None:
    """Only while it is not closed: then only what was begun since tells how it is."""
    one = breaker()
    assert not one.is_older(0.0)
    one.met(WIDE, "a", 100.0)
    assert one.is_older(99.0)
    assert not one.is_older(100.0)
    one.probed(105.0, None)
    assert one.is_older(99.0)
    assert not one.is_older(105.0)
    closes(one, 106.0)
    assert not one.is_older(99.0)


Event = tuple[str, int, float]
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["success", "failure", "wide", "narrow", "probe", "probe_fails"]),
        st.integers(0, 5),
        st.floats(0, 400),
    ),
    max_size=120,
)


@given(EVENTS, st.integers(1, 32))
def test_it_can_always_heal(events: list[Event], most: int) -> None:
    """Whatever came before, in any order: no longer than five minutes to the next probe, which with a few successes
    opens all slots again.
    """
    one, now = breaker(), 0.0
    for what, subject, passed in events:
        now += passed
        before = one.state
        match what:
            case "success":
                one.succeeded(now, most)
            case "failure":
                one.failed(now, "s3_timeout")
            case "wide":
                assert one.met(WIDE, str(subject), now) == (before != "open")
            case "narrow":
                one.met(NARROW, str(subject), now)
            case "probe":
                assert one.probed(now, None) == (before == "open")
            case "probe_fails":
                assert not one.probed(now, "still")
        assert 0 <= one.allowance(most) <= most
        assert (one.allowance(most) == 0) == (one.state == "open")
        # Times are floats: now + 300 - now may be a hair more.
        assert 0 <= one.left(now) <= PAUSE_CAP + 1e-6
    now += one.left(now)
    assert one.state != "open" or (one.probe_due(now) and one.probed(now, None))
    for _ in range(6):
        one.succeeded(now, most)
    assert one.state == "closed"
    assert one.allowance(most) == most
