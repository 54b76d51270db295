"""The watch over a real ledger file, with stand-ins for the queue and for SES."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relayd.adapters.database import Database, connect, upgrade
from relayd.adapters.schema import deliveries
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
