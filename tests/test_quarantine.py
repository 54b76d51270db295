"""What is held back, through the commands: a ledger on SQLite, and a queue in the embedded AWS."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from relayd.adapters.database import Database, connect
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.injecting import MAX_BYTES, MAX_ENTRIES, Injector, fitting
from relayd.adapters.ledger import SqlLedger
from relayd.adapters.schema import deliveries, quarantine
from relayd.cli import root
from relayd.errors import ConfigurationError, TransientError
from relayd.model.address import Address
from relayd.model.delivery import Claim, Concern, DeliveryKey, Held, Settled
from relayd.model.mask import Mask
from relayd.model.notification import Received, S3Content
from relayd.ops.quarantine import Choice, choose, release
from relayd.wire.compact import compact, sender_and_subject
from relayd.wire.own import open_own
from relayd.wire.ses import read_notification
from tests.adapters.scripted_server import Hang, ScriptedServer, Step, json_error
from tests.adapters.test_sqs import URL, answer, sqs
from tests.cloud.server import EmbeddedServer
from tests.contract.databases import with_tables
from tests.contract.moto_server import REGION
from tests.wire.samples import received_text

SECRET = "0f3c5a7e9b1d2846c0a8e6f4927b5d31f0c2e4a69b8d7153"
SHOP, NEWS, BOX = "shop@mask.example", "news@mask.example", "me@example.org"


class World:
    """An operator with a database and a queue; and the daemon's ledger, which holds mail back."""

    def __init__(self, folder: Path, server: EmbeddedServer) -> None:
        self.sqs, self.url = server.sqs, server.new_queue()[0]
        self.environ: dict[str, str | None] = {
            "RELAYD_DATABASE_URL": with_tables(folder),
            "RELAYD_MAIL_DOMAINS": "mask.example",
            "RELAYD_QUEUE_URL": self.url,
            "RELAYD_SECRET": SECRET,
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        self._database = connect(str(self.environ["RELAYD_DATABASE_URL"]), pool_size=2)
        self.ok("masks", "add", SHOP, "--to", BOX)
        self.ok("masks", "add", NEWS, "--to", "you@example.org", "--owner", "Anna")

    def __call__(self, *args: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(root, list(args), env=self.environ, input=stdin)

    def ok(self, *args: str, code: int = 0) -> str:
        result = self(*args)
        assert result.exit_code == code, result.output
        return result.stdout

    def json(self, *args: str, code: int = 0) -> Any:
        return json.loads(self.ok("quarantine", *args, "--json", code=code))

    def listed(self, *args: str) -> list[str]:
        return [entry["mail_id"] for entry in self.json("list", *args)]

    def id_of(self, mail_id: str) -> str:
        found: str = next(entry["id"] for entry in self.json("list", "--released") if entry["mail_id"] == mail_id)
        return found

    def database(self) -> Database:
        return self._database

    def hold(self, mail_id: str, mask: str = SHOP, reason: str = "spam", mailbox: str = "", **mail: Any) -> None:
        """As the daemon does when a rule says so."""
        database = self.database()
        target = SqlDirectory(database).lookup(Address.parse(mask))
        assert isinstance(target, Mask)
        text = received_text(mail={"messageId": mail_id, **mail})
        held = Held(compact(text, mask), *sender_and_subject(text))
        concern = Concern("forward", target.mask_id, target.owner.owner_id)
        SqlLedger(database).discarded(
            DeliveryKey(mail_id, mask, mailbox), reason, message_id="first", concern=concern, held=held
        )

    def claim(self, mail_id: str, mailbox: str) -> object:
        """What the daemon hears from the ledger when the mail comes again."""
        return SqlLedger(self.database()).claim(
            DeliveryKey(mail_id, SHOP, mailbox), Concern("forward", "m", "o"), message_id="second", ttl=60, trace=None
        )

    def received(self) -> list[tuple[Received, frozenset[str]]]:
        """What came into the queue, opened as the daemon does."""
        found = []
        while messages := self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                opened = open_own(message["Body"], [SECRET.encode()])
                notification = read_notification(opened.text)
                assert isinstance(notification, Received)
                found.append((notification, opened.released))
        return found

    def age(self, mail_id: str, seconds: float) -> None:
        with self.database().writing() as connection:
            held_at = quarantine.c.held_at - seconds
            connection.execute(sa.update(quarantine).where(quarantine.c.mail_id == mail_id).values(held_at=held_at))

    def state_of(self, mail_id: str) -> tuple[str, str | None]:
        query = sa.select(deliveries.c.state, deliveries.c.reason).where(deliveries.c.mail_id == mail_id)
        with self.database().reading() as connection:
            row = connection.execute(query).one()
        return row.state, row.reason


@pytest.fixture
def world(tmp_path: Path, embedded: EmbeddedServer) -> Iterator[World]:
    embedded.aws.clear_faults()
    made = World(tmp_path, embedded)
    yield made
    made.database().close()


def test_what_is_held_back_is_listed(world: World) -> None:
    """Newest first, with what a person needs to choose, and on a terminal that it cannot harm."""
    common = {"from": ["Bob <bob@sender.example>"], "subject": "=?utf-8?q?caf=C3=A9_\x1b[2J?="}
    world.hold("older", commonHeaders=common)
    world.hold("newer", mask=NEWS, reason="bounce_pause", mailbox="you@example.org")
    world.age("older", 3600)
    newer, older = world.json("list")
    assert (older["mail_id"], older["reason"], older["mask"], older["owner"]) == ("older", "spam", SHOP, BOX)
    assert (older["sender"], older["subject"]) == ("Bob <bob@sender.example>", "caf\u00e9 [2J")
    assert (newer["owner"], newer["mailbox"], newer["released_at"]) == ("Anna", "you@example.org", None)
    text = world.ok("quarantine", "list")
    assert "\x1b" not in text
    places = [text.index(part) for part in ("bounce_pause", older["id"], "Bob <bob@sender.example>", "caf\u00e9 [2J")]
    assert places == sorted(places)


def test_filters_narrow_the_list(world: World) -> None:
    """By reason, owner, mask, age and number, and by all of them together."""
    world.hold("a")
    world.hold("b", mask=NEWS, reason="bounce_pause", mailbox="you@example.org")
    world.hold("c")
    for mail_id, days in (("a", 10), ("b", 5), ("c", 1)):
        world.age(mail_id, days * 86_400)
    assert world.listed() == ["c", "b", "a"]
    assert world.listed("--reason", "spam") == ["c", "a"]
    assert world.listed("--owner", "Anna") == ["b"]
    assert world.listed("--mask", SHOP.upper()) == ["c", "a"]
    assert world.listed("--since", "7d") == ["c", "b"]
    assert world.listed("--since", "2020-01-01") == ["c", "b", "a"]
    assert world.listed("--limit", "1") == ["c"]
    assert world.listed("--reason", "spam", "--since", "7d", "--owner", BOX) == ["c"]


def test_an_entry_is_shown_with_its_facts(world: World) -> None:
    """Verdicts and the place of the mail; and the notification, which `relayd inspect` takes."""
    world.hold("a")
    text = world.ok("quarantine", "show", world.id_of("a"))
    assert "spam PASS, virus PASS" in text
    assert "s3://incoming-mail/in/" in text
    notification = read_notification(json.dumps(world.json("show", world.id_of("a"))["notification"]))
    assert isinstance(notification, Received)
    assert isinstance(notification.content, S3Content)


def test_a_release_puts_the_mail_into_the_queue(world: World) -> None:
    """Sealed, for its recipient alone, past the rule that held it back; and it leaves the list."""
    world.hold("a")
    world.hold("b")
    world.ok("quarantine", "release", world.id_of("a"))
    ((notification, released),) = world.received()
    assert (notification.mail_id, notification.recipients) == ("a", (SHOP,))
    assert released == {"spam"}
    assert world.listed() == ["b"]
    assert world.listed("--released") == ["b", "a"]


def test_a_release_reopens_the_ledger(world: World) -> None:
    """A delivery that was held back for one mailbox is free again; another one stays settled."""
    world.hold("a", reason="bounce_pause", mailbox=BOX)
    world.hold("b", reason="bounce_pause", mailbox=BOX)
    assert isinstance(world.claim("a", BOX), Settled)
    world.ok("quarantine", "release", world.id_of("a"))
    assert isinstance(world.claim("a", BOX), Claim)
    assert isinstance(world.claim("b", BOX), Settled)


def test_a_release_of_a_whole_mail_is_remembered(world: World) -> None:
    """The discard that concerned no mailbox stays, and says that it was released; its mailbox is free as ever."""
    world.hold("a")
    world.ok("quarantine", "release", world.id_of("a"))
    assert world.state_of("a") == ("discarded", "released")
    assert isinstance(world.claim("a", BOX), Claim)


def test_what_was_sent_meanwhile_is_not_reopened(world: World) -> None:
    """Only a discard is: a mail that went out does not go out again."""
    world.hold("a", reason="bounce_pause", mailbox=BOX)
    with world.database().writing() as connection:
        connection.execute(sa.update(deliveries).values(state="sent", reason=None))
    world.ok("quarantine", "release", world.id_of("a"))
    assert world.claim("a", BOX) == Settled("sent", "sent")


def test_many_are_released_by_filter_oldest_first(world: World) -> None:
    """In calls of ten; those that do not fit stay."""
    for number in range(23):
        world.hold(f"spam{number}")
    world.hold("other", reason="mail_refused", mailbox=BOX)
    assert world.json("release", "--reason", "spam", "--dry-run")["released"]
    assert world.received() == []
    result = world.json("release", "--reason", "spam")
    assert (len(result["released"]), result["failed"], result["dry_run"]) == (23, [], False)
    assert sorted(one.mail_id for one, _ in world.received()) == sorted(f"spam{number}" for number in range(23))
    assert world.listed() == ["other"]
    assert world.json("release", "--reason", "spam")["released"] == []


def test_oldest_go_first(world: World) -> None:
    """The list is newest first; mail is not."""
    for number in range(12):
        world.hold(f"m{number}")
        world.age(f"m{number}", 100 - number)
    newest_first = [entry["id"] for entry in world.json("list")]
    assert world.json("release", "--all")["released"] == newest_first[::-1]


def test_a_second_release_needs_to_be_asked_for(world: World) -> None:
    """An id that was released before is told so; with --again it goes once more."""
    world.hold("a")
    entry = world.id_of("a")
    world.ok("quarantine", "release", entry)
    assert len(world.received()) == 1
    result = world("quarantine", "release", entry)
    assert (result.exit_code, "released before" in result.stderr) == (0, True)
    assert world.received() == []
    assert world.json("release", entry, "--again")["released"] == [entry]
    assert len(world.received()) == 1


def test_what_does_not_exist_is_refused_as_a_whole(world: World) -> None:
    """A wrong id, owner or mask: exit code 2 with a hint, and nothing is released."""
    world.hold("a")
    for wrong in (["nonsense", world.id_of("a")], ["--owner", "nobody"], ["--mask", "x@mask.example"], []):
        for verb in ("release", "discard"):
            result = world("quarantine", verb, *wrong)
            assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert world("quarantine", "show", "nonsense").exit_code == 2
    assert world("quarantine", "list", "--since", "soon").exit_code == 2
    assert world.received() == []
    assert world.listed() == ["a"]


def test_it_needs_its_settings_and_no_others(world: World) -> None:
    """Queue, database and secret; all that is missing is named at once."""
    world.hold("a")
    world.environ |= {"RELAYD_MAIL_DOMAINS": None, "RELAYD_QUEUE_URL": None, "RELAYD_SECRET": None}
    with pytest.raises(ConfigurationError) as caught:
        CliRunner().invoke(
            root, ["quarantine", "release", "--all"], env=world.environ, catch_exceptions=False, standalone_mode=False
        )
    assert {problem.subject for problem in caught.value.problems} == {"RELAYD_QUEUE_URL", "RELAYD_SECRET"}
    world.environ |= {"RELAYD_QUEUE_URL": world.url, "RELAYD_SECRET": SECRET}
    world.ok("quarantine", "release", "--all")


def test_a_queue_that_refuses_is_a_configuration_error(world: World, embedded: EmbeddedServer) -> None:
    """Told with a hint; the mail is listed still and goes once the queue takes it."""
    world.hold("a", reason="bounce_pause", mailbox=BOX)
    embedded.aws.faults([{"operation": "sqs:SendMessageBatch", "fault": "deny"}])
    result = world("quarantine", "release", "--all")
    assert isinstance(result.exception, ConfigurationError)
    assert "sqs:SendMessage" in str(result.exception)
    assert "0 mails released" in result.stdout
    embedded.aws.clear_faults()
    assert world.listed() == ["a"]
    world.ok("quarantine", "release", "--all")
    assert len(world.received()) == 1


def test_an_outage_fails_what_it_meets(world: World, embedded: EmbeddedServer) -> None:
    """Exit code 4 with the reason; the rest went out, and the same command does the remainder."""
    for number in range(15):
        world.hold(f"m{number}")
    embedded.aws.faults([{"operation": "sqs:SendMessageBatch", "fault": "error", "times": 1}])
    result = world.json("release", "--all", code=4)
    embedded.aws.clear_faults()
    assert (len(result["released"]), len(result["failed"])) == (5, 10)
    assert {failure["reason"] for failure in result["failed"]} == {"queue_unavailable"}
    assert len(world.listed()) == 10
    assert len(world.json("release", "--all")["released"]) == 10
    assert len(world.received()) == 15


def test_a_long_outage_ends_the_command(world: World, embedded: EmbeddedServer) -> None:
    """After three calls the rest is not even tried, and said so."""
    for number in range(45):
        world.hold(f"m{number}")
    embedded.aws.faults([{"operation": "sqs:SendMessageBatch", "fault": "error"}])
    result = world.json("release", "--all", code=4)
    embedded.aws.clear_faults()
    reasons = [failure["reason"] for failure in result["failed"]]
    assert (reasons.count("queue_unavailable"), reasons.count("not_tried")) == (30, 15)
    assert len(world.listed()) == 45


def test_one_refused_entry_of_a_call_fails_alone(world: World) -> None:
    """SQS answers success with failures in it: only what it took is marked."""
    world.hold("a")
    world.hold("b")
    world.age("a", 10)
    failed = [{"Id": "0", "Code": "InvalidMessageContents", "SenderFault": True}]
    with ScriptedServer(answer(Successful=[{"Id": "1", "MessageId": "m"}], Failed=failed)) as server:
        world.environ["AWS_ENDPOINT_URL"] = server.endpoint
        result = world.json("release", "--all", code=4)
    assert [failure["reason"] for failure in result["failed"]] == ["InvalidMessageContents"]
    assert world.listed() == ["a"]


def test_a_release_may_end_at_any_point(world: World) -> None:
    """Cut off between the sending and the marking: listed still, and released again."""
    world.hold("a", reason="bounce_pause", mailbox=BOX)
    database = world.database()

    class Dies(Injector):
        def send(self, bodies: Any) -> list[str | None]:
            super().send(bodies)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(release(database, Dies(world.url, world.sqs), [SECRET.encode()], choose(database, Choice())))
    assert world.listed() == ["a"]
    world.ok("quarantine", "release", "--all")
    assert len(world.received()) == 2
    assert isinstance(world.claim("a", BOX), Claim)


def test_an_interrupt_tells_what_is_left(world: World) -> None:
    """Ctrl-C while the queue does not answer: exit code 130, and everything is listed still."""
    world.hold("a")
    with ScriptedServer(Hang(after_request=True)) as server:
        world.environ["AWS_ENDPOINT_URL"] = server.endpoint
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("RELAYD_", "AWS_"))}
        environ |= {name: value for name, value in world.environ.items() if value is not None}
        command = [sys.executable, "-m", "relayd", "quarantine", "release", "--all", "--json"]
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 20
            while not server.requests and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            told, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert json.loads(told) == {"released": [], "released_before": [], "failed": [], "dry_run": False}
    assert world.listed() == ["a"]


def test_a_mail_held_back_again_meanwhile_stays_listed(world: World) -> None:
    """The daemon was quicker than the mark, and another rule was against the mail."""
    world.hold("a", reason="bounce_pause", mailbox=BOX)
    database = world.database()

    class Quick(Injector):
        def send(self, bodies: Any) -> list[str | None]:
            world.hold("a", reason="over_limit", mailbox=BOX)
            return [None for _ in bodies]

    (done,) = release(database, Quick(world.url, world.sqs), [SECRET.encode()], choose(database, Choice()))
    assert done.outcome == "released"
    assert [entry["reason"] for entry in world.json("list")] == ["over_limit"]


def test_an_entry_that_is_gone_is_a_failure_of_its_own(world: World) -> None:
    """Somebody else discarded it between the choice and the release; the others go."""
    world.hold("a")
    world.hold("b")
    database = world.database()
    entries = choose(database, Choice())
    world.ok("quarantine", "discard", world.id_of("a"), "--yes")
    results = list(release(database, Injector(world.url, world.sqs), [SECRET.encode()], entries))
    assert sorted((result.outcome, result.reason) for result in results) == [("failed", "gone"), ("released", "")]


def test_discarding_asks_first(world: World) -> None:
    """Without a yes nothing happens; with it, the entry leaves the list, released ones too."""
    world.hold("a")
    world.hold("b")
    result = world("quarantine", "discard", world.id_of("a"), stdin="n\n")
    assert result.exit_code == 1
    assert len(world.listed()) == 2
    assert world("quarantine", "discard", world.id_of("a"), stdin="y\n").exit_code == 0
    assert world.listed() == ["b"]
    world.ok("quarantine", "release", world.id_of("b"))
    world.ok("quarantine", "discard", world.id_of("b"), "--yes")
    assert world.listed("--released") == []


def test_calls_stay_within_sqs_limits() -> None:
    """Ten messages and 256 KiB a call; one that is larger goes alone rather than never."""
    assert fitting([1] * 30) == MAX_ENTRIES
    assert fitting([100_000, 100_000, 100_000]) == 2
    assert fitting([MAX_BYTES, 1]) == 1
    assert fitting([MAX_BYTES + 1, 1]) == 1
    assert fitting([]) == 0


def test_what_the_queue_did_not_answer_was_not_sent() -> None:
    """An entry that is in neither list of the answer has not been taken."""
    with ScriptedServer(answer(Successful=[{"Id": "1", "MessageId": "m"}])) as server:
        assert Injector(URL, sqs(server.endpoint)).send(["a", "b"]) == ["NoAnswer", None]


@pytest.mark.parametrize(
    ("step", "error", "told"),
    [
        (json_error(400, "com.amazonaws.sqs#QueueDoesNotExist"), ConfigurationError, "RELAYD_QUEUE_URL"),
        (json_error(403, "InvalidClientTokenId"), ConfigurationError, "AWS credentials"),
        (json_error(403, "RequestThrottled"), TransientError, "queue_throttled"),
        (json_error(500, "InternalFailure"), TransientError, "queue_unavailable"),
        (Hang(after_request=True), TransientError, "queue_timeout"),
    ],
)
def test_refusals_of_a_whole_call(step: Step, error: type[Exception], told: str) -> None:
    """What a person must put right is a configuration error with a hint; the rest will pass."""
    with ScriptedServer(step) as server, pytest.raises(error, match=told):
        Injector(URL, sqs(server.endpoint, read=0.2)).send(["a"])
