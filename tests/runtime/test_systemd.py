"""What systemd is told, on a real datagram socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from relayd.runtime.systemd import Notifier
from tests.fakes.clock import VirtualClock


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The service manager's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.settimeout(2)
        yield end


def heard(manager: socket.socket) -> list[str]:
    """Everything that was said so far."""
    said = []
    manager.setblocking(False)
    try:
        while True:
            said.append(manager.recv(4096).decode())
    except BlockingIOError:
        return said


def notifier(manager: socket.socket, **environ: str) -> Notifier:
    """One that tells this manager."""
    return Notifier.of({"NOTIFY_SOCKET": manager.getsockname(), **environ}, os.getpid())


def test_the_start_and_the_stop_are_told(manager: socket.socket) -> None:
    """READY=1 with the process's id, STOPPING=1 later."""
    one = notifier(manager)
    one.ready()
    one.stopping()
    assert heard(manager) == [f"READY=1\nMAINPID={os.getpid()}", "STOPPING=1"]


def test_the_watchdog_is_fed_while_alive(manager: socket.socket) -> None:
    """Three times in its time; not at all while the poll loop hangs; not after the stop began."""
    clock = VirtualClock()
    alive = [True]
    one = notifier(manager, WATCHDOG_USEC="30000000")
    one.feed(clock, lambda: alive[0])
    clock.sleep(61)
    assert heard(manager) == ["WATCHDOG=1"] * 7
    alive[0] = False
    clock.sleep(60)
    assert heard(manager) == []
    alive[0] = True
    clock.sleep(10)
    assert heard(manager) == ["WATCHDOG=1"]
    one.stopping()
    clock.sleep(60)
    assert heard(manager) == ["STOPPING=1"]


@pytest.mark.parametrize(
    "environ",
    [
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
        {},
    ],
)
def test_a_watchdog_that_is_not_ours_is_not_fed(manager: socket.socket, environ: dict[str, str]) -> None:
    """No watchdog, a wrong one, or the one of a parent process."""
    clock = VirtualClock()
    notifier(manager, **environ).feed(clock, lambda: True)
    clock.sleep(120)
    assert heard(manager) == []


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "/nowhere/at/all", "@nobody-listens-here"])
def test_without_a_manager_nothing_happens(address: str) -> None:
    """No socket, one of another kind, or nobody at its other end: no error."""
    one = Notifier.of({"NOTIFY_SOCKET": address} if address else {}, os.getpid())
    one.ready()
    one.stopping()


def test_an_abstract_socket() -> None:
    """A leading @ names one."""
    name = f"relayd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0{name}")
        Notifier.of({"NOTIFY_SOCKET": f"@{name}"}, os.getpid()).stopping()
        assert heard(end) == ["STOPPING=1"]
