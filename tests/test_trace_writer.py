"""Lines are whole, in order, in one write; what fails is raised or shows as a gap, and never as a broken line."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacoord.raft.messages import Ref
from hacoord.raft.outbox import Event
from hacoord.trace import TraceFailed, TraceWriter, encode, line_prefix

HEARD = Ref("n2", "3-abcdef01", 17)


def event(seq: int, **fields: object) -> Event:
    return Event("Store", seq, 4, fields or {"last": seq}, (HEARD,) if seq % 2 else ())


def writer(directory: Path, required: bool = True) -> TraceWriter:
    return TraceWriter(directory, cluster="c1", node="n1", inc="2-0a0b0c0d", required=required, clock=lambda: 99)


def seqs(path: Path) -> list[int]:
    """Every line of the file must be whole and JSON."""
    text = path.read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line)["seq"] for line in text.splitlines()]


def test_a_line_is_as_the_format_says() -> None:
    prefix = line_prefix("c1", "n1", "2-0a0b0c0d")
    line = encode(Event("Grant", 3, 5, {"candidate": "n2", "campaign": HEARD, "last": 0}, (HEARD,)), prefix, 77)
    assert line == (
        b'{"v":1,"cluster":"c1","node":"n1","inc":"2-0a0b0c0d","seq":3,"ts":77,"event":"Grant","term":5,'
        b'"candidate":"n2","campaign":["n2","3-abcdef01",17],"last":0,"after":[["n2","3-abcdef01",17]]}\n'
    )
    assert encode(Event("Lose", 4, 5, {}, ()), prefix, 78) == (
        b'{"v":1,"cluster":"c1","node":"n1","inc":"2-0a0b0c0d","seq":4,"ts":78,"event":"Lose","term":5}\n'
    )


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v, max_size=3), max_leaves=8
)
RESERVED = {"v", "cluster", "node", "inc", "seq", "ts", "event", "term", "after"}


@given(
    names=st.tuples(st.text(), st.text(), st.text()),
    numbers=st.tuples(st.integers(0), st.integers(0), st.integers(0)),
    fields=st.dictionaries(st.text().filter(lambda key: key not in RESERVED), values, max_size=4),
    after=st.lists(st.builds(Ref, st.text(), st.text(), st.integers(0)), max_size=3),
)
def test_a_line_says_what_the_event_says(
    names: tuple[str, str, str], numbers: tuple[int, int, int], fields: dict[str, object], after: list[Ref]
) -> None:
    cluster, node, inc = names
    seq, ts, term = numbers
    line = encode(Event("Store", seq, term, fields, tuple(after)), line_prefix(cluster, node, inc), ts)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    want = {"v": 1, "cluster": cluster, "node": node, "inc": inc, "seq": seq, "ts": ts, "event": "Store", "term": term}
    want |= fields
    if after:
        want["after"] = [list(ref) for ref in after]
    got = json.loads(line)
    assert got == want
    assert list(got) == list(want)


def test_a_turn_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bytes] = []
    real = os.write

    def write(fd: int, data: bytes) -> int:
        calls.append(data)
        return real(fd, data)

    with writer(tmp_path) as trace:
        monkeypatch.setattr("hacoord.trace.os.write", write)
        trace.write([event(1), event(2), event(3)])
        trace.write([])
        trace.write([event(4)])
    assert [call.count(b"\n") for call in calls] == [3, 1]
    assert trace.path.name == "n1.2-0a0b0c0d.ndjson"
    assert seqs(trace.path) == [1, 2, 3, 4]
    assert {json.loads(line)["ts"] for line in trace.path.read_text().splitlines()} == {99}


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    with writer(tmp_path) as trace:
        monkeypatch.setattr("hacoord.trace.os.write", lambda fd, data: real(fd, data[:7]))
        trace.write([event(1), event(2)])
    assert seqs(trace.path) == [1, 2]


def failing_after(room: int) -> Callable[[int, bytes], int]:
    """A disk with room for so many bytes."""
    real = os.write

    def write(fd: int, data: bytes) -> int:
        nonlocal room
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = real(fd, data[:room])
        room -= done
        return done

    return write


def test_a_required_trace_that_fails_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with writer(tmp_path) as trace:
        monkeypatch.setattr("hacoord.trace.os.write", failing_after(10))
        with pytest.raises(TraceFailed, match=r"No space left.*trace\.required"):
            trace.write([event(1)])


def test_whatever_byte_an_optional_trace_fails_at_no_line_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    length = len(encode(event(1), line_prefix("c1", "n1", "2-0a0b0c0d"), 99))
    for room in range(3 * length + 1):
        with monkeypatch.context() as patch:
            trace = writer(tmp_path / str(room), required=False)
            patch.setattr("hacoord.trace.os.write", failing_after(room))
            trace.write([event(1), event(2), event(3)])
            patch.setattr("hacoord.trace.os.write", failing_after(0))
            trace.write([event(4)])
            trace.write([event(5)])
            patch.setattr("hacoord.trace.os.write", failing_after(5))
            trace.write([event(6)])
        trace.write([event(7)])
        trace.write([event(8)])
        trace.close()
        got = seqs(trace.path)
        assert got == sorted(got)
        assert got[-2:] == [7, 8]
        assert trace.dropped == 8 - len(got)


@pytest.mark.parametrize("required", [True, False])
def test_a_directory_that_cannot_be_made(tmp_path: Path, required: bool) -> None:
    blocker = tmp_path / "traces"
    blocker.write_text("")
    if required:
        with pytest.raises(TraceFailed):
            writer(blocker)
        return
    with writer(blocker, required=False) as trace:
        trace.write([event(1)])
        assert trace.dropped == 1
        blocker.unlink()
        trace.write([event(2)])
        assert seqs(trace.path) == [2]


def test_an_incarnations_file_is_never_continued(tmp_path: Path) -> None:
    writer(tmp_path).close()
    with pytest.raises(TraceFailed, match="exists"):
        writer(tmp_path)


def test_a_name_cannot_lead_out_of_the_directory(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="file name"):
        TraceWriter(tmp_path, cluster="c1", node="../n1", inc="1-00000000")


def test_a_closed_trace_takes_nothing(tmp_path: Path) -> None:
    trace = writer(tmp_path)
    trace.close()
    trace.close()
    with pytest.raises(ValueError, match="closed"):
        trace.write([event(1)])
