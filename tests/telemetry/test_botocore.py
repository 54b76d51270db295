"""Real botocore calls against a server of our own: what their spans tell, and what they must not."""

import base64
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span, StatusCode

from relayd.model.message import Message
from relayd.telemetry import spans
from relayd.telemetry.aws import guarded

REFUSED = base64.b64encode(b"refuse me")
ADDRESS = "canary.person@canary-domain.example"


class Aws(BaseHTTPRequestHandler):
    """Answers each service as it would, and SES with an error that repeats an address."""

    def log_message(self, *args: object) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        sent = self.rfile.read(length)
        target = self.headers.get("X-Amz-Target", "")
        if "outbound-emails" in self.path and REFUSED in sent:
            self.answer(400, {"message": f"Email address is not verified: {ADDRESS}"}, "MessageRejected")
        elif "outbound-emails" in self.path:
            self.answer(200, {"MessageId": "ses-1"})
        elif target.endswith("ReceiveMessage"):
            message = {
                "MessageId": "m-1",
                "ReceiptHandle": "h",
                "Body": "b",
                "MD5OfBody": "92eb5ffee6ae2fec3ad71c777531578f",
            }
            self.answer(200, {"Messages": [message]})
        else:
            self.answer(200, {"Successful": [{"Id": "0"}, {"Id": "1"}], "Failed": []})

    def do_GET(self) -> None:
        self.answer(200, None, body=b"a letter")

    def answer(self, status: int, document: Any, error: str = "", body: bytes = b"") -> None:
        data = body or json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("x-amzn-RequestId", "r-1")
        if error:
            self.send_header("x-amzn-ErrorType", error)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The URL of an AWS of our own."""
    server = HTTPServer(("127.0.0.1", 0), Aws)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def client(service: str, endpoint: str) -> Any:
    config = Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=2, read_timeout=2)
    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=config,
    )


def send(endpoint: str, data: bytes) -> Any:
    return client("sesv2", endpoint).send_email(
        FromEmailAddress=f"sender-{ADDRESS}",
        Destination={"ToAddresses": [ADDRESS]},
        Content={"Raw": {"Data": data}},
        EmailTags=[{"Name": "relayd-delivery", "Value": "d-1-1"}],
    )


def only(exported: InMemorySpanExporter) -> tuple[ReadableSpan, dict[str, Any]]:
    (span,) = exported.get_finished_spans()
    return span, dict(span.attributes or {})


def test_a_send_names_its_delivery_its_size_and_the_id_that_ses_gave(
    exported: InMemorySpanExporter, endpoint: str
) -> None:
    """Enough to find the mail in SES's own records, and not whom it went to."""
    send(endpoint, b"a letter")
    span, attributes = only(exported)
    assert span.name == "SESv2.SendEmail"
    assert attributes["aws.ses.message_id"] == "ses-1"
    assert (attributes["relayd.delivery"], attributes["relayd.attempt"]) == ("d-1", 1)
    assert attributes["http.request.body.size"] == 8
    assert attributes["aws.request_id"] == "r-1"
    assert "canary" not in span.to_json()


def test_an_ses_error_leaves_its_code_and_none_of_its_text(exported: InMemorySpanExporter, endpoint: str) -> None:
    """SES repeats the address in status text, exception message and stack trace; none of them leaves."""
    with pytest.raises(ClientError, match=ADDRESS):
        send(endpoint, b"refuse me")
    span, attributes = only(exported)
    assert attributes["error.type"] == "MessageRejected"
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert [dict(event.attributes or {}) for event in span.events] == [
        {"exception.type": "botocore.errorfactory.MessageRejected"}
    ]
    assert "canary" not in span.to_json()


def test_a_transport_error_is_told_by_its_type(exported: InMemorySpanExporter) -> None:
    """The hooks get no answer then, and must bear it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(EndpointConnectionError):
            send(f"http://127.0.0.1:{bound.getsockname()[1]}", b"a letter")
    span, attributes = only(exported)
    assert attributes["error.type"] == "botocore.exceptions.EndpointConnectionError"
    assert span.status.status_code is StatusCode.ERROR


def test_a_fetch_names_its_object_and_size(exported: InMemorySpanExporter, endpoint: str) -> None:
    """The incident's question: which object, how large, how long."""
    client("s3", endpoint).get_object(Bucket="received-mail", Key="inbound/0a1b")["Body"].read()
    span, attributes = only(exported)
    assert span.name == "S3.GetObject"
    assert (attributes["aws.s3.bucket"], attributes["aws.s3.key"]) == ("received-mail", "inbound/0a1b")
    assert attributes["http.response.body.size"] == 8


def test_queue_calls_name_their_queue_and_count(exported: InMemorySpanExporter, endpoint: str) -> None:
    """Batches by number, a single message by id."""
    sqs = client("sqs", endpoint)
    url = f"{endpoint}/123456789012/incoming"
    sqs.receive_message(QueueUrl=url)
    sqs.delete_message_batch(
        QueueUrl=url, Entries=[{"Id": "0", "ReceiptHandle": "h"}, {"Id": "1", "ReceiptHandle": "h"}]
    )
    received, deleted = (dict(span.attributes or {}) for span in exported.get_finished_spans())
    assert received["messaging.operation.type"] == "receive"
    assert (received["messaging.message.id"], received["messaging.batch.message_count"]) == ("m-1", 1)
    assert deleted["messaging.operation.type"] == "settle"
    assert deleted["messaging.batch.message_count"] == 2
    for attributes in (received, deleted):
        assert attributes["messaging.system"] == "aws_sqs"
        assert attributes["messaging.destination.name"] == "incoming"
        assert attributes["aws.sqs.queue.url"] == url


def test_a_batch_and_its_messages_lead_to_one_another(exported: InMemorySpanExporter, endpoint: str) -> None:
    """One delete serves ten mails: its span is in nobody's trace, and must be found from each of them."""
    handles = []
    for number in range(2):
        with spans.process_span("incoming", Message(f"m-{number}", "h", "b")):
            handles.append(spans.begin("settle"))
    with spans.batch(handles):
        client("sqs", endpoint).delete_message_batch(
            QueueUrl=f"{endpoint}/123456789012/incoming", Entries=[{"Id": "0", "ReceiptHandle": "h"}]
        )
    for handle in handles:
        handle.end()
    found = exported.get_finished_spans()
    (call,) = (span for span in found if span.name == "SQS.DeleteMessageBatch")
    settles = [span for span in found if span.name == "settle"]
    assert call.parent is None
    assert {link.context.span_id for link in call.links} == {span.context.span_id for span in settles if span.context}
    for settle in settles:
        assert call.context
        assert [link.context.span_id for link in settle.links] == [call.context.span_id]


def test_a_batch_of_one_below_its_own_message_needs_no_link(exported: InMemorySpanExporter, endpoint: str) -> None:
    """A worker that extends its own lease: the call is a child already."""
    with spans.process_span("incoming", Message("m-0", "h", "b")) as process, spans.batch([process.handle]):
        client("sqs", endpoint).change_message_visibility_batch(
            QueueUrl=f"{endpoint}/123456789012/incoming",
            Entries=[{"Id": "0", "ReceiptHandle": "h", "VisibilityTimeout": 10}],
        )
    call, root = exported.get_finished_spans()
    assert call.parent
    assert root.context
    assert call.parent.span_id == root.context.span_id
    assert (len(call.links), len(root.links)) == (0, 0)


@pytest.mark.parametrize(
    ("tag", "delivery", "attempt"), [("d-1-3", "d-1", 3), ("d", "d", None), ("d-x", "d-x", None), ("-3", "-3", None)]
)
def test_a_send_names_its_attempt(
    exported: InMemorySpanExporter, endpoint: str, tag: str, delivery: str, attempt: int | None
) -> None:
    """The client never tries twice: what is tried again is another attempt at the delivery. Whose id stands alone, as
    the spans of SES's events have it.
    """
    client("sesv2", endpoint).send_email(
        Destination={"ToAddresses": [ADDRESS]},
        Content={"Raw": {"Data": b"x"}},
        EmailTags=[{"Name": "relayd-delivery", "Value": tag}],
    )
    _, attributes = only(exported)
    assert (attributes["relayd.delivery"], attributes.get("relayd.attempt")) == (delivery, attempt)


@pytest.mark.usefixtures("telemetry")
def test_a_hook_that_raises_breaks_nothing() -> None:
    """The instrumentation calls hooks unprotected: a send that succeeded would look failed, and be sent again."""
    called = []

    def broken(span: Span, service: str, operation: str, data: Any) -> None:
        called.append(service)
        raise KeyError("no such thing")

    with trace.get_tracer("test").start_as_current_span("call") as span:
        guarded(broken)(span, "sesv2", "SendEmail", None)
    assert called == ["sesv2"]
