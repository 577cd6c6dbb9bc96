"""Pieces of a trace in memory: some of its events, written out as valid files again and judged by the checker.

An event is known by where it was first read, its key, and never changed in place. Numbers and references are made anew
when a piece is written: who refers to an event that is gone has heard of the one before it.
"""

from __future__ import annotations

import heapq
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from trace_check.graphs import Graphs
from trace_check.merge import Engine, Merge
from trace_check.read import Source, sources_in
from trace_check.replay import Progress, replay
from trace_check.schema import VERSION, Event, Reference, parse_incarnation
from trace_check.verdict import Result, Violation, Where

File = tuple[str, str]
Key = tuple[str, str, int]
# The files in order of node and incarnation.
Piece = dict[File, list[Event]]

CITATIONS = ("campaign", "leader_commit", "ack", "start", "serve", "image")
LISTS_OF_CITATIONS = ("grants", "stores", "confirms")
# Where no file has an event: what a citation of a removed event becomes.
NOWHERE = 10**9
_dumps = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Replayed:
    """A result, and what the checker knew when it stopped."""

    result: Result
    judge: Engine
    merge: Merge

    @property
    def sources(self) -> list[Source]:
        """All incarnations."""
        return self.judge.cluster.sources


def run(
    directory: Path, graphs: Graphs, *, allow_gaps: bool = False, progress: Progress | None = None
) -> Replayed:
    """`replay`, with everything that was known at its end. Raises BadInput."""
    seen: list[tuple[Engine, Merge]] = []

    def attach(judge: Engine, merge: Merge) -> None:
        seen.append((judge, merge))

    result = replay(directory, graphs=graphs, allow_gaps=allow_gaps, progress=progress, attach=attach)
    return Replayed(result, *seen[0])


def key(event: Event) -> Key:
    """What an event is known by, however it is renumbered."""
    return event["node"], event["inc"], event["seq"]


def _citations(event: Event) -> Iterator[str]:
    """The fields that name one event each. The `image` of a Start is none of them: it says what is on the disk."""
    yield from (field for field in CITATIONS if field in event and isinstance(event[field][0], str))


def cites(event: Event) -> Iterator[Key]:
    """The events that one names as its evidence."""
    for field in _citations(event):
        yield tuple(event[field])
    for field in LISTS_OF_CITATIONS:
        for reference in event.get(field, ()):
            yield tuple(reference)


def events_of(piece: Piece) -> Iterator[Event]:
    """All events, file by file."""
    for events in piece.values():
        yield from events


def size(piece: Piece) -> int:
    """The number of events."""
    return sum(map(len, piece.values()))


@lru_cache(maxsize=1 << 12)
def age(file: File) -> tuple[int, str]:
    """Orders the incarnations of a node."""
    counter, random = parse_incarnation(file[1]) or (0, "")
    return counter, random


def load(directory: Path, cuts: dict[File, int] | None = None, *, allow_gaps: bool = False) -> Piece:
    """The traces of a directory, or as many events of each file as `cuts` says. Raises BadInput."""
    piece: Piece = {}
    for source in sources_in(directory, allow_gaps=allow_gaps):
        file = source.node, source.inc
        wanted = cuts.get(file, 0) if cuts is not None else None
        shared = {"v": VERSION, "cluster": source.cluster, "node": source.node, "inc": source.inc}
        events: list[Event] = []
        while (wanted is None or len(events) < wanted) and source.load():
            # A reader leaves out what is of the line.
            for seq in range(len(events) + 1, source.first + len(source.batch)):
                events.append({**shared, "seq": seq, "ts": source.ts(seq), **source.event(seq)})
        source.reader.close()
        if events:
            piece[file] = events[:wanted]
    return piece


def reached(replayed: Replayed) -> dict[File, int]:
    """How many events of each file the judge had before it when it stopped, those included that could not be judged.

    At least one of each node, as a node without a file would be missing.
    """
    cuts = {(s.node, s.inc): s.consumed for s in replayed.sources}
    for name in replayed.judge.cluster.nodes:
        first = next(replayed.judge.cluster.sources_of(name))
        cuts[name, first.inc] = max(1, first.consumed)
    where = replayed.result.violation.where if replayed.result.violation else None
    if where is None or where.seq > cuts[where.node, where.inc]:
        for blocked in replayed.merge.stuck():
            cuts[blocked.source.node, blocked.source.inc] = blocked.seq
    return cuts


def causal_order(piece: Piece) -> list[Event]:
    """All events so that each comes after what it happens after; among equals by their clocks, for people."""
    sequence: dict[str, list[Event]] = {}
    for file in sorted(piece, key=lambda f: (f[0], age(f))):
        sequence.setdefault(file[0], []).extend(piece[file])
    due = dict.fromkeys(sequence, 0)
    present = {key(e) for e in events_of(piece)}
    done: set[Key] = set()
    parked: dict[Key, list[str]] = {}
    ready: list[tuple[int, str]] = []
    ordered: list[Event] = []

    def consider(node: str) -> None:
        if due[node] < len(sequence[node]):
            event = sequence[node][due[node]]
            for reference in (*map(tuple, event.get("after", ())), *cites(event)):
                if reference in present and reference not in done:
                    parked.setdefault(reference, []).append(node)
                    return
            heapq.heappush(ready, (event["ts"], node))

    for node in sequence:
        consider(node)
    while ready:
        _, node = heapq.heappop(ready)
        event = sequence[node][due[node]]
        due[node] += 1
        ordered.append(event)
        done.add(key(event))
        for other in (node, *parked.pop(key(event), ())):
            consider(other)
    # What a circle of events keeps from ever being ready.
    return ordered + sorted((e for n, events in sequence.items() for e in events[due[n] :]), key=lambda e: e["ts"])


class Places:
    """Where the events of a piece stand once it is written."""

    def __init__(self, piece: Piece) -> None:
        self.at: dict[Key, Reference] = {}
        kept: dict[File, list[int]] = {}
        for (node, inc), events in piece.items():
            for number, event in enumerate(events, 1):
                self.at[key(event)] = [node, inc, number]
                if event["seq"] > 0:
                    kept.setdefault((event["node"], event["inc"]), []).append(event["seq"])
        self._kept = kept
        self._files: dict[str, list[File]] = {}
        for file in sorted(kept, key=age):
            self._files.setdefault(file[0], []).append(file)

    def newest(self, named: Key) -> Key | None:
        """The event itself, or the last one before it of its node that is in the piece."""
        node, inc, seq = named
        if named in self.at:
            return named
        for file in reversed(self._files.get(node, ())):
            if age(file) > age((node, inc)):
                continue
            numbers = self._kept[file]
            at = bisect_right(numbers, seq) if file[1] == inc else len(numbers)
            if at:
                return node, file[1], numbers[at - 1]
        return None

    def heard(self, reference: Reference) -> Reference | None:
        """What is left of what a message named."""
        if reference[0] not in self._files:
            return reference
        found = self.newest(tuple(reference))
        return self.at[found] if found else None

    def cited(self, reference: Reference) -> Reference:
        """An event named as evidence; one that is gone must not become another."""
        found = self.at.get(tuple(reference))
        if found is not None:
            return found
        node, inc, seq = reference
        return [node, inc, seq if seq > len(self._kept.get((node, inc), ())) else NOWHERE]


def written(piece: Piece, *, origin: bool = False) -> Iterator[tuple[File, list[Event]]]:
    """The files as they are to be written, with numbers and references of their own.

    With `origin` every event has a field `was`, the number it had.
    """
    places = Places(piece)
    for (node, inc), events in piece.items():
        lines: list[Event] = []
        for number, event in enumerate(events, 1):
            line = {**event, "inc": inc, "seq": number}
            if origin and event["seq"] > 0:
                line["was"] = event["seq"]
            if "after" in event:
                heard = [found for r in event["after"] if (found := places.heard(r)) is not None]
                line["after"] = [r for at, r in enumerate(heard) if r not in heard[:at]]
                if not heard:
                    del line["after"]
            for field in _citations(event):
                line[field] = places.cited(event[field])
            for field in LISTS_OF_CITATIONS:
                if field in event:
                    line[field] = [places.cited(r) for r in event[field]]
            lines.append(line)
        yield (node, inc), lines


def texts(piece: Piece, *, origin: bool = False) -> dict[str, str]:
    """A piece as it is to be written: file names and contents."""
    found: dict[str, str] = {}
    for (node, inc), lines in written(piece, origin=origin):
        # A node's name may hold anything; a file's may not.
        name = stem = re.sub(r"[^\w.-]", "_", node)[:100] + f".{inc}"
        while f"{name}.ndjson" in found:
            name = f"{stem}.{len(found)}"
        found[f"{name}.ndjson"] = "".join(_dumps(line) + "\n" for line in lines)
    return found


class Trials:
    """Judges one piece after the other, in a directory of its own, and counts the work."""

    def __init__(self, graphs: Graphs, directory: Path) -> None:
        self._graphs = graphs
        self._directory = directory
        self._there: dict[str, str] = {}
        self.pieces = 0
        self.events = 0

    def judge(self, piece: Piece) -> Replayed:
        """What the checker says. Raises BadInput when there is nothing left to judge."""
        wanted = texts(piece)
        # A new file is cheaper than an old one made shorter, which some file systems put on disk at once.
        for name, text in self._there.items():
            if wanted.get(name) != text:
                (self._directory / name).unlink()
        for name, text in wanted.items():
            if self._there.get(name) != text:
                (self._directory / name).write_text(text)
        self._there = wanted
        self.pieces += 1
        self.events += size(piece)
        return run(self._directory, self._graphs)


def first_read(where: Where, piece: Piece) -> Event:
    """The event of a piece that a judge of it speaks of."""
    return piece[where.node, where.inc][where.seq - 1]


def likeness(violation: Violation, refused: Key | None) -> tuple[object, ...]:
    """Equal for two violations of the same kind: rule, event, and reason but for the numbers in it."""
    step = violation.step
    if step is None:
        reason: tuple[str, ...] = tuple(_without_numbers(t) for t in (violation.expected, violation.actual))
    elif step.view == "Frontend":
        reason = step.action, *step.legal
    else:
        # What others can do in the same instance is no part of the reason.
        who = step.action.partition("(")[2]
        reason = step.action, *(label for label in step.legal if step.view == "Fencing" and label.endswith(who))
    return violation.rule, refused, reason


def _without_numbers(text: str) -> str:
    return re.sub(r"\b\d+\b", "#", text)


def merged_after(references: Iterable[Reference]) -> list[Reference]:
    """Of each sender, the newest event; besides, events that were added to the trace, which have no number yet."""
    newest: dict[str, Reference] = {}
    added: list[Reference] = []
    for reference in references:
        node, inc, seq = reference
        if seq < 0:
            added.append(reference)
            continue
        known = newest.get(node)
        if known is None:
            newest[node] = reference
        elif inc == known[1]:
            if seq > known[2]:
                newest[node] = reference
        elif (age((node, inc)), seq) > (age((node, known[1])), known[2]):
            newest[node] = reference
    return [*newest.values(), *added]


def past_of(piece: Piece, keys: Iterable[Key]) -> set[Key]:
    """Some events of a piece and all that they happen after."""
    files: dict[str, list[File]] = {}
    at: dict[Key, int] = {}
    for file in sorted(piece, key=age):
        files.setdefault(file[0], []).append(file)
        at.update((key(event), number) for number, event in enumerate(piece[file]))
    # How many events of each file are in the past, and of them how many have been looked at.
    reach = dict.fromkeys(piece, 0)
    seen = dict.fromkeys(piece, 0)
    todo = [k for k in keys if k in at]
    while todo:
        named = todo.pop()
        node, inc, _ = named
        reach[node, inc] = max(reach[node, inc], at[named] + 1)
        for file in files[node]:
            if age(file) < age((node, inc)):
                reach[file] = len(piece[file])
            for event in piece[file][seen[file] : reach[file]]:
                todo += [r for r in (*map(tuple, event.get("after", ())), *cites(event)) if r in at]
            seen[file] = max(seen[file], reach[file])
    return {key(event) for file, events in piece.items() for event in events[: reach[file]]}


def future_of(piece: Piece, of: Key) -> set[Key]:
    """An event of a piece and all that happen after it."""
    found = {of}
    previous: dict[str, Key] = {}
    for event in causal_order(piece):
        at = key(event)
        named = (previous.get(at[0]), *map(tuple, event.get("after", ())), *cites(event))
        if any(r in found for r in named):
            found.add(at)
        previous[at[0]] = at
    return found
