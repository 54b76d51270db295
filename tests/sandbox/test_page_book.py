"""What the page remembers: facts in any order, in bounded memory."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from relayd.sandbox.child import Sent
from relayd.sandbox.outcomes import DeadLetter, Ended
from relayd.sandbox.page.book import STATES, Book
from relayd.sandbox.receiving import Accepted
from relayd.sandbox.traces import Span


def mail(mail_id: str, at: float = 10.0) -> Accepted:
    span = Span("t", "s", "", "x", 0.0, 1.0)
    return Accepted(mail_id, "t", "you@example.net", ("shop@mask.example",), "hello", 5, at, span)


def end(mail_id: str, state: str, delivery: str = "d", at: float = 10.5) -> Ended:
    return Ended(delivery, mail_id, "shop@mask.example", "me@home.example", state, "why", "", 0, at)


def state_of(book: Book, entry_id: str) -> str:
    entry = book.entry(entry_id)
    assert entry is not None
    return entry.state


def test_an_end_before_its_mail_is_kept_for_it() -> None:
    """The daemon can be quicker than the door's own thread."""
    book = Book()
    book.ended(end("m", "sent"))
    assert book.entry("m") is None
    book.arrived(mail("m"))
    assert state_of(book, "m") == "forwarded"
    assert book.latency().last == 500.0


def test_the_worst_end_names_the_mail() -> None:
    """One line has one word; a failure must not hide behind a success."""
    book = Book()
    book.arrived(mail("m"))
    assert state_of(book, "m") == "waiting"
    for number, (state, word) in enumerate((("discarded", "discarded"), ("sent", "forwarded"), ("failed", "failed"))):
        book.ended(end("m", state, f"d{number}"))
        assert state_of(book, "m") == word


def test_a_dead_letter_finds_its_mail_or_stands_for_itself() -> None:
    """A mail that was given up is one line, not two; a message that is no mail has a line of its own."""
    book = Book(clock=lambda: 99.0)
    mail_id = "v" * 40
    book.arrived(mail(mail_id))
    book.dead(DeadLetter("sqs-1", "retries_exhausted", f'{{"messageId": "{mail_id}"}}'))
    book.dead(DeadLetter("sqs-2", "not_json", "nothing"))
    assert state_of(book, mail_id) == "dead"
    assert book.entry("sqs-1") is None
    alone = book.entry("sqs-2")
    assert alone is not None
    assert (alone.mail, alone.at) == (None, 99.0)
    assert book.totals()["dead"] == 2


def test_only_what_changed_is_told_again() -> None:
    """Newest first, and nothing when nothing happened."""
    book = Book()
    for name in "abc":
        book.arrived(mail(name))
    entries, revision = book.changed(0, 10)
    assert [entry.entry_id for entry in entries] == ["c", "b", "a"]
    assert book.changed(revision, 10)[0] == []
    book.ended(end("a", "sent"))
    assert [entry.entry_id for entry in book.changed(revision, 10)[0]] == ["a"]
    assert [entry.entry_id for entry in book.changed(0, 2)[0]] == ["c", "b"]


def test_what_is_given_out_stays_as_it_is() -> None:
    """A reader on another thread must not see an entry change under its hands."""
    book = Book()
    book.arrived(mail("m"))
    before = book.entry("m")
    book.ended(end("m", "sent"))
    assert before is not None
    assert before.state == "waiting"


def test_memory_is_bounded() -> None:
    """The oldest lines and bytes make room; the totals still count them."""
    book = Book(max_entries=3, max_bytes=25)
    for number in range(5):
        book.keep(f"m{number}", b"x" * 10)
        book.arrived(mail(f"m{number}"))
        book.ended(end(f"m{number}", "sent", f"d{number}"))
    assert [book.entry(f"m{number}") is not None for number in range(5)] == [False, False, True, True, True]
    assert [book.received(f"m{number}") is not None for number in range(5)] == [False, False, False, True, True]
    assert book.totals()["forwarded"] == 5


def test_sends_are_found_by_their_delivery() -> None:
    """SES's word on a mail comes with relayd's tag."""
    book = Book()
    book.arrived(mail("m"))
    first = Sent(1, "ses-1", "", (), {"relayd-delivery": "d-1"}, 1.0)
    book.sent(first)
    book.sent(replace(first, number=2, tags={"relayd-delivery": "other-1"}))
    book.ended(end("m", "sent"))
    entry = book.entry("m")
    assert entry is not None
    assert [sent.number for _, sent in book.sends(entry)] == [1]


def test_latency_is_the_last_ones() -> None:
    """The median of an hour ago says nothing about now."""
    book = Book()
    for number in range(60):
        book.arrived(mail(f"m{number}"))
        book.ended(end(f"m{number}", "sent", f"d{number}", at=10.1 if number < 30 else 11.0))
    latency = book.latency()
    assert (latency.last, latency.p50, latency.count) == (1000.0, 1000.0, 50)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["arrived", "sent", "discarded", "failed"]))))
def test_the_totals_are_those_of_the_entries(steps: list[tuple[str, str]]) -> None:
    """Whatever comes in whatever order: each entry is counted once, under its state."""
    book = Book()
    known: set[str] = set()
    for name, step in steps:
        if step == "arrived":
            if name not in known:
                book.arrived(mail(name))
            known.add(name)
        else:
            book.ended(end(name, step, f"{name}-{step}"))
    states = [state_of(book, name) for name in known]
    assert {state: book.totals()[state] for state in STATES} == {state: states.count(state) for state in STATES}


def test_replies_notices_and_what_is_held_back_have_states_of_their_own() -> None:
    """A reply is not a forward, a notice came from nobody, and a mail that waits is not lost."""
    book = Book()
    book.arrived(mail("m"))
    book.ended(replace(end("m", "discarded"), held="q1"))
    assert state_of(book, "m") == "held"
    # Released: the entry is no longer waiting, and a delivery follows.
    book.ended(replace(end("m", "discarded"), held="", reason="released"))
    book.ended(end("m", "sent", "d2"))
    assert state_of(book, "m") == "forwarded"
    book.arrived(mail("r"))
    book.ended(replace(end("r", "sent", "d3"), kind="reply"))
    assert state_of(book, "r") == "replied"
    book.ended(replace(end("notice-1", "sent", "d4"), kind="notice", notice="mask_disabled"))
    assert state_of(book, "notice-1") == "notice"
    totals = book.totals()
    assert {state: count for state, count in totals.items() if count} == {
        "forwarded": 1, "replied": 1, "notice": 1, "deliveries": 2,
    }  # fmt: skip


def test_one_mailbox_of_two_held_back_is_still_forwarded() -> None:
    """The word on the line is what the owner sees first: mail came."""
    book = Book()
    book.arrived(mail("m"))
    book.ended(replace(end("m", "discarded"), held="q1"))
    book.ended(end("m", "sent", "d2"))
    assert state_of(book, "m") == "forwarded"
