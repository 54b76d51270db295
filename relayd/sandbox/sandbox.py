"""The whole sandbox in one place: what is started, in which order, and how all of it ends again."""

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from relayd.adapters.database import connect
from relayd.errors import RelaydError
from relayd.sandbox import emulators
from relayd.sandbox.care import take_care
from relayd.sandbox.child import Sent
from relayd.sandbox.daemon import Daemon, environment
from relayd.sandbox.directory import add_masks, end_pause, is_paused, reply_address
from relayd.sandbox.door import Door, Receiver, open_port
from relayd.sandbox.emulators import Emulation
from relayd.sandbox.feed import Feeder
from relayd.sandbox.folder import Folder, data_folder
from relayd.sandbox.interrupt import EXIT_INTERRUPTED, Interrupt
from relayd.sandbox.masks import FATES, LOST, SHOP, WING
from relayd.sandbox.outcomes import DeadLetter, Ended, Summary, Tally
from relayd.sandbox.page.book import Book
from relayd.sandbox.page.opening import Parts, open_page
from relayd.sandbox.receiving import Accepted, Receiving, RuledReceiving
from relayd.sandbox.samples import PEN_FRIEND, Sample, samples
from relayd.sandbox.screen import Screen
from relayd.sandbox.terminal import TURN_SECONDS, follow, progress
from relayd.sandbox.traces import OtlpReceiver, Span, Traces
from relayd.sandbox.watch import DeadLetterView, LedgerView, Sink, Watch, queue_depth
from relayd.sandbox.world import MAIL_DOMAINS, Clients, Store, World

EXIT_FAILED = 1
PROGRESS_SECONDS = 60.0
"""A run of samples is given up when nothing has ended for so long."""
SETTLE_SECONDS = 10.0
"""For the queue to become empty after the last end: a send too many would come from what is still on it."""
SPANS_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Options:
    """How the sandbox was asked for."""

    smtp_port: int = 2525
    page_port: int | None = 8025
    """None: no page."""
    aws: emulators.Which = "embedded"
    endpoint: str | None = None
    """An emulator that already runs; None starts one."""
    data: Path | None = None
    """Where the database and the log stay; None: a folder that goes away afterwards."""
    mails: int = 0
    leave: bool = False
    """End after the samples."""
    as_json: bool = False
    verbose: bool = False
    seed: int = 1


class All:
    """Tells several sinks."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks

    def sent(self, sent: Sent) -> None:
        for sink in self._sinks:
            sink.sent(sent)

    def ended(self, end: Ended) -> None:
        for sink in self._sinks:
            sink.ended(end)

    def dead(self, letter: DeadLetter) -> None:
        for sink in self._sinks:
            sink.dead(letter)


def run(options: Options) -> int:
    """Be the sandbox; returns the exit code."""
    console = Console(stderr=options.as_json, highlight=False)
    interrupt = Interrupt()
    with interrupt.caught(), data_folder(options.data) as folder, ExitStack() as stack:
        sandbox = Sandbox(options, folder, console, interrupt, stack)
        code = sandbox.feed() if sandbox.up and options.mails else 0
        if sandbox.up and not options.leave:
            sandbox.stay()
        if code == EXIT_FAILED and folder.temporary:
            folder.kept = True
            console.print(f"relayd's log and database are kept in {folder.path}", style="dim")
        return code


class Sandbox:
    """All the parts, started in order; the stack ends them in the opposite one."""

    def __init__(
        self, options: Options, folder: Folder, console: Console, interrupt: Interrupt, stack: ExitStack
    ) -> None:
        self._options = options
        self._console = console
        self._interrupt = interrupt
        self._folder = folder
        self.screen = Screen(console, quiet=bool(options.mails))
        self.tally = Tally(recorded=options.endpoint is None)
        self.arrivals: dict[str, Accepted] = {}
        self.up = False
        # Before anything is started: it is what goes wrong most often.
        open_port(options.smtp_port)
        open_port(options.page_port or 0, "--page-port")
        self._emulation = self._start_aws(stack)
        self._aws = self._emulation.emulator
        # While the emulator starts.
        self._database = connect(folder.database_url, pool_size=2)
        stack.callback(self._database.close)
        add_masks(self._database)
        endpoint = self._aws.endpoint if self._aws else str(options.endpoint)
        self._clients = Clients(endpoint)
        suffix = f"-{secrets.token_hex(4)}" if options.endpoint else ""
        fates = self._emulation.fates
        self.world = World.build(endpoint, self._clients, suffix, events=fates is not None)
        if fates is not None:
            fates(FATES)
            take_care(self.world, self._clients)
        self.traces = Traces()
        self._book = Book() if options.page_port is not None else None
        otlp = OtlpReceiver(self.traces)
        stack.callback(otlp.close)
        if interrupt.is_set():
            return
        self._say("starting relayd ...")
        self._start_daemon(otlp, stack)
        if interrupt.is_set():
            return
        self._watch = self._start_watch(stack)
        self._store = Store(self.world, self._clients)
        self._door = Door(self._receiver(), MAIL_DOMAINS, options.smtp_port, self._arrived)
        stack.callback(self._door.close)
        self.page_url = self._open_page(stack)
        self.up = True

    def _say(self, text: str) -> None:
        if not self._options.as_json and self._console.is_terminal:
            self._console.print(text, style="dim")

    def _start_aws(self, stack: ExitStack) -> Emulation:
        if self._options.endpoint is not None:
            self._say(f"setting up {self._options.endpoint} ...")
            return emulators.foreign()
        self._say("starting an AWS ...")
        started = emulators.start(self._options.aws, self._folder.aws_log)
        if started.emulator is not None:
            self._interrupt.at_once(started.emulator.kill)
            stack.callback(started.emulator.stop)
        return started

    def _start_watch(self, stack: ExitStack) -> Watch:
        aws = self._aws
        sinks: list[Sink] = [self.screen]
        if self._options.mails:
            sinks.append(self.tally)
        if self._book is not None:
            sinks.append(self._book)
        watch = Watch(
            LedgerView(self._folder.database),
            DeadLetterView(self._clients.sqs, self.world.dead_letter_url),
            (lambda since: aws.sent(since, raw=False)) if aws else None,
            All(sinks),
        )
        watch.start()
        stack.callback(watch.stop)
        return watch

    def _receiver(self) -> Receiver:
        keep = {"keep": self._book.keep} if self._book is not None else {}
        receive = self._emulation.receive
        return Receiving(self._store, **keep) if receive is None else RuledReceiving(receive, **keep)

    def _open_page(self, stack: ExitStack) -> str:
        """Serve the page; empty when there is to be none."""
        aws = self._aws
        if self._book is None or self._options.page_port is None:
            return ""
        parts = Parts(
            book=self._book,
            traces=self.traces,
            clients=self._clients,
            world=self.world,
            database=self._database,
            environment=self._folder.environment,
            smtp_port=self._door.port,
            http_address=f"127.0.0.1:{self._http_port}",
            switch=self._emulation.switch,
            # Asked for one by one, when somebody looks: all of them would be a lot of mail to hold twice.
            sent_bytes=self._sent_bytes if aws else None,
        )
        return open_page(parts, self._options.page_port, stack).url

    def _sent_bytes(self, number: int) -> bytes:
        assert self._aws is not None
        return self._aws.sent(number - 1)[0].data

    def _start_daemon(self, otlp: OtlpReceiver, stack: ExitStack) -> None:
        self._http_port = open_port()
        certificate = self._emulation.certificate
        if certificate is not None:
            self._folder.certificate.write_bytes(certificate())
        settings = environment(
            self.world,
            self._folder,
            http_port=self._http_port,
            otlp_endpoint=otlp.endpoint,
            certificate=self._folder.certificate if certificate is not None else None,
        )
        self._folder.write_environment(settings)
        self.daemon = Daemon(settings, self._folder.log)
        self._interrupt.at_once(self.daemon.kill)
        self._interrupt.at_once(self._folder.remove)
        if self._options.verbose:
            stack.callback(follow(self._folder.log))
        stack.callback(self._stop_daemon)
        self.daemon.wait_ready(self._interrupt)

    def _stop_daemon(self) -> None:
        if self.daemon.alive and self.daemon.stop() != 0:
            self._console.print(f"relayd did not end cleanly; see {self._folder.log}", style="yellow")

    def _arrived(self, mail: Accepted) -> None:
        self.arrivals[mail.mail_id] = mail
        self.traces.add([mail.span])
        self.screen.arrived(mail)
        if self._book is not None:
            self._book.arrived(mail)
        self._watch.follow(mail.mail_id)

    def _check_alive(self) -> None:
        """Raise RelaydError when a part has ended by itself."""
        if not self.daemon.alive:
            raise self.daemon.died()
        if self._aws is not None and not self._aws.alive:
            raise RelaydError("sandbox_aws", "the emulated AWS has ended by itself")
        if self._watch.failure is not None:
            raise RelaydError("sandbox_watch", f"watching failed: {self._watch.failure}")

    def stay(self) -> None:
        """Show mail until told to end."""
        self.screen.things_to_try(
            page_url=self.page_url,
            smtp_port=self._door.port,
            http_address=f"127.0.0.1:{self._http_port}",
            environment=self._folder.environment,
            log=self._folder.log,
        )
        self.screen.quiet = False
        while not self._interrupt.wait(TURN_SECONDS):
            self._check_alive()
        self._say("ending ...")

    def feed(self) -> int:
        """Send the samples, wait for all ends, and say how it went."""
        started = time.monotonic()
        feeder = Feeder(
            self._samples(),
            self.tally,
            self._store,
            in_flight=self._emulation.in_flight,
            smtp_port=self._door.port,
            arrival=self.arrivals.__getitem__,
            paused=lambda mailbox: is_paused(self._database, mailbox),
            stop=self._interrupt,
        )
        feeder.start()
        self._await_ends(feeder)
        seconds = time.monotonic() - started
        self._await_quiet()
        summary = self.tally.summary(self._sent_bytes if self._aws else None)
        if self._interrupt.is_set():
            # What was on its way has not been waited for: no word on how it would have ended.
            self._console.print(f"interrupted after {summary.sent} of {self._options.mails} mails", style="yellow")
            return EXIT_INTERRUPTED if self._options.leave else 0
        if self._options.as_json:
            click.echo(json.dumps(summary.as_json() | {"mails_per_second": rate(summary, seconds)}))
            for wrong in summary.wrong:
                click.echo(f"relayd sandbox: {wrong}", err=True)
        else:
            self.screen.summary(summary, seconds, self._story(summary))
        complete = summary.sent == self._options.mails
        return 0 if summary.ok and complete else EXIT_FAILED

    def _samples(self) -> Iterator[Sample]:
        # In a folder from before it may still be paused, and one of the samples is the mail that bounces.
        end_pause(self._database, WING.owner, LOST)
        token = reply_address(self._database, SHOP, PEN_FRIEND)
        signed = self._emulation.certificate is not None
        return samples(self._options.mails, self.world, self._options.seed, token=token, signed=signed)

    def _await_ends(self, feeder: Feeder) -> None:
        finished, since = 0, time.monotonic()
        with progress(self._console, self._options.mails) as advance:
            while (feeder.busy or self.tally.open) and not self._interrupt.wait(TURN_SECONDS):
                self._check_alive()
                if self.tally.finished > finished:
                    finished, since = self.tally.finished, time.monotonic()
                advance(finished)
                if time.monotonic() - since > PROGRESS_SECONDS:
                    return
            advance(self.tally.finished)

    def _await_quiet(self) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline and queue_depth(self._clients.sqs, self.world.queue_url):
            if self._interrupt.wait(TURN_SECONDS):
                return
        self._watch.recheck(list(self.arrivals))

    def _story(self, summary: Summary) -> list[Span]:
        """The slowest mail's spans; the daemon exports them a moment after the work."""
        slowest = self.arrivals.get(summary.slowest or "")
        if slowest is None:
            return []
        deadline = time.monotonic() + SPANS_SECONDS
        while len(story := self.traces.story(slowest.trace_id)) < 2 and time.monotonic() < deadline:
            if self._interrupt.wait(TURN_SECONDS):
                break
        return story


def rate(summary: Summary, seconds: float) -> float:
    """Mails a second, from the first one's sending to the last one's end."""
    return round(summary.sent / max(seconds, 0.001), 1)
