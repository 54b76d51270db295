"""What relayd says of itself: `--help` fits a terminal, and every command that a text names is there."""

import re
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from relayd.cli import root

ROOT = Path(__file__).parent.parent
COLUMNS = 80
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "deploy").rglob("*.md"),
]

_FENCED = re.compile(r"^ *```\w*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_CALL = re.compile(
    r"(?:^ *|[|;&(] *|: +|\$ |-- |\b(?:xargs|sudo|timeout \S+) )relayd "
    r"([a-z-].*?)(?=$| relayd |[|;<>#&])"
)
"""A call of relayd, where the shell would see one; up to what the shell or a reader would see as something else."""


def commands(at: click.Command = root, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The way to every command and group, the first of them empty."""
    yield path
    if isinstance(at, click.Group):
        with click.Context(at) as context:
            for name in at.list_commands(context):
                below = at.get_command(context, name)
                assert below is not None
                yield from commands(below, (*path, name))


COMMANDS = list(commands())


def help_of(path: tuple[str, ...]) -> str:
    """What `--help` prints on a terminal of 80 columns."""
    done = CliRunner().invoke(root, [*path, "--help"], prog_name="relayd", terminal_width=COLUMNS)
    assert done.exit_code == 0
    return done.output


def problem_of(call: str) -> str:
    """What is wrong with a call of relayd as a text names it; empty where nothing is."""
    command: click.Command = root
    words = [word.rstrip(".,:)") for word in call.replace("[", " ").replace("]", " ").split()]
    for place, word in enumerate(words):
        if isinstance(command, click.Group) and not word.startswith("-"):
            below = command.get_command(click.Context(command), word)
            if below is None:
                return f"there is no {word!r}" if re.fullmatch("[a-z-]+", word) else ""
            command = below
        elif word.startswith("-") and word not in ("-", "--", "-h", "--help", "--version"):
            name = word.partition("=")[0]
            option = next((one for one in command.params if name in (*one.opts, *one.secondary_opts)), None)
            if option is None:
                return f"there is no {name}"
            value = words[place + 1] if place + 1 < len(words) else ""
            if isinstance(option.type, click.Choice) and value not in option.type.choices and not value.isupper():
                return f"{name} {value}: one of {', '.join(option.type.choices)}"
    return ""


def calls_in(text: str) -> Iterator[str]:
    """What follows the word relayd wherever a document shows a call of it."""
    for block in _FENCED.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            yield from _CALL.findall(line)
    for span in _SPAN.findall(_FENCED.sub("", text)):
        yield from _CALL.findall(span.replace("\n", " "))


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "relayd")
def test_help_fits_80_columns(path: tuple[str, ...]) -> None:
    """A longer line is broken anywhere by the terminal, and cannot be copied."""
    assert [line for line in help_of(path).splitlines() if len(line) > COLUMNS] == []


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "relayd")
def test_no_command_is_listed_with_half_a_sentence(path: tuple[str, ...]) -> None:
    """click cuts a long one, and ends it in three dots."""
    _, _, listed = help_of(path).partition("\nCommands:\n")
    assert [line for line in listed.splitlines() if line.endswith("...")] == []


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "relayd")
def test_help_shows_calls_that_work(path: tuple[str, ...]) -> None:
    """An example is what people copy."""
    command: click.Command = root
    for name in path:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), name) or command
    # As a document has it: what stands in lines of its own is fenced there.
    paragraphs = cleandoc(command.help or "").split("\n\n")
    text = "\n\n".join(f"```\n{one[2:]}\n```\n" if one.startswith("\b") else one for one in paragraphs)
    assert [(call, problem) for call in calls_in(text) if (problem := problem_of(call))] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_show_calls_that_work(document: Path) -> None:
    """Every command and every option that a document names is there."""
    calls = list(calls_in(document.read_text()))
    assert [(call, problem) for call in calls if (problem := problem_of(call))] == []
