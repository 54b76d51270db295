"""SQS of the embedded AWS through boto3: every operation, and the refusals that AWS documents."""

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.server import EmbeddedServer
from tests.contract.moto_server import REGION


def refused(call: Callable[..., Any], **parameters: Any) -> tuple[str, str]:
    """Code and text of the refusal."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def new_queue(server: EmbeddedServer, **attributes: str) -> str:
    name = f"q-{uuid.uuid4().hex[:12]}"
    url: str = server.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return url


def receive(server: EmbeddedServer, url: str, **parameters: Any) -> list[dict[str, Any]]:
    parameters = {"MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["All"], **parameters}
    messages: list[dict[str, Any]] = server.sqs.receive_message(QueueUrl=url, **parameters).get("Messages", [])
    return messages


class TestQueues:
    def test_are_made_found_listed_and_deleted(self, server: EmbeddedServer) -> None:
        """A queue is found by name, listed by prefix, made twice without harm, and gone when deleted."""
        url = new_queue(server)
        name = url.rpartition("/")[2]
        assert server.sqs.create_queue(QueueName=name)["QueueUrl"] == url
        assert server.sqs.get_queue_url(QueueName=name)["QueueUrl"] == url
        assert server.sqs.list_queues(QueueNamePrefix=name)["QueueUrls"] == [url]
        server.sqs.delete_queue(QueueUrl=url)
        assert "QueueUrls" not in server.sqs.list_queues(QueueNamePrefix=name)
        code, text = refused(server.sqs.get_queue_url, QueueName=name)
        assert code == "AWS.SimpleQueueService.NonExistentQueue"
        assert text == "The specified queue does not exist."

    def test_have_attributes(self, server: EmbeddedServer) -> None:
        """Defaults are SQS's; what is set is told; policies are kept as they are."""
        url = new_queue(server, DelaySeconds="3")
        attributes = server.attributes(url)
        assert attributes["VisibilityTimeout"] == "30"
        assert attributes["MaximumMessageSize"] == "1048576"
        assert attributes["DelaySeconds"] == "3"
        assert attributes["QueueArn"] == f"arn:aws:sqs:{REGION}:123456789012:{url.rpartition('/')[2]}"
        policy = json.dumps({"Version": "2012-10-17", "Statement": []})
        server.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy, "VisibilityTimeout": "7"})
        answer = server.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy", "VisibilityTimeout"])
        assert answer["Attributes"] == {"Policy": policy, "VisibilityTimeout": "7"}

    @pytest.mark.parametrize(
        ("attributes", "code"),
        [
            ({"VisibilityTimeout": "43201"}, "InvalidAttributeValue"),
            ({"DelaySeconds": "many"}, "InvalidAttributeValue"),
            ({"Policy": "{"}, "InvalidAttributeValue"),
            ({"Colour": "red"}, "InvalidAttributeName"),
            ({"RedrivePolicy": '{"maxReceiveCount": 3}'}, "InvalidParameterValue"),
            (
                {"RedrivePolicy": '{"maxReceiveCount": 0, "deadLetterTargetArn": "arn:aws:sqs:x:1:y"}'},
                "InvalidParameterValue",
            ),
            (
                {"RedrivePolicy": '{"maxReceiveCount": 3, "deadLetterTargetArn": "arn:aws:sqs:x:1:y"}'},
                "InvalidParameterValue",
            ),
        ],
    )
    def test_refuse_impossible_attributes(self, server: EmbeddedServer, attributes: dict[str, str], code: str) -> None:
        """Values out of bounds, unknown names and missing dead-letter queues are refused, and nothing is set."""
        url = new_queue(server)
        before = server.attributes(url)
        assert refused(server.sqs.set_queue_attributes, QueueUrl=url, Attributes=attributes)[0] == code
        assert server.attributes(url) == before

    def test_are_encrypted_one_way_or_the_other(self, server: EmbeddedServer) -> None:
        """With SQS's own keys from the start; a key of KMS takes their place, and they take its."""
        url = new_queue(server)
        assert server.attributes(url)["SqsManagedSseEnabled"] == "true"
        server.sqs.set_queue_attributes(QueueUrl=url, Attributes={"KmsMasterKeyId": "alias/mail"})
        found = server.attributes(url)
        assert (found["SqsManagedSseEnabled"], found["KmsMasterKeyId"]) == ("false", "alias/mail")
        server.sqs.set_queue_attributes(QueueUrl=url, Attributes={"SqsManagedSseEnabled": "true"})
        assert "KmsMasterKeyId" not in server.attributes(url)
        both = {"SqsManagedSseEnabled": "true", "KmsMasterKeyId": "alias/mail"}
        assert refused(server.sqs.set_queue_attributes, QueueUrl=url, Attributes=both)[0] == "InvalidAttributeValue"

    def test_say_whose_dead_letters_they_take(self, server: EmbeddedServer) -> None:
        """Everybody's, nobody's, or those of named queues."""
        url, dead_url = new_queue(server), new_queue(server)
        arn, dead_arn = (server.attributes(one)["QueueArn"] for one in (url, dead_url))
        redrive = {"RedrivePolicy": json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 3})}
        for policy, taken in (
            ({"redrivePermission": "denyAll"}, False),
            ({"redrivePermission": "byQueue", "sourceQueueArns": [dead_arn]}, False),
            ({"redrivePermission": "byQueue", "sourceQueueArns": [dead_arn, arn]}, True),
            ({"redrivePermission": "allowAll"}, True),
        ):
            allowed = {"RedriveAllowPolicy": json.dumps(policy)}
            server.sqs.set_queue_attributes(QueueUrl=dead_url, Attributes=allowed)
            if taken:
                server.sqs.set_queue_attributes(QueueUrl=url, Attributes=redrive)
            else:
                code, _ = refused(server.sqs.set_queue_attributes, QueueUrl=url, Attributes=redrive)
                assert code == "InvalidParameterValue"
        for text in ("{", "{}", '{"redrivePermission": "byQueue"}', '{"redrivePermission": "sometimes"}'):
            attributes = {"RedriveAllowPolicy": text}
            assert refused(server.sqs.set_queue_attributes, QueueUrl=dead_url, Attributes=attributes)

    def test_of_one_name_have_one_set_of_attributes(self, server: EmbeddedServer) -> None:
        """Making a queue again with other attributes is refused."""
        url = new_queue(server, DelaySeconds="3")
        name = url.rpartition("/")[2]
        code, _ = refused(server.sqs.create_queue, QueueName=name, Attributes={"DelaySeconds": "4"})
        assert code == "QueueAlreadyExists"

    def test_belong_to_a_region(self, server: EmbeddedServer) -> None:
        """In another region the queue does not exist."""
        url = new_queue(server)
        there: Any = server.session.create_client("sqs", endpoint_url=server.endpoint, region_name="us-west-2")
        assert refused(there.receive_message, QueueUrl=url)[0] == "AWS.SimpleQueueService.NonExistentQueue"

    def test_can_be_purged_once_a_minute(self, server: EmbeddedServer) -> None:
        """A purge empties the queue; a second one within a minute is refused."""
        url = new_queue(server)
        server.sqs.send_message(QueueUrl=url, MessageBody="x")
        server.sqs.purge_queue(QueueUrl=url)
        assert receive(server, url) == []
        assert refused(server.sqs.purge_queue, QueueUrl=url)[0] == "AWS.SimpleQueueService.PurgeQueueInProgress"

    @pytest.mark.parametrize("name", ["mail.fifo", "white space", "x" * 81])
    def test_have_plain_names(self, server: EmbeddedServer, name: str) -> None:
        """Impossible names are refused, and FIFO queues, which this emulator has not."""
        with pytest.raises(ClientError):
            server.sqs.create_queue(QueueName=name)


class TestSending:
    def test_tells_digests_that_clients_check(self, server: EmbeddedServer) -> None:
        """The digest of the body is its MD5; that of the attributes is the documented one."""
        url = new_queue(server)
        answer = server.sqs.send_message(
            QueueUrl=url,
            MessageBody="héllo",
            MessageAttributes={
                "b": {"DataType": "Binary", "BinaryValue": b"\x00\x01"},
                "a": {"DataType": "String.custom", "StringValue": "ä"},
            },
        )
        assert answer["MD5OfMessageBody"] == hashlib.md5("héllo".encode()).hexdigest()
        parts = b""
        for name, kind, flag, value in (
            (b"a", b"String.custom", b"\1", "ä".encode()),
            (b"b", b"Binary", b"\2", b"\0\1"),
        ):
            for part in (name, kind):
                parts += len(part).to_bytes(4, "big") + part
            parts += flag + len(value).to_bytes(4, "big") + value
        assert answer["MD5OfMessageAttributes"] == hashlib.md5(parts).hexdigest()
        [message] = receive(server, url, MessageAttributeNames=["All"])
        assert message["MessageAttributes"]["b"]["BinaryValue"] == b"\x00\x01"
        assert message["MD5OfMessageAttributes"] == answer["MD5OfMessageAttributes"]

    def test_can_be_delayed(self, server: EmbeddedServer) -> None:
        """A delayed message is counted as such and comes when its time has come."""
        url = new_queue(server)
        server.sqs.send_message(QueueUrl=url, MessageBody="later", DelaySeconds=1)
        assert server.attributes(url)["ApproximateNumberOfMessagesDelayed"] == "1"
        assert receive(server, url) == []
        began = time.monotonic()
        assert [one["Body"] for one in receive(server, url, WaitTimeSeconds=5)] == ["later"]
        assert 0.5 < time.monotonic() - began < 2

    def test_takes_one_mebibyte(self, server: EmbeddedServer) -> None:
        """1 MiB with attributes is taken, a byte more is not."""
        url = new_queue(server)
        attribute = {"a": {"DataType": "String", "StringValue": "v"}}
        limit = 1_048_576 - len("aStringv")
        server.sqs.send_message(QueueUrl=url, MessageBody="x" * limit, MessageAttributes=attribute)
        code, text = refused(
            server.sqs.send_message, QueueUrl=url, MessageBody="x" * (limit + 1), MessageAttributes=attribute
        )
        assert code == "InvalidParameterValue"
        assert "1048576 bytes" in text

    @pytest.mark.parametrize(
        ("parameters", "code"),
        [
            ({"MessageBody": ""}, "MissingParameter"),
            ({"MessageBody": "nul \0"}, "InvalidMessageContents"),
            ({"MessageBody": "bell \x07"}, "InvalidMessageContents"),
            ({"MessageBody": "noncharacter \uffff"}, "InvalidMessageContents"),
            ({"DelaySeconds": 901}, "InvalidParameterValue"),
            ({"MessageDeduplicationId": "1"}, "InvalidParameterValue"),
            ({"MessageAttributes": {"a": {"DataType": "String", "StringValue": ""}}}, "InvalidParameterValue"),
            ({"MessageAttributes": {"a": {"DataType": "Text", "StringValue": "v"}}}, "InvalidParameterValue"),
            ({"MessageAttributes": {"a b": {"DataType": "String", "StringValue": "v"}}}, "InvalidParameterValue"),
            (
                {"MessageAttributes": {f"a{n}": {"DataType": "String", "StringValue": "v"} for n in range(11)}},
                "InvalidParameterValue",
            ),
        ],
    )
    def test_refuses_what_sqs_refuses(self, server: EmbeddedServer, parameters: dict[str, Any], code: str) -> None:
        """Empty bodies, forbidden characters and impossible attributes are refused."""
        url = new_queue(server)
        assert refused(server.sqs.send_message, **{"QueueUrl": url, "MessageBody": "x", **parameters})[0] == code
        assert receive(server, url) == []


class TestReceiving:
    def test_tells_the_system_attributes_asked_for(self, server: EmbeddedServer) -> None:
        """Times, counts, sender, the trace header: what was asked for, and nothing else."""
        url = new_queue(server)
        trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}}
        server.sqs.send_message(
            QueueUrl=url, MessageBody="x", MessageSystemAttributes=trace, MessageGroupId="fair-queue-group"
        )
        [message] = receive(server, url, VisibilityTimeout=0)
        attributes = message["Attributes"]
        assert attributes["ApproximateReceiveCount"] == "1"
        assert attributes["AWSTraceHeader"] == trace["AWSTraceHeader"]["StringValue"]
        assert attributes["MessageGroupId"] == "fair-queue-group"
        assert abs(int(attributes["SentTimestamp"]) / 1000 - time.time()) < 60
        assert int(attributes["ApproximateFirstReceiveTimestamp"]) >= int(attributes["SentTimestamp"])
        [again] = receive(server, url, MessageSystemAttributeNames=["ApproximateReceiveCount"])
        assert again["Attributes"] == {"ApproximateReceiveCount": "2"}

    def test_tells_the_message_attributes_asked_for(self, server: EmbeddedServer) -> None:
        """By name, by prefix, or none at all."""
        url = new_queue(server)
        attributes = {name: {"DataType": "String", "StringValue": "v"} for name in ("one", "relayd.a", "relayd.b")}
        server.sqs.send_message(QueueUrl=url, MessageBody="x", MessageAttributes=attributes)
        [none] = receive(server, url, VisibilityTimeout=0)
        assert "MessageAttributes" not in none
        [some] = receive(server, url, MessageAttributeNames=["one", "relayd.*"], VisibilityTimeout=0)
        assert set(some["MessageAttributes"]) == {"one", "relayd.a", "relayd.b"}
        [prefix] = receive(server, url, MessageAttributeNames=["relayd.*"])
        assert set(prefix["MessageAttributes"]) == {"relayd.a", "relayd.b"}

    def test_serves_polls_in_the_order_they_came(self, server: EmbeddedServer) -> None:
        """The poll that has waited longest gets the next message."""
        url = new_queue(server)
        got: dict[int, list[str]] = {}

        def poll(number: int) -> None:
            got[number] = [one["Body"] for one in receive(server, url, WaitTimeSeconds=5, MaxNumberOfMessages=1)]

        threads = [threading.Thread(target=poll, args=(number,)) for number in range(3)]
        name = f"arn:aws:sqs:{REGION}:123456789012:{url.rpartition('/')[2]}"
        for number, thread in enumerate(threads):
            thread.start()
            while server.aws.counts()["queues"][name]["polls"] <= number:
                time.sleep(0.005)
        for body in ("first", "second", "third"):
            server.sqs.send_message(QueueUrl=url, MessageBody=body)
            time.sleep(0.02)
        for thread in threads:
            thread.join()
        assert got == {0: ["first"], 1: ["second"], 2: ["third"]}

    def test_forgets_polls_whose_client_went_away(self, server: EmbeddedServer) -> None:
        """A message that comes after a client has hung up goes to the next one."""
        import http.client

        url = new_queue(server)
        port = int(server.endpoint.rpartition(":")[2])
        gone = http.client.HTTPConnection("127.0.0.1", port)
        credential = f"Credential=x/20260101/{REGION}/sqs/aws4_request"
        headers = {"X-Amz-Target": "AmazonSQS.ReceiveMessage", "Authorization": f"AWS4-HMAC-SHA256 {credential}"}
        gone.request("POST", "/", json.dumps({"QueueUrl": url, "WaitTimeSeconds": 20}), headers)
        name = f"arn:aws:sqs:{REGION}:123456789012:{url.rpartition('/')[2]}"
        while server.aws.counts()["queues"][name]["polls"] != 1:
            time.sleep(0.005)
        gone.close()
        while server.aws.counts()["queues"][name]["polls"] != 0:
            time.sleep(0.005)
        server.sqs.send_message(QueueUrl=url, MessageBody="x")
        assert len(receive(server, url)) == 1

    @pytest.mark.parametrize(
        "parameters", [{"MaxNumberOfMessages": 11}, {"MaxNumberOfMessages": 0}, {"WaitTimeSeconds": 21}]
    )
    def test_has_bounds(self, server: EmbeddedServer, parameters: dict[str, int]) -> None:
        """More than ten messages or twenty seconds are refused."""
        url = new_queue(server)
        assert refused(server.sqs.receive_message, QueueUrl=url, **parameters)[0] == "InvalidParameterValue"

    def test_redrives_with_the_source(self, server: EmbeddedServer) -> None:
        """What was received too often goes to the dead-letter queue with its id and time of sending, and its source."""
        url, dead_url = server.new_queue(max_receive_count=1)
        sent = server.sqs.send_message(QueueUrl=url, MessageBody="poison")
        [first] = receive(server, url, VisibilityTimeout=0)
        assert receive(server, url) == []
        [dead] = receive(server, dead_url)
        assert dead["MessageId"] == sent["MessageId"]
        assert dead["Attributes"]["SentTimestamp"] == first["Attributes"]["SentTimestamp"]
        assert dead["Attributes"]["DeadLetterQueueSourceArn"] == server.attributes(url)["QueueArn"]
        assert server.sqs.list_dead_letter_source_queues(QueueUrl=dead_url)["queueUrls"] == [url]


class TestLeases:
    def test_that_are_stale_or_gone_have_errors(self, server: EmbeddedServer) -> None:
        """Each way in which a visibility cannot be changed has its own code and text."""
        url = new_queue(server)
        server.sqs.send_message(QueueUrl=url, MessageBody="x")
        [first] = receive(server, url, VisibilityTimeout=0)

        def change(handle: str, seconds: int = 30) -> tuple[str, str]:
            return refused(
                server.sqs.change_message_visibility, QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=seconds
            )

        assert change(first["ReceiptHandle"])[0] == "AWS.SimpleQueueService.MessageNotInflight"
        [second] = receive(server, url)
        code, text = change(first["ReceiptHandle"])
        assert code == "InvalidParameterValue"
        assert text.endswith("Reason: Message does not exist or is not available for visibility timeout change.")
        code, text = change(second["ReceiptHandle"], 43_201)
        assert code == "InvalidParameterValue"
        code, text = change("made up")
        assert code == "ReceiptHandleIsInvalid"
        assert text == 'The input receipt handle "made up" is not a valid receipt handle.'
        server.sqs.delete_message(QueueUrl=url, ReceiptHandle=second["ReceiptHandle"])
        server.sqs.delete_message(QueueUrl=url, ReceiptHandle=second["ReceiptHandle"])
        assert change(second["ReceiptHandle"])[0] == "InvalidParameterValue"

    def test_are_counted_while_they_last(self, server: EmbeddedServer) -> None:
        """A leased message is not visible; a released one is."""
        url = new_queue(server)
        server.sqs.send_message(QueueUrl=url, MessageBody="x")
        [lease] = receive(server, url)
        counts = server.attributes(url)
        assert counts["ApproximateNumberOfMessages"] == "0"
        assert counts["ApproximateNumberOfMessagesNotVisible"] == "1"
        server.sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=lease["ReceiptHandle"], VisibilityTimeout=0)
        counts = server.attributes(url)
        assert counts["ApproximateNumberOfMessages"] == "1"
        assert counts["ApproximateNumberOfMessagesNotVisible"] == "0"


class TestBatches:
    @pytest.mark.parametrize(
        ("entries", "code"),
        [
            ([], "EmptyBatchRequest"),
            ([{"Id": str(n), "MessageBody": "x"} for n in range(11)], "TooManyEntriesInBatchRequest"),
            ([{"Id": "a", "MessageBody": "x"}, {"Id": "a", "MessageBody": "y"}], "BatchEntryIdsNotDistinct"),
            ([{"Id": "white space", "MessageBody": "x"}], "InvalidBatchEntryId"),
            ([{"Id": "x" * 81, "MessageBody": "x"}], "InvalidBatchEntryId"),
            ([{"Id": str(n), "MessageBody": "x" * 600_000} for n in range(2)], "BatchRequestTooLong"),
        ],
    )
    def test_are_refused_whole(self, server: EmbeddedServer, entries: list[dict[str, str]], code: str) -> None:
        """Too many entries, none, repeated or impossible Ids and too many bytes concern the whole batch."""
        url = new_queue(server)
        found, _ = refused(server.sqs.send_message_batch, QueueUrl=url, Entries=entries)
        assert found == f"AWS.SimpleQueueService.{code}"
        assert receive(server, url) == []

    def test_of_deletes_and_changes_are_refused_whole_too(self, server: EmbeddedServer) -> None:
        """Duplicate Ids are refused in every kind of batch. (moto takes them.)"""
        url = new_queue(server)
        twice: list[dict[str, Any]] = [{"Id": "0", "ReceiptHandle": "h"}] * 2
        assert "NotDistinct" in refused(server.sqs.delete_message_batch, QueueUrl=url, Entries=twice)[0]
        changes = [{**entry, "VisibilityTimeout": 1} for entry in twice]
        assert "NotDistinct" in refused(server.sqs.change_message_visibility_batch, QueueUrl=url, Entries=changes)[0]

    def test_may_fail_in_part(self, server: EmbeddedServer) -> None:
        """An entry that is refused fails alone, by its Id."""
        url = new_queue(server)
        entries = [{"Id": "good", "MessageBody": "x"}, {"Id": "bad", "MessageBody": "\0"}]
        answer = server.sqs.send_message_batch(QueueUrl=url, Entries=entries)
        assert [one["Id"] for one in answer["Successful"]] == ["good"]
        [failed] = answer["Failed"]
        assert (failed["Id"], failed["Code"], failed["SenderFault"]) == ("bad", "InvalidMessageContents", True)
        [lease] = receive(server, url)
        handles = [{"Id": "0", "ReceiptHandle": "?"}, {"Id": "1", "ReceiptHandle": lease["ReceiptHandle"]}]
        changes = [{**entry, "VisibilityTimeout": 5} for entry in handles]
        answer = server.sqs.change_message_visibility_batch(QueueUrl=url, Entries=changes)
        assert [one["Id"] for one in answer["Successful"]] == ["1"]
        answer = server.sqs.delete_message_batch(QueueUrl=url, Entries=handles)
        assert [one["Code"] for one in answer["Failed"]] == ["ReceiptHandleIsInvalid"]
        assert server.attributes(url)["ApproximateNumberOfMessagesNotVisible"] == "0"


def test_unknown_operations_are_told_from_known_ones(server: EmbeddedServer) -> None:
    """What the emulator does not have it says."""
    url = new_queue(server)
    assert refused(server.sqs.tag_queue, QueueUrl=url, Tags={"a": "b"})[0] == "UnknownOperationException"
