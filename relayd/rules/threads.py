"""Which Message-IDs stand for which, so that a conversation is one thread on both of its sides.

SES gives each mail that it sends another Message-ID than the one it came with. Whoever wrote a mail knows it by the
first, whoever got it by the second.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from relayd.model.delivery import ThreadLink

Towards = Literal["forward", "reply"]
"""Whom the new mail is for: the owner (`forward`) or the contact (`reply`)."""
Threads = Mapping[str, tuple[str, ...]]


def mapped(links: Sequence[ThreadLink], towards: Towards, ses_domain: str) -> Threads:
    """For each id that the writer's mail may name, the ids that its reader knows the same mail by.

    A forward has an id of SES's for each mailbox that it went to; all of them are named, for the new mail may go to
    any. Mail that went the same way as the new one is known to its reader by SES's id, and mail that went the other
    way by the id it came with, since the reader wrote it.
    """
    found: dict[str, dict[str, None]] = {}
    for link in links:
        given = f"{link.ses_id}@{ses_domain}"
        if link.kind == towards:
            found.setdefault(link.original, {})[given] = None
        else:
            found.setdefault(link.ses_id, {})[link.original] = None
            # The writer's own program may name it by either id.
            found.setdefault(link.original, {})[link.original] = None
    return {name: tuple(ids) for name, ids in found.items()}
