"""Why nothing is ready any more: a circle, something that can no longer happen, or something that is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trace_check.nodes import Cluster
from trace_check.read import Source
from trace_check.schema import Reference
from trace_check.starts import Wait
from trace_check.verdict import Violation


@dataclass(frozen=True, slots=True)
class Blocked:
    """An incarnation that cannot go on: its next event, and the reference or the fact that event waits for."""

    source: Source
    seq: int
    reference: Reference | None
    wait: Wait | None


def explain(stuck: Sequence[Blocked], cluster: Cluster) -> tuple[Violation | None, list[str]]:
    """The violation that some of these are, whatever else is or gets written, and what the others miss.

    An incarnation that may still grow is not stuck, and those that wait for it miss nothing yet.
    """
    missing: list[str] = []
    helpers: dict[Source, list[Source]] = {}
    for blocked in stuck:
        found = _missing(blocked, cluster)
        if found is not None:
            missing.append(found)
        else:
            helpers[blocked.source] = _helpers(blocked, cluster)
    # Who may yet be helped has a helper that is not here, or that may yet be helped itself.
    while hopeful := [s for s, ways in helpers.items() if any(way not in helpers for way in ways)]:
        for source in hopeful:
            del helpers[source]
    return _violation([b for b in stuck if b.source in helpers], helpers), missing


def _helpers(blocked: Blocked, cluster: Cluster) -> list[Source]:
    """The incarnations of which any, by going on, could end the wait."""
    if blocked.reference is not None:
        return [_at_work(blocked.reference[0], cluster)]
    wait, own = blocked.wait, blocked.source.node
    assert wait is not None
    others = (name for name in wait.suppliers if name != own)
    return [_at_work(name, cluster) for name in others if _may_supply(name, wait, cluster)]


def _may_supply(name: str, wait: Wait, cluster: Cluster) -> bool:
    return cluster.nodes[name].term <= wait.term and not all(s.finished for s in cluster.sources_of(name))


def _at_work(name: str, cluster: Cluster) -> Source:
    """The incarnation that has to go on before others of this node can: the first one that has not ended."""
    return next(s for s in cluster.sources_of(name) if not s.finished)


def _missing(blocked: Blocked, cluster: Cluster) -> str | None:
    """What is not in the trace, if that is why."""
    source, wait = blocked.source, blocked.wait
    place = source.line(blocked.seq)
    if blocked.reference is not None:
        node, inc, seq = blocked.reference
        target = cluster.incarnations.get(node, {}).get(inc)
        who = f"event {blocked.seq} of {source} ({place}) refers to event {seq}"
        if target is None:
            return f"the file of {node} {inc}: {who} of it"
        if target.finished:
            return f"the end of {target.parts[-1].path}, which stops at event {target.consumed}: {who} of {target}"
        return None
    assert wait is not None
    if not wait.suppliers or any(
        _ends_early(name, wait, cluster) or _left_out(name, wait, cluster) for name in wait.suppliers
    ):
        return f"{wait.what} ({place}, the Start of {source})"
    return None


def _ends_early(name: str, wait: Wait, cluster: Cluster) -> bool:
    """Whether a supplier's last file may just end too early: the node had neither exited nor gone beyond the term."""
    node = cluster.nodes.get(name)
    if node is None:
        return True
    return all(s.finished for s in cluster.sources_of(name)) and not node.ended and node.term <= wait.term


def _left_out(name: str, wait: Wait, cluster: Cluster) -> bool:
    """Whether it may be in an incarnation of a supplier that was counted, or at the end of one, and was not kept."""
    for before, after in cluster.gaps(name):
        if before.finished and before.consumed and (wait.since is not None or before.cut_off):
            left, came = before.event(before.consumed)["term"], _first_term(after)
            if left <= wait.term and (came is None or came >= (wait.term if wait.since is None else wait.since)):
                return True
    return False


def _first_term(source: Source) -> int | None:
    """The term that a Start shows, judged or not; None if it has not been read."""
    start = source.event(1) if source.consumed else next(iter(source.batch), None)
    return start["term"] if start is not None else None


def _violation(doomed: Sequence[Blocked], helpers: dict[Source, list[Source]]) -> Violation | None:
    if not doomed:
        return None
    for blocked in doomed:
        wait = blocked.wait
        if wait is not None and not helpers[blocked.source]:
            return Violation(wait.guard, wait.what, "no event that shows it", blocked.source.where(blocked.seq))
    import networkx as nx  # only now, as in graphs.py

    circle = [edge[0] for edge in nx.find_cycle(nx.DiGraph(helpers))]
    in_circle = [b for s in circle for b in doomed if b.source is s]
    members = tuple(_member(b) for b in in_circle)
    for blocked in in_circle:
        if blocked.wait is not None:
            found = "no event that shows it but what happens after this Start"
            where = blocked.source.where(blocked.seq)
            return Violation(blocked.wait.guard, blocked.wait.what, found, where, None, members)
    found = "a circle: each waits for the next"
    return Violation("HappensBefore", "events in some order", found, None, None, members)


def _member(blocked: Blocked) -> str:
    place = blocked.source.line(blocked.seq)
    if blocked.reference is not None:
        node, inc, seq = blocked.reference
        return f"{place} happens after event {seq} of {node} {inc}"
    assert blocked.wait is not None
    return f"{place} happens after {blocked.wait.what}"
