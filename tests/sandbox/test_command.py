"""`relayd sandbox` before anything is started: its options, its settings for the daemon, its signals."""

import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from relayd.commands.sandbox import command
from relayd.sandbox.cloud.signing import Signing
from relayd.sandbox.daemon import environment
from relayd.sandbox.folder import Folder
from relayd.sandbox.interrupt import Interrupt
from relayd.sandbox.world import MAIL_DOMAINS, EventsPath, World
from relayd.settings import Settings

WORLD = World(
    "http://127.0.0.1:1",
    "bucket-1",
    "arn:aws:sns:us-east-1:123456789012:relayd-sandbox",
    "arn:aws:sns:us-east-1:123456789012:relayd-sandbox-foreign",
    "http://127.0.0.1:1/123456789012/relayd-sandbox",
    "http://127.0.0.1:1/123456789012/relayd-sandbox-dead-letters",
    EventsPath(
        "relayd-sandbox-events",
        "arn:aws:sns:us-east-1:123456789012:relayd-sandbox-events",
        "http://127.0.0.1:1/123456789012/relayd-sandbox-events",
    ),
)


@pytest.mark.parametrize("signed", [True, False])
def test_the_daemons_settings_are_valid(tmp_path: Path, signed: bool) -> None:
    """What the sandbox sets is what relayd wants; signatures are verified where the certificate is known."""
    folder = Folder(tmp_path, temporary=False)
    folder.certificate.write_bytes(Signing().certificate)
    certificate = folder.certificate if signed else None
    made = environment(WORLD, folder, http_port=8080, otlp_endpoint="http://127.0.0.1:4318", certificate=certificate)
    settings = Settings.load(made)
    assert WORLD.events is not None
    assert settings.signatures == ("verify" if signed else "trust-queue-policy")
    assert settings.sns_certificate_file == certificate
    assert settings.mail_domains == MAIL_DOMAINS
    assert settings.topic_arns == (WORLD.topic_arn, WORLD.events.topic_arn)
    assert settings.events_queue_url == WORLD.events.queue_url
    assert settings.trackers is not None
    assert settings.wait_seconds <= 2
    assert settings.http_host == "127.0.0.1"


def test_without_events_the_daemon_hears_of_none(tmp_path: Path) -> None:
    """An emulator that may not know them: no queue, no configuration set, one topic."""
    folder, world = Folder(tmp_path, temporary=False), replace(WORLD, events=None)
    made = environment(world, folder, http_port=8080, otlp_endpoint="http://127.0.0.1:4318", certificate=None)
    settings = Settings.load(made)
    assert (settings.events_queue_url, settings.configuration_set) == (None, None)
    assert settings.topic_arns == (WORLD.topic_arn,)


@pytest.mark.parametrize(
    "options",
    [
        ["--exit"],
        ["--json"],
        ["--mails", "-1"],
        ["--smtp-port", "70000"],
        ["--moto", "--endpoint", "http://127.0.0.1:1"],
        ["--mails", "1", "--exit", "--page-port", "0"],
    ],
)
def test_options_that_make_no_sense(options: list[str]) -> None:
    """Refused at once, as a wrong call."""
    assert CliRunner().invoke(command, options).exit_code == 2


def test_help_teaches() -> None:
    """Examples, and what the figures mean."""
    text = CliRunner().invoke(command, ["--help"]).output
    assert "relayd sandbox --mails 100 --exit" in text
    assert "duplicates" in text


def run(program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_without_the_extra_it_says_what_to_install() -> None:
    """A plain installation has no SMTP door; the hint is the command to type."""
    done = run(
        "import sys; sys.modules['aiosmtpd'] = None; sys.argv = ['relayd', 'sandbox']; "
        "from relayd.cli import main; main()"
    )
    assert done.returncode == 2
    assert "needs aiosmtpd" in done.stderr
    assert "pip install 'relayd[sandbox]'" in done.stderr


@pytest.mark.parametrize("option", ["--smtp-port", "--page-port"])
def test_a_port_in_use_is_told_before_anything_starts(option: str) -> None:
    """The most common mistake (a second sandbox) costs no waiting, and the hint names the option."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = ["relayd", "sandbox", "--smtp-port", "0", "--page-port", "0", option, str(port)]
        done = run(f"import sys; sys.argv = {arguments}; from relayd.cli import main; main()")
    assert done.returncode == 2
    assert f"{option} {port}: the port is in use" in done.stderr
    assert done.stdout == ""


def test_the_first_signal_is_noted_and_wakes_the_wait() -> None:
    """Whoever waits goes on at once, in order; nothing is thrown into the middle of things."""
    interrupt = Interrupt()
    with interrupt.caught():
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        assert interrupt.wait(30)
        assert interrupt.is_set()
    timer.join()


def test_the_second_signal_leaves_at_once() -> None:
    """After the last acts, with the exit code of an interrupted program."""
    done = run(
        "import os, signal\n"
        "from relayd.sandbox.interrupt import Interrupt\n"
        "interrupt = Interrupt()\n"
        "interrupt.at_once(lambda: print('killed', flush=True))\n"
        "with interrupt.caught():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    interrupt.wait(0)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    interrupt.wait(0)\n"
        "    print('not reached')\n"
    )
    assert (done.returncode, done.stdout) == (130, "killed\n")


def test_time_passes_without_a_signal() -> None:
    """The wait ends by itself."""
    assert not Interrupt().wait(0.001)
