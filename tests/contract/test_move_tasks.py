"""SQS's own move tasks: what they move, what is told of them, and how it shows that there are none."""

from collections.abc import Callable

import pytest

from relayd.adapters.move_tasks import MoveRefusedError, MoveTasks, arn_of
from relayd.errors import ConfigurationError, HoldError
from relayd.ops.replay.moving import watch
from relayd.runtime.clock import SystemClock
from tests.cloud.server import EmbeddedServer
from tests.contract.moto_server import MotoServer


def fill(server: MotoServer, url: str, count: int) -> None:
    for number in range(count):
        attributes = {"relayd-reason": {"DataType": "String", "StringValue": "bug"}}
        server.sqs.send_message(QueueUrl=url, MessageBody=str(number), MessageAttributes=attributes)


def test_everything_is_moved_to_the_named_queue(embedded: EmbeddedServer) -> None:
    """Also what was sent to the dead-letter queue and never came from anywhere: SQS alone would not know where to."""
    url, dead_url = embedded.new_queue()
    fill(embedded, dead_url, 25)
    client = embedded.relayd_client("sqs")
    tasks = MoveTasks(client, dead_url)
    assert tasks.latest() is None
    handle = tasks.start(arn_of(client, url))
    seen: list[int] = []
    move, called_off = watch(tasks, handle, SystemClock(), lambda _: False, lambda move: seen.append(move.moved))
    assert move is not None
    assert (move.status, move.moved, move.total, called_off) == ("COMPLETED", 25, 25, "")
    moved = embedded.sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"][0]
    assert moved["MessageAttributes"]["relayd-reason"]["StringValue"] == "bug"


def test_a_second_task_is_refused_and_the_first_can_be_called_off(embedded: EmbeddedServer) -> None:
    """The one that runs is the latest; what it has not moved stays."""
    url, dead_url = embedded.new_queue()
    fill(embedded, dead_url, 30)
    client = embedded.relayd_client("sqs")
    slow = {"MaxNumberOfMessagesPerSecond": 1}
    arns = {"SourceArn": arn_of(client, dead_url), "DestinationArn": arn_of(client, url)}
    handle = embedded.sqs.start_message_move_task(**arns, **slow)["TaskHandle"]
    tasks = MoveTasks(client, dead_url)
    with pytest.raises(MoveRefusedError) as caught:
        tasks.start(arns["DestinationArn"])
    assert caught.value.detail.endswith("UnsupportedOperation")
    running = tasks.latest()
    assert running is not None
    assert not running.is_over
    move, called_off = watch(tasks, handle, SystemClock(), lambda _: True, lambda _: None)
    assert move is not None
    assert (move.status, called_off) == ("CANCELLED", "interrupted")
    assert move.moved + int(embedded.attributes(dead_url)["ApproximateNumberOfMessages"]) == 30


def test_where_there_are_none(moto: MotoServer) -> None:
    """moto answers 500: a refusal, so that whoever asks goes another way, and not an outage to be waited for."""
    url, dead_url = moto.new_queue()
    client = moto.relayd_client("sqs")
    with pytest.raises(MoveRefusedError):
        MoveTasks(client, dead_url).start(arn_of(client, url))


def test_a_queue_that_is_not_there(embedded: EmbeddedServer) -> None:
    """It has no name to ask by."""
    url, _ = embedded.new_queue()
    with pytest.raises(HoldError) as caught:
        MoveTasks(embedded.relayd_client("sqs"), f"{url}-missing")
    assert caught.value.reason == "queue_missing"


@pytest.mark.parametrize("operation", ["GetQueueAttributes", "ListMessageMoveTasks", "CancelMessageMoveTask"])
def test_a_right_that_is_missing_is_named(embedded: EmbeddedServer, operation: str) -> None:
    """Whoever reads it knows which call was refused, on which queue, and what to grant."""
    _, dead_url = embedded.new_queue()
    tasks = MoveTasks(embedded.relayd_client("sqs"), dead_url)
    calls: dict[str, Callable[[], object]] = {
        "GetQueueAttributes": lambda: arn_of(embedded.relayd_client("sqs"), dead_url),
        "ListMessageMoveTasks": tasks.latest,
        "CancelMessageMoveTask": lambda: tasks.cancel("handle"),
    }
    embedded.aws.faults([{"operation": f"sqs:{operation}", "fault": "deny"}])
    try:
        with pytest.raises(ConfigurationError) as caught:
            calls[operation]()
    finally:
        embedded.aws.clear_faults()
    [problem] = caught.value.problems
    assert problem.subject == f"queue {dead_url.rpartition('/')[2]}"
    assert problem.hint == f"Allow sqs:{operation} on it to whoever runs this."
    assert f"sqs:{operation} (AccessDenied, HTTP 403)" in problem.problem
    assert caught.value.__suppress_context__
