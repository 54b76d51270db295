"""What an operator does to a directory, in the words that the fake has for it, done to a real one."""

from typing import Any, Literal, Protocol

import sqlalchemy as sa

from relayd import ports
from relayd.adapters.database import Database
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.schema import mailboxes, masks
from relayd.model.address import Address
from relayd.model.mask import Mask
from relayd.ops import domain_rules, owners, sender_lists
from relayd.ops import masks as mask_ops
from relayd.rules.senders import SenderRule


class Directory(ports.Directory, Protocol):
    """The port, and what an operator does to a directory."""

    def add(self, address: str, *mailboxes: str, owner: str | None = None, **traits: Any) -> Mask: ...

    def add_rule(
        self, domain: str, pattern: str, *mailboxes: str, owner: str | None = None, limit: int | None = None
    ) -> None: ...

    def switch_rule(self, domain: str, pattern: str, enabled: bool) -> None: ...

    def list_senders(self, scope: str, kind: SenderRule, *patterns: str) -> None: ...

    def set_mask(self, address: str, **traits: Any) -> None: ...

    def set_owner(self, owner_id: str, **traits: Any) -> None: ...

    def remove(self, address: str) -> None: ...

    def pause(self, mailbox: str, kind: Literal["hard", "soft"], until: float) -> None: ...

    def set_verified(self, mailbox: str, verified: bool) -> None: ...


class Operated(SqlDirectory):
    """The real directory, with `relayd.ops` for its operator."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.database = database

    def add(self, address: str, *mailboxes: str, owner: str | None = None, **traits: Any) -> Mask:
        return mask_ops.add_mask(self.database, Address.parse(address), _boxes(mailboxes), owner=owner, **traits)

    def add_rule(
        self, domain: str, pattern: str, *mailboxes: str, owner: str | None = None, limit: int | None = None
    ) -> None:
        domain_rules.add_rule(self.database, domain, pattern, _boxes(mailboxes), owner=owner, limit=limit)

    def switch_rule(self, domain: str, pattern: str, enabled: bool) -> None:
        domain_rules.switch_rule(self.database, domain, pattern, enabled)

    def list_senders(self, scope: str, kind: SenderRule, *patterns: str) -> None:
        whose = Address.parse(scope) if "@" in scope else scope
        sender_lists.list_senders(self.database, whose, patterns, kind)

    def set_mask(self, address: str, **traits: Any) -> None:
        self._change(masks.c.address, Address.parse(address).bare, traits)

    def set_owner(self, owner_id: str, **traits: Any) -> None:
        owners.set_owner(self.database, owner_id, **traits)

    def remove(self, address: str) -> None:
        mask_ops.remove_masks(self.database, [Address.parse(address)])

    def pause(self, mailbox: str, kind: Literal["hard", "soft"], until: float) -> None:
        self._change(mailboxes.c.address, Address.parse(mailbox).full, {"pause": kind, "paused_until": until})

    def set_verified(self, mailbox: str, verified: bool) -> None:
        self._change(mailboxes.c.address, Address.parse(mailbox).full, {"verified": verified})

    def _change(self, column: sa.Column[Any], key: str, values: dict[str, Any]) -> None:
        with self.database.writing() as connection:
            connection.execute(sa.update(column.table).where(column == key).values(**values))


def _boxes(texts: tuple[str, ...]) -> list[Address]:
    return [Address.parse(text) for text in texts or ("me@example.org",)]
