"""Standard error for the logs of a command that shows a bar."""

import sys


class StandardError:
    """Standard error as it is at the time of writing: a bar puts something in its place that writes above it."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr.isatty()
