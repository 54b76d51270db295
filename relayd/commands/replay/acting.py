"""Puts a replay together from the settings, and runs it to its end, whichever that is."""

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, cast

import click

from relayd.commands.arguments import directory
from relayd.commands.exits import FAILED, INTERRUPTED
from relayd.commands.progress import progress
from relayd.commands.replay import telling
from relayd.commands.replay.asked import Asked, everything_in_bucket
from relayd.commands.replay.engine import is_paused, work_here
from relayd.commands.replay.job import Job, Watch
from relayd.commands.replay.moves import moved
from relayd.commands.replay.sources import open_source
from relayd.commands.standard_error import StandardError
from relayd.errors import RelaydError

if TYPE_CHECKING:
    from relayd.commands.progress import Bar
    from relayd.ops.replay.reading import Ending, Reading
    from relayd.settings import Settings


def replay(asked: Asked) -> int:
    """Do what was asked, and answer the exit code."""
    settings = _settings()
    if everything_in_bucket(asked) and not asked.yes:
        click.confirm(f"Look through all of {asked.bucket}?", abort=True, err=True)
    if asked.again and not asked.yes and not asked.dry_run and (refused := _unconfirmed(asked, settings)) is not None:
        return refused
    with _job(asked, settings) as job:
        if asked.dead_letters and asked.everything and not asked.dry_run:
            code = moved(job)
            if code is not None:
                return code
        if asked.here and is_paused(job):
            return FAILED
        return _told(job, _look if asked.dry_run else _act)


def _unconfirmed(asked: Asked, settings: "Settings") -> int | None:
    """Look, and ask a person. None to go on; else the exit code."""
    with _job(asked, settings) as job, progress("look") as bar:
        ending = _look(job, bar)
        if ending == "interrupted":
            return INTERRUPTED
    # Outside, so that a Ctrl-C at the question is one.
    if not asked.as_json:
        telling.show(job.outcomes)
    question = f"Send {job.outcomes.count('would_send')} mails, whether or not they were sent before?"
    click.confirm(question, abort=True, err=True)
    return None


@contextmanager
def _job(asked: Asked, settings: "Settings") -> "Iterator[Job]":
    from relayd.runtime.clock import SystemClock
    from relayd.runtime.signals import stop_signals
    from relayd.settings import QueueSettings

    queue = QueueSettings(settings.queue_url, settings.database_url, settings.secrets)
    with stop_signals() as signals, directory(queue) as database:
        yield Job(asked, settings, database, SystemClock(), signals, secrets.token_hex(10))


def _told(job: Job, act: "Callable[[Job, Bar], Ending]") -> int:
    """Run it, and say how it ended, also where that was an error."""
    try:
        with progress("look" if job.asked.dry_run else "replay", quiet=job.asked.as_json) as bar:
            ending = act(job, bar)
    except RelaydError as error:
        telling.tell(job.asked, job.outcomes, "error", job.replay_id, error.reason)
        raise
    telling.tell(job.asked, job.outcomes, ending, job.replay_id, None)
    return telling.exit_code(job.asked, job.outcomes, ending)


def _look(job: Job, bar: "Bar") -> "Ending":
    from relayd.ops.replay.reading import look

    return look(_reading(job, bar, acts=False))


def _act(job: Job, bar: "Bar") -> "Ending":
    from relayd.ops.replay.sending import Act

    reading = _reading(job, bar, acts=True)
    act = Act(job.replay_id, job.asked.again, job.settings.secrets)
    if job.asked.here:
        return work_here(job, reading, act)
    from relayd.adapters.injecting import Injector
    from relayd.ops.replay.sending import Sending

    return Sending(reading, Injector(job.settings.queue_url), act, job.clock, rate=job.asked.rate).run()


def _reading(job: Job, bar: "Bar", *, acts: bool) -> "Reading":
    from relayd.ops.replay.choosing import Choice, Weigher
    from relayd.ops.replay.ended import Endings
    from relayd.ops.replay.reading import Reading

    asked = job.asked
    choice = Choice(frozenset(asked.reasons), asked.since, asked.until, asked.mask, asked.name)
    weigher = Weigher(
        choice,
        Endings(job.database),
        job.settings.mail_domains,
        replay_id=job.replay_id,
        again=asked.again,
        # What lies in a bucket is there whatever was decided about it; the other sources have what nobody decided.
        discards_count=asked.source == "bucket",
    )
    source = open_source(job)
    watch = Watch(bar, job.signals, job.outcomes)
    return Reading(source, weigher, job.outcomes, watch, limit=asked.limit, acts=acts)


def _settings() -> "Settings":
    from relayd.settings import Settings
    from relayd.telemetry import logs

    settings = Settings.load({"RELAYD_LOG_LEVEL": "warning", **os.environ}, tty=sys.stderr.isatty())
    logs.configure(settings.log_format, settings.log_level, cast("TextIO", StandardError()))
    return settings
