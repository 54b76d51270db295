"""What an operator writes about a mask: its mailboxes, its owner, whether it is on. As CSV, or as arguments."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from relayd.errors import Problem, RelaydError
from relayd.model.address import Address

COLUMNS = ("mask", "mailboxes", "owner", "enabled")

_LOCAL = re.compile(r"(?=.{1,64}\Z)[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
"""A dot-atom (RFC 5322, 3.2.3): SES sends to no other local part, neither quoted nor international."""
_DOMAIN = re.compile(r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_FORMULA = ("=", "+", "-", "@")
"""A spreadsheet that opens an export runs a cell that begins so."""

_SWITCH = {"": None, "true": True, "yes": True, "1": True, "on": True}
_SWITCH |= {"false": False, "no": False, "0": False, "off": False}


class WrongEntryError(ValueError):
    """What somebody typed is no entry, and what to type instead."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.hint = hint


class RefusedError(RelaydError):
    """What was asked for cannot be done. The problems name addresses: they are for the operator, never for a log."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("masks_refused", f"{len(problems)} problem(s)")
        self.problems = list(problems)


@dataclass(frozen=True, slots=True)
class Entry:
    """One mask as it should be."""

    address: Address
    mailboxes: tuple[Address, ...]
    owner: str | None = None
    """The owner's name. None: whoever has the mailboxes, or a new one named like the first of them."""
    enabled: bool | None = None
    """None: as it is, and on when it is new."""


@dataclass(frozen=True, slots=True)
class Line:
    """An entry, and where in a file it stands."""

    number: int
    entry: Entry


def read_csv(file: TextIO) -> tuple[list[Line], list[Problem]]:
    """The entries of a CSV file with a header, and what is wrong with its other lines."""
    lines: list[Line] = []
    problems: list[Problem] = []
    try:
        rows = csv.DictReader(file, strict=True)
        header = rows.fieldnames or ()
        if not {"mask", "mailboxes"} <= set(header) <= set(COLUMNS):
            return [], [Problem("line 1", "is not the header of a mask file", f"write: {','.join(COLUMNS)}")]
        if len(header) != len(set(header)):
            return [], [Problem("line 1", "names a column twice", f"write: {','.join(COLUMNS)}")]
        for row in rows:
            try:
                lines.append(Line(rows.line_num, _entry(row)))
            except WrongEntryError as error:
                problems.append(Problem(f"line {rows.line_num}", str(error), error.hint))
    except (csv.Error, UnicodeDecodeError) as error:
        problems.append(Problem("the file", f"is not CSV in UTF-8: {error}", "export one to see how it looks"))
    return lines, problems


def _entry(row: dict[str, str | None]) -> Entry:
    enabled = (row.get("enabled") or "").strip().lower()
    if None in row:
        raise WrongEntryError("has too many columns", f"columns: {','.join(COLUMNS)}")
    if enabled not in _SWITCH:
        raise WrongEntryError("`enabled` is neither true nor false", "write true or false, or leave it empty.")
    return entry(
        row.get("mask") or "",
        (row.get("mailboxes") or "").replace(";", " ").split(),
        (row.get("owner") or "").strip() or None,
        _SWITCH[enabled],
    )


def entry(mask: str, mailboxes: Sequence[str], owner: str | None = None, enabled: bool | None = None) -> Entry:
    """An entry from what somebody typed. Raises WrongEntryError."""
    address = _mask(mask)
    boxes = tuple(dict.fromkeys(_mailbox(text) for text in mailboxes))
    if not boxes:
        raise WrongEntryError(f"{address}: has no mailbox to forward to", "name one at least, like me@example.org.")
    return Entry(address, boxes, None if owner is None else _owner(owner), enabled)


def _mask(text: str) -> Address:
    address = _address(text)
    if address.tag:
        raise WrongEntryError(f"{address}: a mask has no +tag", f"write {address.bare}: mail to any tag reaches it.")
    if address.local == "noreply":
        raise WrongEntryError(f"{address}: mail to noreply is always discarded", "choose another name.")
    if not re.match(r"[a-z0-9_]", address.local):
        raise WrongEntryError(
            f"{address}: a mask begins with a letter, a digit or an underscore", "put one in front of it."
        )
    return address


def _mailbox(text: str) -> Address:
    address = _address(text)
    if address.full.startswith(_FORMULA):
        raise WrongEntryError(f"{address}: a spreadsheet would take it for a formula", "name another mailbox.")
    return address


def _owner(text: str) -> str:
    name = text.strip()
    if not name or not name.isprintable():
        raise WrongEntryError(
            "an owner's name is one line of printable characters", "write a name, or leave the owner out."
        )
    if name.startswith(_FORMULA):
        raise WrongEntryError(
            f"the owner's name {name!r} begins with {name[0]}, and a spreadsheet would take it for a formula",
            "begin it with a letter.",
        )
    return name


def _address(text: str) -> Address:
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


def domain_problems(entry: Entry, mail_domains: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What is wrong, and what to do, where a mask or its mailboxes are on the wrong side of our domains."""
    if entry.address.domain not in mail_domains:
        yield (
            f"{entry.address}: {entry.address.domain} is not a domain that relayd receives mail for",
            f"use one of RELAYD_MAIL_DOMAINS ({', '.join(mail_domains)}), or add it there.",
        )
    for mailbox in entry.mailboxes:
        if mailbox.domain in mail_domains:
            yield (
                f"{mailbox} is on a domain of masks, so its mail would come back to relayd for ever",
                "name the real mailbox behind it.",
            )


def write_csv(entries: Iterable[Entry], file: TextIO) -> None:
    """The form that `read_csv` reads."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in entries:
        boxes = " ".join(box.full for box in one.mailboxes)
        writer.writerow((one.address.bare, boxes, one.owner or "", "true" if one.enabled else "false"))
