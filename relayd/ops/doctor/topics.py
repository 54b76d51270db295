"""Topics: whether their notifications reach a queue of ours, whole, and in a form that can be trusted."""

from relayd.ops.doctor import admission
from relayd.ops.doctor.answers import missing, parsed, told
from relayd.ops.doctor.conditions import Truth
from relayd.ops.doctor.facts import Facts, QueueFacts, SubscriptionFacts, TopicFacts
from relayd.ops.doctor.findings import UnknownError, Verdict, aws, compact, duration, failure, listed, ok, warning
from relayd.ops.doctor.local_facts import CertificateFacts
from relayd.ops.doctor.policies import service
from relayd.ops.doctor.queues import DAY
from relayd.ops.doctor.walls import parsed_policy

SOON = 30 * DAY
"""Seconds before a certificate's end from which on somebody should look after it."""


def there(topic: TopicFacts, _: Facts) -> Verdict:
    """Whether it answers at all."""
    if missing(topic.answer):
        return failure(
            f"The topic does not exist in {topic.region}.",
            aws("sns", "list-topics", topic.region),
            hint="name the one that SES tells in RELAYD_TOPIC_ARNS",
            evidence={"topic": topic.arn, "answer": topic.answer.code},
        )
    attributes = told(topic.answer)["Attributes"]
    return ok(f"The topic {topic.name} answers.", TopicArn=attributes.get("TopicArn", topic.arn))


def ours(topic: TopicFacts, facts: Facts) -> list[tuple[SubscriptionFacts, QueueFacts]]:
    """The topic's subscriptions by queues of ours."""
    queues = {queue.arn: queue for queue in facts.queues if queue.answer.told is not None}
    return [(one, queues[one.endpoint]) for one in topic.subscriptions if one.endpoint in queues]


def subscription(topic: TopicFacts, facts: Facts) -> Verdict:
    """Whether one of our queues has subscribed it, and nothing is left to confirm."""
    found = ours(topic, facts)
    evidence = {"subscriptions": [f"{one.protocol} {one.endpoint}" for one in topic.subscriptions]}
    if not found:
        if _carries_events(topic, facts) and facts.queue("events") is None:
            raise UnknownError("it carries SES's events, for which no queue is named", "see what is said of SES")
        queue = _meant(topic, facts)
        return failure(
            "No queue of relayd's has subscribed the topic: what it tells reaches nobody here.",
            aws("sns", "subscribe", topic.region, topic_arn=topic.arn, protocol="sqs", notification_endpoint=queue.arn),
            evidence=evidence,
        )
    if waiting := [one for one, _ in found if one.pending]:
        return failure(
            "The subscription waits for its confirmation: nothing is delivered until then.",
            hint="subscribe once more from the queue's account, which needs no confirmation; or confirm it with the "
            "token that waits in the queue",
            evidence=evidence | {"PendingConfirmation": [one.arn for one in waiting]},
        )
    return ok(f"It reaches the queue {listed(queue.name for _, queue in found)}.", **evidence)


def _meant(topic: TopicFacts, facts: Facts) -> QueueFacts:
    """The queue that a topic without one is most likely for: the events' where SES publishes events to it."""
    events, mail = facts.queue("events"), facts.queue("mail")
    found = events if events is not None and _carries_events(topic, facts) else mail or events
    if found is None:
        raise UnknownError("no queue is named")
    return found


def _carries_events(topic: TopicFacts, facts: Facts) -> bool:
    """Whether the configuration set's events are published to the topic, as far as that is known."""
    if facts.ses is None or facts.ses.destinations is None:
        return False
    destinations = (facts.ses.destinations.told or {}).get("EventDestinations", ())
    return any(one.get("SnsDestination", {}).get("TopicArn") == topic.arn for one in destinations)


def raw(topic: TopicFacts, facts: Facts) -> Verdict:
    """Whether what is delivered has a signature, where one is looked for."""
    verifies = facts.setup.verifies
    found = [(one, queue, one.attributes.get("RawMessageDelivery") == "true") for one, queue in ours(topic, facts)]
    evidence = {
        "RawMessageDelivery": {queue.name: is_raw for _, queue, is_raw in found},
        "RELAYD_SIGNATURES": "verify" if verifies else "trust-queue-policy",
    }
    bare = [(one, queue) for one, queue, is_raw in found if is_raw]
    if verifies and bare:
        return failure(
            f"Notifications come to {listed(queue.name for _, queue in bare)} without their envelope, which has the "
            "signature: relayd refuses every one of them.",
            *(_set(topic, one, "RawMessageDelivery", "false") for one, _ in bare),
            hint="or export RELAYD_SIGNATURES=trust-queue-policy, and rely on the queue's policy alone",
            evidence=evidence,
        )
    if not verifies and len(bare) < len(found):
        return warning(
            "Notifications are signed, and nobody looks at the signatures.",
            "export RELAYD_SIGNATURES=verify",
            evidence=evidence,
        )
    return ok("Notifications come in the form that relayd expects.", **evidence)


def filters(topic: TopicFacts, facts: Facts) -> Verdict:
    """Whether something is held back on the way."""
    for one, queue in ours(topic, facts):
        policy, scope = one.attributes.get("FilterPolicy"), one.attributes.get("FilterPolicyScope", "MessageAttributes")
        if not parsed(policy):
            continue
        evidence = {"FilterPolicy": policy, "FilterPolicyScope": scope}
        command = _set(topic, one, "FilterPolicy", "{}")
        if scope == "MessageAttributes":
            says = f"A filter looks at attributes, and SES sends none: nothing reaches the queue {queue.name}."
            return failure(says, command, evidence=evidence)
        says = f"A filter holds back what does not fit it: only a part reaches the queue {queue.name}."
        return warning(says, command, evidence=evidence)
    return ok("Nothing is filtered.")


def undelivered(topic: TopicFacts, facts: Facts) -> Verdict:
    """Whether what SNS cannot deliver is kept. What a queue refuses (its policy, its key) SNS does not try again."""
    for one, queue in ours(topic, facts):
        policy = parsed(one.attributes.get("RedrivePolicy"))
        target = str(policy.get("deadLetterTargetArn", ""))
        evidence = {"RedrivePolicy": policy or None}
        letters = queue.dead_letters
        if not target:
            wanted = letters.arn if letters is not None and letters.answer.told is not None else f"{queue.arn}-lost"
            return warning(
                f"What the queue {queue.name} refuses, SNS drops without a trace: a mistake in its policy loses mail.",
                *_let_in(letters, facts),
                _set(topic, one, "RedrivePolicy", compact({"deadLetterTargetArn": wanted})),
                evidence=evidence,
            )
        known = letters if letters is not None and letters.answer.told is not None else None
        if known is not None and known.arn == target and not _in(topic, known):
            return warning(
                "SNS may not write to the queue that is to keep what it cannot deliver.",
                *_let_in(letters, facts),
                evidence=evidence,
            )
    return ok("What SNS cannot deliver is kept.")


def _in(topic: TopicFacts, letters: QueueFacts) -> bool:
    policy = parsed_policy(letters.attributes.get("Policy"))
    caller = service("the topic", admission.SNS, topic.account, topic.arn)
    return policy.admits(caller, "sqs:SendMessage", letters.arn) is not Truth.NO


def _let_in(letters: QueueFacts | None, facts: Facts) -> list[str]:
    """The command that lets into the dead-letter queue all topics that need it and are not in already."""
    if letters is None or letters.answer.told is None:
        return []
    lacking = [one.arn for one in facts.topics if _needs(one, letters, facts) and not _in(one, letters)]
    if not lacking:
        return []
    statement = {
        "Sid": "relayd-undelivered",
        "Effect": "Allow",
        "Principal": {"Service": admission.SNS},
        "Action": "sqs:SendMessage",
        "Resource": letters.arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": lacking}},
    }
    policy = parsed_policy(letters.attributes.get("Policy")).changed(more=[statement])
    attributes = {"Policy": compact(policy)}
    return [aws("sqs", "set-queue-attributes", letters.region, queue_url=letters.url, attributes=attributes)]


def _needs(topic: TopicFacts, letters: QueueFacts, facts: Facts) -> bool:
    """Whether a queue that has subscribed the topic has this dead-letter queue."""
    if topic.listed.told is None:
        return False
    return any(
        queue.dead_letters is not None and queue.dead_letters.url == letters.url for _, queue in ours(topic, facts)
    )


def signature_version(topic: TopicFacts, facts: Facts) -> Verdict:
    """Whether signatures are of the kind that nobody can forge."""
    version = topic.attributes.get("SignatureVersion", "1")
    if not facts.setup.verifies:
        return ok("Signatures are not looked at.", SignatureVersion=version)
    if version != "2":
        return warning(
            "The topic signs with SHA-1, which some hosts do not have any more.",
            aws(
                "sns",
                "set-topic-attributes",
                topic.region,
                topic_arn=topic.arn,
                attribute_name="SignatureVersion",
                attribute_value="2",
            ),
            evidence={"SignatureVersion": topic.attributes.get("SignatureVersion")},
        )
    return ok("The topic signs with SHA-256.", SignatureVersion=version)


def certificate(facts: Facts) -> Verdict:
    """Whether signatures can be verified."""
    found = facts.certificates
    if found is None:
        return ok("Signatures are not looked at: no certificate is needed.")
    return _pinned(found, facts.now) if found.pinned else _fetched(found)


def _pinned(found: CertificateFacts, now: float) -> Verdict:
    hint = "put the certificate there that a message of today names, or unset RELAYD_SNS_CERTIFICATE_FILE"
    if found.problem:
        return failure(f"{found.pinned}: {found.problem}.", hint=hint)
    left = found.not_after - now
    evidence = {"RELAYD_SNS_CERTIFICATE_FILE": found.pinned, "not after": _day(found.not_after)}
    if left <= 0:
        return failure(
            f"The pinned certificate ended {duration(-left)} ago: SNS signs with another, and all mail is refused.",
            hint=hint,
            evidence=evidence,
        )
    if left < SOON:
        return warning(f"The pinned certificate ends in {duration(left)}.", hint=hint, evidence=evidence)
    return ok(f"The pinned certificate holds for {duration(left)}.", **evidence)


def _fetched(found: CertificateFacts) -> Verdict:
    away = {host: problem for host, problem in found.hosts.items() if problem}
    if away:
        return failure(
            f"SNS's certificates cannot be had from {listed(away)}: relayd holds all mail.",
            hint="let this host reach it over https (port 443), or pin the certificate: RELAYD_SNS_CERTIFICATE_FILE",
            evidence=away,
        )
    return ok(f"SNS's certificates can be had from {listed(found.hosts) or 'nowhere yet'}.")


def _day(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _set(topic: TopicFacts, one: SubscriptionFacts, name: str, value: str) -> str:
    return aws(
        "sns",
        "set-subscription-attributes",
        topic.region,
        subscription_arn=one.arn,
        attribute_name=name,
        attribute_value=value,
    )
