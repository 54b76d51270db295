"""`relayd drain` without a queue: how messages are counted, what is said of them, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relayd.adapters.queue_depth import QueueDepth
from relayd.commands.draining import Narrator, Result, lasting
from relayd.model.message import Message
from relayd.ops.drain import Ending, Look, Standing
from relayd.ops.tally import LONGEST_PAUSE, REMEMBERED, RETURN_SECONDS, Later, Sums, Tally
from relayd.runtime.watching import Ended
from tests.fakes.clock import VirtualClock
from tests.terminal import Operator

HOUR = 3600.0
EMPTY = QueueDepth(0, 0, 0)


def ended(message_id: str, outcome: str, reason: str, visible_in: float | None = None, **facts: Any) -> Ended:
    problem = facts.pop("problem", None)
    message = Message(message_id, f"handle-{message_id}", "{}")
    return Ended(message, outcome, reason, visible_in, problem, 0.1, 1.0, None, facts)


class Told:
    """A tally that is told of receives and endings."""

    def __init__(self, *, outage: bool = False) -> None:
        self.clock = VirtualClock()
        self.tally = Tally(self.clock, patience=60, outage=lambda: outage)

    def __call__(
        self, message_id: str, outcome: str, reason: str, visible_in: float | None = None, **facts: Any
    ) -> None:
        self.tally.took(1)
        self.tally.ended(ended(message_id, outcome, reason, visible_in, **facts))


class TestTally:
    def test_each_message_is_counted_by_how_it_ended_last(self) -> None:
        """Put off twice and forwarded then: one message, forwarded."""
        told = Told()
        told("a", "deferred", "s3_timeout", 5.0)
        told("a", "released", "s3_unavailable", 20.0)
        told("a", "accepted", "forwarded")
        told("b", "accepted", "unknown_mask")
        told("c", "rejected", "not_json")
        told("d", "deferred", "mailbox_full", HOUR)
        sums = told.tally.sums()
        assert sums == Sums(1, 0, {"unknown_mask": 1}, {"not_json": 1}, {"mailbox_full": Later(1, HOUR)})
        assert (sums.received, sums.finished, told.tally.receives) == (4, 3, 6)

    @pytest.mark.parametrize(
        ("outcome", "reason", "seconds", "outage", "waited_for"),
        [
            ("deferred", "s3_timeout", 60, False, True),
            ("deferred", "s3_timeout", 61, False, False),
            ("deferred", "claimed_elsewhere", 300, False, True),
            ("released", "ses_sending_paused", LONGEST_PAUSE, False, True),
            ("released", "ses_sending_paused", LONGEST_PAUSE + 1, False, False),
            ("deferred", "s3_timeout", LONGEST_PAUSE, True, True),
            ("deferred", "mailbox_full", HOUR, True, False),
            ("released", "paused", 30, False, False),
        ],
    )
    def test_what_is_waited_for(
        self, outcome: str, reason: str, seconds: float, outage: bool, waited_for: bool
    ) -> None:
        """What comes back within patience, or by itself when a claim or an outage ends; what an operator paused not."""
        told = Told(outage=outage)
        told("a", outcome, reason, seconds)
        assert told.tally.away() == ((1, 0) if waited_for else (0, 1))
        assert told.tally.next_due() == (seconds if waited_for else None)

    def test_a_message_that_sqs_was_not_told_about_comes_back_soon(self) -> None:
        """Its visibility could not be changed: its lease ends within a minute, whatever was meant."""
        told = Told()
        told("a", "deferred", "mailbox_full", HOUR, problem="lease_lapsed")
        assert told.tally.away() == (1, 0)
        assert told.tally.sums().deferred == {"mailbox_full": Later(1, 0.0)}

    def test_a_message_that_was_taken_from_us_is_somebody_elses_or_comes_back(self) -> None:
        """It is in the numbers, but not among those that stay away."""
        told = Told()
        told("a", "abandoned", "lease_lost")
        assert told.tally.away() == (1, 0)
        told.clock.sleep(10)
        assert told.tally.away() == (0, 0)
        assert told.tally.sums().deferred == {"lease_lost": Later(1, 0.0)}

    def test_nothing_is_put_off_for_ever(self) -> None:
        """Somebody else may have taken a message when its time was over: it does not hide others then."""
        told = Told()
        told("a", "deferred", "mailbox_full", HOUR)
        told.clock.sleep(HOUR + RETURN_SECONDS / 2)
        assert told.tally.away() == (0, 1), "just back, and most likely put off again"
        told.clock.sleep(30)
        assert told.tally.away() == (0, 0)

    def test_what_was_finished_is_not_counted_again(self) -> None:
        """Deleted in vain, it comes once more; or it came twice in one receive, and the copy is put off in vain."""
        told = Told()
        told("a", "accepted", "forwarded", problem="lease_gone")
        told("a", "accepted", "finished_before")
        told("b", "accepted", "forwarded")
        told("b", "deferred", "claimed_elsewhere", 10.0, problem="lease_gone")
        assert told.tally.sums() == Sums(forwarded=2)
        assert told.tally.away() == (0, 0)

    def test_memory_is_bounded(self) -> None:
        """A drain of millions remembers no more than it must: of the finished ones, the latest."""
        told = Told()
        for number in range(REMEMBERED + 5):
            told(str(number), "accepted", "forwarded")
        told("0", "accepted", "forwarded")
        told(str(REMEMBERED), "accepted", "forwarded")
        assert told.tally.sums().forwarded == REMEMBERED + 6

    def test_what_is_in_hand_is_counted_there_alone(self) -> None:
        """A message that was put off and is back in hand; and one that waits to be settled, without a lease."""
        told = Told()
        told("a", "deferred", "mailbox_full", HOUR)
        told("b", "accepted", "forwarded")
        told.tally.took(2)
        sums = told.tally.sums(["a"])
        assert (sums.in_hand, sums.deferred, sums.received) == (2, {}, 3)

    def test_mail_that_an_earlier_attempt_sent_is_told_apart(self) -> None:
        """As long as nothing was sent now."""
        told = Told()
        before = {"state": "sent", "reason": "forwarded", "before": True}
        now = {"state": "sent", "reason": "forwarded", "delivery": "x"}
        told("a", "accepted", "forwarded", deliveries=[before])
        told("b", "accepted", "forwarded", deliveries=[before, now])
        told("c", "accepted", "forwarded", deliveries=[now])
        sums = told.tally.sums()
        assert (sums.forwarded, sums.before) == (2, 1)

    def test_news_is_what_nobody_knew(self) -> None:
        """A message that is put off on purpose once more is none."""
        told = Told()
        told("a", "released", "paused", 30.0)
        told("a", "released", "paused", 60.0)
        assert told.tally.news == 1
        assert told.tally.unknown(["a", "b"]) == 1
        told("a", "accepted", "forwarded")
        assert told.tally.news == 2

    def test_the_time_is_that_of_the_mail(self) -> None:
        """From the first receive to the last end, without the looks that make sure."""
        told = Told()
        told.clock.sleep(5)
        told.tally.took(1)
        told.clock.sleep(3)
        told.tally.ended(ended("a", "accepted", "forwarded"))
        told.clock.sleep(20)
        assert told.tally.seconds == 3


def result(
    ending: Ending = "empty", sums: Sums | None = None, *, left: QueueDepth | None = EMPTY, clean: bool = True
) -> Result:
    return Result(ending, sums or Sums(forwarded=3), 3, left, 0, 10.0, 2.0, clean)


class TestResult:
    @pytest.mark.parametrize(
        ("ended", "code"),
        [
            (result(), 0),
            (result(sums=Sums(deferred={"mailbox_full": Later(2, HOUR)})), 0),
            (result("enough"), 0),
            (result("timeout"), 3),
            (result(clean=False), 3),
            (result(sums=Sums(dead_lettered={"not_json": 1})), 4),
            (result(sums=Sums(deferred={"dead_letter_failed": Later(1, 120)})), 4),
            (result("enough", Sums(dead_lettered={"not_json": 1})), 4),
            (result("timeout", Sums(dead_lettered={"not_json": 1})), 3),
            (result("interrupted", Sums(dead_lettered={"not_json": 1})), 130),
            (result("interrupted", clean=False), 130),
        ],
    )
    def test_exit_codes(self, ended: Result, code: int) -> None:
        """What was not finished weighs more than what failed, and a signal more than both."""
        assert ended.exit_code == code

    def test_the_summary_adds_up(self) -> None:
        """Every number that is indented is part of the first one, and the JSON says the same."""
        sums = Sums(7, 2, {"spam": 1, "unknown_mask": 3}, {"not_json": 1}, {"mailbox_full": Later(2, HOUR)}, in_hand=1)
        told = result(sums=sums, left=QueueDepth(1, 0, 2))
        facts = told.facts()
        total, *parts = [int(value.split()[0]) for name, value in facts if name == "received" or name.startswith("  ")]
        assert total == sum(parts) == sums.received == 17
        shown = dict(facts)
        assert shown["  discarded"] == "4     unknown_mask 3, spam 1"
        assert shown["  deferred"] == "2     mailbox_full 2 (back in 60 min)"
        assert shown["queue now"] == "3 messages: 1 visible, 0 delayed, 2 in flight"
        document = told.document()
        assert document["received"] == document["forwarded"] + document["done_before"] + document["in_hand"] + sum(
            document[name]["count"] for name in ("discarded", "dead_lettered", "deferred")
        )
        assert document["deferred"]["reasons"] == {"mailbox_full": {"count": 2, "back_in_seconds": HOUR}}
        assert document["rate"] == 7.0, "14 were finished in two seconds"

    def test_the_verdict(self) -> None:
        """What happened, and what to do about it; a line each, and none too long for a terminal."""
        put_off = Sums(deferred={"mailbox_full": Later(2, HOUR)}, dead_lettered={"not_json": 1})
        results = [
            result(),
            result(sums=put_off),
            result("enough"),
            result("timeout", left=None, clean=False),
            result("interrupted"),
            result("interrupted", left=QueueDepth(5, 0, 0)),
            result(sums=Sums(deferred={"dead_letter_failed": Later(1, 120)})),
        ]
        lines = [line for told in results for line in told.verdict()]
        assert lines[0] == "The queue is empty."
        assert lines[1] == "The queue is empty but for 2 messages put off on purpose."
        assert any("relayd replay --dead-letters --dry-run" in line for line in lines)
        assert any("RELAYD_DEAD_LETTER_URL" in line for line in lines)
        assert max(map(len, lines)) < 80
        assert lines.count("What is left stays in the queue: run the same command again.") == 2


class Screen:
    """A bar and a place for lines."""

    def __init__(self, *, lines: bool) -> None:
        self.clock = VirtualClock()
        self.bars: list[tuple[int, int | None, str]] = []
        self.said: list[str] = []
        self.narrator = Narrator(self, self.said.append, self.clock.monotonic, lines=lines)

    def at(self, done: int, total: int | None = None, note: str = "") -> None:
        self.bars.append((done, total, note))

    def note(self, standing: Standing) -> str:
        self.narrator(standing)
        return self.bars[-1][2]


LOOK = Look(QueueDepth(40, 0, 8), None, done=12, in_hand=8, coming_back=0, on_purpose=0)
STANDING = Standing(LOOK, Sums(forwarded=12), {}, 0.0, None, paused=False)
QUIET = replace(STANDING, look=replace(LOOK, depth=QueueDepth(0, 0, 0), in_hand=0))


class TestNarrator:
    def test_the_bar_goes_on_between_two_looks(self) -> None:
        """Of the total that the last look found."""
        screen = Screen(lines=False)
        screen.narrator(STANDING)
        screen.narrator(replace(STANDING, sums=Sums(forwarded=14, discarded={"spam": 1})))
        assert screen.bars == [(12, 60, "12 forwarded"), (15, 60, "14 forwarded, 1 discarded")]
        assert screen.said == []

    def test_what_is_waited_for_stands_first(self) -> None:
        """An outage with its reason, a pause, a queue that does not answer, and who else has mail."""
        screen = Screen(lines=False)
        down = replace(STANDING, down={"s3": "s3_unavailable"}, next_try=12.3)
        assert screen.note(down) == "s3 is down (s3_unavailable), next try in 12 s; 12 forwarded"
        assert screen.note(replace(down, next_try=0.1)).startswith("s3 is down (s3_unavailable), trying it now")
        assert screen.note(replace(STANDING, paused=True)).startswith("all mail is paused")
        away = replace(QUIET, look=replace(LOOK, depth=None, trouble="queue_unreachable"))
        assert screen.note(away).startswith("the queue does not answer (queue_unreachable)")
        look = replace(LOOK, depth=QueueDepth(0, 3, 5), in_hand=0, coming_back=2, on_purpose=1)
        waiting = replace(STANDING, look=look, back_in=100.4)
        assert screen.note(waiting) == ("2 put off, back in 100 s, 2 in flight elsewhere, 3 delayed; 12 forwarded")
        assert screen.note(QUIET) == "empty, making sure; 12 forwarded"

    def test_an_outage_is_told_once_and_so_is_its_end(self) -> None:
        """In lines that stay; one that comes and goes every second is told of every half a minute at most."""
        screen = Screen(lines=False)
        down = replace(STANDING, down={"s3": "s3_unavailable"})
        for _ in range(20):
            screen.narrator(down)
            screen.clock.sleep(0.2)
        screen.narrator(STANDING)
        assert screen.said == [
            "s3 is down (s3_unavailable): no mail is taken until it works again.",
            "s3 answers again.",
        ]
        for _ in range(100):
            screen.narrator(down)
            screen.clock.sleep(0.5)
            screen.narrator(STANDING)
            screen.clock.sleep(0.5)
        assert 6 <= len(screen.said) <= 12

    def test_without_a_bar_it_says_every_half_a_minute_how_far_it_is(self) -> None:
        """So that nothing hangs in silence, and nothing drowns a Job's log."""
        screen = Screen(lines=True)
        for second in range(100):
            screen.narrator(replace(STANDING, down={"s3": "s3_unavailable"} if second > 40 else {}, next_try=9.0))
            screen.clock.sleep(1)
        assert screen.said == [
            "12 of 60 done, 0.4/s; 12 forwarded",
            "s3 is down (s3_unavailable): no mail is taken until it works again.",
            "12 of 60 done, 0.0/s; s3 is down (s3_unavailable), next try in 9 s; 12 forwarded",
            "12 of 60 done, 0.0/s; s3 is down (s3_unavailable), next try in 9 s; 12 forwarded",
        ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7140, "119 min"), (7200, "2 h"), (7300, "2 h 2 min")],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    """As exactly as anybody wants to read them."""
    assert lasting(seconds) == text


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--timeout", "10"], "90s, 10m, 2h"),
        (["--timeout", "0m"], "90s, 10m, 2h"),
        (["--timeout", "\N{ARABIC-INDIC DIGIT ONE}m"], "90s, 10m, 2h"),
        (["--rate", "0"], "0.01"),
        (["--rate", "nan"], "nan"),
        (["--max-messages", "0"], "1"),
        (["--concurrency", "1001"], "1000"),
        (["--to", "somewhere"], "--dead-letters"),
        (["--with-mail"], "--dead-letters"),
        (["--dead-letters", "--to", "x", "--rate", "5"], "--rate"),
        (["--dead-letters", "--to", "x", "--patience", "5s"], "--patience"),
    ],
)
def test_wrong_calls(operator: Operator, arguments: list[str], said: str) -> None:
    """Exit code 2, with what is wrong."""
    answer = operator("drain", *arguments)
    assert answer.exit_code == 2
    assert said in answer.stderr


def test_a_configuration_that_cannot_work(operator: Operator) -> None:
    """Everything that is missing is told at once, before anything is asked."""
    answer = operator("drain", "--json")
    assert [problem.subject for problem in answer.exception.problems] == [  # type: ignore[union-attr]
        "RELAYD_QUEUE_URL",
        "RELAYD_TOPIC_ARNS",
        "RELAYD_BUCKETS",
        "RELAYD_SECRET",
    ]
    assert answer.stdout == ""


def test_help_teaches() -> None:
    """Examples and exit codes are in it."""
    text = Operator(Path()).ok("drain", "--help")
    assert "relayd drain --timeout 10m --json" in text
    assert "Exit codes" in text
