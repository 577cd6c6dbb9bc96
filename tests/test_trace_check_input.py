"""What comes in: bad lines, mixed directories, files that stop too early, wrong graphs. Never a traceback."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from handmade import Event, Story
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wander import Wanderer

import trace_check.parts
import trace_check.read
from trace_check import BadInput, Refused, Verdict, replay
from trace_check.cli import main
from trace_check.graphs import Graphs
from trace_check.replay import DEFAULT_GRAPHS
from trace_check.schema import EVENTS
from trace_check.tree import Leader
from trace_check.views import Fencing


def told() -> Story:
    """A short right run with a client."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.replicate("n1", "n2", count=2)
    story.store("n3", "n1")
    story.learn("n3", "n1")
    story.invoke("c1", "w1")
    story.ok("c1", "w1", story.ack("n1", 2, 3), 2)
    return story


def refusal(directory: Path, **options: Any) -> str:
    with pytest.raises(BadInput) as caught:
        replay(directory, **options)
    return str(caught.value)


N1 = "n1.1-00000001.ndjson"

BAD_LINES: list[tuple[str, Callable[[Event], Any], str]] = [
    ("not an object", lambda e: [1, 2], "not a JSON object"),
    ("unknown event", lambda e: {**e, "event": "Abdicate"}, "unknown event 'Abdicate'"),
    ("from the future", lambda e: {**e, "v": 2}, "newer than 1"),
    ("no version", lambda e: {**e, "v": None}, "field v: expected 1"),
    ("version of another type", lambda e: {**e, "v": True}, "field v: expected 1"),
    ("missing field", lambda e: {k: v for k, v in e.items() if k != "digest"}, "has no field digest"),
    ("missing term", lambda e: {k: v for k, v in e.items() if k != "term"}, "has no field term"),
    ("wrong type", lambda e: {**e, "last": "7"}, "expected an integer of 0 or more, below 2^63, found '7'"),
    ("boolean for a number", lambda e: {**e, "last": True}, "field last of Append"),
    ("fraction", lambda e: {**e, "last": 2.0}, "field last of Append"),
    ("negative", lambda e: {**e, "last": -1}, "field last of Append"),
    ("more than 64 bits", lambda e: {**e, "last": 1 << 63}, "field last of Append: expected an integer of 0 or more"),
    ("a time of more than 64 bits", lambda e: {**e, "ts": 10**4000}, "field ts of Append: expected an integer"),
    ("bad digest", lambda e: {**e, "digest": "xyz"}, "16 lower-case hexadecimal digits"),
    ("bad optional field", lambda e: {**e, "epoch": "one"}, "field epoch of Append"),
    ("bad reference", lambda e: {**e, "after": [["n2", "1-00000002"]]}, "field after of Append"),
    ("reference to nothing", lambda e: {**e, "after": [["n2", "1-00000002", 0]]}, "field after of Append"),
    ("after of another type", lambda e: {**e, "after": "n2"}, "field after of Append"),
    ("another cluster", lambda e: {**e, "cluster": "other"}, "cluster is 'other' here"),
    ("another node", lambda e: {**e, "node": "n9"}, "node is 'n9' here"),
    ("another incarnation", lambda e: {**e, "inc": "2-00000002"}, "inc is '2-00000002' here"),
    ("bad incarnation", lambda e: {**e, "inc": "x"}, "field inc: expected COUNTER-RANDOM"),
    ("seq gap", lambda e: {**e, "seq": e["seq"] + 1}, "events are missing or repeated"),
    ("seq repeated", lambda e: {**e, "seq": e["seq"] - 1}, "events are missing or repeated"),
    ("client event", lambda e: {**e, "event": "Invoke", "op": "w", "term": 0}, "Invoke in a file of a node"),
]


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in BAD_LINES], ids=[case[0] for case in BAD_LINES])
def test_bad_line_is_named(change: Callable[[Event], Any], message: str, tmp_path: Path) -> None:
    story = told()
    lines = story.files["n1", "1-00000001"]
    at = next(i for i, e in enumerate(lines) if e["event"] == "Append")
    lines[at] = change(lines[at])
    said = refusal(story.save(tmp_path))
    assert said.startswith(f"{tmp_path / N1}:{at + 1}: "), said
    assert message in said


@pytest.mark.parametrize("line", [b"", b"{", b"\xff\xfe", b"nonsense", b"[" * 100_000, b'{"v":' + b"9" * 5000 + b"}"])
@pytest.mark.parametrize("at", [0, 2])
def test_line_that_is_no_json(line: bytes, at: int, tmp_path: Path) -> None:
    path = told().save(tmp_path) / N1
    lines = path.read_bytes().split(b"\n")
    lines[at] = line
    path.write_bytes(b"\n".join(lines))
    said = refusal(tmp_path)
    assert said.startswith(f"{path}:{at + 1}: "), said


def test_client_with_a_term(tmp_path: Path) -> None:
    story = told()
    story.files["c1", "1-00000001"][0]["term"] = 1
    assert "field term of Invoke: expected 0, as clients have no term, found 1" in refusal(story.save(tmp_path))


def test_two_objects_in_a_line_and_one_in_two(tmp_path: Path) -> None:
    path = told().save(tmp_path) / N1
    lines = path.read_text().split("\n")
    lines[1:3] = [lines[1] + lines[2], ""]
    path.write_text("\n".join(lines))
    assert refusal(tmp_path).startswith(f"{path}:2: not JSON")


def test_order_of_fields_is_free(tmp_path: Path) -> None:
    story = told()
    story.files = {key: [dict(reversed(line.items())) for line in lines] for key, lines in story.files.items()}
    assert story.judge(tmp_path).verdict is Verdict.HOLDS


def test_an_empty_list_is_as_good_as_none(tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.replicate("n1", "n2")
    for lines in story.files.values():
        for event in lines:
            event.setdefault("after", [])
            if event["event"] == "Commit":
                event.setdefault("epochs", [])
            if event["event"] == "Append":
                event.setdefault("stores", [])
    assert story.judge(tmp_path).verdict is Verdict.HOLDS


def test_unknown_fields_are_left_alone(tmp_path: Path) -> None:
    story = told()
    story.files["n1", "1-00000001"][1]["colour"] = {"red": [1, None]}
    assert story.judge(tmp_path).verdict is Verdict.HOLDS


def test_torn_last_line_is_a_note(tmp_path: Path) -> None:
    path = told().save(tmp_path) / "n3.1-00000001.ndjson"
    with path.open("a") as file:
        file.write('{"v":1,"clus')
    result = replay(tmp_path)
    assert result.verdict is Verdict.HOLDS
    assert any("no newline" in note for note in result.notes)


def test_file_without_a_line_is_a_note(tmp_path: Path) -> None:
    (told().save(tmp_path) / "n3.2-00000002.ndjson").write_text('{"v":1')
    result = replay(tmp_path)
    assert result.verdict is Verdict.HOLDS
    assert any("no complete line" in note for note in result.notes)


def test_directory_that_cannot_be_judged(tmp_path: Path) -> None:
    assert "no *.ndjson files" in refusal(tmp_path)
    assert "cannot be read" in refusal(tmp_path / "nowhere")
    story = told()
    story.files = {key: lines for key, lines in story.files.items() if key[0] == "c1"}
    assert "no Start in any file" in refusal(story.save(tmp_path))
    (tmp_path / "n1.ndjson").mkdir()
    assert refusal(tmp_path) == f"{tmp_path / 'n1.ndjson'}: cannot be read: Is a directory"


def test_two_clusters_in_a_directory(tmp_path: Path) -> None:
    story = told()
    for line in story.files["n2", "1-00000001"]:
        line["cluster"] = "other"
    assert "keep the traces of each cluster in a directory of its own" in refusal(story.save(tmp_path))


def test_one_incarnation_in_two_files(tmp_path: Path) -> None:
    shutil.copy(told().save(tmp_path) / N1, tmp_path / "copy.ndjson")
    assert "an incarnation has one file" in refusal(tmp_path)


def test_node_and_client_of_one_name(tmp_path: Path) -> None:
    story = told()
    story.open("n3")
    story.tell("n3", "Invoke", term=0, op="w")
    assert "a node and a client at once" in refusal(story.save(tmp_path))


def test_incarnation_without_start(tmp_path: Path) -> None:
    story = told()
    story.open("n3")
    story.tell("n3", "Transfer", to="FOLLOWER")
    assert "Transfer where Start was due" in refusal(story.save(tmp_path))


# --- incomplete -----------------------------------------------------------------------------------------------------


def test_missing_file_is_named(tmp_path: Path) -> None:
    (told().save(tmp_path) / N1).unlink()
    result = replay(tmp_path)
    assert result.verdict is Verdict.INCOMPLETE
    assert any(m.startswith("the file of n1 1-00000001: event 2 of n2") for m in result.missing), result.missing


def test_missing_voter_is_named(tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    del story.files["n3", "1-00000001"]
    result = story.judge(tmp_path)
    assert result.verdict is Verdict.INCOMPLETE
    assert result.missing == ("no trace of n3, a voter",)
    assert result.counts.entries_committed == 1


def test_file_that_ends_too_early_is_named(tmp_path: Path) -> None:
    story = told()
    del story.files["n2", "1-00000001"][3:]
    result = story.judge(tmp_path)
    assert result.verdict is Verdict.INCOMPLETE
    assert "n2.1-00000001.ndjson, which stops at event 3" in result.missing[0], result.missing


def test_end_of_an_earlier_incarnation_is_missed_also_by_who_has_heard_of_a_later_one(tmp_path: Path) -> None:
    story = told()
    end = len(story.files["n3", "1-00000001"])
    story.start("n3")
    story.hear("n1", "n3")
    story.append("n1")
    story.person("n1").after["n3"] = ["n3", "1-00000001", end + 1]
    story.append("n1")
    result = story.judge(tmp_path)
    assert result.verdict is Verdict.INCOMPLETE
    assert f"n3.1-00000001.ndjson, which stops at event {end}" in result.missing[0], result.missing


def test_what_is_cited_may_be_in_a_file_that_is_missing_between_two_others(tmp_path: Path) -> None:
    """n3 has heard of n2's third incarnation, and cites a Commit of the second one."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2", "n3")
    story.start("n2")
    commit = story.ref(story.learn("n2", "n1"))
    story.start("n2")
    story.hear("n3", "n2")
    story._commit("n3", 1, leader_commit=commit)
    assert story.judge(tmp_path / "whole").verdict is Verdict.HOLDS
    del story.files["n2", "2-00000002"]
    result = story.judge(tmp_path / "cut")
    assert result.verdict is Verdict.INCOMPLETE, result.violation
    assert result.missing[0].startswith("the file of n2 2-00000002: event 4 of n3"), result.missing


def test_traces_that_do_not_begin_at_the_beginning(tmp_path: Path) -> None:
    story = told()
    story.start("n3")
    del story.files["n3", "1-00000001"]
    result = story.judge(tmp_path)
    assert result.verdict is Verdict.INCOMPLETE
    assert any("earlier traces of n3" in m for m in result.missing)


def test_gap_is_refused_unless_asked_for(tmp_path: Path) -> None:
    story = told()
    del story.files["n1", "1-00000001"][5]
    story.save(tmp_path)
    assert "with --allow-gaps" in refusal(tmp_path)
    result = replay(tmp_path, allow_gaps=True)
    assert result.verdict is Verdict.INCOMPLETE
    assert any(f"{N1}:6: seq 7 where 6 was due" in m for m in result.missing), result.missing
    assert result.counts.leaders == 1


def test_vote_whose_candidacy_may_still_be_missing(tmp_path: Path) -> None:
    """n3's file may just have been copied too early."""
    story = Story("n1", "n2", "n3")
    story.person("n2").term, story.person("n2").vote = 1, "n3"
    story.start("n2")
    result = story.judge(tmp_path)
    assert result.verdict is Verdict.INCOMPLETE
    assert "the Campaign of n3 in term 1" in result.missing[0]


def test_entries_whose_append_may_still_be_missing(tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    person = story.person("n3")
    person.term, person.log, person.durable = 1, [1, 1], 2
    story.start("n3")
    result = story.judge(tmp_path)
    assert result.verdict is Verdict.INCOMPLETE
    assert "the Append of entry 2 of term 1" in result.missing[0]


def test_more_voters_than_any_graph_has(tmp_path: Path) -> None:
    names = [f"n{i}" for i in range(1, 10)]
    story = Story(*names)
    story.lead("n1", *names[1:5])
    result = story.judge(tmp_path)
    assert result.verdict is Verdict.INCOMPLETE
    assert result.missing == ("a Ballot graph for 9 voters: votes were judged by evidence alone",)
    assert result.counts.epochs == 1


# --- reading back ---------------------------------------------------------------------------------------------------


def test_evidence_is_found_however_long_ago(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With chunks of a few lines and room for two of them, every citation goes back to the files."""
    monkeypatch.setattr(trace_check.parts, "CHUNK", 700)
    monkeypatch.setattr(trace_check.read.Window, "room_for", lambda window, sources: None)
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2", "n3")
    old = story.person("n3").refs["Store"]
    for _ in range(60):
        story.append("n1")
        story.store("n1")
        story.store("n2", "n1")
        story.commit("n1", "n1", "n2")["stores"].append(old)
    story.store("n3", "n1")
    story.learn("n3", "n1")
    assert story.judge(tmp_path).verdict is Verdict.HOLDS


def test_old_digest_is_held_against_the_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trace_check.nodes.Digests.__init__", _short_memory)
    for wrong in (False, True):
        story = Story("n1", "n2", "n3")
        story.lead("n1", "n2")
        for _ in range(40):
            story.replicate("n1", "n2")
        for last in range(1, 41, 3):
            store = story.store("n3", "n1", last=last)
            if wrong and last == 22:
                store["digest"] = "0123456789abcdef"
        result = story.judge(tmp_path)
        assert (result.violation.rule if result.violation else None) == ("SameDigest" if wrong else None)


def _short_memory(digests: Any, tree: Any) -> None:
    digests._tree, digests._size, digests._pruned = tree, 4, False
    digests.known = {(0, 0): "0" * 16}


# --- graphs ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A copy of the specification and its graphs, to be spoilt."""
    copy = tmp_path / "spec"
    shutil.copytree(DEFAULT_GRAPHS, copy / "graphs")
    shutil.copytree(DEFAULT_GRAPHS.parent / "models", copy / "models")
    for module in ("Ballot.tla", "Fencing.tla", "Frontend.tla"):
        shutil.copy(DEFAULT_GRAPHS.parent / module, copy / module)
    return copy


def test_copy_of_the_graphs_serves(spec: Path, tmp_path: Path) -> None:
    traces = told().save(tmp_path / "traces")
    assert replay(traces, graphs=spec / "graphs").verdict is Verdict.HOLDS


@pytest.mark.parametrize("file", ["Fencing.tla", "models/Ballot3.cfg", "graphs/Frontend.dot"])
def test_graph_that_does_not_match_its_specification(file: str, spec: Path, tmp_path: Path) -> None:
    traces = told().save(tmp_path / "traces")
    with (spec / file).open("a") as changed:
        changed.write("\n")
    said = refusal(traces, graphs=spec / "graphs")
    assert file.split("/")[-1] in said
    assert "do not match" in said


def test_graphs_that_are_not_there(spec: Path, tmp_path: Path) -> None:
    traces = told().save(tmp_path / "traces")
    assert "manifest.json: cannot be read" in refusal(traces, graphs=tmp_path)
    (spec / "graphs" / "Fencing.dot").unlink()
    assert "Fencing.dot: cannot be read" in refusal(traces, graphs=spec / "graphs")
    manifest = spec / "graphs" / "manifest.json"
    for broken in ("{}", "[]", "no", '{"graphs": 7}', '{"graphs": {"Ballot3": {}}}', '{"graphs": {"Ballot3": 1}}'):
        manifest.write_text(broken)
        assert "make graphs" in refusal(traces, graphs=spec / "graphs")


def _replace(spec: Path, name: str, change: Callable[[str], str]) -> None:
    """Change a graph and its hash and size with it: a graph of another specification."""
    manifest = spec / "graphs" / "manifest.json"
    entries = json.loads(manifest.read_text())
    entry = entries["graphs"][name]
    path = spec / "graphs" / entry["file"]
    text = change(path.read_text())
    path.write_text(text)
    entry["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    entry["edges"] = sum(" -> " in line for line in text.splitlines())
    manifest.write_text(json.dumps(entries))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("style = filled", ""), "0 initial states"),
        (lambda text: text + "what is this\n", "not a line of a TLC dump"),
        (lambda text: text.replace('Write(\\"hi\\")', "Lose(\\\"hi\\\")"), "leads from one state to two"),
        (lambda text: "\n".join(x for x in text.split("\n") if "Lose(\\\"hi" not in x), "as one of lo and hi only"),
        (lambda text: "", "0 initial states"),
    ],
)
def test_graph_of_another_fencing(change: Callable[[str], str], message: str, spec: Path, tmp_path: Path) -> None:
    traces = told().save(tmp_path / "traces")
    _replace(spec, "Fencing", change)
    assert message in refusal(traces, graphs=spec / "graphs")


BOTH_LEAD = 'belief = [lo |-> \\"leading\\", hi |-> \\"leading\\"]'


def _without_late_activation(text: str) -> str:
    """The earlier leader may not activate once the later one's record is committed: then order matters."""
    fenced = _states_with(text, "committed = [lo |-> TRUE, hi |-> TRUE]")
    return "\n".join(x for x in text.split("\n") if not ('Activate(\\"lo' in x and x.split(" ")[0] in fenced))


def _without_lonely_loss(text: str) -> str:
    """A leader may lose only if there is another one."""
    lonely = _states_with(text, '\\"none\\"')
    return "\n".join(x for x in text.split("\n") if not ("Lose(" in x and x.split(" ")[0] in lonely))


def _with_a_write_that_does_nothing(text: str) -> str:
    """Where both lead, a write of the later leader flips no bit: then the state depends on the order of steps."""
    both = _states_with(text, BOTH_LEAD)
    lines = text.split("\n")
    for at, line in enumerate(lines):
        origin, arrow, rest = line.partition(" -> ")
        if arrow and origin in both and "Write(" in rest:
            lines[at] = f"{origin} -> {origin} {rest[rest.index('['):]}"
    return "\n".join(lines)


def _states_with(text: str, words: str) -> set[str]:
    return {x.split(" ")[0] for x in text.split("\n") if words in x and " -> " not in x}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_late_activation, "do not commute"),
        (_without_lonely_loss, "not for that leader alone"),
        (_with_a_write_that_does_nothing, "depends on the order of earlier steps"),
    ],
)
def test_fencing_where_order_would_decide(
    change: Callable[[str], str], message: str, spec: Path, tmp_path: Path
) -> None:
    traces = told().save(tmp_path / "traces")
    _replace(spec, "Fencing", change)
    assert message in refusal(traces, graphs=spec / "graphs")


def test_record_of_an_earlier_leader_above_a_later_ones() -> None:
    """The log tree leaves no room for this in a trace, so the view is asked directly."""
    fencing = Fencing(Graphs(DEFAULT_GRAPHS))
    nothing: Any = None
    one, two, three = (Leader(t, "n", nothing, 1, 0, 0, 1, 0, []) for t in (1, 2, 3))
    for leader in (two, one, three):
        fencing.step(leader, "Claim")
    fencing.step(two, "CommitEpoch")
    fencing.step(three, "CommitEpoch")
    with pytest.raises(Refused) as caught:
        fencing.step(one, "CommitEpoch")
    assert caught.value.step is not None
    assert caught.value.step.instance in ("lo = term 1, hi = term 2", "lo = term 1, hi = term 3")
    assert fencing.coverage().instances == 3


def test_all_committed_graphs_load() -> None:
    graphs = Graphs(DEFAULT_GRAPHS)
    for name in graphs.names:
        graph = graphs.load(name)
        assert all(graph.path_to(state) is not None for state in range(min(50, len(graph.states))))


def test_ballot_steps_of_different_nodes_commute() -> None:
    """The merge may judge the votes of different nodes in any order, so the graph must not care."""
    table = Graphs(DEFAULT_GRAPHS).load("Ballot4").table
    actor = {label: label.partition("(")[2].rstrip(")").split(",")[0] for moves in table for label in moves}
    for moves in table:
        for a, after_a in moves.items():
            for b, after_b in moves.items():
                # A Win is ordered after the Grants it counts, and by nothing else.
                if actor[a] != actor[b]:
                    assert table[after_a].get(b) == table[after_b].get(a) is not None, (a, b)


def test_broken_archive(spec: Path, tmp_path: Path) -> None:
    story = Story(*(f"n{i}" for i in range(1, 6)))
    path = spec / "graphs" / "Ballot5.dot.gz"
    data = path.read_bytes()[:-20]
    path.write_bytes(data)
    manifest = spec / "graphs" / "manifest.json"
    entries = json.loads(manifest.read_text())
    entries["graphs"]["Ballot5"]["sha256"] = hashlib.sha256(data).hexdigest()
    manifest.write_text(json.dumps(entries))
    with pytest.raises(EOFError):
        gzip.decompress(data)
    assert "cannot be unpacked" in refusal(story.save(tmp_path / "traces"), graphs=spec / "graphs")


# --- command line ---------------------------------------------------------------------------------------------------


def test_exit_codes_and_first_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, partial = tmp_path / "good", tmp_path / "bad", tmp_path / "partial"
    told().save(good)
    story = told()
    story.append("n1")
    story.ack("n1", 4, 4)
    story.save(bad)
    (told().save(partial) / N1).unlink()
    assert main(["replay", str(good)]) == 0
    assert capsys.readouterr().out.startswith("HOLDS: ")
    assert main(["replay", str(bad)]) == 1
    assert capsys.readouterr().out.startswith("VIOLATION of AckCommitted at ")
    assert main(["replay", str(partial)]) == 3
    assert capsys.readouterr().out.startswith("INCOMPLETE: ")
    assert main(["replay", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("trace-check: ")
    assert main(["replay", "--json", str(bad)]) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["verdict"], data["exit_code"], data["violation"]["rule"]) == ("violation", 1, "AckCommitted")


def test_refused_step_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = Story("beijing", "oslo", "quito")
    story.lead("oslo", "quito")
    story.lose("oslo")
    story.transfer("oslo", "FOLLOWER")
    story.save(tmp_path)
    assert main(["replay", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "View Frontend, instance node oslo: no edge Transfer(FOLLOWER) from here." in out
    assert 'type = "LEADER"' in out
    assert "Legal: Crash, Exit" in out
    assert "How this state comes about: Start, Win, CommitEpoch, Activate, Lose" in out


def test_names_of_a_ballot_are_translated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = Story("beijing", "oslo", "quito")
    story.elect("oslo", "quito")
    story.lose("oslo")
    story.win("oslo", "quito")
    story.save(tmp_path)
    assert main(["replay", str(tmp_path)]) == 1
    assert "Where n1 is beijing, n2 is oslo, n3 is quito." in capsys.readouterr().out


def test_as_a_command(tmp_path: Path) -> None:
    story = told()
    story.files["n1", "1-00000001"][0]["disk"] = "\ud800"
    story.files["n1", "1-00000001"].append(dict(story.files["n1", "1-00000001"][-1], event="\udfff"))
    story.save(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(DEFAULT_GRAPHS.parent.parent), "LC_ALL": "C"}
    run = subprocess.run(
        [sys.executable, "-m", "trace_check", "replay", str(tmp_path)], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 2, run
    assert "Traceback" not in run.stderr
    assert "unknown event" in run.stderr


# --- fuzz -----------------------------------------------------------------------------------------------------------


FIRST_WORDS = {0: "HOLDS", 1: "VIOLATION", 3: "INCOMPLETE"}


def _said(directory: Path, *options: str) -> None:
    """The command says one of the things it may say; any exception is a failure of the test."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(["replay", str(directory), *options])
    text, complaint = (stream.buffer.getvalue().decode() for stream in (out, err))
    if text.startswith(("cluster ", "[")):  # a changed name has made two clusters of one
        assert status in {1, 2, 3}
        assert all(line.startswith("trace-check: cluster ") for line in complaint.splitlines())
    elif status == 2:
        assert (text, complaint.count("\n")) == ("", 1)
        assert complaint.startswith("trace-check: ")
    elif "--json" in options:
        assert json.loads(text)["exit_code"] == status
        assert json.loads(text)["verdict"] == FIRST_WORDS[status].lower()
    else:
        assert text.split(maxsplit=1)[0].rstrip(":") == FIRST_WORDS[status]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where there is something inside a JSON value that can be changed."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield (*path, key)
        yield from _paths(item, (*path, key))


OPTIONS = st.lists(st.sampled_from(["--json", "--allow-gaps"]), unique=True)
NUMBERS = st.sampled_from([2**31, 2**48, 2**63 - 1, 2**63, 2**200, -(2**80), 10**4000]) | st.integers(-3, 9)
REFERENCES = st.tuples(
    st.sampled_from(["n1", "n2", "o1", "client-1"]),
    st.sampled_from(["1-00000001", "2-00000002"]),
    st.sampled_from([1, 2, 3, 2**48, 2**60]),
).map(list)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | NUMBERS
    | st.floats()
    | REFERENCES
    | st.sampled_from(["n1", "n2", "1-00000001", *EVENTS, "", "\ud800", "FOLLOWER", "0" * 16]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["v", "seq", "node"]), inner),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), values=st.lists(VALUES, min_size=1, max_size=3), options=OPTIONS)
def test_changed_values_never_end_in_a_traceback(
    seed: int, values: list[Any], options: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any part of any line becomes another, often of the same type, so that the judge sees it and not the reader."""
    rng = random.Random(seed)
    story = Wanderer(rng, rng.randint(1, 4), observers=1).wander(60)
    for value in values:
        line = rng.choice(story.files[rng.choice(sorted(story.files))])
        paths = [p for p in _paths(line) if rng.random() < 0.1 or p[0] not in ("v", "cluster", "node", "seq")]
        within, path = line, rng.choice(paths)
        for key in path[:-1]:
            within = within[key]
        kept = within[path[-1]]
        if isinstance(kept, int) and rng.random() < 0.5:
            value = kept + rng.choice((-1, 1, 2**20, 2**62))
        within[path[-1]] = value
    with tempfile.TemporaryDirectory(dir=tmp_path_factory.getbasetemp()) as directory:
        _said(story.save(Path(directory)), *options)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), options=OPTIONS)
def test_changed_bytes_never_end_in_a_traceback(tmp_path: Path, seed: int, options: list[str]) -> None:
    rng = random.Random(seed)
    directory = told().save(tmp_path)
    path = rng.choice(sorted(directory.glob("*.ndjson")))
    data = bytearray(path.read_bytes())
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(data))
        match rng.randrange(3):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                del data[at : at + rng.randrange(1, 300)]
            case _:
                data[at:at] = bytes(data[rng.randrange(len(data)) :][: rng.randrange(1, 300)])
        data = data or bytearray(b"\n")
    path.write_bytes(bytes(data))
    _said(directory, *options)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), options=OPTIONS)
def test_lost_and_repeated_lines_never_end_in_a_traceback(
    seed: int, options: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Files lose lines, their ends, or all, get some twice, or in another order; numbered anew or not."""
    rng = random.Random(seed)
    story = Wanderer(rng, rng.randint(1, 4), observers=1).wander(60)
    for _ in range(rng.randint(1, 3)):
        lines = story.files[rng.choice(sorted(key for key in story.files if story.files[key]))]
        a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
        match rng.randrange(5):
            case 0:
                lines.insert(a, dict(lines[b]))
            case 1:
                lines[a], lines[b] = lines[b], lines[a]
            case 2:
                del lines[a:]
            case 3:
                lines.clear()
            case _:
                del lines[a]
    if rng.random() < 0.7:
        for lines in story.files.values():
            for seq, line in enumerate(lines, 1):
                line["seq"] = seq
    with tempfile.TemporaryDirectory(dir=tmp_path_factory.getbasetemp()) as directory:
        _said(story.save(Path(directory)), *options)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_lines_left_out_or_swapped_have_one_verdict(tmp_path: Path, seed: int) -> None:
    """Renumbered after the damage, so that the judge and not the reader sees it; whatever the merge's order."""
    rng = random.Random(seed)
    story = told()
    lines = story.files[rng.choice(sorted(k for k in story.files if k[0] != "c1"))]
    if rng.random() < 0.5:
        del lines[rng.randrange(1, len(lines))]
    else:
        a, b = rng.randrange(1, len(lines)), rng.randrange(1, len(lines))
        lines[a], lines[b] = lines[b], lines[a]
    for seq, line in enumerate(lines, 1):
        line["seq"] = seq
    story.save(tmp_path)
    verdicts = {replay(tmp_path).verdict}
    verdicts |= {replay(tmp_path, pick=random.Random(i).randrange).verdict for i in range(3)}
    assert len(verdicts) == 1, (seed, verdicts)
