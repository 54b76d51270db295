"""`relayd hash`: what stands in logs and traces in place of a mask's address."""

import os

import click

from relayd.commands.arguments import ADDRESS, json_option
from relayd.commands.showing import plain, print_json
from relayd.model.address import Address


@click.command(short_help="Print the id that logs and traces carry in place of an address.")
@click.argument("masks", nargs=-1, required=True, type=ADDRESS, metavar="MASK...")
@json_option
def command(masks: tuple[Address, ...], as_json: bool) -> None:
    """Print the hash that stands in logs and traces in place of a mask's address.

    It is keyed with RELAYD_SECRET: without that, nobody can tell from it whose mail a line is about. Whoever has the
    secret can, for any address that they can think of. A +tag makes no difference.

    It is the field mask of each delivery in the log line message_settled, and the attribute relayd.mask of the span
    `process`, where a mail to several masks has all of them, with commas between. A reply carries the hash of the mask
    that it is sent from; mail to an address that is no mask carries that address's.

    \b
    relayd hash shop@mask.example
    journalctl -u relayd -o cat |
        grep "$(relayd hash shop@mask.example | cut -d ' ' -f 1)"
    kubectl logs -l app.kubernetes.io/name=relayd --since 24h |
        jq -c 'select(any(.deliveries[]?; .mask == "0123456789abcdef"))
               | [.timestamp, .outcome, .reason, .trace_id]'
    TraceQL:  { span.relayd.mask =~ ".*0123456789abcdef.*" }

    What became of a mail, with its addresses: relayd deliveries list --mask shop@mask.example

    After the secret was rotated, older logs carry the hash by the older one. It is printed as well, as long as
    RELAYD_SECRET holds both.
    """
    from relayd.settings import SecretSettings
    from relayd.telemetry.pseudonyms import pseudonym

    secrets = SecretSettings.load(os.environ).secrets
    found = {mask.bare: [pseudonym(mask.bare, secret) for secret in secrets] for mask in masks}
    if as_json:
        print_json([{"mask": mask, "hash": hashes[0], "older": hashes[1:]} for mask, hashes in found.items()])
        return
    for mask, (now, *older) in found.items():
        click.echo(f"{now}  {plain(mask)}")
        for one in older:
            click.echo(f"{one}  {plain(mask)} (by an older secret)")
