"""SES's events in the database: whom they are about, and what follows from them, all of it or nothing."""

from collections.abc import Sequence
from typing import Any, assert_never

import sqlalchemy as sa

from relayd.adapters import ledger_statements
from relayd.adapters.database import Database
from relayd.adapters.notices import insert_notice
from relayd.adapters.schema import deliveries, mailboxes, masks, owners
from relayd.adapters.schema import feedback as seen
from relayd.adapters.storable import storable
from relayd.model.feedback import (
    Alert,
    Confirm,
    DisableMask,
    Effect,
    EndPause,
    Fail,
    Feedback,
    FlagOwner,
    MailboxStanding,
    Match,
    NoteComplaint,
    PauseMailbox,
    QuarantineSpam,
    SentMail,
    Tell,
)

_SENT = (
    sa.select(
        deliveries.c.delivery_id,
        deliveries.c.kind,
        deliveries.c.owner_id,
        deliveries.c.mask_id,
        deliveries.c.mailbox,
        masks.c.address,
        owners.c.complained_at,
    )
    .outerjoin(masks, masks.c.mask_id == deliveries.c.mask_id)
    .outerjoin(owners, owners.c.owner_id == deliveries.c.owner_id)
)
_BY_TAG = _SENT.where(deliveries.c.delivery_id == sa.bindparam("delivery"))
_BY_SES_ID = _SENT.where(deliveries.c.ses_id == sa.bindparam("ses")).limit(1)


class SqlFeedbacks:
    """`relayd.ports.Feedbacks` on SQLAlchemy Core."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._confirmed = ledger_statements.confirmed(database)
        self._count = ledger_statements.count_sent(database)
        self._taken_back = ledger_statements.taken_back(database)
        self._mailboxes = sa.select(mailboxes, (mailboxes.c.paused_until > database.now).label("paused")).where(
            mailboxes.c.address.in_(sa.bindparam("addresses", expanding=True))
        )
        # A row comes back for a new one: PostgreSQL's driver does not count what an INSERT left alone.
        new = database.insert(seen).values(at=database.now).on_conflict_do_nothing()
        self._seen = new.returning(seen.c.feedback_id)
        self._insert_notice = insert_notice(database)

    def match(self, feedback: Feedback) -> Match:
        """By the tag, then by SES's id; the mailboxes by their addresses."""
        named = {storable(one.address.full) for one in feedback.affected if one.address is not None}
        named |= {storable(one.address.bare) for one in feedback.affected if one.address is not None}
        with self._database.reading("match_feedback") as connection:
            row = None
            if feedback.delivery_id is not None:
                row = connection.execute(_BY_TAG, {"delivery": storable(feedback.delivery_id)}).one_or_none()
            if row is None:
                row = connection.execute(_BY_SES_ID, {"ses": storable(feedback.ses_id)}).one_or_none()
            if row is not None and row.kind != "reply":
                # A mailbox may forward on, and then the event names where to.
                named.add(row.mailbox)
            boxes = connection.execute(self._mailboxes, {"addresses": sorted(named)}).all() if named else []
        standings = tuple(
            MailboxStanding(box.mailbox_id, box.owner_id, box.address, box.bounces, bool(box.paused)) for box in boxes
        )
        if row is None:
            return Match(mailboxes=standings)
        sent = SentMail(row.delivery_id, row.kind, row.owner_id, row.mask_id, row.address or "", row.mailbox)
        return Match(sent, standings, row.complained_at)

    def apply(self, feedback: Feedback, effects: Sequence[Effect]) -> bool:
        """In one transaction. What may happen any number of times is not remembered: it is most of all events."""
        once = any(not isinstance(effect, Confirm | EndPause) for effect in effects)
        if not effects:
            return True
        with self._database.writing("apply_feedback") as connection:
            if once and connection.execute(self._seen, {"feedback_id": storable(feedback.feedback_id)}).first() is None:
                return False
            for effect in effects:
                self._apply(connection, effect, feedback.attempt or 0)
        return True

    def _apply(self, connection: sa.Connection, effect: Effect, attempt: int) -> None:
        match effect:
            case Confirm():
                values = {"id": effect.delivery_id, "ses": storable(effect.ses_id), "number": attempt}
                if connection.execute(self._confirmed, values).rowcount:
                    connection.execute(self._count, {"id": effect.delivery_id})
            case Fail():
                why = {"id": effect.delivery_id, "why": effect.reason, "number": attempt}
                connection.execute(self._taken_back, why)
            case PauseMailbox():
                paused = {"pause": effect.kind, "paused_until": effect.until, "bounces": effect.bounces}
                _change(connection, mailboxes.c.mailbox_id, effect.mailbox_id, **paused)
            case EndPause():
                well = {"pause": None, "paused_until": None, "bounces": 0}
                _change(connection, mailboxes.c.mailbox_id, effect.mailbox_id, **well)
            case QuarantineSpam():
                _change(connection, owners.c.owner_id, effect.owner_id, spam_handling="quarantine")
            case NoteComplaint():
                _change(connection, owners.c.owner_id, effect.owner_id, complained_at=effect.at)
            case DisableMask():
                _change(connection, masks.c.mask_id, effect.mask_id, enabled=False)
            case FlagOwner():
                _change(connection, owners.c.owner_id, effect.owner_id, flagged=True, flag_reason=effect.reason)
            case Tell():
                connection.execute(*self._insert_notice(effect.notice))
            case Alert():
                pass  # for the operator: told where events are counted
            case _:
                assert_never(effect)


def _change(connection: sa.Connection, column: sa.Column[Any], key: str, **values: Any) -> None:
    connection.execute(sa.update(column.table).where(column == key).values(**values))
