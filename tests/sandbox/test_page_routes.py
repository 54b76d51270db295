"""The page over plain HTTP: every route, who may ask, and what strangers' text is wrapped in."""

import json
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection

import pytest

from relayd.model.notice import NOTICE_KINDS
from relayd.rules import feedback, inbound
from relayd.sandbox.page.app import STATIC
from relayd.sandbox.page.book import STATES
from relayd.sandbox.page.outbox import FormError
from relayd.sandbox.page.plumbing import MAX_BODY
from relayd.sandbox.page.words import NOTICES, REASONS
from relayd.sandbox.traces import Span
from tests.sandbox.page_parts import NOW, TRACE, Behind, Visitor, mail_id, served

FORM = {
    "from": "you@example.net",
    "to": "shop@mask.example",
    "subject": "hi",
    "text": "hello",
    "verdict": "",
    "count": 1,
}


@pytest.fixture(scope="module")
def behind() -> Behind:
    return Behind()


@pytest.fixture(scope="module")
def visitor(behind: Behind) -> Iterator[Visitor]:
    html = b"<p>hi</p><link rel=dns-prefetch href=//evil.example><script>1</script>"
    parts = (
        b"--b\r\nContent-Type: text/plain\r\n\r\n<b>text</b>\r\n--b\r\nContent-Type: text/html\r\n\r\n"
        + html
        + b"\r\n--b--\r\n"
    )
    behind.mail(
        1, data=b'Content-Type: multipart/alternative; boundary="b"\r\nX-Secret: 1\r\nSubject: hello\r\n\r\n' + parts
    )
    behind.forwarded(1, data=b"Subject: hello\r\nX-Relayd-Mask: shop@mask.example\r\n\r\nhi\r\n")
    behind.traces.add(
        [Span("b" * 32, "p", "", "process q", NOW, NOW + 0.2, "relayd", ((TRACE, "0" * 15 + "1"),), kind="consumer")]
    )
    behind.mail(2)
    behind.book.ended(behind.end(2, "discarded", "spam"))
    behind.mail(3)
    behind.dead("sqs-1", "not_json", "no <json>")
    behind.gauges.look()
    with served(behind) as visitor:
        yield visitor


def test_the_document_may_load_its_own_files_and_nothing_else(visitor: Visitor) -> None:
    """Script and style only from here, nothing inline, no plug-ins, frames of its own only, framed by nobody."""
    answer, body = visitor.ask("GET", "/")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    for word in (
        "script-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "trusted-types 'none'",
    ):
        assert word in policy
    assert "unsafe" not in policy
    text = body.decode()
    assert "<style" not in text
    assert "style=" not in text
    assert text.count("<script") == text.count('<script type="module" src="/page.js"></script>') == 1
    assert "//" not in text.replace("<!doctype html>", "")


@pytest.mark.parametrize("name", STATIC)
def test_every_file_is_served_and_names_no_other_host(visitor: Visitor, name: str) -> None:
    """Nothing is loaded from elsewhere; the only address in them is SVG's name for itself."""
    answer, body = visitor.ask("GET", f"/{name}")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith(STATIC[name].partition(";")[0])
    assert b"http" not in body.replace(b"http://www.w3.org/2000/svg", b"").replace(b"speaks HTTP", b"")


@pytest.mark.parametrize(
    "path", ["/", "/page.js", "/api/live", "/api/start", f"/api/mails/{mail_id(1)}/received/html", "/nothing"]
)
def test_every_answer_is_locked_down(visitor: Visitor, path: str) -> None:
    """Whatever is asked for: not sniffed, not cached, not told to other sites, and with a policy."""
    answer, _ = visitor.ask("GET", path)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Server" not in answer.headers


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "localhost:1", "127.0.0.1.evil.example:{port}", "", "[::1]:{port}"]
)
@pytest.mark.parametrize("path", ["/", "/api/live", "/page.js"])
def test_a_foreign_name_is_not_answered(visitor: Visitor, host: str, path: str) -> None:
    """DNS rebinding comes with a name of its own."""
    answer, body = visitor.ask("GET", path, headers={"Host": host.format(port=visitor.server.port)})
    assert answer.status == 421
    assert b"relayd-token" not in body


def test_two_host_headers_are_none(visitor: Visitor) -> None:
    """Which of them counts would be a guess."""
    connection = HTTPConnection("127.0.0.1", visitor.server.port, timeout=10)
    connection.putrequest("GET", "/", skip_host=True)
    connection.putheader("Host", visitor.host)
    connection.putheader("Host", visitor.host)
    connection.endheaders()
    assert connection.getresponse().status in (400, 421)
    connection.close()


def test_localhost_by_name_is_us_too(visitor: Visitor) -> None:
    """People type it."""
    assert visitor.ask("GET", "/", headers={"Host": f"localhost:{visitor.server.port}"})[0].status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "https://127.0.0.1:{port}"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"X-Relayd-Token": ""}, 403),
        ({"X-Relayd-Token": "wr\xf6ng"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_another_site_can_do_nothing(visitor: Visitor, behind: Behind, headers: dict[str, str], status: int) -> None:
    """A form or a fetch on any page that the user has open must not send mail nor move the switch."""
    before = len(behind.forms), len(behind.modes)
    made = {name: value.format(port=visitor.server.port) for name, value in headers.items()}
    for path, value in (("/api/send", FORM), ("/api/switch", {"service": "s3", "mode": "fail"})):
        assert visitor.post(path, value, **made)[0] == status
    assert (len(behind.forms), len(behind.modes)) == before


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/api/send", 405),
        ("DELETE", "/", 405),
        ("OPTIONS", "/api/send", 405),
        ("GET", "/api/send", 405),
        ("GET", "/static/page.html", 404),
        ("GET", "/../app.py", 404),
        ("GET", "/%2e%2e/app.py", 404),
        ("GET", "/api/mails/unknown", 404),
        ("GET", f"/api/mails/{mail_id(1)}/7/html", 404),
        ("GET", f"/api/mails/{mail_id(2)}/1/source", 404),
        ("GET", "/api/live?since=x", 400),
        ("GET", "/api/live?since=-1", 400),
        ("GET", f"/api/live?since={'9' * 500}", 400),
    ],
)
def test_what_is_not_there(visitor: Visitor, method: str, path: str, status: int) -> None:
    """Unknown pages, methods, mails, copies of other mails, and numbers that are none."""
    assert visitor.ask(method, path)[0].status == status


def test_head_has_no_body(visitor: Visitor) -> None:
    """The same headers, and nothing more."""
    answer, body = visitor.ask("HEAD", "/")
    assert (answer.status, body) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 500


def test_a_body_is_bounded(visitor: Visitor) -> None:
    """What is larger than a mail that somebody types is refused before it is held in memory."""
    status, told = visitor.post("/api/send", {**FORM, "text": "x" * MAX_BODY})
    assert (status, told) == (413, {"error": "at most 256 KB"})


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000])
def test_nonsense_is_refused(visitor: Visitor, body: bytes) -> None:
    """400, and the page lives on."""
    headers = {"Origin": f"http://{visitor.host}", "Content-Type": "application/json", "X-Relayd-Token": visitor.token}
    assert visitor.ask("POST", "/api/send", body, headers)[0].status == 400


def test_what_is_going_on(visitor: Visitor) -> None:
    """The list, the totals and the figures; with a revision, only what has changed since."""
    live = visitor.get("/api/live")
    assert [mail["state"] for mail in live["mails"]] == ["dead", "waiting", "discarded", "forwarded"]
    assert live["totals"] == dict.fromkeys(STATES, 0) | {
        "waiting": 1, "forwarded": 1, "discarded": 1, "dead": 1, "deliveries": 1,
    }  # fmt: skip
    assert live["mails"][3]["outcomes"][0]["ms"] == 250.0
    assert live["mails"][2]["outcomes"][0]["meaning"] == REASONS["spam"]
    assert live["latency"] == {"last": 250.0, "p50": 250.0, "count": 1}
    assert live["lives"]["ok"] == live["lives"]["asked"] == 1
    assert live["points"][0]["slots"] == 16
    again = visitor.get(f"/api/live?since={live['revision']}&point={live['points'][-1]['number']}")
    assert (again["mails"], again["points"]) == ([], [])


def test_one_mail_with_its_way(visitor: Visitor) -> None:
    """Both copies, and the trace across the link from SES to relayd."""
    mail = visitor.get(f"/api/mails/{mail_id(1)}")
    assert [version["version"] for version in mail["versions"]] == ["received", "1"]
    assert [(row["name"], row["kind"], row["depth"], row["linked"]) for row in mail["trace"]["rows"]][:1] == [
        ("SES receives", "producer", 0, False)
    ]
    linked = next(row for row in mail["trace"]["rows"] if row["linked"])
    assert (linked["name"], linked["kind"], linked["ms"]) == ("process q", "consumer", 200.0)


def test_text_and_source_are_only_ever_text(visitor: Visitor) -> None:
    """As JSON for the page, and as plain text that no browser takes for anything else."""
    letter = visitor.get(f"/api/mails/{mail_id(1)}/received")
    assert letter["text"] == "<b>text</b>"
    assert letter["html"] is True
    answer, body = visitor.ask("GET", f"/api/mails/{mail_id(1)}/received/source")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert body.startswith(b"Content-Type: multipart/alternative")


def test_html_may_do_nothing(visitor: Visitor) -> None:
    """Its own policy forbids scripts and loading, also outside of the frame; tags that lead elsewhere are no tags."""
    answer, body = visitor.ask("GET", f"/api/mails/{mail_id(1)}/received/html")
    directives = answer.headers["Content-Security-Policy"].split("; ")
    assert {"sandbox", "default-src 'none'", "img-src data:", "frame-ancestors 'self'"} <= set(directives)
    assert not any("script" in directive for directive in directives)
    assert b"<x-link rel=dns-prefetch" in body
    assert b"<link" not in body


def test_headers_before_and_after(visitor: Visitor) -> None:
    """What relayd kept, rewrote, removed and added."""
    fields = visitor.get(f"/api/mails/{mail_id(1)}/1/headers")["fields"]
    assert {(field["change"], field["name"]) for field in fields} == {
        ("added", "X-Relayd-Mask"), ("removed", "Content-Type"), ("removed", "X-Secret"), ("kept", "Subject"),
    }  # fmt: skip


def test_a_form_is_sent(visitor: Visitor, behind: Behind) -> None:
    """What was filled in reaches the outbox, and the ids come back."""
    status, told = visitor.post("/api/send", {**FORM, "subject": "one", "count": 3, "verdict": "spam"})
    assert (status, len(told["sent"])) == (200, 3)
    assert (behind.forms[-1].subject, behind.forms[-1].count, behind.forms[-1].verdict) == ("one", 3, "spam")


def test_a_refused_form_names_its_field(visitor: Visitor, behind: Behind) -> None:
    """So that the page can point at it."""
    status, told = visitor.post("/api/send", {**FORM, "from": "nobody"})
    assert (status, told["field"]) == (422, "from")
    behind.refusal = FormError("to", "the door did not take it")
    try:
        assert visitor.post("/api/send", FORM) == (422, {"error": "the door did not take it", "field": "to"})
    finally:
        behind.refusal = None


def test_the_switch_moves(visitor: Visitor, behind: Behind) -> None:
    """Each service by itself; the other stays where it is."""
    assert visitor.post("/api/switch", {"service": "s3", "mode": "slow-20"})[0] == 200
    assert visitor.post("/api/switch", {"service": "ses", "mode": "fail"})[1]["modes"] == {
        "s3": "slow-20",
        "ses": "fail",
    }
    assert behind.modes[-1] == {"s3": "slow-20", "ses": "fail"}
    assert visitor.post("/api/switch", {"service": "s3", "mode": "explode"})[0] == 422
    assert visitor.post("/api/switch", {"service": ["s3"], "mode": "fail"})[0] == 422


def test_a_locked_switch_says_why() -> None:
    """An emulator without faults: the reason is shown, and nothing moves."""
    behind = Behind(locked="moto has no faults")
    with served(behind) as visitor:
        assert visitor.get("/api/live")["switch"] == {
            "modes": {"s3": "normal", "ses": "normal"}, "locked": "moto has no faults",
        }  # fmt: skip
        assert visitor.post("/api/switch", {"service": "s3", "mode": "fail"}) == (409, {"error": "moto has no faults"})


def test_every_discard_is_explained() -> None:
    """A word alone would send a newcomer to the source code."""
    assert set(inbound.REASONS) <= set(REASONS)
    assert set(feedback.FAILURES) <= set(REASONS)
    assert set(NOTICE_KINDS) == set(NOTICES)


def test_whoever_got_a_mail_can_answer_it() -> None:
    """The owner what was forwarded, the stranger what was replied; nobody a notice."""
    behind = Behind()
    behind.mail(1)
    behind.forwarded(1)
    behind.mail(2, source="ada@home.example", recipient="t@mask.example")
    behind.replied(2)
    notice = behind.notice(3)
    with served(behind) as visitor:
        forwarded, replied, told = (visitor.get(f"/api/mails/{one}") for one in (mail_id(1), mail_id(2), notice))
    assert (forwarded["state"], replied["state"], told["state"]) == ("forwarded", "replied", "notice")
    [owner], [stranger] = forwarded["answers"], replied["answers"]
    assert (owner["version"], owner["from"], owner["to"]) == ("1", "ada@home.example", "t@mask.example")
    assert (stranger["version"], stranger["from"], stranger["to"]) == ("2", "you@example.net", "shop@mask.example")
    assert owner["in_reply_to"] == "<ses-1@email.amazonses.com>"
    assert told["answers"] == []


def test_a_notice_is_shown_as_what_it_is() -> None:
    """A line of its own, with the bytes that SES was given, and no mail before it."""
    behind = Behind()
    notice = behind.notice(1, data=b"Subject: Your mask\r\n\r\nwas switched off\r\n")
    with served(behind) as visitor:
        told = visitor.get(f"/api/mails/{notice}")
        assert told["subject"] == "Notice: A mask was switched off, because its mail was called spam twice"
        assert (told["is_mail"], told["is_notice"], told["to"]) == (True, True, ["ada@home.example"])
        assert [one["version"] for one in told["versions"]] == ["1"]
        assert visitor.get(f"/api/mails/{notice}/1")["text"] == "was switched off\r\n"
        assert visitor.ask("GET", f"/api/mails/{notice}/1/headers")[0].status == 404


def test_what_is_held_back_names_its_entry() -> None:
    """So that the page can say how to release it."""
    behind = Behind()
    behind.mail(1)
    behind.book.ended(replace(behind.end(1, "discarded", "spam"), held="abc123"))
    with served(behind) as visitor:
        line = visitor.get("/api/live")["mails"][0]
    assert (line["state"], line["outcomes"][0]["held"]) == ("held", "abc123")


@pytest.mark.parametrize("wrong", ["x", "<a b>", "<a>\r\nBcc: x@y", "<>", 7])
def test_an_answer_names_one_mail(visitor: Visitor, behind: Behind, wrong: object) -> None:
    """Its id goes into a header, as long as SES makes them, so it is one id and nothing else."""
    ses_id = "<01a2088eea4b0000-5e1f0000-0000-4000-a000-088eea4b0000-000000@email.amazonses.com>"
    assert visitor.post("/api/send", {**FORM, "in_reply_to": ses_id})[0] == 200
    mail = behind.forms[-1].mail(1)
    assert f"In-Reply-To: {ses_id}\r\n".encode() in mail
    assert f"References: {ses_id}\r\n".encode() in mail
    status, told = visitor.post("/api/send", {**FORM, "in_reply_to": wrong})
    assert (status, told["field"]) == (422, "in_reply_to")


def test_answers_are_json_whatever_the_mail_holds() -> None:
    """Lone surrogates, controls and line separators of strangers reach the page as text."""
    behind = Behind()
    behind.mail(1, subject="a\ud800b\u2028</script>", source="x\x00@\udfff", data=b"\xff\xfe\x00\r\n\r\n\x00")
    with served(behind) as visitor:
        assert json.dumps(visitor.get("/api/live"))
        assert visitor.get(f"/api/mails/{mail_id(1)}/received")
