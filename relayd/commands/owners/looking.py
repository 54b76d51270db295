"""`relayd owners list|show`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from relayd.commands.arguments import directory, json_option
from relayd.commands.masks.looking import in_words
from relayd.commands.showing import moment, print_facts, print_json, print_table

if TYPE_CHECKING:
    from relayd.ops.owner_views import MailboxView, OwnerView


@click.command("list")
@click.option("--active/--inactive", default=None, help="Only those whose mail is forwarded, or is not.")
@click.option("--flagged", is_flag=True, help="Only those who are held for review.")
@click.option("--paused", is_flag=True, help="Only those with a mailbox that nothing is sent to, because mail bounced.")
@json_option
def list_(active: bool | None, flagged: bool, paused: bool, as_json: bool) -> None:
    """List the owners, in order of name.

    \b
    relayd owners list --flagged
    relayd owners list --paused --json |
        jq -r '.[].mailboxes[] | select(.pause) | .address'
    """
    from relayd.ops.owner_views import list_owners

    with directory() as database:
        views = list_owners(database, active=active, flagged=flagged, paused=paused)
    if as_json:
        print_json([asdict(view) for view in views])
    elif views:
        rows = [
            (view.name, ", ".join(map(_box, view.mailboxes)), str(view.masks), str(view.rules), _state(view))
            for view in views
        ]
        print_table(("OWNER", "MAILBOXES", "MASKS", "RULES", "STATE"), rows)
    else:
        click.echo("No owner matches. `relayd masks add` makes them on the way, or: relayd owners add NAME", err=True)


@click.command(short_help="Show one owner.")
@click.argument("owner")
@json_option
def show(owner: str, as_json: bool) -> None:
    """Show one owner: mailboxes, handling of mail, and what went through all their masks.

    \b
    relayd owners show me@example.org
    """
    from relayd.ops.owner_views import show_owner

    with directory() as database:
        view, today, total = show_owner(database, owner)
    if as_json:
        print_json(asdict(view) | {"today": asdict(today), "total": asdict(total)})
        return
    facts: list[tuple[str, Any]] = [
        ("owner", view.name),
        ("id", view.owner_id),
        ("state", _state(view)),
        *(("mailbox", _box(box)) for box in view.mailboxes),
        ("masks", str(view.masks)),
        ("rules", str(view.rules)),
        ("spam", view.spam_handling),
        ("failed DMARC", view.dmarc_handling),
        ("language", view.language),
        ("complained", moment(view.complained_at) if view.complained_at else "never"),
        ("since", moment(view.created_at)),
        ("today", in_words(today)),
        ("in all", in_words(total)),
    ]
    print_facts(facts)


def _box(box: "MailboxView") -> str:
    notes = [] if box.verified else ["unverified"]
    if box.pause:
        notes.append(f"{box.pause} pause until {moment(box.paused_until or 0.0)}")
    if box.bounces:
        notes.append(f"{box.bounces} bounce{'' if box.bounces == 1 else 's'}")
    return f"{box.address} ({', '.join(notes)})" if notes else box.address


def _state(view: "OwnerView") -> str:
    words = ["active" if view.active else "inactive"]
    if view.flagged:
        words.append(f"flagged: {view.flag_reason or 'no reason given'}")
    return ", ".join(words)


COMMANDS = (list_, show)
