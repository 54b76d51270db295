"""What may stand in a label: words, and of each kind only so many, whatever those think of who choose them."""

import re

MOST_WORDS = 200
"""Different values that one label may have. Reason words are the most, and about 120."""
OTHER = "other"

_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_known: dict[str, dict[str, str]] = {}


def label(word: str) -> str:
    """The word, if it is one: a text that slipped in would be a new time series each time, and may be personal."""
    return word if _WORD.fullmatch(word) else OTHER


def bounded(kind: str, word: str) -> str:
    """`label`, with an end to how many there may be of each kind."""
    known = _known.setdefault(kind, {})
    found = known.get(word)
    if found is None:
        found = label(word)
        if len(known) >= MOST_WORDS:
            # Not remembered: neither may the memory of what was refused grow.
            return known.get(found, OTHER)
        known[word if found == word else OTHER] = found
    return found
