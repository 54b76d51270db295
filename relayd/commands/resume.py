"""`relayd resume`: let paused mail go on."""

import click

from relayd.commands.arguments import RefusingCommand, directory, json_option
from relayd.commands.pause import tell, which


@click.command("resume", cls=RefusingCommand)
@which
@json_option
def command(*, everything: bool, domains: tuple[str, ...], owners: tuple[str, ...], as_json: bool) -> None:
    """Let paused mail go on. Each pause ends by itself: --all ends that of everything, and leaves those of domains and
    owners in force.

    Every replica receives again within 5 seconds. Mail of a domain or an owner that was looked at meanwhile comes back
    by itself: at most 15 minutes from now, half a minute where the pause was short.

    \b
    relayd resume --all
    relayd resume --domain mask.example --owner "Support team"
    relayd pause                      what is paused still
    """
    from relayd.ops.pausing import Choice, paused, resume

    if not (everything or domains or owners):
        raise click.UsageError("Say what shall go on: --all, --domain or --owner. `relayd pause` shows what is paused.")
    with directory() as database:
        changes = resume(database, Choice(everything, domains, owners))
        now = paused(database)
    tell(changes, now, as_json, unchanged="was not paused")
    if not as_json and any(change.result == "resumed" for change in changes):
        click.echo(
            "Every replica goes on within 5 seconds; mail that it had put off is back within 15 minutes.", err=True
        )
