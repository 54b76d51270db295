"""Masks, as an operator sees them: add, list, show, switch, remove, import and export."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.schema import contacts, deliveries, mailboxes, mask_mailboxes, masks, owners
from relayd.errors import Problem
from relayd.model.address import Address
from relayd.model.mask import DmarcHandling, Mask, SpamHandling
from relayd.ops.mask_book import Book, Change, OwnerTraits
from relayd.ops.mask_entries import Entry, Line, RefusedError, domain_problems

_ALL = (
    sa.select(
        masks.c.mask_id,
        masks.c.address,
        masks.c.enabled,
        masks.c.created_at,
        masks.c.removed_at,
        owners.c.name,
        owners.c.active,
        owners.c.flagged,
        owners.c.spam_handling,
        owners.c.dmarc_handling,
        mailboxes.c.address.label("mailbox"),
    )
    .join(owners, owners.c.owner_id == masks.c.owner_id)
    .join(mask_mailboxes, mask_mailboxes.c.mask_id == masks.c.mask_id)
    .join(mailboxes, mailboxes.c.mailbox_id == mask_mailboxes.c.mailbox_id)
    .order_by(masks.c.address, mask_mailboxes.c.position)
)


@dataclass(frozen=True, slots=True)
class MaskView:
    """A mask and its owner, for reading."""

    mask_id: str
    address: str
    mailboxes: tuple[str, ...]
    owner: str
    enabled: bool
    removed: bool
    created_at: float
    owner_active: bool
    owner_flagged: bool
    spam_handling: str
    dmarc_handling: str


@dataclass(frozen=True, slots=True)
class MaskCounters:
    """What the ledger and the directory count for one mask."""

    deliveries: dict[str, int]
    """By state, and by reason where the state has one: `sent`, `discarded spam`."""
    contacts: int
    last_at: float | None
    """When a delivery was last touched."""


@dataclass(slots=True)
class ImportResult:
    """What an import did, or would do."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: list[str] = field(default_factory=list)


def add_mask(
    database: Database,
    address: Address,
    mailboxes: Sequence[Address],
    *,
    owner: str | None = None,
    enabled: bool = True,
    owner_active: bool = True,
    spam_handling: SpamHandling = "quarantine",
    dmarc_handling: DmarcHandling = "forward",
) -> Mask:
    """Add a mask, or find it there already. What is said of the owner counts when the owner is new."""
    entry = Entry(address, tuple(mailboxes), owner, enabled)
    put_mask(database, entry, traits=OwnerTraits(owner_active, spam_handling, dmarc_handling))
    mask = SqlDirectory(database).lookup(address)
    assert isinstance(mask, Mask)
    return mask


def put_mask(database: Database, entry: Entry, *, replace: bool = False, traits: OwnerTraits | None = None) -> Change:
    """Make one mask as the entry says. Raises RefusedError."""
    with database.writing() as connection:
        book = Book(connection, [entry])
        change = book.put(entry, replace=replace, traits=traits)
        book.write(database.now)
    return change


def import_masks(
    database: Database,
    lines: Sequence[Line],
    *,
    mail_domains: Sequence[str],
    problems: Sequence[Problem] = (),
    sync: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> ImportResult:
    """Make the directory hold what the lines say; with `sync`, hold nothing else. All of it, or nothing.

    `problems` are those of lines that could not even be read: they are refused together with what is found here.
    """
    found = list(problems)
    result = ImportResult()
    with database.reading() if dry_run else database.writing() as connection:
        book = Book(connection, None if sync else [line.entry for line in lines])
        before = set(book.live)
        seen: dict[str, int] = {}
        for line in lines:
            found.extend(_put_line(book, line, mail_domains, seen, result))
        if sync and not found:
            result.removed = sorted(before - set(seen))
            if 2 * len(result.removed) > len(before) and not (force or dry_run):
                found.append(_too_many(len(result.removed), len(before)))
        if found:
            raise RefusedError(found)
        for address in result.removed:
            book.remove(address)
        if not dry_run:
            book.write(database.now)
    return result


def _put_line(
    book: Book, line: Line, mail_domains: Sequence[str], seen: dict[str, int], result: ImportResult
) -> Iterator[Problem]:
    entry, subject = line.entry, f"line {line.number}"
    first = seen.setdefault(entry.address.bare, line.number)
    wrong = list(domain_problems(entry, mail_domains))
    if first != line.number:
        wrong.append((f"{entry.address} stands on line {first} already", "keep one of the two lines."))
    for problem, hint in wrong:
        yield Problem(subject, problem, hint)
    if wrong:
        return
    try:
        change = book.put(entry, replace=True)
    except RefusedError as error:
        for one in error.problems:
            yield Problem(subject, one.problem, one.hint)
        return
    setattr(result, change, getattr(result, change) + 1)


def _too_many(removed: int, live: int) -> Problem:
    return Problem(
        "the file",
        f"lacks {removed} of the {live} masks that are there, and removing a mask cannot be undone",
        "look at them with --dry-run; if it is meant, add --force.",
    )


def set_enabled(database: Database, addresses: Collection[Address], enabled: bool) -> set[str]:
    """Switch masks on or off, and tell which of them were not so already. RefusedError, and nothing done, when one
    is no mask.
    """
    with database.writing() as connection:
        found = _live(connection, addresses)
        _update(connection, found, enabled=enabled)
    return {row.address for row in found if row.enabled != enabled}


def remove_masks(database: Database, addresses: Collection[Address]) -> None:
    """Leave tombstones: their mail is unknown from now on, for ever. RefusedError, and nothing done, when one is no
    mask.
    """
    with database.writing() as connection:
        _update(connection, _live(connection, addresses), removed_at=database.now)


def check_masks(database: Database, addresses: Collection[Address]) -> None:
    """Raise RefusedError when one of them is no mask, or was removed."""
    with database.reading() as connection:
        _live(connection, addresses)


def _update(connection: sa.Connection, rows: Sequence[Any], **values: Any) -> None:
    ids = [row.mask_id for row in rows]
    connection.execute(sa.update(masks).where(masks.c.mask_id.in_(ids)).values(**values))


def _live(connection: sa.Connection, addresses: Collection[Address]) -> Sequence[Any]:
    """The rows of all these masks, locked as long as the transaction lasts. Raises RefusedError with all problems."""
    wanted = list(dict.fromkeys(address.bare for address in addresses))
    # In order, so that two operators who lock the same masks take turns.
    rows = connection.execute(
        sa.select(masks).where(masks.c.address.in_(wanted)).order_by(masks.c.address).with_for_update()
    ).all()
    removed = {row.address: row.removed_at is not None for row in rows}
    problems = [_unknown(bare) for bare in wanted if bare not in removed]
    problems += [
        Problem("the mask", f"{bare} was removed", "removed masks stay so: add another one.")
        for bare in wanted
        if removed.get(bare)
    ]
    if problems:
        raise RefusedError(problems)
    return rows


def find_mask(database: Database, address: Address) -> MaskView:
    """One mask, a removed one included. Raises RefusedError when there never was one."""
    with database.reading() as connection:
        views = list(_views(connection.execute(_ALL.where(masks.c.address == address.bare))))
    if not views:
        raise RefusedError([_unknown(address.bare)])
    return views[0]


def _unknown(bare: str) -> Problem:
    return Problem("the mask", f"{bare} is no mask", "`relayd masks list` shows what is there.")


def list_masks(
    database: Database,
    *,
    owner: str | None = None,
    domain: str | None = None,
    mailbox: Address | None = None,
    enabled: bool | None = None,
    removed: bool = False,
) -> Iterator[MaskView]:
    """The masks in order of address, as far as they fit. Removed ones only where they are asked for."""
    query = _ALL.where(masks.c.removed_at.is_not(None) if removed else masks.c.removed_at.is_(None))
    if owner is not None:
        query = query.where(owners.c.name == owner.strip())
    if domain is not None:
        query = query.where(masks.c.address.endswith(f"@{domain}", autoescape=True))
    if mailbox is not None:
        theirs = (
            sa.select(mask_mailboxes.c.mask_id)
            .join(mailboxes, mailboxes.c.mailbox_id == mask_mailboxes.c.mailbox_id)
            .where(mailboxes.c.address == mailbox.full)
        )
        query = query.where(masks.c.mask_id.in_(theirs))
    if enabled is not None:
        query = query.where(masks.c.enabled == enabled)
    with database.reading() as connection:
        yield from _views(connection.execute(query))


def entries_of(views: Iterator[MaskView]) -> Iterator[Entry]:
    """What an export writes, and an import reads."""
    for view in views:
        boxes = tuple(Address.parse(box) for box in view.mailboxes)
        yield Entry(Address.parse(view.address), boxes, view.owner, view.enabled)


def count_mask(database: Database, mask_id: str) -> MaskCounters:
    """What happened to a mask's mail, as long as the ledger remembers it."""
    states = (
        sa.select(deliveries.c.state, deliveries.c.reason, sa.func.count(), sa.func.max(deliveries.c.updated_at))
        .where(deliveries.c.mask_id == mask_id)
        .group_by(deliveries.c.state, deliveries.c.reason)
        .order_by(deliveries.c.state, deliveries.c.reason)
    )
    with database.reading() as connection:
        rows = connection.execute(states).all()
        known = connection.execute(
            sa.select(sa.func.count()).select_from(contacts).where(contacts.c.mask_id == mask_id)
        ).scalar_one()
    counted = {f"{state} {reason}" if reason else state: count for state, reason, count, _ in rows}
    return MaskCounters(counted, known, max((row[3] for row in rows), default=None))


def _views(rows: sa.Result[Any]) -> Iterator[MaskView]:
    for _, group in groupby(rows, lambda row: row.mask_id):
        lines = list(group)
        row = lines[0]
        yield MaskView(
            row.mask_id,
            row.address,
            tuple(line.mailbox for line in lines),
            row.name,
            row.enabled,
            row.removed_at is not None,
            row.created_at,
            row.active,
            row.flagged,
            row.spam_handling,
            row.dmarc_handling,
        )
