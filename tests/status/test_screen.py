"""The status as text: the most important first, in any terminal, and nothing that a stranger wrote can steer it."""

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from relayd.adapters.queue_depth import QueueDepth
from relayd.commands.status_replicas import cut
from relayd.commands.status_screen import LEAST_WIDTH, fitted, sections
from relayd.ops.pausing import Paused
from relayd.ops.status.asking import Answer
from relayd.ops.status.document import document
from relayd.ops.status.figures import Deliveries, MailboxPauses
from relayd.ops.status.replica import read_status
from relayd.ops.status.snapshot import Snapshot
from relayd.ops.status.spoken import clock, lasting, rate, share, short
from tests.status.documents import JSON, KEYS
from tests.status.samples import MAIL_ID, NOW, TRACE, held, message, replica, snapshot, unanswered, window

EVIL = "evil\x1b[2J\n\u202e"


def busy() -> Snapshot:
    """Much to tell of at once."""
    day = Deliveries(
        sent={"forward": 30_000, "notice": 3},
        discarded={f"reason_{number}": 50 - number for number in range(9)},
        failed={"ses_rejected": 9},
        open=7,
        in_doubt=2,
        resent=1,
    )
    replicas = [
        held("ses", "ses_sending_paused", name="relayd-7f9c6d5b8-x2x7k-1-a1b2"),
        held("s3", "s3_unavailable", "half_open", 2, name="relayd-7f9c6d5b8-zz9pq-1-c3d4"),
        replica("relayd-7f9c6d5b8-m4m4m-1-e5f6", failed=(message(),), against={"dead_letter_queue": "denied"}),
        replica("relayd-7f9c6d5b8-gone0-1-0000", seen_ago=320.0),
    ]
    return snapshot(
        depth=(18_000, 0, 40),
        dead=(13, 0, 0),
        replicas=replicas,
        day=Answer(day),
        hour=unanswered("no answer within 3 s"),
        mailboxes=Answer(MailboxPauses(3, 1)),
        pauses=Answer([Paused("domain", "mask.example", "DNS", NOW - 60)]),
        asked={"10.0.0.9:8080": unanswered("replica unreachable (NewConnectionError)")},
        events=Answer(QueueDepth(4, 0, 8)),
    )


def shown(shot: Snapshot, width: int = 80, height: int = 10_000) -> str:
    """As a terminal of that size shows it, without its colours."""
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False)
    for line in fitted(list(sections(shot, width)), height):
        console.print(line)
    return out.getvalue()


WELL = """\
relayd  mail                                                        22:13:20 UTC

OK       Forwarding 4.2/s; 1,204 waiting, empty in 5 min.

QUEUE           WAITING  DELAYED  IN HAND  PUT OFF  OLDEST
mail              1,204        0        3        0  40 s (CloudWatch)
dead letters          0        0        0

REPLICA        SEEN  IN HAND     DONE     S3    SES     DB   CERT
pod-a           2 s     3/16    4.2/s     16     16     16     16

LAST MINUTE       CALLS   ERRORS      P50      P99
s3                  252        0     4 ms    90 ms
ses                 252        0   0.12 s   0.90 s

DELIVERIES         HOUR      DAY  REASONS OF THE DAY
sent              1,204   30,211  forward 30,000, reply 211
discarded           470      470  spam 411, unknown_mask 59
failed                0        0
still open            3        3

SES           12,034 of 50,000 sent in 24 hours, 14/s at most
MAILBOXES     paused: none
"""


def test_a_well_deployment_fits_a_small_terminal() -> None:
    """The whole of it, as it is."""
    shot = snapshot(depth=(1204, 0, 3), oldest_reported=Answer(40.0))
    assert shown(shot) == WELL
    assert shown(shot, height=23) == WELL
    assert shown(shot, height=20).splitlines() == [line for line in WELL.splitlines() if line]


@pytest.mark.parametrize("width", [LEAST_WIDTH, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Long names are cut in their middle; sentences go on in the next line; nothing wraps by itself."""
    for line in shown(busy(), width).splitlines():
        assert len(line) <= width, line


@pytest.mark.parametrize("height", [5, 10, 23, 39])
def test_what_does_not_fit_is_what_matters_least(height: int) -> None:
    """The headline is always there; what is missing is counted."""
    lines = shown(busy(), height=height).splitlines()
    assert len(lines) == height
    assert lines[1].startswith("TROUBLE  SES has paused this account's sending, since 22:02: nothing is")
    assert lines[-1].startswith("... ")
    whole = [line for line in shown(busy()).splitlines() if line]
    assert lines[:-1] == whole[: height - 1]
    assert int(lines[-1].split()[1]) == len(whole) - height + 1


def test_each_replica_tells_of_each_dependency() -> None:
    """Limit, breaker, reason, since when; and who is silent, since when."""
    text = shown(busy(), 120)
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("relayd-")}
    assert lines["relayd-7f9c6d5b8-x2x7k-1-a1b2"].split()[-4:] == ["16", "OPEN", "16", "16"]
    assert lines["relayd-7f9c6d5b8-zz9pq-1-c3d4"].split()[-5:] == ["try", "2", "16", "16", "16"]
    assert lines["relayd-7f9c6d5b8-gone0-1-0000"].endswith("SILENT, since 22:08 (5 min)")
    assert "  SES: open since 22:02: ses_sending_paused, next probe in 10 s" in text
    assert "  S3: half open since 22:02: s3_unavailable" in text
    assert "  dead_letter_queue: denied" in text


def test_what_is_not_known_says_why_and_hides_nothing_else() -> None:
    """Answers that failed for the same reason are told together."""
    text = shown(busy(), 120)
    assert "replica 10.0.0.9:8080: replica unreachable (NewConnectionError)" in text
    assert "deliveries of the hour: no answer within 3 s" in text
    assert "sent                  ?   30,003" in text
    away = unanswered("database unavailable (OperationalError)")
    shot = snapshot(heartbeats=away, hour=away, day=away, mailboxes=away, pauses=away, queue=unanswered("denied"))
    text = shown(shot)
    assert "mail          not known, see below" in text
    assert "NOT KNOWN     the queue: denied" in text
    assert "replicas, deliveries of the hour, deliveries of the day, paused" in text
    assert "DELIVERIES" not in text
    assert "asking ..." in shown(snapshot(queue=Answer()))


def test_reasons_are_shown_whole_as_many_as_fit() -> None:
    """The most frequent ones; that there are more is told."""
    line = next(line for line in shown(busy()).splitlines() if line.startswith("discarded"))
    assert line.endswith("  reason_0 50, reason_1 49, reason_2 48, ...")
    wide = next(line for line in shown(busy(), 200).splitlines() if line.startswith("discarded"))
    assert wide.endswith("reason_7 43, reason_8 42")
    one = snapshot(day=Answer(Deliveries(failed={"x" * 90: 1})))
    assert "xxx...x" in next(line for line in shown(one).splitlines() if line.startswith("failed"))


def test_failures_have_ids_that_can_be_copied() -> None:
    """Whole ones: the trace's where there is little room, the mail's too where there is more."""
    shot = snapshot(replicas=[replica(failed=(message(),))])
    (line,) = [line for line in shown(shot).splitlines() if TRACE in line]
    assert line == f"22:13:15     30 s  s3_timeout          {TRACE}"
    assert MAIL_ID in shown(shot, 120)
    assert MAIL_ID not in shown(shot, 100)


def test_a_reason_that_a_stranger_wrote_cannot_steer_the_terminal() -> None:
    """Whatever answers at --replica may say whatever it likes, in every place."""
    strange = held(EVIL, EVIL, name=EVIL, against={EVIL: EVIL}, queue=EVIL, failed=(message(reason=EVIL),))
    shot = snapshot(
        queue_name="",
        replicas=[replace(strange, minute=window(messages={EVIL: {EVIL: 5}, "rejected": {EVIL: 400}}, failed=400))],
        day=Answer(Deliveries(failed={EVIL: 1}, discarded={EVIL: 1}, sent={EVIL: 2})),
        pauses=Answer([Paused("domain", EVIL, EVIL, NOW)]),
        dead=(1, 0, 0),
        asked={EVIL: unanswered(EVIL)},
    )
    text = shown(shot, 120)
    assert "evil" in text
    assert all(character.isprintable() for line in text.split("\n") for character in line)


def test_a_hundred_replicas_do_not_hide_the_one_that_matters() -> None:
    """It comes first; of those that are well, a few stand for all."""
    many = [replica(f"pod-{number:03}") for number in range(99)] + [held("ses", "ses_daily_quota", name="pod-ill")]
    lines = shown(snapshot(replicas=many)).splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("REPLICA"))
    assert lines[place + 1].startswith("pod-ill")
    assert lines[place + 11] == "and 91 more of which there is nothing to tell"


def test_many_pauses_do_not_fill_the_screen() -> None:
    """`relayd pause` has all of them."""
    pauses = [Paused("domain", f"d{number}.example", "DNS", NOW) for number in range(50)]
    lines = [line for line in shown(snapshot(pauses=Answer(pauses))).splitlines() if "relayd pause" in line]
    assert lines[-1].strip() == "and 45 more: relayd pause"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=8))
def test_whatever_a_replica_says_can_be_shown(document_: dict[str, Any]) -> None:
    """Times of no calendar, negative counts, empty words: read, judged, drawn and written down without an error."""
    strange = read_status({**document_, "recent": document_, "dependencies": {"s3": document_}}, source="x")
    shot = snapshot(queue_name="", replicas=(), asked={"x": Answer(strange)})
    assert shown(shot, 80, 24)
    assert json.dumps(document(shot), allow_nan=False)


@pytest.mark.parametrize("at", [1e12, -1e12, -1.0, 0.0, float("inf"), float("nan"), True, "soon"])
def test_moments_of_no_calendar_are_no_error(at: object) -> None:
    """Where a time is shown: since when a breaker is open, when a message failed."""
    says = {
        "since": {"s3": at},
        "dependencies": {"s3": {"breaker": "open", "probe_in_seconds": at}},
        "recent": {"failed": [{"at": at, "seconds": at, "reason": "x"}]},
    }
    shot = snapshot(queue_name="", replicas=(), asked={"x": Answer(read_status(says, source="x"))})
    assert "S3: open" in shown(shot)


def test_no_colour_says_what_no_word_does() -> None:
    """Without them the text is the same; so it is for who cannot see them."""
    coloured = io.StringIO()
    console = Console(file=coloured, width=80, highlight=False, force_terminal=True, color_system="standard")
    for line in fitted(list(sections(busy(), 80)), 100):
        console.print(line)
    assert "\x1b[" in coloured.getvalue()
    for word in ("TROUBLE", "LOOK", "OPEN", "try 2", "SILENT"):
        assert word in shown(busy())


def test_the_document_holds_all_of_it() -> None:
    """As JSON, and what is missing with its reason."""
    told = json.loads(json.dumps(document(busy())))
    assert (told["level"], told["summary"]) == ("trouble", told["findings"][0]["text"])
    assert told["queue"] == {
        "name": "mail",
        "waiting": 18_000,
        "delayed": 0,
        "in_flight": 40,
        "put_off": 18,
        "oldest_seconds": 0.4,
        "oldest_source": "replicas",
        "growth_per_second": None,
        "drained_in_seconds": pytest.approx(4285.7),
    }
    assert told["dead_letters"] == {"waiting": 13, "delayed": 0, "in_flight": 0}
    silent = {one["replica"]: one["silent"] for one in told["replicas"]}
    assert silent["relayd-7f9c6d5b8-gone0-1-0000"] is True
    assert told["deliveries"]["hour"] is None
    assert told["deliveries"]["day"]["failed"] == {"ses_rejected": 9}
    assert told["unknown"] == {
        "oldest": "cloudwatch unavailable",
        "replica 10.0.0.9:8080": "replica unreachable (NewConnectionError)",
        "hour": "no answer within 3 s",
    }
    assert told["failed"][0]["trace_id"] == TRACE


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (89.4, "89 s"), (90, "2 min"), (3600, "60 min"), (5400, "1 h 30 min"), (7200, "2 h"),
        (36_000, "10 h"), (172_000, "48 h"), (172_800, "2 days"), (864_000, "10 days"),
    ],
)  # fmt: skip
def test_times_are_read_at_a_glance(seconds: float, text: str) -> None:
    """One or two numbers, never more."""
    assert lasting(seconds) == text


def test_numbers_are_read_at_a_glance() -> None:
    """Rates, calls, moments and shares."""
    assert [rate(one) for one in (0, 0.01, 0.1, 4.24, 99.9, 1234.5)] == [
        "0/s", "0.6/min", "0.1/s", "4.2/s", "99.9/s", "1,234/s",
    ]  # fmt: skip
    assert [short(one) for one in (None, 0.0031, 0.42, 12.3)] == ["-", "3 ms", "0.42 s", "12 s"]
    assert (clock(NOW - 60, NOW), clock(NOW - 90_000, NOW)) == ("22:12", "2023-11-13 21:13")
    assert [share(*one, "replica") for one in ((1, 1), (2, 2), (3, 3), (1, 3))] == [
        "the replica", "both replicas", "all 3 replicas", "1 of 3 replicas",
    ]  # fmt: skip
    assert (cut("abcdefghijkl", 11), cut("abcdef", 6), cut("abcdefgh", 4)) == ("abcd...ijkl", "abcdef", "abcd")
