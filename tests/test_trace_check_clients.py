"""Reads, and what clients are shown: what must be refused, by which guard, and what is odd and right."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from handmade import Event, Story
from hypothesis import given

from trace_check import BadInput, Verdict
from trace_check.history import Moments, Places, Versions
from trace_check.report import as_text
from trace_check.verdict import Refused

Case = Callable[[Story], Event | None]
WRONG: list[tuple[str, Case]] = []
RIGHT: list[Callable[[Story], None]] = []


def refused_by(rule: str) -> Callable[[Case], Case]:
    def register(case: Case) -> Case:
        WRONG.append((rule, case))
        return case

    return register


def accepted(case: Callable[[Story], None]) -> Callable[[Story], None]:
    RIGHT.append(case)
    return case


def leading(story: Story) -> None:
    """n1 is LEADER of term 1, with one write in its log."""
    story.lead("n1", "n2")
    story.replicate("n1", "n2")


def overtaken(story: Story) -> None:
    """n1 takes itself for the LEADER still, while n3 leads term 2 and client c2 has a promise from it, index 4."""
    leading(story)
    story.store("n3", "n1")
    story.lead("n3", "n2", term=2)
    assert story.write("c2", "n3", "n2") == 4


# --- how reads are served -------------------------------------------------------------------------------------------


@refused_by("ReadIndex")
def read_by_who_does_not_lead(story: Story) -> Event:
    leading(story)
    story.learn("n2", "n1")
    return story.read_start("n2")


@refused_by("ReadIndex")
def read_by_a_leader_that_is_not_active(story: Story) -> Event:
    story.elect("n1", "n2")
    story.agree("n1", "n2")
    return story.read_start("n1")


@refused_by("ReadIndex")
def read_of_less_than_is_committed(story: Story) -> Event:
    leading(story)
    start = story.read_start("n1")
    start["index"] = 1
    return start


@refused_by("ReadIndex")
def read_of_what_is_not_committed(story: Story) -> Event:
    leading(story)
    serve = story.serve("n1", "n2")
    serve["index"] = 3
    return serve


@refused_by("ReadIndex")
def read_of_less_than_it_started_with(story: Story) -> Event:
    leading(story)
    serve = story.serve("n1", "n2")
    serve["index"] = 1
    return serve


@refused_by("ReadConfirmed")
def deposed_leader_answers_by_itself(story: Story) -> Event:
    overtaken(story)
    return story.serve("n1")


@refused_by("TermMonotonic")
def confirmation_by_who_has_moved_on(story: Story) -> Event:
    overtaken(story)
    start = story.read_start("n1")
    confirm = story.confirm("n2", start)
    story.read_serve("n1", start, confirm)
    return confirm


@refused_by("ConfirmHeard")
def confirmation_in_the_later_term(story: Story) -> Event:
    overtaken(story)
    start = story.read_start("n1")
    story.hear("n2", "n1")
    return story.tell("n2", "Confirm", term=2, start=story.ref(start))


@refused_by("ConfirmHeard")
def confirmation_of_what_was_not_heard(story: Story) -> Event:
    leading(story)
    confirm = story.confirm("n2", story.read_start("n1"))
    del confirm["after"]
    return confirm


@refused_by("ConfirmHeard")
def confirmation_of_something_else(story: Story) -> Event:
    leading(story)
    confirm = story.confirm("n2", story.read_start("n1"))
    confirm["start"] = story.person("n1").refs["Commit"]
    return confirm


@refused_by("ReadConfirmed")
def served_with_the_confirmation_of_an_earlier_round(story: Story) -> Event:
    leading(story)
    first = story.read_start("n1")
    confirm = story.confirm("n2", first)
    story.read_serve("n1", first, confirm)
    return story.read_serve("n1", story.read_start("n1"), confirm)


@refused_by("ReadConfirmed")
def served_twice(story: Story) -> Event:
    leading(story)
    start = story.read_start("n1")
    confirm = story.confirm("n2", start)
    story.read_serve("n1", start, confirm)
    return story.read_serve("n1", start, confirm)


@refused_by("ReadConfirmed")
def one_confirmation_counted_twice(story: Story) -> Event:
    story.lead("n1", "n2", "n3")
    start = story.read_start("n1")
    confirm = story.confirm("n2", start)
    return story.read_serve("n1", start, confirm, confirm)


@refused_by("ReadConfirmed")
def confirmation_that_was_not_heard(story: Story) -> Event:
    leading(story)
    serve = story.serve("n1", "n2")
    del serve["after"]
    return serve


@refused_by("ReadConfirmed")
def another_nodes_read_is_served(story: Story) -> Event:
    leading(story)
    start = story.read_start("n1")
    story.lose("n1")
    story.exit("n1", 3)
    story.lead("n2", "n3")
    story.hear("n2", "n1")
    return story.read_serve("n2", start)


@refused_by("SameConfiguration")
def confirmation_of_an_observer_counted(story: Story) -> Event:
    leading(story)
    story.start("o1")
    return story.serve("n1", "o1")


# --- what a client is told ------------------------------------------------------------------------------------------


@refused_by("PromiseKept")
def read_that_cites_an_ack(story: Story) -> Event:
    leading(story)
    story.invoke_read("c1", "r1")
    return story.ok("c1", "r1", story.ack("n1", 2, 2), 2)


@refused_by("PromiseKept")
def write_that_cites_a_read(story: Story) -> Event:
    leading(story)
    story.invoke("c1", "w1")
    return story.saw("c1", "w1", story.serve("n1", "n2"))


@refused_by("PromiseKept")
def read_of_another_index_than_was_served(story: Story) -> Event:
    leading(story)
    story.invoke_read("c1", "r1")
    return story.saw("c1", "r1", story.serve("n1", "n2"), index=1)


@refused_by("PromiseKept")
def read_without_hearing_of_the_serve(story: Story) -> Event:
    leading(story)
    story.invoke_read("c1", "r1")
    ok = story.saw("c1", "r1", story.serve("n1", "n2"))
    del ok["after"]
    return ok


@refused_by("PromiseKept")
def read_is_answered_from_a_round_that_was_known_before(story: Story) -> Event:
    leading(story)
    serve = story.serve("n1", "n2")
    story.invoke_read("c1", "r1")
    story.saw("c1", "r1", serve)
    story.invoke_read("c1", "r2")
    return story.saw("c1", "r2", serve)


@refused_by("PromiseKept")
def stale_read_by_who_had_heard_of_a_later_promise(story: Story) -> Event:
    leading(story)
    story.store("n3", "n1")
    start = story.read_start("n1")
    old = story.read_serve("n1", start, story.confirm("n2", start))
    story.lead("n3", "n2", term=2)
    story.write("c2", "n3", "n2")
    story.open("c1")
    story.hear("c1", "n1", "n3")
    story.invoke_read("c1", "r1")
    return story.saw("c1", "r1", old)


@refused_by("PromiseKept")
def write_was_acknowledged_before_it_began(story: Story) -> Event:
    leading(story)
    story.replicate("n1", "n2")
    ack = story.ack("n1", 3, 3)
    story.open("c1")
    story.hear("c1", "n1")
    story.invoke("c1", "w1")
    return story.ok("c1", "w1", ack, 3)


@refused_by("PromiseKept")
def read_is_answered_from_a_round_that_an_earlier_incarnation_knew(story: Story) -> Event:
    leading(story)
    story.invoke_read("c1", "r1")
    serve = story.serve("n1", "n2")
    story.saw("c1", "r1", serve)
    story.write("c2", "n1", "n2")
    story.open("c1")
    story.invoke_read("c1", "r2")
    return story.saw("c1", "r2", serve)


@refused_by("PromiseKept")
def write_is_acknowledged_by_what_an_earlier_incarnation_knew(story: Story) -> Event:
    leading(story)
    story.invoke("c1", "w1")
    story.replicate("n1", "n2", count=2)
    ack = story.ack("n1", 2, 3)
    story.ok("c1", "w1", ack, 2)
    story.open("c1")
    story.invoke("c1", "w2")
    return story.ok("c1", "w2", ack, 3)


@refused_by("PromiseKept")
def write_where_the_group_was_changed(story: Story) -> Event:
    leading(story)
    story.start("n4")
    story.invoke("c1", "w1")
    story.change("n1", "n4", "learner")
    story.agree("n1", "n2")
    return story.ok("c1", "w1", story.ack("n1", 3, 3), 3)


@refused_by("PromiseKept")
def write_that_is_tried_again_is_written_twice(story: Story) -> Event:
    leading(story)
    ok: Event = {}
    for op, index in (("w1", 3), ("w2", 4)):
        story.invoke("c1", op, idempotency="key")
        story.replicate("n1", "n2")
        ok = story.ok("c1", op, story.ack("n1", index, index), index)
    return ok


def tried_again(story: Story, between: int) -> Event:
    """The second try is written as well, when so many entries have come in between."""
    leading(story)
    story.invoke("c1", "w1", idempotency="key")
    story.replicate("n1", "n2")
    story.ok("c1", "w1", story.ack("n1", 3, 3), 3)
    story.invoke("c1", "w2", idempotency="key")
    story.replicate("n1", "n2", count=between + 1)
    return story.ok("c1", "w2", story.ack("n1", between + 4, between + 4), between + 4)


@refused_by("PromiseKept")
def write_that_is_tried_again_is_written_twice_while_it_is_remembered(story: Story) -> Event:
    return tried_again(story, 9_999)


# --- orders ---------------------------------------------------------------------------------------------------------


@refused_by("SessionOrder")
def own_write_is_not_read(story: Story) -> Event:
    leading(story)
    old = story.serve("n1", "n2")
    story.write("c1", "n1", "n2")
    story.invoke_read("c1", "r1")
    return story.saw("c1", "r1", old)


@refused_by("SessionOrder")
def reads_go_back(story: Story) -> Event:
    leading(story)
    old = story.serve("n1", "n2")
    story.replicate("n1", "n2")
    story.invoke_read("c1", "r1")
    story.saw("c1", "r1", story.serve("n1", "n2"))
    story.invoke_read("c1", "r2")
    return story.saw("c1", "r2", old)


@refused_by("SessionOrder")
def reads_go_back_over_a_restart_of_the_client(story: Story) -> Event:
    leading(story)
    old = story.serve("n1", "n2")
    story.write("c1", "n1", "n2")
    story.open("c1")
    story.invoke_read("c1", "r1")
    return story.saw("c1", "r1", old)


@refused_by("SessionOrder")
def sessions_writes_are_reordered(story: Story) -> Event:
    """The second write of a session stands before what its client had read."""
    leading(story)
    story.replicate("n1", "n2", count=2)
    story.invoke_read("c1", "r1")
    story.saw("c1", "r1", story.serve("n1", "n2"))
    story.invoke("c1", "w1")
    return story.ok("c1", "w1", story.ack("n1", 2, 4), 3)


@refused_by("SessionOrder")
def read_is_older_than_what_another_client_told(story: Story) -> Event:
    leading(story)
    old = story.serve("n1", "n2")
    story.write("c1", "n1", "n2")
    for n in range(600):
        # The other client goes on, so that what it had seen by then has to be looked up.
        story.tell("c1", "Invoke", op=f"x{n}")
    story.open("c2")
    story.person("c2").after["c1"] = ["c1", "1-00000001", 300]
    story.invoke_read("c2", "r1")
    return story.saw("c2", "r1", old)


@refused_by("SessionOrder")
def write_is_where_its_client_had_read_before(story: Story) -> Event:
    leading(story)
    story.replicate("n1", "n2")
    story.invoke_read("c1", "r1")
    story.saw("c1", "r1", story.serve("n1", "n2"))
    story.invoke("c1", "w1")
    return story.ok("c1", "w1", story.ack("n1", 3, 3), 3)


@refused_by("SessionOrder")
def read_is_older_than_what_another_client_was_told_last(story: Story) -> Event:
    """c2 has heard from c1, whose newest event is the answer that shows index 3."""
    leading(story)
    old = story.serve("n1", "n2")
    story.write("c1", "n1", "n2")
    story.invoke_read("c2", "r1")
    told = story.invoke_read("c2", "r2")
    told["after"] = [["c1", "1-00000001", 2]]
    return story.saw("c2", "r2", old)


@refused_by("SessionOrder")
def read_is_older_than_what_another_client_was_told_by_a_third(story: Story) -> Event:
    """c3 has heard from c2, who has heard from c1, whom an answer has shown index 3."""
    leading(story)
    old = story.serve("n1", "n2")
    story.write("c1", "n1", "n2")
    story.invoke_read("c2", "r1")
    story.hear("c2", "c1")
    story.invoke_read("c2", "r2")
    story.open("c3")
    story.hear("c3", "c2")
    story.invoke_read("c3", "r3")
    return story.saw("c3", "r3", old)


@refused_by("SessionOrder")
def write_begins_with_the_first_try_that_was_not_refused(story: Story) -> Event:
    leading(story)
    story.invoke("c1", "w1", idempotency="key")
    story.tell("c1", "Fail", op="w1", error="not the leader")
    story.replicate("n1", "n2", count=2)
    story.invoke_read("c1", "r1")
    story.saw("c1", "r1", story.serve("n1", "n2"))
    story.invoke("c1", "w2", idempotency="key")
    return story.ok("c1", "w2", story.ack("n1", 3, 4), 3)


def tried_twice_at_once(story: Story) -> Event:
    """The second try of a write, at index 3, begins when its client has seen index 4. Returns the Ack of it."""
    leading(story)
    story.invoke("c1", "w1", idempotency="key")
    story.replicate("n1", "n2", count=2)
    story.invoke_read("c1", "r1")
    story.saw("c1", "r1", story.serve("n1", "n2"))
    story.invoke("c1", "w2", idempotency="key")
    return story.ack("n1", 3, 4)


@refused_by("SessionOrder")
def write_begins_with_the_second_try_as_the_first_was_refused_meanwhile(story: Story) -> Event:
    ack = tried_twice_at_once(story)
    story.tell("c1", "Fail", op="w1", error="not the leader")
    return story.ok("c1", "w2", ack, 3)


@refused_by("SessionOrder")
def write_began_with_the_second_try_as_the_first_is_refused_later(story: Story) -> Event:
    ack = tried_twice_at_once(story)
    story.ok("c1", "w2", ack, 3)
    return story.tell("c1", "Fail", op="w1", error="not the leader")


@refused_by("PromiseKept")
def write_is_acknowledged_before_the_try_that_was_not_refused(story: Story) -> Event:
    leading(story)
    story.invoke("c1", "w1", idempotency="key")
    story.replicate("n1", "n2")
    ack = story.ack("n1", 3, 3)
    story.hear("c1", "n1")
    story.invoke("c1", "w2", idempotency="key")
    story.ok("c1", "w2", ack, 3)
    return story.tell("c1", "Fail", op="w1", error="not the leader")


@refused_by("RealTimeOrder")
def stale_read_after_an_answer_to_what_had_no_moment(story: Story) -> None:
    leading(story)
    old = story.serve("n1", "n2")
    story.invoke("c1", "w1")
    story.replicate("n1", "n2")
    story.ok("c1", "w1", story.ack("n1", 3, 3), 3, at=["machine", 11])
    story.invoke_read("c2", "r1", at=["machine", 12])
    story.saw("c2", "r1", old, at=["machine", 13])


@refused_by("RealTimeOrder")
def stale_read_whose_answer_has_no_moment(story: Story) -> None:
    leading(story)
    old = story.serve("n1", "n2")
    story.write("c1", "n1", "n2", at=10)
    story.invoke_read("c2", "r1", at=["machine", 12])
    story.saw("c2", "r1", old)


@refused_by("RealTimeOrder")
def stale_read_after_a_write_that_was_tried_again_on_another_clock(story: Story) -> None:
    leading(story)
    old = story.serve("n1", "n2")
    story.invoke("c1", "w1", idempotency="key", at=["first boot", 500])
    story.open("c1")
    story.invoke("c1", "w1", idempotency="key", at=["second boot", 5])
    story.replicate("n1", "n2")
    story.ok("c1", "w1", story.ack("n1", 3, 3), 3, at=["second boot", 6])
    story.invoke_read("c2", "r1", at=["second boot", 7])
    story.saw("c2", "r1", old, at=["second boot", 8])


@refused_by("RealTimeOrder")
def clock_that_goes_back_while_another_is_read(story: Story) -> Event:
    leading(story)
    story.invoke("c1", "w1", at=["machine", 5])
    story.invoke("c1", "w2", at=["another", 1])
    return story.invoke("c1", "w3", at=["machine", 4])


@refused_by("RealTimeOrder")
def stale_read_by_the_clock(story: Story) -> None:
    leading(story)
    old = story.serve("n1", "n2")
    story.write("c1", "n1", "n2", at=10)
    story.invoke_read("c2", "r1", at=["machine", 12])
    story.saw("c2", "r1", old, at=["machine", 13])


@refused_by("RealTimeOrder")
def reads_of_two_clients_go_back_by_the_clock(story: Story) -> None:
    leading(story)
    old = story.serve("n1", "n2")
    story.replicate("n1", "n2")
    story.invoke_read("c1", "r1", at=["machine", 1])
    story.saw("c1", "r1", story.serve("n1", "n2"), at=["machine", 2])
    story.invoke_read("c2", "r1", at=["machine", 3])
    story.saw("c2", "r1", old, at=["machine", 4])


@refused_by("RealTimeOrder")
def clock_that_goes_back(story: Story) -> Event:
    leading(story)
    story.invoke("c1", "w1", at=["machine", 5])
    return story.invoke("c1", "w2", at=["machine", 4])


@refused_by("NewestVersion")
def older_version_of_a_key(story: Story) -> None:
    leading(story)
    first = story.write("c1", "n1", "n2", key="k")
    story.write("c1", "n1", "n2", key="k")
    story.invoke_read("c2", "r1", key="k")
    story.saw("c2", "r1", story.serve("n1", "n2"), version=first)


@refused_by("NewestVersion")
def two_reads_that_disagree_about_a_key(story: Story) -> None:
    """Nobody's trace tells of the write, but one read has seen it and a later one has not."""
    leading(story)
    story.replicate("n1", "n2", count=2)
    story.invoke_read("c1", "r1", key="k")
    story.saw("c1", "r1", story.serve("n1", "n2"), version=3)
    story.invoke_read("c2", "r1", key="k")
    story.saw("c2", "r1", story.serve("n1", "n2"), version=0)


@refused_by("NewestVersion")
def version_beyond_what_was_seen(story: Story) -> Event:
    leading(story)
    story.invoke_read("c1", "r1", key="k")
    return story.saw("c1", "r1", story.serve("n1", "n2"), version=3)


@refused_by("NewestVersion")
def version_of_no_key(story: Story) -> Event:
    leading(story)
    story.invoke_read("c1", "r1")
    return story.saw("c1", "r1", story.serve("n1", "n2"), version=2)


@refused_by("NewestVersion")
def version_that_another_key_got(story: Story) -> None:
    leading(story)
    index = story.write("c1", "n1", "n2", key="one")
    story.invoke_read("c2", "r1", key="other")
    story.saw("c2", "r1", story.serve("n1", "n2"), version=index)


@refused_by("NewestVersion")
def version_of_a_write_that_left_the_key_as_it_was(story: Story) -> None:
    leading(story)
    story.write("c1", "n1", "n2", key="k")
    index = story.write("c1", "n1", "n2", key="k", wrote=False)
    story.invoke_read("c2", "r1", key="k")
    story.saw("c2", "r1", story.serve("n1", "n2"), version=index)


@refused_by("NewestVersion")
def version_of_a_write_that_left_everything_as_it_was(story: Story) -> None:
    leading(story)
    index = story.write("c1", "n1", "n2", wrote=False)
    story.invoke_read("c2", "r1", key="k")
    story.saw("c2", "r1", story.serve("n1", "n2"), version=index)


@refused_by("NewestVersion")
def version_is_an_epoch_record(story: Story) -> Event:
    leading(story)
    story.invoke_read("c1", "r1", key="k")
    return story.saw("c1", "r1", story.serve("n1", "n2"), version=1)


@refused_by("NewestVersion")
def version_is_a_configuration(story: Story) -> Event:
    leading(story)
    story.start("n4")
    story.change("n1", "n4", "learner")
    story.agree("n1", "n2")
    story.invoke_read("c1", "r1", key="k")
    return story.saw("c1", "r1", story.serve("n1", "n2"), version=3)


# --- odd and right --------------------------------------------------------------------------------------------------


@accepted
def lone_voter_confirms_by_itself(story: Story) -> None:
    story.__init__("n1")  # type: ignore[misc]
    story.lead("n1")
    story.invoke_read("c1", "r1")
    story.saw("c1", "r1", story.serve("n1"))


@accepted
def read_shares_a_round_and_sees_more_than_it_had_to(story: Story) -> None:
    leading(story)
    for client in ("c1", "c2"):
        story.invoke_read(client, "r1")
    start = story.read_start("n1")
    confirm = story.confirm("n2", start)
    story.replicate("n1", "n2")
    serve = story.read_serve("n1", start, confirm)
    assert serve["index"] == 3
    for client in ("c1", "c2"):
        story.saw(client, "r1", serve)


@accepted
def leader_is_deposed_once_its_read_is_confirmed(story: Story) -> None:
    """What the successor acknowledges meanwhile came after the ReadStart: the read need not see it."""
    leading(story)
    story.store("n3", "n1")
    story.invoke_read("c1", "r1", at=["machine", 1])
    start = story.read_start("n1")
    confirm = story.confirm("n2", start)
    story.lead("n3", "n2", term=2)
    story.write("c2", "n3", "n2", at=2)
    # The answer of n2 arrives late.
    story.person("n1").after["n2"] = story.ref(confirm)
    cited = [story.ref(confirm)]
    serve = story.tell("n1", "ReadServe", start=story.ref(start), confirms=cited, index=2)
    story.saw("c1", "r1", serve, at=["machine", 9])


@accepted
def confirmations_that_come_late_or_for_nothing(story: Story) -> None:
    leading(story)
    start = story.read_start("n1")
    confirm = story.confirm("n2", start)
    story.read_serve("n1", start, confirm)
    story.store("n3", "n1")
    story.confirm("n3", start)
    story.start("o1")
    story.confirm("o1", story.read_start("n1"))
    story.lose("n1")
    story.exit("n1", 3)


@accepted
def confirmation_is_all_that_shows_a_new_term(story: Story) -> None:
    """n3 hears of term 1 by a frame that asks it, and has nothing to store yet."""
    leading(story)
    story.serve("n1", "n3")


@accepted
def answers_in_another_order_than_their_questions(story: Story) -> None:
    leading(story)
    story.invoke_read("c1", "r1")
    story.invoke_read("c1", "r2")
    old = story.serve("n1", "n2")
    story.replicate("n1", "n2")
    story.saw("c1", "r2", story.serve("n1", "n2"))
    story.saw("c1", "r1", old)


@accepted
def clients_on_clocks_of_their_own(story: Story) -> None:
    leading(story)
    old = story.serve("n1", "n2")
    story.write("c1", "n1", "n2", at=10)
    story.invoke_read("c2", "r1", at=["another", 12])
    story.saw("c2", "r1", old, at=["another", 13])


@accepted
def clock_begins_anew_when_its_machine_does(story: Story) -> None:
    leading(story)
    story.invoke("c1", "w1", at=["first boot", 500])
    story.open("c1")
    story.invoke_read("c1", "r1", at=["second boot", 3])
    story.saw("c1", "r1", story.serve("n1", "n2"), at=["second boot", 4])


@accepted
def answer_at_the_very_moment_of_the_next_question(story: Story) -> None:
    """Neither is known to be first."""
    leading(story)
    old = story.serve("n1", "n2")
    story.write("c1", "n1", "n2", at=10)
    story.invoke_read("c2", "r1", at=["machine", 11])
    story.saw("c2", "r1", old, at=["machine", 13])


@accepted
def read_of_a_write_of_unknown_outcome(story: Story) -> None:
    leading(story)
    story.write("c1", "n1", "n2", key="k")
    story.invoke("c1", "lost", key="k")
    story.replicate("n1", "n2")
    story.tell("c1", "Unknown", op="lost", error="no answer")
    story.invoke_read("c2", "r1", key="k")
    story.saw("c2", "r1", story.serve("n1", "n2"), version=4)
    story.invoke_read("c2", "r2", key="another")
    story.saw("c2", "r2", story.serve("n1", "n2"), version=0)


@accepted
def write_that_left_its_key_as_it_was(story: Story) -> None:
    """A compare-and-set that failed is in the log, and the key has the version that it had."""
    leading(story)
    first = story.write("c1", "n1", "n2", key="k")
    index = story.write("c2", "n1", "n2", key="k", wrote=False)
    assert index > first
    story.invoke_read("c2", "r1", key="k")
    story.saw("c2", "r1", story.serve("n1", "n2"), version=first)


@accepted
def write_that_is_tried_twice_at_once_began_with_the_first(story: Story) -> None:
    ack = tried_twice_at_once(story)
    story.ok("c1", "w2", ack, 3)
    story.invoke("c1", "w3", idempotency="key")
    story.tell("c1", "Fail", op="w3", error="not the leader")
    story.tell("c1", "Unknown", op="w1", error="no answer")


@accepted
def write_that_is_tried_again_is_written_twice_when_it_may_be_forgotten(story: Story) -> None:
    tried_again(story, 10_000)


@accepted
def refused_read(story: Story) -> None:
    leading(story)
    story.invoke_read("c1", "r1")
    story.tell("c1", "Fail", op="r1", error="not the leader", at=["machine", 3])


# --- the tests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "case"), WRONG, ids=[case.__name__ for _, case in WRONG])
def test_wrong_run_is_refused(rule: str, case: Case, tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    event = case(story)
    result = story.judge(tmp_path)
    assert result.verdict is Verdict.VIOLATION, (result.verdict, result.missing)
    assert result.violation is not None
    assert result.violation.rule == rule, result.violation
    if event is not None:
        where = result.violation.where
        assert where is not None
        assert [where.node, where.inc, where.seq] == story.ref(event), (where, result.violation)


@pytest.mark.parametrize("case", [case for _, case in WRONG], ids=[case.__name__ for _, case in WRONG])
@pytest.mark.parametrize("seed", range(4))
def test_wrong_run_is_refused_in_any_order(case: Case, seed: int, tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    case(story)
    assert story.judge(tmp_path, random.Random(seed).randrange).verdict is Verdict.VIOLATION, seed


@pytest.mark.parametrize("case", RIGHT)
@pytest.mark.parametrize("seed", range(4))
def test_right_run_is_accepted_in_any_order(case: Callable[[Story], None], seed: int, tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    case(story)
    result = story.judge(tmp_path, random.Random(seed).randrange)
    assert result.verdict is Verdict.HOLDS, (seed, result.violation, result.missing)


def test_the_report_says_what_was_promised_to_whom(tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    leading(story)
    story.write("c1", "n1", "n2")
    story.invoke_read("c2", "r1")
    story.saw("c2", "r1", story.serve("n1", "n2"))
    story.invoke("c2", "w1")
    result = story.judge(tmp_path)
    counts = result.counts
    assert (counts.reads_served, counts.reads_promised, counts.reads_stale) == (1, 1, 0)
    one, two = counts.promises
    assert (one.client, one.writes, one.reads, one.unknown, one.index) == ("c1", 1, 0, 0, 3)
    assert (two.client, two.writes, two.reads, two.unknown, two.index) == ("c2", 0, 1, 1, 3)
    text = as_text(result)
    assert "Reads answered 1, in 1 rounds of confirmation, stale 0." in text
    assert "c1: 1 writes, 0 reads, up to index 3\n" in text
    assert "c2: 0 writes, 1 reads, up to index 3; 1 of unknown outcome" in text


def test_a_stale_read_is_counted(tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    own_write_is_not_read(story)
    assert story.judge(tmp_path).counts.reads_stale == 1


BAD_LINES: list[tuple[str, Callable[[Event], Event], str]] = [
    ("neither answer", lambda e: {k: v for k, v in e.items() if k != "serve"}, "either entry_term and ack"),
    ("both answers", lambda e: {**e, "entry_term": 1, "ack": e["serve"]}, "either entry_term and ack"),
    ("negative version", lambda e: {**e, "version": -1}, "field version of Ok"),
    ("clock without a name", lambda e: {**e, "at": [None, 1]}, "field at of Ok: expected [clock, nanoseconds]"),
    ("moment before its clock began", lambda e: {**e, "at": ["machine", -1]}, "field at of Ok"),
    ("another kind", lambda e: {**e, "event": "Invoke", "kind": "look"}, 'field kind of Invoke: expected "read" or'),
]


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in BAD_LINES], ids=[case[0] for case in BAD_LINES])
def test_bad_line_of_a_client_is_named(change: Callable[[Event], Event], message: str, tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    leading(story)
    story.invoke_read("c1", "r1")
    story.saw("c1", "r1", story.serve("n1", "n2"))
    lines = story.files["c1", "1-00000001"]
    lines[1] = change(lines[1])
    with pytest.raises(BadInput, match=re.escape(message)):
        story.judge(tmp_path)


# --- the law of real time, and of keys ------------------------------------------------------------------------------

moments = st.integers(0, 12)
operations = st.lists(st.tuples(moments, moments, moments, st.booleans()), max_size=8)


@given(operations, st.randoms(use_true_random=False))
def test_moments_find_what_comparing_all_pairs_finds(
    drawn: list[tuple[int, int, int, bool]], rng: random.Random
) -> None:
    history = [(min(a, b), max(a, b), i + 1 - write, i + 1) for a, b, i, write in drawn]
    rng.shuffle(history)
    wrong = any(one[1] < two[0] and two[2] < one[3] for one, two in itertools.permutations(history, 2))
    kept = Moments()
    try:
        for operation in history:
            began, ended, saw, shows = operation
            kept.began(began, saw)
            kept.ended(ended, shows)
    except Refused:
        assert wrong
    else:
        assert not wrong
    assert not kept.late


@given(st.lists(st.tuples(moments, moments, st.booleans()), max_size=8), st.randoms(use_true_random=False))
def test_versions_find_what_comparing_all_pairs_finds(drawn: list[tuple[int, int, bool]], rng: random.Random) -> None:
    writes = {a + 1 for a, _, write in drawn if write}
    reads = [(min(a, b), max(a, b)) for a, b, write in drawn if not write]
    known = writes | {version for version, _ in reads if version}
    wrong = any(version < at <= index for version, index in reads for at in known)
    steps: list[tuple[int, ...]] = [*((at,) for at in writes), *reads]
    rng.shuffle(steps)
    kept = Versions()
    try:
        for step in steps:
            kept.write("k", *step) if len(step) == 1 else kept.read("k", *step)
    except Refused:
        assert wrong
    else:
        assert not wrong
    assert not kept.late


def test_what_is_too_old_to_be_judged_is_said_and_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Moments(size=4)
    for now in range(0, 100, 10):
        old.began(now, now + 1)
        old.ended(now + 1, now + 1)
    old.began(5, 100)
    old.ended(5, 1)
    assert old.late == 2
    versions = Versions(size=4)
    for at in range(1, 20):
        versions.write("k", at)
    versions.read("k", 19, 30)
    assert not versions.late
    versions.write("k", 1)
    versions.read("k", 2, 3)
    assert versions.late > 1
    with pytest.raises(Refused, match="NewestVersion"):
        versions.read("k", 1, 18)
    monkeypatch.setattr("trace_check.clients.Clients.late", 3)
    story = Story("n1", "n2", "n3")
    leading(story)
    result = story.judge(tmp_path)
    assert result.verdict is Verdict.INCOMPLETE
    assert "3 operations of clients" in result.missing[0]


def test_a_write_tried_again_is_known_whatever_was_forgotten_meanwhile() -> None:
    places = Places(size=2)
    for index in (10, 11, 12, 13, 14, 1, 2):
        assert places.add(index, ("c1", f"key {index}"))
    assert places.add(10, ("c1", "key 10"))
    assert places.late == 1


def test_keys_that_are_read_while_they_are_made_are_not_too_old_to_be_judged() -> None:
    versions = Versions(size=8)
    for index in range(1, 100):
        versions.write(f"k{index}", index)
        versions.read(f"k{index}", 0, index - 1)
    assert not versions.late


def test_incarnations_of_a_client_with_one_counter_are_not_put_in_order_by_chance(tmp_path: Path) -> None:
    story = Story("n1", "n2", "n3")
    leading(story)
    for inc in ("1-ffffffff", "1-00000000"):
        story.person("c1").incs.append(inc)
        story.files["c1", inc] = []
        story.invoke_read("c1", "r1")
    with pytest.raises(BadInput, match="have the same counter"):
        story.judge(tmp_path)
