"""The books: what was published, held against what SES accepted, what the queues hold and what the ledger says.

No process, clock or socket in here: facts in, an account out. SES's word decides what was forwarded, the queues' word
what is queued or dead-lettered; the ledger is only believed about what leaves no trace anywhere else, discards and
resends.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from relayd.sandbox.samples import Sample

Fate = Literal["forwarded", "discarded", "dead_lettered", "queued", "lost"]
WORST_FIRST: Sequence[Fate] = ("lost", "queued", "dead_lettered", "forwarded", "discarded")
"""A mail with several deliveries has the fate of the one that fared worst."""


@dataclass(frozen=True, slots=True)
class Send:
    """One mail that SES accepted, as far as it says whose it is."""

    delivery_id: str
    """From relayd's tag; empty without one."""
    attempt: str
    recipients: tuple[str, ...] = field(repr=False)
    original: int | None = None
    """The number of the sample that it was made from, where its header says so."""


@dataclass(frozen=True, slots=True)
class Row:
    """A delivery in the ledger."""

    delivery_id: str
    mail_id: str
    recipient: str = field(repr=False)
    mailbox: str = field(repr=False)
    state: str
    reason: str
    kind: str = "forward"
    resends: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that is known when a run is over. Ids are mail ids, and markers of messages that are no mail."""

    published: Mapping[str, Sample]
    sends: Sequence[Send]
    rows: Sequence[Row]
    queued: frozenset[str] = frozenset()
    """Ids in the queue, leased or not."""
    dead: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Ids in the dead-letter queue, each with the reasons of its dead letters."""


@dataclass(slots=True)
class Account:
    """What became of everything."""

    messages: Counter[Fate] = field(default_factory=Counter)
    """Mails, and messages that are no mail."""
    deliveries: Counter[Fate] = field(default_factory=Counter)
    duplicates: int = 0
    """Sends beyond one for each delivery, and for each notice to an owner."""
    explained: int = 0
    """Of those, the ones that the ledger counts as resent in doubt."""
    in_doubt_resends: int = 0
    """Sends in doubt that were sent once more; SES had taken the first one only where there is a duplicate."""
    notices: int = 0
    forwarded_and_dead_lettered: int = 0
    """Deliveries that SES has, while their message, which another delivery or a doubt spoiled, is a dead letter."""
    wrong: list[str] = field(default_factory=list)
    """Every end that should not have been. Numbers, ids and kinds only."""

    @property
    def lost(self) -> int:
        return self.messages["lost"]

    @property
    def unexplained(self) -> int:
        return self.duplicates - self.explained

    def balances(self, published: int) -> bool:
        """Whether everything that was published has one end."""
        return self.messages.total() == published


def account(facts: Facts) -> Account:
    """Draw up the account."""
    result = Account(in_doubt_resends=sum(row.resends for row in facts.rows))
    sends: dict[str, list[Send]] = defaultdict(list)
    for send in facts.sends:
        sends[send.delivery_id].append(send)
    rows = {row.delivery_id: row for row in facts.rows}
    for delivery_id, of_one in sends.items():
        _count_sends(delivery_id, rows.get(delivery_id), of_one, facts, result)
    ends = _Ends(facts, {delivery_id: row for delivery_id, row in rows.items() if delivery_id in sends}, result)
    for name, sample in facts.published.items():
        fates = list(ends.of(name, sample))
        result.deliveries.update(fates)
        result.messages[min(fates, key=WORST_FIRST.index)] += 1
    return result


def _count_sends(delivery_id: str, row: Row | None, sends: Sequence[Send], facts: Facts, result: Account) -> None:
    """Duplicates, and sends of what was never to be sent so."""
    more = len(sends) - 1
    result.duplicates += more
    if row is None:
        result.wrong.append(f"{more + 1} sends of a delivery that the ledger does not know: {delivery_id or 'no tag'}")
        return
    # Each resend is an attempt of its own; two sends of one attempt are something else, such as a retry by HTTP.
    repeated = len(sends) - len({send.attempt for send in sends})
    result.explained += min(more - repeated, row.resends)
    if more - repeated > row.resends or repeated:
        attempts = ", ".join(send.attempt for send in sends)
        result.wrong.append(f"delivery {delivery_id}: attempts {attempts} were sent, {row.resends} resends counted")
    if any(send.recipients != (row.mailbox,) for send in sends):
        result.wrong.append(f"delivery {delivery_id}: sent to somebody else")
    if row.kind == "notice":
        result.notices += 1
        return
    sample = facts.published.get(row.mail_id)
    if sample is None:
        result.wrong.append(f"delivery {delivery_id}: sent for a mail that was never published")
        return
    if (row.recipient, row.mailbox) not in sample.expected.forwards:
        result.wrong.append(f"{sample.name} ({row.mail_id}): delivery {delivery_id} should not have been forwarded")
    if any(send.original not in (None, sample.number) for send in sends):
        result.wrong.append(f"{sample.name} ({row.mail_id}): delivery {delivery_id} was sent with another mail in it")


class _Ends:
    """What became of each part of a sample."""

    def __init__(self, facts: Facts, sent: Mapping[str, Row], result: Account) -> None:
        self._facts = facts
        self._result = result
        self._forwards = {(row.mail_id, row.recipient, row.mailbox) for row in sent.values()}
        self._recipients = {(row.mail_id, row.recipient) for row in sent.values()}
        self._discards = {(row.mail_id, row.recipient): row.reason for row in facts.rows if row.state == "discarded"}

    def of(self, name: str, sample: Sample) -> Iterator[Fate]:
        expected = sample.expected
        if expected.dead_letter:
            yield self._odd(name, sample)
        for recipient, mailbox in sorted(expected.forwards):
            yield self._forward(name, sample, recipient, mailbox)
        for recipient, reason in sorted(expected.discards):
            yield self._discard(name, sample, recipient, reason)

    def _forward(self, name: str, sample: Sample, recipient: str, mailbox: str) -> Fate:
        if (name, recipient, mailbox) in self._forwards:
            self._result.forwarded_and_dead_lettered += name in self._facts.dead
            return "forwarded"
        reason = self._discards.get((name, recipient))
        if reason is not None:
            self._result.wrong.append(f"{sample.name} ({name}): discarded as {reason}")
            return "discarded"
        return self._elsewhere(name, sample)

    def _discard(self, name: str, sample: Sample, recipient: str, reason: str) -> Fate:
        if (name, recipient) in self._recipients:
            return "forwarded"
        found = self._discards.get((name, recipient))
        if found is None:
            return self._elsewhere(name, sample)
        if found != reason:
            self._result.wrong.append(f"{sample.name} ({name}): discarded as {found}, not as {reason}")
        return "discarded"

    def _odd(self, name: str, sample: Sample) -> Fate:
        reasons, reason = self._facts.dead.get(name), sample.expected.dead_letter
        if reasons and set(reasons) != {reason}:
            self._result.wrong.append(f"{sample.name} ({name}): dead-lettered as {', '.join(reasons)}, not as {reason}")
        return self._elsewhere(name, sample)

    def _elsewhere(self, name: str, sample: Sample) -> Fate:
        """What was neither forwarded nor discarded is in one of the queues, or lost."""
        if name in self._facts.queued:
            return "queued"
        if name in self._facts.dead:
            return "dead_lettered"
        self._result.wrong.append(f"{sample.name} ({name}): lost")
        return "lost"
