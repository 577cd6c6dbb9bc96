"""Whatever the network and the crashes do to it, the core keeps Raft's promises, and the checker agrees.

Hypothesis chooses the steps (and prints the shortest sequence that breaks something): messages delivered in any
order, dropped, repeated; nodes that look at the clock at any time; processes killed at every point of a turn. What must
hold is checked here on the nodes themselves; the traces are judged, at the end, by trace_check, which knows only them.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hacoord.raft.changes import ChangeRefused
from hacoord.raft.core import Role, Timing
from hacoord.raft.group import Part
from hacoord.raft.messages import Entry, Kind
from hacoord.sim import Cluster, CrashPoint, Faults, Simulation
from trace_check import assert_holds

pick = st.integers(min_value=0, max_value=10_000)


class AnyNetwork(RuleBasedStateMachine):
    """A small cluster whose every step is chosen."""

    @initialize(size=st.sampled_from([1, 2, 3, 3, 3, 5]), seed=st.integers(0, 2**16))
    def begin(self, size: int, seed: int) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.time = 0.0
        self.cluster = Cluster(
            Path(self.directory.name), size, seed=seed, timing=Timing(1.0, 0.2), clock=lambda: self.time
        )
        self.leader_of: dict[int, str] = {}
        self.committed: list[Entry] = []

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.3, 1.1, 2.5]), which=pick)
    def time_passes(self, seconds: float, which: int) -> None:
        self.time += seconds
        running = sorted(self.cluster.running)
        if running:
            self.cluster.tick(running[which % len(running)])

    @precondition(lambda self: self.cluster.in_flight)
    @rule(which=pick)
    def deliver(self, which: int) -> None:
        flight = self.cluster.in_flight
        self.cluster.deliver(flight.pop(which % len(flight)))

    @precondition(lambda self: self.cluster.in_flight)
    @rule()
    def deliver_all_in_order(self) -> None:
        for _ in range(len(self.cluster.in_flight)):
            self.cluster.deliver(self.cluster.in_flight.pop(0))

    @precondition(lambda self: self.cluster.in_flight)
    @rule(which=pick)
    def repeat(self, which: int) -> None:
        flight = self.cluster.in_flight
        self.cluster.deliver(flight[which % len(flight)])

    @precondition(lambda self: self.cluster.in_flight)
    @rule(which=pick)
    def drop(self, which: int) -> None:
        flight = self.cluster.in_flight
        del flight[which % len(flight)]

    @precondition(lambda self: self.cluster.leaders())
    @rule(which=pick, count=st.integers(1, 3))
    def write(self, which: int, count: int) -> None:
        leaders = self.cluster.leaders()
        self.cluster.write(leaders[which % len(leaders)], count)

    @precondition(lambda self: self.cluster.leaders())
    @rule(which=pick, count=st.integers(1, 3))
    def read(self, which: int, count: int) -> None:
        leaders = self.cluster.leaders()
        self.cluster.read(leaders[which % len(leaders)], count)

    @precondition(lambda self: self.cluster.leaders())
    @rule(which=pick, heir=pick, force=st.booleans())
    def hand_over(self, which: int, heir: int, force: bool) -> None:
        leaders = self.cluster.leaders()
        leader = leaders[which % len(leaders)]
        others = [name for name in self.cluster.running[leader].frontend.raft.voters if name != leader]
        if others:
            self.cluster.hand_over(leader, others[heir % len(others)], force=force)

    @precondition(lambda self: self.cluster.leaders())
    @rule(which=pick, about=pick, change=st.sampled_from(["learner", "observer", "again", "promote", "remove", "move"]))
    def change_the_group(self, which: int, about: int, change: str) -> None:
        leaders = self.cluster.leaders()
        leader = leaders[which % len(leaders)]
        group = self.cluster.running[leader].frontend.raft.log.group.current
        name = list(group.members)[about % len(group.members)]
        gone = sorted(group.removed)
        with suppress(ChangeRefused):
            match change:
                case "learner" | "observer" if len(group.members) < 6:
                    self.cluster.add(leader, Part(change))
                case "again" if gone:
                    self.cluster.add(leader, Part.LEARNER, gone[about % len(gone)])
                case "promote":
                    self.cluster.promote(leader, name)
                case "remove":
                    self.cluster.remove(leader, name)
                case "move":
                    self.cluster.move(leader, name, f"{name}:{7000 + about % 3}")

    @precondition(lambda self: self.cluster.running)
    @rule(which=pick, keep=st.integers(0, 3))
    def image(self, which: int, keep: int) -> None:
        running = sorted(self.cluster.running)
        self.cluster.image(running[which % len(running)], keep)

    @rule(which=pick, point=st.sampled_from([None, *CrashPoint]))
    def kill(self, which: int, point: CrashPoint | None) -> None:
        running = sorted(self.cluster.running)
        if not running:
            return
        name = running[which % len(running)]
        if point is None:
            self.cluster.crash(name)
        else:
            self.cluster.crash_at(name, point)

    @precondition(lambda self: len(self.cluster.running) < len(self.cluster.names))
    @rule(which=pick)
    def restart(self, which: int) -> None:
        down = [n for n in self.cluster.names if n not in self.cluster.running]
        self.cluster.restart(down[which % len(down)])

    @invariant()
    def one_leader_in_a_term(self) -> None:
        for name, process in self.cluster.running.items():
            raft = process.frontend.raft
            if raft.role is Role.LEADER:
                assert self.leader_of.setdefault(raft.term, name) == name

    @invariant()
    def what_is_committed_is_the_same_everywhere_and_stays(self) -> None:
        for process in self.cluster.running.values():
            raft = process.frontend.raft
            base = raft.log.base
            assert base.last <= len(self.committed)
            assert base.last == 0 or base.digest == self.committed[base.last - 1].digest
            log = [*self.committed[: base.last], *raft.log.between(base.last + 1, raft.commit_index)]
            assert log[: len(self.committed)] == self.committed[: len(log)]
            if len(log) > len(self.committed):
                self.committed = log

    @invariant()
    def an_image_is_what_its_entries_amount_to(self) -> None:
        for disk in self.cluster.disks.values():
            if disk.image:
                entries = self.committed[: disk.image.base.last]
                wrote = {entry.data.decode().split()[-1]: entry.index for entry in entries if entry.kind is Kind.WRITE}
                assert {key: at for key, at in json.loads(disk.state).items() if at} == wrote

    def teardown(self) -> None:
        if hasattr(self, "cluster"):
            self.cluster.close()
            assert_holds(self.directory.name)
            self.directory.cleanup()


TestAnyNetwork = AnyNetwork.TestCase
TestAnyNetwork.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)

HARSH = Faults(
    drop=0.1, duplicate=0.1, delay=(0.001, 0.2), crash_every=4.0, partition_every=5.0, transfer_every=3.0,
    downtime=(0.1, 4.0),
)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 7])
@pytest.mark.parametrize("seed", range(4))
def test_a_harsh_minute_is_survived_and_its_trace_holds(tmp_path: Path, size: int, seed: int) -> None:
    simulation = Simulation(tmp_path, size, seed=seed, faults=HARSH, write_every=0.1)
    simulation.run(lambda: simulation.now > 60)
    simulation.cluster.close()
    assert_holds(tmp_path)


@pytest.mark.parametrize("change_every", [None, 0.4])
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("seed", range(2))
def test_images_in_a_harsh_minute_bring_laggards_back(
    tmp_path: Path, size: int, seed: int, change_every: float | None
) -> None:
    simulation = Simulation(
        tmp_path, size, seed=seed, faults=HARSH, write_every=0.1, image_every=0.7, change_every=change_every
    )
    simulation.run(lambda: simulation.now > 60)
    simulation.cluster.close()
    said = [json.loads(line)["event"] for path in tmp_path.iterdir() for line in path.read_text().splitlines()]
    assert said.count("Install") >= 2
    assert_holds(tmp_path)


@pytest.mark.parametrize("size", [1, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_a_group_changes_in_a_harsh_minute_and_its_trace_holds(tmp_path: Path, size: int, seed: int) -> None:
    simulation = Simulation(
        tmp_path, size, seed=seed, faults=HARSH, write_every=0.1, change_every=0.25, image_every=2.0
    )
    simulation.run(lambda: simulation.now > 60)
    simulation.cluster.close()
    assert_holds(tmp_path)
    lines = [json.loads(line) for path in tmp_path.iterdir() for line in path.read_text().splitlines()]
    assert sum("members" in line for line in lines if line["event"] == "Append") > 5


def test_the_same_seed_gives_the_same_traces(tmp_path: Path) -> None:
    for run in ("a", "b"):
        simulation = Simulation(tmp_path / run, 3, seed=5, faults=HARSH)
        simulation.run(lambda s=simulation: s.now > 10)  # type: ignore[misc]
        simulation.cluster.close()
    first, second = ({f.name: f.read_bytes() for f in (tmp_path / run).iterdir()} for run in ("a", "b"))
    assert first == second


def test_in_quiet_times_a_leader_emerges_and_every_write_is_acknowledged(tmp_path: Path) -> None:
    simulation = Simulation(tmp_path, 5, seed=3)
    simulation.run(lambda: simulation.now > 5)
    simulation.cluster.close()
    assert assert_holds(tmp_path).counts.writes_acknowledged > 100
