"""Publishes the mail while the daemons work: into S3, then told to SNS, as SES does.

By bare HTTP rather than boto3, which would take more of the machine than all daemons together.
"""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, assert_never
from urllib.parse import quote, urlencode

import urllib3

from bench.chaos.mix import Parcel
from relayd.sandbox.receiving import Receiving
from relayd.sandbox.samples import Sample
from relayd.sandbox.world import World

BACKLOG = 400
"""Messages that may wait in the queue before publishing pauses: mail keeps arriving for as long as the run lasts."""
_AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"


class BareStore:
    """The world's bucket, topics and queue. Any signature will do for the embedded AWS."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._http = urllib3.PoolManager(timeout=30.0, retries=False)
        self.copies = 1
        """How often SNS delivers what is published next."""

    @property
    def bucket(self) -> str:
        return self._world.bucket

    @property
    def topic_arn(self) -> str:
        return self._world.topic_arn

    def put(self, key: str, data: bytes) -> None:
        self._ask("s3", "PUT", f"/{self._world.bucket}/{quote(key)}", data)

    def publish(self, text: str, traceparent: str) -> None:
        form = {"Subject": "Amazon SES Email Receipt Notification"}
        attribute = {"Name": "traceparent", "Value.DataType": "String", "Value.StringValue": traceparent}
        form |= {f"MessageAttributes.entry.1.{name}": value for name, value in attribute.items()}
        for _ in range(self.copies):
            self._publish(self._world.topic_arn, text, form)

    def publish_odd(self, text: str, *, foreign: bool) -> None:
        self._publish(self._world.foreign_topic_arn if foreign else self._world.topic_arn, text, {})

    def enqueue_odd(self, body: str) -> None:
        data = json.dumps({"QueueUrl": self._world.queue_url, "MessageBody": body}).encode()
        target = {"X-Amz-Target": "AmazonSQS.SendMessage", "Content-Type": "application/x-amz-json-1.0"}
        self._ask("sqs", "POST", "/", data, **target)

    def _publish(self, topic_arn: str, text: str, form: dict[str, str]) -> None:
        data = urlencode({"Action": "Publish", "TopicArn": topic_arn, "Message": text, **form}).encode()
        self._ask("sns", "POST", "/", data, **{"Content-Type": "application/x-www-form-urlencoded"})

    def _ask(self, service: str, method: str, path: str, body: bytes, **headers: Any) -> None:
        headers["Authorization"] = _AUTHORIZATION.format(service)
        answer = self._http.request(method, f"{self._world.endpoint}{path}", body=body, headers=headers)
        if answer.status >= 300:
            raise RuntimeError(f"publishing: {service} answered {answer.status}")


class Feeder:
    """One thread that publishes everything."""

    def __init__(self, parcels: Iterator[Parcel], world: World) -> None:
        self._parcels = parcels
        self._store = BareStore(world)
        self._receiving = Receiving(self._store)
        self._ended = False
        self.waiting = 0
        """Messages that wait in the queue now; whoever watches it says so."""
        self.published: dict[str, Sample] = {}
        """By mail id or marker, without the mails' bytes."""
        self.twins = 0
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def busy(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Publish no more."""
        self._ended = True
        self._thread.join()

    def _run(self) -> None:
        try:
            for parcel in self._parcels:
                while self.waiting > BACKLOG and not self._ended:
                    time.sleep(0.01)
                if self._ended:
                    return
                self._publish(parcel)
        except Exception as error:
            self.error = error

    def _publish(self, parcel: Parcel) -> None:
        sample = parcel.sample
        self._store.copies = parcel.copies
        match sample.route:
            case "door":
                accepted = self._receiving.accept(sample.source, sample.recipients, sample.data)
                name = accepted.mail_id
            case "topic" | "foreign topic":
                self._store.publish_odd(sample.data.decode(), foreign=sample.route == "foreign topic")
                name = sample.marker
            case "queue":
                self._store.enqueue_odd(sample.data.decode())
                name = sample.marker
            case _:
                assert_never(sample.route)
        self.twins += parcel.copies - 1
        self.published[name] = replace(sample, data=b"")
