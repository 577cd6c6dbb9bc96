"""From a directory of traces to a Result: read, merge, judge, and the explanation of how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import networkx as nx

from trace_check.graphs import Graphs
from trace_check.judge import Judge
from trace_check.merge import Blocked, Merge
from trace_check.nodes import Cluster
from trace_check.read import Source, open_directory, total_bytes
from trace_check.starts import Wait
from trace_check.verdict import BadInput, Refused, Result, Verdict, Violation

DEFAULT_GRAPHS = Path(__file__).resolve().parent.parent / "spec" / "graphs"
Progress = Callable[[int, int, int], None]


@dataclass(frozen=True, slots=True)
class Replayed:
    """A result, and what the checker knew when it stopped: for explain.py."""

    result: Result
    judge: Judge
    merge: Merge
    sources: list[Source]


def replay(
    directory: Path | str,
    *,
    graphs: Path | str | None = None,
    allow_gaps: bool = False,
    progress: Progress | None = None,
    pick: Callable[[int], int] | None = None,
) -> Result:
    """Judge the traces in a directory on the state graphs of the specification.

    `progress(events, bytes_read, bytes_total)` is called now and then. Raises BadInput when there is nothing to judge.
    """
    loaded = Graphs(Path(graphs) if graphs else DEFAULT_GRAPHS)
    return run(Path(directory), loaded, allow_gaps=allow_gaps, progress=progress, pick=pick).result


def run(
    directory: Path,
    graphs: Graphs,
    *,
    allow_gaps: bool = False,
    progress: Progress | None = None,
    pick: Callable[[int], int] | None = None,
) -> Replayed:
    """`replay`, with everything that was known at its end. Whoever judges often keeps the graphs. Raises BadInput."""
    began = time.monotonic()
    sources, notes = open_directory(directory, allow_gaps=allow_gaps)
    total = total_bytes(sources)
    judge = Judge(sources, _voters(directory, sources), graphs)
    merge = Merge(sources, judge, pick)

    def tell(events: int) -> None:
        if progress is not None:
            progress(events, sum(s.read_bytes for s in sources), total)

    violation: Violation | None = None
    missing: list[str] = []
    try:
        merge.run(tell)
        gaps = [s.gap for s in sources if s.gap]
        violation, missing = _explain(merge.stuck(), judge.cluster, gaps)
    except Refused as refused:
        current = merge.current
        where = current.where(current.consumed) if current is not None else None
        violation = Violation(refused.rule, refused.expected, refused.actual, where, refused.step)
    finally:
        for source in sources:
            source.close()
    missing += judge.missing()
    verdict = Verdict.VIOLATION if violation else Verdict.INCOMPLETE if missing else Verdict.HOLDS
    result = Result(
        verdict,
        str(directory),
        judge.counts(merge.events),
        judge.coverage(),
        judge.failovers(),
        violation,
        tuple(missing),
        tuple(notes + [note for s in sources for note in s.notes] + _skipped(sources)),
        time.monotonic() - began,
    )
    return Replayed(result, judge, merge, sources)


def _voters(directory: Path, sources: list[Source]) -> list[str]:
    for source in sources:
        if source.voters is not None:
            return source.voters
    raise BadInput(f"{directory}: no Start in any file; give the traces of the nodes, not only of clients")


def _skipped(sources: list[Source]) -> list[str]:
    """Incarnations that were counted and left nothing: killed before their Start, or not collected."""
    notes: list[str] = []
    for before, after in pairwise(sources):
        if before.node == after.node and after.counter > before.counter + 1:
            notes.append(
                f"{before.node} has no trace between incarnations {before.inc} and {after.inc}: killed before its "
                "Start, or a file was not collected"
            )
    return notes


def _explain(stuck: list[Blocked], cluster: Cluster, gaps: list[str]) -> tuple[Violation | None, list[str]]:
    """Why nothing was ready while files had not ended: a circle, something impossible, or something missing."""
    missing = list(gaps)
    if not stuck:
        return None, missing
    waits = nx.DiGraph()
    impossible: list[Violation] = []
    for blocked in stuck:
        source = blocked.source
        waits.add_node(source)
        if blocked.reference is not None:
            target = cluster.incarnations.get(blocked.reference[0], {}).get(blocked.reference[1])
            if target is None or target.finished:
                missing.append(_reference_missing(blocked, target))
            else:
                waits.add_edge(source, _at_work(target, cluster))
        elif (wait := blocked.wait) is not None:
            suppliers = [s for name in wait.suppliers for s in cluster.sources_of(name) if not s.finished]
            for supplier in suppliers:
                waits.add_edge(source, _at_work(supplier, cluster))
            if not wait.suppliers or _ends_early(wait, cluster):
                missing.append(f"{wait.what} ({source.path}:{blocked.seq}, the Start of {source})")
            elif not suppliers:
                impossible.append(Violation(wait.guard, wait.what, "no event that shows it", source.where(blocked.seq)))
    if impossible:
        return impossible[0], missing
    if not missing:
        circle = [edge[0] for edge in nx.find_cycle(waits)]
        members = tuple(_member(b) for s in circle for b in stuck if b.source is s)
        for blocked in stuck:
            if blocked.wait is not None and blocked.source in circle:
                found = "no event that shows it but what happens after this Start"
                where = blocked.source.where(blocked.seq)
                return Violation(blocked.wait.guard, blocked.wait.what, found, where, None, members), []
        found = "a circle: each waits for the next"
        return Violation("HappensBefore", "events in some order", found, None, None, members), []
    return None, missing


def _at_work(target: Source, cluster: Cluster) -> Source:
    """The incarnation that has to go on before this one can: the node's first one that has not ended."""
    return next(s for s in cluster.sources_of(target.node) if not s.finished)


def _ends_early(wait: Wait, cluster: Cluster) -> bool:
    """Whether a supplier's last file may just end too early: the node had neither exited nor gone beyond the term."""
    for name in wait.suppliers:
        node = cluster.nodes.get(name)
        if node is None:
            return True
        if all(s.finished for s in cluster.sources_of(name)) and not node.ended and node.term <= wait.term:
            return True
    return False


def _reference_missing(blocked: Blocked, target: Source | None) -> str:
    node, inc, seq = blocked.reference or ("", "", 0)
    who = f"event {blocked.seq} of {blocked.source} ({blocked.source.path}:{blocked.seq}) refers to event {seq}"
    if target is None:
        return f"the file of {node} {inc}: {who} of it"
    return f"the end of {target.path}, which stops at event {target.consumed}: {who} of {target}"


def _member(blocked: Blocked) -> str:
    if blocked.reference is not None:
        node, inc, seq = blocked.reference
        return f"{blocked.source.path}:{blocked.seq} happens after event {seq} of {node} {inc}"
    assert blocked.wait is not None
    return f"{blocked.source.path}:{blocked.seq} happens after {blocked.wait.what}"
