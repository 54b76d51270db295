"""Which domain rule covers an address that is no mask, and what the mask that it makes is called."""

import hashlib
import re
from collections.abc import Iterable

ANYTHING = "*"
"""The wildcard, and alone the pattern of a catch-all."""


_DOT_ATOM = re.compile(r"(?=.{1,64}\Z)[a-z0-9!#$%&'*+/=?^_`{|}~-]++(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]++)*+")
"""RFC 5322, 3.2.3. SES sends from no other local part, so a mask of another kind could not answer."""


def best(local: str, patterns: Iterable[str]) -> str | None:
    """The pattern that says most about a local part (in normal form): the one with the most literal characters. None
    where none matches, and for a local part that no mask can have.
    """
    if not _DOT_ATOM.fullmatch(local):
        return None
    matching = [pattern for pattern in patterns if _matches(pattern, local)]
    return min(matching, key=lambda pattern: (-len(pattern.replace(ANYTHING, "")), pattern), default=None)


def mask_id(rule_id: str, bare: str) -> str:
    """The same for everybody who meets the address first, so that two of them make one mask."""
    return hashlib.sha256(f"{rule_id}\0{bare}".encode("utf-8", "backslashreplace")).hexdigest()[:20]


def _matches(pattern: str, local: str) -> bool:
    """Each run between wildcards takes the first place that it finds: none of them can gain by a later one."""
    head, *rest = pattern.split(ANYTHING)
    if not rest:
        return local == head
    *middle, last = rest
    start, end = len(head), len(local) - len(last)
    if start > end or not (local.startswith(head) and local.endswith(last)):
        return False
    for part in middle:
        found = local.find(part, start, end)
        if found < 0:
            return False
        start = found + len(part)
    return True
