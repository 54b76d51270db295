"""The way by the queue: sent first and taken away then, at a rate, in as many calls as SQS wants, and never twice."""

import pytest

from relayd.adapters.injecting import MAX_BYTES, Parcel
from relayd.errors import ConfigurationError, Problem, TransientError
from relayd.ops.replay.offers import Offer
from relayd.ops.replay.reading import look
from relayd.wire import own
from tests.replay.parts import REPLAY, SECRET, Bench, offer


def test_what_is_sent_is_sealed_and_leaves_the_source() -> None:
    """With the replay's id, what it was released for, and when it all began."""
    bench = Bench(
        offer("m1", released=frozenset({"spam"}), first_received_at=7.0, attributes={"traceparent": "00-a"}),
        offer("m2"),
    )
    assert bench.send() == "finished"
    assert bench.left == []
    first, second = (own.open_own(parcel.body, [SECRET]) for parcel in bench.post.parcels)
    assert (first.replay, first.again, first.released, first.first_received_at) == (
        REPLAY,
        False,
        frozenset({"spam"}),
        7.0,
    )
    assert first.text == offer("m1").text
    assert (second.first_received_at, second.sent_at) == (None, bench.clock.time())
    assert bench.post.parcels[0].attributes == {"traceparent": "00-a"}
    assert bench.outcomes.by_why("sent") == {"": 2}
    assert bench.source.closed == 1


def test_again_is_said_in_the_seal() -> None:
    """Only where it was asked for; nobody but relayd can say so."""
    bench = Bench(offer("m1"))
    bench.known["m1"] = {"shop@mask.example": {"x": "sent"}}
    bench.send(again=True)
    assert own.open_own(bench.post.parcels[0].body, [SECRET]).again


def test_what_nobody_verified_is_never_sealed() -> None:
    """Its body goes as it came, and the daemon looks for itself."""
    bench = Bench(offer("m1", text=None, original="as it came", doubt="certificate_unavailable", trace_header="Root=1"))
    bench.send()
    assert bench.post.parcels == [Parcel("as it came", {}, "Root=1")]
    assert (bench.outcomes.count("sent"), bench.outcomes.unverified) == (1, 1)


def test_calls_are_as_large_as_sqs_takes() -> None:
    """Ten messages, and so many bytes; one that is larger goes alone."""
    large = "x" * (MAX_BYTES // 3)
    bench = Bench(*(offer(f"m{n}", text=None, original=f"{n}") for n in range(25)), portion=25)
    bench.send()
    assert [len(call) for call in bench.post.calls] == [10, 10, 5]
    heavy = Bench(*(offer(f"m{n}", text=None, original=large + str(n)) for n in range(5)))
    heavy.send()
    assert [len(call) for call in heavy.post.calls] == [2, 2, 1]
    whole = Bench(offer("m1", text=None, original="y" * 2 * MAX_BYTES), offer("m2", text=None, original="z"))
    whole.send()
    assert [len(call) for call in whole.post.calls] == [1, 1]


def test_it_keeps_to_the_rate() -> None:
    """A second's worth at once, then no more than the rate; what is in hand is tended meanwhile."""
    bench = Bench(*(offer(f"m{n}") for n in range(50)))
    began = bench.clock.monotonic()
    bench.send(rate=5.0)
    assert len(bench.post.parcels) == 50
    for number, at in enumerate(bench.post.at):
        sent = sum(len(call) for call in bench.post.calls[: number + 1])
        assert sent <= 5 + (at - began) * 5.0 + 1e-6
    assert bench.clock.monotonic() - began == pytest.approx(9.0, abs=0.5)
    assert bench.source.tended > 20


def test_a_slow_rate() -> None:
    """Less than one a second."""
    bench = Bench(*(offer(f"m{n}") for n in range(3)))
    began = bench.clock.monotonic()
    bench.send(rate=0.1)
    assert bench.clock.monotonic() - began == pytest.approx(20.0, abs=0.5)


def test_what_sqs_refuses_stays() -> None:
    """HTTP 200 may hold failures: they are counted, and told of, by their codes."""
    bench = Bench(*(offer(f"m{n}") for n in range(12)))
    bench.post.refused = {3, 10}
    assert bench.send() == "finished"
    assert bench.left == ["m3", "m10"]
    assert bench.outcomes.by_why("failed") == {"InvalidMessageContents": 2}
    assert not bench.outcomes.complete


def test_a_call_whose_answer_was_lost_is_made_again() -> None:
    """A message too many is absorbed by the ledger; one too few is a lost mail."""
    bench = Bench(*(offer(f"m{n}") for n in range(3)))
    bench.post.errors = [TransientError("queue_timeout"), TransientError("queue_timeout")]
    assert bench.send() == "finished"
    assert bench.left == []


def test_an_outage_ends_it_and_loses_nothing() -> None:
    """What was sent is gone from the source, all else is there, and everything that was read is accounted for."""
    bench = Bench(*(offer(f"m{n}") for n in range(30)))
    bench.post.outage_after = 1
    with pytest.raises(TransientError):
        bench.send()
    assert bench.left == [f"m{n}" for n in range(10, 30)]
    assert (bench.outcomes.count("sent"), bench.outcomes.by_why("failed")) == (10, {"queue_unreachable": 10})
    assert bench.source.closed == 1


def test_a_queue_that_takes_nothing() -> None:
    """At once, with what to do about it; nothing has left the source."""
    bench = Bench(offer("m1"))
    bench.post.errors = [ConfigurationError([Problem("queue", "takes nothing", "allow it")])]
    with pytest.raises(ConfigurationError):
        bench.send()
    assert bench.left == ["m1"]
    assert bench.source.closed == 1


def test_what_cannot_be_taken_away_is_told_of() -> None:
    """It was sent all the same; the next replay finds that."""
    bench = Bench(offer("m1"), offer("m2"))
    bench.source.undeletable = {"m1"}
    assert bench.send() == "finished"
    assert (bench.outcomes.count("sent"), bench.outcomes.undeleted, bench.left) == (2, 1, ["m1"])


@pytest.mark.parametrize("looks", range(8))
def test_a_stop_at_any_look_loses_nothing(looks: int) -> None:
    """Wherever it comes: what was sent has left, what was not is there, and the sum is right."""
    bench = Bench(*(offer(f"m{n}") for n in range(30)), portion=7)
    bench.watch.left = looks
    ending = bench.send(rate=4.0)
    assert ending == "interrupted"
    assert sorted([*bench.post.mail_ids, *bench.left]) == sorted(f"m{n}" for n in range(30))
    assert bench.outcomes.count("sent") == len(bench.post.parcels)
    assert bench.outcomes.count() == bench.source.offered
    assert bench.source.closed == 1


def test_a_second_replay_sends_none() -> None:
    """What was sent is gone; of what is left in a source that keeps everything, the ledger knows."""
    bench = Bench(*(offer(f"m{n}") for n in range(3)))
    bench.send()
    again = Bench(*(offer(f"m{n}") for n in range(3)))
    again.known.update({f"m{n}": {"shop@mask.example": {"x": "sent"}} for n in range(3)})
    assert again.send() == "finished"
    assert again.post.calls == []
    assert again.outcomes.by_why("skipped") == {"sent_before": 3}
    assert again.outcomes.complete


def test_what_was_sent_before_is_cleared_away() -> None:
    """A crash between a send and the deletion left it behind. A look leaves it, and so does who could not verify it."""
    unverified = offer("m2", text=None, original="?")
    for acts, left in ((True, ["m2"]), (False, ["m1", "m2"])):
        bench = Bench(offer("m1"), unverified)
        bench.known.update({name: {"shop@mask.example": {"x": "sent"}} for name in ("m1", "m2")})
        if acts:
            bench.send()
        else:
            look(bench.reading(acts=False))
        assert (bench.left, bench.outcomes.removed) == (left, int(acts))
        assert bench.outcomes.by_why("skipped") == {"sent_before": 2}


def test_the_limit_counts_what_is_put_through() -> None:
    """What is skipped does not use it up; what is beyond it is not chosen."""
    bench = Bench(offer("m0", problem="not_json", text=None), *(offer(f"m{n}") for n in range(1, 30)))
    assert bench.send(limit=12) == "limit"
    assert bench.post.mail_ids == [f"m{n}" for n in range(1, 13)]
    assert (bench.outcomes.count("sent"), bench.outcomes.count("skipped")) == (12, 1)


def test_groups_know_their_times() -> None:
    """How many, the oldest and the newest; what has no time of its own is counted all the same."""
    bench = Bench(offer("m1", at=30.0), offer("m2", at=0.0), offer("m3", at=10.0), Offer("bug", 5.0, text="{}"))
    look(bench.reading(acts=False))
    group = bench.outcomes.groups[("ses_rejected", "would_send", "")]
    assert (group.count, group.oldest, group.newest) == (3, 10.0, 30.0)
    assert bench.outcomes.groups[("bug", "would_send", "")].count == 1
    assert bench.post.calls == []
