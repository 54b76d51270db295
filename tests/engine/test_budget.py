"""Large mail with a small memory budget: never beyond it, and everything goes in the end. Virtual time."""

from collections import Counter

import pytest

from relayd.runtime.memory import PER_BYTE
from tests.engine.outage import arrive, drain
from tests.engine.world import MAIL, World

MEGABYTE = 1_000_000
LARGE = MAIL + b"x" * MEGABYTE
MIDDLE = MAIL + b"x" * (MEGABYTE // 4)


def watched(world: World) -> list[int]:
    """What is reserved whenever a fetch or a send ends."""
    seen: list[int] = []
    fetch, send = world.store.fetch, world.mailer.send

    def fetching(content, admit):  # type: ignore[no-untyped-def]
        data = fetch(content, admit)
        seen.append(world.memory.reserved)
        return data

    def sending(mail):  # type: ignore[no-untyped-def]
        seen.append(world.memory.reserved)
        return send(mail)

    world.store.fetch = fetching  # type: ignore[method-assign]
    world.mailer.send = sending  # type: ignore[method-assign]
    return seen


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_large_mails_wait_for_one_another(seed: int) -> None:
    """There is memory for two of sixteen: all are forwarded, once, with what they reserve within the budget."""
    world = World(seed=seed, concurrency=16, memory_budget=2 * PER_BYTE * len(LARGE) + 1000)
    world.mailer.latency = 1.0
    seen = watched(world)
    arrive(world, 60, lambda _: LARGE)
    daemon = world.daemon()
    daemon.start()
    assert drain(world, 600)
    assert daemon.stop()
    assert len(world.mailer.sent) == 60
    assert PER_BYTE * len(LARGE) < max(seen) <= world.memory_budget
    assert world.memory.reserved == 0
    assert world.ledger.calls.count("charge") == 0
    assert not world.queue.dead_letters


def test_one_that_has_no_memory_closes_its_connection() -> None:
    """It does not keep the body's connection open while it waits; it gets the mail again when it is its turn."""
    world = World(concurrency=4, memory_budget=PER_BYTE * len(LARGE))
    world.mailer.latency = 5.0
    arrive(world, 4, lambda _: LARGE)
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(2)
    assert world.store.open_fetches == 0
    assert [fetch.error for fetch in world.store.fetches].count("memory_full") == 3
    assert drain(world, 60)
    assert len(world.mailer.sent) == 4
    assert all(world.queue.receive_count(published.message_id) == 1 for published in world.queue.published)
    assert daemon.stop()


def test_small_mail_goes_on_beside_large_mail_that_waits() -> None:
    """As long as slots are free: it takes no memory worth counting."""
    world = World(concurrency=8, memory_budget=PER_BYTE * len(LARGE))
    world.mailer.latency = lambda mail: 20.0 if len(mail.data) > MEGABYTE else 0.06
    arrive(world, 4, lambda _: LARGE)
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(1)
    for number in range(50):
        world.mail(f"small-{number}")
    world.clock.sleep(5)
    assert len(world.mailer.sent) == 50
    assert drain(world, 200)
    assert daemon.stop()


def test_a_mail_that_takes_more_than_there_is_goes_alone() -> None:
    """It waits until nothing else is reserved, however many others come, and nothing is reserved beside it."""
    world = World(concurrency=8, memory_budget=PER_BYTE * len(MIDDLE) * 3)
    huge = MAIL + b"x" * (3 * MEGABYTE)
    world.mailer.latency = 1.0
    seen = watched(world)
    arrive(world, 80, lambda number: huge if number == 20 else MIDDLE)
    daemon = world.daemon()
    daemon.start()
    assert drain(world, 300)
    assert daemon.stop()
    sizes = [len(send.mail.data) > MEGABYTE for send in world.mailer.sent]
    assert len(sizes) == 81 - 1
    assert sizes.index(True) < 40
    assert max(seen) <= world.memory_budget


def test_who_waits_too_long_comes_back_uncharged() -> None:
    """The one with the memory takes minutes: the others leave in time for their lease, and use few receives."""
    world = World(concurrency=4, deadline=120, memory_budget=PER_BYTE * len(LARGE))
    world.store.latency = lambda content: 100.0 if content.key == "in/mail-0" else 0.02
    ids = arrive(world, 4, lambda _: LARGE)
    daemon = world.daemon()
    daemon.start()
    assert drain(world, 1200)
    assert daemon.stop()
    assert len(world.mailer.sent) == 4
    assert world.ledger.calls.count("charge") == 0
    assert max(world.queue.receive_count(message_id) for message_id in ids) <= 3


@pytest.mark.parametrize("grace", [10.0, 50.0])
def test_a_stop_does_not_wait_for_memory(grace: float) -> None:
    """Those that wait give their claim back and come back soon; only what has the memory is still worked on."""
    world = World(concurrency=4, wait=1, grace=grace, deadline=3600, visibility=60, memory_budget=PER_BYTE * len(LARGE))
    world.mailer.latency = 1e4
    ids = arrive(world, 4, lambda _: LARGE)
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(20)
    began = world.clock.monotonic()
    daemon.stop()
    assert world.clock.monotonic() - began <= grace
    assert sum(world.queue.visible_at(message_id) <= world.clock.monotonic() + 31 for message_id in ids) == 3
    assert {row.kills for row in world.ledger.rows.values()} == {0}
    assert world.ledger.calls.count("give_back") == 3
    assert Counter(receive.message_id for receive in world.queue.receives) == dict.fromkeys(ids, 1)


def test_a_lease_that_is_lost_while_it_waits_is_not_settled() -> None:
    """Another daemon may have the message by then: what was waited for says nothing about it."""
    world = World(concurrency=3, deadline=600, memory_budget=PER_BYTE * len(LARGE))
    world.mailer.latency = 300.0
    world.mail("first", LARGE)
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(1)
    waits = world.mail("waits", LARGE)
    world.clock.sleep(10)
    # Its first extension and the first one's, whose own fate does not matter here.
    world.queue.fail_entries("change_visibility", times=2, code="ReceiptHandleIsInvalid", gone=True)
    [handle] = {receive.handle for receive in world.queue.receives if receive.message_id == waits}
    assert world.until(lambda: world.queue.receive_count(waits) == 2, within=120)
    assert [change.handle for change in world.queue.changes].count(handle) == 0
    assert handle not in {delete.handle for delete in world.queue.deletes}
