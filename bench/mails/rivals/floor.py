"""The floor: what this machine and Python allow at all, with nothing between the job and the sockets.

    python -m bench.mails.rivals.floor

Nobody should run this. Requests are put together by hand and carry a signature that is none; answers are read just far
enough to find their bodies; a mail is not parsed but has a few lines of its head replaced; each worker is a thread with
one kept connection, takes whatever message is next, and fetches more or deletes what is done itself. The distance of a
program to this is what its AWS SDK, its reading of mail and its promises cost together.
"""

import json
import logging
import os
import re
import signal
import socket
import threading
import time
from binascii import b2a_base64
from collections import deque
from urllib.parse import urlsplit

BATCH = 10
WAIT_SECONDS = 20
STOP_SECONDS = 3.0
ROOM = 64 * 1024
"""Bytes that a connection reads into at first; it grows with the answers."""
HEAD_ROOM = 16 * 1024
"""Bytes in which a mail's head must end."""

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_BUCKET = re.compile(r'"bucketName": ?"([^"]+)"')
_KEY = re.compile(r'"objectKey": ?"([^"]+)"')
_FROM = re.compile(rb"(?im)^from:[ \t]*(.*?)\r?\n(?![ \t])", re.DOTALL)
_DROPPED = re.compile(
    rb"(?im)^(?:dkim-signature|return-path|received|sender|bcc|from|reply-to|to|x-ses-[^:\n]*|x-relayd-[^:\n]*):"
    rb".*\n(?:[ \t].*\n)*"
)
_UNQUOTED = bytes.maketrans(b'"\\<>\r\n', b"      ")

log = logging.getLogger(__name__)


class Connection:
    """One kept connection, and one request at a time on it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._room = bytearray(ROOM)

    def ask(self, *pieces: bytes) -> memoryview:
        """The body of the answer, good until the next request. Raises OSError, also where the answer is no 200."""
        if self._socket is None:
            self._socket = socket.create_connection(self._address)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._send(self._socket, pieces)
            return self._answer(self._socket)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """The next request opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def cut(self) -> None:
        """From another thread: whoever waits for an answer gets an error."""
        if self._socket is not None:
            self._socket.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _send(connected: socket.socket, pieces: tuple[bytes, ...]) -> None:
        left = sum(map(len, pieces)) - connected.sendmsg(pieces)
        if left:
            connected.sendall(memoryview(b"".join(pieces))[-left:])

    def _answer(self, connected: socket.socket) -> memoryview:
        got = 0
        end = -1
        while end < 0:
            got += self._read(connected, got)
            end = self._room.find(b"\r\n\r\n", 0, got)
        found = _LENGTH.search(self._room, 0, end + 2)
        if found is None:
            raise OSError("an answer without a length")
        whole = end + 4 + int(found[1])
        if whole > len(self._room):
            self._room = self._room[:got] + bytes(whole - got)
        while got < whole:
            got += self._read(connected, got)
        if not self._room.startswith(b"HTTP/1.1 200"):
            raise OSError(bytes(self._room[:200]))
        return memoryview(self._room)[end + 4 : whole]

    def _read(self, connected: socket.socket, got: int) -> int:
        if got == len(self._room):
            raise OSError("a head that is too long")
        count = connected.recv_into(memoryview(self._room)[got:])
        if count == 0:
            raise OSError("the connection was closed")
        return count


class Requests:
    """Everything of a request that is the same each time, made once."""

    def __init__(self, host: str, region: str, queue_url: str, sender: str, mailbox: str) -> None:
        def head(service: str, more: str = "") -> bytes:
            signed = f"Credential=bench/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0"
            return f"Host: {host}\r\nAuthorization: AWS4-HMAC-SHA256 {signed}\r\n{more}".encode()

        def sqs(operation: str) -> bytes:
            kind = "Content-Type: application/x-amz-json-1.0\r\n"
            return b"POST / HTTP/1.1\r\n" + head("sqs", f"{kind}X-Amz-Target: AmazonSQS.{operation}\r\n")

        queue = {"QueueUrl": queue_url}
        body = json.dumps(queue | {"MaxNumberOfMessages": BATCH, "WaitTimeSeconds": WAIT_SECONDS}).encode()
        self.receive = sqs("ReceiveMessage") + b"Content-Length: %d\r\n\r\n" % len(body) + body
        self._queue = queue
        self._delete = sqs("DeleteMessageBatch")
        self._get = head("s3") + b"\r\n"
        self._send = b"POST /v2/email/outbound-emails HTTP/1.1\r\n" + head("ses", "Content-Type: application/json\r\n")
        told = {"FromEmailAddress": sender, "Destination": {"ToAddresses": [mailbox]}}
        self._opened = json.dumps(told)[:-1].encode() + b',"Content":{"Raw":{"Data":"'
        self._fields = f"Reply-To: {sender}\r\nTo: {mailbox}\r\n".encode()
        self._sender = sender.encode()

    def get(self, bucket: str, key: str) -> bytes:
        return f"GET /{bucket}/{key} HTTP/1.1\r\n".encode() + self._get

    def send(self, mail: memoryview) -> tuple[bytes, ...]:
        """Of a mail as it was stored. Its body is not copied but for its base64."""
        head, rest = self._edited(mail)
        # Base64 goes by three bytes: only then may two pieces of it stand one after the other.
        moved = -len(head) % 3
        first = b2a_base64(head + mail[rest : rest + moved], newline=False)
        second = b2a_base64(mail[rest + moved :], newline=False)
        closed = b'"}}}'
        length = len(self._opened) + len(first) + len(second) + len(closed)
        return self._send + b"Content-Length: %d\r\n\r\n" % length + self._opened + first, second, closed

    def delete(self, handles: list[str]) -> bytes:
        entries = [{"Id": str(at), "ReceiptHandle": handle} for at, handle in enumerate(handles)]
        body = json.dumps(self._queue | {"Entries": entries}).encode()
        return self._delete + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def _edited(self, mail: memoryview) -> tuple[bytes, int]:
        """The new header fields, and where the rest of the mail begins: the empty line."""
        head = bytes(mail[:HEAD_ROOM])
        end = head.find(b"\r\n\r\n") + 2
        if end < 2:
            raise ValueError("a head that is too long")
        head = head[:end]
        found = _FROM.search(head)
        shown = found[1].translate(_UNQUOTED) if found else b""
        edited = b'From: "%s [via relayd]" <%s>\r\n%s%s' % (shown, self._sender, self._fields, _DROPPED.sub(b"", head))
        return edited, end


class Crew:
    """What the workers share."""

    def __init__(self, requests: Requests, address: tuple[str, int], workers: int) -> None:
        self._requests = requests
        self._pending: deque[tuple[str, str]] = deque()
        self._done: deque[str] = deque()
        self._stopping = threading.Event()
        self._polling: set[Connection] = set()
        self._threads = [
            threading.Thread(target=self._work, args=(Connection(address),), daemon=True) for _ in range(workers)
        ]

    def run(self) -> None:
        """Until SIGTERM; then finish the mails in work, and leave the rest in the queue."""
        signal.signal(signal.SIGTERM, lambda *_: self._stopping.set())
        print("ready", flush=True)
        for thread in self._threads:
            thread.start()
        self._stopping.wait()
        for connection in list(self._polling):
            connection.cut()
        until = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self, connection: Connection) -> None:
        while not self._stopping.is_set():
            try:
                self._turn(connection)
            except Exception:
                if not self._stopping.is_set():
                    log.exception("left in the queue")
                    time.sleep(0.1)
        self._delete(connection, 1)

    def _turn(self, connection: Connection) -> None:
        try:
            body, handle = self._pending.popleft()
        except IndexError:
            self._delete(connection, 1)
            self._receive(connection)
            return
        bucket, key = _BUCKET.search(body), _KEY.search(body)
        if bucket is None or key is None:
            raise ValueError("no mail in this message")
        stored = connection.ask(self._requests.get(bucket[1], key[1]))
        connection.ask(*self._requests.send(stored))
        self._done.append(handle)
        self._delete(connection, BATCH)

    def _receive(self, connection: Connection) -> None:
        self._polling.add(connection)
        try:
            if not self._stopping.is_set():
                answer = json.loads(bytes(connection.ask(self._requests.receive)))
                messages = answer.get("Messages", ())
                # Of the two wrappings around the notification only this one hides what is looked for.
                self._pending.extend((one["Body"].replace('\\"', '"'), one["ReceiptHandle"]) for one in messages)
        finally:
            self._polling.discard(connection)

    def _delete(self, connection: Connection, least: int) -> None:
        """What is done, unless that is less than `least`: it goes with the next, at the latest before a poll."""
        while len(self._done) >= least:
            handles: list[str] = []
            try:
                while len(handles) < BATCH:
                    handles.append(self._done.popleft())
            except IndexError:
                # Another worker was quicker.
                pass
            if handles:
                connection.ask(self._requests.delete(handles))


def main() -> None:
    logging.basicConfig()
    told = os.environ
    url = urlsplit(told["AWS_ENDPOINT_URL"])
    address = (url.hostname or "", url.port or 80)
    requests = Requests(url.netloc, told["AWS_REGION"], told["BENCH_QUEUE_URL"], told["BENCH_FROM"], told["BENCH_TO"])
    Crew(requests, address, int(told["BENCH_CONCURRENCY"])).run()


if __name__ == "__main__":
    main()
