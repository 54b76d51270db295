"""E-mail addresses as strictly as SES reads them: it parses headers with JavaMail, and passes on its complaints."""

import re
from collections.abc import Callable
from typing import ClassVar

_LOCAL_ILLEGAL = re.compile(r'[()<>,;:\\"\[\]@]')
_BLANK = re.compile(r"[\x00-\x20\x7f\s]")
_DOMAIN_ILLEGAL = re.compile(r"[^A-Za-z0-9.\-_]")


class AddressError(Exception):
    """The text says what is wrong, in SES's words."""


def check_address(address: str) -> None:
    """One bare address, `local@domain`."""
    if not address.isascii():
        raise AddressError("Address contains non-ASCII characters")
    local, domain = _split(address)
    if local.startswith('"'):
        _check_quoted(local)
    else:
        _check_dots(local, "Local address")
        if _BLANK.search(local):
            raise AddressError("Local address contains control or whitespace")
        if _LOCAL_ILLEGAL.search(local):
            raise AddressError("Local address contains illegal character")
    if domain.startswith("[") and domain.endswith("]"):
        return
    if _BLANK.search(domain):
        raise AddressError("Domain contains control or whitespace")
    if _DOMAIN_ILLEGAL.search(domain):
        raise AddressError("Domain contains illegal character")
    _check_dots(domain, "Domain")


def domain_of(address: str) -> str:
    return address.rpartition("@")[2].lower()


def parse_list(text: str) -> list[str]:
    """The bare addresses of a header field such as To. Raises AddressError."""
    return _Reader(text).addresses()


class _Reader:
    """Reads one address list, character by character and each character once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._plain: list[str] = []
        self._route: str | None = None
        self._in_group = False
        self._found: list[str] = []

    def addresses(self) -> list[str]:
        while self._at < len(self._text):
            char = self._text[self._at]
            step = self._STEPS.get(char)
            if step is not None:
                step(self)
            else:
                self._plain.append(char)
                self._at += 1
        self._end_address()
        if self._in_group:
            raise AddressError("Missing ';' at end of group")
        return self._found

    def _comment(self) -> None:
        depth = 0
        while self._at < len(self._text):
            char = self._text[self._at]
            self._at += 2 if char == "\\" else 1
            depth += (char == "(") - (char == ")")
            if depth == 0 and char == ")":
                return
        raise AddressError("Missing ')'")

    def _quoted(self) -> str:
        start = self._at
        self._at += 1
        while self._at < len(self._text):
            char = self._text[self._at]
            self._at += 2 if char == "\\" else 1
            if char == '"':
                return self._text[start : self._at]
        raise AddressError("Missing '\"'")

    def _quote(self) -> None:
        self._plain.append(self._quoted())

    def _angle(self) -> None:
        if self._route is not None:
            raise AddressError("Extra route-addr")
        self._at += 1
        parts: list[str] = []
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == ">":
                self._at += 1
                self._route = "".join(parts).strip()
                return
            if char == '"':
                parts.append(self._quoted())
                continue
            parts.append(char)
            self._at += 1
        raise AddressError("Missing '>'")

    def _comma(self) -> None:
        self._at += 1
        self._end_address()

    def _colon(self) -> None:
        if self._in_group:
            raise AddressError("Nested group")
        self._in_group = True
        self._plain.clear()
        self._at += 1

    def _semicolon(self) -> None:
        if not self._in_group:
            raise AddressError("Illegal semicolon, not in group")
        self._end_address()
        self._in_group = False
        self._at += 1

    def _end_address(self) -> None:
        plain = "".join(self._plain).strip()
        address = plain if self._route is None else self._route
        self._plain.clear()
        if self._route is None and not plain:
            return
        self._route = None
        if address.startswith("@") and ":" in address:
            # `<@relay.example:user@example.org>`: a source route.
            address = address.rpartition(":")[2]
        check_address(address)
        self._found.append(address)

    _STEPS: ClassVar[dict[str, Callable[["_Reader"], None]]] = {
        "(": _comment,
        '"': _quote,
        "<": _angle,
        ",": _comma,
        ":": _colon,
        ";": _semicolon,
    }


def _split(address: str) -> tuple[str, str]:
    local, at, domain = address.rpartition("@")
    if not at:
        raise AddressError("Missing final '@domain'")
    if not local:
        raise AddressError("Missing local name")
    if not domain:
        raise AddressError("Missing domain")
    return local, domain


def _check_quoted(local: str) -> None:
    if len(local) < 2 or not local.endswith('"'):
        raise AddressError("Quote not at end of local address")
    if re.search(r"[\r\n\x00]", local):
        raise AddressError("Local address contains control or whitespace")


def _check_dots(text: str, what: str) -> None:
    if text.startswith("."):
        raise AddressError(f"{what} starts with dot")
    if text.endswith("."):
        raise AddressError(f"{what} ends with dot")
    if ".." in text:
        raise AddressError(f"{what} contains dot-dot")
