"""The edges of the graphs that no trace has taken yet, and the shortest way to each: what is left to be shown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from trace_check.graphs import Graphs
from trace_check.verdict import Edge

Walked = Mapping[tuple[str, str], set[Edge]]


@dataclass(frozen=True, slots=True)
class Untaken:
    """A state some of whose edges nobody has taken: its shortest path from the initial state, and those actions."""

    state: str
    path: tuple[str, ...]
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Goal:
    """One graph: how many edges it has, how many of them have been taken, and the others, the nearest first."""

    graph: str
    sha256: str
    edges: int
    taken: int
    untaken: tuple[Untaken, ...]


def goals(graphs: Graphs, walked: Walked) -> tuple[list[Goal], list[str]]:
    """What is left of each graph that was walked at all, and notes on what could not be counted.

    `walked` has the edges taken by the name of a graph and the SHA-256 of its file. Raises BadInput.
    """
    found: list[Goal] = []
    notes: list[str] = []
    for name, sha256 in sorted(walked):
        # Elections among more voters than there are graphs for have a name here, and no graph.
        if sha256 and name in graphs.names and graphs.load(name).sha256 == sha256:
            found.append(_goal(graphs, name, walked[name, sha256]))
        elif sha256:
            notes.append(f"the edges of another {name}, with SHA-256 {sha256[:12]}..., do not count: it is not here")
    return found, notes


def _goal(graphs: Graphs, name: str, walked: set[Edge]) -> Goal:
    graph = graphs.load(name)
    untaken: list[Untaken] = []
    for number, moves in enumerate(graph.table):
        state = graph.describe(number)
        actions = tuple(sorted(action for action in moves if Edge(state, action) not in walked))
        if actions:
            untaken.append(Untaken(state, graph.path_to(number), actions))
    left = sum(len(item.actions) for item in untaken)
    untaken.sort(key=lambda item: (len(item.path), item.path))
    return Goal(name, graph.sha256, graph.edges, graph.edges - left, tuple(untaken))


def as_text(goals: Iterable[Goal]) -> str:
    """For people: three lines for each state that has an edge left."""
    lines: list[str] = []
    for goal in goals:
        left = goal.edges - goal.taken
        rest = f", {left:,} not:" if left else ""
        lines.append(f"{goal.graph}: {goal.taken:,} of {goal.edges:,} edges taken{rest}")
        for item in goal.untaken:
            lines.append(f"  never {', '.join(item.actions)}")
            lines.append(f"    where {item.state}")
            lines.append(f"    after {', '.join(item.path) or 'nothing: the initial state'}")
    if any(goal.graph.startswith("Ballot") and goal.untaken for goal in goals):
        lines.append("In Ballot, n1, n2, ... are the voters in the order of their names.")
    return "\n".join(lines) or "no graph has been walked yet"


def as_json(goals: Iterable[Goal]) -> str:
    """A list of the Goals."""
    return json.dumps([asdict(goal) for goal in goals], indent=2)
