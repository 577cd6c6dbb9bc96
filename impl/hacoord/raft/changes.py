"""How the group changes while it works: what a leader may do to it, one node at a time (spec/Membership.tla).

Each method is an action of the specification. It appends the new configuration, which is in force at once, and returns
its index; whoever asked for the change waits until that is committed. Raises ChangeRefused, and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from hacoord.raft.core import NotLeader, Raft, Role
from hacoord.raft.group import Configuration, Member, Part
from hacoord.raft.messages import Ref

Stores = Mapping[str, tuple[int, Ref]]
"""How far each node is known to have stored the log, and the Store that says so (State.stores)."""


class ChangeRefused(Exception):
    """The group must not change so, or not now. The text says why, and what to do."""


class ChangeNotYet(ChangeRefused):
    """The group must not change so now; the same may be tried again soon."""


class NotCaughtUp(ChangeNotYet):
    """Somebody has to catch up first. `reach` is how much might be committed, at most, for the change to be made."""

    def __init__(self, reason: str, reach: int) -> None:
        super().__init__(reason)
        self.reach = reach


class Changes:
    """Changes of the group that one node makes, as its leader."""

    def __init__(self, raft: Raft) -> None:
        self._raft = raft

    def add_learner(self, name: str, address: str) -> int:
        """A node joins that is to become a voter."""
        return self._add(Member(name, Part.LEARNER, address))

    def add_observer(self, name: str, address: str) -> int:
        """A node joins that copies the log, and no more."""
        return self._add(Member(name, Part.OBSERVER, address))

    def promote(self, name: str) -> int:
        """A learner that has all that is committed becomes a voter."""
        group = self._current()
        member = self._member(group, name)
        if member.part is not Part.LEARNER:
            advice = "make it one first" if member.part is Part.OBSERVER else "nothing is to be done"
            raise ChangeRefused(f"{name} is {_called(member.part)}, and only a learner is promoted: {advice}")
        stores = self._raft.stores()
        caught_up = self._caught_up(stores)
        if name not in caught_up:
            raise NotCaughtUp(f"{name} has not caught up yet: try again when it has", _reach(stores, name))
        return self._propose(group.promoting(name), [caught_up[name]])

    def remove(self, name: str) -> int:
        """A member leaves. It is not sent the entry that says so; it learns it when it asks."""
        group = self._current()
        self._member(group, name)
        return self._without_vote(name, group, group.without(name))

    def demote(self, name: str) -> int:
        """A member becomes an observer: it stays, but is not to have a vote."""
        group = self._current()
        member = self._member(group, name)
        if member.part is Part.OBSERVER:
            raise ChangeRefused(f"{name} is an observer already: nothing is to be done")
        return self._without_vote(name, group, group.having(replace(member, part=Part.OBSERVER)))

    def enlist(self, name: str) -> int:
        """An observer becomes a learner: it is to have a vote."""
        group = self._current()
        member = self._member(group, name)
        if member.part is not Part.OBSERVER:
            raise ChangeRefused(f"{name} is {_called(member.part)}, and no observer: nothing is to be done")
        return self._propose(group.having(replace(member, part=Part.LEARNER)), [])

    def move(self, name: str, address: str) -> int:
        """A member is to be found elsewhere."""
        group = self._current()
        member = self._member(group, name)
        if member.address == address:
            raise ChangeRefused(f"{name} is at {address} already: nothing is to be done")
        self._free(group, name, address)
        return self._propose(group.having(replace(member, address=address)), [])

    def _without_vote(self, name: str, group: Configuration, after: Configuration) -> int:
        """Propose a configuration in which a member has no vote, if the others need not wait for anybody."""
        if name == self._raft.name:
            raise ChangeRefused(f"{name} is the leader, which takes no vote from itself: let another node lead first")
        if name not in group.voters:
            return self._propose(after, [])
        stores = self._raft.stores()
        caught_up = self._caught_up(stores)
        staying = [caught_up[voter] for voter in after.voters if voter in caught_up]
        if len(staying) < after.quorum:
            reaches = sorted((_reach(stores, voter) for voter in after.voters), reverse=True)
            raise NotCaughtUp(
                f"{len(staying)} of the {len(after.voters)} voters that would stay have all that is committed, and "
                f"{after.quorum} are needed: wait until they have, or restart them",
                reaches[after.quorum - 1],
            )
        return self._propose(after, staying)

    def _add(self, member: Member) -> int:
        group = self._current()
        if member.name in group.members:
            raise ChangeRefused(f"{member.name} is a member already: choose another name, or remove it first")
        self._free(group, member.name, member.address)
        return self._propose(group.having(member), [])

    def _current(self) -> Configuration:
        """The configuration to be changed, if it may be now."""
        raft = self._raft
        if raft.role is not Role.LEADER:
            raise NotLeader(raft.leader)
        if not raft.fenced:  # nor would anything else be known committed that a later leader could not replace
            raise ChangeNotYet(f"{raft.name} has only just begun to lead: try again")
        if raft.heir:
            raise ChangeNotYet(f"{raft.name} is handing over to {raft.heir}: try again there")
        if raft.commit_index < raft.log.group.index:
            raise ChangeNotYet("another change of the group is not committed yet: try again when it is")
        return raft.log.group.current

    def _member(self, group: Configuration, name: str) -> Member:
        if name not in group.members:
            raise ChangeRefused(f"{name} is no member: the members are {', '.join(group.members)}")
        return group.members[name]

    def _free(self, group: Configuration, name: str, address: str) -> None:
        for other in group.members.values():
            if other.name != name and other.address == address:
                raise ChangeRefused(f"{address} is the address of {other.name}: remove that, or choose another address")

    def _caught_up(self, stores: Stores) -> Mapping[str, Ref]:
        """Those of the Stores, by node, that reach all that is known committed."""
        commit = self._raft.commit_index
        return {name: store for name, (reach, store) in stores.items() if reach >= commit}

    def _propose(self, group: Configuration, stores: Collection[Ref]) -> int:
        return self._raft.change(group, stores)


def _reach(stores: Stores, name: str) -> int:
    """How far a node is known to have stored the log."""
    return stores[name][0] if name in stores else 0


def _called(part: Part) -> str:
    return f"an {part}" if part is Part.OBSERVER else f"a {part}"
