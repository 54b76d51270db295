"""A directory in memory. It keeps the promises of `tests/contract/test_directory.py`."""

from dataclasses import replace

from relayd.errors import HoldError
from relayd.model.address import Address
from relayd.model.mask import (
    Contact,
    DmarcHandling,
    Mailbox,
    Mask,
    Owner,
    SpamHandling,
    Target,
    TokenRecipient,
    UnknownRecipient,
)
from relayd.ports import Clock

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


class FakeDirectory:
    """`relayd.ports.Directory` without a database. With a clock, each call takes `latency` seconds on it."""

    def __init__(self, clock: Clock | None = None, *, latency: float = 0.0) -> None:
        self.clock = clock
        self.latency = latency
        self.fail_with: Exception | None = None
        self.masks: dict[str, Mask] = {}
        self.removed: set[str] = set()
        self.contacts: dict[tuple[str, str], Contact] = {}
        self._mailboxes: dict[str, Mailbox] = {}
        self._owners: dict[str, Owner] = {}

    def add(
        self,
        address: str,
        *mailboxes: str,
        owner: str | None = None,
        enabled: bool = True,
        owner_active: bool = True,
        owner_flagged: bool = False,
        spam_handling: SpamHandling = "quarantine",
        dmarc_handling: DmarcHandling = "forward",
    ) -> Mask:
        """A mask that forwards to these mailboxes (`me@example.org` when none is named)."""
        parsed = Address.parse(address)
        boxes = tuple(self._mailbox(Address.parse(text)) for text in mailboxes or ("me@example.org",))
        label = owner or boxes[0].address.full
        self._owners[label] = Owner(
            self._owners[label].owner_id if label in self._owners else f"owner{len(self._owners) + 1}",
            owner_active,
            owner_flagged,
            spam_handling,
            dmarc_handling,
        )
        mask = Mask(f"mask{len(self.masks) + 1}", parsed, self._owners[label], boxes, enabled)
        self.masks[parsed.bare] = mask
        return mask

    def set_enabled(self, address: str, enabled: bool) -> None:
        bare = Address.parse(address).bare
        self.masks[bare] = replace(self.masks[bare], enabled=enabled)

    def remove(self, address: str) -> None:
        """Leave a tombstone."""
        self.removed.add(Address.parse(address).bare)

    def lookup(self, address: Address) -> Target:
        self._enter()
        if mask := self._live(address.bare):
            return mask
        for contact in self.contacts.values():
            if contact.token == address.local:
                theirs = (mask for mask in self.masks.values() if mask.mask_id == contact.mask_id)
                for mask in theirs:
                    if self._live(mask.address.bare):
                        return TokenRecipient(contact, mask)
        if not self.masks:
            raise HoldError("database", "directory_empty")
        return UnknownRecipient()

    def contact(self, mask_id: str, sender: Address | None) -> Contact:
        self._enter()
        key = (mask_id, sender.full if sender else "")
        if key not in self.contacts:
            number = len(self.contacts) + 1
            self.contacts[key] = Contact(f"contact{number}", mask_id, _token(number), sender)
        return self.contacts[key]

    def _live(self, bare: str) -> Mask | None:
        return None if bare in self.removed else self.masks.get(bare)

    def _mailbox(self, address: Address) -> Mailbox:
        return self._mailboxes.setdefault(address.full, Mailbox(f"mailbox{len(self._mailboxes) + 1}", address))

    def _enter(self) -> None:
        if self.latency and self.clock:
            self.clock.sleep(self.latency)
        if self.fail_with is not None:
            raise self.fail_with


def _token(number: int) -> str:
    """Counted rather than random, so that a run of the virtual clock can be repeated."""
    digits = ""
    for _ in range(20):
        number, digit = divmod(number, 32)
        digits = _BASE32[digit] + digits
    return digits
