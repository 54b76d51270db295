"""Faults: each kind against a real client, set over HTTP while the emulator runs; then the rules themselves."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError, ResponseStreamingError

from relayd.errors import RelaydError
from relayd.sandbox.cloud.calls import Call, Effects
from relayd.sandbox.cloud.fault_kinds import KINDS
from relayd.sandbox.cloud.faults import Faults, Rule
from tests.cloud.server import EmbeddedServer

BODY = b"0123456789" * 1000


class World:
    """An object and a queue, reached by clients that try once and wait for one second."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        config = Config(read_timeout=1, retries={"mode": "standard", "total_max_attempts": 1}, max_pool_connections=4)
        session: Any = server.session
        self.s3 = session.create_client("s3", endpoint_url=server.endpoint, config=config)
        self.sqs = session.create_client("sqs", endpoint_url=server.endpoint, config=config)
        self.ses = session.create_client("sesv2", endpoint_url=server.endpoint, config=config)
        self.bucket = server.new_bucket()
        self.url, _ = server.new_queue()
        self.s3.put_object(Bucket=self.bucket, Key="k", Body=BODY)

    def get(self) -> bytes:
        data: bytes = self.s3.get_object(Bucket=self.bucket, Key="k")["Body"].read()
        return data

    def send(self, body: str = "x") -> None:
        self.sqs.send_message(QueueUrl=self.url, MessageBody=body)

    def receive(self, **parameters: Any) -> list[dict[str, Any]]:
        answer = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, **parameters)
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        return messages

    def set(self, operation: str, fault: str, **more: Any) -> None:
        self.server.aws.faults([{"operation": operation, "fault": fault, **more}])

    def seconds(self, call: Callable[[], Any]) -> float:
        began = time.monotonic()
        call()
        return time.monotonic() - began


@pytest.fixture
def world(server: EmbeddedServer) -> World:
    return World(server)


def code_and_status(call: Callable[[], Any]) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


class TestOnTheWay:
    def test_latency(self, world: World) -> None:
        """A slow operation is slow, and only that one; slowness may also come after the headers."""
        world.set("s3:GetObject", "latency", seconds=0.2)
        assert world.seconds(world.get) >= 0.2
        assert world.seconds(world.send) < 0.15
        world.set("s3:GetObject", "latency", seconds=0.2, at="body")
        began = time.monotonic()
        answer = world.s3.get_object(Bucket=world.bucket, Key="k")
        assert time.monotonic() - began < 0.15
        assert answer["Body"].read() == BODY
        assert time.monotonic() - began >= 0.2
        world.server.aws.clear_faults()
        assert world.seconds(world.get) < 0.15

    def test_hang(self, world: World) -> None:
        """A call hangs until its client gives up, without effect; the next one when the faults are cleared."""
        world.set("sqs:SendMessage", "hang")
        with pytest.raises(ReadTimeoutError):
            world.send("never")
        threading.Timer(0.2, world.server.aws.clear_faults).start()
        assert 0.15 < world.seconds(lambda: world.send("at last")) < 0.9
        assert [one["Body"] for one in world.receive()] == ["at last"]

    def test_hang_of_an_upload(self, world: World) -> None:
        """A put hangs like any other call, and then stores what it was given."""
        world.set("s3:PutObject", "hang")
        threading.Timer(0.2, world.server.aws.clear_faults).start()
        put = world.seconds(lambda: world.s3.put_object(Bucket=world.bucket, Key="k", Body=b"x" * 100_000))
        assert 0.15 < put < 0.9
        assert world.get() == b"x" * 100_000

    def test_reset_before_and_after_the_effect(self, world: World) -> None:
        """Before it, nothing has happened; after it, only the answer is lost."""
        world.set("sqs:SendMessage", "reset")
        with pytest.raises(ConnectionClosedError):
            world.send("lost")
        world.set("sqs:SendMessage", "reset", when="after")
        with pytest.raises(ConnectionClosedError):
            world.send("sent")
        assert [one["Body"] for one in world.receive()] == ["sent"]

    def test_truncate(self, world: World) -> None:
        """The body ends early, although its length was told."""
        world.set("s3:GetObject", "truncate", keep=0.3)
        with pytest.raises(ResponseStreamingError, match="IncompleteRead"):
            world.get()
        answer = world.s3.get_object(Bucket=world.bucket, Key="k")
        assert answer["ContentLength"] == len(BODY)
        assert answer["Body"]._raw_stream.read1(len(BODY)) == BODY[: int(len(BODY) * 0.3)]


class TestRefusals:
    def test_errors(self, world: World) -> None:
        """The service's own failure, or any status, code and text."""
        world.set("*", "error")
        assert code_and_status(world.get) == ("InternalError", 500)
        assert code_and_status(world.send) == ("InternalFailure", 500)
        assert code_and_status(world.ses.get_account) == ("InternalServiceErrorException", 500)
        assert code_and_status(world.server.sns.list_topics) == ("InternalFailure", 500)
        assert code_and_status(world.server.sts.get_caller_identity) == ("InternalFailure", 500)
        world.set("s3:*", "error", status=503, code="SlowDown", message="slow down")
        assert code_and_status(world.get) == ("SlowDown", 503)
        world.send()

    def test_denied_actions(self, world: World) -> None:
        """Each service says no in its own way."""
        world.set("*", "deny")
        assert code_and_status(world.get) == ("AccessDenied", 403)
        assert code_and_status(world.send) == ("AccessDenied", 403)
        assert code_and_status(world.ses.get_account) == ("AccessDeniedException", 403)
        assert code_and_status(world.server.sns.list_topics) == ("AuthorizationError", 403)
        world.server.aws.clear_faults()
        assert world.receive() == []

    def test_throttling_at_a_rate(self, world: World) -> None:
        """After the burst, calls go at the rate and no faster."""
        world.set("s3:GetObject", "throttle", rate=20, burst=3)
        outcomes = [_outcome(world.get) for _ in range(6)]
        assert outcomes[:3] == [None] * 3
        assert ("SlowDown", 503) in outcomes[3:]
        time.sleep(0.06)
        world.get()
        world.set("ses:*", "throttle", rate=0.1, burst=0)
        assert code_and_status(world.ses.get_account) == ("TooManyRequestsException", 429)
        world.set("sqs:*", "throttle", rate=0.1, burst=0)
        assert code_and_status(world.send) == ("RequestThrottled", 403)

    def test_outages_by_the_clock(self, world: World) -> None:
        """A rule counts from and until so many seconds after it was set."""
        world.set("s3:*", "error", **{"from": 0.15, "until": 0.4})
        world.get()
        time.sleep(0.2)
        assert code_and_status(world.get) == ("InternalError", 500)
        time.sleep(0.25)
        world.get()

    def test_of_one_resource(self, world: World) -> None:
        """A rule may concern one object, one queue or one recipient."""
        world.s3.put_object(Bucket=world.bucket, Key="other", Body=b"x")
        world.set("s3:*", "deny", resource=f"{world.bucket}/oth*")
        world.get()
        assert code_and_status(lambda: world.s3.get_object(Bucket=world.bucket, Key="other"))[0] == "AccessDenied"
        world.set("sqs:*", "deny", resource=world.url.rpartition("/")[2])
        assert code_and_status(world.send)[0] == "AccessDenied"
        world.set("sqs:*", "deny", resource="another-queue")
        world.send()

    def test_so_many_times(self, world: World) -> None:
        """A rule may strike a number of times and then no more; it tells how often it has."""
        world.set("s3:GetObject", "error", times=2)
        assert [_outcome(world.get) is None for _ in range(4)] == [False, False, True, True]
        [told] = urllib3.request("GET", f"{world.server.endpoint}/_relayd/faults").json()
        assert told["struck"] == 2


def _outcome(call: Callable[[], Any]) -> tuple[str, int] | None:
    try:
        call()
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    return None


class TestOfQueues:
    def test_stale_deletes(self, world: World) -> None:
        """Ignored with success, as documented; refused, where the fault is set."""
        world.send()
        [old] = world.receive(VisibilityTimeout=0)
        [new] = world.receive()

        def delete(one: dict[str, Any]) -> None:
            world.sqs.delete_message(QueueUrl=world.url, ReceiptHandle=one["ReceiptHandle"])

        delete(old)
        world.set("sqs:DeleteMessage*", "stale_delete")
        assert code_and_status(lambda: delete(old)) == ("ReceiptHandleIsInvalid", 404)
        entries = [{"Id": str(at), "ReceiptHandle": one["ReceiptHandle"]} for at, one in enumerate((old, new))]
        answer = world.sqs.delete_message_batch(QueueUrl=world.url, Entries=entries)
        assert [one["Code"] for one in answer["Failed"]] == ["ReceiptHandleIsInvalid"]
        assert [one["Id"] for one in answer["Successful"]] == ["1"]

    def test_forgotten_deletes(self, world: World) -> None:
        """A delete answers success, and the message comes back."""
        world.send()
        [one] = world.receive(VisibilityTimeout=1)
        world.set("sqs:DeleteMessage", "forget_delete")
        world.sqs.delete_message(QueueUrl=world.url, ReceiptHandle=one["ReceiptHandle"])
        world.sqs.change_message_visibility(QueueUrl=world.url, ReceiptHandle=one["ReceiptHandle"], VisibilityTimeout=0)
        assert [again["MessageId"] for again in world.receive()] == [one["MessageId"]]

    def test_redelivered_after_their_delete(self, world: World) -> None:
        """A deleted message comes once more, later, and the handle that deleted it does nothing any more."""
        world.send()
        [one] = world.receive()
        world.set("sqs:DeleteMessage", "redeliver", seconds=0.2, times=1)
        for _ in range(2):
            world.sqs.delete_message(QueueUrl=world.url, ReceiptHandle=one["ReceiptHandle"])
        assert world.receive() == []
        [again] = world.receive(WaitTimeSeconds=1, MessageSystemAttributeNames=["All"])
        assert again["MessageId"] == one["MessageId"]
        assert again["Attributes"]["ApproximateReceiveCount"] == "2"
        world.sqs.delete_message(QueueUrl=world.url, ReceiptHandle=again["ReceiptHandle"])
        assert world.server.attributes(world.url)["ApproximateNumberOfMessagesNotVisible"] == "0"

    def test_failed_entries(self, world: World) -> None:
        """Some entries of a batch fail, for no fault of the sender's, and have no effect; the call succeeds."""
        world.set("sqs:SendMessageBatch", "fail_entries", share=0.5, seed=1)
        entries = [{"Id": str(at), "MessageBody": str(at)} for at in range(10)]
        answer = world.sqs.send_message_batch(QueueUrl=world.url, Entries=entries)
        failed, sent = ([one["Id"] for one in answer[name]] for name in ("Failed", "Successful"))
        assert 1 <= len(failed) <= 9
        assert sorted(failed + sent) == [one["Id"] for one in entries]
        assert {(one["Code"], one["SenderFault"]) for one in answer["Failed"]} == {("InternalError", False)}
        assert sorted(one["Body"] for one in world.receive()) == sorted(sent)

    def test_twins(self, world: World) -> None:
        """One receive holds a message twice; only the second handle counts."""
        world.send()
        world.set("sqs:ReceiveMessage", "twin")
        first, second = world.receive(MessageSystemAttributeNames=["All"])
        assert first["MessageId"] == second["MessageId"]
        assert first["ReceiptHandle"] != second["ReceiptHandle"]
        counts = [one["Attributes"]["ApproximateReceiveCount"] for one in (first, second)]
        assert counts == ["1", "2"]
        for one, left in ((first, "1"), (second, "0")):
            world.sqs.delete_message(QueueUrl=world.url, ReceiptHandle=one["ReceiptHandle"])
            assert world.server.attributes(world.url)["ApproximateNumberOfMessagesNotVisible"] == left

    def test_early_redelivery(self, world: World) -> None:
        """A lease ends long before its time."""
        world.send()
        world.set("sqs:ReceiveMessage", "early_redelivery", within=0.01)
        [first] = world.receive(VisibilityTimeout=20)
        [second] = world.receive(WaitTimeSeconds=1)
        assert first["MessageId"] == second["MessageId"]

    def test_orphaned_polls(self, world: World) -> None:
        """A poll whose client has gone away takes the next message with it."""
        world.set("sqs:ReceiveMessage", "orphan_poll")
        with pytest.raises(ReadTimeoutError):
            world.receive(WaitTimeSeconds=5)
        world.send()
        time.sleep(0.05)
        assert world.server.attributes(world.url)["ApproximateNumberOfMessagesNotVisible"] == "1"


class TestRules:
    @pytest.mark.parametrize(
        ("rule", "problem"),
        [
            ({"operation": "*"}, "`fault` is one of"),
            ({"operation": "*", "fault": "flood"}, "`fault` is one of"),
            ({"fault": "hang"}, "needs `operation`"),
            ({"operation": "ec2:*", "fault": "hang"}, "`operation` begins with"),
            ({"operation": "*", "fault": "latency"}, "needs `seconds`"),
            ({"operation": "*", "fault": "latency", "seconds": "1"}, "`seconds` is a float"),
            ({"operation": "*", "fault": "latency", "seconds": 1, "distribution": "flat"}, "`distribution` is one of"),
            ({"operation": "*", "fault": "hang", "colour": "red"}, "there is no `colour`"),
            ({"operation": "ses:SendEmail", "fault": "withhold", "event": "Sent"}, "`event` is one of"),
        ],
    )
    def test_that_make_no_sense_are_refused(self, server: EmbeddedServer, rule: dict[str, Any], problem: str) -> None:
        """The answer says what is wrong, and the rules before stay."""
        server.aws.faults([{"operation": "sts:*", "fault": "deny"}])
        with pytest.raises(RelaydError, match="the embedded AWS refuses") as caught:
            server.aws.faults([rule])
        assert problem in str(caught.value)
        [told] = urllib3.request("GET", f"{server.endpoint}/_relayd/faults").json()
        assert told["fault"] == "deny"

    def test_strike_the_same_way_each_time(self) -> None:
        """The same seed strikes the same calls and draws the same delays; another one does not."""
        first, again, other = (_drawn(seed) for seed in (7, 7, 8))
        assert first == again
        assert first != other
        assert 20 < sum(delay == 0 for delay in first) < 80

    @pytest.mark.parametrize(
        ("told", "low", "median", "high"),
        [
            ({"seconds": 2.0}, 2.0, (2.0, 2.0), 2.0),
            ({"distribution": "uniform", "low": 1.0, "seconds": 3.0}, 1.0, (1.7, 2.3), 3.0),
            ({"distribution": "lognormal", "seconds": 1.0, "sigma": 0.5}, 0.0, (0.8, 1.2), 300.0),
            ({"distribution": "pareto", "seconds": 1.0, "shape": 1.0, "cap": 30.0}, 1.0, (1.7, 2.4), 30.0),
        ],
    )
    def test_draw_from_distributions(
        self, told: Mapping[str, Any], low: float, median: tuple[float, float], high: float
    ) -> None:
        """Delays lie where their distribution has them, and never above the cap."""
        rule = Rule({"operation": "*", "fault": "latency", **told}, 0, 0.0)
        delays = sorted(_delay(rule) for _ in range(1000))
        assert low <= delays[0]
        assert delays[-1] <= high
        assert median[0] <= delays[500] <= median[1]

    def test_add_up(self) -> None:
        """All rules that fit strike, each in its own way."""
        faults = Faults(lambda: 0.0)
        faults.replace(
            [
                {"operation": "s3:*", "fault": "latency", "seconds": 1},
                {"operation": "s3:GetObject", "fault": "latency", "seconds": 2},
                {"operation": "s3:GetObject", "fault": "truncate", "keep": 0.1},
                {"operation": "sqs:*", "fault": "hang"},
            ]
        )
        effects = faults.effects(_call("s3", "GetObject"))
        assert (effects.delay, effects.keep, effects.hang) == (3, 0.1, "")

    def test_every_kind_is_tested_here(self) -> None:
        """A kind of fault without a test would be a fault itself."""
        with open(__file__, encoding="utf-8") as text:
            tests = text.read()
        assert [kind for kind in KINDS if f'"{kind}"' not in tests] == []


def _call(service: str, operation: str) -> Call:
    async def never() -> None: ...

    return Call(service, operation, "r", "h", "GET", "/", {}, {}, b"", never)


def _drawn(seed: int) -> list[float]:
    faults = Faults(lambda: 0.0)
    rule = {"operation": "*", "fault": "latency", "distribution": "uniform", "seconds": 1, "probability": 0.5}
    faults.replace([{**rule, "seed": seed}])
    return [faults.effects(_call("s3", "GetObject")).delay for _ in range(100)]


def _delay(rule: Rule) -> float:
    effects = Effects()
    rule.strike(effects, _call("s3", "GetObject"), 0.0)
    return effects.delay
