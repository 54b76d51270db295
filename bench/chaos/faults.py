"""Which faults meet which call, and how often: one number for all, shared out by what fits the operation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Share:
    """A fault and its part of an operation's faults, in percent."""

    percent: int
    fault: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def _share(percent: int, fault: str, **facts: Any) -> Share:
    return Share(percent, fault, facts)


_SLOW = {"distribution": "uniform", "low": 0.1}
_THROTTLED = {"status": 403, "code": "RequestThrottled"}

MIX: Mapping[str, Sequence[Share]] = {
    "sqs:ReceiveMessage": (
        _share(25, "error"),
        _share(15, "error", **_THROTTLED),
        _share(10, "reset"),
        # The messages are leased to nobody: they come back when the lease ends.
        _share(10, "reset", when="after"),
        _share(5, "truncate"),
        _share(10, "latency", seconds=1.5, **_SLOW),
        _share(10, "twin"),
        _share(10, "early_redelivery", share=0.5),
        _share(5, "hang"),
    ),
    "sqs:DeleteMessage*": (
        _share(20, "error"),
        _share(10, "error", **_THROTTLED),
        _share(10, "reset"),
        _share(15, "reset", when="after"),
        _share(10, "latency", seconds=1.5, **_SLOW),
        _share(5, "hang", when="after"),
        _share(10, "fail_entries"),
        _share(10, "forget_delete"),
        _share(10, "redeliver", seconds=2.0),
    ),
    "sqs:ChangeMessageVisibility*": (
        _share(30, "error"),
        _share(15, "error", **_THROTTLED),
        _share(15, "reset"),
        _share(15, "reset", when="after"),
        _share(10, "latency", seconds=1.5, **_SLOW),
        _share(5, "hang"),
        _share(10, "fail_entries"),
    ),
    "sqs:SendMessage": (
        _share(30, "error"),
        _share(20, "error", **_THROTTLED),
        _share(20, "reset"),
        # A dead letter that exists, and that nobody knows of.
        _share(20, "reset", when="after"),
        _share(10, "latency", seconds=1.5, **_SLOW),
    ),
    "s3:GetObject": (
        _share(20, "error"),
        _share(20, "error", status=503, code="SlowDown"),
        _share(10, "reset"),
        _share(15, "truncate"),
        _share(15, "latency", seconds=0.4, distribution="lognormal", cap=5.0),
        _share(10, "latency", seconds=2.0, at="body", **_SLOW),
        _share(10, "hang"),
    ),
    "ses:SendEmail": (
        _share(20, "error"),
        _share(20, "error", status=429, code="TooManyRequestsException"),
        _share(10, "latency", seconds=0.5, distribution="pareto", cap=10.0),
        # From here on relayd cannot know whether SES has the mail; of the last three, it has.
        _share(15, "reset"),
        _share(5, "hang"),
        _share(15, "reset", when="after"),
        _share(10, "hang", when="after"),
        _share(5, "truncate", keep=0.0),
    ),
}
"""Percent of an operation's faults. `*` covers batches, too."""

ONLY = {"sqs:SendMessage": "*-dead-letters"}
"""Queues' names, where a daemon is not an operation's only caller: messages that are no mail are sent by ourselves."""

PROBES: Mapping[str, Sequence[str]] = {"sqs": (), "s3": ("s3:HeadBucket",), "ses": ("ses:GetAccount",)}
"""Services that may have an outage, and what daemons ask of them beside the mail. A fault of a single call leaves these
alone: they are for finding out whether an outage is over.
"""

BASE: Sequence[Mapping[str, Any]] = (
    {"operation": "s3:GetObject", "fault": "latency", "distribution": "uniform", "low": 0.005, "seconds": 0.05},
    {"operation": "ses:SendEmail", "fault": "latency", "distribution": "uniform", "low": 0.02, "seconds": 0.1},
    # Who was killed in a long poll is still given messages.
    {"operation": "sqs:ReceiveMessage", "fault": "orphan_poll"},
)
"""What is no fault: the time that such calls take, slow enough that most kills fall on mail in flight."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A service that answers with its own failure from and until so many seconds after the start."""

    service: str
    starts: float
    until: float

    @classmethod
    def parse(cls, text: str) -> "Outage":
        """`s3:20:35`. Raises ValueError."""
        service, starts, until = text.split(":")
        if service not in PROBES:
            raise ValueError(service)
        return cls(service, float(starts), float(until))

    def rules(self) -> list[dict[str, Any]]:
        """What daemons ask of the service fails; what the bench does goes on, so that mail keeps arriving."""
        asked = [name for name in MIX if name.startswith(f"{self.service}:")] + list(PROBES[self.service])
        when = {"from": self.starts, "until": self.until}
        return [{**_where(operation), "fault": "error", **when} for operation in asked]


def rules(share: float, seed: int, outages: Sequence[Outage] = ()) -> list[dict[str, Any]]:
    """The emulator's rules with which a call meets a fault with probability `share`.

    Each rule draws for itself, so that two may meet one call; the probabilities are such that the chance of any is
    `share` exactly.
    """
    made = [dict(rule) for rule in BASE]
    for operation, shares in MIX.items():
        for one in shares:
            probability = 1 - (1 - share) ** (one.percent / 100)
            if probability > 0:
                rule = {**_where(operation), "fault": one.fault, **one.facts}
                made.append({**rule, "probability": probability, "seed": seed})
    return made + [rule for outage in outages for rule in outage.rules()]


def _where(operation: str) -> dict[str, str]:
    return {"operation": operation, "resource": ONLY.get(operation, "*")}
