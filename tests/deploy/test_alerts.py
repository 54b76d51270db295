"""Prometheus' rules: each alert fires where it should and is silent where it should, and an incident pages once."""

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.deploy import promql

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "deploy" / "observability"
STEP = 15
"""Seconds between two samples of a world."""
COARSE = 60
"""Seconds between those that are tried where no rule looks at less than minutes: it takes a quarter of the time."""

Values = list[float | None]
World = dict[str, Values]


def generator(name: str) -> ModuleType:
    """A generator of the folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_rules = generator("make_rules")
RULES = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}


def flat(minutes: float, value: float | None) -> Values:
    return [value] * int(minutes * 60 / STEP)


def rise(minutes: float, per_minute: float, start: float = 0.0) -> Values:
    return [start + per_minute * step * STEP / 60 for step in range(int(minutes * 60 / STEP))]


def onward(values: Values, minutes: float, per_minute: float) -> Values:
    """The same, which rises at another rate from then on."""
    last = values[-1] or 0.0
    return values + rise(minutes, per_minute, last + per_minute * STEP / 60)


def firing(
    tmp_path: Path, world: Mapping[str, Values], expected: Mapping[float, Sequence[str]], *, step: int = STEP
) -> str:
    """Let promtool compare what fires at each of these minutes; returns what it complains of."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    alive = {f'up{{job="relayd",instance="{one}"}}': flat(max(map(len, world.values())) / 4, 1) for one in "ab"}
    test = {
        "rule_files": [str(FOLDER / "alerts.yaml")],
        "evaluation_interval": f"{step}s",
        "tests": [
            {
                "interval": f"{step}s",
                "input_series": [
                    {
                        "series": series,
                        "values": " ".join("_" if one is None else f"{one:.9g}" for one in values[:: step // STEP]),
                    }
                    for series, values in (alive | dict(world)).items()
                ],
                "promql_expr_test": [
                    {
                        "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": f"{round(minute * 60)}s",
                        "exp_samples": [
                            {"labels": json.dumps(name).join(("{alertname=", "}")), "value": 1}
                            for name in sorted(names)
                        ],
                    }
                    for minute, names in expected.items()
                ],
            }
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(json.dumps(test))
    done = subprocess.run(
        [promtool, "test", "rules", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def step_for(alert: str) -> int:
    return STEP if alert == "RelaydDependencyDown" else COARSE


def calls(minutes: float, per_minute: float, bad: float, error: str = "s3_timeout") -> World:
    """Calls to S3, a share of which fails."""
    count = "relayd_dependency_duration_seconds_count"
    common = 'dependency="s3",operation="fetch"'
    good = rise(minutes, per_minute * (1 - bad))
    return {
        f'{count}{{{common},error_type=""}}': good,
        f'relayd_dependency_duration_seconds_bucket{{{common},error_type="",le="5.0"}}': good,
        f'{count}{{{common},error_type="{error}"}}': rise(minutes, per_minute * bad),
    }


def settled(minutes: float, accepted: float, rejected: float = 0.0) -> World:
    """Messages a minute."""
    series = 'relayd_messages_total{queue="mail",outcome="%s",reason="%s"}'
    return {
        series % ("accepted", "forwarded"): rise(minutes, accepted),
        series % ("rejected", "too_large"): rise(minutes, rejected),
    }


def waiting(values: Values) -> World:
    return {'relayd_queue_depth{queue="mail",state="visible"}': values}


def oldest(minutes: float, seconds: float, queue: str = "mail", received: str = "first") -> World:
    return {f'relayd_queue_oldest_seconds{{queue="{queue}",received="{received}"}}': flat(minutes, seconds)}


def feedback(minutes: float, sends: float, kind: str, events: float) -> World:
    return {
        'relayd_feedback_total{kind="send",type=""}': rise(minutes, sends),
        f"relayd_feedback_total{{{kind}}}": rise(minutes, events),
    }


def verdict(known: Values, unknown: Values) -> World:
    return {
        'relayd_deliveries_total{state="sent",reason="forwarded"}': known,
        'relayd_deliveries_total{state="discarded",reason="unknown_mask"}': unknown,
    }


B = 'up{job="relayd",instance="b"}'
A = 'up{job="relayd",instance="a"}'
SUPPRESSED = 'relayd_alerts_total{word="suppressed"}'
GIVEN_UP = 'relayd_in_doubt_total{event="given_up"}'
MASKS = 'relayd_masks{state="%s"}'

FIRES: tuple[tuple[str, World, float, Sequence[str]], ...] = (
    # what happens, series, at which minute, what else fires
    ("RelaydDependencyDown", {'relayd_breaker{queue="mail",dependency="ses"}': flat(2, 0) + flat(5, 2)}, 4, ()),
    ("RelaydDependencyDown", calls(10, 60, 0.9), 4, ()),
    ("RelaydDependencyDown", calls(10, 60, 1.0), 4, ()),
    ("RelaydNoPollProgress", {'relayd_poll_age_seconds{instance="a",queue="mail"}': rise(6, 60)}, 4, ()),
    ("RelaydGone", {A: flat(5, 1) + flat(5, 0), B: flat(5, 1) + flat(5, 0)}, 8, ()),
    ("RelaydGone", {A: flat(5, 1) + flat(10, None), B: flat(5, 1) + flat(10, None)}, 13, ()),
    ("RelaydReplicasGone", {B: flat(5, 1) + flat(20, 0)}, 17, ()),
    ("RelaydReplicasGone", {B: flat(5, 1) + flat(30, None)}, 25, ()),
    ("RelaydCannotReceive", {'relayd_unready{condition="queue"}': flat(10, 1)}, 7, ()),
    ("RelaydMailIsOld", oldest(30, 2000) | waiting(flat(30, 5000)) | settled(30, 60), 20, ()),
    ("RelaydEventsAreOld", oldest(30, 1000, "events"), 20, ()),
    ("RelaydBacklogGrows", waiting(rise(60, 100)) | settled(60, 60), 35, ()),
    ("RelaydBacklogGrows", waiting(rise(60, 100)), 20, ()),
    ("RelaydCallsBurnFast", calls(30, 60, 0.2), 10, ()),
    ("RelaydCallsBurnSlowly", calls(60, 60, 0.08), 30, ()),
    ("RelaydDeadLettersGrow", settled(30, 10, 5), 20, ()),
    ("RelaydDeadLettersWait", {'relayd_queue_depth{queue="dead_letters",state="visible"}': flat(70, 3)}, 65, ()),
    ("RelaydBounceRate", feedback(60, 10, 'kind="bounce",type="permanent"', 1), 50, ()),
    ("RelaydComplaintRate", feedback(60, 100, 'kind="complaint",type=""', 0.2), 50, ()),
    ("RelaydSuppressed", {SUPPRESSED: flat(5, None) + flat(5, 1)}, 6, ()),
    ("RelaydSuppressed", {SUPPRESSED: flat(70, 3) + flat(5, 4)}, 72, ()),
    ("RelaydUnknownMasksJump", verdict(rise(90, 60), flat(60, None) + rise(30, 60)), 80, ()),
    ("RelaydUnknownMasksJump", verdict(onward(rise(60, 60), 30, 0.5), onward(rise(60, 40), 30, 99)), 80, ()),
    ("RelaydMasksVanish", {MASKS % "enabled": flat(30, 1000) + flat(10, 750)}, 35, ()),
    ("RelaydPausedForLong", {'relayd_paused{scope="owner"}': flat(70, 1)}, 65, ()),
    ("RelaydSendsInDoubt", {GIVEN_UP: flat(5, None) + flat(5, 1)}, 6, ()),
    ("RelaydLeasesLost", {'relayd_leases_total{queue="mail",event="lost"}': rise(30, 3)}, 25, ()),
)


@pytest.mark.parametrize(
    ("alert", "world", "minute", "others"), FIRES, ids=[f"{n}-{x[0]}" for n, x in enumerate(FIRES)]
)
def test_an_alert_fires(alert: str, world: World, minute: float, others: Sequence[str], tmp_path: Path) -> None:
    """It, and nothing else."""
    assert firing(tmp_path, world, {minute: [alert, *others]}, step=step_for(alert)) == ""


SILENT: tuple[tuple[str, str, World, float], ...] = (
    ("RelaydDependencyDown", "closed", {'relayd_breaker{queue="mail",dependency="s3"}': flat(10, 0)}, 8),
    (
        "RelaydDependencyDown",
        "the events' breaker",
        {'relayd_breaker{queue="events",dependency="database"}': flat(9, 2)},
        8,
    ),
    ("RelaydDependencyDown", "what is wrong is the mail", calls(30, 60, 1.0, "ses_rejected"), 20),
    ("RelaydDependencyDown", "one call", calls(30, 0.5, 1.0), 1.5),
    ("RelaydNoPollProgress", "it turns", {'relayd_poll_age_seconds{instance="a",queue="mail"}': flat(10, 21)}, 8),
    ("RelaydGone", "one is left", {A: flat(8, 1), B: flat(8, 0)}, 7),
    ("RelaydReplicasGone", "there was but one", {B: flat(30, None)}, 25),
    ("RelaydReplicasGone", "scaled in to two", {'up{job="relayd",instance="c"}': flat(9, 1) + flat(30, None)}, 35),
    ("RelaydCannotReceive", "something else", {'relayd_unready{condition="s3"}': flat(10, 1)}, 8),
    ("RelaydMailIsOld", "it drains", oldest(60, 2000) | waiting(rise(60, -90, 6000)) | settled(60, 100), 30),
    ("RelaydMailIsOld", "tried again", oldest(60, 9000, received="again") | waiting(flat(60, 3)) | settled(60, 1), 30),
    (
        "RelaydMailIsOld",
        "paused",
        oldest(40, 2000) | waiting(flat(40, 5000)) | {'relayd_paused{scope="all"}': flat(40, 1)},
        30,
    ),
    ("RelaydEventsAreOld", "young", oldest(30, 100, "events"), 20),
    ("RelaydBacklogGrows", "it is fast", waiting(rise(60, 100)) | settled(60, 6000), 50),
    ("RelaydBacklogGrows", "it shrinks", waiting(rise(60, -100, 9000)) | settled(60, 60), 50),
    ("RelaydCallsBurnFast", "few", calls(40, 60, 0.009), 30),
    ("RelaydCallsBurnFast", "hardly any calls", calls(60, 0.2, 0.4), 50),
    ("RelaydCallsBurnFast", "what is wrong is the mail", calls(40, 60, 0.4, "content_missing"), 30),
    ("RelaydCallsBurnSlowly", "five of a hundred", calls(60, 60, 0.05), 50),
    ("RelaydDeadLettersGrow", "one in twenty", settled(30, 100, 5), 20),
    ("RelaydDeadLettersWait", "none", {'relayd_queue_depth{queue="dead_letters",state="visible"}': flat(70, 0)}, 65),
    ("RelaydBounceRate", "four of a hundred", feedback(60, 10, 'kind="bounce",type="permanent"', 0.4), 50),
    ("RelaydBounceRate", "transient", feedback(60, 10, 'kind="bounce",type="transient"', 5), 50),
    ("RelaydComplaintRate", "one in two thousand", feedback(60, 100, 'kind="complaint",type=""', 0.05), 50),
    ("RelaydSuppressed", "long ago", {SUPPRESSED: flat(90, 1)}, 80),
    ("RelaydUnknownMasksJump", "as ever", verdict(rise(90, 60), rise(90, 40)), 80),
    ("RelaydMasksVanish", "a tenth", {MASKS % "enabled": flat(30, 1000) + flat(10, 900)}, 35),
    (
        "RelaydMasksVanish",
        "switched off",
        {MASKS % "enabled": flat(30, 900) + flat(10, 100), MASKS % "disabled": flat(30, 100) + flat(10, 900)},
        35,
    ),
    ("RelaydPausedForLong", "for half an hour", {'relayd_paused{scope="owner"}': flat(30, 1) + flat(60, 0)}, 65),
    ("RelaydSendsInDoubt", "doubt alone", {'relayd_in_doubt_total{event="doubt"}': flat(5, None) + flat(5, 1)}, 6),
    ("RelaydLeasesLost", "one", {'relayd_leases_total{queue="mail",event="lost"}': flat(10, 0) + flat(20, 1)}, 25),
)


@pytest.mark.parametrize(("alert", "why", "world", "minute"), SILENT, ids=[f"{x[0]}: {x[1]}" for x in SILENT])
def test_an_alert_is_silent(alert: str, why: str, world: World, minute: float, tmp_path: Path) -> None:
    """Neither it nor another one."""
    assert firing(tmp_path, world, {minute: []}, step=step_for(alert)) == ""


def test_every_alert_has_a_firing_and_a_silent_case() -> None:
    """A rule that nobody tried is a hope."""
    assert {case[0] for case in FIRES} == {case[0] for case in SILENT} == set(ALERTS)


BEFORE, OUTAGE, AFTER = 30, 40, 60
"""Minutes."""


def incident() -> World:
    """S3's calls go from 50 ms to 25 s: sixteen slots make 38 calls a minute of 600, until it is well again."""
    fast = rise(BEFORE, 600)
    good = onward(onward(fast, OUTAGE, 0), AFTER, 3000)
    every = onward(onward(fast, OUTAGE, 16 / 25 * 60), AFTER, 3000)
    lost = 600 - 16 / 25 * 60
    queue = onward(onward(flat(BEFORE, 5), OUTAGE, lost), AFTER, -2400)
    age = onward(flat(BEFORE, 1), OUTAGE, 60 * lost / 600)
    common = 'dependency="s3",operation="fetch",error_type=""'
    return {
        f"relayd_dependency_duration_seconds_count{{{common}}}": every,
        f'relayd_dependency_duration_seconds_bucket{{{common},le="5.0"}}': good,
        'relayd_messages_total{queue="mail",outcome="accepted",reason="forwarded"}': every,
        'relayd_breaker{queue="mail",dependency="s3"}': flat(BEFORE + OUTAGE + AFTER, 0),
        'relayd_poll_age_seconds{queue="mail",instance="a"}': flat(BEFORE + OUTAGE + AFTER, 5),
        **waiting([max(0.0, one or 0.0) for one in queue]),
        'relayd_queue_oldest_seconds{queue="mail",received="first"}': age + flat(AFTER, 1),
    }


def test_the_incident_pages_once_within_two_minutes_and_resolves(tmp_path: Path) -> None:
    """Not a page more while it lasts, not a ticket, and nothing when the queue drains."""
    began, ended = BEFORE, BEFORE + OUTAGE
    down = ["RelaydDependencyDown"]
    expected: dict[float, list[str]] = {began - 1: []}
    expected |= {began + 2 + minute: down for minute in range(OUTAGE - 2)}
    expected |= {ended + minute: [] for minute in range(2, AFTER)}
    assert firing(tmp_path, incident(), expected) == ""


def test_what_the_windows_still_hold_does_not_page_after_a_small_outage(tmp_path: Path) -> None:
    """Ten mails a minute, twenty minutes of timeouts: the bad calls stay in the windows when all is well again."""
    common = 'dependency="s3",operation="fetch"'
    good = onward(onward(rise(20, 10), 20, 0), 30, 10)
    bad = onward(onward(flat(20, 0), 20, 10), 30, 0)
    world = {
        f'relayd_dependency_duration_seconds_count{{{common},error_type=""}}': good,
        f'relayd_dependency_duration_seconds_bucket{{{common},error_type="",le="5.0"}}': good,
        f'relayd_dependency_duration_seconds_count{{{common},error_type="s3_timeout"}}': bad,
    }
    expected: dict[float, list[str]] = {22: ["RelaydDependencyDown"], 39: ["RelaydDependencyDown"]}
    assert firing(tmp_path, world, expected | {40 + minute: [] for minute in range(2, 16)}) == ""


def test_without_its_page_the_incident_would_page_for_its_consequences(tmp_path: Path) -> None:
    """The world of the incident is bad enough for the others: what keeps them silent is the page alone."""
    text = (FOLDER / "alerts.yaml").read_text().replace(make_rules.NOT_DOWN, "")
    assert text != (FOLDER / "alerts.yaml").read_text()
    (tmp_path / "alerts.yaml").write_text(text)
    complaint = firing(tmp_path, incident(), {BEFORE + OUTAGE - 1: ["RelaydDependencyDown"]})
    assert complaint == ""
    wanted = json.loads((tmp_path / "test.yaml").read_text())
    wanted["rule_files"] = [str(tmp_path / "alerts.yaml")]
    (tmp_path / "test.yaml").write_text(json.dumps(wanted))
    done = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "test.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    for other in ("RelaydMailIsOld", "RelaydBacklogGrows"):
        assert other in done.stdout + done.stderr


def test_the_file_is_what_the_generator_writes() -> None:
    """`python deploy/observability/make_rules.py` writes it anew."""
    assert (FOLDER / "alerts.yaml").read_text() == make_rules.rules()


def test_the_rules_ask_for_series_that_there_are() -> None:
    """Metrics, labels and values of the catalogue, and what the rules record themselves."""
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    for rule in RULES:
        assert list(promql.faults(rule["expr"])) == [], rule
        assert set(re.findall(r"relayd:[a-z_:0-9]+", rule["expr"])) <= recorded


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("rate(relayd_nothing_total[1m])", "no series relayd_nothing_total"),
        ('relayd_breaker{colour="red"}', "relayd_breaker has no label colour"),
        ('relayd_breaker{queue="mails"}', "relayd_breaker: queue is never mails"),
        ("sum by (colour) (relayd_breaker)", "no label colour"),
    ],
)
def test_a_series_that_nobody_makes_is_found(expression: str, fault: str) -> None:
    """The check itself."""
    assert list(promql.faults(expression)) == [fault]


def anchors() -> set[str]:
    """The headings of docs/operations.md, as a viewer makes anchors of them."""
    lines = (ROOT / "docs" / "operations.md").read_text().splitlines()
    titles = (line.lstrip("# ").lower() for line in lines if line.startswith("#"))
    return {re.sub(r"[^\w -]", "", title).replace(" ", "-") for title in titles}


def test_every_alert_leads_to_a_part_of_the_runbook() -> None:
    """Who is woken has to find the page, and the summary has to say something."""
    for alert in ALERTS.values():
        page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert page == "docs/operations.md"
        assert anchor in anchors()
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert alert["annotations"]["summary"].endswith((".", "?"))
