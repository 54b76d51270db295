"""`relayd owners mailbox`: where an owner's mail may go, and who may reply."""

import click

from relayd.commands.arguments import (
    ADDRESS,
    directory,
    directory_settings,
    json_option,
    refuse_wrong,
    unverified_option,
    yes_option,
)
from relayd.commands.showing import tell
from relayd.model.address import Address

_owner = click.argument("owner")
_address = click.argument("address", type=ADDRESS)


@click.group(short_help="An owner's mailboxes: add, verify, unpause, remove.")
def mailbox() -> None:
    """An owner's mailboxes: real addresses that mail goes to, and that may reply.

    relayd has no sign-up: whoever runs it says which mailboxes are verified. To one that is not, nothing is sent,
    and it may not reply. A mailbox that bounces is paused for 1, 3, 7, then 30 days; its mail waits in quarantine.

    \b
    relayd owners mailbox add me@example.org second@example.org
    relayd owners mailbox unpause me@example.org me@example.org
    """


@mailbox.command(short_help="Give an owner another mailbox.")
@_owner
@_address
@unverified_option
@json_option
def add(owner: str, address: Address, unverified: bool, as_json: bool) -> None:
    """Give an owner another mailbox. Their masks go on as before: `relayd masks set MASK --to ...` changes them.

    \b
    relayd owners mailbox add "Support team" bob@example.org
    relayd owners mailbox add me@example.org new@example.org --unverified
    """
    from relayd.ops.mailboxes import add_mailbox
    from relayd.ops.typed import loop_problems, mailbox_address

    settings = directory_settings()
    box = mailbox_address(address.full)
    refuse_wrong(loop_problems([box], settings.mail_domains))
    with directory(settings) as database:
        added = add_mailbox(database, owner, box, verified=not unverified)
    _tell(owner, box, "added" if added else "unchanged", as_json)


@mailbox.command(short_help="Say that a mailbox is its owner's.")
@_owner
@_address
@json_option
def verify(owner: str, address: Address, as_json: bool) -> None:
    """Say that a mailbox is known to be its owner's: mail is sent to it, and it may reply.

    \b
    relayd owners mailbox verify me@example.org new@example.org
    """
    _verify(owner, address, True, as_json)


@mailbox.command(short_help="Send nothing to a mailbox before it is verified.")
@_owner
@_address
@json_option
def unverify(owner: str, address: Address, as_json: bool) -> None:
    """Send nothing to a mailbox before it is verified again, and let it not reply.

    \b
    relayd owners mailbox unverify me@example.org old@example.org
    """
    _verify(owner, address, False, as_json)


@mailbox.command(short_help="Take a mailbox from an owner.")
@_owner
@_address
@yes_option
@json_option
def remove(owner: str, address: Address, yes: bool, as_json: bool) -> None:
    """Take a mailbox from an owner. Masks and rules that have another one go on with that.

    Refused where one would be left without a mailbox: each of them is named.

    \b
    relayd owners mailbox remove me@example.org old@example.org
    """
    from relayd.ops.mailboxes import check_removal, remove_mailbox

    with directory() as database:
        check_removal(database, owner, address)
        if not yes:
            click.confirm(f"Forget {address.full}, and forward nothing to it any more?", abort=True, err=True)
        remove_mailbox(database, owner, address)
    _tell(owner, address, "removed", as_json)


@mailbox.command(short_help="Send to a paused mailbox again.")
@_owner
@_address
@json_option
def unpause(owner: str, address: Address, as_json: bool) -> None:
    """Send to a paused mailbox again, as if it had never bounced. `relayd quarantine` releases what waited.

    \b
    relayd owners mailbox unpause me@example.org me@example.org
    relayd quarantine release --owner me@example.org --reason bounce_pause
    """
    from relayd.ops.mailboxes import unpause as end_pause

    with directory() as database:
        changed = end_pause(database, owner, address)
    _tell(owner, address, "unpaused" if changed else "unchanged", as_json)


def _verify(owner: str, address: Address, verified: bool, as_json: bool) -> None:
    from relayd.ops.mailboxes import set_verified

    with directory() as database:
        changed = set_verified(database, owner, address, verified)
    word = "verified" if verified else "unverified"
    _tell(owner, address, word if changed else "unchanged", as_json)


def _tell(owner: str, address: Address, result: str, as_json: bool) -> None:
    tell({"owner": owner, "mailbox": address.full, "result": result}, f"{address.full}: {result}", as_json)


COMMANDS = (mailbox,)
