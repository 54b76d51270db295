"""What is kept of an error until its message is settled: what it says, and not the mail that it went past."""

import weakref

import pytest

from relayd.attempt import Attempt
from relayd.debts import Debts
from relayd.errors import HoldError, LeaseLostError, RelaydError, TransientError
from relayd.model.message import Message
from tests.fakes.clock import VirtualClock
from tests.fakes.ledger import FakeLedger


class Mail:
    """Many megabytes."""


def met(attempt: Attempt, error: Exception) -> "weakref.ref[Mail]":
    """The error, in an attempt that has a mail in hand."""
    mail = Mail()
    known = weakref.ref(mail)
    try:
        try:
            raise OSError
        except OSError:
            raise error from None
    except Exception as found:
        attempt.failed_whole(found)
    return known


@pytest.mark.parametrize(
    "error",
    [
        TransientError("ses_unavailable", dependency="ses"),
        TransientError("ses_throttled", dependency="ses", charged=False),
        HoldError("ses", "ses_sending_paused"),
        HoldError("ses", "ses_address_not_verified", wide=False),
        LeaseLostError(),
        ZeroDivisionError(),
    ],
    ids=lambda error: error.reason if isinstance(error, RelaydError) else type(error).__name__,
)
def test_an_error_that_is_kept_holds_no_mail(error: Exception) -> None:
    """The memory of the mail is promised to another one as soon as the attempt has ended, so the mail has to be gone:
    at once, and not when Python next looks for cycles.
    """
    attempt = Attempt(
        Message("m1", "r1", "body"),
        FakeLedger(VirtualClock()),
        retry_seconds=3600.0,
        doubt_seconds=1.0,
        jitter=0.5,
        debts=Debts(),
    )
    mail = met(attempt, error)
    worked = attempt.conclude()
    assert mail() is None
    assert worked.reason
