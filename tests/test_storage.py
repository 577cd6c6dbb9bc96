"""What `save` has returned for survives everything a process and a disk can do; what it has not is never half there."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hacoord.disk.storage import DATABASE, LOCK, DiskFull, Storage, StorageError, create
from hacoord.raft.messages import EMPTY_DIGEST, Entry, HardState, Kind, Persist

MEMBERS = {"n1": "127.0.0.1:7001", "n2": "127.0.0.1:7002"}


def make(directory: Path) -> Path:
    create(directory, cluster="c1", node="n1", members=MEMBERS)
    return directory


def extend(log: list[Entry], count: int, term: int = 1, data: bytes = b"x" * 100) -> tuple[Entry, ...]:
    """The next entries after `log`, which is not changed."""
    digest, index, new = log[-1].digest if log else EMPTY_DIGEST, len(log), []
    for _ in range(count):
        index += 1
        new.append(Entry.after(digest, index, term, Kind.WRITE, data))
        digest = new[-1].digest
    return tuple(new)


def fill(storage: Storage, count: int) -> list[Entry]:
    storage.save(Persist(HardState(1, "n1"), 0, ()))
    log: list[Entry] = []
    for _ in range(count):
        new = extend(log, 1)
        storage.save(Persist(None, new[0].index, new))
        log.extend(new)
    return log


@pytest.fixture
def node(tmp_path: Path) -> Path:
    return make(tmp_path / "deep" / "n1")


# --- creating and opening


def test_a_new_node_knows_who_it_is(node: Path) -> None:
    with Storage(node) as storage:
        assert (storage.cluster, storage.node, storage.members) == ("c1", "n1", MEMBERS)
        assert len(storage.disk) == 32
        assert storage.load() == (HardState(0, None), [])


def test_two_nodes_have_two_disk_identities(tmp_path: Path) -> None:
    with Storage(make(tmp_path / "a")) as a, Storage(make(tmp_path / "b")) as b:
        assert a.disk != b.disk


@pytest.mark.parametrize("left", [DATABASE, DATABASE + "-wal", DATABASE + "-journal"])
def test_a_directory_with_a_node_or_its_remains_is_not_used_again(tmp_path: Path, left: str) -> None:
    (tmp_path / left).write_bytes(b"something")
    with pytest.raises(StorageError, match="already holds a node"):
        make(tmp_path)
    assert (tmp_path / left).read_bytes() == b"something"


def test_other_files_in_the_directory_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "hacoord.toml").write_text("")
    Storage(make(tmp_path)).close()


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "a b", "ä", "x" * 65])
def test_names_that_cannot_be_file_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match="not valid"):
        create(tmp_path / "d", cluster="c1", node=name, members={name: "127.0.0.1:1"})
    assert not (tmp_path / "d").exists()


def test_a_node_must_be_among_its_members(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="not among the members"):
        create(tmp_path / "d", cluster="c1", node="n9", members=MEMBERS)


def test_a_directory_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot create"):
        make(tmp_path / "file" / "n1")


@pytest.mark.parametrize("victim", ["link", "fsync"])
def test_a_create_that_dies_on_the_way_leaves_no_node_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: str
) -> None:
    def die(*_: object) -> None:
        raise OSError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(f"hacoord.disk.storage.os.{victim}", die)
        with pytest.raises(StorageError, match="the power went"):
            make(tmp_path / "n1")
    with pytest.raises(StorageError, match="hacoord init"):
        Storage(tmp_path / "n1")
    Storage(make(tmp_path / "n1")).close()


def test_a_missing_node_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="run `hacoord init`"):
        Storage(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_belongs_to_one_process(node: Path) -> None:
    with Storage(node), pytest.raises(StorageError, match=f"in use by process {os.getpid()}"):
        Storage(node)
    Storage(node).close()


def test_creating_over_a_running_node_is_refused(node: Path) -> None:
    with Storage(node), pytest.raises(StorageError, match="in use"):
        make(node)


def test_a_newer_schema_is_refused(node: Path) -> None:
    alter(node, "PRAGMA user_version = 99")
    with pytest.raises(StorageError, match=r"newer hacoord \(schema 99"):
        Storage(node)


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    alter(tmp_path, "CREATE TABLE t (x)")
    with pytest.raises(StorageError, match="not a hacoord database"):
        Storage(tmp_path)


def test_no_database_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"once upon a time" * 1000)
    with pytest.raises(StorageError, match="damaged"):
        Storage(tmp_path)


def alter(directory: Path, *statements: str) -> None:
    connection = sqlite3.connect(directory / DATABASE, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


# --- saving


def test_incarnations_count_and_differ(node: Path) -> None:
    seen = []
    for _ in range(3):
        with Storage(node) as storage:
            seen.append(storage.new_incarnation())
    assert [inc.split("-")[0] for inc in seen] == ["1", "2", "3"]
    assert all(len(inc.split("-")[1]) == 8 for inc in seen)


def test_what_was_saved_is_loaded(node: Path) -> None:
    with Storage(node) as storage:
        log = fill(storage, 5)
        storage.save(Persist(HardState(7, None), 0, ()))
        assert storage.load() == (HardState(7, None), log)
    with Storage(node) as storage:
        assert storage.load() == (HardState(7, None), log)


def test_a_conflicting_tail_is_replaced(node: Path) -> None:
    with Storage(node) as storage:
        log = fill(storage, 5)[:2]
        new = extend(log, 1, term=2)
        storage.save(Persist(HardState(2, None), 3, new))
        assert storage.load()[1] == [*log, *new]
        storage.save(Persist(None, 2, ()))
        assert storage.load()[1] == log[:1]


@pytest.mark.parametrize(("first", "count"), [(3, 1), (4, 0), (-1, 0), (0, 1)])
def test_a_gap_in_the_log_is_a_mistake_of_the_caller(node: Path, first: int, count: int) -> None:
    with Storage(node) as storage:
        log = fill(storage, 1)
        with pytest.raises(ValueError, match="entries"):
            storage.save(Persist(None, first, extend(log, count)))
        assert storage.load()[1] == log


def test_every_commit_is_synced(node: Path) -> None:
    with Storage(node) as storage:
        # Settings of this connection, so it has to be asked. That they mean one fdatasync a commit, strace showed.
        connection = storage._conn
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert not connection.in_transaction


# --- damage


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE node SET term = 1000", "seal"),
        ("UPDATE node SET vote = 'n2'", "seal"),
        ("UPDATE node SET disk = 'another'", "seal"),
        ("UPDATE node SET incarnation = 0", "seal"),
        ("UPDATE node SET vote = x'ff'", "seal"),
        ("DELETE FROM node", "identities"),
        ("DROP TABLE log", "log"),
        ("DELETE FROM log WHERE idx = 3", "entry 3 of the log is missing"),
        ("DELETE FROM log WHERE idx = 1", "entry 1 of the log is missing"),
        ("UPDATE log SET data = x'00' WHERE idx = 4", "entry 4 of the log does not match"),
        ("UPDATE log SET digest = x'0000000000000000' WHERE idx = 4", "entry 4 of the log does not match"),
        ("UPDATE log SET data = 'text' WHERE idx = 2", "entry 2 of the log is not an entry"),
        ("UPDATE log SET term = 'one' WHERE idx = 2", "entry 2 of the log is not an entry"),
        ("UPDATE log SET term = 0 WHERE idx = 2", "entry 2 of the log is not an entry"),
        ("UPDATE log SET kind = 9 WHERE idx = 2", "unknown kind 9"),
    ],
)
def test_damage_is_noticed(node: Path, statement: str, message: str) -> None:
    with Storage(node) as storage:
        storage.new_incarnation()
        fill(storage, 5)
    alter(node, statement)
    with pytest.raises(StorageError, match=message):
        load(node)


def load(directory: Path) -> tuple[HardState, list[Entry]]:
    with Storage(directory) as storage:
        return storage.load()


def test_a_flipped_byte_in_the_database_is_never_believed(node: Path, tmp_path: Path) -> None:
    with Storage(node) as storage:
        log = fill(storage, 60)
    whole = (node / DATABASE).read_bytes()
    refused = 0
    for at in range(0, len(whole), 97):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        (copy / DATABASE).write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            assert load(copy) == (HardState(1, "n1"), log)  # an unused byte
        except StorageError:
            refused += 1
    assert refused > 50


def test_a_torn_wal_leaves_a_beginning_of_what_was_committed(node: Path, tmp_path: Path) -> None:
    storage = Storage(node)
    storage.new_incarnation()
    states: list[tuple[HardState, list[Entry]]] = [storage.load()]
    log: list[Entry] = []
    for term in range(1, 13):
        # Each commit changes both, so that half of one would show.
        new = extend(log, 3, term)
        storage.save(Persist(HardState(term, "n1"), len(log) + 1, new))
        log.extend(new)
        states.append((HardState(term, "n1"), list(log)))
    files = {name: (node / name).read_bytes() for name in (DATABASE, DATABASE + "-wal")}
    storage.close()
    wal = files[DATABASE + "-wal"]
    seen, refused = set(), 0
    torn = [wal[:at] for at in range(0, len(wal), 1543)]
    torn += [wal[:at] + bytes([wal[at] ^ 0x55]) + wal[at + 1 :] for at in range(0, len(wal), 1543)]
    torn += [wal[:at] + bytes(512) + wal[at + 512 :] for at in range(0, len(wal), 4096)]
    for number, damaged in enumerate([*torn, wal]):
        copy = tmp_path / str(number)
        copy.mkdir()
        (copy / DATABASE).write_bytes(files[DATABASE])
        (copy / (DATABASE + "-wal")).write_bytes(damaged)
        try:
            state = load(copy)
        except StorageError:
            refused += 1
            continue
        assert state in states
        seen.add(state[0].term)
    assert 12 in seen  # the whole one
    assert len(seen) > 8
    assert refused == 0  # SQLite cuts a WAL at its first bad frame: what is left is sound


# --- killed in the middle

CHILD = """
import os, sys
from pathlib import Path
from hacoord.raft.messages import EMPTY_DIGEST, Entry, HardState, Kind, Persist
from hacoord.disk.storage import Storage

storage = Storage(Path(sys.argv[1]))
state, log = storage.load()
term = state.term
while True:
    term += 1
    keep = len(log) - (term % 7) * (term % 3 == 0)   # now and then a tail is replaced
    del log[max(0, keep):]
    first, digest = len(log) + 1, log[-1].digest if log else EMPTY_DIGEST
    for index in range(first, first + 5):
        log.append(Entry.after(digest, index, term, Kind.WRITE, b"%d" % term * 300))
        digest = log[-1].digest
    storage.save(Persist(HardState(term, "n1"), first, tuple(log[first - 1:])))
    os.write(1, b"%d %d %s\\n" % (term, len(log), digest.hex().encode()))
"""


@pytest.mark.parametrize("reports", [1, 2, 7, 40])
def test_nothing_reported_is_lost_to_sigkill(node: Path, reports: int) -> None:
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(node)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        with child, child.stdout as pipe:
            for _ in range(reports):
                line = pipe.readline()
            child.send_signal(signal.SIGKILL)
            rest = pipe.read().splitlines(keepends=True)  # reported between our last reading and its death
        last = next((late for late in reversed(rest) if late.endswith(b"\n")), line)
        term, length, digest = last.split()
        state, log = load(node)  # verifies contiguity and the digest chain
        # The child may have died between the commit and the report: then exactly one more is there.
        assert int(term) <= state.term <= int(term) + 1
        if state.term == int(term):
            assert (len(log), log[-1].digest.hex().encode()) == (int(length), digest)
        assert all(entry.data == b"%d" % entry.term * 300 for entry in log)
        assert log[-1].term == state.term


def test_the_lock_of_a_killed_process_is_free(node: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(node)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child, child.stdout as pipe:
        pipe.readline()
        with pytest.raises(StorageError, match=f"in use by process {child.pid}"):
            Storage(node)
        child.kill()
    Storage(node).close()
    assert (node / LOCK).exists()


# --- a full disk


def test_a_full_disk_writes_nothing_and_may_be_tried_again(node: Path) -> None:
    with Storage(node) as storage:
        log = fill(storage, 3)
        pages = storage._conn.execute("PRAGMA page_count").fetchone()[0]
        storage._conn.execute(f"PRAGMA max_page_count = {pages + 2}")
        big = Persist(HardState(9, "n2"), 2, extend(log[:1], 50, term=9, data=b"y" * 1000))
        with pytest.raises(DiskFull, match="free space"):
            storage.save(big)
        assert storage.load() == (HardState(1, "n1"), log)
        storage.save(Persist(HardState(2, None), 0, ()))
        storage._conn.execute("PRAGMA max_page_count = 100000")
        storage.save(big)
        assert storage.load() == (HardState(9, "n2"), [*log[:1], *big.entries])
    assert load(node) == (HardState(9, "n2"), [*log[:1], *big.entries])


IO_ERROR = """
import resource, sys
from pathlib import Path
from hacoord.raft.messages import HardState, Persist
from hacoord.disk.storage import Storage, StorageError
sys.path.insert(0, sys.argv[2])
from test_storage import extend, fill
storage = Storage(Path(sys.argv[1]))
log = fill(storage, 3)
size = (Path(sys.argv[1]) / "node.db-wal").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 6000, size + 6000))
for _ in range(2):
    try:
        storage.save(Persist(HardState(9, "n2"), 4, extend(log, 100, term=9)))
    except StorageError as error:
        print(error)
"""


def test_an_io_error_writes_nothing_and_ends_all_writing(node: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IO_ERROR, str(node), str(Path(__file__).parent)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    first, second = done.stdout.splitlines()
    assert "cannot write" in first
    assert "restart the process" in second
    state, log = load(node)
    assert (state, len(log)) == (HardState(1, "n1"), 3)


@pytest.mark.parametrize(("data", "term"), [(object(), 2), (b"", 2**64)])
def test_an_entry_that_cannot_be_written_takes_the_whole_transaction_with_it(
    node: Path, data: bytes, term: int
) -> None:
    with Storage(node) as storage:
        log = fill(storage, 3)
        (good,) = extend(log, 1)
        with pytest.raises((StorageError, OverflowError)):
            storage.save(Persist(HardState(9, "n2"), 4, (good, Entry(5, term, Kind.WRITE, data, bytes(8)))))
        assert storage.load() == (HardState(1, "n1"), log)
    assert load(node) == (HardState(1, "n1"), log)


# --- against a model


class Model(RuleBasedStateMachine):
    """Any sequence of saves and reopenings equals a list and a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.storage = Storage(make(self.directory / "n1"))
        self.state, self.log = HardState(), list[Entry]()

    @rule(more=st.integers(0, 3), vote=st.sampled_from([None, "n1", "n2"]))
    def save_state(self, more: int, vote: str | None) -> None:
        self.state = HardState(self.state.term + more, vote)
        self.storage.save(Persist(self.state, 0, ()))

    @rule(back=st.integers(0, 4), data=st.lists(st.binary(max_size=40), max_size=4), state=st.booleans())
    def save_entries(self, back: int, data: list[bytes], state: bool) -> None:
        first = max(1, len(self.log) + 1 - back)
        del self.log[first - 1 :]
        new: list[Entry] = []
        for each in data:
            new.extend(extend([*self.log, *new], 1, self.state.term, each))
        if state:
            self.state = HardState(self.state.term + 1, None)
        self.storage.save(Persist(self.state if state else None, first, tuple(new)))
        self.log.extend(new)

    @rule()
    def reopen(self) -> None:
        self.storage.close()
        self.storage = Storage(self.directory / "n1")

    @precondition(lambda self: self.log)
    @rule()
    def refuse_a_gap(self) -> None:
        with pytest.raises(ValueError, match="do not continue"):
            self.storage.save(Persist(None, len(self.log) + 2, ()))

    @invariant()
    def same(self) -> None:
        assert self.storage.load() == (self.state, self.log)

    def teardown(self) -> None:
        self.storage.close()
        shutil.rmtree(self.directory)


Model.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestModel = Model.TestCase


@pytest.fixture(autouse=True)
def _no_descriptor_is_left_open() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    yield
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before
