"""Addresses of masks, owners and strangers, and what makes two of them the same."""

from dataclasses import dataclass
from functools import lru_cache

import idna

MAX_ADDRESS = 320
"""Characters: 64 for the local part, 255 for the domain, one for the @ (RFC 3696, erratum 1690)."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address in its normal form: lower case, the domain in punycode, a `+tag` kept apart.

    Two addresses that are equal reach the same mask. SMTP allows a case-sensitive local part (RFC 5321, 2.4); no
    mask service does, and people type masks by hand.
    """

    local: str
    """The local part without its tag, in lower case."""
    domain: str
    """The domain in lower case, IDN labels in punycode (`xn--...`)."""
    tag: str = ""
    """What stood between the first `+` and the `@`; empty when there was none."""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read `local@domain` (no display name, no brackets). Raises ValueError for anything else."""
        text = text.strip()
        local, at, domain = text.rpartition("@")
        if not at or not local or not domain or len(text) > MAX_ADDRESS:
            raise ValueError("not an address of the form local@domain")
        if any(c.isspace() or ord(c) < 32 or c in "<>" for c in text):
            raise ValueError("an address holds no spaces, controls or angle brackets")
        name, plus, tag = local.lower().partition("+")
        if not name:
            # "+tag@": there is no mask before the plus, so the plus belongs to the name.
            name, plus, tag = local.lower(), "", ""
        return cls(name, normal_domain(domain), tag if plus else "")

    @property
    def bare(self) -> str:
        """`local@domain` without the tag: what a mask is looked up by."""
        return f"{self.local}@{self.domain}"

    @property
    def full(self) -> str:
        """`local+tag@domain`: what a delivery is keyed by, so that two tags are two deliveries."""
        return f"{self.local}+{self.tag}@{self.domain}" if self.tag else self.bare

    def __str__(self) -> str:
        return self.full


@lru_cache(maxsize=4096)
def normal_domain(domain: str) -> str:
    """Lower case, without a root dot, IDN labels in punycode. Raises ValueError for an empty or impossible domain."""
    domain = domain.strip().rstrip(".").lower()
    if not domain or ".." in domain or domain.startswith("."):
        raise ValueError("a domain has no empty label")
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError:
        raise ValueError("the domain is not a valid internationalised name") from None
