"""Which of a mail's envelope recipients are ours to look after."""

from collections.abc import Collection

from relayd.model.address import Address


def ours(recipients: tuple[str, ...], domains: Collection[str]) -> tuple[Address, ...]:
    """The recipients on our mail domains (given in normal form), each once, in the order of the SMTP envelope.

    Two that differ in case or in the spelling of an IDN are one; two that differ in their `+tag` are two. What is no
    address at all cannot be ours.
    """
    found: dict[Address, None] = {}
    for recipient in recipients:
        try:
            address = Address.parse(recipient)
        except ValueError:
            continue
        if address.domain in domains:
            found[address] = None
    return tuple(found)
