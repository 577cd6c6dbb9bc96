"""A LEADER that leaves on purpose: by request, by SIGTERM, and node after node while a client goes on writing."""

from __future__ import annotations

import signal
import subprocess
import threading

import pytest
from test_three_processes import HACOORD, NODES, PATIENCE, Cluster
from test_three_processes import client as client  # a fixture
from test_three_processes import cluster as cluster  # a fixture

from hacoord.client import Client, RequestRefused
from hacoord.journal import OutcomeUnknown
from hacoord.net.frames import PROTOCOL
from hacoord.node import Exit


def test_a_leader_hands_over_to_whom_it_is_told(cluster: Cluster, client: Client) -> None:
    cluster.start(*NODES)
    old = cluster.leader()
    cluster.write(client, 5)
    heir, third = (node for node in NODES if node != old)
    addresses = list(cluster.address.values())
    with pytest.raises(RequestRefused, match="no other voter"):
        cluster.asker.transfer(old)
    done = subprocess.run(
        [*HACOORD, "transfer", *addresses, "--to", heir, "--secret-file", str(cluster.secret_file)],
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"handed over to {heir}" in done.stdout
    assert cluster.processes[old].wait(PATIENCE) == Exit.HANDED_OVER
    assert cluster.leader() == heir
    cluster.write(client, 5)
    cluster.start(old)
    cluster.follows(old)
    # Who is not there cannot take over: nothing is lost, and the LEADER goes on.
    cluster.processes[third].kill()
    cluster.processes[third].wait(PATIENCE)
    with pytest.raises(RequestRefused, match="did not take over in time"):
        cluster.asker.transfer(third, timeout=0.3)
    assert cluster.leader() == heir
    cluster.write(client, 5)
    cluster.stop()
    cluster.judge()


def test_whoever_is_asked_the_leader_chooses_its_heir(cluster: Cluster) -> None:
    cluster.start(*NODES)
    old = cluster.leader()
    follower = next(node for node in NODES if node != old)
    with Client([cluster.address[follower]], cluster.secret, timeout=PATIENCE) as client:
        assert client.transfer() in NODES
    assert cluster.processes[old].wait(PATIENCE) == Exit.HANDED_OVER
    cluster.stop()
    cluster.judge()


def test_a_handover_that_nobody_answers_is_not_asked_of_the_successor(cluster: Cluster) -> None:
    cluster.start(*NODES)
    old = cluster.leader()
    others = [node for node in NODES if node != old]
    with Client([cluster.address[node] for node in (old, *others)], cluster.secret, timeout=3.0) as client:
        client.status(cluster.address[old])
        cluster.processes[old].send_signal(signal.SIGSTOP)
        with pytest.raises(OutcomeUnknown):
            client.transfer(timeout=1.0)
    assert all(cluster.processes[node].poll() is None for node in others)
    cluster.processes[old].send_signal(signal.SIGCONT)
    cluster.processes[old].wait(PATIENCE)
    cluster.stop()
    cluster.judge()


@pytest.mark.parametrize("old", [None, 1], ids=["restart", "upgrade"])
def test_nodes_are_restarted_one_after_the_other_under_a_writing_client(
    cluster: Cluster, client: Client, old: int | None
) -> None:
    """Every write is acknowledged, and every node ends with 0; also when the nodes spoke an older protocol before."""
    settings = cluster.directory / "hacoord.toml"
    new = settings.read_text()
    if old is not None:
        settings.write_text(f"{new}[protocol]\nnewest = {old}\n")
    cluster.start(*NODES)
    leader = cluster.leader()
    if old is not None:
        assert set(cluster.protocols(leader).values()) == {old}
        with pytest.raises(RequestRefused, match="older version of hacoord: upgrade it first"):
            cluster.asker.change("add_observer", "o1", address="127.0.0.1:1")
    settings.write_text(new)
    over = threading.Event()
    failures: list[str] = []
    written: list[int] = []

    def write() -> None:
        while not over.is_set():
            try:
                written.append(client.append(b"x").index)
            except Exception as error:  # whatever it is, the test tells of it
                failures.append(repr(error))
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for node in NODES:
            before = len(written)
            cluster.processes[node].terminate()
            assert cluster.processes[node].wait(PATIENCE) == 0
            cluster.until("writes go on", lambda n=before: len(written) > n + 5 or bool(failures))  # type: ignore[misc]
            cluster.start(node)
            cluster.leader()
    finally:
        over.set()
        writer.join(PATIENCE)
    assert not failures
    leader = cluster.leader()
    cluster.until("all speak the newest", lambda: set(cluster.protocols(leader).values()) == {PROTOCOL})
    assert len(set(written)) == len(written)
    cluster.stop()
    cluster.judge()
