"""A data directory holds an image whole or not at all, and the log after it without a hole, wherever it was cut off."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from test_storage import MEMBERS, alter, extend, make

from hacoord.disk.image_store import SWEEP_ENTRIES
from hacoord.disk.storage import DATABASE, Founding, Storage, StorageError, create
from hacoord.raft.group import encode, founding
from hacoord.raft.messages import Base, Entry, HardState, Image, Persist, Piece
from hacoord.raft.transfer import checksum


@pytest.fixture
def node(tmp_path: Path) -> Path:
    return make(tmp_path / "n1")


def log_of(count: int) -> list[Entry]:
    return list(extend([], count))


def base_at(log: list[Entry], index: int, epoch: int = 1) -> Base:
    return Base(index, log[index - 1].term, log[index - 1].digest, epoch)


def image_of(base: Base, content: bytes) -> Image:
    return Image(base, len(content), checksum(content))


def pieces(content: bytes, size: int = 10) -> tuple[Piece, ...]:
    return tuple(Piece(at, content[at : at + size]) for at in range(0, len(content), size))


def take(storage: Storage, log: list[Entry], last: int, content: bytes, keep: int = 0) -> None:
    """Make an image of the first `last` entries, as a node does."""
    for piece in pieces(content):
        storage.stage(piece)
    base = base_at(log, last - keep)
    storage.save(Persist(None, 0, (), image=image_of(base_at(log, last), content), base=base))


def receive(storage: Storage, base: Base, content: bytes) -> None:
    for piece in pieces(content):
        storage.save(Persist(None, 0, (), (piece,)))
    storage.save(Persist(None, 0, (), image=image_of(base, content), received=True, base=base))


def begin(storage: Storage, count: int) -> list[Entry]:
    log = log_of(count)
    storage.save(Persist(HardState(1, "n1"), 1, tuple(log)))
    return log


def test_an_image_takes_the_place_of_the_entries_before_its_base(node: Path) -> None:
    with Storage(node) as storage:
        log = begin(storage, 20)
        take(storage, log, 15, b"what fifteen entries amount to", keep=5)
    with Storage(node) as storage:
        assert storage.load() == (HardState(1, "n1"), log[10:])
        assert storage.base == base_at(log, 10)
        assert storage.image == image_of(base_at(log, 15), b"what fifteen entries amount to")
        assert storage.read_image() == b"what fifteen entries amount to"


def test_an_image_that_was_received_takes_the_place_of_the_whole_log(node: Path) -> None:
    theirs = log_of(30)
    with Storage(node) as storage:
        begin(storage, 40)
        receive(storage, base_at(theirs, 30), b"what thirty amount to")
        assert storage.load() == (HardState(1, "n1"), [])
        more = extend(theirs, 2)
        storage.save(Persist(None, 31, more))
    with Storage(node) as storage:
        assert storage.load() == (HardState(1, "n1"), list(more))
        assert storage.read_image() == b"what thirty amount to"


def test_a_part_is_read_from_any_place_in_it(node: Path) -> None:
    content = bytes(range(100))
    with Storage(node) as storage:
        log = begin(storage, 3)
        take(storage, log, 3, content)
        image = storage.image
        assert image is not None
        for offset in range(100):
            part = storage.image_part(image, offset)
            assert part == content[offset : offset + len(part)]
            assert part
        assert storage.image_part(image, 100) == b""
        assert storage.image_part(image_of(base_at(log, 2), content), 0) == b""


def test_images_that_are_left_half_way_come_to_nothing_and_go_away(node: Path) -> None:
    with Storage(node) as storage:
        log = begin(storage, 9)
        take(storage, log, 4, b"four")
        storage.stage(Piece(0, b"begun here"))
        storage.save(Persist(None, 0, (), (Piece(0, b"begun elsewhere"),)))
    with Storage(node) as storage:
        assert storage.read_image() == b"four"
        for _ in range(3):
            storage.new_incarnation()
    assert rows(node, "part") == 1


def rows(directory: Path, table: str) -> int:
    connection = sqlite3.connect(directory / DATABASE)
    count: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    connection.close()
    return count


def test_what_is_given_up_goes_away_a_little_at_a_time(node: Path) -> None:
    with Storage(node) as storage:
        log = begin(storage, 3 * SWEEP_ENTRIES)
        take(storage, log, len(log), b"all", keep=10)
        left = [rows(node, "log")]
        while left[-1] > 10:
            assert storage.load()[1] == log[-10:]
            storage.new_incarnation()
            left.append(rows(node, "log"))
            assert 0 < left[-2] - left[-1] <= SWEEP_ENTRIES
        assert storage.load()[1] == log[-10:]


def test_an_image_without_content_is_a_mistake_of_the_caller(node: Path) -> None:
    with Storage(node) as storage:
        log = begin(storage, 3)
        with pytest.raises(ValueError, match="no part"):
            storage.save(Persist(None, 0, (), image=image_of(base_at(log, 2), b"x"), base=base_at(log, 2)))
        assert storage.load()[1] == log


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE part SET data = x'00'", "does not match its checksum"),
        ("DELETE FROM part", "does not match its checksum"),
        ("UPDATE fact SET value = replace(value, '1', '2') WHERE name = 'image'", "seal"),
        ("DELETE FROM fact WHERE name = 'image'", "no image holds what came before"),
        ("DELETE FROM fact WHERE name = 'base'", "entry 1 of the log is missing"),
        ("DELETE FROM log", "before the image does"),
        ("DELETE FROM log WHERE idx = 11", "entry 11 of the log is missing"),
    ],
)
def test_damage_is_noticed(node: Path, statement: str, message: str) -> None:
    with Storage(node) as storage:
        log = begin(storage, 20)
        take(storage, log, 15, b"fifteen", keep=5)
        for _ in range(3):
            storage.new_incarnation()
    alter(node, statement)

    def use() -> None:
        with Storage(node) as storage:
            storage.load()
            storage.read_image()

    with pytest.raises(StorageError, match=message):
        use()


def test_a_directory_from_before_images_is_used_on(node: Path) -> None:
    with Storage(node) as storage:
        log = begin(storage, 5)
    alter(node, "DROP TABLE fact", "DROP TABLE part", "PRAGMA user_version = 1")
    with Storage(node) as storage:
        assert storage.load() == (HardState(1, "n1"), log)
        take(storage, log, 5, b"five")
    with Storage(node) as storage:
        assert storage.read_image() == b"five"


def test_a_node_of_a_cluster_that_goes_on_from_another_has_its_image_and_nothing_else(tmp_path: Path) -> None:
    base = base_at(log_of(7), 7, epoch=3)
    create(tmp_path / "n1", cluster="c2", node="n1", members=MEMBERS, founding=Founding(base, b"seven" * 100_000))
    with Storage(tmp_path / "n1") as storage:
        assert storage.load() == (HardState(1, None), [])
        group = encode(founding(MEMBERS))
        assert storage.base == storage.founded == dataclasses.replace(base, members=group, members_index=0)
        assert storage.read_image() == b"seven" * 100_000


def test_a_torn_wal_leaves_what_one_of_the_transactions_left(node: Path, tmp_path: Path) -> None:
    storage = Storage(node)
    storage.new_incarnation()
    log = begin(storage, 12)
    states = [state_of(storage)]
    for last in (4, 8, 12):
        for piece in pieces(b"%d entries" % last * 5):
            storage.stage(piece)
        image = image_of(base_at(log, last), b"%d entries" % last * 5)
        storage.save(Persist(None, 0, (), image=image, base=base_at(log, last - 2)))
        states.append(state_of(storage))
    theirs = log_of(40)
    receive(storage, base_at(theirs, 40), b"forty")
    states.append(state_of(storage))
    files = {name: (node / name).read_bytes() for name in (DATABASE, DATABASE + "-wal")}
    storage.close()
    wal = files[DATABASE + "-wal"]
    seen = set()
    for number, at in enumerate([*range(0, len(wal), 1543), len(wal)]):
        copy = tmp_path / str(number)
        copy.mkdir()
        (copy / DATABASE).write_bytes(files[DATABASE])
        (copy / (DATABASE + "-wal")).write_bytes(wal[:at])
        with Storage(copy) as cut:
            state = state_of(cut)
        assert state in states or state[1:] == ([], b"")
        seen.add(state[0])
        shutil.rmtree(copy)
    assert seen >= {0, 2, 6, 10, 40}


def state_of(storage: Storage) -> tuple[int, list[Entry], bytes]:
    return storage.base.last, storage.load()[1], storage.read_image() if storage.image else b""


CHILD = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_image_storage import base_at, image_of, pieces, receive, take
from test_storage import extend
from hacoord.raft.messages import EMPTY_DIGEST, Base, Entry, HardState, Kind, Persist
from hacoord.disk.storage import Storage

storage = Storage(Path(sys.argv[1]))
base, entries = storage.base, storage.load()[1]
while True:
    for _ in range(20):
        at, digest = (entries[-1].index, entries[-1].digest) if entries else (base.last, base.digest)
        entries.append(Entry.after(digest, at + 1, 1, Kind.WRITE, b"x" * 50))
    storage.save(Persist(HardState(1, "n1"), entries[-20].index, tuple(entries[-20:])))
    end = entries[-1]
    whole = Base(end.index, 1, end.digest, 1)
    content = b"%d " % end.index * 20
    if end.index % 3:
        for piece in pieces(content):
            storage.stage(piece)
        base = Base(entries[-10].index, 1, entries[-10].digest, 1)
        storage.save(Persist(None, 0, (), image=image_of(whole, content), base=base))
        entries = entries[-9:]
    else:
        receive(storage, whole, content)
        base, entries = whole, []
    os.write(1, b"%d\\n" % end.index)
"""


@pytest.mark.parametrize("reports", [1, 3, 10])
def test_nothing_reported_is_lost_to_sigkill(node: Path, reports: int) -> None:
    for _ in range(3):
        command = [sys.executable, "-c", CHILD, str(node), str(Path(__file__).parent)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert child.stdout is not None
        with child, child.stdout as pipe:
            for _ in range(reports):
                line = pipe.readline()
            child.send_signal(signal.SIGKILL)
        with Storage(node) as storage:  # load verifies that nothing is missing after the base, nor damaged
            entries = storage.load()[1]
            image = storage.image
            assert image is not None
            assert storage.read_image() == b"%d " % image.base.last * 20
        assert int(line) <= image.base.last
        assert storage.base.last + len(entries) >= image.base.last
