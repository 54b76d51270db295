"""`relayd owners export|erase`: a person's right to see, and to be forgotten."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, TextIO

import click

from relayd.commands.arguments import directory, json_option, yes_option
from relayd.commands.showing import tell

if TYPE_CHECKING:
    from relayd.ops.erasure import Archived

_ELSEWHERE = """\
What relayd cannot erase:
  archived mails     objects in S3; {mails} of them are known here (the manifest names them). The bucket's lifecycle
                     removes them, or: aws s3 rm s3://BUCKET/KEY. Those marked as shared had other recipients, too.
  queues             messages that wait, and dead letters: they go at the end of the queues' retention
  SES                the account's suppression list: aws sesv2 delete-suppressed-destination --email-address ADDRESS
  copies             exports and backups of the database
Logs, spans and metrics hold no addresses."""


@click.command(short_help="Write everything that is kept about an owner.")
@click.argument("owner")
@click.argument("file", type=click.File("w", encoding="utf-8", lazy=True), default="-")
@click.option("--json", "_", is_flag=True, help="It is always JSON.")
def export(owner: str, file: TextIO, _: bool) -> None:
    """Write everything that is kept about an owner to FILE, or to standard output, as one JSON document.

    \b
    owner       mailboxes, masks with what they do, domain rules, sender lists,
                contacts with their reply tokens
    deliveries  what became of each mail, as far as the ledger remembers
    usage       how much went through each mask, by days since 1970
    quarantine  what is held back, with sender and subject
    notices     what the owner was told
    pauses      why an operator holds their mail back, where one does

    The mails themselves are not in it: relayd keeps none. To move a whole directory: relayd masks export --all.

    \b
    relayd owners export me@example.org ann.json
    relayd owners export me@example.org | jq '.owner.masks[].address'
    """
    from relayd.ops.person import export_person

    with directory() as database:
        export_person(database, owner, file)


@click.command(short_help="Forget an owner, for good.")
@click.argument("owner")
@click.option("--dry-run", is_flag=True, help="Tell what would be forgotten, and do nothing.")
@click.option(
    "--manifest",
    type=click.File("w", encoding="utf-8", lazy=True),
    help="Write there which mails may have a copy in S3, a JSON line each, instead of printing it.",
)
@yes_option
@json_option
def erase(owner: str, dry_run: bool, manifest: TextIO | None, yes: bool, as_json: bool) -> None:
    """Forget an owner: everything that is kept about them in the database, all of it or nothing. There is no way back.

    Their masks stay as removed ones that belong to nobody, under new ids: the addresses are never given out again,
    because strangers still write to them. What relayd cannot erase is told, with the mails whose copies are in S3:
    one JSON line each (mail_id, bucket and key where they are known, time, and whether others received it, too).

    \b
    relayd owners export me@example.org ann.json     before, if they ask for it
    relayd owners erase me@example.org --dry-run
    relayd owners erase me@example.org --manifest archived.jsonl
    """
    from relayd.ops.erasure import erase_owner

    mails: list[Archived] = []

    def keep(found: "Iterator[Archived]") -> None:
        mails.extend(found)
        if manifest is not None:
            manifest.writelines(f"{json.dumps(asdict(mail))}\n" for mail in mails)
            manifest.flush()

    with directory() as database:
        if not (yes or dry_run):
            counts = erase_owner(database, owner, lambda _: None, dry_run=True)
            click.echo(_counted(counts), err=True)
            click.confirm(f"Forget {owner} and all of this for ever?", abort=True, err=True)
        counts = erase_owner(database, owner, keep, dry_run=dry_run)
    listed = [asdict(mail) for mail in mails]
    document = {"owner": owner, "dry_run": dry_run, "forgotten": counts, "archived": len(mails)}
    if as_json:
        tell(document | ({} if manifest else {"manifest": listed}), "", True)
        return
    click.echo(_counted(counts) + ("\n(dry run: nothing was done)" if dry_run else ""))
    click.echo(_ELSEWHERE.format(mails=len(mails)))
    if manifest is None:
        for mail in listed:
            click.echo(json.dumps(mail))


def _counted(counts: dict[str, int]) -> str:
    width = max(map(len, counts))
    return "\n".join(f"{name:<{width}}  {count}" for name, count in counts.items())


COMMANDS = (export, erase)
