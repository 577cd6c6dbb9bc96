"""The nodes, their disks, their clients and the messages in flight, and all that can happen to them, step by step:
deliver, drop or repeat a message, let time pass, write, crash at a chosen point of a turn, restart.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from hacoord.ha.frontend import EXIT_REMOVED, Frontend, FrontendType
from hacoord.raft.core import Raft, Timing
from hacoord.raft.group import Part, founding
from hacoord.raft.leadership import Limits
from hacoord.raft.log import Log
from hacoord.raft.messages import Base, Entry, HardState, Image, InstallSnapshot, Message, Persist, Ref
from hacoord.raft.outbox import Outbox
from hacoord.raft.transfer import checksum
from hacoord.trace import TraceWriter

PART = 16
"""Bytes of an image in one frame: few, so that an image takes several."""

BEGINNING = 1_700_000_000_000_000_000
"""Nanoseconds since the epoch at which virtual time begins: lines are as long as real ones."""


class CrashPoint(Enum):
    """Where in a turn the process is killed."""

    BEFORE_PERSIST = "before the disk has the turn's changes"
    BEFORE_TRACE = "with the changes on disk and not yet traced"
    BEFORE_SEND = "with the events traced and no message sent"


class _Killed(Exception):
    pass


@dataclass(slots=True)
class Disk:
    """What survives a crash. `state` is what the image holds: for each key the entry that wrote it last."""

    identity: str
    counter: int = 0
    hard_state: HardState = field(default_factory=HardState)
    entries: list[Entry] = field(default_factory=list)
    base: Base = field(default_factory=Base)
    image: Image | None = None
    state: bytes = b"{}"
    # Images under way: one that is being received, and one that has been made here.
    received: bytearray = field(default_factory=bytearray)
    made: bytes = b""

    def save(self, write: Persist) -> None:
        """One transaction, as storage.Storage.save does it."""
        if write.hard_state is not None:
            self.hard_state = write.hard_state
        for piece in write.pieces:
            self.received[piece.offset :] = piece.data
        if write.image is not None:
            self.image = write.image
            self.state = bytes(self.received) if write.received else self.made
            self.entries = [] if write.received else self.entries
        if write.base is not None:
            self.entries = [entry for entry in self.entries if entry.index > write.base.last]
            self.base = write.base
        if write.first:
            self.entries[write.first - 1 - self.base.last :] = write.entries

    def version(self, key: str, index: int, log: Log) -> int:
        """The newest entry, up to an index that this node knows committed, that wrote a key; 0 if there is none."""
        wrote = f" {key}".encode()
        after = (at for at in range(index, log.base.last, -1) if log[at].data.endswith(wrote))
        return next(after, 0) or int(json.loads(self.state).get(key, 0))


@dataclass(slots=True)
class Process:
    """One incarnation of a node, from its start to its end."""

    frontend: Frontend
    outbox: Outbox
    trace: TraceWriter
    change: FrontendType | None = None
    promised: list[tuple[int, Client, str]] = field(default_factory=list)
    # Reads in the round under way, and those that wait for the next: who, which operation, of which key.
    reading: list[tuple[Client, str, str]] = field(default_factory=list)
    waiting: list[tuple[Client, str, str]] = field(default_factory=list)


class Client:
    """A client that writes keys at whoever leads, reads them back, and keeps a trace of its own."""

    def __init__(self, name: str, trace: TraceWriter, inc: str, clock: Callable[[], float]) -> None:
        """`clock` is virtual time in seconds, which all clients share."""
        self._outbox = Outbox(name, inc)
        self._trace = trace
        self._clock = clock
        self._count = 0

    def invoke(self, kind: str) -> tuple[str, str]:
        """Begin a "write" or a "read"; returns its operation name and key."""
        self._count += 1
        op, key = f"{kind[0]}{self._count}", f"k{self._count % 3}"
        self._say("Invoke", op=op, kind=kind, key=key)
        return op, key

    def ok(self, op: str, index: int, term: int, ack: Ref) -> None:
        """The write was acknowledged by the event `ack`."""
        self._outbox.heard(ack)
        self._say("Ok", op=op, index=index, entry_term=term, ack=ack)

    def saw(self, op: str, index: int, version: int, serve: Ref) -> None:
        """The read was served by the event `serve`, up to `index`; entry `version` wrote its key."""
        self._outbox.heard(serve)
        self._say("Ok", op=op, index=index, serve=serve, version=version)

    def unknown(self, op: str) -> None:
        """The answer never came."""
        self._say("Unknown", op=op, error="no answer")

    def close(self) -> None:
        """Close the trace."""
        self._trace.close()

    def _say(self, name: str, **fields: object) -> None:
        self._outbox.record(name, 0, **fields, at=("virtual", int(self._clock() * 1e9)))
        self._trace.write(self._outbox.take()[0])


class Cluster:
    """Nodes, disks and messages in flight, and everything that can happen to them."""

    def __init__(
        self,
        directory: Path,
        size: int = 3,
        *,
        observers: int = 0,
        seed: int = 0,
        timing: Timing | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """A cluster of `size` voters, all running; traces go to `directory`; `clock` is virtual time in seconds."""
        self._founding = founding(
            {f"n{i + 1}": f"n{i + 1}:7000" for i in range(size)},
            {f"o{i + 1}": f"o{i + 1}:7000" for i in range(observers)},
        )
        self.names = list(self._founding.members)
        self.removed: set[str] = set()
        self.now = clock
        self.in_flight: list[Message] = []
        self.running: dict[str, Process] = {}
        self.slow: set[str] = set()
        self.events = 0
        self._rng = random.Random(seed)
        self._cluster = f"sim-{seed}"
        self._directory = directory
        self._timing = timing
        self._limits = limits
        self._crash: tuple[str, CrashPoint] | None = None
        self.disks = {n: Disk(f"disk-of-{n}") for n in self.names}
        self.clients = [self._client(f"client-{number}") for number in (1, 2, 3)]
        for name in self.names:
            self.restart(name)

    def _client(self, name: str) -> Client:
        inc = self._inc(name, 1)
        return Client(name, self._open_trace(name, inc), inc, self.now)

    def _inc(self, name: str, counter: int) -> str:
        return f"{counter}-{random.Random(f'{self._cluster}/{name}/{counter}').getrandbits(32):08x}"

    def _open_trace(self, node: str, inc: str) -> TraceWriter:
        return TraceWriter(
            self._directory, cluster=self._cluster, node=node, inc=inc, clock=lambda: BEGINNING + int(self.now() * 1e9)
        )

    def restart(self, name: str) -> None:
        """Start a node that is down, from what its disk holds."""
        disk = self.disks[name]
        disk.counter += 1
        inc = self._inc(name, disk.counter)
        outbox = Outbox(name, inc)
        raft = Raft(
            name,
            self._founding,
            outbox,
            now=self.now(),
            hard_state=disk.hard_state,
            entries=disk.entries,
            base=disk.base,
            image=disk.image,
            timing=self._timing,
            limits=self._limits,
            rng=random.Random(self._rng.random()),
        )
        frontend = Frontend(raft, outbox)
        self.running[name] = Process(frontend, outbox, self._open_trace(name, inc))
        frontend.start(disk.identity)
        self._turn(name)

    def crash(self, name: str) -> None:
        """Kill a node between two turns."""
        process = self.running.pop(name)
        process.trace.close()
        for client, op in [
            *((client, op) for _, client, op in process.promised),
            *((client, op) for client, op, _ in process.reading + process.waiting),
        ]:
            client.unknown(op)

    def crash_at(self, name: str, point: CrashPoint) -> None:
        """Kill the node when it next comes to this point of a turn."""
        self._crash = (name, point)

    def deliver(self, message: Message) -> None:
        """Hand a message to its destination, if that is running."""
        if message.dst in self.running:
            self.running[message.dst].frontend.step(message, self.now())
            self._turn(message.dst)

    def tick(self, name: str) -> None:
        """Let a node look at the clock."""
        self.running[name].frontend.tick(self.now())
        self._turn(name)

    def leaders(self) -> list[str]:
        """The running nodes at which clients may write; more than one while a deposed LEADER has not noticed."""
        return [n for n, p in self.running.items() if p.frontend.takes_in]

    def write(self, name: str, count: int = 1) -> None:
        """Clients write `count` entries at a node that is ready."""
        process = self.running[name]
        clients = [self._rng.choice(self.clients) for _ in range(count)]
        writes = [(client, *client.invoke("write")) for client in clients]
        first, _ = process.frontend.append([f"{op} {key}".encode() for _, op, key in writes])
        process.promised.extend((first + i, client, op) for i, (client, op, _) in enumerate(writes))
        self._turn(name)

    def read(self, name: str, count: int = 1) -> None:
        """Clients read at a node that is ready."""
        for client in [self._rng.choice(self.clients) for _ in range(count)]:
            self.running[name].waiting.append((client, *client.invoke("read")))
        self._turn(name)

    def hand_over(self, name: str, heir: str, *, force: bool = False) -> None:
        """Have a node that is ready hand over to another voter, within a second."""
        self.running[name].frontend.hand_over(heir, 1.0, force=force)
        self._turn(name)

    def image(self, name: str, keep: int = 0) -> None:
        """A node makes an image of all that it knows committed, and gives up the entries in it but the last `keep`."""
        raft, disk = self.running[name].frontend.raft, self.disks[name]
        last = raft.commit_index
        if last > (raft.newest_image.base.last if raft.newest_image else 0):
            state = {f"k{number}": disk.version(f"k{number}", last, raft.log) for number in range(3)}
            disk.made = json.dumps(state).encode()
            raft.image(Image(raft.log.base_at(last), len(disk.made), checksum(disk.made)), last - keep)
            self._turn(name)

    def add(self, leader: str, part: Part, name: str = "") -> str:
        """The leader adds a learner or an observer: a node with an empty disk, or the one with this name.

        Returns its name. Raises ChangeRefused, as the other changes of the group do.
        """
        changes = self.running[leader].frontend.changes()
        joining = name or f"{part[0]}{len(self.names) + 1}"
        add = changes.add_learner if part is Part.LEARNER else changes.add_observer
        add(joining, f"{joining}:7000")
        self.removed.discard(joining)
        if joining not in self.disks:
            self.disks[joining] = Disk(f"disk-of-{joining}")
            self.names.append(joining)
            self.restart(joining)
        self._turn(leader)
        return joining

    def promote(self, leader: str, name: str) -> None:
        """The leader makes a learner a voter."""
        self.running[leader].frontend.changes().promote(name)
        self._turn(leader)

    def remove(self, leader: str, name: str) -> None:
        """The leader removes a member."""
        self.running[leader].frontend.changes().remove(name)
        self._turn(leader)

    def demote(self, leader: str, name: str) -> None:
        """The leader makes a member an observer."""
        self.running[leader].frontend.changes().demote(name)
        self._turn(leader)

    def enlist(self, leader: str, name: str) -> None:
        """The leader makes an observer a learner."""
        self.running[leader].frontend.changes().enlist(name)
        self._turn(leader)

    def move(self, leader: str, name: str, address: str) -> None:
        """The leader writes down that a member is to be found elsewhere; here it is found by its name."""
        self.running[leader].frontend.changes().move(name, address)
        self._turn(leader)

    def carry_out(self, name: str) -> None:
        """The executions of a change of type are done, at a node in `slow`: at any other they take no time."""
        process = self.running[name]
        if process.change is not None:
            to, process.change = process.change, None
            process.frontend.transferred(to)
            self._turn(name)

    def stop(self, name: str) -> None:
        """End a node in good order."""
        self.running[name].frontend.exit(0)
        self._turn(name)

    def close(self) -> None:
        """End all that still run, as a crash would, and close the traces."""
        for name in list(self.running):
            self.crash(name)
        for client in self.clients:
            client.close()

    # --- one turn of a node's loop: persist, trace, send -----------------------------------------------------------

    def _turn(self, name: str) -> None:
        process = self.running[name]
        if process.waiting and not process.reading and process.frontend.takes_in:
            process.reading, process.waiting = process.waiting, []
            process.frontend.read_start()
        try:
            self._speak(name, process)
            while (to := process.frontend.wanted()) is not None:
                if name in self.slow:
                    process.change = to
                    break
                process.frontend.transferred(to)
                self._speak(name, process)
            self._answer_clients(name, process)
        except _Killed:
            self._crash = None
            self.crash(name)
            return
        if process.frontend.stopped:
            if process.frontend.exit_code == EXIT_REMOVED:
                self.removed.add(name)
            self.crash(name)

    def _speak(self, name: str, process: Process) -> None:
        raft = process.frontend.raft
        while True:
            events, messages = raft.take()
            if events:
                self._may_die(name, CrashPoint.BEFORE_TRACE)
                process.trace.write(events)
                self.events += len(events)
            if messages:
                self._may_die(name, CrashPoint.BEFORE_SEND)
                self.in_flight.extend(self._filled(name, message) for message in messages)
            write = raft.to_persist()
            if write is None:
                return
            self._may_die(name, CrashPoint.BEFORE_PERSIST)
            self.disks[name].save(write)
            raft.persisted()

    def _filled(self, name: str, message: Message) -> Message:
        """With the part of the image that the core has left to its driver."""
        disk = self.disks[name]
        match message:
            case InstallSnapshot(image=image, wanted=True, offset=offset) if image == disk.image:
                return replace(message, data=disk.state[offset : offset + PART])
        return message

    def _answer_clients(self, name: str, process: Process) -> None:
        frontend = process.frontend
        if not frontend.ready:
            return
        commit = frontend.raft.commit_index
        serve = frontend.read_serve(commit)
        if serve:
            self._speak(name, process)
            for client, op, key in process.reading:
                client.saw(op, commit, self.disks[name].version(key, commit, frontend.raft.log), serve)
            process.reading = []
        done = [p for p in process.promised if p[0] <= commit]
        if not done:
            return
        del process.promised[: len(done)]
        ack = frontend.ack(done[0][0], done[-1][0])
        self._speak(name, process)
        for index, client, op in done:
            client.ok(op, index, frontend.raft.term, ack)

    def _may_die(self, name: str, point: CrashPoint) -> None:
        if self._crash == (name, point):
            raise _Killed
