"""Legal traces made by hand, event by event, for tests of the checker. Shares no code with the implementation.

`Story` is a small cluster without messages: every method lets one thing happen, keeps the nodes' logs straight,
and returns the event it wrote down. To make a trace that is wrong, change the returned event, or `tell` one directly.

    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")            # n1 is LEADER of term 1 by its own vote and n2's
    story.replicate("n1", "n2")       # one more entry, stored by n1 and n2, committed
    assert story.judge(tmp_path).verdict is Verdict.HOLDS
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trace_check import Result, replay

Event = dict[str, Any]
Ref = list[Any]


def digest(log: list[int]) -> str:
    """Of a log given as its entries' terms."""
    return hashlib.sha256(repr(log).encode()).hexdigest()[:16] if log else "0" * 16


def runs(log: list[int], first: int, last: int) -> list[list[int]]:
    """[first, last, term] of each stretch of equal terms in entries first..last."""
    found: list[list[int]] = []
    for index in range(first, last + 1):
        if found and found[-1][2] == log[index - 1]:
            found[-1][1] = index
        else:
            found.append([index, index, log[index - 1]])
    return found


@dataclass
class Person:
    """A node (or a client): what it has on disk, what it knows, what it has written down."""

    name: str
    term: int = 0
    vote: str | None = None
    log: list[int] = field(default_factory=list)
    durable: int = 0
    committed: int = 0
    image: int = 0
    counter: int = 0
    incs: list[str] = field(default_factory=list)
    after: dict[str, Ref] = field(default_factory=dict)
    refs: dict[str, Ref] = field(default_factory=dict)

    def enter(self, term: int) -> None:
        """The node hears of another term, in which it has not voted yet."""
        self.vote = self.vote if term == self.term else None
        self.term = term


class Story:
    """What happens in a cluster, told by its nodes."""

    def __init__(self, *voters: str, start: bool = True) -> None:
        self.voters = list(voters)
        self.people: dict[str, Person] = {}
        self.files: dict[tuple[str, str], list[Event]] = {}
        self.epochs: dict[int, int] = {}
        # The configurations that have been appended, by (index, term), and the one of the empty log.
        self.members: dict[tuple[int, int], list[list[str]]] = {}
        self.founders = [[name, "voter", ""] for name in voters]
        # What the group was founded from: how many entries, of which last term, with which newest epoch.
        self.founded: tuple[int, int, int] | None = None
        self.events = 0
        if start:
            for name in voters:
                self.start(name)

    # --- telling -------------------------------------------------------------------------------------------------

    def person(self, name: str) -> Person:
        """A node or client by name."""
        return self.people.setdefault(name, Person(name))

    def tell(self, name: str, event: str, *, term: int | None = None, **own: Any) -> Event:
        """Write down any event at all."""
        person = self.person(name)
        lines = self.files[name, person.incs[-1]]
        self.events += 1
        line: Event = {
            "v": 1,
            "cluster": "handmade",
            "node": name,
            "inc": person.incs[-1],
            "seq": len(lines) + 1,
            "ts": self.events * 1_000_000,
            "event": event,
            "term": person.term if term is None else term,
            **own,
        }
        if person.after:
            line["after"] = list(person.after.values())
            person.after = {}
        lines.append(line)
        person.refs[event] = self.ref(line)
        return line

    @staticmethod
    def ref(line: Event) -> Ref:
        """How other events cite this one."""
        return [line["node"], line["inc"], line["seq"]]

    def hear(self, name: str, *others: str) -> None:
        """Messages from others arrive, sent after the newest event of each."""
        for other in others:
            inc = self.person(other).incs[-1]
            self.person(name).after[other] = [other, inc, len(self.files[other, inc])]

    # --- one node ------------------------------------------------------------------------------------------------

    def open(self, name: str) -> None:
        """A new incarnation, with nothing told yet."""
        person = self.person(name)
        person.counter += 1
        person.incs.append(f"{person.counter}-{person.counter:08x}")
        person.after = {}
        self.files[name, person.incs[-1]] = []

    def start(self, name: str) -> Event:
        """The process starts, from what its disk holds; what was not durable is gone."""
        self.open(name)
        person = self.person(name)
        del person.log[person.durable :]
        person.committed = person.image
        own: dict[str, Any] = {"image": self._position(name, person.image)} if person.image else {}
        if self.founded and name in self.voters:
            last, _, epoch = self.founded
            own["founded"] = [*self._position(name, last), epoch]
            if self.members_of(name) is self.founders:
                own["members"] = self.founders
        return self.tell(
            name,
            "Start",
            vote=person.vote,
            last=len(person.log),
            last_term=person.log[-1] if person.log else 0,
            digest=digest(person.log),
            disk=f"disk-of-{name}",
            voters=self.voters_of(name) if name in self.voters or person.log else [],
            **own,
        )

    def _position(self, name: str, last: int) -> list[Any]:
        log = self.person(name).log[:last]
        return [last, log[-1], digest(log)]

    def found(self, last: int, term: int, epoch: int) -> None:
        """The founders have an image of another group's state instead of nothing; they have not started yet."""
        self.founded = last, term, epoch
        self.epochs[term] = epoch
        for name in self.voters:
            person = self.person(name)
            person.term, person.log, person.durable, person.image = term, [term] * last, last, last

    def image(self, name: str, last: int | None = None) -> Event:
        """The node has written an image of what it knows committed, or of the beginning of that."""
        person = self.person(name)
        person.image = person.committed if last is None else last
        last, last_term, named = self._position(name, person.image)
        return self.tell(name, "Image", last=last, last_term=last_term, digest=named)

    def install(self, name: str, leader: str) -> Event:
        """The node has taken the newest image of its leader in place of its log."""
        person, other = self.person(name), self.person(leader)
        self.hear(name, leader)
        event = self._takes_over(person, other)
        kinds = [kind for kind in ("Start", "Image", "Install") if kind in other.refs]
        shown = max((other.refs[kind] for kind in kinds), key=lambda ref: (ref[1], ref[2]))
        last, last_term, named = event
        return self.tell(name, "Install", last=last, last_term=last_term, digest=named, image=shown)

    def _takes_over(self, person: Person, other: Person) -> list[Any]:
        person.enter(other.term)
        last = other.image
        if person.log[:last] != other.log[:last]:
            person.log = other.log[:last]
        person.durable, person.committed = max(person.durable, last), max(person.committed, last)
        person.image = last
        return self._position(person.name, last)

    def members_of(self, name: str) -> list[list[str]]:
        """The configuration that a node goes by: the last in its log."""
        log = self.person(name).log
        places = [place for place in self.members if place[0] <= len(log) and log[place[0] - 1] == place[1]]
        return self.members[max(places)] if places else self.founders

    def voters_of(self, name: str) -> list[str]:
        """The voters of the configuration that a node goes by."""
        return [member for member, part, _ in self.members_of(name) if part == "voter"]

    def _end_of_log(self, name: str) -> dict[str, int]:
        log = self.person(name).log
        return {"last": len(log), "last_term": log[-1] if log else 0}

    def campaign(self, name: str, term: int | None = None) -> Event:
        """The node stands for election, in the next term unless another is given."""
        person = self.person(name)
        person.term = person.term + 1 if term is None else term
        person.vote = name
        person.durable = len(person.log)
        return self.tell(name, "Campaign", **self._end_of_log(name), voters=self.voters_of(name))

    def grant(self, name: str, candidate: str) -> Event:
        """The node votes for a candidate, in that one's term."""
        person, other = self.person(name), self.person(candidate)
        campaign = other.refs["Campaign"]
        self.hear(name, candidate)
        person.term = self.files[candidate, campaign[1]][campaign[2] - 1]["term"]
        person.vote = candidate
        return self.tell(name, "Grant", candidate=candidate, campaign=campaign, **self._end_of_log(name))

    def win(self, name: str, *voters: str) -> Event:
        """The node counts its own vote and those of others."""
        self.hear(name, *voters)
        grants = [self.person(name).refs["Campaign"], *(self.person(v).refs["Grant"] for v in voters)]
        return self.tell(name, "Win", grants=grants)

    def append(self, name: str, count: int = 1) -> Event:
        """The leader puts entries at the end of its log; the first of a term is its epoch record."""
        person = self.person(name)
        first = len(person.log) + 1
        opening: dict[str, Any] = {}
        if not person.log or person.log[-1] != person.term:
            before = self.epochs[person.log[-1]] if person.log else 0
            opening = {"epoch": before + 1}
            self.epochs[person.term] = before + 1
        person.log += [person.term] * count
        return self.tell(name, "Append", first=first, last=len(person.log), digest=digest(person.log), **opening)

    def change(self, leader: str, name: str, part: str, *stores: str, address: str = "") -> Event:
        """The leader appends a configuration in which one node has another part; it cites the Stores of others."""
        members = [list(member) for member in self.members_of(leader) if member[0] != name]
        if part != "none":
            members.append([name, part, address or f"{name}:7000"])
        self.hear(leader, *(s for s in stores if s != leader))
        log = self.person(leader).log
        log.append(self.person(leader).term)
        self.members[len(log), log[-1]] = members
        own: dict[str, Any] = {"first": len(log), "last": len(log), "digest": digest(log), "members": members}
        if stores:
            own["stores"] = [self.person(s).refs["Store"] for s in stores]
        return self.tell(leader, "Append", **own)

    def store(self, name: str, leader: str | None = None, last: int | None = None) -> Event:
        """The node's log is durable: as the leader's is, up to an index; without a leader, its own."""
        person = self.person(name)
        if leader is not None:
            other = self.person(leader)
            self.hear(name, leader)
            person.enter(other.term)
            person.log = other.log[:last]
        person.durable = len(person.log) if last is None else last
        stored = person.log[: person.durable]
        return self.tell(name, "Store", last=len(stored), last_term=stored[-1], digest=digest(stored))

    def commit(self, name: str, *stores: str, last: int | None = None) -> Event:
        """The leader commits by Stores of these nodes."""
        self.hear(name, *(s for s in stores if s != name))
        return self._commit(name, last, stores=[self.person(s).refs["Store"] for s in stores])

    def learn(self, name: str, leader: str, last: int | None = None) -> Event:
        """The node learns what is committed from another's Commit."""
        self.hear(name, leader)
        other = self.person(leader)
        last = other.committed if last is None else last
        kinds = [kind for kind in ("Commit", "Install", "Start") if other.refs.get(kind, [""] * 2)[1] == other.incs[-1]]
        return self._commit(name, last, leader_commit=other.refs[kinds[0]])

    def _commit(self, name: str, last: int | None, **evidence: Any) -> Event:
        person = self.person(name)
        last = len(person.log) if last is None else last
        found = runs(person.log, person.committed + 1, last)
        epochs = [[a, self.epochs[t]] for a, _, t in found if a == 1 or person.log[a - 2] != t]
        if epochs:
            evidence["epochs"] = epochs
        person.committed = last
        return self.tell(name, "Commit", runs=found, digest=digest(person.log[:last]), **evidence)

    def activate(self, name: str) -> Event:
        """The node becomes LEADER."""
        return self.tell(name, "Activate", epoch=self.epochs[self.person(name).term])

    def ack(self, name: str, first: int, last: int, **own: Any) -> Event:
        """The node is about to tell clients."""
        return self.tell(name, "Ack", first=first, last=last, **own)

    def read_start(self, name: str) -> Event:
        """The LEADER begins to answer reads."""
        return self.tell(name, "ReadStart", index=self.person(name).committed)

    def confirm(self, name: str, start: Event) -> Event:
        """The node has heard of a ReadStart, and is in its term."""
        self.hear(name, start["node"])
        self.person(name).enter(start["term"])
        return self.tell(name, "Confirm", start=self.ref(start))

    def read_serve(self, name: str, start: Event, *confirms: Event) -> Event:
        """The LEADER is about to tell clients what they have read."""
        self.hear(name, *(c["node"] for c in confirms))
        cited = [self.ref(c) for c in confirms]
        return self.tell(name, "ReadServe", start=self.ref(start), confirms=cited, index=self.person(name).committed)

    def serve(self, leader: str, *voters: str) -> Event:
        """A whole round: start, confirmed by voters, served."""
        start = self.read_start(leader)
        return self.read_serve(leader, start, *[self.confirm(voter, start) for voter in voters])

    def lose(self, name: str) -> Event:
        """The node stops leading."""
        return self.tell(name, "Lose")

    def transfer(self, name: str, to: str) -> Event:
        """The frontend changes its type."""
        return self.tell(name, "Transfer", to=to)

    def exit(self, name: str, code: int = 0) -> Event:
        """The process ends in good order."""
        return self.tell(name, "Exit", code=code)

    # --- several at once -----------------------------------------------------------------------------------------

    def elect(self, name: str, *voters: str, term: int | None = None) -> None:
        """Campaign, Grants, Win, and the Append of the epoch record."""
        self.campaign(name, term)
        for voter in voters:
            self.grant(voter, name)
        self.win(name, *voters)
        self.append(name)

    def agree(self, leader: str, *followers: str) -> None:
        """What the leader has appended is stored by it and its followers, and committed by it."""
        self.store(leader)
        for follower in followers:
            self.store(follower, leader)
        self.commit(leader, leader, *followers)

    def lead(self, name: str, *voters: str, term: int | None = None) -> None:
        """Elect a node, commit its epoch record, make it LEADER."""
        self.elect(name, *voters, term=term)
        self.agree(name, *voters)
        self.activate(name)

    def replicate(self, leader: str, *followers: str, count: int = 1) -> None:
        """More entries, committed."""
        self.append(leader, count)
        self.agree(leader, *followers)

    # --- clients -------------------------------------------------------------------------------------------------

    def invoke(self, client: str, op: str, **own: Any) -> Event:
        """A client begins a write."""
        if not self.person(client).incs:
            self.open(client)
        return self.tell(client, "Invoke", op=op, **own)

    def ok(self, client: str, op: str, ack: Event, index: int, **own: Any) -> Event:
        """A client is told that its write is committed."""
        self.hear(client, ack["node"])
        term = ack.get("entry_term", ack["term"])
        return self.tell(client, "Ok", op=op, index=index, entry_term=term, ack=self.ref(ack), **own)

    def invoke_read(self, client: str, op: str, **own: Any) -> Event:
        """A client begins a read."""
        return self.invoke(client, op, kind="read", **own)

    def saw(self, client: str, op: str, serve: Event, **own: Any) -> Event:
        """A client is told what it has read."""
        self.hear(client, serve["node"])
        return self.tell(client, "Ok", **{"op": op, "index": serve["index"], "serve": self.ref(serve), **own})

    def write(
        self, client: str, leader: str, *followers: str, key: str | None = None, at: int = 0, **answer: Any
    ) -> int:
        """A whole write of a client, acknowledged; returns its index. With `at` it begins then, and ends one later."""
        op = f"w{len(self.files.get((client, self.person(client).incs[-1]), []))}" if self.person(client).incs else "w0"
        self.invoke(client, op, **({"key": key} if key else {}), **({"at": ["machine", at]} if at else {}))
        self.replicate(leader, *followers)
        index = len(self.person(leader).log)
        ended = {"at": ["machine", at + 1]} if at else {}
        self.ok(client, op, self.ack(leader, index, index), index, **ended, **answer)
        return index

    # --- to the checker ------------------------------------------------------------------------------------------

    def save(self, directory: Path) -> Path:
        """Write the files."""
        directory.mkdir(parents=True, exist_ok=True)
        for (name, inc), lines in self.files.items():
            text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
            (directory / f"{name}.{inc}.ndjson").write_text(text)
        return directory

    def judge(self, directory: Path, pick: Callable[[int], int] | None = None) -> Result:
        """What the checker says."""
        return replay(self.save(directory), pick=pick)
