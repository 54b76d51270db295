"""`relayd masks list|show`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from relayd.commands.arguments import ADDRESS, DOMAIN, directory, json_option
from relayd.commands.showing import moment, print_facts, print_json, print_table
from relayd.model.address import Address

if TYPE_CHECKING:
    from relayd.ops.mask_views import MaskUsage, MaskView


@click.command("list")
@click.option("--owner", help="Only this owner's, by name.")
@click.option("--domain", type=DOMAIN, help="Only those on this domain.")
@click.option("--to", "mailbox", type=ADDRESS, help="Only those that forward to this mailbox.")
@click.option("--enabled/--disabled", default=None, help="Only those switched on, or off.")
@click.option("--removed", is_flag=True, help="The removed ones instead: their addresses are never given out again.")
@json_option
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
    from relayd.ops.mask_views import list_masks

    with directory() as database:
        views = list(
            list_masks(database, owner=owner, domain=domain, mailbox=mailbox, enabled=enabled, removed=removed)
        )
        empty = not views and SqlDirectory(database).is_empty()
    if as_json:
        print_json([json_of(view) for view in views])
    elif views:
        rows = [(view.address, _boxes(view), view.owner, _state(view)) for view in views]
        print_table(("MASK", "FORWARDS TO", "OWNER", "STATE"), rows)
    elif empty:
        click.echo("No masks here. The first: relayd masks add shop@mask.example --to me@example.org", err=True)
    elif removed:
        click.echo("No removed mask matches.", err=True)
    else:
        click.echo("No mask matches. Removed ones: relayd masks list --removed", err=True)


@click.command(short_help="Show one mask, and what became of its mail.")
@click.argument("mask", type=ADDRESS)
@json_option
def show(mask: Address, as_json: bool) -> None:
    """Show one mask, what became of its mail as far as the ledger remembers, and what went through it in all.

    \b
    relayd masks show shop@mask.example
    relayd masks show shop@mask.example --json | jq .total.trackers
    """
    from relayd.ops.mask_views import count_mask, find_mask

    with directory() as database:
        view = find_mask(database, mask)
        counters = count_mask(database, view.mask_id)
    if as_json:
        print_json(json_of(view) | asdict(counters))
        return
    owner = "active" if view.owner_active else "inactive"
    print_facts(
        [
            ("mask", view.address),
            ("state", _state(view)),
            ("forwards to", _boxes(view) or "nowhere"),
            ("owner", f"{view.owner} ({owner}{', flagged' if view.owner_flagged else ''})"),
            ("display name", view.display_name or "none"),
            ("does", _does(view)),
            ("spam", view.spam_handling),
            ("failed DMARC", view.dmarc_handling),
            ("since", f"{moment(view.created_at)}{', made by a domain rule' if view.made_by_rule else ''}"),
            ("contacts", str(counters.contacts)),
            ("last mail", moment(counters.last_at) if counters.last_at else "none"),
            ("today", in_words(counters.today)),
            ("in all", in_words(counters.total)),
            *(("deliveries", f"{count} {state}") for state, count in counters.deliveries.items()),
        ]
    )


def in_words(usage: "MaskUsage") -> str:
    """What went through, for people."""
    return (
        f"{usage.mails} mails ({usage.bytes} bytes), {usage.replies} replies, {usage.discards} discards, "
        f"{usage.trackers} trackers removed"
    )


def json_of(view: "MaskView") -> dict[str, Any]:
    """The mask as programs see it."""
    document = asdict(view)
    return {"mask": document.pop("address")} | document


def _boxes(view: "MaskView") -> str:
    notes = ((view.unverified, " (unverified)"), (view.paused, " (paused)"))
    return ", ".join(box + "".join(note for which, note in notes if box in which) for box in view.mailboxes)


def _does(view: "MaskView") -> str:
    switches = {
        "blocks lists": view.block_lists,
        "puts a banner": view.banner,
        "removes trackers": view.remove_trackers,
    }
    return ", ".join(name for name, on in switches.items() if on) or "nothing but forward"


def _state(view: "MaskView") -> str:
    if view.removed:
        return "removed"
    return "enabled" if view.enabled else "disabled"


COMMANDS = (list_, show)
