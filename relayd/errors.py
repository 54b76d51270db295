"""The error tree, cut by what the queue should do about an error rather than by where it came from.

Each error carries a `reason`: a stable snake_case word that logs, metrics, the ledger and dead letters show.
Neither the reason nor the text may hold an address, a subject, a header value or a body. Anything that is raised
and is not in this tree is a bug of one message: see `relayd.rules.retry`.
"""

from dataclasses import dataclass
from typing import Literal

Dependency = Literal["queue", "s3", "ses", "database", "certificates"]
"""What a `HoldError` waits for. Each is probed, paused and measured on its own."""


class RelaydError(Exception):
    """The root of every failure that relayd foresees."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class TransientError(RelaydError):
    """Trying again later may work: the message is Deferred, and its age is held against the retry budget.

    `charged=False` is for what is nobody's failure (SES throttling, a live claim elsewhere): such a try is not
    counted. `retry_after` (seconds) replaces the usual delay where the other side, or the ledger, knows better.
    `dependency`: whose failure it was, for its limit and its breaker; None where it is nobody's.
    """

    def __init__(
        self,
        reason: str,
        detail: str = "",
        *,
        dependency: Dependency | None = None,
        retry_after: float | None = None,
        charged: bool = True,
    ) -> None:
        super().__init__(reason, detail)
        self.dependency = dependency
        self.retry_after = retry_after
        self.charged = charged


class PermanentError(RelaydError):
    """Trying again cannot work: the message is Rejected, with this reason, to the dead-letter queue."""


class HoldError(RelaydError):
    """A dependency is unusable for every message: stop receiving, Release what is in hand, charge nothing.

    `wide=False` means that the error may belong to one key or one address. It holds only after three distinct
    subjects (objects, mailboxes: whoever knows sets `subject` to an id) met it without a success between; until then
    the message is Deferred like a `TransientError`.
    `retry_after` (seconds) is the least time that the dependency will stay unusable, where that is known.
    """

    def __init__(
        self,
        dependency: Dependency,
        reason: str,
        detail: str = "",
        *,
        wide: bool = True,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(reason, detail)
        self.dependency: Dependency = dependency
        self.wide = wide
        self.subject: str | None = None
        self.retry_after = retry_after


class InDoubtError(RelaydError):
    """SendEmail may or may not have been accepted (read timeout, reset after the body was sent).

    The delivery stays `sending` until its claim expires; only then may another attempt decide what to do.
    """


class LeaseLostError(RelaydError):
    """The message is no longer ours: stop, do not send, do not settle. Its next receiver goes on."""

    def __init__(self, detail: str = "") -> None:
        super().__init__("lease_lost", detail)


class ClaimLostError(RelaydError):
    """The ledger's claim on a delivery is no longer ours: do not send. Its new holder goes on."""

    def __init__(self, detail: str = "") -> None:
        super().__init__("claim_lost", detail)


class StoppingError(RelaydError):
    """The daemon is stopping and the send would not fit into what is left of the grace: Release the message."""

    def __init__(self, detail: str = "") -> None:
        super().__init__("stopping", detail)


class PausedError(RelaydError):
    """An operator holds this mail back: Release it, for a while."""

    def __init__(self, detail: str = "") -> None:
        super().__init__("paused", detail)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the configuration, and what to do about it."""

    subject: str
    """What is wrong: a variable's name, or the thing it points to."""
    problem: str
    """What is wrong with it, as one sentence, without secrets."""
    hint: str
    """What to do, as one sentence."""

    def __str__(self) -> str:
        return f"{self.subject}: {self.problem}\n    hint: {self.hint}"


class ConfigurationError(RelaydError):
    """The configuration cannot work. It carries every problem that was found, so that one run shows them all."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("configuration", "\n".join(str(problem) for problem in problems))
        self.problems = problems
