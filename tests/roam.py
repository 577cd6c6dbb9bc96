"""Right runs of no implementation in particular, as `wander` makes them, of groups that change, and with reads.

A `Roamer` does what Membership.tla allows, as far as who may be counted and sent what matters: nodes that join, are
promoted, removed and come back, elections by different configurations in one term, images in the middle of a change.
Nobody who has no vote is held back in voting, and who is removed goes on standing for election by what it knows.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from handmade import Event, Person, Ref, Story, digest
from wander import TRANSFERS, Rule, Wanderer, _order


class Roamer(Wanderer):
    """A cluster that does anything it may, and whose group changes."""

    def __init__(self, rng: random.Random, size: int, joiners: int, clients: int, founded: int = 0) -> None:
        """`joiners` are nodes that may come to be members; `founded` is how many entries another group had."""
        self.founded = founded
        self.starts: list[Event] = []
        self.confirms: list[Event] = []
        self.serves: list[Event] = []
        # Reads under way, with what their client had been shown and had heard of when they began.
        self.reads: dict[str, tuple[str, int, dict[str, tuple[int, int]]]] = {}
        super().__init__(rng, size, joiners, clients)

    def _begin(self, name: str) -> None:
        if self.founded and not self.story.founded:
            self.story.found(self.founded, self.rng.randint(1, 3), self.rng.randint(1, 3))
        super()._begin(name)

    def wander(self, events: int) -> Story:
        """Take steps until so many events are written."""
        weights: dict[Callable[[str], None], float] = {
            self.campaign: 0.3, self.grant: 6, self.win: 8, self.append: 4, self.sync: 6, self.store: 8,
            self.commit: 9, self.learn: 3, self.activate: 8, self.ack: 3, self.lose: 0.1, self.transfer: 0.3,
            self.end: 0.2, self.gossip: 1, self.image: 0.4, self.install: 1, self.change: 4, self.read_start: 0.6,
            self.confirm: 2, self.read_serve: 2,
        }
        for step in self.rng.choices(list(weights), list(weights.values()), k=60 * events):
            if self.story.events >= events:
                break
            if self.clients and (chance := self.rng.random()) < 0.04:
                (self.client if chance < 0.02 else self.read)(self.rng.choice(self.clients))
            step(self.rng.choice(self.nodes))
        return self.story

    # --- configurations ------------------------------------------------------------------------------------------

    def _members(self, log: list[int]) -> tuple[int, list[list[str]]]:
        """The last configuration of a log, and its index."""
        members = self.story.members
        places = [p for p in members if p[0] <= len(log) and log[p[0] - 1] == p[1]]
        return (max(places)[0], members[max(places)]) if places else (0, self.story.founders)

    def _voters(self, log: list[int]) -> list[str]:
        return [name for name, part, _ in self._members(log)[1] if part == "voter"]

    def _sent_at(self, rule: Rule, last: int, name: str) -> Event | None:
        """The leader's event after which it may have sent this node so much; None if never.

        It sends nobody the entry that removes it, nor anything before it joins.
        """
        for line, log in [(rule.win, rule.base), *rule.appends]:
            if len(log) >= last and name in [member for member, _, _ in self._members(log)[1]]:
                return line
        return None

    def _by_own_configuration(self, name: str, step: Callable[[str], None]) -> None:
        """Count as the node does by its log."""
        voters, majority = self.voters, self.majority
        self.voters = self._voters(self.story.person(name).log)
        self.majority = len(self.voters) // 2 + 1
        try:
            step(name)
        finally:
            self.voters, self.majority = voters, majority

    # --- elections -----------------------------------------------------------------------------------------------

    def campaign(self, name: str) -> None:
        """Stand for election, as a voter by one's own log."""
        if name in self._voters(self.story.person(name).log):
            self._as_voter(name, super().campaign)

    def _as_voter(self, name: str, step: Callable[[str], None]) -> None:
        """Do what voters do, who are others than they were at first."""
        voters = self.voters
        self.voters = [*voters, name]
        try:
            step(name)
        finally:
            self.voters = voters

    def grant(self, name: str) -> None:
        """Vote, whoever one is: the candidate knows who is counted."""
        self._as_voter(name, super().grant)

    def win(self, name: str) -> None:
        """Count the votes of one's own configuration."""
        self._by_own_configuration(name, super().win)

    def transfer(self, name: str) -> None:
        """Change the type."""
        alive = self._alive(name)
        if not alive or alive[1].leads:
            return
        options: tuple[str, ...] = TRANSFERS[alive[1].type]
        if name not in self._voters(alive[0].log) and alive[1].type in ("INIT", "UNKNOWN"):
            options = (*options, "OBSERVER")
        if options:
            alive[1].type = self.rng.choice(options)
            self.story.transfer(name, alive[1].type)

    # --- the log -------------------------------------------------------------------------------------------------

    def change(self, name: str) -> None:
        """A leader changes the group by one node."""
        alive = self._alive(name)
        if not alive or not alive[1].leads or alive[1].type != "LEADER":
            return
        person, life = alive
        rule = self.rules[life.leads]
        index, members = self._members(person.log)
        if not rule.appends or person.committed < max(index, len(rule.base) + 1):
            return
        after = [list(m) for m in members]
        other = self.rng.choice(self.nodes)
        part = next((p for n, p, _ in after if n == other), "none")
        newest: dict[str, Event] = {}
        for line in self.stores:
            if line["term"] == life.leads and line["last"] >= person.committed and self.rng.random() < 0.9:
                newest[line["node"]] = line
        cited: list[Event] = []
        if part == "none":
            after.append([other, self.rng.choice(("learner", "learner", "observer")), f"{other}:7000"])
        elif part == "learner" and self.rng.random() < 0.9:
            if other not in newest:
                return
            cited = [newest[other]]
            after = [[n, "voter" if n == other else p, a] for n, p, a in after]
        elif self.rng.random() < 0.6 and other != name:
            to = self.rng.choice(("none", "learner" if part == "observer" else "observer"))
            after = [[n, to if n == other else p, a] for n, p, a in after if (n, to) != (other, "none")]
            staying = [n for n, p, _ in after if p == "voter"]
            cited = [newest[n] for n in staying if n in newest]
            if part == "voter" and len(cited) < len(staying) // 2 + 1:
                return
        else:
            after = [[n, p, f"{n}:{self.rng.randint(7001, 7999)}" if n == other else a] for n, p, a in after]
            if after == members:
                return
        for line in cited:
            if line["node"] != name:
                self._hear(name, line)
        person.log.append(life.leads)
        last = len(person.log)
        self.story.members[last, life.leads] = after
        own: dict[str, Any] = {"first": last, "last": last, "digest": digest(person.log), "members": after}
        if cited:
            own["stores"] = [self.story.ref(line) for line in cited]
        line = self.story.tell(name, "Append", **own)
        rule.appends.append((line, list(person.log)))

    def _offer(self, person: Person, whole_frames: bool) -> tuple[Event, int, list[int]] | None:
        """As there, to members; what a group was founded from comes in an image."""
        if not person.log and self.founded:
            return None
        offer = super()._offer(person, whole_frames)
        at = offer and self._sent_at(self.rules[offer[1]], len(offer[2]), person.name)
        return (max(offer[0], at, key=lambda line: line["seq"]), *offer[1:]) if offer and at else None

    def _image_of_a_leader(self, person: Person) -> tuple[Event, int, int] | None:
        shown = super()._image_of_a_leader(person)
        at = shown and self._sent_at(self.rules[shown[1]], shown[2], person.name)
        if not shown or not at:
            return None
        if person.name in self.lives:
            self._hear(person.name, at)
        return shown

    def commit(self, name: str) -> None:
        """A leader counts the Stores of its configuration."""
        self._by_own_configuration(name, super().commit)

    # --- reads ---------------------------------------------------------------------------------------------------

    def read_start(self, name: str) -> None:
        """A LEADER begins to answer reads."""
        alive = self._alive(name)
        if alive and alive[1].leads and alive[1].type == "LEADER":
            self.starts.append(self.story.read_start(name))

    def confirm(self, name: str) -> None:
        """A node is in the term of a ReadStart still."""
        alive = self._alive(name)
        if not alive or not self.starts:
            return
        start = self.rng.choice(self.starts[-3:])
        if start["node"] == name or not self._enter(name, start["term"]):
            return
        self._hear(name, start)
        self.confirms.append(self.story.tell(name, "Confirm", start=self.story.ref(start)))

    def read_serve(self, name: str) -> None:
        """A LEADER answers reads."""
        alive = self._alive(name)
        if not alive or not alive[1].leads or alive[1].type != "LEADER":
            return
        person = alive[0]
        inc = person.incs[-1]
        served: list[Ref] = [line["start"] for line in self.serves]
        last = max((seq for node, of, seq in served if (node, of) == (name, inc)), default=0)
        mine = [
            s for s in self.starts
            if (s["node"], s["inc"], s["term"]) == (name, inc, person.term) and s["seq"] > last
        ]
        if not mine:
            return
        start = self.rng.choice(mine)
        voters = self._voters(person.log)
        found: dict[str, Event] = {}
        for line in self.confirms:
            if line["start"] == self.story.ref(start) and line["node"] in voters and line["term"] == person.term:
                found[line["node"]] = line
        if len(found) + 1 < len(voters) // 2 + 1:
            return
        for line in found.values():
            self._hear(name, line)
        index = self.rng.randint(start["index"], person.committed)
        self.serves.append(
            self.story.tell(
                name, "ReadServe", start=self.story.ref(start), index=index,
                confirms=[self.story.ref(line) for line in found.values()],
            )
        )

    def read(self, name: str) -> None:
        """A client asks to read, or is answered."""
        if name not in self.reads:
            self.ops += 1
            self.reads[name] = f"r{self.ops}", self.shown[name], dict(self.heard[name])
            self.story.invoke_read(name, f"r{self.ops}")
            return
        op, shown, heard = self.reads.pop(name)
        if all(line["op"] != op for line in self.story.files[name, self.story.person(name).incs[-1]]):
            return  # It was asked in an earlier incarnation.
        later = [s for s in self.serves if s["index"] >= shown and _order(s["start"]) > heard.get(s["node"], (0, 0))]
        if later:
            serve = self.rng.choice(later)
            self._hear(name, serve)
            self.shown[name] = max(self.shown[name], serve["index"])
            self.story.tell(name, "Ok", op=op, index=serve["index"], serve=self.story.ref(serve))
        else:
            self.story.tell(name, "Unknown", op=op, error="no answer")
