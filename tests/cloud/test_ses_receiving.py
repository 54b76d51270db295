"""Mail that comes in through the active receipt rules: who gets what, in which order, and where it ends."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from relayd.errors import RelaydError
from relayd.model.notification import InlineContent, Received, S3Content
from relayd.wire import ses
from tests.cloud.mailing import Listening, verify
from tests.cloud.server import EmbeddedServer
from tests.cloud.test_receipt_rules import Rules

MAIL = b"From: Ada <ada@example.net>\r\nTo: shop@mask.example\r\nSubject: hello\r\n\r\nhello \xe2\x82\xac\r\n"
STOP = {"StopAction": {"Scope": "RuleSet"}}


class Active(Rules):
    """The active rule set, of domains that SES takes mail for."""

    def __init__(self, server: EmbeddedServer) -> None:
        super().__init__(server)
        for domain in ("mask.example", "canary.example"):
            verify(server, domain)
        self.ses.set_active_receipt_rule_set(RuleSetName=self.name)

    def receive(self, *recipients: str, data: bytes = MAIL, source: str = "ada@example.net") -> dict[str, Any]:
        region = self.ses.meta.region_name
        return self.server.aws.receive(source, recipients or ("shop@mask.example",), data, region=region)

    def object(self, key: str) -> Any:
        return self.server.s3.get_object(Bucket=self.bucket, Key=key)


@pytest.fixture
def active(server: EmbeddedServer) -> Iterator[Active]:
    made = Active(server)
    yield made
    made.ses.set_active_receipt_rule_set()


def handled(told: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [(one["rule"], one["recipients"]) for one in told["handled"]]


def test_a_mail_is_stored_and_told_of(active: Active) -> None:
    """In the rule's bucket, below its prefix; and relayd's own reader understands the notification."""
    active.create("all", active.action(ObjectKeyPrefix="in/"), ScanEnabled=True)
    active.topic.texts(1)
    told = active.receive("Shop+tag@mask.example")
    [text] = active.topic.texts(1)
    received = ses.read_notification(text)
    assert isinstance(received, Received)
    assert received.mail_id == told["mail_id"]
    assert received.recipients == ("Shop+tag@mask.example",)
    assert received.content == S3Content(active.bucket, f"in/{told['mail_id']}")
    assert received.verdicts.spam == "PASS"
    stored = active.object(f"in/{told['mail_id']}")["Body"].read()
    assert stored.endswith(MAIL)
    assert b"\r\n for Shop+tag@mask.example;" in stored
    assert told["refused"] == []


def test_nothing_is_known_of_a_mail_that_was_not_scanned(active: Active) -> None:
    """Where the rule does not ask for it."""
    active.create("all")
    active.topic.texts(1)
    active.receive()
    received = ses.read_notification(active.topic.texts(1)[0])
    assert isinstance(received, Received)
    assert (received.verdicts.spam, received.verdicts.virus, received.verdicts.spf) == ("DISABLED", "DISABLED", "PASS")


def test_the_mail_itself_may_be_told(active: Active) -> None:
    """An SNS action carries it, in one of two encodings; what is too large for that bounces."""
    topics = {encoding: Listening(active.server) for encoding in ("UTF-8", "Base64")}
    actions = [{"SNSAction": {"TopicArn": one.topic_arn, "Encoding": name}} for name, one in topics.items()]
    active.create("all", *actions)
    for one in topics.values():
        one.texts(1)
    active.receive()
    for one in topics.values():
        received = ses.read_notification(one.texts(1)[0])
        assert isinstance(received, Received)
        assert isinstance(received.content, InlineContent)
        assert received.content.data.endswith(MAIL)
    told = active.receive(data=MAIL + b"x" * 160_000)
    assert [action["bounced"] for action in told["handled"][0]["actions"]] == [True, True]
    assert topics["UTF-8"].quiet()


def test_rules_are_gone_through_in_order_each_for_its_recipients(active: Active) -> None:
    """A recipient may be one of several rules'; each is told of those that are its own, and disabled rules of none."""
    active.create("all", after=None)
    active.create("off", Enabled=False)
    active.create("canary", Recipients=["canary.example"])
    told = active.receive("shop@mask.example", "a@canary.example", "b@canary.example")
    assert handled(told) == [
        ("canary", ["a@canary.example", "b@canary.example"]),
        ("all", ["shop@mask.example", "a@canary.example", "b@canary.example"]),
    ]
    keys = {action["objectKey"] for one in told["handled"] for action in one["actions"]}
    assert keys == {told["mail_id"]}, "one mail has one id, whichever rule tells of it"


@pytest.mark.parametrize("all_of_it", [True, False])
def test_a_stop_ends_the_way(active: Active, all_of_it: bool) -> None:
    """Of the whole mail, or only of the rule's own recipients: nobody knows which of SES, so there are both."""
    active.server.aws.settings(stop_ends_all=all_of_it)
    active.create("all")
    active.create("canary", active.action(), STOP, Recipients=["canary.example"])
    assert handled(active.receive("a@canary.example")) == [("canary", ["a@canary.example"])]
    assert handled(active.receive("shop@mask.example")) == [("all", ["shop@mask.example"])]
    both = handled(active.receive("a@canary.example", "shop@mask.example"))
    rest = [] if all_of_it else [("all", ["shop@mask.example"])]
    assert both == [("canary", ["a@canary.example"]), *rest]


def test_rules_whose_conditions_do_not_meet_need_no_stop(active: Active) -> None:
    """Each recipient is handled once, whatever a Stop would do."""
    active.create("all", Recipients=["mask.example", ".mask.example"])
    active.create("canary", Recipients=["canary.example"])
    told = active.receive("shop@mask.example", "a@canary.example")
    assert handled(told) == [("canary", ["a@canary.example"]), ("all", ["shop@mask.example"])]


def test_actions_behind_a_stop_are_not_done(active: Active) -> None:
    """Nor is the Stop's own topic told of what it did not see."""
    listening = Listening(active.server)
    stop = {"StopAction": {"Scope": "RuleSet", "TopicArn": listening.topic_arn}}
    active.create("all", stop, active.action())
    listening.texts(1)
    told = active.receive()
    assert [action["type"] for action in told["handled"][0]["actions"]] == ["Stop"]
    assert json.loads(listening.texts(1)[0])["receipt"]["action"]["type"] == "Stop"


def test_who_is_nobodys_is_refused(active: Active) -> None:
    """Recipients on foreign domains, recipients that no rule is for; and everybody where no set is active."""
    active.create("shop", Recipients=["shop@mask.example"])
    told = active.receive("shop@mask.example", "other@mask.example", "shop@foreign.example", "x@wing.mask.example")
    assert handled(told) == [("shop", ["shop@mask.example"])]
    assert told["refused"] == ["other@mask.example", "shop@foreign.example", "x@wing.mask.example"]
    active.ses.set_active_receipt_rule_set()
    told = active.receive("shop@mask.example")
    assert (told["mail_id"], told["handled"], told["refused"]) == (None, [], ["shop@mask.example"])


def test_subdomains_of_a_verified_domain_are_its_own(active: Active) -> None:
    """A rule without conditions is for them, too."""
    active.create("all")
    assert handled(active.receive("x@wing.mask.example")) == [("all", ["x@wing.mask.example"])]


def test_a_header_can_be_added(active: Active) -> None:
    """For the actions behind it."""
    active.create("all", {"AddHeaderAction": {"HeaderName": "X-Way", "HeaderValue": "in"}}, active.action())
    told = active.receive()
    assert b"\r\nX-Way: in\r\nFrom: Ada" in active.object(told["mail_id"])["Body"].read()


def test_a_key_makes_the_mail_unreadable(active: Active) -> None:
    """With a KMS key SES encrypts before it stores, and says so in the object's metadata."""
    active.create("all", active.action(KmsKeyArn="arn:aws:kms:us-east-1:123456789012:alias/aws/ses"))
    stored = active.object(active.receive()["mail_id"])
    assert "x-amz-key-v2" in stored["Metadata"]
    assert MAIL not in stored["Body"].read()


def test_actions_that_nobody_here_does_are_told_of(active: Active) -> None:
    """Lambda functions, WorkMail, bounces: they are kept, and mail goes past them."""
    arn = "arn:aws:lambda:us-east-1:123456789012:function:one"
    bounce = {"BounceAction": {"SmtpReplyCode": "550", "Sender": "a@mask.example", "Message": "no"}}
    active.create("all", {"LambdaAction": {"FunctionArn": arn}}, bounce, active.action())
    kinds = [action["type"] for action in active.receive()["handled"][0]["actions"]]
    assert kinds == ["Lambda", "Bounce", "S3"]


def test_a_topic_or_a_bucket_that_is_gone(active: Active) -> None:
    """SES takes the mail and tells nobody; without its bucket it cannot."""
    active.create("all")
    active.server.sns.delete_topic(TopicArn=active.topic.topic_arn)
    before = active.server.aws.counts()["undeliverable"]
    assert active.receive()["mail_id"]
    assert active.server.aws.counts()["undeliverable"] == before + 1
    for one in active.server.s3.list_objects_v2(Bucket=active.bucket)["Contents"]:
        active.server.s3.delete_object(Bucket=active.bucket, Key=one["Key"])
    active.server.s3.delete_bucket(Bucket=active.bucket)
    with pytest.raises(RelaydError, match="gone"):
        active.receive()


def test_what_is_no_mail_is_refused(active: Active) -> None:
    """The control port is for programs, which make mistakes."""
    for wrong in ({}, {"source": "a@b.example"}, {"source": "", "recipients": [], "data": "", "nonsense": 1}):
        with pytest.raises(RelaydError, match="no mail"):
            active.server.aws._ask("POST", "receive", wrong)
    with pytest.raises(RelaydError):
        active.server.aws._ask("POST", "receive", {"source": "", "recipients": ["a@b"], "data": "no base64!"})


def test_a_large_mail_comes_in(active: Active) -> None:
    """SES takes 40 MB."""
    active.create("all")
    data = MAIL + base64.encodebytes(bytes(25_000_000)).replace(b"\n", b"\r\n")
    told = active.receive(data=data)
    assert active.object(told["mail_id"])["ContentLength"] > len(data)
