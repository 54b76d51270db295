"""docs/operations.md against the code: whoever reads it at night must find what is there."""

import ast
from pathlib import Path

from relayd.telemetry import names
from tests.docs_tables import OPERATIONS, with_tables

SOURCE = Path(__file__).parent.parent / "relayd"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def test_the_tables_of_operations_md_are_those_of_the_code() -> None:
    """`python -m tests.docs_tables` writes them anew."""
    text = OPERATIONS.read_text()
    assert text == with_tables(text)


def logged_events() -> set[str]:
    """The first argument of every call of a logger in the tree."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                first = node.args[0] if node.args else None
                assert isinstance(first, ast.Constant), f"{path}:{node.lineno}: an event is a constant word"
                found.add(str(first.value))
    return found


def test_every_log_event_is_explained_and_every_explained_one_is_logged() -> None:
    """An event that nobody explained is noise, one that nobody logs is a promise."""
    assert logged_events() == set(names.LOG_EVENTS)
