"""What an archive promises, in a folder and in S3 as the embedded AWS and moto have it."""

import os
import stat
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from relayd.adapters.folder_shelf import STALE_SECONDS, FolderShelf
from relayd.adapters.s3_shelf import S3Shelf
from relayd.errors import ConfigurationError
from relayd.ops.archive import Archive, Damaged, Shelf, archive_at
from relayd.ops.archive_record import ARCHIVED, GONE, RawMail, Record, to_bytes
from relayd.runtime.clock import SystemClock
from tests.contract.moto_server import MotoServer
from tests.letters import record

MAIL = bytes(range(256)) * 3000


@dataclass
class World:
    """An archive, and the files in it as somebody else sees them."""

    shelf: Shelf
    names: Callable[[], list[str]]
    write: Callable[[str, bytes], None]
    read: Callable[[str], bytes]

    def __post_init__(self) -> None:
        self.archive = Archive(self.shelf, SystemClock())

    def records(self) -> tuple[list[Record], list[Damaged]]:
        damaged: list[Damaged] = []
        return list(self.archive.records(damaged.append)), damaged


def in_folder(folder: Path) -> World:
    shelf = FolderShelf(folder / "archive")
    shelf.make()
    place = Path(shelf.place)

    def write(name: str, data: bytes) -> None:
        (place / name).write_bytes(data)

    return World(shelf, lambda: sorted(os.listdir(place)), write, lambda name: (place / name).read_bytes())


def on_s3(server: MotoServer, **options: Any) -> World:
    bucket, prefix = server.new_bucket(), f"dead/{uuid.uuid4().hex[:8]}/"
    # What lies beside the prefix is somebody else's.
    server.s3.put_object(Bucket=bucket, Key="dead/other.json", Body=b"{}")

    def names() -> list[str]:
        listed = server.s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
        return [one["Key"].removeprefix(prefix) for one in listed]

    def write(name: str, data: bytes) -> None:
        server.s3.put_object(Bucket=bucket, Key=prefix + name, Body=data)

    def read(name: str) -> bytes:
        found: bytes = server.s3.get_object(Bucket=bucket, Key=prefix + name)["Body"].read()
        return found

    return World(S3Shelf(server.relayd_client("s3"), SystemClock(), bucket, prefix, **options), names, write, read)


@pytest.fixture(params=["folder", "moto", "embedded"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return in_folder(tmp_path) if request.param == "folder" else on_s3(request.getfixturevalue(request.param))


def test_a_record_comes_back_as_it_was(world: World) -> None:
    """Every field of it, in any language."""
    one = record("hé\nllo ☂ \U0001f600", own={"traceparent": "00-abc", "ключ": "значение"}, trace_header="Root=1")
    assert world.archive.add(one) == "archived"
    assert world.records() == ([replace_handle(one)], [])
    assert world.archive.kept(one) == replace_handle(one)


def test_one_name_for_one_letter(world: World) -> None:
    """The same letter again changes nothing, nor does its twin: another id in the queue, other times and counts."""
    one = record()
    assert world.archive.add(one) == "archived"
    first = world.read(world.names()[0])
    twin = record(sqs_id="d2", receive_count=7)
    assert world.archive.add(one) == "already_there"
    assert world.archive.add(twin) == "already_there"
    assert [world.read(name) for name in world.names()] == [first]


@pytest.mark.parametrize(
    "other",
    [
        record("another body"),
        record(reason="bug"),
        record(own={"traceparent": "x"}),
        record(trace_header="Root=2"),
    ],
    ids=["body", "reason", "attributes", "trace header"],
)
def test_two_letters_of_one_message_are_both_kept(world: World, other: Record) -> None:
    """Whatever differs in what they say: neither is lost, and both are named by the message."""
    world.archive.add(record())
    assert world.archive.add(other) == "archived"
    assert len(world.names()) == 2
    assert all(name.startswith("m1.") for name in world.names())
    assert len(world.records()[0]) == 2


def test_a_mail_lies_beside_its_record(world: World) -> None:
    """To the byte; the record names it."""
    one = record().with_mail(RawMail(ARCHIVED, len(MAIL)))
    world.archive.add(one, MAIL)
    assert world.names() == [one.mail_name, one.stem + ".json"]
    assert world.read(one.mail_name) == MAIL
    assert world.archive.mail(one) == MAIL
    ((found,), damaged) = world.records()
    assert (found.mail, damaged) == (RawMail(ARCHIVED, len(MAIL)), [])
    assert world.archive.mail(record("without")) is None


def test_a_mail_is_added_to_a_record_without_one(world: World) -> None:
    """An archive that was made without mails, and then with them; and never the other way round."""
    bare, full = record(), record().with_mail(RawMail(ARCHIVED, 3))
    world.archive.add(bare)
    assert world.archive.add(record().with_mail(RawMail(GONE))) == "already_there"
    assert world.records()[0][0].mail == RawMail(GONE)
    assert world.archive.add(full, b"raw") == "already_there"
    assert world.read(full.mail_name) == b"raw"
    for less in (bare, record().with_mail(RawMail(GONE))):
        assert world.archive.add(less) == "already_there"
        assert world.records()[0][0].mail == RawMail(ARCHIVED, 3)


def test_it_is_known_by_the_message(world: World) -> None:
    """`has` goes by the id in the mail queue, whole."""
    world.archive.add(record(message_id="abc-1"))
    assert world.archive.has("abc-1")
    assert not world.archive.has("abc")
    assert not world.archive.has("abc-12")


@pytest.mark.parametrize("foreign", ["../../etc/passwd", "a/b", ".", "", "x" * 200, "ünïcode", "a\nb", "NUL\\:*?"])
def test_a_foreign_id_is_no_path(world: World, foreign: str) -> None:
    """Whatever an attribute says, a name stays a plain one, and the id is in the record."""
    one = record(message_id=foreign)
    world.archive.add(one)
    (name,) = world.names()
    assert name.isascii()
    assert len(name) < 120
    assert not set(name) & set("/\\:*? \n")
    ((found,), _) = world.records()
    assert found.letter.original_message_id == (foreign or "d1")
    assert world.archive.has(foreign or "d1")


def test_damage_is_reported_and_the_rest_is_read(world: World) -> None:
    """Half a record, somebody's notes, a changed body, another version: each is named, none of them ends it."""
    good = [record(f"body {number}", message_id=f"m{number}") for number in range(3)]
    for one in good:
        world.archive.add(one)
    data = to_bytes(good[0])
    world.write("a.json", data[: len(data) // 2])
    world.write("b.json", b"\xff\xfe")
    world.write("c.json", data.replace(b"body 0", b"body 9"))
    world.write("d.json", data.replace(b'"version": 1', b'"version": 2'))
    world.write("e.json", b"[]")
    world.write("f.json", b"")
    world.write("notes.txt", b"hello")
    world.write(".hidden", b"")
    found, damaged = world.records()
    assert [one.letter.original_message_id for one in found] == ["m0", "m1", "m2"]
    assert {one.name: one.problem.partition(":")[0] for one in damaged} == {
        "a.json": "not_json",
        "b.json": "not_json",
        "c.json": "record_changed",
        "d.json": "unknown_version",
        "e.json": "unknown_shape",
        "f.json": "not_json",
        "notes.txt": "not_a_record",
    }


def test_a_damaged_record_is_written_anew(world: World) -> None:
    """No letter is deleted because of a file that only has its name."""
    one = record()
    world.archive.add(one)
    (name,) = world.names()
    whole = world.read(name)
    for damage in (whole[:100], b"", whole.replace(b'"body"', b'"b0dy"')):
        world.write(name, damage)
        assert world.archive.kept(one) is None
        assert world.archive.add(one) == "archived"
        assert world.read(name) == whole


def test_many_threads_add_the_same_letters(world: World) -> None:
    """Two runs at once: each letter is there once, and whole."""
    records = [record(f"body {number}", message_id=f"m{number}") for number in range(8)]

    def add() -> None:
        for one in records:
            world.archive.add(one)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found, damaged = world.records()
    assert found == [replace_handle(one) for one in records]
    assert damaged == []
    assert len(world.names()) == 8


def test_reading_may_end_anywhere(world: World) -> None:
    """Whoever wants only a few asks for no more."""
    for number in range(5):
        world.archive.add(record(message_id=f"m{number}"))
    found = world.archive.records(lambda _: None)
    assert next(found).letter.original_message_id == "m0"
    found.close()  # type: ignore[attr-defined]
    assert list(in_order(world)) == [f"m{number}" for number in range(5)]


def test_more_than_a_page_of_records(embedded: MotoServer) -> None:
    """S3 lists a page at a time; all of them are read, in order, a few ahead."""
    world = on_s3(embedded, page=7)
    data = to_bytes(record())
    names = [f"{number:05}{'.eml' if number % 3 else '.json'}" for number in range(240)]
    for name in names:
        world.write(name, data)
    assert list(world.shelf.names()) == names
    found, damaged = world.records()
    assert (len(found), damaged) == (80, [])


class TestFolder:
    """What only a folder promises."""

    def test_nobody_else_may_read(self, tmp_path: Path) -> None:
        """Mail is private: 0700 and 0600, whatever the umask allows, for each folder that is made."""
        before = os.umask(0)
        try:
            archive = archive_at(str(tmp_path / "a" / "b"), making=True)
            archive.add(record().with_mail(RawMail(ARCHIVED, 1)), b"x")
        finally:
            os.umask(before)
        for path in [tmp_path / "a", *(tmp_path / "a").rglob("*")]:
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path

    def test_it_is_on_the_disk_when_add_returns(self, tmp_path: Path) -> None:
        """The bytes before they get their name, then the name; and the folder itself, when it is made."""
        place = tmp_path / "a" / "b"
        synced: list[tuple[str, list[str]]] = []

        def fsync(descriptor: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            what = f"{path.stat().st_size} bytes" if path.is_file() else str(path.relative_to(tmp_path))
            synced.append((what, [one.name for one in tmp_path.rglob("[!.]*")]))
            os.fsync(descriptor)

        shelf = FolderShelf(place, fsync=fsync)
        shelf.make()
        shelf.put("m1.json", b"12345", "")
        assert synced == [
            (".", ["a"]),
            ("a", ["a", "b"]),
            ("5 bytes", ["a", "b"]),
            ("a/b", ["a", "b", "m1.json"]),
        ]

    def test_what_was_not_finished_is_no_record(self, tmp_path: Path) -> None:
        """Left by a kill: never read, and removed once its writer is surely dead."""
        world = in_folder(tmp_path)
        place = Path(world.archive.place)
        old, young = place / ".m1.0.json.aa.part", place / ".m1.0.json.bb.part"
        for path in (old, young, place / "mine.part"):
            path.write_bytes(to_bytes(record()))
        os.utime(old, (0, young.stat().st_mtime - STALE_SECONDS - 10))
        os.utime(place / "mine.part", (0, 0))
        assert world.records() == ([], [])
        FolderShelf(place).make()
        assert sorted(path.name for path in place.iterdir()) == [young.name, "mine.part"]

    def test_a_failed_write_leaves_nothing(self, tmp_path: Path) -> None:
        """No half file under any name, and the error names the folder."""
        world = in_folder(tmp_path)
        place = Path(world.archive.place)
        (place / (record().stem + ".json")).mkdir()
        with pytest.raises(ConfigurationError) as caught:
            world.archive.add(record())
        assert str(place) in str(caught.value)
        assert [path.name for path in place.iterdir()] == [record().stem + ".json"]

    @pytest.mark.parametrize("place", ["", "ftp://host/x", "s3://", "s3://Not_A_Bucket/x", "s3:///x"])
    def test_a_place_that_is_none(self, place: str) -> None:
        """Said with a hint."""
        with pytest.raises(ConfigurationError, match="hint"):
            archive_at(place)

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        """Reading makes none; a file is none, neither for reading nor for writing."""
        with pytest.raises(ConfigurationError, match="no such folder"):
            archive_at(str(tmp_path / "nothing"))
        assert not (tmp_path / "nothing").exists()
        (tmp_path / "file").write_text("")
        for making in (True, False):
            with pytest.raises(ConfigurationError, match="file"):
                archive_at(str(tmp_path / "file"), making=making)


class TestBucket:
    """What only a bucket promises."""

    def test_a_bucket_that_is_not_there(self, embedded: MotoServer) -> None:
        """Told before anything is read from the queue."""
        shelf = S3Shelf(embedded.relayd_client("s3"), SystemClock(), "not-there", "")
        for ready in (shelf.check, shelf.make):
            with pytest.raises(ConfigurationError, match="does not exist"):
                ready()


def in_order(world: World) -> list[str]:
    return [one.letter.original_message_id for one in world.records()[0]]


def replace_handle(one: Record) -> Record:
    """As it comes back: no archive can settle a message."""
    return replace(one, letter=replace(one.letter, message=replace(one.letter.message, receipt_handle="")))
