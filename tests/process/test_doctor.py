"""`relayd doctor`, as a person or a script runs it: what it prints, how it exits, and that it is quick to say so."""

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

from relayd.ops.doctor.table import CHECKS
from relayd.sandbox.care import take_care
from tests.process.cloud import Cloud, clean_environment, eventually

pytestmark = pytest.mark.process


def environment(cloud: Cloud) -> dict[str, str]:
    return cloud.environment | cloud.with_events


def test_a_bare_set_up_and_one_with_care(cloud: Cloud) -> None:
    """4 while there are failures, with the whole story on standard output; 0 when only warnings are left."""
    cloud.add_mask()
    bare = cloud.relayd("doctor", "--json", environment=environment(cloud))
    assert bare.returncode == 4, bare.stderr
    assert bare.stderr == ""
    found: list[dict[str, Any]] = json.loads(bare.stdout)["findings"]
    wrong = {one["check"] for one in found if one["result"] == "failure"}
    assert wrong == {"buckets.policy"}
    assert {one["check"] for one in found} == {check.name for check in CHECKS}
    take_care(cloud.world, cloud.clients)
    careful = cloud.relayd("doctor", environment=environment(cloud))
    assert careful.returncode == 0, careful.stdout
    *_, summary = careful.stdout.splitlines()
    # The sandbox's topic that is let in on purpose.
    assert summary.startswith("0 failures, 1 warning, ")
    assert summary.endswith(" ok")
    assert "  WARN queues.policy (" in careful.stdout
    assert cloud.world.foreign_topic_arn.rpartition(":")[2] in careful.stdout
    assert "\x1b[" not in careful.stdout


def test_ctrl_c_ends_it_at_once(cloud: Cloud) -> None:
    """While AWS hangs: 130, without a traceback, and without waiting for AWS."""
    cloud.add_mask()
    cloud.fault("sqs:GetQueueAttributes", "hang")
    command = [sys.executable, "-m", "relayd", "doctor"]
    with subprocess.Popen(
        command,
        env=clean_environment() | environment(cloud),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        aws: Any = cloud.aws
        assert eventually(lambda: any(one["struck"] for one in aws.rules()), 30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=5)
    assert process.returncode == 130
    assert (out, err) == ("", "interrupted; nothing was changed\n")
