"""The replicated journal, as the system that embeds a node sees it: append, read, replay.

An append comes back in exactly one of three ways, and the difference matters: a `Receipt` (committed under the epoch
of this leader), a refusal (`NotLeader`, `Overloaded`: it was not and will not be written, so trying again is safe), or
`OutcomeUnknown` (it may or may not be written: trying again may write it twice, unless it has a key: keys.py).

A read of what this node has may lag behind. `linearizable_read` says up to where the journal has to be read so that
nothing is missing that anybody had been promised before the call.

`append`, `read`, `linearizable_read` and `close` may be called from any thread; everything else belongs to the loop in
node.py.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby

from hacoord.config import Batch
from hacoord.freshness import Freshness
from hacoord.ha.frontend import Frontend
from hacoord.intake import Intake, Write
from hacoord.keys import pack
from hacoord.machine import JournalEntry, StateMachine
from hacoord.outcomes import OUTCOME_NAMES, Answer, NotLeader, Outcome, OutcomeUnknown, Overloaded, ReadPoint, Receipt
from hacoord.raft.core import Role
from hacoord.raft.messages import Kind
from hacoord.replay import GivenUp, Replay, ReplayFailed

__all__ = [
    "Answer", "GivenUp", "Journal", "JournalEntry", "NotLeader", "Outcome", "OutcomeUnknown", "Overloaded", "ReadPoint",
    "Receipt", "ReplayFailed",
]  # fmt: skip

MAX_DATA = 256 * 1024
"""The longest entry, in bytes: it must fit into a frame with room to spare."""


@dataclass(frozen=True, slots=True)
class _Proposed:
    """A write in the log, not yet committed; or, without an index, one whose key somebody has written before."""

    index: int
    term: int
    key: str | None
    answer: Answer


class Journal:
    """The journal of one node."""

    def __init__(
        self,
        frontend: Frontend,
        batch: Batch,
        wake: Callable[[], None],
        read_image: Callable[[], bytes] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`wake` ends the loop's wait from another thread; `read_image` returns the content of the image there is.

        `clock` is the one, in seconds, that the driver reads for the core.
        """
        self._frontend = frontend
        self._batch = batch
        self._wake = wake
        self._replay = Replay(frontend.raft, read_image)
        self._freshness = Freshness(frontend.raft, clock)
        self._lock = threading.Lock()
        self._closed = False
        self._clock = clock
        self._intake = Intake(batch, clock)
        self._proposed: deque[_Proposed] = deque()
        self._repeated: list[_Proposed] = []
        self._pending: set[str] = set()  # the keys of what is proposed
        # Linearizable reads: those that share the round under way, and those that wait for the next.
        self._reading: list[Answer] = []
        self._reads_waiting: list[Answer] = []
        self._due: list[tuple[Answer, Outcome]] = []
        # What the machine said of the entries that are still to be acknowledged here, by index.
        self._results: dict[int, object] = {}
        self.outcomes = dict.fromkeys(OUTCOME_NAMES.values(), 0)
        """What became of writes and reads so far, and how often."""

    # --- for the embedding system --------------------------------------------------------------------------------

    def append(self, data: bytes, timeout: float, key: str | None = None) -> Receipt:
        """Write one entry; returns once it is committed under the epoch of this node, the LEADER.

        With a `key` of at most MAX_KEY bytes it is written once, however often it is tried with that key, by whomever
        and at whichever LEADER, as long as the key is among the newest KEYS that were written: all get one Receipt, but
        for its Ack. So trying again is safe after OutcomeUnknown, or no answer at all.

        Raises NotLeader (with the leader's name, if known) and Overloaded when the entry was not and will not be
        written, OutcomeUnknown when leadership was lost or `timeout` seconds passed after it was proposed, ValueError
        when it is longer than MAX_DATA, or its key is not as it should be.
        """
        future: Future[Outcome] = Future()
        self.submit(data, future.set_result, future.set_running_or_notify_cancel, key=key)
        self._wake()
        try:
            outcome = future.result(timeout)
        except TimeoutError:
            if future.cancel():
                raise Overloaded(f"the write had to wait more than {timeout:g} s for its turn") from None
            raise OutcomeUnknown(f"not committed within {timeout:g} s; it may still be") from None
        if isinstance(outcome, Receipt):
            return outcome
        assert isinstance(outcome, Exception)
        raise outcome

    def linearizable_read(self, timeout: float) -> ReadPoint:
        """Up to where to `read` so that nothing is missing which anybody had been promised before this call.

        Returns once this node, the LEADER, has replayed that far. Raises NotLeader (with the leader's name, if known),
        Overloaded, and TimeoutError when no majority has confirmed that it leads within `timeout` seconds. Trying
        again is always safe.
        """
        future: Future[Outcome] = Future()
        self.submit_read(future.set_result)
        self._wake()
        try:
            outcome = future.result(timeout)
        except TimeoutError:
            raise TimeoutError(f"no majority has confirmed within {timeout:g} s that this node leads") from None
        if isinstance(outcome, ReadPoint):
            return outcome
        assert isinstance(outcome, Exception)
        raise outcome

    def read(self, first: int, last: int) -> list[JournalEntry]:
        """The journal's entries with first <= index <= last, as far as this node has replayed them.

        A node that lags behind returns less than its leader would. Raises GivenUp when the first of them are there no
        more.
        """
        return self._replay.read(first, last)

    def staleness(self) -> float:
        """For how many seconds what this node has applied may have been overtaken: inf if it has never been up to date.

        It is the time since all was applied that a leader had said, then, to be committed; for a leader, since a quorum
        answered it. No clock but this node's has a say in it, and it grows on when nothing arrives, or nothing is
        applied any more. Who is cut off together with a leader that has not noticed yet may be up to two election
        timeouts further behind.
        """
        return self._freshness.staleness()

    def can_read(self, max_staleness: float) -> bool:
        """Whether `read`, and the state machine, show what is no more than so many seconds old."""
        return self.staleness() <= max_staleness

    @property
    def first(self) -> int:
        """The first index that `read` can still be asked for."""
        return self._replay.first

    @property
    def applied(self) -> int:
        """Index of the last log entry that has been replayed."""
        return self._replay.applied

    def on_entry(self, callback: Callable[[JournalEntry], None]) -> None:
        """Have every committed entry replayed to `callback`, in order, from the first one on after each start.

        Where the node hosts a state machine, those that its image stands for are left out. Call before the node runs.
        The callback runs in the node's loop: a slow one delays heartbeats, and one that
        raises ends the process.
        """
        self._replay.callbacks.append(callback)

    def host(self, machine: StateMachine) -> None:
        """Have every committed entry applied to the one state machine of this node. Call before the node runs."""
        if self._replay.machine is not None:
            raise ValueError("a node hosts one state machine")
        self._replay.machine = machine

    @property
    def hosts(self) -> bool:
        """Whether there is a state machine."""
        return self._replay.machine is not None

    def image(self) -> Iterator[bytes]:
        """The content of an image of what has been replayed (images.py). Raises ReplayFailed, now or later."""
        return self._replay.image()

    # --- for the loop --------------------------------------------------------------------------------------------

    def submit(
        self, data: bytes, answer: Answer, start: Callable[[], bool] = lambda: True, *, key: str | None = None
    ) -> None:
        """Queue a write; `answer` is called once, in the loop, with what became of it. ValueError as for `append`."""
        if len(data) > MAX_DATA:
            raise ValueError(f"an entry may have {MAX_DATA} bytes at most, this one has {len(data)}")
        if key is not None:
            data = pack(key, data)
        with self._lock:
            waiting, proposed, _ = self.depth
            refusal = self._refusal(waiting + proposed, "writes")
            if refusal is None:
                self._intake.put(Write(data, key, answer, start))
        if refusal is not None and start():
            self._tell(answer, refusal)

    def submit_read(self, answer: Answer) -> None:
        """Queue a linearizable read; `answer` is called once, in the loop, with what became of it."""
        with self._lock:
            _, _, reads = self.depth
            refusal = self._refusal(reads, "reads")
            if refusal is None:
                self._reads_waiting.append(answer)
        if refusal is not None:
            self._tell(answer, refusal)

    def _refusal(self, waiting: int, what: str) -> Outcome | None:
        """Why one more is not taken in, None if it is."""
        if self._closed:
            return NotLeader(None)
        if waiting >= self._batch.queue:
            return Overloaded(f"{self._batch.queue} {what} are waiting already; this one was not taken in")
        return None

    def due_in(self) -> float:
        """Seconds until `propose` has something to do; inf if nothing waits."""
        return 0.0 if self._reads_waiting and not self._reading else max(self._intake.due_in(), self._held())

    def _held(self) -> float:
        """Seconds for which writes have to wait, whether or not they are due."""
        return self._frontend.held_until - self._clock()

    @property
    def depth(self) -> tuple[int, int, int]:
        """Writes that wait, writes proposed and not yet acknowledged, reads not yet answered."""
        proposed = len(self._proposed) + len(self._repeated)
        return len(self._intake), proposed, len(self._reads_waiting) + len(self._reading)

    def propose(self) -> None:
        """Put what waits into the log, as much as one turn takes, and begin to answer reads; or have them refused."""
        self._start_reads()
        if self._held() > 0:
            return
        with self._lock:
            writes = self._intake.take()
        if not writes:
            return
        try:
            self._frontend.demand_ready()
        except NotLeader as refusal:
            self._due += [(write.answer, refusal) for write in writes]
            return
        term = self._frontend.raft.term
        for keyed, together in groupby(self._new(writes, term), key=lambda write: write.key is not None):
            new = list(together)
            first, _ = self._frontend.append([write.data for write in new], Kind.KEYED if keyed else Kind.WRITE)
            self._proposed += [_Proposed(first + i, term, write.key, write.answer) for i, write in enumerate(new)]

    def _new(self, writes: list[Write], term: int) -> list[Write]:
        """Those whose key, if they have one, nobody has written: the others wait for what has been written with it.

        Whoever is ready has applied all that was written before its term, and what came since it has proposed itself.
        """
        new: list[Write] = []
        for write in writes:
            if write.key is not None:
                if write.key in self._pending or self._replay.keys.get(write.key):
                    self._repeated.append(_Proposed(0, term, write.key, write.answer))
                    continue
                self._pending.add(write.key)
            new.append(write)
        return new

    def _start_reads(self) -> None:
        """Begin a round of confirmation for all reads that wait, unless one is under way."""
        if self._reading or not self._reads_waiting:
            return
        with self._lock:
            self._reading, self._reads_waiting = self._reads_waiting, []
        try:
            self._frontend.read_start()
        except NotLeader as refusal:
            self._answer_reads(refusal)

    def replay(self) -> None:
        """Hand newly committed entries to the state machine and the callbacks. Raises ReplayFailed."""
        results = self._replay.run()
        self._freshness.applied(self.applied)
        if self._proposed:
            first = self._proposed[0].index
            self._results |= {index: result for index, result in results.items() if index >= first}

    def acknowledge(self) -> None:
        """Record an Ack for what is committed now, or give up what this node, leading no more, can't vouch for."""
        self._serve_reads()
        raft = self._frontend.raft
        terms = {writes[0].term for writes in (self._proposed, self._repeated) if writes}
        if not terms:
            return
        if self._frontend.stopped or raft.role is not Role.LEADER or terms != {raft.term}:
            self._give_up("the leader lost its office")
            return
        done: list[_Proposed] = []
        while self._proposed and self._proposed[0].index <= raft.commit_index:
            done.append(self._proposed.popleft())
            self._pending.discard(done[-1].key or "")
        if done:
            epoch = self._frontend.epoch
            assert epoch is not None, "only a LEADER takes writes in"
            ack = self._frontend.ack(done[0].index, done[-1].index)
            results, self._results = self._results, {}
            self._due += [(w.answer, Receipt(w.index, w.term, epoch, ack, results.get(w.index))) for w in done]
        self._acknowledge_repeated()

    def _acknowledge_repeated(self) -> None:
        """Answer those whose key has been written, and applied, with what came of it."""
        waiting, self._repeated = self._repeated, []
        for write in waiting:
            assert write.key is not None
            entry = self._replay.keys.get(write.key)
            if entry is None and write.key in self._pending:
                self._repeated.append(write)
                continue
            if entry is None:  # written, and forgotten by now: KEYS others have been applied since
                self._due.append((write.answer, OutcomeUnknown("so many keys were written that this one is forgotten")))
                continue
            ack = self._frontend.ack(entry.index, entry.index, entry.term)
            receipt = Receipt(entry.index, entry.term, entry.epoch, ack, entry.result)
            self._due.append((write.answer, receipt))

    def _serve_reads(self) -> None:
        """Answer the reads of the round under way, once it is confirmed; refuse them when leadership is lost."""
        if not self._reading:
            return
        if self._frontend.stopped:
            self._answer_reads(NotLeader(None))
        elif serve := self._frontend.read_serve(self.applied):
            self._answer_reads(ReadPoint(self.applied, serve))

    def _answer_reads(self, outcome: Outcome) -> None:
        self._due += [(answer, outcome) for answer in self._reading]
        self._reading = []

    def answer(self) -> None:
        """Tell the callers what became of their writes and reads. Only after the Acks have been traced."""
        due, self._due = self._due, []
        for told, (answer, outcome) in enumerate(due, start=1):
            try:
                self._tell(answer, outcome)
            except BaseException:  # it ends the loop: `abandon` tells the others
                self._due = due[told:]
                raise

    def _tell(self, answer: Answer, outcome: Outcome) -> None:
        with self._lock:  # other threads are refused on their own thread
            self.outcomes[OUTCOME_NAMES[type(outcome)]] += 1
        answer(outcome)

    def close(self) -> None:
        """Refuse what comes from now on and what waits; what was proposed may still be acknowledged."""
        with self._lock:
            self._closed = True
            waiting = self._intake.drain()
            reads, self._reads_waiting = self._reads_waiting, []
        self._due += [(write.answer, NotLeader(None)) for write in waiting]
        self._due += [(answer, NotLeader(None)) for answer in reads]

    def abandon(self) -> None:
        """The loop has ended, perhaps before an Ack was traced: nothing is promised any more. The last call."""
        self.close()
        self._give_up("the node ended")
        unknown, not_read = OutcomeUnknown("the node ended; the write may still be committed"), NotLeader(None)
        self._answer_reads(not_read)
        due, self._due = self._due, []
        with ExitStack() as answers:  # one that fails keeps no other from its own
            for answer, outcome in reversed(due):
                match outcome:
                    case Receipt():
                        answers.callback(answer, unknown)
                    case ReadPoint():
                        answers.callback(answer, not_read)
                    case _:
                        answers.callback(answer, outcome)

    @property
    def has_proposed(self) -> bool:
        """Whether writes are proposed and not yet acknowledged, or reads not yet answered."""
        return bool(self._proposed or self._repeated or self._reading)

    def _give_up(self, why: str) -> None:
        unknown = OutcomeUnknown(f"{why}; the write may still be committed")
        self._due += [(write.answer, unknown) for write in (*self._proposed, *self._repeated)]
        self._proposed.clear()
        self._repeated.clear()
        self._pending.clear()
        self._results.clear()
