"""What the order book promises, the fake, SQLite and PostgreSQL alike."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from relayd.adapters.database import Database
from relayd.adapters.orders import SqlOrders
from relayd.model.address import Address
from relayd.model.orders import Orders
from relayd.operating import OrderBook
from relayd.ops import pausing, tracing
from tests.contract.databases import open_database, sqlite_url
from tests.contract.operated import Operated
from tests.fakes.clock import VirtualClock
from tests.fakes.orders import FakeOrders


class Book(OrderBook, Protocol):
    """The port, and what operators and the daily cleaning do to it."""

    def pause(self, *, everything: bool = False, domain: str | None = None, owner: str | None = None) -> None: ...

    def resume(self, *, everything: bool = False, domain: str | None = None, owner: str | None = None) -> None: ...

    def trace(self, mask_id: str, seconds: float) -> None: ...

    def untrace(self, mask_id: str) -> None: ...

    def prune(self) -> int: ...


class OperatedOrders(SqlOrders):
    """The real book, with `relayd.ops` for its operators. Masks and owners are made where an order names them."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.database = database
        self.directory = Operated(database)

    def pause(self, *, everything: bool = False, domain: str | None = None, owner: str | None = None) -> None:
        pausing.pause(self.database, self._choice(everything, domain, owner), "a reason")

    def resume(self, *, everything: bool = False, domain: str | None = None, owner: str | None = None) -> None:
        pausing.resume(self.database, self._choice(everything, domain, owner))

    def trace(self, mask_id: str, seconds: float) -> None:
        tracing.trace(self.database, [self._address(mask_id)], seconds)

    def untrace(self, mask_id: str) -> None:
        tracing.untrace(self.database, [self._address(mask_id)])

    def _choice(self, everything: bool, domain: str | None, owner: str | None) -> pausing.Choice:
        return pausing.Choice(everything, [domain] if domain else [], [owner] if owner else [])

    def _address(self, mask_id: str) -> Address:
        with self.database.reading() as connection:
            return Address.parse(
                connection.exec_driver_sql(f"SELECT address FROM masks WHERE mask_id = '{mask_id}'").scalar_one()
            )


@pytest.fixture(params=["fake", "sqlite", "postgres"])
def book(request: pytest.FixtureRequest, clock: VirtualClock, tmp_path: Path) -> Iterator[Book]:
    if request.param == "fake":
        yield FakeOrders(clock)
        return
    url = sqlite_url(tmp_path) if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))
    opened = open_database(url, clock)
    yield OperatedOrders(opened)
    opened.close()


def someone(book: Book, name: str) -> tuple[str, str]:
    """Ids of an owner and of a mask of theirs."""
    if not isinstance(book, OperatedOrders):
        return f"owner-{name}", f"mask-{name}"
    mask = book.directory.add(f"{name}@mask.example", f"{name}@example.org")
    return mask.owner.owner_id, mask.mask_id


def test_a_new_book_asks_for_nothing(book: Book) -> None:
    """No mail is held, and no mask is traced."""
    assert book.read() == Orders()


def test_pauses_are_in_force_until_they_are_taken_back(book: Book) -> None:
    """Each for itself: to let everything go on lets no domain and no owner go on that were paused on their own."""
    (one, _), (two, _) = someone(book, "one"), someone(book, "two")
    book.pause(everything=True)
    book.pause(domain="mask.example")
    book.pause(owner=one)
    book.pause(owner=two)
    both = frozenset({one, two})
    assert book.read() == Orders(True, frozenset({"mask.example"}), both)
    book.resume(everything=True)
    assert book.read() == Orders(False, frozenset({"mask.example"}), both)
    book.resume(domain="mask.example")
    book.resume(owner=one)
    assert book.read() == Orders(owners=frozenset({two}))


def test_twice_is_once(book: Book) -> None:
    """A pause that is there already, and one that is not there any more, are no errors."""
    for _ in range(2):
        book.pause(everything=True, domain="mask.example")
    assert book.read() == Orders(True, frozenset({"mask.example"}))
    for _ in range(2):
        book.resume(everything=True, domain="mask.example")
    assert book.read() == Orders()


def test_a_mask_is_traced_until_its_time_is_over(book: Book, clock: VirtualClock) -> None:
    """By the book's clock; asked for again, the newest word counts, a shorter one, too."""
    (_, one), (_, two) = someone(book, "one"), someone(book, "two")
    book.trace(one, 3600)
    book.trace(two, 7200)
    clock.sleep(3599)
    assert book.read() == Orders(traced=frozenset({one, two}))
    clock.sleep(2)
    assert book.read().traced == {two}
    book.trace(two, 60)
    clock.sleep(61)
    assert book.read() == Orders()


def test_tracing_is_ended_by_hand(book: Book) -> None:
    """Of one mask; of one that is not traced that is no error."""
    (_, one), (_, two) = someone(book, "one"), someone(book, "two")
    book.trace(one, 3600)
    book.trace(two, 3600)
    book.untrace(one)
    book.untrace(one)
    assert book.read().traced == {two}


def test_what_is_over_is_cleaned_up(book: Book, clock: VirtualClock) -> None:
    """Rows that nobody looks at any more go; the others, and pauses, which have no end, stay."""
    (_, one), (_, two) = someone(book, "one"), someone(book, "two")
    book.pause(everything=True)
    book.trace(one, 3600)
    book.trace(two, 7200)
    clock.sleep(5000)
    assert (book.prune(), book.prune()) == (1, 0)
    assert book.read() == Orders(everything=True, traced=frozenset({two}))
