"""A ledger in memory, with the virtual clock for its time. It keeps the promises of `tests/contract/test_ledger.py`
and the suites beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from relayd.errors import ClaimLostError
from relayd.model.delivery import (
    CLAIM_EXPIRED,
    GIVEN_BACK,
    IN_DOUBT,
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
    State,
    ThreadLink,
    Tries,
)
from relayd.ports import Clock
from tests.fakes.ledger_rows import NOBODY, HeldMail, Row, Tried
from tests.fakes.usage import FakeUsage

_FOREVER = 1e9
_MOST_LINKS = 200


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

    def __init__(self, clock: Clock, *, latency: float = 0.0, days: float = 60, usage: FakeUsage | None = None) -> None:
        self.clock = clock
        self.latency = latency
        self.fail_with: Exception | None = None
        self.rows: dict[DeliveryKey, Row] = {}
        self.attempts: list[Tried] = []
        self.quarantine: list[HeldMail] = []
        self.usage = usage or FakeUsage(clock)
        self.calls: list[str] = []
        self._costs: dict[str, _Cost] = {}
        self._days = days
        self._made = 0

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
        now = self._enter("claim")
        row = self.rows.get(key)
        previous = row.trace if row else None
        if row is None:
            row = self._insert(key, now)
        elif row.state in ("claimed", "sending"):
            doubt = min(doubt_seconds, _FOREVER) if row.state == "sending" else 0.0
            free_at = row.expires_at + doubt if row.token is not None else now
            if free_at > now:
                return Busy(free_at - now)
            self._before(row)
            row.kills += row.state == "claimed" and row.token is not None
            row.doubts += row.state == "sending"
        elif self._reopens(row, message_id, replay):
            self._before(row)
            doubted = (row.state, row.reason) == ("failed", IN_DOUBT)
            row.generation, row.kills, row.doubts = row.generation + 1, 0, int(doubted)
        else:
            return Settled(row.state, row.reason or row.state)  # type: ignore[arg-type]
        row.state, row.reason, row.token = "claimed", None, self._new("token")
        row.expires_at, row.updated_at, row.claimed_at = now + ttl, now, now
        row.attempt += 1
        row.message_id, row.concern, row.trace = message_id, concern, trace
        row.replay_id = replay.replay_id if replay else None
        claim = Claim(row.delivery_id, key, row.token, row.attempt, row.doubts > 0, previous)
        if row.doubts >= 2:
            return Lost("in_doubt", claim)
        return Lost("killed", claim) if row.kills >= 3 else claim

    def begin_send(self, claim: Claim, draft: Draft, *, ttl: float) -> None:
        now = self._enter("begin_send")
        row = self._held(claim, "claimed", "sending")
        if row is None:
            raise ClaimLostError
        row.resends += row.state == "claimed" and row.doubts > 0
        row.state, row.draft, row.expires_at, row.updated_at = "sending", draft, now + ttl, now

    def sent(self, claim: Claim, ses_id: str) -> None:
        now = self._enter("sent")
        row = self.rows.get(claim.key)
        if row and row.delivery_id == claim.delivery_id and row.state != "sent" and self._of_now(row, claim.attempt):
            self._sent(row, ses_id, now)

    def failed(self, claim: Claim, reason: str, *, message_id: str, held: Held | None = None) -> None:
        now = self._enter("failed")
        row = self._held(claim, "claimed", "sending", "failed")
        if row is None:
            raise ClaimLostError
        row.state, row.reason, row.message_id, row.updated_at = "failed", reason, message_id, now
        self._record(row, reason, now)
        self._hold(row, reason, held, now)

    def refused(self, claim: Claim, reason: str) -> None:
        now = self._enter("refused")
        row = self._held(claim, "claimed", "sending", "discarded")
        if row is None:
            raise ClaimLostError
        if row.state != "discarded":
            self._count(row, discards=1)
        self._record(row, reason, now)
        row.state, row.reason, row.updated_at = "discarded", reason, now

    def give_back(self, claim: Claim, reason: str) -> None:
        now = self._enter("give_back")
        if row := self._held(claim, "claimed", "sending"):
            self._record(row, reason, now)
            row.state, row.token, row.updated_at = "claimed", None, now

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
        now = self._enter("discarded")
        row = self.rows.get(key)
        if row is not None and not self._may_be_discarded(row, replay, now):
            return
        row = row or self._insert(key, now)
        row.generation += row.state in ("failed", "discarded")
        row.state, row.reason, row.token, row.updated_at = "discarded", reason, None, now
        row.message_id, row.concern = message_id, concern or NOBODY
        row.replay_id = replay.replay_id if replay else None
        self._count(row, discards=1)
        self._hold(row, reason, held, now)

    def charge(self, message_id: str, *, bug: bool) -> Tries:
        now = self._enter("charge")
        cost = self._costs.setdefault(message_id, _Cost(now))
        cost.bugs += bug
        cost.failures += 1
        return Tries(cost.failures, cost.bugs, now - cost.first_at)

    def threads(self, mask_id: str, message_ids: Sequence[str]) -> tuple[ThreadLink, ...]:
        self._enter("threads")
        given = {one.partition("@")[0] for one in message_ids}
        found: dict[ThreadLink, None] = {}
        for row in sorted(self.rows.values(), key=lambda row: row.created_at):
            original = row.draft.original_message_id
            if row.state != "sent" or row.mask_id != mask_id or original is None or row.ses_id is None:
                continue
            if original in message_ids or row.ses_id in given:
                found[ThreadLink(row.concern.kind, original, row.ses_id)] = None
        return tuple(found)[-_MOST_LINKS:]

    def prune(self) -> int:
        now = self._enter("prune")
        before = now - self._days * 86_400
        old = [key for key, row in self.rows.items() if row.updated_at < before]
        for key in old:
            del self.rows[key]
        self._costs = {message_id: cost for message_id, cost in self._costs.items() if cost.first_at >= before}
        self.quarantine = [one for one in self.quarantine if one.at >= before]
        self.attempts = [one for one in self.attempts if one.ended_at >= before]
        return len(old)

    # For SES's events, which come to the same rows.

    def confirm(self, delivery_id: str, ses_id: str, attempt: int) -> None:
        """It was sent, unless somebody knows that it was not."""
        row = self.by_id(delivery_id)
        if row is None or not self._of_now(row, attempt):
            return
        if row.state in ("claimed", "sending") or (row.state, row.reason) == ("failed", IN_DOUBT):
            self._sent(row, ses_id, self.clock.time())

    def reject(self, delivery_id: str, reason: str, attempt: int) -> None:
        """SES took it, and then refused it."""
        row = self.by_id(delivery_id)
        if row is not None and self._of_now(row, attempt):
            row.state, row.reason, row.updated_at = "failed", reason, self.clock.time()

    def by_id(self, delivery_id: str) -> Row | None:
        return next((row for row in self.rows.values() if row.delivery_id == delivery_id), None)

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
        return f"{self._made:020x}" if kind == "delivery" else f"{kind}{self._made}"

    def _held(self, claim: Claim, *states: State) -> Row | None:
        row = self.rows.get(claim.key)
        return row if row and row.token == claim.token and row.state in states else None

    def _reopens(self, row: Row, message_id: str, replay: Replay | None) -> bool:
        had = [row.replay_id, *(one.replay_id for one in self.attempts if one.delivery_id == row.delivery_id)]
        replayed = replay is not None and replay.replay_id not in had
        match row.state:
            case "failed":
                return replayed or row.message_id != message_id
            case "discarded":
                return replayed
            case _:
                return replayed and replay is not None and replay.again

    def _may_be_discarded(self, row: Row, replay: Replay | None, now: float) -> bool:
        if row.state == "discarded":
            return replay is not None and replay.replay_id != row.replay_id
        return row.state != "sent" and not (row.state == "sending" and row.expires_at > now)

    def _of_now(self, row: Row, attempt: int) -> bool:
        """Whether a send in this attempt is of what is being done now, and not of before a replay."""
        theirs = [one for one in self.attempts if one.delivery_id == row.delivery_id and one.ses_id is not None]
        return row.attempt == attempt or not any(one.attempt >= attempt for one in theirs)

    def _before(self, row: Row) -> None:
        """How the attempt before ended, where its own ending did not say."""
        if row.state in ("sent", "discarded", "failed"):
            if row.attempt or row.state == "discarded":
                ses_id = None if row.state == "discarded" else row.ses_id
                self._record(row, row.reason or row.state, row.updated_at, ses_id)
        elif row.attempt:
            word = IN_DOUBT if row.state == "sending" else CLAIM_EXPIRED if row.token else GIVEN_BACK
            self._record(row, word, row.expires_at)

    def _record(self, row: Row, reason: str, ended_at: float, ses_id: str | None = None) -> None:
        if any((one.delivery_id, one.attempt) == (row.delivery_id, row.attempt) for one in self.attempts):
            return
        began = row.claimed_at
        told = (row.delivery_id, row.attempt, row.message_id, reason, row.trace, began, ended_at)
        self.attempts.append(Tried(*told, row.replay_id, ses_id))

    def _sent(self, row: Row, ses_id: str, now: float) -> None:
        row.state, row.reason, row.ses_id, row.updated_at = "sent", None, ses_id, now
        if row.concern.kind == "reply":
            self._count(row, replies=1, trackers=row.draft.trackers)
        else:
            self._count(row, mails=1, bytes=row.draft.size, trackers=row.draft.trackers)

    def _count(self, row: Row, **counts: int) -> None:
        mask_id, owner_id = row.concern.mask_id, row.concern.owner_id
        if mask_id is not None and owner_id is not None and row.concern.kind != "notice":
            today = self.usage.of(mask_id, owner_id)
            for name, count in counts.items():
                setattr(today, name, getattr(today, name) + count)

    def _hold(self, row: Row, reason: str, held: Held | None, now: float) -> None:
        """Once for each delivery. A second time changes why, and with what it is released."""
        mask_id, owner_id = row.concern.mask_id, row.concern.owner_id
        if held is None or mask_id is None or owner_id is None:
            return
        before = next((one for one in self.quarantine if one.key == row.key), None)
        if before is None:
            self.quarantine.append(HeldMail(row.key, mask_id, owner_id, reason, held, now))
        else:
            again = replace(before.held, notification=held.notification)
            self.quarantine[self.quarantine.index(before)] = replace(before, reason=reason, held=again, at=now)
