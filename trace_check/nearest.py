"""Which single edit of a trace makes it legal, up to and including the refused event: found by trying.

Every edit is judged by the checker: on everything that had been read, and if that is much, on what the refused event
stands on first. What then becomes of the rest of the trace is told as well: an edit that only moves
the fault elsewhere is no explanation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from trace_check.additions import Additions
from trace_check.edits import GONE, Alternatives, Describe, Edit
from trace_check.piece import Key, Piece, Trials, cites, events_of, first_read, key, past_of, size
from trace_check.replay import Replayed
from trace_check.schema import Event
from trace_check.verdict import BadInput

Progress = Callable[[str], None]
# Work is bounded by edits and events judged, not by time: the same trace always gives the same answer.
MOST_EDITS = 3_000
MOST_EVENTS = 3_000_000
# Up to this many events, everything that was read is judged for every edit.
LITTLE = 1_000
NEAR = 40
RELATED = ("Campaign", "Grant", "Win", "Append", "Store", "Commit", "Ack")


@dataclass(frozen=True, slots=True)
class Helps:
    """An edit that makes the trace legal so far: what it is, how many fields it changes, what becomes of the rest."""

    text: str
    cost: int
    on_refused: bool
    # "" when nothing else is refused then.
    then: str


@dataclass(frozen=True, slots=True)
class Nearest:
    """What was found by trying.

    `without` says what is refused when the event is simply not there: "" for nothing, None where that makes no trace.
    """

    helps: tuple[Helps, ...]
    tried: int
    complete: bool
    without: str | None


class Search:
    """Tries single edits of one refused trace."""

    def __init__(
        self,
        read: Piece,
        whole: Piece | None,
        support: Piece,
        refused: Key,
        trials: Trials,
        describe: Describe,
        progress: Progress,
    ) -> None:
        """`read` is what the judge had before it when it stopped, `support` a piece of it: see Shrunk."""
        self._read = read
        self._whole = whole
        self._support = read if size(read) <= LITTLE else support
        self._trials = trials
        self._describe = describe
        self._progress = progress
        self._events = {key(e): e for e in events_of(read)}
        self._kept = {key(e) for e in events_of(support)}
        self._refused = self._events[refused]
        self._read_on()

    def _read_on(self) -> None:
        """What the others did in the same term may not have been read, but could have been: the order was by chance."""
        refused, whole = self._refused, self._whole
        if whole is None:
            return
        wanted = set(cites(refused))
        for event in events_of(whole):
            if event["event"] in RELATED and event["term"] == refused["term"]:
                wanted.add(key(event))
        self._kept |= wanted
        more = set(self._events)
        for one in sorted(wanted - more):
            past = past_of(whole, [one])
            if key(refused) not in past:
                more |= past
        if len(more) == len(self._events):
            return
        read = {file: kept for file, events in whole.items() if (kept := [e for e in events if key(e) in more])}
        if self._legal(Edit("", 0, True, dropped=key(refused)), read):
            self._read = read
            self._support = read if size(read) <= LITTLE else self._support
            self._events = {key(e): e for e in events_of(read)}

    def run(self) -> Nearest:
        """Everything that helps, the best first."""
        edits = list(islice(self._edits(), MOST_EDITS + 1))
        tried = edits[:MOST_EDITS]
        helpful: list[Edit] = []
        for number, edit in enumerate(tried, 1):
            if not self._fits_support(edit) or self._legal(edit, self._support):
                helpful.append(edit)
            if number % 100 == 0:
                self._progress(f"{number:,} of {len(tried):,} single edits tried")
        helpful.sort(key=lambda e: (e.cost, not e.on_refused))
        complete = len(edits) <= MOST_EDITS
        found: list[Helps] = []
        begun = self._trials.events
        for edit in helpful:
            if self._trials.events - begun > MOST_EVENTS:
                complete = False
                break
            if self._support is self._read or self._legal(edit, self._read):
                found.append(Helps(edit.text, edit.cost, edit.on_refused, self._then(edit)))
        found.sort(key=lambda h: (bool(h.then), h.cost, not h.on_refused))
        without: str | None = None
        if self._refused["event"] != "Start":
            without = self._then(Edit("", 0, True, dropped=key(self._refused)))
        return Nearest(tuple(found), len(tried), complete, without)

    def _edits(self) -> Iterator[Edit]:
        seen: set[str] = set()
        for edit in self._all():
            if edit.text not in seen:
                seen.add(edit.text)
                yield edit

    def _all(self) -> Iterator[Edit]:
        refused = self._refused
        near = self._near()
        alternatives = Alternatives(near)
        additions = Additions(self._read, refused, self._describe)
        yield from self._hearing(near)
        if refused["event"] == "Start" and (fields := additions.state_found()):
            yield Edit(self._describe.change(refused, fields), len(fields), True, {key(refused): fields})
        yield from self._changes(refused, alternatives)
        yield from additions.all()
        for event in near:
            if event is not refused and event["event"] != "Start":
                yield Edit(f"without {self._describe.event(key(event))}", 10, False, dropped=key(event))
        for event in near:
            if event is not refused:
                yield from self._changes(event, alternatives)

    def _near(self) -> list[Event]:
        """The events that the refusal rests on, the newest of them if they are many, and what the event cites."""
        kept = [e for e in events_of(self._read) if key(e) in self._kept]
        cited = {*cites(self._refused), key(self._refused)}
        return [e for at, e in enumerate(kept) if len(kept) - at <= NEAR or key(e) in cited or e["event"] == "Start"]

    def _hearing(self, near: list[Event]) -> Iterator[Edit]:
        at = key(self._refused)
        heard = {tuple(r) for r in self._refused.get("after", ())}
        unheard = [c for c in cites(self._refused) if c in self._events and c[0] != at[0] and c not in heard]
        for some in (unheard, *([key(e)] for e in near if e["node"] != at[0] and key(e) not in heard)):
            if some:
                names = " and ".join(self._describe.event(c) for c in some)
                text = f"if {self._describe.event(at)} had {names} in its `after`"
                yield Edit(text, 1, True, heard={at: [list(c) for c in some]})

    def _changes(self, event: Event, alternatives: Alternatives) -> Iterator[Edit]:
        at = key(event)
        mine = event is self._refused
        for fields in alternatives.of(event):
            text = self._describe.change(event, fields)
            yield Edit(text, len(fields), mine, {at: fields})
            changed = {name: value for name, value in {**event, **fields}.items() if value is not GONE}
            cited = [list(c) for c in cites(changed) if c in self._events and c[0] != at[0]]
            if cited and cited != [list(c) for c in cites(event)]:
                yield Edit(f"{text}, and had heard of it", len(fields) + 1, mine, {at: fields}, {at: cited})

    def _fits_support(self, edit: Edit) -> bool:
        """Whether the piece can tell: it may lack what an added event cites, and have larger Appends and Commits."""
        changed = {name for fields in edit.changes.values() for name in fields}
        return self._support is self._read or not (edit.added or changed & {"runs", "first", "epochs"})

    def _legal(self, edit: Edit, piece: Piece) -> bool:
        edited = edit.apply(piece)
        try:
            replayed = self._trials.judge(edited)
        except BadInput:
            return False
        return replayed.result.violation is None and replayed.merge.events == size(edited)

    def _then(self, edit: Edit) -> str:
        """What is refused in the whole trace with this edit."""
        if self._whole is None:
            return ""
        edited = edit.apply(self._whole)
        try:
            replayed: Replayed = self._trials.judge(edited)
        except BadInput:
            return "what is left is no trace"
        violation = replayed.result.violation
        if violation is None:
            return ""
        if violation.where is None:
            return violation.rule
        event = first_read(violation.where, edited)
        where = self._describe.event(key(event)) if event["seq"] > 0 else f"the added {event['event']}"
        return f"{violation.rule} refuses {where}"
