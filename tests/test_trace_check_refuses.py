"""Wrong runs: each the smallest that breaks one rule. The checker must refuse it, by that rule, at that event.

A story returns the event that has to be refused (None for a circle of events, which has no first one). Whatever the
order of the merge, it must never be accepted.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from handmade import Event, Story, digest

from trace_check import Verdict

Case = Callable[[Story], Event | None]
CASES: list[tuple[str, Case]] = []


def refused_by(rule: str) -> Callable[[Case], Case]:
    def register(case: Case) -> Case:
        CASES.append((rule, case))
        return case

    return register


# --- terms, disks, what a Start shows -------------------------------------------------------------------------------


@refused_by("TermMonotonic")
def store_for_an_older_term(story: Story) -> Event:
    """n2 has moved on to term 2 and still stores for term 1's leader."""
    story.lead("n1", "n2")
    story.append("n1")
    story.campaign("n2")
    story.hear("n2", "n1")
    log = story.person("n1").log
    return story.tell("n2", "Store", term=1, last=2, last_term=1, digest=digest(log))


@refused_by("TermMonotonic")
def commit_in_an_older_term(story: Story) -> Event:
    """n2 has moved on to term 2 and still learns in term 1 what is committed."""
    story.lead("n1", "n2")
    story.campaign("n2")
    commit = story.learn("n2", "n1")
    commit["term"] = 1
    return commit


@refused_by("TermMonotonic")
def term_forgotten_over_a_restart(story: Story) -> Event:
    story.campaign("n1")
    story.person("n1").term, story.person("n1").vote = 0, None
    return story.start("n1")


@refused_by("TermMonotonic")
def leader_leaves_its_term_without_lose(story: Story) -> Event:
    story.lead("n1", "n2")
    story.elect("n2", "n3")
    return story.store("n1", "n2")


@refused_by("TermMonotonic")
def follower_stands_in_the_term_of_its_leader(story: Story) -> Event:
    story.lead("n1", "n2")
    story.store("n3", "n1")
    return story.campaign("n3", term=1)


@refused_by("TermMonotonic")
def follower_has_stood_in_the_term_of_its_leader(story: Story) -> Event:
    """Only what n3 finds on its disk tells of it."""
    story.lead("n1", "n2")
    story.store("n3", "n1")
    story.person("n3").vote = "n3"
    return story.start("n3")


@refused_by("SameDisk")
def known_name_on_a_new_disk(story: Story) -> Event:
    start = story.start("n1")
    start["disk"] = "another"
    return start


@refused_by("SameDisk")
def two_nodes_on_one_disk(story: Story) -> Event:
    start = story.files["n2", "1-00000001"][0]
    start["disk"] = "disk-of-n1"
    # Not by chance the other way round: n1 is known to have started first.
    start["after"] = [["n1", "1-00000001", 1]]
    return start


@refused_by("NothingForgotten")
def vote_forgotten(story: Story) -> Event:
    story.campaign("n1")
    story.grant("n2", "n1")
    start = story.start("n2")
    start["vote"] = None
    return start


@refused_by("NothingForgotten")
def vote_changed(story: Story) -> Event:
    story.campaign("n1")
    story.grant("n2", "n1")
    story.campaign("n3")
    story.hear("n2", "n3")
    start = story.start("n2")
    start["vote"] = "n3"
    start["after"] = [["n3", "1-00000001", 2]]
    return start


@refused_by("NothingForgotten")
def vote_changed_to_one_who_may_still_stand(story: Story) -> Event:
    """There is nothing to wait for: n2 had voted for n1."""
    story.campaign("n1")
    story.grant("n2", "n1")
    story.person("n2").vote = "n3"
    return story.start("n2")


@refused_by("TermMonotonic")
def term_forgotten_along_with_entries_gained(story: Story) -> Event:
    """There is nothing to wait for, whoever made the entry that n3 found in its log."""
    story.lead("n1", "n2")
    story.campaign("n3", term=3)
    start = story.start("n3")
    start.update(term=2, vote=None, last=2, last_term=2)
    return start


@refused_by("CampaignHeard")
def vote_for_one_who_asked_nobody(story: Story) -> Event:
    """n2's candidacy came to its disk and not into its trace: nobody can have heard of it."""
    for name in ("n2", "n3"):
        story.person(name).term, story.person(name).vote = 1, "n2"
    story.start("n2")
    start = story.start("n3")
    story.exit("n2")
    return start


@refused_by("NothingForgotten")
def entry_forgotten(story: Story) -> Event:
    story.lead("n1", "n2")
    story.replicate("n1", "n2")
    story.person("n2").durable = 1
    return story.start("n2")


@refused_by("NothingForgotten")
def entry_forgotten_by_the_leader_itself(story: Story) -> Event:
    story.lead("n1", "n2")
    story.replicate("n1", "n2")
    story.person("n1").durable = 1
    return story.start("n1")


@refused_by("NothingForgotten")
def entry_forgotten_from_one_store_to_the_next(story: Story) -> Event:
    story.lead("n1", "n2")
    story.replicate("n1", "n2", count=3)
    return story.store("n2", "n1", last=2)


@refused_by("NothingForgotten")
def entry_forgotten_in_a_later_term(story: Story) -> Event:
    """n3 stores a beginning of what it had, under a new leader whose log goes on beyond."""
    story.lead("n1", "n2")
    story.replicate("n1", "n2", count=3)
    story.store("n3", "n1")
    story.lose("n1")
    story.elect("n2", "n1", term=2)
    return story.store("n3", "n2", last=2)


@refused_by("NothingForgotten")
def entry_forgotten_over_a_restart_two_terms_later(story: Story) -> Event:
    """Two later leaders might have replaced the end of n3's log twice, but their logs are the same as n3's there."""
    story.lead("n1", "n2")
    story.replicate("n1", "n2", count=3)
    story.store("n3", "n1")
    story.exit("n1")
    story.start("n1")
    story.elect("n2", "n1", term=2)
    story.lose("n2")
    story.elect("n2", "n1", term=3)
    n3 = story.person("n3")
    n3.term, n3.vote, n3.durable = 3, None, 3
    # Leaders and voters end in good order: nothing is left that could still show anything.
    for name in ("n1", "n2"):
        story.exit(name)
    return story.start("n3")


@refused_by("NothingForgotten")
def entries_taken_from_a_leader_whose_term_had_been_left(story: Story) -> Event:
    """n3 stood in term 2 with an empty log. What it then found in it, only term 1's leader can have sent."""
    story.elect("n1", "n2")
    story.campaign("n3", term=2)
    story.person("n3").log, story.person("n3").durable = [1], 1
    for name in ("n1", "n2"):
        story.exit(name)
    return story.start("n3")


@refused_by("NothingForgotten")
def end_replaced_twice_by_two_leaders_in_the_wrong_order(story: Story) -> Event:
    """Term 2's leader has what n5 shows, term 3's has another entry there, and nobody comes after that."""
    story.__dict__ = Story(*(f"n{i}" for i in range(1, 8))).__dict__
    story.lead("n1", "n2", "n3", "n6")
    story.append("n1", 2)
    story.append("n1")
    story.store("n4", "n1", 3)
    story.store("n5", "n1")
    story.elect("n4", "n2", "n3", "n6", term=2)
    story.elect("n2", "n3", "n6", "n7", term=3)
    for name in story.voters:
        if name != "n5":
            story.exit(name)
    n5 = story.person("n5")
    n5.term, n5.vote, n5.durable = 3, None, 3
    return story.start("n5")


@refused_by("NothingForgotten")
def everything_forgotten_two_terms_later(story: Story) -> Event:
    """No leader has another entry among no entries, so there is nothing to wait for."""
    story.elect("n1", "n2")
    story.store("n3", "n1")
    story.campaign("n3", term=5)
    story.person("n3").durable = 0
    return story.start("n3")


@refused_by("NothingForgotten")
def committed_entry_forgotten_two_terms_later(story: Story) -> Event:
    """Whoever may lead terms 2 to 5, none of them has another entry where n1 has committed one."""
    story.lead("n1", "n2")
    story.replicate("n1", "n2", count=2)
    story.store("n3", "n1")
    story.learn("n3", "n1")
    story.campaign("n3", term=5)
    story.person("n3").durable = 2
    return story.start("n3")


@refused_by("NothingForgotten")
def committed_entry_replaced_two_terms_later(story: Story) -> Event:
    """n3 comes back with the log of n1, who never committed it, and has none of what n2 committed since."""
    story.lead("n1", "n2")
    story.append("n1", 2)
    story.lose("n1")
    story.lead("n2", "n3", term=2)
    story.campaign("n3", term=5)
    person = story.person("n3")
    person.log, person.durable = [1, 1, 1], 3
    start = story.start("n3")
    start["after"] = [["n1", "1-00000001", len(story.files["n1", "1-00000001"])], story.person("n2").refs["Commit"]]
    return start


@refused_by("NothingForgotten")
def other_entries_without_a_later_leader(story: Story) -> Event:
    """n3 comes back with the entries of a rival that it had replaced before, and in no later term."""
    story.lead("n1", "n2")
    story.append("n1", 2)
    story.store("n1")
    story.lead("n2", "n3", term=2)
    story.replicate("n2", "n3")
    person = story.person("n3")
    person.log, person.durable = [1, 1, 1], 3
    start = story.start("n3")
    story.exit("n1")
    story.exit("n2")
    return start


@refused_by("NothingForgotten")
def entries_nobody_made(story: Story) -> Event:
    """n2 comes back with an entry that its leader, which has lost the term since, had never appended."""
    story.lead("n1", "n2")
    story.lose("n1")
    person = story.person("n2")
    person.log, person.durable = [1, 1], 2
    start = story.start("n2")
    start["after"] = [["n1", "1-00000001", len(story.files["n1", "1-00000001"])]]
    return start


@refused_by("NothingForgotten")
def entry_of_a_later_term_than_its_node(story: Story) -> Event:
    story.lead("n1", "n2", term=2)
    start = story.start("n3")
    start.update(term=1, last=1, last_term=2, after=[["n1", "1-00000001", 4]])
    return start


@refused_by("NothingForgotten")
def position_where_that_term_has_no_entry(story: Story) -> Event:
    """Term 2 begins at entry 2; n3 comes back with an entry 1 of term 2."""
    story.lead("n1", "n2")
    story.store("n3", "n1")
    story.lead("n2", "n3", term=2)
    story.replicate("n2", "n3")
    start = story.start("n3")
    start["last"] = 1
    return start


@refused_by("NothingForgotten")
def position_before_the_run_of_that_term(story: Story) -> Event:
    """Likewise, but nothing that n3 had stored says so: term 2 begins at entry 5, and n3's log ends at 3 of term 2."""
    story.lead("n1", "n2")
    story.replicate("n1", "n2", count=3)
    story.lose("n1")
    story.lead("n2", "n1", term=2)
    story.person("n3").term = 2
    start = story.start("n3")
    start.update(last=3, last_term=2, digest=digest([1, 1, 2]))
    return start


@refused_by("NothingForgotten")
def counter_used_twice(story: Story) -> Event:
    story.files["n1", "1-ffffffff"] = [dict(story.files["n1", "1-00000001"][0], inc="1-ffffffff")]
    return story.files["n1", "1-ffffffff"][0]


@refused_by("CampaignHeard")
def vote_for_nobody_over_a_restart(story: Story) -> Event:
    """n2 comes back with a vote for n3, which has been in that term and beyond and never stood in it."""
    story.campaign("n3", term=2)
    start = story.start("n2")
    start.update(term=1, vote="n3")
    return start


@refused_by("Frontend")
def start_in_the_middle(story: Story) -> Event:
    first = story.files["n1", "1-00000001"][0]
    story.exit("n1")
    again = {k: v for k, v in first.items() if k in ("vote", "last", "last_term", "digest", "disk", "voters")}
    return story.tell("n1", "Start", **again)


@refused_by("Frontend")
def life_after_exit(story: Story) -> Event:
    story.lead("n1", "n2")
    story.exit("n3")
    return story.store("n3", "n1")


# --- configuration and votes ----------------------------------------------------------------------------------------


@refused_by("SameConfiguration")
def start_with_other_voters(story: Story) -> Event:
    start = story.start("n3")
    start["voters"] = ["n1", "n3"]
    return start


@refused_by("SameConfiguration")
def campaign_with_other_voters(story: Story) -> Event:
    campaign = story.campaign("n1")
    campaign["voters"] = ["n1"]
    return campaign


@refused_by("SameConfiguration")
def stranger_stands_for_election(story: Story) -> Event:
    story.start("o1")
    return story.campaign("o1")


@refused_by("SameConfiguration")
def stranger_votes(story: Story) -> Event:
    story.start("o1")
    story.campaign("n1")
    story.grant("o1", "n1")
    return story.win("n1", "o1")


@refused_by("SameConfiguration")
def stranger_is_counted(story: Story) -> Event:
    story.start("o1")
    story.elect("n1", "n2")
    story.store("n1")
    story.store("o1", "n1")
    return story.commit("n1", "n1", "o1")


@refused_by("SameConfiguration")
def voters_named_twice(story: Story) -> Event:
    start = story.files["n1", "1-00000001"][0]
    for lines in story.files.values():
        lines[0]["voters"] = ["n1", "n1", "n2", "n3"]
    return start


@refused_by("VoteOnce")
def two_votes(story: Story) -> Event:
    story.campaign("n1")
    story.campaign("n2")
    story.grant("n3", "n1")
    return story.grant("n3", "n2")


@refused_by("VoteOnce")
def vote_and_candidacy(story: Story) -> Event:
    story.campaign("n1")
    story.grant("n2", "n1")
    return story.campaign("n2", term=1)


@refused_by("VoteOnce")
def two_votes_with_a_restart_between(story: Story) -> Event:
    story.campaign("n1")
    story.campaign("n2")
    story.grant("n3", "n1")
    story.start("n3")
    return story.grant("n3", "n2")


@refused_by("VoteOnce")
def vote_after_a_silent_one(story: Story) -> Event:
    story.campaign("n1")
    story.campaign("n2")
    story.person("n3").term, story.person("n3").vote = 1, "n1"
    story.start("n3")
    return story.grant("n3", "n2")


@refused_by("TruePosition")
def candidate_boasts(story: Story) -> Event:
    campaign = story.campaign("n1")
    campaign.update(last=7, last_term=0)
    return campaign


@refused_by("TruePosition")
def voter_understates_its_log(story: Story) -> Event:
    story.lead("n1", "n2")
    story.campaign("n3", term=2)
    grant = story.grant("n2", "n3")
    grant.update(last=0, last_term=0)
    return grant


@refused_by("TruePosition")
def tail_given_up_after_it_was_kept(story: Story) -> Event:
    """n1 stands with an entry it has not stored, so it has kept it; its next vote says that it is gone."""
    story.elect("n1", "n2")
    story.lose("n1")
    story.campaign("n1")
    story.person("n1").log.pop()
    story.campaign("n3", term=3)
    return story.grant("n1", "n3")


@refused_by("CampaignHeard")
def vote_on_what_an_ended_incarnation_never_wrote(story: Story) -> Event:
    """n3 has heard of n1's second incarnation, so of all that the first one wrote, which is less than what it cites."""
    story.campaign("n1")
    story.start("n1")
    grant = story.grant("n3", "n1")
    grant["campaign"] = ["n1", "1-00000001", 99]
    return grant


@refused_by("CampaignHeard")
def vote_without_hearing_of_the_campaign(story: Story) -> Event:
    story.campaign("n1")
    grant = story.grant("n2", "n1")
    del grant["after"]
    return grant


@refused_by("CampaignHeard")
def vote_in_another_term(story: Story) -> Event:
    story.campaign("n1")
    grant = story.grant("n2", "n1")
    grant["term"] = 2
    return grant


@refused_by("CampaignHeard")
def vote_for_one_by_the_campaign_of_another(story: Story) -> Event:
    story.campaign("n1")
    story.campaign("n3")
    grant = story.grant("n2", "n1")
    grant["candidate"] = "n3"
    return grant


@refused_by("CampaignHeard")
def vote_by_something_else_than_a_campaign(story: Story) -> Event:
    story.campaign("n1")
    grant = story.grant("n2", "n1")
    grant["campaign"] = ["n1", "1-00000001", 1]
    return grant


@refused_by("CampaignHeard")
def hearing_is_forgotten_over_a_restart(story: Story) -> Event:
    story.campaign("n1")
    story.hear("n2", "n1")
    story.tell("n2", "Transfer", to="FOLLOWER")
    story.start("n2")
    grant = story.grant("n2", "n1")
    del grant["after"]
    return grant


@refused_by("UpToDate")
def vote_for_a_shorter_log(story: Story) -> Event:
    story.lead("n1", "n2")
    story.campaign("n3", term=2)
    return story.grant("n2", "n3")


@refused_by("UpToDate")
def vote_for_a_longer_log_of_an_older_term(story: Story) -> Event:
    story.lead("n1", "n2")
    story.append("n1", 5)
    story.store("n1")
    story.lead("n2", "n3", term=2)
    story.start("n1")
    story.campaign("n1", term=3)
    return story.grant("n3", "n1")


@refused_by("GrantsCited")
def votes_that_were_never_granted(story: Story) -> Event:
    story.campaign("n1")
    story.hear("n1", "n2")
    return story.tell("n1", "Win", grants=[["n1", "1-00000001", 2], ["n2", "1-00000001", 1]])


@refused_by("GrantsCited")
def votes_not_heard_of(story: Story) -> Event:
    story.campaign("n1")
    story.grant("n2", "n1")
    win = story.win("n1", "n2")
    del win["after"]
    return win


@refused_by("GrantsCited")
def vote_of_an_incarnation_there_never_was(story: Story) -> Event:
    story.campaign("n1")
    story.grant("n2", "n1")
    win = story.win("n1", "n2")
    win["grants"][1] = ["n2", "9-00000009", 2]
    return win


@refused_by("GrantsCited")
def votes_for_another(story: Story) -> Event:
    story.campaign("n1")
    story.campaign("n2")
    story.grant("n3", "n2")
    return story.win("n1", "n3")


@refused_by("GrantsCited")
def votes_of_another_term(story: Story) -> Event:
    story.campaign("n1")
    story.grant("n2", "n1")
    story.campaign("n1")
    return story.win("n1", "n2")


@refused_by("GrantsCited")
def one_vote_counted_twice(story: Story) -> Event:
    story.campaign("n1")
    story.grant("n2", "n1")
    win = story.win("n1", "n2")
    win["grants"] = [win["grants"][0], win["grants"][0]]
    return win


@refused_by("GrantsCited")
def own_candidacy_not_counted(story: Story) -> Event:
    story.campaign("n1")
    story.grant("n2", "n1")
    story.grant("n3", "n1")
    win = story.win("n1", "n2", "n3")
    del win["grants"][0]
    return win


@refused_by("GrantsCited")
def candidacy_of_an_earlier_incarnation(story: Story) -> Event:
    story.campaign("n1")
    story.grant("n2", "n1")
    story.start("n1")
    return story.win("n1", "n2")


@refused_by("GrantsCited")
def candidacy_of_an_earlier_incarnation_that_was_heard(story: Story) -> Event:
    story.campaign("n1")
    story.grant("n2", "n1")
    story.start("n1")
    win = story.win("n1", "n2")
    win["after"].append(["n1", "1-00000001", 2])
    return win


@refused_by("ElectionQuorum")
def too_few_votes(story: Story) -> Event:
    story.campaign("n1")
    return story.win("n1")


@refused_by("GrantsCited")
def two_winners_in_one_term(story: Story) -> Event:
    """n3 has voted for n1; n2 takes that vote for its own."""
    story.campaign("n1")
    story.campaign("n2")
    story.grant("n3", "n1")
    story.win("n1", "n3")
    return story.win("n2", "n3")


@refused_by("Ballot")
def winning_twice(story: Story) -> Event:
    story.elect("n1", "n2")
    story.lose("n1")
    return story.win("n1", "n2")


@refused_by("Frontend")
def leader_stands_again(story: Story) -> Event:
    story.lead("n1", "n2")
    story.lose("n1")
    return story.campaign("n1")


# --- the log --------------------------------------------------------------------------------------------------------


@refused_by("LeaderAppends")
def append_without_winning(story: Story) -> Event:
    story.campaign("n1")
    return story.append("n1")


@refused_by("LeaderAppends")
def append_after_losing(story: Story) -> Event:
    story.lead("n1", "n2")
    story.lose("n1")
    return story.append("n1")


@refused_by("LeaderAppends")
def append_leaves_a_hole(story: Story) -> Event:
    story.lead("n1", "n2")
    append = story.append("n1")
    append.update(first=3, last=3)
    return append


@refused_by("LeaderAppends")
def append_overwrites(story: Story) -> Event:
    story.lead("n1", "n2")
    story.append("n1", 2)
    append = story.append("n1")
    append.update(first=3, last=3)
    return append


@refused_by("LeaderAppends")
def append_of_nothing(story: Story) -> Event:
    story.lead("n1", "n2")
    append = story.append("n1", 0)
    return append


@refused_by("EpochConsecutive")
def epoch_skipped(story: Story) -> Event:
    story.campaign("n1")
    story.grant("n2", "n1")
    story.win("n1", "n2")
    append = story.append("n1")
    append["epoch"] = 2
    return append


@refused_by("EpochConsecutive")
def epoch_used_twice(story: Story) -> Event:
    """The second leader takes the number of the first one's committed record again."""
    story.lead("n1", "n2")
    story.elect("n2", "n3", term=2)
    append = story.files["n2", "1-00000001"][-1]
    append["epoch"] = 1
    return append


@refused_by("EpochConsecutive")
def term_opened_without_an_epoch(story: Story) -> Event:
    story.elect("n1", "n2")
    append = story.files["n1", "1-00000001"][-1]
    del append["epoch"]
    return append


@refused_by("EpochConsecutive")
def second_epoch_in_one_term(story: Story) -> Event:
    story.lead("n1", "n2")
    append = story.append("n1")
    append["epoch"] = 2
    return append


@refused_by("EpochConsecutive")
def committed_epoch_is_another(story: Story) -> Event:
    story.elect("n1", "n2")
    story.store("n1")
    story.store("n2", "n1")
    commit = story.commit("n1", "n1", "n2")
    commit["epochs"] = [[1, 7]]
    return commit


@refused_by("EpochConsecutive")
def committed_epoch_is_not_named(story: Story) -> Event:
    story.elect("n1", "n2")
    story.store("n1")
    story.store("n2", "n1")
    commit = story.commit("n1", "n1", "n2")
    del commit["epochs"]
    return commit


@refused_by("EpochConsecutive")
def activation_under_another_epoch(story: Story) -> Event:
    story.elect("n1", "n2")
    story.agree("n1", "n2")
    activate = story.activate("n1")
    activate["epoch"] = 2
    return activate


@refused_by("EpochConsecutive")
def committed_epoch_of_an_entry_that_is_no_record(story: Story) -> Event:
    story.lead("n1", "n2")
    story.append("n1")
    story.store("n1")
    story.store("n2", "n1")
    commit = story.commit("n1", "n1", "n2")
    commit["epochs"] = [[2, 1]]
    return commit


@refused_by("StoreOnLeaderLog")
def store_that_ends_inside_an_append(story: Story) -> Event:
    """Nobody names the digest of index 2, so nobody could tell whether n2 has stored the same as n1 there."""
    story.lead("n1", "n2")
    story.append("n1", 2)
    return story.store("n2", "n1", last=2)


@refused_by("StoreOnLeaderLog")
def store_before_hearing_of_the_leader(story: Story) -> Event:
    story.elect("n1", "n2")
    store = story.store("n2", "n1")
    del store["after"]
    return store


@refused_by("StoreOnLeaderLog")
def store_of_the_base_before_hearing_of_the_leader(story: Story) -> Event:
    """n3's log is the beginning of n2's, but n3 has heard of n2's candidacy only."""
    story.lead("n1", "n2")
    story.store("n3", "n1")
    story.lose("n1")
    story.elect("n2", "n1", term=2)
    # Whatever the order of the merge, the Win is judged before: n1 has heard of it, and n3 of n1.
    story.store("n1", "n2")
    story.hear("n3", "n1")
    story.person("n3").after["n2"] = story.person("n2").refs["Campaign"]
    return story.tell("n3", "Store", term=2, last=1, last_term=1, digest=digest([1]))


@refused_by("StoreOnLeaderLog")
def store_of_a_term_without_a_leader(story: Story) -> Event:
    story.lead("n1", "n2")
    store = story.store("n2", "n1")
    store["term"] = 2
    return store


@refused_by("StoreOnLeaderLog")
def store_beyond_what_was_heard(story: Story) -> Event:
    story.lead("n1", "n2")
    heard = story.append("n1")
    story.append("n1")
    store = story.store("n2", "n1")
    store["after"] = [story.ref(heard)]
    return store


@refused_by("StoreOnLeaderLog")
def store_of_another_log(story: Story) -> Event:
    """n3 stores under n2, leader of term 2, what n1 alone had appended in term 1."""
    story.lead("n1", "n2")
    story.append("n1", 1)
    story.store("n1")
    story.elect("n2", "n3", term=2)
    story.hear("n3", "n2", "n1")
    return story.tell("n3", "Store", last=2, last_term=1, digest=digest([1, 1]))


@refused_by("StoreOnLeaderLog")
def store_of_what_the_leader_replaces(story: Story) -> Event:
    """n3 has stored what n1 gave up before it voted for n2, and shows it as n2's."""
    story.lead("n1", "n2")
    story.append("n1", 2)
    story.store("n3", "n1")
    story.lose("n1")
    del story.person("n1").log[1:]
    story.elect("n2", "n1", term=2)
    story.hear("n3", "n2")
    return story.tell("n3", "Store", term=2, last=3, last_term=1, digest=digest([1, 1, 1]))


@refused_by("StoreOnLeaderLog")
def store_with_a_wrong_term(story: Story) -> Event:
    story.lead("n1", "n2")
    story.append("n1")
    story.store("n1")
    story.elect("n2", "n3", term=2)
    store = story.store("n3", "n2")
    store["last_term"] = 1
    return store


@refused_by("SameDigest")
def other_contents_at_one_position(story: Story) -> Event:
    story.elect("n1", "n2")
    store = story.store("n2", "n1")
    store["digest"] = "0123456789abcdef"
    return store


@refused_by("SameDigest")
def other_contents_over_a_restart(story: Story) -> Event:
    story.lead("n1", "n2")
    start = story.start("n2")
    start["digest"] = "0123456789abcdef"
    return start


@refused_by("SameDigest")
def other_contents_committed(story: Story) -> Event:
    story.lead("n1", "n2")
    commit = story.learn("n2", "n1")
    commit["digest"] = "0123456789abcdef"
    return commit


# --- commitment -----------------------------------------------------------------------------------------------------


@refused_by("StoresCited")
def stores_not_heard_of(story: Story) -> Event:
    story.elect("n1", "n2")
    story.store("n1")
    story.store("n2", "n1")
    commit = story.commit("n1", "n1", "n2")
    del commit["after"]
    return commit


@refused_by("StoresCited")
def stores_of_another_term(story: Story) -> Event:
    """n1 counts, in term 2, what n2 had stored in term 1."""
    story.lead("n1", "n2")
    story.start("n1")
    story.elect("n1", "n3", term=2)
    story.store("n1")
    return story.commit("n1", "n1", "n2")


@refused_by("StoresCited")
def something_else_counted_as_a_store(story: Story) -> Event:
    story.elect("n1", "n2")
    store = story.store("n1")
    story.hear("n1", "n2")
    return story.tell("n1", "Commit", runs=[[1, 1, 1]], digest=digest([1]), epochs=[[1, 1]],
                      stores=[story.ref(store), story.person("n2").refs["Grant"]])


@refused_by("StoresCited")
def one_store_counted_twice(story: Story) -> Event:
    story.elect("n1", "n2")
    story.store("n1")
    return story.commit("n1", "n1", "n1")


@refused_by("StoresCited")
def stores_counted_by_no_leader(story: Story) -> Event:
    story.lead("n1", "n2")
    story.hear("n2", "n1")
    return story._commit("n2", 1, stores=[story.person(n).refs["Store"] for n in ("n1", "n2")])


@refused_by("StoresCited")
def stores_counted_after_losing(story: Story) -> Event:
    story.lead("n1", "n2")
    story.append("n1")
    story.store("n1")
    story.store("n2", "n1")
    story.lose("n1")
    return story.commit("n1", "n1", "n2")


@refused_by("CommitQuorum")
def too_few_stores(story: Story) -> Event:
    story.elect("n1", "n2")
    story.store("n1")
    return story.commit("n1", "n1")


@refused_by("CommitQuorum")
def stores_that_do_not_reach(story: Story) -> Event:
    story.lead("n1", "n2")
    story.append("n1")
    story.store("n1")
    return story.commit("n1", "n1", "n2")


@refused_by("CommitOwnTerm")
def commit_of_an_older_term_by_counting(story: Story) -> Event:
    """Figure 8 of the Raft paper: n2 counts Stores for an entry of term 1, with none of its own above it."""
    story.lead("n1", "n2")
    story.replicate("n1", "n2")
    story.elect("n2", "n3", term=2)
    story.store("n2")
    story.store("n3", "n2")
    return story.commit("n2", "n2", "n3", last=2)


@refused_by("CommitCited")
def commit_without_a_source(story: Story) -> Event:
    story.lead("n1", "n2")
    commit = story.learn("n2", "n1")
    del commit["leader_commit"]
    return commit


@refused_by("CommitCited")
def commit_not_heard_of(story: Story) -> Event:
    story.lead("n1", "n2")
    commit = story.learn("n2", "n1")
    del commit["after"]
    return commit


@refused_by("CommitCited")
def commit_beyond_the_one_cited(story: Story) -> Event:
    story.lead("n1", "n2")
    story.append("n1")
    story.store("n2", "n1")
    return story.learn("n2", "n1", last=2)


@refused_by("CommitCited")
def commit_by_something_else(story: Story) -> Event:
    story.lead("n1", "n2")
    commit = story.learn("n2", "n1")
    commit["leader_commit"] = story.person("n1").refs["Store"]
    return commit


@refused_by("CommitCited")
def commit_by_ones_own(story: Story) -> Event:
    story.lead("n1", "n2")
    story.learn("n2", "n1")
    story.append("n1")
    story.store("n2", "n1")
    return story._commit("n2", 2, leader_commit=story.person("n2").refs["Commit"])


@refused_by("CommitCited")
def commit_by_ones_own_of_an_earlier_life(story: Story) -> Event:
    story.lead("n1", "n2")
    own = story.ref(story.learn("n2", "n1"))
    story.start("n2")
    story.person("n2").after["n2"] = own
    return story._commit("n2", 1, leader_commit=own)


@refused_by("CommitContiguous")
def commit_of_a_term_nobody_led(story: Story) -> Event:
    story.lead("n1", "n2")
    commit = story.learn("n2", "n1")
    commit["runs"] = [[1, 1, 9]]
    return commit


@refused_by("CommitContiguous")
def commit_leaves_a_hole(story: Story) -> Event:
    story.lead("n1", "n2")
    story.replicate("n1", "n2")
    commit = story.learn("n2", "n1")
    commit.update(runs=[[2, 2, 1]])
    del commit["epochs"]
    return commit


@refused_by("CommitContiguous")
def commit_of_what_one_does_not_have(story: Story) -> Event:
    story.elect("n1", "n2")
    story.agree("n1", "n2")
    story.hear("n3", "n1")
    return story.tell("n3", "Commit", term=1, runs=[[1, 1, 1]], digest=digest([1]), epochs=[[1, 1]],
                      leader_commit=story.person("n1").refs["Commit"])


@refused_by("CommitContiguous")
def commit_with_a_wrong_term(story: Story) -> Event:
    story.lead("n1", "n2")
    story.lead("n2", "n3", term=2)
    commit = story.learn("n3", "n2")
    commit["runs"] = [[1, 2, 2]]
    return commit


@refused_by("CommitContiguous")
def commit_goes_on_after_a_hole(story: Story) -> Event:
    story.lead("n1", "n2")
    story.replicate("n1", "n2", count=2)
    story.learn("n2", "n1", last=1)
    commit = story.learn("n2", "n1")
    commit["runs"] = [[3, 3, 1]]
    return commit


@refused_by("CommitContiguous")
def commit_goes_on_with_what_it_had(story: Story) -> Event:
    story.lead("n1", "n2")
    story.replicate("n1", "n2", count=2)
    story.learn("n2", "n1", last=2)
    commit = story.learn("n2", "n1")
    commit["runs"] = [[2, 3, 1]]
    return commit


@refused_by("CommitContiguous")
def commit_goes_on_with_a_wrong_term(story: Story) -> Event:
    story.lead("n1", "n2")
    story.replicate("n1", "n2")
    story.learn("n2", "n1", last=1)
    commit = story.learn("n2", "n1")
    commit["runs"] = [[2, 2, 9]]
    return commit


@refused_by("CommitContiguous")
def commit_goes_on_beyond_the_end_of_its_term(story: Story) -> Event:
    """Entry 3 of n3's log is n2's record of term 2."""
    story.lead("n1", "n2")
    story.replicate("n1", "n2", "n3")
    story.learn("n3", "n1", last=1)
    story.lead("n2", "n3", term=2)
    commit = story.learn("n3", "n2")
    commit["runs"] = [[2, 3, 1]]
    del commit["epochs"]
    return commit


@refused_by("CommitContiguous")
def commit_in_needless_pieces(story: Story) -> Event:
    story.lead("n1", "n2")
    story.replicate("n1", "n2")
    commit = story.learn("n2", "n1")
    commit["runs"] = [[1, 1, 1], [2, 2, 1]]
    return commit


@refused_by("CommitContiguous")
def commit_goes_back(story: Story) -> Event:
    story.lead("n1", "n2")
    story.replicate("n1", "n2", count=2)
    story.learn("n2", "n1")
    commit = story._commit("n2", 3, leader_commit=story.person("n1").refs["Commit"])
    commit["runs"] = [[4, 2, 1]]
    return commit


@refused_by("CommitContiguous")
def commit_of_nothing(story: Story) -> Event:
    story.lead("n1", "n2")
    commit = story.learn("n2", "n1")
    commit["runs"] = []
    del commit["epochs"]
    return commit


def _two_logs(story: Story) -> None:
    """Two leaders' logs part after entry 1; the later one's is committed up to entry 2, which n1 has otherwise."""
    story.lead("n1", "n2")
    story.append("n1", 2)
    story.store("n1")
    story.lead("n2", "n3", term=2)


@refused_by("CommitAgrees")
def two_nodes_disagree(story: Story) -> Event:
    """n1 takes its own entry 2 for committed, because n2's Commit reaches that index."""
    _two_logs(story)
    story.hear("n1", "n2")
    return story._commit("n1", 2, leader_commit=story.person("n2").refs["Commit"])


@refused_by("AckCommitted")
def ack_beyond_the_commit(story: Story) -> Event:
    story.lead("n1", "n2")
    story.append("n1")
    return story.ack("n1", 2, 2)


@refused_by("AckCommitted")
def ack_of_the_epoch_record(story: Story) -> Event:
    story.lead("n1", "n2")
    return story.ack("n1", 1, 1)


@refused_by("AckCommitted")
def ack_above_the_successors_record(story: Story) -> Event:
    """n1, deposed and unaware of it, acknowledges entry 3; n2's record of term 2 is entry 2."""
    _two_logs(story)
    return story.ack("n1", 2, 3)


@refused_by("AckCommitted")
def ack_by_a_follower(story: Story) -> Event:
    story.lead("n1", "n2")
    story.replicate("n1", "n2")
    story.learn("n2", "n1")
    return story.ack("n2", 2, 2)


@refused_by("AckCommitted")
def ack_of_nothing(story: Story) -> Event:
    story.lead("n1", "n2")
    story.replicate("n1", "n2", count=3)
    return story.ack("n1", 3, 2)


# --- clients --------------------------------------------------------------------------------------------------------


def _acknowledged(story: Story) -> Event:
    story.lead("n1", "n2")
    story.replicate("n1", "n2", count=2)
    story.invoke("c1", "w1")
    return story.ack("n1", 2, 2)


@refused_by("PromiseKept")
def ok_outside_the_ack(story: Story) -> Event:
    ack = _acknowledged(story)
    return story.ok("c1", "w1", ack, 3)


@refused_by("PromiseKept")
def ok_without_hearing_of_the_ack(story: Story) -> Event:
    ack = _acknowledged(story)
    ok = story.ok("c1", "w1", ack, 2)
    del ok["after"]
    return ok


@refused_by("PromiseKept")
def ok_by_something_else(story: Story) -> Event:
    ack = _acknowledged(story)
    ok = story.ok("c1", "w1", ack, 2)
    ok["ack"] = story.person("n1").refs["Commit"]
    return ok


@refused_by("PromiseKept")
def ok_in_another_term(story: Story) -> Event:
    ack = _acknowledged(story)
    ok = story.ok("c1", "w1", ack, 2)
    ok["entry_term"] = 2
    return ok


@refused_by("PromiseKept")
def ok_to_no_question(story: Story) -> Event:
    ack = _acknowledged(story)
    return story.ok("c1", "w2", ack, 2)


@refused_by("PromiseKept")
def two_writes_at_one_place(story: Story) -> Event:
    ack = _acknowledged(story)
    story.ok("c1", "w1", ack, 2)
    story.invoke("c1", "w2")
    return story.ok("c1", "w2", ack, 2)


@refused_by("PromiseKept")
def one_name_for_two_writes(story: Story) -> Event:
    _acknowledged(story)
    return story.invoke("c1", "w1")


# --- views ----------------------------------------------------------------------------------------------------------


@refused_by("Frontend")
def activation_before_the_record_is_committed(story: Story) -> Event:
    story.elect("n1", "n2")
    return story.activate("n1")


@refused_by("CommitCited")
def deposed_leader_is_active_by_its_successors_commit(story: Story) -> Event:
    """No majority ever stored the record of term 1 in term 1."""
    story.elect("n1", "n2")
    story.store("n2", "n1")
    story.elect("n2", "n3", term=2)
    story.agree("n2", "n3")
    story.activate("n2")
    return story.learn("n1", "n2", last=1)


@refused_by("Frontend")
def leader_turns_follower(story: Story) -> Event:
    story.lead("n1", "n2")
    story.lose("n1")
    return story.transfer("n1", "FOLLOWER")


@refused_by("Frontend")
def unknown_first(story: Story) -> Event:
    return story.transfer("n1", "UNKNOWN")


@refused_by("Frontend")
def lose_what_one_does_not_have(story: Story) -> Event:
    return story.lose("n1")


@refused_by("SameConfiguration")
def voter_becomes_an_observer(story: Story) -> Event:
    return story.transfer("n1", "OBSERVER")


@refused_by("LeaderAppends")
def write_before_activation(story: Story) -> Event:
    story.lead("n2", "n1")
    story.lose("n2")
    story.elect("n1", "n3")
    return story.append("n1")


@refused_by("LeaderAppends")
def write_along_with_the_epoch_record(story: Story) -> Event:
    story.campaign("n1")
    story.grant("n2", "n1")
    story.win("n1", "n2")
    return story.append("n1", 2)


@refused_by("HappensBefore")
def circle(story: Story) -> None:
    one = story.transfer("n1", "FOLLOWER")
    other = story.transfer("n2", "FOLLOWER")
    one["after"] = [story.ref(other)]
    other["after"] = [story.ref(one)]


@refused_by("HappensBefore")
def event_after_itself(story: Story) -> None:
    one = story.transfer("n1", "FOLLOWER")
    one["after"] = [story.ref(one)]


def _told(case: Case) -> tuple[Story, Event | None]:
    story = Story("n1", "n2", "n3")
    return story, case(story)


@pytest.mark.parametrize(("rule", "case"), CASES, ids=[case.__name__ for _, case in CASES])
def test_wrong_run_is_refused(rule: str, case: Case, tmp_path: Path) -> None:
    story, event = _told(case)
    result = story.judge(tmp_path)
    assert result.verdict is Verdict.VIOLATION, (result.verdict, result.missing)
    assert result.violation is not None
    assert result.violation.rule == rule, result.violation
    if event is None:
        assert result.violation.where is None
    else:
        where = result.violation.where
        assert where is not None
        assert [where.node, where.inc, where.seq] == story.ref(event), (where, result.violation)


@pytest.mark.parametrize("case", [case for _, case in CASES], ids=[case.__name__ for _, case in CASES])
@pytest.mark.parametrize("seed", range(4))
def test_in_any_order(case: Case, seed: int, tmp_path: Path) -> None:
    story, _ = _told(case)
    assert story.judge(tmp_path, random.Random(seed).randrange).verdict is Verdict.VIOLATION, seed


# --- guards that the others imply -----------------------------------------------------------------------------------
#
# With all others in force no trace can break these two: that is what spec/ proves. So one of the others is taken away.


def _winner_with_a_short_log(story: Story) -> Event:
    """n3 wins with an empty log by the vote of n2, who has what is committed."""
    story.lead("n1", "n2")
    story.campaign("n3", term=2)
    story.grant("n2", "n3")
    return story.win("n3", "n2")


def test_leader_completeness_at_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trace_check.elections.Elections._up_to_date", lambda *_: None)
    story = Story("n1", "n2", "n3")
    win = _winner_with_a_short_log(story)
    violation = story.judge(tmp_path).violation
    assert violation is not None
    assert violation.where is not None
    assert (violation.rule, violation.where.seq) == ("LeaderCompleteness", win["seq"])


def test_leader_completeness_when_the_commit_comes_to_light_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trace_check.elections.Elections._up_to_date", lambda *_: None)
    story = Story("n1", "n2", "n3")
    story.elect("n1", "n2")
    story.store("n1")
    store = story.store("n2", "n1")
    story.campaign("n3", term=2)
    story.grant("n2", "n3")
    win = story.win("n3", "n2")
    # n1's Commit is made to come after the Win, by a message from n3 that changes nothing else.
    story.person("n1").after = {"n2": story.ref(store), "n3": story.ref(win)}
    own = story.person("n1").refs["Store"]
    commit = story._commit("n1", 1, stores=[own, story.ref(store)])
    violation = story.judge(tmp_path).violation
    assert violation is not None
    assert violation.where is not None
    assert (violation.rule, violation.where.seq) == ("LeaderCompleteness", commit["seq"])


def test_two_leaders_commit_different_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for implied in ("elections.Elections._up_to_date", "elections.Elections._complete", "logs.Logs._known_to_later"):
        monkeypatch.setattr(f"trace_check.{implied}", lambda *_: None)
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.campaign("n3", term=2)
    story.grant("n2", "n3")
    story.win("n3", "n2")
    story.append("n3")
    story.store("n3")
    story.store("n2", "n3")
    story.epochs[2] = 1
    commit = story.commit("n3", "n3", "n2")
    story.files["n3", "1-00000001"][3]["epoch"] = 1
    violation = story.judge(tmp_path).violation
    assert violation is not None
    assert violation.where is not None
    assert (violation.rule, violation.where.seq) == ("CommitAgrees", commit["seq"])


def test_acknowledged_write_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trace_check.logs.Logs.ack", lambda *_: None)
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.append("n1")
    story.invoke("c1", "w1")
    story.ok("c1", "w1", story.ack("n1", 2, 2), 2)
    result = story.judge(tmp_path)
    assert result.violation is not None
    assert result.violation.rule == "PromiseKept"
    assert result.counts.writes_lost == 1


def test_views_refuse_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Activation before the epoch record is committed has no edge in Fencing either."""
    monkeypatch.setattr("trace_check.nodes.Cluster.frontend", lambda *_: None)
    story = Story("n1", "n2", "n3")
    story.elect("n1", "n2")
    activate = story.activate("n1")
    violation = story.judge(tmp_path).violation
    assert violation is not None
    assert violation.where is not None
    assert violation.step is not None
    assert (violation.rule, violation.where.seq) == ("Fencing", activate["seq"])
    assert violation.step.action in ("Activate(lo)", "Activate(hi)")
