"""Which of a mask's mailboxes get their mail now, later, or from quarantine."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.model.decision import Waiting
from relayd.rules.mailboxes import LONGEST_WAIT, SOFT_PAUSE_SECONDS, Sorted, sort
from tests.rules.cases import EVIDENCE, MAILBOX, NOW, SECOND, paused

HOUR = 3600.0


def since(seconds: float) -> float:
    return NOW - seconds


def test_a_mailbox_without_a_pause_is_ready() -> None:
    """In the mask's order."""
    assert sort((SECOND, MAILBOX), EVIDENCE) == Sorted((SECOND, MAILBOX), (), ())


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_a_pause_that_has_ended_holds_nothing(kind: str) -> None:
    """To the second: what it said until then is not true any more."""
    assert sort((paused(MAILBOX, kind, 0),), EVIDENCE).ready
    assert not sort((paused(MAILBOX, kind, 1),), EVIDENCE).ready


def test_a_hard_pause_holds() -> None:
    """However short it is."""
    gone = paused(MAILBOX, "hard", 1)
    assert sort((gone, SECOND), EVIDENCE) == Sorted((SECOND,), (gone,), ())


@pytest.mark.parametrize(
    ("left", "waited", "seconds"),
    [
        (600, 5, 600),
        (5 * HOUR, 5, LONGEST_WAIT),
        (5 * HOUR, 5.5 * HOUR, 1800),
        (60, 5.5 * HOUR, 60),
        (5 * HOUR, 6 * HOUR - 1, 1),
    ],
)
def test_a_soft_pause_waits(left: float, waited: float, seconds: float) -> None:
    """Until it ends, an hour at most at a time, and no longer than six hours after the mail came."""
    full = paused(MAILBOX, "soft", left)
    found = sort((full,), replace(EVIDENCE, received_at=since(waited)))
    assert found == Sorted((), (), (Waiting(full, seconds),))


def test_a_soft_pause_holds_in_the_end() -> None:
    """Six hours after the mail came it goes to quarantine, though the mailbox may have been paused anew."""
    full = paused(MAILBOX, "soft", 3 * HOUR)
    assert sort((full,), replace(EVIDENCE, received_at=since(SOFT_PAUSE_SECONDS))).held == (full,)


def test_a_mail_of_an_unknown_age_waits_for_the_pause_alone() -> None:
    """The notification does not say when it came: nobody can count its hours."""
    full = paused(MAILBOX, "soft", 600)
    assert sort((full,), replace(EVIDENCE, received_at=0.0)).waiting == (Waiting(full, 600.0),)


def test_an_unverified_mailbox_is_in_none() -> None:
    """Nothing is for it, so nothing of it is held."""
    assert sort((replace(MAILBOX, verified=False),), EVIDENCE) == Sorted((), (), ())


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_what_was_released_goes_out(kind: str) -> None:
    """A person knows better than an old bounce; but only about bounces."""
    gone = paused(MAILBOX, kind, 60)
    assert sort((gone,), replace(EVIDENCE, released=frozenset({"bounce_pause"}))).ready == (gone,)
    assert not sort((gone,), replace(EVIDENCE, released=frozenset({"spam"}))).ready


@given(
    st.lists(st.tuples(st.sampled_from(["hard", "soft"]), st.floats(-1e6, 1e6), st.booleans()), max_size=5),
    st.floats(0, 2e9),
)
def test_each_verified_mailbox_is_in_exactly_one(specs: list[tuple[str, float, bool]], received_at: float) -> None:
    """And who waits does so for more than nothing and at most an hour, or a message would turn without end."""
    boxes = [
        replace(paused(MAILBOX, kind, left), mailbox_id=str(number), verified=verified)
        for number, (kind, left, verified) in enumerate(specs)
    ]
    found = sort(boxes, replace(EVIDENCE, received_at=received_at))
    together = [*found.ready, *found.held, *(waiting.mailbox for waiting in found.waiting)]
    assert sorted(box.mailbox_id for box in together) == [box.mailbox_id for box in boxes if box.verified]
    assert all(0 < waiting.seconds <= LONGEST_WAIT for waiting in found.waiting)
