"""Backup and restore, looking into data directories, and going on with what is left of a group."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from test_node import QUICK, SECRET, Running, make, until

from hacoord.catalog.client import CatalogClient
from hacoord.catalog.service import serve
from hacoord.client import Client, RequestRefused
from hacoord.commands.cli import main
from hacoord.config import Shutdown
from hacoord.disk import backup, recovery
from hacoord.disk.image_store import PART
from hacoord.disk.storage import Storage, StorageError, create
from hacoord.images import decode
from hacoord.node import Exit
from hacoord.raft.group import Member
from trace_check import assert_holds

BRIEF = dataclasses.replace(QUICK, shutdown=Shutdown(patience=0.2))


class WithCatalog(Running):
    """A node that keeps the catalog."""

    def prepare(self) -> None:
        self.catalog = serve(self.node)


@pytest.fixture
def secret(tmp_path: Path) -> list[str]:
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    path.write_bytes(SECRET)
    return ["--secret-file", str(path)]


def stop(nodes: list[Running]) -> None:
    """All at once: none is to wait for another to take over."""
    for node in nodes:
        node.node.stop()
    for node in nodes:
        assert node.ended() in (Exit.STOPPED, Exit.HANDED_OVER, Exit.LOST_LEADERSHIP)


def where(node: Running) -> str:
    host, port = node.node.address
    return f"{host}:{port}"


def write(node: Running, count: int) -> list[bytes]:
    data = [b"%d" % number for number in range(count)]
    with Client([where(node)], SECRET) as client:
        for each in data:
            client.append(each)
    return data


def journal(node: Running) -> list[bytes]:
    return [entry.data for entry in node.node.journal.read(1, node.node.journal.applied)]


def address(directory: Path) -> str:
    """Where a node that is not running is to listen."""
    with Storage(directory) as storage:
        return storage.members[storage.node]


def said(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> str:
    """Run a command that ends with this status; returns all that it said."""
    assert main(words) == code, capsys.readouterr()
    both = capsys.readouterr()
    return both.out + both.err


def contents(directory: Path) -> dict[str, bytes]:
    """The database as it is on disk. (SQLite's shared memory is none, and the lock names who held it last.)"""
    return {path.name: path.read_bytes() for path in directory.glob("node.db*") if path.suffix != ".db-shm"}


# --- backup and restore


@pytest.mark.parametrize("running", [True, False])
def test_a_backup_becomes_a_new_cluster_that_goes_on_from_it(
    tmp_path: Path, secret: list[str], capsys: pytest.CaptureFixture[str], running: bool
) -> None:
    (old,) = make(tmp_path)
    node = Running(old).ready()
    large = [bytes([number]) * (PART * 2 // 3) for number in range(5)]  # more than one part of an image
    data = [*write(node, 30), *large]
    with Client([where(node)], SECRET) as client:
        for each in large:
            client.append(each)
    file = tmp_path / "backup"
    if running:
        assert "cluster c up to entry" in said(capsys, 0, "backup", where(node), "-o", str(file), *secret)
        write(node, 5)  # what comes later is not in it
    node.stop()
    if not running:
        assert "may ever have been promised" in said(capsys, 0, "backup", str(old), "-o", str(file))
    before, at = contents(old), address(old)
    new = tmp_path / "new" / "m1"
    told = said(capsys, 0, "restore", str(file), str(new), "--cluster", "c2", "--node", "m1", "--address", at)
    assert "is now node m1 of the new cluster c2" in told
    assert contents(old) == before
    with Storage(new) as storage:
        assert (storage.cluster, storage.node, storage.members) == ("c2", "m1", {"m1": at})
        assert storage.new_incarnation().startswith("1-")
        founded = storage.founded
    assert founded is not None
    restored = Running(new).ready()
    assert journal(restored) == data
    write(restored, 3)
    with Client([where(restored)], SECRET, cluster="c2") as client:
        first = client.append(b"more")
    assert first.index > founded.last
    assert first.epoch == founded.epoch + 1
    assert journal(restored)[: len(data)] == data
    restored.stop()
    assert_holds(new / "trace")


def test_a_state_machine_goes_on_from_a_backup(
    tmp_path: Path, secret: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (old,) = make(tmp_path)
    node = WithCatalog(old).ready()
    with Client([where(node)], SECRET) as client:
        CatalogClient(client).put("orders", "id int")
        version = CatalogClient(client).get("orders").version
        said(capsys, 0, "backup", where(node), "-o", str(tmp_path / "b"), *secret)
    node.stop()
    new = tmp_path / "new"
    told = said(
        capsys, 0, "restore", str(tmp_path / "b"), str(new), "--cluster", "c2", "--node", "m", "--address", address(old)
    )
    assert "start the node with that machine" in told
    restored = WithCatalog(new).ready()
    with Client([where(restored)], SECRET) as client:
        catalog = CatalogClient(client)
        assert catalog.get("orders").value == "id int"
        assert catalog.get("orders").version == version
        assert catalog.alter("orders", "id bigint", expected=version).outcome.value == "done"
    restored.stop()
    assert_holds(new / "trace")


def test_what_came_after_the_machines_image_is_in_a_directorys_backup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (old,) = make(tmp_path)
    node = WithCatalog(old).ready()
    with Client([where(node)], SECRET) as client:
        catalog = CatalogClient(client)
        catalog.put("before", "1")
        backup.from_node(client, where(node))  # which takes an image
        catalog.put("after", "2")
        catalog.drop("before")
    node.stop()
    with Storage(old) as storage:
        assert storage.image is not None
    at, file, new = address(old), str(tmp_path / "b"), tmp_path / "new"
    said(capsys, 0, "backup", str(old), "-o", file)
    said(capsys, 0, "restore", file, str(new), "--cluster", "c2", "--node", "m", "--address", at)
    restored = WithCatalog(new).ready()
    with Client([where(restored)], SECRET) as client:
        assert [key for key, _ in CatalogClient(client).list("")] == ["after"]
    restored.stop()
    assert_holds(new / "trace")


def test_a_node_joins_a_restored_cluster_and_gets_what_it_was_founded_on(
    tmp_path: Path, secret: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    old, spare = make(tmp_path, 2)
    at, free = address(old), address(spare)
    shutil.rmtree(old)
    create(old, cluster="c", node="n1", members={"n1": at})
    node = Running(old).ready()
    data = write(node, 10)
    said(capsys, 0, "backup", where(node), "-o", str(tmp_path / "b"), *secret)
    node.stop()
    first, second = tmp_path / "new" / "m1", tmp_path / "new" / "m2"
    said(capsys, 0, "restore", str(tmp_path / "b"), str(first), "--cluster", "c2", "--node", "m1", "--address", at)
    nodes = [Running(first, config=BRIEF).ready()]
    said(capsys, 0, "join", str(second), "--node", "m2", "--address", free, "--helper", at, *secret)
    nodes.append(Running(second, config=BRIEF).started())
    write(nodes[0], 3)
    until(lambda: len(journal(nodes[1])) == len(data) + 3)
    assert journal(nodes[1]) == journal(nodes[0])
    stop(nodes)
    traces = tmp_path / "traces"
    traces.mkdir()
    for directory in (first, second):
        for path in (directory / "trace").iterdir():
            shutil.copy(path, traces)
    assert_holds(traces)
    again = Running(second, config=BRIEF).started()  # it starts from the image that it was sent
    until(lambda: len(journal(again)) >= len(data))
    assert again.stop() is Exit.STOPPED


def test_several_founders_are_restored_from_one_file(
    tmp_path: Path, secret: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    directories = make(tmp_path, 3)
    nodes = [Running(directory, config=BRIEF).started() for directory in directories]
    until(lambda: any(node.node.frontend.ready for node in nodes))
    leader = next(node for node in nodes if node.node.frontend.ready)
    data = write(leader, 10)
    said(capsys, 0, "backup", where(leader), "-o", str(tmp_path / "b"), *secret)
    stop(nodes)
    at = {f"m{i}": address(directory) for i, directory in enumerate(directories)}
    for name, own in at.items():
        members = [f"--member={other}={place}" for other, place in at.items() if other != name]
        said(
            capsys, 0, "restore", str(tmp_path / "b"), str(tmp_path / "new" / name), "--cluster", "c2", "--node", name,
            "--address", own, *members,
        )  # fmt: skip
    restored = [Running(tmp_path / "new" / name, config=BRIEF).started() for name in at]
    until(lambda: any(node.node.frontend.ready for node in restored))
    leader = next(node for node in restored if node.node.frontend.ready)
    write(leader, 3)
    until(lambda: all(len(journal(node)) == len(data) + 3 for node in restored))
    assert all(journal(node)[: len(data)] == data for node in restored)
    stop(restored)
    traces = tmp_path / "traces"
    traces.mkdir()
    for name in at:
        for path in (tmp_path / "new" / name / "trace").iterdir():
            shutil.copy(path, traces)
    assert_holds(traces)


def test_parts_of_two_images_are_never_mixed(tmp_path: Path) -> None:
    (directory,) = make(tmp_path)
    node = Running(directory).ready()
    with Client([where(node)], SECRET) as client:
        client.append(b"one")
        image: Any = client.ask(where(node), {"op": "backup"})["image"]
        *_, size, checksum = image
        part = {"op": "backup_part", "checksum": checksum}
        assert client.ask(where(node), {**part, "offset": size - 1})["data"]
        for offset in (-1, size, "0", True):
            with pytest.raises(RequestRefused, match="an offset from 0 to"):
                client.ask(where(node), {**part, "offset": offset})
        client.append(b"two")
        backup.from_node(client, where(node))
        with pytest.raises(RequestRefused, match="there is a newer image meanwhile: ask for a backup again"):
            client.ask(where(node), {**part, "offset": 0})
    node.stop()


def test_what_is_no_whole_backup_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (old,) = make(tmp_path)
    node = Running(old).ready()
    write(node, 3)
    node.stop()
    file = tmp_path / "b"
    said(capsys, 0, "backup", str(old), "-o", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    assert "can't write the backup" in said(capsys, Exit.STORAGE, "backup", str(old), "-o", str(file))
    good = file.read_bytes()

    def restore(cluster: str = "c2") -> str:
        options = ["--cluster", cluster, "--node", "m", "--address", "127.0.0.1:1"]
        return said(capsys, Exit.STORAGE, "restore", str(file), str(tmp_path / "new"), *options)

    for at in (0, 20, 90, 120, len(good) // 2, len(good) - 1):
        file.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert "damaged" in (text := restore()) or "is no backup" in text
    for cut in (b"", good[:50], good[:-1], good + b"x"):
        file.write_bytes(cut)
        assert "damaged" in (text := restore()) or "is no backup" in text
    file.write_bytes(good)
    assert "cluster c is where this comes from: choose another name" in restore("c")
    assert "not valid" in restore("a b")
    assert not (tmp_path / "new" / "node.db").exists()
    shutil.copytree(old, tmp_path / "new")
    assert "already holds a node" in restore()
    assert "holds no node" in said(capsys, Exit.STORAGE, "backup", str(tmp_path), "-o", str(tmp_path / "c"))
    assert not list(tmp_path.glob("*.new"))


def test_a_new_member_list_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["restore", "f", "d", "--cluster", "c2", "--node", "m", "--address", "h:1"]
    assert "NAME=HOST:PORT" in said(capsys, 2, *command, "--member", "x")
    assert "named twice" in said(capsys, 2, *command, "--member", "m=h:2")
    assert "another member's address" in said(capsys, 2, *command, "--member", "x=h:1")
    assert "can't read the backup f" in said(capsys, Exit.STORAGE, *command)


# --- inspect


def test_a_directory_is_shown_and_nothing_in_it_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (directory,) = make(tmp_path)
    fresh = json.loads(said(capsys, 0, "inspect", str(directory), "--json"))
    assert (fresh["cluster"], fresh["node"], fresh["term"], fresh["incarnation"]) == ("c", "n1", 0, 0)
    assert (fresh["log"]["last"], fresh["image"], fresh["epochs"], fresh["running"]) == (0, None, [], None)
    node = Running(directory).ready()
    write(node, 10)
    shown = json.loads(said(capsys, 0, "inspect", str(directory), "--json"))
    assert shown["running"] == str(os.getpid())
    assert shown["term"] == 1
    assert shown["vote"] == "n1"
    node.stop()
    before = contents(directory)
    shown = json.loads(said(capsys, 0, "inspect", str(directory), "--json"))
    assert shown["running"] is None
    assert shown["log"]["last"] >= 10
    assert shown["epochs"] == [[1, 1]]
    assert [member[:2] for member in shown["members"]] == [["n1", "voter"]]
    assert contents(directory) == before
    assert sorted(path.name for path in directory.iterdir()) == sorted([*before, "node.lock", "trace"])
    text = said(capsys, 0, "inspect", str(directory))
    assert "cluster      c\n" in text
    assert "epochs       1 1\n" in text


def test_a_crashed_node_is_shown_with_what_is_in_its_wal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (directory,) = make(tmp_path)
    node = Running(directory).ready()
    write(node, 10)
    crashed = tmp_path / "crashed"
    shutil.copytree(directory, crashed)  # as a power cut would leave it, as far as SQLite is concerned
    last = json.loads(said(capsys, 0, "inspect", str(directory), "--json"))["log"]["last"]
    node.stop()
    assert (crashed / "node.db-wal").stat().st_size > 0
    before = contents(crashed)
    assert json.loads(said(capsys, 0, "inspect", str(crashed), "--json"))["log"]["last"] == last
    assert contents(crashed) == before


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE node SET term = term + 1", "identity and hard state do not match their seal"),
        ("UPDATE log SET data = x'00' WHERE idx = 3", "entry 3 of the log does not match its digest"),
        ("DELETE FROM log WHERE idx = 3", "entry 3 of the log is missing"),
    ],
)
def test_damage_is_found_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], statement: str, reason: str
) -> None:
    (directory,) = make(tmp_path)
    node = Running(directory).ready()
    write(node, 5)
    node.stop()
    connection = sqlite3.connect(directory / "node.db")
    connection.execute(statement)
    connection.commit()
    connection.close()
    for command in (["inspect"], ["backup", "-o", str(tmp_path / "b")], ["reset-group", "--cluster", "c2"]):
        options = ["--secret-file", str(secret_file(tmp_path))] if command[0] == "reset-group" else []
        told = said(capsys, Exit.STORAGE, command[0], str(directory), *command[1:], *options)
        assert reason in told
        assert f"{directory}/node.db is damaged" in told
    assert not (tmp_path / "b").exists()


def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    path.write_bytes(SECRET)
    return path


# --- reset


@pytest.fixture
def three(tmp_path: Path) -> list[Running]:
    """A cluster of three that has written something, stopped."""
    nodes = [Running(directory, config=BRIEF).started() for directory in make(tmp_path / "old", 3)]
    until(lambda: any(node.node.frontend.ready for node in nodes))
    leader = next(node for node in nodes if node.node.frontend.ready)
    write(leader, 10)
    until(lambda: all(len(journal(node)) == 10 for node in nodes))
    stop(nodes)
    return nodes


def test_a_minority_goes_on_alone(
    tmp_path: Path, three: list[Running], secret: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Incident 14: afterwards the group is the survivor alone, and the same hosts may join it anew."""
    directory = three[0].directory
    before = contents(directory)
    command = ["reset-group", str(directory), "--cluster", "c2", *secret]
    shown = said(capsys, 0, *command)
    assert "Nothing has been changed" in shown
    assert "voter n2 at " in shown
    assert contents(directory) == before
    assert sorted(path.name for path in directory.parent.iterdir()) == ["n1", "n2", "n3"]
    token = shown.split("--token ")[1].strip()
    assert "choose another name" in said(capsys, Exit.STORAGE, *command[:3], "c", *secret)
    assert "not of what would be done now" in said(capsys, Exit.STORAGE, *command, "--token", "0" * 16)
    assert "not of what would be done now" in said(
        capsys, Exit.STORAGE, *command[:-2], "--node", "x", *secret, "--token", token
    )
    assert contents(directory) == before
    assert "is now node n1 of the new cluster c2, alone" in said(capsys, 0, *command, "--token", token)
    aside = directory.with_name("n1.c")
    assert contents(aside).keys() == before.keys()
    assert contents(aside)["node.db"] == before["node.db"]
    survivor = Running(directory).ready()
    assert journal(survivor) == [b"%d" % number for number in range(10)]
    write(survivor, 3)
    told = said(capsys, Exit.STORAGE, *command, "--token", token)  # the token does not work twice
    assert "in use by process" in told
    survivor.stop()
    assert_holds(directory / "trace")
    shown = json.loads(said(capsys, 0, "inspect", str(directory), "--json"))
    assert [member[0] for member in shown["members"]] == ["n1"]
    assert "(n1 of 1 voters): start node n1" in said(capsys, Exit.STORAGE, *command[:3], "c3", *secret)


def test_nothing_is_reset_while_a_quorum_can_be_had(
    tmp_path: Path, three: list[Running], secret: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    directory = three[0].directory
    command = ["reset-group", str(directory), "--cluster", "c2", *secret]
    token = said(capsys, 0, *command).split("--token ")[1].strip()
    again = Running(three[1].directory).started()
    try:
        told = said(capsys, Exit.STORAGE, *command)
        assert "a quorum of cluster c is there (n1, n2 of 3 voters): start node n1" in told
        assert "voter n2 at " in told
        assert ": answers\n" in told
        assert "a quorum of cluster c is there" in said(capsys, Exit.STORAGE, *command, "--token", token)
        (tmp_path / "secret").write_bytes(b"another secret, of others")
        told = said(capsys, Exit.STORAGE, *command)
        assert "something answers, and refuses" in told
        assert "a quorum of cluster c is there" in told
    finally:
        again.stop()


def test_another_clusters_node_at_a_members_address_is_no_member(
    tmp_path: Path, three: list[Running], secret: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for node in three[1:]:
        node.directory.rename(node.directory.with_suffix(".gone"))
    create(three[1].directory, cluster="others", node="n2", members={"n2": address_of(three[0].directory, "n2")})
    other = Running(three[1].directory).started()
    try:
        shown = said(capsys, 0, "reset-group", str(three[0].directory), "--cluster", "c2", *secret)
        assert "node n2 of cluster others is there instead" in shown
    finally:
        other.stop()


def address_of(directory: Path, member: str) -> str:
    with Storage(directory) as storage:
        return storage.members[member]


def test_a_reset_stopped_anywhere_leaves_the_old_directory(
    tmp_path: Path, three: list[Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = three[0].directory
    before = contents(directory)

    def plan() -> recovery.Reset:
        def nobody(member: Member, cluster: str) -> recovery.Answer:
            return recovery.Answer(member, False, "gone")

        return recovery.plan(directory, "c2", node=None, address=None, asker=nobody)

    reset = plan()

    def stop_in(name: str, after: int = 0) -> None:
        """Carry it out, and be killed in a function of `recovery`'s, when it is called once more than `after` times."""
        owner, _, function = name.rpartition(".")
        real = getattr(getattr(recovery, owner) if owner else recovery, function)
        calls: list[object] = []

        def stopped(*words: Any) -> None:
            if len(calls) == after:
                raise KeyboardInterrupt
            calls.append(words)
            real(*words)

        with monkeypatch.context() as patch:
            patch.setattr(f"hacoord.disk.recovery.{name}", stopped)
            with pytest.raises(KeyboardInterrupt):
                recovery.carry_out(reset, reset.token)

    stop_in("found")
    assert contents(directory) == before
    stop_in("os.rename")
    assert contents(directory) == before
    refusal = plan().refusal()
    assert refusal is not None
    assert "n1.new is in the way" in refusal
    shutil.rmtree(reset.fresh)
    stop_in("os.rename", after=1)
    with pytest.raises(StorageError, match=r"all but done: rename .*n1\.new"):
        plan()
    assert contents(reset.aside)["node.db"] == before["node.db"]


def test_a_node_is_not_reset_under_a_running_process(
    tmp_path: Path, secret: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (directory,) = make(tmp_path)
    node = Running(directory).ready()
    told = said(capsys, Exit.STORAGE, "reset-group", str(directory), "--cluster", "c2", *secret)
    assert f"{directory} is in use by process" in told
    node.stop()


def test_a_backup_of_an_empty_directory_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (directory,) = make(tmp_path)
    assert "nothing to keep" in said(capsys, Exit.STORAGE, "backup", str(directory), "-o", str(tmp_path / "b"))


def test_a_backup_is_made_while_writes_go_on(tmp_path: Path) -> None:
    """From a directory that a node writes to: each backup is of one moment, and what it holds is in order."""
    (directory,) = make(tmp_path)
    node = Running(directory).ready()
    done: list[bytes] = []
    sizes: list[int] = []

    def keep_writing() -> None:
        with Client([where(node)], SECRET) as client:
            while len(done) < 10_000 and not enough.is_set():
                data = b"%d" % len(done)
                client.append(data)
                done.append(data)

    enough = threading.Event()
    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        deadline = time.monotonic() + 20
        while len(sizes) < 5 and time.monotonic() < deadline:
            promised = len(done)
            manifest, content = backup.from_directory(directory)
            entries = decode(content).entries
            assert [entry.data for entry in entries] == [b"%d" % number for number in range(len(entries))]
            assert len(entries) >= promised
            assert manifest.base.last >= entries[-1].index if entries else True
            sizes.append(len(entries))
    finally:
        enough.set()
        writer.join()
        node.stop()
    assert sizes == sorted(sizes)
