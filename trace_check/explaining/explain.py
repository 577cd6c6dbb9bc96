"""Why a trace is refused, or what it lacks: everything there is to say, for people and programs.

For a violation: the rule and what it is for, where the views stood, which single edits would make the trace legal, the
smallest piece of it that is refused as well, and that piece as a diagram. For an incomplete trace: what is missing, and
what is shown all the same.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from trace_check.explaining.diagram import LEGEND, draw
from trace_check.explaining.edits import Describe, place
from trace_check.explaining.nearest import Helps, Nearest, Search, break_circle
from trace_check.explaining.piece import (
    Piece,
    Replayed,
    Trials,
    cites,
    events_of,
    first_read,
    key,
    load,
    past_of,
    reached,
    run,
    size,
)
from trace_check.explaining.shrink import Shrunk, shrink_replayed
from trace_check.graphs import Graphs
from trace_check.guards import GUARDS, VIEWS
from trace_check.replay import DEFAULT_GRAPHS
from trace_check.report import as_data, headline, missing_of, violation_of
from trace_check.schema import CLIENT_EVENTS, OF_THE_LINE, Event
from trace_check.stuck import Blocked
from trace_check.verdict import Result, Verdict
from trace_check.views import View

Progress = Callable[[str], None]
# Up to this size all of a trace is judged again with an edit, to tell what becomes of the rest.
WHOLE_BYTES = 1 << 25
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an instance of a view stood before the refused event, in the words of the specification."""

    view: str
    instance: str
    state: str
    legal: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Smallest:
    """How large the smallest piece is that is refused in the same way, and of how much."""

    events: int
    files: int
    of_events: int
    minimal: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict with everything that explains it; what does not apply is None or empty."""

    result: Result
    rule: str
    event: Event | None
    standing: tuple[Standing, ...]
    nearest: Nearest | None
    smallest: Smallest | None
    diagram: tuple[str, ...]
    shown: tuple[str, ...]
    ends: tuple[str, ...]


def explain(
    directory: Path | str,
    *,
    graphs: Path | str | None = None,
    allow_gaps: bool = False,
    progress: Progress = lambda _: None,
) -> Explanation:
    """Judge a directory of traces and explain the verdict. Raises BadInput like `replay`."""
    directory = Path(directory)
    loaded = Graphs(Path(graphs) if graphs else DEFAULT_GRAPHS)
    replayed = run(directory, loaded, allow_gaps=allow_gaps)
    result = replayed.result
    if result.verdict is not Verdict.VIOLATION:
        shown = tuple(_shown(replayed)) if result.verdict is Verdict.INCOMPLETE else ()
        ends = tuple(_ends(replayed)) if result.verdict is Verdict.INCOMPLETE else ()
        return Explanation(result, "", None, (), None, None, (), shown, ends)
    with tempfile.TemporaryDirectory(prefix="trace-check-") as scratch:
        return _Violation(directory, replayed, Trials(loaded, Path(scratch)), progress, allow_gaps).explained()


def rule_of(rule: str) -> str:
    """What a guard or a view is for."""
    guard = GUARDS.get(rule)
    if guard is not None:
        return f"{rule}, a guard: {guard.demands}. {guard.why}"
    return f"{rule}, a view: {VIEWS[rule]}." if rule in VIEWS else rule


class _Violation:
    """One refused trace, on its way to an Explanation."""

    def __init__(
        self, directory: Path, replayed: Replayed, trials: Trials, progress: Progress, allow_gaps: bool
    ) -> None:
        violation = replayed.result.violation
        assert violation is not None
        self._violation = violation
        self._replayed = replayed
        self._trials = trials
        self._progress = progress
        self._shrunk: Shrunk | None = shrink_replayed(directory, replayed, trials, progress, allow_gaps=allow_gaps)
        self._read = load(directory, reached(replayed), allow_gaps=allow_gaps)
        small = sum(part.size() for source in replayed.sources for part in source.parts) <= WHOLE_BYTES
        self._whole = load(directory, allow_gaps=allow_gaps) if small else None
        where = violation.where
        self._refused: Event | None = first_read(where, self._read) if where else None
        sources = {(s.node, s.inc): s for s in replayed.sources}
        events = {key(e): e for e in events_of(self._whole if self._whole is not None else self._read)}
        self._describe = Describe(events, sources)

    def explained(self) -> Explanation:
        """Everything."""
        shrunk = self._shrunk
        smallest = None
        if shrunk is not None:
            smallest = Smallest(size(shrunk.piece), len(shrunk.piece), shrunk.events_before, shrunk.minimal)
        return Explanation(
            self._replayed.result, rule_of(self._violation.rule), self._refused, self._standing(), self._nearest(),
            smallest, tuple(self._diagram()), (), (),
        )

    def _nearest(self) -> Nearest | None:
        if self._shrunk is None:
            return None
        support, trials, describe = self._shrunk.support, self._trials, self._describe
        if self._refused is None:
            return break_circle(self._read, self._whole, support, trials, describe)
        refused = key(self._refused)
        return Search(self._read, self._whole, support, refused, trials, describe, self._progress).run()

    def _diagram(self) -> list[str]:
        """The smallest piece as it was written, and what the refused event cites or follows in its own file."""
        refused = [key(self._refused)] if self._refused else []
        keys = set(self._shrunk.keys) if self._shrunk else past_of(self._read, refused)
        cited = {*(cites(self._refused) if self._refused else ()), *refused}
        keys |= cited
        if self._refused is not None:
            node, inc, seq = refused[0]
            keys.add((node, inc, seq - 1))
        pieces = [self._read, *([self._whole] if self._whole is not None else [])]
        found: Piece = {}
        for piece in pieces:
            for file, events in piece.items():
                kept = [e for e in events if key(e) in keys]
                if len(kept) > len(found.get(file, ())):
                    found[file] = kept
        return draw(found, refused, cited=cited)

    def _standing(self) -> tuple[Standing, ...]:
        """The instances that the refused event would have stepped in, as they stood before it."""
        refused = self._refused
        if refused is None or refused["event"] in CLIENT_EVENTS:
            return ()
        before = {
            file: kept for file, events in self._read.items() if (kept := [e for e in events if e is not refused])
        }
        if refused["event"] == "Start":
            # Without its Start an incarnation is nothing; no view knows of it yet.
            return ()
        cluster = self._trials.judge(before).judge.cluster
        node = cluster.nodes[refused["node"]]
        found = [_standing(cluster.frontends.view, f"node {node.name}", node.frontend)]
        election = cluster.ballots.elections.get(refused["term"])
        ballot, voters = cluster.ballots.view, cluster.ballots.first or ()
        if ballot is not None and election is not None and voters in election.ballots:
            names = ", ".join(f"{n} is n{at}" for at, n in enumerate(voters, 1) if n != f"n{at}")
            instance = f"term {refused['term']}" + (f" ({names})" if names else "")
            found.append(_standing(ballot, instance, election.ballots[voters]))
        leaders = [cluster.tree.leaders[t] for t in cluster.tree.terms]
        for leader in leaders:
            if leader.term == refused["term"]:
                for other in [o for o in leaders if o is not leader][-2:]:
                    found.append(_standing(cluster.fencing.view, *cluster.fencing.pair(leader, other)))
        step = self._violation.step
        return tuple(s for s in found if step is None or (s.view, s.state) != (step.view, step.state))


def _standing(view: View, instance: str, state: int) -> Standing:
    return Standing(view.name, instance, view.graph.describe(state), tuple(sorted(view.table[state])))


# --- incomplete traces ----------------------------------------------------------------------------------------------


def _shown(replayed: Replayed) -> Iterator[str]:
    """What is shown although something is missing. What has been read and judged stays judged."""
    cluster = replayed.judge.cluster
    tree, counts = cluster.tree, replayed.result.counts
    yield f"{counts.events:,} events are judged: each fits the evidence before it and the views."
    voters = sorted(cluster.electorate)
    beyond = min((cluster.nodes[v].term if v in cluster.nodes else 0 for v in voters), default=0) - 1
    settled = [t for t in tree.terms if t <= beyond]
    if settled:
        yield f"{_terms(settled)}: one winner each, and over, as every voter has been seen in a later term."
    for term in [t for t in tree.terms if t > beyond]:
        waiting = [v for v in voters if v not in cluster.nodes or cluster.nodes[v].term <= term]
        yield (
            f"Term {term} was won by {tree.leaders[term].node}, by votes of a majority that were judged; what is not "
            f"read of {', '.join(waiting)} may still belong to it."
        )
    if tree.committed:
        yield (
            f"Entries up to {tree.committed:,} (of term {tree.committed_term}) are committed by Stores of a majority, "
            "and nobody took others for committed."
        )
    for node in (cluster.nodes[name] for name in sorted(cluster.nodes)):
        log = f"its log durable up to {node.stored:,} of term {node.stored_term}"
        yield f"{node.name}: known up to term {node.term}, {log}."
    if counts.writes_acknowledged:
        yield f"{counts.writes_acknowledged:,} acknowledged writes are in the committed log, at places of their own."


def _terms(terms: list[int]) -> str:
    """Terms 1 to 4, 6."""
    runs: list[list[int]] = []
    for term in terms:
        if runs and runs[-1][1] == term - 1:
            runs[-1][1] = term
        else:
            runs.append([term, term])
    parts = [str(a) if a == b else f"{a} to {b}" for a, b in runs]
    return f"Term{'s' if len(terms) > 1 else ''} {', '.join(parts)}"


def _ends(replayed: Replayed) -> Iterator[str]:
    """Where each node's newest file ends, as far as it could be judged."""
    last = {s.node: s for s in replayed.sources if s.consumed and not s.client}
    stuck = {b.source: b for b in replayed.merge.stuck()}
    for source in last.values():
        event = source.event(source.consumed)["event"]
        how = f"judged up to here: {_waits_for(stuck[source])}" if source in stuck else "judged to its end"
        yield f"{place(source, source.consumed)} ({event}), {how}"
    for source in replayed.sources:
        if not source.consumed:
            why = f": {_waits_for(stuck[source])}" if source in stuck else ""
            yield f"{source.path.name}: nothing of it could be judged{why}"


def _waits_for(blocked: Blocked) -> str:
    if blocked.wait is not None:
        return f"the next line waits for {blocked.wait.what}"
    node, inc, seq = blocked.reference or ("", "", 0)
    return f"the next line happens after event {seq} of {node} {inc}"


# --- for people and programs ----------------------------------------------------------------------------------------


def as_json(explanation: Explanation) -> str:
    """One JSON object with the fields of Explanation."""
    data = asdict(explanation)
    data["result"] = as_data(explanation.result)
    return json.dumps(data, indent=2)


def as_text(explanation: Explanation) -> str:
    """The verdict on the first line, then why."""
    result = explanation.result
    lines = [headline(result)]
    match result.verdict:
        case Verdict.HOLDS:
            lines.append("There is nothing to explain.")
        case Verdict.INCOMPLETE:
            lines += [*missing_of(result), "Shown all the same:", *(f"  {line}" for line in explanation.shown)]
            lines += ["How far each node's files were judged:", *(f"  {line}" for line in explanation.ends)]
        case Verdict.VIOLATION:
            lines += _why(explanation)
    return "\n".join(lines)


def _why(explanation: Explanation) -> Iterator[str]:
    assert explanation.result.violation is not None
    yield from ("", "The rule", f"  {explanation.rule}")
    if explanation.event is not None:
        own = {name: value for name, value in explanation.event.items() if name not in OF_THE_LINE}
        yield from ("", "The event", f"  {json.dumps(own)}")
    violation = explanation.result.violation
    if violation.circle:
        yield from ("", "The circle", *(f"  {member}" for member in violation.circle))
    if violation.step is not None:
        yield from ("", "The step", *(f"  {line}" for line in violation_of(violation)))
    if explanation.standing:
        yield from ("", "Where the views stood before it")
        for s in explanation.standing:
            yield f"  {s.view}, {s.instance}: {s.state}"
            yield f"    legal: {', '.join(s.legal) or 'nothing'}"
    yield from ("", "The nearest legal traces", *(f"  {line}" for line in _nearest(explanation.nearest)))
    smallest = explanation.smallest
    if smallest is not None:
        yield ""
        yield (
            f"What it rests on: {smallest.events:,} of {smallest.of_events:,} events read, in {smallest.files} files, "
            f"are refused in the same way (trace-check shrink {explanation.result.directory} -o OUT writes them)"
        )
    else:
        yield from ("", "What it happens after")
    yield f"  ({LEGEND})"
    yield from (f"  {line}" for line in explanation.diagram)
    if explanation.result.missing:
        yield from ("", *missing_of(explanation.result))


def _nearest(nearest: Nearest | None) -> Iterator[str]:
    if nearest is None:
        yield "Not looked for: the trace is refused otherwise when it is read again; has it changed meanwhile?"
        return
    extent = f"{nearest.tried:,} single edit{'' if nearest.tried == 1 else 's'} tried"
    if not nearest.complete:
        extent += ", and then the search was ended"
    if not nearest.helps:
        yield f"None was found: no event left out, added or changed alone makes it legal ({extent})."
    for number, helps in enumerate(nearest.helps[:SHOWN], 1):
        yield f"{number}. It would be legal {helps.text}{_then(helps)}."
    more = len(nearest.helps) - SHOWN
    if nearest.helps:
        yield f"({extent}{f'; {more} more of them help' if more > 0 else ''}.)"
    if nearest.without is not None:
        rest = f"{nearest.without} then" if nearest.without else "nothing else is refused"
        yield f"If the refused event were not there: {rest}."
    if not nearest.whole:
        yield "(The trace is long: what comes after the refused event was not judged with these edits.)"


def _then(helps: Helps) -> str:
    return f"; but then {helps.then}" if helps.then else ""
