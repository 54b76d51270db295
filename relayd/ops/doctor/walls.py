"""The walls around the mail: who gets in by the policies of queues, topics and buckets."""

from collections.abc import Mapping, Sequence
from typing import Any

from relayd.ops.doctor import admission
from relayd.ops.doctor.admission import SES, SNS, Door, Guest
from relayd.ops.doctor.answers import none_set, unknown
from relayd.ops.doctor.facts import BucketFacts, Facts, QueueFacts, TopicFacts
from relayd.ops.doctor.findings import Level, UnknownError, Verdict, aws, compact
from relayd.ops.doctor.policies import Caller, Policy, service

ANY_NAME = "relayd-doctor-any-other"

_WRITE = ("sqs:SendMessage",)
_TAKE = ("sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:PurgeQueue", "sqs:SetQueueAttributes")
_TOPIC = ("sns:Publish", "sns:Subscribe", "sns:SetTopicAttributes")
_OBJECTS = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")


def queue(one: QueueFacts, facts: Facts) -> Verdict:
    """Whether the queue admits its topics, and nobody else."""
    policy, arn = parsed_policy(one.attributes.get("Policy")), one.arn
    topics = feeding(one, facts)
    ours = list(facts.setup.topic_arns)
    everything, writing = asks(_TAKE, arn), asks(_WRITE, arn)
    example = (topics or ours or [f"arn:aws:sns:{arn.split(':')[3]}:{one.account}:mail"])[0]
    strangers = [
        *admission.people(everything),
        admission.foreign_service("anybody's topic", SNS, example, writing),
    ]
    named = [] if facts.setup.any_topic else policy.mentioned("aws:SourceArn")
    others = [found for found in named if "*" not in found and found not in ours]
    other_topic = ":".join([*example.split(":")[:5], ANY_NAME])
    neighbours = [
        Guest(service("any topic of this account", SNS, one.account, other_topic), writing),
        *(Guest(topic_caller(found), writing) for found in others if found.split(":")[2:3] == ["sns"]),
        *admission.named_accounts(policy, [one.account], everything),
    ]
    door = Door("queue", policy, [_topics_statement(topics or ours, arn)], lambda new: _put_queue(one, new))
    wanted = [Guest(topic_caller(topic), writing) for topic in topics]
    return admission.judge(door, wanted=wanted, strangers=strangers, neighbours=neighbours)


def feeding(one: QueueFacts, facts: Facts) -> list[str]:
    """The topics that have the queue among their subscriptions, as far as that is known."""
    found = []
    for topic in facts.topics:
        try:
            if any(subscription.endpoint == one.arn for subscription in topic.subscriptions):
                found.append(topic.arn)
        except UnknownError:
            continue
    return found


def topic(one: TopicFacts, facts: Facts) -> Verdict:
    """Whether SES may publish, and no stranger."""
    policy, everything, publishing = (
        parsed_policy(one.attributes.get("Policy")),
        asks(_TOPIC, one.arn),
        asks(("sns:Publish",), one.arn),
    )
    sources = ses_sources(one, facts)
    statement = {
        "Sid": "relayd-ses",
        "Effect": "Allow",
        "Principal": {"Service": SES},
        "Action": "sns:Publish",
        "Resource": one.arn,
        "Condition": {"StringEquals": {"AWS:SourceAccount": one.account}},
    }
    door = Door("topic", policy, [statement], lambda new: _put_topic(one, new))
    any_source = rule_arn(one, "any", "any")
    return admission.judge(
        door,
        wanted=[Guest(service("SES", SES, one.account, source), publishing) for source in sources],
        strangers=[
            *admission.people(everything),
            admission.foreign_service("anybody's SES", SES, any_source, publishing),
        ],
        neighbours=admission.named_accounts(policy, [one.account], everything),
    )


def ses_sources(one: TopicFacts, facts: Facts) -> list[str]:
    """What of SES publishes to the topic: receipt rules that name it, and a configuration set whose events go there."""
    found: list[str] = []
    if facts.rules is not None and facts.rules.answer.told is not None:
        name = facts.rules.set_name
        naming = [rule["Name"] for rule in facts.rules.rules if one.arn in compact(rule.get("Actions", ()))]
        found += [rule_arn(one, name, rule) for rule in naming]
    if facts.ses is not None and facts.ses.destinations is not None and facts.ses.destinations.told is not None:
        destinations = facts.ses.destinations.told.get("EventDestinations", ())
        if any(destination.get("SnsDestination", {}).get("TopicArn") == one.arn for destination in destinations):
            partition = one.arn.split(":")[1]
            set_name = facts.setup.configuration_set
            found.append(f"arn:{partition}:ses:{facts.ses.region}:{one.account}:configuration-set/{set_name}")
    return found


def bucket(one: BucketFacts, facts: Facts) -> Verdict:
    """Whether SES may write into the bucket on this account's behalf, and nobody else do anything."""
    arn, account = f"arn:{facts.partition}:s3:::{one.name}", owner(facts)
    actions = [action for _, action in writing_rules(one, facts)]
    rules = [rule for rule, action in writing_rules(one, facts) if not action.get("IamRoleArn")]
    prefix = actions[0].get("ObjectKeyPrefix", "") if actions else ""
    writing = asks(("s3:PutObject",), f"{arn}/{prefix}relayd-doctor")
    objects = (*asks(_OBJECTS, f"{arn}/{prefix}relayd-doctor"), ("s3:ListBucket", arn))
    policy = parsed_policy(_bucket_policy(one))
    statement = {
        "Sid": "relayd-ses",
        "Effect": "Allow",
        "Principal": {"Service": SES},
        "Action": "s3:PutObject",
        "Resource": f"{arn}/*",
        "Condition": {"StringEquals": {"AWS:SourceAccount": account}},
    }
    door = Door("bucket", policy, [statement], lambda new: _put_bucket(one, new))
    verdict = admission.judge(
        door,
        wanted=[Guest(service("SES", SES, account, rule_of(facts, rule)), writing) for rule in rules],
        strangers=admission.people(objects),
        neighbours=[
            admission.foreign_service("anybody's SES", SES, rule_of(facts, "any"), writing),
            *admission.named_accounts(policy, [account], objects),
        ],
    )
    if verdict.level is Level.OK and (facts.rules is None or facts.rules.answer.told is None):
        raise UnknownError("the receipt rules are not known, nor what of SES must get in")
    return verdict


def writing_rules(one: BucketFacts, facts: Facts) -> list[tuple[str, Mapping[str, str]]]:
    """The rules that put mail into the bucket, with their S3 actions, as far as they are known."""
    if facts.rules is None or facts.rules.answer.told is None:
        return []
    return [
        (rule["Name"], action["S3Action"])
        for rule in facts.rules.rules
        for action in rule.get("Actions", ())
        if action.get("S3Action", {}).get("BucketName") == one.name
    ]


def owner(facts: Facts) -> str:
    """Whose account it all is: the queue's."""
    return facts.setup.queue_url.rstrip("/").split("/")[-2]


def parsed_policy(text: str | None) -> Policy:
    """Raises UnknownError for what is no policy."""
    try:
        return Policy.parse(text)
    except ValueError:
        raise UnknownError("its policy cannot be read") from None


def asks(actions: Sequence[str], resource: str) -> admission.Asked:
    return tuple((action, resource) for action in actions)


def topic_caller(arn: str) -> Caller:
    return service(f"topic {arn.rpartition(':')[2]}", SNS, arn.split(":")[4], arn)


def _topics_statement(topics: Sequence[str], arn: str) -> dict[str, Any]:
    return {
        "Sid": "relayd-topics",
        "Effect": "Allow",
        "Principal": {"Service": SNS},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": list(topics)}},
    }


def rule_arn(one: TopicFacts, set_name: str, rule: str) -> str:
    partition, region = one.arn.split(":")[1], one.region
    return f"arn:{partition}:ses:{region}:{one.account}:receipt-rule-set/{set_name}:receipt-rule/{rule}"


def rule_of(facts: Facts, rule: str) -> str:
    """The ARN of a receipt rule of the active set."""
    known = facts.rules is not None and facts.rules.answer.told is not None
    name = facts.rules.set_name if facts.rules is not None and known else "any"
    region = (facts.rules.region if facts.rules is not None else None) or "us-east-1"
    place = f"arn:{facts.partition}:ses:{region}:{owner(facts)}"
    return f"{place}:receipt-rule-set/{name}:receipt-rule/{rule}"


def _bucket_policy(one: BucketFacts) -> str | None:
    if none_set(one.policy, "NoSuchBucketPolicy"):
        return None
    if one.policy.told is None:
        raise unknown(one.policy)
    return str(one.policy.told.get("Policy", ""))


def _put_queue(one: QueueFacts, policy: Mapping[str, Any]) -> str:
    return aws("sqs", "set-queue-attributes", one.region, queue_url=one.url, attributes={"Policy": compact(policy)})


def _put_topic(one: TopicFacts, policy: Mapping[str, Any]) -> str:
    return aws(
        "sns",
        "set-topic-attributes",
        one.region,
        topic_arn=one.arn,
        attribute_name="Policy",
        attribute_value=compact(policy),
    )


def _put_bucket(one: BucketFacts, policy: Mapping[str, Any]) -> str:
    return aws("s3api", "put-bucket-policy", bucket=one.name, policy=compact(policy))
