"""A right set-up, and that nobody who looks at it leaves a trace."""

import json
from pathlib import Path

from relayd.ops.doctor.findings import Area, Level
from relayd.ops.doctor.table import CHECKS
from tests.doctor.right import Right


def test_a_right_set_up_is_all_ok(right: Right) -> None:
    """Every check is made, and none has anything to say; again after its mail has been looked at."""
    diagnosis = right.diagnose()
    assert right.troubles() == {}
    assert {finding.check for finding in diagnosis.findings} == {check.name for check in CHECKS}
    assert all(finding.verdict.says for finding in diagnosis.findings)


def test_looking_changes_nothing(right: Right) -> None:
    """No queue, object, send or row is other than before: what is called only reads, or is refused."""
    right.clients.sqs.send_message(QueueUrl=right.world.queue_url, MessageBody="mail")
    before = right.aws.counts()
    database = Path(right.folder / "relayd.db").read_bytes()
    right.diagnose()
    after = right.aws.counts()
    for kind in ("queues", "objects", "sent", "undeliverable"):
        assert after[kind] == before[kind]
    assert Path(right.folder / "relayd.db").read_bytes() == database
    assert {path.name for path in right.folder.iterdir() if path.stat().st_size} <= {
        "relayd.db",
        "relayd.db-shm",
        "sns.pem",
    }
    made = {name for name, count in after["calls"].items() if count != before["calls"].get(name)}
    dry = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:SendMessage", "ses:SendEmail"}
    reading = {
        name for name in made if name.partition(":")[2].startswith(("Get", "List", "Describe", "Head", "Simulate"))
    }
    assert made == reading | dry
    for name in dry:
        refused = sum(count for error, count in after["errors"].items() if error.partition(" ")[0] == name)
        assert refused == after["calls"][name] - before["calls"].get(name, 0)


def test_each_area_stands_alone(right: Right) -> None:
    """Whatever area is chosen, its checks have what they need, and no others are made."""
    for area in Area:
        diagnosis = right.diagnose(area)
        assert {finding.area for finding in diagnosis.findings} == {area}
        assert diagnosis.counts == {"ok": len(diagnosis.findings), "unchecked": 0, "warning": 0, "failure": 0}


def test_json_has_stable_keys(right: Right) -> None:
    """For scripts: the same keys for every finding, texts as values."""
    for finding in right.diagnose().findings:
        told = finding.as_json()
        assert list(told) == ["check", "area", "subject", "result", "says", "evidence", "hint", "commands"]
        assert told["result"] in {level.value for level in Level}
        assert all(isinstance(value, str) for value in told["evidence"].values())
        json.dumps(told)


def test_names_tell_their_area() -> None:
    """Each check is called once, and after its area."""
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    assert {check.area for check in CHECKS} == set(Area)
    for check in CHECKS:
        assert check.protects
        assert not check.protects.endswith(".")
