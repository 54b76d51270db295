"""The bare loop that a good engineer writes in an afternoon: boto3 and a pool of threads, and nothing beside.

    python -m bench.mails.rivals.bare_boto3 [--policy compat32|smtp]

It stands for the cost of the job by itself with the AWS SDK for Python and the standard library's `email`: clients made
once and shared, as many connections as workers, messages by ten and one batch ahead of the workers, deletes by ten. No
ledger, leases, traces, signatures, retries of its own or limits: a mail that fails is logged and comes again.
"""

import argparse
import logging
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from bench.mails.rivals.job import BATCH, LINGER_SECONDS, POLICIES, WAIT_SECONDS, Forwarder, Job

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

log = logging.getLogger(__name__)


class Loop:
    """One thread receives, the pool forwards, one thread deletes."""

    def __init__(self, job: Job) -> None:
        self._queue_url = job.queue_url
        self._most = job.concurrency + BATCH
        self._in_hand = 0
        self._room = threading.Condition()
        self._stopping = threading.Event()
        self._done: SimpleQueue[str | None] = SimpleQueue()
        self._sqs: SQSClient = boto3.client("sqs", region_name=job.region, config=Config(max_pool_connections=10))
        self._forwarder = Forwarder(job, connections=max(10, job.concurrency))
        self._pool = ThreadPoolExecutor(job.concurrency)

    def run(self) -> None:
        """Until SIGTERM; then finish what is in work, and leave the rest in the queue."""
        signal.signal(signal.SIGTERM, lambda *_: self._stopping.set())
        deleting = threading.Thread(target=self._delete)
        deleting.start()
        # A long poll cannot be called off, so nobody waits for it.
        threading.Thread(target=self._receive, daemon=True).start()
        self._stopping.wait()
        self._pool.shutdown(cancel_futures=True)
        self._done.put(None)
        deleting.join()

    def _receive(self) -> None:
        print("ready", flush=True)
        while not self._stopping.is_set():
            with self._room:
                self._room.wait_for(lambda: self._in_hand < self._most)
            try:
                answer = self._sqs.receive_message(
                    QueueUrl=self._queue_url, MaxNumberOfMessages=BATCH, WaitTimeSeconds=WAIT_SECONDS
                )
            except Exception:
                log.exception("receive")
                time.sleep(1)
                continue
            messages = answer.get("Messages", ())
            with self._room:
                self._in_hand += len(messages)
            for message in messages:
                if not self._stopping.is_set():
                    self._pool.submit(self._forward, message)

    def _forward(self, message: "MessageTypeDef") -> None:
        try:
            self._forwarder.forward(message["Body"])
            self._done.put(message["ReceiptHandle"])
        except Exception:
            log.exception("left in the queue")
        finally:
            with self._room:
                self._in_hand -= 1
                self._room.notify()

    def _delete(self) -> None:
        going = True
        while going:
            handle = self._done.get()
            handles = []
            until = time.monotonic() + LINGER_SECONDS
            while handle is not None:
                handles.append(handle)
                if len(handles) == BATCH:
                    break
                try:
                    handle = self._done.get(timeout=max(0.0, until - time.monotonic()))
                except Empty:
                    break
            going = handle is not None
            if handles:
                self._delete_batch(handles)

    def _delete_batch(self, handles: list[str]) -> None:
        try:
            answer = self._sqs.delete_message_batch(
                QueueUrl=self._queue_url,
                Entries=[{"Id": str(at), "ReceiptHandle": handle} for at, handle in enumerate(handles)],
            )
        except Exception:
            log.exception("delete")
            return
        for failed in answer.get("Failed", ()):
            log.error("not deleted: %s", failed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", choices=POLICIES, default="compat32", help="how `email` reads and writes mail")
    options = parser.parse_args()
    logging.basicConfig()
    Loop(Job.of_environment(options.policy)).run()


if __name__ == "__main__":
    main()
