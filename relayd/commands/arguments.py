"""What the commands that manage the directory have in common: their arguments, their refusals, their database."""

import math
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from relayd.commands.showing import print_problems
from relayd.model.address import Address

if TYPE_CHECKING:
    from relayd.adapters.database import Database
    from relayd.settings import DirectorySettings, QueueSettings

EXIT_REFUSED = 1

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
unverified_option = click.option(
    "--unverified", is_flag=True, help="New mailboxes are not verified yet: nothing is sent to them before they are."
)


class _AddressType(click.ParamType[Address]):
    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        if isinstance(value, Address):
            return value
        try:
            return Address.parse(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


class _MomentType(click.ParamType[float]):
    """An age, or a time, as seconds since the epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if match := re.fullmatch(r"([0-9]{1,6})([smhdw])", value):
            return time.time() - int(match[1]) * _UNITS[match[2]]
        try:
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            self.fail(f"{value!r}: write an age like 12h or 7d, or a time (UTC) like 2026-01-31T08:00", param, ctx)


class _DurationType(click.ParamType[float]):
    """A length of time, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"([0-9]{1,6})([smhdw])", value)
        if match is None or int(match[1]) == 0:
            self.fail(f"{value!r}: write a number and a unit, like 90s, 10m, 2h or 1d", param, ctx)
        return float(int(match[1]) * _UNITS[match[2]])


class _RateType(click.ParamType[float]):
    """So many a second. `--help` does not show the range, which nobody meets: a value beyond it is told."""

    name = "rate"

    _range = click.FloatRange(0.01, 10_000)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        rate: float = self._range.convert(value, param, ctx)
        if math.isnan(rate):
            # It is in every range, as far as comparisons know.
            self.fail(f"{value!r} is no number", param, ctx)
        return rate


class _CountType(click.ParamType[int]):
    """One or more. As with a rate, `--help` does not show the most, which is what databases count to."""

    name = "count"

    _range = click.IntRange(1, 2**31 - 1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        count: int = self._range.convert(value, param, ctx)
        return count


class _TypedType(click.ParamType[str]):
    """A word that `relayd.ops.typed` knows how to read."""

    def __init__(self, name: str, reader: str) -> None:
        self.name = name
        self._reader = reader

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from relayd.ops import typed
        from relayd.ops.refusals import WrongEntryError

        read: Callable[[str], str] = getattr(typed, self._reader)
        try:
            return read(value)
        except WrongEntryError as error:
            self.fail(f"{error}\n    hint: {error.hint}", param, ctx)


ADDRESS = _AddressType()
MOMENT = _MomentType()
DURATION = _DurationType()
RATE = _RateType()
COUNT = _CountType()
DOMAIN = _TypedType("domain", "mail_domain")
SENDER = _TypedType("pattern", "sender_pattern")
RULE_PATTERN = _TypedType("pattern", "rule_pattern")
OWNER_NAME = _TypedType("name", "owner_name")
DISPLAY_NAME = _TypedType("name", "display_name")
LANGUAGE = _TypedType("language", "language")
REASON = _TypedType("reason", "reason")


class RefusingCommand(click.Command):
    """A command that prints what was refused, each problem with its hint; what means nothing is a wrong call."""

    def invoke(self, ctx: click.Context) -> Any:
        from relayd.ops.refusals import RefusedError, WrongEntryError

        try:
            return super().invoke(ctx)
        except WrongEntryError as error:
            raise click.UsageError(f"{error}\n    hint: {error.hint}") from None
        except RefusedError as error:
            print_problems(error.problems)
            ctx.exit(EXIT_REFUSED)


class RefusingGroup(RefusingCommand, click.Group):
    """A group of such commands."""


def directory_settings() -> "DirectorySettings":
    """Which database, which domains."""
    from relayd.settings import DirectorySettings

    return DirectorySettings.load(os.environ)


@contextmanager
def directory(settings: "DirectorySettings | QueueSettings | None" = None) -> "Iterator[Database]":
    """The database that the settings name, checked."""
    from relayd.ops.opening import directory_database

    with directory_database(settings or directory_settings()) as database:
        yield database


def refuse_wrong(wrong: "Iterator[tuple[str, str]]") -> None:
    """Raise click's error for a wrong call, with every problem and its hint, where there is any."""
    if found := list(wrong):
        raise click.UsageError("\n".join(f"{problem}\n    hint: {hint}" for problem, hint in found))
