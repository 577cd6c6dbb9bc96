"""Processes that join, change their part, move and leave, by the command line; every trace judged by the checker."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest
from test_three_processes import HACOORD, NODES, PATIENCE, Cluster, free_ports
from test_three_processes import client as client  # a fixture
from test_three_processes import cluster as cluster  # a fixture

from hacoord.client import Client, NotWritten, RequestRefused, Unreachable
from hacoord.disk.storage import Storage
from hacoord.exits import Exit
from hacoord.journal import OutcomeUnknown


def run(cluster: Cluster, *arguments: str) -> tuple[int, str]:
    """A command of `hacoord`, with the cluster's secret: its exit status and what it says."""
    command = [*HACOORD, *arguments, "--secret-file", str(cluster.secret_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, done.stdout + done.stderr


def member(cluster: Cluster, *arguments: str) -> tuple[int, str]:
    helpers = [word for address in cluster.address.values() for word in ("--node", address)]
    return run(cluster, "member", *arguments, *helpers)


def join(cluster: Cluster, name: str, *options: str) -> tuple[int, str]:
    """A node joins, and is started."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    # The first helper is nobody: the next is tried.
    helpers = [f"127.0.0.1:{free_ports(1)[0]}", *cluster.address.values()]
    tried = [word for helper in helpers for word in ("--helper", helper)]
    code, said = run(
        cluster, "join", str(cluster.directory / name), "--node", name, "--address", address, *tried, *options
    )
    if code == 0:
        cluster.address[name] = address
        cluster.start(name)
    return code, said


def part(cluster: Cluster, name: str, wanted: str, kind: str) -> None:
    def there() -> bool:
        status = cluster.status(name)
        return (status.get("part"), status.get("type")) == (wanted, kind)

    cluster.until(f"{name} is a {wanted} and {kind}", there)


def test_nodes_join_vote_change_their_part_and_leave(cluster: Cluster, client: Client) -> None:
    cluster.start(*NODES)
    old = cluster.leader()
    cluster.write(client, 5)
    assert join(cluster, "n4")[0] == 0
    part(cluster, "n4", "voter", "FOLLOWER")
    code, said = join(cluster, "o1", "--observer")
    assert code == 0
    assert "an observer" in said
    part(cluster, "o1", "observer", "OBSERVER")
    cluster.write(client, 5)

    code, said = member(cluster, "drop", old)
    assert code == 1
    assert "takes no vote from itself" in said
    # The leader's death leaves three of four voters: what n4 says counts.
    cluster.processes[old].kill()
    cluster.processes[old].wait(PATIENCE)
    cluster.write(client, 5)
    leader = cluster.leader()
    assert member(cluster, "drop", old)[0] == 0
    cluster.start(old)
    assert cluster.processes[old].wait(PATIENCE) == Exit.REMOVED
    assert "it was removed from the group" in (cluster.directory / f"{old}.log").read_text()

    other = next(node for node in ("n1", "n2", "n3", "n4") if node not in (old, leader))
    assert member(cluster, "demote", other)[0] == 0
    part(cluster, other, "observer", "OBSERVER")
    cluster.write(client, 5)
    assert member(cluster, "promote", other)[0] == 0
    part(cluster, other, "voter", "FOLLOWER")

    assert member(cluster, "drop", "o1")[0] == 0
    assert cluster.processes["o1"].wait(PATIENCE) == Exit.REMOVED
    cluster.write(client, 5)
    cluster.everywhere()
    cluster.stop()
    client.close()
    cluster.judge()


def test_what_would_stop_the_group_is_refused(cluster: Cluster) -> None:
    cluster.start(*NODES)
    leader = cluster.leader()
    one, other = (node for node in NODES if node != leader)
    cluster.processes[one].kill()
    cluster.processes[one].wait(PATIENCE)
    # Until then the other one may be dropped, and the group would be one that stands still.
    cluster.until(f"{one} is missed", lambda: one not in (cluster.status(leader).get("alive") or one))  # type: ignore[operator]
    code, said = member(cluster, "drop", other)
    assert code == 1
    assert "2 voters, 1 of them alive where 2 are needed" in said
    # Whoever is dead may go, and then the next one may come.
    assert member(cluster, "drop", one)[0] == 0
    code, said = run(
        cluster, "join", str(cluster.directory / "n4"), "--node", "n4", "--address", cluster.address[other],
        "--helper", cluster.address[leader],
    )  # fmt: skip
    assert code == 1
    assert f"is the address of {other}" in said
    code, said = join(cluster, one + "b")
    assert code == 0, said
    part(cluster, one + "b", "voter", "FOLLOWER")
    code, said = run(
        cluster, "join", str(cluster.directory / "again"), "--node", one, "--address", cluster.address[one],
        "--helper", cluster.address[leader],
    )  # fmt: skip
    assert code == 1
    assert "choose a name that was never used" in said
    cluster.stop()
    cluster.judge()


def test_a_voter_that_was_away_votes_for_a_member_that_it_has_not_heard_of(cluster: Cluster, client: Client) -> None:
    """Of n4 and two others that are left, n4 alone has the log to be elected, and one of them is older than n4."""
    cluster.start(*NODES)
    leader = cluster.leader()
    away, behind = (node for node in NODES if node != leader)
    kill(cluster, away)
    assert join(cluster, "n4")[0] == 0
    part(cluster, "n4", "voter", "FOLLOWER")
    cluster.write(client, 5)
    before = int(str(cluster.status("n4")["last"]))
    kill(cluster, behind)
    with (
        Client([cluster.address[leader]], cluster.secret, timeout=0.3) as hasty,
        contextlib.suppress(OutcomeUnknown, NotWritten),
    ):
        hasty.append(b"stored by two of four")
    cluster.until("n4 has it", lambda: int(str(cluster.status("n4")["last"])) > before)
    kill(cluster, leader)
    cluster.start(away, behind)
    assert cluster.leader() == "n4"
    cluster.start(leader)
    cluster.everywhere()
    cluster.stop()
    client.close()
    cluster.judge()


def kill(cluster: Cluster, name: str) -> None:
    cluster.processes[name].kill()
    cluster.processes[name].wait(PATIENCE)


def test_a_follower_moves(cluster: Cluster, client: Client, tmp_path: Path) -> None:
    cluster.start(*NODES)
    leader = cluster.leader()
    mover = next(node for node in NODES if node != leader)
    cluster.processes[mover].terminate()
    assert cluster.processes[mover].wait(PATIENCE) == 0
    there = f"127.0.0.1:{free_ports(1)[0]}"
    assert member(cluster, "move", mover, there)[0] == 0
    cluster.write(client, 5)
    config = tmp_path / "hacoord.toml"
    before = config.read_text()
    config.write_text(f'listen = "{there}"\n' + before)
    cluster.address[mover] = there
    cluster.start(mover)
    cluster.follows(mover)
    config.write_text(before)
    # Now it knows: it listens there by itself.
    cluster.processes[mover].terminate()
    assert cluster.processes[mover].wait(PATIENCE) == 0
    cluster.start(mover)
    cluster.follows(mover)
    cluster.everywhere()
    cluster.stop()
    client.close()
    cluster.judge()


def test_who_joins_must_know_the_secret_and_the_cluster(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start("n1", "n2")
    cluster.leader()
    wrong = tmp_path / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("not the cluster's secret")
    with (
        Client([cluster.address["n1"]], wrong.read_bytes(), timeout=0.5) as stranger,
        pytest.raises(Unreachable, match="secret"),
    ):
        stranger.change("join", "n4", address="127.0.0.1:1")
    with pytest.raises(RequestRefused, match="no address"):
        cluster.asker.change("join", "n4", address="nowhere")
    with pytest.raises(RequestRefused, match="name"):
        cluster.asker.change("join", "n 4" * 30, address="127.0.0.1:1")
    cluster.stop()


def test_a_join_that_got_no_answer_may_be_asked_again(cluster: Cluster) -> None:
    cluster.start(*NODES)
    cluster.leader()
    address = f"127.0.0.1:{free_ports(1)[0]}"
    first, again = (cluster.asker.change("join", "n4", address=address) for _ in range(2))
    assert again["changed"] == first["changed"]
    cluster.stop()


def test_a_node_that_joins_keeps_its_identity(cluster: Cluster) -> None:
    cluster.start(*NODES)
    cluster.leader()
    assert join(cluster, "n4")[0] == 0
    part(cluster, "n4", "voter", "FOLLOWER")
    cluster.stop()
    with Storage(cluster.directory / "n4") as storage:
        assert (storage.cluster, storage.node, storage.address) == (cluster.name, "n4", cluster.address["n4"])
        assert set(storage.members) == set(NODES)
    cluster.judge()
