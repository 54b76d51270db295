"""The Tab key: bash, given relayd's own script, completes commands, what is below them, and options."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from relayd.cli import _COMMANDS, root

BASH = shutil.which("bash")

Completed = Callable[..., list[str]]


@pytest.fixture
def complete(tmp_path: Path) -> Completed:
    """What bash offers for the words of a line, the last of which is not finished."""
    if BASH is None:
        pytest.skip("there is no bash here")
    program = tmp_path / "relayd"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m relayd "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}

    def offered(*words: str) -> list[str]:
        # What bash has registered says which function it would call at a Tab.
        script = """
            source <(relayd completion bash)
            [[ "$(complete -p relayd)" == *"-F _relayd_completion relayd" ]] || exit 9
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            compopt() { echo "compopt $*"; }
            _relayd_completion relayd
            printf '%s\\n' "${COMPREPLY[@]}"
        """
        done = subprocess.run(
            [BASH, "--norc", "-c", script, "bash", "relayd", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    return offered


def test_bash_completes_the_commands(complete: Completed) -> None:
    """All of them, though none is imported for it."""
    assert complete("") == list(_COMMANDS)
    assert complete("ma") == ["masks"]
    assert complete("nothing-begins-so") == []


def test_bash_completes_below_a_command(complete: Completed) -> None:
    """The command is imported then: its commands, options, values and files."""
    assert complete("masks", "imp") == ["import"]
    assert complete("run", "--ob") == ["--observe"]
    assert complete("completion", "") == ["bash", "zsh", "fish"]
    assert complete("run", "--observe", "--report", "") == ["compopt", "-o", "default"]
    assert complete("--ver") == ["--version"]


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("bash", ["complete -o nosort -F _relayd_completion relayd"]),
        ("zsh", ["#compdef relayd", "_RELAYD_COMPLETE=zsh_complete relayd"]),
        ("fish", ["complete --no-files --command relayd", "_RELAYD_COMPLETE=fish_complete"]),
    ],
)
def test_each_shell_has_a_script(shell: str, words: list[str]) -> None:
    """They name the program and the variable that it looks for."""
    result = CliRunner().invoke(root, ["completion", shell])
    assert result.exit_code == 0
    for word in words:
        assert word in result.stdout


def test_another_shell_has_none() -> None:
    """And those that have are named."""
    result = CliRunner().invoke(root, ["completion", "tcsh"])
    assert result.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in result.stderr


def test_completing_a_command_imports_no_other() -> None:
    """A Tab must be quick."""
    script = "import sys; from relayd.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", script],
        env=os.environ | {"_RELAYD_COMPLETE": "bash_complete", "COMP_WORDS": "relayd ", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.count("plain,") == len(_COMMANDS)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "relayd.cli" in imported
    assert not {name for name in imported if name.startswith(("relayd.commands.", "sqlalchemy", "boto3", "rich"))}
