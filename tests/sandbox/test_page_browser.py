"""The page in headless Chromium: what a newcomer sees and does, and what strangers' mail cannot do."""

import itertools
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from relayd.sandbox.page.gauges import Depth, Probe, Work
from relayd.sandbox.traces import Span
from tests.sandbox.browser import CHROMIUM, Browser
from tests.sandbox.page_parts import NOW, TRACE, Behind, Visitor, mail_id, served

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (Debian: apt install chromium)")

CANARY = "<img src=x onerror=\"window.ran='1'\"><script>window.ran='1'</script>'\"><svg onload=window.ran='1'>"
REMOTE = (
    "<script>top.ran='html'; parent.document.title='stolen'</script><img src='http://{host}/img.png'>"
    "<link rel=stylesheet href='http://{host}/style.css'><link rel=dns-prefetch href='//dns.example'>"
    "<iframe src='http://{host}/frame'></iframe><object data='http://{host}/object'></object>"
    "<meta http-equiv=refresh content='0;url=http://{host}/refresh'><base href='http://{host}/'>"
    "<style>@import 'http://{host}/import.css'; body { background: url(http://{host}/bg.png) }</style>"
    "<video src='http://{host}/v.mp4' autoplay></video><form action='//{host}/form'><input autofocus></form>"
    "<p id=shown onclick='top.ran=1'>a mail</p><a href='http://{host}/click'>click</a>"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def behind() -> Behind:
    return Behind()


@pytest.fixture
def visitor(behind: Behind, browser: Browser) -> Iterator[Visitor]:
    browser.events.clear()
    behind.gauges.look()
    with served(behind) as visitor:
        browser.size(1280, 900)
        browser.open(visitor.server.url)
        browser.wait("document.querySelector('#gauges figure') && document.querySelector('form.write')")
        yield visitor
        assert browser.complaints() == []
        assert {url.split("/")[2] for url in browser.requested() if not url.startswith("data:")} == {visitor.host}
        browser.open("about:blank")


def text(browser: Browser, selector: str) -> str:
    found: str = browser.run(f"document.querySelector({selector!r}).innerText")
    return found


def click(browser: Browser, selector: str) -> None:
    browser.wait(f"document.querySelector({selector!r})")
    browser.run(f"document.querySelector({selector!r}).click()")


def go(browser: Browser, mail: str, tab: str) -> None:
    browser.run(f"location.hash = '#/mail/{mail}/{tab}'")
    browser.wait(f"document.querySelector('#tab-{tab}[aria-selected=true]')")


def test_an_empty_page_teaches(visitor: Visitor, browser: Browser) -> None:
    """What to do first, with the port that the door really has."""
    browser.wait("!document.getElementById('empty').hidden")
    assert "swaks --server 127.0.0.1:2525" in text(browser, "#empty")
    browser.wait("document.getElementById('narration').innerText.includes('Make S3 slow, send 25 mails')")


def test_mail_appears_and_its_end_follows(visitor: Visitor, behind: Behind, browser: Browser) -> None:
    """Without a reload: first on its way, then forwarded, with the time it took."""
    behind.mail(1)
    browser.wait("document.querySelector('#mails .badge.waiting')")
    behind.forwarded(1)
    browser.wait("document.querySelector('#mails .badge.forwarded')")
    assert "ada@home.example in 250 ms" in text(browser, "#mails")
    behind.dead("sqs-1", "not_json", "<b>no</b>")
    browser.wait("document.querySelector('#mails li:first-child .badge.dead')")
    assert text(browser, "#totals").split("\n")[-1] == "1 dead-lettered"


def test_a_mail_from_the_form(visitor: Visitor, behind: Behind, browser: Browser) -> None:
    """What is typed is what is sent; a wrong field is pointed at."""
    browser.run("document.getElementById('write-from').value = 'nobody'")
    click(browser, "form.write button[type=submit]")
    browser.wait("document.activeElement.id === 'write-from' && document.activeElement.ariaInvalid")
    browser.run("document.getElementById('write-from').value = 'you@example.net'")
    browser.run("document.getElementById('write-verdict').value = 'spam'")
    click(browser, "form.write button[type=submit]")
    browser.wait("document.querySelector('.told a')")
    assert [(form.sender, form.recipient, form.verdict) for form in behind.forms] == [
        ("you@example.net", "shop@mask.example", "spam")
    ]


def test_a_conversation_from_the_page(visitor: Visitor, behind: Behind, browser: Browser) -> None:
    """A forwarded mail is answered by its owner, and the answer by the stranger: the form is filled in, quote and all,
    and the plain form stays as it was.
    """
    behind.mail(1)
    behind.forwarded(1, data=b"Subject: hello\r\n\r\nfirst line\r\nsecond line\r\n")
    go(browser, mail_id(1), "trace")
    click(browser, ".answers a")
    browser.wait("document.querySelector('form.write h2')?.innerText === 'Answer as ada@home.example'")
    assert browser.run("document.getElementById('write-to').value") == "t@mask.example"
    assert "> first line\n> second line\n" in browser.run("document.getElementById('write-text').value")
    click(browser, "form.write button[type=submit]")
    browser.wait("document.querySelector('.told a')")
    [form] = behind.forms
    assert (form.sender, form.recipient, form.subject) == ("ada@home.example", "t@mask.example", "Re: hello")
    assert form.in_reply_to == "<ses-1@email.amazonses.com>"
    behind.mail(2, source="ada@home.example", recipient="t@mask.example", subject="Re: hello")
    behind.replied(2)
    browser.wait("document.querySelector('#mails .badge.replied')")
    go(browser, mail_id(2), "trace")
    browser.wait("document.querySelector('.answers a')?.innerText === 'Answer as you@example.net'")
    assert "from shop@mask.example" in text(browser, ".outcomes")
    click(browser, ".answers a")
    browser.wait("document.getElementById('write-to')?.value === 'shop@mask.example'")
    assert browser.run("document.getElementById('write-subject').value") == "Re: hello"
    browser.key("Escape")
    browser.wait("document.querySelector('form.write h2')?.innerText === 'Write a mail'")
    assert browser.run("document.querySelector('form.write [name=in_reply_to]').value") == ""


def test_held_back_mail_and_notices(visitor: Visitor, behind: Behind, browser: Browser) -> None:
    """How to let it go is there to be copied; a notice opens with what it says."""
    behind.mail(1)
    behind.book.ended(replace(behind.end(1, "discarded", "spam"), held="abc123"))
    notice = behind.notice(2, data=b"Subject: Your mask\r\n\r\nwas switched off\r\n")
    browser.wait("document.querySelector('#mails .badge.held') && document.querySelector('#mails .badge.notice')")
    assert "1 held back" in text(browser, "#totals").replace("\n", " ")
    assert text(browser, "#totals").startswith("1 in")
    browser.run(f"location.hash = '#/mail/{mail_id(1)}'")
    browser.wait("document.querySelector('pre.command')")
    assert text(browser, "pre.command") == ". /tmp/sandbox/env; relayd quarantine release abc123"
    browser.run(f"location.hash = '#/mail/{notice}'")
    browser.wait("document.querySelector('pre.text')?.innerText.includes('was switched off')")
    assert browser.run("document.querySelector('.answers')") is None
    go(browser, notice, "headers")
    browser.wait("document.querySelector('pre.source')?.innerText === 'Subject: Your mask'")
    assert "false" not in text(browser, "#detail")


def test_the_switch_and_what_becomes_of_it(visitor: Visitor, behind: Behind, browser: Browser) -> None:
    """Moved with the keyboard, told in words, drawn in charts; a probe without an answer is seen."""
    click(browser, "#switch-s3 input[value='slow-20']")
    browser.wait("document.querySelector('#switch-s3.bad')")
    assert behind.modes == [{"s3": "slow-20", "ses": "normal"}]
    behind.depth, behind.work = Depth(9, 18), Work(16, 16, "")
    for _ in range(3):
        behind.gauges.look()
    browser.wait("document.getElementById('narration').innerText.includes('16 of 16 slots are busy')")
    assert "9 mails wait in SQS, 2 rest until the next try" in text(browser, "#narration")
    assert text(browser, ".gauge.queue .value") == "27"
    assert browser.run("document.querySelector('polygon.waiting').getAttribute('points').split(' ').length") == 8
    behind.probe = Probe(False, 2000.0, "ReadTimeoutError")
    behind.gauges.look()
    browser.wait("document.querySelector('.gauge.livez.bad')")
    assert text(browser, ".gauge.livez .value") == "no answer"
    assert browser.run("document.querySelectorAll('.missed').length") == 1
    click(browser, "#burst")
    browser.wait("!document.getElementById('burst').disabled")
    assert behind.forms[0].count == 25


def test_a_trace_as_a_waterfall(visitor: Visitor, behind: Behind, browser: Browser) -> None:
    """Spans with their kinds and durations, where they stand in time, and the link between two traces."""
    behind.mail(1)
    root = Span("b" * 32, "p", "", "process q", NOW + 1, NOW + 3, "relayd", ((TRACE, f"{1:016d}"),), kind="consumer")
    failed = Span("b" * 32, "c", "p", "S3.GetObject", NOW + 2, NOW + 3, "relayd", error="SlowDown", kind="client")
    behind.traces.add([root, failed])
    go(browser, mail_id(1), "trace")
    browser.wait("document.querySelectorAll('.waterfall li').length === 3")
    rows = [
        row.replace("\n", " ")
        for row in browser.run("[...document.querySelectorAll('.waterfall li')].map(r => r.innerText)")
    ]
    assert rows == ["SES receives producer 10.0 ms", "⇢ process q consumer 2,000 ms", "S3.GetObject SlowDown 1,000 ms"]
    bars = browser.run("[...document.querySelectorAll('.lane .bar')].map(b => [b.style.left, b.style.width])")
    assert bars[2] == ["66.6667%", "33.3333%"]


def test_the_keyboard_reaches_everything(visitor: Visitor, behind: Behind, browser: Browser) -> None:
    """Enter opens a mail, arrows go through its views, Escape leads back."""
    behind.mail(1)
    browser.wait("document.querySelector('#mails a')")
    browser.run("document.querySelector('#mails a').focus()")
    browser.call(
        "Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
    )
    browser.wait("document.querySelector('#tab-trace')")
    browser.run("document.getElementById('tab-trace').focus()")
    browser.key("ArrowRight")
    browser.wait("document.activeElement.id === 'tab-text' && document.querySelector('#panel pre.text')")
    browser.key("ArrowLeft")
    browser.wait("document.activeElement.id === 'tab-trace'")
    browser.key("ArrowLeft")
    browser.wait("document.querySelector('#tab-source[aria-selected=true]')")
    browser.key("Escape")
    browser.wait("document.querySelector('form.write')")


def test_strangers_text_never_becomes_markup(visitor: Visitor, behind: Behind, browser: Browser) -> None:
    """Canaries in every field that a stranger writes, and in what the daemon says about them: all are shown as text."""
    evil = f"field {CANARY}"
    data = f"Subject: {evil}\r\nX-Evil: {evil}\r\n{evil}: x\r\nFrom: {evil}\r\n\r\n{evil}\r\n".encode()
    behind.mail(1, data=data, source=evil, recipient=evil, subject=evil)
    behind.forwarded(1, data=data.replace(b"field", b"after"))
    behind.book.ended(behind.end(1, "failed", evil, "d2"))
    behind.dead(evil, evil, evil)
    behind.mail(2, subject=evil)
    behind.dead("sqs-2", evil, f"{evil} {mail_id(2)}")
    behind.traces.add([Span(TRACE, evil, "", evil, NOW, NOW + 1, evil, error=evil, kind=evil, details=((evil, evil),))])
    behind.probe = Probe(False, 1.0, evil)
    behind.work = Work(1, 16, evil)
    behind.gauges.look()
    for number in (1, 2):
        for tab in ("trace", "text", "headers", "source"):
            go(browser, mail_id(number), tab)
            browser.wait(
                "document.querySelector('#panel')?.innerText.includes('onerror') || location.hash.includes('trace')"
                if number == 1
                else "document.querySelector('#panel')?.children.length"
            )
    browser.wait("[...document.querySelectorAll('#mails li')].length === 3")
    assert "onerror" in text(browser, "#mails")
    assert browser.run("window.ran ?? null") is None
    assert browser.run("document.querySelectorAll('main img, main script, main svg[onload], [onerror]').length") == 0


def test_html_runs_nothing_and_loads_nothing(visitor: Visitor, behind: Behind, browser: Browser) -> None:
    """In a frame with an empty sandbox: shown, but no script, no remote picture, style, frame, refresh or form."""
    elsewhere = socket.create_server(("127.0.0.1", 0))
    elsewhere.setblocking(False)
    html = REMOTE.replace("{host}", f"127.0.0.1:{elsewhere.getsockname()[1]}")
    behind.mail(1, data=b"Content-Type: text/html; charset=utf-8\r\n\r\n" + html.encode())
    go(browser, mail_id(1), "html")
    browser.wait("document.querySelector('iframe')")
    assert browser.run("document.querySelector('iframe').getAttribute('sandbox')") == ""
    frames = browser.call("Page.getFrameTree")["frameTree"]["childFrames"]
    inner = browser.call("Page.createIsolatedWorld", frameId=frames[0]["frame"]["id"])["executionContextId"]

    def inside(script: str) -> object:
        found = browser.call("Runtime.evaluate", expression=script, contextId=inner, returnByValue=True)
        return found["result"].get("value")

    assert inside("document.getElementById('shown').textContent") == "a mail"
    # Given a moment to misbehave: a refresh of 0 s, pictures, style sheets.
    browser.run("new Promise((done) => setTimeout(done, 400))")
    assert inside("document.getElementById('shown').textContent") == "a mail"
    inside("document.querySelector('x-a').click()")
    browser.run("new Promise((done) => setTimeout(done, 200))")
    assert browser.run("window.ran ?? null") is None
    assert browser.run("document.title") == "relayd sandbox"
    with elsewhere, pytest.raises(BlockingIOError):
        elsewhere.accept()
    # What was refused is refused loudly; nothing of it is the page's own.
    browser.events[:] = [
        event for event in browser.events if event["method"] not in ("Log.entryAdded", "Audits.issueAdded")
    ]


def test_html_by_itself_runs_nothing_either(visitor: Visitor, behind: Behind, browser: Browser) -> None:
    """Opened without its frame, its own policy still holds."""
    behind.mail(1, data=b"Content-Type: text/html\r\n\r\n<p>a mail</p><script>document.title='ran'</script>")
    browser.open(f"{visitor.server.url}/api/mails/{mail_id(1)}/received/html")
    browser.wait("document.querySelector('p')?.textContent === 'a mail'")
    assert browser.run("document.title") != "ran"
    browser.events[:] = [
        event for event in browser.events if event["method"] not in ("Log.entryAdded", "Audits.issueAdded")
    ]


def test_nothing_is_wider_than_the_window(visitor: Visitor, behind: Behind, browser: Browser) -> None:
    """Down to a small phone, with long words in every field, light and dark: no view scrolls sideways."""
    long = "x" * 250
    data = f"X-{long}: {long}\r\n\r\n{long}".encode()
    behind.mail(1, data=data, subject=long, source=f"{long}@a", recipient=f"{long}@b")
    behind.forwarded(1, data=b"Y" + data)
    browser.wait("document.querySelector('#mails a')")
    views = [
        "",
        "write",
        f"answer/{mail_id(1)}/1",
        *(f"mail/{mail_id(1)}/{tab}" for tab in ("trace", "text", "html", "headers", "source")),
    ]
    for (width, scheme), view in itertools.product(
        ((1280, "dark"), (768, "light"), (360, "dark"), (360, "light")), views
    ):
        browser.size(width, 844, scheme=scheme)
        browser.run(f"location.hash = '#/{view}'")
        browser.wait("document.querySelector('#detail').children.length > 1")
        assert browser.run("document.documentElement.scrollWidth") <= width, (width, view)
        paper = browser.run("getComputedStyle(document.documentElement).backgroundColor")
        assert paper == {"light": "rgb(251, 251, 250)", "dark": "rgb(21, 23, 27)"}[scheme]


def test_a_sandbox_that_has_ended_says_so(behind: Behind, browser: Browser) -> None:
    """Instead of a page that looks alive."""
    with served(behind) as visitor:
        browser.open(visitor.server.url)
        browser.wait("document.querySelector('#gauges figure')")
    browser.wait("!document.getElementById('banner').hidden")
    assert "does not answer" in text(browser, "#banner")
    browser.open("about:blank")
