"""The ledger in the database: what at-least-once turns into once by.

What is promised of it is written at `relayd.ports.Ledger`.
"""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from relayd.adapters import ledger_claims as claims
from relayd.adapters import ledger_statements as statements
from relayd.adapters.database import Database
from relayd.adapters.prepared import Statements
from relayd.adapters.schema import attempts, feedback, notices, quarantine, retries
from relayd.adapters.storable import storable
from relayd.errors import ClaimLostError, TransientError
from relayd.model.delivery import (
    Busy,
    Claim,
    ClaimAnswer,
    Concern,
    DeliveryKey,
    Draft,
    Held,
    Lost,
    Replay,
    Settled,
    ThreadLink,
    Tries,
)

MAX_KILLS = 3
"""Processes that may die over one delivery."""
MAX_DOUBTS = 2
"""Sends in doubt: the first is sent once more, the second is for a person to look at."""

_MAX_KEY = 320
"""Characters of a key's part. Longer ones are no addresses, and PostgreSQL indexes 2,704 bytes a row."""
_MAX_MESSAGE_ID = 500
_PRUNE_ROWS = 5_000
"""Rows a transaction: short enough that no worker notices."""
_THREADS_A_QUERY = 500
_MOST_LINKS = 200
"""Mails that an answer about threads names, the newest ones: a stranger may give all of theirs the same id."""
_SECONDS_A_DAY = 86_400
_LONGEST_SHOWN = 500
_FOREVER = 1e9
"""Seconds; thirty years. Infinity is no number to every database."""
USAGE_DAYS = 35
"""Days that usage is kept by the day; longer than any month that somebody may ask about."""
_PRUNED = (attempts.c.ended_at, retries.c.first_at, feedback.c.at, notices.c.created_at, quarantine.c.held_at)
"""What goes at the same age as deliveries. S3's lifecycle has taken a mail long before its quarantine row goes."""


class SqlLedger:
    """`relayd.ports.Ledger` on SQLAlchemy Core."""

    def __init__(self, database: Database, *, days: float = 60) -> None:
        self._database = database
        # Built once: SQLAlchemy's cache knows the SQL of a statement object that it has seen.
        self._new = database.prepared(claims.new(database))
        self._holder = claims.holder(database)
        self._before = claims.before(database)
        self._take = claims.take(database)
        self._ended = claims.ended(database)
        self._begin_send = database.prepared(statements.begin_send(database))
        self._sent = database.prepared(statements.sent(database))
        self._count_sent = database.prepared(statements.count_sent(database))
        self._failed = statements.failed(database)
        self._refused = statements.refused(database)
        self._is_refused = statements.is_refused()
        self._give_back = statements.give_back(database)
        self._discarded = statements.discarded(database)
        self._count_discard = statements.count_discard(database)
        self._hold = statements.hold(database)
        self._charge = statements.charge(database)
        self._threads = statements.threads(_MOST_LINKS)
        before = database.now - days * _SECONDS_A_DAY
        self._prunable = statements.prunable(before)
        self._prune_deliveries = statements.prune_deliveries(before, _PRUNE_ROWS)
        self._prune_others = [
            *(statements.prune_before(column, before) for column in _PRUNED),
            *statements.fold_usage(database, USAGE_DAYS),
        ]

    def claim(
        self,
        key: DeliveryKey,
        concern: Concern,
        *,
        message_id: str,
        ttl: float,
        trace: str | None,
        doubt_seconds: float = 0.0,
        replay: Replay | None = None,
    ) -> ClaimAnswer:
        """Take the delivery, or tell why not."""
        parts = _stored(key)
        given = _concerned(concern) | {
            "token": _random_id(),
            "message_id": storable(message_id),
            "trace": trace,
            "replay_id": None if replay is None else replay.replay_id,
        }
        delivery_id, token = _random_id(), given["token"]
        new = parts | given | {"delivery_id": delivery_id, "ttl": ttl}
        if self._database.change("claim", lambda run: run(self._new, new), once=True).rows:
            return Claim(delivery_id, key, str(token), attempt=1)
        doubt = min(doubt_seconds, _FOREVER)
        asked: dict[str, Any] = {
            "message": given["message_id"],
            "replay": given["replay_id"],
            "again": replay is not None and replay.again,
            "doubt": doubt,
        }
        with self._database.reading("claim") as connection:
            holder = connection.execute(self._holder, parts | asked).one_or_none()
        if holder is None or not holder.free:
            return _refusal(holder, doubt)
        return self._take_over(key, parts, given, asked, ttl)

    def _take_over(
        self, key: DeliveryKey, parts: dict[str, str], given: dict[str, str | None], asked: dict[str, Any], ttl: float
    ) -> ClaimAnswer:
        """Take what was free a moment ago."""
        its = {f"its_{name}": value for name, value in parts.items()}
        values = {f"new_{name}": value for name, value in given.items()}
        with self._database.writing("claim") as connection:
            connection.execute(self._before, parts | asked)
            row = connection.execute(self._take, its | values | asked | {"ttl": ttl}).one_or_none()
            if row is None:
                return _refusal(connection.execute(self._holder, parts | asked).one_or_none(), asked["doubt"])
        claim = Claim(
            delivery_id=row.delivery_id,
            key=key,
            token=str(given["token"]),
            attempt=row.attempt,
            resend=row.doubts > 0,
            previous_trace=row.previous_trace,
        )
        if row.doubts >= MAX_DOUBTS:
            return Lost("in_doubt", claim)
        return Lost("killed", claim) if row.kills >= MAX_KILLS else claim

    def begin_send(self, claim: Claim, draft: Draft, *, ttl: float) -> None:
        """Make `sending` durable. An expired claim that nobody took over is still ours."""
        original = draft.original_message_id
        values = {
            "bytes": draft.size,
            "taken_out": draft.trackers,
            "original": None if original is None else _thread_id(original),
        }
        ours = {"id": claim.delivery_id, "holder": claim.token, "ttl": ttl}
        if not self._database.change("begin_send", lambda run: run(self._begin_send, ours | values), once=True).changed:
            raise ClaimLostError

    def sent(self, claim: Claim, ses_id: str) -> None:
        """Record the send, and count it. The first of two is kept."""
        values = {"id": claim.delivery_id, "ses": ses_id, "number": claim.attempt}

        def record(run: Statements) -> None:
            if run(self._sent, values).changed:
                run(self._count_sent, {"id": claim.delivery_id})

        self._database.change("sent", record)

    def failed(self, claim: Claim, reason: str, *, message_id: str, held: Held | None = None) -> None:
        """Record the failure, if the claim is ours."""
        values = {"id": claim.delivery_id, "holder": claim.token, "why": reason, "message": storable(message_id)}
        with self._database.writing("failed") as connection:
            if not connection.execute(self._failed, values).rowcount:
                raise ClaimLostError
            connection.execute(self._ended, {"id": claim.delivery_id, "why": reason})
            if held is not None:
                connection.execute(self._hold, _held(held, claim.delivery_id, reason))

    def refused(self, claim: Claim, reason: str) -> None:
        """Record a discard, if the claim is ours."""
        ours = {"id": claim.delivery_id, "holder": claim.token}
        with self._database.writing("refused") as connection:
            if connection.execute(self._refused, ours | {"why": reason}).rowcount:
                connection.execute(self._ended, {"id": claim.delivery_id, "why": reason})
                connection.execute(self._count_discard, {"id": claim.delivery_id})
            elif connection.execute(self._is_refused, ours).first() is None:
                raise ClaimLostError

    def give_back(self, claim: Claim, reason: str) -> None:
        """Free the delivery, if the claim is ours."""
        with self._database.writing("give_back") as connection:
            if connection.execute(self._give_back, {"id": claim.delivery_id, "holder": claim.token}).rowcount:
                connection.execute(self._ended, {"id": claim.delivery_id, "why": reason})

    def discarded(
        self,
        key: DeliveryKey,
        reason: str,
        *,
        message_id: str,
        concern: Concern | None,
        held: Held | None = None,
        replay: Replay | None = None,
    ) -> None:
        """Record a discard; count it, and list it where it is held, the first time only."""
        values = {
            "delivery_id": _random_id(),
            "reason": reason,
            "message_id": storable(message_id),
            "replay_id": None if replay is None else replay.replay_id,
        }
        whose = _concerned(concern or Concern("forward", None, None))
        with self._database.writing("discarded") as connection:
            found = connection.execute(self._discarded, _stored(key) | values | whose).scalar_one_or_none()
            if found is None:
                return
            connection.execute(self._count_discard, {"id": found})
            if held is not None:
                connection.execute(self._hold, _held(held, found, reason))

    def charge(self, message_id: str, *, bug: bool) -> Tries:
        """Count one failed try."""
        values = {"message_id": storable(message_id), "failures": 1, "bugs": int(bug)}
        with self._database.writing_once("charge") as connection:
            row = connection.execute(self._charge, values).one()
        return Tries(row.failures, row.bugs, max(0.0, row.age))

    def threads(self, mask_id: str, message_ids: Sequence[str]) -> tuple[ThreadLink, ...]:
        """The mails that these ids name, in as few queries as there are parameters for."""
        asked = {_thread_id(one): one for one in message_ids}
        ids = list(asked)
        rows: dict[str, Any] = {}
        for start in range(0, len(ids), _THREADS_A_QUERY):
            some = ids[start : start + _THREADS_A_QUERY]
            values = {"mask": mask_id, "ids": some, "given": [one.partition("@")[0] for one in some]}
            with self._database.reading("threads") as connection:
                rows.update((row.delivery_id, row) for row in connection.execute(self._threads, values))
        inorder = sorted(rows.values(), key=lambda row: (row.created_at, row.delivery_id))[-_MOST_LINKS:]
        originals = (asked.get(row.original_message_id, row.original_message_id) for row in inorder)
        links = (ThreadLink(row.kind, one, row.ses_id) for row, one in zip(inorder, originals, strict=True))
        return tuple(dict.fromkeys(links))

    def prunable(self) -> int:
        """How many deliveries `prune` would forget now."""
        with self._database.reading("prunable") as connection:
            return connection.execute(self._prunable).scalar_one()

    def prune(self, told: Callable[[int], object] = lambda _: None) -> int:
        """Forget what both queues have forgotten long ago. Returns how many deliveries went, and tells it after each
        transaction, behind which nothing has to be done again.
        """
        gone, deleted = 0, _PRUNE_ROWS
        while deleted == _PRUNE_ROWS:
            with self._database.writing_once("prune") as connection:
                deleted = connection.execute(self._prune_deliveries).rowcount
            gone += deleted
            told(gone)
        with self._database.writing("prune") as connection:
            for statement in self._prune_others:
                connection.execute(statement)
        return gone


def _concerned(concern: Concern) -> dict[str, str | None]:
    return {"kind": concern.kind, "mask_id": concern.mask_id, "owner_id": concern.owner_id}


def _held(held: Held, delivery_id: str, reason: str) -> dict[str, str]:
    return {
        "quarantine_id": _random_id(),
        "id": delivery_id,
        "why": reason,
        "sender": storable(held.sender)[:_LONGEST_SHOWN],
        "subject": storable(held.subject)[:_LONGEST_SHOWN],
        "notification": storable(held.notification),
    }


def _refusal(row: Any, doubt: float) -> ClaimAnswer:
    """What stands in the way of a claim. The row may have moved on since, so that it is free again."""
    if row is None:
        raise TransientError("database_busy", "the delivery was pruned meanwhile", charged=False)
    if row.state in ("claimed", "sending"):
        return Busy(max(0.0, (row.left or 0.0) + (doubt if row.state == "sending" else 0.0)))
    return Settled(row.state, row.reason or row.state)


def _random_id() -> str:
    return secrets.token_hex(10)


def _stored(key: DeliveryKey) -> dict[str, str]:
    return {name: _key_part(getattr(key, name)) for name in claims.KEY}


def _key_part(text: str) -> str:
    text = storable(text)
    return text if len(text) <= _MAX_KEY else "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _thread_id(message_id: str) -> str:
    return storable(message_id)[:_MAX_MESSAGE_ID]
