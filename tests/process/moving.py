"""What it takes to move mail from one system to another before the eyes of a test: the old system behind a push
subscription, a steady stream of mails, receipt rules, and the books.
"""

import itertools
import json
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.incident import endpoint
from bench.incident.ground import mail, original
from bench.incident.pod import Pod
from bench.incident.policy import POLICIES
from bench.incident.pusher import Pusher
from bench.incident.story import Story
from relayd.model.delivery import DELIVERY_TAG
from relayd.sandbox.cloud.client import EmbeddedAws
from relayd.sandbox.world import REGION
from tests.process.cloud import DOMAIN, Cloud, free_port

CANARY = "canary.example"
SHOP, BIRD = f"shop@{DOMAIN}", f"bird@{CANARY}"
MAILBOXES = {SHOP: "shop@owner.example", BIRD: "bird@owner.example"}
STREAM: tuple[tuple[str, ...], ...] = ((SHOP,), (BIRD,), (SHOP,), (BIRD, SHOP), (BIRD,))
"""Whom the mails are for, in turn. One of five is for both domains, which are to move at different times."""
OLD, NEW = "old", "relayd"
SCALE = 0.02
"""What a second of SNS's waits is here."""
PUSH_SECONDS = 15.0
"""After which a push counts as failed, as SNS has it. Scaled it would fail by itself on a busy machine."""


class OldSystem:
    """The endpoint of `bench.incident`, and SNS pushing to it what a queue of the old topic brings."""

    def __init__(self, cloud: Cloud, queue_url: str) -> None:
        self._cloud = cloud
        self._queue_url = queue_url
        port = free_port()
        command = [sys.executable, "-m", "bench.incident.endpoint", "--port", str(port), "--workers", "8"]
        environment = {name: value for name, value in cloud.environment.items() if not name.startswith("RELAYD_")}
        environment |= dict.fromkeys(("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_SESV2"), cloud.aws.endpoint)
        environment |= {"AWS_DEFAULT_REGION": REGION}
        self._pod = Pod(
            [*command, "--scale", "1"], environment, port=port, ready_path=endpoint.HEALTH, log=cloud.folder / "old.log"
        )
        self._pusher = Pusher(POLICIES["hour"], Story(SCALE), timeout=PUSH_SECONDS, ports=lambda: [port])
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._push, name="sns", daemon=True)

    def start(self) -> None:
        self._pod.start()
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Mails that SNS still has for it."""
        return len(self._pusher.waiting)

    @property
    def given_up(self) -> int:
        return len(self._pusher.given_up)

    def close(self) -> None:
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(10)
        self._pusher.close()
        self._pod.kill()

    def _push(self) -> None:
        sqs = self._cloud.clients.sqs
        while not self._stopped.is_set():
            answer = sqs.receive_message(QueueUrl=self._queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in answer.get("Messages", []):
                told = json.loads(json.loads(message["Body"])["Message"])
                name = told["mail"]["commonHeaders"]["messageId"].strip("<>").partition("@")[0]
                self._pusher.push(name, message["Body"].encode())
                sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"])


@dataclass
class Fed:
    """One mail that came in, and what the receipt rules did with it."""

    name: str
    recipients: tuple[str, ...]
    handled: Sequence[Mapping[str, Any]]
    refused: Sequence[str]


class Stream:
    """Mail coming in at a steady rate, through the receipt rules, in a thread of its own."""

    def __init__(self, cloud: Cloud, rate: float) -> None:
        assert isinstance(cloud.aws, EmbeddedAws)
        self._aws = cloud.aws
        self._pause = 1 / rate
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)
        self._problem: Exception | None = None
        self.fed: list[Fed] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let no other mail in. Raises what stopped it before."""
        self._stopped.set()
        self._thread.join(10)
        if self._problem is not None:
            raise self._problem

    def _run(self) -> None:
        for number, recipients in enumerate(itertools.cycle(STREAM)):
            if self._stopped.wait(self._pause):
                return
            name = f"mail-{number}"
            try:
                told = self._aws.receive("bounce@stranger.example", recipients, mail(name), region=REGION)
            except Exception as error:
                self._problem = error
                return
            self.fed.append(Fed(name, recipients, told["handled"], told["refused"]))


class Rules:
    """The receipt rules, as docs/migrate.md changes them: a set is made beside the active one, and takes its place."""

    def __init__(self, cloud: Cloud) -> None:
        self._ses = cloud.clients.ses_v1
        self._bucket = cloud.world.bucket
        assert cloud.world.rule_set is not None
        self.first = cloud.world.rule_set

    def clone(self, original: str, name: str) -> str:
        made = f"{self.first}-{name}"
        self._ses.clone_receipt_rule_set(OriginalRuleSetName=original, RuleSetName=made)
        return made

    def put_first(self, rule_set: str, name: str, topic_arn: str, recipients: Sequence[str]) -> None:
        self._ses.create_receipt_rule(RuleSetName=rule_set, Rule=self._rule(name, topic_arn, recipients))

    def change(self, rule_set: str, name: str, topic_arn: str, recipients: Sequence[str] = ()) -> None:
        self._ses.update_receipt_rule(RuleSetName=rule_set, Rule=self._rule(name, topic_arn, recipients))

    def activate(self, rule_set: str) -> None:
        self._ses.set_active_receipt_rule_set(RuleSetName=rule_set)

    def _rule(self, name: str, topic_arn: str, recipients: Sequence[str]) -> dict[str, Any]:
        action = {"S3Action": {"BucketName": self._bucket, "TopicArn": topic_arn}}
        return {
            "Name": name,
            "Enabled": True,
            "ScanEnabled": True,
            "Recipients": list(recipients),
            "Actions": [action],
        }


@dataclass(frozen=True)
class NewPath:
    """The way to relayd: a topic, a queue and its dead letters."""

    topic_arn: str
    queue_url: str
    dead_letter_url: str

    @classmethod
    def build(cls, cloud: Cloud) -> "NewPath":
        clients, name = cloud.clients, f"{cloud.world.queue_url.rpartition('/')[2]}-relayd"
        topic_arn = clients.sns.create_topic(Name=name)["TopicArn"]
        dead_letter_url = clients.sqs.create_queue(QueueName=f"{name}-dead-letters")["QueueUrl"]
        redrive = {"deadLetterTargetArn": arn_of(cloud, dead_letter_url), "maxReceiveCount": 1000}
        attributes: Any = {"RedrivePolicy": json.dumps(redrive)}
        queue_url = clients.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        clients.sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=arn_of(cloud, queue_url))
        return cls(topic_arn, queue_url, dead_letter_url)


def arn_of(cloud: Cloud, queue_url: str) -> str:
    answer = cloud.clients.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
    return answer["Attributes"]["QueueArn"]


def depth(cloud: Cloud, queue_url: str) -> int:
    """Messages in the queue, whoever holds them."""
    answer = cloud.clients.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])
    found: Any = answer["Attributes"]
    return sum(int(found[f"ApproximateNumberOfMessages{state}"]) for state in ("", "NotVisible", "Delayed"))


def verify_canary(cloud: Cloud) -> None:
    with suppress(cloud.clients.ses.exceptions.AlreadyExistsException):
        cloud.clients.ses.create_email_identity(EmailIdentity=CANARY)


def expected(fed: Sequence[Fed], old_topic: str) -> Counter[tuple[str, str, str]]:
    """Who should have sent what: of what the old topic was told the old system sends one mail, which knows of no
    recipients; of what the new one was told relayd sends one to each recipient's mailbox.
    """
    due: Counter[tuple[str, str, str]] = Counter()
    for one in fed:
        for rule in one.handled:
            for action in rule["actions"]:
                if action["topicArn"] == old_topic:
                    due[one.name, OLD, endpoint.OWNER] += 1
                else:
                    due.update((one.name, NEW, MAILBOXES[recipient]) for recipient in rule["recipients"])
    return due


class Books:
    """Who did send what."""

    def __init__(self, cloud: Cloud) -> None:
        self._aws = cloud.aws
        self._read = cloud.sent_before
        self._sends: Counter[tuple[str, str, str]] = Counter()

    def sends(self) -> Counter[tuple[str, str, str]]:
        """By the mail's name, the system, and whom it was sent to."""
        while page := self._aws.sent(self._read):
            self._read = page[-1].number
            for sent in page:
                system = NEW if DELIVERY_TAG in sent.tags else OLD
                self._sends[original(sent.data), system, sent.recipients[0]] += 1
        return self._sends

    def of(self, system: str) -> int:
        """How many mails it has sent."""
        return sum(count for (_, whose, _), count in self.sends().items() if whose == system)


def handled_once(fed: Sequence[Fed]) -> bool:
    """Whether each recipient of each mail was one rule's, and of one rule alone."""
    return all(
        not one.refused
        and Counter(who for rule in one.handled for who in rule["recipients"]) == Counter(one.recipients)
        for one in fed
    )


def report(path: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(path.read_text())
    return told
