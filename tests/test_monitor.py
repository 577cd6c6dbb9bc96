"""What a node counts, on a clock that is set by hand: elections, lag, commitment, stale frames."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from test_core import FAR, Bench, answer, ask, frame, log_of

from hacoord.config import Batch
from hacoord.ha.frontend import Frontend, FrontendType
from hacoord.journal import Journal
from hacoord.monitoring.frontends import view
from hacoord.monitoring.monitor import Monitor
from hacoord.raft.changes import Changes
from hacoord.raft.core import Role
from hacoord.raft.group import Part
from hacoord.raft.messages import Kind, Vote


class Watched:
    """n1 of three, driven by hand, and its monitor."""

    def __init__(self) -> None:
        self.now = 100.0
        self.bench = Bench()
        self.raft = self.bench.raft
        self.frontend = Frontend(self.raft, self.bench.outbox)
        self.journal = Journal(self.frontend, Batch(), lambda: None, clock=lambda: self.now)
        elsewhere = cast(Any, SimpleNamespace(connected={"n3"}, dropped=0, failures=0))
        self.monitor = Monitor(
            self.frontend, self.journal, elsewhere, elsewhere, elsewhere,
            files=[Path("/nowhere")], patience=1.0, slow=1.0, stale_after=30.0, labels={"node": "n1"}, http_port=None,
            clock=lambda: self.now,
        )  # fmt: skip

    def turn(self) -> None:
        """Say to the monitor what happened in this turn, as the node's loop does."""
        self.monitor.proposed()
        said = len(self.bench.said)
        self.bench.turn()
        self.monitor.traced(self.bench.said[said:])
        self.monitor.turned(self.now)

    def elect(self, now: float) -> None:
        self.raft.tick(now)
        self.turn()
        self.raft.step(Vote("n2", "n1", FAR, self.raft.term, True, True, None), now)
        self.turn()

    def win(self, now: float) -> None:
        self.raft.step(Vote("n2", "n1", FAR, self.raft.term, True, False, FAR), now)
        self.turn()

    def value(self, name: str, *labels: str) -> float | None:
        lines = self.monitor.registry.render().splitlines()
        wanted = name + ("{" + ",".join(labels) + "} " if labels else " ")
        return next((float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted)), None)


@pytest.fixture
def node() -> Watched:
    return Watched()


def test_an_election_is_timed_from_the_leader_lost_to_the_leader_known(node: Watched) -> None:
    node.now += 2
    node.raft.step(frame(3, 0, 0, []), 5.0)
    node.turn()
    assert node.value("hacoord_leader_election_seconds_sum") == 2
    node.raft.tick(8.0)  # silence: the leader is given up
    node.turn()
    node.now += 3
    node.turn()
    node.raft.step(frame(4, 0, 0, []), 8.5)
    node.turn()
    assert node.value("hacoord_leader_election_seconds_sum") == 5
    assert node.value("hacoord_leader_changes_total") == node.value("hacoord_leader_election_seconds_count") == 2
    node.raft.step(frame(5, 0, 0, []), 8.6)  # another term, without a pause in between
    node.turn()
    assert node.value("hacoord_leader_election_seconds_sum") == 5
    assert node.value("hacoord_leader_changes_total") == 3


def test_elections_started_won_and_lost(node: Watched) -> None:
    node.elect(2.5)
    assert node.raft.role is Role.CANDIDATE
    assert [node.value(f"hacoord_elections_{what}_total") for what in ("started", "won", "lost")] == [1, 0, 0]
    node.elect(6.0)  # nobody answered: another try
    assert [node.value(f"hacoord_elections_{what}_total") for what in ("started", "won", "lost")] == [2, 0, 1]
    node.raft.step(frame(node.raft.term, 0, 0, []), 6.1)  # another one won this term
    node.turn()
    assert [node.value(f"hacoord_elections_{what}_total") for what in ("started", "won", "lost")] == [2, 0, 2]
    node.elect(9.0)
    node.win(9.0)
    assert [node.value(f"hacoord_elections_{what}_total") for what in ("started", "won", "lost")] == [3, 1, 2]
    node.raft.step(frame(node.raft.term + 1, 0, 0, []), 9.1)
    node.turn()
    assert node.value("hacoord_leaderships_lost_total") == 1
    node.raft.tick(12.0)
    node.raft.step(ask(node.raft.term + 1, 9, 9), 12.0)
    node.turn()
    assert node.value("hacoord_votes_granted_total") == 1


def test_lag_and_commitment_are_timed_by_the_leader(node: Watched) -> None:
    node.elect(2.5)
    node.win(2.5)
    assert node.value("hacoord_replication_lag_entries", 'peer="n2"') == 1
    node.now += 1
    assert node.value("hacoord_replication_lag_seconds", 'peer="n2"') == 1
    answer(node.bench, "n2")
    node.turn()
    assert node.value("hacoord_replication_lag_entries", 'peer="n2"') == 0
    assert node.value("hacoord_replication_lag_seconds", 'peer="n2"') == 0
    assert node.value("hacoord_commit_seconds_count") == node.value("hacoord_commit_seconds_sum") == 1
    node.frontend.wanted()
    node.frontend.transferred(FrontendType.LEADER)
    node.turn()
    assert node.value("hacoord_activation_seconds_count") == 0, "not ready before the identity is committed"
    for _ in range(3):
        node.now += 1
        node.raft.propose(Kind.WRITE, [b"x", b"y"])
        node.turn()
    assert node.value("hacoord_replication_lag_entries", 'peer="n2"') == 7
    assert node.value("hacoord_replication_lag_entries", 'peer="n3"') == 8
    answer(node.bench, "n2", match=4)  # the identity and the first two writes: the others are 2 and 1 seconds old
    node.turn()
    assert node.value("hacoord_commit_seconds_count") == 4
    assert node.value("hacoord_commit_seconds_sum") == 1 + 3 + 2 * 2
    lag = node.value("hacoord_replication_lag_seconds", 'peer="n2"')
    assert lag is not None
    assert 1 <= lag <= 3
    assert node.value("hacoord_replication_lag_seconds", 'peer="n3"') == 4
    assert node.value("hacoord_activation_seconds_sum") == 4
    assert node.value("hacoord_peer_up", 'peer="n2"') == 0, "by this clock it has been silent for long"
    node.raft.step(frame(9, 0, 0, []), 9.0)
    node.turn()
    assert node.value("hacoord_replication_lag_entries", 'peer="n2"') is None, "only a leader knows"
    assert node.value("hacoord_peer_up", 'peer="n2"') == 0
    assert node.value("hacoord_peer_up", 'peer="n3"') == 1


def test_a_follower_whose_state_is_old_is_of_no_use(node: Watched) -> None:
    node.raft.step(frame(3, 0, 0, log_of(3), commit=1), node.now)
    node.turn()
    node.frontend.wanted()
    node.frontend.transferred(FrontendType.FOLLOWER)
    assert node.monitor.health() == (False, "it is FOLLOWER, and what it has applied may be too old"), "not yet applied"
    node.journal.replay()
    node.turn()
    assert node.monitor.health() == (True, "it is FOLLOWER of n2")
    assert node.value("hacoord_staleness_seconds") == 0
    node.now += 31
    assert node.value("hacoord_staleness_seconds") == 31
    assert node.monitor.health()[0] is False


def test_frames_of_a_deposed_leader_are_counted(node: Watched) -> None:
    node.raft.step(frame(5, 0, 0, []), 5.0)
    for term in (5, 4, 6, 3):
        node.monitor.received(frame(term, 0, 0, []))
    assert node.value("hacoord_stale_appends_rejected_total") == 2
    assert node.monitor.heard.keys() == {"n2"}


def test_frontends_are_the_members_of_the_group_as_it_is_now(node: Watched) -> None:
    node.elect(2.5)
    node.win(2.5)
    answer(node.bench, "n2")
    node.turn()
    changes = Changes(node.raft)
    for add, name in ((changes.add_learner, "n4"), (changes.add_observer, "n5")):
        add(name, f"127.0.0.1:700{name[1]}")
        node.turn()
        answer(node.bench, "n2")
        node.turn()
    changes.remove("n3")
    node.turn()
    node.monitor.received(frame(0, 0, 0, []))
    rows = {str(row["name"]): row for row in view(node.raft, node.monitor)}
    assert {name: (row["role"], row["join"]) for name, row in rows.items()} == {
        "n1": ("LEADER", True), "n2": ("FOLLOWER", True), "n4": ("FOLLOWER", False), "n5": ("OBSERVER", True),
    }  # fmt: skip
    assert rows["n4"]["address"] == "127.0.0.1:7004"
    assert rows["n1"]["alive"]
    assert isinstance(rows["n2"]["last_heartbeat"], float)
    assert rows["n4"]["last_heartbeat"] is None
    assert [node.value("hacoord_members", f'part="{part}"') for part in Part] == [2, 1, 1]
    assert node.value("hacoord_replication_lag_entries", 'peer="n4"') == node.raft.last
    assert node.value("hacoord_replication_lag_entries", 'peer="n3"') is None
