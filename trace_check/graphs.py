"""TLC's state graphs: loading the DOT dumps, holding them against the specification, stepping along their edges.

A dump has one physical line per node or edge, in any order, some repeated; an initial state has `style = filled`.
Stepping uses a table {state: {label: state}}; networkx is asked for paths, when there is something to explain.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from trace_check.verdict import BadInput

if TYPE_CHECKING:
    import networkx as nx

_STATE = re.compile(r'^(-?\d+) \[label="((?:[^"\\]|\\.)*)"(.*)\]?;?$')
_EDGE = re.compile(r'^(-?\d+) -> (-?\d+) \[label="((?:[^"\\]|\\.)*)"')
_FURNITURE = re.compile(
    r"^(strict )?digraph \w+ \{$|^node \[|^nodesep=|^subgraph |^color=|^label ?=|^(\{ ?rank|graph|edge)\b|^rank|^\}?;?$"
    r"|^\{ ?rank ?= ?same;|^-?\d+;\}?;?$"
)
LARGEST_BALLOT = 7


@dataclass(frozen=True, eq=False)
class Graph:
    """The complete state graph of one model. States are small integers; labels read like `Grant(n1,n2)`."""

    name: str
    states: tuple[str, ...]
    initial: int
    table: tuple[Mapping[str, int], ...]
    sha256: str = ""

    @property
    def edges(self) -> int:
        """How many (state, action) pairs there are."""
        return sum(len(moves) for moves in self.table)

    @cached_property
    def network(self) -> nx.MultiDiGraph:
        """The graph for networkx, one edge per action, keyed by its label."""
        # Not at the top: a run that holds needs no path, and loading networkx takes longer than judging a short one.
        import networkx as nx

        network = nx.MultiDiGraph()
        network.add_nodes_from(range(len(self.states)))
        network.add_edges_from(
            (state, to, label) for state, moves in enumerate(self.table) for label, to in moves.items()
        )
        return network

    @cached_property
    def _paths(self) -> Mapping[int, list[int]]:
        import networkx as nx

        return dict(nx.single_source_shortest_path(self.network, self.initial))

    def path_to(self, state: int) -> tuple[str, ...]:
        """The actions of a shortest path from the initial state."""
        return tuple(min(self.network[a][b]) for a, b in pairwise(self._paths[state]))

    def describe(self, state: int) -> str:
        """A state in the words of the specification."""
        return self.states[state]


def parse(text: str, name: str) -> Graph:
    """A DOT dump as TLC writes it. Raises BadInput for anything else."""
    numbers: dict[str, int] = {}
    texts: dict[str, str] = {}
    initial: set[str] = set()
    moves: dict[str, dict[str, str]] = {}
    labels: dict[str, str] = {}
    for line in text.splitlines():
        if edge := _EDGE.match(line):
            origin, target, raw = edge.groups()
            label = labels.get(raw)
            if label is None:
                label = labels[raw] = raw.replace('\\"', "").replace('"', "").replace(" ", "")
            if moves.setdefault(origin, {}).setdefault(label, target) != target:
                raise BadInput(f"graph {name}: {label} leads from one state to two; actions must be deterministic")
        elif state := _STATE.match(line):
            number, raw, rest = state.groups()
            if number not in numbers:
                numbers[number] = len(numbers)
                texts[number] = raw
            if "filled" in rest:
                initial.add(number)
        elif not _FURNITURE.match(line):
            raise BadInput(f"graph {name}: not a line of a TLC dump: {line[:80]!r}")
    if len(initial) != 1:
        raise BadInput(f"graph {name}: {len(initial)} initial states; a view has exactly one")
    try:
        table = tuple({label: numbers[to] for label, to in moves.get(n, {}).items()} for n in numbers)
    except KeyError as error:
        raise BadInput(f"graph {name}: an edge leads to the unknown state {error}") from None
    states = tuple(_plain(texts[n]) for n in numbers)
    return Graph(name, states, numbers[initial.pop()], table)


def _plain(label: str) -> str:
    """A state as one line: `/\\ a = 1` conjuncts joined by commas."""
    plain = label.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
    return ", ".join(part.strip() for part in re.sub(r"(^|\n)/\\ ", "\n", plain).split("\n") if part.strip())


class Graphs:
    """The graphs of one directory, each loaded when first wanted and checked against manifest and specification."""

    def __init__(self, directory: Path) -> None:
        """Raises BadInput when the manifest cannot be read."""
        self.directory = directory
        path = directory / "manifest.json"
        try:
            manifest = json.loads(path.read_bytes())
            self._entries: dict[str, dict[str, object]] = manifest["graphs"]
            self.names = tuple(self._entries)
        except OSError as error:
            raise BadInput(f"{path}: cannot be read: {error.strerror}; give the graphs with --graphs") from None
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path}: not a manifest of graphs: {error!r}; make it anew with `make graphs`") from None
        self._loaded: dict[str, Graph] = {}

    def ballot(self, voters: int) -> Graph | None:
        """The graph for that many voters; None when there are too many for one."""
        return self.load(f"Ballot{voters}") if 1 <= voters <= LARGEST_BALLOT else None

    def load(self, name: str) -> Graph:
        """One graph by its name in the manifest. Raises BadInput."""
        graph = self._loaded.get(name)
        if graph is None:
            graph = self._loaded[name] = self._read(name)
        return graph

    def _read(self, name: str) -> Graph:
        entry = self._entries.get(name)
        if not isinstance(entry, dict):
            raise BadInput(f"{self.directory}: the manifest has no graph {name}; make it with `make graphs`")
        path = self.directory / self._field(entry, name, "file")
        data = self._hashed(path, self._field(entry, name, "sha256"), f"graph {name}")
        # The graphs lie beside the specification; a copy without it is taken at the manifest's word.
        for what in ("module", "model"):
            origin = self.directory.parent / self._field(entry, name, what)
            if origin.exists():
                self._hashed(origin, self._field(entry, name, what + "_sha256"), f"graph {name} was made from another")
        try:
            text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
        except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
            raise BadInput(f"{path}: cannot be unpacked: {error}; make it anew with `make graphs`") from None
        graph = parse(text, name)
        if (len(graph.states), graph.edges) != (entry.get("states"), entry.get("edges")):
            raise BadInput(
                f"{path}: {len(graph.states)} states and {graph.edges} edges, while the manifest says "
                f"{entry.get('states')} and {entry.get('edges')}; make it anew with `make graphs`"
            )
        return replace(graph, sha256=self._field(entry, name, "sha256"))

    def _field(self, entry: dict[str, object], name: str, field: str) -> str:
        value = entry.get(field)
        if not isinstance(value, str):
            manifest = self.directory / "manifest.json"
            raise BadInput(f"{manifest}: graph {name} has no {field}; make it anew with `make graphs`")
        return value

    def _hashed(self, path: Path, expected: str, what: str) -> bytes:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadInput(f"{path}: cannot be read: {error.strerror}; make the graphs with `make graphs`") from None
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            raise BadInput(
                f"{what}: {path} has SHA-256 {found[:12]}..., the manifest {expected[:12]}...: graphs and "
                "specification do not match; make the graphs anew with `make graphs`"
            )
        return data
