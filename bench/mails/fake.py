"""A fake AWS that is so cheap that it is never what is measured: SQS, S3 and SES v2 as a mail forwarder calls them.

    python -m bench.mails.fake [--certificate FILE]

It prints its URL. It is no judge of mails (the embedded AWS of the sandbox is): it hands out messages and objects that
lie ready in memory, keeps leases, counts calls, and knows each mail that is sent by the number in its Message-ID.
Latencies and mails are set by `PUT /bench/...`. `PUT /bench/open` opens another door, with a queue and counts of its
own behind it, so that programs can wait side by side for their turns; only the signed messages are shared.
"""

import argparse
import asyncio
import base64
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvloop

from bench.mails.leases import Answer, Queue, Run
from bench.mails.post import ACCOUNT, MARKER, Post, body_of, head_of

QUEUE = "bench"
REGION = "us-east-1"
LOOKED_AT = 16_384
"""Characters of base64 of a sent mail in which its Message-ID must stand."""
_ATTRIBUTES = {
    "QueueArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{QUEUE}",
    "VisibilityTimeout": "60",
    "MessageRetentionPeriod": "1209600",
    "ReceiveMessageWaitTimeSeconds": "20",
    "RedrivePolicy": json.dumps(
        {"deadLetterTargetArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{QUEUE}-dead", "maxReceiveCount": 1000}
    ),
    "SqsManagedSseEnabled": "true",
}


class Fake:
    """All services behind one door, for any number of connections."""

    def __init__(self, post: Post, open_door: Callable[[], str], close_door: Callable[["Fake"], None]) -> None:
        """`open_door` opens another with a fake of its own and gives its URL; `close_door` closes that of a fake."""
        self._post = post
        self._open_door = open_door
        self._close_door = close_door
        self.run = Run()
        self.queue = Queue(self.run, post.messages)
        self.latency = {"s3": 0.0, "ses": 0.0, "sqs": 0.0}
        self._sqs: dict[bytes, Callable[[dict[str, Any]], Answer]] = {
            b"DeleteMessage": self._delete,
            b"DeleteMessageBatch": self._delete_batch,
            b"ChangeMessageVisibility": self._change,
            b"ChangeMessageVisibilityBatch": self._change_batch,
            b"GetQueueAttributes": self._attributes,
            b"GetQueueUrl": lambda call: [_json({"QueueUrl": f"http://127.0.0.1/{ACCOUNT}/{call['QueueName']}"})],
        }

    def ask(
        self, method: bytes, path: bytes, head: bytes, body: bytes, answer: "Callable[[str, Answer], None]"
    ) -> None:
        """Answer the request, now or later; `answer` is told after which service's latency."""
        at = head.find(b"AmazonSQS.")
        if at >= 0:
            operation = head[at + 10 : head.index(b"\r\n", at)]
            self.run.calls[f"SQS.{operation.decode()}"] += 1
            call = json.loads(body)
            if operation == b"ReceiveMessage":
                wait, visibility = float(call.get("WaitTimeSeconds", 0)), float(call.get("VisibilityTimeout", 60))
                most = int(call.get("MaxNumberOfMessages", 1))
                self.queue.receive(most, wait, visibility, lambda messages: answer("sqs", messages))
                return
            answer("sqs", self._sqs[operation](call))
        elif path == b"/v2/email/outbound-emails":
            self.run.calls["SESv2.SendEmail"] += 1
            answer("ses", self._send(body))
        elif path.startswith(b"/v2/email/"):
            self.run.calls["SESv2.other"] += 1
            answer("ses", [_ACCOUNT])
        elif path.startswith(b"/bench/"):
            answer("", [_json(self._control(path[7:].decode(), json.loads(body or b"null")))])
        elif path.startswith(b"/v1/"):
            self.run.calls["OTLP"] += 1
            answer("", [b""])
        else:
            get = method == b"GET" and path.count(b"/") > 1
            self.run.calls["S3.GetObject" if get else "S3.other"] += 1
            answer("s3", self._object(path) if get else [b""])

    def _object(self, path: bytes) -> Answer:
        number = int(path.partition(b"?")[0][-7:])
        return [head_of(number), body_of(self.run.size)]

    def _send(self, body: bytes) -> Answer:
        start = body.index(b'"', body.index(b'"Data"') + 6) + 1
        chunk = base64.b64decode(body[start : start + LOOKED_AT].partition(b'"')[0])
        found = MARKER.search(chunk)
        if found is None:
            self.run.unknown += 1
            return [b'{"MessageId":"unknown"}']
        number = int(found[1])
        if number in self.run.sent:
            self.run.again += 1
        else:
            self.run.last = self.run.sent[number] = time.time()
        return [b'{"MessageId":"0100018c-%07d-000000"}' % number]

    def _delete(self, call: dict[str, Any]) -> Answer:
        self.queue.delete(call["ReceiptHandle"])
        return [b"{}"]

    def _delete_batch(self, call: dict[str, Any]) -> Answer:
        for entry in call["Entries"]:
            self.queue.delete(entry["ReceiptHandle"])
        return [_json({"Successful": [{"Id": entry["Id"]} for entry in call["Entries"]], "Failed": []})]

    def _change(self, call: dict[str, Any]) -> Answer:
        self.queue.extend(call["ReceiptHandle"], float(call["VisibilityTimeout"]))
        return [b"{}"]

    def _change_batch(self, call: dict[str, Any]) -> Answer:
        done: dict[str, list[dict[str, Any]]] = {"Successful": [], "Failed": []}
        for entry in call["Entries"]:
            if self.queue.extend(entry["ReceiptHandle"], float(entry["VisibilityTimeout"])):
                done["Successful"].append({"Id": entry["Id"]})
            else:
                done["Failed"].append({"Id": entry["Id"], "SenderFault": True, "Code": "ReceiptHandleIsInvalid"})
        return [_json(done)]

    def _attributes(self, call: dict[str, Any]) -> Answer:  # noqa: ARG002
        ready, leased = self.queue.depth
        depths = {"ApproximateNumberOfMessages": str(ready), "ApproximateNumberOfMessagesNotVisible": str(leased)}
        return [_json({"Attributes": _ATTRIBUTES | depths | {"ApproximateNumberOfMessagesDelayed": "0"}})]

    def _put(self, count: int, rate: float) -> None:
        """All at once, or so many a second."""
        begin = self.run.told_of
        self.run.told_of += count
        self._post.sign(self.run.told_of)
        if not rate:
            self.queue.put(range(begin, begin + count))
            return
        loop = asyncio.get_running_loop()
        for at in range(count):
            number = begin + at
            loop.call_later(at / rate, self.queue.put, range(number, number + 1))

    def _control(self, what: str, told: Any) -> Any:
        """`open` another door, `hush` this one's polls and `close` it, begin `fresh` with mails of a size, `sign` the
        messages of the first `most`, `latency` in seconds a service, `put` count mails (`rate` a second), `mark` ends
        the warm-up or a round, `run` tells how far it is, and `result` how it went.
        """
        if what == "open":
            return {"url": self._open_door()}
        if what == "close":
            self._close_door(self)
        elif what == "hush":
            self.queue.hush()
        elif what == "fresh":
            self.run = Run(size=told["size"])
            self.queue = Queue(self.run, self._post.messages)
            body_of(self.run.size)
        elif what == "sign":
            self._post.sign(told["most"])
        elif what == "latency":
            self.latency = told
        elif what == "mark":
            self.run.mark(rewind=told["rewind"])
        elif what == "put":
            self._put(told["count"], told["rate"])
        result = self.run.result() if what == "result" else {}
        return self.run.told() | result | {"depth": self.queue.depth, "cpu": time.process_time()}


_ACCOUNT = json.dumps(
    {
        "SendingEnabled": True,
        "ProductionAccessEnabled": True,
        "EnforcementStatus": "HEALTHY",
        "SendQuota": {"Max24HourSend": 1e9, "MaxSendRate": 1e6, "SentLast24Hours": 0.0},
    }
).encode()


def _json(told: Any) -> bytes:
    return json.dumps(told).encode()


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, one request after the other."""

    def __init__(self, fake: Fake) -> None:
        self._fake = fake
        self._buffer = bytearray()
        self._wanted = 0
        """Bytes of the request, once its head is known."""
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._wanted == 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            at = head.find(b"\r\ncontent-length:")
            length = int(head[at + 17 :].partition(b"\r\n")[0]) if at >= 0 else 0
            self._wanted = end + 4 + length
        if len(self._buffer) < self._wanted:
            return
        end = self._buffer.find(b"\r\n\r\n")
        head, body = bytes(self._buffer[: end + 2]), bytes(self._buffer[end + 4 : self._wanted])
        self._buffer.clear()
        self._wanted = 0
        method, path = head.split(b" ", 2)[:2]
        if method == b"HEAD":
            self._fake.run.calls["S3.other"] += 1
            self._write([b""])
            return
        self._fake.ask(method, path, head, body, self._answer)

    def _answer(self, service: str, pieces: Answer) -> None:
        latency = self._fake.latency.get(service, 0.0)
        if latency:
            asyncio.get_running_loop().call_later(latency, self._write, pieces)
        else:
            self._write(pieces)

    def _write(self, pieces: Answer) -> None:
        if self._transport.is_closing():
            return
        length = sum(map(len, pieces))
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-amzn-RequestId: 4b5cd3c3\r\n"
            b'Last-Modified: Mon, 23 Nov 2026 08:00:00 GMT\r\nETag: "0"\r\ncontent-length: %d\r\n\r\n' % length
        )
        self._transport.writelines([head, *pieces])


class Doors:
    """Each leads to a fake of its own."""

    def __init__(self) -> None:
        self.post = Post()
        self._fakes: dict[Fake, asyncio.Task[asyncio.Server]] = {}

    def open(self) -> str:
        """Its URL."""
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        fake = Fake(self.post, self.open, self.close)
        loop = asyncio.get_running_loop()
        self._fakes[fake] = loop.create_task(loop.create_server(lambda: Connection(fake), sock=listening))
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    def close(self, fake: Fake) -> None:
        """Connections that are open stay so."""
        self._fakes.pop(fake).result().close()

    def expire(self) -> None:
        """Leases run out also when nobody asks."""
        for fake in self._fakes:
            fake.queue.expire()


async def serve(certificate: Path | None) -> None:
    doors = Doors()
    if certificate is not None:
        certificate.write_bytes(doors.post.certificate)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    print(doors.open(), flush=True)
    parent = os.getppid()
    # Nobody needs a fake whose benchmark was killed.
    while not stopped.is_set() and os.getppid() == parent:
        doors.expire()
        with suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--certificate", type=Path, help="where to write the certificate of its SNS")
    options = parser.parse_args()
    uvloop.run(serve(options.certificate))
    sys.stdout.close()


if __name__ == "__main__":
    main()
