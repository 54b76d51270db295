"""Releasing from quarantine, on SQLite and on PostgreSQL."""

from collections.abc import Sequence

from relayd.adapters.database import Database
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.injecting import Injector
from relayd.adapters.ledger import SqlLedger
from relayd.model.address import Address
from relayd.model.delivery import Claim, Concern, DeliveryKey, Held, Settled
from relayd.model.mask import Mask
from relayd.ops.masks import add_mask
from relayd.ops.quarantine import Choice, choose, discard, notification_of, release
from tests.fakes.clock import VirtualClock

SHOP, BOX = Address.parse("shop@mask.example"), Address.parse("me@example.org")


class Taken(Injector):
    """A queue that takes everything."""

    def __init__(self) -> None:
        self.bodies: list[str] = []

    def send(self, bodies: Sequence[str]) -> list[str | None]:
        self.bodies += bodies
        return [None for _ in bodies]


def test_held_chosen_released_discarded(database: Database, clock: VirtualClock) -> None:
    """One for a mailbox and one for a whole mail: listed, let go, free in the ledger, and gone from the list."""
    add_mask(database, SHOP, [BOX])
    mask = SqlDirectory(database).lookup(SHOP)
    assert isinstance(mask, Mask)
    ledger, concern = SqlLedger(database), Concern("forward", mask.mask_id, mask.owner.owner_id)
    keys = [DeliveryKey("m1", SHOP.full, BOX.full), DeliveryKey("m2", SHOP.full)]
    for key in keys:
        ledger.discarded(key, "bounce_pause", message_id="s", concern=concern, held=Held("{}", "Bob", "hi"))
        clock.sleep(10)
    choice = Choice(owner=BOX.full, mask=SHOP, reason="bounce_pause", since=clock.time() - 60, limit=5)
    entries = choose(database, choice)
    assert [entry.mail_id for entry in entries] == ["m2", "m1"]
    assert notification_of(database, entries[0]) == "{}"
    assert isinstance(ledger.claim(keys[0], concern, message_id="t", ttl=60, trace=None), Settled)
    queue = Taken()
    results = list(release(database, queue, [b"secret"], entries))
    assert [result.outcome for result in results] == ["released", "released"]
    assert len(queue.bodies) == 2
    assert isinstance(ledger.claim(keys[0], concern, message_id="t", ttl=60, trace=None), Claim)
    assert choose(database, choice) == []
    released = choose(database, Choice(released=True))
    assert [entry.released_at for entry in released] == [clock.time()] * 2
    assert discard(database, [entry.quarantine_id for entry in released]) == 2
    assert choose(database, Choice(released=True)) == []
