"""How commands print: tables and facts for people, JSON for programs, problems with their hints."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

import click

from relayd.errors import Problem


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as what is in them."""
    shown = [[plain(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in shown) for column in range(len(head))]
    for row in shown:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """A name and a value a line."""
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        click.echo(f"{name:<{width}} {plain(value)}".rstrip())


def print_json(document: Any, file: TextIO | None = None) -> None:
    """For programs, and for people who look at it."""
    click.echo(json.dumps(document, indent=2), file=file)


def tell(document: dict[str, Any], text: str, as_json: bool) -> None:
    """What was done: a line of JSON, or in words."""
    click.echo(json.dumps(document) if as_json else "\n".join(map(plain, text.splitlines())))


def print_problems(problems: Iterable[Problem]) -> None:
    """On standard error, each with its hint."""
    for problem in problems:
        click.echo(f"relayd: {problem}", err=True)


def moment(seconds: float) -> str:
    """A time, for people."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def plain(text: str) -> str:
    """For a terminal: what strangers call themselves must not move its cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
