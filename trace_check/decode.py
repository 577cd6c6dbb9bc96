"""From the bytes of one incarnation's files to its checked events, a chunk at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from trace_check import schema, shapes
from trace_check.parts import Part
from trace_check.schema import Event
from trace_check.verdict import BadInput

_BETWEEN = b"\n,{"


class Chunk(NamedTuple):
    """Whole lines of one part: where in its text they are, what they say, how much of the files was read by then."""

    part: int
    start: int
    size: int
    events: list[Event]
    read_bytes: int


class Decoder:
    """Lines to events, for one incarnation of a node or client."""

    def __init__(self, identity: Event, *, client: bool, allow_gaps: bool) -> None:
        """`identity` has what all its events share: any of them will do."""
        self.client = client
        self.allow_gaps = allow_gaps
        self.identity = {field: identity[field] for field in ("v", "cluster", "node", "inc")}
        self._lines = shapes.CLIENT_LINES if client else shapes.NODE_LINES
        # What a writer puts before `seq` on every line; lines that all begin so are decoded together.
        prefix = json.dumps(self.identity, separators=(",", ":"))[:-1].encode() + b","
        self._begin = prefix
        self._between = b"\n" + prefix

    def events(self, part: Part, data: bytes, seq: int) -> tuple[list[Event], str | None]:
        """The events of whole lines, the first of which should be `seq`; and the gap after them, if one is allowed.

        Raises BadInput.
        """
        # The beginning that all lines share is taken out. How much shorter that makes the text tells whether they all
        # had it; then each newline left is one of these, and what matches between two of them is a line.
        lines = data.count(b"\n")
        text = b"{" + data[len(self._begin) : -1].replace(self._between, _BETWEEN)
        shorter = len(self._begin) + (lines - 1) * (len(self._between) - len(_BETWEEN))
        if data.startswith(self._begin) and len(data) - len(text) == shorter and self._lines.fullmatch(text):
            try:
                events: list[Event] = json.loads(b"[" + text + b"]")
            except ValueError:
                events = []
            if [event["seq"] for event in events] == list(range(seq, seq + lines)):
                return events, None
        return self._line_by_line(part, data, seq)

    def gap(self, place: str, seq: int, due: int, after: str = "") -> str:
        """What to say of missing events, if they may be missing. Raises BadInput if not."""
        problem = f"{place}: seq {seq} where {due} was due{after}: events are missing or repeated"
        if not self.allow_gaps:
            raise BadInput(f"{problem} (with --allow-gaps, judge what comes before)")
        return f"{problem}; the rest was left out"

    def _line_by_line(self, part: Part, data: bytes, seq: int) -> tuple[list[Event], str | None]:
        """The slow path, to accept any order of fields and to name the line that is wrong."""
        events: list[Event] = []
        for line in data[:-1].split(b"\n"):
            due = seq + len(events)
            place = f"{part.path}:{due - part.first + 1}"
            event = parse(line, place)
            problem = self._stranger(event)
            if problem:
                raise BadInput(f"{place}: {problem}")
            if event["seq"] != due:
                return events, self.gap(place, event["seq"], due)
            events.append(event)
        return events, None

    def _stranger(self, event: Event) -> str | None:
        """Why a well-formed event does not belong into this file."""
        for field in ("cluster", "node", "inc"):
            if event[field] != self.identity[field]:
                return f"{field} is {event[field]!r} here and {self.identity[field]!r} in line 1: one file, one writer"
        if (event["event"] in schema.CLIENT_EVENTS) != self.client:
            return f"{event['event']} in a file of {'a client' if self.client else 'a node'}"
        return None


def parse(line: bytes, place: str) -> Event:
    """One line as a well-formed event. Raises BadInput."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{place}: not JSON: {error}; a trace has one JSON object per line, whole, in UTF-8") from None
    problem = schema.complaint(event)
    if problem:
        raise BadInput(f"{place}: {problem}")
    assert isinstance(event, dict)
    return event


class Reader:
    """The events of one incarnation in order, from all its parts."""

    def __init__(self, parts: Sequence[Part], decoder: Decoder) -> None:
        """`parts` in order; more may be added at the end of the list."""
        self._parts = parts
        self._decoder = decoder
        # Which part is being read.
        self.at = 0
        self._start = 0
        self._due = 1
        self._left_behind = 0
        self.growing = False
        self.gap: str | None = None
        self.notes: list[str] = []

    def read(self) -> Chunk | None:
        """The next chunk; None at the end, or as long as no more has been written. Raises BadInput."""
        while self.gap is None:
            part = self._parts[self.at]
            if self._start == 0 and part.first != self._due:
                self._not_next(part)
                continue
            data = part.read()
            if data:
                events, self.gap = self._decoder.events(part, data, self._due)
                chunk = Chunk(self.at, self._start, len(data), events, self._left_behind + part.position)
                self._start += len(data)
                self._due += len(events)
                if events:
                    return chunk
            elif self.at + 1 == len(self._parts):
                return None
            elif part.torn:
                # An archive may still be in the making while the next part is being written.
                if self.growing:
                    return None
                raise self._torn(part)
            else:
                self._left_behind += part.position
                part.close()
                self.at, self._start = self.at + 1, 0
        return None

    def close(self) -> None:
        """Close whatever is open. May be called twice."""
        self._parts[self.at].close()

    def end(self) -> None:
        """Close, as there is no more to be read. Raises BadInput."""
        part = self._parts[self.at]
        if part.torn and self.gap is None:
            if self.at + 1 < len(self._parts):
                raise self._torn(part)
            self.notes.append(f"{part.path}: {part.torn} and was left out; its writer was killed, or is still writing")
        part.close()

    def _torn(self, part: Part) -> BadInput:
        return BadInput(f"{part.path}: {part.torn}, but {self._parts[self.at + 1].path} goes on from there")

    def _not_next(self, part: Part) -> None:
        place = f"{part.path}:1"
        if self.at == 0:
            self.gap = self._decoder.gap(place, part.first, self._due)
            return
        before = self._parts[self.at - 1].path
        if part.first < self._due:
            raise BadInput(
                f"{place}: seq {part.first} is in {before} as well, which goes on to {self._due - 1}: the parts of an "
                "incarnation do not overlap; remove the copy"
            )
        self.gap = self._decoder.gap(place, part.first, self._due, f", after the last line of {before}")
