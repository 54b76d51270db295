"""The probes against scripted services: what counts as working, and what a probe must not conclude."""

from collections.abc import Callable
from typing import Any

import pytest

from relayd.adapters import probes
from relayd.adapters.aws import Timeouts, client
from relayd.errors import HoldError, RelaydError, TransientError
from tests.adapters.scripted_server import Answer, Hang, Reset, ScriptedServer, Step, json_error
from tests.contract.moto_server import fake_session

SESSION = fake_session()
ACCOUNT = b'{"SendQuota": {"Max24HourSend": %d, "MaxSendRate": 14, "SentLast24Hours": %d}, "SendingEnabled": %s}'


def s3(endpoint: str) -> Any:
    return client("s3", pool=1, timeouts=Timeouts(connect=0.3, read=0.3), session=SESSION, endpoint=endpoint)


def ses(endpoint: str) -> Any:
    return client("sesv2", pool=1, timeouts=Timeouts(connect=0.3, read=0.3), session=SESSION, endpoint=endpoint)


def raised(probe: Callable[[], None]) -> RelaydError | None:
    try:
        probe()
    except RelaydError as error:
        return error
    return None


def s3_says(*steps: Step, buckets: tuple[str, ...] = ("one",)) -> RelaydError | None:
    """What the probe of S3 raises."""
    with ScriptedServer(*steps) as server:
        return raised(probes.s3_probe(s3(server.endpoint), buckets))


def ses_says(*steps: Step) -> RelaydError | None:
    """What the probe of SES raises."""
    with ScriptedServer(*steps) as server:
        return raised(probes.ses_probe(lambda: probes.account(ses(server.endpoint))))


def answer(quota: int = 50_000, sent: int = 17, enabled: str = "true") -> Answer:
    return Answer(200, ACCOUNT % (quota, sent, enabled.encode()), {"Content-Type": "application/json"})


def test_s3_works() -> None:
    """Each bucket is asked for."""
    assert s3_says(Answer(200), Answer(200), buckets=("one", "two")) is None


@pytest.mark.parametrize("status", [301, 400, 403, 404, 429])
def test_what_s3_says_of_one_bucket_says_nothing_of_the_others(status: int) -> None:
    """HeadBucket needs a right that a get does not, and a bucket that is gone must not hold the mail in the others."""
    assert s3_says(Answer(status), Answer(200), buckets=("gone", "there")) is None


@pytest.mark.parametrize("step", [Answer(500), Answer(503), Hang(after_request=True), Reset(after_request=True)])
def test_s3_is_away(step: Step) -> None:
    """An error of its own, a timeout, a reset: it does not work, for whichever bucket."""
    found = s3_says(Answer(200), step, buckets=("one", "two"))
    assert isinstance(found, TransientError)
    assert (found.dependency, found.charged, found.__cause__) == ("s3", True, None)


def test_s3_cannot_be_reached() -> None:
    """Nobody listens there."""
    with ScriptedServer() as server:
        endpoint = server.endpoint
    with pytest.raises(TransientError, match="s3_"):
        probes.s3_probe(s3(endpoint), ["one"])()


def test_ses_works() -> None:
    """The account may send, and how fast is known."""
    assert ses_says(answer()) is None
    with ScriptedServer(answer(200, 3)) as server:
        assert probes.account(ses(server.endpoint)) == probes.Account(14.0, 200.0, 3.0, True)


@pytest.mark.parametrize("code", ["AccessDeniedException", "AccessDenied"])
def test_a_role_that_may_not_ask_may_send_all_the_same(code: str) -> None:
    """GetAccount has a permission of its own."""
    assert ses_says(json_error(403, code, "not authorized to perform ses:GetAccount")) is None


@pytest.mark.parametrize(
    ("told", "reason", "seconds"),
    [
        (answer(enabled="false"), "ses_sending_paused", None),
        (answer(quota=200, sent=200), "ses_daily_quota", 600.0),
    ],
    ids=["paused", "used up"],
)
def test_an_account_that_may_not_send(told: Answer, reason: str, seconds: float | None) -> None:
    """SES answers, and no mail would get through: held, for the time that it lasts."""
    found = ses_says(told)
    assert isinstance(found, HoldError)
    assert (found.dependency, found.reason, found.wide, found.retry_after) == ("ses", reason, True, seconds)


@pytest.mark.parametrize("told", [answer(quota=-1, sent=10**6), Answer(200, b"{}")], ids=["unlimited", "nothing told"])
def test_an_account_without_a_quota_may_send(told: Answer) -> None:
    """-1 is any number; and what is not told is no reason to hold mail."""
    assert ses_says(told) is None


@pytest.mark.parametrize(
    "step", [json_error(500, "InternalFailure"), Answer(503), Hang(after_request=True), Reset(after_request=True)]
)
def test_ses_is_away(step: Step) -> None:
    """An error of its own, a timeout, a reset: as transient as for a mail."""
    found = ses_says(step)
    assert isinstance(found, TransientError)
    assert (found.dependency, found.charged, found.__cause__) == ("ses", True, None)


def test_credentials_that_are_refused_hold() -> None:
    """They concern everybody, and are told apart from what the role may not ask."""
    found = ses_says(json_error(403, "ExpiredTokenException"))
    assert isinstance(found, HoldError)
    assert found.reason == "credentials_refused"


def test_a_throttled_question_is_uncharged() -> None:
    """GetAccount may be asked about once a second, by all replicas together: it says nothing about sending."""
    found = ses_says(json_error(429, "TooManyRequestsException"))
    assert isinstance(found, TransientError)
    assert not found.charged
