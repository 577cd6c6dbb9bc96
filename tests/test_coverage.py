"""The implementation takes every edge of the graphs that it can, and `trace-check coverage` says which are left."""

from __future__ import annotations

import json
from pathlib import Path

import cover
import pytest

from trace_check import Edge, Verdict, replay
from trace_check.cli import main
from trace_check.coverage import goals
from trace_check.graphs import Graphs
from trace_check.replay import DEFAULT_GRAPHS

TRACES = Path(__file__).resolve().parent.parent / "spec" / "traces"
GOOD, BROKEN = TRACES / "good" / "01", TRACES / "broken" / "HACoordinationUnfenced"


def test_every_edge_is_taken_or_impossible() -> None:
    taken = set().union(*map(cover.walked, cover.load()))
    assert taken == cover.all_edges() - cover.impossible(), "run `make cover`: docs/coverage.md"


def test_the_search_finds_its_way_and_drops_what_is_not_needed() -> None:
    wanted = {edge for edge in cover.all_edges() if edge[0] == "Ballot3" and edge[1].action.startswith("Win")}
    corpus = cover.search(1, 10.0, [], {min(wanted)})
    [(schedule, edges)] = cover.fewest(corpus, {min(wanted)})
    short = cover.shorten(schedule, edges)
    assert len(short) <= len(schedule)
    assert edges <= cover.walked(short)
    assert cover.needed([short, list(short)]) == [short]
    assert all(not edges <= cover.walked(short[:at] + short[at + 1 :]) for at in range(len(short)))


def test_what_is_left_is_the_complement_and_each_path_leads_there() -> None:
    result = replay(GOOD)
    walked = {(view.graph, view.sha256): set(view.walked) for view in result.coverage}
    found, notes = goals(Graphs(DEFAULT_GRAPHS), walked)
    assert not notes
    assert [(goal.graph, goal.taken) for goal in found] == [(view.graph, view.taken) for view in result.coverage]
    for goal in found:
        graph = Graphs(DEFAULT_GRAPHS).load(goal.graph)
        left = {Edge(item.state, action) for item in goal.untaken for action in item.actions}
        assert not left & walked[goal.graph, goal.sha256]
        assert len(left) == goal.edges - goal.taken
        for item in goal.untaken:
            state = graph.initial
            for action in item.path:
                state = graph.table[state][action]
            assert graph.describe(state) == item.state
            assert all(action in graph.table[state] for action in item.actions)


def test_runs_of_a_store_and_directories_are_counted_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def taken(*arguments: object) -> int:
        capsys.readouterr()
        assert main(["coverage", "--json", *map(str, arguments)]) == 0
        return sum(goal["taken"] for goal in json.loads(capsys.readouterr().out))

    db = tmp_path / "runs.db"
    other = TRACES / "good" / "02"
    for directory in (GOOD, GOOD, other):
        main(["replay", str(directory), "--db", str(db)])
    both = taken("--db", db)
    assert both == taken(GOOD, other)
    assert both > max(taken(GOOD), taken(other))
    third = TRACES / "good" / "03"
    assert taken(third, "--db", db) == taken(GOOD, other, third) > both


def test_a_run_that_does_not_hold_counts_up_to_there_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(BROKEN).verdict is Verdict.VIOLATION
    assert main(["coverage", str(BROKEN)]) == 0
    out, err = capsys.readouterr()
    assert err == f"trace-check: {BROKEN}: violation; counted up to there\n"
    head = out.splitlines()[0]
    assert head == "Ballot3: 4 of 78 edges taken, 74 not:"
    assert "  never Campaign(n1), Campaign(n2), Campaign(n3)\n    where vote = (n1 :> None" not in out
    assert "\n    after nothing: the initial state\n" in out


def test_edges_of_another_graph_do_not_count() -> None:
    graphs = Graphs(DEFAULT_GRAPHS)
    frontend = graphs.load("Frontend")
    edge = Edge(frontend.describe(frontend.initial), "Start")
    found, notes = goals(graphs, {("Frontend", "0" * 64): {edge}, ("Frontend", frontend.sha256): set()})
    assert [(goal.graph, goal.taken) for goal in found] == [("Frontend", 0)]
    assert notes == ["the edges of another Frontend, with SHA-256 000000000000..., do not count: it is not here"]
