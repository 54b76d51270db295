"""What operators ask of all replicas for a while: mail to hold back, masks to trace."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Orders:
    """All that is asked for now. A new one means nothing."""

    everything: bool = False
    """All mail is paused."""
    domains: frozenset[str] = frozenset()
    """Domains of masks whose mail is paused."""
    owners: frozenset[str] = frozenset()
    """Ids of owners whose mail is paused."""
    traced: frozenset[str] = frozenset()
    """Ids of masks all of whose mail is traced."""

    def hold(self, domain: str, owner_id: str | None) -> bool:
        """Whether mail for an address of this domain, which is this owner's (None: nobody's), is paused."""
        return self.everything or domain in self.domains or owner_id in self.owners
