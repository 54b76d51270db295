"""KMS and IAM of the embedded AWS: keys with states and policies, a user's rights and what they come to."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.server import EmbeddedServer
from tests.contract.moto_server import REGION

USER = "arn:aws:iam::123456789012:user/relayd"


def client(server: EmbeddedServer, service: str) -> Any:
    return server.session.create_client(service, endpoint_url=server.endpoint)


def refused(call: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    code: str = caught.value.response["Error"]["Code"]
    return code


class TestKeys:
    @pytest.fixture
    def kms(self, server: EmbeddedServer) -> Any:
        return client(server, "kms")

    def test_are_found_by_all_their_names(self, kms: Any) -> None:
        """By id, ARN, alias and the ARN of an alias."""
        made = kms.create_key()["KeyMetadata"]
        alias = f"alias/{made['KeyId'][:8]}"
        kms.create_alias(AliasName=alias, TargetKeyId=made["KeyId"])
        names = (made["KeyId"], made["Arn"], alias, f"arn:aws:kms:{REGION}:123456789012:{alias}")
        for name in names:
            told = kms.describe_key(KeyId=name)["KeyMetadata"]
            assert (told["Arn"], told["KeyState"], told["KeyManager"]) == (made["Arn"], "Enabled", "CUSTOMER")
        assert refused(kms.create_alias, AliasName=alias, TargetKeyId=made["KeyId"]) == "AlreadyExistsException"
        for name in ("not-there", "alias/not-there"):
            assert refused(kms.describe_key, KeyId=name) == "NotFoundException"

    def test_have_states(self, kms: Any) -> None:
        """Disabled, enabled, pending deletion: and back to disabled when that is cancelled."""
        key = {"KeyId": kms.create_key()["KeyMetadata"]["KeyId"]}

        def state() -> str:
            told: str = kms.describe_key(**key)["KeyMetadata"]["KeyState"]
            return told

        kms.disable_key(**key)
        assert state() == "Disabled"
        kms.enable_key(**key)
        assert state() == "Enabled"
        assert refused(kms.schedule_key_deletion, **key, PendingWindowInDays=3) == "ValidationException"
        kms.schedule_key_deletion(**key, PendingWindowInDays=7)
        assert state() == "PendingDeletion"
        assert refused(kms.enable_key, **key) == "KMSInvalidStateException"
        kms.cancel_key_deletion(**key)
        assert state() == "Disabled"

    def test_have_policies(self, kms: Any) -> None:
        """The account decides at first; what is put is told; what is no policy is refused."""
        key = {"KeyId": kms.create_key()["KeyMetadata"]["KeyId"]}
        [statement] = json.loads(kms.get_key_policy(**key)["Policy"])["Statement"]
        assert statement["Principal"] == {"AWS": "arn:aws:iam::123456789012:root"}
        ours = json.dumps({"Statement": [{"Effect": "Deny"}]})
        kms.put_key_policy(**key, Policy=ours)
        assert kms.get_key_policy(**key)["Policy"] == ours
        assert refused(kms.put_key_policy, **key, Policy="{") == "MalformedPolicyDocumentException"
        assert refused(kms.get_key_policy, **key, PolicyName="other") == "NotFoundException"

    def test_of_aws_cannot_be_changed(self, kms: Any) -> None:
        """The key behind alias/aws/sqs is there when it is first named, and is not the account's to change."""
        told = kms.describe_key(KeyId="alias/aws/sqs")["KeyMetadata"]
        assert told["KeyManager"] == "AWS"
        assert kms.describe_key(KeyId=told["KeyId"])["KeyMetadata"]["Arn"] == told["Arn"]
        assert refused(kms.disable_key, KeyId="alias/aws/sqs") == "AccessDeniedException"


class TestRights:
    @pytest.fixture
    def iam(self, server: EmbeddedServer) -> Any:
        iam = client(server, "iam")
        for name in iam.list_user_policies(UserName="relayd")["PolicyNames"]:
            iam.delete_user_policy(UserName="relayd", PolicyName=name)
        yield iam
        for name in iam.list_user_policies(UserName="relayd")["PolicyNames"]:
            iam.delete_user_policy(UserName="relayd", PolicyName=name)

    def grant(self, iam: Any, *statements: dict[str, Any], name: str = "ours") -> None:
        iam.put_user_policy(
            UserName="relayd",
            PolicyName=name,
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": list(statements)}),
        )

    def allow(self, *actions: str, resource: str = "*", effect: str = "Allow") -> dict[str, Any]:
        return {"Effect": effect, "Action": list(actions), "Resource": resource}

    def decisions(self, iam: Any, *actions: str, resource: str) -> list[str]:
        answer = iam.simulate_principal_policy(PolicySourceArn=USER, ActionNames=list(actions), ResourceArns=[resource])
        assert [one["EvalResourceName"] for one in answer["EvaluationResults"]] == [resource] * len(actions)
        return [one["EvalDecision"] for one in answer["EvaluationResults"]]

    def test_decide_whether_they_may_be_simulated(self, iam: Any) -> None:
        """Without a policy nothing is allowed, the simulation included."""
        question = {"PolicySourceArn": USER, "ActionNames": ["sqs:ReceiveMessage"]}
        assert refused(iam.simulate_principal_policy, **question) == "AccessDenied"
        self.grant(iam, self.allow("iam:SimulatePrincipalPolicy"))
        assert self.decisions(iam, "sqs:ReceiveMessage", resource="*") == ["implicitDeny"]

    def test_are_simulated(self, iam: Any) -> None:
        """Wildcards, cases of letters, resources, and a denial that wins."""
        queue, other = "arn:aws:sqs:eu-west-1:123456789012:mail", "arn:aws:sqs:eu-west-1:123456789012:other"
        self.grant(
            iam,
            self.allow("iam:Simulate*"),
            self.allow("sqs:Receive*", "SQS:deletemessage", resource=queue),
            self.allow("sqs:DeleteQueue", resource=queue),
        )
        self.grant(iam, self.allow("sqs:DeleteQueue", effect="Deny"), name="never")
        names = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:SendMessage", "sqs:DeleteQueue")
        assert self.decisions(iam, *names, resource=queue) == ["allowed", "allowed", "implicitDeny", "explicitDeny"]
        assert self.decisions(iam, *names[:2], resource=other) == ["implicitDeny", "implicitDeny"]
        everything_else = {"Effect": "Allow", "NotAction": "sqs:*", "Resource": "*"}
        self.grant(iam, everything_else, name="else")
        assert self.decisions(iam, "s3:GetObject", "sqs:SendMessage", resource=other) == ["allowed", "implicitDeny"]

    @pytest.mark.parametrize(
        "statement",
        [
            {"Effect": "Allow", "Action": "everything", "Resource": "*"},
            {"Effect": "Allow", "Action": "sqs:*"},
            {"Effect": "Allow", "Action": "sqs:*", "Resource": "*", "Principal": "*"},
            {
                "Effect": "Allow",
                "Action": "sqs:*",
                "Resource": "*",
                "Condition": {"Bool": {"aws:SecureTransport": "true"}},
            },
            {"Action": "sqs:*", "Resource": "*"},
        ],
    )
    def test_are_refused_where_they_cannot_be_read(self, iam: Any, statement: dict[str, Any]) -> None:
        """A policy that is malformed, or that would be read by half."""
        with pytest.raises(ClientError, match="MalformedPolicyDocument"):
            self.grant(iam, statement)
        assert iam.list_user_policies(UserName="relayd")["PolicyNames"] == []

    def test_belong_to_the_one_user(self, iam: Any) -> None:
        """Nobody else is here; a policy is told as it was put."""
        self.grant(iam, self.allow("iam:*"))
        told = iam.get_user_policy(UserName="relayd", PolicyName="ours")["PolicyDocument"]
        assert told["Statement"][0]["Action"] == ["iam:*"]
        assert refused(iam.list_user_policies, UserName="other") == "NoSuchEntity"
        other = {"PolicySourceArn": USER + "2", "ActionNames": ["sqs:SendMessage"]}
        assert refused(iam.simulate_principal_policy, **other) == "NoSuchEntity"
