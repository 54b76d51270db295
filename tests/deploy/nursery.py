"""Real processes of relayd, quickly: forked off one that has imported everything, which is most of a start."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.process.cloud import clean_environment, eventually

PATIENCE = 20.0
"""Seconds. Most of what is waited for takes one or two; a busy machine takes longer."""


class Nursery:
    """Where they come from. All of them end with it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.deploy.nursery"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def relayd(self, *arguments: str, environment: Mapping[str, str], log: Path) -> "Forked":
        """Start `relayd` with these arguments. What it writes goes to `log`."""
        log.touch()
        order = {"arguments": arguments, "environ": clean_environment() | dict(environment), "log": str(log)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return Forked(int(self._process.stdout.readline()), log)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


class Forked:
    """One process, and what it has said."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self._log = log

    def output(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def events(self, name: str, /, **facts: Any) -> list[dict[str, Any]]:
        """Its log lines of one event, with these facts."""
        lines = [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name and facts.items() <= line.items()]

    def says(self, name: str, /, **facts: Any) -> dict[str, Any]:
        """Wait for such a line."""
        found: list[dict[str, Any]] = []

        def looked() -> bool:
            # A line may be there by half.
            try:
                found[:] = self.events(name, **facts)
            except json.JSONDecodeError:
                return False
            return bool(found)

        assert eventually(looked, PATIENCE), self.output()
        return found[0]

    def code(self, within: float = PATIENCE) -> int:
        """Wait for its end; its exit code."""
        file = _code_file(self._log)
        assert eventually(lambda: file.exists() and file.read_text() != "", within), self.output()
        return int(file.read_text())

    def kill(self) -> None:
        """End it now, if it has not ended by itself."""
        os.kill(self.pid, signal.SIGKILL)


def _code_file(log: Path) -> Path:
    return log.with_suffix(".code")


def _be(order: Mapping[str, Any]) -> None:
    """Be relayd, to the end."""
    os.environ.clear()
    os.environ.update(order["environ"])
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, replaced in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, replaced)
    sys.argv = ["relayd", *order["arguments"]]
    code: Any = 1
    try:
        from relayd.cli import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Whole at once: whoever waits for it reads it when it is there.
        temporary = Path(order["log"]).with_suffix(".coding")
        temporary.write_text(str(code))
        temporary.rename(_code_file(Path(order["log"])))
        os._exit(0)


def serve() -> None:
    """Fork a process for each line of standard input until that ends."""
    import relayd.app
    import relayd.commands.run

    assert relayd.app
    assert relayd.commands.run
    pids = []
    for line in sys.stdin.buffer:
        if (pid := os.fork()) == 0:
            _be(json.loads(line))
        pids.append(pid)
        print(pid, flush=True)
    # Those that have ended are zombies until here, so that no pid is given to anybody else.
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    serve()
