"""What the rules look at: a mail as far as it is known, and the recipient that it is for."""

from dataclasses import dataclass, field
from functools import cached_property

from relayd.model.address import Address
from relayd.model.mask import Mask, Screening, Target, TokenRecipient, UnknownRecipient
from relayd.model.notification import Verdicts


@dataclass(frozen=True, slots=True)
class Limits:
    """What an owner's mail may come to in a day, UTC."""

    mails: int = 1000
    bytes: int = 1_000_000_000
    replies: int = 100


@dataclass(frozen=True)
class Evidence:
    """What is known about a mail, the same for all of its recipients."""

    verdicts: Verdicts
    source: str = field(repr=False)
    """MAIL FROM; empty for a bounce."""
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    hops: int
    """How many relayd hops the mail has behind it, by hop headers that verify."""
    sender_owner: str | None
    """The owner of the mask or token that the mail claims to come from; None for a stranger."""
    complete: bool
    """Whether `headers` (and so `hops` and `authors`) show all of the mail's header, or only what fitted into the
    notification."""
    authors: tuple[Address, ...] = field(repr=False, default=())
    """Every address in the From fields."""
    sole_author: Address | None = field(repr=False, default=None)
    """The author, where there is one alone and nobody could read the From field differently."""
    now: float = 0.0
    received_at: float = 0.0
    """When SES received the mail; like `now` in seconds since the epoch."""
    released: frozenset[str] = frozenset()
    """What a person let it out of quarantine for: those rules have nothing to say any more."""
    limits: Limits = Limits()

    @cached_property
    def is_list_mail(self) -> bool:
        """Whether a mailing list or a bulk sender says so itself."""
        return any(name.lower().startswith("list-") for name, _ in self.headers) or bool(
            self._values("precedence") & {"bulk", "list"}
        )

    @cached_property
    def is_automatic(self) -> bool:
        """Whether no person wrote it (RFC 3834, 2): then nobody is told about it, or two programs would talk to each
        other for ever.
        """
        submitted = {value.partition(";")[0].strip() for value in self._values("auto-submitted")}
        junk = self._values("precedence") & {"junk", "auto_reply"}
        return not self.source or bool(submitted - {"no"}) or bool(junk) or self.is_list_mail

    def _values(self, wanted: str) -> set[str]:
        return {value.strip().lower() for name, value in self.headers if name.lower() == wanted}


_UNSCREENED = Screening()


@dataclass(frozen=True, slots=True)
class Case:
    """One mail to one recipient."""

    recipient: Address
    target: Target
    evidence: Evidence
    screening: Screening = _UNSCREENED
    """What the lists of the mask and its owner say of the mail's senders."""

    @property
    def mask(self) -> Mask:
        """The mask written to, itself or by a token. Only rules below `unknown_mask` may ask."""
        match self.target:
            case Mask():
                return self.target
            case TokenRecipient():
                return self.target.mask
            case UnknownRecipient():
                raise LookupError("an unknown recipient has no mask")
