"""The replay of the incident: its counting on records made by hand, its SNS on a small server, and one small replay."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from itertools import chain, repeat
from pathlib import Path

import pytest

from bench.incident.ground import mail, original, times
from bench.incident.pod import Pod
from bench.incident.policy import LONGEST, POLICIES, DeliveryPolicy
from bench.incident.prober import Probe, Prober
from bench.incident.pusher import Pusher
from bench.incident.record import Record, drain_limit, figures, percentile
from bench.incident.report import checks, table
from bench.incident.story import Story
from relayd.mail.letter import parse
from relayd.mail.rewrite import forward
from tests.mail.judge import PLAN
from tests.process.cloud import eventually, free_port

STORY = Story(0.01)
"""S3 is slow from 1.2 to 7.2 s, and takes 0.2 s then."""
KEYS = {
    "probe_failures",
    "restarts",
    "livez_p99_ms",
    "lost",
    "duplicates",
    "wasted_fetches",
    "max_receive_count",
    "recovery_seconds",
}


def record(
    arrived: Mapping[str, float],
    sent: Mapping[str, Sequence[float]],
    *,
    fetches: int | None = None,
    backlog: Sequence[tuple[float, int]] = ((0.0, 1), (7.3, 0)),
) -> Record:
    return Record(
        story=STORY,
        load=2.0,
        slots=4,
        capacity=20.0,
        rate=10.0,
        arrived=arrived,
        sent=sent,
        fetches=len(arrived) if fetches is None else fetches,
        dead_letters=0,
        left=0,
        most_handed_out=1,
        backlog=backlog,
        probes=[Probe(0.1, 0.002, True), Probe(0.2, 0.004, True)],
        restarts=[],
        facts={},
    )


def test_a_quiet_replay_has_nothing_to_tell() -> None:
    """Each mail once, in a slow call: no loss, no double, no waste, and all that was expected of relayd holds."""
    arrived = {"a": 0.5, "b": 2.0, "c": 7.1}
    quiet = record(arrived, {name: [at + 0.2] for name, at in arrived.items()})
    told = figures(quiet)
    assert told.keys() >= KEYS
    assert (told["lost"], told["duplicates"], told["wasted_fetches"], told["probe_failures"]) == (0, 0, 0, 0)
    assert (told["arrived_in_outage"], told["forwarded_in_outage"]) == (2, 1)
    assert told["livez_p99_ms"] == 4.0
    # The last mail that came while S3 was slow was sent 0.1 s after that: 10 s of the story.
    assert told["recovery_seconds"] == 10.0
    assert all(check.holds for check in checks(quiet))


def test_doubles_losses_and_waste_are_counted() -> None:
    """A mail sent three times, one never, one put aside, one that will come again, and seven fetches for four mails."""
    told = figures(
        replace(
            record(dict.fromkeys("abcde", 2.0), {"a": [2.2, 2.4, 2.6], "b": [2.3]}, fetches=7),
            dead_letters=1,
            left=1,
        )
    )
    assert (told["duplicates"], told["mails_doubled"]) == (2, 1)
    assert told["lost"] == 1
    assert told["wasted_fetches"] == 5
    assert told["recovery_seconds"] is None


def test_recovery_waits_for_the_backlog() -> None:
    """It is over when no more waits than before the outage, even if the outage's own mail was sent sooner."""
    waiting = [(0.5, 2), (2.0, 40), (7.2, 50), (7.7, 20), (8.2, 2), (8.3, 0)]
    told = figures(record({"a": 2.0}, {"a": [7.3]}, backlog=waiting))
    assert told["backlog_at_end"] == 50
    assert told["recovery_seconds"] == 100.0
    never = figures(record({"a": 2.0}, {"a": [7.3]}, backlog=waiting[:4]))
    assert never["recovery_seconds"] is None


def test_the_limit_for_draining() -> None:
    """1.5 x 50 / (20 - 10) seconds here are 750 of the story, after the 20 of the calls that were slow already."""
    assert drain_limit(record({}, {}, backlog=[(7.2, 50)])) == pytest.approx(770)


def test_each_expectation_can_fail() -> None:
    """A bad replay fails every one of them."""
    bad = replace(
        record({"a": 2.0, "b": 2.0, "c": 3.0}, {"a": [2.2, 2.4]}),
        probes=[Probe(0.1, 0.25, False)],
        most_handed_out=4,
        restarts=[1.0],
    )
    assert not any(check.holds for check in checks(bad))
    assert "never" in table(figures(bad), figures(bad))


def test_percentiles() -> None:
    """The least value that so many are not above; nothing for nothing."""
    assert percentile(list(range(1, 101)), 0.99) == 99
    assert percentile([3.0, 1.0], 0.5) == 1.0
    assert percentile([], 0.99) == 0.0


def test_policies_are_ones_that_sns_would_take() -> None:
    """No policy waits for longer than an hour in all; the one for an hour has fifty retries, a minute apart at most."""
    assert all(sum(policy.delays()) <= LONGEST for policy in POLICIES.values())
    hour = POLICIES["hour"].delays()
    assert len(hour) == 50
    assert hour[:5] == (0.0, 0.0, 0.0, 1.0, 1.0)
    assert list(hour) == sorted(hour)
    assert hour[14] == pytest.approx(60.0)
    assert POLICIES["default"].delays() == (20.0, 20.0, 20.0)


def test_arrivals_are_the_same_each_time() -> None:
    """A steady rate, from the first half pause on."""
    assert times(2.0, 2.0) == [0.25, 0.75, 1.25, 1.75]


def test_a_forwarded_mail_is_known_again() -> None:
    """By the original's Message-ID; anything else that was sent is an error of the replay."""
    assert original(forward(parse(mail("mail-7")), PLAN).data) == "mail-7"
    with pytest.raises(ValueError, match="nobody forwarded"):
        original(b"Subject: x\r\n\r\nX-Relayd-Original-Message-ID: <mail-7@x.example>\r\n")


QUICK = DeliveryPolicy(at_once=1, before_backoff=2, backoff=0, after_backoff=0, least=1.0, most=1.0)


@contextmanager
def answering(statuses: Sequence[int]) -> Iterator[Callable[[], list[int]]]:
    """An endpoint that answers with these one after the other, and then with the last; 0 is no answer in time."""
    due = chain(statuses, repeat(statuses[-1]))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status = next(due)
            if status == 0:
                time.sleep(0.3)
            self.send_response(status or 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield lambda: [server.server_address[1]]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("statuses", "pushes", "given_up"),
    [
        ([200], 1, False),
        ([503, 500, 200], 3, False),
        ([0, 200], 2, False),
        ([503], 4, True),
        ([404], 1, True),
    ],
)
def test_pushes_are_repeated(statuses: list[int], pushes: int, given_up: bool) -> None:
    """After an error of the server's or no answer in time, until the policy ends; a client error is final."""
    with answering(statuses) as ports:
        pusher = Pusher(QUICK, STORY, timeout=0.1, ports=ports)
        pusher.push("a", b"{}")
        assert eventually(lambda: not pusher.waiting, 5)
        pusher.close()
    assert pusher.pushes == {"a": pushes}
    assert ("a" in pusher.given_up) is given_up


def test_a_push_without_a_pod_fails() -> None:
    """No pod is ready: each try is spent at once."""
    pusher = Pusher(QUICK, STORY, timeout=0.1, ports=list)
    pusher.push("a", b"{}")
    assert eventually(lambda: "a" in pusher.given_up, 5)
    pusher.close()
    assert pusher.pushes == {"a": 4}


SICKENING = """
import http.server, itertools, sys
asked = itertools.count()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if next(asked) < 3 else 503)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.mark.process
def test_three_failures_restart_a_pod(tmp_path: Path) -> None:
    """A pod that is well for two probes, and then is not, is restarted at its third failure, and then well again."""
    port = free_port()
    command = [sys.executable, "-c", SICKENING, str(port)]
    pod = Pod(command, {}, port=port, ready_path="/", log=tmp_path / "pod.log")
    pod.start()
    prober = Prober(pod, "/", Story(0.005))
    prober.watch(time.monotonic())
    try:
        assert eventually(lambda: len(prober.probes) >= 6, 20)
    finally:
        prober.close()
        pod.kill()
    assert [probe.well for probe in prober.probes[:6]] == [True, True, False, False, False, True]
    assert prober.probes[4].at < prober.restarts[0] < prober.probes[5].at
    assert not pod.alive


def test_a_picture(tmp_path: Path) -> None:
    """It is drawn from any record, one without a single mail included."""
    pytest.importorskip("matplotlib")
    file = tmp_path / "incident.png"
    empty = record({}, {})
    import_module("bench.incident.picture").drawer()(record({"a": 2.0}, {"a": [2.2, 2.9]}), empty, file)
    assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.process
def test_a_small_replay() -> None:
    """Both designs for real, in a hurry: the old one fetches for nothing, relayd loses and doubles nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.incident", "--scale", "0.002", "--warm-up", "20", "--load", "2", "--json"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    told = json.loads(done.stdout)
    assert told.keys() == {"old", "relayd"}
    assert all(side.keys() >= KEYS for side in told.values())
    assert told["old"]["arrived_in_outage"] > 0
    assert told["old"]["wasted_fetches"] > 0
    assert told["old"]["duplicates"] > 0
    relayd = told["relayd"]
    assert relayd["forwarded"] == relayd["arrived"]
    assert (relayd["lost"], relayd["duplicates"], relayd["restarts"]) == (0, 0, 0)
