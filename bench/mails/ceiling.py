"""What the fake AWS can do: raw keep-alive connections, no SDK, the calls of a mail in their usual proportion."""

import asyncio
import base64
import json
import time
from typing import Any

import uvloop

from bench.cloud import Wire
from bench.mails.measuring import Door
from bench.mails.post import ACCOUNT, BUCKET, body_of, head_of, key_of

CONNECTIONS = 16
BATCH = 10


class _Load:
    """By ten mails: a receive, ten gets, ten sends, a delete."""

    def __init__(self, port: int, size: int, seconds: float) -> None:
        self._port = port
        self._seconds = seconds
        self._queue = {"QueueUrl": f"http://127.0.0.1:{port}/{ACCOUNT}/bench"}
        mail = base64.b64encode(head_of(0) + body_of(size)).decode()
        self._send = self._request(
            "POST", "/v2/email/outbound-emails", json.dumps({"Content": {"Raw": {"Data": mail}}}).encode()
        )
        self._get = self._request("GET", f"/{BUCKET}/{key_of(0)}", b"")
        self._receive = self._sqs("ReceiveMessage", MaxNumberOfMessages=BATCH)
        self.requests = 0

    async def run(self) -> float:
        """Seconds."""
        loop = asyncio.get_running_loop()
        wires = [(await loop.create_connection(Wire, "127.0.0.1", self._port))[1] for _ in range(CONNECTIONS)]
        began = time.perf_counter()
        await asyncio.gather(*(self._work(wire, began + self._seconds) for wire in wires))
        return time.perf_counter() - began

    async def _work(self, wire: Wire, until: float) -> None:
        while time.perf_counter() < until:
            messages = json.loads(await wire.ask(self._receive)).get("Messages", ())
            for _ in range(BATCH):
                await wire.ask(self._get)
                await wire.ask(self._send)
            entries = [{"Id": str(at), "ReceiptHandle": one["ReceiptHandle"]} for at, one in enumerate(messages)]
            await wire.ask(self._sqs("DeleteMessageBatch", Entries=entries))
            self.requests += 2 + 2 * BATCH

    def _sqs(self, operation: str, **told: Any) -> bytes:
        target = f"X-Amz-Target: AmazonSQS.{operation}\r\nContent-Type: application/x-amz-json-1.0\r\n"
        return self._request("POST", "/", json.dumps(self._queue | told).encode(), target)

    def _request(self, method: str, path: str, body: bytes, more: str = "") -> bytes:
        return f"{method} {path} HTTP/1.1\r\nHost: bench\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


def ceiling(fake: Door, size: int, seconds: float) -> dict[str, Any]:
    """Requests and mails that it answers in a second, and its processor time for one of each."""
    door = fake.another()
    try:
        door.ask("fresh", size=size)
        # Enough of them, for a receive that finds nothing is cheaper.
        count = int(MOST * seconds)
        door.ask("put", count=count, rate=0)
        before = door.ask("run")
        load = _Load(int(door.url.rpartition(":")[2]), size, seconds)
        took = uvloop.run(load.run())
        used = door.ask("run")["cpu"] - before["cpu"]
    finally:
        door.ask("close")
    mails = load.requests / (2 + 2 * BATCH) * BATCH
    return {
        "requests_per_second": int(load.requests / took),
        "cpu_us_per_request": round(used / load.requests * 1e6, 1),
        "mails_per_second": int(mails / took),
        "cpu_ms_per_mail": round(used / mails * 1e3, 3),
    }


MOST = 6_000
"""Mails a second that it is asked for at most."""
