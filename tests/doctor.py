"""Doctored traces: good ones with a single change to what they say, after which they are illegal for a known reason.

A kind of change is a function `(trace, rng) -> str | None`: it changes the trace and returns what it did, or leaves it
alone and returns None where it does not apply. Its docstring says why the result is illegal, whatever the trace was.
The files stay well-formed: events are numbered anew and references follow the events they name, so that a refusal is
one of meaning and not of form. The kinds are in doctor_votes, doctor_logs, doctor_lives, doctor_images,
doctor_groups and doctor_forgeries.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Event = dict[str, Any]
Ref = list[Any]
Position = tuple[int, int]

LISTS = ("after", "grants", "stores")
SINGLE = ("campaign", "leader_commit", "ack", "image")
Kind = Callable[["Trace", random.Random], str | None]
# Two events and what goes with them.
Pair = TypeVar("Pair", bound=tuple[Any, ...])
KINDS: dict[str, Kind] = {}


def doctored(kind: Kind) -> Kind:
    """Register a kind of change."""
    assert kind.__doc__, "a change says why it is illegal"
    KINDS[kind.__name__] = kind
    return kind


@dataclass(frozen=True)
class Rule:
    """A term's leadership, as the trace tells it: its Win, the end of the log before, its Appends."""

    win: Event
    base: Position
    appends: list[Event]

    @property
    def first(self) -> int:
        """Where the epoch record is."""
        return self.base[0] + 1

    @property
    def last(self) -> int:
        """The end of the last Append."""
        return int(self.appends[-1]["last"]) if self.appends else self.base[0]


class Trace:
    """The files of one run, as events that may be changed in place. An event is found by its node, inc and seq."""

    def __init__(self, texts: dict[str, str]) -> None:
        """`texts` by file name."""
        files = [[json.loads(line) for line in text.splitlines()] for _, text in sorted(texts.items()) if text]
        self.files: dict[tuple[str, str], list[Event]] = {(f[0]["node"], f[0]["inc"]): f for f in files}
        self._known_rules: dict[int, Rule] = {}
        # Of the group as it was set up.
        self.voters: list[str] = next(e["voters"] for e in self.events("Start") if e["voters"] and not e["last"])

    @classmethod
    def read(cls, directory: Path) -> Trace:
        """A directory's files; all lines must be whole."""
        return cls({path.name: path.read_text() for path in directory.glob("*.ndjson")})

    def save(self, directory: Path) -> Path:
        """Write the files."""
        directory.mkdir(parents=True, exist_ok=True)
        for (name, inc), lines in self.files.items():
            text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
            (directory / f"{name}.{inc}.ndjson").write_text(text)
        return directory

    # --- looking -------------------------------------------------------------------------------------------------

    def events(self, *names: str) -> list[Event]:
        """All events of these kinds."""
        return [e for lines in self.files.values() for e in lines if e["event"] in names]

    def promises(self) -> list[Event]:
        """All acknowledgements of writes."""
        return [e for e in self.events("Ok") if "ack" in e]

    def node_events(self) -> list[Event]:
        """All events of nodes."""
        return [e for lines in self.files.values() if lines[0]["event"] == "Start" for e in lines]

    def file(self, event: Event) -> list[Event]:
        """The events of the same incarnation."""
        return self.files[event["node"], event["inc"]]

    def lives(self, node: str) -> list[list[Event]]:
        """A node's incarnations, in order."""
        incs = sorted((inc for name, inc in self.files if name == node), key=lambda inc: (counter(inc), inc))
        return [self.files[node, inc] for inc in incs]

    def before(self, event: Event) -> list[Event]:
        """The events of the node up to and without this one, over all its incarnations."""
        lives = self.lives(event["node"])
        earlier = [e for life in lives if counter(life[0]["inc"]) < counter(event["inc"]) for e in life]
        return earlier + self.file(event)[: event["seq"] - 1]

    def cited(self, reference: Ref) -> Event:
        """The event a reference names."""
        node, inc, seq = reference
        return self.files[node, inc][int(seq) - 1]

    def heard(self, event: Event, of: Event) -> bool:
        """Whether this node has, in this incarnation and up to this event, heard of another's event."""
        return any(r[0] == of["node"] and order(r) >= order(ref(of)) for r in self._heard(event))

    def _heard(self, event: Event) -> Iterator[Ref]:
        for line in self.file(event)[: event["seq"]]:
            yield from line.get("after", [])

    def rules(self) -> dict[int, Rule]:
        """All leaderships, by term."""
        found = {}
        for win in self.events("Win"):
            own = next(self.cited(r) for r in win["grants"] if r[0] == win["node"])
            appends = [e for e in self.file(win) if e["event"] == "Append" and e["term"] == win["term"]]
            found[win["term"]] = Rule(win, (own["last"], own["last_term"]), appends)
        return found

    def leads(self, event: Event) -> bool:
        """Whether the node leads its term at this event, itself included."""
        state = False
        for line in self.file(event)[: event["seq"]]:
            state = line["event"] == "Win" or (state and line["event"] not in ("Lose", "Exit"))
        return state

    def type_of(self, event: Event) -> str:
        """The frontend type after this event."""
        kind: str = "INIT"
        for line in self.file(event)[: event["seq"]]:
            kind = {"Activate": "LEADER", "Exit": "DOWN"}.get(line["event"]) or line.get("to", kind)
        return kind

    def stored(self, event: Event) -> Position:
        """What the node has last shown to be durable, this event included."""
        stored = (0, 0)
        for e in self.file(event)[: event["seq"]]:
            if e["event"] == "Install":
                last, last_term = self.image(e)
                log = self.log(stored)
                stored = stored if len(log) >= last and log[last - 1] == last_term else (last, last_term)
            elif e["event"] in ("Start", "Store"):
                stored = e["last"], e["last_term"]
        return stored

    def image(self, event: Event) -> Position:
        """What the image covers that this event shows; nothing if it shows none."""
        last, last_term = 0, 0
        if event["event"] in ("Image", "Install"):
            last, last_term = event["last"], event["last_term"]
        elif event["event"] == "Start" and "image" in event:
            last, last_term, _ = event["image"]
        return last, last_term

    def image_by(self, event: Event) -> Position:
        """What the image covers with which the node started, or which it has installed since, up to this event."""
        shown = [self.image(e) for e in self.file(event)[: event["seq"]] if e["event"] in ("Start", "Install")]
        return max(shown)

    def committed(self, event: Event) -> int:
        """Up to where this incarnation knows the log committed, this event included."""
        commits = [e["runs"][-1][1] for e in self.file(event)[: event["seq"]] if e["event"] == "Commit"]
        return int(max([self.image_by(event)[0], *commits[-1:]]))

    def log(self, position: Position) -> list[int]:
        """The terms of all entries of the log that ends there."""
        rules = self._known_rules = self._known_rules or self.rules()
        (index, term), terms = position, list[int]()
        while index:
            base = rules[term].base
            terms[:0] = [term] * (index - base[0])
            index, term = base
        return terms

    def group(self, position: Position) -> list[list[str]]:
        """The members, as an Append names them, by the last configuration of the log that ends there.

        Where no Start shows the members of the group as it was set up, there is no address of them: it is empty.
        """
        appended = {(e["last"], e["term"]): e["members"] for e in self.events("Append") if "members" in e}
        entries = reversed([*enumerate(self.log(position), 1)])
        found = (appended[entry] for entry in entries if entry in appended)
        shown = next((e["members"] for e in self.events("Start") if "members" in e), None)
        return next(found, None) or shown or [[voter, "voter", ""] for voter in self.voters]

    def voters_by(self, event: Event) -> list[str]:
        """Those whose votes or Stores the candidate or leader counts at this event, itself included."""
        for line in reversed(self.file(event)[: event["seq"]]):
            if "members" in line:
                return voters(line["members"])
            if line["event"] == "Campaign":
                return list(line["voters"])
        return self.voters

    def majority(self, event: Event) -> int:
        """How many of them decide."""
        return len(self.voters_by(event)) // 2 + 1

    def digests(self) -> dict[Position, str]:
        """The digests that the trace names, by position."""
        found = {(0, 0): "0" * 16}
        for e in self.events("Start", "Store", "Append", "Commit", "Image", "Install"):
            match e["event"]:
                case "Append":
                    position = e["last"], e["term"]
                case "Commit":
                    position = e["runs"][-1][1], e["runs"][-1][2]
                case _:
                    position = e["last"], e["last_term"]
            found[position] = e["digest"]
        return found

    def past(self, event: Event) -> dict[tuple[str, str], int]:
        """What this event happens after, itself included: the newest seq of each incarnation."""
        reach: dict[tuple[str, str], int] = {}
        todo = [((event["node"], event["inc"]), event["seq"])]
        while todo:
            key, seq = todo.pop()
            known = reach.get(key, 0)
            if seq > known:
                reach[key] = seq
                lines = self.files[key]
                todo += [((r[0], r[1]), r[2]) for line in lines[known:seq] for r in line.get("after", ())]
                if not known and (before := self.before(lines[0])):
                    todo.append(((key[0], before[-1]["inc"]), before[-1]["seq"]))
        return reach

    def follows(self, event: Event, earlier: Event) -> bool:
        """Whether an event happens after another, or is it."""
        return self.past(event).get((earlier["node"], earlier["inc"]), 0) >= int(earlier["seq"])

    def pick(self, rng: random.Random, found: list[Pair]) -> Pair | None:
        """One of these tuples, such that its first event may happen after its second: no circle comes of it."""
        for choice in rng.sample(found, min(20, len(found))):
            if not self.follows(choice[1], choice[0]):
                return choice
        return None

    # --- changing ------------------------------------------------------------------------------------------------

    def insert(self, previous: Event, event: str, *, term: int | None = None, **own: Any) -> Event:
        """A new event after another of the same file."""
        lines = self.file(previous)
        line = {k: previous[k] for k in ("v", "cluster", "node", "inc", "seq", "ts")}
        line |= {"event": event, "term": previous["term"] if term is None else term, **own}
        self._move(previous, lambda seq: seq + (seq > previous["seq"]))
        lines.insert(previous["seq"], line)
        self._number(lines)
        return line

    def remove(self, event: Event) -> None:
        """Take an event out; whoever referred to it refers to the one before."""
        lines = self.file(event)
        at = event["seq"]
        self._move(event, lambda seq: seq - (seq >= at))
        del lines[at - 1]
        self._number(lines)

    def swap(self, event: Event) -> None:
        """Exchange an event with the one before it; what cites either cites it still."""
        lines = self.file(event)
        at = event["seq"]
        self._move(event, lambda seq: {at - 1: at, at: at - 1}.get(seq, seq))
        lines[at - 2], lines[at - 1] = lines[at - 1], lines[at - 2]
        self._number(lines)

    def hear(self, event: Event, of: Event) -> Event:
        """Make an event happen after another, of another node; returns it."""
        if of["node"] != event["node"] and not self.heard(event, of):
            event["after"] = [*event.get("after", []), ref(of)]
        return event

    def deafen(self, event: Event, to: Event) -> None:
        """Up to this event its incarnation has not heard of `to` nor of anything later of that node."""
        for line in self.file(event)[: event["seq"]]:
            if "after" in line:
                line["after"] = [r for r in line["after"] if r[0] != to["node"] or order(r) < order(ref(to))]

    def rename(self, event: Event, inc: str) -> None:
        """Give the incarnation of an event another name."""
        node, old = event["node"], event["inc"]
        for line in self.file(event):
            line["inc"] = inc
        self.files[node, inc] = self.files.pop((node, old))
        for reference in self._references():
            if reference[:2] == [node, old]:
                reference[1] = inc

    def _number(self, lines: list[Event]) -> None:
        for seq, line in enumerate(lines, 1):
            line["seq"] = seq

    def _move(self, event: Event, to: Callable[[int], int]) -> None:
        for reference in self._references():
            if reference[:2] == [event["node"], event["inc"]]:
                reference[2] = to(reference[2])

    def _references(self) -> Iterator[Ref]:
        for lines in self.files.values():
            for line in lines:
                for name in LISTS:
                    yield from line.get(name, ())
                for name in SINGLE:
                    if name in line:
                        yield line[name]


def voters(members: list[list[str]]) -> list[str]:
    """Who has a vote in a configuration."""
    return [node for node, part, _ in members if part == "voter"]


def counter(inc: str) -> int:
    """The part of an incarnation that grows at every start."""
    return int(inc.partition("-")[0])


def order(reference: Ref) -> tuple[int, int]:
    """References to one node compare by this."""
    return counter(reference[1]), reference[2]


def ref(event: Event) -> Ref:
    """How others cite an event."""
    return [event["node"], event["inc"], event["seq"]]


def name(event: Event) -> str:
    """An event for people."""
    return f"{event['event']} {event['node']}.{event['inc']}:{event['seq']} of term {event['term']}"


def other_digest(digest: str) -> str:
    """Another digest than this."""
    return digest[:-1] + ("0" if digest[-1] != "0" else "1")
