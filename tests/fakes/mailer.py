"""A mailer in memory, in virtual time, that remembers every mail SES would have accepted."""

from dataclasses import dataclass

from relayd.errors import InDoubtError, RelaydError
from relayd.ports import Clock, Outgoing
from tests.fakes.script import Latency, Script


@dataclass(frozen=True, slots=True)
class Send:
    """A mail that was accepted, whether or not the caller ever heard of it."""

    mail: Outgoing
    at: float
    ses_id: str
    answered: bool
    """False: the answer was lost, and the caller got an InDoubtError."""


class FakeMailer:
    """Implements `relayd.ports.Mailer`. Times are the clock's monotonic seconds."""

    def __init__(self, clock: Clock, *, latency: Latency = 0.0, timeout: float | None = None) -> None:
        self._clock = clock
        self._failures: Script[RelaydError] = Script()
        self._lost: Script[InDoubtError] = Script()
        self.latency: Latency = latency
        """Seconds a send takes, or a function of the Outgoing; SES has accepted the mail after half of them."""
        self.timeout = timeout
        """After this many seconds of a slower send the caller gets InDoubtError; the mail may still be accepted."""
        self.calls = 0
        self.open_sends = 0
        self.sent: list[Send] = []

    def fail_with(self, error: RelaydError, *, recipient: str | None = None, times: int = 1) -> None:
        """Let the next sends (to this recipient; None: to any) be refused: nothing is accepted."""
        self._failures.add(recipient, error, times)

    def lose_answers(self, times: int = 1, *, recipient: str | None = None) -> None:
        """Let the next sends be accepted, while the caller gets InDoubtError."""
        self._lost.add(recipient, InDoubtError("ses_answer_lost"), times)

    def send(self, mail: Outgoing) -> str:
        self.calls += 1
        self.open_sends += 1
        try:
            return self._send(mail)
        finally:
            self.open_sends -= 1

    def _send(self, mail: Outgoing) -> str:
        seconds = self.latency(mail) if callable(self.latency) else self.latency
        timeout = seconds if self.timeout is None else self.timeout
        self._clock.sleep(min(seconds / 2, timeout))
        if seconds / 2 > timeout:
            raise InDoubtError("ses_timeout")
        failure = self._failures.take(mail.recipient)
        if failure is not None:
            raise failure
        doubt = self._lost.take(mail.recipient)
        if doubt is None and seconds > timeout:
            doubt = InDoubtError("ses_timeout")
        accepted = Send(mail, self._clock.monotonic(), f"ses-{len(self.sent) + 1}", answered=doubt is None)
        self.sent.append(accepted)
        self._clock.sleep(min(seconds, timeout) - seconds / 2)
        if doubt is not None:
            raise doubt
        return accepted.ses_id
