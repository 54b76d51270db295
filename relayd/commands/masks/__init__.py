"""`relayd masks`: give out masks, and see and change what they do."""

import click

from relayd.commands.arguments import RefusingGroup
from relayd.commands.masks import changing, contacts, files, looking, rules, senders


@click.group(cls=RefusingGroup)
def command() -> None:
    """Give out masks, and see and change what they do. Changes count at once; nothing needs a restart.

    \b
    relayd masks add shop@mask.example --to me@example.org
    relayd masks disable shop@mask.example     its mail is discarded from now on
    relayd masks block shop@mask.example @ads.example
    relayd masks contact shop@mask.example seller@shop.example
    relayd masks rule add mask.example --to me@example.org --pattern 'shop-*'
    relayd masks list --owner me@example.org
    relayd masks export masks.csv              edit it, and:
    relayd masks import masks.csv --sync --dry-run
    relayd masks export --all backup.json      owners, rules, contacts, all of it
    """


for _module in (looking, changing, senders, contacts, rules, files):
    for _command in _module.COMMANDS:
        command.add_command(_command)
