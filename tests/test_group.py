"""A group that changes, step by step: who joins, who may vote, who is told that it has been removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import count
from pathlib import Path

import pytest
from test_core import Bench, answer, elect

from hacoord.ha.catch_up import CatchUp
from hacoord.ha.frontend import EXIT_REMOVED, Frontend, FrontendType
from hacoord.ha.membership import Action, Change, Changed, Membership
from hacoord.raft.changes import ChangeRefused, Changes
from hacoord.raft.core import NotLeader, Role, Timing
from hacoord.raft.group import Configuration, Group, Member, Part, configuration, decode, encode, founding
from hacoord.raft.messages import AppendEntries, Kind, Message, Ref, Removed, RequestVote, Vote
from hacoord.sim import Cluster
from trace_check import Verdict, assert_holds, replay


class Stage:
    """A simulated cluster on which nothing happens but what a test asks for; `away` are cut off from all others."""

    def __init__(self, directory: Path, size: int = 3, observers: int = 0) -> None:
        self.directory = directory
        self.time = 0.0
        self.away: set[str] = set()
        self.cluster = Cluster(
            directory, size, observers=observers, seed=1, timing=Timing(1.0, 0.2), clock=lambda: self.time
        )

    def settle(self) -> None:
        """Deliver everything that is said, and what is said to that."""
        while self.cluster.in_flight:
            message = self.cluster.in_flight.pop(0)
            if not self.away & {message.src, message.dst}:
                self.cluster.deliver(message)

    def run(self, seconds: float = 0.5, only: str | None = None) -> None:
        """Let time pass, for one node or for all."""
        end = self.time + seconds
        while self.time < end:
            self.time += 0.05
            for name in list(self.cluster.running):
                if name in self.cluster.running and only in (None, name):
                    self.cluster.tick(name)
            self.settle()

    def lead(self, name: str) -> None:
        """Have a node elected; only its clock runs, so that nobody else stands."""
        self.settle()
        self.run(5.0, name)
        assert name in self.cluster.leaders()

    def group(self, name: str) -> Configuration:
        return self.cluster.running[name].frontend.raft.log.group.current

    def type(self, name: str) -> FrontendType:
        return self.cluster.running[name].frontend.type

    def membership(self, name: str) -> Membership:
        """What makes the changes that are asked for at a node, with an election timeout of a second."""
        frontend = self.cluster.running[name].frontend
        return Membership(frontend, lambda: self.time, lambda: None, outdated=tuple, patience=1.0)

    def judge(self) -> None:
        self.cluster.close()
        assert_holds(self.directory)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """n1 leads n2 and n3. Whatever a test does, the trace must hold."""
    stage = Stage(tmp_path)
    stage.lead("n1")
    yield stage
    stage.judge()


# --- what a leader refuses ------------------------------------------------------------------------------------------


def led() -> tuple[Bench, Changes]:
    """n1 of n1, n2, n3, who leads, with its epoch record committed."""
    bench = Bench()
    elect(bench)
    answer(bench)
    return bench, Changes(bench.raft)


def test_a_change_is_traced_alone_with_what_it_stands_on() -> None:
    bench, changes = led()
    bench.raft.propose(Kind.WRITE, [b"before"])
    answer(bench)
    index = changes.remove("n3")
    bench.raft.propose(Kind.WRITE, [b"after"])
    bench.turn()
    appended = [event for event in bench.said if event.name == "Append"]
    assert [(e.fields["first"], e.fields["last"]) for e in appended[-3:]] == [(2, 2), (index, index), (4, 4)]
    assert [name for name, *_ in appended[-2].fields["members"]] == ["n1", "n2"]  # type: ignore[attr-defined]
    assert Ref("n2", "1-00000000", 5) in appended[-2].fields["stores"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.promote("n2"), "only a learner is promoted"),
        (lambda c: c.promote("n9"), "no member"),
        (lambda c: c.remove("n1"), "takes no vote from itself"),
        (lambda c: c.demote("n1"), "takes no vote from itself"),
        (lambda c: c.demote("n9"), "no member"),
        (lambda c: c.enlist("n2"), "a voter, and no observer"),
        (lambda c: c.remove("n9"), "no member"),
        (lambda c: c.add_learner("n2", "elsewhere:1"), "is a member already"),
        (lambda c: c.add_learner("n4", "n3"), "n3 is the address of n3"),
        (lambda c: c.add_observer("n4", "n3"), "n3 is the address of n3"),
        (lambda c: c.move("n2", "n3"), "n3 is the address of n3"),
        (lambda c: c.move("n2", "n2"), "is at n2 already"),
    ],
)
def test_a_wrong_change_is_refused_with_what_to_do(change: Callable[[Changes], object], words: str) -> None:
    bench, changes = led()
    last = bench.raft.last
    with pytest.raises(ChangeRefused, match=words):
        change(changes)
    assert bench.raft.last == last


def test_one_change_at_a_time() -> None:
    bench, changes = led()
    changes.add_learner("n4", "n4:1")
    with pytest.raises(ChangeRefused, match="another change"):
        changes.add_observer("o1", "o1:1")
    bench.turn()
    answer(bench)
    changes.add_observer("o1", "o1:1")


def test_no_change_before_the_epoch_record_is_committed() -> None:
    bench = Bench()
    elect(bench)
    with pytest.raises(ChangeRefused, match="try again"):
        Changes(bench.raft).add_learner("n4", "n4:1")


def test_only_a_leader_changes_the_group() -> None:
    with pytest.raises(NotLeader):
        Changes(Bench().raft).add_learner("n4", "n4:1")


def test_a_learner_is_promoted_only_with_all_that_is_committed() -> None:
    bench, changes = led()
    changes.add_learner("n4", "n4:1")
    bench.turn()
    answer(bench)
    with pytest.raises(ChangeRefused, match="not caught up"):
        changes.promote("n4")
    answer(bench, "n4", match=1)
    with pytest.raises(ChangeRefused, match="not caught up"):
        changes.promote("n4")
    answer(bench, "n4")
    changes.promote("n4")
    assert bench.raft.voters == ("n1", "n2", "n3", "n4")
    assert bench.raft.quorum == 3


def test_a_voter_loses_its_vote_only_if_those_who_stay_have_what_is_committed() -> None:
    bench, changes = led()
    bench.raft.propose(Kind.WRITE, [b"x"])
    bench.turn()
    answer(bench, "n3")
    assert bench.raft.commit_index == 2
    for take_its_vote in (changes.remove, changes.demote):
        with pytest.raises(ChangeRefused, match="1 of the 2 voters that would stay"):
            take_its_vote("n3")
    changes.demote("n2")


def test_a_learner_neither_counts_nor_stands() -> None:
    bench, changes = led()
    changes.add_learner("n4", "n4:1")
    bench.turn()
    before = bench.raft.commit_index
    answer(bench, "n4")
    assert bench.raft.commit_index == before
    learner = Bench("n9")
    learner.raft.tick(9.0)
    asked = learner.turn()
    assert {m.dst for m in asked} == {"n1", "n2", "n3"}
    assert all(isinstance(m, RequestVote) and m.pre for m in asked)
    learner.hear(Vote("n2", "n9", Ref("n2", "1-00000000", 2), 0, True, True, None))
    learner.hear(Vote("n3", "n9", Ref("n3", "1-00000000", 2), 0, True, True, None))
    assert (learner.raft.role, learner.raft.term) == (Role.FOLLOWER, 0)


@pytest.mark.parametrize("part", [Part.LEARNER, Part.OBSERVER])
def test_who_has_no_vote_is_sent_only_what_is_committed(part: Part) -> None:
    """Else its log could be ahead of those of all voters who are left, just when it gets a vote."""
    bench, changes = led()
    (changes.add_learner if part is Part.LEARNER else changes.add_observer)("n4", "n4:1")
    bench.turn()
    answer(bench)

    def sent(to: str) -> list[tuple[int, int]]:
        frames = [m for m in bench.sent if isinstance(m, AppendEntries) and m.dst == to]
        return [(m.prev + len(m.entries), m.commit) for m in frames if m.entries]

    assert sent("n4") == []  # nothing of the log is known to be the same yet: it is asked first
    answer(bench, "n4", match=1)
    assert sent("n4") == [(2, 2)]
    answer(bench, "n4", match=2)
    bench.raft.propose(Kind.WRITE, [b"a", b"b"])
    bench.turn()
    assert sent("n2") == [(4, 2)]
    assert sent("n4") == []
    answer(bench)
    assert sent("n4") == [(4, 4)]
    answer(bench, "n4")
    if part is Part.LEARNER:
        changes.promote("n4")
        bench.turn()
        assert sent("n4") == [(5, 4)]


def test_who_is_removed_is_sent_nothing_more() -> None:
    bench, changes = led()
    changes.remove("n3")
    assert {m.dst for m in bench.turn() if isinstance(m, AppendEntries)} == {"n2"}


def test_a_configuration_survives_its_encoding_and_truncation() -> None:
    first = founding({"n1": "a:1"}, {"o1": "b:1"})
    second = first.having(Member("n2", Part.LEARNER, "c:1")).without("o1")
    assert decode(encode(second)) == second
    group = Group(first)
    group.append(7, encode(second))
    assert (group.index, group.current, group.at(6)) == (7, second, (0, first))
    group.truncate(7)
    assert (group.index, group.current) == (0, first)
    assert configuration(second.members.values()).part("n2") is Part.LEARNER


# --- what becomes of it ---------------------------------------------------------------------------------------------


def test_a_node_joins_and_its_vote_decides(stage: Stage) -> None:
    joined = stage.cluster.add("n1", Part.LEARNER)
    stage.run()
    assert stage.type(joined) is FrontendType.FOLLOWER
    stage.cluster.promote("n1", joined)
    stage.run()
    stage.cluster.write("n1", 3)
    stage.away = {"n2"}
    stage.run(0.3)
    stage.cluster.crash("n1")
    stage.away = set()
    stage.lead("n3")
    stage.cluster.remove("n3", "n1")
    stage.run(0.3)
    assert stage.group("n2").voters == (joined, "n2", "n3")


def test_an_observer_joins_serves_and_leaves(stage: Stage) -> None:
    joined = stage.cluster.add("n1", Part.OBSERVER)
    stage.run()
    assert stage.type(joined) is FrontendType.OBSERVER
    stage.cluster.remove("n1", joined)
    stage.run(3.0)
    assert joined in stage.cluster.removed
    assert stage.cluster.disks[joined].hard_state.vote is None


def test_a_removed_voter_is_told_stops_and_disturbs_nobody(stage: Stage) -> None:
    term = stage.cluster.running["n1"].frontend.raft.term
    stage.cluster.remove("n1", "n3")
    stage.run(4.0)
    assert stage.cluster.removed == {"n3"}
    assert stage.cluster.leaders() == ["n1"]
    assert stage.cluster.running["n1"].frontend.raft.term == term
    stage.cluster.restart("n3")
    stage.run(4.0)
    assert "n3" not in stage.cluster.running


def test_a_voter_becomes_an_observer_and_a_voter_again_without_a_restart(stage: Stage) -> None:
    stage.cluster.demote("n1", "n3")
    stage.run()
    assert stage.type("n3") is FrontendType.OBSERVER
    stage.cluster.enlist("n1", "n3")
    stage.run()
    stage.cluster.promote("n1", "n3")
    stage.run()
    assert stage.type("n3") is FrontendType.FOLLOWER
    stage.cluster.crash("n1")
    stage.lead("n3")


def test_a_demotion_that_its_leader_does_not_live_to_see_leaves_a_member(stage: Stage) -> None:
    """n1 demotes n3 and is gone for good as soon as n2 has that; n3 hears it from n2, and goes on as what it is."""
    stage.away = {"n3"}
    stage.cluster.demote("n1", "n3")
    stage.settle()
    stage.cluster.crash("n1")
    stage.away = set()
    stage.run(20.0)
    assert not stage.cluster.removed
    assert "n3" in stage.group("n3").members
    stage.cluster.restart("n1")
    stage.run(20.0)
    assert stage.type("n3") is FrontendType.OBSERVER
    assert stage.cluster.leaders()


def test_who_belongs_to_the_group_again_does_not_believe_that_it_was_removed(stage: Stage) -> None:
    stage.cluster.remove("n1", "n3")
    stage.run(0.3)
    stage.cluster.add("n1", Part.LEARNER, "n3")
    stage.run(0.3)
    raft = stage.cluster.running["n3"].frontend.raft
    index, group = raft.log.group.at(raft.log.group.index - 1)
    assert "n3" in group.removed
    late = Removed("n2", "n3", stage.cluster.running["n2"].outbox.newest, raft.term, index, raft.log.term_at(index))
    stage.cluster.deliver(late)
    assert "n3" in stage.cluster.running


def give_up_a_removal(stage: Stage) -> None:
    """n1 removes n3 all by itself; n2 is elected with n3's vote; n1 comes back, and stands after n2's crash."""
    stage.away = {"n1"}
    stage.cluster.remove("n1", "n3")
    assert stage.group("n1").voters == ("n1", "n2")
    stage.settle()
    stage.cluster.crash("n1")
    stage.away = set()
    stage.lead("n2")
    stage.cluster.restart("n1")
    stage.run(0.5, "n2")
    stage.cluster.crash("n2")
    stage.cluster.restart("n2")
    stage.run(5.0, "n1")


def test_a_change_that_is_given_up_is_undone(stage: Stage) -> None:
    give_up_a_removal(stage)
    assert stage.group("n1").voters == ("n1", "n2", "n3")
    assert stage.cluster.leaders() == ["n1"]


@pytest.mark.wrong_traces
def test_who_goes_by_a_change_that_was_given_up_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Group, "truncate", lambda group, first: None)
    stage = Stage(tmp_path)
    stage.lead("n1")
    give_up_a_removal(stage)
    stage.cluster.close()
    result = replay(tmp_path)
    assert result.verdict is Verdict.VIOLATION
    assert result.violation
    assert result.violation.rule == "SameConfiguration"


def test_a_group_grows_from_one_to_three_and_shrinks_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 1)
    stage.lead("n1")
    others = []
    for _ in range(2):
        name = stage.cluster.add("n1", Part.LEARNER)
        stage.run(0.5)
        stage.cluster.promote("n1", name)
        stage.run(0.5)
        stage.cluster.write("n1")
        others.append(name)
    for name in others:
        stage.cluster.remove("n1", name)
        stage.run(0.5)
    stage.cluster.write("n1")
    assert stage.group("n1").voters == ("n1",)
    stage.judge()


def test_changes_are_for_who_is_ready() -> None:
    bench = Bench()
    frontend = Frontend(bench.raft, bench.outbox)
    with pytest.raises(NotLeader):
        frontend.changes()


def test_a_removed_node_ends_with_a_code_of_its_own() -> None:
    bench = Bench()
    frontend = Frontend(bench.raft, bench.outbox)
    frontend.step(Removed("n2", "n1", Ref("n2", "1-00000000", 3), 4, 9, 4), 5.0)
    assert frontend.exit_code == EXIT_REMOVED


def test_a_member_again_is_voted_for_by_who_knows_only_its_removal_committed(tmp_path: Path) -> None:
    """n3 was removed, added again and promoted; n1 lags. When n2, which led, is gone, n3 alone can be elected."""
    stage = Stage(tmp_path)
    stage.lead("n2")
    cluster = stage.cluster
    n1 = cluster.running["n1"].frontend.raft
    cluster.remove("n2", "n3")
    removed = cluster.running["n2"].frontend.raft.last
    stage.run(0.5)
    assert n1.commit_index == removed
    cluster.image("n1")  # so that it knows just that after a restart, too
    cluster.add("n2", Part.LEARNER, "n3")
    while cluster.in_flight:  # n1 stores the entry that adds n3 again, and does not hear that it is committed
        message = cluster.in_flight.pop(0)
        if not (message.dst == "n1" and isinstance(message, AppendEntries) and message.commit > removed):
            cluster.deliver(message)
    stage.away = {"n1"}
    stage.run(0.5)
    cluster.promote("n2", "n3")
    stage.run(0.5)
    cluster.write("n2")
    stage.settle()
    assert cluster.running["n3"].frontend.raft.last > n1.last
    assert n1.commit_index == removed
    cluster.crash("n2")
    cluster.in_flight.clear()
    stage.away = set()
    stage.run(30.0)
    assert cluster.leaders() == ["n3"]
    stage.judge()


def test_who_is_being_demoted_is_not_told_that_it_is_removed(stage: Stage) -> None:
    """The removal takes so long to be committed that n3 asks for votes; n1 hears it when n3 is being added again."""
    cluster = stage.cluster
    cluster.remove("n1", "n3")
    late = cluster.in_flight.copy()
    cluster.in_flight.clear()
    for _ in range(2):  # n1 and n2 are in touch all the time
        stage.time += 0.9
        cluster.tick("n1")
        stage.settle()
    cluster.tick("n3")
    asked = [m for m in cluster.in_flight if isinstance(m, RequestVote) and m.dst == "n1"]
    cluster.in_flight = late
    stage.settle()
    cluster.add("n1", Part.OBSERVER, "n3")
    cluster.deliver(*asked)
    stage.settle()
    assert not cluster.removed
    stage.run()
    assert stage.type("n3") is FrontendType.OBSERVER


def test_half_a_promotion_is_not_reported_as_none(tmp_path: Path) -> None:
    """o1 is a learner, to become a voter; just then n1 begins to hand over, which comes to nothing."""
    stage = Stage(tmp_path, observers=1)
    stage.lead("n1")
    answers: list[object] = []
    membership = stage.membership("n1")
    membership.submit(Change(Action.PROMOTE, "o1"), 60.0, answers.append)
    membership.turn()
    stage.away = {"n3"}
    stage.cluster.hand_over("n1", "n3")
    stage.settle()
    membership.turn()
    assert stage.group("n1").members["o1"].part is Part.LEARNER
    assert not answers
    while not answers:
        stage.run(0.1)
        membership.turn()
    assert isinstance(answers[0], Changed)
    assert stage.group("n1").members["o1"].part is Part.VOTER
    stage.judge()


def test_who_asks_again_is_not_told_of_a_change_before_it_is_committed(tmp_path: Path) -> None:
    """n1 is cut off when n4 is to join: nobody has stored that, and it may still be given up."""
    stage = Stage(tmp_path)
    stage.lead("n1")
    membership = stage.membership("n1")
    answers: list[object] = []
    stage.away = {"n1"}
    for _ in range(3):
        membership.submit(Change(Action.JOIN, "n4", "n4:7000"), 60.0, answers.append)
        membership.turn()
        stage.settle()
    assert "n4" in stage.group("n1").members
    assert not answers
    stage.away = set()
    stage.run(0.5, "n1")
    for _ in range(2):
        membership.turn()
    assert answers == [Changed(stage.cluster.running["n1"].frontend.raft.log.group.index)] * 3
    stage.judge()


def test_who_asks_again_before_it_was_the_turn_of_the_change_is_not_refused(stage: Stage) -> None:
    """Both wait until another change is committed; then the one finds what the other has done."""
    membership = stage.membership("n1")
    answers: list[object] = []
    stage.cluster.move("n1", "n3", "n3:7001")
    for _ in range(2):
        membership.submit(Change(Action.JOIN, "n4", "n4:7000"), 60.0, answers.append)
        membership.turn()
    assert "n4" not in stage.group("n1").members
    for _ in range(3):
        stage.run(0.3, "n1")
        membership.turn()
    assert answers == [Changed(stage.cluster.running["n1"].frontend.raft.log.group.index)] * 2


class Load:
    """Clients write at n1 every 10 ms, unless writes are held; `away` is how many seconds each node is away."""

    def __init__(self, stage: Stage, away: dict[str, float]) -> None:
        self.stage = stage
        self.membership = stage.membership("n1")
        self.away = away
        self.held = 0
        self._under_way: list[tuple[float, int, Message]] = []

    def run(self, seconds: float) -> None:
        """Let time pass in steps of a millisecond."""
        stage, cluster = self.stage, self.stage.cluster
        frontend = cluster.running["n1"].frontend
        for step in range(round(seconds * 1000)):
            stage.time += 0.001
            for name in list(cluster.running):
                cluster.tick(name)
            while self._under_way and self._under_way[0][0] <= stage.time:
                cluster.deliver(heappop(self._under_way)[2])
            if step % 10 == 0 and frontend.held_until <= stage.time:
                cluster.write("n1")
            self.held += frontend.held_until > stage.time
            self.membership.turn()
            for message in cluster.in_flight:
                delay = self.away.get(message.src, 0.001) + self.away.get(message.dst, 0.001)
                heappush(self._under_way, (stage.time + delay, next(COUNT), message))
            cluster.in_flight.clear()


COUNT = count()


def test_a_learner_far_away_is_promoted_while_clients_write(stage: Stage) -> None:
    """Its answers come when more is committed, each time: so writes wait for one of them, and not longer."""
    load = Load(stage, {"l4": 0.02})
    stage.cluster.add("n1", Part.LEARNER)
    load.run(1.0)
    assert stage.group("n1").part("l4") is Part.VOTER
    assert 20 <= load.held <= 60


def test_a_voter_is_dropped_while_clients_write_and_one_who_stays_is_far_away(stage: Stage) -> None:
    load = Load(stage, {"n2": 0.02})
    answers: list[object] = []
    load.run(0.2)
    load.membership.submit(Change(Action.DROP, "n3", force=True), 60.0, answers.append)
    load.run(1.0)
    assert isinstance(answers[0], Changed)
    assert 20 <= load.held <= 60


def test_writes_do_not_wait_for_who_does_not_keep_pace(stage: Stage) -> None:
    """One learner has stopped, and one takes longer than an election timeout for each answer."""
    load = Load(stage, {"l4": 60.0, "l5": 0.7})
    stage.cluster.add("n1", Part.LEARNER)
    load.run(0.1)
    stage.cluster.add("n1", Part.LEARNER)
    load.run(5.0)
    assert stage.group("n1").voters == ("n1", "n2", "n3")
    assert load.held == 0


def test_writes_that_have_waited_in_vain_are_let_alone() -> None:
    catch_up = CatchUp(1.0)
    assert catch_up.hold(5, 10, 0.0) == 0.0
    assert catch_up.hold(9, 20, 0.5) == 0.0
    assert catch_up.hold(10, 30, 0.9) == 1.9
    assert catch_up.hold(10, 31, 1.8) == 1.9
    # The round that began when writes were held is over, and so are the next ones: they change nothing.
    assert [catch_up.hold(100 + n, 100 + n, 2.0 + n / 2) for n in range(19)] == [1.9] * 19
    assert catch_up.hold(200, 200, 11.9) == 12.9
    assert catch_up.hold(None, 0, 12.0) == 0.0
    assert catch_up.hold(200, 300, 12.0) == 0.0


def test_two_learners_far_away_are_promoted_one_soon_after_the_other(stage: Stage) -> None:
    """The second joins while writes wait for the first, which ends that: the rest of the wait is not lost."""
    load = Load(stage, {"l4": 0.02, "l5": 0.02})
    stage.cluster.add("n1", Part.LEARNER)
    load.run(0.1)
    assert load.held
    stage.cluster.add("n1", Part.LEARNER)
    load.run(2.0)
    assert stage.group("n1").voters == ("l4", "l5", "n1", "n2", "n3")
    assert load.held <= 200
