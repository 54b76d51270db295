"""Trying rights without using them: calls that AWS must refuse whoever makes them, and IAM's own simulation.

Each dry call is wrong in a way that leaves nothing to be done: a handle of no message, a count of nothing, a delay
beyond all bounds, a mail to nobody, a key that is not there. Whether AWS refuses it as wrong or as not allowed is what
is asked. Nothing destructive is ever tried, however wrong: such rights are only simulated.
"""

import re
from collections.abc import Iterator, Sequence

from relayd.adapters.questions import Answer, Question
from relayd.ops.doctor.asking.together import Asker
from relayd.ops.doctor.facts import BucketFacts, IdentityFacts, QueueFacts, RightsFacts, SesFacts, Trial
from relayd.ops.doctor.setup import Setup

HANDLE = "relayd-doctor"
"""The handle of no message."""
BEYOND = 100_000
"""Seconds. SQS delays by 900 at most."""

TOO_MUCH: dict[str, tuple[str, ...]] = {
    "queue": ("sqs:DeleteQueue", "sqs:PurgeQueue", "sqs:SetQueueAttributes", "sqs:AddPermission"),
    "bucket": ("s3:DeleteBucket", "s3:PutBucketPolicy", "s3:PutLifecycleConfiguration"),
    "objects": ("s3:DeleteObject", "s3:PutObject"),
    "identity": ("ses:DeleteEmailIdentity", "ses:PutEmailIdentityPolicy"),
    "everything": ("ses:PutAccountSendingAttributes", "iam:PassRole", "iam:PutUserPolicy", "iam:CreateAccessKey"),
}
"""What relayd has no use for, by what it is about."""

_ASSUMED = re.compile(r"arn:(aws[a-z-]*):sts::(\d{12}):assumed-role/([^/]+)/.+")


def rights(
    asker: Asker,
    setup: Setup,
    identity: IdentityFacts,
    queues: Sequence[QueueFacts],
    buckets: Sequence[BucketFacts],
    ses: SesFacts,
) -> RightsFacts:
    """Try what is needed; simulate that and what is too much."""
    arn = str((identity.caller.told or {}).get("Arn", ""))
    named = setup.dead_letter_url is not None
    trials = [
        *_of_queues(asker, queues, named),
        *_of_buckets(arn, buckets),
        *_of_ses(asker, setup, arn, ses),
    ]
    source = principal(arn)
    if source is None:
        return RightsFacts(tuple(trials), {}, None)
    asked: dict[str, set[str]] = {}
    for trial in trials:
        asked.setdefault(trial.arn, set()).add(trial.action)
    for kind, about in _too_much(trials):
        asked.setdefault(about, set()).update(TOO_MUCH[kind])
    return _simulated(asker, source, tuple(trials), asked)


def principal(arn: str) -> str | None:
    """Whom IAM would simulate for a caller; None where it cannot. A role's path is not in the caller's ARN, so one that
    has a path is not found.
    """
    if match := _ASSUMED.fullmatch(arn):
        return f"arn:{match[1]}:iam::{match[2]}:role/{match[3]}"
    return arn if ":user/" in arn and ":iam::" in arn else None


def _simulated(asker: Asker, source: str, trials: tuple[Trial, ...], asked: dict[str, set[str]]) -> RightsFacts:
    answers = asker.all(
        {
            arn: Question(
                "iam",
                "simulate_principal_policy",
                None,
                {"PolicySourceArn": source, "ActionNames": sorted(actions), "ResourceArns": [arn]},
            )
            for arn, actions in asked.items()
        }
    )
    decisions: dict[tuple[str, str], str] = {}
    first: Answer | None = None
    for arn, answer in answers.items():
        first = answer if first is None or first.told is not None else first
        for result in (answer.told or {}).get("EvaluationResults", ()):
            decisions[result["EvalActionName"], arn] = result["EvalDecision"]
    return RightsFacts(trials, decisions, first)


def _of_queues(asker: Asker, queues: Sequence[QueueFacts], named: bool) -> Iterator[Trial]:
    """`named`: a setting says which dead-letter queue it is."""
    asked: dict[tuple[str, str], tuple[QueueFacts, Question]] = {}
    for queue in queues:
        for action, operation, parameters in (
            ("sqs:ReceiveMessage", "receive_message", {"MaxNumberOfMessages": 0}),
            ("sqs:DeleteMessage", "delete_message", {"ReceiptHandle": HANDLE}),
            (
                "sqs:ChangeMessageVisibility",
                "change_message_visibility",
                {"ReceiptHandle": HANDLE, "VisibilityTimeout": 0},
            ),
        ):
            question = Question("sqs", operation, queue.region, {"QueueUrl": queue.url, **parameters})
            asked[action, queue.url] = queue, question
        if queue.role == "mail":
            # A released or replayed mail goes into the queue again.
            asked["sqs:SendMessage", queue.url] = queue, _send(queue)
        if queue.dead_letters is not None:
            asked["sqs:SendMessage", queue.dead_letters.url] = queue.dead_letters, _send(queue.dead_letters)
            if not named:
                asked["sqs:GetQueueUrl", queue.dead_letters.url] = queue.dead_letters, _look_up(queue.dead_letters)
    answers = asker.all({name: question for name, (_, question) in asked.items()})
    for (action, url), (queue, _) in asked.items():
        yield Trial(action, queue.name, _queue_arn(queue), answers[action, url])
    for queue in queues:
        yield Trial("sqs:GetQueueAttributes", queue.name, _queue_arn(queue), queue.answer)


def _look_up(queue: QueueFacts) -> Question:
    """What the daemon does at its start, where no setting names the dead-letter queue."""
    parameters = {"QueueName": queue.name, "QueueOwnerAWSAccountId": queue.account}
    return Question("sqs", "get_queue_url", queue.region, parameters)


def _send(queue: QueueFacts) -> Question:
    return Question(
        "sqs", "send_message", queue.region, {"QueueUrl": queue.url, "MessageBody": "", "DelaySeconds": BEYOND}
    )


def _queue_arn(queue: QueueFacts) -> str:
    attributes = (queue.answer.told or {}).get("Attributes", {})
    return str(attributes.get("QueueArn") or f"arn:aws:sqs:{queue.region or ''}:{queue.account}:{queue.name}")


def _of_buckets(arn: str, buckets: Sequence[BucketFacts]) -> Iterator[Trial]:
    partition = arn.split(":")[1] if arn else "aws"
    for bucket in buckets:
        about = f"arn:{partition}:s3:::{bucket.name}"
        yield Trial("s3:ListBucket", bucket.name, about, bucket.head)
        yield Trial("s3:GetObject", bucket.name, f"{about}/*", bucket.read or _get(bucket))


def _get(bucket: BucketFacts) -> Answer | None:
    """A get of a key that is not there tells something only to who may list the bucket: to all others, S3 denies it."""
    if bucket.missing_key.denied and bucket.head.told is None:
        return None
    return bucket.missing_key


def _of_ses(asker: Asker, setup: Setup, arn: str, ses: SesFacts) -> Iterator[Trial]:
    partition, account = (arn.split(":")[1], arn.split(":")[4]) if arn else ("aws", "*")
    domains = list(ses.identities)
    asked = {domain: _mail_to_nobody(ses, setup, domain) for domain in domains}
    answers = asker.all(asked)
    for domain in domains:
        names = [name for name, answer in ses.identities[domain] if answer.told is not None]
        about = f"arn:{partition}:ses:{ses.region or '*'}:{account}:identity/{names[0] if names else domain}"
        yield Trial("ses:SendRawEmail", domain, about, answers[domain])
    yield Trial("ses:GetAccount", "the account", "*", ses.account)


def _mail_to_nobody(ses: SesFacts, setup: Setup, domain: str) -> Question:
    sender = f"relayd-doctor@{domain}"
    parameters = {
        "FromEmailAddress": sender,
        "Destination": {"ToAddresses": []},
        "Content": {"Raw": {"Data": f"From: {sender}\r\nSubject: never sent\r\n\r\n".encode()}},
        # No tag is called so: one more reason to refuse it.
        "EmailTags": [{"Name": "not a tag", "Value": "!"}],
    }
    if setup.configuration_set:
        parameters["ConfigurationSetName"] = setup.configuration_set
    return Question("sesv2", "send_email", ses.region, parameters)


def _too_much(trials: Sequence[Trial]) -> Iterator[tuple[str, str]]:
    """What kinds of rights would be too much, and over what."""
    for trial in trials:
        match trial.action:
            case "sqs:ReceiveMessage":
                yield "queue", trial.arn
            case "s3:ListBucket":
                yield "bucket", trial.arn
            case "s3:GetObject":
                yield "objects", trial.arn
            case "ses:SendRawEmail":
                yield "identity", trial.arn
    yield "everything", "*"
