"""`make demo`: a cluster of three processes loses its leader twice, and the trace of it is judged.

What is printed between the headings comes from the nodes' own traces, read as they are written: the same files that the
checker judges at the end. The checker runs as a program of its own; this package never imports it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import NoReturn

from hacoord.client import Client, NotWritten, Unreachable
from hacoord.disk.storage import StorageError, create
from hacoord.journal import OutcomeUnknown
from hacoord.monitoring.narrator import PATIENCE, Line, Narrator, NothingHappened
from hacoord.raft.outbox import Event
from hacoord.trace import encode, line_prefix

CLUSTER = "demo"
NODES = ("n1", "n2", "n3")
SETTINGS = """\
secret_file = "secret"
[trace]
dir = "trace"
[election]
timeout = 0.5
heartbeat = 0.1
"""


class DemoFailed(Exception):
    """Something did not happen as it should."""


class Cluster:
    """Three processes, and the files they live in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.secret = secrets.token_hex(32).encode()
        self.trace = directory / "trace"
        self.trace.mkdir()
        secret_file = directory / "secret"
        secret_file.touch(mode=0o600)
        secret_file.write_bytes(self.secret)
        (directory / "hacoord.toml").write_text(SETTINGS)
        self.address = {node: f"127.0.0.1:{port}" for node, port in zip(NODES, _free_ports(len(NODES)), strict=True)}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for node in NODES:
            create(directory / node, cluster=CLUSTER, node=node, members=self.address)

    def start(self, node: str) -> None:
        """Start a node's process; its log goes to a file beside its data."""
        command = [*HACOORD, "serve", str(self.directory / node), "--config", str(self.directory / "hacoord.toml")]
        with (self.directory / f"{node}.log").open("ab") as log:
            # A session of its own: Ctrl-C is for the demo, which then ends the nodes in good order.
            self.processes[node] = subprocess.Popen(
                [*command, "--test-faults"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def ended(self, node: str) -> bool:
        """Whether a node's process has ended."""
        return self.processes[node].poll() is not None

    def kill(self, node: str) -> None:
        """SIGKILL: it can't say goodbye."""
        self.processes[node].kill()
        self.processes[node].wait(PATIENCE)

    def stop(self) -> None:
        """SIGTERM for all; whoever doesn't end is killed. Only processes started here."""
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Writer(threading.Thread):
    """A client that never stops writing, reads back now and then, and remembers what it was promised."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(name="writer", daemon=True)
        addresses = list(cluster.address.values())
        self._client = Client(addresses, cluster.secret, cluster=CLUSTER, trace_dir=cluster.trace)
        self._halt = threading.Event()
        self.promised: dict[int, bytes] = {}
        self.epoch = 0
        self.unknown = 0
        self.refused = 0
        self.reads = 0
        self.stale = 0

    def run(self) -> None:
        number = 0
        while not self._halt.wait(0.005):
            number += 1
            data = b"entry %d" % number
            try:
                receipt = self._client.append(data)
            except OutcomeUnknown:
                self.unknown += 1
            except NotWritten:
                self.refused += 1
            else:
                self.promised[receipt.index] = data
                self.epoch = receipt.epoch
            if number % 10 == 0:
                self._read_back()
        self._client.close()

    def _read_back(self) -> None:
        """A linearizable read must show the newest promise."""
        newest = max(self.promised, default=0)
        with contextlib.suppress(Unreachable):
            read = {entry.index for entry in self._client.linearizable_read(newest)}
            self.stale += newest not in read | {0}
            self.reads += 1

    def halt(self) -> None:
        """Finish the write at hand and stop."""
        self._halt.set()
        self.join(PATIENCE)

    def summary(self) -> str:
        """What has become of the writes so far."""
        unknown = f", {self.unknown} of unknown outcome" if self.unknown else ""
        return f"{len(self.promised)} writes acknowledged{unknown}; {self.reads} times read back"


def main() -> int:
    """Run the demo; 0 only if the run holds and the forged one is refused."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _terminated)
    directory = Path("run") / time.strftime("demo-%Y%m%d-%H%M%S")
    try:
        directory.mkdir(parents=True)
        return _demo(directory)
    except (DemoFailed, NothingHappened) as error:
        print(f"\nThe demo failed: {error}. Logs and traces are in {directory}.", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nInterrupted; every process has been ended.", file=sys.stderr)
    except (OSError, subprocess.SubprocessError, StorageError, Unreachable) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
    return 1


def _demo(directory: Path) -> int:
    print("hacoord keeps one journal on several machines, with one writer at a time, whatever fails;")
    print("and it writes down what it does, so that others can check that there never were two.\n")
    cluster = Cluster(directory)
    story = Narrator(cluster.trace, NODES)
    try:
        victim = _run(cluster, story)
    finally:
        cluster.stop()
    story.listen()
    codes = {node: process.returncode for node, process in cluster.processes.items()}
    if any(codes.values()):
        raise DemoFailed(f"not all nodes stopped with exit code 0: {codes}")
    print("\n8. The verdict: the trace, replayed on the state graphs of the specification")
    holds = _judge(cluster.trace)
    print("\n9. Would it have noticed? The same trace, forged: the killed leader lives on, and acknowledges a write")
    forged = directory / "forged"
    print(textwrap.indent(_forge(cluster.trace, forged, victim), "   "))
    refused = _judge(forged)
    print("   Two leaders promising different entries for one place: that is a split brain, and it does not pass.\n")
    if holds != 0 or refused != 1:
        raise DemoFailed(f"the run should hold (exit code 0, was {holds}), the forgery be refused (1, was {refused})")
    print(f"The real run holds, the forged one is refused. Both are kept in {directory}: trace-check replay DIR")
    return 0


def _run(cluster: Cluster, story: Narrator) -> str:
    """The story up to the point where all nodes are to stop; returns who was killed."""
    print("1. Three processes start, and elect a leader")
    for node in NODES:
        cluster.start(node)
    settled = ["FOLLOWER", "FOLLOWER", "LEADER"]
    story.until("a leader and two followers", lambda: sorted(story.types.values()) == settled)

    print("\n2. A client writes, and goes on writing to the end")
    writer = Writer(cluster)
    story.progress = writer.summary
    writer.start()
    _until_writes(story, writer, 100)

    victim = story.leader
    print(f"\n3. SIGKILL for the leader, {victim}")
    story.leader = ""
    cluster.kill(victim)
    story.types[victim] = "DOWN"
    story.say("is gone; nobody was told", victim)
    story.until("a new leader", lambda: story.leader not in ("", victim))
    _until_writes(story, writer, 100)

    print(f"\n4. {victim} starts again, from its disk")
    cluster.start(victim)
    story.until(f"{victim} follows", lambda: story.types[victim] == "FOLLOWER")

    cut = next(node for node in NODES if node not in (victim, story.leader))
    print(f"\n5. {cut} is cut off from the others, and comes back")
    with _commander(cluster) as commander:
        commander.fault(cluster.address[cut], {"block": [node for node in NODES if node != cut]})
        story.until(f"{cut} finds itself alone", lambda: story.types[cut] == "UNKNOWN")
        story.say("hears nobody any more: it is UNKNOWN; the others have a majority, and go on", cut)
        _until_writes(story, writer, 50)
        commander.fault(cluster.address[cut], {"unblock": True})
        term = story.term
        story.until(f"{cut} follows again", lambda: story.types[cut] == "FOLLOWER")
        if story.term == term:
            story.say("is back, and has disturbed nobody: the term is the same", cut)

        deposed = story.leader
        print(f"\n6. Now the leader is cut off, {deposed}: it can't know any more whether it leads")
        commander.fault(cluster.address[deposed], {"block": [node for node in NODES if node != deposed]})
        story.until("a new leader", lambda: story.leader not in ("", deposed))
        if story.types[deposed] == "LEADER":
            story.say("has not noticed yet; but no majority stores what it writes: it can promise nothing", deposed)
        story.until("the deposed leader ends", lambda: cluster.ended(deposed) and story.types[deposed] == "DOWN")
        story.say("has left LEADER the only way there is; its supervisor, this demo, starts it again", deposed)
        cluster.start(deposed)
        story.until(f"{deposed} follows", lambda: story.types[deposed] == "FOLLOWER")
        _until_writes(story, writer, 100)
        writer.halt()

        print("\n7. Each node is asked for its journal; then all stop")
        _compare(cluster, story, commander, writer)
    return victim


def _until_writes(story: Narrator, writer: Writer, more: int) -> None:
    """Wait for so many more acknowledged writes."""
    before = len(writer.promised)
    story.until(f"{more} more writes", lambda: len(writer.promised) >= before + more)
    story.say(f"{writer.summary()}; epoch {writer.epoch}")


def _compare(cluster: Cluster, story: Narrator, commander: Client, writer: Writer) -> None:
    """Every node's journal must hold every promised write in its place, and be the same as the others'."""
    last = max(writer.promised)
    if writer.stale:
        raise DemoFailed(f"{writer.stale} reads did not show what had been acknowledged before")
    journals: dict[str, dict[int, bytes]] = {}
    for node, address in cluster.address.items():
        story.until(f"{node} has entry {last}", lambda where=address: _commit(commander, where) >= last)  # type: ignore[misc]
        journal = journals[node] = {entry.index: entry.data for entry in commander.read(address)}
        lost = sum(1 for index, data in writer.promised.items() if journal.get(index) != data)
        story.say(f"has {len(journal)} entries; of {len(writer.promised)} acknowledged writes {lost} are missing", node)
        if lost:
            raise DemoFailed(f"{node} has lost {lost} acknowledged writes")
    if len({tuple(sorted(journal.items())) for journal in journals.values()}) != 1:
        raise DemoFailed("the nodes' journals differ")


def _commit(client: Client, address: str) -> int:
    commit = client.status(address)["commit"]
    assert isinstance(commit, int)
    return commit


def _commander(cluster: Cluster) -> Client:
    """A client that asks and gives orders, and writes nothing: so it leaves no trace."""
    return Client(list(cluster.address.values()), cluster.secret, cluster=CLUSTER, name="commander")


def _judge(directory: Path) -> int:
    """Run the checker on a directory, show what it says, return its exit code."""
    print(f"   $ trace-check replay {directory}", flush=True)
    command = [sys.executable, "-m", "trace_check", "replay", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    said = (done.stdout + done.stderr).splitlines()
    if done.returncode == 1:
        # What counts is the refusal; the figures up to there are left out.
        said = list(itertools.takewhile(lambda line: not line.startswith("Judged"), said))
    for line in said:
        indent = "   " + " " * (len(line) - len(line.lstrip()))
        print(textwrap.fill(line.strip(), 118, initial_indent=indent, subsequent_indent=indent + "  "), flush=True)
    return done.returncode


def _forge(trace: Path, forged: Path, victim: str) -> str:
    """Copy a trace, and have the killed leader go on as if it had lived; returns what was added, in words.

    It appends, stores and commits entries until above its successor's epoch record, and acknowledges the last: what a
    split brain would look like. Nobody else ever stored those entries, and that is what gives it away.
    """
    shutil.copytree(trace, forged)
    [path] = forged.glob(f"{victim}.1-*.ndjson")
    whole = path.read_bytes()
    whole = whole[: whole.rfind(b"\n") + 1]  # a line torn by the kill would swallow the forged one
    lines: list[Line] = [json.loads(line) for line in whole.splitlines()]
    term = next(line["term"] for line in lines if line["event"] == "Win")
    record, epoch = _next_epoch_record(forged, term)
    appended = max(line["last"] for line in lines if line["event"] == "Append")
    commits = [line for line in lines if line["event"] == "Commit"]
    last = record + 1
    digest = secrets.token_hex(8)
    end = lines[-1]
    own = [victim, end["inc"], end["seq"] + 2]
    others = [store for store in commits[-1]["stores"] if store[0] != victim]
    runs = [[commits[-1]["runs"][-1][1] + 1, last, term]]
    events: list[tuple[str, dict[str, object]]] = [
        ("Append", {"first": appended + 1, "last": last, "digest": digest}),
        ("Store", {"last": last, "last_term": term, "digest": digest}),
        ("Commit", {"runs": runs, "digest": digest, "stores": [*others, own]}),
        ("Ack", {"first": last, "last": last}),
    ]
    prefix = line_prefix(end["cluster"], victim, end["inc"])
    with path.open("wb") as file:
        file.write(whole)
        for seq, (name, fields) in enumerate(events, start=end["seq"] + 1):
            file.write(encode(Event(name, seq, term, fields, ()), prefix, end["ts"]))
    return f"{victim}, LEADER of term {term}, acknowledges index {last}, although epoch {epoch} begins at {record}"


def _next_epoch_record(trace: Path, term: int) -> tuple[int, int]:
    """Index and epoch of the first epoch record of a later term than this."""
    lines = [json.loads(line) for path in trace.glob("n*.ndjson") for line in path.read_bytes().split(b"\n")[:-1]]
    appends = [line for line in lines if line["event"] == "Append" and "epoch" in line]
    return min((line["first"], line["epoch"]) for line in appends if line["term"] > term)


def _free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on now; held open together, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _terminated(*_: object) -> NoReturn:
    raise KeyboardInterrupt


HACOORD = (sys.executable, "-m", "hacoord.commands.cli")

if __name__ == "__main__":
    sys.exit(main())
