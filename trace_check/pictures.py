"""State graphs as pictures: where each state lies, what is written on it, in which tone. For page.html, which draws."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from trace_check.graphs import Graph

# A Ballot of four voters has more states than anybody can look at.
LARGEST_PICTURE = 100
_SWEEPS = 8


def picture(graph: Graph, taken: set[tuple[int, str]]) -> dict[str, Any]:
    """A graph as plain data. Each edge is [from, to, [action, whether the run has taken it], ...]."""
    places = layout(graph)
    edges: dict[tuple[int, int], list[list[Any]]] = defaultdict(list)
    for state, moves in enumerate(graph.table):
        for action in sorted(moves):
            edges[state, moves[action]].append([action, int((state, action) in taken)])
    states = []
    for state, text in enumerate(graph.states):
        lines, tones = label(text)
        column, row = places[state]
        states.append({"text": text, "lines": lines, "tones": tones, "x": column, "y": row})
    return {
        "name": graph.name,
        "initial": graph.initial,
        "states": states,
        "edges": [[*ends, *actions] for ends, actions in sorted(edges.items())],
    }


def layout(graph: Graph) -> list[tuple[int, float]]:
    """(column, row) of each state: columns by the distance from the initial state, rows so that edges rarely cross."""
    network = graph.network
    import networkx as nx  # only now, as in graphs.py

    distance: dict[int, int] = nx.single_source_shortest_path_length(network, graph.initial)
    columns: list[list[int]] = [[] for _ in range(max(distance.values()) + 1)]
    for state in sorted(distance):
        columns[distance[state]].append(state)
    row: dict[int, float] = {}
    for states in columns:
        row.update((state, at - (len(states) - 1) / 2) for at, state in enumerate(states))
    for sweep in range(_SWEEPS):
        for column, states in enumerate(columns):
            # Forwards each state looks at those before it, backwards at those after it.
            beside = column - 1 if sweep % 2 == 0 else column + 1

            def wanted(state: int, beside: int = beside) -> tuple[float, int]:
                near = [row[n] for n in nx.all_neighbors(network, state) if distance[n] == beside]
                return (sum(near) / len(near) if near else row[state], state)

            states.sort(key=wanted)
            row.update((state, at - (len(states) - 1) / 2) for at, state in enumerate(states))
    return [(distance[state], row[state]) for state in range(len(graph.states))]


def label(state: str) -> tuple[list[str], list[str]]:
    """A state of one of the three views in few words, and one or two tones; any other is only named in full."""
    values = dict(re.findall(r'(\w+) = "?(\w+)"?', state))
    if {"type", "role", "fenced"} <= values.keys():
        about = ["leads"] if values["role"] == "leader" else []
        about += ["fenced"] if values["fenced"] == "TRUE" else []
        return [values["type"], *([", ".join(about)] if about else [])], [values["type"]]
    believed = dict(re.findall(r'(lo|hi) \|-> "(\w+)"', state))
    if believed:
        committed = dict(re.findall(r"(lo|hi) \|-> (TRUE|FALSE)", state))
        lines = [f"{x} {believed[x]}{' ▮' if committed[x] == 'TRUE' else ''}" for x in ("lo", "hi")]
        return lines + (["*"] if state.endswith("bit = TRUE") else []), [believed["lo"], believed["hi"]]
    votes = re.findall(r"(n\d+) (?::>|\|->) (\w+)", state)
    if votes:
        won = re.search(r"winners = \{(.+)\}", state)
        cast = " ".join(f"{voter[1:]}→{choice[1:]}" for voter, choice in votes if choice != "None")
        return [cast or "no votes", *([f"{won[1][1:]} won"] if won else [])], ["won" if won else "none"]
    return [], []
