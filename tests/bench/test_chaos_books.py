"""The fault harness's books: conservation, duplicates and what explains them, and what went astray."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.chaos import truth
from bench.chaos.books import Account, Facts, Row, Send, account
from relayd.sandbox.samples import Expected, Sample

SHOP, ADA, JOAN = "shop@mask.example", "ada@home.example", "joan@home.example"
MAIL = "m" * 40
SAMPLE = Sample(7, "plain", Expected(frozenset({(SHOP, ADA)})), b"")
ROW = Row("d1", MAIL, SHOP, ADA, "sent", "")
SEND = Send("d1", "1", (ADA,), 7)


def books(
    expected: Expected = SAMPLE.expected,
    *,
    rows: Sequence[Row] = (),
    sends: Sequence[Send] = (),
    queued: frozenset[str] = frozenset(),
    dead: Mapping[str, Sequence[str]] | None = None,
) -> Account:
    """The account of one sample."""
    return account(Facts({MAIL: replace(SAMPLE, expected=expected)}, sends, rows, queued, dead or {}))


class TestConservation:
    def test_a_forward_is_what_ses_accepted(self) -> None:
        """The ledger's word is not enough, and it is not needed either."""
        assert books(rows=[ROW], sends=[SEND]).messages == {"forwarded": 1}
        assert books(rows=[replace(ROW, state="sending")], sends=[SEND]).messages == {"forwarded": 1}
        lost = books(rows=[ROW])
        assert lost.messages == {"lost": 1}
        assert lost.wrong == [f"7 plain ({MAIL}): lost"]

    def test_what_was_not_forwarded_is_in_a_queue_or_lost(self) -> None:
        """The queue goes before the dead-letter queue: what will be tried again has not ended."""
        assert books(queued=frozenset({MAIL}), dead={MAIL: ["killed"]}).messages == {"queued": 1}
        assert books(dead={MAIL: ["killed"]}).messages == {"dead_lettered": 1}
        assert books().lost == 1

    def test_discards_are_the_ledgers_word(self) -> None:
        """A discard that was due counts with its reason; any other is wrong."""
        due = Expected(discards=frozenset({(SHOP, "spam")}))
        row = Row("d1", MAIL, SHOP, "", "discarded", "spam")
        assert books(due, rows=[row]).messages == {"discarded": 1}
        assert not books(due, rows=[row]).wrong
        assert books(due).lost == 1
        assert books(due, rows=[replace(row, reason="virus")]).wrong
        assert books(due, rows=[ROW], sends=[SEND]).wrong
        assert books(rows=[row]).wrong

    def test_messages_that_are_no_mail_belong_into_the_dead_letter_queue(self) -> None:
        """With the reason that is theirs."""
        odd = Expected(dead_letter="not_json")
        assert books(odd, dead={MAIL: ["not_json", "not_json"]}).messages == {"dead_lettered": 1}
        assert not books(odd, dead={MAIL: ["not_json"]}).wrong
        assert books(odd, dead={MAIL: [truth.NO_REASON]}).wrong
        assert books(odd).lost == 1

    def test_a_mail_is_worth_its_worst_delivery(self) -> None:
        """Two mailboxes, one of which was reached: each delivery counts for itself, the mail once."""
        both = Expected(frozenset({(SHOP, ADA), (SHOP, JOAN)}))
        result = books(both, rows=[ROW], sends=[SEND], dead={MAIL: ["in_doubt"]})
        assert result.deliveries == {"forwarded": 1, "dead_lettered": 1}
        assert result.messages == {"dead_lettered": 1}
        assert result.forwarded_and_dead_lettered == 1
        assert books(both, rows=[ROW], sends=[SEND]).messages == {"lost": 1}

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["forward", "discard", "odd", "two"]),
                st.integers(0, 2),
                st.booleans(),
                st.booleans(),
                st.booleans(),
            ),
            max_size=12,
        )
    )
    def test_every_message_has_exactly_one_end(self, mails: list[tuple[str, int, bool, bool, bool]]) -> None:
        """Whatever SES, the ledger and the queues say, in any combination."""
        kinds = {
            "forward": SAMPLE.expected,
            "discard": Expected(discards=frozenset({(SHOP, "spam")})),
            "odd": Expected(dead_letter="not_json"),
            "two": Expected(frozenset({(SHOP, ADA)}), frozenset({(SHOP, "spam")})),
        }
        published, sends, rows, queued = {}, [], [], set()
        dead: dict[str, list[str]] = {}
        for number, (kind, times, discarded, is_queued, is_dead) in enumerate(mails):
            name = f"mail-{number}"
            published[name] = Sample(number, kind, kinds[kind], b"")
            rows.append(Row(f"d{number}", name, SHOP, ADA, "discarded" if discarded else "sent", "spam"))
            sends += [Send(f"d{number}", str(at), (ADA,)) for at in range(times)]
            queued |= {name} if is_queued else set()
            dead |= {name: ["killed"]} if is_dead else {}
        result = account(Facts(published, sends, rows, frozenset(queued), dead))
        assert result.balances(len(published))
        assert result.deliveries.total() == sum(2 if kind == "two" else 1 for kind, *_ in mails)
        assert result.lost == sum(
            not (times or queue or letter or (discarded and kind != "odd")) or (kind == "odd" and not (queue or letter))
            for kind, times, discarded, queue, letter in mails
        )


class TestDuplicates:
    def test_a_counted_resend_explains_one(self) -> None:
        """As many as the ledger counts, and not one more."""
        twice = [SEND, replace(SEND, attempt="2")]
        explained = books(rows=[replace(ROW, resends=1)], sends=twice)
        assert (explained.duplicates, explained.unexplained, explained.in_doubt_resends) == (1, 0, 1)
        assert not explained.wrong
        assert books(rows=[ROW], sends=twice).unexplained == 1
        thrice = [*twice, replace(SEND, attempt="3")]
        assert books(rows=[replace(ROW, resends=1)], sends=thrice).unexplained == 1
        assert books(rows=[ROW], sends=twice).wrong

    def test_a_resend_of_what_was_not_sent_is_no_duplicate(self) -> None:
        """A doubt that proved to be none costs nothing."""
        result = books(rows=[replace(ROW, resends=1)], sends=[SEND])
        assert (result.duplicates, result.in_doubt_resends) == (0, 1)
        assert not result.wrong

    def test_two_sends_of_one_attempt_are_never_explained(self) -> None:
        """They are an HTTP client's retry, whatever the ledger counts."""
        result = books(rows=[replace(ROW, resends=1)], sends=[SEND, SEND])
        assert (result.duplicates, result.unexplained) == (1, 1)
        assert result.wrong

    def test_notices_count_too(self) -> None:
        """An owner who is told something twice is no better off than one who gets a mail twice."""
        row = Row("n1", "notice-1", "", ADA, "sent", "", "notice")
        sends = [Send("n1", "1", (ADA,)), Send("n1", "2", (ADA,))]
        result = books(rows=[ROW, row], sends=[SEND, *sends])
        assert (result.notices, result.duplicates, result.unexplained) == (1, 1, 1)


@pytest.mark.parametrize(
    ("row", "send"),
    [
        (ROW, replace(SEND, recipients=(JOAN,))),
        (ROW, replace(SEND, original=8)),
        (replace(ROW, mailbox=JOAN), replace(SEND, recipients=(JOAN,))),
        (replace(ROW, mail_id="other"), SEND),
        (ROW, replace(SEND, delivery_id="")),
    ],
    ids=["another recipient", "another mail in it", "another mailbox", "of no mail of ours", "without a tag"],
)
def test_what_went_astray_is_wrong(row: Row, send: Send) -> None:
    """SES was given something that nobody asked for."""
    assert books(rows=[row], sends=[send]).wrong
