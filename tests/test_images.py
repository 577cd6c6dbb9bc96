"""Images: what a log amounts to takes its place, on the own disk and on those of laggards, and nothing else changes.

The core is run in a simulated cluster whose messages are delivered one by one; the journal and real nodes come after.
What was traced is judged by trace_check.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hacoord.raft.core import Timing
from hacoord.raft.messages import Appended, AppendEntries, InstallSnapshot, Message, Persist
from hacoord.raft.transfer import checksum
from hacoord.sim import Cluster, Disk, cluster
from trace_check import assert_holds, replay


class Group:
    """Three nodes of which n1 leads; n3 can be cut off."""

    def __init__(self, directory: Path) -> None:
        self.now = 0.0
        self.directory = directory
        self.cluster = Cluster(directory, 3, seed=1, timing=Timing(1.0, 0.1), clock=lambda: self.now)
        self.cut: set[str] = set()
        self.parts: list[int] = []
        self.lead("n1")

    def lead(self, name: str) -> None:
        """Let time pass until a node leads and is ready."""
        for _ in range(100):
            self.now += 2.5
            if name in self.cluster.leaders():
                return
            self.cluster.tick(name)
            self.settle()
        raise AssertionError(f"{name} does not lead")

    def settle(self, lose: int = 0) -> None:
        """Deliver everything, and what comes of it; but lose the first `lose` frames with a part of an image."""
        while self.cluster.in_flight:
            message = self.cluster.in_flight.pop(0)
            if isinstance(message, InstallSnapshot) and message.data:
                self.parts.append(message.offset)
                if lose:
                    lose -= 1
                    continue
            if not self.cut.intersection((message.src, message.dst)):
                self.cluster.deliver(message)

    def heartbeat(self, name: str = "n1") -> None:
        self.now += 0.1
        self.cluster.tick(name)

    def write(self, count: int, name: str = "n1") -> None:
        for _ in range(count):
            self.cluster.write(name)
            self.settle()

    def last(self, name: str) -> int:
        return self.cluster.running[name].frontend.raft.commit_index

    def events(self, name: str) -> list[dict[str, object]]:
        lines = [line for path in sorted(self.directory.glob(f"{name}.*")) for line in path.read_text().splitlines()]
        return [json.loads(line) for line in lines]

    def said(self, name: str, event: str) -> list[dict[str, object]]:
        return [line for line in self.events(name) if line["event"] == event]


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    group = Group(tmp_path)
    yield group
    group.cluster.close()
    assert_holds(tmp_path)


def left_behind(group: Group) -> None:
    """n3 misses 20 writes, which the others give up for images."""
    group.write(3)
    group.cut = {"n3"}
    group.write(20)
    group.cluster.image("n1")
    group.cluster.image("n2")
    group.settle()
    group.cut = set()


def test_a_laggard_is_sent_the_image_and_then_the_entries_after_it(group: Group) -> None:
    left_behind(group)
    group.write(2)
    group.heartbeat()
    group.settle()
    assert group.last("n3") == group.last("n1")
    (install,) = group.said("n3", "Install")
    (image,) = group.said("n1", "Image")
    assert (install["last"], install["digest"]) == (image["last"], image["digest"])
    assert group.cluster.disks["n3"].state == group.cluster.disks["n1"].state
    assert len(group.parts) > 1
    assert group.parts == sorted(set(group.parts))


def test_who_is_only_a_little_behind_gets_the_entries_that_were_kept(group: Group) -> None:
    group.cut = {"n3"}
    group.write(5)
    group.cluster.image("n1", keep=6)
    group.cut = set()
    group.heartbeat()
    group.settle()
    assert group.last("n3") == group.last("n1")
    assert group.parts == []


def test_a_lost_part_is_asked_for_and_sent_again_from_where_it_was(group: Group) -> None:
    left_behind(group)
    group.heartbeat()
    group.settle(lose=1)
    for _ in range(3):
        group.heartbeat()
        group.settle()
    assert group.last("n3") == group.last("n1")
    assert group.parts.count(0) == 2
    assert group.parts[1:] == sorted(set(group.parts))


def test_an_image_that_arrives_with_the_beginning_of_a_newer_one_is_kept_as_it_is(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the older one was on its way for long, and comes in the turn in which a part of the newer one does."""
    both: list[Message] = []
    for part in (100, 16):
        monkeypatch.setattr(cluster, "PART", part)
        left_behind(group)
        group.heartbeat()
        while not isinstance(message := group.cluster.in_flight.pop(0), InstallSnapshot) or not message.data:
            group.cluster.deliver(message)
        both.append(message)
    raft = group.cluster.running["n3"].frontend.raft
    for message in both:
        raft.step(message, group.now)
    group.cluster.tick("n3")
    disk = group.cluster.disks["n3"]
    assert disk.image is not None
    assert checksum(disk.state) == disk.image.checksum
    group.heartbeat()
    group.settle()
    assert group.last("n3") == group.last("n1")


def test_another_leader_with_the_same_image_goes_on_where_the_first_one_stopped(group: Group) -> None:
    left_behind(group)
    group.heartbeat()
    while len(group.parts) < 2:
        message = group.cluster.in_flight.pop(0)
        if isinstance(message, InstallSnapshot) and message.data:
            group.parts.append(message.offset)
        group.cluster.deliver(message)
    group.cluster.crash("n1")
    group.cluster.in_flight.clear()
    group.lead("n2")
    group.settle()
    assert group.said("n3", "Install")
    assert group.parts.count(0) == 1


def test_a_leader_that_starts_again_goes_on_from_its_image(group: Group) -> None:
    left_behind(group)
    group.cluster.crash("n1")
    group.cluster.restart("n1")
    group.lead("n1")
    group.settle()
    start = group.said("n1", "Start")[-1]
    (install,) = group.said("n3", "Install")
    assert start["image"] == [install["last"], install["last_term"], install["digest"]]
    assert group.last("n3") == group.last("n1")


def test_heartbeats_go_on_to_who_does_not_answer_and_carry_nothing(group: Group) -> None:
    left_behind(group)
    group.cut = {"n3"}
    sent: list[Message] = []
    for _ in range(5):
        group.heartbeat()
        sent += [m for m in group.cluster.in_flight if m.dst == "n3"]
        group.settle()
    assert len(sent) >= 5
    assert not any(isinstance(m, InstallSnapshot) and m.data for m in sent)


def test_an_image_takes_the_place_of_entries_that_contradict_it(group: Group) -> None:
    group.write(2)
    group.cut = {"n1"}
    group.cluster.write("n1", 3)  # nobody else ever gets these
    group.settle()
    group.lead("n2")
    group.write(20, "n2")
    group.cluster.image("n2")
    group.cluster.crash("n1")
    group.cut = set()
    group.cluster.restart("n1")
    for _ in range(3):
        group.heartbeat("n2")
        group.settle()
    assert group.said("n1", "Install")
    assert group.last("n1") == group.last("n2")


def test_what_is_committed_and_given_up_is_not_asked_for_again(group: Group) -> None:
    """A delayed frame from before the image agrees with it, as far as that goes."""
    group.write(3)
    frames = [m for m in group.cluster.in_flight if isinstance(m, AppendEntries)]
    group.cluster.write("n1")
    late = [m for m in group.cluster.in_flight if isinstance(m, AppendEntries) and m.dst == "n3"]
    group.settle()
    group.write(4)
    group.cluster.image("n3")
    for message in [*frames, *late]:
        group.cluster.deliver(message)
    group.settle()
    assert group.last("n3") == group.last("n1")


def test_who_has_what_the_image_holds_and_more_says_so_by_a_store(group: Group) -> None:
    """n3 had stored two entries and was killed before it said so; the leader has given the first of them up.

    It answers that it has the image, and the leader cites a Store for that, not the one of before the crash.
    """
    cluster = group.cluster
    raft = cluster.running["n1"].frontend.raft
    group.write(3)

    def deliver(wanted: Callable[[Message], bool]) -> list[Message]:
        others: list[Message] = []
        while cluster.in_flight:
            message = cluster.in_flight.pop(0)
            if wanted(message):
                cluster.deliver(message)
            else:
                others.append(message)
        return others

    def has_entries(message: Message) -> bool:
        return isinstance(message, AppendEntries) and bool(message.entries)

    cluster.write("n1")
    first = next(m for m in deliver(lambda m: m.dst != "n3") if has_entries(m))
    cluster.write("n1")
    second = next(m for m in deliver(lambda m: not has_entries(m)) if m.dst == "n3")
    cluster.deliver(second)  # which it refuses, as the first is late
    deliver(lambda m: m.dst == "n1")
    cluster.deliver(first)
    cluster.deliver(second)
    cluster.in_flight.clear()
    cluster.crash("n3")
    cluster.image("n1")
    assert raft.log.base.last == raft.commit_index == raft.last - 1
    cluster.restart("n3")
    cluster.in_flight.clear()
    group.heartbeat()
    deliver(lambda m: isinstance(m, InstallSnapshot | Appended))
    cluster.remove("n1", "n2")
    group.settle()
    assert "n2" not in raft.voters


def read_after_an_install(group: Group) -> None:
    """n3 comes back through the image, and leads; then all keys are read there, none of them written since."""
    left_behind(group)
    group.heartbeat()
    group.settle()
    group.cluster.crash("n1")
    group.cluster.in_flight.clear()
    group.now += 5
    group.lead("n3")
    group.cluster.read("n3", 20)
    group.settle()


def test_who_took_an_image_over_reads_from_it(group: Group) -> None:
    read_after_an_install(group)


@pytest.mark.wrong_traces
def test_who_does_not_read_what_it_took_over_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = Disk.save

    def unread(disk: Disk, write: Persist) -> None:
        state = disk.state
        save(disk, write)
        disk.state = state if write.received else disk.state

    monkeypatch.setattr(Disk, "save", unread)
    group = Group(tmp_path)
    read_after_an_install(group)
    group.cluster.close()
    violation = replay(tmp_path).violation
    assert violation is not None
    assert violation.rule == "NewestVersion"
