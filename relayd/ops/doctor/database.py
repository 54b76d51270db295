"""The database: whether it is the right one, of the right version, and fit for all who use it."""

from relayd.adapters.schema import HEAD
from relayd.clients import EVENTS_THREADS
from relayd.ops.doctor.facts import Facts
from relayd.ops.doctor.findings import UnknownError, Verdict, failure, listed, ok, warning
from relayd.ops.doctor.local_facts import DatabaseFacts

NETWORKED = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.ceph",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "nfs",
        "nfs4",
        "ocfs2",
        "smb3",
        "smbfs",
        "virtiofs",
    }
)
"""File systems over a network, whose locks SQLite cannot rely on."""


def of(facts: Facts) -> DatabaseFacts:
    if facts.database is None:
        # That there is no URL is said of the settings.
        facts.setup.database_url  # noqa: B018 - raises
        raise UnknownError("nobody looked")
    return facts.database


def usable(facts: Facts) -> Verdict:
    """Whether it answers, and takes what is written."""
    found = of(facts)
    evidence = {"kind": found.kind}
    if found.trouble:
        return failure(f"The database: {found.trouble}.", hint=found.hint, evidence=evidence)
    if not found.writable.known:
        if found.kind == "sqlite":
            says = "The database's file, or its folder, may not be written by this user."
            return failure(says, hint="give both to the user that runs relayd", evidence=evidence)
        says = "The database takes nothing that is written: it is a standby, or read-only."
        return failure(says, hint="name the primary server in RELAYD_DATABASE_URL", evidence=evidence)
    return ok("The database answers, and can be written.", **evidence)


def migrations(facts: Facts) -> Verdict:
    """Whether the tables are those of this version."""
    found = of(facts)
    version = found.version.known
    evidence = {"version": version or None, "needed": HEAD}
    if version == HEAD:
        return ok(f"The tables are at version {HEAD}.", **evidence)
    if not version:
        return failure("The database has no tables.", "relayd db upgrade", evidence=evidence)
    if found.suitable.value:
        says = f"The tables are of a newer relayd ({version}); this one ({HEAD}) still works on them."
        return warning(says, hint="finish the update, or the way back: all replicas at one version", evidence=evidence)
    if version not in found.known_versions:
        return failure(
            f"The tables are at version {version}, on which this relayd does not work: a newer one made them.",
            hint="run the newer relayd, or restore the database from before",
            evidence=evidence,
        )
    if found.kind == "sqlite":
        says = f"The tables are at version {version}; the next start of relayd brings them to {HEAD}."
        return warning(says, "relayd db upgrade", evidence=evidence)
    says = f"The tables are at version {version}, and this relayd needs {HEAD}: it does not start."
    return failure(says, "relayd db upgrade", evidence=evidence)


def secret(facts: Facts) -> Verdict:
    """Whether the database was used with this secret: another deployment's directory would be served."""
    found = of(facts)
    facts.setup.secrets  # noqa: B018 - raises where there is none
    if not found.secret.known:
        return failure(
            "RELAYD_SECRET is not the one that this database was used with: relayd does not start.",
            hint="set the old secret, or put the new one in front of it: RELAYD_SECRET=new,old",
        )
    return ok("The secret fits the database.")


def directory(facts: Facts) -> Verdict:
    """Whether there is anybody to forward mail to."""
    if of(facts).empty.known:
        return failure(
            "There are no masks, and no rules: relayd does not start, for it would discard all mail.",
            f"relayd masks add shop@{facts.setup.mail_domains[0]} --to YOU@EXAMPLE.ORG",
            hint="unless it is the wrong database: see RELAYD_DATABASE_URL",
        )
    return ok("There are masks.", domains=len(of(facts).domains.known))


def domain(name: str, facts: Facts) -> Verdict:
    """Whether mail to one of our domains can find anybody."""
    found = of(facts)
    if found.empty.known:
        raise UnknownError("there are no masks at all", "see above")
    count = found.domains.known.get(name, 0)
    if not count:
        return warning(
            f"There is no mask on {name}, and no rule for it: all of its mail is discarded.",
            f"relayd masks add shop@{name} --to YOU@EXAMPLE.ORG",
            hint=f"or take {name} out of RELAYD_MAIL_DOMAINS",
            evidence={name: 0},
        )
    return ok(f"On {name}: {count} mask{'' if count == 1 else 's'} and rules.", **{name: count})


def foreign_domains(facts: Facts) -> Verdict:
    """Whether masks are on domains that relayd does not count as its own."""
    known = of(facts).domains.known
    ours = facts.setup.mail_domains
    others = sorted(name for name in known if name not in ours)
    if others:
        return warning(
            f"There are masks on {listed(others)}, not in RELAYD_MAIL_DOMAINS: their mail is discarded.",
            f"export RELAYD_MAIL_DOMAINS={','.join((*ours, *others))}",
            evidence={name: known[name] for name in others},
        )
    return ok("All masks are on domains of ours.")


def replicas(facts: Facts) -> Verdict:
    """Whether the database is fit for as many as use it."""
    found = of(facts)
    running = found.replicas.known
    evidence = {"replicas": running, "kind": found.kind, "file system": found.filesystem or None}
    if found.kind == "sqlite" and running > 1:
        return failure(
            f"{running} replicas share a SQLite file: it is made for one host.",
            hint="run one replica, or move to PostgreSQL: RELAYD_DATABASE_URL=postgresql://...",
            evidence=evidence,
        )
    if found.kind == "sqlite" and found.filesystem in NETWORKED:
        return warning(
            f"The SQLite file lies on a network file system ({found.filesystem}), whose locks cannot be relied on.",
            hint="put it on a local disk, or move to PostgreSQL",
            evidence=evidence,
        )
    return ok(f"{running} replica{'s' if running != 1 else ''} run{'s' if running == 1 else ''}.", **evidence)


def connections(facts: Facts) -> Verdict:
    """Whether the server has a connection for each that may be wanted."""
    found = of(facts)
    if found.kind == "sqlite":
        return ok("A file has no limit of connections.")
    most, running = found.connections.known, max(1, found.replicas.value or 1)
    each = facts.setup.concurrency + EVENTS_THREADS + 2
    evidence = {"max_connections": most, "of one replica": each, "replicas": running}
    if each * running > most:
        return warning(
            f"{running} replica(s) may want {each * running} connections, and the server has {most}.",
            hint="lower RELAYD_CONCURRENCY, raise max_connections, or put a pooler in between (in session mode)",
            evidence=evidence,
        )
    return ok(f"The server has {most} connections; {each * running} may be wanted.", **evidence)
