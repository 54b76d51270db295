"""docs/decisions.md against the code: each reason stands in it, and each test that it names is there."""

import ast
import re
from pathlib import Path

from relayd.rules.inbound import REASONS

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = (ROOT / "docs" / "decisions.md").read_text()
ROWS = [line for line in DOCUMENT.splitlines() if line.startswith("|")][2:]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
# A decision about a mail that is on its way: the reasons of those are `relayd.rules.retry`'s.
OTHERS = {"content_missing"}


def told(row: str) -> list[str]:
    decision = row.split("|")[2]
    return re.findall(r"`(\w+)`", decision.partition(": ")[2])


def test_every_reason_stands_in_the_table() -> None:
    """And no other one; a reason that nobody explained is noise, one that nobody gives is a promise."""
    assert {reason for row in ROWS for reason in told(row)} == {*REASONS, *OTHERS}


def test_the_rows_stand_in_the_order_of_the_rules() -> None:
    """The document says that the first row decides. (A leak is found later, and stands where replies do.)"""
    told_so = dict.fromkeys(reason for row in ROWS for reason in told(row))
    later = {"reply_leak", *OTHERS}
    # One reason of two rows stands where it is given first.
    assert [reason for reason in told_so if reason not in later] == [r for r in REASONS if r not in later]


def test_every_row_names_tests_that_there_are() -> None:
    """A renamed test takes its row along."""
    for row in ROWS:
        assert TEST.search(row.split("|")[4]), row
    for path, name in TEST.findall(DOCUMENT):
        functions = {
            node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)
        }
        assert name in functions, f"{path}::{name}"


def test_every_rule_that_is_named_is_there() -> None:
    """`mail.replies` is a room, the others are functions of rules."""
    for row in ROWS:
        for room, _, function in (name.rpartition(".") for name in re.findall(r"`([\w.]+)`", row.split("|")[3])):
            if room == "mail":
                assert (ROOT / "relayd" / "mail" / f"{function}.py").exists()
                continue
            tree = ast.parse((ROOT / "relayd" / "rules" / f"{room}.py").read_text())
            assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, row
