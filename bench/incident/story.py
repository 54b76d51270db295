"""When what happens, in seconds of the story, and how long that is on this machine."""

from dataclasses import dataclass

BEFORE = 120.0
OUTAGE = 600.0
S3_SECONDS = 20.0
"""What every S3 get takes while S3 is slow."""
AFTER = 300.0
"""Mail goes on arriving for so long after S3 is well again, and then until what had piled up is gone."""
ARRIVALS_END = 1800.0
"""After the outage's end, at the latest."""
PATIENCE = 2700.0
"""After the outage's end, in all: whatever has not recovered by then has not recovered."""
ONE_LOAD = 0.04
"""1x, as a share of the measured capacity."""


@dataclass(frozen=True, slots=True)
class Story:
    """The timeline. Its seconds count from the beginning of the replay, which is `BEFORE` the outage."""

    scale: float
    """Seconds on this machine for one second of the story."""

    def real(self, seconds: float) -> float:
        """So many seconds of the story, on this machine."""
        return seconds * self.scale

    def told(self, real_seconds: float) -> float:
        """So many seconds on this machine, in the story."""
        return real_seconds / self.scale

    @property
    def starts(self) -> float:
        """When S3 turns slow, in seconds on this machine."""
        return self.real(BEFORE)

    @property
    def ends(self) -> float:
        """When S3 is well again, in seconds on this machine."""
        return self.real(BEFORE + OUTAGE)
