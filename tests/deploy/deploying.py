"""A stack made in an emulated AWS by its plain APIs, one call for each thing that CloudFormation would set.

A property that this does not know is an error: nothing of the template is passed over.
"""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from botocore.session import Session

from tests.contract.moto_server import fake_session
from tests.deploy.template import REGION, Resource, Stack

NOT_DEPLOYED = frozenset(
    {
        "AWS::CloudWatch::Alarm",
        "AWS::IAM::InstanceProfile",
        "AWS::IAM::ManagedPolicy",
        "AWS::IAM::Role",
        "AWS::IAM::RolePolicy",
        "AWS::Route53::RecordSetGroup",
    }
)
"""What the emulators do not have, or what has a test of its own."""


class Emulated:
    """Clients of an emulated AWS, each made once."""

    def __init__(self, endpoint: str, session: Session | None = None) -> None:
        self.endpoint = endpoint
        self._session = session or emulated_session("test", "test")
        self._clients: dict[str, Any] = {}

    def __call__(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._session.create_client(service, endpoint_url=self.endpoint)
        return self._clients[service]


def emulated_session(key: str, secret: str, token: str | None = None) -> Session:
    """A session of botocore in the stack's region that takes nothing from its surroundings."""
    session = fake_session()
    session.set_credentials(key, secret, token)
    session.set_config_variable("region", REGION)
    return session


def deploy(stack: Stack, aws: Emulated, *, without: Collection[str] = ()) -> None:
    """Make everything of the stack that an emulator can have, in an order in which it can be made."""
    kinds = {one.kind for one in stack.resources.values()} - NOT_DEPLOYED - set(without)
    known = {kind for kind, _ in _MAKERS}
    assert kinds <= known, f"nobody here knows how to make {kinds - known}"
    for kind, make in _MAKERS:
        for resource in stack.of_kind(kind) if kind in kinds else ():
            make(aws, _Properties(resource))


class _Properties:
    """A resource's properties; each is to be used."""

    def __init__(self, resource: Resource) -> None:
        self._left = dict(resource.properties)
        self.resource = resource

    def take(self, name: str) -> Any:
        return self._left.pop(name)

    def rest(self) -> dict[str, Any]:
        left, self._left = self._left, {}
        return left

    def end(self) -> None:
        assert not self._left, f"{self.resource.logical_id} has more: {sorted(self._left)}"


def _bucket(aws: Emulated, properties: _Properties) -> None:
    name = properties.take("BucketName")
    s3 = aws("s3")
    s3.create_bucket(Bucket=name)
    [rule] = properties.take("BucketEncryption")["ServerSideEncryptionConfiguration"]
    s3.put_bucket_encryption(
        Bucket=name,
        ServerSideEncryptionConfiguration={
            "Rules": [
                {
                    "ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"],
                    "BucketKeyEnabled": rule["BucketKeyEnabled"],
                }
            ]
        },
    )
    block = properties.take("PublicAccessBlockConfiguration")
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=block)
    # Buckets have been so by themselves since 2023.
    assert properties.take("OwnershipControls") == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    rules = [_lifecycle_rule(one) for one in properties.take("LifecycleConfiguration")["Rules"]]
    s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": rules})
    properties.end()


def _lifecycle_rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    """As the API writes it."""
    return {
        "ID": rule["Id"],
        "Status": rule["Status"],
        "Filter": {"Prefix": ""},
        "Expiration": {"Days": int(rule["ExpirationInDays"])},
        "AbortIncompleteMultipartUpload": rule["AbortIncompleteMultipartUpload"],
    }


def _bucket_policy(aws: Emulated, properties: _Properties) -> None:
    policy = json.dumps(properties.take("PolicyDocument"))
    aws("s3").put_bucket_policy(Bucket=properties.take("Bucket"), Policy=policy)
    properties.end()


def _topic(aws: Emulated, properties: _Properties) -> None:
    sns = aws("sns")
    arn = sns.create_topic(Name=properties.take("TopicName"))["TopicArn"]
    assert arn == properties.resource.ref
    for name, value in properties.rest().items():
        sns.set_topic_attributes(TopicArn=arn, AttributeName=name, AttributeValue=value)


def _topic_policy(aws: Emulated, properties: _Properties) -> None:
    policy = json.dumps(properties.take("PolicyDocument"))
    for arn in properties.take("Topics"):
        aws("sns").set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=policy)
    properties.end()


def _queue(aws: Emulated, properties: _Properties) -> None:
    name = properties.take("QueueName")
    attributes = {key: _attribute(value) for key, value in properties.rest().items() if key not in _ABOUT_OTHERS}
    aws("sqs").create_queue(QueueName=name, Attributes=attributes)


_ABOUT_OTHERS = frozenset({"RedrivePolicy", "RedriveAllowPolicy"})
"""Set once all queues are there."""


def _redrive(aws: Emulated, properties: _Properties) -> None:
    sqs = aws("sqs")
    url = sqs.get_queue_url(QueueName=properties.take("QueueName"))["QueueUrl"]
    attributes = {key: _attribute(value) for key, value in properties.rest().items() if key in _ABOUT_OTHERS}
    sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)


def _attribute(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _queue_policy(aws: Emulated, properties: _Properties) -> None:
    policy = json.dumps(properties.take("PolicyDocument"))
    for url in properties.take("Queues"):
        own = aws("sqs").get_queue_url(QueueName=url.rpartition("/")[2])["QueueUrl"]
        aws("sqs").set_queue_attributes(QueueUrl=own, Attributes={"Policy": policy})
    properties.end()


def _subscription(aws: Emulated, properties: _Properties) -> None:
    topic, protocol, endpoint = (properties.take(name) for name in ("TopicArn", "Protocol", "Endpoint"))
    attributes = {key: _attribute(value) for key, value in properties.rest().items()}
    aws("sns").subscribe(TopicArn=topic, Protocol=protocol, Endpoint=endpoint, Attributes=attributes)


def _configuration_set(aws: Emulated, properties: _Properties) -> None:
    aws("sesv2").create_configuration_set(ConfigurationSetName=properties.take("Name"), **properties.rest())


def _event_destination(aws: Emulated, properties: _Properties) -> None:
    name, destination = properties.take("ConfigurationSetName"), dict(properties.take("EventDestination"))
    # Here the template's words and the API's differ.
    topic = {"TopicArn": destination.pop("SnsDestination")["TopicARN"]}
    aws("sesv2").create_configuration_set_event_destination(
        ConfigurationSetName=name,
        EventDestinationName=destination.pop("Name"),
        EventDestination=destination | {"SnsDestination": topic},
    )
    properties.end()


def _identity(aws: Emulated, properties: _Properties) -> None:
    ses, name = aws("sesv2"), properties.take("EmailIdentity")
    ses.create_email_identity(
        EmailIdentity=name,
        DkimSigningAttributes=properties.take("DkimSigningAttributes"),
        ConfigurationSetName=properties.take("ConfigurationSetAttributes")["ConfigurationSetName"],
    )
    ses.put_email_identity_dkim_attributes(EmailIdentity=name, **properties.take("DkimAttributes"))
    ses.put_email_identity_mail_from_attributes(EmailIdentity=name, **properties.take("MailFromAttributes"))
    ses.put_email_identity_feedback_attributes(EmailIdentity=name, **properties.take("FeedbackAttributes"))
    properties.end()


def _rule_set(aws: Emulated, properties: _Properties) -> None:
    name = properties.take("RuleSetName")
    aws("ses").create_receipt_rule_set(RuleSetName=name)
    properties.end()


def _rule(aws: Emulated, properties: _Properties) -> None:
    aws("ses").create_receipt_rule(RuleSetName=properties.take("RuleSetName"), Rule=properties.take("Rule"))
    properties.end()


_MAKERS: tuple[tuple[str, Callable[[Emulated, _Properties], None]], ...] = (
    ("AWS::S3::Bucket", _bucket),
    ("AWS::S3::BucketPolicy", _bucket_policy),
    ("AWS::SNS::Topic", _topic),
    ("AWS::SNS::TopicPolicy", _topic_policy),
    ("AWS::SQS::Queue", _queue),
    ("AWS::SQS::Queue", _redrive),
    ("AWS::SQS::QueuePolicy", _queue_policy),
    ("AWS::SNS::Subscription", _subscription),
    ("AWS::SES::ConfigurationSet", _configuration_set),
    ("AWS::SES::ConfigurationSetEventDestination", _event_destination),
    ("AWS::SES::EmailIdentity", _identity),
    ("AWS::SES::ReceiptRuleSet", _rule_set),
    ("AWS::SES::ReceiptRule", _rule),
)
"""In the order in which they can be made."""
