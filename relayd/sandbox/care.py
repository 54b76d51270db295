"""What somebody careful sets beside all that mail needs: so that `relayd doctor` has little to say of the sandbox.

Everything here may be done twice.
"""

import json
from typing import Any

from relayd.sandbox.world import MAIL_DOMAINS, REGION, Clients, World

ACCOUNT = "123456789012"
KEEP_DAYS = 60
USER = "relayd"
"""As whom everybody calls in the embedded AWS."""


def take_care(world: World, clients: Clients) -> None:
    """For a world of the embedded AWS, which knows all of this."""
    assert world.events is not None
    for topic_arn, queue_url in ((world.topic_arn, world.queue_url), (world.events.topic_arn, world.events.queue_url)):
        clients.sns.set_topic_attributes(TopicArn=topic_arn, AttributeName="SignatureVersion", AttributeValue="2")
        _keep_undelivered(clients, topic_arn, queue_url)
    _bucket(clients, world.bucket)
    clients.ses.put_configuration_set_reputation_options(
        ConfigurationSetName=world.events.configuration_set, ReputationMetricsEnabled=True
    )
    for domain in MAIL_DOMAINS:
        clients.ses.put_email_identity_feedback_attributes(EmailIdentity=domain, EmailForwardingEnabled=False)
    clients.other("iam").put_user_policy(
        UserName=USER, PolicyName="relayd", PolicyDocument=json.dumps(rights(world), separators=(",", ":"))
    )


def _keep_undelivered(clients: Clients, topic_arn: str, queue_url: str) -> None:
    """What SNS cannot deliver goes to the queue's dead letters, which must let the topic in for that."""
    queue = clients.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn", "RedrivePolicy"])
    arn = json.loads(queue["Attributes"]["RedrivePolicy"])["deadLetterTargetArn"]
    url = clients.sqs.get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"]
    policy = admit("sns.amazonaws.com", "sqs:SendMessage", arn, {"ArnEquals": {"aws:SourceArn": topic_arn}})
    clients.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    for one in clients.sns.list_subscriptions_by_topic(TopicArn=topic_arn)["Subscriptions"]:
        if one["Endpoint"] == queue["Attributes"]["QueueArn"]:
            clients.sns.set_subscription_attributes(
                SubscriptionArn=one["SubscriptionArn"],
                AttributeName="RedrivePolicy",
                AttributeValue=json.dumps({"deadLetterTargetArn": arn}),
            )


def _bucket(clients: Clients, bucket: str) -> None:
    objects = f"arn:aws:s3:::{bucket}/*"
    condition = {"StringEquals": {"AWS:SourceAccount": ACCOUNT}}
    policy = admit("ses.amazonaws.com", "s3:PutObject", objects, condition)
    clients.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    clients.s3.put_bucket_lifecycle_configuration(
        Bucket=bucket,
        LifecycleConfiguration={
            "Rules": [{"ID": "mail", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": KEEP_DAYS}}]
        },
    )


def admit(service: str, action: str, resource: str, condition: dict[str, Any]) -> dict[str, Any]:
    """A policy that lets one service do one thing."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": action,
        "Resource": resource,
        "Condition": condition,
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def rights(world: World) -> dict[str, Any]:
    """What relayd needs here, what `relayd doctor` wants to look at, and nothing else."""
    name = world.queue_url.rpartition("/")[2]
    queues = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}*"
    allowed = [
        (
            [
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:ChangeMessageVisibility",
                "sqs:GetQueue*",
                "sqs:SendMessage",
            ],
            [queues],
        ),
        (["s3:GetObject"], [f"arn:aws:s3:::{world.bucket}/*"]),
        (["s3:ListBucket", "s3:GetBucket*", "s3:Get*Configuration"], [f"arn:aws:s3:::{world.bucket}"]),
        (
            ["ses:SendRawEmail", "ses:Get*", "ses:Describe*", "sns:Get*", "sns:List*", "iam:SimulatePrincipalPolicy"],
            ["*"],
        ),
    ]
    statements = [{"Effect": "Allow", "Action": actions, "Resource": about} for actions, about in allowed]
    return {"Version": "2012-10-17", "Statement": statements}
