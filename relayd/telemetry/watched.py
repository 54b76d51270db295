"""Gauges: nobody counts for them, they ask whoever knows each time that the metrics are collected."""

from collections.abc import Callable, Iterable, Mapping

import structlog
from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from relayd.telemetry import names
from relayd.telemetry.catalogue import INSTRUMENTS, Kind

Source = Callable[[], Mapping[str, float]]
"""Tells a gauge's values, by the label that tells them apart; the key is empty where there is but one."""

_log = structlog.get_logger()
_meter = metrics.get_meter(names.SCOPE)
_sources: dict[str, dict[tuple[tuple[str, str], ...], tuple[str, Source]]] = {}


def _watched(name: str, kind: Kind) -> None:
    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        for fixed, (by, source) in list(_sources.get(name, {}).items()):
            for value, found in _told(name, source).items():
                yield Observation(found, {**dict(fixed), **({by: value} if value else {})})

    make = _meter.create_observable_gauge if kind == "gauge" else _meter.create_observable_up_down_counter
    make(name, [observe], unit=INSTRUMENTS[name].unit, description=INSTRUMENTS[name].meaning)


def _told(name: str, source: Source) -> Mapping[str, float]:
    try:
        return source()
    except Exception:
        # One gauge that cannot be told must not take all the others with it.
        _log.warning("telemetry_hook_failed", service="metrics", operation=name, exc_info=True)
        return {}


for _name, _instrument in INSTRUMENTS.items():
    if _instrument.kind in ("gauge", "sum"):
        _watched(_name, _instrument.kind)


def watch(name: str, source: Source, by: str = "", **labels: str) -> None:
    """Ask `source` at each collection for a gauge's values. They differ by the label `by` and share `labels`; a later
    source for the same labels takes this one's place.
    """
    _sources.setdefault(name, {})[tuple(sorted(labels.items()))] = (by, source)
