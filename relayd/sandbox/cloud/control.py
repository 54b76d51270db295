"""What the sandbox and the tests ask of the emulator beside AWS: the truth, faults, settings, a fresh start."""

import base64
import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from relayd.sandbox.cloud.calls import Answer, json_answer
from relayd.sandbox.cloud.cloud import Cloud
from relayd.sandbox.cloud.faults import Faults
from relayd.sandbox.cloud.queues import STATES, Stored
from relayd.sandbox.cloud.records import PAGE
from relayd.sandbox.cloud.ses_receiving import Incoming

PREFIX = "/_relayd/"
MAX_BODY = 60 * 1024 * 1024
"""Bytes: a mail of 40 MB in base64, and what goes with it."""


class World(Protocol):
    """What there is to control."""

    cloud: Cloud
    faults: Faults

    def reset(self) -> None: ...


def answer(world: World, method: str, path: str, query: Mapping[str, str], body: bytes) -> Answer:
    found = _ROUTES.get((method, path.removeprefix(PREFIX)))
    if found is None:
        return _problem(404, "there is nothing here")
    try:
        return found(world, query, body)
    except ValueError as error:
        return _problem(400, str(error))


def _sent(world: World, query: Mapping[str, str], body: bytes) -> Answer:  # noqa: ARG001
    raw = query.get("raw", "1") != "0"
    return json_answer({"sent": world.cloud.sends.page(int(query.get("since", "0")), raw=raw)})


def _messages(world: World, query: Mapping[str, str], body: bytes) -> Answer:  # noqa: ARG001
    """What lies in a queue, whoever may see it, after the message of that number; looking takes nothing."""
    queue = next((one.queue for one in world.cloud.sqs.queues if one.name == query.get("queue")), None)
    if queue is None:
        raise ValueError("there is no such queue")
    since = int(query.get("since", "0"))
    page = itertools.islice((stored for stored in queue if stored.number > since), PAGE)
    return json_answer({"messages": [_message(stored) for stored in page]})


def _message(stored: Stored) -> dict[str, Any]:
    return {
        "number": stored.number,
        "message_id": stored.message_id,
        "body": stored.body,
        "attributes": stored.attributes or {},
        "receive_count": stored.count,
        "state": STATES[stored.state],
    }


def _receive(world: World, query: Mapping[str, str], body: bytes) -> Answer:  # noqa: ARG001
    """A mail comes in from outside, and goes the way of the active receipt rules."""
    told: Any = json.loads(body)
    try:
        data = base64.b64decode(told["data"], validate=True)
        mail = Incoming(**told | {"recipients": tuple(told["recipients"]), "data": data})
    except (TypeError, KeyError) as error:
        raise ValueError(f"this is no mail: {error}") from None
    return json_answer(world.cloud.receiving.receive(mail))


def _counts(world: World, query: Mapping[str, str], body: bytes) -> Answer:  # noqa: ARG001
    return json_answer(world.cloud.told())


def _reset(world: World, query: Mapping[str, str], body: bytes) -> Answer:  # noqa: ARG001
    world.reset()
    return json_answer({})


def _get_faults(world: World, query: Mapping[str, str], body: bytes) -> Answer:  # noqa: ARG001
    return json_answer(world.faults.told())


def _put_faults(world: World, query: Mapping[str, str], body: bytes) -> Answer:  # noqa: ARG001
    rules = json.loads(body)
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise ValueError("faults are a list of rules, each an object")
    world.faults.replace(rules)
    return json_answer(world.faults.told())


def _delete_faults(world: World, query: Mapping[str, str], body: bytes) -> Answer:  # noqa: ARG001
    world.faults.replace([])
    return json_answer([])


def _get_settings(world: World, query: Mapping[str, str], body: bytes) -> Answer:  # noqa: ARG001
    return json_answer(world.cloud.settings.told())


def _put_settings(world: World, query: Mapping[str, str], body: bytes) -> Answer:  # noqa: ARG001
    wanted: Any = json.loads(body)
    if not isinstance(wanted, dict):
        raise ValueError("settings are an object")  # noqa: TRY004 - what control tells as status 400
    world.cloud.settings.change(wanted)
    return json_answer(world.cloud.settings.told())


def _certificate(world: World, query: Mapping[str, str], body: bytes) -> Answer:  # noqa: ARG001
    return certificate(world.cloud)


def certificate(cloud: Cloud) -> Answer:
    """SNS's certificate, wherever it is asked for."""
    return Answer(headers=[(b"content-type", b"application/x-pem-file")], body=(cloud.signing.certificate,))


def _problem(status: int, text: str) -> Answer:
    return json_answer({"problem": text}, status=status)


_ROUTES: Mapping[tuple[str, str], Callable[[World, Mapping[str, str], bytes], Answer]] = {
    ("GET", "sent"): _sent,
    ("GET", "messages"): _messages,
    ("GET", "counts"): _counts,
    ("POST", "receive"): _receive,
    ("POST", "reset"): _reset,
    ("GET", "faults"): _get_faults,
    ("PUT", "faults"): _put_faults,
    ("DELETE", "faults"): _delete_faults,
    ("GET", "settings"): _get_settings,
    ("PUT", "settings"): _put_settings,
    ("GET", "certificate.pem"): _certificate,
}
