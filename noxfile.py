"""What the suite in one virtual environment cannot show: every Python that we name, and a release as
others install it.
"""

import json
import subprocess
import tarfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["tests"]

PYTHONS = nox.project.python_versions(nox.project.load_toml("pyproject.toml"))
"""From the classifiers. Those that are not on this machine are skipped, or with $CI set, are an error."""
DIST = Path("dist")
ONLY_IN_GIT = {".gitignore"}
"""Says nothing to whoever has no work tree; so do the files of CI, under .ci."""
ONLY_IN_SDIST = {"PKG-INFO", "setup.cfg"}


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The suite; `nox -s tests -- -m "not process"` is its quick part, without daemons."""
    session.install("--require-hashes", "-r", "requirements/dev.txt")
    session.install("--no-deps", "-e", ".")
    session.run("python", "-m", "pytest", *(session.posargs or ["-n", "4", "--dist", "worksteal"]))


@nox.session
def dist(session: nox.Session) -> None:
    """The wheel and the sdist, in dist/: the wheel made from the sdist, the sdist complete."""
    session.install("--require-hashes", "-r", "requirements/release.txt")
    for left in [*DIST.glob("relayd-*"), Path("relayd.egg-info/SOURCES.txt")]:
        # What setuptools remembers of an earlier build would be packed again.
        left.unlink(missing_ok=True)
    session.run("python", "-m", "build", "--no-isolation")
    session.run("twine", "check", "--strict", *map(str, DIST.glob("relayd-*")))
    missing, foreign = differences(*DIST.glob("relayd-*.tar.gz"))
    if missing or foreign:
        session.error(f"the sdist is not the work tree: missing {missing}, not in git {foreign}")


@nox.session(python=PYTHONS)
def wheel(session: nox.Session) -> None:
    """That wheel with its locked requirements and nothing else: a hundred mails through the sandbox."""
    (built,) = DIST.glob("relayd-*.whl")
    session.install("--require-hashes", "-r", "requirements/sandbox.txt")
    session.install("--no-deps", "--no-index", str(built))
    # Away from the work tree, or Python would import that.
    session.chdir(session.create_tmp())
    session.run("python", "-m", "pip", "check")
    said = session.run("relayd", "sandbox", "--mails", "100", "--exit", "--json", silent=True)
    told = json.loads(str(said).splitlines()[-1])
    session.log(f"sandbox: {told}")
    if told["lost"] or told["duplicates"] or told["sent"] != 100:
        session.error("the sandbox lost or doubled mail")


def differences(sdist: Path) -> tuple[list[str], list[str]]:
    """What git knows (or would, were it added) and the sdist has not; and the other way round."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - whichever git is here
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    known = {name for name in listed.split("\0") if name and not name.startswith(".ci/")} - ONLY_IN_GIT
    with tarfile.open(sdist) as archive:
        packed = {member.name.partition("/")[2] for member in archive if member.isfile()}
    packed = {name for name in packed if not name.startswith("relayd.egg-info/")} - ONLY_IN_SDIST
    return sorted(known - packed), sorted(packed - known)
