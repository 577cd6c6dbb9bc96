"""Right runs that look odd: the checker must accept every one of them, in whatever order it merges the files."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from handmade import Story, digest

from trace_check import Verdict
from trace_check.report import took


def plain() -> Story:
    """A leader, some writes, a client, everybody learns of it."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.replicate("n1", "n2", count=3)
    story.store("n3", "n1")
    for follower in ("n2", "n3"):
        story.learn(follower, "n1")
        story.transfer(follower, "FOLLOWER")
    story.invoke("client", "w1")
    story.ok("client", "w1", story.ack("n1", 2, 3), 2)
    story.exit("n1")
    return story


def single_node() -> Story:
    """A cluster of one."""
    story = Story("n1")
    story.lead("n1")
    story.replicate("n1")
    return story


def vote_for_one_who_moved_on() -> Story:
    """n3 votes for n1's candidacy of term 1 when n1 is already a candidate of term 2."""
    story = Story("n1", "n2", "n3")
    first = story.campaign("n1")
    story.campaign("n1")
    story.hear("n3", "n1")
    story.tell("n3", "Grant", term=1, candidate="n1", campaign=story.ref(first), last=0, last_term=0)
    story.grant("n2", "n1")
    story.win("n1", "n2")
    return story


def split_vote() -> Story:
    """Two candidates, no winner, a third election decides."""
    story = Story("n1", "n2", "n3")
    story.campaign("n1")
    story.campaign("n2")
    story.grant("n3", "n2")
    story.lead("n1", "n3", term=2)
    return story


def deposed_without_its_tail() -> Story:
    """n1 has appended an entry that never reached its disk, loses its term, and votes with the log it has stored."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.store("n3", "n1")
    story.append("n1")
    story.lose("n1")
    story.person("n1").log.pop()
    story.campaign("n3")
    story.grant("n1", "n3")
    return story


def deposed_with_its_tail() -> Story:
    """The same, but n1 votes with all that it has appended. Then its disk gets it, and n1 is killed."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.append("n1", 2)
    story.lose("n1")
    story.store("n3", "n1")
    story.campaign("n3")
    story.grant("n1", "n3")
    story.person("n1").durable = 3
    story.start("n1")
    return story


def end_replaced_twice() -> Story:
    """Two leaders in a row replace the end of n1's log, the second one by what was there at first, and less of it.

    Both frames are in one turn, and n1 dies before it can trace either.
    """
    story = Story("n1", "n2", "n3", "n4", "n5")
    story.lead("n1", "n3", "n4")
    story.store("n5", "n1")
    story.append("n1", 2)
    story.store("n1")
    story.store("n2", "n1")
    story.elect("n3", "n4", "n5", term=2)
    story.elect("n2", "n4", "n5", term=3)
    n1 = story.person("n1")
    n1.term, n1.vote, n1.durable = 3, None, 2
    story.start("n1")
    return story


def late_notice() -> Story:
    """n1 appends, n2 stores, and n1 notices that this is committed only after its successor n2 has said so."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.append("n1", 2)
    story.store("n1")
    story.store("n2", "n1")
    story.elect("n2", "n3", term=2)
    story.store("n2")
    story.store("n3", "n2")
    story.commit("n2", "n2", "n3")
    story.activate("n2")
    # A reply that n2 had sent long before: n1 hears of the Store only.
    person = story.person("n1")
    store = next(e for e in story.files["n2", "1-00000001"] if e["event"] == "Store" and e["last"] == 3)
    person.after["n2"] = story.ref(store)
    own = story.person("n1").refs["Store"]
    story.tell("n1", "Commit", runs=[[2, 3, 1]], digest=story.files["n1", "1-00000001"][-1]["digest"],
               stores=[own, story.ref(store)])
    story.ack("n1", 2, 3)
    story.hear("n1", "n2")
    story.lose("n1")
    story.exit("n1", 3)
    return story


def successor_commits_record() -> Story:
    """n1 wins and gives up before its epoch record is committed; its successor commits that with its own."""
    story = Story("n1", "n2", "n3")
    story.elect("n1", "n2")
    story.store("n1")
    story.store("n2", "n1")
    story.lose("n1")
    story.lead("n2", "n3", term=2)
    story.learn("n3", "n2")
    return story


def claim_after_later_record() -> Story:
    """n1 counts the votes of term 1 when n2 has long won term 2 and committed its record."""
    story = Story("n1", "n2", "n3")
    story.campaign("n1")
    grant = story.grant("n3", "n1")
    story.lead("n2", "n3", term=2)
    story.person("n1").after["n3"] = story.ref(grant)
    story.tell("n1", "Win", term=1, grants=[story.person("n1").refs["Campaign"], story.ref(grant)])
    story.append("n1")
    story.store("n1")
    return story


def silent_vote() -> Story:
    """n2 is killed with its vote on disk and not in its trace."""
    story = Story("n1", "n2", "n3")
    story.campaign("n1")
    story.person("n2").term, story.person("n2").vote = 1, "n1"
    story.start("n2")
    story.grant("n3", "n1")
    story.win("n1", "n3")
    return story


def silent_candidacy() -> Story:
    """n2 is killed with its vote for itself on disk and not in its trace."""
    story = Story("n1", "n2", "n3")
    story.person("n2").term, story.person("n2").vote = 1, "n2"
    story.start("n2")
    story.lead("n1", "n3", term=1)
    return story


def silent_term() -> Story:
    """n2 is killed with a higher term on disk and not in its trace."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n3")
    story.person("n2").term = 1
    story.start("n2")
    return story


def silent_store() -> Story:
    """n2 is killed with entries on disk and not in its trace; its next vote names them."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.append("n1", 4)
    person = story.person("n2")
    person.log, person.durable = list(story.person("n1").log), 5
    story.start("n2")
    story.lead("n2", "n3", term=2)
    return story


def silent_replacement() -> Story:
    """n1's own uncommitted entry is replaced by a later leader's, which n1 stored but did not trace."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.append("n1", 2)
    story.store("n1")
    story.start("n1")
    story.lead("n2", "n3", term=2)
    story.replicate("n2", "n3", count=3)
    person = story.person("n1")
    person.term, person.vote, person.log, person.durable = 2, None, list(story.person("n2").log), 4
    story.start("n1")
    story.store("n1", "n2")
    story.learn("n1", "n2")
    return story


def won_with_a_part_of_an_append() -> Story:
    """n2 found one entry of two that n1 had appended at once, wins with that log, and n3 stores just that."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.append("n1", 2)
    n2 = story.person("n2")
    n2.log, n2.durable = [1, 1], 2
    story.start("n2")
    story.elect("n2", "n3", term=2)
    n3 = story.person("n3")
    story.hear("n3", "n2")
    story.tell("n3", "Store", last=2, last_term=1, digest=digest([1, 1]))
    n3.log, n3.durable = [1, 1], 2
    story.agree("n2", "n3")
    return story


def unsynced_tail_is_lost() -> Story:
    """A leader appends, crashes before its disk syncs, and comes back without those entries."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.append("n1", 3)
    story.start("n1")
    story.lead("n1", "n3", term=2)
    return story


def two_incarnations_of_a_leader() -> Story:
    """A LEADER is killed and elected again; it leads two terms, and each has its own claim."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.replicate("n1", "n2")
    story.start("n1")
    story.lead("n1", "n3", term=2)
    story.replicate("n1", "n3")
    return story


def killed_before_start() -> Story:
    """An incarnation of which there is a number and nothing else."""
    story = Story("n1", "n2", "n3")
    story.person("n2").counter += 1
    story.start("n2")
    story.lead("n1", "n2")
    return story


def new_leader_tells_old_commit() -> Story:
    """A new leader passes on, by the Commit it made as a follower, what its predecessor had committed."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.replicate("n1", "n2", count=2)
    story.learn("n2", "n1")
    story.elect("n2", "n3", term=2)
    story.store("n3", "n2")
    story.learn("n3", "n2")
    return story


def commit_of_the_end_of_one_term_and_the_next() -> Story:
    """n3 learns at once of what is left of term 1, of which it knew the beginning committed, and of term 2's record."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.replicate("n1", "n2", "n3", count=3)
    story.learn("n3", "n1", last=2)
    story.lead("n2", "n3", term=2)
    story.learn("n3", "n2")
    return story


def new_leader_hears_what_was_committed_before() -> Story:
    """n2 leads term 2 when it learns from n1's Commit of what was committed in term 1."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.replicate("n1", "n2")
    story.lose("n1")
    story.elect("n2", "n3", term=2)
    story.learn("n2", "n1", last=2)
    story.agree("n2", "n3")
    story.activate("n2")
    return story


def observer() -> Story:
    """A node that is no voter stores and learns, and is not counted."""
    story = Story("n1", "n2", "n3")
    story.start("o1")
    story.transfer("o1", "OBSERVER")
    story.lead("n1", "n2")
    story.store("o1", "n1")
    story.learn("o1", "n1")
    return story


ODDITIES = [
    plain,
    single_node,
    vote_for_one_who_moved_on,
    split_vote,
    deposed_without_its_tail,
    deposed_with_its_tail,
    end_replaced_twice,
    late_notice,
    successor_commits_record,
    claim_after_later_record,
    silent_vote,
    silent_candidacy,
    silent_term,
    silent_store,
    silent_replacement,
    won_with_a_part_of_an_append,
    unsynced_tail_is_lost,
    two_incarnations_of_a_leader,
    killed_before_start,
    new_leader_tells_old_commit,
    commit_of_the_end_of_one_term_and_the_next,
    new_leader_hears_what_was_committed_before,
    observer,
]


@pytest.mark.parametrize("tell", ODDITIES)
def test_right_run_is_accepted(tell: Callable[[], Story], tmp_path: Path) -> None:
    result = tell().judge(tmp_path)
    assert result.verdict is Verdict.HOLDS, (result.violation, result.missing)


@pytest.mark.parametrize("tell", ODDITIES)
@pytest.mark.parametrize("seed", range(8))
def test_in_any_order(tell: Callable[[], Story], seed: int, tmp_path: Path) -> None:
    result = tell().judge(tmp_path, random.Random(seed).randrange)
    assert result.verdict is Verdict.HOLDS, (seed, result.violation, result.missing)


def test_numbers(tmp_path: Path) -> None:
    counts = plain().judge(tmp_path).counts
    assert (counts.nodes, counts.clients, counts.terms, counts.epochs) == (3, 1, 1, 1)
    assert (counts.entries_committed, counts.writes_acknowledged, counts.writes_lost) == (4, 1, 0)


def test_failover_is_measured(tmp_path: Path) -> None:
    (failover,) = two_incarnations_of_a_leader().judge(tmp_path).failovers
    assert (failover.from_term, failover.to_term, failover.to_node) == (1, 2, "n1")
    assert failover.seconds > 0
    assert took(failover) == f"{failover.seconds:.3f} s"
    assert took(replace(failover, seconds=-0.25)) == "none, as n1 noticed its end only 0.250 s later"
