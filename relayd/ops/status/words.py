"""How things are, in words: the most important first, each with the thing to do next. Pure: a snapshot in, sentences
out, so that every sentence can be held by a test.
"""

from collections.abc import Callable, Iterator, Sequence

from relayd.ops.status.flow import Finding, Level, finding, flow, wait
from relayd.ops.status.outages import NAMES, explained
from relayd.ops.status.replica import Replica
from relayd.ops.status.snapshot import Snapshot
from relayd.ops.status.spoken import clock, count, lasting, rate, share

FAILED_SOME, FAILED_MOST, FAILED_LEAST = 0.1, 0.5, 3
"""Shares of what was tried in the last minute that failed; and how many it takes for a share to mean anything."""
QUOTA_SHARE = 0.9
"""Of the day's quota, from which on it is worth a word."""
EVENTS_WAITING = 1000
GONE_SECONDS = 3600.0
"""A replica that has been silent for longer while others run is no news any more: its row is forgotten after a day."""
FEW = 3
"""Things of a kind that are named; the others are counted."""


def findings(snapshot: Snapshot) -> list[Finding]:
    """All there is to say, never nothing. The first one is the headline: trouble if there is any, else how the mail
    flows; then the rest, worst first.
    """
    found = [one for judge in _JUDGES for one in judge(snapshot)]
    troubles = [one for one in found if one.level is Level.TROUBLE]
    others = [one for one in found if one.level is not Level.TROUBLE]
    # What is true of the last minute would contradict what is true now.
    flows = [] if _stands_still(snapshot) else [flow(snapshot)]
    return [*troubles, *flows, *others]


def _stands_still(snapshot: Snapshot) -> bool:
    """Whether no replica receives anything, as some trouble says."""
    if any(one.scope == "all" for one in snapshot.pauses.value or ()):
        return True
    if not snapshot.running:
        return snapshot.knows_replicas
    return all("queue" in one.against or _holds(one) for one in snapshot.running)


def _holds(replica: Replica) -> bool:
    return any(one.breaker == "open" for one in replica.dependencies.values())


def _and_wait(snapshot: Snapshot) -> str:
    """What trouble means for the mail."""
    waiting = snapshot.waiting
    return "" if waiting is None else f"; {wait(waiting)}" if waiting else "; nothing waits"


# Trouble, the most general first.


def _nobody_runs(snapshot: Snapshot) -> Iterator[Finding]:
    if not snapshot.knows_replicas or snapshot.running:
        return
    gone = snapshot.silent
    if gone:
        text = f"{_silence(snapshot, gone, len(gone))}: ended, or cut off from the database{_and_wait(snapshot)}"
        todo = "Ask one itself: relayd status --replica http://HOST:8080. If it has ended, its log's end says why."
    else:
        text = f"no replica runs: nothing is received{_and_wait(snapshot)}"
        todo = "Start relayd run; where it should be running, see how it ended: kubectl describe pod, or its log's end."
    yield finding(Level.TROUBLE, text, todo)


def _all_paused(snapshot: Snapshot) -> Iterator[Finding]:
    for one in snapshot.pauses.value or ():
        if one.scope == "all":
            since = clock(one.since, snapshot.at)
            text = f"an operator has paused all mail since {since} ({one.reason}): nothing is received"
            yield finding(Level.TROUBLE, text + _and_wait(snapshot), "When it may go on: relayd resume --all")


def _held(snapshot: Snapshot) -> Iterator[Finding]:
    running = snapshot.running
    for name in dict.fromkeys(name for one in running for name in one.dependencies):
        states = {one.replica_id: one.dependencies[name].breaker for one in running if name in one.dependencies}
        held = [one for one in running if states.get(one.replica_id) == "open"]
        trying = [one for one in running if states.get(one.replica_id) == "half_open"]
        if held:
            yield _outage(snapshot, name, held)
        elif trying:
            lets = f"{share(len(trying), len(running), 'replica')} {_verb(trying, 'lets', 'let')} mail in step by step"
            yield finding(Level.LOOK, f"{NAMES.get(name, name)} answers again: {lets}")


def _outage(snapshot: Snapshot, name: str, held: Sequence[Replica]) -> Finding:
    says, todo = explained(name, held[0].dependencies[name].reason)
    begins = [began for one in held if (began := one.dependencies[name].since) is not None]
    since = f", since {clock(min(begins), snapshot.at)}" if begins else ""
    everybody = len(held) == len(snapshot.running)
    where = "" if everybody else f" by {share(len(held), len(snapshot.running), 'replica')}"
    probe = min(max(0.0, one.dependencies[name].probe_in - one.seen_ago) for one in held)
    text = f"{says}{since}: nothing is received{where}{_and_wait(snapshot)}"
    return finding(Level.TROUBLE, text, f"{todo} Next probe: {f'in {lasting(probe)}' if probe >= 1 else 'now'}.")


def _queue_away(snapshot: Snapshot) -> Iterator[Finding]:
    met = [one for one in snapshot.running if "queue" in one.against]
    if met:
        text = f"{share(len(met), len(snapshot.running), 'replica')} cannot receive ({met[0].against['queue']})"
        todo = "relayd doctor tells what is wrong with the queue."
        yield finding(Level.TROUBLE, text + _and_wait(snapshot), todo)


def _account_paused(snapshot: Snapshot) -> Iterator[Finding]:
    account = snapshot.account.value
    known = any("ses" in one.dependencies and one.dependencies["ses"].breaker == "open" for one in snapshot.running)
    if account is not None and not account.enabled and not known:
        yield finding(Level.TROUBLE, *explained("ses", "ses_sending_paused"))


def _dead_letter_queue(snapshot: Snapshot) -> Iterator[Finding]:
    met = [one for one in snapshot.running if "dead_letter_queue" in one.against]
    if met:
        text = f"the dead-letter queue takes nothing ({met[0].against['dead_letter_queue']}): what fails comes back"
        yield finding(Level.TROUBLE, text, "relayd doctor tells what is wrong with it.")


def _failing(snapshot: Snapshot) -> Iterator[Finding]:
    minute = snapshot.minute
    if minute is None:
        return
    worked = sum(sum(minute.messages.get(outcome, {}).values()) for outcome in ("accepted", "rejected", "deferred"))
    if minute.failed * minute.seconds < FAILED_LEAST or minute.failed < worked * FAILED_SOME:
        return
    reasons = {**minute.messages.get("rejected", {}), **minute.messages.get("deferred", {})}
    why = ", ".join(sorted(reasons, key=lambda reason: -reasons[reason])[:FEW])
    most = minute.failed >= worked * FAILED_MOST
    text = (
        f"{'most' if most else 'some'} mail fails: {rate(minute.failed)} in the last {lasting(minute.seconds)} ({why})"
    )
    todo = "Mend the cause: relayd doctor. What fails for good is a dead letter, and can be replayed."
    yield finding(Level.TROUBLE if most else Level.LOOK, text, todo)


# What somebody should look at.


def _unanswered(snapshot: Snapshot) -> Iterator[Finding]:
    if snapshot.queue.value is None and snapshot.queue.why:
        yield finding(Level.LOOK, f"the queue could not be asked: {snapshot.queue.why}")
    if snapshot.heartbeats.value is None and snapshot.heartbeats.why and not snapshot.running:
        text = f"the database could not be asked, so that nobody knows which replicas run: {snapshot.heartbeats.why}"
        yield finding(Level.LOOK, text, "Ask a replica itself: relayd status --replica http://HOST:8080")


def _wedged(snapshot: Snapshot) -> Iterator[Finding]:
    stuck = sum(one.wedged for one in snapshot.running)
    if stuck:
        text = f"{stuck} {'worker is' if stuck == 1 else 'workers are'} stuck past the deadline"
        yield finding(Level.LOOK, text, "`worker_wedged` in the log names the threads; py-spy dump shows where.")


def _some_silent(snapshot: Snapshot) -> Iterator[Finding]:
    gone = [one for one in snapshot.silent if not one.stopping and one.seen_ago < GONE_SECONDS]
    if gone and snapshot.running:
        text = _silence(snapshot, gone, len(gone) + len(snapshot.running))
        yield finding(Level.LOOK, text, "Killed, or cut off from the database: see its log's end.")


def _dead(snapshot: Snapshot) -> Iterator[Finding]:
    found = snapshot.dead_letters.value
    if found is not None and found.total:
        day = snapshot.day.value
        reasons = ", ".join(list(day.failed)[:FEW]) if day is not None else ""
        why = f"; what failed in the last day: {reasons}" if reasons else ""
        text = f"{count(found.total)} dead {'letter' if found.total == 1 else 'letters'}{why}"
        yield finding(Level.LOOK, text, "relayd replay --dead-letters --dry-run groups them by reason.")


def _doubts(snapshot: Snapshot) -> Iterator[Finding]:
    known = snapshot.day.value or snapshot.hour.value
    if known is not None and known.in_doubt:
        text = f"{count(known.in_doubt)} {'send is' if known.in_doubt == 1 else 'sends are'} in doubt"
        todo = "SES's event settles it, or it is sent once more; relayd deliveries list shows which."
        yield finding(Level.LOOK, text, todo)


def _slowed(snapshot: Snapshot) -> Iterator[Finding]:
    running = snapshot.running
    for name in dict.fromkeys(name for one in running for name in one.dependencies):
        slowed = [one for one in running if is_slowed(one, name)]
        if slowed:
            who = share(len(slowed), len(running), "replica")
            takes = f"{who} {_verb(slowed, 'takes', 'take')} fewer messages in hand"
            todo = "Nothing: it grows again with each success."
            yield finding(Level.LOOK, f"{NAMES.get(name, name)} failed or throttled lately: {takes}", todo)


def _calls_fail(snapshot: Snapshot) -> Iterator[Finding]:
    """Calls beside the mail meet an outage, too: where nothing else is in hand, they are all that tells of it."""
    for name, calls in snapshot.calls().items():
        met = [one.dependencies[name] for one in snapshot.running if name in one.dependencies]
        told = any(one.breaker != "closed" for one in met) or any(is_slowed(one, name) for one in snapshot.running)
        if not told and calls.errors >= FAILED_LEAST and calls.errors >= calls.count * FAILED_SOME:
            text = (
                f"{NAMES.get(name, name)} failed {count(calls.errors)} of {count(calls.count)} calls in the last minute"
            )
            yield finding(Level.LOOK, text)


def is_slowed(replica: Replica, dependency: str) -> bool:
    """Whether it takes less than it could for that dependency's sake, though that works."""
    met = replica.dependencies.get(dependency)
    if met is None or met.limit is None or replica.slots is None:
        return False
    return met.breaker == "closed" and met.limit < replica.slots


def _some_paused(snapshot: Snapshot) -> Iterator[Finding]:
    some = [one for one in snapshot.pauses.value or () if one.scope != "all"]
    if some:
        told = "; ".join(f"{one.scope} {one.subject} since {clock(one.since, snapshot.at)}" for one in some[:FEW])
        more = f", and {len(some) - FEW} more" if len(some) > FEW else ""
        yield finding(Level.LOOK, f"paused by operators: {told}{more}", "relayd pause shows why.")


def _quota(snapshot: Snapshot) -> Iterator[Finding]:
    account = snapshot.account.value
    if account is not None and account.enabled and 0 < account.quota * QUOTA_SHARE <= account.sent:
        text = f"{account.sent:,.0f} of the {account.quota:,.0f} mails are sent that SES allows in 24 hours"
        yield finding(Level.LOOK, text, "Ask AWS for a higher quota before it is used up.")


def _events_behind(snapshot: Snapshot) -> Iterator[Finding]:
    found = snapshot.events.value if snapshot.events is not None else None
    if found is not None and found.visible >= EVENTS_WAITING:
        text = f"{count(found.visible)} of SES's events wait: bounces, and sends in doubt, are learned of late"
        yield finding(Level.LOOK, text, "Only the database can hold them up: see its times.")


_JUDGES: tuple[Callable[[Snapshot], Iterator[Finding]], ...] = (
    _nobody_runs,
    _all_paused,
    _held,
    _queue_away,
    _account_paused,
    _dead_letter_queue,
    _failing,
    _unanswered,
    _wedged,
    _some_silent,
    _dead,
    _doubts,
    _slowed,
    _calls_fail,
    _some_paused,
    _quota,
    _events_behind,
)


def _silence(snapshot: Snapshot, gone: Sequence[Replica], whole: int) -> str:
    since = clock(snapshot.at - min(one.seen_ago for one in gone), snapshot.at)
    return f"{share(len(gone), whole, 'replica')} {_verb(gone, 'is', 'are')} silent since {since}"


def _verb(who: Sequence[Replica], one: str, many: str) -> str:
    return one if len(who) == 1 else many
