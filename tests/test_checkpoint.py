"""Images as an embedding system sees them: its machine comes back as it was, here and on nodes that were away."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from test_journal import Leader
from test_node import QUICK, SECRET, WAIT, Running, make, traced, until

from hacoord.client import Client, RequestRefused
from hacoord.config import Batch, Config, Election, Images
from hacoord.disk.image_store import PART
from hacoord.disk.storage import Founding, Storage, create
from hacoord.ha.frontend import Frontend
from hacoord.images import BadImage, Content, decode, encode, parts
from hacoord.journal import GivenUp, Journal, JournalEntry, NotLeader, OutcomeUnknown
from hacoord.node import Exit, NodeFailed
from hacoord.raft import group
from hacoord.raft.core import Raft
from hacoord.raft.messages import Base, HardState, Image
from hacoord.raft.outbox import Outbox
from hacoord.raft.transfer import checksum
from trace_check import assert_holds

OFTEN = replace(QUICK, image=Images(every=10, keep=3))
# Where an election in between would spoil the test, however busy the machine.
PATIENT = replace(OFTEN, election=Election(timeout=1.5, heartbeat=0.1))


class Counts:
    """A machine that counts how often each word was written; its image comes in pieces."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.applied: list[int] = []
        self.restored = 0
        self.padding = b""

    def apply(self, index: int, data: bytes) -> int:
        word = data.decode()
        self.applied.append(index)
        self.counts[word] = self.counts.get(word, 0) + 1
        return self.counts[word]

    def image(self) -> Iterable[bytes]:
        yield json.dumps(self.counts).encode()
        for _ in range(len(self.padding) // PART):
            yield b" " * PART

    def restore(self, image: bytes) -> None:
        self.restored += 1
        self.counts = json.loads(image)


class Counting(Running):
    """A node that hosts such a machine."""

    def __init__(self, directory: Path, config: Config = OFTEN) -> None:
        super().__init__(directory, config=config)
        self.machine = Counts()

    def prepare(self) -> None:
        self.node.host(self.machine)

    def image(self) -> int:
        return int(str(self.node.status()["image"]))


def test_an_image_shows_nothing_of_what_is_applied_while_its_keys_are_written() -> None:
    """The machine's image is a generator, which begins when it is first asked; the keys fill several parts."""
    leader, machine = Leader(), Counts()
    leader.journal.host(machine)
    leader.elect()
    for number in range(10):
        leader.journal.submit(b"early", leader.answers.append, key=f"key {number}")
    leader.turn()
    leader.peer_stores()
    leader.turn()
    taken = parts(leader.journal.image(), 64)
    content = next(taken)
    leader.write(b"late")
    leader.turn()
    leader.peer_stores()
    leader.turn()
    assert machine.counts == {"early": 10, "late": 1}
    image = decode(content + b"".join(taken))
    assert image.after == 12
    assert json.loads(image.machine or b"") == {"early": 10}


def test_an_image_is_not_kept_in_memory_beside_the_machine_that_has_been_restored_from_it() -> None:
    content = b"".join(encode(5, [b'{"a": 1}', b" " * (4 << 20)], ()))
    base = Base(5, 1, b"12345678", members=group.encode(group.founding({"n1": "127.0.0.1:7001"})))
    image = Image(base, len(content), checksum(content))
    outbox = Outbox("n1", "1-00000001")
    raft = Raft("n1", group.founding({}), outbox, now=0.0, hard_state=HardState(1), base=base, image=image)
    journal = Journal(Frontend(raft, outbox), Batch(), lambda: None, lambda: content)
    journal.host(machine := Counts())
    tracemalloc.start()
    try:
        journal.replay()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (journal.applied, machine.counts) == (5, {"a": 1})
    assert kept < 1 << 20


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Counting]]:
    """The nodes of a cluster of three, not started yet; afterwards their traces are judged."""
    running = [Counting(directory, PATIENT) for directory in make(tmp_path, 3)]
    yield running
    for node in running:
        if node.is_alive():
            node.stop()
    (tmp_path / "all").mkdir()
    for path in tmp_path.glob("n*/trace/*"):
        shutil.copy(path, tmp_path / "all")
    assert_holds(tmp_path / "all")


def write(node: Running, *words: str) -> None:
    for word in words:
        node.node.journal.append(word.encode(), WAIT)


def leader(nodes: list[Counting]) -> Counting:
    found: list[Counting] = []

    def ready() -> bool:
        found[:] = [node for node in nodes if node.is_alive() and node.node.frontend.ready]
        return bool(found)

    until(ready)
    return found[0]


def test_a_node_starts_from_its_image_and_applies_only_what_comes_after(tmp_path: Path) -> None:
    [directory] = make(tmp_path)
    first = Counting(directory).ready()
    assert isinstance(first, Counting)
    write(first, *("ab" * 20))
    until(lambda: first.image() > 30)
    assert first.stop() is Exit.STOPPED
    again = Counting(directory).ready()
    assert isinstance(again, Counting)
    assert again.machine.counts == {"a": 20, "b": 20}
    assert again.machine.restored == 1
    assert len(again.machine.applied) < 20
    write(again, "a")
    assert again.machine.counts["a"] == 21
    assert again.stop() is Exit.STOPPED
    assert traced(directory)[0]["image"]
    assert_holds(directory / "trace")


def test_entries_before_an_image_are_given_up_and_reading_them_says_so(tmp_path: Path) -> None:
    [directory] = make(tmp_path)
    node = Counting(directory).ready()
    write(node, *("ab" * 20))
    journal = node.node.journal
    until(lambda: journal.first > 20)
    with pytest.raises(GivenUp, match=f"read from {journal.first} on") as refusal:
        journal.read(1, 100)
    assert journal.read(refusal.value.first, 100)[-1].data == b"b"
    host, port = node.node.address
    with Client([f"{host}:{port}"], SECRET) as client, pytest.raises(RequestRefused, match="given up"):
        list(client.read(f"{host}:{port}"))
    node.stop()


def test_a_node_that_was_away_comes_back_through_the_image(nodes: list[Counting]) -> None:
    for node in nodes:
        node.started()
    first = leader(nodes)
    absent = next(node for node in nodes if node is not first)
    write(first, "early")
    until(lambda: absent.machine.counts == {"early": 1})
    absent.stop()
    write(first, *("xy" * 50))
    until(lambda: first.node.journal.first > 50)
    back = Counting(absent.directory, PATIENT)
    nodes.append(back)
    back.started()
    write(first, "late")
    until(lambda: back.machine.counts == {"early": 1, "x": 50, "y": 50, "late": 1})
    assert "Install" in [event["event"] for event in traced(back.directory)]
    assert len(back.machine.applied) < 50


def test_writes_go_on_while_a_large_image_is_taken(tmp_path: Path) -> None:
    [directory] = make(tmp_path)
    node = Counting(directory, replace(QUICK, image=Images(every=10**6)))
    node.ready()
    write(node, "before")
    node.machine.padding = b" " * 40 * PART
    host, port = node.node.address
    during: list[int] = []

    original = node.machine.image

    def image() -> Iterator[bytes]:
        for piece in original():
            during.append(node.node.journal.applied)
            yield piece

    node.machine.image = image  # type: ignore[method-assign]
    with Client([f"{host}:{port}"], SECRET) as client:
        taking = threading.Thread(target=client.image, args=(f"{host}:{port}",))
        taking.start()
        until(lambda: bool(during))
        while taking.is_alive():
            write(node, "meanwhile")
        taking.join()
    assert len(set(during)) > 5
    assert node.stop() is Exit.STOPPED
    with Storage(directory) as storage:
        content = decode(storage.read_image())
    assert content.machine is not None
    assert json.loads(content.machine) == {"before": 1}


def test_a_machine_that_fails_to_make_an_image_ends_the_process(tmp_path: Path) -> None:
    node = Counting(make(tmp_path)[0])
    node.ready()

    def image() -> Iterator[bytes]:
        raise RuntimeError("no room")

    node.machine.image = image  # type: ignore[method-assign]
    with contextlib.suppress(OutcomeUnknown, NotLeader):
        write(node, *("z" * 12))
    outcome = node.ended()
    assert isinstance(outcome, NodeFailed)
    assert outcome.code is Exit.REPLAY
    assert "no room" in str(outcome)


def test_a_node_that_hosts_no_machine_does_not_take_another_ones_image_for_a_journal(tmp_path: Path) -> None:
    [directory] = make(tmp_path)
    node = Counting(directory).ready()
    write(node, *("z" * 30))
    node.stop()
    outcome = Running(directory).started().ended()
    assert isinstance(outcome, NodeFailed)
    assert "start the node with that machine" in str(outcome)


def test_without_a_machine_the_image_holds_the_journal_and_another_cluster_can_go_on_from_it(tmp_path: Path) -> None:
    [directory] = make(tmp_path / "old")
    old = Running(directory).ready()
    write(old, "a", "b", "c")
    host, port = old.node.address
    with Client([f"{host}:{port}"], SECRET) as client:
        last = client.image(f"{host}:{port}")
    assert old.node.journal.read(1, 9) == old.entries
    old.stop()
    with Storage(directory) as storage:
        image = storage.image
        assert image is not None
        assert image.base.last == last
        founding = Founding(image.base, storage.read_image())
        members = storage.members
    create(tmp_path / "new", cluster="c2", node="n1", members=members, founding=founding)
    new = Running(tmp_path / "new").ready()
    receipt = new.node.journal.append(b"d", WAIT)
    assert receipt.epoch == 2
    assert (
        new.node.journal.read(1, 99)
        == new.entries
        == [*old.entries, JournalEntry(receipt.index, receipt.term, 2, b"d")]
    )
    new.stop()


# --- the bytes


ENTRIES = [JournalEntry(index, 2, 1, b"x" * index) for index in range(1, 700)]


@pytest.mark.parametrize("content", [Content(0, None, []), Content(0, None, ENTRIES), Content(9, b"abc", ENTRIES[9:])])
def test_what_is_encoded_is_decoded(content: Content) -> None:
    machine = None if content.machine is None else [content.machine[:1], content.machine[1:]]
    cut = list(parts(encode(content.after, machine, content.entries), 1000))
    assert all(len(part) == 1000 for part in cut[:-1])
    assert decode(b"".join(cut)) == content


BAD = [b"", b"H", b"X\0\0\0\0", b"H\0\0\0\x02{}", b'H\0\0\0\x0e{"format": 99}', b"E\0\0\0\0"]


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_image_is_refused(bad: bytes) -> None:
    with pytest.raises(BadImage):
        decode(bad)
