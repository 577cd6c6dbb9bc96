"""What disks, names, outputs, arguments and other processes may do to a command: one line is said, and nothing lost."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NoReturn

import foreign
import pytest
from test_node import Running, make, until
from test_recovery import where
from test_storage import fill

from hacoord.commands import member_commands
from hacoord.commands.cli import main
from hacoord.config import ConfigError
from hacoord.disk import backup, storage
from hacoord.disk.directory import held
from hacoord.disk.storage import DATABASE, Storage, StorageError, create
from hacoord.ha.membership import parse_change
from hacoord.net.handshake import LIMIT, Dialer, HandshakeRefused, Hello, Listener
from hacoord.net.rights import Right
from hacoord.net.tokens import TokensFile, open_tokens
from hacoord.raft.messages import Base
from trace_check import Verdict, replay
from trace_check.cli import ProgressLine
from trace_check.cli import main as trace_check
from trace_check.store import Store

HACOORD = (sys.executable, "-m", "hacoord.commands.cli")
TRACE_CHECK = (sys.executable, "-m", "trace_check")
WAIT = 30.0


def run(
    command: Sequence[str], *arguments: object, out: IO[str] | int = subprocess.PIPE, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    # Unbuffered, the output would fail where it is printed; usually it fails when it is flushed.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    words = [*command, *map(str, arguments)]
    return subprocess.run(
        words, stdout=out, stderr=subprocess.PIPE, text=True, timeout=WAIT, env=environment, cwd=cwd
    )


def no_room(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    path.write_text("0123456789abcdef")
    return path


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """The data directory of a node that has never run."""
    create(tmp_path / "n1", cluster="c", node="n1", members={"n1": "127.0.0.1:7951"})
    return tmp_path / "n1"


# --- disks ------------------------------------------------------------------------------------------------------------

MANIFEST = backup.Manifest("c", "n", Base(), "x", True)


def test_a_backup_takes_the_place_of_no_other_file(tmp_path: Path) -> None:
    backup.write(tmp_path / "orders.backup.new", MANIFEST, b"first")
    backup.write(tmp_path / "orders.backup", MANIFEST, b"second")
    assert (tmp_path / "orders.backup.new").read_bytes().endswith(b"first")
    assert len(list(tmp_path.iterdir())) == 2


def test_of_two_backups_at_once_into_one_file_one_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def linked(unfinished: str, file: Path) -> None:
        link(unfinished, file)
        monkeypatch.setattr(os, "link", link)
        with pytest.raises(StorageError):
            backup.write(file, MANIFEST, b"short")

    monkeypatch.setattr(os, "link", linked)
    backup.write(tmp_path / "b", MANIFEST, b"good content" * 100)
    assert (tmp_path / "b").read_bytes().endswith(b"good content" * 100)


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY]
)
def test_a_full_or_failing_disk_is_not_called_damage(node: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    error = sqlite3.OperationalError("it did not work")
    error.sqlite_errorcode = code

    def failing(_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(storage, "Acquaintances", failing)
    with pytest.raises(StorageError) as caught:
        Storage(node)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("content", [b"x" * 5000, b""])
def test_who_looks_into_a_damaged_directory_is_told_so(node: Path, tmp_path: Path, content: bytes) -> None:
    file = node / DATABASE
    file.write_bytes(content or file.read_bytes()[:100])
    for done in (run(HACOORD, "inspect", node), run(HACOORD, "backup", node, "-o", tmp_path / "b")):
        assert done.returncode == 4
        assert "damaged" in done.stderr
        assert "TMPDIR" not in done.stderr


@pytest.mark.parametrize("column", ["idx", "name"])
def test_a_table_whose_columns_have_rotted_is_damage(node: Path, column: str) -> None:
    with Storage(node) as opened:
        opened.new_incarnation()
        opened.acquaintances.refusal("n2", "d" * 32)
    file = node / DATABASE
    text = file.read_bytes()
    rotten = text
    for before, after in ((f"[{column}]", f"[{column[:-1]}q]"), (f'"{column}"', f'"{column[:-1]}q"')):
        rotten = rotten.replace(before.encode(), after.encode())
    assert rotten != text
    file.write_bytes(rotten)
    done = run(HACOORD, "inspect", node)
    assert done.returncode == 4
    assert "damaged" in done.stderr


def test_whom_a_disk_does_not_remember_is_an_error_of_the_disk(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def insert(self, _: object) -> NoReturn:
            raise sqlite3.OperationalError("database or disk is full")

    with Storage(node) as opened:
        monkeypatch.setattr(opened.acquaintances, "_peers", Failing())
        with pytest.raises(StorageError, match="who n2 is"):
            opened.acquaintances.refusal("n2", "d" * 32)


def test_a_node_waits_for_who_only_looks_at_its_directory(node: Path) -> None:
    with Storage(node):
        pass
    looking, done = threading.Event(), threading.Event()

    def look() -> None:
        with held(node):
            looking.set()
            done.wait(0.3)

    thread = threading.Thread(target=look)
    thread.start()
    assert looking.wait(WAIT)
    with Storage(node):
        pass
    done.set()
    thread.join()


def test_a_full_disk_leaves_nothing_in_the_way_of_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokens"
    tokens = open_tokens(path)
    tokens.new("a", Right.ADMIN)
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", no_room)
        with pytest.raises(ConfigError):
            tokens.remove("a")
    TokensFile(path).remove("a")
    assert list(tmp_path.iterdir()) == [path]


def test_a_token_that_is_removed_in_place_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    open_tokens(path).new("a", Right.ADMIN)
    watching = TokensFile(path)
    assert watching.find("a")
    before = path.stat()
    path.write_text("")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert watching.find("a") is None


# --- outputs ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    assert main(["simulate", str(tmp_path / "traces"), "--seconds", "3"]) == 0
    return tmp_path / "traces"


def test_a_verdict_that_cannot_be_printed_is_no_violation(traces: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = run(TRACE_CHECK, "replay", traces, out=full)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("stderr", ["/dev/full", "&-"])
def test_what_cannot_be_said_changes_no_exit_status(traces: Path, tmp_path: Path, stderr: str) -> None:
    """Standard error is on a full disk, or closed: 1 would be a violation, and an error nobody foresaw."""

    def status(command: Sequence[str], *arguments: object) -> int:
        words = ["sh", "-c", f'exec "$@" 2>{stderr}', "sh", *command, *map(str, arguments)]
        done = subprocess.run(words, stdout=subprocess.PIPE, timeout=WAIT)
        assert b"hacoord: " not in done.stdout, "what is said there is no result"
        return done.returncode

    assert status(TRACE_CHECK, "replay", traces) == 0
    assert status(TRACE_CHECK, "replay", tmp_path / "none") == 2
    assert status(HACOORD, "inspect", tmp_path / "none") == 4


def test_progress_that_cannot_be_shown_ends_nothing(traces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", full)
        with ProgressLine(after=0.0) as progress:
            progress.following(1, 0)
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()


def test_closed_streams_and_an_error_nobody_foresaw_are_no_violation(traces: Path) -> None:
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        done = run(("sh", "-c", f'exec "$@" {closed}', "-", *TRACE_CHECK), "replay", traces)
        assert (done.returncode, done.stderr) == (0, "")
    broken = "import trace_check.cli as c; c.replay_all = lambda *_, **__: {}['x']; raise SystemExit(c.main())"
    done = run((sys.executable, "-c", broken), "replay", traces)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_paths_that_are_too_long_are_no_violation(traces: Path) -> None:
    for arguments in (("runs", "--db", "x" * 300), ("shrink", traces, "-o", "x" * 300)):
        done = run(TRACE_CHECK, *arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_output_that_nobody_takes_is_one_line_or_none() -> None:
    with Path("/dev/full").open("w") as full:
        done = run(HACOORD, "config", "show", out=full)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "the command has run, but its output is lost" in done.stderr
    reader, writer = os.pipe()
    os.close(reader)
    done = run(HACOORD, "config", "show", out=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_streams_that_are_closed(secret: Path) -> None:
    for command in (("append", "127.0.0.1:1"), ("put", "key", "-", "--node", "127.0.0.1:1")):
        done = run(("sh", "-c", 'exec "$@" <&-', "-", *HACOORD), *command, "--secret-file", secret)
        assert done.returncode == 2
        assert "standard input is closed" in done.stderr
    for closed in (">&-", "2>&-"):
        done = run(("sh", "-c", f'exec "$@" {closed}', "-", *HACOORD), "config", "show")
        assert (done.returncode, done.stderr) == (0, "")
    done = run(("sh", "-c", 'exec "$@" 2>&-', "-", *HACOORD), "config", "show", "nowhere.toml")
    assert (done.returncode, done.stdout) == (2, "")


# --- names, paths and arguments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
def test_a_host_that_no_name_server_can_be_asked_for(host: str, secret: Path, tmp_path: Path) -> None:
    """Not to a client, and not to a node: that of a member would end all others, for good."""
    done = run(HACOORD, "status", f"{host}:1", "--secret-file", secret)
    assert done.returncode == 1
    assert "cannot reach" in done.stderr
    running = Running(make(tmp_path / "nodes")[0]).ready()
    arguments = ["join", str(tmp_path / "n9"), "--node", "n9", "--address", f"{host}:7004", "--observer"]
    main([*arguments, "--helper", where(running), "--secret-file", str(secret)])
    until(lambda: "n9" in running.node.members)
    assert running.is_alive()
    running.stop()


@pytest.mark.parametrize("name", ["x y", "a/b"])
@pytest.mark.parametrize("action", ["join", "add_observer"])
def test_who_joins_has_a_name_that_a_directory_may_have(name: str, action: str) -> None:
    with pytest.raises(ValueError, match="name of a new node"):
        parse_change({"action": action, "name": name, "address": "127.0.0.1:1", "timeout": 1.0})


def test_who_could_not_make_its_directory_joins_again(
    tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        member_commands, "_ask", lambda *_: {"cluster": "c", "founding": {"n1": "127.0.0.1:7001"}}
    )
    arguments = ["join", str(tmp_path / "n4"), "--node", "n4", "--address", "127.0.0.1:7004"]
    arguments += ["--helper", "127.0.0.1:7001", "--secret-file", str(secret)]
    with monkeypatch.context() as full:
        full.setattr(os, "link", no_room)
        assert main(arguments) == 4
    assert main(arguments) == 0


def test_paths_that_are_no_place_for_what_they_are_given_for(tmp_path: Path, node: Path, secret: Path) -> None:
    (tmp_path / "file").write_text("x")
    join = ("--node", "n4", "--address", "127.0.0.1:7", "--helper", "127.0.0.1:1", "--secret-file", secret)
    for arguments in (
        ("inspect", tmp_path / "file"),
        ("inspect", "x" * 300),
        ("reset-group", tmp_path / "file", "--cluster", "q", "--secret-file", secret),
        ("serve", "x" * 300, "--secret-file", secret),
        ("backup", node, "-o", "."),
        ("join", tmp_path / "file", *join),
    ):
        done = run(HACOORD, *arguments)
        assert done.returncode == 4, (arguments, done.stderr)
        assert "unexpected" not in done.stderr


def test_a_group_is_reset_from_within_its_directory(tmp_path: Path, secret: Path) -> None:
    members = {f"n{i}": f"127.0.0.1:795{i}" for i in (1, 2, 3)}
    create(tmp_path / "n1", cluster="c", node="n1", members=members)
    with Storage(tmp_path / "n1") as opened:
        fill(opened, 2)
    reset = ("reset-group", ".", "--cluster", "q", "--secret-file", secret)
    token = run(HACOORD, *reset, cwd=tmp_path / "n1").stdout.split()[-1]
    done = run(HACOORD, *reset, "--token", token, cwd=tmp_path / "n1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "n1.c").is_dir()


@pytest.mark.parametrize("value", ["nan", "-1", "inf", "1e300"])
def test_a_timeout_that_is_none(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["append", "127.0.0.1:1", "--data", "x"],
        ["image", "127.0.0.1:1"],
        ["backup", "127.0.0.1:1", "-o", "x"],
        ["get", "k", "--node", "127.0.0.1:1"],
        ["member", "drop", "n", "--node", "127.0.0.1:1"],
    ):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, f"--timeout={value}"])
        assert ended.value.code == 2
    assert "is not between" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        'secret_file = "~nosuchuser/x"',
        'secret_file = "a\\u0000b"',
        "batch.entries = 0x" + "f" * 5000,
        "batch.entries = " + "9" * 5000,
        "x = " + "[" * 3000,
        "listen = {}",
        "[bogus]",
    ],
    ids=range(7),
)
def test_settings_that_are_none(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.toml").write_text(text)
    assert main(["config", "check", str(tmp_path / "c.toml")]) == 2
    assert "unexpected" not in capsys.readouterr().err


def test_what_is_no_text_and_no_port(secret: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--secret-file", str(secret)]
    main(["append", "127.0.0.1:1", "--timeout", "0.1", "--data", b"\xff".decode(errors="surrogateescape"), *given])
    assert main(["status", "127.0.0.1:" + "9" * 5000, *given]) == 2
    assert "unexpected" not in capsys.readouterr().err


# --- other processes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_a_node_starts_is_a_stop(number: signal.Signals, tmp_path: Path, secret: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, socket.create_server(("127.0.0.1", 0)) as own:
        members = {"n1": own.getsockname()[1], "n2": deaf.getsockname()[1]}
        own.close()
        addresses = {name: f"127.0.0.1:{port}" for name, port in members.items()}
        create(tmp_path / "n1", cluster="c", node="n1", members=addresses)
        deaf.settimeout(WAIT)
        with subprocess.Popen(
            [*HACOORD, "serve", tmp_path / "n1", "--secret-file", secret], stderr=subprocess.PIPE, text=True
        ) as process:
            asking, _ = deaf.accept()  # it asks whether it is welcome, and nobody answers
            process.send_signal(number)
            assert process.wait(WAIT) == 0
            asking.close()


def test_a_long_refusal_fits_into_the_handshake() -> None:
    reason = "its certificate is for " + ", ".join(f"host{n}.rack.example" for n in range(80))
    dialer = Dialer(Hello("c", "n2", "1-00000000", "node"), b"x" * 32)
    listener = Listener(Hello("c", "n1", "1-00000000", "node"), b"x" * 32, lambda _: reason)
    proof = dialer.receive(listener.receive(dialer.hello))
    assert proof is not None
    with pytest.raises(HandshakeRefused) as caught:
        listener.receive(proof)
    assert caught.value.reply is not None
    assert len(caught.value.reply) <= LIMIT
    with pytest.raises(HandshakeRefused, match="its certificate is for host0"):
        dialer.receive(caught.value.reply)


def test_coverage_while_a_run_is_being_kept(traces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path / "runs.db", write=True):
        pass
    with Store(tmp_path / "runs.db") as store:
        query = store._query

        def meanwhile(sql: str, *values: object) -> object:
            rows = query(sql, *values)
            if "FROM coverage" in sql:
                with Store(tmp_path / "runs.db", write=True) as other:
                    other.add(replay(traces))
            return rows

        monkeypatch.setattr(store, "_query", meanwhile)
        assert store.walked()


@pytest.mark.parametrize("later", [False, True])
def test_a_winner_whose_own_vote_is_still_on_its_way_to_the_disk(later: bool, tmp_path: Path) -> None:
    """As etcd-raft writes it with asynchronous storage."""
    cluster = foreign.Etcd("a b c")
    cluster.elect("a", "b c")
    cluster.settle("a", 3, "b c")
    cluster.append("a", 2)
    cluster.replicate("a", "b")
    cluster.commit("a")
    path = tmp_path / "trace.etcd"
    cluster.write(path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]

    def own(line: dict[str, dict[str, dict[str, object]]]) -> bool:
        message = line["event"].get("msg", {})
        name: object = line["event"]["name"]
        return name == "ReceiveRequestVoteResponse" and message["from"] == message["to"]

    kept, late = [line for line in lines if not own(line)], [line for line in lines if own(line)]
    assert late
    if later:
        at = next(i for i, line in enumerate(kept) if line["event"]["name"] == "BecomeLeader") + 1
        for line in late:
            line["event"] |= {field: kept[at - 1]["event"][field] for field in ("role", "log", "state")}
        kept[at:at] = late
    path.write_text("".join(json.dumps(line) + "\n" for line in kept))
    assert trace_check(["replay", str(path), "--format", "etcd-raft"]) == Verdict.HOLDS.exit_code
