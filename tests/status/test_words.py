"""How things are, in words: each sentence and the thing to do, the most important first."""

from dataclasses import replace
from typing import Any

import pytest

from relayd.adapters.probes import Account
from relayd.adapters.queue_depth import QueueDepth
from relayd.ops.pausing import Paused
from relayd.ops.status.asking import Answer
from relayd.ops.status.figures import Deliveries
from relayd.ops.status.flow import Finding, Level
from relayd.ops.status.replica import CallFigures, Governed
from relayd.ops.status.snapshot import Snapshot
from relayd.ops.status.words import findings
from tests.status.samples import NOW, WELL, held, replica, snapshot, unanswered, window

SINCE = "22:02"
"""Eleven minutes before the samples' now."""


def said(shot: Snapshot) -> list[str]:
    return [f"{one.level.value}: {one.text}" for one in findings(shot)]


def headline(shot: Snapshot) -> Finding:
    return findings(shot)[0]


# How the mail flows.


def test_a_well_deployment_is_one_sentence() -> None:
    """Nothing else is worth a word."""
    assert said(snapshot()) == ["well: Forwarding 4.2/s; nothing waits."]


def test_what_waits_is_told_with_the_time_that_it_takes() -> None:
    """As fast as messages are finished, if nobody has watched the queue; as fast as it shrinks, if somebody has."""
    assert said(snapshot(depth=(1204, 0, 3))) == ["well: Forwarding 4.2/s; 1,204 waiting, empty in 5 min."]
    shrinking = snapshot(depth=(1204, 0, 3), growth=-1.0)
    assert said(shrinking) == ["well: Forwarding 4.2/s; 1,204 waiting, empty in 20 min."]
    still = snapshot(depth=(1204, 0, 3), growth=0.05)
    assert said(still) == ["well: Forwarding 4.2/s; 1,204 waiting."]
    few = snapshot(depth=(3, 0, 3))
    assert said(few) == ["well: Forwarding 4.2/s; 3 waiting, empty in a moment."]


def test_a_queue_that_grows_is_for_somebody_to_look_at() -> None:
    """With how fast, and what helps."""
    found = headline(snapshot(depth=(1204, 0, 3), growth=2.0))
    assert found.level is Level.LOOK
    assert found.text == "Forwarding 4.2/s; 1,204 messages wait, and 2.0/s more come than are finished."
    assert "RELAYD_CONCURRENCY" in found.todo


def test_replicas_add_up() -> None:
    """And what a replica of another queue does is not this queue's speed."""
    others = (replica("pod-a"), replica("pod-b"), replica("pod-c", queue="observed"))
    assert said(snapshot(replicas=others)) == ["well: Forwarding 8.4/s; nothing waits."]


def test_a_quiet_hour_is_quiet() -> None:
    """Rather than 0.0/s; and with the time that was really looked at."""
    idle = replica(minute=window(finished=0), quarter_hour=window(900.0, 30))
    text = "well: Quiet: 2.0/min in the last 15 min, nothing in the last one; nothing waits."
    assert said(snapshot(replicas=[idle])) == [text]
    new = replica(minute=window(20.0, 0), quarter_hour=window(20.0, 0))
    assert said(snapshot(replicas=[new])) == ["well: Quiet: no mail in the last 20 s; nothing waits."]


def test_discards_are_finished_and_not_forwarded() -> None:
    """A flood of spam is no forwarding."""
    flood = replica(minute=window(messages={"accepted": {"spam": 252}}, sent=0))
    text = "well: Finishing 4.2/s, with nothing to forward; nothing waits."
    assert said(snapshot(replicas=[flood])) == [text]


def test_waiting_mail_for_which_nothing_is_done_is_trouble() -> None:
    """Unless it has only just come."""
    idle = replica(minute=window(finished=0), oldest=300.0)
    found = headline(snapshot(depth=(7, 0, 0), replicas=[idle]))
    assert found.level is Level.TROUBLE
    assert found.text == "7 messages wait, and nothing was finished in the last 60 s."
    fresh = replica(minute=window(finished=0), oldest=3.0)
    assert headline(snapshot(depth=(1, 0, 0), replicas=[fresh])).level is Level.LOOK


# Trouble.


def test_an_open_breaker_is_the_headline() -> None:
    """What it is, since when, what that means for the mail, what to do; and nothing about the minute before."""
    paused = [held("ses", "ses_sending_paused", name=name, minute=window()) for name in ("a", "b")]
    (found,) = findings(snapshot(depth=(18_000, 0, 0), replicas=paused))
    assert found.level is Level.TROUBLE
    sentence = "SES has paused this account's sending, since 22:02: nothing is received; 18,000 messages wait."
    assert found.text == sentence
    assert found.todo.endswith("relayd goes on by itself when SES does. Next probe: in 10 s.")


def test_an_open_breaker_of_some_replicas_is_told_as_that() -> None:
    """The others go on, which is told as well."""
    shot = snapshot(depth=(12, 0, 3), replicas=[held("s3", "s3_unavailable"), replica("pod-b"), replica("pod-c")])
    outage, flow = findings(shot)
    where = "nothing is received by 1 of 3 replicas; 12 messages wait."
    assert outage.text == f"S3 does not work (s3_unavailable), since {SINCE}: {where}"
    assert flow.text == "Forwarding 8.4/s; 12 waiting, empty in a moment."


@pytest.mark.parametrize(
    ("dependency", "reason", "begins", "todo"),
    [
        ("ses", "ses_daily_quota", "SES's quota of the day is used up", "ask AWS"),
        ("ses", "ses_configuration_set_missing", "SES does not know the configuration set", "doctor"),
        ("ses", "ses_mail_from_not_verified", "SES's MAIL FROM domain is not verified", "DNS"),
        ("s3", "access_denied", "S3 refuses relayd (access_denied)", "doctor"),
        ("s3", "bucket_missing", "The bucket of the mail is not there", "doctor"),
        ("database", "database_unavailable", "The database cannot be used (database_unavailable)", "Mend it"),
        ("database", "directory_empty", "The database holds no masks", "RELAYD_DATABASE_URL"),
        ("database", "database_not_upgraded", "The database is older than this relayd", "relayd db upgrade"),
        ("certificates", "certificate_unavailable", "SNS's certificate does not work (certificate_unav", "outage"),
        ("teapot", "", "Teapot does not work, since", "outage"),
    ],
)
def test_each_reason_has_its_words(dependency: str, reason: str, begins: str, todo: str) -> None:
    """Those of a later version, too."""
    found = headline(snapshot(replicas=[held(dependency, reason)]))
    assert found.text.startswith(begins)
    assert todo in found.todo


def test_a_breaker_that_tries_again_is_hope() -> None:
    """Not trouble any more."""
    shot = snapshot(depth=(5, 0, 1), replicas=[held("s3", "s3_unavailable", "half_open", 2, oldest=20.0)])
    assert said(shot)[1] == "look: S3 answers again: the replica lets mail in step by step."


def test_nobody_runs() -> None:
    """No replica at all; all of them silent; and all but one, which is less bad."""
    (found,) = findings(snapshot(depth=(1204, 0, 0), replicas=[]))
    assert (found.level, found.text) == (
        Level.TROUBLE,
        "No replica runs: nothing is received; 1,204 messages wait.",
    )
    gone = [replica("pod-a", seen_ago=660.0), replica("pod-b", seen_ago=900.0)]
    (found,) = findings(snapshot(depth=(1, 0, 0), replicas=gone))
    text = f"Both replicas are silent since {SINCE}: ended, or cut off from the database; 1 message waits."
    assert (found.level, found.text) == (Level.TROUBLE, text)
    shot = snapshot(replicas=[*gone, replica("pod-c")])
    assert said(shot)[1:] == [f"look: 2 of 3 replicas are silent since {SINCE}."]


def test_a_replica_that_was_killed_hours_ago_is_no_news() -> None:
    """Its row is there for a day, and others run; nor is one that was stopping when it was heard of last."""
    shot = snapshot(replicas=[replica(), replica("old", seen_ago=7200.0), replica("x", seen_ago=30, stopping=True)])
    assert len(said(shot)) == 1


def test_an_old_answer_makes_a_replica_no_younger() -> None:
    """Between two looks at the heartbeats their age grows."""
    shot = snapshot(heartbeats=Answer((replica(seen_ago=12.0),), "", 4.0))
    assert headline(shot).text.startswith("The replica is silent since 22:13")


def test_a_replica_that_was_asked_itself_runs() -> None:
    """Whatever its heartbeat says, or the database does not."""
    asked = {"10.0.0.1:8080": Answer(replica("pod-a", seen_ago=0.0, source="10.0.0.1:8080"))}
    old = [replica("pod-a", seen_ago=600.0)]
    assert said(snapshot(replicas=old, asked=asked)) == ["well: Forwarding 4.2/s; nothing waits."]
    assert said(snapshot(heartbeats=unanswered(), asked=asked)) == ["well: Forwarding 4.2/s; nothing waits."]


def test_a_pause_of_everything_is_the_headline() -> None:
    """With who wants it so: what the operator wrote; and how it ends."""
    pauses = [Paused("all", "", "wrong DKIM key", NOW - 660), Paused("domain", "mask.example", "DNS", NOW)]
    found = findings(snapshot(depth=(3, 0, 0), pauses=Answer(pauses)))
    assert found[0].text == (
        f"An operator has paused all mail since {SINCE} (wrong DKIM key): nothing is received; 3 messages wait."
    )
    assert "relayd resume --all" in found[0].todo
    assert [one.text for one in found[1:]] == ["Paused by operators: domain mask.example since 22:13."]


def test_most_mail_that_fails_is_trouble_though_all_of_it_is_worked_on() -> None:
    """SES refuses every mail: the queue is empty, and the dead letters fill."""
    bad = {"accepted": {"forwarded": 12}, "rejected": {"ses_rejected": 200}, "deferred": {"ses_timeout": 40}}
    shot = snapshot(replicas=[replica(minute=window(messages=bad, failed=240, sent=12))])
    text = "Most mail fails: 4.0/s in the last 60 s (ses_rejected, ses_timeout)."
    assert (headline(shot).level, headline(shot).text) == (Level.TROUBLE, text)
    some = {"accepted": {"forwarded": 200}, "deferred": {"s3_timeout": 40, "claimed_elsewhere": 2}}
    shot = snapshot(replicas=[replica(minute=window(messages=some, failed=40))])
    assert said(shot)[1] == "look: Some mail fails: 0.7/s in the last 60 s (s3_timeout, claimed_elsewhere)."
    one = {"accepted": {"forwarded": 1}, "rejected": {"not_json": 1}}
    assert len(said(snapshot(replicas=[replica(minute=window(messages=one, failed=1, finished=2))]))) == 1


def test_what_stands_against_receiving_is_trouble() -> None:
    """A queue that is missing, and a dead-letter queue that takes nothing."""
    shot = snapshot(replicas=[replica(against={"queue": "queue_missing"}), replica("pod-b")])
    assert said(shot)[0] == "trouble: 1 of 2 replicas cannot receive (queue_missing); nothing waits."
    shot = snapshot(replicas=[replica(against={"dead_letter_queue": "access_denied"})])
    assert "dead-letter queue takes nothing (access_denied)" in said(shot)[0]


def test_an_account_that_is_paused_is_told_before_any_mail_meets_it() -> None:
    """Once: a replica that has met it says it better."""
    account = Answer(Account(14.0, 50_000.0, 3.0, False))
    assert said(snapshot(account=account))[0] == "trouble: SES has paused this account's sending."
    shot = snapshot(account=account, replicas=[held("ses", "ses_sending_paused")])
    assert len(said(shot)) == 1


# What somebody should look at.


def test_dead_letters_are_told_with_the_reasons_of_the_day() -> None:
    """And how they come back."""
    day = Deliveries(failed={"ses_rejected": 9, "not_json": 2, "bug": 1, "killed": 1})
    found = findings(snapshot(dead=(12, 0, 1), day=Answer(day)))[1]
    assert found.text == "13 dead letters; what failed in the last day: ses_rejected, not_json, bug."
    assert "relayd replay --dead-letters --dry-run" in found.todo
    assert said(snapshot(dead=(1, 0, 0), day=unanswered()))[1] == "look: 1 dead letter."


def test_what_else_is_worth_a_look() -> None:
    """Doubts, stuck workers, a limit that is lowered, the quota, events that wait."""
    slow = replica(dependencies={"s3": Governed(4, "closed"), "ses": WELL}, wedged=2)
    shot = snapshot(
        replicas=[slow, replica("pod-b")],
        day=Answer(Deliveries(in_doubt=1)),
        account=Answer(Account(14.0, 50_000.0, 46_000.0, True)),
        events=Answer(QueueDepth(1500, 0, 8)),
    )
    assert said(shot)[1:] == [
        "look: 2 workers are stuck past the deadline.",
        "look: 1 send is in doubt.",
        "look: S3 failed or throttled lately: 1 of 2 replicas takes fewer messages in hand.",
        "look: 46,000 of the 50,000 mails are sent that SES allows in 24 hours.",
        "look: 1,500 of SES's events wait: bounces, and sends in doubt, are learned of late.",
    ]


def test_calls_that_fail_are_told_where_nothing_else_tells_of_it() -> None:
    """A database that is away while no mail comes: its breaker has not heard of it."""
    bad = window(
        finished=0, calls={"database": CallFigures(66, 21, 0.002, 0.2), "queue": CallFigures(78, 2, None, None)}
    )
    shot = snapshot(replicas=[replica(minute=bad)])
    assert said(shot)[1:] == ["look: The database failed 21 of 66 calls in the last minute."]
    assert len(said(snapshot(replicas=[held("database", "database_unavailable", minute=bad)]))) == 1
    slowed = replica(minute=bad, dependencies={"database": Governed(8, "closed")})
    assert "failed 21" not in " ".join(said(snapshot(replicas=[slowed])))


def test_an_account_without_a_quota_is_not_near_it() -> None:
    """SES says -1 for any number."""
    assert len(said(snapshot(account=Answer(Account(14.0, -1.0, 1e6, True))))) == 1


def test_many_pauses_are_counted() -> None:
    """A line has an end."""
    pauses = [Paused("domain", f"d{number}.example", "x", NOW) for number in range(5)]
    assert said(snapshot(pauses=Answer(pauses)))[1].endswith("d2.example since 22:13, and 2 more.")


# Half of it unknown.


def test_what_could_not_be_asked_is_told_and_what_is_known_still_stands() -> None:
    """No queue; no database; neither."""
    shot = snapshot(queue=unanswered("access denied (AccessDenied, HTTP 403)"))
    assert said(shot) == [
        "unknown: Forwarding 4.2/s; how much waits is not known.",
        "look: The queue could not be asked: access denied (AccessDenied, HTTP 403).",
    ]
    away = unanswered("database unavailable (OperationalError)")
    shot = snapshot(depth=(393, 0, 0), heartbeats=away, hour=away, day=away)
    flow, database = findings(shot)
    assert (flow.level, flow.text) == (
        Level.UNKNOWN,
        "393 messages wait; how fast they are worked on is not known.",
    )
    assert database.text.startswith("The database could not be asked, so that nobody knows which replicas run: ")
    assert "--replica" in database.todo
    shot = replace(shot, queue=unanswered())
    assert said(shot)[0].startswith("unknown: How the mail flows cannot be told")


def test_there_is_always_a_headline() -> None:
    """Even where nobody answers yet, and nobody has said why."""
    nothing: Answer[Any] = Answer()
    shot = snapshot(
        queue=nothing, dead_letters=nothing, account=nothing, heartbeats=nothing, hour=nothing, day=nothing,
        mailboxes=nothing, pauses=nothing,
    )  # fmt: skip
    assert len(findings(shot)) == 1
