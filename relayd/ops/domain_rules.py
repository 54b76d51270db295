"""Domain rules: masks that are made by the first mail to them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import domain_rules, mailboxes, masks, owners, rule_mailboxes
from relayd.model.address import Address
from relayd.ops.people import People, random_id
from relayd.ops.refusals import refused


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule. The names are the keys of the JSON."""

    rule_id: str
    domain: str
    pattern: str
    mailboxes: tuple[str, ...]
    owner: str
    limit: int | None
    made: int
    """Masks that it has made, removed ones left out: what the limit counts."""
    enabled: bool
    created_at: float


def add_rule(
    database: Database,
    domain: str,
    pattern: str,
    boxes: Sequence[Address],
    *,
    owner: str | None = None,
    limit: int | None,
    verified: bool = True,
) -> bool:
    """Make a rule, or find it there already and tell so by False. Raises RefusedError when it is there and differs."""
    subject = f"{pattern}@{domain}"
    with database.writing() as connection:
        people = People(connection, {box.full for box in boxes}, {owner or boxes[0].full})
        if here := next(_views(connection, _is(domain, pattern)), None):
            same = (here.mailboxes, here.limit) == (tuple(box.full for box in boxes), limit)
            if not same or owner not in (None, here.owner):
                raise refused(
                    "the rule",
                    f"{subject} is there already, and says something else",
                    f"see `relayd masks rule list --domain {domain}`; to change it, remove it and add it anew: "
                    "its masks stay.",
                )
            return False
        owner_id = people.owner(subject, boxes, owner)
        ids = [people.mailbox(box.full, owner_id, verified=verified) for box in boxes]
        people.write(connection.execute(sa.select(database.now)).scalar_one())
        rule_id = random_id()
        values = {"rule_id": rule_id, "owner_id": owner_id, "domain": domain, "pattern": pattern, "most": limit}
        connection.execute(sa.insert(domain_rules).values(values | {"enabled": True, "created_at": database.now}))
        links = [{"rule_id": rule_id, "mailbox_id": box, "position": position} for position, box in enumerate(ids)]
        connection.execute(sa.insert(rule_mailboxes), links)
    return True


def list_rules(database: Database, *, domain: str | None = None, owner: str | None = None) -> list[RuleView]:
    """The rules in order of domain and pattern, as far as they fit."""
    wanted: list[sa.ColumnElement[bool]] = [sa.true()]
    if domain is not None:
        wanted.append(domain_rules.c.domain == domain)
    if owner is not None:
        wanted.append(owners.c.name == owner.strip())
    with database.reading() as connection:
        return list(_views(connection, sa.and_(*wanted)))


def switch_rule(database: Database, domain: str, pattern: str, enabled: bool) -> bool:
    """Switch a rule on or off, and tell whether it was not so already. Raises RefusedError."""
    with database.writing() as connection:
        rule = _rule(connection, domain, pattern)
        connection.execute(
            sa.update(domain_rules).where(domain_rules.c.rule_id == rule.rule_id).values(enabled=enabled)
        )
        return bool(rule.enabled != enabled)


def remove_rule(database: Database, domain: str, pattern: str) -> None:
    """Remove a rule. The masks that it made stay. Raises RefusedError."""
    with database.writing() as connection:
        rule = _rule(connection, domain, pattern)
        for table in (rule_mailboxes, domain_rules):
            connection.execute(sa.delete(table).where(table.c.rule_id == rule.rule_id))


def _rule(connection: sa.Connection, domain: str, pattern: str) -> Any:
    query = sa.select(domain_rules).where(_is(domain, pattern)).with_for_update()
    rule = connection.execute(query).one_or_none()
    if rule is None:
        raise refused("the rule", f"there is no rule {pattern}@{domain}", "`relayd masks rule list` shows them.")
    return rule


def _is(domain: str, pattern: str) -> sa.ColumnElement[bool]:
    return sa.and_(domain_rules.c.domain == domain, domain_rules.c.pattern == pattern)


def _views(connection: sa.Connection, which: sa.ColumnElement[bool]) -> Iterator[RuleView]:
    made = (
        sa.select(sa.func.count())
        .select_from(masks)
        .where(masks.c.rule_id == domain_rules.c.rule_id, masks.c.removed_at.is_(None))
        .correlate(domain_rules)
        .scalar_subquery()
    )
    query = (
        sa.select(domain_rules, owners.c.name, mailboxes.c.address, made.label("made"))
        .join(owners, owners.c.owner_id == domain_rules.c.owner_id)
        .join(rule_mailboxes, rule_mailboxes.c.rule_id == domain_rules.c.rule_id)
        .join(mailboxes, mailboxes.c.mailbox_id == rule_mailboxes.c.mailbox_id)
        .where(which)
        .order_by(domain_rules.c.domain, domain_rules.c.pattern, rule_mailboxes.c.position)
    )
    for _, group in groupby(connection.execute(query), lambda row: row.rule_id):
        rows = list(group)
        one = rows[0]
        yield RuleView(
            one.rule_id,
            one.domain,
            one.pattern,
            tuple(row.address for row in rows),
            one.name,
            one.most,
            one.made,
            one.enabled,
            one.created_at,
        )
