"""Sends the samples: mails through the SMTP door over a few connections, odd messages straight to topic and queue."""

import smtplib
import threading
import time
from collections.abc import Callable, Iterator
from typing import assert_never

from relayd.sandbox.interrupt import Interrupt
from relayd.sandbox.outcomes import Tally
from relayd.sandbox.receiving import Accepted
from relayd.sandbox.samples import Sample
from relayd.sandbox.world import Store

CONNECTIONS = 4
SMTP_SECONDS = 60.0
PAUSE_SECONDS = 15.0
"""For a bounce to be told, and to be heard of."""


class Feeder:
    """Threads that send until the samples are used up or `stop` is set."""

    def __init__(
        self,
        samples: Iterator[Sample],
        tally: Tally,
        store: Store,
        *,
        in_flight: int,
        smtp_port: int,
        arrival: Callable[[str], Accepted],
        paused: Callable[[str], bool],
        stop: Interrupt,
    ) -> None:
        """At most `in_flight` samples are on their way at once. `arrival` tells of a mail that the door has let in,
        by its id; `paused`, whether mail to a mailbox is held back.
        """
        self._in_flight = in_flight
        self._samples = samples
        self._tally = tally
        self._store = store
        self._smtp_port = smtp_port
        self._arrival = arrival
        self._paused = paused
        self._stop = stop
        self._turn = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, name=f"feeder-{number}", daemon=True) for number in range(CONNECTIONS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def busy(self) -> bool:
        """Whether there is more to send."""
        return any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        connection = _Connection(self._smtp_port)
        try:
            while (sample := self._next()) is not None:
                while not self._tally.wait_below(self._in_flight, 0.2):
                    if self._stop.is_set():
                        return
                if sample.paused:
                    self._await_pause(sample.paused)
                self._send(sample, connection)
        finally:
            connection.close()

    def _next(self) -> Sample | None:
        with self._turn:
            return None if self._stop.is_set() else next(self._samples, None)

    def _await_pause(self, mailbox: str) -> None:
        """The others go on meanwhile. One that does not come shows in how the sample ends."""
        deadline = time.monotonic() + PAUSE_SECONDS
        while not self._paused(mailbox) and time.monotonic() < deadline:
            if self._stop.wait(0.1):
                return

    def _send(self, sample: Sample, connection: "_Connection") -> None:
        if sample.route == "door":
            try:
                mail_id = connection.send(sample)
            except (OSError, smtplib.SMTPException) as error:
                # A refused mail is a finding about that mail; the others go on.
                self._tally.refused(sample, f"{type(error).__name__} {error}")
                connection.close()
                return
            self._tally.expect(mail_id, sample, self._arrival(mail_id).published_at)
            return
        self._tally.expect(sample.marker, sample, time.time())
        match sample.route:
            case "topic" | "foreign topic":
                self._store.publish_odd(sample.data.decode(), foreign=sample.route == "foreign topic")
            case "queue":
                self._store.enqueue_odd(sample.data.decode())
            case _:
                assert_never(sample.route)


class _Connection:
    """An SMTP connection that is opened when it is needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._smtp: smtplib.SMTP | None = None

    def send(self, sample: Sample) -> str:
        """Send one mail exactly as it is; returns the id that SES receiving gave it."""
        if self._smtp is None:
            self._smtp = smtplib.SMTP("127.0.0.1", self._port, local_hostname="samples.example", timeout=SMTP_SECONDS)
            self._smtp.ehlo()
        smtp = self._smtp
        options = [] if sample.data.isascii() else ["BODY=8BITMIME"]
        _expect(250, smtp.mail(sample.source, options))
        for recipient in sample.recipients:
            _expect(250, smtp.rcpt(recipient))
        # Bytes go out as they are; only dots at the beginning of lines are doubled.
        reply = _expect(250, smtp.data(sample.data))
        return reply.rpartition(" ")[2]

    def close(self) -> None:
        smtp, self._smtp = self._smtp, None
        if smtp is not None:
            smtp.close()


def _expect(code: int, answer: tuple[int, bytes]) -> str:
    if answer[0] != code:
        raise smtplib.SMTPResponseException(*answer)
    return answer[1].decode("ascii", "replace")
