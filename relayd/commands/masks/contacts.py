"""`relayd masks contact|contacts`."""

from dataclasses import asdict

import click

from relayd.commands.arguments import ADDRESS, directory, directory_settings, json_option, refuse_wrong
from relayd.commands.showing import moment, print_json, print_table, tell
from relayd.model.address import Address


@click.command(short_help="Tell where to write to, so that somebody gets mail from a mask.")
@click.argument("mask", type=ADDRESS)
@click.argument("address", type=ADDRESS)
@json_option
def contact(mask: Address, address: Address, as_json: bool) -> None:
    """Tell where the mask's owner writes to, so that ADDRESS gets the mail from the mask: the way to write first.

    The same mask and address have the same answer for ever. Only the owner's verified mailboxes may use it.

    \b
    relayd masks contact shop@mask.example seller@shop.example
    """
    from relayd.ops import contacts
    from relayd.ops.typed import loop_problems, real_address

    settings = directory_settings()
    wanted = real_address(address.full)
    refuse_wrong(loop_problems([wanted], settings.mail_domains))
    with directory(settings) as database:
        view, made = contacts.contact(database, mask, wanted)
    document = {"mask": mask.bare, "contact": view.address, "write_to": view.write_to}
    tell(document | {"result": "made" if made else "known"}, view.write_to, as_json)


@click.command("contacts", short_help="List whom a mask has written with.")
@click.argument("mask", type=ADDRESS)
@json_option
def contacts_(mask: Address, as_json: bool) -> None:
    """List whom a mask has written with, and where its owner writes to answer each.

    \b
    relayd masks contacts shop@mask.example
    """
    from relayd.ops import contacts

    with directory() as database:
        views = contacts.contacts_of(database, mask)
    if as_json:
        print_json([asdict(view) for view in views])
    elif views:
        rows = [(view.address or "(no readable sender)", view.write_to, moment(view.created_at)) for view in views]
        print_table(("CONTACT", "WRITE TO", "SINCE"), rows)
    else:
        click.echo("Nobody has written to it yet. To write first: relayd masks contact MASK ADDRESS", err=True)


COMMANDS = (contact, contacts_)
