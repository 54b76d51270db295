"""`relayd owners`: the people behind the masks, how their mail is treated, and their rights."""

import click

from relayd.commands.arguments import RefusingGroup
from relayd.commands.owners import changing, looking, mailboxes, rights, senders


@click.group(cls=RefusingGroup)
def command() -> None:
    """The people behind the masks: their mailboxes, how their mail is treated, and what is kept about them.

    OWNER is a name, an id, or the address of a mailbox. Changes count at once; nothing needs a restart.

    \b
    relayd owners list
    relayd owners set me@example.org --spam forward --language de
    relayd owners mailbox add "Support team" bob@example.org
    relayd owners block me@example.org @.ads.example    on all their masks
    relayd owners deactivate me@example.org
    relayd owners export me@example.org ann.json        all that is kept of them
    relayd owners erase me@example.org --dry-run
    """


for _module in (looking, changing, mailboxes, senders, rights):
    for _command in _module.COMMANDS:
        command.add_command(_command)
