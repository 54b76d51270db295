"""The door: a table of commands, each imported only when it is asked for, so that `--help` is quick."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click

from relayd import __version__
from relayd.errors import ConfigurationError, RelaydError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

EXIT_USAGE = 2
"""Usage or configuration: click's own code for a wrong call."""
EXIT_FAILED = 1

_COMMANDS = {
    "run": "Forward mail until told to stop.",
    "status": "Show the queues, the replicas and what becomes of the mail.",
    "drain": "Work the queue down and stop; or empty the dead letters into an archive.",
    "replay": "Put mail through again: dead letters, an archive, the ledger, or the bucket.",
    "deliveries": "What became of a mail, attempt by attempt.",
    "pause": "Hold mail back: all of it, a domain's or an owner's.",
    "resume": "Let paused mail go on.",
    "trace": "Have all mail of a mask traced for a while.",
    "hash": "Print the id that logs and traces carry in place of an address.",
    "doctor": "Check everything that can be wrong before it hurts.",
    "config": "Show the effective settings, secrets masked.",
    "masks": "Add, change, list and remove masks, domain rules, sender lists and contacts; import and export.",
    "owners": "List, add and change owners and mailboxes; export or erase a person.",
    "quarantine": "List, release and discard what is held back.",
    "db": "Create, upgrade or prune the database.",
    "inspect": "Show what would become of raw mails, without sending any.",
    "completion": "Print the completion script for a shell.",
    "sandbox": "Try relayd on this machine: an emulated AWS and an SMTP door.",
}
"""Name and one line of help. The command itself is `relayd.commands.<name>:command`."""


class _Lazy(click.Group):
    """A group that knows its commands' one-line help without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"relayd.commands.{cmd_name}").command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=text) for name, text in _COMMANDS.items() if name.startswith(incomplete)]
        # Past the group's own answer, which would import every command.
        return found + super(click.Group, self).shell_complete(ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="relayd")
def root() -> None:
    """Forward mail sent to e-mail masks: from SES, S3, SNS and SQS to the masks' owners.

    Settings come from the environment; `relayd config` shows them and says what is missing.

    \b
    To try it on one machine:
      relayd sandbox
    In production:
      relayd db upgrade
      relayd masks add shop@mask.example --to me@example.org
      relayd doctor
      relayd run
    """


def main() -> None:
    """Run a command; a foreseen error becomes one clear text on standard error and an exit code."""
    try:
        root(prog_name="relayd")
    except ConfigurationError as error:
        click.echo(f"relayd: the configuration cannot work ({len(error.problems)} found):", err=True)
        for problem in error.problems:
            click.echo(f"  {problem}", err=True)
        sys.exit(EXIT_USAGE)
    except RelaydError as error:
        click.echo(f"relayd: {error}", err=True)
        sys.exit(EXIT_FAILED)
