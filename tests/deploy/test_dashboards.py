"""Grafana's dashboards and the collector's configuration: made by their generator, asking for what there is, and shown
to work by a real Prometheus that scrapes a real daemon.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from relayd.adapters.database import connect
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.notices import SqlNotices
from relayd.model.address import Address
from relayd.model.mask import Mask
from relayd.model.notice import NOTICE_KINDS, OwnerNotice
from relayd.sandbox.cloud.client import EmbeddedAws
from relayd.sandbox.masks import PIXEL_HOST, TRACKERS
from relayd.telemetry import names
from relayd.telemetry.catalogue import INSTRUMENTS, prometheus_name
from tests.deploy import promql
from tests.deploy.prometheus import Prometheus
from tests.deploy.test_alerts import FOLDER, anchors, generator
from tests.process.cloud import MAIL, Cloud, DaemonProcess, eventually

SHOWN = {"timeseries", "stat", "table"}
UNITS = {"none", "short", "s", "mps", "ops", "bytes", "Bps", "percentunit"}

MAY_BE_EMPTY = {
    "Leases": "a lease is extended or lost only where a mail takes half of it",
    "Settlements that failed": "SQS took all of them",
    "Changes of breakers": "no breaker opened",
    "Not ready": "it is ready",
    "Events of no delivery": "nobody else sends here",
}
"""Panels of things that do not happen here, and why: they show zero."""


def boards() -> dict[str, dict[str, Any]]:
    return {path.name: json.loads(path.read_text()) for path in sorted((FOLDER / "dashboards").glob("*.json"))}


def panels() -> Iterator[dict[str, Any]]:
    for board in boards().values():
        yield from (panel for panel in board["panels"] if panel["type"] != "row")


def queries() -> Iterator[tuple[str, str]]:
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def test_the_files_are_what_the_generator_writes() -> None:
    """`python deploy/observability/make_dashboards.py` writes them anew."""
    sys.path.insert(0, str(FOLDER))
    try:
        made = generator("make_dashboards").dashboards()
    finally:
        sys.path.remove(str(FOLDER))
    assert made == {path.name: path.read_text() for path in (FOLDER / "dashboards").iterdir()}


def test_the_panels_are_plain_and_say_what_to_do() -> None:
    """Plain kinds, units, a description, a link that leads somewhere, the chosen Prometheus and replicas."""
    known = anchors()
    for panel in panels():
        assert panel["type"] in SHOWN
        assert len(panel["description"]) > 20
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert panel["datasource"]["uid"] == "${datasource}"
        assert {link["url"].partition("#")[2] for link in panel["links"]} <= known
        assert "id" not in panel
    for board in boards().values():
        assert [one["name"] for one in board["templating"]["list"]] == ["datasource", "job", "instance"]
        assert board["schemaVersion"] >= 39
        assert "id" not in board
        places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
        assert not any(_overlap(one, two) for n, one in enumerate(places) for two in places[:n])


def _overlap(one: tuple[int, ...], two: tuple[int, ...]) -> bool:
    (x1, y1, w1, h1), (x2, y2, w2, h2) = one, two
    return x1 < x2 + w2 and x2 < x1 + w1 and y1 < y2 + h2 and y2 < y1 + h1


def test_the_panels_ask_for_series_that_there_are() -> None:
    """Metrics, labels and values of the catalogue, of the replicas that were chosen."""
    for title, query in queries():
        assert list(promql.faults(query)) == [], title
        assert promql.asked(query) or "target_info" in query or "process_" in query, title
        assert query.count("{") == query.count('job=~"$job",instance=~"$instance"'), title


def test_what_matters_is_on_a_dashboard() -> None:
    """An instrument that is on no panel, and in no alert, is one that nobody looks at; few are for other uses."""
    shown = {series for _, query in queries() for series in promql.asked(query)}
    looked_at = {series.removesuffix(suffix) for series in shown for suffix in ("", "_bucket", "_sum", "_count")}
    left_out = {name for name in map(prometheus_name, INSTRUMENTS) if name not in looked_at}
    assert left_out == {"messaging_client_sent_messages_total", "relayd_ledger_pruned_total"}


def test_the_collector_keeps_what_relayd_marks() -> None:
    """Every component is defined and in order, and what the policies ask for is what spans carry."""
    config = yaml.safe_load((FOLDER / "collector.yaml").read_text())
    for pipeline in config["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= set(config[kind])
        assert pipeline["processors"][0] == "memory_limiter"
        assert pipeline["processors"][-1] == "batch"
    sampling = config["processors"]["tail_sampling"]
    policies = {one["name"]: one for one in sampling["policies"]}
    assert policies["errors"]["status_code"]["status_codes"] == ["ERROR"]
    assert policies["slow"]["latency"]["threshold_ms"] == 5000
    assert policies["rest"]["probabilistic"]["sampling_percentage"] == 5
    keys = {one["string_attribute"]["key"] for one in policies.values() if "string_attribute" in one}
    assert keys == {names.SURPRISE, names.KEPT}
    assert keys <= set(names.ATTRIBUTES)
    # A slow try has to have ended before its trace is judged.
    assert int(sampling["decision_wait"].removesuffix("s")) > 120


def test_alertmanager_tells_each_severity_to_somebody() -> None:
    """Receivers that exist; the inhibition is for alerts that exist."""
    config = yaml.safe_load((FOLDER / "alertmanager.yaml").read_text())
    receivers = {one["name"] for one in config["receivers"]}
    routes = [config["route"], *config["route"]["routes"]]
    assert {route["receiver"] for route in routes} == receivers
    rules = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
    known = {rule["alert"] for rule in rules if "alert" in rule}
    for rule in config["inhibit_rules"]:
        assert rule["source_matchers"][0].split('"')[1] in known


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """An embedded AWS of its own: this test changes the fates of mail."""
    aws = EmbeddedAws(tmp_path / "aws.log")
    cloud = Cloud(tmp_path, aws, 1)
    yield cloud
    cloud.close()
    aws.stop()


TRACKED = (
    b"From: Shop <news@stranger.example>\r\nTo: shop@mask.example\r\nSubject: hello\r\nMessage-ID: <{}@t.example>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    b'<p>hello</p><img src="https://' + PIXEL_HOST.encode() + b'/open.gif" width="1" height="1">\r\n'
)
SHOP, SAD, ANGRY, LISTED = (f"{name}@mask.example" for name in ("shop", "sad", "angry", "listed"))
FATES = {"sad@owner.example": "no_email", "angry@owner.example": "complaint", "listed@owner.example": "suppressed"}


def load(cloud: Cloud) -> None:
    """A little of everything that becomes of mail."""
    assert isinstance(cloud.aws, EmbeddedAws)
    cloud.mails(5)
    cloud.mail(12, data=TRACKED)
    for mask in (SAD, ANGRY, LISTED, "nobody@mask.example"):
        cloud.mail(10, (mask,))
    for word in ("spam", "gray", "dmarc-reject"):
        cloud.mail(11, data=b"X-Sandbox-Verdict: " + word.encode() + b"\r\n" + MAIL)
    cloud.clients.sqs.send_message(QueueUrl=cloud.world.queue_url, MessageBody="nothing that anybody sent")
    database = connect(cloud.database_url, pool_size=1)
    try:
        found = SqlDirectory(database).lookup(Address.parse(SHOP))
        assert isinstance(found, Mask)
        SqlNotices(database).tell(OwnerNotice(found.owner.owner_id, NOTICE_KINDS[0], {"mask": SHOP}))
    finally:
        database.close()


def shown(query: str) -> str:
    """The query as Grafana sends it."""
    for variable, value in (("$__rate_interval", "20s"), ("$__range", "1m"), ("$job", "relayd"), ("$instance", ".+")):
        query = query.replace(variable, value)
    return query


@pytest.mark.process
def test_every_panel_shows_something(cloud: Cloud, tmp_path: Path) -> None:
    """A real Prometheus scrapes a daemon that works, and evaluates the rules: it answers as to Grafana."""
    cloud.setting(fates=FATES)
    for mask in (SHOP, SAD, ANGRY, LISTED):
        cloud.add_mask(mask, mask.replace("mask.", "owner."), remove_trackers=True)
    cloud.fault("ses:SendEmail", "reset", when="after", times=1)
    (tmp_path / "trackers.json").write_text(json.dumps(TRACKERS))
    daemon = cloud.daemon(**cloud.with_events, RELAYD_TRACKERS_FILE=str(tmp_path / "trackers.json"))
    prometheus = Prometheus(tmp_path, daemon.port)
    try:
        assert eventually(prometheus.is_up, 10)
        load(cloud)
        assert eventually(lambda: _load_is_done(daemon), 10), daemon.output()
        assert eventually(lambda: not empty_after(cloud, prometheus), 12), empty_after(cloud, prometheus)
        rules = prometheus.get("rules")["groups"][0]["rules"]
        assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] == "err"] == []
    finally:
        prometheus.close()
    assert daemon.stop() == 0


def _load_is_done(daemon: DaemonProcess) -> bool:
    return len(daemon.events("message_settled")) >= 13 and bool(daemon.events("notice_ended"))


def empty_after(cloud: Cloud, prometheus: Prometheus) -> list[str]:
    """Panels that show nothing after one mail more. A latency is of calls of just now.

    The zero that stands in for a counter that never counted proves nothing, so it counts only where a panel may be so.
    """
    cloud.mail(int(time.monotonic() * 10))
    time.sleep(0.5)
    found = []
    for title, query in queries():
        asked = shown(query) if title in MAY_BE_EMPTY else shown(query).replace(" or vector(0)", "")
        if not prometheus.ask(asked):
            found.append(f"{title}: {query}")
    return found
