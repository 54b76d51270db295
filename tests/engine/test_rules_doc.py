"""docs/engine-rules.md against the tests: each rule names the ones that hold it, and they are there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = (ROOT / "docs" / "engine-rules.md").read_text()
ROWS = [line for line in DOCUMENT.splitlines() if re.match(r"\| \d+\. ", line)]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_all_fifteen_rules_name_tests_that_there_are() -> None:
    """A renamed test takes its row along."""
    assert [int(row.split()[1].rstrip(".")) for row in ROWS] == list(range(1, 16))
    for row in ROWS:
        assert TEST.search(row), row
    for path, name in TEST.findall(DOCUMENT):
        tree = ast.parse((ROOT / path).read_text())
        found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name in found, f"{path}::{name}"
