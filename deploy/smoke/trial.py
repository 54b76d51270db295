"""Three mails through a relayd of its own to SES's simulator, and what must come of them."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.smoke.consent import Where
from deploy.smoke.things import Made, Names, undisturbed
from relayd.sandbox.receiving import Receiving

SIMULATOR = "simulator.amazonses.com"
FATES = ("success", "bounce", "complaint")
"""Mailboxes of the simulator. Nothing is ever sent to any other address: these are all that this relayd knows."""
AWAITED = {"event_delivery", "event_bounce", "event_complaint"}
"""SES's events, as the lines of relayd's log have them."""
SECONDS = 180.0
"""For each wait. SES's events come within seconds, mostly."""
STOP_SECONDS = 90.0
"""More than relayd's own grace."""
FOREIGN = ("RELAYD_", "OTEL_")
"""Whatever the shell knows of another relayd, and of a collector."""


class FailedError(Exception):
    """The trial did not show what it should."""


@dataclass(frozen=True, slots=True)
class Store:
    """Where SES would put a mail, and whom it would tell."""

    s3: Any
    sns: Any
    bucket: str
    topic_arn: str

    def put(self, key: str, data: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=data)

    def publish(self, text: str, traceparent: str) -> None:
        """As SES does, with the subject of SES's."""
        self.sns.publish(
            TopicArn=self.topic_arn,
            Message=text,
            Subject="Amazon SES Email Receipt Notification",
            MessageAttributes={"traceparent": {"DataType": "String", "StringValue": traceparent}},
        )


class Trial:
    """One relayd with a database of its own in `folder`."""

    def __init__(
        self,
        where: Where,
        names: Names,
        made: Made,
        folder: Path,
        keys: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        self._where = where
        self._names = names
        self._say = say
        self._log = folder / "relayd.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        told = {**inherited, **keys, **settings(where, names, made, folder, os.environ)}
        # An empty token is one that AWS refuses.
        self._environment = {name: value for name, value in told.items() if value or name not in keys}

    def run(self, s3: Any, sns: Any) -> None:
        """Raises FailedError with what did not happen."""
        self._relayd("db", "upgrade")
        for fate in FATES:
            self._relayd("masks", "add", self._mask(fate), "--to", f"{fate}@{SIMULATOR}")
        with self._log.open("wb") as log:
            # On a leash: should this be killed, the kernel ends relayd, too.
            daemon = subprocess.Popen(
                [sys.executable, "-m", "relayd.sandbox.leash", str(os.getpid())],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._within("relayd polls", lambda: self._alive(daemon) and "started" in self._said())
            receiving = Receiving(Store(s3, sns, self._names.bucket, self._names.topic_arn(self._names.queues[0])))
            for fate in FATES:
                receiving.accept("smoke@example.com", (self._mask(fate),), mail(self._mask(fate), fate))
            self._say(f"Three mails are in {self._names.bucket}, and the topic was told.")
            self._within("SES has taken all three", lambda: self._alive(daemon) and self._sent() == len(FATES))
            awaited = f"SES has told of {', '.join(sorted(AWAITED))}"
            self._within(awaited, lambda: self._alive(daemon) and self._told() >= AWAITED)
            self._check_effects()
        finally:
            self._stop(daemon)

    def _check_effects(self) -> None:
        """What relayd made of the events, by its own commands."""
        owners = json.loads(self._relayd("owners", "list", "--json"))
        paused = [box["address"] for owner in owners for box in owner["mailboxes"] if box["pause"]]
        complained = [owner["name"] for owner in owners if owner["complained_at"]]
        if (paused, complained) != ([f"bounce@{SIMULATOR}"], [f"complaint@{SIMULATOR}"]):
            raise FailedError(f"relayd has paused {paused}, and noted complaints of {complained}")
        self._say("The bounce has paused its mailbox, and the complaint is noted.")
        failed = json.loads(self._relayd("deliveries", "list", "--state", "failed", "--json"))
        if failed:
            raise FailedError(f"{len(failed)} deliveries failed: {[one['reason'] for one in failed]}")

    def _stop(self, daemon: "subprocess.Popen[bytes]") -> None:
        with undisturbed():
            if daemon.poll() is None:
                daemon.send_signal(signal.SIGTERM)
            try:
                code = daemon.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                daemon.kill()
                code = daemon.wait()
        self._say(f"relayd has stopped, with exit code {code}.")
        if code:
            raise FailedError(f"relayd ended with exit code {code}:\n{self._log_end()}")

    def _relayd(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "relayd", *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise FailedError(f"relayd {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def _mask(self, fate: str) -> str:
        return f"{self._names.name}-{fate}@{self._where.domain}"

    def _within(self, what: str, happened: Callable[[], bool]) -> None:
        began = time.monotonic()
        while not happened():
            if time.monotonic() - began > SECONDS:
                raise FailedError(f"not within {SECONDS:.0f} s: {what}\n{self._log_end()}")
            time.sleep(0.5)
        self._say(f"{what}: after {time.monotonic() - began:.1f} s")

    def _alive(self, daemon: "subprocess.Popen[bytes]") -> bool:
        if daemon.poll() is not None:
            raise FailedError(f"relayd has ended:\n{self._log_end()}")
        return True

    def _lines(self) -> list[dict[str, Any]]:
        whole = self._log.read_text("utf-8", "replace").rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def _said(self) -> set[str]:
        return {str(line["event"]) for line in self._lines()}

    def _settled(self) -> Counter[str]:
        """Messages by the reason that they ended with."""
        return Counter(str(line["reason"]) for line in self._lines() if line["event"] == "message_settled")

    def _sent(self) -> int:
        return self._settled()["forwarded"]

    def _told(self) -> set[str]:
        return set(self._settled())

    def _log_end(self) -> str:
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-15:]) if self._log.exists() else ""


def settings(where: Where, names: Names, made: Made, folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Of the trial's relayd."""
    found = {
        "AWS_REGION": where.region,
        "AWS_DEFAULT_REGION": where.region,
        "RELAYD_QUEUE_URL": made.queue_url,
        "RELAYD_EVENTS_QUEUE_URL": made.events_queue_url,
        "RELAYD_DATABASE_URL": f"sqlite:///{folder / 'relayd.db'}",
        "RELAYD_MAIL_DOMAINS": where.domain,
        "RELAYD_TOPIC_ARNS": ",".join(names.topic_arn(name) for name in names.queues),
        "RELAYD_BUCKETS": names.bucket,
        "RELAYD_CONFIGURATION_SET": names.configuration_set,
        "RELAYD_SECRET": secrets.token_hex(32),
        "RELAYD_HTTP_ADDRESS": "127.0.0.1:0",
        # So that the stop does not wait long for the last poll.
        "RELAYD_WAIT_SECONDS": "1",
        "RELAYD_LOG_FORMAT": "json",
        # A net under everything else: an owner, of whom there is one for each mailbox, gets no more than this.
        "RELAYD_DAILY_MAILS": "2",
        "RELAYD_DAILY_REPLIES": "0",
    }
    # For an emulator only: AWS's certificate is fetched.
    certificate = environ.get("RELAYD_SNS_CERTIFICATE_FILE")
    return found | ({"RELAYD_SNS_CERTIFICATE_FILE": certificate} if certificate else {})


def mail(mask: str, fate: str) -> bytes:
    """A small mail from nobody: example.com takes no mail."""
    return (
        f"From: relayd smoke test <smoke@example.com>\r\nTo: {mask}\r\nSubject: relayd smoke test: {fate}\r\n"
        f"Message-ID: <{secrets.token_hex(12)}@example.com>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n\r\nTo SES's simulator.\r\n"
    ).encode()
