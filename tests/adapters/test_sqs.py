"""The real queue against moto and a scripted SQS: batches, errors, dead letters, and what start-up asks."""

import json
from typing import Any

import pytest
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from relayd.adapters.aws import Timeouts, client
from relayd.adapters.queue_facts import describe, region_of
from relayd.adapters.sqs import SqsQueue
from relayd.errors import ConfigurationError, HoldError, RelaydError, TransientError
from relayd.model.message import Message
from relayd.ports import EntryError
from tests.adapters.scripted_server import Answer, Hang, Reset, ScriptedServer, Step, json_error
from tests.contract.moto_server import REGION, MotoServer, fake_session

SESSION = fake_session()
URL = f"https://sqs.{REGION}.amazonaws.com/123456789012/mail"


def sqs(endpoint: str, read: float = 5.0) -> Any:
    return client("sqs", pool=2, timeouts=Timeouts(connect=0.3, read=read), session=SESSION, endpoint=endpoint)


def queue(endpoint: str, read: float = 5.0, dead_letter_url: str | None = f"{URL}-dead") -> SqsQueue:
    return SqsQueue(URL, poll_client=sqs(endpoint, read), client=sqs(endpoint, read), dead_letter_url=dead_letter_url)


def answer(**body: Any) -> Answer:
    return Answer(body=json.dumps(body).encode())


class TestReceive:
    def test_asks_as_it_should(self) -> None:
        """One request with whole seconds, the system attributes and all message attributes."""
        with ScriptedServer(answer()) as server:
            assert queue(server.endpoint).receive(7, 19.2, 44.1) == []
            asked = json.loads(server.requests[0].body)
        assert asked.pop("MessageSystemAttributeNames") == [
            "ApproximateReceiveCount",
            "SentTimestamp",
            "ApproximateFirstReceiveTimestamp",
            "AWSTraceHeader",
        ]
        assert asked == {
            "QueueUrl": URL,
            "MaxNumberOfMessages": 7,
            "WaitTimeSeconds": 20,
            "VisibilityTimeout": 45,
            "MessageAttributeNames": ["All"],
        }

    def test_reads_times_counts_and_text_attributes(self) -> None:
        """SQS's milliseconds become seconds; attributes that are no text are left out."""
        entry = {
            "MessageId": "m1",
            "ReceiptHandle": "h1",
            "Body": "body",
            "Attributes": {
                "ApproximateReceiveCount": "3",
                "SentTimestamp": "1700000000500",
                "ApproximateFirstReceiveTimestamp": "1700000001000",
                "AWSTraceHeader": "Root=1-abc",
            },
            "MessageAttributes": {
                "text": {"DataType": "String", "StringValue": "a"},
                "own": {"DataType": "String.json", "StringValue": "{}"},
                "number": {"DataType": "Number", "StringValue": "1"},
                "binary": {"DataType": "Binary", "BinaryValue": "AAEC"},
            },
        }
        with ScriptedServer(answer(Messages=[entry])) as server:
            [message] = queue(server.endpoint).receive(1, 0, 30)
        assert message == Message(
            message_id="m1",
            receipt_handle="h1",
            body="body",
            receive_count=3,
            sent_at=1_700_000_000.5,
            first_received_at=1_700_000_001.0,
            attributes={"text": "a", "own": "{}"},
            trace_header="Root=1-abc",
        )

    @pytest.mark.parametrize("kept", [0, 30])
    def test_an_answer_cut_short_is_not_an_empty_one(self, kept: int) -> None:
        """It may have held messages; who takes it for "nothing there" believes that the queue has been read."""
        whole = answer(Messages=[{"MessageId": "m1", "ReceiptHandle": "r1", "Body": "x"}]).body
        cut = Answer(body=whole[:kept], length=len(whole))
        with ScriptedServer(cut) as server, pytest.raises(TransientError) as caught:
            queue(server.endpoint).receive(1, 0, 30)
        assert caught.value.reason == "queue_unreadable"

    def test_makes_no_span(self) -> None:
        """An empty long poll leaves nothing in a trace, while other calls do."""
        exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        instrumentor = BotocoreInstrumentor()  # type: ignore[no-untyped-call]
        instrumentor.instrument(tracer_provider=provider)
        try:
            with ScriptedServer(answer(), answer(Successful=[{"Id": "0"}])) as server:
                one = queue(server.endpoint)
                one.receive(1, 0, 30)
                assert exporter.get_finished_spans() == ()
                one.delete(["handle"])
                assert len(exporter.get_finished_spans()) == 1
        finally:
            instrumentor.uninstrument()


@pytest.mark.parametrize(
    ("step", "kind", "reason"),
    [
        (json_error(400, "com.amazonaws.sqs#QueueDoesNotExist"), HoldError, "queue_missing"),
        (json_error(400, "AWS.SimpleQueueService.NonExistentQueue"), HoldError, "queue_missing"),
        (json_error(404, "InvalidAddress"), HoldError, "queue_missing"),
        (json_error(403, "AccessDeniedException"), HoldError, "access_denied"),
        (Answer(403, b"<html>no</html>"), HoldError, "access_denied"),
        (json_error(400, "KMS.AccessDeniedException"), HoldError, "queue_key_unusable"),
        (json_error(403, "InvalidClientTokenId"), HoldError, "credentials_refused"),
        (json_error(403, "ExpiredToken"), HoldError, "credentials_refused"),
        (json_error(400, "OverLimit"), TransientError, "queue_over_limit"),
        (json_error(403, "RequestThrottled"), TransientError, "queue_throttled"),
        (json_error(400, "KMS.ThrottlingException"), TransientError, "queue_unavailable"),
        (Answer(503), TransientError, "queue_unavailable"),
        (Reset(after_request=True), TransientError, "queue_unreachable"),
        (Hang(after_request=True), TransientError, "queue_timeout"),
    ],
)
def test_each_answer_means_what_the_table_says(step: Step, kind: type[RelaydError], reason: str) -> None:
    """Every error of a whole call becomes a hold, where waiting alone will not help, or a transient failure."""
    with ScriptedServer(step) as server:
        with pytest.raises(RelaydError) as caught:
            queue(server.endpoint, read=0.2).receive(10, 0, 30)
        assert len(server.requests) == 1, "one attempt per call"
    assert type(caught.value) is kind
    assert caught.value.reason == reason


class TestEntries:
    def test_ids_are_positions(self) -> None:
        """The same handle twice in a batch is two entries."""
        with ScriptedServer(answer(Successful=[{"Id": "1"}, {"Id": "0"}])) as server:
            assert queue(server.endpoint).delete(["same", "same"]) == [None, None]
            asked = json.loads(server.requests[0].body)
        assert asked["Entries"] == [{"Id": "0", "ReceiptHandle": "same"}, {"Id": "1", "ReceiptHandle": "same"}]

    @pytest.mark.parametrize(
        ("seconds", "asked_for"), [(-1, 0), (0, 0), (0.01, 1), (29.5, 30), (43_200, 43_200), (99_999, 43_200)]
    )
    def test_visibility_is_whole_seconds_within_limits(self, seconds: float, asked_for: int) -> None:
        """Fractions are rounded up, and what SQS would refuse is cut to its limits."""
        with ScriptedServer(answer(Successful=[{"Id": "0"}])) as server:
            queue(server.endpoint).change_visibility([("h", seconds)])
            asked = json.loads(server.requests[0].body)
        assert asked["Entries"] == [{"Id": "0", "ReceiptHandle": "h", "VisibilityTimeout": asked_for}]

    @pytest.mark.parametrize(
        ("code", "text", "gone"),
        [
            ("ReceiptHandleIsInvalid", "", True),
            ("MessageNotInflight", "", True),
            ("AWS.SimpleQueueService.MessageNotInflight", "", True),
            (
                "InvalidParameterValue",
                "Message does not exist or is not available for visibility timeout change.",
                True,
            ),
            ("InvalidParameterValue", "Value h for parameter ReceiptHandle: The receipt handle has expired.", True),
            ("InvalidParameterValue", "Total VisibilityTimeout for the message is beyond the limit", False),
            ("InternalError", "", False),
            ("RequestThrottled", "", False),
        ],
    )
    def test_a_failed_entry_tells_whether_the_lease_is_gone(self, code: str, text: str, gone: bool) -> None:
        """A success of the call may hold failures; those of an ended lease are told apart."""
        failed = [{"Id": "0", "Code": code, "Message": text, "SenderFault": True}]
        with ScriptedServer(answer(Successful=[{"Id": "1"}], Failed=failed)) as server:
            errors = queue(server.endpoint).change_visibility([("a", 1), ("b", 1)])
        assert errors == [EntryError(code, gone), None]

    def test_an_entry_without_an_answer_failed(self) -> None:
        """What is neither among the successes nor the failures has not been done."""
        with ScriptedServer(answer(Successful=[{"Id": "0"}])) as server:
            errors = queue(server.endpoint).delete(["a", "b"])
        assert errors[0] is None
        assert errors[1] is not None
        assert not errors[1].gone


class TestDeadLetter:
    def test_the_trace_header_goes_along(self) -> None:
        """X-Ray's header is a system attribute of the copy too."""
        message = Message("m1", "h1", "body", trace_header="Root=1-abc")
        with ScriptedServer(answer(MessageId="m2")) as server:
            queue(server.endpoint).dead_letter(message, "not_json", "")
            asked = json.loads(server.requests[0].body)
        assert asked["QueueUrl"] == f"{URL}-dead"
        assert asked["MessageSystemAttributes"]["AWSTraceHeader"]["StringValue"] == "Root=1-abc"

    def test_without_a_dead_letter_queue_is_a_hold(self) -> None:
        """Nothing may be rejected where a rejection would destroy it."""
        with pytest.raises(HoldError, match="no_dead_letter_queue"):
            queue("http://127.0.0.1:1", dead_letter_url=None).dead_letter(Message("m", "h", ""), "not_json", "")


class TestDescribe:
    def test_a_queue_with_a_redrive_policy(self, moto: MotoServer) -> None:
        """Name, ARN, visibility, and the dead-letter queue with its count."""
        url, dead_url = moto.new_queue(max_receive_count=1000)
        facts = describe(moto.relayd_client("sqs"), url)
        assert facts.name == url.rpartition("/")[2]
        assert facts.arn.endswith(f":{facts.name}")
        assert facts.visibility_seconds == 45
        assert facts.dead_letter_url == dead_url
        assert facts.max_receive_count == 1000

    def test_a_queue_without_one(self, moto: MotoServer) -> None:
        """A queue without a redrive policy has no dead-letter queue of its own."""
        _, plain = moto.new_queue()
        facts = describe(moto.relayd_client("sqs"), plain)
        assert (facts.dead_letter_url, facts.max_receive_count) == (None, None)
        _, dead = moto.new_queue()
        assert describe(moto.relayd_client("sqs"), plain, dead_letter_url=dead).dead_letter_url == dead

    def test_a_dead_letter_queue_that_is_not_there(self, moto: MotoServer) -> None:
        """Said at the start, and not by the first mail that is rejected."""
        _, plain = moto.new_queue()
        with pytest.raises(ConfigurationError) as caught:
            describe(moto.relayd_client("sqs"), plain, dead_letter_url=f"{plain}-not-there")
        assert [problem.subject for problem in caught.value.problems] == ["RELAYD_DEAD_LETTER_URL"]

    def test_a_missing_queue(self, moto: MotoServer) -> None:
        """A queue that is not there is a problem of the setting, with what to check."""
        url, _ = moto.new_queue()
        problem = configuration_problem(moto.relayd_client("sqs"), f"{url}-not-there")
        assert problem.subject == "RELAYD_QUEUE_URL"
        assert "does not exist" in problem.problem
        assert "AWS_REGION" in problem.hint

    def test_the_wrong_region(self) -> None:
        """A queue of another region is told as that."""
        with ScriptedServer(json_error(400, "AWS.SimpleQueueService.NonExistentQueue")) as server:
            problem = configuration_problem(sqs(server.endpoint), "https://sqs.us-east-2.amazonaws.com/1/mail")
        assert "us-east-2" in problem.problem
        assert "AWS_REGION=us-east-2" in problem.hint

    def test_denied(self) -> None:
        """A denied queue comes with the permissions it needs."""
        with ScriptedServer(json_error(403, "AccessDeniedException")) as server:
            assert "sqs:ReceiveMessage" in configuration_problem(sqs(server.endpoint), URL).hint

    def test_refused_credentials(self) -> None:
        """Credentials that do not work are told as that, not as a problem of the queue."""
        with ScriptedServer(json_error(403, "InvalidClientTokenId")) as server:
            assert configuration_problem(sqs(server.endpoint), URL).subject == "AWS credentials"

    def test_a_dead_letter_queue_that_cannot_be_looked_up(self) -> None:
        """The setting that replaces the look-up is named."""
        policy = json.dumps({"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:1:dead", "maxReceiveCount": "5"})
        attributes = {"QueueArn": "arn:aws:sqs:eu-west-1:1:mail", "VisibilityTimeout": "30", "RedrivePolicy": policy}
        with ScriptedServer(answer(Attributes=attributes), json_error(403, "AccessDenied")) as server:
            assert configuration_problem(sqs(server.endpoint), URL).subject == "RELAYD_DEAD_LETTER_URL"

    def test_an_outage_is_no_configuration_error(self) -> None:
        """What time will mend is for the caller to wait for."""
        with ScriptedServer(Answer(503)) as server, pytest.raises(TransientError):
            describe(sqs(server.endpoint), URL)


def configuration_problem(sqs_client: Any, url: str) -> Any:
    with pytest.raises(ConfigurationError) as caught:
        describe(sqs_client, url)
    [problem] = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/1/mail", "eu-west-1"),
        ("https://eu-west-1.queue.amazonaws.com/1/mail", "eu-west-1"),
        ("https://vpce-0a1-b2c.sqs.eu-west-1.vpce.amazonaws.com/1/mail", "eu-west-1"),
        ("https://sqs.us-gov-west-1.amazonaws.com/1/mail", "us-gov-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/mail", "cn-north-1"),
        ("http://127.0.0.1:5000/1/mail", None),
        ("mail", None),
    ],
)
def test_region_of_a_queue_url(url: str, region: str | None) -> None:
    """AWS's URLs name the region, in more than one place; others name none."""
    assert region_of(url) == region
