"""A page with stand-ins for what is behind it, served over real HTTP."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPResponse
from typing import Any

from relayd.sandbox.child import Sent
from relayd.sandbox.outcomes import DeadLetter, Ended
from relayd.sandbox.page.app import Sources
from relayd.sandbox.page.book import Book
from relayd.sandbox.page.gauges import Depth, Gauges, Probe, Work
from relayd.sandbox.page.outbox import Form, FormError
from relayd.sandbox.page.server import PageServer
from relayd.sandbox.page.switch import Mode, Service, Switch
from relayd.sandbox.receiving import Accepted
from relayd.sandbox.traces import Span, Traces

TRACE = "a" * 32
NOW = 1_783_324_800.0


def mail_id(number: int) -> str:
    return f"{number:040d}"


@dataclass
class Behind:
    """What the page shows and where it sends: all of it in the test's hands."""

    book: Book = field(default_factory=lambda: Book(clock=lambda: NOW))
    traces: Traces = field(default_factory=Traces)
    depth: Depth = field(default_factory=lambda: Depth(0, 0))
    probe: Probe = field(default_factory=lambda: Probe(True, 1.0, "polling"))
    work: Work | None = field(default_factory=lambda: Work(0, 16, ""))
    forms: list[Form] = field(default_factory=list)
    refusal: FormError | None = None
    modes: list[Mapping[Service, Mode]] = field(default_factory=list)
    locked: str = ""
    sent: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.gauges = Gauges(lambda: self.depth, lambda: self.probe, lambda: self.work, self.book.latency)

    def sources(self) -> Sources:
        return Sources(
            book=self.book,
            traces=self.traces,
            gauges=self.gauges,
            switch=Switch(None if self.locked else self.modes.append, self.locked),
            send=self.send,
            sent_bytes=self.sent.__getitem__,
            masks=lambda: [{"address": "shop@mask.example", "note": "to ada@home.example"}],
            facts={"smtp_port": 2525, "status_url": "http://127.0.0.1:1/", "environment": "/tmp/sandbox/env"},
        )

    def send(self, form: Form) -> list[str]:
        if self.refusal is not None:
            raise self.refusal
        self.forms.append(form)
        return [mail_id(900 + number) for number in range(form.count)]

    def mail(
        self,
        number: int = 1,
        *,
        data: bytes = b"Subject: hello\r\nFrom: you@example.net\r\n\r\nhi\r\n",
        source: str = "you@example.net",
        recipient: str = "shop@mask.example",
        subject: str = "hello",
        trace_id: str = TRACE,
    ) -> str:
        """A mail that came in."""
        span = Span(trace_id, f"{number:016d}", "", "SES receives", NOW, NOW + 0.01, "sandbox", kind="producer")
        self.book.keep(mail_id(number), data)
        self.book.arrived(
            Accepted(mail_id(number), trace_id, source, (recipient,), subject, len(data), NOW + number, span)
        )
        self.traces.add([span])
        return mail_id(number)

    def forwarded(self, number: int = 1, *, data: bytes = b"Subject: hello\r\n\r\nhi\r\n") -> None:
        self.sent[number] = data
        delivery = f"d{number}"
        self.book.sent(
            Sent(
                number,
                f"ses-{number}",
                "t@mask.example",
                ("ada@home.example",),
                {"relayd-delivery": f"{delivery}-1"},
                1.0,
            )
        )
        self.book.ended(self.end(number, "sent", "", delivery))

    def replied(self, number: int, *, data: bytes = b"Subject: hello\r\n\r\nhi\r\n") -> None:
        """The owner's answer went to the stranger."""
        self.sent[number] = data
        tags = {"relayd-delivery": f"r{number}-1"}
        self.book.sent(Sent(number, f"ses-{number}", "shop@mask.example", ("you@example.net",), tags, 1.0))
        end = self.end(number, "sent", delivery=f"r{number}")
        self.book.ended(replace(end, kind="reply", mailbox="you@example.net", mask="shop@mask.example"))

    def notice(self, number: int, *, data: bytes = b"Subject: notice\r\n\r\nhi\r\n") -> str:
        """relayd wrote to an owner."""
        self.sent[number] = data
        tags = {"relayd-delivery": f"n{number}-1"}
        self.book.sent(Sent(number, f"ses-{number}", "noreply@mask.example", ("ada@home.example",), tags, 1.0))
        end = self.end(number, "sent", delivery=f"n{number}")
        notice_id = f"notice-{number}"
        self.book.ended(replace(end, mail_id=notice_id, kind="notice", recipient="", notice="mask_disabled"))
        return notice_id

    def end(self, number: int, state: str, reason: str = "", delivery: str = "d") -> Ended:
        at = NOW + number + 0.25
        return Ended(delivery, mail_id(number), "shop@mask.example", "ada@home.example", state, reason, "ses", 0, at)

    def dead(self, message_id: str, reason: str, body: str) -> None:
        self.book.dead(DeadLetter(message_id, reason, body))


class Visitor:
    """Asks the page, as a browser on it would unless told otherwise."""

    def __init__(self, server: PageServer) -> None:
        self.server = server
        self.host = f"127.0.0.1:{server.port}"

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": self.host, **(headers or {})}.items():
                connection.putheader(name, value)
            if body is not None and "Content-Length" not in (headers or {}):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        answer, body = self.ask("GET", path)
        assert answer.status == 200, body
        return json.loads(body)

    @property
    def token(self) -> str:
        _, body = self.ask("GET", "/")
        return body.decode().partition('name="relayd-token" content="')[2].partition('"')[0]

    def post(self, path: str, value: Any, **headers: str) -> tuple[int, Any]:
        given = {
            "Origin": f"http://{self.host}",
            "Content-Type": "application/json",
            "X-Relayd-Token": self.token,
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        answer, body = self.ask("POST", path, json.dumps(value).encode(), given)
        return answer.status, json.loads(body)


@contextmanager
def served(behind: Behind) -> Iterator[Visitor]:
    server = PageServer(behind.sources(), 0)
    server.start()
    try:
        yield Visitor(server)
    finally:
        server.stop()
