"""`relayd masks`: give out masks, and see and change what they do."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import click

from relayd.errors import Problem
from relayd.model.address import Address, normal_domain

if TYPE_CHECKING:
    from relayd.adapters.database import Database
    from relayd.ops.masks import ImportResult, MaskView
    from relayd.settings import DirectorySettings

EXIT_REFUSED = 1

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class _AddressType(click.ParamType[Address]):
    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        if isinstance(value, Address):
            return value
        try:
            return Address.parse(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


_ADDRESS = _AddressType()


def _domain(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else normal_domain(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: {error}") from None


class _Masks(click.Group):
    """A group that prints what was refused, each problem with its hint."""

    def invoke(self, ctx: click.Context) -> Any:
        from relayd.ops.mask_entries import RefusedError

        try:
            return super().invoke(ctx)
        except RefusedError as error:
            _print_problems(error.problems)
            ctx.exit(EXIT_REFUSED)


@click.group(cls=_Masks)
def command() -> None:
    """Give out masks, and see and change what they do. Changes count at once; nothing needs a restart.

    \b
    relayd masks add shop@mask.example --to me@example.org
    relayd masks disable shop@mask.example          mail for it is discarded from now on
    relayd masks list --owner me@example.org
    relayd masks export masks.csv                   edit it, and:
    relayd masks import masks.csv --sync --dry-run
    """


@command.command()
@click.argument("mask", type=_ADDRESS)
@click.option("--to", "mailboxes", type=_ADDRESS, multiple=True, required=True, help="Where its mail goes; repeatable.")
@click.option("--owner", help="Whose it is, by name. Default: whoever has the mailbox, or a new owner named like it.")
@click.option("--disabled", is_flag=True, help="Add it switched off.")
@click.option("--replace", is_flag=True, help="When it is there already: change where its mail goes.")
@_json
def add(
    *, mask: Address, mailboxes: tuple[Address, ...], owner: str | None, disabled: bool, replace: bool, as_json: bool
) -> None:
    """Add a mask. To add one that is there already changes nothing and is no error.

    \b
    relayd masks add shop@mask.example --to me@example.org
    relayd masks add team@mask.example --to ann@example.org --to bob@example.org --owner "Support team"
    relayd masks add shop@mask.example --to new@example.org --replace
    """
    from relayd.ops.mask_entries import WrongEntryError, domain_problems, entry
    from relayd.ops.masks import put_mask

    settings = _settings()
    try:
        wanted = entry(mask.full, [box.full for box in mailboxes], owner, False if disabled else None)
    except WrongEntryError as error:
        raise click.UsageError(f"{error}\n    hint: {error.hint}") from None
    if wrong := list(domain_problems(wanted, settings.mail_domains)):
        raise click.UsageError("\n".join(f"{problem}\n    hint: {hint}" for problem, hint in wrong))
    with _database(settings) as database:
        change = put_mask(database, wanted, replace=replace)
    boxes = [box.full for box in wanted.mailboxes]
    text = {"added": "added", "changed": "changed", "unchanged": "was there already, unchanged"}[change]
    _tell(
        {"mask": mask.bare, "mailboxes": boxes, "result": change}, f"{mask.bare} -> {', '.join(boxes)}: {text}", as_json
    )


@command.command("list")
@click.option("--owner", help="Only this owner's, by name.")
@click.option("--domain", callback=_domain, help="Only those on this domain.")
@click.option("--to", "mailbox", type=_ADDRESS, help="Only those that forward to this mailbox.")
@click.option("--enabled/--disabled", default=None, help="Only those switched on, or off.")
@click.option("--removed", is_flag=True, help="The removed ones instead: their addresses are never given out again.")
@_json
def list_(
    *,
    owner: str | None,
    domain: str | None,
    mailbox: Address | None,
    enabled: bool | None,
    removed: bool,
    as_json: bool,
) -> None:
    """List the masks, in order of address.

    \b
    relayd masks list --disabled
    relayd masks list --to me@example.org
    relayd masks list --json | jq -r '.[].mask'
    """
    from relayd.adapters.directory import SqlDirectory
    from relayd.ops.masks import list_masks

    with _database() as database:
        views = list(
            list_masks(database, owner=owner, domain=domain, mailbox=mailbox, enabled=enabled, removed=removed)
        )
        empty = not views and SqlDirectory(database).is_empty()
    if as_json:
        click.echo(json.dumps([_json_of(view) for view in views], indent=2))
    elif views:
        rows = [(view.address, ", ".join(view.mailboxes), view.owner, _state(view)) for view in views]
        _print_table(("MASK", "FORWARDS TO", "OWNER", "STATE"), rows)
    elif empty:
        click.echo("No masks here. The first: relayd masks add shop@mask.example --to me@example.org", err=True)
    elif removed:
        click.echo("No removed mask matches.", err=True)
    else:
        click.echo("No mask matches. Removed ones: relayd masks list --removed", err=True)


@command.command(short_help="Show one mask, and what became of its mail.")
@click.argument("mask", type=_ADDRESS)
@_json
def show(mask: Address, as_json: bool) -> None:
    """Show one mask, and what became of its mail as far as the ledger remembers.

    \b
    relayd masks show shop@mask.example
    """
    from relayd.ops.masks import count_mask, find_mask

    with _database() as database:
        view = find_mask(database, mask)
        counters = count_mask(database, view.mask_id)
    if as_json:
        counts = {"deliveries": counters.deliveries, "contacts": counters.contacts, "last_at": counters.last_at}
        click.echo(json.dumps(_json_of(view) | counts, indent=2))
        return
    owner = "active" if view.owner_active else "inactive"
    lines = [
        ("mask", view.address),
        ("state", _state(view)),
        ("forwards to", ", ".join(view.mailboxes)),
        ("owner", f"{view.owner} ({owner}{', flagged' if view.owner_flagged else ''})"),
        ("spam", view.spam_handling),
        ("failed DMARC", view.dmarc_handling),
        ("since", _moment(view.created_at)),
        ("contacts", str(counters.contacts)),
        ("last mail", _moment(counters.last_at) if counters.last_at else "none"),
        *(("deliveries", f"{count} {state}") for state, count in counters.deliveries.items()),
    ]
    for name, value in lines:
        click.echo(f"{name:<13} {value}")


@command.command()
@click.argument("masks", type=_ADDRESS, nargs=-1, required=True)
@_json
def enable(masks: tuple[Address, ...], as_json: bool) -> None:
    """Switch masks on, all or none: their mail is forwarded again."""
    _switch(masks, True, as_json)


@command.command(short_help="Switch masks off: their mail is discarded.")
@click.argument("masks", type=_ADDRESS, nargs=-1, required=True)
@_json
def disable(masks: tuple[Address, ...], as_json: bool) -> None:
    """Switch masks off: their mail is discarded, with reason `mask_disabled`, until they are switched on again.

    All of them, or none where one is no mask.
    """
    _switch(masks, False, as_json)


@command.command(short_help="Remove masks for good.")
@click.argument("masks", type=_ADDRESS, nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@_json
def remove(masks: tuple[Address, ...], yes: bool, as_json: bool) -> None:
    """Remove masks for good, all or none: their mail is for an unknown mask from now on.

    This cannot be undone, and a removed address is never given out again: the world knows it as somebody's. To stop
    mail for a while, use `relayd masks disable`.
    """
    from relayd.ops.masks import check_masks, remove_masks

    names = list(dict.fromkeys(mask.bare for mask in masks))
    with _database() as database:
        check_masks(database, masks)
        if not yes:
            click.confirm(f"Remove {', '.join(names)} for ever?", abort=True, err=True)
        remove_masks(database, masks)
    for name in names:
        _tell({"mask": name, "result": "removed"}, f"{name}: removed", as_json)


@command.command(short_help="Write all masks as CSV or JSON.")
@click.argument("file", type=click.File("w", encoding="utf-8", lazy=True), default="-")
@_json
def export(file: TextIO, as_json: bool) -> None:
    """Write all masks to FILE, or to standard output: CSV that `relayd masks import` reads, or JSON.

    Removed masks are left out (`relayd masks list --removed --json` has them).

    \b
    relayd masks export masks.csv
    relayd masks export --json | jq length
    """
    from relayd.ops.mask_entries import write_csv
    from relayd.ops.masks import entries_of, list_masks

    with _database() as database:
        if as_json:
            file.write(json.dumps([_json_of(view) for view in list_masks(database)], indent=2) + "\n")
        else:
            write_csv(entries_of(list_masks(database)), file)


@command.command("import", short_help="Add and change masks from a CSV file.")
@click.argument("file", type=click.File(encoding="utf-8-sig"))
@click.option(
    "--sync", is_flag=True, help="Make the directory equal to FILE: masks that it lacks are removed, for ever."
)
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")
@click.option("--force", is_flag=True, help="With --sync: remove even more than half of the masks.")
@_json
def import_(file: TextIO, sync: bool, dry_run: bool, force: bool, as_json: bool) -> None:
    """Add and change masks as FILE (CSV, `-` for standard input) says: all of it, or nothing.

    Every line that cannot be done is reported, with its number. Importing the same file again changes nothing.
    Mailboxes are separated by spaces or semicolons; `owner` and `enabled` may be empty or left out.

    \b
    mask,mailboxes,owner,enabled
    shop@mask.example,me@example.org,,true
    team@mask.example,ann@example.org bob@example.org,Support team,true

    \b
    relayd masks import masks.csv
    relayd masks import masks.csv --sync --dry-run
    """
    from relayd.ops.mask_entries import read_csv
    from relayd.ops.masks import import_masks

    settings = _settings()
    lines, problems = read_csv(file)
    with _database(settings) as database:
        result = import_masks(
            database,
            lines,
            mail_domains=settings.mail_domains,
            problems=problems,
            sync=sync,
            force=force,
            dry_run=dry_run,
        )
    _tell(asdict(result) | {"dry_run": dry_run}, _summary(result, dry_run), as_json)


def _summary(result: "ImportResult", dry_run: bool) -> str:
    lines = [f"removed: {address}" for address in result.removed]
    counts = f"{result.added} added, {result.changed} changed, {result.unchanged} unchanged, {len(lines)} removed"
    return "\n".join([*lines, f"{counts}{' (dry run: nothing was done)' if dry_run else ''}"])


def _settings() -> "DirectorySettings":
    from relayd.settings import DirectorySettings

    return DirectorySettings.load(os.environ)


@contextmanager
def _database(settings: "DirectorySettings | None" = None) -> "Iterator[Database]":
    from relayd.ops.opening import directory_database

    with directory_database(settings or _settings()) as database:
        yield database


def _switch(masks: Sequence[Address], enabled: bool, as_json: bool) -> None:
    from relayd.ops.masks import set_enabled

    word = "enabled" if enabled else "disabled"
    with _database() as database:
        changed = set_enabled(database, masks, enabled)
    for name in dict.fromkeys(mask.bare for mask in masks):
        result, text = (word, word) if name in changed else ("unchanged", f"was {word} already")
        _tell({"mask": name, "result": result}, f"{name}: {text}", as_json)


def _tell(document: dict[str, Any], text: str, as_json: bool) -> None:
    click.echo(json.dumps(document) if as_json else text)


def _json_of(view: "MaskView") -> dict[str, Any]:
    document = asdict(view)
    return {"mask": document.pop("address")} | document


def _state(view: "MaskView") -> str:
    if view.removed:
        return "removed"
    return "enabled" if view.enabled else "disabled"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        click.echo(f"relayd: {problem}", err=True)
