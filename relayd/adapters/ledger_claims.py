"""The ledger's SQL of claims: who may have a delivery, and what stays of the attempt before.

Taking a new delivery is one statement, which is all that most mail needs. Taking one over writes down how the attempt
before ended, and that is known only until the row is changed: so it is looked at first, and both are one transaction.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import and_, bindparam, case, or_

from relayd.adapters.database import Database
from relayd.adapters.schema import attempts
from relayd.adapters.schema import deliveries as d
from relayd.model.delivery import CLAIM_EXPIRED, GIVEN_BACK, IN_DOUBT

KEY = ("mail_id", "recipient", "mailbox")
NOTHING_YET = {"kills": 0, "doubts": 0, "resends": 0, "generation": 1}

_SETTLED = ("sent", "discarded", "failed")
_THIS = tuple(d.c[name] == bindparam(name) for name in KEY)
"""The delivery of the key, among parameters called like its columns."""
_THIS_ONE = tuple(d.c[name] == bindparam(f"its_{name}") for name in KEY)
"""The same for an UPDATE, where such names are taken."""
_RECORD = (
    attempts.c.delivery_id,
    attempts.c.attempt,
    attempts.c.message_id,
    attempts.c.reason,
    attempts.c.trace,
    attempts.c.began_at,
    attempts.c.ended_at,
    attempts.c.replay_id,
    attempts.c.ses_id,
)


def new(database: Database) -> Any:
    """Claim a delivery that nobody has heard of. No row comes back where there is one."""
    now = database.now
    insert = database.insert(d).values(
        **NOTHING_YET,
        state="claimed",
        expires_at=now + bindparam("ttl", type_=sa.Double),
        attempt=1,
        created_at=now,
        updated_at=now,
        claimed_at=now,
    )
    # A row and no count: PostgreSQL's driver does not count what an INSERT left alone.
    return insert.on_conflict_do_nothing(index_elements=KEY).returning(d.c.delivery_id)


def holder(database: Database) -> sa.Select[Any]:
    """Whether a delivery is free, and who stands in the way where it is not."""
    left = (d.c.expires_at - database.now).label("left")
    return sa.select(d.c.state, d.c.reason, left, _free(database).label("free")).where(*_THIS)


def before(database: Database) -> Any:
    """Write down how the attempt before ended, where the delivery is free and its own ending did not. The row stays
    locked, so that what was written is true.
    """
    reason = case(
        (d.c.state == "sending", IN_DOUBT),
        (and_(d.c.state == "claimed", d.c.token.is_(None)), GIVEN_BACK),
        (d.c.state == "claimed", CLAIM_EXPIRED),
        else_=sa.func.coalesce(d.c.reason, d.c.state),
    )
    ended = case((d.c.state.in_(_SETTLED), d.c.updated_at), else_=sa.func.coalesce(d.c.expires_at, d.c.updated_at))
    # Of a send that SES took back, too. The other failures have written their own row, and this one is left alone.
    ses_id = case((d.c.state.in_(("sent", "failed")), d.c.ses_id), else_=None)
    had_one = or_(d.c.attempt > 0, d.c.state == "discarded")
    return _record(database, reason, ended, ses_id, *_THIS, had_one, _free(database), locked=True)


def take(database: Database) -> sa.Update:
    """Take over what is free. No row comes back when it is not free."""
    now = database.now
    reopened = d.c.state.in_(_SETTLED)
    # A redrive of a delivery in doubt, or an SNS twin of it: whatever it sends is a resend, and one doubt is behind it.
    doubtful = and_(d.c.state == "failed", d.c.reason == IN_DOUBT)
    given = ("token", "message_id", "kind", "mask_id", "owner_id", "trace", "replay_id")
    return (
        sa.update(d)
        .where(*_THIS_ONE, _free(database))
        .values(
            {name: bindparam(f"new_{name}", type_=sa.String) for name in given}
            | {
                "state": "claimed",
                "reason": None,
                "expires_at": now + bindparam("ttl", type_=sa.Double),
                "attempt": d.c.attempt + 1,
                "generation": d.c.generation + case((reopened, 1), else_=0),
                "kills": case((reopened, 0), (_died(database), d.c.kills + 1), else_=d.c.kills),
                "doubts": case(
                    (doubtful, 1), (reopened, 0), (d.c.state == "sending", d.c.doubts + 1), else_=d.c.doubts
                ),
                "previous_trace": d.c.trace,
                "updated_at": now,
                "claimed_at": now,
            }
        )
        .returning(d.c.delivery_id, d.c.attempt, d.c.kills, d.c.doubts, d.c.previous_trace)
    )


def ended(database: Database) -> Any:
    """Write down that the last attempt of the delivery `id` ended, and `why`. Of two times the first one counts."""
    why = bindparam("why", type_=sa.String)
    return _record(database, why, database.now, sa.null(), d.c.delivery_id == bindparam("id"))


def of_now() -> sa.ColumnElement[bool]:
    """Whether a send in the attempt `number` (0: unknown) of the delivery `id` is of what is being done now, and not
    of before a replay that sends once more what was sent.
    """
    number = bindparam("number", type_=sa.Integer)
    sent_since = (
        sa.select(attempts.c.attempt)
        .where(attempts.c.delivery_id == d.c.delivery_id, attempts.c.attempt >= number, attempts.c.ses_id.is_not(None))
        .exists()
    )
    return or_(d.c.attempt == number, ~sent_since)


def _free(database: Database) -> sa.ColumnElement[bool]:
    """New messages open what failed, replays what was settled; of the rest, what nobody holds is free."""
    another = d.c.message_id != bindparam("message", type_=sa.String)
    replayed = _replayed()
    again = bindparam("again", type_=sa.Boolean)
    given_back = and_(d.c.state == "claimed", d.c.token.is_(None))
    # SES's own word may still come that it has the mail, or that it never had.
    doubted = and_(d.c.state == "sending", d.c.expires_at <= database.now - bindparam("doubt", type_=sa.Double))
    return or_(
        given_back,
        _died(database),
        doubted,
        and_(d.c.state == "failed", or_(another, replayed)),
        and_(d.c.state == "discarded", replayed),
        and_(d.c.state == "sent", again, replayed),
    )


def _replayed() -> sa.ColumnElement[bool]:
    """A replay that has not had the delivery yet: neither in its last attempt nor in one before."""
    replay = bindparam("replay", type_=sa.String)
    had = sa.select(attempts.c.attempt).where(attempts.c.delivery_id == d.c.delivery_id, attempts.c.replay_id == replay)
    return and_(replay.is_not(None), d.c.replay_id.is_distinct_from(replay), ~had.exists())


def _died(database: Database) -> sa.ColumnElement[bool]:
    return and_(d.c.state == "claimed", d.c.expires_at <= database.now)


def _record(
    database: Database,
    reason: sa.ColumnElement[Any],
    ended_at: sa.ColumnElement[Any],
    ses_id: sa.ColumnElement[Any],
    *which: sa.ColumnElement[bool],
    locked: bool = False,
) -> Any:
    row = sa.select(
        d.c.delivery_id,
        d.c.attempt,
        d.c.message_id,
        reason,
        d.c.trace,
        d.c.claimed_at,
        ended_at,
        d.c.replay_id,
        ses_id,
    ).where(*which)
    insert = database.insert(attempts).from_select(_RECORD, row.with_for_update() if locked else row)
    return insert.on_conflict_do_nothing(index_elements=("delivery_id", "attempt"))
