"""The smallest piece of a refused trace: valid, refused by the same rule at the same event, with nothing to spare."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from handmade import Story
from test_trace_check_images import begin
from test_trace_check_refuses import CASES, Case

from hacoord.sim import Faults, Simulation
from trace_check import Result, Verdict, replay
from trace_check.cli import main
from trace_check.explaining.piece import cites, events_of, key, load
from trace_check.explaining.shrink import Shrunk, select, shrink

BROKEN = Path(__file__).resolve().parent.parent / "spec" / "traces" / "broken"

Line = dict[str, Any]
Key = tuple[str, str, int]


def lines(directory: Path) -> list[Line]:
    return [json.loads(line) for file in sorted(directory.glob("*.ndjson")) for line in file.read_text().splitlines()]


def original(line: Line) -> Key:
    return line["node"], line["inc"], line["was"]


def checked(source: Path, out: Path) -> tuple[Result, Shrunk]:
    """Shrink a trace, and hold what was written against it."""
    result, shrunk = shrink(source, out)
    again = replay(out)
    assert shrunk is not None
    assert result.violation is not None
    assert again.violation is not None
    assert again.violation.rule == result.violation.rule
    assert set(again.missing) <= set(result.missing)
    small, whole = lines(out), lines(source)
    assert len(small) <= len(whole)
    assert {original(line) for line in small} <= {(e["node"], e["inc"], e["seq"]) for e in whole}
    if result.violation.where is not None:
        where = again.violation.where
        assert where is not None
        refused = next(e for e in small if (e["node"], e["inc"], e["seq"]) == (where.node, where.inc, where.seq))
        before = result.violation.where
        assert original(refused) == (before.node, before.inc, before.seq)
    assert shrunk.minimal
    return result, shrunk


@pytest.mark.parametrize("directory", sorted(BROKEN.iterdir()), ids=lambda d: d.name)
def test_the_counterexample_of_a_wrong_protocol_shrinks(directory: Path, tmp_path: Path) -> None:
    checked(directory, tmp_path / "out")


@pytest.mark.parametrize("case", [case for _, case in CASES], ids=[case.__name__ for _, case in CASES])
def test_a_wrong_run_shrinks_and_stays_wrong_in_any_order(case: Case, tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    case(story)
    checked(story.save(tmp_path / "in"), tmp_path / "out")
    for seed in range(2):
        assert replay(tmp_path / "out", pick=random.Random(seed).randrange).verdict is Verdict.VIOLATION, seed


def two_votes() -> Story:
    """n3 votes twice in term 3, after a life in which nothing else is wrong."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    for _ in range(20):
        story.replicate("n1", "n2")
        story.store("n3", "n1")
        story.learn("n2", "n1")
    story.lose("n1")
    story.exit("n1")
    story.start("n1")
    story.campaign("n1", term=3)
    story.campaign("n2", term=3)
    story.grant("n3", "n1")
    story.grant("n3", "n2")
    return story


def test_no_event_and_no_file_can_be_spared(tmp_path: Path) -> None:
    result, shrunk = checked(two_votes().save(tmp_path / "in"), tmp_path / "out")
    assert result.violation
    assert result.violation.rule == "VoteOnce"
    piece = shrunk.piece
    assert len(shrunk.keys) < 25 < shrunk.events_before
    cited = {named for event in events_of(piece) for named in cites(event)}
    starts = {key(events[0]) for events in piece.values()}
    for number, at in enumerate(sorted(shrunk.keys - cited - starts)):
        smaller = select(piece, set(shrunk.keys) - {at})
        directory = tmp_path / str(number)
        directory.mkdir()
        for (node, inc), events in smaller.items():
            text = "".join(json.dumps(e) + "\n" for e in renumbered(events))
            (directory / f"{node}.{inc}.ndjson").write_text(text)
        left = replay(directory, allow_gaps=True)
        same = left.violation is not None and left.violation.rule == "VoteOnce" and not left.missing
        assert not same, f"{at} could be left out"


def renumbered(events: list[Line]) -> list[Line]:
    return [{**event, "seq": number} for number, event in enumerate(events, 1)]


def test_rounds_that_do_not_matter_become_one(tmp_path: Path) -> None:
    """The log of n3 is needed up to entry 21; the twenty Appends that made it are not."""
    checked(two_votes().save(tmp_path / "in"), tmp_path / "out")
    appends = [e for e in lines(tmp_path / "out") if e["event"] == "Append"]
    assert [(e["first"], e["last"]) for e in appends] == [(1, 1), (2, 21)]


def test_happens_before_is_kept(tmp_path: Path) -> None:
    """What is left is ordered as it was: by files and by what was heard, with what removed events had heard."""
    source = two_votes().save(tmp_path / "in")
    checked(source, tmp_path / "out")
    whole = past(load(source))
    small = past(load(tmp_path / "out"))
    names = {(e["node"], e["inc"], e["seq"]): original(e) for e in lines(tmp_path / "out")}
    for at, before in small.items():
        assert {names[b] for b in before} == whole[names[at]] & set(names.values())


def past(piece: dict[tuple[str, str], list[Line]]) -> dict[Key, set[Key]]:
    """Of each event, all that it happens after: by its file and its `after`."""
    found: dict[Key, set[Key]] = {}
    events = {key(e): e for e in events_of(piece)}
    incarnations: dict[str, list[str]] = {}
    for node, inc in sorted(piece):
        incarnations.setdefault(node, []).append(inc)

    def of(at: Key) -> set[Key]:
        if at not in found:
            node, inc, seq = at
            before = {(node, inc, seq - 1)} if seq > 1 else set()
            previous = [i for i in incarnations[node] if i < inc]
            if seq == 1 and previous:
                before.add((node, previous[-1], len(piece[node, previous[-1]])))
            before |= {tuple(r) for r in events[at].get("after", ())}
            found[at] = before.union(*map(of, before))
        return found[at]

    for at in events:
        of(at)
    return found


def test_the_same_trace_gives_the_same_piece(tmp_path: Path) -> None:
    source = two_votes().save(tmp_path / "in")
    for out in ("one", "two"):
        checked(source, tmp_path / out)
    assert lines(tmp_path / "one") == lines(tmp_path / "two")
    # And there is nothing more to be had from a piece.
    _, again = shrink(tmp_path / "one", tmp_path / "three")
    assert again is not None
    assert len(again.keys) == len(lines(tmp_path / "one"))


def test_an_install_goes_on_citing_its_image(tmp_path: Path) -> None:
    """What its leader wrote before the image has another number, or is gone, once others are left out."""
    story = begin()
    story.replicate("n1", "n2", count=3)
    story.image("n1", last=3)
    image = story.image("n1")
    install = story.install("n3", "n1")
    story.campaign("n3").update(last=0, last_term=0)
    result, shrunk = checked(story.save(tmp_path / "in"), tmp_path / "out")
    assert result.violation
    assert result.violation.rule == "TruePosition"
    assert key(install) in shrunk.keys
    assert key(image) in shrunk.keys
    assert not any(line["event"] == "Image" and line["last"] == 3 for line in lines(tmp_path / "out"))


def test_of_a_long_run_a_few_events_are_left(tmp_path: Path) -> None:
    """Some thousand events of the implementation, one digest of them wrong."""
    simulation = Simulation(tmp_path / "in", 3, seed=7, faults=Faults(crash_every=20.0), write_every=0.1)
    simulation.run(lambda: simulation.now > 60)
    simulation.cluster.close()
    files = sorted((tmp_path / "in").glob("*.ndjson"))
    whole = sum(len(f.read_text().splitlines()) for f in files)
    doctored = max(files, key=lambda f: f.read_text().count('"event":"Store"'))
    events = [json.loads(line) for line in doctored.read_text().splitlines()]
    stores = [e for e in events if e["event"] == "Store"]
    stores[-3]["digest"] = "0123456789abcdef"
    doctored.write_text("".join(json.dumps(e, separators=(",", ":")) + "\n" for e in events))
    result, shrunk = checked(tmp_path / "in", tmp_path / "out")
    assert result.violation
    assert result.violation.rule == "SameDigest"
    assert whole > 1_000
    assert len(shrunk.keys) < 100


def test_what_is_not_refused_is_not_shrunk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    source = story.save(tmp_path / "in")
    assert main(["shrink", str(source), "-o", str(tmp_path / "out")]) == 0
    assert "Nothing to shrink" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = two_votes().save(tmp_path / "in")
    assert main(["shrink", str(source), "-o", str(source)]) == 2
    assert "not an empty directory" in capsys.readouterr().err
    assert main(["shrink", str(source), "-o", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("VIOLATION of VoteOnce at ")
    assert said[1].startswith(f"{tmp_path / 'out'}: ")
    assert replay(tmp_path / "out").verdict is Verdict.VIOLATION
