"""The embedded AWS, seen from the process that started it: faults, settings and what it counts."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from relayd.errors import RelaydError
from relayd.sandbox.child import ChildAws


class EmbeddedAws(ChildAws):
    """The emulator's process."""

    def __init__(self, log: Path, *, certificate_url: str = "aws") -> None:
        """Begin to start it; its own complaints go to `log`. `endpoint` waits until it is there.

        `certificate_url`: what notifications name as SigningCertURL. `aws` is what relayd takes together with a pinned
        certificate; `own` is the emulator's own plain-http URL, which relayd refuses as foreign.
        """
        super().__init__("relayd.sandbox.cloud", log, "--certificate-url", certificate_url, sent_path="/_relayd/sent")

    def counts(self) -> dict[str, Any]:
        """Calls and errors by operation, depths of the queues, objects by bucket."""
        counts: dict[str, Any] = self._ask("GET", "counts")
        return counts

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """All that lies in the queue of this name, leased or not, in the order in which it came."""
        found: list[dict[str, Any]] = []
        while page := self._ask("GET", f"messages?queue={queue}&since={found[-1]['number'] if found else 0}")[
            "messages"
        ]:
            found += page
        return found

    def receive(self, source: str, recipients: Sequence[str], data: bytes, **more: str) -> dict[str, Any]:
        """Let a mail come in from outside: it goes through the active receipt rules. Tells its `mail_id` (None where
        nobody takes it), the `head` that it was stored with, what was `handled` by which rule and for whom, and which
        recipients were `refused`. `more` is what else `relayd.sandbox.cloud.ses_receiving.Incoming` knows.
        """
        host = self.endpoint.partition("//")[2]
        mail = {"source": source, "recipients": list(recipients), "data": base64.b64encode(data).decode(), "host": host}
        received: dict[str, Any] = self._ask("POST", "receive", mail | more)
        return received

    def faults(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Set these rules instead of the ones before; `relayd.sandbox.cloud.faults` has the kinds."""
        self._ask("PUT", "faults", list(rules))

    def rules(self) -> list[dict[str, Any]]:
        """The rules that are set, each with how often it has struck."""
        rules: list[dict[str, Any]] = self._ask("GET", "faults")
        return rules

    def clear_faults(self) -> None:
        """Let everything work again. Calls that hang go on."""
        self._ask("DELETE", "faults")

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change what is named, and tell all; `relayd.sandbox.cloud.settings` has the names."""
        settings: dict[str, Any] = self._ask("PUT", "settings", changes)
        return settings

    def reset(self) -> None:
        """Forget everything but the signing key."""
        self._ask("POST", "reset")

    def certificate(self) -> bytes:
        """What its SNS signs with, as PEM."""
        return self._http.request("GET", f"{self.endpoint}/_relayd/certificate.pem").data

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        answer = self._http.request(method, f"{self.endpoint}/_relayd/{path}", body=data)
        told = answer.json()
        if answer.status != 200:
            raise RelaydError("sandbox_aws", f"the embedded AWS refuses: {told.get('problem')}")
        return told
