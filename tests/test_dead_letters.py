"""Reading the dead-letter queue through: each letter once, kept while it is worked on, and nothing left behind."""

import json
from collections.abc import Mapping
from typing import Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.adapters.dead_letter_queue import Attribute, ReceivedLetter, SqsLetterQueue, dead_letter_url
from relayd.adapters.queue_depth import QueueDepth
from relayd.errors import ConfigurationError, TransientError
from relayd.model.message import Message
from relayd.model.notification import InlineContent, S3Content
from relayd.ops.dead_letters import LOOKS, DeadLetters
from relayd.ops.letter_facts import ILLEGIBLE, MAX_RECEIVES, DeadLetter, letter_of, mail_of, trace_id, trace_ids
from relayd.runtime.clock import SystemClock
from relayd.wire import own
from tests.adapters.scripted_server import Hang, ScriptedServer, json_error
from tests.adapters.test_sqs import URL, sqs
from tests.cloud.server import EmbeddedServer
from tests.contract.moto_server import MotoServer
from tests.fakes.clock import VirtualClock
from tests.fakes.letter_queue import FakeLetterQueue
from tests.letters import (
    FAILED,
    FIRST_RECEIVED,
    TRACE,
    TRACEPARENT,
    letter,
    mail_body,
    received_letter,
    sent_attributes,
)
from tests.wire.samples import envelope, received_text


class TestFacts:
    """What a letter says of itself."""

    def test_as_relayd_wrote_it(self) -> None:
        """Why, which, when: from the attributes, and from when SQS got it."""
        found = letter(reason="forged_signature", message_id="m7", receive_count=4, own={"traceparent": "x"})
        assert (found.reason, found.detail, found.original_message_id) == ("forged_signature", "why it is so", "m7")
        assert (found.first_received_at, found.failed_at, found.receive_count) == (FIRST_RECEIVED, FAILED, 4)
        assert found.foreign_attributes == {"traceparent": Attribute("String", "x")}
        assert set(found.attributes) > set(found.foreign_attributes)

    def test_as_sqs_moved_it(self) -> None:
        """Its id is the original one; when it failed is not known. Words of an earlier failure do not count."""
        message = Message("m1", "h", "body", receive_count=1001, sent_at=5.0, first_received_at=9.0)
        found = letter_of(ReceivedLetter(message, {}, "arn:aws:sqs:eu-west-1:123456789012:mail"))
        assert (found.reason, found.original_message_id, found.failed_at) == (MAX_RECEIVES, "m1", 0.0)
        assert (found.first_received_at, found.receive_count) == (9.0, 1001)
        stale = letter(reason="not_json", message_id="m0", sqs_id="d1", source_arn="arn:aws:sqs:x:1:mail")
        assert (stale.reason, stale.original_message_id, stale.first_received_at) == (
            MAX_RECEIVES,
            "d1",
            FIRST_RECEIVED,
        )
        assert stale.source_arn == "arn:aws:sqs:x:1:mail"

    @pytest.mark.parametrize("foreign", ["two words", "<script>", "x" * 65, "\x1b[2J"])
    def test_a_foreign_reason_is_no_word(self, foreign: str) -> None:
        """Reasons are shown and counted: whoever wrote this one was not relayd."""
        received = received_letter()
        attributes = {**received.attributes, "relayd-reason": Attribute("String", foreign)}
        assert letter_of(ReceivedLetter(received.message, attributes)).reason == ILLEGIBLE

    @settings(deadline=None)
    @given(st.dictionaries(st.sampled_from(sorted(sent_attributes())), st.text() | st.binary()))
    def test_nothing_in_it_can_surprise(self, told: Mapping[str, str | bytes]) -> None:
        """Any attributes make a letter."""
        attributes = {name: Attribute("String", value) for name, value in told.items()}
        found = letter_of(ReceivedLetter(Message("d1", "h", "b"), attributes))
        assert found.reason
        assert found.original_message_id
        assert found.receive_count >= 0

    def test_the_mail_it_is_about(self) -> None:
        """In an envelope, raw, sealed by relayd itself with whatever secret, or inside the message."""
        raw = received_text(mail={"messageId": "raw"})
        inline = received_text(receipt={"action": {"type": "SNS", "encoding": "UTF-8"}}, content="hi")
        sealed = own.seal(received_text(mail={"messageId": "own"}), secrets=[b"x" * 32], now=1.0)
        for body, mail_id, content in (
            (mail_body(key="in/1", mail_id="enveloped"), "enveloped", S3Content("incoming-mail", "in/1")),
            (raw, "raw", None),
            (sealed, "own", None),
            (json.dumps(envelope(inline)), None, InlineContent(b"hi")),
        ):
            found = mail_of(Message("m", "h", body))
            assert found is not None
            assert mail_id is None or found.mail_id == mail_id
            assert content is None or found.content == content

    @settings(deadline=None)
    @given(st.text() | st.sampled_from(["[]", "{}", '{"Type": "RelaydNotification", ', mail_body()[:400]]))
    def test_a_body_that_is_about_none(self, body: str) -> None:
        """Most letters that cannot be read are here for just that."""
        assert mail_of(Message("m", "h", body)) is None
        assert trace_ids(Message("m", "h", body)) == []

    def test_the_traces_it_names(self) -> None:
        """Each once: of the message, of its envelope, and X-Ray's."""
        other, third = "a" * 32, "5759e988bd862e3fe1be46a994272793"
        enveloped = json.dumps(
            envelope(received_text())
            | {"MessageAttributes": {"traceparent": {"Type": "String", "Value": f"00-{other}-{'b' * 16}-00"}}}
        )
        xray = f"Root=1-{third[:8]}-{third[8:]};Parent=53995c3f42cd8ad8;Sampled=1"
        message = Message("m", "h", enveloped, attributes={"traceparent": TRACEPARENT}, trace_header=xray)
        assert trace_ids(message) == [TRACE, other, third]
        assert trace_ids(Message("m", "h", "b", attributes={"traceparent": "nonsense"}, trace_header="Root=1-2")) == []
        assert trace_id(None) is None


class World(Protocol):
    """A dead-letter queue."""

    letters: DeadLetters

    def publish(self, body: str) -> None: ...
    def depth(self) -> tuple[int, int]: ...
    def again(self) -> DeadLetters: ...


class FakeWorld:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.queue = FakeLetterQueue(self.clock)
        self.letters = self.again()

    def publish(self, body: str) -> None:
        self.queue.publish(body)

    def depth(self) -> tuple[int, int]:
        return self.queue.queue.visible, self.queue.queue.in_flight

    def again(self) -> DeadLetters:
        return DeadLetters(self.queue, self.clock)


class SqsWorld:
    def __init__(self, server: MotoServer) -> None:
        self._sqs = server.sqs
        _, self._url = server.new_queue()
        self._client = server.relayd_client("sqs")
        self.letters = self.again()

    def publish(self, body: str) -> None:
        attributes = sent_attributes(message_id=f"of-{body}")
        self._sqs.send_message(QueueUrl=self._url, MessageBody=body, MessageAttributes=attributes)

    def depth(self) -> tuple[int, int]:
        found = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["All"])["Attributes"]
        return int(found["ApproximateNumberOfMessages"]), int(found["ApproximateNumberOfMessagesNotVisible"])

    def again(self) -> DeadLetters:
        return DeadLetters(SqsLetterQueue(self._url, self._client), SystemClock())


@pytest.fixture(params=["fake", "moto", "embedded"])
def world(request: pytest.FixtureRequest) -> World:
    return FakeWorld() if request.param == "fake" else SqsWorld(request.getfixturevalue(request.param))


class TestReading:
    """What reading promises, of the fake and of SQS as moto and the embedded AWS have it."""

    def test_each_letter_once_until_nothing_is_left(self, world: World) -> None:
        """In batches of ten at most, with what SQS knows; deleted, they are gone."""
        for number in range(23):
            world.publish(f"body {number}")
        with world.letters as letters:
            batches = []
            for batch in letters.read(wait=0):
                batches.append(batch)
                assert letters.delete(batch) == [None] * len(batch)
        assert letters.is_empty
        found = [one for batch in batches for one in batch]
        assert sorted(one.message.body for one in found) == sorted(f"body {number}" for number in range(23))
        assert {one.original_message_id for one in found} == {f"of-body {number}" for number in range(23)}
        assert all(one.reason == "not_json" for one in found)
        assert max(map(len, batches)) <= 10
        assert world.depth() == (0, 0)

    def test_who_only_looks_leaves_it_as_it_was(self, world: World) -> None:
        """Held until the end, then back at once; the next reader has all of them."""
        for number in range(12):
            world.publish(f"body {number}")
        with world.letters as letters:
            assert sum(len(batch) for batch in letters.read(wait=0)) == 12
            assert letters.is_empty
            assert (letters.in_hand, world.depth()) == (12, (0, 12))
        assert (letters.in_hand, world.depth()) == (0, (12, 0))
        with world.again() as others:
            assert sum(len(batch) for batch in others.read(limit=12)) == 12

    def test_no_more_than_was_asked_for(self, world: World) -> None:
        """Nothing else is even received."""
        for number in range(15):
            world.publish(f"body {number}")
        with world.letters as letters:
            found = [one for batch in letters.read(limit=11) for one in batch]
            assert (len(found), letters.in_hand, letters.is_empty) == (11, 11, False)
            letters.put_back(found[:4])
            letters.delete(found[4:8])
            assert world.depth() == (8, 3)
        assert world.depth() == (11, 0)

    def test_an_error_in_the_middle_puts_back(self, world: World) -> None:
        """Ctrl-C, a bug: whatever leaves the context."""
        for number in range(3):
            world.publish(f"body {number}")

        def interrupted() -> None:
            with world.letters as letters:
                next(letters.read())
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert world.depth() == (3, 0)


@pytest.fixture
def fake() -> FakeWorld:
    return FakeWorld()


def read_all(letters: DeadLetters, **options: float) -> list[DeadLetter]:
    """Every letter, deleted as it comes."""
    found: list[DeadLetter] = []
    for batch in letters.read(**options):  # type: ignore[arg-type]
        found += batch
        letters.delete(batch)
    return found


class TestTrouble:
    """In virtual time, with everything that SQS may do."""

    def test_a_letter_twice_in_a_batch(self, fake: FakeWorld) -> None:
        """Worked on once, and deleted by its newest handle."""
        fake.publish("a")
        fake.queue.queue.twin_next()
        with fake.letters as letters:
            assert [one.message.body for one in read_all(letters)] == ["a"]
        assert fake.queue.queue.left == set()

    def test_leases_are_kept_while_the_work_takes_long(self, fake: FakeWorld) -> None:
        """An hour over a batch: nobody else gets it meanwhile."""
        for number in range(15):
            fake.publish(f"{number}")
        with fake.letters as letters:
            for batch in letters.read(visibility=60):
                if batch:
                    for _ in range(3600 // 20):
                        fake.clock.sleep(20)
                        letters.keep_all()
                    letters.delete(batch)
        assert fake.queue.queue.left == set()
        assert {one.count for one in fake.queue.queue.receives} == {1}

    def test_leases_are_kept_while_reading_takes_long(self, fake: FakeWorld) -> None:
        """Whoever looks at all of them before anything is done needs to do nothing for it."""
        for number in range(100):
            fake.publish(f"{number}")
        seen = 0
        with fake.letters as letters:
            for batch in letters.read(visibility=60):
                seen += len(batch)
                fake.clock.sleep(20)
            assert (seen, letters.is_empty) == (100, True)
        assert {one.count for one in fake.queue.queue.receives} == {1}

    def test_very_many_are_kept_at_once(self, fake: FakeWorld) -> None:
        """A hundred calls take longer than half a short lease: leases grow with what is in hand."""
        for number in range(1000):
            fake.publish(f"{number}")
        fake.queue.queue.faults.latency = 0.08
        with fake.letters as letters:
            assert sum(len(batch) for batch in letters.read(visibility=4)) == 1000
            assert letters.is_empty
        assert {one.count for one in fake.queue.queue.receives} == {1}

    def test_only_leases_that_are_half_over_are_extended(self, fake: FakeWorld) -> None:
        """Asked for every half second, it costs a call a batch and half-life."""
        for number in range(10):
            fake.publish(f"{number}")
        with fake.letters as letters:
            next(letters.read(visibility=60))
            for _ in range(200):
                fake.clock.sleep(0.5)
                letters.keep_all()
            assert len(fake.queue.queue.changes) == 30
        assert {change.error for change in fake.queue.queue.changes} == {None}

    def test_one_may_be_kept_for_longer(self, fake: FakeWorld) -> None:
        """As its caller says."""
        fake.publish("a")
        with fake.letters as letters:
            (batch,) = [one for one in letters.read(visibility=10, limit=1) if one]
            letters.keep(batch, 500)
            fake.clock.sleep(499)
            assert fake.depth() == (0, 1)
            letters.delete(batch)
        assert fake.queue.queue.left == set()

    def test_a_letter_whose_lease_lapsed_is_deleted_when_it_comes_again(self, fake: FakeWorld) -> None:
        """Its old handle deletes nothing, whether SQS says so or not; it is not worked on twice."""
        for word in ("ignore", "error"):
            fake.queue.queue.faults.stale_delete = word
            fake.publish("a")
            letters = fake.again()
            found = []
            with letters:
                for batch in letters.read(visibility=5):
                    if batch:
                        fake.clock.sleep(6)
                        fake.queue.queue.receive(10, 0, 20)
                    found += batch
                    assert letters.delete(batch) == [None] * len(batch)
                assert (letters.is_empty, letters.in_hand) == (True, 0)
                assert fake.queue.queue.left == set()
            assert [one.message.body for one in found] == ["a"]
            assert fake.queue.queue.left == set()

    def test_a_lost_delete_is_made_up_for(self, fake: FakeWorld) -> None:
        """SQS answered nothing, though it did it; or it did nothing: either way one letter, and none left."""
        fake.publish("a")
        fake.queue.queue.lose_answers("delete", 2)
        fake.queue.queue.fail_calls("delete", TransientError("queue_throttled"), 3)
        with fake.letters as letters:
            assert len(read_all(letters)) == 1
        assert fake.queue.queue.left == set()

    def test_an_entry_that_fails_is_tried_again_and_then_told(self, fake: FakeWorld) -> None:
        """Twice is made up for. What fails for long is told, and tried once more at the end."""
        for body in ("a", "b"):
            fake.publish(body)
        fake.queue.queue.fail_entries("delete", 2)
        with fake.letters as letters:
            (batch,) = [one for one in letters.read(limit=2) if one]
            assert letters.delete(batch) == [None, None]
            fake.publish("c")
        fake.queue.queue.fail_entries("delete", 3)
        with fake.again() as letters:
            (batch,) = [one for one in letters.read(limit=1) if one]
            assert letters.delete(batch) == ["InternalError"]
            assert fake.queue.queue.left
        assert fake.queue.queue.left == set()

    def test_counts_that_lie_are_not_believed_at_once(self, fake: FakeWorld) -> None:
        """None, says the queue, and a letter comes with the next poll."""
        fake.queue.lies.extend([QueueDepth(0, 0, 0)] * 2)
        fake.clock.at(2.5, lambda: fake.publish("late"))
        with fake.letters as letters:
            assert [one.message.body for one in read_all(letters)] == ["late"]
        # From then on it took as many looks again.
        assert fake.queue.depths == 2 + LOOKS

    def test_counts_that_lag_behind_are_waited_for(self, fake: FakeWorld) -> None:
        """Some, says the queue, and none comes: until it says none."""
        fake.queue.lies.extend([QueueDepth(3, 0, 0)] * 20 + [QueueDepth(0, 2, 0)] * 20 + [QueueDepth(0, 0, 1)] * 20)
        with fake.letters as letters:
            assert read_all(letters) == []
        assert letters.is_empty
        assert fake.queue.depths == 60 + LOOKS

    def test_what_a_killed_reader_held_is_waited_for(self, fake: FakeWorld) -> None:
        """Its leases lapse, and then it is worked on."""
        for number in range(5):
            fake.publish(f"{number}")
        fake.queue.queue.receive(10, 0, 60)
        with fake.letters as letters:
            assert len(read_all(letters)) == 5
        assert letters.is_empty
        assert 60 < fake.clock.monotonic() < 70

    def test_strangers_are_not_waited_for_for_ever(self, fake: FakeWorld) -> None:
        """Somebody keeps one for twelve hours: told, and left."""
        fake.publish("a")
        fake.queue.queue.receive(10, 0, 43_200)
        with fake.letters as letters:
            assert read_all(letters, strangers=100) == []
        assert (letters.is_empty, letters.elsewhere) == (False, 1)
        assert 100 < fake.clock.monotonic() < 105

    def test_an_outage_is_met_with_patience(self, fake: FakeWorld) -> None:
        """Ten seconds without SQS cost nothing; a day of it is an error, and what is in hand lapses."""
        fake.publish("a")
        for operation in ("receive", "delete"):
            fake.queue.queue.fail_calls(operation, TransientError("queue_unavailable"), 5)
        fake.queue.depth_errors.add(None, TransientError("queue_unavailable"), 5)
        with fake.letters as letters:
            assert len(read_all(letters)) == 1
        fake.publish("b")
        fake.queue.queue.faults.call_errors = {"receive": 1.0, "change_visibility": 1.0}
        began = fake.clock.monotonic()
        with pytest.raises(TransientError), fake.again() as letters:
            read_all(letters)
        assert 10 < fake.clock.monotonic() - began < 30

    def test_an_outage_does_not_keep_anybody_who_leaves(self, fake: FakeWorld) -> None:
        """A thousand in hand and SQS away: a few seconds, not one outage a batch."""
        for number in range(1000):
            fake.publish(f"{number}")
        with fake.letters as letters:
            assert sum(len(batch) for batch in letters.read(limit=1000)) == 1000
            fake.queue.queue.faults.call_errors = {"change_visibility": 1.0}
            began = fake.clock.monotonic()
        assert fake.clock.monotonic() - began < 10

    def test_what_is_put_back_while_reading_is_held_again(self, fake: FakeWorld) -> None:
        """It does not come round and round, and is back in the queue at the end."""
        fake.publish("a")
        with fake.letters as letters:
            seen = 0
            for batch in letters.read():
                seen += len(batch)
                letters.put_back(batch)
            assert seen == 1
        assert len(fake.queue.queue.receives) == 2
        assert fake.depth() == (1, 0)


class TestSqs:
    """The real queue behind it."""

    def test_all_that_sqs_knows(self, embedded: EmbeddedServer) -> None:
        """Attributes of every kind; where SQS moved it from; the trace header."""
        url, dead = embedded.new_queue(max_receive_count=1)
        kinds = {
            "text": {"DataType": "String.x", "StringValue": "é"},
            "number": {"DataType": "Number", "StringValue": "7"},
            "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        }
        trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}}
        embedded.sqs.send_message(QueueUrl=url, MessageBody="b", MessageAttributes=kinds, MessageSystemAttributes=trace)
        for _ in range(2):
            embedded.sqs.receive_message(QueueUrl=url, VisibilityTimeout=0)
        with DeadLetters.at(dead, embedded.relayd_client("sqs")) as letters:
            ((found,),) = [batch for batch in letters.read(limit=1) if batch]
        assert found.attributes == {
            "text": Attribute("String.x", "é"),
            "number": Attribute("Number", "7"),
            "bytes": Attribute("Binary", b"\x00\xff"),
        }
        assert found.reason == MAX_RECEIVES
        assert found.source_arn is not None
        assert found.source_arn.endswith(url.rpartition("/")[2])
        assert trace_ids(found.message) == ["5759e988bd862e3fe1be46a994272793"]
        assert dead_letter_url(url, embedded.relayd_client("sqs")) == dead

    def test_a_queue_without_a_policy(self, embedded: EmbeddedServer) -> None:
        """There is no telling where its dead letters are, and it is said what to set."""
        _, dead = embedded.new_queue()
        with pytest.raises(ConfigurationError, match="RELAYD_DEAD_LETTER_URL"):
            dead_letter_url(dead, embedded.relayd_client("sqs"))

    @pytest.mark.parametrize(
        ("code", "status", "told"),
        [
            ("com.amazonaws.sqs#QueueDoesNotExist", 400, "does not exist"),
            ("AccessDeniedException", 403, "sqs:ReceiveMessage, DeleteMessage"),
            ("InvalidClientTokenId", 403, "AWS credentials"),
            ("KMS.AccessDeniedException", 400, "kms:Decrypt"),
        ],
    )
    def test_what_a_person_must_put_right(self, code: str, status: int, told: str) -> None:
        """Said with a hint, at once."""
        with ScriptedServer(json_error(status, code)) as server:
            queue = SqsLetterQueue(URL, sqs(server.endpoint))
            for call in (queue.depth, lambda: queue.receive(1, 0, 1), lambda: queue.delete(["h"])):
                with pytest.raises(ConfigurationError, match=told):
                    call()

    def test_an_outage_is_one(self) -> None:
        """Not a person's task."""
        with ScriptedServer(Hang(after_request=True)) as server, pytest.raises(TransientError):
            SqsLetterQueue(URL, sqs(server.endpoint, read=0.2)).depth()
