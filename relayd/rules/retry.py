"""When to try again, when to give up, and how a message ends when its deliveries ended differently."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from relayd.errors import HoldError, TransientError
from relayd.model.delivery import Tries
from relayd.model.message import Accepted, Deferred, Outcome, Rejected, Released
from relayd.rules.inbound import NO_RECIPIENT

FIRST_DELAY = 5.0
"""Seconds before the second try; doubled for each one after it."""
LONGEST_DELAY = 15 * 60.0
"""Seconds. A day of retries is then about a hundred, far below the queue's net of 1,000 receives."""
LONGEST_REQUEST = 11 * 3600.0
"""Seconds that somebody's `retry_after` may ask for: SQS ends a lease 12 hours after the receive and refuses more."""
UNCHARGED_DELAY = 30.0
"""Seconds after a try that does not count, for each ten receives that the message has behind it. Nothing else counts
such tries, and a steady half a minute would use up the queue's 1,000 receives in an afternoon of throttling."""
PAUSED_DELAY = 30.0
"""Seconds until mail that an operator holds back is looked at again, for each receive that it has had, and
`LONGEST_DELAY` from the 30th on: about 400 receives in the 4 days that SQS keeps a message unless told otherwise. The
queue's net of 1,000 is ten days away; a steady half a minute would reach it in eight hours."""
CONTENT_MISSING_SECONDS = 10 * 60.0
"""How long a missing S3 object is waited for: SES writes it before it notifies, so it is late or it is gone."""
PAUSED = "paused"
MAX_BUGS = 10
"""Tries of a message that fails in a way nobody foresaw."""


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """How one delivery of a message ended, or that it did not."""

    state: Literal["sent", "discarded", "failed", "open"]
    reason: str
    delay: float = 0
    """For `open`: seconds until it is worth another look."""
    charged: bool = False
    released: bool = False
    """For `open`: it was not tried at all."""
    detail: str = ""
    """For `failed`: what stands beside the reason in the dead letter."""


def after_transient(
    error: TransientError | HoldError, tries: Tries, *, retry_seconds: float, jitter: float
) -> Deferred | Rejected:
    """What becomes of a message after a charged failure. `jitter` is a random number from 0 to 1.

    A HoldError comes here while it is narrow: until it is known whether one object or the whole dependency fails.
    """
    if error.reason == "content_missing" and tries.age >= CONTENT_MISSING_SECONDS:
        return Rejected("content_missing")
    if tries.age >= retry_seconds:
        return Rejected("retries_exhausted", detail=error.reason)
    return Deferred(_asked(error) or _backoff(tries.failures, jitter), error.reason)


def uncharged_delay(error: TransientError, receive_count: int, *, jitter: float) -> Deferred:
    """What becomes of a message after a failure that is nobody's: it waits, and nothing is held against it."""
    return Deferred(
        _asked(error) or _spread(min(LONGEST_DELAY, UNCHARGED_DELAY * (1 + receive_count // 10)), jitter),
        error.reason,
        charged=False,
    )


def after_bug(tries: Tries, *, jitter: float) -> Deferred | Rejected:
    """What becomes of a message after an exception that nobody foresaw. A deploy may mend it, so it is tried again."""
    if tries.bugs >= MAX_BUGS:
        return Rejected("bug")
    return Deferred(_backoff(tries.failures, jitter), "bug")


def paused(receive_count: int) -> DeliveryResult:
    """What becomes of a delivery that an operator holds back: it waits, untried, and nothing is held against it."""
    delay = min(LONGEST_DELAY, PAUSED_DELAY * max(1, receive_count))
    return DeliveryResult("open", PAUSED, delay=delay, released=True)


def settle_message(results: Sequence[DeliveryResult]) -> Outcome:
    """One outcome of all deliveries: open while any is, else rejected if any failed, else done.

    In this order, because the ledger remembers how deliveries ended: the next receive has only the open ones to do,
    and the one that ends the last of them still finds the failed ones failed. So there is one dead letter.
    """
    opened = [result for result in results if result.state == "open"]
    tried = [result for result in opened if not result.released]
    if tried:
        soonest = min(tried, key=lambda result: result.delay)
        return Deferred(soonest.delay, soonest.reason, charged=any(result.charged for result in tried))
    if opened:
        soonest = min(opened, key=lambda result: result.delay)
        return Released(soonest.reason, soonest.delay)
    for result in results:
        if result.state == "failed":
            return Rejected(result.reason, result.detail)
    if any(result.state == "sent" for result in results):
        return Accepted("forwarded")
    return Accepted(results[0].reason if results else NO_RECIPIENT)


def _asked(error: TransientError | HoldError) -> float | None:
    """What the other side, or the ledger, asked for. None for nothing, and for a time that has passed."""
    if error.retry_after is None or not error.retry_after > 0:
        return None
    return min(error.retry_after, LONGEST_REQUEST)


def _backoff(tries: int, jitter: float) -> float:
    # The exponent is bounded because 2.0 ** 1024 raises.
    return _spread(min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(max(tries - 1, 0), 32)), jitter)


def _spread(seconds: float, jitter: float) -> float:
    """Between half and the whole of it, so that messages that failed together do not come back together."""
    return seconds * (0.5 + 0.5 * jitter)
