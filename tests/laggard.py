"""A node that was away for a million entries comes back through an image while writes go on: what that costs the rest.

    python tests/laggard.py [--entries 1000000] [--keys 100000] [--directory run/laggard]

Three processes, each with a state machine; whoever leads writes as fast as UNDER_WAY writes at a time allow. A follower
is killed, the entries are written, the follower is started again, and the writing does not stop. The leader measures
the time between two messages to each peer: the longest says how late its heartbeats were. Then the traces are judged.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hacoord.client import Client, Unreachable
from hacoord.config import Config, Election, Images, Trace
from hacoord.disk.storage import create
from hacoord.journal import Outcome, Receipt
from hacoord.net.rights import Right
from hacoord.node import Node, NodeFailed
from hacoord.raft.messages import Message

UNDER_WAY = 2000
"""Writes that the leader keeps waiting for their turn or for commitment."""
PATIENCE = 60.0
NODES = ("n1", "n2", "n3")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tried: `entries` are written while one node is away, over `keys` keys; the timing is the cluster's."""

    entries: int
    keys: int
    election: Election
    images: Images


@dataclass(frozen=True, slots=True)
class Found:
    """What came of it. Seconds; `gaps` are the longest times between two messages of the leader to a peer.

    First by the clock, then what its process had of the processor: the first of them also has the rest of the machine.
    """

    writing: float
    coming_back: float
    behind: int
    written_meanwhile: int
    parts: int
    database: int
    gaps: Mapping[str, tuple[float, float]]


class Table:
    """A machine of many keys, each with the entry that wrote it last."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}

    def apply(self, index: int, data: bytes) -> None:
        """Take in one `key value`."""
        key, _, value = data.decode().partition(" ")
        self.rows[key] = value

    def image(self) -> Iterable[bytes]:
        """Line by line, of a copy: applying goes on meanwhile."""
        rows = list(self.rows.items())
        return self._lines(rows)

    @staticmethod
    def _lines(rows: list[tuple[str, str]]) -> Iterable[bytes]:
        for at in range(0, len(rows), 1000):
            yield "".join(f"{key} {value}\n" for key, value in rows[at : at + 1000]).encode()

    def restore(self, image: bytes) -> None:
        """Be what another table was."""
        self.rows = dict(line.split(" ", 1) for line in image.decode().splitlines())


class Member:
    """One node, which writes when it is told to, and measures what it sends."""

    def __init__(self, directory: Path, plan: Plan, secret: bytes) -> None:
        self.node = Node(directory, config(directory, plan), secret)
        self.node.host(Table())
        self.node.on_request("measured", lambda _, reply: reply(self.measured()), Right.READ)
        self.node.on_request("write", lambda body, reply: reply(self.write(body)), Right.WRITE)
        self._keys = plan.keys
        self._number = 0
        self._left = 0
        self._sent_at: dict[str, tuple[float, float]] = {}
        self._gaps: dict[str, tuple[float, float]] = {}
        self._parts = 0
        self._transport = self.node._transport
        self._send = self._transport.send
        self._transport.send = self._watched  # type: ignore[method-assign]

    def _watched(self, message: Message) -> None:
        """Note how long nothing was sent to a peer that is connected."""
        now = time.monotonic(), time.process_time()
        then = self._sent_at.get(message.dst, now)
        self._sent_at[message.dst] = now
        if message.dst in self._transport.connected:
            longest = self._gaps.get(message.dst, (0.0, 0.0))
            self._gaps[message.dst] = max(longest[0], now[0] - then[0]), max(longest[1], now[1] - then[1])
        self._parts += bool(getattr(message, "data", b""))
        self._send(message)

    def measured(self) -> dict[str, object]:
        """The longest gap to each peer and the parts of images sent, since this was asked last; and writes to come."""
        found: dict[str, object] = {"gaps": self._gaps, "parts": self._parts, "left": self._left}
        self._gaps, self._parts = {}, 0
        return found

    def write(self, body: Mapping[str, object]) -> dict[str, object]:
        """From now on, write so many entries, UNDER_WAY at a time: each that is acknowledged is followed by another."""
        self._left = int(str(body["count"]))
        for _ in range(UNDER_WAY):
            self._write_one()
        return {"left": self._left}

    def _write_one(self) -> None:
        if self._left > 0:
            self._left -= 1
            self._number += 1
            self.node.journal.submit(b"key-%d %0100d" % (self._number % self._keys, self._number), self._written)

    def _written(self, outcome: Outcome) -> None:
        if isinstance(outcome, Receipt):
            self._write_one()


def config(directory: Path, plan: Plan) -> Config:
    """What all nodes are started with."""
    trace = replace(Trace(), dir=directory.parent / "trace")
    return replace(Config(), trace=trace, election=plan.election, image=plan.images)


class Scene:
    """The three processes, and what is asked of them."""

    def __init__(self, directory: Path, plan: Plan) -> None:
        self.directory = directory
        self.plan = plan
        self.secret = secrets.token_hex(16)
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in NODES]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            self.address = {n: f"127.0.0.1:{s.getsockname()[1]}" for n, s in zip(NODES, sockets, strict=True)}
        for name in NODES:
            create(directory / name, cluster="laggard", node=name, members=self.address)
        self.client = Client([], self.secret.encode(), timeout=PATIENCE)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        plan = json.dumps([self.plan.entries, self.plan.keys, asdict(self.plan.election), asdict(self.plan.images)])
        command = [sys.executable, __file__, "--member", str(self.directory / name), plan, self.secret]
        self.processes[name] = subprocess.Popen(command)

    def ask(self, name: str, operation: str, **fields: object) -> dict[str, object]:
        return self.client.ask(self.address[name], {"op": operation, **fields})

    def applied(self, name: str) -> int:
        """How far a node is; 0 while it does not answer."""
        try:
            return int(str(self.ask(name, "status")["applied"]))
        except Unreachable:
            return 0

    def until(self, what: str, condition: Callable[[], bool], patience: float = PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while not condition():
            for name, process in self.processes.items():
                if process.poll() not in (None, -signal.SIGKILL):
                    raise AssertionError(f"{name} ended with {process.returncode}, before {what}")
            if time.monotonic() > deadline:
                raise AssertionError(f"in vain: {what}")
            time.sleep(0.02)

    def leader(self) -> str:
        found: list[str] = []

        def ready() -> bool:
            found[:] = [n for n, p in self.processes.items() if p.poll() is None and self._ready(n)]
            return bool(found)

        self.until("somebody leads", ready)
        return found[0]

    def _ready(self, name: str) -> bool:
        try:
            return bool(self.ask(name, "status")["ready"])
        except Unreachable:
            return False

    def close(self) -> None:
        self.client.close()
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def play(directory: Path, plan: Plan, say: Callable[[str], None]) -> Found:
    """All of it, but for the judging. Raises AssertionError when the laggard does not come back in time."""
    scene = Scene(directory, plan)
    try:
        for name in NODES:
            scene.start(name)
        leader = scene.leader()
        laggard = next(name for name in NODES if name != leader)
        scene.until(f"{laggard} follows", lambda: scene.applied(laggard) > 0)
        scene.processes[laggard].kill()
        scene.processes[laggard].wait(PATIENCE)
        say(f"{leader} leads; {laggard} is killed. Writing {plan.entries:,} entries over {plan.keys:,} keys ...")
        away_at = scene.applied(leader)
        began = time.monotonic()
        # More than are waited for: the writing does not stop.
        scene.ask(leader, "write", count=100 * plan.entries)
        scene.until("all are written", lambda: scene.applied(leader) - away_at >= plan.entries, 1800)
        writing = time.monotonic() - began
        scene.ask(leader, "measured")
        behind = scene.applied(leader) - away_at
        say(f"{behind:,} entries in {writing:.1f} s. {laggard} is started again, and the writing goes on ...")
        began = time.monotonic()
        scene.start(laggard)
        scene.until(f"{laggard} is back", lambda: scene.applied(laggard) >= away_at + behind, 600)
        coming_back = time.monotonic() - began
        meanwhile = scene.applied(leader) - away_at - behind
        measured = scene.ask(leader, "measured")
        scene.ask(leader, "write", count=0)
        end = scene.applied(leader)
        scene.until(f"{laggard} has all", lambda: scene.applied(laggard) >= end, 600)
        size = sum(path.stat().st_size for path in (directory / laggard).glob("node.db*"))
        gaps = {str(name): (clock, cpu) for name, (clock, cpu) in dict(measured["gaps"]).items()}  # type: ignore[call-overload]
        parts = int(str(measured["parts"]))
        return Found(writing, coming_back, behind, meanwhile, parts, size, gaps)
    finally:
        scene.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000, help="written while the node is away (1000000)")
    parser.add_argument("--keys", type=int, default=100_000, help="that they are written to (100000)")
    parser.add_argument("--directory", type=Path, default=Path("run/laggard"), help="for data and traces (run/laggard)")
    parser.add_argument("--member", nargs=3, metavar=("DIR", "PLAN", "SECRET"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.member:
        return member(*args.member)
    shutil.rmtree(args.directory, ignore_errors=True)
    args.directory.mkdir(parents=True)
    plan = Plan(args.entries, args.keys, Election(timeout=1.0, heartbeat=0.1), Images())
    found = play(args.directory.absolute(), plan, print)
    print(f"It was back after {found.coming_back:.1f} s; {found.written_meanwhile:,} entries were written meanwhile.")
    print(f"An image was sent in {found.parts} parts; the laggard's database has {found.database >> 20} MiB.")
    due = plan.election.heartbeat
    print(f"Followers wait {plan.election.timeout:g} to {2 * plan.election.timeout:g} s for a word of their leader.")
    print(f"A heartbeat is due every {due:g} s. Longest silence, and most work of the leader in one:")
    for peer, (clock, cpu) in sorted(found.gaps.items()):
        print(f"  towards {peer}: {clock:.3f} s; {cpu:.3f} s of processor time")
    print("Judging the traces ...", flush=True)
    return subprocess.run([sys.executable, "-m", "trace_check", "replay", str(args.directory / "trace")]).returncode


def member(directory: str, plan: str, secret: str) -> int:
    """One of the processes."""
    entries, keys, election, images = json.loads(plan)
    try:
        found = Member(Path(directory), Plan(entries, keys, Election(**election), Images(**images)), secret.encode())
        signal.signal(signal.SIGTERM, lambda *_: found.node.stop())
        return int(found.node.run())
    except NodeFailed as error:
        print(f"{directory}: {error}", file=sys.stderr)
        return int(error.code)


if __name__ == "__main__":
    sys.exit(main())
