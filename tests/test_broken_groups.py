"""Nodes that change their group wrongly, each in one way: the checker must refuse it (see test_broken_nodes)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from test_broken_nodes import Patch, assert_refused, run

from hacoord.raft.changes import Changes, Stores
from hacoord.raft.core import Raft
from hacoord.raft.group import Configuration, Member, Part
from hacoord.raft.leadership import Leadership
from hacoord.raft.messages import Ref
from trace_check import assert_holds


def do_not_wait_for_the_change_before(patch: Patch) -> None:
    """A leader makes a change while another is not committed."""
    patch.setattr(Changes, "_current", lambda changes: changes._raft.log.group.current)


def change_two_at_once(patch: Patch) -> None:
    """Whoever joins brings somebody else along."""
    having = Configuration.having

    def with_company(group: Configuration, member: Member) -> Configuration:
        return having(having(group, member), Member(member.name + "x", Part.OBSERVER, member.name + "x:1"))

    patch.setattr(Configuration, "having", with_company)


def promote_at_once(patch: Patch) -> None:
    """A learner becomes a voter whatever it has, on the word of whoever has something."""

    def everybody(changes: Changes, found: Stores) -> dict[str, Ref]:
        any_store = next((ref for _, ref in found.values()), Ref("n1", "1-00000000", 1))
        return {name: found.get(name, (0, any_store))[1] for name in changes._raft.log.group.current.members}

    patch.setattr(Changes, "_caught_up", everybody)


def join_with_a_vote(patch: Patch) -> None:
    """A node joins as a voter."""
    add = Changes._add
    patch.setattr(Changes, "_add", lambda changes, m: add(changes, Member(m.name, Part.VOTER, m.address)))


def send_the_removed_their_removal(patch: Patch) -> None:
    """A leader goes on sending to whom it has removed."""
    regroup = Leadership.regroup

    def for_ever(leadership: Leadership, peers: tuple[str, ...], last: int, now: float) -> None:
        regroup(leadership, [*leadership._peers, *(p for p in peers if p not in leadership._peers)], last, now)

    patch.setattr(Leadership, "regroup", for_ever)


def share_addresses(patch: Patch) -> None:
    """Nobody looks whether an address is taken."""
    patch.setattr(Changes, "_free", lambda *_: None)
    add = Changes._add
    patch.setattr(Changes, "_add", lambda changes, m: add(changes, Member(m.name, m.part, "127.0.0.1:7000")))


def count_learners(patch: Patch) -> None:
    """Whoever is no observer is counted."""

    def counted(raft: Raft) -> tuple[str, ...]:
        return tuple(m.name for m in raft.log.group.current.members.values() if m.part is not Part.OBSERVER)

    patch.setattr(Raft, "voters", property(counted))
    patch.setattr(Raft, "quorum", property(lambda raft: len(raft.voters) // 2 + 1))


def keep_the_old_quorum(patch: Patch) -> None:
    """The quorum is what it was when the group was set up."""
    patch.setattr(Raft, "quorum", property(lambda raft: 1))


def go_by_what_is_committed(patch: Patch) -> None:
    """A node goes by the last configuration that it knows committed, not by the last in its log."""

    def voters(raft: Raft) -> tuple[str, ...]:
        return raft.log.group.at(raft.commit_index)[1].voters

    patch.setattr(Raft, "voters", property(voters))


def forget_the_configuration(patch: Patch) -> None:
    """A node that starts again goes by the configuration it was set up with."""
    start = Raft.start

    def as_founded(raft: Raft, disk: str, boot: str | None = None) -> None:
        group = raft.log.group
        group._history[1:] = []
        group._refresh()
        start(raft, disk, boot)

    patch.setattr(Raft, "start", as_founded)


FAULTS: list[tuple[Callable[[Patch], None], int, set[str]]] = [
    (do_not_wait_for_the_change_before, 3, {"OneChangeAtATime"}),
    (change_two_at_once, 3, {"OneChangeAtATime"}),
    (promote_at_once, 3, {"GroupGoesOn", "StoresCited"}),
    (join_with_a_vote, 3, {"GroupGoesOn"}),
    (send_the_removed_their_removal, 3, {"GroupGoesOn"}),
    (share_addresses, 3, {"GroupGoesOn"}),
    (count_learners, 3, {"SameConfiguration"}),
    (keep_the_old_quorum, 1, {"ElectionQuorum", "CommitQuorum"}),
    (go_by_what_is_committed, 3, {"SameConfiguration"}),
    (forget_the_configuration, 3, {"SameConfiguration"}),
]


@pytest.mark.parametrize(("fault", "size", "rules"), FAULTS, ids=[f.__name__ for f, *_ in FAULTS])
def test_a_fault_is_refused(
    fault: Callable[[Patch], None], size: int, rules: set[str], tmp_path: Path, monkeypatch: Patch
) -> None:
    assert_refused(
        fault, rules, tmp_path, monkeypatch, lambda directory, seed: run(directory, size, seed, change_every=0.3)
    )


@pytest.mark.parametrize("seed", range(4))
def test_without_a_fault_nothing_is_refused(seed: int, tmp_path: Path) -> None:
    assert not run(tmp_path, 3, seed, change_every=0.3)
    assert_holds(tmp_path)
