"""Settings that are each right and cannot work together, with what SQS and the timeouts demand of them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from relayd.errors import Problem

SEND_MARGIN = 5.0
"""Seconds of lease that must be left over beside a send, for the ledger's two writes around it."""


def longest_send(connect: float, read: float) -> float:
    """Seconds of lease that a send needs. A fresh connection takes the connect timeout twice: for TCP and for TLS."""
    return 2 * connect + read + SEND_MARGIN


SETTLE_SECONDS = 5.0
"""Seconds of grace that must be left after the last poll, for handing back what it brought."""
LEASE_LIMIT = 43_200
"""SQS: a lease lasts 12 h in all, counted from the receive, however often it is extended."""


class Combination(NamedTuple):
    """Settings that are each right and cannot work together."""

    fields: tuple[str, ...]
    works: Callable[..., bool]
    env: str
    problem: str
    hint: str


COMBINATIONS = (
    Combination(
        ("visibility_seconds", "ses_connect_seconds", "ses_read_seconds"),
        lambda visibility, connect, read: visibility >= longest_send(connect, read),
        "RELAYD_VISIBILITY_SECONDS",
        f"a lease of {{0:g}} s is shorter than a send may take (twice {{1:g}} s to connect, {{2:g}} s to read, "
        f"{SEND_MARGIN:g} s beside it)",
        "raise it, or lower RELAYD_SES_READ_SECONDS",
    ),
    Combination(
        ("deadline_seconds", "visibility_seconds"),
        lambda deadline, visibility: deadline >= visibility,
        "RELAYD_DEADLINE_SECONDS",
        "a deadline of {0:g} s is shorter than one lease ({1:g} s)",
        "raise it to RELAYD_VISIBILITY_SECONDS or more",
    ),
    Combination(
        ("deadline_seconds", "s3_connect_seconds", "s3_read_seconds", "ses_connect_seconds", "ses_read_seconds"),
        lambda deadline, *timeouts: deadline >= sum(timeouts),
        "RELAYD_DEADLINE_SECONDS",
        "a deadline of {0:g} s is shorter than one slow fetch ({1:g} + {2:g} s) and one slow send ({3:g} + {4:g} s)",
        "raise it, or lower the timeouts",
    ),
    Combination(
        ("deadline_seconds", "visibility_seconds"),
        lambda deadline, visibility: deadline + visibility <= LEASE_LIMIT,
        "RELAYD_DEADLINE_SECONDS",
        f"a deadline of {{0:g}} s and a lease of {{1:g}} s are more than the {LEASE_LIMIT} s that SQS allows in all",
        "lower it",
    ),
    Combination(
        ("grace_seconds", "wait_seconds", "ses_read_seconds"),
        lambda grace, wait, read: grace >= wait + max(read, SETTLE_SECONDS),
        "RELAYD_GRACE_SECONDS",
        "a grace of {0:g} s is shorter than the last poll ({1:g} s) and one send ({2:g} s), or 5 s after it",
        "raise it (and the pod's terminationGracePeriodSeconds with it), or lower RELAYD_WAIT_SECONDS",
    ),
    Combination(
        ("signatures", "sns_certificate_file"),
        lambda signatures, certificate: signatures == "verify" or certificate is None,
        "RELAYD_SNS_CERTIFICATE_FILE",
        "a pinned certificate is never used when signatures are not verified",
        "unset it, or set RELAYD_SIGNATURES=verify",
    ),
    Combination(
        ("queue_url", "dead_letter_url"),
        lambda queue, dead_letter: queue != dead_letter,
        "RELAYD_DEAD_LETTER_URL",
        "the dead-letter queue is the queue itself",
        "name another queue, or unset it to use the one in the redrive policy",
    ),
    Combination(
        ("events_queue_url", "queue_url", "dead_letter_url"),
        lambda events, queue, dead_letter: events is None or events not in (queue, dead_letter),
        "RELAYD_EVENTS_QUEUE_URL",
        "the events' queue is the mail's, whose backlog would hold events up, or its dead-letter queue",
        "give SES's events a topic and a queue of their own, or unset it",
    ),
    Combination(
        ("tracker_warning", "trackers"),
        lambda warning, trackers: warning is None or trackers is not None,
        "RELAYD_TRACKER_WARNING_URL",
        "a warning about trackers is never used without a list of trackers",
        "set RELAYD_TRACKERS_FILE, or unset it",
    ),
)


def contradictions(values: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong between `values`, which holds only settings that are right by themselves."""
    for fields, works, env, problem, hint in COMBINATIONS:
        if all(name in values for name in fields):
            found = [values[name] for name in fields]
            if not works(*found):
                yield Problem(env, problem.format(*found), hint)
