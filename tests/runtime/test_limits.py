"""The limit that adapts: fewer in hand with failures, more with successes, and slowness is neither."""

from hypothesis import given
from hypothesis import strategies as st

from relayd.runtime.limits import AimdLimit


def test_failures_of_what_was_let_in_together_are_one() -> None:
    """Sixteen messages that fail in one outage halve the limit once, not sixteen times."""
    limit = AimdLimit(16)
    changes = [limit.failed(began=0.0, now=30.0 + number / 100) for number in range(16)]
    assert changes == [True] + [False] * 15
    assert limit.value == 8


def test_what_was_begun_under_the_new_limit_counts_again() -> None:
    """The next decrease is for work that the limit of the last one let in."""
    limit = AimdLimit(16)
    limit.failed(began=0.0, now=10.0)
    assert not limit.failed(began=10.0, now=11.0), "it began before the decrease was known"
    assert limit.failed(began=10.1, now=11.0)
    assert limit.value == 4


def test_the_floor_is_one() -> None:
    """However long it fails, one message may be in hand: somebody has to find out that it works again."""
    limit = AimdLimit(16)
    for second in range(100):
        limit.failed(began=float(second), now=second + 0.5)
    assert limit.value == 1


def test_it_grows_by_one_for_each_limitful() -> None:
    """Additive increase: four successes at a limit of four make five; and never beyond all slots."""
    limit = AimdLimit(16)
    limit.start_at(4)
    grown = [limit.succeeded() for _ in range(5)]
    assert limit.value == 5
    assert grown.count(True) == 1
    for _ in range(1000):
        limit.succeeded()
    assert limit.value == 16


def test_a_limit_of_one_is_back_at_all_slots_soon() -> None:
    """It takes as many successes as the steps between add up to, and not for ever."""
    limit = AimdLimit(16)
    limit.start_at(1)
    successes = 0
    while limit.value < 16:
        limit.succeeded()
        successes += 1
    assert successes <= sum(range(1, 17))


def test_it_starts_again_between_one_and_all() -> None:
    """After an outage it begins where it is told, within its bounds."""
    limit = AimdLimit(8)
    limit.start_at(100)
    assert limit.value == 8
    limit.start_at(0)
    assert limit.value == 1


@given(
    st.integers(1, 64),
    st.lists(st.tuples(st.booleans(), st.floats(0, 60), st.floats(0, 60)), max_size=200),
)
def test_it_stays_within_its_bounds(most: int, results: list[tuple[bool, float, float]]) -> None:
    """Any run of results, whenever they began: between one and all slots, and a decrease at most halves."""
    limit = AimdLimit(most)
    now = 0.0
    for succeeded, took, passed in results:
        now += passed
        before = limit.value
        changed = limit.succeeded() if succeeded else limit.failed(max(0.0, now - took), now)
        assert 1 <= limit.value <= most
        assert changed == (limit.value != before)
        assert limit.value >= before if succeeded else before // 2 <= limit.value <= before
