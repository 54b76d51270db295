"""`relayd masks export|import`."""

import io
from dataclasses import asdict
from typing import TYPE_CHECKING, TextIO

import click

from relayd.commands.arguments import directory, directory_settings, json_option
from relayd.commands.masks.looking import json_of
from relayd.commands.showing import print_json, tell
from relayd.errors import Problem

if TYPE_CHECKING:
    from relayd.ops.masks import ImportResult
    from relayd.ops.merging import Counts
    from relayd.settings import DirectorySettings


@click.command(short_help="Write all masks as CSV, or the whole directory as JSON.")
@click.argument("file", type=click.File("w", encoding="utf-8", lazy=True), default="-")
@click.option("--all", "everything", is_flag=True, help="The whole directory, as JSON that `import` reads.")
@json_option
def export(file: TextIO, everything: bool, as_json: bool) -> None:
    """Write all masks to FILE, or to standard output: CSV for people, which `relayd masks import` reads, or JSON.

    \b
    default  the masks as CSV; removed ones are left out
    --json   what `relayd masks list --json` prints
    --all    everything, so that another database can go on where this one
             stopped: owners, mailboxes, masks, domain rules, sender lists,
             contacts with their reply tokens, and removed masks, whose addresses
             are never given out again. The ids stay the same, so a copy of the
             ledger goes on matching.

    With --all the file is {"format": "relayd-directory", "version": 1, "owners": [...]}, with each owner's mailboxes,
    senders, rules and masks, and each mask's senders and contacts, inside. It holds addresses and reply tokens: keep
    it where nobody else reads it.

    \b
    relayd masks export masks.csv
    relayd masks export --json | jq length
    relayd masks export --all backup.json
    relayd masks export --all | jq '.owners[] | select(.flagged) | .name'
    """
    from relayd.ops.directory_export import export_directory
    from relayd.ops.mask_csv import write_csv
    from relayd.ops.mask_views import entries_of, list_masks

    with directory() as database:
        if everything:
            export_directory(database, file)
        elif as_json:
            print_json([json_of(view) for view in list_masks(database)], file)
        else:
            write_csv(entries_of(list_masks(database)), file)


@click.command("import", short_help="Add and change masks from CSV, or a whole directory from JSON.")
@click.argument("file", type=click.File(encoding="utf-8-sig"))
@click.option(
    "--sync", is_flag=True, help="Make the masks equal to FILE (CSV): masks that it lacks are removed, for ever."
)
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")
@click.option("--force", is_flag=True, help="With --sync: remove even more than half of the masks.")
@json_option
def import_(file: TextIO, sync: bool, dry_run: bool, force: bool, as_json: bool) -> None:
    """Add and change masks as FILE (`-` for standard input) says: all of it, or nothing.

    Everything that cannot be done is reported, with its place. Importing the same file again changes nothing.

    CSV has a line a mask. Mailboxes are separated by spaces or semicolons; all columns but `mask` and `mailboxes` may
    be left out, and what is empty stays as it is (but an empty display name is none).

    \b
    mask,mailboxes,owner,enabled,display_name,block_lists,banner,remove_trackers
    shop@mask.example,me@example.org,,true,Ann Example,false,false,true
    team@mask.example,ann@example.org bob@example.org,Support team,true,,,,

    JSON is what `relayd masks export --all` writes: the whole directory. Written by hand, to move here from another
    service, it needs little; ids are made where there are none, and what is left out is as for new masks. A token has
    20 characters of a-z and 2-7. A large file has the database for itself (100,000 masks: half a minute); mail waits
    in the queue meanwhile.

    \b
    {"format": "relayd-directory", "version": 1, "owners": [
      {"name": "Ann", "mailboxes": [{"address": "ann@example.org"}], "masks": [
        {"address": "shop@mask.example", "mailboxes": ["ann@example.org"],
         "contacts": [{"address": "seller@shop.example",
                       "token": "mzxw6ytboi2gk3tdnrxw"}],
         "senders": [{"pattern": "@ads.example", "kind": "block"}],
         "banner": true},
        {"address": "old@mask.example", "removed_at": 1767225600}]}]}

    \b
    relayd masks import masks.csv
    relayd masks import masks.csv --sync --dry-run
    relayd masks import backup.json
    """
    settings = directory_settings()
    try:
        text = file.read()
    except UnicodeDecodeError as error:
        from relayd.ops.refusals import RefusedError

        hint = "export one to see how it looks."
        raise RefusedError([Problem("the file", f"is neither CSV nor JSON in UTF-8: {error}", hint)]) from None
    if not text.lstrip().startswith(("{", "[")):
        _import_csv(settings, text, sync=sync, force=force, dry_run=dry_run, as_json=as_json)
    elif sync or force:
        raise click.UsageError("--sync and --force are for CSV: a whole directory only adds and changes.")
    else:
        _import_document(settings, text, dry_run=dry_run, as_json=as_json)


def _import_csv(
    settings: "DirectorySettings", text: str, *, sync: bool, force: bool, dry_run: bool, as_json: bool
) -> None:
    from relayd.ops.mask_csv import read_csv
    from relayd.ops.masks import import_masks

    lines, problems = read_csv(io.StringIO(text, newline=""))
    with directory(settings) as database:
        result = import_masks(
            database,
            lines,
            mail_domains=settings.mail_domains,
            problems=problems,
            sync=sync,
            force=force,
            dry_run=dry_run,
        )
    tell(asdict(result) | {"dry_run": dry_run}, _summary(result, dry_run), as_json)


def _import_document(settings: "DirectorySettings", text: str, *, dry_run: bool, as_json: bool) -> None:
    from relayd.ops.directory_import import import_directory, parse_document

    records, problems = parse_document(text)
    with directory(settings) as database:
        counts = import_directory(
            database, records, mail_domains=settings.mail_domains, problems=problems, dry_run=dry_run
        )
    document = {name: asdict(one) for name, one in counts.items()} | {"dry_run": dry_run}
    tell(document, _counted(counts) + _dry(dry_run), as_json)


def _counted(counts: "dict[str, Counts]") -> str:
    return "\n".join(
        f"{name}: {one.added} added, {one.changed} changed, {one.unchanged} unchanged" for name, one in counts.items()
    )


def _summary(result: "ImportResult", dry_run: bool) -> str:
    lines = [f"removed: {address}" for address in result.removed]
    counts = f"{result.added} added, {result.changed} changed, {result.unchanged} unchanged, {len(lines)} removed"
    return "\n".join([*lines, counts + _dry(dry_run)])


def _dry(dry_run: bool) -> str:
    return " (dry run: nothing was done)" if dry_run else ""


COMMANDS = (export, import_)
