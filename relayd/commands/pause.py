"""`relayd pause`: hold mail back, and see what is held back."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import reduce
from typing import TYPE_CHECKING

import click

from relayd.commands.arguments import DOMAIN, RefusingCommand, directory, directory_settings, json_option, refuse_wrong
from relayd.commands.exits import INTERRUPTED
from relayd.commands.showing import moment, plain, print_json, print_table

if TYPE_CHECKING:
    from relayd.ops.pausing import Change, Paused

_WHICH = (
    click.option("--all", "everything", is_flag=True, help="All mail."),
    click.option("--domain", "domains", type=DOMAIN, multiple=True, help="A domain's mail; repeatable."),
    click.option("--owner", "owners", multiple=True, help="An owner's mail: name, id or mailbox; repeatable."),
)


def which(function: Callable[..., None]) -> Callable[..., None]:
    """The options that say whose mail is meant."""
    return reduce(lambda decorated, option: option(decorated), reversed(_WHICH), function)


@click.command("pause", cls=RefusingCommand)
@which
@click.option("--reason", help="Why, for whoever looks at the status: a line without any address.")
@json_option
def command(
    *, everything: bool, domains: tuple[str, ...], owners: tuple[str, ...], reason: str | None, as_json: bool
) -> None:
    """Hold mail back: all of it, a domain's or an owner's. Without an option, show what is paused.

    Nothing is lost, refused or counted as a failure: paused mail waits in the queue, and goes out when it is resumed.
    Every replica obeys within 5 seconds; a send that is under way ends. An owner's replies and the notices to an owner
    are paused as well. Probes stay green, because a pause is wanted; `relayd status` and /status tell of it.

    How long it may last: no longer than the queue keeps its messages (its retention, 4 days unless it was set), or they
    are gone. With all mail paused nothing is received. Mail of a paused domain or owner is looked at now and then, at
    most every 15 minutes: after ten days that has used up the 1,000 receives of the queue's redrive policy.

    \b
    relayd pause --all --reason "SES sends with the wrong DKIM key"
    relayd pause --domain mask.example --reason "DNS is being moved"
    relayd pause --owner "Support team" --reason "asked for it, ticket 4711"
    relayd pause
    relayd pause --json | jq -r '.paused[].subject'

    The reason is asked for where it is missing. It must hold no address: it is shown to whoever looks at the status.
    """
    from relayd.ops.pausing import Choice, pause, paused, reason_of
    from relayd.ops.typed import foreign_problem

    chosen = everything or domains or owners
    if not chosen and reason is not None:
        raise click.UsageError("Say what shall be paused: --all, --domain or --owner.")
    settings = directory_settings()
    # A typing error would pause nothing, and nobody would know.
    refuse_wrong(wrong for one in domains for wrong in foreign_problem(one, "--domain", settings.mail_domains))
    why = reason_of(_asked(reason)) if chosen else ""
    changes: Sequence[Change] = ()
    with directory(settings) as database:
        if chosen:
            changes = pause(database, Choice(everything, domains, owners), why)
        now = paused(database)
    tell(changes, now, as_json, unchanged="was paused already, for this reason")
    if chosen and not as_json:
        click.echo("Every replica obeys within 5 seconds; sends that are under way end.", err=True)


def tell(changes: Sequence["Change"], now: Sequence["Paused"], as_json: bool, *, unchanged: str) -> None:
    """Print what was changed, and all that is paused now. `unchanged`: what there is to say of a part that was not."""
    if as_json:
        print_json({"changed": [asdict(one) for one in changes], "paused": [asdict(one) for one in now]})
        return
    for change in changes:
        result = unchanged if change.result == "unchanged" else change.result
        click.echo(plain(f"{change.subject or 'all mail'}: {result}"))
    if now:
        rows = [(one.scope, one.subject or "-", moment(one.since), one.reason) for one in now]
        print_table(("SCOPE", "WHOSE", "SINCE", "REASON"), rows)
    else:
        click.echo("Nothing is paused.", err=True)


def _asked(reason: str | None) -> str:
    if reason is not None:
        return reason
    if not sys.stdin.isatty():
        raise click.UsageError('Say why, for whoever looks at the status: --reason "..."')
    try:
        return str(click.prompt("Why, without any address", err=True))
    except click.Abort:
        raise click.exceptions.Exit(INTERRUPTED) from None
