"""Masks, as an operator changes them: add, set, switch, remove and import."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.schema import masks
from relayd.errors import Problem
from relayd.model.address import Address
from relayd.model.mask import DmarcHandling, Mask, SpamHandling
from relayd.ops.mask_book import Book, Change
from relayd.ops.mask_entries import Entry, Line, MaskTraits, domain_problems
from relayd.ops.mask_views import MaskView, list_masks, no_mask
from relayd.ops.people import OwnerTraits
from relayd.ops.refusals import RefusedError

__all__ = [
    "ImportResult",
    "MaskView",
    "add_mask",
    "check_masks",
    "import_masks",
    "list_masks",
    "put_mask",
    "remove_masks",
    "set_enabled",
    "set_mask",
]


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
    language: str = "en",
    display_name: str | None = None,
    block_lists: bool | None = None,
    banner: bool | None = None,
    remove_trackers: bool | None = None,
    verified: bool = True,
) -> Mask:
    """Add a mask, or find it there already. What is said of the owner, and `verified` of the mailboxes, counts when
    they are new.
    """
    traits = MaskTraits(display_name, block_lists, banner, remove_trackers)
    put_mask(
        database,
        Entry(address, tuple(mailboxes), owner, enabled, traits),
        owner_traits=OwnerTraits(owner_active, spam_handling, dmarc_handling, language),
        verified=verified,
    )
    mask = SqlDirectory(database).lookup(address)
    assert isinstance(mask, Mask)
    return mask


def put_mask(
    database: Database,
    entry: Entry,
    *,
    replace: bool = False,
    owner_traits: OwnerTraits | None = None,
    verified: bool = True,
) -> Change:
    """Make one mask as the entry says. Raises RefusedError."""
    with database.writing() as connection:
        book = Book(connection, [entry])
        change = book.put(entry, replace=replace, owner_traits=owner_traits, verified=verified)
        book.write(database.now)
    return change


def set_mask(database: Database, entry: Entry, *, verified: bool = True) -> Change:
    """Change what the entry says of a mask that is there; no mailboxes: leave them. Raises RefusedError."""
    with database.writing() as connection:
        _live(connection, [entry.address])
        book = Book(connection, [entry])
        change = book.put(entry, replace=True, verified=verified)
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


def live_mask(connection: sa.Connection, address: Address) -> Any:
    """The row of one mask, locked as long as the transaction lasts. Raises RefusedError."""
    return _live(connection, [address])[0]


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
    problems = [one for bare in wanted if bare not in removed for one in no_mask(bare).problems]
    problems += [
        Problem("the mask", f"{bare} was removed", "removed masks stay so: add another one.")
        for bare in wanted
        if removed.get(bare)
    ]
    if problems:
        raise RefusedError(problems)
    return rows
