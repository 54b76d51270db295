"""What the sandbox says on the terminal: the things to try, each mail and what became of it, the summary.

It shows addresses and subjects on purpose: all of them are made up, or the user's own tries.
"""

import shutil
import sys
import threading
import time
from collections import OrderedDict
from email.errors import MessageError
from email.header import decode_header, make_header
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from relayd.sandbox.child import Sent
from relayd.sandbox.masks import MASKS, RULE, SHOP
from relayd.sandbox.outcomes import DeadLetter, Ended, Summary
from relayd.sandbox.receiving import Accepted
from relayd.sandbox.traces import Span
from relayd.sandbox.waterfall import Waterfall, milliseconds
from relayd.sandbox.world import DOMAIN

MAX_SHOWN = 60
"""Characters of a subject or an address."""
KEPT = 5000
"""Mails that are remembered to tell what an end belongs to."""


class Screen:
    """Prints from any thread. While `quiet`, single mails are not shown."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self.console = console
        self.quiet = quiet
        self._lock = threading.Lock()
        self._arrived: OrderedDict[str, Accepted] = OrderedDict()

    def arrived(self, mail: Accepted) -> None:
        with self._lock:
            self._arrived[mail.mail_id] = mail
            while len(self._arrived) > KEPT:
                self._arrived.popitem(last=False)
        told = Text(f"{shown(mail.source) or '<>'} → {shown(', '.join(mail.recipients))}  ")
        told.append(shown(decoded(mail.subject)) or "(no subject)", style="italic")
        told.append(f"  {_size(mail.size)}", style="dim")
        self._line("in  ", "blue", told)

    def sent(self, sent: Sent) -> None:
        """Nothing: the ledger's word on it follows at once."""

    def ended(self, end: Ended) -> None:
        arrived = self._arrived.get(end.mail_id)
        if end.state == "sent":
            word = {"forward": "sent", "reply": "rply", "notice": "note"}[end.kind]
            told = Text(f"{shown(self._from(end))} → ")
            told.append(shown(end.mailbox), style="bold")
            if arrived:
                told.append(f"  {milliseconds(max(0.0, end.at - arrived.published_at))}", style="dim")
            self._line(word, "green", told)
        elif end.state == "discarded":
            told = Text(f"{shown(end.recipient)} {'held back' if end.held else 'discarded'}: ")
            told.append(end.reason, style="bold")
            if end.held:
                told.append(f"  quarantine {end.held}", style="dim")
            self._line("held" if end.held else "no  ", "yellow", told)
        else:
            self._line("FAIL", "red", Text(f"{shown(end.recipient or end.mailbox)} failed: {end.reason}"))

    def _from(self, end: Ended) -> str:
        if end.kind == "notice":
            return f"relayd's notice ({end.notice})"
        return end.mask if end.kind == "reply" else end.recipient

    def dead(self, letter: DeadLetter) -> None:
        told = Text("dead-lettered: ")
        told.append(shown(letter.reason), style="bold")
        told.append(f"  message {letter.message_id}", style="dim")
        self._line("DEAD", "red", told)

    def _line(self, word: str, colour: str, told: Text) -> None:
        if self.quiet:
            return
        line = Text(overflow="fold")
        line.append(time.strftime("%H:%M:%S "), style="dim")
        line.append(f" {word} ", style=f"bold {colour}")
        line.append_text(told)
        self.console.print(line)

    def things_to_try(self, *, page_url: str, smtp_port: int, http_address: str, environment: Path, log: Path) -> None:
        """What a newcomer sees first."""
        relayd = _relayd()
        tries = (
            ("Look at it", page_url),
            ("Send a mail", f"swaks --server 127.0.0.1:{smtp_port} --from you@example.net --to {SHOP.address}"),
            ("  as spam", "... --header 'X-Sandbox-Verdict: spam'   (or virus, gray, dmarc-reject, dmarc-quarantine)"),
            ("relayd's status", f"http://{http_address}/"),
            ("relayd's log", f"tail -f {log}"),
            ("The masks", f". {environment}; {relayd} masks list"),
            ("What is held back", f". {environment}; {relayd} quarantine list"),
            ("100 mails, judged", f"{relayd} sandbox --mails 100 --exit"),
        )
        console = self.console
        console.print()
        console.print(Text.assemble(("relayd sandbox", "bold"), " is up: an emulated AWS, and relayd on it."))
        console.print()
        for what, how in tries:
            # Not wrapped by us: a terminal's own wrapping survives copy and paste.
            console.print(
                Text.assemble((f"{what:<19}", "" if what.startswith(" ") else "bold cyan"), how), soft_wrap=True
            )
        console.print()
        masks = Table("mask", "goes to", "", box=None, pad_edge=False, header_style="dim")
        for mask in MASKS:
            masks.add_row(Text(mask.address, style="bold"), ", ".join(mask.mailboxes), Text(mask.note, style="dim"))
        rule = Text("any mask, made by its first mail", style="dim")
        masks.add_row(Text(f"{RULE.pattern}@{RULE.domain}", style="bold"), ", ".join(RULE.mailboxes), rule)
        masks.add_row(Text(f"other@{DOMAIN}", style="bold"), "-", Text("unknown", style="dim"))
        console.print(masks)
        console.print()
        console.print(
            Text("Every mail and what becomes of it is shown here and there. Ctrl-C ends it all.", style="dim")
        )
        console.print()

    def summary(self, summary: Summary, seconds: float, story: list[Span]) -> None:
        """The end of a run of samples."""
        rows = [
            ("sent", f"{summary.sent} in {seconds:.1f} s: {summary.sent / max(seconds, 0.001):,.0f} a second"),
            ("forwarded", f"{summary.forwarded} ({summary.deliveries} deliveries, {summary.replied} of them replies)"),
            ("discarded", f"{sum(summary.discarded.values())} (in all, {summary.quarantined} wait in quarantine)"),
            *((f"  {reason}", str(count)) for reason, count in summary.discarded.items()),
            ("dead-lettered", str(summary.dead_lettered)),
            ("duplicates", str(summary.duplicates)),
            ("lost", str(summary.lost)),
            ("latency", _latency(summary)),
        ]
        self.console.print()
        for name, value in rows:
            line = Text(f"{name:<20}", style="" if name.startswith(" ") else "bold")
            self.console.print(line.append(value, style="not bold"), soft_wrap=True)
        if story:
            self.console.print()
            self.console.print(Text("The slowest mail", style="bold"))
            self.console.print(Waterfall(story))
        self.console.print()
        verdict = "Every mail ended as it should have, exactly once." if summary.ok else "Not all is as it should be:"
        self.console.print(Text(verdict, style="bold green" if summary.ok else "bold red"))
        for wrong in summary.wrong:
            self.console.print(Text(f"  {shown(wrong, 500)}"), soft_wrap=True)


def shown(text: str, limit: int = MAX_SHOWN) -> str:
    """Fit for a terminal: no control characters (they could steer it), cut to length."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


def decoded(subject: str) -> str:
    """A subject with its encoded words read, where they can be."""
    try:
        return str(make_header(decode_header(subject)))
    except (MessageError, LookupError, ValueError):
        return subject


def _latency(summary: Summary) -> str:
    if summary.p50_ms is None or summary.p99_ms is None:
        return "-"
    return f"p50 {summary.p50_ms:g} ms, p99 {summary.p99_ms:g} ms (published to accepted by SES)"


def _size(count: int) -> str:
    return f"{count} B" if count < 1000 else f"{count / 1000:,.1f} kB"


def _relayd() -> str:
    """How this relayd is called from the user's shell."""
    beside = Path(sys.executable).parent / "relayd"
    return "relayd" if shutil.which("relayd") or not beside.exists() else str(beside)
