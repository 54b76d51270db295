"""Puts the page together from the sandbox's parts."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from relayd.adapters.database import Database
from relayd.ops.domain_rules import RuleView, list_rules
from relayd.ops.masks import MaskView, list_masks
from relayd.sandbox.page.app import Sources
from relayd.sandbox.page.book import Book
from relayd.sandbox.page.gauges import Depth, Gauges, Health
from relayd.sandbox.page.outbox import Outbox
from relayd.sandbox.page.server import PageServer
from relayd.sandbox.page.switch import Switch
from relayd.sandbox.traces import Traces
from relayd.sandbox.watch import queue_counts
from relayd.sandbox.world import DOMAIN, Clients, World


@dataclass(frozen=True, slots=True)
class Parts:
    """What the sandbox has and the page needs."""

    book: Book
    traces: Traces
    clients: Clients
    world: World
    database: Database
    environment: Path
    """The file that lets a shell find this sandbox."""
    smtp_port: int
    http_address: str
    switch: Switch
    sent_bytes: Callable[[int], bytes] | None


def open_page(parts: Parts, port: int, stack: ExitStack) -> PageServer:
    """Serve the page on `port` (0: any free one); the stack ends it. Raises OSError."""
    health = Health(parts.http_address)
    sqs, queue_url = parts.clients.sqs, parts.world.queue_url
    gauges = Gauges(lambda: Depth(*queue_counts(sqs, queue_url)), health.probe, health.work, parts.book.latency)
    sources = Sources(
        book=parts.book,
        traces=parts.traces,
        gauges=gauges,
        switch=parts.switch,
        send=Outbox(parts.smtp_port).send,
        sent_bytes=parts.sent_bytes,
        masks=lambda: _addresses(parts.database),
        facts=_facts(parts),
    )
    server = PageServer(sources, port)
    gauges.start()
    stack.callback(gauges.stop)
    server.start()
    stack.callback(server.stop)
    return server


def _facts(parts: Parts) -> Mapping[str, str | int]:
    return {
        "smtp_port": parts.smtp_port,
        "status_url": f"http://{parts.http_address}/",
        "environment": str(parts.environment),
    }


def _addresses(database: Database) -> list[dict[str, str]]:
    """What may be written to: all masks, an example for each domain rule, and one address that is none."""
    unknown = {"address": f"nobody@{DOMAIN}", "note": "unknown"}
    return [*map(_mask, list_masks(database)), *map(_example, list_rules(database)), unknown]


def _example(rule: RuleView) -> dict[str, str]:
    address = f"{rule.pattern.replace('*', 'anything')}@{rule.domain}"
    return {"address": address, "note": f"made by the rule {rule.pattern}, to {' and '.join(rule.mailboxes[:3])}"}


def _mask(mask: MaskView) -> dict[str, str]:
    if not mask.enabled:
        return {"address": mask.address, "note": "disabled"}
    if not mask.owner_active:
        return {"address": mask.address, "note": "owner inactive"}
    reached = [box for box in mask.mailboxes if box not in mask.unverified]
    extras = {
        "a banner": mask.banner,
        "no trackers": mask.remove_trackers,
        "no lists": mask.block_lists,
        "spam too": mask.spam_handling == "forward",
        "paused": bool(mask.paused),
        "one unverified": bool(mask.unverified),
    }
    told = [f"to {' and '.join(reached[:3])}", *(word for word, there in extras.items() if there)]
    return {"address": mask.address, "note": ", ".join(told)}
