"""What became of mails, as the ledger knows it: found by whatever an operator has in hand."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import and_, or_

from relayd.adapters.database import Database
from relayd.adapters.schema import attempts, masks, owners
from relayd.adapters.schema import deliveries as d
from relayd.adapters.storable import storable
from relayd.model.address import Address
from relayd.model.delivery import IN_DOUBT, DeliveryKind
from relayd.ops.refusals import refused
from relayd.ops.snapshot import snapshot

Standing = Literal["sent", "discarded", "failed", "open", "in-doubt"]
"""`open` is not ended yet; `in-doubt` neither, and SES may have it."""

_TAG = re.compile(r"([0-9a-f]{20})-[1-9][0-9]*")
"""What SES calls a delivery in its tag `relayd-delivery`: our id, and the attempt."""
_TRACE = re.compile(r"(?:[0-9a-f]{2}-)?([0-9a-f]{32})(?:-[0-9a-f]{16}-[0-9a-f]{2})?")
"""A trace's id, alone or in a traceparent."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One mail, for one recipient of ours, to one mailbox. The names are the keys of the JSON."""

    delivery_id: str
    state: Standing
    reason: str | None
    """Why it ended so; of one that has not ended, why its last attempt did."""
    kind: DeliveryKind
    mail_id: str
    """SES's: the name of the object in the bucket, below the rule's prefix."""
    recipient: str = field(repr=False)
    """As the envelope has it, tag included; for a reply, the token."""
    to: str = field(repr=False)
    """The owner's mailbox, or for a reply the correspondent; empty where it came to nobody's turn."""
    mask: str | None = field(repr=False)
    owner: str | None = field(repr=False)
    """Its name."""
    came_at: float
    """When relayd first had to do with it; like all times here in seconds since the epoch, by the database's clock."""
    changed_at: float
    attempt: int
    """The number of the last one; 0 where nothing was tried."""
    resends: int
    """Sends after one in doubt: as many times it may have arrived twice."""
    size: int | None
    """Bytes as it was sent."""
    trackers: int | None
    """That were taken out of it."""
    message_id: str
    """SQS's, of the last attempt."""
    trace_id: str | None
    replay_id: str | None
    """The replay that the last attempt was of."""
    ses_id: str | None
    held_until: float | None
    """When the claim on it ends; None where nobody claims it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which deliveries are meant: those that fit everything that is said here."""

    mask: Address | None = field(repr=False, default=None)
    since: float | None = None
    """That came then or later."""
    until: float | None = None
    """That came before."""
    states: Sequence[Standing] = ()
    reason: str | None = None
    mail_id: str | None = None
    ses_id: str | None = None
    trace_id: str | None = None
    limit: int | None = None


def trace_id_of(text: str | None) -> str | None:
    """The trace's id in a traceparent, or in the id itself; None for anything else."""
    found = _TRACE.fullmatch((text or "").strip().lower())
    return found[1] if found else None


def choose(database: Database, choice: Choice) -> list[Delivery]:
    """The deliveries, newest first."""
    query = _rows(database).where(*_meant(database, choice)).order_by(d.c.created_at.desc(), d.c.delivery_id)
    with snapshot(database) as connection:
        return [_delivery(row) for row in connection.execute(query.limit(choice.limit))]


def find(database: Database, text: str) -> list[Delivery]:
    """What one id names, oldest first: a delivery (ours, or SES's tag of it); all deliveries of a mail, by SES's id of
    it; what was sent under an id of SES's, or its Message-ID; what came with a Message-ID. Raises RefusedError.
    """
    name = storable(text.strip().strip("<>"))
    tag = _TAG.fullmatch(name)
    ways = [
        d.c.delivery_id == (tag[1] if tag else name),
        d.c.mail_id == name,
        _sent_as(name.partition("@")[0]),
        # No index has these: last, and only where it can be one.
        *([d.c.original_message_id == name] if "@" in name else []),
    ]
    query = _rows(database).order_by(d.c.created_at, d.c.recipient, d.c.mailbox)
    with snapshot(database) as connection:
        for way in ways:
            if rows := connection.execute(query.where(way)).all():
                return [_delivery(row) for row in rows]
    raise refused(
        "the mail",
        f"the ledger knows no delivery, mail or SES id {name!r}",
        "`relayd deliveries list --mask ADDRESS` finds it by its mask. What never came to relayd, or came longer ago "
        "than RELAYD_LEDGER_DAYS, is not there; what is still in the queue is not either.",
    )


def siblings(database: Database, delivery: Delivery) -> int:
    """How many other deliveries its mail has."""
    query = sa.select(sa.func.count()).where(d.c.mail_id == delivery.mail_id)
    with database.reading("siblings") as connection:
        return int(connection.execute(query).scalar_one()) - 1


def _rows(database: Database) -> sa.Select[Any]:
    tried = (
        sa.select(attempts.c.reason)
        .where(attempts.c.delivery_id == d.c.delivery_id)
        .order_by(attempts.c.attempt.desc())
        .limit(1)
        .scalar_subquery()
    )
    return (
        sa.select(
            d,
            masks.c.address.label("mask"),
            owners.c.name.label("owner"),
            tried.label("tried"),
            (d.c.expires_at <= database.now).label("over"),
        )
        .outerjoin(masks, masks.c.mask_id == d.c.mask_id)
        .outerjoin(owners, owners.c.owner_id == d.c.owner_id)
    )


def _delivery(row: Any) -> Delivery:
    under_way = row.state in ("claimed", "sending")
    doubtful = under_way and (row.doubts > 0 or (row.state == "sending" and bool(row.over)))
    return Delivery(
        delivery_id=row.delivery_id,
        state="in-doubt" if doubtful else "open" if under_way else row.state,
        reason=row.tried if under_way else row.reason,
        kind=row.kind,
        mail_id=row.mail_id,
        recipient=row.recipient,
        to=row.mailbox,
        mask=row.mask,
        owner=row.owner,
        came_at=row.created_at,
        changed_at=row.updated_at,
        attempt=row.attempt,
        resends=row.resends,
        size=row.size,
        trackers=row.trackers,
        message_id=row.message_id,
        trace_id=trace_id_of(row.trace),
        replay_id=row.replay_id,
        ses_id=row.ses_id,
        held_until=row.expires_at if under_way and row.token is not None else None,
    )


def _meant(database: Database, choice: Choice) -> list[sa.ColumnElement[bool]]:
    """The conditions; without any, everything is meant."""
    found: list[sa.ColumnElement[bool]] = []
    if choice.mask is not None:
        found.append(_for_mask(choice.mask))
    if choice.since is not None:
        found.append(d.c.created_at >= choice.since)
    if choice.until is not None:
        found.append(d.c.created_at < choice.until)
    if choice.states:
        standing = _standing(database)
        found.append(or_(*(standing[state] for state in choice.states)))
    if choice.reason is not None:
        found.append(_because(storable(choice.reason)))
    if choice.mail_id is not None:
        found.append(d.c.mail_id == storable(choice.mail_id))
    if choice.ses_id is not None:
        found.append(_sent_as(storable(choice.ses_id)))
    if choice.trace_id is not None:
        found.append(_in_trace(choice.trace_id))
    return found


def _for_mask(mask: Address) -> sa.ColumnElement[bool]:
    """By the mask's id, so that replies are among them; and what was discarded because there was no mask yet."""
    one = d.alias()
    known = one.c.mask_id.in_(sa.select(masks.c.mask_id).where(masks.c.address == mask.bare))
    tagged = and_(
        one.c.recipient.startswith(f"{mask.local}+", autoescape=True),
        one.c.recipient.endswith(f"@{mask.domain}", autoescape=True),
    )
    unknown = and_(one.c.state == "discarded", or_(one.c.recipient == mask.bare, tagged))
    return _either(sa.select(one.c.delivery_id).where(known), sa.select(one.c.delivery_id).where(unknown))


def _either(*ways: sa.Select[tuple[str]]) -> sa.ColumnElement[bool]:
    """One question each, so that each has its index: an OR of them would be answered by reading all there is."""
    return d.c.delivery_id.in_(sa.union_all(*ways))


def _standing(database: Database) -> Mapping[Standing, sa.ColumnElement[bool]]:
    under_way = d.c.state.in_(("claimed", "sending"))
    return {
        "sent": d.c.state == "sent",
        "discarded": d.c.state == "discarded",
        "failed": d.c.state == "failed",
        "open": under_way,
        "in-doubt": or_(
            and_(d.c.state == "failed", d.c.reason == IN_DOUBT),
            and_(d.c.state == "sending", d.c.expires_at <= database.now),
            and_(under_way, d.c.doubts > 0),
        ),
    }


def _because(reason: str) -> sa.ColumnElement[bool]:
    """It ended for it; or it has not ended, and its last attempt was given up for it."""
    later = attempts.alias()
    last = (
        sa.select(sa.func.max(later.c.attempt)).where(later.c.delivery_id == attempts.c.delivery_id).scalar_subquery()
    )
    tried = sa.select(attempts.c.delivery_id).where(attempts.c.reason == reason, attempts.c.attempt == last)
    return or_(d.c.reason == reason, and_(d.c.state.in_(("claimed", "sending")), d.c.delivery_id.in_(tried)))


def _sent_as(ses_id: str) -> sa.ColumnElement[bool]:
    """Now, or before a replay."""
    one = d.alias()
    return _either(
        sa.select(one.c.delivery_id).where(one.c.ses_id == ses_id),
        sa.select(attempts.c.delivery_id).where(attempts.c.ses_id == ses_id),
    )


def _in_trace(trace_id: str) -> sa.ColumnElement[bool]:
    """Any of its attempts."""
    like = f"__-{trace_id}-%"
    tried = sa.select(attempts.c.delivery_id).where(attempts.c.trace.like(like))
    return or_(d.c.trace.like(like), d.c.previous_trace.like(like), d.c.delivery_id.in_(tried))
