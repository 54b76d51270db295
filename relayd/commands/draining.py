"""What `relayd drain` says: on the bar, in lines while it waits, and at its end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

from relayd.commands.exits import DONE, FAILURES, INTERRUPTED, NOT_FINISHED

if TYPE_CHECKING:
    from relayd.adapters.queue_depth import QueueDepth
    from relayd.commands.progress import Bar
    from relayd.ops.drain import Ending, Standing
    from relayd.ops.tally import Later, Sums

LINE_SECONDS = 30.0
"""Between two lines where there is no bar, and between two about the same outage."""
NO_DEAD_LETTER = "dead_letter_failed"
"""The reason of messages that belong to the dead letters and could not be put there."""


class Narrator:
    """Is told how a drain stands, several times a second, and says what is news."""

    def __init__(self, bar: "Bar", say: Callable[[str], None], now: Callable[[], float], *, lines: bool) -> None:
        """`say` prints a line beside the bar; `lines`: every so often how far it is, too, for there is no bar."""
        self._bar = bar
        self._say = say
        self._now = now
        self._lines = lines
        self._next_line = now() + LINE_SECONDS
        self._done_before = 0
        self._said_down: dict[str, float] = {}
        """When an outage was told of that has not ended."""
        self._silent_until: dict[str, float] = {}

    def __call__(self, standing: "Standing") -> None:
        look, done = standing.look, standing.look.done
        # Between two looks the engine goes on.
        done = max(done, standing.sums.finished)
        self._bar.at(done, max(done, look.done + look.left), told(standing))
        self._tell_outages(standing)
        if self._lines and self._now() >= self._next_line:
            self._next_line += LINE_SECONDS
            rate = max(0, done - self._done_before) / LINE_SECONDS
            self._done_before = done
            self._say(f"{done} of {max(done, look.done + look.left)} done, {rate:.1f}/s; {told(standing)}")

    def _tell_outages(self, standing: "Standing") -> None:
        now = self._now()
        for name, reason in standing.down.items():
            # A breaker that opens and closes all the time is told of now and then.
            if name not in self._said_down and now >= self._silent_until.get(name, now):
                self._said_down[name] = now
                self._silent_until[name] = now + LINE_SECONDS
                self._say(f"{name} is down ({reason}): no mail is taken until it works again.")
        for name in set(self._said_down) - set(standing.down):
            del self._said_down[name]
            self._say(f"{name} answers again.")


def told(standing: "Standing") -> str:
    """What became of the mail so far, and what is waited for, in a line: what is waited for first, for a narrow
    terminal cuts the rest off.
    """
    waiting = ", ".join(waits(standing))
    return "; ".join(filter(None, (waiting, counts(standing.sums))))


def waits(standing: "Standing") -> Iterator[str]:
    """What it waits for, the weightiest first; nothing while mail is coming."""
    look = standing.look
    if standing.paused:
        yield "all mail is paused (relayd resume lets it go on)"
    for name, reason in standing.down.items():
        when = f"next try in {lasting(standing.next_try)}" if standing.next_try >= 0.5 else "trying it now"
        yield f"{name} is down ({reason}), {when}"
    if look.depth is None:
        yield f"the queue does not answer ({look.trouble})"
        return
    if look.depth.visible or look.in_hand:
        return
    if look.coming_back:
        yield f"{look.coming_back} put off, back in {lasting(standing.back_in or 0.0)}"
    if look.elsewhere:
        yield f"{look.elsewhere} in flight elsewhere"
    if look.depth.delayed:
        yield f"{look.depth.delayed} delayed"
    if look.is_empty:
        yield "empty, making sure"


def counts(sums: "Sums") -> str:
    """What became of the messages so far, without what did not happen."""
    rows = (
        (sums.forwarded, "forwarded"),
        (sums.before, "done before"),
        (sum(sums.discarded.values()), "discarded"),
        (sum(sums.dead_lettered.values()), "dead"),
        (sum(later.count for later in sums.deferred.values()), "put off"),
    )
    return ", ".join(f"{count} {word}" for count, word in rows if count)


@dataclass(frozen=True, slots=True)
class Result:
    """How a drain ended."""

    ending: "Ending"
    sums: "Sums"
    receives: int
    left: "QueueDepth | None"
    """What the queue holds now; None where it does not answer."""
    stays: int
    """Of these, messages that somebody else put off for long."""
    seconds: float
    busy_seconds: float
    """From the first receive to the last message's end."""
    clean: bool
    """Whether everything in hand was finished or handed back."""

    @property
    def exit_code(self) -> int:
        """What scripts go by."""
        if self.ending == "interrupted":
            return INTERRUPTED
        if self.ending == "timeout" or not self.clean:
            return NOT_FINISHED
        return FAILURES if self.sums.dead_lettered or NO_DEAD_LETTER in self.sums.deferred else DONE

    @property
    def rate(self) -> float:
        """Messages finished a second, while there were any."""
        return self.sums.finished / self.busy_seconds if self.busy_seconds > 0 else 0.0

    def verdict(self) -> list[str]:
        """In a few lines."""
        lines = [self._ended()]
        if self.ending in ("timeout", "interrupted") and (self.left is None or self.left.total):
            lines.append("What is left stays in the queue: run the same command again.")
        if self.sums.dead_lettered:
            lines.append("Dead letters by reason: relayd replay --dead-letters --dry-run")
        if NO_DEAD_LETTER in self.sums.deferred:
            lines.append("Some dead letters found no queue that takes them: check RELAYD_DEAD_LETTER_URL.")
        if not self.clean:
            lines.append("Not everything in hand could be finished: it comes back when its leases lapse.")
        return lines

    def _ended(self) -> str:
        away = sum(later.count for later in self.sums.deferred.values()) + self.stays
        match self.ending:
            case "empty" if away:
                return f"The queue is empty but for {messages(away)} put off on purpose."
            case "empty":
                return "The queue is empty."
            case "enough":
                return "As many messages were taken as --max-messages allows."
            case "timeout":
                return "Not finished: --timeout was over first."
            case "interrupted" if self.left is not None and self.left.total == 0:
                return "Stopped before it was sure, but the queue shows no messages."
            case "interrupted":
                return "Stopped."
            case _:
                assert_never(self.ending)

    def facts(self) -> list[tuple[str, str]]:
        """A name and a value each; those that are indented add up to the first."""
        sums, left = self.sums, self.left
        facts = [("received", messages(sums.received)), ("  forwarded", str(sums.forwarded))]
        if sums.before:
            facts.append(("  done before", _parts(sums.before, ["forwarded by an earlier run, deleted by this one"])))
        facts += [
            ("  discarded", _by_reason(sums.discarded)),
            ("  dead-lettered", _by_reason(sums.dead_lettered)),
            ("  deferred", _put_off(sums.deferred)),
            ("  in hand", str(sums.in_hand)),
        ]
        if left is None:
            facts.append(("queue now", "does not answer"))
        else:
            parts = f"{left.visible} visible, {left.delayed} delayed, {left.in_flight} in flight"
            facts.append(("queue now", f"{messages(left.total)}{f': {parts}' if left.total else ''}"))
        if self.stays:
            facts.append(("", f"{self.stays} in flight were put off by somebody else"))
        took = f"{self.seconds:.1f} s"
        return [*facts, ("time", f"{took}, {self.rate:.1f} messages a second" if self.rate else took)]

    def document(self) -> dict[str, Any]:
        """For programs."""
        sums, left = self.sums, self.left
        return {
            "ended": self.ending,
            "received": sums.received,
            "forwarded": sums.forwarded,
            "done_before": sums.before,
            "discarded": _document(sums.discarded),
            "dead_lettered": _document(sums.dead_lettered),
            "deferred": {
                "count": sum(later.count for later in sums.deferred.values()),
                "reasons": {
                    reason: {"count": later.count, "back_in_seconds": round(later.back_in, 1)}
                    for reason, later in sums.deferred.items()
                },
            },
            "in_hand": sums.in_hand,
            "receives": self.receives,
            "queue": None
            if left is None
            else {"visible": left.visible, "delayed": left.delayed, "in_flight": left.in_flight},
            "put_off_elsewhere": self.stays,
            "seconds": round(self.seconds, 2),
            "busy_seconds": round(self.busy_seconds, 2),
            "rate": round(self.rate, 2),
            "clean": self.clean,
        }


def lasting(seconds: float) -> str:
    """A length of time, as exactly as anybody wants to read it."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def messages(count: int) -> str:
    return f"{count} message{'' if count == 1 else 's'}"


def _by_reason(counted: Mapping[str, int]) -> str:
    reasons = sorted(counted.items(), key=lambda item: -item[1])
    return _parts(sum(counted.values()), [f"{reason} {count}" for reason, count in reasons])


def _put_off(deferred: Mapping[str, "Later"]) -> str:
    parts = [
        f"{reason} {later.count}" + (f" (back in {lasting(later.back_in)})" if later.back_in >= 1 else "")
        for reason, later in deferred.items()
    ]
    return _parts(sum(later.count for later in deferred.values()), parts)


def _parts(count: int, parts: Sequence[str]) -> str:
    return f"{count:<5} {', '.join(parts)}".rstrip()


def _document(counted: Mapping[str, int]) -> dict[str, Any]:
    return {"count": sum(counted.values()), "reasons": dict(counted)}
