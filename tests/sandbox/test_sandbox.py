"""`relayd sandbox` as its user meets it: real processes, real ports, real signals."""

import json
import os
import re
import signal
import smtplib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from relayd.sandbox.moto_server import MotoServer
from relayd.sandbox.samples import ODD_EVERY
from tests.sandbox.browser import CHROMIUM, Browser

pytestmark = pytest.mark.process

READY = "Ctrl-C ends it all"
RELAYD = (sys.executable, "-m", "relayd", "sandbox", "--smtp-port", "0")


def plain_environment() -> dict[str, str]:
    """Without what would make the screen think of a terminal."""
    return {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"} | {"COLUMNS": "80"}


def summary_of(done: "subprocess.CompletedProcess[str]") -> dict[str, object]:
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(("options", "mails"), [((), 120), (("--moto",), 60)])
def test_varied_mails_all_end_as_they_should(tmp_path: Path, options: tuple[str, ...], mails: int) -> None:
    """The whole way, through the door and back out of SES: every mail exactly once, and only JSON on stdout.

    On both emulators; with the embedded one signatures are verified, forged messages are among the odd ones, and a
    mailbox bounces.
    """
    command = [*RELAYD, *options, "--mails", str(mails), "--exit", "--json", "--data", str(tmp_path)]
    summary = summary_of(subprocess.run(command, capture_output=True, text=True, timeout=100, check=False))
    assert set(summary) == {
        "sent", "forwarded", "replied", "discarded", "quarantined", "dead_lettered", "duplicates", "lost",
        "p50_ms", "p99_ms", "mails_per_second",
    }  # fmt: skip
    odd = mails // ODD_EVERY
    assert (summary["sent"], summary["duplicates"], summary["lost"], summary["dead_lettered"]) == (mails, 0, 0, odd)
    discarded = summary["discarded"]
    assert isinstance(discarded, dict)
    assert summary["forwarded"] == mails - odd - sum(discarded.values())
    assert {"spam", "list_mail", "sender_blocked", "reply_not_allowed", "reply_leak"} <= set(discarded)
    assert int(str(summary["replied"])) > 0
    assert int(str(summary["quarantined"])) >= discarded["spam"]
    assert float(str(summary["mails_per_second"])) > 0
    # Private by design, also here: the daemon's log has none of the addresses and subjects that went through it.
    log = (tmp_path / "relayd.log").read_text()
    assert '"event": "message_settled"' in log
    assert "@" not in log
    assert ("forged_signature" in log) == ("mailbox_paused" in log) == (options == ())


def test_an_emulator_that_already_runs(tmp_path: Path) -> None:
    """With --endpoint nothing of it is touched but what the run makes under names of its own."""
    emulator = MotoServer(tmp_path / "aws.log")
    try:
        command = [*RELAYD, "--endpoint", emulator.endpoint, "--mails", "8", "--exit", "--json"]
        summary = summary_of(subprocess.run(command, capture_output=True, text=True, timeout=100, check=False))
        assert (summary["sent"], summary["lost"]) == (8, 0)
        assert emulator.alive
        # Eight samples: two of them refused by policy, and two with two deliveries each.
        assert len(emulator.sent(raw=False)) == 8
    finally:
        emulator.stop()


def test_a_summary_for_people() -> None:
    """Without a terminal: no bar, no colours; the slowest mail's trace, from the door to SES, within 80 columns."""
    command = [*RELAYD, "--mails", "3", "--exit"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=plain_environment())
    assert done.returncode == 0, done.stderr + done.stdout
    assert "\x1b" not in done.stdout
    assert "exactly once" in done.stdout
    trace = done.stdout.partition("The slowest mail")[2].splitlines()
    for span in ("SES receives", "process", "s3.fetch", "SendEmail"):
        assert any(span in line for line in trace), done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


class Running:
    """An interactive sandbox, its screen read by a thread."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            (*RELAYD, "--page-port", "0"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            start_new_session=True,
            env=plain_environment(),
        )
        self._shown = threading.Condition()
        self._text = ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._shown:
                self._text += line
                self._shown.notify_all()

    def wait_for(self, text: str, seconds: float = 60) -> str:
        with self._shown:
            assert self._shown.wait_for(lambda: text in self._text, seconds), self._text
            return self._text

    @property
    def text(self) -> str:
        with self._shown:
            return self._text

    @property
    def smtp_port(self) -> int:
        return int(self.text.partition("--server 127.0.0.1:")[2].partition(" ")[0])

    @property
    def endpoint(self) -> str:
        """Of the embedded AWS, from the file that the screen names for the shell."""
        found = re.search(r" \. (\S+/env);", self.wait_for("/env; "))
        assert found is not None
        setting = re.search(r"AWS_ENDPOINT_URL='?(http[^'\s]+)", Path(found[1]).read_text())
        assert setting is not None
        return setting[1]

    @property
    def page_url(self) -> str:
        return self.text.partition("Look at it")[2].split()[0]

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        if not path.exists():
            pytest.skip("needs /proc with children")
        return [int(pid) for pid in path.read_text().split()]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def running() -> Iterator[Running]:
    running = Running()
    yield running
    running.close()


def gone(pids: list[int], seconds: float) -> bool:
    """Whether all of the processes end in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.05)
    return False


def test_mail_is_shown_as_it_happens_and_ctrl_c_ends_it_all(running: Running) -> None:
    """A mail sent by smtplib is shown forwarded within 2 s; one SIGINT ends every process and folder."""
    running.wait_for(READY)
    with smtplib.SMTP("127.0.0.1", running.smtp_port) as client:
        begun = time.monotonic()
        client.sendmail("you@example.net", ["shop@mask.example"], b"Subject: hello \x1b[31m\r\n\r\nhi\r\n")
        running.wait_for("ada@home.example  ", 10)
        assert time.monotonic() - begun < 2
        client.sendmail("you@example.net", ["nobody@mask.example"], b"Subject: x\r\n\r\nhi\r\n")
        running.wait_for("discarded: unknown_mask", 10)
    assert "\x1b" not in running.text
    folder = running.text.partition("tail -f ")[2].partition("/relayd.log")[0]
    assert Path(folder).is_dir()
    children = running.children()
    assert len(children) == 2
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(10) == 0
    assert gone(children, 1)
    assert not Path(folder).exists()
    assert "Traceback" not in running.text


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (Debian: apt install chromium)")
def test_the_incident_does_not_happen(running: Running, tmp_path: Path) -> None:
    """S3 is made slow on the page, mail is sent from it: it waits, is forwarded, and /livez answers all the while."""
    running.wait_for(READY)
    browser = Browser(tmp_path / "profile")
    try:
        browser.size(1280, 900)
        browser.open(running.page_url)
        browser.wait("document.querySelector('form.write')")
        browser.run("document.querySelector('#switch-s3 input[value=\"slow-5\"]').click()")
        browser.wait("document.querySelector('#switch-s3.bad')")
        browser.run("document.getElementById('burst').click()")
        browser.wait(
            "document.getElementById('narration').innerText.includes('16 of 16 slots are busy, 9 mails wait in SQS')"
        )
        browser.run("document.querySelector('#switch-s3 input[value=\"normal\"]').click()")
        browser.wait("document.getElementById('narration').innerText.includes('nothing was lost')")
        browser.wait("document.querySelector('#totals .forwarded').innerText === '25 forwarded'")
        assert browser.run("document.querySelectorAll('.missed').length") == 0
        browser.run("document.querySelector('#mails li:last-child a').click()")
        browser.wait(
            "[...document.querySelectorAll('.waterfall li')].some((li) => /S3.Get[^]*5,\\d{3} ms/.test(li.innerText))"
        )
        browser.run("document.getElementById('tab-headers').click()")
        browser.wait("document.querySelector('.fields tr.rewritten')")
        assert browser.complaints() == []
        assert {url.split("/")[2] for url in browser.requested()} == {running.page_url.split("/")[2]}
    finally:
        browser.close()
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(10) == 0


def test_a_second_ctrl_c_does_not_wait(running: Running) -> None:
    """A mail hangs on S3, so an orderly end would take the daemon's whole grace: the impatient get what they ask for,
    and still no process stays behind."""
    running.wait_for(READY)
    children = running.children()
    hang = json.dumps([{"operation": "s3:GetObject", "fault": "hang"}]).encode()
    with urllib3.PoolManager(retries=False) as http:
        assert http.request("PUT", f"{running.endpoint}/_relayd/faults", body=hang).status == 200
    with smtplib.SMTP("127.0.0.1", running.smtp_port, timeout=10) as client:
        client.sendmail("you@example.net", ["shop@mask.example"], b"Subject: stuck\r\n\r\nhi\r\n")
    running.wait_for("stuck")
    time.sleep(1)
    running.process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        running.process.wait(3)
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(2) == 130
    assert gone(children, 5)


def test_a_killed_sandbox_leaves_nothing_behind(running: Running) -> None:
    """SIGKILL gives it no chance to clean up; its children notice by themselves."""
    running.wait_for(READY)
    children = running.children()
    running.process.kill()
    assert gone(children, 20)


def test_a_daemon_that_dies_is_reported(running: Running) -> None:
    """Exit code 1, its last words and the place of its log."""
    running.wait_for(READY)
    os.kill(running.children()[1], signal.SIGKILL)
    assert running.process.wait(10) == 1
    running._thread.join(5)
    assert "relayd ended with code -9; its log is" in running.text
    assert '"event": "started"' in running.text
