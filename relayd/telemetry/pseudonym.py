"""Keyed hashes that stand in for what may not be logged: the same person gives the same hash, and no way back."""

import hashlib
import hmac

LENGTH = 16
"""Hex digits, 64 bits: enough to tell people apart in a log."""


def pseudonym(text: str, secret: bytes) -> str:
    """A stable stand-in for an address (give it in its normal form). Without the secret nobody can try addresses."""
    # The label keeps these hashes apart from every other use of the same secret.
    return hmac.new(
        secret, b"relayd pseudonym\0" + text.encode("utf-8", "surrogateescape"), hashlib.sha256
    ).hexdigest()[:LENGTH]


def fingerprint(secret: bytes) -> str:
    """What names a secret without telling it: `relayd config` shows it, the database keeps it."""
    return hmac.new(secret, b"relayd fingerprint", hashlib.sha256).hexdigest()[:LENGTH]
