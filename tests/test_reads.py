"""Linearizable reads: rounds of confirmation in the core, and the journal and the clients that share them."""

from __future__ import annotations

import threading

import pytest
from test_core import FAR, Bench, answer, elect, frame, log_of
from test_journal import PEER, WAIT, Leader

from hacoord.config import Batch
from hacoord.journal import Journal, NotLeader, Outcome, Overloaded, ReadPoint
from hacoord.raft.core import Role
from hacoord.raft.messages import Appended, AppendEntries, HardState, Ref, Vote


def leader_of_three() -> Bench:
    bench = Bench()
    elect(bench)
    answer(bench)
    assert bench.raft.fenced
    return bench


def asked(bench: Bench) -> dict[str, Ref | None]:
    """Whom the frames sent last ask to confirm what."""
    return {m.dst: m.read for m in bench.sent if isinstance(m, AppendEntries)}


def confirms(bench: Bench, start: Ref | None, src: str = "n2", term: int = 1, now: float = 2.6) -> None:
    seq = 7 if src == "n2" else 8
    bench.hear(
        Appended(src, "n1", FAR, term, True, bench.raft.last, None, start, Ref(src, "1-00000000", seq)), now
    )


def test_a_leader_asks_all_and_serves_once_more_than_half_have_confirmed() -> None:
    bench = Bench(voters=("n1", "n2", "n3", "n4", "n5"))
    bench.raft.tick(2.5)
    bench.turn()
    for pre in (True, False):
        for voter in ("n2", "n3"):
            bench.hear(Vote(voter, "n1", FAR, bench.raft.term, True, pre, None if pre else Ref(voter, "1-00000000", 2)))
    for voter in ("n2", "n3"):
        answer(bench, voter)
    bench.raft.read_start()
    bench.turn()
    start = Ref("n1", "1-00000000", bench.last("ReadStart").seq)
    assert asked(bench) == dict.fromkeys(("n2", "n3", "n4", "n5"), start)
    confirms(bench, start, "n2")
    assert bench.raft.read_serve(1) is None
    confirms(bench, start, "n2")
    assert bench.raft.read_serve(1) is None
    confirms(bench, start, "n3")
    assert bench.raft.read_serve(1) is not None
    bench.turn()
    served = bench.last("ReadServe")
    assert served.fields["start"] == start
    assert served.fields["confirms"] == [Ref("n2", "1-00000000", 7), Ref("n3", "1-00000000", 8)]
    assert bench.raft.read_serve(1) is None, "a round is served once"


def test_a_lost_confirmation_is_asked_for_again_with_the_next_heartbeat() -> None:
    bench = leader_of_three()
    bench.raft.read_start()
    bench.turn()
    start = Ref("n1", "1-00000000", bench.last("ReadStart").seq)
    bench.raft.tick(2.7)
    bench.turn()
    assert asked(bench) == {"n2": start, "n3": start}
    confirms(bench, start, "n2", now=2.75)
    bench.raft.tick(2.9)
    bench.turn()
    assert asked(bench) == {"n2": None, "n3": start}


def test_the_confirmation_of_an_earlier_round_is_none_of_this_one() -> None:
    bench = leader_of_three()
    bench.raft.read_start()
    bench.turn()
    first = Ref("n1", "1-00000000", bench.last("ReadStart").seq)
    confirms(bench, first)
    assert bench.raft.read_serve(1)
    bench.raft.read_start()
    bench.turn()
    confirms(bench, first, "n3")
    assert bench.raft.read_serve(1) is None


def test_a_deposed_leader_cannot_serve() -> None:
    bench = leader_of_three()
    bench.raft.read_start()
    bench.turn()
    start = Ref("n1", "1-00000000", bench.last("ReadStart").seq)
    # n2 is in a later term: its answer deposes the leader, and what n3 says afterwards comes too late.
    bench.hear(Appended("n2", "n1", FAR, 2, False, 0, None), 2.6)
    assert bench.raft.role is Role.FOLLOWER
    confirms(bench, start, "n3")
    assert bench.raft.read_serve(1) is None
    assert "ReadServe" not in bench.names()


def test_a_follower_confirms_a_round_once_and_repeats_its_answer() -> None:
    bench = Bench()
    ask = frame(1, 0, 0, log_of(1))
    start, later = Ref("n2", "1-00000000", 8), Ref("n2", "1-00000000", 11)

    def asking(read: Ref) -> Appended:
        m = AppendEntries(ask.src, ask.dst, ask.ref, 1, 0, 0, ask.entries, 0, None, read)
        (reply,) = bench.hear(m)
        assert isinstance(reply, Appended)
        return reply

    first = asking(start)
    assert first.read == start
    assert first.confirm is not None
    assert bench.last("Confirm").fields == {"start": start}
    assert asking(start).confirm == first.confirm
    assert asking(later).confirm != first.confirm
    assert asking(start).read == later, "a frame that was overtaken asks for nothing any more"
    assert bench.names().count("Confirm") == 2


def test_a_follower_whose_log_does_not_fit_confirms_all_the_same() -> None:
    bench = Bench()
    start = Ref("n2", "1-00000000", 8)
    (reply,) = bench.hear(AppendEntries("n2", "n1", FAR, 1, 9, 1, (), 0, None, start))
    assert isinstance(reply, Appended)
    assert not reply.ok
    assert reply.read == start


def test_a_confirmation_is_said_only_once_its_term_is_on_disk() -> None:
    bench = Bench(hard_state=HardState(1, None))
    bench.raft.step(AppendEntries("n2", "n1", FAR, 4, 0, 0, (), 0, None, Ref("n2", "1-00000000", 8)), 5.0)
    assert bench.raft.take() == ([], [])
    write = bench.raft.to_persist()
    assert write is not None
    assert write.hard_state == HardState(4, None)
    bench.raft.persisted()
    events, (reply,) = bench.raft.take()
    assert [e.name for e in events] == ["Confirm"]
    assert isinstance(reply, Appended)


def test_who_has_moved_on_confirms_nothing() -> None:
    bench = Bench(hard_state=HardState(3, None))
    (reply,) = bench.hear(AppendEntries("n2", "n1", FAR, 2, 0, 0, (), 0, None, Ref("n2", "1-00000000", 8)))
    assert isinstance(reply, Appended)
    assert (reply.term, reply.confirm) == (3, None)
    assert bench.names() == []


# --- the journal ----------------------------------------------------------------------------------------------------


def peer_confirms(leader: Leader) -> None:
    start = next(Ref("n1", "1-00000001", e.seq) for e in reversed(leader.said) if e.name == "ReadStart")
    leader.hear(Appended("n2", "n1", PEER, leader.raft.term, True, leader.raft.last, PEER, start, PEER))


def starts(leader: Leader) -> int:
    return [event.name for event in leader.said].count("ReadStart")


def test_reads_of_one_turn_share_a_round_and_later_ones_the_next() -> None:
    leader = Leader()
    leader.elect()
    for _ in range(3):
        leader.journal.submit_read(leader.answers.append)
    leader.turn()
    leader.journal.submit_read(leader.answers.append)
    leader.turn()
    assert (starts(leader), leader.answers) == (1, [])
    assert leader.journal.due_in() > 0, "a read that waits for a round must not keep the loop awake"
    peer_confirms(leader)
    leader.turn()
    assert len(leader.answers) == 3
    point = leader.answers[0]
    assert isinstance(point, ReadPoint)
    assert point.index == leader.raft.commit_index
    assert leader.journal.due_in() <= 0
    leader.turn()
    peer_confirms(leader)
    leader.turn()
    assert (starts(leader), len(leader.answers)) == (2, 4)


def test_a_read_sees_all_that_was_acknowledged_before_it() -> None:
    leader = Leader()
    leader.elect()
    leader.write(b"a")
    leader.turn()
    leader.peer_stores()
    leader.turn()
    leader.journal.submit_read(leader.answers.append)
    leader.write(b"not acknowledged yet")
    leader.turn()
    peer_confirms(leader)
    leader.turn()
    receipt, point = leader.answers[:2]
    assert isinstance(point, ReadPoint)
    assert point.index >= receipt.index  # type: ignore[union-attr]
    assert leader.journal.applied >= point.index


def test_a_lone_voter_confirms_by_itself() -> None:
    bench = Bench(voters=("n1",))
    bench.raft.tick(2.5)
    bench.turn()
    bench.raft.read_start()
    assert bench.raft.read_serve(1)
    bench.turn()
    assert bench.last("ReadServe").fields["confirms"] == []


def test_reads_are_refused_where_nobody_leads_and_when_leadership_is_lost() -> None:
    leader = Leader()
    leader.journal.submit_read(leader.answers.append)
    leader.turn()
    assert [type(outcome) for outcome in leader.answers] == [NotLeader]
    leader.elect()
    leader.journal.submit_read(leader.answers.append)
    leader.turn()
    leader.hear(Appended("n2", "n1", PEER, 9, False, 0, None))
    assert leader.frontend.stopped
    leader.turn()
    assert [type(outcome) for outcome in leader.answers] == [NotLeader, NotLeader]


def test_no_read_outlives_the_loop_or_the_queue() -> None:
    leader = Leader(Batch(queue=2))
    leader.elect()
    for _ in range(3):
        leader.journal.submit_read(leader.answers.append)
    assert [type(outcome) for outcome in leader.answers] == [Overloaded]
    leader.turn()
    leader.journal.submit_read(leader.answers.append)
    assert len(leader.answers) == 2, "the two that share the round fill the queue"
    peer_confirms(leader)
    leader.journal.acknowledge()
    # The loop ends here, before the ReadServe is traced.
    leader.journal.abandon()
    assert [type(outcome) for outcome in leader.answers] == [Overloaded, Overloaded, NotLeader, NotLeader]


class Reader(threading.Thread):
    """A thread that reads, and keeps what came of it."""

    def __init__(self, journal: Journal, timeout: float) -> None:
        super().__init__()
        self.outcome: Outcome | TimeoutError | None = None
        self._journal = journal
        self._timeout = timeout

    def run(self) -> None:
        try:
            self.outcome = self._journal.linearizable_read(self._timeout)
        except (NotLeader, TimeoutError) as error:
            self.outcome = error


def test_a_linearizable_read_from_another_thread() -> None:
    leader = Leader()
    leader.elect()
    reader = Reader(leader.journal, WAIT)
    reader.start()
    for _ in range(10_000):
        if leader.journal.due_in() <= 0 and leader.woken:
            break
        threading.Event().wait(0.001)
    leader.turn()
    peer_confirms(leader)
    leader.turn()
    reader.join(WAIT)
    assert isinstance(reader.outcome, ReadPoint)
    assert reader.outcome.index == leader.raft.commit_index


def test_a_read_that_nobody_confirms_times_out() -> None:
    leader = Leader()
    leader.elect()
    with pytest.raises(TimeoutError, match="no majority has confirmed"):
        leader.journal.linearizable_read(0.05)
