"""Traces with images: what nodes give up, take over and start from, and groups that were founded from another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

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
    """n1 is LEADER of a group of three; five entries are committed, of which n3 has none."""
    story = Story("n1", "n2", "n3")
    story.lead("n1", "n2")
    story.replicate("n1", "n2", count=4)
    return story


def conflict(story: Story) -> None:
    """n3 has an entry of its own, of term 2, in place of what n1 commits in term 3; it has heard nothing of that."""
    story.store("n3", "n1", last=5)
    story.lose("n1")
    story.exit("n1")
    story.elect("n3", "n2", term=2)
    story.store("n3")
    story.lose("n3")
    story.start("n1")
    story.lead("n1", "n2", term=3)
    story.replicate("n1", "n2", count=2)


# --- right ----------------------------------------------------------------------------------------------------------


@right
def image_of_less_than_is_committed_then_of_all(story: Story) -> None:
    story.image("n1", last=3)
    story.image("n1")
    story.image("n1")


@right
def follower_makes_one_and_starts_from_it(story: Story) -> None:
    story.learn("n2", "n1")
    story.image("n2", last=4)
    story.start("n2")
    story.replicate("n1", "n2")
    story.learn("n2", "n1")


@right
def laggard_takes_one_and_goes_on(story: Story) -> None:
    story.image("n1", last=4)
    story.install("n3", "n1")
    story.store("n3", "n1")
    story.learn("n3", "n1")
    story.replicate("n1", "n3")
    story.exit("n1")
    story.elect("n3", "n2", term=2)


@right
def laggard_stores_exactly_the_image(story: Story) -> None:
    story.image("n1", last=3)
    story.install("n3", "n1")
    story.tell("n3", "Store", last=3, last_term=1, digest=digest([1, 1, 1]))


@right
def image_was_installed_but_not_traced(story: Story) -> None:
    story.image("n1")
    story.hear("n3", "n1")
    story._takes_over(story.person("n3"), story.person("n1"))
    story.start("n3")
    story.replicate("n1", "n3")
    story.learn("n3", "n1")


@right
def image_was_written_but_not_traced(story: Story) -> None:
    story.learn("n2", "n1")
    story.person("n2").image = 4
    story.start("n2")
    story.image("n2")


@right
def install_over_a_log_that_differs(story: Story) -> None:
    conflict(story)
    story.image("n1")
    story.install("n3", "n1")
    story.exit("n3")
    story.start("n3")
    story.replicate("n1", "n3")


@right
def install_over_a_log_that_differs_was_not_traced(story: Story) -> None:
    conflict(story)
    story.image("n1")
    story.hear("n3", "n1")
    story._takes_over(story.person("n3"), story.person("n1"))
    story.start("n3")
    story.campaign("n3")


@right
def install_keeps_what_follows(story: Story) -> None:
    conflict(story)
    story.image("n1", last=4)
    story.install("n3", "n1")
    # The entry of term 2 is still at its end.
    assert story.campaign("n3", term=4)["last_term"] == 2


def deposed(story: Story) -> None:
    """n2 led term 2, appended its epoch record and did not store it; n3, in term 3, has an image up to there."""
    story.store("n3", "n1")
    story.exit("n1")
    story.start("n1")
    story.elect("n2", "n1", "n3", term=2)
    story.store("n1", "n2")
    story.store("n3", "n2")
    story.commit("n2", "n1", "n3")
    story.lose("n2")
    story.elect("n3", "n1", term=3)
    story.agree("n3", "n1")
    story.image("n3", last=6)
    story.install("n2", "n3")


@right
def who_was_deposed_installs_what_it_had_not_stored(story: Story) -> None:
    deposed(story)
    assert story.campaign("n2", term=4)["last_term"] == 2


def deposed_with_an_image(story: Story) -> None:
    """n2, in term 2, committed its epoch record by the Stores of others, and has an image of it: so that is durable."""
    story.store("n3", "n1")
    story.exit("n1")
    story.start("n1")
    story.elect("n2", "n1", "n3", term=2)
    story.store("n1", "n2")
    story.store("n3", "n2")
    story.commit("n2", "n1", "n3")
    story.image("n2")
    story.lose("n2")


@right
def who_was_deposed_keeps_what_it_has_an_image_of(story: Story) -> None:
    deposed_with_an_image(story)
    assert story.campaign("n2", term=3)["last"] == 6


@right
def leader_shows_its_image_at_the_start(story: Story) -> None:
    story.image("n1")
    story.exit("n1")
    story.start("n1")
    story.elect("n1", "n2", term=2)
    story.install("n3", "n1")
    story.agree("n1", "n3")


@right
def leader_passes_on_what_it_was_sent(story: Story) -> None:
    story.image("n1")
    story.install("n3", "n1")
    story.exit("n1")
    story.elect("n3", "n2", term=2)
    story.start("n1")
    # n1 has that image already: taking it again is pointless, and does no harm.
    story.install("n1", "n3")
    story.learn("n2", "n3", last=5)


@right
def leader_knows_no_more_than_its_image(story: Story) -> None:
    story.image("n1")
    story.exit("n1")
    story.start("n1")
    story.elect("n1", "n3", term=2)
    story.learn("n2", "n1", last=5)


@right
def image_of_the_leaders_own_run_in_the_middle_of_an_append(story: Story) -> None:
    story.image("n1", last=3)
    story.install("n3", "n1")
    story.start("n3")
    story.replicate("n1", "n3")


@right
def configuration_lies_within_the_image(story: Story) -> None:
    story.start("n4")
    story.change("n1", "n4", "learner")
    story.agree("n1", "n2")
    story.image("n1")
    story.install("n4", "n1")
    story.start("n4")
    story.store("n4", "n1")
    story.change("n1", "n4", "voter", "n4")
    story.agree("n1", "n2", "n4")
    story.exit("n1")
    story.campaign("n4", term=2)


@right
def removed_node_takes_what_precedes_its_removal(story: Story) -> None:
    story.image("n1", last=4)
    story.change("n1", "n3", "none", "n1", "n2")
    story.agree("n1", "n2")
    story.install("n3", "n1")


@right
def older_entry_is_acknowledged_to_who_tries_again(story: Story) -> None:
    story.invoke("c1", "a", idempotency="k")
    story.replicate("n1", "n2")
    story.exit("n1")
    story.tell("c1", "Unknown", op="a", error="no answer")
    story.lead("n2", "n3", term=2)
    story.replicate("n2", "n3")
    story.invoke("c1", "b")
    story.ok("c1", "b", story.ack("n2", 8, 8), 8)
    story.invoke("c1", "c", idempotency="k")
    # It is older than what the client has been shown since, and is the write that began before that.
    story.ok("c1", "c", story.ack("n2", 6, 6, entry_term=1), 6)
    story.invoke("c1", "d", idempotency="k")
    story.ok("c1", "d", story.ack("n2", 6, 6, entry_term=1), 6)


@right
def entry_term_of_its_own_term(story: Story) -> None:
    story.invoke("c1", "a")
    story.replicate("n1", "n2")
    story.ok("c1", "a", story.ack("n1", 6, 6, entry_term=1), 6)


@right
def observer_is_promoted_and_campaigns_after_a_transfer(story: Story) -> None:
    story.start("n4")
    story.transfer("n4", "OBSERVER")
    story.change("n1", "n4", "observer")
    story.agree("n1", "n2")
    story.store("n4", "n1")
    story.transfer("n4", "UNKNOWN")
    story.transfer("n4", "OBSERVER")


@right
def who_is_removed_and_added_again_is_an_observer_before_its_store(story: Story) -> None:
    story.store("n3", "n1")
    story.change("n1", "n3", "none", "n1", "n2")
    story.agree("n1", "n2")
    story.change("n1", "n3", "observer")
    story.hear("n3", "n1")
    story.transfer("n3", "OBSERVER")
    story.store("n3", "n1")


def founded() -> Story:
    """n1, n2 and n3 are set up from a state of seven entries."""
    story = Story("n1", "n2", "n3", start=False)
    story.found(7, 4, 3)
    for name in ("n1", "n2", "n3"):
        story.start(name)
    return story


@right
def who_joins_a_founded_group_is_an_observer_before_it_has_anything(story: Story) -> None:
    story.__dict__ = founded().__dict__
    story.start("n4")
    story.lead("n1", "n2", term=5)
    story.change("n1", "n4", "observer")
    story.hear("n4", "n1")
    story.person("n4").enter(5)
    story.transfer("n4", "OBSERVER")


@right
def founded_group_goes_on(story: Story) -> None:
    story.__dict__ = founded().__dict__
    story.start("n3")
    story.lead("n1", "n2", term=5)
    assert story.epochs[5] == 4
    story.replicate("n1", "n2")
    story.start("n2")
    story.store("n3", "n1")
    story.change("n1", "n4", "learner")
    story.agree("n1", "n3")
    story.start("n4")
    story.install("n4", "n1")
    story.store("n4", "n1")
    story.learn("n4", "n1")
    story.start("n4")
    story.exit("n1")
    story.elect("n3", "n2", term=6)


@right
def founders_need_not_show_their_members(story: Story) -> None:
    story.__dict__ = founded().__dict__
    for name in ("n1", "n2", "n3"):
        del _start_of(story, name)["members"]
    story.lead("n1", "n2", term=5)


@pytest.mark.parametrize("tale", RIGHT, ids=lambda tale: tale.__name__)
@pytest.mark.parametrize("order", [None, 1, 2])
def test_right_run_is_accepted(tale: Tale, order: int | None, tmp_path: Path) -> None:
    story = begin()
    tale(story)
    result = _judge(story, tmp_path, order)
    assert result.verdict is Verdict.HOLDS, (result.violation, result.missing)


# --- wrong ----------------------------------------------------------------------------------------------------------


def two_terms(story: Story) -> None:
    """Entries 1 to 5 are of term 1, and 6 and 7 of term 2."""
    story.lose("n1")
    story.exit("n1")
    story.start("n1")
    story.lead("n2", "n1", term=2)
    story.replicate("n2", "n1")


def image_of_no_log(story: Story) -> Event:
    """Entry 5, as if it were of term 2."""
    two_terms(story)
    event = story.image("n2", last=5)
    return event | {"last_term": 2, "digest": "deadbeefdeadbeef"}


@refused_by("ImageCommitted")
def image_of_an_entry_as_of_another_term(story: Story) -> Event:
    event = image_of_no_log(story)
    story.files["n2", event["inc"]][-1] = event
    return event


@refused_by("ImageCommitted")
def start_from_an_image_of_an_entry_as_of_another_term(story: Story) -> Event:
    two_terms(story)
    story.image("n2", last=5)
    event = story.start("n2")
    event["image"] = [5, 2, "deadbeefdeadbeef"]
    return event


@refused_by("ImageCommitted")
def image_of_what_a_vote_has_shown_given_up(story: Story) -> Event:
    """n1 had committed by the Stores of others what it had not stored itself."""
    story.append("n1")
    story.store("n2", "n1")
    story.store("n3", "n1")
    story.commit("n1", "n2", "n3")
    story.lose("n1")
    n1 = story.person("n1")
    log, n1.log = list(n1.log), n1.log[:5]
    story.campaign("n2")
    story.grant("n1", "n2")
    return story.tell("n1", "Image", last=6, last_term=1, digest=digest(log))


@refused_by("InstallCited")
def who_led_the_term_installs_its_own(story: Story) -> Event:
    shown = story.image("n1")
    story.lose("n1")
    own = {field: shown[field] for field in ("last", "last_term", "digest")}
    return story.tell("n1", "Install", **own, image=story.ref(shown))


def outvoted() -> Story:
    """n3, in term 1, knows its entry 2 committed by term 3's leader, and term 2's leader has another one there."""
    story = Story("n1", "n2", "n3", "n4", "n5")
    story.lead("n2", "n1", "n4")
    story.append("n2")
    story.store("n2")
    story.store("n3", "n2")
    story.start("n2")
    story.elect("n1", "n4", "n5", term=2)
    story.lead("n2", "n4", "n5", term=3)
    story.learn("n3", "n2", last=2)
    return story


@refused_by("CommitAgrees")
def image_is_given_up_for_the_log_of_an_older_leader(story: Story) -> Event:
    story.__dict__ = outvoted().__dict__
    story.image("n3")
    return story.store("n3", "n1")


@refused_by("CommitAgrees")
def entry_known_committed_is_given_up_over_a_restart(story: Story) -> Event:
    story.__dict__ = outvoted().__dict__
    n3 = story.person("n3")
    n3.term, n3.log = 2, story.person("n1").log[:]
    return story.start("n3")


@refused_by("ImageCommitted")
def image_of_what_is_not_committed(story: Story) -> Event:
    story.append("n1")
    story.store("n1")
    return story.image("n1", last=6)


@refused_by("ImageCommitted")
def image_of_what_others_have_committed(story: Story) -> Event:
    return story.image("n2", last=5)


@refused_by("ImageCommitted")
def image_of_less(story: Story) -> Event:
    story.image("n1")
    return story.image("n1", last=4)


@refused_by("ImageCommitted")
def image_of_another_log(story: Story) -> Event:
    conflict(story)
    story.person("n3").image = 0
    return story.tell("n1", "Image", last=6, last_term=2, digest=digest([1, 1, 1, 1, 1, 2]))


@refused_by("SameDigest")
def image_of_other_entries(story: Story) -> Event:
    event = story.image("n1")
    event["digest"] = "f" * 16
    return event


@refused_by("ImageCommitted")
def start_from_an_image_of_what_is_not_committed(story: Story) -> Event:
    story.append("n1")
    story.store("n2", "n1")
    story.exit("n1")
    story.person("n2").image = 6
    event = story.start("n2")
    for name in ("n1", "n3"):
        story.start(name)
        story.exit(name)
    return event


@refused_by("ImageCommitted")
def start_from_an_image_of_a_log_that_was_replaced(story: Story) -> Event:
    conflict(story)
    story.person("n3").image = 6
    return story.start("n3")


@refused_by("NothingForgotten")
def start_without_the_image(story: Story) -> Event:
    story.image("n1")
    story.person("n1").image = 0
    return story.start("n1")


@refused_by("NothingForgotten")
def start_without_what_was_installed(story: Story) -> Event:
    story.image("n1")
    story.install("n3", "n1")
    person = story.person("n3")
    person.image, person.durable = 0, 0
    return story.start("n3")


@refused_by("SameDigest")
def start_from_an_image_of_other_entries(story: Story) -> Event:
    story.image("n1")
    story.start("n1")
    event = story.files["n1", "2-00000002"][0]
    event["image"][2] = "f" * 16
    return event


@refused_by("InstallCited")
def install_of_what_another_than_the_leader_showed(story: Story) -> Event:
    story.learn("n2", "n1")
    story.image("n2")
    story.hear("n3", "n1")
    return story.install("n3", "n2")


@refused_by("InstallCited")
def install_of_an_image_not_heard_of(story: Story) -> Event:
    story.hear("n3", "n1")
    story.tell("n3", "Transfer", to="FOLLOWER", term=1)
    story.image("n1")
    event = story.install("n3", "n1")
    del event["after"]
    return event


@refused_by("InstallCited")
def install_of_more_than_was_shown(story: Story) -> Event:
    story.image("n1", last=4)
    event = story.install("n3", "n1")
    event |= {"last": 5, "digest": digest([1] * 5)}
    return event


@refused_by("InstallCited")
def install_of_other_entries(story: Story) -> Event:
    story.image("n1")
    event = story.install("n3", "n1")
    event["digest"] = "f" * 16
    return event


@refused_by("InstallCited")
def install_before_hearing_of_the_leader(story: Story) -> Event:
    """n3 has heard of n2's image and candidacy; that n2 has won it has not heard, though n1 had, of whom it has."""
    story.learn("n2", "n1")
    story.image("n2")
    story.lose("n1")
    story.elect("n2", "n1", term=2)
    event = story.install("n3", "n2")
    event["after"] = [story.person("n2").refs["Campaign"], story.ref(story.store("n1", "n2"))]
    return event


@refused_by("InstallCited")
def install_in_a_later_term(story: Story) -> Event:
    story.image("n1")
    event = story.install("n3", "n1")
    event["term"] = 2
    return event


@refused_by("InstallCited")
def install_by_the_leader_itself(story: Story) -> Event:
    story.image("n1")
    return story.install("n1", "n1")


@refused_by("InstallCited")
def install_cites_an_earlier_incarnation(story: Story) -> Event:
    image = story.image("n1")
    story.exit("n1")
    story.start("n1")
    story.elect("n1", "n2", term=2)
    event = story.install("n3", "n1")
    event["image"] = story.ref(image)
    return event


@refused_by("ImageCommitted")
def install_of_less_than_the_node_has_an_image_of(story: Story) -> Event:
    story.image("n1", last=3)
    story.install("n2", "n1")
    story.learn("n2", "n1")
    story.image("n2")
    event = story.install("n3", "n1")
    del story.files["n3", "1-00000001"][-1]
    return story.tell("n2", "Install", **{k: event[k] for k in ("last", "last_term", "digest", "image")})


@refused_by("GroupGoesOn")
def install_of_its_own_removal(story: Story) -> Event:
    story.change("n1", "n3", "none", "n1", "n2")
    story.agree("n1", "n2")
    story.image("n1")
    return story.install("n3", "n1")


@refused_by("TruePosition")
def install_and_campaign_with_the_log_before_it(story: Story) -> Event:
    conflict(story)
    story.image("n1")
    story.install("n3", "n1")
    event = story.campaign("n3")
    event |= {"last": 6, "last_term": 2}
    return event


@refused_by("TruePosition")
def who_was_deposed_installs_and_gives_up_more(story: Story) -> Event:
    deposed(story)
    event = story.campaign("n2", term=4)
    event |= {"last": 5, "last_term": 1}
    return event


@refused_by("TruePosition")
def who_was_deposed_gives_up_what_it_has_an_image_of(story: Story) -> Event:
    deposed_with_an_image(story)
    event = story.campaign("n2", term=3)
    event |= {"last": 5, "last_term": 1}
    return event


@refused_by("TruePosition")
def install_and_campaign_without_it(story: Story) -> Event:
    story.image("n1")
    story.install("n3", "n1")
    event = story.campaign("n3")
    event |= {"last": 0, "last_term": 0}
    return event


@refused_by("UpToDate")
def vote_for_who_lacks_the_image(story: Story) -> Event:
    story.__dict__ = Story("n1", "n2", "n3", "n4", "n5").__dict__
    story.lead("n1", "n2", "n3")
    story.image("n1")
    story.install("n4", "n1")
    story.campaign("n5", term=2)
    return story.grant("n4", "n5")


@refused_by("CommitContiguous")
def commit_of_what_lies_within_the_image(story: Story) -> Event:
    story.image("n1", last=4)
    story.install("n3", "n1")
    story.store("n3", "n1")
    event = story.learn("n3", "n1")
    event["runs"] = [[1, 5, 1]]
    event["epochs"] = [[1, 1]]
    return event


@refused_by("CommitCited")
def commit_by_a_start_that_reaches_less_far(story: Story) -> Event:
    story.image("n1", last=4)
    story.exit("n1")
    story.start("n1")
    story.person("n1").committed = 5
    return story.learn("n2", "n1")


@refused_by("AckCommitted")
def ack_of_an_older_entry_that_is_not_committed(story: Story) -> Event:
    story.append("n1")
    story.exit("n1")
    story.lead("n2", "n3", term=2)
    return story.ack("n2", 6, 6, entry_term=1)


@refused_by("AckCommitted")
def ack_of_an_older_entry_of_another_term(story: Story) -> Event:
    story.exit("n1")
    story.lead("n2", "n3", term=2)
    story.replicate("n2", "n3")
    return story.ack("n2", 7, 7, entry_term=1)


@refused_by("AckCommitted")
def ack_of_an_older_epoch_record(story: Story) -> Event:
    story.exit("n1")
    story.lead("n2", "n3", term=2)
    return story.ack("n2", 1, 1, entry_term=1)


@refused_by("AckCommitted")
def ack_of_an_older_entry_by_who_does_not_lead(story: Story) -> Event:
    story.exit("n1")
    story.lead("n2", "n3", term=2)
    story.store("n3", "n2")
    story.learn("n3", "n2")
    return story.ack("n3", 5, 5, entry_term=1)


@refused_by("AckCommitted")
def ack_of_an_entry_of_a_later_term(story: Story) -> Event:
    return story.ack("n1", 5, 5, entry_term=2)


@refused_by("PromiseKept")
def ok_of_another_term_than_the_ack(story: Story) -> Event:
    story.invoke("c1", "a")
    story.exit("n1")
    story.lead("n2", "n3", term=2)
    event = story.ok("c1", "a", story.ack("n2", 5, 5, entry_term=1), 5)
    event["entry_term"] = 2
    return event


def _twice(story: Story, first: dict[str, Any], second: dict[str, Any], client: str = "c1") -> Event:
    story.invoke("c1", "a", **first)
    ack = story.ack("n1", 5, 5)
    story.ok("c1", "a", ack, 5)
    story.invoke(client, "b", **second)
    return story.ok(client, "b", ack, 5)


@refused_by("PromiseKept")
def two_writes_at_one_place(story: Story) -> Event:
    return _twice(story, {"idempotency": "k"}, {"idempotency": "l"})


@refused_by("PromiseKept")
def second_write_at_one_place_is_none_that_is_tried_again(story: Story) -> Event:
    return _twice(story, {"idempotency": "k"}, {}, "c2")


@refused_by("PromiseKept")
def first_write_at_one_place_is_none_that_is_tried_again(story: Story) -> Event:
    return _twice(story, {}, {"idempotency": "k"}, "c2")


@refused_by("PromiseKept")
def another_client_calls_its_write_the_same(story: Story) -> Event:
    return _twice(story, {"idempotency": "k"}, {"idempotency": "k"}, "c2")


@refused_by("SessionOrder")
def write_tried_first_after_what_it_precedes(story: Story) -> Event:
    story.invoke("c1", "a")
    story.ok("c1", "a", story.ack("n1", 5, 5), 5)
    story.invoke("c1", "b", idempotency="k")
    return story.ok("c1", "b", story.ack("n1", 3, 3), 3)


@refused_by("SameConfiguration")
def promoted_node_becomes_an_observer(story: Story) -> Event:
    story.start("n4")
    story.change("n1", "n4", "learner")
    story.agree("n1", "n2")
    story.store("n4", "n1")
    story.change("n1", "n4", "voter", "n4")
    story.store("n4", "n1")
    return story.transfer("n4", "OBSERVER")


@refused_by("Frontend")
def observer_is_promoted_and_stands_for_election(story: Story) -> Event:
    story.start("n4")
    story.change("n1", "n4", "learner")
    story.agree("n1", "n2")
    story.store("n4", "n1")
    story.transfer("n4", "OBSERVER")
    story.change("n1", "n4", "voter", "n4")
    story.store("n4", "n1")
    return story.campaign("n4")


def _start_of(story: Story, name: str, at: int = 0) -> Event:
    return [lines[0] for (node, _), lines in story.files.items() if node == name][at]


@refused_by("SameFounding")
def founders_show_different_states(story: Story) -> Event:
    story.__dict__ = founded().__dict__
    event = _start_of(story, "n2")
    event["founded"][3] = 9
    return event


@refused_by("SameFounding")
def one_founder_shows_nothing(story: Story) -> None:
    story.__dict__ = founded().__dict__
    event = _start_of(story, "n3")
    del event["founded"], event["image"]
    event |= {"last": 0, "last_term": 0, "digest": "0" * 16, "term": 0}


@refused_by("SameFounding")
def founder_shows_nothing_at_its_second_start(story: Story) -> Event:
    story.__dict__ = founded().__dict__
    event = story.start("n3")
    del event["founded"]
    return event


@refused_by("SameFounding")
def founder_without_an_image(story: Story) -> Event:
    story.__dict__ = founded().__dict__
    event = _start_of(story, "n1")
    del event["image"]
    return event


@refused_by("SameFounding")
def founder_whose_log_begins_without_its_image(story: Story) -> Event:
    story.__dict__ = founded().__dict__
    event = _start_of(story, "n2")
    event |= {"last": 0, "last_term": 0, "digest": "0" * 16, "term": 0}
    return event


@refused_by("SameFounding")
def founder_with_other_contents(story: Story) -> Event:
    story.__dict__ = founded().__dict__
    event = _start_of(story, "n2")
    event["image"] = [*event["image"][:2], "f" * 16]
    return event


@refused_by("SameFounding")
def later_member_founds(story: Story) -> Event:
    event = story.start("n4")
    event |= {"founded": [5, 1, digest([1] * 5), 1]}
    return event


@refused_by("SameFounding")
def founders_have_different_members(story: Story) -> Event:
    story.__dict__ = founded().__dict__
    event = _start_of(story, "n2")
    event["members"] = [*event["members"], ["n9", "observer", "n9:1"]]
    return event


@refused_by("SameFounding")
def vote_for_oneself_in_a_term_of_the_old_group(story: Story) -> Event:
    story.__dict__ = founded().__dict__
    story.person("n1").vote = "n1"
    return story.start("n1")


@refused_by("TermMonotonic")
def who_has_installed_stands_in_the_term_of_its_leader(story: Story) -> Event:
    """The image is part of what n3 had stored in an earlier term."""
    story.store("n3", "n1")
    story.image("n1")
    story.start("n1")
    story.lead("n1", "n2", term=2)
    story.install("n3", "n1")
    return story.campaign("n3", term=2)


@refused_by("SameFounding")
def campaign_in_a_term_of_the_old_group(story: Story) -> Event:
    story.__dict__ = founded().__dict__
    return story.campaign("n1", term=4)


@refused_by("EpochConsecutive")
def epochs_begin_anew(story: Story) -> Event:
    story.__dict__ = founded().__dict__
    story.epochs[4] = 0
    story.campaign("n1", term=5)
    story.grant("n2", "n1")
    story.win("n1", "n2")
    return story.append("n1")


@refused_by("SameFounding")
def joiner_has_a_log_without_the_state(story: Story) -> Event:
    story.__dict__ = founded().__dict__
    story.lead("n1", "n2", term=5)
    story.change("n1", "n4", "learner")
    story.agree("n1", "n2")
    story.start("n4")
    return story.store("n4", "n1")


@refused_by("SameFounding")
def joiner_starts_with_a_log_without_the_state(story: Story) -> Event:
    story.__dict__ = founded().__dict__
    story.lead("n1", "n2", term=5)
    story.start("n4")
    person, leader = story.person("n4"), story.person("n1")
    person.term, person.log, person.durable = 5, leader.log[:], len(leader.log)
    return story.start("n4")


@refused_by("CommitContiguous")
def founded_state_is_committed_by_somebody(story: Story) -> Event:
    story.__dict__ = founded().__dict__
    story.lead("n1", "n2", term=5)
    story.store("n3", "n1")
    event = story.learn("n3", "n1")
    event["runs"] = [[1, 7, 4], [8, 8, 5]]
    return event


@refused_by("AckCommitted")
def founded_entry_is_acknowledged(story: Story) -> Event:
    story.__dict__ = founded().__dict__
    story.lead("n1", "n2", term=5)
    return story.ack("n1", 7, 7, entry_term=4)


@pytest.mark.parametrize(("guard", "tale"), WRONG, ids=[tale.__name__ for _, tale in WRONG])
def test_wrong_run_is_refused(guard: str, tale: Tale, tmp_path: Path) -> None:
    story = begin()
    event = tale(story)
    result = _judge(story, tmp_path, None)
    assert result.verdict is Verdict.VIOLATION, (result.verdict, result.missing)
    violation = result.violation
    assert violation is not None
    assert violation.rule == guard, violation
    if event is not None:
        assert violation.where is not None
        assert (violation.where.node, violation.where.seq) == (event["node"], event["seq"]), violation


def _judge(story: Story, directory: Path, order: int | None) -> Result:
    return story.judge(directory, None if order is None else Random(order).randrange)

REASONS: list[tuple[Tale, str]] = [
    (image_of_an_entry_as_of_another_term, "an image of what n2 knows committed, which ends at 7 of term 2"),
    (image_of_what_a_vote_has_shown_given_up, "an image of n1's own log, which ends at 5 of term 1"),
    (image_of_less, "an image of 5 entries or more, as n1 has already"),
    (install_of_an_image_not_heard_of, "a Start or Image or Install that n3 has heard of"),
]


@pytest.mark.parametrize(("tale", "expected"), REASONS, ids=[tale.__name__ for tale, _ in REASONS])
def test_the_expectation_that_is_not_met_is_named(tale: Tale, expected: str, tmp_path: Path) -> None:
    story = begin()
    tale(story)
    violation = _judge(story, tmp_path, None).violation
    assert violation is not None
    assert violation.expected == expected
