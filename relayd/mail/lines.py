"""What SES takes as lines: 7-bit, no NUL, ended by CRLF, at most 998 bytes. The check is made for megabytes."""

import re

CRLF = b"\r\n"
LONGEST = 998
"""Bytes in a line without its CRLF (RFC 5322, 2.1.1; SES counts 1,000 with it)."""

_MARKED = b"?" + bytes(range(1, 128)) + b"?" * 128
"""For `translate`: a question mark for what SES does not take."""
_LONE_CR = re.compile(rb"\r(?!\n)")


def is_sendable(data: bytes) -> bool:
    """Whether SES would take these bytes unharmed."""
    return data.isascii() and b"\0" not in data and has_only_crlf(data) and not has_long_line(data)


def has_only_crlf(data: bytes) -> bool:
    """Whether each CR and each LF is one half of a CRLF."""
    # Counting the pairs would be plainer, and takes three times as long.
    return data.count(b"\n") == data.count(b"\r") and _LONE_CR.search(data) is None


def has_long_line(data: bytes) -> bool:
    """Whether a line of CRLF-ended data is over 998 bytes.

    It leaps from the last line end of one window to the next, so it looks at some thousand places a megabyte.
    """
    position, size = 0, len(data)
    while size - position > LONGEST:
        end = data.rfind(b"\n", position, position + LONGEST + 2)
        if end < 0:
            return True
        position = end + 1
    return False


def lf_to_crlf(data: bytes) -> bytes:
    """Give each bare LF its CR. A lone CR stays: in a text it may be content."""
    return data.replace(CRLF, b"\n").replace(b"\n", CRLF)


def all_to_crlf(data: bytes) -> bytes:
    """Make CRLF of every line end, a lone CR included: where line ends are no content."""
    return data.replace(CRLF, b"\n").replace(b"\r", b"\n").replace(b"\n", CRLF)


def made_sendable(data: bytes) -> bytes:
    """Text that nobody reads (preambles, epilogues), changed until SES takes it."""
    # A mark in each place, never nothing: what is left of a line could be a delimiter.
    data = all_to_crlf(data).translate(_MARKED)
    if not has_long_line(data):
        return data
    cut: list[bytes] = []
    for line in data.split(CRLF):
        pieces = [line[i : i + LONGEST - 1] for i in range(0, len(line), LONGEST - 1)] or [b""]
        # The space keeps a cut from making a line that looks like a delimiter.
        cut.append((CRLF + b" ").join(pieces))
    return CRLF.join(cut)
