"""What the ledger knows of mails that somebody wants to put through again."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import deliveries as d

SENT_BEFORE = "sent_before"
"""The ledger says that all of it was sent."""
DISCARDED_BEFORE = "discarded_before"
"""The ledger says that policy refused it, or some of it."""

_MAILS_A_QUERY = 500


@dataclass(slots=True)
class Ended:
    """One mail's deliveries."""

    states: dict[str, dict[str, str]] = field(repr=False, default_factory=dict)
    """By recipient, in its normal form, and by mailbox: how far it is. The mailbox is empty for what was decided about
    the recipient as a whole.
    """

    def verdict(self, recipients: Collection[str], *, discards_count: bool) -> str:
        """Why the mail need not be put through for these again: everything for every one of them was sent; or, where
        discards count, was sent or refused by policy. Empty where it has to be.
        """
        found = [self._states(one) for one in recipients]
        if not found or not all(found):
            return ""
        states = set[str]().union(*found)
        if states == {"sent"}:
            return SENT_BEFORE
        return DISCARDED_BEFORE if discards_count and states <= {"sent", "discarded"} else ""

    def _states(self, recipient: str) -> set[str]:
        """A decision about the whole was overruled where there are deliveries to mailboxes."""
        found = self.states.get(recipient, {})
        return {state for mailbox, state in found.items() if mailbox} or set(found.values())


class Endings:
    """Asks the ledger, many mails at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, mail_ids: Iterable[str]) -> dict[str, Ended]:
        """What is known of these mails; nothing of those that the ledger has never heard of. Raises RelaydError."""
        wanted = list(dict.fromkeys(mail_ids))
        found: dict[str, Ended] = {}
        for start in range(0, len(wanted), _MAILS_A_QUERY):
            some = wanted[start : start + _MAILS_A_QUERY]
            query = sa.select(d.c.mail_id, d.c.recipient, d.c.mailbox, d.c.state).where(d.c.mail_id.in_(some))
            with self._database.reading("replay") as connection:
                for mail_id, recipient, mailbox, state in connection.execute(query):
                    found.setdefault(mail_id, Ended()).states.setdefault(recipient, {})[mailbox] = state
        return found
