"""The progress bar, on a terminal and off one, in a process of its own: it looks at the real standard error."""

import os
import pty
import re
import subprocess
import sys

WORK = """
import sys
from relayd.commands.progress import progress
with progress("drain") as bar:
    bar.at(398, 12345, "s3 is down (s3_unavailable), next try in 12 s; " + "x" * 80)
    sys.stderr.write("a line beside it\\n")
    print("result", flush=True)
"""


def test_on_a_terminal_the_figures_are_whole() -> None:
    """Eighty columns wide: the note has a line of its own, which is cut, and no figure is. The bar goes away, the lines
    beside it and the cursor stay.
    """
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    environ = {**os.environ, "COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", WORK], env=environ, stdout=subprocess.PIPE, stderr=theirs, timeout=30, check=True
    )
    os.close(theirs)
    shown = os.read(ours, 1_000_000).decode()
    os.close(ours)
    assert done.stdout == b"result\n"
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", shown))]
    (bar,) = {line for line in lines if "398/12345" in line}
    assert "drain" in bar
    note = next(line for line in lines if line.startswith("  s3 is down (s3_unavailable), next try in 12 s; "))
    assert len(note) == 80
    assert note.endswith("x…")
    assert "a line beside it" in lines
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor is back"


def test_elsewhere_there_is_none() -> None:
    """A pipe gets what was printed, and no bar."""
    done = subprocess.run([sys.executable, "-c", WORK], capture_output=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == (b"result\n", b"a line beside it\n")
