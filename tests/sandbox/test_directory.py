"""The sandbox's masks in the daemon's database: all of them at first, and never over what the user did since."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relayd.adapters.database import Database, connect
from relayd.adapters.directory import SqlDirectory
from relayd.model.address import Address
from relayd.model.mask import Mask, Screening, TokenRecipient, UnknownRecipient
from relayd.ops.mailboxes import set_verified
from relayd.ops.masks import list_masks, remove_masks, set_enabled
from relayd.sandbox.directory import add_masks, end_pause, is_paused, reply_address
from relayd.sandbox.masks import CLEAN, LOST, MASKS, OFF, PAIR, PICKY, POST, RULE, SHOP, WING


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = connect(f"sqlite:///{tmp_path / 'relayd.sqlite'}", pool_size=1)
    add_masks(database)
    yield database
    database.close()


def mask(database: Database, address: str) -> Mask:
    found = SqlDirectory(database).lookup(Address.parse(address))
    assert isinstance(found, Mask)
    return found


def test_every_mask_is_as_it_is_told(database: Database) -> None:
    """What the screen and the samples say of the masks is what the daemon finds."""
    assert {view.address for view in list_masks(database)} == {one.address for one in MASKS}
    for one in MASKS:
        found = mask(database, one.address)
        assert (found.enabled, found.owner.active, found.banner) == (one.enabled, one.owner_active, one.banner)
        assert (found.block_lists, found.remove_trackers) == (one.block_lists, one.remove_trackers)
        assert (found.display_name, found.owner.language) == (one.display_name, one.language)
        verified = tuple(box.address.full for box in found.mailboxes if box.verified)
        assert verified == one.reached
    assert mask(database, CLEAN.address).remove_trackers
    assert mask(database, POST.address).owner.language == "de"
    assert mask(database, f"whatever@{RULE.domain}").rule_id is not None
    senders = [Address.parse("news@pushy.example")]
    assert SqlDirectory(database).screen(mask(database, PICKY.address), senders) == Screening(blocked=True)


def test_what_the_user_changed_stays(database: Database) -> None:
    """A folder from before: switched, verified and removed masks stay so."""
    set_enabled(database, [Address.parse(OFF.address)], True)
    set_verified(database, PAIR.owner, Address.parse(PAIR.unverified[0]), verified=True)
    remove_masks(database, [Address.parse(CLEAN.address)])
    add_masks(database)
    assert mask(database, OFF.address).enabled
    assert all(box.verified for box in mask(database, PAIR.address).mailboxes)
    assert SqlDirectory(database).lookup(Address.parse(CLEAN.address)) == UnknownRecipient()


def test_a_reply_address_is_one_contact(database: Database) -> None:
    """The same each time, and the daemon knows whose it is."""
    address = reply_address(database, SHOP, "clerk@bureau.example")
    assert reply_address(database, SHOP, "clerk@bureau.example") == address
    found = SqlDirectory(database).lookup(Address.parse(address))
    assert isinstance(found, TokenRecipient)
    assert found.contact.address == Address.parse("clerk@bureau.example")


def test_a_pause_is_seen_and_ended(database: Database) -> None:
    """As a bounce brings it about; a mailbox that is nobody's any more is passed over."""
    assert not is_paused(database, LOST)
    with database.writing() as connection:
        connection.exec_driver_sql(
            "UPDATE mailboxes SET pause = 'hard', paused_until = 1e12, bounces = 1 WHERE address = ?", (LOST,)
        )
    assert is_paused(database, LOST)
    end_pause(database, WING.owner, LOST)
    assert not is_paused(database, LOST)
    end_pause(database, WING.owner, "nobody@home.example")
    assert not is_paused(database, "nobody@home.example")
