"""What relayd decides to do with a mail for one recipient."""

from dataclasses import dataclass

from relayd.model.mask import Mask


@dataclass(frozen=True, slots=True)
class Forward:
    """Send it on to each of the mask's mailboxes."""

    mask: Mask
    warnings: tuple[str, ...] = ()
    """Words that the owner is shown: `spam`, `dmarc`. Empty for ordinary mail."""
    hops: int = 0
    """How many relayd hops the mail has behind it, by hop headers that verify."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Hold it back: the object stays in S3 and is listed, to be released by its owner."""

    reason: str
    mask: Mask


@dataclass(frozen=True, slots=True)
class Discard:
    """Policy says no. Counted and recorded; the object stays in S3 until the bucket's lifecycle removes it."""

    reason: str
    mask: Mask | None = None


Decision = Forward | Quarantine | Discard
