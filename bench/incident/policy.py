"""How SNS retries a push to an HTTP endpoint: the four phases of a delivery policy."""

from collections.abc import Mapping
from dataclasses import dataclass

TIMEOUT = 15.0
"""Seconds in which an endpoint must have answered, or SNS counts the push as failed."""
LONGEST = 3600.0
"""Seconds that all delays of a policy for HTTP may add up to; SNS accepts no longer ones."""


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """Retries after the first push. Delays are in seconds; SNS spreads them a little, which changes nothing here."""

    at_once: int
    before_backoff: int
    backoff: int
    after_backoff: int
    least: float
    most: float

    def delays(self) -> tuple[float, ...]:
        """The pause before each retry."""
        growth = (self.most / self.least) ** (1 / max(1, self.backoff - 1))
        return (
            *(0.0 for _ in range(self.at_once)),
            *(self.least for _ in range(self.before_backoff)),
            *(self.least * growth**number for number in range(self.backoff)),
            *(self.most for _ in range(self.after_backoff)),
        )


POLICIES: Mapping[str, DeliveryPolicy] = {
    # Fifty retries that last for about an hour: nearly all that SNS allows, and what saved the mail in the incident.
    "hour": DeliveryPolicy(at_once=3, before_backoff=2, backoff=10, after_backoff=35, least=1.0, most=60.0),
    # What SNS does for HTTP when nobody has set a policy: three retries, 20 s apart, and the mail is gone.
    "default": DeliveryPolicy(at_once=0, before_backoff=0, backoff=0, after_backoff=3, least=20.0, most=20.0),
}
