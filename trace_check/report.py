"""A Result for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from trace_check.guards import GUARDS
from trace_check.verdict import BadInput, Counts, Failover, Result, Verdict, Violation, Where

SHOWN_FAILOVERS = 10
SHOWN_MISSING = 10
SHOWN_CLIENTS = 10


def as_json(result: Result) -> str:
    """One JSON object, the fields of Result; `verdict` as its name, `exit_code` added.

    The edges walked are left out: they are many, and `trace-check coverage --json` has those that were not.
    """
    return json.dumps(as_data(result), indent=2)


def all_as_json(results: Mapping[str, Result | BadInput]) -> str:
    """A list with an object for each cluster: its name, and the fields of its Result or the error."""
    return json.dumps([{"cluster": cluster, **as_data(result)} for cluster, result in results.items()], indent=2)


def as_data(result: Result | BadInput) -> dict[str, Any]:
    """What is printed as JSON."""
    if isinstance(result, BadInput):
        return {"error": str(result), "exit_code": BadInput.exit_code}
    data = asdict(result)
    for view in data["coverage"]:
        del view["walked"]
    return {**data, "verdict": result.verdict.value, "exit_code": result.verdict.exit_code}


def as_text(result: Result, *, alone: bool = True) -> str:
    """The verdict on the first line, what there is to explain, then the numbers.

    Unless it is `alone`, there are traces of other clusters in its directory, which `explain` would not take.
    """
    return "\n".join([headline(result), *_explanation(result, alone=alone), *_numbers(result), *_notes(result)])


def _place(where: Where) -> str:
    return f"{where.file}:{where.line} ({where.event}, event {where.seq} of {where.node} {where.inc})"


def headline(result: Result) -> str:
    """The verdict in one line: expected, actual, where."""
    counts = result.counts
    if result.violation is not None:
        violation = result.violation
        at = f" at {_place(violation.where)}" if violation.where else ""
        return f"VIOLATION of {violation.rule}{at}: expected {violation.expected}; found {violation.actual}"
    if result.missing:
        return f"INCOMPLETE: no violation in {counts.events:,} events, but missing: {result.missing[0]}"
    far = ", as far as this format shows" if result.not_checked else ""
    return f"HOLDS: {counts.events:,} events of {counts.nodes} nodes are a behaviour of the specification{far}"


def _explanation(result: Result, *, alone: bool) -> Iterator[str]:
    if result.violation is not None:
        yield from violation_of(result.violation)
    yield from missing_of(result)
    if result.verdict is not Verdict.HOLDS:
        where = result.directory if alone else f"DIR, with the traces of {result.cluster} alone in DIR"
        yield f"More: trace-check explain {where}"


def missing_of(result: Result) -> Iterator[str]:
    """What is missing, unless the first line says it all."""
    if len(result.missing) > 1 or (result.missing and result.violation):
        yield "Missing:"
        for item in result.missing[:SHOWN_MISSING]:
            yield f"  {item}"
        if len(result.missing) > SHOWN_MISSING:
            yield f"  and {len(result.missing) - SHOWN_MISSING} more"


def violation_of(violation: Violation) -> Iterator[str]:
    """The circle, the step or the guard that a violation is about."""
    if violation.circle:
        yield "The circle:"
        yield from (f"  {member}" for member in violation.circle)
    step = violation.step
    if violation.rule == "HACoordination":
        yield "Condition and action are those of spec/HACoordination.tla and spec/Recorded.tla: see docs/audit.md."
        return
    if step is None:
        guard = GUARDS.get(violation.rule)
        if guard is not None:
            yield f"Guard {violation.rule}: {guard.demands}. {guard.why}"
        return
    yield f"View {step.view}, instance {step.instance}: no edge {step.action} from here."
    yield f"  State: {step.state}"
    yield f"  Legal: {', '.join(step.legal) or 'nothing'}"
    yield f"  How this state comes about: {', '.join(step.path) or 'it is the initial one'}"
    if step.names:
        yield f"  Where {', '.join(f'{model} is {name}' for name, model in step.names)}."


def _numbers(result: Result) -> Iterator[str]:
    c = result.counts
    judged = "Judged" if result.violation is None and not result.missing else "Judged up to there"
    yield (
        f"{judged}: {c.events:,} events in {c.files} files, {c.nodes} nodes, {c.incarnations} incarnations, "
        f"{c.clients} clients."
    )
    yield f"  Terms {c.terms:,}, leaders {c.leaders:,}, epochs {c.epochs:,}, entries committed {c.entries_committed:,}."
    if result.coverage:
        yield from _promises(c)
        yield "Views (instances; states and edges of the graph; edges taken):"
    for view in result.coverage:
        share = f"{view.taken} ({100 * view.taken // view.edges} %)" if view.edges else "not judged"
        size = f"{view.graph}: {view.states:,} states, {view.edges:,} edges"
        yield f"  {view.view:<9} {view.instances:>9,}  {size}; {share}"
    if result.failovers:
        yield "Failovers (from one active leader's end to the next one's activation, by the clocks of the nodes):"
        for f in result.failovers[:SHOWN_FAILOVERS]:
            yield f"  term {f.from_term} {f.from_node} to term {f.to_term} {f.to_node}: {took(f)}"
        if len(result.failovers) > SHOWN_FAILOVERS:
            yield f"  and {len(result.failovers) - SHOWN_FAILOVERS} more"
    rate = c.events / result.seconds if result.seconds else 0.0
    yield f"Took {result.seconds:.1f} s, {rate:,.0f} events a second."


def _promises(c: Counts) -> Iterator[str]:
    yield (
        f"  Writes acknowledged {c.writes_acknowledged:,}, lost {c.writes_lost:,}, unknown {c.writes_unknown:,}, "
        f"refused {c.writes_failed:,}."
    )
    if c.reads_served or c.reads_promised:
        rounds = f"in {c.reads_served:,} rounds of confirmation"
        yield f"  Reads answered {c.reads_promised:,}, {rounds}, stale {c.reads_stale:,}."
    if c.promises:
        yield "Promised to clients:"
        for p in c.promises[:SHOWN_CLIENTS]:
            unclear = f"; {p.unknown:,} of unknown outcome" if p.unknown else ""
            yield f"  {p.client}: {p.writes:,} writes, {p.reads:,} reads, up to index {p.index:,}{unclear}"
        if len(c.promises) > SHOWN_CLIENTS:
            yield f"  and {len(c.promises) - SHOWN_CLIENTS} more"


def took(failover: Failover) -> str:
    """How long a failover took, for people."""
    if failover.seconds < 0:
        return f"none, as {failover.from_node} noticed its end only {-failover.seconds:.3f} s later"
    return f"{failover.seconds:.3f} s"


def _notes(result: Result) -> Iterator[str]:
    yield from (f"Note: {note}" for note in result.notes)
    yield from (f"Not checked: {item}" for item in result.not_checked)
