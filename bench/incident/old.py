"""The old design as a side of the replay: endpoints, and SNS that pushes to them."""

import json
import sys
import time
from pathlib import Path

from bench.incident import endpoint
from bench.incident.ground import MASK, Ground, mail
from bench.incident.pod import Pod
from bench.incident.policy import POLICIES, TIMEOUT, DeliveryPolicy
from bench.incident.pusher import Pusher
from bench.incident.side import rate_of
from bench.incident.story import Story
from relayd.sandbox.receiving import Receiving
from relayd.sandbox.world import REGION, Store
from tests.process.cloud import free_port

PATIENT_SECONDS = 60.0
"""SNS's timeout while the capacity is measured: the measurement is of the endpoint."""
RETRIES_FOR_AN_HOUR = "hour"


class Old:
    """Implements `Side`."""

    live_path = endpoint.HEALTH

    def __init__(
        self, folder: Path, story: Story, *, slots: int, replicas: int, policy: str = RETRIES_FOR_AN_HOUR, deletes: bool
    ) -> None:
        """`deletes`: the endpoint deletes a mail from S3 once it is sent."""
        self.ground = Ground(folder)
        self._slots = slots * replicas
        self.pods = [self._pod(number, story, slots, deletes) for number in range(replicas)]
        self._story = story
        self._policy = POLICIES[policy]
        self._pusher = self._made_pusher(self._policy, story.real(TIMEOUT))
        self._receiving = Receiving(_Topic(self))

    def _pod(self, number: int, story: Story, slots: int, deletes: bool) -> Pod:
        port = free_port()
        command = [sys.executable, "-m", "bench.incident.endpoint", "--port", str(port)]
        command += ["--workers", str(slots), "--scale", str(story.scale), *(["--deletes"] if deletes else [])]
        environment = {
            name: value for name, value in self.ground.cloud.environment.items() if not name.startswith("RELAYD_")
        }
        environment |= {"AWS_DEFAULT_REGION": REGION}
        environment |= dict.fromkeys(("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_SESV2"), self.ground.aws.endpoint)
        log = self.ground.folder / f"endpoint-{number}.log"
        return Pod(command, environment, port=port, ready_path=endpoint.HEALTH, log=log)

    def _made_pusher(self, policy: DeliveryPolicy, timeout: float, at_once: int | None = None) -> Pusher:
        limit = {} if at_once is None else {"at_once": at_once}
        return Pusher(policy, self._story, timeout=timeout, ports=self._ready_ports, **limit)

    def _ready_ports(self) -> list[int]:
        return [pod.port for pod in self.pods if pod.ready]

    def warm_up(self, mails: int) -> float:
        for pod in self.pods:
            pod.start()
        hurried = self._pusher
        patient = self._pusher = self._made_pusher(self._policy, PATIENT_SECONDS, self._slots)
        try:
            for number in range(mails):
                self.accept(f"warm-{number}")
            deadline = time.monotonic() + PATIENT_SECONDS
            while patient.waiting and time.monotonic() < deadline:
                time.sleep(0.01)
        finally:
            self._pusher = hurried
            patient.close()
        return rate_of([at for sent in self.ground.sends().values() for at in sent])

    def accept(self, name: str) -> None:
        self._receiving.accept("bounce@stranger.example", (MASK,), mail(name))

    def tell(self, notification: str) -> None:
        """Push what SES told SNS about one mail."""
        name = json.loads(notification)["mail"]["commonHeaders"]["messageId"].strip("<>").partition("@")[0]
        self._pusher.push(name, json.dumps({"Type": "Notification", "Message": notification}).encode())

    def backlog(self) -> int:
        return len(self._pusher.waiting)

    def dead_letters(self) -> int:
        # A subscription has no dead-letter queue unless somebody gave it one, and nobody had.
        return 0

    def most_handed_out(self) -> int:
        return max(self._pusher.pushes.values(), default=0)

    def left(self, unsent: frozenset[str]) -> int:
        return len(unsent & self._pusher.waiting)

    def facts(self) -> dict[str, object]:
        pushes = self._pusher.pushes
        return {
            "pushes": pushes.total(),
            "pushed_again": pushes.total() - len(pushes),
            "given_up": len(self._pusher.given_up),
        }

    def close(self) -> None:
        self._pusher.close()
        for pod in self.pods:
            pod.kill()
        self.ground.close()


class _Topic:
    """Implements `relayd.sandbox.receiving.Store`: into S3 as always, but SNS pushes."""

    def __init__(self, old: Old) -> None:
        self._old = old
        self._store = Store(old.ground.cloud.world, old.ground.cloud.clients)

    @property
    def bucket(self) -> str:
        return self._store.bucket

    @property
    def topic_arn(self) -> str:
        return self._store.topic_arn

    def put(self, key: str, data: bytes) -> None:
        self._store.put(key, data)

    def publish(self, text: str, traceparent: str) -> None:  # noqa: ARG002 - nobody here follows traces
        self._old.tell(text)
