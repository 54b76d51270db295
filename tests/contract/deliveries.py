"""Deliveries for the suites of the ledger, and the steps of one."""

from relayd import ports
from relayd.model.delivery import Claim, ClaimAnswer, Concern, DeliveryKey, Draft, Replay
from tests.fakes.clock import VirtualClock

KEY = DeliveryKey("mail-1", "shop@mask.example", "me@example.org")
CONCERN = Concern("forward", "mask1", "owner1")
TTL = 60.0
TRACE = "00-11111111111111111111111111111111-2222222222222222-01"
DRAFT = Draft(1000)


def ask(
    ledger: ports.Ledger,
    key: DeliveryKey = KEY,
    concern: Concern = CONCERN,
    *,
    message: str = "m1",
    trace: str | None = None,
    doubt_seconds: float = 0.0,
    replay: Replay | None = None,
) -> ClaimAnswer:
    return ledger.claim(
        key, concern, message_id=message, ttl=TTL, trace=trace, doubt_seconds=doubt_seconds, replay=replay
    )


def take(
    ledger: ports.Ledger,
    key: DeliveryKey = KEY,
    concern: Concern = CONCERN,
    *,
    message: str = "m1",
    trace: str | None = None,
    replay: Replay | None = None,
) -> Claim:
    answer = ask(ledger, key, concern, message=message, trace=trace, replay=replay)
    assert isinstance(answer, Claim)
    return answer


def doubt(ledger: ports.Ledger, clock: VirtualClock, key: DeliveryKey = KEY, draft: Draft = DRAFT) -> Claim:
    """A claim whose send never came back, and which has expired."""
    claim = take(ledger, key)
    ledger.begin_send(claim, draft, ttl=TTL)
    clock.sleep(TTL)
    return claim


def send(
    ledger: ports.Ledger,
    key: DeliveryKey = KEY,
    concern: Concern = CONCERN,
    *,
    ses_id: str = "ses-1",
    draft: Draft = DRAFT,
    message: str = "m1",
    replay: Replay | None = None,
) -> Claim:
    """A delivery that went as it should."""
    claim = take(ledger, key, concern, message=message, replay=replay)
    ledger.begin_send(claim, draft, ttl=TTL)
    ledger.sent(claim, ses_id)
    return claim
