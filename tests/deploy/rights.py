"""What AWS asks IAM about a call, by its Service Authorization Reference; and how moto's IAM asks otherwise."""

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.deploy.template import ACCOUNT, PARTITION, REGION

_BATCHES = {
    # A batch is allowed by what allows one.
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
    "SendMessageBatch": "SendMessage",
}


@dataclass(frozen=True, slots=True)
class Right:
    """To do something with something."""

    action: str
    """`sqs:ReceiveMessage`."""
    resource: str
    context: Mapping[str, str] = field(default_factory=dict, compare=False, hash=False)
    """What conditions may look at."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One action on one resource of one statement that allows it."""

    statement: str
    """Its Sid."""
    action: str
    resource: str
    """As in the policy, with wildcards."""
    condition: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False)

    def covers(self, right: Right) -> bool:
        """Whether this alone allows it."""
        if self.action != right.action or not fnmatch.fnmatchcase(right.resource, self.resource):
            return False
        return all(_holds(kind, keys, right.context) for kind, keys in self.condition.items())


def _holds(kind: str, keys: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    assert kind == "StringLike", f"{kind} is not known here"
    return all(name in context and fnmatch.fnmatchcase(context[name], wanted) for name, wanted in keys.items())


def grants(policy: Mapping[str, Any]) -> list[Grant]:
    """Everything that a policy allows, each by itself. It must not deny, nor grant by wildcards in actions."""
    found = []
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        for action in listed(statement["Action"]):
            assert "*" not in action, action
            for resource in listed(statement["Resource"]):
                found.append(Grant(statement["Sid"], action, resource, statement.get("Condition", {})))
    return found


def listed(value: Any) -> list[Any]:
    """A policy writes a list of one without brackets, if it likes."""
    return value if isinstance(value, list) else [value]


def rights(calls: Sequence[Mapping[str, Any]]) -> set[Right]:
    """What these calls need, as `tests.deploy.enforcing` notes them."""
    return {right for call in calls for right in _ASKED[call["service"]](call)}


def _of_sqs(call: Mapping[str, Any]) -> Iterator[Right]:
    operation = call["operation"]
    if "SourceArn" in call:
        yield Right(f"sqs:{operation}", call["SourceArn"])
        if operation == "StartMessageMoveTask":
            # SQS moves in the name of whoever asked for it.
            for action in ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"):
                yield Right(action, call["SourceArn"])
            yield Right("sqs:SendMessage", call["DestinationArn"])
        return
    name = call.get("QueueName") or call["QueueUrl"].rpartition("/")[2]
    yield Right(f"sqs:{_BATCHES.get(operation, operation)}", f"arn:{PARTITION}:sqs:{REGION}:{ACCOUNT}:{name}")


def _of_s3(call: Mapping[str, Any]) -> Iterator[Right]:
    bucket, _, key = call["path"].lstrip("/").partition("/")
    if not key:
        assert call["method"] == "HEAD" or "list-type" in call["query"], call
        yield Right("s3:ListBucket", f"arn:{PARTITION}:s3:::{bucket}")
        return
    yield Right({"GET": "s3:GetObject", "PUT": "s3:PutObject"}[call["method"]], f"arn:{PARTITION}:s3:::{bucket}/{key}")


def _of_ses(call: Mapping[str, Any]) -> Iterator[Right]:
    if (call["method"], call["path"]) == ("GET", "/v2/email/account"):
        yield Right("ses:GetAccount", "*")
        return
    assert (call["method"], call["path"], call["raw"]) == ("POST", "/v2/email/outbound-emails", True), call
    place = f"arn:{PARTITION}:ses:{REGION}:{ACCOUNT}"
    sender = call["FromEmailAddress"]
    # Not ses:SendEmail: for raw content, SES asks for the older API's right.
    about = {"ses:FromAddress": sender}
    yield Right("ses:SendRawEmail", f"{place}:identity/{sender.rpartition('@')[2]}", about)
    if "ConfigurationSetName" in call:
        yield Right("ses:SendRawEmail", f"{place}:configuration-set/{call['ConfigurationSetName']}", about)


def _of_cloudwatch(call: Mapping[str, Any]) -> Iterator[Right]:
    yield Right(f"cloudwatch:{call['operation']}", "*")


_ASKED = {"sqs": _of_sqs, "s3": _of_s3, "ses": _of_ses, "monitoring": _of_cloudwatch}


_IN_MOTO: Mapping[str, tuple[str, ...]] = {
    "sqs:SendMessage": ("sqs:SendMessage", "sqs:SendMessageBatch"),
    "sqs:DeleteMessage": ("sqs:DeleteMessage", "sqs:DeleteMessageBatch"),
    "sqs:ChangeMessageVisibility": ("sqs:ChangeMessageVisibility", "sqs:ChangeMessageVisibilityBatch"),
    "s3:ListBucket": ("s3:ListBucket", "s3:HeadBucket"),
    "ses:SendRawEmail": ("ses:SendEmail",),
}
"""What moto asks for, which goes by the names of operations, where AWS asks for something else."""
_BLIND = frozenset(
    {
        "ses:SendRawEmail",
        "sqs:GetQueueUrl",
        "sqs:StartMessageMoveTask",
        "sqs:ListMessageMoveTasks",
        "sqs:CancelMessageMoveTask",
    }
)
"""Of these moto does not see what they are about, and asks whether they are allowed on everything."""


def as_moto_reads(granted: Sequence[Grant]) -> dict[str, Any]:
    """A policy that is to moto's IAM what these are to AWS's. moto evaluates no conditions of such calls."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": list(_IN_MOTO.get(one.action, (one.action,))),
                "Resource": "*" if one.action in _BLIND else one.resource,
            }
            for one in granted
        ],
    }
