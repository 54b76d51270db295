"""What a run has shown, for people, and whether it has proven what it was for."""

from collections.abc import Mapping
from typing import Any

SHOWN = 20
"""Wrong ends that are listed; JSON has them all."""
CONSERVATION = ("published", "forwarded", "discarded", "dead_lettered", "queued", "lost")


def proven(result: Mapping[str, Any]) -> bool:
    """Whether every mail has its one right end, and every double is explained."""
    return (
        result["lost"] == 0
        and result["unexplained"] == 0
        and not result["wrong"]
        and result["balanced"]
        and result["drained"]
        and result["crashes"] == 0
    )


def report(result: Mapping[str, Any]) -> str:
    """All figures, one a line; the equation first."""
    ends = " + ".join(f"{result[name]} {name.replace('_', '-')}" for name in CONSERVATION[1:])
    lines = [f"{result['published']} published = {ends}"]
    for name, value in result.items():
        if name in (*CONSERVATION, "wrong"):
            continue
        told = ", ".join(f"{key}: {one}" for key, one in value.items()) if isinstance(value, Mapping) else value
        lines.append(f"{name:28} {told}")
    wrong = result["wrong"]
    lines += [f"wrong: {one}" for one in wrong[:SHOWN]]
    if len(wrong) > SHOWN:
        lines.append(f"wrong: {len(wrong) - SHOWN} more")
    lines.append("proven" if proven(result) else "NOT proven")
    return "\n".join(lines)
