"""A node in this process: what an embedding system sees of it, and how it ends."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from hacoord.config import Config, Election, Shutdown, StateChange
from hacoord.disk.storage import DiskFull, Storage, create
from hacoord.ha.frontend import FrontendType
from hacoord.ha.membership import Action, Change
from hacoord.ha.state_change import Execution
from hacoord.journal import JournalEntry, NotLeader, OutcomeUnknown, Receipt
from hacoord.node import Exit, Node, NodeFailed
from hacoord.raft.messages import Image, Persist

WAIT = 20.0
SECRET = b"0123456789abcdef"
QUICK = Config(
    election=Election(timeout=0.1, heartbeat=0.02), state_change=StateChange(backoff_min=0.001, deadline=0.3)
)


class Running(threading.Thread):
    """A node made and run on a thread of its own, as an embedding system does it."""

    def __init__(self, directory: Path, *executions: Execution, config: Config = QUICK) -> None:
        super().__init__(name=directory.name, daemon=True)
        self.directory = directory
        self.entries: list[JournalEntry] = []
        self.replay: Callable[[JournalEntry], None] = self.entries.append
        self.outcome: Exit | NodeFailed | None = None
        self.executions = executions
        self.node: Node
        self._config = config
        self._made = threading.Event()

    def run(self) -> None:
        try:
            self.node = Node(self.directory, self._config, SECRET)
            self.node.journal.on_entry(self.replay)
            for execution in self.executions:
                self.node.register(execution)
            self.prepare()
            self._made.set()
            self.outcome = self.node.run()
        except NodeFailed as error:
            self.outcome = error

    def prepare(self) -> None:
        """What an embedding system does with its node before it runs."""

    def started(self) -> Running:
        self.start()
        assert self._made.wait(WAIT), self.outcome
        return self

    def ready(self) -> Running:
        self.started()
        until(lambda: self.node.frontend.ready)
        return self

    def ended(self) -> Exit | NodeFailed | None:
        self.join(WAIT)
        assert not self.is_alive()
        return self.outcome

    def stop(self) -> Exit | NodeFailed | None:
        self.node.stop()
        return self.ended()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def make(directory: Path, size: int = 1) -> list[Path]:
    """The data directories of a new cluster."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(size)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        members = {f"n{i}": f"127.0.0.1:{each.getsockname()[1]}" for i, each in enumerate(sockets, start=1)}
    for name in members:
        create(directory / name, cluster="c", node=name, members=members)
    return [directory / name for name in members]


def traced(directory: Path) -> list[dict[str, object]]:
    """The events of a node's newest incarnation."""
    newest = max((directory / "trace").iterdir(), key=lambda path: int(path.name.split(".")[1].split("-")[0]))
    return [json.loads(line) for line in newest.read_text().splitlines()]


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[Running]:
    """The only node of its cluster, not started yet."""
    running = Running(make(tmp_path)[0])
    yield running
    if running.is_alive():
        running.stop()


class Spy:
    """An execution that remembers what it was told, and fails if it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.told: list[object] = []
        self.error = error

    def transfer_to_leader(self, epoch: int) -> None:
        self.transfer_to_non_leader(epoch)

    def transfer_to_non_leader(self, to: object) -> None:
        self.told.append(to)
        if self.error:
            raise self.error


def test_a_node_runs_on_the_thread_that_made_it_only(tmp_path: Path) -> None:
    node = Node(make(tmp_path)[0], QUICK, SECRET)
    with ThreadPoolExecutor(1) as other, pytest.raises(RuntimeError, match="the thread that made it"):
        other.submit(node.run).result()
    node.stop()
    assert node.run() is Exit.STOPPED


def test_append_read_replay_and_a_restart(tmp_path: Path) -> None:
    [directory] = make(tmp_path)
    spy = Spy()
    first = Running(directory, spy)
    journal = first.ready().node.journal
    assert spy.told == [1]
    receipts = [journal.append(b"%d" % i, WAIT) for i in range(3)]
    assert [(r.index, r.term, r.epoch) for r in receipts] == [(3, 1, 1), (4, 1, 1), (5, 1, 1)]
    entries = [JournalEntry(3, 1, 1, b"0"), JournalEntry(4, 1, 1, b"1"), JournalEntry(5, 1, 1, b"2")]
    assert journal.read(1, 9) == entries == first.entries
    assert first.stop() is Exit.STOPPED
    assert traced(directory)[-1]["event"] == "Exit"
    with pytest.raises(NotLeader):
        journal.append(b"late", WAIT)

    second = Running(directory).ready()
    assert second.node.journal.append(b"3", WAIT).epoch == 2
    assert second.entries == [*entries, JournalEntry(8, 2, 2, b"3")]
    assert second.stop() is Exit.STOPPED


def test_many_callers_share_turns(lone: Running) -> None:
    journal = lone.ready().node.journal
    receipts: list[Receipt] = []

    def call() -> None:
        receipts.extend(journal.append(b"x", WAIT) for _ in range(20))

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(WAIT)
    assert sorted(receipt.index for receipt in receipts) == list(range(3, 163))
    assert lone.stop() is Exit.STOPPED


def test_a_follower_names_the_leader_and_a_lonely_leader_ends(tmp_path: Path) -> None:
    nodes = [Running(directory).started() for directory in make(tmp_path, 3)]
    until(lambda: any(each.node.frontend.ready for each in nodes))
    leader = next(each for each in nodes if each.node.frontend.ready)
    followers = [each for each in nodes if each is not leader]
    until(lambda: all(each.node.frontend.type is FrontendType.FOLLOWER for each in followers))
    with pytest.raises(NotLeader) as refused:
        followers[0].node.journal.append(b"x", WAIT)
    assert refused.value.leader == leader.name
    receipt = leader.node.journal.append(b"x", WAIT)
    for each in followers:
        until(lambda each=each: each.node.journal.applied >= receipt.index)  # type: ignore[misc]
        assert [entry.data for entry in each.entries] == [b"x"]
        assert each.stop() is Exit.STOPPED
    with pytest.raises(OutcomeUnknown):
        leader.node.journal.append(b"y", WAIT)
    assert leader.ended() is Exit.LOST_LEADERSHIP
    assert [entry.data for entry in leader.entries] == [b"x"]
    assert [event["event"] for event in traced(tmp_path / leader.name)][-2:] == ["Lose", "Exit"]


def test_a_failing_state_change_ends_the_process(lone: Running) -> None:
    lone.executions = (Spy(OSError("no such volume")),)
    lone.start()
    outcome = lone.ended()
    assert isinstance(outcome, NodeFailed)
    assert outcome.code is Exit.STATE_CHANGE
    assert "Spy failed" in str(outcome)
    assert "no such volume" in str(outcome)
    assert traced(lone.directory)[-1]["code"] == Exit.STATE_CHANGE


def test_a_hanging_state_change_ends_the_process(lone: Running) -> None:
    released = threading.Event()

    class Hanging(Spy):
        def transfer_to_non_leader(self, to: object) -> None:
            released.wait(WAIT)

    lone.executions = (Hanging(),)
    lone.start()
    outcome = lone.ended()
    released.set()
    assert isinstance(outcome, NodeFailed)
    assert "Hanging has not come back" in str(outcome)


def test_a_failing_replay_ends_the_process_and_the_write_is_unknown(lone: Running) -> None:
    def broken(_: JournalEntry) -> None:
        raise ValueError("can't apply")

    lone.replay = broken
    lone.ready()
    with pytest.raises(OutcomeUnknown):
        lone.node.journal.append(b"x", WAIT)
    outcome = lone.ended()
    assert isinstance(outcome, NodeFailed)
    assert outcome.code is Exit.REPLAY
    assert "replay of entry 3 failed: can't apply" in str(outcome)


def test_a_full_disk_ends_the_process_and_promises_nothing(lone: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    lone.ready()

    def full(*_: object) -> None:
        raise DiskFull("the disk is full")

    monkeypatch.setattr(Storage, "save", full)
    with pytest.raises(OutcomeUnknown):
        lone.node.journal.append(b"x", WAIT)
    outcome = lone.ended()
    assert isinstance(outcome, NodeFailed)
    assert outcome.code is Exit.STORAGE
    assert "Exit" not in [event["event"] for event in traced(lone.directory)]


def test_a_trace_that_fails_ends_the_process_before_anything_is_said(
    lone: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    lone.ready()

    def broken(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hacoord.trace.os.write", broken)
    with pytest.raises(OutcomeUnknown):
        lone.node.journal.append(b"x", WAIT)
    outcome = lone.ended()
    assert isinstance(outcome, NodeFailed)
    assert outcome.code is Exit.TRACE


def test_a_node_that_cannot_start_lets_go_of_its_directory(tmp_path: Path) -> None:
    [directory] = make(tmp_path)
    with Storage(directory) as storage:
        host, _, port = storage.members["n1"].rpartition(":")
    with socket.create_server((host, int(port))):
        with pytest.raises(NodeFailed) as failed:
            Node(directory, QUICK, SECRET)
        assert failed.value.code is Exit.LISTEN
    Storage(directory).close()


def test_a_directory_in_use(lone: Running) -> None:
    lone.ready()
    with pytest.raises(NodeFailed, match="in use by process") as failed:
        Node(lone.directory, QUICK, SECRET)
    assert failed.value.code is Exit.STORAGE


def test_an_idle_node_sleeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop wakes on work and on timers of the core, never on a tick of its own."""
    [directory] = make(tmp_path)
    slow = Config(election=Election(timeout=0.3, heartbeat=0.1))
    running = Running(directory, config=slow)
    turns = 0
    turn = Node._turn

    def counted(node: Node) -> None:
        nonlocal turns
        turns += 1
        turn(node)

    monkeypatch.setattr(Node, "_turn", counted)
    running.ready()
    before, began = turns, time.monotonic()
    threading.Event().wait(1.0)
    heartbeats = (time.monotonic() - began) / 0.1
    assert turns - before <= heartbeats + 5
    assert running.stop() is Exit.STOPPED


def test_what_is_changed_in_the_turn_of_an_image_is_traced_before_it_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [directory] = make(tmp_path)
    running = Running(directory).ready()
    node = running.node
    node.journal.append(b"x", WAIT)
    early: list[int] = []
    answers: list[object] = []
    image, save = node._raft.image, node._storage.save

    def imaged(made: Image, give_up: int) -> None:
        image(made, give_up)
        node.membership.submit(Change(Action.ADD_OBSERVER, "o1", "127.0.0.1:9"), WAIT, answers.append)

    def saved(write: Persist) -> None:
        ends = [event["last"] for event in traced(directory) if event["event"] == "Append"]
        early.extend(entry.index for entry in write.entries if entry.index not in ends)
        save(write)

    monkeypatch.setattr(node._raft, "image", imaged)
    monkeypatch.setattr(node._storage, "save", saved)
    node._calls.append(lambda: node._checkpoint.request(lambda last: None))
    node._transport.wake()
    until(lambda: bool(answers))
    running.stop()
    assert not early


def test_who_asked_for_an_image_is_answered_when_it_is_on_disk_and_traced(tmp_path: Path) -> None:
    [directory] = make(tmp_path)
    running = Running(directory).ready()
    node = running.node
    node.journal.append(b"x", WAIT)
    found: list[tuple[int, Image | None, bool]] = []

    def look(last: int) -> None:
        found.append((last, node._storage.image, "Image" in [event["event"] for event in traced(directory)]))

    node._calls.append(lambda: node._checkpoint.request(look))
    node._transport.wake()
    until(lambda: bool(found))
    running.stop()
    [(last, image, is_traced)] = found
    assert image is not None
    assert image.base.last == last
    assert is_traced


def test_a_stop_does_not_wait_for_all_of_a_handover_that_was_asked_for(tmp_path: Path) -> None:
    config = dataclasses.replace(QUICK, shutdown=Shutdown(patience=0.3))
    nodes = [Running(directory, config=config).started() for directory in make(tmp_path, 3)]
    until(lambda: any(running.node.frontend.ready for running in nodes))
    leader = next(running for running in nodes if running.node.frontend.ready)
    gone, other = (running for running in nodes if running is not leader)
    gone.stop()
    frontend, heir = leader.node.frontend, gone.node.name
    until(lambda: frontend.ready)
    leader.node._calls.append(lambda: frontend.hand_over(heir, 60.0))
    leader.node._transport.wake()
    until(lambda: leader.node._raft.heir is not None)
    leader.stop()  # fails if it takes longer than WAIT
    other.stop()


def test_a_node_whose_answers_fail_lets_go_of_all_it_holds(tmp_path: Path) -> None:
    """What an embedding system's answer raises ends the node; it can be started again in the same process."""

    class Failing(Running):
        def run(self) -> None:
            with contextlib.suppress(RuntimeError):
                super().run()

    def fail(outcome: object) -> None:
        raise RuntimeError("of the embedding system")

    [directory] = make(tmp_path)
    running = Failing(directory).ready()
    for _ in range(2):
        running.node.journal.submit(b"x", fail)
    assert running.ended() is None
    assert Running(directory).ready().stop() is Exit.STOPPED


def test_a_signal_that_comes_in_the_midst_of_another_hangs_nothing(lone: Running) -> None:
    """Handlers call `stop`, between any two steps of the thread they interrupt: of one that is in `stop`, too."""
    lone.ready()

    def step(frame: FrameType, event: str, _: object) -> Any:
        sys.settrace(None)
        lone.node.stop()
        sys.settrace(step)
        return step

    def interrupted() -> None:
        sys.settrace(step)
        lone.node.stop()
        sys.settrace(None)

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(WAIT / 4)
    assert not thread.is_alive()
