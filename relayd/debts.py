"""What the ledger is still owed: changes that could not be made while it was away.

Without this memory, a claim that could not be given back would look like the claim of a process that died, and a send
that could not be recorded like one in doubt.
"""

from collections import deque
from collections.abc import Callable

import structlog

from relayd.errors import HoldError, TransientError
from relayd.model.delivery import Claim
from relayd.ports import Ledger

log = structlog.get_logger(__name__)

KEPT = 2000
"""Debts; one or two a slot is what an outage leaves behind."""

Payment = Callable[[Ledger], None]


class Debts:
    """Shared by all workers. They pay before they claim, so that a redelivery meets the ledger as it should be."""

    def __init__(self) -> None:
        # deque's own operations are atomic; no lock is held while the ledger is asked.
        self._owed: deque[Payment] = deque(maxlen=KEPT)

    def __len__(self) -> int:
        return len(self._owed)

    def give_back(self, claim: Claim, reason: str) -> None:
        """Owe the return of a claim."""
        self._owed.append(lambda ledger: ledger.give_back(claim, reason))

    def record(self, claim: Claim, ses_id: str) -> None:
        """Owe the record of a send that SES accepted."""
        self._owed.append(lambda ledger: ledger.sent(claim, ses_id))

    def pay(self, ledger: Ledger) -> None:
        """Make up for everything. Raises what the ledger raises while it is away; then nothing is forgotten."""
        while self._owed:
            try:
                payment = self._owed.popleft()
            except IndexError:  # another worker was quicker
                return
            try:
                payment(ledger)
            except (HoldError, TransientError):
                self._owed.append(payment)
                raise
            except Exception:
                # It will not work the next time either, and must not stand in the way of the others.
                log.exception("debt_forgotten")
