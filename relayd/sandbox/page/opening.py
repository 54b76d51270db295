"""Puts the page together from the sandbox's parts."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from relayd.adapters.database import connect
from relayd.ops.masks import MaskView, list_masks
from relayd.sandbox.folder import Folder
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
    folder: Folder
    smtp_port: int
    http_address: str
    switch: Switch
    sent_bytes: Callable[[int], bytes] | None


def open_page(parts: Parts, port: int, stack: ExitStack) -> PageServer:
    """Serve the page on `port` (0: any free one); the stack ends it. Raises OSError."""
    database = connect(parts.folder.database_url, pool_size=2)
    stack.callback(database.close)
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
        masks=lambda: [*map(_mask, list_masks(database)), {"address": f"nobody@{DOMAIN}", "note": "unknown"}],
        facts=_facts(parts),
    )
    server = PageServer(sources, port)
    gauges.start()
    stack.callback(gauges.stop)
    server.start()
    stack.callback(server.stop)
    return server


def _facts(parts: Parts) -> Mapping[str, str | int]:
    return {"smtp_port": parts.smtp_port, "status_url": f"http://{parts.http_address}/"}


def _mask(mask: MaskView) -> dict[str, str]:
    if not mask.enabled:
        note = "disabled"
    elif not mask.owner_active:
        note = "owner inactive"
    else:
        note = "to " + " and ".join(mask.mailboxes[:3])
        note += ", spam too" if mask.spam_handling == "forward" else ""
    return {"address": mask.address, "note": note}
