"""The real mail store against a scripted S3: bounded reads, and what each answer comes to."""

import time
from typing import Any

import pytest

from relayd.adapters.aws import Timeouts, client
from relayd.adapters.s3 import S3MailStore, check_bucket
from relayd.errors import HoldError, PermanentError, RelaydError, TransientError
from relayd.model.notification import S3Content
from relayd.runtime.clock import SystemClock
from tests.adapters.scripted_server import Answer, Hang, Reset, ScriptedServer, Step, xml_error
from tests.contract.moto_server import MotoServer, fake_session

SESSION = fake_session()
SECRET = "someone@private.example"
CONTENT = S3Content("mail-bucket", "inbound/1")
MAIL = b"Subject: hello\r\n\r\n" + b"x" * 300_000


def s3(endpoint: str, read: float = 5.0) -> Any:
    return client("s3", pool=2, timeouts=Timeouts(connect=0.3, read=read), session=SESSION, endpoint=endpoint)


def store(endpoint: str, *, read: float = 5.0, deadline: float = 5.0, max_bytes: int = 1_000_000) -> S3MailStore:
    return S3MailStore(s3(endpoint, read), clock=SystemClock(), read_deadline=deadline, max_bytes=max_bytes)


def any_size(size: int) -> None:
    """An `admit` that lets everything through."""


def failure(*steps: Step, read: float = 5.0, deadline: float = 5.0) -> RelaydError:
    with ScriptedServer(*steps) as server:
        with pytest.raises(RelaydError) as caught:
            store(server.endpoint, read=read, deadline=deadline).fetch(CONTENT, any_size)
        assert len(server.requests) <= 1, "one attempt per call"
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value


def test_a_connection_is_used_again_after_a_whole_read() -> None:
    """Reading a mail to its end leaves the connection for the next one."""
    with ScriptedServer(Answer(body=MAIL)) as server:
        one = store(server.endpoint)
        for _ in range(3):
            assert one.fetch(CONTENT, any_size) == MAIL
        assert {request.connection for request in server.requests} == {1}


def test_a_refused_mail_is_not_downloaded() -> None:
    """When `admit` raises, the connection is closed: its rest is not worth reading."""

    class RefusedError(Exception):
        pass

    def refuse(size: int) -> None:
        assert size == len(MAIL)
        raise RefusedError

    with ScriptedServer(Answer(body=MAIL)) as server:
        one = store(server.endpoint)
        for _ in range(3):
            with pytest.raises(RefusedError):
                one.fetch(CONTENT, refuse)
        assert [request.connection for request in server.requests] == [1, 2, 3]


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (xml_error(404, "NoSuchKey", SECRET), TransientError, "content_missing"),
        (Answer(404), TransientError, "content_missing"),
        (xml_error(404, "NoSuchBucket"), HoldError, "bucket_missing"),
        (xml_error(403, "AccessDenied", f"{SECRET} may not"), HoldError, "access_denied"),
        (Answer(403), HoldError, "access_denied"),
        (xml_error(403, "KMS.AccessDeniedException"), HoldError, "key_unusable"),
        (xml_error(400, "KMS.DisabledException"), HoldError, "key_unusable"),
        (xml_error(400, "KMS.NotFoundException"), HoldError, "key_unusable"),
        (xml_error(403, "InvalidObjectState"), PermanentError, "archived"),
        (xml_error(400, "KeyTooLongError"), PermanentError, "s3_impossible_name"),
        (xml_error(503, "SlowDown"), TransientError, "s3_throttled"),
        (xml_error(500, "InternalError"), TransientError, "s3_unavailable"),
        (Answer(502, b"<html>bad gateway</html>"), TransientError, "s3_unavailable"),
        (xml_error(400, "ExpiredToken"), HoldError, "credentials_refused"),
        (xml_error(403, "InvalidAccessKeyId"), HoldError, "credentials_refused"),
        (xml_error(403, "SignatureDoesNotMatch"), HoldError, "credentials_refused"),
        (xml_error(403, "RequestTimeTooSkewed"), HoldError, "credentials_refused"),
        (Answer(400, b"<not><xml>"), TransientError, "s3_unavailable"),
        (xml_error(400, "InventedYesterday"), TransientError, "s3_unavailable"),
        (Answer(body=b"x" * 1_000_001), PermanentError, "too_large"),
        (Answer(body=b"x", headers={"x-amz-meta-x-amz-key-v2": "k"}), PermanentError, "client_side_encrypted"),
        (Answer(body=b"x", headers={"x-amz-meta-x-amz-key": "k"}), PermanentError, "client_side_encrypted"),
        (Answer(body=MAIL[:1000], length=len(MAIL)), TransientError, "s3_truncated"),
        (Reset(after_request=True), TransientError, "s3_unreachable"),
    ],
)
def test_each_answer_means_what_the_table_says(answer: Step, kind: type[RelaydError], reason: str) -> None:
    """Every error that S3 is known to answer becomes the failure that the queue should see."""
    error = failure(answer)
    assert type(error) is kind
    assert error.reason == reason


@pytest.mark.parametrize(
    ("answer", "wide"),
    [
        (xml_error(403, "AccessDenied"), False),
        (xml_error(404, "NoSuchBucket"), False),
        (xml_error(400, "KMS.DisabledException"), False),
        (xml_error(400, "ExpiredToken"), True),
    ],
)
def test_only_credentials_stop_everybody(answer: Answer, wide: bool) -> None:
    """A denied object may be the only one; refused credentials are everybody's."""
    error = failure(answer)
    assert isinstance(error, HoldError)
    assert error.wide is wide


class TestTime:
    def test_no_answer(self) -> None:
        """An S3 that says nothing costs the read timeout, no more."""
        error = failure(Hang(after_request=True), read=0.2)
        assert (type(error), error.reason) == (TransientError, "s3_timeout")

    def test_a_body_that_stops(self) -> None:
        """A body that stops half-way costs the read timeout."""
        error = failure(Answer(body=b"x" * 1000, length=1000, pause=2), read=0.2)
        assert (type(error), error.reason) == (TransientError, "s3_timeout")

    def test_the_text_of_a_refusal_that_stops(self) -> None:
        """An S3 in trouble says 503, and then nothing more."""
        error = failure(Answer(503, b"x" * 1000, length=1000, pause=2), read=0.2)
        assert (type(error), error.reason) == (TransientError, "s3_timeout")

    def test_a_body_that_trickles(self) -> None:
        """A body whose every byte comes in time, while the whole never does, ends at the deadline."""
        began = time.monotonic()
        error = failure(Answer(body=b"x" * 1000, pause=0.05), read=5, deadline=0.3)
        assert (type(error), error.reason) == (TransientError, "s3_timeout")
        assert time.monotonic() - began < 2

    def test_a_body_that_stops_late(self) -> None:
        """The deadline counts inside the last read too: it does not take a whole read timeout more."""
        began = time.monotonic()
        error = failure(Answer(body=b"x" * 1000, pause=4), read=4, deadline=0.3)
        assert (type(error), error.reason) == (TransientError, "s3_timeout")
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("content", [S3Content("mail-bucket", ""), S3Content("", "k"), S3Content("no such/name", "k")])
def test_impossible_names_ask_nothing(content: S3Content) -> None:
    """A key that would list the bucket, and names that cannot be, are refused without a request."""
    with ScriptedServer(Answer(body=MAIL)) as server:
        with pytest.raises(PermanentError, match="s3_impossible_name"):
            store(server.endpoint).fetch(content, any_size)
        assert server.requests == []


class TestCheckBucket:
    def test_one_that_works(self, moto: MotoServer) -> None:
        """A bucket that is there is no problem."""
        assert check_bucket(moto.relayd_client("s3"), moto.new_bucket()) is None

    def test_one_that_is_not_there(self, moto: MotoServer) -> None:
        """A missing bucket is named, with what to check."""
        problem = check_bucket(moto.relayd_client("s3"), "not-there-at-all")
        assert problem is not None
        assert "not-there-at-all" in problem.subject
        assert "does not exist" in problem.problem
        assert "RELAYD_BUCKETS" in problem.hint

    def test_one_that_is_denied(self) -> None:
        """A denied bucket comes with the permissions it needs."""
        with ScriptedServer(Answer(403)) as server:
            problem = check_bucket(s3(server.endpoint), "mail-bucket")
        assert problem is not None
        assert "s3:ListBucket" in problem.hint

    def test_an_impossible_name(self) -> None:
        """A URL in place of a name is told as such."""
        problem = check_bucket(s3("http://127.0.0.1:1"), "s3://mail-bucket")
        assert problem is not None
        assert problem.subject == "RELAYD_BUCKETS"

    @pytest.mark.parametrize("step", [Answer(503), Reset(after_request=True)])
    def test_an_outage_is_no_problem(self, step: Step) -> None:
        """An outage of S3 must not keep pods from starting."""
        with ScriptedServer(step) as server:
            assert check_bucket(s3(server.endpoint), "mail-bucket") is None
