"""What stands in logs and traces in place of a mask's address: a keyed hash, so that nobody without the secret can tell
whose mail a line is about, nor try addresses until one fits.
"""

import hashlib
import hmac

LENGTH = 16
"""Hex digits, 64 bits: a billion masks have two of the same with a chance of one in forty."""

_DOMAIN = b"relayd-mask\0"
"""Keeps these hashes apart from every other use of the same secret."""


def pseudonym(mask: str, secret: bytes) -> str:
    """The hash of a mask's bare address in its normal form (`Address.bare`). It is the same in each mail of the mask,
    until the secret changes.
    """
    return hmac.new(secret, _DOMAIN + mask.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:LENGTH]
