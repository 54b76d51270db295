"""One mail's story, attempt by attempt, with what else is known that bears on it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import attempts, mailboxes, masks, owners, quarantine, retries
from relayd.adapters.schema import deliveries as d
from relayd.model.delivery import CLAIM_EXPIRED, IN_DOUBT, SENT
from relayd.ops.deliveries import Delivery, trace_id_of
from relayd.ops.snapshot import snapshot

UNDER_WAY = "under_way"
"""The outcome of an attempt that has none yet."""
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attempt came to; or, without a number, what was decided without one. The names are the JSON's keys."""

    number: int | None
    began_at: float | None
    """None where that is not known."""
    ended_at: float | None
    """None while it goes on."""
    outcome: str
    """`sent`, `under_way`, or the word for why not."""
    message_id: str | None
    """SQS's."""
    trace_id: str | None
    replay_id: str | None = None
    ses_id: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """Its entry in the quarantine."""

    quarantine_id: str
    released_at: float | None


@dataclass(frozen=True, slots=True)
class Around:
    """How things stand now, which need not be how they stood then."""

    held: Held | None = None
    charged: int = 0
    """Failed tries of its SQS message that count."""
    charged_since: float | None = None
    mask_enabled: bool | None = None
    """None where there is no mask (any more)."""
    owner_active: bool | None = None
    owner_flagged: bool | None = None
    mailbox_paused_until: float | None = None
    now: float = 0.0


@dataclass(frozen=True, slots=True)
class Story:
    """A delivery with all that is known of it."""

    delivery: Delivery
    attempts: tuple[Attempt, ...]
    around: Around = field(default_factory=Around)


def stories(database: Database, deliveries: Sequence[Delivery]) -> list[Story]:
    """In the order of the deliveries."""
    told: list[Story] = []
    with snapshot(database) as connection:
        for start in range(0, len(deliveries), _CHUNK):
            told += _stories(database, connection, deliveries[start : start + _CHUNK])
    return told


def _stories(database: Database, connection: sa.Connection, deliveries: Sequence[Delivery]) -> Iterator[Story]:
    ids = [one.delivery_id for one in deliveries]
    tried: dict[str, list[Any]] = defaultdict(list)
    query = sa.select(attempts).where(attempts.c.delivery_id.in_(ids)).order_by(attempts.c.attempt)
    for row in connection.execute(query):
        tried[row.delivery_id].append(row)
    known = {row.delivery_id: row for row in connection.execute(_around(database).where(d.c.delivery_id.in_(ids)))}
    for one in deliveries:
        # What was pruned this moment has no story any more.
        if one.delivery_id in known:
            now = known[one.delivery_id]
            yield Story(one, tuple(_attempts(one, tried[one.delivery_id], now)), _known(now))


def _around(database: Database) -> sa.Select[Any]:
    return (
        sa.select(
            d.c.delivery_id,
            d.c.state,
            d.c.claimed_at,
            quarantine.c.quarantine_id,
            quarantine.c.released_at,
            retries.c.failures,
            retries.c.first_at,
            sa.case((masks.c.removed_at.is_(None), masks.c.enabled), else_=None).label("enabled"),
            owners.c.active,
            owners.c.flagged,
            sa.case((mailboxes.c.paused_until > database.now, mailboxes.c.paused_until), else_=None).label("paused"),
            database.now.label("now"),
        )
        .outerjoin(
            quarantine, sa.and_(*(quarantine.c[name] == d.c[name] for name in ("mail_id", "recipient", "mailbox")))
        )
        .outerjoin(retries, retries.c.message_id == d.c.message_id)
        .outerjoin(masks, masks.c.mask_id == d.c.mask_id)
        .outerjoin(owners, owners.c.owner_id == d.c.owner_id)
        .outerjoin(mailboxes, sa.and_(mailboxes.c.address == d.c.mailbox, d.c.kind != "reply"))
    )


def _known(row: Any) -> Around:
    return Around(
        held=None if row.quarantine_id is None else Held(row.quarantine_id, row.released_at),
        charged=row.failures or 0,
        charged_since=row.first_at,
        mask_enabled=None if row.enabled is None else bool(row.enabled),
        owner_active=row.active,
        owner_flagged=row.flagged,
        mailbox_paused_until=row.paused,
        now=row.now,
    )


def _attempts(one: Delivery, rows: Sequence[Any], now: Any) -> Iterator[Attempt]:
    """Those on record, and what the delivery itself says of the last one. `now`: its row of `_around`."""
    for row in rows:
        yield Attempt(
            number=row.attempt or None,
            began_at=row.began_at,
            ended_at=row.ended_at,
            outcome=row.reason,
            message_id=row.message_id,
            trace_id=trace_id_of(row.trace),
            replay_id=row.replay_id,
            ses_id=row.ses_id,
        )
    on_record = rows[-1] if rows and rows[-1].attempt == one.attempt else None
    refused = on_record is not None and on_record.reason == one.reason and on_record.ended_at >= one.changed_at
    if one.state == "discarded" and not refused:
        # By the notification alone, so that nothing was tried.
        yield Attempt(None, None, one.changed_at, one.reason or one.state, one.message_id, None, one.replay_id)
    elif on_record is None and one.attempt:
        first = one.came_at if one.attempt == 1 else None
        yield Attempt(
            number=one.attempt,
            began_at=first if now.claimed_at is None else now.claimed_at,
            ended_at=_ended_at(one, now),
            outcome=_outcome(one, now),
            message_id=one.message_id,
            trace_id=one.trace_id,
            replay_id=one.replay_id,
            ses_id=one.ses_id if one.state in ("sent", "failed") else None,
        )


def _outcome(one: Delivery, now: Any) -> str:
    """Of an attempt that nobody has written down."""
    if one.state == "sent":
        return SENT
    if one.state == "failed":
        return one.reason or one.state
    if not _expired(one, now):
        return UNDER_WAY
    return IN_DOUBT if now.state == "sending" else CLAIM_EXPIRED


def _ended_at(one: Delivery, now: Any) -> float | None:
    if one.state in ("sent", "failed"):
        return one.changed_at
    return one.held_until if _expired(one, now) else None


def _expired(one: Delivery, now: Any) -> bool:
    return one.held_until is not None and one.held_until <= float(now.now)
