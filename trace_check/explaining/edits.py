"""Single edits of a trace: one event left out, changed or added. nearest.py tries which of them make it legal.

Values come from the trace itself: what other events there say in the same place. Nothing here knows the guards; the
checker is asked about every edit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trace_check.explaining.piece import CITATIONS, LISTS_OF_CITATIONS, File, Key, Piece, age, cites, key, merged_after
from trace_check.read import Source
from trace_check.schema import CLIENT_EVENTS, Event, Reference

# Stands for a field that is left out.
GONE = object()
NO_LOG = (0, 0, "0" * 16)
# Its own by nobody else: a digest, a disk, an operation that no event names.
FRESH = "f00dfacef00dface"


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit. `cost` is the number of fields that change; an event left out or added counts as one more than any."""

    text: str
    cost: int
    on_refused: bool
    changes: dict[Key, dict[str, Any]] = field(default_factory=dict)
    # What an event has heard in addition.
    heard: dict[Key, list[Reference]] = field(default_factory=dict)
    dropped: Key | None = None
    # A new event, and the one of its file that it comes before or after.
    added: Event | None = None
    before: Key | None = None
    behind: Key | None = None
    # The events from `added` on are of this incarnation: the node was started again.
    restart: str | None = None

    def names(self) -> set[Key]:
        """The events it is about or has another event cite."""
        found = {at for at in (*self.changes, *self.heard, self.dropped, self.before, self.behind) if at}
        found.update(tuple(r) for heard in self.heard.values() for r in heard)
        for event in (*self.changes.values(), self.added or {}):
            stated = {name: value for name, value in event.items() if value is not GONE}
            found.update(cites(stated), map(tuple, stated.get("after", ())))
        return {at for at in found if at[2] > 0}

    def apply(self, piece: Piece) -> Piece:
        """The piece with this edit."""
        found: Piece = {}
        carried: list[Reference] = []
        node = ""
        for file, events in piece.items():
            if file[0] != node:
                node, carried = file[0], []
            lines: list[Event] = []
            into = file
            for event in events:
                at = key(event)
                if at == self.dropped:
                    carried = event.get("after", [])
                    continue
                if self.added is not None and at == self.before:
                    into = self._insert(found, into, lines)
                    lines = found[into]
                lines.append(self._changed(event, at, carried))
                carried = []
                if self.added is not None and at == self.behind:
                    lines.append(self.added)
            if lines:
                found[into] = lines
        return dict(sorted(found.items(), key=lambda item: (item[0][0], age(item[0]))))

    def _insert(self, found: Piece, into: File, lines: list[Event]) -> File:
        assert self.added is not None
        found[into] = lines
        if self.restart is not None:
            into = into[0], self.restart
            found[into] = []
        found[into].append(self.added)
        return into

    def _changed(self, event: Event, at: Key, carried: list[Reference]) -> Event:
        more = [*carried, *self.heard.get(at, ())]
        if at not in self.changes and not more:
            return event
        event = {**event, **self.changes.get(at, {})}
        if more:
            event["after"] = merged_after([*event.get("after", ()), *more])
        return {name: value for name, value in event.items() if value is not GONE}


def place(source: Source, seq: int) -> str:
    """The file of an event, without its directory, and the line."""
    return Path(source.line(seq)).name


class Describe:
    """Events and values in words."""

    def __init__(self, events: dict[Key, Event], sources: dict[File, Source]) -> None:
        self._events = events
        self._sources = sources

    def event(self, at: Key) -> str:
        """An event by node, name, term and line."""
        event = self._events.get(at)
        if event is None:
            return f"[{', '.join(map(str, at))}]"
        term = "" if event["event"] in CLIENT_EVENTS else f" of term {event['term']}"
        return f"{at[0]}'s {event['event']}{term} ({self.line(at)})"

    def line(self, at: Key) -> str:
        """File and line; of an incarnation that has several files, the one where the event is."""
        source = self._sources.get(at[:2])
        return f"{'.'.join(at[:2])}:{at[2]}" if source is None else place(source, at[2])

    def change(self, event: Event, fields: dict[str, Any]) -> str:
        """What an event says otherwise."""
        rest = dict(fields)
        parts: list[str] = []
        if "last_term" in event and {"last", "last_term"} & fields.keys():
            old, new = (f"{e['last']} of term {e['last_term']}" for e in (event, {**event, **fields}))
            parts.append(f"a log that ends at {new} (not {old})")
            rest = {name: value for name, value in fields.items() if name not in ("last", "last_term", "digest")}
        for name, value in rest.items():
            parts += self._listed(name, event.get(name, []), value) or [self._plain(name, event.get(name, GONE), value)]
        return f"if {self.event(key(event))} said {' and '.join(parts)}"

    def _listed(self, name: str, old: list[Reference], new: Any) -> list[str]:
        """A list of references by what is in it more and less."""
        if name not in LISTS_OF_CITATIONS or new is GONE:
            return []
        more, less = list(new), list(old)
        for reference in old:
            if reference in more:
                more.remove(reference)
                less.remove(reference)
        changed = [f"{word} {self.event(tuple(r))}" for word, some in (("with", more), ("without", less)) for r in some]
        return [f"{name} {' and '.join(changed)}"] if changed else []

    def _plain(self, name: str, old: Any, new: Any) -> str:
        if new is GONE:
            return f"no {name}"
        before = "" if old is GONE else f" (not {self._value(name, old)})"
        return f"{name} {self._value(name, new)}{before}"

    def _value(self, name: str, value: Any) -> str:
        if name in CITATIONS:
            return self.event(tuple(value))
        if value == FRESH:
            return "of its own"
        if name == "voters":
            return ", ".join(value)
        return "null" if value is None else str(value)


class Alternatives:
    """What the fields of an event might say instead, judging by the events near it."""

    def __init__(self, near: list[Event]) -> None:
        self._near = near
        self._terms = sorted({e["term"] for e in near})
        self._names = sorted({e["node"] for e in near if e["event"] not in CLIENT_EVENTS})
        self._positions = sorted({NO_LOG, *_positions(near)})
        self._indexes = sorted({i for last, *_ in self._positions for i in (last, last + 1) if i})
        # Where each leader's entries begin, and where its log ended when it stood for election.
        self._begins = {e["term"]: (e["first"], e["epoch"]) for e in near if e["event"] == "Append" and "epoch" in e}
        stood = {(e["node"], e["term"]): (e["last"], e["last_term"]) for e in near if e["event"] == "Campaign"}
        self._bases = {e["term"]: stood.get((e["node"], e["term"]), (0, 0)) for e in near if e["event"] == "Win"}

    def of(self, event: Event) -> Iterator[dict[str, Any]]:
        """Other values for one or a few fields that belong together; what changes nothing is left out."""
        for fields in self._all(event):
            changed = {name: value for name, value in fields.items() if event.get(name, GONE) != value}
            if changed:
                yield changed

    def _all(self, event: Event) -> Iterator[dict[str, Any]]:
        plain: dict[str, Iterable[Any]] = {
            "vote": [None, *self._names],
            "to": ("UNKNOWN", "FOLLOWER", "OBSERVER"),
            "epoch": range(1, 2 + sum("epoch" in e for e in self._near)),
            "voters": self._seen("voters"),
            "disk": [*self._seen("disk", event["node"]), FRESH],
            "op": [e["op"] for e in self._near if e["event"] == "Invoke" and e["node"] == event["node"]] or [FRESH],
            "campaign": self._references("Campaign"),
            "leader_commit": self._references("Commit"),
            "ack": self._references("Ack"),
            "entry_term": self._terms,
            "index": self._indexes,
        }
        for name, values in plain.items():
            if name in event:
                yield from ({name: value} for value in values)
        if event["event"] not in CLIENT_EVENTS:
            yield from ({"term": term} for term in self._terms)
        if "last_term" in event:
            yield from self._ends(event)
        if "first" in event:
            yield from self._spans(event)
        match event["event"]:
            case "Grant":
                for campaign in self._near:
                    if campaign["event"] == "Campaign":
                        yield {"candidate": campaign["node"], "campaign": list(key(campaign))}
                yield {"candidate": event["campaign"][0]}
            case "Append":
                earlier = [epoch for term, (_, epoch) in self._begins.items() if term < event["term"]]
                yield {"epoch": 1 + max(earlier, default=0)}
                if "epoch" in event:
                    yield {"epoch": GONE}
            case "Win":
                yield from self._counted(event, "grants", "Grant")
            case "Commit":
                yield from self._counted(event, "stores", "Store")
                yield from self._commits(event)

    def _seen(self, name: str, node: str | None = None) -> list[Any]:
        found = [e[name] for e in self._near if name in e and node in (None, e["node"])]
        return [value for at, value in enumerate(found) if value not in found[:at]]

    def _references(self, name: str) -> list[Reference]:
        return [list(key(e)) for e in self._near if e["event"] == name]

    def _ends(self, event: Event) -> Iterator[dict[str, Any]]:
        for last, term, digest in self._positions:
            if not last and event["event"] == "Store":
                continue
            end = {"last": last, "last_term": term}
            yield {**end, "digest": digest} if "digest" in event else end
            if "digest" in event and (last, term) == (event["last"], event["last_term"]):
                yield {"digest": digest}

    def _spans(self, event: Event) -> Iterator[dict[str, Any]]:
        first, last = event["first"], event["last"]
        for index in self._indexes:
            yield {"first": index}
            yield {"last": index}
            yield {"first": index, "last": index + max(0, last - first)}

    def _counted(self, event: Event, name: str, kind: str) -> Iterator[dict[str, Any]]:
        """One citation more, less, or another of the same voter."""
        listed: list[Reference] = event.get(name, [])
        offers = [listed[:at] + listed[at + 1 :] for at in range(len(listed))]
        own = ["Campaign"] if kind == "Grant" else []
        for other in self._near:
            if other["event"] == kind or (other["event"] in own and other["node"] == event["node"]):
                cited = list(key(other))
                offers.append([*(r for r in listed if r[0] != other["node"]), cited])
                offers += [[*listed[:at], cited, *listed[at + 1 :]] for at in range(len(listed))]
        yield from ({name: sorted(offer)} for offer in offers if sorted(offer) != sorted(listed))

    def _commits(self, event: Event) -> Iterator[dict[str, Any]]:
        runs: list[list[int]] = event["runs"]
        if "stores" in event:
            yield from ({"stores": GONE, "leader_commit": r} for r in self._references("Commit"))
        elif "leader_commit" not in event:
            yield from ({"leader_commit": r} for r in self._references("Commit"))
        if runs:
            yield {"epochs": self._epochs(runs)}
            # As the log would have it.
            yield self._run_up_to(runs[0][0], runs[-1][1], runs[-1][2])
        for last, term, digest in self._positions:
            if runs and (last, term) == (runs[-1][1], runs[-1][2]):
                yield {"digest": digest}
            for begin in self._indexes:
                if begin <= last:
                    yield {**self._run_up_to(begin, last, term), "digest": digest}

    def _run_up_to(self, begin: int, last: int, term: int) -> dict[str, Any]:
        """What a Commit from `begin` up to a position has to say."""
        runs: list[list[int]] = []
        while last >= begin and term in self._begins:
            runs.insert(0, [max(begin, self._begins[term][0]), last, term])
            last, term = self._bases.get(term, (0, 0))
        return {"runs": runs, "epochs": self._epochs(runs)}

    def _epochs(self, runs: list[list[int]]) -> Any:
        begins = [(first, *self._begins.get(term, (0, 0))) for first, _, term in runs]
        return [[first, epoch] for first, begin, epoch in begins if first == begin] or GONE


def _positions(events: Iterable[Event]) -> Iterator[tuple[int, int, str]]:
    for event in events:
        if "digest" in event and event["event"] in ("Start", "Store"):
            yield event["last"], event["last_term"], event["digest"]
        elif event["event"] == "Append":
            yield event["last"], event["term"], event["digest"]
