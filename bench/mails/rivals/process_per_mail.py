"""One mail at a time in a child process, which is how a production system works that forwards such mail.

    python -m bench.mails.rivals.process_per_mail            # a fresh child for each mail, with clients of its own
    python -m bench.mails.rivals.process_per_mail --inherit  # the same, with clients of the session of its parent
    python -m bench.mails.rivals.process_per_mail --warm     # one child that is kept, and its clients with it
    python -m bench.mails.rivals.process_per_mail --spawn    # a fresh child that is a fresh interpreter as well

A child can be killed when a mail takes too long or breaks the process, and the loop lives on. That is what this design
is for, and what it pays for is a session and clients with their service models made anew for every mail.

This is a cheap and honest form of it: the child is forked from a parent that has imported everything already, so that
it imports nothing; there is no framework in it, no database and no pool to be set up around the child. `--inherit` is
cheaper still: the parent's session has read the service models, and the child makes but its clients of it. `--warm`
stands for the same design with nothing to start, so that the waiting for one mail at a time is all that is left of it;
`--spawn` for platforms where a child is never forked. BENCH_CONCURRENCY says nothing here: there is one at a time.
"""

import argparse
import logging
import multiprocessing
import signal
import sys
import time
from contextlib import closing
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Protocol

import boto3

from bench.mails.rivals.job import BATCH, LINGER_SECONDS, POLICIES, WAIT_SECONDS, Forwarder, Job

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

TIMEOUT_SECONDS = 120.0
"""After which a child is killed."""

log = logging.getLogger(__name__)


class Child(Protocol):
    """Forwards one mail and tells whether that went well."""

    def forward(self, body: str) -> bool: ...
    def close(self) -> None: ...


class FreshChild:
    """A process for every mail."""

    def __init__(self, job: Job, method: str, *, inherit: bool = False) -> None:
        self._job = job
        self._context: Any = multiprocessing.get_context(method)
        self._session = boto3.session.Session(region_name=job.region) if inherit else None
        if method == "fork":
            # Making clients imports much, and no child shall do that again; the clients themselves are let go.
            Forwarder(job, session=self._session)

    def forward(self, body: str) -> bool:
        process = self._context.Process(target=_forward_one, args=(self._job, body, self._session))
        process.start()
        process.join(TIMEOUT_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
        well: bool = process.exitcode == 0
        process.close()
        return well

    def close(self) -> None:
        """There is none between two mails."""


class WarmChild:
    """One process for all mails."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._context = multiprocessing.get_context("fork")
        self._start()

    def forward(self, body: str) -> bool:
        try:
            self._pipe.send(body)
            if self._pipe.poll(TIMEOUT_SECONDS):
                return bool(self._pipe.recv())
        except (EOFError, OSError):
            log.error("the child is gone")
        self._process.kill()
        self._process.join()
        self._pipe.close()
        self._start()
        return False

    def close(self) -> None:
        """It ends with its pipe."""
        self._pipe.close()
        self._process.join(TIMEOUT_SECONDS)

    def _start(self) -> None:
        self._pipe, its = self._context.Pipe()
        self._process = self._context.Process(target=_forward_all, args=(self._job, its, self._pipe))
        self._process.start()
        its.close()


def _forward_one(job: Job, body: str, session: boto3.session.Session | None) -> None:
    # The parent is who stops, after this mail.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Forwarder(job, session=session).forward(body)


def _forward_all(job: Job, bodies: Connection, parents_end: Connection) -> None:
    # Left open here, it would hide from us that the parent is gone.
    parents_end.close()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    forwarder = Forwarder(job)
    while True:
        try:
            body = bodies.recv()
        except EOFError:
            return
        try:
            forwarder.forward(body)
        except Exception:
            log.exception("left in the queue")
            bodies.send(False)
        else:
            bodies.send(True)


class Loop:
    """Receive by ten, and one after the other let a child forward them."""

    def __init__(self, job: Job, child: Child) -> None:
        self._queue_url = job.queue_url
        self._child = child
        self._sqs: SQSClient = boto3.client("sqs", region_name=job.region)
        self._polling = False
        self._stopping = False
        self._done: list[str] = []

    def run(self) -> None:
        """Until SIGTERM; then finish the mail in work, and leave the rest in the queue."""
        signal.signal(signal.SIGTERM, self._stop)
        print("ready", flush=True)
        while not self._stopping:
            try:
                self._turn()
            except Exception:
                log.exception("receive or delete")
                time.sleep(1)

    def _turn(self) -> None:
        self._polling = True
        answer = self._sqs.receive_message(
            QueueUrl=self._queue_url, MaxNumberOfMessages=BATCH, WaitTimeSeconds=WAIT_SECONDS
        )
        self._polling = False
        first_done = 0.0
        for message in answer.get("Messages", ()):
            if self._stopping:
                break
            if self._child.forward(message["Body"]):
                first_done = first_done if self._done else time.monotonic()
                self._done.append(message["ReceiptHandle"])
            if self._done and time.monotonic() - first_done > LINGER_SECONDS:
                self._delete()
        if self._done:
            self._delete()

    def _delete(self) -> None:
        handles, self._done = self._done, []
        answer = self._sqs.delete_message_batch(
            QueueUrl=self._queue_url,
            Entries=[{"Id": str(at), "ReceiptHandle": handle} for at, handle in enumerate(handles)],
        )
        for failed in answer.get("Failed", ()):
            log.error("not deleted: %s", failed)

    def _stop(self, *_: object) -> None:
        self._stopping = True
        if self._polling:
            # A long poll cannot be called off, and there is nothing to finish.
            sys.exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--inherit", action="store_true", help="make the clients of the parent's session")
    kind.add_argument("--warm", action="store_true", help="keep one child and its clients")
    kind.add_argument("--spawn", action="store_true", help="start a fresh interpreter for each mail")
    parser.add_argument("--policy", choices=POLICIES, default="compat32", help="how `email` reads and writes mail")
    options = parser.parse_args()
    logging.basicConfig()
    job = Job.of_environment(options.policy)
    method = "spawn" if options.spawn else "fork"
    child = WarmChild(job) if options.warm else FreshChild(job, method, inherit=options.inherit)
    with closing(child):
        Loop(job, child).run()


if __name__ == "__main__":
    main()
