"""The directory's SQL: a mask with its owner and mailboxes, a row for each mailbox, in one query."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam

from relayd.adapters.database import Database
from relayd.adapters.schema import (
    contacts,
    domain_rules,
    mailboxes,
    mask_mailboxes,
    masks,
    owners,
    rule_mailboxes,
    sender_rules,
    usage,
)

_MAILBOX = (
    mailboxes.c.mailbox_id,
    mailboxes.c.address.label("mailbox"),
    mailboxes.c.verified,
    mailboxes.c.pause,
    mailboxes.c.paused_until,
)


def by_address(database: Database) -> sa.Select[Any]:
    """The mask of an address."""
    return _masks(database).where(masks.c.address == bindparam("bare"))


def by_token(database: Database) -> sa.Select[Any]:
    """The mask of an address, and the one whose contact has this token: a local part that looks like a token may still
    be a mask's.
    """
    return (
        _masks(database)
        .add_columns(contacts.c.contact_id, contacts.c.token, contacts.c.address.label("contact"))
        .outerjoin(contacts, sa.and_(contacts.c.mask_id == masks.c.mask_id, contacts.c.token == bindparam("token")))
        .where(
            sa.or_(
                masks.c.address == bindparam("bare"),
                masks.c.mask_id
                == sa.select(contacts.c.mask_id).where(contacts.c.token == bindparam("token")).scalar_subquery(),
            )
        )
    )


def rules(database: Database) -> sa.Select[Any]:
    """The domain's rules that are on, a row for each of their mailboxes."""
    scopes = (owners.c.owner_id,)
    return (
        sa.select(
            domain_rules.c.rule_id,
            domain_rules.c.pattern,
            domain_rules.c.most,
            *_owner(database),
            _screens(*scopes),
            *_MAILBOX,
        )
        .select_from(domain_rules)
        .join(owners, owners.c.owner_id == domain_rules.c.owner_id)
        .join(rule_mailboxes, rule_mailboxes.c.rule_id == domain_rules.c.rule_id)
        .join(mailboxes, mailboxes.c.mailbox_id == rule_mailboxes.c.mailbox_id)
        .where(domain_rules.c.domain == bindparam("domain"), domain_rules.c.enabled)
        .order_by(domain_rules.c.pattern, rule_mailboxes.c.position)
    )


OWNED = (
    sa.select(*_MAILBOX)
    .where(mailboxes.c.owner_id == bindparam("owner"))
    .order_by(mailboxes.c.created_at, mailboxes.c.mailbox_id)
)
ANY = sa.union_all(
    sa.select(sa.select(masks.c.mask_id).limit(1).subquery().c.mask_id),
    sa.select(sa.select(domain_rules.c.rule_id).limit(1).subquery().c.rule_id),
)
CONTACT = sa.select(contacts).where(contacts.c.mask_id == bindparam("mask"), contacts.c.address == bindparam("sender"))
CORRESPONDENTS = (
    sa.select(contacts)
    .join(masks, masks.c.mask_id == contacts.c.mask_id)
    .where(
        masks.c.owner_id == bindparam("owner"),
        masks.c.removed_at.is_(None),
        contacts.c.token.in_(bindparam("tokens", expanding=True)),
        contacts.c.address != "",
    )
)
MASK_ID = sa.select(masks.c.mask_id, masks.c.removed_at).where(masks.c.address == bindparam("bare"))
BY_TOKEN = sa.select(contacts.c.contact_id).where(contacts.c.token == bindparam("token"))
MADE = (
    sa.select(sa.func.count())
    .select_from(masks)
    .where(masks.c.rule_id == bindparam("rule"), masks.c.removed_at.is_(None))
)
LOCK_RULE = (
    sa.select(domain_rules.c.rule_id, domain_rules.c.most)
    .where(domain_rules.c.rule_id == bindparam("rule"), domain_rules.c.enabled)
    .with_for_update()
)
# The rule's mailboxes as they are now: one may have left since the rule was looked up.
LINK_RULED = sa.insert(mask_mailboxes).from_select(
    ["mask_id", "mailbox_id", "position"],
    sa.select(bindparam("mask", type_=sa.String), rule_mailboxes.c.mailbox_id, rule_mailboxes.c.position).where(
        rule_mailboxes.c.rule_id == bindparam("rule")
    ),
)

_scope = sender_rules.c.scope_id.in_((bindparam("mask"), bindparam("owner")))
_hit = sender_rules.c.pattern.in_(bindparam("patterns", expanding=True))
SCREEN = sa.union_all(
    sa.select(sender_rules.c.scope_id, sender_rules.c.kind, sa.literal(1).label("hit")).where(_scope, _hit),
    # That there is an allow list at all matters too.
    sa.select(sender_rules.c.scope_id, sender_rules.c.kind, sa.literal(0).label("hit"))
    .where(_scope, sender_rules.c.kind == "allow")
    .distinct(),
)
"""The list entries that name a sender, and which lists of allowed ones there are."""


def _masks(database: Database) -> sa.Select[Any]:
    return (
        sa.select(
            masks.c.mask_id,
            masks.c.address,
            masks.c.enabled,
            masks.c.display_name,
            masks.c.block_lists,
            masks.c.banner,
            masks.c.remove_trackers,
            *_owner(database),
            _screens(masks.c.mask_id, owners.c.owner_id),
            *_MAILBOX,
        )
        .select_from(masks)
        .join(owners, owners.c.owner_id == masks.c.owner_id)
        .join(mask_mailboxes, mask_mailboxes.c.mask_id == masks.c.mask_id)
        .join(mailboxes, mailboxes.c.mailbox_id == mask_mailboxes.c.mailbox_id)
        .where(masks.c.removed_at.is_(None))
        .order_by(masks.c.address, mask_mailboxes.c.position)
    )


def _owner(database: Database) -> tuple[sa.ColumnElement[Any], ...]:
    def today(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        used = sa.select(sa.func.coalesce(sa.func.sum(column), 0)).where(
            usage.c.owner_id == owners.c.owner_id, usage.c.day == database.today
        )
        return used.correlate(owners).scalar_subquery().label(f"day_{column.name}")

    return (
        owners.c.owner_id,
        owners.c.active,
        owners.c.flagged,
        owners.c.spam_handling,
        owners.c.dmarc_handling,
        owners.c.language,
        today(usage.c.mails),
        today(usage.c.bytes),
        today(usage.c.replies),
    )


def _screens(*scopes: sa.Column[Any]) -> sa.ColumnElement[bool]:
    listed = sa.select(sender_rules.c.pattern).where(sender_rules.c.scope_id.in_(scopes))
    return listed.correlate(masks, owners).exists().label("screens")
