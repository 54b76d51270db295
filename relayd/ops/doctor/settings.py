"""The settings: everything that `relayd config` says, and what is right and still not wise."""

import math

from relayd.errors import Problem
from relayd.ops.doctor.facts import Facts
from relayd.ops.doctor.findings import UnknownError, Verdict, failure, ok, warning

TELEMETRY_SECONDS = 5.0
"""For the last spans, after the grace: as `relayd.app` has it."""
SPARE_SECONDS = 5.0
"""For the process to start to end, and to be gone."""


def problem(found: Problem | None, facts: Facts) -> Verdict:
    """One thing that keeps relayd from starting; None for nothing."""
    if found is None:
        return ok(f"All {len(facts.setup.values)} settings can be read, and work together.")
    return failure(f"{found.subject}: {found.problem}.".replace("..", "."), hint=found.hint)


def grace(facts: Facts) -> Verdict:
    """How long a stop takes. Whether what runs relayd waits for so long cannot be seen from inside."""
    setup = facts.setup
    if setup.refused("RELAYD_GRACE_SECONDS"):
        raise UnknownError("RELAYD_GRACE_SECONDS is wrong", "see above")
    wait, send, whole = setup.wait_seconds, setup.send_seconds, setup.grace_seconds
    needed = math.ceil(whole + TELEMETRY_SECONDS + SPARE_SECONDS)
    evidence = {"RELAYD_GRACE_SECONDS": f"{whole:g}", "RELAYD_WAIT_SECONDS": f"{wait:g}", "longest send": f"{send:g} s"}
    return ok(
        f"A stop takes {whole:g} s at most: give the pod terminationGracePeriodSeconds {needed} or more.", **evidence
    )


def polling(facts: Facts) -> Verdict:
    """Whether an idle queue is asked again and again for nothing. What the queue itself has set does not count: each
    receive says how long it waits.
    """
    setup = facts.setup
    evidence = {"RELAYD_WAIT_SECONDS": f"{setup.wait_seconds:g}"}
    if setup.wait_seconds < 1:
        return warning(
            "relayd does not wait for messages: an idle queue is asked many times a second, and each call costs.",
            "export RELAYD_WAIT_SECONDS=20",
            evidence=evidence,
        )
    return ok(f"A poll waits {setup.wait_seconds:g} s for messages.", **evidence)


def allow_lists(facts: Facts) -> Verdict:
    """Whether the third wall stands: which topics and buckets count."""
    setup = facts.setup
    open_ = [
        name
        for name, is_open in (("RELAYD_TOPIC_ARNS", setup.any_topic), ("RELAYD_BUCKETS", setup.any_bucket))
        if is_open
    ]
    evidence = dict.fromkeys(open_, "*") | {"RELAYD_SIGNATURES": "verify" if setup.verifies else "trust-queue-policy"}
    if not open_:
        return ok("Only the topics and buckets that are named count.", **evidence)
    says = f"{' and '.join(open_)} admit{'s' if len(open_) == 1 else ''} any: "
    hint = "name the topic that SES tells, and the bucket that it writes to"
    if not setup.verifies and setup.any_bucket:
        says += "whoever can write to the queue can have any object mailed out that relayd may read."
        return failure(says, hint=hint, evidence=evidence)
    return warning(says + "one wall less between the queue and your objects.", hint=hint, evidence=evidence)
