"""`relayd completion`: the Tab key knows the commands."""

import click
from click.shell_completion import get_completion_class

PROGRAM = "relayd"
VARIABLE = "_RELAYD_COMPLETE"
"""Click's own name for it: set, the program prints completions instead of doing anything."""


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that lets SHELL complete relayd's commands and options at the Tab key.

    It goes into a file that the shell reads by itself; a new shell has it then. Write the file anew after an upgrade
    of relayd only if completion stops working: the script asks relayd itself.

    \b
    bash (4.4 or newer, with the package bash-completion)
      mkdir -p ~/.local/share/bash-completion/completions
      relayd completion bash > ~/.local/share/bash-completion/completions/relayd

    \b
    bash without that package: this line into ~/.bashrc
      eval "$(relayd completion bash)"

    \b
    zsh: into a folder of $fpath, before ~/.zshrc runs compinit
      mkdir -p ~/.zfunc
      relayd completion zsh > ~/.zfunc/_relayd
      (and in ~/.zshrc: fpath+=~/.zfunc; autoload -Uz compinit; compinit)

    \b
    fish
      relayd completion fish > ~/.config/fish/completions/relayd.fish
    """
    script = get_completion_class(shell)
    assert script is not None  # they are click's own
    click.echo(script(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
