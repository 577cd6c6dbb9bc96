"""Walks of groups that change hold in every order of judging; with ends of files missing they are never violations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from confusion import GRAPHS
from handmade import Event, Story
from roam import Roamer
from wander import save

from trace_check import Verdict, replay


def walk(rng: Random) -> Story:
    roamer = Roamer(rng, rng.choice((1, 2, 3, 3, 3, 4, 5)), rng.randint(1, 3), rng.randint(0, 2), rng.choice((0, 0, 3)))
    return roamer.wander(rng.randint(40, 300))


def cut_off(story: Story, rng: Random) -> None:
    """Of some nodes and clients the end of the last file was not collected."""
    for name, person in story.people.items():
        if person.incs and rng.random() < 0.5:
            lines = story.files[name, person.incs[-1]]
            del lines[rng.randint(1, len(lines)) :]


def references(value: Any) -> Iterator[tuple[str, str, int]]:
    match value:
        case [str(node), str(inc), int(seq)] if "-" in inc:
            yield node, inc, seq
        case [*values] | {"values": values}:
            for each in values:
                yield from references(each)


def names_what_is_not_there(story: Story) -> bool:
    kinds = ("after", "grants", "stores", "confirms")
    cited = [ref for lines in story.files.values() for line in lines for k in kinds for ref in references(line.get(k))]
    return any(seq > len(story.files[node, inc]) for node, inc, seq in cited)


@pytest.mark.parametrize("seed", range(30))
def test_a_walk_holds_and_a_part_of_it_is_no_violation(seed: int, tmp_path: Path) -> None:
    rng = Random(f"roam {seed}")
    story = walk(rng)
    whole = save(story, tmp_path / "whole", rng)
    for pick in (None, rng.randrange, lambda ready: ready - 1):
        result = replay(whole, graphs=GRAPHS, pick=pick)
        assert result.verdict is Verdict.HOLDS, result
    cut_off(story, rng)
    part = story.save(tmp_path / "part")
    for pick in (None, rng.randrange):
        result = replay(part, graphs=GRAPHS, pick=pick)
        assert result.verdict is not Verdict.VIOLATION, result
        assert result.verdict is Verdict.INCOMPLETE or not names_what_is_not_there(story)


def test_the_walks_go_where_groups_change() -> None:
    seen: set[str] = set()
    for seed in range(30):
        story = walk(Random(f"roam {seed}"))
        lines: list[Event] = [line for file in story.files.values() for line in file]
        seen |= {line["event"] for line in lines}
        changes = [line["members"] for line in lines if line["event"] == "Append" and "members" in line]
        seen |= {part for members in changes for _, part, _ in members}
        electorates: dict[int, set[str]] = {}
        for line in lines:
            if line["event"] == "Campaign":
                electorates.setdefault(line["term"], set()).add(json.dumps(sorted(line["voters"])))
        seen |= {"two electorates in a term"} if any(len(e) > 1 for e in electorates.values()) else set()
        promoted = {member for members in changes for member, part, _ in members if part == "voter"} - {*story.voters}
        seen |= {"a joiner has a vote"} if promoted else set()
    assert seen >= {"Install", "ReadServe", "learner", "voter", "two electorates in a term", "a joiner has a vote"}
