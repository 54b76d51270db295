"""The watch over a real ledger file, with stand-ins for the queue and for SES."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from relayd.adapters.database import Database, connect, upgrade
from relayd.adapters.schema import deliveries, masks, notices, owners, quarantine
from relayd.sandbox.child import Sent
from relayd.sandbox.outcomes import DeadLetter, Ended
from relayd.sandbox.watch import MAX_WATCHED, DeadLetterView, LedgerView, Watch

MAIL = "m" * 40


class FakeQueue:
    """As much of SQS as looking at a queue needs. A received message is hidden until `reappear`."""

    def __init__(self) -> None:
        self.visible: list[dict[str, Any]] = []
        self.hidden: list[dict[str, Any]] = []
        self.receives = 0

    def put(self, message_id: str, reason: str | None = "not_json") -> None:
        message: dict[str, Any] = {"MessageId": message_id, "Body": f"body of {message_id}"}
        if reason:
            message["MessageAttributes"] = {"relayd-reason": {"StringValue": reason, "DataType": "String"}}
        self.visible.append(message)

    def reappear(self) -> None:
        self.visible += self.hidden
        self.hidden = []

    def get_queue_attributes(self, **_: object) -> dict[str, Any]:
        counts = {"": len(self.visible), "NotVisible": len(self.hidden)}
        return {"Attributes": {f"ApproximateNumberOfMessages{name}": str(count) for name, count in counts.items()}}

    def receive_message(self, **_: object) -> dict[str, Any]:
        self.receives += 1
        batch, self.visible = self.visible[:10], self.visible[10:]
        self.hidden += batch
        return {"Messages": batch} if batch else {}


class Heard:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.facts: list[Sent | Ended | DeadLetter] = []

    sent = ended = dead = lambda self, fact: self.facts.append(fact)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = connect(f"sqlite:///{tmp_path / 'ledger.sqlite'}", pool_size=1)
    upgrade(database)
    yield database
    database.close()


@pytest.fixture
def ledger(tmp_path: Path, database: Database) -> Iterator[LedgerView]:
    ledger = LedgerView(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def record(database: Database, mail_id: str = MAIL, state: str = "sent", **more: Any) -> None:
    row = {
        "delivery_id": f"d-{mail_id}",
        "mail_id": mail_id,
        "recipient": "shop@mask.example",
        "mailbox": "me@home.example",
        "state": state,
        "attempt": 1,
        "generation": 0,
        "kills": 0,
        "doubts": 0,
        "resends": 0,
        "message_id": "sqs-1",
        "created_at": 1.0,
        "updated_at": 2.0,
    }
    with database.writing() as connection:
        connection.execute(database.insert(deliveries).values(row | more))


def watch(ledger: LedgerView, heard: Heard, queue: FakeQueue | None = None, sends: list[Sent] | None = None) -> Watch:
    page = (lambda since: [sent for sent in sends or [] if sent.number > since][:2]) if sends is not None else None
    return Watch(ledger, DeadLetterView(queue or FakeQueue(), "url"), page, heard)  # type: ignore[arg-type]


def test_an_end_is_told_once(database: Database, ledger: LedgerView) -> None:
    """However often the ledger is read, and with what it knows of the delivery."""
    heard = Heard()
    one = watch(ledger, heard)
    one.follow(MAIL)
    one.look()
    record(database, ses_id="ses-1")
    one.look()
    one.look()
    assert heard.facts == [
        Ended(f"d-{MAIL}", MAIL, "shop@mask.example", "me@home.example", "sent", "", "ses-1", 0, 2.0)
    ]


def test_work_in_progress_is_no_end(database: Database, ledger: LedgerView) -> None:
    """Claims and sends that have begun are not told; nor is another's mail."""
    heard = Heard()
    one = watch(ledger, heard)
    one.follow(MAIL)
    record(database, state="sending")
    record(database, mail_id="somebody-elses")
    one.look()
    assert heard.facts == []


def test_sends_are_told_page_by_page(ledger: LedgerView) -> None:
    """All that SES accepted, each once, also when one page does not hold them."""
    heard = Heard()
    sends = [Sent(number, f"ses-{number}", "", (), {}, 1.0) for number in range(1, 6)]
    one = watch(ledger, heard, sends=sends)
    one.look()
    one.look()
    assert heard.facts == sends


def test_dead_letters_are_looked_at_and_left(ledger: LedgerView) -> None:
    """Each is told once with its reason; none is taken off the queue, and a queue at rest is not received from."""
    heard, queue = Heard(), FakeQueue()
    view = DeadLetterView(queue, "url")  # type: ignore[arg-type]
    assert view.new() == []
    for number in range(12):
        queue.put(f"sqs-{number}", None if number == 3 else "not_json")
    told = view.new()
    assert [letter.message_id for letter in told] == [f"sqs-{number}" for number in range(12)]
    assert [letter.reason for letter in told[2:4]] == ["not_json", "unknown"]
    receives = queue.receives
    queue.reappear()
    assert view.new() == []
    assert queue.receives == receives
    queue.put("sqs-12")
    assert [letter.message_id for letter in view.new()] == ["sqs-12"]
    assert len(queue.visible) + len(queue.hidden) == 13
    assert heard.facts == []


def test_a_dead_letter_that_hides_is_found_later() -> None:
    """While somebody else holds a message the count says that there is more; the next look finds it."""
    queue = FakeQueue()
    view = DeadLetterView(queue, "url")  # type: ignore[arg-type]
    queue.put("sqs-1")
    queue.receive_message()
    assert view.new() == []
    queue.reappear()
    assert [letter.message_id for letter in view.new()] == ["sqs-1"]


def test_a_drained_queue_starts_over() -> None:
    """After somebody has emptied it, the next dead letter is told."""
    queue = FakeQueue()
    view = DeadLetterView(queue, "url")  # type: ignore[arg-type]
    queue.put("sqs-1")
    view.new()
    queue.hidden.clear()
    assert view.new() == []
    queue.put("sqs-2")
    queue.put("sqs-3")
    assert [letter.message_id for letter in view.new()] == ["sqs-2", "sqs-3"]


def test_only_so_many_mails_are_watched(database: Database, ledger: LedgerView) -> None:
    """The oldest make room; a recheck still finds their ends."""
    heard = Heard()
    one = watch(ledger, heard)
    one.follow(MAIL)
    for number in range(MAX_WATCHED):
        one.follow(f"mail-{number}")
    record(database)
    one.look()
    assert heard.facts == []
    one.recheck([MAIL])
    assert len(heard.facts) == 1


def test_a_failure_ends_watching_and_is_kept(tmp_path: Path) -> None:
    """The sandbox must not sit there as if nothing had happened."""
    ledger = LedgerView(tmp_path / "missing" / "ledger.sqlite")
    one = watch(ledger, Heard())
    one.follow(MAIL)
    one.start()
    assert one._thread is not None
    one._thread.join(5)
    assert one.failure is not None
    one.stop()


def hold(database: Database, mail_id: str = MAIL) -> None:
    row = {"quarantine_id": "q1", "mail_id": mail_id, "recipient": "shop@mask.example", "mailbox": "me@home.example"}
    row |= {"mask_id": "m", "owner_id": "o", "reason": "spam", "sender": "", "subject": "", "notification": ""}
    with database.writing() as connection:
        connection.execute(database.insert(quarantine).values(**row, held_at=2.0))


def test_what_is_held_back_is_told_again_when_it_is_released(database: Database, ledger: LedgerView) -> None:
    """First with its entry in the quarantine; after the release without, and then the delivery that follows."""
    heard = Heard()
    one = watch(ledger, heard)
    one.follow(MAIL)
    record(database, state="discarded", reason="spam")
    hold(database)
    one.look()
    one.look()
    with database.writing() as connection:
        connection.execute(sa.update(quarantine).values(released_at=3.0))
        connection.execute(sa.update(deliveries).values(state="sent", reason=None, updated_at=3.0))
    one.look()
    facts = [fact for fact in heard.facts if isinstance(fact, Ended)]
    assert [(fact.state, fact.held) for fact in facts] == [("discarded", "q1"), ("sent", "")]


def test_a_reply_names_its_mask(database: Database, ledger: LedgerView) -> None:
    """What the stranger sees as its sender."""
    row = {"mask_id": "m", "address": "shop@mask.example", "owner_id": "o", "enabled": True, "created_at": 1.0}
    owner = {"owner_id": "o", "name": "ada", "active": True, "flagged": False}
    owner |= {"spam_handling": "quarantine", "dmarc_handling": "forward"}
    with database.writing() as connection:
        connection.execute(database.insert(owners).values(**owner, created_at=1.0))
        connection.execute(database.insert(masks).values(**row))
    record(database, kind="reply", mask_id="m", mailbox="clerk@bureau.example")
    heard = Heard()
    one = watch(ledger, heard)
    one.follow(MAIL)
    one.look()
    [fact] = heard.facts
    assert isinstance(fact, Ended)
    assert (fact.kind, fact.mask, fact.mailbox) == ("reply", "shop@mask.example", "clerk@bureau.example")


def test_notices_are_told_though_no_mail_came_in(database: Database, ledger: LedgerView) -> None:
    """Those that end from now on; the ones of an earlier session in the same folder are old news."""
    heard = Heard()
    one = watch(ledger, heard)
    now = time.time()
    for name, at in (("old", now - 100.0), ("new", now + 1.0)):
        record(database, mail_id=f"notice-{name}", kind="notice", recipient="", updated_at=at)
        row = {"notice_id": name, "owner_id": "o", "kind": f"kind-{name}", "day": 1, "facts": "{}", "created_at": 1.0}
        with database.writing() as connection:
            connection.execute(database.insert(notices).values(**row))
    one.look()
    one.look()
    assert [(fact.mail_id, fact.kind, fact.notice) for fact in heard.facts if isinstance(fact, Ended)] == [
        ("notice-new", "notice", "kind-new")
    ]
