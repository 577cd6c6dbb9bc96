"""Right runs of no implementation in particular: any step the protocol allows, chosen at random, in any order.

Where the simulation has timers, frames and one way to do things, a `Wanderer` has only the rules of Raft and of epoch
fencing. Messages are never sent: whoever reacts to an event of another reacts to any that was ever written, however
long ago, as if the message had been under way since. Nodes stop anywhere, and find on their disks what they had not
written down. Shares no code with the implementation.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handmade import Event, Person, Story, digest

# Types from which a frontend that does not lead may change to which others (docs/trace-format.md, `Transfer`).
TRANSFERS = {
    "INIT": ("FOLLOWER",), "UNKNOWN": ("FOLLOWER",), "FOLLOWER": ("UNKNOWN",), "OBSERVER": ("UNKNOWN",), "LEADER": (),
}


@dataclass
class Rule:
    """One term's leader: its Win, its Appends with the log to the end of each."""

    win: Event
    base: list[int]
    appends: list[tuple[Event, list[int]]] = field(default_factory=list)

    @property
    def log(self) -> list[int]:
        """As the leader wrote it."""
        return self.appends[-1][1] if self.appends else self.base


@dataclass
class Life:
    """One incarnation: what is not on disk."""

    leads: int = 0
    type: str = "INIT"
    campaign: Event | None = None
    stored: tuple[int, int] = (0, 0)


def position(log: list[int]) -> tuple[int, int]:
    """(term of the last entry, last index): logs are compared by it."""
    return (log[-1] if log else 0, len(log))


class Wanderer:
    """A cluster that does anything it may."""

    def __init__(self, rng: random.Random, size: int, observers: int = 0, clients: int = 1) -> None:
        self.rng = rng
        self.story = Story(*(f"n{i + 1}" for i in range(size)), start=False)
        self.voters = self.story.voters
        self.majority = size // 2 + 1
        self.nodes = self.voters + [f"o{i + 1}" for i in range(observers)]
        self.clients = [f"client-{i + 1}" for i in range(clients)]
        self.lives: dict[str, Life] = {}
        self.rules: dict[int, Rule] = {}
        self.campaigns: list[Event] = []
        self.grants: list[Event] = []
        self.stores: list[Event] = []
        self.commits: list[tuple[Event, list[int]]] = []
        self.acks: list[Event] = []
        self.promised: set[int] = set()
        # Operations under way, with what their client had been shown and had heard of when they began.
        self.open: dict[str, list[tuple[str, int, dict[str, tuple[int, int]]]]] = {c: [] for c in self.clients}
        self.shown = dict.fromkeys(self.clients, 0)
        self.heard: dict[str, dict[str, tuple[int, int]]] = {name: {} for name in (*self.nodes, *self.clients)}
        self.ops = 0
        for name in self.nodes:
            self._begin(name)

    def wander(self, events: int) -> Story:
        """Take steps until so many events are written."""
        weights: dict[Callable[[str], object], float] = {
            self.campaign: 0.3, self.grant: 6, self.win: 8, self.append: 5, self.sync: 5, self.store: 6,
            self.commit: 8, self.learn: 3, self.activate: 8, self.ack: 3, self.lose: 0.1, self.transfer: 0.3,
            self.end: 0.15, self.gossip: 1, self.image: 0.3, self.install: 1,
        }
        steps = self.rng.choices(list(weights), list(weights.values()), k=60 * events)
        for step in steps:
            if self.story.events >= events:
                break
            if self.rng.random() < 0.02 and self.clients:
                self.client(self.rng.choice(self.clients))
            step(self.rng.choice(self.nodes))
        return self.story

    # --- what everybody does -------------------------------------------------------------------------------------

    def _alive(self, name: str) -> tuple[Person, Life] | None:
        """A node and its life; one that is down starts instead."""
        if name not in self.lives:
            if self.rng.random() < 0.2:
                self._begin(name)
            return None
        return self.story.person(name), self.lives[name]

    def _hear(self, name: str, line: Event) -> None:
        """A message arrives that was sent after this event, and perhaps after some more of the same term."""
        lines = self.story.files[line["node"], line["inc"]]
        at = line["seq"]
        while at < len(lines) and lines[at]["term"] == line["term"] and self.rng.random() < 0.5:
            at += 1
        self._heard(name, [line["node"], line["inc"], at])

    def _heard(self, name: str, reference: list[object]) -> None:
        sender, inc, seq = reference
        person = self.story.person(name)
        known = person.after.get(str(sender))
        if sender != name and (known is None or _order(known) < _order([sender, inc, seq])):
            person.after[str(sender)] = [sender, inc, seq]
            newest = self.heard[name]
            newest[str(sender)] = max(newest.get(str(sender), (0, 0)), _order([sender, inc, seq]))

    def gossip(self, name: str) -> None:
        """Messages that change nothing."""
        if name in self.lives:
            for other in self.rng.sample(self.nodes, self.rng.randint(1, len(self.nodes))):
                if self.story.person(other).incs and other != name:
                    inc = self.rng.choice(self.story.person(other).incs)
                    self._heard(name, [other, inc, self.rng.randint(1, len(self.story.files[other, inc]))])

    def _enter(self, name: str, term: int) -> bool:
        """Move to a term, if the node may: it is not gone beyond, and does not lead an earlier one."""
        person, life = self.story.person(name), self.lives[name]
        if term < person.term:
            return False
        if term > person.term:
            self.lose(name)
            person.term, person.vote, life.campaign = term, None, None
        return True

    # --- elections -----------------------------------------------------------------------------------------------

    def campaign(self, name: str) -> None:
        """Stand for election."""
        alive = self._alive(name)
        if not alive or name not in self.voters or alive[1].leads or alive[1].type in ("OBSERVER", "LEADER"):
            return
        person, life = alive
        term = person.term + self.rng.choice((1, 1, 1, 1, 2, 5))
        if self.campaigns and self.campaigns[-1]["term"] > person.term and self.rng.random() < 0.5:
            term = self.campaigns[-1]["term"]
        durable = person.durable
        life.campaign = self.story.campaign(name, term)
        person.durable = durable
        self.campaigns.append(life.campaign)

    def grant(self, name: str) -> None:
        """Vote for somebody who has asked, however long ago."""
        alive = self._alive(name)
        if not alive or name not in self.voters or not self.campaigns:
            return
        person = alive[0]
        asked = self.rng.choice(self.campaigns[-4:])
        term = asked["term"]
        if term < person.term or asked["node"] == name or (term == person.term and person.vote):
            return
        up_to_date = (asked["last_term"], asked["last"]) >= position(person.log)
        if not up_to_date or not self._enter(name, term):
            return
        person.vote = asked["node"]
        self._hear(name, asked)
        last_term, last = position(person.log)
        self.grants.append(
            self.story.tell(
                name, "Grant", candidate=asked["node"], campaign=self.story.ref(asked), last=last, last_term=last_term
            )
        )

    def win(self, name: str) -> None:
        """Count votes."""
        alive = self._alive(name)
        own = alive[1].campaign if alive else None
        if not alive or own is None or alive[1].leads or alive[1].type in ("OBSERVER", "LEADER"):
            return
        person, life = alive
        votes = [g for g in self.grants if (g["candidate"], g["term"]) == (name, person.term)]
        votes = [g for g in votes if g["node"] in self.voters]
        if len(votes) + 1 < self.majority or person.term in self.rules:
            return
        counted = self.rng.sample(votes, self.rng.randint(self.majority - 1, len(votes)))
        for vote in counted:
            self._hear(name, vote)
        references = [self.story.ref(line) for line in (own, *counted)]
        self.rng.shuffle(references)
        life.leads = person.term
        self.rules[person.term] = Rule(self.story.tell(name, "Win", grants=references), list(person.log))

    def activate(self, name: str) -> None:
        """Become LEADER."""
        alive = self._alive(name)
        if alive and alive[1].leads and alive[1].type != "LEADER":
            record = len(self.rules[alive[1].leads].base) + 1
            if alive[0].committed >= record:
                self.story.activate(name)
                alive[1].type = "LEADER"

    def lose(self, name: str) -> None:
        """Give up leading, for whatever reason, and perhaps what has been appended and not stored."""
        alive = self._alive(name)
        if alive and alive[1].leads:
            self.story.lose(name)
            alive[1].leads = 0
            if self.rng.random() < 0.3:
                del alive[0].log[alive[0].durable :]

    def transfer(self, name: str) -> None:
        """Change the type."""
        alive = self._alive(name)
        if not alive or alive[1].leads:
            return
        options = TRANSFERS[alive[1].type]
        if name not in self.voters and alive[1].type in ("INIT", "UNKNOWN"):
            options = ("OBSERVER",)
        if options:
            alive[1].type = self.rng.choice(options)
            self.story.transfer(name, alive[1].type)

    # --- the log -------------------------------------------------------------------------------------------------

    def append(self, name: str) -> None:
        """Put the epoch record, or writes, at the end of the log."""
        alive = self._alive(name)
        if not alive or not alive[1].leads:
            return
        person, life = alive
        rule = self.rules[life.leads]
        if not rule.appends or life.type == "LEADER":
            line = self.story.append(name, self.rng.randint(1, 3) if rule.appends else 1)
            rule.appends.append((line, list(person.log)))

    def sync(self, name: str) -> None:
        """A leader's own disk has caught up with some of its Appends."""
        alive = self._alive(name)
        if not alive or not alive[1].leads:
            return
        person, life = alive
        ends = [len(log) for _, log in self.rules[life.leads].appends if len(log) > person.durable]
        if ends:
            person.durable = self.rng.choice(ends)
            life.stored = life.leads, person.durable
            self.stores.append(self.story.store(name, last=person.durable))

    def _offer(self, person: Person, whole_frames: bool) -> tuple[Event, int, list[int]] | None:
        """What a leader may have sent this node at some time: the event before, the term, the log it makes of it."""
        terms = [t for t in self.rules if t >= person.term and self.rules[t].win["node"] != person.name]
        if not terms:
            return None
        term = self.rng.choice(terms)
        rule = self.rules[term]
        line, log = self.rng.choice([(rule.win, rule.base), *rule.appends, *rule.appends[-1:]])
        if line is rule.win or not whole_frames:
            log = log[: self.rng.randint(0, len(log)) if self.rng.random() < 0.3 else len(log)]
        # Who has heard of a later leader's Commit, and stays in its term, keeps what it knows committed.
        kept = min(len(log), len(person.log), person.committed)
        if log[:kept] != person.log[:kept]:
            return None
        # What is there already stays there: a frame that holds no news makes nothing shorter.
        return None if log == person.log[: len(log)] and len(log) < len(person.log) else (line, term, list(log))

    def store(self, name: str) -> None:
        """A follower has entries of its leader on disk."""
        alive = self._alive(name)
        offer = self._offer(alive[0], True) if alive else None
        if not alive or not offer:
            return
        person, life = alive
        line, term, log = offer
        if (term, len(log)) == life.stored or not log or not self._enter(name, term):
            return
        self._hear(name, line)
        person.log, life.stored = log, (term, len(log))
        self.stores.append(self.story.store(name))

    def commit(self, name: str) -> None:
        """A leader counts Stores, new ones and old ones."""
        alive = self._alive(name)
        if not alive or not alive[1].leads:
            return
        person, term = alive[0], alive[1].leads
        newest: dict[str, list[Event]] = {}
        for line in self.stores:
            if line["term"] == term and line["node"] in self.voters:
                newest.setdefault(line["node"], []).append(line)
        counted = [self.rng.choice(lines[-2:]) for lines in newest.values()]
        reach = sorted((line["last"] for line in counted), reverse=True)[self.majority - 1 :]
        low = max(person.committed, len(self.rules[term].base)) + 1
        if not reach or reach[0] < low:
            return
        for line in counted:
            if line["node"] != name:
                self._hear(name, line)
        last = reach[0] if self.rng.random() < 0.8 else self.rng.randint(low, reach[0])
        line = self.story._commit(name, last, stores=[self.story.ref(line) for line in counted])
        self.commits.append((line, person.log[:last]))

    def learn(self, name: str) -> None:
        """A node hears of a Commit that concerns its own log."""
        alive = self._alive(name)
        if not alive or alive[1].leads or not self.commits:
            return
        person = alive[0]
        line, log = self.rng.choice(self.commits[-6:])
        same = len(log) if person.log[: len(log)] == log else 0
        if line["node"] == name or same <= person.committed:
            return
        self._hear(name, line)
        last = same if self.rng.random() < 0.7 else self.rng.randint(person.committed + 1, same)
        learnt = self.story._commit(name, last, leader_commit=self.story.ref(line))
        self.commits.append((learnt, person.log[:last]))

    def ack(self, name: str) -> None:
        """A LEADER is about to tell a client."""
        alive = self._alive(name)
        if not alive or not alive[1].leads or alive[1].type != "LEADER":
            return
        low = len(self.rules[alive[1].leads].base) + 2
        if low <= alive[0].committed:
            first = self.rng.randint(low, alive[0].committed)
            self.acks.append(self.story.ack(name, first, self.rng.randint(first, alive[0].committed)))

    # --- images --------------------------------------------------------------------------------------------------

    def image(self, name: str) -> None:
        """Have an image of what is known committed, or of the beginning of that."""
        alive = self._alive(name)
        if not alive:
            return
        # Who committed by the Stores of others may have given up, with its term, what it had not stored itself.
        most = min(alive[0].committed, len(alive[0].log))
        if most > alive[0].image:
            last = self.rng.randint(alive[0].image + 1, most)
            alive[0].durable = max(alive[0].durable, last)
            self.story.image(name, last)

    def install(self, name: str) -> None:
        """Take over what a leader has shown an image of, in the incarnation that leads."""
        alive = self._alive(name)
        offer = self._image_of_a_leader(alive[0]) if alive else None
        if not offer:
            return
        line, term, last = offer
        if self._enter(name, term):
            rule = self.rules[term]
            self._hear(name, max(line, rule.win, key=lambda e: e["seq"]))
            log = self._take_over(self.story.person(name), rule, last)
            end: dict[str, Any] = {"last": last, "last_term": log[-1], "digest": digest(log)}
            self.story.tell(name, "Install", **end, image=self.story.ref(line))

    def _image_of_a_leader(self, person: Person) -> tuple[Event, int, int] | None:
        terms = [t for t in self.rules if t >= person.term and self.rules[t].win["node"] != person.name]
        if not terms:
            return None
        term = self.rng.choice(terms)
        win = self.rules[term].win
        shown: list[tuple[Event, int, int]] = []
        for line in self.story.files[win["node"], win["inc"]]:
            if line["event"] in ("Image", "Install") or (line["event"] == "Start" and "image" in line):
                last = line["image"][0] if line["event"] == "Start" else line["last"]
                if line["term"] <= term and last >= person.image:
                    shown.append((line, term, last))
        return self.rng.choice(shown) if shown else None

    @staticmethod
    def _take_over(person: Person, rule: Rule, last: int) -> list[int]:
        log = rule.log[:last]
        if person.log[:last] != log:
            person.log, person.durable = log[:], last
        person.durable, person.image = max(person.durable, last), last
        person.committed = max(person.committed, last)
        return log

    # --- ends and beginnings -------------------------------------------------------------------------------------

    def end(self, name: str) -> None:
        """Exit, or be killed, with things on the disk that no line tells of."""
        if name not in self.lives:
            return
        person = self.story.person(name)
        if self.rng.random() < 0.3:
            self.story.exit(name, self.rng.choice((0, 1, 3)))
            person.log = person.log[: person.durable]
        else:
            person.log = person.log[: self.rng.randint(person.durable, len(person.log))]
            for _ in range(self.rng.choice((0, 0, 1, 1, 2, 3))):
                self._silently(person)
        person.durable = len(person.log)
        del self.lives[name]

    def _silently(self, person: Person) -> None:
        """Something is durable, and the process dies before it has said so."""
        kind = self.rng.choice(("term", "vote", "candidacy", "entries", "image", "install"))
        offer = self._offer(person, False)
        if kind == "term" and self.campaigns:
            self._move(person, self.rng.choice(self.campaigns)["term"])
        elif kind == "vote" and self.campaigns and person.name in self.voters:
            asked = self.rng.choice(self.campaigns)
            up_to_date = (asked["last_term"], asked["last"]) >= position(person.log)
            if asked["node"] != person.name and up_to_date and self._move(person, asked["term"]) and not person.vote:
                person.vote = asked["node"]
        elif kind == "candidacy" and person.name in self.voters and self.lives[person.name].type != "OBSERVER":
            self._move(person, person.term + 1)
            person.vote = person.name
        elif kind == "entries" and offer and self._move(person, offer[1]):
            person.log = offer[2]
        elif kind == "image" and (most := min(person.committed, len(person.log))) > person.image:
            person.image = self.rng.randint(person.image + 1, most)
        elif kind == "install" and (shown := self._image_of_a_leader(person)) and self._move(person, shown[1]):
            self._take_over(person, self.rules[shown[1]], shown[2])

    def _move(self, person: Person, term: int) -> bool:
        if term > person.term:
            person.term, person.vote = term, None
        return term == person.term

    def _begin(self, name: str) -> None:
        person = self.story.person(name)
        if self.rng.random() < 0.1:
            person.counter += 1
        self.story.start(name)
        self.lives[name] = Life()

    # --- clients -------------------------------------------------------------------------------------------------

    def client(self, name: str) -> None:
        """Ask for a write, or be told what became of one."""
        under_way = self.open[name]
        if not under_way or self.rng.random() < 0.4:
            if self.story.person(name).incs and not under_way and self.rng.random() < 0.1:
                self.story.open(name)
            self.ops += 1
            under_way.append((f"w{self.ops}", self.shown[name], dict(self.heard[name])))
            self.story.invoke(name, under_way[-1][0])
            return
        op, shown, heard = under_way.pop(self.rng.randrange(len(under_way)))
        # It was appended and acknowledged after it began: above what its client had seen by then, by a later Ack.
        acks = [a for a in self.acks if _order(self.story.ref(a)) > heard.get(a["node"], (0, 0))]
        places = [(a, i) for a in acks for i in range(max(a["first"], shown + 1), a["last"] + 1)]
        places = [(ack, index) for ack, index in places if index not in self.promised and self._is_a_write(index, ack)]
        if places and self.rng.random() < 0.8:
            ack, index = self.rng.choice(places)
            self.promised.add(index)
            self.shown[name] = max(self.shown[name], index)
            self._hear(name, ack)
            self.story.tell(name, "Ok", op=op, index=index, entry_term=ack["term"], ack=self.story.ref(ack))
        else:
            self.story.tell(name, self.rng.choice(("Fail", "Unknown")), op=op, error="no answer")

    def _is_a_write(self, index: int, ack: Event) -> bool:
        """Whether the entry is a client's, and no configuration."""
        return (index, ack["term"]) not in self.story.members


def _order(reference: list[object]) -> tuple[int, int]:
    return int(str(reference[1]).partition("-")[0]), int(str(reference[2]))


def save(story: Story, directory: Path, rng: random.Random) -> Path:
    """Write the files as somebody else might: fields in another order, unknown ones, blanks, a longer `after`."""
    directory.mkdir(parents=True, exist_ok=True)
    for (name, inc), lines in story.files.items():
        habit = rng.randrange(4)
        heard: dict[str, list[object]] = {}
        with (directory / f"{name}.{inc}.ndjson").open("w") as file:
            for line in lines:
                for reference in line.get("after", []):
                    heard[reference[0]] = max(heard.get(reference[0], reference), reference, key=_order)
                if habit == 1:
                    line["after"] = rng.sample(list(heard.values()), len(heard))
                if habit == 2:
                    line = dict(rng.sample(list(line.items()), len(line)), colour={"red": [None, 1.5]})
                if habit == 3:
                    line.setdefault("after", [])
                file.write(json.dumps(line, separators=(",", ":") if habit < 2 else None) + "\n")
    return directory
