"""The page's nouns as JSON."""

from collections.abc import Sequence
from typing import Any

from relayd.sandbox.child import Sent
from relayd.sandbox.outcomes import Ended
from relayd.sandbox.page.book import Entry, Latency
from relayd.sandbox.page.gauges import Lives, Point
from relayd.sandbox.page.reading import FieldRow, Reading
from relayd.sandbox.page.switch import Position
from relayd.sandbox.page.words import meaning, subject_of
from relayd.sandbox.screen import decoded
from relayd.sandbox.traces import Span
from relayd.sandbox.waterfall import rows

MAX_LINE = 300
MAX_RECIPIENTS = 10
MAX_ROWS = 200
MAX_DEAD_BODY = 20_000
SES_DOMAIN = "email.amazonses.com"
"""Of the Message-IDs that SES gives in the sandbox's region."""


def line(entry: Entry) -> dict[str, Any]:
    """An entry as a line of the list."""
    mail, notice = entry.mail, entry.notice
    recipients = mail.recipients if mail else (notice.mailbox,) if notice else ()
    return {
        "id": entry.entry_id,
        "number": entry.number,
        "at": entry.at,
        "state": entry.state,
        "from": _cut(mail.source) if mail else "relayd" if notice else "",
        "to": [_cut(recipient) for recipient in recipients[:MAX_RECIPIENTS]],
        "subject": _cut(decoded(mail.subject[:2000])) if mail else subject_of(notice.notice) if notice else "",
        "size": mail.size if mail else 0,
        "is_mail": mail is not None or notice is not None,
        "is_notice": notice is not None,
        "outcomes": [
            {
                "to": _cut(end.recipient),
                "mailbox": _cut(end.mailbox),
                "state": end.state,
                "kind": end.kind,
                "mask": _cut(end.mask),
                "held": end.held,
                "reason": end.reason,
                "meaning": meaning(end.reason),
                "ms": round((end.at - mail.published_at) * 1000, 1) if mail and end.state == "sent" else None,
                "resends": end.resends,
            }
            for end in list(entry.ends.values())[:MAX_RECIPIENTS]
        ],
        "dead": {"reason": entry.dead.reason, "meaning": meaning(entry.dead.reason)} if entry.dead else None,
    }


def whole(entry: Entry) -> dict[str, Any]:
    """What only the mail's own view shows."""
    return {
        "trace_id": entry.mail.trace_id if entry.mail else "",
        "body": entry.dead.body[:MAX_DEAD_BODY] if entry.dead else "",
    }


def answers(sends: Sequence[tuple[Ended | None, Sent]]) -> list[dict[str, str]]:
    """How each of them can be answered by whoever got it: the owner, or a stranger who got an owner's answer."""
    return [
        {
            "version": str(sent.number),
            "from": _cut(end.mailbox),
            "to": _cut(sent.sender),
            "in_reply_to": f"<{sent.message_id}@{SES_DOMAIN}>",
            "hint": "the stranger, through the mask" if end.kind == "forward" else "the mask",
        }
        for end, sent in sends[:MAX_RECIPIENTS]
        if end is not None and end.kind != "notice"
    ]


def trace(spans: Sequence[Span]) -> dict[str, Any]:
    """A waterfall: its length in milliseconds, and a row for each span."""
    if not spans:
        return {"ms": 0, "rows": []}
    start = min(span.start for span in spans)
    return {
        "ms": _ms(max(span.end for span in spans) - start),
        "rows": [
            {
                "name": _cut(row.span.name),
                "kind": row.span.kind,
                "service": _cut(row.span.service),
                "depth": min(row.depth, 8),
                "linked": row.linked,
                "links": len(row.span.links),
                "from": _ms(row.span.start - start),
                "ms": _ms(row.span.end - row.span.start),
                "error": _cut(row.span.error),
                "details": [[name, _cut(value)] for name, value in row.span.details],
            }
            for row in rows(spans)[:MAX_ROWS]
        ],
    }


def letter(reading: Reading, text: tuple[str, bool]) -> dict[str, Any]:
    return {
        "text": reading.text,
        "html": bool(reading.html.strip()),
        "others": [{"kind": part.kind, "name": part.name, "size": part.size} for part in reading.others],
        "source": text[0],
        "cut": reading.cut or text[1],
    }


def field_row(row: FieldRow) -> dict[str, str]:
    return {"change": row.change, "name": row.name, "before": row.before, "after": row.after}


def point(point: Point) -> dict[str, Any]:
    return {
        "number": point.number,
        "at": point.at,
        "visible": point.depth.visible if point.depth else None,
        "in_flight": point.depth.in_flight if point.depth else None,
        "ok": point.probe.ok,
        "livez_ms": point.probe.ms,
        "state": point.probe.state,
        "in_hand": point.work.in_hand if point.work else None,
        "slots": point.work.slots if point.work else None,
        "held": point.work.held if point.work else "",
        "latency_ms": point.latency_ms,
    }


def lives(lives: Lives) -> dict[str, Any]:
    return {"asked": lives.asked, "ok": lives.ok, "slowest_ms": lives.slowest_ms}


def latency(latency: Latency) -> dict[str, Any]:
    return {"last": latency.last, "p50": latency.p50, "count": latency.count}


def switch(position: Position) -> dict[str, Any]:
    return {"modes": dict(position.modes), "locked": position.locked}


def _cut(text: str) -> str:
    # A lone surrogate would be valid JSON and no text.
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= MAX_LINE else text[: MAX_LINE - 1] + "…"


def _ms(seconds: float) -> float:
    return round(max(0.0, seconds) * 1000, 3)
