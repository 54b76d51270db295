"""`relayd run` as a child of the sandbox, with an environment that knows the emulated AWS and nothing else."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import urllib3

from relayd.errors import RelaydError
from relayd.sandbox.folder import Folder
from relayd.sandbox.interrupt import Interrupt
from relayd.sandbox.masks import WARNING_URL
from relayd.sandbox.world import ACCESS_KEY, MAIL_DOMAINS, REGION, World

READY_SECONDS = 30.0
STOP_SECONDS = 60.0
"""More than the daemon's own grace: it must end by its own rules, not by ours."""
NO_LIMIT = "100000000"
"""A day of samples may be more than any owner gets."""
IN_DOUBT_SECONDS = "10"
"""Nobody sits before a sandbox for the five minutes that a daemon waits."""
WAIT_SECONDS = "1"
"""Of one poll. Ctrl-C takes that long at most: a poll is never broken off."""
LAST_LINES = 15
FOREIGN = ("AWS_", "RELAYD_", "OTEL_", "BOTO_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
"""Variables that would mix the user's own accounts or collectors into the sandbox."""


def environment(
    world: World, folder: Folder, *, http_port: int, otlp_endpoint: str, certificate: Path | None
) -> dict[str, str]:
    """The settings of the sandbox's relayd. `certificate`: what SNS signs with, where that can be known."""
    settings = {
        "AWS_ENDPOINT_URL": world.endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "RELAYD_QUEUE_URL": world.queue_url,
        "RELAYD_DATABASE_URL": folder.database_url,
        "RELAYD_MAIL_DOMAINS": ",".join(MAIL_DOMAINS),
        "RELAYD_TOPIC_ARNS": world.topic_arn,
        "RELAYD_BUCKETS": world.bucket,
        "RELAYD_SECRET": folder.secret(),
        "RELAYD_DAILY_MAILS": NO_LIMIT,
        "RELAYD_DAILY_MEGABYTES": NO_LIMIT,
        "RELAYD_DAILY_REPLIES": NO_LIMIT,
        "RELAYD_TRACKERS_FILE": str(folder.trackers()),
        "RELAYD_TRACKER_WARNING_URL": WARNING_URL,
        "RELAYD_WAIT_SECONDS": WAIT_SECONDS,
        "RELAYD_HTTP_ADDRESS": f"127.0.0.1:{http_port}",
        "RELAYD_LOG_FORMAT": "json",
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_endpoint,
        "OTEL_SERVICE_NAME": "relayd",
        # Milliseconds: the slowest mail's trace is drawn right after it ended.
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    if world.events is not None:
        settings |= {
            "RELAYD_CONFIGURATION_SET": world.events.configuration_set,
            "RELAYD_EVENTS_QUEUE_URL": world.events.queue_url,
            "RELAYD_IN_DOUBT_SECONDS": IN_DOUBT_SECONDS,
            "RELAYD_TOPIC_ARNS": f"{world.topic_arn},{world.events.topic_arn}",
        }
    if certificate is None:
        # moto signs with a certificate that nobody can fetch.
        return settings | {"RELAYD_SIGNATURES": "trust-queue-policy"}
    return settings | {"RELAYD_SIGNATURES": "verify", "RELAYD_SNS_CERTIFICATE_FILE": str(certificate)}


class Daemon:
    """The child process."""

    def __init__(self, settings: Mapping[str, str], log: Path) -> None:
        """Start it; everything it writes goes to `log`. Call from the main thread: the leash is tied to it."""
        inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(FOREIGN)}
        self._log = log
        self._log_from = log.stat().st_size if log.exists() else 0
        self._ready_url = f"http://{settings['RELAYD_HTTP_ADDRESS']}/readyz"
        with log.open("ab") as output:
            # A group of its own: Ctrl-C reaches the sandbox alone, which then ends it in order.
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "relayd.sandbox.leash", str(os.getpid())],
                env={**inherited, **settings},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_ready(self, stop: Interrupt) -> None:
        """Wait until it is ready, or until `stop`. Raises RelaydError when it dies or takes too long."""
        deadline = time.monotonic() + READY_SECONDS
        with urllib3.PoolManager(timeout=2.0, retries=False) as http:
            while not stop.wait(0.05):
                if not self.alive:
                    raise self.died()
                if _answers(http, self._ready_url):
                    return
                if time.monotonic() > deadline:
                    raise RelaydError(
                        "sandbox_daemon",
                        f"relayd was not ready in {READY_SECONDS:g} s; its log is {self._log}:\n{self.tail()}",
                    )

    def died(self) -> RelaydError:
        """What to say when it has ended by itself."""
        return RelaydError(
            "sandbox_daemon",
            f"relayd ended with code {self._process.returncode}; its log is {self._log}:\n{self.tail()}",
        )

    def tail(self) -> str:
        """Its last lines of this run."""
        with self._log.open("rb") as log:
            log.seek(self._log_from)
            lines = deque(log, LAST_LINES)
        return b"".join(lines).decode("utf-8", "replace").rstrip()

    def stop(self) -> int:
        """Ask it to end, wait for it, and return its exit code."""
        if self.alive:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()

    def kill(self) -> None:
        """End it now, without waiting for it."""
        self._process.kill()


def _answers(http: urllib3.PoolManager, url: str) -> bool:
    try:
        return http.request("GET", url).status == 200
    except urllib3.exceptions.HTTPError:
        return False
