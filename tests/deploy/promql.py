"""What PromQL expressions of ours ask for, against the catalogue of instruments: no rule may wait for a series that
nobody makes.
"""

import re
from collections.abc import Iterator, Mapping

from relayd.telemetry.catalogue import INSTRUMENTS, prometheus_label, prometheus_name

OF_PROMETHEUS = {"instance", "job", "le"}
"""Labels that a scrape, or a histogram, adds."""
_FOREIGN = re.compile(r"up|target_info|ALERTS|process_[a-z_]+")
_METRIC = re.compile(r"(?<![\w:$\"])((?:relayd|messaging|db|process)_[a-z_]+|up|target_info)\b(?!\s*\()(\{[^}]*\})?")
_MATCHER = re.compile(r'([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")


def _series() -> Iterator[tuple[str, Mapping[str, str]]]:
    for name, made in INSTRUMENTS.items():
        labels = {prometheus_label(label): words for label, words in made.labels.items()}
        whole = prometheus_name(name)
        for suffix in ("_bucket", "_sum", "_count") if made.kind == "histogram" else ("",):
            yield whole + suffix, labels


SERIES = dict(_series())


def faults(expression: str) -> Iterator[str]:
    """What is wrong with an expression: series, labels and values that relayd never makes."""
    known: set[str] = set(OF_PROMETHEUS)
    for metric, matchers in _METRIC.findall(_GROUPING.sub("", expression)):
        if _FOREIGN.fullmatch(metric):
            continue
        if metric not in SERIES:
            yield f"no series {metric}"
            continue
        known |= set(SERIES[metric])
        yield from _wrong_matchers(metric, matchers)
    for grouping in _GROUPING.findall(expression):
        for label in filter(None, (one.strip() for one in grouping.split(","))):
            if label not in known and "relayd:" not in expression:
                yield f"no label {label}"


def _wrong_matchers(metric: str, matchers: str) -> Iterator[str]:
    for label, sign, value in _MATCHER.findall(matchers):
        if label in OF_PROMETHEUS:
            continue
        if label not in SERIES[metric]:
            yield f"{metric} has no label {label}"
            continue
        words = SERIES[metric][label]
        listed = set(re.findall(r"`([^`]+)`", words))
        # Some lists are open: reasons, and what the database is asked.
        if not listed or "..." in words or "$" in value:
            continue
        for one in value.split("|") if "~" in sign else [value]:
            if one and one not in listed:
                yield f"{metric}: {label} is never {one}"


def asked(expression: str) -> set[str]:
    """The series of relayd that an expression names."""
    return {metric for metric, _ in _METRIC.findall(expression) if metric in SERIES}
