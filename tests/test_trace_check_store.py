"""The store keeps what was judged, whoever writes at the same time, and says in one line why when it cannot."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from handmade import Story
from test_trace_check_accepts import two_incarnations_of_a_leader

from trace_check import BadInput, Verdict, assert_holds, replay
from trace_check.cli import main
from trace_check.runs import compared, listed
from trace_check.store import SCHEMA, Store

TRACES = Path(__file__).resolve().parent.parent / "spec" / "traces"
GOOD, OTHER, BROKEN = TRACES / "good" / "01", TRACES / "good" / "02", TRACES / "broken" / "HACoordinationUnfenced"


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def rows(db: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(db)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on stderr of a command that ends with exit status 2."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1, said
    assert said[0].startswith("trace-check: ")
    return said[0]


def test_a_run_is_kept_as_the_result_has_it(db: Path) -> None:
    result = replay(GOOD)
    with Store(db, write=True) as store:
        assert store.add(result) == 1
    counts = result.counts
    found = rows(db, "SELECT directory, cluster, verdict, events, terms, entries_committed, writes_lost FROM runs")
    assert found == [
        (str(GOOD), result.cluster, "holds", counts.events, counts.terms, counts.entries_committed, counts.writes_lost)
    ]
    for view in result.coverage:
        taken = rows(
            db, f"SELECT state, action FROM taken JOIN edges ON edge = id WHERE run = 1 AND graph = '{view.graph}'"
        )
        assert set(taken) == {(edge.state, edge.action) for edge in view.walked}
        assert len(taken) == view.taken
        assert rows(db, f"SELECT sha256, edges, taken FROM coverage WHERE view = '{view.view}'") == [
            (view.sha256, view.edges, view.taken)
        ]


def test_a_violation_is_kept_with_rule_and_place_and_state(db: Path) -> None:
    assert main(["replay", str(BROKEN), "--db", str(db)]) == 1
    violation = replay(BROKEN).violation
    assert violation is not None
    assert violation.where is not None
    assert violation.step is not None
    assert rows(db, "SELECT run, rule, expected, actual, file, line, event, view, action, state FROM violations") == [
        (1, violation.rule, violation.expected, violation.actual, violation.where.file, violation.where.line,
         violation.where.event, violation.step.view, violation.step.action, violation.step.state)
    ]  # fmt: skip


def test_what_is_missing_and_how_long_failovers_took_is_kept(db: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(GOOD, copy)
    next(copy.glob("n1.*")).unlink()
    result = replay(copy)
    assert result.verdict is Verdict.INCOMPLETE
    with Store(db, write=True) as store:
        store.add(result)
    assert rows(db, "SELECT what FROM missing") == [(what,) for what in result.missing]
    failovers = two_incarnations_of_a_leader().judge(tmp_path / "story").failovers
    assert failovers
    with Store(db, write=True) as store:
        store.add(replay(tmp_path / "story"))
    assert rows(db, "SELECT run, from_term, to_term, seconds FROM failovers") == [
        (2, f.from_term, f.to_term, f.seconds) for f in failovers
    ]


def test_two_processes_write_at_once_and_nothing_is_lost(db: Path) -> None:
    loop = (
        "import sys\nfrom pathlib import Path\nfrom trace_check import replay\nfrom trace_check.store import Store\n"
        "result = replay(sys.argv[1])\n"
        "for _ in range(20):\n    with Store(Path(sys.argv[2]), write=True) as store:\n        store.add(result)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", loop, str(d), str(db)]) for d in (GOOD, OTHER)]
    assert [writer.wait() for writer in writers] == [0, 0]
    expected = {str(d): sum(view.taken for view in replay(d).coverage) for d in (GOOD, OTHER)}
    found = rows(db, "SELECT directory, count(*) FROM runs JOIN taken ON run = id GROUP BY runs.id")
    assert sorted(found) == sorted([*[item for item in expected.items() for _ in range(20)]])


def test_a_run_is_kept_whole_or_not_at_all(db: Path) -> None:
    with Store(db, write=True) as store:
        store.add(replay(GOOD))
        pages = rows(db, "PRAGMA page_count")[0][0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        results = [replay(OTHER)] * 100
        with pytest.raises(BadInput, match="disk is full: free space and judge again"):
            list(map(store.add, results))
        kept = len(store.runs())
    assert rows(db, "SELECT count(DISTINCT run) FROM taken") == [(kept,)]
    assert rows(db, "SELECT count(DISTINCT run) FROM coverage") == [(kept,)]


def test_judging_again_is_another_run_and_they_say_how_they_relate(
    db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(GOOD, copy)
    keep = ["replay", str(copy), "--db", str(db)]
    assert main(keep) == main(keep) == 0
    assert "Kept as run 2" in capsys.readouterr().err
    assert main(["runs", "1", "2", "--db", str(db)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("The same traces of cluster 01, judged twice.")
    assert "verdict" not in said
    assert "only" not in said
    last = max(copy.glob("n*.ndjson"), key=lambda path: path.stat().st_size)
    lines = last.read_bytes().splitlines(keepends=True)
    last.write_bytes(b"".join(lines[:2]))
    assert main(keep) == 3
    capsys.readouterr()
    assert main(["runs", "1", "3", "--db", str(db)]) == 0
    said = capsys.readouterr().out
    assert "has changed" in said
    assert "Taken in run 1 only, of Frontend:" in said
    [verdict] = [line.split() for line in said.splitlines() if line.startswith("verdict")]
    assert verdict == ["verdict", "holds", "incomplete"]


def test_runs_are_listed_for_people_and_programs(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for directory in (GOOD, BROKEN):
        main(["replay", str(directory), "--db", str(db)])
    capsys.readouterr()
    assert main(["runs", "--db", str(db)]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["run", "when", "verdict"]
    assert "holds" in first
    assert first.endswith(str(GOOD))
    assert "violation of Frontend" in second
    assert main(["runs", "--db", str(db), "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)
    assert [(run["id"], run["verdict"], run["rule"]) for run in runs] == [
        (1, "holds", None),
        (2, "violation", "Frontend"),
    ]
    assert runs[0]["coverage"][0]["graph"] == "Ballot3"
    assert "give no numbers with it" in complaint(capsys, "runs", "--db", db, "--json", "1", "2")


def test_a_file_that_is_no_store_is_refused_before_anything_is_judged(
    db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db.write_text("not a database, but long enough to be taken for one by whoever reads its head only" * 20)
    assert "not a database" in complaint(capsys, "replay", GOOD, "--db", db)
    assert "not a database" in complaint(capsys, "runs", "--db", db)
    assert capsys.readouterr().out == ""
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE runs (pace)")
    connection.close()
    assert "a database, but not a store of runs" in complaint(capsys, "replay", GOOD, "--db", other)
    assert rows(other, "SELECT count(*) FROM sqlite_master") == [(1,)]
    assert "cannot be used" in complaint(capsys, "replay", GOOD, "--db", tmp_path / "nowhere" / "runs.db")
    assert "cannot be used" in complaint(capsys, "replay", GOOD, "--db", tmp_path)
    assert "no such store" in complaint(capsys, "runs", "--db", tmp_path / "none.db")
    assert "no such store" in complaint(capsys, "coverage", "--db", tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_a_store_that_may_only_be_read_is_refused_before_anything_is_judged(
    db: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["replay", str(GOOD), "--db", str(db)])
    for locked in (db, db.parent):
        with monkeypatch.context() as patch:  # not by its mode, which does not stop root
            patch.setattr(os, "access", lambda path, _, locked=locked: path != locked)
            assert "may be read-only" in complaint(capsys, "replay", GOOD, "--db", db)
            assert main(["runs", "--db", str(db)]) == 0


def test_a_store_of_a_newer_version_is_left_alone(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["replay", str(GOOD), "--db", str(db)])
    connection = sqlite3.connect(db)
    connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    connection.close()
    for command in (("replay", GOOD), ("runs",), ("coverage",)):
        assert "written by a newer trace-check" in complaint(capsys, *command, "--db", db)
    assert rows(db, "SELECT count(*) FROM runs") == [(1,)]


def test_runs_that_do_not_exist_cannot_be_compared(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["replay", str(GOOD), "--db", str(db)])
    assert "no run 7; it has 1 to 1" in complaint(capsys, "runs", 1, 7, "--db", db)
    assert "give two runs to compare" in complaint(capsys, "runs", 1, "--db", db)


def test_any_name_and_any_number_can_be_kept(db: Path, tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2", term=2**62)
    for lines in story.files.values():
        for event in lines:
            event["cluster"] = "\ud800"
    with Store(db, write=True) as store:
        store.add(story.judge(tmp_path / "story"))
        assert "\\ud800" in compared(store, 1, store.add(replay(GOOD)))
        assert f"{2**62:,}" in listed(store.runs())
    assert rows(db, "SELECT cluster, terms FROM runs WHERE id = 1") == [("\\ud800", 2**62)]


def test_assert_holds_says_in_the_report_why_not() -> None:
    assert assert_holds(GOOD).counts.nodes == 3
    with pytest.raises(AssertionError, match=r"^VIOLATION of Frontend at .*:5 \(Activate"):
        assert_holds(BROKEN)


def test_the_tables_and_queries_of_the_book_are_those_of_the_store(db: Path) -> None:
    with Store(db, write=True) as store:
        store.add(replay(BROKEN))
    book = (TRACES.parent.parent / "docs" / "store.md").read_text()
    described = {row[1]: row[0] for row in re.findall(r"^(\| `(\w+)` \|.*)$", book, re.MULTILINE)}
    tables = [str(name) for (name,) in rows(db, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert sorted(described) == sorted(tables)
    for name in tables:
        for column in rows(db, f"PRAGMA table_info({name})"):
            assert f"`{column[1]}`" in described[name], (name, column)
    queries = re.findall(r'sqlite-utils runs\.db "([^"]+)"', book)
    assert len(queries) == 2
    for query in queries:
        rows(db, query)
    assert f"is the version of these tables, {SCHEMA}." in book


def test_what_cannot_be_judged_leaves_no_run(db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no *.ndjson files" in complaint(capsys, "replay", tmp_path, "--db", db)
    assert main(["runs", "--db", str(db)]) == main(["coverage", "--db", str(db)]) == 0
    assert capsys.readouterr().out.splitlines() == ["no runs yet", "no graph has been walked yet"]
