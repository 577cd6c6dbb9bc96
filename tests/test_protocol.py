"""HAProtocol, as an embedding system uses it: from threads of its own, on nodes that run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_core import Bench, answer, elect
from test_node import WAIT, Running, make, until
from test_three_processes import free_ports

from hacoord.disk.storage import Storage, create
from hacoord.exits import Exit
from hacoord.ha.frontend import Frontend
from hacoord.ha.membership import Membership
from hacoord.ha.protocol import HAProtocol, LeaderUnknown, NodeAddress, NoSuchNode
from hacoord.raft.changes import ChangeRefused
from hacoord.raft.core import NotLeader
from hacoord.raft.messages import Kind
from trace_check import assert_holds

HOST = "127.0.0.1"


class Group:
    """A cluster of one, n1, which leads; others may join it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.nodes = {"n1": Running(make(directory)[0]).ready()}
        self.port: dict[str, int] = {"n1": self.nodes["n1"].node.address[1]}
        self.protocol = self.nodes["n1"].node.protocol

    def join(self, name: str) -> None:
        """A node is added, and started on a directory of its own."""
        self.port[name] = free_ports(1)[0]
        self.protocol.add_unstable_node(name, HOST, self.port[name], WAIT)
        founders = {"n1": f"{HOST}:{self.port['n1']}"}
        create(self.directory / name, cluster="c", node=name, members=founders, address=f"{HOST}:{self.port[name]}")
        self.nodes[name] = Running(self.directory / name).started()

    def address(self, name: str) -> NodeAddress:
        return NodeAddress(name, HOST, self.port[name])

    def close(self) -> None:
        for running in self.nodes.values():
            if running.is_alive():
                running.stop()
        traces = self.directory / "trace"
        traces.mkdir()
        for path in self.directory.glob("n*/trace/*.ndjson"):
            path.rename(traces / path.name)
        assert_holds(traces)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    """Whatever a test does with it, the trace must hold."""
    made = Group(tmp_path)
    yield made
    made.close()


def test_who_leads_and_who_belongs_to_the_group(group: Group) -> None:
    protocol = group.protocol
    assert protocol.fencing(WAIT)
    assert protocol.latest_epoch() == 1
    assert protocol.leader() == group.address("n1")
    assert protocol.leader_node_name() == "n1"
    assert protocol.electable_nodes(leader_included=True) == [group.address("n1")]
    assert protocol.electable_nodes(leader_included=False) == []
    assert protocol.observer_nodes() == protocol.unstable_nodes() == []


def test_an_unstable_node_becomes_electable_and_is_removed(group: Group) -> None:
    group.join("n2")
    assert group.address("n2") in [*group.protocol.unstable_nodes(), *group.protocol.electable_nodes(True)]
    group.protocol.remove_unstable_node("n2", WAIT)
    group.protocol.remove_unstable_node("n2", WAIT)
    assert group.protocol.electable_nodes(leader_included=False) == [group.address("n2")]

    follower = group.nodes["n2"].node.protocol
    until(lambda: follower.latest_epoch() == 1 and len(follower.electable_nodes(True)) == 2)
    assert follower.leader_node_name() == "n1"
    assert not follower.fencing(WAIT)
    with pytest.raises(NotLeader, match="n1"):
        follower.remove_electable_node("n2", WAIT)
    with pytest.raises(ChangeRefused, match="takes no vote from itself"):
        group.protocol.remove_electable_node("n1", WAIT)

    group.protocol.remove_electable_node("n2", WAIT)
    assert group.nodes["n2"].ended() is Exit.REMOVED
    assert group.protocol.electable_nodes(leader_included=True) == [group.address("n1")]
    with pytest.raises(ChangeRefused, match="never used"):
        group.protocol.add_unstable_node("n2", HOST, group.port["n2"], WAIT)


def test_no_such_node_is_not_an_unknown_leader(group: Group) -> None:
    with pytest.raises(NoSuchNode, match="no node n9"):
        group.protocol.remove_electable_node("n9", WAIT)
    with pytest.raises(NoSuchNode):
        group.protocol.remove_unstable_node("n9", WAIT)
    with pytest.raises(NoSuchNode):
        group.protocol.update_frontend_host_and_port("n9", HOST, 7000, WAIT)
    assert group.protocol.remove_node_if_exist(HOST, 1, None, WAIT) is None


def test_addresses_are_changed_and_reused_but_never_shared(group: Group) -> None:
    protocol = group.protocol
    protocol.add_unstable_node("n2", HOST, 7999, WAIT)
    with pytest.raises(ChangeRefused, match="is the address of n2"):
        protocol.add_unstable_node("n3", HOST, 7999, WAIT)
    protocol.update_frontend_host_and_port("n2", HOST, 7998, WAIT)
    assert protocol.unstable_nodes() == [NodeAddress("n2", HOST, 7998)]
    with pytest.raises(NoSuchNode, match="not electable"):
        protocol.remove_electable_node("n2", WAIT)
    assert protocol.remove_node_if_exist(HOST, 7998, "n2", WAIT) is None
    assert protocol.remove_node_if_exist(HOST, 7998, None, WAIT) == "n2"
    assert protocol.unstable_nodes() == []


def test_changes_asked_for_at_the_same_time_take_their_turns(group: Group) -> None:
    names = [f"o{i}" for i in range(8)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: group.protocol.add_unstable_node(name, HOST, 7000 + int(name[1:]), WAIT), names))
    assert [node.name for node in group.protocol.unstable_nodes()] == names


def test_without_a_majority_no_leader_is_known(tmp_path: Path) -> None:
    running = Running(make(tmp_path, 3)[0]).started()
    protocol = running.node.protocol
    with pytest.raises(LeaderUnknown):
        protocol.leader()
    with pytest.raises(LeaderUnknown):
        protocol.electable_nodes(leader_included=False)
    assert [node.name for node in protocol.electable_nodes(leader_included=True)] == ["n1", "n2", "n3"]
    assert protocol.latest_epoch() == 0
    assert not protocol.fencing(WAIT)
    with pytest.raises(NotLeader):
        protocol.add_unstable_node("n4", HOST, 7000, WAIT)
    assert running.stop() is Exit.STOPPED
    assert not protocol.fencing(WAIT)
    with pytest.raises(NotLeader):
        protocol.add_unstable_node("n4", HOST, 7000, WAIT)


class Clockwork:
    """n1 of three, whose clock and whose peers are played by the test; `turn` is its loop."""

    def __init__(self) -> None:
        self.now = 0.0
        self.bench = Bench()
        frontend = Frontend(self.bench.raft, self.bench.outbox)
        membership = Membership(frontend, lambda: self.now, lambda: None, outdated=tuple, patience=1.0)
        self.protocol = HAProtocol(frontend, membership, lambda: self.now, lambda: None)

    def fencing(self, timeout: float) -> bool:
        """Ask from another thread, and turn the loop until there is an answer."""
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(self.protocol.fencing, timeout)
            while not asked.done():
                self.protocol.turn()
                self.now += 0.1
            return asked.result()


def test_fencing_is_tried_again_in_the_same_term_with_the_same_record() -> None:
    node = Clockwork()
    assert not node.fencing(1.0)
    elect(node.bench)
    term = node.bench.raft.term
    for _ in range(3):
        with pytest.raises(TimeoutError, match="not committed yet"):
            node.fencing(0.5)
    answer(node.bench)
    assert node.fencing(1.0)
    log = node.bench.raft.log
    records = [entry for entry in log.between(1, log.last) if entry.kind is Kind.EPOCH]
    assert [(entry.term, node.bench.raft.term) for entry in records] == [(term, term)]


def test_fencing_fails_when_the_term_is_lost_meanwhile() -> None:
    node = Clockwork()
    elect(node.bench)
    outcome: list[bool] = []
    asking = threading.Thread(target=lambda: outcome.append(node.protocol.fencing(WAIT)))
    asking.start()
    until(lambda: bool(node.protocol._fencings))
    node.protocol.turn()
    node.bench.raft.conclude()
    node.protocol.turn()
    asking.join(WAIT)
    assert outcome == [False]


def test_who_joined_is_the_same_after_a_restart(group: Group) -> None:
    group.join("n2")
    group.protocol.remove_unstable_node("n2", WAIT)
    assert group.nodes["n2"].stop() is Exit.STOPPED
    with Storage(group.directory / "n2") as storage:
        assert storage.address == f"{HOST}:{group.port['n2']}"
    assert group.nodes["n1"].ended() is Exit.LOST_LEADERSHIP, "alone of two, it can lead no more"
    for name in ("n1", "n2"):
        group.nodes[name] = Running(group.directory / name).started()
    until(lambda: all(running.node.protocol.latest_epoch() >= 2 for running in group.nodes.values()))
