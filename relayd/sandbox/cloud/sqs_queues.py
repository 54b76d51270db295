"""SQS queues: their names, URLs and attributes."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relayd.sandbox.cloud import sqs_checks as checks
from relayd.sandbox.cloud.calls import ACCOUNT, AMZ_JSON, Answer, Call, Refusal, json_answer
from relayd.sandbox.cloud.clock import Now
from relayd.sandbox.cloud.polls import Polls
from relayd.sandbox.cloud.queues import Queue, Redrive

PURGE_SECONDS = 60.0
"""Between two purges of a queue."""
MAX_RECEIVES = 1000
MAX_SOURCES = 10
"""Queues that a dead-letter queue's allow policy may name."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_NUMBERS: Mapping[str, tuple[int, int, int]] = {
    # Lowest, highest, default.
    "VisibilityTimeout": (0, 43_200, 30),
    "MessageRetentionPeriod": (60, 1_209_600, 345_600),
    "MaximumMessageSize": (1024, checks.MAX_MESSAGE, checks.MAX_MESSAGE),
    "DelaySeconds": (0, 900, 0),
    "ReceiveMessageWaitTimeSeconds": (0, 20, 0),
}
_TEXTS = frozenset(
    {
        "Policy",
        "RedrivePolicy",
        "RedriveAllowPolicy",
        "KmsMasterKeyId",
        "KmsDataKeyReusePeriodSeconds",
        "SqsManagedSseEnabled",
    }
)
_COUNTS = {
    "ApproximateNumberOfMessages": "visible",
    "ApproximateNumberOfMessagesNotVisible": "in_flight",
    "ApproximateNumberOfMessagesDelayed": "delayed",
}
_FACTS = frozenset({"QueueArn", "CreatedTimestamp", "LastModifiedTimestamp"})


@dataclass(slots=True, eq=False)
class SqsQueue:
    """A queue with its name and what was set on it."""

    name: str
    region: str
    queue: Queue
    polls: Polls
    created: float
    modified: float
    texts: dict[str, str] = field(default_factory=lambda: {"SqsManagedSseEnabled": "true"})
    """As SQS makes a queue today: encrypted with its own keys."""
    numbers: dict[str, int] = field(default_factory=lambda: {name: row[2] for name, row in _NUMBERS.items()})
    purged: float = 0.0

    @property
    def arn(self) -> str:
        return self.queue.arn


def queue_name(url: str) -> str:
    """The last part of a queue URL."""
    return url.rstrip("/").rpartition("/")[2]


def ok(value: Mapping[str, Any] | None = None) -> Answer:
    return json_answer(value or {}, kind=AMZ_JSON)


class SqsQueues:
    """All queues, and the operations on queues themselves."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._by_name: dict[tuple[str, str], SqsQueue] = {}
        self._by_arn: dict[str, SqsQueue] = {}
        self.operations = {
            "CreateQueue": self.create,
            "GetQueueUrl": self.get_url,
            "ListQueues": self.list,
            "ListDeadLetterSourceQueues": self.list_sources,
            "GetQueueAttributes": self.get_attributes,
            "SetQueueAttributes": self.set_attributes,
            "PurgeQueue": self.purge,
            "DeleteQueue": self.delete,
        }

    def __iter__(self) -> Any:
        return iter(self._by_arn.values())

    def of(self, call: Call) -> SqsQueue:
        """The queue that a call is about."""
        url = checks.required(call.fields, "QueueUrl")
        name = queue_name(url)
        found = self._by_name.get((call.region, name))
        if found is None or not url.rstrip("/").endswith(f"/{ACCOUNT}/{name}"):
            raise Refusal("QueueDoesNotExist", "The specified queue does not exist.")
        return found

    def by_arn(self, arn: str) -> SqsQueue | None:
        return self._by_arn.get(arn)

    def sources_of(self, target: SqsQueue) -> list[SqsQueue]:
        """The queues whose redrive policy names this one."""
        return [one for one in self if one.queue.redrive is not None and one.queue.redrive.target is target.queue]

    def create(self, call: Call) -> Answer:
        name = checks.required(call.fields, "QueueName")
        if name.endswith(".fifo"):
            raise Refusal("UnsupportedOperation", "This emulator has no FIFO queues.")
        if not _NAME.fullmatch(name):
            text = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
            raise Refusal("InvalidParameterValue", text)
        wanted: dict[str, str] = call.fields.get("Attributes") or {}
        found = self._by_name.get((call.region, name))
        if found is None:
            found = self._new(call.region, name, wanted)
        else:
            self._refuse_other(found, wanted)
        return ok({"QueueUrl": _url(call, found)})

    def get_url(self, call: Call) -> Answer:
        found = self._by_name.get((call.region, checks.required(call.fields, "QueueName")))
        if found is None or call.fields.get("QueueOwnerAWSAccountId", ACCOUNT) != ACCOUNT:
            raise Refusal("QueueDoesNotExist", "The specified queue does not exist.")
        return ok({"QueueUrl": _url(call, found)})

    def list(self, call: Call) -> Answer:
        prefix = str(call.fields.get("QueueNamePrefix") or "")
        ours = [one for one in self if one.region == call.region and one.name.startswith(prefix)]
        limit = checks.number(call.fields, "MaxResults", 1, 1000, 1000)
        return ok({"QueueUrls": [_url(call, one) for one in ours[:limit]]} if ours else {})

    def list_sources(self, call: Call) -> Answer:
        return ok({"queueUrls": [_url(call, one) for one in self.sources_of(self.of(call))]})

    def get_attributes(self, call: Call) -> Answer:
        found = self.of(call)
        found.queue.tick(self._now())
        every = _attributes(found)
        names: list[str] = call.fields.get("AttributeNames") or []
        known = _NUMBERS.keys() | _TEXTS | _COUNTS.keys() | _FACTS | {"All"}
        for name in names:
            if name not in known:
                raise Refusal("InvalidAttributeName", f"Unknown Attribute {name}.")
        chosen = every if "All" in names else {name: every[name] for name in names if name in every}
        return ok({"Attributes": chosen} if chosen else {})

    def set_attributes(self, call: Call) -> Answer:
        found = self.of(call)
        self._set(found, call.fields.get("Attributes") or {})
        found.modified = self._now()
        return ok()

    def purge(self, call: Call) -> Answer:
        found = self.of(call)
        now = self._now()
        if now - found.purged < PURGE_SECONDS:
            text = f"Only one PurgeQueue operation on {found.name} is allowed every {PURGE_SECONDS:.0f} seconds."
            raise Refusal("PurgeQueueInProgress", text, 403)
        found.purged = now
        found.queue.purge()
        return ok()

    def delete(self, call: Call) -> Answer:
        found = self.of(call)
        del self._by_name[found.region, found.name], self._by_arn[found.arn]
        return ok()

    def _new(self, region: str, name: str, attributes: Mapping[str, str]) -> SqsQueue:
        now = self._now()
        queue = Queue(f"arn:aws:sqs:{region}:{ACCOUNT}:{name}")
        made = SqsQueue(name, region, queue, Polls(queue, self._now), now, now)
        self._set(made, attributes)
        self._by_name[region, name] = self._by_arn[queue.arn] = made
        return made

    def _refuse_other(self, found: SqsQueue, wanted: Mapping[str, str]) -> None:
        has = _attributes(found)
        for name, value in wanted.items():
            if has.get(name, "") != str(value):
                text = f"A queue already exists with the same name and a different value for attribute {name}"
                raise Refusal("QueueNameExists", text)

    def _set(self, found: SqsQueue, attributes: Mapping[str, str]) -> None:
        numbers = {name: _number(name, value) for name, value in attributes.items() if name in _NUMBERS}
        texts = {name: str(value) for name, value in attributes.items() if name in _TEXTS}
        for name in attributes.keys() - numbers.keys() - texts.keys():
            raise Refusal("InvalidAttributeName", f"Unknown Attribute {name}.")
        redrive = self._redrive(found.arn, texts["RedrivePolicy"]) if texts.get("RedrivePolicy") else None
        if texts.get("Policy"):
            _object("Policy", texts["Policy"])
        if texts.get("RedriveAllowPolicy"):
            _check_redrive_allow(texts["RedriveAllowPolicy"])
        _choose_encryption(texts)
        # All is checked before anything is set.
        if "RedrivePolicy" in texts:
            found.queue.redrive = redrive
        found.numbers |= numbers
        found.texts = {name: value for name, value in (found.texts | texts).items() if value}
        found.queue.retention = float(found.numbers["MessageRetentionPeriod"])

    def _redrive(self, source: str, text: str) -> Redrive:
        policy = _object("RedrivePolicy", text)
        prefix = f"Value {text} for parameter RedrivePolicy is invalid. Reason:"
        if "maxReceiveCount" not in policy or "deadLetterTargetArn" not in policy:
            raise Refusal("InvalidParameterValue", f"{prefix} Redrive policy does not contain mandatory attribute.")
        try:
            limit = int(policy["maxReceiveCount"])
        except (TypeError, ValueError):
            limit = 0
        if not 1 <= limit <= MAX_RECEIVES:
            given = f"Invalid value for maxReceiveCount: {policy['maxReceiveCount']}"
            raise Refusal("InvalidParameterValue", f"{prefix} {given}, valid values are from 1 to 1000 both inclusive.")
        target = self.by_arn(str(policy["deadLetterTargetArn"]))
        if target is None:
            raise Refusal("InvalidParameterValue", f"{prefix} Dead letter target does not exist.")
        if not _admits(target.texts.get("RedriveAllowPolicy", ""), source):
            raise Refusal("InvalidParameterValue", f"{prefix} Queue does not have permission to use the target queue.")
        return Redrive(limit, target.queue)


def _url(call: Call, found: SqsQueue) -> str:
    return f"{call.endpoint}/{ACCOUNT}/{found.name}"


def _attributes(found: SqsQueue) -> dict[str, str]:
    return {
        "QueueArn": found.arn,
        "CreatedTimestamp": str(int(found.created)),
        "LastModifiedTimestamp": str(int(found.modified)),
        **{name: str(getattr(found.queue, count)) for name, count in _COUNTS.items()},
        **{name: str(value) for name, value in found.numbers.items()},
        **found.texts,
    }


def _number(name: str, value: object) -> int:
    low, high, _ = _NUMBERS[name]
    if not re.fullmatch(r"\d{1,8}", str(value)) or not low <= int(str(value)) <= high:
        raise Refusal("InvalidAttributeValue", f"Invalid value for the parameter {name}.")
    return int(str(value))


def _choose_encryption(texts: dict[str, str]) -> None:
    """With a key of KMS, or with SQS's own: one of them goes where the other comes."""
    if texts.get("KmsMasterKeyId") and texts.get("SqsManagedSseEnabled") == "true":
        text = "You can use one type of server-side encryption (SSE) at one time."
        raise Refusal("InvalidAttributeValue", f"{text} You can either enable KMS SSE or SQS SSE.")
    if texts.get("SqsManagedSseEnabled", "false") not in {"true", "false"}:
        raise Refusal("InvalidAttributeValue", "Invalid value for the parameter SqsManagedSseEnabled.")
    if texts.get("KmsMasterKeyId"):
        texts["SqsManagedSseEnabled"] = "false"
    elif texts.get("SqsManagedSseEnabled") == "true":
        texts["KmsMasterKeyId"] = ""


def _check_redrive_allow(text: str) -> None:
    policy = _object("RedriveAllowPolicy", text)
    permission, sources = policy.get("redrivePermission"), policy.get("sourceQueueArns")
    if permission not in {"allowAll", "denyAll", "byQueue"} or (permission == "byQueue") is not bool(sources):
        raise Refusal("InvalidAttributeValue", "Invalid value for the parameter RedriveAllowPolicy.")
    if sources is not None and (not isinstance(sources, list) or len(sources) > MAX_SOURCES):
        raise Refusal("InvalidAttributeValue", "Invalid value for the parameter RedriveAllowPolicy.")


def _admits(text: str, source: str) -> bool:
    policy = json.loads(text) if text else {}
    return policy.get("redrivePermission", "allowAll") == "allowAll" or source in policy.get("sourceQueueArns", ())


def _object(name: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Refusal("InvalidAttributeValue", f"Invalid value for the parameter {name}.")
    return value
