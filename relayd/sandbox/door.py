"""The SMTP door: mail from this machine's programs goes in here and meets what SES receiving would do to it."""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from relayd.errors import ConfigurationError, Problem
from relayd.model.address import Address
from relayd.sandbox.receiving import Accepted

MAX_MAIL = 40 * 1024 * 1024
"""Bytes; what SES takes in for an S3 action."""
MAX_RECIPIENTS = 100
"""Of one mail; SES's limit."""
PARALLEL = 8
"""Mails that are stored and published at the same time."""


class Receiver(Protocol):
    """What the door leads to."""

    def accept(self, source: str, recipients: tuple[str, ...], data: bytes, peer: str) -> Accepted: ...


class _Session(SMTP):
    # Mail with lone LFs or endless lines is a thing that relayd must survive, so the door lets it in: one "line" may
    # be a whole mail.
    line_length_limit = MAX_MAIL


class _Hooks:
    """The answers that aiosmtpd asks for; it finds them by these names."""

    def __init__(
        self,
        receiver: Receiver,
        domains: tuple[str, ...],
        pool: ThreadPoolExecutor,
        accepted: Callable[[Accepted], None],
    ) -> None:
        self._receiver = receiver
        self._domains = domains
        self._pool = pool
        self._accepted = accepted

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        envelope: Envelope,
        address: str,
        options: list[str],  # noqa: ARG002
    ) -> str:
        try:
            ours = Address.parse(address).domain in self._domains
        except ValueError:
            return "553 5.1.3 Not an address of the form local@domain"
        if not ours:
            domains = " and ".join(self._domains)
            return f"550 5.1.1 The sandbox takes mail for {domains} only; try shop@{self._domains[0]}"
        if len(envelope.rcpt_tos) >= MAX_RECIPIENTS:
            return f"452 4.5.3 At most {MAX_RECIPIENTS} recipients a mail, as SES has it"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802
        data = envelope.content
        assert isinstance(data, bytes)
        recipients = tuple(envelope.rcpt_tos)
        source = envelope.mail_from or ""
        peer = session.peer[0] if session.peer else "127.0.0.1"
        try:
            accepted = await asyncio.get_running_loop().run_in_executor(
                self._pool, self._receiver.accept, "" if source == "<>" else source, recipients, data, peer
            )
        except Exception as error:  # whatever it was, the sender has to keep the mail and try again
            return f"451 4.3.0 The sandbox could not store the mail ({type(error).__name__}); try again"
        self._accepted(accepted)
        return f"250 2.0.0 OK {accepted.mail_id}"

    async def handle_exception(self, error: Exception) -> str:
        return f"451 4.3.0 {type(error).__name__}"


class _Controller(Controller):
    def factory(self) -> SMTP:
        return _Session(self.handler, **self.SMTP_kwargs)


class Door:
    """The listening SMTP server, on loopback only."""

    def __init__(
        self, receiver: Receiver, domains: tuple[str, ...], port: int, accepted: Callable[[Accepted], None]
    ) -> None:
        """Open it on `port` (0: any free one).

        `accepted` is called with each mail that was let in, on the door's own thread and before the sender is told.
        """
        # It logs addresses at every level and, without a handler, its warnings onto the terminal.
        logging.getLogger("mail.log").setLevel(logging.CRITICAL + 1)
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="door")
        self._controller = _Controller(
            _Hooks(receiver, domains, self._pool, accepted),
            hostname="127.0.0.1",
            # aiosmtpd connects to the port it was given, once, so 0 has to be resolved before; and it takes 5 s to
            # notice a port in use.
            port=open_port(port),
            server_hostname=domains[0],
            ident="relayd sandbox",
            data_size_limit=MAX_MAIL,
            enable_SMTPUTF8=False,
        )
        self._controller.start()

    @property
    def port(self) -> int:
        port: int = self._controller.port
        return port

    def close(self) -> None:
        """Take no more mail. A mail whose DATA has not been answered stays with its sender."""
        self._controller.stop(no_assert=True)
        self._pool.shutdown(wait=True)


def open_port(port: int = 0, option: str = "--smtp-port") -> int:
    """That port of loopback, or any free one for 0. Raises ConfigurationError when it cannot be opened just now."""
    try:
        with socket.create_server(("127.0.0.1", port)) as probe:
            opened: int = probe.getsockname()[1]
            return opened
    except OSError as error:
        what = {errno.EADDRINUSE: "is in use", errno.EACCES: "may not be opened by this user"}.get(error.errno or 0)
        problem = f"the port {what or 'cannot be opened'}"
        hint = f"choose another one with {option}, 0 for any free one"
        raise ConfigurationError([Problem(f"{option} {port}", problem, hint)]) from None
