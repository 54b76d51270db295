"""All dead letters by SQS's own means, where that can be had."""

import sys
from typing import TYPE_CHECKING

import click

from relayd.commands.exits import DONE, FAILURES, INTERRUPTED
from relayd.commands.progress import progress
from relayd.commands.showing import print_json
from relayd.errors import RelaydError

if TYPE_CHECKING:
    from relayd.adapters.move_tasks import Move, MoveTasks
    from relayd.commands.replay.job import Job

_HOW = "They are received, sent and deleted one by one instead."


def moved(job: "Job") -> int | None:
    """Have SQS move everything, and answer the exit code. None where it cannot, or may not: that is said."""
    from relayd.adapters.move_tasks import MoveRefusedError, MoveTasks, arn_of
    from relayd.adapters.queue_depth import depth_client
    from relayd.commands.replay.sources import dead_letters_of

    url = dead_letters_of(job.settings)
    client = depth_client(url)
    tasks = MoveTasks(client, url)
    destination = arn_of(depth_client(job.settings.queue_url), job.settings.queue_url)
    try:
        handle = tasks.start(destination)
    except MoveRefusedError as error:
        if (running := _running(tasks)) is not None:
            told = f"SQS moves these dead letters already: {running.moved} of about {running.total} so far."
            click.echo(
                f"relayd: {told}\n    hint: wait for it, or call it off with aws sqs cancel-message-move-task.",
                err=True,
            )
            return FAILURES
        told = f"SQS does not move them by itself here (sqs:StartMessageMoveTask: {error.detail})"
        click.echo(f"note: {told}. {_HOW}", err=True)
        return None
    return _watched(job, tasks, handle)


def _running(tasks: "MoveTasks") -> "Move | None":
    """The task that somebody else started and that is not over. None also where nobody can tell."""
    try:
        latest = tasks.latest()
    except RelaydError:
        return None
    return None if latest is None or latest.is_over else latest


def _watched(job: "Job", tasks: "MoveTasks", handle: str) -> int:
    from relayd.ops.replay.moving import watch

    try:
        with progress("move", quiet=job.asked.as_json) as bar:
            move, called_off = watch(
                tasks, handle, job.clock, job.signals.wait, lambda move: bar.at(move.moved, max(move.total, move.moved))
            )
    except RelaydError:
        click.echo("note: the move has begun, and goes on in SQS.", err=True)
        raise
    if job.asked.as_json:
        _print_document(move, called_off)
    else:
        for line in _lines(move, called_off):
            click.echo(line)
    if called_off == "interrupted":
        return INTERRUPTED
    complete = move is not None and move.status == "COMPLETED" and not called_off
    return DONE if complete else FAILURES


def _lines(move: "Move | None", called_off: str) -> "list[str]":
    if move is None:
        return ["SQS does not remember the move; `relayd status` shows what is in the queues."]
    left = max(0, move.total - move.moved)
    if move.is_over and not move.total and not move.moved and not move.failure:
        return ["There are no dead letters."]
    lines = [f"About {max(move.total, move.moved)} chosen = {move.moved} moved to the queue + {left} left"]
    if move.failure:
        lines.append(f"SQS gave up: {move.failure}.")
    if called_off == "circles":
        lines.append("Called off: they come back as fast as they are moved. What was wrong still is.")
    if called_off == "interrupted":
        lines.append("Stopped: the move was called off. What is left stays in the dead-letter queue.")
    return lines


def _print_document(move: "Move | None", called_off: str) -> None:
    print_json(
        {
            "source": "dead_letters",
            "dry_run": False,
            "moved_by": "sqs",
            "ended": called_off or ("finished" if move is None else move.status.lower()),
            "chosen": 0 if move is None else max(move.total, move.moved),
            "sent": 0 if move is None else move.moved,
            "left": 0 if move is None else max(0, move.total - move.moved),
            "failure": None if move is None else move.failure or None,
        },
        sys.stdout,
    )
