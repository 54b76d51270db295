"""Gathering what the rules look at: the mail's facts, and what the directory says of its recipients and senders."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, assert_never

from relayd.mail import hops
from relayd.mail.addresses import addresses_of, sole_address
from relayd.mail.fields import Field
from relayd.model.address import Address
from relayd.model.decision import Decision, Forward, Reply
from relayd.model.mask import Mask, Target, TokenRecipient, UnknownRecipient
from relayd.ports import Clock, Directory
from relayd.rules import inbound, recipients
from relayd.rules.evidence import Case, Evidence
from relayd.stages import Decided, Decoded, RelaySettings

Headers = tuple[tuple[str, str], ...]

_MOST_FROM = 10
"""From fields that are looked at: there should be one, and two are one too many already."""
_MOST_AUTHORS = 50
"""Addresses in them. Each may cost a hundred parameters of a query, of which PostgreSQL takes 65,535."""


class Decider:
    """Asks the directory, then the rules. It holds nothing between messages."""

    def __init__(self, directory: Directory, clock: Clock, settings: RelaySettings) -> None:
        self._directory = directory
        self._clock = clock
        self._settings = settings

    def decide(self, decoded: Decoded) -> Decided:
        """For each recipient of ours, from what the notification tells."""
        received = decoded.received
        evidence = self._evidence(decoded, received.headers, complete=not received.headers_truncated)
        ours = recipients.ours(received.recipients, self._settings.mail_domains)
        return Decided(
            decoded,
            evidence,
            tuple((one, self._decide(one, self._directory.lookup(one), evidence)) for one in ours),
        )

    def with_mail(self, decided: Decided, headers: Headers) -> Decided:
        """The same mail, now that all of its header is known."""
        return replace(decided, evidence=self._evidence(decided.decoded, headers, complete=True))

    def again(self, recipient: Address, decision: Forward | Reply, evidence: Evidence) -> Decision:
        """Decide once more about one recipient. What the directory said before still counts."""
        target: Target = decision.mask
        if isinstance(decision, Reply):
            target = TokenRecipient(decision.contact, decision.mask, decision.owned)
        return self._decide(recipient, target, evidence)

    def _decide(self, recipient: Address, target: Target, evidence: Evidence) -> Decision:
        case = Case(recipient, target, evidence)
        if isinstance(target, Mask) and target.screens:
            source = parsed(evidence.source)
            senders = dict.fromkeys((*evidence.authors, *((source,) if source else ())))
            case = replace(case, screening=self._directory.screen(target, tuple(senders)))
        return inbound.decide(case)

    def _evidence(self, decoded: Decoded, headers: Headers, *, complete: bool) -> Evidence:
        received = decoded.received
        told = tell(headers, self._settings.secrets)
        return Evidence(
            verdicts=received.verdicts,
            source=received.source,
            headers=headers,
            hops=told.hops,
            sender_owner=self._owner_of(received.source),
            complete=complete,
            authors=told.authors,
            sole_author=told.sole_author,
            now=self._clock.time(),
            received_at=received.received_at,
            released=decoded.released,
            limits=self._settings.limits,
        )

    def _owner_of(self, source: str) -> str | None:
        """The owner behind an envelope sender on one of our domains: a mask that writes to a mask is a loop."""
        address = parsed(source)
        if address is None or address.domain not in self._settings.mail_domains:
            return None
        target: Target = self._directory.lookup(address)
        match target:
            case Mask():
                # A catch-all covers any address; only a mask that is there can write.
                return target.owner.owner_id if target.rule_id is None else None
            case TokenRecipient():
                return target.mask.owner.owner_id
            case UnknownRecipient():
                return None
            case _:
                assert_never(target)


class Told(NamedTuple):
    """What a header says about its mail, before anybody has looked at the rest."""

    hops: int
    authors: tuple[Address, ...]
    sole_author: Address | None


def tell(headers: Headers, secrets: Sequence[bytes]) -> Told:
    """Read the hop headers and the From fields."""
    named = [_from_field(value) for name, value in headers if name.strip().lower() == "from"][:_MOST_FROM]
    values = [value for name, value in headers if name.lower() == hops.HEADER.lower()]
    authors = dict.fromkeys(one for field in named for one in addresses_of(field, "utf-8"))
    sole = sole_address(named[0]) if len(named) == 1 else None
    return Told(hops.count(values, secrets), tuple(authors)[:_MOST_AUTHORS], sole)


def _from_field(value: str) -> Field:
    return Field("From", b"From: " + value.encode("utf-8", "replace") + b"\r\n", "from")


def parsed(address: str) -> Address | None:
    """The address, if it is one."""
    try:
        return Address.parse(address)
    except ValueError:
        return None
