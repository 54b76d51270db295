"""Which offers are meant, and which of those are put through: the rest is skipped for a reason that is told."""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from relayd.model.address import Address
from relayd.model.notification import Received
from relayd.ops.replay.ended import Ended
from relayd.ops.replay.offers import Offer
from relayd.rules.inbound import NO_RECIPIENT
from relayd.rules.recipients import ours

PASSED_OVER = "passed_over"
"""It does not fit what was asked for."""
CAME_BACK = "came_back"
"""This very replay sent it, and it has failed again since. To send it once more would go round in circles."""
SEND = "send"


@dataclass(frozen=True, slots=True)
class Choice:
    """What was asked for: offers that fit everything that is said here."""

    reasons: frozenset[str] = frozenset()
    """One of these; any, where there are none."""
    since: float | None = None
    until: float | None = None
    """Seconds since the epoch: from the one on, and before the other."""
    mask: Address | None = field(repr=False, default=None)
    """An envelope recipient, whatever its tag."""
    name: str | None = None
    """SES's id of the mail, or SQS's of a message."""

    def fits(self, offer: Offer) -> bool:
        """Whether an offer is meant."""
        return (
            (not self.reasons or offer.reason in self.reasons)
            and (self.since is None or offer.at >= self.since)
            and (self.until is None or offer.at < self.until)
            and (self.name is None or self.name in offer.names)
            and (self.mask is None or self._is_for(self.mask, offer.received))
        )

    @staticmethod
    def _is_for(mask: Address, received: Received | None) -> bool:
        return received is not None and mask.bare in {one.bare for one in ours(received.recipients, {mask.domain})}


@dataclass(frozen=True, slots=True)
class Weighed:
    """An offer, and what is to become of it: `SEND`, `PASSED_OVER`, `CAME_BACK`, or why it is skipped."""

    offer: Offer
    verdict: str


class Known(Protocol):
    """What `relayd.ops.replay.ended.Endings` is here."""

    def of(self, mail_ids: Iterable[str]) -> dict[str, Ended]: ...


class Weigher:
    """Says of each offer what is to become of it."""

    def __init__(
        self,
        choice: Choice,
        endings: Known,
        domains: Collection[str],
        *,
        replay_id: str,
        again: bool = False,
        discards_count: bool = False,
    ) -> None:
        """`domains`: ours. `again`: also what was sent before. `discards_count`: what policy has refused before is not
        put through; without it, policy is asked again.
        """
        self._choice = choice
        self._endings = endings
        self._domains = domains
        self._replay_id = replay_id
        self._again = again
        self._discards_count = discards_count
        self._unverified: set[bytes] = set()
        """Digests of bodies that go as they came: nothing in those tells who sent them last."""

    def weigh(self, offers: Sequence[Offer]) -> list[Weighed]:
        """In their order. Raises RelaydError where the ledger cannot be asked."""
        first = [self._at_once(offer) for offer in offers]
        mails = {o.received.mail_id for o, verdict in zip(offers, first, strict=True) if not verdict and o.received}
        ended = {} if self._again else self._endings.of(mails)
        return [
            Weighed(offer, verdict or self._by_ledger(offer, ended))
            for offer, verdict in zip(offers, first, strict=True)
        ]

    def _at_once(self, offer: Offer) -> str:
        """What can be said without the ledger; empty for nothing."""
        if offer.replay_id == self._replay_id:
            return CAME_BACK
        if not self._choice.fits(offer):
            return PASSED_OVER
        if offer.original is not None and self._went_before(offer.original):
            return CAME_BACK
        if not offer.problem and offer.received is not None and not self._recipients(offer.received):
            return NO_RECIPIENT
        return offer.problem

    def _went_before(self, body: str) -> bool:
        digest = hashlib.sha256(body.encode()).digest()
        before = digest in self._unverified
        self._unverified.add(digest)
        return before

    def _by_ledger(self, offer: Offer, ended: dict[str, Ended]) -> str:
        found = ended.get(offer.received.mail_id) if offer.received is not None else None
        if offer.received is None or found is None:
            return SEND
        return found.verdict(self._recipients(offer.received), discards_count=self._discards_count) or SEND

    def _recipients(self, received: Received) -> list[str]:
        return [one.full for one in ours(received.recipients, self._domains)]
