"""The ledger's SQL: each change is one conditional statement, so that no two holders of a delivery can both win."""

from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import and_, bindparam, case, or_

from relayd.adapters.database import Database
from relayd.adapters.schema import deliveries as d
from relayd.adapters.schema import retries
from relayd.model.delivery import IN_DOUBT

KEY = ("mail_id", "recipient", "mailbox")

_NOTHING_YET = {"kills": 0, "doubts": 0, "resends": 0, "generation": 1}


def claim(database: Database) -> Any:
    """Insert, or take over what is free. No row comes back when it is not free."""
    now = database.now
    insert = database.insert(d).values(
        **_NOTHING_YET,
        state="claimed",
        expires_at=now + bindparam("ttl", type_=sa.Double),
        attempt=1,
        created_at=now,
        updated_at=now,
    )
    new = insert.excluded
    again = and_(d.c.state == "failed", d.c.message_id != new.message_id)
    died = and_(d.c.state == "claimed", d.c.expires_at <= now)
    # A redrive of a delivery in doubt, or an SNS twin of it: whatever it sends is a resend, and one doubt is behind it.
    doubtful = and_(again, d.c.reason == IN_DOUBT)
    doubted = and_(d.c.state == "sending", d.c.expires_at <= now)
    return insert.on_conflict_do_update(
        index_elements=KEY,
        set_={
            **{name: new[name] for name in ("state", "token", "expires_at", "message_id", "mask_id", "trace")},
            "reason": None,
            "attempt": d.c.attempt + 1,
            "generation": d.c.generation + case((again, 1), else_=0),
            "kills": case((again, 0), (died, d.c.kills + 1), else_=d.c.kills),
            "doubts": case((doubtful, 1), (again, 0), (doubted, d.c.doubts + 1), else_=d.c.doubts),
            "previous_trace": d.c.trace,
            "updated_at": now,
        },
        where=or_(again, died, doubted, _given_back()),
    ).returning(d.c.delivery_id, d.c.attempt, d.c.kills, d.c.doubts, d.c.previous_trace)


def holder(database: Database) -> sa.Select[Any]:
    """Who stands in the way of a claim."""
    return sa.select(d.c.state, d.c.reason, (d.c.expires_at - database.now).label("left")).where(
        *(d.c[name] == bindparam(name) for name in KEY)
    )


def begin_send(database: Database) -> sa.Update:
    """`sending`, under the claim. A second send under one claim (a mail rebuilt after a refusal) is no resend."""
    return _held(database, "claimed", "sending").values(
        state="sending",
        expires_at=database.now + bindparam("ttl", type_=sa.Double),
        resends=d.c.resends + case((and_(d.c.state == "claimed", d.c.doubts > 0), 1), else_=0),
    )


def sent(database: Database) -> sa.Update:
    """`sent`, whoever holds the row by now: the mail is out."""
    return (
        sa.update(d)
        .where(d.c.delivery_id == bindparam("id"), d.c.state != "sent")
        .values(
            state="sent",
            reason=None,
            ses_id=bindparam("ses"),
            original_message_id=bindparam("original"),
            updated_at=database.now,
        )
    )


def failed(database: Database) -> sa.Update:
    """`failed`, under the claim; once more when the answer to the first time was lost."""
    return _held(database, "claimed", "sending", "failed").values(
        state="failed", reason=bindparam("why"), message_id=bindparam("message")
    )


def refused(database: Database) -> sa.Update:
    """`discarded`, under the claim; like `failed`, it may be told twice."""
    return _held(database, "claimed", "sending", "discarded").values(state="discarded", reason=bindparam("why"))


def give_back(database: Database) -> sa.Update:
    """Free, under the claim: `claimed` by nobody."""
    return _held(database, "claimed", "sending").values(state="claimed", token=None, expires_at=None)


def discarded(database: Database) -> Any:
    """A discard wins over a claim, which is then found lost before the send; a send under way may finish."""
    over = or_(d.c.state.in_(("claimed", "failed")), and_(d.c.state == "sending", d.c.expires_at <= database.now))
    return _ended(database, "discarded", over)


def charge(database: Database) -> Any:
    """Count one try, and answer with the sum."""
    insert = database.insert(retries).values(first_at=database.now)
    new = insert.excluded
    return insert.on_conflict_do_update(
        index_elements=("message_id",),
        set_={"failures": retries.c.failures + new.failures, "bugs": retries.c.bugs + new.bugs},
    ).returning(retries.c.failures, retries.c.bugs, (database.now - retries.c.first_at).label("age"))


def threads() -> sa.Select[Any]:
    """The last row wins where there are several, so the oldest comes last."""
    return (
        sa.select(d.c.original_message_id, d.c.ses_id)
        .where(
            d.c.mask_id == bindparam("mask"),
            d.c.original_message_id.in_(bindparam("ids", expanding=True)),
            d.c.state == "sent",
        )
        .order_by(d.c.created_at.desc(), d.c.delivery_id)
    )


def prune_deliveries(before: sa.ColumnElement[float], limit: int) -> sa.Delete:
    """`updated_at` is never before `created_at`, so the index on `created_at` narrows it down."""
    old = sa.select(d.c.delivery_id).where(d.c.created_at < before, d.c.updated_at < before).limit(limit)
    return sa.delete(d).where(d.c.delivery_id.in_(old))


def prune_retries(before: sa.ColumnElement[float]) -> sa.Delete:
    """What SQS has long forgotten."""
    return sa.delete(retries).where(retries.c.first_at < before)


def _held(database: Database, *states: str) -> sa.Update:
    return (
        sa.update(d)
        .where(d.c.delivery_id == bindparam("id"), d.c.token == bindparam("holder"), d.c.state.in_(states))
        .values(updated_at=database.now)
    )


def _given_back() -> sa.ColumnElement[bool]:
    return and_(d.c.state == "claimed", d.c.token.is_(None))


def _ended(database: Database, state: Literal["discarded"], over: sa.ColumnElement[bool]) -> Any:
    insert = database.insert(d).values(
        **_NOTHING_YET, state=state, attempt=0, created_at=database.now, updated_at=database.now
    )
    new = insert.excluded
    return insert.on_conflict_do_update(
        index_elements=KEY,
        set_={
            **{name: new[name] for name in ("state", "reason", "message_id", "mask_id", "updated_at")},
            "generation": d.c.generation + case((d.c.state == "failed", 1), else_=0),
            "token": None,
            "expires_at": None,
        },
        where=over,
    )
