"""Judges on facts that no emulator has: what is pending, on a network, of another version, or of a root user."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relayd.adapters.questions import Answer
from relayd.adapters.schema import HEAD
from relayd.ops.doctor import clock, database, identity, queues, ses_account, ses_sets, topics
from relayd.ops.doctor.asking.database import filesystem_of
from relayd.ops.doctor.asking.permissions import principal
from relayd.ops.doctor.facts import Facts, IdentityFacts, QueueFacts, SesFacts, TopicFacts
from relayd.ops.doctor.findings import UnknownError, Verdict, aws, duration, listed
from relayd.ops.doctor.local_facts import DatabaseFacts, Looked, Sends
from relayd.ops.doctor.setup import Setup

QUEUE_ARN = "arn:aws:sqs:eu-west-1:123456789012:mail"
TOPIC_ARN = "arn:aws:sns:eu-west-1:123456789012:mail"
SUBSCRIPTION = f"{TOPIC_ARN}:1"
ENVIRON = {
    "RELAYD_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/mail",
    "RELAYD_DATABASE_URL": "sqlite:////var/lib/relayd/relayd.db",
    "RELAYD_MAIL_DOMAINS": "mask.example",
    "RELAYD_TOPIC_ARNS": TOPIC_ARN,
    "RELAYD_BUCKETS": "received-mail",
    "RELAYD_SECRET": "8f2c1d7e90ab4365f1e2d3c4b5a69788",
}


def told(**values: Any) -> Answer:
    return Answer("x:Get", values, status=200)


def queue(**attributes: str) -> QueueFacts:
    return QueueFacts(
        "mail", ENVIRON["RELAYD_QUEUE_URL"], "eu-west-1", told(Attributes={"QueueArn": QUEUE_ARN, **attributes})
    )


def topic(arn: str = SUBSCRIPTION, **attributes: str) -> TopicFacts:
    listed_ = {"SubscriptionArn": arn, "Protocol": "sqs", "Endpoint": QUEUE_ARN}
    details = {SUBSCRIPTION: told(Attributes=attributes)}
    return TopicFacts(TOPIC_ARN, told(Attributes={}), told(Subscriptions=[listed_]), details)


def facts(changes: Mapping[str, str] | None = None, **given: Any) -> Facts:
    return Facts(Setup.read({**ENVIRON, **(changes or {})}), 1_000_000.0, **{"queues": (queue(),), **given})


def database_facts(**given: Any) -> Facts:
    known = {"version": Looked(HEAD), "known_versions": ("0001", HEAD), "replicas": Looked(1), "writable": Looked(True)}
    return facts(database=DatabaseFacts(given.pop("kind", "sqlite"), given.pop("trouble", ""), **{**known, **given}))


def caller(arn: str, source: str = "assume-role", fading: bool = False) -> Facts:
    return facts(identity=IdentityFacts(told(Arn=arn, Account=arn.split(":")[4]), source, fading))


class TestTopics:
    @pytest.mark.parametrize("pending", [topic("PendingConfirmation"), topic(PendingConfirmation="true")])
    def test_a_subscription_that_waits(self, pending: TopicFacts) -> None:
        """Listed without an ARN, or with one and not confirmed."""
        verdict = topics.subscription(pending, facts())
        assert (verdict.level, "confirmation" in verdict.says) == ("failure", True)

    @pytest.mark.parametrize(
        ("raw", "signatures", "level"),
        [
            ("true", "verify", "failure"),
            ("false", "verify", "ok"),
            ("true", "trust-queue-policy", "ok"),
            ("false", "trust-queue-policy", "warning"),
        ],
    )
    def test_forms_against_signatures(self, raw: str, signatures: str, level: str) -> None:
        """Raw delivery has no signature; one that is there had better be looked at."""
        found = facts({"RELAYD_SIGNATURES": signatures})
        assert topics.raw(topic(RawMessageDelivery=raw), found).level == level

    @pytest.mark.parametrize(
        ("policy", "scope", "level"),
        [
            ("", "MessageAttributes", "ok"),
            ("{}", "MessageAttributes", "ok"),
            ('{"a": ["b"]}', "MessageAttributes", "failure"),
            ('{"notificationType": ["Received"]}', "MessageBody", "warning"),
        ],
    )
    def test_filters(self, policy: str, scope: str, level: str) -> None:
        """By attributes nothing passes, since SES sends none; by the body some may."""
        assert topics.filters(topic(FilterPolicy=policy, FilterPolicyScope=scope), facts()).level == level

    def test_an_old_signature_nobody_looks_at(self) -> None:
        """Is no trouble."""
        assert topics.signature_version(topic(), facts({"RELAYD_SIGNATURES": "trust-queue-policy"})).level == "ok"
        assert topics.signature_version(topic(), facts()).level == "warning"


class TestQueues:
    @pytest.mark.parametrize(("seconds", "tries"), [(0, 1), (2.4, 1), (2.5, 2), (7.5, 3), (3600, 15), (86_400, 199)])
    def test_how_often_a_failing_message_may_come(self, seconds: float, tries: int) -> None:
        """Each delay may be half of what it is at most: 2.5, 5, 10 ... 450 s."""
        assert queues.tries_in(seconds) == tries

    def test_more_tries_than_sqs_can_count(self) -> None:
        """Two weeks of retries are more than 1,000 receives: the setting gives way, as the queue cannot."""
        policy = '{"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:123456789012:dead", "maxReceiveCount": 1000}'
        verdict = queues.receives(queue(RedrivePolicy=policy), facts({"RELAYD_RETRY_HOURS": "336"}))
        assert (verdict.level, verdict.commands) == ("warning", ("export RELAYD_RETRY_HOURS=96",))
        assert queues.tries_in(96 * 3600) < 1000

    def test_retries_that_outlive_the_queue(self) -> None:
        """What SQS cannot keep for so long is not to be tried for so long."""
        found = facts({"RELAYD_RETRY_HOURS": "336"})
        verdict = queues.retention(queue(MessageRetentionPeriod="1209600"), found)
        assert (verdict.level, verdict.commands) == ("failure", ("export RELAYD_RETRY_HOURS=216",))
        again = facts({"RELAYD_RETRY_HOURS": "216"})
        assert queues.retention(queue(MessageRetentionPeriod="864000"), again).level == "ok"

    def test_two_queues_that_keep_for_as_long_as_can_be(self) -> None:
        """The dead-letter queue cannot keep longer: the first one keeps less."""
        letters = replace(queue(MessageRetentionPeriod="1209600"), role="dead letters")
        both = replace(queue(MessageRetentionPeriod="1209600"), dead_letters=letters)
        verdict = queues.dead_letter_retention(both, facts())
        assert verdict.level == "warning"
        assert '"MessageRetentionPeriod":"864000"' in verdict.commands[0]

    def test_two_dead_letter_queues(self) -> None:
        """The one of the setting and the one of the policy should be one."""
        policy = '{"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:123456789012:dead", "maxReceiveCount": 1000}'
        url = "https://sqs.eu-west-1.amazonaws.com/123456789012/{}"
        for name, level in (("dead", "ok"), ("other", "warning")):
            found = facts({"RELAYD_DEAD_LETTER_URL": url.format(name)})
            assert queues.dead_letters(queue(RedrivePolicy=policy), found).level == level


class TestIdentity:
    def test_a_root_user(self) -> None:
        """May do everything, and whoever takes relayd over with it."""
        assert identity.credentials(caller("arn:aws:iam::123456789012:root", "env")).level == "warning"

    def test_a_role(self) -> None:
        """Is as it should be."""
        assert identity.credentials(caller("arn:aws:sts::123456789012:assumed-role/relayd/1")).level == "ok"

    def test_an_account_across(self) -> None:
        """A queue of another account that answers may be meant."""
        there = caller("arn:aws:sts::210987654321:assumed-role/relayd/1")
        assert identity.account(queue(), there).level == "warning"
        assert identity.topic_account(TOPIC_ARN, there).level == "warning"

    @pytest.mark.parametrize(
        ("arn", "source"),
        [
            ("arn:aws:sts::123456789012:assumed-role/relayd/i-1", "arn:aws:iam::123456789012:role/relayd"),
            ("arn:aws-cn:sts::123456789012:assumed-role/relayd/a/b", "arn:aws-cn:iam::123456789012:role/relayd"),
            ("arn:aws:iam::123456789012:user/team/relayd", "arn:aws:iam::123456789012:user/team/relayd"),
            ("arn:aws:iam::123456789012:root", None),
            ("arn:aws:sts::123456789012:federated-user/x", None),
            ("", None),
        ],
    )
    def test_whom_iam_can_simulate(self, arn: str, source: str | None) -> None:
        """Users, and the roles behind sessions."""
        assert principal(arn) == source


class TestDatabase:
    @pytest.mark.parametrize(
        ("kind", "version", "level"),
        [
            ("sqlite", HEAD, "ok"),
            ("sqlite", "", "failure"),
            ("sqlite", "0001", "warning"),
            ("postgresql", "0001", "failure"),
            ("postgresql", "9999", "failure"),
        ],
    )
    def test_versions(self, kind: str, version: str, level: str) -> None:
        """A file is upgraded by the next start; a server waits for somebody."""
        verdict = database.migrations(database_facts(kind=kind, version=Looked(version)))
        assert verdict.level == level
        assert verdict.commands == (("relayd db upgrade",) if level != "ok" and version != "9999" else ())

    @pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
    def test_newer_tables_that_still_serve(self, kind: str) -> None:
        """In an update, or after a way back: nothing is wrong, and nothing to be left so."""
        found = database_facts(kind=kind, version=Looked("9999"), suitable=Looked(True))
        verdict = database.migrations(found)
        assert (verdict.level, verdict.commands) == ("warning", ())

    @pytest.mark.parametrize(
        ("kind", "running", "filesystem", "level"),
        [
            ("sqlite", 1, "ext4", "ok"),
            ("sqlite", 1, "nfs4", "warning"),
            ("sqlite", 2, "ext4", "failure"),
            ("postgresql", 5, "", "ok"),
        ],
    )
    def test_how_many_use_it(self, kind: str, running: int, filesystem: str, level: str) -> None:
        """A file is for one host, and its locks are for local disks."""
        found = database_facts(kind=kind, replicas=Looked(running), filesystem=filesystem)
        assert database.replicas(found).level == level

    def test_connections(self) -> None:
        """One for each worker of each replica."""
        found = database_facts(kind="postgresql", replicas=Looked(4), connections=Looked(97))
        verdict = database.connections(found)
        assert (verdict.level, verdict.evidence["of one replica"]) == ("warning", "26")
        few = database_facts(kind="postgresql", replicas=Looked(3), connections=Looked(97))
        assert database.connections(few).level == "ok"

    def test_one_that_takes_nothing(self) -> None:
        """A standby, or a file of somebody else's."""
        for kind in ("sqlite", "postgresql"):
            assert database.usable(database_facts(kind=kind, writable=Looked(False))).level == "failure"
        trouble = database.usable(database_facts(trouble="it cannot be used (database_unavailable)"))
        assert "database_unavailable" in trouble.says

    def test_what_was_not_looked_at(self) -> None:
        """Is not judged."""
        with pytest.raises(UnknownError, match="does not tell"):
            database.secret(database_facts(secret=Looked(why="the database does not tell (database_busy)")))


def test_clocks() -> None:
    """Ours against AWS's and the database's, either way."""
    for skew, level in ((0.4, "ok"), (-29, "ok"), (45, "warning"), (-299, "warning"), (300, "failure")):
        assert clock.aws(facts(skews={"sqs": skew, "s3": skew * 2})).level == level
    for skew, level in ((1, "ok"), (-31, "warning")):
        assert clock.database(database_facts(kind="postgresql", skew=Looked(float(skew)))).level == level
    with pytest.raises(UnknownError):
        clock.aws(facts())


@pytest.mark.parametrize(
    ("own", "account", "level"),
    [
        ({}, ["BOUNCE"], "failure"),
        ({}, [], "ok"),
        ({"SuppressedReasons": []}, ["BOUNCE", "COMPLAINT"], "ok"),
        ({"SuppressedReasons": ["COMPLAINT"]}, [], "failure"),
    ],
)
def test_whose_suppression_counts(own: dict[str, Any], account: list[str], level: str) -> None:
    """The configuration set's own reasons, the empty list too; where it has none, the account's."""
    options = {"SuppressionOptions": own} if own else {}
    whole = told(SuppressionAttributes={"SuppressedReasons": account})
    found = facts({"RELAYD_CONFIGURATION_SET": "set"}, ses=SesFacts("eu-west-1", whole, told(**options), None, {}))
    assert ses_sets.suppression(found).level == level


def test_the_busiest_minute() -> None:
    """Against the rate that SES allows."""
    account = told(SendQuota={"MaxSendRate": 10.0})
    for mails, level in ((300, "ok"), (480, "warning")):
        found = facts(
            ses=SesFacts("eu-west-1", account, None, None, {}),
            database=DatabaseFacts("sqlite", "", sends=Looked(Sends(mails, mails))),
        )
        assert ses_account.rate(found).level == level


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data/relayd.db", "nfs4"),
        ("/data/local/relayd.db", "ext4"),
        ("/database/relayd.db", "overlay"),
        ("/with space/relayd.db", "cifs"),
        ("/relayd.db", "overlay"),
    ],
)
def test_file_systems(path: str, kind: str) -> None:
    """The longest mount point that the file lies below, by whole names; spaces are written as \\040."""
    mounts = "\n".join(
        [
            "1 0 0:1 / / rw,relatime - overlay overlay rw",
            "2 1 0:2 / /data rw - nfs4 server:/export rw",
            "3 2 8:1 / /data/local rw shared:1 - ext4 /dev/sda1 rw",
            r"4 1 0:4 / /with\040space rw - cifs //server/share rw",
            "nonsense",
            "5 1 0:5 / /short",
        ]
    )
    assert filesystem_of(Path(path), mounts) == kind


@pytest.mark.skipif(not os.path.exists("/proc/self/mountinfo"), reason="Linux only")
def test_the_file_system_of_this_very_file() -> None:
    """Some kind is found."""
    assert filesystem_of(Path(__file__).resolve())


def test_commands_are_quoted() -> None:
    """Whatever is in a name, it stays one word of the command line; structures are JSON in one line."""
    line = aws("sqs", "set-queue-attributes", "eu-west-1", queue_url="https://x/1/a b", attributes={"Policy": "it's"})
    assert line == (
        "aws sqs set-queue-attributes --region eu-west-1 --queue-url 'https://x/1/a b' "
        '--attributes \'{"Policy":"it\'"\'"\'s"}\''
    )
    assert aws("sesv2", "x", sending_enabled=True, other=False) == "aws sesv2 x --sending-enabled --no-other"


def test_words() -> None:
    """Times and lists, for people."""
    assert [duration(seconds) for seconds in (1, 90, 3600, 5400, 86_400, 345_600)] == [
        "1 s",
        "1.5 min",
        "1 hour",
        "1.5 hours",
        "1 day",
        "4 days",
    ]
    assert listed("abcdefg") == "a, b, c, d, e and 2 more"
    assert isinstance(topics.there(topic(), facts()), Verdict)
