"""`relayd owners block|allow|unlist|senders`."""

import click

from relayd.commands.arguments import SENDER, json_option
from relayd.commands.senders import print_senders, put_on_list, take_off_lists

_owner = click.argument("owner")
_patterns = click.argument("patterns", type=SENDER, nargs=-1, required=True, metavar="PATTERN...")


@click.command(short_help="Discard what these senders write to any of an owner's masks.")
@_owner
@_patterns
@json_option
def block(owner: str, patterns: tuple[str, ...], as_json: bool) -> None:
    """Discard what these senders write to any of an owner's masks, with reason `sender_blocked`.

    PATTERN is an address (all its +tags with it), @domain, or @.domain for the domain and everything below it. A
    mask's own lists (relayd masks block) go before these.

    \b
    relayd owners block me@example.org ads@shop.example @.tracking.example
    """
    put_on_list(owner, patterns, "block", as_json)


@click.command(short_help="Let only these senders write to an owner's masks.")
@_owner
@_patterns
@json_option
def allow(owner: str, patterns: tuple[str, ...], as_json: bool) -> None:
    """Let only these senders write to an owner's masks, but for masks with an allow list of their own.

    PATTERN is an address (all its +tags with it), @domain, or @.domain for the domain and everything below it.

    \b
    relayd owners allow "Support team" @.customer.example
    """
    put_on_list(owner, patterns, "allow", as_json)


@click.command(short_help="Take senders off an owner's lists.")
@_owner
@_patterns
@json_option
def unlist(owner: str, patterns: tuple[str, ...], as_json: bool) -> None:
    """Take senders off an owner's block and allow lists, all or none. Lists of single masks stay.

    \b
    relayd owners unlist me@example.org @.tracking.example
    """
    take_off_lists(owner, patterns, as_json)


@click.command(short_help="List the senders that an owner blocks or allows.")
@_owner
@json_option
def senders(owner: str, as_json: bool) -> None:
    """List the senders that an owner blocks or allows on all masks.

    \b
    relayd owners senders me@example.org
    """
    print_senders(owner, as_json)


COMMANDS = (block, allow, unlist, senders)
