"""What is held back, as an operator sees it: list, show, release, discard."""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.injecting import MAX_ENTRIES, Injector, fitting
from relayd.adapters.schema import deliveries as d
from relayd.adapters.schema import masks, owners
from relayd.adapters.schema import quarantine as q
from relayd.errors import Problem, TransientError
from relayd.mail.words import decode_words, visible
from relayd.model.address import Address
from relayd.ops.refusals import RefusedError
from relayd.wire import own

RELEASED = "released"
"""What the ledger says of a discard that was released after all."""
MAX_OUTAGES = 3
"""Calls in a row that find the queue away before the rest is left for another time."""
_ROWS_A_STATEMENT = 500

_ENTRIES = (
    sa.select(
        *(column for column in q.c if column is not q.c.notification),
        masks.c.address.label("mask"),
        owners.c.name.label("owner"),
    )
    # An erased owner leaves nothing behind here, but the two happen one after the other.
    .outerjoin(masks, masks.c.mask_id == q.c.mask_id)
    .outerjoin(owners, owners.c.owner_id == q.c.owner_id)
    .order_by(q.c.held_at.desc(), q.c.quarantine_id)
)
_SEALABLE = sa.select(
    q.c.quarantine_id, q.c.mail_id, q.c.recipient, q.c.mailbox, q.c.reason, q.c.notification, q.c.held_at
).order_by(q.c.held_at, q.c.quarantine_id)
_SAME_DELIVERY = tuple(d.c[name] == sa.bindparam(f"its_{name}") for name in ("mail_id", "recipient", "mailbox"))


@dataclass(frozen=True, slots=True)
class Entry:
    """A mail that is held back, for one mask or for one of its mailboxes."""

    quarantine_id: str
    held_at: float
    """Seconds since the epoch."""
    released_at: float | None
    reason: str
    mail_id: str
    """SES's: the name of the object in the bucket, below the rule's prefix."""
    mask: str | None = field(repr=False)
    """None where the mask, or below the owner, has been erased."""
    owner: str | None = field(repr=False)
    recipient: str = field(repr=False)
    mailbox: str = field(repr=False)
    """Empty where it is held back from all of the mask's mailboxes."""
    sender: str = field(repr=False)
    subject: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which entries are meant: those that fit everything that is said here."""

    ids: tuple[str, ...] = ()
    reason: str | None = None
    owner: str | None = field(repr=False, default=None)
    mask: Address | None = field(repr=False, default=None)
    since: float | None = None
    """Held since then, in seconds since the epoch."""
    limit: int | None = None
    """The newest so many."""
    released: bool = False
    """Those that were released before, too."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one entry in a release."""

    quarantine_id: str
    outcome: Literal["released", "failed"]
    reason: str = ""
    """For `failed`."""


def choose(database: Database, choice: Choice) -> list[Entry]:
    """The entries, newest first. Raises RefusedError where an id, an owner or a mask is named that there is not."""
    query = _ENTRIES
    if not choice.released:
        query = query.where(q.c.released_at.is_(None))
    if choice.reason is not None:
        query = query.where(q.c.reason == choice.reason)
    if choice.owner is not None:
        query = query.where(owners.c.name == choice.owner.strip())
    if choice.mask is not None:
        query = query.where(masks.c.address == choice.mask.bare)
    if choice.since is not None:
        query = query.where(q.c.held_at >= choice.since)
    if choice.ids:
        query = query.where(q.c.quarantine_id.in_(choice.ids))
    if choice.limit is not None:
        query = query.limit(choice.limit)
    with database.reading() as connection:
        if problems := list(_unknown(connection, choice)):
            raise RefusedError(problems)
        return [_entry(row) for row in connection.execute(query)]


def notification_of(database: Database, entry: Entry) -> str:
    """SES's notification in its short form, as JSON."""
    with database.reading() as connection:
        query = sa.select(q.c.notification).where(q.c.quarantine_id == entry.quarantine_id)
        found: str | None = connection.execute(query).scalar_one_or_none()
    if found is None:
        raise RefusedError([_no_entry(entry.quarantine_id)])
    return found


def release(
    database: Database, injector: Injector, secrets: Sequence[bytes], entries: Sequence[Entry]
) -> Iterator[Result]:
    """Put the mails into the queue again, oldest first, past the rule that held them back; every other rule counts as
    ever.

    May end anywhere: what was not marked by then is listed still, and to release it twice sends it once. Raises what
    `Injector.send` raises, but for a TransientError, which is the result of those that it concerned.
    """
    remaining, outages = iter(sorted(entries, key=lambda entry: entry.held_at)), 0
    while some := list(islice(remaining, MAX_ENTRIES)):
        sealed = _sealed(database, secrets, some)
        yield from (Result(one.quarantine_id, "failed", "gone") for one in some if one.quarantine_id not in sealed)
        rows = list(sealed.values())
        while rows:
            count = fitting([len(body) for _, body in rows])
            call, rows = rows[:count], rows[count:]
            try:
                yield from _release_call(database, injector, call)
                outages = 0
            except TransientError as error:
                outages += 1
                yield from (Result(row.quarantine_id, "failed", error.reason) for row, _ in call)
            if outages == MAX_OUTAGES:
                yield from (Result(row.quarantine_id, "failed", "not_tried") for row, _ in rows)
                yield from (Result(one.quarantine_id, "failed", "not_tried") for one in remaining)
                return


def discard(database: Database, ids: Collection[str]) -> int:
    """Take entries off the list, and tell how many were on it. The mails stay where they are, in the bucket."""
    wanted, gone = list(ids), 0
    for start in range(0, len(wanted), _ROWS_A_STATEMENT):
        some = wanted[start : start + _ROWS_A_STATEMENT]
        with database.writing_once("discard") as connection:
            gone += connection.execute(sa.delete(q).where(q.c.quarantine_id.in_(some))).rowcount
    return gone


def _sealed(database: Database, secrets: Sequence[bytes], entries: Sequence[Entry]) -> dict[str, tuple[Any, str]]:
    """Rows that are still there, and the messages that release them."""
    ids = [entry.quarantine_id for entry in entries]
    with database.reading() as connection:
        rows = connection.execute(_SEALABLE.where(q.c.quarantine_id.in_(ids))).all()
    now = time.time()
    return {
        row.quarantine_id: (row, own.seal(row.notification, released=[row.reason], secrets=secrets, now=now))
        for row in rows
    }


def _release_call(database: Database, injector: Injector, call: Sequence[tuple[Any, str]]) -> Iterator[Result]:
    """Reopen, send, mark. In this order: a crash between two of them lets a mail be released twice, never not at all.

    Unless it is open in the ledger by then, the daemon would find the mail discarded, and settled.
    """
    with database.writing("reopen") as connection:
        connection.execute(_reopen(database), [_key(row) for row, _ in call])
    codes = injector.send([body for _, body in call])
    sent = [row for (row, _), code in zip(call, codes, strict=True) if code is None]
    if sent:
        with database.writing("released") as connection:
            connection.execute(_mark(database), [{"its_id": row.quarantine_id, "held": row.held_at} for row in sent])
    for (row, _), code in zip(call, codes, strict=True):
        yield Result(row.quarantine_id, "released") if code is None else Result(row.quarantine_id, "failed", code)


def _reopen(database: Database) -> sa.Update:
    """Free for the next claim, as after a claim that was given back. A row without a mailbox is nobody's to claim and
    blocks nothing: it only tells what happened. One that failed is tried again by any new message.
    """
    whole = d.c.mailbox == ""
    return (
        sa.update(d)
        .where(d.c.state == "discarded", *_SAME_DELIVERY)
        .values(
            state=sa.case((whole, d.c.state), else_="claimed"),
            reason=sa.case((whole, RELEASED), else_=None),
            token=None,
            expires_at=None,
            updated_at=database.now,
        )
    )


def _mark(database: Database) -> sa.Update:
    """A mail that was held back again meanwhile, for another reason, is another decision to make."""
    return (
        sa.update(q)
        .where(q.c.quarantine_id == sa.bindparam("its_id"), q.c.held_at == sa.bindparam("held"))
        .values(released_at=database.now)
    )


def _key(row: Any) -> dict[str, str]:
    return {"its_mail_id": row.mail_id, "its_recipient": row.recipient, "its_mailbox": row.mailbox}


def _unknown(connection: sa.Connection, choice: Choice) -> Iterator[Problem]:
    if choice.owner is not None:
        named = sa.select(owners.c.owner_id).where(owners.c.name == choice.owner.strip())
        if connection.execute(named).first() is None:
            yield Problem("the owner", f"there is no {choice.owner.strip()!r}", "`relayd masks list` names the owners.")
    if choice.mask is not None:
        known = sa.select(masks.c.mask_id).where(masks.c.address == choice.mask.bare)
        if connection.execute(known).first() is None:
            yield Problem("the mask", f"{choice.mask.bare} is no mask", "`relayd masks list` shows what is there.")
    if choice.ids:
        found = set(connection.execute(sa.select(q.c.quarantine_id).where(q.c.quarantine_id.in_(choice.ids))).scalars())
        yield from (_no_entry(one) for one in choice.ids if one not in found)


def _no_entry(quarantine_id: str) -> Problem:
    hint = "`relayd quarantine list` shows what is held back, and with --released what was."
    return Problem("the quarantine", f"there is no entry {quarantine_id}", hint)


def _entry(row: Any) -> Entry:
    return Entry(
        row.quarantine_id,
        row.held_at,
        row.released_at,
        row.reason,
        row.mail_id,
        mask=row.mask,
        owner=row.owner,
        recipient=row.recipient,
        mailbox=row.mailbox,
        sender=visible(decode_words(row.sender)),
        subject=visible(decode_words(row.subject)),
    )
