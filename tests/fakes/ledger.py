"""A ledger in memory, with the virtual clock for its time. It keeps the promises of `tests/contract/test_ledger.py`."""

from collections.abc import Sequence
from dataclasses import dataclass

from relayd.errors import ClaimLostError
from relayd.model.delivery import (
    IN_DOUBT,
    Busy,
    Claim,
    ClaimAnswer,
    DeliveryKey,
    Lost,
    Sent,
    Settled,
    State,
    Tries,
)
from relayd.ports import Clock


@dataclass
class Row:
    """What the table `deliveries` keeps."""

    delivery_id: str
    key: DeliveryKey
    created_at: float
    state: State = "claimed"
    reason: str | None = None
    token: str | None = None
    expires_at: float = 0.0
    attempt: int = 0
    generation: int = 1
    kills: int = 0
    doubts: int = 0
    resends: int = 0
    message_id: str = ""
    mask_id: str | None = None
    trace: str | None = None
    sent: Sent | None = None
    updated_at: float = 0.0


@dataclass
class _Cost:
    first_at: float
    failures: int = 0
    bugs: int = 0


class FakeLedger:
    """`relayd.ports.Ledger` without a database.

    `latency` seconds pass on the clock in every call, before anything happens; `fail_with` is then raised, while it
    is set. Between two waits on the clock nobody else runs, so no locks are needed.
    """

    def __init__(self, clock: Clock, *, latency: float = 0.0, days: float = 60) -> None:
        self.clock = clock
        self.latency = latency
        self.fail_with: Exception | None = None
        self.rows: dict[DeliveryKey, Row] = {}
        self.calls: list[str] = []
        self._costs: dict[str, _Cost] = {}
        self._days = days
        self._made = 0

    def claim(self, key: DeliveryKey, *, message_id: str, mask_id: str, ttl: float, trace: str | None) -> ClaimAnswer:
        now = self._enter("claim")
        row = self.rows.get(key)
        previous = row.trace if row else None
        if row is None:
            row = self._insert(key, now)
        elif row.state == "failed" and row.message_id != message_id:
            row.generation, row.kills, row.doubts = row.generation + 1, 0, int(row.reason == IN_DOUBT)
        elif row.state == "claimed" and row.token is None:
            pass
        elif row.state in ("claimed", "sending"):
            if row.expires_at > now:
                return Busy(row.expires_at - now)
            row.kills += row.state == "claimed"
            row.doubts += row.state == "sending"
        else:
            return Settled(row.state, row.reason or row.state)  # type: ignore[arg-type]
        row.state, row.reason, row.token = "claimed", None, self._new("token")
        row.expires_at, row.updated_at = now + ttl, now
        row.attempt += 1
        row.message_id, row.mask_id, row.trace = message_id, mask_id, trace
        claim = Claim(row.delivery_id, key, row.token, row.attempt, row.doubts > 0, previous)
        if row.doubts >= 2:
            return Lost("in_doubt", claim)
        return Lost("killed", claim) if row.kills >= 3 else claim

    def begin_send(self, claim: Claim, *, ttl: float) -> None:
        now = self._enter("begin_send")
        row = self._held(claim, "claimed", "sending")
        if row is None:
            raise ClaimLostError
        row.resends += row.state == "claimed" and row.doubts > 0
        row.state, row.expires_at, row.updated_at = "sending", now + ttl, now

    def sent(self, claim: Claim, sent: Sent) -> None:
        now = self._enter("sent")
        row = self._by_id(claim)
        if row and row.state != "sent":
            row.state, row.reason, row.sent, row.updated_at = "sent", None, sent, now

    def failed(self, claim: Claim, reason: str, *, message_id: str) -> None:
        now = self._enter("failed")
        row = self._held(claim, "claimed", "sending", "failed")
        if row is None:
            raise ClaimLostError
        row.state, row.reason, row.message_id, row.updated_at = "failed", reason, message_id, now

    def refused(self, claim: Claim, reason: str) -> None:
        now = self._enter("refused")
        row = self._held(claim, "claimed", "sending", "discarded")
        if row is None:
            raise ClaimLostError
        row.state, row.reason, row.updated_at = "discarded", reason, now

    def give_back(self, claim: Claim) -> None:
        now = self._enter("give_back")
        if row := self._held(claim, "claimed", "sending"):
            row.state, row.token, row.updated_at = "claimed", None, now

    def discarded(self, key: DeliveryKey, reason: str, *, message_id: str, mask_id: str | None) -> None:
        now = self._enter("discarded")
        row = self.rows.get(key)
        under_way = row is not None and row.state == "sending" and row.expires_at > now
        if row is None or not (row.state in ("sent", "discarded") or under_way):
            self._end(key, "discarded", reason, message_id, mask_id, now)

    def charge(self, message_id: str, *, bug: bool) -> Tries:
        now = self._enter("charge")
        cost = self._costs.setdefault(message_id, _Cost(now))
        cost.bugs += bug
        cost.failures += 1
        return Tries(cost.failures, cost.bugs, now - cost.first_at)

    def threads(self, mask_id: str, message_ids: Sequence[str]) -> dict[str, str]:
        self._enter("threads")
        found: dict[str, str] = {}
        for row in self.rows.values():
            original = row.sent.original_message_id if row.sent else None
            if row.sent and original and original in message_ids and row.mask_id == mask_id:
                found.setdefault(original, row.sent.ses_id)
        return found

    def prune(self) -> int:
        now = self._enter("prune")
        before = now - self._days * 86_400
        old = [key for key, row in self.rows.items() if row.updated_at < before]
        for key in old:
            del self.rows[key]
        self._costs = {message_id: cost for message_id, cost in self._costs.items() if cost.first_at >= before}
        return len(old)

    def _enter(self, call: str) -> float:
        self.calls.append(call)
        if self.latency:
            self.clock.sleep(self.latency)
        if self.fail_with is not None:
            raise self.fail_with
        return self.clock.time()

    def _insert(self, key: DeliveryKey, now: float) -> Row:
        row = self.rows[key] = Row(self._new("delivery"), key, created_at=now, updated_at=now)
        return row

    def _new(self, kind: str) -> str:
        """Counted rather than random, so that a run of the virtual clock can be repeated."""
        self._made += 1
        return f"{kind}{self._made}"

    def _by_id(self, claim: Claim) -> Row | None:
        row = self.rows.get(claim.key)
        return row if row and row.delivery_id == claim.delivery_id else None

    def _held(self, claim: Claim, *states: State) -> Row | None:
        row = self.rows.get(claim.key)
        return row if row and row.token == claim.token and row.state in states else None

    def _end(
        self, key: DeliveryKey, state: State, reason: str, message_id: str, mask_id: str | None, now: float
    ) -> None:
        row = self.rows.get(key) or self._insert(key, now)
        row.generation += row.state == "failed"
        row.state, row.reason, row.token, row.updated_at = state, reason, None, now
        row.message_id, row.mask_id = message_id, mask_id
