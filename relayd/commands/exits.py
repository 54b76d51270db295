"""How commands end: the numbers that scripts go by."""

DONE = 0
FAILED = 1
"""A foreseen error ended the command: an outage, a refusal."""
USAGE = 2
"""Wrong usage, or a configuration that cannot work; click's own number."""
NOT_FINISHED = 3
"""The time that was given ended before the work did. What is left can be done by the same command later."""
FAILURES = 4
"""It came to its end, but not everything could be done."""
INTERRUPTED = 130
"""Ctrl-C, as shells count it."""
