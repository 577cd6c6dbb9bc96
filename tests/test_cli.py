"""Bad input: one clear line, the documented exit status, never a traceback."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hacoord.client import Client, RequestRefused
from hacoord.commands.cli import main
from hacoord.node import MEANING, Exit
from trace_check import assert_holds

MEMBERS = ["--member", "n1=127.0.0.1:7001", "--member", "n2=127.0.0.1:7002"]


@pytest.fixture
def secret(tmp_path: Path) -> str:
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    path.write_text("0123456789abcdef")
    return str(path)


@pytest.fixture
def data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """A data directory, made by `hacoord init`."""
    directory = str(tmp_path / "data")
    assert main(["init", directory, "--cluster", "c", "--node", "n1", *MEMBERS]) == 0
    assert "is now node n1 of cluster c" in capsys.readouterr().out
    return directory


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status and the one line on standard error."""
    code = main(arguments)
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if not re.match(r"\d{4}-", line)]
    assert len(lines) == 1, said
    assert lines[0].startswith("hacoord: ")
    return code, lines[0]


def test_init_refuses_what_makes_no_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def init(*members: str, node: str = "n1") -> tuple[int, str]:
        options = [f"--member={member}" for member in members]
        return refused(capsys, "init", str(tmp_path / "d"), "--cluster", "c", "--node", node, *options)

    assert init("n1") == (2, "hacoord: --member 'n1': NAME=HOST:PORT is wanted")
    assert "host:port is wanted" in init("n1=localhost")[1]
    assert "named twice" in init("n1=h:1", "n1=h:2")[1]
    assert "another member's address" in init("n1=h:1", "n2=h:1")[1]
    code, said = init("n1=h:1", node="n9")
    assert code == Exit.STORAGE
    assert "'n9' is not among the members" in said
    assert not (tmp_path / "d" / "node.db").exists()


def test_init_twice_is_refused(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = refused(capsys, "init", data, "--cluster", "c", "--node", "n1", *MEMBERS)
    assert code == Exit.STORAGE
    assert "already holds a node" in said


def test_a_missing_directory(tmp_path: Path, secret: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = refused(capsys, "serve", str(tmp_path / "nowhere"), "--secret-file", secret)
    assert code == Exit.STORAGE
    assert "holds no node" in said
    assert not (tmp_path / "nowhere").exists()


def test_a_port_in_use(tmp_path: Path, data: str, secret: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(f'listen = "127.0.0.1:{port}"')
        code, said = refused(capsys, "serve", data, "--secret-file", secret, "--config", str(config))
    assert code == Exit.LISTEN
    assert f"port {port} on 127.0.0.1 is in use" in said


def test_a_trace_that_cannot_be_written(
    tmp_path: Path, data: str, secret: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    config = tmp_path / "c.toml"
    config.write_text('listen = "127.0.0.1:47013"\n[trace]\ndir = "file"')
    code, said = refused(capsys, "serve", data, "--secret-file", secret, "--config", str(config))
    assert code == Exit.TRACE
    assert "cannot write the trace" in said


def test_no_secret_and_a_bad_configuration(
    tmp_path: Path, data: str, secret: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = refused(capsys, "serve", data)
    assert code == Exit.USAGE
    assert "no secret" in said
    Path(secret).chmod(0o644)
    code, said = refused(capsys, "serve", data, "--secret-file", secret)
    assert code == Exit.USAGE
    assert "mode 0644" in said
    config = tmp_path / "c.toml"
    config.write_text("[election]\ntimeout = -1")
    code, said = refused(capsys, "serve", data, "--config", str(config))
    assert code == Exit.USAGE
    assert f"{config}: election.timeout = -1: a number from 0.05 to 60 (s) is wanted" in said


def test_an_address_that_is_none(secret: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("status", "append", "read"):
        code, said = refused(capsys, command, "nonsense", "--secret-file", secret)
        assert code == Exit.USAGE
        assert "'nonsense' is no address" in said


def test_nobody_there(secret: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    address = f"127.0.0.1:{port}"
    assert "cannot reach" in refused(capsys, "status", address, "--secret-file", secret)[1]
    assert "cannot reach" in refused(capsys, "read", address, "--local", "--secret-file", secret)[1]
    said = refused(capsys, "read", address, "--timeout", "0.1", "--secret-file", secret)[1]
    assert "no leader answered within 0.1 s; the last answer: cannot reach" in said
    code, said = refused(capsys, "append", address, "--data", "x", "--timeout", "0.1", "--secret-file", secret)
    assert code == Exit.UNEXPECTED
    assert "not written" in said


def test_a_group_is_reset_with_the_secret_and_no_token(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["reset-group", "n1", "--cluster", "c2", "--token-file", "token"])
    assert ended.value.code == Exit.USAGE
    assert "unrecognized arguments: --token-file" in capsys.readouterr().err


def test_help_has_examples() -> None:
    for command in ("init", "serve", "status", "append", "read", "backup", "restore", "inspect", "reset-group"):
        asked = [sys.executable, "-m", "hacoord.commands.cli", command, "--help"]
        done = subprocess.run(asked, capture_output=True, text=True)
        assert done.returncode == 0
        assert f"example: hacoord {command}" in done.stdout


def test_every_exit_code_is_documented() -> None:
    page = (Path(__file__).parent.parent / "docs" / "operating.md").read_text()
    documented = {int(code): name for code, name in re.findall(r"^\| (\d+) \| (\w+) \|", page, re.M)}
    assert documented == {code.value: code.name for code in Exit}
    assert set(MEANING) == set(Exit)


def test_simulate_leaves_traces_that_hold_and_are_the_same_for_the_same_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    faults = ["--drop", "0.1", "--duplicate", "0.1", "--crash-every", "3", "--partition-every", "4"]
    for directory in (a, b):
        assert main(["simulate", str(directory), "--seed", "7", "--seconds", "15", *faults]) == 0
        assert f"trace-check replay {directory}" in capsys.readouterr().out
    assert {f.name: f.read_bytes() for f in a.iterdir()} == {f.name: f.read_bytes() for f in b.iterdir()}
    counts = assert_holds(a).counts
    assert counts.nodes == 3
    assert counts.writes_acknowledged > 0
    assert refused(capsys, "simulate", str(a)) == (2, f"hacoord: {a} holds traces already: name another directory")


def test_simulate_ends_when_so_many_events_are_traced(tmp_path: Path) -> None:
    assert main(["simulate", str(tmp_path), "--nodes", "5", "--events", "500"]) == 0
    counts = assert_holds(tmp_path).counts
    assert counts.nodes == 5
    assert 500 <= counts.events - 2 * counts.writes_acknowledged - counts.writes_unknown < 600


def test_simulate_gives_up_when_nothing_happens_any_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = refused(capsys, "simulate", str(tmp_path), "--events", "100", "--drop", "1")
    assert code == Exit.UNEXPECTED
    assert said.startswith("hacoord: 3 of 100 events, and no more for 600 s of virtual time: lose fewer messages")


@pytest.mark.parametrize(
    "option", [["--drop", "1.5"], ["--nodes", "0"], ["--events", "many"], ["--events", "5", "--seconds", "5"]]
)
def test_simulate_refuses_numbers_that_make_no_sense(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["simulate", str(tmp_path / "d"), *option])
    assert caught.value.code == 2
    assert "hacoord simulate: error: argument" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_simulate_says_when_the_traces_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, said = refused(capsys, "simulate", str(tmp_path / "file" / "d"))
    assert code == Exit.TRACE
    assert "cannot write the trace" in said


def test_a_node_that_knows_no_such_question_is_no_accident(
    secret: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def older(*_: object) -> None:
        raise RequestRefused("unknown operation 'frontends'")

    monkeypatch.setattr(Client, "ask", older)
    said = refused(capsys, "show", "frontends", "127.0.0.1:7001", "--secret-file", secret)
    assert said == (Exit.UNEXPECTED, "hacoord: unknown operation 'frontends'")
