"""The Raft core, one behaviour at a time: a node is fed messages by hand and judged by what it says and keeps."""

from __future__ import annotations

import random

import pytest

from hacoord.ha.frontend import Frontend, FrontendType
from hacoord.raft.core import LogDiverged, NotLeader, Raft, Role, Timing
from hacoord.raft.group import founding
from hacoord.raft.log import Log, epoch_record
from hacoord.raft.messages import (
    Appended,
    AppendEntries,
    Entry,
    HardState,
    Kind,
    Message,
    Ref,
    RequestVote,
    TimeoutNow,
    Vote,
)
from hacoord.raft.outbox import Event, Outbox

TIMING = Timing(election=1.0, heartbeat=0.1)
FAR = Ref("n9", "1-00000000", 1)


class Bench:
    """One node of n1, n2, n3 with its turn of the loop; `said` is all it traced, `sent` what it sent last."""

    def __init__(self, name: str = "n1", voters: tuple[str, ...] = ("n1", "n2", "n3"), **kept: object) -> None:
        self.outbox = Outbox(name, "1-00000000")
        self.raft = Raft(
            name,
            founding({n: n for n in voters}),
            self.outbox,
            now=0.0,
            timing=TIMING,
            rng=random.Random(1),
            **kept,  # type: ignore[arg-type]
        )
        self.said: list[Event] = []
        self.sent: list[Message] = []

    def turn(self) -> list[Message]:
        self.sent = []
        while True:
            events, messages = self.raft.take()
            self.said += events
            self.sent += messages
            if self.raft.to_persist() is None:
                return self.sent
            self.raft.persisted()

    def hear(self, message: Message, now: float = 5.0) -> list[Message]:
        self.raft.step(message, now)
        return self.turn()

    def names(self) -> list[str]:
        return [e.name for e in self.said]

    def last(self, name: str) -> Event:
        return next(e for e in reversed(self.said) if e.name == name)


def log_of(*terms: int) -> list[Entry]:
    """Entries with these terms; the first of each term is its epoch record."""
    log, epoch = Log(), 0
    for term in terms:
        if term != log.last_term:
            epoch += 1
            log.append(term, Kind.EPOCH, epoch_record(epoch, "n9"))
        else:
            log.append(term, Kind.WRITE, b"x")
    return list(log.between(1, log.last))


def ask(term: int, last: int = 0, last_term: int = 0, src: str = "n2", pre: bool = False) -> RequestVote:
    ref = Ref(src, "1-00000000", 7)
    return RequestVote(src, "n1", ref, term, last, last_term, pre, None if pre else ref)


def frame(term: int, prev: int, prev_term: int, entries: list[Entry], commit: int = 0) -> AppendEntries:
    ref = Ref("n2", "1-00000000", 9)
    return AppendEntries("n2", "n1", ref, term, prev, prev_term, tuple(entries), commit, ref if commit else None)


def elect(bench: Bench) -> None:
    """Let n1 win with the vote of n2."""
    bench.raft.tick(2.5)
    bench.turn()
    bench.hear(Vote("n2", "n1", FAR, bench.raft.term, True, True, None), 2.5)
    bench.hear(Vote("n2", "n1", FAR, bench.raft.term, True, False, Ref("n2", "1-00000000", 2)), 2.5)
    assert bench.raft.role is Role.LEADER


def answer(bench: Bench, src: str = "n2", seq: int = 5, match: int | None = None) -> None:
    store = Ref(src, "1-00000000", seq)
    bench.hear(Appended(src, "n1", store, bench.raft.term, True, match or bench.raft.last, store), 2.6)


def test_a_vote_is_on_disk_before_it_is_told() -> None:
    bench = Bench()
    bench.raft.step(ask(3), 5.0)
    assert bench.raft.take() == ([], [])
    write = bench.raft.to_persist()
    assert write is not None
    assert write.hard_state == HardState(3, "n2")
    bench.raft.persisted()
    events, (reply,) = bench.raft.take()
    assert [e.name for e in events] == ["Grant"]
    assert isinstance(reply, Vote)
    assert (reply.granted, reply.grant) == (True, Ref("n1", "1-00000000", 1))


def test_one_vote_in_a_term_over_restarts() -> None:
    bench = Bench(hard_state=HardState(3, "n3"))
    (reply,) = bench.hear(ask(3))
    assert isinstance(reply, Vote)
    assert not reply.granted
    assert bench.names() == []


@pytest.mark.parametrize(("last", "last_term", "granted"), [(2, 1, False), (9, 1, False), (3, 2, True), (2, 3, True)])
def test_only_a_candidate_whose_log_is_up_to_date_gets_a_vote(last: int, last_term: int, granted: bool) -> None:
    bench = Bench(entries=log_of(1, 1, 2), hard_state=HardState(2, None))
    (reply,) = bench.hear(ask(5, last, last_term))
    assert isinstance(reply, Vote)
    assert reply.granted is granted
    assert bench.raft.term == 5


def test_a_node_that_hears_a_leader_is_not_disturbed() -> None:
    bench = Bench()
    bench.hear(frame(1, 0, 0, []), 5.0)
    assert bench.hear(ask(2), 5.5) == []
    assert bench.raft.term == 1
    assert bench.hear(ask(2), 6.5) != []


def test_a_prevote_promises_nothing() -> None:
    bench = Bench()
    (reply,) = bench.hear(ask(1, pre=True))
    assert isinstance(reply, Vote)
    assert reply.granted
    assert bench.raft.term == 0
    assert bench.said == []


def test_without_a_prevote_quorum_the_term_does_not_move() -> None:
    bench = Bench()
    for now in (3.0, 6.0, 9.0):
        bench.raft.tick(now)
        bench.turn()
    assert bench.raft.term == 0
    assert bench.raft.role is Role.PRECANDIDATE


def test_a_winner_opens_its_term_with_the_next_epoch() -> None:
    bench = Bench(entries=log_of(1, 1, 2), hard_state=HardState(2, None))
    elect(bench)
    assert bench.names() == ["Campaign", "Win", "Append", "Store"]
    assert bench.last("Append").fields["epoch"] == 3
    assert bench.last("Win").fields["grants"] == [Ref("n1", "1-00000000", 1), Ref("n2", "1-00000000", 2)]
    assert not bench.raft.fenced
    answer(bench)
    assert bench.raft.fenced
    assert bench.last("Commit").fields["epochs"] == [(1, 1), (3, 2), (4, 3)]


def test_a_leader_sends_while_its_disk_syncs_but_counts_itself_only_after() -> None:
    bench = Bench()
    elect(bench)
    answer(bench)
    bench.raft.propose(Kind.WRITE, [b"x"])
    events, messages = bench.raft.take()
    assert [e.name for e in events] == ["Append"]
    assert [m.entries[0].data for m in messages if isinstance(m, AppendEntries) and m.entries] == [b"x"]
    bench.raft.step(Appended("n2", "n1", FAR, 1, True, 2, Ref("n2", "1-00000000", 8)), 2.7)
    assert bench.raft.take()[0] == []
    bench.raft.persisted()
    assert [e.name for e in bench.raft.take()[0]] == ["Store", "Commit"]


def test_entries_of_an_older_term_are_not_committed_by_counting() -> None:
    bench = Bench(entries=log_of(1, 1), hard_state=HardState(1, None))
    elect(bench)
    answer(bench, match=2)
    assert bench.raft.commit_index == 0
    answer(bench, match=3)
    assert bench.raft.commit_index == 3


def test_conflicting_entries_are_replaced_and_agreeing_ones_kept() -> None:
    theirs = log_of(1, 1, 3)
    bench = Bench(entries=log_of(1, 1, 2, 2), hard_state=HardState(3, None))
    (reply,) = bench.hear(frame(3, 1, 1, theirs[1:]))
    assert isinstance(reply, Appended)
    assert (reply.ok, reply.match) == (True, 3)
    assert [bench.raft.log.term_at(i) for i in (1, 2, 3)] == [1, 1, 3]
    bench.hear(frame(3, 0, 0, theirs[:1]))
    assert bench.raft.last == 3
    assert bench.names() == ["Store"]


def test_a_frame_that_does_not_fit_is_refused_with_a_hint() -> None:
    bench = Bench(entries=log_of(1, 1, 1), hard_state=HardState(1, None))
    (reply,) = bench.hear(frame(2, 9, 2, []))
    assert isinstance(reply, Appended)
    assert (reply.ok, reply.match, reply.store) == (False, 3, None)


def test_a_committed_entry_is_never_replaced() -> None:
    bench = Bench()
    bench.hear(frame(1, 0, 0, log_of(1, 1), commit=2))
    with pytest.raises(LogDiverged, match="knows to be committed"):
        bench.raft.step(frame(2, 1, 1, log_of(1, 2)[1:]), 6.0)


def test_an_entry_that_does_not_continue_the_log_is_noticed() -> None:
    bench = Bench(entries=log_of(1, 1), hard_state=HardState(1, None))
    stranger = log_of(1, 1, 1)[2]
    with pytest.raises(LogDiverged, match="continue"):
        bench.raft.step(frame(1, 2, 1, [Entry(3, 1, stranger.kind, b"changed", stranger.digest)]), 5.0)


def test_what_was_stored_is_said_before_the_term_is_left() -> None:
    bench = Bench()
    bench.raft.step(frame(1, 0, 0, log_of(1)), 5.0)
    bench.raft.step(ask(2, 5, 1, src="n3"), 9.0)
    bench.turn()
    assert [(e.name, e.term) for e in bench.said] == [("Store", 1), ("Grant", 2)]


def test_a_leader_without_a_quorum_steps_down() -> None:
    bench = Bench()
    elect(bench)
    bench.raft.tick(2.6)
    assert bench.raft.role is Role.LEADER
    bench.raft.tick(3.6)
    bench.turn()
    assert bench.names()[-1] == "Lose"
    assert bench.raft.leader is None
    with pytest.raises(NotLeader):
        bench.raft.propose(Kind.WRITE, [b"x"])


def test_losing_to_a_higher_term_is_traced_in_the_term_that_was_lost() -> None:
    bench = Bench()
    elect(bench)
    bench.hear(Appended("n2", "n1", FAR, 7, False, 0, None), 2.6)
    assert [(e.name, e.term) for e in bench.said][-1] == ("Lose", 1)
    assert bench.raft.term == 7


def test_a_leader_of_a_moment_traces_its_record_before_the_disk_has_it() -> None:
    bench = Bench()
    bench.raft.tick(2.5)
    bench.turn()
    bench.hear(Vote("n2", "n1", FAR, 0, True, True, None), 2.5)
    bench.raft.step(Vote("n2", "n1", FAR, 1, True, False, Ref("n2", "1-00000000", 2)), 2.5)
    bench.raft.step(Appended("n3", "n1", FAR, 7, False, 0, None), 2.5)
    assert [e.name for e in bench.raft.take()[0]] == ["Win", "Append"]
    bench.raft.persisted()
    assert [e.name for e in bench.raft.take()[0]] == ["Store", "Lose"]


def test_a_lone_voter_elects_itself_and_commits() -> None:
    bench = Bench(voters=("n1",))
    bench.raft.tick(2.5)
    bench.turn()
    assert bench.names() == ["Campaign", "Win", "Append", "Store", "Commit"]


def test_the_hard_way_back_a_follower_far_behind_catches_up_in_frames() -> None:
    bench = Bench(entries=log_of(1, 1, 1, 1, 1), hard_state=HardState(1, None))
    elect(bench)
    refused = Appended("n3", "n1", FAR, bench.raft.term, False, 0, None)
    sent = [m for m in bench.hear(refused, 2.6) if m.dst == "n3"]
    assert [(m.prev, len(m.entries)) for m in sent if isinstance(m, AppendEntries)] == [(0, 6)]


def test_what_happened_after_what_is_kept_and_old_news_is_dropped() -> None:
    outbox = Outbox("n1", "1-00000000")
    outbox.heard(Ref("n2", "2-00000000", 3))
    outbox.heard(Ref("n2", "1-00000000", 9))
    outbox.record("Lose", 1)
    outbox.record("Lose", 1)
    first, second = outbox.take()[0]
    assert first.after == (Ref("n2", "2-00000000", 3),)
    assert second.after == ()


def test_nothing_is_said_after_the_exit_of_a_deposed_leader() -> None:
    bench = Bench()
    frontend = Frontend(bench.raft, bench.outbox)
    elect(bench)
    answer(bench)
    assert frontend.wanted() is FrontendType.LEADER
    frontend.transferred(FrontendType.LEADER)
    bench.turn()
    record = Entry.after(bench.raft.log.digest_at(1), 2, 7, Kind.EPOCH, epoch_record(2, "n2"))
    frontend.step(frame(7, 1, 1, [record], commit=2), 2.7)
    bench.turn()
    assert [(e.name, e.term) for e in bench.said[-4:]] == [("Lose", 1), ("Store", 7), ("Commit", 7), ("Exit", 7)]


def fenced(bench: Bench) -> None:
    """Elect a node, and let n2 have all of its log."""
    elect(bench)
    answer(bench)
    bench.turn()


def urged(messages: list[Message]) -> list[str]:
    return [m.dst for m in messages if isinstance(m, TimeoutNow)]


def test_an_heir_is_asked_once_it_has_the_whole_log_and_all_is_committed() -> None:
    bench = Bench()
    fenced(bench)
    bench.raft.propose(Kind.WRITE, [b"x"])
    bench.turn()
    bench.raft.hand_over("n2", patience=1.0)
    assert urged(bench.turn()) == []
    answer(bench, seq=6)
    assert urged(bench.sent) == ["n2"]
    assert urged(bench.turn()) == []
    bench.raft.tick(bench.raft.deadline())
    assert urged(bench.turn()) == ["n2"], "what may have been lost is asked again with the next heartbeat"


def test_with_force_the_heir_is_asked_whatever_it_has() -> None:
    bench = Bench()
    elect(bench)
    bench.raft.hand_over("n3", patience=1.0, force=True)
    assert urged(bench.turn()) == ["n3"]


def test_a_handover_that_takes_too_long_is_given_up() -> None:
    bench = Bench()
    fenced(bench)
    bench.raft.hand_over("n3", patience=0.3)
    assert bench.raft.heir == "n3"
    while bench.raft.heir:
        answer(bench, src="n2", seq=9)
        bench.raft.tick(bench.raft.deadline())
        assert urged(bench.turn()) == []
    assert bench.raft.role is Role.LEADER
    assert not bench.raft.handed_over


@pytest.mark.parametrize("heir", ["n1", "n9"])
def test_only_another_voter_can_be_the_heir(heir: str) -> None:
    bench = Bench()
    fenced(bench)
    with pytest.raises(ValueError, match="no other voter"):
        bench.raft.hand_over(heir, patience=1.0)


def test_an_heir_stands_at_once_and_is_voted_for_in_spite_of_a_leader_that_lives() -> None:
    heir, voter = Bench("n2"), Bench("n3")
    beat = AppendEntries("n1", "n2", Ref("n1", "1-00000000", 9), 1, 0, 0, (), 0, None)
    for bench in (heir, voter):
        bench.hear(beat)
    assert heir.hear(TimeoutNow("n1", "n2", beat.ref, 2)) == [], "of another term: stale"
    assert heir.hear(TimeoutNow("n3", "n2", beat.ref, 1)) == [], "not from its leader"
    asked = [m for m in heir.hear(TimeoutNow("n1", "n2", beat.ref, 1)) if isinstance(m, RequestVote)]
    assert [(m.dst, m.term, m.pre, m.heir) for m in asked] == [("n1", 2, False, True), ("n3", 2, False, True)]
    (vote,) = voter.hear(asked[1])
    assert isinstance(vote, Vote)
    assert vote.granted


def test_a_frame_and_a_late_clock_in_one_turn() -> None:
    """The process was paused between the two: an answer is owed to a leader that is none any more."""
    bench = Bench()
    bench.raft.step(frame(1, 0, 0, log_of(1)), 5.0)
    bench.raft.tick(50.0)
    messages = bench.turn()
    assert any(isinstance(message, Appended) and message.ok for message in messages)


@pytest.mark.parametrize("common", [20, 9000])
def test_a_long_tail_that_nobody_else_has_is_stepped_over_in_few_frames(common: int) -> None:
    """n1 has appended much in term 1 that n2, leader of term 2, does not have."""
    log = Log()
    log.append(1, Kind.EPOCH, epoch_record(1, "n1"))
    for _ in range(common):
        log.append(1, Kind.WRITE, b"common")
    shared = list(log.between(1, log.last))
    for _ in range(2000):
        log.append(1, Kind.WRITE, b"n1's own")
    other = Log(shared)
    other.append(2, Kind.EPOCH, epoch_record(2, "n2"))
    for _ in range(2100):
        other.append(2, Kind.WRITE, b"n2's own")
    nodes = {
        name: Raft(
            name, founding({n: n for n in ("n1", "n2", "n3")}), Outbox(name, "1-00000000"), now=0.0,
            hard_state=HardState(2, None), entries=list(entries.between(1, entries.last)), timing=TIMING,
            rng=random.Random(1),
        )
        for name, entries in (("n1", log), ("n2", other))
    }  # fmt: skip
    nodes["n2"].tick(3.0)
    frames, in_flight = 0, _said(nodes["n2"])
    for _ in range(200):
        message = in_flight.pop(0)
        frames += isinstance(message, AppendEntries) and message.dst == "n1"
        if message.dst in nodes:
            nodes[message.dst].step(message, 3.0)
            in_flight += _said(nodes[message.dst])
        if nodes["n1"].last == nodes["n2"].last:
            break
    assert nodes["n1"].last == nodes["n2"].last
    assert frames < 40


def _said(raft: Raft) -> list[Message]:
    messages: list[Message] = []
    while True:
        messages += raft.take()[1]
        if raft.to_persist() is None:
            return messages
        raft.persisted()
