"""Logs: one line an event, span ids on it, and nothing of anybody's mail in it, whoever logs."""

import io
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from botocore.exceptions import ClientError

from relayd.errors import TransientError
from relayd.telemetry import logs, spans
from relayd.telemetry.logs import REPEAT_SECONDS, OncePerWhile
from relayd.telemetry.otel import Telemetry

ADDRESS = "canary.person@canary-domain.example"
SUBJECT = "Canary subject of a letter"
BODY = "Canary body, dear reader"
CANARIES = ("canary.person", "canary-domain", "Canary subject", "Canary body")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where logs go during one test; afterwards they go back to standard error."""
    stream = io.StringIO()
    logs.configure("json", "debug", stream)
    yield stream
    logs.configure()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_utc_time_and_level(stream: io.StringIO) -> None:
    """What every collector can read."""
    structlog.get_logger().info("message_settled", outcome="accepted", seconds=0.25)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "message_settled", "level": "info", "outcome": "accepted", "seconds": 0.25}


def test_levels_below_the_configured_one_are_silent() -> None:
    """For our own loggers and for libraries'."""
    stream = io.StringIO()
    logs.configure("json", "warning", stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("library").info("quiet")
    logging.getLogger("botocore").warning("loud")
    logs.configure()
    assert [line["event"] for line in lines(stream)] == ["loud"]


@pytest.mark.usefixtures("telemetry")
def test_lines_carry_the_ids_of_the_current_span(stream: io.StringIO) -> None:
    """Ours and libraries' alike, and none outside of a span."""
    with spans.step("decode"):
        ids = spans.current_ids()
        structlog.get_logger().info("inside")
        logging.getLogger("library").warning("inside")
    structlog.get_logger().info("outside")
    ours, theirs, outside = lines(stream)
    assert ids == {key: ours[key] for key in ("trace_id", "span_id")} == {key: theirs[key] for key in ids}
    assert "trace_id" not in outside


def fail_with_values() -> None:
    subject = SUBJECT
    try:
        int(subject)
    except ValueError as error:
        raise KeyError(ADDRESS, BODY) from error


def log_exception() -> None:
    try:
        fail_with_values()
    except KeyError:
        structlog.get_logger().exception("message_bug", message_id="m-1")


def log_library_exception() -> None:
    try:
        fail_with_values()
    except KeyError:
        logging.getLogger("library").exception("failed for %s", SUBJECT)


def log_botocore_error() -> None:
    answer = {"Error": {"Code": "MessageRejected", "Message": f"Address is not verified: {ADDRESS} {SUBJECT}"}}
    try:
        raise ClientError(answer, "SendEmail")  # type: ignore[arg-type]
    except ClientError as error:
        structlog.get_logger().error("send_failed", exc_info=error, error_object=error)
        logging.getLogger("botocore").warning("retry for %s", error)


def log_odd_values() -> None:
    structlog.get_logger().error(
        "odd", to=ADDRESS, nested={"a": [ADDRESS, (ADDRESS,)], ADDRESS: 1}, raw=BODY.encode(), error=ValueError(SUBJECT)
    )


def log_library_arguments() -> None:
    for name in ("library", "botocore.parsers", "urllib3.connectionpool", "sqlalchemy.engine", "email"):
        logging.getLogger(name).error("saw %s and %r in %s", SUBJECT, BODY, ADDRESS)
        logging.getLogger(name).error("saw %(subject)s", {"subject": SUBJECT})


def log_library_formatted() -> None:
    logging.getLogger("library").error(f"cannot reach {ADDRESS}")  # noqa: G004 - this is what some libraries do
    logging.getLogger("library").error(ValueError(SUBJECT), stack_info=True)


def log_warning() -> None:
    # pytest catches warnings that are issued: this is where Python takes them otherwise.
    warnings.showwarning(f"deprecated for {ADDRESS}: {SUBJECT}", RuntimeWarning, __file__, 1)


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    "path",
    [
        log_exception,
        log_library_exception,
        log_botocore_error,
        log_odd_values,
        log_library_arguments,
        log_library_formatted,
        log_warning,
    ],
)
def test_no_canary_gets_through_any_way_of_logging(path: Callable[[], None], log_format: Any) -> None:
    """Something is logged each time, and nothing of the letter is in it."""
    stream = io.StringIO()
    logs.configure(log_format, "debug", stream)
    try:
        path()
    finally:
        logs.configure()
    told = stream.getvalue()
    assert told
    assert [canary for canary in CANARIES if canary in told] == []


def test_an_exception_is_told_as_types_and_places(stream: io.StringIO) -> None:
    """Enough to find the bug: where, what kind, and what it came from."""
    log_exception()
    (line,) = lines(stream)
    assert line["error_type"] == "KeyError"
    assert line["causes"] == ["ValueError"]
    assert line["frames"][-1].startswith("tests/telemetry/test_logs.py:")
    assert line["frames"][-1].endswith(":fail_with_values")
    assert line["message_id"] == "m-1"
    assert "error" not in line


def test_our_own_errors_are_told_with_their_text(stream: io.StringIO) -> None:
    """A RelaydError's text is safe by contract, and is what an operator needs."""
    try:
        raise TransientError("s3_timeout", "no answer in 30 s")
    except TransientError:
        structlog.get_logger().exception("fetch_failed")
    (line,) = lines(stream)
    assert (line["reason"], line["error"]) == ("s3_timeout", "s3_timeout: no answer in 30 s")


def test_trusted_libraries_keep_their_arguments(stream: io.StringIO) -> None:
    """A migration's name comes from us, and its log line is nothing without it."""
    logging.getLogger("alembic.runtime.migration").warning("Running upgrade %s -> %s", "0001", "0002")
    assert [line["event"] for line in lines(stream)] == ["Running upgrade 0001 -> 0002"]


def test_a_line_that_cannot_be_written_costs_nothing() -> None:
    """A closed pipe must not make a mail fail."""
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    stream.close()
    structlog.get_logger().info("lost")
    logging.getLogger("library").error("lost")
    logs.configure()


def test_the_same_complaint_of_an_exporter_is_told_once_in_a_while() -> None:
    """A collector that is down for hours is one line each five minutes; other loggers are not touched."""
    now = [0.0]
    once = OncePerWhile(lambda: now[0])

    def passes(name: str, line: int, *args: object) -> bool:
        return once.filter(logging.LogRecord(name, logging.ERROR, "exporter.py", line, "failed: %s", args, None))

    exporter = "opentelemetry.exporter.otlp"
    assert [passes(exporter, 1, "a"), passes(exporter, 1, "b"), passes(exporter, 2, "a")] == [True, False, True]
    assert [passes("library", 1), passes("library", 1)] == [True, True]
    now[0] = REPEAT_SECONDS
    assert passes(exporter, 1, "a")


def test_uncaught_exceptions_are_logged_without_their_values() -> None:
    """In the main thread and in any other: Python's own hooks would print the text."""
    script = f"""
import threading
from relayd.telemetry import logs
logs.configure()
logs.install_excepthooks()
def fail():
    raise ValueError({SUBJECT!r})
thread = threading.Thread(target=fail)
thread.start()
thread.join()
fail()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=os.environ)
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 1
    assert [(line["event"], line["error_type"]) for line in told] == [("uncaught_exception", "ValueError")] * 2
    assert SUBJECT not in done.stderr + done.stdout


def test_configuring_twice_does_not_double_a_line(telemetry: Telemetry, stream: io.StringIO) -> None:
    """Only the newest configuration writes."""
    again = io.StringIO()
    logs.configure("json", "info", again)
    logging.getLogger("library").warning("once")
    assert (len(lines(stream)), len(lines(again))) == (0, 1)
