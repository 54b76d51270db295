"""The masks that the sandbox begins with, put into the daemon's database before it starts."""

from contextlib import suppress

from relayd.adapters.database import connect, upgrade
from relayd.model.address import Address
from relayd.ops.mask_entries import RefusedError
from relayd.ops.masks import add_mask
from relayd.sandbox.world import MASKS


def add_masks(database_url: str) -> None:
    """Add those that are not there yet."""
    database = connect(database_url, pool_size=1)
    try:
        upgrade(database)
        for mask in MASKS:
            # Refused: a folder from before, in which the user has changed it. Theirs counts.
            with suppress(RefusedError):
                add_mask(
                    database,
                    Address.parse(mask.address),
                    [Address.parse(mailbox) for mailbox in mask.mailboxes],
                    owner=mask.owner,
                    enabled=mask.enabled,
                    owner_active=mask.owner_active,
                    spam_handling=mask.spam_handling,
                )
    finally:
        database.close()
