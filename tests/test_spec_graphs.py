"""The committed state graphs: made from the modules as they are, and what the views promise can be read off them."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import defaultdict
from functools import cache
from math import comb
from pathlib import Path
from typing import Any, NamedTuple

import pytest

SPEC = Path(__file__).resolve().parent.parent / "spec"
MANIFEST: dict[str, Any] = json.loads((SPEC / "graphs" / "manifest.json").read_text())
TABLE: dict[str, dict[str, Any]] = json.loads((SPEC / "models" / "models.json").read_text())
GRAPHS = sorted(MANIFEST["graphs"])
VIEWS = ["Ballot", "Fencing", "Frontend"]

NODE = re.compile(r'(-?\d+) \[label="((?:[^"\\]|\\.)*)"(,style = filled)?')
EDGE = re.compile(r'(-?\d+) -> (-?\d+) \[label="((?:[^"\\]|\\.)*)"')
ESCAPE = re.compile(r"\\(.)")


class Graph(NamedTuple):
    """A dump: the text of each state, the initial ones, and the successors of a state by label."""

    states: dict[str, str]
    initial: set[str]
    successors: dict[str, dict[str, set[str]]]

    @property
    def edges(self) -> int:
        return sum(len(targets) for labels in self.successors.values() for targets in labels.values())

    def labels(self) -> set[str]:
        return {label for labels in self.successors.values() for label in labels}


def unescape(text: str) -> str:
    return ESCAPE.sub(lambda m: "\n" if m[1] == "n" else m[1], text)


@cache
def load(name: str) -> Graph:
    content = (SPEC / "graphs" / MANIFEST["graphs"][name]["file"]).read_bytes()
    text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
    graph = Graph({}, set(), defaultdict(lambda: defaultdict(set)))
    for line in text.splitlines():
        if edge := EDGE.match(line):
            graph.successors[edge[1]][unescape(edge[3])].add(edge[2])
        elif node := NODE.match(line):
            graph.states[node[1]] = unescape(node[2])
            if node[3]:
                graph.initial.add(node[1])
    return graph


def value(state: str, expression: str) -> str:
    """The value of `variable`, or of `variable[key]`, in a state as TLC prints it."""
    variable, _, key = expression.rstrip("]").partition("[")
    whole = re.search(rf"^/\\ {variable} = (.*)$", state, re.MULTILINE)
    assert whole, state
    if not key:
        return whole[1].strip('"')
    part = re.search(rf"\b{key} \|-> \"?(\w+)", whole[1])
    assert part, state
    return part[1]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", GRAPHS)
def test_graph_belongs_to_its_module_and_model(name: str) -> None:
    entry = MANIFEST["graphs"][name]
    assert entry["module"] == TABLE[name]["module"]
    assert entry["model"] == TABLE[name]["config"]
    advice = "changed since its graph was made: run `python spec/tlc.py graphs`"
    assert digest(SPEC / entry["module"]) == entry["module_sha256"], f"{entry['module']} {advice}"
    assert digest(SPEC / entry["model"]) == entry["model_sha256"], f"{entry['model']} {advice}"
    assert digest(SPEC / "graphs" / entry["file"]) == entry["sha256"], f"{entry['file']} is not the one TLC made"


def test_the_manifest_lists_all_graphs_and_no_file_is_left_over() -> None:
    assert set(GRAPHS) == {name for name, model in TABLE.items() if model.get("graph")}
    files = {path.name for path in (SPEC / "graphs").iterdir()} - {"manifest.json"}
    assert files == {entry["file"] for entry in MANIFEST["graphs"].values()}


@pytest.mark.parametrize("name", GRAPHS)
def test_counts_are_those_of_the_file_and_of_the_table(name: str) -> None:
    graph, entry = load(name), MANIFEST["graphs"][name]
    assert len(graph.states) == entry["states"] == TABLE[name]["states"]
    assert graph.edges == entry["edges"]


@pytest.mark.parametrize("name", GRAPHS)
def test_a_label_leads_to_one_state_and_every_state_is_reachable(name: str) -> None:
    graph = load(name)
    assert len(graph.initial) == 1
    reached, frontier = set(graph.initial), list(graph.initial)
    while frontier:
        for label, targets in graph.successors[frontier.pop()].items():
            assert len(targets) == 1, f"{label} is ambiguous"
            frontier += targets - reached
            reached |= targets
    assert reached == set(graph.states)


PARAMETERS = {
    "Ballot": ["n1", "n2", "n3"],
    "Fencing": ['"lo"', '"hi"'],
    "Frontend": ['"UNKNOWN"', '"FOLLOWER"', '"OBSERVER"'],
}


@pytest.mark.parametrize("view", VIEWS)
def test_every_action_of_next_is_a_label_for_every_parameter(view: str) -> None:
    graph, values = load("Ballot3" if view == "Ballot" else view), PARAMETERS[view]
    module = (SPEC / f"{view}.tla").read_text()
    following = module[module.index("\nNext ==") : module.index("\nSpec ==")]
    expected = set[str]()
    for action, parameters in re.findall(r"(\w+)(?:\(([\w, ]+)\))?$", following, re.MULTILINE):
        arity = len(parameters.split(",")) if parameters else 0
        expected |= {action} if not arity else {f"{action}({x})" for x in values} if arity == 1 else set()
        expected |= {f"{action}({x},{y})" for x in values for y in values if x != y} if arity == 2 else set()
    assert graph.labels() == expected


@pytest.mark.parametrize("view", VIEWS)
def test_every_property_a_module_defines_is_checked_by_its_models(view: str) -> None:
    properties = (SPEC / f"{view}.tla").read_text().partition("What holds in every state.")[2]
    defined = set(re.findall(r"^(\w+) ==", properties, re.MULTILINE)) - {"Inv"} | {"TypeOK"}
    for name in GRAPHS:
        if TABLE[name]["module"] == f"{view}.tla":
            config = (SPEC / TABLE[name]["config"]).read_text()
            checked = config.partition("INVARIANTS")[2].partition("\\*")[0].split()
            assert set(checked) - {"PROPERTIES"} == defined


@pytest.mark.parametrize("path", sorted(SPEC.rglob("*.tla")), ids=lambda path: path.name)
def test_modules_are_plain_ascii_in_lines_of_at_most_100(path: Path) -> None:
    text = path.read_text()
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 100
    assert f" MODULE {path.stem} " in text.splitlines()[0]


# Ballot


def ballot_states(voters: int) -> int:
    """The states of Ballot, counted without TLC: k candidates; the others vote for one of them or not at all."""
    total = 0
    for k in range(voters + 1):
        others = voters - k
        elections = (k + 1) ** others
        decided = k * sum(comb(others, j) * k ** (others - j) for j in range(voters // 2, others + 1)) if k else 0
        total += comb(voters, k) * (elections + decided)  # where the votes decide, with the Win and before it
    return total


@pytest.mark.parametrize("voters", range(1, 8))
def test_ballot_has_as_many_states_as_there_are_elections(voters: int) -> None:
    assert len(load(f"Ballot{voters}").states) == ballot_states(voters)


@pytest.mark.parametrize("voters", range(1, 8))
def test_in_a_term_one_node_at_most_wins_and_appends(voters: int) -> None:
    graph = load(f"Ballot{voters}")
    for state, labels in graph.successors.items():
        appends = [label for label in labels if label.startswith("Append")]
        wins = [label for label in labels if label.startswith("Win")]
        assert len(appends) + len(wins) <= 1
        for label in appends:
            assert labels[label] == {state}
            assert value(graph.states[state], "winners") == "{" + label[len("Append(") : -1] + "}"


# Fencing


def test_of_two_leaders_one_at_most_may_write() -> None:
    graph = load("Fencing")
    for state, labels in graph.successors.items():
        assert not {'Write("lo")', 'Write("hi")'} <= set(labels), graph.states[state]


def test_the_later_record_is_a_fence() -> None:
    graph = load("Fencing")
    fenced = {state for state, text in graph.states.items() if value(text, "committed[hi]") == "TRUE"}
    for state in fenced:
        assert not {'Write("lo")', 'CommitEpoch("lo")'} & set(graph.successors[state])
        for targets in graph.successors[state].values():
            assert targets <= fenced
    assert any('Activate("lo")' in graph.successors[state] for state in fenced), "late activation is legal"


def test_a_write_flips_the_bit_and_nothing_else_does() -> None:
    graph = load("Fencing")
    for state, labels in graph.successors.items():
        for label, (target,) in labels.items():
            before, after = graph.states[state], graph.states[target]
            assert (value(before, "bit") != value(after, "bit")) == label.startswith("Write")
            if label.startswith("Write"):
                assert before.rpartition("/\\ bit")[0] == after.rpartition("/\\ bit")[0]


@pytest.mark.parametrize("leader", ["lo", "hi"])
def test_activation_and_writes_need_the_record(leader: str) -> None:
    graph = load("Fencing")
    for state, labels in graph.successors.items():
        if {f'Activate("{leader}")', f'Write("{leader}")'} & set(labels):
            assert value(graph.states[state], f"committed[{leader}]") == "TRUE"


def test_entries_of_a_leader_that_left_can_still_be_committed() -> None:
    graph = load("Fencing")
    left = {s for s, text in graph.states.items() if value(text, "belief[lo]") == "left"}
    assert any('Write("lo")' in graph.successors[state] for state in left)
    gaveup = {s for s, text in graph.states.items() if value(text, "belief[lo]") == "gaveup"}
    assert any('CommitEpoch("lo")' in graph.successors[state] for state in gaveup)


# Frontend


def by_type(frontend_type: str) -> dict[tuple[str, str], set[str]]:
    """The labels at the states of this type, by role and fence."""
    graph = load("Frontend")
    return {
        (value(text, "role"), value(text, "fenced")): set(graph.successors[state])
        for state, text in graph.states.items()
        if value(text, "type") == frontend_type
    }


def test_a_leader_acknowledges_or_ends() -> None:
    assert by_type("LEADER") == {
        ("leader", "TRUE"): {"Ack", "Lose", "Exit", "Crash"},
        ("follower", "FALSE"): {"Exit", "Crash"},
    }


def test_an_observer_never_leads() -> None:
    assert by_type("OBSERVER") == {("follower", "FALSE"): {'Transfer("UNKNOWN")', "Exit", "Crash"}}


def test_a_node_that_is_down_only_starts() -> None:
    assert by_type("DOWN") == {("follower", "FALSE"): {"Start"}}


@pytest.mark.parametrize(
    ("frontend_type", "transfers"),
    [
        ("INIT", {'Transfer("FOLLOWER")', 'Transfer("OBSERVER")'}),
        ("UNKNOWN", {'Transfer("FOLLOWER")', 'Transfer("OBSERVER")'}),
        ("FOLLOWER", {'Transfer("UNKNOWN")'}),
    ],
)
def test_the_way_to_leader(frontend_type: str, transfers: set[str]) -> None:
    assert by_type(frontend_type) == {
        ("follower", "FALSE"): {"Campaign", "Win", "Exit", "Crash"} | transfers,
        ("leader", "FALSE"): {"CommitEpoch", "Lose", "Exit", "Crash"},
        ("leader", "TRUE"): {"Activate", "Lose", "Exit", "Crash"},
    }


def test_only_activation_makes_a_leader() -> None:
    graph = load("Frontend")
    types = {state: value(text, "type") for state, text in graph.states.items()}
    for state, labels in graph.successors.items():
        for label, (target,) in labels.items():
            if types[target] == "LEADER" and types[state] != "LEADER":
                assert label == "Activate"
            if types[state] == "LEADER" and types[target] != "LEADER":
                assert (types[target], label) in {("DOWN", "Exit"), ("DOWN", "Crash")}
