"""Trace contexts as other people write them: W3C's traceparent and X-Ray's header, which any sender may forge."""

import re

from opentelemetry.trace import SpanContext, TraceFlags

_W3C = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.{0,200})?")
_XRAY = re.compile(r"Root=1-([0-9a-f]{8})-([0-9a-f]{24})(?:;.*?)?;Parent=([0-9a-f]{16})")
_LONGEST = 500


def remote(text: str | None) -> SpanContext | None:
    """A link's other end, from a traceparent or from an X-Ray header. None for anything else."""
    return (_from_traceparent(text) or _from_xray(text)) if text else None


def _from_traceparent(text: str) -> SpanContext | None:
    match = _W3C.fullmatch(text.strip())
    return _context(match[1], match[2], int(match[3], 16) & TraceFlags.SAMPLED) if match else None


def _from_xray(header: str) -> SpanContext | None:
    match = _XRAY.search(header[:_LONGEST])
    return _context(match[1] + match[2], match[3], 0) if match else None


def _context(trace_id: str, span_id: str, flags: int) -> SpanContext | None:
    context = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(flags))
    return context if context.is_valid else None
