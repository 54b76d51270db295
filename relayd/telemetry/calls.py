"""Calls to what relayd depends on: each is timed and told to listeners, and is a span where no library makes one."""

from collections.abc import Callable, Mapping
from time import perf_counter
from types import TracebackType
from typing import Self

import structlog
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from relayd.errors import Dependency, HoldError, InDoubtError, RelaydError, TransientError
from relayd.telemetry import instruments, names
from relayd.telemetry.words import label

CallListener = Callable[[Dependency, str, float, bool], None]
"""Told of each call to a dependency: its operation, how many seconds it took, and whether the dependency failed. It is
called by the thread that called, so it must not block."""

_log = structlog.get_logger()
_tracer = trace.get_tracer(names.SCOPE)
_listeners: list[CallListener] = []


def hear_calls(listener: CallListener) -> Callable[[], None]:
    """Tell `listener` of every call. Returns what stops the telling."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


class Call:
    """One call to a dependency, as a context: timed, whether it fails or not."""

    __slots__ = ("_dependency", "_operation", "began")

    def __init__(self, dependency: Dependency, operation: str) -> None:
        self._dependency: Dependency = dependency
        self._operation = operation

    def __enter__(self) -> Self:
        self.began = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended(perf_counter() - self.began, error)

    def _ended(self, seconds: float, error: BaseException | None) -> str | None:
        """Returns the word for what went wrong."""
        word = None if error is None else error_type(error)
        instruments.call_ended(self._dependency, self._operation, seconds, word)
        for listener in _listeners:
            try:
                listener(self._dependency, self._operation, seconds, error is not None and is_fault(error))
            except Exception:
                # It would turn a send that succeeded into one that failed.
                _log.warning(
                    "telemetry_hook_failed", service=self._dependency, operation=self._operation, exc_info=True
                )
        return word


class QueueCall(Call):
    """One call to SQS."""

    __slots__ = ("_destination",)

    def __init__(self, operation: str, destination: str) -> None:
        """`destination`: the name of the queue that it is about."""
        super().__init__("queue", operation)
        self._destination = destination

    def _ended(self, seconds: float, error: BaseException | None) -> str | None:
        word = super()._ended(seconds, error)
        instruments.queue_call_ended(self._operation, self._destination, seconds, word)
        return word


class TracedCall(Call):
    """A call that is a CLIENT span below the current one where that is recorded, and else no span at all: what chores
    ask is nobody's mail.
    """

    __slots__ = ("_name", "_span")

    def __init__(self, dependency: Dependency, operation: str, name: str) -> None:
        super().__init__(dependency, operation)
        self._name = name

    def __enter__(self) -> Self:
        self._span = self._begin() if trace.get_current_span().is_recording() else None
        return super().__enter__()

    def _begin(self) -> Span:
        return client_span(self._name)

    def tell(self, name: str, value: float) -> None:
        """An attribute of the span, where there is one."""
        if self._span is not None:
            self._span.set_attribute(name, value)

    def _ended(self, seconds: float, error: BaseException | None) -> str | None:
        word = super()._ended(seconds, error)
        if self._span is not None:
            if word is not None:
                fail(self._span, word)
            self._span.end()
        return word


def client_span(name: str, attributes: Mapping[str, str] | None = None) -> Span:
    """A span of a call, below the current one, that does not become current."""
    return _tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)


def fail(span: Span, word: str) -> None:
    """Mark a span as failed, by a word and with no text."""
    span.set_attribute(names.ERROR_TYPE, label(word))
    span.set_status(Status(StatusCode.ERROR))


def is_fault(error: BaseException) -> bool:
    """Whether an error speaks against the dependency, and not about what it was asked: a mail that SES refuses, a claim
    that somebody else has, memory that is full.
    """
    if isinstance(error, TransientError):
        return error.charged or error.dependency is not None
    return isinstance(error, HoldError | InDoubtError) or not isinstance(error, RelaydError)


def error_type(error: BaseException) -> str:
    """What may be told about an error in one word: our reason, else its type."""
    return label(error.reason if isinstance(error, RelaydError) else type(error).__name__)
