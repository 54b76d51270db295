"""Nothing is documented that nobody tells: each instrument has who records it, each span and attribute who sets it."""

import ast
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from relayd.telemetry import names
from relayd.telemetry.catalogue import INSTRUMENTS

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "relayd"
INSTRUMENTS_FILE = PACKAGE / "telemetry" / "instruments.py"
TELLING = [PACKAGE / "telemetry" / f"{name}.py" for name in ("names", "catalogue", "instruments", "watched")]
"""Where things are named, and not told."""
ONLY_NAMED = {"begin", "_zero"}
"""Of `instruments`: what lets a counter be there before anything has happened says nothing of who counts."""


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def sources() -> Sequence[ast.AST]:
    """All that is written in rooms that may tell something."""
    paths = (path for path in sorted(PACKAGE.rglob("*.py")) if path not in TELLING)
    return [node for path in paths for node in ast.walk(tree_of(path))]


def attribute_of(node: ast.AST, module: str) -> str | None:
    """`x` of `module.x`."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == module:
        return node.attr
    return None


def named(node: ast.AST) -> str | None:
    """What a constant of `names` says."""
    constant = attribute_of(node, "names")
    return str(getattr(names, constant)) if constant is not None and constant.isupper() else None


def recorders() -> dict[str, set[str]]:
    """By instrument: the functions of `instruments` that count it."""
    tree = tree_of(INSTRUMENTS_FILE)
    variables: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and node.value.args:
            target, name = node.targets[0], named(node.value.args[0])
            if isinstance(target, ast.Name) and name is not None:
                variables[target.id] = name
    found: dict[str, set[str]] = {name: set() for name in variables.values()}
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.name not in ONLY_NAMED:
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                for variable, name in variables.items():
                    if attribute_of(call.func, variable) in ("add", "record"):
                        found[name].add(function.name)
    return found


def calls_of(module: str) -> set[str]:
    """Functions of this module of telemetry that are called anywhere else."""
    calls = (node for node in sources() if isinstance(node, ast.Call))
    return {name for call in calls if (name := attribute_of(call.func, module)) is not None}


def watchers() -> dict[str, set[str]]:
    """By gauge: the functions that say whom to ask for it."""
    found: dict[str, set[str]] = defaultdict(set)
    for function in (node for node in sources() if isinstance(node, ast.FunctionDef)):
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Name) and call.func.id == "watch" and (name := named(call.args[0])):
                found[name].add(function.name)
    return found


def test_every_counter_and_histogram_is_recorded_by_somebody() -> None:
    """`begin` puts most of them on /metrics at 0, where one that nobody counts would look like one that never rose."""
    called = calls_of("instruments")
    recorded = {name for name, functions in recorders().items() if functions & called}
    assert recorded == {name for name, made in INSTRUMENTS.items() if made.kind in ("counter", "histogram")}


def test_every_gauge_has_whom_to_ask() -> None:
    """And whoever says so is called by the daemon's parts."""
    called = calls_of("gauges") | {
        node.func.id
        for path in (PACKAGE / "app.py", PACKAGE / "runtime" / "gauges.py")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    asked = {name for name, functions in watchers().items() if functions & called}
    assert asked == {name for name, made in INSTRUMENTS.items() if made.kind in ("gauge", "sum")}


def test_no_function_of_the_instruments_is_left_over() -> None:
    """What nobody calls counts nothing."""
    functions = {function for some in recorders().values() for function in some}
    assert functions <= calls_of("instruments")


@pytest.mark.parametrize("table", ["SPANS", "ATTRIBUTES"])
def test_every_documented_span_and_attribute_is_told_by_somebody(table: str) -> None:
    """By its constant: nobody writes such a name out."""
    documented = set(getattr(names, table))
    used = {name for node in sources() if (name := named(node)) is not None}
    assert documented <= used
