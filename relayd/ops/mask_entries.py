"""What an operator writes about a mask: its mailboxes, its owner, whether it is on. As CSV, or as arguments."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from relayd.errors import Problem, RelaydError
from relayd.model.address import Address

COLUMNS = ("mask", "mailboxes", "owner", "enabled")

_SWITCH = {"": None, "true": True, "yes": True, "1": True, "on": True}
_SWITCH |= {"false": False, "no": False, "0": False, "off": False}


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
        unknown = set(rows.fieldnames or ()) - set(COLUMNS)
        if "mask" not in (rows.fieldnames or ()) or "mailboxes" not in (rows.fieldnames or ()) or unknown:
            return [], [Problem("line 1", "is not the header of a mask file", f"write: {','.join(COLUMNS)}")]
        for row in rows:
            try:
                lines.append(Line(rows.line_num, _entry(row)))
            except ValueError as error:
                problems.append(Problem(f"line {rows.line_num}", str(error), f"columns: {','.join(COLUMNS)}"))
    except (csv.Error, UnicodeDecodeError) as error:
        problems.append(Problem("the file", f"is not CSV in UTF-8: {error}", "export one to see how it looks"))
    return lines, problems


def _entry(row: dict[str, str | None]) -> Entry:
    enabled = (row.get("enabled") or "").strip().lower()
    if None in row or enabled not in _SWITCH:
        raise ValueError("has too many columns, or an `enabled` that is neither true nor false")
    return entry(
        row.get("mask") or "",
        (row.get("mailboxes") or "").replace(";", " ").split(),
        (row.get("owner") or "").strip() or None,
        _SWITCH[enabled],
    )


def entry(mask: str, mailboxes: Sequence[str], owner: str | None = None, enabled: bool | None = None) -> Entry:
    """An entry from what somebody typed. Raises ValueError, saying what is wrong."""
    address = _address(mask)
    if address.tag:
        raise ValueError(f"{address}: a mask has no +tag; mail to any tag reaches it")
    if owner and not owner.isprintable():
        raise ValueError(f"{address}: an owner's name is one line of printable characters")
    boxes = tuple(dict.fromkeys(_address(text) for text in mailboxes))
    if not boxes:
        raise ValueError(f"{address}: has no mailbox to forward to")
    return Entry(address, boxes, owner, enabled)


def _address(text: str) -> Address:
    try:
        address = Address.parse(text)
    except ValueError as error:
        raise ValueError(f"{text.strip() or '(nothing)'}: {error}") from None
    if not address.full.isprintable():
        raise ValueError("an address holds no unprintable characters")
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
