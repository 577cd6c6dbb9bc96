"""Three real processes: leaders killed and cut off, strangers kept out, and every trace judged by the checker."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from hacoord.client import Client, NotWritten, RequestRefused, Unreachable
from hacoord.disk.storage import create
from hacoord.journal import OutcomeUnknown
from hacoord.node import Exit

PATIENCE = 20.0
NODES = ("n1", "n2", "n3")
HACOORD = (sys.executable, "-m", "hacoord.commands.cli")
TRACE_CHECK = (sys.executable, "-c", "import sys; from trace_check.cli import main; sys.exit(main())")
CONFIG = '[trace]\ndir = "trace"\n[election]\ntimeout = 0.3\nheartbeat = 0.05\n'


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


class Cluster:
    """Nodes, their processes and a client."""

    def __init__(self, directory: Path, nodes: Sequence[str] = NODES, config: str = CONFIG) -> None:
        self.directory = directory
        self.name = f"c-{secrets.token_hex(4)}"
        self.secret = secrets.token_hex(16).encode()
        self.secret_file = directory / "secret"
        self.secret_file.touch(mode=0o600)
        self.secret_file.write_bytes(self.secret)
        (directory / "hacoord.toml").write_text(config)
        self.address = {n: f"127.0.0.1:{p}" for n, p in zip(nodes, free_ports(len(nodes)), strict=True)}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.asker = Client(list(self.address.values()), self.secret, name="asker", timeout=PATIENCE)
        self.promised: dict[int, bytes] = {}
        for node in nodes:
            self.init(node, self.name)

    def init(self, node: str, cluster: str, directory: str | None = None) -> None:
        create(self.directory / (directory or node), cluster=cluster, node=node, members=self.address)

    def command(self, node: str, *options: str) -> list[str]:
        return [*HACOORD, "serve", str(self.directory / node), "--config", str(self.directory / "hacoord.toml"),
                *(options or ("--secret-file", str(self.secret_file), "--test-faults"))]  # fmt: skip

    def start(self, *nodes: str) -> None:
        for node in nodes:
            with (self.directory / f"{node}.log").open("ab") as log:
                self.processes[node] = subprocess.Popen(self.command(node), stdout=log, stderr=log)

    def refused(self, node: str, *options: str) -> tuple[int, str]:
        """Start a node that should not come up; its exit status, and what it said without its log."""
        done = subprocess.run(self.command(node, *options), capture_output=True, text=True, timeout=PATIENCE)
        return done.returncode, "\n".join(line for line in done.stderr.splitlines() if line.startswith("hacoord: "))

    def status(self, node: str) -> dict[str, object]:
        try:
            return self.asker.status(self.address[node])
        except Unreachable:
            return {}

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                logs = "".join(path.read_text()[-2000:] for path in sorted(self.directory.glob("*.log")))
                raise AssertionError(f"in vain: {what}\n{[self.status(n) for n in self.address]}\n{logs}")
            time.sleep(0.02)

    def running(self) -> list[str]:
        return [node for node, process in self.processes.items() if process.poll() is None]

    def leader(self) -> str:
        """The ready LEADER, once there is one whom all who run follow."""
        found: list[str] = []

        def settled() -> bool:
            rows = [self.status(node) for node in self.running()]
            found[:] = [str(row["node"]) for row in rows if row.get("ready")]
            return len(found) == 1 and all(row.get("leader") == found[0] for row in rows)

        self.until("one leader, followed by all", settled)
        return found[0]

    def protocols(self, node: str) -> dict[str, int]:
        """The version of the protocol that a node speaks with each other node it is connected to."""
        found = self.status(node).get("protocols")
        return {} if not isinstance(found, dict) else found

    def follows(self, node: str) -> None:
        self.until(f"{node} follows", lambda: self.status(node).get("type") == "FOLLOWER")

    def write(self, client: Client, count: int) -> None:
        for number in range(count):
            data = b"%d of %d" % (number, count)
            with contextlib.suppress(OutcomeUnknown):
                self.promised[client.append(data).index] = data
        with contextlib.suppress(Unreachable):
            journal = {entry.index for entry in client.linearizable_read(min(self.promised))}
            assert self.promised.keys() <= journal

    def everywhere(self) -> None:
        """Every node that runs has every write that was promised."""
        last = max(self.promised)
        for node in self.running():
            self.until(f"{node} has entry {last}", lambda n=node: int(str(self.status(n).get("commit", 0))) >= last)  # type: ignore[misc]
            journal = {entry.index: entry.data for entry in self.asker.read(self.address[node])}
            assert {index: journal.get(index) for index in self.promised} == self.promised

    def stop(self) -> None:
        """SIGTERM for all that run; each must end with 0."""
        nodes = self.running()
        for node in nodes:
            self.processes[node].terminate()
        assert {node: self.processes[node].wait(PATIENCE) for node in nodes} == dict.fromkeys(nodes, 0)

    def judge(self) -> None:
        done = subprocess.run([*TRACE_CHECK, "replay", str(self.directory / "trace")], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def close(self) -> None:
        self.asker.close()
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait(PATIENCE)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Client]:
    trace = cluster.directory / "trace"
    with Client(
        list(cluster.address.values()), cluster.secret, cluster=cluster.name, trace_dir=trace, timeout=PATIENCE
    ) as made:
        yield made


def test_a_killed_leader_loses_nothing(cluster: Cluster, client: Client) -> None:
    cluster.start(*NODES)
    first = cluster.leader()
    cluster.write(client, 30)
    cluster.processes[first].kill()
    assert cluster.processes[first].wait(PATIENCE) == -signal.SIGKILL
    cluster.write(client, 30)
    second = cluster.leader()
    assert second != first
    assert len(cluster.promised) >= 58
    cluster.start(first)
    cluster.follows(first)
    cluster.write(client, 30)
    cluster.everywhere()
    assert cluster.status(second)["epoch"] == 2
    cluster.stop()
    client.close()
    cluster.judge()


@pytest.mark.parametrize("connected", [True, False])
def test_a_leader_that_hangs_leaves_a_client_time_to_ask_its_successor(cluster: Cluster, connected: bool) -> None:
    cluster.start(*NODES)
    old = cluster.leader()
    others = [address for node, address in cluster.address.items() if node != old]
    trace = cluster.directory / "trace"
    with Client(
        [cluster.address[old], *others], cluster.secret, cluster=cluster.name, trace_dir=trace, timeout=6.0
    ) as client:
        if connected:
            cluster.promised[client.append(b"before", key="before").index] = b"before"
        cluster.processes[old].send_signal(signal.SIGSTOP)
        began = time.monotonic()
        cluster.promised[client.append(b"meanwhile", key="meanwhile").index] = b"meanwhile"
        assert b"meanwhile" in [entry.data for entry in client.linearizable_read()]
        assert time.monotonic() - began < 5.5
    cluster.processes[old].send_signal(signal.SIGCONT)
    assert cluster.processes[old].wait(PATIENCE) == Exit.LOST_LEADERSHIP
    cluster.start(old)
    cluster.follows(old)
    cluster.everywhere()
    cluster.stop()
    cluster.judge()


def test_a_client_with_keys_is_never_in_doubt_and_writes_nothing_twice(cluster: Cluster, client: Client) -> None:
    cluster.start(*NODES)
    written: dict[int, bytes] = {}

    def write(number: int) -> None:
        data = b"%d" % number
        index = client.append(data, key=f"k{number}").index
        assert written.setdefault(index, data) == data

    for _ in range(2):
        victim = cluster.processes[cluster.leader()]
        death = threading.Timer(0.2, victim.kill)  # in the midst of the writes
        death.start()
        while victim.poll() is None:
            write(len(written))
        death.join()
        for number in (len(written), len(written) - 1, len(written) // 2):  # a new one, and two over again
            write(number)
        cluster.start(*(node for node in NODES if node not in cluster.running()))
    assert {entry.index: entry.data for entry in client.linearizable_read()} == written
    assert sorted(written.values(), key=int) == [b"%d" % number for number in range(len(written))]
    cluster.leader()
    cluster.stop()
    client.close()
    cluster.judge()


def test_a_leader_cut_off_ends_with_its_code_and_a_follower_cut_off_comes_back(
    cluster: Cluster, client: Client
) -> None:
    cluster.start(*NODES)
    leader = cluster.leader()
    cluster.write(client, 5)

    follower = next(node for node in NODES if node != leader)
    term = cluster.status(leader)["term"]
    cluster.asker.fault(cluster.address[follower], {"block": [node for node in NODES if node != follower]})
    cluster.until("it finds itself alone", lambda: cluster.status(follower)["type"] == "UNKNOWN")
    cluster.write(client, 5)
    cluster.asker.fault(cluster.address[follower], {"unblock": True})
    cluster.follows(follower)
    assert cluster.status(leader)["term"] == term, "pre-vote: a node that comes back disturbs nobody"

    cluster.asker.fault(cluster.address[leader], {"block": [node for node in NODES if node != leader]})
    assert cluster.processes[leader].wait(PATIENCE) == Exit.LOST_LEADERSHIP
    assert "it was LEADER and lost its office" in (cluster.directory / f"{leader}.log").read_text()
    cluster.write(client, 5)
    assert cluster.leader() != leader
    cluster.start(leader)
    cluster.follows(leader)
    cluster.everywhere()
    cluster.stop()
    client.close()
    cluster.judge()


def test_without_a_majority_nothing_is_promised(cluster: Cluster) -> None:
    cluster.start("n1")
    cluster.until("n1 runs", lambda: bool(cluster.status("n1")))
    with (
        Client([cluster.address["n1"]], cluster.secret, timeout=0.5) as client,
        pytest.raises(NotWritten, match="none is known"),
    ):
        client.append(b"x")
    assert cluster.status("n1")["type"] == "INIT"
    cluster.stop()


def test_strangers_are_kept_out(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start("n1", "n2")
    cluster.leader()

    wrong = tmp_path / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("not the cluster's secret")
    code, said = cluster.refused("n3", "--secret-file", str(wrong))
    assert code == Exit.REFUSED
    assert "refused by 2 of 2 other members" in said
    assert "secret" in said

    cluster.init("n3", "another", directory="n3-of-another")
    code, said = cluster.refused("n3-of-another", "--secret-file", str(cluster.secret_file))
    assert code == Exit.REFUSED
    assert f"is of cluster {cluster.name}, not of another" in said

    status = subprocess.run(
        [*HACOORD, "status", cluster.address["n1"], "--secret-file", str(wrong)], capture_output=True, text=True
    )
    assert status.returncode == 1
    assert "do not have the same secret" in status.stderr
    assert status.stderr.count("\n") == 1
    with Client([cluster.address["n1"]], b"not the cluster's secret", timeout=0.3) as stranger:
        with pytest.raises(Unreachable, match="secret"):
            stranger.status(cluster.address["n1"])
        with pytest.raises(NotWritten, match="secret"):
            stranger.append(b"x")
    cluster.stop()


def test_faults_are_refused_without_the_flag(cluster: Cluster) -> None:
    command = cluster.command("n1", "--secret-file", str(cluster.secret_file))
    cluster.processes["n1"] = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    cluster.until("n1 runs", lambda: bool(cluster.status("n1")))
    with pytest.raises(RequestRefused, match="started without --test-faults"):
        cluster.asker.fault(cluster.address["n1"], {"block": ["n2"]})
    cluster.stop()


def test_the_command_line_writes_reads_and_shows(cluster: Cluster) -> None:
    cluster.start(*NODES)
    leader = cluster.leader()
    addresses = list(cluster.address.values())

    def run(*arguments: str, stdin: str = "") -> tuple[int, str]:
        command = [*HACOORD, *arguments, "--secret-file", str(cluster.secret_file)]
        done = subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=PATIENCE)
        return done.returncode, done.stdout + done.stderr

    assert run("append", *addresses, "--data", "first") == (0, "index 3, term 1, epoch 1\n")
    assert run("append", *addresses, stdin="sec\nond") == (0, "index 4, term 1, epoch 1\n")
    everything = (0, "3\t1\t1\tfirst\n4\t1\t1\tsec\nond\n")
    for address in addresses:
        assert run("read", address) == everything
    assert run("read", cluster.address[leader], "--local") == everything
    assert run("read", cluster.address[leader], "--last", "3") == (0, "3\t1\t1\tfirst\n")
    assert run("read", cluster.address[leader], "--first", "5") == (0, "")
    code, table = run("status", *addresses)
    assert code == 0
    assert re.match(r"node +type +role +term +epoch +leader +last +commit +ready\n", table)
    assert f"{leader}    LEADER" in table
    cluster.stop()
    code, said = run("status", *addresses)
    assert code == 1
    assert said.count("cannot reach") == 3


def test_a_node_with_a_cleared_directory_is_kept_out(cluster: Cluster, client: Client) -> None:
    """Made anew under its old name it has forgotten its votes; those who know it let it take no part (incident 12)."""
    cluster.start(*NODES)
    leader = cluster.leader()
    cluster.write(client, 3)
    victim = next(node for node in NODES if node != leader)
    cluster.processes[victim].kill()
    cluster.processes[victim].wait(PATIENCE)
    (cluster.directory / victim).rename(cluster.directory / "old")
    cluster.init(victim, cluster.name)
    code, said = cluster.refused(victim)
    assert code == Exit.REFUSED
    assert "came with another data directory before" in said
    shutil.rmtree(cluster.directory / victim)
    (cluster.directory / "old").rename(cluster.directory / victim)
    cluster.start(victim)
    cluster.follows(victim)
    cluster.write(client, 3)
    cluster.stop()
    cluster.judge()
