"""docs/migrate.md played through under load: mail moves from a pushed HTTP endpoint to relayd and back, and each mail
is sent once, by one of them.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.cloud import DOMAIN, Cloud, eventually
from tests.process.moving import (
    BIRD,
    CANARY,
    MAILBOXES,
    NEW,
    OLD,
    Books,
    NewPath,
    OldSystem,
    Rules,
    Stream,
    arn_of,
    depth,
    expected,
    handled_once,
    report,
    verify_canary,
)

pytestmark = pytest.mark.process

RATE = 25.0
"""Mails a second: a third of what this machine's two cores bear with everything that runs here."""


@pytest.fixture
def old(cloud: Cloud) -> Iterator[OldSystem]:
    """The old system at work; the sandbox's own queue stands for SNS's subscription."""
    verify_canary(cloud)
    for mask, mailbox in MAILBOXES.items():
        cloud.add_mask(mask, mailbox)
    system = OldSystem(cloud, cloud.world.queue_url)
    system.start()
    yield system
    system.close()


@pytest.fixture
def stream(cloud: Cloud) -> Iterator[Stream]:
    made = Stream(cloud, RATE)
    yield made
    made.stop()


def test_there_and_back_under_load(cloud: Cloud, old: OldSystem, stream: Stream, tmp_path: Path) -> None:
    """Observe; one domain first; then all of it; and back again, with mail left in relayd's queue to be drained: none
    lost, none doubled, whatever moment each step came at.
    """
    rules, books, old_topic = Rules(cloud), Books(cloud), cloud.world.topic_arn
    new = NewPath.build(cloud)
    ours = {
        "RELAYD_MAIL_DOMAINS": f"{DOMAIN},{CANARY}",
        "RELAYD_TOPIC_ARNS": f"{old_topic},{new.topic_arn}",
        "RELAYD_QUEUE_URL": new.queue_url,
    }
    stream.start()
    _observe(cloud, books, stream, ours, tmp_path)

    # One domain, by rules whose conditions do not meet; the set that is active changes whole.
    canary = rules.clone(rules.first, "canary")
    rules.put_first(canary, "canary", new.topic_arn, [CANARY])
    rules.change(canary, "mail", old_topic, [DOMAIN, f".{DOMAIN}"])
    daemon = cloud.daemon(**ours)
    rules.activate(canary)
    assert eventually(lambda: books.of(NEW) > 10, 30)
    assert {box for _, system, box in books.sends() if system == NEW} == {MAILBOXES[BIRD]}

    # All of it.
    moved = rules.clone(rules.first, "relayd")
    rules.change(moved, "mail", new.topic_arn)
    rules.activate(moved)
    at_once = len(stream.fed)
    assert eventually(lambda: books.of(NEW) > 60, 30)
    assert eventually(lambda: old.waiting == 0 and depth(cloud, cloud.world.queue_url) == 0, 30)
    old_sent = books.of(OLD)
    assert all(
        rule["actions"][0]["topicArn"] == new.topic_arn for one in stream.fed[at_once + 1 :] for rule in one.handled
    )

    # And back, while a slow S3 keeps mail in relayd's queue.
    cloud.fault("s3:GetObject", "latency", seconds=0.8)
    assert eventually(lambda: depth(cloud, new.queue_url) > 20, 30)
    rules.activate(rules.first)
    assert daemon.stop() == 0
    left = depth(cloud, new.queue_url)
    assert left > 0, "nothing was left to drain: the test tries nothing"
    cloud.clear_faults()
    drained = cloud.relayd("drain", "--json", "--max-messages", str(left), environment=cloud.environment | ours)
    assert drained.returncode == 0, drained.stderr
    assert depth(cloud, new.queue_url) == 0
    assert eventually(lambda: books.of(OLD) > old_sent + 20, 30)
    stream.stop()
    assert eventually(lambda: old.waiting == 0 and depth(cloud, cloud.world.queue_url) == 0, 30)

    assert eventually(lambda: books.sends() == expected(stream.fed, old_topic), 5), (
        books.sends() - expected(stream.fed, old_topic),
        expected(stream.fed, old_topic) - books.sends(),
    )
    assert handled_once(stream.fed)
    assert set(books.sends().values()) == {1}
    assert old.given_up == 0
    assert depth(cloud, new.dead_letter_url) == 0
    assert not daemon.events("in_doubt_resend")


def _observe(cloud: Cloud, books: Books, stream: Stream, ours: dict[str, str], folder: Path) -> None:
    """relayd looks at what the old system gets, through a second subscription of the same topic."""
    sqs, sns = cloud.clients.sqs, cloud.clients.sns
    url = sqs.create_queue(QueueName=f"{ours['RELAYD_QUEUE_URL'].rpartition('/')[2]}-observed")["QueueUrl"]
    observer = cloud.daemon("--observe", "--report", str(folder / "observed.json"), **ours | {"RELAYD_QUEUE_URL": url})
    moments = [len(stream.fed)]
    subscription = sns.subscribe(
        TopicArn=cloud.world.topic_arn, Protocol="sqs", Endpoint=arn_of(cloud, url), ReturnSubscriptionArn=True
    )["SubscriptionArn"]
    moments.append(len(stream.fed))
    time.sleep(2)  # that long mail is looked at, as it comes
    moments.append(len(stream.fed))
    sns.unsubscribe(SubscriptionArn=subscription)
    moments.append(len(stream.fed))
    assert eventually(lambda: depth(cloud, url) == 0, 30)
    assert observer.stop() == 0
    sqs.delete_queue(QueueUrl=url)
    would = report(folder / "observed.json")["would"]
    # To the mail, but for those that came while the subscription began, or ended.
    first, began, ending, last = moments
    least = sum(len(one.recipients) for one in stream.fed[began + 1 : ending - 1])
    most = sum(len(one.recipients) for one in stream.fed[max(0, first - 1) : last + 1])
    assert least <= would["forward"] <= most
    assert would["fail"] == would["discard"] == {}
    assert books.of(NEW) == 0
    assert eventually(lambda: books.of(OLD) > last - 10, 30), "the old system went on all the while"
