"""The fault harness: its plan of mail, faults and strikes, its report, and one tiny run with real daemons."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.chaos import truth
from bench.chaos.faults import MIX, Outage, rules
from bench.chaos.mix import ODD_EVERY, Parcel, parcels
from bench.chaos.probes import percentile
from bench.chaos.report import proven, report
from bench.chaos.strikes import FIRST, LAST, plan
from relayd.sandbox.cloud.calls import NO_EFFECTS, Call, never
from relayd.sandbox.cloud.faults import Faults
from relayd.sandbox.world import EventsPath, World

MAIL = "m" * 40
WORLD = World("http://127.0.0.1:1", "bucket", "arn:topic", "arn:foreign", "q", "dead", EventsPath("set", "arn:e", "e"))


class TestFaults:
    def test_each_operation_shares_out_a_whole(self) -> None:
        """Percents add up."""
        assert {name: sum(one.percent for one in shares) for name, shares in MIX.items()} == dict.fromkeys(MIX, 100)

    @pytest.mark.parametrize("operation", ["SendEmail", "GetObject", "DeleteMessageBatch", "ReceiveMessage"])
    def test_a_call_meets_one_with_the_given_probability(self, operation: str) -> None:
        """Of any operation; and the same calls for the same seed."""
        first, again, other = (self._struck(operation, seed) for seed in (1, 1, 2))
        assert 0.16 < sum(first) / len(first) < 0.24
        assert first == again
        assert first != other

    def _struck(self, operation: str, seed: int) -> list[bool]:
        faults = Faults(lambda: 0.0)
        faults.replace([rule for rule in rules(0.2, seed) if "probability" in rule])
        service = {"SendEmail": "ses", "GetObject": "s3"}.get(operation, "sqs")
        call = Call(service, operation, "r", "h", "GET", "/", {}, {}, b"", never)
        return [faults.effects(call) is not NO_EFFECTS for _ in range(2000)]

    def test_what_we_send_ourselves_meets_none(self) -> None:
        """Messages that are no mail are put into the queue by the bench, which must not stumble over its own faults."""
        faults = Faults(lambda: 0.0)
        faults.replace(rules(0.9, 1))
        queues = ("relayd-sandbox-1", "relayd-sandbox-1-dead-letters")
        ours, theirs = (
            Call("sqs", "SendMessage", "r", "h", "POST", "/", {}, {}, b"", never, resource=name) for name in queues
        )
        assert all(faults.effects(ours) is NO_EFFECTS for _ in range(50))
        assert any(faults.effects(theirs) is not NO_EFFECTS for _ in range(50))

    def test_none_means_none(self) -> None:
        """Without faults only the time that calls take is left; outages are rules of the clock."""
        assert {rule["fault"] for rule in rules(0.0, 1)} == {"latency", "orphan_poll"}

    def test_outages_meet_what_daemons_ask(self) -> None:
        """From and until their time, and probes too; nothing that the bench itself does."""
        outages = [rule for rule in rules(0.0, 1, [Outage.parse("s3:20:35")]) if rule["fault"] == "error"]
        assert {rule["operation"] for rule in outages} == {"s3:GetObject", "s3:HeadBucket"}
        assert {(rule["from"], rule["until"]) for rule in outages} == {(20.0, 35.0)}
        now = 0.0
        faults = Faults(lambda: now)
        faults.replace(outages)
        now = 21.0
        get, put = (Call("s3", name, "r", "h", "GET", "/", {}, {}, b"", never) for name in ("GetObject", "PutObject"))
        assert faults.effects(get) is not NO_EFFECTS
        assert faults.effects(put) is NO_EFFECTS

    @pytest.mark.parametrize("text", ["", "s3", "s3:1", "s3:a:b", "s3:1:2:3", "sns:1:2"])
    def test_outages_are_understood_or_refused(self, text: str) -> None:
        """Nothing in between."""
        with pytest.raises(ValueError, match=r"."):
            Outage.parse(text)


class TestStrikes:
    def test_each_is_planned(self) -> None:
        """As many of each as asked for, in order, within the run, on daemons that exist."""
        strikes = plan(1, 3, kills=20, terms=10, stops=2)
        assert Counter(strike.blow for strike in strikes) == {"kill": 20, "term": 10, "stop": 2}
        assert strikes == sorted(strikes)
        assert all(FIRST <= strike.at <= LAST for strike in strikes)
        assert {strike.daemon for strike in strikes} == {0, 1, 2}

    def test_the_seed_decides(self) -> None:
        """All of it."""
        assert plan(1, 3, kills=5, terms=5, stops=0) == plan(1, 3, kills=5, terms=5, stops=0)
        assert plan(1, 3, kills=5, terms=5, stops=0) != plan(2, 3, kills=5, terms=5, stops=0)


class TestMix:
    def test_the_seed_decides_but_for_ids(self) -> None:
        """Kinds, bytes and twins."""

        def told(seed: int) -> list[tuple[str, bytes, int]]:
            made = parcels(100, seed, WORLD, token="t@mask.example")
            return [(x.sample.kind, b"" if x.sample.marker else x.sample.data, x.copies) for x in made]

        assert told(1) == told(1)
        assert told(1) != told(2)

    def test_there_is_something_of_everything(self) -> None:
        """Forwards, discards, several deliveries, twins, big ones, and messages that are no mail."""
        made: list[Parcel] = list(parcels(450, 1, WORLD, token="t@mask.example"))
        ends = [parcel.sample.expected for parcel in made]
        assert sum(bool(end.dead_letter) for end in ends) == 450 // ODD_EVERY
        assert sum(len(end.forwards) > 1 for end in ends) > 50
        assert sum(not end.forwards for end in ends) > 50
        assert 5 < sum(parcel.copies == 2 for parcel in made) < 60
        assert {parcel.copies for parcel in made if parcel.sample.marker} == {1}
        assert max(len(parcel.sample.data) for parcel in made) > 2_000_000
        assert [parcel.sample.number for parcel in made] == list(range(1, 451))


class TestTruth:
    def test_dead_letters_are_known_by_what_they_mention(self) -> None:
        """The reason is relayd's, or there is none because the queue's own net caught the message."""
        reason = {"relayd-reason": {"DataType": "String", "StringValue": "spam"}}
        letters: list[dict[str, Any]] = [
            {"message_id": "1", "body": f"x {MAIL} x", "attributes": reason},
            {"message_id": "2", "body": MAIL, "attributes": {}},
        ]
        assert truth.dead(letters) == {MAIL: ["spam", truth.NO_REASON]}
        assert truth.queued(letters) == {MAIL}
        assert truth.reasons(letters) == {"spam": 1, truth.NO_REASON: 1}

    def test_errors_in_logs_are_counted(self, tmp_path: Path) -> None:
        """By event. The torn last line of a daemon that was killed is no finding; any other torn line is."""
        log = tmp_path / "log"
        log.write_text('{"event": "a", "level": "error"}\n{"event": "b", "level": "info"}\n{"event": "a", "le')
        assert truth.complaints([log]) == {"a": 1}
        log.write_text('Traceback\n{"event": "a", "level": "error"}\n')
        assert truth.complaints([log]) == {"a": 1, "unreadable": 1}


def test_percentiles_are_by_nearest_rank() -> None:
    """Of any order, and of nothing."""
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([float(number) for number in range(1, 101)], 0.99) == 99.0
    assert percentile([], 0.99) == 0.0


RESULT: dict[str, Any] = {
    "published": 2, "forwarded": 1, "discarded": 1, "dead_lettered": 0, "queued": 0, "lost": 0,
    "unexplained": 0, "wrong": [], "balanced": True, "drained": True, "crashes": 0,
}  # fmt: skip


class TestReport:
    def test_the_equation_comes_first(self) -> None:
        """And the verdict last."""
        lines = report(RESULT).splitlines()
        assert lines[0] == "2 published = 1 forwarded + 1 discarded + 0 dead-lettered + 0 queued + 0 lost"
        assert lines[-1] == "proven"

    @pytest.mark.parametrize(
        "flaw",
        [{"lost": 1}, {"unexplained": 1}, {"wrong": ["x"]}, {"balanced": False}, {"drained": False}, {"crashes": 1}],
        ids=str,
    )
    def test_each_flaw_spoils_the_proof(self, flaw: dict[str, Any]) -> None:
        """Alone."""
        assert proven(RESULT)
        assert not proven(RESULT | flaw)
        assert report(RESULT | flaw).endswith("NOT proven")


KEYS = (
    "published", "forwarded", "discarded", "dead_lettered", "queued", "lost", "duplicates", "in_doubt_resends",
    "max_receive_count", "livez_p99_ms", "rss_peak_mb",
)  # fmt: skip


def command(*more: str) -> list[str]:
    return [sys.executable, "-m", "bench.chaos", "--daemons", "1", "--seed", "1", "--json", *more]


@pytest.mark.process
def test_a_tiny_run() -> None:
    """A real daemon, stopped once and started again, and books that balance."""
    few = ("--mails", "25", "--faults", "0", "--kills", "0", "--terms", "1", "--timeout", "60")
    done = subprocess.run(command(*few), capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert set(KEYS) <= told.keys()
    ends = ("forwarded", "discarded", "dead_lettered", "queued", "lost")
    assert told["published"] == 25 == sum(told[name] for name in ends)
    assert (told["queued"], told["lost"], told["duplicates"], told["in_doubt_resends"]) == (0, 0, 0, 0)
    assert told["dead_lettered"] == 1
    assert told["term_exit_codes"] == {"0": 1}
    assert told["max_receive_count"] >= 1
    assert told["rss_peak_mb"] > 20
    assert told["livez_failures"] == 0


@pytest.mark.process
def test_a_signal_leaves_no_process_behind(tmp_path: Path) -> None:
    """Daemons and emulator end with the run, however early."""
    many = ("--mails", "100000", "--keep", str(tmp_path))
    with subprocess.Popen(command(*many), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as bench:
        deadline = time.monotonic() + 30
        while not (log := tmp_path / "daemon-0-0.log").exists() or b'"started"' not in log.read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        children = _children(bench.pid)
        bench.send_signal(signal.SIGTERM)
        assert bench.wait(20) == 128 + signal.SIGTERM
    assert len(children) >= 2
    assert not [pid for pid in children if _is_alive(pid)]


def _children(pid: int) -> list[int]:
    return [int(child) for tasks in Path(f"/proc/{pid}/task").glob("*/children") for child in tasks.read_text().split()]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
