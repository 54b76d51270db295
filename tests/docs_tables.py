"""The tables of docs/operations.md as the code has them. `python -m tests.docs_tables` writes them anew."""

from collections.abc import Mapping
from pathlib import Path

from relayd.ops.doctor.table import CHECKS
from relayd.settings import SETTINGS
from relayd.telemetry import names
from relayd.telemetry.catalogue import INSTRUMENTS, prometheus_label, prometheus_name

OPERATIONS = Path(__file__).parent.parent / "docs" / "operations.md"


def _settings() -> str:
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    for setting in SETTINGS:
        default = f"`{setting.default}`" if setting.default else "**required**" if setting.required else "–"
        rows.append(f"| `{setting.env}` | {default} | {setting.doc} |")
    return "\n".join(rows)


def _two(head: str, table: Mapping[str, str]) -> str:
    return "\n".join([f"| {head} | what it means |", "|---|---|", *(f"| `{k}` | {v} |" for k, v in table.items())])


def _checks() -> str:
    rows = ["| check | it protects from |", "|---|---|"]
    return "\n".join([*rows, *(f"| `{check.name}` | {check.protects} |" for check in CHECKS)])


def _instruments() -> str:
    rows = ["| instrument | on /metrics | labels | what it means |", "|---|---|---|---|"]
    for name, made in INSTRUMENTS.items():
        labels = "; ".join(f"`{prometheus_label(label)}`: {values}" for label, values in made.labels.items())
        shown = f"`{prometheus_name(name)}` ({_KINDS[made.kind]})"
        rows.append(f"| `{name}` | {shown} | {labels or '–'} | {made.meaning} |")
    return "\n".join(rows)


_KINDS = {"counter": "counter", "histogram": "histogram", "gauge": "gauge", "sum": "gauge"}

TABLES = {
    "settings": _settings(),
    "checks": _checks(),
    "log events": _two("event", names.LOG_EVENTS),
    "spans": _two("span", names.SPANS),
    "attributes": _two("attribute", names.ATTRIBUTES),
    "instruments": _instruments(),
}


def with_tables(text: str) -> str:
    """The document with what stands between `<!-- NAME -->` and `<!-- end -->` replaced by the table of that name."""
    for name, table in TABLES.items():
        head, found, rest = text.partition(f"<!-- {name} -->\n")
        _, ended, tail = rest.partition("<!-- end -->\n")
        if not found or not ended:
            raise ValueError(f"no place for the table {name!r}")
        text = f"{head}{found}{table}\n{ended}{tail}"
    return text


if __name__ == "__main__":
    OPERATIONS.write_text(with_tables(OPERATIONS.read_text()))
