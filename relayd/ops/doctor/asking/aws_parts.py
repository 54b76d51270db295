"""What is asked of AWS, part by part: the caller, queues, topics, buckets, receipt rules, SES, keys."""

import secrets
from collections.abc import Iterable, Mapping, Sequence

from relayd.adapters.questions import Answer, Question, QuestionClients
from relayd.adapters.queue_facts import region_of
from relayd.ops.doctor.answers import missing, parsed
from relayd.ops.doctor.asking.together import Asker
from relayd.ops.doctor.facts import (
    BucketFacts,
    IdentityFacts,
    KeyFacts,
    QueueFacts,
    Role,
    RulesFacts,
    SesFacts,
    TopicFacts,
)

MOST_PAGES = 10
"""Of subscriptions, a hundred each. A topic with more has other worries."""


def identity(asker: Asker, clients: QuestionClients) -> IdentityFacts:
    source, fading = clients.credentials()
    return IdentityFacts(asker.one(Question("sts", "get_caller_identity")), source, fading)


def queue(asker: Asker, role: Role, url: str, dead_letter_url: str | None = None) -> QueueFacts:
    """A queue, and its dead-letter queue: the one that is named, else the one of the redrive policy."""
    region = region_of(url)
    answer = asker.one(Question("sqs", "get_queue_attributes", region, {"QueueUrl": url, "AttributeNames": ["All"]}))
    target = dead_letter_url or _target(answer, url)
    dead_letters = queue(asker, "dead letters", target) if target and role != "dead letters" else None
    return QueueFacts(role, url, region, answer, dead_letters)


def _target(answer: Answer, url: str) -> str | None:
    """The URL of the redrive policy's target, which is of the same region and host."""
    attributes = (answer.told or {}).get("Attributes", {})
    arn = str(parsed(attributes.get("RedrivePolicy")).get("deadLetterTargetArn", ""))
    if arn.count(":") != 5:
        return None
    account, name = arn.split(":")[4:]
    return f"{url.rstrip('/').rsplit('/', 2)[0]}/{account}/{name}"


def topic(asker: Asker, arn: str) -> TopicFacts:
    """A topic, and its subscriptions by queues."""
    region = arn.split(":")[3]
    answer = asker.one(Question("sns", "get_topic_attributes", region, {"TopicArn": arn}))
    listed = _subscriptions(asker, arn, region)
    queues = [
        one["SubscriptionArn"]
        for one in (listed.told or {}).get("Subscriptions", ())
        if one["Protocol"] == "sqs" and one["SubscriptionArn"].startswith("arn:")
    ]
    asked = {one: Question("sns", "get_subscription_attributes", region, {"SubscriptionArn": one}) for one in queues}
    return TopicFacts(arn, answer, listed, asker.all(asked))


def _subscriptions(asker: Asker, arn: str, region: str) -> Answer:
    """All pages in one answer; the first refusal is the whole answer."""
    found: list[Mapping[str, str]] = []
    token: dict[str, str] = {}
    for _ in range(MOST_PAGES):
        answer = asker.one(Question("sns", "list_subscriptions_by_topic", region, {"TopicArn": arn, **token}))
        if answer.told is None:
            return answer
        found += answer.told.get("Subscriptions", ())
        if not answer.told.get("NextToken"):
            break
        token = {"NextToken": answer.told["NextToken"]}
    return Answer(answer.permission, {"Subscriptions": found}, status=answer.status, skew=answer.skew)


def bucket(asker: Asker, name: str, region: str | None) -> BucketFacts:
    """A bucket, a key that is not in it, and one byte of a mail that is, where there is one."""
    nowhere = f"relayd-doctor/{secrets.token_hex(16)}"
    found = asker.all(
        {
            "head": Question("s3", "head_bucket", None, {"Bucket": name}),
            "missing": Question("s3", "get_object", None, {"Bucket": name, "Key": nowhere}),
            "keys": Question("s3", "list_objects_v2", None, {"Bucket": name, "MaxKeys": 1}),
            "encryption": Question("s3", "get_bucket_encryption", None, {"Bucket": name}),
            "lifecycle": Question("s3", "get_bucket_lifecycle_configuration", None, {"Bucket": name}),
            "policy": Question("s3", "get_bucket_policy", None, {"Bucket": name}),
            "block": Question("s3", "get_public_access_block", None, {"Bucket": name}),
        }
    )
    keys = (found["keys"].told or {}).get("Contents", ())
    byte = {"Bucket": name, "Range": "bytes=0-0"}
    read = asker.one(Question("s3", "get_object", None, byte | {"Key": keys[0]["Key"]})) if keys else None
    return BucketFacts(
        name,
        region,
        _with_code(found["head"], found["keys"]),
        found["missing"],
        read,
        found["encryption"],
        found["lifecycle"],
        found["policy"],
        found["block"],
    )


def _with_code(head: Answer, listed: Answer) -> Answer:
    """A refusal of HEAD has no body, hence no code; the listing, which takes the same right, says why."""
    return listed if head.refused and head.status == listed.status else head


def rules(asker: Asker, region: str | None) -> RulesFacts:
    """The active rule set; where none is, which there are."""
    answer = asker.one(Question("ses", "describe_active_receipt_rule_set", region))
    if answer.told is None or answer.told.get("Metadata"):
        return RulesFacts(region, answer)
    listed = asker.one(Question("ses", "list_receipt_rule_sets", region))
    names = tuple(one["Name"] for one in (listed.told or {}).get("RuleSets", ()))
    return RulesFacts(region, answer, names)


def ses(asker: Asker, region: str | None, configuration_set: str | None, domains: Iterable[str]) -> SesFacts:
    """The account, the configuration set with its destinations, and the identities that cover the domains."""
    asked = {"account": Question("sesv2", "get_account", region)}
    if configuration_set:
        name = {"ConfigurationSetName": configuration_set}
        asked["set"] = Question("sesv2", "get_configuration_set", region, name)
        asked["destinations"] = Question("sesv2", "get_configuration_set_event_destinations", region, name)
    found = asker.all(asked)
    return SesFacts(
        region, found["account"], found.get("set"), found.get("destinations"), _identities(asker, region, domains)
    )


def _identities(asker: Asker, region: str | None, domains: Iterable[str]) -> dict[str, tuple[tuple[str, Answer], ...]]:
    """Level by level: the domains, and those above the ones that are not there, which SES lets send for them."""
    found: dict[str, list[tuple[str, Answer]]] = {domain: [] for domain in domains}
    open_ = {domain: domain for domain in found}
    while open_:
        names = sorted(set(open_.values()))
        answers = dict(
            zip(
                names,
                asker.each([Question("sesv2", "get_email_identity", region, {"EmailIdentity": one}) for one in names]),
                strict=True,
            )
        )
        above: dict[str, str] = {}
        for domain, name in open_.items():
            found[domain].append((name, answers[name]))
            parent = name.partition(".")[2]
            if missing(answers[name]) and "." in parent:
                above[domain] = parent
        open_ = above
    return {domain: tuple(one) for domain, one in found.items()}


def keys(asker: Asker, wanted: Sequence[tuple[str, str | None]]) -> dict[str, KeyFacts]:
    """Keys by what they were called, each in its region."""
    described = asker.all({one: Question("kms", "describe_key", one[1], {"KeyId": one[0]}) for one in wanted})
    # The policy is not to be had by an alias.
    by_id = {one: (answer.told or {}).get("KeyMetadata", {}).get("KeyId", one[0]) for one, answer in described.items()}
    policies = asker.all(
        {
            one: Question("kms", "get_key_policy", one[1], {"KeyId": key_id, "PolicyName": "default"})
            for one, key_id in by_id.items()
        }
    )
    return {one[0]: KeyFacts(one[0], one[1], described[one], policies[one]) for one in wanted}
