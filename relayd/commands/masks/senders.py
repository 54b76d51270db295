"""`relayd masks block|allow|unlist|senders`."""

import click

from relayd.commands.arguments import ADDRESS, SENDER, json_option
from relayd.commands.senders import print_senders, put_on_list, take_off_lists
from relayd.model.address import Address

_mask = click.argument("mask", type=ADDRESS)
_patterns = click.argument("patterns", type=SENDER, nargs=-1, required=True, metavar="PATTERN...")


@click.command(short_help="Discard what these senders write to a mask.")
@_mask
@_patterns
@json_option
def block(mask: Address, patterns: tuple[str, ...], as_json: bool) -> None:
    """Discard what these senders write to a mask, with reason `sender_blocked`.

    PATTERN is an address (all its +tags with it), @domain, or @.domain for the domain and everything below it. A
    mask's lists go before its owner's (relayd owners block), and on one list `block` before `allow`.

    \b
    relayd masks block shop@mask.example ads@shop.example
    relayd masks block shop@mask.example @ads.example @.tracking.example
    """
    put_on_list(mask, patterns, "block", as_json)


@click.command(short_help="Let only these senders write to a mask.")
@_mask
@_patterns
@json_option
def allow(mask: Address, patterns: tuple[str, ...], as_json: bool) -> None:
    """Let only these senders write to a mask: with one entry here, what all others write is discarded.

    PATTERN is an address (all its +tags with it), @domain, or @.domain for the domain and everything below it.

    \b
    relayd masks allow bank@mask.example @.bank.example
    """
    put_on_list(mask, patterns, "allow", as_json)


@click.command(short_help="Take senders off a mask's lists.")
@_mask
@_patterns
@json_option
def unlist(mask: Address, patterns: tuple[str, ...], as_json: bool) -> None:
    """Take senders off a mask's block and allow lists, all or none.

    \b
    relayd masks unlist shop@mask.example @ads.example
    """
    take_off_lists(mask, patterns, as_json)


@click.command(short_help="List the senders that a mask blocks or allows.")
@_mask
@json_option
def senders(mask: Address, as_json: bool) -> None:
    """List the senders that a mask blocks or allows.

    \b
    relayd masks senders shop@mask.example
    """
    print_senders(mask, as_json)


COMMANDS = (block, allow, unlist, senders)
