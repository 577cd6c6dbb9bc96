"""The journal: three kinds of answer, replay in order, and nothing promised that is not committed."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from math import inf

import pytest

from hacoord.config import Batch
from hacoord.ha.frontend import Frontend, FrontendType
from hacoord.journal import (
    MAX_DATA,
    Journal,
    JournalEntry,
    NotLeader,
    Outcome,
    OutcomeUnknown,
    Overloaded,
    Receipt,
    ReplayFailed,
)
from hacoord.raft.core import Raft, Timing
from hacoord.raft.group import founding
from hacoord.raft.log import epoch_record
from hacoord.raft.messages import EMPTY_DIGEST, Appended, AppendEntries, Entry, HardState, Kind, Message, Ref, Vote
from hacoord.raft.outbox import Event, Outbox

WAIT = 10.0
PEER = Ref("n2", "1-00000002", 1)


class Leader:
    """n1 of n1 and n2; n2 is played by the test, which so decides what is committed when."""

    def __init__(self, batch: Batch | None = None, entries: Sequence[Entry] = ()) -> None:
        outbox = Outbox("n1", "1-00000001")
        group = founding({"n1": "127.0.0.1:7001", "n2": "127.0.0.1:7002"})
        state = HardState(entries[-1].term if entries else 0)
        self.raft = Raft(
            "n1", group, outbox, now=0.0, hard_state=state, entries=entries, timing=Timing(1.0, 0.1),
            rng=random.Random(1),
        )  # fmt: skip
        self.frontend = Frontend(self.raft, outbox)
        self.woken = 0
        self.now = 5.0
        self.journal = Journal(self.frontend, batch or Batch(), self._wake, clock=lambda: self.now)
        self.said: list[Event] = []
        self.answers: list[Outcome] = []
        self.entries: list[JournalEntry] = []
        self.journal.on_entry(self.entries.append)

    def _wake(self) -> None:
        self.woken += 1

    def elect(self) -> None:
        self.frontend.tick(5.0)
        for pre in (True, False):
            self.speak()
            self.hear(Vote("n2", "n1", PEER, self.raft.term, True, pre, None if pre else PEER))
        self.peer_stores()
        assert self.frontend.wanted() is FrontendType.LEADER
        self.frontend.transferred(FrontendType.LEADER)
        self.peer_stores()
        assert self.frontend.ready
        self.turn()

    def peer_stores(self) -> None:
        """n2 says that it has stored the whole log."""
        self.speak()
        self.hear(Appended("n2", "n1", PEER, self.raft.term, True, self.raft.last, PEER))

    def hear(self, message: Message) -> None:
        self.frontend.step(message, self.now)
        self.speak()

    def speak(self) -> None:
        while True:
            self.said += self.raft.take()[0]
            if self.raft.to_persist() is None:
                return
            self.raft.persisted()

    def write(self, data: bytes) -> None:
        self.journal.submit(data, self.answers.append)

    def turn(self) -> None:
        """What the loop of a node does with its journal."""
        self.journal.propose()
        self.speak()
        self.journal.replay()
        self.journal.acknowledge()
        self.speak()
        self.journal.answer()


def kinds(outcomes: list[Outcome]) -> list[type[object]]:
    return [type(outcome) for outcome in outcomes]


def test_a_receipt_comes_only_once_the_entry_is_committed_and_its_ack_recorded() -> None:
    leader = Leader()
    leader.elect()
    leader.write(b"a")
    leader.write(b"b")
    leader.turn()
    assert leader.answers == []
    assert leader.entries == []
    assert "Ack" not in [event.name for event in leader.said]
    leader.peer_stores()
    leader.turn()
    ack = next(event for event in leader.said if event.name == "Ack")
    assert (ack.fields["first"], ack.fields["last"]) == (3, 4)
    ref = Ref("n1", "1-00000001", ack.seq)
    assert leader.answers == [Receipt(3, 1, 1, ref), Receipt(4, 1, 1, ref)]
    assert leader.entries == [JournalEntry(3, 1, 1, b"a"), JournalEntry(4, 1, 1, b"b")]
    assert leader.journal.read(1, 100) == leader.entries
    assert leader.journal.read(4, 4) == leader.entries[1:]
    assert leader.journal.read(5, 4) == []


def test_a_node_that_does_not_lead_refuses() -> None:
    node = Leader()
    node.write(b"a")
    node.turn()
    assert kinds(node.answers) == [NotLeader]
    assert node.raft.last == 0


def test_lost_leadership_leaves_what_was_proposed_unknown_and_refuses_the_rest() -> None:
    leader = Leader(Batch(entries=1))
    leader.elect()
    leader.write(b"a")
    leader.write(b"b")
    leader.turn()
    leader.hear(Vote("n2", "n1", PEER, 9, False, False, None))
    assert leader.frontend.stopped
    leader.journal.close()
    leader.turn()
    assert sorted(kinds(leader.answers), key=str) == [OutcomeUnknown, NotLeader]
    assert leader.entries == []


def test_no_promise_outlives_the_loop() -> None:
    leader = Leader()
    leader.elect()
    leader.write(b"a")
    leader.turn()
    leader.peer_stores()
    leader.journal.replay()
    leader.journal.acknowledge()
    # The loop ends here, before the Ack is traced: the disk is full, say.
    leader.journal.abandon()
    assert kinds(leader.answers) == [OutcomeUnknown]
    leader.write(b"b")
    assert kinds(leader.answers) == [OutcomeUnknown, NotLeader]


def test_what_waits_is_bounded_and_taken_in_batches() -> None:
    leader = Leader(Batch(entries=2, queue=3))
    leader.elect()
    for data in (b"a", b"b", b"c", b"d"):
        leader.write(data)
    assert kinds(leader.answers) == [Overloaded]
    leader.turn()
    assert leader.raft.last == 4
    assert leader.journal.due_in() <= 0
    leader.turn()
    assert leader.raft.last == 5
    assert leader.journal.due_in() > 0


def test_batches_are_bounded_by_bytes_too() -> None:
    leader = Leader(Batch(bytes=1024))
    leader.elect()
    for _ in range(3):
        leader.write(bytes(1000))
    leader.turn()
    assert leader.raft.last == 4
    with pytest.raises(ValueError, match="bytes at most"):
        leader.write(bytes(MAX_DATA + 1))


def test_a_callback_that_fails_is_named_with_its_entry() -> None:
    leader = Leader()

    def broken(_: JournalEntry) -> None:
        raise KeyError("no such table")

    leader.journal.on_entry(broken)
    leader.elect()
    leader.write(b"a")
    leader.turn()
    leader.peer_stores()
    with pytest.raises(ReplayFailed, match=r"replay of entry 3 failed: .*no such table"):
        leader.journal.replay()


class Caller(threading.Thread):
    """A thread that appends, and keeps what came of it."""

    def __init__(self, journal: Journal, timeout: float) -> None:
        super().__init__()
        self.outcome: object = None
        self._journal = journal
        self._timeout = timeout

    def run(self) -> None:
        try:
            self.outcome = self._journal.append(b"x", self._timeout)
        except Exception as error:
            self.outcome = error


def until_waiting(leader: Leader) -> None:
    """Until the caller's write has reached the queue."""
    for _ in range(10_000):
        if leader.journal.due_in() <= 0 and leader.woken:
            return
        threading.Event().wait(0.001)
    raise AssertionError("the write never came")


def test_append_from_another_thread_returns_the_receipt() -> None:
    leader = Leader()
    leader.elect()
    caller = Caller(leader.journal, WAIT)
    caller.start()
    until_waiting(leader)
    leader.turn()
    leader.peer_stores()
    leader.turn()
    caller.join(WAIT)
    assert isinstance(caller.outcome, Receipt)
    assert caller.outcome.index == 3


def test_append_that_times_out_knows_whether_it_was_proposed() -> None:
    leader = Leader()
    leader.elect()
    early = Caller(leader.journal, 0.05)
    early.start()
    early.join(WAIT)
    assert isinstance(early.outcome, Overloaded)
    leader.turn()
    assert leader.raft.last == 2, "a write given up before its turn must not be proposed"

    leader.woken = 0
    late = Caller(leader.journal, 0.3)
    late.start()
    until_waiting(leader)
    leader.turn()
    assert leader.raft.last == 3
    late.join(WAIT)
    assert isinstance(late.outcome, OutcomeUnknown)
    leader.peer_stores()
    leader.turn()
    assert [entry.index for entry in leader.entries] == [3]


def test_append_to_a_closed_journal_is_refused_at_once() -> None:
    leader = Leader()
    leader.journal.close()
    with pytest.raises(NotLeader):
        leader.journal.append(b"x", WAIT)


# --- batches


def test_a_write_waits_for_others_until_its_deadline() -> None:
    leader = Leader(Batch(deadline=0.25))
    leader.elect()
    assert leader.journal.due_in() == inf
    leader.write(b"a")
    assert leader.journal.due_in() == 0.25
    leader.turn()
    leader.now += 0.125
    leader.write(b"b")
    assert leader.journal.due_in() == 0.125
    leader.turn()
    assert leader.raft.last == 2
    leader.now += 0.125
    assert leader.journal.due_in() <= 0
    leader.turn()
    assert leader.raft.last == 4


@pytest.mark.parametrize(("batch", "writes"), [(Batch(entries=3, deadline=1), 3), (Batch(bytes=1024, deadline=1), 2)])
def test_a_full_batch_does_not_wait(batch: Batch, writes: int) -> None:
    leader = Leader(batch)
    leader.elect()
    for left in reversed(range(writes)):
        assert leader.journal.due_in() > 0
        leader.write(b"x" * 600)
        assert (leader.journal.due_in() <= 0) is not bool(left)
    leader.turn()
    assert leader.raft.last == 2 + writes
    assert leader.journal.due_in() == inf


def test_what_waits_for_its_deadline_when_the_node_ends_is_refused() -> None:
    leader = Leader(Batch(deadline=1))
    leader.elect()
    leader.write(b"a")
    leader.turn()
    leader.journal.close()
    leader.turn()
    assert kinds(leader.answers) == [NotLeader]


# --- how old what can be read may be


def told(node: Leader, commit: int, *entries: Entry) -> None:
    """n2 leads, and says what is committed; then the loop of n1 has its turn."""
    prev = entries[0].index - 1 if entries else node.raft.last
    prev_term = node.raft.log.term_at(prev)
    node.hear(AppendEntries("n2", "n1", PEER, 1, prev, prev_term, entries, commit, PEER))
    node.turn()


def log_of(count: int) -> list[Entry]:
    log = [Entry.after(EMPTY_DIGEST, 1, 1, Kind.EPOCH, epoch_record(1, "n2"))]
    while len(log) < count:
        log.append(Entry.after(log[-1].digest, len(log) + 1, 1, Kind.WRITE, b"x"))
    return log


def test_who_has_heard_nobody_can_read_nothing() -> None:
    node = Leader()
    node.turn()
    assert node.journal.staleness() == inf
    assert not node.journal.can_read(1e9)


def test_a_follower_is_as_fresh_as_the_last_word_it_has_caught_up_with() -> None:
    node, log = Leader(), log_of(9)
    told(node, 2, *log[:2])
    assert node.journal.staleness() == 0
    node.now = 8.0
    assert node.journal.staleness() == 3
    assert node.journal.can_read(3)
    assert not node.journal.can_read(2.9)
    told(node, 9, *log[2:4])  # 9 are committed, and it has 4 of them
    assert node.journal.applied == 4
    assert node.journal.staleness() == 3
    node.now = 10.0
    told(node, 9, *log[4:])
    assert node.journal.staleness() == 0


def test_a_laggard_that_catches_up_is_as_old_as_the_word_it_reached_although_more_was_said_since() -> None:
    node, log = Leader(), log_of(9)
    told(node, 4, *log[:2])
    node.now = 7.0
    told(node, 8, *log[2:4])
    assert node.journal.staleness() == 2  # the word of 5.0: there were 4
    node.now = 9.0
    told(node, 9, *log[4:8])
    assert node.journal.staleness() == 2  # the word of 7.0: there were 8


def test_what_is_not_applied_grows_old_although_the_leader_is_heard() -> None:
    """StarRocks issue 79041: replay stood still, the heartbeats went on, and so did the reads."""
    node, log = Leader(), log_of(3)
    told(node, 2, *log[:2])
    node.journal.replay = lambda: None  # type: ignore[method-assign]
    for node.now in (6.0, 7.0, 8.0):
        told(node, 3, *log[2:])
    assert node.journal.staleness() == 3
    assert node.raft.commit_index == 3


def test_a_leader_is_as_fresh_as_its_quorum() -> None:
    leader = Leader()
    leader.elect()
    assert leader.frontend.ready
    assert leader.journal.staleness() == 0
    leader.now = 5.5
    leader.frontend.tick(leader.now)
    leader.turn()
    assert leader.journal.staleness() == 0.5
    leader.peer_stores()
    leader.turn()
    assert leader.journal.staleness() == 0


def test_an_answer_that_fails_keeps_no_other_from_its_own() -> None:
    def failing(_: Outcome) -> None:
        raise RuntimeError("of the embedding system")

    leader = Leader()
    leader.elect()
    leader.journal.submit(b"x", failing)
    leader.write(b"y")
    leader.turn()
    leader.peer_stores()
    with pytest.raises(RuntimeError):
        leader.turn()
    leader.journal.abandon()
    assert len(leader.answers) == 1


def test_writes_that_are_held_wait_and_nothing_else_does() -> None:
    leader = Leader()
    leader.elect()
    leader.frontend.held_until = leader.now + 0.5
    leader.write(b"a")
    assert leader.journal.due_in() == 0.5
    assert leader.journal.due_in() > 0
    last = leader.raft.last
    leader.turn()
    assert leader.raft.last == last
    leader.journal.submit_read(leader.answers.append)
    assert leader.journal.due_in() <= 0
    leader.now += 0.5
    assert leader.journal.due_in() <= 0
    leader.turn()
    leader.peer_stores()
    leader.turn()
    assert Receipt in kinds(leader.answers)


def test_answers_that_fail_when_the_node_ends_keep_no_other_from_its_own() -> None:
    def failing(_: Outcome) -> None:
        raise RuntimeError("of the embedding system")

    leader = Leader()
    leader.journal.submit(b"x", failing)
    leader.journal.submit(b"y", failing)
    leader.write(b"z")
    with pytest.raises(RuntimeError):
        leader.journal.abandon()
    assert kinds(leader.answers) == [NotLeader]
