"""`trace-check tlc`: TLC on the protocol itself says of traces what `replay` says, at the same line."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import differential
import pytest
import test_trace_check_accepts as right
import test_trace_check_images as images
import test_trace_check_membership as membership
import test_trace_check_refuses as wrong
from handmade import Event, Story

from trace_check import Result, Verdict, replay
from trace_check.audit import audit, tlc
from trace_check.audit.piece import Piece
from trace_check.audit.state import Log, Member, Run, State, Step, Term
from trace_check.cli import main

TRACES = Path(__file__).resolve().parent.parent / "spec" / "traces"


def reason_to_skip() -> str:
    if not shutil.which("java"):
        return "TLC needs Java, and there is none"
    jar = Path(os.environ.get("TLA2TOOLS_JAR") or tlc.CACHED_JAR).expanduser()
    return "" if jar.is_file() else "no tla2tools.jar: set TLA2TOOLS_JAR, or run `make check` once"


with_tlc = pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())


def both(directory: Path) -> tuple[Result, Result]:
    """What each engine says; they must say the same of the same event."""
    replayed, audited = replay(directory), audit(directory)
    assert audited.verdict is replayed.verdict, (replayed.violation, audited.violation)
    if replayed.violation and audited.violation:
        assert audited.violation.where == replayed.violation.where
    return replayed, audited


@with_tlc
@pytest.mark.parametrize("name", ["06", "16", "24"])
def test_a_behaviour_of_the_protocol_is_one_to_both(name: str) -> None:
    assert both(TRACES / "good" / name)[1].verdict is Verdict.HOLDS


@with_tlc
@pytest.mark.parametrize(
    ("name", "condition"),
    [
        ("AnyLog", "UpToDate"),
        ("CountedOld", "MayCommit"),
        ("OldClaim", "MayActivate"),
        ("Shortened", "Continues"),
        ("StaleStore", "MayStore"),
        ("TwoVotes", "MayVote"),
    ],
)
def test_a_wrong_protocol_is_refused_by_both_and_the_condition_is_named(name: str, condition: str) -> None:
    violation = both(TRACES / "broken" / f"HACoordination{name}")[1].violation
    assert violation
    assert condition in violation.expected


@with_tlc
@pytest.mark.parametrize("seed", [0, 1])
def test_a_simulated_run_with_faults_holds_for_both_piece_by_piece(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trace_check.audit.PIECE", 40)
    differential.simulate(tmp_path, seed, 80)
    assert both(tmp_path)[1].verdict is Verdict.HOLDS


def lost_vote_in_a_later_piece(story: Story) -> Event:
    """What n3 has voted is known from two pieces before."""
    story.campaign("n1")
    story.campaign("n2")
    story.grant("n3", "n1")
    for _ in range(6):
        story.transfer("n3", "FOLLOWER")
        story.transfer("n3", "UNKNOWN")
    return story.grant("n3", "n2")


def older_store_is_cited(story: Story) -> Event:
    """That n2 has stored as much is true, but not what the leader has heard."""
    story.lead("n1", "n2")
    first = story.person("n2").refs["Store"]
    story.append("n1")
    story.store("n1")
    story.store("n2", "n1")
    event = story.commit("n1", "n1", "n2")
    event["stores"][1] = first
    return event


@with_tlc
@pytest.mark.parametrize(
    "case",
    [
        older_store_is_cited,
        lost_vote_in_a_later_piece,
        wrong.entry_forgotten,
        wrong.voter_understates_its_log,
        wrong.stores_that_do_not_reach,
        wrong.ack_above_the_successors_record,
    ],
)
def test_a_wrong_run_is_refused_by_both_in_whatever_piece_it_is(
    case: Callable[[Story], Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trace_check.audit.PIECE", 8)
    story = Story("n1", "n2", "n3")
    event = case(story)
    violation = both(story.save(tmp_path))[1].violation
    assert violation
    assert violation.rule == "HACoordination"
    assert violation.where
    assert [violation.where.node, violation.where.inc, violation.where.seq] == story.ref(event)


@with_tlc
@pytest.mark.parametrize("tell", [right.silent_vote, right.deposed_with_its_tail])
def test_what_came_to_a_disk_and_into_no_trace_is_as_right_to_both(
    tell: Callable[[], Story], tmp_path: Path
) -> None:
    assert both(tell().save(tmp_path))[1].verdict is Verdict.HOLDS


@with_tlc
def test_an_older_entry_below_a_later_one_that_a_quorum_has_is_committed_to_the_protocol_alone(tmp_path: Path) -> None:
    """The format wants a leader's Commit to end on an entry of its own term, MayCommit one that is acknowledged."""
    story = Story("n1", "n2", "n3")
    wrong.commit_of_an_older_term_by_counting(story)
    replayed, audited = replay(story.save(tmp_path)), audit(tmp_path)
    assert replayed.violation
    assert replayed.violation.rule == "CommitOwnTerm"
    assert audited.verdict is Verdict.HOLDS


def installed(story: Story) -> None:
    images.conflict(story)
    story.image("n1")
    story.install("n3", "n1")
    story.exit("n3")
    story.start("n3")
    story.replicate("n1", "n3")


def founded(story: Story) -> None:
    story.__dict__ = images.founded().__dict__
    story.lead("n1", "n2", term=5)
    story.replicate("n1", "n2")
    story.image("n1")
    story.install("n3", "n1")
    story.start("n3")


@with_tlc
@pytest.mark.parametrize("tale", [installed, founded, images.who_was_deposed_installs_what_it_had_not_stored])
def test_images_are_logs_that_have_been_read_to_tlc(tale: Callable[[Story], None], tmp_path: Path) -> None:
    story = images.begin()
    tale(story)
    assert both(story.save(tmp_path))[1].verdict is Verdict.HOLDS


@with_tlc
@pytest.mark.parametrize("name", ["image_of_what_is_not_committed", "who_was_deposed_installs_and_gives_up_more"])
def test_what_an_image_shows_is_committed_and_stays(name: str, tmp_path: Path) -> None:
    story = images.begin()
    getattr(images, name)(story)
    assert both(story.save(tmp_path))[1].verdict is Verdict.VIOLATION


@with_tlc
@pytest.mark.parametrize(
    "name",
    [
        "a_learner_is_promoted_and_its_vote_decides",
        "candidates_of_one_term_count_in_different_configurations",
        "an_uncommitted_configuration_is_replaced_by_a_later_leader",
        "a_learner_is_counted_for_an_election",
        "a_new_voter_is_not_waited_for",
        "a_change_before_the_last_one_is_committed",
        "a_candidate_counts_in_the_old_configuration",
    ],
)
def test_who_counts_in_a_group_that_changes_is_the_same_to_both(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trace_check.audit.PIECE", 12)
    story = membership.begin()
    event = getattr(membership, name)(story)
    assert both(story.save(tmp_path))[1].verdict is (Verdict.VIOLATION if event else Verdict.HOLDS)


@with_tlc
def test_the_command_says_the_same_words_with_the_same_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = str(TRACES / "broken" / "HACoordinationHalf")
    assert main(["tlc", broken]) == main(["replay", broken]) == 1
    assert [line.partition(" at ")[0] for line in capsys.readouterr().out.splitlines() if " at " in line] == [
        "VIOLATION of HACoordination",
        "VIOLATION of ElectionQuorum",
    ]
    story = Story("n1", "n2", "n3")
    del story.files["n3", "1-00000001"]
    assert main(["tlc", str(story.save(tmp_path))]) == main(["replay", str(tmp_path)]) == 3
    assert [line for line in capsys.readouterr().out.splitlines() if "no trace of n3" in line] == [
        "INCOMPLETE: no violation in 2 events, but missing: no trace of n3, a voter"
    ] * 2


def test_the_differential_run_fails_when_an_engine_accepts_what_the_other_refuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tlc, "find", lambda: None)
    arguments = ["--traces", "12", "--events", "40", "--seed", "1"]
    monkeypatch.setattr(differential, "audit", replay)
    assert differential.main(arguments) == 0
    good = replay(TRACES / "good" / "06")
    monkeypatch.setattr(differential, "audit", lambda directory: good)
    assert differential.main(arguments) == 1
    said = capsys.readouterr().out
    assert "0 disagreements" in said
    assert "\n# " in said


def test_without_java_or_jar_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    good = str(TRACES / "good" / "01")
    monkeypatch.setenv("TLA2TOOLS_JAR", str(tmp_path / "none.jar"))
    assert main(["tlc", good]) == 2
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["tlc", good]) == 2
    assert "needs Java" in capsys.readouterr().err.splitlines()[-1]


def test_a_command_that_is_ended_stops_tlc_and_leaves_no_files(tmp_path: Path) -> None:
    """A supervisor sends SIGTERM. In place of TLC there is one that never ends; it says who it is."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "scratch").mkdir()
    java, pid = tmp_path / "bin" / "java", tmp_path / "pid"
    os.mkfifo(pid)
    java.write_text(f"#!/bin/sh\necho $$ > {pid}\nexec sleep 60\n")
    java.chmod(0o755)
    environment = {"PATH": f"{java.parent}:/bin:/usr/bin", "TLA2TOOLS_JAR": str(java)}
    environment["TMPDIR"] = str(tmp_path / "scratch")
    command = [sys.executable, "-m", "trace_check", "tlc", str(TRACES / "good" / "01")]
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment | path, stderr=subprocess.PIPE, text=True) as process:
        running = int(pid.read_text())
        process.terminate()
        assert "interrupted" in process.communicate()[1]
    assert process.returncode == 2
    assert list((tmp_path / "scratch").iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(running, 0)


def test_a_value_is_read_as_tlc_prints_it() -> None:
    printed = '<< "reached",\n  [ a |-> <<1, -2>>,\n    b |-> {"x", "y"},\n'
    printed += "    c |-> [n1 |-> None, n2 |-> <<>>],\n    d |-> TRUE ] >>\n"
    found = tlc._read(printed + "@!@!@STARTMSG 2194:0 @!@!@\nThe depth of it is 7.\n@!@!@ENDMSG 2194 @!@!@\n")
    assert found.depth == 7
    assert found.printed["reached"][0] == {
        "a": (1, -2), "b": frozenset({"x", "y"}), "c": {"n1": None, "n2": ()}, "d": True,
    }


def store(node: str, term: int, last: int) -> Step:
    return Step("Store", node, term, None, 1, last=last, last_term=term)  # type: ignore[arg-type]


def test_what_a_piece_cannot_ask_about_is_not_in_its_state() -> None:
    """A thousand entries and three terms behind everything that is named are one entry and one term."""
    log = (Run(2, 1, "n1", 300), Run(5, 2, "n2", 700), Run(7, 3, "n1", 1_000))
    members = {name: Member(7, log, "FOLLOWER", "follower", 7) for name in ("n1", "n2")}
    terms = {t: Term(log[: at + 1], log[at].last, True, frozenset({log[at].owner})) for at, t in enumerate((2, 5, 7))}
    piece = Piece(State(members, terms), [store("n2", 7, 1_000)])
    assert (piece.term(7), piece.index(1_000), piece.index(1_001)) == (1, 1, 1)
    assert piece._entries(log) == [{"term": 1, "epoch": 1, "owner": "n1"}]


def test_terms_that_a_node_has_missed_are_one_entry_until_it_comes_back_to_one() -> None:
    runs = tuple(Run(t, t, ("n1", "n2")[t % 2], 10 * t) for t in range(1, 101))
    members = {"n1": Member(100, runs), "n2": Member(100, runs), "n3": Member(1, runs[:1], shown=1)}
    terms = {t: Term(runs[:t], 10 * t, True, frozenset({runs[t - 1].owner})) for t in range(1, 101)}
    state = State(members, terms)
    piece = Piece(state, [store("n2", 100, 1_000)])
    assert piece._terms == [1, 2, 100]
    assert [entry["epoch"] for entry in piece._entries(runs)] == [1, 2, 3]
    back = through(piece)
    assert back.members == members
    assert [back.terms[t].log for t in terms] == [terms[t].log for t in terms]
    piece = Piece(state, [store("n3", 50, 495)])
    assert piece._terms == [1, 2, 50, 51, 100]
    assert [entry["epoch"] for entry in piece._entries(runs)] == [1, 2, 3, 0, 4, 5]


def through(piece: Piece) -> State:
    """What comes back of a state that TLC does not change."""
    value = tlc._Reader(piece._begin(), 0)._value()
    assert isinstance(value, dict)
    return piece.read(value)


def wandering(rng: random.Random) -> State:
    """Leaders whose logs part where nothing is committed, and nodes anywhere behind them."""
    names, terms, committed = ["n1", "n2", "n3", "n4"], dict[int, Term](), 0
    logs: list[Log] = [()]
    for t in sorted(rng.sample(range(1, 60), rng.randint(1, 25))):
        base = cut(rng.choice([log for log in logs if committed <= end(log)]), rng.randint(committed, end(logs[-1])))
        owner = rng.choice(names)
        run = Run(t, base[-1].epoch + 1 if base else 1, owner, end(base) + rng.randint(1, 4))
        log = (*base, run)
        commits = rng.random() < 0.7
        committed = rng.randint(end(base) + 1, run.last) if commits else committed
        logs = [*[one for one in logs if committed <= end(one)], log]
        terms[t] = Term(log, committed if commits else 0, commits, frozenset({owner}), request={owner: (0, 0)})
    logs = [t.log for t in terms.values()]
    members = {}
    for name in names:
        log = cut(found := rng.choice([*logs, *logs[-2:]]), rng.randint(0, end(found)))
        members[name] = Member(rng.choice([t for t in terms if not log or t >= log[-1].term]), log)
    return State(members, terms)


def end(log: Log) -> int:
    return log[-1].last if log else 0


def cut(log: Log, last: int) -> Log:
    """A beginning of a log, up to an index."""
    runs = [replace(run, last=min(run.last, last)) for at, run in enumerate(log) if end(log[:at]) < last]
    return tuple(runs)


@pytest.mark.parametrize("seed", range(200))
def test_a_piece_keeps_what_tells_logs_apart_and_loses_nothing(seed: int) -> None:
    rng = random.Random(seed)
    state = wandering(rng)
    t = rng.choice(list(state.terms))
    piece = Piece(state, [store("n1", t, rng.randint(1, end(state.terms[t].log)))])
    back = through(piece)
    assert {n: m.log for n, m in back.members.items()} == {n: m.log for n, m in state.members.items()}
    oldest = min(m.term for m in state.members.values())
    assert {u: x.log for u, x in back.terms.items() if u >= oldest} == {
        u: x.log for u, x in state.terms.items() if u >= oldest
    }
    assert {u: (x.active, x.winners) for u, x in back.terms.items()} == {
        u: (x.active, x.winners) for u, x in state.terms.items()
    }
    logs = [m.log for m in state.members.values()] + [x.log for u, x in state.terms.items() if u in piece._whole]
    small = [piece._entries(log) for log in logs]
    for entries in small:
        assert [e["epoch"] for e in entries if e["epoch"]] == list(range(1, sum(e["epoch"] != 0 for e in entries) + 1))
    for one, this in zip(logs, small, strict=True):
        for other, that in zip(logs, small, strict=True):
            shared = max(i for i in range(min(end(one), end(other)) + 1) if cut(one, i) == cut(other, i))
            same = sum(a == b for a, b in zip(this, that, strict=False))
            assert same == piece.index(shared), "two logs are the same as far as they were"
