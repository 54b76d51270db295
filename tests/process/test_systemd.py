"""What a service manager hears of the daemon as a real process: notify and watchdog, as the systemd unit asks for."""

import os
import signal
import socket

import pytest

from relayd.sandbox.cloud.client import EmbeddedAws
from tests.process.cloud import Cloud, DaemonProcess, eventually

pytestmark = pytest.mark.process


def test_the_manager_hears_of_start_life_and_stop(cloud: Cloud) -> None:
    """READY once it polls, the watchdog fed several times within its time, STOPPING as soon as it is told to stop."""
    cloud.add_mask()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(os.fspath(cloud.folder / "notify"))
        manager.settimeout(20)
        daemon = cloud.daemon(NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC="300000")
        assert manager.recv(4096).decode() == f"READY=1\nMAINPID={daemon.process.pid}"
        assert [manager.recv(4096) for _ in range(4)] == [b"WATCHDOG=1"] * 4
        daemon.signal(signal.SIGTERM)
        while (said := manager.recv(4096)) == b"WATCHDOG=1":
            continue
        assert said == b"STOPPING=1"
        assert daemon.process.wait(30) == 0


def test_a_stop_during_the_start_is_an_orderly_one(cloud: Cloud) -> None:
    """SIGTERM while the start waits for AWS: the start ends, the stop follows, exit code 0."""
    cloud.add_mask()
    cloud.fault("sqs:GetQueueAttributes", "latency", seconds=1.0)
    daemon = DaemonProcess(cloud.environment, cloud.folder / "daemon.log")
    cloud.daemons.append(daemon)
    assert isinstance(cloud.aws, EmbeddedAws)
    aws = cloud.aws
    assert eventually(lambda: aws.rules()[0]["struck"] > 0, 20), daemon.output()
    daemon.signal(signal.SIGTERM)
    assert daemon.process.wait(30) == 0
    assert daemon.events("stopped")[0]["clean"] is True
