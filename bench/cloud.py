"""How fast the embedded AWS is, and whether its memory stays flat: requests a second on one core, at several depths.

    python -m bench.cloud [--quick] [--json]

The client is raw keep-alive HTTP over asyncio: boto3 makes about a thousand calls a second and would measure itself.
"""

import argparse
import asyncio
import base64
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import count, repeat
from pathlib import Path
from typing import Any
from urllib.parse import quote

import uvloop

from relayd.sandbox.cloud.client import EmbeddedAws
from relayd.sandbox.cloud.memory import TRIM_SECONDS

CONNECTIONS = 16
DEPTHS = (0, 1_000, 100_000)
BODY = "x" * 2_000
MAIL = b"From: Shop <token@mask.example>\r\nSubject: hello\r\n\r\n" + (b"y" * 76 + b"\r\n") * 130
OBJECT = bytes(range(256)) * 40
LARGE = bytes(1024 * 1024)
AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"


@dataclass(frozen=True)
class Figure:
    operation: str
    depth: int
    per_second: int


class Wire(asyncio.Protocol):
    """One connection: a request goes out when the answer to the last one is complete."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0 or self._answer is None:
            return
        at = self._buffer.find(b"content-length: ", 0, head + 2)
        length = int(self._buffer[at + 16 : self._buffer.find(b"\r\n", at)])
        if len(self._buffer) < head + 4 + length:
            return
        body = bytes(self._buffer[head + 4 : head + 4 + length])
        status = int(self._buffer[9:12])
        self._buffer.clear()
        if status >= 300:
            self._answer.set_exception(RuntimeError(f"{status} {body[:300]!r}"))
        else:
            self._answer.set_result(body)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or RuntimeError("the connection was closed"))

    async def ask(self, request: bytes) -> bytes:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer


class Bench:
    def __init__(self, aws: EmbeddedAws, seconds: float) -> None:
        self._port = int(aws.endpoint.rpartition(":")[2])
        self._pid = aws.pid
        self._seconds = seconds
        self._wires: list[Wire] = []
        self.figures: list[Figure] = []

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            _, wire = await loop.create_connection(Wire, "127.0.0.1", self._port)
            self._wires.append(wire)

    async def all_of(self, requests: Iterator[bytes]) -> list[bytes]:
        """Make these requests over all connections, and return the answers in no order."""
        answers: list[bytes] = []

        async def work(wire: Wire) -> None:
            for request in requests:
                answers.append(await wire.ask(request))  # noqa: PERF401 - the iterator is shared

        await asyncio.gather(*(work(wire) for wire in self._wires))
        return answers

    async def measure(self, operation: str, depth: int, requests: Iterator[bytes]) -> list[bytes]:
        """Make them for as long as a measurement takes, or until there are no more."""
        end = time.perf_counter() + self._seconds
        began = time.perf_counter()
        answers = await self.all_of(_until(requests, end))
        rate = int(len(answers) / (time.perf_counter() - began))
        self.figures.append(Figure(operation, depth, rate))
        return answers

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self._pid}/status").read_text()
        kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
        return round(int(kilobytes) / 1024, 1)

    def request(self, method: str, path: str, body: bytes, **headers: str) -> bytes:
        service = headers.pop("service")
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}", f"Content-Length: {len(body)}"]
        lines += [f"Authorization: {AUTHORIZATION.format(service)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body

    def sqs(self, operation: str, **fields: Any) -> bytes:
        url = f"http://127.0.0.1:{self._port}/123456789012/bench"
        body = json.dumps({"QueueUrl": url, **fields}).encode()
        target = f"AmazonSQS.{operation}"
        return self.request(
            "POST", "/", body, service="sqs", X_Amz_Target=target, Content_Type="application/x-amz-json-1.0"
        )


def _until(requests: Iterator[bytes], end: float) -> Iterator[bytes]:
    while time.perf_counter() < end:
        request = next(requests, None)
        if request is None:
            return
        yield request


async def queue(bench: Bench, depth: int) -> None:
    """Every operation on a queue that holds so many messages besides those of the measurement."""
    await bench.all_of(iter([bench.sqs("DeleteQueue")] if depth else []))
    await bench.all_of(iter([bench.sqs("CreateQueue", QueueName="bench")]))
    await fill(bench, depth)
    if depth == 0:
        await bench.measure("sqs receive, empty", depth, repeat(bench.sqs("ReceiveMessage", MaxNumberOfMessages=10)))
    await bench.measure("sqs send 2 KB", depth, repeat(bench.sqs("SendMessage", MessageBody=BODY)))
    receive = bench.sqs(
        "ReceiveMessage", MaxNumberOfMessages=1, VisibilityTimeout=600, MessageSystemAttributeNames=["All"]
    )
    answers = await bench.measure("sqs receive 1", depth, repeat(receive))
    handles = [one["ReceiptHandle"] for answer in answers for one in json.loads(answer).get("Messages", ())]
    change = (bench.sqs("ChangeMessageVisibility", ReceiptHandle=handle, VisibilityTimeout=900) for handle in handles)
    await bench.measure("sqs change visibility", depth, change)
    await bench.measure("sqs delete", depth, (bench.sqs("DeleteMessage", ReceiptHandle=one) for one in handles))
    await fill(bench, 20_000)
    ten = bench.sqs(
        "ReceiveMessage", MaxNumberOfMessages=10, VisibilityTimeout=600, MessageSystemAttributeNames=["All"]
    )
    answers = await bench.measure("sqs receive 10", depth, repeat(ten))
    await bench.measure("sqs delete batch of 10", depth, delete_batches(bench, answers))


def delete_batches(bench: Bench, answers: list[bytes]) -> Iterator[bytes]:
    for answer in answers:
        messages = json.loads(answer).get("Messages", ())
        entries = [{"Id": str(at), "ReceiptHandle": one["ReceiptHandle"]} for at, one in enumerate(messages)]
        if entries:
            yield bench.sqs("DeleteMessageBatch", Entries=entries)


async def fill(bench: Bench, messages: int) -> None:
    entries = [{"Id": str(at), "MessageBody": BODY} for at in range(10)]
    await bench.all_of(repeat(bench.sqs("SendMessageBatch", Entries=entries), messages // 10))


async def others(bench: Bench) -> None:
    """S3, SES and SNS."""

    def s3(method: str, path: str, body: bytes = b"") -> bytes:
        return bench.request(method, path, body, service="s3")

    await bench.all_of(iter([s3("PUT", "/bench-bucket"), s3("PUT", "/bench-bucket/large", LARGE)]))
    await bench.measure("s3 put 10 KB", 0, (s3("PUT", f"/bench-bucket/{n}", OBJECT) for n in count()))
    await bench.measure("s3 get 10 KB", 0, repeat(s3("GET", "/bench-bucket/0")))
    await bench.measure("s3 get 1 MB", 0, repeat(s3("GET", "/bench-bucket/large")))
    identity = json.dumps({"EmailIdentity": "mask.example"}).encode()
    form = {"service": "sns", "Content_Type": "application/x-www-form-urlencoded"}
    arn = "arn:aws:sns:us-east-1:123456789012:bench"
    await bench.all_of(iter([bench.request("POST", "/v2/email/identities", identity, service="ses")]))
    await bench.all_of(iter([bench.request("POST", "/", b"Action=CreateTopic&Name=bench", **form)]))
    endpoint = "arn:aws:sqs:us-east-1:123456789012:bench"
    subscribe = f"Action=Subscribe&Protocol=sqs&TopicArn={arn}&Endpoint={endpoint}".encode()
    await bench.all_of(iter([bench.request("POST", "/", subscribe, **form)]))
    for name, mail in (("10 KB", MAIL), ("1 MB", MAIL + (b"z" * 76 + b"\r\n") * 13_300)):
        call = {
            "FromEmailAddress": "token@mask.example",
            "Destination": {"ToAddresses": ["owner@home.example"]},
            "Content": {"Raw": {"Data": base64.b64encode(mail).decode()}},
        }
        send = bench.request("POST", "/v2/email/outbound-emails", json.dumps(call).encode(), service="ses")
        await bench.measure(f"ses send {name}", 0, repeat(send))
    publish = f"Action=Publish&TopicArn={arn}&Message={quote(BODY)}".encode()
    await bench.measure("sns publish, signed", 0, repeat(bench.request("POST", "/", publish, **form)))


async def memory(bench: Bench, messages: int) -> dict[str, float]:
    """What is left of so many messages when they have been received and deleted."""
    await bench.all_of(iter([bench.sqs("DeleteQueue")]))
    await bench.all_of(iter([bench.sqs("CreateQueue", QueueName="bench")]))
    found: dict[str, float] = {"before_mb": bench.rss_mb()}
    for turn in ("first", "second", "third"):
        await fill(bench, messages)
        found[f"{turn}_full_mb"] = bench.rss_mb()
        receive = bench.sqs("ReceiveMessage", MaxNumberOfMessages=10, VisibilityTimeout=43_000)
        answers = await bench.all_of(repeat(receive, messages // 10))
        await bench.all_of(delete_batches(bench, answers))
        await asyncio.sleep(TRIM_SECONDS + 1)
        found[f"{turn}_empty_mb"] = bench.rss_mb()
    return found


async def run(aws: EmbeddedAws, *, quick: bool) -> dict[str, Any]:
    bench = Bench(aws, 0.5 if quick else 3.0)
    await bench.connect()
    memories = await memory_first(bench)
    for depth in DEPTHS:
        await queue(bench, depth)
    await others(bench)
    return {"connections": CONNECTIONS, "figures": [asdict(one) for one in bench.figures], "memory": memories}


async def memory_first(bench: Bench) -> dict[str, float]:
    await bench.all_of(iter([bench.sqs("CreateQueue", QueueName="bench")]))
    found = await memory(bench, 100_000)
    await bench.all_of(iter([bench.sqs("DeleteQueue")]))
    return found


def show(result: dict[str, Any]) -> None:
    print(f"{'requests a second':26}{'depth':>9}{'rate':>9}")
    for one in result["figures"]:
        print(f"{one['operation']:26}{one['depth']:>9}{one['per_second']:>9}")
    print("memory, MB: " + ", ".join(f"{name[:-3]} {value}" for name, value in result["memory"].items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="half a second for each figure")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    output: Callable[[dict[str, Any]], None] = (lambda found: print(json.dumps(found))) if options.json else show
    with tempfile.TemporaryDirectory() as folder:
        aws = EmbeddedAws(Path(folder) / "aws.log")
        try:
            output(uvloop.run(run(aws, quick=options.quick)))
        finally:
            aws.stop()
            sys.stderr.write((Path(folder) / "aws.log").read_text())


if __name__ == "__main__":
    main()
