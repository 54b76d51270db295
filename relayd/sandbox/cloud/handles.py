"""Receipt handles: which queue, which message, which of its receives. They hold it all, so no table of them grows."""

import base64
import binascii
import struct

NONCE_BYTES = 8

_PACKED = struct.Struct(f">{NONCE_BYTES}sQI")
_PREFIX = "AQEB"
_LENGTH = 32


class BadHandleError(Exception):
    """The text is no receipt handle of this queue."""


def write(nonce: bytes, number: int, lease: int) -> str:
    return _PREFIX + base64.b64encode(_PACKED.pack(nonce, number, lease)).decode()


def read(handle: str) -> tuple[bytes, int, int]:
    """Nonce, number and lease. Raises BadHandleError for what `write` has not written."""
    if len(handle) != _LENGTH or not handle.startswith(_PREFIX):
        raise BadHandleError
    try:
        nonce, number, lease = _PACKED.unpack(base64.b64decode(handle[len(_PREFIX) :], validate=True))
    except (binascii.Error, ValueError, struct.error):
        raise BadHandleError from None
    return nonce, number, lease
