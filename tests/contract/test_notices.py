"""What the notices' book promises, the fake, SQLite and PostgreSQL alike."""

from dataclasses import replace
from functools import partial

import pytest

from relayd.adapters.database import Database
from relayd.adapters.notices import SqlNotices
from relayd.model.notice import NOTICE_KINDS, OwnerNotice, PendingNotice
from tests.contract.races import race
from tests.contract.stores import SqlStores, Stores
from tests.fakes.clock import VirtualClock

FACTS = {"mask": "shop@mask.example", "subject": "Your order \u2713"}
HOUR = 3600.0


def owner(stores: Stores, *mailboxes: str, clock: VirtualClock | None = None, **traits: str) -> str:
    """An owner with these mailboxes, which came in this order."""
    boxes = mailboxes or ("me@example.org",)
    for count in range(1, len(boxes) + 1):
        mask = stores.directory.add(f"{boxes[0].partition('@')[0]}{count}@mask.example", *boxes[:count], **traits)
        if clock:
            clock.sleep(1)
    return mask.owner.owner_id


def waiting(stores: Stores) -> list[PendingNotice]:
    return stores.notices.waiting(100)


def test_a_notice_waits_with_what_is_needed_to_write_it(stores: Stores, clock: VirtualClock) -> None:
    """What it says, how old it is, the owner's language and where it goes."""
    owner_id = owner(stores, language="de")
    notice = OwnerNotice(owner_id, "mail_refused", FACTS)
    clock.sleep(50)
    stores.notices.tell(notice)
    clock.sleep(100)
    [pending] = waiting(stores)
    assert (pending.notice, pending.language, pending.mailbox) == (notice, "de", "me@example.org")
    assert pending.age == pytest.approx(100, abs=1e-3)
    assert waiting(stores) == [pending], "looking at it does not end it"


def test_one_of_a_kind_a_day(stores: Stores, clock: VirtualClock) -> None:
    """The first one counts; after midnight, UTC, there is another one, though the first was never sent."""
    owner_id = owner(stores)
    clock.sleep(86_400 - clock.time() % 86_400 - 10)
    for subject in ("first", "second"):
        stores.notices.tell(OwnerNotice(owner_id, "mail_refused", {"subject": subject}))
    assert [pending.notice.facts["subject"] for pending in waiting(stores)] == ["first"]
    clock.sleep(11)
    for subject in ("third", "fourth"):
        stores.notices.tell(OwnerNotice(owner_id, "mail_refused", {"subject": subject}))
    assert [pending.notice.facts["subject"] for pending in waiting(stores)] == ["first", "third"]


def test_a_notice_that_was_sent_is_the_day_s(stores: Stores, clock: VirtualClock) -> None:
    """Having ended, it still stands for its kind until midnight."""
    owner_id = owner(stores)
    clock.sleep(86_400 - clock.time() % 86_400)
    stores.notices.tell(OwnerNotice(owner_id, "mail_refused"))
    stores.notices.ended(waiting(stores)[0].notice_id, "sent")
    clock.sleep(23 * HOUR)
    stores.notices.tell(OwnerNotice(owner_id, "mail_refused"))
    assert waiting(stores) == []
    clock.sleep(HOUR)
    stores.notices.tell(OwnerNotice(owner_id, "mail_refused"))
    assert len(waiting(stores)) == 1


def test_other_kinds_and_other_owners_have_their_own(stores: Stores) -> None:
    """Every kind may come on one day, to everybody."""
    owners = [owner(stores), owner(stores, "other@example.org")]
    for kind in NOTICE_KINDS:
        for owner_id in owners:
            stores.notices.tell(OwnerNotice(owner_id, kind))
    told = {(pending.notice.owner_id, pending.notice.kind) for pending in waiting(stores)}
    assert told == {(owner_id, kind) for kind in NOTICE_KINDS for owner_id in owners}


def test_the_oldest_comes_first(stores: Stores, clock: VirtualClock) -> None:
    """So many at once as are asked for, several mailboxes of an owner or not."""
    owners = [owner(stores, "a@example.org", "b@example.org"), owner(stores, "c@example.org", "d@example.org")]
    told = [(owner_id, kind) for kind in NOTICE_KINDS for owner_id in owners]
    for owner_id, kind in told:
        stores.notices.tell(OwnerNotice(owner_id, kind))
        clock.sleep(1)
    found = [(pending.notice.owner_id, pending.notice.kind) for pending in stores.notices.waiting(5)]
    assert found == told[:5]
    for pending in stores.notices.waiting(3):
        stores.notices.ended(pending.notice_id, "sent")
    found = [(pending.notice.owner_id, pending.notice.kind) for pending in stores.notices.waiting(5)]
    assert found == told[3:8]
    assert stores.notices.waiting(0) == []


def test_those_that_cannot_be_sent_do_not_take_up_the_limit(stores: Stores, clock: VirtualClock) -> None:
    """They wait for days, one for each owner whose only mailbox has gone; who can be told is told before."""
    for number in range(5):
        gone = owner(stores, f"gone{number}@example.org")
        stores.directory.pause(f"gone{number}@example.org", "hard", clock.time() + HOUR)
        stores.notices.tell(OwnerNotice(gone, "mail_refused"))
        clock.sleep(1)
    well = owner(stores, "well@example.org")
    stores.notices.tell(OwnerNotice(well, "mail_refused"))
    assert [pending.notice.owner_id for pending in stores.notices.waiting(2)][-1] == well
    assert len(stores.notices.waiting(2)) == 2
    assert len(waiting(stores)) == 6


def test_who_cannot_be_told_keeps_nobody_waiting(stores: Stores, clock: VirtualClock) -> None:
    """Notices that have nowhere to go wait for days, and do not take up what is looked at."""
    lonely = [owner(stores, f"lonely{number}@example.org") for number in range(3)]
    for number, owner_id in enumerate(lonely):
        stores.directory.pause(f"lonely{number}@example.org", "hard", clock.time() + HOUR)
        stores.notices.tell(OwnerNotice(owner_id, "mailbox_paused"))
        clock.sleep(1)
    reachable = owner(stores)
    stores.notices.tell(OwnerNotice(reachable, "mail_refused"))
    assert [pending.notice.owner_id for pending in stores.notices.waiting(2)] == [lonely[0], reachable]
    clock.sleep(HOUR)
    assert [pending.notice.owner_id for pending in stores.notices.waiting(2)] == lonely[:2]


def test_it_goes_to_the_first_mailbox_that_can_take_it(stores: Stores, clock: VirtualClock) -> None:
    """One that is verified, not paused now, and not the one that it is about."""
    owner_id = owner(stores, "a@example.org", "b@example.org", "c@example.org", clock=clock)
    owner(stores, "other@example.org")
    stores.notices.tell(OwnerNotice(owner_id, "mail_refused"))

    def goes_to() -> str | None:
        return waiting(stores)[0].mailbox

    assert goes_to() == "a@example.org"
    stores.directory.set_verified("a@example.org", False)
    assert goes_to() == "b@example.org"
    stores.directory.pause("b@example.org", "soft", clock.time() + HOUR)
    assert goes_to() == "c@example.org"
    stores.directory.pause("c@example.org", "hard", clock.time() + 2 * HOUR)
    assert goes_to() is None
    clock.sleep(HOUR)
    assert goes_to() == "b@example.org"


def test_it_does_not_go_to_the_mailbox_that_it_is_about(stores: Stores, clock: VirtualClock) -> None:
    """Even where the directory does not know of the pause yet, or no more."""
    owner_id = owner(stores, "a@example.org", "b@example.org", clock=clock)
    lonely = owner(stores, "lonely@example.org")
    stores.notices.tell(OwnerNotice(owner_id, "mailbox_paused", {"mailbox": "a@example.org"}))
    clock.sleep(1)
    stores.notices.tell(OwnerNotice(lonely, "mailbox_paused", {"mailbox": "lonely@example.org"}))
    assert [pending.mailbox for pending in waiting(stores)] == ["b@example.org", None]


def test_what_was_told_is_forgotten(stores: Stores) -> None:
    """Ended, a notice waits no more; what another one says is kept. An unknown one is no error."""
    owner_id = owner(stores)
    stores.notices.tell(OwnerNotice(owner_id, "mail_refused", FACTS))
    stores.notices.tell(OwnerNotice(owner_id, "reply_leak", FACTS))
    ended, kept = waiting(stores)
    stores.notices.ended(ended.notice_id, "sent")
    stores.notices.ended("unknown", "sent")
    assert waiting(stores) == [kept]


def test_a_notice_for_nobody_never_comes(stores: Stores) -> None:
    """The owner was erased meanwhile."""
    stores.notices.tell(OwnerNotice("gone", "mail_refused"))
    assert waiting(stores) == []


def test_whatever_strangers_wrote_is_told(stores: Stores) -> None:
    """NUL, broken Unicode and a subject of kilobytes are no errors."""
    odd = {"subject": "nul\0 lone\udc80 " + "x" * 5000, "sender": "\u202e@x"}
    stores.notices.tell(OwnerNotice(owner(stores), "mail_refused", odd))
    [pending] = waiting(stores)
    assert pending.notice.facts["subject"].startswith("nul")
    assert pending.notice.facts["sender"] == odd["sender"]


def test_nothing_private_stays_in_an_ended_notice(database: Database) -> None:
    """The row does, for the day's sake; what it named does not."""
    stores = SqlStores(database)
    stores.notices.tell(OwnerNotice(owner(stores), "mail_refused", FACTS))
    stores.notices.ended(waiting(stores)[0].notice_id, "sent")
    with database.reading() as connection:
        row = connection.exec_driver_sql("SELECT facts, outcome FROM notices").one()
    assert tuple(row) == ("{}", "sent")


def test_a_race_of_notices_leaves_one(database: Database) -> None:
    """Eight workers find the same thing out at once."""
    stores = SqlStores(database)
    notice = OwnerNotice(owner(stores), "mail_refused", FACTS)
    answers = race([partial(SqlNotices(database).tell, replace(notice, facts={"size": str(n)})) for n in range(8)])
    assert answers == [None] * 8
    assert len(waiting(stores)) == 1


def test_some_owners_may_be_left_out(stores: Stores) -> None:
    """Operators hold their mail back: their notices wait, and do not take up the limit."""
    held, well = owner(stores, "held@example.org"), owner(stores, "well@example.org")
    for owner_id in (held, well):
        for kind in ("mail_refused", "reply_leak"):
            stores.notices.tell(OwnerNotice(owner_id, kind))
    assert [pending.notice.owner_id for pending in stores.notices.waiting(2, without={held})] == [well, well]
    assert stores.notices.waiting(2, without={held, well}) == []
    assert len(stores.notices.waiting(9, without={"nobody"})) == 4
