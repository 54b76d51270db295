"""Least privilege: with exactly the template's policies everything works, and with anything less it fails, and says so.

moto's IAM decides, with three exceptions that `tests.deploy.rights` names. It does not see what a send and a look-up of
a queue's URL are about: that these name the template's resources, and nothing else, is shown by what the daemon calls.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from relayd.sandbox.cloud.client import EmbeddedAws
from tests.deploy.account import Account, World, template_stack
from tests.deploy.nursery import Forked, Nursery
from tests.deploy.rights import Grant, Right, as_moto_reads, grants, rights
from tests.deploy.template import Stack
from tests.process.cloud import Cloud, DaemonProcess, eventually

pytestmark = pytest.mark.process


def granted(stack: Stack, *policies: str) -> list[Grant]:
    """What these policies of a stack allow, each by itself."""
    return [one for policy in policies for one in grants(stack[policy].properties["PolicyDocument"])]


def about(grant: Grant) -> str:
    """What of a stack it is about: `mail`, `events`, `dead-letters`, `objects`, `bucket`, ..."""
    match grant.resource.split(":", 5):
        case ["arn", _, "sqs", _, _, name]:
            # After the stack's name.
            return name.partition("-")[2]
        case ["arn", _, "s3", _, _, name]:
            return "objects" if name.endswith("/*") else "bucket"
        case ["arn", _, "ses", _, _, name]:
            return name.partition("/")[0]
    return "everything"


@dataclass(frozen=True)
class Refuses:
    """relayd does not start, and says why."""

    words: tuple[str, ...]

    def seen(self, process: Forked, world: World) -> None:
        assert process.code() == 2, process.output()
        for word in self.words:
            assert word in process.output()


@dataclass(frozen=True)
class Says:
    """relayd runs, and a line of its log says what it may not."""

    event: str
    queue: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def seen(self, process: Forked, world: World) -> None:
        queue = {"queue": f"{world.stack.name}-{self.queue}"} if self.queue else {}
        process.says(self.event, **queue, **self.facts)


DENIED = {"reason": "access_denied"}
MET_S3 = [{"dependency": "s3", "reason": "access_denied", "detail": "AccessDenied, HTTP 403"}]
SHOWN: Mapping[tuple[str, str], Refuses | Says] = {
    ("sqs:GetQueueAttributes", "mail"): Refuses(("RELAYD_QUEUE_URL", "access_denied", "GetQueueAttributes")),
    ("sqs:GetQueueAttributes", "events"): Refuses(("RELAYD_EVENTS_QUEUE_URL", "access_denied", "GetQueueAttributes")),
    ("sqs:GetQueueAttributes", "dead-letters"): Says("depth_unknown", facts=DENIED | {"queue": "dead_letters"}),
    ("sqs:GetQueueUrl", "dead-letters"): Refuses(("dead-letter queue cannot be looked up", "sqs:GetQueueUrl")),
    ("s3:ListBucket", "bucket"): Refuses(("bucket mail-", "s3:ListBucket")),
    ("sqs:ReceiveMessage", "mail"): Says("poll_held", "mail", DENIED),
    ("sqs:ReceiveMessage", "events"): Says("poll_held", "events", DENIED),
    ("sqs:DeleteMessage", "mail"): Says("settle_refused", "mail", {"operation": "delete"} | DENIED),
    ("sqs:DeleteMessage", "events"): Says("settle_refused", "events", {"operation": "delete"} | DENIED),
    ("sqs:ChangeMessageVisibility", "mail"): Says(
        "settle_refused", "mail", {"operation": "change_visibility"} | DENIED
    ),
    ("sqs:SendMessage", "dead-letters"): Says("dead_letter_failed", facts=DENIED),
    ("s3:GetObject", "objects"): Says("message_settled", "mail", DENIED | {"met": MET_S3}),
    ("ses:SendRawEmail", "both"): Says("breaker_opened", facts=DENIED | {"dependency": "ses"}),
}
"""What is to be seen when a right is missing. The events' queue has one more, below, which takes longer to show."""
ELSEWHERE = {("sqs:ChangeMessageVisibility", "events"), ("ses:GetAccount", "everything")}
"""Rights that have tests of their own."""


def named(grant: Grant) -> tuple[str, str]:
    """What a grant is called in `SHOWN`. moto cannot tell a send's two resources apart, so both are taken away."""
    return grant.action, "both" if grant.action == "ses:SendRawEmail" else about(grant)


def test_every_right_is_taken_away_once() -> None:
    """The tables here are complete, and about nothing that is not granted."""
    assert {named(one) for one in granted(template_stack(), "DaemonPolicy")} == SHOWN.keys() | ELSEWHERE


def test_with_exactly_its_policy_relayd_does_all_it_has_to(account: Account, tmp_path: Path) -> None:
    """A daemon forwards, gives up, puts off and hears events; and there is nothing that it may do and does not."""
    world = World(account, tmp_path)
    allowed = granted(world.stack, "DaemonPolicy")
    credentials = account.role(as_moto_reads(allowed))
    daemon = DaemonProcess(world.hasty | credentials, tmp_path / "daemon.log")
    try:
        daemon.wait_ready()
        mail_id = world.mail()
        world.nonsense()
        world.mail_that_is_lost()
        assert eventually(lambda: world.left("DeadLetters") == (1, 0) and world.left("MailQueue") == (0, 1), 15)
        with locked(world.database):
            world.bounced()
            # Longer than half a lease, so that it is extended.
            assert eventually(lambda: extended(account, credentials, world), 15), daemon.output()
        assert eventually(lambda: world.left("EventQueue") == (0, 0), 15), daemon.output()
        assert daemon.stop() == 0
    finally:
        daemon.kill()
    [line] = [line for line in daemon.events("message_settled") if line.get("mail_id") == mail_id]
    assert (line["outcome"], line["reason"]) == ("accepted", "forwarded")
    assert "access_denied" not in daemon.output()
    assert [sent.recipients for sent in account.moto.sent() if sent.tags.get("relayd-delivery")][-1] == (
        "me@owner.example",
    )
    asked = rights(account.moto.calls(credentials["AWS_ACCESS_KEY_ID"]))
    # By one grant alone: without it, this call would be refused, whatever else there is.
    assert all(len([one for one in allowed if one.covers(right)]) == 1 for right in asked)
    assert [one for one in allowed if not any(one.covers(right) for right in asked)] == []


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Nobody can write the database meanwhile."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def extended(account: Account, credentials: Mapping[str, str], world: World) -> bool:
    """Whether a lease of the events' queue was extended, or was to be."""
    wanted = Right("sqs:ChangeMessageVisibility", world.stack["EventQueue"].attributes["Arn"])
    return wanted in rights(account.moto.calls(credentials["AWS_ACCESS_KEY_ID"]))


@pytest.mark.parametrize("missing", SHOWN, ids=" ".join)
def test_without_one_right_relayd_says_which(
    missing: tuple[str, str], account: Account, nursery: Nursery, tmp_path: Path
) -> None:
    """Everything else is allowed, so what fails is what was taken away; a person reads it in the first seconds."""
    world = World(account, tmp_path)
    kept = [one for one in granted(world.stack, "DaemonPolicy") if named(one) != missing]
    credentials = account.role(as_moto_reads(kept))
    world.mail()
    world.nonsense()
    world.mail_that_is_lost()
    world.delivered()
    process = nursery.relayd("run", environment=world.environment | credentials, log=tmp_path / "relayd.log")
    SHOWN[missing].seen(process, world)
    process.kill()


def test_without_the_right_to_extend_events_relayd_says_so(account: Account, nursery: Nursery, tmp_path: Path) -> None:
    """It shows when an event takes longer than half its lease, as it does while the database is away."""
    world = World(account, tmp_path)
    missing = ("sqs:ChangeMessageVisibility", "events")
    kept = [one for one in granted(world.stack, "DaemonPolicy") if named(one) != missing]
    environment = world.hasty | account.role(as_moto_reads(kept))
    process = nursery.relayd("run", environment=environment, log=tmp_path / "relayd.log")
    process.says("started")
    with locked(world.database):
        world.bounced()
        process.says("extend_refused", queue=f"{world.stack.name}-events", **DENIED)
    process.kill()


def test_without_the_right_to_know_the_quota_relayd_says_so(
    embedded_aws: EmbeddedAws, nursery: Nursery, tmp_path: Path
) -> None:
    """moto asks nobody about ses:GetAccount. The daemon works on: it is told once, and the mail goes out."""
    cloud = Cloud(tmp_path, embedded_aws, 1)
    try:
        cloud.fault("ses:GetAccount", "deny")
        cloud.add_mask()
        cloud.mail()
        environment = cloud.environment | {"RELAYD_HTTP_ADDRESS": "127.0.0.1:0"}
        process = nursery.relayd("run", environment=environment, log=tmp_path / "relayd.log")
        process.says("account_unknown", operation="GetAccount", **DENIED)
        process.says("message_settled", outcome="accepted", reason="forwarded")
        process.kill()
    finally:
        cloud.close()


OF_PEOPLE = ("OperatePolicy", "ArchivePolicy")
PEOPLES = ("DaemonPolicy", "LookPolicy", *OF_PEOPLE)


def test_with_exactly_their_policies_people_do_what_they_have_to(
    account: Account, nursery: Nursery, tmp_path: Path
) -> None:
    """Dead letters are archived, replayed and looked at, in a stack each; nothing is allowed that is not asked for."""
    drained, replayed, looked = worlds = [with_archive(account, tmp_path / name) for name in ("a", "b", "c")]
    acts = {
        drained: ("drain", "--dead-letters", "--to", f"s3://{archive(drained)}/dead", "--with-mail"),
        replayed: ("replay", "--dead-letters", "--yes"),
        looked: ("replay", "--dead-letters", "--dry-run"),
    }
    keys = {world: account.role(as_moto_reads(granted(world.stack, *PEOPLES))) for world in worlds}
    for world in worlds:
        world.dead_letter()
    # At once: each looks for a while whether the queue is really empty.
    running = [
        nursery.relayd(*act, environment=world.environment | keys[world], log=world.folder / "relayd.log")
        for world, act in acts.items()
    ]
    assert [one.code(30) for one in running] == [0, 0, 0], [one.output() for one in running]
    kept = account.admin("s3").list_objects_v2(Bucket=archive(drained), Prefix="dead/")["Contents"]
    assert len(kept) == 2, "the letter and its mail"
    assert [world.left("DeadLetters") for world in worlds] == [(0, 0), (0, 0), (1, 0)]
    assert [world.left("MailQueue") for world in worlds] == [(0, 0), (1, 0), (0, 0)]
    used = set()
    for world, key in keys.items():
        asked = rights(account.moto.calls(key["AWS_ACCESS_KEY_ID"]))
        allowed = granted(world.stack, *PEOPLES)
        assert [right for right in asked if not any(one.covers(right) for one in allowed)] == []
        own = granted(world.stack, *OF_PEOPLE)
        used |= {named(one) for one in own if any(one.covers(right) for right in asked)}
    assert {named(one) for one in own} - used == {("sqs:CancelMessageMoveTask", "dead-letters")}, "that is for Ctrl-C"


@pytest.mark.parametrize(
    ("without", "words"),
    [("OperatePolicy", "sqs:ReceiveMessage, DeleteMessage"), ("ArchivePolicy", "s3:PutObject")],
)
def test_without_a_policy_people_are_told(
    without: str, words: str, account: Account, nursery: Nursery, tmp_path: Path
) -> None:
    """Whoever has the daemon's rights alone cannot take dead letters away, nor archive them."""
    world = with_archive(account, tmp_path / "world")
    world.dead_letter()
    key = account.role(as_moto_reads(granted(world.stack, *(one for one in PEOPLES if one != without))))
    drain = nursery.relayd(
        "drain", "--dead-letters", "--to", f"s3://{archive(world)}/dead",
        environment=world.environment | key, log=tmp_path / "drain.log",
    )  # fmt: skip
    assert drain.code() == 2
    assert words in drain.output()
    assert world.left("DeadLetters") == (1, 0)


def with_archive(account: Account, folder: Path) -> World:
    folder.mkdir()
    name = f"kept-{folder.parent.name.replace('_', '-')}-{folder.name}"[-63:].strip("-")
    account.admin("s3").create_bucket(Bucket=name)
    return World(account, folder, ArchiveBucketName=name)


def archive(world: World) -> str:
    """The name of its archive's bucket."""
    [grant] = [one for one in granted(world.stack, "ArchivePolicy") if one.action == "s3:ListBucket"]
    return grant.resource.rpartition(":")[2]


@pytest.fixture(scope="module")
def embedded_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    aws = EmbeddedAws(tmp_path_factory.mktemp("aws") / "aws.log")
    yield aws
    aws.stop()
