"""One process of the cluster: a loop that drives the pure core from sockets, a clock and a disk.

Each turn of the loop takes in all that has arrived, and then says what that has come to in the only order that is safe:
persist, trace, send. One SQLite transaction and one sync carry everything a turn has to keep. The loop sleeps until
there is work or a timer of the core is due; nothing in it polls.

An embedding system makes a `Node` on a thread of its own, registers its executions and replay callbacks, and calls
`run` on that same thread: SQLite's connections insist on one. `Node.journal`, `Node.protocol` and `Node.stop` are for
all threads.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from hacoord.checkpoint import Checkpoint
from hacoord.config import Address, Config, parse_address
from hacoord.disk.storage import Storage
from hacoord.exits import MEANING, Exit, NodeFailed, failures
from hacoord.ha.frontend import Frontend, FrontendType
from hacoord.ha.membership import Membership
from hacoord.ha.protocol import HAProtocol
from hacoord.ha.state_change import Execution, IllegalTransition, StateChangeExecutor, StateChangeFailed
from hacoord.journal import Journal, Outcome, ReplayFailed
from hacoord.machine import StateMachine
from hacoord.monitoring.monitor import Monitor
from hacoord.monitoring.pages import pages
from hacoord.net.frames import TransportError
from hacoord.net.handshake import Hello
from hacoord.net.http import HttpServer
from hacoord.net.peers import Peers
from hacoord.net.requests import ClientRequest
from hacoord.net.rights import Right
from hacoord.net.tls import certificates
from hacoord.net.tokens import TokensFile
from hacoord.net.transport import Transport
from hacoord.operations import Handler, Operations
from hacoord.raft.core import Raft, Timing
from hacoord.raft.group import founding
from hacoord.raft.leadership import Limits
from hacoord.raft.messages import InstallSnapshot, Message, Ref
from hacoord.raft.outbox import Outbox
from hacoord.trace import TraceWriter, boot
from hacoord.welcome import check_welcome

__all__ = ["MEANING", "Exit", "Node", "NodeFailed"]

log = logging.getLogger(__name__)


class Node:
    """One node over one data directory."""

    def __init__(self, directory: Path, config: Config, secret: bytes, *, test_faults: bool = False) -> None:
        """Open the data directory and the port. Raises NodeFailed when that can't be done."""
        self._thread = threading.get_ident()
        with failures():
            self._open(directory, config, secret)
        parts = self.frontend, self.journal, self.membership, self._checkpoint, self._monitor
        self._operations = Operations(*parts, self._storage, self._transport, self._reply, test_faults=test_faults)
        # What other threads have to say to the loop.
        self._calls: deque[Callable[[], None]] = deque()
        # No Event: setting one takes a lock, and a signal handler may interrupt another that holds it.
        self._stopping = False

    def _open(self, directory: Path, config: Config, secret: bytes) -> None:
        self._storage = Storage(directory)
        name, cluster = self._storage.node, self._storage.cluster
        self.name = name
        with ExitStack() as undo:
            undo.callback(self._storage.close)
            inc = self._storage.new_incarnation()
            self._outbox = Outbox(name, inc)
            self._raft = self._load(config)
            addresses = {member: parse_address(address) for member, address in self.members.items()}
            own = addresses.pop(name, None) or parse_address(self._storage.address)
            certs = certificates(config.tls)
            if certs is not None:
                certs.check(name)
            tokens = TokensFile(config.tokens_file) if config.tokens_file is not None else None
            check_welcome(self._storage, inc, secret, addresses.values(), certs)
            disk, where = self._storage.disk, self.members.get(name, self._storage.address)
            self._transport = Transport(
                me=Hello(cluster, name, inc, "node", None, config.protocol.newest, disk=disk, address=where),
                secret=secret,
                listen=config.listen or own,
                peers=addresses,
                certificates=certs,
                tokens=tokens,
                limits=config.connections,
                refusal=self._storage.acquaintances.refusal,
            )
            undo.callback(self._transport.close)
            try:
                self._transport.listen()
                self._http = None if config.http.listen is None else HttpServer(config.http.listen)
            except TransportError as error:
                raise NodeFailed(Exit.LISTEN, str(error)) from error
            if self._http is not None:
                undo.callback(self._http.close)
                self._transport.watch(self._http.fileno(), self._http.poll)
            trace_dir = config.trace.dir or directory / "trace"
            self._trace = TraceWriter(trace_dir, cluster=cluster, node=name, inc=inc, required=config.trace.required)
            undo.pop_all()
        self._traced = Ref(name, inc, 0)
        self.frontend = Frontend(self._raft, self._outbox)
        self.journal = Journal(self.frontend, config.batch, self._transport.wake, self._storage.read_image)
        self._checkpoint = Checkpoint(self._raft, self.journal, config.image, self._storage.stage)
        self.membership = Membership(
            self.frontend,
            time.monotonic,
            self._transport.wake,
            outdated=lambda: self._transport.outdated,
            patience=config.election.timeout,
        )
        self.protocol = HAProtocol(self.frontend, self.membership, time.monotonic, self._transport.wake)
        self._peers = Peers(self._raft, self._transport, 2 * config.election.timeout)
        self._drain = config.election.timeout
        self._shutdown = config.shutdown
        self._executor = StateChangeExecutor(config.state_change, done=self._transferred, failed=self._failed)
        self._ordered = 0.0
        self._monitor = Monitor(
            self.frontend,
            self.journal,
            self._transport,
            self._trace,
            self._executor,
            files=self._storage.files,
            patience=config.election.timeout,
            slow=config.log.slow,
            stale_after=config.http.staleness,
            labels={"node": name, "cluster": cluster},
            http_port=None if self._http is None else self._http.address[1],
        )
        if self._http is not None:
            self._http.pages |= pages(self._monitor)

    def _load(self, config: Config) -> Raft:
        """The core, as the disk left it."""
        hard_state, log_entries = self._storage.load()
        return Raft(
            self.name,
            founding(self._storage.members),
            self._outbox,
            now=time.monotonic(),
            hard_state=hard_state,
            entries=log_entries,
            base=self._storage.base,
            image=self._storage.image,
            founded=self._storage.founded,
            timing=Timing(config.election.timeout, config.election.heartbeat),
            limits=Limits(config.batch.entries, config.batch.bytes, config.batch.window),
        )

    @property
    def members(self) -> dict[str, str]:
        """The members of the group that this node goes by: name to "host:port"."""
        return {member.name: member.address for member in self._raft.log.group.current.members.values()}

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

    def on_request(self, operation: str, handler: Handler, right: Right = Right.ADMIN) -> None:
        """Answer clients' requests of this name with `handler`, which is called in the loop. Call before `run`.

        Only clients with this right may ask for it (a write takes Right.WRITE, what changes nothing Right.READ).
        It gets the request and a function that takes the reply; that is called once, in the loop, then or later
        (`Journal.submit` and `submit_read` call back there).
        """
        self._operations.add(operation, handler, right)

    def outcome(self, outcome: Outcome) -> dict[str, object]:
        """What became of a write or a read, as a reply that `Client` understands."""
        return self._operations.outcome(outcome)

    def status(self) -> dict[str, object]:
        """What `hacoord status` shows."""
        return self._monitor.status()

    def stop(self) -> None:
        """End in good order: let another lead, finish what is proposed, leave. From any thread or signal handler."""
        self._stopping = True
        self._transport.wake()

    def run(self) -> Exit:
        """Be a member of the cluster until `stop`, or until the process has to end; returns its exit status.

        Raises NodeFailed when the node can't go on, with the exit status and one line that says why. RuntimeError on
        another thread than the one that made the node.
        """
        if threading.get_ident() != self._thread:
            raise RuntimeError("a node runs on the thread that made it, as its database does: make it on that thread")
        with ExitStack() as undo:  # the last one first, and what one raises keeps no other from its turn
            undo.callback(self._storage.close)
            undo.callback(self._trace.close)
            if self._http is not None:
                undo.callback(self._http.close)
            undo.callback(self._transport.close)
            undo.callback(self.protocol.close)
            undo.callback(self.membership.close)
            undo.callback(self.journal.abandon)
            undo.callback(self._executor.stop)
            try:
                with failures():
                    return self._run()
            except NodeFailed as error:
                self._monitor.ended(error.code, str(error), planned=False)
                raise

    # --- the loop ------------------------------------------------------------------------------------------------

    def _run(self) -> Exit:
        self.frontend.start(self._storage.disk, boot())
        self._executor.start()
        log.info("node %s of cluster %s started, incarnation %s", self.name, self._storage.cluster, self._traced.inc)
        self._speak()
        failure: NodeFailed | None = None
        way_out = self._way_out()
        while not self.frontend.stopped:
            try:
                self._turn()
                if self._stopping:
                    next(way_out, None)
            except NodeFailed as error:
                failure = error
                self.frontend.exit(error.code)
        self.journal.close()
        self._speak()
        self.journal.acknowledge()
        self.journal.answer()
        self._operations.turn()
        self.membership.close()
        self._transport.farewell()
        if failure is not None:
            raise failure
        code = Exit(self.frontend.exit_code or 0)
        self._monitor.ended(code, MEANING[code], planned=code in (Exit.STOPPED, Exit.HANDED_OVER))
        return code

    def _turn(self) -> None:
        """Take in what has arrived and what is due; persist, trace, send; apply and answer."""
        arrived = self._transport.poll(self._patience())
        began = time.monotonic()
        for item in arrived:
            if isinstance(item, ClientRequest):
                self._operations.answer(item)
            else:
                self._monitor.received(item)
                self.frontend.step(item, time.monotonic())
        while self._calls:
            self._calls.popleft()()
        if self._http is not None and self._http.deadline() <= time.monotonic():
            self._http.poll()
        if self._transport.told_removed:
            self.frontend.told_removed(*self._transport.told_removed)
        self.frontend.tick(time.monotonic())
        self.journal.propose()
        self._monitor.proposed()
        self._speak()
        try:
            self.journal.replay()
            self._checkpoint.turn()
            if self._outbox.holding:  # what is put into the log now must be traced before it is on the disk
                self._speak()
            self._checkpoint.answer()
        except ReplayFailed as error:
            raise NodeFailed(Exit.REPLAY, str(error)) from error
        if self.frontend.stopped:
            return
        self.journal.acknowledge()
        self.membership.turn()
        self.protocol.turn()
        self._peers.turn(time.monotonic())
        self._carry_out()
        self._speak()
        self.journal.answer()
        self._operations.turn()
        self._transport.flush()
        self._monitor.turned(began)

    def _patience(self) -> float:
        """Seconds the loop may sleep."""
        if self._calls or self._checkpoint.under_way:
            return 0.0
        deadline = min(self.frontend.deadline(), time.monotonic() + self.journal.due_in())
        if self._http is not None:
            deadline = min(deadline, self._http.deadline())
        return max(0.0, deadline - time.monotonic())

    def _speak(self) -> None:
        """Persist, trace, send, until there is nothing more to persist."""
        while True:
            events, messages = self._raft.take()
            if events:
                self._trace.write(events)
                self._monitor.traced(events)
                self._traced = Ref(self._traced.node, self._traced.inc, events[-1].seq)
            for message in messages:
                self._transport.send(self._filled(message))
            # Before the sync: what need not wait for it travels while it runs.
            self._transport.flush()
            write = self._raft.to_persist()
            if write is None:
                return
            began = time.monotonic()
            self._storage.save(write)
            self._monitor.synced(write, time.monotonic() - began)
            self._raft.persisted()

    def _filled(self, message: Message) -> Message:
        """With the part of the image that the core leaves to its driver."""
        match message:
            case InstallSnapshot(image=image, offset=offset, wanted=True):
                return replace(message, data=self._storage.image_part(image, offset))
        return message

    def _way_out(self) -> Iterator[None]:
        """What to do before a wanted end, from turn to turn: be seen to leave, let another lead, finish the writes."""
        self._monitor.draining = self.frontend.leaving = True
        leave_at = time.monotonic() + self._shutdown.notice
        while time.monotonic() < leave_at:
            yield
        heir = self._operations.best_heir()
        if self.frontend.ready and not self._raft.heir and heir:
            self.frontend.hand_over(heir, self._shutdown.patience)
        # Its own attempt is given up when its patience ends; one that was asked for before may have longer.
        leave_by = time.monotonic() + self._shutdown.patience + self._drain
        while self._raft.heir and time.monotonic() < leave_by:
            yield
        self.journal.close()
        drained_by = time.monotonic() + self._drain
        while self.journal.has_proposed and time.monotonic() < drained_by:
            yield
        self.frontend.exit(Exit.STOPPED)

    def _carry_out(self) -> None:
        """Have the transition that is due carried out on the executor's thread."""
        new = self.frontend.wanted()
        if new is None:
            return
        epoch = self._raft.log.last_epoch if new is FrontendType.LEADER else None
        self._ordered = time.monotonic()
        try:
            self._executor.notify(self.frontend.type, new, epoch)
        except IllegalTransition as error:
            raise NodeFailed(Exit.STATE_CHANGE, str(error)) from error

    def _transferred(self, to: FrontendType) -> None:
        """From the executor's thread: the executions are done."""

        def change() -> None:
            old = self.frontend.type
            self.frontend.transferred(to)
            if self.frontend.type is not old:
                self._monitor.transferred(old, self.frontend.type, time.monotonic() - self._ordered)

        self._calls.append(change)
        self._transport.wake()

    def _failed(self, error: StateChangeFailed) -> None:
        """From the executor's thread: the executions are given up."""

        def fail() -> None:
            raise NodeFailed(Exit.STATE_CHANGE, str(error)) from error

        self._calls.append(fail)
        self._transport.wake()

    def _reply(self, request: ClientRequest, body: dict[str, object]) -> None:
        self._transport.reply(request, {**body, "ref": self._traced})
