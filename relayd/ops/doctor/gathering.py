"""Gathering the facts: which parts are needed for which areas, and all of them at once."""

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from relayd.adapters.questions import Answer, QuestionClients, Questions
from relayd.adapters.queue_facts import region_of
from relayd.ops.doctor.asking import aws_parts, certificates, database, permissions
from relayd.ops.doctor.asking.together import Asker, Parts
from relayd.ops.doctor.facts import (
    BucketFacts,
    Facts,
    IdentityFacts,
    KeyFacts,
    QueueFacts,
    SesFacts,
    TopicFacts,
    is_of_aws,
)
from relayd.ops.doctor.findings import Area, UnknownError
from relayd.ops.doctor.setup import Setup

SECONDS = 30.0
"""After these nothing more is asked. What was asked before ends by its own time-outs."""

NEEDS: Mapping[Area, frozenset[str]] = {
    # Which parts an area's judges look at.
    Area.SETTINGS: frozenset(),
    Area.IDENTITY: frozenset({"identity", "queues"}),
    Area.QUEUES: frozenset({"queues", "topics", "keys"}),
    Area.TOPICS: frozenset({"topics", "queues", "rules", "ses", "keys", "certificates"}),
    Area.BUCKETS: frozenset({"buckets", "queues", "rules", "keys"}),
    Area.RECEIPT: frozenset({"rules", "topics", "queues"}),
    Area.SES: frozenset({"ses", "topics", "queues", "database"}),
    Area.PERMISSIONS: frozenset({"identity", "queues", "buckets", "ses", "rights"}),
    Area.DATABASE: frozenset({"database"}),
    Area.CLOCK: frozenset({"identity", "database"}),
}


@dataclass(frozen=True, slots=True)
class Senses:
    """With what the world is looked at; replaced in tests."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    now: Callable[[], float] = time.time
    clients: Callable[[str | None], QuestionClients] = QuestionClients.standard
    """Makes the clients, given the region that counts where nothing names one."""
    fetch: certificates.Fetch | None = None
    """Gets a certificate; None: as the daemon does it."""
    asked: Callable[[], object] = lambda: None
    """Told of each answer of AWS."""


class _Gathering:
    """One gathering: what was begun, and what others wait for."""

    def __init__(self, setup: Setup, senses: Senses, seconds: float, needed: Collection[str]) -> None:
        self._setup = setup
        self._senses = senses
        self._needed = needed
        self._clients = senses.clients(_region(setup))
        self._questions = Questions(self._clients, seconds=seconds, now=senses.now, asked=senses.asked)
        self._skews: dict[str, float] = {}
        self._asker = Asker(self._ask)
        self._parts = Parts(most=64)

    def facts(self) -> Facts:
        """Begin with everything that waits for nothing else, then the rest."""
        setup, ended = self._setup, False
        try:
            identity = self._begin("identity", lambda: aws_parts.identity(self._asker, self._clients))
            queues = self._begin_each("queues", _queues(setup), self._queue)
            topics = self._begin_each("topics", _named(lambda: setup.topic_arns), self._topic)
            buckets = self._begin_each("buckets", _named(lambda: setup.buckets), self._bucket)
            rules = self._begin("rules", lambda: aws_parts.rules(self._asker, self._receiving_region()))
            ses = self._begin("ses", self._ses)
            found = self._begin("database", self._database)
            kept = self._begin("certificates", self._certificates)
            keys = self._begin("keys", lambda: self._keys(queues, topics, buckets))
            rights = self._begin("rights", lambda: self._rights(identity, queues, buckets, ses))
            facts = Facts(
                setup,
                self._senses.now(),
                identity=_ended(identity),
                queues=_all(queues),
                topics=_all(topics),
                buckets=_all(buckets),
                rules=_ended(rules),
                ses=_ended(ses),
                keys=_ended(keys) or {},
                rights=_ended(rights),
                database=_ended(found),
                certificates=_ended(kept),
                skews=dict(self._skews),
            )
            ended = True
            return facts
        finally:
            # Not after Ctrl-C: nobody waits for those who still wait.
            self._parts.close(wait=ended)
            self._asker.close(wait=ended)

    def _begin(self, part: str, work: Callable[[], Any]) -> "Future[Any] | None":
        return self._parts.begin(work) if part in self._needed else None

    def _begin_each(self, part: str, subjects: list[Any], work: Callable[[Any], Any]) -> "list[Future[Any]]":
        if part not in self._needed:
            return []
        return [self._parts.begin(partial(work, subject)) for subject in subjects]

    def _ask(self, question: Any) -> Answer:
        answer = self._questions.ask(question)
        if answer.skew is not None:
            # The smallest: what a slow answer adds is not the clock's.
            known = self._skews.get(question.service)
            if known is None or abs(answer.skew) < abs(known):
                self._skews[question.service] = answer.skew
        return answer

    def _queue(self, subject: tuple[Any, str, str | None]) -> QueueFacts:
        role, url, dead_letter_url = subject
        return aws_parts.queue(self._asker, role, url, dead_letter_url)

    def _topic(self, arn: str) -> TopicFacts:
        return aws_parts.topic(self._asker, arn)

    def _bucket(self, name: str) -> BucketFacts:
        return aws_parts.bucket(self._asker, name, self._clients.region)

    def _receiving_region(self) -> str | None:
        """SES receives where the topic is that it tells."""
        arns = _named(lambda: self._setup.topic_arns)
        return arns[0].split(":")[3] if arns else None

    def _ses(self) -> SesFacts | None:
        setup = self._setup
        domains = _named(lambda: setup.mail_domains)
        if setup.notice_from is not None:
            domains = [*domains, setup.notice_from.rpartition("@")[2]]
        region = setup.ses_region or self._clients.region
        return aws_parts.ses(self._asker, region, setup.configuration_set, dict.fromkeys(domains))

    def _database(self) -> Any:
        try:
            return database.look(self._setup, self._senses.now)
        except UnknownError:
            return None

    def _certificates(self) -> Any:
        setup = self._setup
        if setup.certificate_file is not None:
            return certificates.pinned(setup.certificate_file)
        arns = _named(lambda: setup.topic_arns)
        return certificates.hosts(arns, self._senses.fetch) if setup.verifies else None

    def _keys(
        self, queues: "list[Future[Any]]", topics: "list[Future[Any]]", buckets: "list[Future[Any]]"
    ) -> dict[str, KeyFacts]:
        wanted = dict.fromkeys(
            one
            for one in (*_queue_keys(_all(queues)), *_topic_keys(_all(topics)), *_bucket_keys(_all(buckets)))
            if one[0] and not is_of_aws(one[0])
        )
        return aws_parts.keys(self._asker, list(wanted))

    def _rights(
        self,
        identity: "Future[Any] | None",
        queues: "list[Future[Any]]",
        buckets: "list[Future[Any]]",
        ses: "Future[Any] | None",
    ) -> Any:
        who: IdentityFacts = _ended(identity)
        return permissions.rights(self._asker, self._setup, who, _all(queues), _all(buckets), _ended(ses))


def gather(setup: Setup, areas: Collection[Area], senses: Senses, seconds: float = SECONDS) -> Facts:
    """The facts that these areas need. Raises ConfigurationError where AWS's own settings cannot be read."""
    needed = frozenset().union(*(NEEDS[area] for area in areas))
    if not needed:
        return Facts(setup, senses.now())
    return _Gathering(setup, senses, seconds, needed).facts()


def _region(setup: Setup) -> str | None:
    url = setup.values.get("queue_url")
    return region_of(url) if url else None


def _named(find: Callable[[], tuple[str, ...]]) -> list[str]:
    """A setting's names; none where it is wrong, which its own check says."""
    try:
        return list(find())
    except UnknownError:
        return []


def _queues(setup: Setup) -> list[tuple[str, str, str | None]]:
    found: list[tuple[str, str, str | None]] = []
    if setup.values.get("queue_url"):
        found.append(("mail", setup.queue_url, setup.dead_letter_url))
    if setup.events_queue_url:
        found.append(("events", setup.events_queue_url, None))
    return found


def _queue_keys(queues: tuple[QueueFacts, ...]) -> Iterator[tuple[str, str | None]]:
    for queue in queues:
        for one in (queue, queue.dead_letters):
            if one is not None and one.answer.told is not None:
                yield one.attributes.get("KmsMasterKeyId", ""), one.region


def _topic_keys(topics: tuple[TopicFacts, ...]) -> Iterator[tuple[str, str | None]]:
    for topic in topics:
        if topic.answer.told is not None:
            yield topic.attributes.get("KmsMasterKeyId", ""), topic.region


def _bucket_keys(buckets: tuple[BucketFacts, ...]) -> Iterator[tuple[str, str | None]]:
    for bucket in buckets:
        key_id = bucket.default_encryption[1] if bucket.encryption.told is not None else ""
        yield key_id, key_id.split(":")[3] if key_id.startswith("arn:") else bucket.region


def _ended(part: "Future[Any] | None") -> Any:
    return part.result() if part is not None else None


def _all(parts: "list[Future[Any]]") -> tuple[Any, ...]:
    return tuple(part.result() for part in parts)
