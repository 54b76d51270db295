"""What an operator does to masks, through the commands, on a SQLite file."""

import io
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from relayd.adapters.database import check_secret, upgrade
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.schema import HEAD, deliveries, owners, usage
from relayd.errors import ConfigurationError
from relayd.model.address import Address
from relayd.model.mask import Mask, UnknownRecipient
from relayd.ops.mask_csv import read_csv, write_csv
from relayd.ops.mask_entries import Line, MaskTraits, WrongEntryError, entry
from relayd.ops.masks import import_masks
from tests.terminal import Operator

SHOP = "shop@mask.example"
OURS = "0f3c5a7e9b1d2846c0a8e6f4927b5d31f0c2e4a69b8d7153"
HEADER = "mask,mailboxes,owner,enabled\n"


@pytest.fixture
def relayd(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


def test_a_mask_is_added_once(relayd: Operator) -> None:
    """The first time it is added, the second time found unchanged, and neither is an error."""
    assert "added" in relayd.ok("masks", "add", SHOP, "--to", "me@example.org")
    assert "already" in relayd.ok("masks", "add", "SHOP@mask.example", "--to", "Me@example.org")
    assert relayd.masks() == [SHOP]
    mask = SqlDirectory(relayd.database()).lookup(Address.parse(SHOP))
    assert isinstance(mask, Mask)
    assert [box.address.full for box in mask.mailboxes] == ["me@example.org"]


def test_another_mailbox_must_be_meant(relayd: Operator) -> None:
    """To add a mask again with another mailbox is refused, and done with --replace, in the order given."""
    relayd.ok("masks", "add", SHOP, "--to", "me@example.org")
    refused = relayd("masks", "add", SHOP, "--to", "new@example.org")
    assert refused.exit_code == 1
    assert "--replace" in refused.stderr
    relayd.ok("masks", "add", SHOP, "--to", "new@example.org", "--to", "me@example.org", "--replace")
    shown = relayd.json("masks", "show", SHOP)
    assert isinstance(shown, dict)
    assert shown["mailboxes"] == ["new@example.org", "me@example.org"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("shop@elsewhere.example", "--to", "me@example.org"), "RELAYD_MAIL_DOMAINS (mask.example, other.example)"),
        ((SHOP, "--to", "me@other.example"), "come back to relayd"),
        (("shop+tag@mask.example", "--to", "me@example.org"), "no +tag"),
        ((SHOP, "--to", "not an address"), "local@domain"),
        ((SHOP, "--to", "x;y@example.org"), "single dots"),
        (("noreply@mask.example", "--to", "me@example.org"), "always discarded"),
        ((SHOP, "--to", "me@example.org", "--owner", " "), "owner"),
        ((SHOP, "--to", "me@example.org", "--owner", "=1+1"), "formula"),
        ((SHOP,), "--to"),
    ],
)
def test_a_wrong_call_is_explained(relayd: Operator, args: tuple[str, ...], said: str) -> None:
    """Foreign domains, loops and typing errors end with code 2 and say what to do."""
    result = relayd("masks", "add", *args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert relayd.masks() == []


@pytest.mark.parametrize(
    "address",
    [
        "\u00fcn\u00ef@example.org",
        "a@b@example.org",
        "x;y@example.org",
        "a,b@example.org",
        "a..b@example.org",
        ".a@example.org",
        "a.@example.org",
        '"a"@example.org',
        "u:v@[127.0.0.1]",
        "a@-bad_.example",
        "a@bad-.example",
        f"a@{'b' * 70}.example",
        f"a@{'b.' * 127}example",
        f"{'a' * 65}@example.org",
        "localhost@localhost",
        "a\x7f@example.org",
        "a@b\x7f.example",
        "-a@example.org",
        "=1|a!b@example.org",
    ],
)
def test_addresses_that_ses_never_sends_to_are_refused(address: str) -> None:
    """As a mask and as a mailbox, with what would be right, and without raw control characters."""
    for mask, mailbox in ((address, "me@example.org"), (SHOP, address)):
        with pytest.raises(WrongEntryError) as caught:
            entry(mask, [mailbox])
        assert caught.value.hint
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "address", [f"{'a' * 64}@example.org", "o'brien+tag=1@b\u00fccher.example", "_a.b-c@1.example", "!#$@a.b.c"]
)
def test_unusual_addresses_that_ses_sends_to_are_accepted(address: str) -> None:
    """Every dot-atom, up to the limit; international domains by their punycode."""
    assert entry(SHOP, [address]).mailboxes == (Address.parse(address),)


@pytest.mark.parametrize("local", ["noreply", "NoReply", "-a", "+a", "=a", "'a"])
def test_names_that_no_mask_may_have(local: str) -> None:
    """Mail to noreply is discarded before anybody asks for masks; marks in front are for spreadsheets and options."""
    with pytest.raises(WrongEntryError):
        entry(f"{local}@mask.example", ["me@example.org"])


def test_owners_are_found_by_mailbox_or_name(relayd: Operator) -> None:
    """A known mailbox brings its owner along; a mailbox of one owner is refused to another."""
    relayd.ok("masks", "add", SHOP, "--to", "me@example.org")
    relayd.ok("masks", "add", "bank@mask.example", "--to", "second@example.org", "--to", "me@example.org")
    relayd.ok("masks", "add", "team@mask.example", "--to", "ann@example.org", "--owner", "Team")
    assert relayd.masks("--owner", "me@example.org") == ["bank@mask.example", SHOP]
    assert relayd.masks("--owner", "Team") == ["team@mask.example"]
    refused = relayd("masks", "add", "x@mask.example", "--to", "me@example.org", "--owner", "Team")
    assert refused.exit_code == 1
    assert "belongs to another owner, 'me@example.org'" in refused.stderr
    stolen = relayd("masks", "add", SHOP, "--to", "ann@example.org", "--replace")
    assert "never changes hands" in stolen.stderr
    with relayd.database().reading() as connection:
        assert sorted(connection.execute(sa.select(owners.c.name)).scalars().all()) == ["Team", "me@example.org"]


def test_masks_are_switched_off_and_on(relayd: Operator) -> None:
    """Each says whether anything changed; the lists can be narrowed down to either kind."""
    relayd.ok("masks", "add", SHOP, "--to", "me@example.org")
    relayd.ok("masks", "add", "off@mask.example", "--to", "me@example.org", "--disabled")
    missing = relayd("masks", "disable", SHOP, "nobody@mask.example", "none@mask.example")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "nobody@mask.example" in missing.stderr
    assert "none@mask.example" in missing.stderr
    assert relayd.masks("--disabled") == ["off@mask.example"]
    assert "disabled" in relayd.ok("masks", "disable", SHOP)
    assert "already" in relayd.ok("masks", "disable", SHOP)
    assert relayd.masks("--enabled") == []
    assert relayd.json("masks", "enable", SHOP) == {"mask": SHOP, "result": "enabled"}
    assert relayd.masks("--disabled") == ["off@mask.example"]
    assert relayd("masks", "enable", "nobody@mask.example").exit_code == 1


def test_lists_are_narrowed_down(relayd: Operator) -> None:
    """By mailbox and by domain; a domain's characters mean themselves."""
    relayd.ok("masks", "add", SHOP, "--to", "me@example.org", "--to", "me+2@example.org")
    relayd.ok("masks", "add", "shop@other.example", "--to", "you@example.org")
    assert relayd.masks("--to", "ME+2@example.org") == [SHOP]
    assert relayd.masks("--domain", "other.example") == ["shop@other.example"]
    assert relayd.masks("--domain", "%.example") == []
    assert relayd("masks", "list", "--domain", "a..b").exit_code == 2
    table = relayd.ok("masks", "list").splitlines()
    assert table[0].split() == ["MASK", "FORWARDS", "TO", "OWNER", "STATE"]
    assert "me@example.org, me+2@example.org" in table[1]


def test_an_empty_list_says_why(relayd: Operator) -> None:
    """How to add the first mask, only where there is none; otherwise that nothing matches."""
    assert "The first:" in relayd("masks", "list").stderr
    relayd.environ["RELAYD_MAIL_DOMAINS"] = "b\u00fccher.example"
    relayd.ok("masks", "add", "shop@b\u00fccher.example", "--to", "me@example.org")
    assert relayd.masks("--domain", "B\u00fccher.example") == ["shop@xn--bcher-kva.example"]
    for narrowed in (("--disabled",), ("--owner", "nobody"), ("--removed",), ("--domain", "other.example")):
        said = relayd("masks", "list", *narrowed).stderr
        assert "matches" in said
        assert "The first:" not in said


def test_masks_are_removed_together_or_not_at_all(relayd: Operator) -> None:
    """One that is not there keeps the others; the same one twice is removed once."""
    relayd.ok("masks", "add", SHOP, "--to", "me@example.org")
    refused = relayd("masks", "remove", SHOP, "nobody@mask.example", "--yes")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert relayd.masks() == [SHOP]
    assert relayd.ok("masks", "remove", SHOP, SHOP, "--yes") == f"{SHOP}: removed\n"
    assert relayd.masks() == []


def test_a_removed_mask_never_comes_back(relayd: Operator) -> None:
    """It asks first; then the address is unknown, listed apart, and refused to everybody."""
    relayd.ok("masks", "add", SHOP, "--to", "me@example.org")
    assert relayd("masks", "remove", SHOP, stdin="n\n").exit_code == 1
    assert relayd.masks() == [SHOP]
    relayd.ok("masks", "remove", SHOP, stdin="y\n")
    assert SqlDirectory(relayd.database()).lookup(Address.parse(SHOP)) == UnknownRecipient()
    assert (relayd.masks(), relayd.masks("--removed")) == ([], [SHOP])
    for again in (("add", SHOP, "--to", "me@example.org"), ("enable", SHOP), ("remove", SHOP, "--yes")):
        assert relayd("masks", *again).exit_code == 1
    imported = relayd("masks", "import", relayd.file(f"{HEADER}{SHOP},me@example.org,,\n"))
    assert "line 2" in imported.stderr
    assert "never given out again" in imported.stderr


def test_a_mask_shows_what_became_of_its_mail(relayd: Operator) -> None:
    """Deliveries are counted by state and reason, contacts by head."""
    relayd.ok("masks", "add", SHOP, "--to", "me@example.org")
    database = relayd.database()
    directory = SqlDirectory(database)
    mask = directory.lookup(Address.parse(SHOP))
    assert isinstance(mask, Mask)
    directory.contact(mask.mask_id, None)
    with database.writing() as connection:
        today = connection.execute(sa.select(database.today)).scalar_one()
        for number, (state, reason) in enumerate([("sent", None), ("sent", None), ("discarded", "spam")]):
            connection.execute(sa.insert(deliveries).values(delivery(number, mask.mask_id, state, reason)))
        for day, mails in ((today, 2), (today - 1, 40), (0, 100)):
            row = {"mask_id": mask.mask_id, "owner_id": mask.owner.owner_id, "day": day, "mails": mails}
            row |= {"bytes": 1000 * mails, "replies": 1, "discards": 2, "trackers": 3}
            connection.execute(sa.insert(usage).values(row))
    shown = relayd.json("masks", "show", SHOP)
    assert isinstance(shown, dict)
    assert shown["deliveries"] == {"sent": 2, "discarded spam": 1}
    assert shown["contacts"] == 1
    assert shown["last_at"] == pytest.approx(time.time(), abs=60)
    assert shown["today"] == {"mails": 2, "bytes": 2000, "replies": 1, "discards": 2, "trackers": 3}
    assert shown["total"] == {"mails": 142, "bytes": 142_000, "replies": 3, "discards": 6, "trackers": 9}
    text = relayd.ok("masks", "show", SHOP)
    assert "2 sent" in text
    assert "142 mails (142000 bytes), 3 replies, 6 discards, 9 trackers removed" in text


def delivery(number: int, mask_id: str, state: str, reason: str | None) -> dict[str, object]:
    """A row of the ledger."""
    now = time.time()
    row: dict[str, object] = {"delivery_id": f"d{number}", "mail_id": f"mail-{number}", "recipient": SHOP}
    row |= {"mailbox": "me@example.org", "state": state, "reason": reason, "message_id": "m", "mask_id": mask_id}
    row |= dict.fromkeys(("attempt", "generation"), 1) | dict.fromkeys(("kills", "doubts", "resends"), 0)
    return row | {"created_at": now, "updated_at": now}


def test_an_export_can_be_imported(relayd: Operator, tmp_path: Path) -> None:
    """Into an empty database it makes the same directory, and into its own it changes nothing."""
    relayd.ok(
        "masks", "add", SHOP, "--to", "me+x@example.org", "--to", "two@example.org", "--owner", 'A "quoted", name'
    )
    relayd.ok("masks", "add", "off@mask.example", "--to", "you@example.org", "--disabled", "--owner", " sp ")
    assert relayd.masks("--owner", "sp") == relayd.masks("--owner", " sp ") == ["off@mask.example"]
    exported = relayd.ok("masks", "export")
    relayd.ok("masks", "export", str(tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_text() == exported
    assert relayd.json("masks", "import", str(tmp_path / "out.csv"), "--sync") == {
        "added": 0,
        "changed": 0,
        "unchanged": 2,
        "removed": [],
        "dry_run": False,
    }
    relayd.environ["RELAYD_DATABASE_URL"] = f"sqlite:///{tmp_path}/second.db"
    relayd.ok("masks", "import", "-", stdin=exported)
    assert relayd.ok("masks", "export") == exported


def test_an_import_adds_and_changes_but_removes_nothing(relayd: Operator) -> None:
    """Masks that the file does not name stay; `owner` and `enabled` may be left out, and then change nothing."""
    relayd.ok("masks", "add", SHOP, "--to", "me@example.org", "--disabled")
    relayd.ok("masks", "add", "stays@mask.example", "--to", "me@example.org")
    text = f"mask,mailboxes\n{SHOP},me@example.org;two@example.org\nnew@mask.example,two@example.org\n"
    result = relayd.json("masks", "import", relayd.file(text))
    assert result == {"added": 1, "changed": 1, "unchanged": 0, "removed": [], "dry_run": False}
    assert relayd.masks() == ["new@mask.example", SHOP, "stays@mask.example"]
    assert relayd.masks("--disabled") == [SHOP]


def test_a_sync_makes_the_directory_equal_to_the_file(relayd: Operator) -> None:
    """What the file lacks is removed, and named; a dry run tells the same and does nothing."""
    for name in ("a", "b", "c"):
        relayd.ok("masks", "add", f"{name}@mask.example", "--to", "me@example.org")
    file = relayd.file(f"{HEADER}a@mask.example,me@example.org,,false\nb@mask.example,me@example.org,,\n")
    said = relayd.ok("masks", "import", file, "--sync", "--dry-run")
    assert "removed: c@mask.example" in said
    assert "dry run" in said
    assert relayd.masks("--enabled") == ["a@mask.example", "b@mask.example", "c@mask.example"]
    relayd.ok("masks", "import", file, "--sync")
    assert (relayd.masks("--enabled"), relayd.masks("--removed")) == (["b@mask.example"], ["c@mask.example"])
    again = relayd.json("masks", "import", file, "--sync")
    assert again == {"added": 0, "changed": 0, "unchanged": 2, "removed": [], "dry_run": False}


def test_a_sync_that_removes_most_must_be_meant(relayd: Operator) -> None:
    """Half of the masks may go; more is refused without --force: a truncated file looks just like that."""
    for name in "abcd":
        relayd.ok("masks", "add", f"{name}@mask.example", "--to", "me@example.org")
    file = relayd.file(f"{HEADER}a@mask.example,me@example.org,,\n")
    refused = relayd("masks", "import", file, "--sync")
    assert refused.exit_code == 1
    assert "3 of the 4" in refused.stderr
    assert len(relayd.masks()) == 4
    relayd.ok(
        "masks",
        "import",
        relayd.file(f"{HEADER}a@mask.example,me@example.org,,\nb@mask.example,me@example.org,,\n"),
        "--sync",
    )
    assert relayd.masks() == ["a@mask.example", "b@mask.example"]
    relayd.ok("masks", "import", relayd.file(HEADER), "--sync", "--force")
    assert relayd.masks() == []


def test_every_bad_line_is_reported_and_nothing_done(relayd: Operator) -> None:
    """One run names them all, with their numbers; the good lines wait for a good file."""
    relayd.ok("masks", "add", SHOP, "--to", "me@example.org")
    lines = [
        "good@mask.example,me@example.org,,true",
        "nonsense,me@example.org,,true",
        "a@mask.example,,,true",
        "b@mask.example,me@example.org,,perhaps",
        "c@elsewhere.example,me@example.org,,true",
        "d@mask.example,me@mask.example,,true",
        "good@mask.example,me@example.org,,true",
        "e@mask.example,me@example.org,Somebody else,true",
        "f@mask.example,me@example.org,,true,more",
        "noreply@mask.example,me@example.org,,true",
        "g@mask.example,a..b@example.org,,true",
        "h@mask.example,h@example.org,@owner,true",
    ]
    result = relayd("masks", "import", relayd.file(HEADER + "\n".join(lines)))
    assert result.exit_code == 1
    for number in range(3, 14):
        assert f"line {number}:" in result.stderr
    assert "line 2:" not in result.stderr
    assert relayd.masks() == [SHOP]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "address,to\n",
        "mask,mailboxes,colour\n",
        "mask,mailboxes,enabled,mask\na@mask.example,me@example.org,,b@mask.example\n",
        f'{HEADER}"never closed,x\n',
    ],
    ids=["empty", "foreign", "extra", "twice", "quote"],
)
def test_a_file_of_another_form_is_refused(relayd: Operator, text: str) -> None:
    """Whatever is not a mask file removes nothing, not even by force."""
    relayd.ok("masks", "add", SHOP, "--to", "me@example.org")
    assert relayd("masks", "import", relayd.file(text), "--sync", "--force").exit_code == 1
    assert relayd.masks() == [SHOP]


def test_a_file_that_is_not_utf8_is_refused(relayd: Operator) -> None:
    """It says so, instead of showing a traceback."""
    path = relayd.folder / "latin.csv"
    path.write_bytes(HEADER.encode() + "m\u00fcll@mask.example,me@example.org,,\n".encode("latin-1"))
    result = relayd("masks", "import", str(path))
    assert result.exit_code == 1
    assert "UTF-8" in result.stderr


def test_a_spreadsheets_file_is_read(relayd: Operator) -> None:
    """A byte order mark and CRLF line ends are what spreadsheets write."""
    relayd.ok("masks", "import", relayd.file("\ufeff" + HEADER.strip() + f"\r\n{SHOP},me@example.org,,TRUE\r\n"))
    assert relayd.masks("--enabled") == [SHOP]


def test_large_imports_take_seconds(relayd: Operator) -> None:
    """Twenty thousand masks of as many owners go in, and are found unchanged the second time, in one go each."""
    database = relayd.database()
    upgrade(database)
    lines = [
        Line(number, entry(f"m{number}@mask.example", [f"p{number}@example.org"], None, True))
        for number in range(20_000)
    ]
    began = time.monotonic()
    assert import_masks(database, lines, mail_domains=["mask.example"]).added == 20_000
    assert import_masks(database, lines, mail_domains=["mask.example"], sync=True).unchanged == 20_000
    assert time.monotonic() - began < 20


names = st.text(min_size=1, max_size=20).filter(
    lambda text: text.strip() and text.strip().isprintable() and text.strip()[0] not in "=+-@"
)
locals_ = st.from_regex(r"[a-z0-9][a-z0-9'-]{0,9}(\.[a-z0-9'-]{1,5})?", fullmatch=True).filter(
    lambda text: text != "noreply"
)


switches = st.none() | st.booleans()
traits = st.builds(MaskTraits, st.just("") | names.filter(lambda name: "@" not in name), switches, switches, switches)
rows = st.tuples(locals_, st.lists(locals_, min_size=1, max_size=3, unique=True), names, st.booleans(), traits)


@given(st.lists(rows))
def test_what_is_written_can_be_read(rows: list[tuple[str, list[str], str, bool, MaskTraits]]) -> None:
    """Owners may have any printable name that is no formula, commas, quotes and white space around it included."""
    entries = [
        entry(f"{mask}@mask.example", [f"{box}@example.org" for box in boxes], owner, enabled, traits)
        for mask, boxes, owner, enabled, traits in rows
    ]
    file = io.StringIO(newline="")
    write_csv(entries, file)
    file.seek(0)
    lines, problems = read_csv(file)
    assert (problems, [line.entry for line in lines]) == ([], entries)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """A file may hold anything; it never ends in an exception of another kind."""
    for whole in (text, HEADER + text):
        lines, problems = read_csv(io.StringIO(whole))
        assert all(line.entry.mailboxes for line in lines)
        assert all(problem.hint for problem in problems)


def test_commands_refuse_a_foreign_secret(relayd: Operator) -> None:
    """Where a secret is set, the commands check that the database is its own before they touch it."""
    database = relayd.database()
    upgrade(database)
    check_secret(database, [OURS.encode()], remember=True)
    relayd.environ["RELAYD_SECRET"] = OURS[::-1]
    result = relayd("masks", "list")
    assert isinstance(result.exception, ConfigurationError)
    relayd.environ["RELAYD_SECRET"] = OURS
    assert relayd.masks() == []


def test_the_database_is_upgraded_and_its_version_told(relayd: Operator) -> None:
    """`version` changes nothing, and makes no file; `upgrade` may be run any number of times."""
    (relayd.folder / "relayd.db").unlink()
    missing = relayd("db", "version")
    assert missing.exit_code == 1
    assert "relayd db upgrade" in str(missing.exception)
    assert list(relayd.folder.iterdir()) == []
    assert relayd.json("db", "upgrade") == {"before": None, "after": HEAD}
    assert relayd.json("db", "upgrade") == {"before": HEAD, "after": HEAD}
    assert HEAD in relayd.ok("db", "version")


def test_missing_settings_are_named_together(relayd: Operator) -> None:
    """Without a database and domains, one run says both; a queue is not asked for."""
    relayd.environ = {"RELAYD_DATABASE_URL": None, "RELAYD_MAIL_DOMAINS": None}
    error = relayd("masks", "list").exception
    assert isinstance(error, ConfigurationError)
    assert {problem.subject for problem in error.problems} == {"RELAYD_DATABASE_URL", "RELAYD_MAIL_DOMAINS"}


@pytest.mark.parametrize("name", ["add", "list", "show", "enable", "disable", "remove", "import", "export"])
def test_every_command_explains_itself(relayd: Operator, name: str) -> None:
    """--help needs no settings."""
    relayd.environ = {"RELAYD_DATABASE_URL": None, "RELAYD_MAIL_DOMAINS": None}
    assert "--json" in relayd.ok("masks", name, "--help")
