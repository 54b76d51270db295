"""Whatever may answer at a replica's address: JSON of any shape, under the keys that are looked for."""

from hypothesis import strategies as st

_NUMBERS = st.integers() | st.floats() | st.sampled_from([1e12, -1e12, 1e308, 0, -1, 1_700_000_000])
JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
KEYS = (
    "replica", "seen", "uptime_seconds", "against", "since", "stopping", "slots", "in_flight", "wedged", "dependencies",
    "recent", "minute", "quarter_hour", "seconds", "messages", "calls", "slowest", "failed", "oldest_seconds", "ready",
)  # fmt: skip
