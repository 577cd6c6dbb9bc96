"""HAProtocol: what an embedding system asks of its node, in the words of the StarRocks interface of that name.

All methods may be called from any thread but the node's own; the loop does the work. What is asked about the group is
answered from the configuration that this node knows committed. What changes it works at the LEADER alone, one node at a
time, and returns once it is committed.

An unstable node is a learner: it copies the journal and does not count, neither for a write nor for an election, until
it has caught up; then it becomes a follower by a change of the group. The quorum is never overridden.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from hacoord.config import parse_address
from hacoord.ha.frontend import Frontend
from hacoord.ha.membership import Action, Change, Changed, ChangeUnknown, Membership, Outcome
from hacoord.raft.core import Role
from hacoord.raft.group import Configuration, Member, Part

MARGIN = 5.0
"""Seconds that the loop has for its answer after the patience of who asked is over."""


class LeaderUnknown(Exception):
    """Nobody knows at present who leads the group; which says nothing about any node."""


class NoSuchNode(LookupError):
    """The group has no such node."""


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A node of the group, and where it is."""

    name: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the loop has last made known; replaced as a whole."""

    leader: str | None
    epoch: int
    group: Configuration


@dataclass(slots=True)
class _Fencing:
    """Who waits for the fence of this node's present term, `term` once the loop has seen the question."""

    until: float
    answer: Future[bool]
    term: int | None = None


class HAProtocol:
    """One node's interface for the system that embeds it; `Node.protocol`."""

    def __init__(
        self, frontend: Frontend, membership: Membership, clock: Callable[[], float], wake: Callable[[], None]
    ) -> None:
        """`clock` is monotonic, in seconds; `wake` ends the loop's wait."""
        self._raft = frontend.raft
        self._membership = membership
        self._clock = clock
        self._wake = wake
        self._lock = threading.Lock()
        self._fencings: list[_Fencing] = []
        self._closed = False
        self._seen = self._look()

    # --- who leads -----------------------------------------------------------------------------------------------

    def fencing(self, timeout: float) -> bool:
        """Whether this node has fenced every earlier leader: it leads, and its epoch record is committed.

        Waits for that at most `timeout` seconds, in the present term; the one epoch record of the term is what it
        waits for, however often it is asked. False if this node does not lead, or loses its term meanwhile. Raises
        TimeoutError when it still leads and the record is not committed; asking again is always right.
        """
        waiting = _Fencing(self._clock() + timeout, Future())
        with self._lock:
            if self._closed:
                return False
            self._fencings.append(waiting)
        self._wake()
        return waiting.answer.result(timeout + MARGIN)

    def latest_epoch(self) -> int:
        """The newest epoch that this node knows committed; 0 if there is none."""
        return self._seen.epoch

    def leader(self) -> NodeAddress:
        """Who leads, as far as this node knows, and where. Raises LeaderUnknown."""
        seen = self._seen
        if seen.leader is None or seen.leader not in seen.group.members:
            raise LeaderUnknown("no leader is known: try again")
        return _address(seen.group.members[seen.leader])

    def leader_node_name(self) -> str:
        """The name of who leads. Raises LeaderUnknown."""
        return self.leader().name

    # --- who belongs to the group --------------------------------------------------------------------------------

    def electable_nodes(self, leader_included: bool) -> list[NodeAddress]:
        """The followers that have a vote, with or without the leader. Raises LeaderUnknown if that has to be known."""
        without = None if leader_included else self.leader_node_name()
        return [node for node in self._nodes(Part.VOTER) if node.name != without]

    def observer_nodes(self) -> list[NodeAddress]:
        """The observers."""
        return self._nodes(Part.OBSERVER)

    def unstable_nodes(self) -> list[NodeAddress]:
        """The followers that have joined and not caught up yet."""
        return self._nodes(Part.LEARNER)

    # --- changes of the group ------------------------------------------------------------------------------------
    # Each raises NotLeader, ChangeRefused (with what to do about it), and ChangeUnknown when the leader lost its office
    # before the change was committed.

    def add_unstable_node(self, name: str, host: str, port: int, timeout: float) -> None:
        """A follower joins, at first as a learner; it becomes electable by itself once it has caught up."""
        self._change(Change(Action.JOIN, name, _joined(host, port)), timeout)

    def remove_unstable_node(self, name: str, timeout: float) -> None:
        """A node is unstable no more: returns when it has caught up and is electable. Raises NoSuchNode."""
        self._find(name)
        self._change(Change(Action.PROMOTE, name), timeout)

    def remove_electable_node(self, name: str, timeout: float) -> None:
        """Remove a follower from the group, for good. Raises NoSuchNode if no electable node has this name."""
        if self._find(name).part is not Part.VOTER:
            raise NoSuchNode(f"{name} is not electable: remove it by remove_node_if_exist")
        self._change(Change(Action.DROP, name), timeout)

    def remove_node_if_exist(self, host: str, port: int, exclude: str | None, timeout: float) -> str | None:
        """Remove whoever is a member at this address, unless it is called `exclude`; returns its name, None if nobody.

        For a node that comes back under another name at the same address.
        """
        for member in self._seen.group.members.values():
            if parse_address(member.address) == (host, port) and member.name != exclude:
                self._change(Change(Action.DROP, member.name), timeout)
                return member.name
        return None

    def update_frontend_host_and_port(self, name: str, host: str, port: int, timeout: float) -> None:
        """Write down that a node is to be found at another address, which nobody else may have. Raises NoSuchNode."""
        self._find(name)
        self._change(Change(Action.MOVE, name, _joined(host, port)), timeout)

    # --- for the loop --------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Make known what has changed, and answer who waits for a fence."""
        self._seen = self._look()
        if not self._fencings:
            return
        with self._lock:
            waiting, self._fencings = self._fencings, []
        left = [fencing for fencing in waiting if not self._fenced(fencing)]
        with self._lock:
            self._fencings += left

    def close(self) -> None:
        """The loop ends."""
        with self._lock:
            self._closed = True
            waiting, self._fencings = self._fencings, []
        for fencing in waiting:
            fencing.answer.set_result(False)

    def _fenced(self, fencing: _Fencing) -> bool:
        """Whether this one has been answered."""
        raft = self._raft
        fencing.term = raft.term if fencing.term is None else fencing.term
        if raft.role is not Role.LEADER or raft.term != fencing.term:
            fencing.answer.set_result(False)
        elif raft.fenced:
            fencing.answer.set_result(True)
        elif self._clock() >= fencing.until:
            fencing.answer.set_exception(TimeoutError(f"the epoch record of term {raft.term} is not committed yet"))
        else:
            return False
        return True

    def _look(self) -> _Seen:
        raft, commit = self._raft, self._raft.commit_index
        return _Seen(raft.leader, raft.log.epoch_at(commit), raft.log.group.at(commit)[1])

    def _nodes(self, part: Part) -> list[NodeAddress]:
        return [_address(member) for member in self._seen.group.members.values() if member.part is part]

    def _find(self, name: str) -> Member:
        members = self._seen.group.members
        if name not in members:
            raise NoSuchNode(f"the group has no node {name}: it has {', '.join(members)}")
        return members[name]

    def _change(self, change: Change, timeout: float) -> None:
        future: Future[Outcome] = Future()
        self._membership.submit(change, timeout, future.set_result)
        try:
            outcome = future.result(timeout + MARGIN)
        except TimeoutError:
            raise ChangeUnknown(f"the node did not answer within {timeout + MARGIN:g} s") from None
        if not isinstance(outcome, Changed):
            raise outcome


def _address(member: Member) -> NodeAddress:
    return NodeAddress(member.name, *parse_address(member.address))


def _joined(host: str, port: int) -> str:
    text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    parse_address(text)
    return text
