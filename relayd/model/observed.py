"""What a daemon that only looks would have done."""

from typing import Literal

Fate = Literal["forward", "reply", "discard", "quarantine", "fail", "tell_owner", "apply_event"]
"""The first five are what becomes of deliveries, each of which ends once. Then what owners would have been told, and
SES's events that would have led to something."""
