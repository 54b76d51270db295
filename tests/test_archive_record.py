"""Records of dead letters: whatever a letter holds comes back from its record, and no other bytes are taken for one."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.adapters.dead_letter_queue import Attribute
from relayd.errors import PermanentError
from relayd.model.message import Message
from relayd.ops.archive_record import RawMail, Record, digest, read_record, safe_id, to_bytes
from relayd.ops.letter_facts import DeadLetter
from tests.letters import letter, record

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
"""Anything that has a UTF-8 form."""
TIMES = st.integers(0, 4_102_444_800_000).map(lambda number: number / 1000)
"""To the millisecond, as SQS tells them."""
COUNTS = st.integers(0, 10**9)
ATTRIBUTES = st.dictionaries(
    TEXT.filter(bool),
    st.builds(Attribute, st.sampled_from(["String", "Number", "String.x", "Binary"]), TEXT | st.binary(max_size=20)),
    max_size=5,
)


@st.composite
def letters(draw: st.DrawFn) -> DeadLetter:
    attributes = draw(ATTRIBUTES)
    texts = {
        name: one.value
        for name, one in attributes.items()
        if one.kind.startswith("String") and isinstance(one.value, str)
    }
    message = Message(
        draw(TEXT), "", draw(TEXT), draw(COUNTS), draw(TIMES), draw(TIMES), texts, draw(st.none() | TEXT.filter(bool))
    )
    return DeadLetter(
        message,
        draw(TEXT),
        draw(TEXT),
        draw(TEXT),
        draw(TIMES),
        draw(TIMES),
        draw(COUNTS),
        attributes,
        draw(st.none() | TEXT.filter(bool)),
    )


RECORDS = st.builds(
    Record,
    letters(),
    TEXT,
    TIMES.filter(bool),
    st.none() | TEXT.filter(bool),
    TIMES,
    st.lists(TEXT, max_size=3).map(tuple),
    st.none() | st.builds(RawMail, TEXT.filter(bool), COUNTS),
)


@settings(deadline=None)
@given(RECORDS)
def test_whatever_it_holds_comes_back(one: Record) -> None:
    """Every field, to the millisecond."""
    assert read_record(to_bytes(one)) == one


@settings(deadline=None)
@given(
    st.binary()
    | st.text().map(str.encode)
    | st.recursive(st.none() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_any_other_bytes_are_none(data: bytes) -> None:
    """Refused with a reason, never with anything else."""
    with pytest.raises(PermanentError):
        read_record(data)


@settings(deadline=None)
@given(st.data())
def test_half_a_record_is_none(data: st.DataObject) -> None:
    """Cut off anywhere; a byte changed anywhere is refused, or makes no difference to what is replayed."""
    whole = to_bytes(record("a body", own={"traceparent": "x"}))
    with pytest.raises(PermanentError):
        read_record(whole[: data.draw(st.integers(0, len(whole) - 3))])
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 127))]) + whole[place + 1 :]
    try:
        found = read_record(changed)
    except PermanentError:
        return
    assert digest(found.letter) == digest(record("a body", own={"traceparent": "x"}).letter)


@pytest.mark.parametrize(
    "field",
    sorted(
        json.loads(to_bytes(record())).keys()
        - {"mail_id", "mail", "first_failed_at", "last_failed_at", "first_received_at"}
    ),
)
def test_a_field_that_is_missing(field: str) -> None:
    """The place is named."""
    document = json.loads(to_bytes(record()))
    del document[field]
    with pytest.raises(PermanentError, match=field if field != "digest" else "digest"):
        read_record(json.dumps(document).encode())


def test_a_later_relayd_may_know_more() -> None:
    """Fields that this one does not know do no harm; another version does."""
    document = json.loads(to_bytes(record())) | {"colour": "blue"}
    assert read_record(json.dumps(document).encode()).letter == replace_handle(record().letter)
    for version in (0, 2, "1", True, None):
        with pytest.raises(PermanentError):
            read_record(json.dumps(document | {"version": version}).encode())


def test_what_makes_two_letters_the_same() -> None:
    """Not when, nor how often, nor under which id it lies in the dead-letter queue, nor what failed in detail."""
    same = [
        letter(),
        letter(sqs_id="d2"),
        letter(receive_count=5),
        replace(letter(), failed_at=1.0, first_received_at=2.0, detail="other", source_arn="arn"),
    ]
    other = [
        letter("body "),
        letter(message_id="m2"),
        letter(reason="bug"),
        letter(own={"a": "b"}),
        letter(own={"a": "c"}),
        letter(trace_header="Root=1"),
    ]
    assert len({digest(one) for one in same}) == 1
    assert len({digest(one) for one in (same[0], *other)}) == 1 + len(other)


def test_years_that_no_calendar_has() -> None:
    """An attribute may say anything; the record is written all the same."""
    one = record()
    odd = replace(
        one, letter=replace(one.letter, first_received_at=1e18, failed_at=-1e18), first_failed_at=float("inf")
    )
    found = read_record(to_bytes(odd))
    assert (found.letter.first_received_at, found.letter.failed_at, found.first_failed_at) == (0.0, 0.0, 0.0)


@settings(deadline=None)
@given(st.text())
def test_names_are_plain(message_id: str) -> None:
    """On every file system, and as a key of S3."""
    name = safe_id(message_id)
    assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert 0 < len(name) <= 80


def replace_handle(one: DeadLetter) -> DeadLetter:
    """As it comes back: no archive can settle a message."""
    return replace(one, message=replace(one.message, receipt_handle=""))
