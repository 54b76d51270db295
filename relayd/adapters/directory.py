"""The directory in the database: what an address is to us, answered in one query, or two where a domain rule may cover
it.
"""

import base64
import re
import secrets
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from relayd.adapters import directory_statements as statements
from relayd.adapters.database import Database
from relayd.adapters.schema import contacts, masks
from relayd.adapters.storable import storable
from relayd.errors import HoldError
from relayd.model.address import Address
from relayd.model.mask import (
    Contact,
    Mailbox,
    Mask,
    Owner,
    Pause,
    Screening,
    Target,
    TokenRecipient,
    UnknownRecipient,
    Usage,
)
from relayd.rules import domains, senders

TOKEN_LENGTH = 20
"""Base32 digits of 5 bits each: 100 random bits."""

_PATTERNS_A_QUERY = 5_000
"""A From field may name thousands, and SQL takes 32,766 parameters at least, PostgreSQL 65,535."""
_TOKEN = re.compile(rf"[a-z2-7]{{{TOKEN_LENGTH}}}")


class SqlDirectory:
    """`relayd.ports.Directory` on SQLAlchemy Core."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_address = database.prepared(statements.by_address(database))
        self._contact = database.prepared(statements.CONTACT)
        self._by_token = statements.by_token(database)
        self._rules = statements.rules(database)
        new_mask = database.insert(masks).values(created_at=database.now).on_conflict_do_nothing()
        self._insert_mask = new_mask.returning(masks.c.mask_id)
        self._insert_contact = database.insert(contacts).values(created_at=database.now).on_conflict_do_nothing()

    def lookup(self, address: Address) -> Target:
        """A mask, a contact's token, a mask that a rule would make, or unknown."""
        bare = storable(address.bare)
        like_token = _TOKEN.fullmatch(address.local) is not None
        if not like_token:
            with self._database.asking("lookup") as run:
                rows: Sequence[Any] = run(self._by_address, {"bare": bare}).rows
            if rows:
                return mask_of(rows)
        with self._database.reading("lookup") as connection:
            if like_token:
                rows = connection.execute(self._by_token, {"bare": bare, "token": address.local}).all()
                rows = [row for row in rows if row.address == bare] or rows
                if rows and rows[0].address != bare:
                    owned = connection.execute(statements.OWNED, {"owner": rows[0].owner_id}).all()
                    return _token_of(rows, owned)
                if rows:
                    return mask_of(rows)
            ruled = connection.execute(self._rules, {"domain": storable(address.domain)}).all()
            if ruled:
                return _ruled(connection, ruled, address, bare)
        if self.is_empty():
            # A wrong or restored database must not turn all mail into `unknown_mask`.
            raise HoldError("database", "directory_empty")
        return UnknownRecipient()

    def is_empty(self) -> bool:
        """Whether there never was a mask or a rule. Tombstones count: who removed the last mask meant it."""
        with self._database.reading("any_mask") as connection:
            return connection.execute(statements.ANY).first() is None

    def screen(self, mask: Mask, senders_: Sequence[Address]) -> Screening:
        """Ask for what could name the senders, so that lists of any length cost the same."""
        wanted = list(dict.fromkeys(storable(one) for sender in senders_ for one in senders.patterns(sender)))
        scopes = {"mask": mask.mask_id, "owner": mask.owner.owner_id}
        named: list[senders.Named] = []
        # Once at least: that there is an allow list matters even where nobody can be named.
        for start in range(0, len(wanted) or 1, _PATTERNS_A_QUERY):
            values = scopes | {"patterns": wanted[start : start + _PATTERNS_A_QUERY]}
            with self._database.reading("screen") as connection:
                rows = connection.execute(statements.SCREEN, values).all()
            named += [senders.Named(row.kind, on_mask=row.scope_id == mask.mask_id, hit=bool(row.hit)) for row in rows]
        return senders.screening(named)

    def create(self, mask: Mask) -> bool:
        """Make the mask under its rule's lock, so that two workers cannot go over the rule's limit together."""
        bare = storable(mask.address.bare)
        with self._database.writing("create_mask") as connection:
            rule = connection.execute(statements.LOCK_RULE, {"rule": mask.rule_id}).one_or_none()
            here = connection.execute(statements.MASK_ID, {"bare": bare}).one_or_none()
            if here is not None:
                return bool(here.mask_id == mask.mask_id and here.removed_at is None)
            if rule is None or _made_all(connection, rule):
                return False
            ours = {"mask_id": mask.mask_id, "rule_id": mask.rule_id}
            values = {"address": bare, "owner_id": mask.owner.owner_id, "enabled": True}
            if connection.execute(self._insert_mask, ours | values).first() is None:
                # An operator was quicker by a moment.
                return False
            connection.execute(statements.LINK_RULED, {"mask": mask.mask_id, "rule": mask.rule_id})
        return True

    def contact(self, mask_id: str, sender: Address | None) -> Contact:
        """The mask's contact for this correspondent, made on first sight."""
        found = self.known_contact(mask_id, sender)
        if found is not None:
            return found
        wanted = _wanted_contact(mask_id, sender)
        # Two workers may meet the same stranger at once: one inserts, both read what was inserted.
        new = {"contact_id": secrets.token_hex(10), "token": new_token(), "mask_id": mask_id}
        with self._database.writing("new_contact") as connection:
            connection.execute(self._insert_contact, new | {"address": wanted["sender"]})
            row = connection.execute(statements.CONTACT, wanted).one()
        return _contact_of(row.contact_id, row.mask_id, row.token, row.address)

    def known_contact(self, mask_id: str, sender: Address | None) -> Contact | None:
        """The mask's contact for this correspondent; None at first sight."""
        with self._database.asking("contact") as run:
            row = run(self._contact, _wanted_contact(mask_id, sender)).first
        return None if row is None else _contact_of(row.contact_id, row.mask_id, row.token, row.address)

    def correspondents(self, owner_id: str, tokens: Sequence[str]) -> dict[str, Contact]:
        """The contacts behind tokens, as far as they are this owner's."""
        wanted = [token for token in dict.fromkeys(tokens) if _TOKEN.fullmatch(token)]
        if not wanted:
            return {}
        with self._database.reading("correspondents") as connection:
            rows = connection.execute(statements.CORRESPONDENTS, {"owner": owner_id, "tokens": wanted}).all()
        return {row.token: _contact_of(row.contact_id, row.mask_id, row.token, row.address) for row in rows}


def mask_of(rows: Sequence[Any]) -> Mask:
    """One mask out of its rows, one for each mailbox, in order."""
    first = rows[0]
    return Mask(
        first.mask_id,
        Address.parse(first.address),
        _owner_of(first),
        tuple(_mailbox_of(row) for row in rows),
        enabled=first.enabled,
        display_name=first.display_name,
        block_lists=first.block_lists,
        banner=first.banner,
        remove_trackers=first.remove_trackers,
        screens=bool(first.screens),
    )


def _owner_of(row: Any) -> Owner:
    return Owner(
        row.owner_id,
        row.active,
        row.flagged,
        row.spam_handling,
        row.dmarc_handling,
        row.language,
        Usage(int(row.day_mails), int(row.day_bytes), int(row.day_replies)),
    )


def _mailbox_of(row: Any) -> Mailbox:
    pause = Pause(row.pause, row.paused_until or 0.0) if row.pause else None
    return Mailbox(row.mailbox_id, Address.parse(row.mailbox), row.verified, pause)


def _token_of(rows: Sequence[Any], owned: Sequence[Any]) -> TokenRecipient:
    mask, first = mask_of(rows), rows[0]
    contact = _contact_of(first.contact_id, mask.mask_id, first.token, first.contact)
    return TokenRecipient(contact, mask, tuple(_mailbox_of(row) for row in owned))


def _ruled(connection: sa.Connection, rows: Sequence[Any], address: Address, bare: str) -> Mask | UnknownRecipient:
    """The mask that the best rule of the domain would make for the address."""
    pattern = domains.best(address.local, {row.pattern for row in rows})
    if pattern is None or _taken(connection, address, bare):
        return UnknownRecipient()
    ours = [row for row in rows if row.pattern == pattern]
    rule = ours[0]
    if _made_all(connection, rule):
        return UnknownRecipient(rule_exhausted=True)
    return Mask(
        domains.mask_id(rule.rule_id, address.bare),
        Address(address.local, address.domain),
        _owner_of(rule),
        tuple(_mailbox_of(row) for row in ours),
        screens=bool(rule.screens),
        rule_id=rule.rule_id,
    )


def _taken(connection: sa.Connection, address: Address, bare: str) -> bool:
    """Whether the address was a mask's, or a token of one's, that has been removed: it is never given out again."""
    if connection.execute(statements.MASK_ID, {"bare": bare}).first() is not None:
        return True
    token = {"token": address.local}
    return bool(_TOKEN.fullmatch(address.local) and connection.execute(statements.BY_TOKEN, token).first())


def _made_all(connection: sa.Connection, rule: Any) -> bool:
    if rule.most is None:
        return False
    made = connection.execute(statements.MADE, {"rule": rule.rule_id}).scalar_one()
    return bool(made >= rule.most)


def _contact_of(contact_id: str, mask_id: str, token: str, address: str) -> Contact:
    return Contact(contact_id, mask_id, token, Address.parse(address) if address else None)


def _wanted_contact(mask_id: str, sender: Address | None) -> dict[str, str]:
    # An address that cannot be stored cannot be answered either: it is as good as none.
    known = sender is not None and storable(sender.full) == sender.full
    return {"mask": mask_id, "sender": sender.full if sender and known else ""}


def new_token() -> str:
    """The local part of a reply address: random, and never derived from anything."""
    return base64.b32encode(secrets.token_bytes(13)).decode("ascii")[:TOKEN_LENGTH].lower()
