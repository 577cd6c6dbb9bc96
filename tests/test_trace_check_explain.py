"""Explanations: every refused trace has one, what it says is true, and the texts are those of the documentation."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from handmade import Event, Story
from test_spec_accepted import GUARDS as OPERATORS
from test_spec_accepted import PAGE, outside
from test_trace_check_clients import WRONG
from test_trace_check_refuses import CASES, Case

from trace_check import Verdict, explain
from trace_check.cli import main
from trace_check.explaining.diagram import draw
from trace_check.explaining.edits import GONE, Alternatives, Edit
from trace_check.explaining.explain import Explanation, as_json, as_text
from trace_check.explaining.piece import load
from trace_check.guards import GUARDS, VIEWS

BROKEN = Path(__file__).resolve().parent.parent / "spec" / "traces" / "broken"


def explained(directory: Path) -> Explanation:
    """An explanation of a violation that has everything it should have."""
    found = explain(directory)
    text = as_text(found)
    assert text.startswith("VIOLATION of ")
    assert ": expected " in text.splitlines()[0]
    assert "; found " in text.splitlines()[0]
    violation = found.result.violation
    assert violation is not None
    assert found.rule.startswith(violation.rule)
    assert len(found.rule) > len(violation.rule) + 20
    assert found.nearest is not None
    assert found.nearest.tried
    assert found.nearest.complete
    assert found.smallest is not None
    assert sum("<== refused" in line for line in found.diagram) == (violation.where is not None)
    assert json.loads(as_json(found))["result"]["verdict"] == "violation"
    return found


@pytest.mark.parametrize("directory", sorted(BROKEN.iterdir()), ids=lambda d: d.name)
def test_the_counterexample_of_a_wrong_protocol_is_explained(directory: Path) -> None:
    explained(directory)


@pytest.mark.parametrize("case", [case for _, case in CASES + WRONG], ids=[case.__name__ for _, case in CASES + WRONG])
def test_a_wrong_run_is_explained(case: Case, tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    case(story)
    explained(story.save(tmp_path))


# --- the texts ------------------------------------------------------------------------------------------------------


def table(heading: str) -> dict[str, str]:
    part = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", part, re.MULTILINE))


def test_the_guards_are_those_of_the_page_and_of_the_specification() -> None:
    assert {name: guard.demands for name, guard in GUARDS.items()} == table("What the checker holds against it")
    assert {name: guard.why for name, guard in GUARDS.items()} == table("Why each guard is there")
    assert sorted(GUARDS) == sorted(OPERATORS + outside())


def test_the_views_are_those_of_the_specification() -> None:
    for view in VIEWS:
        assert (BROKEN.parent.parent / f"{view}.tla").is_file()


# --- the nearest legal trace ----------------------------------------------------------------------------------------


def told(tell: Callable[[Story], object], directory: Path) -> Explanation:
    story = Story("n1", "n2", "n3")
    tell(story)
    return explained(story.save(directory))


def first_of(found: Explanation) -> str:
    assert found.nearest is not None
    assert found.nearest.helps, "nothing was found"
    assert not found.nearest.helps[0].then
    return found.nearest.helps[0].text


def test_a_vote_that_a_win_lacks(tmp_path: Path) -> None:
    def too_few(story: Story) -> None:
        story.campaign("n1")
        story.win("n1")

    found = told(too_few, tmp_path)
    assert found.nearest
    inc = "1-00000001.ndjson"
    assert [helps.text for helps in found.nearest.helps] == [
        f"if {n} had written a Grant for n1 in term 1, after {n}.{inc}:1, and n1.{inc}:3 cited it" for n in ("n2", "n3")
    ]


def test_a_vote_for_the_wrong_candidate(tmp_path: Path) -> None:
    def wrong(story: Story) -> None:
        story.campaign("n1")
        grant = story.grant("n2", "n1")
        story.campaign("n3")
        grant["candidate"] = "n3"

    assert first_of(told(wrong, tmp_path)) == (
        "if n2's Grant of term 1 (n2.1-00000001.ndjson:2) said candidate n1 (not n3)"
    )


def test_a_missing_lose(tmp_path: Path) -> None:
    def without_lose(story: Story) -> None:
        story.lead("n1", "n2")
        story.elect("n2", "n3")
        story.store("n1", "n2")

    assert first_of(told(without_lose, tmp_path)) == (
        "if n1 had written Lose of term 1, before n1.1-00000001.ndjson:8"
    )


def test_a_missing_restart(tmp_path: Path) -> None:
    def stands_again(story: Story) -> None:
        story.lead("n1", "n2")
        story.lose("n1")
        story.campaign("n1")

    found = told(stands_again, tmp_path)
    assert found.nearest
    assert "if n1 had ended and started again, after n1.1-00000001.ndjson:8" in [h.text for h in found.nearest.helps]


def test_a_state_that_a_start_should_show(tmp_path: Path) -> None:
    def forgets(story: Story) -> None:
        story.campaign("n1")
        story.person("n1").term, story.person("n1").vote = 0, None
        story.start("n1")

    assert first_of(told(forgets, tmp_path)) == (
        "if n1's Start of term 0 (n1.2-00000002.ndjson:1) said term 1 (not 0) and vote n1 (not null)"
    )


def test_what_was_not_heard(tmp_path: Path) -> None:
    def deaf(story: Story) -> None:
        story.lead("n1", "n2")
        del story.learn("n2", "n1")["after"]

    assert "had n1's Commit of term 1 (n1.1-00000001.ndjson:6) in its `after`" in first_of(told(deaf, tmp_path))


def test_a_read_that_was_not_begun(tmp_path: Path) -> None:
    def answered(story: Story) -> None:
        story.lead("n1", "n2")
        story.open("c1")
        story.invoke("c1", "w1")
        story.saw("c1", "r1", story.serve("n1", "n2"))

    assert first_of(told(answered, tmp_path)) == "if c1 had written Invoke of r1, before c1.1-00000001.ndjson:2"


def test_an_edit_that_only_moves_the_fault_says_so(tmp_path: Path) -> None:
    def two_votes(story: Story) -> None:
        story.campaign("n1")
        story.campaign("n2")
        story.grant("n3", "n1")
        story.win("n1", "n3")
        story.grant("n3", "n2")
        story.win("n2", "n3")

    found = told(two_votes, tmp_path)
    assert found.nearest
    assert [(h.text, h.then) for h in found.nearest.helps] == [
        (
            "without n3's Grant of term 1 (n3.1-00000001.ndjson:2)",
            "GrantsCited refuses n1's Win of term 1 (n1.1-00000001.ndjson:3)",
        )
    ]
    assert found.nearest.without == "GrantsCited refuses n2's Win of term 1 (n2.1-00000001.ndjson:3)"


def test_lines_are_those_of_the_part_that_an_event_is_in(tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    story.campaign("n1")
    story.grant("n2", "n1")
    story.campaign("n3", term=1)
    story.grant("n2", "n3")
    file = story.save(tmp_path) / "n2.1-00000001.ndjson"
    first, second, third = file.read_text().splitlines(keepends=True)
    file.write_text(first)
    file.with_name("n2.1-00000001.1.ndjson").write_text(second + third)
    assert first_of(explained(tmp_path)).startswith("without n2's Grant of term 1 (n2.1-00000001.1.ndjson:1)")


def test_nothing_single_helps(tmp_path: Path) -> None:
    def short_log(story: Story) -> None:
        story.lead("n1", "n2")
        story.campaign("n3", term=2)
        story.grant("n2", "n3")

    found = told(short_log, tmp_path)
    assert found.nearest
    assert found.nearest.helps == ()
    assert "None was found: no event left out, added or changed alone makes it legal" in as_text(found)
    assert found.nearest.without == ""


def test_a_circle_is_opened(tmp_path: Path) -> None:
    def circle(story: Story) -> None:
        one = story.transfer("n1", "FOLLOWER")
        other = story.transfer("n2", "FOLLOWER")
        one["after"], other["after"] = [story.ref(other)], [story.ref(one)]

    found = told(circle, tmp_path)
    assert found.nearest
    assert len(found.nearest.helps) == 2
    assert "did not come after" in first_of(found)


def test_edits_say_something_else_and_leave_the_events_as_they_were(tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    piece = load(story.save(tmp_path))
    before = json.dumps([*piece.values()])
    near: list[Event] = [e for events in piece.values() for e in events]
    alternatives = Alternatives(near)
    for event in near:
        for fields in alternatives.of(event):
            assert fields
            assert all(event.get(name, GONE) != value for name, value in fields.items())
            edit = Edit("", 1, False, {(event["node"], event["inc"], event["seq"]): fields})
            assert json.dumps([*edit.apply(piece).values()]) != before
    assert json.dumps([*piece.values()]) == before


@pytest.mark.parametrize("name", ["voter_understates_its_log", "entry_forgotten", "stores_not_heard_of", "two_votes"])
def test_a_long_trace_is_explained_like_a_short_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a long trace edits are tried on what the event stands on first. That must not hide any that helps for good."""
    story = Story("n1", "n2", "n3")
    next(case for _, case in CASES if case.__name__ == name)(story)

    def for_good() -> list[str]:
        nearest = explained(tmp_path).nearest
        assert nearest
        return [helps.text for helps in nearest.helps if not helps.then]

    story.save(tmp_path)
    short = for_good()
    monkeypatch.setattr("trace_check.explaining.nearest.LITTLE", 0)
    assert for_good() == short


# --- where the views stood, the diagram -----------------------------------------------------------------------------


def test_the_views_are_shown_as_they_stood_before_the_event(tmp_path: Path) -> None:
    def two_votes(story: Story) -> None:
        story.campaign("n1")
        story.campaign("n2")
        story.grant("n3", "n1")
        story.grant("n3", "n2")

    standing = {s.view: s for s in told(two_votes, tmp_path).standing}
    assert standing["Ballot"].instance == "term 1"
    assert "n3 :> n1" in standing["Ballot"].state
    assert standing["Ballot"].legal == ("Win(n1)",)
    assert standing["Frontend"].instance == "node n3"
    assert "Campaign" in standing["Frontend"].legal


def test_the_pair_of_leaders_is_shown(tmp_path: Path) -> None:
    def disagree(story: Story) -> None:
        story.lead("n1", "n2")
        story.append("n1", 2)
        story.store("n1")
        story.lead("n2", "n3", term=2)
        story.hear("n1", "n2")
        story._commit("n1", 2, leader_commit=story.person("n2").refs["Commit"])

    standing = [s for s in told(disagree, tmp_path).standing if s.view == "Fencing"]
    assert [s.instance for s in standing] == ["lo = term 1, hi = term 2"]
    assert "committed" in standing[0].state


def test_a_diagram_has_arrows_from_what_an_event_names(tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    story.campaign("n1")
    story.grant("n3", "n1")
    story.win("n1", "n3")
    assert draw(load(story.save(tmp_path)), [("n1", "1-00000001", 3)]) == [
        "n1                      n2                      n3",
        "1-00000001              1-00000001              1-00000001",
        "1 Start t0 0@0 vote -   |                       |",
        "|                       1 Start t0 0@0 vote -   |",
        "|                       |                       1 Start t0 0@0 vote -",
        "2 Campaign t1 0@0       |                       |",
        "2---------------------------------------------->2 Grant n1 t1 0@0",
        "3 Win t1 <--------------------------------------2  <== refused",
    ]


def test_a_long_diagram_is_cut_but_for_what_is_cited(tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    for _ in range(20):
        story.replicate("n1", "n2")
    piece = load(story.save(tmp_path))
    lines = draw(piece, last=3, cited=[("n1", "1-00000001", 2)])
    assert any("2 Campaign t1" in line for line in lines)
    assert re.fullmatch(r"\(\d+ events before these are not shown\)", lines[-1])
    assert len(lines) == 2 + 3 + 3 + 1 + 1 + 1


# --- incomplete traces, the command ---------------------------------------------------------------------------------


def incomplete(directory: Path) -> Path:
    """Three terms, and n1's file ends before the last Grant that others have heard of."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.invoke("c1", "w1")
    story.replicate("n1", "n2")
    story.ok("c1", "w1", story.ack("n1", 2, 2), 2)
    story.lose("n1")
    story.lead("n2", "n1", term=2)
    story.lose("n2")
    story.exit("n2")
    story.start("n2")
    story.campaign("n3", term=3)
    story.campaign("n2", term=4)
    story.grant("n1", "n2")
    story.win("n2", "n1")
    story.save(directory)
    file = directory / "n1.1-00000001.ndjson"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    return directory


def test_of_an_incomplete_trace_it_says_what_is_shown_all_the_same(tmp_path: Path) -> None:
    found = explain(incomplete(tmp_path))
    assert found.result.verdict is Verdict.INCOMPLETE
    text = as_text(found)
    assert text.startswith("INCOMPLETE: ")
    shown = "\n".join(found.shown)
    assert "Term 1: one winner each, and over" in shown
    assert "Term 2 was won by n2" in shown
    assert "what is not read of n1 may still belong to it" in shown
    assert "Entries up to 3 (of term 2) are committed" in shown
    assert "1 acknowledged writes" in shown
    ends = "\n".join(found.ends)
    assert "n1.1-00000001.ndjson:" in ends
    assert re.search(r"n2.2-00000002.ndjson:\d+ \(Campaign\), judged up to here: the next line happens after", ends)
    assert json.loads(as_json(found))["result"]["verdict"] == "incomplete"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = str(BROKEN / "HACoordinationTwoVotes")
    assert main(["explain", wrong]) == 1
    text = capsys.readouterr().out
    assert text.startswith("VIOLATION of VoteOnce at ")
    for heading in ("The rule", "The event", "Where the views stood", "The nearest legal traces", "What it rests on"):
        assert f"\n{heading}" in text
    assert main(["explain", wrong, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["nearest"]["tried"] > 10
    assert main(["replay", wrong]) == 1
    assert f"More: trace-check explain {wrong}\n" in capsys.readouterr().out
    good = str(BROKEN.parent / "good" / "01")
    assert main(["explain", good]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "There is nothing to explain."
    assert main(["explain", str(incomplete(tmp_path / "in"))]) == 3
    assert main(["explain", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.startswith("trace-check: ")
