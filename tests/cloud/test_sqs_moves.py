"""Message move tasks through boto3."""

import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.server import EmbeddedServer


class DeadLetters:
    """A queue and its dead-letter queue with letters in it."""

    def __init__(self, server: EmbeddedServer, letters: int) -> None:
        self.sqs = server.sqs
        self.server = server
        self.url, self.dead_url = server.new_queue(max_receive_count=1)
        self.arn = server.attributes(self.url)["QueueArn"]
        self.dead_arn = server.attributes(self.dead_url)["QueueArn"]
        for number in range(letters):
            self.sqs.send_message(QueueUrl=self.url, MessageBody=str(number))
        for _ in range(2):
            self.receive(self.url, VisibilityTimeout=0)

    def receive(self, url: str, **parameters: Any) -> list[dict[str, Any]]:
        answer = self.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"], **parameters
        )
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        return messages

    def depth(self, url: str) -> int:
        return int(self.server.attributes(url)["ApproximateNumberOfMessages"])

    def task(self) -> dict[str, Any]:
        [task] = self.sqs.list_message_move_tasks(SourceArn=self.dead_arn)["Results"]
        return dict(task)

    def wait_for(self, status: str) -> dict[str, Any]:
        end = time.monotonic() + 5
        while (task := self.task())["Status"] != status:
            assert time.monotonic() < end, task
            time.sleep(0.01)
        return task


def code_of(caught: pytest.ExceptionInfo[ClientError]) -> str:
    code: str = caught.value.response["Error"]["Code"]
    return code


def test_letters_go_back_to_where_they_came_from(server: EmbeddedServer) -> None:
    """Without a destination each goes to its source, with a new id, a new time and no receives."""
    letters = DeadLetters(server, 3)
    assert letters.depth(letters.dead_url) == 3
    before = {one["MessageId"] for one in letters.receive(letters.dead_url, VisibilityTimeout=0)}
    letters.sqs.start_message_move_task(SourceArn=letters.dead_arn)
    task = letters.wait_for("COMPLETED")
    assert task["ApproximateNumberOfMessagesMoved"] == 3
    assert "TaskHandle" not in task
    back = letters.receive(letters.url)
    assert sorted(one["Body"] for one in back) == ["0", "1", "2"]
    assert before.isdisjoint(one["MessageId"] for one in back)
    assert all(one["Attributes"]["ApproximateReceiveCount"] == "1" for one in back)
    assert all("DeadLetterQueueSourceArn" not in one["Attributes"] for one in back)


def test_one_task_at_a_time_at_a_rate_until_cancelled(server: EmbeddedServer) -> None:
    """A slow task is the only one of its queue, and what it has not moved when it is cancelled stays."""
    letters = DeadLetters(server, 5)
    handle = letters.sqs.start_message_move_task(SourceArn=letters.dead_arn, MaxNumberOfMessagesPerSecond=1)[
        "TaskHandle"
    ]
    assert letters.task()["TaskHandle"] == handle
    with pytest.raises(ClientError) as caught:
        letters.sqs.start_message_move_task(SourceArn=letters.dead_arn)
    assert code_of(caught) == "AWS.SimpleQueueService.UnsupportedOperation"
    moved = letters.sqs.cancel_message_move_task(TaskHandle=handle)["ApproximateNumberOfMessagesMoved"]
    letters.wait_for("CANCELLED")
    assert letters.depth(letters.dead_url) == 5 - moved
    with pytest.raises(ClientError) as caught:
        letters.sqs.cancel_message_move_task(TaskHandle=handle)
    assert code_of(caught) == "ResourceNotFoundException"


def test_another_destination(server: EmbeddedServer) -> None:
    """All letters may go to a queue of one's own choice."""
    letters = DeadLetters(server, 2)
    other, _ = server.new_queue()
    arn = server.attributes(other)["QueueArn"]
    letters.sqs.start_message_move_task(SourceArn=letters.dead_arn, DestinationArn=arn)
    letters.wait_for("COMPLETED")
    assert letters.depth(other) == 2


def test_letters_that_were_sent_by_hand_have_no_source(server: EmbeddedServer) -> None:
    """What no redrive brought cannot go back: the task fails, and the letter stays."""
    letters = DeadLetters(server, 0)
    letters.sqs.send_message(QueueUrl=letters.dead_url, MessageBody="by hand")
    letters.sqs.start_message_move_task(SourceArn=letters.dead_arn)
    assert letters.wait_for("FAILED")["FailureReason"] == "CouldNotDetermineMessageSource"
    assert letters.depth(letters.dead_url) == 1


def test_only_dead_letter_queues_can_be_emptied_so(server: EmbeddedServer) -> None:
    """A queue that is nobody's dead-letter queue, and one that does not exist, are refused."""
    letters = DeadLetters(server, 0)
    with pytest.raises(ClientError) as caught:
        letters.sqs.start_message_move_task(SourceArn=letters.arn)
    assert code_of(caught) == "InvalidParameterValue"
    with pytest.raises(ClientError) as caught:
        letters.sqs.start_message_move_task(SourceArn=letters.arn + "-not-there")
    assert code_of(caught) == "ResourceNotFoundException"
