"""The ledger's SQL: each change is one conditional statement, so that no two holders of a delivery can both win."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import and_, bindparam, case, or_

from relayd.adapters.database import Database
from relayd.adapters.ledger_claims import KEY, NOTHING_YET, of_now
from relayd.adapters.schema import deliveries as d
from relayd.adapters.schema import quarantine, retries, usage
from relayd.model.delivery import IN_DOUBT


def begin_send(database: Database) -> sa.Update:
    """`sending`, under the claim. A second send under one claim (a mail rebuilt after a refusal) is no resend."""
    return _held(database, "claimed", "sending").values(
        state="sending",
        original_message_id=bindparam("original"),
        size=bindparam("bytes"),
        trackers=bindparam("taken_out"),
        expires_at=database.now + bindparam("ttl", type_=sa.Double),
        resends=d.c.resends + case((and_(d.c.state == "claimed", d.c.doubts > 0), 1), else_=0),
    )


def sent(database: Database) -> sa.Update:
    """`sent`, whoever holds the row by now: the mail is out. A send of before a replay is no news of the replay's."""
    return (
        sa.update(d)
        .where(d.c.delivery_id == bindparam("id"), d.c.state != "sent", of_now())
        .values(
            state="sent",
            reason=None,
            ses_id=bindparam("ses"),
            updated_at=database.now,
        )
    )


def confirmed(database: Database) -> sa.Update:
    """`sent`, because SES says so later: whatever was thought of the delivery, unless SES itself took it back."""
    doubtful = and_(d.c.state == "failed", d.c.reason == IN_DOUBT)
    return sent(database).where(or_(d.c.state.in_(("claimed", "sending")), doubtful))


def taken_back(database: Database) -> sa.Update:
    """`failed`, because SES refused the mail after it had accepted it."""
    return (
        sa.update(d)
        .where(d.c.delivery_id == bindparam("id"), of_now())
        .values(state="failed", reason=bindparam("why"), updated_at=database.now)
    )


def count_sent(database: Database) -> Any:
    """Count a delivery that was just found sent, for its mask and its owner's day."""
    is_reply = case((d.c.kind == "reply", 1), else_=0)
    return _count(database, mails=1 - is_reply, bytes=(1 - is_reply) * sa.func.coalesce(d.c.size, 0), replies=is_reply)


def count_discard(database: Database) -> Any:
    """Count a discard that was just recorded."""
    return _count(database, discards=sa.literal(1))


def _count(database: Database, **counts: sa.ColumnElement[Any]) -> Any:
    nothing = sa.literal(0)
    taken_out = sa.func.coalesce(d.c.trackers, 0) if "mails" in counts else nothing
    counted = dict.fromkeys(("mails", "bytes", "replies", "discards"), nothing) | counts | {"trackers": taken_out}
    row = sa.select(d.c.mask_id, database.today, d.c.owner_id, *counted.values()).where(
        d.c.delivery_id == bindparam("id"), d.c.mask_id.is_not(None), d.c.owner_id.is_not(None), d.c.kind != "notice"
    )
    insert = database.insert(usage).from_select(["mask_id", "day", "owner_id", *counted], row)
    return insert.on_conflict_do_update(
        index_elements=("mask_id", "day"), set_={name: usage.c[name] + insert.excluded[name] for name in counted}
    )


def hold(database: Database) -> Any:
    """List a delivery for a person to decide about."""
    row = sa.select(
        bindparam("quarantine_id", type_=sa.String),
        d.c.mail_id,
        d.c.recipient,
        d.c.mailbox,
        d.c.mask_id,
        d.c.owner_id,
        bindparam("why", type_=sa.String),
        bindparam("sender", type_=sa.String),
        bindparam("subject", type_=sa.String),
        bindparam("notification", type_=sa.String),
        database.now,
    ).where(d.c.delivery_id == bindparam("id"), d.c.mask_id.is_not(None), d.c.owner_id.is_not(None))
    columns = ("quarantine_id", *KEY, "mask_id", "owner_id", "reason", "sender", "subject", "notification", "held_at")
    insert = database.insert(quarantine).from_select(list(columns), row)
    changed = {name: insert.excluded[name] for name in ("reason", "notification", "held_at")}
    return insert.on_conflict_do_update(index_elements=KEY, set_={**changed, "released_at": None})


def failed(database: Database) -> sa.Update:
    """`failed`, under the claim; once more when the answer to the first time was lost."""
    return _held(database, "claimed", "sending", "failed").values(
        state="failed", reason=bindparam("why"), message_id=bindparam("message")
    )


def refused(database: Database) -> sa.Update:
    """`discarded`, under the claim."""
    return _held(database, "claimed", "sending").values(state="discarded", reason=bindparam("why"))


def is_refused() -> sa.Select[Any]:
    """Whether the claim's own delivery is discarded already: like `failed`, that may be told twice."""
    return sa.select(d.c.delivery_id).where(
        d.c.delivery_id == bindparam("id"), d.c.token == bindparam("holder"), d.c.state == "discarded"
    )


def give_back(database: Database) -> sa.Update:
    """Free, under the claim: `claimed` by nobody."""
    return _held(database, "claimed", "sending").values(state="claimed", token=None, expires_at=None)


def discarded(database: Database) -> Any:
    """A discard wins over a claim, which is then found lost before the send; a send under way may finish. Over another
    discard it wins for a replay alone: that asked again.
    """
    insert = database.insert(d).values(
        **NOTHING_YET, state="discarded", attempt=0, created_at=database.now, updated_at=database.now
    )
    new = insert.excluded
    replayed = and_(new.replay_id.is_not(None), d.c.replay_id.is_distinct_from(new.replay_id))
    over = or_(
        d.c.state.in_(("claimed", "failed")),
        and_(d.c.state == "sending", d.c.expires_at <= database.now),
        and_(d.c.state == "discarded", replayed),
    )
    given = ("state", "reason", "message_id", "kind", "mask_id", "owner_id", "replay_id", "updated_at")
    return insert.on_conflict_do_update(
        index_elements=KEY,
        set_={name: new[name] for name in given}
        | {
            "generation": d.c.generation + case((d.c.state.in_(("failed", "discarded")), 1), else_=0),
            "token": None,
            "expires_at": None,
        },
        where=over,
    ).returning(d.c.delivery_id)


def charge(database: Database) -> Any:
    """Count one try, and answer with the sum."""
    insert = database.insert(retries).values(first_at=database.now)
    new = insert.excluded
    return insert.on_conflict_do_update(
        index_elements=("message_id",),
        set_={"failures": retries.c.failures + new.failures, "bugs": retries.c.bugs + new.bugs},
    ).returning(retries.c.failures, retries.c.bugs, (database.now - retries.c.first_at).label("age"))


def threads(most: int) -> sa.CompoundSelect[Any]:
    """Two indexes, so two questions: an OR of both would be answered by reading all of the mask's mail. At most `most`
    rows, newest first.
    """
    row = sa.select(d.c.kind, d.c.original_message_id, d.c.ses_id, d.c.created_at, d.c.delivery_id).where(
        d.c.mask_id == bindparam("mask"), d.c.state == "sent", d.c.original_message_id.is_not(None)
    )
    named = row.where(d.c.original_message_id.in_(bindparam("ids", expanding=True)))
    given = row.where(d.c.ses_id.in_(bindparam("given", expanding=True)))
    return sa.union(named, given).order_by(sa.desc("created_at"), sa.desc("delivery_id")).limit(most)


def prunable(before: sa.ColumnElement[float]) -> sa.Select[int]:
    """How many deliveries nothing has happened to since."""
    return sa.select(sa.func.count()).select_from(d).where(*_untouched(before))


def prune_deliveries(before: sa.ColumnElement[float], limit: int) -> sa.Delete:
    """Forget that many of them at most."""
    old = sa.select(d.c.delivery_id).where(*_untouched(before)).limit(limit)
    return sa.delete(d).where(d.c.delivery_id.in_(old))


def _untouched(before: sa.ColumnElement[float]) -> tuple[sa.ColumnElement[bool], ...]:
    # `updated_at` is never before `created_at`, so the index on `created_at` narrows it down.
    return d.c.created_at < before, d.c.updated_at < before


def prune_before(column: sa.Column[float], before: sa.ColumnElement[float]) -> sa.Delete:
    """Rows of a table that SQS, SES and people have long forgotten."""
    return sa.delete(column.table).where(column < before)


def fold_usage(database: Database, days: int) -> tuple[Any, sa.Delete]:
    """Add daily counts that are older than `days` to the mask's day 0, then remove them."""
    old = and_(usage.c.day > 0, usage.c.day < database.today - days)
    names = ("mails", "bytes", "replies", "discards", "trackers")
    row = (
        sa.select(usage.c.mask_id, sa.literal(0), usage.c.owner_id, *(sa.func.sum(usage.c[name]) for name in names))
        .where(old)
        .group_by(usage.c.mask_id, usage.c.owner_id)
    )
    insert = database.insert(usage).from_select(["mask_id", "day", "owner_id", *names], row)
    folded = insert.on_conflict_do_update(
        index_elements=("mask_id", "day"), set_={name: usage.c[name] + insert.excluded[name] for name in names}
    )
    return folded, sa.delete(usage).where(old)


def _held(database: Database, *states: str) -> sa.Update:
    return (
        sa.update(d)
        .where(d.c.delivery_id == bindparam("id"), d.c.token == bindparam("holder"), d.c.state.in_(states))
        .values(updated_at=database.now)
    )
