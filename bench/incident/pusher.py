"""SNS as an HTTP endpoint sees it: pushes every notification, gives up waiting after 15 s, and pushes it again."""

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

from bench.incident.policy import DeliveryPolicy
from bench.incident.story import Story

AT_ONCE = 500
"""Pushes that are open at the same time. SNS knows no such limit; the machine does."""
PATH = "/sns-inbound"
CLIENT_ERROR, SERVER_ERROR = 400, 500


class Pusher:
    """One subscription. `ports` are those of the pods that are ready, in turn; without one a push fails at once."""

    def __init__(
        self,
        policy: DeliveryPolicy,
        story: Story,
        *,
        timeout: float,
        ports: Callable[[], Sequence[int]],
        at_once: int = AT_ONCE,
    ) -> None:
        """`timeout`: seconds on this machine."""
        self._delays = tuple(story.real(delay) for delay in policy.delays())
        self._timeout = timeout
        self._ports = ports
        self._turn = itertools.count()
        self._room = asyncio.Semaphore(at_once)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="pusher", daemon=True)
        self.pushes: Counter[str] = Counter()
        """How often each mail was pushed."""
        self.waiting: set[str] = set()
        """Mails that SNS still has."""
        self.given_up: set[str] = set()
        """Mails that SNS will not push again although no push succeeded."""
        self._thread.start()

    def push(self, mail: str, body: bytes) -> None:
        """Deliver one notification; returns at once."""
        self.waiting.add(mail)
        asyncio.run_coroutine_threadsafe(self._deliver(mail, body), self._loop)

    def close(self) -> None:
        """Push nothing more, and break off what is open."""
        asyncio.run_coroutine_threadsafe(self._break_off(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _break_off(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _deliver(self, mail: str, body: bytes) -> None:
        for delay in (0.0, *self._delays):
            await asyncio.sleep(delay)
            self.pushes[mail] += 1
            status = await self._push(body)
            # SNS takes a client error for an answer, too: it does not come back.
            if status < SERVER_ERROR:
                if status >= CLIENT_ERROR:
                    self.given_up.add(mail)
                self.waiting.discard(mail)
                return
        self.given_up.add(mail)
        self.waiting.discard(mail)

    async def _push(self, body: bytes) -> int:
        """The status, or 599 for no answer."""
        ports = self._ports()
        if not ports:
            return 599
        async with self._room:
            try:
                return await asyncio.wait_for(_post(ports[next(self._turn) % len(ports)], body), self._timeout)
            except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
                return 599


async def _post(port: int, body: bytes) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        # No status line at all is an IncompleteReadError: the endpoint died.
        line = await reader.readuntil(b"\n")
        return int(line.split()[1])
    finally:
        with suppress(OSError):
            writer.close()
