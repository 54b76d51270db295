"""What every ledger promises of old rows: what nobody asks about any more goes, and counts stay."""

from dataclasses import replace

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import feedback, notices, quarantine, usage
from relayd.model.delivery import Draft, Held, Settled
from relayd.model.feedback import Feedback, NoteComplaint
from relayd.model.notice import OwnerNotice
from tests.contract.deliveries import CONCERN, KEY, ask, send, take
from tests.contract.stores import SqlStores, Stores
from tests.fakes.clock import VirtualClock
from tests.fakes.usage import Counts

DAY = 86_400


def test_old_deliveries_are_forgotten(stores: Stores, clock: VirtualClock) -> None:
    """What nothing happened to for 60 days goes; what was touched since stays, however long ago it came."""
    ledger = stores.ledger
    send(ledger)
    kept = replace(KEY, mail_id="mail-2")
    ledger.failed(take(ledger, kept), "refused", message_id="m1")
    ledger.charge("m1", bug=False)
    clock.sleep(59 * DAY)
    assert ledger.prune() == 0
    ledger.sent(take(ledger, kept, message="replay"), "ses-2")
    clock.sleep(2 * DAY)
    assert ledger.prune() == 1
    assert ask(ledger, kept) == Settled("sent", "sent")
    assert take(ledger).attempt == 1
    assert ledger.charge("m1", bug=False).failures == 1


def test_old_quarantine_is_forgotten(stores: Stores, clock: VirtualClock) -> None:
    """S3 has forgotten the mail long before."""
    old, new = replace(KEY, mailbox=""), replace(KEY, mail_id="mail-2", mailbox="")
    stores.ledger.discarded(old, "spam", message_id="m1", concern=CONCERN, held=Held("{}"))
    clock.sleep(50 * DAY)
    stores.ledger.discarded(new, "spam", message_id="m2", concern=CONCERN, held=Held("{}"))
    clock.sleep(11 * DAY)
    stores.ledger.prune()
    assert [one.key for one in stores.quarantine()] == [new]


def test_usage_outlives_its_mail(stores: Stores, clock: VirtualClock) -> None:
    """A mask's counts are of all of its time, and pruning twice counts nothing twice."""
    for number in range(3):
        send(stores.ledger, replace(KEY, mail_id=f"mail-{number}"), draft=Draft(100, None, 2))
        clock.sleep(40 * DAY)
        stores.ledger.prune()
        stores.ledger.prune()
    stores.ledger.discarded(replace(KEY, mail_id="late"), "spam", message_id="m1", concern=CONCERN)
    assert stores.counted("mask1") == Counts("owner1", mails=3, bytes=300, discards=1, trackers=6)


def test_every_book_is_pruned(database: Database, clock: VirtualClock) -> None:
    """What SNS may deliver twice and what owners were told goes at the age of deliveries, and no sooner."""
    stores = SqlStores(database)
    owner_id = stores.directory.add("shop@mask.example").owner.owner_id
    effects = [NoteComplaint(owner_id, 1.0)]
    event = Feedback("complaint", "event-1", "ses-1")
    stores.feedbacks.apply(event, effects)
    stores.notices.tell(OwnerNotice(owner_id, "mask_disabled"))
    stores.ledger.discarded(KEY, "spam", message_id="m1", concern=CONCERN, held=Held("{}"))
    clock.sleep(59 * DAY)
    stores.ledger.prune()
    assert rows(database) == {"feedback": 1, "notices": 1, "quarantine": 1}
    assert not stores.feedbacks.apply(event, effects)
    clock.sleep(2 * DAY)
    stores.ledger.prune()
    assert rows(database) == {"feedback": 0, "notices": 0, "quarantine": 0}
    assert stores.directory.contact(stores.directory.add("shop@mask.example").mask_id, None), "the directory stays"


def test_old_days_of_usage_become_one(database: Database, clock: VirtualClock) -> None:
    """Three masks for two months of days: 36 of them stay, the others are folded together."""
    stores = SqlStores(database)
    for day in range(60):
        for mask in range(3):
            key = replace(KEY, mail_id=f"mail-{mask}-{day}")
            send(stores.ledger, key, replace(CONCERN, mask_id=f"mask{mask}"), draft=Draft(10))
        clock.sleep(DAY)
    for _ in range(2):
        stores.ledger.prune()
        with database.reading() as connection:
            by_mask = connection.execute(
                sa.select(sa.func.count(), sa.func.min(usage.c.day), sa.func.max(usage.c.mails)).group_by(
                    usage.c.mask_id
                )
            ).all()
        assert [tuple(row) for row in by_mask] == [(36, 0, 25)] * 3
        assert stores.counted("mask0") == Counts("owner1", mails=60, bytes=600)


def rows(database: Database) -> dict[str, int]:
    with database.reading() as connection:
        return {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in (feedback, notices, quarantine)
        }
