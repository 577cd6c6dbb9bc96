"""Who belongs to the group: configurations, and where in a log they are (spec/Membership.tla).

A configuration is an entry of the log. A node goes by the last one it has, committed or not; where there is none, by
the one the group was set up with. Voters alone count, for elections and for commitment; learners and observers copy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum


class Part(StrEnum):
    """What a member is: it votes; it copies and is to become a voter; it copies."""

    VOTER = "voter"
    LEARNER = "learner"
    OBSERVER = "observer"


@dataclass(frozen=True, slots=True)
class Member:
    """One member of the group; `address` is its "host:port"."""

    name: str
    part: Part
    address: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """The members by name, in the order of their names, and those who once were members and are no longer."""

    members: Mapping[str, Member]
    removed: frozenset[str]
    voters: tuple[str, ...]

    @property
    def quorum(self) -> int:
        """How many voters are more than half."""
        return len(self.voters) // 2 + 1

    def part(self, name: str) -> Part | None:
        """What a node is; None if it is no member."""
        return self.members[name].part if name in self.members else None

    def address_of(self, name: str | None) -> str | None:
        """Where a node is: "host:port"; None if it is no member."""
        member = self.members.get(name) if name else None
        return member.address if member else None

    def having(self, member: Member) -> Configuration:
        """This configuration, with a new member or a member changed."""
        others = (m for m in self.members.values() if m.name != member.name)
        return configuration((*others, member), self.removed - {member.name})

    def promoting(self, name: str) -> Configuration:
        """This configuration, with one member as a voter."""
        return self.having(replace(self.members[name], part=Part.VOTER))

    def without(self, name: str) -> Configuration:
        """This configuration, without one member."""
        return configuration((m for m in self.members.values() if m.name != name), self.removed | {name})

    def as_traced(self) -> list[tuple[str, str, str]]:
        """`members` as docs/trace-format.md has it."""
        return [(m.name, m.part.value, m.address) for m in self.members.values()]


def configuration(members: Iterable[Member], removed: Iterable[str] = ()) -> Configuration:
    """The configuration with these members."""
    by_name = {m.name: m for m in sorted(members, key=lambda m: m.name)}
    voters = tuple(m.name for m in by_name.values() if m.part is Part.VOTER)
    return Configuration(by_name, frozenset(removed), voters)


def founding(voters: Mapping[str, str], observers: Mapping[str, str] | None = None) -> Configuration:
    """The configuration that a group is set up with: names with their addresses."""
    return configuration(
        [
            *(Member(name, Part.VOTER, address) for name, address in voters.items()),
            *(Member(name, Part.OBSERVER, address) for name, address in (observers or {}).items()),
        ]
    )


def encode(group: Configuration) -> bytes:
    """The data of the log entry that puts a configuration in force."""
    fields = {"members": group.as_traced(), "removed": sorted(group.removed)}
    return json.dumps(fields, separators=(",", ":")).encode()


def decode(data: bytes) -> Configuration:
    """The configuration in a log entry's data."""
    fields = json.loads(data)
    members = [Member(name, Part(part), address) for name, part, address in fields["members"]]
    return configuration(members, fields["removed"])


class Group:
    """The configurations in one log; `current`, at `index`, is the last: the one in force."""

    def __init__(self, first: Configuration, index: int = 0) -> None:
        """`first` is in force from `index` on: the one the group was set up with, or the one an image has."""
        self._history = [(index, first)]
        self._refresh()

    def append(self, index: int, data: bytes) -> None:
        """The entry at `index`, the end of the log, is a configuration."""
        self._history.append((index, decode(data)))
        self._refresh()

    def truncate(self, first: int) -> None:
        """The entries from `first` on are given up, and the configurations among them."""
        while len(self._history) > 1 and self._history[-1][0] >= first:
            self._history.pop()
        self._refresh()

    def give_up(self, index: int) -> None:
        """The entries up to `index` are given up; the configuration in force there stays."""
        self._history = [self.at(index), *(c for c in self._history if c[0] > index)]

    def at(self, index: int) -> tuple[int, Configuration]:
        """The last configuration up to an index of the log, and where it is."""
        return next((c for c in reversed(self._history) if c[0] <= index), self._history[0])

    def _refresh(self) -> None:
        self.index, self.current = self._history[-1]
