"""A name for a secret that may be shown: it tells two secrets apart and gives neither away."""

import hashlib
import hmac

LENGTH = 16
"""Hex digits, 64 bits: enough to tell any two secrets apart."""


def fingerprint(secret: bytes) -> str:
    """What names a secret without telling it: `relayd config` shows it, the database keeps it."""
    return hmac.new(secret, b"relayd fingerprint", hashlib.sha256).hexdigest()[:LENGTH]
