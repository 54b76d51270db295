"""Whatever SES refuses, one case each: with its code, its status and its words, and nothing is sent."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3
from botocore.exceptions import ClientError

from relayd.sandbox.cloud.calls import Refusal
from relayd.sandbox.cloud.raw_mail import ONCE_ONLY
from relayd.sandbox.cloud.ses_quota import Quota
from relayd.sandbox.cloud.settings import Settings
from tests.cloud.server import EmbeddedServer
from tests.contract.moto_server import REGION

FROM = b"From: token@mask.example\r\n"
BODY = b"\r\nbody\r\n"
MAIL = FROM + BODY


@pytest.fixture
def strict(server: EmbeddedServer) -> Iterator[EmbeddedServer]:
    """The server, of which nothing may be sent by the end of the test."""
    known = [one["IdentityName"] for one in server.ses.list_email_identities()["EmailIdentities"]]
    if "mask.example" not in known:
        server.ses.create_email_identity(EmailIdentity="mask.example")
    before = server.aws.counts()["sent"]
    yield server
    assert server.aws.counts()["sent"] == before


def refusal(server: EmbeddedServer, data: bytes = MAIL, **parameters: Any) -> tuple[str, int, str]:
    """Code, status and text of a send's refusal."""
    call = {
        "FromEmailAddress": "token@mask.example",
        "Destination": {"ToAddresses": ["owner@home.example"]},
        "Content": {"Raw": {"Data": data}},
        **parameters,
    }
    with pytest.raises(ClientError) as caught:
        server.ses.send_email(**{name: value for name, value in call.items() if value is not None})
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"Subject: x\r\n" + BODY, "Missing required header 'From'."),
        (b"", "Missing required header 'From'."),
        (FROM + FROM + BODY, "Duplicate header 'From'."),
        (FROM + b"subject: a\r\nSUBJECT: b\r\n" + BODY, "Duplicate header 'SUBJECT'."),
        (FROM + b"DKIM-Signature: a\r\nDKIM-Signature: b\r\n" + BODY, "Duplicate header 'DKIM-Signature'."),
        (FROM + b"no colon\r\n" + BODY, "Illegal header"),
        (FROM + b"white space : x\r\n" + BODY, "Illegal header 'white space '."),
        (b" folded: from the first line\r\n" + MAIL, "Illegal header"),
        (FROM + b": nameless\r\n" + BODY, "Empty header names are not allowed."),
        (b"From: nobody\r\n" + BODY, "Missing final '@domain'"),
        (b"From: a, b <x@mask.example>\r\n" + BODY, "Missing final '@domain'"),
        (b"From: <x@mask.example> <y@mask.example>\r\n" + BODY, "Extra route-addr"),
        (b"From: <<x@mask.example>>\r\n" + BODY, "Local address contains illegal character"),
        (b"From: x y@mask.example\r\n" + BODY, "Local address contains control or whitespace"),
        (b"From: x\ty@mask.example\r\n" + BODY, "Local address contains control or whitespace"),
        (b"From: x@mask .example\r\n" + BODY, "Domain contains control or whitespace"),
        (b"From: a..b@mask.example\r\n" + BODY, "Local address contains dot-dot"),
        (b"From: .a@mask.example\r\n" + BODY, "Local address starts with dot"),
        (b"From: a@.mask.example\r\n" + BODY, "Domain starts with dot"),
        (b"From: a@mask.example.\r\n" + BODY, "Domain ends with dot"),
        (b"From: a@mask!.example\r\n" + BODY, "Domain contains illegal character"),
        (b"From: @mask.example\r\n" + BODY, "Missing local name"),
        (b"From: a@\r\n" + BODY, "Missing domain"),
        (b'From: "open <a@mask.example>\r\n' + BODY, "Missing '\"'"),
        (b"From: (open a@mask.example\r\n" + BODY, "Missing ')'"),
        (b"From: <a@mask.example\r\n" + BODY, "Missing '>'"),
        (b"From: a@mask.example;\r\n" + BODY, "Illegal semicolon, not in group"),
        (FROM + b"To: group: a@b.example\r\n" + BODY, "Missing ';' at end of group"),
        (FROM + b"Cc: nobody\r\n" + BODY, "Missing final '@domain'"),
        (FROM + b"Reply-To: nobody\r\n" + BODY, "Missing final '@domain'"),
        ("From: jürgen@mask.example\r\n".encode() + BODY, "Non ASCII characters in header."),
        (FROM + "Subject: ä\r\n".encode() + BODY, "Non ASCII characters in header."),
        (FROM + "\r\nä\r\n".encode(), "8-bit data"),
        (FROM + "Content-Transfer-Encoding: 8bit\r\n\r\nä\r\n".encode(), "8-bit data"),
        (MAIL + b"nul \0\r\n", "NUL"),
        (MAIL + b"bare\nLF", "bare carriage returns or line feeds"),
        (MAIL + b"bare\rCR", "bare carriage returns or line feeds"),
        (MAIL + b"x" * 999 + b"\r\n", "line longer than 1000 bytes"),
        (FROM + b"X: " + b"x" * 996 + b"\r\n" + BODY, "line longer than 1000 bytes"),
        (FROM + b'Content-Disposition: attachment; filename="a.exe"\r\n' + BODY, "Illegal filename 'a.exe'."),
        (FROM + b'Content-Type: text/plain;\r\n name="A.Bat"\r\n' + BODY, "Illegal filename 'A.Bat'."),
    ],
)
def test_malformed_mail(strict: EmbeddedServer, data: bytes, text: str) -> None:
    """Each defect of a raw mail is a BadRequestException that names it."""
    code, status, found = refusal(strict, data)
    assert (code, status) == ("BadRequestException", 400)
    assert text in found


@pytest.mark.parametrize("name", sorted(ONCE_ONLY))
def test_fields_that_may_appear_once(strict: EmbeddedServer, name: str) -> None:
    """Each of the documented fields is refused the second time, whatever its case."""
    value = "a@mask.example"
    header = FROM if name != "from" else b""
    twice = f"{name}: {value}\r\n{name.upper()}: {value}\r\n".encode()
    _, _, text = refusal(strict, header + twice + BODY)
    assert text == f"Duplicate header '{name.upper()}'."


def test_there_are_sixty_of_them() -> None:
    """As many as SES's documentation lists."""
    assert len(ONCE_ONLY) == 60


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"Destination": {}}, "Missing required recipients."),
        ({"Destination": {"ToAddresses": [f"a{n}@b.example" for n in range(51)]}}, "Recipient count exceeds 50."),
        ({"Destination": {"ToAddresses": ["nobody"]}}, "Missing final '@domain'"),
        ({"Destination": {"ToAddresses": ["jürgen@b.example"]}}, "non-ASCII"),
        ({"Destination": {"ToAddresses": ["a@bücher.example"]}}, "non-ASCII"),
        ({"Destination": {"ToAddresses": ["a b@c.example"]}}, "Local address contains control or whitespace"),
        ({"Destination": {"ToAddresses": ["a@b.example, c@d.example"]}}, "Local address contains"),
        ({"FromEmailAddress": "nobody"}, "Missing final '@domain'"),
        ({"FromEmailAddress": "Ä <jürgen@mask.example>"}, "non-ASCII"),
        ({"EmailTags": [{"Name": "white space", "Value": "x"}]}, "Invalid tag name <white space>."),
        ({"EmailTags": [{"Name": "a", "Value": "ä"}]}, "Invalid tag value <ä>."),
        ({"EmailTags": [{"Name": "x" * 257, "Value": "x"}]}, "Invalid tag name"),
        ({"EmailTags": [{"Name": "a", "Value": ""}]}, "Invalid tag value <>."),
        ({"EmailTags": [{"Name": "a", "Value": "1"}, {"Name": "a", "Value": "2"}]}, "Duplicate tag name <a>."),
        (
            {"Content": {"Simple": {"Subject": {"Data": "x"}, "Body": {"Text": {"Data": "x"}}}}},
            "This emulator takes raw mail only",
        ),
    ],
)
def test_impossible_calls(strict: EmbeddedServer, parameters: dict[str, Any], text: str) -> None:
    """Recipients, sender, tags and content that SES does not take."""
    code, status, found = refusal(strict, **parameters)
    assert (code, status) == ("BadRequestException", 400)
    assert text in found


def test_too_large(strict: EmbeddedServer) -> None:
    """A byte more than 40 MiB is told; a request that cannot hold less is refused before it is read."""
    line = b"x" * 76 + b"\r\n"
    data = MAIL + line * ((40 * 1024 * 1024 - len(MAIL)) // len(line) + 1)
    code, status, text = refusal(strict, data)
    assert (code, status) == ("BadRequestException", 400)
    assert text.startswith("Message length is more than 41943040 bytes long")
    authorization = f"AWS4-HMAC-SHA256 Credential=x/20260101/{REGION}/ses/aws4_request"
    answer = urllib3.request(
        "POST",
        f"{strict.endpoint}/v2/email/outbound-emails",
        body=b" " * 61 * 1024 * 1024,
        headers={"Authorization": authorization},
    )
    assert answer.status == 413


@pytest.mark.parametrize(
    "parameters",
    [
        {"FromEmailAddress": "a@stranger.example"},
        {"FromEmailAddress": None, "data": b"From: a@stranger.example\r\n" + BODY},
        {"data": b"From: a@stranger.example\r\n" + BODY},
        {"data": FROM + b"Sender: a@stranger.example\r\n" + BODY},
        {"data": FROM + b"Return-Path: <a@stranger.example>\r\n" + BODY},
    ],
)
def test_unverified_senders(strict: EmbeddedServer, parameters: dict[str, Any]) -> None:
    """Whoever the mail or the call says it is from must be verified."""
    code, status, text = refusal(strict, **parameters)
    assert (code, status) == ("MessageRejected", 400)
    assert text == (
        "Email address is not verified. "
        "The following identities failed the check in region EU-WEST-1: a@stranger.example"
    )


def test_unverified_recipients_in_the_sandbox(strict: EmbeddedServer) -> None:
    """Without production access, recipients must be verified or simulated."""
    strict.aws.settings(sandbox=True)
    code, _, text = refusal(strict)
    assert code == "MessageRejected"
    assert text.endswith("owner@home.example")
    assert not strict.ses.get_account()["ProductionAccessEnabled"]


def test_a_custom_mail_from_domain_that_failed(strict: EmbeddedServer) -> None:
    """It has a code of its own."""
    strict.aws.settings(mail_from_failed=["mask.example"])
    assert refusal(strict)[0] == "MailFromDomainNotVerifiedException"


def test_a_missing_configuration_set(strict: EmbeddedServer) -> None:
    """It is not found."""
    code, status, text = refusal(strict, ConfigurationSetName="not-there")
    assert (code, status, text) == ("NotFoundException", 404, "Configuration set <not-there> does not exist.")


def test_paused_accounts(strict: EmbeddedServer) -> None:
    """A paused account, a suspended one and a paused configuration set send nothing."""
    strict.ses.put_account_sending_attributes(SendingEnabled=False)
    try:
        assert refusal(strict)[0] == "SendingPausedException"
        assert not strict.ses.get_account()["SendingEnabled"]
    finally:
        strict.ses.put_account_sending_attributes(SendingEnabled=True)
    name = f"set-{uuid.uuid4().hex[:8]}"
    strict.ses.create_configuration_set(ConfigurationSetName=name)
    strict.ses.put_configuration_set_sending_options(ConfigurationSetName=name, SendingEnabled=False)
    assert refusal(strict, ConfigurationSetName=name)[0] == "SendingPausedException"
    strict.aws.settings(suspended=True)
    assert refusal(strict)[0] == "AccountSuspendedException"


def test_the_days_quota(strict: EmbeddedServer) -> None:
    """When it is used up, it has its own text."""
    used = int(strict.ses.get_account()["SendQuota"]["SentLast24Hours"])
    strict.aws.settings(daily_quota=used)
    assert refusal(strict) == ("LimitExceededException", 400, "Daily message quota exceeded.")


def test_the_sending_rate(server: EmbeddedServer) -> None:
    """One call goes while the allowance is whole; then there is a text for it."""
    there = {"Destination": {"ToAddresses": ["owner@home.example"]}, "Content": {"Raw": {"Data": MAIL}}}
    server.aws.settings(max_send_rate=0.01)
    server.ses.send_email(**there)
    assert refusal(server) == ("TooManyRequestsException", 429, "Maximum sending rate exceeded.")


def test_quotas_are_regained() -> None:
    """The rate comes back with the seconds, the day's quota when a day has passed; refusals cost nothing."""
    now = 1_700_000_000.0
    settings = Settings(max_send_rate=2.0, daily_quota=5)
    quota = Quota(lambda: now, settings)
    quota.take(2)
    for _ in range(3):
        with pytest.raises(Refusal, match="Maximum sending rate exceeded"):
            quota.take(1)
    now += 0.5
    quota.take(1)
    now += 60
    quota.take(2)
    for _ in range(3):
        with pytest.raises(Refusal, match="Daily message quota exceeded"):
            quota.take(1)
    assert quota.look() == 5
    now += 86_400 - 60
    assert quota.look() == 2
    quota.take(2)


def test_what_is_not_json_or_not_base64(strict: EmbeddedServer) -> None:
    """Bodies that cannot be read are refused, too."""
    authorization = f"AWS4-HMAC-SHA256 Credential=x/20260101/{REGION}/ses/aws4_request"
    for body in (b"{", b"[]", json.dumps({"Content": {"Raw": {"Data": "%%%"}}}).encode()):
        answer = urllib3.request(
            "POST",
            f"{strict.endpoint}/v2/email/outbound-emails",
            body=body,
            headers={"Authorization": authorization},
        )
        assert answer.status == 400
        assert answer.headers["x-amzn-errortype"] == "SerializationException"


@pytest.mark.parametrize(
    "data",
    [
        FROM + b"Received: a\r\nReceived: b\r\nX-Mine: a\r\nX-Mine: b\r\n" + BODY,
        b'From: "Shop, the (user at dom)" <token@mask.example>\r\n' + BODY,
        b"From: =?utf-8?q?J=C3=BCrgen?= <token@mask.example> (a comment)\r\n" + BODY,
        b"From: Shop\r\n <token@mask.example>\r\n" + BODY,
        FROM + b"To: undisclosed-recipients:;\r\n" + BODY,
        FROM + b'To: group: a@b.example, "c d"@e.example;, f@g.example\r\n' + BODY,
        FROM + b"Return-Path: <>\r\n" + BODY,
        FROM,
        FROM + b"\r\n" + b"x" * 998 + b"\r\n" + b"y" * 998,
        FROM + b'\r\nContent is fine: filename="a.exe"\r\n',
        FROM + b'Content-Disposition: attachment; filename="a.exe.pdf"\r\n' + BODY,
        b"From: a@deep.below.mask.example\r\n" + BODY,
    ],
)
def test_what_is_right(server: EmbeddedServer, data: bytes) -> None:
    """What looks like a defect and is none is sent."""
    known = [one["IdentityName"] for one in server.ses.list_email_identities()["EmailIdentities"]]
    if "mask.example" not in known:
        server.ses.create_email_identity(EmailIdentity="mask.example")
    before = server.aws.counts()["sent"]
    to = {"ToAddresses": ["owner@home.example"]}
    server.ses.send_email(Destination=to, Content={"Raw": {"Data": data}})
    [sent] = server.aws.sent(before)
    assert sent.data == data


def test_damage_can_be_let_pass(server: EmbeddedServer) -> None:
    """Without strictness, what SES would damage is taken; what it refuses is not."""
    server.aws.settings(strict=False, refuse_attachments=False)
    damaged = (
        FROM + b'Content-Disposition: attachment; filename="a.exe"\r\n\r\n8-bit \xe4, bare \n, long ' + b"x" * 1000
    )
    to = {"ToAddresses": ["owner@home.example"]}
    server.ses.send_email(Destination=to, Content={"Raw": {"Data": damaged}})
    assert refusal(server, FROM + FROM + BODY)[2] == "Duplicate header 'From'."
