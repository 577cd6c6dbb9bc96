"""Traces of groups that change: configurations in the log, and who counts by which of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from handmade import Event, Story, digest

from trace_check import Result, Verdict

Tale = Callable[[Story], Event | None]
RIGHT: list[Tale] = []
WRONG: list[tuple[str, Tale]] = []


def right(tale: Tale) -> Tale:
    RIGHT.append(tale)
    return tale


def refused_by(guard: str) -> Callable[[Tale], Tale]:
    def add(tale: Tale) -> Tale:
        WRONG.append((guard, tale))
        return tale

    return add


def begin() -> Story:
    """n1 is LEADER of a group of three, with a write committed everywhere; n4 has just been started."""
    story = Story("n1", "n2", "n3")
    story.start("n4")
    story.lead("n1", "n2", "n3")
    story.replicate("n1", "n2", "n3")
    return story


def join(story: Story, *followers: str) -> None:
    """n4 becomes a learner, and has all there is."""
    story.change("n1", "n4", "learner")
    story.agree("n1", *followers, "n2")
    story.store("n4", "n1")


def show_an_observer(story: Story) -> None:
    """The group was set up with n4 as an observer, and all say so."""
    story.founders = [*story.founders, ["n4", "observer", "n4:7000"]]
    for lines in story.files.values():
        lines[0] |= {"members": [[*member] for member in story.founders], "voters": ["n1", "n2", "n3"]}


def commit_by(story: Story, leader: str, *voters: str) -> Event:
    """The leader's log is stored by these voters and itself, and committed."""
    story.store(leader)
    for voter in voters:
        story.store(voter, leader)
    return story.commit(leader, leader, *voters)


# --- right ----------------------------------------------------------------------------------------------------------


@right
def a_learner_is_promoted_and_its_vote_decides(story: Story) -> None:
    join(story)
    story.change("n1", "n4", "voter", "n4")
    commit_by(story, "n1", "n2", "n4")
    story.exit("n1")
    story.elect("n4", "n2", "n3", term=2)
    story.agree("n4", "n2", "n3")
    story.activate("n4")


@right
def a_learner_copies_and_may_vote_but_counts_nowhere(story: Story) -> None:
    join(story)
    story.exit("n1")
    story.campaign("n2", term=2)
    story.grant("n4", "n2")
    story.grant("n3", "n2")
    story.win("n2", "n3")


@right
def a_voter_is_removed_and_not_missed(story: Story) -> None:
    story.store("n2", "n1")
    story.change("n1", "n3", "none", "n1", "n2")
    commit_by(story, "n1", "n2")
    story.replicate("n1", "n2")


@right
def a_voter_becomes_an_observer_and_a_voter_again(story: Story) -> None:
    story.change("n1", "n3", "observer", "n1", "n2")
    commit_by(story, "n1", "n2")
    story.store("n3", "n1")
    story.change("n1", "n3", "learner")
    commit_by(story, "n1", "n2")
    story.store("n3", "n1")
    story.change("n1", "n3", "voter", "n3")
    commit_by(story, "n1", "n3")


@right
def a_demoted_node_does_not_know_and_campaigns(story: Story) -> None:
    story.change("n1", "n3", "observer", "n1", "n2")
    commit_by(story, "n1", "n2")
    story.campaign("n3", term=2)
    story.campaign("n3", term=3)


@right
def a_removed_node_does_not_know_and_campaigns(story: Story) -> None:
    story.change("n1", "n3", "none", "n1", "n2")
    commit_by(story, "n1", "n2")
    story.campaign("n3", term=2)
    story.campaign("n3", term=3)


@right
def candidates_of_one_term_count_in_different_configurations(story: Story) -> None:
    join(story)
    story.change("n1", "n4", "voter", "n4")
    story.store("n1")
    story.store("n2", "n1")
    story.exit("n1")
    story.campaign("n3", term=2)
    story.campaign("n2", term=2)
    story.grant("n4", "n2")
    story.start("n1")
    story.grant("n1", "n2")
    story.win("n2", "n4", "n1")


@right
def an_uncommitted_configuration_is_replaced_by_a_later_leader(story: Story) -> None:
    join(story)
    story.change("n1", "n4", "voter", "n4")
    story.store("n1")
    story.exit("n1")
    story.elect("n2", "n3", term=2)
    story.agree("n2", "n3")
    story.activate("n2")
    story.start("n1")
    story.store("n1", "n2")
    assert story.voters_of("n1") == ["n1", "n2", "n3"]
    story.start("n1")


@right
def a_removed_node_stores_what_precedes_its_removal(story: Story) -> None:
    story.append("n1")
    story.agree("n1", "n2")
    story.change("n1", "n3", "none", "n1", "n2")
    story.agree("n1", "n2")
    story.store("n3", "n1", last=3)


@right
def an_observer_of_the_founding_group(story: Story) -> None:
    show_an_observer(story)
    story.store("n4", "n1")
    story.change("n1", "n5", "learner")
    story.agree("n1", "n2")
    story.store("n4", "n1")


@right
def founders_know_an_observer_by_different_addresses(story: Story) -> None:
    show_an_observer(story)
    story.files["n2", story.person("n2").incs[0]][0]["members"][-1][2] = "elsewhere:7000"


@right
def an_observer_joins_moves_and_leaves(story: Story) -> None:
    story.change("n1", "n4", "observer")
    story.agree("n1", "n2")
    story.change("n1", "n4", "observer", address="elsewhere:7000")
    story.agree("n1", "n2")
    story.change("n1", "n4", "none")
    story.agree("n1", "n2")


@right
def a_founder_moves(story: Story) -> None:
    story.change("n1", "n3", "voter", address="elsewhere:7000")
    story.agree("n1", "n2")


@right
def a_restart_shows_the_new_configuration(story: Story) -> None:
    join(story, "n3")
    story.change("n1", "n4", "voter", "n4")
    commit_by(story, "n1", "n2", "n4")
    story.start("n4")
    story.start("n2")


@right
def a_late_frame_comes_when_its_receiver_was_removed_and_added_again(story: Story) -> None:
    """n4 has had both from the leader, and was killed before it said so."""
    added = story.change("n1", "n4", "observer")
    story.agree("n1", "n2")
    story.store("n4", "n1")
    story.change("n1", "n4", "none")
    story.agree("n1", "n2")
    story.append("n1")
    story.agree("n1", "n2")
    n4 = story.person("n4")
    n4.log, n4.durable = list(story.person("n1").log), 5
    story.start("n4")
    n4.after["n1"] = story.ref(added)
    story.tell("n4", "Store", last=5, last_term=1, digest=digest(n4.log))
    story.change("n1", "n4", "observer")
    story.agree("n1", "n2")


@right
def an_old_message_comes_when_a_start_has_shown_more(story: Story) -> None:
    """n4 was removed and added again, had all that from the leader, and was killed before it said so."""
    story.change("n1", "n4", "observer")
    story.agree("n1", "n2")
    story.store("n4", "n1")
    story.change("n1", "n4", "none")
    story.agree("n1", "n2")
    between = story.ref(story.files["n1", story.person("n1").incs[-1]][-1])
    story.change("n1", "n4", "observer")
    story.agree("n1", "n2")
    n4 = story.person("n4")
    n4.log = list(story.person("n1").log)
    n4.durable = len(n4.log)
    story.start("n4")
    n4.after["n1"] = between
    story.tell("n4", "Store", last=len(n4.log), last_term=1, digest=digest(n4.log))


# --- wrong ----------------------------------------------------------------------------------------------------------


@refused_by("SameConfiguration")
def a_learner_is_counted_for_a_commit(story: Story) -> Event:
    join(story)
    story.append("n1")
    return commit_by(story, "n1", "n4")


@refused_by("SameConfiguration")
def a_learner_is_counted_for_an_election(story: Story) -> Event:
    join(story)
    story.exit("n1")
    story.campaign("n2", term=2)
    story.grant("n4", "n2")
    return story.win("n2", "n4")


@refused_by("SameConfiguration")
def a_learner_stands_for_election(story: Story) -> Event:
    join(story)
    return story.campaign("n4", term=2)


@refused_by("SameConfiguration")
def a_removed_voter_is_counted(story: Story) -> Event:
    story.append("n1")
    story.store("n3", "n1")
    story.change("n1", "n3", "none", "n1", "n2")
    story.store("n1")
    return story.commit("n1", "n1", "n3")


@refused_by("CommitQuorum")
def a_new_voter_is_not_waited_for(story: Story) -> Event:
    join(story)
    story.change("n1", "n4", "voter", "n4")
    return commit_by(story, "n1", "n2")


@refused_by("ElectionQuorum")
def an_election_by_the_quorum_of_the_smaller_group(story: Story) -> Event:
    join(story)
    story.change("n1", "n4", "voter", "n4")
    commit_by(story, "n1", "n2", "n4")
    story.exit("n1")
    story.campaign("n2", term=2)
    story.grant("n3", "n2")
    return story.win("n2", "n3")


@refused_by("SameConfiguration")
def a_founder_shows_another_part(story: Story) -> Event:
    show_an_observer(story)
    event = story.files["n2", story.person("n2").incs[0]][0]
    event["members"][-1][1] = "learner"
    return event


@refused_by("SameConfiguration")
def a_founder_shows_one_member_more(story: Story) -> Event:
    show_an_observer(story)
    event = story.files["n2", story.person("n2").incs[0]][0]
    event["members"].append(["n5", "observer", "n5:7000"])
    return event


@refused_by("SameConfiguration")
def a_start_shows_the_members_before_the_last_change(story: Story) -> Event:
    show_an_observer(story)
    story.change("n1", "n5", "learner")
    story.agree("n1", "n2")
    story.exit("n2")
    event = story.start("n2")
    event["members"] = [*story.founders]
    return event


@refused_by("OneChangeAtATime")
def two_nodes_at_once(story: Story) -> Event:
    event = story.change("n1", "n4", "learner")
    event["members"].append(["n5", "learner", "n5:7000"])
    return event


@refused_by("OneChangeAtATime")
def two_move_at_once(story: Story) -> Event:
    for name in ("n4", "n5"):
        story.change("n1", name, "learner")
        story.agree("n1", "n2")
    event = story.change("n1", "n4", "learner", address="n4:8000")
    event["members"] = [[*member[:2], "n5:8000"] if member[0] == "n5" else member for member in event["members"]]
    return event


@refused_by("OneChangeAtATime")
def one_node_is_named_twice(story: Story) -> Event:
    event = story.change("n1", "n4", "learner")
    event["members"].append(event["members"][-1])
    return event


@refused_by("GroupGoesOn")
def a_founder_moves_to_where_another_is(story: Story) -> Event:
    event = story.change("n1", "n3", "voter")
    event["members"] = [["n1", "voter", "n1:7000"], ["n2", "voter", "n2:7000"], ["n3", "voter", "n2:7000"]]
    return event


@refused_by("OneChangeAtATime")
def nothing_changed(story: Story) -> Event:
    told = story.change("n1", "n4", "learner")
    told["members"][:] = [[name, part, f"{name}:7000"] for name, part, _ in told["members"]]
    story.agree("n1", "n2")
    return story.change("n1", "n4", "learner")


@refused_by("OneChangeAtATime")
def a_change_before_the_last_one_is_committed(story: Story) -> Event:
    story.change("n1", "n4", "learner")
    return story.change("n1", "n5", "learner")


@refused_by("OneChangeAtATime")
def a_change_among_other_entries(story: Story) -> Event:
    event = story.change("n1", "n4", "learner")
    event["last"] += 1
    return event


@refused_by("LeaderAppends")
def a_change_before_the_leader_is_active(story: Story) -> Event:
    story.exit("n1")
    story.elect("n2", "n3", term=2)
    return story.change("n2", "n4", "learner")


@refused_by("GroupGoesOn")
def a_vote_without_having_learned(story: Story) -> Event:
    return story.change("n1", "n4", "voter")


@refused_by("GroupGoesOn")
def a_promotion_without_a_store(story: Story) -> Event:
    join(story)
    return story.change("n1", "n4", "voter")


@refused_by("GroupGoesOn")
def a_promotion_before_it_has_caught_up(story: Story) -> Event:
    join(story)
    story.append("n1")
    commit_by(story, "n1", "n2")
    return story.change("n1", "n4", "voter", "n4")


@refused_by("GroupGoesOn")
def a_leader_removes_itself(story: Story) -> Event:
    return story.change("n1", "n1", "none", "n1", "n2", "n3")


@refused_by("GroupGoesOn")
def a_removal_that_leaves_no_quorum(story: Story) -> Event:
    return story.change("n1", "n3", "none", "n1")


@refused_by("GroupGoesOn")
def a_voter_becomes_a_learner(story: Story) -> Event:
    return story.change("n1", "n3", "learner", "n1", "n2")


@refused_by("GroupGoesOn")
def a_demotion_that_leaves_no_quorum(story: Story) -> Event:
    return story.change("n1", "n3", "observer", "n1")


@refused_by("GroupGoesOn")
def a_leader_demotes_itself(story: Story) -> Event:
    return story.change("n1", "n1", "observer", "n1", "n2", "n3")


@refused_by("GroupGoesOn")
def a_removed_node_is_sent_its_removal(story: Story) -> Event:
    story.change("n1", "n3", "none", "n1", "n2")
    return story.store("n3", "n1")


@refused_by("GroupGoesOn")
def a_removed_node_is_sent_its_removal_by_a_later_leader(story: Story) -> Event:
    """Who leads has changed nothing itself."""
    story.change("n1", "n3", "none", "n1", "n2")
    story.agree("n1", "n2")
    story.exit("n1")
    story.start("n1")
    story.elect("n2", "n1", term=2)
    return story.store("n3", "n2")


@refused_by("GroupGoesOn")
def a_removed_node_that_is_added_again_was_sent_its_removal(story: Story) -> Event:
    story.change("n1", "n4", "observer")
    story.agree("n1", "n2")
    story.store("n4", "n1")
    story.change("n1", "n4", "none")
    story.agree("n1", "n2")
    store = story.store("n4", "n1")
    story.change("n1", "n4", "observer")
    story.agree("n1", "n2")
    return store


@refused_by("GroupGoesOn")
def two_founders_are_at_one_address(story: Story) -> Event:
    """Where they are is shown for the first time."""
    event = story.change("n1", "n4", "learner")
    for member in event["members"][:2]:
        member[2] = "same:7000"
    return event


@refused_by("GroupGoesOn")
def two_at_one_address(story: Story) -> Event:
    story.change("n1", "n4", "learner")
    story.agree("n1", "n2")
    return story.change("n1", "n5", "learner", address="n4:7000")


@refused_by("SameConfiguration")
def a_restart_goes_by_the_old_configuration(story: Story) -> Event:
    join(story, "n3")
    story.change("n1", "n4", "voter", "n4")
    commit_by(story, "n1", "n2", "n4")
    event = story.start("n2")
    event["voters"] = ["n1", "n2", "n3"]
    return event


@refused_by("SameConfiguration")
def a_candidate_counts_in_the_old_configuration(story: Story) -> Event:
    join(story, "n3")
    story.change("n1", "n4", "voter", "n4")
    commit_by(story, "n1", "n2", "n4")
    event = story.campaign("n2", term=2)
    event["voters"] = ["n1", "n2", "n3"]
    return event


def judged(tale: Tale, directory: Path, seed: int) -> tuple[Result, Event | None]:
    story = begin()
    event = tale(story)
    return story.judge(directory, Random(seed).randrange if seed else None), event


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tale", RIGHT, ids=lambda tale: tale.__name__)
def test_a_right_change_is_accepted(tale: Tale, seed: int, tmp_path: Path) -> None:
    result, _ = judged(tale, tmp_path, seed)
    assert result.violation is None, result.violation
    assert result.verdict is Verdict.HOLDS, result.missing


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("guard", "tale"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_a_wrong_change_is_refused(guard: str, tale: Tale, seed: int, tmp_path: Path) -> None:
    result, event = judged(tale, tmp_path, seed)
    assert result.violation
    assert event
    assert result.violation.rule == guard, result.violation
    where = result.violation.where
    assert where
    assert (where.node, where.inc, where.seq) == (event["node"], event["inc"], event["seq"])


def test_a_group_grows_from_one(tmp_path: Path) -> None:
    story = Story("n1")
    story.start("n2")
    story.lead("n1")
    story.change("n1", "n2", "learner")
    commit_by(story, "n1")
    story.store("n2", "n1")
    story.change("n1", "n2", "voter", "n2")
    commit_by(story, "n1", "n2")
    result = story.judge(tmp_path)
    assert result.verdict is Verdict.HOLDS, result.violation
    story.append("n1")
    story.store("n1")
    story.commit("n1", "n1")
    alone = story.judge(tmp_path).violation
    assert alone
    assert alone.rule == "CommitQuorum"


def test_a_voter_that_joined_later_must_have_a_trace(tmp_path: Path) -> None:
    story = begin()
    join(story)
    story.change("n1", "n4", "voter", "n4")
    story.files.pop(("n4", "1-00000001"))
    result = story.judge(tmp_path)
    assert result.verdict is Verdict.INCOMPLETE
    assert any("n4" in item for item in result.missing)
