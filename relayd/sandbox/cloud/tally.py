"""What has happened to a queue's messages, which SQS itself would tell nobody."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Tally:
    """Counted since the queue was made."""

    sent: int = 0
    """Messages that were put in, whoever did it."""
    received: int = 0
    """Receives of one message each: a twin in a batch counts, too."""
    most_received: int = 0
    """The highest receive count that any message has had."""
    deleted: Counter[int] = field(default_factory=Counter)
    """Messages by the receive count with which they were deleted."""
    redelivered: int = 0
    """Deletes after which the message came once more, because a fault wanted it so."""

    def told(self) -> dict[str, Any]:
        """For whoever watches, as JSON has it."""
        return {
            "sent": self.sent,
            "received": self.received,
            "most_received": self.most_received,
            "deleted": {str(count): self.deleted[count] for count in sorted(self.deleted)},
            "redelivered": self.redelivered,
        }
