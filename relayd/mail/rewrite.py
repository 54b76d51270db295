"""The forwarded mail: a header from an allow list, and below it the body's own bytes but for what was asked for."""

from relayd.mail.forward_edits import WithBanner, WithoutTrackers
from relayd.mail.forward_header import header
from relayd.mail.letter import Letter
from relayd.mail.lines import CRLF
from relayd.mail.plans import ForwardPlan, Rewritten
from relayd.mail.repair import repair

__all__ = ["ForwardPlan", "Rewritten", "forward"]


def forward(letter: Letter, plan: ForwardPlan) -> Rewritten:
    """The mail for a mask's owner. Raises PermanentError for a plan that no header can carry, never for a mail."""
    without = WithoutTrackers(plan.trackers, plan.tracker_warning) if plan.trackers is not None else None
    repaired = repair(letter.body, letter.fields, without)
    parts = repaired.parts
    count = without.count if without is not None else None
    if plan.banner is not None:
        # In a pass of its own: it stands above all that is counted for it.
        repaired = repair(bytes(repaired.body), repaired.fields, WithBanner(plan.banner, count))
        parts += repaired.parts
    data = b"".join((*header(letter, plan, repaired.fields), CRLF, repaired.body))
    return Rewritten(data, parts, repaired.unsendable, count or 0)
