"""The page's figures and what it sends: gauges over a daemon's health port, the switch, the outbox."""

import email
import json
from collections.abc import Iterator
from contextlib import contextmanager
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.sandbox.cloud.faults import Rule
from relayd.sandbox.door import Door, open_port
from relayd.sandbox.page.book import Latency
from relayd.sandbox.page.gauges import POINTS, Depth, Gauges, Health, Probe, Work
from relayd.sandbox.page.outbox import MOST, Form, FormError, Outbox
from relayd.sandbox.page.switch import MODES, Mode, Switch, rules
from relayd.sandbox.receiving import Receiving, Verdicts, header_fields

FORM = {
    "from": "you@example.net",
    "to": "shop@mask.example",
    "subject": "hi",
    "text": "hello",
    "html": "",
    "verdict": "",
}


@contextmanager
def daemon(status: int, body: bytes) -> Iterator[Health]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield Health(f"127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_living_daemon() -> None:
    """What /livez and /status say, and how long the answer took."""
    told = {"live": True, "reason": "polling", "in_flight": 3, "slots": 16, "held": {"s3": "denied"}}
    with daemon(200, json.dumps(told).encode()) as health:
        probe = health.probe()
        assert (probe.ok, probe.state) == (True, "polling")
        assert probe.ms > 0
        assert health.work() == Work(3, 16, "s3")


@pytest.mark.parametrize(("status", "body"), [(503, b'{"reason": "wedged"}'), (200, b"<html>"), (200, b"[]")])
def test_a_daemon_that_is_not_well(status: int, body: bytes) -> None:
    """A refusal and nonsense count as no: the page must not call them well."""
    with daemon(status, body) as health:
        assert not health.probe().ok
        assert health.work() is None


def test_a_daemon_that_is_gone() -> None:
    """No answer is an answer too."""
    health = Health(f"127.0.0.1:{open_port()}")
    assert not health.probe().ok
    assert health.work() is None


def test_gauges_count_and_forget() -> None:
    """Two minutes are kept, all answers are counted, and a queue that cannot be asked is told as unknown."""
    depths: list[Depth | Exception] = [Depth(2, 1), OSError()]
    probes = [Probe(True, 1.0, ""), Probe(False, 9.0, "")]

    def depth() -> Depth:
        found = depths[0] if len(depths) == 1 else depths.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    gauges = Gauges(
        depth, lambda: probes[0] if len(probes) == 1 else probes.pop(0), lambda: None, lambda: Latency(5, 5, 1)
    )
    for _ in range(POINTS + 10):
        gauges.look()
    points = gauges.points(0)
    assert len(points) == POINTS
    assert points[-1].depth is None
    assert [point.number for point in gauges.points(POINTS + 8)] == [POINTS + 9, POINTS + 10]
    assert (gauges.lives().asked, gauges.lives().ok, gauges.lives().slowest_ms) == (POINTS + 10, 1, 9.0)


@pytest.mark.parametrize("mode", MODES)
def test_every_position_is_one_that_the_emulator_knows(mode: Mode) -> None:
    """Each rule is understood, and strikes what relayd asks of S3 and SES; none strikes the storing of new mail."""
    made = [Rule(rule, number, 0.0) for number, rule in enumerate(rules({"s3": mode, "ses": mode}))]
    struck = {call for call in ("s3:GetObject", "ses:SendEmail", "s3:PutObject", "sqs:ReceiveMessage")
              if any(rule.strikes(call, "bucket/key", 0.0) for rule in made)}  # fmt: skip
    assert struck == (set() if mode == "normal" else {"s3:GetObject", "ses:SendEmail"})


def test_a_switch_that_could_not_be_moved_stays() -> None:
    """The page shows what is, not what was asked for."""

    def refuse(modes: Any) -> None:
        raise OSError

    switch = Switch(refuse)
    with pytest.raises(OSError):
        switch.move("s3", "fail")
    assert switch.position().modes["s3"] == "normal"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"from": "nobody"}, "from"),
        ({"from": "a@b\r\nBcc: c@d"}, "from"),
        ({"from": "<a@b>"}, "from"),
        ({"from": "ü@example.net"}, "from"),
        ({"to": ""}, "to"),
        ({"to": ["shop@mask.example"]}, "to"),
        ({"subject": "a\r\nX: b"}, "subject"),
        ({"subject": "x" * 501}, "subject"),
        ({"text": 5}, "text"),
        ({"verdict": "spam, virus"}, "verdict"),
        ({"verdict": ["spam"]}, "verdict"),
        ({"count": 0}, "count"),
        ({"count": MOST + 1}, "count"),
        ({"count": "1"}, "count"),
        ({"count": True}, "count"),
    ],
)
def test_what_cannot_be_sent(wrong: dict[str, Any], field: str) -> None:
    """Refused with the field's name, before any of it reaches the door."""
    with pytest.raises(FormError) as refused:
        Form.of({**FORM, **wrong})
    assert refused.value.field_name == field


def test_the_mail_says_what_the_form_said() -> None:
    """Both bodies, the verdict that the sandbox's SES will find, and numbers on copies."""
    form = Form.of({**FORM, "subject": "Grüße", "html": "<p>é</p>", "verdict": "dmarc-reject", "count": 2})
    data = form.mail(2)
    mail = email.message_from_bytes(data, policy=default)
    assert mail["Subject"] == "Grüße (2 of 2)"
    assert [part.get_content().strip() for part in mail.iter_parts()] == ["hello", "<p>é</p>"]
    assert Verdicts.of(data, header_fields(data)).dmarc_policy == "reject"


@given(st.text(max_size=80), st.text(max_size=200))
def test_any_text_is_a_mail_or_is_refused(subject: str, text: str) -> None:
    """No text in a form can make a header field of its own."""
    try:
        form = Form.of({**FORM, "subject": subject, "text": text})
    except FormError:
        return
    names = [name for name, _ in header_fields(form.mail(1))]
    assert names == [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Content-Type",
        "Content-Transfer-Encoding",
        "MIME-Version",
    ]


class Shelf:
    """Stands for S3 and SNS."""

    bucket, topic_arn = "bucket", "arn:aws:sns:us-east-1:123456789012:topic"

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}

    def put(self, key: str, data: bytes) -> None:
        self.stored[key] = data

    def publish(self, text: str, traceparent: str) -> None:
        pass


def test_the_outbox_goes_through_the_door() -> None:
    """The same way as any program's mail; a refusal comes back in the door's own words."""
    shelf = Shelf()
    kept: dict[str, bytes] = {}
    door = Door(Receiving(shelf, kept.__setitem__), ("mask.example",), 0, lambda _: None)
    try:
        outbox = Outbox(door.port)
        ids = outbox.send(Form.of({**FORM, "count": 3}))
        assert set(ids) == set(shelf.stored) == set(kept)
        with pytest.raises(FormError, match=r"takes mail for mask\.example only"):
            outbox.send(Form.of({**FORM, "to": "x@elsewhere.example"}))
    finally:
        door.close()
    with pytest.raises(FormError, match="the door did not take it"):
        outbox.send(Form.of(FORM))
