"""Encryption at rest: with which keys, and whether those who must write and read may use them."""

from collections.abc import Mapping, Sequence
from typing import Any

from relayd.ops.doctor import admission
from relayd.ops.doctor.admission import SES, SNS, Door, Guest
from relayd.ops.doctor.answers import told
from relayd.ops.doctor.facts import BucketFacts, Facts, KeyFacts, QueueFacts, TopicFacts, is_of_aws
from relayd.ops.doctor.findings import Level, UnknownError, Verdict, aws, compact, failure, ok, warning
from relayd.ops.doctor.policies import service
from relayd.ops.doctor.walls import (
    asks,
    feeding,
    owner,
    parsed_policy,
    rule_arn,
    rule_of,
    ses_sources,
    topic_caller,
    writing_rules,
)

_KEY = ("kms:GenerateDataKey", "kms:Decrypt")


def queue(one: QueueFacts, facts: Facts) -> Verdict:
    """Whether what lies in the queue is encrypted, with a key that SNS may use."""
    key_id = one.attributes.get("KmsMasterKeyId", "")
    managed = one.attributes.get("SqsManagedSseEnabled") == "true"
    evidence = {"KmsMasterKeyId": key_id or None, "SqsManagedSseEnabled": managed}
    own_keys = aws(
        "sqs", "set-queue-attributes", one.region, queue_url=one.url, attributes={"SqsManagedSseEnabled": "true"}
    )
    if not key_id:
        if managed:
            return ok("Messages are encrypted with SQS's own keys.", **evidence)
        return warning("Messages are not encrypted, and name who writes to whom.", own_keys, evidence=evidence)
    if one.role == "dead letters":
        return _usable(facts, key_id, [], "queue", evidence)
    if _of_aws(key_id, facts):
        return failure(
            "The queue is encrypted with the key that AWS manages, which SNS may not use: it drops every notification.",
            own_keys,
            hint="or make a key of your own, and let sns.amazonaws.com use it",
            evidence=evidence,
        )
    guests = [Guest(topic_caller(arn), asks(_KEY, "*")) for arn in feeding(one, facts) or facts.setup.topic_arns]
    return _usable(facts, key_id, guests, "queue", evidence)


def topic(one: TopicFacts, facts: Facts) -> Verdict:
    """Whether a topic that is encrypted is so with a key that SES may use."""
    key_id = one.attributes.get("KmsMasterKeyId", "")
    evidence = {"KmsMasterKeyId": key_id or None}
    if not key_id:
        return ok("The topic keeps nothing, and has no key.", **evidence)
    if _of_aws(key_id, facts):
        return failure(
            "The topic is encrypted with the key that AWS manages, which SES may not use: nothing is published.",
            aws(
                "sns",
                "set-topic-attributes",
                one.region,
                topic_arn=one.arn,
                attribute_name="KmsMasterKeyId",
                attribute_value="",
            ),
            hint="or make a key of your own, and let ses.amazonaws.com use it",
            evidence=evidence,
        )
    sources = ses_sources(one, facts) or [rule_arn(one, "any", "any")]
    guests = [Guest(service("SES", SES, one.account, source), asks(_KEY, "*")) for source in sources]
    return _usable(facts, key_id, guests, "topic", evidence)


def bucket(one: BucketFacts, facts: Facts) -> Verdict:
    """Whether the bucket encrypts in a way that SES can write and relayd can read."""
    algorithm, key_id = one.default_encryption
    evidence = {"SSEAlgorithm": algorithm, "KMSMasterKeyID": key_id or None}
    if not algorithm.startswith("aws:kms"):
        return ok("Objects are encrypted with S3's own keys.", **evidence)
    if not key_id or _of_aws(key_id, facts):
        return failure(
            "Objects are encrypted with the key that AWS manages, which SES may not use: it bounces the mail.",
            aws(
                "s3api",
                "put-bucket-encryption",
                bucket=one.name,
                server_side_encryption_configuration={
                    "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
                },
            ),
            hint="or make a key of your own, let ses.amazonaws.com use it, and allow relayd kms:Decrypt",
            evidence=evidence,
        )
    rules = [rule for rule, _ in writing_rules(one, facts)] or ["any"]
    guests = [Guest(service("SES", SES, owner(facts), rule_of(facts, rule)), asks(_KEY, "*")) for rule in rules]
    return _usable(facts, key_id, guests, "bucket", evidence)


def _of_aws(key_id: str, facts: Facts) -> bool:
    """Whether AWS manages the key: by its alias, or as KMS says of it."""
    key = facts.keys.get(key_id)
    described = (key.described.told or {}) if key is not None else {}
    return is_of_aws(key_id) or described.get("KeyMetadata", {}).get("KeyManager") == "AWS"


def _usable(facts: Facts, key_id: str, guests: Sequence[Guest], noun: str, evidence: Mapping[str, Any]) -> Verdict:
    key = facts.keys.get(key_id)
    if is_of_aws(key_id):
        return ok("Encrypted with the key that AWS manages.", **evidence)
    if key is None:
        raise UnknownError(f"nobody asked for the key {key_id}")
    state = str(told(key.described)["KeyMetadata"]["KeyState"])
    evidence = dict(evidence) | {"KeyState": state}
    if state != "Enabled":
        enable = aws("kms", "enable-key", key.region, key_id=key_id)
        keep = (aws("kms", "cancel-key-deletion", key.region, key_id=key_id),) if state == "PendingDeletion" else ()
        return failure(f"The {noun}'s key is {state}: nothing goes in or out.", *keep, enable, evidence=evidence)
    if not guests:
        return ok(f"The {noun}'s key is enabled.", **evidence)
    policy = parsed_policy(told(key.policy).get("Policy"))
    account = guests[0].caller.context["aws:SourceAccount"]
    # All that the key is used for: what one command puts there, another's must not take away.
    statements = [_statement(host, account) for host in _users(key_id, facts)]
    door = Door(f"{noun}'s key", policy, statements, lambda new: _put_key(key, new))
    verdict = admission.judge(door, wanted=guests)
    if verdict.level is not Level.OK:
        return verdict
    return ok(f"The {noun}'s key is enabled, and lets {guests[0].caller.service} use it.", **evidence)


def _users(key_id: str, facts: Facts) -> list[str]:
    """The services that must be able to use a key."""
    queues = (one.attributes.get("KmsMasterKeyId") for one in facts.queues if one.answer.told is not None)
    topics = (one.attributes.get("KmsMasterKeyId") for one in facts.topics if one.answer.told is not None)
    buckets = (one.default_encryption[1] for one in facts.buckets if one.encryption.told is not None)
    return [*([SNS] if key_id in queues else []), *([SES] if key_id in (*topics, *buckets) else [])]


def _statement(host: str, account: str) -> dict[str, Any]:
    return {
        "Sid": f"relayd-{host.partition('.')[0]}",
        "Effect": "Allow",
        "Principal": {"Service": host},
        "Action": ["kms:GenerateDataKey*", "kms:Decrypt"],
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:SourceAccount": account}},
    }


def _put_key(key: KeyFacts, policy: Mapping[str, Any]) -> str:
    return aws("kms", "put-key-policy", key.region, key_id=key.key_id, policy_name="default", policy=compact(policy))
