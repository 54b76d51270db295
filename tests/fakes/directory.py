"""A directory in memory. It keeps the promises of `tests/contract/test_directory.py` and the suites beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from relayd.errors import HoldError
from relayd.model.address import Address
from relayd.model.mask import (
    Contact,
    Mailbox,
    Mask,
    Owner,
    Pause,
    Screening,
    Target,
    TokenRecipient,
    UnknownRecipient,
    Usage,
)
from relayd.ports import Clock
from relayd.rules import domains, senders
from tests.fakes.usage import FakeUsage

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_OWNER_TRAITS = ("owner_active", "owner_flagged", "spam_handling", "dmarc_handling", "language")


@dataclass
class Person:
    """An owner, and what only SES's events ask about."""

    owner: Owner
    complained_at: float | None = None
    flag_reason: str | None = None


@dataclass
class Box:
    """A mailbox, whose it is, and how often it bounced."""

    mailbox: Mailbox
    owner_id: str
    bounces: int = 0


@dataclass
class DomainRule:
    """A rule that makes masks on the first mail to them."""

    rule_id: str
    domain: str
    pattern: str
    owner_id: str
    mailbox_ids: tuple[str, ...]
    limit: int | None
    enabled: bool = True


class FakeDirectory:
    """`relayd.ports.Directory` without a database. With a clock, each call takes `latency` seconds on it; with
    `usage`, owners' usage is told of.
    """

    def __init__(self, clock: Clock | None = None, *, latency: float = 0.0, usage: FakeUsage | None = None) -> None:
        self.clock = clock
        self.latency = latency
        self.usage = usage
        self.fail_with: Exception | None = None
        self.masks: dict[str, Mask] = {}
        """By address, as they were added; `lookup` fills in what their owner and mailboxes have become."""
        self.removed: set[str] = set()
        self.people: dict[str, Person] = {}
        self.boxes: dict[str, Box] = {}
        self.rules: list[DomainRule] = []
        self.lists: dict[str, dict[str, senders.SenderRule]] = {}
        """For a mask's or an owner's id: the entries of its lists."""
        self.contacts: dict[tuple[str, str], Contact] = {}
        self._names: dict[str, str] = {}

    # What an operator does.

    def add(self, address: str, *mailboxes: str, owner: str | None = None, **traits: Any) -> Mask:
        """A mask that forwards to these mailboxes (`me@example.org` when none is named). The traits are fields of Mask
        or, of an owner who is new, of Owner.
        """
        parsed = Address.parse(address)
        of_owner = {name.removeprefix("owner_"): traits.pop(name) for name in _OWNER_TRAITS if name in traits}
        owner_id, boxes = self._people(mailboxes or ("me@example.org",), owner, of_owner)
        mask = Mask(f"mask{len(self.masks) + 1}", parsed, self.people[owner_id].owner, boxes, **traits)
        self.masks[parsed.bare] = mask
        return self._shown(mask)

    def add_rule(
        self, domain: str, pattern: str, *mailboxes: str, owner: str | None = None, limit: int | None = None
    ) -> None:
        """A rule on a domain: `*` in the pattern stands for anything."""
        owner_id, boxes = self._people(mailboxes or ("me@example.org",), owner, {})
        ids = tuple(box.mailbox_id for box in boxes)
        self.rules.append(DomainRule(f"rule{len(self.rules) + 1}", domain, pattern, owner_id, ids, limit))

    def switch_rule(self, domain: str, pattern: str, enabled: bool) -> None:
        for rule in self.rules:
            if (rule.domain, rule.pattern) == (domain, pattern):
                rule.enabled = enabled

    def list_senders(self, scope: str, kind: senders.SenderRule, *patterns: str) -> None:
        """Put senders on a list of a mask (its address), or of an owner (the id)."""
        mask = None if scope in self.people else self.masks[Address.parse(scope).bare]
        entries = self.lists.setdefault(mask.mask_id if mask else scope, {})
        entries.update(dict.fromkeys(patterns, kind))

    def set_mask(self, address: str, **traits: Any) -> None:
        bare = Address.parse(address).bare
        self.masks[bare] = replace(self.masks[bare], **traits)

    def set_owner(self, owner_id: str, **traits: Any) -> None:
        self.people[owner_id].owner = replace(self.people[owner_id].owner, **traits)

    def remove(self, address: str) -> None:
        """Leave a tombstone."""
        self.removed.add(Address.parse(address).bare)

    def pause(self, mailbox: str, kind: Literal["hard", "soft"], until: float) -> None:
        self.change_mailbox(self._box_id(mailbox), pause=Pause(kind, until))

    def set_verified(self, mailbox: str, verified: bool) -> None:
        self.change_mailbox(self._box_id(mailbox), verified=verified)

    def change_mailbox(self, mailbox_id: str, **traits: Any) -> None:
        box = self.boxes[mailbox_id]
        box.mailbox = replace(box.mailbox, **traits)

    # The port.

    def lookup(self, address: Address) -> Target:
        self._enter()
        if mask := self._live(address.bare):
            return self._shown(mask)
        contact = next((one for one in self.contacts.values() if one.token == address.local), None)
        if contact is not None:
            mask = self.by_id(contact.mask_id)
            if mask is None or mask.address.bare in self.removed:
                return UnknownRecipient()
            owned = [box.mailbox for box in self.boxes.values() if box.owner_id == mask.owner.owner_id]
            return TokenRecipient(contact, self._shown(mask), tuple(owned))
        rules = {rule.pattern: rule for rule in self.rules if rule.enabled and rule.domain == address.domain}
        pattern = domains.best(address.local, rules)
        if pattern is not None and address.bare not in self.masks:
            return self._ruled(rules[pattern], address)
        if not self.masks and not self.rules:
            raise HoldError("database", "directory_empty")
        return UnknownRecipient()

    def screen(self, mask: Mask, senders_: Sequence[Address]) -> Screening:
        self._enter()
        wanted = {pattern for sender in senders_ for pattern in senders.patterns(sender)}
        named: list[senders.Named] = []
        for scope, on_mask in ((mask.mask_id, True), (mask.owner.owner_id, False)):
            entries = self.lists.get(scope, {})
            named += [senders.Named(kind, on_mask, hit=True) for entry, kind in entries.items() if entry in wanted]
            named += [senders.Named("allow", on_mask, hit=False)] if "allow" in entries.values() else []
        return senders.screening(named)

    def create(self, mask: Mask) -> bool:
        self._enter()
        rule = next((rule for rule in self.rules if rule.rule_id == mask.rule_id and rule.enabled), None)
        here = self.masks.get(mask.address.bare)
        if here is not None:
            return here.mask_id == mask.mask_id and mask.address.bare not in self.removed
        if rule is None or self._made_all(rule):
            return False
        self.masks[mask.address.bare] = mask
        return True

    def contact(self, mask_id: str, sender: Address | None) -> Contact:
        self._enter()
        key = (mask_id, sender.full if sender else "")
        if key not in self.contacts:
            number = len(self.contacts) + 1
            self.contacts[key] = Contact(f"contact{number}", mask_id, _token(number), sender)
        return self.contacts[key]

    def known_contact(self, mask_id: str, sender: Address | None) -> Contact | None:
        self._enter()
        return self.contacts.get((mask_id, sender.full if sender else ""))

    def correspondents(self, owner_id: str, tokens: Sequence[str]) -> dict[str, Contact]:
        self._enter()
        theirs = {mask.mask_id for mask in self.masks.values() if mask.owner.owner_id == owner_id}
        theirs -= {self.masks[bare].mask_id for bare in self.removed}
        found = (one for one in self.contacts.values() if one.token in tokens)
        return {one.token: one for one in found if one.mask_id in theirs and one.address is not None}

    def by_id(self, mask_id: str | None) -> Mask | None:
        return next((mask for mask in self.masks.values() if mask.mask_id == mask_id), None)

    def _live(self, bare: str) -> Mask | None:
        return None if bare in self.removed else self.masks.get(bare)

    def _shown(self, mask: Mask) -> Mask:
        """The mask as `lookup` tells of it: of a rule's mask, only one that is not there yet says so."""
        owner_id = mask.owner.owner_id
        usage = self.usage.today(owner_id) if self.usage else Usage()
        return replace(
            mask,
            owner=replace(self.people[owner_id].owner, usage=usage),
            mailboxes=tuple(self.boxes[box.mailbox_id].mailbox for box in mask.mailboxes),
            screens=any(self.lists.get(scope) for scope in (mask.mask_id, owner_id)),
            rule_id=None,
        )

    def _ruled(self, rule: DomainRule, address: Address) -> Mask | UnknownRecipient:
        if self._made_all(rule):
            return UnknownRecipient(rule_exhausted=True)
        bare = Address(address.local, address.domain)
        owner, boxes = self.people[rule.owner_id].owner, tuple(self.boxes[one].mailbox for one in rule.mailbox_ids)
        mask = Mask(domains.mask_id(rule.rule_id, bare.bare), bare, owner, boxes)
        return replace(self._shown(mask), rule_id=rule.rule_id)

    def _made_all(self, rule: DomainRule) -> bool:
        live = (mask for bare, mask in self.masks.items() if bare not in self.removed)
        return rule.limit is not None and sum(mask.rule_id == rule.rule_id for mask in live) >= rule.limit

    def _people(
        self, mailboxes: Sequence[str], name: str | None, traits: dict[str, Any]
    ) -> tuple[str, tuple[Mailbox, ...]]:
        """The owner of this name, or whoever has the mailboxes, or a new one."""
        addresses = [Address.parse(text) for text in mailboxes]
        known = {box.mailbox.address: box for box in self.boxes.values()}
        holder = next((known[one].owner_id for one in addresses if one in known), None)
        owner_id = holder if name is None else self._names.get(name)
        if owner_id is None:
            owner_id = f"owner{len(self.people) + 1}"
            self.people[owner_id] = Person(Owner(owner_id, **traits))
            self._names[name or addresses[0].full] = owner_id
        for address in addresses:
            if address not in known:
                made = Mailbox(f"mailbox{len(self.boxes) + 1}", address)
                known[address] = self.boxes[made.mailbox_id] = Box(made, owner_id)
        return owner_id, tuple(known[address].mailbox for address in addresses)

    def _box_id(self, mailbox: str) -> str:
        address = Address.parse(mailbox)
        return next(one for one, box in self.boxes.items() if box.mailbox.address == address)

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
