"""Masks as a table that people and spreadsheets edit: a CSV file with a header."""

import csv
from collections.abc import Iterable
from typing import TextIO

from relayd.errors import Problem
from relayd.ops.mask_entries import Entry, Line, MaskTraits, entry
from relayd.ops.refusals import WrongEntryError
from relayd.ops.typed import plain_start

COLUMNS = ("mask", "mailboxes", "owner", "enabled", "display_name", "block_lists", "banner", "remove_trackers")

_TEXT = "'"
"""In front of a cell it tells spreadsheets that the rest is text."""
_HEADER = ",".join(COLUMNS)
_SWITCH = {"": None, "true": True, "yes": True, "1": True, "on": True}
_SWITCH |= {"false": False, "no": False, "0": False, "off": False}


def read_csv(file: TextIO) -> tuple[list[Line], list[Problem]]:
    """The entries of a CSV file with a header, and what is wrong with its other lines."""
    lines: list[Line] = []
    problems: list[Problem] = []
    try:
        rows = csv.DictReader(file, strict=True)
        header = rows.fieldnames or ()
        if not {"mask", "mailboxes"} <= set(header) <= set(COLUMNS):
            return [], [Problem("line 1", "is not the header of a mask file", f"write: {_HEADER}")]
        if len(header) != len(set(header)):
            return [], [Problem("line 1", "names a column twice", f"write: {_HEADER}")]
        for row in rows:
            try:
                lines.append(Line(rows.line_num, _entry(row)))
            except WrongEntryError as error:
                problems.append(Problem(f"line {rows.line_num}", str(error), error.hint))
    except (csv.Error, UnicodeDecodeError) as error:
        problems.append(Problem("the file", f"is not CSV in UTF-8: {error}", "export one to see how it looks"))
    return lines, problems


def _entry(row: dict[str, str | None]) -> Entry:
    if None in row:
        raise WrongEntryError("has too many columns", f"columns: {_HEADER}")
    name = (row.get("display_name") or "").strip()
    mask = (row.get("mask") or "").strip()
    odd = mask.startswith(_TEXT) and not plain_start(mask[1:])
    return entry(
        mask[1:] if odd else mask,
        (row.get("mailboxes") or "").replace(";", " ").split(),
        (row.get("owner") or "").strip() or None,
        _switch(row, "enabled"),
        # An empty cell must be able to mean none: who wants the name left alone leaves the column out.
        MaskTraits(
            name if row.get("display_name") is not None else None,
            _switch(row, "block_lists"),
            _switch(row, "banner"),
            _switch(row, "remove_trackers"),
        ),
        any_start=odd,
    )


def _switch(row: dict[str, str | None], column: str) -> bool | None:
    text = (row.get(column) or "").strip().lower()
    if text not in _SWITCH:
        raise WrongEntryError(f"`{column}` is neither true nor false", "write true or false, or leave it empty.")
    return _SWITCH[text]


def write_csv(entries: Iterable[Entry], file: TextIO) -> None:
    """The form that `read_csv` reads."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in entries:
        traits = one.traits
        switches = (traits.block_lists, traits.banner, traits.remove_trackers)
        writer.writerow(
            (
                _harmless(one.address.bare),
                " ".join(box.full for box in one.mailboxes),
                one.owner or "",
                _word(one.enabled),
                traits.display_name or "",
                *map(_word, switches),
            )
        )


def _word(switch: bool | None) -> str:
    return {None: "", True: "true", False: "false"}[switch]


def _harmless(mask: str) -> str:
    """A domain rule makes masks of whatever strangers write to, and a spreadsheet would run some of it."""
    return mask if plain_start(mask) else _TEXT + mask
