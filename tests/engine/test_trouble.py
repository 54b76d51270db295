"""One message's trouble stays its own: it ends as it should, and holds nobody else up. Fakes, virtual time."""

from itertools import pairwise

import pytest

from relayd.errors import HoldError, PermanentError, TransientError
from tests.engine.faults import DATABASE_AWAY, after, before, failing
from tests.engine.world import World, notification

LOOPING = b"".join(b"Received: from a by b; Fri, 2 Jan 2026 03:04:05 +0000\r\n" for _ in range(40))


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("bad", [3, 10, 30])
def test_mail_to_one_bad_mailbox_never_holds_up_the_rest(bad: int, seed: int) -> None:
    """However many mails SES refuses for one mailbox, mail to another waits less than a minute."""
    world = World(seed=seed)
    world.directory.add("bad@mask.example", "bad@owner.example")
    unverified = HoldError("ses", "ses_address_not_verified", wide=False)
    world.mailer.fail_with(unverified, recipient="bad@owner.example", times=1_000_000)
    for number in range(bad):
        world.store.put(f"in/bad-{number}", b"From: a@b.example\r\n\r\nx\r\n")
        world.queue.publish(notification(f"bad-{number}", ["bad@mask.example"]), delay=number * 20.0)
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(bad * 20 + 400)
    world.mail("good")
    assert world.until(lambda: world.sent_mail_ids() == ["me@owner.example"], within=60)
    assert not daemon.governor.held()
    assert daemon.stop()


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("bad", [3, 10, 30])
def test_bad_mailboxes_never_hold_up_the_rest(bad: int, seed: int) -> None:
    """Distinct bad mailboxes may look like an outage once; while others get their mail it waits less than a minute."""
    world = World(seed=seed)
    unverified = HoldError("ses", "ses_address_not_verified", wide=False)
    for number in range(bad):
        world.directory.add(f"bad-{number}@mask.example", f"bad-{number}@owner.example")
        world.mailer.fail_with(unverified, recipient=f"bad-{number}@owner.example", times=1_000_000)
        world.mail(f"bad-{number}", body=notification(f"bad-{number}", [f"bad-{number}@mask.example"]))
    daemon = world.daemon()
    daemon.start()
    waits = []
    for number in range(12):
        world.clock.sleep(300)
        began = world.clock.monotonic()
        world.mail(f"good-{number}")
        assert world.until(lambda: len(world.mailer.sent) > number)  # noqa: B023 - asked at once
        waits.append(world.clock.monotonic() - began)
    assert daemon.stop()
    assert max(waits[1:]) < 60


def test_a_permanent_failure_while_the_ledger_fails_leaks_nothing() -> None:
    """It cannot be written down now: every message goes back, the database is held, and each ends later on."""
    world = World(concurrency=4, wait=2)
    outage = [DATABASE_AWAY]

    def too_large() -> None:
        # The database goes away while the fetch is under way.
        world.ledger.fail_with = outage[0] if outage else None
        raise PermanentError("too_large")

    before(world.store, "fetch", too_large)
    world.mails(4)
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(3)
    assert daemon.governor.held() == {"database": "database_unavailable"}
    assert daemon.in_flight() == 0
    assert len(world.queue.left) == 4
    outage.clear()
    world.ledger.fail_with = None
    assert world.until(lambda: not world.queue.left)
    assert [letter.reason for letter in world.queue.dead_letters] == ["too_large"] * 4
    assert daemon.in_flight() == 0
    assert world.health.live(world.clock.monotonic())[0]
    assert daemon.stop()


def test_a_bug_in_dead_lettering_leaks_no_lease() -> None:
    """An exception that nobody foresaw, outside of the route: extended no more, the message comes back and ends."""
    world = World(concurrency=2, wait=2)
    before(world.queue, "dead_letter", failing(RuntimeError("a bug in the adapter"), times=2))
    world.queue.publish("not json")
    world.queue.publish("nor this")
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(5)
    assert daemon.in_flight() == 0
    assert world.until(lambda: not world.queue.left, within=100)
    world.clock.sleep(200)
    assert len(world.queue.dead_letters) == 2
    assert daemon.in_flight() == 0
    assert world.health.live(world.clock.monotonic())[0]
    assert daemon.stop()


def test_a_bug_beside_a_transient_failure_gets_ten_tries() -> None:
    """Another delivery that fails transiently does not let the bug be tried for a day; and both back off."""
    world = World(retry_hours=24)
    world.directory.add("team@mask.example", "a@owner.example")
    buggy = world.directory.add("other@mask.example", "c@owner.example")
    world.mailer.fail_with(TransientError("ses_unavailable"), recipient="a@owner.example", times=1_000_000)
    contact = world.directory.contact
    tries: list[float] = []

    def broken(mask_id, sender):  # type: ignore[no-untyped-def]
        if mask_id == buggy.mask_id:
            tries.append(world.clock.monotonic())
            raise ZeroDivisionError
        return contact(mask_id, sender)

    world.directory.contact = broken  # type: ignore[method-assign]
    world.mail("odd", body=notification("odd", ["team@mask.example", "other@mask.example"]))
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(6 * 3600)
    assert daemon.stop()
    assert len(tries) == 10
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert all(later > earlier * 1.5 for earlier, later in pairwise(gaps[:7])), "it backs off"
    assert [row.reason for row in world.ledger.rows.values() if row.mask_id == buggy.mask_id] == ["bug"]


@pytest.mark.parametrize("seconds", [62.0, 70.0, 100.0])
def test_a_fetch_longer_than_a_lease_is_no_death_to_an_sns_twin(seconds: float) -> None:
    """A claim lasts as long as its message may be worked on, so the twin finds it alive: sent once, nobody killed."""
    world = World(visibility=60, deadline=300)
    world.store.latency = seconds
    world.mail("slow")
    world.queue.publish(notification("slow"))
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert len(world.mailer.sent) == 1
    assert not world.queue.dead_letters
    assert [row.kills for row in world.ledger.rows.values()] == [0]


def test_many_slow_deliveries_of_one_mail_are_no_deaths_either() -> None:
    """Twenty recipients at six seconds each, told twice by SNS: the last one's claim is still alive at its turn."""
    world = World()
    world.mailer.latency = 6.0
    masks = [f"mask-{number}@mask.example" for number in range(20)]
    for number, mask in enumerate(masks):
        world.directory.add(mask, f"owner-{number}@owner.example")
    world.mail("many", body=notification("many", masks))
    world.queue.publish(notification("many", masks))
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert len(set(world.sent_mail_ids())) == len(world.mailer.sent) == 20
    assert {row.kills for row in world.ledger.rows.values()} == {0}


@pytest.mark.parametrize("seconds", [25.0, 45.0, 55.0])
def test_one_throttled_extension_at_the_fence_does_not_lose_the_message(seconds: float) -> None:
    """The lease is still ours while the call that would extend it is tried again."""
    world = World(visibility=60, deadline=300)
    world.store.latency = seconds
    # After the fetch, so that it is the fence's own extension that fails.
    after(
        world.store,
        "fetch",
        lambda: world.queue.fail_calls("change_visibility", TransientError("queue_throttled"), times=1),
    )
    message_id = world.mail("slow")
    daemon = world.daemon()
    daemon.start()
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert world.queue.receive_count(message_id) == 1
    assert len(world.mailer.sent) == 1


def test_failing_extensions_are_no_storm() -> None:
    """The nearer the lease's end, the sooner the next try; but never by the hundred."""
    world = World(visibility=60, deadline=300)
    world.store.latency = 100.0
    tries: list[float] = []

    def throttled(changes):  # type: ignore[no-untyped-def]
        world.clock.sleep(0.002)
        tries.append(world.clock.monotonic())
        raise TransientError("queue_throttled")

    world.queue.change_visibility = throttled  # type: ignore[method-assign]
    world.mail("slow")
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(60.5)
    assert 3 <= len(tries) < 30
    assert len([at for at in tries if at > 59]) < 10


def test_a_claim_lost_to_another_leaves_the_message_s_other_claims() -> None:
    """Policy refuses a whole mail after the fetch, and one of its claims is somebody else's: the other is recorded."""
    world = World()
    world.directory.add("team@mask.example", "a@owner.example", "b@owner.example")
    taken: list[str] = []

    def take_one() -> None:
        if not taken:
            row = next(iter(world.ledger.rows.values()))
            row.token = "somebody-else"
            taken.append(row.delivery_id)

    before(world.ledger, "refused", take_one)
    looping = notification("loop", ["team@mask.example"], truncated=True)
    world.mail("loop", LOOPING + b"From: a@b.example\r\n\r\nx\r\n", looping)
    daemon = world.daemon()
    daemon.start()
    world.clock.sleep(10)
    assert [(row.state, row.reason) for row in world.ledger.rows.values() if row.delivery_id not in taken] == [
        ("discarded", "loop")
    ]
    assert world.until(lambda: not world.queue.left)
    assert daemon.stop()
    assert {row.state for row in world.ledger.rows.values()} == {"discarded"}
    assert [row.kills for row in world.ledger.rows.values() if row.delivery_id not in taken] == [0]
    assert not world.mailer.sent
