"""The environment: every problem at once, each with a hint, and no secret ever repeated."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from relayd.commands.config import command
from relayd.errors import ConfigurationError, Problem
from relayd.settings import SETTINGS, DeadLetterSettings, DirectorySettings, Settings, effective
from relayd.settings.forms import mask_url

SECRET = "0123456789abcdef0123456789abcdef"
GOOD = {
    "RELAYD_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/incoming",
    "RELAYD_DATABASE_URL": "sqlite:////var/lib/relayd/relayd.sqlite",
    "RELAYD_MAIL_DOMAINS": "mask.example",
    "RELAYD_TOPIC_ARNS": "arn:aws:sns:us-east-1:123456789012:incoming",
    "RELAYD_BUCKETS": "received-mail",
    "RELAYD_SECRET": SECRET,
}
REQUIRED = sorted(GOOD)


def problems(**changes: str) -> list[Problem]:
    """What is wrong with the good environment after these changes (names without RELAYD_)."""
    environ = GOOD | {f"RELAYD_{name}": value for name, value in changes.items()}
    try:
        Settings.load(environ)
    except ConfigurationError as error:
        return error.problems
    return []


def subjects(**changes: str) -> list[str]:
    return [problem.subject.removeprefix("RELAYD_") for problem in problems(**changes)]


def test_defaults_work_together() -> None:
    """Only the required settings: the defaults of the issue, and no combination of them is refused."""
    settings = Settings.load(GOOD)
    assert (settings.wait_seconds, settings.visibility_seconds, settings.deadline_seconds) == (20, 60, 120)
    assert (settings.grace_seconds, settings.concurrency, settings.retry_hours, settings.ledger_days) == (
        50,
        16,
        24,
        60,
    )
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8080)
    assert (settings.signatures, settings.log_format, settings.log_level) == ("verify", "json", "info")
    assert (settings.s3_connect_seconds, settings.s3_read_seconds) == (3, 30)
    assert (settings.ses_connect_seconds, settings.ses_read_seconds) == (3, 30)
    assert settings.dead_letter_url is None
    assert (settings.events_queue_url, settings.in_doubt_seconds) == (None, 300)
    assert (settings.daily_mails, settings.daily_megabytes, settings.daily_replies) == (1000, 1000, 100)
    assert settings.notice_from == "noreply@mask.example"
    assert settings.sns_certificate_file is None


def test_an_empty_environment_names_everything_that_is_missing_at_once() -> None:
    """One run tells all six, each with something to write."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.load({})
    assert sorted(problem.subject for problem in caught.value.problems) == REQUIRED
    assert all(problem.hint for problem in caught.value.problems)


def test_the_database_hint_shows_both_forms() -> None:
    """There is no default database, so the hint has to teach both."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.load({name: value for name, value in GOOD.items() if name != "RELAYD_DATABASE_URL"})
    (problem,) = caught.value.problems
    assert "sqlite:///" in problem.hint
    assert "postgresql://" in problem.hint


def test_a_terminal_gets_the_console_format_unless_told_otherwise() -> None:
    """The default follows the terminal; what is written wins."""
    assert Settings.load(GOOD, tty=True).log_format == "console"
    assert Settings.load(GOOD | {"RELAYD_LOG_FORMAT": "json"}, tty=True).log_format == "json"


def test_lists_take_commas_and_spaces_and_lose_doubles() -> None:
    """Domains in their normal form, in the order they were written."""
    settings = Settings.load(GOOD | {"RELAYD_MAIL_DOMAINS": " Mask.Example,\n bücher.example  mask.example."})
    assert settings.mail_domains == ("mask.example", "xn--bcher-kva.example")


def test_secrets_are_a_list_that_begins_with_the_signing_one() -> None:
    """Rotation: the new secret in front, the old one behind it."""
    other = SECRET[::-1]
    assert Settings.load(GOOD | {"RELAYD_SECRET": f"{other}, {SECRET}"}).secrets == (other.encode(), SECRET.encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"QUEUE_URL": "incoming"},
        {"QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/incoming"},
        {"QUEUE_URL": "https://user:word@host/123456789012/incoming"},
        {"QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/incoming.fifo"},
        {"DEAD_LETTER_URL": "arn:aws:sqs:us-east-1:123456789012:dead"},
        {"DATABASE_URL": "/var/lib/relayd.sqlite"},
        {"DATABASE_URL": "sqlite://"},
        {"DATABASE_URL": "sqlite:///:memory:"},
        {"DATABASE_URL": "sqlite://relayd.sqlite"},
        {"DATABASE_URL": "sqlite:////var/lib/relayd.sqlite?mode=ro&uri=true"},
        {"DATABASE_URL": "sqlite:////var/lib/relayd.sqlite?"},
        {"DATABASE_URL": "mysql://relayd@host/relayd"},
        {"DATABASE_URL": "postgres://relayd@host/relayd"},
        {"MAIL_DOMAINS": "me@mask.example"},
        {"MAIL_DOMAINS": "localhost"},
        {"MAIL_DOMAINS": "*.mask.example"},
        {"MAIL_DOMAINS": ","},
        {"TOPIC_ARNS": "incoming"},
        {"TOPIC_ARNS": "arn:aws:sns:us-east-1:123456789012:incoming.fifo"},
        {"TOPIC_ARNS": "*,arn:aws:sns:us-east-1:123456789012:incoming"},
        {"BUCKETS": "s3://received-mail"},
        {"BUCKETS": "received-mail *"},
        {"SECRET": "short"},
        {"SECRET": "x" * 64},
        {"SECRET": f"{SECRET},short"},
        {"SIGNATURES": "off"},
        {"SNS_CERTIFICATE_FILE": "/nonexistent/sns.pem"},
        {"CONFIGURATION_SET": "with space"},
        {"CONCURRENCY": "0"},
        {"CONCURRENCY": "1001"},
        {"CONCURRENCY": "1.5"},
        {"WAIT_SECONDS": "21"},
        {"WAIT_SECONDS": "20s"},
        {"WAIT_SECONDS": "0.5"},
        {"WAIT_SECONDS": "nan"},
        {"WAIT_SECONDS": "-1"},
        {"RETRY_HOURS": "0.5"},
        {"LEDGER_DAYS": "29"},
        {"HTTP_ADDRESS": "8080"},
        {"HTTP_ADDRESS": ":8080"},
        {"HTTP_ADDRESS": "::1:8080"},
        {"HTTP_ADDRESS": "[::g]:8080"},
        {"HTTP_ADDRESS": "127.0.0.1:65536"},
        {"HTTP_ADDRESS": "a..b:1"},
        {"HTTP_ADDRESS": ".:1"},
        {"HTTP_ADDRESS": f"{'a' * 64}:1"},
        {"LOG_FORMAT": "xml"},
        {"LOG_LEVEL": "loud"},
        {"SES_REGION": "Virginia"},
        {"S3_READ_SECONDS": "0"},
        {"EVENTS_QUEUE_URL": "events"},
        {"IN_DOUBT_SECONDS": "3601"},
        {"DAILY_MAILS": "0"},
        {"DAILY_MEGABYTES": "1.5"},
        {"DAILY_REPLIES": "-1"},
        {"NOTICE_FROM": "noreply"},
        {"NOTICE_FROM": "no reply@mask.example"},
        {"NOTICE_FROM": "grüße@mask.example"},
        {"TRACKERS_FILE": "/nonexistent/services.json"},
        {"TRACKERS_FILE": "/dev/null"},
    ],
    ids=str,
)
def test_what_cannot_be_read_is_refused_under_its_own_name(changes: dict[str, str]) -> None:
    """One wrong setting gives one problem, with a hint, that does not repeat what was written."""
    found = problems(**changes)
    assert [problem.subject for problem in found] == [f"RELAYD_{name}" for name in changes]
    assert all(problem.hint for problem in found)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::1]:8080", ("::1", 8080)),
        ("localhost:80", ("localhost", 80)),
        ("a.b.:1", ("a.b.", 1)),
    ],
)
def test_http_addresses_of_every_family(address: str, place: tuple[str, int]) -> None:
    """IPv6 in brackets, names, and port 0 for tests."""
    settings = Settings.load(GOOD | {"RELAYD_HTTP_ADDRESS": address})
    assert (settings.http_host, settings.http_port) == place


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        ({"VISIBILITY_SECONDS": "37"}, "VISIBILITY_SECONDS"),
        ({"SES_READ_SECONDS": "53", "GRACE_SECONDS": "80"}, "VISIBILITY_SECONDS"),
        ({"VISIBILITY_SECONDS": "130"}, "DEADLINE_SECONDS"),
        ({"S3_READ_SECONDS": "90"}, "DEADLINE_SECONDS"),
        ({"DEADLINE_SECONDS": "43199"}, "DEADLINE_SECONDS"),
        ({"GRACE_SECONDS": "49"}, "GRACE_SECONDS"),
        ({"DEAD_LETTER_URL": GOOD["RELAYD_QUEUE_URL"]}, "DEAD_LETTER_URL"),
        ({"EVENTS_QUEUE_URL": GOOD["RELAYD_QUEUE_URL"]}, "EVENTS_QUEUE_URL"),
        ({"TRACKER_WARNING_URL": "https://mask.example/tracker"}, "TRACKER_WARNING_URL"),
    ],
    ids=str,
)
def test_combinations_that_cannot_work_are_refused(changes: dict[str, str], subject: str) -> None:
    """Each value is right by itself; together they would lose leases or break off sends."""
    assert subjects(**changes) == [subject]


@pytest.mark.parametrize(
    "changes",
    [{"VISIBILITY_SECONDS": "41"}, {"GRACE_SECONDS": "50"}, {"GRACE_SECONDS": "30", "WAIT_SECONDS": "0"}],
    ids=str,
)
def test_combinations_that_just_work_pass(changes: dict[str, str]) -> None:
    """The limits themselves are allowed."""
    assert problems(**changes) == []


def test_a_pinned_certificate_without_verification_is_a_contradiction(tmp_path: Path) -> None:
    """It would look safe and never be used."""
    pem = tmp_path / "sns.pem"
    pem.write_text("-----BEGIN CERTIFICATE-----\n")
    assert problems(SNS_CERTIFICATE_FILE=str(pem)) == []
    assert subjects(SNS_CERTIFICATE_FILE=str(pem), SIGNATURES="trust-queue-policy") == ["SNS_CERTIFICATE_FILE"]
    pem.write_text("not a certificate")
    assert subjects(SNS_CERTIFICATE_FILE=str(pem)) == ["SNS_CERTIFICATE_FILE"]


def test_a_tracker_list_is_read_at_the_start(tmp_path: Path) -> None:
    """A wrong list is told at once, and not with the first mail that has trackers."""
    services = tmp_path / "services.json"
    services.write_text('{"categories": {"Advertising": [{"Ads": {"https://ads.example/": ["ads.example"]}}]}}')
    warned = {"RELAYD_TRACKERS_FILE": str(services), "RELAYD_TRACKER_WARNING_URL": "https://mask.example/tracker"}
    settings = Settings.load(GOOD | warned)
    assert settings.trackers is not None
    assert settings.trackers.covers("https://pixel.ads.example/1.gif")
    services.write_text('{"categories": []}')
    assert subjects(TRACKERS_FILE=str(services)) == ["TRACKERS_FILE"]


def test_unreadable_and_contradicting_settings_are_all_told_in_one_run() -> None:
    """Three different kinds of problem, one report."""
    assert subjects(CONCURRENCY="many", GRACE_SECONDS="10", WAIT_SECOND="1") == [
        "CONCURRENCY",
        "GRACE_SECONDS",
        "WAIT_SECOND",
    ]


def test_an_unknown_setting_is_refused_with_the_name_that_was_meant() -> None:
    """A typing error must not silently leave a default in place."""
    (problem,) = problems(VISIBILTY_SECONDS="60")
    assert problem.subject == "RELAYD_VISIBILTY_SECONDS"
    assert "RELAYD_VISIBILITY_SECONDS" in problem.hint


@pytest.mark.parametrize(
    "name",
    [
        "PORT",
        "PORT_8080_TCP",
        "PORT_8080_TCP_ADDR",
        "SERVICE_HOST",
        "SERVICE_PORT_HTTP",
        "METRICS_PORT",
        "METRICS_SERVICE_HOST",
    ],
)
def test_the_variables_of_a_kubernetes_service_named_relayd_are_no_typing_errors(name: str) -> None:
    """Kubernetes puts them into every pod of the namespace; refusing them would keep relayd from starting."""
    assert problems(**{name: "tcp://10.0.0.1:8080"}) == []


def test_a_port_that_is_no_service_link_is_a_typing_error() -> None:
    """RELAYD_HTTP_PORT=9090 looks like a setting and is none."""
    assert subjects(HTTP_PORT="9090") == ["HTTP_PORT"]


def test_an_empty_variable_is_an_unset_one() -> None:
    """Manifests have no other way to say it."""
    assert Settings.load(GOOD | {"RELAYD_DEAD_LETTER_URL": "", "RELAYD_CONCURRENCY": " "}).concurrency == 16
    assert subjects(SECRET="") == ["SECRET"]


CANARY = "c4n4ry-t3xt-th4t-must-n0t-b3-r3p34t3d"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.env)
def test_no_problem_repeats_what_was_written(setting: object) -> None:
    """A secret may have been put into the wrong variable: neither the problems nor the rows tell any of it."""
    env = getattr(setting, "env", "")
    environ = GOOD | {env: f"{CANARY} {CANARY}\\{CANARY}"}
    rows, found = effective(environ)
    if any(problem.subject == env for problem in found):
        assert CANARY not in repr(rows)
    assert CANARY not in repr(found)


def test_neither_settings_nor_rows_show_a_secret_or_a_password() -> None:
    """`repr` of the settings may end up in a log, the rows in a ticket."""
    environ = GOOD | {"RELAYD_DATABASE_URL": f"postgresql://relayd:{CANARY}@host/relayd?password={CANARY}"}
    rows, found = effective(environ)
    told = repr(Settings.load(environ)) + repr(DirectorySettings.load(environ)) + repr(rows)
    assert not found
    assert CANARY not in told
    assert SECRET not in told


@given(st.text(alphabet="ab/@?:#&=%", max_size=12), st.sampled_from(["", "?sslmode=require", "?sslpassword=%s"]))
def test_no_form_of_a_password_survives_the_masking_of_a_url(noise: str, query: str) -> None:
    """Raw slashes, question marks and @ in a password fool URL parsers; the mask reads from the last @."""
    password = f"{noise}{CANARY}{noise}"
    masked = mask_url(f"postgresql://relayd:{password}@db.internal/relayd{query.replace('%s', CANARY)}")
    assert CANARY not in masked
    assert "db.internal" in masked


def test_the_directory_needs_no_queue() -> None:
    """`relayd masks` on an operator's machine: two settings are enough, a wrong one is still told."""
    environ = {name: GOOD[name] for name in ("RELAYD_DATABASE_URL", "RELAYD_MAIL_DOMAINS")}
    assert DirectorySettings.load(environ).secrets == ()
    assert DirectorySettings.load(environ | {"RELAYD_SECRET": SECRET}).secrets == (SECRET.encode(),)
    with pytest.raises(ConfigurationError) as caught:
        DirectorySettings.load({"RELAYD_SECRET": "short"})
    assert sorted(p.subject for p in caught.value.problems) == [
        "RELAYD_DATABASE_URL",
        "RELAYD_MAIL_DOMAINS",
        "RELAYD_SECRET",
    ]


def test_the_dead_letters_need_one_of_two_queues() -> None:
    """Either URL is enough without mails; those need the buckets that they may come from. The ledger is optional."""
    queue, dead = GOOD["RELAYD_QUEUE_URL"], "https://sqs.us-east-1.amazonaws.com/123456789012/dead"
    for environ in ({"RELAYD_QUEUE_URL": queue}, {"RELAYD_DEAD_LETTER_URL": dead}):
        found = DeadLetterSettings.load(environ, mails=False)
        assert (found.queue_url, found.dead_letter_url) == (
            environ.get("RELAYD_QUEUE_URL"),
            environ.get("RELAYD_DEAD_LETTER_URL"),
        )
        assert (found.database_url, found.buckets) == (None, ())
        assert (found.visibility_seconds, found.s3_read_seconds, found.memory_budget_mb) == (60, 30, 256)
    assert DeadLetterSettings.load(GOOD, mails=True).buckets == ("received-mail",)


def test_what_the_dead_letters_lack_is_told_at_once() -> None:
    """All of it, and what stands there wrongly; other settings may be wrong."""
    for mails, missing in ((False, ["RELAYD_QUEUE_URL"]), (True, ["RELAYD_BUCKETS", "RELAYD_QUEUE_URL"])):
        with pytest.raises(ConfigurationError) as caught:
            DeadLetterSettings.load({"RELAYD_SECRET": "short", "RELAYD_TOPIC_ARNS": "?"}, mails=mails)
        assert sorted(problem.subject for problem in caught.value.problems) == missing
    with pytest.raises(ConfigurationError) as caught:
        DeadLetterSettings.load(
            {"RELAYD_DEAD_LETTER_URL": "dead", "RELAYD_QUEUE_URL": "x", "RELAYD_BUCKETS": "?"}, mails=False
        )
    assert len(caught.value.problems) == 3
    same = {"RELAYD_DEAD_LETTER_URL": GOOD["RELAYD_QUEUE_URL"], "RELAYD_QUEUE_URL": GOOD["RELAYD_QUEUE_URL"]}
    with pytest.raises(ConfigurationError, match="the queue itself"):
        DeadLetterSettings.load(same, mails=False)


def test_each_setting_has_a_field_a_doc_and_a_default_of_its_own_form() -> None:
    """The table is the only list: a default that cannot be read would show at the first start, not here."""
    fields = set(Settings.__dataclass_fields__) - {"http_host", "http_port"} | {"http_address"}
    assert {setting.field for setting in SETTINGS} == fields
    for setting in SETTINGS:
        assert setting.doc.endswith(".")
        if setting.default is not None:
            setting.form.parse(setting.default)


def run_config(environ: Mapping[str, str], *options: str) -> tuple[int, str, str]:
    cleared: dict[str, str | None] = {setting.env: None for setting in SETTINGS}
    result = CliRunner().invoke(command, options, env=cleared | dict(environ))
    return result.exit_code, result.stdout, result.stderr


def test_config_shows_every_setting_and_where_it_comes_from() -> None:
    """Exit 0, one line a setting, the secret as its fingerprint."""
    code, out, err = run_config(GOOD | {"RELAYD_CONCURRENCY": "4"})
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["SETTING", *(setting.env for setting in SETTINGS)]
    lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in out.splitlines()}
    assert lines["RELAYD_CONCURRENCY"] == ["environment", "4"]
    assert lines["RELAYD_WAIT_SECONDS"] == ["default", "20"]
    assert lines["RELAYD_SECRET"][1].startswith("fingerprint ")
    assert SECRET not in out


def test_config_exits_with_2_and_still_prints_the_rest() -> None:
    """Whoever sets up needs both what is right and what is wrong."""
    code, out, err = run_config(GOOD | {"RELAYD_CONCURRENCY": "many"})
    assert code == 2
    assert "RELAYD_WAIT_SECONDS" in out
    assert "RELAYD_CONCURRENCY: it is not a whole number" in err
    assert "hint:" in err


def test_config_as_json_is_one_document_with_the_problems_in_it() -> None:
    """For scripts: `settings` and `problems`, and the same exit code."""
    code, out, err = run_config({}, "--json")
    document = json.loads(out)
    assert (code, err) == (2, "")
    assert len(document["settings"]) == len(SETTINGS)
    assert sorted(problem["subject"] for problem in document["problems"]) == REQUIRED
    assert set(document["settings"][0]) == {"name", "value", "source", "doc"}
