"""The table of checks: what each is called, and what it protects from. docs/operations.md's is made from it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from relayd.errors import Problem
from relayd.ops.doctor import (
    buckets,
    clock,
    database,
    encryption,
    identity,
    permissions,
    queues,
    receipt,
    ses_account,
    ses_identities,
    ses_sets,
    settings,
    topics,
    walls,
)
from relayd.ops.doctor.facts import BucketFacts, Facts, QueueFacts, TopicFacts, Trial
from relayd.ops.doctor.findings import Area, Verdict

S = TypeVar("S")

Judgement = tuple[str, Callable[[], Verdict]]
"""What a check is about, and the judging itself, which may raise UnknownError."""


@dataclass(frozen=True, slots=True)
class Check:
    """One row."""

    name: str
    protects: str
    judgements: Callable[[Facts], Iterator[Judgement]]

    @property
    def area(self) -> Area:
        return Area(self.name.partition(".")[0])


def _once(name: str, protects: str, judge: Callable[[Facts], Verdict]) -> Check:
    """A check of one thing."""
    return Check(name, protects, lambda facts: iter([("", partial(judge, facts))]))


def _each(
    name: str,
    protects: str,
    subjects: Callable[[Facts], Iterable[tuple[str, S]]],
    judge: Callable[[S, Facts], Verdict],
) -> Check:
    """A check of each of several things, by their names."""

    def judgements(facts: Facts) -> Iterator[Judgement]:
        for called, subject in subjects(facts):
            yield called, partial(judge, subject, facts)

    return Check(name, protects, judgements)


def _working(facts: Facts) -> list[tuple[str, QueueFacts]]:
    """The queues that relayd works on."""
    if not facts.queues:
        facts.setup.queue_url  # noqa: B018 - raises where there is none
    return [(one.name, one) for one in facts.queues]


def _every(facts: Facts) -> list[tuple[str, QueueFacts]]:
    _working(facts)
    return [(one.name, one) for one in facts.every_queue]


def _topics(facts: Facts) -> list[tuple[str, TopicFacts]]:
    facts.setup.topic_arns  # noqa: B018 - raises where there is none
    return [(one.name, one) for one in facts.topics]


def _buckets(facts: Facts) -> list[tuple[str, BucketFacts]]:
    facts.setup.buckets  # noqa: B018 - raises where there is none
    return [(one.name, one) for one in facts.buckets]


def _domains(facts: Facts) -> list[tuple[str, str]]:
    return [(one, one) for one in facts.setup.mail_domains]


def _senders(facts: Facts) -> list[tuple[str, str]]:
    """The domains that mail is sent from: ours, and the notices'."""
    facts.setup.mail_domains  # noqa: B018 - raises where there is none
    return [(one, one) for one in (facts.ses.identities if facts.ses is not None else ())]


def _arns(facts: Facts) -> list[tuple[str, str]]:
    return [(one.rpartition(":")[2], one) for one in facts.setup.topic_arns]


def _problems(facts: Facts) -> list[tuple[str, Problem | None]]:
    found: list[tuple[str, Problem | None]] = [(one.subject, one) for one in facts.setup.problems]
    return found or [("", None)]


def _trials(facts: Facts) -> list[tuple[str, Trial]]:
    return [(f"{one.action} {one.resource}", one) for one in permissions.of(facts).trials]


CHECKS: tuple[Check, ...] = (
    _each("settings.readable", "a start that is refused, setting by setting", _problems, settings.problem),
    _once("settings.grace", "a stop that is cut short in the middle of a send", settings.grace),
    _once("settings.polling", "thousands of empty receives, which cost", settings.polling),
    _once("settings.allow-lists", "any object mailed out for whoever reaches the queue", settings.allow_lists),
    _once("identity.credentials", "all of it: no call works without them", identity.credentials),
    _each("identity.queue-account", "another deployment's queue, or role", _working, identity.account),
    _each("identity.topic-account", "mail that another account calls mail", _arns, identity.topic_account),
    _each("queues.exists", "no mail at all", _working, queues.there),
    _each("queues.dead-letters", "rejected mail that has nowhere to go", _working, queues.dead_letters),
    _each("queues.receives", "mail that SQS gives up while relayd still tries", _working, queues.receives),
    _each("queues.retention", "mail that SQS forgets during an outage", _working, queues.retention),
    _each(
        "queues.dead-letter-retention", "dead letters that are gone too early", _working, queues.dead_letter_retention
    ),
    _each("queues.redrive-allowed", "messages that SQS cannot dead-letter", _working, queues.redrive_allowed),
    _each("queues.delay", "mail that waits for nothing", _working, queues.delay),
    _each("queues.size", "large notifications that SNS drops", _working, queues.size),
    _each("queues.encryption", "notifications that SNS cannot encrypt, or nobody did", _every, encryption.queue),
    _each("queues.policy", "strangers who put messages in, or take them out", _every, walls.queue),
    _each("topics.exists", "no mail at all", _topics, topics.there),
    _each("topics.subscription", "notifications that reach nobody", _topics, topics.subscription),
    _each("topics.raw", "notifications without a signature, all of them refused", _topics, topics.raw),
    _each("topics.filter", "notifications that are held back", _topics, topics.filters),
    _each("topics.undelivered", "notifications lost while a policy is wrong", _topics, topics.undelivered),
    _each("topics.signature-version", "signatures that some hosts cannot verify", _topics, topics.signature_version),
    _each("topics.encryption", "a topic that SES cannot publish to", _topics, encryption.topic),
    _each("topics.policy", "strangers who publish, and SES that may not", _topics, walls.topic),
    _once("topics.certificate", "mail that waits because no signature can be verified", topics.certificate),
    _each("buckets.exists", "mail that cannot be fetched", _buckets, buckets.there),
    _each("buckets.region", "a detour with every mail", _buckets, buckets.region),
    _each("buckets.readable", "mail that may not be fetched, or not be decrypted", _buckets, buckets.readable),
    _each("buckets.encryption", "mail that SES cannot store", _buckets, encryption.bucket),
    _each("buckets.lifecycle", "mail deleted before it is forwarded, or never", _buckets, buckets.lifecycle),
    _each("buckets.policy", "mail that SES may not store, and strangers who read it", _buckets, walls.bucket),
    _each("buckets.public", "a bucket that one mistake opens to the world", _buckets, buckets.public),
    _once("receipt.active", "no mail at all", receipt.active),
    _each("receipt.rule", "a domain whose mail SES refuses", _domains, receipt.domain),
    _each("receipt.action", "mail that is stored or told elsewhere", _domains, receipt.action),
    _each("receipt.order", "mail that is bounced or dropped before it is stored", _domains, receipt.order),
    _each("receipt.client-encryption", "mail that relayd cannot read", _domains, receipt.client_encryption),
    _each("receipt.scan", "viruses and spam that nobody looked for", _domains, receipt.scanned),
    _once("ses.sending", "mail that waits because AWS stopped the account", ses_account.sending),
    _once("ses.production", "mail that goes to verified addresses only", ses_account.production),
    _once("ses.daily-quota", "mail that waits for tomorrow", ses_account.daily_quota),
    _once("ses.rate", "mail that waits in every busy minute", ses_account.rate),
    _each("ses.identity", "sends that SES refuses", _senders, ses_identities.identity),
    _each("ses.dkim", "forwards that receivers call spam", _senders, ses_identities.dkim),
    _each("ses.mail-from", "sends that SES refuses for want of a DNS record", _senders, ses_identities.mail_from),
    _each("ses.feedback-forwarding", "bounces that come back as mail", _senders, ses_identities.feedback_forwarding),
    _once("ses.configuration-set", "sends that SES refuses", ses_sets.configuration_set),
    _once("ses.suppression", "mail that SES takes and drops without a word", ses_sets.suppression),
    _once("ses.reputation", "a shutdown that nobody saw coming", ses_sets.reputation),
    _once("ses.events", "bounces that change nothing, and sends in doubt that are repeated", ses_sets.events),
    _each("permissions.needed", "calls that AWS refuses, one by one", _trials, permissions.needed),
    _once("permissions.excess", "what a stranger could do with relayd's rights", permissions.excess),
    _once("database.usable", "no mail at all", database.usable),
    _once("database.migrations", "a start that is refused after an upgrade", database.migrations),
    _once("database.secret", "another deployment's masks", database.secret),
    _once("database.directory", "a wrong or newly restored database", database.directory),
    _each("database.domain", "a domain whose mail is all discarded", _domains, database.domain),
    _once("database.foreign-domains", "masks that get nothing", database.foreign_domains),
    _once("database.replicas", "a file that several hosts write", database.replicas),
    _once("database.connections", "workers that wait for a connection", database.connections),
    _once("clock.aws", "calls that AWS refuses because of their date", clock.aws),
    _once("clock.database", "claims that end early or late", clock.database),
)
