"""The hop header: signed with the first secret, verified with all, bounded."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from relayd.mail.hops import count, sign

OLD, NEW = b"o" * 32, b"n" * 32


@given(st.integers(1, 99))
def test_a_signed_count_is_read_back(number: int) -> None:
    """What was signed verifies, also after the secret has been rotated to the second place."""
    value = sign(number, [OLD])
    assert count([value], [OLD]) == number
    assert count([value], [NEW, OLD]) == number


def test_the_highest_verified_count_counts() -> None:
    """Several headers: the highest that verifies; forged, foreign and unreadable ones count as nothing."""
    forged = sign(9, [b"x" * 32])
    swapped = sign(1, [OLD]).replace("n=1", "n=7")
    assert count([sign(1, [OLD]), forged, swapped, "", "n=3", sign(2, [OLD])], [OLD]) == 2
    assert count([forged, swapped], [OLD, NEW]) == 0


def test_only_so_many_values_are_looked_at() -> None:
    """A stranger's thousand headers do not cost a thousand HMACs."""
    looked: list[int] = []

    def values() -> Iterator[str]:
        for number in range(1000):
            looked.append(number)
            yield sign(1, [NEW])

    assert count(values(), [OLD]) == 0
    assert len(looked) < 50


@given(st.text())
def test_any_value_is_only_unverified(value: str) -> None:
    """No text raises, and none verifies by chance."""
    assert count([value], [OLD]) == 0
