"""Logs as one JSON object a line (or colours on a terminal), libraries' logs included, and nobody's mail in them."""

import logging
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

import relayd
from relayd.errors import RelaydError
from relayd.telemetry.redaction import redact_value

MAX_FRAMES = 40
MAX_CAUSES = 5
REPEAT_SECONDS = 300.0
"""How long the same complaint of the telemetry libraries stays silent: a collector may be down for hours."""

_QUIET = ("boto3", "botocore", "urllib3", "s3transfer", "sqlalchemy", "asyncio")
"""Libraries that log what passes through them (bodies, parameters) below WARNING."""
_TRUSTED = ("alembic", "opentelemetry")
"""Libraries whose log arguments never come from a mail. Of every other one only the template is logged."""


def configure(
    log_format: Literal["json", "console"] = "json",
    level: str = "info",
    stream: TextIO | None = None,
    fields: Mapping[str, object] | None = None,
) -> None:
    """Send structlog's and the standard library's logs to `stream` (standard error), one line each, and `fields` with
    every line.

    May be called again: the newest call counts.
    """
    always = dict(fields or {})
    stream = sys.stderr if stream is None else stream
    number = logging.getLevelNamesMapping()[level.upper()]
    chain: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        lambda _logger, _method, event: {**event, **always},
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_span,
        _exception_as_frames,
        _redact,
    ]
    chain.append(_renderer(log_format, stream))
    structlog.configure(
        processors=chain,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _Lines(stream),
        # Cached loggers would ignore a second call, and `structlog.testing` with it.
        cache_logger_on_first_use=False,
    )
    handler = _Handler(stream)
    handler.addFilter(OncePerWhile(time.monotonic))
    handler.setFormatter(_Foreign(chain))
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    # It warns of every attribute that it shortens, which is what the limit is for.
    logging.getLogger("opentelemetry.attributes").setLevel(logging.ERROR)
    warnings.showwarning = _show_warning


def install_excepthooks() -> None:
    """Log an exception that nothing caught like any other, instead of printing its text and values."""
    log = structlog.get_logger()

    def report(kind: type[BaseException], error: BaseException | None, frames: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        log.critical("uncaught_exception", exc_info=(kind, error or kind(), frames))

    sys.excepthook = report
    threading.excepthook = lambda args: report(args.exc_type, args.exc_value, args.exc_traceback)


def _show_warning(
    message: Warning | str,  # noqa: ARG001 - the text may hold values
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    structlog.get_logger().warning("python_warning", category=category.__name__, place=f"{_short(filename)}:{lineno}")


def describe(error: BaseException) -> dict[str, Any]:
    """What may be told about an exception: types and places. Its text only where the text is ours."""
    told: dict[str, Any] = {"error_type": _type_name(error), "frames": _frames(error)}
    if isinstance(error, RelaydError):
        told["error"] = str(error)
        told["reason"] = error.reason
    causes: list[str] = []
    cause = error.__cause__ or error.__context__
    while cause is not None and len(causes) < MAX_CAUSES:
        causes.append(_type_name(cause))
        cause = cause.__cause__ or cause.__context__
    if causes:
        told["causes"] = causes
    return told


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _frames(error: BaseException) -> list[str]:
    # `extract_tb` reads source lines from disk; `walk_tb` gives the places alone.
    places = [(f.f_code.co_filename, line, f.f_code.co_name) for f, line in traceback.walk_tb(error.__traceback__)]
    return [f"{_short(file)}:{line}:{name}" for file, line, name in places[-MAX_FRAMES:]]


def _short(path: str) -> str:
    """From the package on: where it is installed says nothing, and may hold a person's name."""
    path = path.replace("\\", "/")
    if path.startswith(_HOME):
        return path.removeprefix(_HOME)
    for mark in ("/site-packages/", "/lib/python3"):
        if mark in path:
            return path.rpartition(mark)[2]
    return path.rpartition("/")[2]


_HOME = relayd.__file__.replace("\\", "/").removesuffix("relayd/__init__.py")


def _renderer(log_format: str, stream: TextIO) -> Processor:
    if log_format == "console":
        return structlog.dev.ConsoleRenderer(colors=stream.isatty())
    return structlog.processors.JSONRenderer()


def _add_span(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"] = trace.format_trace_id(span.trace_id)
        event["span_id"] = trace.format_span_id(span.span_id)
    return event


def _exception_as_frames(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    given = event.pop("exc_info", None)
    event.pop("stack_info", None)
    error: Any = given
    if isinstance(given, tuple):
        error = given[1]
    elif given and not isinstance(given, BaseException):
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        # Fields that the caller gave (a `reason`, say) are nearer to the point.
        for name, value in describe(error).items():
            event.setdefault(name, value)
    return event


def _is_of(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: redact_value(value) for key, value in event.items()}


class _Foreign(logging.Formatter):
    """A library's record, sent through the same chain as our own lines."""

    def __init__(self, chain: Sequence[Processor]) -> None:
        super().__init__()
        self._chain = chain

    def format(self, record: logging.LogRecord) -> str:
        # A message that is an object (an exception, often) becomes its type: see `redact_value`.
        told = record.getMessage() if _is_of(record.name, _TRUSTED) else record.msg
        event: Any = {"event": told, "logger": record.name, "exc_info": record.exc_info}
        for processor in self._chain:
            event = processor(None, record.levelname.lower(), event)
        return str(event)


class _Lines:
    """Where structlog's lines end. A line that cannot be written (full disk, closed pipe) must not cost a mail."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        try:
            # One write a line: threads share the stream.
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = warn = error = critical = fatal = failure = err = log = exception = msg


class _Handler(logging.StreamHandler[TextIO]):
    """The standard library's door. Python's own answer to an error in here prints the record's arguments."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Nothing: see `_Lines`."""


class OncePerWhile(logging.Filter):
    """Lets each complaint of the telemetry libraries through once per REPEAT_SECONDS."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._silent_until: dict[tuple[str, object], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not _is_of(record.name, ("opentelemetry",)):
            return True
        now = self._monotonic()
        # By template: the arguments (a port, an attempt) differ each time. A name has a handful of templates.
        key = (record.name, record.lineno)
        if now < self._silent_until.get(key, float("-inf")):
            return False
        self._silent_until[key] = now + REPEAT_SECONDS
        return True
