"""The AWS CLI, as far as the doctor's commands need it: words to a call of boto3, by the service's own model.

It is strict where the real one is: an option that the operation does not have, a structure that is no JSON, or a value
of the wrong kind is an error.
"""

import json
import shlex
from typing import Any

import botocore.session
from botocore import xform_name
from botocore.model import Shape

_SERVICES = {"s3api": "s3"}
_RENAMED = {("sns", "subscribe", "notification-endpoint"): "Endpoint"}
"""Options that the CLI calls otherwise, because it has one of that name for itself."""


class CommandLine:
    """Runs the commands with the clients of a test."""

    def __init__(self, client: Any) -> None:
        """`client` makes one, given the service's name."""
        self._client = client
        self._models = botocore.session.get_session()

    def run(self, line: str) -> dict[str, Any]:
        """Do what the command says, and return AWS's answer."""
        program, service, command, *options = shlex.split(line)
        assert program == "aws", line
        service = _SERVICES.get(service, service)
        model = self._models.get_service_model(service)
        operations = {xform_name(name, "-"): name for name in model.operation_names}
        operation = model.operation_model(operations[command])
        parameters = self._parameters(service, command, operation.input_shape, options)
        call = getattr(self._client(service), xform_name(operation.name))
        answer: dict[str, Any] = call(**parameters)
        return answer

    def _parameters(self, service: str, command: str, shape: Any, options: list[str]) -> dict[str, Any]:
        members = {xform_name(name, "-"): name for name in shape.members} if shape is not None else {}
        parameters: dict[str, Any] = {}
        words = iter(options)
        for word in words:
            assert word.startswith("--"), word
            option = word[2:]
            if option == "region":
                next(words)
                continue
            name = _RENAMED.get((service, command, option)) or members.get(option)
            if name is None:
                name = members[option.removeprefix("no-")]
            member: Shape = shape.members[name]
            if member.type_name == "boolean":
                parameters[name] = not option.startswith("no-")
            else:
                parameters[name] = _value(member, next(words))
        missing = set(shape.required_members) - parameters.keys() if shape is not None else set()
        assert not missing, f"{command} needs {missing}"
        return parameters


def _value(shape: Shape, text: str) -> Any:
    if shape.type_name in ("structure", "list", "map"):
        return json.loads(text)
    if shape.type_name in ("integer", "long"):
        return int(text)
    return float(text) if shape.type_name in ("double", "float") else text
