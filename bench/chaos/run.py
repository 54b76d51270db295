"""One run from the first mail to the last count. The main thread tends the daemons, strikes them and looks."""

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from bench.chaos import truth
from bench.chaos.books import Account, Facts, account
from bench.chaos.faults import rules
from bench.chaos.feeding import Feeder
from bench.chaos.fleet import Fleet
from bench.chaos.mix import parcels
from bench.chaos.plan import IN_DOUBT, PAUSE, SETTINGS, Plan
from bench.chaos.probes import percentile
from bench.chaos.strikes import plan as plan_strikes
from relayd.adapters.database import connect
from relayd.sandbox.cloud.client import EmbeddedAws
from relayd.sandbox.directory import add_masks, reply_address
from relayd.sandbox.folder import Folder
from relayd.sandbox.masks import SHOP, WARNING_URL
from relayd.sandbox.samples import PEN_FRIEND
from relayd.sandbox.world import MAIL_DOMAINS
from tests.process.cloud import Cloud

LOOK_SECONDS = 0.25
TICK_SECONDS = 0.05
PROGRESS_SECONDS = 1.0
QUIET_LOOKS = 3
"""Looks in a row that must find the queues empty: between two of them a message may be on its way from one call to the
next."""


class Run:
    """One cloud, one fleet, one feeder. `close` ends whatever was started."""

    def __init__(self, plan: Plan, folder: Path, database_url: str, progress: TextIO | None = sys.stderr) -> None:
        """`progress`: a terminal to show a line on."""
        self._plan = plan
        self._folder = folder
        self._database_url = database_url
        self._progress = progress if progress is not None and progress.isatty() else None
        self._aws = EmbeddedAws(folder / "aws.log")
        self._cloud: Cloud | None = None
        self._fleet: Fleet | None = None
        self._feeder: Feeder | None = None

    def __call__(self) -> dict[str, Any]:
        """Do it, and tell all figures."""
        cloud = self._cloud = Cloud(self._folder, self._aws, 1, database_url=self._database_url)
        token = self._prepare()
        fleet = self._fleet = Fleet(self._plan.daemons, self._environment(cloud), self._folder)
        fleet.wait_up()
        self._aws.faults(rules(self._plan.faults, self._plan.seed, self._plan.outages))
        feeder = self._feeder = Feeder(
            parcels(self._plan.mails, self._plan.seed, cloud.world, token=token), cloud.world
        )
        feeder.start()
        sends = truth.Sends(self._aws)
        began = time.monotonic()
        drained = self._until_done(cloud, fleet, feeder, sends)
        seconds = time.monotonic() - began
        feeder.stop()
        codes = fleet.stop()
        sends.read()
        queues = {name: self._aws.messages(_name(url)) for name, url in _urls(cloud).items()}
        facts = Facts(
            feeder.published,
            sends.found,
            truth.rows(self._database_url),
            truth.queued(queues["mail"]),
            truth.dead(queues["dead"]),
        )
        return self._figures(account(facts), facts, fleet, feeder) | {
            "dead_letters": dict(truth.reasons(queues["dead"])),
            "drained": drained,
            "last_exit_codes": list(codes),
            "seconds": round(seconds, 1),
            "mails_per_second": round(len(feeder.published) / seconds, 1),
        }

    def close(self) -> None:
        """End every process."""
        if self._fleet is not None:
            self._fleet.close()
        if self._feeder is not None:
            self._feeder.stop()
        if self._cloud is not None:
            self._cloud.close()
        self._aws.stop()

    def _prepare(self) -> str:
        """Make the tables and the masks; returns the address that the pen friend is written to."""
        database = connect(self._database_url, pool_size=1)
        try:
            add_masks(database)
            return reply_address(database, SHOP, PEN_FRIEND)
        finally:
            database.close()

    def _environment(self, cloud: Cloud) -> Mapping[str, str]:
        trackers = Folder(self._folder, temporary=False).trackers()
        direct = {
            # Not through the gates that tests put before S3 and SES.
            "AWS_ENDPOINT_URL_S3": self._aws.endpoint,
            "AWS_ENDPOINT_URL_SESV2": self._aws.endpoint,
            "RELAYD_MAIL_DOMAINS": ",".join(MAIL_DOMAINS),
            "RELAYD_TRACKERS_FILE": str(trackers),
            "RELAYD_TRACKER_WARNING_URL": WARNING_URL,
        }
        events = {**cloud.with_events, "RELAYD_IN_DOUBT_SECONDS": IN_DOUBT} if self._plan.events else {}
        return {**cloud.environment, **SETTINGS, **direct, **events}

    def _until_done(self, cloud: Cloud, fleet: Fleet, feeder: Feeder, sends: truth.Sends) -> bool:
        """Tend and strike until nothing is left to do. False when the time was over first."""
        plan = self._plan
        strikes = deque(plan_strikes(plan.seed, plan.daemons, kills=plan.kills, terms=plan.terms, stops=plan.stops))
        deadline = time.monotonic() + plan.timeout
        show = self._shower(fleet, feeder)
        quiet, next_look, settled = 0, 0.0, 0
        while time.monotonic() < deadline:
            if feeder.error is not None:
                raise feeder.error
            fleet.tend()
            while strikes and settled >= strikes[0].at * plan.mails:
                if not fleet.strike(strikes[0].daemon, strikes[0].blow, pause=PAUSE):
                    break
                strikes.popleft()
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + LOOK_SECONDS
                queues = self._queues(cloud)
                settled = sum(queues["mail"]["deleted"].values())
                feeder.waiting = queues["mail"]["visible"]
                left = {name: _depth(queues[name]) for name in ("mail", "events") if plan.events or name == "mail"}
                sends.read()
                show(settled, left, len(strikes))
                quiet = quiet + 1 if not feeder.busy and not strikes and not any(left.values()) else 0
                if quiet >= QUIET_LOOKS and fleet.is_whole:
                    return True
            time.sleep(TICK_SECONDS)
        return False

    def _queues(self, cloud: Cloud) -> dict[str, dict[str, Any]]:
        """SQS's own figures of each queue."""
        told = self._aws.counts()["queues"]
        by_name = {arn.rpartition(":")[2]: figures for arn, figures in told.items()}
        return {name: by_name[_name(url)] for name, url in _urls(cloud).items()}

    def _shower(self, fleet: Fleet, feeder: Feeder) -> Callable[[int, Mapping[str, int], int], None]:
        shown_at = 0.0
        out = self._progress

        def show(settled: int, left: Mapping[str, int], strikes: int) -> None:
            nonlocal shown_at
            if out is None or time.monotonic() < shown_at + PROGRESS_SECONDS:
                return
            shown_at = time.monotonic()
            up = sum(one.is_up for one in fleet.daemons)
            depths = ", ".join(f"{count} in {name}" for name, count in left.items())
            text = f"{len(feeder.published)} published, {settled} settled, {depths}, {strikes} strikes to come, {up} up"
            out.write(f"\r\x1b[K{text}")
            out.flush()

        return show

    def _figures(self, result: Account, facts: Facts, fleet: Fleet, feeder: Feeder) -> dict[str, Any]:
        assert self._cloud is not None
        if self._progress is not None:
            self._progress.write("\r\x1b[K")
        mail = self._queues(self._cloud)["mail"]
        probes = [took for one in fleet.daemons for took in one.probes.seconds]
        logs = [log for one in fleet.daemons for log in one.logs]
        receives = {int(count): times for count, times in mail["deleted"].items()}
        return {
            "published": len(facts.published),
            **{fate: result.messages[fate] for fate in ("forwarded", "discarded", "dead_lettered", "queued", "lost")},
            "duplicates": result.duplicates,
            "in_doubt_resends": result.in_doubt_resends,
            "max_receive_count": mail["most_received"],
            "livez_p99_ms": _ms(percentile(probes, 0.99)),
            "rss_peak_mb": fleet.peak_mb,
            "unexplained": result.unexplained,
            "wrong": result.wrong,
            "balanced": result.balances(len(facts.published)),
            "deliveries": dict(result.deliveries),
            "forwarded_and_dead_lettered": result.forwarded_and_dead_lettered,
            "twins": feeder.twins,
            "notices": result.notices,
            "receive_counts": {str(count): receives[count] for count in sorted(receives)},
            "redelivered": mail["redelivered"],
            "livez_p50_ms": _ms(percentile(probes, 0.5)),
            "livez_max_ms": _ms(max(probes, default=0.0)),
            "livez_probes": len(probes),
            "livez_failures": sum(one.probes.failures for one in fleet.daemons),
            "struck": dict(fleet.blows),
            "term_exit_codes": {str(code): times for code, times in fleet.exit_codes.items()},
            "crashes": fleet.crashes,
            "faults_struck": self._struck(),
            "logged_errors": dict(truth.complaints(logs)),
        }

    def _struck(self) -> dict[str, int]:
        """Calls that met each kind of fault."""
        struck: dict[str, int] = {}
        for rule in self._aws.rules():
            if "probability" in rule:
                name = f"{rule['operation']} {rule['fault']}"
                struck[name] = struck.get(name, 0) + rule["struck"]
        return struck


def _urls(cloud: Cloud) -> dict[str, str]:
    events = cloud.world.events
    assert events is not None
    return {"mail": cloud.world.queue_url, "dead": cloud.world.dead_letter_url, "events": events.queue_url}


def _name(url: str) -> str:
    return url.rpartition("/")[2]


def _depth(queue: Mapping[str, Any]) -> int:
    return int(queue["visible"] + queue["in_flight"] + queue["delayed"])


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
