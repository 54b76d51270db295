"""Retries by arithmetic, and one outcome of many deliveries."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.errors import HoldError, TransientError
from relayd.model.delivery import Tries
from relayd.model.message import Accepted, Deferred, Rejected, Released
from relayd.rules.retry import (
    CONTENT_MISSING_SECONDS,
    LONGEST_DELAY,
    LONGEST_REQUEST,
    MAX_BUGS,
    PAUSED,
    DeliveryResult,
    after_bug,
    after_transient,
    paused,
    settle_message,
    uncharged_delay,
)

DAY = 24 * 3600.0
SENT = DeliveryResult("sent", "sent")
SPAM = DeliveryResult("discarded", "spam")
BROKEN = DeliveryResult("failed", "message_rejected", detail="status 400")
GONE = DeliveryResult("failed", "content_missing")
SLOW = DeliveryResult("open", "s3_timeout", delay=40, charged=True)
BUSY = DeliveryResult("open", "claim_busy", delay=10)
UNTRIED = DeliveryResult("open", "stopping", released=True)


def transient(failures: int, jitter: float, age: float = 0.0, **error: float) -> Deferred | Rejected:
    retry_after = error.get("retry_after")
    tries = Tries(failures, 0, age)
    return after_transient(
        TransientError("s3_timeout", retry_after=retry_after), tries, retry_seconds=DAY, jitter=jitter
    )


@pytest.mark.parametrize(("failures", "whole"), [(1, 5), (2, 10), (3, 20), (8, 640), (9, 900), (10, 900), (10**6, 900)])
def test_delays_double_up_to_a_quarter_of_an_hour(failures: int, whole: float) -> None:
    """Each delay lies between half and the whole of a step, and the steps double."""
    assert transient(failures, 0.0) == Deferred(whole / 2, "s3_timeout")
    assert transient(failures, 1.0) == Deferred(whole, "s3_timeout")


@given(st.integers(0, 10**9), st.floats(0, 1))
def test_no_delay_is_out_of_range(failures: int, jitter: float) -> None:
    """For any count, zero included, SQS gets a delay that it takes."""
    outcome = transient(failures, jitter)
    assert isinstance(outcome, Deferred)
    assert 2.5 <= outcome.delay <= LONGEST_DELAY


def test_retry_after_replaces_the_delay() -> None:
    """The other side knows better, up to what SQS can do."""
    assert transient(1, 0.5, retry_after=120.0) == Deferred(120.0, "s3_timeout")
    assert transient(9, 0.5, retry_after=1.0) == Deferred(1.0, "s3_timeout")
    assert transient(1, 0.5, retry_after=math.inf) == Deferred(LONGEST_REQUEST, "s3_timeout")


@pytest.mark.parametrize("nonsense", [0.0, -5.0, math.nan])
def test_retry_after_that_says_nothing_is_not_obeyed(nonsense: float) -> None:
    """A delay of nothing would be a tight loop."""
    assert transient(1, 1.0, retry_after=nonsense) == Deferred(5.0, "s3_timeout")


def test_retries_exhausted() -> None:
    """Age decides, and the last failure is named; the number of tries says nothing."""
    assert transient(1, 0.5, age=DAY) == Rejected("retries_exhausted", "s3_timeout")
    assert isinstance(transient(1000, 0.5, age=DAY - 1), Deferred)


def test_content_missing() -> None:
    """S3 writes before SES notifies: a missing object is waited for, but not for a day."""
    error = TransientError("content_missing")
    early = after_transient(error, Tries(2, 0, CONTENT_MISSING_SECONDS - 1), retry_seconds=DAY, jitter=1.0)
    late = after_transient(error, Tries(9, 0, CONTENT_MISSING_SECONDS), retry_seconds=DAY, jitter=1.0)
    assert early == Deferred(10.0, "content_missing")
    assert late == Rejected("content_missing")


def test_a_narrow_hold_is_tried_again_like_any_failure() -> None:
    """Until three messages agree, the trouble may be one object's."""
    error = HoldError("s3", "access_denied", wide=False)
    assert after_transient(error, Tries(1, 0, 0), retry_seconds=DAY, jitter=1.0) == Deferred(5.0, "access_denied")


def test_uncharged_failures_wait_without_counting() -> None:
    """Nothing is held against the message, and it comes back when the ledger, or SES, says."""
    assert uncharged_delay(TransientError("claim_busy", retry_after=42.0, charged=False), 1, jitter=0.5) == Deferred(
        42.0, "claim_busy", charged=False
    )
    assert uncharged_delay(TransientError("throttled", charged=False), 1, jitter=0.0) == Deferred(
        15.0, "throttled", charged=False
    )
    assert uncharged_delay(TransientError("throttled", charged=False), 1, jitter=1.0) == Deferred(
        30.0, "throttled", charged=False
    )


def test_uncharged_delays_grow_with_the_receives() -> None:
    """A day of throttling must stay far below the queue's net of 1,000 receives."""
    waited, receives = 0.0, 0
    while waited < DAY:
        receives += 1
        waited += uncharged_delay(TransientError("throttled", charged=False), receives, jitter=0.5).delay
    assert receives < 300


def test_bugs() -> None:
    """Ten tries at most, backing off, then a dead letter."""
    outcomes = [after_bug(Tries(bugs, bugs, 0), jitter=1.0) for bugs in range(1, MAX_BUGS + 1)]
    assert outcomes[:3] == [Deferred(5.0, "bug"), Deferred(10.0, "bug"), Deferred(20.0, "bug")]
    assert [isinstance(outcome, Rejected) for outcome in outcomes] == [False] * 9 + [True]
    assert outcomes[-1] == Rejected("bug")


@pytest.mark.parametrize(
    ("results", "outcome"),
    [
        ([], Accepted("no_recipient")),
        ([SENT], Accepted("forwarded")),
        ([SPAM], Accepted("spam")),
        ([SPAM, SENT], Accepted("forwarded")),
        ([SPAM, DeliveryResult("discarded", "unknown_mask")], Accepted("spam")),
        ([SENT, BROKEN], Rejected("message_rejected", "status 400")),
        ([GONE, SENT, BROKEN], Rejected("content_missing")),
        ([SENT, SLOW], Deferred(40, "s3_timeout", charged=True)),
        ([BROKEN, SLOW], Deferred(40, "s3_timeout", charged=True)),
        ([SLOW, BUSY], Deferred(10, "claim_busy", charged=True)),
        ([BUSY], Deferred(10, "claim_busy", charged=False)),
        ([UNTRIED], Released("stopping", 0)),
        ([SENT, UNTRIED, BROKEN], Released("stopping", 0)),
        ([UNTRIED, SLOW], Deferred(40, "s3_timeout", charged=True)),
        ([UNTRIED, DeliveryResult("open", "hold", delay=9, released=True)], Released("stopping", 0)),
    ],
)
def test_one_outcome_of_many_deliveries(results: list[DeliveryResult], outcome: object) -> None:
    """Open while any is open, then rejected if any failed, else done."""
    assert settle_message(results) == outcome


@given(st.lists(st.sampled_from([SENT, SPAM, BROKEN, GONE, SLOW, BUSY, UNTRIED])))
def test_a_message_is_deleted_only_when_nothing_is_open(results: list[DeliveryResult]) -> None:
    """Whatever the mix, an open delivery keeps the message and a failed one makes a dead letter."""
    outcome = settle_message(results)
    assert isinstance(outcome, Deferred | Released) == any(result.state == "open" for result in results)
    if not isinstance(outcome, Deferred | Released):
        assert isinstance(outcome, Rejected) == any(result.state == "failed" for result in results)


@pytest.mark.parametrize(("receives", "delay"), [(0, 30), (1, 30), (2, 60), (29, 870), (30, 900), (10**6, 900)])
def test_paused_mail_comes_back_ever_later(receives: int, delay: float) -> None:
    """Half a minute for each receive, up to a quarter of an hour; untried, and so nothing is charged."""
    assert paused(receives) == DeliveryResult("open", PAUSED, delay=delay, released=True)
    assert settle_message([paused(receives), SENT]) == Released(PAUSED, delay)


def receives_within(seconds: float) -> int:
    """How often mail that is paused for so long is given out, when each look takes no time."""
    count, passed = 0, 0.0
    while passed <= seconds:
        count += 1
        passed += paused(count).delay
    return count


def test_a_pause_is_far_from_the_queue_s_net() -> None:
    """In SQS's usual retention of 4 days it costs 400 receives; 1,000 are ten days away."""
    assert 390 < receives_within(4 * DAY) < 410
    assert receives_within(10 * DAY) < 1000 < receives_within(11 * DAY)


def test_what_failed_or_waits_beside_a_pause_counts_as_ever() -> None:
    """The message comes back for whatever was tried; it is dead-lettered only when the paused delivery has ended."""
    assert settle_message([paused(3), SLOW]) == Deferred(40, "s3_timeout")
    assert settle_message([paused(3), BROKEN]) == Released(PAUSED, 90)
