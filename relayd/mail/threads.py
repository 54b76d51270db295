"""References and In-Reply-To: ids of one side's mails put in place of the other's, so that both sides see a thread."""

import re

from relayd.mail.fields import Field
from relayd.mail.headers import ids
from relayd.mail.plans import Threads
from relayd.mail.words import folded

_MOST_REFERENCES = 50
_MOST_WRITTEN = 100
"""Ids after mapping: each may have become several."""
_ID = re.compile(r"[!-;=?-~]{1,900}")


def mapped(item: Field, threads: Threads, *, keep_unknown: bool) -> bytes:
    """The field with known ids replaced by what the other side calls the same mails; empty when nothing is left.

    Ids are matched by their local part, because SES's domain differs by region.
    """
    known = {name.strip("<>").partition("@")[0]: theirs for name, theirs in threads.items()}
    found: dict[str, None] = {}
    for one in ids(item, _MOST_REFERENCES):
        theirs = known.get(one.partition("@")[0], (one,) if keep_unknown else ())
        found.update(dict.fromkeys(their.strip("<>") for their in theirs))
    words = [f"<{one}>" for one in found if _ID.fullmatch(one)]
    if len(words) > _MOST_WRITTEN:
        # As in `ids`: the thread's first mail and the latest ones.
        words = [words[0], *words[1 - _MOST_WRITTEN :]]
    return folded(item.name, words) if words else b""
