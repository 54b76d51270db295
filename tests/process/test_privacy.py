"""Nobody's address, subject, header value or body leaves the daemon: its whole output is searched for them."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.process.cloud import Cloud, eventually

pytestmark = pytest.mark.process

CANARIES = (
    "canarysender",
    "canarystranger",
    "canarysource",
    "canarymailbox",
    "canaryowner.example",
    "canarymask",
    "canaryunknown",
    "canarysubject",
    "canaryheader",
    "canarybody",
    "canarydisplay",
    "canarymessageid",
    "canaryattachment",
    "canaryodd",
)
MAIL = (
    b'From: "Canarydisplay" <canarysender@canarystranger.example>\r\nTo: canarymask@mask.example\r\n'
    b"Subject: canarysubject\r\nX-Odd: canaryheader\r\nMessage-ID: <canarymessageid@canarystranger.example>\r\n"
    b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: text/plain\r\n\r\ncanarybody\r\n--b\r\n"
    b'Content-Type: application/octet-stream; name="canaryattachment"\r\n\r\nx\xff\r\n--b--\r\n'
)


class Collector:
    """An OTLP endpoint that keeps every byte it gets."""

    def __init__(self) -> None:
        self.received = b""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.received += body
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_nothing_private_is_in_the_output(cloud: Cloud) -> None:
    """Forwards, discards, refusals by SES with the address in their text, bugs of a mail, odd messages: at debug
    level, with traces on, no canary is in logs, spans, metrics or status."""
    collector = Collector()
    cloud.add_mask("canarymask@mask.example", "canarymailbox@canaryowner.example")
    daemon = cloud.daemon(
        RELAYD_LOG_LEVEL="debug", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="100"
    )
    for number in range(3):
        cloud.receiving.accept("canarysource@x.example", ("canarymask@mask.example",), MAIL + b"%d" % number)
    cloud.receiving.accept("canarysource@x.example", ("canaryunknown@mask.example",), MAIL)
    cloud.clients.sqs.send_message(QueueUrl=cloud.world.queue_url, MessageBody="canaryodd canarysender@x.example")
    inner = {"notificationType": "Received", "mail": {"messageId": "x", "source": "canarysource@x.example"}}
    envelope = {"Type": "Notification", "TopicArn": cloud.world.topic_arn, "Message": json.dumps(inner)}
    cloud.clients.sqs.send_message(QueueUrl=cloud.world.queue_url, MessageBody=json.dumps(envelope))
    assert eventually(lambda: len(cloud.sent()) == 3, 20)
    assert eventually(lambda: cloud.queued() == (0, 0), 20)
    # SES refuses the sender: its error's text names the address.
    cloud.clients.ses.delete_email_identity(EmailIdentity="mask.example")
    try:
        cloud.receiving.accept("canarysource@x.example", ("canarymask@mask.example",), MAIL)
        settled = "message_settled"
        assert eventually(lambda: any(line["reason"].startswith("ses_") for line in daemon.events(settled)), 20)
    finally:
        cloud.clients.ses.create_email_identity(EmailIdentity="mask.example")
    pages = "".join(daemon.get(path)[1] for path in ("/metrics", "/status", "/", "/readyz", "/livez"))
    assert daemon.stop() == 0
    collector.close()
    assert b"SESv2.SendEmail" in collector.received, "the search below would otherwise search nothing"
    assert b"S3.GetObject" in collector.received
    output = (daemon.output() + pages + collector.received.decode("utf-8", "replace")).lower()
    assert [canary for canary in CANARIES if canary in output] == []
