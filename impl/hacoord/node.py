"""One process of the cluster: a loop that drives the pure core from sockets, a clock and a disk.

Each turn of the loop takes in all that has arrived, and then says what that has come to in the only order that is safe:
persist, trace, send. One SQLite transaction and one sync carry everything a turn has to keep. The loop sleeps until
there is work or a timer of the core is due; nothing in it polls.

An embedding system makes a `Node` on a thread of its own, registers its executions and replay callbacks, and calls
`run` on that same thread: SQLite's connections insist on one. `Node.journal` and `Node.stop` are for all threads.
"""

from __future__ import annotations

import base64
import binascii
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from enum import IntEnum
from pathlib import Path

from hacoord.config import Address, Config, parse_address
from hacoord.ha.frontend import EXIT_HANDED_OVER, EXIT_LOST_LEADERSHIP, Frontend, FrontendType
from hacoord.ha.state_change import Execution, IllegalTransition, StateChangeExecutor, StateChangeFailed
from hacoord.journal import Journal, NotLeader, Outcome, OutcomeUnknown, Overloaded, ReadPoint, Receipt, ReplayFailed
from hacoord.machine import StateMachine
from hacoord.raft.core import LogDiverged, Raft, Timing
from hacoord.raft.leadership import Limits
from hacoord.raft.messages import Ref
from hacoord.raft.outbox import Outbox
from hacoord.storage import Storage, StorageError
from hacoord.trace import TraceFailed, TraceWriter
from hacoord.transport import (
    ClientConnection,
    ClientRequest,
    ConnectionFailed,
    HandshakeRefused,
    Transport,
    TransportError,
)

log = logging.getLogger(__name__)

OPERATIONS = frozenset({"append", "status", "read_point", "read", "transfer", "fault"})
"""What a node answers by itself."""

Handler = Callable[[Mapping[str, object], Callable[[dict[str, object]], None]], None]
"""Answers one request of an embedding system's own: the request, and the function to call with the reply."""

READ_LIMIT = 1 << 20
"""A reply to `read` holds entries of this many bytes at most, and always one if there is one."""


class Exit(IntEnum):
    """How a process of hacoord ends: its exit status. docs/operating.md has the same table."""

    STOPPED = 0
    UNEXPECTED = 1
    USAGE = 2
    LOST_LEADERSHIP = EXIT_LOST_LEADERSHIP
    STORAGE = 4
    TRACE = 5
    LISTEN = 6
    REFUSED = 7
    STATE_CHANGE = 8
    REPLAY = 9
    DIVERGED = 10
    HANDED_OVER = EXIT_HANDED_OVER


class NodeFailed(Exception):
    """The node could not start, or had to end; `code` is the exit status to end with."""

    def __init__(self, code: Exit, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Node:
    """One node over one data directory."""

    def __init__(self, directory: Path, config: Config, secret: bytes, *, test_faults: bool = False) -> None:
        """Open the data directory and the port. Raises NodeFailed when that can't be done."""
        with _failures():
            self._open(directory, config, secret)
        self._test_faults = test_faults
        self._handlers: dict[str, Handler] = {}
        # What other threads have to say to the loop.
        self._calls: deque[Callable[[], None]] = deque()
        self._stop = threading.Event()

    def _open(self, directory: Path, config: Config, secret: bytes) -> None:
        self._storage = Storage(directory)
        name, cluster = self._storage.node, self._storage.cluster
        self.name = name
        self.members = dict(self._storage.members)
        with ExitStack() as undo:
            undo.callback(self._storage.close)
            addresses = {member: parse_address(address) for member, address in self.members.items()}
            own = addresses.pop(name)
            inc = self._storage.new_incarnation()
            _check_welcome(name, inc, cluster, secret, addresses)
            self._transport = Transport(
                name=name, inc=inc, cluster=cluster, secret=secret, listen=config.listen or own, peers=addresses
            )
            undo.callback(self._transport.close)
            try:
                self._transport.listen()
            except TransportError as error:
                raise NodeFailed(Exit.LISTEN, str(error)) from error
            hard_state, entries = self._storage.load()
            trace_dir = config.trace.dir or directory / "trace"
            self._trace = TraceWriter(trace_dir, cluster=cluster, node=name, inc=inc, required=config.trace.required)
            undo.pop_all()
        self._outbox = Outbox(name, inc)
        self._traced = Ref(name, inc, 0)
        self._raft = Raft(
            name,
            list(self.members),
            self._outbox,
            now=time.monotonic(),
            hard_state=hard_state,
            entries=entries,
            timing=Timing(config.election.timeout, config.election.heartbeat),
            limits=Limits(frame_entries=config.batch.entries, frame_bytes=config.batch.bytes),
        )
        self.frontend = Frontend(self._raft, self._outbox)
        self.journal = Journal(self.frontend, config.batch, self._transport.wake)
        self._drain = config.election.timeout
        self._leave_by = config.shutdown.patience
        # Who asked for the handover under way, and to whom.
        self._handover: tuple[ClientRequest, str] | None = None
        self._executor = StateChangeExecutor(config.state_change, done=self._transferred, failed=self._failed)

    @property
    def address(self) -> Address:
        """Where this node listens: host and port."""
        return self._transport.address

    # --- for the embedding system --------------------------------------------------------------------------------

    def register(self, execution: Execution) -> None:
        """Add what a change of the frontend's type entails. Call before `run`."""
        self._executor.register(execution)

    def host(self, machine: StateMachine) -> None:
        """Have the journal applied to a state machine. Call before `run`."""
        self.journal.host(machine)

    def on_request(self, operation: str, handler: Handler) -> None:
        """Answer clients' requests of this name with `handler`, which is called in the loop. Call before `run`.

        It gets the request and a function that takes the reply; that is called once, in the loop, then or later
        (`Journal.submit` and `submit_read` call back there).
        """
        if operation in OPERATIONS or operation in self._handlers:
            raise ValueError(f"the operation {operation!r} is taken: choose another name")
        self._handlers[operation] = handler

    def stop(self) -> None:
        """End in good order: let another lead, finish what is proposed, leave. From any thread or signal handler."""
        self._stop.set()
        self._transport.wake()

    def run(self) -> Exit:
        """Be a member of the cluster until `stop`, or until the process has to end; returns its exit status.

        Raises NodeFailed when the node can't go on, with the exit status and one line that says why.
        """
        try:
            with _failures():
                return self._run()
        finally:
            self._executor.stop()
            self.journal.abandon()
            self._transport.close()
            self._trace.close()
            self._storage.close()

    # --- the loop ------------------------------------------------------------------------------------------------

    def _run(self) -> Exit:
        self.frontend.start(self._storage.disk)
        self._executor.start()
        log.info("node %s of cluster %s started, incarnation %s", self.name, self._storage.cluster, self._traced.inc)
        self._speak()
        failure: NodeFailed | None = None
        drained_by: float | None = None
        while not self.frontend.stopped:
            try:
                self._turn()
                if self._stop.is_set():
                    self._leave()
                    if self._raft.heir:
                        continue
                    drained_by = drained_by or time.monotonic() + self._drain
                    self.journal.close()
                    if not self.journal.has_proposed or time.monotonic() >= drained_by:
                        self.frontend.exit(Exit.STOPPED)
            except NodeFailed as error:
                failure = error
                self.frontend.exit(error.code)
        self.journal.close()
        self._speak()
        self.journal.acknowledge()
        self.journal.answer()
        self._tell_of_handover()
        self._transport.flush()
        if failure is not None:
            raise failure
        code = Exit(self.frontend.exit_code or 0)
        planned = code in (Exit.STOPPED, Exit.HANDED_OVER)
        log.log(logging.INFO if planned else logging.ERROR, "node %s ends: %s", self.name, MEANING[code])
        return code

    def _turn(self) -> None:
        """Take in what has arrived and what is due; persist, trace, send; apply and answer."""
        for item in self._transport.poll(self._patience()):
            if isinstance(item, ClientRequest):
                self._request(item)
            else:
                self.frontend.step(item, time.monotonic())
        while self._calls:
            self._calls.popleft()()
        self.frontend.tick(time.monotonic())
        self.journal.propose()
        self._speak()
        try:
            self.journal.replay()
        except ReplayFailed as error:
            raise NodeFailed(Exit.REPLAY, str(error)) from error
        if self.frontend.stopped:
            return
        self.journal.acknowledge()
        self._carry_out()
        self._speak()
        self.journal.answer()
        self._tell_of_handover()
        self._transport.flush()

    def _patience(self) -> float:
        """Seconds the loop may sleep."""
        if self.journal.has_waiting or self._calls:
            return 0.0
        return max(0.0, self.frontend.deadline() - time.monotonic())

    def _speak(self) -> None:
        """Persist, trace, send, until there is nothing more to persist."""
        while True:
            events, messages = self._raft.take()
            if events:
                self._trace.write(events)
                self._traced = Ref(self._traced.node, self._traced.inc, events[-1].seq)
            for message in messages:
                self._transport.send(message)
            # Before the sync: what need not wait for it travels while it runs.
            self._transport.flush()
            write = self._raft.to_persist()
            if write is None:
                return
            self._storage.save(write)
            self._raft.persisted()

    def _leave(self) -> None:
        """The first thing to do on the way out, once: as the LEADER, let another voter lead, if one answers."""
        if self.frontend.leaving:
            return
        self.frontend.leaving = True
        heir = self._raft.best_heir()
        if self.frontend.ready and not self._raft.heir and heir:
            self.frontend.hand_over(heir, self._leave_by)

    def _carry_out(self) -> None:
        """Have the transition that is due carried out on the executor's thread."""
        new = self.frontend.wanted()
        if new is None:
            return
        epoch = self._raft.log.last_epoch if new is FrontendType.LEADER else None
        try:
            self._executor.notify(self.frontend.type, new, epoch)
        except IllegalTransition as error:
            raise NodeFailed(Exit.STATE_CHANGE, str(error)) from error

    def _transferred(self, to: FrontendType) -> None:
        """From the executor's thread: the executions are done."""
        self._calls.append(lambda: self.frontend.transferred(to))
        self._transport.wake()

    def _failed(self, error: StateChangeFailed) -> None:
        """From the executor's thread: the executions are given up."""

        def fail() -> None:
            raise NodeFailed(Exit.STATE_CHANGE, str(error)) from error

        self._calls.append(fail)
        self._transport.wake()

    # --- what clients ask ----------------------------------------------------------------------------------------

    def _request(self, request: ClientRequest) -> None:
        match request.body:
            case {"op": "append", "data": str(text)}:
                try:
                    data = base64.b64decode(text, validate=True)
                    self.journal.submit(data, lambda outcome: self._reply(request, self.outcome(outcome)))
                except (binascii.Error, ValueError) as error:
                    self._reply(request, {"error": "bad_request", "reason": str(error)})
            case {"op": "status"}:
                self._reply(request, self.status())
            case {"op": "read_point"}:
                self.journal.submit_read(lambda outcome: self._reply(request, self.outcome(outcome)))
            case {"op": "read", "first": int(first), "last": int(last)}:
                self._reply(request, self._read(first, last))
            case {"op": "transfer", "to": str() | None as to, "timeout": float(timeout), "force": bool(force)}:
                self._transfer(request, to, timeout, force)
            case {"op": "fault", **fault}:
                self._reply(request, self._fault(fault))
            case {"op": str(operation)} if operation in self._handlers:
                self._handlers[operation](request.body, lambda body: self._reply(request, body))
            case _:
                asked = request.body.get("op")
                reason = f"unknown operation {asked!r}, or wrong fields: was node {self.name} started for it?"
                self._reply(request, {"error": "bad_request", "reason": reason})

    def _transfer(self, request: ClientRequest, to: str | None, timeout: float, force: bool) -> None:
        """Begin to hand over; the reply comes when that is done, or has come to nothing."""
        heir = to or self._raft.best_heir()
        try:
            if heir is None:
                raise ValueError(f"no other voter answers {self.name}: there is nobody to hand over to")
            self.frontend.hand_over(heir, timeout, force=force)
        except NotLeader as refusal:
            self._reply(request, self.outcome(refusal))
        except ValueError as error:
            self._reply(request, {"error": "bad_request", "reason": str(error)})
        else:
            log.info("node %s hands over to %s", self.name, heir)
            self._handover = request, heir

    def _tell_of_handover(self) -> None:
        """Answer whoever asked for a handover, once it is clear what has become of it."""
        if self._handover is None or self._raft.heir:
            return
        (request, heir), self._handover = self._handover, None
        if self._raft.handed_over:
            self._reply(request, {"handed_over": heir})
        elif self.frontend.stopped:
            reason = f"{self.name} lost its office before {heir} was ready for it"
            self._reply(request, {"error": "lost", "reason": reason})
        else:
            reason = f"{heir} did not take over in time; {self.name} goes on as LEADER"
            self._reply(request, {"error": "timeout", "reason": reason})

    def _reply(self, request: ClientRequest, body: dict[str, object]) -> None:
        self._transport.reply(request, {**body, "ref": self._traced})

    def outcome(self, outcome: Outcome) -> dict[str, object]:
        """What became of a write or a read, as a reply that `Client` understands."""
        match outcome:
            case Receipt():
                return {"receipt": asdict(outcome)}
            case ReadPoint():
                return {"point": asdict(outcome)}
            case NotLeader(leader=leader):
                address = self.members.get(leader) if leader else None
                return {"error": "not_leader", "reason": str(outcome), "leader": leader, "address": address}
            case Overloaded():
                return {"error": "overloaded", "reason": str(outcome)}
            case OutcomeUnknown():
                return {"error": "unknown", "reason": str(outcome)}

    def status(self) -> dict[str, object]:
        """What `hacoord status` shows."""
        raft, frontend = self._raft, self.frontend
        return {
            "node": self.name,
            "cluster": self._storage.cluster,
            "inc": self._traced.inc,
            "type": frontend.type.name,
            "role": raft.role.value,
            "term": raft.term,
            "epoch": frontend.epoch,
            "leader": raft.leader,
            "leader_address": self.members.get(raft.leader) if raft.leader else None,
            "last": raft.last,
            "commit": raft.commit_index,
            "ready": frontend.ready,
        }

    def _read(self, first: int, last: int) -> dict[str, object]:
        """As many of the entries asked for as one reply holds; `next` is where to go on, `commit` where the end is."""
        entries: list[dict[str, object]] = []
        size = 0
        applied = self.journal.applied
        at = max(first, 1)
        while at <= min(last, applied) and size < READ_LIMIT:
            for entry in self.journal.read(at, at):
                size += len(entry.data) + 100  # and what JSON puts around it
                data = base64.b64encode(entry.data).decode()
                entries.append({"index": entry.index, "term": entry.term, "epoch": entry.epoch, "data": data})
            at += 1
        return {"entries": entries, "next": at, "commit": applied}

    def _fault(self, fault: Mapping[str, object]) -> dict[str, object]:
        """Cut this node off from others, in both directions, or let it come back. Only for tests."""
        if not self._test_faults:
            return {"error": "refused", "reason": f"node {self.name} was started without --test-faults"}
        match fault:
            case {"block": [*names]} if all(name in self.members for name in names):
                self._transport.blocked.update(str(name) for name in names)
            case {"unblock": True}:
                self._transport.blocked.clear()
            case _:
                return {"error": "bad_request", "reason": "block takes a list of members, unblock takes true"}
        return {"blocked": sorted(self._transport.blocked)}


@contextmanager
def _failures() -> Iterator[None]:
    """Turn what storage, trace and core raise into NodeFailed, with the exit status that belongs to it."""
    try:
        yield
    except StorageError as error:
        raise NodeFailed(Exit.STORAGE, str(error)) from error
    except TraceFailed as error:
        raise NodeFailed(Exit.TRACE, str(error)) from error
    except LogDiverged as error:
        raise NodeFailed(Exit.DIVERGED, f"{error}; keep this node's files, they are evidence") from error


def _check_welcome(name: str, inc: str, cluster: str, secret: bytes, peers: Mapping[str, Address]) -> None:
    """Ask the peers that run whether they would let this node in. Raises NodeFailed if it could never have a majority.

    Done once, at the start: a node that already works is not to be ended by what others refuse.
    """
    refusals: list[str] = []
    for address in peers.values():
        try:
            ClientConnection(address, cluster=cluster, secret=secret, name=name, inc=inc, timeout=0.5).close()
        except ConnectionFailed:
            continue  # not running, or not yet
        except HandshakeRefused as refused:
            refusals.append(str(refused))
    members = len(peers) + 1
    if members - len(refusals) < members // 2 + 1:
        raise NodeFailed(Exit.REFUSED, f"refused by {len(refusals)} of {len(peers)} other members: {refusals[0]}")


MEANING: dict[Exit, str] = {
    Exit.STOPPED: "stopped in good order",
    Exit.UNEXPECTED: "an error nobody foresaw",
    Exit.USAGE: "wrong usage, configuration or secret file",
    Exit.LOST_LEADERSHIP: "it was LEADER and lost its office; start it again, and it joins as INIT",
    Exit.STORAGE: "the data directory can't be used, or the disk failed",
    Exit.TRACE: "the trace could not be written, and it is required",
    Exit.LISTEN: "it can't listen on its address",
    Exit.REFUSED: "so many members refused it that it can't be part of a majority",
    Exit.STATE_CHANGE: "a change of the frontend's type failed or hung",
    Exit.REPLAY: "the embedding system could not replay a committed entry",
    Exit.HANDED_OVER: "it handed its office over as it was asked to; start it again, and it joins as INIT",
    Exit.DIVERGED: "its log contradicts the leader's",
}
