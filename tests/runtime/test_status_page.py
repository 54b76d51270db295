"""The page at /: made from real figures of the last quarter of an hour, looked at as text and in a real browser."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from relayd.model.message import Message
from relayd.runtime.recent import Recent
from relayd.runtime.sparkline import HEIGHT, sparkline
from relayd.runtime.status_page import status_page
from relayd.runtime.watching import Ended
from tests.fakes.clock import VirtualClock
from tests.sandbox.browser import CHROMIUM, Browser

TRACE = "0af7651916cd43dd8448eb211c80319c"
CLOSED = {"limit": 16, "breaker": "closed", "reason": "", "probe_in_seconds": 0.0}


def told(**changes: Any) -> dict[str, Any]:
    """What /status says of a daemon that forwards, with a slow and failing S3 lately."""
    clock = VirtualClock()
    recent = Recent(clock)
    for number in range(60):
        slow = number >= 50
        message = Message(f"message-{number}", "r", "a body")
        facts = {"mail_id": f"mail-{number}", "deliveries": [{"state": "sent"}]}
        outcome, reason = ("deferred", "s3_timeout") if slow else ("accepted", "forwarded")
        recent(
            Ended(
                message,
                outcome,
                reason,
                visible_in=5.0 if slow else None,
                problem=None,
                seconds=30.0 if slow else 0.2,
                age=42.0,
                trace_id=TRACE,
                facts=facts,
            )
        )
        recent.called("s3", "fetch", 25.0 if slow else 0.05, slow)
        recent.called("ses", "send", 0.09, False)
        clock.sleep(2)
    status = {
        "version": "0.1.0",
        "queue": "mail",
        "replica": "pod-1",
        "uptime_seconds": 4000.0,
        "live": True,
        "live_reason": "polling",
        "ready": True,
        "against": {},
        "since": {},
        "slots": 16,
        "in_flight": 5,
        "held": {},
        "stopping": False,
        "dependencies": dict.fromkeys(("s3", "ses", "database", "certificates"), CLOSED),
        "orders": {"everything": False, "domains": [], "owners": []},
        "recent": recent.figures() | {"series": recent.series()},
    }
    return status | changes


class _Text(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.skipped = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.skipped += tag in ("style", "title")

    def handle_endtag(self, tag: str) -> None:
        self.skipped -= tag in ("style", "title")

    def handle_data(self, data: str) -> None:
        if not self.skipped:
            self.words.append(data)


def text(page: str) -> str:
    """What a person reads."""
    return re.sub(r"\s+", " ", " ".join(_Text(page).words))


def test_a_daemon_that_forwards() -> None:
    """How many, how long, what failed with its trace, and the last quarter of an hour of each dependency."""
    page = status_page(told())
    seen = text(page)
    assert "Forwarding:" in seen
    assert "5 of 16 messages in hand" in seen
    assert "10 failed tries, 15 min" in seen
    assert TRACE in seen
    assert "mail-59" in seen
    assert re.search(r"deferred s3_timeout 10\b", seen)
    assert re.search(r"accepted forwarded 50\b", seen)
    assert "S3: the slowest p99 of 15 minutes was 2" in page
    assert 'class="fault"' in page


def test_an_open_breaker_says_what_to_think_and_what_not_to_do() -> None:
    """Since when, why, when it tries again; no restart."""
    opened = {"limit": 0, "breaker": "open", "reason": "s3_timeout", "probe_in_seconds": 42.0}
    seen = text(
        status_page(
            told(
                held={"s3": "s3_timeout"},
                since={"s3": 1_700_000_000.0},
                ready=False,
                against={"s3": "s3_timeout"},
                dependencies={"s3": opened, "ses": CLOSED},
            )
        )
    )
    assert "Waiting for S3 (s3_timeout, since 22:13:20 UTC). Mail waits in the queue; a restart does not help." in seen
    assert "OPEN s3_timeout, next try in 42 s" in seen


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"live": False, "live_reason": "no poll turn for 99 s"}, "Stuck: no poll turn for 99 s. A restart helps."),
        ({"stopping": True}, "Stopping: what is in hand is finished or handed back."),
        ({"orders": {"everything": True}}, "Paused: all mail waits in the queue."),
        ({"orders": {"domains": ["a"], "owners": ["b"]}}, "Mail of 2 domains or owners is paused"),
        ({"ready": False, "against": {"queue": "queue_missing"}}, "Not ready: SQS , queue_missing."),
        ({"recent": {}}, "Ready. No mail ended in the last minute."),
    ],
)
def test_every_state_has_its_words(changes: dict[str, Any], words: str) -> None:
    """The first that matters is told."""
    assert words in text(status_page(told(**changes)))


def test_a_status_that_lacks_everything() -> None:
    """A page all the same: somebody may ask before anything is known."""
    assert "Stuck" in text(status_page({}))


def test_foreign_words_are_escaped() -> None:
    """Reasons, names and ids come from outside."""
    evil = "<script>alert(1)</script>"
    status = told(queue=evil, against={evil: evil}, held={evil: evil}, ready=False)
    status["recent"]["failed"] = [{"reason": evil, "mail_id": evil, "trace_id": evil, "at": 0.0, "seconds": 1.0}]
    status["recent"]["quarter_hour"]["messages"] = {evil: {evil: 1}}
    status["dependencies"] = {evil: {"breaker": evil, "reason": evil, "limit": evil}}
    assert "<script" not in status_page(status)


class TestSparkline:
    """Lines of numbers as pictures."""

    def test_the_largest_is_at_the_top_and_nothing_at_the_bottom(self) -> None:
        """Zero on the lower edge."""
        assert f'd="M0.0 {HEIGHT}.0L91.0 2.0"' in sparkline([0.0, 5.0], "x")

    def test_a_gap_is_a_gap(self) -> None:
        """No line is drawn over seconds in which nothing was asked."""
        assert sparkline([1.0, 1.0, None, 1.0, 1.0], "x").count("M") == 2

    @pytest.mark.parametrize("values", [[], [None, None], [0.0, 0.0]])
    def test_nothing_to_draw(self, values: list[float | None]) -> None:
        """A picture without a line, not an error."""
        assert "<path" not in sparkline(values, "x")

    def test_its_words_are_escaped(self) -> None:
        """The title is read out."""
        assert "<b>" not in sparkline([1.0], "<b>")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Headless Chromium."""
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (Debian: apt install chromium)")
class TestInABrowser:
    """The page as it is seen."""

    @pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (768, "light"), (390, "dark"), (360, "light")])
    def test_it_fits_and_is_readable(self, browser: Browser, tmp_path: Path, width: int, scheme: str) -> None:
        """Nothing scrolls sideways, down to a small phone; ink and paper are far apart, light and dark."""
        long = "x" * 120
        status = told(held={"s3": long}, against={"s3": long}, ready=False, replica=long)
        (tmp_path / "page.html").write_text(status_page(status))
        browser.size(width, 844, scheme=scheme)
        browser.open((tmp_path / "page.html").as_uri())
        browser.wait("document.querySelector('nav a')")
        assert browser.run("document.documentElement.scrollWidth") <= width
        paper = browser.run("getComputedStyle(document.body).backgroundColor")
        assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[scheme]
        assert browser.run("document.querySelectorAll('svg.spark').length") >= 4
        assert browser.run("document.querySelector('svg.spark').getBoundingClientRect().right") <= width
        assert browser.complaints() == []
