"""Content-Transfer-Encoding: what a leaf's bytes mean to the parsers at the other end, and clean ways to write them."""

import base64
import binascii
import re
from typing import Literal

from relayd.mail.lines import lf_to_crlf

Encoding = Literal["identity", "quoted-printable", "base64", "uuencode"]

_BASE64 = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
_BASE64_CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/= \t"
_ODD = bytes(range(9)) + bytes((11, 12)) + bytes(range(13, 32)) + bytes(range(127, 256))
_PIECE = 57 * 1024
"""Bytes encoded at a time: whole base64 lines of 76."""
_SHORT = 60
"""Bytes of text that stay readable for people who look at the source, even if base64 were shorter."""
_COMMENT = re.compile(r"\([^()]*\)")
_NAMES: dict[str, Encoding] = {
    "base64": "base64",
    "quoted-printable": "quoted-printable",
    "x-uuencode": "uuencode",
    "uuencode": "uuencode",
    "x-uue": "uuencode",
    "uue": "uuencode",
}


def encoding_of(value: bytes) -> Encoding:
    """What a field's value asks a decoder to do. An unknown word (`8bits`, `"base64"`, `base64;`) asks for nothing:
    RFC 2045 (6.4) has such content taken as it is, and so do parsers.
    """
    name = _COMMENT.sub("", value.decode("ascii", "replace")[:200]).strip().lower()
    return _NAMES.get(name, "identity")


def decode(data: bytes, encoding: Encoding) -> bytes | None:
    """The content; None for uuencoded data that are none."""
    match encoding:
        case "identity":
            return data
        case "quoted-printable":
            return binascii.a2b_qp(data)
        case "base64":
            return _decode_base64(data)
        case "uuencode":
            return _decode_uu(data)


def _decode_base64(data: bytes) -> bytes:
    """Lenient in the same order as parsers are: whole, padded, then without what is no base64, then given up."""
    joined = data.translate(None, b"\r\n")
    padded = joined + b"==="[: -len(joined) % 4]
    try:
        if _BASE64.fullmatch(padded):
            return binascii.a2b_base64(padded)
    except binascii.Error:
        pass
    for attempt in (joined, joined + b"=="):
        try:
            return binascii.a2b_base64(attempt)
        except binascii.Error:
            continue
    return joined


def _decode_uu(data: bytes) -> bytes | None:
    lines = iter(data.splitlines())
    for line in lines:
        mode = line.removeprefix(b"begin ").partition(b" ")[0]
        if line.startswith(b"begin ") and mode.isdigit() and mode.isascii() and not set(mode) & set(b"89"):
            break
    else:
        return None
    decoded = []
    for line in lines:
        if not line:
            return None
        if line.strip(b" \t\r\n\f") == b"end":
            break
        try:
            decoded.append(binascii.a2b_uu(line))
        except binascii.Error:
            try:  # encoders that pad a line with garbage
                decoded.append(binascii.a2b_uu(line[: (((line[0] - 32) & 63) * 4 + 5) // 3]))
            except binascii.Error:
                return None
    return b"".join(decoded)


def encode(content: bytes, *, is_text: bool) -> tuple[str, bytes | bytearray]:
    """The content in an encoding that any mail system carries: its name, and CRLF-ended lines of 76 or so.

    Text keeps readable lines where it is mostly ASCII. Text with NULs (UTF-16, or damage) has line ends that mean
    something else, so it travels bit by bit like any other data.
    """
    if not is_text or b"\0" in content:
        return "base64", _base64(content)
    odd = len(content) - len(content.translate(None, _ODD))
    if 4 * odd > len(content) + _SHORT:
        return "base64", _base64(lf_to_crlf(content))
    return "quoted-printable", _quoted_printable(content)


def _base64(content: bytes) -> bytearray:
    # In pieces, here and below: all lines of megabytes at once, each an object, take several times their memory.
    encoded = bytearray()
    for start in range(0, len(content), _PIECE):
        encoded += base64.encodebytes(content[start : start + _PIECE]).replace(b"\n", b"\r\n")
    del encoded[-2:]
    return encoded


def _quoted_printable(text: bytes) -> bytes:
    # The encoder takes its line end from the first line it sees, and lets a lone CR through: so it sees neither.
    pieces = text.replace(b"\r\n", b"\n").split(b"\r")
    encoded = b"=0D=\n".join(binascii.b2a_qp(piece, istext=True) for piece in pieces)
    # A line that was cut must not go on with what may look like a delimiter.
    return encoded.replace(b"=\n--", b"=\n=2D-").replace(b"\n", b"\r\n")


def refolded(data: bytes) -> bytearray | None:
    """Base64 in lines of 76: line ends mean nothing inside it. None where other text stands between, a mailing
    list's footer perhaps, of which a cut might make a delimiter.
    """
    joined = data.translate(None, b"\r\n")
    if joined.translate(None, _BASE64_CHARACTERS):
        return None
    folded = bytearray()
    for start in range(0, len(joined), 76):
        folded += joined[start : start + 76]
        folded += b"\r\n"
    if not data.endswith((b"\r", b"\n")):
        del folded[-2:]
    return folded
