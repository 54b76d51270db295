"""Writes alerts.yaml: Prometheus' rules, from one table, so that no two of them say the same thing differently.

    python deploy/observability/make_rules.py [RUNBOOK]

RUNBOOK is where docs/operations.md can be read by whoever is woken, for instance a page of a wiki.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

TARGET = Path(__file__).with_name("alerts.yaml")
RUNBOOK = "docs/operations.md"

SLOW = "5|5[.]0"
"""A call to S3 or SES that takes longer, in seconds, is as bad as one that fails. /metrics says 5.0, OTLP 5."""
OBJECTIVE = 0.01
"""Bad calls that are allowed: one in a hundred."""
WINDOWS = ("1m", "5m", "30m", "1h", "6h")
OF_ONE_MAIL = (
    "content_missing|archived|client_side_encrypted|too_large|memory_full|s3_impossible_name"
    "|ses_rejected|ses_refused_malformed|lease_lost|claim_lost|stopping|paused"
)
"""Reasons of calls that failed for the mail's sake: the dependency did its work."""
CALLS = f'dependency=~"s3|ses",error_type!~"{OF_ONE_MAIL}"'
GOOD = f'dependency=~"s3|ses",error_type="",le=~"{SLOW}"'

NOT_DOWN = "unless on() (max(max_over_time(relayd:dependency_down[15m])) > 0)"
"""One page an incident: what follows from a dependency that is down does not page on top of it, nor in the quarter of
an hour after it, in which the windows still hold what was and the queue drains."""
NOT_PAUSED = 'unless on() (max(relayd_paused{scope="all"}) > 0)'


def _bad(window: str) -> str:
    good = f"sum by (dependency) (rate(relayd_dependency_duration_seconds_bucket{{{GOOD}}}[{window}]))"
    every = f"sum by (dependency) (rate(relayd_dependency_duration_seconds_count{{{CALLS}}}[{window}]))"
    return f"1 - (({good} or 0 * {every}) / ({every} > 0))"


def _grown(counter: str, window: str) -> str:
    # increase() misses the first step of a series that was not there before, and of a rare event that step is all.
    return f"sum(({counter} unless {counter} offset {window}) or increase({counter}[{window}]))"


UNKNOWN = 'relayd_deliveries_total{state="discarded",reason="unknown_mask"}'
REJECTED = 'relayd_messages_total{queue="mail",outcome="rejected"}'
FINISHED = 'relayd_messages_total{queue="mail",outcome=~"accepted|rejected"}'


def _recorded() -> Iterator[tuple[str, str]]:
    for window in WINDOWS:
        yield f"relayd:bad_calls:ratio_rate{window}", _bad(window)
    yield (
        "relayd:dependency_down",
        # By a breaker that is not closed, or by what is seen of S3 and SES: two calls in a minute, most of them bad.
        # There is no series while all is well, so that `or` asks the second where the first has nothing to say.
        (
            'group by (dependency) ((max by (dependency) (relayd_breaker{queue="mail"}) > 0) '
            "or (relayd:bad_calls:ratio_rate1m > 0.5 and on (dependency) "
            f"sum by (dependency) (rate(relayd_dependency_duration_seconds_count{{{CALLS}}}[1m])) > 0.03))"
        ),
    )
    yield "relayd:finished:rate5m", f"sum(rate({FINISHED}[5m])) or vector(0)"
    yield "relayd:waiting", 'sum(max by (state) (relayd_queue_depth{queue="mail",state=~"visible|delayed"}))'
    yield "relayd:drain_seconds", "relayd:waiting / (relayd:finished:rate5m > 0)"
    yield "relayd:masks", "sum(max by (state) (relayd_masks))"
    yield (
        # Zero where there are none: a day without unknown masks is what a jump is compared with.
        "relayd:unknown_masks:ratio_rate10m",
        (
            f"(sum(rate({UNKNOWN}[10m])) or vector(0)) "
            '/ (sum(rate(relayd_deliveries_total{state=~"sent|discarded|failed"}[10m])) > 0)'
        ),
    )


def _burn(factor: float, long: str, short: str, least: int) -> str:
    limit = f"{factor * OBJECTIVE:.4g}"
    calls = f"sum by (dependency) (increase(relayd_dependency_duration_seconds_count{{{CALLS}}}[{long}]))"
    return (
        f"relayd:bad_calls:ratio_rate{long} > {limit} and relayd:bad_calls:ratio_rate{short} > {limit} "
        f"and on (dependency) {calls} > {least} {NOT_DOWN}"
    )


def _share(kind: str, least: int, share: float) -> str:
    of_kind, sends = (
        _grown(f"relayd_feedback_total{{{kind}}}", "1d"),
        _grown('relayd_feedback_total{kind="send"}', "1d"),
    )
    return f"{of_kind} / ({sends} > {least}) > {share}"


def _jump(share: str, before: str) -> str:
    # Three times as many unknown masks as usual, or a third of the usual known ones: one or the other is possible
    # whatever is usual.
    return f"{share} > 0.3 and ({share} > 3 * {before} or 1 - {share} < (1 - {before}) / 3)"


ALERTS: tuple[tuple[str, str, str, str, str, str], ...] = (
    # name, severity, for, expression, summary, runbook section
    (
        "RelaydDependencyDown",
        "page",
        "15s",
        "relayd:dependency_down > 0",
        "{{ $labels.dependency }} fails or hangs: mail waits in the queue. Do not restart relayd.",
        "mail-is-late",
    ),
    (
        "RelaydNoPollProgress",
        "page",
        "1m",
        "max by (instance) (relayd_poll_age_seconds) > 90",
        "The poll loop of {{ $labels.instance }} hangs; its liveness probe should restart it.",
        "no-poll-progress",
    ),
    (
        "RelaydGone",
        "page",
        "1m",
        'absent(up{job="relayd"}) or (sum(up{job="relayd"}) == 0)',
        "No replica of relayd answers: nothing is forwarded.",
        "replicas-are-gone",
    ),
    (
        "RelaydReplicasGone",
        "ticket",
        "10m",
        # Fewer replicas alone may be an autoscaler's doing, but it keeps two.
        (
            'count(up{job="relayd"} == 0) > 0 or '
            '(sum(up{job="relayd"}) < 2 and max_over_time(sum(up{job="relayd"})[1d:5m]) >= 2)'
        ),
        "Replicas do not answer, or there is one where there were more.",
        "replicas-are-gone",
    ),
    (
        "RelaydCannotReceive",
        "page",
        "5m",
        f'max by (condition) (relayd_unready{{condition=~"queue|dead_letter_queue"}}) > 0 {NOT_DOWN}',
        "Nothing is received: the {{ $labels.condition }} is missing, or relayd may not use it.",
        "when-something-is-wrong",
    ),
    (
        "RelaydMailIsOld",
        "page",
        "5m",
        # Old mail that comes for the first time, so that what is tried again for hours does not count; and the queue
        # will not be empty within the hour by itself.
        (
            f'max(relayd_queue_oldest_seconds{{queue="mail",received="first"}}) > 1800 and on() relayd:waiting > 0 '
            f"unless on() (predict_linear(relayd:waiting[10m], 3600) <= 0) {NOT_DOWN} {NOT_PAUSED}"
        ),
        "Mail is forwarded {{ $value | humanizeDuration }} after it came, and the queue does not shrink.",
        "mail-is-late",
    ),
    (
        "RelaydBacklogGrows",
        "ticket",
        "10m",
        (
            "(relayd:drain_seconds > 1800 or (relayd:waiting > 100 and on() relayd:finished:rate5m == 0)) "
            f"and on() deriv(relayd:waiting[10m]) > 0 {NOT_DOWN} {NOT_PAUSED}"
        ),
        "At this rate the queue takes more than half an hour to drain, and it grows.",
        "mail-is-late",
    ),
    (
        "RelaydEventsAreOld",
        "ticket",
        "15m",
        f'max(relayd_queue_oldest_seconds{{queue="events",received="first"}}) > 900 {NOT_DOWN}',
        "SES's events are read {{ $value | humanizeDuration }} late: bounces and sends in doubt wait for them.",
        "mail-is-late",
    ),
    (
        "RelaydCallsBurnFast",
        "page",
        "2m",
        _burn(14.4, "1h", "5m", 50),
        "{{ $labels.dependency }}: {{ $value | humanizePercentage }} of an hour's calls failed or took over 5 s.",
        "mail-is-late",
    ),
    (
        "RelaydCallsBurnSlowly",
        "ticket",
        "15m",
        _burn(6, "6h", "30m", 100),
        "{{ $labels.dependency }}: {{ $value | humanizePercentage }} of six hours' calls failed or took over 5 s.",
        "mail-is-late",
    ),
    (
        "RelaydDeadLettersGrow",
        "page",
        "5m",
        f"{_grown(REJECTED, '15m')} > 20 and {_grown(REJECTED, '15m')} > 0.1 * {_grown(FINISHED, '15m')} {NOT_DOWN}",
        "{{ $value | humanize }} mails could not be forwarded within a quarter of an hour, more than one in ten.",
        "dead-letters-grow",
    ),
    (
        "RelaydDeadLettersWait",
        "ticket",
        "1h",
        'max(relayd_queue_depth{queue="dead_letters",state="visible"}) > 0',
        "{{ $value }} dead letters wait for somebody.",
        "dead-letters-grow",
    ),
    (
        "RelaydBounceRate",
        "page",
        "5m",
        _share('kind="bounce",type="permanent"', 200, 0.05),
        "{{ $value | humanizePercentage }} of a day's mail bounced for good; SES reviews accounts over 5 %.",
        "ses-paused-us",
    ),
    (
        "RelaydComplaintRate",
        "page",
        "5m",
        _share('kind="complaint"', 1000, 0.001),
        "{{ $value | humanizePercentage }} of a day's mail was called spam; SES reviews accounts over 0.1 %.",
        "ses-paused-us",
    ),
    (
        "RelaydSuppressed",
        "ticket",
        "0s",
        _grown('relayd_alerts_total{word="suppressed"}', "1h") + " > 0",
        "SES drops mail to addresses on a suppression list.",
        "ses-paused-us",
    ),
    (
        "RelaydUnknownMasksJump",
        "page",
        "5m",
        _jump(
            "relayd:unknown_masks:ratio_rate10m",
            "avg_over_time(relayd:unknown_masks:ratio_rate10m[1d] offset 15m)",
        )
        + f" and on() {_grown(UNKNOWN, '10m')} > 20",
        "{{ $value | humanizePercentage }} of the mail is for masks that nobody knows. Is it the right database?",
        "restore-the-database",
    ),
    (
        "RelaydMasksVanish",
        "page",
        "0s",
        "relayd:masks < 0.8 * max_over_time(relayd:masks[1h])",
        "A fifth of the masks or more vanished within an hour. Is it the right database?",
        "restore-the-database",
    ),
    (
        "RelaydPausedForLong",
        "ticket",
        "1h",
        "max by (scope) (relayd_paused) > 0",
        "Mail is paused ({{ $labels.scope }}) for more than an hour.",
        "hold-mail-back",
    ),
    (
        "RelaydSendsInDoubt",
        "ticket",
        "0s",
        _grown('relayd_in_doubt_total{event="given_up"}', "1h") + " > 0",
        "{{ $value | humanize }} mails were given up because nobody knows whether SES took them.",
        "dead-letters-grow",
    ),
    (
        "RelaydLeasesLost",
        "ticket",
        "10m",
        'sum(rate(relayd_leases_total{event="lost"}[10m])) > 0.02',
        "Leases end while their mail is worked on: paused hosts, or too little CPU.",
        "when-something-is-wrong",
    ),
)


def rules(runbook: str = RUNBOOK) -> str:
    """The file. It is one group, whose rules run one after the other: alerts see what was just recorded."""
    lines = [
        "# Made by make_rules.py; tests/deploy/test_alerts.py tries them. Severities: `page` wakes somebody, `ticket`",
        "# does not. One page an incident: what follows from a dependency that is down is left out while that is told.",
        "groups:",
        "  - name: relayd",
        "    interval: 15s",
        "    rules:",
    ]
    for name, expression in _recorded():
        lines += [f"      - record: {name}", *_folded(expression)]
    for name, severity, wait, expression, summary, section in ALERTS:
        lines += [
            f"      - alert: {name}",
            *_folded(expression),
            *([f"        for: {wait}"] if wait != "0s" else []),
            "        labels:",
            f"          severity: {severity}",
            "        annotations:",
            f'          summary: "{summary}"',
            f"          runbook_url: {runbook}#{section}",
        ]
    return "\n".join(lines) + "\n"


def _folded(expression: str) -> list[str]:
    return ["        expr: >-", f"          {expression}"]


if __name__ == "__main__":
    TARGET.write_text(rules(*sys.argv[1:2]))
