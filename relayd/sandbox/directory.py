"""The daemon's directory, as far as the sandbox writes and reads it: its masks, put there before the daemon starts."""

from contextlib import suppress

import sqlalchemy as sa

from relayd.adapters.database import Database, upgrade
from relayd.adapters.schema import mailboxes
from relayd.model.address import Address
from relayd.ops.contacts import contact
from relayd.ops.domain_rules import add_rule
from relayd.ops.mailboxes import set_verified, unpause
from relayd.ops.mask_entries import Entry, MaskTraits, RefusedError
from relayd.ops.masks import check_masks, put_mask
from relayd.ops.people import OwnerTraits
from relayd.ops.sender_lists import list_senders
from relayd.sandbox.masks import MASKS, RULE, SandboxMask


def add_masks(database: Database) -> None:
    """Add those that are not there yet."""
    upgrade(database)
    for mask in MASKS:
        # In a folder from before the user may have changed it, or removed it for good. Theirs counts.
        if not _is_there(database, mask):
            with suppress(RefusedError):
                _add(database, mask)
    with suppress(RefusedError):
        add_rule(database, RULE.domain, RULE.pattern, _parsed(RULE.mailboxes), owner=RULE.owner, limit=None)


def _is_there(database: Database, mask: SandboxMask) -> bool:
    try:
        check_masks(database, [Address.parse(mask.address)])
    except RefusedError:
        return False
    return True


def _add(database: Database, mask: SandboxMask) -> None:
    address = Address.parse(mask.address)
    traits = MaskTraits(mask.display_name, mask.block_lists, mask.banner, mask.remove_trackers)
    owner_traits = OwnerTraits(mask.owner_active, mask.spam_handling, "forward", mask.language)
    entry = Entry(address, _parsed(mask.mailboxes), mask.owner, mask.enabled, traits)
    put_mask(database, entry, owner_traits=owner_traits)
    for mailbox in _parsed(mask.unverified):
        set_verified(database, mask.owner, mailbox, verified=False)
    if mask.blocked:
        list_senders(database, address, mask.blocked, "block")


def reply_address(database: Database, mask: SandboxMask, correspondent: str) -> str:
    """What the mask's owner writes to, so that the correspondent gets the mail from the mask."""
    view, _ = contact(database, Address.parse(mask.address), Address.parse(correspondent))
    return view.write_to


def end_pause(database: Database, owner: str, mailbox: str) -> None:
    """Send to the mailbox again, if it is still the owner's."""
    with suppress(RefusedError):
        unpause(database, owner, Address.parse(mailbox))


def is_paused(database: Database, mailbox: str) -> bool:
    """Whether nothing is sent to the mailbox for now."""
    query = sa.select(mailboxes.c.paused_until > database.now).where(mailboxes.c.address == mailbox)
    with database.reading() as connection:
        return bool(connection.execute(query).scalar_one_or_none())


def _parsed(addresses: tuple[str, ...]) -> tuple[Address, ...]:
    return tuple(Address.parse(one) for one in addresses)
