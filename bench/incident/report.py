"""The replay in words: a table of both designs, and what was expected of relayd."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.incident.record import Record, drain_limit, figures, forwardable

LIVEZ_LIMIT_MS = 50.0
MOST_EXTRA_RECEIVES = 2

ROWS: Sequence[tuple[str, str]] = (
    ("mails that came in", "arrived"),
    ("forwarded", "forwarded"),
    ("lost", "lost"),
    ("sent twice or more", "mails_doubled"),
    ("surplus sends", "duplicates"),
    ("health probes", "probes"),
    ("probes failed", "probe_failures"),
    ("restarts", "restarts"),
    ("health check, 99 % within (ms)", "livez_p99_ms"),
    ("fetches from S3", "fetches"),
    ("fetches for nothing", "wasted_fetches"),
    ("most often handed out: one mail", "max_receive_count"),
    ("came in while S3 was slow", "arrived_in_outage"),
    ("forwarded while S3 was slow", "forwarded_in_outage"),
    ("median wait of those (s)", "latency_in_outage_p50_seconds"),
    ("longest wait of those (s)", "latency_in_outage_max_seconds"),
    ("waiting when S3 was well again", "backlog_at_end"),
    ("until that was gone (s)", "recovery_seconds"),
)


@dataclass(frozen=True, slots=True)
class Check:
    """Something that was expected, and whether it came true."""

    what: str
    holds: bool


def checks(record: Record) -> list[Check]:
    """What must be true of relayd."""
    told = figures(record)
    recovery, limit = record.recovered_at(), drain_limit(record)
    took = None if recovery is None else record.story.told(recovery - record.story.ends)
    half = forwardable(record) / 2
    forwarded = record.during(list(record.first_sent().values()))
    p99 = told["livez_p99_ms"]
    assert isinstance(p99, float)
    return [
        Check(f"no probe failed: {told['probe_failures']} did", told["probe_failures"] == 0),
        Check(f"99 % of probes within {LIVEZ_LIMIT_MS:g} ms: {p99:g} ms", p99 < LIVEZ_LIMIT_MS),
        Check(f"nothing lost: {told['lost']}", told["lost"] == 0),
        Check(f"nothing sent twice: {told['duplicates']}", told["duplicates"] == 0),
        Check(
            f"at most {MOST_EXTRA_RECEIVES} receives more than one: {record.most_handed_out - 1}",
            record.most_handed_out - 1 <= MOST_EXTRA_RECEIVES,
        ),
        Check(f"half of what 20 s a fetch allow was forwarded, {half:g}: {forwarded}", forwarded >= half),
        Check(
            f"recovered within {limit:.0f} s, a slow call and 1.5 x backlog / (capacity - arrivals): "
            + ("never" if took is None else f"{took:.0f} s"),
            took is not None and took <= limit,
        ),
    ]


def table(old: Mapping[str, object], relayd: Mapping[str, object]) -> str:
    """Both designs side by side, in seconds of the story."""
    lines = [f"{'':34}{'old design':>12}{'relayd':>12}"]
    for words, key in ROWS:
        left, right = (("never" if side[key] is None else f"{side[key]}") for side in (old, relayd))
        lines.append(f"{words:34}{left:>12}{right:>12}")
    return "\n".join(lines)


def verdict(found: Sequence[Check]) -> str:
    """The checks, one a line."""
    return "\n".join(f"{'yes' if check.holds else 'NO':4}{check.what}" for check in found)
