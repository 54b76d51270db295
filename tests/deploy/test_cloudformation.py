"""deploy/aws/relayd.yaml, resolved: its values against relayd's settings, and against what mail must not be lost by."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml

from relayd.settings import SETTINGS, Settings
from relayd.wire.feedback import knows
from tests.deploy.account import DOMAIN, ROOT, SECRET, TEMPLATE, template_stack
from tests.deploy.rights import Right, grants, listed
from tests.deploy.template import ACCOUNT, REGION, Stack, load, resolve
from tests.deploy.tools import tool

DAY = 86_400
FOLDER = TEMPLATE.parent
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
DEFAULTS = {setting.field: setting.default for setting in SETTINGS}
QUEUES = ("MailQueue", "EventQueue", "DeadLetters")


@pytest.fixture(scope="module")
def stack() -> Stack:
    return template_stack()


def statements(stack: Stack, logical_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack[logical_id].properties["PolicyDocument"]["Statement"]
    return found


@pytest.mark.parametrize("name", ["relayd.yaml", "domain.yaml"])
def test_the_linter_has_nothing_to_say(name: str) -> None:
    """cfn-lint knows the types and values of all properties."""
    done = subprocess.run([tool("cfn-lint"), str(FOLDER / name)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_is_yaml_that_cloudformation_reads(tmp_path: Path) -> None:
    """No aliases, which CloudFormation does not know; and small enough to be deployed without a bucket."""
    assert TEMPLATE.stat().st_size < 51_200
    load(TEMPLATE)
    other = tmp_path / "aliases.yaml"
    other.write_text("a: &x [1]\nb: *x\n")
    with pytest.raises(yaml.YAMLError, match="aliases"):
        load(other)


class TestQueues:
    def test_nothing_is_given_up_before_its_time(self, stack: Stack) -> None:
        """Receives are a net under retries by age; a queue outlives a long weekend, and dead letters outlive it."""
        mail, dead = stack["MailQueue"].properties, stack["DeadLetters"].properties
        for name in ("MailQueue", "EventQueue"):
            properties = stack[name].properties
            target = {"deadLetterTargetArn": stack["DeadLetters"].attributes["Arn"], "maxReceiveCount": 1000}
            assert properties["RedrivePolicy"] == target
            assert properties["MessageRetentionPeriod"] == 4 * DAY
            assert "DelaySeconds" not in properties
        assert dead["MessageRetentionPeriod"] == 14 * DAY, "SQS's most"
        assert mail["MessageRetentionPeriod"] > float(DEFAULTS["retry_hours"] or 0) * 3600 + DAY
        assert "RedrivePolicy" not in dead

    def test_their_leases_and_polls_are_relayds(self, stack: Stack) -> None:
        """relayd says so at each receive; whoever else looks finds the same."""
        for name in ("MailQueue", "EventQueue"):
            properties = stack[name].properties
            assert properties["VisibilityTimeout"] == int(DEFAULTS["visibility_seconds"] or 0)
            assert properties["ReceiveMessageWaitTimeSeconds"] == int(DEFAULTS["wait_seconds"] or 0)

    def test_dead_letters_come_from_these_two_queues(self, stack: Stack) -> None:
        """Their ARNs are written out, since the queues refer to each other: they must be the right ones."""
        assert stack["DeadLetters"].properties["RedriveAllowPolicy"] == {
            "redrivePermission": "byQueue",
            "sourceQueueArns": [stack["MailQueue"].attributes["Arn"], stack["EventQueue"].attributes["Arn"]],
        }

    @pytest.mark.parametrize(("queue", "topic"), [("MailQueue", "MailTopic"), ("EventQueue", "EventTopic")])
    def test_they_admit_their_topic_alone(self, stack: Stack, queue: str, topic: str) -> None:
        """One statement: SNS, on behalf of that topic, may send."""
        policy = stack[f"{queue}Policy"].properties
        assert policy["Queues"] == [stack[queue].ref]
        [statement] = policy["PolicyDocument"]["Statement"]
        assert statement == {
            "Sid": "OnlyTheTopic",
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": stack[queue].attributes["Arn"],
            "Condition": {"ArnEquals": {"aws:SourceArn": stack[topic].ref}},
        }

    def test_dead_letters_admit_what_sns_could_not_deliver(self, stack: Stack) -> None:
        """And nothing else."""
        [statement] = statements(stack, "DeadLettersPolicy")
        assert statement["Principal"] == {"Service": "sns.amazonaws.com"}
        assert statement["Action"] == "sqs:SendMessage"
        topics = [stack["MailTopic"].ref, stack["EventTopic"].ref]
        assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": topics}}

    @pytest.mark.parametrize(("topic", "queue"), [("Mail", "MailQueue"), ("Event", "EventQueue")])
    def test_subscriptions_are_whole_and_signed(self, stack: Stack, topic: str, queue: str) -> None:
        """Not raw (the envelope has the signature), no filter, and what a queue refuses is kept."""
        assert stack[f"{topic}Subscription"].properties == {
            "TopicArn": stack[f"{topic}Topic"].ref,
            "Protocol": "sqs",
            "Endpoint": stack[queue].attributes["Arn"],
            "RawMessageDelivery": False,
            "RedrivePolicy": {"deadLetterTargetArn": stack["DeadLetters"].attributes["Arn"]},
        }
        assert stack[f"{topic}Topic"].properties["SignatureVersion"] == "2"
        waits = load(TEMPLATE)["Resources"][f"{topic}Subscription"]["DependsOn"]
        assert waits == [f"{queue}Policy", "DeadLettersPolicy"]


class TestMailThatComesIn:
    def test_mail_outlives_all_that_may_tell_of_it(self, stack: Stack) -> None:
        """A notification lives in the queue and then, anew, as a dead letter; the ledger remembers for longer."""
        kept = load(TEMPLATE)["Parameters"]["KeepMailDays"]
        seconds = sum(stack[name].properties["MessageRetentionPeriod"] for name in ("MailQueue", "DeadLetters"))
        assert kept["MinValue"] * DAY > seconds
        assert kept["MinValue"] <= kept["Default"] <= int(DEFAULTS["ledger_days"] or 0)
        [rule] = stack["MailBucket"].properties["LifecycleConfiguration"]["Rules"]
        assert (rule["Status"], rule["ExpirationInDays"]) == ("Enabled", str(kept["Default"]))
        assert "Prefix" not in rule

    def test_ses_alone_puts_mail_there(self, stack: Stack) -> None:
        """By a receipt rule of this account; nobody without TLS; the public never."""
        allowed, denied = statements(stack, "MailBucketPolicy")
        assert (allowed["Effect"], allowed["Principal"]) == ("Allow", {"Service": "ses.amazonaws.com"})
        assert (allowed["Action"], allowed["Resource"]) == (
            "s3:PutObject",
            f"{stack['MailBucket'].attributes['Arn']}/*",
        )
        assert allowed["Condition"] == FROM_A_RECEIPT_RULE
        assert (denied["Effect"], denied["Principal"], denied["Action"]) == ("Deny", "*", "s3:*")
        assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert set(stack["MailBucket"].properties["PublicAccessBlockConfiguration"].values()) == {True}

    def test_ses_alone_tells_of_it(self, stack: Stack) -> None:
        """Receipt rules the one topic, the configuration set the other."""
        [mail], [events] = statements(stack, "MailTopicPolicy"), statements(stack, "EventTopicPolicy")
        assert mail["Condition"] == FROM_A_RECEIPT_RULE
        source = f"arn:aws:ses:{REGION}:{ACCOUNT}:configuration-set/{stack['ConfigurationSet'].ref}"
        assert events["Condition"]["ArnEquals"] == {"aws:SourceArn": source}
        for statement in (mail, events):
            assert statement["Principal"] == {"Service": "ses.amazonaws.com"}
            assert statement["Action"] == "sns:Publish"
            assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}

    def test_the_rule_stores_and_tells_and_does_no_more(self, stack: Stack) -> None:
        """No header is added, nothing is encrypted by the client, and it is the first of its set."""
        declared = load(TEMPLATE)["Resources"]["Rule"]
        assert "After" not in declared["Properties"]
        assert declared["DependsOn"] == ["MailBucketPolicy", "MailTopicPolicy"]
        rule = stack["Rule"].properties["Rule"]
        action = {
            "BucketName": stack["MailBucket"].ref,
            "ObjectKeyPrefix": "in/",
            "TopicArn": stack["MailTopic"].ref,
        }
        assert rule["Actions"] == [{"S3Action": action}]
        assert (rule["Enabled"], rule["ScanEnabled"], rule["Recipients"]) == (True, True, [DOMAIN])

    def test_it_moves_in_by_a_clone_of_the_active_rules(self, stack: Stack) -> None:
        """The rule joins the clone, no set is made, and the old bucket may be read."""
        assert stack["Rule"].properties["RuleSetName"] == stack["RuleSet"].ref == stack.outputs["RuleSetName"]
        moving = template_stack(ExistingRuleSet="today-canary", OldBucketName="old-mail", MakeIdentity="no")
        assert moving["Rule"].properties["RuleSetName"] == moving.outputs["RuleSetName"] == "today-canary"
        assert not {"RuleSet", "Identity"} & moving.resources.keys()
        assert moving.settings["RELAYD_BUCKETS"] == f"{moving['MailBucket'].ref},old-mail"
        [reading] = [one for one in statements(moving, "DaemonPolicy") if one["Action"] == "s3:GetObject"]
        assert "arn:aws:s3:::old-mail/*" in reading["Resource"]


FROM_A_RECEIPT_RULE = {
    "StringEquals": {"aws:SourceAccount": ACCOUNT},
    "ArnLike": {"aws:SourceArn": f"arn:aws:ses:{REGION}:{ACCOUNT}:receipt-rule-set/*:receipt-rule/*"},
}


class TestMailThatGoesOut:
    def test_ses_tells_all_that_relayd_understands(self, stack: Stack) -> None:
        """And nothing for which SES would write trackers into the mail."""
        model: Any = botocore.session.get_session().get_service_model("sesv2")
        types: Sequence[str] = model.shape_for("EventType").enum
        understood = {one for one in types if knows("".join(word.capitalize() for word in one.split("_")))}
        destination = stack["EventDestination"].properties["EventDestination"]
        assert set(destination["MatchingEventTypes"]) == understood
        assert not {"OPEN", "CLICK"} & understood
        assert (destination["Enabled"], destination["SnsDestination"]) == (True, {"TopicARN": stack["EventTopic"].ref})

    def test_nothing_is_dropped_without_a_word(self, stack: Stack) -> None:
        """The account's suppression list does not count, and figures are published."""
        properties = stack["ConfigurationSet"].properties
        assert properties["SuppressionOptions"] == {"SuppressedReasons": []}
        assert properties["ReputationOptions"] == {"ReputationMetricsEnabled": True}

    def test_bounces_come_as_events(self, stack: Stack) -> None:
        """Signed with DKIM, with a MAIL FROM domain that is not fatal while its record is missing."""
        properties = stack["Identity"].properties
        assert properties["FeedbackAttributes"] == {"EmailForwardingEnabled": False}
        assert properties["DkimAttributes"] == {"SigningEnabled": True}
        assert properties["MailFromAttributes"]["BehaviorOnMxFailure"] == "USE_DEFAULT_VALUE"
        assert properties["ConfigurationSetAttributes"]["ConfigurationSetName"] == stack["ConfigurationSet"].ref

    def test_a_zone_gets_what_is_to_be_published(self) -> None:
        """The same records either way, and never the MX record, with which mail would come too early."""
        published = template_stack(HostedZoneId="Z0123")
        records = published["SendingRecords"].properties["RecordSets"]
        written = [_zone_line(one["Name"], one["Type"], one["ResourceRecords"]) for one in records]
        assert "\n".join(written) == published.outputs["DnsRecords"] == template_stack().outputs["DnsRecords"]
        assert not [one for one in records if (one["Name"], one["Type"]) == (DOMAIN, "MX")]
        assert published.outputs["MxRecord"] == f"{DOMAIN}. MX 10 inbound-smtp.{REGION}.amazonaws.com."


def _zone_line(name: str, kind: str, values: list[str]) -> str:
    [value] = values
    return f"{name}. {kind} {value}" + ("" if kind == "TXT" else ".")


class TestEncryption:
    def test_everything_is_encrypted(self, stack: Stack) -> None:
        """With the keys of S3 and SQS; topics keep nothing."""
        [rule] = stack["MailBucket"].properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
        for queue in QUEUES:
            assert stack[queue].properties["SqsManagedSseEnabled"] is True
            assert "KmsMasterKeyId" not in stack[queue].properties
        assert "KeyPolicy" not in stack.resources

    def test_or_with_a_key_of_ones_own(self) -> None:
        """Everything with that key, and relayd's role may use it."""
        stack = template_stack(KeyArn=KEY)
        [rule] = stack["MailBucket"].properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
        for name in (*QUEUES, "MailTopic", "EventTopic"):
            assert stack[name].properties["KmsMasterKeyId"] == KEY
            assert "SqsManagedSseEnabled" not in stack[name].properties
        use = statements(stack, "KeyPolicy")[0]
        assert (use["Action"], use["Resource"]) == (["kms:Decrypt", "kms:GenerateDataKey"], KEY)
        assert stack["KeyPolicy"].ref in stack["Role"].properties["ManagedPolicyArns"]


class TestRights:
    def test_the_role_has_one_policy(self, stack: Stack) -> None:
        """What it may do is proven elsewhere; here, that there is nothing beside it."""
        assert stack["Role"].properties["ManagedPolicyArns"] == [stack["DaemonPolicy"].ref]
        assert "Policies" not in stack["Role"].properties

    def test_only_what_names_no_resource_is_about_everything(self) -> None:
        """Of all policies."""
        stack = template_stack(KeyArn=KEY, ArchiveBucketName="kept", OldBucketName="old-mail")
        wide = {
            action
            for policy in stack.of_kind("AWS::IAM::ManagedPolicy")
            for statement in policy.properties["PolicyDocument"]["Statement"]
            for action in listed(statement["Action"])
            if "*" in listed(statement["Resource"])
        }
        assert wide == {"ses:GetAccount", "ses:DescribeActiveReceiptRuleSet", "cloudwatch:GetMetricStatistics"}

    def test_it_sends_from_the_mail_domain_alone(self, stack: Stack) -> None:
        """An identity lets every domain below it send; the policy does not."""
        sends = [one for one in grants({"Statement": statements(stack, "DaemonPolicy")}) if one.statement == "SendMail"]
        for sender, allowed in ((f"token@{DOMAIN}", True), (f"token@below.{DOMAIN}", False)):
            right = Right(
                "ses:SendRawEmail", f"arn:aws:ses:{REGION}:{ACCOUNT}:identity/{DOMAIN}", {"ses:FromAddress": sender}
            )
            assert [one.covers(right) for one in sends] == [allowed]

    @pytest.mark.parametrize("runs_on", ["eks-pod-identity", "eks-irsa", "ecs", "ec2", "elsewhere"])
    def test_the_role_is_for_relayd_alone(self, runs_on: str) -> None:
        """In EKS for one service account of one namespace; elsewhere for the service that hands it out."""
        stack = template_stack(RunsOn=runs_on, Namespace="mail", OidcProvider="oidc.eks.example/id/A")
        if runs_on == "elsewhere":
            assert not {"Role", "InstanceProfile"} & stack.resources.keys()
            return
        trust = stack["Role"].properties["AssumeRolePolicyDocument"]
        [statement] = (json.loads(trust) if isinstance(trust, str) else trust)["Statement"]
        assert (statement["Principal"], statement["Action"], statement.get("Condition")) == TRUST[runs_on]
        assert ("InstanceProfile" in stack.resources) == (runs_on == "ec2")

    def test_irsa_needs_the_cluster(self) -> None:
        """A rule of the template says so before anything is made."""
        rule = load(TEMPLATE)["Rules"]["IrsaNeedsTheCluster"]
        assert rule["RuleCondition"] == {"Fn::Equals": [{"Ref": "RunsOn"}, "eks-irsa"]}
        [wanted] = rule["Assertions"]
        assert wanted["Assert"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "OidcProvider"}, ""]}]}


TRUST: Mapping[str, tuple[Any, Any, Any]] = {
    "eks-pod-identity": (
        {"Service": "pods.eks.amazonaws.com"},
        ["sts:AssumeRole", "sts:TagSession"],
        {
            "StringEquals": {
                "aws:RequestTag/kubernetes-namespace": "mail",
                "aws:RequestTag/kubernetes-service-account": "relayd",
            }
        },
    ),
    "eks-irsa": (
        {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.eks.example/id/A"},
        "sts:AssumeRoleWithWebIdentity",
        {
            "StringEquals": {
                "oidc.eks.example/id/A:sub": "system:serviceaccount:mail:relayd",
                "oidc.eks.example/id/A:aud": "sts.amazonaws.com",
            }
        },
    ),
    "ecs": ({"Service": "ecs-tasks.amazonaws.com"}, "sts:AssumeRole", None),
    "ec2": ({"Service": "ec2.amazonaws.com"}, "sts:AssumeRole", None),
}


def test_what_holds_mail_is_never_taken_away() -> None:
    """Not with the stack, not by a replacement, not by an update: bucket, queues, dead letters."""
    kept = {
        name
        for name, one in load(TEMPLATE)["Resources"].items()
        if one.get("DeletionPolicy") == one.get("UpdateReplacePolicy") == "Retain"
    }
    assert kept == {"MailBucket", *QUEUES}
    allowed, denied = json.loads((FOLDER / "stack-policy.json").read_text())["Statement"]
    assert (allowed["Effect"], allowed["Action"], allowed["Resource"]) == ("Allow", "Update:*", "*")
    assert (denied["Effect"], set(denied["Action"])) == ("Deny", {"Update:Replace", "Update:Delete"})
    assert set(denied["Resource"]) == {f"LogicalResourceId/{name}" for name in kept}


def test_outputs_are_settings_that_relayd_takes(stack: Stack) -> None:
    """All that has to do with AWS: only the database and the secret are left."""
    settings = Settings.load(
        dict(stack.settings) | {"RELAYD_DATABASE_URL": "sqlite:////tmp/x", "RELAYD_SECRET": SECRET}
    )
    assert settings.queue_url == stack["MailQueue"].ref
    assert settings.dead_letter_url == stack["DeadLetters"].ref
    assert settings.events_queue_url == stack["EventQueue"].ref
    assert settings.topic_arns == (stack["MailTopic"].ref, stack["EventTopic"].ref)
    assert settings.buckets == (stack["MailBucket"].ref,)
    assert settings.configuration_set == stack["ConfigurationSet"].ref
    assert settings.mail_domains == (DOMAIN,)


class TestAlarms:
    ALARMS = (
        "NobodyReceives",
        "MailIsLate",
        "QueueIsDeep",
        "EventsAreLate",
        "ThereAreDeadLetters",
        "QueuesRefuse",
        "TooManyBounces",
        "TooManyComplaints",
    )

    def test_they_tell_whom_they_are_to_tell(self, stack: Stack) -> None:
        """Somebody, when it begins and when it ends; or nobody, and they are there all the same."""
        told = template_stack(AlarmTopicArn="arn:aws:sns:us-east-1:123456789012:people")
        assert {one.logical_id for one in stack.of_kind("AWS::CloudWatch::Alarm")} == set(self.ALARMS)
        for name in self.ALARMS:
            assert not {"AlarmActions", "OKActions"} & stack[name].properties.keys()
            assert told[name].properties["AlarmActions"] == told[name].properties["OKActions"]
            assert told[name].properties["AlarmActions"] == ["arn:aws:sns:us-east-1:123456789012:people"]

    def test_they_look_at_what_is_there(self, stack: Stack) -> None:
        """Each names a queue or a topic of the stack; but for SES's figures, which are the account's."""
        names = {stack[one].attributes["QueueName"] for one in QUEUES}
        names |= {stack[one].attributes["TopicName"] for one in ("MailTopic", "EventTopic")}
        for name in self.ALARMS:
            for metric in _metrics(stack[name].properties):
                found = {one["Value"] for one in metric.get("Dimensions", [])}
                assert found <= names
                assert bool(found) == (metric["Namespace"] != "AWS/SES")

    def test_expressions_are_of_their_own_metrics(self, stack: Stack) -> None:
        """Every word in an expression is a function or a metric beside it, and exactly one series counts."""
        for name in self.ALARMS:
            metrics = stack[name].properties.get("Metrics", [])
            returned = [one for one in metrics if one.get("ReturnData", True)]
            assert len(returned) == (1 if metrics else 0)
            for one in returned:
                words = set(re.findall(r"\b[a-z]+\b", one["Expression"]))
                assert words == {each["Id"] for each in metrics if each is not one}

    @pytest.mark.parametrize(
        ("alarm", "metric", "threshold"),
        [
            ("TooManyBounces", "Reputation.BounceRate", 0.05),
            ("TooManyComplaints", "Reputation.ComplaintRate", 0.001),
            ("ThereAreDeadLetters", "ApproximateNumberOfMessagesVisible", 0),
            ("QueueIsDeep", "ApproximateNumberOfMessagesVisible", "1000"),
            ("EventsAreLate", "ApproximateAgeOfOldestMessage", 900),
        ],
    )
    def test_thresholds(self, stack: Stack, alarm: str, metric: str, threshold: object) -> None:
        """SES's own limits, one dead letter, a quarter of an hour."""
        properties = stack[alarm].properties
        assert (properties["MetricName"], properties["Threshold"]) == (metric, threshold)
        assert properties["ComparisonOperator"] == "GreaterThanThreshold"

    @pytest.mark.parametrize(
        ("figures", "wanted"),
        [
            ({"visible": 0, "received": 0, "age": 7200}, {"NobodyReceives": False, "MailIsLate": False}),
            ({"visible": 3, "received": 0, "age": 30}, {"NobodyReceives": True, "MailIsLate": False}),
            ({"visible": 3, "received": None, "age": 1000}, {"NobodyReceives": True, "MailIsLate": True}),
            ({"visible": 3, "received": 40, "age": 1000}, {"NobodyReceives": False, "MailIsLate": True}),
        ],
    )
    def test_expressions_say_what_they_mean(
        self, stack: Stack, figures: dict[str, float | None], wanted: dict[str, bool]
    ) -> None:
        """Quiet while nothing waits, however old is what is put off; loud when nobody receives, or mail is late."""
        for name, alarmed in wanted.items():
            properties = stack[name].properties
            [expression] = [one["Expression"] for one in properties["Metrics"] if "Expression" in one]
            assert (_computed(expression, figures) > properties["Threshold"]) is alarmed


def _metrics(properties: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if "Metrics" not in properties:
        return [properties]
    return [one["MetricStat"]["Metric"] for one in properties["Metrics"] if "MetricStat" in one]


def _computed(expression: str, figures: Mapping[str, float | None]) -> float:
    """What CloudWatch's IF, FILL and AND come to for one point in time."""
    python = expression.replace("AND", "and").replace("IF(", "chosen(").replace("FILL(", "filled(")
    functions = {
        "chosen": lambda condition, then, otherwise: then if condition else otherwise,
        "filled": lambda value, otherwise: otherwise if value is None else value,
    }
    return float(eval(python, {"__builtins__": {}}, functions | dict(figures)))


class TestAnotherDomain:
    @pytest.fixture
    def other(self, stack: Stack) -> Stack:
        exported = {"RuleSetName", "MailTopicArn", "MailBucketName", "ConfigurationSet", "RoleName"}
        imports = {f"relayd-{name}": stack.outputs[name] for name in exported}
        return resolve(load(FOLDER / "domain.yaml"), {"MailDomain": "other.example"}, name="other", imports=imports)

    def test_what_it_imports_is_exported(self, stack: Stack) -> None:
        """By these names."""
        outputs = load(TEMPLATE)["Outputs"]
        exported = {name for name, one in outputs.items() if "Export" in one}
        assert all(outputs[name]["Export"]["Name"] == {"Fn::Sub": "${AWS::StackName}-" + name} for name in exported)
        text = (FOLDER / "domain.yaml").read_text()
        assert set(re.findall(r'\$\{Stack\}-(\w+)"', text)) == exported

    def test_it_is_treated_as_the_first_one(self, stack: Stack, other: Stack) -> None:
        """The same rule, identity, records and right to send, but for the domain."""
        rule, first = other["Rule"].properties["Rule"], stack["Rule"].properties["Rule"]
        assert rule | {"Name": "", "Recipients": []} == first | {"Name": "", "Recipients": []}
        assert rule["Recipients"] == ["other.example"]
        assert other["Rule"].properties["RuleSetName"] == stack["RuleSet"].ref
        renamed = json.loads(json.dumps(other["Identity"].properties).replace("other.example", DOMAIN))
        assert renamed == stack["Identity"].properties
        assert other.outputs["DnsRecords"].replace("other.example", DOMAIN) == stack.outputs["DnsRecords"]
        [right] = statements(other, "DomainPolicy")
        [model] = [one for one in statements(stack, "DaemonPolicy") if one["Sid"] == "SendMail"]
        assert json.loads(json.dumps(right).replace("other.example", DOMAIN)) == model
        assert other["DomainPolicy"].properties["Roles"] == [stack["Role"].ref]


def test_the_readme_speaks_of_what_there_is() -> None:
    """Its parameters, outputs, alarms and files exist; and every parameter has a description."""
    text = (FOLDER / "README.md").read_text()
    template = load(TEMPLATE)
    for name in re.findall(r"`([A-Z]\w+)=", text):
        assert name in template["Parameters"], name
    for name in re.findall(r"`([A-Z]\w*(?:Arn|Record|Records))`", text):
        assert name in template["Outputs"] or name in load(FOLDER / "domain.yaml")["Outputs"], name
    alarms = re.findall(
        r"^\| (`\w+`(?:, `\w+`)*) \|", text.partition("## Alarms")[2].partition("## Who")[0], re.MULTILINE
    )
    assert {name for row in alarms for name in re.findall(r"`(\w+)`", row)} == set(TestAlarms.ALARMS)
    for path in re.findall(r"deploy/aws/[\w.-]+", text):
        assert (ROOT / path).exists(), path
    assert all(one["Description"] for one in template["Parameters"].values())
