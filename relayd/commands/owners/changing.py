"""`relayd owners add|set|rename|activate|deactivate|flag|unflag`."""

from typing import Any, get_args

import click

from relayd.commands.arguments import (
    ADDRESS,
    LANGUAGE,
    OWNER_NAME,
    REASON,
    directory,
    directory_settings,
    json_option,
    refuse_wrong,
    unverified_option,
)
from relayd.commands.showing import tell
from relayd.model.address import Address
from relayd.model.mask import DmarcHandling, SpamHandling

_owner = click.argument("owner")
_spam = click.option(
    "--spam",
    "spam_handling",
    type=click.Choice(get_args(SpamHandling)),
    help="Spam is held back (quarantine), discarded (drop), or marked and forwarded. A new owner's: quarantine.",
)
_dmarc = click.option(
    "--dmarc",
    "dmarc_handling",
    type=click.Choice(get_args(DmarcHandling)),
    help="Mail that fails a DMARC policy of `quarantine`: forward with a warning, or discard. A new owner's: forward.",
)
_language = click.option(
    "--language", type=LANGUAGE, help="Of banners and notices: en, de, pt-BR, ... A new owner's: en."
)


@click.command(short_help="Make an owner.")
@click.argument("name", type=OWNER_NAME)
@click.option("--mailbox", "mailboxes", type=ADDRESS, multiple=True, help="A real address; repeatable.")
@_spam
@_dmarc
@_language
@click.option("--inactive", is_flag=True, help="Nothing is forwarded yet.")
@unverified_option
@json_option
def add(
    *, name: str, mailboxes: tuple[Address, ...], inactive: bool, unverified: bool, as_json: bool, **traits: str | None
) -> None:
    """Make an owner. (`relayd masks add` makes one on the way where nobody has the mailbox.)

    \b
    relayd owners add "Support team" \\
        --mailbox ann@example.org --mailbox bob@example.org
    relayd owners add Anna --mailbox anna@example.org --language de --spam forward
    """
    from relayd.ops.owners import add_owner
    from relayd.ops.people import OwnerTraits
    from relayd.ops.typed import loop_problems, mailbox_address

    settings = directory_settings()
    boxes = list(dict.fromkeys(mailbox_address(box.full) for box in mailboxes))
    refuse_wrong(loop_problems(boxes, settings.mail_domains))
    said: dict[str, Any] = {trait: value for trait, value in traits.items() if value is not None}
    with directory(settings) as database:
        add_owner(database, name, OwnerTraits(active=not inactive, **said), boxes, verified=not unverified)
    tell({"owner": name, "mailboxes": [box.full for box in boxes], "result": "added"}, f"{name}: added", as_json)


@click.command("set", short_help="Change how an owner's mail is treated.")
@_owner
@_spam
@_dmarc
@_language
@json_option
def set_(owner: str, as_json: bool, **traits: str | None) -> None:
    """Change how an owner's mail is treated. What is not said stays.

    \b
    relayd owners set me@example.org --spam drop
    relayd owners set "Support team" --dmarc discard --language de
    """
    said = {trait: value for trait, value in traits.items() if value is not None}
    if not said:
        raise click.UsageError("Say what shall change: --spam, --dmarc or --language.")
    _set(owner, "changed", as_json, **said)


@click.command(short_help="Call an owner something else.")
@_owner
@click.argument("name", type=OWNER_NAME)
@json_option
def rename(owner: str, name: str, as_json: bool) -> None:
    """Call an owner something else. Nothing else changes.

    \b
    relayd owners rename me@example.org "Ann Example"
    """
    from relayd.ops.owners import rename_owner

    with directory() as database:
        changed = rename_owner(database, owner, name)
    _tell(owner, "renamed" if changed else "unchanged", as_json)


@click.command(short_help="Forward an owner's mail again.")
@_owner
@json_option
def activate(owner: str, as_json: bool) -> None:
    """Forward an owner's mail again.

    \b
    relayd owners activate me@example.org
    """
    _set(owner, "activated", as_json, active=True)


@click.command(short_help="Discard all mail to an owner's masks.")
@_owner
@json_option
def deactivate(owner: str, as_json: bool) -> None:
    """Discard all mail to an owner's masks, with reason `owner_inactive`, until they are activated again.

    \b
    relayd owners deactivate me@example.org
    """
    _set(owner, "deactivated", as_json, active=False)


@click.command(short_help="Hold an owner for review: nothing is forwarded.")
@_owner
@click.option("--reason", type=REASON, required=True, help="Why, for whoever reviews it.")
@json_option
def flag(owner: str, reason: str, as_json: bool) -> None:
    """Hold an owner for review: their mail is discarded, with reason `owner_flagged`, and they cannot reply.

    relayd does so by itself when somebody complains about a reply (reason `complaint`).

    \b
    relayd owners flag me@example.org --reason "sends advertising through replies"
    relayd owners list --flagged
    """
    _set(owner, "flagged", as_json, flagged=True, flag_reason=reason)


@click.command(short_help="End an owner's review.")
@_owner
@json_option
def unflag(owner: str, as_json: bool) -> None:
    """End an owner's review: mail flows again.

    \b
    relayd owners unflag me@example.org
    """
    _set(owner, "unflagged", as_json, flagged=False, flag_reason=None)


def _set(owner: str, word: str, as_json: bool, **values: Any) -> None:
    from relayd.ops.owners import set_owner

    with directory() as database:
        changed = set_owner(database, owner, **values)
    _tell(owner, word if changed else "unchanged", as_json)


def _tell(owner: str, result: str, as_json: bool) -> None:
    tell({"owner": owner, "result": result}, f"{owner}: {result}", as_json)


COMMANDS = (add, set_, rename, activate, deactivate, flag, unflag)
