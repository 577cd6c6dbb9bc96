"""From the bytes of one incarnation's files to its checked events, a chunk at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from trace_check import schema, shapes
from trace_check.parts import Part
from trace_check.schema import Event
from trace_check.verdict import BadInput

# Bytes of text whose events are kept.
KEPT = 1 << 21


class Lines(NamedTuple):
    """What some lines say, as events without `schema.OF_THE_LINE`; and when: of each the text `"ts":5`."""

    events: list[Event]
    times: list[bytes]


class Chunk(NamedTuple):
    """Whole lines of one part: where in its text they are, what they say, how much of the files was read by then."""

    part: int
    start: int
    size: int
    lines: Lines
    read_bytes: int


class Texts:
    """What lines say, each text decoded once: what a leader sends to many is written down by all in the same words.

    So events of several lines may be one object, and nobody may change them.
    """

    def __init__(self, *, client: bool) -> None:
        """For the files of clients, or of nodes."""
        self._shape = shapes.CLIENT_LINES if client else shapes.NODE_LINES
        self._known: dict[bytes, Event] = {}
        self._size = 0

    def events(self, texts: Sequence[bytes]) -> list[Event] | None:
        """The events of lines from their `"event"` on; None unless all are of the usual shape."""
        known = self._known
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            # Each newline here is one of these, so what matches between two of them is one line's.
            text = b"[{" + b"\n,{".join(new) + b"]"
            if not self._shape.fullmatch(text, 1, len(text) - 1):
                return None
            try:
                events = json.loads(text)
            except ValueError:
                return None
            known.update(zip(new, events, strict=True))
            self._size += len(text)
        found = [known[text] for text in texts]
        if self._size > KEPT:
            known.clear()
            self._size = 0
        return found


class Decoder:
    """Lines to events, for one incarnation of a node or client."""

    def __init__(self, identity: Event, texts: Texts, *, client: bool, allow_gaps: bool) -> None:
        """`identity` has what all its events share: any of them will do. `texts` is for all files of its kind."""
        self.client = client
        self.allow_gaps = allow_gaps
        self.identity = {field: identity[field] for field in ("v", "cluster", "node", "inc")}
        self._texts = texts
        # What a writer puts before `seq` on every line.
        self._begin = json.dumps(self.identity, separators=(",", ":"))[:-1].encode() + b","

    def lines(self, part: Part, data: bytes, seq: int) -> tuple[Lines, str | BadInput | None]:
        """What whole lines say, the first of which should be `seq`; and the gap or the bad line after them, if any.

        Raises BadInput.
        """
        usual = self._usual(data[:-1].split(b"\n"), seq)
        return self._line_by_line(part, data, seq) if usual is None else (usual, None)

    def _usual(self, lines: Sequence[bytes], seq: int) -> Lines | None:
        """The fast path, for lines that begin with the same words, `seq` and `ts` and are of the usual shape."""
        begin = self._begin
        # If the first and the last of them by alphabet begin so, all do.
        if not (min(lines).startswith(begin) and max(lines).startswith(begin)):
            return None
        skip = len(begin)
        columns = list(zip(*[line[skip:].split(b",", 2) for line in lines], strict=False))
        due = ",".join([f'"seq":{n}' for n in range(seq, seq + len(lines))]).encode()
        if len(columns) != 3 or b",".join(columns[0]) != due or not shapes.TIMES.fullmatch(b",".join(columns[1])):
            return None
        events = self._texts.events(columns[2])
        return None if events is None else Lines(events, list(columns[1]))

    def gap(self, place: str, seq: int, due: int, after: str = "") -> str:
        """What to say of missing events, if they may be missing. Raises BadInput if not."""
        problem = f"{place}: seq {seq} where {due} was due{after}: events are missing or repeated"
        if not self.allow_gaps:
            raise BadInput(f"{problem} (with --allow-gaps, judge what comes before)")
        return f"{problem}; the rest was left out"

    def _line_by_line(self, part: Part, data: bytes, seq: int) -> tuple[Lines, str | BadInput | None]:
        """The slow path, to accept any order of fields and to name the line that is wrong."""
        events: list[Event] = []
        times: list[bytes] = []
        for line in data[:-1].split(b"\n"):
            due = seq + len(events)
            place = f"{part.path}:{due - part.first + 1}"
            try:
                event = parse(line, place)
                problem = self._stranger(event)
                if problem:
                    raise BadInput(f"{place}: {problem}")
                if event["seq"] != due:
                    return Lines(events, times), self.gap(place, event["seq"], due)
            except BadInput as error:
                if not events:
                    raise
                # What comes before is judged first, wherever a chunk ends.
                return Lines(events, times), error
            times.append(b'"ts":%d' % event["ts"])
            events.append({field: value for field, value in event.items() if field not in schema.OF_THE_LINE})
        return Lines(events, times), None

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
        self._bad: BadInput | None = None
        self.notes: list[str] = []

    def read(self) -> Chunk | None:
        """The next chunk; None at the end, or as long as no more has been written. Raises BadInput."""
        if self._bad is not None:
            raise self._bad
        while self.gap is None:
            part = self._parts[self.at]
            if self._start == 0 and part.first != self._due:
                self._not_next(part)
                continue
            data = part.read()
            if data:
                lines, end = self._decoder.lines(part, data, self._due)
                if isinstance(end, BadInput):
                    self._bad = end
                else:
                    self.gap = end
                chunk = Chunk(self.at, self._start, len(data), lines, self._left_behind + part.position)
                self._start += len(data)
                self._due += len(lines.events)
                if lines.events:
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
