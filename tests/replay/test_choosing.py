"""Which offers are put through: what was asked for, what the ledger does not know as done, and what can be opened."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.model.address import Address
from relayd.ops.replay.choosing import CAME_BACK, PASSED_OVER, SEND, Choice
from relayd.ops.replay.offers import Offer
from relayd.ops.replay.reading import look
from tests.replay.parts import REPLAY, Bench, offer

SHOP = Address.parse("shop@mask.example")


@pytest.mark.parametrize(
    ("choice", "fits"),
    [
        (Choice(), True),
        (Choice(reasons=frozenset({"ses_rejected", "bug"})), True),
        (Choice(reasons=frozenset({"bug"})), False),
        (Choice(since=1000.0, until=1000.1), True),
        (Choice(since=1000.1), False),
        (Choice(until=1000.0), False),
        (Choice(mask=SHOP), True),
        (Choice(mask=Address.parse("Shop+other@MASK.example")), True),
        (Choice(mask=Address.parse("shop@other.example")), False),
        (Choice(name="m1"), True),
        (Choice(name="sqs-1"), True),
        (Choice(name="m"), False),
    ],
)
def test_what_was_asked_for(choice: Choice, fits: bool) -> None:
    """By reason, time (from the one on, before the other), recipient whatever its tag, and either id."""
    one = offer("m1", recipients=("x@mask.example", "shop+tag@mask.example"), names=frozenset({"m1", "sqs-1"}))
    assert choice.fits(one) is fits


def test_nobody_knows_for_whom_an_illegible_one_is() -> None:
    """It fits no mask, and every other choice."""
    one = Offer("not_json", 1000.0, problem="not_json")
    assert Choice(reasons=frozenset({"not_json"})).fits(one)
    assert not Choice(mask=SHOP).fits(one)


def verdicts(bench: Bench, **options: Any) -> list[str]:
    """What is to become of the offers, in the source's order."""
    weigher = bench.reading(**options)._weigher
    return [one.verdict for one in weigher.weigh(bench.source.left)]


@pytest.mark.parametrize(
    ("states", "verdict", "in_a_bucket"),
    [
        ({}, SEND, SEND),
        ({"a@mask.example": {"x": "sent", "y": "sent"}, "b@mask.example": {"x": "sent"}}, "sent_before", "sent_before"),
        ({"a@mask.example": {"x": "sent"}}, SEND, SEND),
        ({"a@mask.example": {"x": "sent", "y": "failed"}, "b@mask.example": {"x": "sent"}}, SEND, SEND),
        ({"a@mask.example": {"x": "sent", "y": "claimed"}, "b@mask.example": {"x": "sent"}}, SEND, SEND),
        ({"a@mask.example": {"x": "sent"}, "b@mask.example": {"": "discarded"}}, SEND, "discarded_before"),
        (
            {"a@mask.example": {"": "discarded", "x": "sent"}, "b@mask.example": {"x": "sent"}},
            "sent_before",
            "sent_before",
        ),
        ({"a@mask.example": {"": "discarded", "x": "failed"}, "b@mask.example": {"x": "sent"}}, SEND, SEND),
    ],
)
def test_what_the_ledger_knows(states: dict[str, dict[str, str]], verdict: str, in_a_bucket: str) -> None:
    """Only what is over for every recipient is skipped; a discard was overruled where mailboxes had the mail since."""
    bench = Bench(offer("m1", recipients=("a@mask.example", "B@mask.example", "c@elsewhere.example")))
    bench.known["m1"] = states
    assert verdicts(bench) == [verdict]
    assert verdicts(bench, discards_count=True) == [in_a_bucket]
    assert verdicts(bench, again=True) == [SEND]


def test_what_is_for_nobody_here() -> None:
    """Another rule's mail may lie in the same bucket."""
    assert verdicts(Bench(offer("m1", recipients=("x@elsewhere.example",)), offer("m2", recipients=()))) == [
        "no_recipient",
        "no_recipient",
    ]


def test_what_cannot_be_opened_is_told_of() -> None:
    """With its reason, and also where everything else would be for it."""
    bench = Bench(offer("m1", text=None, problem="forged_signature"), Offer("bug", 1.0, text="{}"))
    assert verdicts(bench) == ["forged_signature", SEND]
    assert verdicts(bench, again=True) == ["forged_signature", SEND]


def test_what_fails_again_is_not_sent_again() -> None:
    """Not by the same replay: it would go round in circles. What another replay sent is a dead letter like any."""
    bench = Bench(offer("m1", replay_id=REPLAY), offer("m2", replay_id="replay-0"))
    assert verdicts(bench) == [CAME_BACK, SEND]
    assert verdicts(bench, choice=Choice(name="m2")) == [CAME_BACK, SEND]


def test_what_went_unverified_and_comes_back() -> None:
    """Nothing in it tells which replay sent it, so its body does."""
    one = offer("m1", text=None, original="body 1", doubt="certificate_unavailable")
    bench = Bench(one, offer("m2", text=None, original="body 2"), one)
    assert verdicts(bench) == [SEND, SEND, CAME_BACK]


words = st.sampled_from(["", "not_json", "forged_signature"])
states = st.dictionaries(
    st.sampled_from(["shop@mask.example", "b@mask.example"]),
    st.dictionaries(st.sampled_from(["", "x", "y"]), st.sampled_from(["sent", "failed", "discarded", "claimed"])),
)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), words, st.sampled_from([None, REPLAY]), states), max_size=25),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([Choice(), Choice(reasons=frozenset({"a"}))]),
    st.booleans(),
    st.booleans(),
)
def test_everything_is_counted_once(
    told: list[tuple[str, str, str | None, dict[str, dict[str, str]]]],
    limit: int | None,
    choice: Choice,
    acts: bool,
    discards_count: bool,
) -> None:
    """Whatever is in a source: what was read is chosen, passed over, or came back; and a look leaves all of it."""
    offers = [
        offer(f"m{n}", reason=reason, problem=problem, replay_id=replay)
        for n, (reason, problem, replay, _) in enumerate(told)
    ]
    bench = Bench(*offers, portion=4)
    bench.known.update({f"m{n}": known for n, (_, _, _, known) in enumerate(told)})
    reading = bench.reading(choice, limit=limit, acts=acts, discards_count=discards_count)
    if not acts:
        look(reading)
        assert len(bench.source.left) == len(offers)
    else:
        bench.send(choice=choice, limit=limit, discards_count=discards_count)
    outcomes = bench.outcomes
    assert outcomes.told == bench.source.offered == bench.watch.seen[-1][0]
    put = outcomes.count("would_send", "sent")
    assert outcomes.count() == put + outcomes.count("skipped")
    assert limit is None or put <= limit
    assert bench.source.closed == 1
    assert PASSED_OVER not in outcomes.by_why("skipped")
