"""What a ledger in memory keeps: the rows of its tables."""

from dataclasses import dataclass, field

from relayd.model.delivery import Concern, DeliveryKey, Draft, Held, State

NOBODY = Concern("forward", None, None)


@dataclass
class Row:
    """What the table `deliveries` keeps."""

    delivery_id: str
    key: DeliveryKey
    created_at: float
    concern: Concern = NOBODY
    state: State = "claimed"
    reason: str | None = None
    token: str | None = None
    expires_at: float = 0.0
    attempt: int = 0
    generation: int = 1
    kills: int = 0
    doubts: int = 0
    resends: int = 0
    message_id: str = ""
    trace: str | None = None
    draft: Draft = field(default_factory=Draft)
    ses_id: str | None = None
    updated_at: float = 0.0
    claimed_at: float | None = None
    replay_id: str | None = None

    @property
    def mask_id(self) -> str | None:
        return self.concern.mask_id


@dataclass(frozen=True)
class HeldMail:
    """What the table `quarantine` keeps."""

    key: DeliveryKey
    mask_id: str
    owner_id: str
    reason: str
    held: Held
    at: float


@dataclass(frozen=True)
class Tried:
    """What the table `attempts` keeps."""

    delivery_id: str
    attempt: int
    message_id: str
    reason: str
    trace: str | None
    began_at: float | None
    ended_at: float
    replay_id: str | None = None
    ses_id: str | None = None
