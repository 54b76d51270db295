"""Numbers and times as a tired person reads them."""

from datetime import UTC, datetime

_DAY = 86_400.0


def lasting(seconds: float) -> str:
    """`40 s`, `4 min`, `3 h 20 min`, `5 days`."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 10:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    if hours < 48:
        return f"{round(seconds / 3600)} h"
    return f"{round(seconds / _DAY)} days"


def short(seconds: float | None) -> str:
    """Of a call: `3 ms`, `0.42 s`, `12 s`."""
    if seconds is None:
        return "-"
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"


def clock(at: float, now: float) -> str:
    """`14:02`; with the day, where that is not within the last day. UTC, as everything that relayd prints."""
    moment = datetime.fromtimestamp(at, UTC)
    return moment.strftime("%H:%M" if 0 <= now - at < _DAY else "%Y-%m-%d %H:%M")


def rate(a_second: float) -> str:
    """`120/s`, `4.2/s`, and what is slower by the minute: `3/min`."""
    if a_second >= 100:
        return f"{a_second:,.0f}/s"
    if a_second >= 0.095:
        return f"{a_second:.1f}/s"
    return f"{a_second * 60:.1f}/min" if a_second else "0/s"


def count(number: int) -> str:
    """`18,000`."""
    return f"{number:,}"


def share(part: int, whole: int, noun: str) -> str:
    """`1 of 3 replicas`, `all 3 replicas`, `both replicas`, `the replica`."""
    if part == whole:
        return f"the {noun}" if whole == 1 else f"both {noun}s" if whole == 2 else f"all {whole} {noun}s"
    return f"{part} of {whole} {noun}s"
