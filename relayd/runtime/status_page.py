"""The page at /: what a person wants to see of a daemon in an incident, from this host alone and with no script.

It is made from the same document as /status; nothing here asks anybody.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from relayd.runtime.sparkline import sparkline
from relayd.runtime.status_details import details

REFRESH_SECONDS = 5

_NAMES = {"queue": "SQS", "s3": "S3", "ses": "SES", "database": "Database", "certificates": "Certificates"}

_STYLE = """
:root { color-scheme: light dark; --paper: light-dark(#fff, #14171a); --ink: light-dark(#1c2024, #e6e8ea);
  --soft: light-dark(#5c646c, #9aa3ab); --line: light-dark(#dfe3e6, #2c3237); --well: light-dark(#17692f, #5fd38a);
  --look: light-dark(#8a5a00, #f0b94d); --ill: light-dark(#a8071a, #ff8080); --spark: light-dark(#2563a8, #7ab4ee); }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 62rem; background: var(--paper);
  color: var(--ink); font-variant-numeric: tabular-nums; }
h1 { font-size: 1.35rem; line-height: 1.3; margin: .2rem 0 .4rem; }
h1, p { overflow-wrap: anywhere; } h2 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
p { margin: .2rem 0; } .soft { color: var(--soft); } .well { color: var(--well); } .look { color: var(--look); }
.ill { color: var(--ill); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .6rem; margin: 1rem 0; }
.tile { border: 1px solid var(--line); border-radius: .4rem; padding: .5rem .7rem; }
.tile i { font-style: normal; }
.tile b { display: block; font-size: 1.3rem; font-weight: 600; } .tile span { color: var(--soft); font-size: .85rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-top: 1px solid var(--line); vertical-align: middle; }
thead th { color: var(--soft); font-weight: 400; font-size: .85rem; border-top: 0; white-space: nowrap; }
tbody th { font-weight: 600; } td.n, th.n { text-align: right; white-space: nowrap; }
.mono { font-family: ui-monospace, monospace; font-size: .8rem; overflow-wrap: anywhere; }
svg.spark { width: 100%; min-width: 7rem; max-width: 16rem; height: 32px; display: block; }
svg.spark path { fill: none; stroke: var(--spark); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
svg.spark .fault { fill: var(--ill); opacity: .3; }
details { margin-top: 1.6rem; } details table table { margin: 0; } details th { width: 34%; font-weight: 400;
  color: var(--soft); overflow-wrap: anywhere; } details td { overflow-wrap: anywhere; }
nav a { margin-right: 1rem; color: inherit; }
@media (max-width: 40rem) { .wide { display: none; } th, td { padding-right: .5rem; } svg.spark { min-width: 5rem; } }
"""


def status_page(status: Mapping[str, Any]) -> str:
    """The status as an HTML document. Every name and value is escaped."""
    return "".join(_document(status))


def _document(status: Mapping[str, Any]) -> Iterator[str]:
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>relayd</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}"><style>{_STYLE}</style></head><body>'
    recent = status.get("recent", {})
    yield from _headline(status)
    yield from _tiles(status, recent)
    yield from _dependencies(status, recent)
    yield from _messages(recent)
    yield from _notable("Failed last", recent.get("failed", ()))
    yield from _notable("Slowest", recent.get("slowest", ()))
    yield "<details><summary>Everything</summary>"
    yield from details({name: value for name, value in status.items() if name != "recent"})
    yield '</details><nav><p><a href="/livez">livez</a><a href="/readyz">readyz</a><a href="/metrics">metrics</a>'
    yield '<a href="/status">status as JSON</a></p></nav></body></html>\n'


def _headline(status: Mapping[str, Any]) -> Iterator[str]:
    level, text = _state(status)
    yield f'<p class="soft">relayd {escape(str(status.get("version", "")))}'
    yield f" on {escape(str(status.get('queue', '')))}, replica {escape(str(status.get('replica', '')))}, "
    yield f"up {_duration(status.get('uptime_seconds'))}</p>"
    yield f'<h1 class="{level}">{text}</h1>'
    for name, reason in status.get("against", {}).items():
        since = status.get("since", {}).get(name)
        yield f'<p>Not ready: <b class="ill">{escape(_named(name))}</b>, {escape(str(reason))}{_since(since)}.</p>'
    orders = status.get("orders", {})
    if orders.get("domains") or orders.get("owners"):
        count = len(orders.get("domains", ())) + len(orders.get("owners", ()))
        yield f'<p>Mail of <b class="look">{count}</b> domains or owners is paused; '
        yield "<code>relayd pause</code> lists them.</p>"


def _state(status: Mapping[str, Any]) -> tuple[str, str]:
    """A word for the colour, and the whole of it in words: what to think, and what not to do."""
    held = status.get("held", {})
    if not status.get("live"):
        return "ill", f"Stuck: {escape(str(status.get('live_reason')))}. A restart helps."
    if status.get("stopping"):
        return "look", "Stopping: what is in hand is finished or handed back."
    if held:
        what = " and ".join(
            f"{escape(_named(name))} ({escape(str(reason))}{_since(status.get('since', {}).get(name))})"
            for name, reason in held.items()
        )
        return "ill", f"Waiting for {what}. Mail waits in the queue; a restart does not help."
    if status.get("orders", {}).get("everything"):
        return "look", "Paused: all mail waits in the queue. <code>relayd resume --all</code> ends it."
    if not status.get("ready"):
        return "look", "Alive, and not ready."
    minute = status.get("recent", {}).get("minute", {})
    if not minute.get("finished"):
        return "well", "Ready. No mail ended in the last minute."
    return "well", f"Forwarding: {_rate(minute.get('sent'), minute.get('seconds'))} mails a second."


def _tiles(status: Mapping[str, Any], recent: Mapping[str, Any]) -> Iterator[str]:
    minute, quarter = recent.get("minute", {}), recent.get("quarter_hour", {})
    failed = quarter.get("failed", 0)
    tiles = [
        (f"{status.get('in_flight', 0)} of {status.get('slots', 0)}", "messages in hand"),
        (_rate(minute.get("finished"), minute.get("seconds")), "ended a second, last minute"),
        (_rate(quarter.get("finished"), quarter.get("seconds")), "ended a second, 15 min"),
        (_seconds(minute.get("p99")), f"work on one, p99 (p50 {_seconds(minute.get('p50'))})"),
        (_duration(recent.get("oldest_seconds")), "the oldest message seen"),
        (f'<i class="{"ill" if failed else "well"}">{failed}</i>', "failed tries, 15 min"),
    ]
    yield '<div class="tiles">'
    for value, name in tiles:
        yield f'<div class="tile"><b>{value}</b><span>{name}</span></div>'
    yield "</div>"


def _dependencies(status: Mapping[str, Any], recent: Mapping[str, Any]) -> Iterator[str]:
    states = status.get("dependencies", {})
    lines = recent.get("series", {}).get("calls", {})
    minute = recent.get("minute", {})
    calls = minute.get("calls", {})
    yield '<h2>Dependencies</h2><div class="scroll"><table><thead><tr><th>last minute</th><th>breaker</th>'
    yield '<th class="n wide">in hand at most</th><th class="n wide">calls/s</th><th class="n">errors</th>'
    yield '<th class="n wide">p50</th><th class="n">p99</th><th>p99, 15 min</th></tr></thead><tbody>'
    for name in dict.fromkeys([*lines, *states]):
        state, asked, line = states.get(name, {}), calls.get(name, {}), lines.get(name, {})
        errors = asked.get("errors", 0)
        yield f'<tr><th scope="row">{escape(_named(name))}</th><td>{_breaker(state)}</td>'
        yield f'<td class="n wide">{escape(str(state.get("limit", "–")))}</td>'
        yield f'<td class="n wide">{_rate(asked.get("count"), minute.get("seconds"))}</td>'
        yield f'<td class="n">{f"""<b class="ill">{errors}</b>""" if errors else "0"}</td>'
        yield f'<td class="n wide">{_seconds(asked.get("p50"))}</td><td class="n">{_seconds(asked.get("p99"))}</td>'
        yield f"<td>{_latency(name, line)}</td></tr>"
    yield "</tbody></table></div>"


def _breaker(state: Mapping[str, Any]) -> str:
    match state.get("breaker"):
        case "closed":
            return '<span class="well">closed</span>'
        case "open":
            reason = escape(str(state.get("reason", "")))
            return f'<b class="ill">OPEN</b> {reason}, next try in {_duration(state.get("probe_in_seconds"))}'
        case None:
            return "–"
        case other:
            return f'<b class="look">{escape(str(other).replace("_", " "))}</b>'


def _latency(name: str, line: Mapping[str, Sequence[Any]]) -> str:
    slowest = max((value for value in line.get("p99", ()) if value is not None), default=None)
    faults = sum(line.get("errors", ()))
    title = f"{_named(name)}: the slowest p99 of 15 minutes was {_seconds(slowest)}, with {faults} errors"
    return sparkline(line.get("p99", ()), title, faults=line.get("errors", ()))


def _messages(recent: Mapping[str, Any]) -> Iterator[str]:
    line = recent.get("series", {}).get("messages", {})
    quarter = recent.get("quarter_hour", {})
    if not quarter.get("messages"):
        return
    yield "<h2>Messages, 15 min</h2>"
    yield sparkline(line.get("finished", ()), "messages that ended, by 10 seconds", faults=line.get("failed", ()))
    yield '<div class="scroll"><table><thead><tr><th>outcome</th><th>reason</th>'
    yield '<th class="n">messages</th></tr></thead><tbody>'
    rows = [(outcome, reason, n) for outcome, reasons in quarter["messages"].items() for reason, n in reasons.items()]
    for outcome, reason, count in sorted(rows, key=lambda row: -row[2]):
        yield f"<tr><td>{escape(str(outcome))}</td><td>{escape(str(reason))}</td>"
        yield f'<td class="n">{escape(str(count))}</td></tr>'
    yield "</tbody></table></div>"


def _notable(title: str, messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not messages:
        return
    yield f'<h2>{title}</h2><div class="scroll"><table><thead><tr><th>at (UTC)</th><th class="n">took</th>'
    yield '<th>reason</th><th class="wide">mail</th><th>trace</th></tr></thead><tbody>'
    for one in messages:
        yield f"<tr><td>{_clock(one.get('at'))}</td>"
        yield f'<td class="n">{_seconds(one.get("seconds"))}</td><td>{escape(str(one.get("reason", "")))}</td>'
        yield f'<td class="mono wide">{escape(str(one.get("mail_id") or "–"))}</td>'
        yield f'<td class="mono">{escape(str(one.get("trace_id") or "–"))}</td></tr>'
    yield "</tbody></table></div>"


def _named(name: str) -> str:
    return _NAMES.get(name, name.replace("_", " "))


def _since(at: float | None) -> str:
    return "" if at is None else f", since {_clock(at)} UTC"


def _clock(at: float | None) -> str:
    return "–" if at is None else datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def _rate(count: float | None, seconds: float | None) -> str:
    if count is None or not seconds:
        return "0"
    rate = count / seconds
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.1f}" if rate >= 1 or rate == 0 else f"{rate:.2f}"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    whole = round(seconds)
    for size, unit, below, small in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"
