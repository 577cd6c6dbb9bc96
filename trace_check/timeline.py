"""All events of a directory as columns, in an order for people that respects happens-before.

The judge's order is good for judging: long stretches of one file, then of the next. Here each event has a key, its
node's clock, or, if that is not later than the keys of all it happens after, one more than the latest of those. Keys
grow along happens-before whatever the clocks say; only what no evidence orders lies as the clocks have it.

Everything is shown, also what was not judged: the files are read again, and what they lack is passed over.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import pairwise, repeat

from trace_check.read import Source
from trace_check.schema import COMMON, EVENTS, Event, Reference
from trace_check.verdict import BadInput

KINDS = {name: number for number, name in enumerate(EVENTS)}
# A file and an event in it: (index of the track, seq).
Place = tuple[int, int]

_COLUMNS = frozenset((*COMMON, "after"))
_LONGEST_TEXT = 20_000
# Numbers in traces have no bounds; those in columns do.
_TIME = 1 << 61
_SEQ = (1 << 31) - 1
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(eq=False)
class Track:
    """One file: a column for each field that all events share, and the other fields as a line of JSON."""

    number: int
    source: Source
    previous: Track | None = None
    kinds: array[int] = field(default_factory=lambda: array("B"))
    terms: array[int] = field(default_factory=lambda: array("i"))
    # Wall clock and key, nanoseconds since the epoch.
    times: array[int] = field(default_factory=lambda: array("q"))
    keys: array[int] = field(default_factory=lambda: array("q"))
    # How many references `after` has, and their places, one after the other.
    counts: array[int] = field(default_factory=lambda: array("i"))
    heard: array[int] = field(default_factory=lambda: array("i"))
    own: bytearray = field(default_factory=bytearray)
    finished: bool = False

    def next(self) -> Event | None:
        """The first event that has not been taken; None at the end of the file. Raises BadInput."""
        source = self.source
        seq = len(self.kinds) + 1
        if seq - source.first >= len(source.batch) and not source.load():
            return None
        return source.batch[seq - source.first]


class Timeline:
    """Reads all sources to their ends."""

    def __init__(self, sources: Sequence[Source]) -> None:
        """`sources` by node and incarnation, not read from yet."""
        self.tracks = [Track(number, source) for number, source in enumerate(sources)]
        self._successors: dict[int, Track] = {}
        for before, after in pairwise(self.tracks):
            if before.source.node == after.source.node:
                after.previous = before
                self._successors[before.number] = after
        self.terms: dict[int, int] = {}
        # The files that references name, those that nobody has at the end.
        self.numbers = {(t.source.node, t.source.inc): t.number for t in self.tracks}
        # (epoch, term, node) of every epoch record; (event, what it happens after) where only the judge says so.
        self.epochs: list[tuple[int, int, str]] = []
        self.silent: list[tuple[Place, Place]] = []
        self.notes: list[str] = []
        self._campaigns: dict[tuple[str, int], Place] = {}
        # What each node has traced itself: the terms in which it granted a vote, and where its log ended last.
        self._granted: set[tuple[str, int]] = set()
        self._ended: dict[str, tuple[int, int]] = {}
        # By term: where its Appends ended, and their places.
        self._appends: dict[int, tuple[array[int], list[Place]]] = {}
        self._read()

    def order(self) -> Iterator[int]:
        """The track of each event, in the order of keys; within a track events keep theirs."""
        runs = [zip(track.keys, repeat(track.number)) for track in self.tracks]
        return (number for _, number in merge(*runs))

    def _read(self) -> None:
        waiting, idle = deque(track for track in self.tracks if track.previous is None), 0
        while waiting:
            track = waiting.popleft()
            before = len(track.kinds)
            try:
                # After a round in vain, something is missing or goes in a circle: pass over it.
                track.finished = self._advance(track, force=idle > len(waiting))
            except BadInput as error:
                self.notes.append(f"Not drawn, as the rest of the file cannot be read: {error}")
                track.finished = True
            idle = 0 if track.finished or len(track.kinds) > before else idle + 1
            if track.finished:
                track.source.reader.close()
                waiting.extend(filter(None, [self._successors.get(track.number)]))
            else:
                waiting.append(track)

    def _advance(self, track: Track, force: bool) -> bool:
        """Take events up to the first that has to wait. Whether that was the end of the file."""
        while (event := track.next()) is not None:
            heard = [self._place(reference) for reference in event.get("after", ())]
            silent = self._shown(track, event) if event["event"] == "Start" else []
            if not force and (None in silent or any(self._comes(place) for place in heard)):
                return False
            force = False
            self._take(track, event, heard, [place for place in silent if place is not None])
        return True

    def _place(self, reference: Reference) -> Place:
        node, inc, seq = reference
        return self.numbers.setdefault((node, inc), len(self.numbers)), min(seq, _SEQ)

    def _comes(self, place: Place) -> bool:
        """Whether an event has not been taken, and still can be."""
        number, seq = place
        if number >= len(self.tracks):
            return False
        track = self.tracks[number]
        return not track.finished and seq > len(track.kinds)

    def _shown(self, track: Track, start: Event) -> list[Place | None]:
        """What a Start shows of others' doing, not traced before (docs/trace-format.md); None for what is not there."""
        shown: list[Place | None] = []
        node, vote, term, end = track.source.node, start["vote"], start["term"], (start["last"], start["last_term"])
        if vote not in (None, node) and (node, term) not in self._granted:
            shown.append(self._campaigns.get((vote, term)))
        if end[0] and end != self._ended.get(node):
            ends, places = self._appends.get(end[1], (array("q"), []))
            at = bisect_left(ends, min(end[0], _TIME))
            shown.append(places[at] if at < len(places) else None)
        return shown

    def _take(self, track: Track, event: Event, heard: list[Place], silent: list[Place]) -> None:
        place = track.number, len(track.kinds) + 1
        name, term = event["event"], event["term"]
        time = max(-_TIME, min(track.source.ts(place[1]), _TIME))
        before = track if track.keys else track.previous
        key = max(time, before.keys[-1] + 1) if before is not None and before.keys else time
        for number, seq in (*heard, *silent):
            if number < len(self.tracks) and seq <= len(self.tracks[number].keys):
                key = max(key, self.tracks[number].keys[seq - 1] + 1)
        track.kinds.append(KINDS[name])
        track.terms.append(self.terms.setdefault(term, len(self.terms)))
        track.times.append(time)
        track.keys.append(key)
        track.counts.append(len(heard))
        for number, seq in heard:
            track.heard.extend((number, seq))
        self.silent.extend((place, earlier) for earlier in silent)
        track.own += _own(event).encode() + b"\n"
        if name == "Store":
            self._ended[track.source.node] = event["last"], event["last_term"]
        elif name == "Grant":
            self._granted.add((track.source.node, term))
        elif name == "Campaign":
            self._campaigns.setdefault((track.source.node, term), place)
        elif name == "Append":
            ends, places = self._appends.setdefault(term, (array("q"), []))
            ends.append(min(event["last"], _TIME))
            places.append(place)
            if "epoch" in event:
                self.epochs.append((event["epoch"], term, track.source.node))


def _own(event: Event) -> str:
    """The fields that only this event has, as one line."""
    try:
        text = _encode({name: value for name, value in event.items() if name not in _COLUMNS})
    except (ValueError, RecursionError):
        return "what this event holds cannot be shown"
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + " ... and so on"
