"""Traces in parts, packed, of several clusters, and still being written."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from handmade import Event, Story

import trace_check.parts
import trace_check.read
from trace_check import BadInput, Result, Verdict, replay, replay_all
from trace_check.cli import main
from trace_check.follow import follow
from trace_check.workers import Received, Sent

ROOT = Path(__file__).resolve().parent.parent
N1, N2 = "n1.1-00000001.ndjson", "n2.1-00000001.ndjson"


def told(cluster: str = "handmade", writes: int = 12) -> Story:
    """A right run with a restart, a client, and citations that go far back."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2", "n3")
    old = story.person("n3").refs["Store"]
    for at in range(writes):
        story.append("n1")
        story.store("n1")
        story.store("n2", "n1")
        story.commit("n1", "n1", "n2")["stores"].append(old)
        story.invoke("c1", f"w{at}")
        story.ok("c1", f"w{at}", story.ack("n1", at + 2, at + 2), at + 2)
    story.start("n3")
    story.store("n3", "n1")
    story.learn("n3", "n1")
    for lines in story.files.values():
        for line in lines:
            line["cluster"] = cluster
    return story


def text(lines: list[Event]) -> bytes:
    return b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)


def refusal(directory: Path) -> str:
    with pytest.raises(BadInput) as caught:
        replay(directory)
    return str(caught.value)


def apart_from_time(result: Result) -> tuple[object, ...]:
    """What must be the same however the bytes are laid out; where a violation is, but for the file.

    Which edges are taken depends on the order of events that nothing orders.
    """
    found = result.violation
    where = found and found.where
    at = where and (where.node, where.inc, where.seq, where.event)
    return (
        result.verdict, found and (found.rule, found.expected, found.actual, found.step), at, result.counts.events,
        result.counts.entries_committed, result.counts.writes_acknowledged, result.failovers,
        [(view.graph, view.instances) for view in result.coverage],
    )


def cut(lines: list[Event], rng: random.Random) -> list[list[Event]]:
    """In one to four parts."""
    ends = sorted({rng.randrange(1, len(lines) + 1) for _ in range(rng.randrange(4))} | {len(lines)})
    return [lines[a:b] for a, b in zip([0, *ends], ends, strict=False) if a < b]


# --- parts and archives -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_parts_and_archives_have_the_verdict_of_whole_files(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names say nothing; some archives have several members; with small chunks, much is unpacked again."""
    rng = random.Random(seed)
    story = told()
    if seed % 2:
        lines = story.files[rng.choice(sorted(story.files))]
        lines[rng.randrange(1, len(lines))]["term"] += rng.choice((-1, 1))
    whole = replay(story.save(tmp_path / "whole"))
    monkeypatch.setattr(trace_check.parts, "CHUNK", 600)
    monkeypatch.setattr(trace_check.read.Window, "room_for", lambda window, sources: None)
    parts = tmp_path / "parts"
    parts.mkdir()
    names = [f"{at}.ndjson{suffix}" for at in range(40) for suffix in ("", ".1", "-20260131")]
    rng.shuffle(names)
    for lines in story.files.values():
        for part in cut(lines, rng):
            data, name = text(part), names.pop()
            if rng.random() < 0.6:
                at = data.index(b"\n", rng.randrange(len(data) - 1)) + 1
                data, name = gzip.compress(data[:at]) + (gzip.compress(data[at:]) if data[at:] else b""), name + ".gz"
            (parts / name).write_bytes(data)
    assert apart_from_time(replay(parts)) == apart_from_time(whole), seed


def test_an_archive_can_be_read_again_from_any_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And keeps no more points to begin from than it may, spread over all of it."""
    monkeypatch.setattr(trace_check.parts, "CHUNK", 1000)
    rng = random.Random(1)
    lines = [f'{{"seq":{n},"x":"{rng.randbytes(rng.randrange(60)).hex()}"}}\n'.encode() for n in range(1, 5000)]
    data = b"".join(lines)
    path = tmp_path / "x.ndjson.gz"
    middle = len(b"".join(lines[:3000]))
    path.write_bytes(gzip.compress(data[:middle]) + b"\0" * 5000 + gzip.compress(data[middle:]))
    part = trace_check.parts.Part(path, lines[0], 1, points=8)
    read = b""
    while more := part.read():
        read += more
    assert read == data
    offsets = part._points._offsets
    assert 4 <= len(offsets) <= 8
    assert offsets[-1] > len(data) / 2
    for _ in range(100):
        start = rng.randrange(len(data))
        size = rng.randrange(min(5000, len(data) - start))
        assert part.again(start, size) == data[start : start + size]
    part.close()


def test_a_missing_part_is_a_gap_between_two_files(tmp_path: Path) -> None:
    story = told()
    lines = story.files["n1", "1-00000001"]
    story.save(tmp_path)
    (tmp_path / N1).write_bytes(text(lines[30:]))
    (tmp_path / f"{N1}.2").write_bytes(text(lines[:10]))
    (tmp_path / f"{N1}.1.gz").write_bytes(gzip.compress(text(lines[10:25])))
    said = refusal(tmp_path)
    assert f"{N1}:1: seq 31 where 26 was due, after the last line of " in said
    assert f"{N1}.1.gz" in said
    assert "--allow-gaps" in said
    result = replay(tmp_path, allow_gaps=True)
    assert result.verdict is Verdict.INCOMPLETE
    assert any(f"{N1}:1: seq 31 where 26 was due" in m for m in result.missing), result.missing


def test_a_missing_first_part_is_a_gap(tmp_path: Path) -> None:
    story = told()
    story.save(tmp_path)
    (tmp_path / N1).write_bytes(text(story.files["n1", "1-00000001"][3:]))
    assert f"{N1}:1: seq 4 where 1 was due" in refusal(tmp_path)


@pytest.mark.parametrize(("end", "start"), [(20, 15), (20, 0), (20, 19)])
def test_parts_that_overlap_are_refused(end: int, start: int, tmp_path: Path) -> None:
    story = told()
    lines = story.files["n1", "1-00000001"]
    story.save(tmp_path)
    (tmp_path / N1).write_bytes(text(lines[start:]))
    (tmp_path / f"{N1}.1").write_bytes(text(lines[:end]))
    said = refusal(tmp_path)
    assert "remove the copy" in said
    assert f"{N1}.1" in said


def test_a_part_within_another_is_refused(tmp_path: Path) -> None:
    story = told()
    lines = story.files["n1", "1-00000001"]
    story.save(tmp_path)
    (tmp_path / "inside.ndjson").write_bytes(text(lines[5:9]))
    assert "seq 6 is in " in refusal(tmp_path)


def test_a_file_beside_its_archive_is_refused(tmp_path: Path) -> None:
    told().save(tmp_path)
    (tmp_path / f"{N1}.gz").write_bytes(gzip.compress((tmp_path / N1).read_bytes()))
    assert "remove the copy" in refusal(tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_only_the_last_part_may_be_torn(packed: bool, tmp_path: Path) -> None:
    story = told()
    lines = story.files["n1", "1-00000001"]
    story.save(tmp_path)

    def write(name: str, data: bytes) -> None:
        (tmp_path / name).write_bytes(gzip.compress(data)[:-8] if packed else data + b'{"v":1,"cluster":')

    (tmp_path / N1).unlink()
    write("last.ndjson", text(lines[20:]))
    (tmp_path / "first.ndjson").write_bytes(text(lines[:20]))
    result = replay(tmp_path)
    torn = "the archive ends in the middle" if packed else "the last line has no newline"
    assert any(torn in note and "last.ndjson" in note for note in result.notes), result.notes
    write("first.ndjson", text(lines[:20]))
    said = refusal(tmp_path)
    assert "first.ndjson" in said
    assert f"{torn}, but" in said
    assert "last.ndjson goes on from there" in said


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    path = told().save(tmp_path) / N1
    data = bytearray(gzip.compress(path.read_bytes()))
    path.unlink()
    data[len(data) // 2] ^= 255
    (tmp_path / f"{N1}.gz").write_bytes(data)
    assert f"{N1}.gz" in refusal(tmp_path)
    (tmp_path / f"{N1}.gz").write_bytes(b"\x1f\x8bnot an archive")
    assert f"{N1}.gz: cannot be read" in refusal(tmp_path)


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    told().save(tmp_path)
    for name in (".n1.ndjson", "n1.ndjson.swp", "n1.ndjson.tmp", "notes.gz", "n1.json"):
        (tmp_path / name).write_bytes(b"\0\0")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "n9.ndjson").write_bytes(b"nonsense\n")
    assert replay(tmp_path).verdict is Verdict.HOLDS


def test_a_violation_names_the_part_and_the_line_there(tmp_path: Path) -> None:
    story = told()
    story.ack("n1", 99, 99)
    lines = story.files["n1", "1-00000001"]
    story.save(tmp_path)
    (tmp_path / N1).write_bytes(text(lines[40:]))
    (tmp_path / f"{N1}.1").write_bytes(text(lines[:40]))
    where = replay(tmp_path).violation.where  # type: ignore[union-attr]
    assert where is not None
    assert (Path(where.file).name, where.line, where.seq) == (N1, len(lines) - 40, len(lines))


# --- several processes ------------------------------------------------------------------------------------------------


def _nothing(story: Story, directory: Path) -> None:
    pass


def _too_much(story: Story, directory: Path) -> None:
    story.ack("n1", 99, 99)
    story.save(directory)


def _a_bad_line(story: Story, directory: Path) -> None:
    path = directory / N2
    path.write_bytes(path.read_bytes().replace(b'"term":1', b'"term":"1"', 9))


def _a_gap_and_a_torn_line(story: Story, directory: Path) -> None:
    (directory / N2).write_bytes(text(story.files["n2", "1-00000001"][:9] + story.files["n2", "1-00000001"][10:]))
    path = directory / "n3.2-00000002.ndjson"
    path.write_bytes(path.read_bytes()[:-3])


def _parts_and_an_archive(story: Story, directory: Path) -> None:
    lines = story.files["n1", "1-00000001"]
    (directory / N1).write_bytes(text(lines[30:]))
    (directory / f"{N1}.1.gz").write_bytes(gzip.compress(text(lines[:30])))


@pytest.mark.parametrize(
    "change",
    [_nothing, _too_much, _a_bad_line, _a_gap_and_a_torn_line, _parts_and_an_archive],
    ids=lambda f: f.__name__,
)
def test_several_processes_find_what_one_finds(
    change: Callable[[Story, Path], None], tmp_path: Path
) -> None:
    story = told()
    change(story, story.save(tmp_path))

    def outcome(jobs: int) -> object:
        try:
            result = replay(tmp_path, jobs=jobs, allow_gaps=change is _a_gap_and_a_torn_line)
        except BadInput as error:
            return str(error)
        return asdict(replace(result, seconds=0.0))

    alone = outcome(1)
    assert outcome(2) == alone
    assert outcome(3) == alone
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_child_that_dies_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    told().save(tmp_path)
    with pytest.raises(BadInput, match="a child process ended by itself"):
        replay(tmp_path, jobs=2)


def test_many_sources_and_one_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more may be asked for than the pipes hold."""
    monkeypatch.setattr("trace_check.workers.MOST", 20)
    story = told()
    for at in range(100):
        story.invoke(f"client{at}", "w")
    story.save(tmp_path)
    assert replay(tmp_path, jobs=2).verdict is Verdict.HOLDS


def test_what_a_child_sends_once_comes_again_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trace_check.workers.KEPT", 5)
    sent, received = Sent(), Received()
    alike = [{"term": term} for term in range(4)]
    anew = 0
    for chunk in range(20):
        events = [alike[(chunk + at) % 4] for at in range(6)] + [{"term": chunk}]
        first, new, numbers = sent.pack(events)
        anew += len(new)
        assert received.unpack(first, new, numbers) == events
    assert 20 + 4 < anew < 20 * 5


# --- several clusters -------------------------------------------------------------------------------------------------


def test_clusters_of_one_directory_are_judged_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def save(story: Story) -> None:
        for (name, inc), lines in story.files.items():
            (tmp_path / f"{lines[0]['cluster']}-{name}.{inc}.ndjson").write_bytes(text(lines))

    save(told("good"))
    save(told("fine"))
    assert main(["replay", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("cluster ")] == [
        "cluster fine: HOLDS: 100 events of 3 nodes are a behaviour of the specification",
        "cluster good: HOLDS: 100 events of 3 nodes are a behaviour of the specification",
    ]
    partial = told("partial")
    del partial.files["n3", "1-00000001"], partial.files["n3", "2-00000002"]
    save(partial)
    assert main(["replay", str(tmp_path)]) == 3
    broken = told("broken")
    broken.files["n2", "1-00000001"][4]["seq"] = 9
    save(broken)
    assert main(["replay", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert "cluster partial: INCOMPLETE" in captured.out
    assert "More: trace-check explain DIR, with the traces of partial alone in DIR" in captured.out
    assert "trace-check: cluster broken: " in captured.err
    bad = told("bad")
    bad.ack("n1", 99, 99)["cluster"] = "bad"
    save(bad)
    assert main(["replay", "--json", str(tmp_path)]) == 1
    found = {entry["cluster"]: entry["exit_code"] for entry in json.loads(capsys.readouterr().out)}
    assert found == {"bad": 1, "broken": 2, "fine": 0, "good": 0, "partial": 3}
    results = replay_all(tmp_path)
    assert {c: r.verdict for c, r in results.items() if isinstance(r, Result)} == {
        "bad": Verdict.VIOLATION, "fine": Verdict.HOLDS, "good": Verdict.HOLDS, "partial": Verdict.INCOMPLETE,
    }
    assert "5 clusters, bad, broken, fine, good, partial" in refusal(tmp_path)


# --- following --------------------------------------------------------------------------------------------------------

PATIENCE = 60.0


class Writers:
    """Tells a story again, line by line, into files that rotate."""

    def __init__(self, story: Story, directory: Path) -> None:
        self.directory = directory
        self._lines = sorted((line for lines in story.files.values() for line in lines), key=lambda line: line["ts"])
        self._rotations: dict[tuple[str, str], int] = {}

    def path(self, line: Event) -> Path:
        return self.directory / f"{line['node']}.{line['inc']}.ndjson"

    def write(self, count: int) -> int:
        """The next lines, and how many there were."""
        now, self._lines = self._lines[:count], self._lines[count:]
        for line in now:
            with self.path(line).open("ab") as file:
                file.write(text([line]))
        return len(now)

    def rotate(self, line: Event, *, pack: bool) -> None:
        """Rename the file, and perhaps pack it."""
        path = self.path(line)
        key = line["node"], line["inc"]
        if path.exists():
            self._rotations[key] = at = self._rotations.get(key, 0) + 1
            moved = path.rename(f"{path}.{at}")
            if pack:
                with gzip.open(f"{moved}.gz", "wb") as archive:
                    archive.write(moved.read_bytes())
                moved.unlink()


def followed(directory: Path, step: Callable[[int, int], bool]) -> dict[str, Result | BadInput]:
    """Follow until `step(events, pending)`, called whenever all there is has been judged, says that it is over."""
    over = False
    deadline = time.monotonic() + PATIENCE

    def progress(events: int, pending: int) -> None:
        nonlocal over
        over = over or step(events, pending)

    results = follow(directory, stop=lambda: over or time.monotonic() > deadline, progress=progress)
    assert time.monotonic() < deadline, "nothing came of it in time"
    return results


@pytest.mark.parametrize("seed", range(6))
def test_a_run_that_is_written_rotated_and_packed_meanwhile(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr("trace_check.follow.POLL", 0.0)
    monkeypatch.setattr(trace_check.parts, "CHUNK", 600)
    monkeypatch.setattr(trace_check.read.Window, "room_for", lambda window, sources: None)
    story = told(writes=40)
    total = sum(len(lines) for lines in story.files.values())
    writers = Writers(story, tmp_path)
    written = writers.write(1)

    def step(events: int, pending: int) -> bool:
        nonlocal written
        if events == written and not pending:
            if written == total:
                return True
            if rng.random() < 0.3:
                writers.rotate(rng.choice([lines[0] for lines in story.files.values()]), pack=rng.random() < 0.5)
            written += writers.write(rng.randrange(1, 9))
        return False

    result = followed(tmp_path, step)["handmade"]
    assert isinstance(result, Result)
    assert apart_from_time(result) == apart_from_time(replay(story.save(tmp_path / "whole"))), seed
    assert result.verdict is Verdict.HOLDS


def test_following_ends_with_what_is_pending(tmp_path: Path) -> None:
    story = told()
    del story.files["n2", "1-00000001"][5:]
    story.save(tmp_path)
    result = followed(tmp_path, lambda events, pending: pending > 0)["handmade"]
    assert isinstance(result, Result)
    assert apart_from_time(result) == apart_from_time(replay(tmp_path))
    assert result.verdict is Verdict.INCOMPLETE
    assert "n2.1-00000001.ndjson, which stops at event 5" in result.missing[0]


def test_a_half_written_line_is_not_there_yet(tmp_path: Path) -> None:
    story = told()
    path = story.save(tmp_path) / "n3.2-00000002.ndjson"
    data = path.read_bytes()
    path.write_bytes(data[:-30])
    seen: list[int] = []

    def step(events: int, pending: int) -> bool:
        if not pending and (not seen or events > seen[-1]):
            seen.append(events)
            with path.open("ab") as file:
                file.write(data[-30:] if len(seen) == 1 else b"")
        return len(seen) == 2

    results = followed(tmp_path, step)
    assert seen[1] - seen[0] >= 1
    assert seen[1] == sum(len(lines) for lines in story.files.values())
    assert [r.verdict for r in results.values() if isinstance(r, Result)] == [Verdict.HOLDS]


IMPOSSIBLE: list[tuple[str, Callable[[Story], object], str]] = [
    ("promised too much", lambda s: s.ack("n1", 99, 99), "AckCommitted"),
    ("after the exit", lambda s: (s.lose("n1"), s.exit("n1"), s.store("n1")), "Frontend"),
    ("two waits in a circle", lambda s: _circle(s), "HappensBefore"),
    ("a vote for nobody", lambda s: _vote_from_nowhere(s), "CampaignHeard"),
]


def _circle(story: Story) -> None:
    for node, other in (("n2", "n3"), ("n3", "n2")):
        inc = story.person(other).incs[-1]
        newest = len(story.files[other, inc]) + (1 if node == "n2" else 0)
        story.transfer(node, "FOLLOWER")["after"] = [[other, inc, newest]]


def _vote_from_nowhere(story: Story) -> None:
    """n3 starts with a vote for n2 in a term that n2 has left without standing for it."""
    story.person("n3").term, story.person("n3").vote = 2, "n2"
    story.start("n3")
    story.lose("n1")
    story.elect("n2", "n1", term=3)


@pytest.mark.parametrize(("wrong", "rule"), [case[1:] for case in IMPOSSIBLE], ids=[case[0] for case in IMPOSSIBLE])
def test_alarm_while_the_files_could_still_grow(wrong: Callable[[Story], object], rule: str, tmp_path: Path) -> None:
    story = told()
    wrong(story)
    story.save(tmp_path)
    alarm = followed(tmp_path, lambda events, pending: False)["handmade"]
    assert isinstance(alarm, Result)
    assert alarm.violation is not None
    assert alarm.violation.rule == rule
    assert apart_from_time(replay(tmp_path))[:3] == apart_from_time(alarm)[:3]


def test_following_several_clusters(tmp_path: Path) -> None:
    """Without a violation all verdicts, also that there is nothing to judge; with one, that."""
    only_client = told("client")
    only_client.files = {key: lines for key, lines in only_client.files.items() if key[0] == "c1"}
    for story in (told("good"), told("fine"), only_client):
        for (name, inc), lines in story.files.items():
            (tmp_path / f"{lines[0]['cluster']}-{name}.{inc}.ndjson").write_bytes(text(lines))
    results = followed(tmp_path, lambda events, pending: events == 200)
    assert {c: r.verdict if isinstance(r, Result) else "no Start" in str(r) for c, r in results.items()} == {
        "client": True, "fine": Verdict.HOLDS, "good": Verdict.HOLDS,
    }
    bad = told("good")
    bad.ack("n1", 99, 99)["cluster"] = "good"
    (tmp_path / f"good-{N1}").write_bytes(text(bad.files["n1", "1-00000001"]))
    assert list(followed(tmp_path, lambda events, pending: False)) == ["good"]


def test_following_stops_at_bad_input(tmp_path: Path) -> None:
    (told().save(tmp_path) / "n4.ndjson").write_bytes(b"nonsense\n")
    with pytest.raises(BadInput, match=r"n4\.ndjson:1: not JSON"):
        followed(tmp_path, lambda events, pending: False)


def test_following_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing to judge"):
        followed(tmp_path, lambda events, pending: True)


@contextmanager
def monitor(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """`trace-check replay --follow` as a process; waits until it has judged what is there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trace_check", "replay", "--follow", str(directory)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("following: ")
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_monitor_raises_the_alarm_by_itself(tmp_path: Path) -> None:
    story = told()
    story.save(tmp_path)
    with monitor(tmp_path) as process:
        wrong = story.ack("n1", 99, 99)
        with (tmp_path / N1).open("ab") as file:
            file.write(text([wrong]))
        written = time.monotonic()
        out, _ = process.communicate(timeout=PATIENCE)
        print(f"alarm after {time.monotonic() - written:.2f} s, the end of the process included")
    assert process.returncode == 1
    assert out.startswith(f"VIOLATION of AckCommitted at {tmp_path / N1}:{wrong['seq']} ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_monitor_with_the_verdict_so_far(number: signal.Signals, tmp_path: Path) -> None:
    told().save(tmp_path)
    with monitor(tmp_path) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out.split(":")[0]) == (0, "HOLDS"), err


def test_the_monitor_ends_with_what_is_pending(tmp_path: Path) -> None:
    (told().save(tmp_path) / N2).unlink()
    with monitor(tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out.split(":")[0]) == (3, "INCOMPLETE")
    assert "the file of n2 1-00000001" in out
