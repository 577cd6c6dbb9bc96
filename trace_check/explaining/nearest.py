"""Which single edit of a trace makes it legal, up to and including the refused event: found by trying.

Every edit is judged by the checker: on everything that had been read, and if that is much, on what the refused event
stands on first. What then becomes of the rest of the trace is told as well: an edit that only moves
the fault elsewhere is no explanation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from trace_check.explaining.additions import Additions
from trace_check.explaining.edits import GONE, Alternatives, Describe, Edit
from trace_check.explaining.needs import Needs
from trace_check.explaining.piece import (
    Key,
    Piece,
    Replayed,
    Trials,
    causal_order,
    cites,
    events_of,
    first_read,
    future_of,
    key,
    past_of,
    size,
)
from trace_check.explaining.shrink import select
from trace_check.schema import Event
from trace_check.verdict import BadInput

Progress = Callable[[str], None]
# Work is bounded by edits and events judged, not by time: the same trace always gives the same answer.
MOST_EDITS = 3_000
MOST_TRIED = 3_000_000
MOST_EVENTS = 1_000_000
# Up to this many events, everything that was read is judged for every edit.
LITTLE = 200
NEAR = 20
HEARD = ", and had heard of it"
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
    # Whether `then` and `without` are about the whole trace, or only about what had been read.
    whole: bool


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
        self._all_there_is = whole if whole is not None else read
        self._is_whole = whole is not None
        self._trials = trials
        self._describe = describe
        self._progress = progress
        self._refused = next(e for e in events_of(self._all_there_is) if key(e) == refused)
        # The term that the event is about.
        self._term = self._refused.get("entry_term", self._refused["term"])
        self._kept = {key(e) for e in events_of(support)}
        self._pasts = self._choose(read)
        self._read = self._pasts[0]
        self._events = {key(e): e for e in events_of(self._read)}
        self._narrow = {key(e) for e in events_of(self._pasts[-1])}
        self._support: Piece = {}
        self._supporting = self._choose_support()

    def _choose(self, read: Piece) -> list[Piece]:
        """On what edits are judged: pasts of the refused event in which it is refused as well, the largest first.

        The largest has what the others did in the same term, if that could have been read before: the order in which
        files are read is by chance. If the event is not refused by its own past alone, all that was read is needed.
        """
        refused = key(self._refused)
        whole = self._all_there_is
        related = set(cites(self._refused))
        for event in events_of(whole):
            if event["event"] in RELATED and event["term"] == self._term:
                related.add(key(event))
        narrow = past_of(whole, [refused])
        wide = {key(e) for e in events_of(read)} if whole is read else set(narrow)
        for events in whole.values():
            # With each node as far as it got in this term, to see where it could have done something else.
            related.update(key(e) for e in [e for e in events if e["term"] <= self._term][-1:])
        wide |= past_of(whole, related - future_of(whole, refused))
        newest: dict[tuple[str, str], list[Key]] = {}
        for event in events_of(whole):
            mine = event["node"] == refused[0]
            if key(event) in wide and key(event) != refused and (mine or key(event) in related):
                newest.setdefault((event["node"], event["event"]), []).append(key(event))
        # The newest events of each kind, of its own node and of others in the same term.
        self._newest = {at for keys in newest.values() for at in keys[-2:]} | set(cites(self._refused))
        pieces = [
            {file: kept for file, events in whole.items() if (kept := [e for e in events if key(e) in keys])}
            for keys in ((wide, narrow) if wide != narrow else (narrow,))
        ]
        without = Edit("", 0, True, dropped=refused)
        nothing = Edit("", 0, True)
        chosen = [p for p in pieces if self._legal(without, p) and not self._legal(nothing, p)]
        return chosen or [read]

    def run(self) -> Nearest:
        """Everything that helps, the best first."""
        edits = list(islice(self._edits(), MOST_EDITS + 1))
        tried = edits[:MOST_EDITS]
        helpful: list[Edit] = []
        complete = len(edits) <= MOST_EDITS
        begun = self._trials.events
        for number, edit in enumerate(tried, 1):
            if self._trials.events - begun > MOST_TRIED:
                tried, complete = tried[: number - 1], False
                break
            if self._promises(edit):
                helpful.append(edit)
            if number % 100 == 0:
                self._progress(f"{number:,} of {len(tried):,} single edits tried")
        helpful.sort(key=lambda e: (e.cost, not e.on_refused))
        found: dict[str, Helps] = {}
        begun = self._trials.events
        for edit in helpful:
            if self._trials.events - begun > MOST_EVENTS:
                complete = False
                break
            if edit.text.removesuffix(HEARD) not in found and (not self._supporting or self._legal_before(edit)):
                found[edit.text] = Helps(edit.text, edit.cost, edit.on_refused, self._then(edit))
        without: str | None = None
        if self._refused["event"] != "Start":
            without = self._then(Edit("", 0, True, dropped=key(self._refused)))
        ranked = sorted(found.values(), key=lambda h: (bool(h.then), h.cost, not h.on_refused))
        return Nearest(tuple(ranked), len(tried), complete, without, self._is_whole)

    def _promises(self, edit: Edit) -> bool:
        """Whether it is worth judging an edit on all that happened before."""
        quick = self._supporting and edit.names() <= self._supporting
        return self._legal(edit, self._support) if quick else self._legal_before(edit)

    def _legal_before(self, edit: Edit) -> bool:
        """Whether the past of the refused event is legal with an edit: the smallest past that has what it names."""
        narrow = self._pasts[-1]
        names = edit.names()
        past = narrow if narrow is self._pasts[0] or names <= self._narrow else self._pasts[0]
        return self._legal(edit, past)

    def _edits(self) -> Iterator[Edit]:
        seen: set[str] = set()
        for edit in self._all():
            what = repr((edit.text, edit.changes, edit.heard))
            if what not in seen:
                seen.add(what)
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
        """The newest events that the refusal rests on, what the event cites, and what shows its node's log."""
        order = causal_order(self._read)
        kept = [e for e in order if key(e) in self._kept]
        chosen = {key(e) for e in (*kept[-NEAR:], self._refused)} | self._newest
        return [e for e in order if key(e) in chosen or (e["event"] == "Start" and key(e) in self._kept)]

    def _choose_support(self) -> set[Key]:
        """Of a long past the events on which edits are tried first; none if it is short, or not refused by these."""
        if size(self._read) <= LITTLE:
            return set()
        needs = Needs(self._read)
        without = Edit("", 0, True, dropped=key(self._refused))
        chosen = {key(self._refused): needs.closed([key(self._refused), *self._kept])}
        chosen |= {at: needs.closed([at]) for at in self._newest if at not in self._kept}
        while True:
            found = set().union(*chosen.values())
            self._support = select(self._read, found)
            lacking = _first_refused(self._trials, without, self._support)
            if lacking is None:
                break
            # The guess left out what this event stands on: do without it, and without those that stand on it.
            fewer = {at: closed for at, closed in chosen.items() if lacking not in closed}
            if key(self._refused) not in fewer or len(fewer) == len(chosen):
                return set()
            chosen = fewer
        refused = self._legal(without, self._support) and not self._legal(Edit("", 0, True), self._support)
        return found if refused else set()

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
                yield Edit(text + HEARD, len(fields) + 1, mine, {at: fields}, {at: cited})

    def _legal(self, edit: Edit, piece: Piece) -> bool:
        return _legal(self._trials, edit, piece)

    def _then(self, edit: Edit) -> str:
        return _then(self._trials, edit, self._all_there_is, self._describe)


def break_circle(read: Piece, whole: Piece | None, support: Piece, trials: Trials, describe: Describe) -> Nearest:
    """For events in a circle: the references that close it."""
    edits: list[Edit] = []
    members = {key(e) for e in events_of(support)}
    for event in [e for e in events_of(read) if key(e) in members]:
        after = event.get("after", [])
        for reference in after:
            text = f"if {describe.event(key(event))} did not come after {describe.event(tuple(reference))}"
            left = [r for r in after if r != reference]
            edits.append(Edit(text, 1, False, {key(event): {"after": left or GONE}}))
    all_there_is = whole if whole is not None else read
    legal = [edit for edit in edits if _legal(trials, edit, read)]
    helps = [Helps(e.text, e.cost, e.on_refused, _then(trials, e, all_there_is, describe)) for e in legal]
    return Nearest(tuple(sorted(helps, key=lambda h: bool(h.then))), len(edits), True, None, whole is not None)


def _judged(trials: Trials, edit: Edit, piece: Piece) -> tuple[Piece, Replayed] | None:
    """The piece with an edit, and what the checker says of it; None if what is left is no trace."""
    edited = edit.apply(piece)
    try:
        return edited, trials.judge(edited)
    except BadInput:
        return None


def _legal(trials: Trials, edit: Edit, piece: Piece) -> bool:
    judged = _judged(trials, edit, piece)
    if judged is None:
        return False
    edited, replayed = judged
    return replayed.result.violation is None and replayed.merge.events == size(edited)


def _first_refused(trials: Trials, edit: Edit, piece: Piece) -> Key | None:
    """The event of a piece that is refused with an edit; None also when that cannot be said."""
    judged = _judged(trials, edit, piece)
    if judged is None:
        return None
    edited, replayed = judged
    violation = replayed.result.violation
    return key(first_read(violation.where, edited)) if violation and violation.where else None


def _then(trials: Trials, edit: Edit, all_there_is: Piece, describe: Describe) -> str:
    """What is refused with this edit in all there is, "" for nothing."""
    judged = _judged(trials, edit, all_there_is)
    if judged is None:
        return "what is left is no trace"
    edited, replayed = judged
    violation = replayed.result.violation
    if violation is None or violation.where is None:
        return violation.rule if violation else ""
    event = first_read(violation.where, edited)
    where = describe.event(key(event)) if event["seq"] > 0 else f"the added {event['event']}"
    return f"{violation.rule} refuses {where}"
