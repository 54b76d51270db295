"""A proxy in front of the emulated AWS that is slow, hangs or loses answers on request: what a network does."""

import http.client
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Gate:
    """One endpoint. `delay` seconds are spent before the call is passed on, `delay_answer` before its answer is."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.delay = 0.0
        self.delay_answer = 0.0
        self.drop_answers = 0
        self.status: int | None = None
        self.passed = 0
        self.open = 0
        self.released = threading.Event()
        self._lock = threading.Lock()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def pass_on(self) -> None:
                gate.answer(self)

            do_GET = do_HEAD = do_POST = do_PUT = pass_on

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A client that was killed: expected here."""

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def hang(self) -> None:
        """Let every call wait until `release`."""
        self.delay = 3600.0
        self.released.clear()

    def release(self) -> None:
        self.delay = 0.0
        self.released.set()

    def close(self) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        with self._lock:
            self.open += 1
        try:
            if self.delay:
                self.released.wait(self.delay)
            if self.status is not None:
                request.send_response(self.status)
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
            self._pass_on(request, body)
        finally:
            with self._lock:
                self.open -= 1

    def _pass_on(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        upstream = http.client.HTTPConnection(self.upstream.hostname or "", self.upstream.port, timeout=60)
        upstream.request(request.command, request.path, body, dict(request.headers.items()))
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        with self._lock:
            self.passed += 1
            # Reads are answered: whoever looks at the account meanwhile is not who shall be kept in doubt.
            drop = self.drop_answers > 0 and request.command != "GET"
            self.drop_answers -= drop
        if drop:
            request.connection.close()
            request.close_connection = True
            return
        if self.delay_answer:
            time.sleep(self.delay_answer)
        request.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection", "server", "date"):
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(data) if request.command != "HEAD" else 0))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(data)
