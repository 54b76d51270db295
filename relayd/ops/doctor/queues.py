"""Queues: whether they keep mail for long enough, give it out often enough, and to whom."""

import math
from collections.abc import Mapping

from relayd.ops.doctor.answers import missing, parsed, told
from relayd.ops.doctor.facts import Facts, QueueFacts
from relayd.ops.doctor.findings import Verdict, aws, compact, duration, failure, ok, warning
from relayd.rules.retry import FIRST_DELAY, LONGEST_DELAY

HOUR = 3600.0
DAY = 86_400
MOST_RECEIVES = 1000
"""SQS: the highest maxReceiveCount."""
LONGEST_RETENTION = 14 * DAY
"""SQS's limit."""
MAIL_RETENTION = 10 * DAY
"""The most that a queue should keep, so that its dead letters have days left: they are counted on."""
LARGEST_NOTIFICATION = 256 * 1024
"""Bytes of a message of SNS."""
OUTAGE_DAYS = 4
"""A queue that keeps less loses mail over a long weekend."""


def tries_in(seconds: float) -> int:
    """The most tries that a failing message can have in so many seconds: a delay may be half of what it is at most."""
    tries, at, delay = 1, 0.0, FIRST_DELAY
    while delay < LONGEST_DELAY:
        at += delay / 2
        if at > seconds:
            return tries
        tries += 1
        delay *= 2
    return tries + int((seconds - at) // (LONGEST_DELAY / 2))


def there(queue: QueueFacts, facts: Facts) -> Verdict:
    """Whether it answers at all."""
    if missing(queue.answer):
        return failure(
            f"The queue does not exist in {queue.region or 'this region'}.",
            aws("sqs", "list-queues", queue.region),
            hint="name one of those that are listed; a queue is found only in its own region and account",
            evidence={"queue": queue.url, "answer": queue.answer.code},
        )
    attributes = told(queue.answer)["Attributes"]
    lease = attributes.get("VisibilityTimeout", "?")
    return ok(
        f"The queue answers. relayd leases for {facts.setup.visibility_seconds:g} s; its own {lease} s do not count.",
        QueueArn=attributes["QueueArn"],
        VisibilityTimeout=lease,
        ApproximateNumberOfMessages=attributes.get("ApproximateNumberOfMessages"),
    )


def dead_letters(queue: QueueFacts, facts: Facts) -> Verdict:
    """Whether what is rejected has a place, and one place only."""
    target = str(queue.redrive.get("deadLetterTargetArn", ""))
    named = facts.setup.dead_letter_url if queue.role == "mail" else None
    evidence = {"deadLetterTargetArn": target or None, "RELAYD_DEAD_LETTER_URL": named}
    if not target and not named:
        if queue.role == "events":
            return warning(
                "Events have no dead-letter queue of their own: what cannot be read goes to the mail's.",
                _set_redrive(queue, _example_target(queue)),
                evidence=evidence,
            )
        return failure(
            "The queue has no dead-letter queue: rejected mail has nowhere to go, and relayd does not start.",
            aws("sqs", "create-queue", queue.region, queue_name=f"{queue.name}-dead-letters", attributes=_KEEP_LONGEST),
            _set_redrive(queue, _example_target(queue)),
            evidence=evidence,
        )
    if not target:
        return warning(
            "The queue has no redrive policy: SQS itself gives a message out for ever that kills whoever works on it.",
            _set_redrive(queue, _arn_of(queue, named or "")),
            evidence=evidence,
        )
    if named and not _same(target, named):
        return warning(
            "SQS and relayd use two dead-letter queues; `relayd drain --dead-letters` empties one of them.",
            hint="unset RELAYD_DEAD_LETTER_URL, or name it in the redrive policy as well",
            evidence=evidence,
        )
    if queue.dead_letters is not None and missing(queue.dead_letters.answer):
        return failure(
            "The dead-letter queue does not exist.",
            aws("sqs", "create-queue", queue.region, queue_name=queue.dead_letters.name, attributes=_KEEP_LONGEST),
            evidence=evidence,
        )
    return ok("Rejected messages go to a dead-letter queue.", **evidence)


def receives(queue: QueueFacts, facts: Facts) -> Verdict:
    """Whether SQS leaves relayd the time that it wants: retries end by age, and the count is only a net."""
    most = queue.redrive.get("maxReceiveCount")
    if most is None:
        return ok("Without a redrive policy nothing is counted.")
    allowed, in_hour, in_all = int(most), tries_in(HOUR), tries_in(facts.setup.retry_seconds)
    wanted = duration(facts.setup.retry_seconds)
    evidence = {"maxReceiveCount": allowed, f"tries in {wanted}": in_all, "tries in 1 hour": in_hour}
    command = _set_redrive(queue, str(queue.redrive.get("deadLetterTargetArn", "")))
    if allowed <= in_hour:
        return failure(
            f"SQS takes a message away after {allowed} receives: in trouble that is less than an hour.",
            command,
            evidence=evidence,
        )
    if allowed < in_all:
        if allowed >= MOST_RECEIVES:
            return warning(
                f"A message that fails for {wanted} may be received {in_all} times; SQS counts to {MOST_RECEIVES}.",
                "export RELAYD_RETRY_HOURS=96",
                evidence=evidence,
            )
        return warning(
            f"SQS takes a message away after {allowed} receives; in {wanted} there may be {in_all}.",
            command,
            evidence=evidence,
        )
    return ok(f"SQS allows {allowed} receives; {wanted} of retries take {in_all} at most.", **evidence)


def retention(queue: QueueFacts, facts: Facts) -> Verdict:
    """Whether SQS keeps messages for longer than anything takes that may happen to them."""
    kept = queue.number("MessageRetentionPeriod")
    wanted = max(OUTAGE_DAYS * DAY, math.ceil((facts.setup.retry_seconds + HOUR) / DAY) * DAY)
    evidence = {"MessageRetentionPeriod": kept, "RELAYD_RETRY_HOURS": f"{facts.setup.retry_seconds / HOUR:g}"}
    if wanted > MAIL_RETENTION:
        command = f"export RELAYD_RETRY_HOURS={(MAIL_RETENTION - DAY) // 3600}"
    else:
        command = _set(queue, MessageRetentionPeriod=str(wanted))
    if kept <= facts.setup.retry_seconds:
        return failure(
            f"SQS forgets a message after {duration(kept)}, and relayd tries for "
            f"{duration(facts.setup.retry_seconds)}: mail that fails is lost before it is given up.",
            command,
            evidence=evidence,
        )
    if kept < wanted:
        return warning(
            f"SQS forgets a message after {duration(kept)}: an outage over a long weekend loses mail.",
            command,
            evidence=evidence,
        )
    return ok(f"SQS keeps a message for {duration(kept)}.", **evidence)


def dead_letter_retention(queue: QueueFacts, _: Facts) -> Verdict:
    """Whether a dead letter outlives its time in the queue: SQS counts on from when it first came."""
    told(queue.answer)
    letters = queue.dead_letters
    if letters is None:
        return ok("There is no dead-letter queue.")
    kept, before = letters.number("MessageRetentionPeriod"), queue.number("MessageRetentionPeriod")
    evidence = {letters.name: kept, queue.name: before}
    if before >= LONGEST_RETENTION and kept >= LONGEST_RETENTION:
        return warning(
            f"Both queues keep messages for {duration(kept)}, and SQS counts on: a late dead letter is gone at once.",
            _set(queue, MessageRetentionPeriod=str(MAIL_RETENTION)),
            evidence=evidence,
        )
    command = _set(letters, MessageRetentionPeriod=str(LONGEST_RETENTION))
    if kept <= before:
        return failure(
            f"Dead letters are kept for {duration(kept)}, counted from when they first came into the queue, which "
            f"keeps them for {duration(before)} itself: late ones are lost at once.",
            command,
            evidence=evidence,
        )
    return ok(f"Dead letters are kept for {duration(kept)}, from their first day on.", **evidence)


def redrive_allowed(queue: QueueFacts, _: Facts) -> Verdict:
    """Whether the dead-letter queue takes this queue's."""
    told(queue.answer)
    letters = queue.dead_letters
    if letters is None:
        return ok("There is no dead-letter queue.")
    policy = parsed(letters.attributes.get("RedriveAllowPolicy"))
    permission, sources = policy.get("redrivePermission", "allowAll"), policy.get("sourceQueueArns", [])
    evidence = {"redrivePermission": permission, "sourceQueueArns": sources}
    if permission == "allowAll" or queue.arn in sources:
        return ok("The dead-letter queue takes this queue's messages.", **evidence)
    wanted = {"redrivePermission": "byQueue", "sourceQueueArns": [*sources, queue.arn]}
    return failure(
        "The dead-letter queue does not take this queue's messages: SQS moves none there.",
        _set(letters, RedriveAllowPolicy=compact(wanted)),
        evidence=evidence,
    )


def delay(queue: QueueFacts, _: Facts) -> Verdict:
    """Whether each message waits before anybody may have it."""
    seconds = queue.number("DelaySeconds")
    if seconds:
        return warning(
            f"The queue holds each message back for {seconds} s.",
            _set(queue, DelaySeconds="0"),
            evidence={"DelaySeconds": seconds},
        )
    return ok("Messages can be received at once.", DelaySeconds=seconds)


def size(queue: QueueFacts, _: Facts) -> Verdict:
    """Whether SNS's largest notification fits."""
    most = queue.number("MaximumMessageSize")
    evidence = {"MaximumMessageSize": most}
    if most < LARGEST_NOTIFICATION:
        return failure(
            f"The queue takes {most} bytes a message, SNS sends up to {LARGEST_NOTIFICATION}: some is dropped.",
            _set(queue, MaximumMessageSize=str(LARGEST_NOTIFICATION)),
            evidence=evidence,
        )
    return ok(f"The queue takes messages of {most} bytes.", **evidence)


_KEEP_LONGEST: Mapping[str, str] = {"MessageRetentionPeriod": str(LONGEST_RETENTION)}


def _set(queue: QueueFacts, **attributes: str) -> str:
    return aws("sqs", "set-queue-attributes", queue.region, queue_url=queue.url, attributes=attributes)


def _set_redrive(queue: QueueFacts, target: str) -> str:
    return _set(queue, RedrivePolicy=compact({"deadLetterTargetArn": target, "maxReceiveCount": MOST_RECEIVES}))


def _example_target(queue: QueueFacts) -> str:
    return f"{queue.arn}-dead-letters"


def _arn_of(queue: QueueFacts, url: str) -> str:
    account, name = url.rstrip("/").split("/")[-2:]
    return ":".join([*queue.arn.split(":")[:4], account, name])


def _same(arn: str, url: str) -> bool:
    return arn.split(":")[4:] == url.rstrip("/").split("/")[-2:]
