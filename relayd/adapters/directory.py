"""The directory in the database: what an address is to us, answered in one query."""

import base64
import re
import secrets
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam

from relayd.adapters.database import Database
from relayd.adapters.schema import contacts, mailboxes, mask_mailboxes, masks, owners
from relayd.adapters.storable import storable
from relayd.errors import HoldError
from relayd.model.address import Address
from relayd.model.mask import Contact, Mailbox, Mask, Owner, Target, TokenRecipient, UnknownRecipient

TOKEN_LENGTH = 20
"""Base32 digits of 5 bits each: 100 random bits."""

_TOKEN = re.compile(rf"[a-z2-7]{{{TOKEN_LENGTH}}}")
_MASKS = (
    sa.select(
        masks.c.mask_id,
        masks.c.address,
        masks.c.enabled,
        owners.c.owner_id,
        owners.c.active,
        owners.c.flagged,
        owners.c.spam_handling,
        owners.c.dmarc_handling,
        mailboxes.c.mailbox_id,
        mailboxes.c.address.label("mailbox"),
    )
    .select_from(masks)
    .join(owners, owners.c.owner_id == masks.c.owner_id)
    .join(mask_mailboxes, mask_mailboxes.c.mask_id == masks.c.mask_id)
    .join(mailboxes, mailboxes.c.mailbox_id == mask_mailboxes.c.mailbox_id)
    .where(masks.c.removed_at.is_(None))
    .order_by(masks.c.address, mask_mailboxes.c.position)
)
_BY_ADDRESS = _MASKS.where(masks.c.address == bindparam("bare"))
# A local part that looks like a token may still be a mask's: both are asked for at once, and a mask sorts first.
_BY_TOKEN = (
    _MASKS.add_columns(contacts.c.contact_id, contacts.c.token, contacts.c.address.label("contact"))
    .outerjoin(contacts, sa.and_(contacts.c.mask_id == masks.c.mask_id, contacts.c.token == bindparam("token")))
    .where(
        sa.or_(
            masks.c.address == bindparam("bare"),
            masks.c.mask_id
            == sa.select(contacts.c.mask_id).where(contacts.c.token == bindparam("token")).scalar_subquery(),
        )
    )
)
_ANY = sa.select(masks.c.mask_id).limit(1)
_CONTACT = sa.select(contacts).where(contacts.c.mask_id == bindparam("mask"), contacts.c.address == bindparam("sender"))


class SqlDirectory:
    """`relayd.ports.Directory` on SQLAlchemy Core."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert_contact = database.insert(contacts).values(created_at=database.now).on_conflict_do_nothing()

    def lookup(self, address: Address) -> Target:
        """A mask, a contact's token, or unknown."""
        bare = storable(address.bare)
        with self._database.reading("lookup") as connection:
            if not _TOKEN.fullmatch(address.local):
                rows: Sequence[Any] = connection.execute(_BY_ADDRESS, {"bare": bare}).all()
            else:
                rows = connection.execute(_BY_TOKEN, {"bare": bare, "token": address.local}).all()
                rows = [row for row in rows if row.address == bare] or rows
                if rows and rows[0].address != bare:
                    mask = mask_of(rows)
                    return TokenRecipient(
                        _contact_of(rows[0].contact_id, mask.mask_id, rows[0].token, rows[0].contact), mask
                    )
            if rows:
                return mask_of(rows)
        if self.is_empty():
            # A wrong or restored database must not turn all mail into `unknown_mask`.
            raise HoldError("database", "directory_empty")
        return UnknownRecipient()

    def is_empty(self) -> bool:
        """Whether there never was a mask. Tombstones count: who removed the last mask meant it."""
        with self._database.reading("any_mask") as connection:
            return connection.execute(_ANY).first() is None

    def contact(self, mask_id: str, sender: Address | None) -> Contact:
        """The mask's contact for this correspondent, made on first sight."""
        # An address that cannot be stored cannot be answered either: it is as good as none.
        known = sender is not None and storable(sender.full) == sender.full
        wanted = {"mask": mask_id, "sender": sender.full if sender and known else ""}
        with self._database.reading("contact") as connection:
            row = connection.execute(_CONTACT, wanted).one_or_none()
        if row is None:
            # Two workers may meet the same stranger at once: one inserts, both read what was inserted.
            new = {"contact_id": secrets.token_hex(10), "token": _new_token(), "mask_id": mask_id}
            with self._database.writing("new_contact") as connection:
                connection.execute(self._insert_contact, new | {"address": wanted["sender"]})
                row = connection.execute(_CONTACT, wanted).one()
        return _contact_of(row.contact_id, row.mask_id, row.token, row.address)


def mask_of(rows: Sequence[Any]) -> Mask:
    """One mask out of its rows, one for each mailbox, in order."""
    first = rows[0]
    owner = Owner(first.owner_id, first.active, first.flagged, first.spam_handling, first.dmarc_handling)
    boxes = tuple(Mailbox(row.mailbox_id, Address.parse(row.mailbox)) for row in rows)
    return Mask(first.mask_id, Address.parse(first.address), owner, boxes, first.enabled)


def _contact_of(contact_id: str, mask_id: str, token: str, address: str) -> Contact:
    return Contact(contact_id, mask_id, token, Address.parse(address) if address else None)


def _new_token() -> str:
    return base64.b32encode(secrets.token_bytes(13)).decode("ascii")[:TOKEN_LENGTH].lower()
