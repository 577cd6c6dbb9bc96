"""Files that come late, twice, under other names or in great number: none is left out without a word."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from handmade import Story
from test_trace_check_streaming import followed, text

import trace_check.parts
import trace_check.read
from trace_check import BadInput, Verdict, replay
from trace_check.cli import main

ROOT = Path(__file__).resolve().parent.parent
N1 = "n1.1-00000001.ndjson"


def begun() -> Story:
    """n1 leads, and has one write committed."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.replicate("n1", "n2")
    return story


def looks(*steps: Callable[[], None]) -> Callable[[int, int], bool]:
    """For `followed`: takes one of the steps at every other look, and lets it look a little longer."""
    at = 0

    def step(events: int, pending: int) -> bool:
        nonlocal at
        at += 1
        if at % 2 == 0 and at // 2 <= len(steps):
            steps[at // 2 - 1]()
        return at > 2 * len(steps) + 4

    return step


# --- while they are followed ----------------------------------------------------------------------------------------


@pytest.mark.wrong_traces
@pytest.mark.parametrize("name", [N1, "part2.ndjson"])
def test_who_goes_on_after_its_next_incarnation_has_begun_is_noticed(name: str, tmp_path: Path) -> None:
    """In its file, or in a later part of it: a process that was taken for dead lives, and promises something."""
    story = begun()
    seq = len(story.files["n1", "1-00000001"])
    ack = story.ack("n1", 99, 99)
    story.files["n1", "1-00000001"].pop()
    story.start("n1")
    story.save(tmp_path)

    def go_on() -> None:
        with (tmp_path / name).open("ab") as file:
            file.write(text([ack | {"seq": seq + 1}]))

    with pytest.raises(BadInput, match="judge the directory anew"):
        followed(tmp_path, looks(go_on))
    assert replay(tmp_path).verdict is Verdict.VIOLATION


@pytest.mark.wrong_traces
def test_a_copy_is_not_followed_in_place_of_what_grows(tmp_path: Path) -> None:
    story = begun()
    story.save(tmp_path)
    shutil.copy(tmp_path / N1, tmp_path / "backup-of-n1.ndjson")
    story.ack("n1", 99, 99)
    story.save(tmp_path)
    with pytest.raises(BadInput, match="remove the copy"):
        followed(tmp_path, looks())
    with pytest.raises(BadInput, match="remove the copy"):
        replay(tmp_path)


@pytest.mark.wrong_traces
def test_a_bad_line_of_one_cluster_does_not_hide_the_violation_of_another(tmp_path: Path) -> None:
    for cluster in ("a", "b"):
        story = begun()
        if cluster == "a":
            story.ack("n1", 99, 99)
        else:
            story.files["n2", "1-00000001"][2]["term"] = "x"
        for (name, inc), lines in story.files.items():
            path = tmp_path / f"{cluster}-{name}.{inc}.ndjson"
            path.write_bytes(text([line | {"cluster": cluster} for line in lines]))
    result = followed(tmp_path, looks())["a"]
    assert not isinstance(result, BadInput)
    assert result.verdict is Verdict.VIOLATION


# --- which are judged -----------------------------------------------------------------------------------------------


def wrong() -> Story:
    """n3's second incarnation promises what it may not."""
    story = begun()
    story.start("n3")
    story.tell("n3", "Ack", term=5, first=9, last=9)
    return story


@pytest.mark.wrong_traces
def test_a_file_that_is_renamed_while_the_directory_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wrong().save(tmp_path) / "n3.2-00000002.ndjson"
    listed = trace_check.parts.trace_files

    def listing(directory: Path) -> list[Path]:
        paths = listed(directory)
        path.rename(f"{path}.1")
        return paths

    monkeypatch.setattr(trace_check.read, "trace_files", listing)
    with pytest.raises(BadInput, match="is not there any more; judge the directory anew"):
        replay(tmp_path)


@pytest.mark.wrong_traces
def test_a_first_line_that_is_too_long(tmp_path: Path) -> None:
    story = wrong()
    story.files["n3", "2-00000002"][0]["colour"] = "x" * ((1 << 24) + 100_000)
    with pytest.raises(BadInput, match="a line of more than"):
        story.judge(tmp_path)


@pytest.mark.wrong_traces
def test_a_name_with_a_newline(tmp_path: Path) -> None:
    story = begun()
    story.invoke("c\nd", "w1")
    story.ok("c\nd", "w1", story.ack("n1", 2, 2), 3)
    assert story.judge(tmp_path).verdict is Verdict.VIOLATION


@pytest.mark.wrong_traces
@pytest.mark.parametrize("chunk", [600, 1 << 16])
def test_a_violation_before_a_bad_line_is_found_wherever_chunks_end(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = begun()
    story.ack("n1", 99, 99)
    for _ in range(10):
        story.append("n1")
    path = story.save(tmp_path) / N1
    path.write_bytes(path.read_bytes() + b"\0" * 300 + b"\n")
    monkeypatch.setattr(trace_check.parts, "CHUNK", chunk)
    assert replay(tmp_path).verdict is Verdict.VIOLATION


# --- what a process may use -----------------------------------------------------------------------------------------


def with_clients(count: int = 1) -> Story:
    story = begun()
    for number in range(count):
        story.write(f"c{number}", "n1", "n2")
    return story


@pytest.mark.wrong_traces
def test_a_run_with_clients_can_be_kept(tmp_path: Path) -> None:
    story = with_clients()
    kept = ["--db", str(tmp_path / "runs.db")]
    assert main(["replay", str(story.save(tmp_path / "traces")), *kept]) == 0
    story.ack("n1", 99, 99)
    assert main(["replay", str(story.save(tmp_path / "traces")), *kept]) == 1


def test_the_directory_is_not_listed_for_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = 0
    files = trace_check.parts.trace_files

    def listing(directory: Path) -> list[Path]:
        nonlocal listed
        listed += 1
        return files(directory)

    with_clients(20).save(tmp_path)
    for module in (trace_check.parts, trace_check.read):
        monkeypatch.setattr(module, "trace_files", listing)
    assert replay(tmp_path).verdict is Verdict.HOLDS
    assert listed == 1


def run(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=directory, env=environment)


def test_more_files_than_a_process_may_usually_open(tmp_path: Path) -> None:
    with_clients(80).save(tmp_path)
    done = run(tmp_path, "bash", "-c", f"ulimit -Sn 64; exec {sys.executable} -m trace_check replay .")
    assert (done.returncode, done.stdout[:5]) == (0, "HOLDS"), done.stderr


def test_children_take_no_modules_from_where_they_are_started(tmp_path: Path) -> None:
    with_clients().save(tmp_path / "traces")
    (tmp_path / "json.py").write_text("raise SystemExit(7)\n")
    done = run(tmp_path, sys.executable, "-P", "-m", "trace_check", "replay", "traces", "--jobs", "2")
    assert done.returncode == 0, done.stderr


def test_children_whose_pipes_may_not_be_made_larger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(file: object, command: int, *value: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(fcntl, "fcntl", refused)
    assert replay(with_clients().save(tmp_path), jobs=2).verdict is Verdict.HOLDS


@pytest.mark.wrong_traces
@pytest.mark.parametrize("command", ["explain", "shrink"])
def test_a_client_without_a_name(command: str, tmp_path: Path) -> None:
    story = with_clients()
    story.invoke("", "w1")
    story.tell("", "Fail", op="w1", error="refused")
    story.ack("n1", 99, 99)
    traces = story.save(tmp_path / "traces")
    (traces / ".1-00000001.ndjson").rename(traces / "nameless.ndjson")
    assert main([command, str(traces), *(["-o", str(tmp_path / "shrunk")] if command == "shrink" else [])]) == 1
