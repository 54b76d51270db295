"""The ledger in the database: what at-least-once turns into once by.

What is promised of it is written at `relayd.ports.Ledger`.
"""

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any

from relayd.adapters import ledger_statements as statements
from relayd.adapters.database import Database
from relayd.adapters.storable import storable
from relayd.errors import ClaimLostError, TransientError
from relayd.model.delivery import (
    Busy,
    Claim,
    ClaimAnswer,
    DeliveryKey,
    Lost,
    Sent,
    Settled,
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
_SECONDS_A_DAY = 86_400


class SqlLedger:
    """`relayd.ports.Ledger` on SQLAlchemy Core."""

    def __init__(self, database: Database, *, days: float = 60) -> None:
        self._database = database
        # Built once: SQLAlchemy's cache knows the SQL of a statement object that it has seen.
        self._claim = statements.claim(database)
        self._holder = statements.holder(database)
        self._begin_send = statements.begin_send(database)
        self._sent = statements.sent(database)
        self._failed = statements.failed(database)
        self._refused = statements.refused(database)
        self._give_back = statements.give_back(database)
        self._discarded = statements.discarded(database)
        self._charge = statements.charge(database)
        self._threads = statements.threads()
        before = database.now - days * _SECONDS_A_DAY
        self._prune_deliveries = statements.prune_deliveries(before, _PRUNE_ROWS)
        self._prune_retries = statements.prune_retries(before)

    def claim(self, key: DeliveryKey, *, message_id: str, mask_id: str, ttl: float, trace: str | None) -> ClaimAnswer:
        """Take the delivery, or tell why not."""
        parts = _stored(key)
        token = _random_id()
        values = {
            "delivery_id": _random_id(),
            "token": token,
            "message_id": storable(message_id),
            "mask_id": mask_id,
            "trace": trace,
            "ttl": ttl,
        }
        with self._database.writing_once("claim") as connection:
            row = connection.execute(self._claim, parts | values).one_or_none()
            if row is None:
                return _refusal(connection.execute(self._holder, parts).one_or_none())
        claim = Claim(
            delivery_id=row.delivery_id,
            key=key,
            token=token,
            attempt=row.attempt,
            resend=row.doubts > 0,
            previous_trace=row.previous_trace,
        )
        if row.doubts >= MAX_DOUBTS:
            return Lost("in_doubt", claim)
        return Lost("killed", claim) if row.kills >= MAX_KILLS else claim

    def begin_send(self, claim: Claim, *, ttl: float) -> None:
        """Make `sending` durable. An expired claim that nobody took over is still ours."""
        if not self._change("begin_send", self._begin_send, claim, ttl=ttl):
            raise ClaimLostError

    def sent(self, claim: Claim, sent: Sent) -> None:
        """Record the send. The first of two is kept."""
        original = sent.original_message_id
        values = {
            "id": claim.delivery_id,
            "ses": sent.ses_id,
            "original": None if original is None else _thread_id(original),
        }
        with self._database.writing_once("sent") as connection:
            connection.execute(self._sent, values)

    def failed(self, claim: Claim, reason: str, *, message_id: str) -> None:
        """Record the failure, if the claim is ours."""
        if not self._change("failed", self._failed, claim, why=reason, message=storable(message_id)):
            raise ClaimLostError

    def refused(self, claim: Claim, reason: str) -> None:
        """Record a discard, if the claim is ours."""
        if not self._change("refused", self._refused, claim, why=reason):
            raise ClaimLostError

    def give_back(self, claim: Claim) -> None:
        """Free the delivery, if the claim is ours."""
        self._change("give_back", self._give_back, claim)

    def discarded(self, key: DeliveryKey, reason: str, *, message_id: str, mask_id: str | None) -> None:
        """Record a discard."""
        self._end(self._discarded, key, reason, message_id, mask_id)

    def charge(self, message_id: str, *, bug: bool) -> Tries:
        """Count one failed try."""
        values = {"message_id": storable(message_id), "failures": 1, "bugs": int(bug)}
        with self._database.writing_once("charge") as connection:
            row = connection.execute(self._charge, values).one()
        return Tries(failures=row.failures, bugs=row.bugs, age=max(0.0, row.age))

    def threads(self, mask_id: str, message_ids: Sequence[str]) -> dict[str, str]:
        """The SES ids of earlier mail. Where one mail went to several mailboxes, the first delivery's."""
        asked = {_thread_id(message_id): message_id for message_id in message_ids}
        stored = list(asked)
        found: dict[str, str] = {}
        if stored:
            with self._database.reading("threads") as connection:
                for start in range(0, len(stored), _THREADS_A_QUERY):
                    values = {"mask": mask_id, "ids": stored[start : start + _THREADS_A_QUERY]}
                    rows = connection.execute(self._threads, values)
                    found.update((asked[row.original_message_id], row.ses_id) for row in rows)
        return found

    def prune(self) -> int:
        """Forget what was last touched too many days ago; answers how many deliveries that were."""
        gone = 0
        deleted = _PRUNE_ROWS
        while deleted == _PRUNE_ROWS:
            with self._database.writing_once("prune") as connection:
                deleted = connection.execute(self._prune_deliveries).rowcount
            gone += deleted
        with self._database.writing_once("prune") as connection:
            connection.execute(self._prune_retries)
        return gone

    def _change(self, operation: str, statement: Any, claim: Claim, **values: object) -> bool:
        """Whether the claim was ours."""
        with self._database.writing_once(operation) as connection:
            changed = connection.execute(statement, {"id": claim.delivery_id, "holder": claim.token, **values})
            return bool(changed.rowcount)

    def _end(self, statement: Any, key: DeliveryKey, reason: str, message_id: str, mask_id: str | None) -> None:
        values = {
            "delivery_id": _random_id(),
            "reason": reason,
            "message_id": storable(message_id),
            "mask_id": mask_id,
        }
        with self._database.writing_once("end") as connection:
            connection.execute(statement, _stored(key) | values)


def _refusal(row: Any) -> ClaimAnswer:
    """What stands in the way of a claim. The row may have moved on since, so that it is free again."""
    if row is None:
        raise TransientError("database_busy", "the delivery was pruned meanwhile", charged=False)
    if row.state in ("claimed", "sending"):
        return Busy(max(0.0, row.left or 0.0))
    return Settled(row.state, row.reason or row.state)


def _random_id() -> str:
    return secrets.token_hex(10)


def _stored(key: DeliveryKey) -> dict[str, str]:
    return {name: _key_part(getattr(key, name)) for name in statements.KEY}


def _key_part(text: str) -> str:
    text = storable(text)
    return text if len(text) <= _MAX_KEY else "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _thread_id(message_id: str) -> str:
    return storable(message_id)[:_MAX_MESSAGE_ID]
