"""Who a mail is from, read out of whatever stands in From; and addresses that SES will not refuse in To and Cc."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from relayd.mail.fields import Field
from relayd.mail.words import decode_words, encoded_words, folded, text_of, visible
from relayd.model.address import Address

_LONGEST = 20_000
"""Characters of an address field that are looked at."""
_MOST = 100
"""Mailboxes of a To or Cc that are shown."""

# The end of the text also ends a quote: else each quote of many would be tried to the end.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)')
_ANGLE = re.compile(r"<([^<>]*+)>")
_BARE = re.compile(r"[^\s<>,;:\"()\[\]]++")
_NESTED = re.compile(r"\((?:[^()\\]|\\.)*+\)")
_COMMENT = re.compile(r"\(([^()]*+)\)")
_PLAIN = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_DOTS = re.compile(r"^\.|\.\.|\.@")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")
_PHRASE = re.compile(r'(?:[^\x00-\x08\x0a-\x1f\x7f"()<>@,;:\\\[\]]|"(?:[^\x00-\x08\x0a-\x1f\x7f"\\]|\\[\t -~])*+")*+')
_FOLD = re.compile(rb"(?:\r\n|\r|\n)[ \t]++(?![\r\n])")


@dataclass(frozen=True, slots=True)
class Sender:
    """Who a mail says it is from."""

    name: str = field(repr=False)
    """The display name as a person reads it; may be empty."""
    address: Address | None = field(repr=False)
    text: str = field(repr=False)
    """The whole From field as it came, unfolded."""


def sender_of(source: Field, hint: str | None = None) -> Sender | None:
    """The first address of a From field that can be read, with its name; None when there is none."""
    text = text_of(source.value[:_LONGEST], hint)
    views = (text, decode_words(text) if "=?" in text else "", _uncommented(text) if "(" in text else "")
    for view in views:
        found = _first_mailbox(view)
        if found is not None:
            return Sender(found[0], found[1], text)
    return None


def _uncommented(text: str) -> str:
    """Without comments, which RFC 5322 allows inside an address too, some levels deep."""
    for _ in range(5):
        text = _NESTED.sub("", text)
    return text


def _first_mailbox(text: str) -> tuple[str, Address] | None:
    # Quoted strings are blanked, not cut, so that offsets stay: a name in quotes may look like an address.
    blanked = _blanked(_QUOTED, text)
    for view in dict.fromkeys((blanked, text)):
        for match in _ANGLE.finditer(view):
            address = _address(text[match.start(1) : match.end(1)])
            if address is not None:
                # Of the words before it, those of mailboxes that could not be read are not this one's name.
                return _name(text[view.rfind(">", 0, match.start()) + 1 : match.start()]), address
        for match in _BARE.finditer(view):
            if "@" in match[0]:
                address = _address(text[match.start() : match.end()])
                if address is not None:
                    comment = _COMMENT.search(text, match.end())
                    return _name(comment[1]) if comment else "", address
    return None


def _blanked(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda match: "q" * len(match[0]), text)


def _unquoted(match: re.Match[str]) -> str:
    inner = match[0][1:].removesuffix('"')
    return inner.replace('\\"', '"').replace("\\\\", "\\")


def _address(text: str) -> Address | None:
    # A source route (`@a,@b:user@dom`) and `mailto:` both end at a colon.
    text = visible(text.rpartition(":")[2]).strip("<>'\",;")
    local, _, domain = text.rpartition("@")
    local, domain = local.strip().strip('"'), domain.strip().rstrip(".")
    try:
        return Address.parse(f"{local}@{domain}")
    except ValueError:
        return None


def _name(text: str) -> str:
    text = _QUOTED.sub(_unquoted, text)
    return visible(decode_words(text)).strip("\"' ,;").rstrip("< ")


def phrase(text: str) -> str:
    """A display name for the wire: quoted, or encoded words on the same line."""
    if text.isascii() and "=?" not in text:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return " ".join(encoded_words(text))


def is_plain_list(value: bytes) -> bool:
    """Whether each entry of an address list is a mailbox that nobody could misread."""
    text = value.decode("ascii", "replace")
    unquoted = _QUOTED.sub('""', text)
    if unquoted.count(",") >= _MOST or len(text) > _LONGEST:
        return False
    return all(_is_plain_mailbox(entry.strip()) for entry in unquoted.split(","))


def _is_plain_mailbox(entry: str) -> bool:
    if entry.endswith(">"):
        name, bracket, address = entry[:-1].rpartition("<")
        return (
            bracket == "<"
            and is_plain(address)
            and _ATOMS.fullmatch(name.replace('""', "").replace(".", "")) is not None
        )
    return is_plain(entry)


def display_list(source: Field, hint: str | None) -> bytes:
    """A To or Cc field made anew from the mailboxes that can be read; empty when there are none."""
    found = islice(_plain_mailboxes(source, hint), _MOST)
    entries = [f"{phrase(name[:200])} <{address.full}>" if name else address.full for name, address in found]
    words = [f"{entry}," for entry in entries[:-1]] + entries[-1:]
    return folded(source.name, " ".join(words).split(" ")) if words else b""


def plain_address(source: Field, hint: str | None) -> str | None:
    """The first mailbox of an address list that nobody could misread, without its name."""
    return next((address.full for _, address in _plain_mailboxes(source, hint)), None)


def sole_address(source: Field) -> Address | None:
    """The address of a From field that no two readers could read differently; None for any other field.

    What proves a sender (DMARC, SPF) was worked out by somebody else's parser. Where From leaves room for two
    readings, it may have proved the other one: `me@home.example .evil.example` is one address to RFC 5322 (4.4).
    """
    unfolded = _FOLD.sub(b" ", source.source.strip())
    if len(unfolded) > _LONGEST or b"\r" in unfolded or b"\n" in unfolded:
        return None
    name, bracket, address = unfolded.decode("utf-8", "replace").rpartition("<")
    if bracket and not address.endswith(">"):
        return None
    address = address.removesuffix(">").strip(" \t") if bracket else address
    if not is_plain(address) or "=?" in address or not _is_harmless(name, address):
        return None
    return _address(address)


def _is_harmless(name: str, address: str) -> bool:
    """Whether nobody finds another address in a display name, not even who reads what is quoted or encoded first."""
    if _PHRASE.fullmatch(name) is None:
        return False
    spoken = decode_words(_QUOTED.sub(_unquoted, name))
    return not set(spoken) & set("<>@") or spoken.strip(" \t'").lower() == address.lower()


def addresses_of(source: Field, hint: str | None = None) -> list[Address]:
    """The first address of each entry of an address list that can be read, however odd it is; each once."""
    found: dict[Address, None] = {}
    for entry in _entries(text_of(source.value[:_LONGEST], hint)):
        for view in (entry, decode_words(entry), _uncommented(entry)) if "@" in entry or "=?" in entry else ():
            mailbox = _first_mailbox(view)
            if mailbox is not None:
                found[mailbox[1]] = None
                break
    return list(found)


def is_plain(address: str) -> bool:
    """Whether a bare address holds nothing that SES or a reader could stumble over."""
    return _PLAIN.fullmatch(address) is not None and _DOTS.search(address) is None


def _plain_mailboxes(source: Field, hint: str | None) -> Iterator[tuple[str, Address]]:
    for part in _entries(text_of(source.value[:_LONGEST], hint)):
        found = _first_mailbox(part)
        if "(" in part and (found is None or not is_plain(found[1].full)):
            found = _first_mailbox(_uncommented(part))
        if found is not None and is_plain(found[1].full):
            yield found


def _entries(text: str) -> list[str]:
    """Split a list at its commas, those in quotes and brackets left alone."""
    blanked = _blanked(_ANGLE, _blanked(_QUOTED, text))
    entries, start = [], 0
    for match in re.finditer(r"[,;:]", blanked):
        entries.append(text[start : match.start()])
        start = match.end()
    return [*entries, text[start:]][: 4 * _MOST]
