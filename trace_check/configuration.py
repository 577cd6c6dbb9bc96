"""Who belongs to the group: the configurations that leaders put into the log (spec/Membership.tla)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

VOTER, LEARNER, OBSERVER = PARTS = ("voter", "learner", "observer")


@dataclass(frozen=True, slots=True)
class Configuration:
    """The members of the group by name, each with its part and its address; an address not known is empty."""

    members: Mapping[str, tuple[str, str]]
    voters: tuple[str, ...]

    @property
    def majority(self) -> int:
        """How many voters decide."""
        return len(self.voters) // 2 + 1

    def part(self, name: str) -> str:
        """What a node is here; "none" if it is no member."""
        return self.members[name][0] if name in self.members else "none"

    def changed(self, later: Configuration) -> list[str]:
        """The nodes whose part or address is another one in a later configuration."""
        names = sorted({*self.members, *later.members})
        return [n for n in names if not _same(self.members.get(n), later.members.get(n))]

    def may_have_moved(self) -> list[str]:
        """The nodes whose address is not known here: nobody can tell whether a later configuration has another."""
        return [name for name, (_, address) in self.members.items() if not address]


def _same(one: tuple[str, str] | None, other: tuple[str, str] | None) -> bool:
    if one is None or other is None:
        return one is other
    return one[0] == other[0] and (one[1] == other[1] or not one[1])


def founding(voters: Iterable[str]) -> Configuration:
    """The configuration that the group was set up with: of it a trace shows the voters only."""
    names = tuple(sorted(set(voters)))
    return Configuration(dict.fromkeys(names, (VOTER, "")), names)


def configuration(members: Sequence[Sequence[str]]) -> Configuration:
    """As an Append names it, `[node, part, address]` for each member."""
    by_name = {name: (part, address) for name, part, address in members}
    return Configuration(by_name, tuple(sorted(n for n, (part, _) in by_name.items() if part == VOTER)))


def goes_on(
    before: Configuration, after: Configuration, node: str, leader: str, caught_up: Set[str]
) -> tuple[str, str] | None:
    """Guard GroupGoesOn: what a change of `node` should have been, and what it is; None if all is well.

    `caught_up` are those whose Stores, as cited, reach all that the leader knows committed.
    """
    was, becomes = before.part(node), after.part(node)
    if becomes == VOTER and was not in (VOTER, LEARNER):
        return f"{node} to join without a vote", f"a voter that was {_called(was)}"
    if becomes == VOTER and was == LEARNER and node not in caught_up:
        return f"a Store of {node} that reaches all that is committed, before it becomes a voter", "none cited"
    if was == VOTER and becomes == LEARNER:
        return f"{node} to become an observer", "a voter that becomes a learner"
    if becomes == "none" or (becomes == OBSERVER and was in (VOTER, LEARNER)):
        if node == leader:
            return "a leader that takes no vote from itself", f"the change of {node} to {_called(becomes)}"
        staying = [voter for voter in after.voters if voter in caught_up]
        if was == VOTER and len(staying) < after.majority:
            wanted = f"Stores that reach all that is committed of {after.majority} of those who stay"
            return wanted, f"{len(staying)}: {', '.join(staying) or 'none'}"
    found: dict[str, str] = {}
    # Also of those that have not changed: where they are may be shown for the first time.
    for name in sorted(after.members, key=lambda name: name == node):
        address = after.members[name][1]
        if address and (other := found.setdefault(address, name)) != name:
            return f"an address of {name}'s own", f"{address}, which is {other}'s"
    return None


def _called(part: str) -> str:
    return "no member" if part == "none" else f"{'an' if part == OBSERVER else 'a'} {part}"
