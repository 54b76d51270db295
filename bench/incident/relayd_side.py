"""relayd as a side of the replay: real daemons, with their times scaled as far as their settings let them be."""

import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.incident.ground import MASK, Ground, mail
from bench.incident.pod import Pod, leashed
from bench.incident.side import rate_of
from bench.incident.story import S3_SECONDS, Story
from relayd.settings.combinations import SETTLE_SECONDS, longest_send
from tests.process.cloud import free_port

DRAIN_SECONDS = 120.0
"""On this machine, for the mails with which the capacity is measured."""
HICCUP = 0.5
"""Seconds on this machine by which a timeout must exceed what it waits for: its scheduler does not scale."""
NO_LIMIT = "100000000"


def settings(story: Story, slots: int) -> dict[str, str]:
    """The defaults of relayd in the story's time, raised where a setting, or another one beside it, demands more."""
    connect = max(story.real(3), HICCUP)
    read = max(story.real(30), story.real(S3_SECONDS) + HICCUP)
    wait = max(1, round(story.real(20)))
    visibility = math.ceil(max(story.real(60), longest_send(connect, read)))
    return {
        "RELAYD_CONCURRENCY": str(slots),
        "RELAYD_WAIT_SECONDS": str(wait),
        "RELAYD_VISIBILITY_SECONDS": str(visibility),
        "RELAYD_DEADLINE_SECONDS": str(max(story.real(120), visibility, 2 * (connect + read))),
        "RELAYD_GRACE_SECONDS": str(max(story.real(50), wait + max(read, SETTLE_SECONDS))),
        "RELAYD_S3_CONNECT_SECONDS": str(connect),
        "RELAYD_S3_READ_SECONDS": str(read),
        "RELAYD_SES_CONNECT_SECONDS": str(connect),
        "RELAYD_SES_READ_SECONDS": str(read),
        # One owner has all the mail here.
        "RELAYD_DAILY_MAILS": NO_LIMIT,
        "RELAYD_DAILY_MEGABYTES": NO_LIMIT,
    }


class Relayd:
    """Implements `Side`."""

    live_path = "/livez"

    def __init__(self, folder: Path, story: Story, *, slots: int, replicas: int) -> None:
        self.ground = Ground(folder)
        self.pods: list[Pod] = []
        cloud = self.ground.cloud
        assert cloud.relayd("db", "upgrade").returncode == 0
        cloud.add_mask(MASK)
        straight = dict.fromkeys(("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_SESV2"), self.ground.aws.endpoint)
        for number in range(replicas):
            port = free_port()
            address = {"RELAYD_HTTP_ADDRESS": f"127.0.0.1:{port}"}
            environment = {**cloud.environment, **straight, **settings(story, slots), **address}
            log = self.ground.folder / f"relayd-{number}.log"
            self.pods.append(Pod(leashed(), environment, port=port, ready_path="/readyz", log=log))

    def warm_up(self, mails: int) -> float:
        for number in range(mails):
            self.accept(f"warm-{number}")
        for pod in self.pods:
            pod.start()
        deadline = time.monotonic() + DRAIN_SECONDS
        while self.ground.queued() and time.monotonic() < deadline:
            time.sleep(0.05)
        return rate_of([at for sent in self.ground.sends().values() for at in sent])

    def accept(self, name: str) -> None:
        self.ground.cloud.accept("bounce@stranger.example", MASK, mail(name))

    def backlog(self) -> int:
        return self.ground.queued()

    def dead_letters(self) -> int:
        return len(self.ground.cloud.dead_letters())

    def most_handed_out(self) -> int:
        return max((line["receive_count"] for line in self._settled()), default=0)

    def left(self, unsent: frozenset[str]) -> int:
        # The queue does not say which ones it has.
        return min(len(unsent), self.ground.queued())

    def facts(self) -> dict[str, object]:
        settled = list(self._settled())
        reasons = Counter(f"{line['outcome']} {line['reason']}" for line in settled)
        return {
            "receives": len(settled),
            "received_again": sum(line["receive_count"] > 1 for line in settled),
            "settled": dict(reasons.most_common()),
        }

    def _settled(self) -> Iterator[dict[str, Any]]:
        for pod in self.pods:
            for line in pod.log.read_text("utf-8", "replace").splitlines():
                if '"message_settled"' in line:
                    yield json.loads(line)

    def close(self) -> None:
        for pod in self.pods:
            pod.kill()
        self.ground.close()
