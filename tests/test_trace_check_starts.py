"""What a Start waits for, and what is made of it when the files that would show that are cut short or missing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from handmade import Event, Story
from test_trace_check_membership import begin, commit_by, join
from test_trace_check_streaming import followed, text

from hacoord.sim.simulation import Faults, Simulation
from trace_check import Result, Verdict, replay

in_any_order = pytest.mark.parametrize("seed", [None, *range(6)])


def judged(story: Story, directory: Path, seed: int | None) -> Result:
    return story.judge(directory, None if seed is None else Random(seed).randrange)


def waits_for_an_entry_then_for_a_vote() -> Story:
    """n1 finds an entry of term 1 and a vote of term 3 on its disk; n2 and n3 have long left term 1."""
    story = Story("n1", "n2", "n3")
    story.elect("n3", "n2")
    story.store("n2", "n3")
    story.lose("n3")
    story.campaign("n2", term=2)
    story.grant("n3", "n2")
    story.campaign("n2", term=3)
    n1 = story.person("n1")
    n1.term, n1.vote, n1.log, n1.durable = 3, "n2", [1], 1
    story.start("n1")
    return story


@in_any_order
def test_what_a_start_still_waits_for_is_what_is_missing(seed: int | None, tmp_path: Path) -> None:
    story = waits_for_an_entry_then_for_a_vote()
    assert judged(story, tmp_path / "whole", seed).verdict is Verdict.HOLDS
    story.files["n2", "1-00000001"].pop()
    result = judged(story, tmp_path / "cut", seed)
    assert result.verdict is Verdict.INCOMPLETE, result.violation
    assert "the Campaign of n2 in term 3" in result.missing[0]


def test_and_nobody_is_alarmed_before_it_comes(tmp_path: Path) -> None:
    story, looks = waits_for_an_entry_then_for_a_vote(), 0
    last = story.files["n2", "1-00000001"].pop()
    story.save(tmp_path)

    def step(events: int, pending: int) -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:
            with (tmp_path / "n2.1-00000001.ndjson").open("ab") as file:
                file.write(text([last]))
        return looks > 10

    assert _followed(tmp_path, step).verdict is Verdict.HOLDS


@in_any_order
def test_a_vote_that_nobody_can_have_asked_for_is_refused_whatever_was_waited_for_first(
    seed: int | None, tmp_path: Path
) -> None:
    story = Story("n1", "n2", "n3")
    story.elect("n1", "n3")
    story.store("n1")
    story.lose("n1")
    story.campaign("n1", term=3)
    n2 = story.person("n2")
    n2.term, n2.vote, n2.log, n2.durable = 2, "n1", [1], 1
    story.start("n2")
    result = judged(story, tmp_path, seed)
    assert result.violation is not None, result.missing
    assert result.violation.rule == "CampaignHeard"


@in_any_order
def test_a_log_that_nobody_made_is_refused_whether_or_not_the_vote_was_asked_for_yet(
    seed: int | None, tmp_path: Path
) -> None:
    story = Story("n1", "n2", "n3")
    story.campaign("n3")
    story.hear("n2", "n3")
    story.campaign("n2")
    n1 = story.person("n1")
    n1.term, n1.vote, n1.log, n1.durable = 1, "n2", [2], 1
    story.start("n1")
    result = judged(story, tmp_path, seed)
    assert result.violation is not None, result.missing
    assert result.violation.rule == "NothingForgotten"


@in_any_order
def test_who_is_no_voter_may_have_voted_in_an_election_that_all_voters_have_left(
    seed: int | None, tmp_path: Path
) -> None:
    story = Story("n1", "n2", "n3")
    story.start("n4")
    story.campaign("n2", 2)
    for term, name in enumerate(("n1", "n3", "n2", "n1"), start=3):
        story.campaign(name, term)
    story.person("n4").term, story.person("n4").vote = 2, "n2"
    story.start("n4")
    result = judged(story, tmp_path, seed)
    assert result.verdict is Verdict.HOLDS, (result.violation, result.missing)


# --- an incarnation that was counted and is not there ---


@in_any_order
def test_the_candidacy_may_be_in_an_incarnation_of_which_nothing_was_kept(seed: int | None, tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    story.start("n2")
    story.campaign("n2")
    n1 = story.person("n1")
    n1.term, n1.vote = 1, "n2"
    story.start("n1")
    story.start("n2")
    story.campaign("n2")
    for name in ("n1", "n2", "n3"):
        story.exit(name)
    assert judged(story, tmp_path / "whole", seed).verdict is Verdict.HOLDS
    del story.files["n2", "2-00000002"]
    result = judged(story, tmp_path / "cut", seed)
    assert result.verdict is Verdict.INCOMPLETE, result.violation
    assert "the Campaign of n2 in term 1" in result.missing[0]


@in_any_order
def test_but_not_if_its_node_was_in_no_such_term_then(seed: int | None, tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    story.person("n2").counter += 1
    story.start("n2")
    story.campaign("n2", 2)
    n1 = story.person("n1")
    n1.term, n1.vote = 1, "n2"
    story.start("n1")
    result = judged(story, tmp_path, seed)
    assert result.violation is not None, result.missing
    assert result.violation.rule == "CampaignHeard"


@in_any_order
def test_so_may_the_leadership_of_the_node_itself(seed: int | None, tmp_path: Path) -> None:
    """n1 is the only voter that is left, and its second incarnation, which led, is missing."""
    story = Story("n1", "n2")
    story.lead("n1", "n2")
    story.replicate("n1", "n2")
    story.change("n1", "n2", "none", "n1")
    commit_by(story, "n1")
    story.campaign("n2", 5)
    story.start("n1")
    story.lead("n1")
    story.start("n1")
    assert judged(story, tmp_path / "whole", seed).verdict is Verdict.HOLDS
    del story.files["n1", "2-00000002"]
    result = judged(story, tmp_path / "cut", seed)
    assert result.verdict is Verdict.INCOMPLETE, result.violation
    assert "the leader who made entry 4 of term 2" in result.missing[0], result.missing


# --- a machine that went down, and the end of a file with it ---


def booted(story: Story, name: str, boot: str) -> None:
    """The node starts, in some run of its machine."""
    story.start(name)["boot"] = boot


def lost_append(boot: str, *also: str) -> Story:
    """n1 goes down as it leads, and the line of its last Append is lost; it has the entry, and so have others."""
    story = Story("n1", "n2", "n3")
    for lines in story.files.values():
        lines[0]["boot"] = "first"
    story.lead("n1", "n2")
    story.append("n1")
    for name in ("n1", *also):
        person = story.person(name)
        person.log = list(story.person("n1").log)
        person.durable, person.term = len(person.log), 1
    story.files["n1", "1-00000001"].pop()
    for name in ("n1", *also):
        booted(story, name, boot)
    return story


@in_any_order
@pytest.mark.parametrize("also", [[], ["n2"], ["n2", "n3"]], ids=len)
def test_what_a_machine_lost_with_the_end_of_a_file_is_missing(
    also: list[str], seed: int | None, tmp_path: Path
) -> None:
    result = judged(lost_append("second", *also), tmp_path, seed)
    assert result.verdict is Verdict.INCOMPLETE, result.violation
    assert any("the Append of entry 2 of term 1" in missing for missing in result.missing), result.missing
    assert any("the machine of n1 1-00000001 went down" in note for note in result.notes), result.notes


@in_any_order
@pytest.mark.parametrize("also", [[], ["n2", "n3"]], ids=len)
def test_a_process_that_is_killed_alone_loses_no_line(also: list[str], seed: int | None, tmp_path: Path) -> None:
    result = judged(lost_append("first", *also), tmp_path, seed)
    assert result.violation is not None, result.missing
    assert result.violation.rule == "NothingForgotten"


@in_any_order
def test_nor_does_one_that_had_ended_before_its_machine_did(seed: int | None, tmp_path: Path) -> None:
    story = lost_append("second")
    story.tell("n1", "Exit", code=0)
    lines = story.files["n1", "1-00000001"]
    lines.append({**story.files["n1", "2-00000002"].pop(), "inc": "1-00000001", "seq": len(lines) + 1})
    result = judged(story, tmp_path, seed)
    assert result.violation is not None, result.missing
    assert result.violation.rule == "NothingForgotten"


@pytest.mark.parametrize(("boot", "verdict"), [("second", Verdict.INCOMPLETE), ("first", Verdict.VIOLATION)])
@in_any_order
def test_so_is_a_line_that_is_only_cited_after_its_node_came_back(
    boot: str, verdict: Verdict, seed: int | None, tmp_path: Path
) -> None:
    story = Story("n1", "n2", "n3")
    story.files["n1", "1-00000001"][0]["boot"] = "first"
    story.elect("n2", "n1")
    story.store("n2")
    story.store("n1", "n2")
    booted(story, "n1", boot)
    story.commit("n2", "n1", "n2")
    assert judged(story, tmp_path / "whole", seed).verdict is Verdict.HOLDS
    story.files["n1", "1-00000001"].pop()
    assert judged(story, tmp_path / "cut", seed).verdict is verdict


@pytest.mark.parametrize("seed", range(8))
def test_wherever_all_machines_lose_the_end_of_what_was_written_nobody_is_accused(seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    faults = Faults(drop=0.02, crash_every=2.0, transfer_every=3.0)
    simulation = Simulation(
        tmp_path, rng.choice([1, 3, 5]), seed=seed, faults=faults, image_every=1.0, change_every=1.0
    )
    went_down: set[Path] = set()
    with closing(simulation.cluster) as cluster:
        for events in (400, 800, 1_000):
            simulation.run(lambda goal=events: cluster.events >= goal)  # type: ignore[misc]
            for name, process in list(cluster.running.items()):
                went_down.add(process.trace.path)
                cluster.crash(name)
    boots: Counter[str] = Counter()
    for path in sorted(tmp_path.glob("*.ndjson"), key=lambda path: int(path.name.split(".")[1].split("-")[0])):
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        if lines and lines[0]["event"] == "Start":
            lines[0]["boot"] = str(boots[lines[0]["node"]])
        if path in went_down:
            boots[lines[0]["node"]] += 1
            del lines[max(1, len(lines) - rng.choice([0, 1, 3, 10, 30])) :]
        path.write_bytes(text(lines))
    for pick in (None, rng.randrange):
        result = replay(tmp_path, pick=pick)
        assert result.violation is None, result.violation


# --- how the group was set up, when no founder's first Start is there ---


def grown() -> Story:
    """n4 has joined, and become a voter."""
    story = begin()
    join(story)
    story.change("n1", "n4", "voter", "n4")
    commit_by(story, "n1", "n2", "n4")
    story.start("n4")
    story.store("n4", "n1")
    return story


def test_without_the_first_traces_of_its_founders_a_group_that_has_grown_is_incomplete(tmp_path: Path) -> None:
    story = grown()
    for name in ("n1", "n2", "n3"):
        story.start(name)
        del story.files[name, "1-00000001"]
    result = story.judge(tmp_path)
    assert result.verdict is Verdict.INCOMPLETE, result.violation


def test_and_so_it_is_with_the_traces_of_who_has_joined_alone(tmp_path: Path) -> None:
    story = grown()
    story.files = {file: lines for file, lines in story.files.items() if file[0] == "n4"}
    result = story.judge(tmp_path)
    assert result.verdict is Verdict.INCOMPLETE, result.violation


def test_whoever_follows_waits_for_a_founder(tmp_path: Path) -> None:
    story, looks = grown(), 0
    everything = dict(story.files)
    story.files = {file: lines for file, lines in everything.items() if file[0] == "n4"}
    story.save(tmp_path)
    story.files = everything

    def step(events: int, pending: int) -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:
            story.save(tmp_path)
        return looks > 10

    assert _followed(tmp_path, step).verdict is Verdict.HOLDS


def _followed(directory: Path, step: Callable[[int, int], bool]) -> Result:
    result = followed(directory, step)["handmade"]
    assert isinstance(result, Result), result
    return result


def test_a_file_that_was_copied_early_is_no_violation(tmp_path: Path) -> None:
    """n4, promoted in term 1, leads term 2; its last Append is missing, and n3 has the entry on its disk."""
    story = Story("n1", "n2", "n3")
    story.start("n4")
    story.lead("n1", "n2")
    story.replicate("n1", "n2")
    story.change("n1", "n4", "learner")
    story.agree("n1", "n2")
    story.store("n4", "n1")
    story.change("n1", "n4", "voter", "n4")
    story.agree("n1", "n2", "n4")
    story.exit("n1")
    story.start("n1")
    story.lead("n4", "n1", "n2", term=2)
    story.append("n4")
    n3 = story.person("n3")
    n3.log = list(story.person("n4").log)
    n3.durable, n3.term, n3.vote = len(n3.log), 2, None
    story.start("n3")
    story.exit("n1")
    story.exit("n2")
    lines: list[Event] = story.files["n4", story.person("n4").incs[-1]]
    lines.pop()
    for seed in (None, *range(6)):
        result = judged(story, tmp_path / str(seed), seed)
        assert result.verdict is Verdict.INCOMPLETE, (seed, result.violation)


@pytest.mark.parametrize("seed", [None, *range(20)])
def test_whose_log_a_start_shows_keeps_nobody_from_standing(seed: int | None, tmp_path: Path) -> None:
    """n5 took over term 3's log, untraced, and has heard of term 4; the leader of that has the very same log."""
    story = Story("n1", "n2", "n3", "n4", "n5")
    story.elect("n1", "n3", "n4")
    story.store("n1")
    story.store("n3", "n1")
    story.elect("n2", "n4", "n5", term=2)
    story.store("n5", "n2")
    story.start("n2")
    story.lose("n1")
    story.elect("n3", "n1", "n4", term=3)
    story.elect("n1", "n4", "n2", term=4)
    n5 = story.person("n5")
    n5.log, n5.durable, n5.term, n5.vote = [1], 1, 4, None
    story.start("n5")
    story.campaign("n5", 4)
    result = judged(story, tmp_path, seed)
    assert result.verdict is Verdict.HOLDS, result.violation
