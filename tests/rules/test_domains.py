"""Which domain rule covers an address, and what the mask that it makes is called."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.rules.domains import ANYTHING, best, mask_id


@pytest.mark.parametrize(
    ("pattern", "local", "covers"),
    [
        ("*", "anything", True),
        ("shop", "shop", True),
        ("shop", "shops", False),
        ("shop-*", "shop-amazon", True),
        ("shop-*", "shop-", True),
        ("shop-*", "shop", False),
        ("*-shop", "a-shop", True),
        ("*-shop", "a-shop-b", False),
        ("a*b*c", "a1b2c", True),
        ("a*b*c", "abc", True),
        ("a*b*c", "acb", False),
        # What one run takes, no other may take too.
        ("ab*ba", "aba", False),
        ("a*a", "a", False),
        ("*x*x*", "x", False),
        ("**", "x", True),
        # Nothing but the star is special.
        ("a.b", "axb", False),
        ("a?", "ab", False),
        ("[ab]", "a", False),
    ],
)
def test_patterns(pattern: str, local: str, covers: bool) -> None:
    """A star is any run of characters, also none."""
    assert (best(local, [pattern]) == pattern) is covers


@given(st.text("ab*", max_size=8), st.text("ab", min_size=1, max_size=8))
def test_patterns_are_what_a_regular_expression_would_be(pattern: str, local: str) -> None:
    """The same answer as an engine that tries everything."""
    expression = ".*".join(re.escape(part) for part in pattern.split(ANYTHING))
    assert (best(local, [pattern]) is not None) is (re.fullmatch(expression, local, re.DOTALL) is not None)


@pytest.mark.parametrize("local", ["", "a..b", ".a", "a.", '"a b"', "a b", "gr\u00fc\u00df", "x" * 65])
def test_no_rule_makes_a_mask_that_could_not_answer(local: str) -> None:
    """SES sends from dot-atoms only, so a catch-all takes no other local part."""
    assert best(local, ["*"]) is None
    assert best("a.b", ["*"]) == "*"


def test_the_pattern_that_says_most_wins() -> None:
    """The catch-all last; of two that say as much, always the same one."""
    rules = ["*", "shop-*", "*-eu", "shop-*-eu"]
    assert best("shop-x-eu", rules) == "shop-*-eu"
    assert best("shop-x", rules) == "shop-*"
    assert best("other", rules) == "*"
    assert best("ab", ["a*", "*b"]) == best("ab", ["*b", "a*"])
    assert best("other", ["shop-*"]) is None
    assert best("other", []) is None


def test_a_pattern_of_stars_takes_no_time() -> None:
    """A stranger chooses the local part."""
    began = time.perf_counter()
    assert best("a" * 64, ["*a" * 60 + "b"]) is None
    assert best("a" * 100_000, ["*a" * 1000 + "b*"]) is None
    assert time.perf_counter() - began < 0.5


def test_two_who_meet_an_address_first_make_the_same_mask() -> None:
    """And another rule, or another address, makes another one."""
    assert mask_id("rule", "x@mask.example") == mask_id("rule", "x@mask.example")
    assert len({mask_id("rule", "x@m.example"), mask_id("rule2", "x@m.example"), mask_id("rule", "y@m.example")}) == 3
    assert len(mask_id("rule", "x@mask.example")) <= 32
