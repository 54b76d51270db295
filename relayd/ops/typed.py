"""The words that an operator types, and what makes each of them acceptable. Each raises WrongEntryError."""

import re
from collections.abc import Collection, Iterator

from relayd.adapters.storable import storable
from relayd.model.address import Address, normal_domain
from relayd.ops.refusals import WrongEntryError
from relayd.rules.domains import ANYTHING

MAX_DISPLAY_NAME = 70
"""Characters, as of the names in a forward's From: SES and mail programs take more, nobody reads more."""
DEFAULT_LIMIT = 100
"""Masks that one domain rule may make: whoever guesses names at a catch-all makes a nuisance, not a flood."""

_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]++"
_LOCAL = re.compile(rf"(?=.{{1,64}}\Z){_ATOM}(\.{_ATOM})*+")
"""A dot-atom (RFC 5322, 3.2.3): SES sends to no other local part, neither quoted nor international."""
_DOMAIN = re.compile(r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SENDER_DOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*+")
"""Laxer: strangers have the domains that they have, and `@.top` is everything under a top-level domain."""
_RULE_PATTERN = re.compile(r"[a-z0-9!#$%&'*/=?^_`{|}~.-]{1,64}")
"""What a local part without a tag may hold, and the wildcard among it."""
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}")
"""A language tag as far as anybody uses it (RFC 5646)."""

_FORMULA = ("=", "+", "-", "@")
"""A spreadsheet that opens an export runs a cell that begins so."""


def mask_address(text: str, *, any_start: bool = False) -> Address:
    """An address to give away."""
    address = real_address(text)
    if address.tag:
        raise WrongEntryError(f"{address}: a mask has no +tag", f"write {address.bare}: mail to any tag reaches it.")
    if address.local == "noreply":
        raise WrongEntryError(f"{address}: mail to noreply is always discarded", "choose another name.")
    if not any_start and not plain_start(address.local):
        raise WrongEntryError(
            f"{address}: a mask begins with a letter, a digit or an underscore", "put one in front of it."
        )
    return address


def plain_start(text: str) -> bool:
    """Whether neither a spreadsheet nor a command line takes it for something else."""
    return re.match(r"[a-z0-9_]", text) is not None


def mailbox_address(text: str) -> Address:
    """An address to forward to."""
    address = real_address(text)
    if address.full.startswith(_FORMULA):
        raise WrongEntryError(f"{address}: a spreadsheet would take it for a formula", "name another mailbox.")
    return address


def real_address(text: str) -> Address:
    """An address that SES sends to. The model is laxer: strangers write from whatever they have."""
    typed = repr(text.strip())
    try:
        address = Address.parse(text)
    except ValueError as error:
        raise WrongEntryError(f"{typed}: {error}", "write it like me@example.org.") from None
    if not _LOCAL.fullmatch(address.full.rpartition("@")[0]):
        raise WrongEntryError(
            f"{typed}: SES sends to no such local part",
            "it has up to 64 ASCII characters: letters, digits and !#$%&'*+/=?^_`{|}~-, and single dots between them.",
        )
    if not _DOMAIN.fullmatch(address.domain):
        raise WrongEntryError(
            f"{typed}: its domain is not a full domain name",
            "labels of up to 63 letters, digits and inner hyphens, with dots between them: example.org.",
        )
    return address


def owner_name(text: str) -> str:
    """What people call an owner."""
    name = text.strip()
    if not name or not name.isprintable():
        raise WrongEntryError(
            "an owner's name is one line of printable characters", "write a name, or leave the owner out."
        )
    return _no_formula(name, "the owner's name")


def display_name(text: str) -> str:
    """What stands beside a mask's address in the From of a reply; empty for nothing."""
    name = text.strip()
    if not name.isprintable() or len(name) > MAX_DISPLAY_NAME:
        raise WrongEntryError(
            f"a display name is one line of at most {MAX_DISPLAY_NAME} printable characters", "write a shorter one."
        )
    if re.search(r"\S@\S", name):
        raise WrongEntryError(
            "a display name holds no address: the mask's own stands beside it", "write a name, such as Ann's shop."
        )
    return _no_formula(name, "the display name")


def _no_formula(name: str, what: str) -> str:
    if name.startswith(_FORMULA):
        raise WrongEntryError(
            f"{what} {name!r} begins with {name[0]}, and a spreadsheet would take it for a formula",
            "begin it with a letter.",
        )
    return name


def language(text: str) -> str:
    """A language tag, in the case that everybody writes it: `de`, `pt-BR`."""
    if not _LANGUAGE.fullmatch(text):
        raise WrongEntryError(f"{text!r} is no language tag", "write one like en, de or pt-BR.")
    first, *rest = text.split("-")
    return "-".join([first.lower(), *(part.upper() if len(part) == 2 else part for part in rest)])


def reason(text: str) -> str:
    """Why an owner is held for review, in a line."""
    line = text.strip()
    if not line or not line.isprintable():
        raise WrongEntryError("a reason is one line of printable characters", "write a few words.")
    return line


def rule_pattern(text: str) -> str:
    """What local parts a domain rule covers."""
    pattern = re.sub(r"\*+", ANYTHING, text.strip().lower())
    if not _RULE_PATTERN.fullmatch(pattern):
        raise WrongEntryError(
            f"{text!r} is no pattern for the part before the @",
            "write letters, digits, . _ - and *, which stands for any run of characters: shop-*. A +tag is never "
            "looked at.",
        )
    return pattern


def sender_pattern(text: str) -> str:
    """An entry of a block or allow list: `a@b.example`, `@b.example`, or `@.b.example` for the domain and all below."""
    typed, lead = text.strip(), ""
    if typed.startswith("@"):
        lead = "@." if typed.startswith("@.") else "@"
        return lead + _sender_domain(typed.removeprefix(lead), text)
    if "*" in typed:
        domain = typed.rpartition("@")[2].removeprefix("*.")
        raise WrongEntryError(
            f"{text!r}: * stands for nothing in these lists",
            f"write @{domain} for the domain, or @.{domain} for it and everything below it.",
        )
    try:
        address = Address.parse(typed)
    except ValueError as error:
        raise WrongEntryError(
            f"{text!r}: {error}",
            "write a@b.example, @b.example for a domain, or @.b.example for it and everything below it.",
        ) from None
    if not address.full.isprintable():
        raise WrongEntryError(f"{text!r}: holds what nobody can see", "type the address by hand.")
    _sender_domain(address.domain, text)
    return address.full


def _sender_domain(text: str, typed: str) -> str:
    domain = mail_domain(text) if text else ""
    if not _SENDER_DOMAIN.fullmatch(domain):
        raise WrongEntryError(f"{typed!r}: its domain is none", "write it like @b.example.")
    return domain


def mail_domain(text: str) -> str:
    """A domain, in its normal form."""
    try:
        return normal_domain(text)
    except ValueError as error:
        raise WrongEntryError(f"{text!r}: {error}", "write it like mask.example.") from None


def stranger(text: str) -> str:
    """A correspondent's address as the directory keeps it; empty for all those without one."""
    if not text:
        return ""
    try:
        address = Address.parse(text)
    except ValueError as error:
        raise WrongEntryError(f"{text!r}: {error}", "write it like a@b.example.") from None
    return fit_to_store(address.full)


def fit_to_store(text: str) -> str:
    """A text that comes out of the database as it went in."""
    if storable(text) != text:
        raise WrongEntryError(f"{text!r}: cannot be stored", "leave it out.")
    return text


def foreign_problem(domain: str, subject: str, mail_domains: Collection[str]) -> Iterator[tuple[str, str]]:
    """What is wrong, and what to do, where a mask or a rule is on a domain whose mail does not come to relayd."""
    if domain not in mail_domains:
        yield (
            f"{subject}: {domain} is not a domain that relayd receives mail for",
            f"use one of RELAYD_MAIL_DOMAINS ({', '.join(mail_domains)}), or add it there.",
        )


def loop_problems(mailboxes: Collection[Address], mail_domains: Collection[str]) -> Iterator[tuple[str, str]]:
    """What is wrong, and what to do, where a mailbox is on one of our own domains."""
    for mailbox in mailboxes:
        if mailbox.domain in mail_domains:
            yield (
                f"{mailbox} is on a domain of masks, so its mail would come back to relayd for ever",
                "name the real mailbox behind it.",
            )
