"""Which of a mask's mailboxes mail may be sent to now."""

from collections.abc import Iterable
from dataclasses import dataclass

from relayd.model.decision import Waiting
from relayd.model.mask import Mailbox
from relayd.rules.evidence import Evidence

LONGEST_WAIT = 3600.0
"""Seconds after which a mail for a full mailbox is looked at again."""
SOFT_PAUSE_SECONDS = 6 * 3600.0
"""How long a mailbox counts as full after it said so, and how long a mail waits for it before it goes to quarantine."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """The verified mailboxes of a mask, each in one of these."""

    ready: tuple[Mailbox, ...]
    held: tuple[Mailbox, ...]
    waiting: tuple[Waiting, ...]


def sort(mailboxes: Iterable[Mailbox], evidence: Evidence) -> Sorted:
    """Where the mail goes now, where it is held back from, and where it waits."""
    ready: list[Mailbox] = []
    held: list[Mailbox] = []
    waiting: list[Waiting] = []
    for mailbox in mailboxes:
        if not mailbox.verified:
            continue
        pause = mailbox.pause
        if pause is None or pause.until <= evidence.now or "bounce_pause" in evidence.released:
            ready.append(mailbox)
            continue
        waited = evidence.now - evidence.received_at if evidence.received_at else 0.0
        left = min(pause.until - evidence.now, SOFT_PAUSE_SECONDS - waited)
        if pause.kind == "hard" or left <= 0:
            held.append(mailbox)
        else:
            waiting.append(Waiting(mailbox, min(left, LONGEST_WAIT)))
    return Sorted(tuple(ready), tuple(held), tuple(waiting))
