"""Faults: what can go wrong on request. Each kind is a small class; `faults` says for which calls it does."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, Literal, Protocol

from relayd.sandbox.cloud.calls import Call, Effects, Refusal

When = Literal["before", "after"]
Distribution = Literal["fixed", "uniform", "lognormal", "pareto"]
EventType = Literal[
    "*",
    "Send",
    "Reject",
    "Bounce",
    "Complaint",
    "Delivery",
    "Open",
    "Click",
    "Rendering Failure",
    "DeliveryDelay",
    "Subscription",
]

THROTTLED: Mapping[str, tuple[str, str, int]] = {
    "sqs": ("RequestThrottled", "The request was denied due to request throttling.", 403),
    "s3": ("SlowDown", "Please reduce your request rate.", 503),
    "ses": ("TooManyRequestsException", "Maximum sending rate exceeded.", 429),
    "sesv1": ("Throttling", "Rate exceeded", 400),
    "sns": ("Throttling", "Rate exceeded", 400),
    "sts": ("Throttling", "Rate exceeded", 400),
    "iam": ("Throttling", "Rate exceeded", 400),
    "kms": ("ThrottlingException", "Rate exceeded", 400),
}
DENIED: Mapping[str, tuple[str, str, int]] = {
    "sqs": ("AccessDeniedException", "Access to the resource is denied.", 403),
    "s3": ("AccessDenied", "Access Denied", 403),
    "ses": ("AccessDeniedException", "The caller is not authorized to perform this action.", 403),
    "sesv1": ("AccessDenied", "The caller is not authorized to perform this action.", 403),
    "sns": ("AuthorizationError", "The caller is not authorized to perform this action.", 403),
    "sts": ("AccessDenied", "The caller is not authorized to perform this action.", 403),
    "iam": ("AccessDenied", "The caller is not authorized to perform this action.", 403),
    "kms": ("AccessDeniedException", "The caller is not authorized to perform this action.", 400),
}
FAILED: Mapping[str, tuple[str, str, int]] = {
    "sqs": ("InternalFailure", "We are currently unable to process your request.", 500),
    "s3": ("InternalError", "We encountered an internal error. Please try again.", 500),
    "ses": ("InternalServiceErrorException", "The service failed internally.", 500),
    "sesv1": ("InternalFailure", "We are currently unable to process your request.", 500),
    "sns": ("InternalFailure", "We are currently unable to process your request.", 500),
    "sts": ("InternalFailure", "We are currently unable to process your request.", 500),
    "iam": ("ServiceFailure", "The request processing has failed because of an unknown error.", 500),
    "kms": ("KMSInternalException", "The request was rejected because an internal exception occurred.", 500),
}


class Fault(Protocol):
    """What a rule does to a call that it strikes. `draw` is the rule's own."""

    kind: ClassVar[str]

    def strike(self, effects: Effects, call: Call, draw: Random, now: float) -> None: ...


@dataclass(slots=True)
class Latency:
    """`seconds` is the time (fixed), the most (uniform, from `low`), the median (lognormal) or the least (pareto)."""

    kind: ClassVar[str] = "latency"
    seconds: float
    distribution: Distribution = "fixed"
    low: float = 0.0
    sigma: float = 1.0
    shape: float = 1.5
    cap: float = 300.0
    at: Literal["request", "body"] = "request"

    def strike(self, effects: Effects, call: Call, draw: Random, now: float) -> None:  # noqa: ARG002
        delay = min(self.cap, self._drawn(draw))
        if self.at == "request":
            effects.delay += delay
        else:
            effects.body_delay += delay

    def _drawn(self, draw: Random) -> float:
        match self.distribution:
            case "fixed":
                return self.seconds
            case "uniform":
                return draw.uniform(self.low, self.seconds)
            case "lognormal":
                return draw.lognormvariate(math.log(max(self.seconds, 1e-6)), self.sigma)
            case "pareto":
                return self.seconds * draw.paretovariate(self.shape)


@dataclass(slots=True)
class Hang:
    """No answer until the rule goes away or the client does."""

    kind: ClassVar[str] = "hang"
    when: When = "before"

    def strike(self, effects: Effects, call: Call, draw: Random, now: float) -> None:  # noqa: ARG002
        effects.hang = self.when


@dataclass(slots=True)
class Reset:
    """The connection is reset; `after` the effect it is an answer that gets lost."""

    kind: ClassVar[str] = "reset"
    when: When = "before"

    def strike(self, effects: Effects, call: Call, draw: Random, now: float) -> None:  # noqa: ARG002
        effects.reset = self.when


@dataclass(slots=True)
class Truncate:
    """The connection ends after this share of the answer's body."""

    kind: ClassVar[str] = "truncate"
    keep: float = 0.5

    def strike(self, effects: Effects, call: Call, draw: Random, now: float) -> None:  # noqa: ARG002
        effects.keep = self.keep


@dataclass(slots=True)
class Error:
    """An answer of this status and code, without effect. What is left out is what the service's own failures have."""

    kind: ClassVar[str] = "error"
    status: int = 0
    code: str = ""
    message: str = ""

    def strike(self, effects: Effects, call: Call, draw: Random, now: float) -> None:  # noqa: ARG002
        code, text, status = FAILED[call.service]
        effects.refusal = Refusal(self.code or code, self.message or text, self.status or status)


@dataclass(slots=True)
class Deny:
    """As if a policy did not allow the action."""

    kind: ClassVar[str] = "deny"

    def strike(self, effects: Effects, call: Call, draw: Random, now: float) -> None:  # noqa: ARG002
        effects.refusal = Refusal(*DENIED[call.service])


@dataclass(slots=True)
class Throttle:
    """No more than `rate` calls a second, `burst` at once."""

    kind: ClassVar[str] = "throttle"
    rate: float
    burst: float = 1.0
    _tokens: float = math.inf
    _filled: float = 0.0

    def strike(self, effects: Effects, call: Call, draw: Random, now: float) -> None:  # noqa: ARG002
        self._tokens = min(self.burst, self._tokens + max(0.0, now - self._filled) * self.rate)
        self._filled = now
        if self._tokens >= 1:
            self._tokens -= 1
        else:
            effects.refusal = Refusal(*THROTTLED[call.service])


@dataclass(slots=True)
class StaleDelete:
    """Deletes with an old handle are refused, rather than answered with success and ignored. SQS does both."""

    kind: ClassVar[str] = "stale_delete"

    def strike(self, effects: Effects, call: Call, draw: Random, now: float) -> None:  # noqa: ARG002
        effects.stale_delete = "error"


@dataclass(slots=True)
class ForgetDelete:
    """Deletes answer success and delete nothing: the copy of the message that was out of reach comes back."""

    kind: ClassVar[str] = "forget_delete"

    def strike(self, effects: Effects, call: Call, draw: Random, now: float) -> None:  # noqa: ARG002
        effects.forget_delete = True


@dataclass(slots=True)
class Redeliver:
    """A message comes once more, so many seconds after it was deleted: SQS promises once at least."""

    kind: ClassVar[str] = "redeliver"
    seconds: float = 1.0

    def strike(self, effects: Effects, call: Call, draw: Random, now: float) -> None:  # noqa: ARG002
        effects.redeliver = self.seconds


@dataclass(slots=True)
class FailEntries:
    """Entries of a batch fail, each with chance `share`, while the call succeeds."""

    kind: ClassVar[str] = "fail_entries"
    share: float = 0.5

    def strike(self, effects: Effects, call: Call, draw: Random, now: float) -> None:  # noqa: ARG002
        effects.fails_entry = lambda: draw.random() < self.share


@dataclass(slots=True)
class Twin:
    """One receive holds its first message twice, under two handles."""

    kind: ClassVar[str] = "twin"

    def strike(self, effects: Effects, call: Call, draw: Random, now: float) -> None:  # noqa: ARG002
        effects.twin = True


@dataclass(slots=True)
class EarlyRedelivery:
    """Leases end early: each with chance `share`, at a random moment of its first `within` part."""

    kind: ClassVar[str] = "early_redelivery"
    share: float = 1.0
    within: float = 1.0

    def strike(self, effects: Effects, call: Call, draw: Random, now: float) -> None:  # noqa: ARG002
        effects.shorten = lambda lease: lease * draw.uniform(0, self.within) if draw.random() < self.share else lease


@dataclass(slots=True)
class OrphanPoll:
    """A long poll whose client has gone away is still given messages, which come back when their leases end."""

    kind: ClassVar[str] = "orphan_poll"

    def strike(self, effects: Effects, call: Call, draw: Random, now: float) -> None:  # noqa: ARG002
        effects.orphan = True


@dataclass(slots=True)
class Withhold:
    """Events of this type about the mail are not published before `seconds` have passed, or other rules are set."""

    kind: ClassVar[str] = "withhold"
    event: EventType = "Send"
    seconds: float = 0.0
    """0 is without end: then only other rules let them go."""

    def strike(self, effects: Effects, call: Call, draw: Random, now: float) -> None:  # noqa: ARG002
        effects.withhold[self.event] = self.seconds


KINDS: Mapping[str, type[Any]] = {
    kind.kind: kind
    for kind in (
        Latency,
        Hang,
        Reset,
        Truncate,
        Error,
        Deny,
        Throttle,
        StaleDelete,
        ForgetDelete,
        Redeliver,
        FailEntries,
        Twin,
        EarlyRedelivery,
        OrphanPoll,
        Withhold,
    )
}
