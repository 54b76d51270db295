"""Emptying the dead-letter queue: nothing leaves it before its record is durable, and the counts add up."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import pytest
import sqlalchemy as sa

from relayd.adapters.database import connect, upgrade
from relayd.adapters.ledger import SqlLedger
from relayd.adapters.schema import retries
from relayd.errors import ConfigurationError, HoldError, PermanentError, Problem, TransientError
from relayd.model.delivery import Claim, Concern, DeliveryKey
from relayd.ops.archive import Archive
from relayd.ops.archive_record import RawMail, Record
from relayd.ops.crew import GRACE, Crew
from relayd.ops.dead_letters import DeadLetters
from relayd.ops.emptying import BUG, NOT_DELETED, STRIKES, Emptying
from relayd.ops.failure_history import Asked, LedgerHistory, Past, open_history
from relayd.ops.mail_copies import MailCopies
from relayd.ports import EntryError
from relayd.runtime.memory import MemoryBudget
from tests.fakes.clock import VirtualClock
from tests.fakes.letter_queue import FakeLetterQueue
from tests.fakes.shelf import FakeShelf
from tests.fakes.store import FakeStore
from tests.letters import TRACE, TRACEPARENT, mail_body

Stop = Literal["timeout", "interrupted"]


class World:
    """A dead-letter queue, an archive and a mail store, in virtual time."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.queue = FakeLetterQueue(self.clock)
        self.shelf = FakeShelf(self.clock)
        self.store = FakeStore(self.clock)
        self.archive = Archive(self.shelf, self.clock)
        self.stop_at = float("inf")

    def mails(self, *buckets: str, megabytes: int = 64) -> MailCopies:
        memory = MemoryBudget(self.clock, megabytes * 1024 * 1024)
        return MailCopies(self.store, memory, buckets or ("incoming-mail",), self.clock)

    def emptying(self, **options: Any) -> Emptying:
        self.letters = DeadLetters(self.queue, self.clock)
        return Emptying(self.letters, self.archive, self.clock, **options)

    def run(self, emptying: Emptying | None = None, **options: Any) -> tuple[Emptying, str]:
        made = emptying or self.emptying()
        with self.letters:
            return made, made.run(stop=self._stop, **options)

    def records(self) -> list[Record]:
        damaged: list[Any] = []
        found = list(self.archive.records(damaged.append))
        assert damaged == []
        return found

    def bodies(self) -> list[str]:
        return sorted(one.letter.message.body for one in self.records())

    @property
    def left(self) -> int:
        return len(self.queue.queue.left)

    def _stop(self) -> Stop | None:
        return "interrupted" if self.clock.monotonic() >= self.stop_at else None


@pytest.fixture
def world() -> World:
    return World()


def counts(emptying: Emptying) -> tuple[int, int, int]:
    total = emptying.emptied.total()
    assert total.read == total.archived + total.already_there + total.failed
    assert sum(emptying.emptied.failures.values()) == total.failed
    return total.archived, total.already_there, total.failed


def test_every_letter_is_in_the_archive_and_none_in_the_queue(world: World) -> None:
    """Counted by what it says; the summary adds up."""
    for number in range(25):
        world.queue.publish(f"{number}", reason="not_json" if number % 5 else "bug")
    emptying, ending = world.run()
    assert (ending, counts(emptying), world.left) == ("empty", (25, 0, 0), 0)
    assert world.bodies() == sorted(f"{number}" for number in range(25))
    assert {reason: one.read for reason, one in emptying.emptied.reasons.items()} == {"not_json": 20, "bug": 5}


def test_no_letter_is_deleted_before_its_record_is_durable(world: World) -> None:
    """Looked at in the moment of each delete: slow storage, letters that come back, outages in between."""
    bodies = {world.queue.publish(f"{number}"): f"{number}" for number in range(60)}
    world.shelf.latency = lambda name: crc32(name.encode()) % 40
    world.shelf.errors.add(None, TransientError("disk_failed"), 9)
    world.queue.queue.faults.twins = 0.5
    seen = 0

    class Watching(FakeLetterQueue):
        def delete(self, handles: Sequence[str]) -> list[EntryError | None]:
            nonlocal seen
            received = {one.handle: one.message_id for one in self.queue.receives}
            for handle in handles:
                seen += 1
                start = f"of-{bodies[received[handle]]}."
                assert any(name.startswith(start) for name in world.shelf.durable)
            return super().delete(handles)

    watching = Watching(world.clock)
    watching.queue = world.queue.queue
    world.queue = watching
    _, ending = world.run(world.emptying(visibility=20))
    assert (ending, world.left, len(world.shelf.files)) == ("empty", 0, 60)
    assert seen >= 60


def test_twins_of_a_crash_become_one(world: World) -> None:
    """The daemon died between the dead-lettering and the deletion, so the message is there twice."""
    for _ in range(2):
        world.queue.publish("a", message_id="m1")
    world.queue.publish("a", message_id="m2")
    world.shelf.latency = 1.0
    emptying, _ = world.run()
    assert (counts(emptying), world.left) == ((2, 1, 0), 0)
    assert world.bodies() == ["a", "a"]


def test_a_second_run_completes_the_first(world: World) -> None:
    """Killed anywhere: what is archived is only deleted, the rest is archived, each once."""
    for number in range(60):
        world.queue.publish(f"{number}")
    world.queue.queue.faults.call_errors = {"delete": 1.0, "change_visibility": 1.0}
    emptying, ending = world.run()
    assert (ending, counts(emptying)[0], set(emptying.emptied.failures)) == ("outage", 0, {NOT_DELETED})
    world.queue.queue.faults.call_errors = {}
    puts = len(world.shelf.puts)
    emptying, ending = world.run()
    assert (ending, counts(emptying), world.left) == ("empty", (60 - puts, puts, 0), 0)
    assert puts == 10 * STRIKES
    assert len(world.bodies()) == 60


def test_only_so_many(world: World) -> None:
    """Neither archived nor deleted beyond."""
    for number in range(20):
        world.queue.publish(f"{number}")
    emptying, ending = world.run(limit=7)
    assert (ending, counts(emptying), world.left, len(world.shelf.files)) == ("enough", (7, 0, 0), 13, 7)
    assert world.queue.queue.visible == 13


@pytest.mark.parametrize("seconds", [0.0, 0.7, 3.1, 8.0, 11.9])
def test_a_stop_leaves_nothing_in_between(world: World, seconds: float) -> None:
    """Whenever it comes: what was deleted is archived, what was not is back in the queue; a second run completes."""
    for number in range(40):
        world.queue.publish(f"{number}")
    world.shelf.latency = lambda name: 0.2 + (crc32(name.encode()) % 10) / 3
    world.stop_at = seconds
    emptying, ending = world.run()
    assert ending == "interrupted"
    assert counts(emptying)[0] + world.left == 40
    assert len(world.bodies()) >= counts(emptying)[0]
    assert world.queue.queue.visible == world.left
    world.stop_at = float("inf")
    emptying, ending = world.run()
    assert (ending, world.left, len(world.bodies())) == ("empty", 0, 40)


def test_a_stop_does_not_wait_for_what_hangs(world: World) -> None:
    """A put that takes minutes is left to itself after a short grace; its letter is back in the queue."""
    for number in range(3):
        world.queue.publish(f"{number}")
    names: list[str] = []
    world.shelf.latency = lambda name: names.append(name) or (600.0 if len(names) > 4 else 0.1)  # type: ignore[func-returns-value]
    world.stop_at = 2.0
    emptying, ending = world.run()
    assert ending == "interrupted"
    assert world.clock.monotonic() < 2.0 + GRACE + 2.0
    assert counts(emptying)[0] + world.queue.queue.visible == 3
    assert world.queue.queue.visible >= 1


def test_slow_storage_loses_no_lease(world: World) -> None:
    """Minutes a put: the letters stay ours meanwhile, whoever else looks."""
    for number in range(10):
        world.queue.publish(f"{number}")
    world.shelf.latency = 400.0
    others: list[object] = []

    def look() -> None:
        for _ in range(12):
            world.clock.sleep(30.0)
            others.extend(world.queue.queue.receive(10, 0, 1))

    world.clock.spawn("other", look)
    emptying, ending = world.run(world.emptying(visibility=20))
    assert (ending, counts(emptying), others) == ("empty", (10, 0, 0), [])


def test_what_cannot_be_archived_stays(world: World) -> None:
    """One letter fails, for whatever reason, and the others go."""
    for number in range(12):
        world.queue.publish(f"{number}")
    world.shelf.errors.add(None, TransientError("disk_full"), 8)
    world.shelf.errors.add(None, PermanentError("too_large"), 1)
    world.shelf.errors.add(None, ZeroDivisionError(), 1)
    emptying, ending = world.run()
    assert ending == "empty"
    assert emptying.emptied.failures == {"too_large": 1, BUG: 1}
    assert (counts(emptying), world.left, world.queue.queue.visible) == ((10, 0, 2), 2, 2)
    emptying, ending = world.run()
    assert (ending, counts(emptying), world.left) == ("empty", (2, 0, 0), 0)


def test_a_full_disk_ends_it(world: World) -> None:
    """After a few batches of nothing but failures, with everything back in the queue."""
    for number in range(100):
        world.queue.publish(f"{number}")
    world.shelf.errors.add(None, TransientError("disk_full"), 10**6)
    emptying, ending = world.run()
    assert (ending, counts(emptying)) == ("outage", (0, 0, 10 * STRIKES))
    assert (emptying.emptied.failures, world.queue.queue.visible) == ({"disk_full": 10 * STRIKES}, 100)


def test_what_a_person_must_put_right_ends_it_at_once(world: World) -> None:
    """The other letters of its batch are counted, and all that is left is back in the queue."""
    for number in range(30):
        world.queue.publish(f"{number}")
    error = ConfigurationError([Problem("the bucket", "it may not be used", "Allow it.")])
    world.shelf.on_put = lambda _: world.shelf.errors.add(None, error, 10**6) if len(world.shelf.puts) == 14 else None
    emptying = world.emptying()
    with pytest.raises(ConfigurationError):
        world.run(emptying)
    assert counts(emptying) == (14, 0, 6)
    assert (world.queue.queue.visible, world.left, len(world.bodies())) == (16, 16, 14)


def test_a_crew_begins_nothing_more_once_it_is_over(world: World) -> None:
    """What has begun gets its grace; the rest is not touched."""
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        world.clock.sleep(1.2)
        return number * number

    with Crew(world.clock, 2, work) as crew:
        assert crew.do(range(5), lambda: False) == [0, 1, 4, 9, 16]
        begun.clear()
        ends_at = world.clock.monotonic() + 2.0
        assert crew.do(range(9), lambda: world.clock.monotonic() >= ends_at) == [0, 1, 4, 9, *[None] * 5]
    assert begun == [0, 1, 2, 3]


def test_a_queue_that_lets_nothing_be_deleted(world: World) -> None:
    """Told as what it is; the letters are counted as archived and still there, and are back at once."""
    for number in range(15):
        world.queue.publish(f"{number}")
    world.queue.queue.fail_calls("delete", ConfigurationError([Problem("the queue", "no", "Allow it.")]), 10**6)
    emptying = world.emptying()
    with pytest.raises(ConfigurationError):
        world.run(emptying)
    assert (counts(emptying), emptying.emptied.failures) == ((0, 0, 10), {NOT_DELETED: 10})
    assert (world.queue.queue.visible, len(world.bodies())) == (15, 10)


def test_a_stop_while_sqs_is_away(world: World) -> None:
    """It ends as whoever stopped it wants, and not with the outage."""
    world.queue.publish("a")
    world.queue.queue.faults.call_errors = {"receive": 1.0}
    world.stop_at = 3.0
    assert world.run()[1] == "interrupted"
    world.stop_at = float("inf")
    with pytest.raises(TransientError):
        world.run()


class TestMails:
    """With the raw mail of each letter."""

    def test_each_beside_its_record(self, world: World) -> None:
        """Or a word in the record where it cannot be had; nothing of that is an error."""
        for number in range(3):
            world.store.put(f"in/{number}", b"mail %d" % number, "incoming-mail")
            world.queue.publish(mail_body(f"in/{number}", f"mail{number}"), f"m{number}")
        world.queue.publish(mail_body("in/gone", "gone"), "m3")
        world.queue.publish("no mail at all", "m4")
        world.store.put("in/secret", b"TOP-PRIVATE", "somebody-elses")
        world.queue.publish(mail_body("in/secret", "foreign", "somebody-elses"), "m5")
        world.queue.publish(mail_body("in/large", "large"), "m6")
        world.store.fail_with(PermanentError("too_large"), key="in/large")
        emptying, ending = world.run(world.emptying(mails=world.mails()))
        assert (ending, counts(emptying), world.left) == ("empty", (7, 0, 0), 0)
        states = {"archived": 3, "gone": 1, "no_mail": 1, "foreign_bucket": 1, "too_large": 1}
        assert emptying.emptied.mails == states
        found = {one.letter.original_message_id: one for one in world.records()}
        assert [world.archive.mail(found[f"m{number}"]) for number in range(7)] == [
            b"mail 0",
            b"mail 1",
            b"mail 2",
            None,
            None,
            None,
            None,
        ]
        assert [found[f"m{number}"].mail for number in range(2, 7)] == [
            RawMail("archived", 6),
            *(RawMail(state) for state in ("gone", "no_mail", "foreign_bucket", "too_large")),
        ]
        assert not any(b"TOP-PRIVATE" in data for data in world.shelf.files.values())
        assert found["m1"].mail_id == "mail1"

    def test_what_may_be_had_later_is_not_given_up(self, world: World) -> None:
        """S3 is away, or says no to this one: the letter stays in the queue."""
        world.store.put("in/1", b"mail", "incoming-mail")
        world.queue.publish(mail_body("in/1"))
        world.store.fail_with(HoldError("s3", "key_unusable", wide=False))
        emptying, _ = world.run(world.emptying(mails=world.mails()))
        assert (emptying.emptied.failures, world.left, world.shelf.files) == ({"key_unusable": 1}, 1, {})
        world.store.fail_with(TransientError("s3_unavailable"), times=3)
        emptying, _ = world.run(world.emptying(mails=world.mails()))
        assert (counts(emptying), world.left) == ((1, 0, 0), 0)

    def test_mails_are_not_fetched_twice(self, world: World) -> None:
        """A second run over what the first archived only deletes."""
        world.store.put("in/1", b"mail", "incoming-mail")
        for _ in range(3):
            world.queue.publish(mail_body("in/1"), "m1")
            emptying, _ = world.run(world.emptying(mails=world.mails()))
            assert emptying.emptied.mails == {"archived": 1}
        assert len(world.store.fetches) == 1

    def test_no_more_in_memory_than_there_is(self, world: World) -> None:
        """Ten large ones at once would be too much: they go one by one, and all of them go."""
        for number in range(10):
            world.store.put(f"in/{number}", b"x" * 300_000, "incoming-mail")
            world.queue.publish(mail_body(f"in/{number}", f"mail{number}"), f"m{number}")
        world.shelf.latency = 5.0
        memory, reserved = MemoryBudget(world.clock, 4_000_000), set[int]()
        world.shelf.on_put = lambda name: reserved.add(memory.reserved) if name.endswith(".eml") else None
        mails = MailCopies(world.store, memory, ["*"], world.clock)
        emptying, _ = world.run(world.emptying(mails=mails))
        assert (counts(emptying), emptying.emptied.mails) == ((10, 0, 0), {"archived": 10})
        assert reserved <= {6 * 300_000, 12 * 300_000}
        assert memory.reserved == 0


class TestLedger:
    """What the ledger knows of a letter, where it can be asked."""

    @pytest.fixture
    def history(self, tmp_path: Path) -> Iterator[LedgerHistory]:
        url = f"sqlite:///{tmp_path}/relayd.db"
        database = connect(url, pool_size=1)
        upgrade(database)
        ledger = SqlLedger(database)
        for number, trace in enumerate((TRACEPARENT, TRACEPARENT.replace(TRACE, "b" * 32))):
            claim = ledger.claim(
                DeliveryKey("mail1", "shop@mask.example", "me@example.org"),
                Concern("forward", "k", "o"),
                message_id="m1",
                ttl=60,
                trace=trace,
            )
            assert isinstance(claim, Claim)
            if number == 0:
                ledger.give_back(claim, "s3_unavailable")
            else:
                ledger.failed(claim, "bug", message_id="m1")
        ledger.charge("m1", bug=False)
        with database.writing() as connection:
            connection.execute(sa.update(retries).values(first_at=1234.5))
        database.close()
        opened = open_history(url)
        assert isinstance(opened, LedgerHistory)
        yield opened
        opened.close()

    def test_attempts_and_the_first_failure(self, world: World, history: LedgerHistory) -> None:
        """All traces, the message's own first; a letter that the ledger does not know has its own word alone."""
        world.queue.publish(mail_body(), "m1", traceparent="00-" + "c" * 32 + "-" + "d" * 16 + "-01")
        world.queue.publish("unknown", "m2")
        world.run(world.emptying(history=history))
        known, unknown = world.records()
        assert (known.first_failed_at, known.trace_ids) == (1234.5, ("c" * 32, TRACE, "b" * 32))
        assert unknown.first_failed_at == unknown.letter.failed_at > 0
        assert unknown.trace_ids == ()

    def test_a_ledger_that_goes_away_is_not_missed(self, world: World) -> None:
        """Asked once, said in a note; everything is archived."""
        asked = 0

        class Away:
            def of(self, _: Sequence[Asked]) -> list[Past]:
                nonlocal asked
                asked += 1
                raise HoldError("database", "database_unavailable")

        for number in range(25):
            world.queue.publish(f"{number}", f"m{number}")
        emptying, _ = world.run(world.emptying(history=Away()))
        assert (counts(emptying), asked, len(emptying.emptied.notes)) == ((25, 0, 0), 1, 1)

    def test_none_is_made_and_none_upgraded(self, tmp_path: Path) -> None:
        """Whatever stands against asking is said."""
        assert open_history(None) == "RELAYD_DATABASE_URL is not set"
        assert open_history(f"sqlite:///{tmp_path}/no.db") == "there is no such file"
        assert not (tmp_path / "no.db").exists()
        (tmp_path / "empty.db").write_bytes(b"")
        assert "version None" in str(open_history(f"sqlite:///{tmp_path}/empty.db"))
        (tmp_path / "junk.db").write_bytes(b"junk" * 1000)
        assert "no database" in str(open_history(f"sqlite:///{tmp_path}/junk.db"))
        assert isinstance(open_history("postgresql://nobody@127.0.0.1:1/none"), str)
