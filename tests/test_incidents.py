"""What went wrong with a frontend HA module in production, run again here: docs/incidents.md tells the stories.

Each scenario is named after its incident's number there, and every trace that one leaves is judged.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_node import QUICK, Running, make, until
from test_three_processes import NODES, PATIENCE, Cluster
from test_three_processes import client as client  # a fixture
from test_three_processes import cluster as cluster  # a fixture

from hacoord.client import Client
from hacoord.commands.cli import main
from hacoord.config import Config
from hacoord.disk.storage import DATABASE
from hacoord.ha.frontend import FrontendType
from hacoord.journal import NotLeader, OutcomeUnknown
from hacoord.node import Exit, NodeFailed
from hacoord.raft.core import Role
from hacoord.sim import Faults, Simulation
from trace_check import assert_holds

PAGE = Path(__file__).parent.parent / "docs" / "incidents.md"


def test_every_incident_has_its_scenario() -> None:
    """The page tells of 20 incidents, and names for each a test of this file or another that exists."""
    rows = re.findall(r"^\| (\d+) \|.*\|([^|]*)\|$", PAGE.read_text(), re.M)
    assert [int(number) for number, _ in rows] == list(range(1, 21))
    for number, scenarios in rows:
        named = re.findall(r"`(test_\w+)::(test_\w+)`", scenarios)
        assert named, f"incident {number} names no scenario"
        for module, test in named:
            source = (Path(__file__).parent / f"{module}.py").read_text()
            assert f"def {test}(" in source, f"incident {number}: {module} has no {test}"


def test_01_restarts_leave_no_gap_in_the_epochs(tmp_path: Path) -> None:
    harsh = Faults(crash_every=1.0, downtime=(0.05, 0.5))
    simulation = Simulation(tmp_path, 3, seed=12136, faults=harsh, write_every=0.2)
    simulation.run(lambda: simulation.now > 60)
    simulation.cluster.close()
    assert assert_holds(tmp_path).counts.epochs > 10
    logs = [process.frontend.raft.log for process in simulation.cluster.running.values()]
    for log in logs:
        assert [epoch for _, epoch in log.epochs(1, log.last)] == list(range(1, log.last_epoch + 1))


def test_02_a_quorum_lost_on_the_way_to_leader_is_survived(tmp_path: Path) -> None:
    """The winner is cut off before its epoch record commits: it steps down, stays alive, and the group goes on."""
    simulation = Simulation(tmp_path, 3, seed=4909)
    running = simulation.cluster.running

    def winner() -> str | None:
        return next((n for n, p in running.items() if p.frontend.raft.role is Role.LEADER), None)

    simulation.run(lambda: winner() is not None)
    name = winner()
    assert name is not None
    process = running[name]
    assert process.frontend.type is not FrontendType.LEADER
    simulation.cut(name)
    simulation.run(lambda: process.frontend.raft.role is not Role.LEADER)
    assert running[name] is process, "the same process: it had not been LEADER, so it need not end"
    simulation.cut()
    simulation.run(lambda: bool(simulation.cluster.leaders()) and process.frontend.type is not FrontendType.INIT)
    simulation.cluster.close()
    assert_holds(tmp_path)


@dataclass(frozen=True, slots=True)
class Failover:
    """A LEADER was cut off with one write proposed, ended, was started again, and found its successor."""

    trace: Path
    deposed: Exit | NodeFailed | None
    applied_by_deposed: list[bytes]
    applied_in_the_end: list[list[bytes]]
    lost: bytes


@pytest.fixture(scope="module")
def failover(tmp_path_factory: pytest.TempPathFactory) -> Failover:
    directory = tmp_path_factory.mktemp("failover")
    config = Config(election=QUICK.election, state_change=QUICK.state_change)
    nodes = [Running(path, config=config).started() for path in make(directory, 3)]

    def leaders() -> list[Running]:
        return [node for node in nodes if node.is_alive() and node.node.frontend.ready]

    def write(data: bytes) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for leader in leaders():
                with contextlib.suppress(NotLeader, OutcomeUnknown):
                    leader.node.journal.append(data, 1.0)
                    return
            time.sleep(0.01)
        raise AssertionError("nobody took the write in")

    try:
        until(lambda: bool(leaders()))
        write(b"before")
        old = leaders()[0]
        # From here on nothing leaves or reaches the LEADER; its disk still takes what it proposes.
        old.node._transport.blocked.update(node.name for node in nodes)
        with pytest.raises(OutcomeUnknown):
            old.node.journal.append(b"lost", 10.0)
        deposed = old.ended()
        applied = [entry.data for entry in old.entries]
        write(b"after")
        again = Running(old.directory, config=config).started()
        nodes[nodes.index(old)] = again
        write(b"and on")
        until(lambda: all(node.entries and node.entries[-1].data == b"and on" for node in nodes))
        ended = [[entry.data for entry in node.entries] for node in nodes]
    finally:
        for node in nodes:
            if node.is_alive():
                node.stop()
    return Failover(directory, deposed, applied, ended, b"lost")


def test_07_what_is_not_committed_is_never_applied(failover: Failover) -> None:
    assert failover.applied_by_deposed == [b"before"]


def test_08_a_deposed_leader_ends_by_its_own_decision_and_its_disk_is_sound(failover: Failover) -> None:
    assert failover.deposed is Exit.LOST_LEADERSHIP
    assert all(b"and on" in applied for applied in failover.applied_in_the_end)


def test_09_an_unreplicated_tail_is_given_up_and_the_start_succeeds(failover: Failover) -> None:
    assert all(failover.lost not in applied for applied in failover.applied_in_the_end)


def test_10_all_apply_the_same_after_a_rollback(failover: Failover) -> None:
    assert failover.applied_in_the_end == [[b"before", b"after", b"and on"]] * 3
    gathered = failover.trace / "all"
    gathered.mkdir()
    for path in failover.trace.glob("*/trace/*.ndjson"):
        path.rename(gathered / path.name)
    assert_holds(gathered)


def test_12_a_cleared_data_directory_does_not_come_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing makes a node but `hacoord init`, and that never over what is left of one."""
    (directory,) = make(tmp_path)
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text("a secret of sixteen bytes")
    (directory / DATABASE).rename(tmp_path / "elsewhere")
    assert main(["serve", str(directory), "--secret-file", str(secret)]) == Exit.STORAGE
    assert "holds no node" in capsys.readouterr().err
    assert not (directory / DATABASE).exists()


def test_16_a_leader_that_pauses_for_long_ends_and_joins_again(cluster: Cluster, client: Client) -> None:
    """Stopped for longer than an election takes, it wakes up as a LEADER that has a successor."""
    cluster.start(*NODES)
    old = cluster.leader()
    cluster.write(client, 3)
    cluster.processes[old].send_signal(signal.SIGSTOP)
    try:
        others = [node for node in NODES if node != old]
        cluster.until("another leads", lambda: any(cluster.status(node).get("ready") for node in others))
    finally:
        cluster.processes[old].send_signal(signal.SIGCONT)
    assert cluster.processes[old].wait(PATIENCE) == Exit.LOST_LEADERSHIP
    cluster.start(old)
    cluster.follows(old)
    cluster.write(client, 3)
    cluster.everywhere()
    cluster.stop()
    cluster.judge()


def test_19_a_reader_of_the_database_stops_nobody(tmp_path: Path) -> None:
    """A long read transaction on the node's own file, with no time out anywhere: writes go on."""
    (directory,) = make(tmp_path)
    running = Running(directory).ready()
    reader = sqlite3.connect(f"file:{directory / DATABASE}?mode=ro", uri=True, isolation_level=None)
    try:
        reader.execute("BEGIN")
        (before,) = reader.execute("SELECT count(*) FROM log").fetchone()
        for _ in range(50):
            running.node.journal.append(b"x", PATIENCE)
        assert reader.execute("SELECT count(*) FROM log").fetchone() == (before,)
    finally:
        reader.close()
    assert running.stop() is Exit.STOPPED
    assert_holds(directory / "trace")


def test_19_wall_clocks_decide_nothing(tmp_path: Path) -> None:
    """One node's wall clock is a day behind, and then a day ahead; neither the run nor the verdict depends on it."""
    simulation = Simulation(tmp_path, 3, seed=11071, faults=Faults(crash_every=3.0))
    simulation.run(lambda: simulation.now > 20)
    simulation.cluster.close()
    day = 86_400 * 10**9
    for path in tmp_path.glob("n2.*.ndjson"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for number, line in enumerate(lines):
            line["ts"] += day if number > len(lines) // 2 else -day
        path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    assert_holds(tmp_path)


def test_06_who_cannot_win_does_not_disturb(tmp_path: Path) -> None:
    """Cut off for long, it asks in vain whether it could win; when it is back, the LEADER and its term are the same."""
    simulation = Simulation(tmp_path, 3, seed=78195)
    cluster = simulation.cluster
    simulation.run(lambda: bool(cluster.leaders()))
    (leader,) = cluster.leaders()
    term = cluster.running[leader].frontend.raft.term
    other = next(name for name in cluster.names if name != leader)
    simulation.cut(other)
    until_then = simulation.now + 30
    simulation.run(lambda: simulation.now > until_then)
    simulation.cut()
    simulation.run(lambda: cluster.running[other].frontend.raft.leader == leader)
    assert cluster.leaders() == [leader]
    assert cluster.running[leader].frontend.raft.term == term
    cluster.close()
    assert_holds(tmp_path)
