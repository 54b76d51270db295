"""A vocabulary for Grafana's dashboards: panels, the queries that they are made of, and their JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

SCHEMA = 39
"""Grafana 11's; later ones read it."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
OURS = 'job=~"$job",instance=~"$instance"'
WINDOW = "$__rate_interval"


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `queries`: legend and PromQL; `doc`: what it shows, and what to do about it; `section`: of the
    runbook.
    """

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    doc: str
    section: str = ""
    kind: Literal["timeseries", "stat", "table"] = "timeseries"
    width: int = 8
    steps: Sequence[tuple[str, float]] = ()
    """Colours, and from which value on."""
    words: Sequence[tuple[str, str, str]] = ()
    """Value, the word for it, its colour."""
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard, as rows of panels."""

    uid: str
    title: str
    doc: str
    rows: Sequence[tuple[str, Sequence[Panel]]]


def of(metric: str, *matchers: str) -> str:
    """A selector of the chosen replicas' series."""
    return f"{metric}{{{','.join([*matchers, OURS])}}}"


def rate(metric: str, *matchers: str, by: str = "") -> str:
    """Per second, added up over replicas."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({of(metric, *matchers)}[{WINDOW}]))"


def rise(metric: str, *matchers: str, by: str = "") -> str:
    """How many within what is shown."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (increase({of(metric, *matchers)}[$__range]))"


def quantile(share: float, metric: str, *matchers: str, by: str = "") -> str:
    grouping = f"le,{by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({grouping}) (rate({of(metric + '_bucket', *matchers)}[{WINDOW}])))"


def quantiles(metric: str, *matchers: str, shares: Sequence[float] = (0.5, 0.99)) -> list[tuple[str, str]]:
    return [(f"p{share * 100:g}", quantile(share, metric, *matchers)) for share in shares]


def none_is_zero(expression: str) -> str:
    """A rare counter has no series before its first time."""
    return f"({expression}) or vector(0)"


def built(board: Dashboard, runbook: str) -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in board.rows:
        panels.append({"type": "row", "title": title, "collapsed": False, "gridPos": _place(0, y, 24, 1), "panels": []})
        x, y = 0, y + 1
        for panel in row:
            if x + panel.width > 24:
                x, y = 0, y + HEIGHT
            panels.append(_panel(panel, _place(x, y, panel.width, HEIGHT), runbook))
            x += panel.width
        y += HEIGHT
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.doc,
        "tags": ["relayd"],
        "schemaVersion": SCHEMA,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "links": [
            {"type": "dashboards", "title": "relayd", "tags": ["relayd"], "asDropdown": True, "keepTime": True},
            {"type": "link", "title": "Runbook", "url": f"{runbook}#runbook", "targetBlank": True},
        ],
        "annotations": {"list": []},
        "templating": {"list": _variables()},
        "panels": panels,
    }


HEIGHT = 7


def _place(x: int, y: int, w: int, h: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}


def _variables() -> list[dict[str, Any]]:
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return [source, _labels("job", "target_info"), _labels("instance", 'target_info{job=~"$job"}')]


def _labels(name: str, series: str) -> dict[str, Any]:
    query = f"label_values({series}, {name})"
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panel(panel: Panel, place: dict[str, int], runbook: str) -> dict[str, Any]:
    instant = panel.kind != "timeseries"
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": SOURCE,
            "expr": query,
            "legendFormat": legend,
            "instant": instant,
            "range": not instant,
            "format": "table" if panel.kind == "table" else "time_series",
        }
        for number, (legend, query) in enumerate(panel.queries)
    ]
    link = {"title": "Runbook", "url": f"{runbook}#{panel.section}", "targetBlank": True}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.doc,
        "datasource": SOURCE,
        "gridPos": place,
        "links": [link] if panel.section else [],
        "targets": targets,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    } | ({"transformations": _TABLE} if panel.kind == "table" else {})


_TABLE = [{"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": {"Value": "count"}}}]


def _defaults(panel: Panel) -> dict[str, Any]:
    steps = [
        {"color": colour, "value": None if number == 0 else value} for number, (colour, value) in enumerate(panel.steps)
    ]
    words = {value: {"text": word, "color": colour, "index": n} for n, (value, word, colour) in enumerate(panel.words)}
    found: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if steps:
        found["thresholds"] = {"mode": "absolute", "steps": steps}
        found["color"] = {"mode": "thresholds" if panel.kind == "stat" else "palette-classic"}
    if words:
        found["mappings"] = [{"type": "value", "options": words}]
    if panel.kind == "timeseries":
        found["custom"] = {
            "fillOpacity": 20 if panel.stacked else 5,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none"},
            "thresholdsStyle": {"mode": "line" if steps else "off"},
        }
    return found


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "background",
            "graphMode": "none",
            "textMode": "value_and_name" if len(panel.queries) > 1 or "{{" in panel.queries[0][0] else "auto",
        }
    if panel.kind == "table":
        return {"showHeader": True, "sortBy": [{"displayName": "count", "desc": True}]}
    return {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
