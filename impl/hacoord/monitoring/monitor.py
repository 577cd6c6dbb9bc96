"""What one node is watched by: its metrics, whether it is of use, and a log line for each change of its state.

The node's loop says what happens (`received`, `proposed`, `synced`, `traced`, `transferred`, and `turned` at the end of
each turn); all else is looked up when somebody asks. docs/monitoring.md lists every metric.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from hacoord import __version__
from hacoord.ha.frontend import Frontend, FrontendType
from hacoord.ha.state_change import StateChangeExecutor
from hacoord.journal import Journal
from hacoord.monitoring.logs import say
from hacoord.monitoring.metrics import Labels, Registry
from hacoord.net.transport import Transport
from hacoord.raft.core import Role
from hacoord.raft.group import Part
from hacoord.raft.messages import AppendEntries, Message, Persist
from hacoord.raft.outbox import Event
from hacoord.trace import TraceWriter

log = logging.getLogger(__name__)

OF_USE = (FrontendType.FOLLOWER, FrontendType.OBSERVER)


class Monitor:
    """The measures of one incarnation of a node.

    `patience` is the election timeout, `slow` how long a sync or a turn may take before a line is logged, `stale_after`
    how old what a node has applied may be before it is of no use: in seconds.
    """

    def __init__(
        self,
        frontend: Frontend,
        journal: Journal,
        transport: Transport,
        trace: TraceWriter,
        executor: StateChangeExecutor,
        *,
        files: Iterable[Path],
        patience: float,
        slow: float,
        stale_after: float,
        labels: Mapping[str, str],
        http_port: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`files` hold the log, `labels` say which node this is, `http_port` where it is asked over HTTP."""
        self._frontend = frontend
        self._raft = frontend.raft
        self._journal = journal
        self._transport = transport
        self._patience = patience
        self._slow = slow
        self._stale_after = stale_after
        self._labels = dict(labels)
        self._http_port = http_port
        self._clock = clock
        self.draining = False
        self.started = time.time()
        self.heard: dict[str, float] = {}
        """Wall clock of the newest message of each peer."""
        self.replicated: dict[str, float] = {}
        """For each peer, as a leader knows: by `clock`, a time whose log it has stored completely."""
        # For each peer, the end of the log at a later time: once it has stored that, it is complete up to that time.
        self._goals: dict[str, tuple[int, float]] = {}
        self._uncommitted: deque[tuple[int, int, float]] = deque()  # (first, last, when put into the log)
        self._state = self._observe()
        self._leaderless: float | None = clock()
        self._standing: int | None = None
        self._won: float | None = None
        self.registry = Registry()
        self._declare(trace, executor, list(files))

    def _declare(self, trace: TraceWriter, executor: StateChangeExecutor, files: list[Path]) -> None:
        """Every metric that does not stand in the way of a reader; in the order of docs/monitoring.md."""
        raft, frontend, journal, transport = self._raft, self._frontend, self._journal, self._transport
        add = self.registry
        identity = (*self._labels.values(), __version__)
        add.gauges("hacoord_info", "1; who this is.", (*self._labels, "version"), lambda: {identity: 1})
        add.gauge("hacoord_start_time_seconds", "Wall clock at this start, since 1970.", lambda: self.started)
        add.gauges("hacoord_type", "1 for what the frontend is, 0 for what it is not.", ("type",), self._types)
        add.gauge("hacoord_healthy", "1 if /health answers 200.", lambda: self.health()[0])
        add.gauge("hacoord_ready", "1 if clients may write here.", lambda: frontend.ready)
        add.gauge("hacoord_term", "The node's term.", lambda: raft.term)
        add.gauge("hacoord_epoch", "Newest epoch in the log.", lambda: raft.log.last_epoch)
        self._started_elections = add.counter("hacoord_elections_started_total", "Times it stood for election.")
        self._won_elections = add.counter("hacoord_elections_won_total", "Elections won.")
        self._lost_elections = add.counter("hacoord_elections_lost_total", "Elections it stood in and did not win.")
        self._votes = add.counter("hacoord_votes_granted_total", "Votes given to others.")
        self._lost_leaderships = add.counter("hacoord_leaderships_lost_total", "Times it ceased to lead a term.")
        self._leader_changes = add.counter("hacoord_leader_changes_total", "Times another leader or term was followed.")
        self._election = add.histogram(
            "hacoord_leader_election_seconds", "From having no leader (or the start) to knowing one."
        )
        self._activation = add.histogram("hacoord_activation_seconds", "From winning an election to taking writes.")
        self._change = add.histogram(
            "hacoord_state_change_seconds", "From the order to change the type to its being changed.", "from", "to"
        )
        add.totals(
            "hacoord_state_change_failures_total", "Times an execution raised.", (), lambda: {(): executor.failures}
        )
        add.gauges("hacoord_members", "Members of the group, by what they are.", ("part",), self._members)
        add.gauges("hacoord_peer_up", "1 if the peer answers.", ("peer",), self._up)
        add.gauges(
            "hacoord_replication_lag_entries", "Entries a peer is not known to have stored; leader only.", ("peer",),
            self._lag_entries,
        )  # fmt: skip
        add.gauges(
            "hacoord_replication_lag_seconds", "Age, at most, of what a peer lacks; leader only.", ("peer",),
            self._lag_seconds,
        )  # fmt: skip
        self._commit = add.histogram("hacoord_commit_seconds", "From putting an entry into the log to its commitment.")
        add.gauge("hacoord_queue_writes", "Writes that wait to be put into the log.", lambda: journal.depth[0])
        add.gauge("hacoord_queue_uncommitted", "Writes in the log, not yet committed.", lambda: journal.depth[1])
        add.gauge("hacoord_queue_reads", "Linearizable reads that are not answered yet.", lambda: journal.depth[2])
        add.totals(
            "hacoord_requests_total", "Writes and linearizable reads, by what became of them.", ("outcome",),
            lambda: {(outcome,): count for outcome, count in journal.outcomes.items()},
        )  # fmt: skip
        self._stale = add.counter("hacoord_stale_appends_rejected_total", "Deposed leaders' frames refused.")
        self._sync = add.histogram("hacoord_sync_seconds", "One transaction with its sync.")
        self._turn = add.histogram("hacoord_turn_seconds", "One turn of the loop, without its wait.")
        add.gauge("hacoord_last_index", "Last entry of the log.", lambda: raft.last)
        add.gauge("hacoord_commit_index", "Last entry known to be committed.", lambda: raft.commit_index)
        add.gauge("hacoord_applied_index", "Last entry replayed.", lambda: journal.applied)
        add.gauge(
            "hacoord_first_index", "First entry the log still holds, after the image.", lambda: raft.log.base.last + 1
        )
        add.gauge("hacoord_staleness_seconds", "Age, at most, of what is applied here.", journal.staleness)
        self._entries = add.counter("hacoord_journal_entries_total", "Log entries made durable.")
        self._bytes = add.counter("hacoord_journal_bytes_total", "Bytes of data in them.")
        add.gauge("hacoord_database_bytes", "Size of the database and its WAL.", lambda: sum(map(_size, files)))
        self._lines = add.counter("hacoord_trace_lines_total", "Events written to the trace, or dropped.")
        add.totals(
            "hacoord_trace_lines_dropped_total", "Events the trace could not take.", (), lambda: {(): trace.dropped}
        )
        add.totals(
            "hacoord_messages_dropped_total", "Messages dropped because a peer could not take them.", (),
            lambda: {(): transport.dropped},
        )  # fmt: skip

    # --- what the loop says --------------------------------------------------------------------------------------

    def received(self, message: Message) -> None:
        """A message is about to be taken in."""
        self.heard[message.src] = time.time()
        if isinstance(message, AppendEntries) and message.term < self._raft.term:
            self._stale.add()

    def proposed(self) -> None:
        """Entries may have been put into the log."""
        known = self._uncommitted[-1][1] if self._uncommitted else self._raft.commit_index
        if self._raft.role is Role.LEADER and self._raft.last > known:
            self._uncommitted.append((known + 1, self._raft.last, self._clock()))

    def synced(self, write: Persist, seconds: float) -> None:
        """The disk has taken `write`."""
        self._sync.observe(seconds)
        if seconds > self._slow:
            self._say("slow_sync", {"seconds": seconds, "entries": len(write.entries)}, logging.WARNING)
        self._entries.add(len(write.entries))
        self._bytes.add(sum(len(entry.data) for entry in write.entries))

    def traced(self, events: Iterable[Event]) -> None:
        """Events have been written down."""
        for event in events:
            self._lines.add()
            match event.name:
                case "Campaign":
                    self._settle_election()
                    self._standing = event.term
                    self._started_elections.add()
                case "Win":
                    self._standing = None
                    self._won = self._clock()
                    self._won_elections.add()
                case "Grant":
                    self._votes.add()
                case "Lose":
                    self._won = None
                    self._lost_leaderships.add()

    def transferred(self, old: FrontendType, new: FrontendType, seconds: float) -> None:
        """The frontend has changed its type, `seconds` after that was ordered."""
        self._change.observe(seconds, old.value, new.value)
        epoch = self._frontend.epoch if new is FrontendType.LEADER else None
        self._say("state_change", {"from": old.value, "to": new.value, "epoch": epoch, "seconds": seconds})

    def turned(self, began: float) -> None:
        """The end of a turn that began, after its wait, at `began` by the clock."""
        now = self._clock()
        self._turn.observe(now - began)
        if now - began > self._slow:
            self._say("slow_turn", {"seconds": now - began}, logging.WARNING)
        self._watch_commitment(now)
        self._watch_peers(now)
        if (state := self._observe()) != self._state:
            self._watch_leader(now)
            before, self._state = self._state, state
            if before[0] is not state[0]:
                self._say("role_change", {"from": before[0].value, "to": state[0].value})
            if before[3] != state[3]:
                self._say("ready" if state[3] else "not_ready", {"epoch": self._frontend.epoch})

    def ended(self, code: int, reason: str, planned: bool) -> None:
        """The process is about to end with this status."""
        level = logging.INFO if planned else logging.ERROR
        self._say("exit", {"from": self._frontend.type.value, "code": int(code), "reason": reason}, level)

    def _observe(self) -> tuple[Role, str | None, int, bool]:
        raft = self._raft
        return raft.role, raft.leader, raft.term, self._frontend.ready

    def _watch_leader(self, now: float) -> None:
        raft = self._raft
        if self._standing is not None and (raft.term > self._standing or raft.role is Role.FOLLOWER):
            self._settle_election()
        if self._won is not None and self._frontend.ready:
            self._activation.observe(now - self._won)
            self._won = None
        if raft.leader is None:
            if self._leaderless is None:
                self._leaderless = now
                self._say("no_leader", {})
        elif self._leaderless is not None or (raft.leader, raft.term) != self._state[1:3]:
            took = now - (now if self._leaderless is None else self._leaderless)
            self._election.observe(took)
            self._leader_changes.add()
            self._leaderless = None
            self._say("leader", {"leader": raft.leader, "seconds": took})

    def _settle_election(self) -> None:
        if self._standing is not None:
            self._lost_elections.add()
            self._standing = None

    def _watch_commitment(self, now: float) -> None:
        if self._raft.role is not Role.LEADER:
            self._uncommitted.clear()
        commit = self._raft.commit_index
        while self._uncommitted and self._uncommitted[0][0] <= commit:
            first, last, when = self._uncommitted.popleft()
            self._commit.observe(now - when, times=min(last, commit) - first + 1)
            if last > commit:
                self._uncommitted.appendleft((commit + 1, last, when))

    def _watch_peers(self, now: float) -> None:
        progress = self._raft.progress
        if not progress:
            self._goals.clear()
            self.replicated.clear()
        for peer, (match, _) in progress.items():
            goal, when = self._goals.get(peer, (0, now))
            if match >= goal:
                self.replicated[peer] = when
                self._goals[peer] = self._raft.last, now

    def _say(self, event: str, fields: Mapping[str, object], level: int = logging.INFO) -> None:
        say(log, event, {**self._labels, "term": self._raft.term, **fields}, level)

    # --- what readers ask ----------------------------------------------------------------------------------------

    def health(self) -> tuple[bool, str]:
        """Whether this node is of use to those who would use it now, and why."""
        frontend = self._frontend
        if self.draining or frontend.stopped:
            return False, "it is about to end"
        if frontend.type is FrontendType.LEADER:
            return frontend.ready, "it is LEADER" + ("" if frontend.ready else ", and not ready to take writes yet")
        if frontend.type in OF_USE:
            if not self._journal.can_read(self._stale_after):
                return False, f"it is {frontend.type.value}, and what it has applied may be too old"
            return True, f"it is {frontend.type.value} of {self._raft.leader}"
        return False, f"it is {frontend.type.value}: it follows no leader"

    def status(self) -> dict[str, object]:
        """What `hacoord status` shows."""
        raft, frontend = self._raft, self._frontend
        return {
            **self._labels,
            "inc": self._transport.me.inc,
            "type": frontend.type.name,
            "role": raft.role.value,
            "part": raft.part,
            "term": raft.term,
            "epoch": frontend.epoch,
            "leader": raft.leader,
            "leader_address": raft.log.group.current.address_of(raft.leader),
            "last": raft.last,
            "commit": raft.commit_index,
            "image": raft.newest_image.base.last if raft.newest_image else 0,
            "first": self._journal.first,
            "ready": frontend.ready,
            "applied": self._journal.applied,
            "healthy": self.health()[0],
            "http_port": self._http_port,
            "start_time": self.started,
            "now": time.time(),
            "version": __version__,
            "protocols": self._transport.protocols,
            "alive": sorted(raft.alive()) if raft.role is Role.LEADER else None,
        }

    def up(self, peer: str) -> bool:
        """Whether a peer answers: a leader in the last election timeout, any other node by keeping up a connection."""
        progress = self._raft.progress
        if peer in progress:
            return self._clock() - progress[peer][1] < self._patience
        return peer in self._transport.connected

    def _types(self) -> dict[Labels, float]:
        return {(each.value,): float(each is self._frontend.type) for each in FrontendType}

    def _members(self) -> dict[Labels, float]:
        members = self._raft.log.group.current.members.values()
        return {(part.value,): sum(member.part is part for member in members) for part in Part}

    def _up(self) -> dict[Labels, float]:
        return {(peer,): float(self.up(peer)) for peer in self._raft.peers}

    def _lag_entries(self) -> dict[Labels, float]:
        return {(peer,): self._raft.last - match for peer, (match, _) in self._raft.progress.items()}

    def _lag_seconds(self) -> dict[Labels, float]:
        now = self._clock()
        return {
            (peer,): 0.0 if match >= self._raft.last else now - self.replicated.get(peer, now)
            for peer, (match, _) in self._raft.progress.items()
        }


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
