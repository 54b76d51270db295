"""The hop header: how many times relayd has already forwarded a mail, in a form that a stranger cannot forge."""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from itertools import islice

HEADER = "X-Relayd-Hops"

_DOMAIN = b"relayd-hops-v1\0"
"""Keeps this MAC apart from every other use of the same secret."""
_VALUE = re.compile(r"v1; n=([1-9][0-9]?); mac=([0-9a-f]{64})")
_MOST_VALUES = 20
"""Values looked at in one mail: each costs an HMAC per secret, and a stranger may send any number."""


def sign(count: int, secrets: Sequence[bytes]) -> str:
    """The header's value for a mail that has now passed relayd `count` times."""
    count = max(1, min(count, 99))
    return f"v1; n={count}; mac={_mac(count, secrets[0])}"


def count(values: Iterable[str], secrets: Sequence[bytes]) -> int:
    """The highest count that one of the secrets signed; 0 when none verifies."""
    highest = 0
    for value in islice(values, _MOST_VALUES):
        match = _VALUE.fullmatch(value.strip())
        if match is None:
            continue
        claimed, mac = int(match[1]), match[2]
        # No early end over the secrets: which of them matched must not be seen in the time.
        valid = [hmac.compare_digest(_mac(claimed, secret), mac) for secret in secrets]
        if any(valid):
            highest = max(highest, claimed)
    return highest


def _mac(count: int, secret: bytes) -> str:
    return hmac.new(secret, _DOMAIN + str(count).encode(), hashlib.sha256).hexdigest()
