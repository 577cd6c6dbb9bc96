"""Other systems' traces: what they show is judged, what is wrong refused where it happens, and garbage is bad input."""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import random
from pathlib import Path

import pytest
from foreign import Ccf, Etcd, Group, Line
from hypothesis import given, settings
from hypothesis import strategies as st

from trace_check.adapters import FORMATS, replay
from trace_check.cli import main
from trace_check.replay import DEFAULT_GRAPHS
from trace_check.verdict import BadInput, Result, Verdict

BOTH = pytest.mark.parametrize("system", ["etcd-raft", "ccf"])


def make(system: str, names: str = "1 2 3") -> Group:
    """A group that has begun; in CCF's its first node leads already, in etcd-raft's it is elected here."""
    if system == "ccf":
        return Ccf(names)
    group = Etcd(names)
    group.elect("1", "2")
    return group


def judged(group: Group | list[Line], system: str, path: Path) -> Result:
    lines = group.lines if isinstance(group, Group) else group
    file = path / "trace.ndjson"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return replay(file, FORMATS[system], graphs=DEFAULT_GRAPHS)


def refused(group: Group, system: str, path: Path, line: int | None = None) -> str:
    """The rule that refuses it; by default at the last line."""
    result = judged(group, system, path)
    assert result.verdict is Verdict.VIOLATION, result
    assert result.violation is not None
    assert result.violation.where is not None
    assert result.violation.where.line == (len(group.lines) if line is None else line), result.violation
    return result.violation.rule


# --- right runs ------------------------------------------------------------------------------------------------------


@BOTH
def test_an_election_a_commit_and_a_failover_hold(system: str, tmp_path: Path) -> None:
    group = make(system)
    group.settle("1", 3, "2 3")
    group.elect("2", "3")
    group.settle("2", 2, "3")
    group.replicate("2", "1")
    group.learn("1", "2")
    result = judged(group, system, tmp_path)
    assert result.verdict is Verdict.HOLDS, result
    assert result.counts.leaders == 2
    assert result.counts.entries_committed == len(group.nodes["2"].log)
    assert result.not_checked
    assert {row.view for row in result.coverage} == {"Ballot", "Fencing", "Frontend"}


@BOTH
def test_a_deposed_leaders_entries_may_be_replaced_or_committed_by_the_next(system: str, tmp_path: Path) -> None:
    replaced, kept = make(system), make(system)
    for group in (replaced, kept):
        group.settle("1", 1, "2 3")
        group.append("1", 2)
    kept.replicate("1", "2")
    for group in (replaced, kept):
        group.elect("2", "3")
        group.settle("2", 1, "3 1")
        assert judged(group, system, tmp_path).verdict is Verdict.HOLDS


@BOTH
def test_a_vote_that_comes_after_the_election_changes_nothing(system: str, tmp_path: Path) -> None:
    group = make(system)
    group.settle("1", 1, "2 3")
    group.elect("2", "3")
    group.vote("1", "2")
    assert judged(group, system, tmp_path).verdict is Verdict.HOLDS


@BOTH
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_random_right_runs_hold(system: str, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    result = judged(wander(system, random.Random(seed)), system, tmp_path_factory.mktemp("run"))
    assert result.verdict is Verdict.HOLDS, f"seed {seed}: {result.violation}"


def wander(system: str, dice: random.Random, steps: int = 80) -> Group:
    """A run in which nodes stand, vote, append, replicate and commit at random, but only where Raft lets them."""
    group = make(system)
    for _ in range(steps):
        a, b = dice.sample(sorted(group.nodes), 2)
        node, other = group.nodes[a], group.nodes[b]
        what = dice.choice(["stand", "vote", "vote", "append", "replicate", "replicate", "commit", "learn"])
        free = other.term < node.term or (other.term == node.term and other.vote in (None, a))
        if what == "stand" and node.log and node.role != "Leader" and dice.random() < 0.4:
            group.stand(a)
        elif what == "vote" and node.role == "Candidate" and free:
            if (node.log[-1:], len(node.log)) >= (other.log[-1:], len(other.log)):
                group.vote(b, a)
                if dice.random() < 0.9:
                    group.lead(a)
        elif node.role == "Leader" and what == "append":
            group.append(a)
        elif node.role == "Leader" and other.term <= node.term and what == "replicate":
            group.replicate(a, b)
        elif node.role == "Leader" and what == "commit":
            upto = max(node.heard.values(), default=0)
            if upto > node.committed and node.log[upto - 1] == node.term:
                group.commit(a, upto)
        elif node.role == "Leader" and what == "learn" and other.term == node.term:
            upto = min(node.committed, node.heard.get(b, 0))
            if upto > other.committed:
                group.learn(b, a, upto)
    return group


# --- wrong runs, refused where they go wrong -------------------------------------------------------------------------


@BOTH
def test_a_second_vote_in_a_term_is_refused(system: str, tmp_path: Path) -> None:
    group = make(system)
    group.settle("1", 1, "2 3")
    group.stand("2")
    group.vote("1", "2")
    group.stand("3")
    group.vote("1", "3")
    assert refused(group, system, tmp_path, None if system == "ccf" else len(group.lines) - 2) == "VoteOnce"


@BOTH
def test_a_leader_without_a_quorum_is_refused(system: str, tmp_path: Path) -> None:
    group = make(system, "1 2 3 4 5") if system == "ccf" else Etcd("1 2 3 4 5")
    if system == "ccf":
        group.settle("1", 1, "2 3 4 5")
    group.stand("2")
    group.vote("3", "2")
    group.lead("2")
    assert refused(group, system, tmp_path) == "ElectionQuorum"


@BOTH
def test_a_leader_that_never_stood_is_refused(system: str, tmp_path: Path) -> None:
    group = make(system)
    group.settle("1", 1, "2 3")
    group.lead("2")
    assert refused(group, system, tmp_path) == "GrantsCited"


@BOTH
def test_a_vote_never_cast_cannot_be_counted(system: str, tmp_path: Path) -> None:
    group = make(system)
    group.settle("1", 1, "2 3")
    group.stand("2")
    group.heard_vote(group.nodes["2"], group.nodes["3"])
    # CCF does not trace that a vote is cast: what is missing there is the request.
    line = len(group.lines)
    assert refused(group, system, tmp_path, line) == "GrantsCited"


@BOTH
def test_a_vote_for_a_shorter_log_is_refused(system: str, tmp_path: Path) -> None:
    group = make(system)
    group.settle("1", 1, "2 3")
    group.append("1")
    group.replicate("1", "3")
    group.stand("2")
    group.vote("3", "2")
    assert refused(group, system, tmp_path, None if system == "ccf" else len(group.lines) - 2) == "UpToDate"


@BOTH
def test_a_commit_without_a_quorum_is_refused(system: str, tmp_path: Path) -> None:
    group = make(system)
    group.settle("1", 1, "2 3")
    group.append("1")
    group.commit("1")
    assert refused(group, system, tmp_path) == "CommitQuorum"


@BOTH
def test_a_commit_of_an_earlier_terms_entry_alone_is_refused(system: str, tmp_path: Path) -> None:
    group = make(system)
    group.settle("1", 1, "2 3")
    group.append("1")
    group.replicate("1", "2")
    group.elect("2", "3")
    group.replicate("2", "3")
    group.commit("2")
    assert refused(group, system, tmp_path) == "CommitOwnTerm"


@BOTH
def test_a_commit_that_no_leader_has_made_is_refused(system: str, tmp_path: Path) -> None:
    group = make(system)
    group.settle("1", 1, "2 3")
    group.append("1")
    group.replicate("1", "2")
    group.learn("2", "1", len(group.nodes["2"].log))
    assert refused(group, system, tmp_path) == "CommitCited"


@BOTH
def test_a_commit_that_goes_back_is_refused(system: str, tmp_path: Path) -> None:
    group = make(system)
    group.settle("1", 2, "2 3")
    group.nodes["2"].committed -= 1
    group.step_down("2", group.nodes["2"].term)
    assert refused(group, system, tmp_path) == "CommitContiguous"


@BOTH
def test_a_commit_of_another_entry_is_refused(system: str, tmp_path: Path) -> None:
    """Node 1 keeps an entry of its own where the others have committed one, and takes it for that."""
    group = make(system)
    group.settle("1", 1, "2 3")
    group.append("1")
    group.elect("2", "3")
    group.settle("2", 1, "3")
    group.step_down("1", group.nodes["2"].term)
    group.learn("1", "2", len(group.nodes["1"].log))
    assert refused(group, system, tmp_path) == "CommitAgrees"


@BOTH
def test_a_term_that_decreases_is_refused(system: str, tmp_path: Path) -> None:
    group = make(system)
    group.settle("1", 1, "2 3")
    group.step_down("3", group.nodes["3"].term - 1)
    assert refused(group, system, tmp_path) == "TermMonotonic"


@BOTH
def test_entries_of_a_leader_that_it_does_not_have_are_refused(system: str, tmp_path: Path) -> None:
    group = make(system)
    group.settle("1", 1, "2 3")
    group.nodes["2"].log.append(group.nodes["1"].term)
    group.stored(group.nodes["2"], group.nodes["2"])
    assert refused(group, system, tmp_path) == "StoreOnLeaderLog"


@BOTH
def test_what_nobody_has_said_to_hold_cannot_be_counted(system: str, tmp_path: Path) -> None:
    group = make(system)
    group.settle("1", 1, "2 3")
    group.append("1")
    group.heard_store(group.nodes["1"], group.nodes["2"])
    assert refused(group, system, tmp_path) == "StoresCited"


@BOTH
def test_who_does_not_lead_cannot_append(system: str, tmp_path: Path) -> None:
    group = make(system)
    group.settle("1", 1, "2 3")
    group.elect("2", "3")
    group.nodes["1"].role = "Follower"
    group.step_down("1", group.nodes["2"].term)
    group.nodes["1"].role = "Leader"
    group.append("1")
    written = 1 if system == "ccf" else 4
    assert refused(group, system, tmp_path, len(group.lines) - written + 1) == "LeaderAppends"


@BOTH
def test_a_winner_without_a_committed_entry_is_refused(system: str, tmp_path: Path) -> None:
    """Node 3 votes as if its log were shorter than it has said; the voter's own lines show that."""
    group = make(system)
    group.settle("1", 2, "2 3")
    for name in "23":
        node = group.nodes[name]
        node.log, node.committed = node.log[:1], min(node.committed, 1)
    group.stand("2")
    result = judged(group, system, tmp_path)
    assert result.violation is not None
    assert result.violation.rule in ("TruePosition", "NothingForgotten", "CommitContiguous")


def test_a_winner_without_what_an_earlier_leader_commits_later_is_refused_then(tmp_path: Path) -> None:
    """Node 3 says that it holds an entry, loses it in a crash, and votes for a node that never had it."""
    group = Etcd("1 2 3 4 5")
    group.elect("1", "2 3 4")
    group.settle("1", 1, "2 3 4 5")
    group.append("1")
    group.replicate("1", "2")
    leader, forgetful = group.nodes["1"], group.nodes["3"]
    group.received(forgetful, leader)
    forgetful.log.append(2)
    group.stored(forgetful, leader)
    forgetful.log.pop()
    group.start(forgetful)
    group.elect("4", "3 5")
    assert judged(group, "etcd-raft", tmp_path).verdict is Verdict.HOLDS
    group.heard_store(leader, forgetful)
    group.commit("1")
    assert refused(group, "etcd-raft", tmp_path) == "LeaderCompleteness"


@BOTH
def test_every_doctored_number_of_a_state_is_noticed_or_harmless(system: str, tmp_path: Path) -> None:
    """A term or a commit index that is lower than the line before has it is never accepted."""
    group = make(system)
    group.settle("1", 2, "2 3")
    group.elect("2", "3")
    group.settle("2", 1, "3")
    field = {"etcd-raft": "event", "ccf": "msg"}[system]
    seen: set[str] = set()
    for at, line in enumerate(group.lines):
        who = line[field]["nid"] if system == "etcd-raft" else line[field]["state"]["node_id"]
        for number in ("term", "current_view"):
            if line[field]["state"].get(number, 0) > 1 and who in seen:
                doctored = copy.deepcopy(group.lines)
                doctored[at][field]["state"][number] -= 2
                assert judged(doctored, system, tmp_path).verdict is Verdict.VIOLATION, line
        if line[field]["state"].get("term", line[field]["state"].get("current_view", 0)) > 1:
            seen.add(who)


# --- crashes: what others have heard of cannot be forgotten, what they have not may be ------------------------------


def test_a_vote_of_which_nobody_has_heard_may_be_lost_in_a_crash(tmp_path: Path) -> None:
    group = Etcd("1 2 3")
    group.stand("1")
    voter = group.nodes["3"]
    group.asked(voter, group.nodes["1"])
    voter.term = 2
    group.follows(voter)
    group.granted(voter, group.nodes["1"])
    voter.term = 1
    group.start(voter)
    group.stand("2")
    group.vote("3", "2")
    group.lead("2")
    assert judged(group, "etcd-raft", tmp_path).verdict is Verdict.HOLDS


def test_a_vote_that_was_counted_cannot_be_lost_in_a_crash(tmp_path: Path) -> None:
    group = Etcd("1 2 3")
    group.elect("1", "3")
    group.nodes["3"].vote = None
    group.start(group.nodes["3"])
    assert refused(group, "etcd-raft", tmp_path) == "NothingForgotten"


def test_a_vote_that_a_restart_shows_is_for_who_stands(tmp_path: Path) -> None:
    group = Etcd("1 2 3")
    voter = group.nodes["3"]
    voter.term, voter.vote = 2, "1"
    group.start(voter)
    assert refused(group, "etcd-raft", tmp_path) == "CampaignHeard"


def test_a_vote_that_a_restart_shows_goes_to_no_shorter_log(tmp_path: Path) -> None:
    group = Etcd("1 2 3")
    group.elect("1", "2")
    group.settle("1", 1, "2 3")
    group.append("1")
    group.replicate("1", "3")
    group.stand("2")
    voter = group.nodes["3"]
    voter.term, voter.vote = group.nodes["2"].term, "2"
    group.start(voter)
    line = len(group.lines)
    group.heard_vote(group.nodes["2"], voter)
    group.lead("2")
    assert refused(group, "etcd-raft", tmp_path, line) == "UpToDate"


def test_a_vote_that_a_restart_shows_is_counted(tmp_path: Path) -> None:
    group = Etcd("1 2 3")
    group.stand("1")
    voter = group.nodes["3"]
    voter.term, voter.vote = group.nodes["1"].term, "1"
    group.start(voter)
    group.heard_vote(group.nodes["1"], voter)
    group.lead("1")
    assert judged(group, "etcd-raft", tmp_path).verdict is Verdict.HOLDS


def test_a_vote_from_before_the_trace_began(tmp_path: Path) -> None:
    group = Etcd("1 2 3", given=False)
    group.lines.clear()
    for node in group.nodes.values():
        node.term = 2
        node.vote = "2" if node.name == "1" else None
        group.start(node)
    group.heard_vote(group.nodes["2"], group.nodes["1"])
    result = judged(group, "etcd-raft", tmp_path)
    assert result.verdict is Verdict.INCOMPLETE
    assert "it has voted for 2 in term 2" in result.missing[0]


def test_a_term_in_which_others_heard_a_node_cannot_be_lost_in_a_crash(tmp_path: Path) -> None:
    group = Etcd("1 2 3")
    group.elect("1", "3")
    group.nodes["3"].term, group.nodes["3"].vote = 1, None
    group.start(group.nodes["3"])
    assert refused(group, "etcd-raft", tmp_path) == "NothingForgotten"


def test_entries_that_were_counted_cannot_be_lost_in_a_crash_but_others_may(tmp_path: Path) -> None:
    group = Etcd("1 2 3")
    group.elect("1", "2")
    group.settle("1", 2, "2")
    group.nodes["1"].log.append(2)
    group.nodes["1"].log.pop()
    group.start(group.nodes["1"])
    group.elect("2", "3")
    assert judged(group, "etcd-raft", tmp_path).verdict is Verdict.HOLDS
    group.nodes["1"].log.pop()
    group.start(group.nodes["1"])
    assert refused(group, "etcd-raft", tmp_path) == "NothingForgotten"


def test_a_trace_that_begins_in_the_middle_is_incomplete(tmp_path: Path) -> None:
    group = Etcd("1 2 3")
    group.elect("1", "2")
    result = judged(group.lines[9:], "etcd-raft", tmp_path)
    assert result.verdict is Verdict.INCOMPLETE
    assert "beginning" in result.missing[0]


def test_elections_of_more_voters_than_there_are_graphs_for_are_incomplete(tmp_path: Path) -> None:
    group = Etcd("1 2 3 4 5 6 7 8")
    group.elect("1", "2 3 4 5")
    result = judged(group, "etcd-raft", tmp_path)
    assert result.verdict is Verdict.INCOMPLETE
    assert "evidence alone" in result.missing[0]


def test_a_joint_configuration_needs_a_quorum_of_both_halves(tmp_path: Path) -> None:
    group = Etcd("1 2 3 4 5")
    group.elect("1", "2 3")
    for line in group.lines[-30:]:
        line["event"]["conf"] = [["1", "2", "3"], ["3", "4", "5"]]
    assert refused(group, "etcd-raft", tmp_path) == "ElectionQuorum"


# --- the example, the command, garbage ------------------------------------------------------------------------

ELECTION = [
    {"at": "a", "term": 1, "what": "stands", "voters": ["a", "b", "c"]},
    {"at": "b", "term": 1, "what": "votes", "for": "a"},
    {"at": "a", "term": 1, "what": "leads", "votes": ["a", "b"]},
    {"at": "c", "term": 2, "what": "stands", "voters": ["a", "b", "c"]},
    {"at": "a", "term": 1, "what": "stops"},
    {"at": "a", "term": 2, "what": "votes", "for": "c"},
    {"at": "c", "term": 2, "what": "leads", "votes": ["c", "a"]},
]


def test_the_example_of_the_book_holds_and_refuses(tmp_path: Path) -> None:
    assert judged(ELECTION, "elections", tmp_path).verdict is Verdict.HOLDS
    twice = [*ELECTION[:3], {"at": "b", "term": 1, "what": "votes", "for": "c"}]
    both = [*ELECTION[:2], {"at": "c", "term": 1, "what": "stands", "voters": ["a", "b", "c"]}]
    for lines, rule in ((twice, "CampaignHeard"), (both, None), ([*both, twice[3]], "VoteOnce")):
        violation = judged(lines, "elections", tmp_path).violation
        assert (violation.rule if violation else None) == rule


def test_the_command_shows_the_verdict_and_what_is_not_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    group = make("ccf")
    group.settle("1", 1, "2 3")
    file = str(group.write(tmp_path / "run.ndjson"))
    assert main(["replay", file, "--format", "ccf"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("HOLDS")
    assert "Not checked: contents of entries" in out
    group.lead("2")
    assert main(["replay", str(group.write(tmp_path / "run.ndjson").parent), "--format", "ccf", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["violation"]["where"]["line"] == len(group.lines)
    assert data["not_checked"]


def test_a_directory_of_several_runs_a_missing_file_and_another_format_are_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = make("ccf").write(tmp_path / "a.ndjson")
    assert main(["replay", str(tmp_path / "no.ndjson"), "--format", "ccf"]) == 2
    assert main(["replay", str(file), "--format", "etcd-raft"]) == 2
    make("ccf").write(tmp_path / "b.ndjson")
    assert main(["replay", str(tmp_path), "--format", "ccf"]) == 2
    assert "so name it" in capsys.readouterr().err
    for option in (["--allow-gaps"], ["--jobs", "2"], ["--follow"]):
        assert main(["replay", str(file), "--format", "ccf", *option]) == 2
        assert "goes with n" in capsys.readouterr().err


def test_a_packed_trace_is_unpacked(tmp_path: Path) -> None:
    plain = tmp_path / "plain.ndjson"
    plain.write_text("".join(json.dumps(line) + "\n" for line in ELECTION))
    packed = tmp_path / "run" / "packed.ndjson.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    form = FORMATS["elections"]
    found = replay(packed.parent, form, graphs=DEFAULT_GRAPHS)
    assert (found.verdict, found.counts) == (Verdict.HOLDS, replay(plain, form, graphs=DEFAULT_GRAPHS).counts)
    for torn in (packed.read_bytes()[:-20], packed.read_bytes()[:12] + b"\xff" * 40):
        packed.write_bytes(torn)
        with pytest.raises(BadInput, match=r"cannot be read: [^N]"):
            replay(packed, form, graphs=DEFAULT_GRAPHS)


def spoil(lines: list[Line], dice: random.Random) -> bytes:
    """A few places of a good trace replaced by something else."""
    junk: list[object] = [None, -1, 0, 1, 2, 3, 10**30, 1.5, "", "1", "9", "StateLeader", "Leader", True, [], {}, [1]]
    lines = copy.deepcopy(lines)
    for _ in range(dice.randint(1, 4)):
        place: object = dice.choice(lines)
        while isinstance(place, (dict, list)) and place:
            key = dice.choice(sorted(place)) if isinstance(place, dict) else dice.randrange(len(place))
            below = place[key]
            if not isinstance(below, (dict, list)) or not below or dice.random() < 0.1:
                place[key] = copy.deepcopy(dice.choice(junk))
                break
            place = below
        if len(lines) > 1 and dice.random() < 0.3:
            del lines[dice.randrange(len(lines))]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


@pytest.mark.parametrize("system", ["etcd-raft", "ccf", "elections"])
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_spoilt_trace_has_a_verdict_or_is_bad_input(
    system: str, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    dice = random.Random(seed)
    lines = ELECTION if system == "elections" else wander(system, dice, 30).lines
    file = tmp_path_factory.mktemp("spoilt") / "trace.ndjson"
    file.write_bytes(spoil(lines, dice))
    with contextlib.suppress(BadInput):
        assert replay(file, FORMATS[system], graphs=DEFAULT_GRAPHS).verdict in Verdict


@settings(max_examples=100, deadline=None)
@given(garbage=st.binary(max_size=200), system=st.sampled_from(sorted(FORMATS)))
def test_garbage_is_bad_input(garbage: bytes, system: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("garbage") / "trace.ndjson"
    file.write_bytes(garbage)
    with pytest.raises(BadInput):
        replay(file, FORMATS[system], graphs=DEFAULT_GRAPHS)
