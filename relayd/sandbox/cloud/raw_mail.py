"""What a raw mail must be for SES to take it. Refusals use the words of SES, or of its documentation."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from relayd.sandbox.cloud import mime_shape
from relayd.sandbox.cloud.addresses import AddressError, parse_list

MAX_MESSAGE = 40 * 1024 * 1024
MAX_LINE = 1000
"""Bytes, CRLF included."""

_ONCE_ONLY = """
    accept-language acceptlanguage archived-at auto-submitted bounces-to comments content-alternative content-base
    content-class content-description content-disposition content-duration content-id content-language content-length
    content-location content-md5 content-transfer-encoding content-type date delivered-to
    disposition-notification-options disposition-notification-to dkim-signature domainkey-signature errors-to from
    importance in-reply-to keywords list-archive list-help list-id list-owner list-post list-subscribe
    list-unsubscribe list-unsubscribe-post message-context message-id mime-version organization original-from
    original-message-id original-recipient original-subject precedence priority references reply-to return-path
    return-receipt-to sender solicitation sensitivity subject thread-index thread-topic user-agent vbr-info
    """
ONCE_ONLY = frozenset(_ONCE_ONLY.split())
"""Fields that may stand in a header once."""

_ADDRESS_FIELDS = ("from", "sender", "reply-to", "to", "cc", "bcc", "return-path")
_NAME = re.compile(rb"[\x21-\x39\x3b-\x7e]+")
_FILE_NAME = re.compile(rb'name\*?\s*=\s*"?([^";\r\n]{1,1024})')
_FOLDS = 20
"""How far back a field may begin. Whoever folds more often hides a name from this, as from most readers."""
_EXTENSIONS = """
    ade adp app asp bas bat cer chm cmd com cpl crt csh der exe fxp gadget hlp hta inf ins isp its js jse ksh lib lnk
    mad maf mag mam maq mar mas mat mau mav maw mda mdb mde mdt mdw mdz msc msh msh1 msh2 mshxml msh1xml msh2xml msi
    msp mst ops pcd pif plg prf prg reg scf scr sct shb shs sys ps1 ps1xml ps2 ps2xml psc1 psc2 tmp url vb vbe vbs vps
    vsmacros vss vst vsw vxd ws wsc wsf wsh xnk
    """
_UNSUPPORTED = frozenset(_EXTENSIONS.split())
"""File name extensions of attachments that SES does not send."""


class RawMailError(Exception):
    """SES would refuse it. The text says why."""


@dataclass(frozen=True, slots=True)
class RawMail:
    """A raw mail that was read: its fields in order, and the addresses in them."""

    fields: tuple[tuple[str, str], ...]
    addresses: dict[str, list[str]]
    """By field name in lower case, all copies of a field together."""

    def first(self, name: str) -> str:
        return next((value for found, value in self.fields if found.lower() == name), "")


def read(data: bytes, *, strict: bool = True, refuse_attachments: bool = True, whole_parts: bool = False) -> RawMail:
    """Raises RawMailError for the first thing that SES would refuse."""
    if len(data) > MAX_MESSAGE:
        raise RawMailError(f"Message length is more than {MAX_MESSAGE} bytes long: '{len(data)}'.")
    if strict:
        for check in _STRICT:
            check(data)
    fields = _fields(_header(data))
    _refuse_duplicates(fields)
    addresses = _addresses(fields)
    if not addresses.get("from"):
        raise RawMailError("Missing required header 'From'.")
    if refuse_attachments:
        _refuse_attachments(data)
    if whole_parts:
        _refuse_shape(data)
    return RawMail(tuple(fields), addresses)


def _refuse_bare_line_ends(data: bytes) -> None:
    pairs = data.count(b"\r\n")
    if data.count(b"\n") != pairs or data.count(b"\r") != pairs:
        raise RawMailError("The message contains bare carriage returns or line feeds. Lines must end with CRLF.")


def _refuse_long_lines(data: bytes) -> None:
    # From line end to line end as far as the limit allows: linear, whatever the lines are like.
    at = 0
    while len(data) - at > MAX_LINE:
        end = data.rfind(b"\n", at, at + MAX_LINE)
        if end < 0:
            raise RawMailError(f"The message contains a line longer than {MAX_LINE} bytes, line end included.")
        at = end + 1


def _refuse_eight_bit(data: bytes) -> None:
    if data.isascii():
        return
    header = _header(data)
    if not header.isascii():
        raise RawMailError("Non ASCII characters in header. Encode them as described in RFC 2047.")
    raise RawMailError("The message contains 8-bit data. Encode the part with base64 or quoted-printable.")


def _refuse_nul(data: bytes) -> None:
    if b"\0" in data:
        raise RawMailError("The message contains NUL characters.")


_STRICT: tuple[Callable[[bytes], None], ...] = (
    _refuse_nul,
    _refuse_bare_line_ends,
    _refuse_long_lines,
    _refuse_eight_bit,
)


def _header(data: bytes) -> bytes:
    """The bytes up to the empty line, of whichever line ends."""
    if data[:1] in (b"\r", b"\n"):
        return b""
    ends = [end for end in (data.find(b"\r\n\r\n"), data.find(b"\n\n")) if end >= 0]
    return data[: min(ends)] if ends else data


def _fields(header: bytes) -> list[tuple[str, str]]:
    fields: list[tuple[str, list[bytes]]] = []
    for line in header.split(b"\n"):
        line = line.removesuffix(b"\r")  # noqa: PLW2901
        if line[:1] in (b" ", b"\t"):
            if not fields:
                raise RawMailError("Illegal header: the first line of a message cannot be a continuation.")
            fields[-1][1].append(line)
            continue
        if not line:
            continue
        name, colon, value = line.partition(b":")
        if not colon:
            raise RawMailError("Illegal header: a header line contains no colon.")
        if not name.strip():
            raise RawMailError("Empty header names are not allowed.")
        if not _NAME.fullmatch(name):
            raise RawMailError(f"Illegal header '{name.decode('latin-1')[:40]}'.")
        fields.append((name.decode("ascii"), [value]))
    return [(name, b"".join(lines).decode("utf-8", "replace").strip()) for name, lines in fields]


def _refuse_duplicates(fields: list[tuple[str, str]]) -> None:
    seen: set[str] = set()
    for name, _ in fields:
        lower = name.lower()
        if lower in seen and lower in ONCE_ONLY:
            raise RawMailError(f"Duplicate header '{name}'.")
        seen.add(lower)


def _addresses(fields: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in fields:
        lower = name.lower()
        if lower not in _ADDRESS_FIELDS or (lower == "return-path" and value == "<>"):
            continue
        try:
            found.setdefault(lower, []).extend(parse_list(value))
        except AddressError as error:
            raise RawMailError(str(error)) from None
    return found


def _refuse_attachments(data: bytes) -> None:
    # Found by `find`, which a large attachment does not slow down as it would a pattern.
    lower = data.lower()
    at = lower.find(b"name")
    while at >= 0:
        match = _FILE_NAME.match(lower, at)
        if match is not None and b"." in match[1]:
            extension = match[1].rpartition(b".")[2].strip().decode("latin-1")
            if extension in _UNSUPPORTED and _in_part_header(lower, at):
                raise RawMailError(f"Illegal filename '{data[match.start(1) : match.end(1)].decode('latin-1')}'.")
        at = lower.find(b"name", at + 4)


def _refuse_shape(data: bytes) -> None:
    try:
        mime_shape.check(data)
    except mime_shape.ShapeError as error:
        raise RawMailError(str(error)) from None


def _in_part_header(data: bytes, at: int) -> bool:
    """Whether the parameter belongs to a Content field, rather than to text that looks like one."""
    start = data.rfind(b"\n", 0, at) + 1
    for _ in range(_FOLDS):
        if data[start : start + 1] not in (b" ", b"\t") or start == 0:
            break
        start = data.rfind(b"\n", 0, start - 1) + 1
    return data.startswith((b"content-type:", b"content-disposition:"), start)
