"""Writes dashboards/*.json: Grafana's dashboards, from the tables in boards.py.

    python deploy/observability/make_dashboards.py [RUNBOOK]

RUNBOOK is where docs/operations.md can be read by whoever looks at a dashboard, for instance a page of a wiki.
"""

import json
import sys
from pathlib import Path

from boards import BOARDS
from grafana import built

FOLDER = Path(__file__).with_name("dashboards")
RUNBOOK = "docs/operations.md"


def dashboards(runbook: str = RUNBOOK) -> dict[str, str]:
    """The files, by their names."""
    return {f"{board.uid}.json": json.dumps(built(board, runbook), indent=2) + "\n" for board in BOARDS}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in dashboards(*sys.argv[1:2]).items():
        (FOLDER / name).write_text(text)
