"""`relayd quarantine`: see what is held back, let mail go, or forget it."""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import reduce
from typing import TYPE_CHECKING, Any

import click

from relayd.commands.arguments import ADDRESS, COUNT, MOMENT, directory, json_option
from relayd.commands.showing import moment, plain, print_table

if TYPE_CHECKING:
    from relayd.ops.quarantine import Choice, Entry, Result

EXIT_USAGE = 2
EXIT_FAILURES = 4
"""It came to its end, but not everything could be done; what was left is listed still."""
EXIT_INTERRUPTED = 130

_MANY = 50
"""Mails from which on a terminal is shown how far it is."""
_LONGEST_CELL = 40


_FILTERS = (
    click.option("--reason", help="Only what was held back for this reason: spam, bounce_pause, mail_refused, ..."),
    click.option("--owner", help="Only this owner's, by name."),
    click.option("--mask", type=ADDRESS, help="Only this mask's."),
    click.option("--since", type=MOMENT, help="Only what was held back since: 12h, 7d, or 2026-01-31T08:00 (UTC)."),
    click.option("--limit", type=COUNT, help="The newest so many."),
)
_ids = click.argument("ids", nargs=-1, metavar="[ID]...")
_all = click.option("--all", "everything", is_flag=True, help="Everything that is held back.")


def _filters(function: Callable[..., None]) -> Callable[..., None]:
    return reduce(lambda decorated, option: option(decorated), reversed(_FILTERS), function)


class _Quarantine(click.Group):
    """A group that prints what was refused, each problem with its hint."""

    def invoke(self, ctx: click.Context) -> Any:
        from relayd.ops.refusals import RefusedError

        try:
            return super().invoke(ctx)
        except RefusedError as error:
            for problem in error.problems:
                click.echo(f"relayd: {problem}", err=True)
            ctx.exit(EXIT_USAGE)


@click.group(cls=_Quarantine, short_help="List, release and discard what is held back.")
def command() -> None:
    """See what is held back (spam, mail to a mailbox that bounces, mail that SES refused), let it go, or forget it.

    This shows senders and subjects, on purpose; logs never do. The mail itself lies in the bucket until the bucket's
    lifecycle takes it: after that there is nothing left to release.

    \b
    relayd quarantine list --owner me@example.org
    relayd quarantine release 5f3a9c0d7e21b4486ac0
    relayd quarantine release --reason bounce_pause --since 3d --dry-run
    """


@command.command("list")
@_filters
@click.option("--released", is_flag=True, help="What was released before, too.")
@json_option
def list_(*, released: bool, as_json: bool, **chosen: Any) -> None:
    """List what is held back, newest first.

    \b
    relayd quarantine list --reason spam --limit 20
    relayd quarantine list --json |
        jq -r '.[] | select(.subject | test("invoice")) | .id'
    """
    from relayd.ops.quarantine import Choice, choose

    with directory() as database:
        entries = choose(database, Choice(**chosen, released=released))
    if as_json:
        click.echo(json.dumps([_json_of(entry) for entry in entries], indent=2))
    elif entries:
        _print_entries(entries)
    else:
        click.echo("Nothing is held back that matches.", err=True)


@command.command()
@click.argument("id_", metavar="ID")
@json_option
def show(id_: str, as_json: bool) -> None:
    """Show one entry, with what SES found and where the mail lies.

    \b
    relayd quarantine show 5f3a9c0d7e21b4486ac0
    relayd quarantine show 5f3a9c0d7e21b4486ac0 --json |
        jq .notification > ses.json
    relayd inspect mail.eml --notification ses.json
    """
    from relayd.ops.quarantine import Choice, choose, notification_of

    with directory() as database:
        (entry,) = choose(database, Choice(ids=(id_,), released=True))
        notification = json.loads(notification_of(database, entry))
    if as_json:
        click.echo(json.dumps(_json_of(entry) | {"notification": notification}, indent=2))
        return
    lines = [
        ("id", entry.quarantine_id),
        ("held back", f"{moment(entry.held_at)}, for {entry.reason}"),
        ("released", moment(entry.released_at) if entry.released_at else "no"),
        ("mask", entry.mask or "(erased)"),
        ("owner", entry.owner or "(erased)"),
        ("recipient", entry.recipient),
        ("mailbox", entry.mailbox or "all of the mask's"),
        ("from", entry.sender),
        ("subject", entry.subject),
        *_facts(notification),
    ]
    for name, value in lines:
        click.echo(f"{name:<10} {plain(value)}")


@command.command(short_help="Let mails go: put them into the queue again.")
@_ids
@_filters
@_all
@click.option("--again", is_flag=True, help="Those that were released before, too.")
@click.option("--dry-run", is_flag=True, help="Tell what would be released, and do nothing.")
@json_option
def release(
    *, ids: tuple[str, ...], everything: bool, again: bool, dry_run: bool, as_json: bool, **chosen: Any
) -> None:
    """Let mails go: they come through the queue again, past the rule that held them back. All other rules count.

    By id, or whatever fits the filters. It may be interrupted at any point and run again: what was not released is
    listed still, and nothing arrives twice. It needs RELAYD_QUEUE_URL, RELAYD_DATABASE_URL, RELAYD_SECRET, and
    sqs:SendMessage on the queue.

    \b
    relayd quarantine release 5f3a9c0d7e21b4486ac0 0b1c2d3e4f5a6b7c8d9e
    relayd quarantine release --owner me@example.org --reason bounce_pause
    relayd quarantine release --all --dry-run

    Exit code 4: some could not be put into the queue.
    """
    from relayd.adapters.injecting import Injector
    from relayd.ops import quarantine
    from relayd.settings import QueueSettings

    choice = _choice(ids, everything, chosen, released=again or bool(ids))
    settings = QueueSettings.load(os.environ)
    with directory(settings) as database:
        found = quarantine.choose(database, choice)
        entries = [entry for entry in found if again or entry.released_at is None]
        before = [entry.quarantine_id for entry in found if entry.released_at is not None and not again]
        if dry_run:
            _tell_dry_run(entries, before, as_json)
            return
        injector = Injector(settings.queue_url)
        results = quarantine.release(database, injector, settings.secrets, entries)
        sys.exit(_released(results, len(entries), before, as_json))


@command.command("discard", short_help="Forget mails: take them off the list.")
@_ids
@_filters
@_all
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def discard_(*, ids: tuple[str, ...], everything: bool, yes: bool, as_json: bool, **chosen: Any) -> None:
    """Take mails off the list, by id or by what fits the filters. They cannot be released any more.

    The mails stay in the bucket until its lifecycle takes them: relayd never deletes mail.

    \b
    relayd quarantine discard 5f3a9c0d7e21b4486ac0
    relayd quarantine discard --reason spam --mask shop@mask.example --yes
    """
    from relayd.ops.quarantine import choose, discard

    choice = _choice(ids, everything, chosen, released=bool(ids))
    with directory() as database:
        entries = choose(database, choice)
        if entries and not yes:
            click.confirm(f"Take {_count(len(entries))} off the list for ever?", abort=True, err=True)
        gone = discard(database, [entry.quarantine_id for entry in entries])
    if as_json:
        click.echo(json.dumps({"discarded": [entry.quarantine_id for entry in entries]}))
    else:
        click.echo(f"{_count(gone)} taken off the list.")


def _choice(ids: tuple[str, ...], everything: bool, chosen: dict[str, Any], *, released: bool) -> "Choice":
    from relayd.ops.quarantine import Choice

    if not ids and not everything and all(value is None for value in chosen.values()):
        raise click.UsageError("Say which: ids from `relayd quarantine list`, a filter such as --reason, or --all.")
    if ids and everything:
        raise click.UsageError("Give ids or --all, not both.")
    return Choice(ids=tuple(dict.fromkeys(ids)), released=released, **chosen)


def _tell_dry_run(entries: Sequence["Entry"], before: Sequence[str], as_json: bool) -> None:
    if as_json:
        _print_result([entry.quarantine_id for entry in entries], before, [], dry_run=True)
        return
    if entries:
        _print_entries(entries)
    _print_before(before)
    click.echo(f"{_count(len(entries))} would be released (dry run: nothing was done)")


def _released(results: Iterator["Result"], count: int, before: Sequence[str], as_json: bool) -> int:
    """Release, tell what was done however it ended, and answer the exit code."""
    done: list[Result] = []
    interrupted = False
    try:
        with _progress(count, as_json) as progress:
            for result in results:
                done.append(result)
                if progress is not None:
                    progress.update(1)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        released = [result.quarantine_id for result in done if result.outcome == "released"]
        failed = [result for result in done if result.outcome == "failed"]
        if as_json:
            _print_result(released, before, failed, dry_run=False)
        else:
            _print_before(before)
            reasons = Counter(result.reason for result in failed)
            told = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
            click.echo(f"{_count(len(released))} released{f'; {len(failed)} failed ({told})' if failed else ''}")
            if left := count - len(released):
                click.echo(f"{_count(left)} still held back: run the same command again.", err=True)
    if interrupted:
        return EXIT_INTERRUPTED
    return EXIT_FAILURES if failed else 0


def _progress(count: int, as_json: bool) -> Any:
    visible = count >= _MANY and sys.stderr.isatty() and not as_json
    return click.progressbar(length=count, label="releasing", file=sys.stderr) if visible else nullcontext()


def _print_result(released: Sequence[str], before: Sequence[str], failed: Sequence["Result"], *, dry_run: bool) -> None:
    failures = [{"id": result.quarantine_id, "reason": result.reason} for result in failed]
    document = {"released": released, "released_before": before, "failed": failures, "dry_run": dry_run}
    click.echo(json.dumps(document))


def _print_before(before: Sequence[str]) -> None:
    for one in before:
        click.echo(f"{one} was released before; --again releases it once more", err=True)


def _print_entries(entries: Sequence["Entry"]) -> None:
    rows = [
        (
            entry.quarantine_id,
            moment(entry.held_at).removesuffix(" UTC"),
            f"{entry.reason}{' (released)' if entry.released_at else ''}",
            *(_cell(text or "") for text in (entry.mask, entry.owner, entry.sender, entry.subject)),
        )
        for entry in entries
    ]
    print_table(("ID", "HELD BACK", "REASON", "MASK", "OWNER", "FROM", "SUBJECT"), rows)


def _facts(notification: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What SES found, and where the mail is, from the short form that relayd itself wrote."""
    receipt = notification["receipt"]
    verdicts = [f"{name[:-7]} {receipt[name]['status']}" for name in receipt if name.endswith("Verdict")]
    if policy := receipt.get("dmarcPolicy"):
        verdicts.append(f"policy {policy}")
    yield "verdicts", ", ".join(verdicts) or "none"
    action = receipt["action"]
    inline = action["type"] != "S3"
    yield "mail", "came with the notification" if inline else f"s3://{action['bucketName']}/{action['objectKey']}"


def _json_of(entry: "Entry") -> dict[str, Any]:
    document = asdict(entry)
    return {"id": document.pop("quarantine_id")} | document


def _count(number: int) -> str:
    return f"{number} mail{'' if number == 1 else 's'}"


def _cell(text: str) -> str:
    text = plain(text)
    return text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 3] + "..."
