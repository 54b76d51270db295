"""The outside correspondents of a mask, and the addresses under which its owner writes to them."""

from dataclasses import dataclass

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.schema import contacts
from relayd.model.address import Address
from relayd.ops.masks import live_mask


@dataclass(frozen=True, slots=True)
class ContactView:
    """A correspondent of a mask. The names are the keys of the JSON."""

    contact_id: str
    address: str
    """Empty for the one that stands for all mail without a readable sender."""
    write_to: str
    """What the owner writes to, so that the correspondent gets the mail from the mask."""
    created_at: float


def contact(database: Database, mask: Address, address: Address) -> tuple[ContactView, bool]:
    """The mask's contact for this address, made where there was none (True). Raises RefusedError when it is no mask."""
    with database.reading() as connection:
        mask_id = live_mask(connection, mask).mask_id
        ours = (contacts.c.mask_id == mask_id) & (contacts.c.address == address.full)
        known = connection.execute(sa.select(contacts.c.contact_id).where(ours)).first() is not None
    SqlDirectory(database).contact(mask_id, address)
    with database.reading() as connection:
        (view,) = _views(connection, mask, ours)
    return view, not known


def contacts_of(database: Database, mask: Address) -> list[ContactView]:
    """All contacts of a mask, in order of address. Raises RefusedError when it is no mask."""
    with database.reading() as connection:
        return _views(connection, mask, contacts.c.mask_id == live_mask(connection, mask).mask_id)


def _views(connection: sa.Connection, mask: Address, which: sa.ColumnElement[bool]) -> list[ContactView]:
    return [
        ContactView(one.contact_id, one.address, f"{one.token}@{mask.domain}", one.created_at)
        for one in connection.execute(sa.select(contacts).where(which).order_by(contacts.c.address))
    ]
