"""What a dead letter says, within SQS's limits."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relayd.adapters.dead_letters import (
    DETAIL,
    FIRST_RECEIVED,
    MAX_ATTRIBUTES,
    MAX_DETAIL,
    MAX_MESSAGE,
    MESSAGE_ID,
    OURS,
    REASON,
    fitting_attributes,
    safe_detail,
)
from relayd.model.message import Message


def size(message: Message, attributes: dict[str, dict[str, str]]) -> int:
    parts = [message.body, *attributes, *(part for value in attributes.values() for part in value.values())]
    return sum(len(part.encode()) for part in parts)


def test_says_why_and_which() -> None:
    """Reason, detail, id, count and the first receive's time stand in attributes."""
    message = Message("m1", "h1", "body", receive_count=3, first_received_at=1_700_000_000)
    assert {
        name: value["StringValue"] for name, value in fitting_attributes(message, "not_json", "at byte 3").items()
    } == {
        "relayd-reason": "not_json",
        "relayd-detail": "at byte 3",
        "relayd-original-message-id": "m1",
        "relayd-receive-count": "3",
        "relayd-first-received": "2023-11-14T22:13:20+00:00",
    }


def test_empty_values_are_left_out() -> None:
    """SQS refuses an empty attribute."""
    assert DETAIL not in fitting_attributes(Message("m1", "h1", "body"), "not_json", "")


def test_reasons_come_before_the_messages_own() -> None:
    """With more than ten attributes, ours stay and the message's last ones go."""
    own = {f"own-{number}": "x" for number in range(10)}
    kept = fitting_attributes(Message("m1", "h1", "b", first_received_at=1, attributes=own), "not_json", "here")
    assert len(kept) == MAX_ATTRIBUTES
    assert set(OURS) < set(kept)


def test_a_second_dead_letter_tells_the_second_reason() -> None:
    """A message that was replayed and failed again does not keep its old reason."""
    old = {REASON: "old", MESSAGE_ID: "m0"}
    kept = fitting_attributes(Message("m1", "h1", "b", attributes=old), "new", "")
    assert (kept[REASON]["StringValue"], kept[MESSAGE_ID]["StringValue"]) == ("new", "m1")


def first_received(*, now: float, carried: str | None = None) -> str | None:
    attributes = {} if carried is None else {FIRST_RECEIVED: carried}
    kept = fitting_attributes(Message("m1", "h1", "b", first_received_at=now, attributes=attributes), "not_json", "")
    return kept[FIRST_RECEIVED]["StringValue"] if FIRST_RECEIVED in kept else None


NOW, IN_WORDS = 1_700_000_000.0, "2023-11-14T22:13:20+00:00"


@pytest.mark.parametrize(
    ("carried", "kept"),
    [
        ("2023-11-01T08:00:00+00:00", "2023-11-01T08:00:00+00:00"),
        ("2023-11-01T08:00:00Z", "2023-11-01T08:00:00+00:00"),
        ("2023-11-01T08:00:00", "2023-11-01T08:00:00+00:00"),
        ("2023-11-01T09:00:00+01:00", "2023-11-01T08:00:00+00:00"),
        ("2024-01-01T00:00:00+00:00", IN_WORDS),
        ("1969-12-31T23:59:59+00:00", IN_WORDS),
        ("0001-01-01T00:00:00+14:00", IN_WORDS),
        ("yesterday", IN_WORDS),
        ("", IN_WORDS),
        (None, IN_WORDS),
    ],
)
def test_the_first_time_of_all_is_kept(carried: str | None, kept: str) -> None:
    """A replayed message that fails again was first received before its replay; nonsense says nothing."""
    assert first_received(now=NOW, carried=carried) == kept


def test_a_time_that_only_the_attribute_knows() -> None:
    """SQS gave none: the carried one stays, and nonsense is left out."""
    assert first_received(now=0.0, carried="2023-11-01T08:00:00+00:00") == "2023-11-01T08:00:00+00:00"
    assert first_received(now=0.0, carried="yesterday") is None


@given(st.text(max_size=40))
@example("9999-12-31T23:59:59.999999-23:59")
def test_any_carried_text_is_read_or_passed_over(carried: str) -> None:
    """Whoever may write to the queue chooses it."""
    kept = first_received(now=NOW, carried=carried)
    assert kept is not None
    assert kept <= IN_WORDS


@given(st.integers(0, 300), st.dictionaries(st.text(min_size=1, max_size=10), st.text(max_size=200), max_size=12))
def test_always_fits(free: int, own: dict[str, str]) -> None:
    """Whatever the message holds, body and attributes stay within SQS's limits."""
    message = Message("m1", "h1", "x" * (MAX_MESSAGE - free), attributes=own)
    kept = fitting_attributes(message, "not_json", "detail")
    assert size(message, kept) <= MAX_MESSAGE
    assert len(kept) <= MAX_ATTRIBUTES
    assert all(value["StringValue"] for value in kept.values())
    if free >= 50:
        assert REASON in kept


@given(st.text())
def test_details_are_safe(detail: str) -> None:
    """A detail is printable ASCII on one line, short, and holds no address."""
    safe = safe_detail(f"{detail} someone@private.example {detail}")
    assert safe.isascii()
    assert not safe or safe.isprintable()
    assert len(safe) <= MAX_DETAIL
    assert "@" not in safe or "private" not in safe
