"""The table of replicas: who there is, and what each thinks of what it depends on. Those come first of which there is
something to tell.
"""

from collections.abc import Iterator, Sequence

from rich.text import Text

from relayd.ops.status.outages import NAMES
from relayd.ops.status.replica import Governed, Replica
from relayd.ops.status.snapshot import Snapshot
from relayd.ops.status.spoken import clock, lasting, rate
from relayd.ops.status.words import GONE_SECONDS, is_slowed

MOST_WELL = 8
"""Replicas that are shown though there is nothing to tell of them."""
HEAD, FAINT = "bold", "dim"

_SHORT = {"s3": "S3", "ses": "SES", "database": "DB", "certificates": "CERT"}


def replica_rows(snapshot: Snapshot, width: int) -> Iterator[Text]:
    """Its lines; none where no replica is known."""
    shown = [one for one in snapshot.replicas if not one.silent or one.seen_ago < GONE_SECONDS]
    if not snapshot.replicas:
        return
    names = [name for name in _SHORT if any(name in one.dependencies for one in shown)]
    wide = max(12, min(max((len(one.replica_id) for one in shown), default=12), width - 25 - 7 * len(names)))
    head = f"{'REPLICA':<{wide}}{'SEEN':>7}{'IN HAND':>9}{'DONE':>9}"
    yield Text(head + "".join(f"{_SHORT[name]:>7}" for name in names), style=HEAD)
    telling = [one for one in shown if not _is_well(one)]
    well = [one for one in shown if _is_well(one)]
    for one in (*telling, *well[:MOST_WELL]):
        yield from _replica(snapshot, one, names, wide)
    if len(well) > MOST_WELL:
        yield Text(f"and {len(well) - MOST_WELL} more of which there is nothing to tell", style=FAINT)
    if gone := len(snapshot.replicas) - len(shown):
        yield Text(f"and {gone} that ended without a word more than an hour ago", style=FAINT)


def _is_well(one: Replica) -> bool:
    """Whether there is nothing to tell of it but its figures."""
    breakers = all(met.breaker in ("closed", "") for met in one.dependencies.values())
    slowed = any(is_slowed(one, name) for name in one.dependencies)
    return breakers and not (slowed or one.against or one.wedged or one.silent or one.stopping)


def _replica(snapshot: Snapshot, one: Replica, names: Sequence[str], wide: int) -> Iterator[Text]:
    line = Text(cut(one.replica_id, wide).ljust(wide))
    if one.silent:
        since = clock(snapshot.at - one.seen_ago, snapshot.at)
        word = "gone while it was stopping" if one.stopping else "SILENT"
        yield line.append(f"  {word}, since {since} ({lasting(one.seen_ago)})", style="red")
        return
    hand = f"{'-' if one.in_flight is None else one.in_flight}/{'-' if one.slots is None else one.slots}"
    done = "-" if one.minute is None else rate(one.minute.finished / one.minute.seconds)
    line.append(f"{lasting(one.seen_ago):>7}{hand:>9}{done:>9}")
    for name in names:
        line.append_text(_governed(one, name, one.dependencies.get(name)))
    yield line
    for name, met in one.dependencies.items():
        if met.breaker not in ("closed", ""):
            style = "red" if met.breaker == "open" else "yellow"
            yield Text(f"  {NAMES.get(name, name)}: {_breaker(snapshot, one, met)}", style=style)
    against = {name: why for name, why in one.against.items() if name not in one.dependencies}
    for name, why in against.items():
        yield Text(f"  {name}: {why}" if name != why else f"  {name}", style="yellow")
    if snapshot.queue_name and one.queue and one.queue != snapshot.queue_name:
        yield Text(f"  takes from another queue: {one.queue}", style="yellow")


def _governed(replica: Replica, name: str, met: Governed | None) -> Text:
    if met is None:
        return Text(f"{'-':>7}")
    if met.breaker == "open":
        return Text(f"{'OPEN':>7}", style="bold red")
    limit = "-" if met.limit is None else str(met.limit)
    if met.breaker == "half_open":
        return Text(f"{f'try {limit}':>7}", style="yellow")
    return Text(f"{limit:>7}", style="yellow" if is_slowed(replica, name) else "")


def _breaker(snapshot: Snapshot, replica: Replica, met: Governed) -> str:
    since = f" since {clock(met.since, snapshot.at)}" if met.since is not None else ""
    probe = f", next probe {_probe(met.probe_in - replica.seen_ago)}" if met.breaker == "open" else ""
    return f"{met.breaker.replace('_', ' ')}{since}: {met.reason or 'no reason told'}{probe}"


def _probe(seconds: float) -> str:
    return f"in {lasting(seconds)}" if seconds >= 1 else "now"


def cut(text: str, width: int) -> str:
    """As much of it as fits; the middle goes, because names differ at their ends."""
    if len(text) <= width:
        return text
    if width < 8:
        return text[: max(0, width)]
    ahead = (width - 3) // 2
    return f"{text[:ahead]}...{text[len(text) - (width - 3 - ahead) :]}"
